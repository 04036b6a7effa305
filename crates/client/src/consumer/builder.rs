//! A consumer's settings.

use std::{sync::Arc, time::Duration};

use milena_cluster::TopicPartition;
use milena_connection::{Driven, Network};
use milena_consumer_group::{
    Assignor, AutoOffsetReset, Consumer as Machine, ConsumerConfig, GroupProtocol, IsolationLevel, Position,
    SubscribeError,
};
use milena_protocol::wire::ByteString;

use super::{Consumer, Habits, Listener, RebalanceListener, Told};
use crate::{
    BuildError, Deserializer, TypedConsumer,
    client::{MemberSeeds, Watch},
    explain::Handles,
    memory::{Budget, Needs},
    metrics::ConsumerMeters,
    record::WallClock,
};
use milena_producer::Clock;

/// Settings of a [`Consumer`]. The defaults are Kafka's; each setting says what it costs to turn.
#[derive(Clone, Debug)]
#[must_use = "nothing is read until it is built"]
pub struct ConsumerBuilder {
    network: Network,
    pub(crate) config: ConsumerConfig,
    /// Drawn from by each consumer that is built: a builder that is cloned builds several.
    seeds: MemberSeeds,
    clock: WallClock,
    source: Source,
    pub(crate) habits: Habits,
    budget: Option<Budget>,
    handles: Handles,
    watch: Watch,
}

#[derive(Clone, Debug)]
enum Source {
    Nothing,
    Topics(Vec<ByteString>),
    Pattern(ByteString),
    Partitions(Vec<(TopicPartition, Option<Position>)>),
}

impl ConsumerBuilder {
    pub(crate) fn new(
        network: Network,
        group: Option<ByteString>,
        seeds: MemberSeeds,
        clock: WallClock,
        budget: Option<Budget>,
        handles: Handles,
        watch: Watch,
    ) -> Self {
        let config = ConsumerConfig { group_id: group, ..ConsumerConfig::default() };
        let habits = Habits { max_poll_records: 500, ..Habits::default() };
        Self { network, config, seeds, clock, source: Source::Nothing, habits, budget, handles, watch }
    }

    /// Reads these topics, sharing their partitions with the other members of the group.
    pub fn subscribe<T: Into<ByteString>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.source = Source::Topics(topics.into_iter().map(Into::into).collect());
        self
    }

    /// Reads every topic whose whole name matches `pattern`, and those that are made later, sharing their partitions with the
    /// other members of the group. The cluster does the matching, in the syntax of RE2, and looks for new topics now and
    /// then: it must have KIP-848 with patterns (4.0), and a pattern that it does not understand stops the consumer.
    pub fn subscribe_pattern(mut self, pattern: impl Into<ByteString>) -> Self {
        self.source = Source::Pattern(pattern.into());
        self
    }

    /// Reads these partitions, whoever else does. Reading starts at the committed offset, if there is a group and it
    /// has one, else where [`auto_offset_reset`](Self::auto_offset_reset) says.
    pub fn assign(mut self, partitions: impl IntoIterator<Item = TopicPartition>) -> Self {
        let partitions = partitions.into_iter().map(|partition| (partition, None)).collect();
        self.source = Source::Partitions(partitions);
        self
    }

    /// Where reading starts without a committed offset: at the latest record by default, so that what was written
    /// before is never read.
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.config.auto_offset_reset = reset;
        self
    }

    /// Tells `listener` which partitions come and go. Of several listeners, the one that was added first is told first of
    /// partitions that come, and last of those that go.
    pub fn rebalance_listener(mut self, listener: impl RebalanceListener) -> Self {
        self.habits.listener = Some(match self.habits.listener {
            None => Listener::new(listener),
            Some(outer) => outer.around(listener),
        });
        self
    }

    /// Commits positions by itself: every `interval`, and before partitions are given up. What was handed out is taken for
    /// processed when the consumer is polled again or closed; it never commits more.
    ///
    /// It is off by default, where Java's is on: whoever hands records to other tasks, or goes on after an error, would lose
    /// what was committed before it was processed.
    pub fn auto_commit(mut self, interval: Duration) -> Self {
        self.habits.auto_commit = Some(interval);
        self
    }

    /// Takes [`auto_commit`](Self::auto_commit) back, whoever asked for it: what commits by itself needs that.
    pub fn without_auto_commit(mut self) -> Self {
        self.habits.auto_commit = None;
        self
    }

    /// By which protocol the group shares out partitions. By default KIP-848 where the cluster has it, else the
    /// classic one.
    pub fn group_protocol(mut self, protocol: GroupProtocol) -> Self {
        self.config.group_protocol = protocol;
        self
    }

    /// How the leader of a classic group shares partitions out, the preferred way first
    /// (`partition.assignment.strategy`). All members must have one in common. Members keep what does not move while the group
    /// rebalances only if every one of these is cooperative; by default they are range and cooperative-sticky, from which a
    /// group can be changed to the latter alone.
    pub fn assignors(mut self, assignors: impl IntoIterator<Item = Assignor>) -> Self {
        self.config.assignors = assignors.into_iter().collect();
        self
    }

    /// How the cluster shares partitions out under KIP-848 (`group.remote.assignor`): `uniform` or `range`, as far as it
    /// has no others. By default it chooses.
    pub fn server_assignor(mut self, name: impl Into<ByteString>) -> Self {
        self.config.server_assignor = Some(name.into());
        self
    }

    /// Where the consumer is (`client.rack`). A cluster that is set up for it has partitions read from a replica in the same
    /// rack (KIP-392): cheaper, and a little later.
    pub fn client_rack(mut self, rack: impl Into<ByteString>) -> Self {
        self.config.client_rack = Some(rack.into());
        self
    }

    /// Makes the member static (KIP-345): a restart within the session timeout moves no partition. A member that is
    /// gone for good keeps its partitions idle for that long.
    pub fn group_instance_id(mut self, id: impl Into<ByteString>) -> Self {
        self.config.group_instance_id = Some(id.into());
        self
    }

    /// Whether records of open and aborted transactions are handed out; they are by default, as in Java.
    pub fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.config.isolation_level = level;
        self
    }

    /// How long the application may be busy between two polls before its partitions go to others, 5 min by default.
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.config.max_poll_interval = interval;
        self
    }

    /// The most records [`Consumer::poll`] hands out at once, 500 by default. More costs nothing but a longer time
    /// between two polls.
    pub fn max_poll_records(mut self, records: usize) -> Self {
        self.habits.max_poll_records = records.max(1);
        self
    }

    /// After how long without a heartbeat the member counts as gone, 45 s by default. Under KIP-848 the cluster decides.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.config.session_timeout = timeout;
        self
    }

    /// The time between heartbeats of the classic protocol, 3 s by default.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.config.heartbeat_interval = interval;
        self
    }

    /// How long a broker may wait for enough bytes before it answers a fetch, 500 ms by default. Less makes more, emptier
    /// answers.
    pub fn fetch_max_wait(mut self, wait: Duration) -> Self {
        self.config.fetch_max_wait = wait;
        self
    }

    /// How many bytes a broker gathers before it answers a fetch, 1 by default. More means fewer answers, later.
    pub fn fetch_min_bytes(mut self, bytes: i32) -> Self {
        self.config.fetch_min_bytes = bytes;
        self
    }

    /// The most bytes of one partition in an answer, 1 MiB by default. A larger batch comes all the same.
    pub fn max_partition_fetch_bytes(mut self, bytes: i32) -> Self {
        self.config.max_partition_fetch_bytes = bytes;
        self
    }

    /// The most bytes of an answer, 50 MiB by default. A larger first batch comes all the same.
    pub fn fetch_max_bytes(mut self, bytes: i32) -> Self {
        self.config.fetch_max_bytes = bytes;
        self
    }

    /// Whether the CRC of each batch is checked; it is by default. Without it damage on the way goes unnoticed.
    pub fn check_crcs(mut self, check: bool) -> Self {
        self.config.check_crcs = check;
        self
    }

    /// The most bytes of records that are fetched and on their way, decompressed ones and those included that the application
    /// has not dropped; 64 MiB by default. A batch that is larger comes all the same.
    pub fn max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.config.max_buffered_bytes = bytes;
        self
    }

    /// How long a broker may take to answer, 30 s by default.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// Starts the consumer on the current tokio runtime. Joining and fetching begin at once, in the background.
    ///
    /// # Errors
    /// When the settings can't be.
    pub fn build(self) -> Result<Consumer, BuildError> {
        let now = milena_connection::now();
        if self.habits.auto_commit.is_some() && self.config.group_id.is_none() {
            return Err(SubscribeError::NoGroup.into());
        }
        let (started_at_ms, seed) = (self.clock.wall_ms(), self.seeds.next());
        let config = ConsumerConfig { started_at_ms, seed, ..self.config };
        let most = config.max_buffered_bytes;
        let least = usize::try_from(config.max_partition_fetch_bytes).unwrap_or_default().min(most);
        let needs = Needs { least, most };
        let group = config.group_id.clone();
        let mut machine = Machine::new(now, config)?;
        match self.source {
            Source::Nothing => {}
            Source::Topics(topics) => machine.subscribe(now, topics)?,
            Source::Pattern(pattern) => machine.subscribe_pattern(now, pattern)?,
            Source::Partitions(partitions) => machine.assign(now, partitions)?,
        }
        let driven = Driven::new(machine);
        let share = self.budget.map(|budget| budget.join(&driven, needs)).transpose()?;
        self.handles.add_consumer(&driven);
        let Watch { meters, tracing } = self.watch;
        let meters = Arc::new(ConsumerMeters::new(meters, group.clone()));
        let told = Told { meters, tracing, group: group.unwrap_or_default() };
        Ok(Consumer::start(driven, self.network, self.habits, share, told))
    }

    /// As [`build`](Self::build), of a consumer with these deserializers for keys and values.
    ///
    /// ```no_run
    /// use milena::{BigEndian, Nullable, Utf8};
    /// # async fn read(client: milena::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let consumer = client.consumer("books").subscribe(["totals"]).build_typed(Utf8, Nullable(BigEndian::<i64>::new()))?;
    /// while let Some(mut records) = consumer.poll(std::time::Duration::from_secs(1)).await? {
    ///     while let Some(record) = records.next().await {
    ///         let record = record?;
    ///         println!("{} at offset {}: {:?}", record.key, record.offset(), record.value);
    ///     }
    ///     consumer.commit().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_typed<K: Deserializer, V: Deserializer>(
        self,
        key: K,
        value: V,
    ) -> Result<TypedConsumer<K, V>, BuildError> {
        Ok(TypedConsumer::new(self.build()?, key, value))
    }
}
