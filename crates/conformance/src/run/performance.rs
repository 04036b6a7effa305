//! One script, from its first statement to what it leaves behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use tokio::time::{sleep, timeout};

use super::{
    Options, Subject,
    cluster::Cluster,
    connection::Connection,
    exchange::Pending,
    housekeeping::Housekeeping,
    scope::Scope,
    suite::{Leftovers, remove},
};
use crate::{
    report::{Failure, FailureKind, Outcome},
    script::{Action, Place, Role, Script, Target, TopicSpec, Value},
};

/// A script that is being carried out.
pub(super) struct Performance {
    pub(super) cluster: Cluster,
    options: Options,
    leftovers: Leftovers,
    script: String,
    /// Why the embedded broker may differ anywhere.
    core_differs: Option<String>,
    pub(super) housekeeping: Housekeeping,
    pub(super) scope: Scope,
    /// By name, and those that nobody named by address.
    pub(super) connections: BTreeMap<String, Connection>,
    pub(super) pending: BTreeMap<String, Pending>,
    /// Who leads or coordinates what, as far as it was asked.
    pub(super) addresses: BTreeMap<(u8, String, i32), String>,
    pub(super) outcome: Outcome,
    topics: BTreeSet<String>,
    groups: BTreeSet<String>,
    /// A turn of a loop that is passed over, because a version in it is not offered.
    pub(super) skipped_turn: Option<usize>,
}

/// What came of a statement.
#[derive(Debug)]
pub(super) enum Next {
    GoOn,
    /// The script can't go on.
    Stop,
}

pub(super) async fn perform(
    cluster: Cluster,
    options: Options,
    leftovers: Leftovers,
    script: Script,
) -> Outcome {
    let begin = Instant::now();
    let limit = options.script_limit;
    let mut performance = Performance::new(cluster, options, leftovers, &script);
    if performance.cluster.brokers() < script.brokers {
        performance.outcome.skipped = Some(format!("it needs {} brokers", script.brokers));
    } else {
        let mut place = script.statements.first().map(|statement| statement.place.clone());
        let all = performance.all(&script, &mut place);
        if timeout(limit, all).await.is_err()
            && let Some(place) = place
        {
            let message = format!("the script is not done after {limit:?}");
            performance.fail(&place, None, FailureKind::Stopped(message), None);
        }
    }
    performance.clean_up().await;
    let mut outcome = performance.outcome;
    if let (Some(_), Some(statement)) = (&performance.core_differs, script.statements.first())
        && performance.options.subject == Subject::Core
        && outcome.known.is_empty()
    {
        outcome.stale.push(statement.place.clone());
    }
    outcome.took = begin.elapsed();
    outcome
}

impl Performance {
    fn new(cluster: Cluster, options: Options, leftovers: Leftovers, script: &Script) -> Self {
        let mut scope = Scope::default();
        scope.set("now", options.now_ms);
        let outcome = Outcome {
            script: script.name.clone(),
            title: script.title.clone(),
            skipped: None,
            checks: Vec::new(),
            not_offered: Vec::new(),
            failures: Vec::new(),
            known: Vec::new(),
            stale: Vec::new(),
            filled: Vec::new(),
            left_behind: Vec::new(),
            took: std::time::Duration::ZERO,
        };
        Self {
            housekeeping: Housekeeping::new(cluster.clone()),
            cluster,
            options,
            leftovers,
            script: script.name.clone(),
            core_differs: script.core_differs.clone(),
            scope,
            connections: BTreeMap::new(),
            pending: BTreeMap::new(),
            addresses: BTreeMap::new(),
            outcome,
            topics: BTreeSet::new(),
            groups: BTreeSet::new(),
            skipped_turn: None,
        }
    }

    async fn all(&mut self, script: &Script, place: &mut Option<Place>) {
        for statement in &script.statements {
            if statement.turn.is_some() && statement.turn == self.skipped_turn {
                continue;
            }
            *place = Some(statement.place.clone());
            let next = match &statement.action {
                Action::Step(step) => self.step(step, &statement.place, statement.turn).await,
                Action::Await { name, expected, within, core_differs } => {
                    self.awaited(name, expected, *within, core_differs.as_ref(), &statement.place).await
                }
                action => match self.act(action).await {
                    Ok(()) => Next::GoOn,
                    Err(message) => {
                        self.fail(&statement.place, None, FailureKind::Stopped(message), None);
                        Next::Stop
                    }
                },
            };
            if matches!(next, Next::Stop) {
                return;
            }
        }
    }

    async fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Topic(spec) => self.topic(spec).await?,
            Action::Name { variable, role } => self.name(variable, *role),
            Action::Set { variable, value } => {
                let value = match value {
                    // A text that a field of bytes may take as well as one of text.
                    Value::Call { .. } | Value::Text(_) => self.scope.text(value)?.into(),
                    value => self.scope.evaluate(value, None)?,
                };
                self.scope.set(variable, value);
            }
            Action::Pause(duration) => sleep(*duration).await,
            Action::Connect { name, target } => {
                let address = self.address(target).await?;
                let connection = Connection::open(&address).await.map_err(|broken| broken.to_string())?;
                self.connections.insert(name.clone(), connection);
            }
            Action::Close(name) => {
                self.connections.remove(name).ok_or_else(|| format!("no connection is called `{name}`"))?;
            }
            Action::Step(_) | Action::Await { .. } => {}
        }
        Ok(())
    }

    fn own_name(&self, variable: &str) -> String {
        format!("{}-{}-{variable}", self.options.prefix, self.script)
    }

    async fn topic(&mut self, spec: &TopicSpec) -> Result<(), String> {
        let name = self.own_name(&spec.variable);
        self.leftovers.names().topics.insert(name.clone());
        self.topics.insert(name.clone());
        let id = self.housekeeping.create_topic(&name, spec).await?;
        self.scope.set(&spec.variable, name);
        self.scope.set(&format!("{}.id", spec.variable), id);
        Ok(())
    }

    fn name(&mut self, variable: &str, role: Role) {
        let name = self.own_name(variable);
        match role {
            Role::Group => {
                self.leftovers.names().groups.insert(name.clone());
                self.groups.insert(name.clone());
            }
            Role::Topic => {
                self.leftovers.names().topics.insert(name.clone());
                self.topics.insert(name.clone());
            }
            Role::TransactionalId | Role::Plain => {}
        }
        self.scope.set(variable, name);
    }

    /// Notes what is not as it must be: as known, where the embedded broker is said to differ.
    pub(super) fn fail(
        &mut self,
        place: &Place,
        request: Option<(milena_protocol::ApiKey, i16)>,
        kind: FailureKind,
        core_differs: Option<&String>,
    ) {
        let known = core_differs.or(self.core_differs.as_ref()).cloned();
        let failure = Failure { place: place.clone(), request, kind, known };
        if self.is_core() && failure.known.is_some() {
            self.outcome.known.push(failure);
        } else {
            self.outcome.failures.push(failure);
        }
    }

    pub(super) fn is_core(&self) -> bool {
        self.options.subject == Subject::Core
    }

    /// The address of whom a statement names.
    pub(super) async fn address(&mut self, target: &Target) -> Result<String, String> {
        let (kind, name, partition) = match target {
            Target::Bootstrap | Target::Connection(_) => return Ok(self.cluster.bootstrap.clone()),
            Target::Broker(number) => {
                let address = self.cluster.brokers.values().nth(number.saturating_sub(1));
                return address.cloned().ok_or_else(|| format!("there is no broker {number}"));
            }
            Target::Leader(name, partition) | Target::NotLeader(name, partition) => (0, name, *partition),
            Target::Group(name) | Target::NotGroup(name) => (1, name, 0),
            Target::Transaction(name) | Target::NotTransaction(name) => (2, name, 0),
        };
        let key = (kind, self.scope.text(name)?, partition);
        let address = match self.addresses.get(&key) {
            Some(address) => address.clone(),
            None => {
                let found = match kind {
                    0 => self.housekeeping.leader(&key.1, partition).await?,
                    1 => self.housekeeping.coordinator(&key.1, 0).await?,
                    _ => self.housekeeping.coordinator(&key.1, 1).await?,
                };
                self.addresses.insert(key, found.clone());
                found
            }
        };
        if matches!(target, Target::NotLeader(..) | Target::NotGroup(_) | Target::NotTransaction(_)) {
            let other = self.cluster.brokers.values().find(|other| **other != address);
            return other.cloned().ok_or_else(|| "there is only one broker".to_owned());
        }
        Ok(address)
    }

    async fn clean_up(&mut self) {
        // Requests that wait for each other end with their connections.
        self.connections.clear();
        let (topics, groups) = (std::mem::take(&mut self.topics), std::mem::take(&mut self.groups));
        self.outcome.left_behind = remove(&mut self.housekeeping, &self.leftovers, topics, groups).await;
    }
}
