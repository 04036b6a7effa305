//! `milena topics`, `groups`, `lag` and `offsets` on the real cluster, as a script runs them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{
    process::{Command, Output},
    time::Duration,
};

use milena::{AutoOffsetReset, Client, Consumer, GroupProtocol, Record};
use protocol_tests::{cluster::Cluster, observer::Observer, stage::within};
use serde_json::{Value, json};
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(20);

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The commands, on this cluster.
struct Shell {
    bootstrap: String,
}

impl Shell {
    fn milena(&self, words: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_milena"));
        command.args(words.split(' ')).args(["-b", &self.bootstrap]).output().unwrap()
    }

    /// Runs a command that succeeds: its lines of JSON.
    fn objects(&self, words: &str) -> Vec<Value> {
        let output = self.milena(&format!("{words} --json"));
        assert_eq!(output.status.code(), Some(0), "{words}: {}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs a command that fails before it does anything: what it says.
    fn refused(&self, words: &str) -> String {
        let output = self.milena(words);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{words}: {said}");
        said
    }

    /// The object of a list that tells of this topic or group.
    fn listed(&self, kind: &str, name: &str) -> Option<Value> {
        let all = self.objects(&format!("{kind}s list"));
        all.into_iter().find(|object| object[kind] == name)
    }
}

async fn shell() -> (Shell, Client) {
    let bootstrap = Cluster::from_env().unwrap().bootstrap;
    let client = within(Client::connect(bootstrap.as_str())).await.unwrap();
    (Shell { bootstrap }, client)
}

/// Waits until it is so, for a broker may hear of a change a moment later.
async fn until(is_so: impl Fn() -> bool) {
    within(async {
        while !is_so() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn topics_are_created_described_grown_changed_and_deleted() {
    let (shell, client) = shell().await;
    let topic = format!("commands-topics-{}", std::process::id());
    let created = shell.objects(&format!("topics create {topic} -p 2 -r 3 --set retention.ms=60000"));
    assert_eq!(created, [json!({ "topic": topic, "created": true })]);
    let said = shell.refused(&format!("topics create {topic}"));
    assert!(said.contains("TOPIC_ALREADY_EXISTS"), "{said}");
    Observer::new(&shell.bootstrap).await_whole(std::slice::from_ref(&topic)).await;
    assert_eq!(
        shell.listed("topic", &topic).unwrap(),
        json!({ "topic": topic, "partitions": 2, "replication_factor": 3, "internal": false })
    );
    shell.objects(&format!("topics grow {topic} --partitions 3"));
    let said = shell.refused(&format!("topics grow {topic} --partitions 1"));
    assert!(said.contains("INVALID_PARTITIONS"), "{said}");
    shell.objects(&format!("topics set {topic} cleanup.policy=compact retention.ms="));
    let describe = format!("topics describe {topic}");
    let setting = |value: &str| json!([{ "name": "cleanup.policy", "value": value, "set": true }]);
    let is_changed = || {
        let described = &shell.objects(&describe)[0];
        let partitions = described["partitions"].as_array().unwrap();
        partitions.len() == 3 && described["settings"] == setting("compact")
    };
    until(is_changed).await;
    let shown = text(&shell.milena(&describe).stdout);
    assert!(
        shown.starts_with(&format!("{topic} (")) && shown.ends_with("cleanup.policy=compact\n"),
        "{shown}"
    );
    let said = shell.refused(&format!("topics set {topic} cleanup.policy=shred"));
    assert!(said.contains("INVALID_CONFIG") && said.contains("shred"), "{said}");

    assert_eq!(
        shell.objects(&format!("topics delete {topic}")),
        [json!({ "topic": topic, "deleted": true })]
    );
    until(|| shell.listed("topic", &topic).is_none()).await;
    let said = shell.refused(&format!("topics delete {topic}"));
    assert!(said.starts_with(&format!("milena: the cluster has no topic {topic}\ntry: ")), "{said}");
    client.shutdown();
}

/// A member that has read the ten records and committed them.
async fn reader(client: &Client, topic: &str, group: &str, protocol: GroupProtocol) -> Consumer {
    let builder = client.consumer(group).subscribe([topic]).group_protocol(protocol);
    let consumer = builder.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    let mut read = 0;
    while read < 10 {
        read += within(consumer.poll(SOON)).await.unwrap().unwrap().len();
    }
    within(consumer.commit()).await.unwrap();
    consumer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn groups_are_looked_at_set_back_and_deleted() {
    let (shell, client) = shell().await;
    let topic = format!("commands-groups-{}", std::process::id());
    shell.objects(&format!("topics create {topic} -p 2 -r 3"));
    Observer::new(&shell.bootstrap).await_whole(std::slice::from_ref(&topic)).await;
    let producer = client.producer().build().unwrap();
    let record = |number: i64| Record::new(topic.as_str()).partition(0).value("v").timestamp(1000 * number);
    for result in within(producer.send_all((0..10).map(record))).await {
        result.unwrap();
    }
    for (protocol, word) in [(GroupProtocol::Classic, "classic"), (GroupProtocol::Consumer, "consumer")] {
        let group = format!("{topic}-{word}");
        let reader = reader(&client, &topic, &group, protocol).await;
        watched(&shell, &topic, &group, word);
        within(reader.close(SOON)).await.unwrap();
        set_back(&shell, &topic, &group);
        assert_eq!(
            shell.objects(&format!("groups delete {group}")),
            [json!({ "group": group, "deleted": true })]
        );
        assert_eq!(shell.listed("group", &group), None);
        let said = shell.refused(&format!("lag {group}"));
        assert!(said.starts_with(&format!("milena: the cluster has no group {group}\n")), "{said}");
    }
    shell.objects(&format!("topics delete {topic}"));
    client.shutdown();
}

/// While a member reads, its group is told of, and nothing of it is changed.
fn watched(shell: &Shell, topic: &str, group: &str, word: &str) {
    let listed = shell.listed("group", group).unwrap();
    assert_eq!(
        listed,
        json!({ "group": group, "type": word, "state": "Stable", "protocol_type": "consumer" })
    );
    let described = &shell.objects(&format!("groups describe {group}"))[0];
    let assignment = [0, 1].map(|number| json!({ "topic": topic, "partition": number }));
    assert_eq!(described["members"][0]["assignment"], json!(assignment), "{described}");
    let lags = shell.objects(&format!("lag {group}"));
    assert_eq!(
        (&lags[0]["committed"], &lags[0]["end"], &lags[0]["lag"]),
        (&json!(10), &json!(10), &json!(0))
    );
    assert_eq!(lags[0]["member"], described["members"][0]["member"]);
    let said = shell.refused(&format!("offsets reset {group} --topic {topic} --to earliest"));
    assert!(said.contains("has 1 member,") && said.contains("stop them first"), "{said}");
    assert!(shell.refused(&format!("groups delete {group}")).contains("stop the members"));
}

/// Without members it goes on where it is told to, and a dry run tells where that would be.
fn set_back(shell: &Shell, topic: &str, group: &str) {
    let reset = format!("offsets reset {group} --topic {topic}:0 --to");
    for (to, before, after) in [
        ("earliest", 10, 0),
        ("latest", 0, 10),
        ("@3500", 10, 4),
        ("+100", 4, 10),
        ("-1", 10, 9),
        ("7", 9, 7),
    ] {
        for (dry, is_set) in [(" --dry-run", false), ("", true)] {
            let expected = json!({
                "group": group, "topic": topic, "partition": 0, "before": before, "after": after, "set": is_set,
                "error": null,
            });
            assert_eq!(shell.objects(&format!("{reset} {to}{dry}")), [expected]);
        }
    }
    assert_eq!(shell.objects(&format!("lag {group}"))[0]["lag"], 3);
    let said = shell.refused(&format!("offsets reset {group} --topic {topic}:7 --to 0"));
    assert!(said.contains("no partition 7"), "{said}");
}
