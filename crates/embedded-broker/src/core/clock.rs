//! Wall-clock time, derived from the time that is passed in.

use std::time::{Duration, Instant};

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

    /// The Unix time of the last tick of something that happens at every `interval` since the start.
    pub(crate) fn last_tick_ms(self, now: Instant, interval: Duration) -> i64 {
        let passed = self.unix_ms(now).saturating_sub(self.start_unix_ms);
        self.start_unix_ms.saturating_add(passed - passed % interval_ms(interval))
    }

    /// The first tick that comes after this Unix time.
    pub(crate) fn tick_after(self, unix_ms: i64, interval: Duration) -> Instant {
        let interval = interval_ms(interval);
        let passed = unix_ms.saturating_sub(self.start_unix_ms).max(0);
        let ticks = passed / interval + 1;
        let after = u64::try_from(ticks.saturating_mul(interval)).unwrap_or(0);
        // A time that no clock reaches does not come.
        self.start
            .checked_add(Duration::from_millis(after))
            .unwrap_or(self.start + Duration::from_secs(1 << 32))
    }
}

/// At least a millisecond: something that happens all the time is never done.
fn interval_ms(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1)
}
