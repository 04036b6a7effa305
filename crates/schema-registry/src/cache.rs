//! What was asked before, and what is being asked right now.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{Error, ErrorKind};

/// A bounded cache in which all who ask for the same at the same time wait for one request.
///
/// The request is a task of its own: whoever asked first may go away without the others noticing. A failure goes to all who
/// wait for it and is not kept.
pub(crate) struct Cache<K, V>(Arc<Mutex<State<K, V>>>);

struct State<K, V> {
    kept: Kept<K, V>,
    flights: HashMap<K, watch::Receiver<Option<Result<V, Error>>>>,
}

impl<K, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, V: Clone + Send + Sync + 'static> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(State { kept: Kept::new(capacity), flights: HashMap::new() })))
    }

    /// What is kept.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        lock(&self.0).kept.get(key)
    }

    /// Forgets what no longer holds.
    pub(crate) fn retain(&self, keep: impl Fn(&K) -> bool) {
        lock(&self.0).kept.retain(keep);
    }

    /// What is kept, or what `fetch` gets. `doing` is for the error when the runtime ends meanwhile.
    pub(crate) async fn get_or_fetch<F>(
        &self,
        key: K,
        doing: &str,
        fetch: impl FnOnce() -> F,
    ) -> Result<V, Error>
    where
        F: Future<Output = Result<V, Error>> + Send + 'static,
    {
        let (mut flight, departing) = {
            let mut state = lock(&self.0);
            if let Some(value) = state.kept.get(&key) {
                return Ok(value);
            }
            match state.flights.get(&key) {
                Some(flight) => (flight.clone(), None),
                None => {
                    let (landed, flight) = watch::channel(None);
                    state.flights.insert(key.clone(), flight.clone());
                    (flight, Some((Landing { cache: self.clone(), key }, landed)))
                }
            }
        };
        // Not under the lock: a runtime that is ending drops the task at once, and that takes the flight off the list.
        if let Some((landing, landed)) = departing {
            tokio::spawn(land(landing, fetch(), landed));
        }
        let ended = || Error::new(ErrorKind::Unavailable, doing, "the runtime that asked has ended");
        let landed = flight.wait_for(Option::is_some).await.map_err(|_| ended())?;
        landed.clone().unwrap_or_else(|| Err(ended()))
    }
}

async fn land<K, V, F>(landing: Landing<K, V>, fetch: F, landed: watch::Sender<Option<Result<V, Error>>>)
where
    K: Clone + Eq + Hash,
    V: Clone,
    F: Future<Output = Result<V, Error>>,
{
    let result = fetch.await;
    if let Ok(value) = &result {
        lock(&landing.cache.0).kept.insert(landing.key.clone(), value.clone());
    }
    drop(landing);
    landed.send_replace(Some(result));
}

/// Takes the flight off the list, however it ends.
struct Landing<K: Eq + Hash, V> {
    cache: Cache<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        lock(&self.cache.0).flights.remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The least recently used goes first.
struct Kept<K, V> {
    capacity: usize,
    clock: u64,
    entries: HashMap<K, (V, u64)>,
    by_use: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V: Clone> Kept<K, V> {
    fn new(capacity: usize) -> Self {
        Self { capacity, clock: 0, entries: HashMap::new(), by_use: BTreeMap::new() }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        let (value, used) = self.entries.get_mut(key)?;
        let owned = self.by_use.remove(used)?;
        self.clock = self.clock.wrapping_add(1);
        *used = self.clock;
        self.by_use.insert(self.clock, owned);
        Some(value.clone())
    }

    fn insert(&mut self, key: K, value: V) {
        if self.capacity == 0 {
            return;
        }
        if let Some((_, used)) = self.entries.remove(&key) {
            self.by_use.remove(&used);
        }
        while self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.clock = self.clock.wrapping_add(1);
        self.by_use.insert(self.clock, key.clone());
        self.entries.insert(key, (value, self.clock));
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
        self.by_use.retain(|_, key| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll, Waker},
        time::Duration,
    };

    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = Kept::new(2);
        cache.insert(1, "a");
        cache.insert(2, "b");
        assert_eq!(cache.get(&1), Some("a"));
        cache.insert(3, "c");
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some("a"), None, Some("c")));
    }

    /// It used to wait for its own lock, and the end of the runtime for it.
    #[test]
    fn a_runtime_that_has_ended_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _entered = handle.enter();
        let cache: Cache<i32, i32> = Cache::new(4);
        let asking = pin!(cache.get_or_fetch(1, "asking", || async { Ok(1) }));
        let polled = asking.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Unavailable));
    }

    #[tokio::test]
    async fn who_asked_first_may_go_away() {
        let cache: Cache<i32, i32> = Cache::new(4);
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = |cache: Cache<i32, i32>, asked: Arc<AtomicUsize>| async move {
            let fetch = || async move {
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(7)
            };
            cache.get_or_fetch(1, "asking", fetch).await
        };
        let first = tokio::spawn(ask(cache.clone(), Arc::clone(&asked)));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let second = tokio::spawn(ask(cache.clone(), Arc::clone(&asked)));
        tokio::time::sleep(Duration::from_millis(10)).await;
        first.abort();
        assert_eq!(second.await.unwrap().unwrap(), 7);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_kept() {
        let cache: Cache<i32, i32> = Cache::new(4);
        let failed = cache.get_or_fetch(1, "asking", || async { Err(Error::misuse("asking", "no")) }).await;
        assert_eq!(failed.unwrap_err().to_string(), "asking: no");
        assert_eq!(cache.get_or_fetch(1, "asking", || async { Ok(2) }).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_panic_hangs_nobody() {
        let cache: Cache<i32, i32> = Cache::new(4);
        let failed = cache.get_or_fetch(1, "asking", || async { panic!("deliberately") }).await;
        assert!(failed.is_err());
        assert_eq!(cache.get_or_fetch(1, "asking", || async { Ok(2) }).await.unwrap(), 2);
    }
}
