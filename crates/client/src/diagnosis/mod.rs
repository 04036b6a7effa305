//! Finding out why a cluster can't be used, from here: one step after the other, each with what to do about it.
//!
//! It asks and changes nothing. `cluster` holds what it thinks of a cluster's own words, `advice` what to do.

mod advice;
mod cluster;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use milena_cluster::{Target, TopicPartition, counted};
use milena_connection::{Address, Network, Probe, Stage};
use milena_producer::Clock;
use milena_protocol::{
    messages::{MetadataRequest, MetadataResponse, metadata::MetadataRequestTopic},
    wire::ByteString,
};

use crate::{Admin, ClientBuilder, ConnectError, IsolationLevel, OffsetSpec};
use advice::{advertised_advice, bootstrap_advice};

/// The newest records of so many partitions are looked at for the clock.
const CLOCK_PARTITIONS: usize = 50;

/// What to look at besides the brokers.
#[derive(Clone, Debug, Default)]
pub struct DiagnosisOptions {
    topics: Vec<ByteString>,
    groups: Vec<ByteString>,
}

impl DiagnosisOptions {
    /// Nothing besides the brokers and, in few words, all topics.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This topic: whether it is there, has leaders, and what the client may do with it.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<ByteString>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// This group: its coordinator, how it stands, and whether the client may look at it.
    #[must_use]
    pub fn group(mut self, group: impl Into<ByteString>) -> Self {
        self.groups.push(group.into());
        self
    }
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Health {
    /// As it should be.
    Fine,
    /// It may be meant, and often is not.
    Doubtful,
    /// It keeps clients from their work.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Check {
    /// What was looked at: `bootstrap kafka:9092`, `broker 2`, `topic orders`.
    pub about: String,
    /// How it came out.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// How far a connection got that failed.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub stage: Option<&'static str>,
    /// What to do about it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub advice: Option<String>,
}

impl Check {
    fn new(about: impl Into<String>, health: Health, found: impl Into<String>) -> Self {
        Self { about: about.into(), health, found: found.into(), stage: None, advice: None }
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Diagnosis {
    /// In the order in which it was looked at.
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// The worst of what was found.
    #[must_use]
    pub fn health(&self) -> Health {
        self.checks.iter().map(|check| check.health).max().unwrap_or(Health::Fine)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.health {
            Health::Fine => "ok",
            Health::Doubtful => "doubtful",
            Health::Wrong => "WRONG",
        };
        write!(f, "{mark:<8} {}: {}", self.about, self.found)?;
        match &self.advice {
            Some(advice) => write!(f, "\n         try: {advice}"),
            None => Ok(()),
        }
    }
}

impl ClientBuilder {
    /// Finds out how far a client with these settings gets: with each bootstrap address and each broker that is advertised
    /// there (name, TCP, TLS, login, versions), with the cluster, its topics and what the client may do, with groups, and with
    /// the clock. Nothing is changed, but that each connection shows in the brokers' logs.
    ///
    /// It takes up to the [setup timeout](Self::setup_timeout) for each address, all at once, and twice the time of a request.
    ///
    /// ```
    /// # use milena_embedded_broker::EmbeddedBroker;
    /// use milena::{Client, DiagnosisOptions, Health};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let broker = EmbeddedBroker::builder().topic("orders", 1).start().await?;
    /// let options = DiagnosisOptions::new().topic("orders");
    /// let diagnosis = Client::builder(broker.bootstrap()).diagnose(&options).await?;
    /// assert_eq!(diagnosis.health(), Health::Fine, "{diagnosis}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the settings can't be: whatever happens on the network is in the diagnosis.
    ///
    /// # Cancellation
    /// Dropping the future closes the connections.
    pub async fn diagnose(self, options: &DiagnosisOptions) -> Result<Diagnosis, ConnectError> {
        let (request_timeout, clock) = (self.request_timeout, self.clock.clone());
        let (network, bootstrap) = self.network()?;
        let mut checks = Vec::new();
        let probes = probe_all(&network, &bootstrap).await;
        checks.extend(
            probes
                .iter()
                .map(|probe| check_probe(format!("bootstrap {}", probe.address), probe, bootstrap_advice)),
        );
        if probes.iter().all(|probe| probe.error.is_some()) {
            return Ok(Diagnosis { checks });
        }
        let named =
            |name: &ByteString| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() };
        let request = MetadataRequest {
            topics: (!options.topics.is_empty()).then(|| options.topics.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            include_topic_authorized_operations: true,
            ..Default::default()
        };
        match network.call(Target::AnyBroker, request, request_timeout).await {
            Ok(metadata) => {
                checks.push(cluster::check_cluster(&metadata));
                checks.extend(check_brokers(&network, &bootstrap, &metadata).await);
                checks.extend(cluster::check_topics(&metadata, options.topics.is_empty()));
                let admin = Admin::new(network.clone()).timeout(request_timeout);
                for group in &options.groups {
                    checks.push(check_group(&admin, group).await);
                }
                checks.extend(check_clock(&admin, &metadata, clock.wall_ms()).await);
            }
            Err(failure) => checks.push(
                Check::new("cluster", Health::Wrong, format!("no broker tells of it: {failure}"))
                    .advise("look into the brokers' logs: they take connections and do not answer"),
            ),
        }
        network.close();
        Ok(Diagnosis { checks })
    }
}

async fn probe_all(network: &Network, addresses: &[Address]) -> Vec<Probe> {
    let mut probes = tokio::task::JoinSet::new();
    for (index, address) in addresses.iter().cloned().enumerate() {
        let network = network.clone();
        probes.spawn(async move { (index, network.probe(&address).await) });
    }
    let mut probes = probes.join_all().await;
    probes.sort_by_key(|(index, _)| *index);
    probes.into_iter().map(|(_, probe)| probe).collect()
}

fn check_probe(about: String, probe: &Probe, advice: fn(Stage) -> &'static str) -> Check {
    let took = probe.took_ms;
    match &probe.error {
        None => {
            let resolved = match probe.resolved.as_slice() {
                [] => String::new(),
                found => format!("resolves to {}, ", found.join(" and ")),
            };
            Check::new(about, Health::Fine, format!("{resolved}connected in {took} ms"))
        }
        Some(error) => {
            let found = format!("failed at the stage {} after {took} ms: {}", error.stage, error.cause);
            let mut check = Check::new(about, Health::Wrong, found).advise(advice(error.stage));
            check.stage = Some(error.stage.name());
            check
        }
    }
}

/// Every broker, at the address that it advertises.
async fn check_brokers(network: &Network, bootstrap: &[Address], metadata: &MetadataResponse) -> Vec<Check> {
    let advertised: Vec<(i32, Address)> = cluster::advertised(metadata);
    let addresses: Vec<Address> = advertised.iter().map(|(_, address)| address.clone()).collect();
    let probes = probe_all(network, &addresses).await;
    let mut checks: Vec<Check> = advertised
        .iter()
        .zip(&probes)
        .map(|((id, address), probe)| {
            check_probe(format!("broker {id}, advertised as {address}"), probe, advertised_advice)
        })
        .collect();
    checks.extend(cluster::check_advertised(bootstrap, &advertised));
    let spoken: BTreeSet<&BTreeMap<&'static str, i16>> =
        probes.iter().filter(|probe| probe.error.is_none()).map(|probe| &probe.versions).collect();
    checks.extend(cluster::check_versions(&spoken));
    checks
}

async fn check_group(admin: &Admin, group: &ByteString) -> Check {
    let about = format!("group {group}");
    match admin.describe_group(group.clone()).await {
        Ok(found) => {
            let members = counted(found.members.len(), "member", "members");
            let text = format!("{}, {members}, coordinator {}", found.state, found.coordinator);
            Check::new(about, Health::Fine, text)
        }
        Err(error) => {
            Check::new(about, Health::Wrong, error.to_string()).advise(advice::of_group(error.code()))
        }
    }
}

/// Holds the newest records against this machine's clock.
async fn check_clock(admin: &Admin, metadata: &MetadataResponse, wall_ms: i64) -> Option<Check> {
    let topics = metadata.topics.iter().filter(|topic| topic.error_code == 0 && !topic.is_internal);
    let partitions = topics.filter_map(|topic| Some((topic.name.clone()?, &topic.partitions)));
    let wanted = partitions.flat_map(|(name, partitions)| {
        let led = partitions.iter().filter(|partition| partition.leader_id >= 0);
        let spec = |index| (TopicPartition::new(name.clone(), index), OffsetSpec::MaxTimestamp);
        led.map(|partition| spec(partition.partition_index)).collect::<Vec<_>>()
    });
    let wanted: Vec<_> = wanted.take(CLOCK_PARTITIONS).collect();
    let listed = admin.list_offsets(wanted, IsolationLevel::ReadUncommitted).await;
    let newest =
        listed.into_iter().filter_map(|(partition, listed)| Some((listed.ok()?.timestamp?, partition)));
    let (newest, partition) = newest.max()?;
    Some(cluster::check_clock(newest, &partition, wall_ms))
}
