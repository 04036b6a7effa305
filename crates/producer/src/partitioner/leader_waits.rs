//! Which leaders leave batches lying, and since when.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use milena_cluster::BrokerId;

/// Since when each leader has had batches to be sent and has been sent none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderWaits {
    since: BTreeMap<BrokerId, Instant>,
}

impl LeaderWaits {
    /// These leaders have something to be sent at `now`, and no others. True when that is news.
    pub(crate) fn set_ready(&mut self, now: Instant, ready: &BTreeSet<BrokerId>) -> bool {
        let before = self.since.len();
        self.since.retain(|leader, _| ready.contains(leader));
        let mut is_news = self.since.len() != before;
        for leader in ready {
            self.since.entry(*leader).or_insert_with(|| {
                is_news = true;
                now
            });
        }
        is_news
    }

    /// The leader has been sent something: what it has besides waits from here on.
    pub(crate) fn served(&mut self, now: Instant, leader: BrokerId) {
        if let Some(since) = self.since.get_mut(&leader) {
            *since = now;
        }
    }

    /// Since when the leader has left batches lying.
    pub(crate) fn since(&self, leader: BrokerId) -> Option<Instant> {
        self.since.get(&leader).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a script needs some instant to start at")]
    fn a_wait_begins_with_the_batch_and_anew_when_one_is_sent() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (one, two) = (BrokerId(1), BrokerId(2));
        let mut waits = LeaderWaits::default();
        assert!(waits.set_ready(at(0), &[one].into()));
        assert!(waits.set_ready(at(1), &[one, two].into()));
        assert!(!waits.set_ready(at(2), &[one, two].into()));
        assert_eq!((waits.since(one), waits.since(two)), (Some(at(0)), Some(at(1))));
        waits.served(at(3), one);
        assert_eq!((waits.since(one), waits.since(two)), (Some(at(3)), Some(at(1))));
        assert!(waits.set_ready(at(4), &[one].into()));
        assert_eq!(waits.since(two), None);
        waits.served(at(5), two);
        assert_eq!(waits.since(two), None);
    }
}
