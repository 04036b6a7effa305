//! The broker without IO or clock: a request in, replies out.
//!
//! A [`Cluster`] is one value that plays all its brokers, which share one memory. Tell it what happened with a `handle_*`
//! method, then drain [`Cluster::poll_reply`], then sleep until [`Cluster::poll_timeout`] and call
//! [`Cluster::handle_timeout`]. The same calls with the same seed give the same replies.
//!
//! # What it is not
//! Nothing is written to disk, and a partition has one log for all its replicas: how far the followers lag behind the leader
//! is one number ([`ClusterConfig::replication_interval`]), and what a crash loses is what lies beyond it
//! ([`Cluster::kill_broker`], [`Cluster::truncate`]). Compaction happens when it is told to ([`Cluster::compact`]), quotas
//! are set from outside ([`Cluster::set_quota`]), an older broker is one whose APIs end earlier
//! ([`ClusterConfig::imitate`]). There are no ACLs, share groups, two-phase commits, tiered storage, partition
//! reassignments or retention by time. Each API's file opens with what it leaves out.

mod aborted_transactions;
mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod api_versions;
mod assignor;
mod broker;
mod broker_config;
mod classic_group;
mod clock;
mod compaction;
mod config;
mod connection;
mod consumer_group;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod coordinators;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_producers;
mod describe_topic_partitions;
mod describe_transactions;
mod detach;
mod dispatch;
mod end_txn;
mod error_reply;
mod error_reply_admin;
mod expire;
mod faults;
mod fetch;
mod fetch_sessions;
mod find_coordinator;
mod groups;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod kafka_version;
mod leader_epochs;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod log;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod partition;
mod pause;
mod pending_offsets;
mod produce;
mod produce_in_transaction;
mod producer_state;
mod quotas;
pub(crate) mod random;
mod recompress;
mod record_checks;
mod replication;
mod sasl;
mod scram;
mod settings;
mod sync_group;
mod topic_config;
mod topics;
mod transaction;
mod transactions;
mod txn_offset_commit;
mod write_txn_markers;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    time::Instant,
};

use bytes::Bytes;
use milena_protocol::wire::Frame;

use self::{
    broker::Broker, broker_config::BrokerConfig, clock::Clock, connection::Connection,
    coordinators::Coordinators, dispatch::Delayed, fetch::ParkedFetch, fetch_sessions::FetchSessions,
    groups::Groups, pending_offsets::PendingOffsets, produce_in_transaction::ParkedProduce, quotas::Quotas,
    random::Random, replication::ParkedAcks, topics::Topics, transactions::Transactions,
};
pub use self::{
    broker::{ConfigureTopicError, CreateTopicError, UnknownPartition},
    config::ClusterConfig,
    faults::{Action, Faults, Rule},
    groups::CommittedOffset,
    kafka_version::{KafkaVersion, UnknownVersion},
    quotas::Quota,
    sasl::{Password, SaslConfig, SaslMechanism},
};

/// The node id of a broker, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection, as whoever owns the sockets numbers them. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What is to happen on a connection.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Where.
    pub connection: ConnectionId,
    /// What.
    pub output: Output,
}

/// What is to happen on a connection.
#[derive(Clone, Debug)]
pub enum Output {
    /// These bytes go out, length included.
    Frame(Frame),
    /// The connection ends, once what went before has gone out. There is nothing more for it, and what still comes in on
    /// it is not looked at.
    Close,
}

/// When to call [`Cluster::handle_timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// What happens then.
    pub why: &'static str,
}

/// A Kafka cluster in memory. See the [module](self).
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    clock: Clock,
    /// The latest time that anybody told.
    now: Instant,
    random: Random,
    brokers: BTreeMap<BrokerId, Broker>,
    /// Those of `brokers` that are not stopped.
    up: BTreeSet<BrokerId>,
    /// Those of `brokers` that do nothing until they are resumed.
    paused: BTreeSet<BrokerId>,
    /// What they would have sent meanwhile.
    held: Vec<Reply>,
    topics: Topics,
    quotas: Quotas,
    broker_config: BrokerConfig,
    coordinators: Coordinators,
    groups: Groups,
    /// Offsets that wait for their transactions, beside those of `groups`.
    pending_offsets: PendingOffsets,
    transactions: Transactions,
    next_producer_id: i64,
    /// The finalized level of `transaction.version`.
    transaction_version: i16,
    /// Rises with every change of a finalized feature.
    features_epoch: i64,
    connections: BTreeMap<ConnectionId, Connection>,
    renewed_logins: u64,
    parked_fetches: BTreeMap<ConnectionId, ParkedFetch>,
    parked_produces: BTreeMap<ConnectionId, ParkedProduce>,
    parked_acks: BTreeMap<ConnectionId, ParkedAcks>,
    /// When followers get what they lack.
    replication_due: Option<Instant>,
    fetch_sessions: FetchSessions,
    /// True when a parked fetch may have what it waits for.
    fetches_may_complete: bool,
    /// Replies that a fault holds back, in the order of their times.
    delayed: BTreeMap<(Instant, u64), Delayed>,
    delayed_count: u64,
    faults: Faults,
    /// Connections whose request is answered and which may have another waiting.
    unmuted: VecDeque<ConnectionId>,
    replies: VecDeque<Reply>,
}

impl Cluster {
    /// A cluster without topics. `now` is the time that Unix time `unix_ms`, in milliseconds, goes with.
    ///
    /// Every broker is advertised as 127.0.0.1, port 9091 + its id, until [`Self::set_address`] says otherwise.
    #[must_use]
    pub fn new(config: ClusterConfig, now: Instant, unix_ms: i64) -> Self {
        let ids = (1..=i32::from(config.brokers.max(1))).map(BrokerId);
        let brokers: BTreeMap<_, _> = ids.map(|id| (id, Broker::new("127.0.0.1", 9091 + id.0))).collect();
        let up: BTreeSet<BrokerId> = brokers.keys().copied().collect();
        Self {
            clock: Clock::new(now, unix_ms),
            now,
            random: Random::new(config.seed),
            coordinators: Coordinators::new(&up),
            up,
            paused: BTreeSet::new(),
            held: Vec::new(),
            brokers,
            topics: Topics::default(),
            quotas: Quotas::default(),
            broker_config: BrokerConfig::new(&config),
            groups: Groups::default(),
            pending_offsets: PendingOffsets::default(),
            transactions: Transactions::default(),
            transaction_version: config.transaction_version.clamp(0, 2),
            features_epoch: 1,
            next_producer_id: 1_000,
            connections: BTreeMap::new(),
            renewed_logins: 0,
            parked_fetches: BTreeMap::new(),
            parked_produces: BTreeMap::new(),
            parked_acks: BTreeMap::new(),
            replication_due: None,
            fetch_sessions: FetchSessions::default(),
            fetches_may_complete: false,
            delayed: BTreeMap::new(),
            delayed_count: 0,
            faults: Faults::new(config.seed),
            unmuted: VecDeque::new(),
            replies: VecDeque::new(),
            config,
        }
    }

    /// A connection to `broker` was made. False if the broker is stopped: then it is to be refused.
    ///
    /// Frames are taken without it too; but a broker that stops ends only the connections it knows.
    pub fn handle_connect(&mut self, broker: BrokerId, connection: ConnectionId) -> bool {
        let up = self.up.contains(&broker);
        if up {
            self.connections.insert(connection, Connection::new(broker, self.config.sasl.as_ref()));
        }
        up
    }

    /// A frame, without its length, came in on a connection to `broker`.
    ///
    /// Bytes that are not a request of Kafka's end the connection, as they do at a broker.
    pub fn handle_frame(&mut self, now: Instant, broker: BrokerId, connection: ConnectionId, frame: Bytes) {
        self.now = self.now.max(now);
        self.receive(now, broker, connection, frame);
        self.settle(now);
    }

    /// A connection is gone: its peer ended it, or we did after [`Output::Close`]. Its parked requests are forgotten; a group member stays until its session
    /// ends.
    pub fn handle_disconnect(&mut self, now: Instant, connection: ConnectionId) {
        self.forget(connection);
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.send_delayed(now);
        self.end_throttling(now);
        self.advance_transactions(now);
        self.retry_produces(now);
        self.advance_replication(now);
        self.expire_fetches(now);
        self.expire_groups(now);
        self.settle(now);
    }

    /// What is to be done on a connection next.
    pub fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    /// When there is something to do without a request, and what.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let delayed = self
            .delayed
            .first_key_value()
            .map(|((at, _), _)| Deadline { at: *at, why: "a delayed reply is due" });
        let deadlines = [
            delayed,
            self.fetch_deadline(),
            self.groups.deadline(),
            self.transactions_deadline(),
            self.produces_deadline(),
            self.replication_deadline(),
            self.throttling_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether a request is under way on the connection, or its broker is paused: what follows on it waits. What follows on
    /// a connection that is throttled waits too, but here and not where it comes from.
    #[must_use]
    pub fn is_muted(&self, connection: ConnectionId) -> bool {
        let is_muted = |at: &Connection| at.is_busy() || self.paused.contains(&at.broker);
        self.connections.get(&connection).is_some_and(is_muted)
    }

    /// The faults to come.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }
}
