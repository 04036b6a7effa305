//! A client that asks more of the cluster than its quota allows (KIP-219), on the real one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::time::{Duration, Instant};

use milena::{Client, ConnectionState, NewTopic, Record};
use milena_cluster::Target;
use milena_connection::{Address, ConnectionConfig, Network};
use milena_protocol::messages::{
    AlterClientQuotasRequest,
    alter_client_quotas::{OpData, RequestEntityData, RequestEntryData},
};
use protocol_tests::cluster::Cluster;

const CLIENT: &str = "throttled-client";
const TOPIC: &str = "throttled";
const BYTES_PER_SECOND: f64 = 200_000.0;
/// Less than the broker wants it to be quiet for.
const TIMEOUT: Duration = Duration::from_millis(1500);

async fn set_quota(bootstrap: &str, remove: bool) {
    let network = Network::new(Address::parse_list(bootstrap).unwrap(), ConnectionConfig::default());
    let entity = RequestEntityData {
        entity_type: "client-id".into(),
        entity_name: Some(CLIENT.into()),
        ..Default::default()
    };
    let limit =
        OpData { key: "producer_byte_rate".into(), value: BYTES_PER_SECOND, remove, ..Default::default() };
    let entry = RequestEntryData { entity: vec![entity], ops: vec![limit], ..Default::default() };
    let request = AlterClientQuotasRequest { entries: vec![entry], ..Default::default() };
    let answer = network.call(Target::AnyBroker, request, Duration::from_secs(10)).await.unwrap();
    assert_eq!(answer.entries[0].error_code, 0, "{answer:?}");
}

/// C5: the connection rests for so long, and no request is taken for lost meanwhile although the rest is longer than its
/// timeout.
#[tokio::test]
#[ignore = "needs the cluster"]
async fn a_producer_over_its_quota_waits_and_loses_nothing() {
    let bootstrap = Cluster::from_env().unwrap().bootstrap;
    set_quota(&bootstrap, false).await;
    let client = Client::builder(&bootstrap).client_id(CLIENT).connect().await.unwrap();
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(1).replication_factor(1)).await.unwrap();
    let producer = client.producer().request_timeout(TIMEOUT).linger(Duration::ZERO).build().unwrap();
    // The quota holds from when the brokers have heard of it.
    let begin = Instant::now();
    let longest = loop {
        producer.send(Record::new(TOPIC).partition(0).value(vec![b'x'; 500_000])).await.unwrap();
        let quiet =
            client.explain().network.connections.into_iter().filter_map(|connection| {
                match connection.state {
                    ConnectionState::Connected { throttled_ms, .. } => throttled_ms,
                    _ => None,
                }
            });
        let longest = quiet.max().unwrap_or(0);
        if u128::from(longest) > TIMEOUT.as_millis() + 300 {
            break longest;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "nobody is throttled");
    };
    // Neither those that find the connection at rest nor those that are sent together.
    let rest = Instant::now();
    let records = (0..4).map(|_| Record::new(TOPIC).partition(0).value(vec![b'x'; 1000]));
    for result in producer.send_all(records).await {
        result.unwrap();
    }
    assert!(rest.elapsed() > TIMEOUT, "{:?} of {longest} ms", rest.elapsed());
    let done = producer.stats().done;
    assert_eq!((done.requests_failed, done.batches_resent), (0, 0), "{done:?}");
    producer.close(Duration::from_secs(60)).await.unwrap();
    set_quota(&bootstrap, true).await;
    client.admin().delete_topic(TOPIC).await.unwrap();
}
