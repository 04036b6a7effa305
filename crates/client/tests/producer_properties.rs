//! Producers with settings in the names of other clients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::time::Duration;

use milena::{
    BuildError, Client, Flavor, Partitioner, Producer, ProducerProperties, Record, crc32_partition_for_key,
    partition_for_key,
};
use milena_embedded_broker::EmbeddedBroker;

const SOON: Duration = Duration::from_secs(10);
const PARTITIONS: usize = 6;
const LIBRDKAFKA: &str = "\
# of a service in Python
bootstrap.servers=kafka-1:9092,kafka-2:9092
sasl.password=back\\slash
queue.buffering.max.ms=1
compression.codec=lz4
";

async fn start() -> (EmbeddedBroker, Client) {
    let broker = EmbeddedBroker::builder().topic("orders", PARTITIONS as i32).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    (broker, client)
}

/// A key that CRC-32 and murmur2 place apart.
fn key() -> String {
    let apart = |key: &String| {
        crc32_partition_for_key(key.as_bytes(), PARTITIONS) != partition_for_key(key.as_bytes(), PARTITIONS)
    };
    (0..100).map(|number| format!("cust-{number}")).find(apart).unwrap()
}

async fn placed(producer: Producer) -> usize {
    let written = producer.send(Record::new("orders").key(key()).value("{}")).await.unwrap();
    producer.close(SOON).await.unwrap();
    written.partition as usize
}

#[tokio::test]
async fn settings_of_librdkafka_do_not_guess_where_keys_go() {
    let (broker, client) = start().await;
    let unchosen = ProducerProperties::parse(Flavor::Librdkafka, LIBRDKAFKA).unwrap();
    assert_eq!(unchosen.left()["sasl.password"], "back\\slash");
    let refused = client.producer().properties(&unchosen).unwrap().build().unwrap_err();
    assert!(matches!(refused, BuildError::Producer(_)));
    let said = refused.to_string();
    assert!(said.contains("partitioner is not chosen") && said.contains("CRC-32"), "{said}");

    let key = key();
    let by_crc = crc32_partition_for_key(key.as_bytes(), PARTITIONS);
    let by_murmur2 = partition_for_key(key.as_bytes(), PARTITIONS);
    for (named, expected) in [("consistent_random", by_crc), ("murmur2_random", by_murmur2)] {
        let text = format!("{LIBRDKAFKA}partitioner={named}\n");
        let chosen = ProducerProperties::parse(Flavor::Librdkafka, &text).unwrap();
        let producer = client.producer().properties(&chosen).unwrap().build().unwrap();
        assert_eq!(placed(producer).await, expected, "{named}");
    }
    let builder = client.producer().properties(&unchosen).unwrap();
    let producer = builder.partitioner(Partitioner::Crc32).build().unwrap();
    assert_eq!(placed(producer).await, by_crc);
    broker.shutdown().await;
}

#[tokio::test]
async fn settings_of_java_place_keys_as_java_does() {
    let (broker, client) = start().await;
    let file = "client.id = orders\nlinger.ms : 1\ncompression.type zstd\nmax.block.ms = \\\n    5000\n";
    let properties = ProducerProperties::parse(Flavor::Java, file).unwrap();
    let producer = client.producer().properties(&properties).unwrap().build().unwrap();
    assert_eq!(placed(producer).await, partition_for_key(key().as_bytes(), PARTITIONS));
    broker.shutdown().await;
}

#[tokio::test]
async fn what_is_called_later_goes_before_the_properties() {
    let (broker, client) = start().await;
    let properties = ProducerProperties::from_pairs(Flavor::Java, [("delivery.timeout.ms", "1000")]).unwrap();
    let builder = client.producer().properties(&properties).unwrap();
    let refused = builder.clone().build().unwrap_err().to_string();
    assert!(refused.contains("delivery_timeout is 1s"), "{refused}");
    let producer = builder.request_timeout(Duration::from_millis(500)).build().unwrap();
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}

#[tokio::test]
async fn properties_with_a_transactional_id_make_a_producer_with_transactions() {
    let (broker, client) = start().await;
    let file = "transactional.id=payments-1\ntransaction.timeout.ms=5000\nlinger.ms=0\n";
    let properties = ProducerProperties::parse(Flavor::Java, file).unwrap();
    let refused = client.producer().properties(&properties).unwrap_err();
    assert_eq!(refused.problems()[0].name(), Some("transactional.id"));
    let id = properties.transactional_id().unwrap();
    assert!(client.transactional_producer("other").properties(&properties).is_err());
    let builder = client.transactional_producer(id).properties(&properties).unwrap();
    let mut producer = builder.build().await.unwrap();
    let transaction = producer.begin().unwrap();
    transaction.send(Record::new("orders").key("k").value("v")).await.unwrap();
    transaction.commit().await.unwrap();
    producer.close(SOON).await.unwrap();
    broker.shutdown().await;
}
