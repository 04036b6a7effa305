//! A transactional producer towards its coordinators: one request at a time, until it is answered for good.
//!
//! What state the transaction is in is decided in `transaction`; what is asked, and what an answer leads to, here.
//!
//! - An answer that would end the producer or its transaction for good is asked for twice: a coordinator that is moving
//!   away may answer from what it knew before (KAFKA-21181). In between the coordinator is looked for anew.
//! - Which version of transactions the cluster has finalized is asked whenever a producer id is, so that it changes
//!   between transactions only (KIP-890).
//! - In version 1 an end that may have been asked for twice leads to another epoch: else the late one might end the
//!   next transaction.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use milena_cluster::{
    Backoff, BrokerId, CoordinatorAnswer, CoordinatorKind, CoordinatorTracker, Deadline, Failure, Outgoing,
    RequestId, RequestIds, Target, TopicPartition, later,
};
use milena_protocol::{
    messages::{Request, Response},
    wire::ByteString,
};

use crate::{
    ProducerConfig,
    group_offsets::{GroupMetadata, GroupOffset, OffsetsId, PendingOffsets},
    identity::ProducerId,
    planted_bug::{Planted, PlantedBug},
    transaction::{Initialization, Traffic, Transaction},
    transaction_answers::Ask,
    transaction_error::{FatalCause, TransactionError, TransactionFailure},
    transaction_event::TransactionEvent,
    transaction_requests::{self as requests, Version},
};

/// How soon to ask again while the transaction before is being ended: that takes milliseconds.
const CONCURRENT: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Transactional {
    pub(super) id: ByteString,
    pub(super) settings: Settings,
    pub(super) state: Transaction,
    pub(super) version: Version,
    /// When the cluster last told its version.
    pub(super) version_told: Option<Instant>,
    pub(super) producer: Option<ProducerId>,
    /// An id that the partitions have not been told of.
    fresh: Option<ProducerId>,
    pub(super) scope: Scope,
    pub(super) coordinator: CoordinatorTracker,
    /// The coordinator of the group whose offsets were sent last.
    pub(super) group: Option<(ByteString, CoordinatorTracker)>,
    asking: Option<Asking>,
    pub(super) pause: Option<Instant>,
    pub(super) failures: u32,
    /// An answer is being asked for the second time.
    pub(super) second_opinion: bool,
    pub(super) last_failure: Option<Arc<str>>,
    /// After the end of the transaction another epoch is needed.
    pub(super) renew: bool,
    next_offsets: u64,
    pub(super) planted: Planted,
    pub(super) events: VecDeque<TransactionEvent>,
}

/// What does not change.
#[derive(Debug)]
pub(super) struct Settings {
    transaction_timeout: Duration,
    end_timeout: Duration,
    request_timeout: Duration,
    backoff: Backoff,
    /// After how long the version is asked for again.
    max_age: Duration,
}

/// What a transaction consists of.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The coordinator may know of it.
    is_started: bool,
    /// Partitions to be added (version 1).
    pub(super) wanted: BTreeSet<TopicPartition>,
    /// Partitions that were added (version 1).
    pub(super) added: BTreeSet<TopicPartition>,
    /// Groups that were added (version 1).
    pub(super) groups: BTreeSet<ByteString>,
    /// In the order they were sent; as many as there are callers that wait.
    pub(super) offsets: VecDeque<PendingOffsets>,
}

/// A request on its way.
#[derive(Debug)]
struct Asking {
    id: RequestId,
    broker: BrokerId,
    what: Ask,
}

impl Transactional {
    pub(crate) fn new(id: ByteString, config: &ProducerConfig) -> Self {
        let settings = Settings {
            transaction_timeout: config.transaction_timeout,
            end_timeout: config.transaction_end_timeout,
            request_timeout: config.request_timeout,
            backoff: config.retry_backoff,
            max_age: config.metadata.max_age,
        };
        let coordinator = CoordinatorTracker::new(
            CoordinatorKind::Transaction,
            id.clone(),
            settings.backoff,
            settings.request_timeout,
        );
        Self {
            id,
            settings,
            state: Transaction::new(),
            version: Version::V1,
            version_told: None,
            producer: None,
            fresh: None,
            scope: Scope::default(),
            coordinator,
            group: None,
            asking: None,
            pause: None,
            failures: 0,
            second_opinion: false,
            last_failure: None,
            renew: false,
            next_offsets: 0,
            planted: Planted::default(),
            events: VecDeque::new(),
        }
    }

    /// Which transactions the cluster has.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The numbers that batches are sent under.
    pub(crate) fn producer(&self) -> Option<ProducerId> {
        self.producer
    }

    /// Numbers that the partitions have to adopt, once.
    pub(crate) fn take_fresh(&mut self) -> Option<ProducerId> {
        self.fresh.take()
    }

    pub(super) fn adopt(&mut self, producer: ProducerId) {
        self.producer = Some(producer);
        self.fresh = Some(producer);
    }

    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.state.traffic()
    }

    /// True when an unanswered batch has to be settled before an abort. In version 2 the next epoch refuses it.
    pub(crate) fn settles_doubts(&self) -> bool {
        self.version == Version::V1
    }

    pub(crate) fn state(&self) -> &Transaction {
        &self.state
    }

    pub(crate) fn begin(&mut self, now: Instant) -> Result<(), TransactionError> {
        self.state.begin(now, self.settings.transaction_timeout)?;
        self.scope = Scope::default();
        Ok(())
    }

    pub(crate) fn send_offsets(
        &mut self,
        group: GroupMetadata,
        offsets: BTreeMap<TopicPartition, GroupOffset>,
    ) -> Result<OffsetsId, TransactionError> {
        if !matches!(self.state, Transaction::Open { .. }) {
            return Err(self.state.refusal());
        }
        let id = OffsetsId(self.next_offsets);
        self.next_offsets += 1;
        if offsets.is_empty() {
            self.events.push_back(TransactionEvent::OffsetsSent(id, Ok(())));
        } else {
            self.scope.offsets.push_back(PendingOffsets { id, group: Arc::new(group), offsets });
        }
        Ok(id)
    }

    pub(crate) fn commit(&mut self, now: Instant) -> Result<(), TransactionError> {
        self.state.commit(now, self.settings.end_timeout)?;
        self.hurry();
        Ok(())
    }

    pub(crate) fn abort(&mut self) -> Result<(), TransactionError> {
        self.state.abort()?;
        self.hurry();
        self.drop_offsets(|| TransactionError::Ending);
        Ok(())
    }

    pub(crate) fn reinitialize(&mut self) -> Result<(), TransactionError> {
        // In version 1 a coordinator that aborts for the one that asks fences it as well.
        let as_whom = match self.version {
            Version::V1 => Initialization::TakeOver,
            Version::V2 => Initialization::Renew,
        };
        self.state.reinitialize(as_whom)?;
        self.version_told = None;
        self.hurry();
        Ok(())
    }

    /// Something failed that is part of the transaction.
    pub(crate) fn fail(&mut self, failure: TransactionFailure) {
        let had_traffic = self.state.traffic() == Traffic::Flows;
        if self.state.fail(failure) {
            self.events.push_back(TransactionEvent::Ended(Err(self.state.refusal())));
        }
        if had_traffic {
            let refusal = self.state.refusal();
            self.drop_offsets(|| refusal.clone());
        }
    }

    pub(super) fn fatal(&mut self, cause: FatalCause) {
        let is_awaited = self.is_end_awaited();
        let fatal = self.state.fatal(cause);
        self.drop_offsets(|| TransactionError::Fatal(fatal.clone()));
        if is_awaited {
            self.events.push_back(TransactionEvent::Ended(Err(TransactionError::Fatal(fatal.clone()))));
        }
        self.events.push_back(TransactionEvent::Fatal(fatal));
    }

    /// The producer is closed before the transaction has ended: whoever waits is told.
    pub(crate) fn abandon(&mut self) {
        self.doubt_what_is_asked();
        let is_awaited = self.is_end_awaited();
        let error = match self.state.abandon() {
            Some(unknown) => unknown,
            None => TransactionError::Closed,
        };
        self.drop_offsets(|| TransactionError::Closed);
        if is_awaited {
            self.events.push_back(TransactionEvent::Ended(Err(error)));
        }
    }

    /// A request that is not waited for any longer may be carried out all the same.
    fn doubt_what_is_asked(&mut self) {
        if let Some(what) = self.asking.as_ref().map(|asking| asking.what) {
            self.doubt(what);
        }
    }

    fn is_end_awaited(&self) -> bool {
        matches!(
            self.state,
            Transaction::Flushing { .. }
                | Transaction::Committing(_)
                | Transaction::Draining
                | Transaction::Aborting(_)
        )
    }

    fn drop_offsets(&mut self, error: impl Fn() -> TransactionError) {
        for pending in std::mem::take(&mut self.scope.offsets) {
            self.events.push_back(TransactionEvent::OffsetsSent(pending.id, Err(error())));
        }
    }

    /// What is asked from here on is something new.
    pub(super) fn hurry(&mut self) {
        self.pause = None;
        self.failures = 0;
        self.second_opinion = false;
    }

    /// Whether batches may go to the partition. In version 1 it has to be added to the transaction first.
    pub(crate) fn admit(&mut self, partition: &TopicPartition) -> bool {
        if self.is_admitted(partition) {
            return true;
        }
        if self.state.traffic() == Traffic::Flows {
            self.scope.wanted.insert(partition.clone());
        }
        false
    }

    /// Whether batches go to the partition, as far as the transaction is concerned.
    pub(crate) fn is_admitted(&self, partition: &TopicPartition) -> bool {
        self.version == Version::V2 || self.scope.added.contains(partition)
    }

    /// Where it stands, in words.
    pub(crate) fn explain(&self) -> String {
        let doing = match &self.state {
            Transaction::Initializing(_) => "waits for a producer id".to_owned(),
            Transaction::Ready => "no transaction is open".to_owned(),
            Transaction::Open { .. } => "a transaction is open".to_owned(),
            Transaction::Flushing { .. } => "is to commit when all is acknowledged".to_owned(),
            Transaction::Committing(_) => "waits for the coordinator to commit".to_owned(),
            Transaction::Draining => "is to abort when nothing is on its way".to_owned(),
            Transaction::Aborting(_) => "waits for the coordinator to abort".to_owned(),
            Transaction::CommitUnknown(_) | Transaction::Abortable(_) | Transaction::Fatal(_) => {
                self.state.refusal().to_string()
            }
        };
        let coordinator = match self.coordinator.broker() {
            Some(broker) => format!("coordinator {broker}"),
            None => "no coordinator is known".to_owned(),
        };
        match self.last_failure() {
            Some(last) => format!("{doing}; {coordinator}; {last}"),
            None => format!("{doing}; {coordinator}"),
        }
    }

    /// A batch goes out.
    pub(crate) fn start(&mut self) {
        self.scope.is_started = true;
    }

    /// Its batches are settled: asks for the end, if that is due. `is_troubled`: their sequence numbers are of no more use.
    /// `has_strayed`: a request of theirs may reach its broker yet. In version 1, where the epoch stays, the broker would hold
    /// its numbers against those of the next transaction.
    pub(crate) fn settle(&mut self, now: Instant, is_troubled: bool, has_strayed: bool) {
        let is_due = match self.state {
            Transaction::Flushing { .. } => self.scope.offsets.is_empty() && self.scope.wanted.is_empty(),
            Transaction::Draining => true,
            _ => false,
        };
        // An end must not overtake what adds to the transaction.
        if !is_due || self.asking.is_some() {
            return;
        }
        self.renew |= is_troubled || self.version == Version::V1 && has_strayed;
        self.hurry();
        self.state.settled(now, self.settings.end_timeout);
        if !self.scope.is_started {
            self.conclude(now, Ok(()));
        }
    }

    /// The transaction is over.
    pub(super) fn conclude(&mut self, now: Instant, result: Result<(), TransactionError>) {
        let max_age = self.settings.max_age;
        let is_old = self.version_told.is_none_or(|told| now.saturating_duration_since(told) >= max_age);
        // Version 2 is to be found out about; there is no way back.
        let renew = self.renew || self.version == Version::V1 && is_old;
        self.scope = Scope::default();
        self.state.ended(renew);
        if renew {
            self.version_told = None;
        }
        self.events.push_back(TransactionEvent::Ended(result));
    }

    /// What has to be asked next.
    fn due(&self) -> Option<Ask> {
        match &self.state {
            Transaction::Initializing(_) if self.version_told.is_none() => Some(Ask::Features),
            Transaction::Initializing(_) => Some(Ask::Initialize),
            Transaction::Open { .. } | Transaction::Flushing { .. } => {
                if !self.scope.wanted.is_empty() {
                    return Some(Ask::AddPartitions);
                }
                let group = &self.scope.offsets.front()?.group.group_id;
                let is_added = self.version == Version::V2 || self.scope.groups.contains(group);
                Some(if is_added { Ask::CommitOffsets } else { Ask::AddOffsets })
            }
            Transaction::Committing(_) => Some(Ask::Commit),
            Transaction::Aborting(_) => Some(Ask::Abort),
            _ => None,
        }
    }

    pub(crate) fn poll_request(&mut self, now: Instant, ids: &mut RequestIds) -> Option<Outgoing> {
        if self.asking.is_some() || self.pause.is_some() {
            return None;
        }
        let what = self.due()?;
        self.meet_group(what);
        let tracker = self.tracker_mut(what)?;
        let Some(broker) = tracker.broker() else { return tracker.poll_request(now, ids) };
        let (request, (min_version, max_version)) = self.request(what)?;
        let id = ids.allocate();
        if matches!(what, Ask::AddPartitions | Ask::AddOffsets | Ask::CommitOffsets) {
            self.scope.is_started = true;
        }
        self.asking = Some(Asking { id, broker, what });
        let target = Target::Coordinator(broker);
        let mut outgoing = Outgoing::new(id, target, request, self.settings.request_timeout);
        (outgoing.min_version, outgoing.max_version) = (min_version, max_version);
        Some(outgoing)
    }

    fn request(&self, what: Ask) -> Option<(Request, (i16, i16))> {
        let Self { id, scope, version, .. } = self;
        let any = (0, i16::MAX);
        Some(match what {
            Ask::Features => (requests::features().into(), any),
            Ask::Initialize => {
                let is_renewal = matches!(self.state, Transaction::Initializing(Initialization::Renew));
                let current = self.producer.filter(|_| is_renewal);
                let request = requests::initialize(id, self.settings.transaction_timeout, current);
                let oldest = if current.is_some() { requests::INIT_PRODUCER_ID_RENEWS } else { 0 };
                (request.into(), (oldest, requests::INIT_PRODUCER_ID))
            }
            Ask::AddPartitions => {
                let request = requests::add_partitions(id, self.producer?, &scope.wanted);
                (request.into(), (0, requests::ADD_PARTITIONS))
            }
            Ask::AddOffsets => {
                let group = &scope.offsets.front()?.group.group_id;
                (requests::add_offsets(id, self.producer?, group).into(), any)
            }
            Ask::CommitOffsets => {
                let request = requests::commit_offsets(id, self.producer?, scope.offsets.front()?);
                (request.into(), version.end_and_offsets())
            }
            Ask::Commit | Ask::Abort => {
                let request = requests::end(id, self.producer?, what == Ask::Commit);
                (request.into(), version.end_and_offsets())
            }
        })
    }

    /// Looks for another group's coordinator when offsets of another group are next.
    fn meet_group(&mut self, what: Ask) {
        let Some(next) = self.scope.offsets.front().filter(|_| what == Ask::CommitOffsets) else { return };
        let group = &next.group.group_id;
        if self.group.as_ref().is_none_or(|(known, _)| known != group) {
            let Settings { backoff, request_timeout, .. } = self.settings;
            let kind = CoordinatorKind::Group;
            let tracker = CoordinatorTracker::new(kind, group.clone(), backoff, request_timeout);
            self.group = Some((group.clone(), tracker));
        }
    }

    pub(super) fn tracker_mut(&mut self, what: Ask) -> Option<&mut CoordinatorTracker> {
        match what {
            Ask::CommitOffsets => self.group.as_mut().map(|(_, tracker)| tracker),
            _ => Some(&mut self.coordinator),
        }
    }

    /// Takes an answer. False when it was somebody else's.
    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        id: RequestId,
        result: &Result<Response, Failure>,
        random: &mut fastrand::Rng,
    ) -> bool {
        if let Some(Asking { broker, what, .. }) = self.asking.take_if(|asking| asking.id == id) {
            match result {
                Ok(response) => self.handle_answer(now, what, broker, response, random),
                Err(failure) => self.handle_failure(now, what, broker, failure, random),
            }
            return true;
        }
        let found = self.coordinator.handle_response(now, id, result, random);
        if found != CoordinatorAnswer::NotOurs {
            self.handle_coordinator(found, false);
            return true;
        }
        let found = self.group.as_mut().map(|(_, group)| group.handle_response(now, id, result, random));
        match found {
            None | Some(CoordinatorAnswer::NotOurs) => false,
            Some(found) => {
                self.handle_coordinator(found, true);
                true
            }
        }
    }

    /// How long until the same is asked again.
    pub(super) fn wait(&mut self, now: Instant, is_concurrent: bool, random: &mut fastrand::Rng) {
        self.failures = self.failures.saturating_add(1);
        let Backoff { initial, max } = self.settings.backoff;
        let backoff = if is_concurrent {
            Backoff { initial: CONCURRENT.min(initial), max }
        } else {
            self.settings.backoff
        };
        self.pause = Some(later(now, backoff.after(self.failures, random)));
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.pause = self.pause.filter(|at| *at > now);
        if self.state.deadline().is_some_and(|at| at <= now) {
            self.doubt_what_is_asked();
        }
        let had_traffic = self.state.traffic() == Traffic::Flows;
        let end_timeout = self.settings.end_timeout;
        let mut expired = self.state.expire(now, end_timeout, self.last_failure.as_ref());
        if self.planted.has(PlantedBug::AbortsUnknownCommit)
            && matches!(self.state, Transaction::CommitUnknown(_))
        {
            self.state = Transaction::Abortable(TransactionFailure::TimedOut);
            expired = Some(self.state.refusal());
        }
        if let Some(error) = expired {
            self.events.push_back(TransactionEvent::Ended(Err(error)));
        }
        if had_traffic && self.state.traffic() != Traffic::Flows {
            let refusal = self.state.refusal();
            self.drop_offsets(|| refusal.clone());
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<TransactionEvent> {
        self.events.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let deadline = self.state.deadline().map(|at| Deadline::new(at, "a transaction takes too long"));
        let ask = self.due().filter(|_| self.asking.is_none());
        let next = ask.and_then(|what| match (self.pause, what) {
            (Some(at), _) => Some(Deadline::new(at, "ask a coordinator again")),
            (None, Ask::CommitOffsets) => self.group.as_ref().and_then(|(_, group)| group.poll_timeout()),
            (None, _) => self.coordinator.poll_timeout(),
        });
        Deadline::earliest([deadline, next])
    }
}
