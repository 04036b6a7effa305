//! The memory of batches, which comes back when nobody reads it any more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// Buffers that batches are written into, and that are written into again.
///
/// A fresh buffer of a megabyte costs the system a fault for each of its pages; one that was used before costs nothing.
/// A buffer comes back with the last handle to the bytes of its batch: while a request that has it may still be on its
/// way, it is not written to. What lies idle and what is lent take the pool's size together, at most, while less than
/// that is lent. Besides, up to 2 MiB are kept to compress in.
#[derive(Clone, Debug)]
pub struct BatchBuffers(Arc<Mutex<Pool>>);

#[derive(Debug)]
struct Pool {
    max_bytes: usize,
    /// By their length, all of which is initialised.
    idle: BTreeMap<usize, Vec<Vec<u8>>>,
    idle_bytes: usize,
    lent_bytes: usize,
    /// Where batches are compressed, before it is known how much room that takes.
    workbench: Vec<u8>,
}

/// The most that is kept to compress in: twice the usual largest batch.
const KEPT_WORKBENCH: usize = 2 * 1024 * 1024;

/// Buffers come in sizes that are an eighth of their own size apart, at most: so many sizes, and so little waste.
const STEPS: usize = 8;

/// A buffer that goes home when it is dropped, if it has one.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    pub(super) home: Option<BatchBuffers>,
}

impl BatchBuffers {
    /// A pool that keeps at most `max_bytes`, the buffers that are lent included. It is empty at first.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let pool =
            Pool { max_bytes, idle: BTreeMap::new(), idle_bytes: 0, lent_bytes: 0, workbench: Vec::new() };
        Self(Arc::new(Mutex::new(pool)))
    }

    /// Bytes of the buffers that wait for the next batch.
    #[must_use]
    pub fn idle_bytes(&self) -> usize {
        self.pool().idle_bytes
    }

    /// Bytes of all buffers, those that are lent included.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.pool().held()
    }

    /// From here on the pool keeps at most `max_bytes`. Buffers that wait are given back to the system at once where they are
    /// too much, those that are lent when they come home.
    pub fn set_max_bytes(&self, max_bytes: usize) {
        let dropped = {
            let mut pool = self.pool();
            pool.max_bytes = max_bytes;
            pool.make_room(0)
        };
        drop(dropped);
    }

    /// Locked to compute, never to wait.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of at least `len` bytes, whatever they are, and not much more.
    fn lend(&self, len: usize) -> Buffer {
        let magnitude = len.checked_ilog2().map_or(1, |bits| 1usize << bits);
        let len = len.checked_next_multiple_of((magnitude / STEPS).max(1)).unwrap_or(len);
        let (kept, dropped) = {
            let mut pool = self.pool();
            let kept = pool.take(len..=len.saturating_mul(2).saturating_sub(1));
            let dropped = if kept.is_none() { pool.make_room(len) } else { Vec::new() };
            pool.lent_bytes = pool.lent_bytes.saturating_add(kept.as_ref().map_or(len, Vec::len));
            (kept, dropped)
        };
        // Giving memory back to the system takes its time, and asking for it does.
        drop(dropped);
        let bytes = kept.unwrap_or_else(|| vec![0; len]);
        Buffer { bytes, home: Some(self.clone()) }
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let refused = self.pool().keep(bytes);
        drop(refused);
    }

    /// An empty vector with room, for somebody who compresses a batch. Give it back: the next one is glad of the room.
    pub(super) fn take_workbench(&self) -> Vec<u8> {
        std::mem::take(&mut self.pool().workbench)
    }

    pub(super) fn put_workbench(&self, mut workbench: Vec<u8>) {
        workbench.clear();
        workbench.shrink_to(KEPT_WORKBENCH);
        let replaced = std::mem::replace(&mut self.pool().workbench, workbench);
        drop(replaced);
    }
}

impl Pool {
    fn take(&mut self, lens: std::ops::RangeInclusive<usize>) -> Option<Vec<u8>> {
        let (&len, alike) = self.idle.range_mut(lens).next()?;
        let bytes = alike.pop();
        if alike.is_empty() {
            self.idle.remove(&len);
        }
        self.idle_bytes = self.idle_bytes.saturating_sub(bytes.as_ref().map_or(0, Vec::len));
        bytes
    }

    /// What has to go for `len` more bytes to be lent, the largest first.
    fn make_room(&mut self, len: usize) -> Vec<Vec<u8>> {
        let mut gone = Vec::new();
        while self.idle_bytes > 0 && self.held().saturating_add(len) > self.max_bytes {
            let Some((&largest, _)) = self.idle.last_key_value() else { break };
            gone.extend(self.take(largest..=largest));
        }
        gone
    }

    fn held(&self) -> usize {
        self.idle_bytes.saturating_add(self.lent_bytes)
    }

    /// Keeps a buffer that was lent, or hands it back when it would be too much.
    fn keep(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        self.lent_bytes = self.lent_bytes.saturating_sub(bytes.len());
        if self.held().saturating_add(bytes.len()) > self.max_bytes {
            return Some(bytes);
        }
        self.idle_bytes = self.idle_bytes.saturating_add(bytes.len());
        self.idle.entry(bytes.len()).or_default().push(bytes);
        None
    }
}

impl Buffer {
    /// A buffer of `len` bytes: zeros, or, from a pool, whatever was there before.
    pub(super) fn new(len: usize, home: Option<&BatchBuffers>) -> Self {
        match home {
            Some(home) => home.lend(len),
            None => Self { bytes: vec![0; len], home: None },
        }
    }

    /// A buffer of `len` bytes from where this one is from.
    pub(super) fn another(&self, len: usize) -> Self {
        Self::new(len, self.home.as_ref())
    }

    /// The first `len` bytes, to be shared.
    pub(super) fn into_bytes(mut self, len: usize) -> Bytes {
        if self.home.is_none() {
            self.bytes.truncate(len);
            return std::mem::take(&mut self.bytes).into();
        }
        let len = len.min(self.bytes.len());
        Bytes::from_owner(self).slice(..len)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(buffers: &BatchBuffers) -> (usize, usize) {
        let pool = buffers.pool();
        (pool.lent_bytes, pool.idle_bytes)
    }

    #[test]
    fn a_buffer_is_lent_again_once_it_is_back() {
        let buffers = BatchBuffers::new(10_000);
        let mut first = buffers.lend(1000);
        assert_eq!(held(&buffers), (1024, 0));
        first.bytes.fill(7);
        drop(first);
        assert_eq!(held(&buffers), (0, 1024));
        let again = buffers.lend(900);
        assert_eq!((again.bytes.len(), again.bytes[0]), (1024, 7), "nothing was cleared");
        let other = buffers.lend(890);
        assert_eq!((other.bytes.len(), other.bytes[0]), (896, 0));
        assert_eq!(held(&buffers), (1024 + 896, 0));
    }

    #[test]
    fn a_small_batch_takes_no_large_buffer() {
        let buffers = BatchBuffers::new(10_000);
        drop(buffers.lend(4096));
        assert_eq!(buffers.lend(2000).bytes.len(), 2048);
        assert_eq!(buffers.lend(2049).bytes.len(), 4096);
    }

    #[test]
    fn the_room_for_a_huge_batch_is_not_kept() {
        let buffers = BatchBuffers::new(10_000);
        buffers.put_workbench(Vec::with_capacity(1 << 20));
        let kept = buffers.take_workbench();
        assert_eq!(kept.capacity(), 1 << 20);
        buffers.put_workbench(Vec::with_capacity(20 << 20));
        assert!(buffers.take_workbench().capacity() <= KEPT_WORKBENCH);
    }

    #[test]
    fn a_pool_that_becomes_smaller_gives_up_what_lies_idle() {
        let buffers = BatchBuffers::new(10_240);
        let lent = buffers.lend(4096);
        drop(buffers.lend(2048));
        buffers.set_max_bytes(5_000);
        assert_eq!((held(&buffers), buffers.held_bytes()), ((4096, 0), 4096));
        buffers.set_max_bytes(1_000);
        drop(lent);
        assert_eq!(buffers.held_bytes(), 0);
    }

    #[test]
    fn lent_and_idle_are_bounded_together() {
        let buffers = BatchBuffers::new(10_240);
        drop([buffers.lend(4096), buffers.lend(4096)]);
        assert_eq!(held(&buffers), (0, 8192));
        let large = buffers.lend(8192);
        assert_eq!(held(&buffers), (8192, 0), "the idle ones went");
        let beyond = buffers.lend(8192);
        drop(large);
        assert_eq!(held(&buffers), (8192, 0), "what is beyond the bound is not kept");
        drop(beyond);
        assert_eq!(held(&buffers), (0, 8192));
    }
}
