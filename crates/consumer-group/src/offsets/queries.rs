//! Committed offsets that the application asks for. Positions are not touched.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use milena_cluster::{Deadline, Outgoing, RequestId, TopicPartition, Verdict, verdict};
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
        self.waiting.push_back(Query { id, partitions, until: now + timeout });
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
        let group = shared.group();
        let refused = match answer {
            Ok(Response::OffsetFetch(response)) => {
                let metadata = shared.metadata();
                let answered = answered(response, &metadata);
                let code_of = |partition: &TopicPartition| {
                    let missing = ErrorCode::UNKNOWN_SERVER_ERROR;
                    answered.get(partition).map_or(missing, |found| ErrorCode(found.error_code))
                };
                let first_error = query.partitions.iter().map(|partition| (partition, code_of(partition)));
                let first_error = first_error.into_iter().find(|(_, code)| !code.is_none());
                match (group_code(response), first_error) {
                    (ErrorCode::NONE, None) => {
                        let offsets = answered.iter().filter_map(|(partition, answer)| {
                            let found = position(answer)?;
                            let metadata = answer.metadata.clone().unwrap_or_default();
                            Some((partition.clone(), OffsetAndMetadata { position: found, metadata }))
                        });
                        let result = Ok(offsets.collect());
                        self.retry.succeeded();
                        shared.events.push_back(Event::CommittedOffsets { id: query.id, result });
                        return true;
                    }
                    (ErrorCode::NONE, Some((partition, code))) => (code, Some(partition.clone())),
                    (code, _) => (code, None),
                }
            }
            _ => (ErrorCode::COORDINATOR_NOT_AVAILABLE, None),
        };
        let (code, partition) = refused;
        let verdict = verdict(ApiKey::OffsetFetch, code);
        if verdict == Verdict::FindCoordinator {
            shared.lost_coordinator(asked.broker);
        }
        let final_error = match verdict {
            Verdict::Refused | Verdict::Unsupported | Verdict::Fenced => {
                let partition = partition.or_else(|| query.partitions.first().cloned());
                partition.map(|partition| CommitError::Refused { group: group.clone(), partition, code })
            }
            _ => None,
        };
        let error = final_error.or_else(|| {
            let cause = code.to_string().into();
            (query.until <= now).then_some(CommitError::Unavailable { group, cause })
        });
        match error {
            Some(error) => {
                self.retry.succeeded();
                shared.events.push_back(Event::CommittedOffsets { id: query.id, result: Err(error) });
            }
            None => {
                self.waiting.push_front(query);
                shared.failed(now, &mut self.retry);
            }
        }
        true
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
