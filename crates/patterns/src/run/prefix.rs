//! Up to where everything of a partition is done.

use std::collections::VecDeque;

use milena::Position;

/// The records of a partition that were handed out, in their order, and which of them are done. What may be committed is
/// the position behind the longest beginning in which all are.
#[derive(Debug, Default)]
pub(crate) struct Prefix {
    open: VecDeque<Entry>,
    done_to: Option<Position>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    next: Position,
    is_done: bool,
}

impl Prefix {
    /// A record was handed out; offsets grow.
    pub(crate) fn begin(&mut self, offset: i64, next: Position) {
        debug_assert!(self.open.back().is_none_or(|last| last.offset < offset));
        self.open.push_back(Entry { offset, next, is_done: false });
    }

    /// A record is done. True when there is more to commit.
    pub(crate) fn finish(&mut self, offset: i64) -> bool {
        if let Ok(at) = self.open.binary_search_by_key(&offset, |entry| entry.offset)
            && let Some(entry) = self.open.get_mut(at)
        {
            entry.is_done = true;
        }
        let mut has_grown = false;
        while let Some(entry) = self.open.pop_front_if(|entry| entry.is_done) {
            self.done_to = Some(entry.next);
            has_grown = true;
        }
        has_grown
    }

    /// Reading goes on at `position`: when all that was handed out is done, what lies in between (the ends of transactions, say)
    /// needs no handling. True when there is more to commit.
    pub(crate) fn read_on_at(&mut self, position: Position) -> bool {
        let is_more = self.done_to.is_some_and(|done_to| done_to.offset < position.offset);
        if is_more && self.open.is_empty() {
            self.done_to = Some(position);
        }
        is_more && self.open.is_empty()
    }

    /// What may be committed; `None` before the first record is done.
    pub(crate) fn position(&self) -> Option<Position> {
        self.done_to
    }

    /// How many records are handed out and not yet behind the position.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    #[test]
    fn what_is_no_record_is_passed_when_nothing_is_open() {
        let at = |offset| Position { offset, leader_epoch: None };
        let mut prefix = Prefix::default();
        prefix.begin(3, at(4));
        assert!(!prefix.read_on_at(at(5)) && prefix.position().is_none());
        prefix.finish(3);
        assert!(prefix.read_on_at(at(5)) && !prefix.read_on_at(at(5)) && !prefix.read_on_at(at(4)));
        assert_eq!(prefix.position(), Some(at(5)));
        prefix.begin(5, at(6));
        assert!(!prefix.read_on_at(at(7)));
        assert_eq!(prefix.position(), Some(at(5)));
    }

    proptest! {
        /// Whatever the order in which records end: all below the position are done, and the one at it is not.
        #[test]
        fn the_position_is_behind_the_longest_beginning(
            gaps in vec(1i64..4, 1..40),
            picks in vec(any::<Index>(), 0..40),
        ) {
            let mut prefix = Prefix::default();
            let offsets: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            for offset in &offsets {
                prefix.begin(*offset, Position { offset: offset + 1, leader_epoch: None });
            }
            let mut done = BTreeSet::new();
            for pick in picks {
                let offset = *pick.get(&offsets);
                done.insert(offset);
                let before = prefix.position();
                prop_assert_eq!(prefix.finish(offset), prefix.position() != before);
                let last = offsets.iter().take_while(|offset| done.contains(offset)).last();
                prop_assert_eq!(prefix.position().map(|position| position.offset), last.map(|offset| offset + 1));
                let open = offsets.iter().filter(|offset| last.is_none_or(|last| *offset > last)).count();
                prop_assert_eq!(prefix.len(), open);
            }
        }
    }
}
