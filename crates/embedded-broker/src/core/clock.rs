//! Wall-clock time, derived from the time that is passed in.

use std::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_unix_ms: i64,
}

impl Clock {
    pub(crate) const fn new(start: Instant, start_unix_ms: i64) -> Self {
        Self { start, start_unix_ms }
    }

    /// Milliseconds since 1970 at `now`.
    pub(crate) fn unix_ms(self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.start).as_millis();
        self.start_unix_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}
