//! One budget of bytes for all producers and consumers of a client.
//!
//! Each has a share of its own, so that none can starve another: whoever consumes in order to produce would wait for itself
//! where both took from one heap. The shares are as equal as what each asks for at most allows, and change when somebody comes
//! or goes. Nobody is given what another still holds: until that is free, whoever came last has less.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use milena_connection::Driven;

use crate::BuildError;

/// How often it is looked whether what is held too much has been let go of.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Who holds memory: a producer or a consumer.
pub(crate) trait Holder: Send + Sync {
    /// Bytes that it holds, or that are on their way to it.
    fn held(&self) -> usize;

    /// From here on it may hold so much.
    fn grant(&self, bytes: usize);
}

impl Holder for Driven<milena_producer::Producer> {
    fn held(&self) -> usize {
        self.look().accumulator().held()
    }

    fn grant(&self, bytes: usize) {
        self.change(|producer, _| producer.set_memory(bytes));
    }
}

impl Holder for Driven<milena_consumer_group::Consumer> {
    fn held(&self) -> usize {
        self.look().held_bytes()
    }

    fn grant(&self, bytes: usize) {
        self.change(|consumer, now| consumer.set_max_buffered_bytes(now, bytes));
    }
}

/// What a holder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// With less than this it could not do its work.
    pub(crate) least: usize,
    /// It takes no more than this.
    pub(crate) most: usize,
}

/// The budget of a client; its clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Mutex<Ledger>>);

struct Ledger {
    total: usize,
    members: BTreeMap<u64, Member>,
    next: u64,
    /// Somebody looks again already.
    is_watched: bool,
}

struct Member {
    needs: Needs,
    granted: usize,
    holder: Weak<dyn Holder>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let granted: Vec<_> = self.members.values().map(|member| member.granted).collect();
        f.debug_struct("Ledger")
            .field("total", &self.total)
            .field("granted", &granted)
            .finish_non_exhaustive()
    }
}

/// A holder's place in the budget, given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    id: u64,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Self {
        Self(Arc::new(Mutex::new(Ledger { total, members: BTreeMap::new(), next: 0, is_watched: false })))
    }

    /// Locked to compute, never to wait. Machines are locked under it, never the other way round.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another holder in, and divides anew. It may hold nothing yet.
    ///
    /// # Errors
    /// When the budget has too little for all of them.
    pub(crate) fn join<H: Holder + 'static>(
        &self,
        holder: &Arc<H>,
        needs: Needs,
    ) -> Result<Share, BuildError> {
        let mut ledger = self.ledger();
        let least = ledger.members.values().map(|member| member.needs.least).sum::<usize>();
        let needed = least.saturating_add(needs.least);
        if needed > ledger.total {
            let (total, holders) = (ledger.total, ledger.members.len().saturating_add(1));
            return Err(BuildError::Memory { total, holders, needed });
        }
        // Coerced before it is weak.
        let holder: Arc<dyn Holder> = Arc::clone(holder) as _;
        holder.grant(0);
        let id = ledger.next;
        ledger.next += 1;
        ledger.members.insert(id, Member { needs, granted: 0, holder: Arc::downgrade(&holder) });
        self.divide(&mut ledger);
        Ok(Share { budget: self.clone(), id })
    }

    fn divide(&self, ledger: &mut Ledger) {
        if ledger.divide() || ledger.is_watched {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        ledger.is_watched = true;
        runtime.spawn(watch(Arc::downgrade(&self.0)));
    }
}

/// Divides until everybody has a whole share.
async fn watch(ledger: Weak<Mutex<Ledger>>) {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let Some(ledger) = ledger.upgrade() else { return };
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.divide() {
            ledger.is_watched = false;
            return;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut ledger = self.budget.ledger();
        ledger.members.remove(&self.id);
        self.budget.divide(&mut ledger);
    }
}

impl Ledger {
    /// Gives everybody a share, as far as it is free. True when all have theirs.
    fn divide(&mut self) -> bool {
        let needs: Vec<_> = self.members.values().map(|member| member.needs).collect();
        let level = level(self.total, &needs);
        let mut taken = 0usize;
        for member in self.members.values_mut() {
            member.lower(member.needs.at(level));
            taken = taken.saturating_add(member.held().max(member.granted));
        }
        let mut is_done = true;
        for member in self.members.values_mut() {
            let free = self.total.saturating_sub(taken);
            let share = member.needs.at(level);
            // What it holds beyond its grant is counted already.
            let own = member.granted.max(member.held());
            let more = share.saturating_sub(own).min(free);
            member.raise(own.saturating_add(more).min(share));
            taken = taken.saturating_add(more);
            is_done &= member.granted == share;
        }
        is_done
    }
}

impl Member {
    fn held(&self) -> usize {
        self.holder.upgrade().map_or(0, |holder| holder.held())
    }

    fn lower(&mut self, share: usize) {
        if share < self.granted {
            self.set(share);
        }
    }

    fn raise(&mut self, bytes: usize) {
        if bytes > self.granted {
            self.set(bytes);
        }
    }

    fn set(&mut self, bytes: usize) {
        self.granted = bytes;
        if let Some(holder) = self.holder.upgrade() {
            holder.grant(bytes);
        }
    }
}

impl Needs {
    /// The share where everybody has as much, if needs allow.
    fn at(self, level: usize) -> usize {
        level.max(self.least).min(self.most.max(self.least))
    }
}

/// The highest level at which all shares together are within `total`.
fn level(total: usize, needs: &[Needs]) -> usize {
    let fits = |level| needs.iter().map(|needs| needs.at(level)).fold(0, usize::saturating_add) <= total;
    let (mut low, mut high) = (0, total);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Fake {
        held: AtomicUsize,
        granted: AtomicUsize,
    }

    impl Holder for Fake {
        fn held(&self) -> usize {
            self.held.load(Ordering::Relaxed)
        }

        fn grant(&self, bytes: usize) {
            self.granted.store(bytes, Ordering::Relaxed);
        }
    }

    impl Fake {
        fn granted(&self) -> usize {
            self.granted.load(Ordering::Relaxed)
        }

        fn hold(&self, bytes: usize) {
            self.held.store(bytes, Ordering::Relaxed);
        }
    }

    fn needs(least: usize, most: usize) -> Needs {
        Needs { least, most }
    }

    #[test]
    fn shares_are_as_equal_as_needs_allow() {
        let shares = |total, all: &[Needs]| {
            let level = level(total, all);
            all.iter().map(|needs| needs.at(level)).collect::<Vec<_>>()
        };
        assert_eq!(shares(96, &[needs(1, 32), needs(1, 64)]), [32, 64]);
        assert_eq!(shares(64, &[needs(1, 32), needs(1, 64)]), [32, 32]);
        assert_eq!(shares(64, &[needs(1, 4), needs(1, 64), needs(1, 64)]), [4, 30, 30]);
        assert_eq!(shares(10, &[needs(8, 64), needs(1, 64)]), [8, 2]);
        assert_eq!(shares(1_000, &[needs(1, 32)]), [32]);
        assert_eq!(shares(10, &[]), [0usize; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_last_waits_for_what_others_hold() {
        let budget = Budget::new(100);
        let [first, second] = [(); 2].map(|()| Arc::new(Fake::default()));
        let _first = budget.join(&first, needs(10, 100)).unwrap();
        assert_eq!(first.granted(), 100);
        first.hold(90);
        let place = budget.join(&second, needs(10, 100)).unwrap();
        assert_eq!((first.granted(), second.granted()), (50, 10));
        first.hold(70);
        tokio::time::sleep(2 * LOOK_AGAIN).await;
        assert_eq!(second.granted(), 30);
        second.hold(30);
        first.hold(20);
        tokio::time::sleep(2 * LOOK_AGAIN).await;
        assert_eq!((first.granted(), second.granted()), (50, 50));
        assert!(!budget.ledger().is_watched);
        drop(place);
        assert_eq!(first.granted(), 100);
    }

    #[tokio::test]
    async fn a_budget_that_is_too_small_for_one_more_says_so() {
        let budget = Budget::new(25);
        let fakes = [(); 3].map(|()| Arc::new(Fake::default()));
        let _first = budget.join(&fakes[0], needs(10, 100)).unwrap();
        let second = budget.join(&fakes[1], needs(10, 100)).unwrap();
        assert_eq!((fakes[0].granted(), fakes[1].granted()), (12, 12));
        let error = budget.join(&fakes[2], needs(10, 100)).unwrap_err();
        assert!(matches!(error, BuildError::Memory { total: 25, holders: 3, needed: 30 }), "{error}");
        drop(second);
        let _third = budget.join(&fakes[2], needs(10, 100)).unwrap();
    }

    /// Whatever comes, goes, takes and lets go: what is held or may be taken is never more than there is.
    #[tokio::test(start_paused = true)]
    async fn grants_and_what_is_held_are_never_more_than_the_budget() {
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let budget = Budget::new(1_000);
            let mut members: Vec<(Arc<Fake>, Share)> = Vec::new();
            for step in 0..200 {
                match random.u8(..4) {
                    0 if members.len() < 8 => {
                        let fake = Arc::new(Fake::default());
                        let needs = needs(random.usize(1..100), random.usize(100..1_000));
                        members.push((Arc::clone(&fake), budget.join(&fake, needs).unwrap()));
                    }
                    1 if !members.is_empty() => drop(members.swap_remove(random.usize(..members.len()))),
                    2 => tokio::time::sleep(2 * LOOK_AGAIN).await,
                    _ => {
                        for (fake, _) in &members {
                            fake.hold(random.usize(..=fake.held().max(fake.granted())));
                        }
                    }
                }
                let taken = members.iter().map(|(fake, _)| fake.held().max(fake.granted())).sum::<usize>();
                assert!(taken <= 1_000, "seed {seed}, step {step}: {taken}");
            }
            for (fake, _) in &members {
                fake.hold(0);
            }
            tokio::time::sleep(2 * LOOK_AGAIN).await;
            let ledger = budget.ledger();
            let all: Vec<_> = ledger.members.values().map(|member| member.needs).collect();
            let level = level(1_000, &all);
            assert!(ledger.members.values().all(|member| member.granted == member.needs.at(level)), "{seed}");
        }
    }
}
