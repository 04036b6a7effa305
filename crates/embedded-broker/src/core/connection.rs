//! One connection: which request is under way, and which ones wait for it.
//!
//! Kafka mutes a channel while it works on a request, so that replies leave in the order of the requests and a parked one
//! holds back those behind it.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use milena_protocol::messages::ApiKey;

use super::{
    BrokerId,
    sasl::{Auth, SaslConfig},
};

/// Frames that may wait behind a parked request; a client that sends more is cut off. The listener stops reading long
/// before.
pub(super) const MAX_WAITING: usize = 1_000;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) broker: BrokerId,
    pub(super) state: State,
    pub(super) auth: Auth,
    /// Frames that came while another was under way.
    pub(super) waiting: VecDeque<Bytes>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Idle,
    Busy(UnderWay),
    /// Its client did more than its quota allows.
    Throttled,
    /// A fault took the request: nothing more comes on this connection.
    Mute,
    /// It was told to end, and what still comes in on it is not looked at.
    Closed,
}

/// The request that a connection waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnderWay {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) then: Then,
}

/// What becomes of the reply.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Send,
    SendAndClose,
    Drop,
    Close,
    Cut(usize),
    Delay(Duration),
}

impl Connection {
    pub(super) const fn new(broker: BrokerId, sasl: Option<&SaslConfig>) -> Self {
        Self { broker, state: State::Idle, auth: Auth::new(sasl), waiting: VecDeque::new() }
    }

    /// Whether what comes in has to wait.
    pub(super) const fn is_muted(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether what comes in waits for a request that is under way.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_muted() && !matches!(self.state, State::Throttled)
    }
}
