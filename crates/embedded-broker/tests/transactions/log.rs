//! What a transaction leaves in a partition, and what readers see of it.

use milena_embedded_broker::core::ClusterConfig;
use milena_protocol::{
    ErrorCode,
    messages::{
        DescribeProducersRequest, FetchRequest, FetchResponse, ListOffsetsRequest, WriteTxnMarkersRequest,
        describe_producers::TopicRequest,
        fetch::{FetchPartition, FetchTopic},
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic},
    },
    records::ControlKind,
};

use crate::{
    client::{Client, MARKED, Producer, Read, stamp},
    script::{START_MS, batch},
};

#[test]
fn an_open_transaction_holds_back_readers_of_committed_records() {
    let mut client = Client::new();
    let peer = client.peer;
    client.script.produce(peer, "orders", 0, batch(&["plain"]));
    let first = client.init("t").unwrap();
    client.write(12, "t", first, 0, 0).unwrap();
    client.script.produce(peer, "orders", 0, batch(&["behind"]));
    let none = Some(Vec::new());
    assert_eq!(client.read(1), Read { stable: 1, end: 3, aborted: none.clone(), batches: vec![(0, None)] });
    let all = vec![(0, None), (1, None), (2, None)];
    assert_eq!(client.read(0), Read { stable: 1, end: 3, aborted: None, batches: all.clone() });
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(1));
    client.finish("t", first, true);
    let marked = [all, vec![(3, Some(ControlKind::Commit))]].concat();
    assert_eq!(client.read(1), Read { stable: 4, end: 4, aborted: none, batches: marked });
}

#[test]
fn aborted_transactions_are_told_where_they_may_have_records() {
    let mut client = Client::new();
    let first = client.init("a").unwrap();
    let other = client.init("b").unwrap();
    client.write(12, "a", first, 0, 0).unwrap();
    client.write(12, "b", other, 0, 0).unwrap();
    client.finish("b", other, false);
    let before = client.read(1);
    assert_eq!((before.stable, before.aborted), (0, Some(vec![])), "the first one is open still");
    client.finish("a", first, true);
    let after = client.read(1);
    assert_eq!((after.stable, after.aborted), (4, Some(vec![(other.0, 1)])));
    let kinds: Vec<_> = after.batches.iter().filter_map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [ControlKind::Abort, ControlKind::Commit]);
    let other = client.init("b").unwrap();
    client.write(12, "b", other, 0, 0).unwrap();
    client.finish("b", other, false);
    assert_eq!(client.read(1).aborted, Some(vec![(other.0, 1), (other.0, 4)]), "in the order of the markers");
}

#[test]
fn a_waiting_reader_is_woken_by_the_marker_and_not_by_the_record() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    let wanted = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: "orders".into(), partitions: vec![wanted], ..Default::default() };
    let request = FetchRequest {
        isolation_level: 1,
        min_bytes: 1,
        max_wait_ms: 1_000,
        topics: vec![topic],
        ..Default::default()
    };
    let reader = client.script.connect(1);
    let sent = client.script.send(reader, 12, request);
    client.write(12, "t", producer, 0, 0).unwrap();
    assert_eq!(client.script.reply(sent), None);
    client.end(5, "t", producer, true).unwrap();
    assert_eq!(client.script.reply(sent), None);
    client.script.advance_ms(MARKED);
    let response: FetchResponse = client.script.take(sent);
    let data = response.responses.get(0).unwrap().partitions.get(0).unwrap();
    assert_eq!((data.last_stable_offset, data.records.is_some_and(|records| !records.is_empty())), (2, true));
}

#[test]
fn the_end_for_readers_of_committed_records_is_stable() {
    let mut client = Client::new();
    let peer = client.peer;
    client.script.produce(peer, "orders", 0, batch(&["plain"]));
    let producer = client.init("t").unwrap();
    let sent = client.send_batch(12, Some("t"), 0, &["v", "a millisecond later"], stamp(producer, 0));
    client.written(sent).unwrap();
    let offset = |client: &mut Client, isolation_level, timestamp| {
        let partitions = vec![ListOffsetsPartition { timestamp, ..Default::default() }];
        let topics = vec![ListOffsetsTopic { name: "orders".into(), partitions, ..Default::default() }];
        let request = ListOffsetsRequest { replica_id: -1, isolation_level, topics, ..Default::default() };
        client.script.ask(peer, 9, request).topics[0].partitions[0].offset
    };
    assert_eq!((offset(&mut client, 0, -1), offset(&mut client, 1, -1)), (3, 1));
    assert_eq!((offset(&mut client, 0, START_MS), offset(&mut client, 1, START_MS)), (0, 0));
    let later = START_MS + 1;
    assert_eq!((offset(&mut client, 0, later), offset(&mut client, 1, later)), (2, -1), "not stable yet");
    assert_eq!((offset(&mut client, 0, -3), offset(&mut client, 1, -3)), (2, -1));
    client.finish("t", producer, false);
    assert_eq!((offset(&mut client, 0, -1), offset(&mut client, 1, -1)), (4, 4));
    // The marker has the latest time.
    assert_eq!(offset(&mut client, 1, -3), 3);
}

#[test]
fn retention_passes_over_open_transactions() {
    let mut client = Client::with(ClusterConfig { retention_bytes: Some(200), ..ClusterConfig::default() });
    let peer = client.peer;
    let aborted = client.init("aborted").unwrap();
    client.write(12, "aborted", aborted, 0, 0).unwrap();
    client.finish("aborted", aborted, false);
    let open = client.init("open").unwrap();
    client.write(12, "open", open, 0, 0).unwrap();
    for _ in 0..5 {
        client.script.produce(peer, "orders", 0, batch(&["plain"]));
    }
    let start = client.script.cluster.offsets("orders", 0).unwrap().start;
    assert!(start > 2, "{start}");
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(start), "not below the start");
    client.finish("open", open, true);
    let end = client.script.cluster.offsets("orders", 0).unwrap().end;
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(end));
}

/// WriteTxnMarkers to the first partition, in version 2.
fn mark(client: &mut Client, producer: Producer, epochs: (i32, i8), topic: &str) -> ErrorCode {
    let topic = WritableTxnMarkerTopic {
        name: topic.into(),
        partition_indexes: [0].into_iter().collect(),
        ..Default::default()
    };
    let marker = WritableTxnMarker {
        producer_id: producer.0,
        producer_epoch: producer.1,
        coordinator_epoch: epochs.0,
        transaction_version: epochs.1,
        topics: vec![topic],
        ..Default::default()
    };
    let request = WriteTxnMarkersRequest { markers: vec![marker], ..Default::default() };
    let peer = client.peer;
    ErrorCode(client.script.ask(peer, 2, request).markers[0].topics[0].partitions[0].error_code)
}

#[test]
fn markers_of_the_past_are_refused() {
    let mut client = Client::new();
    client.init("t").unwrap();
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    let older = (producer.0, producer.1 - 1);
    let newer = (producer.0, producer.1 + 1);
    assert_eq!(mark(&mut client, older, (3, 0), "orders"), ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(
        mark(&mut client, producer, (3, 2), "orders"),
        ErrorCode::INVALID_PRODUCER_EPOCH,
        "not raised"
    );
    assert_eq!(mark(&mut client, producer, (3, 0), "nowhere"), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(mark(&mut client, newer, (3, 2), "orders"), ErrorCode::NONE);
    assert_eq!(mark(&mut client, newer, (3, 2), "orders"), ErrorCode::NONE, "the answer was lost");
    assert_eq!(mark(&mut client, newer, (2, 2), "orders"), ErrorCode::TRANSACTION_COORDINATOR_FENCED);
    assert_eq!(client.read(1).batches.len(), 3);
    // Now the coordinator's own marker comes too late, and its transaction is never done.
    client.end(4, "t", producer, true).unwrap();
    client.script.advance_ms(MARKED);
    assert_eq!(client.script.cluster.poll_timeout(), None, "nor tried again");
    client.script.advance_ms(60_000);
    assert_eq!(client.state("t"), "PrepareCommit");
    assert_eq!(client.init("t"), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
}

#[test]
fn producers_are_described() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    let describe = |client: &mut Client, topic: &str| {
        let topic = TopicRequest {
            name: topic.into(),
            partition_indexes: [0].into_iter().collect(),
            ..Default::default()
        };
        let peer = client.peer;
        let request = DescribeProducersRequest { topics: vec![topic], ..Default::default() };
        client.script.ask(peer, 0, request).topics.remove(0).partitions.remove(0)
    };
    let described = describe(&mut client, "orders").active_producers.remove(0);
    assert_eq!((described.producer_id, described.producer_epoch), (producer.0, 0));
    assert_eq!((described.last_sequence, described.current_txn_start_offset), (0, 0));
    assert_eq!((described.last_timestamp, described.coordinator_epoch), (START_MS, -1));
    client.finish("t", producer, true);
    let described = describe(&mut client, "orders").active_producers.remove(0);
    assert_eq!((described.last_sequence, described.current_txn_start_offset), (-1, -1));
    assert_eq!((described.last_timestamp, described.coordinator_epoch), (START_MS + 5, 0));
    for (topic, code) in
        [("nowhere", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), ("a b", ErrorCode::INVALID_TOPIC_EXCEPTION)]
    {
        assert_eq!(ErrorCode(describe(&mut client, topic).error_code), code);
    }
}
