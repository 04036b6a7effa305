//! Orders by the idempotent producer, while brokers fail in ways that a retry has to survive: answers are lost after the
//! write, connections end, a leader moves, a broker falls silent and one stops. Then all is read back and counted: nothing
//! is lost, nothing is there twice, and every customer's orders are in their order.
//!
//! ```sh
//! cargo run -p milena --example idempotent                                # brokers in this process, with faults
//! cargo run -p milena --example idempotent -- --bootstrap localhost:9092  # a cluster, without
//! ```

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use milena::{
    AutoOffsetReset, Client, Compression, ErrorCode, NewTopic, Producer, Record, RecordMetadata,
    TopicPartition,
};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{Action, BrokerId, Rule},
};
use milena_protocol::ApiKey;

const ORDERS: u32 = 20_000;
const CUSTOMERS: u32 = 50;
const PARTITIONS: i32 = 6;

/// What befalls produce requests, one after the other, each after some that go well.
const FAULTS: [(Action, &str); 6] = [
    (Action::CloseAfter, "written, and the connection ends before the answer"),
    (Action::Answer(ErrorCode::NOT_LEADER_OR_FOLLOWER), "refused by a broker that does not lead"),
    (Action::CutReply(10), "written, and the connection ends within the answer"),
    (Action::Answer(ErrorCode::NOT_ENOUGH_REPLICAS), "refused for want of replicas"),
    (Action::CloseBefore, "lost with its connection before the write"),
    (Action::DropReply, "written, and never answered"),
];
const PASS_BETWEEN: u32 = 4;
const STOPPED: BrokerId = BrokerId(2);

/// How long reading back may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (bootstrap, embedded) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--bootstrap", bootstrap] => (bootstrap.to_owned(), None),
        [] => {
            let embedded = EmbeddedBroker::builder().brokers(3).start().await?;
            (embedded.bootstrap(), Some(embedded))
        }
        _ => return Err("usage: idempotent [--bootstrap HOST:PORT]".into()),
    };
    let client = Client::connect(bootstrap).await?;
    // A run of its own: another one's records are not counted.
    let topic = format!("order-created-{}", std::process::id());
    client.admin().create_topic(NewTopic::new(topic.as_str()).partitions(PARTITIONS)).await?;

    // Idempotent, acknowledged by all replicas in sync and five requests in flight: that is what a producer is.
    let producer = client
        .producer()
        .compression(Compression::Gzip)
        .retry_backoff(Duration::from_millis(100), Duration::from_secs(1))
        // A silent broker is found by this; on a cluster 30 s are the better choice.
        .request_timeout(Duration::from_secs(if embedded.is_some() { 1 } else { 30 }))
        .build()?;
    if let Some(embedded) = &embedded {
        for (action, what) in FAULTS {
            println!("to come: a produce request is {what}");
            embedded.add_fault(Rule::new(ApiKey::Produce, action).after(PASS_BETWEEN));
        }
    }
    let written = send(&producer, &topic, embedded.as_ref()).await?;
    producer.close(Duration::from_secs(10)).await?;
    let told = written.iter().filter(|written| written.offset.is_some()).count();
    println!("{} orders acknowledged, {told} of them with their offset", written.len());
    if let Some(embedded) = &embedded {
        if !embedded.with_cluster(|cluster, _| cluster.faults().is_empty()) {
            return Err("not every fault was met: the run proves less than it says".into());
        }
        println!("{} faults met, and broker {STOPPED} was stopped for a while", FAULTS.len());
    }

    let found = read_back(&client, &topic).await?;
    println!("read back: {found}");
    if found.is_right() { Ok(()) } else { Err("the count is off".into()) }
}

/// Sends the orders and waits until each is acknowledged; the first that is not ends the run.
async fn send(
    producer: &Producer,
    topic: &str,
    embedded: Option<&EmbeddedBroker>,
) -> Result<Vec<RecordMetadata>, Box<dyn Error>> {
    let mut deliveries = Vec::new();
    for number in 0..ORDERS {
        if let Some(embedded) = embedded
            && number == ORDERS / 2
        {
            embedded.stop_broker(STOPPED);
        }
        deliveries.push(producer.enqueue(order(topic, number)).await?);
    }
    if let Some(embedded) = embedded {
        tokio::time::sleep(Duration::from_millis(300)).await;
        embedded.start_broker(STOPPED);
    }
    producer.flush().await?;
    let mut written = Vec::new();
    for delivery in deliveries {
        written.push(delivery.await?);
    }
    Ok(written)
}

/// The key is the customer, so that a customer's orders keep their order.
fn order(topic: &str, number: u32) -> Record {
    let customer = number % CUSTOMERS;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let value = format!(r#"{{"orderId":{number},"customerId":"cust-{customer}","totalAmount":42.5}}"#);
    Record::new(topic)
        .key(format!("cust-{customer}"))
        .value(value)
        .header("order-number", number.to_string())
        .header("timestamp", now.to_string())
        .header("source", "order-service")
}

/// What a reader finds.
#[derive(Default)]
struct Found {
    /// How often each order is there.
    times: BTreeMap<u32, u32>,
    /// The newest order of each customer.
    newest: BTreeMap<Vec<u8>, u32>,
    overtaken: u32,
}

impl Found {
    fn take(&mut self, customer: &[u8], number: u32) {
        *self.times.entry(number).or_default() += 1;
        let newest = self.newest.entry(customer.to_vec()).or_insert(number);
        if number < *newest {
            self.overtaken += 1;
        }
        *newest = number.max(*newest);
    }

    fn lost(&self) -> usize {
        (0..ORDERS).filter(|number| !self.times.contains_key(number)).count()
    }

    fn twice(&self) -> usize {
        self.times.values().filter(|times| **times > 1).count()
    }

    fn is_right(&self) -> bool {
        self.times.len() == ORDERS as usize && self.lost() == 0 && self.twice() == 0 && self.overtaken == 0
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seen, lost, twice) = (self.times.len(), self.lost(), self.twice());
        write!(f, "{seen} orders, {lost} lost, {twice} twice, {} out of their order", self.overtaken)
    }
}

/// Reads until every order has been seen and nothing more has come for a second.
async fn read_back(client: &Client, topic: &str) -> Result<Found, Box<dyn Error>> {
    let partitions = (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition));
    let consumer = client.consumer_without_group().assign(partitions);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build()?;
    let mut found = Found::default();
    let begun = Instant::now();
    while let Some(records) = consumer.poll(Duration::from_secs(1)).await? {
        if records.is_empty() && (found.lost() == 0 || begun.elapsed() > PATIENCE) {
            break;
        }
        for record in records.iter() {
            let number = record.header("order-number").flatten().ok_or("an order without its number")?;
            let number = std::str::from_utf8(number)?.parse()?;
            found.take(record.key().ok_or("an order without a customer")?, number);
        }
    }
    consumer.close(Duration::from_secs(5)).await?;
    Ok(found)
}
