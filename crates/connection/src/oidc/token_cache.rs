//! Which token to use, and when to ask for another. Clocks and randomness are arguments.

use std::time::{Duration, Instant, SystemTime};

use milena_cluster::{Backoff, later};

use super::OidcError;
use crate::Token;

/// The share of a token's life, in thousandths, after which another one is asked for. Clients that began together do not all
/// come back together.
const REFRESH: std::ops::RangeInclusive<u32> = 800..=850;
/// A token is not used in the end of its life: what it is used for takes a moment, and clocks differ. A tenth of its
/// life, and no more than this.
const LAST_MOMENT: Duration = Duration::from_secs(10);
/// The waits before an endpoint that gave no token is asked again.
const BACKOFF: Backoff = Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(10) };

/// A moment by two clocks. The steady one stands still while a machine sleeps, and the one on the wall may be set; what
/// either has reached has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) steady: Instant,
    pub(super) wall: SystemTime,
}

impl Moment {
    fn after(self, wait: Duration) -> Self {
        Self { steady: later(self.steady, wait), wall: self.wall.checked_add(wait).unwrap_or(self.wall) }
    }

    fn has_reached(self, other: Self) -> bool {
        self.steady >= other.steady || self.wall >= other.wall
    }
}

/// The newest token, and the newest failure to get one.
#[derive(Debug, Default)]
pub(super) struct TokenCache {
    held: Option<Held>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Held {
    token: Token,
    refresh: Moment,
    expiry: Moment,
}

#[derive(Debug)]
struct Failure {
    error: OidcError,
    in_a_row: u32,
    again: Moment,
}

/// What whoever wants a token is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Use this one.
    Use(Token),
    /// Have a token fetched. If that takes long or fails, this one still does.
    Fetch(Option<Token>),
    /// It failed a moment ago; it is too early to try again.
    Fail(OidcError),
}

impl TokenCache {
    pub(super) fn plan(&self, now: Moment) -> Plan {
        let valid = self.held.as_ref().filter(|held| !now.has_reached(held.expiry));
        let early = self.failure.as_ref().filter(|failure| !now.has_reached(failure.again));
        match (valid, early) {
            (Some(held), _) if !now.has_reached(held.refresh) => Plan::Use(held.token.clone()),
            (Some(held), Some(_)) => Plan::Use(held.token.clone()),
            (None, Some(failure)) => Plan::Fail(failure.error.clone()),
            (valid, None) => Plan::Fetch(valid.map(|held| held.token.clone())),
        }
    }

    /// A token came. `asked`: when it was asked for, which is when its life began at the earliest. One whose life nobody
    /// knows is not kept.
    pub(super) fn handle_token(
        &mut self,
        asked: Moment,
        token: &Token,
        life: Option<Duration>,
        random: &mut fastrand::Rng,
    ) {
        self.failure = None;
        self.held = life.map(|life| Held {
            token: token.clone(),
            refresh: asked.after(life.saturating_mul(random.u32(REFRESH)) / 1_000),
            expiry: asked.after(life.saturating_sub(LAST_MOMENT.min(life / 10))),
        });
    }

    /// No token came.
    pub(super) fn handle_failure(&mut self, now: Moment, error: OidcError, random: &mut fastrand::Rng) {
        let before = self.failure.as_ref().map_or(0, |failure| failure.in_a_row);
        let in_a_row = before.saturating_add(1);
        self.failure = Some(Failure { error, in_a_row, again: now.after(BACKOFF.after(in_a_row, random)) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(1_000);

    struct Script {
        begin: Moment,
        cache: TokenCache,
        random: fastrand::Rng,
    }

    fn script() -> Script {
        let begin = Moment { steady: Instant::now(), wall: SystemTime::now() };
        Script { begin, cache: TokenCache::default(), random: fastrand::Rng::with_seed(1) }
    }

    impl Script {
        fn at(&self, millis: u64) -> Moment {
            self.begin.after(Duration::from_millis(millis))
        }

        fn plan(&self, millis: u64) -> Plan {
            self.cache.plan(self.at(millis))
        }

        fn came(&mut self, millis: u64, name: &str, life: Option<Duration>) {
            let asked = self.at(millis);
            self.cache.handle_token(asked, &token(name), life, &mut self.random);
        }

        fn failed(&mut self, millis: u64) {
            let now = self.at(millis);
            self.cache.handle_failure(now, failure(), &mut self.random);
        }
    }

    fn token(name: &str) -> Token {
        Token::new(name).unwrap()
    }

    fn failure() -> OidcError {
        OidcError::RuntimeEnded { endpoint: "https://login.example".to_owned() }
    }

    /// X3.
    #[test]
    fn a_token_is_used_for_four_fifths_of_its_life_and_then_replaced() {
        let mut script = script();
        assert_eq!(script.plan(0), Plan::Fetch(None));
        script.came(0, "a", Some(LIFE));
        assert_eq!(script.plan(0), Plan::Use(token("a")));
        assert_eq!(script.plan(799_999), Plan::Use(token("a")));
        assert_eq!(script.plan(850_000), Plan::Fetch(Some(token("a"))));
        script.came(850_000, "b", Some(LIFE));
        assert_eq!(script.plan(1_600_000), Plan::Use(token("b")));
    }

    #[test]
    fn clients_that_began_together_refresh_apart() {
        let due = |seed| {
            let mut script = script();
            script.random = fastrand::Rng::with_seed(seed);
            script.came(0, "a", Some(LIFE));
            (0..1_000).find(|second| matches!(script.plan(second * 1_000), Plan::Fetch(_))).unwrap()
        };
        let mut all: Vec<u64> = (0..50).map(due).collect();
        all.sort_unstable();
        all.dedup();
        assert!(all.len() > 25 && all[0] >= 800 && all[all.len() - 1] <= 850, "{all:?}");
    }

    #[test]
    fn an_old_token_does_until_its_last_moments_when_there_is_no_new_one() {
        let mut script = script();
        script.came(0, "a", Some(LIFE));
        script.failed(860_000);
        assert_eq!(script.plan(860_000), Plan::Use(token("a")));
        assert_eq!(script.plan(861_000), Plan::Fetch(Some(token("a"))));
        script.failed(989_999);
        assert_eq!(script.plan(989_999), Plan::Use(token("a")));
        assert_eq!(script.plan(990_000), Plan::Fail(failure()));
        assert_eq!(script.plan(999_000), Plan::Fetch(None));
    }

    #[test]
    fn a_failure_is_told_until_it_is_time_to_try_again() {
        let mut script = script();
        let mut now = 0;
        for longest in [120, 240, 480, 960, 1_920, 3_840, 7_680, 12_000, 12_000, 12_000] {
            script.failed(now);
            assert_eq!(script.plan(now + longest / 2), Plan::Fail(failure()), "{longest}");
            now += longest;
            assert_eq!(script.plan(now), Plan::Fetch(None), "{longest}");
        }
        script.came(now, "a", Some(LIFE));
        now += 990_000;
        script.failed(now);
        assert_eq!(script.plan(now + 120), Plan::Fetch(None), "one that came begins the waits anew");
    }

    #[test]
    fn a_token_whose_life_nobody_knows_is_not_kept() {
        let mut script = script();
        script.came(0, "a", None);
        assert_eq!(script.plan(0), Plan::Fetch(None));
    }

    /// A5.
    #[test]
    fn a_machine_that_slept_does_not_use_what_expired_meanwhile() {
        let mut script = script();
        script.came(0, "a", Some(LIFE));
        let awake = Moment { wall: script.at(2_000_000).wall, ..script.at(1_000) };
        assert_eq!(script.cache.plan(awake), Plan::Fetch(None));
        let set_back = Moment { wall: script.begin.wall - LIFE, ..script.at(2_000_000) };
        assert_eq!(script.cache.plan(set_back), Plan::Fetch(None));
    }

    #[test]
    fn lives_of_every_length_are_reckoned_with() {
        let mut script = script();
        for life in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            script.came(0, "a", Some(life));
            script.plan(0);
        }
    }
}
