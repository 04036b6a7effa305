//! Keys go to the partitions that librdkafka, as kcat, picks under each of its partitioners.
#![allow(clippy::unwrap_used, reason = "tests state their expectations by unwrapping")]

use std::collections::BTreeMap;

use milena::{Client, Partitioner, Record};
use milena_embedded_broker::EmbeddedBroker;
use protocol_tests::external::{kcat, run};

const KEYS: usize = 200;

/// The partition of each key, as kcat reads them from a topic with seven partitions.
async fn placements(broker: &EmbeddedBroker, topic: &str) -> BTreeMap<String, String> {
    let mut reader = kcat(&broker.bootstrap());
    reader.args(["-C", "-t", topic, "-e", "-q", "-f", "%k %p\n"]);
    let read = run(&mut reader, "").await;
    read.lines().map(|line| line.split_once(' ').unwrap()).map(|(key, at)| (key.into(), at.into())).collect()
}

#[tokio::test]
#[ignore = "needs kcat"]
async fn keys_go_where_librdkafka_puts_them() {
    for (name, partitioner) in [
        ("consistent", Partitioner::Crc32Always),
        ("consistent_random", Partitioner::Crc32),
        ("murmur2", Partitioner::Murmur2Always),
        ("murmur2_random", Partitioner::Murmur2),
    ] {
        let broker = EmbeddedBroker::builder().topic("theirs", 7).topic("ours", 7).start().await.unwrap();
        let keys: Vec<String> = (0..KEYS).map(|number| format!("customer-{}", number * 7919)).collect();
        let mut writer = kcat(&broker.bootstrap());
        writer.args(["-P", "-t", "theirs", "-K:", "-X", &format!("partitioner={name}")]);
        run(&mut writer, &keys.iter().map(|key| format!("{key}:v\n")).collect::<String>()).await;

        let client = Client::connect(broker.bootstrap()).await.unwrap();
        let producer = client.producer().partitioner(partitioner).build().unwrap();
        for key in &keys {
            drop(producer.enqueue(Record::new("ours").key(key.clone()).value("v")).await.unwrap());
        }
        producer.flush().await.unwrap();
        let theirs = placements(&broker, "theirs").await;
        assert_eq!(theirs.len(), KEYS, "{name}");
        assert_eq!(placements(&broker, "ours").await, theirs, "{name}");
        broker.shutdown().await;
    }
}
