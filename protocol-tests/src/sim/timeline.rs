//! The virtual clock, and what is to happen when.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_cluster::{Failure, RequestId};
use milena_embedded_broker::core::{BrokerId, ConnectionId};

use super::trace::Trace;

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Event {
    /// A request reaches the broker that it was sent to. `life` counts the broker's starts: what was on its way to a
    /// broker that stopped is gone.
    Arrival { connection: ConnectionId, broker: BrokerId, life: u32, frame: Bytes },
    /// The broker notices that the client has gone.
    Disconnect { connection: ConnectionId },
    /// A reply reaches the client.
    Reply { connection: ConnectionId, frame: Bytes },
    /// The client notices that the connection is gone.
    Closed { connection: ConnectionId },
    /// The client has waited for the reply long enough.
    RequestTimeout { connection: ConnectionId, correlation: i32 },
    /// A request could not be sent.
    Unsent { seat: usize, life: u32, id: RequestId, failure: Failure },
    /// Users have something to send.
    Storm,
    /// A user sends records.
    Work { seat: usize },
    /// A fault befalls something.
    Fault { number: usize },
    /// A broker starts again.
    BrokerStarts { broker: BrokerId },
    /// A process that stood still goes on.
    Resume { seat: usize, life: u32 },
    /// A process takes an empty seat.
    Start { seat: usize },
    /// Faults end.
    Heal,
    /// A producer sends a record to every partition, which the second time has to be acknowledged.
    Probe { seat: usize, is_second: bool },
    /// A user closes its producer.
    Finish { seat: usize },
    /// The group has had the time to come to rest, and everybody leaves.
    Settled,
}

/// Time in microseconds since the start, the events to come, and the trace of those that were.
#[derive(Debug)]
pub(super) struct Timeline {
    start: Instant,
    micros: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub(super) trace: Trace,
}

impl Timeline {
    pub(super) fn new(start: Instant, trace: Trace) -> Self {
        Self { start, micros: 0, events: BTreeMap::new(), scheduled: 0, trace }
    }

    pub(super) const fn micros(&self) -> u64 {
        self.micros
    }

    pub(super) fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.micros)
    }

    pub(super) fn at(&self, micros: u64) -> Instant {
        self.start + Duration::from_micros(micros)
    }

    /// The first microsecond at which `at` has come.
    pub(super) fn micros_of(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.start).as_nanos().div_ceil(1000);
        u64::try_from(passed).unwrap_or(u64::MAX)
    }

    pub(super) fn advance(&mut self, micros: u64) {
        self.micros = self.micros.max(micros);
    }

    /// Lets something happen; of two things at one time the one scheduled first comes first.
    pub(super) fn schedule(&mut self, micros: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((micros.max(self.micros), self.scheduled), event);
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.events.first_key_value().map(|((micros, _), _)| *micros)
    }

    /// The next event of this moment.
    pub(super) fn take_due(&mut self) -> Option<Event> {
        let first = self.events.first_entry()?;
        (first.key().0 <= self.micros).then(|| first.remove())
    }

    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        self.trace.note(self.micros, what);
    }
}
