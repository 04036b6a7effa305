//! The handle on a running broker, and how it is started.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    core::{BrokerId, Cluster, ClusterConfig, CreateTopicError, Rule},
    dialer::{Connections, Dialer, Door},
    listener::{Listening, listen},
    shared::{Shared, now},
};

/// How long [`EmbeddedBroker::shutdown`] waits for connections that are writing.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Where brokers that do not listen are said to be: `broker-1.embedded:9092` and so on. The name resolves nowhere.
const NO_HOST: &str = "embedded";
const NO_PORT: u16 = 9092;

/// Brokers that listen on 127.0.0.1 in this process, or [in memory](Builder::in_memory) only. Dropping the handle ends
/// them and closes their connections.
#[derive(Debug)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    bootstrap: String,
    closing: watch::Sender<bool>,
    dialer: Dialer,
    /// Ended by their drop.
    tasks: JoinSet<()>,
    connections: Arc<Connections>,
}

/// Brokers that could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port is taken, or there is no right to it.
    #[error("broker {broker} cannot listen on {address}")]
    Listen {
        /// The broker.
        broker: BrokerId,
        /// Where it was to listen.
        address: SocketAddr,
        /// Why it can't.
        source: io::Error,
    },
    /// A topic of the builder's can't be created.
    #[error(transparent)]
    Topic(#[from] CreateTopicError),
}

impl EmbeddedBroker {
    /// One broker without topics, on a free port.
    ///
    /// # Errors
    /// When it can't listen.
    ///
    /// # Cancellation
    /// Dropping the future starts nothing.
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Brokers that are told more.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            config: ClusterConfig::default(),
            transport: Transport::Tcp { port: 0 },
            max_frame_bytes: 100 << 20,
            max_connections: 1_000,
            topics: Vec::new(),
            unix_ms: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// What a client is given as its bootstrap servers: `127.0.0.1:1,127.0.0.1:2`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// Opens connections without sockets, also to brokers that listen. It is what a client of brokers
    /// [in memory](Builder::in_memory) is given.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    /// Where the brokers listen, in the order of their ids. Brokers in memory listen nowhere.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Asks or changes the cluster behind the brokers, with the time that it goes by. Requests wait meanwhile.
    pub fn with_cluster<R>(&self, work: impl FnOnce(&mut Cluster, Instant) -> R) -> R {
        self.shared.with(work)
    }

    /// Adds a fault.
    pub fn add_fault(&self, rule: Rule) {
        self.with_cluster(|cluster, _| cluster.faults().add(rule));
    }

    /// Stops a broker: see [`Cluster::stop_broker`]. Its port refuses service until it is started again.
    pub fn stop_broker(&self, broker: BrokerId) {
        self.with_cluster(|cluster, now| cluster.stop_broker(now, broker));
    }

    /// Starts a broker that was stopped.
    pub fn start_broker(&self, broker: BrokerId) {
        self.with_cluster(|cluster, _| cluster.start_broker(broker));
    }

    /// Has a broker stand still: see [`Cluster::pause_broker`]. It can be connected to.
    pub fn pause_broker(&self, broker: BrokerId) {
        self.with_cluster(|cluster, _| cluster.pause_broker(broker));
    }

    /// Lets a broker that was paused go on.
    pub fn resume_broker(&self, broker: BrokerId) {
        self.shared.resume(broker);
    }

    /// Ends the listeners and closes the connections; a reply that is being written has a second to get out.
    ///
    /// # Cancellation
    /// Dropping the future ends everything at once.
    pub async fn shutdown(mut self) {
        let _ = self.closing.send(true);
        let mut connections =
            std::mem::take(&mut *self.connections.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async {
            while self.tasks.join_next().await.is_some() {}
            while connections.join_next().await.is_some() {}
        };
        // The tasks that are left are ended by the drop of `self`.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, ended).await;
    }
}

/// Brokers to be started. Every knob of the cluster is in [`ClusterConfig`].
#[derive(Clone, Debug)]
pub struct Builder {
    config: ClusterConfig,
    transport: Transport,
    max_frame_bytes: usize,
    max_connections: usize,
    topics: Vec<WantedTopic>,
    /// What the clock shows at the start.
    unix_ms: Option<i64>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
}

/// How clients come in.
#[derive(Clone, Copy, Debug)]
enum Transport {
    /// The first broker's port.
    Tcp { port: u16 },
    /// Through [`EmbeddedBroker::dialer`] only.
    Memory,
}

#[derive(Clone, Debug)]
struct WantedTopic {
    name: String,
    partitions: i32,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// How many brokers there are; one by default.
    #[must_use]
    pub fn brokers(mut self, brokers: u16) -> Self {
        self.config.brokers = brokers;
        self
    }

    /// The first broker's port; the others take those behind it. Zero, the default, takes free ones.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.transport = Transport::Tcp { port };
        self
    }

    /// Listens on no socket: clients connect through [`EmbeddedBroker::dialer`]. With tokio's clock paused
    /// (`start_paused`), timeouts of minutes then pass in no time, which they must not while a socket may still deliver.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.transport = Transport::Memory;
        self
    }

    /// Has the topic from the start.
    #[must_use]
    pub fn topic(self, name: &str, partitions: i32) -> Self {
        self.topic_with(name, partitions, &[])
    }

    /// Has the topic from the start, with settings as `("message.timestamp.type", "LogAppendTime")`.
    #[must_use]
    pub fn topic_with(mut self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.topics.push(WantedTopic { name: name.into(), partitions, settings });
        self
    }

    /// Speaks TLS on every port (feature `tls`). Certificates, client authentication and the cryptography are the
    /// configuration's; connections [in memory](Self::in_memory) stay plain.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, config: Arc<tokio_rustls::rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Turns the cluster's knobs.
    #[must_use]
    pub fn configure(mut self, turn: impl FnOnce(&mut ClusterConfig)) -> Self {
        turn(&mut self.config);
        self
    }

    /// Longest frame that is read, in bytes; a longer one ends the connection before anything is allocated for it.
    /// 100 MiB by default, as Kafka's `socket.request.max.bytes`.
    #[must_use]
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.max_frame_bytes = bytes;
        self
    }

    /// Most connections to all brokers together; more are closed as they come. 1,000 by default.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// The Unix time at the start, in milliseconds, from which the brokers count by tokio's clock. The system's by default.
    #[must_use]
    pub fn unix_ms(mut self, unix_ms: i64) -> Self {
        self.unix_ms = Some(unix_ms);
        self
    }

    /// Starts the brokers. They take connections when it returns.
    ///
    /// # Errors
    /// When a broker can't listen or a topic can't be created.
    ///
    /// # Cancellation
    /// Dropping the future starts nothing.
    pub async fn start(self) -> Result<EmbeddedBroker, StartError> {
        let mut cluster = Cluster::new(self.config.clone(), now(), self.unix_ms.unwrap_or_else(unix_now_ms));
        let listeners = match self.transport {
            Transport::Tcp { port } => bind(&mut cluster, port).await?,
            Transport::Memory => Vec::new(),
        };
        for WantedTopic { name, partitions, settings } in &self.topics {
            let settings: Vec<(&str, &str)> =
                settings.iter().map(|(name, value)| (&**name, &**value)).collect();
            cluster.create_topic_with(name, *partitions, &settings)?;
        }
        Ok(self.run(cluster, listeners))
    }

    fn run(
        &self,
        mut cluster: Cluster,
        listeners: Vec<(BrokerId, TcpListener, SocketAddr)>,
    ) -> EmbeddedBroker {
        let places = self.places(&mut cluster, &listeners);
        let shared = Arc::new(Shared::new(cluster));
        let (closing, closed) = watch::channel(false);
        let listening = |broker| Listening {
            shared: Arc::clone(&shared),
            broker,
            max_frame_bytes: self.max_frame_bytes,
            max_connections: self.max_connections,
            #[cfg(feature = "tls")]
            tls: self.tls.clone().map(Into::into),
            closing: closed.clone(),
        };
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for (broker, listener, address) in listeners {
            addresses.push(address);
            tasks.spawn(listen(listening(broker), listener));
        }
        let doors = places.into_iter();
        let doors: Vec<Door> =
            doors.map(|(broker, host, port)| Door { host, port, listening: listening(broker) }).collect();
        let bootstrap: Vec<String> =
            doors.iter().map(|door| format!("{}:{}", door.host, door.port)).collect();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let timer = Arc::clone(&shared);
        let mut closed = closed.clone();
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = timer.run_timer() => {}
                _ = closed.wait_for(|closing| *closing) => {}
            }
        });
        EmbeddedBroker {
            dialer: Dialer::new(doors, &connections),
            bootstrap: bootstrap.join(","),
            shared,
            addresses,
            closing,
            tasks,
            connections,
        }
    }

    /// Each broker with the host and port that clients are told.
    fn places(
        &self,
        cluster: &mut Cluster,
        listeners: &[(BrokerId, TcpListener, SocketAddr)],
    ) -> Vec<(BrokerId, String, u16)> {
        if matches!(self.transport, Transport::Tcp { .. }) {
            let of = |(broker, _, address): &(_, _, SocketAddr)| {
                (*broker, address.ip().to_string(), address.port())
            };
            return listeners.iter().map(of).collect();
        }
        let ids: Vec<BrokerId> = cluster.brokers().collect();
        let places = ids.into_iter().map(|broker| (broker, format!("broker-{broker}.{NO_HOST}"), NO_PORT));
        places.inspect(|(broker, host, port)| cluster.set_address(*broker, host, *port)).collect()
    }
}

fn unix_now_ms() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)
}

/// A listener for each broker, with the address that the cluster advertises. Port zero takes free ones.
async fn bind(
    cluster: &mut Cluster,
    first: u16,
) -> Result<Vec<(BrokerId, TcpListener, SocketAddr)>, StartError> {
    let ids: Vec<BrokerId> = cluster.brokers().collect();
    let mut listeners = Vec::new();
    for (offset, broker) in (0u16..).zip(ids) {
        let port = if first == 0 { 0 } else { first.saturating_add(offset) };
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let refused = |source| StartError::Listen { broker, address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        cluster.set_address(broker, &address.ip().to_string(), address.port());
        listeners.push((broker, listener, address));
    }
    Ok(listeners)
}
