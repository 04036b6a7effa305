//! Reading from the replica in one's rack (KIP-392), on the real cluster: each of its brokers is in a rack of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeMap, time::Duration};

use milena::{AutoOffsetReset, ConsumerBuilder, Position};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{Response, fetch::PartitionData},
};
use protocol_tests::{
    cluster::Cluster,
    proxy::Act,
    stage::{Stage, within},
};
use tokio::time::sleep;

const RECORDS: i64 = 400;
const RACKS: [&str; 3] = ["rack-a", "rack-b", "rack-c"];
/// What the fetches that bring no records may come to.
const LITTLE: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(1);

/// A topic whose partition 0 has records on all its replicas.
async fn stage(name: &str) -> Stage {
    let stage = Stage::set(&Cluster::from_env().unwrap(), name).await;
    let producer = stage.direct.producer().build().unwrap();
    let records = (0..RECORDS).map(|number| stage.record(0, format!("{number:1000}")));
    for result in within(producer.send_all(records)).await {
        result.unwrap();
    }
    // A follower tells records only once it has heard that all replicas have them.
    sleep(PATIENCE).await;
    stage
}

/// The leader of partition 0 and another broker: their ids from 0 on, and their ports.
async fn leader_and_other(stage: &Stage) -> ([usize; 2], [u16; 2]) {
    let described = within(stage.direct.admin().describe_topic(stage.name.as_str())).await.unwrap();
    let leader = described.partitions[0].leader.unwrap().0 as usize - 1;
    let other = (leader + 1) % RACKS.len();
    let port = |broker: usize| stage.bootstrap.split(',').nth(broker).unwrap();
    let ports = [leader, other].map(|broker| port(broker).rsplit_once(':').unwrap().1.parse().unwrap());
    ([leader, other], ports)
}

fn reader(stage: &Stage) -> ConsumerBuilder {
    stage.proxied.consumer_without_group().auto_offset_reset(AutoOffsetReset::None)
}

/// Reads all records, and tells how many bytes came from which port meanwhile.
async fn read(stage: &Stage, reader: ConsumerBuilder) -> BTreeMap<u16, usize> {
    let before = stage.proxy.fetched();
    let consumer = reader.build().unwrap();
    let partition = stage.partition(0);
    consumer.assign([(partition.clone(), Some(Position { offset: 0, leader_epoch: None }))]).unwrap();
    let mut next = 0;
    within(async {
        while next < RECORDS {
            let records = consumer.poll(PATIENCE).await.unwrap().unwrap();
            for record in records.iter() {
                assert_eq!(record.offset(), next);
                next += 1;
            }
        }
    })
    .await;
    assert_eq!(consumer.position(&partition).unwrap().offset, RECORDS);
    within(consumer.close(PATIENCE)).await.unwrap();
    let mut fetched = stage.proxy.fetched();
    for (port, bytes) in &mut fetched {
        *bytes -= before.get(port).copied().unwrap_or_default();
    }
    fetched
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn records_come_from_the_replica_in_the_rack() {
    let stage = stage("racks").await;
    let ([leader, other], [leaders, others]) = leader_and_other(&stage).await;
    let all = RECORDS as usize * 1000;
    for (rack, from, not) in [
        (None, leaders, others),
        (Some(RACKS[leader]), leaders, others),
        (Some(RACKS[other]), others, leaders),
        // Nobody is there.
        (Some("rack-z"), leaders, others),
    ] {
        let reader = reader(&stage);
        let reader = match rack {
            Some(rack) => reader.client_rack(rack),
            None => reader,
        };
        let fetched = read(&stage, reader).await;
        let bytes = |port| fetched.get(&port).copied().unwrap_or_default();
        assert!(bytes(from) > all && bytes(not) < LITTLE, "{rack:?}: {fetched:?}, the leader is {leaders}");
    }
    stage.strike().await;
}

/// F7: a follower that does not have the position says nothing about the log: the leader is asked again, and what to do
/// without an offset is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn f7_a_follower_that_does_not_have_the_position_resets_nothing() {
    let stage = stage("behind").await;
    let ([_, other], [_, others]) = leader_and_other(&stage).await;
    let deny = |response: &mut Response| {
        let Response::Fetch(fetch) = response else { panic!("{response:?}") };
        let refuse = |partition: &mut PartitionData| {
            if partition.records.take().is_some_and(|records| !records.is_empty()) {
                partition.error_code = ErrorCode::OFFSET_OUT_OF_RANGE.0;
            }
        };
        fetch.responses.edit(|topics| {
            for topic in topics {
                topic.partitions.edit(|partitions| partitions.iter_mut().for_each(refuse));
            }
        });
    };
    // The leader's word, the follower's, and the leader's again.
    stage.proxy.rule(ApiKey::Fetch, Act::Change(|_| {}, deny), 3);
    let fetched = read(&stage, reader(&stage).client_rack(RACKS[other])).await;
    within(stage.proxy.until_met(3)).await;
    assert!(fetched[&others] > 2 * RECORDS as usize * 1000, "it was denied once, and read then: {fetched:?}");
    stage.strike().await;
}
