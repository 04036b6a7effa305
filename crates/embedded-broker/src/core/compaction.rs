//! Compaction: of the records with the same key, the last one stays.
//!
//! Imitates the log cleaner of Kafka 4.3.1, when it is told to: records keep their offsets and leave gaps; a batch is
//! rewritten with what is left of it, and kept without records if it is its producer's latest; what transactions aborted
//! goes; a tombstone stays in the round that sees it first, and goes in one that comes `delete.retention.ms` later. Only what
//! is stable is looked at, and not the last batch, which stands for the segment that is being written.
//!
//! Leaves out: when Kafka would do it (dirty ratio, lags); the markers of transactions, which always stay, as do batches that
//! this build can't decompress; the time at which tombstones may go is not written into the batches.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use milena_protocol::records::{Batch, Batches, ReadOptions, RecordView, retain_records};

use super::{Cluster, UnknownPartition, log::Entry, partition::Partition};

/// Where the last record of each key is.
type Latest = BTreeMap<Bytes, i64>;

impl Cluster {
    /// Compacts a partition, if its topic has the cleanup policy `compact`, and says how many records went.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn compact(&mut self, now: Instant, topic: &str, partition: i32) -> Result<u64, UnknownPartition> {
        self.now = self.now.max(now);
        let now_ms = self.clock.unix_ms(self.now);
        let unknown = || UnknownPartition { topic: topic.into(), partition };
        let found = self.topics.named_mut(topic).ok_or_else(unknown)?;
        let limits = found.config.limits;
        let found = found.partition_mut(partition).map_err(|_| unknown())?;
        if !limits.compacted {
            return Ok(0);
        }
        Ok(found.compact(now_ms, limits.delete_retention_ms))
    }
}

impl Partition {
    fn compact(&mut self, now_ms: i64, delete_retention_ms: i64) -> u64 {
        let active = self.log.entries().next_back().map_or(0, |entry| entry.base_offset);
        let end = self.last_stable_offset().min(active);
        let entries: Vec<Entry> = self.log.entries().copied().collect();
        let latest = self.latest(&entries, end);
        let mut removed = 0;
        let mut left = Vec::with_capacity(entries.len());
        for mut entry in entries {
            let Some(batch) = self.log.batch(&entry) else { continue };
            let cleaned = if entry.last_offset < end && !batch.header().attributes.is_control() {
                self.clean(&batch, &mut entry, &latest, now_ms, delete_retention_ms)
            } else {
                None
            };
            let Some(cleaned) = cleaned else {
                left.push((entry, batch.bytes().clone()));
                continue;
            };
            let (was, is) = (batch.header(), cleaned.header());
            removed += u64::try_from(was.record_count.saturating_sub(is.record_count)).unwrap_or(0);
            if is.record_count > 0 || self.producers.is_latest(was.producer_id, was.base_offset) {
                entry.max_timestamp = is.max_timestamp;
                left.push((entry, cleaned.bytes().clone()));
            }
        }
        self.log.rewrite(left);
        removed
    }

    /// The last offset of each key, of what lies below `end`.
    fn latest(&mut self, entries: &[Entry], end: i64) -> Latest {
        let mut latest = Latest::new();
        for entry in entries.iter().take_while(|entry| entry.last_offset < end) {
            let Some(batch) = self.log.batch(entry) else { continue };
            if batch.header().attributes.is_control() || self.is_aborted(&batch) {
                continue;
            }
            let Ok(decoded) = batch.decode(&ReadOptions::default()) else { continue };
            for record in decoded.records().map_while(Result::ok) {
                if let Some(key) = record.key() {
                    latest.insert(Bytes::copy_from_slice(key), record.offset());
                }
            }
        }
        latest
    }

    /// What is left of a batch, if something went.
    fn clean(
        &self,
        batch: &Batch,
        entry: &mut Entry,
        latest: &Latest,
        now_ms: i64,
        delete_retention_ms: i64,
    ) -> Option<Batch> {
        let aborted = self.is_aborted(batch);
        let keeps_tombstones = entry.delete_horizon_ms.is_none_or(|horizon| horizon > now_ms);
        let mut has_tombstones = false;
        let keep = |record: &RecordView<'_>| {
            let is_latest = record.key().is_some_and(|key| latest.get(key) == Some(&record.offset()));
            let kept = !aborted && is_latest && (record.value().is_some() || keeps_tombstones);
            has_tombstones |= kept && record.value().is_none();
            kept
        };
        let cleaned = retain_records(batch, keep).ok()?;
        if has_tombstones {
            entry.delete_horizon_ms.get_or_insert(now_ms.saturating_add(delete_retention_ms));
        }
        Batches::new(cleaned?).next()?.ok()
    }

    fn is_aborted(&self, batch: &Batch) -> bool {
        let header = batch.header();
        header.attributes.is_transactional() && self.aborted.covers(header.producer_id, header.base_offset)
    }
}
