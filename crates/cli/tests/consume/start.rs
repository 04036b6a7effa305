//! Where reading starts: `--from`, `--partition` and several topics.

use milena::{Client, Record};
use milena_embedded_broker::EmbeddedBroker;

use super::{PATIENCE, Running, lines, orders, value, write, written};

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_where_it_is_told_to() {
    let broker = written(0..10).await;
    let all: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    for (from, first) in [
        (&[][..], 0),
        (&["--from", "beginning"], 0),
        (&["-o", "earliest"], 0),
        (&["--from", "end"], 10),
        (&["--from", "latest"], 10),
        (&["--from", "7"], 7),
        (&["--from", "10"], 10),
        (&["--from", "-3"], 7),
        (&["-o", "-3"], 7),
        (&["--from=-0"], 10),
        (&["--from", "-1000"], 0),
        (&["--from", "@5000"], 4),
        (&["--from", "s@5001"], 5),
        (&["--from", "1970-01-01T00:00:09Z"], 8),
        (&["--from", "1h"], 10),
    ] {
        let first = usize::try_from(first).unwrap();
        assert_eq!(lines(&broker, &[&["orders", "-e"], from].concat()).await, all[first..], "{from:?}");
    }
    write(&broker, [value("late").timestamp(now_ms())]).await;
    assert_eq!(lines(&broker, &["orders", "-e", "--from", "1h"]).await, ["late"]);
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

/// What is deleted is not waited for, wherever it is asked to start before that.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_passed_over() {
    let broker = written(0..10).await;
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let before = [(milena::TopicPartition::new("orders", 0), Some(6))];
    assert!(client.admin().delete_records(before).await.into_values().all(|result| result.is_ok()));
    for from in ["beginning", "6", "-5", "@1"] {
        assert_eq!(lines(&broker, &["orders", "-e", "--from", from]).await, ["6", "7", "8", "9"], "{from}");
    }
    client.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_has_its_own_start_and_some_can_be_chosen() {
    let broker = orders(3).await;
    let records = (0..9).map(|number| Record::new("orders").partition(number % 3).value(number.to_string()));
    write(&broker, records).await;
    for (arguments, expected) in [
        (&["orders", "-e"][..], &["0", "1", "2", "3", "4", "5", "6", "7", "8"][..]),
        (&["orders", "-e", "-o", "-1"], &["6", "7", "8"]),
        (&["orders", "-e", "-p", "1"], &["1", "4", "7"]),
        (&["-t", "orders", "-e", "--partition", "0", "--partition", "2", "-o", "2"], &["6", "8"]),
    ] {
        let mut shown = lines(&broker, arguments).await;
        shown.sort_unstable();
        assert_eq!(shown, expected, "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_are_read_together() {
    let broker = EmbeddedBroker::builder().topic("orders", 2).topic("payments", 2).start().await.unwrap();
    let record = |topic: &str, partition| Record::new(topic).partition(partition).value("v");
    write(&broker, [record("orders", 0), record("payments", 1), record("payments", 0)]).await;
    let format = ["-e", "-f", r"%t-%p\n"];
    for topics in [&["orders", "payments", "orders"][..], &["orders", "-t", "payments"]] {
        let mut shown = lines(&broker, &[topics, &format].concat()).await;
        shown.sort_unstable();
        assert_eq!(shown, ["orders-0", "payments-0", "payments-1"], "{topics:?}");
    }
}

/// What is written while the command runs is seen at once, a record at a time.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_seen_when_it_comes() {
    let broker = written(0..3).await;
    let mut running = Running::start(&broker, &["orders", "--from", "-1"]);
    assert_eq!(running.line().await.unwrap(), "2");
    for number in 3..8 {
        write(&broker, [value(&number.to_string())]).await;
        let begun = std::time::Instant::now();
        assert_eq!(running.line().await.unwrap(), number.to_string());
        assert!(begun.elapsed() < PATIENCE / 10, "{:?}", begun.elapsed());
    }
}
