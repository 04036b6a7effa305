//! Which partitions are read, from where, and where each ends: settled before anything is read.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use milena::{Admin, AdminError, IsolationLevel, OffsetSpec, TopicPartition};

use crate::{advised::advised, cluster::about_topic};

use super::start::{Start, Until};

/// The offsets that a partition has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Log {
    /// That of the first record.
    pub(super) first: i64,
    /// That of the next record to come; for readers of committed records, of the first that is not decided on.
    pub(super) end: i64,
}

/// Asks the leaders of partitions, for a reader of this isolation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survey<'a> {
    pub(super) admin: &'a Admin,
    pub(super) partitions: &'a BTreeSet<TopicPartition>,
    pub(super) isolation: IsolationLevel,
}

type Offsets = BTreeMap<TopicPartition, i64>;
type Logs = BTreeMap<TopicPartition, Log>;

/// The partitions of the topics, or of each those that are named.
pub(super) async fn partitions(
    admin: &Admin,
    topics: &BTreeSet<&str>,
    named: &[i32],
) -> anyhow::Result<BTreeSet<TopicPartition>> {
    let mut partitions = BTreeSet::new();
    for topic in topics {
        let described = match admin.describe_topic(*topic).await {
            Ok(described) => described,
            Err(error) => return Err(about_topic(admin, topic, error).await),
        };
        let all: BTreeSet<i32> = described.partitions.iter().map(|it| it.partition).collect();
        if let Some(missing) = named.iter().find(|number| !all.contains(number)) {
            let error = anyhow!("the topic {topic} has no partition {missing}");
            let last = all.last().copied().unwrap_or_default();
            return Err(advised(error, format!("--partition from 0 to {last}")));
        }
        let meant = if named.is_empty() { all } else { named.iter().copied().collect() };
        partitions
            .extend(meant.into_iter().map(|number| TopicPartition::new(described.name.clone(), number)));
    }
    Ok(partitions)
}

impl Survey<'_> {
    /// Where each partition begins and ends.
    pub(super) async fn logs(&self) -> Result<Logs, AdminError> {
        let (firsts, ends) =
            tokio::join!(self.look_up(OffsetSpec::Earliest), self.look_up(OffsetSpec::Latest));
        let (firsts, ends) = (firsts?, ends?);
        let log = |partition: &TopicPartition| {
            let first = firsts.get(partition).copied().unwrap_or_default();
            // What is deleted between the two questions may lie past the end that was told.
            let end = ends.get(partition).copied().unwrap_or_default().max(first);
            (partition.clone(), Log { first, end })
        };
        Ok(self.partitions.iter().map(log).collect())
    }

    /// The offsets that are like that; a partition that has none is not among them.
    async fn look_up(&self, spec: OffsetSpec) -> Result<Offsets, AdminError> {
        let wanted = self.partitions.iter().map(|partition| (partition.clone(), spec));
        let found = self.admin.list_offsets(wanted, self.isolation).await.into_iter();
        let known = found.filter_map(|(partition, listed)| match listed {
            Ok(listed) => listed.offset.map(|offset| Ok((partition, offset))),
            Err(error) => Some(Err(error)),
        });
        known.collect()
    }

    async fn at_or_after(&self, ms: i64) -> Result<Offsets, AdminError> {
        self.look_up(OffsetSpec::AtOrAfter(ms)).await
    }

    /// Where reading starts in each partition.
    pub(super) async fn starts(&self, start: Start, logs: &Logs) -> anyhow::Result<Offsets> {
        let by_time = match start {
            Start::Time(ms) => self.at_or_after(ms).await?,
            _ => Offsets::new(),
        };
        let start = |(partition, log): (&TopicPartition, &Log)| {
            let offset = match start {
                Start::Offset(offset) if !(log.first..=log.end).contains(&offset) => {
                    return Err(out_of_range(partition, offset, *log));
                }
                Start::Offset(offset) => offset,
                Start::Last(count) => log.end.saturating_sub(count).max(log.first),
                Start::End => log.end,
                // No record is that new: what comes next is.
                Start::Time(_) => by_time.get(partition).map_or(log.end, |offset| (*offset).max(log.first)),
                Start::Beginning | Start::Stored => log.first,
            };
            Ok((partition.clone(), offset))
        };
        logs.iter().map(start).collect()
    }

    /// The first offset of each partition that is not read any more. Partitions that are read on and on are not in it.
    pub(super) async fn ends(
        &self,
        exit: bool,
        until: Option<Until>,
        logs: &Logs,
    ) -> Result<Offsets, AdminError> {
        let by_time = match until {
            Some(Until::Time(ms)) => Some(self.at_or_after(ms).await?),
            _ => None,
        };
        let end = |(partition, log): (&TopicPartition, &Log)| {
            let until = match (until, &by_time) {
                // What is written from now on is later than a time that has passed.
                (_, Some(by_time)) => Some(by_time.get(partition).copied().unwrap_or(log.end)),
                (Some(Until::Offset(offset)), None) => Some(offset),
                _ => None,
            };
            let end = until.into_iter().chain(exit.then_some(log.end)).min()?;
            Some((partition.clone(), end))
        };
        Ok(logs.iter().filter_map(end).collect())
    }
}

/// An offset that is not in the log, with those that are.
pub(super) fn out_of_range(partition: &TopicPartition, offset: i64, log: Log) -> anyhow::Error {
    let Log { first, end } = log;
    let error = anyhow!("offset {offset} of {partition} is not in the log, which goes from {first} to {end}");
    let advice = if first == end {
        format!("--from {end}, where the next record will be; the partition has no records")
    } else {
        format!("--from beginning, or from {first} to {end}; with --partition for this one alone")
    };
    advised(error, advice)
}
