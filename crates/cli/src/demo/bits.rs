//! A set of orders.

/// A bit an order, for the ids from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u64,
    count: u64,
}

impl Bits {
    /// None of `len` orders.
    pub(crate) fn new(len: u64) -> Self {
        Self { words: vec![0; len.div_ceil(64) as usize], len, count: 0 }
    }

    /// Those of `len` orders that `wanted` says.
    pub(crate) fn of(len: u64, wanted: impl Fn(u64) -> bool) -> Self {
        let mut bits = Self::new(len);
        for id in (0..len).filter(|id| wanted(*id)) {
            bits.insert(id);
        }
        bits
    }

    /// False when the order was in it, or none can have that id.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        let (len, bit) = (self.len, 1 << (id % 64));
        match self.words.get_mut((id / 64) as usize).filter(|_| id < len) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.words.get((id / 64) as usize).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    /// True for the ids that orders can have.
    pub(crate) fn admits(&self, id: u64) -> bool {
        id < self.len
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How many of these are not in `others`.
    pub(crate) fn without(&self, others: &Self) -> u64 {
        let missing = |(word, at): (&u64, usize)| {
            u64::from((word & !others.words.get(at).copied().unwrap_or(0)).count_ones())
        };
        self.words.iter().zip(0..).map(missing).sum()
    }

    /// Adds all of `others`.
    pub(crate) fn add(&mut self, others: &Self) {
        for (word, other) in self.words.iter_mut().zip(&others.words) {
            *word |= other;
        }
        self.count = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_counted_once_and_missed_where_they_are_missing() {
        let mut some = Bits::of(200, |id| id % 3 == 0);
        assert_eq!((some.count(), some.contains(198), some.contains(199)), (67, true, false));
        assert!(some.insert(199) && !some.insert(199) && !some.insert(200));
        let all = Bits::of(200, |_| true);
        assert_eq!((all.without(&some), some.without(&all)), (132, 0));
        let mut both = Bits::of(200, |id| id % 3 == 1);
        both.add(&some);
        assert_eq!(both.count(), 134);
    }
}
