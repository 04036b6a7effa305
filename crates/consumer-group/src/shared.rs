//! What every part of the consumer needs: the configuration, what is known of the cluster, and a way to speak.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use milena_cluster::{
    Backoff, BrokerId, CoordinatorKind, CoordinatorTracker, Failure, Metadata, MetadataConfig,
    MetadataTracker, Outgoing, RequestId, RequestIds, Target,
};
use milena_protocol::{messages::Request, wire::ByteString};

use crate::{
    AutoOffsetReset, ConsumerConfig, ConsumerError, Event,
    cursors::{CursorState, EARLIEST, LATEST},
    planted_bug::Planted,
    retry::Retry,
};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ConsumerConfig,
    /// When the consumer was made: an instant for what has not happened yet.
    pub(crate) started: Instant,
    pub(crate) ids: RequestIds,
    pub(crate) random: fastrand::Rng,
    pub(crate) metadata: MetadataTracker,
    /// There is one when there is a group.
    pub(crate) coordinator: Option<CoordinatorTracker>,
    pub(crate) events: VecDeque<Event>,
    /// Something fatal has happened: the consumer does nothing any more.
    pub(crate) has_failed: bool,
    pub(crate) planted: Planted,
}

impl Shared {
    pub(crate) fn new(now: Instant, config: ConsumerConfig) -> Self {
        let metadata = MetadataTracker::new(MetadataConfig {
            max_age: config.metadata_max_age,
            backoff: config.retry_backoff,
            request_timeout: config.request_timeout,
        });
        let coordinator = config.group_id.clone().map(|group| {
            let (backoff, timeout) = (config.retry_backoff, config.request_timeout);
            CoordinatorTracker::new(CoordinatorKind::Group, group, backoff, timeout)
        });
        Self {
            started: now,
            ids: RequestIds::default(),
            random: fastrand::Rng::with_seed(config.seed),
            metadata,
            coordinator,
            events: VecDeque::new(),
            has_failed: false,
            planted: Planted::default(),
            config,
        }
    }

    /// The group's id; empty without a group, where nothing asks.
    pub(crate) fn group(&self) -> ByteString {
        self.config.group_id.clone().unwrap_or_default()
    }

    pub(crate) fn metadata(&self) -> Arc<Metadata> {
        Arc::clone(self.metadata.metadata())
    }

    pub(crate) fn refresh_metadata(&mut self, now: Instant) {
        self.metadata.refresh(now, &mut self.random);
    }

    pub(crate) fn coordinator(&self) -> Option<BrokerId> {
        self.coordinator.as_ref().and_then(CoordinatorTracker::broker)
    }

    /// Why no coordinator is known, if it is known.
    pub(crate) fn coordinator_failure(&self) -> Option<&str> {
        self.coordinator.as_ref()?.last_failure().map(|failure| &**failure)
    }

    /// Where `auto_offset_reset` has reading start; `None` when the application must say.
    pub(crate) fn reset(&self, now: Instant) -> Option<CursorState> {
        let timestamp = match self.config.auto_offset_reset {
            AutoOffsetReset::Earliest => EARLIEST,
            AutoOffsetReset::Latest => LATEST,
            AutoOffsetReset::ByDuration(age) => self.wall_ms(now).saturating_sub(ms(age)).max(0),
            AutoOffsetReset::None => return None,
        };
        Some(CursorState::Unresolved(timestamp))
    }

    /// What the wall clock should say. A suspend may make it late, so that too much is read, not too little.
    fn wall_ms(&self, now: Instant) -> i64 {
        self.config.started_at_ms.saturating_add(ms(now.saturating_duration_since(self.started)))
    }

    /// A request for the coordinator, once it is known.
    pub(crate) fn ask_coordinator(&mut self, request: impl Into<Request>) -> Option<(Outgoing, BrokerId)> {
        let broker = self.coordinator()?;
        let (id, timeout) = (self.ids.allocate(), self.config.request_timeout);
        let outgoing = Outgoing::new(id, Target::Coordinator(broker), request, timeout);
        Some((outgoing, broker))
    }

    /// `broker` is not the coordinator, or can't be reached.
    pub(crate) fn lost_coordinator(&mut self, broker: BrokerId) {
        if let Some(tracker) = &mut self.coordinator {
            tracker.lost(broker);
        }
    }

    /// How long the owner may take to give partitions up. The group has been waiting since before the member heard of it,
    /// and has to hear back in time: two heartbeats are kept for that.
    pub(crate) fn revoke_deadline(&self, now: Instant) -> Instant {
        let patience = self.config.rebalance_timeout;
        let margin = self.config.heartbeat_interval.saturating_mul(2).min(patience / 2);
        now + patience.saturating_sub(margin)
    }

    /// Tells the owner that something has stopped.
    pub(crate) fn fail(&mut self, error: ConsumerError) {
        self.has_failed |= error.is_fatal();
        self.events.push_back(Event::Failed(error));
    }

    /// Makes `retry` wait after a failure.
    pub(crate) fn failed(&mut self, now: Instant, retry: &mut Retry) {
        let backoff: Backoff = self.config.retry_backoff;
        retry.failed(now, backoff, &mut self.random);
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The answer to a request.
pub(crate) type Answer = Result<milena_protocol::messages::Response, Failure>;

/// A request that waits for its answer: whom it went to, and what was sent with it, as far as the answer is measured by it.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    pub(crate) id: RequestId,
    pub(crate) broker: BrokerId,
    pub(crate) with: T,
}

/// Takes out what was asked by this request, of those that wait for one answer a broker.
pub(crate) fn take_asked<T>(asked: &mut BTreeMap<BrokerId, Asked<T>>, id: RequestId) -> Option<Asked<T>> {
    asked.extract_if(.., |_, asked| asked.id == id).next().map(|(_, asked)| asked)
}
