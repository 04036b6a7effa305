//! The peers: each in a module of its own, used as its documentation says it is to be used for throughput.

mod bound;
mod codec;
mod confluent;
mod consume;
mod join;
mod kacrab;
mod krafka;
mod member;
mod milena;
mod rdkafka;
mod rebalance;
mod rskafka;

pub(crate) use bound::fill;

use std::{collections::VecDeque, fmt, future::Future, str::FromStr, time::Instant};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;

use crate::{
    case::{Case, Variant, Work},
    measure::{Latency, Meter, Sample, latency, memory_kib},
    payload::Payloads,
};

/// The memory that each peer may use for records that are not acknowledged, and so also for its batches.
pub(crate) const BUFFER_MEMORY: usize = 32 << 20;
pub(crate) const LINGER_MS: u64 = 5;
pub(crate) const IN_FLIGHT: usize = 5;
/// A request carries one full batch, or many small ones.
pub(crate) const MAX_REQUEST: usize = 1 << 20;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Peer {
    Milena,
    Confluent,
    Krafka,
    Kacrab,
    Rskafka,
    Rdkafka,
    FranzGo,
    Java,
    /// No client: requests that are written beforehand, over one blocking socket.
    Bound,
    /// No client and no broker: batches that are filled beforehand are compressed and given their CRC.
    Codec,
}

impl Peer {
    pub(crate) const ALL: [Self; 10] = [
        Self::Milena,
        Self::Confluent,
        Self::Krafka,
        Self::Kacrab,
        Self::Rskafka,
        Self::Rdkafka,
        Self::FranzGo,
        Self::Java,
        Self::Bound,
        Self::Codec,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Milena => "milena",
            Self::Confluent => "confluent-kafka",
            Self::Krafka => "krafka",
            Self::Kacrab => "kacrab",
            Self::Rskafka => "rskafka",
            Self::Rdkafka => "rdkafka",
            Self::FranzGo => "franz-go",
            Self::Java => "java",
            Self::Bound => "bound",
            Self::Codec => "codec",
        }
    }

    /// Whether it has anything to do in such a case.
    pub(crate) fn takes(self, case: Case) -> bool {
        match (case.work, case.variant) {
            (Work::Produce, _) => true,
            (Work::Consume, Variant::Budget(_)) => self == Self::Milena,
            (Work::Consume, Variant::Idle) => !matches!(self, Self::Bound | Self::Codec),
            (Work::Latency | Work::Consume, _) => self != Self::Codec,
            (Work::Join, _) => matches!(self, Self::Milena | Self::Rdkafka | Self::FranzGo | Self::Java),
            (Work::Rebalance, _) => matches!(self, Self::Milena | Self::Rdkafka | Self::FranzGo),
        }
    }

    /// Whether records end up in the topic.
    pub(crate) fn writes(self, case: Case) -> bool {
        self != Self::Codec && case.writes()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|peer| peer.as_str() == text);
        found.with_context(|| format!("{text} is no peer; there are {known}"))
    }
}

/// What a child is to do.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) case: Case,
    pub(crate) bootstrap: String,
    pub(crate) topic: String,
    pub(crate) records: usize,
    pub(crate) warm_up: usize,
    pub(crate) payloads: Payloads,
    /// Claims a record that was never sent, so that the check of the outcome can be seen to fail.
    pub(crate) plant: bool,
}

/// A producer under measurement. Each numbers the records itself: the payload's number is all it gets.
trait Producing {
    /// Hands the record over, and waits where there is no room. What was acknowledged meanwhile may be counted here.
    fn enqueue(&mut self, index: usize) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Waits until all that was handed over is acknowledged, and says how many records that were since the start.
    fn settle(&mut self) -> impl Future<Output = anyhow::Result<u64>> + Send;

    /// Sends the record and waits until it is acknowledged.
    fn send(&mut self, index: usize) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Runs one peer's part of a case in this process.
pub(crate) fn run(peer: Peer, job: &'static Job) -> anyhow::Result<Sample> {
    if peer == Peer::Bound && peer.writes(job.case) {
        return bound::run(job);
    }
    if peer == Peer::Codec {
        return codec::run(job);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // A task of the runtime, as a service's would be, and not the thread that waits for it.
    runtime.block_on(runtime.spawn(async move {
        match job.case.work {
            Work::Produce | Work::Latency => run_producer(peer, job).await,
            Work::Consume => run_consumer(peer, job).await,
            Work::Join => match peer {
                Peer::Milena => join::run::<milena::Consumer>(job).await,
                Peer::Rdkafka => join::run::<rdkafka::Consumer>(job).await,
                _ => bail!("{peer} joins no group here"),
            },
            Work::Rebalance => match peer {
                Peer::Milena => rebalance::run::<milena::Consumer>(job).await,
                Peer::Rdkafka => rebalance::run::<rdkafka::Consumer>(job).await,
                _ => bail!("{peer} joins no group here"),
            },
        }
    }))?
}

async fn run_consumer(peer: Peer, job: &'static Job) -> anyhow::Result<Sample> {
    match peer {
        Peer::Milena => consume::run(job, milena::Consumer::connect(job)).await,
        Peer::Confluent => consume::run(job, confluent::Consumer::connect(job)).await,
        Peer::Krafka => consume::run(job, krafka::Consumer::connect(job)).await,
        Peer::Kacrab => consume::run(job, kacrab::Consumer::connect(job)).await,
        Peer::Rskafka => consume::run(job, rskafka::Consumer::connect(job)).await,
        Peer::Rdkafka => consume::run(job, async { rdkafka::Consumer::connect(job) }).await,
        Peer::Bound => consume::run(job, async { bound::Fetcher::connect(job) }).await,
        Peer::FranzGo | Peer::Java | Peer::Codec => bail!("{peer} is no Rust client"),
    }
}

async fn run_producer(peer: Peer, job: &'static Job) -> anyhow::Result<Sample> {
    match peer {
        Peer::Milena => produce(job, milena::Producer::connect(job).await?).await,
        Peer::Confluent => produce(job, confluent::Producer::connect(job)?).await,
        Peer::Krafka => produce(job, krafka::Producer::connect(job).await?).await,
        Peer::Kacrab => produce(job, kacrab::Producer::connect(job).await?).await,
        Peer::Rskafka => produce(job, rskafka::Producer::connect(job).await?).await,
        Peer::Rdkafka => produce(job, rdkafka::Producer::connect(job)?).await,
        Peer::FranzGo | Peer::Java | Peer::Bound | Peer::Codec => bail!("{peer} is no Rust client"),
    }
}

async fn produce(job: &Job, mut producer: impl Producing) -> anyhow::Result<Sample> {
    match job.case.work {
        Work::Produce => throughput(job, &mut producer).await,
        Work::Latency => one_at_a_time(job, &mut producer).await,
        Work::Consume | Work::Join | Work::Rebalance => bail!("a producer does not consume"),
    }
}

async fn throughput(job: &Job, producer: &mut impl Producing) -> anyhow::Result<Sample> {
    let base_kib = memory_kib()?.1;
    for index in 0..job.warm_up {
        producer.enqueue(index).await?;
    }
    producer.settle().await?;
    let meter = Meter::start()?;
    for index in job.warm_up..job.warm_up + job.records {
        producer.enqueue(index).await?;
    }
    let acknowledged = producer.settle().await?;
    let (seconds, cpu_us) = meter.stop()?;
    finish(job, acknowledged, seconds, cpu_us, base_kib, None)
}

async fn one_at_a_time(job: &Job, producer: &mut impl Producing) -> anyhow::Result<Sample> {
    let base_kib = memory_kib()?.1;
    for index in 0..job.warm_up {
        producer.send(index).await?;
    }
    let mut histogram = Histogram::<u64>::new(3)?;
    let meter = Meter::start()?;
    for index in job.warm_up..job.warm_up + job.records {
        let begin = Instant::now();
        producer.send(index).await?;
        histogram.record(u64::try_from(begin.elapsed().as_nanos())?)?;
    }
    let (seconds, cpu_us) = meter.stop()?;
    let acknowledged = u64::try_from(job.warm_up + job.records)?;
    finish(job, acknowledged, seconds, cpu_us, base_kib, Some(latency(&histogram)))
}

/// Puts a sample together. That the topic agrees with it is looked at by the process that started this one.
fn finish(
    job: &Job,
    acknowledged: u64,
    seconds: f64,
    cpu_us: f64,
    base_kib: u64,
    latency: Option<Latency>,
) -> anyhow::Result<Sample> {
    let sent = u64::try_from(job.warm_up + job.records)?;
    ensure!(acknowledged == sent, "{acknowledged} of {sent} records were acknowledged");
    let claimed = acknowledged + u64::from(job.plant);
    let records = u64::try_from(job.records)?;
    let peak_kib = memory_kib()?.0;
    let acknowledged = claimed;
    Ok(Sample { records, acknowledged, seconds, cpu_us, peak_kib, base_kib, latency, ..Sample::default() })
}

/// What a program holds that wants to know of each record: the futures of those not yet known, oldest first, and no
/// more of them than records fit into the producer's memory.
#[derive(Debug)]
struct Window<F> {
    pending: VecDeque<F>,
    limit: usize,
    acknowledged: u64,
}

impl<F, T, E> Window<F>
where
    F: Future<Output = Result<T, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    fn new(case: Case) -> Self {
        let limit = BUFFER_MEMORY / case.value.max(1);
        Self { pending: VecDeque::with_capacity(limit), limit, acknowledged: 0 }
    }

    #[inline]
    async fn push(&mut self, delivery: F) -> anyhow::Result<()> {
        if self.pending.len() >= self.limit {
            self.pop().await?;
        }
        self.pending.push_back(delivery);
        Ok(())
    }

    /// Awaits the oldest; false when there is none.
    async fn pop(&mut self) -> anyhow::Result<bool> {
        let Some(oldest) = self.pending.pop_front() else { return Ok(false) };
        oldest.await?;
        self.acknowledged += 1;
        Ok(true)
    }

    async fn drain(&mut self) -> anyhow::Result<u64> {
        while self.pop().await? {}
        Ok(self.acknowledged)
    }
}
