//! What may go wrong in a simulation, and how often.

use std::time::Duration;

/// What goes wrong in a [`Simulation`](super::Simulation).
///
/// By default, for the first minute: a message takes up to 5 ms and one in 200 stalls for up to 5 s; one in 300 breaks its
/// connection, on its way or on the way back; about every 5 s a broker is stopped for up to 20 s, stands still for up to
/// 15 s, hands over a partition, or every member of a group loses its session. Afterwards only the 5 ms are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    pub(super) lasting: Duration,
    pub(super) latency: Duration,
    pub(super) one_stalls_in: u32,
    pub(super) stall: Duration,
    pub(super) one_breaks_in: u32,
    pub(super) every: Option<Duration>,
    pub(super) stopped: Duration,
    pub(super) paused: Duration,
}

impl Faults {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lasting: Duration::from_mins(1),
            latency: Duration::from_millis(5),
            one_stalls_in: 200,
            stall: Duration::from_secs(5),
            one_breaks_in: 300,
            every: Some(Duration::from_secs(5)),
            stopped: Duration::from_secs(20),
            paused: Duration::from_secs(15),
        }
    }

    /// Nothing but time on the way.
    #[must_use]
    pub const fn none() -> Self {
        Self { one_stalls_in: 0, one_breaks_in: 0, every: None, ..Self::new() }
    }

    /// How long, from the start, things go wrong.
    #[must_use]
    pub const fn lasting(mut self, lasting: Duration) -> Self {
        self.lasting = lasting;
        self
    }

    /// How long a message takes at most.
    #[must_use]
    pub const fn latency(mut self, most: Duration) -> Self {
        self.latency = most;
        self
    }

    /// One message in so many takes up to so long. None with zero.
    #[must_use]
    pub const fn stalls(mut self, one_in: u32, most: Duration) -> Self {
        self.one_stalls_in = one_in;
        self.stall = most;
        self
    }

    /// One message in so many breaks its connection. None with zero.
    #[must_use]
    pub const fn breaks(mut self, one_in: u32) -> Self {
        self.one_breaks_in = one_in;
        self
    }

    /// How often, about, something befalls a broker or a group; `None` for never.
    #[must_use]
    pub const fn every(mut self, every: Option<Duration>) -> Self {
        self.every = every;
        self
    }

    /// How long a broker is stopped at most.
    #[must_use]
    pub const fn stopped_for(mut self, most: Duration) -> Self {
        self.stopped = most;
        self
    }

    /// How long a broker stands still at most.
    #[must_use]
    pub const fn paused_for(mut self, most: Duration) -> Self {
        self.paused = most;
        self
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}
