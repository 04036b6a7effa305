//! The connections of one client: whom to ask, over which connection, and where brokers are.
//!
//! Requests for a broker that is not connected wait for the connection and then go out in the order they came: the
//! producer's sequence numbers count on it. A request for any broker moves on to the next candidate when one can't be
//! reached.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use milena_cluster::{BrokerId, Failure, FailureKind, Outgoing, Target, later};
use milena_protocol::{ApiKey, RequestMessage, ResponseMessage, wire::ByteString};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    Address, ConnectionConfig, ConnectionError, Stage,
    address_book::AddressBook,
    connection::{Connection, Queued},
    now,
    open_requests::Broken,
    reply::{NewsSender, Reply},
};

/// How many unreachable brokers a failure names.
const MAX_CAUSES: usize = 3;

/// Why nothing is sent after [`Network::close`].
const CLOSED: &str = "the client is closed";

/// The lane of requests that any broker can answer.
const SHARED_LANE: u64 = 0;

/// All connections of a client. Cloning shares them.
///
/// A broker answers the requests of a connection one after the other, so a fetch that waits for records, or a join that
/// waits for other members, holds up whatever is behind it. Requests to a certain broker therefore go over a [lane](
/// Self::lane): each machine has one of its own. What any broker can answer is never slow, and shares lane zero.
#[derive(Clone, Debug)]
pub struct Network {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
}

/// A set of connections; it ends with the last handle to it.
#[derive(Debug)]
struct Lane {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        // What is open there is answered first: a connection ends with its last answer.
        let gone = {
            let mut slots = self.shared.slots();
            let all = std::mem::take(&mut slots.by_key);
            let (gone, kept) = all.into_iter().partition(|(key, _)| key.lane == self.number);
            slots.by_key = kept;
            gone
        };
        drop::<BTreeMap<SlotKey, Slot>>(gone);
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    config: ConnectionConfig,
    bootstrap: Vec<Address>,
    addresses: AddressBook,
    slots: Mutex<Slots>,
    /// Where the next request for any broker starts to look, so that a broker that is down is not always the first.
    turn: AtomicUsize,
    next_lane: AtomicU64,
}

#[derive(Debug)]
struct Slots {
    by_key: BTreeMap<SlotKey, Slot>,
    random: fastrand::Rng,
    closed: bool,
    /// That of the address book when connections were last looked through.
    edition: u64,
}

/// Whose connection it is, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotKey {
    pub(crate) lane: u64,
    pub(crate) to: Destination,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Destination {
    /// Bootstrapping: the broker's id is not known.
    Bootstrap(Address),
    /// Producing and fetching.
    Broker(BrokerId),
    /// A group's heartbeats and commits, which must not wait behind a long poll.
    Coordinator(BrokerId),
}

impl Destination {
    /// Who says that a broker is at an address that leads nowhere and never has: it is not the user who wrote it.
    fn hint(&self, is_proven: bool, error: &ConnectionError) -> String {
        match self {
            Self::Broker(id) | Self::Coordinator(id) if !is_proven && error.stage() <= Stage::Tcp => {
                format!("; the cluster advertises this address as that of {id} (advertised.listeners)")
            }
            _ => String::new(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) address: Address,
    pub(crate) state: SlotState,
    /// Failures to connect in a row.
    pub(crate) failures: u32,
    /// What went wrong last, however long ago.
    pub(crate) last: Option<Broken>,
    /// The address has led to a broker before.
    is_proven: bool,
}

#[derive(Debug)]
pub(crate) enum SlotState {
    Closed,
    /// Connecting failed; until then requests fail at once with the same cause.
    Failed {
        until: Instant,
        cause: Arc<str>,
    },
    Opening(VecDeque<Waiting>),
    Open(Connection),
}

/// A request that waits for a connection, and where else it may go.
#[derive(Debug)]
pub(crate) struct Waiting {
    queued: Queued,
    fallbacks: VecDeque<SlotKey>,
    /// Why those before could not be reached, [`MAX_CAUSES`] at most.
    causes: Vec<Arc<str>>,
}

/// A request that a destination can't take, and why.
type Refused = (Waiting, Arc<str>);

impl Network {
    /// Connects to nobody yet.
    #[must_use]
    pub fn new(bootstrap: Vec<Address>, config: ConnectionConfig) -> Self {
        let random = fastrand::Rng::with_seed(config.seed);
        let slots = Slots { by_key: BTreeMap::new(), random, closed: false, edition: 0 };
        let shared = Arc::new(Shared {
            config,
            bootstrap,
            addresses: AddressBook::default(),
            slots: Mutex::new(slots),
            turn: AtomicUsize::new(0),
            next_lane: AtomicU64::new(SHARED_LANE + 1),
        });
        let lane = Arc::new(Lane { number: SHARED_LANE, shared: Arc::clone(&shared) });
        Self { shared, lane }
    }

    /// The same network with connections of its own to the brokers that are asked by name.
    #[must_use]
    pub fn lane(&self) -> Self {
        let number = self.shared.next_lane.fetch_add(1, Ordering::Relaxed);
        let lane = Arc::new(Lane { number, shared: Arc::clone(&self.shared) });
        Self { shared: Arc::clone(&self.shared), lane }
    }

    /// Asks `target` and waits for the answer.
    ///
    /// # Errors
    /// When there is no answer; the failure says whether the broker may have acted.
    ///
    /// # Cancellation
    /// Dropping the future does not take the request back.
    pub async fn call<R: RequestMessage>(
        &self,
        target: Target,
        request: R,
        timeout: Duration,
    ) -> Result<R::Response, Failure> {
        self.call_within(target, request, 0..=i16::MAX, timeout).await
    }

    /// As [`call`](Self::call), in one of these versions; a broker that has none of them is told as that.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancellation
    /// As there.
    pub async fn call_within<R: RequestMessage>(
        &self,
        target: Target,
        request: R,
        versions: RangeInclusive<i16>,
        timeout: Duration,
    ) -> Result<R::Response, Failure> {
        let (caller, answer) = oneshot::channel();
        let reply = Reply::to_caller(caller, self.shared.addresses.clone());
        let (min_version, max_version) = versions.into_inner();
        let queued = Queued {
            request: request.into(),
            min_version,
            max_version,
            timeout,
            expects_answer: true,
            reply,
        };
        self.dispatch(target, queued);
        let unanswered = || Failure::new(FailureKind::Unanswered, "the request was dropped");
        let response = answer.await.unwrap_or_else(|_| Err(unanswered()))?;
        R::Response::from_response(response).ok_or_else(unanswered)
    }

    /// Sends a machine's request; the answer goes to `answers`.
    pub(crate) fn send(&self, outgoing: Outgoing, answers: &NewsSender) {
        let reply = Reply::to_machine(answers.clone(), outgoing.id, self.shared.addresses.clone());
        let Outgoing { id: _, target, request, min_version, max_version, timeout, expects_answer } = outgoing;
        self.dispatch(target, Queued { request, min_version, max_version, timeout, expects_answer, reply });
    }

    fn dispatch(&self, target: Target, queued: Queued) {
        let own = |to| VecDeque::from([SlotKey { lane: self.lane.number, to }]);
        let fallbacks = match target {
            Target::Broker(id) => own(Destination::Broker(id)),
            Target::Coordinator(id) => own(Destination::Coordinator(id)),
            Target::AnyBroker => {
                if queued.request.api_key() == ApiKey::Metadata {
                    let patience = self.shared.config.rebootstrap_after;
                    self.shared.addresses.asked_for_metadata(Instant::now(), patience);
                }
                self.shared.candidates()
            }
        };
        self.shared.enqueue(Waiting { queued, fallbacks, causes: Vec::new() });
    }

    /// What brokers know the client as (`client.id`).
    #[must_use]
    pub fn client_id(&self) -> &ByteString {
        &self.shared.config.client_id
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn own_lane(&self) -> u64 {
        self.lane.number
    }

    /// Closes every connection; what is open fails, and so does what waits for one and whatever is sent afterwards.
    pub fn close(&self) {
        let slots = {
            let mut slots = self.shared.slots();
            slots.closed = true;
            std::mem::take(&mut slots.by_key)
        };
        for slot in slots.into_values() {
            match slot.state {
                SlotState::Open(connection) => connection.close(),
                SlotState::Opening(queue) => queue.into_iter().for_each(|waiting| waiting.fail(CLOSED)),
                SlotState::Closed | SlotState::Failed { .. } => {}
            }
        }
    }
}

impl Shared {
    /// Locked to look or to change, never across an await.
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self) -> &ConnectionConfig {
        &self.config
    }

    pub(crate) fn bootstrap(&self) -> &[Address] {
        &self.bootstrap
    }

    pub(crate) fn address_book(&self) -> &AddressBook {
        &self.addresses
    }

    /// What `look` makes of every connection, made or not.
    pub(crate) fn with_slots<T>(&self, look: impl Fn(&SlotKey, &Slot) -> T) -> Vec<T> {
        self.slots().by_key.iter().map(|(key, slot)| look(key, slot)).collect()
    }

    /// Who may answer a request that any broker can: connected brokers first, the least busy of them in front, then the
    /// others that are known, then the bootstrap addresses.
    fn candidates(&self) -> VecDeque<SlotKey> {
        let mut connected = Vec::new();
        let mut others = Vec::new();
        let mut slots = self.slots();
        let outdated = slots.take_outdated(self.addresses.edition());
        for (key, slot) in &slots.by_key {
            match &slot.state {
                SlotState::Open(connection) if key.lane == SHARED_LANE && !connection.is_broken() => {
                    connected.push((connection.in_flight(), key.clone()));
                }
                _ => {}
            }
        }
        drop(slots);
        // Each ends with its last answer.
        drop(outdated);
        connected.sort();
        let mut order: VecDeque<SlotKey> = connected.into_iter().map(|(_, key)| key).collect();
        others.extend(self.addresses.brokers().into_keys().map(Destination::Broker));
        others.extend(self.bootstrap.iter().cloned().map(Destination::Bootstrap));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let start = turn.checked_rem(others.len()).unwrap_or(0);
        others.rotate_left(start);
        for to in others {
            let key = SlotKey { lane: SHARED_LANE, to };
            if !order.contains(&key) {
                order.push_back(key);
            }
        }
        order
    }

    /// Hands a request to the first of its candidates that has a connection or may get one. Without any it was not
    /// sent.
    fn enqueue(self: &Arc<Self>, mut waiting: Waiting) {
        while let Some(key) = waiting.fallbacks.pop_front() {
            match self.offer(&key, waiting) {
                Ok(()) => return,
                Err(refused) => waiting = refused.0.refused(refused.1),
            }
        }
        let cause = match waiting.causes.as_slice() {
            [] => "no broker is known".into(),
            causes => causes.join("; "),
        };
        waiting.fail(cause);
    }

    /// Hands a request to the slot's connection, or lets it wait for one.
    fn offer(self: &Arc<Self>, key: &SlotKey, waiting: Waiting) -> Result<(), Box<Refused>> {
        let Some(address) = self.address(key) else {
            return Err(Box::new((waiting, "where the broker listens is not known".into())));
        };
        let mut slots = self.slots();
        if slots.closed {
            return Err(Box::new((waiting, CLOSED.into())));
        }
        let slot = slots.by_key.entry(key.clone()).or_insert_with(|| Slot {
            address: address.clone(),
            state: SlotState::Closed,
            failures: 0,
            last: None,
            is_proven: false,
        });
        if slot.address != address {
            // The broker has moved: its old address may by now be another's.
            slot.address = address.clone();
            slot.failures = 0;
            slot.is_proven = false;
            if !matches!(slot.state, SlotState::Opening(_)) {
                slot.state = SlotState::Closed;
            }
        }
        let waiting = match &mut slot.state {
            SlotState::Open(connection) => match connection.send(waiting.queued) {
                Ok(()) => return Ok(()),
                Err(queued) => {
                    slot.last = connection.broken().filter(|broken| !broken.is_planned).or(slot.last.take());
                    Waiting { queued: *queued, ..waiting }
                }
            },
            SlotState::Opening(queue) => {
                queue.push_back(waiting);
                return Ok(());
            }
            SlotState::Failed { until, cause } if *until > Instant::now() => {
                return Err(Box::new((waiting, Arc::clone(cause))));
            }
            SlotState::Closed | SlotState::Failed { .. } => waiting,
        };
        slot.state = SlotState::Opening(VecDeque::from([waiting]));
        let failures = slot.failures;
        // A runtime that shuts down drops the attempt on the spot, and that takes the lock.
        drop(slots);
        let attempt =
            Attempt { shared: Arc::clone(self), key: key.clone(), address, failures, concluded: false };
        tokio::spawn(attempt.run());
        Ok(())
    }

    fn address(&self, key: &SlotKey) -> Option<Address> {
        match &key.to {
            Destination::Bootstrap(address) => Some(address.clone()),
            Destination::Broker(id) | Destination::Coordinator(id) => self.addresses.of(*id),
        }
    }
}

impl Slots {
    /// The connections of the shared lane, when all that was known of brokers has been forgotten since the last call: they may
    /// lead to a cluster that is no longer the client's.
    fn take_outdated(&mut self, edition: u64) -> BTreeMap<SlotKey, Slot> {
        if std::mem::replace(&mut self.edition, edition) == edition {
            return BTreeMap::new();
        }
        let is_outdated =
            |key: &SlotKey, slot: &Slot| key.lane == SHARED_LANE && matches!(slot.state, SlotState::Open(_));
        let all = std::mem::take(&mut self.by_key);
        let (outdated, kept) = all.into_iter().partition(|(key, slot)| is_outdated(key, slot));
        self.by_key = kept;
        outdated
    }
}

impl Waiting {
    /// Notes why a candidate can't take the request.
    fn refused(mut self, cause: Arc<str>) -> Self {
        if self.causes.len() < MAX_CAUSES && !self.causes.contains(&cause) {
            self.causes.push(cause);
        }
        self
    }

    fn fail(self, cause: impl Into<Arc<str>>) {
        self.queued.reply.answer(Err(Failure::new(FailureKind::NotSent, cause)));
    }
}

/// The task that connects a slot. However it ends, nothing is left waiting in the slot.
struct Attempt {
    shared: Arc<Shared>,
    key: SlotKey,
    address: Address,
    /// Those before.
    failures: u32,
    /// The slot is another attempt's by now.
    concluded: bool,
}

impl Attempt {
    async fn run(mut self) {
        loop {
            let config = &self.shared.config;
            let opened = Connection::open(&self.address, config, config.patience(self.failures)).await;
            match self.conclude(opened) {
                Some(moved) => (self.address, self.failures) = (moved, 0),
                None => break,
            }
        }
        self.concluded = true;
    }

    /// Puts the connection, or its absence, into the slot. Returns the broker's new address if it has moved meanwhile.
    fn conclude(&self, opened: Result<Connection, ConnectionError>) -> Option<Address> {
        let mut slots = self.shared.slots();
        let Slots { by_key, random, .. } = &mut *slots;
        let slot = by_key.get_mut(&self.key)?;
        if slot.address != self.address {
            return Some(slot.address.clone());
        }
        let SlotState::Opening(queue) = std::mem::replace(&mut slot.state, SlotState::Closed) else {
            return None;
        };
        let (refused, cause): (Vec<_>, Arc<str>) = match opened {
            Ok(connection) => {
                slot.failures = 0;
                slot.is_proven = true;
                // Sent under the lock, so that nothing overtakes what has waited.
                let refused = queue.into_iter().filter_map(|waiting| {
                    let queued = *connection.send(waiting.queued).err()?;
                    Some(Waiting { queued, ..waiting })
                });
                let refused = refused.collect();
                slot.state = SlotState::Open(connection);
                (refused, format!("{}: the connection broke at once", self.address).into())
            }
            Err(error) => {
                slot.failures = slot.failures.saturating_add(1);
                let until = later(now(), self.shared.config.reconnect_backoff.after(slot.failures, random));
                let cause: Arc<str> =
                    format!("{}: {error}{}", self.address, self.key.to.hint(slot.is_proven, &error)).into();
                tracing::debug!(address = %self.address, %error, stage = %error.stage(), "no connection");
                slot.last = Some(Broken {
                    cause: Arc::clone(&cause),
                    stage: error.stage(),
                    at: Instant::now(),
                    is_planned: false,
                });
                slot.state = SlotState::Failed { until: until.into(), cause: Arc::clone(&cause) };
                (queue.into(), cause)
            }
        };
        drop(slots);
        for waiting in refused {
            self.shared.enqueue(waiting.refused(Arc::clone(&cause)));
        }
        None
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.concluded {
            return;
        }
        let left = {
            let mut slots = self.shared.slots();
            let Some(slot) = slots.by_key.get_mut(&self.key) else { return };
            match &mut slot.state {
                SlotState::Opening(queue) => {
                    let left = std::mem::take(queue);
                    slot.state = SlotState::Closed;
                    left
                }
                _ => return,
            }
        };
        left.into_iter().for_each(|waiting| waiting.fail("the runtime of the client has ended"));
    }
}
