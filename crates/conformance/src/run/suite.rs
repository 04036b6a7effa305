//! Many scripts, a few at a time, and what they leave behind removed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

use super::{cluster::Cluster, housekeeping::Housekeeping, performance};
use crate::{report::Outcome, script::Script};

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A cluster that must do what the scripts say.
    Cluster,
    /// Milena's embedded broker, which may differ where a script says so, and only there.
    Core,
}

/// How scripts are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who answers.
    pub subject: Subject,
    /// How many scripts run at a time.
    pub jobs: usize,
    /// What the names of topics, groups and transactional ids begin with: nobody else's may.
    pub prefix: String,
    /// How long a script may take.
    pub script_limit: Duration,
    /// The time that timestamps of records are about, in milliseconds since 1970.
    pub now_ms: i64,
}

/// How far a run is.
#[derive(Debug)]
pub struct Progress<'p> {
    /// Scripts that are done.
    pub done: usize,
    /// Scripts in all.
    pub total: usize,
    /// What came of the one that was done last.
    pub outcome: &'p Outcome,
}

/// Runs scripts against a cluster.
#[derive(Debug)]
pub struct Suite {
    cluster: Cluster,
    options: Options,
    leftovers: Leftovers,
}

/// Topics and groups that are still to be removed.
#[derive(Clone, Debug, Default)]
pub(super) struct Leftovers(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) topics: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
}

impl Leftovers {
    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Suite {
    /// A suite that has run nothing yet.
    #[must_use]
    pub fn new(cluster: Cluster, options: Options) -> Self {
        Self { cluster, options, leftovers: Leftovers::default() }
    }

    /// Runs the scripts and says what came of each, in their order. Each removes what it made when it ends.
    ///
    /// # Cancellation
    /// Dropping the future stops the scripts where they are; [`clean_up`](Self::clean_up) then removes what they made.
    pub async fn run(&self, scripts: Vec<Script>, mut tell: impl FnMut(Progress<'_>)) -> Vec<Outcome> {
        let total = scripts.len();
        let free = Arc::new(Semaphore::new(self.options.jobs.max(1)));
        let mut tasks = JoinSet::new();
        for (at, script) in scripts.into_iter().enumerate() {
            let (cluster, options) = (self.cluster.clone(), self.options.clone());
            let (leftovers, free) = (self.leftovers.clone(), Arc::clone(&free));
            tasks.spawn(async move {
                let _permit = free.acquire_owned().await;
                (at, performance::perform(cluster, options, leftovers, script).await)
            });
        }
        let mut outcomes = Vec::new();
        while let Some(done) = tasks.join_next().await {
            // A task ends otherwise only by a panic, which is a defect and has been printed.
            let Ok((at, outcome)) = done else { continue };
            tell(Progress { done: outcomes.len() + 1, total, outcome: &outcome });
            outcomes.push((at, outcome));
        }
        outcomes.sort_by_key(|(at, _)| *at);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Removes whatever scripts that were stopped have made, and says what can't be removed.
    ///
    /// # Cancellation
    /// Dropping the future leaves the rest where it is.
    pub async fn clean_up(&self) -> Vec<String> {
        let mut housekeeping = Housekeeping::new(self.cluster.clone());
        let (topics, groups) = {
            let names = self.leftovers.names();
            (names.topics.clone(), names.groups.clone())
        };
        remove(&mut housekeeping, &self.leftovers, topics, groups).await
    }
}

/// Removes topics and groups, and says what can't be removed.
pub(super) async fn remove(
    housekeeping: &mut Housekeeping,
    leftovers: &Leftovers,
    topics: BTreeSet<String>,
    groups: BTreeSet<String>,
) -> Vec<String> {
    let mut left = Vec::new();
    for group in groups {
        match housekeeping.delete_group(&group).await {
            Ok(()) => {
                leftovers.names().groups.remove(&group);
            }
            Err(error) => left.push(format!("group {group}: {error}")),
        }
    }
    let names: Vec<String> = topics.into_iter().collect();
    if names.is_empty() {
        return left;
    }
    match housekeeping.delete_topics(&names).await {
        Ok(()) => leftovers.names().topics.retain(|topic| !names.contains(topic)),
        Err(error) => left.push(format!("topics {}: {error}", names.join(", "))),
    }
    left
}
