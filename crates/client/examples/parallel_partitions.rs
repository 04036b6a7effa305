//! E-mails by two members of a group. What a poll brings is handed to a task for each partition, so that a slow partition
//! holds up no other; a partition waits until its task is done, which keeps its order and bounds what is in hand. Only
//! what a task has finished is committed, and a partition that moves to another member is given up when its task is done.
//!
//! ```sh
//! cargo run -p milena --example parallel_partitions                                # a broker in this process
//! cargo run -p milena --example parallel_partitions -- --bootstrap localhost:9092  # a cluster
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use milena::{
    AutoOffsetReset, Client, Consumer, NewTopic, PartitionRecords, Position, Producer, RebalanceContext,
    RebalanceListener, Record, TopicPartition,
};
use milena_embedded_broker::EmbeddedBroker;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

const PARTITIONS: usize = 6;
/// So many are written at a time: before the second member joins, and while it does.
const ROUND: usize = 600;
/// What one call to the mail server takes, and how many e-mails.
const CALL: Duration = Duration::from_millis(5);
const CHUNK: usize = 10;
const BACKOFF: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let embedded;
    let bootstrap = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--bootstrap", bootstrap] => bootstrap.to_owned(),
        [] => {
            // On a cluster it takes some seconds until partitions move.
            let quick = Duration::from_millis(200);
            let brokers = EmbeddedBroker::builder().brokers(3);
            embedded = brokers.configure(|config| config.consumer_heartbeat_interval = quick).start().await?;
            embedded.bootstrap()
        }
        _ => return Err("usage: parallel_partitions [--bootstrap HOST:PORT]".into()),
    };
    let client = Client::connect(bootstrap).await?;
    timeout(PATIENCE, run(client)).await.map_err(|_| format!("not done after {PATIENCE:?}"))?
}

async fn run(client: Client) -> Outcome<()> {
    // A run of its own: another one's records are not counted.
    let topic = format!("emails-{}", std::process::id());
    let group = format!("mailers-{}", std::process::id());
    client.admin().create_topic(NewTopic::new(topic.as_str()).partitions(PARTITIONS as i32)).await?;
    let server = Arc::new(MailServer::default());
    let join = |member| {
        let in_hand = InHand::default();
        let consumer = client
            .consumer(group.as_str())
            .subscribe([topic.as_str()])
            .auto_offset_reset(AutoOffsetReset::Earliest)
            .session_timeout(Duration::from_secs(60))
            .fetch_max_wait(Duration::from_secs(1))
            .max_poll_records(200)
            .rebalance_listener(in_hand.clone())
            .build();
        consumer.map(|consumer| {
            let mailer = Mailer { member, consumer: consumer.clone(), server: Arc::clone(&server) };
            (consumer, tokio::spawn(work(mailer, in_hand)))
        })
    };

    let producer = client.producer().build()?;
    let (first, first_works) = join("the first")?;
    write(&producer, &topic, 2 * ROUND).await?;
    let mut written = 2 * ROUND;
    server.has_sent(ROUND).await;
    let (second, second_works) = join("the second")?;
    // Partitions move while there is work in hand.
    while server.state().by_member.get("the second").is_none_or(|sent| *sent < ROUND) {
        if written - server.state().sent() < 2 * ROUND {
            write(&producer, &topic, ROUND).await?;
            written += ROUND;
        }
        sleep(CALL).await;
    }
    server.has_sent(written).await;
    producer.close(PATIENCE).await?;
    first.close(PATIENCE).await?;
    second.close(PATIENCE).await?;
    first_works.await??;
    second_works.await??;

    let lags = client.admin().group_lag(group.as_str()).await?;
    let State { offsets, by_member, refused, most_at_once, .. } = &*server.state();
    let in_order = |sent: &[i64], end: i64| sent.iter().copied().eq(0..end);
    let right = lags.iter().filter(|lag| {
        let sent = offsets.get(&lag.partition.partition).map_or(&[][..], Vec::as_slice);
        matches!(lag.end, Ok(end) if in_order(sent, end)) && lag.lag() == Some(0)
    });
    let right = right.count();
    println!("{written} e-mails: {by_member:?}; {refused} calls were refused and tried again");
    println!("{right} of {PARTITIONS} partitions in order, each e-mail once, all committed");
    println!("speed-up: up to {most_at_once} calls at once; one by one it would be 1");
    let is_right = right == PARTITIONS && by_member.len() == 2 && *most_at_once > 1;
    if is_right { Ok(()) } else { Err("the count is off".into()) }
}

async fn write(producer: &Producer, topic: &str, count: usize) -> Outcome<()> {
    let email = |number: usize| Record::new(topic).partition((number % PARTITIONS) as i32).value("Welcome!");
    for sent in producer.send_all((0..count).map(email)).await {
        sent?;
    }
    Ok(())
}

/// The tasks, each with what its partition has in hand: never more than one poll has brought.
#[derive(Clone, Default)]
struct InHand(Arc<Mutex<BTreeMap<TopicPartition, JoinHandle<()>>>>);

impl RebalanceListener for InHand {
    /// What is in hand is finished and committed before another member gets the partitions.
    async fn revoked(&self, _: &RebalanceContext, partitions: &[TopicPartition]) {
        for partition in partitions {
            let task = self.tasks().remove(partition);
            if let Some(task) = task
                && let Err(error) = task.await
            {
                println!("what {partition} had in hand is done again by another member: {error}");
            }
        }
    }

    /// Another member does it again already.
    async fn lost(&self, _: &RebalanceContext, partitions: &[TopicPartition]) {
        for task in partitions.iter().filter_map(|partition| self.tasks().remove(partition)) {
            task.abort();
        }
    }
}

impl InHand {
    fn tasks(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands out until the consumer is closed.
async fn work(mailer: Mailer, in_hand: InHand) -> Outcome<()> {
    while let Some(records) = mailer.consumer.poll(Duration::from_secs(1)).await? {
        let finished: Vec<_> = in_hand.tasks().extract_if(.., |_, task| task.is_finished()).collect();
        for (_, task) in finished {
            // A panic in a task is one here, or its partition would wait for ever.
            task.await?;
        }
        for records in records.partitions().iter().cloned() {
            let partition = records.partition().clone();
            // The others go on. One that is lost already is another member's.
            if mailer.consumer.pause(&partition).is_ok() {
                let task = tokio::spawn(mailer.clone().send(records));
                in_hand.tasks().insert(partition, task);
            }
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Mailer {
    member: &'static str,
    consumer: Consumer,
    server: Arc<MailServer>,
}

impl Mailer {
    /// Sends the e-mails of a partition chunk by chunk, and commits each chunk that is sent.
    async fn send(self, records: PartitionRecords) {
        let partition = records.partition();
        let emails: Vec<_> = records.iter().map(|record| record.offset()).collect();
        for chunk in emails.chunks(CHUNK) {
            while self.server.send(self.member, partition.partition, chunk).await.is_err() {
                sleep(BACKOFF).await;
            }
            let behind = match chunk.last() {
                Some(last) if chunk.last() != emails.last() => {
                    Position { offset: last + 1, leader_epoch: None }
                }
                _ => records.next_position(),
            };
            // The next commit says the same and more; what nobody commits is done again.
            if let Err(error) = self.consumer.commit_offsets([(partition.clone(), behind)]).await {
                println!("not committed: {error}");
            }
        }
        // It is gone if the listener has waited for this.
        let _ = self.consumer.resume(partition);
    }
}

/// What sends e-mails, and counts. It is busy at every tenth call, and then sends none of them.
#[derive(Default)]
struct MailServer(Mutex<State>);

#[derive(Default)]
struct State {
    /// The offsets of what was sent of each partition, in the order of sending.
    offsets: BTreeMap<i32, Vec<i64>>,
    by_member: BTreeMap<&'static str, usize>,
    calls: usize,
    refused: usize,
    at_once: usize,
    most_at_once: usize,
}

impl State {
    fn sent(&self) -> usize {
        self.offsets.values().map(Vec::len).sum()
    }
}

impl MailServer {
    async fn send(&self, member: &'static str, partition: i32, emails: &[i64]) -> Result<(), &'static str> {
        let is_busy = {
            let state = &mut *self.state();
            state.calls += 1;
            state.at_once += 1;
            state.most_at_once = state.most_at_once.max(state.at_once);
            state.calls.is_multiple_of(10)
        };
        sleep(CALL).await;
        let state = &mut *self.state();
        state.at_once -= 1;
        if is_busy {
            state.refused += 1;
            return Err("try again later");
        }
        *state.by_member.entry(member).or_default() += emails.len();
        state.offsets.entry(partition).or_default().extend(emails);
        Ok(())
    }

    async fn has_sent(&self, emails: usize) {
        while self.state().sent() < emails {
            sleep(CALL).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
