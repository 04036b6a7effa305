//! What the broker and the socket allow: requests that are written beforehand, over one blocking socket.
//!
//! Its CPU is that of the system calls. No client can be faster by much, unless it takes more connections.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use milena_protocol::records::Batches;

use super::{
    IN_FLIGHT, Job,
    consume::{Consuming, PARTITION_BYTES, POLL, Seen},
    finish,
};
use crate::{
    case::{Case, Work},
    measure::{Meter, Sample, latency, memory_kib},
    payload::Payloads,
    wire::{Wire, acknowledged, batches, produce_frame, seal},
};

/// Records of a topic to be read that are held at a time.
const FILL_AT_ONCE: usize = 100_000;

pub(super) fn run(job: &Job) -> anyhow::Result<Sample> {
    let mut wire = Wire::connect(&job.bootstrap)?;
    match job.case.work {
        Work::Produce => throughput(job, &mut wire),
        Work::Latency => one_at_a_time(job, &mut wire),
        Work::Consume | Work::Join | Work::Rebalance => anyhow::bail!("a producer does not consume"),
    }
}

/// Writes `records` records to `topic`, five requests in flight. For a topic that is to be read, too.
pub(crate) fn fill(
    wire: &mut Wire,
    case: Case,
    topic: &str,
    payloads: &Payloads,
    first: usize,
    records: usize,
) -> anyhow::Result<u64> {
    let mut written = 0;
    for part in (first..first + records).step_by(FILL_AT_ONCE) {
        let count = FILL_AT_ONCE.min(first + records - part);
        written += send_all(wire, &requests(case, topic, payloads, part, count)?)?;
    }
    Ok(written)
}

fn throughput(job: &Job, wire: &mut Wire) -> anyhow::Result<Sample> {
    let warm_up = requests(job.case, &job.topic, &job.payloads, 0, job.warm_up)?;
    let measured = requests(job.case, &job.topic, &job.payloads, job.warm_up, job.records)?;
    let base_kib = memory_kib()?.1;
    let mut sent = send_all(wire, &warm_up)?;
    let meter = Meter::start()?;
    sent += send_all(wire, &measured)?;
    let (seconds, cpu_us) = meter.stop()?;
    finish(job, sent, seconds, cpu_us, base_kib, None)
}

fn one_at_a_time(job: &Job, wire: &mut Wire) -> anyhow::Result<Sample> {
    let base_kib = memory_kib()?.1;
    let mut requests = requests(Case { partitions: 1, ..job.case }, &job.topic, &job.payloads, 0, 1)?;
    let Some((_, request)) = requests.pop() else { anyhow::bail!("nothing to send") };
    for _ in 0..job.warm_up {
        wire.send(&request)?;
        acknowledged(&wire.receive()?)?;
    }
    let mut histogram = Histogram::<u64>::new(3)?;
    let meter = Meter::start()?;
    for _ in 0..job.records {
        let begin = Instant::now();
        wire.send(&request)?;
        acknowledged(&wire.receive()?)?;
        histogram.record(u64::try_from(begin.elapsed().as_nanos())?)?;
    }
    let (seconds, cpu_us) = meter.stop()?;
    let sent = u64::try_from(job.warm_up + job.records)?;
    finish(job, sent, seconds, cpu_us, base_kib, Some(latency(&histogram)))
}

/// One batch a request, the partitions in turn.
fn requests(
    case: Case,
    topic: &str,
    payloads: &Payloads,
    first: usize,
    records: usize,
) -> anyhow::Result<Vec<(u64, Bytes)>> {
    let codec = case.codec.codec().into();
    let turns = (0..case.partitions).cycle();
    let batches = batches(case, payloads, first, records)?;
    let requests = batches.into_iter().zip(turns).map(|(batch, partition)| {
        let (count, batch) = seal(batch, codec)?;
        Ok((count, produce_frame(topic, partition, batch)?))
    });
    requests.collect()
}

fn send_all(wire: &mut Wire, requests: &[(u64, Bytes)]) -> anyhow::Result<u64> {
    ensure!(!requests.is_empty(), "nothing to send");
    let mut sent = 0;
    let mut answered = 0;
    for (count, request) in requests {
        wire.send(request)?;
        sent += count;
        answered += 1;
        if answered > IN_FLIGHT {
            acknowledged(&wire.receive()?)?;
        }
    }
    for _ in 0..requests.len().min(IN_FLIGHT) {
        acknowledged(&wire.receive()?)?;
    }
    Ok(sent)
}

/// One fetch at a time over one socket; batches are counted and not opened.
pub(super) struct Fetcher {
    wire: Wire,
    topic: String,
    next: Vec<i64>,
}

impl Fetcher {
    pub(super) fn connect(job: &Job) -> anyhow::Result<Self> {
        let next = vec![0; usize::try_from(job.case.topic_partitions())?];
        Ok(Self { wire: Wire::connect(&job.bootstrap)?, topic: job.topic.clone(), next })
    }
}

impl Consuming for Fetcher {
    async fn poll(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        for (partition, records) in self.wire.fetch(&self.topic, &self.next, PARTITION_BYTES, POLL)? {
            for batch in Batches::new(records) {
                let batch = batch?;
                let header = batch.header();
                let next = seen.batch(partition, header.base_offset, header.record_count)?;
                *self.next.get_mut(usize::try_from(partition)?).context("a partition nobody asked for")? =
                    next;
            }
        }
        Ok(())
    }
}
