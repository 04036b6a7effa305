//! Asking now and then how far groups are behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::{counter, gauge};
use milena_cluster::BrokerId;
use milena_protocol::wire::ByteString;
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};

use super::{Meters, lag::LagGauges, names};
use crate::{Admin, AdminError, GroupType, PartitionLag};

/// The shortest interval: a round is several requests for each group.
const SHORTEST: Duration = Duration::from_millis(100);

/// Asks every interval how far groups are behind, and sets `kafka_consumer_lag`: see [Lag](super#lag). The groups may be
/// anybody's; what it takes is the right to describe them and their topics.
///
/// ```
/// # use milena_embedded_broker::EmbeddedBroker;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = EmbeddedBroker::builder().topic("orders", 3).start().await?;
/// # let client = milena::Client::connect(broker.bootstrap()).await?;
/// use std::time::Duration;
///
/// let monitor = client.lag_monitor().groups(["billing", "email"]).interval(Duration::from_secs(15)).start();
/// let round = monitor.next_round().await.ok_or("it has ended")?;
/// for (group, lags) in &round.groups {
///     match lags {
///         Ok(lags) => println!("{group}: {} partitions", lags.len()),
///         Err(error) => println!("{group}: {error}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// Dropping it ends the task; its gauges become NaN.
#[derive(Debug)]
pub struct LagMonitor {
    task: JoinHandle<()>,
    rounds: watch::Receiver<Option<LagRound>>,
}

/// What a [`LagMonitor`] is to ask, and how often.
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is started"]
pub struct LagMonitorBuilder {
    admin: Admin,
    meters: Meters,
    groups: Option<BTreeSet<ByteString>>,
    max_groups: usize,
    interval: Duration,
}

/// What a [`LagMonitor`] has found out in one round.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LagRound {
    /// How far each group is behind, or why that is not known. A partition without a commit is in it as that
    /// ([`PartitionLag::committed`] is `Ok(None)`); it has no gauge, and is counted in
    /// `milena_lag_partitions_without_commit`.
    pub groups: BTreeMap<ByteString, Result<Vec<PartitionLag>, AdminError>>,
    /// Brokers that could not be asked which groups they have, when all groups were wanted: theirs are missing.
    pub unlisted: BTreeMap<BrokerId, AdminError>,
    /// Why nobody could be asked which groups there are.
    pub not_listed: Option<AdminError>,
    /// Groups beyond [`max_groups`](LagMonitorBuilder::max_groups).
    pub groups_left_out: usize,
    /// Partitions whose lag is known and that have no gauge, for there are too many.
    pub partitions_left_out: usize,
}

impl LagMonitorBuilder {
    pub(crate) fn new(admin: Admin, meters: Meters) -> Self {
        Self { admin, meters, groups: None, max_groups: 100, interval: Duration::from_secs(30) }
    }

    /// Asks for these groups. Without it, for all consumer groups of the cluster, listed anew in each round.
    pub fn groups<G: Into<ByteString>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.groups = Some(groups.into_iter().map(Into::into).collect());
        self
    }

    /// The most groups to ask for, 100 by default; the first by their names. More makes a round longer.
    pub fn max_groups(mut self, groups: usize) -> Self {
        self.max_groups = groups;
        self
    }

    /// The time from the beginning of a round to that of the next, 30 s by default and 100 ms at least. A round that takes
    /// longer delays the next.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(SHORTEST);
        self
    }

    /// How long asking for one group may take, 30 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.admin = self.admin.timeout(timeout);
        self
    }

    /// Begins, on the current tokio runtime, with a round at once.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> LagMonitor {
        let (told, rounds) = watch::channel(None);
        let task = tokio::spawn(async move {
            let gauges = Mutex::new(LagGauges::new(self.meters.clone()));
            let mut ticks = tokio::time::interval(self.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                told.send_replace(Some(self.round(&gauges).await));
            }
        });
        LagMonitor { task, rounds }
    }

    async fn round(&self, gauges: &Mutex<LagGauges>) -> LagRound {
        let mut round = LagRound::default();
        let mut groups = self.wanted(&mut round).await;
        round.groups_left_out = groups.len().saturating_sub(self.max_groups);
        groups.truncate(self.max_groups);
        locked(gauges).keep_only(|group, _| groups.contains(group));
        for group in groups {
            let lags = self.admin.group_lag(group.clone()).await;
            round.partitions_left_out = round.partitions_left_out.saturating_add(match &lags {
                Ok(lags) => set(&mut locked(gauges), &group, lags),
                Err(error) => {
                    tracing::debug!(%group, %error, "how far the group is behind is not known");
                    let name = group.to_string();
                    counter!(names::CHECKS_FAILED, "consumer_group" => name).increment(1);
                    locked(gauges).keep_only(|known, _| *known != group);
                    0
                }
            });
            round.groups.insert(group, lags);
        }
        round
    }

    async fn wanted(&self, round: &mut LagRound) -> Vec<ByteString> {
        if let Some(groups) = &self.groups {
            return groups.iter().cloned().collect();
        }
        match self.admin.groups().await {
            Ok(listed) => {
                round.unlisted = listed.errors;
                let has_offsets = |kind: &GroupType| matches!(kind, GroupType::Consumer | GroupType::Classic);
                let groups = listed.groups.into_iter().filter(|group| has_offsets(&group.group_type));
                let groups: BTreeSet<_> = groups.map(|group| group.id).collect();
                groups.into_iter().collect()
            }
            Err(error) => {
                round.not_listed = Some(error);
                Vec::new()
            }
        }
    }
}

/// Locked to set gauges, never across an await.
fn locked(gauges: &Mutex<LagGauges>) -> MutexGuard<'_, LagGauges> {
    gauges.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the gauges of a group. Returns how many there were no more gauges for.
fn set(gauges: &mut LagGauges, group: &ByteString, lags: &[PartitionLag]) -> usize {
    let known: BTreeMap<_, _> = lags.iter().filter_map(|lag| Some((&lag.partition, lag.lag()?))).collect();
    gauges.keep_only(|of, partition| of != group || known.contains_key(partition));
    let is_without_commit = |lag: &&PartitionLag| matches!(lag.committed, Ok(None));
    let without_commit = lags.iter().filter(is_without_commit).count();
    gauge!(names::WITHOUT_COMMIT, "consumer_group" => group.to_string()).set(without_commit as f64);
    known.into_iter().filter(|(partition, lag)| !gauges.set(group, partition, *lag)).count()
}

impl LagMonitor {
    /// What the last round has found out; `None` before the first has come to its end.
    #[must_use]
    pub fn last_round(&self) -> Option<LagRound> {
        self.rounds.borrow().clone()
    }

    /// Waits for the end of the next round. `None` when the monitor's runtime has ended.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing.
    pub async fn next_round(&self) -> Option<LagRound> {
        let mut rounds = self.rounds.clone();
        rounds.mark_unchanged();
        rounds.changed().await.ok()?;
        rounds.borrow().clone()
    }
}

impl Drop for LagMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}
