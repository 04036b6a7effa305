//! The loop from the consumer to standard output.
//!
//! What is handed out is written and flushed before more is asked for, and committed after that: a record that is
//! committed has been written. What is handed out and not written, because an end, a count or an interrupt came before it,
//! is given back: the position returns to it.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use milena::{CloseError, CommitError, Consumer, PartitionRecords, Records, SeekTo, TopicPartition};

use crate::{progress::Progress, stop::Stop};

use super::{
    listener::Listener,
    output::{self, Output},
    say,
    shown::shown,
    vanished::Vanished,
};

/// How long one wait for records lasts. What has no records for the reader moves positions, too, and tells nobody.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often a commit is waited for.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// After so many records an interrupt is looked for.
const STRIDE: usize = 128;

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// As many records as were wanted are written.
    Count,
    /// Every partition is read to its end.
    Ends,
    /// Nobody reads standard output any more.
    ReaderGone,
    Interrupt,
}

/// When positions last moved.
#[derive(Debug)]
struct Life {
    /// The sum of all positions.
    passed: Option<i64>,
    since: Instant,
}

impl Default for Life {
    fn default() -> Self {
        Self { passed: None, since: Instant::now() }
    }
}

/// Reads and writes.
pub(super) struct Reader {
    pub(super) consumer: Consumer,
    pub(super) output: Output,
    pub(super) listener: Listener,
    pub(super) stop: Stop,
    pub(super) progress: Progress,
    /// The first offsets that are not read any more; none when reading goes on and on.
    pub(super) ends: Option<BTreeMap<TopicPartition, i64>>,
    /// How many records are still to be written, if not all.
    pub(super) left: Option<u64>,
    /// How long nothing may come although there is something.
    pub(super) stall: Option<Duration>,
    pub(super) commits: Option<Commits>,
    pub(super) vanished: Vanished,
    pub(super) written: u64,
}

/// What a member of a group remembers of its commits.
#[derive(Debug)]
pub(super) struct Commits {
    awaited: Instant,
    /// Something has been written since.
    is_behind: bool,
}

impl Commits {
    pub(super) fn new() -> Self {
        Self { awaited: Instant::now(), is_behind: false }
    }
}

impl Reader {
    pub(super) async fn read(&mut self) -> anyhow::Result<Ended> {
        let mut life = Life::default();
        loop {
            if self.are_ends_reached() {
                return Ok(Ended::Ends);
            }
            if self.left == Some(0) {
                return Ok(Ended::Count);
            }
            if self.stop.is_wanted() {
                return Ok(Ended::Interrupt);
            }
            let polled = tokio::select! {
                biased;
                () = self.stop.more_than(0) => continue,
                () = self.listener.gone() => return Ok(Ended::ReaderGone),
                polled = self.consumer.poll(PATIENCE) => polled?,
            };
            let records = polled.ok_or_else(|| anyhow!("the consumer was closed"))?;
            match self.write(&records) {
                Err(error) if output::has_gone(&error) => return Ok(Ended::ReaderGone),
                written => written.context("writing to standard output")?,
            }
            self.insist_on_life(&mut life)?;
            self.tell_of_vanished(!records.is_empty()).await;
            self.commit(!records.is_empty()).await?;
        }
    }

    /// True when every partition that is read here stands at its end.
    fn are_ends_reached(&self) -> bool {
        if self.ends.is_none() {
            return false;
        }
        let assigned = self.consumer.assignment();
        !assigned.is_empty() && assigned.iter().all(|it| self.is_at_end(it))
    }

    fn is_at_end(&self, partition: &TopicPartition) -> bool {
        let position = self.consumer.position(partition);
        position.zip(self.end(partition)).is_some_and(|(position, end)| position.offset >= end)
    }

    fn end(&self, partition: &TopicPartition) -> Option<i64> {
        // A partition that was not there when the command began ended at its beginning.
        self.ends.as_ref().map(|ends| ends.get(partition).copied().unwrap_or_default())
    }

    /// Writes what was handed out, as far as it is wanted.
    fn write(&mut self, records: &Records) -> io::Result<()> {
        let written = records.partitions().iter().try_for_each(|records| self.write_partition(records));
        let flushed = written.and_then(|()| self.output.flush());
        if flushed.is_err() {
            // How much of it was taken is not known.
            for records in records.partitions() {
                if let Some(first) = records.iter().next() {
                    self.give_back(records.partition(), first.offset());
                }
            }
        }
        flushed
    }

    fn write_partition(&mut self, records: &PartitionRecords) -> io::Result<()> {
        let partition = records.partition();
        let end = self.end(partition);
        let mut written = 0;
        for (at, record) in shown(records).enumerate() {
            let is_over = end.is_some_and(|end| record.offset >= end)
                || self.left == Some(0)
                || (at.is_multiple_of(STRIDE) && self.stop.is_wanted());
            if is_over {
                self.give_back(partition, record.offset);
                break;
            }
            self.output.write(&record)?;
            self.left = self.left.map(|left| left.saturating_sub(1));
            written += 1;
        }
        self.written = self.written.saturating_add(written);
        self.progress.add(written);
        if end.is_some_and(|end| records.next_position().offset >= end) {
            // One that has become another member's is read no further anyway.
            let _ = self.consumer.pause(partition);
        }
        Ok(())
    }

    fn give_back(&self, partition: &TopicPartition, offset: i64) {
        // One that has become another member's goes on where that was committed.
        let _ = self.consumer.seek(partition, SeekTo::Offset(offset));
    }

    /// An error when positions have stood still for too long although not all is read.
    fn insist_on_life(&self, life: &mut Life) -> anyhow::Result<()> {
        let Some(stall) = self.stall else { return Ok(()) };
        let offset = |partition| self.consumer.position(&partition).map(|position| position.offset);
        let passed = self.consumer.assignment().into_iter().filter_map(offset);
        let passed = passed.fold(0, i64::wrapping_add);
        if life.passed.replace(passed) != Some(passed) {
            life.since = Instant::now();
        }
        if life.since.elapsed() < stall {
            return Ok(());
        }
        let assigned = self.consumer.assignment().into_iter();
        let unread: Vec<_> = assigned.filter(|it| !self.is_at_end(it)).map(|it| it.to_string()).collect();
        let is_of_them = |line: &String| unread.iter().any(|partition| line.starts_with(partition));
        let reasons: Vec<_> = self.consumer.explain().into_iter().filter(is_of_them).take(3).collect();
        let (seconds, reasons) = (stall.as_secs(), reasons.join("; "));
        Err(anyhow!("nothing has come for {seconds} s, and not all is read: {reasons}"))
    }

    async fn tell_of_vanished(&mut self, has_records: bool) {
        if has_records {
            return self.vanished.heard();
        }
        let gone = tokio::select! {
            biased;
            () = self.stop.more_than(0) => return,
            gone = self.vanished.look() => gone,
        };
        for topic in gone {
            self.progress.pause(|| {
                say(&format!(
                    "the topic {topic} was deleted: nothing comes until there is another of that name"
                ));
            });
        }
    }

    /// Commits what is written. Now and then the outcome is waited for.
    async fn commit(&mut self, is_new: bool) -> anyhow::Result<()> {
        let Some(commits) = &mut self.commits else { return Ok(()) };
        commits.is_behind |= is_new;
        if commits.is_behind && commits.awaited.elapsed() >= COMMIT_EVERY {
            let committed = tokio::select! {
                biased;
                () = self.stop.more_than(0) => return Ok(()),
                committed = self.consumer.commit() => committed,
            };
            commits.awaited = Instant::now();
            commits.is_behind = committed.is_err();
            return match committed {
                Err(error) if is_rebalance(&error) => {
                    self.progress.pause(|| say(&format!("{error}; what was read may be read again")));
                    Ok(())
                }
                committed => committed.context("committing what was written"),
            };
        }
        if is_new {
            self.consumer.commit_async().context("committing what was written")?;
        }
        Ok(())
    }

    /// Commits what is written, leaves the group and ends. Each of the two may take half of the time.
    pub(super) async fn close(self, timeout: Duration) -> anyhow::Result<()> {
        self.progress.finish();
        let half = timeout / 2;
        let committed = match &self.commits {
            None => Ok(()),
            Some(commits) => self.commit_last(commits.is_behind, half).await,
        };
        if let Err(error @ CloseError::DeadlinePassed(_)) = self.consumer.close(half).await {
            say(&error.to_string());
        }
        self.output.abandon();
        committed
    }

    /// Commits where reading goes on, also where nothing was written: whoever has started at an end goes on there.
    async fn commit_last(&self, is_behind: bool, timeout: Duration) -> anyhow::Result<()> {
        match tokio::time::timeout(timeout, self.consumer.commit()).await {
            _ if !is_behind => Ok(()),
            Ok(committed) => committed.context("committing what was written"),
            Err(_) => Err(anyhow!("whether what was written is committed is not known: nobody has answered")),
        }
    }
}

/// True for what says that partitions move, and nothing worse.
fn is_rebalance(error: &CommitError) -> bool {
    matches!(
        error,
        CommitError::Rebalancing { .. } | CommitError::MemberLost { .. } | CommitError::NotAssigned { .. }
    )
}
