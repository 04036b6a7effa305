//! Committed offsets that the application asks for. Positions are not touched.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use milena_cluster::{
    BrokerId, Deadline, FailureKind, Outgoing, RequestId, TopicPartition, Verdict, later, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{OffsetFetchRequest, Response, offset_fetch::OffsetFetchRequestGroup},
};

use super::committed::{answered, fields_of, group_code, position, topics};
use crate::{
    CommitError, Event, IsolationLevel, OffsetAndMetadata,
    membership::Identity,
    retry::Retry,
    shared::{Answer, Asked, Shared},
};

/// Names a query until its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueryId(u64);

#[derive(Debug)]
struct Query {
    id: QueryId,
    partitions: BTreeSet<TopicPartition>,
    /// When it is given up.
    until: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Queries {
    /// The first one is asked for; the others wait.
    waiting: VecDeque<Query>,
    asked: Option<Asked<()>>,
    retry: Retry,
    ids: u64,
}

impl Queries {
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        timeout: Duration,
        partitions: BTreeSet<TopicPartition>,
    ) -> QueryId {
        self.ids = self.ids.wrapping_add(1);
        let id = QueryId(self.ids);
        self.waiting.push_back(Query { id, partitions, until: later(now, timeout) });
        id
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn poll_request(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        identity: Option<&Identity>,
    ) -> Option<Outgoing> {
        if self.asked.is_some() || self.retry.is_waiting(now) {
            return None;
        }
        let query = self.waiting.front()?;
        let metadata = shared.metadata();
        let group = OffsetFetchRequestGroup {
            group_id: shared.group(),
            topics: Some(topics(query.partitions.iter(), &metadata)),
            ..fields_of(identity)
        };
        let require_stable = shared.config.isolation_level == IsolationLevel::ReadCommitted;
        let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
        let (mut outgoing, broker) = shared.ask_coordinator(request)?;
        // Topics that nobody is subscribed to have no known id.
        outgoing.max_version = 9;
        self.asked = Some(Asked { id: outgoing.id, broker, with: () });
        Some(outgoing)
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        id: RequestId,
        answer: &Answer,
    ) -> bool {
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else { return false };
        let Some(query) = self.waiting.pop_front() else { return true };
        match read(shared, &query, answer) {
            Ok(offsets) => self.finish(shared, &query, Ok(offsets)),
            Err((code, partition)) => self.refused(now, shared, asked.broker, query, code, partition),
        }
        true
    }

    fn finish(&mut self, shared: &mut Shared, query: &Query, result: Result<Offsets, CommitError>) {
        self.retry.succeeded();
        shared.events.push_back(Event::CommittedOffsets { id: query.id, result });
    }

    fn refused(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        broker: BrokerId,
        query: Query,
        code: ErrorCode,
        partition: Option<TopicPartition>,
    ) {
        let group = shared.group();
        let verdict = verdict(ApiKey::OffsetFetch, code);
        if verdict == Verdict::FindCoordinator {
            shared.lost_coordinator(broker);
        }
        let is_final = matches!(verdict, Verdict::Refused | Verdict::Unsupported | Verdict::Fenced);
        let partition = partition.or_else(|| query.partitions.first().cloned());
        match partition.filter(|_| is_final) {
            Some(partition) => {
                self.finish(shared, &query, Err(CommitError::Refused { group, partition, code }));
            }
            None if query.until <= now => {
                let cause = code.to_string().into();
                self.finish(shared, &query, Err(CommitError::Unavailable { group, cause }));
            }
            None => {
                self.waiting.push_front(query);
                shared.failed(now, &mut self.retry);
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, shared: &mut Shared) {
        self.retry.wake(now);
        let group = shared.group();
        // The first one may be under way: its answer decides.
        let kept = usize::from(self.asked.is_some());
        let mut index = 0;
        self.waiting.retain(|query| {
            let expired = query.until <= now && index >= kept;
            index += 1;
            if expired {
                let cause = "no coordinator answered in time".into();
                let error = CommitError::Unavailable { group: group.clone(), cause };
                shared.events.push_back(Event::CommittedOffsets { id: query.id, result: Err(error) });
            }
            !expired
        });
    }

    /// Ends every query: the consumer is closed.
    pub(crate) fn close(&mut self, shared: &mut Shared) {
        self.asked = None;
        for query in self.waiting.drain(..) {
            let result = Err(CommitError::Closed);
            shared.events.push_back(Event::CommittedOffsets { id: query.id, result });
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        if self.asked.is_some() {
            return None;
        }
        let expiry = self.waiting.iter().map(|query| query.until).min();
        Deadline::earliest([
            self.retry.until().map(|at| Deadline::new(at, "ask for committed offsets again")),
            expiry.map(|at| Deadline::new(at, "give up asking for committed offsets")),
        ])
    }
}

type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// The offsets that an answer brings, or the first code that is in the way, and of which partition.
fn read(
    shared: &Shared,
    query: &Query,
    answer: &Answer,
) -> Result<Offsets, (ErrorCode, Option<TopicPartition>)> {
    let response = match answer {
        Ok(Response::OffsetFetch(response)) => response,
        Err(failure) if failure.kind == FailureKind::Unsupported => {
            return Err((ErrorCode::UNSUPPORTED_VERSION, None));
        }
        _ => return Err((ErrorCode::COORDINATOR_NOT_AVAILABLE, None)),
    };
    group_code(response).ok().map_err(|code| (code, None))?;
    let metadata = shared.metadata();
    let answered = answered(response, &metadata);
    let mut offsets = Offsets::new();
    for partition in &query.partitions {
        let refused = |code| (code, Some(partition.clone()));
        let found = answered.get(partition).ok_or_else(|| refused(ErrorCode::UNKNOWN_SERVER_ERROR))?;
        ErrorCode(found.error_code).ok().map_err(refused)?;
        if let Some(position) = position(found) {
            let metadata = found.metadata.clone().unwrap_or_default();
            offsets.insert(partition.clone(), OffsetAndMetadata { position, metadata });
        }
    }
    Ok(offsets)
}
