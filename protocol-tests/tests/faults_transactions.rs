//! A process that writes transactions is killed in the middle of them, again and again, while its brokers are killed too:
//! no transaction is torn, nothing aborted is seen, nothing committed is lost, and readers get to the end, as our
//! consumer and Java's find alike.
//!
//! `MILENA_RECORDS` is how many records the transactions have together, about.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]
#![allow(clippy::print_stdout, reason = "what a run met is its result")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use milena::{Client, IsolationLevel, NewTopic, TopicPartition};
use protocol_tests::{
    cluster::Cluster,
    nemesis::{Fault, Nemesis},
    observer::{Observer, PATIENCE, difference, java_reads, we_read},
    transaction_ledger::{Journal, PARTITIONS, Plan, Step},
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

const RECORDS: u64 = 20_000;
/// Most records of a transaction; half of it on average. In a long run there are more: a commit takes as long for many, and
/// what is to be seen are transactions, of which there are some hundred then, too.
const SIZE: u64 = 60;
const SIZE_IN_A_LONG_RUN: u64 = 4_000;
/// How many transactions the last life has at least.
const LAST: u64 = 20;
/// How long the process lives before it is killed, at most.
const LIFE: Duration = Duration::from_secs(5);

/// The process, and how it is started.
struct Transactor {
    command: Vec<String>,
    journal: PathBuf,
}

/// Where kills have met the process.
#[derive(Debug, Default)]
struct Kills {
    /// In a transaction whose commit nobody had asked for.
    in_the_middle: usize,
    /// While it waited for a commit.
    at_the_commit: usize,
    elsewhere: usize,
}

impl Transactor {
    /// Starts the process, to end by itself before this transaction.
    fn start(&self, until: u64) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transactor"));
        command.args(&self.command).args(["--until", &until.to_string()]);
        command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap()
    }

    fn journal(&self) -> Journal {
        Journal::parse(&fs::read_to_string(&self.journal).unwrap_or_default()).unwrap()
    }

    /// Kills the process (SIGKILL) and starts it anew, for ever.
    async fn live_and_die(&self, kills: &mut Kills) {
        let mut random = fastrand::Rng::new();
        loop {
            let mut child = self.start(u64::MAX);
            let begin = Instant::now();
            let before = self.journal().next();
            let life = LIFE.mul_f64(random.f64());
            // A life in which nothing is written proves nothing: its coordinator may be away.
            while begin.elapsed() < PATIENCE && (begin.elapsed() < life || self.journal().next() == before) {
                assert_eq!(child.try_wait().unwrap(), None, "the process has given up");
                sleep(Duration::from_millis(random.u64(1..200))).await;
            }
            child.kill().await.unwrap();
            match self.journal().steps.last_key_value() {
                Some((_, Step::Begun)) => kills.in_the_middle += 1,
                Some((_, Step::Committing | Step::Unknown)) => kills.at_the_commit += 1,
                _ => kills.elsewhere += 1,
            }
        }
    }

    /// The last life, to its end.
    async fn finish(&self) {
        let mut child = self.start(self.journal().next() + LAST);
        let status = timeout(PATIENCE, child.wait()).await.expect("the last life hangs").unwrap();
        assert!(status.success(), "{status}");
    }
}

/// Kills and freezes leaders and the coordinator, once each, and again until so many transactions have been.
async fn break_brokers(nemesis: &mut Nemesis, id: &str, topics: &[String], is_done: impl Fn() -> bool) {
    loop {
        let coordinator = nemesis.observer().coordinator(id).await;
        nemesis.strike(Fault::Kill, coordinator, Duration::from_secs(2)).await;
        println!("coordinator: {}", nemesis.past().last().unwrap());
        for (fault, topic, outage) in [(Fault::Kill, 0, 7), (Fault::Pause, 1, 9)] {
            let leader = nemesis.observer().leader(&TopicPartition::new(topics[topic].as_str(), 0)).await;
            nemesis.strike(fault, leader, Duration::from_secs(outage)).await;
            println!("leader: {}", nemesis.past().last().unwrap());
        }
        let coordinator = nemesis.observer().coordinator(id).await;
        nemesis.strike(Fault::Pause, coordinator, Duration::from_secs(4)).await;
        println!("coordinator: {}", nemesis.past().last().unwrap());
        if is_done() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn no_transaction_is_torn_though_process_and_brokers_are_killed() {
    let records = env::var("MILENA_RECORDS").map_or(RECORDS, |count| count.parse().unwrap());
    let cluster = Cluster::from_env().unwrap();
    let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
    let name = format!("transactor-{}", std::process::id());
    let topics: Vec<String> =
        ["payment", "order", "accounting"].iter().map(|topic| format!("{topic}-{name}")).collect();
    for topic in &topics {
        client.admin().create_topic(NewTopic::new(topic.as_str()).partitions(PARTITIONS)).await.unwrap();
    }
    let observer = Observer::new(&cluster.bootstrap);
    observer.await_whole(&topics).await;

    let size = (records / 250).clamp(SIZE, SIZE_IN_A_LONG_RUN) as usize;
    let plan = Plan { topics: topics.clone(), size };
    let journal = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.journal"));
    let words = [
        ("--bootstrap", cluster.bootstrap.clone()),
        ("--id", name.clone()),
        ("--journal", journal.to_string_lossy().into_owned()),
        ("--topics", topics.join(",")),
        ("--size", size.to_string()),
    ];
    let command = words.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect();
    let transactor = Transactor { command, journal };
    let written =
        |journal: &Journal| journal.steps.keys().map(|number| plan.places(*number).len() as u64).sum();

    let begin = Instant::now();
    let mut nemesis = Nemesis::new(cluster.clone(), topics.clone());
    let mut kills = Kills::default();
    tokio::select! {
        () = transactor.live_and_die(&mut kills) => {}
        () = break_brokers(&mut nemesis, &name, &topics, || written(&transactor.journal()) >= records) => {}
    }
    transactor.finish().await;
    let journal = transactor.journal();
    report(&journal, &nemesis, &kills, written(&journal), begin.elapsed());
    assert!(written(&journal) >= records && journal.count(Step::Committed) > 0);
    assert!(kills.in_the_middle > 0, "{kills:?}");

    let partitions = topics
        .iter()
        .flat_map(|topic| (0..PARTITIONS).map(move |number| TopicPartition::new(topic.as_str(), number)));
    let ends = observer.await_decided(&partitions.collect::<Vec<_>>()).await;
    let ours = we_read(&client, &ends, IsolationLevel::ReadCommitted).await;
    let java = java_reads(&cluster.bootstrap, &topics, IsolationLevel::ReadCommitted).await;
    assert_eq!(difference(&ours, &java), None);
    assert_eq!(journal.check(&plan, &ours), []);
    assert_eq!(journal.check(&plan, &java), []);
    assert!(ours.values().any(|log| !log.is_empty()));
    for topic in topics {
        client.admin().delete_topic(topic.as_str()).await.unwrap();
    }
    fs::remove_file(&transactor.journal).unwrap();
}

fn report(journal: &Journal, nemesis: &Nemesis, kills: &Kills, written: u64, took: Duration) {
    let of = |fault| nemesis.past().iter().filter(|past| past.fault == fault).count();
    let steps: Vec<_> = [
        Step::Committed,
        Step::Aborted,
        Step::Refused,
        Step::Unknown,
        Step::Committing,
        Step::Begun,
        Step::Aborting,
    ]
    .map(|step| format!("{} {step}", journal.count(step)))
    .into();
    println!(
        "{} transactions of {written} records in {:.1} s, {:.0} records a second: {}; {} times the outcome of a commit \
         was not known; the process was killed: {kills:?}; {} brokers killed, {} frozen",
        journal.steps.len(),
        took.as_secs_f64(),
        written as f64 / took.as_secs_f64(),
        steps.join(", "),
        journal.unknown,
        of(Fault::Kill),
        of(Fault::Pause),
    );
}
