//! Produce in a transaction: what the coordinator says of the first batch.

use milena_embedded_broker::core::ClusterConfig;
use milena_protocol::{ErrorCode, records::ProducerStamp};

use crate::client::{Client, MARKED, stamp};

#[test]
fn from_version_12_on_it_adds_the_partition() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    assert_eq!(client.write(12, "t", producer, 1, 0), Ok(0));
    let described = client.describe("t");
    assert_eq!(&*described.transaction_state, "Ongoing");
    assert_eq!(described.topics[0].partitions.iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn before_that_a_partition_must_have_been_added() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    assert_eq!(client.write(11, "t", producer, 0, 0), Err(ErrorCode::TRANSACTION_ABORTABLE));
    assert_eq!(client.write(10, "t", producer, 0, 0), Err(ErrorCode::INVALID_TXN_STATE));
    client.add("t", producer, &[0]).unwrap();
    assert_eq!(client.write(10, "t", producer, 0, 0), Ok(0));
    assert_eq!(client.write(11, "t", producer, 0, 1), Ok(1));
    // Version 1 leaves the epoch as it is, so that the partition alone can't tell.
    client.end(4, "t", producer, true).unwrap();
    client.script.advance_ms(MARKED);
    assert_eq!(client.write(11, "t", producer, 0, 2), Err(ErrorCode::TRANSACTION_ABORTABLE));
    assert_eq!(client.script.cluster.offsets("orders", 0), Some(0..3));
}

#[test]
fn whoever_it_is_not_is_refused() {
    let mut client = Client::new();
    let (id, epoch) = client.init("t").unwrap();
    let unknown = Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(client.write(12, "t", (id + 1, 0), 0, 0), unknown);
    assert_eq!(client.write(12, "nobody's", (id, epoch), 0, 0), unknown);
    assert_eq!(client.write(12, "", (id, epoch), 0, 0), Err(ErrorCode::INVALID_REQUEST));
    assert_eq!(client.write(12, "t", (id, epoch + 1), 0, 0), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    let sent = client.send_batch(12, None, 0, &["v"], stamp((id, epoch), 0));
    assert_eq!(client.written(sent), Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    assert_eq!(client.script.cluster.offsets("orders", 0), Some(0..0));
}

#[test]
fn a_batch_of_the_next_transaction_waits_for_the_markers_of_the_last() {
    let mut client = Client::with(ClusterConfig {
        transaction_marker_delay: std::time::Duration::from_millis(30),
        ..ClusterConfig::default()
    });
    let first = client.init("t").unwrap();
    client.write(12, "t", first, 0, 0).unwrap();
    let second = client.end(5, "t", first, true).unwrap();
    let sent = client.send_batch(12, Some("t"), 0, &["v"], stamp(second, 0));
    client.script.advance_ms(39);
    assert_eq!(client.script.reply(sent), None, "markers came after 30 ms, it asks again after 40");
    client.script.advance_ms(1);
    assert_eq!(client.written(sent), Ok(2));
    assert_eq!(client.state("t"), "Ongoing");
}

#[test]
fn after_100_ms_it_is_told_to_try_again() {
    let slow = std::time::Duration::from_secs(5);
    let mut client =
        Client::with(ClusterConfig { transaction_marker_delay: slow, ..ClusterConfig::default() });
    let first = client.init("t").unwrap();
    client.write(12, "t", first, 0, 0).unwrap();
    let second = client.end(5, "t", first, true).unwrap();
    let sent = client.send_batch(12, Some("t"), 0, &["v"], stamp(second, 0));
    client.script.advance_ms(99);
    assert_eq!(client.script.reply(sent), None);
    client.script.advance_ms(1);
    assert_eq!(client.written(sent), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    assert_eq!(
        client.write(11, "t", second, 0, 0),
        Err(ErrorCode::NOT_ENOUGH_REPLICAS),
        "older ones at once"
    );
    client.script.advance(slow);
    assert_eq!(client.write(12, "t", second, 0, 0), Ok(2));
}

#[test]
fn a_connection_that_ends_takes_its_waiting_batch_along() {
    let slow = std::time::Duration::from_millis(30);
    let mut client =
        Client::with(ClusterConfig { transaction_marker_delay: slow, ..ClusterConfig::default() });
    let first = client.init("t").unwrap();
    client.write(12, "t", first, 0, 0).unwrap();
    let second = client.end(5, "t", first, true).unwrap();
    let sent = client.send_batch(12, Some("t"), 0, &["v"], stamp(second, 0));
    let now = client.script.now;
    client.script.cluster.handle_disconnect(now, sent.peer.connection);
    client.script.advance_ms(1_000);
    assert_eq!(client.script.cluster.offsets("orders", 0), Some(0..2));
    assert_eq!(client.state("t"), "CompleteCommit");
}

#[test]
fn sequences_start_over_with_every_transaction_of_version_2() {
    let mut client = Client::new();
    let gap = Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    let first = client.init("t").unwrap();
    assert_eq!(client.write(12, "t", first, 0, 3), gap, "not even the first may begin elsewhere");
    assert_eq!(client.write(12, "t", first, 0, 0), Ok(0));
    assert_eq!(client.write(12, "t", first, 0, 0), Ok(0), "known again");
    assert_eq!(client.write(12, "t", first, 0, 2), gap);
    let second = client.finish("t", first, true);
    assert_eq!(client.write(12, "t", second, 0, 1), gap);
    assert_eq!(client.write(12, "t", second, 0, 0), Ok(2));
    assert_eq!(client.write(12, "t", first, 0, 1), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
}

#[test]
fn a_batch_that_was_announced_comes_before_those_behind_it() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    // Sequence 4 is refused, for the partition is not part of the transaction, but it was seen.
    assert_eq!(client.write(11, "t", producer, 0, 4), Err(ErrorCode::TRANSACTION_ABORTABLE));
    client.add("t", producer, &[0]).unwrap();
    assert_eq!(client.write(11, "t", producer, 0, 5), Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
    assert_eq!(client.write(11, "t", producer, 0, 4), Ok(0));
    assert_eq!(client.write(11, "t", producer, 0, 5), Ok(1));
}

#[test]
fn a_producer_in_a_transaction_writes_nothing_beside_it() {
    let mut client = Client::new();
    let producer = client.init("t").unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    let beside = ProducerStamp { transactional: false, ..stamp(producer, 1) };
    let sent = client.send_batch(12, None, 0, &["v"], beside);
    assert_eq!(client.written(sent), Err(ErrorCode::INVALID_TXN_STATE));
}
