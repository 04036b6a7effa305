//! As a member of a group: what is committed, and where the next one goes on.

use std::time::Duration;

use milena::Record;
use milena_embedded_broker::{EmbeddedBroker, core::BrokerId};

use super::{Running, consume, lines, orders, refused, text, transaction, value, write, written};

const GROUP: [&str; 4] = ["orders", "-G", "readers", "-e"];

fn committed(broker: &EmbeddedBroker, partition: i32) -> Option<i64> {
    broker.with_cluster(|cluster, _| cluster.committed("readers", "orders", partition).map(|it| it.offset))
}

fn members(broker: &EmbeddedBroker) -> usize {
    broker.with_cluster(|cluster, _| cluster.assignments("readers").len())
}

fn with<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&GROUP[..], arguments].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_stopped() {
    let broker = written(0..5).await;
    assert_eq!(lines(&broker, &with(&["--from", "beginning"])).await, ["0", "1", "2", "3", "4"]);
    assert_eq!((committed(&broker, 0), members(&broker)), (Some(5), 0));
    assert!(lines(&broker, &GROUP).await.is_empty(), "all is read");
    write(&broker, [value("5"), value("6")]).await;
    for from in [&[][..], &["--from", "stored"], &["--from", "beginning"], &["--from", "end"]] {
        let next = lines(&broker, &[&["orders", "-G", "readers", "-c", "1"], from].concat()).await;
        let written = committed(&broker, 0).unwrap() - 1;
        assert_eq!(next, [written.to_string()], "{from:?}");
        write(&broker, [value(&(written + 2).to_string())]).await;
    }
}

/// A count, and the end as it was, are what is committed, however much was fetched.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_written_is_not_committed() {
    let broker = orders(2).await;
    let records =
        (0..2000).map(|number| Record::new("orders").partition(number % 2).value(number.to_string()));
    write(&broker, records).await;
    let first = lines(&broker, &["orders", "-G", "readers", "--from", "beginning", "-c", "777"]).await;
    assert_eq!(first.len(), 777);
    let sum = |broker: &_| committed(broker, 0).unwrap_or(0) + committed(broker, 1).unwrap_or(0);
    assert_eq!(sum(&broker), 777);
    let until = lines(&broker, &["orders", "-G", "readers", "--from", "beginning", "--until", "900"]).await;
    assert_eq!((committed(&broker, 0), committed(&broker, 1)), (Some(900), Some(900)));
    let rest = lines(&broker, &GROUP).await;
    let mut all: Vec<u32> =
        [first, until, rest].concat().iter().map(|number| number.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..2000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_a_commit_is_told_of() {
    let broker = written(0..5).await;
    for from in [&[][..], &["--from", "stored"]] {
        assert_eq!(
            refused(&broker, &with(from)).await,
            "milena: the group readers has committed nothing for orders-0\n\
             try: --from beginning or --from end says where to start where nothing is committed\n"
        );
    }
}

/// What is written between two runs is not missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_starts_at_the_end_goes_on_there() {
    let broker = written(0..5).await;
    assert!(lines(&broker, &with(&["--from", "end"])).await.is_empty());
    assert_eq!(committed(&broker, 0), Some(5));
    write(&broker, [value("5")]).await;
    assert_eq!(lines(&broker, &with(&["--from", "end"])).await, ["5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_offset_that_is_gone_is_told_of_with_the_range() {
    let broker = written(0..5).await;
    assert_eq!(lines(&broker, &["orders", "-G", "readers", "-o", "beginning", "-c", "1"]).await, ["0"]);
    let client = milena::Client::connect(broker.bootstrap()).await.unwrap();
    let before = [(milena::TopicPartition::new("orders", 0), Some(3))];
    assert!(client.admin().delete_records(before).await.into_values().all(|result| result.is_ok()));
    client.shutdown();
    let output = consume(&broker, &GROUP).await;
    assert_eq!(
        (output.status.code(), text(&output.stderr).as_str()),
        (
            Some(1),
            "milena: the group readers goes on at offset 1 of orders-0, which is not in the log, which goes from 3 to 5\n\
             try: `milena offsets reset readers` sets where it goes on\n"
        )
    );
    assert_eq!(members(&broker), 0, "the group is left");
}

/// Marks and aborted records at the end are passed over, and committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_committed_records_comes_to_its_end() {
    let broker = orders(1).await;
    transaction(&broker, ["a"], true).await;
    transaction(&broker, ["gone"], false).await;
    let arguments = with(&["--from", "beginning", "--isolation", "read_committed"]);
    assert_eq!(lines(&broker, &arguments).await, ["a"]);
    assert!(committed(&broker, 0) >= Some(2), "{:?}", committed(&broker, 0));
    assert!(lines(&broker, &arguments).await.is_empty());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_commits_what_is_written_and_leaves_the_group() {
    for name in ["-INT", "-TERM"] {
        let broker = written(0..3).await;
        let mut running = Running::start(&broker, &["orders", "-G", "readers", "--from", "beginning"]);
        for number in 0..3 {
            assert_eq!(running.line().await.unwrap(), number.to_string());
        }
        let begun = std::time::Instant::now();
        running.signal(name).await;
        assert_eq!(running.end().await, (Some(0), String::new()));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!((committed(&broker, 0), members(&broker)), (Some(3), 0));
    }
}

/// What is written is committed while the command runs, too: one that is killed costs little.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_committed_soon() {
    let broker = written(0..3).await;
    drop(committed_and_running(&broker).await);
}

/// A member that has written and committed three records, and goes on.
async fn committed_and_running(broker: &EmbeddedBroker) -> Running {
    let mut running = Running::start(broker, &["orders", "-G", "readers", "--from", "beginning"]);
    for _ in 0..3 {
        running.line().await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(20), async {
        while committed(broker, 0) != Some(3) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    running
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_does_not_hold_an_interrupt_up() {
    let broker = written(0..3).await;
    let running = committed_and_running(&broker).await;
    // So that the last outcome was waited for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    broker.pause_broker(BrokerId(1));
    let begun = std::time::Instant::now();
    running.signal("-TERM").await;
    let said = "milena: the group was not left within 5s; it notices by the session timeout\n";
    assert_eq!(running.end().await, (Some(0), said.into()));
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

/// Nobody has read what a pipe refused: it is not committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_leaves_what_it_has_not_seen() {
    let broker = orders(1).await;
    write(&broker, (0..50_000).map(|number| value(&format!("{number:050}")))).await;
    let mut running = Running::start(&broker, &["orders", "-G", "readers", "--from", "beginning"]);
    running.line().await.unwrap();
    assert_eq!(running.end_unread().await, (Some(0), String::new()));
    assert!(committed(&broker, 0).unwrap_or(0) < 50_000, "{:?}", committed(&broker, 0));
    assert_eq!(members(&broker), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_partitions() {
    let broker = orders(2).await;
    let arguments = ["orders", "-G", "readers", "--from", "beginning", "-f", r"%p\n"];
    let mut pair = [Running::start(&broker, &arguments), Running::start(&broker, &arguments)];
    tokio::time::timeout(super::PATIENCE, async {
        let owned = |broker: &EmbeddedBroker| {
            broker.with_cluster(|cluster, _| {
                cluster.assignments("readers").into_values().map(|it| it.len()).collect::<Vec<usize>>()
            })
        };
        while owned(&broker) != vec![1usize, 1] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    write(&broker, (0..2).map(|partition| Record::new("orders").partition(partition).value("v"))).await;
    let [first, second] = &mut pair;
    let mut seen = [first.line().await.unwrap(), second.line().await.unwrap()];
    seen.sort_unstable();
    assert_eq!(seen, ["0", "1"]);
}
