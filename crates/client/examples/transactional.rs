//! Payments in transactions: a payment, the order it is for and its entry in the books are written to three topics, all
//! of them or none. Every third payment is declined on the way, and its transaction aborted.
//!
//! ```sh
//! cargo run -p milena --example transactional                                # a broker in this process
//! cargo run -p milena --example transactional -- --bootstrap localhost:9092  # a cluster
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{collections::BTreeMap, error::Error, time::Duration};

use milena::{
    AutoOffsetReset, Client, IsolationLevel, NewTopic, Record, Remedy, TopicPartition, TransactionError,
    TransactionalProducer,
};
use milena_embedded_broker::EmbeddedBroker;

const TOPICS: [&str; 3] = ["payment-events", "order-events", "accounting-events"];
const PAYMENTS: u32 = 12;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
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
    let topics = TOPICS.map(|topic| format!("{topic}-{run}"));
    for topic in &topics {
        client.admin().create_topic(NewTopic::new(topic.as_str())).await?;
    }

    // Made of the service and the host: an instance that is started anew fences the one before it.
    let mut producer = client.transactional_producer("payment-service-host-1").build().await?;
    let (mut committed, mut aborted) = (0, 0);
    for number in 0..PAYMENTS {
        if pay(&mut producer, &topics, number).await? {
            committed += 1;
        } else {
            aborted += 1;
        }
    }
    producer.close(Duration::from_secs(10)).await?;
    println!("{committed} payments committed, {aborted} aborted");

    for (level, whose) in
        [(IsolationLevel::ReadCommitted, "of committed"), (IsolationLevel::ReadUncommitted, "of all")]
    {
        println!("a reader {whose} records sees {:?}", count(&client, &topics, level).await?);
    }
    Ok(())
}

/// Writes what belongs to a payment. False when it is declined: then nobody sees any of it.
async fn pay(
    producer: &mut TransactionalProducer,
    topics: &[String; 3],
    number: u32,
) -> Result<bool, Box<dyn Error>> {
    let order = format!("order-{number}");
    let transaction = producer.begin()?;
    let values =
        [r#"{"status":"paid"}"#, r#"{"status":"confirmed"}"#, r#"{"debit":"cash","credit":"sales"}"#];
    for (topic, value) in topics.iter().zip(values) {
        let record = Record::new(topic.as_str()).key(order.clone()).value(value);
        let written = transaction.send(record).await?;
        let offset = written.offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
        println!("{order}: {} at offset {}", written.partition, offset);
    }
    if number % 3 == 2 {
        println!("{order}: declined, aborting");
        transaction.abort().await?;
        return Ok(false);
    }
    match transaction.commit().await {
        Ok(()) => {}
        // Neither done nor not done, as far as anybody here knows: the same commit finds out.
        Err(error) if error.remedy() == Remedy::CommitAgain => producer.commit_again().await?,
        // It is not committed, and is being aborted by itself.
        Err(error @ TransactionError::MustAbort(_)) => {
            println!("{order}: {error}");
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    println!("{order}: committed");
    Ok(true)
}

/// How many records of each topic a reader sees, until none has come for a second.
async fn count(
    client: &Client,
    topics: &[String; 3],
    level: IsolationLevel,
) -> Result<BTreeMap<String, usize>, Box<dyn Error>> {
    let mut partitions = Vec::new();
    for topic in topics {
        let known = client.admin().partition_count(topic.as_str()).await?;
        partitions.extend((0..known).map(|partition| TopicPartition::new(topic.as_str(), partition as i32)));
    }
    let consumer = client.consumer_without_group().assign(partitions).isolation_level(level);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build()?;
    let mut seen = BTreeMap::new();
    while let Some(records) = consumer.poll(Duration::from_secs(1)).await? {
        if records.is_empty() {
            break;
        }
        for record in records.iter() {
            *seen.entry(record.topic().to_owned()).or_default() += 1;
        }
    }
    consumer.close(Duration::from_secs(5)).await?;
    Ok(seen)
}
