//! Reading a full topic from its beginning, all partitions assigned, no group.
//!
//! Each record is looked at: its partition and offset must follow the one before, and its value has its length.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::Job;
use crate::measure::{Meter, Sample, memory_kib};

/// No peer takes a tenth of it on a quiet machine.
const LIMIT: Duration = Duration::from_secs(120);
/// How long one call may wait for records.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// Records that one call may return, where that can be set.
pub(super) const MOST: usize = 10_000;
/// Bytes of a partition in one answer, Kafka's default.
pub(super) const PARTITION_BYTES: i32 = 1 << 20;

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
        let next = vec![0; usize::try_from(job.case.partitions)?];
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
    while seen.records < until {
        consumer.poll(&mut seen).await?;
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
        latency: None,
    })
}
