//! Coordinators that move.

use std::time::Duration;

use milena::{GroupProtocol, TopicPartition};
use milena_protocol::{ApiKey, ErrorCode, messages::Response};
use protocol_tests::{
    cluster::Cluster,
    proxy::{Act, Asked},
    stage::{Stage, within},
};
use tokio::time::sleep;

use crate::group::{BOTH_PROTOCOLS, Group, Member, Told, assert_contiguous, until, write};

/// Where the cluster keeps its groups, and in how many partitions.
const OFFSETS: &str = "__consumer_offsets";
const OFFSETS_PARTITIONS: i32 = 6;
const MOMENT: Duration = Duration::from_millis(50);

/// The partition that the group is kept in: whoever leads it is the coordinator.
fn home(group: &str) -> TopicPartition {
    let hash = group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    TopicPartition::new(OFFSETS, hash.checked_abs().unwrap_or(0) % OFFSETS_PARTITIONS)
}

const fn heartbeat_of(protocol: GroupProtocol) -> ApiKey {
    match protocol {
        GroupProtocol::Classic => ApiKey::Heartbeat,
        _ => ApiKey::ConsumerGroupHeartbeat,
    }
}

/// How the coordinator has answered.
fn code(asked: &Asked) -> Option<ErrorCode> {
    match &asked.answer.as_ref()?.1 {
        Response::Heartbeat(answer) => Some(ErrorCode(answer.error_code)),
        Response::ConsumerGroupHeartbeat(answer) => Some(ErrorCode(answer.error_code)),
        Response::OffsetCommit(answer) => Some(ErrorCode(answer.topics[0].partitions[0].error_code)),
        other => panic!("{other:?}"),
    }
}

/// The coordinator says that it is none.
fn deny(response: &mut Response) {
    let Response::OffsetCommit(answer) = response else { panic!("{response:?}") };
    for partition in answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error_code = ErrorCode::NOT_COORDINATOR.0;
    }
}

/// G10: the group gets another coordinator. Its members find it, once for all that they want of it, and go on: nothing is
/// revoked, nothing lost, and what was committed is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_group_whose_coordinator_moves_goes_on() {
    for protocol in BOTH_PROTOCOLS {
        let stage = Stage::set(&Cluster::from_env().unwrap(), &format!("moved-{protocol:?}")).await;
        let (group, observer) = (Group::of(&stage, protocol), stage.observer());
        write(&stage, &[0, 1], 5).await;
        let first = Member::new(group.builder(&stage.proxied, "first"));
        until(&[&first], || first.count() == 2).await;
        let second = Member::new(group.builder(&stage.direct, "second"));
        until(&[&first, &second], || first.count() == 1 && second.count() == 1).await;
        let (mine, others) = (first.only(), second.only());
        until(&[&first, &second], || first.read(&mine).len() == 5 && !second.read(&others).is_empty()).await;
        first.commit().await;
        let (told, epoch) = (group.told_to("first"), first.epoch());

        // Only one of its answers says so.
        let found = || stage.proxy.asked(ApiKey::FindCoordinator).len();
        let before = found();
        stage.proxy.rule(ApiKey::OffsetCommit, Act::Change(|_| {}, deny), 1);
        first.commit().await;
        assert_eq!(found(), before + 1, "{protocol:?}");

        let home = home(&group.id);
        // Brokers hear of moves one after the other.
        let mut old = observer.leader(&home).await;
        within(async {
            while observer.group_coordinator(&group.id).await != old {
                sleep(MOMENT).await;
                old = observer.leader(&home).await;
            }
        })
        .await;
        let replicas = observer.replicas(&home).await;
        let new = *replicas.iter().find(|replica| **replica != old).unwrap();
        let others_of: Vec<_> = replicas.into_iter().filter(|replica| *replica != new).collect();
        let port = observer.port(new).await;
        let heartbeats = stage.proxy.asked(heartbeat_of(protocol)).len();
        observer.lead(&home, new, &others_of).await;
        write(&stage, &[0, 1], 5).await;
        until(&[&first, &second], || {
            first.read(&mine).len() == 10 && second.read(&others).last() == Some(&9)
        })
        .await;
        let all = || stage.proxy.asked(heartbeat_of(protocol)).split_off(heartbeats);
        let is_there = |asked: &Asked| asked.broker == port;
        let is_heard = |asked: &Asked| is_there(asked) && code(asked) == Some(ErrorCode::NONE);
        until(&[&first, &second], || all().last().is_some_and(is_heard)).await;
        first.commit().await;
        second.commit().await;
        assert!(stage.proxy.asked(ApiKey::OffsetCommit).last().is_some_and(is_there));
        let answers: Vec<_> =
            stage.proxy.asked(ApiKey::OffsetCommit).iter().chain(&all()).filter_map(code).collect();
        assert!(answers.contains(&ErrorCode::NOT_COORDINATOR), "{answers:?}");

        assert_eq!((group.told_to("first"), first.epoch()), (told, epoch), "{protocol:?}");
        assert!(group.told_to("second").iter().all(|(told, _)| *told == Told::Assigned));
        assert_contiguous(&first.read(&mine), 0, 10);
        assert_eq!((first.committed(&mine).await, second.committed(&others).await), (Some(10), Some(10)));
        for member in [first, second] {
            member.close().await;
        }
        stage.strike().await;
    }
}
