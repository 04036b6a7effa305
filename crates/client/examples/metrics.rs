//! Orders are produced and consumed while Prometheus can ask how that goes: everything that is counted is served at `/metrics`.
//!
//! ```sh
//! cargo run -p milena --features metrics --example metrics                           # 2000 orders, and what was counted
//! cargo run -p milena --features metrics --example metrics -- --serve 127.0.0.1:9464 # until Ctrl-C
//! ```
//!
//! `docker-compose.monitoring.yml` starts a Prometheus and a Grafana with a dashboard for the latter.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use milena::{AutoOffsetReset, Client, Consumer, NewTopic, Producer, Record};
use milena_embedded_broker::EmbeddedBroker;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ORDERS: usize = 2000;
const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

/// Bounds of buckets, from half a millisecond to half a minute.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];
const BYTES: [f64; 7] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];
const RECORDS: [f64; 6] = [1.0, 10.0, 100.0, 1000.0, 10_000.0, 100_000.0];

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mut bootstrap, mut served) = (None, None);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--bootstrap" => bootstrap = Some(value.clone()),
            [name, value] if name == "--serve" => served = Some(value.parse::<SocketAddr>()?),
            _ => return Err("usage: metrics [--bootstrap HOST:PORT] [--serve ADDRESS:PORT]".into()),
        }
    }
    let address = match served {
        Some(address) => address,
        None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?,
    };
    // Before there is a client: what is looked up without a recorder stays without one. Without buckets a histogram would
    // be a summary, which can't be added up over processes.
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &BYTES)?
        .set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), &RECORDS)?
        .install()?;
    println!("metrics are at http://{address}/metrics");

    let embedded;
    let bootstrap = match bootstrap {
        Some(bootstrap) => bootstrap,
        None => {
            embedded = EmbeddedBroker::builder().start().await?;
            embedded.bootstrap()
        }
    };
    let client = Client::connect(bootstrap).await?;
    let orders = NewTopic::new("orders").partitions(PARTITIONS);
    client.admin().create_topic(orders).await?;
    let producer = client.producer().build()?;
    let consumer = client.consumer("billing").subscribe(["orders"]);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build()?;
    match served {
        Some(_) => until_interrupted(&client, &producer, &consumer).await?,
        None => {
            let once = once(&producer, &consumer, address);
            tokio::time::timeout(PATIENCE, once)
                .await
                .map_err(|_| format!("not done after {PATIENCE:?}"))??;
        }
    }
    consumer.close(SOON).await?;
    producer.close(SOON).await?;
    Ok(())
}

async fn once(producer: &Producer, consumer: &Consumer, address: SocketAddr) -> Outcome<()> {
    let produce = async {
        for number in 0..ORDERS {
            let _delivery = producer.enqueue(order(number)).await?;
        }
        producer.flush().await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    let consume = async {
        let mut consumed = 0;
        while consumed < ORDERS {
            consumed += consumer.poll(SOON).await?.ok_or("it is closed")?.len();
        }
        // The gauges are set once a second; asking sets them as well.
        for partition in consumer.assignment() {
            consumer.lag(&partition).filter(|lag| *lag == 0).ok_or("all was read, and there is a lag")?;
        }
        Ok(consumed)
    };
    let ((), consumed) = tokio::try_join!(produce, consume)?;
    println!("{ORDERS} orders produced, {consumed} consumed");
    println!("{}", scrape(address).await?);
    Ok(())
}

async fn until_interrupted(client: &Client, producer: &Producer, consumer: &Consumer) -> Outcome<()> {
    // Groups of anybody, this one's as well once it has committed.
    let _monitor = client.lag_monitor().interval(Duration::from_secs(5)).start();
    let produce = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for number in 0.. {
            ticks.tick().await;
            let _delivery = producer.enqueue(order(number)).await?;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    let consume = async {
        while consumer.poll(Duration::from_secs(1)).await?.is_some() {
            consumer.commit_async()?;
        }
        Ok(())
    };
    tokio::select! {
        done = async { tokio::try_join!(produce, consume) } => done.map(drop),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

fn order(number: usize) -> Record {
    Record::new("orders")
        .key(format!("customer-{}", number % 100))
        .value(format!(r#"{{"orderId":{number}}}"#))
}

/// What Prometheus would get.
async fn scrape(address: SocketAddr) -> Outcome<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer of HTTP")?;
    Ok(body.to_owned())
}
