//! Partitions that go from one member to another.

use std::sync::Arc;

use milena::{GroupProtocol, NewTopic, TopicPartition};
use milena_protocol::{ApiKey, messages::Request};
use protocol_tests::{
    cluster::Cluster,
    proxy::{Act, Asked},
    stage::{Stage, within},
};
use tokio::{sync::Notify, time::Instant};

use crate::group::{BOTH_PROTOCOLS, Group, HEARTBEAT, Member, Told, assert_contiguous, until, write};

/// What tells the group that a member has given up what it was to.
const fn acknowledgement(protocol: GroupProtocol) -> ApiKey {
    match protocol {
        GroupProtocol::Classic => ApiKey::JoinGroup,
        _ => ApiKey::ConsumerGroupHeartbeat,
    }
}

/// G6: a second member comes. The first one gives up the difference, behind a commit that counts, and reads what it keeps
/// while the group waits for it.
///
/// N6: what is given up is committed, then the listener is told, then the group, and then another member has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn only_the_difference_is_given_up_behind_a_commit_and_the_rest_is_read_on() {
    for protocol in BOTH_PROTOCOLS {
        let stage = Stage::set(&Cluster::from_env().unwrap(), &format!("difference-{protocol:?}")).await;
        let group = Group::of(&stage, protocol);
        if protocol == GroupProtocol::Consumer {
            let interval = HEARTBEAT.as_millis().to_string();
            stage.observer().set_group(&group.id, &[("consumer.heartbeat.interval.ms", &interval)]).await;
        }
        write(&stage, &[0, 1], 5).await;
        let gate = Arc::new(Notify::new());
        let first = Member::new(group.committing(&stage.proxied, "first", &gate));
        let both = [stage.partition(0), stage.partition(1)];
        until(&[&first], || both.iter().all(|partition| first.read(partition).len() == 5)).await;
        let second = Member::new(group.builder(&stage.direct, "second"));
        let is_asked = || group.told_to("first").len() == 2;
        let opens = async {
            until(&[&second], is_asked).await;
            // The listener waits for the gate, and the group for the listener.
            let begin = Instant::now();
            until(&[&second], || begin.elapsed() > 3 * HEARTBEAT).await;
            // What is said to the group behind that is held.
            stage.proxy.rule(acknowledgement(protocol), Act::HoldRequest, 1);
            assert_eq!((first.count(), second.count()), (2, 0));
            gate.notify_one();
        };
        let alone = [&first];
        tokio::join!(until(&alone, is_asked), opens);
        within(stage.proxy.until_met(1)).await;
        let [(Told::Assigned, all), (Told::Revoked, gone)] = &group.told_to("first")[..] else {
            panic!("{:?}", group.told_to("first"))
        };
        assert_eq!((all.as_slice(), gone.len()), (&[0, 1] as &[i32], 1));
        let (gone, kept) = (stage.partition(gone[0]), stage.partition(1 - gone[0]));

        write(&stage, &[0, 1], 5).await;
        until(&[&first, &second], || first.read(&kept).len() == 10).await;
        assert_eq!((first.read(&gone).len(), second.count()), (5, 0), "{protocol:?}");
        stage.proxy.release();
        until(&[&first, &second], || second.read(&gone).len() == 5).await;
        assert_contiguous(&second.read(&gone), 5, 5);
        assert_eq!(group.told_to("second"), [(Told::Assigned, vec![gone.partition])]);
        assert_eq!(group.told_to("first").len(), 2, "{protocol:?}");
        group.assert_one_owner();

        let committed = stage.proxy.asked(ApiKey::OffsetCommit)[0].answer.as_ref().unwrap().0;
        let first_said = stage.proxy.asked(acknowledgement(protocol)).into_iter().find(says_less).unwrap();
        assert!(committed < first_said.at);
        gate.notify_one();
        for member in [second, first] {
            member.close().await;
        }
        stage.strike().await;
    }
}

/// Says that the member has one partition only.
fn says_less(asked: &Asked) -> bool {
    match &asked.request {
        Request::ConsumerGroupHeartbeat(heartbeat) => {
            let owned = heartbeat.topic_partitions.as_ref();
            owned.is_some_and(|owned| owned.iter().map(|topic| topic.partitions.len()).sum::<usize>() == 1)
        }
        // The first join with an id of its own is followed by the one in which it keeps all, and by this one.
        Request::JoinGroup(join) => {
            let metadata = &join.protocols[0].metadata;
            !join.member_id.is_empty() && owned_in(metadata) == 1
        }
        other => panic!("{other:?}"),
    }
}

/// How many partitions of its one topic a member says to own (the version, the topics, the user's data, what is owned).
fn owned_in(metadata: &[u8]) -> i32 {
    let number = |at: usize| i32::from_be_bytes(metadata[at..at + 4].try_into().unwrap());
    let name = usize::from(u16::from_be_bytes(metadata[6..8].try_into().unwrap()));
    let user_data = 8 + name;
    let owned = user_data + 4 + usize::try_from(number(user_data)).unwrap_or_default();
    if number(owned) == 0 { 0 } else { number(owned + 4 + 2 + name) }
}

/// N6: members come and go, and what they read grows. No partition is ever two members', and nothing is left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn no_partition_is_two_members_while_they_come_and_go() {
    for protocol in BOTH_PROTOCOLS {
        let cluster = Cluster::from_env().unwrap();
        let six = |topic: NewTopic| topic.partitions(6);
        let stage = Stage::set_with(&cluster, &format!("come-and-go-{protocol:?}"), six).await;
        let group = Group::of(&stage, protocol);
        let all = [0, 1, 2, 3, 4, 5];
        let mut members = Vec::new();
        for (number, name) in ["one", "two", "three", "four", "five"].into_iter().enumerate() {
            members.push(Member::new(group.builder(&stage.direct, name)));
            write(&stage, &all, 2).await;
            let polled: Vec<_> = members.iter().collect();
            let counts = || members.iter().map(Member::count).collect::<Vec<_>>();
            let is_shared = || counts().iter().sum::<usize>() == 6 && !counts().contains(&0);
            until(&polled, is_shared).await;
            for member in &members {
                member.commit().await;
            }
            if number >= 2 {
                let gone: Member = members.remove(0);
                let rest: Vec<_> = members.iter().collect();
                let count = || members.iter().map(Member::count).sum::<usize>() == 6;
                tokio::join!(gone.close(), until(&rest, count));
            }
        }
        group.assert_one_owner();
        for member in members {
            member.close().await;
        }
        stage.strike().await;
    }
}

/// N6: a topic that matches the pattern of two members is made while they wait for it. The coordinator shares it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_topic_that_is_made_later_is_shared_out_to_those_whose_pattern_it_matches() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "pattern").await;
    let group = Group::of(&stage, GroupProtocol::Consumer);
    let pattern = format!("{}.*", stage.name);
    let of_pattern =
        |name| Member::new(group.builder(&stage.direct, name).subscribe_pattern(pattern.as_str()));
    let (first, second) = (of_pattern("first"), of_pattern("second"));
    until(&[&first, &second], || first.count() == 1 && second.count() == 1).await;
    let later = format!("{}-later", stage.name);
    let other = format!("another-{}", stage.name);
    for name in [&later, &other] {
        within(stage.direct.admin().create_topic(NewTopic::new(name.as_str()).partitions(2))).await.unwrap();
    }
    until(&[&first, &second], || first.count() + second.count() == 4).await;
    until(&[&first, &second], || first.count() == 2 && second.count() == 2).await;
    let has: std::collections::BTreeSet<_> =
        [&first, &second].into_iter().flat_map(|member| member.consumer.assignment()).collect();
    let expected =
        [&stage.name, &later].map(|name| [0, 1].map(|number| TopicPartition::new(name.as_str(), number)));
    assert_eq!(has, expected.into_iter().flatten().collect());
    group.assert_one_owner();
    for member in [first, second] {
        member.close().await;
    }
    for name in [later, other] {
        within(stage.direct.admin().delete_topic(name)).await.unwrap();
    }
    stage.strike().await;
}
