//! Bugs that can be planted in the machine, to see that the simulation finds them.
//!
//! Without the feature `planted-bugs`, which only tests switch on, there is no way to plant one: [`Planted::has`] is
//! false whatever is asked, and the compiler drops what depends on it.

/// A bug to plant.
#[cfg_attr(not(feature = "planted-bugs"), expect(unreachable_pub, reason = "public with the feature"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Another producer id is asked for while batches of the old one are in flight.
    RenewsInFlight,
    /// After UNKNOWN_PRODUCER_ID everything is numbered anew, what may have been written included.
    ForgetsProducerState,
    /// Of the batches that wait to be sent again the last one goes first.
    ReordersOnRetry,
    /// Of a batch that is split the second part goes first.
    SplitsOutOfOrder,
    /// Both parts of a batch that is split have the numbers of the first.
    SplitRepeatsNumbers,
    /// A transaction is aborted whose commit may have reached the coordinator.
    AbortsUnknownCommit,
}

#[cfg(feature = "planted-bugs")]
impl PlantedBug {
    /// Every bug that can be planted.
    pub const ALL: [Self; 6] = [
        Self::RenewsInFlight,
        Self::ForgetsProducerState,
        Self::ReordersOnRetry,
        Self::SplitsOutOfOrder,
        Self::SplitRepeatsNumbers,
        Self::AbortsUnknownCommit,
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
