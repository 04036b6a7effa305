//! A group on the real cluster whose members are killed, frozen for less and for longer than their session, sent away and
//! joined by others, at random, while records keep coming: every record is processed, nothing is committed before it is,
//! nothing that is committed is processed again, and no partition has two owners. By both protocols.
//!
//! `MILENA_RECORDS` is how many records there are, `MILENA_SECONDS` for how long members come and go, `MILENA_SEED` what
//! happens to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]
#![allow(clippy::print_stdout, reason = "what a run met is its result")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use milena::{Client, IsolationLevel, NewTopic, OffsetSpec, Record, TopicPartition};
use protocol_tests::{
    cluster::Cluster,
    group_ledger::{Journal, Totals, check},
    observer::Observer,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

const PARTITIONS: i32 = 12;
const RECORDS: u64 = 100_000;
const SECONDS: u64 = 60;
/// Members at the start, and at least and at most.
const MEMBERS: usize = 5;
const FEWEST: usize = 3;
const MOST: usize = 7;
/// When the group gives up a member that is not heard of: a classic one says it, for KIP-848 the brokers of the cluster do.
const CLASSIC_SESSION: Duration = Duration::from_secs(6);
const CONSUMER_SESSION: Duration = Duration::from_secs(10);
/// How long a member that changes the protocol takes to be followed by the next.
const SLOWLY: Duration = Duration::from_secs(4);
/// How long the group may take to process what is left.
const PATIENCE: Duration = Duration::from_secs(180);

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// What is done to members, and how often.
#[derive(Debug, Default)]
struct Faults {
    killed: usize,
    frozen_briefly: usize,
    frozen_for_long: usize,
    sent_away: usize,
    added: usize,
}

/// The group's processes, and everything that they have written down.
struct Group {
    words: Vec<String>,
    /// The protocol of those that join from here on.
    classic: bool,
    folder: PathBuf,
    live: Vec<Child>,
    started: usize,
    faults: Faults,
}

impl Group {
    fn add(&mut self) {
        let journal = self.folder.join(self.started.to_string());
        self.started += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_member"));
        command.args(&self.words).arg("--session").arg(self.session().as_millis().to_string());
        command.args(self.classic.then_some("--classic")).arg("--journal").arg(journal);
        self.live.push(command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap());
    }

    const fn session(&self) -> Duration {
        if self.classic { CLASSIC_SESSION } else { CONSUMER_SESSION }
    }

    fn signal(&self, member: usize, signal: Signal) {
        let pid = self.live[member].id().and_then(|pid| Pid::from_raw(pid.try_into().unwrap()));
        kill_process(pid.expect("a member that lives"), signal).unwrap();
    }

    /// One thing happens to one member.
    async fn strike(&mut self, random: &mut fastrand::Rng) {
        let member = random.usize(0..self.live.len());
        match random.u8(0..10) {
            0..3 => {
                self.live.swap_remove(member).kill().await.unwrap();
                self.faults.killed += 1;
                // It comes back, at once or when others have its partitions.
                sleep(Duration::from_millis(if random.bool() { 0 } else { random.u64(0..10_000) })).await;
                self.add();
            }
            3..5 => {
                self.freeze(member, self.session().mul_f64(random.f64() / 2.0)).await;
                self.faults.frozen_briefly += 1;
            }
            5..7 => {
                self.freeze(member, self.session().mul_f64(1.0 + random.f64())).await;
                self.faults.frozen_for_long += 1;
            }
            7..9 if self.live.len() > FEWEST => {
                self.send_away(member).await;
                self.faults.sent_away += 1;
            }
            _ if self.live.len() < MOST => {
                self.add();
                self.faults.added += 1;
            }
            _ => {}
        }
    }

    async fn freeze(&self, member: usize, outage: Duration) {
        self.signal(member, Signal::STOP);
        sleep(outage).await;
        self.signal(member, Signal::CONT);
    }

    async fn send_away(&mut self, member: usize) {
        self.signal(member, Signal::TERM);
        let mut leaving = self.live.swap_remove(member);
        let status = timeout(PATIENCE, leaving.wait()).await.expect("a farewell hangs").unwrap();
        assert!(status.success(), "{status}");
    }

    async fn replace_oldest(&mut self) {
        self.live.rotate_left(1);
        self.send_away(self.live.len() - 1).await;
    }

    fn journals(&self) -> Vec<Journal> {
        let read =
            |number: usize| fs::read_to_string(self.folder.join(number.to_string())).unwrap_or_default();
        (0..self.started).map(|number| Journal::parse(&read(number)).unwrap()).collect()
    }

    /// Fails when a member has ended by itself.
    fn assert_alive(&mut self) {
        for member in &mut self.live {
            assert_eq!(member.try_wait().unwrap(), None, "a member has given up");
        }
    }
}

/// Writes the records at a steady pace.
async fn write(client: Client, topic: String, records: u64, over: Duration) {
    let producer = client.producer().delivery_timeout(PATIENCE).build().unwrap();
    let begin = Instant::now();
    let mut deliveries = Vec::new();
    for number in 0..records {
        let partition = (number % PARTITIONS.unsigned_abs() as u64) as i32;
        let record = Record::new(topic.as_str()).partition(partition).value(format!("letter {number}"));
        deliveries.push(producer.enqueue(record).await.unwrap());
        if deliveries.len() == 500 {
            for delivery in deliveries.drain(..) {
                delivery.await.unwrap();
            }
            sleep_until(begin + over.mul_f64(number as f64 / records as f64)).await;
        }
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
}

/// A group, the records it reads, and what it is held to.
struct Run {
    client: Client,
    name: String,
    group: Group,
    records: u64,
    over: Duration,
    begin: Instant,
}

impl Run {
    async fn begin(name: &str, classic: bool, records: u64, over: Duration) -> Self {
        let cluster = Cluster::from_env().unwrap();
        let client = Client::connect(cluster.bootstrap.as_str()).await.unwrap();
        let name = format!("{name}-{}", std::process::id());
        client.admin().create_topic(NewTopic::new(name.as_str()).partitions(PARTITIONS)).await.unwrap();
        Observer::new(&cluster.bootstrap).await_whole(std::slice::from_ref(&name)).await;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        fs::create_dir(&folder).unwrap();
        let words = ["--bootstrap", &cluster.bootstrap, "--group", &name, "--topic", &name];
        let words = words.map(str::to_owned).into();
        let mut group =
            Group { words, classic, folder, live: Vec::new(), started: 0, faults: Faults::default() };
        (0..MEMBERS).for_each(|_| group.add());
        Self { client, name, group, records, over, begin: Instant::now() }
    }

    fn write(&self) -> JoinHandle<()> {
        tokio::spawn(write(self.client.clone(), self.name.clone(), self.records, self.over))
    }

    /// The group comes to rest, and everything is held against everything.
    async fn end(self, what: &str) {
        let Self { client, name, mut group, records, begin, .. } = self;
        let partitions = (0..PARTITIONS).map(|number| TopicPartition::new(name.as_str(), number));
        let wanted = partitions.map(|partition| (partition, OffsetSpec::Latest));
        let listed = client.admin().list_offsets(wanted, IsolationLevel::ReadUncommitted).await;
        let ends: BTreeMap<_, _> = listed
            .into_iter()
            .map(|(partition, listed)| (partition.partition, listed.unwrap().offset.expect("an end")))
            .collect();
        assert_eq!(ends.values().sum::<i64>() as u64, records);
        // Whoever is left reads to the end and commits it, what a member that was killed had processed and not committed included.
        let deadline = Instant::now() + PATIENCE;
        while committed(&client, &name).await != ends && Instant::now() < deadline {
            sleep(Duration::from_millis(500)).await;
            group.assert_alive();
        }
        while !group.live.is_empty() {
            group.send_away(0).await;
        }
        let (defects, totals) = check(&group.journals(), &ends);
        report(&group, totals, begin.elapsed());
        assert_eq!(defects, [], "{what}, journals in {}", group.folder.display());
        assert_eq!(committed(&client, &name).await, ends);
        client.admin().delete_topic(name.as_str()).await.unwrap();
        fs::remove_dir_all(&group.folder).unwrap();
    }
}

async fn members_come_and_go(name: &str, classic: bool) {
    let over = Duration::from_secs(setting("MILENA_SECONDS", SECONDS));
    let seed = setting("MILENA_SEED", fastrand::u64(..));
    println!("seed {seed}");
    let mut run = Run::begin(name, classic, setting("MILENA_RECORDS", RECORDS), over).await;
    let writing = run.write();
    let mut random = fastrand::Rng::with_seed(seed);
    while run.begin.elapsed() < over {
        sleep(Duration::from_millis(random.u64(0..6_000))).await;
        run.group.assert_alive();
        run.group.strike(&mut random).await;
    }
    writing.await.unwrap();
    let Faults { killed, frozen_briefly, frozen_for_long, sent_away, added } = &run.group.faults;
    assert!(killed + frozen_briefly + frozen_for_long + sent_away + added > 0, "nothing happened");
    run.end(&format!("seed {seed}")).await;
}

/// What the group has committed, by partition.
async fn committed(client: &Client, group: &str) -> BTreeMap<i32, i64> {
    let offsets = client.admin().group_offsets(group).await.unwrap();
    let offset = |(partition, committed): (TopicPartition, Result<milena::OffsetAndMetadata, _>)| {
        (partition.partition, committed.unwrap().position.offset)
    };
    offsets.into_iter().map(offset).collect()
}

fn report(group: &Group, totals: Totals, took: Duration) {
    let Totals { handled, again, commits, assignments } = totals;
    println!(
        "{handled} records processed in {:.0} s, {again} of them again; {commits} commits; partitions came {assignments} \
         times to {} processes; {:?}",
        took.as_secs_f64(),
        group.started,
        group.faults,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_group_of_the_consumer_protocol_keeps_its_promises_while_members_come_and_go() {
    members_come_and_go("members-consumer", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_classic_group_keeps_its_promises_while_members_come_and_go() {
    members_come_and_go("members-classic", true).await;
}

/// A classic group becomes one of KIP-848 member by member, and a classic one again, while it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the cluster, and minutes"]
async fn a_group_keeps_its_promises_while_its_members_change_the_protocol() {
    let mut run = Run::begin("members-upgrade", true, 20_000, SLOWLY * 2 * MEMBERS as u32).await;
    let writing = run.write();
    for classic in [false, true] {
        run.group.classic = classic;
        for _ in 0..MEMBERS {
            sleep(SLOWLY).await;
            run.group.assert_alive();
            run.group.add();
            run.group.replace_oldest().await;
        }
    }
    writing.await.unwrap();
    run.end("an upgrade and back").await;
}
