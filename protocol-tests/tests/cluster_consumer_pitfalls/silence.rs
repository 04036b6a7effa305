//! Applications that are busy for long.

use std::time::Duration;

use milena::{CommitError, GroupProtocol, Position};
use protocol_tests::{
    cluster::Cluster,
    stage::{Stage, within},
};
use tokio::time::{Instant, sleep};

use crate::group::{Group, Member, Told, until, write};

/// When the group gives up a member that is not heard of.
const SESSION: Duration = Duration::from_secs(2);
/// How long the application may be busy.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Less than that, and more than a session.
const SLOW: Duration = Duration::from_secs(3);

/// G8: an application that works for longer than a session stays what it was: somebody else says that it is alive. One that
/// does not come back has lost everything after the time that it has, in the middle of a rebalance or not: others get it, and
/// what it commits afterwards is refused.
async fn a_busy_application(protocol: GroupProtocol) {
    let stage = Stage::set(&Cluster::from_env().unwrap(), &format!("busy-{protocol:?}")).await;
    let group = Group::of(&stage, protocol);
    if protocol == GroupProtocol::Consumer {
        let session = SESSION.as_millis().to_string();
        let settings =
            [("consumer.session.timeout.ms", &*session), ("consumer.heartbeat.interval.ms", "300")];
        stage.observer().set_group(&group.id, &settings).await;
    }
    write(&stage, &[0, 1], 10).await;
    let builder = group.builder(&stage.direct, "busy").max_poll_interval(POLL_INTERVAL).max_poll_records(2);
    let busy = match protocol {
        GroupProtocol::Classic => Member::new(builder.session_timeout(SESSION)),
        _ => Member::new(builder),
    };
    until(&[&busy], || busy.count() == 2).await;
    let partition = stage.partition(0);
    until(&[&busy], || !busy.read(&partition).is_empty()).await;
    let (epoch, me) = (busy.epoch(), busy.consumer.group_metadata());
    sleep(SLOW).await;
    within(busy.consumer.commit()).await.unwrap();
    busy.poll().await;
    assert_eq!((busy.epoch(), busy.consumer.group_metadata()), (epoch, me), "{protocol:?}");
    assert_eq!(group.told_to("busy"), [(Told::Assigned, vec![0, 1])]);

    let begin = Instant::now();
    let position = busy.consumer.position(&partition).unwrap();
    within(busy.consumer.commit()).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    // It is waited for while this one joins.
    let heir = Member::new(group.builder(&stage.direct, "heir"));
    until(&[&heir], || heir.count() == 2).await;
    assert!(begin.elapsed() > POLL_INTERVAL - Duration::from_millis(500), "{:?}", begin.elapsed());
    assert_eq!(busy.consumer.assignment(), []);
    let late = [(partition.clone(), Position { offset: 10, leader_epoch: None })];
    let refused = CommitError::NotAssigned { partition: partition.clone() };
    assert_eq!(within(busy.consumer.commit_offsets(late)).await, Err(refused));
    until(&[&heir], || !heir.read(&partition).is_empty()).await;
    assert_eq!(heir.read(&partition)[0], position.offset, "{protocol:?}");
    assert_eq!(heir.committed(&partition).await, Some(position.offset));

    // It comes back, hears of it and gets its share.
    until(&[&busy, &heir], || busy.count() == 1 && heir.count() == 1).await;
    until(&[&busy], || group.told_to("busy").len() == 3).await;
    let told = group.told_to("busy");
    assert_eq!(told[1..], [(Told::Lost, vec![0, 1]), (Told::Assigned, vec![busy.only().partition])]);
    for member in [busy, heir] {
        member.close().await;
    }
    stage.strike().await;
}

/// G8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn a_busy_application_keeps_its_partitions_as_long_as_it_may() {
    tokio::join!(a_busy_application(GroupProtocol::Classic), a_busy_application(GroupProtocol::Consumer));
}
