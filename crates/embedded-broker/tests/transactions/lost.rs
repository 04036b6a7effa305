//! What a log loses of transactions.

use milena_protocol::{
    ErrorCode,
    records::{BatchBuilder, Batches, Compression, ProducerStamp},
    wire::Uuid,
};

use crate::{
    client::{Client, MARKED, stamp},
    script::produce_request,
};

#[test]
fn a_transaction_whose_marker_was_cut_off_is_open_again() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.finish("t", producer, true);
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(2));
    client.script.cluster.truncate(client.script.now, "orders", 0, 1).unwrap();
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(0));
    assert_eq!(client.state("t"), "CompleteCommit", "its coordinator takes it as done");
    assert!(client.read(1).batches.is_empty());
}

#[test]
fn a_transaction_that_was_cut_off_whole_never_was() {
    let mut client = Client::new();
    let kept = client.init("kept").unwrap();
    client.write(12, "kept", kept, 0, 0).unwrap();
    let kept = client.finish("kept", kept, false);
    let lost = client.init("lost").unwrap();
    client.write(12, "lost", lost, 0, 0).unwrap();
    client.finish("lost", lost, false);
    assert_eq!(client.read(1).aborted.unwrap().len(), 2);
    client.script.cluster.truncate(client.script.now, "orders", 0, 2).unwrap();
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(2));
    assert_eq!(client.read(1).aborted, Some(vec![(kept.0, 0)]));
}

#[test]
fn an_open_transaction_goes_on_after_what_it_wrote_was_cut_off() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.write(12, "t", producer, 0, 1).unwrap();
    client.script.cluster.truncate(client.script.now, "orders", 0, 1).unwrap();
    assert_eq!(
        client.write(12, "t", producer, 0, 2),
        Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        "the log lacks what it was told is written"
    );
    client.finish("t", producer, false);
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(2));
}

#[test]
fn deleting_records_does_not_end_their_transaction() {
    use milena_protocol::messages::{
        DeleteRecordsRequest,
        delete_records::{DeleteRecordsPartition, DeleteRecordsTopic},
    };
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.write(12, "t", producer, 0, 1).unwrap();
    let partitions = vec![DeleteRecordsPartition { offset: 1, ..Default::default() }];
    let topics = vec![DeleteRecordsTopic { name: "orders".into(), partitions, ..Default::default() }];
    let (leader, _) = client.script.cluster.leader("orders", 0).unwrap();
    let peer = client.script.connect(leader.0);
    client.script.ask(peer, 2, DeleteRecordsRequest { topics, ..Default::default() });
    assert_eq!(
        client.script.cluster.last_stable_offset("orders", 0),
        Some(1),
        "from the start on it is open"
    );
    client.write(12, "t", producer, 0, 2).unwrap();
    client.finish("t", producer, false);
    assert_eq!(client.script.cluster.last_stable_offset("orders", 0), Some(4));
    let partitions = vec![DeleteRecordsPartition { offset: 4, ..Default::default() }];
    let topics = vec![DeleteRecordsTopic { name: "orders".into(), partitions, ..Default::default() }];
    let response = client.script.ask(peer, 2, DeleteRecordsRequest { topics, ..Default::default() });
    assert_eq!(response.topics[0].partitions[0].low_watermark, 4);
}

#[test]
fn compaction_drops_what_was_aborted_and_keeps_the_markers() {
    let mut client = Client::new();
    client.script.cluster.create_topic_with("compacted", 1, &[("cleanup.policy", "compact")]).unwrap();
    let batch = |key: &str, stamp: ProducerStamp| {
        let mut builder = BatchBuilder::new(1 << 10);
        builder.append(0, Some(key.as_bytes()), Some(b"v"), []).unwrap();
        builder.compress(Compression::None).unwrap().stamp(stamp)
    };
    let peer = client.peer;
    client.script.produce(peer, "compacted", 0, batch("a", ProducerStamp::NONE));
    for (id, committed) in [("aborts", false), ("commits", true)] {
        let producer = client.init(id).unwrap();
        let key = if committed { "b" } else { "a" };
        let mut request = produce_request("compacted", Uuid::ZERO, 0, batch(key, stamp(producer, 0)));
        request.transactional_id = Some(id.into());
        client.script.ask(peer, 12, request);
        client.end(5, id, producer, committed).unwrap();
        client.script.advance_ms(MARKED);
    }
    client.script.produce(peer, "compacted", 0, batch("active", ProducerStamp::NONE));
    assert_eq!(client.script.cluster.compact(client.script.now, "compacted", 0), Ok(1));
    let batches = client.script.cluster.batches("compacted", 0);
    let left: Vec<_> = batches
        .into_iter()
        .map(|bytes| *Batches::new(bytes).next().unwrap().unwrap().header())
        .map(|header| (header.base_offset, header.record_count, header.attributes.is_control()))
        .collect();
    // What is aborted does not stand in for the record with its key that was there before.
    let plain = (0, 1, false);
    let committed = [(3, 1, false), (4, 1, true)];
    assert_eq!(left, [&[plain, (2, 1, true)][..], &committed, &[(5, 1, false)]].concat());
}
