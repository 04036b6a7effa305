//! Orders are handled at least once. The offset of an order is committed only after its handler has succeeded; one that fails
//! for now is tried again in its place, while its partition waits and the others go on. An instance that dies leaves
//! nothing behind but orders that come again, and one that is told to end (Ctrl-C, SIGTERM) finishes what it has in hand,
//! commits and leaves its group.
//!
//! ```sh
//! cargo run -p milena --example at_least_once                                # a broker in this process
//! cargo run -p milena --example at_least_once -- --bootstrap localhost:9092  # a cluster
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use milena::{
    AutoOffsetReset, Client, Consumer, NewTopic, PartitionRecords, Position, Record, TopicPartition,
};
use milena_embedded_broker::EmbeddedBroker;
use rustix::process::{Signal, getpid, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

const ORDERS: u32 = 2_000;
const PARTITIONS: i32 = 4;
/// So many are handled when the first instance dies, and when the second one is told to end. The third one ends at the end.
const DIES_AFTER: usize = 700;
const ENDS_AFTER: usize = 1_400;

/// How long an order waits until it is tried again.
const BACKOFF: Duration = Duration::from_millis(50);
/// What an instance that is told to end has for the work in its hands, and for leaving the group after that.
const GRACE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let embedded;
    let bootstrap = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--bootstrap", bootstrap] => bootstrap.to_owned(),
        [] => {
            embedded = EmbeddedBroker::builder().brokers(3).start().await?;
            embedded.bootstrap()
        }
        _ => return Err("usage: at_least_once [--bootstrap HOST:PORT]".into()),
    };
    let client = Client::connect(bootstrap).await?;
    timeout(PATIENCE, run(client)).await.map_err(|_| format!("not done after {PATIENCE:?}"))?
}

async fn run(client: Client) -> Outcome<()> {
    // A run of its own: another one's records are not counted.
    let topic = format!("orders-{}", std::process::id());
    let group = format!("warehouse-{}", std::process::id());
    client.admin().create_topic(NewTopic::new(topic.as_str()).partitions(PARTITIONS)).await?;
    let orders = (0..ORDERS).map(|number| {
        Record::new(topic.as_str()).key(format!("cust-{}", number % 50)).value(number.to_string())
    });
    let producer = client.producer().build()?;
    for sent in producer.send_all(orders).await {
        sent?;
    }
    producer.close(GRACE).await?;

    let warehouse = Arc::new(Warehouse::default());
    let settings = client
        .consumer(group.as_str())
        .subscribe([topic.as_str()])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        // Heartbeats go on in the background, however long an order takes.
        .session_timeout(Duration::from_secs(30))
        .heartbeat_interval(Duration::from_secs(3))
        // At most so many come again after a crash.
        .max_poll_records(50);
    let mut uncommitted = 0;
    for until in [DIES_AFTER, ENDS_AFTER, ORDERS as usize] {
        let consumer = settings.clone().build()?;
        let mut instance = tokio::spawn(serve(consumer, Arc::clone(&warehouse)));
        tokio::select! {
            ended = &mut instance => { ended??; return Err("an instance has ended too early".into()) }
            () = warehouse.has_handled(until) => {}
        }
        let dies = until == DIES_AFTER;
        if dies {
            // Like a panic: nothing of it runs any more, and its partitions go to others.
            instance.abort();
        } else {
            kill_process(getpid(), Signal::TERM)?;
            instance.await??;
        }
        let handled = warehouse.0.borrow().times.len();
        let committed = committed(&client, &group).await?;
        let how = if dies { "died" } else { "was told to end" };
        println!("an instance {how}: {handled} orders handled so far, {committed} of them committed");
        if dies {
            uncommitted = handled.checked_sub(committed).ok_or("what was not handled is committed")?;
        } else if handled != committed {
            return Err("what was handled is not committed".into());
        }
    }

    let State { times, failed, meanwhile } = &*warehouse.0.borrow();
    let tries: u32 = failed.values().sum();
    println!("{tries} tries failed; {meanwhile} orders were handled while another one waited");
    let lost = (0..ORDERS).filter(|number| !times.contains_key(number)).count();
    let twice = times.values().filter(|times| **times == 2).count();
    println!("{} orders handled, {lost} lost, {twice} again after the crash", times.len());
    let more = times.values().any(|times| *times > 2);
    let is_right = lost == 0 && twice > 0 && twice == uncommitted && !more && *meanwhile > 0;
    if is_right { Ok(()) } else { Err("the count is off".into()) }
}

/// How many orders are behind the group, in partitions that begin at 0.
async fn committed(client: &Client, group: &str) -> Outcome<usize> {
    let mut sum = 0;
    for committed in client.admin().group_offsets(group).await?.into_values() {
        sum += usize::try_from(committed?.position.offset)?;
    }
    Ok(sum)
}

/// An instance of the service: it works until it is told to end, and then has [`GRACE`].
async fn serve(consumer: Consumer, warehouse: Arc<Warehouse>) -> Outcome<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (stop, stopping) = watch::channel(false);
    let mut service = Service { consumer: consumer.clone(), warehouse, waiting: BTreeMap::new() };
    let mut work = std::pin::pin!(service.work(stopping));
    tokio::select! {
        // It ends by itself only with an error.
        ended = &mut work => return ended,
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stop.send_replace(true);
    let deadline = Instant::now() + GRACE;
    match timeout_at(deadline - GRACE / 2, work).await {
        Ok(ended) => ended?,
        Err(_) => println!("what was in hand took too long: another instance does it again"),
    }
    consumer.close(deadline - Instant::now()).await?;
    Ok(())
}

struct Service {
    consumer: Consumer,
    warehouse: Arc<Warehouse>,
    /// Partitions that are paused because an order has failed.
    waiting: BTreeMap<TopicPartition, Rest>,
}

/// What is left of what a poll has brought of a partition, the order that has failed first.
struct Rest {
    records: PartitionRecords,
    done: usize,
    due: Instant,
}

impl Service {
    /// Takes nothing new when `stopping`, and returns when what it has in hand is done. Orders that wait for another try are
    /// left to another instance.
    async fn work(&mut self, mut stopping: watch::Receiver<bool>) -> Outcome<()> {
        loop {
            self.retry_what_is_due().await?;
            let next_due = self.waiting.values().map(|rest| rest.due).min();
            let wait = next_due.map_or(Duration::from_secs(1), |due| due.duration_since(Instant::now()));
            let records = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
                records = self.consumer.poll(wait) => records?.ok_or("the consumer is closed")?,
            };
            for records in records.partitions() {
                self.work_off(records.clone(), 0).await?;
            }
        }
    }

    async fn retry_what_is_due(&mut self) -> Outcome<()> {
        let now = Instant::now();
        let due: Vec<_> = self.waiting.extract_if(.., |_, rest| rest.due <= now).collect();
        for (partition, Rest { records, done, .. }) in due {
            // A pause ends when the partition moves to another instance: the orders are that one's.
            if self.consumer.is_paused(&partition) {
                self.consumer.resume(&partition)?;
                self.work_off(records, done).await?;
            }
        }
        Ok(())
    }

    /// Handles a partition's orders in their order and commits those that succeeded. The first that fails is where it goes on
    /// after a while: none is left out. Orders that never succeed belong in a topic for dead letters.
    async fn work_off(&mut self, records: PartitionRecords, done: usize) -> Outcome<()> {
        let partition = records.partition().clone();
        let mut behind = records.next_position();
        for (index, record) in records.iter().enumerate().skip(done) {
            let order = std::str::from_utf8(record.value().ok_or("an order without a value")?)?.parse()?;
            let Err(error) = self.warehouse.handle(order, !self.waiting.is_empty()).await else { continue };
            tracing::warn!(order, error, "an order has to wait");
            behind = Position { offset: record.offset(), leader_epoch: None };
            // Nothing new comes of the partition until then; the others go on.
            if self.consumer.pause(&partition).is_ok() {
                let rest = Rest { records: records.clone(), done: index, due: Instant::now() + BACKOFF };
                self.waiting.insert(partition.clone(), rest);
            }
            break;
        }
        // What is not committed is so with the next orders of the partition, or done again by whichever instance has it then.
        if let Err(error) = self.consumer.commit_offsets([(partition, behind)]).await {
            println!("not committed: {error}");
        }
        Ok(())
    }
}

/// What handles orders, and counts.
#[derive(Default)]
struct Warehouse(watch::Sender<State>);

#[derive(Default)]
struct State {
    /// How often each order was handled.
    times: BTreeMap<u32, u32>,
    /// How many tries of an order have failed.
    failed: BTreeMap<u32, u32>,
    /// Orders that were handled while another one waited.
    meanwhile: u32,
}

impl Warehouse {
    async fn handle(&self, order: u32, another_waits: bool) -> Result<(), &'static str> {
        if order.is_multiple_of(4) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (mut fails, mut dies) = (false, false);
        self.0.send_modify(|State { times, failed, meanwhile }| {
            let tries = failed.entry(order).or_default();
            fails = order % 97 == 42 && *tries < 2;
            if fails {
                *tries += 1;
                return;
            }
            let is_new = times.insert(order, times.get(&order).unwrap_or(&0) + 1).is_none();
            dies = is_new && times.len() == DIES_AFTER;
            *meanwhile += u32::from(another_waits);
        });
        if dies {
            // The order is handled, and nobody will hear of it.
            std::future::pending::<()>().await;
        }
        if fails { Err("it is out of stock") } else { Ok(()) }
    }

    async fn has_handled(&self, orders: usize) {
        // It can't be gone while it is borrowed.
        let _ = self.0.subscribe().wait_for(|state| state.times.len() >= orders).await;
    }
}
