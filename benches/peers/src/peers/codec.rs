//! What compressing and checksumming the case's batches takes, with Milena's codec at the level of the run and no
//! client around it.

use super::{Job, finish};
use crate::{
    measure::{Meter, Sample, memory_kib},
    wire::{batches, seal},
};

pub(super) fn run(job: &Job) -> anyhow::Result<Sample> {
    let codec = job.case.codec.codec().into();
    let warm_up = batches(job.case, &job.payloads, 0, job.warm_up)?;
    let measured = batches(job.case, &job.payloads, job.warm_up, job.records)?;
    let base_kib = memory_kib()?.1;
    let mut sealed = 0;
    for batch in warm_up {
        sealed += seal(batch, codec)?.0;
    }
    let meter = Meter::start()?;
    for batch in measured {
        let (records, batch) = seal(batch, codec)?;
        std::hint::black_box(batch);
        sealed += records;
    }
    let (seconds, cpu_us) = meter.stop()?;
    finish(job, sealed, seconds, cpu_us, base_kib, None)
}
