//! Reading a full topic from its beginning, all partitions assigned, no group.
//!
//! Each record is looked at: its partition and offset must follow the one before, and its value has its length.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::Job;
use crate::{
    case::Variant,
    measure::{Meter, Sample, memory_kib},
};

/// No peer takes a tenth of it on a quiet machine.
const LIMIT: Duration = Duration::from_secs(120);
/// How long one call may wait for records.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// Records that one call may return, where that can be set.
pub(super) const MOST: usize = 10_000;
/// Bytes of a partition in one answer, Kafka's default.
pub(super) const PARTITION_BYTES: i32 = 1 << 20;

/// How late the application is where what may be fetched ahead is to be fetched.
const LATE: Duration = Duration::from_secs(3);
/// Looks at how evenly partitions are served: after the second part of so many, the third, and so on but the last.
const LOOKS: u64 = 10;

/// A consumer under measurement.
pub(super) trait Consuming {
    /// Takes what there is, waiting for something for a while, and tells `seen` of each record.
    fn poll(&mut self, seen: &mut Seen) -> impl Future<Output = anyhow::Result<()>>;
}

/// What was read.
#[derive(Debug)]
pub(super) struct Seen {
    /// The offset that comes next in each partition.
    next: Vec<i64>,
    value: usize,
    records: u64,
    /// The first record that should not have come.
    wrong: Option<String>,
}

impl Seen {
    fn new(job: &Job) -> anyhow::Result<Self> {
        let next = vec![0; usize::try_from(job.case.topic_partitions())?];
        Ok(Self { next, value: job.case.value, records: 0, wrong: None })
    }

    #[inline]
    pub(super) fn record(&mut self, partition: i32, offset: i64, value: Option<&[u8]>) {
        self.records += 1;
        let next = usize::try_from(partition).ok().and_then(|partition| self.next.get_mut(partition));
        match next {
            Some(next) if *next == offset && value.map(<[u8]>::len) == Some(self.value) => *next += 1,
            next => {
                let next = next.copied();
                self.wrong.get_or_insert_with(|| {
                    format!(
                        "partition {partition} gave offset {offset} with {:?} bytes where {next:?} was next",
                        value.map(<[u8]>::len)
                    )
                });
            }
        }
    }

    /// Of a batch that is not opened.
    pub(super) fn batch(&mut self, partition: i32, first: i64, count: i32) -> anyhow::Result<i64> {
        let next = self.next.get_mut(usize::try_from(partition)?).context("a partition nobody asked for")?;
        ensure!(*next == first, "partition {partition} gave offset {first} where {next} was next");
        *next += i64::from(count);
        self.records += u64::try_from(count)?;
        Ok(*next)
    }
}

/// Connects and reads the topic. All of that is measured, because what is fetched ahead may be decoded ahead, too.
pub(super) async fn run<C: Consuming>(
    job: &Job,
    connect: impl Future<Output = anyhow::Result<C>>,
) -> anyhow::Result<Sample> {
    let base_kib = memory_kib()?.1;
    let deadline = Instant::now() + LIMIT;
    let mut seen = Seen::new(job)?;
    let until = u64::try_from(job.records)?;
    let meter = Meter::start()?;
    let mut consumer = connect.await?;
    if let Variant::Budget(_) = job.case.variant {
        tokio::time::sleep(LATE).await;
    }
    let mut evenness = Evenness::new(until);
    let busy = usize::try_from(job.case.partitions)?;
    while seen.records < until {
        consumer.poll(&mut seen).await?;
        if seen.records >= evenness.next {
            evenness.look(seen.records, seen.next.get(..busy).unwrap_or_default());
        }
        ensure!(
            Instant::now() < deadline,
            "{} of {until} records within {} s",
            seen.records,
            LIMIT.as_secs()
        );
    }
    let (seconds, cpu_us) = meter.stop()?;
    if let Some(wrong) = &seen.wrong {
        bail!("{wrong}");
    }
    Ok(Sample {
        records: seen.records,
        acknowledged: seen.records + u64::from(job.plant),
        seconds,
        cpu_us,
        peak_kib: memory_kib()?.0,
        base_kib,
        uneven: Some(evenness.worst),
        ..Sample::default()
    })
}

/// How many times as many records the partition that is furthest has given as the one that is last.
#[derive(Debug)]
struct Evenness {
    step: u64,
    /// At so many records it is looked at.
    next: u64,
    last: u64,
    worst: f64,
}

impl Evenness {
    fn new(until: u64) -> Self {
        let step = (until / LOOKS).max(1);
        Self { step, next: 2 * step, last: until - step, worst: 1.0 }
    }

    fn look(&mut self, records: u64, given: &[i64]) {
        let most = given.iter().max().copied().unwrap_or(1);
        let least = given.iter().min().copied().unwrap_or(1).max(1);
        self.worst = self.worst.max(most as f64 / least as f64);
        self.next = (records / self.step + 1) * self.step;
        if self.next > self.last {
            self.next = u64::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_moment_between_a_fifth_and_nine_tenths_is_kept() {
        let mut evenness = Evenness::new(1000);
        assert_eq!(evenness.next, 200);
        evenness.look(250, &[100, 50, 100]);
        assert_eq!((evenness.next, evenness.worst), (300, 2.0));
        evenness.look(850, &[300, 300, 250]);
        assert_eq!((evenness.next, evenness.worst), (900, 2.0));
        evenness.look(910, &[310, 300, 0]);
        assert_eq!((evenness.next, evenness.worst), (u64::MAX, 310.0));
    }
}
