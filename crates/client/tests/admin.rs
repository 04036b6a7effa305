//! Describing topics, against the embedded broker.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use milena::{BrokerId, Client, ErrorCode};
use milena_embedded_broker::EmbeddedBroker;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_listed_by_name_and_described_by_partition() {
    let broker =
        EmbeddedBroker::builder().brokers(3).topic("orders", 3).topic("letters", 1).start().await.unwrap();
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let admin = client.admin();
    let topics = admin.topics().await.unwrap();
    let names: Vec<_> = topics.iter().map(|topic| (&*topic.name, topic.partitions.len())).collect();
    assert_eq!(names, [("letters", 1), ("orders", 3)]);
    broker.stop_broker(milena_embedded_broker::core::BrokerId(2));
    let orders = admin.describe_topic("orders").await.unwrap();
    assert_eq!((orders.id, orders.is_internal), (topics[1].id, false));
    assert!(orders.id.is_some());
    for (number, partition) in (0..).zip(&orders.partitions) {
        assert_eq!(partition.partition, number);
        assert_eq!((partition.replicas.len(), partition.in_sync.len()), (3, 2));
        assert_eq!(partition.offline, [BrokerId(2)]);
        assert!(partition.leader.is_some_and(|leader| partition.in_sync.contains(&leader)));
    }
    let unknown = admin.describe_topic("nowhere").await.unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    broker.shutdown().await;
}
