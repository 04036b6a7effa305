//! The classic group protocol: barrier, votes, sessions, static members.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use bytes::Bytes;
use milena_embedded_broker::core::ClusterConfig;
use milena_protocol::{
    ErrorCode,
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest,
        Response, SyncGroupRequest, SyncGroupResponse,
        join_group::JoinGroupRequestProtocol,
        leave_group::MemberIdentity,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        sync_group::SyncGroupRequestAssignment,
    },
};
use script::{Peer, Script, Sent};

const JOIN: i16 = 9;

fn join(member_id: &str) -> JoinGroupRequest {
    join_with(member_id, &[("range", "m")])
}

fn join_with(member_id: &str, protocols: &[(&str, &str)]) -> JoinGroupRequest {
    let protocols = protocols.iter().map(|(name, metadata)| JoinGroupRequestProtocol {
        name: (*name).into(),
        metadata: Bytes::copy_from_slice(metadata.as_bytes()),
        ..Default::default()
    });
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: protocols.collect(),
        ..Default::default()
    }
}

fn sync(member_id: &str, generation_id: i32, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member_id, assignment)| SyncGroupRequestAssignment {
        member_id: (*member_id).into(),
        assignment: Bytes::copy_from_slice(assignment.as_bytes()),
        ..Default::default()
    });
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id,
        member_id: member_id.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

fn heartbeat(script: &mut Script, peer: Peer, member_id: &str, generation_id: i32) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".into(),
        generation_id,
        member_id: member_id.into(),
        ..Default::default()
    };
    ErrorCode(script.ask(peer, 4, request).error_code)
}

/// A new member: its connection, the id it was given, its JoinGroup that waits.
fn newcomer(script: &mut Script) -> (Peer, String, Sent) {
    let peer = script.coordinator("g");
    let refused = script.ask(peer, JOIN, join(""));
    assert_eq!(ErrorCode(refused.error_code), ErrorCode::MEMBER_ID_REQUIRED);
    let id = refused.member_id.to_string();
    assert!(id.starts_with("script-"), "{id}");
    let sent = script.send(peer, JOIN, join(&id));
    (peer, id, sent)
}

/// A stable group of two members in generation 1; the first is the leader.
fn two_members() -> (Script, [(Peer, String); 2]) {
    let mut script = Script::new(1);
    script.topic("orders", 2);
    let mut members = [newcomer(&mut script), newcomer(&mut script)];
    script.advance_ms(100);
    let joined: Vec<JoinGroupResponse> = members.iter().map(|(.., sent)| script.take(*sent)).collect();
    if joined[0].leader == joined[1].member_id {
        members.swap(0, 1);
    }
    let [(leader, leader_id, _), (follower, follower_id, _)] = members;
    let followed = script.send(follower, 5, sync(&follower_id, 1, &[]));
    assert_eq!(script.reply(followed), None, "a follower waits for the leader");
    let led = script.ask(leader, 5, sync(&leader_id, 1, &[(&leader_id, "p0"), (&follower_id, "p1")]));
    let followed: SyncGroupResponse = script.take(followed);
    assert_eq!((&led.assignment[..], &followed.assignment[..]), (&b"p0"[..], &b"p1"[..]));
    (script, [(leader, leader_id), (follower, follower_id)])
}

#[test]
fn the_first_rebalance_waits_for_more_members_and_only_the_leader_sees_them() {
    let mut script = Script::new(1);
    let (_, first_id, first) = newcomer(&mut script);
    script.advance_ms(90);
    let (_, second_id, second) = newcomer(&mut script);
    script.advance_ms(90);
    assert_eq!(script.reply(first), None, "a new member prolongs the wait");
    script.advance_ms(10);
    let first: JoinGroupResponse = script.take(first);
    let second: JoinGroupResponse = script.take(second);
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!(first.leader, first_id);
    let mut members: Vec<&str> = first.members.iter().map(|member| &*member.member_id).collect();
    members.sort_unstable();
    let mut expected = [&*first_id, &*second_id];
    expected.sort_unstable();
    assert_eq!(members, expected);
    assert!(second.members.is_empty());
    assert_eq!((second.leader, second.protocol_name.unwrap()), (first.leader, "range".into()));
}

#[test]
fn a_new_member_sends_everybody_back_to_the_barrier() {
    let (mut script, [(leader, leader_id), (follower, follower_id)]) = two_members();
    assert_eq!(heartbeat(&mut script, leader, &leader_id, 1), ErrorCode::NONE);
    let (_, _, third) = newcomer(&mut script);
    assert_eq!(heartbeat(&mut script, leader, &leader_id, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    let refused = script.ask(leader, 5, sync(&leader_id, 1, &[]));
    assert_eq!(ErrorCode(refused.error_code), ErrorCode::REBALANCE_IN_PROGRESS);
    let first = script.send(leader, JOIN, join(&leader_id));
    assert_eq!(script.reply(first), None, "the barrier waits for the last one");
    assert_eq!(script.reply(third), None);
    let second = script.send(follower, JOIN, join(&follower_id));
    for sent in [first, second, third] {
        assert_eq!(script.take::<JoinGroupResponse>(sent).generation_id, 2);
    }
    assert_eq!(heartbeat(&mut script, leader, &leader_id, 1), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(heartbeat(&mut script, leader, "nobody", 2), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn who_misses_the_rebalance_is_out() {
    let (mut script, [(leader, leader_id), (follower, follower_id)]) = two_members();
    let first = script.send(leader, JOIN, join(&leader_id));
    for _ in 0..11 {
        script.advance_ms(5_000);
        assert_eq!(heartbeat(&mut script, follower, &follower_id, 1), ErrorCode::REBALANCE_IN_PROGRESS);
        assert_eq!(script.reply(first), None);
    }
    script.advance_ms(5_000);
    let joined: JoinGroupResponse = script.take(first);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 1));
    assert_eq!(heartbeat(&mut script, follower, &follower_id, 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_silent_member_is_out_when_its_session_ends() {
    let (mut script, [(leader, leader_id), (follower, follower_id)]) = two_members();
    script.advance_ms(6_000);
    assert_eq!(heartbeat(&mut script, leader, &leader_id, 1), ErrorCode::NONE);
    script.advance_ms(3_999);
    assert_eq!(heartbeat(&mut script, leader, &leader_id, 1), ErrorCode::NONE);
    script.advance_ms(1);
    assert_eq!(heartbeat(&mut script, leader, &leader_id, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(heartbeat(&mut script, follower, &follower_id, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    let joined = script.ask(leader, JOIN, join(&leader_id));
    assert_eq!((joined.generation_id, joined.members.len()), (2, 1));
}

#[test]
fn leaving_is_a_rebalance_for_the_others() {
    let (mut script, [(leader, leader_id), (follower, follower_id)]) = two_members();
    let member = |id: &str| MemberIdentity { member_id: id.into(), ..Default::default() };
    let request = LeaveGroupRequest {
        group_id: "g".into(),
        members: vec![member(&follower_id), member("nobody")],
        ..Default::default()
    };
    let left = script.ask(follower, 5, request);
    let codes: Vec<_> = left.members.iter().map(|member| ErrorCode(member.error_code)).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID]);
    assert_eq!(heartbeat(&mut script, leader, &leader_id, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    // The one-member form of older clients.
    let request = LeaveGroupRequest {
        group_id: "g".into(),
        member_id: leader_id.as_str().into(),
        ..Default::default()
    };
    assert_eq!(script.ask(leader, 2, request).error_code, 0);
    assert_eq!(heartbeat(&mut script, leader, &leader_id, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(script.cluster.poll_timeout(), None, "nobody is left to wait for");
}

#[test]
fn the_protocol_is_voted_for_among_those_that_all_know() {
    let mut script = Script::new(1);
    let peers =
        [&[("a", "1"), ("b", "1")][..], &[("c", "2"), ("b", "2"), ("a", "2")], &[("b", "3"), ("a", "3")]];
    let mut sent = Vec::new();
    for protocols in peers {
        let peer = script.coordinator("g");
        let id = script.ask(peer, JOIN, join_with("", protocols)).member_id;
        sent.push(script.send(peer, JOIN, join_with(&id, protocols)));
    }
    let peer = script.coordinator("g");
    let stranger = script.ask(peer, JOIN, join_with("", &[("z", "")]));
    assert_eq!(ErrorCode(stranger.error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    script.advance_ms(100);
    let joined: Vec<JoinGroupResponse> = sent.into_iter().map(|sent| script.take(sent)).collect();
    assert!(joined.iter().all(|joined| joined.protocol_name.as_deref() == Some("b")));
    let leader = joined.iter().find(|joined| !joined.members.is_empty()).unwrap();
    let mut metadata: Vec<&[u8]> = leader.members.iter().map(|member| &member.metadata[..]).collect();
    metadata.sort_unstable();
    assert_eq!(metadata, [b"1", b"2", b"3"]);
}

#[test]
fn older_clients_join_without_an_id() {
    let mut script = Script::new(1);
    let peer = script.coordinator("g");
    let sent = script.send(peer, 3, join(""));
    script.advance_ms(100);
    let joined: JoinGroupResponse = script.take(sent);
    assert_eq!((joined.error_code, joined.members.len()), (0, 1));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_former_self() {
    let mut script = Script::new(1);
    let instance = |id: &str| JoinGroupRequest { group_instance_id: Some("i1".into()), ..join(id) };
    let peer = script.coordinator("g");
    let sent = script.send(peer, JOIN, instance(""));
    script.advance_ms(100);
    let old: JoinGroupResponse = script.take(sent);
    assert_eq!((old.error_code, old.generation_id), (0, 1));
    script.ask(peer, 5, sync(&old.member_id, 1, &[(&old.member_id, "p0")]));

    let back = script.coordinator("g");
    let new = script.ask(back, JOIN, instance(""));
    assert_eq!((new.error_code, new.generation_id, new.skip_assignment), (0, 1, true));
    assert_ne!(new.member_id, old.member_id);
    let synced = script.ask(back, 5, sync(&new.member_id, 1, &[]));
    assert_eq!(&synced.assignment[..], b"p0");

    let beat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: old.member_id.clone(),
        group_instance_id: Some("i1".into()),
        ..Default::default()
    };
    assert_eq!(ErrorCode(script.ask(peer, 4, beat).error_code), ErrorCode::FENCED_INSTANCE_ID);
    let refused = script.ask(peer, JOIN, instance(&old.member_id));
    assert_eq!(ErrorCode(refused.error_code), ErrorCode::FENCED_INSTANCE_ID);
    // An operator removes it by its instance id alone.
    let members = vec![MemberIdentity { group_instance_id: Some("i1".into()), ..Default::default() }];
    let left = script.ask(peer, 5, LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() });
    assert_eq!(left.members[0].error_code, 0);
    assert_eq!(heartbeat(&mut script, back, &new.member_id, 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn who_does_not_sync_is_out() {
    let mut script = Script::new(1);
    let (first_peer, first_id, first) = newcomer(&mut script);
    let (_, _, second) = newcomer(&mut script);
    script.advance_ms(100);
    script.take::<JoinGroupResponse>(first);
    script.take::<JoinGroupResponse>(second);
    let waiting = script.send(first_peer, 5, sync(&first_id, 1, &[]));
    // The first member leads, so its sync is the assignment; the second stays silent until its session ends.
    assert!(script.reply(waiting).is_some());
    script.advance_ms(9_000);
    assert_eq!(heartbeat(&mut script, first_peer, &first_id, 1), ErrorCode::NONE);
    script.advance_ms(1_000);
    assert_eq!(heartbeat(&mut script, first_peer, &first_id, 1), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn session_timeouts_and_group_sizes_have_limits() {
    let mut script = Script::with(ClusterConfig { max_group_size: 1, ..ClusterConfig::default() });
    let peer = script.coordinator("g");
    let short = JoinGroupRequest { session_timeout_ms: 5_999, ..join("") };
    assert_eq!(ErrorCode(script.ask(peer, JOIN, short).error_code), ErrorCode::INVALID_SESSION_TIMEOUT);
    newcomer(&mut script);
    let peer = script.coordinator("g");
    assert_eq!(ErrorCode(script.ask(peer, JOIN, join("")).error_code), ErrorCode::GROUP_MAX_SIZE_REACHED);
    let stranger = script.ask(peer, JOIN, join("nobody"));
    assert_eq!(ErrorCode(stranger.error_code), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn only_the_coordinator_answers() {
    let mut script = Script::new(3);
    let right = script.coordinator("g");
    let wrong = script.connect(right.broker.0 % 3 + 1);
    assert_eq!(ErrorCode(script.ask(wrong, JOIN, join("")).error_code), ErrorCode::NOT_COORDINATOR);
    assert_eq!(heartbeat(&mut script, wrong, "m", 1), ErrorCode::NOT_COORDINATOR);
}

fn commit(script: &mut Script, peer: Peer, member_id: &str, generation: i32) -> ErrorCode {
    let partitions = vec![OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() }];
    let topics = vec![OffsetCommitRequestTopic { name: "orders".into(), partitions, ..Default::default() }];
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.into(),
        topics,
        ..Default::default()
    };
    ErrorCode(script.ask(peer, 9, request).topics[0].partitions[0].error_code)
}

#[test]
fn only_members_of_the_generation_commit() {
    let (mut script, [(leader, leader_id), _]) = two_members();
    assert_eq!(commit(&mut script, leader, &leader_id, 1), ErrorCode::NONE);
    assert_eq!(commit(&mut script, leader, &leader_id, 0), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(commit(&mut script, leader, "nobody", 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&mut script, leader, "", -1), ErrorCode::UNKNOWN_MEMBER_ID, "the group has members");
    assert_eq!(script.cluster.committed("g", "orders", 0).unwrap().offset, 5);
    let (_, _, _third) = newcomer(&mut script);
    assert_eq!(
        commit(&mut script, leader, &leader_id, 1),
        ErrorCode::NONE,
        "while others join, it still may"
    );
}

#[test]
fn a_member_that_hangs_up_while_it_waits_does_no_harm() {
    let mut script = Script::new(1);
    let (peer, _, _) = newcomer(&mut script);
    let (_, _, second) = newcomer(&mut script);
    script.cluster.handle_disconnect(script.now, peer.connection);
    script.advance_ms(100);
    assert_eq!(script.take::<JoinGroupResponse>(second).generation_id, 1);
}

/// A client that plays by the rules until it crashes.
struct Client {
    peer: Peer,
    id: String,
    generation: i32,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    Out,
    Joining(Sent),
    Syncing(Sent),
    Stable,
}

impl Client {
    fn new(script: &mut Script) -> Self {
        Self { peer: script.coordinator("g"), id: String::new(), generation: 0, phase: Phase::Out }
    }

    /// Does the next thing there is to do.
    fn step(&mut self, script: &mut Script, beats: bool) {
        match self.phase {
            Phase::Out => self.phase = Phase::Joining(script.send(self.peer, JOIN, join(&self.id))),
            Phase::Joining(sent) => {
                let Some(Response::JoinGroup(joined)) = script.reply(sent) else { return };
                if ErrorCode(joined.error_code) == ErrorCode::MEMBER_ID_REQUIRED {
                    self.id = joined.member_id.to_string();
                    self.phase = Phase::Out;
                } else if !self.failed(joined.error_code) {
                    self.id = joined.member_id.to_string();
                    self.generation = joined.generation_id;
                    let assignments: Vec<(String, String)> = joined
                        .members
                        .iter()
                        .map(|member| {
                            (
                                member.member_id.to_string(),
                                format!("{}:{}", self.generation, member.member_id),
                            )
                        })
                        .collect();
                    let assignments: Vec<(&str, &str)> =
                        assignments.iter().map(|(a, b)| (&**a, &**b)).collect();
                    let request = sync(&self.id, self.generation, &assignments);
                    self.phase = Phase::Syncing(script.send(self.peer, 5, request));
                }
            }
            Phase::Syncing(sent) => {
                let Some(Response::SyncGroup(synced)) = script.reply(sent) else { return };
                if !self.failed(synced.error_code) {
                    assert_eq!(&synced.assignment[..], format!("{}:{}", self.generation, self.id).as_bytes());
                    self.phase = Phase::Stable;
                }
            }
            Phase::Stable if beats => {
                let code = heartbeat(script, self.peer, &self.id, self.generation);
                self.failed(code.0);
            }
            Phase::Stable => {}
        }
    }

    fn failed(&mut self, code: i16) -> bool {
        match ErrorCode(code) {
            ErrorCode::NONE => return false,
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => {}
            ErrorCode::UNKNOWN_MEMBER_ID => self.id.clear(),
            other => panic!("{other} to a client that plays by the rules"),
        }
        self.phase = Phase::Out;
        true
    }
}

#[test]
fn members_that_come_go_and_crash_leave_the_rest_a_stable_group() {
    for seed in 0..30u32 {
        let mut script = Script::new(1);
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut random = move |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        let mut clients = vec![Client::new(&mut script)];
        for round in 0..2_000 {
            // In the last 150 seconds nothing happens any more.
            match if round < 1_700 { random(60) } else { 59 } {
                0 if clients.len() < 6 => clients.push(Client::new(&mut script)),
                1 if clients.len() > 1 => {
                    let at = random(clients.len());
                    let crashed = clients.remove(at);
                    script.cluster.handle_disconnect(script.now, crashed.peer.connection);
                }
                2 if clients.len() > 1 => {
                    let at = random(clients.len());
                    if matches!(clients[at].phase, Phase::Stable) {
                        let left = clients.remove(at);
                        let members =
                            vec![MemberIdentity { member_id: left.id.as_str().into(), ..Default::default() }];
                        let request =
                            LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
                        script.ask(left.peer, 5, request);
                    }
                }
                _ => {}
            }
            for client in &mut clients {
                client.step(&mut script, round % 6 == 0);
            }
            script.advance_ms(500);
        }
        let generation = clients[0].generation;
        for client in &clients {
            assert!(matches!(client.phase, Phase::Stable), "seed {seed}: {} is not in the group", client.id);
            assert_eq!(client.generation, generation, "seed {seed}");
        }
    }
}
