//! The memory of a client, as the allocator sees it. The brokers are another process, and there is one test, so that nothing
//! else allocates meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test states its expectations by unwrapping"
)]

use std::{process::Stdio, time::Duration};

use milena::{AutoOffsetReset, Client, ClientBuilder, Compression, Record};
use peak_alloc::PeakAlloc;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;
/// What the client may take for records.
const BUDGET: usize = 12 * MIB;
/// What is not records: tasks, the buffers of sockets, what compresses, what tells of each delivery.
const BESIDES: usize = 3 * MIB;
const PARTITIONS: i32 = 12;
/// Records of each topic.
const RECORDS: usize = 30_000;
const PATIENCE: Duration = Duration::from_secs(120);

struct Brokers {
    child: Child,
    bootstrap: String,
}

impl Brokers {
    async fn start() -> Self {
        let topics = ["plain", "packed", "copies"].map(|topic| format!("--topic={topic}:{PARTITIONS}"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_milena"))
            .args(["broker", "--port=0", "--brokers=3"])
            .args(topics)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let bootstrap = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        Self { child, bootstrap }
    }

    /// Nothing is answered for so long.
    async fn pause(&self, time: Duration) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        sleep(time).await;
        kill_process(pid, Signal::CONT).unwrap();
    }
}

/// A thousand bytes that do not compress, or that do.
fn value(number: usize, packs: bool) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number as u64);
    (0..1_000).map(|_| if packs { b'x' } else { random.u8(..) }).collect()
}

async fn fill(bootstrap: &str) {
    let client = Client::connect(bootstrap).await.unwrap();
    for (topic, packs) in [("plain", false), ("packed", true)] {
        let codec = if packs { Compression::Lz4 } else { Compression::None };
        let producer = client.producer().batch_size(256 << 10).compression(codec).build().unwrap();
        for number in 0..RECORDS {
            drop(producer.enqueue(Record::new(topic).value(value(number, packs))).await.unwrap());
        }
        producer.flush().await.unwrap();
        producer.close(PATIENCE).await.unwrap();
    }
    client.shutdown();
}

/// Copies both topics while nothing is answered for a while in between: the most that was allocated at a time, on top of what
/// was there before.
async fn copy(brokers: &Brokers, client: ClientBuilder) -> usize {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let client = client.connect().await.unwrap();
    let consumer = client
        .consumer("copier")
        .subscribe(["plain", "packed"])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .build()
        .unwrap();
    let producer = client.producer().batch_size(256 << 10).compression(Compression::Lz4).build().unwrap();
    let mut copied = 0;
    let deadline = Instant::now() + PATIENCE;
    let mut pauses = [RECORDS / 4, RECORDS, RECORDS * 3 / 2].into_iter().peekable();
    while copied < 2 * RECORDS {
        assert!(Instant::now() < deadline, "{copied} copied; {:?}", consumer.explain());
        let records = consumer.poll(Duration::from_secs(1)).await.unwrap().unwrap();
        for record in records.iter() {
            assert_eq!(record.value().map(<[u8]>::len), Some(1_000));
            let copy = Record::new("copies").value(record.value().unwrap().to_vec());
            drop(producer.enqueue(copy).await.unwrap());
            copied += 1;
        }
        if pauses.next_if(|at| *at <= copied).is_some() {
            // What was fetched stays, and what is sent is not acknowledged.
            sleep(Duration::from_millis(300)).await;
            brokers.pause(Duration::from_millis(700)).await;
        }
    }
    producer.flush().await.unwrap();
    consumer.close(PATIENCE).await.unwrap();
    producer.close(PATIENCE).await.unwrap();
    client.shutdown();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_takes_no_more_than_its_memory() {
    let brokers = Brokers::start().await;
    fill(&brokers.bootstrap).await;
    let client = || Client::builder(&brokers.bootstrap);
    let peak = copy(&brokers, client().memory(BUDGET)).await;
    println!("{} KiB with {} KiB of memory", peak / 1024, BUDGET / 1024);
    assert!(peak <= BUDGET + BESIDES, "{peak} bytes with {BUDGET}");
    assert!(peak >= BUDGET / 3, "{peak} bytes: the test asks for too little");
}
