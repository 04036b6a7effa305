//! Partitions that come and go, and who is told: a listener, positions that are committed by themselves, patterns, changes of
//! what is read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use milena::{
    AutoOffsetReset, Client, Consumer, ConsumerBuilder, ConsumerError, Fault, GroupProtocol, NewTopic,
    Position, RebalanceContext, RebalanceListener, Record, SeekTo, SubscribeError, TopicPartition,
};
use milena_embedded_broker::{EmbeddedBroker, core::ClusterConfig};
use tokio::{sync::Notify, time::timeout};

const SOON: Duration = Duration::from_secs(20);
const BRIEFLY: Duration = Duration::from_millis(100);
const PROTOCOLS: [GroupProtocol; 2] = [GroupProtocol::Consumer, GroupProtocol::Classic];

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap_or_else(|_| panic!("it hangs"))
}

async fn start(partitions: i32) -> (EmbeddedBroker, Client) {
    let quick = |config: &mut ClusterConfig| config.consumer_heartbeat_interval = BRIEFLY;
    let broker = EmbeddedBroker::builder().brokers(3).configure(quick).topic("letters", partitions);
    let broker = broker.start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    (broker, client)
}

async fn write(client: &Client, topic: &str, partition: i32, count: usize) {
    let producer = client.producer().build().unwrap();
    let record = |number: usize| Record::new(topic).partition(partition).value(number.to_string());
    for result in producer.send_all((0..count).map(record)).await {
        result.unwrap();
    }
    producer.close(SOON).await.unwrap();
}

fn member(client: &Client, protocol: GroupProtocol) -> ConsumerBuilder {
    client
        .consumer("readers")
        .group_protocol(protocol)
        .heartbeat_interval(BRIEFLY)
        .subscribe(["letters"])
        .auto_offset_reset(AutoOffsetReset::Earliest)
}

fn letters(partition: i32) -> TopicPartition {
    TopicPartition::new("letters", partition)
}

async fn committed(client: &Client, partition: i32) -> Option<i64> {
    let offsets = within(client.admin().group_offsets("readers")).await.unwrap();
    let found = offsets.get(&letters(partition))?;
    Some(found.as_ref().unwrap().position.offset)
}

/// Polls until `is_done`, and returns how many records came.
async fn poll_until(consumer: &Consumer, is_done: impl Fn() -> bool) -> usize {
    let mut count = 0;
    within(async {
        while !is_done() {
            count += consumer.poll(BRIEFLY).await.unwrap().unwrap().len();
        }
    })
    .await;
    count
}

/// What happened to which partitions.
type Told = Vec<(&'static str, BTreeSet<i32>)>;

/// Writes down what it is told, and does what it was made to.
#[derive(Clone, Default)]
struct Notes {
    told: Arc<Mutex<Told>>,
    commits: bool,
    seeks: Option<i64>,
    /// What a revocation waits for.
    waits: Option<Arc<Notify>>,
}

impl Notes {
    fn note(&self, what: &'static str, partitions: &[TopicPartition]) {
        let partitions = partitions.iter().map(|partition| partition.partition).collect();
        self.told.lock().unwrap().push((what, partitions));
    }

    fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    /// What is owned by what was told.
    fn owned(&self) -> BTreeSet<i32> {
        let mut owned = BTreeSet::new();
        for (what, partitions) in self.told() {
            if what == "assigned" {
                assert!(owned.is_disjoint(&partitions), "{:?}", self.told());
                owned.extend(partitions);
            } else {
                assert!(owned.is_superset(&partitions), "{:?}", self.told());
                owned.retain(|partition| !partitions.contains(partition));
            }
        }
        owned
    }
}

impl RebalanceListener for Notes {
    async fn assigned(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
        if let Some(offset) = self.seeks {
            for partition in partitions {
                context.seek(partition, SeekTo::Offset(offset)).unwrap();
            }
        }
        self.note("assigned", partitions);
    }

    async fn revoked(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
        assert!(partitions.iter().all(|partition| context.assignment().contains(partition)));
        if let Some(waits) = &self.waits {
            waits.notified().await;
        }
        if self.commits {
            context.commit().await.unwrap();
        }
        self.note("revoked", partitions);
    }

    async fn lost(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
        let position = Position { offset: 1, leader_epoch: None };
        context.commit_offsets([(partitions[0].clone(), position)]).await.unwrap_err();
        self.note("lost", partitions);
    }
}

/// What a listener commits when partitions are taken is where their next owner begins: nothing is read twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_while_partitions_are_revoked_counts() {
    for protocol in PROTOCOLS {
        let (broker, client) = start(4).await;
        for partition in 0..4 {
            write(&client, "letters", partition, 50).await;
        }
        let notes = Notes { commits: true, ..Notes::default() };
        let first = member(&client, protocol).rebalance_listener(notes.clone()).build().unwrap();
        let mut read = 0;
        within(async {
            while read < 200 {
                read += first.poll(BRIEFLY).await.unwrap().unwrap().len();
            }
        })
        .await;
        assert_eq!(notes.owned().len(), 4);
        assert_eq!(committed(&client, 0).await, None);

        let others = Notes::default();
        let second = member(&client, protocol).rebalance_listener(others.clone()).build().unwrap();
        let beside = tokio::spawn({
            let (second, others) = (second.clone(), others.clone());
            async move { poll_until(&second, || others.owned().len() == 2).await }
        });
        let again = poll_until(&first, || notes.owned().len() == 2 && beside.is_finished()).await;
        assert_eq!((again, beside.await.unwrap()), (0, 0), "{protocol:?}");
        assert!(notes.owned().is_disjoint(&others.owned()));

        // A close tells what is left, and what is committed then counts as well.
        write(&client, "letters", *notes.owned().first().unwrap(), 5).await;
        let partition = *notes.owned().first().unwrap();
        assert_eq!(
            poll_until(&first, || first.position(&letters(partition)).is_some_and(|next| next.offset == 55))
                .await,
            5
        );
        within(first.close(SOON)).await.unwrap();
        assert_eq!(notes.owned(), BTreeSet::new());
        assert_eq!(committed(&client, partition).await, Some(55));
        second.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

/// Reading starts where the listener says, and nothing from elsewhere is handed out before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_says_where_reading_starts() {
    for protocol in PROTOCOLS {
        let (broker, client) = start(2).await;
        write(&client, "letters", 0, 100).await;
        let notes = Notes { seeks: Some(90), ..Notes::default() };
        let consumer = member(&client, protocol).rebalance_listener(notes.clone()).build().unwrap();
        // What is fetched meanwhile is thrown away.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let records = within(async {
            loop {
                let records = consumer.poll(BRIEFLY).await.unwrap().unwrap();
                if !records.is_empty() {
                    return records;
                }
            }
        })
        .await;
        assert_eq!(records.iter().map(|record| record.offset()).collect::<Vec<_>>(), Vec::from_iter(90..100));
        consumer.close(SOON).await.unwrap();
        assert_eq!(notes.told().len(), 2);
        broker.shutdown().await;
    }
}

/// Settings may be used for several members of a group, which are different ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_cloned_settings_have_ids_of_their_own() {
    for protocol in PROTOCOLS {
        let (broker, client) = start(2).await;
        let settings = member(&client, protocol);
        let members = [settings.clone().build().unwrap(), settings.build().unwrap()];
        let shared = |members: &[Consumer]| members.iter().all(|member| member.assignment().len() == 1);
        within(async {
            while !shared(&members) {
                for member in &members {
                    let _ = member.poll(BRIEFLY).await.unwrap().unwrap();
                }
            }
        })
        .await;
        let ids = members.each_ref().map(|member| member.group_metadata().unwrap().member_id);
        assert_ne!(ids[0], ids[1], "{protocol:?}");
        for member in &members {
            member.close(SOON).await.unwrap();
        }
        broker.shutdown().await;
    }
}

/// Without a reset policy a partition without an offset is an error, unless the listener or a later seek says where to read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seek_makes_up_for_a_missing_offset() {
    for protocol in PROTOCOLS {
        let (broker, client) = start(1).await;
        write(&client, "letters", 0, 100).await;
        let build =
            |builder: ConsumerBuilder| builder.auto_offset_reset(AutoOffsetReset::None).build().unwrap();
        let missing = async |consumer: &Consumer| {
            while consumer.explain().iter().all(|line| !line.contains("no committed offset")) {
                tokio::time::sleep(BRIEFLY).await;
            }
        };
        for seeks_late in [false, true] {
            let notes = Notes { seeks: Some(90).filter(|_| !seeks_late), ..Notes::default() };
            let consumer = build(member(&client, protocol).rebalance_listener(notes));
            within(missing(&consumer)).await;
            if seeks_late {
                consumer.seek(&letters(0), SeekTo::Offset(90)).unwrap();
            }
            let mut read = 0;
            within(async {
                while read < 10 {
                    read += consumer.poll(BRIEFLY).await.unwrap().unwrap().len();
                }
            })
            .await;
            consumer.close(SOON).await.unwrap();
        }
        // Nobody says where.
        let consumer = build(member(&client, protocol));
        within(missing(&consumer)).await;
        let error = within(consumer.poll(SOON)).await.unwrap_err();
        assert_eq!(error.kind(), &ConsumerError::NoOffset { partition: letters(0) });
        assert_eq!(error.kind().fault(), Fault::Caller);
        consumer.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

/// A poll that is dropped while the listener works leaves it working, and the partitions are given up when it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_outlives_the_poll_that_called_it() {
    for protocol in PROTOCOLS {
        let (broker, client) = start(2).await;
        let go_on = Arc::new(Notify::new());
        let notes = Notes { waits: Some(Arc::clone(&go_on)), ..Notes::default() };
        let first = member(&client, protocol).rebalance_listener(notes.clone()).build().unwrap();
        poll_until(&first, || notes.owned().len() == 2).await;
        let second = member(&client, protocol).build().unwrap();
        // The group asks for a partition back, and the listener hangs.
        within(async {
            while timeout(Duration::from_millis(300), first.poll(BRIEFLY)).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!((notes.owned().len(), second.assignment().len()), (2, 0), "{protocol:?}");
        go_on.notify_one();
        within(async {
            while second.assignment().is_empty() {
                let _ = second.poll(BRIEFLY).await.unwrap().unwrap();
                if notes.told().len() > 1 {
                    let _ = first.poll(BRIEFLY).await.unwrap().unwrap();
                }
            }
        })
        .await;
        go_on.notify_one();
        first.close(SOON).await.unwrap();
        second.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

/// What was lost while nobody polled is told as lost, and only what was told as assigned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_told_as_lost() {
    for protocol in PROTOCOLS {
        let (broker, client) = start(2).await;
        let notes = Notes::default();
        let consumer = member(&client, protocol)
            .max_poll_interval(Duration::from_millis(300))
            .rebalance_listener(notes.clone())
            .build()
            .unwrap();
        poll_until(&consumer, || notes.owned().len() == 2).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        poll_until(&consumer, || notes.told().len() == 3).await;
        let all = BTreeSet::from([0, 1]);
        assert_eq!(notes.told(), [("assigned", all.clone()), ("lost", all.clone()), ("assigned", all)]);
        consumer.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

/// A listener that polls its own consumer would wait for itself.
struct Polls(Mutex<Option<Consumer>>, Arc<Mutex<Option<ConsumerError>>>);

impl RebalanceListener for Polls {
    async fn assigned(&self, _: &RebalanceContext, _: &[TopicPartition]) {
        let consumer = self.0.lock().unwrap().take();
        let error = consumer.unwrap().poll(SOON).await.unwrap_err();
        *self.1.lock().unwrap() = Some(error.kind().clone());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_polls_is_told_so() {
    let (broker, client) = start(1).await;
    let told = Arc::new(Mutex::new(None));
    let slot = Arc::new(Polls(Mutex::default(), Arc::clone(&told)));
    struct Shared(Arc<Polls>);
    impl RebalanceListener for Shared {
        async fn assigned(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
            self.0.assigned(context, partitions).await;
        }
    }
    let consumer = member(&client, GroupProtocol::Consumer)
        .rebalance_listener(Shared(Arc::clone(&slot)))
        .build()
        .unwrap();
    *slot.0.lock().unwrap() = Some(consumer.clone());
    poll_until(&consumer, || told.lock().unwrap().is_some()).await;
    assert_eq!(*told.lock().unwrap(), Some(ConsumerError::PollWithinListener));
    consumer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

struct Panics;

impl RebalanceListener for Panics {
    async fn revoked(&self, _: &RebalanceContext, _: &[TopicPartition]) {
        panic!("a mistake of the application");
    }
}

/// A6: a listener that panics takes the poll with it, and neither the partitions nor the membership.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_panics_gives_its_partitions_up() {
    let (broker, client) = start(2).await;
    let first = member(&client, GroupProtocol::Consumer).rebalance_listener(Panics).build().unwrap();
    poll_until(&first, || first.assignment().len() == 2).await;
    let second = member(&client, GroupProtocol::Consumer).build().unwrap();
    let polling = tokio::spawn({
        let first = first.clone();
        async move { while first.poll(BRIEFLY).await.unwrap().is_some() {} }
    });
    assert!(within(polling).await.unwrap_err().is_panic());
    poll_until(&second, || second.assignment().len() == 1).await;
    poll_until(&first, || first.assignment().len() == 1).await;
    drop(first);
    poll_until(&second, || second.assignment().len() == 2).await;
    second.close(SOON).await.unwrap();
    broker.shutdown().await;
}

/// What was handed out is committed when the next is asked for, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_commit_commits_what_was_handed_out_before() {
    for protocol in PROTOCOLS {
        let (broker, client) = start(1).await;
        write(&client, "letters", 0, 10).await;
        let build =
            || member(&client, protocol).max_poll_records(4).auto_commit(Duration::ZERO).build().unwrap();
        let consumer = build();
        let mut handed_out = 0;
        for expected in [None, Some(4), Some(8)] {
            handed_out += within(async {
                loop {
                    let records = consumer.poll(SOON).await.unwrap().unwrap();
                    if !records.is_empty() {
                        return records.len();
                    }
                }
            })
            .await;
            within(async {
                while committed(&client, 0).await != expected {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
        }
        assert_eq!(handed_out, 10);
        // Closing says that the last are processed, too.
        consumer.close(SOON).await.unwrap();
        assert_eq!(committed(&client, 0).await, Some(10));

        // Whoever is dropped in the middle has not said so.
        write(&client, "letters", 0, 4).await;
        let dropped = build();
        assert_eq!(poll_until(&dropped, || dropped.lag(&letters(0)) == Some(0)).await, 4);
        drop(dropped);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(committed(&client, 0).await, Some(10));
        broker.shutdown().await;
    }
}

/// A partition that goes to another member is committed first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_commit_commits_before_partitions_go() {
    for protocol in PROTOCOLS {
        let (broker, client) = start(2).await;
        write(&client, "letters", 0, 10).await;
        write(&client, "letters", 1, 10).await;
        let hourly = Duration::from_secs(3_600);
        let first = member(&client, protocol).auto_commit(hourly).build().unwrap();
        let mut read = 0;
        within(async {
            while read < 20 {
                read += first.poll(BRIEFLY).await.unwrap().unwrap().len();
            }
        })
        .await;
        assert_eq!(committed(&client, 0).await, None);
        let second = member(&client, protocol).build().unwrap();
        let beside = tokio::spawn({
            let second = second.clone();
            async move { poll_until(&second, || second.assignment().len() == 1).await }
        });
        let again = poll_until(&first, || beside.is_finished()).await;
        assert_eq!((again, beside.await.unwrap()), (0, 0), "{protocol:?}");
        let given = second.assignment()[0].partition;
        assert_eq!(committed(&client, given).await, Some(10));
        first.close(SOON).await.unwrap();
        second.close(SOON).await.unwrap();
        broker.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_commit_needs_a_group() {
    let (broker, client) = start(1).await;
    let refused = client.consumer_without_group().auto_commit(SOON).build().unwrap_err();
    assert!(refused.to_string().contains("needs a group"), "{refused}");
    broker.shutdown().await;
}

/// KIP-848: topics that match are read, those that are made later included, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_read_by_pattern() {
    let (broker, client) = start(1).await;
    for topic in ["orders-eu", "orders-us", "old-orders-eu"] {
        client.admin().create_topic(NewTopic::new(topic).partitions(1)).await.unwrap();
        write(&client, topic, 0, 3).await;
    }
    let consumer = client
        .consumer("by-pattern")
        .subscribe_pattern("orders-.*")
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let mut topics = BTreeSet::new();
    let mut read_until = async |count: usize| {
        let mut read = 0;
        within(async {
            while read < count {
                let records = consumer.poll(BRIEFLY).await.unwrap().unwrap();
                read += records.len();
                topics.extend(records.iter().map(|record| record.topic().to_owned()));
            }
        })
        .await;
        assert_eq!(read, count);
        topics.clone()
    };
    assert_eq!(read_until(6).await, BTreeSet::from(["orders-eu", "orders-us"].map(String::from)));
    client.admin().create_topic(NewTopic::new("orders-in").partitions(1)).await.unwrap();
    write(&client, "orders-in", 0, 3).await;
    assert!(read_until(3).await.contains("orders-in"));
    consumer.close(SOON).await.unwrap();

    let broken = client.consumer("by-pattern").subscribe_pattern("orders-(").build().unwrap();
    let error = within(broken.poll(SOON)).await.unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("INVALID_REGULAR_EXPRESSION"), "{error}");
    broker.shutdown().await;
}

/// What is read can be changed while it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_can_be_changed() {
    let (broker, client) = start(2).await;
    client.admin().create_topic(NewTopic::new("replies").partitions(1)).await.unwrap();
    for (topic, partition) in [("letters", 0), ("letters", 1), ("replies", 0)] {
        write(&client, topic, partition, 10).await;
    }
    let read = async |consumer: &Consumer, count: usize| {
        let mut seen = Vec::new();
        within(async {
            while seen.len() < count {
                let records = consumer.poll(BRIEFLY).await.unwrap().unwrap();
                seen.extend(records.iter().map(|record| (record.topic().to_owned(), record.offset())));
            }
        })
        .await;
        seen
    };
    let by_hand =
        client.consumer_without_group().auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    assert!(matches!(by_hand.subscribe(["letters"]), Err(SubscribeError::NoGroup)));
    by_hand.assign([(letters(0), Some(Position { offset: 7, leader_epoch: None }))]).unwrap();
    assert_eq!(read(&by_hand, 3).await.len(), 3);
    // One that is read already goes on, the other begins.
    by_hand.assign([(letters(0), None), (letters(1), None)]).unwrap();
    assert_eq!(read(&by_hand, 10).await.len(), 10);
    by_hand.unsubscribe();
    assert_eq!(by_hand.assignment(), []);
    assert!(by_hand.poll(BRIEFLY).await.unwrap().unwrap().is_empty());
    by_hand.close(SOON).await.unwrap();

    let member = member(&client, GroupProtocol::Consumer).build().unwrap();
    assert_eq!(read(&member, 20).await.len(), 20);
    assert!(matches!(member.assign([]), Err(SubscribeError::Subscribed)));
    member.subscribe(["replies"]).unwrap();
    assert!(read(&member, 10).await.iter().all(|(topic, _)| topic == "replies"));
    member.pause(&TopicPartition::new("replies", 0)).unwrap();
    assert!(member.is_paused(&TopicPartition::new("replies", 0)));
    assert_eq!(member.lag(&TopicPartition::new("replies", 0)), Some(0));
    member.close(SOON).await.unwrap();
    assert!(matches!(member.subscribe(["letters"]), Err(SubscribeError::Closed)));
    broker.shutdown().await;
}
