//! Services of each pattern on the real cluster, killed at twenty random moments each: nothing is lost, what can't be handled is
//! in the dead letter topic, order is kept where it is promised, and exactly once is exactly once.
//!
//! `MILENA_SEED` decides when they are killed, `MILENA_KILLS` how often.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]
#![allow(clippy::print_stdout, reason = "what a run met is its result")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    process::Stdio,
    time::Duration,
};

use milena::{
    AutoOffsetReset, Client, ConsumedRecord, IsolationLevel, NewTopic, OffsetSpec, Record, TopicPartition,
};
use protocol_tests::cluster::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

const PARTITIONS: i32 = 3;
const KEYS: u64 = 30;
const KILLS: u64 = 20;
/// Records that come between two kills.
const RECORDS: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A pattern under test.
struct Trial {
    client: Client,
    bootstrap: String,
    pattern: &'static str,
    topic: String,
    to: String,
}

impl Trial {
    async fn begin(bootstrap: &str, pattern: &'static str, seed: u64) -> Self {
        let client = Client::connect(bootstrap.to_owned()).await.unwrap();
        let topic = format!("{pattern}-{seed:x}");
        let trial =
            Self { client, bootstrap: bootstrap.to_owned(), pattern, to: format!("{topic}-done"), topic };
        let suffixes: &[&str] = match pattern {
            "retries" => &["", "-done", ".dlq", ".retry-1", ".retry-2", ".retry-3"],
            _ => &["", "-done", ".dlq"],
        };
        for suffix in suffixes {
            let topic = NewTopic::new(format!("{}{suffix}", trial.topic)).partitions(PARTITIONS);
            trial.client.admin().create_topic(topic).await.unwrap();
        }
        trial
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        command.args(["--bootstrap", &self.bootstrap, "--pattern", self.pattern]);
        command.args(["--topic", &self.topic, "--to", &self.to]);
        command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    }

    /// Records keep coming, and the service is killed and started again.
    async fn kill(&self, kills: u64, mut random: fastrand::Rng) {
        let producer = self.client.producer().build().unwrap();
        for kill in 0..kills {
            let mut service = self.start();
            let numbers = kill * RECORDS..(kill + 1) * RECORDS;
            let records = numbers.map(|number| {
                let record = Record::new(self.topic.as_str()).key(format!("key-{}", number % KEYS));
                record.value(number.to_string())
            });
            producer.enqueue_all(records).await.unwrap().all().await.unwrap();
            sleep(Duration::from_millis(random.u64(100..1_500))).await;
            assert!(service.try_wait().unwrap().is_none(), "{} has ended by itself", self.pattern);
            service.kill().await.unwrap();
        }
    }

    /// The last one does what is left, and ends when it is asked to.
    async fn finish(&self, total: u64) -> BTreeMap<u64, usize> {
        let mut service = self.start();
        let begun = Instant::now();
        let counts = loop {
            let counts = self.counts().await;
            let missing: Vec<_> = (0..total).filter(|number| !counts.contains_key(number)).collect();
            if missing.is_empty() && self.lag().await == 0 {
                break counts;
            }
            if begun.elapsed() > PATIENCE {
                service.kill().await.unwrap();
                let output = service.wait_with_output().await.unwrap();
                panic!(
                    "{}: {missing:?} are missing: {}",
                    self.pattern,
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            sleep(Duration::from_millis(500)).await;
        };
        let pid = service.id().and_then(|pid| Pid::from_raw(pid.try_into().unwrap())).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let output = timeout(PATIENCE, service.wait_with_output()).await.expect("a farewell hangs").unwrap();
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        assert!(output.status.success(), "{}: {words}", self.pattern);
        println!("{}: the last one: {words}", self.pattern);
        counts
    }

    /// How often each number is done or a dead letter.
    async fn counts(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for topic in [self.to.clone(), format!("{}.dlq", self.topic)] {
            for record in self.read(&topic).await {
                *counts.entry(number(&record)).or_default() += 1;
            }
        }
        counts
    }

    async fn lag(&self) -> i64 {
        let lag = self.client.admin().group_lag(self.topic.as_str()).await.unwrap();
        lag.into_iter().filter_map(|partition| partition.lag()).sum()
    }

    /// All committed records of a topic.
    async fn read(&self, topic: &str) -> Vec<ConsumedRecord> {
        let partitions = || (0..PARTITIONS).map(|partition| TopicPartition::new(topic.to_owned(), partition));
        let wanted = partitions().map(|partition| (partition, OffsetSpec::Latest));
        let ends = self.client.admin().list_offsets(wanted, IsolationLevel::ReadCommitted).await;
        let ends: BTreeMap<_, _> = ends
            .into_iter()
            .map(|(partition, listed)| (partition, listed.unwrap().offset.unwrap_or_default()))
            .filter(|(_, end)| *end > 0)
            .collect();
        let consumer = self.client.consumer_without_group().assign(ends.keys().cloned());
        let consumer = consumer.isolation_level(IsolationLevel::ReadCommitted);
        let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
        let mut read = Vec::new();
        let is_open = |(partition, end): (&TopicPartition, &i64)| {
            consumer.position(partition).is_none_or(|position| position.offset < *end)
        };
        timeout(PATIENCE, async {
            while ends.iter().any(is_open) {
                let records = consumer.poll(Duration::from_millis(100)).await.unwrap().unwrap();
                read.extend(records.iter().map(|record| record.to_record()));
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{topic} can't be read to its end"));
        read
    }
}

fn number(record: &ConsumedRecord) -> u64 {
    std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap()
}

const fn is_bad(number: u64) -> bool {
    number % 50 == 49
}

async fn trial(bootstrap: String, pattern: &'static str, seed: u64, kills: u64) {
    let trial = Trial::begin(&bootstrap, pattern, seed).await;
    let random = fastrand::Rng::with_seed(seed ^ pattern.len() as u64);
    trial.kill(kills, random).await;
    let total = kills * RECORDS;
    let counts = trial.finish(total).await;
    assert_eq!(counts.len() as u64, total, "{pattern}: numbers that nobody sent");
    let again: usize = counts.values().map(|count| count - 1).sum();
    println!("{pattern}: {total} records, {kills} kills, {again} done again");
    if pattern == "exactly-once" {
        assert_eq!(
            again,
            0,
            "more than once: {:?}",
            counts.iter().filter(|(_, count)| **count > 1).collect::<Vec<_>>()
        );
    }
    let dead: BTreeSet<u64> = trial.read(&format!("{}.dlq", trial.topic)).await.iter().map(number).collect();
    assert!(dead.iter().copied().eq((0..total).filter(|number| is_bad(*number))), "{pattern}: {dead:?}");
    // A record that is read again comes again, with those behind it: the first of each keep the order of their key.
    let mut firsts: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in trial.read(&trial.to).await {
        if seen.insert(number(&record)) {
            firsts.entry(record.key().cloned()).or_default().push(number(&record));
        }
    }
    for (key, numbers) in firsts {
        assert!(numbers.is_sorted(), "{pattern}: {key:?}: {numbers:?}");
    }
}

/// PATTERNS rows 6, 8, 9 and 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn killed_at_random_moments_no_pattern_loses_a_record() {
    let bootstrap = Cluster::from_env().unwrap().bootstrap;
    let seed = setting("MILENA_SEED", fastrand::u64(1..1 << 32));
    let kills = setting("MILENA_KILLS", KILLS);
    println!("MILENA_SEED={seed} MILENA_KILLS={kills}");
    let patterns = ["at-least-once", "by-key", "batches", "retries", "exactly-once"];
    let trials = patterns.map(|pattern| tokio::spawn(trial(bootstrap.clone(), pattern, seed, kills)));
    for trial in trials {
        trial.await.unwrap();
    }
}

/// Letters that come between two kills: several transactions.
const LETTERS: u64 = 2_000;
const REDRIVE_KILLS: u64 = 10;

impl Trial {
    async fn write_letters(&self, numbers: std::ops::Range<u64>) {
        let letters = numbers.map(|number| {
            let letter = Record::new(format!("{}.dlq", self.topic)).key(format!("key-{}", number % KEYS));
            letter.value(number.to_string()).header("milena.origin.topic", "elsewhere").header("mine", "kept")
        });
        let producer = self.client.producer().build().unwrap();
        producer.enqueue_all(letters).await.unwrap().all().await.unwrap();
    }

    /// Lets it run to its end. Where the one before was killed, its transaction is aborted first.
    async fn redriven(&self) {
        let output = timeout(PATIENCE, self.start().wait_with_output()).await.expect("it hangs").unwrap();
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        assert!(output.status.success(), "{words}");
        println!("redrive: the last one: {words}");
    }
}

/// PATTERNS row 10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster"]
async fn killed_at_random_moments_a_redrive_sends_each_letter_back_once() {
    let bootstrap = Cluster::from_env().unwrap().bootstrap;
    let seed = setting("MILENA_SEED", fastrand::u64(1..1 << 32));
    let kills = setting("MILENA_KILLS", REDRIVE_KILLS);
    println!("MILENA_SEED={seed} MILENA_KILLS={kills}");
    let trial = Trial::begin(&bootstrap, "redrive", seed).await;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cut_short = 0;
    for kill in 0..kills {
        trial.write_letters(kill * LETTERS..(kill + 1) * LETTERS).await;
        let mut redrive = trial.start();
        sleep(Duration::from_millis(random.u64(50..700))).await;
        cut_short += u64::from(redrive.try_wait().unwrap().is_none());
        redrive.kill().await.unwrap();
    }
    trial.redriven().await;
    let total = kills * LETTERS;
    println!("redrive: {total} letters, {kills} kills, {cut_short} of them before it was done");
    assert!(cut_short > 0);
    let mut counts = BTreeMap::<_, usize>::new();
    for record in trial.read(&trial.to).await {
        let names: Vec<_> = record.headers().into_iter().map(|header| header.name.to_vec()).collect();
        assert_eq!(names, [b"mine".to_vec()]);
        *counts.entry(number(&record)).or_default() += 1;
    }
    let missing: Vec<_> = (0..total).filter(|number| !counts.contains_key(number)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing");
    let again: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(again.is_empty(), "more than once: {again:?}");
    assert_eq!(trial.read(&format!("{}.dlq", trial.topic)).await.len() as u64, total, "letters stay");
}
