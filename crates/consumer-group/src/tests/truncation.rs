//! A leader whose log lacks the end of the old one's (KIP-320).

use super::{
    batches::{at, data as batch},
    *,
};
use crate::{AutoOffsetReset, ConsumerError, Position, SeekTo};

fn config(auto_offset_reset: AutoOffsetReset) -> ConsumerConfig {
    ConsumerConfig { auto_offset_reset, ..Default::default() }
}

/// Records 10 to 13 of epoch 4 are read, and 14 to 17 are here. Then broker 2 leads in epoch 6.
fn with_a_new_leader(config: ConsumerConfig) -> Script {
    let mut script = Script::reading(config, &[10]);
    script.cluster.keeps_all = false;
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(10, 4, batch(None, 4))])]));
    assert_eq!(script.taken(10), [(0, vec![10, 11, 12, 13])]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(14, 4, batch(None, 4))])]));
    let (id, _) = script.fetch_of(1);
    script.cluster.topics.get_mut("letters").unwrap().1[0] = (2, 6);
    script.answer(id, fetched([refused(0, ErrorCode::NOT_LEADER_OR_FOLLOWER)]));
    script.pass_until(1_000);
    script
}

/// Answers what the new leader is asked about the epoch 4: its end there.
fn tell(script: &mut Script, leader_epoch: i32, end: i64) {
    let (id, _) = asked_for!(script, OffsetForLeaderEpoch);
    script.answer(id, epoch_ends(&[(0, leader_epoch, end)]));
}

fn fetch_offset(script: &mut Script) -> i64 {
    let (_, request) = script.fetch_of(2);
    request.topics[0].partitions[0].fetch_offset
}

/// F8: nothing is fetched of a new leader before it has said that its log has what was read. What is here stays.
#[test]
fn a_new_leader_is_asked_where_the_epoch_of_the_position_ends() {
    let mut script = with_a_new_leader(config(AutoOffsetReset::Earliest));
    assert!(!script.waits_for(ApiKey::Fetch));
    assert!(script.consumer.explain(script.now())[1].contains("a new leader"));
    let outgoing = script.next(ApiKey::OffsetForLeaderEpoch);
    assert_eq!((outgoing.target, outgoing.min_version), (Target::Broker(BrokerId(2)), 3));
    let Request::OffsetForLeaderEpoch(request) = outgoing.request else { unreachable!() };
    let asked = &request.topics[0].partitions[0];
    assert_eq!((request.replica_id, &*request.topics[0].topic), (-1, "letters"));
    assert_eq!((asked.partition, asked.current_leader_epoch, asked.leader_epoch), (0, 6, 4));
    // As far as fetching has come, its log goes at least.
    script.answer(outgoing.id, epoch_ends(&[(0, 4, 18)]));
    assert_eq!(fetch_offset(&mut script), 18);
    assert_eq!(script.taken(10), [(0, vec![14, 15, 16, 17])]);
    assert_eq!(script.news(), []);
}

/// F8: of what is here some is not in the log any more: it is thrown away, and fetched as it is now.
#[test]
fn what_is_here_and_cut_off_is_fetched_anew() {
    let mut script = with_a_new_leader(config(AutoOffsetReset::Earliest));
    tell(&mut script, 4, 15);
    assert_eq!(script.taken(10), []);
    tell(&mut script, 4, 15);
    assert_eq!(fetch_offset(&mut script), 14);
    assert_eq!((script.position(0), script.news()), (Some(14), vec![]));
}

/// F8: what was read is not in the log any more: reading goes on where the logs part.
#[test]
fn a_position_behind_the_end_goes_back_to_it() {
    for policy in [AutoOffsetReset::Earliest, AutoOffsetReset::Latest] {
        let mut script = with_a_new_leader(config(policy));
        tell(&mut script, 4, 12);
        tell(&mut script, 4, 12);
        assert_eq!(fetch_offset(&mut script), 12);
        let back = Position { offset: 12, leader_epoch: Some(4) };
        assert_eq!(script.consumer.position(&letters(0)), Some(back));
        assert_eq!(script.news(), []);
    }
}

/// F8: a leader that knows nothing of the epoch can't say where the logs part. The policy says where to go on.
#[test]
fn an_epoch_the_leader_does_not_know_asks_the_policy() {
    for (policy, timestamp) in [(AutoOffsetReset::Earliest, -2), (AutoOffsetReset::Latest, -1)] {
        let mut script = with_a_new_leader(config(policy));
        tell(&mut script, -1, -1);
        tell(&mut script, -1, -1);
        let (id, request) = asked_for!(script, ListOffsets);
        assert_eq!(request.topics[0].partitions[0].timestamp, timestamp);
        script.answer(id, listed(&[(0, 3)]));
        // The leader that told the offset has it.
        assert_eq!(fetch_offset(&mut script), 3);
    }
}

/// F8: without a policy the application says where to go on, and is told where the logs part.
#[test]
fn without_a_policy_a_truncation_is_an_error() {
    for (told, end) in [((4, 12), Some(12)), ((-1, -1), None)] {
        let mut script = with_a_new_leader(config(AutoOffsetReset::None));
        tell(&mut script, told.0, told.1);
        tell(&mut script, told.0, told.1);
        let error = ConsumerError::LogTruncated { partition: letters(0), offset: 14, end };
        assert_eq!(error.partition(), Some(&letters(0)));
        assert_eq!(script.news(), [Event::Failed(error)]);
        assert!(!script.waits_for(ApiKey::Fetch) && !script.waits_for(ApiKey::OffsetForLeaderEpoch));
        script.consumer.seek(script.now(), &letters(0), SeekTo::Offset(12)).unwrap();
        assert_eq!(fetch_offset(&mut script), 12);
    }
}

/// F8: an answer about a position that has moved meanwhile says nothing.
#[test]
fn an_answer_about_an_earlier_position_is_ignored() {
    let mut script = with_a_new_leader(config(AutoOffsetReset::None));
    let (id, _) = asked_for!(script, OffsetForLeaderEpoch);
    script.consumer.seek(script.now(), &letters(0), SeekTo::Offset(11)).unwrap();
    script.answer(id, epoch_ends(&[(0, 4, 5)]));
    assert_eq!((script.position(0), script.news()), (Some(11), vec![]));
    assert_eq!(fetch_offset(&mut script), 11);
}

/// F8: no answer, or one that says to come back, is not a truncation: it is asked again, with waits.
#[test]
fn a_leader_that_can_not_be_asked_resets_nothing() {
    let mut script = with_a_new_leader(config(AutoOffsetReset::Latest));
    let mut tries = 0;
    for ms in (1_000..11_000).step_by(50) {
        script.pass_until(ms);
        while script.waits_for(ApiKey::OffsetForLeaderEpoch) {
            let (id, _) = asked_for!(script, OffsetForLeaderEpoch);
            tries += 1;
            match tries % 3 {
                0 => script.fail(id, FailureKind::Unanswered),
                1 => script.answer(id, epoch_ends(&[])),
                _ => {
                    let mut again = epoch_ends(&[(0, -1, -1)]);
                    again.topics[0].partitions[0].error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER.0;
                    script.answer(id, again);
                }
            }
        }
    }
    assert!((8..20).contains(&tries), "{tries}");
    assert!(!script.waits_for(ApiKey::ListOffsets) && !script.waits_for(ApiKey::Fetch));
    script.pass_until(13_000);
    tell(&mut script, 4, 18);
    assert_eq!(fetch_offset(&mut script), 18);
    assert_eq!(script.news(), []);
}

/// F8: the leader moves again before it has answered: the answer is the old one's.
#[test]
fn two_quick_changes_of_leader_ask_the_last_one() {
    let mut script = with_a_new_leader(config(AutoOffsetReset::Earliest));
    let (id, _) = asked_for!(script, OffsetForLeaderEpoch);
    script.cluster.topics.get_mut("letters").unwrap().1[0] = (3, 7);
    let mut fenced = epoch_ends(&[(0, -1, -1)]);
    fenced.topics[0].partitions[0].error_code = ErrorCode::FENCED_LEADER_EPOCH.0;
    script.answer(id, fenced);
    script.pass_until(3_000);
    let outgoing = script.next(ApiKey::OffsetForLeaderEpoch);
    assert_eq!(outgoing.target, Target::Broker(BrokerId(3)));
    script.answer(outgoing.id, epoch_ends(&[(0, 4, 18)]));
    let (_, request) = script.fetch_of(3);
    assert_eq!(request.topics[0].partitions[0].fetch_offset, 18);
}

/// F8: what the group committed may have been cut off while nobody read. The commit tells its epoch (F9).
#[test]
fn a_committed_offset_is_asked_about_before_it_is_fetched() {
    let mut script = Script::new(in_group());
    script.cluster.keeps_all = false;
    script.consumer.assign(script.now(), [(letters(0), None)]).unwrap();
    script.drain();
    script.committed(&[(0, 42)]);
    assert!(!script.waits_for(ApiKey::Fetch));
    tell(&mut script, 4, 40);
    let (_, request) = script.fetch_of(1);
    assert_eq!(request.topics[0].partitions[0].fetch_offset, 40);
}

/// F8: a leader whose election is not known of yet is not asked about what it has written since.
#[test]
fn an_epoch_later_than_what_is_known_is_not_asked_about() {
    let mut script = Script::new(config(AutoOffsetReset::Earliest));
    script.cluster.keeps_all = false;
    let later = Position { offset: 42, leader_epoch: Some(9) };
    script.consumer.assign(script.now(), [(letters(0), Some(later))]).unwrap();
    let (_, request) = script.fetch_of(1);
    assert_eq!(request.topics[0].partitions[0].fetch_offset, 42);
    assert!(!script.waits_for(ApiKey::OffsetForLeaderEpoch));
}

/// F8: brokers before 2.3 can't be asked by a consumer.
#[test]
fn a_broker_that_can_not_be_asked_is_believed() {
    let mut script = with_a_new_leader(config(AutoOffsetReset::None));
    let (id, _) = asked_for!(script, OffsetForLeaderEpoch);
    script.fail(id, FailureKind::Unsupported);
    assert_eq!(fetch_offset(&mut script), 18);
    assert_eq!(script.news(), []);
}

#[test]
fn a_leader_that_refuses_to_be_asked_is_named() {
    let mut script = with_a_new_leader(config(AutoOffsetReset::Latest));
    let (id, _) = asked_for!(script, OffsetForLeaderEpoch);
    let mut refusal = epoch_ends(&[(0, -1, -1)]);
    refusal.topics[0].partitions[0].error_code = ErrorCode::TOPIC_AUTHORIZATION_FAILED.0;
    script.answer(id, refusal);
    let [Event::Failed(error)] = &script.news()[..] else { panic!() };
    assert_eq!(error.partition(), Some(&letters(0)));
    assert!(error.to_string().contains("asking whether the position is still in letters-0"), "{error}");
}
