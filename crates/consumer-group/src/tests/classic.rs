//! Membership by the classic protocol.

use std::collections::BTreeSet;

use milena_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse, consumer_protocol_assignment,
    consumer_protocol_subscription, join_group::JoinGroupResponseMember,
};
use milena_protocol::wire::{Decode, Encode, Packed, Reader, Writer};

use super::*;
use crate::{Assignor, ChosenProtocol, CommitError, CommitMode, ConsumerError};

fn bytes_of(message: &impl Encode) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(1);
    message.encode(&mut writer, 1).unwrap();
    writer.finish().to_bytes()
}

/// What another client writes for its subscription.
fn subscription(owned: &[i32]) -> Bytes {
    let owned = consumer_protocol_subscription::TopicPartition {
        topic: "letters".into(),
        partitions: Packed::from(owned.to_vec()),
    };
    bytes_of(&ConsumerProtocolSubscription {
        topics: vec!["letters".into()],
        owned_partitions: vec![owned],
        ..Default::default()
    })
}

fn assignment(partitions: &[i32]) -> Bytes {
    let topic = consumer_protocol_assignment::TopicPartition {
        topic: "letters".into(),
        partitions: Packed::from(partitions.to_vec()),
    };
    bytes_of(&ConsumerProtocolAssignment { assigned_partitions: vec![topic], ..Default::default() })
}

fn read_assignment(request: &SyncGroupRequest, member: &str) -> Vec<i32> {
    let found = request.assignments.iter().find(|one| &*one.member_id == member).unwrap();
    let mut reader = Reader::new(&found.assignment);
    let version = reader.i16().unwrap();
    let decoded = ConsumerProtocolAssignment::decode(&mut reader, version).unwrap();
    decoded.assigned_partitions.iter().flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>()).collect()
}

fn owned_in(request: &JoinGroupRequest) -> Vec<i32> {
    let mut reader = Reader::new(&request.protocols[0].metadata);
    let version = reader.i16().unwrap();
    let decoded = ConsumerProtocolSubscription::decode(&mut reader, version).unwrap();
    decoded.owned_partitions.iter().flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>()).collect()
}

fn joined(generation_id: i32, protocol: &str, leader: &str) -> JoinGroupResponse {
    JoinGroupResponse {
        generation_id,
        protocol_name: Some(protocol.to_owned().into()),
        leader: leader.to_owned().into(),
        member_id: "me".into(),
        ..Default::default()
    }
}

fn refused_join(code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code: code.0, member_id: "me".into(), ..Default::default() }
}

fn heartbeat(code: ErrorCode) -> HeartbeatResponse {
    HeartbeatResponse { error_code: code.0, ..Default::default() }
}

impl Script {
    /// Goes through a round as a follower.
    fn round(&mut self, generation: i32, protocol: &str, partitions: &[i32]) {
        let (id, _) = asked_for!(self, JoinGroup);
        self.answer(id, joined(generation, protocol, "leader"));
        let (id, request) = asked_for!(self, SyncGroup);
        assert_eq!((request.generation_id, request.assignments.len()), (generation, 0));
        self.answer(id, SyncGroupResponse { assignment: assignment(partitions), ..Default::default() });
    }

    /// In the group, with these partitions of `letters` at their committed offset 10.
    fn member(config: ConsumerConfig, partitions: &[i32]) -> Self {
        let protocol = config.assignors[0].name().to_owned();
        let mut script = Self::new(config);
        script.subscribe();
        script.round(1, &protocol, partitions);
        if !partitions.is_empty() {
            let offsets: Vec<_> = partitions.iter().map(|index| (*index, 10)).collect();
            script.committed(&offsets);
        }
        script.events();
        script
    }

    fn beat(&mut self, code: ErrorCode) {
        if !self.waits_for(ApiKey::Heartbeat) {
            let now = self.ms();
            self.pass_until(now + 3_001);
        }
        let (id, _) = asked_for!(self, Heartbeat);
        self.answer(id, heartbeat(code));
    }

    fn ms(&self) -> u64 {
        u64::try_from((self.now() - self.at(0)).as_nanos().div_ceil(1_000_000)).unwrap()
    }
}

fn cooperative() -> ConsumerConfig {
    ConsumerConfig { assignors: vec![Assignor::CooperativeSticky], ..in_group() }
}

fn all(indexes: &[i32]) -> Vec<TopicPartition> {
    indexes.iter().map(|index| letters(*index)).collect()
}

/// G1: the id that the coordinator gives is used at once.
#[test]
fn a_member_id_that_is_required_is_used_at_once() {
    let mut script = Script::new(in_group());
    script.subscribe();
    let outgoing = script.next(ApiKey::JoinGroup);
    assert_eq!(outgoing.target, Target::Coordinator(BrokerId(9)));
    // G10: the coordinator answers when all have joined.
    assert_eq!(outgoing.timeout, Duration::from_secs(305));
    let Request::JoinGroup(request) = outgoing.request else { unreachable!() };
    assert_eq!(&*request.member_id, "");
    assert_eq!((request.session_timeout_ms, request.rebalance_timeout_ms), (45_000, 300_000));
    let names: Vec<_> = request.protocols.iter().map(|protocol| &*protocol.name).collect();
    assert_eq!(names, ["range", "cooperative-sticky"]);
    script.answer(outgoing.id, refused_join(ErrorCode::MEMBER_ID_REQUIRED));
    let (_, request) = asked_for!(script, JoinGroup);
    assert_eq!(&*request.member_id, "me");
}

#[test]
fn a_follower_reads_what_it_is_assigned() {
    let mut script = Script::new(in_group());
    script.subscribe();
    script.round(1, "range", &[0, 2]);
    assert_eq!(script.events(), [Event::Joined(ChosenProtocol::Classic), Event::Assigned(all(&[0, 2]))]);
    script.committed(&[(0, 10), (2, 30)]);
    let (_, request) = script.fetch_of(1);
    assert_eq!(request.topics[0].partitions.len(), 2);
    let membership = script.consumer.group_membership().unwrap();
    assert_eq!((&*membership.member_id, membership.generation_or_epoch), ("me", 1));
}

/// G6: the leader computes the assignment, and survives a member whose metadata it can't read.
#[test]
fn the_leader_assigns_to_all_it_understands() {
    let mut script = Script::new(in_group());
    script.cluster.topics.insert("replies".into(), (Uuid::from_bytes([7; 16]), vec![(1, 0); 2]));
    script.subscribe();
    let (id, _) = asked_for!(script, JoinGroup);
    let member = |id: &str, metadata: Bytes| JoinGroupResponseMember {
        member_id: id.to_owned().into(),
        metadata,
        ..Default::default()
    };
    let other = bytes_of(&ConsumerProtocolSubscription {
        topics: vec!["letters".into(), "replies".into(), "unheard of".into()],
        ..Default::default()
    });
    let members = vec![
        member("me", subscription(&[])),
        member("other", other),
        member("odd", Bytes::from_static(b"\0\x01\xff")),
    ];
    script.answer(id, JoinGroupResponse { members, ..joined(1, "range", "me") });
    // The topics of the others had to be asked for first.
    let (id, request) = asked_for!(script, SyncGroup);
    assert_eq!(read_assignment(&request, "me"), [0, 1]);
    assert_eq!(read_assignment(&request, "other"), [2, 0, 1]);
    assert_eq!(read_assignment(&request, "odd"), []);
    script.answer(id, SyncGroupResponse { assignment: assignment(&[0, 1]), ..Default::default() });
}

#[test]
fn a_leader_that_sees_a_topic_grow_begins_another_round() {
    let config = ConsumerConfig { metadata_max_age: Duration::from_secs(10), ..in_group() };
    let mut script = Script::new(config);
    script.subscribe();
    let (id, _) = asked_for!(script, JoinGroup);
    let me =
        JoinGroupResponseMember { member_id: "me".into(), metadata: subscription(&[]), ..Default::default() };
    script.answer(id, JoinGroupResponse { members: vec![me], ..joined(1, "range", "me") });
    let (id, request) = asked_for!(script, SyncGroup);
    assert_eq!(read_assignment(&request, "me"), [0, 1, 2]);
    script.answer(id, SyncGroupResponse { assignment: assignment(&[0, 1, 2]), ..Default::default() });
    script.events();
    script.cluster.topics.get_mut("letters").unwrap().1.push((1, 5));
    script.pass_until(11_000);
    assert_eq!(script.news(), [Event::RevokePending(all(&[0, 1, 2]))]);
    script.consumer.revoke_done(script.now());
    assert!(script.waits_for(ApiKey::JoinGroup));
}

/// A static leader that is back, told to leave the assignment as it is: `assigned`.
fn leader_that_skips(assigned: &[i32], others: &[&str]) -> Script {
    let config = ConsumerConfig {
        metadata_max_age: Duration::from_secs(10),
        group_instance_id: Some("i1".into()),
        ..in_group()
    };
    let mut script = Script::new(config);
    script.subscribe();
    let (id, _) = asked_for!(script, JoinGroup);
    let member = |id: &&str| JoinGroupResponseMember {
        member_id: (*id).to_owned().into(),
        metadata: subscription(&[]),
        ..Default::default()
    };
    let members = ["me"].iter().chain(others).map(member).collect();
    script.answer(id, JoinGroupResponse { members, skip_assignment: true, ..joined(1, "range", "me") });
    let (id, request) = asked_for!(script, SyncGroup);
    assert_eq!(request.assignments, []);
    script.answer(id, SyncGroupResponse { assignment: assignment(assigned), ..Default::default() });
    script
}

/// KIP-814: nothing is assigned anew, and a topic that grows later is noticed.
#[test]
fn a_leader_that_skips_the_assignment_goes_on_watching() {
    for (assigned, others) in [(&[0, 1, 2][..], &[][..]), (&[0, 1][..], &["other"][..])] {
        let mut script = leader_that_skips(assigned, others);
        script.events();
        assert!(!script.waits_for(ApiKey::JoinGroup));
        script.cluster.topics.get_mut("letters").unwrap().1.push((1, 5));
        script.pass_until(11_000);
        assert_eq!(script.news(), [Event::RevokePending(all(assigned))]);
        script.consumer.revoke_done(script.now());
        assert!(script.waits_for(ApiKey::JoinGroup));
    }
}

/// What came while it was away is nobody's: alone in its group it can see that.
#[test]
fn a_leader_that_skips_the_assignment_and_lacks_a_partition_begins_another_round() {
    let mut script = leader_that_skips(&[0, 1], &[]);
    assert!(script.news().contains(&Event::RevokePending(all(&[0, 1]))));
    script.consumer.revoke_done(script.now());
    assert!(script.waits_for(ApiKey::JoinGroup));
}

/// Eager: everything is given up before another round. Fetching of it stops at once, committing goes on until the owner
/// says so.
#[test]
fn an_eager_member_gives_everything_up_before_it_joins_again() {
    let mut script = Script::member(in_group(), &[0, 1]);
    let (fetch, _) = script.fetch_of(1);
    script.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(script.news(), [Event::RevokePending(all(&[0, 1]))]);
    script.answer(fetch, fetched([data(0, &[batches::at(10, 3, batches::data(None, 2))])]));
    assert_eq!(script.taken(10), []);
    assert!(!script.waits_for(ApiKey::Fetch));
    let commit = script.commit(0, 10, CommitMode::Sync).unwrap();
    // The answer to the commit is waited for.
    script.consumer.revoke_done(script.now());
    assert!(!script.waits_for(ApiKey::JoinGroup));
    let (id, request) = asked_for!(script, OffsetCommit);
    assert_eq!((request.generation_id_or_member_epoch, &*request.member_id), (1, "me"));
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE)]));
    assert_eq!(
        script.news(),
        [Event::Committed { id: commit, result: Ok(()) }, Event::Revoked(all(&[0, 1]))]
    );
    let refused = CommitError::NotAssigned { partition: letters(0) };
    assert_eq!(script.commit(0, 10, CommitMode::Sync), Err(refused));
    script.round(2, "range", &[1]);
    assert_eq!(script.news(), [Event::Assigned(all(&[1]))]);
}

#[test]
fn an_owner_that_does_not_answer_is_not_waited_for_longer_than_the_group_does() {
    let config = ConsumerConfig { rebalance_timeout: Duration::from_secs(20), ..in_group() };
    let mut script = Script::member(config, &[0]);
    script.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    script.news();
    for _ in 0..4 {
        script.beat(ErrorCode::REBALANCE_IN_PROGRESS);
        assert!(!script.waits_for(ApiKey::JoinGroup));
    }
    let now = script.ms();
    script.pass_until(now + 2_001);
    assert_eq!(script.news(), [Event::Revoked(all(&[0]))]);
    assert!(script.waits_for(ApiKey::JoinGroup));
}

/// G6: a cooperative member keeps its partitions through the round, gives up the difference, and joins again.
#[test]
fn a_cooperative_member_gives_up_only_the_difference() {
    let mut script = Script::member(cooperative(), &[0, 1]);
    let (fetch, _) = script.fetch_of(1);
    script.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(script.news(), []);
    // Fetching goes on during the round.
    script.answer(fetch, fetched([data(0, &[batches::at(10, 3, batches::data(None, 2))])]));
    assert_eq!(script.taken(10), [(0, vec![10, 11])]);
    let (id, request) = asked_for!(script, JoinGroup);
    assert_eq!(owned_in(&request), [0, 1]);
    script.answer(id, joined(2, "cooperative-sticky", "leader"));
    let (id, _) = asked_for!(script, SyncGroup);
    script.answer(id, SyncGroupResponse { assignment: assignment(&[0]), ..Default::default() });
    assert_eq!(script.news(), [Event::RevokePending(all(&[1]))]);
    let commit = script.consumer.commit_positions(script.now(), CommitMode::Sync).unwrap();
    let (id, request) = asked_for!(script, OffsetCommit);
    assert_eq!(request.generation_id_or_member_epoch, 2);
    script.answer(id, commit_answer(&[(0, ErrorCode::NONE), (1, ErrorCode::NONE)]));
    assert_eq!(script.news(), [Event::Committed { id: commit, result: Ok(()) }]);
    script.consumer.revoke_done(script.now());
    assert_eq!(script.news(), [Event::Revoked(all(&[1]))]);
    let (_, request) = asked_for!(script, JoinGroup);
    assert_eq!(owned_in(&request), [0]);
    assert_eq!(script.position(0), Some(12));
}

/// G9: a coordinator that never tells the assignment may have gone on without the member: what it kept through the round
/// is another's when the session ends. As long as the JoinGroup is under way the others are waited for.
#[test]
fn what_is_kept_through_a_round_is_lost_when_the_assignment_never_comes() {
    let mut script = Script::member(cooperative(), &[0, 1]);
    script.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (id, _) = asked_for!(script, JoinGroup);
    script.pass_until(200_000);
    assert_eq!(script.news(), []);
    script.answer(id, joined(2, "cooperative-sticky", "leader"));
    asked_for!(script, SyncGroup);
    script.pass_until(244_999);
    assert_eq!(script.news(), []);
    script.pass_until(245_000);
    assert_eq!(script.news(), [Event::Lost(all(&[0, 1]))]);
    let (_, request) = asked_for!(script, JoinGroup);
    assert_eq!((&*request.member_id, owned_in(&request)), ("me", vec![]));
}

/// G2: the group rebalances: the commit can be repeated after the round, and the generation is kept until then.
#[test]
fn a_commit_during_a_rebalance_fails_and_the_member_joins_again() {
    let mut script = Script::member(in_group(), &[0]);
    script.commit(0, 11, CommitMode::Sync).unwrap();
    let (id, _) = asked_for!(script, OffsetCommit);
    script.answer(id, commit_answer(&[(0, ErrorCode::REBALANCE_IN_PROGRESS)]));
    let news = script.news();
    let [Event::Committed { result: Err(CommitError::Rebalancing { .. }), .. }, Event::RevokePending(_)] =
        &news[..]
    else {
        panic!("{news:?}")
    };
    assert_eq!(script.consumer.group_membership().unwrap().generation_or_epoch, 1);
}

/// G3: an illegal generation of a commit counts only while it is the one that was sent; the id is kept, and what the
/// cooperative member has got meanwhile is not lost.
#[test]
fn an_illegal_generation_of_an_earlier_commit_changes_nothing() {
    let mut script = Script::member(cooperative(), &[0]);
    script.commit(0, 11, CommitMode::Sync).unwrap();
    let (commit, _) = asked_for!(script, OffsetCommit);
    script.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    script.round(2, "cooperative-sticky", &[0]);
    script.news();
    script.answer(commit, commit_answer(&[(0, ErrorCode::ILLEGAL_GENERATION)]));
    let news = script.news();
    let [Event::Committed { result: Err(CommitError::Rebalancing { .. }), .. }] = &news[..] else {
        panic!("{news:?}")
    };
    assert!(!script.waits_for(ApiKey::JoinGroup));
    assert_eq!(script.consumer.assignment(), all(&[0]));

    script.commit(0, 11, CommitMode::Sync).unwrap();
    let (commit, _) = asked_for!(script, OffsetCommit);
    script.answer(commit, commit_answer(&[(0, ErrorCode::ILLEGAL_GENERATION)]));
    let (_, request) = asked_for!(script, JoinGroup);
    assert_eq!(&*request.member_id, "me");
    assert_eq!(script.consumer.assignment(), all(&[0]));
}

/// G4: a member that the group does not know has lost its partitions, and reads nothing more of them.
#[test]
fn an_unknown_member_loses_everything_and_joins_as_a_new_one() {
    let mut script = Script::member(in_group(), &[0]);
    let (fetch, _) = script.fetch_of(1);
    script.answer(fetch, fetched([data(0, &[batches::at(10, 3, batches::data(None, 2))])]));
    script.beat(ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(script.news(), [Event::Lost(all(&[0]))]);
    assert_eq!(script.taken(10), []);
    let refused = CommitError::NotAssigned { partition: letters(0) };
    assert_eq!(script.commit(0, 11, CommitMode::Sync), Err(refused));
    let (_, request) = asked_for!(script, JoinGroup);
    assert_eq!(&*request.member_id, "");
}

/// G4: a group that never knows the member is not asked without a wait.
#[test]
fn a_group_that_never_knows_the_member_is_asked_with_waits() {
    let mut script = Script::new(in_group());
    script.subscribe();
    let mut tries = 0;
    for ms in (0..10_000).step_by(50) {
        script.pass_until(ms);
        while script.waits_for(ApiKey::JoinGroup) {
            let (id, _) = asked_for!(script, JoinGroup);
            script.answer(id, refused_join(ErrorCode::UNKNOWN_MEMBER_ID));
            tries += 1;
        }
    }
    assert!((8..20).contains(&tries), "{tries}");
}

/// G5: a fenced instance stops for good.
#[test]
fn a_fenced_instance_stops_for_good() {
    let config = ConsumerConfig { group_instance_id: Some("i1".into()), ..in_group() };
    let mut script = Script::member(config, &[0]);
    script.beat(ErrorCode::FENCED_INSTANCE_ID);
    let error = ConsumerError::FencedInstance { group: "readers".into(), instance_id: "i1".into() };
    assert!(error.is_fatal());
    assert_eq!(script.news(), [Event::Lost(all(&[0])), Event::Failed(error)]);
    assert_eq!(script.consumer.poll_timeout(), None);
    assert_eq!(script.commit(0, 11, CommitMode::Sync), Err(CommitError::Closed));
}

/// G5: a static member says no goodbye.
#[test]
fn a_static_member_leaves_without_a_word() {
    let config = ConsumerConfig { group_instance_id: Some("i1".into()), ..in_group() };
    let mut script = Script::member(config, &[0]);
    script.consumer.close(script.now());
    assert_eq!(script.news(), [Event::RevokePending(all(&[0]))]);
    script.consumer.revoke_done(script.now());
    assert_eq!(script.news(), [Event::Revoked(all(&[0])), Event::Closed]);
    assert!(!script.waits_for(ApiKey::LeaveGroup));
}

#[test]
fn a_member_says_goodbye_when_it_is_closed() {
    let mut script = Script::member(in_group(), &[0]);
    script.consumer.close(script.now());
    script.consumer.revoke_done(script.now());
    let (id, request) = asked_for!(script, LeaveGroup);
    assert_eq!(&*request.members[0].member_id, "me");
    assert_eq!(script.news(), [Event::RevokePending(all(&[0])), Event::Revoked(all(&[0]))]);
    script.answer(id, LeaveGroupResponse::default());
    assert_eq!(script.news(), [Event::Closed]);
    assert_eq!(script.consumer.poll_timeout(), None);
}

/// G8: heartbeats do not depend on the application, until it is taken for stuck: then everything is lost, also in the
/// middle of a rebalance, and later commits fail.
#[test]
fn heartbeats_go_on_while_the_application_is_silent_until_it_is_taken_for_stuck() {
    let config = ConsumerConfig { max_poll_interval: Duration::from_secs(60), ..in_group() };
    let mut script = Script::member(config, &[0]);
    let mut beats = 0;
    while script.ms() < 53_000 {
        script.beat(ErrorCode::NONE);
        beats += 1;
    }
    assert!(beats >= 16, "{beats}");
    assert_eq!(script.news(), []);
    script.beat(ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(script.news(), [Event::RevokePending(all(&[0]))]);
    script.pass_until(60_001);
    assert_eq!(script.news(), [Event::Lost(all(&[0]))]);
    let refused = CommitError::NotAssigned { partition: letters(0) };
    assert_eq!(script.commit(0, 11, CommitMode::Sync), Err(refused));
    let (id, _) = asked_for!(script, LeaveGroup);
    script.answer(id, LeaveGroupResponse::default());
    assert!(!script.waits_for(ApiKey::JoinGroup));
    script.consumer.application_polled(script.now());
    let (_, request) = asked_for!(script, JoinGroup);
    assert_eq!(&*request.member_id, "");
}

#[test]
fn an_application_that_waits_for_records_is_not_taken_for_stuck() {
    let mut script = Script::member(in_group(), &[]);
    script.consumer.application_waits(script.now());
    while script.ms() < 700_000 {
        script.beat(ErrorCode::NONE);
    }
    assert_eq!(script.news(), []);
    script.consumer.application_polled(script.now());
    while script.ms() < 990_000 {
        script.beat(ErrorCode::NONE);
    }
    script.pass_until(1_005_000);
    assert!(script.waits_for(ApiKey::LeaveGroup));
}

/// G9: a member that hears nothing of its heartbeats assumes its partitions to be another's.
#[test]
fn without_an_answered_heartbeat_the_session_ends() {
    let mut script = Script::member(in_group(), &[0]);
    script.beat(ErrorCode::NONE);
    let sent = 3_000;
    script.pass_until(sent + 44_000);
    assert_eq!(script.news(), []);
    script.pass_until(sent + 45_010);
    assert_eq!(script.news(), [Event::Lost(all(&[0]))]);
    assert!(script.waits_for(ApiKey::JoinGroup));
}

/// G10: a coordinator that can't be reached is looked for with waits, and the partitions stay while the session lasts.
#[test]
fn a_coordinator_that_is_away_costs_nothing_while_the_session_lasts() {
    let mut script = Script::member(in_group(), &[0]);
    let mut tries = 0;
    for ms in (0..20_000).step_by(50) {
        script.pass_until(ms);
        while script.waits_for(ApiKey::Heartbeat) {
            let (id, _) = asked_for!(script, Heartbeat);
            script.fail(id, FailureKind::NotSent);
            tries += 1;
        }
    }
    assert!((10..30).contains(&tries), "{tries}");
    assert_eq!(script.news(), []);
    script.pass_until(24_000);
    let (id, _) = asked_for!(script, Heartbeat);
    script.answer(id, heartbeat(ErrorCode::NONE));
    script.pass_until(60_000);
    assert_eq!(script.news(), []);
}

#[test]
fn a_broken_round_is_followed_by_another() {
    let mut script = Script::new(in_group());
    script.subscribe();
    let (id, _) = asked_for!(script, JoinGroup);
    script.answer(id, joined(1, "range", "leader"));
    let (id, _) = asked_for!(script, SyncGroup);
    script.answer(
        id,
        SyncGroupResponse { error_code: ErrorCode::REBALANCE_IN_PROGRESS.0, ..Default::default() },
    );
    let (id, request) = asked_for!(script, JoinGroup);
    assert_eq!(&*request.member_id, "me");
    script.answer(id, joined(2, "range", "leader"));
    let (id, _) = asked_for!(script, SyncGroup);
    script.answer(
        id,
        SyncGroupResponse { assignment: Bytes::from_static(b"\0\x01\xff"), ..Default::default() },
    );
    script.pass_until(1_000);
    script.round(3, "range", &[1]);
    assert_eq!(script.news(), [Event::Assigned(all(&[1]))]);
}

#[test]
fn another_subscription_is_told_to_the_group() {
    let mut script = Script::member(in_group(), &[0]);
    script.cluster.topics.insert("replies".into(), (Uuid::from_bytes([7; 16]), vec![(1, 0); 2]));
    script.consumer.subscribe(script.now(), ["replies".into()]).unwrap();
    assert_eq!(script.news(), [Event::RevokePending(all(&[0]))]);
    script.consumer.revoke_done(script.now());
    let (_, request) = asked_for!(script, JoinGroup);
    let mut reader = Reader::new(&request.protocols[0].metadata);
    reader.i16().unwrap();
    let told = ConsumerProtocolSubscription::decode(&mut reader, 3).unwrap();
    assert_eq!(told.topics.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["replies".into()]));
}

/// A consumer that stops for whatever reason owns nothing any more.
#[test]
fn a_member_that_stops_has_lost_its_partitions() {
    let mut script = Script::member(in_group(), &[0, 1]);
    let (id, _) = script.fetch_of(1);
    script.fail(id, FailureKind::Unsupported);
    let [Event::Failed(error), Event::Lost(lost)] = &script.news()[..] else { panic!() };
    assert!(error.is_fatal());
    assert_eq!(lost, &all(&[0, 1]));
    assert_eq!(script.consumer.assignment(), []);
}

#[test]
fn a_group_one_may_not_join_stops_the_consumer() {
    let mut script = Script::new(in_group());
    script.subscribe();
    let (id, _) = asked_for!(script, JoinGroup);
    script.answer(id, refused_join(ErrorCode::GROUP_AUTHORIZATION_FAILED));
    let [Event::Failed(error)] = &script.news()[..] else { panic!() };
    assert!(error.is_fatal());
    assert!(
        error.to_string().starts_with("joining in group readers: the coordinator refuses with GROUP_AUTH")
    );
    assert_eq!(script.consumer.explain(script.now())[0], "stopped");
}
