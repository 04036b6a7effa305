//! A client that says why it does not do what one expects of it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use milena_cluster::{Machine, Reason};
use milena_connection::{Driven, NetworkReport, now};
use milena_consumer_group::{Consumer, ConsumerReport};
use milena_producer::{Producer, ProducerReport};

/// The producers and consumers of a client, as long as they are there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handles(Arc<Mutex<Registered>>);

#[derive(Debug, Default)]
struct Registered {
    producers: Vec<Weak<Driven<Producer>>>,
    consumers: Vec<Weak<Driven<Consumer>>>,
}

impl Handles {
    pub(crate) fn add_producer(&self, driven: &Arc<Driven<Producer>>) {
        add(&mut self.registered().producers, driven);
    }

    pub(crate) fn add_consumer(&self, driven: &Arc<Driven<Consumer>>) {
        add(&mut self.registered().consumers, driven);
    }

    fn registered(&self) -> std::sync::MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn explain(&self, network: NetworkReport) -> Explanation {
        let (producers, consumers) = {
            let registered = self.registered();
            (alive(&registered.producers), alive(&registered.consumers))
        };
        let producers = producers.iter().map(|driven| {
            let mut report = driven.look().report_on(now());
            report.partitions.iter_mut().for_each(|partition| add_trouble(&mut partition.doing, &network));
            Explained { lane: driven.lane(), report }
        });
        let consumers = consumers.iter().map(|driven| {
            let mut report = driven.look().report(now());
            if let Some(trouble) = report.coordinator.and_then(|broker| network.trouble_with(broker)) {
                report.state.push_str(&format!("; {} failed: {}", trouble.stage, trouble.cause));
            }
            report.partitions.iter_mut().for_each(|partition| add_trouble(&mut partition.doing, &network));
            Explained { lane: driven.lane(), report }
        });
        let (producers, consumers) = (producers.collect(), consumers.collect());
        Explanation { network, producers, consumers }
    }
}

/// Handles that are gone make room: the list is no longer than there are handles at a time.
fn add<M: Machine>(list: &mut Vec<Weak<Driven<M>>>, driven: &Arc<Driven<M>>) {
    list.retain(|known| known.strong_count() > 0);
    list.push(Arc::downgrade(driven));
}

fn alive<M: Machine>(list: &[Weak<Driven<M>>]) -> Vec<Arc<Driven<M>>> {
    list.iter().filter_map(Weak::upgrade).collect()
}

/// The machine knows that a broker does not answer, the network why.
fn add_trouble(doing: &mut Reason, network: &NetworkReport) {
    if let Some(trouble) = doing.broker.and_then(|broker| network.trouble_with(broker)) {
        doing.cause = Some(format!("{} failed: {}", trouble.stage, trouble.cause));
    }
}

/// Why a client does not do more than it does: its connections, producers and consumers, as they are now.
///
/// It is text by `Display`, and JSON by serde with the feature `serde`. Its texts are for people and change; the fields and each
/// reason's [`code`](Reason::code) are for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Explanation {
    /// The brokers and the connections to them.
    pub network: NetworkReport,
    /// The producers, transactional ones included.
    pub producers: Vec<Explained<ProducerReport>>,
    /// The consumers.
    pub consumers: Vec<Explained<ConsumerReport>>,
}

/// What one producer or consumer does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Explained<R> {
    /// The connections of [`NetworkReport`] with this number are its own. None when it has ended.
    pub lane: Option<u64>,
    /// What it does.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub report: R,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("network:\n")?;
        write_lines(f, &self.network.lines())?;
        for producer in &self.producers {
            write_head(f, "producer", producer.lane)?;
            write_lines(f, &producer.report.lines())?;
        }
        for consumer in &self.consumers {
            write_head(f, "consumer", consumer.lane)?;
            write_lines(f, &consumer.report.lines())?;
        }
        Ok(())
    }
}

fn write_head(f: &mut fmt::Formatter<'_>, what: &str, lane: Option<u64>) -> fmt::Result {
    match lane {
        Some(lane) => writeln!(f, "{what} {lane}:"),
        None => writeln!(f, "{what}, ended:"),
    }
}

fn write_lines(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
}
