//! What time does to transactions.

use std::time::Duration;

use milena_embedded_broker::core::ClusterConfig;
use milena_protocol::{ErrorCode, messages::ListTransactionsRequest};

use crate::client::{Client, MARKED};

#[test]
fn a_transaction_that_takes_too_long_is_aborted_at_the_next_look() {
    let mut client = Client::new();
    client.script.advance_ms(1_000);
    let producer = client.init_as("t", 3_000, (-1, -1)).unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.script.advance_ms(8_999);
    assert_eq!(client.state("t"), "Ongoing", "it is looked at every ten seconds");
    client.script.advance_ms(1);
    assert_eq!(client.state("t"), "PrepareAbort");
    client.script.advance_ms(MARKED);
    assert_eq!(client.state("t"), "CompleteAbort");
    assert_eq!(client.read(1).aborted, Some(vec![(producer.0, 0)]));
}

#[test]
fn a_commit_that_comes_too_late_is_in_the_wrong_state_and_not_fenced() {
    let mut client = Client::new();
    let producer = client.init_as("t", 3_000, (-1, -1)).unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    client.script.advance_ms(10_000);
    assert_eq!(client.end(5, "t", producer, true), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    client.script.advance_ms(MARKED);
    assert_eq!(client.end(5, "t", producer, true), Err(ErrorCode::INVALID_TXN_STATE));
    let next = (producer.0, producer.1 + 1);
    assert_eq!(client.end(5, "t", producer, false), Ok(next), "it was aborted, as it wants");
    assert_eq!(client.write(12, "t", producer, 0, 1), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(client.add("t", producer, &[1]), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(
        client.init_as("t", 3_000, producer),
        Ok(next),
        "it goes on, in the epoch it has been raised to"
    );
}

#[test]
fn in_version_1_it_is_fenced() {
    let mut client = Client::with(ClusterConfig { transaction_version: 1, ..ClusterConfig::default() });
    let producer = client.init_as("t", 3_000, (-1, -1)).unwrap();
    client.add("t", producer, &[0]).unwrap();
    client.write(11, "t", producer, 0, 0).unwrap();
    client.script.advance_ms(11_000);
    assert_eq!(client.end(4, "t", producer, true), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.end(4, "t", producer, false), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.init_as("t", 3_000, producer), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(client.init("t"), Ok((producer.0, 2)));
}

#[test]
fn one_that_ends_in_time_is_left_alone() {
    let mut client = Client::new();
    let producer = client.init_as("t", 10_000, (-1, -1)).unwrap();
    client.write(12, "t", producer, 0, 0).unwrap();
    let late = client.init_as("late", 9_999, (-1, -1)).unwrap();
    client.write(12, "late", late, 1, 0).unwrap();
    client.script.advance_ms(10_000);
    assert_eq!(client.state("late"), "PrepareAbort");
    assert_eq!(client.state("t"), "Ongoing", "just in time is in time");
    let next = client.finish("t", producer, true);
    client.script.advance_ms(60_000);
    assert_eq!(client.state("t"), "CompleteCommit");
    assert_eq!(client.write(12, "t", next, 0, 0), Ok(2));
}

#[test]
fn an_id_is_forgotten_after_a_week_without_a_transaction() {
    let week = Duration::from_hours(7 * 24);
    let mut client = Client::new();
    let idle = client.init("idle").unwrap();
    let open = client.init_as("open", 900_000, (-1, -1)).unwrap();
    client.script.advance(week - Duration::from_mins(1));
    assert_eq!(client.end(5, "idle", idle, true), Err(ErrorCode::INVALID_TXN_STATE));
    client.write(12, "open", open, 0, 0).unwrap();
    client.script.advance(Duration::from_mins(1));
    assert_eq!(client.end(5, "idle", idle, true), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    let code = ErrorCode(client.describe("idle").error_code);
    assert_eq!(code, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND);
    assert_eq!(client.state("open"), "Ongoing");
    let (id, epoch) = client.init("idle").unwrap();
    assert!(id != idle.0 && epoch == 0, "a new producer");
}

#[test]
fn long_transactions_can_be_listed() {
    let mut client = Client::new();
    let producer = client.init("long").unwrap();
    client.write(12, "long", producer, 0, 0).unwrap();
    client.script.advance_ms(2_000);
    let producer = client.init("short").unwrap();
    client.write(12, "short", producer, 0, 0).unwrap();
    client.init("none").unwrap();
    let peer = client.peer;
    let mut list = |states: &[&str], duration_filter, pattern: Option<&str>| {
        let request = ListTransactionsRequest {
            state_filters: states.iter().map(|state| (*state).into()).collect(),
            duration_filter,
            transactional_id_pattern: pattern.map(Into::into),
            ..Default::default()
        };
        let response = client.script.ask(peer, 2, request);
        let ids: Vec<String> =
            response.transaction_states.iter().map(|state| state.transactional_id.to_string()).collect();
        (ErrorCode(response.error_code), ids, response.unknown_state_filters.len())
    };
    let some = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    assert_eq!(list(&[], -1, None), (ErrorCode::NONE, some(&["long", "none", "short"]), 0));
    assert_eq!(list(&["Ongoing", "Strange"], 1_000, None), (ErrorCode::NONE, some(&["long"]), 1));
    assert_eq!(list(&[], -1, Some(".*o.*t")), (ErrorCode::NONE, some(&["short"]), 0));
    assert_eq!(list(&[], -1, Some("(")), (ErrorCode::INVALID_REGULAR_EXPRESSION, vec![], 0));
}
