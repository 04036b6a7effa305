//! The contract between decisions and the world: what happened goes in, what should happen next comes out.
//!
//! # The drain rule
//! Change the machine (by a `handle_*` or a plain verb), then drain [`poll_request`](Machine::poll_request) and
//! [`poll_event`](Machine::poll_event) until both are empty, then sleep until [`poll_timeout`](Machine::poll_timeout)
//! and call [`handle_timeout`](Machine::handle_timeout). Nothing else wakes a machine. One loop in `milena-connection`
//! follows this rule for every machine; the simulation does the same on a virtual clock.

use std::{fmt, sync::Arc, time::Duration, time::Instant};

use milena_protocol::{
    ApiKey,
    messages::{Request, Response},
};

use crate::BrokerId;

/// Decisions without IO, clock or threads.
pub trait Machine {
    /// What the machine tells its owner.
    type Event;

    /// Takes the answer to a request handed out by [`poll_request`](Self::poll_request), or why there is none.
    ///
    /// Every request is answered exactly once, but for those that nobody answers and that end with
    /// [`handle_written`](Self::handle_written). An id the machine does not wait for is ignored.
    fn handle_response(&mut self, now: Instant, id: RequestId, result: Result<Response, Failure>);

    /// Takes the news that a request to which no answer comes ([`Outgoing::expects_answer`]) has been written to its
    /// connection. That ends it. Whether the broker has got it, or will, nobody says.
    ///
    /// A request that could not be written has a [`Failure`] like any other. Only a machine that sends such requests needs
    /// this.
    fn handle_written(&mut self, _now: Instant, _id: RequestId) {}

    /// Takes the news that a connection has ended over which requests without an answer were written; `id` is the last of
    /// them. It is the only way in which a broker can tell that it refused one, besides which connections end for all
    /// kinds of reasons. `cause` is for people.
    fn handle_hangup(&mut self, _now: Instant, _id: RequestId, _cause: &Arc<str>) {}

    /// Acts on deadlines that have passed. Harmless when none has.
    fn handle_timeout(&mut self, now: Instant);

    /// The next request to send.
    fn poll_request(&mut self, now: Instant) -> Option<Outgoing>;

    /// The next thing to tell the owner.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` while only an answer or the owner can change
    /// anything.
    fn poll_timeout(&self) -> Option<Deadline>;
}

/// Names a request between the moment it is handed out and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(u64);

/// Hands out the request ids of one machine.
#[derive(Debug, Default)]
pub struct RequestIds(u64);

impl RequestIds {
    /// An id not handed out before.
    pub fn allocate(&mut self) -> RequestId {
        self.0 = self.0.wrapping_add(1);
        RequestId(self.0)
    }
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Comes back with the answer.
    pub id: RequestId,
    /// Who is to answer.
    pub target: Target,
    /// The request in its newest shape; [`shape`](crate::shape) turns it into what an older version has.
    pub request: Request,
    /// The oldest version that can carry what the request says.
    pub min_version: i16,
    /// The newest version the request may be sent in.
    pub max_version: i16,
    /// How long to wait for the answer once the request has been written, or for the writing if no answer comes.
    /// Afterwards the connection is of no use: what it still carries arrives out of turn.
    pub timeout: Duration,
    /// False when the broker sends no answer, as to a Produce request with acks 0: then the request ends with
    /// [`handle_written`](Machine::handle_written).
    pub expects_answer: bool,
}

impl Outgoing {
    /// A request in any version both sides know, which is answered.
    #[must_use]
    pub fn new(id: RequestId, target: Target, request: impl Into<Request>, timeout: Duration) -> Self {
        let request = request.into();
        Self { id, target, request, min_version: 0, max_version: i16::MAX, timeout, expects_answer: true }
    }

    /// The API of the request.
    #[must_use]
    pub fn api(&self) -> ApiKey {
        self.request.api_key()
    }
}

/// Who is to answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Any broker: one already connected, else a known one, else a bootstrap address.
    AnyBroker,
    /// This broker.
    Broker(BrokerId),
    /// This broker, over a connection of its own for requests that a long poll must not delay (KIP-62: a heartbeat
    /// behind a fetch would wait for it).
    Coordinator(BrokerId),
}

/// Why a request has no answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the machine must know.
    pub kind: FailureKind,
    /// What a person should read: the broker's address and what went wrong there.
    pub cause: Arc<str>,
}

/// What a machine must know of a request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Not one byte was sent: the broker has done nothing.
    NotSent,
    /// It was sent, at least in part: the broker may have done it or may yet do it.
    Unanswered,
    /// The broker speaks no version of the request that could carry it. Nothing was sent, and trying again is useless
    /// until the broker is another one.
    Unsupported,
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(kind: FailureKind, cause: impl Into<Arc<str>>) -> Self {
        Self { kind, cause: cause.into() }
    }

    /// True when the broker can't have acted on the request.
    #[must_use]
    pub fn is_definite(&self) -> bool {
        self.kind != FailureKind::Unanswered
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.cause)
    }
}

impl std::error::Error for Failure {}

/// A moment at which something is due, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The moment.
    pub at: Instant,
    /// What is due then. A stuck client explains itself with it.
    pub why: &'static str,
}

impl Deadline {
    /// Something due at `at`.
    #[must_use]
    pub const fn new(at: Instant, why: &'static str) -> Self {
        Self { at, why }
    }

    /// The earlier one.
    #[must_use]
    pub fn earliest(deadlines: impl IntoIterator<Item = Option<Self>>) -> Option<Self> {
        deadlines.into_iter().flatten().min_by_key(|deadline| deadline.at)
    }

    /// True when the moment has come.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.at <= now
    }
}
