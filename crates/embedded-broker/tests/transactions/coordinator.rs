//! InitProducerId and AddPartitionsToTxn: who has a transactional id.

use milena_embedded_broker::core::ClusterConfig;
use milena_protocol::ErrorCode;

use crate::client::{Client, MARKED};

#[test]
fn every_initialisation_raises_the_epoch_and_fences_the_one_before() {
    let mut client = Client::new();
    let (id, epoch) = client.init("t").unwrap();
    assert_eq!((epoch, client.init("t")), (0, Ok((id, 1))));
    assert_ne!(client.init("other").unwrap().0, id);
    assert_eq!(client.add("t", (id, 0), &[0]), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.end(5, "t", (id, 0), false), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.write(12, "t", (id, 0), 0, 0), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(client.write(12, "t", (id, 1), 0, 0), Ok(0));
}

#[test]
fn who_says_its_id_and_epoch_is_raised_once_or_fenced() {
    let mut client = Client::new();
    let (id, _) = client.init("t").unwrap();
    assert_eq!(client.init_as("t", 60_000, (id, 0)), Ok((id, 1)));
    assert_eq!(client.init_as("t", 60_000, (id, 0)), Ok((id, 1)), "the answer was lost");
    assert_eq!(client.init_as("t", 60_000, (id, 1)), Ok((id, 2)));
    assert_eq!(client.init_as("t", 60_000, (id, 0)), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.init_as("t", 60_000, (id + 1, 2)), Err(ErrorCode::PRODUCER_FENCED));
    // Somebody took over: the one before has no claim.
    assert_eq!(client.init("t"), Ok((id, 3)));
    assert_eq!(client.init_as("t", 60_000, (id, 2)), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.init_as("new", 60_000, (77, 7)).map(|(_, epoch)| epoch), Ok(0), "nobody had it");
}

#[test]
fn a_timeout_must_be_one_that_the_broker_allows() {
    let mut client = Client::new();
    for timeout_ms in [0, -1, 900_001, i32::MAX] {
        let answer = client.init_as("t", timeout_ms, (-1, -1));
        assert_eq!(answer, Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT), "{timeout_ms}");
    }
    assert!(client.init_as("t", 900_000, (-1, -1)).is_ok());
    assert_eq!(client.describe("t").transaction_timeout_ms, 900_000);
    let peer = client.peer;
    assert_eq!(client.init_at(peer, "", 1_000, (-1, -1)), Err(ErrorCode::INVALID_REQUEST));
    assert_eq!(client.init_as("t", 1_000, (5, -1)), Err(ErrorCode::INVALID_REQUEST));
    assert_eq!(client.init_as("t", 1_000, (-1, 5)), Err(ErrorCode::INVALID_REQUEST));
}

#[test]
fn an_open_transaction_is_aborted_before_another_takes_over() {
    for (transaction_version, epoch) in [(2, 2), (1, 2), (0, 2)] {
        let config = ClusterConfig { transaction_version, ..ClusterConfig::default() };
        let mut client = Client::with(config);
        let first = client.init("t").unwrap();
        client.write(12, "t", first, 0, 0).unwrap();
        assert_eq!(client.init("t"), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
        assert_eq!(client.state("t"), "PrepareAbort");
        assert_eq!(client.init("t"), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
        client.script.advance_ms(MARKED);
        assert_eq!(client.init("t"), Ok((first.0, epoch)), "version {transaction_version}");
        assert_eq!(client.end(4, "t", first, true), Err(ErrorCode::PRODUCER_FENCED));
        assert_eq!(client.end(5, "t", first, true), Err(ErrorCode::PRODUCER_FENCED));
    }
}

#[test]
fn a_stranger_with_the_right_id_aborts_too() {
    let mut client = Client::new();
    let first = client.init("t").unwrap();
    client.add("t", first, &[0]).unwrap();
    // Kafka looks at the producer id only.
    let old = client.init_as("t", 60_000, (first.0, -7));
    assert_eq!(old, Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    assert_eq!(client.state("t"), "PrepareAbort");
}

#[test]
fn partitions_are_added_to_ones_own_transaction_only() {
    let mut client = Client::new();
    assert_eq!(client.add("t", (1_000, 0), &[0]), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING), "unknown");
    let (id, epoch) = client.init("t").unwrap();
    assert_eq!(client.add("t", (id + 1, epoch), &[0]), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    assert_eq!(client.add("t", (id, epoch + 1), &[0]), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.add("t", (id, epoch), &[0, 9]), Err(ErrorCode::OPERATION_NOT_ATTEMPTED));
    assert_eq!(client.add("t", (id, epoch), &[9, 0]), Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(client.state("t"), "Empty");
    assert_eq!(client.add("t", (id, epoch), &[0]), Ok(()));
    let since = client.describe("t").transaction_start_time_ms;
    client.script.advance_ms(50);
    assert_eq!(client.add("t", (id, epoch), &[1, 0]), Ok(()));
    let described = client.describe("t");
    assert_eq!(described.transaction_start_time_ms, since, "it began with the first");
    assert_eq!(described.topics[0].partitions.iter().collect::<Vec<_>>(), [0, 1]);
    client.end(4, "t", (id, epoch), true).unwrap();
    assert_eq!(client.add("t", (id, epoch), &[0]), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    client.script.advance_ms(MARKED);
    assert_eq!(client.add("t", (id, epoch), &[0]), Ok(()));
}

#[test]
fn an_id_that_nobody_uses_is_described_as_missing() {
    let mut client = Client::new();
    assert_eq!(ErrorCode(client.describe("t").error_code), ErrorCode::TRANSACTIONAL_ID_NOT_FOUND);
}
