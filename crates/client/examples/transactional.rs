//! Payments in transactions. Each request for a payment becomes a payment, a paid order and an entry in the books, in three
//! topics; they and the offset of the request are committed together or not at all. The books fail at every third order:
//! that transaction is aborted, the request is read again, and the second try is committed. At the end another instance of
//! the service starts under the same transactional id, which fences the first.
//!
//! ```sh
//! cargo run -p milena --example transactional                                # a broker in this process
//! cargo run -p milena --example transactional -- --bootstrap localhost:9092  # a cluster
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::{Duration, Instant},
};

use milena::{
    AutoOffsetReset, Client, Consumer, IsolationLevel, NewTopic, Position, Record, Remedy, SeekTo,
    TopicPartition, TransactionalProducer,
};
use milena_embedded_broker::EmbeddedBroker;

const TOPICS: [&str; 3] = ["payment-events", "order-events", "accounting-events"];
const REQUESTS: &str = "payment-requests";
const PAYMENTS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, Box<dyn Error>>;

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
        _ => return Err("usage: transactional [--bootstrap HOST:PORT]".into()),
    };
    let client = Client::connect(bootstrap).await?;
    // A run of its own: another one's records are not counted.
    let run = std::process::id();
    let requests = format!("{REQUESTS}-{run}");
    let topics = TOPICS.map(|topic| format!("{topic}-{run}"));
    for topic in topics.iter().chain([&requests]) {
        client.admin().create_topic(NewTopic::new(topic.as_str())).await?;
    }
    ask_for_payments(&client, &requests).await?;

    // Made of the service and the host: an instance that is started anew fences the one before it.
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "host-1".to_owned());
    let id = format!("payment-service-{host}-{run}");
    let mut producer = client.transactional_producer(id.as_str()).build().await?;
    let consumer = client
        .consumer(format!("payment-service-{run}"))
        .subscribe([requests.as_str()])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .isolation_level(IsolationLevel::ReadCommitted)
        .build()?;
    let aborted = serve(&mut producer, &consumer, &topics).await?;
    println!("{PAYMENTS} payments committed, {aborted} transactions aborted");
    consumer.close(Duration::from_secs(5)).await?;

    let second = fence(&client, producer, &id, &topics).await?;
    second.close(Duration::from_secs(10)).await?;

    // Those of the aborted transactions, and the one that the fenced instance left open.
    let all = [PAYMENTS + aborted + 1, PAYMENTS + aborted, PAYMENTS + aborted];
    let mut is_right = true;
    for (level, whose, expected) in [
        (IsolationLevel::ReadCommitted, "committed records", [PAYMENTS; 3]),
        (IsolationLevel::ReadUncommitted, "all records", all),
    ] {
        let seen = count(&client, &topics, level, expected).await?;
        println!("a reader of {whose} sees {seen:?} payments, orders and entries in the books");
        is_right &= seen == expected;
    }
    if is_right { Ok(()) } else { Err("the count is off".into()) }
}

async fn ask_for_payments(client: &Client, requests: &str) -> Outcome<()> {
    let producer = client.producer().build()?;
    for number in 0..PAYMENTS {
        let record = Record::new(requests).key(format!("order-{number}")).value(r#"{"amount":42.5}"#);
        producer.send(record).await?;
    }
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}

/// Pays until every request is done. How many transactions were aborted.
async fn serve(
    producer: &mut TransactionalProducer,
    consumer: &Consumer,
    topics: &[String; 3],
) -> Outcome<usize> {
    let begun = Instant::now();
    let (mut paid, mut aborted, mut failed) = (0, 0, BTreeSet::new());
    while paid < PAYMENTS {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{paid} payments after {PATIENCE:?}").into());
        }
        let records = consumer.poll(Duration::from_secs(1)).await?.ok_or("the consumer is closed")?;
        for record in records.iter() {
            let order = std::str::from_utf8(record.key().ok_or("a request without its order")?)?;
            let at = TopicPartition::new(record.topic(), record.partition());
            let next = Position { offset: record.offset() + 1, leader_epoch: None };
            // The first try at every third order fails.
            let fails = paid % 3 == 2 && failed.insert(order.to_owned());
            if pay(producer, consumer, topics, order, (at.clone(), next), fails).await? {
                paid += 1;
            } else {
                aborted += 1;
                // The group's offset is where it was: go back to it.
                consumer.seek(&at, SeekTo::Offset(record.offset()))?;
                break;
            }
        }
    }
    Ok(aborted)
}

/// Writes what belongs to a payment, with the offset behind its request. False when it failed: then nobody sees any of it.
async fn pay(
    producer: &mut TransactionalProducer,
    consumer: &Consumer,
    topics: &[String; 3],
    order: &str,
    behind: (TopicPartition, Position),
    fails: bool,
) -> Outcome<bool> {
    let group = consumer.group_metadata().ok_or("not a member of the group")?;
    // Whatever returns early from here on drops the transaction, which aborts it.
    let transaction = producer.begin()?;
    let values =
        [r#"{"status":"paid"}"#, r#"{"status":"confirmed"}"#, r#"{"debit":"cash","credit":"sales"}"#];
    for (topic, value) in topics.iter().zip(values) {
        let record = Record::new(topic.as_str()).key(order.to_owned()).value(value);
        transaction.send(record).await?;
    }
    transaction.send_offsets(&group, [behind]).await?;
    if fails {
        println!("{order}: the books are closed, aborting");
        transaction.abort().await?;
        return Ok(false);
    }
    match transaction.commit().await {
        Ok(()) => {}
        // Neither done nor not done, as far as anybody here knows: the same commit finds out.
        Err(error) if error.remedy() == Remedy::CommitAgain => producer.commit_again().await?,
        // It is not committed, and is aborted or being aborted.
        Err(error) if matches!(error.remedy(), Remedy::Abort | Remedy::Begin) => {
            println!("{order}: {error}");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    println!("{order}: committed");
    Ok(true)
}

/// Starts a second instance while the first has a transaction open, which it then can't commit any more.
async fn fence(
    client: &Client,
    mut first: TransactionalProducer,
    id: &str,
    topics: &[String; 3],
) -> Outcome<TransactionalProducer> {
    let open = first.begin()?;
    open.send(Record::new(topics[0].as_str()).key("order-x").value("of the first instance")).await?;
    let second = client.transactional_producer(id).build().await?;
    match open.commit().await {
        Err(error) if error.remedy() == Remedy::NewProducer => println!("the first instance: {error}"),
        Err(error) => return Err(error.into()),
        Ok(()) => return Err("two instances of one id have both committed".into()),
    }
    Ok(second)
}

/// How many records of each topic a reader sees, until it has seen what is expected and none has come for a second.
async fn count(
    client: &Client,
    topics: &[String; 3],
    level: IsolationLevel,
    expected: [usize; 3],
) -> Outcome<[usize; 3]> {
    let mut partitions = Vec::new();
    for topic in topics {
        let known = client.admin().partition_count(topic.as_str()).await?;
        partitions.extend((0..known).map(|partition| TopicPartition::new(topic.as_str(), partition as i32)));
    }
    let consumer = client.consumer_without_group().assign(partitions).isolation_level(level);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build()?;
    let mut seen = BTreeMap::<String, usize>::new();
    let of_topics = |seen: &BTreeMap<String, usize>| {
        topics.each_ref().map(|topic| seen.get(topic).copied().unwrap_or_default())
    };
    let begun = Instant::now();
    while let Some(records) = consumer.poll(Duration::from_secs(1)).await? {
        if records.is_empty() && (of_topics(&seen) == expected || begun.elapsed() > PATIENCE) {
            break;
        }
        for record in records.iter() {
            *seen.entry(record.topic().to_owned()).or_default() += 1;
        }
    }
    consumer.close(Duration::from_secs(5)).await?;
    Ok(of_topics(&seen))
}
