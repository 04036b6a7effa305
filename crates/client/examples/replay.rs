//! Orders are read again: by new groups from the beginning, from a time and from an offset, and by a group whose offsets are
//! set back to a time, after a dry run that tells what would change.
//!
//! ```sh
//! cargo run -p milena --example replay                                # a broker in this process
//! cargo run -p milena --example replay -- --bootstrap localhost:9092  # a cluster
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use milena::{
    Admin, AutoOffsetReset, Client, IsolationLevel, NewTopic, OffsetSpec, Position, RebalanceContext,
    RebalanceListener, Record, SeekTo, TopicPartition,
};
use milena_embedded_broker::EmbeddedBroker;

/// One in a second, the last one a second ago.
const ORDERS: i64 = 600;
const SECOND: i64 = 1_000;
const PARTITIONS: i32 = 3;
/// What is read again by time: the orders of the last two minutes.
const RECENT: i64 = 120;
/// What is read again by offset: all but so many of each partition.
const LEFT_OUT: i64 = 50;
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;
/// An offset for each partition.
type Offsets = BTreeMap<TopicPartition, i64>;

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
        _ => return Err("usage: replay [--bootstrap HOST:PORT]".into()),
    };
    let client = Client::connect(bootstrap).await?;
    tokio::time::timeout(PATIENCE, run(client)).await.map_err(|_| format!("not done after {PATIENCE:?}"))?
}

async fn run(client: Client) -> Outcome<()> {
    // A run of its own: another one's records are not counted.
    let run = std::process::id();
    let topic = format!("orders-{run}");
    client.admin().create_topic(NewTopic::new(topic.as_str()).partitions(PARTITIONS)).await?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let recently = now - RECENT * SECOND;
    write(&client, &topic, now).await?;

    let admin = client.admin();
    let ends = offsets(&admin, &topic, OffsetSpec::Latest).await?;
    let behind_offset = ends.values().map(|end| (end - LEFT_OUT).max(0)).sum();
    let group = |name: &str| format!("audit-from-{}-{run}", name.replace(' ', "-"));
    let mut is_right = true;
    for (name, start, expected) in [
        ("the beginning", SeekTo::Beginning, ORDERS),
        ("a time", SeekTo::Timestamp(recently), RECENT),
        ("an offset", SeekTo::Offset(LEFT_OUT), behind_offset),
    ] {
        let read = read(&client, &group(name), &topic, &ends, start).await?;
        println!("a new group from {name}: {read} orders");
        is_right &= read == expected;
    }

    // Once more what the first group has read, by the same group.
    let group = group("the beginning");
    let mut plan = offsets(&admin, &topic, OffsetSpec::AtOrAfter(recently)).await?;
    for (partition, end) in &ends {
        // Where every order is older nothing is read again.
        plan.entry(partition.clone()).or_insert(*end);
    }
    let again = dry_run(&admin, &group, &plan).await?;
    println!("the dry run: {again} orders would be read again");
    let resets = plan
        .into_iter()
        .map(|(partition, offset)| (partition, Position { offset, leader_epoch: None }.into()));
    for (partition, result) in admin.alter_group_offsets(group.as_str(), resets).await? {
        result.map_err(|error| format!("{partition} is not set back: {error}"))?;
    }
    // Where the group is to start without an offset plays no part any more.
    let read = read(&client, &group, &topic, &ends, SeekTo::Beginning).await?;
    println!("the first group after its reset: {read} orders");
    is_right &= read == again && again == RECENT;
    if is_right { Ok(()) } else { Err("the count is off".into()) }
}

async fn write(client: &Client, topic: &str, now: i64) -> Outcome<()> {
    let orders = (0..ORDERS).map(|number| {
        let made = now - (ORDERS - number) * SECOND;
        Record::new(topic).key(format!("cust-{}", number % 50)).value(number.to_string()).timestamp(made)
    });
    let producer = client.producer().build()?;
    for sent in producer.send_all(orders).await {
        sent?;
    }
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// The offset that is looked for in each partition; a partition that has none is not in it.
async fn offsets(admin: &Admin, topic: &str, spec: OffsetSpec) -> Outcome<Offsets> {
    let wanted = (0..PARTITIONS).map(|partition| (TopicPartition::new(topic, partition), spec));
    let mut offsets = Offsets::new();
    for (partition, found) in admin.list_offsets(wanted, IsolationLevel::ReadUncommitted).await {
        offsets.extend(found?.offset.map(|offset| (partition, offset)));
    }
    Ok(offsets)
}

/// Tells what a reset would change, and changes nothing. How many orders would be read again.
async fn dry_run(admin: &Admin, group: &str, plan: &Offsets) -> Outcome<i64> {
    let committed = admin.group_offsets(group).await?;
    let mut again = 0;
    for (partition, to) in plan {
        let Some(from) = committed.get(partition) else { continue };
        let from = from.as_ref().map_err(Clone::clone)?.position.offset;
        println!("{partition}: from offset {from} to {to}");
        again += from - to;
    }
    Ok(again)
}

/// Where a group begins in partitions that it has committed nothing of. In those that it has it goes on, be it after a restart
/// or because another member has left them.
struct Begins(SeekTo);

impl RebalanceListener for Begins {
    async fn assigned(&self, context: &RebalanceContext, partitions: &[TopicPartition]) {
        let committed = match context.committed(partitions.iter().cloned()).await {
            Ok(committed) => committed,
            // They are left to auto_offset_reset, which says where they begin, or that it is not known.
            Err(error) => return println!("where the group is in {partitions:?} is not known: {error}"),
        };
        for partition in partitions.iter().filter(|partition| !committed.contains_key(*partition)) {
            if let Err(error) = context.seek(partition, self.0) {
                println!("{error}");
            }
        }
    }
}

/// Reads up to `ends` as a group, commits and leaves it. How many orders there were.
async fn read(client: &Client, group: &str, topic: &str, ends: &Offsets, start: SeekTo) -> Outcome<i64> {
    let consumer = client
        .consumer(group)
        .subscribe([topic])
        // Nothing is read from anywhere that the listener has not chosen.
        .auto_offset_reset(AutoOffsetReset::None)
        .rebalance_listener(Begins(start))
        .build()?;
    let mut read = 0;
    let is_there = |(partition, end): (&TopicPartition, &i64)| {
        consumer.position(partition).is_some_and(|position| position.offset >= *end)
    };
    while !ends.iter().all(is_there) {
        let records = consumer.poll(Duration::from_secs(1)).await?.ok_or("the consumer is closed")?;
        read += i64::try_from(records.len())?;
    }
    consumer.commit().await?;
    consumer.close(Duration::from_secs(10)).await?;
    Ok(read)
}
