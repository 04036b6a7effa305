//! Where reading ends: `--exit`, `--until`, `--count`, readers that go and interrupts.

use std::time::Duration;

use milena::{Client, Record};
use milena_embedded_broker::core::{Action, Rule};
use milena_protocol::ApiKey;

use super::{Running, consume, lines, orders, text, transaction, value, write, written};

const COMMITTED: [&str; 2] = ["--isolation", "read_committed"];

#[tokio::test(flavor = "multi_thread")]
async fn exit_is_where_each_partition_ended() {
    let broker = orders(3).await;
    assert!(lines(&broker, &["orders", "-e"]).await.is_empty(), "there is nothing");
    write(&broker, (0..4).map(|_| Record::new("orders").partition(1).value("v"))).await;
    assert_eq!(lines(&broker, &["orders", "--exit"]).await.len(), 4, "two are empty");
}

/// The last offsets are no records: marks of transactions, and records of aborted ones.
#[tokio::test(flavor = "multi_thread")]
async fn exit_does_not_wait_for_marks_and_aborted_records() {
    let broker = orders(1).await;
    write(&broker, [value("plain")]).await;
    transaction(&broker, ["a", "b"], true).await;
    let committed = ["plain", "a", "b"];
    assert_eq!(lines(&broker, &["orders", "-e"]).await, committed);
    assert_eq!(lines(&broker, &[&["orders", "-e"], &COMMITTED[..]].concat()).await, committed);
    transaction(&broker, ["gone", "gone too"], false).await;
    assert_eq!(lines(&broker, &["orders", "-e"]).await, ["plain", "a", "b", "gone", "gone too"]);
    assert_eq!(lines(&broker, &[&["orders", "-e"], &COMMITTED[..]].concat()).await, committed);
    // Nothing but aborted records and marks is left.
    for from in ["4", "-3", "-1"] {
        let arguments = [&["orders", "-e", "--from", from], &COMMITTED[..]].concat();
        assert!(lines(&broker, &arguments).await.is_empty(), "{from}");
    }
    transaction(&broker, ["after"], true).await;
    let all = lines(&broker, &[&["orders", "-e"], &COMMITTED[..]].concat()).await;
    assert_eq!(all, ["plain", "a", "b", "after"]);
}

/// Under read_committed a partition ends where the first open transaction begins.
#[tokio::test(flavor = "multi_thread")]
async fn exit_does_not_wait_for_open_transactions() {
    let broker = orders(1).await;
    write(&broker, [value("before")]).await;
    let client = Client::connect(broker.bootstrap()).await.unwrap();
    let mut producer = client.transactional_producer("payments").build().await.unwrap();
    let open = producer.begin().unwrap();
    open.send(value("open")).await.unwrap();
    write(&broker, [value("behind")]).await;
    assert_eq!(lines(&broker, &[&["orders", "-e"], &COMMITTED[..]].concat()).await, ["before"]);
    assert_eq!(lines(&broker, &["orders", "-e"]).await, ["before", "open", "behind"]);
    let mut running = Running::start(&broker, &[&["orders"], &COMMITTED[..]].concat());
    assert_eq!(running.line().await.unwrap(), "before");
    open.commit().await.unwrap();
    assert_eq!(running.line().await.unwrap(), "open");
    assert_eq!(running.line().await.unwrap(), "behind");
    client.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn until_is_an_offset_or_a_time() {
    let broker = written(0..10).await;
    for (arguments, expected) in [
        (&["--until", "3"][..], &["0", "1", "2"][..]),
        (&["--until", "0"], &[]),
        (&["--until", "100", "-e", "--from", "8"], &["8", "9"]),
        (&["--until", "@3000"], &["0", "1"]),
        (&["--until", "e@3001"], &["0", "1", "2"]),
        (&["--from", "@8000", "--until", "1h"], &["7", "8", "9"]),
        (&["--from", "4", "--until", "1970-01-01T00:00:06Z", "-e"], &["4"]),
        (&["--from", "5", "--until", "2"], &[]),
    ] {
        assert_eq!(lines(&broker, &[&["orders"], arguments].concat()).await, expected, "{arguments:?}");
    }
    // What is not there yet is waited for.
    let mut running = Running::start(&broker, &["orders", "--from", "9", "--until", "11"]);
    assert_eq!(running.line().await.unwrap(), "9");
    write(&broker, [value("10"), value("11")]).await;
    assert_eq!(running.line().await.unwrap(), "10");
    assert_eq!(running.line().await, None);
    assert_eq!(running.end().await, (Some(0), String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_is_of_all_partitions() {
    let broker = orders(4).await;
    write(&broker, (0..400).map(|number| Record::new("orders").partition(number % 4).value("v"))).await;
    for count in ["1", "99", "101", "400"] {
        let shown = lines(&broker, &["orders", "--count", count]).await;
        assert_eq!(shown.len().to_string(), count);
    }
    assert_eq!(lines(&broker, &["orders", "-c", "1000", "-e"]).await.len(), 400);
}

/// As `| head -1` does, also when no record follows that would tell.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_is_noticed_when_nothing_comes() {
    let broker = written(0..3).await;
    let mut running = Running::start(&broker, &["orders"]);
    for _ in 0..3 {
        running.line().await.unwrap();
    }
    assert_eq!(running.end_unread().await, (Some(0), String::new()));
}

/// As `| head -1` does, while there is more.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let broker = orders(1).await;
    write(&broker, (0..50_000).map(|number| value(&format!("{number:050}")))).await;
    for arguments in [&["orders"][..], &["orders", "--json"], &["orders", "-e"]] {
        let mut running = Running::start(&broker, arguments);
        running.line().await.unwrap();
        assert_eq!(running.end_unread().await, (Some(0), String::new()), "{arguments:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_can_not_be_written_is_an_error() {
    let broker = written(0..3).await;
    let mut command = super::command(&broker, &["orders", "-e"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).spawn().unwrap().wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("milena: writing to standard output: No space left on device"), "{said}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_it_and_is_an_error_only_before_the_end_that_was_set() {
    let broker = written(0..2).await;
    for (arguments, code) in
        [(&["orders"][..], 0), (&["orders", "-c", "5"], 1), (&["orders", "--until", "5", "-q"], 1)]
    {
        for name in ["-INT", "-TERM"] {
            let mut running = Running::start(&broker, arguments);
            assert_eq!(running.line().await.unwrap(), "0");
            assert_eq!(running.line().await.unwrap(), "1");
            let begun = std::time::Instant::now();
            running.signal(name).await;
            assert_eq!(running.end().await, (Some(code), String::new()), "{arguments:?}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        }
    }
}

/// A pipe that nobody empties holds the command up: the first interrupt gives it time, the second none.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_what_is_held_up() {
    let broker = orders(1).await;
    write(&broker, (0..5_000).map(|_| value(&"x".repeat(100)))).await;
    let mut running = Running::start(&broker, &["orders"]);
    running.line().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.signal("-TERM").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(running.child.try_wait().unwrap().is_none(), "it waits for the reader");
    let begun = std::time::Instant::now();
    running.signal("-TERM").await;
    let status = running.child.wait().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(1));
}

/// A cluster that falls silent does not hold up a script for ever.
#[tokio::test(flavor = "multi_thread")]
async fn exit_does_not_wait_for_ever_for_a_broker_that_hangs() {
    let broker = orders(1).await;
    write(&broker, [value("v")]).await;
    broker.add_fault(Rule::new(ApiKey::Fetch, Action::Ignore).times(u32::MAX));
    let output = consume(&broker, &["orders", "-e", "--timeout", "2"]).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("milena: nothing has come for 2 s, and not all is read: orders-0"), "{said}");
}

/// A reader that is slow holds the brokers up, and not the memory.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_no_memory() {
    let broker = orders(4).await;
    let line = "y".repeat(10_000);
    write(&broker, (0..20_000).map(|number| Record::new("orders").partition(number % 4).value(line.clone())))
        .await;
    let mut running = Running::start(&broker, &["orders", "-e"]);
    running.line().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id().unwrap())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let mut count = 1;
    while running.line().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 20_000);
    assert!(peak < 160 << 10, "{} MiB", peak >> 10);
}
