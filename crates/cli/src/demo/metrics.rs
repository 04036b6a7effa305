//! What the client counts of itself: served to Prometheus, and asked for like Prometheus does.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::advised::advised;

pub(crate) const PRODUCED: &str = "kafka_messages_produced_total";
pub(crate) const CONSUMED: &str = "kafka_messages_consumed_total";
const REBALANCES: &str = "milena_consumer_rebalances_total";

/// Bounds of buckets, from half a millisecond to half a minute.
const SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];
/// How long an answer from this very process may take.
const SOON: Duration = Duration::from_secs(10);

/// Where the metrics of this process are served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    address: SocketAddr,
}

impl Endpoint {
    /// Serves them at this port of 127.0.0.1, or at a free one. It has to be before there is a client.
    pub(crate) fn serve(port: Option<u16>) -> anyhow::Result<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let address = match port {
            Some(port) if port > 0 => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            _ => free().context("looking for a free port for the metrics")?,
        };
        PrometheusBuilder::new()
            .with_http_listener(address)
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .install()
            .map_err(|error| {
                let error = anyhow::Error::from(error).context(format!("serving metrics on {address}"));
                advised(error, "take another port with --metrics, or leave it out for a free one")
            })?;
        Ok(Self { address })
    }

    pub(crate) fn url(self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// What Prometheus would get.
    pub(crate) async fn scrape(self) -> anyhow::Result<Samples> {
        let asking = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = tokio::time::timeout(SOON, asking).await.context("no answer in time")?;
        let answer = answer.with_context(|| format!("asking {}", self.url()))?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
        Ok(Samples::parse(body))
    }

    /// How often a group has got partitions.
    pub(crate) async fn assigned(self, group: &str) -> anyhow::Result<u64> {
        Ok(self.scrape().await?.sum(REBALANCES, &[("consumer_group", group), ("change", "assigned")]))
    }

    /// How often partitions of a group were taken from it: then what was not committed yet is read again.
    pub(crate) async fn moved(self, group: &str) -> anyhow::Result<u64> {
        let samples = self.scrape().await?;
        let of = |change| samples.sum(REBALANCES, &[("consumer_group", group), ("change", change)]);
        Ok(of("revoked") + of("lost"))
    }
}

/// Counts that were served, of the names that are of interest here.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    /// From Prometheus' text. No label of these has a quote or a comma in it: they are names of topics and groups.
    pub(crate) fn parse(text: &str) -> Self {
        let wanted = |line: &&str| [PRODUCED, CONSUMED, REBALANCES].iter().any(|name| line.starts_with(name));
        Self(text.lines().filter(wanted).filter_map(Sample::parse).collect())
    }

    /// The sum of all with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let is_wanted = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|of| of == value);
            sample.name == name && labels.iter().all(has)
        };
        self.0.iter().filter(is_wanted).map(|sample| sample.value as u64).sum()
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (of, value) = line.rsplit_once(' ')?;
        let (name, labels) = of.strip_suffix('}')?.split_once('{')?;
        let pairs = labels.split(',').filter_map(|pair| {
            let (label, value) = pair.split_once('=')?;
            Some((label.to_owned(), value.trim_matches('"').to_owned()))
        });
        Some(Self { name: name.to_owned(), labels: pairs.collect(), value: value.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_by_their_labels() {
        let samples = Samples::parse(
            "# TYPE kafka_messages_consumed_total counter\n\
             kafka_messages_consumed_total{topic=\"a\",consumer_group=\"g\"} 5\n\
             kafka_messages_consumed_total{topic=\"a\",consumer_group=\"h\"} 7\n\
             kafka_messages_consumed_total{topic=\"b\",consumer_group=\"g\"} 11\n\
             something_else{topic=\"a\"} 100\n\
             kafka_messages_produced_total{topic=\"a\"} 6\n",
        );
        assert_eq!(samples.sum(CONSUMED, &[("topic", "a"), ("consumer_group", "g")]), 5);
        assert_eq!(samples.sum(CONSUMED, &[("topic", "a")]), 12);
        assert_eq!(samples.sum(PRODUCED, &[("topic", "a")]), 6);
        assert_eq!(samples.sum(PRODUCED, &[("topic", "c")]), 0);
    }
}
