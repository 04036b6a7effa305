//! The time from nothing, not even a connection, to the first record of a new group with one member.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use hdrhistogram::Histogram;

use super::{
    Job,
    consume::POLL,
    finish,
    member::{Member, Taken},
};
use crate::measure::{Meter, Sample, latency, memory_kib};

/// No peer takes a tenth of it on a quiet machine.
const LIMIT: Duration = Duration::from_secs(30);

/// Joins a new group each time. Leaving it is part of the CPU time and not of the time to the first record.
pub(super) async fn run<M: Member>(job: &Job) -> anyhow::Result<Sample> {
    let base_kib = memory_kib()?.1;
    let mut histogram = Histogram::<u64>::new(3)?;
    for number in 0..job.warm_up {
        join::<M>(job, number).await?;
    }
    let meter = Meter::start()?;
    for number in job.warm_up..job.warm_up + job.records {
        let took = join::<M>(job, number).await?;
        histogram.record(u64::try_from(took.as_nanos())?)?;
    }
    let (seconds, cpu_us) = meter.stop()?;
    let joins = u64::try_from(job.warm_up + job.records)?;
    finish(job, joins, seconds, cpu_us, base_kib, Some(latency(&histogram)))
}

async fn join<M: Member>(job: &Job, number: usize) -> anyhow::Result<Duration> {
    let group = format!("{}-{}-{number}", job.topic, std::process::id());
    let begin = Instant::now();
    let mut member = M::join(job, &group).await?;
    let mut first: Option<(i32, i64, Option<usize>)> = None;
    while first.is_none() {
        let mut take = |taken: Taken<'_>| {
            first.get_or_insert((taken.partition, taken.offset, taken.value.map(<[u8]>::len)));
        };
        member.poll(POLL, &mut take).await?;
        ensure!(begin.elapsed() < LIMIT, "no record within {} s", LIMIT.as_secs());
    }
    let took = begin.elapsed();
    match first {
        Some((_, 0, Some(length))) if length == job.case.value => {}
        other => bail!("what came first is not the first record of a partition: {other:?}"),
    }
    member.leave().await?;
    Ok(took)
}
