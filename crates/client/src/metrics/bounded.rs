//! A set that takes so many and no more.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whoever comes first is in it for good: recorders keep what they have been given.
#[derive(Debug)]
pub(super) struct Bounded<K> {
    most: usize,
    known: Mutex<BTreeSet<K>>,
    is_told: AtomicBool,
}

impl<K: Ord + Clone> Bounded<K> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, known: Mutex::default(), is_told: AtomicBool::new(false) }
    }

    /// True for what is in it, or finds room.
    pub(super) fn admits(&self, key: &K) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(key);
        let has_room = known.len() < self.most;
        if !is_known && has_room {
            known.insert(key.clone());
        }
        is_known || has_room
    }

    /// True once, when somebody was left out.
    pub(super) fn is_to_be_told(&self) -> bool {
        !self.is_told.swap(true, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_first_and_takes_no_more_than_its_bound() {
        let bounded = Bounded::new(2);
        assert_eq!(
            ["a", "b", "c", "a", "d"].map(|key| bounded.admits(&key)),
            [true, true, false, true, false]
        );
        assert!(!Bounded::new(0).admits(&"a"));
        assert!(bounded.is_to_be_told() && !bounded.is_to_be_told());
    }
}
