//! Members of a group whose listeners write down what they are told, and what they read.

use std::{
    collections::BTreeMap,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use milena::{
    Assignor, AutoOffsetReset, Client, CommitError, Consumer, ConsumerBuilder, GroupProtocol,
    RebalanceContext, RebalanceListener, TopicPartition,
};
use protocol_tests::stage::{Stage, within};
use tokio::{sync::Notify, time::Instant};

pub(crate) const BOTH_PROTOCOLS: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];
/// How often a member of the classic protocol is heard of.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(300);
const MOMENT: Duration = Duration::from_millis(20);
const SOON: Duration = Duration::from_secs(20);
/// The session of a member that is given up is over by then.
const LATEST: Duration = Duration::from_secs(60);

/// What a listener is told of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Assigned,
    Revoked,
    Lost,
}

/// What the listeners of a group were told, in this order: by whom, and of which partitions.
#[derive(Clone, Debug, Default)]
struct Notes(Arc<Mutex<Vec<Note>>>);

type Note = (&'static str, Told, Vec<TopicPartition>);

/// A group that reads the topic of a stage.
pub(crate) struct Group {
    pub(crate) id: String,
    topic: String,
    protocol: GroupProtocol,
    notes: Notes,
}

impl Group {
    pub(crate) fn of(stage: &Stage, protocol: GroupProtocol) -> Self {
        let id = format!("{}-{protocol:?}", stage.name);
        Self { id, topic: stage.name.clone(), protocol, notes: Notes::default() }
    }

    /// A member to be. Of the classic protocol it is cooperative, as all are by the other.
    pub(crate) fn builder(&self, client: &Client, name: &'static str) -> ConsumerBuilder {
        let listener = Listener { name, notes: self.notes.clone(), commits: None };
        self.told(client, listener).assignors([Assignor::CooperativeSticky])
    }

    /// A member to be, of which all partitions are asked back when others come or go.
    pub(crate) fn eager(&self, client: &Client, name: &'static str) -> ConsumerBuilder {
        let listener = Listener { name, notes: self.notes.clone(), commits: None };
        self.told(client, listener).assignors([Assignor::Range])
    }

    /// A member to be that commits what it gives up, and gives it up when the gate is open.
    pub(crate) fn committing(
        &self,
        client: &Client,
        name: &'static str,
        gate: &Arc<Notify>,
    ) -> ConsumerBuilder {
        let listener = Listener { name, notes: self.notes.clone(), commits: Some(Arc::clone(gate)) };
        self.told(client, listener).assignors([Assignor::CooperativeSticky])
    }

    fn told(&self, client: &Client, listener: Listener) -> ConsumerBuilder {
        let builder = client.consumer(self.id.as_str()).subscribe([self.topic.as_str()]);
        let builder = builder.group_protocol(self.protocol).heartbeat_interval(HEARTBEAT);
        builder.auto_offset_reset(AutoOffsetReset::Earliest).rebalance_listener(listener)
    }

    /// What a member was told so far, and of which partitions of whatever topic.
    pub(crate) fn told_to(&self, member: &str) -> Vec<(Told, Vec<i32>)> {
        let numbers = |partitions: &[TopicPartition]| partitions.iter().map(|one| one.partition).collect();
        let notes = self.notes.lock();
        let of_member = notes.iter().filter(|(name, ..)| *name == member);
        of_member.map(|(_, told, partitions)| (*told, numbers(partitions))).collect()
    }

    /// No partition has come to a member while another had it.
    #[track_caller]
    pub(crate) fn assert_one_owner(&self) {
        let mut owners: BTreeMap<&TopicPartition, &str> = BTreeMap::new();
        let notes = self.notes.lock();
        for (member, told, partitions) in notes.iter() {
            for partition in partitions {
                let before = match told {
                    Told::Assigned => owners.insert(partition, member),
                    Told::Revoked | Told::Lost => owners.remove(partition).filter(|owner| owner != member),
                };
                assert_eq!(before, None, "{partition} {told:?} {member}: {notes:?}");
            }
        }
    }
}

impl Notes {
    fn lock(&self) -> MutexGuard<'_, Vec<Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Listener {
    name: &'static str,
    notes: Notes,
    /// What is given up is committed, and given up when this is notified.
    commits: Option<Arc<Notify>>,
}

impl Listener {
    fn note(&self, told: Told, partitions: &[TopicPartition]) {
        self.notes.lock().push((self.name, told, partitions.to_vec()));
    }
}

impl RebalanceListener for Listener {
    async fn assigned(&self, _: &RebalanceContext, partitions: &[TopicPartition]) {
        self.note(Told::Assigned, partitions);
    }

    async fn revoked(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
        if self.commits.is_some() {
            context.commit().await.unwrap();
        }
        self.note(Told::Revoked, partitions);
        if let Some(gate) = &self.commits {
            gate.notified().await;
        }
    }

    async fn lost(&self, _: &RebalanceContext, partitions: &[TopicPartition]) {
        self.note(Told::Lost, partitions);
    }
}

/// A member, and the offsets that it has read.
pub(crate) struct Member {
    pub(crate) consumer: Consumer,
    read: Mutex<Vec<(TopicPartition, i64)>>,
}

impl Member {
    pub(crate) fn new(builder: ConsumerBuilder) -> Self {
        Self { consumer: builder.build().unwrap(), read: Mutex::default() }
    }

    /// One call of `poll`, with a moment of patience.
    pub(crate) async fn poll(&self) {
        let records = within(self.consumer.poll(MOMENT)).await.unwrap().unwrap();
        let places = records
            .iter()
            .map(|record| (TopicPartition::new(record.topic(), record.partition()), record.offset()));
        self.read.lock().unwrap_or_else(PoisonError::into_inner).extend(places);
    }

    /// The offsets that it has read of a partition.
    pub(crate) fn read(&self, partition: &TopicPartition) -> Vec<i64> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.iter().filter(|(of, _)| of == partition).map(|(_, offset)| *offset).collect()
    }

    /// How many partitions it has.
    pub(crate) fn count(&self) -> usize {
        self.consumer.assignment().len()
    }

    /// The only partition that it has.
    #[track_caller]
    pub(crate) fn only(&self) -> TopicPartition {
        let mut assignment = self.consumer.assignment();
        assert_eq!(assignment.len(), 1, "{assignment:?}");
        assignment.remove(0)
    }

    /// Its generation, or its epoch; -1 for none.
    pub(crate) fn epoch(&self) -> i32 {
        self.consumer.group_metadata().map_or(-1, |group| group.generation_or_epoch)
    }

    /// What the group has committed of a partition.
    pub(crate) async fn committed(&self, partition: &TopicPartition) -> Option<i64> {
        let committed = within(self.consumer.committed([partition.clone()])).await.unwrap();
        committed.get(partition).map(|committed| committed.position.offset)
    }

    /// Commits what was handed out, after rebalances that come in between.
    pub(crate) async fn commit(&self) {
        within(async {
            while let Err(error) = self.consumer.commit().await {
                assert!(matches!(error, CommitError::Rebalancing { .. }), "{error}");
                self.poll().await;
            }
        })
        .await;
    }

    pub(crate) async fn close(self) {
        within(self.consumer.close(SOON)).await.unwrap();
    }
}

/// Polls the members in turn until it is so.
#[track_caller]
pub(crate) fn until(members: &[&Member], is_so: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let begin = Instant::now();
        while !is_so() {
            for member in members {
                member.poll().await;
            }
            let explain: fn(&&Member) -> Vec<String> = |member| member.consumer.explain();
            let is_late = begin.elapsed() > LATEST;
            assert!(!is_late, "{caller}: {:#?}", members.iter().map(explain).collect::<Vec<_>>());
        }
    }
}

/// Writes so many records to each of the partitions.
pub(crate) async fn write(stage: &Stage, partitions: &[i32], count: usize) {
    let producer = stage.direct.producer().linger(Duration::ZERO).build().unwrap();
    for partition in partitions {
        let records = (0..count).map(|number| stage.record(*partition, format!("record {number}")));
        for result in within(producer.send_all(records)).await {
            result.unwrap();
        }
    }
}

/// So many numbers that follow each other.
#[track_caller]
pub(crate) fn assert_contiguous(offsets: &[i64], from: i64, count: usize) {
    assert_eq!(offsets, (from..).take(count).collect::<Vec<_>>());
}
