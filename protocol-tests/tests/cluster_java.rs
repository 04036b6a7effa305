//! What we write Java reads, and what Java writes we read: every record, key, header and partition, each codec.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeMap, time::Duration};

use milena::{
    AutoOffsetReset, Client, Codec, Compression, NewTopic, Record, RecordRef, TopicPartition,
    partition_for_key,
};
use protocol_tests::{
    cluster::Cluster,
    java::{self, PrintedRecord},
};

const PARTITIONS: i32 = 6;
const SOON: Duration = Duration::from_secs(30);

async fn topic(client: &Client, name: &str) -> String {
    // The cluster keeps its data between two runs of a test by hand.
    let topic = format!("{name}-{}", std::process::id());
    let admin = client.admin();
    admin.create_topic(NewTopic::new(topic.as_str()).partitions(PARTITIONS)).await.unwrap();
    while admin.partition_count(topic.as_str()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    topic
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

/// The record as Java's console consumer prints it.
fn printed(record: &RecordRef<'_>) -> PrintedRecord {
    let headers: Vec<_> = record
        .headers()
        .map(|header| format!("{}:{}", text(Some(header.name)), text(header.value)))
        .collect();
    PrintedRecord {
        partition: record.partition(),
        offset: record.offset(),
        timestamp: format!("CreateTime:{}", record.timestamp()),
        headers: if headers.is_empty() { "NO_HEADERS".to_owned() } else { headers.join(",") },
        key: text(record.key()),
        value: text(record.value()),
    }
}

async fn consume(client: &Client, topic: &str, count: usize) -> Vec<PrintedRecord> {
    let partitions = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition));
    let consumer = client
        .consumer_without_group()
        .assign(partitions)
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let mut all = Vec::new();
    let reading = async {
        while all.len() < count {
            let records = consumer.poll(SOON).await.unwrap().unwrap();
            all.extend(records.iter().map(|record| printed(&record)));
        }
    };
    tokio::time::timeout(SOON, reading).await.unwrap_or_else(|_| panic!("{:?}", consumer.explain()));
    consumer.close(SOON).await.unwrap();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn java_reads_what_we_write() {
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let topic = topic(&client, "from-milena").await;
    let codecs = (0..5).map(|id| Codec::from(Compression::from_id(id).unwrap()));
    let mut expected = Vec::new();
    for (codec, round) in codecs.into_iter().zip(0..) {
        let producer = client.producer().compression(codec).build().unwrap();
        let mut sent = Vec::new();
        for number in 0..1000 {
            let value = format!(
                "{{\"order\":{number},\"round\":{round},\"text\":\"ünïcödé {}\"}}",
                "x".repeat(number % 300)
            );
            let timestamp = 1_700_000_000_000 + number as i64;
            let mut record = Record::new(topic.as_str()).timestamp(timestamp);
            // No key, an empty key; a tombstone, an empty value; no header, a header twice, a null header.
            if number % 7 != 0 {
                record = record.key(if number % 11 == 0 {
                    String::new()
                } else {
                    format!("cust-{}", number % 50)
                });
            }
            if number % 13 != 0 {
                record = record.value(if number % 17 == 0 { String::new() } else { value });
            }
            if number % 3 == 0 {
                record = record.header("source", "milena").header("source", "twice").null_header("nothing");
            }
            sent.push((producer.enqueue(record.clone()).await.unwrap(), record, timestamp));
        }
        producer.flush().await.unwrap();
        for (delivery, record, timestamp) in sent {
            let written = delivery.await.unwrap();
            let key = record_key(&record);
            if let Some(key) = &key {
                let place = partition_for_key(key.as_bytes(), PARTITIONS as usize);
                assert_eq!(written.partition as usize, place);
            }
            expected.push((written.partition, written.offset.unwrap(), timestamp, key));
        }
        producer.close(SOON).await.unwrap();
    }

    let mut read = java::consume(&cluster.kafka_libs, &cluster.bootstrap, &topic, expected.len()).unwrap();
    read.sort();
    expected.sort();
    // Java's view of offsets, timestamps and keys is what our producer was told and given …
    let java: Vec<_> = read
        .iter()
        .map(|record| (record.partition, record.offset, record.timestamp.clone(), record.key.clone()))
        .collect();
    let ours: Vec<_> = expected
        .into_iter()
        .map(|(partition, offset, timestamp, key)| {
            (partition, offset, format!("CreateTime:{timestamp}"), key.unwrap_or_else(|| "null".to_owned()))
        })
        .collect();
    assert_eq!(java, ours);
    // … and everything in them is what our consumer reads.
    assert_eq!(read, consume(&client, &topic, read.len()).await);
    client.admin().delete_topic(topic.as_str()).await.unwrap();
}

fn record_key(record: &Record) -> Option<String> {
    record.key_bytes().map(|key| String::from_utf8(key.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn we_read_what_java_writes() {
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let topic = topic(&client, "from-java").await;
    let mut count = 0;
    for codec in ["none", "gzip", "snappy"] {
        let lines: String = (0..500)
            .map(|number| format!("source:java,round:{codec}\tcust-{number}\tvalue {number} of {codec}\n"))
            .collect();
        java::run(
            &cluster.kafka_libs,
            "org.apache.kafka.tools.ConsoleProducer",
            &[
                "--bootstrap-server",
                &cluster.bootstrap,
                "--topic",
                &topic,
                "--compression-codec",
                codec,
                "--reader-property",
                "parse.key=true",
                "--reader-property",
                "parse.headers=true",
            ],
            &lines,
        )
        .unwrap();
        count += 500;
    }
    let ours = consume(&client, &topic, count).await;
    let mut java = java::consume(&cluster.kafka_libs, &cluster.bootstrap, &topic, count).unwrap();
    java.sort();
    assert_eq!(ours, java);
    // Java has put every key where we would have.
    let mut of_codec: BTreeMap<&str, usize> = BTreeMap::new();
    for record in &ours {
        let place = partition_for_key(record.key.as_bytes(), PARTITIONS as usize);
        assert_eq!(record.partition as usize, place, "{record:?}");
        *of_codec.entry(record.headers.as_str()).or_default() += 1;
    }
    let headers = ["source:java,round:gzip", "source:java,round:none", "source:java,round:snappy"];
    assert_eq!(of_codec, headers.into_iter().map(|headers| (headers, 500)).collect());
    client.admin().delete_topic(topic.as_str()).await.unwrap();
}
