//! The consumer: puts the parts together and speaks for them.

mod explain;
mod memory;
mod verbs;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use milena_cluster::{
    CoordinatorAnswer, CoordinatorTracker, Deadline, Failure, Machine, Outgoing, RequestId, TopicPartition,
    Verdict, later, verdict,
};
use milena_protocol::{ApiKey, messages::Response, wire::ByteString};

#[cfg(feature = "planted-bugs")]
use crate::planted_bug::Planted;
use crate::{
    ConfigError, ConsumerConfig, ConsumerError, Event, GroupProtocol, Position,
    cursors::{CursorState, Cursors},
    fetcher::Fetcher,
    membership::{Change, ChosenProtocol, Identity, Interest, Membership},
    offsets::{Commits, CommittedOffsets, Lookup, Queries, Validation},
    planted_bug::PlantedBug,
    shared::{Answer, Shared},
};

pub use explain::{ConsumedPartition, ConsumerReport};

/// A consumer, as one machine. See the [crate](crate) for how it is driven.
///
/// The verbs may be called at any time between two turns of the driver; after each the driver drains the machine.
#[derive(Debug)]
pub struct Consumer {
    shared: Shared,
    lifecycle: Lifecycle,
    source: Source,
    membership: Membership,
    cursors: Cursors,
    fetcher: Fetcher,
    committed: CommittedOffsets,
    lookup: Lookup,
    validation: Validation,
    commits: Commits,
    queries: Queries,
    application: Application,
    /// The owner has answered a `RevokePending`, and commits made before are still under way.
    revoke_confirmed: bool,
    /// Topics that metadata is kept of.
    wanted: BTreeSet<ByteString>,
    /// What is wanted may have changed.
    wants_changed: bool,
    /// Topics whose refusal has been told.
    refused_topics: BTreeSet<ByteString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifecycle {
    Running,
    /// Leaves its group, and lets commits come to an end.
    Closing,
    /// Closed, or stopped by a fatal error.
    Stopped,
}

/// Where partitions come from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Nowhere,
    Group(Interest),
    /// A group that is being left: its member commits until the end.
    LeftGroup,
    ByHand,
}

/// What the application is doing, as far as it is known.
#[derive(Clone, Copy, Debug)]
enum Application {
    /// Waits for records: it can't be late.
    Waiting,
    /// Processes records, or something else, since then.
    Busy { since: Instant },
}

impl Consumer {
    /// A consumer that does nothing yet: it needs a subscription or an assignment.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(now: Instant, config: ConsumerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut shared = Shared::new(now, config);
        Ok(Self {
            membership: Membership::new(&mut shared),
            shared,
            lifecycle: Lifecycle::Running,
            source: Source::Nowhere,
            cursors: Cursors::default(),
            fetcher: Fetcher::default(),
            committed: CommittedOffsets::default(),
            lookup: Lookup::default(),
            validation: Validation::default(),
            commits: Commits::default(),
            queries: Queries::default(),
            application: Application::Busy { since: now },
            revoke_confirmed: false,
            wanted: BTreeSet::new(),
            wants_changed: false,
            refused_topics: BTreeSet::new(),
        })
    }

    /// Plants a bug, before anything is sent.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: PlantedBug) {
        self.shared.planted = Planted::new(bug);
    }

    /// Who the consumer is to its coordinator; nobody when partitions are assigned by hand.
    fn identity(&self) -> Option<Identity> {
        match self.source {
            Source::Group(_) | Source::LeftGroup => self.membership.identity(),
            Source::Nowhere | Source::ByHand => None,
        }
    }

    /// Lets what has happened take effect everywhere. Ends every verb and every `handle_*`.
    fn settle(&mut self, now: Instant) {
        if self.revoke_confirmed && self.commits.is_idle() {
            self.revoke_confirmed = false;
            self.membership.revoke_done(now, &mut self.shared);
        }
        while let Some(change) = self.membership.poll_change() {
            self.wants_changed = true;
            self.apply(now, change);
        }
        if self.shared.has_failed && self.lifecycle != Lifecycle::Stopped {
            let was_closing = self.lifecycle == Lifecycle::Closing;
            self.lose_all();
            self.stop();
            if was_closing {
                self.shared.events.push_back(Event::Closed);
            }
        }
        if self.lifecycle == Lifecycle::Closing
            && self.commits.is_idle()
            && !self.membership.needs_coordinator()
            && self.fetcher.is_closed()
        {
            self.stop();
            self.shared.events.push_back(Event::Closed);
        }
        if std::mem::take(&mut self.wants_changed) {
            self.want_topics(now);
        }
    }

    fn apply(&mut self, now: Instant, change: Change) {
        match change {
            Change::Joined => {
                let event = Event::Joined(self.membership.protocol());
                self.shared.events.push_back(event);
            }
            Change::Assigned(partitions) => {
                for partition in &partitions {
                    self.start(now, partition.clone(), None);
                }
                self.shared.events.push_back(Event::Assigned(partitions));
            }
            Change::Revoking(partitions) => {
                let keeps = self.shared.planted.has(PlantedBug::KeepsRevokedPartitions);
                for partition in partitions.iter().filter(|_| !keeps) {
                    self.fetcher.discard(partition);
                    if let Some(cursor) = self.cursors.get_mut(partition) {
                        cursor.revoking = true;
                    }
                }
                self.revoke_confirmed = false;
                self.shared.events.push_back(Event::RevokePending(partitions));
            }
            Change::Revoked(partitions) => {
                if !self.shared.planted.has(PlantedBug::KeepsRevokedPartitions) {
                    self.forget(&partitions);
                }
                self.shared.events.push_back(Event::Revoked(partitions));
            }
            Change::Lost(partitions) => {
                if !self.shared.planted.has(PlantedBug::HandsOutAfterLoss) {
                    self.forget(&partitions);
                }
                self.shared.events.push_back(Event::Lost(partitions));
            }
            Change::Unsupported(cause) => self.unsupported(now, cause),
            Change::Failed(error) => self.shared.fail(error),
            Change::Left if self.source == Source::LeftGroup => self.source = Source::Nowhere,
            Change::Left => {}
        }
    }

    /// A broker that does not do KIP-848 does the classic protocol.
    fn unsupported(&mut self, now: Instant, cause: std::sync::Arc<str>) {
        let may_fall_back = self.shared.config.group_protocol == GroupProtocol::Auto
            && self.membership.protocol() == ChosenProtocol::Consumer;
        match &self.source {
            Source::Group(interest) if may_fall_back => {
                let interest = interest.clone();
                // A coordinator can move to an older broker: what the member owned there is another's by now.
                self.lose_all();
                self.membership.fall_back(&mut self.shared);
                self.membership.subscribe(now, &mut self.shared, interest);
            }
            _ => self.shared.fail(ConsumerError::Unsupported { doing: "joining the group", cause }),
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.fetcher.discard(partition);
            self.cursors.remove(partition);
        }
    }

    /// Begins to read a partition.
    fn start(&mut self, now: Instant, partition: TopicPartition, from: Option<Position>) {
        let topic_id = self.shared.metadata.metadata().topic_id(&partition.topic);
        let state = match from {
            Some(position) => CursorState::Ready(position),
            None => self.start_state(now, &partition),
        };
        self.cursors.insert(partition, state, topic_id);
    }

    fn start_state(&mut self, now: Instant, partition: &TopicPartition) -> CursorState {
        if self.shared.config.group_id.is_some() {
            return CursorState::Uncommitted;
        }
        self.shared.reset(now).unwrap_or_else(|| {
            self.shared.fail(ConsumerError::NoOffset { partition: partition.clone() });
            let nowhere = Position { offset: -1, leader_epoch: None };
            CursorState::Halted(nowhere, "there is no group, no offset and no reset policy")
        })
    }

    /// A member that stops without having left sends no heartbeat any more: what it owns will be another's.
    fn lose_all(&mut self) {
        let partitions: Vec<_> = self.cursors.partitions().cloned().collect();
        if self.source != Source::ByHand && !partitions.is_empty() {
            self.forget(&partitions);
            self.shared.events.push_back(Event::Lost(partitions));
        }
    }

    fn stop(&mut self) {
        self.lifecycle = Lifecycle::Stopped;
        self.fetcher.clear();
        self.commits.close(&mut self.shared);
        self.queries.close(&mut self.shared);
    }

    /// Keeps metadata of what is read, or is to be read, and of nothing else.
    fn want_topics(&mut self, now: Instant) {
        let mut wanted: BTreeSet<ByteString> = self.membership.topics_to_know().into_iter().collect();
        if let Source::Group(interest) = &self.source {
            wanted.extend(interest.topics.iter().cloned());
        }
        for partition in self.cursors.partitions() {
            if !wanted.contains(&partition.topic) {
                wanted.insert(partition.topic.clone());
            }
        }
        for topic in self.wanted.difference(&wanted) {
            self.shared.metadata.unwant(topic);
        }
        for topic in &wanted {
            self.shared.metadata.want(now, topic);
        }
        self.refused_topics.retain(|topic| wanted.contains(topic));
        self.wanted = wanted;
    }

    /// More may be known of topics than before, or other things.
    fn metadata_changed(&mut self, now: Instant) {
        let metadata = self.shared.metadata();
        let made_anew: Vec<_> = self
            .cursors
            .iter_mut()
            .filter_map(|(partition, cursor)| {
                let known = metadata.topic_id(&partition.topic);
                if known.is_zero() || known == cursor.topic_id {
                    return None;
                }
                let was_another = !cursor.topic_id.is_zero();
                cursor.topic_id = known;
                was_another.then(|| partition.clone())
            })
            .collect();
        // A topic of the same name is another topic: nothing that is known of the old one holds (M2).
        for partition in made_anew {
            self.fetcher.discard(&partition);
            let state = self.start_state(now, &partition);
            self.cursors.restart(&partition, state);
        }
        for (topic, code) in &metadata.topic_errors {
            let is_refused =
                verdict(ApiKey::Metadata, *code) == Verdict::Refused && self.wanted.contains(topic);
            if is_refused && self.refused_topics.insert(topic.clone()) {
                self.shared.fail(ConsumerError::Topic { topic: topic.clone(), code: *code });
            }
        }
        self.membership.metadata_changed(now, &mut self.shared);
    }

    fn coordinator_response(&mut self, now: Instant, id: RequestId, answer: &Answer) -> bool {
        let Some(coordinator) = &mut self.shared.coordinator else { return false };
        match coordinator.handle_response(now, id, answer, &mut self.shared.random) {
            CoordinatorAnswer::NotOurs => return false,
            CoordinatorAnswer::Found(_) | CoordinatorAnswer::Waiting => {}
            CoordinatorAnswer::Refused(code) => {
                let (group, doing) = (self.shared.group(), "looking for the coordinator");
                self.shared.fail(ConsumerError::Group { group, doing, code });
            }
        }
        true
    }

    fn wants_coordinator(&self, now: Instant) -> bool {
        self.membership.needs_coordinator()
            || self.commits.is_wanted(now)
            || self.committed.is_wanted(now, &self.cursors)
            || self.queries.is_wanted()
    }

    /// When an application that does not poll is taken for stuck (G8).
    fn poll_deadline(&self) -> Option<Instant> {
        match self.application {
            Application::Busy { since } if self.membership.is_member() => {
                Some(later(since, self.shared.config.max_poll_interval))
            }
            _ => None,
        }
    }
}

impl Machine for Consumer {
    type Event = Event;

    fn handle_response(&mut self, now: Instant, id: RequestId, result: Result<Response, Failure>) {
        if self.lifecycle == Lifecycle::Stopped {
            return;
        }
        let Self { shared, cursors, membership, .. } = self;
        let is_metadata = shared.metadata.handle_response(now, id, &result, &mut shared.random);
        if is_metadata {
            self.metadata_changed(now);
        } else if self.fetcher.handle_response(now, shared, cursors, id, &result)
            || self.commits.handle_response(now, shared, membership, id, &result)
            || self.committed.handle_response(now, shared, cursors, membership, id, &result)
            || self.lookup.handle_response(now, shared, cursors, id, &result)
            || self.validation.handle_response(now, shared, cursors, &mut self.fetcher, id, &result)
            || self.queries.handle_response(now, shared, id, &result)
        {
        } else if membership.handle_response(now, shared, id, &result) {
            self.wants_changed = true;
        } else {
            self.coordinator_response(now, id, &result);
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.lifecycle == Lifecycle::Stopped {
            return;
        }
        self.shared.metadata.handle_timeout(now);
        self.cursors.wake(now);
        self.committed.handle_timeout(now);
        self.fetcher.handle_timeout(now);
        self.queries.handle_timeout(now, &mut self.shared);
        self.commits.handle_timeout(now, &mut self.shared);
        if self.poll_deadline().is_some_and(|deadline| deadline <= now) {
            self.membership.application_silent(now, &mut self.shared);
        }
        self.membership.handle_timeout(now, &mut self.shared);
        self.settle(now);
    }

    fn poll_request(&mut self, now: Instant) -> Option<Outgoing> {
        if self.lifecycle == Lifecycle::Stopped {
            return None;
        }
        let wants_coordinator = self.wants_coordinator(now);
        let identity = self.identity();
        let Self { shared, cursors, .. } = self;
        let mut request = shared.metadata.poll_request(now, &mut shared.ids);
        if request.is_none() && wants_coordinator {
            let coordinator = shared.coordinator.as_mut();
            request = coordinator.and_then(|coordinator| coordinator.poll_request(now, &mut shared.ids));
        }
        let request = request
            .or_else(|| self.membership.poll_request(now, shared))
            .or_else(|| self.commits.poll_request(now, shared, cursors, identity.as_ref()))
            .or_else(|| self.committed.poll_request(now, shared, cursors, identity.as_ref()))
            .or_else(|| self.queries.poll_request(now, shared, identity.as_ref()))
            .or_else(|| self.lookup.poll_request(now, shared, cursors))
            .or_else(|| self.validation.poll_request(now, shared, cursors, &self.fetcher));
        if request.is_some() {
            return request;
        }
        if self.lifecycle == Lifecycle::Closing {
            return self.fetcher.poll_close(shared);
        }
        let waits = matches!(self.application, Application::Waiting);
        self.fetcher.poll_request(now, shared, cursors, waits)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.shared.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        if self.lifecycle == Lifecycle::Stopped {
            return None;
        }
        let shared = &self.shared;
        let coordinator = shared.coordinator.as_ref().and_then(CoordinatorTracker::poll_timeout);
        Deadline::earliest([
            shared.metadata.poll_timeout(),
            // Nobody may want the coordinator by then.
            coordinator.filter(|deadline| self.wants_coordinator(deadline.at)),
            self.membership.poll_timeout(shared),
            self.poll_deadline().map(|at| Deadline::new(at, "the application must poll")),
            self.commits.poll_timeout(),
            self.committed.poll_timeout(),
            self.queries.poll_timeout(),
            self.cursors.next_retry().map(|at| Deadline::new(at, "try a partition again")),
            self.fetcher.poll_timeout(),
        ])
    }
}

impl Consumer {
    /// The time a commit may be tried again.
    fn commit_timeout(&self) -> Duration {
        self.shared.config.commit_timeout
    }
}
