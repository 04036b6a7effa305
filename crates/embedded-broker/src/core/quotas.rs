//! Quotas: how much a client may do before it is slowed down.
//!
//! Imitates Kafka 4.3.1: bytes of Produce requests and of fetched batches, and requests, per client id and broker. Who does
//! more than its rate allows is answered at once, with the time by which it went over, and its connection is not read from
//! until that is over (KIP-219); a fetch that would go over brings nothing and is not counted. At the start, and after a
//! pause, as much is free as the rate allows in [`ClusterConfig::quota_window`](super::ClusterConfig).
//!
//! Leaves out: quotas of users; Kafka's request quota, a share of the threads' time, is a number of requests a second here;
//! the samples by which Kafka measures a rate, which let a client in sooner or later by a second; quotas of the controller;
//! the APIs for quotas; the pause after an answer that a fault delays.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use milena_protocol::{messages::Response, wire::ByteString};

use super::{
    BrokerId, Cluster, ConnectionId, Deadline, connection::State, detach::Detach, dispatch::Context,
};

/// Clients that are measured at a time; the one that was silent longest is forgotten first.
const MAX_CLIENTS: usize = 10_000;

/// What a client may do at each broker. `None` is no limit, and so is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of Produce requests a second.
    pub produce_bytes_per_second: Option<u64>,
    /// Bytes of fetched batches a second.
    pub fetch_bytes_per_second: Option<u64>,
    /// Requests of any API a second.
    pub requests_per_second: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// Under `None` is the quota of clients without one.
    quotas: BTreeMap<Option<ByteString>, Quota>,
    usage: BTreeMap<(BrokerId, ByteString), Usage>,
    /// The requests under way.
    requests: BTreeMap<ConnectionId, Received>,
    /// Connections that are not read from, and until when.
    muted: BTreeSet<(Instant, ConnectionId)>,
}

/// A request, as far as quotas look at it.
#[derive(Clone, Debug)]
struct Received {
    broker: BrokerId,
    client_id: ByteString,
    bytes: usize,
}

/// Until when what the client did is used up at its rates.
#[derive(Clone, Copy, Debug)]
struct Usage {
    produce: Instant,
    fetch: Instant,
    requests: Instant,
}

impl Cluster {
    /// Sets what the clients with this client id may do; `None` is every client that nothing was set for. It holds from the
    /// next request on.
    pub fn set_quota(&mut self, client_id: Option<&str>, quota: Quota) {
        self.quotas.quotas.insert(client_id.map(ByteString::from), quota);
    }

    /// A request came in.
    pub(super) fn measure(&mut self, cx: &Context, bytes: usize) {
        if self.quotas.quotas.is_empty() {
            return;
        }
        let received = Received { broker: cx.broker, client_id: cx.client_id.detached(), bytes };
        self.quotas.requests.insert(cx.connection, received);
    }

    /// For how long a fetch of so many bytes goes over the quotas. It counts if it does not.
    pub(super) fn throttle_fetch(&mut self, now: Instant, id: ConnectionId, bytes: usize) -> Duration {
        let window = self.config.quota_window;
        let Some(received) = self.quotas.requests.get(&id).cloned() else { return Duration::ZERO };
        let Some((usage, quota)) = self.quotas.usage(now, received) else { return Duration::ZERO };
        let requests = charge(&mut usage.requests, now, 1, quota.requests_per_second, window);
        let before = usage.fetch.max(now);
        let fetch = charge(&mut usage.fetch, now, bytes, quota.fetch_bytes_per_second, window);
        // What is more than a whole window allows comes when all of it is free.
        let throttle = requests.max(fetch.min(before - now));
        if !throttle.is_zero() {
            usage.fetch = before;
        }
        throttle
    }

    /// Charges the client for an answered request, and tells the answer for how long it is throttled.
    pub(super) fn throttle(
        &mut self,
        now: Instant,
        id: ConnectionId,
        is_produce: bool,
        response: Option<&mut Response>,
    ) -> Duration {
        let Some(received) = self.quotas.requests.remove(&id) else { return Duration::ZERO };
        if let Some(Response::Fetch(fetch)) = &response {
            return Duration::from_millis(fetch.throttle_time_ms.try_into().unwrap_or(0));
        }
        let (window, bytes) = (self.config.quota_window, received.bytes);
        let Some((usage, quota)) = self.quotas.usage(now, received) else { return Duration::ZERO };
        let mut throttle = charge(&mut usage.requests, now, 1, quota.requests_per_second, window);
        if is_produce {
            let produce = charge(&mut usage.produce, now, bytes, quota.produce_bytes_per_second, window);
            throttle = throttle.max(produce);
        }
        let ms = throttle_ms(throttle);
        if let Some(response) = response.filter(|_| ms > 0) {
            tell(response, ms);
        }
        Duration::from_millis(ms.try_into().unwrap_or(0))
    }

    /// Does not look at what comes in on the connection for a while.
    pub(super) fn mute(&mut self, now: Instant, id: ConnectionId, time: Duration) {
        if time.is_zero() {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&id).filter(|it| matches!(it.state, State::Idle)) {
            connection.state = State::Throttled;
            self.quotas.muted.insert((now + time, id));
        }
    }

    /// Lets the connections go on whose time is over.
    pub(super) fn end_throttling(&mut self, now: Instant) {
        while let Some((until, id)) = self.quotas.muted.first().copied()
            && until <= now
        {
            self.quotas.muted.pop_first();
            let throttled = |state| matches!(state, State::Throttled);
            if self.connections.get(&id).is_some_and(|connection| throttled(connection.state)) {
                self.unmute(id);
            }
        }
    }

    pub(super) fn throttling_deadline(&self) -> Option<Deadline> {
        let (at, _) = self.quotas.muted.first().copied()?;
        Some(Deadline { at, why: "a client has been throttled long enough" })
    }
}

impl Quotas {
    /// The connection is gone.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.requests.remove(&id);
        self.muted.retain(|(_, muted)| *muted != id);
    }

    /// What the client of a request has used and may use, if it has a quota.
    fn usage(&mut self, now: Instant, received: Received) -> Option<(&mut Usage, Quota)> {
        let Received { broker, client_id, .. } = received;
        let quota = *self.quotas.get(&Some(client_id.clone())).or_else(|| self.quotas.get(&None))?;
        let key = (broker, client_id);
        if self.usage.len() >= MAX_CLIENTS && !self.usage.contains_key(&key) {
            let silent =
                self.usage.iter().min_by_key(|(_, usage)| usage.produce.max(usage.fetch).max(usage.requests));
            let silent = silent.map(|(key, _)| key.clone());
            silent.and_then(|key| self.usage.remove(&key));
        }
        let usage = self.usage.entry(key).or_insert(Usage { produce: now, fetch: now, requests: now });
        Some((usage, quota))
    }
}

/// Uses up the rate for as long as the amount takes, and tells by how much that is more than the window.
fn charge(
    used_until: &mut Instant,
    now: Instant,
    amount: usize,
    per_second: Option<u64>,
    window: Duration,
) -> Duration {
    let Some(per_second) = per_second.filter(|rate| *rate > 0) else { return Duration::ZERO };
    let micros = (amount as u64).saturating_mul(1_000_000).div_ceil(per_second);
    let takes = Duration::from_micros(micros).min(LONGEST);
    *used_until = (*used_until).max(now) + takes;
    used_until.saturating_duration_since(now + window).min(LONGEST)
}

/// What no throttling exceeds.
const LONGEST: Duration = Duration::from_hours(1);

pub(super) fn throttle_ms(throttle: Duration) -> i32 {
    i32::try_from(throttle.as_micros().div_ceil(1_000)).unwrap_or(i32::MAX)
}

/// Puts the time into the answer, where it has room for it.
fn tell(response: &mut Response, ms: i32) {
    macro_rules! set {
        ($($api:ident),* $(,)?) => {
            match response {
                $(Response::$api(body) => body.throttle_time_ms = ms,)*
                _ => {}
            }
        };
    }
    set!(
        Produce,
        Fetch,
        ListOffsets,
        Metadata,
        OffsetCommit,
        OffsetFetch,
        FindCoordinator,
        JoinGroup,
        Heartbeat,
        LeaveGroup,
        SyncGroup,
        DescribeGroups,
        ListGroups,
        ApiVersions,
        CreateTopics,
        DeleteTopics,
        DeleteRecords,
        InitProducerId,
        OffsetForLeaderEpoch,
        AddPartitionsToTxn,
        AddOffsetsToTxn,
        EndTxn,
        TxnOffsetCommit,
        DescribeConfigs,
        AlterConfigs,
        CreatePartitions,
        DeleteGroups,
        IncrementalAlterConfigs,
        OffsetDelete,
        DescribeCluster,
        DescribeProducers,
        DescribeTransactions,
        ListTransactions,
        ConsumerGroupHeartbeat,
        ConsumerGroupDescribe,
        DescribeTopicPartitions,
    );
}
