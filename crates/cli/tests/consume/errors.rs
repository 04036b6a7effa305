//! What can't begin, and what is said of it.

use milena_embedded_broker::EmbeddedBroker;

use super::{Running, refused, value, write, written};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_begin_ends_with_2_and_says_what_to_do() {
    let broker = EmbeddedBroker::builder().topic("orders", 2).topic("order", 1).start().await.unwrap();
    write(&broker, [value("0"), value("1"), value("2")]).await;
    for (arguments, complaint) in [
        (&["ordesr"][..], "milena: the cluster has no topic ordesr\ntry: one that is close to it: order"),
        (
            &["x"],
            "milena: the cluster has no topic x\ntry: `milena topics list` tells which ones there are\n",
        ),
        (
            &["orders", "-p", "2"],
            "milena: the topic orders has no partition 2\ntry: --partition from 0 to 1\n",
        ),
        (
            &["orders", "-p", "0", "-o", "4"],
            "milena: offset 4 of orders-0 is not in the log, which goes from 0 to 3\n\
             try: --from beginning, or from 0 to 3; with --partition for this one alone\n",
        ),
        (
            &["orders", "-o", "2"],
            "milena: offset 2 of orders-1 is not in the log, which goes from 0 to 0\n\
             try: --from 0, where the next record will be; the partition has no records\n",
        ),
        (
            &["orders", "-o", "stored"],
            "milena: --from stored needs a group that has committed something\ntry: name it with --group, or",
        ),
        (
            &["orders", "-G", "readers", "--from", "-5"],
            "milena: a group goes on where it has committed, and not elsewhere\n\
             try: `milena offsets reset readers --to WHERE` sets where that is; --from beginning and",
        ),
        (
            &["orders", "-o", "noon"],
            "`noon` is none of beginning, end, stored, an offset, -N, @MS, 15m (ago)",
        ),
        (&["orders", "--until", "end"], "`end` is none of an offset, @MS, 15m (ago) and a time like"),
        (&["orders", "--until", "9999-01-01T00:00:00Z"], "a time to come can't be waited for"),
        (&["orders", "-f", "%x"], "`%x` is none of %t (topic), %p (partition), %o (offset), %T (timestamp)"),
        (&["orders", "-f", "%"], "a single `%` at the end is none of %t (topic)"),
        (&["orders", "-f", r"%s\y"], r"`\y` begins with none of \n \r \t \0 \\ and \x"),
        (&["orders", "-D", ""], "a delimiter has at least a byte"),
        (&["orders", "-c", "0"], "0 is not in"),
        (&["orders", "-p", "-1"], "-1"),
        (&["orders", "--isolation", "serializable"], "possible values: read_uncommitted, read_committed"),
        (&[], "<TOPIC>"),
        (&["orders", "-p", "0", "-G", "readers"], "cannot be used with"),
        (&["orders", "--json", "-f", "%s"], "cannot be used with"),
        (&["orders", "--json", "-K", ":"], "cannot be used with"),
        (&["orders", "--json", "-Z"], "cannot be used with"),
        (&["orders", "--json", "--null-value", "x"], "cannot be used with"),
        (&["orders", "--json", "-D", ";"], "cannot be used with"),
        (&["orders", "-f", "%s", "-K", ":"], "cannot be used with"),
        (&["orders", "-f", "%s", "-D", ";"], "cannot be used with"),
        (&["orders", "-Z", "--null-value", "x"], "cannot be used with"),
    ] {
        let said = refused(&broker, arguments).await;
        assert!(said.contains(complaint), "{arguments:?}: {said}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_told_of() {
    for (bootstrap, complaint) in [
        (
            "127.0.0.1:1",
            "\ntry: start a broker with `milena broker`, or name another one with --bootstrap; `milena doctor -b 127.0.0.1:1` tells",
        ),
        ("localhost", "`localhost` has no port"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_milena"));
        let output = command.args(["consume", "-b", bootstrap, "orders"]).output().unwrap();
        let said = super::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(complaint), "{said}");
    }
}

/// It is told once, whoever reads it; what is written to another topic of that name is read.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_it_is_read_is_told_of() {
    for arguments in
        [&["orders", "payments"][..], &["orders", "payments", "-G", "readers", "-o", "beginning"]]
    {
        let broker = written(0..1).await;
        let client = milena::Client::connect(broker.bootstrap()).await.unwrap();
        client.admin().create_topic(milena::NewTopic::new("payments")).await.unwrap();
        let mut running = Running::start(&broker, arguments);
        assert_eq!(running.line().await.as_deref(), Some("0"));
        client.admin().delete_topic("orders").await.unwrap();
        let said = running.complaint().await;
        assert_eq!(
            said,
            "milena: the topic orders was deleted: nothing comes until there is another of that name"
        );
        // The other one is read all the same.
        write(&broker, [milena::Record::new("payments").value("paid")]).await;
        assert_eq!(running.line().await.as_deref(), Some("paid"));
        running.signal("-INT").await;
        assert_eq!(running.end().await, (Some(0), String::new()), "{arguments:?}");
        client.shutdown();
    }
}
