//! Offsets that are committed in a transaction.

use milena_protocol::{
    ErrorCode,
    messages::{
        OffsetCommitRequest, TxnOffsetCommitRequest,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic},
    },
};

use crate::client::{Client, MARKED, Producer};

fn plain_commit(client: &mut Client, group: &str, offset: i64) {
    let partitions = vec![OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() }];
    let topic = OffsetCommitRequestTopic { name: "orders".into(), partitions, ..Default::default() };
    let request = OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    let peer = client.script.coordinator(group);
    assert_eq!(client.script.ask(peer, 9, request).topics[0].partitions[0].error_code, 0);
}

#[test]
fn they_are_pending_until_the_commit_marker() {
    let mut client = Client::new();
    let first = client.init("t").unwrap();
    assert_eq!(client.commit_offset(5, "t", first, "g", 7), Ok(()));
    assert_eq!(client.state("t"), "Ongoing", "version 5 adds the group");
    assert_eq!(client.stable_offset("g"), Err(ErrorCode::UNSTABLE_OFFSET_COMMIT));
    assert_eq!(client.script.cluster.committed("g", "orders", 0), None);
    client.end(5, "t", first, true).unwrap();
    assert_eq!(client.stable_offset("g"), Err(ErrorCode::UNSTABLE_OFFSET_COMMIT), "no marker yet");
    client.script.advance_ms(MARKED);
    assert_eq!(client.stable_offset("g"), Ok(7));
}

#[test]
fn an_abort_forgets_them() {
    let mut client = Client::new();
    let first = client.init("t").unwrap();
    plain_commit(&mut client, "g", 3);
    client.commit_offset(5, "t", first, "g", 7).unwrap();
    let second = client.finish("t", first, false);
    assert_eq!(client.stable_offset("g"), Ok(3));
    client.commit_offset(5, "t", second, "g", 8).unwrap();
    assert_eq!(client.init("t"), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    client.script.advance_ms(MARKED);
    assert_eq!(client.stable_offset("g"), Ok(3), "somebody took over");
}

#[test]
fn a_later_plain_commit_stays() {
    let mut client = Client::new();
    let first = client.init("t").unwrap();
    client.commit_offset(5, "t", first, "g", 7).unwrap();
    plain_commit(&mut client, "g", 9);
    let second = client.finish("t", first, true);
    assert_eq!(client.stable_offset("g"), Ok(9));
    plain_commit(&mut client, "g", 10);
    client.commit_offset(5, "t", second, "g", 11).unwrap();
    client.finish("t", second, true);
    assert_eq!(client.stable_offset("g"), Ok(11));
}

#[test]
fn before_version_5_the_group_must_have_been_added() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    assert_eq!(client.commit_offset(4, "t", producer, "g", 1), Err(ErrorCode::TRANSACTION_ABORTABLE));
    assert_eq!(client.commit_offset(3, "t", producer, "g", 1), Err(ErrorCode::INVALID_TXN_STATE));
    assert_eq!(client.add_group("t", producer, "g"), Ok(()));
    let described = client.describe("t");
    assert_eq!(&*described.topics[0].topic, "__consumer_offsets");
    assert_eq!(client.commit_offset(3, "t", producer, "g", 1), Ok(()));
    assert_eq!(client.commit_offset(4, "t", producer, "g", 2), Ok(()));
    client.end(4, "t", producer, true).unwrap();
    assert_eq!(client.add_group("t", producer, "g"), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    client.script.advance_ms(MARKED);
    assert_eq!(client.stable_offset("g"), Ok(2));
}

#[test]
fn only_the_newest_epoch_commits() {
    let mut client = Client::new();
    let (id, epoch) = client.init("t").unwrap();
    let unknown = Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    let fenced = Err(ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(client.commit_offset(5, "t", (id + 1, epoch), "g", 1), unknown);
    assert_eq!(client.commit_offset(5, "t", (id, epoch + 1), "g", 1), fenced);
    assert_eq!(client.commit_offset(5, "t", (id, epoch), "g", 1), Ok(()));
    let next = client.end(5, "t", (id, epoch), true).unwrap();
    assert_eq!(client.commit_offset(5, "t", next, "g", 2), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    client.script.advance_ms(MARKED);
    assert_eq!(client.commit_offset(5, "t", (id, epoch), "g", 3), fenced);
    assert_eq!(client.add_group("t", (id, epoch), "g"), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.stable_offset("g"), Ok(1));
}

/// One commit with all that can be said: the codes by topic and partition.
fn commit(
    client: &mut Client,
    producer: Producer,
    change: impl FnOnce(&mut TxnOffsetCommitRequest),
) -> Vec<ErrorCode> {
    let topic = |name: &str, metadata: &str| TxnOffsetCommitRequestTopic {
        name: name.into(),
        partitions: vec![TxnOffsetCommitRequestPartition {
            committed_offset: 1,
            committed_metadata: Some(metadata.into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let mut request = TxnOffsetCommitRequest {
        transactional_id: "t".into(),
        group_id: "g".into(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        generation_id: -1,
        topics: vec![topic("orders", ""), topic("nowhere", ""), topic("orders", &"x".repeat(4_097))],
        ..Default::default()
    };
    change(&mut request);
    let peer = client.script.coordinator("g");
    let response = client.script.ask(peer, 5, request);
    let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| ErrorCode(partition.error_code)).collect()
}

#[test]
fn each_partition_has_its_own_error_but_for_the_groups() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    let codes = commit(&mut client, producer, |_| {});
    let own = [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::OFFSET_METADATA_TOO_LARGE];
    assert_eq!(codes, own);
    let stranger = |request: &mut TxnOffsetCommitRequest| {
        request.member_id = "somebody".into();
        request.generation_id = 3;
    };
    // The group is there by now, but has no members.
    let codes = commit(&mut client, producer, stranger);
    let all = [ErrorCode::UNKNOWN_MEMBER_ID, own[1], ErrorCode::UNKNOWN_MEMBER_ID];
    assert_eq!(codes, all);
    let codes = commit(&mut client, producer, |request| {
        stranger(request);
        request.group_id = "new".into();
    });
    assert_eq!(codes[0], ErrorCode::ILLEGAL_GENERATION);
    let codes = commit(&mut client, producer, |request| request.group_id = "".into());
    assert_eq!(codes[0], ErrorCode::INVALID_GROUP_ID);
    let codes =
        commit(&mut client, producer, |request| request.topics.retain(|topic| topic.name == "nowhere"));
    assert_eq!(codes, [ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
}
