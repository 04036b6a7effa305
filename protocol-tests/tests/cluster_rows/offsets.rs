//! How far groups are, and where new ones begin.

use std::{collections::BTreeMap, time::Duration};

use milena::{
    AutoOffsetReset, Consumer, GroupProtocol, IsolationLevel, PartitionLag, Position, RebalanceContext,
    RebalanceListener, Record, SeekTo, TopicPartition,
};
use protocol_tests::stage::within;

use crate::{Rows, SOON};

/// So many records in each partition, a second apart.
async fn write(rows: &Rows, topic: &str, counts: [i64; 3]) {
    let producer = rows.client.producer().build().unwrap();
    let records = (0..).zip(counts).flat_map(|(partition, count)| {
        (0..count).map(move |number| {
            Record::new(topic).partition(partition).value(number.to_string()).timestamp(1_000 * number)
        })
    });
    for sent in within(producer.send_all(records)).await {
        sent.unwrap();
    }
}

fn none_or(number: Option<i64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// Committed, end and lag of each partition, as Java prints them.
fn ours(lags: &[PartitionLag]) -> BTreeMap<String, [String; 3]> {
    let lags = lags.iter().map(|lag| {
        let committed = lag.committed.as_ref().unwrap().as_ref().map(|committed| committed.position.offset);
        let numbers = [committed, Some(*lag.end.as_ref().unwrap()), lag.lag()];
        (lag.partition.partition.to_string(), numbers.map(none_or))
    });
    lags.collect()
}

/// What Java says of each group, from a table with more columns.
fn javas(table: &str, topic: &str) -> BTreeMap<String, BTreeMap<String, [String; 3]>> {
    let mut columns = Vec::new();
    let mut groups: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for line in table.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if words.first() == Some(&"GROUP") {
            columns = words;
        } else if words.get(1) == Some(&topic) {
            let of = |name| words[columns.iter().position(|column| *column == name).unwrap()].to_owned();
            let numbers = ["CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"].map(of);
            groups.entry(words[0].to_owned()).or_default().insert(of("PARTITION"), numbers);
        }
    }
    groups
}

/// Row 13, of a group of ours that has committed nothing for one partition, and of one of Java's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn java_tells_the_lag_that_we_tell() {
    let rows = Rows::new().await;
    let topic = rows.topic("lag", 3).await;
    write(&rows, &topic, [5, 4, 3]).await;
    let (our_group, java_group) = (format!("{topic}-ours"), format!("{topic}-javas"));
    let consumer = rows.client.consumer(our_group.as_str()).subscribe([topic.as_str()]);
    let consumer =
        consumer.group_protocol(GroupProtocol::Classic).auto_offset_reset(AutoOffsetReset::Earliest);
    let consumer: Consumer = consumer.build().unwrap();
    let mut read = 0;
    while read < 12 {
        read += within(consumer.poll(SOON)).await.unwrap().unwrap().len();
    }
    let at = |partition, offset| {
        (TopicPartition::new(topic.as_str(), partition), Position { offset, leader_epoch: None })
    };
    within(consumer.commit_offsets([at(0, 2), at(1, 4)])).await.unwrap();
    // It commits what it has read when it ends: 6 are no sum of whole partitions, so one of them is left in the middle.
    let reading = ["--topic", &topic, "--group", &java_group, "--from-beginning", "--max-messages", "6"];
    rows.java("consumer.ConsoleConsumer", &reading).await;

    let describe = ["--describe", "--group", &our_group, "--group", &java_group];
    let table = rows.java("consumer.group.ConsumerGroupCommand", &describe).await;
    let table = String::from_utf8(table).unwrap();
    let said = javas(&table, &topic);
    let lag = async |group: &str| ours(&within(rows.client.admin().group_lag(group)).await.unwrap());
    let our_lag = lag(&our_group).await;
    let line = |numbers: [&str; 3]| numbers.map(str::to_owned);
    let expected = [("0", ["2", "5", "3"]), ("1", ["4", "4", "0"]), ("2", ["-", "3", "-"])];
    assert_eq!(our_lag, expected.map(|(partition, numbers)| (partition.to_owned(), line(numbers))).into());
    assert_eq!(said.get(&our_group), Some(&our_lag), "{table}");

    // Of a group without members Java tells only what is committed.
    let mut java_lag = lag(&java_group).await;
    let left: i64 = java_lag.values().filter_map(|[_, _, lag]| lag.parse::<i64>().ok()).sum();
    java_lag.retain(|_, [committed, ..]| committed != "-");
    assert_eq!(said.get(&java_group), Some(&java_lag), "{table}");
    // A partition that it read nothing of may be committed at 0, or not at all.
    assert!((1..=6).contains(&left), "{table}");
    within(consumer.close(SOON)).await.unwrap();
}

struct Begins(SeekTo);

impl RebalanceListener for Begins {
    async fn assigned(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
        for partition in partitions {
            context.seek(partition, self.0).unwrap();
        }
    }
}

/// Row 14.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn new_groups_begin_where_they_are_told_to() {
    let rows = Rows::new().await;
    let topic = rows.topic("replay", 3).await;
    write(&rows, &topic, [30, 20, 10]).await;
    let ends = rows.ends(&topic, IsolationLevel::ReadCommitted).await;
    for (name, start, firsts) in [
        ("beginning", SeekTo::Beginning, [0, 0, 0]),
        ("offset", SeekTo::Offset(8), [8, 8, 8]),
        // In the last one all are older.
        ("time", SeekTo::Timestamp(11_500), [12, 12, 10]),
        ("end", SeekTo::End, [30, 20, 10]),
    ] {
        let consumer = rows.client.consumer(format!("{topic}-{name}")).subscribe([topic.as_str()]);
        let consumer = consumer.auto_offset_reset(AutoOffsetReset::None).rebalance_listener(Begins(start));
        let consumer = consumer.build().unwrap();
        let mut read = Vec::new();
        let is_there = |(partition, end): (&TopicPartition, &i64)| {
            consumer.position(partition).is_some_and(|position| position.offset >= *end)
        };
        within(async {
            while !ends.iter().all(is_there) {
                let records = consumer.poll(Duration::from_millis(200)).await.unwrap().unwrap();
                read.extend(records.iter().map(|record| (record.partition(), record.offset())));
            }
        })
        .await;
        within(consumer.close(SOON)).await.unwrap();
        read.sort_unstable();
        let expected = (0..).zip([30, 20, 10].into_iter().zip(firsts));
        let expected = expected.flat_map(|(at, (end, first))| (first..end).map(move |offset| (at, offset)));
        assert_eq!(read, expected.collect::<Vec<(i32, i64)>>(), "{name}");
    }
}
