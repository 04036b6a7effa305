//! What our client says to the usual mistakes, as whole texts: `mistakes/texts.txt` is to be read by people.
//!
//! Each test makes a mistake at a broker of this process, or at a socket that is none. `MILENA_BLESS=1` writes the file anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

#[path = "mistakes/addresses.rs"]
mod addresses;
#[path = "mistakes/certificates.rs"]
mod certificates;
#[path = "mistakes/groups.rs"]
mod groups;
#[path = "mistakes/logins.rs"]
mod logins;
#[path = "mistakes/ports.rs"]
mod ports;
#[path = "mistakes/records.rs"]
mod records;
#[path = "mistakes/rights.rs"]
mod rights;
#[path = "mistakes/transactions.rs"]
mod transactions;

use std::{fs, time::Duration};

use milena::{Client, ClientBuilder, Consumer, ErrorCode, ProducerBuilder, Record, Sasl, Tls};
use milena_embedded_broker::{
    Builder, EmbeddedBroker,
    core::{Action, Rule},
};
use milena_protocol::ApiKey;
use protocol_tests::{tls, told};
use tokio::time::{Instant, sleep, timeout};

const TEXTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mistakes/texts.txt");
/// How long a client tries in these tests.
const PATIENCE: Duration = Duration::from_millis(500);
/// Nothing here takes so long.
const SOON: Duration = Duration::from_secs(20);

#[track_caller]
fn assert_told(name: &str, text: &impl ToString) {
    told::assert_told(TEXTS, name, text);
}

/// A text that no test looks at any more is to go.
#[test]
fn every_text_is_of_a_mistake_that_is_made() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mistakes");
    let sources = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources = sources.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let sources: String = sources.map(|path| fs::read_to_string(path).unwrap()).collect();
    let texts = told::texts(TEXTS);
    assert!(texts.len() >= 50, "{}", texts.len());
    for name in texts.keys() {
        assert!(sources.contains(&format!("\"{name}\"")), "nobody makes the mistake `{name}`");
    }
}

fn patient(bootstrap: impl Into<String>) -> ClientBuilder {
    Client::builder(bootstrap).setup_timeout(PATIENCE).max_setup_timeout(PATIENCE)
}

/// Why there is no connection.
async fn refusal(bootstrap: impl Into<String>, tls: Option<Tls>, sasl: Option<Sasl>) -> String {
    let mut builder = patient(bootstrap).setup_timeout(SOON);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    if let Some(sasl) = sasl {
        builder = builder.sasl(sasl);
    }
    let connected = timeout(SOON, builder.connect()).await.unwrap_or_else(|_| panic!("it hangs"));
    connected.err().unwrap_or_else(|| panic!("it connects")).to_string()
}

fn ca() -> Tls {
    Tls::ca_file(tls::authority())
}

/// A broker with a topic of one partition.
fn broker() -> Builder {
    EmbeddedBroker::builder().topic("orders", 1)
}

async fn client(broker: &EmbeddedBroker) -> Client {
    patient(broker.bootstrap()).connect().await.unwrap()
}

/// A broker that answers every request of an API like this, from now on.
fn always(broker: &EmbeddedBroker, api: ApiKey, code: ErrorCode) {
    broker.add_fault(Rule::new(api, Action::Answer(code)).times(u32::MAX));
}

/// Why the record is not written, by a producer that does not try for long.
async fn send_refusal(
    client: &Client,
    record: Record,
    set: fn(ProducerBuilder) -> ProducerBuilder,
) -> String {
    let producer = client.producer().linger(Duration::ZERO).max_block(PATIENCE).request_timeout(PATIENCE);
    let producer = set(producer.delivery_timeout(PATIENCE * 2)).build().unwrap();
    let sent = timeout(SOON, producer.send(record)).await.unwrap_or_else(|_| panic!("it hangs"));
    sent.err().unwrap_or_else(|| panic!("it is written")).to_string()
}

/// What stops the consumer.
async fn stopped(consumer: &Consumer) -> String {
    let begin = Instant::now();
    loop {
        match consumer.poll(PATIENCE).await {
            Ok(_) => assert!(begin.elapsed() < SOON, "{:?}", consumer.explain()),
            Err(error) => return error.to_string(),
        }
    }
}

/// What a consumer that gets nothing says of itself, once it says `word`.
async fn explained(client: &Client, word: &str) -> String {
    let begin = Instant::now();
    loop {
        let explanation = client.explain().to_string();
        if let Some(line) = explanation.lines().find(|line| line.contains(word)) {
            return line.trim().to_owned();
        }
        assert!(begin.elapsed() < SOON, "{explanation}");
        sleep(Duration::from_millis(20)).await;
    }
}
