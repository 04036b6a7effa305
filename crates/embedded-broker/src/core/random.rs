//! Random numbers that a seed decides.

use milena_protocol::wire::Uuid;

/// The generator SplitMix64: good enough for ids, and four lines long.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        Uuid::from_random(u128::from(self.next()) << 64 | u128::from(self.next()))
    }

    /// True for one of so many draws. Nothing is drawn where there is no choice.
    pub(crate) fn one_in(&mut self, draws: u32) -> bool {
        draws <= 1 || self.next().is_multiple_of(u64::from(draws))
    }

    /// A number below `bound`; zero where there is none.
    #[cfg(feature = "simulation")]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// A time of at most `most`, in steps of a microsecond.
    #[cfg(feature = "simulation")]
    pub(crate) fn up_to(&mut self, most: std::time::Duration) -> std::time::Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        std::time::Duration::from_micros(self.below(micros))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }
}
