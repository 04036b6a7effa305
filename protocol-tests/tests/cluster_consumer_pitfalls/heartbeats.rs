//! Heartbeats of the consumer protocol that are lost or late.

use std::time::Duration;

use milena::{ByteString, GroupProtocol};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Request, Response},
};
use protocol_tests::{
    cluster::Cluster,
    proxy::Act,
    stage::{Stage, within},
};

use crate::group::{Group, Member, Told, until, write};

/// The shortest that the cluster allows groups to have.
const SHORT: [(&str, &str); 2] =
    [("consumer.session.timeout.ms", "2000"), ("consumer.heartbeat.interval.ms", "300")];

type Heartbeat = (ConsumerGroupHeartbeatRequest, Option<ConsumerGroupHeartbeatResponse>);

/// The heartbeats that went through the proxy, and how the coordinator answered.
fn heartbeats(stage: &Stage) -> Vec<Heartbeat> {
    let asked = stage.proxy.asked(ApiKey::ConsumerGroupHeartbeat).into_iter();
    let heartbeat = asked.map(|asked| {
        let Request::ConsumerGroupHeartbeat(request) = asked.request else { panic!("{asked:?}") };
        let answer = asked.answer.map(|(_, answer)| match answer {
            Response::ConsumerGroupHeartbeat(answer) => answer,
            other => panic!("{other:?}"),
        });
        (request, answer)
    });
    heartbeat.collect()
}

/// Says everything there is to be said.
fn is_full((request, _): &Heartbeat) -> bool {
    request.subscribed_topic_names.is_some()
        && request.topic_partitions.is_some()
        && request.rebalance_timeout_ms > 0
}

fn code((_, answer): &Heartbeat) -> ErrorCode {
    answer.as_ref().map_or(ErrorCode::UNKNOWN_SERVER_ERROR, |answer| ErrorCode(answer.error_code))
}

/// The first heartbeat with this answer, and the one behind it, by the one member that there is of the proxy.
#[track_caller]
fn rejoined_at_once(stage: &Stage, because: ErrorCode, me: &ByteString) {
    let heartbeats = heartbeats(stage);
    assert!(heartbeats.iter().all(|(request, _)| request.member_id == *me), "{heartbeats:?}");
    let refused = heartbeats.iter().position(|heartbeat| code(heartbeat) == because);
    let again = &heartbeats[refused.unwrap_or_else(|| panic!("{because}: {heartbeats:?}")) + 1];
    assert_eq!((again.0.member_epoch, again.0.topic_partitions.clone()), (0, Some(Vec::new())));
    assert!(is_full(again), "{again:?}");
}

/// N2: the session of a member ends while its heartbeat is on its way: the coordinator does not know it any more. What it had
/// is lost, and not given up, and it joins again at once under the same id; so it does when its epoch is fenced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_member_that_was_fenced_has_lost_everything_and_joins_again_as_itself() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "fenced").await;
    let group = Group::of(&stage, GroupProtocol::Consumer);
    stage.observer().set_group(&group.id, &SHORT).await;
    write(&stage, &[0, 1], 5).await;
    let member = Member::new(group.builder(&stage.proxied, "member"));
    until(&[&member], || member.count() == 2).await;
    let me = member.consumer.group_metadata().unwrap().member_id;

    stage.proxy.rule(ApiKey::ConsumerGroupHeartbeat, Act::HoldRequest, 1);
    within(stage.proxy.until_met(1)).await;
    let heir = Member::new(group.builder(&stage.direct, "heir"));
    until(&[&heir], || heir.count() == 2).await;
    // It can't know, and is told.
    assert_eq!(member.count(), 2);
    stage.proxy.release();
    until(&[&member, &heir], || member.count() == 1 && heir.count() == 1).await;
    let mine = vec![member.only().partition];
    let expected = [(Told::Assigned, vec![0, 1]), (Told::Lost, vec![0, 1]), (Told::Assigned, mine.clone())];
    until(&[&member], || group.told_to("member").len() == 3).await;
    assert_eq!(group.told_to("member"), expected);
    rejoined_at_once(&stage, ErrorCode::UNKNOWN_MEMBER_ID, &me);

    // An epoch that the coordinator has not come to yet.
    let ahead = |request: &mut Request| {
        let Request::ConsumerGroupHeartbeat(heartbeat) = request else { panic!("{request:?}") };
        heartbeat.member_epoch += 10;
    };
    stage.proxy.rule(ApiKey::ConsumerGroupHeartbeat, Act::Change(ahead, |_| {}), 1);
    until(&[&member, &heir], || group.told_to("member").len() == 5 && member.count() == 1).await;
    assert_eq!(group.told_to("member")[3..], [(Told::Lost, mine.clone()), (Told::Assigned, mine)]);
    rejoined_at_once(&stage, ErrorCode::FENCED_MEMBER_EPOCH, &me);
    member.commit().await;
    for member in [member, heir] {
        member.close().await;
    }
    stage.strike().await;
}

/// The heartbeats behind the first `before`, the first of which was not heard: the next one says everything, and the one
/// after that nothing.
async fn says_everything_once(stage: &Stage, member: &Member, before: usize) {
    until(&[member], || heartbeats(stage).len() >= before + 3).await;
    let heartbeats = heartbeats(stage).split_off(before);
    let full: Vec<_> = heartbeats.iter().map(is_full).collect();
    assert_eq!(full[..3], [false, true, false], "{heartbeats:?}");
    assert_eq!(heartbeats[1].0.member_epoch, member.epoch());
    assert!(heartbeats.iter().all(|heartbeat| code(heartbeat).is_none() || heartbeat.1.is_none()));
}

/// N3: the answer to a heartbeat is lost, by the end of its connection and in silence: the next one says everything. The
/// member stays what it was, also when what was lost is what it is to have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn behind_a_lost_heartbeat_everything_is_said_again_and_nothing_else_happens() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "lost-heartbeat").await;
    let group = Group::of(&stage, GroupProtocol::Consumer);
    stage.observer().set_group(&group.id, &SHORT[1..]).await;
    write(&stage, &[0, 1], 5).await;
    let builder = group.builder(&stage.proxied, "member").request_timeout(Duration::from_secs(3));
    let member = Member::new(builder);
    until(&[&member], || member.count() == 2).await;
    let epoch = member.epoch();
    // What it has is known to the group.
    until(&[&member], || heartbeats(&stage).last().is_some_and(|last| !is_full(last) && last.1.is_some()))
        .await;
    for act in [Act::CutReply, Act::MuteReply] {
        let before = heartbeats(&stage).len();
        stage.proxy.rule(ApiKey::ConsumerGroupHeartbeat, act, 1);
        says_everything_once(&stage, &member, before).await;
        assert_eq!((member.epoch(), group.told_to("member")), (epoch, vec![(Told::Assigned, vec![0, 1])]));
    }

    // It is told in vain that it is to have one only.
    stage.proxy.rule(ApiKey::ConsumerGroupHeartbeat, Act::CutReply, usize::MAX);
    let before = heartbeats(&stage).len();
    let other = Member::new(group.builder(&stage.direct, "other"));
    let is_told = |(_, answer): &Heartbeat| {
        let topics = answer.as_ref().and_then(|answer| answer.assignment.as_ref());
        let counts = topics.iter().flat_map(|topics| &topics.topic_partitions);
        counts.map(|topic| topic.partitions.len()).sum::<usize>() == 1
    };
    let told = || heartbeats(&stage)[before..].iter().filter(|heartbeat| is_told(heartbeat)).count();
    until(&[&member, &other], || told() >= 2).await;
    assert_eq!((member.count(), other.count()), (2, 0));
    stage.proxy.pass_all();
    until(&[&member, &other], || member.count() == 1 && other.count() == 1).await;
    let (mine, others) = (member.only().partition, other.only().partition);
    until(&[&member, &other], || group.told_to("other").len() == 1).await;
    assert_eq!(group.told_to("member"), [(Told::Assigned, vec![0, 1]), (Told::Revoked, vec![others])]);
    assert_eq!((group.told_to("other"), mine + others), (vec![(Told::Assigned, vec![others])], 1));
    group.assert_one_owner();
    member.commit().await;
    for member in [member, other] {
        member.close().await;
    }
    stage.strike().await;
}
