//! Moments ahead of now, by waits that the user chooses.

use std::time::{Duration, Instant};

/// Thirty years: as good as never, and within what every clock can count.
const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// The moment `wait` after `now`. A wait without end, such as [`Duration::MAX`], is a setting like any other; adding it
/// to an [`Instant`] would panic, so the moment is at most thirty years away.
#[must_use]
pub fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(NEVER)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn a_wait_without_end_is_far_away() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(3)), now + Duration::from_secs(3));
        assert_eq!(later(now, Duration::MAX), now + NEVER);
        assert_eq!(later(later(now, Duration::MAX), Duration::MAX), now + NEVER + NEVER);
    }
}
