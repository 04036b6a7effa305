//! The handle on a running broker, and how it is started.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    core::{BrokerId, Cluster, ClusterConfig, CreateTopicError, Rule},
    listener::{Listening, listen},
    shared::{Shared, now},
};

/// How long [`EmbeddedBroker::shutdown`] waits for connections that are writing.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Brokers that listen on 127.0.0.1 in this process. Dropping the handle ends them and closes their connections.
#[derive(Debug)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    closing: watch::Sender<bool>,
    /// Ended by their drop.
    tasks: JoinSet<()>,
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
            port: 0,
            max_frame_bytes: 100 << 20,
            max_connections: 1_000,
            topics: Vec::new(),
        }
    }

    /// What a client is given as its bootstrap servers: `127.0.0.1:1,127.0.0.1:2`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        addresses.join(",")
    }

    /// Where the brokers listen, in the order of their ids.
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

    /// Ends the listeners and closes the connections; a reply that is being written has a second to get out.
    ///
    /// # Cancellation
    /// Dropping the future ends everything at once.
    pub async fn shutdown(mut self) {
        let _ = self.closing.send(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // The tasks that are left are ended by the drop of `self`.
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, ended).await;
    }
}

/// Brokers to be started. Every knob of the cluster is in [`ClusterConfig`].
#[derive(Clone, Debug)]
pub struct Builder {
    config: ClusterConfig,
    port: u16,
    max_frame_bytes: usize,
    max_connections: usize,
    topics: Vec<WantedTopic>,
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
        self.port = port;
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

    /// Starts the brokers. They take connections when it returns.
    ///
    /// # Errors
    /// When a broker can't listen or a topic can't be created.
    ///
    /// # Cancellation
    /// Dropping the future starts nothing.
    pub async fn start(self) -> Result<EmbeddedBroker, StartError> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
        let mut cluster = Cluster::new(self.config.clone(), now(), unix_ms);
        let listeners = self.bind(&mut cluster).await?;
        for WantedTopic { name, partitions, settings } in &self.topics {
            let settings: Vec<(&str, &str)> =
                settings.iter().map(|(name, value)| (&**name, &**value)).collect();
            cluster.create_topic_with(name, *partitions, &settings)?;
        }
        let shared = Arc::new(Shared::new(cluster));
        let (closing, closed) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for (broker, listener, address) in listeners {
            addresses.push(address);
            let listening = Listening {
                shared: Arc::clone(&shared),
                broker,
                max_frame_bytes: self.max_frame_bytes,
                max_connections: self.max_connections,
                closing: closed.clone(),
            };
            tasks.spawn(listen(listening, listener));
        }
        let timer = Arc::clone(&shared);
        let mut closed = closed;
        tasks.spawn(async move {
            tokio::select! {
                () = timer.run_timer() => {}
                _ = closed.wait_for(|closing| *closing) => {}
            }
        });
        Ok(EmbeddedBroker { shared, addresses, closing, tasks })
    }

    /// A listener for each broker, with the address that the cluster advertises.
    async fn bind(
        &self,
        cluster: &mut Cluster,
    ) -> Result<Vec<(BrokerId, TcpListener, SocketAddr)>, StartError> {
        let ids: Vec<BrokerId> = cluster.brokers().collect();
        let mut listeners = Vec::new();
        for (offset, broker) in (0u16..).zip(ids) {
            let port = if self.port == 0 { 0 } else { self.port.saturating_add(offset) };
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let refused = |source| StartError::Listen { broker, address, source };
            let listener = TcpListener::bind(address).await.map_err(refused)?;
            let address = listener.local_addr().map_err(refused)?;
            cluster.set_address(broker, &address.ip().to_string(), address.port());
            listeners.push((broker, listener, address));
        }
        Ok(listeners)
    }
}
