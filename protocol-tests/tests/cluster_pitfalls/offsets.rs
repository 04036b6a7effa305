//! Offsets of a consumer group in transactions.

use std::time::Duration;

use milena::{
    AutoOffsetReset, Consumer, ConsumerBuilder, GroupProtocol, IsolationLevel, NewTopic, Position, Record,
    SeekTo, TopicPartition, TransactionError, TransactionFailure,
};
use milena_protocol::{ApiKey, ErrorCode, messages::Response};
use protocol_tests::{
    cluster::Cluster,
    observer::Observer,
    stage::{Stage, within},
};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(20);

/// A topic with two partitions and three records in the first of them, which is read by a group of its name.
struct Source {
    name: String,
    partition: TopicPartition,
}

impl Source {
    async fn of(stage: &Stage, protocol: GroupProtocol) -> Self {
        let name = format!("{}-source-{protocol:?}", stage.name);
        within(stage.direct.admin().create_topic(NewTopic::new(name.as_str()).partitions(2))).await.unwrap();
        Observer::new(&stage.bootstrap).await_whole(std::slice::from_ref(&name)).await;
        let producer = stage.direct.producer().build().unwrap();
        for number in 0..3 {
            let record = Record::new(name.as_str()).partition(0).value(format!("order {number}"));
            within(producer.send(record)).await.unwrap();
        }
        Self { partition: TopicPartition::new(name.as_str(), 0), name }
    }

    fn reader(&self, client: &milena::Client, protocol: GroupProtocol) -> ConsumerBuilder {
        let builder = client.consumer(self.name.as_str()).subscribe([self.name.as_str()]);
        let builder = builder.group_protocol(protocol).isolation_level(IsolationLevel::ReadCommitted);
        builder.auto_offset_reset(AutoOffsetReset::Earliest).max_poll_records(1)
    }

    /// What the group has committed.
    async fn committed(&self, consumer: &Consumer) -> Option<i64> {
        let committed = within(consumer.committed([self.partition.clone()])).await.unwrap();
        committed.get(&self.partition).map(|committed| committed.position.offset)
    }
}

/// The value of the next record.
async fn next(consumer: &Consumer) -> String {
    loop {
        let records = within(consumer.poll(SOON)).await.unwrap().unwrap();
        if let Some(record) = records.iter().next() {
            return String::from_utf8(record.value().unwrap().to_vec()).unwrap();
        }
    }
}

/// T14: an abort leaves the consumer where it is, though its offsets went with the transaction. Going back is a seek to
/// what is committed, and what was read is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn an_abort_moves_no_consumer_and_a_seek_to_the_committed_offset_does() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "abort-and-seek").await;
    let mut producer = stage.producer().await;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let source = Source::of(&stage, protocol).await;
        let consumer = source.reader(&stage.direct, protocol).build().unwrap();
        for (read, committed) in [("order 0", None), ("order 1", Some(1))] {
            // Aborted first, and then read again and committed.
            for commits in [false, true] {
                let value = next(&consumer).await;
                assert_eq!(value, read, "{protocol:?}");
                let position = consumer.position(&source.partition).unwrap();
                let group = consumer.group_metadata().unwrap();
                let transaction = producer.begin().unwrap();
                stage.write(&transaction, &format!("{protocol:?} {value}")).await;
                let offsets = [(source.partition.clone(), position)];
                within(transaction.send_offsets(&group, offsets)).await.unwrap();
                if commits {
                    within(transaction.commit()).await.unwrap();
                    continue;
                }
                within(transaction.abort()).await.unwrap();
                assert_eq!(consumer.position(&source.partition), Some(position), "an abort moves nothing");
                assert_eq!(source.committed(&consumer).await, committed);
                consumer.seek(&source.partition, SeekTo::Offset(committed.unwrap_or(0))).unwrap();
            }
        }
        // Without a seek it would have gone on here.
        assert_eq!(next(&consumer).await, "order 2");
        within(consumer.close(SOON)).await.unwrap();
        within(stage.direct.admin().delete_topic(source.name.as_str())).await.unwrap();
    }
    stage.expect(&["Classic order 0", "Classic order 1", "Consumer order 0", "Consumer order 1"]).await;
    stage.strike().await;
}

/// How often a coordinator has said that offsets are not decided.
fn undecided(stage: &Stage) -> usize {
    let asked = stage.proxy.asked(ApiKey::OffsetFetch).into_iter().filter_map(|asked| asked.answer);
    let codes = asked.flat_map(|(_, answer)| match answer {
        Response::OffsetFetch(answer) => {
            let topics = answer.groups.into_iter().flat_map(|group| group.topics);
            topics.flat_map(|topic| topic.partitions).map(|partition| partition.error_code).collect()
        }
        _ => Vec::new(),
    });
    codes.filter(|code| *code == ErrorCode::UNSTABLE_OFFSET_COMMIT.0).count()
}

/// T15: an offset that is part of an open transaction makes who asks for it wait until that is decided. What a member
/// sends for a generation that is over is refused, and its transaction can only be aborted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn offsets_of_a_transaction_wait_for_its_end_and_those_of_an_old_generation_are_refused() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "group-offsets").await;
    let mut producer = stage.producer().await;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let source = Source::of(&stage, protocol).await;
        let consumer = source.reader(&stage.direct, protocol).build().unwrap();
        let observer = stage.proxied.consumer(source.name.as_str()).assign([source.partition.clone()]);
        let observer = observer.isolation_level(IsolationLevel::ReadCommitted).build().unwrap();
        next(&consumer).await;
        let group = consumer.group_metadata().unwrap();
        let at = |offset| [(source.partition.clone(), Position { offset, leader_epoch: None })];
        for (offset, commits, decided) in [(1, true, 1), (2, false, 1), (3, true, 3)] {
            let transaction = producer.begin().unwrap();
            within(transaction.send_offsets(&group, at(offset))).await.unwrap();
            let before = undecided(&stage);
            let (found, ()) = tokio::join!(source.committed(&observer), async {
                within(async {
                    while undecided(&stage) < before + 2 {
                        sleep(Duration::from_millis(5)).await;
                    }
                })
                .await;
                if commits {
                    within(transaction.commit()).await.unwrap();
                } else {
                    within(transaction.abort()).await.unwrap();
                }
            });
            assert_eq!(found, Some(decided), "{protocol:?}");
        }

        // Somebody else joins and takes one of the partitions over: the generation is over.
        let second = source.reader(&stage.direct, protocol).build().unwrap();
        within(async {
            let has_one = |member: &Consumer| member.assignment().len() == 1;
            while !(has_one(&consumer) && has_one(&second)) {
                for member in [&consumer, &second] {
                    within(member.poll(Duration::from_millis(50))).await.unwrap();
                }
            }
        })
        .await;
        let lost = [(second.assignment()[0].clone(), Position { offset: 2, leader_epoch: None })];
        let transaction = producer.begin().unwrap();
        stage.write(&transaction, "of a zombie").await;
        let error = within(transaction.send_offsets(&group, lost)).await.unwrap_err();
        let TransactionError::MustAbort(TransactionFailure::Refused { api, code, .. }) = &error else {
            panic!("{protocol:?}: {error:?}")
        };
        assert_eq!((*api, *code), (ApiKey::TxnOffsetCommit, ErrorCode::ILLEGAL_GENERATION), "{protocol:?}");
        assert_eq!(within(transaction.commit()).await.unwrap_err(), error);
        stage.commit(&mut producer, &format!("after {protocol:?}")).await;
        assert_eq!(source.committed(&observer).await, Some(3));
        for member in [consumer, second] {
            within(member.close(SOON)).await.unwrap();
        }
        within(stage.direct.admin().delete_topic(source.name.as_str())).await.unwrap();
    }
    stage.expect(&["after Classic", "after Consumer"]).await;
    stage.strike().await;
}
