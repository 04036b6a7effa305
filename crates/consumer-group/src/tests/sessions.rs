//! Fetch sessions (F10, KIP-227): what brokers remember, and what happens when they do not.

use milena_protocol::{messages::FetchRequest, wire::Encode as _};

use super::{
    batches::{at, data as batch},
    *,
};

fn forgotten(request: &FetchRequest) -> Vec<i32> {
    request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.iter()).collect()
}

fn session(request: &FetchRequest) -> (i32, i32) {
    (request.session_id, request.session_epoch)
}

fn of_session(session_id: i32, partitions: impl IntoIterator<Item = PartitionData>) -> FetchResponse {
    FetchResponse { session_id, ..fetched(partitions) }
}

fn one(offset: i64) -> Bytes {
    at(offset, 3, batch(None, 1))
}

/// A consumer of three partitions, in the session 77.
fn in_session() -> Script {
    let mut script = Script::reading(from_the_start(), &[0, 0, 0]);
    let (id, request) = script.fetch_of(1);
    assert_eq!(session(&request), (0, 0));
    script.answer(id, of_session(77, [data(0, &[one(0)]), data(1, &[]), data(2, &[])]));
    script.events();
    script
}

#[test]
fn a_session_is_told_only_what_changes() {
    let mut script = in_session();
    let (id, request) = script.fetch_of(1);
    assert_eq!(session(&request), (77, 1));
    assert_eq!(asked(&request), [(0, 1)]);
    script.answer(id, of_session(77, []));
    let (id, request) = script.fetch_of(1);
    assert_eq!((session(&request), asked(&request)), ((77, 2), vec![]));
    script.answer(id, of_session(77, [data(2, &[one(0)])]));
    assert_eq!(script.taken(10), [(0, vec![0]), (2, vec![0])]);
    let (_, request) = script.fetch_of(1);
    assert_eq!((session(&request), asked(&request)), ((77, 3), vec![(2, 1)]));
}

#[test]
fn a_session_forgets_partitions_that_are_not_wanted() {
    let mut script = in_session();
    let (id, _) = script.fetch_of(1);
    script.consumer.pause(&letters(1)).unwrap();
    script.answer(id, of_session(77, []));
    let (id, request) = script.fetch_of(1);
    assert_eq!((asked(&request), forgotten(&request)), (vec![], vec![1]));
    script.consumer.resume(&letters(1)).unwrap();
    script.answer(id, of_session(77, []));
    let (_, request) = script.fetch_of(1);
    assert_eq!((asked(&request), forgotten(&request)), (vec![(1, 0)], vec![]));
}

/// F10: FETCH_SESSION_ID_NOT_FOUND: nothing to close, everything is told anew, and at once.
#[test]
fn a_session_that_the_broker_does_not_know_is_begun_anew() {
    let mut script = in_session();
    let (id, _) = script.fetch_of(1);
    let error_code = ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0;
    script.answer(id, FetchResponse { error_code, ..Default::default() });
    let (_, request) = script.fetch_of(1);
    assert_eq!(session(&request), (0, 0));
    assert_eq!(asked(&request).len(), 3);
}

/// F10: INVALID_FETCH_SESSION_EPOCH and FETCH_SESSION_TOPIC_ID_ERROR: the broker is to end the session it has.
#[test]
fn a_session_that_is_out_of_step_is_closed_and_begun_anew() {
    for code in [ErrorCode::INVALID_FETCH_SESSION_EPOCH, ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR] {
        let mut script = in_session();
        let (id, _) = script.fetch_of(1);
        script.answer(id, FetchResponse { error_code: code.0, ..Default::default() });
        let (id, request) = script.fetch_of(1);
        assert_eq!((session(&request), asked(&request).len()), ((77, 0), 3));
        // The same of a full request is a fault of the broker: it is not asked again without a wait.
        script.answer(id, FetchResponse { error_code: code.0, ..Default::default() });
        assert!(!script.waits_for(ApiKey::Fetch));
        script.pass_until(2_000);
        assert_eq!(session(&script.fetch_of(1).1), (77, 0));
    }
}

/// A change whose answer is lost may not have come through: it is told again, with everything.
#[test]
fn the_change_of_a_session_counts_only_when_it_is_answered() {
    let mut script = in_session();
    let (id, request) = script.fetch_of(1);
    assert_eq!(asked(&request), [(0, 1)]);
    script.fail(id, FailureKind::Unanswered);
    script.pass_until(2_000);
    let (_, request) = script.fetch_of(1);
    assert_eq!(session(&request), (77, 0));
    let offsets: BTreeMap<_, _> = asked(&request).into_iter().collect();
    assert_eq!(offsets, BTreeMap::from([(0, 1), (1, 0), (2, 0)]));
}

/// KIP-219: a broker over quota answers a full fetch with nothing. That is neither an error nor a session.
#[test]
fn an_empty_full_answer_of_a_throttling_broker_is_legal() {
    let mut script = Script::reading(from_the_start(), &[0, 0, 0]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, FetchResponse { throttle_time_ms: 500, ..Default::default() });
    assert_eq!(script.news(), []);
    let (_, request) = script.fetch_of(1);
    assert_eq!((session(&request), asked(&request).len()), ((0, 0), 3));
}

/// A full answer that leaves a partition out, and any that has one too many: the two sides do not mean the same.
#[test]
fn an_unexpected_set_of_partitions_drops_the_session() {
    let mut script = Script::reading(from_the_start(), &[0, 0, 0]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, of_session(77, [data(0, &[one(0)]), data(1, &[])]));
    assert_eq!(script.taken(10), [(0, vec![0])]);
    assert_eq!(session(&script.fetch_of(1).1), (77, 0));

    let mut script = in_session();
    let (id, _) = script.fetch_of(1);
    script.answer(id, of_session(77, [data(8, &[one(0)])]));
    assert_eq!(session(&script.fetch_of(1).1), (77, 0));
    assert_eq!(script.taken(10), [(0, vec![0])]);
}

/// F10: a broker that answers with session 0 has ended it; one before version 7 never has another.
#[test]
fn a_session_that_the_broker_ends_is_begun_anew() {
    let mut script = in_session();
    let (id, _) = script.fetch_of(1);
    script.answer(id, of_session(0, []));
    let (_, request) = script.fetch_of(1);
    assert_eq!((session(&request), asked(&request).len()), ((0, 0), 3));
}

#[test]
fn closing_ends_the_session() {
    let mut script = in_session();
    let (_, open) = script.fetch_of(1);
    assert_eq!(session(&open), (77, 1));
    script.consumer.close(script.now());
    assert_eq!(script.news(), []);
    let (id, request) = script.fetch_of(1);
    assert_eq!((session(&request), asked(&request)), ((77, -1), vec![]));
    script.answer(id, FetchResponse::default());
    assert_eq!(script.news(), [Event::Closed]);
}

#[test]
fn closing_does_not_wait_for_ever_for_the_end_of_a_session() {
    let mut script = in_session();
    script.consumer.close(script.now());
    script.drain();
    script.pass_until(99);
    assert_eq!(script.news(), []);
    script.pass_until(101);
    assert_eq!(script.news(), [Event::Closed]);
}

/// A thousand idle partitions cost a fetch nothing once the broker knows them.
#[test]
fn the_bytes_of_a_fetch_do_not_grow_with_idle_partitions() {
    let mut script = Script::new(from_the_start());
    script.cluster.topics.get_mut("letters").unwrap().1 = vec![(1, 5); 1_000];
    script.assign(&[0; 1_000]);
    let (id, request) = script.fetch_of(1);
    let full = request.encoded_len(17).unwrap();
    script.answer(id, of_session(77, (0..1_000).map(|index| data(index, &[]))));
    let (_, request) = script.fetch_of(1);
    let idle = request.encoded_len(17).unwrap();
    assert!(full > 25_000, "{full}");
    assert!(idle < 64, "{idle}");
}
