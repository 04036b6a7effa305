//! A broker to run other clients against: `serve [PORT] [BROKERS] [TOPIC:PARTITIONS]…`.
#![expect(clippy::print_stdout, reason = "it tells where the brokers listen")]

use std::error::Error;

use milena_embedded_broker::EmbeddedBroker;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(9092), |port| port.parse())?;
    let brokers = arguments.next().map_or(Ok(1), |brokers| brokers.parse())?;
    let mut builder = EmbeddedBroker::builder().port(port).brokers(brokers);
    for topic in arguments {
        let (name, partitions) = topic.split_once(':').unwrap_or((&topic, "1"));
        builder = builder.topic(name, partitions.parse()?);
    }
    let broker = builder.start().await?;
    println!("{}", broker.bootstrap());
    tokio::signal::ctrl_c().await?;
    broker.shutdown().await;
    Ok(())
}
