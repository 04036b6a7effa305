//! Membership by KIP-848.

use milena_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupResponse,
    consumer_group_heartbeat::{Assignment, ResponseTopicPartitions},
};
use milena_protocol::wire::Packed;

use super::*;
use crate::{ChosenProtocol, CommitError, CommitMode, ConsumerError, GroupProtocol};

const INTERVAL: u64 = 5_000;

fn config() -> ConsumerConfig {
    ConsumerConfig { group_protocol: GroupProtocol::Consumer, ..in_group() }
}

fn answer(epoch: i32, assigned: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
    answer_of(LETTERS, epoch, assigned)
}

fn answer_of(topic_id: Uuid, epoch: i32, assigned: Option<&[i32]>) -> ConsumerGroupHeartbeatResponse {
    let assignment = assigned.map(|partitions| Assignment {
        topic_partitions: vec![ResponseTopicPartitions {
            topic_id,
            partitions: Packed::from(partitions.to_vec()),
            ..Default::default()
        }],
        ..Default::default()
    });
    ConsumerGroupHeartbeatResponse {
        member_epoch: epoch,
        heartbeat_interval_ms: i32::try_from(INTERVAL).unwrap(),
        assignment,
        ..Default::default()
    }
}

fn refusal(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse { error_code: code.0, ..Default::default() }
}

fn all(indexes: &[i32]) -> Vec<TopicPartition> {
    indexes.iter().map(|index| letters(*index)).collect()
}

/// What a heartbeat says the member owns of `letters`.
fn owned(request: &ConsumerGroupHeartbeatRequest) -> Option<Vec<i32>> {
    let topics = request.topic_partitions.as_ref()?;
    assert!(topics.iter().all(|topic| topic.topic_id == LETTERS));
    Some(topics.iter().flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>()).collect())
}

fn is_full(request: &ConsumerGroupHeartbeatRequest) -> bool {
    let parts = [
        request.subscribed_topic_names.is_some(),
        request.topic_partitions.is_some(),
        request.rebalance_timeout_ms > 0,
    ];
    assert!(parts.iter().all(|part| *part == parts[0]) || !parts[2], "{request:?}");
    parts[2]
}

impl Script {
    /// The next heartbeat, as soon as it is due.
    fn heartbeat(&mut self) -> (RequestId, ConsumerGroupHeartbeatRequest) {
        if !self.waits_for(ApiKey::ConsumerGroupHeartbeat) {
            let ms = self.consumer_ms() + INTERVAL + 1;
            self.pass_until(ms);
        }
        asked_for!(self, ConsumerGroupHeartbeat)
    }

    fn consumer_ms(&self) -> u64 {
        u64::try_from((self.now() - self.at(0)).as_nanos().div_ceil(1_000_000)).unwrap()
    }

    fn consumer_beat(&mut self, response: ConsumerGroupHeartbeatResponse) -> ConsumerGroupHeartbeatRequest {
        let (id, request) = self.heartbeat();
        self.answer(id, response);
        request
    }

    /// A member of epoch 1 that owns these partitions, at their committed offset 10.
    fn consumer_member(config: ConsumerConfig, partitions: &[i32]) -> Self {
        let mut script = Self::new(config);
        script.subscribe();
        script.consumer_beat(answer(1, Some(partitions)));
        let acknowledged = script.consumer_beat(answer(1, None));
        assert_eq!(owned(&acknowledged), Some(partitions.to_vec()));
        let offsets: Vec<_> = partitions.iter().map(|index| (*index, 10)).collect();
        script.committed(&offsets);
        script.events();
        script
    }
}

/// N1: the client makes the id, once, and keeps it.
#[test]
fn a_member_joins_with_an_id_of_its_own() {
    let mut script = Script::new(config());
    script.subscribe();
    let outgoing = script.next(ApiKey::ConsumerGroupHeartbeat);
    assert_eq!(outgoing.target, Target::Coordinator(BrokerId(9)));
    let Request::ConsumerGroupHeartbeat(first) = outgoing.request else { unreachable!() };
    assert_eq!(first.member_id.parse::<Uuid>().unwrap().as_bytes()[6] >> 4, 4);
    assert_eq!((first.member_epoch, first.rebalance_timeout_ms), (0, 300_000));
    assert_eq!(first.subscribed_topic_names, Some(vec!["letters".into()]));
    assert_eq!(owned(&first), Some(vec![]));
    script.fail(outgoing.id, FailureKind::Unanswered);
    script.pass_until(1_000);
    let (id, again) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!(first, again);
    script.answer(id, answer(3, None));
    assert_eq!(script.events(), [Event::Joined(ChosenProtocol::Consumer)]);
    assert_eq!(script.consumer.group_membership().unwrap().generation_or_epoch, 3);
    let other = Script::new(ConsumerConfig { seed: 1, ..config() }).consumer;
    assert_ne!(other.explain(script.now()), script.consumer.explain(script.now()));
}

/// N6, N8: the assignment is acknowledged at once; then heartbeats go at the broker's interval and say only what has
/// changed.
#[test]
fn an_assignment_is_acknowledged_at_once_and_said_once() {
    let mut script = Script::new(config());
    script.subscribe();
    script.consumer_beat(answer(1, Some(&[0, 1])));
    assert_eq!(script.news(), [Event::Assigned(all(&[0, 1]))]);
    let (id, request) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!((owned(&request), request.member_epoch), (Some(vec![0, 1]), 1));
    assert_eq!(request.subscribed_topic_names, None);
    script.answer(id, answer(1, None));
    script.pass_until(INTERVAL - 1);
    assert!(!script.waits_for(ApiKey::ConsumerGroupHeartbeat));
    script.pass_until(INTERVAL);
    let (_, request) = asked_for!(script, ConsumerGroupHeartbeat);
    assert!(!is_full(&request));
    assert_eq!(owned(&request), None);
}

/// N6: a partition goes from one member to another only when the first has said that it has given it up.
#[test]
fn a_partition_is_handed_over_only_after_revoke_done() {
    let mut old = Script::consumer_member(config(), &[0, 1]);
    let mut new = Script::new(ConsumerConfig { seed: 2, ..config() });
    new.subscribe();
    new.consumer_beat(answer(2, Some(&[])));

    let (fetch, _) = old.fetch_of(1);
    old.consumer_beat(answer(1, Some(&[0])));
    assert_eq!(old.news(), [Event::RevokePending(all(&[1]))]);
    old.answer(
        fetch,
        fetched([0, 1].map(|index| data(index, &[batches::at(10, 3, batches::data(None, 2))]))),
    );
    // What is being given up is neither handed out nor fetched; the rest is.
    assert_eq!(old.taken(10), [(0, vec![10, 11])]);
    let (_, request) = old.fetch_of(1);
    assert_eq!(request.topics.iter().flat_map(|topic| &topic.partitions).count(), 1);
    // Heartbeats go on, and do not say that it is given up.
    for _ in 0..3 {
        assert_eq!(owned(&old.consumer_beat(answer(1, None))), None);
        assert_eq!(new.consumer_beat(answer(2, None)).member_epoch, 2);
        assert_eq!(new.news(), []);
    }
    let commit = old.consumer.commit_positions(old.now(), CommitMode::Sync).unwrap();
    let (id, request) = asked_for!(old, OffsetCommit);
    assert_eq!((request.generation_id_or_member_epoch, request.topics[0].partitions.len()), (1, 2));
    old.answer(id, commit_answer(&[(0, ErrorCode::NONE), (1, ErrorCode::NONE)]));
    assert_eq!(old.news(), [Event::Committed { id: commit, result: Ok(()) }]);

    old.consumer.revoke_done(old.now());
    assert_eq!(old.news(), [Event::Revoked(all(&[1]))]);
    let (id, acknowledged) = asked_for!(old, ConsumerGroupHeartbeat);
    assert_eq!(owned(&acknowledged), Some(vec![0]));
    old.answer(id, answer(2, None));
    new.consumer_beat(answer(2, Some(&[1])));
    assert_eq!(new.news(), [Event::Assigned(all(&[1]))]);
    assert_eq!(owned(&new.consumer_beat(answer(2, None))), Some(vec![1]));
}

#[test]
fn an_owner_that_does_not_answer_is_not_waited_for_longer_than_the_group_does() {
    let config = ConsumerConfig { rebalance_timeout: Duration::from_secs(20), ..config() };
    let mut script = Script::consumer_member(config, &[0, 1]);
    script.consumer_beat(answer(1, Some(&[0])));
    for _ in 0..2 {
        script.consumer_beat(answer(1, None));
    }
    assert_eq!(script.news(), [Event::RevokePending(all(&[1]))]);
    let ms = script.consumer_ms();
    script.pass_until(ms + 6_000);
    assert_eq!(script.news(), [Event::Revoked(all(&[1]))]);
}

/// A target that changes during a revocation is followed when that is done.
#[test]
fn a_partition_that_comes_back_while_it_is_given_up_is_started_anew() {
    let mut script = Script::consumer_member(config(), &[0, 1]);
    script.consumer_beat(answer(1, Some(&[0])));
    script.consumer_beat(answer(2, Some(&[0, 1])));
    script.news();
    script.consumer.revoke_done(script.now());
    assert_eq!(script.news(), [Event::Revoked(all(&[1]))]);
    assert_eq!(owned(&script.consumer_beat(answer(3, None))), Some(vec![0]));
    assert_eq!(script.news(), [Event::Assigned(all(&[1]))]);
    assert_eq!(owned(&script.consumer_beat(answer(3, None))), Some(vec![0, 1]));
    script.committed(&[(1, 15)]);
    assert_eq!(script.position(1), Some(15));
}

/// N2: a fenced member has lost everything, and joins again at once with the same id.
#[test]
fn a_fenced_member_loses_everything_and_joins_again_at_once() {
    for code in [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID] {
        let mut script = Script::consumer_member(config(), &[0]);
        let before = script.consumer_beat(refusal(code));
        assert_eq!(script.news(), [Event::Lost(all(&[0]))]);
        assert_eq!(
            script.commit(0, 11, CommitMode::Sync),
            Err(CommitError::NotAssigned { partition: letters(0) })
        );
        let (_, request) = asked_for!(script, ConsumerGroupHeartbeat);
        assert_eq!((request.member_epoch, &request.member_id), (0, &before.member_id));
        assert_eq!(owned(&request), Some(vec![]));
    }
}

/// N2: a group that fences for ever is asked with waits.
#[test]
fn a_group_that_fences_for_ever_is_asked_with_waits() {
    let mut script = Script::new(config());
    script.subscribe();
    let mut tries = 0;
    for ms in (0..10_000).step_by(50) {
        script.pass_until(ms);
        while script.waits_for(ApiKey::ConsumerGroupHeartbeat) {
            script.consumer_beat(refusal(ErrorCode::UNKNOWN_MEMBER_ID));
            tries += 1;
        }
    }
    assert!((8..25).contains(&tries), "{tries}");
}

/// N3: after a heartbeat without an answer it is not known what arrived: the next one says everything.
#[test]
fn a_heartbeat_after_a_lost_one_says_everything() {
    let mut script = Script::consumer_member(config(), &[0]);
    let (id, _) = script.heartbeat();
    script.cluster.coordinator = 2;
    script.fail(id, FailureKind::Unanswered);
    let ms = script.consumer_ms();
    script.pass_until(ms + 1_000);
    let outgoing = script.next(ApiKey::ConsumerGroupHeartbeat);
    assert_eq!(outgoing.target, Target::Coordinator(BrokerId(2)));
    let Request::ConsumerGroupHeartbeat(request) = outgoing.request else { unreachable!() };
    assert!(is_full(&request));
    assert_eq!((request.member_epoch, owned(&request)), (1, Some(vec![0])));
    // The same assignment again changes nothing.
    script.answer(outgoing.id, answer(1, Some(&[0])));
    assert_eq!(script.news(), []);
    assert!(!is_full(&script.heartbeat().1));
}

/// N4: an instance id that another process still holds is waited for, as long as a session lasts.
#[test]
fn an_unreleased_instance_id_is_waited_for_and_then_fatal() {
    let config = ConsumerConfig { group_instance_id: Some("i1".into()), ..config() };
    let mut script = Script::new(config.clone());
    script.subscribe();
    assert_eq!(
        script.consumer_beat(refusal(ErrorCode::UNRELEASED_INSTANCE_ID)).instance_id,
        Some("i1".into())
    );
    script.pass_until(1_000);
    script.consumer_beat(answer(1, None));
    script.pass_until(50_000);
    assert_eq!(script.news(), []);

    let mut script = Script::new(config);
    script.subscribe();
    let mut last = 0;
    for ms in (0..60_000).step_by(100) {
        script.pass_until(ms);
        while script.waits_for(ApiKey::ConsumerGroupHeartbeat) {
            script.consumer_beat(refusal(ErrorCode::UNRELEASED_INSTANCE_ID));
            last = ms;
        }
    }
    assert!((45_000..47_000).contains(&last), "{last}");
    let error = ConsumerError::FencedInstance { group: "readers".into(), instance_id: "i1".into() };
    assert_eq!(script.news(), [Event::Failed(error)]);
}

/// N5: a commit with an epoch that has moved on waits for the heartbeat that tells the new one.
#[test]
fn a_commit_with_a_stale_epoch_is_sent_again_with_the_new_one() {
    let mut script = Script::consumer_member(config(), &[0]);
    let commit = script.commit(0, 11, CommitMode::Sync).unwrap();
    let (id, request) = asked_for!(script, OffsetCommit);
    assert_eq!(request.generation_id_or_member_epoch, 1);
    script.answer(id, commit_answer(&[(0, ErrorCode::STALE_MEMBER_EPOCH)]));
    assert!(!script.waits_for(ApiKey::OffsetCommit));
    // The heartbeat is due at once.
    let (id, _) = asked_for!(script, ConsumerGroupHeartbeat);
    script.answer(id, answer(2, None));
    let (id, request) = asked_for!(script, OffsetCommit);
    assert_eq!(request.generation_id_or_member_epoch, 2);
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE)]));
    assert_eq!(script.news(), [Event::Committed { id: commit, result: Ok(()) }]);
}

/// N5: when the epoch stays as it is, the commit comes to an end all the same.
#[test]
fn a_commit_whose_epoch_stays_stale_ends_in_time() {
    let mut script = Script::consumer_member(config(), &[0]);
    script.commit(0, 11, CommitMode::Sync).unwrap();
    let (id, _) = asked_for!(script, OffsetCommit);
    script.answer(id, commit_answer(&[(0, ErrorCode::STALE_MEMBER_EPOCH)]));
    while script.consumer_ms() < 70_000 {
        script.consumer_beat(answer(1, None));
    }
    let [Event::Committed { result: Err(CommitError::Unavailable { .. }), .. }] = &script.news()[..] else {
        panic!()
    };
}

/// N5: an offset fetch with a stale epoch does not strand the partition.
#[test]
fn an_offset_fetch_with_a_stale_epoch_is_repeated() {
    let mut script = Script::new(config());
    script.subscribe();
    script.consumer_beat(answer(1, Some(&[0])));
    let (id, request) = asked_for!(script, OffsetFetch);
    let group = &request.groups[0];
    assert_eq!(group.member_epoch, 1);
    assert!(group.member_id.is_some());
    let mut stale = committed(&[]);
    stale.groups[0].error_code = ErrorCode::STALE_MEMBER_EPOCH.0;
    script.answer(id, stale);
    script.consumer_beat(answer(2, None));
    script.pass_until(1_000);
    let (id, request) = asked_for!(script, OffsetFetch);
    assert_eq!(request.groups[0].member_epoch, 2);
    script.answer(id, committed(&[(0, 42)]));
    assert_eq!(script.position(0), Some(42));
}

/// N6: a topic that only its id is known of waits for metadata and is not acknowledged; the rest of the target is.
#[test]
fn an_unknown_topic_id_waits_for_metadata() {
    let replies = Uuid::from_bytes([7; 16]);
    let mut script = Script::new(config());
    script.consumer.subscribe(script.now(), ["letters".into(), "replies".into()]).unwrap();
    script.drain();
    let mut both = answer(1, Some(&[0]));
    let more = answer_of(replies, 1, Some(&[0])).assignment.unwrap().topic_partitions;
    both.assignment.as_mut().unwrap().topic_partitions.extend(more);
    script.consumer_beat(both);
    assert_eq!(script.news(), [Event::Assigned(all(&[0]))]);
    assert_eq!(owned(&script.consumer_beat(answer(1, None))), Some(vec![0]));
    script.cluster.topics.insert("replies".into(), (replies, vec![(1, 0)]));
    script.pass_until(3_000);
    assert_eq!(script.news(), [Event::Assigned(vec![TopicPartition::new("replies", 0)])]);
    let (_, request) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!(request.topic_partitions.unwrap().len(), 2);
}

/// A target that was never followed may be overtaken by one that is what the member owns already. The broker waits to
/// hear that nothing is left of the other.
#[test]
fn a_target_that_changes_nothing_is_acknowledged_all_the_same() {
    let mut script = Script::consumer_member(config(), &[0]);
    let mut both = answer(1, Some(&[0]));
    let unknown = answer_of(Uuid::from_bytes([7; 16]), 1, Some(&[0])).assignment.unwrap().topic_partitions;
    both.assignment.as_mut().unwrap().topic_partitions.extend(unknown);
    script.consumer_beat(both);
    assert_eq!(owned(&script.consumer_beat(answer(1, Some(&[0])))), Some(vec![0]));
    assert_eq!(owned(&asked_for!(script, ConsumerGroupHeartbeat).1), Some(vec![0]));
    assert_eq!(script.news(), []);
}

/// M2: a topic that is made anew under way is given up as the old one and read as the new one.
#[test]
fn a_topic_made_anew_is_given_up_and_read_afresh() {
    let again = Uuid::from_bytes([8; 16]);
    let mut script = Script::consumer_member(config(), &[0]);
    script.cluster.topics.get_mut("letters").unwrap().0 = again;
    script.consumer_beat(answer_of(again, 2, Some(&[0])));
    assert_eq!(script.news(), [Event::RevokePending(all(&[0]))]);
    script.consumer.revoke_done(script.now());
    assert_eq!(script.news(), [Event::Revoked(all(&[0]))]);
    assert_eq!(owned(&script.consumer_beat(answer(2, None))), Some(vec![]));
    assert_eq!(script.news(), [Event::Assigned(all(&[0]))]);
    let (_, request) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!(request.topic_partitions.unwrap()[0].topic_id, again);
}

/// N7: leaving says so with epoch -1, after everything is given up; what still comes in answer to heartbeats is ignored.
#[test]
fn a_member_leaves_after_it_has_given_everything_up() {
    let mut script = Script::consumer_member(config(), &[0]);
    let (in_flight, _) = script.heartbeat();
    script.consumer.close(script.now());
    assert_eq!(script.news(), [Event::RevokePending(all(&[0]))]);
    let commit = script.commit(0, 11, CommitMode::Sync).unwrap();
    let (id, _) = asked_for!(script, OffsetCommit);
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE)]));
    script.consumer.revoke_done(script.now());
    assert_eq!(script.news(), [Event::Committed { id: commit, result: Ok(()) }, Event::Revoked(all(&[0]))]);
    let (id, request) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!(request.member_epoch, -1);
    script.answer(in_flight, answer(9, Some(&[0, 1, 2])));
    assert_eq!(script.news(), []);
    // The group may be gone by then.
    script.answer(id, refusal(ErrorCode::GROUP_ID_NOT_FOUND));
    assert_eq!(script.news(), [Event::Closed]);
}

/// N7: a static member says that it will be back.
#[test]
fn a_static_member_leaves_for_a_while() {
    let config = ConsumerConfig { group_instance_id: Some("i1".into()), ..config() };
    let mut script = Script::consumer_member(config, &[0]);
    script.consumer.close(script.now());
    script.consumer.revoke_done(script.now());
    let (_, request) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!((request.member_epoch, request.instance_id), (-2, Some("i1".into())));
}

#[test]
fn a_goodbye_without_an_answer_is_given_up() {
    let mut script = Script::consumer_member(config(), &[0]);
    script.consumer.close(script.now());
    let (id, _) = script.heartbeat();
    script.cluster.is_up = false;
    script.fail(id, FailureKind::NotSent);
    let began = script.consumer_ms();
    script.consumer.revoke_done(script.now());
    script.drain();
    script.news();
    script.pass_until(began + 4_900);
    assert_eq!(script.news(), []);
    script.pass_until(began + 5_100);
    assert_eq!(script.news(), [Event::Closed]);
}

/// G8, for KIP-848: heartbeats do not depend on the application, until it is taken for stuck.
#[test]
fn heartbeats_go_on_while_the_application_is_silent_until_it_is_taken_for_stuck() {
    let mut script = Script::consumer_member(config(), &[0]);
    let mut beats = 0;
    while script.consumer_ms() < 290_000 {
        assert!(!is_full(&script.consumer_beat(answer(1, None))));
        beats += 1;
    }
    assert!(beats >= 57, "{beats}");
    assert_eq!(script.news(), []);
    script.pass_until(300_001);
    assert_eq!(script.news(), [Event::Lost(all(&[0]))]);
    assert_eq!(
        script.commit(0, 11, CommitMode::Sync),
        Err(CommitError::NotAssigned { partition: letters(0) })
    );
    let leaving = loop {
        let (id, request) = asked_for!(script, ConsumerGroupHeartbeat);
        if request.member_epoch == -1 {
            break id;
        }
    };
    script.answer(leaving, answer(-1, None));
    assert!(!script.waits_for(ApiKey::ConsumerGroupHeartbeat));
    script.consumer.application_polled(script.now());
    assert_eq!(asked_for!(script, ConsumerGroupHeartbeat).1.member_epoch, 0);
}

/// A goodbye that had no answer and was said again may arrive late: it must not throw out who has joined since.
#[test]
fn who_joins_again_after_a_goodbye_has_another_id() {
    let mut script = Script::consumer_member(config(), &[0]);
    script.consumer.unsubscribe(script.now());
    script.consumer.revoke_done(script.now());
    let (id, goodbye) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!(goodbye.member_epoch, -1);
    script.answer(id, answer(-1, None));
    script.subscribe();
    let (_, join) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!(join.member_epoch, 0);
    assert_ne!(join.member_id, goodbye.member_id);
}

/// G9, for KIP-848.
#[test]
fn without_an_answered_heartbeat_the_session_ends() {
    let mut script = Script::consumer_member(config(), &[0]);
    script.pass_until(44_900);
    assert_eq!(script.news(), []);
    script.pass_until(45_001);
    assert_eq!(script.news(), [Event::Lost(all(&[0]))]);
}

/// Auto takes KIP-848 where it is, and the classic protocol where it is not.
#[test]
fn auto_falls_back_to_the_classic_protocol() {
    let auto = || ConsumerConfig { group_protocol: GroupProtocol::Auto, ..config() };
    for unsupported in [true, false] {
        let mut script = Script::new(auto());
        script.subscribe();
        let (id, _) = asked_for!(script, ConsumerGroupHeartbeat);
        if unsupported {
            script.fail(id, FailureKind::Unsupported);
        } else {
            script.answer(id, refusal(ErrorCode::UNSUPPORTED_VERSION));
        }
        let (id, _) = asked_for!(script, JoinGroup);
        let joined = JoinGroupResponse {
            generation_id: 1,
            protocol_name: Some("range".into()),
            leader: "other".into(),
            member_id: "me".into(),
            ..Default::default()
        };
        script.answer(id, joined);
        let (id, _) = asked_for!(script, SyncGroup);
        script.answer(id, milena_protocol::messages::SyncGroupResponse::default());
        assert_eq!(script.events(), [Event::Joined(ChosenProtocol::Classic)]);
    }
    let mut script = Script::new(auto());
    script.subscribe();
    script.consumer_beat(answer(1, None));
    assert_eq!(script.events(), [Event::Joined(ChosenProtocol::Consumer)]);
}

#[test]
fn without_auto_a_broker_that_does_not_do_it_stops_the_consumer() {
    let mut script = Script::new(config());
    script.subscribe();
    let (id, _) = asked_for!(script, ConsumerGroupHeartbeat);
    script.fail(id, FailureKind::Unsupported);
    let [Event::Failed(error)] = &script.news()[..] else { panic!() };
    assert_eq!(error.to_string(), "joining the group: the broker does not support it (connection reset)");
}

fn subscribed_by_pattern() -> Script {
    let mut script = Script::new(config());
    script.consumer.subscribe_pattern(script.now(), "let.*".into()).unwrap();
    script
}

/// KIP-848: the coordinator matches the pattern, and tells topics that the member knows nothing of by their ids. It is
/// trusted in that (N6).
#[test]
fn a_pattern_is_for_the_coordinator_to_match() {
    let mut script = subscribed_by_pattern();
    let outgoing = script.next(ApiKey::ConsumerGroupHeartbeat);
    assert_eq!(outgoing.min_version, 1);
    let Request::ConsumerGroupHeartbeat(first) = outgoing.request else { unreachable!() };
    assert_eq!(
        (first.subscribed_topic_regex, first.subscribed_topic_names),
        (Some("let.*".into()), Some(vec![]))
    );
    script.answer(outgoing.id, answer(1, Some(&[0, 1])));
    // The metadata of the topic has been asked for by its id.
    assert_eq!(script.news(), [Event::Assigned(all(&[0, 1]))]);
    let (_, request) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!((owned(&request), request.subscribed_topic_regex), (Some(vec![0, 1]), None));
}

/// A topic whose id nobody knows yet is asked about again, and is not said to be owned meanwhile.
#[test]
fn a_topic_that_no_broker_knows_yet_is_waited_for() {
    let mut script = subscribed_by_pattern();
    let letters_topic = script.cluster.topics.remove("letters").unwrap();
    script.consumer_beat(answer(1, Some(&[0])));
    assert_eq!(script.news(), []);
    let (id, request) = asked_for!(script, ConsumerGroupHeartbeat);
    assert_eq!(owned(&request), Some(vec![]));
    script.answer(id, answer(1, None));
    script.cluster.topics.insert("letters".into(), letters_topic);
    script.pass_until(3_000);
    assert_eq!(script.news(), [Event::Assigned(all(&[0]))]);
}

#[test]
fn a_pattern_is_taken_back_by_a_list() {
    let mut script = subscribed_by_pattern();
    script.consumer_beat(answer(1, None));
    script.subscribe();
    let (_, request) = script.heartbeat();
    assert_eq!(request.subscribed_topic_regex, Some("".into()));
    assert_eq!(request.subscribed_topic_names, Some(vec!["letters".into()]));
}

/// The classic protocol has no patterns, whether it was chosen or is all that there is.
#[test]
fn without_the_consumer_protocol_a_pattern_is_an_error() {
    let unsupported = |script: &mut Script| {
        let [Event::Failed(error @ ConsumerError::Unsupported { .. })] = &script.news()[..] else { panic!() };
        assert!(error.is_fatal());
        error.to_string()
    };
    let mut script = Script::new(ConsumerConfig { group_protocol: GroupProtocol::Classic, ..in_group() });
    script.consumer.subscribe_pattern(script.now(), "let.*".into()).unwrap();
    assert!(unsupported(&mut script).contains("KIP-848"));

    let mut script = Script::new(ConsumerConfig { group_protocol: GroupProtocol::Auto, ..in_group() });
    script.consumer.subscribe_pattern(script.now(), "let.*".into()).unwrap();
    let (id, _) = asked_for!(script, ConsumerGroupHeartbeat);
    script.fail(id, FailureKind::Unsupported);
    assert!(unsupported(&mut script).contains("KIP-848"));
}

#[test]
fn a_pattern_that_the_coordinator_does_not_understand_stops_the_consumer() {
    let mut script = subscribed_by_pattern();
    script.consumer_beat(refusal(ErrorCode::INVALID_REGULAR_EXPRESSION));
    let [Event::Failed(error)] = &script.news()[..] else { panic!() };
    assert!(error.to_string().contains("INVALID_REGULAR_EXPRESSION"), "{error}");
}
