//! The producer handle over the producer machine.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use milena_cluster::{Backoff, Machine as _, later};
use milena_connection::{Driven, Network, drive};
use milena_producer::{
    Accumulator, Acks, FlushId, Partitioner, Producer as Machine, ProducerConfig, ProducerEvent,
    ProducerStats, SettledBatch,
};
use milena_protocol::{records::Codec, wire::ByteString};
use tokio::sync::{Notify, watch};
use tracing::Instrument as _;

use crate::{
    BuildError, CloseError, ProducerInterceptor,
    client::Watch,
    explain::Handles,
    interceptor::Interceptors,
    memory::{Budget, Needs, Share},
    metrics::ProducerMeters,
    record::WallClock,
    trace::Tracing,
    transaction::TransactionSignals,
};

/// How long an abandoned producer goes on sending what it has.
const ABANDONED: Duration = Duration::from_secs(30);

/// Sends records in batches: idempotent and acknowledged by all replicas in sync, unless its builder was told to do with less
/// ([`acks`](ProducerBuilder::acks), [`idempotence`](ProducerBuilder::idempotence)).
///
/// Cloning shares the producer; every clone may be used from any task. With idempotence a retry never duplicates or
/// reorders. Close it
/// with [`close`](Self::close): the last clone that is dropped instead lets what was accepted be sent in the
/// background, for 30 seconds at most, and logs that.
#[derive(Clone, Debug)]
pub struct Producer {
    pub(crate) accumulator: Arc<Accumulator>,
    max_block: Duration,
    pub(crate) clock: WallClock,
    pub(crate) interceptors: Interceptors,
    pub(crate) tracing: Tracing,
    /// Nothing lingers.
    sends_at_once: bool,
    handle: Arc<Handle>,
}

/// What the clones share. Dropping it ends the machine.
#[derive(Debug)]
struct Handle {
    driven: Arc<Driven<Machine>>,
    signals: Arc<Signals>,
}

/// What the loop tells the handles.
#[derive(Debug)]
struct Signals {
    interceptors: Interceptors,
    meters: ProducerMeters,
    room: Notify,
    progress: watch::Sender<Progress>,
    transaction: TransactionSignals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// The newest flush that is done. Those before it are done too.
    flushed: Option<FlushId>,
    end: Option<End>,
}

/// How the task that drives the machine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The producer was closed.
    Closed,
    /// The runtime of the task has ended.
    Cut,
}

/// The task that drives the machine. However it ends, whoever waits is told: a runtime that shuts down drops its tasks.
struct Task {
    driven: Arc<Driven<Machine>>,
    signals: Arc<Signals>,
    _memory: Option<Share>,
}

/// Settings of a [`Producer`]. The defaults are safe; each setting says what it costs to turn.
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    network: Network,
    pub(crate) config: ProducerConfig,
    pub(crate) max_block: Duration,
    clock: WallClock,
    interceptors: Interceptors,
    budget: Option<Budget>,
    handles: Handles,
    watch: Watch,
}

impl ProducerBuilder {
    pub(crate) fn new(
        network: Network,
        seed: u64,
        clock: WallClock,
        budget: Option<Budget>,
        handles: Handles,
        watch: Watch,
    ) -> Self {
        let config = ProducerConfig { seed, ..ProducerConfig::default() };
        let interceptors = Interceptors::default();
        let max_block = Duration::from_secs(60);
        Self { network, config, max_block, clock, interceptors, budget, handles, watch }
    }

    /// How batches are compressed. Smaller batches cost the client CPU and save the network and the broker's disk.
    #[must_use]
    pub fn compression(mut self, codec: impl Into<Codec>) -> Self {
        self.config.codec = codec.into();
        self
    }

    /// How the batches of one topic are compressed, where that is not as [`compression`](Self::compression) says.
    #[must_use]
    pub fn topic_compression(mut self, topic: impl Into<ByteString>, codec: impl Into<Codec>) -> Self {
        self.config.topic_codecs.insert(topic.into(), codec.into());
        self
    }

    /// How long a batch waits for more records, 5 ms by default. More makes larger batches and each record later.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// The size of a batch in bytes before compression, 16 KiB by default. More makes fewer requests, and takes that
    /// much memory for every partition written to.
    #[must_use]
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.config.batch_size = bytes;
        self
    }

    /// The bytes all batches may hold together, 32 MiB by default. When they are used up, `enqueue` waits. What has been used
    /// once is kept for the batches to come.
    #[must_use]
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.config.buffer_memory = bytes;
        self
    }

    /// The largest request and record in bytes, 1 MiB by default. The topic's `max.message.bytes` bounds batches too.
    #[must_use]
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.config.max_request_size = bytes;
        self
    }

    /// Requests on their way to one broker, 1 to 5; 5 by default. Order is kept with any. Without
    /// [`idempotence`](Self::idempotence) there may be more, and only 1 keeps the order when a batch has to be sent again.
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.config.max_in_flight = requests;
        self
    }

    /// Who must have a record before it counts as acknowledged: [`Acks::All`] by default, which waits for the followers in
    /// sync. [`Acks::Leader`] saves that time, and what it acknowledged is lost when the leader dies before they have it.
    /// [`Acks::None`] waits for nobody: a record counts as sent when it has been written to the connection, has no offset, and
    /// is lost without a word when the broker refuses it or dies. Both need [`idempotence`](Self::idempotence) to be off, and
    /// transactions can't do with them.
    #[must_use]
    pub fn acks(mut self, acks: Acks) -> Self {
        self.config.acks = acks;
        self
    }

    /// Whether brokers can tell a retry from a new batch, by an id and sequence numbers; on by default. Off, a record whose
    /// request was not answered may be in the log twice once it has been sent again, and retries may change the order unless
    /// [`max_in_flight`](Self::max_in_flight) is 1. That saves one request when the producer begins, is needed for less than
    /// [`Acks::All`], and for brokers that grant the client no producer id.
    #[must_use]
    pub fn idempotence(mut self, is_idempotent: bool) -> Self {
        self.config.idempotence = is_idempotent;
        self
    }

    /// Whether a partition goes on when its broker misses what it had acknowledged
    /// ([`ProduceFailure::Desynchronized`](crate::ProduceFailure::Desynchronized)). By default it takes no more records: what is
    /// missing has to be looked into first, and another producer begun. Told to go on, it does so under a new producer id once
    /// nothing is in flight; what was in flight is told of as possibly written, and what follows may come behind a gap. Java
    /// goes on.
    #[must_use]
    pub fn continue_when_desynchronized(mut self, continues: bool) -> Self {
        self.config.continue_when_desynchronized = continues;
        self
    }

    /// How long a broker may take to answer, 30 s by default. Less finds a silent broker sooner; too little takes a
    /// slow one for dead and sends its batches again.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// How long a record may take from being accepted to being acknowledged, 120 s by default. It bounds all retries.
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.config.delivery_timeout = timeout;
        self
    }

    /// The waits between retries, doubling from `initial` to `max`; 100 ms to 1 s by default.
    #[must_use]
    pub fn retry_backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.config.retry_backoff = Backoff { initial, max };
        self
    }

    /// How long `enqueue` and `send` wait for memory or for a topic to become known, 60 s by default.
    #[must_use]
    pub fn max_block(mut self, timeout: Duration) -> Self {
        self.max_block = timeout;
        self
    }

    /// How records that name no partition are placed; by default keys go where Java's producers put them. Another choice
    /// for a topic in use sends a key's new records elsewhere than its old ones.
    #[must_use]
    pub fn partitioner(mut self, partitioner: Partitioner) -> Self {
        self.config.partitioner = partitioner;
        self
    }

    /// Whether records without a key go less often to partitions with long queues, as they do by default (KIP-794). Without
    /// it a slow broker gets as much as a fast one.
    #[must_use]
    pub fn adaptive_partitioning(mut self, is_adaptive: bool) -> Self {
        self.config.adaptive_partitioning = is_adaptive;
        self
    }

    /// For how long a leader may be sent nothing of what waits for it before records without a key go elsewhere; for ever by
    /// default (KIP-794). Less fills fewer buffers for a broker that is gone, and takes a slow one for it sooner.
    #[must_use]
    pub fn partition_availability_timeout(mut self, timeout: Duration) -> Self {
        self.config.partition_availability_timeout = Some(timeout);
        self
    }

    /// Records without a key go to partitions whose leader is in this rack, as long as one of them keeps up (KIP-1123). It
    /// saves traffic between racks; the partitions fill as unevenly as the clients are spread over the racks.
    #[must_use]
    pub fn prefer_rack(mut self, rack: impl Into<ByteString>) -> Self {
        self.config.partitioner_rack = Some(rack.into());
        self
    }

    /// Lets `interceptor` see what is sent and what becomes of it, after those that were added before. A record is copied
    /// once more for it.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl ProducerInterceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self.config.report_batches = true;
        self
    }

    /// Starts the producer on the current tokio runtime. Nothing is sent until there is a record.
    ///
    /// # Errors
    /// When the settings can't be.
    pub fn build(mut self) -> Result<Producer, BuildError> {
        self.config.report_batches |= ProducerMeters::wants_batches();
        let sends_at_once = self.config.linger.is_zero();
        let most = self.config.buffer_memory;
        let needs = Needs { least: self.config.max_request_size.max(self.config.batch_size).min(most), most };
        let machine = Machine::new(self.config)?;
        let accumulator = Arc::clone(machine.accumulator());
        let driven = Driven::new(machine);
        let memory = self.budget.map(|budget| budget.join(&driven, needs)).transpose()?;
        self.handles.add_producer(&driven);
        let interceptors = self.interceptors;
        let Watch { meters, tracing } = self.watch;
        let signals = Arc::new(Signals::new(interceptors.clone(), ProducerMeters::new(meters)));
        let task = Task { driven: Arc::clone(&driven), signals: Arc::clone(&signals), _memory: memory };
        tokio::spawn(task.run(self.network));
        let handle = Arc::new(Handle { driven, signals });
        Ok(Producer {
            accumulator,
            max_block: self.max_block,
            clock: self.clock,
            interceptors,
            tracing,
            sends_at_once,
            handle,
        })
    }
}

impl Task {
    async fn run(self, network: Network) {
        drive(Arc::clone(&self.driven), network, |event| self.signals.hear(event)).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.signals.end().is_some() {
            return;
        }
        // After a panic the machine is in no state to be asked anything.
        if !std::thread::panicking() {
            let events: Vec<_> = self.driven.change(|machine, now| {
                machine.close(now);
                machine.handle_timeout(now);
                std::iter::from_fn(|| machine.poll_event()).collect()
            });
            // A commit that was under way may be done or not: that is told, too.
            for event in events {
                match event {
                    ProducerEvent::Transaction(event) => self.signals.transaction.hear(event),
                    ProducerEvent::Settled(batch) => self.signals.on_settled(&batch),
                    _ => {}
                }
            }
        }
        self.signals.finish(End::Cut);
    }
}

impl Signals {
    fn new(interceptors: Interceptors, meters: ProducerMeters) -> Self {
        Self {
            interceptors,
            meters,
            room: Notify::default(),
            progress: watch::Sender::default(),
            transaction: TransactionSignals::default(),
        }
    }

    fn on_settled(&self, batch: &SettledBatch) {
        self.meters.on_settled(batch);
        self.interceptors.on_settled(batch);
    }

    fn hear(&self, event: ProducerEvent) -> ControlFlow<()> {
        match event {
            ProducerEvent::Room => self.room.notify_waiters(),
            ProducerEvent::Flushed(id) => {
                self.progress.send_modify(|progress| progress.flushed = progress.flushed.max(Some(id)));
            }
            ProducerEvent::Transaction(event) => self.transaction.hear(event),
            ProducerEvent::Settled(batch) => self.on_settled(&batch),
            ProducerEvent::Closed => {
                self.finish(End::Closed);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn finish(&self, end: End) {
        self.progress.send_modify(|progress| progress.end = Some(end));
        self.room.notify_waiters();
        self.transaction.finish();
    }

    fn end(&self) -> Option<End> {
        self.progress.borrow().end
    }

    /// Waits until the progress satisfies `reached`, or until there will be no more.
    async fn wait_for(&self, reached: impl Fn(&Progress) -> bool) -> Result<(), CloseError> {
        let mut progress = self.progress.subscribe();
        let ended = progress.wait_for(|progress| reached(progress) || progress.end.is_some()).await;
        // The sender is `self`'s own, so waiting can't fail.
        match ended.map(|progress| (reached(&progress), progress.end)) {
            Ok((true, _) | (_, Some(End::Closed))) => Ok(()),
            Ok(_) | Err(_) => Err(CloseError::TaskEnded),
        }
    }
}

impl Producer {
    pub(crate) fn driven(&self) -> &Driven<Machine> {
        &self.handle.driven
    }

    /// Something new is to be sent, or to be waited for.
    #[inline]
    pub(crate) fn stir(&self) {
        if self.sends_at_once {
            self.driven().send_now();
        } else {
            self.driven().wake();
        }
    }

    /// Notified when there is room again, or a topic has become known, or all is over.
    pub(crate) fn room(&self) -> &Notify {
        &self.handle.signals.room
    }

    pub(crate) fn transaction_signals(&self) -> &TransactionSignals {
        &self.handle.signals.transaction
    }

    /// What the producer holds, and what it has done. It takes the lock of the machine: now and then, not for each record.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.driven().look().stats()
    }

    pub(crate) fn max_block(&self) -> Duration {
        self.max_block
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.handle.signals.end().is_some()
    }

    /// Sends what has been accepted without waiting for batches to fill, and waits until all of it is settled. What is
    /// accepted meanwhile does not prolong the wait. Each record's [`Delivery`](crate::Delivery) tells how it ended.
    ///
    /// # Errors
    /// When the producer's task has ended.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing but that nobody waits.
    pub async fn flush(&self) -> Result<(), CloseError> {
        let signals = &self.handle.signals;
        if signals.end().is_some() {
            return signals.wait_for(|_| false).await;
        }
        let id = self.handle.driven.change(|machine, _| machine.flush());
        let flushed = signals.wait_for(|progress| progress.flushed >= Some(id));
        flushed.instrument(tracing::debug_span!("flush")).await
    }

    /// Accepts nothing more, sends what there is and ends, after `timeout` at the latest. What is not acknowledged by
    /// then fails. The other clones fail from here on.
    ///
    /// # Errors
    /// When the producer's task has ended before.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing but that nobody waits.
    pub async fn close(&self, timeout: Duration) -> Result<(), CloseError> {
        self.handle.driven.change(|machine, now| machine.close(later(now, timeout)));
        self.handle.signals.wait_for(|_| false).instrument(tracing::debug_span!("close")).await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.signals.end().is_some() {
            return;
        }
        let used = self.driven.look().accumulator().used();
        if used > 0 {
            tracing::warn!(
                bytes = used,
                "a producer was dropped without close; what it holds is sent in the background"
            );
        }
        self.driven.change(|machine, now| machine.close(later(now, ABANDONED)));
    }
}
