//! Consumers with settings in the names of other clients.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::time::Duration;

use milena::{Client, ClientProperties, ConsumerProperties, Flavor, Record, TopicPartition};
use milena_embedded_broker::EmbeddedBroker;

const SOON: Duration = Duration::from_secs(10);

/// One file for everything, in the words of either client.
const FILES: [(Flavor, &str); 2] = [
    (
        Flavor::Java,
        "linger.ms=0\ngroup.id=java\nauto.offset.reset=earliest\nenable.auto.commit=true\n\
         partition.assignment.strategy=org.apache.kafka.clients.consumer.CooperativeStickyAssignor\n\
         group.protocol=classic\nmax.poll.records=2\nkey.serializer=S\nvalue.deserializer=D\n",
    ),
    (
        Flavor::Librdkafka,
        "linger.ms=0\npartitioner=murmur2_random\ngroup.id=librdkafka\nauto.offset.reset=smallest\n\
         enable.auto.commit=true\nfetch.wait.max.ms=100\nqueued.max.messages.kbytes=1024\nlog_level=6\n",
    ),
];

#[tokio::test]
async fn one_file_makes_a_client_a_producer_and_a_consumer() {
    for (flavor, file) in FILES {
        let broker = EmbeddedBroker::builder().topic("orders", 1).start().await.unwrap();
        let text = format!("bootstrap.servers={}\n{file}", broker.bootstrap());
        let properties = ClientProperties::parse(flavor, &text).unwrap();
        let client = Client::from_properties(&properties).unwrap().connect().await.unwrap();
        let producer =
            client.producer().properties(&properties.producer().unwrap()).unwrap().build().unwrap();
        for value in ["1", "2", "3"] {
            producer.send(Record::new("orders").value(value)).await.unwrap();
        }
        producer.close(SOON).await.unwrap();
        let properties = properties.consumer().unwrap();
        let group = properties.group_id().unwrap();
        let builder = client.consumer(group).properties(&properties).unwrap().subscribe(["orders"]);
        let consumer = builder.build().unwrap();
        let (mut read, mut largest) = (0, 0);
        while read < 3 {
            let records = consumer.poll(SOON).await.unwrap().unwrap();
            let polled = records.iter().count();
            (read, largest) = (read + polled, largest.max(polled));
        }
        assert!(flavor != Flavor::Java || largest <= 2, "{largest}");
        // What was handed out is committed at the end.
        consumer.close(SOON).await.unwrap();
        let committed = client.admin().group_offsets(group).await.unwrap();
        let offset = committed[&TopicPartition::new("orders", 0)].as_ref().unwrap().position.offset;
        assert_eq!(offset, 3);
    }
}

#[tokio::test]
async fn a_consumer_of_another_group_is_refused() {
    let broker = EmbeddedBroker::start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let properties = ConsumerProperties::from_pairs(Flavor::Java, [("group.id", "billing")]).unwrap();
    let said = "the consumer's properties can't be taken:\n- group.id is \"billing\"; make the consumer with \
                Client::consumer and that id";
    let refused = client.consumer("other").properties(&properties).unwrap_err();
    assert_eq!(refused.to_string(), format!("{said}, not \"other\""));
    let refused = client.consumer_without_group().properties(&properties).unwrap_err();
    assert_eq!(refused.to_string(), said);
}
