//! The client: bootstrap addresses and the connections everything else shares.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use milena_cluster::{Backoff, Target};
#[cfg(feature = "socks5")]
use milena_connection::Socks5;
#[cfg(feature = "_tls")]
use milena_connection::Tls;
use milena_connection::{Address, ConnectionConfig, Dial, Network, Sasl};
use milena_protocol::{messages::MetadataRequest, wire::ByteString};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Admin, ConnectError, ConsumerBuilder, Explanation, ProducerBuilder, Propagator,
    TransactionalProducerBuilder,
    explain::Handles,
    memory::Budget,
    metrics::{Bounds, Meters},
    record::WallClock,
    trace::Tracing,
};

/// A handle to a Kafka cluster. Cloning shares its connections.
///
/// # Example
/// ```
/// # use milena_embedded_broker::EmbeddedBroker;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = EmbeddedBroker::builder().topic("orders", 3).start().await?;
/// # let bootstrap = broker.bootstrap();
/// use milena::{Client, Record};
///
/// let client = Client::connect(&bootstrap).await?;
/// let producer = client.producer().build()?;
/// let written = producer.send(Record::new("orders").key("cust-1").value("{}")).await?;
/// println!("partition {} at offset {:?}", written.partition, written.offset);
/// producer.close(std::time::Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    network: Network,
    seed: u64,
    clock: WallClock,
    member_seeds: MemberSeeds,
    budget: Option<Budget>,
    handles: Handles,
    watch: Watch,
}

/// What handles tell of what they do.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) meters: Meters,
    pub(crate) tracing: Tracing,
}

/// A seed for each consumer of a client: members of one group must not draw the same ids.
#[derive(Clone, Debug)]
pub(crate) struct MemberSeeds {
    seed: u64,
    /// How many consumers have been built.
    members: Arc<AtomicU64>,
}

impl MemberSeeds {
    fn new(seed: u64) -> Self {
        Self { seed, members: Arc::default() }
    }

    pub(crate) fn next(&self) -> u64 {
        let member = self.members.fetch_add(1, Ordering::Relaxed);
        self.seed.wrapping_add(member.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// Settings of a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    bootstrap: String,
    connection: ConnectionConfig,
    pub(crate) request_timeout: Duration,
    seed: u64,
    pub(crate) clock: WallClock,
    memory: Option<usize>,
    bounds: Bounds,
    tracing: Tracing,
}

impl Client {
    /// Connects with the default settings. `bootstrap` is `host:port`, several separated by commas; the rest of the
    /// cluster is found from there.
    ///
    /// # Errors
    /// When no broker can be reached.
    ///
    /// # Cancellation
    /// As [`ClientBuilder::connect`].
    pub async fn connect(bootstrap: impl Into<String>) -> Result<Self, ConnectError> {
        Self::builder(bootstrap).connect().await
    }

    /// Settings to start from.
    pub fn builder(bootstrap: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            bootstrap: bootstrap.into(),
            connection: ConnectionConfig::default(),
            request_timeout: Duration::from_secs(30),
            // Spreads waits, places records without a key and names group members: none of it is a secret, and what
            // the hasher of a map is seeded with differs from process to process.
            seed: RandomState::new().hash_one(0),
            clock: WallClock::System,
            memory: None,
            bounds: Bounds::default(),
            tracing: Tracing::default(),
        }
    }

    /// A producer to be set up and built.
    #[must_use]
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(
            self.network.clone(),
            self.seed,
            self.clock.clone(),
            self.budget.clone(),
            self.handles.clone(),
            self.watch.clone(),
        )
    }

    /// A producer with transactions, to be set up and built. `id` names it over restarts (`transactional.id`): of the
    /// producers with one id only the newest is not fenced.
    pub fn transactional_producer(&self, id: impl Into<ByteString>) -> TransactionalProducerBuilder {
        TransactionalProducerBuilder::new(self.producer(), id.into())
    }

    /// A consumer of this group, to be set up and built.
    pub fn consumer(&self, group: impl Into<ByteString>) -> ConsumerBuilder {
        self.consumer_of(Some(group.into()))
    }

    /// A consumer without a group, to be set up and built: it reads the partitions it is told to and commits nothing.
    pub fn consumer_without_group(&self) -> ConsumerBuilder {
        self.consumer_of(None)
    }

    fn consumer_of(&self, group: Option<ByteString>) -> ConsumerBuilder {
        let (seeds, clock) = (self.member_seeds.clone(), self.clock.clone());
        ConsumerBuilder::new(
            self.network.clone(),
            group,
            seeds,
            clock,
            self.budget.clone(),
            self.handles.clone(),
            self.watch.clone(),
        )
    }

    /// Topics, groups and their offsets.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.network.clone())
    }

    /// Asks now and then how far groups are behind, to be set up and started.
    #[cfg(feature = "metrics")]
    pub fn lag_monitor(&self) -> crate::metrics::LagMonitorBuilder {
        crate::metrics::LagMonitorBuilder::new(self.admin(), self.watch.meters.clone())
    }

    /// Why the client does not do more than it does: what each partition that is read or written waits for and for how long,
    /// what went wrong last with each broker and at which stage, and where each group and transaction stands. It asks nobody, and
    /// takes as long as looking at each producer and consumer.
    ///
    /// ```
    /// # use milena_embedded_broker::EmbeddedBroker;
    /// # use milena::Client;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let broker = EmbeddedBroker::builder().topic("orders", 1).start().await?;
    /// let client = Client::connect(broker.bootstrap()).await?;
    /// let consumer = client.consumer("billing").subscribe(["orders"]).build()?;
    /// println!("{}", client.explain());
    /// # consumer.close(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn explain(&self) -> Explanation {
        self.handles.explain(self.network.report())
    }

    /// Closes every connection. Producers and consumers of this client are closed first, by their own `close`: what
    /// they have not finished fails.
    pub fn shutdown(&self) {
        self.network.close();
    }
}

impl ClientBuilder {
    /// How the client is named in the brokers' logs and quotas (`client.id`).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<ByteString>) -> Self {
        self.connection.client_id = id.into();
        self
    }

    /// How long resolving, connecting, logging in and agreeing on versions with one broker may take together, 10 s by default
    /// (`socket.connection.setup.timeout.ms`). Less finds a dead address sooner and gives up on a slow one. Each failure in a row
    /// doubles it for the next try, up to three times the first unless
    /// [`max_setup_timeout`](Self::max_setup_timeout) says otherwise.
    #[must_use]
    pub fn setup_timeout(mut self, timeout: Duration) -> Self {
        self.connection.setup_timeout = timeout;
        self
    }

    /// The most that [`setup_timeout`](Self::setup_timeout) grows to (`socket.connection.setup.timeout.max.ms`, KIP-601).
    #[must_use]
    pub fn max_setup_timeout(mut self, timeout: Duration) -> Self {
        self.connection.max_setup_timeout = Some(timeout);
        self
    }

    /// The waits before a broker that could not be reached is tried again: 50 ms, doubled with each failure up to 1 s, and
    /// spread by a fifth either way (`reconnect.backoff.ms`, `reconnect.backoff.max.ms`). Less finds a broker that is back sooner,
    /// more spares one that has trouble enough.
    #[must_use]
    pub fn reconnect_backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.connection.reconnect_backoff = Backoff { initial, max };
        self
    }

    /// A connection over which nothing was asked for so long is closed, and made again when it is needed; nine minutes by
    /// default (`connections.max.idle.ms`), [`Duration::MAX`] keeps it. Brokers close idle connections themselves, after ten
    /// minutes by default, and a request that crosses that has to be sent again: stay below what they are set to.
    #[must_use]
    pub fn max_idle(mut self, idle: Duration) -> Self {
        self.connection.max_idle = idle;
        self
    }

    /// After so long without a sign of the broker the system asks for one (TCP keep-alive); 60 s by default, whole seconds
    /// count. Load balancers and firewalls that forget quiet connections without telling, some after four minutes, go on knowing
    /// this one. `None` does not ask.
    #[must_use]
    pub fn keepalive(mut self, quiet: Option<Duration>) -> Self {
        self.connection.keepalive = quiet;
        self
    }

    /// How long bytes may stay unacknowledged before the system ends the connection (`TCP_USER_TIMEOUT`, on Linux); 30 s by
    /// default. Less finds a broker sooner whose machine is gone without a word. `None` leaves it to the system.
    #[must_use]
    pub fn tcp_user_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.connection.user_timeout = timeout;
        self
    }

    /// When metadata was asked for in vain for so long, the brokers that are known are forgotten and the bootstrap addresses,
    /// which are resolved anew, asked again; five minutes by default
    /// (`metadata.recovery.rebootstrap.trigger.ms`, KIP-1102). [`Duration::MAX`] never does
    /// (`metadata.recovery.strategy=none`), but for a broker that demands it.
    #[must_use]
    pub fn rebootstrap_after(mut self, patience: Duration) -> Self {
        self.connection.rebootstrap_after = patience;
        self
    }

    /// Makes every connection through a SOCKS5 proxy, which resolves the names of brokers.
    ///
    /// ```
    /// # use milena::{Client, Socks5};
    /// let proxy = Socks5::new("proxy.example:1080".parse()?).login("alice", "secret");
    /// let builder = Client::builder("kafka.internal:9092").socks5(proxy);
    /// # Ok::<(), milena::InvalidAddress>(())
    /// ```
    #[cfg(feature = "socks5")]
    #[must_use]
    pub fn socks5(mut self, proxy: Socks5) -> Self {
        self.connection.socks5 = Some(proxy);
        self
    }

    /// The longest answer taken from a broker, in bytes. It bounds what one answer can make the client hold.
    #[must_use]
    pub fn max_frame_len(mut self, bytes: usize) -> Self {
        self.connection.max_frame_len = bytes;
        self
    }

    /// The most bytes that records take in this client: in batches that are filled or on their way, and fetched, on their way
    /// or decompressed until the application drops them. All producers and consumers divide them equally, up to what
    /// each asks for ([`buffer_memory`](ProducerBuilder::buffer_memory),
    /// [`max_buffered_bytes`](ConsumerBuilder::max_buffered_bytes)). Building one more than there is memory for is refused.
    /// Without a number, each has what it asks for.
    ///
    /// A batch that is larger than the share of a consumer comes all the same, and a consumer whose application keeps what it
    /// reads goes on in small steps. On top come 128 KiB for each connection, and 2 MiB for each producer that compresses.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Connects the application's traces with the headers of records: what is sent carries the context that `propagator` gives,
    /// and what is received is linked. Without one no header is added.
    #[must_use]
    pub fn propagator(mut self, propagator: impl Propagator) -> Self {
        self.tracing.propagator = Some(Arc::new(propagator));
        self
    }

    /// Whether spans tell the keys of records that are sent, those that are text of up to 64 bytes
    /// (`messaging.kafka.message.key`). By default they tell nothing of what a record holds, for traces are seen by others than
    /// records are. Values are never told.
    #[must_use]
    pub fn trace_keys(mut self, tells_keys: bool) -> Self {
        self.tracing.tells_keys = tells_keys;
        self
    }

    /// How many topics have metrics of their own, 1,000 by default; those that come later are counted together as `(other)`.
    /// More makes more series for whoever stores them.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics_topics(mut self, topics: usize) -> Self {
        self.bounds.topics = topics;
        self
    }

    /// How many partitions of groups have a gauge of their lag, 10,000 by default; the others have none.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics_partitions(mut self, partitions: usize) -> Self {
        self.bounds.partitions = partitions;
        self
    }

    /// What all random choices are drawn from, to repeat a run.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Makes the byte streams to brokers with `dial` in place of TCP: through a proxy or a tunnel, or within the process as to
    /// an embedded broker in memory. It is called for every connection, with the host and port that the cluster
    /// advertises, under the [setup timeout](Self::setup_timeout).
    ///
    /// ```
    /// # use milena_embedded_broker::EmbeddedBroker;
    /// # use milena::{Client, Record};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = EmbeddedBroker::builder().in_memory().topic("orders", 3).start().await?;
    /// let dialer = broker.dialer();
    /// let dial = move |host: String, port| std::future::ready(dialer.dial(&host, port));
    /// let client = Client::builder(broker.bootstrap()).dial_with(dial).connect().await?;
    /// # client.producer().build()?.send(Record::new("orders").value("{}")).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn dial_with<F, S>(mut self, dial: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.connection.dial = Some(Dial::new(move |address: Address| dial(address.host, address.port)));
        self
    }

    /// Encrypts every connection, and believes only brokers whose certificates the settings allow. Without it everybody in
    /// between can read and change what is sent.
    ///
    /// ```
    /// # use milena::{Client, Sasl, Tls};
    /// let builder = Client::builder("kafka.example:9093")
    ///     .tls(Tls::ca_file("/etc/kafka/ca.pem"))
    ///     .sasl(Sasl::scram_sha_512("order-service", std::env::var("KAFKA_PASSWORD").unwrap_or_default()));
    /// ```
    #[cfg(feature = "_tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.connection.tls = Some(tls);
        self
    }

    /// Says on every connection who the client is, and again before the broker's session for it ends.
    #[must_use]
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.connection.sasl = Some(sasl);
        self
    }

    /// What time it is for records without a timestamp, and for a consumer that starts so far back: milliseconds since 1970.
    /// The system's clock if nothing is said; a simulation has its own. It is asked for every such record.
    #[must_use]
    pub fn wall_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = WallClock::Given(Arc::new(clock));
        self
    }

    /// Connects to the first bootstrap address that answers.
    ///
    /// # Errors
    /// When the addresses are not addresses, the login would be readable for others, or none of them leads to a broker; the error tells what the first three ran
    /// into.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind but perhaps a connection that closes by itself.
    pub async fn connect(mut self) -> Result<Client, ConnectError> {
        let Self { seed, memory, request_timeout, bounds, .. } = self;
        let client_id = self.connection.client_id.clone();
        let tracing = Tracing { client_id, ..std::mem::take(&mut self.tracing) };
        let watch = Watch { meters: Meters::new(bounds), tracing };
        self.connection.observer = Meters::observer();
        let clock = self.clock.clone();
        let (network, _) = self.network()?;
        // No topic: just the brokers.
        let brokers = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        network.call(Target::AnyBroker, brokers, request_timeout).await.map_err(ConnectError::Unreachable)?;
        let member_seeds = MemberSeeds::new(seed);
        let budget = memory.map(Budget::new);
        Ok(Client { network, seed, clock, member_seeds, budget, handles: Handles::default(), watch })
    }

    /// The network of a client with these settings, which has not connected to anybody, and the bootstrap addresses.
    pub(crate) fn network(mut self) -> Result<(Network, Vec<Address>), ConnectError> {
        let addresses = Address::parse_list(&self.bootstrap)?;
        self.connection.validate()?;
        self.connection.seed = self.seed;
        Ok((Network::new(addresses.clone(), self.connection), addresses))
    }
}
