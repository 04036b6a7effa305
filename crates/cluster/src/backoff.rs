//! How long to wait before trying again (KIP-580: exponential, with jitter).

use std::time::Duration;

/// The waits between tries: `initial`, doubled each time up to `max`, each spread by up to a fifth either way so that
/// clients that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// Kafka's defaults for `retry.backoff.ms` and `retry.backoff.max.ms`.
    pub const DEFAULT: Self = Self { initial: Duration::from_millis(100), max: Duration::from_secs(1) };

    /// The wait after `failures` failures in a row, at least one.
    #[must_use]
    pub fn after(&self, failures: u32, random: &mut fastrand::Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let plain = self.initial.saturating_mul(1 << doublings).min(self.max);
        Duration::try_from_secs_f64(plain.as_secs_f64() * (0.8 + 0.4 * random.f64())).unwrap_or(plain)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_within_the_spread() {
        let mut random = fastrand::Rng::with_seed(1);
        for (failures, plain) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (u32::MAX, 1000)] {
            let wait = Backoff::DEFAULT.after(failures, &mut random).as_millis();
            assert!((plain * 8 / 10..=plain * 12 / 10).contains(&wait), "{failures}: {wait}");
        }
    }

    #[test]
    fn a_wait_without_end_has_no_spread() {
        let endless = Backoff { initial: Duration::MAX, max: Duration::MAX };
        let mut random = fastrand::Rng::with_seed(1);
        for failures in [1, 2, u32::MAX] {
            assert!(endless.after(failures, &mut random) >= Duration::MAX.mul_f64(0.7));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (1..10).map(|failures| Backoff::DEFAULT.after(failures, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }
}
