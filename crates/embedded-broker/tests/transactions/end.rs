//! EndTxn: the table of states, and its answers in both versions.

use milena_protocol::ErrorCode;

use crate::client::{Client, MARKED, Producer};

const COMMIT: bool = true;
const ABORT: bool = false;

/// A client with a transactional id in this state, and its producer.
fn in_state(state: &str, version: i16) -> (Client, Producer) {
    let mut client = Client::new();
    let first = client.init("t").unwrap();
    let committed = match state {
        "Empty" => return (client, first),
        "CompleteCommit" | "PrepareCommit" => true,
        _ => false,
    };
    client.add("t", first, &[0]).unwrap();
    if state == "Ongoing" {
        return (client, first);
    }
    let next = client.end(version, "t", first, committed).unwrap();
    if state.starts_with("Complete") {
        client.script.advance_ms(MARKED);
    }
    assert_eq!(client.state("t"), state);
    (client, if version == 5 { next } else { first })
}

#[test]
fn version_2_follows_the_table() {
    let fenced = Err(ErrorCode::PRODUCER_FENCED);
    let invalid = Err(ErrorCode::INVALID_TXN_STATE);
    let concurrent = Err(ErrorCode::CONCURRENT_TRANSACTIONS);
    // By how much the epoch rises: the newest one asks, then the one before it.
    let table = [
        ("Empty", COMMIT, invalid, fenced),
        ("Empty", ABORT, Ok(1), fenced),
        ("Ongoing", COMMIT, Ok(1), fenced),
        ("Ongoing", ABORT, Ok(1), fenced),
        ("PrepareCommit", COMMIT, concurrent, concurrent),
        ("PrepareCommit", ABORT, concurrent, concurrent),
        ("PrepareAbort", COMMIT, concurrent, concurrent),
        ("PrepareAbort", ABORT, concurrent, concurrent),
        ("CompleteCommit", COMMIT, invalid, Ok(0)),
        ("CompleteCommit", ABORT, Ok(1), invalid),
        ("CompleteAbort", COMMIT, invalid, invalid),
        ("CompleteAbort", ABORT, Ok(1), Ok(0)),
    ];
    for (state, committed, newest, before) in table {
        for (age, expected) in [(0, newest), (1, before)] {
            let (mut client, (id, epoch)) = in_state(state, 5);
            let answer = client.end(5, "t", (id, epoch - age), committed);
            let expected = expected.map(|raised: i16| (id, epoch + raised));
            assert_eq!(answer, expected, "{state}, commit {committed}, {age} behind");
        }
    }
}

#[test]
fn version_1_follows_its_own() {
    let nothing = Ok((-1, -1));
    let invalid = Err(ErrorCode::INVALID_TXN_STATE);
    let concurrent = Err(ErrorCode::CONCURRENT_TRANSACTIONS);
    let table = [
        ("Empty", COMMIT, invalid),
        ("Empty", ABORT, invalid),
        ("Ongoing", COMMIT, nothing),
        ("Ongoing", ABORT, nothing),
        ("PrepareCommit", COMMIT, concurrent),
        ("PrepareAbort", ABORT, concurrent),
        ("PrepareAbort", COMMIT, concurrent),
        ("CompleteCommit", COMMIT, nothing),
        ("CompleteCommit", ABORT, invalid),
        ("CompleteAbort", COMMIT, invalid),
        ("CompleteAbort", ABORT, nothing),
    ];
    for (state, committed, expected) in table {
        let (mut client, producer) = in_state(state, 4);
        assert_eq!(client.end(4, "t", producer, committed), expected, "{state}, commit {committed}");
        let older = (producer.0, producer.1 - 1);
        assert_eq!(client.end(4, "t", older, committed), Err(ErrorCode::PRODUCER_FENCED), "{state}");
        assert_eq!(client.end(1, "t", older, committed), Err(ErrorCode::INVALID_PRODUCER_EPOCH), "{state}");
    }
}

#[test]
fn whose_transaction_it_is_comes_first_in_version_1_and_last_in_version_2() {
    for (version, ending) in
        [(4, ErrorCode::INVALID_PRODUCER_ID_MAPPING), (5, ErrorCode::CONCURRENT_TRANSACTIONS)]
    {
        let (mut client, (id, epoch)) = in_state("PrepareCommit", version);
        assert_eq!(client.end(version, "t", (id + 1, epoch), COMMIT), Err(ending));
        client.script.advance_ms(MARKED);
        let stranger = client.end(version, "t", (id + 1, epoch), COMMIT);
        assert_eq!(stranger, Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    }
    let mut client = Client::new();
    for version in [1, 4, 5] {
        let unknown = client.end(version, "nobody's", (1_000, 0), COMMIT);
        assert_eq!(unknown, Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
        let peer = client.peer;
        let unnamed = client.end_at(peer, version, "", (1_000, 0), COMMIT);
        assert_eq!(unnamed, Err(ErrorCode::INVALID_REQUEST));
    }
}

#[test]
fn a_producer_without_epochs_left_goes_on_under_another_id() {
    let mut client = Client::new();
    let first = client.init("t").unwrap();
    let mut producer = first;
    // Aborting needs no transaction, and raises the epoch.
    for _ in 0..i16::MAX - 1 {
        producer = client.end(5, "t", producer, ABORT).unwrap();
    }
    assert_eq!(producer, (first.0, i16::MAX - 1));
    client.write(12, "t", producer, 0, 0).unwrap();
    let rotated = client.end(5, "t", producer, COMMIT).unwrap();
    assert!(rotated.0 != first.0 && rotated.1 == 0, "{rotated:?}");
    assert_eq!(client.state("t"), "PrepareCommit");
    client.script.advance_ms(MARKED);
    assert_eq!(client.script.cluster.transactional_producer("t"), Some(rotated));
    // The answer was lost.
    assert_eq!(client.end(5, "t", producer, COMMIT), Ok(rotated));
    assert_eq!(client.end(5, "t", producer, ABORT), Err(ErrorCode::INVALID_TXN_STATE));
    assert_eq!(client.init_as("t", 60_000, producer), Ok(rotated), "nor does this raise it again");
    assert_eq!(client.write(12, "t", producer, 0, 1), Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(client.write(12, "t", rotated, 0, 0), Ok(2));
}
