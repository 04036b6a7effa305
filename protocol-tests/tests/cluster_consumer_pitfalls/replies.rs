//! Answers with records that come when nobody wants them any more.

use std::{collections::BTreeSet, time::Duration};

use milena::{AutoOffsetReset, Position, SeekTo};
use milena_protocol::ApiKey;
use protocol_tests::{
    cluster::Cluster,
    proxy::Act,
    stage::{PARTITIONS, Stage, within},
};
use tokio::time::sleep;

use crate::group::{BOTH_PROTOCOLS, Group, Member, assert_contiguous, until, write};

/// Longer than anything here takes: a broker answers when there is something.
const WAIT: Duration = Duration::from_secs(20);

/// F11: the answer to a fetch is on its way while the application goes elsewhere. Nothing of it is handed out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn what_was_fetched_before_a_seek_is_not_handed_out() {
    let stage = Stage::set(&Cluster::from_env().unwrap(), "sought").await;
    // Two batches: where the second one is read from, the first one is not sent.
    write(&stage, &[0], 10).await;
    write(&stage, &[0], 10).await;
    let partition = stage.partition(0);
    let seeks = [(0, SeekTo::Offset(5)), (12, SeekTo::Offset(3)), (5, SeekTo::End), (12, SeekTo::Beginning)];
    for (number, (from, to)) in (1..).zip(seeks) {
        stage.proxy.rule(ApiKey::Fetch, Act::HoldReply, 1);
        let builder = stage.proxied.consumer_without_group().auto_offset_reset(AutoOffsetReset::Earliest);
        let member = Member::new(builder.assign([partition.clone()]));
        member.consumer.seek(&partition, SeekTo::Offset(from)).unwrap();
        within(stage.proxy.until_met(number)).await;
        // The broker has what was asked for.
        sleep(Duration::from_millis(200)).await;
        member.consumer.seek(&partition, to).unwrap();
        stage.proxy.release();
        let expected = match to {
            SeekTo::Offset(offset) => offset,
            SeekTo::Beginning => 0,
            _ => {
                until(&[&member], || member.consumer.position(&partition).is_some()).await;
                write(&stage, &[0], 1).await;
                20
            }
        };
        until(&[&member], || !member.read(&partition).is_empty()).await;
        let read = member.read(&partition);
        assert_contiguous(&read, expected, read.len());
        member.close().await;
    }
    stage.strike().await;
}

/// F11: the answer to a fetch is on its way while its partition goes to another member, and is still on its way when it comes
/// back. Reading goes on where the other one has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn what_was_fetched_before_a_partition_went_is_not_handed_out_when_it_has_come_back() {
    for protocol in BOTH_PROTOCOLS {
        let stage = Stage::set(&Cluster::from_env().unwrap(), &format!("went-{protocol:?}")).await;
        let group = Group::of(&stage, protocol);
        write(&stage, &[0, 1], 3).await;
        let partitions: Vec<_> = (0..PARTITIONS).map(|number| stage.partition(number)).collect();
        let member = Member::new(group.builder(&stage.proxied, "member").fetch_max_wait(WAIT));
        let has_read = |count| partitions.iter().all(|partition| member.read(partition).len() == count);
        until(&[&member], || has_read(3)).await;
        member.commit().await;

        let mut leaders = BTreeSet::new();
        for partition in &partitions {
            leaders.insert(stage.observer().leader(partition).await);
        }
        assert_eq!(leaders.len(), partitions.len(), "the two are asked for together");
        // Whoever waits for records is answered with one, and asks again: that answer is held.
        stage.proxy.rule(ApiKey::Fetch, Act::HoldReply, leaders.len());
        write(&stage, &[0, 1], 1).await;
        until(&[&member], || has_read(4)).await;
        within(stage.proxy.until_met(leaders.len())).await;
        member.commit().await;
        write(&stage, &[0, 1], 4).await;
        let other = Member::new(group.builder(&stage.direct, "other"));
        until(&[&member, &other], || member.count() == 1 && other.count() == 1).await;
        let gone = other.only();
        until(&[&other], || other.read(&gone).len() == 4).await;
        assert_contiguous(&other.read(&gone), 4, 4);
        // It wants some of them to be read again.
        let again = Position { offset: 2, leader_epoch: None };
        within(other.consumer.commit_offsets([(gone.clone(), again)])).await.unwrap();
        other.close().await;
        until(&[&member], || member.count() == 2).await;
        assert!(has_read(4), "the answers are held");
        stage.proxy.release();
        write(&stage, &[0, 1], 2).await;
        let others = partitions.iter().find(|partition| **partition != gone).unwrap();
        let is_done = || member.read(&gone).last() == Some(&9) && member.read(others).last() == Some(&9);
        until(&[&member], is_done).await;
        assert_contiguous(&member.read(&gone)[..4], 0, 4);
        assert_contiguous(&member.read(&gone)[4..], 2, 8);
        assert_contiguous(&member.read(others), 0, 10);
        member.close().await;
        stage.strike().await;
    }
}
