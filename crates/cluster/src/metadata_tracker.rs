//! Keeps a machine's [`Metadata`] current: which topics it wants, when to ask, and what came back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
    time::Instant,
};

use milena_protocol::{
    messages::{MetadataRequest, Response, metadata::MetadataRequestTopic},
    wire::{ByteString, Uuid},
};

use crate::{
    Backoff, BrokerId, Deadline, Failure, Metadata, Outgoing, RequestId, RequestIds, Target, TopicPartition,
    later,
};

/// The version in which a topic can be asked about by its id alone.
const FIRST_BY_ID: i16 = 12;

/// How often and how patiently to ask.
#[derive(Clone, Copy, Debug)]
pub struct MetadataConfig {
    /// After how long metadata is asked for again although nothing went wrong (`metadata.max.age.ms`).
    pub max_age: Duration,
    /// The waits between tries that brought nothing new.
    pub backoff: Backoff,
    /// How long to wait for an answer.
    pub request_timeout: Duration,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(300),
            backoff: Backoff::DEFAULT,
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// A part of a machine: asks for metadata and keeps the newest.
#[derive(Debug)]
pub struct MetadataTracker {
    config: MetadataConfig,
    metadata: Arc<Metadata>,
    wanted: BTreeSet<ByteString>,
    /// Topics of which only the id is known.
    wanted_ids: BTreeSet<Uuid>,
    state: State,
    /// Answers in a row that brought nothing new, or no answer.
    fruitless: u32,
    /// Nothing went wrong: what is asked for has only grown old.
    of_age: bool,
    last_failure: Option<Failure>,
    /// How many answers there were.
    answers: u64,
    /// Since when answers have named no leader of a partition.
    leaderless: BTreeMap<TopicPartition, Instant>,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked for anything.
    Idle,
    /// Good until then.
    Fresh { since: Instant, until: Instant },
    /// To be asked for, but not before then.
    Due { at: Instant },
    /// Asked for. `again` when something came up that the answer may not yet reflect.
    Asking { id: RequestId, again: bool },
}

impl MetadataTracker {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(config: MetadataConfig) -> Self {
        Self {
            config,
            metadata: Arc::default(),
            wanted: BTreeSet::new(),
            wanted_ids: BTreeSet::new(),
            state: State::Idle,
            fruitless: 0,
            of_age: false,
            last_failure: None,
            answers: 0,
            leaderless: BTreeMap::new(),
        }
    }

    /// What is known.
    #[must_use]
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// Why the last request for metadata had no answer, until one has.
    #[must_use]
    pub fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    /// How many answers there were: who sees the number grow knows that what is known is no older than that.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Since when no answer has named a leader of the partition.
    #[must_use]
    pub fn leaderless_since(&self, partition: &TopicPartition) -> Option<Instant> {
        self.leaderless.get(partition).copied()
    }

    /// Keeps a topic known from here on.
    pub fn want(&mut self, now: Instant, topic: &ByteString) {
        if self.wanted.contains(topic) {
            return;
        }
        self.wanted.insert(topic.clone());
        match &mut self.state {
            State::Asking { again, .. } => *again = true,
            _ => self.state = State::Due { at: now },
        }
    }

    /// Asks about these topics too, and about no others by their ids, when metadata is next asked for. What is said of them is
    /// kept for good only if they are [wanted](Self::want).
    pub fn want_ids(&mut self, ids: BTreeSet<Uuid>) {
        self.wanted_ids = ids;
    }

    /// Leaves a topic to itself.
    pub fn unwant(&mut self, topic: &str) {
        self.wanted.remove(topic);
        if self.metadata.topic_errors.contains_key(topic) {
            Arc::make_mut(&mut self.metadata).topic_errors.remove(topic);
        }
    }

    /// Asks again: something contradicts what is known. The first time at once, then with growing waits from the last answer
    /// on while the answers bring nothing new.
    pub fn refresh(&mut self, now: Instant, random: &mut fastrand::Rng) {
        match &mut self.state {
            State::Asking { .. } | State::Due { .. } => {}
            State::Idle => self.state = State::Due { at: now },
            State::Fresh { since, .. } => {
                let wait = match self.fruitless {
                    0 => Duration::ZERO,
                    fruitless => self.config.backoff.after(fruitless, random),
                };
                self.state = State::Due { at: now.max(later(*since, wait)) };
            }
        }
    }

    /// Takes in what an answer says of a partition's new leader (KIP-951); true when it was news.
    pub fn apply_leader(&mut self, partition: &TopicPartition, leader: BrokerId, leader_epoch: i32) -> bool {
        Arc::make_mut(&mut self.metadata).apply_leader(partition, leader, leader_epoch)
    }

    /// The request that is due, if one is.
    pub fn poll_request(&mut self, now: Instant, ids: &mut RequestIds) -> Option<Outgoing> {
        let State::Due { at } = self.state else { return None };
        if at > now {
            return None;
        }
        let id = ids.allocate();
        self.state = State::Asking { id, again: false };
        let named =
            |name: &ByteString| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let by_id = |id: &Uuid| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() };
        let request = MetadataRequest {
            topics: Some(self.wanted.iter().map(named).chain(self.wanted_ids.iter().map(by_id)).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let mut outgoing = Outgoing::new(id, Target::AnyBroker, request, self.config.request_timeout);
        if !self.wanted_ids.is_empty() {
            outgoing.min_version = FIRST_BY_ID;
        }
        Some(outgoing)
    }

    /// Takes the answer; false when it is to somebody else's request.
    pub fn handle_response(
        &mut self,
        now: Instant,
        id: RequestId,
        result: &Result<Response, Failure>,
        random: &mut fastrand::Rng,
    ) -> bool {
        let State::Asking { id: asked, again } = self.state else { return false };
        if asked != id {
            return false;
        }
        let news = match result {
            Ok(Response::Metadata(response)) => {
                self.last_failure = None;
                let before = Arc::clone(&self.metadata);
                Arc::make_mut(&mut self.metadata).apply(response);
                self.answers = self.answers.wrapping_add(1);
                self.note_leaderless(now);
                before != self.metadata
            }
            Ok(_) => false,
            Err(failure) => {
                self.last_failure = Some(failure.clone());
                false
            }
        };
        let of_age = std::mem::take(&mut self.of_age) && result.is_ok();
        self.fruitless = if news || of_age { 0 } else { self.fruitless.saturating_add(1) };
        self.state = if again {
            State::Due { at: now }
        } else if result.is_err() || !self.is_complete() {
            State::Due { at: later(now, self.config.backoff.after(self.fruitless.max(1), random)) }
        } else {
            State::Fresh { since: now, until: later(now, self.config.max_age) }
        };
        true
    }

    fn note_leaderless(&mut self, now: Instant) {
        let before = std::mem::take(&mut self.leaderless);
        for (name, topic) in &self.metadata.topics {
            let partitions = topic.partitions.iter().zip(0..);
            for (_, index) in partitions.filter(|(partition, _)| partition.leader.is_none()) {
                let partition = TopicPartition::new(name.clone(), index);
                let since = before.get(&partition).copied().unwrap_or(now);
                self.leaderless.insert(partition, since);
            }
        }
    }

    /// True when every wanted topic is known with all its leaders.
    fn is_complete(&self) -> bool {
        self.wanted.iter().all(|name| {
            let topic = self.metadata.topics.get(name);
            topic.is_some_and(|topic| topic.partitions.iter().all(|partition| partition.leader.is_some()))
        })
    }

    /// Notices that metadata has grown old.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Fresh { until, .. } = self.state
            && until <= now
        {
            self.state = State::Due { at: now };
            self.of_age = true;
        }
    }

    /// When to look here again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match self.state {
            State::Due { at } => Some(Deadline::new(at, "ask for metadata")),
            State::Fresh { until, .. } => Some(Deadline::new(until, "metadata grows old")),
            State::Idle | State::Asking { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::{MetadataResponse, metadata::MetadataResponseTopic};

    use super::*;
    use crate::FailureKind;

    struct Script {
        tracker: MetadataTracker,
        ids: RequestIds,
        random: fastrand::Rng,
        start: Instant,
    }

    impl Script {
        #[expect(clippy::disallowed_methods, reason = "a script needs some instant to start at")]
        fn new() -> Self {
            Self {
                tracker: MetadataTracker::new(MetadataConfig::default()),
                ids: RequestIds::default(),
                random: fastrand::Rng::with_seed(3),
                start: Instant::now(),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn ask(&mut self, ms: u64) -> Option<RequestId> {
            self.tracker.handle_timeout(self.at(ms));
            self.tracker.poll_request(self.at(ms), &mut self.ids).map(|outgoing| outgoing.id)
        }

        fn answer(&mut self, ms: u64, id: RequestId, result: Result<Response, Failure>) {
            assert!(self.tracker.handle_response(self.at(ms), id, &result, &mut self.random));
        }
    }

    fn letters() -> Result<Response, Failure> {
        let topic = MetadataResponseTopic { name: Some("letters".into()), ..Default::default() };
        Ok(MetadataResponse { topics: vec![topic], ..Default::default() }.into())
    }

    #[test]
    fn asks_once_and_then_when_metadata_grows_old() {
        let mut script = Script::new();
        assert_eq!(script.ask(0), None);
        script.tracker.want(script.at(0), &"letters".into());
        let id = script.ask(0).unwrap();
        assert_eq!(script.ask(10), None);
        script.answer(10, id, letters());
        assert_eq!(script.ask(299_000), None);
        assert!(script.ask(300_010).is_some());
    }

    #[test]
    fn a_failure_is_followed_by_a_wait_that_grows() {
        let mut script = Script::new();
        script.tracker.want(script.at(0), &"letters".into());
        let mut at = 0;
        for least in [80, 160, 320, 640, 800, 800] {
            let id = script.ask(at).unwrap();
            script.answer(at, id, Err(Failure::new(FailureKind::NotSent, "refused")));
            assert_eq!(script.tracker.last_failure().unwrap().to_string(), "refused");
            assert_eq!(script.ask(at + least - 1), None);
            at += least * 12 / 8;
        }
    }

    #[test]
    fn a_refresh_is_immediate_once_and_patient_afterwards() {
        let mut script = Script::new();
        script.tracker.want(script.at(0), &"letters".into());
        let id = script.ask(0).unwrap();
        script.answer(0, id, letters());
        script.tracker.refresh(script.start, &mut script.random);
        let id = script.ask(0).unwrap();
        script.answer(0, id, letters());
        script.tracker.refresh(script.start, &mut script.random);
        assert_eq!(script.ask(0), None);
        assert!(script.ask(120).is_some());
    }

    #[test]
    fn a_refresh_long_after_the_last_answer_is_immediate_however_often_nothing_was_new() {
        let mut script = Script::new();
        script.tracker.want(script.at(0), &"letters".into());
        for age in 0..4 {
            let id = script.ask(age * 300_000).unwrap();
            script.answer(age * 300_000, id, letters());
        }
        let at = script.at(902_000);
        script.tracker.refresh(at, &mut script.random);
        assert!(script.ask(902_000).is_some());
    }

    #[test]
    fn a_topic_wanted_while_asking_is_asked_for_next() {
        let mut script = Script::new();
        script.tracker.want(script.at(0), &"letters".into());
        let id = script.ask(0).unwrap();
        script.tracker.want(script.at(1), &"replies".into());
        script.answer(2, id, letters());
        assert!(script.ask(2).is_some());
    }
}
