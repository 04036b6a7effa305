//! What programs that measure have in common: their arguments, a cluster, and what they have used.

use std::{collections::BTreeMap, time::Duration};

use milena::{Client, NewTopic};
use milena_embedded_broker::EmbeddedBroker;
use rustix::time::{ClockId, clock_gettime};

/// Pairs of `name=value`.
pub(crate) struct Arguments(BTreeMap<String, String>);

impl Arguments {
    pub(crate) fn of_this_program() -> Self {
        let pairs = std::env::args().skip(1).filter_map(|argument| {
            argument.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        });
        Self(pairs.collect())
    }

    pub(crate) fn number(&self, name: &str, default: usize) -> usize {
        self.0.get(name).map_or(default, |value| value.parse().expect("a number"))
    }
}

/// A client of the cluster that is asked for or of an embedded broker, and a topic of this run alone.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) topic: String,
    embedded: Option<EmbeddedBroker>,
}

impl Stage {
    /// `name` is what the topic's begins with.
    pub(crate) async fn new(arguments: &Arguments, name: &str) -> Self {
        #[cfg(feature = "metrics")]
        if arguments.number("recorder", 0) > 0 {
            record();
        }
        let (bootstrap, embedded) = match arguments.0.get("bootstrap") {
            Some(bootstrap) => (bootstrap.clone(), None),
            None => {
                let broker = EmbeddedBroker::start().await.unwrap();
                (broker.bootstrap(), Some(broker))
            }
        };
        let client = Client::connect(bootstrap).await.unwrap();
        let topic = format!("{name}-{}", std::process::id());
        let partitions = arguments.number("partitions", 3) as i32;
        let wanted = NewTopic::new(topic.clone()).partitions(partitions).replication_factor(1);
        client.admin().create_topic(wanted).await.unwrap();
        Self { client, topic, embedded }
    }

    pub(crate) async fn end(self) {
        self.client.admin().delete_topic(self.topic).await.unwrap();
        self.client.shutdown();
        if let Some(broker) = self.embedded {
            broker.shutdown().await;
        }
    }
}

/// Has a recorder of Prometheus keep what is counted. It has to be there before there is a client.
#[cfg(feature = "metrics")]
fn record() {
    let builder = metrics_exporter_prometheus::PrometheusBuilder::new();
    let seconds = metrics_exporter_prometheus::Matcher::Suffix("_seconds".to_owned());
    let builder = builder.set_buckets_for_metric(seconds, &[0.001, 0.01, 0.1, 1.0, 10.0]).unwrap();
    metrics::set_global_recorder(builder.build_recorder()).unwrap();
}

/// User and system time of this process.
pub(crate) fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().expect("CPU time is positive")
}
