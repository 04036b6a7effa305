//! Bugs that can be planted in the machine, to see that the simulation finds them.
//!
//! Without the feature `planted-bugs`, which only tests switch on, there is no way to plant one: [`Planted::has`] is
//! false whatever is asked, and the compiler drops what depends on it.

/// A bug to plant.
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "public with the feature"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Positions are committed that the application has not got to: where fetching stands.
    CommitsWhatWasFetched,
    /// The offset that is committed is one too high.
    CommitsOneTooMany,
    /// Partitions that were given up are still read.
    KeepsRevokedPartitions,
    /// Partitions that were lost are still read.
    HandsOutAfterLoss,
    /// A batch with a wrong CRC is left out.
    SkipsCorruptBatches,
    /// Records of aborted transactions are handed out to readers of committed ones.
    IgnoresAbortedList,
    /// A fetch that is never answered is waited for.
    HangsAfterDisconnect,
    /// A member that the group does not answer believes to be in it for ever.
    IgnoresSessionEnd,
}

#[cfg(feature = "planted-bugs")]
impl PlantedBug {
    /// Every bug that can be planted.
    pub const ALL: [Self; 8] = [
        Self::CommitsWhatWasFetched,
        Self::CommitsOneTooMany,
        Self::KeepsRevokedPartitions,
        Self::HandsOutAfterLoss,
        Self::SkipsCorruptBatches,
        Self::IgnoresAbortedList,
        Self::HangsAfterDisconnect,
        Self::IgnoresSessionEnd,
    ];
}

/// The bug that a machine has, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<PlantedBug>,
}

impl Planted {
    /// A machine with this bug.
    #[cfg(feature = "planted-bugs")]
    pub(crate) const fn new(bug: PlantedBug) -> Self {
        Self { bug: Some(bug) }
    }

    /// Whether the machine has this bug.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has(self, bug: PlantedBug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether the machine has this bug: it has none.
    #[cfg(not(feature = "planted-bugs"))]
    #[expect(clippy::unused_self, reason = "with the feature it matters")]
    pub(crate) const fn has(self, _: PlantedBug) -> bool {
        false
    }
}
