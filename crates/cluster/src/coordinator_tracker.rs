//! Finds the broker that coordinates a group, and finds it again when it has moved.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{FindCoordinatorRequest, FindCoordinatorResponse, Response},
    wire::ByteString,
};

use crate::{
    Advised, Backoff, BrokerId, Deadline, Failure, Outgoing, RequestId, RequestIds, Target, Verdict, later,
    verdict,
};

/// What a key names (`KeyType` of the schema).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorKind {
    /// A consumer group.
    Group,
    /// A transactional id.
    Transaction,
}

/// A part of a machine: knows the coordinator or looks for it. Whoever finds that it has moved says so with
/// [`lost`](Self::lost); all share one search.
#[derive(Debug)]
pub struct CoordinatorTracker {
    kind: CoordinatorKind,
    key: ByteString,
    backoff: Backoff,
    request_timeout: Duration,
    state: State,
    failures: u32,
    last_failure: Option<Arc<str>>,
}

#[derive(Debug)]
enum State {
    Unknown { not_before: Option<Instant> },
    Asking { id: RequestId },
    Known(BrokerId),
}

/// What an answer brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorAnswer {
    /// The answer was to somebody else's request.
    NotOurs,
    /// The coordinator is known.
    Found(BrokerId),
    /// Not yet; the search goes on after a wait.
    Waiting,
    /// The cluster refuses to say.
    Refused(ErrorCode),
}

impl CoordinatorTracker {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(kind: CoordinatorKind, key: ByteString, backoff: Backoff, request_timeout: Duration) -> Self {
        let state = State::Unknown { not_before: None };
        Self { kind, key, backoff, request_timeout, state, failures: 0, last_failure: None }
    }

    /// The coordinator, when known.
    #[must_use]
    pub fn broker(&self) -> Option<BrokerId> {
        match self.state {
            State::Known(broker) => Some(broker),
            _ => None,
        }
    }

    /// What the last search ran into, when it found nothing.
    #[must_use]
    pub const fn last_failure(&self) -> Option<&Arc<str>> {
        self.last_failure.as_ref()
    }

    /// `broker` turned out not to be the coordinator, or can't be reached.
    pub fn lost(&mut self, broker: BrokerId) {
        if self.broker() == Some(broker) {
            self.state = State::Unknown { not_before: None };
        }
    }

    /// The request that is due, if one is.
    pub fn poll_request(&mut self, now: Instant, ids: &mut RequestIds) -> Option<Outgoing> {
        let State::Unknown { not_before } = self.state else { return None };
        if not_before.is_some_and(|at| at > now) {
            return None;
        }
        let id = ids.allocate();
        self.state = State::Asking { id };
        let request = FindCoordinatorRequest {
            key_type: match self.kind {
                CoordinatorKind::Group => 0,
                CoordinatorKind::Transaction => 1,
            },
            coordinator_keys: vec![self.key.clone()],
            ..Default::default()
        };
        Some(Outgoing::new(id, Target::AnyBroker, request, self.request_timeout))
    }

    /// Takes an answer.
    pub fn handle_response(
        &mut self,
        now: Instant,
        id: RequestId,
        result: &Result<Response, Failure>,
        random: &mut fastrand::Rng,
    ) -> CoordinatorAnswer {
        match self.state {
            State::Asking { id: asked } if asked == id => {}
            _ => return CoordinatorAnswer::NotOurs,
        }
        let found = match result {
            Ok(Response::FindCoordinator(response)) => found(response),
            _ => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        };
        match found {
            Ok(broker) => {
                self.failures = 0;
                self.last_failure = None;
                self.state = State::Known(broker);
                CoordinatorAnswer::Found(broker)
            }
            Err(code) => {
                let said = || Advised::new(ApiKey::FindCoordinator, code).to_string().into();
                let unanswered = result.as_ref().err().map(|failure| Arc::clone(&failure.cause));
                self.last_failure = Some(unanswered.unwrap_or_else(said));
                self.failures = self.failures.saturating_add(1);
                let wait = self.backoff.after(self.failures, random);
                self.state = State::Unknown { not_before: Some(later(now, wait)) };
                match verdict(ApiKey::FindCoordinator, code) {
                    Verdict::Refused => CoordinatorAnswer::Refused(code),
                    _ => CoordinatorAnswer::Waiting,
                }
            }
        }
    }

    /// When to look here again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match self.state {
            State::Unknown { not_before: Some(at) } => Some(Deadline::new(at, "look for the coordinator")),
            _ => None,
        }
    }
}

fn found(response: &FindCoordinatorResponse) -> Result<BrokerId, ErrorCode> {
    let coordinator = response.coordinators.first().ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    ErrorCode(coordinator.error_code).ok()?;
    BrokerId::from_wire(coordinator.node_id).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::find_coordinator::Coordinator;

    use super::*;

    fn answer(code: ErrorCode, node_id: i32) -> Result<Response, Failure> {
        let coordinator = Coordinator { error_code: code.0, node_id, ..Default::default() };
        Ok(FindCoordinatorResponse { coordinators: vec![coordinator], ..Default::default() }.into())
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a script needs some instant to start at")]
    fn looks_until_found_and_again_when_lost() {
        let now = Instant::now();
        let mut random = fastrand::Rng::with_seed(1);
        let mut ids = RequestIds::default();
        let timeout = Duration::from_secs(30);
        let mut tracker =
            CoordinatorTracker::new(CoordinatorKind::Group, "readers".into(), Backoff::DEFAULT, timeout);
        let id = tracker.poll_request(now, &mut ids).unwrap().id;
        assert!(tracker.poll_request(now, &mut ids).is_none());
        let unavailable = answer(ErrorCode::COORDINATOR_NOT_AVAILABLE, -1);
        assert_eq!(tracker.handle_response(now, id, &unavailable, &mut random), CoordinatorAnswer::Waiting);
        assert!(tracker.poll_request(now, &mut ids).is_none());

        let later = tracker.poll_timeout().unwrap().at;
        let id = tracker.poll_request(later, &mut ids).unwrap().id;
        let found = answer(ErrorCode::NONE, 2);
        assert_eq!(
            tracker.handle_response(later, id, &found, &mut random),
            CoordinatorAnswer::Found(BrokerId(2))
        );
        tracker.lost(BrokerId(1));
        assert_eq!(tracker.broker(), Some(BrokerId(2)));
        tracker.lost(BrokerId(2));
        let id = tracker.poll_request(later, &mut ids).unwrap().id;
        let refused = answer(ErrorCode::GROUP_AUTHORIZATION_FAILED, -1);
        assert_eq!(
            tracker.handle_response(later, id, &refused, &mut random),
            CoordinatorAnswer::Refused(ErrorCode::GROUP_AUTHORIZATION_FAILED)
        );
    }
}
