//! Commits that the group's coordinator refuses, or would.

use std::time::Duration;

use milena::{CommitError, GroupProtocol, NewTopic, Position, TopicPartition};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{Request, Response},
};
use protocol_tests::{
    cluster::Cluster,
    proxy::Act,
    stage::{Stage, within},
};
use tokio::time::sleep;

use crate::group::{BOTH_PROTOCOLS, Group, Member, Told, assert_contiguous, until, write};

/// The epochs of the commits that went through the proxy, and how the coordinator answered.
fn commits(stage: &Stage) -> Vec<(i32, Option<ErrorCode>)> {
    let asked = stage.proxy.asked(ApiKey::OffsetCommit).into_iter();
    let commit = asked.map(|asked| {
        let Request::OffsetCommit(commit) = asked.request else { panic!("{asked:?}") };
        let code = asked.answer.map(|(_, answer)| match answer {
            Response::OffsetCommit(answer) => ErrorCode(answer.topics[0].partitions[0].error_code),
            other => panic!("{other:?}"),
        });
        (commit.generation_id_or_member_epoch, code)
    });
    commit.collect()
}

fn at(partition: &TopicPartition, offset: i64) -> [(TopicPartition, Position); 1] {
    [(partition.clone(), Position { offset, leader_epoch: None })]
}

/// G2: a commit while it is not said yet who gets what is refused. What the member has is kept, its generation stays the one
/// of the round, and behind the round the same commit succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_commit_in_the_middle_of_a_round_is_refused_and_succeeds_behind_it() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "in-a-round").await;
    let group = Group::of(&stage, GroupProtocol::Classic);
    write(&stage, &[0, 1], 10).await;
    let member = Member::new(group.builder(&stage.proxied, "member").max_poll_records(3));
    let partition = stage.partition(0);
    until(&[&member], || !member.read(&partition).is_empty()).await;
    let another = format!("{}-another", stage.name);
    within(stage.direct.admin().create_topic(NewTopic::new(another.as_str()).partitions(1))).await.unwrap();
    stage.observer().await_whole(std::slice::from_ref(&another)).await;

    // It is the one to say who gets what, and has to hear of the other topic first.
    let before = member.epoch();
    stage.proxy.rule(ApiKey::Metadata, Act::HoldRequest, usize::MAX);
    member.consumer.subscribe([stage.name.as_str(), another.as_str()]).unwrap();
    within(async {
        while member.epoch() == before {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let error = within(member.consumer.commit()).await.unwrap_err();
    let CommitError::Rebalancing { code, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*code, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!((member.epoch(), member.count()), (before + 1, 2));

    stage.proxy.pass_all();
    stage.proxy.release();
    until(&[&member], || member.count() == 3 && member.read(&partition).len() == 10).await;
    within(member.consumer.commit()).await.unwrap();
    assert_eq!(member.committed(&partition).await, Some(10));
    assert_contiguous(&member.read(&partition), 0, 10);
    assert_eq!(member.epoch(), before + 1);
    assert_eq!(group.told_to("member"), [(Told::Assigned, vec![0, 1]), (Told::Assigned, vec![0])]);
    member.close().await;
    within(stage.direct.admin().delete_topic(another)).await.unwrap();
    stage.strike().await;
}

/// The commit is of the generation or the epoch before.
fn age(request: &mut Request) {
    let Request::OffsetCommit(commit) = request else { panic!("{request:?}") };
    commit.generation_id_or_member_epoch -= 1;
}

/// G3: the coordinator finds a commit to be of another generation. The member joins again under the id that it has; a
/// cooperative one keeps what it has meanwhile. A commit of an older generation that comes late takes nothing back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_commit_of_another_generation_costs_a_round_and_not_the_member() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "generation").await;
    let group = Group::of(&stage, GroupProtocol::Classic);
    write(&stage, &[0, 1], 10).await;
    for name in ["eager", "cooperative"] {
        let builder = match name {
            "eager" => group.eager(&stage.proxied, name),
            _ => group.builder(&stage.proxied, name),
        };
        let member = Member::new(builder.max_poll_records(1));
        until(&[&member], || member.count() == 2).await;
        let (before, me) = (member.epoch(), member.consumer.group_metadata().unwrap().member_id);
        let joined = stage.proxy.asked(ApiKey::JoinGroup).len();
        until(&[&member], || !member.read(&stage.partition(0)).is_empty()).await;
        stage.proxy.rule(ApiKey::OffsetCommit, Act::Change(age, |_| {}), 1);
        let error = within(member.consumer.commit()).await.unwrap_err();
        let CommitError::Rebalancing { code, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*code, ErrorCode::ILLEGAL_GENERATION);
        until(&[&member], || member.epoch() == before + 1 && member.count() == 2).await;
        let joins = stage.proxy.asked(ApiKey::JoinGroup).split_off(joined);
        let [again] = joins.as_slice() else { panic!("{joins:?}") };
        let Request::JoinGroup(again) = &again.request else { panic!("{again:?}") };
        assert_eq!(again.member_id, me);
        let told = group.told_to(name);
        match name {
            "eager" => {
                let assigned = (Told::Assigned, vec![0, 1]);
                assert_eq!(told, [assigned.clone(), (Told::Revoked, vec![0, 1]), assigned]);
            }
            _ => assert_eq!(told, [(Told::Assigned, vec![0, 1])]),
        }
        member.commit().await;
        member.close().await;
    }

    let partition = stage.partition(0);
    let older = Member::new(group.builder(&stage.proxied, "older"));
    until(&[&older], || older.count() == 2).await;
    let late = stage.proxy.asked(ApiKey::OffsetCommit).len();
    stage.proxy.rule(ApiKey::OffsetCommit, Act::StrandRequest, 1);
    within(older.consumer.commit_offsets(at(&partition, 3))).await.unwrap();
    let newer = Member::new(group.builder(&stage.direct, "newer"));
    until(&[&older, &newer], || older.count() == 1 && newer.count() == 1).await;
    let owner = if older.only() == partition { &older } else { &newer };
    within(owner.consumer.commit_offsets(at(&partition, 9))).await.unwrap();
    stage.proxy.release();
    within(stage.proxy.until_late(1)).await;
    assert_eq!(owner.committed(&partition).await, Some(9));
    assert!(commits(&stage).len() > late + 1, "it was committed again");
    for member in [older, newer] {
        member.close().await;
    }
    stage.strike().await;
}

/// G7: what a member had before is not committed any more. Nobody is asked, and what the new owner has committed stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_partition_that_was_given_up_is_not_committed() {
    for protocol in BOTH_PROTOCOLS {
        let stage = Stage::set(&Cluster::from_env().unwrap(), &format!("given-up-{protocol:?}")).await;
        write(&stage, &[0, 1], 10).await;
        let group = Group::of(&stage, protocol);
        let first = Member::new(group.builder(&stage.proxied, "first").max_poll_records(2));
        until(&[&first], || first.count() == 2).await;
        let has_read = |member: &Member, number| !member.read(&stage.partition(number)).is_empty();
        until(&[&first], || has_read(&first, 0) && has_read(&first, 1)).await;
        let second = Member::new(group.builder(&stage.direct, "second"));
        until(&[&first, &second], || first.count() == 1 && second.count() == 1).await;
        let gone = second.only();
        until(&[&second], || second.read(&gone).last() == Some(&9)).await;
        second.commit().await;

        let sent = commits(&stage).len();
        let error = within(first.consumer.commit_offsets(at(&gone, 1))).await.unwrap_err();
        assert_eq!(error, CommitError::NotAssigned { partition: gone.clone() });
        let both = at(&gone, 1).into_iter().chain(at(&first.only(), 1));
        let error = within(first.consumer.commit_offsets(both)).await.unwrap_err();
        assert_eq!(error, CommitError::NotAssigned { partition: gone.clone() });
        assert_eq!(commits(&stage).len(), sent);
        first.commit().await;
        assert_eq!(second.committed(&gone).await, Some(10), "{protocol:?}");

        // Whoever gets it next goes on there.
        second.close().await;
        write(&stage, &[gone.partition], 1).await;
        let before = first.read(&gone).len();
        until(&[&first], || first.read(&gone).len() > before).await;
        assert_eq!(first.read(&gone)[before], 10, "{protocol:?}");
        first.close().await;
        stage.strike().await;
    }
}

/// N5: a commit is on its way while the coordinator moves the member to another epoch, and comes as one of an epoch in which
/// the partition was not its yet (those after that are good enough for a coordinator that knows KIP-1251). It is sent again
/// with the epoch that the member has by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_commit_of_an_epoch_that_is_over_is_sent_again_with_the_next_one() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "stale-epoch").await;
    let group = Group::of(&stage, GroupProtocol::Consumer);
    write(&stage, &[0, 1], 3).await;
    let member = Member::new(group.builder(&stage.proxied, "member"));
    let partition = stage.partition(0);
    until(&[&member], || member.read(&partition).len() == 3).await;
    let epoch = member.epoch();

    // The heartbeat that is held is answered with the epoch that another member brings about; the commit is right behind it.
    stage.proxy.rule(ApiKey::ConsumerGroupHeartbeat, Act::HoldRequest, 1);
    within(stage.proxy.until_met(1)).await;
    let other = Member::new(group.builder(&stage.direct, "other").subscribe(["another-topic"]));
    until(&[&other], || other.epoch() > epoch).await;
    stage.proxy.rule(ApiKey::OffsetCommit, Act::Change(age, |_| {}), 1);
    let (committed, ()) = tokio::join!(within(member.consumer.commit()), async {
        sleep(Duration::from_millis(300)).await;
        stage.proxy.release();
    });
    committed.unwrap();
    let sent = commits(&stage);
    assert!(member.epoch() > epoch, "{sent:?}");
    let expected = [(epoch, Some(ErrorCode::STALE_MEMBER_EPOCH)), (member.epoch(), Some(ErrorCode::NONE))];
    assert_eq!(sent, expected);
    assert_eq!(member.committed(&partition).await, Some(3));
    assert_eq!(group.told_to("member"), [(Told::Assigned, vec![0, 1])]);
    for member in [member, other] {
        member.close().await;
    }
    stage.strike().await;
}
