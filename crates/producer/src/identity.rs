//! The producer's id and epoch, by which brokers tell a retry from a new batch (KIP-98).

use std::time::{Duration, Instant};

use milena_cluster::{
    Advised, Backoff, Deadline, Failure, Outgoing, RequestId, RequestIds, Target, Verdict, later, verdict,
};
use milena_protocol::{
    ApiKey, ErrorCode,
    messages::{InitProducerIdRequest, Response},
    records::ProducerStamp,
};

/// The numbers a broker knows a producer by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerId {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    /// What it writes belongs to its transactions.
    pub(crate) is_transactional: bool,
}

/// How brokers are to tell the batches of a producer apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// By this id, with sequence numbers.
    Under(ProducerId),
    /// Not at all: a broker appends what comes, as often as it comes.
    Absent,
}

impl Numbering {
    pub(crate) const fn is_transactional(self) -> bool {
        matches!(self, Self::Under(ProducerId { is_transactional: true, .. }))
    }

    pub(crate) const fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    /// What a batch with this first number is stamped with.
    pub(crate) const fn stamp(self, base_sequence: i32) -> ProducerStamp {
        match self {
            Self::Under(id) => ProducerStamp {
                producer_id: id.id,
                producer_epoch: id.epoch,
                base_sequence,
                transactional: id.is_transactional,
            },
            Self::Absent => ProducerStamp::NONE,
        }
    }
}

/// Asks for an id when there is none.
///
/// ```text
/// Absent ──request──► Asking ──granted──► Known ──renew──► Absent
///    ▲                  │
///    └──────wait────────┘
/// ```
#[derive(Debug)]
pub(crate) struct Identity {
    state: State,
    failures: u32,
    backoff: Backoff,
    request_timeout: Duration,
    last_failure: Option<String>,
}

#[derive(Debug)]
enum State {
    Absent { not_before: Option<Instant> },
    Asking { id: RequestId },
    Known(ProducerId),
}

impl Identity {
    pub(crate) fn new(backoff: Backoff, request_timeout: Duration) -> Self {
        let state = State::Absent { not_before: None };
        Self { state, failures: 0, backoff, request_timeout, last_failure: None }
    }

    pub(crate) fn known(&self) -> Option<ProducerId> {
        match self.state {
            State::Known(known) => Some(known),
            _ => None,
        }
    }

    /// What the last try to get an id ran into.
    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Gives the id up, to ask for another one.
    pub(crate) fn renew(&mut self) {
        if self.known().is_some() {
            self.state = State::Absent { not_before: None };
        }
    }

    pub(crate) fn poll_request(&mut self, now: Instant, ids: &mut RequestIds) -> Option<Outgoing> {
        let State::Absent { not_before } = self.state else { return None };
        if not_before.is_some_and(|at| at > now) {
            return None;
        }
        let id = ids.allocate();
        self.state = State::Asking { id };
        // Without a transactional id the timeout means nothing; Java sends the largest.
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..Default::default()
        };
        Some(Outgoing::new(id, Target::AnyBroker, request, self.request_timeout))
    }

    /// Takes an answer: the id it brought, `None` when it was somebody else's or brought none.
    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        id: RequestId,
        result: &Result<Response, Failure>,
        random: &mut fastrand::Rng,
    ) -> Option<ProducerId> {
        match self.state {
            State::Asking { id: asked } if asked == id => {}
            _ => return None,
        }
        let failure = match result {
            Ok(Response::InitProducerId(response)) => {
                let code = ErrorCode(response.error_code);
                if verdict(ApiKey::InitProducerId, code) == Verdict::Done {
                    let known = ProducerId {
                        id: response.producer_id,
                        epoch: response.producer_epoch,
                        is_transactional: false,
                    };
                    self.state = State::Known(known);
                    self.failures = 0;
                    self.last_failure = None;
                    return Some(known);
                }
                format!("asking for a producer id: {}", Advised::new(ApiKey::InitProducerId, code))
            }
            Ok(_) => "asking for a producer id: an answer to something else came".to_owned(),
            Err(failure) => format!("asking for a producer id: {failure}"),
        };
        // Even a refusal is asked again: an operator may grant the right while records wait for their timeout.
        self.last_failure = Some(failure);
        self.failures = self.failures.saturating_add(1);
        let wait = self.backoff.after(self.failures, random);
        self.state = State::Absent { not_before: Some(later(now, wait)) };
        None
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        match self.state {
            State::Absent { not_before: Some(at) } => Some(Deadline::new(at, "ask for a producer id")),
            _ => None,
        }
    }
}
