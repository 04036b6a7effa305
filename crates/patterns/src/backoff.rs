//! How often, and how long between.

use std::time::Duration;

/// How often a record is tried, and how long is waited between two tries: a first wait that doubles up to a longest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    count: u32,
    first_wait: Duration,
    max_wait: Duration,
}

impl Tries {
    /// So many tries in all, at least one.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self { count: count.max(1), ..Self::default() }
    }

    /// How long is waited after the first try, and how long at most; 100 ms and 10 s by default.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        (self.first_wait, self.max_wait) = (first, max);
        self
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The same waits, without an end.
    pub(crate) const fn endless(mut self) -> Self {
        self.count = u32::MAX;
        self
    }

    /// How long to wait after the try of this number, from 1, which failed: `None` when it was the last. `spread` from 0 to
    /// 1 takes off up to a fifth, so that those who fail together do not come back together.
    pub(crate) fn wait_after(&self, tried: u32, spread: f64) -> Option<Duration> {
        if tried >= self.count {
            return None;
        }
        let doubled = 1u32.checked_shl(tried.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = self.first_wait.saturating_mul(doubled).min(self.max_wait);
        Some(wait.mul_f64(1.0 - 0.2 * spread.clamp(0.0, 1.0)))
    }
}

impl Default for Tries {
    /// 3 tries, 100 ms and 200 ms apart.
    fn default() -> Self {
        Self { count: 3, first_wait: Duration::from_millis(100), max_wait: Duration::from_secs(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end() {
        let tries = Tries::new(6).backoff(Duration::from_millis(100), Duration::from_millis(500));
        let waits: Vec<_> = (1..=6).map(|tried| tries.wait_after(tried, 0.0)).collect();
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(500), ms(500), None]);
        assert_eq!(tries.wait_after(1, 1.0), ms(80));
        assert_eq!(Tries::new(0).wait_after(1, 0.0), None);
        assert!(Tries::new(u32::MAX).wait_after(u32::MAX - 1, 0.5).is_some());
    }
}
