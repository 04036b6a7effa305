//! What a client counts: names, labels and numbers.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeMap, future::Future, time::Duration};

use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder, Snapshotter},
};
use milena::{
    AutoOffsetReset, Client, Consumer, ErrorCode, GroupProtocol, Record, TopicPartition, metrics::NAMES,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::ApiKey;

const SOON: Duration = Duration::from_secs(10);

/// Runs on one thread, where a recorder of the test's own hears of everything.
fn recorded<F: Future<Output = ()>>(test: impl FnOnce(Snapshotter) -> F) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(snapshotter));
}

/// Values by `name{label="value",…}`; of a histogram how many there are, and their sum. Taking them empties them.
fn taken(snapshotter: &Snapshotter) -> BTreeMap<String, (MetricKind, f64, f64)> {
    let series = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let (kind, key) = key.into_parts();
        let labels = key.labels().map(|label| format!("{}={:?}", label.key(), label.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        let name =
            if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{labels}}}", key.name()) };
        let (count, sum) = match value {
            DebugValue::Counter(count) => (count as f64, count as f64),
            DebugValue::Gauge(value) => (1.0, value.0),
            DebugValue::Histogram(values) => (values.len() as f64, values.iter().map(|value| value.0).sum()),
        };
        (name, (kind, count, sum))
    });
    series.collect()
}

fn reader(client: &Client, group: &str, topic: &str) -> Consumer {
    let consumer = client.consumer(group).subscribe([topic.to_owned()]);
    let consumer =
        consumer.group_protocol(GroupProtocol::Classic).auto_offset_reset(AutoOffsetReset::Earliest);
    consumer.build().unwrap()
}

async fn read(consumer: &Consumer, records: usize) {
    let mut read = 0;
    while read < records {
        read += consumer.poll(SOON).await.unwrap().unwrap().len();
    }
}

#[test]
fn each_name_counts_what_it_says() {
    recorded(|snapshotter| async move {
        let broker = EmbeddedBroker::builder().topic("letters", 1).start().await.unwrap();
        let client = Client::connect(broker.bootstrap()).await.unwrap();
        let producer = client.producer().linger(Duration::from_millis(20)).build().unwrap();
        producer.send(Record::new("letters").value("first")).await.unwrap();
        broker.add_fault(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::NOT_LEADER_OR_FOLLOWER)));
        let records = ["a", "b", "c"].map(|value| Record::new("letters").value(value));
        producer.enqueue_all(&records).await.unwrap().all().await.unwrap();
        broker.add_fault(Rule::new(ApiKey::Produce, Action::Answer(ErrorCode::TOPIC_AUTHORIZATION_FAILED)));
        producer.send(Record::new("letters").value("refused")).await.unwrap_err();

        let consumer = reader(&client, "readers", "letters");
        read(&consumer, 4).await;
        let partition = TopicPartition::new("letters", 0);
        assert_eq!(consumer.lag(&partition), Some(0));
        let now = taken(&snapshotter);
        let is = |name: &str, kind, count: f64| {
            let found = now.get(name).unwrap_or_else(|| panic!("{name} is not in {:#?}", now.keys()));
            assert_eq!((found.0, found.1), (kind, count), "{name}");
            found.2
        };
        is(r#"kafka_messages_produced_total{topic="letters"}"#, MetricKind::Counter, 4.0);
        let labels = r#"topic="letters",consumer_group="readers""#;
        is(&format!("kafka_messages_consumed_total{{{labels}}}"), MetricKind::Counter, 4.0);
        let took = is(r#"kafka_produce_duration_seconds{topic="letters"}"#, MetricKind::Histogram, 2.0);
        assert!((0.04..10.0).contains(&took), "seconds, of which it lingered twice 20 ms: {took}");
        let lag = r#"kafka_consumer_lag{topic="letters",partition="0",consumer_group="readers"}"#;
        assert_eq!(is(lag, MetricKind::Gauge, 1.0), 0.0);
        let sent = is(r#"milena_producer_batch_records{topic="letters"}"#, MetricKind::Histogram, 3.0);
        assert_eq!(sent, 5.0);
        assert!(
            is(r#"milena_producer_batch_size_bytes{topic="letters"}"#, MetricKind::Histogram, 3.0) > 180.0
        );
        is(r#"milena_producer_queue_duration_seconds{topic="letters"}"#, MetricKind::Histogram, 3.0);
        is(r#"milena_producer_retries_total{topic="letters"}"#, MetricKind::Counter, 1.0);
        let labels = r#"topic="letters",outcome="not_written",cause="refused""#;
        is(&format!("milena_producer_records_failed_total{{{labels}}}"), MetricKind::Counter, 1.0);
        let labels = r#"consumer_group="readers",change="assigned""#;
        is(&format!("milena_consumer_rebalances_total{{{labels}}}"), MetricKind::Counter, 1.0);
        is(r#"milena_request_duration_seconds{api="Produce"}"#, MetricKind::Histogram, 4.0);
        assert!(now.contains_key(r#"milena_request_duration_seconds{api="JoinGroup"}"#));
        let open = is("milena_connections_open", MetricKind::Gauge, 1.0);
        assert!(open >= 3.0, "{open}");
        for name in now.keys() {
            let name = name.split('{').next().unwrap();
            assert!(NAMES.contains(&name), "{name} is told of nowhere");
        }

        consumer.close(SOON).await.unwrap();
        producer.close(SOON).await.unwrap();
        drop((consumer, producer));
        client.shutdown();
        let now = taken(&snapshotter);
        assert!(now[lag].2.is_nan(), "the partition is not the consumer's any more: {:?}", now[lag]);
        // One waits for the answer of its last fetch.
        let mut open = open + now["milena_connections_open"].2;
        for _ in 0..50 {
            if open > 0.0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                open += taken(&snapshotter)["milena_connections_open"].2;
            }
        }
        assert_eq!(open, 0.0, "each that was opened is closed");
    });
}

#[test]
fn topics_that_come_late_are_counted_together_and_lags_of_too_many_partitions_have_no_gauge() {
    recorded(|snapshotter| async move {
        let mut broker = EmbeddedBroker::builder();
        for topic in 0..6 {
            broker = broker.topic(&format!("letters-{topic}"), 2);
        }
        let broker = broker.start().await.unwrap();
        let client = Client::builder(broker.bootstrap()).metrics_topics(2).metrics_partitions(3);
        let client = client.connect().await.unwrap();
        // A second one has the same names, not two more.
        let producers = [(); 2].map(|()| client.producer().build().unwrap());
        for producer in &producers {
            for topic in 0..6 {
                producer.send(Record::new(format!("letters-{topic}")).value("v")).await.unwrap();
            }
        }
        let topics: Vec<_> = (0..6).map(|topic| format!("letters-{topic}")).collect();
        let consumer = client.consumer("readers").subscribe(topics);
        let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
        read(&consumer, 12).await;
        for partition in consumer.assignment() {
            let _lag = consumer.lag(&partition);
        }
        let now = taken(&snapshotter);
        let of = |name: &str| -> Vec<(&str, f64)> {
            let of_name = now.iter().filter(|(series, _)| series.split('{').next() == Some(name));
            of_name.map(|(series, value)| (series.as_str(), value.2)).collect()
        };
        let produced = of("kafka_messages_produced_total");
        let expected = [
            (r#"kafka_messages_produced_total{topic="(other)"}"#, 8.0),
            (r#"kafka_messages_produced_total{topic="letters-0"}"#, 2.0),
            (r#"kafka_messages_produced_total{topic="letters-1"}"#, 2.0),
        ];
        assert_eq!(produced, expected);
        let consumed = of("kafka_messages_consumed_total");
        assert_eq!(consumed.len(), 3, "{consumed:?}");
        assert_eq!(consumed.iter().map(|(_, count)| count).sum::<f64>(), 12.0);
        assert_eq!(of("kafka_consumer_lag").len(), 3);
    });
}

#[test]
fn a_monitor_sets_the_lag_of_groups_of_anybody_and_tells_of_partitions_without_a_commit() {
    recorded(|snapshotter| async move {
        let broker = EmbeddedBroker::builder().topic("letters", 2).start().await.unwrap();
        let client = Client::connect(broker.bootstrap()).await.unwrap();
        let producer = client.producer().build().unwrap();
        for _ in 0..5 {
            producer.send(Record::new("letters").partition(0).value("v")).await.unwrap();
        }
        let admin = client.admin();
        let offset = milena::Position { offset: 2, leader_epoch: None }.into();
        let committed = [(TopicPartition::new("letters", 0), offset)];
        admin.alter_group_offsets("strangers", committed).await.unwrap();

        let monitor = client.lag_monitor().interval(Duration::from_millis(100)).start();
        let round = monitor.next_round().await.unwrap();
        let lags = round.groups["strangers"].as_ref().unwrap();
        assert_eq!(lags.iter().map(milena::PartitionLag::lag).collect::<Vec<_>>(), [Some(3), None]);
        assert!(matches!(lags[1].committed, Ok(None)), "it is not counted from 0");
        let gauge = |partition: i32, group: &str| {
            format!(
                r#"kafka_consumer_lag{{topic="letters",partition="{partition}",consumer_group="{group}"}}"#
            )
        };
        let now = taken(&snapshotter);
        assert_eq!(now[&gauge(0, "strangers")].2, 3.0);
        assert!(!now.contains_key(&gauge(1, "strangers")), "nothing is known of it");
        let without = r#"milena_lag_partitions_without_commit{consumer_group="strangers"}"#;
        assert_eq!(now[without].2, 1.0);

        producer.send(Record::new("letters").partition(0).value("v")).await.unwrap();
        monitor.next_round().await.unwrap();
        monitor.next_round().await.unwrap();
        assert_eq!(taken(&snapshotter)[&gauge(0, "strangers")].2, 4.0);
        // The group goes, and its gauge says so.
        admin.delete_group("strangers").await.unwrap();
        monitor.next_round().await.unwrap();
        let round = monitor.next_round().await.unwrap();
        assert!(round.groups.is_empty(), "{round:?}");
        assert!(taken(&snapshotter)[&gauge(0, "strangers")].2.is_nan());

        let named = client.lag_monitor().groups(["nobody", "somebody"]).max_groups(1).start();
        let round = named.next_round().await.unwrap();
        assert!(round.groups["nobody"].is_err());
        assert_eq!(round.groups_left_out, 1);
        let failed = r#"milena_lag_checks_failed_total{consumer_group="nobody"}"#;
        assert_eq!(taken(&snapshotter)[failed].1, 1.0);
    });
}
