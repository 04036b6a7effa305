//! What can be planted in a client, to see that the simulation finds it.

use super::saboteur::WireBug;

/// A bug to plant in every client of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// In what a producer says and hears.
    OnTheWire(WireBug),
    /// In the producer's machine.
    #[cfg(feature = "planted-bugs")]
    Producer(milena_producer::PlantedBug),
    /// In the consumer's machine.
    #[cfg(feature = "planted-bugs")]
    Consumer(milena_consumer_group::PlantedBug),
}

impl Bug {
    /// Every bug that can be planted.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let all = WireBug::ALL.map(Self::OnTheWire).to_vec();
        #[cfg(feature = "planted-bugs")]
        let all = [
            all,
            milena_producer::PlantedBug::ALL.map(Self::Producer).to_vec(),
            milena_consumer_group::PlantedBug::ALL.map(Self::Consumer).to_vec(),
        ]
        .concat();
        all
    }

    pub(super) const fn on_the_wire(self) -> Option<WireBug> {
        match self {
            Self::OnTheWire(bug) => Some(bug),
            #[cfg(feature = "planted-bugs")]
            _ => None,
        }
    }
}
