//! KIP-848: epochs, the hand-over of partitions, static members.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use std::collections::BTreeSet;

use milena_protocol::{
    ErrorCode,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupRequest, OffsetCommitRequest,
        OffsetFetchRequest,
        consumer_group_heartbeat::RequestTopicPartitions,
        join_group::JoinGroupRequestProtocol,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch::OffsetFetchRequestGroup,
    },
    wire::Uuid,
};
use script::{Peer, Script};

type Partitions = BTreeSet<(Uuid, i32)>;

/// A client that plays by the rules: it lets go of what it must and says so.
struct Member {
    id: String,
    epoch: i32,
    owned: Partitions,
    request: ConsumerGroupHeartbeatRequest,
}

struct Group {
    script: Script,
    peer: Peer,
}

impl Group {
    fn new(topics: &[(&str, i32)]) -> Self {
        let mut script = Script::new(1);
        for (name, partitions) in topics {
            script.topic(name, *partitions);
        }
        let peer = script.coordinator("g");
        Self { script, peer }
    }

    fn join(&mut self, id: &str) -> Member {
        self.join_with(id, |_| {})
    }

    fn join_with(&mut self, id: &str, change: impl FnOnce(&mut ConsumerGroupHeartbeatRequest)) -> Member {
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: id.into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["orders".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        change(&mut request);
        let response = self.ask(request.clone());
        let mut member = Member { id: id.into(), epoch: 0, owned: Partitions::new(), request };
        member.learn(response);
        member
    }

    fn ask(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        self.script.ask(self.peer, 1, request)
    }

    /// A heartbeat that says nothing new.
    fn beat(&mut self, member: &mut Member) -> ErrorCode {
        let response = self.ask(member.short());
        member.learn(response)
    }

    /// A heartbeat that says what the member owns.
    fn acknowledge(&mut self, member: &mut Member) -> ErrorCode {
        let request = ConsumerGroupHeartbeatRequest {
            topic_partitions: Some(by_topic(&member.owned)),
            ..member.short()
        };
        let response = self.ask(request);
        member.learn(response)
    }
}

impl Member {
    fn short(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: self.id.as_str().into(),
            member_epoch: self.epoch,
            instance_id: self.request.instance_id.clone(),
            ..Default::default()
        }
    }

    fn learn(&mut self, response: ConsumerGroupHeartbeatResponse) -> ErrorCode {
        if response.error_code == 0 {
            self.epoch = response.member_epoch;
            if let Some(assignment) = response.assignment {
                let partitions =
                    |topic: &milena_protocol::messages::consumer_group_heartbeat::ResponseTopicPartitions| {
                        topic
                            .partitions
                            .iter()
                            .map(|partition| (topic.topic_id, partition))
                            .collect::<Vec<_>>()
                    };
                self.owned = assignment.topic_partitions.iter().flat_map(partitions).collect();
            }
        }
        ErrorCode(response.error_code)
    }
}

fn by_topic(owned: &Partitions) -> Vec<RequestTopicPartitions> {
    let one = |(topic_id, partition): &(Uuid, i32)| RequestTopicPartitions {
        topic_id: *topic_id,
        partitions: [*partition].into(),
        ..Default::default()
    };
    owned.iter().map(one).collect()
}

#[test]
fn the_first_member_gets_everything() {
    let mut group = Group::new(&[("orders", 4)]);
    let mut member = group.join("a");
    assert_eq!((member.owned.len(), member.epoch > 0), (4, true));
    let response = group.ask(member.short());
    assert_eq!(
        (response.heartbeat_interval_ms, response.assignment),
        (5_000, None),
        "what it knows is not repeated"
    );
    assert_eq!(group.beat(&mut member), ErrorCode::NONE);
}

#[test]
fn a_partition_changes_hands_only_when_its_owner_has_let_go() {
    let mut group = Group::new(&[("orders", 4)]);
    let mut old = group.join("a");
    let before = old.owned.clone();
    let mut new = group.join("b");
    assert!(new.owned.is_empty(), "the old owner does not even know");
    group.beat(&mut new);
    assert!(new.owned.is_empty());
    // The old owner is told to let go of two, in its old epoch.
    let epoch = old.epoch;
    group.beat(&mut old);
    assert_eq!((old.owned.len(), old.epoch), (2, epoch));
    group.beat(&mut new);
    assert!(new.owned.is_empty(), "told is not done");
    // Silence about what it owns acknowledges nothing.
    group.beat(&mut old);
    group.beat(&mut new);
    assert!(new.owned.is_empty());
    // Still owning one of the two is no acknowledgement either.
    let kept = old.owned.clone();
    let given: Partitions = before.difference(&kept).copied().collect();
    old.owned = before.iter().copied().filter(|partition| Some(partition) != given.first()).collect();
    group.acknowledge(&mut old);
    group.beat(&mut new);
    assert!(new.owned.is_empty());
    old.owned = kept.clone();
    group.acknowledge(&mut old);
    assert!(old.epoch > epoch);
    group.beat(&mut new);
    assert_eq!(new.owned, given);
    assert!(new.owned.is_disjoint(&old.owned));
    assert_eq!(new.epoch, old.epoch);
}

/// Kafka 4.3.1 looks at what the heartbeat says is owned: a member that has none of what it is to give up is not asked to.
#[test]
fn who_says_that_it_has_not_what_it_is_to_let_go_of_is_not_waited_for() {
    let settled = || {
        let mut group = Group::new(&[("orders", 4)]);
        let first = group.join("a");
        let second = group.join("b");
        (group, first, second)
    };
    let (mut group, mut first, _) = settled();
    group.beat(&mut first);
    let kept = first.owned;
    assert_eq!(kept.len(), 2);

    let (mut group, mut first, mut second) = settled();
    first.owned = kept.clone();
    assert_eq!(group.acknowledge(&mut first), ErrorCode::NONE);
    assert_eq!((first.epoch, &first.owned), (second.epoch, &kept));
    group.beat(&mut second);
    assert_eq!(second.owned.len(), 2);
    // Longer than it would have had to let go.
    for _ in 0..3 {
        group.script.advance_ms(30_000);
        assert_eq!(group.beat(&mut first), ErrorCode::NONE);
    }
}

#[test]
fn no_partition_ever_has_two_owners() {
    let mut group = Group::new(&[("orders", 7), ("payments", 5)]);
    let both = |request: &mut ConsumerGroupHeartbeatRequest| {
        request.subscribed_topic_names = Some(vec!["orders".into(), "payments".into()]);
    };
    let mut state = 7u32;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut members: Vec<Member> = Vec::new();
    // What each member uses: it takes what it is given at once, and lets go only when it acknowledges.
    let mut using: Vec<Partitions> = Vec::new();
    for round in 0..3_000 {
        match random(20) {
            0 if members.len() < 5 => {
                members.push(group.join_with(&format!("m{round}"), both));
                using.push(members.last().unwrap().owned.clone());
            }
            1 if members.len() > 1 => {
                let at = random(members.len());
                let member = members.remove(at);
                using.remove(at);
                let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..member.short() };
                assert_eq!(group.ask(leave).error_code, 0);
            }
            _ if members.is_empty() => continue,
            _ => {
                let at = random(members.len());
                let member = &mut members[at];
                if random(2) == 0 {
                    assert_eq!(group.beat(member), ErrorCode::NONE);
                    using[at].extend(&member.owned);
                } else {
                    using[at] = member.owned.clone();
                    assert_eq!(group.acknowledge(member), ErrorCode::NONE);
                    using[at].extend(&member.owned);
                }
            }
        }
        let mut all = Partitions::new();
        for (member, using) in members.iter().zip(&using) {
            for partition in using {
                assert!(
                    all.insert(*partition),
                    "round {round}: {partition:?} has two owners, one is {}",
                    member.id
                );
            }
        }
        group.script.advance_ms(10);
    }
    // Left alone, everything finds an owner.
    for _ in 0..6 {
        for member in &mut members {
            group.acknowledge(member);
        }
    }
    assert_eq!(members.iter().map(|member| member.owned.len()).sum::<usize>(), 12);
    let (most, least) =
        (members.iter().map(|m| m.owned.len()).max(), members.iter().map(|m| m.owned.len()).min());
    assert!(most.unwrap() - least.unwrap() <= 1);
}

#[test]
fn leaving_and_silence_free_partitions() {
    let mut group = Group::new(&[("orders", 4)]);
    let mut stays = group.join("a");
    let mut leaves = group.join("b");
    for _ in 0..2 {
        group.acknowledge(&mut stays);
        group.acknowledge(&mut leaves);
    }
    assert_eq!((stays.owned.len(), leaves.owned.len()), (2, 2));
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..leaves.short() };
    assert_eq!(group.ask(leave).member_epoch, -1);
    group.beat(&mut stays);
    assert_eq!(stays.owned.len(), 4);
    let mut silent = group.join("c");
    group.acknowledge(&mut stays);
    group.acknowledge(&mut stays);
    group.beat(&mut silent);
    assert_eq!(silent.owned.len(), 2);
    for _ in 0..9 {
        group.script.advance_ms(5_000);
        group.beat(&mut stays);
    }
    assert_eq!(stays.owned.len(), 4, "45 s of silence end a session");
    assert_eq!(group.beat(&mut silent), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn who_does_not_let_go_in_time_is_fenced() {
    let mut group = Group::new(&[("orders", 2)]);
    let mut holds = group.join_with("a", |request| request.rebalance_timeout_ms = 10_000);
    let mut waits = group.join("b");
    group.beat(&mut holds);
    group.script.advance_ms(9_999);
    assert_eq!(group.beat(&mut holds), ErrorCode::NONE);
    group.beat(&mut waits);
    assert!(waits.owned.is_empty());
    group.script.advance_ms(1);
    assert_eq!(group.beat(&mut holds), ErrorCode::UNKNOWN_MEMBER_ID);
    group.beat(&mut waits);
    assert_eq!(waits.owned.len(), 2);
}

#[test]
fn epochs_are_checked() {
    let mut group = Group::new(&[("orders", 4)]);
    let mut first = group.join("a");
    let stale = first.short();
    let mut second = group.join("b");
    group.beat(&mut first);
    let revoked = first.owned.clone();
    group.acknowledge(&mut first);
    // The answer was lost: the previous epoch with nothing but what it has is fine, with more it is not.
    let previous = |owned| ConsumerGroupHeartbeatRequest { topic_partitions: owned, ..stale.clone() };
    assert_eq!(group.ask(previous(Some(by_topic(&revoked)))).error_code, 0);
    assert_eq!(ErrorCode(group.ask(previous(None)).error_code), ErrorCode::FENCED_MEMBER_EPOCH);
    let ahead = ConsumerGroupHeartbeatRequest { member_epoch: first.epoch + 1, ..first.short() };
    assert_eq!(ErrorCode(group.ask(ahead).error_code), ErrorCode::FENCED_MEMBER_EPOCH);
    let unknown = ConsumerGroupHeartbeatRequest { member_id: "nobody".into(), ..first.short() };
    assert_eq!(ErrorCode(group.ask(unknown).error_code), ErrorCode::UNKNOWN_MEMBER_ID);
    let elsewhere = ConsumerGroupHeartbeatRequest { group_id: "other".into(), ..first.short() };
    assert_eq!(ErrorCode(group.ask(elsewhere).error_code), ErrorCode::GROUP_ID_NOT_FOUND);
    // Joining again under the same id, as after a fence, is harmless.
    let again = group.ask(first.request.clone());
    assert_eq!((again.error_code, again.member_epoch), (0, first.epoch));
    assert_eq!(group.beat(&mut second), ErrorCode::NONE);
}

#[test]
fn a_static_member_gets_back_what_it_had() {
    let mut group = Group::new(&[("orders", 4)]);
    let with_instance = |request: &mut ConsumerGroupHeartbeatRequest| request.instance_id = Some("i1".into());
    let member = group.join_with("a", with_instance);
    let mut other = group.join("b");
    let impostor = ConsumerGroupHeartbeatRequest { member_id: "c".into(), ..member.request.clone() };
    assert_eq!(ErrorCode(group.ask(impostor.clone()).error_code), ErrorCode::UNRELEASED_INSTANCE_ID);
    let mut member = member;
    group.acknowledge(&mut member);
    group.acknowledge(&mut member);
    let had = member.owned.clone();
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -2, ..member.short() };
    assert_eq!(group.ask(leave).member_epoch, -2);
    group.beat(&mut other);
    assert!(other.owned.is_disjoint(&had), "its partitions wait for it");
    let back = group.join_with("c", with_instance);
    assert_eq!(back.owned, had);
    assert_eq!(ErrorCode(group.ask(member.short()).error_code), ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn a_changed_subscription_or_topic_makes_a_new_target() {
    let mut group = Group::new(&[("orders", 2), ("payments", 3)]);
    let mut member = group.join("a");
    let change = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(vec!["payments".into()]),
        ..member.short()
    };
    let response = group.ask(change);
    member.learn(response);
    assert!(member.owned.is_empty(), "the old ones must go first");
    group.acknowledge(&mut member);
    assert_eq!(member.owned.len(), 3);
    let regex = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(Vec::new()),
        subscribed_topic_regex: Some("new.*|payments".into()),
        ..member.short()
    };
    let response = group.ask(regex);
    member.learn(response);
    group.script.topic("news", 2);
    group.script.topic("renewed", 2);
    group.beat(&mut member);
    assert_eq!(member.owned.len(), 5, "a topic that came later matches, as a whole");
    let invalid =
        ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("(".into()), ..member.short() };
    assert_eq!(ErrorCode(group.ask(invalid).error_code), ErrorCode::INVALID_REGULAR_EXPRESSION);
}

#[test]
fn malformed_heartbeats_are_refused() {
    let mut group = Group::new(&[("orders", 2)]);
    let good = group.join("a").request;
    let mut code = |change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest)| {
        let mut request = ConsumerGroupHeartbeatRequest { member_id: "x".into(), ..good.clone() };
        change(&mut request);
        ErrorCode(group.ask(request).error_code)
    };
    let invalid = ErrorCode::INVALID_REQUEST;
    assert_eq!(code(&|request| request.member_id = "".into()), invalid);
    assert_eq!(code(&|request| request.rebalance_timeout_ms = -1), invalid);
    assert_eq!(code(&|request| request.topic_partitions = None), invalid);
    assert_eq!(code(&|request| request.subscribed_topic_names = None), invalid);
    assert_eq!(code(&|request| request.member_epoch = -3), invalid);
    assert_eq!(code(&|request| request.member_epoch = -2), invalid);
    assert_eq!(code(&|request| request.instance_id = Some("".into())), invalid);
    assert_eq!(
        code(&|request| request.server_assignor = Some("best".into())),
        ErrorCode::UNSUPPORTED_ASSIGNOR
    );
    assert_eq!(code(&|request| request.group_id = "".into()), invalid);
    assert_eq!(code(&|request| request.server_assignor = Some("range".into())), ErrorCode::NONE);
}

#[test]
fn offsets_go_with_the_members_epoch() {
    let mut group = Group::new(&[("orders", 2)]);
    let member = group.join("a");
    let peer = group.peer;
    let mut commit = |version, member_id: &str, epoch| {
        let topic_id = member.owned.first().unwrap().0;
        let partitions = vec![OffsetCommitRequestPartition {
            committed_offset: 5,
            committed_metadata: Some("beside".into()),
            ..Default::default()
        }];
        let topic = match version {
            10 => OffsetCommitRequestTopic { topic_id, partitions, ..Default::default() },
            _ => OffsetCommitRequestTopic { name: "orders".into(), partitions, ..Default::default() },
        };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: epoch,
            member_id: member_id.into(),
            topics: vec![topic],
            ..Default::default()
        };
        ErrorCode(group.script.ask(peer, version, request).topics[0].partitions[0].error_code)
    };
    assert_eq!(commit(10, "a", member.epoch), ErrorCode::NONE);
    assert_eq!(commit(9, "a", member.epoch - 1), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(commit(8, "a", member.epoch - 1), ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(commit(9, "nobody", member.epoch), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(9, "", -1), ErrorCode::UNKNOWN_MEMBER_ID);
    let mut fetch = |member_id: Option<&str>, member_epoch| {
        let wanted = OffsetFetchRequestGroup {
            group_id: "g".into(),
            member_id: member_id.map(Into::into),
            member_epoch,
            topics: None,
            ..Default::default()
        };
        let request = OffsetFetchRequest { groups: vec![wanted], require_stable: true, ..Default::default() };
        group.script.ask(peer, 10, request).groups.remove(0)
    };
    let found = fetch(Some("a"), member.epoch);
    assert_eq!(found.topics[0].topic_id, member.owned.first().unwrap().0);
    assert_eq!(found.topics[0].partitions[0].committed_offset, 5);
    assert_eq!(found.topics[0].partitions[0].metadata.as_deref(), Some("beside"));
    assert_eq!(ErrorCode(fetch(Some("a"), member.epoch - 1).error_code), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(ErrorCode(fetch(Some("nobody"), 1).error_code), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(fetch(None, -1).error_code, 0);
}

#[test]
fn the_two_protocols_do_not_mix_until_the_group_is_empty() {
    let mut group = Group::new(&[("orders", 2)]);
    let member = group.join("a");
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }],
        ..Default::default()
    };
    let refused = group.script.ask(group.peer, 4, join.clone());
    assert_eq!(ErrorCode(refused.error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    group.ask(ConsumerGroupHeartbeatRequest { member_epoch: -1, ..member.short() });
    let given = group.script.ask(group.peer, 4, join);
    assert_eq!(ErrorCode(given.error_code), ErrorCode::MEMBER_ID_REQUIRED);
    let refused = group.ask(member.request.clone());
    assert_eq!(ErrorCode(refused.error_code), ErrorCode::GROUP_ID_NOT_FOUND);
}
