//! The memory of a consumer, and how it changes while it reads.

use std::time::Instant;

use super::Consumer;

impl Consumer {
    /// Bytes of records that are fetched, may be on their way, or are decompressed, those included that the application has
    /// not dropped.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.fetcher.held_bytes()
    }

    /// From here on this is the memory for records ([`ConsumerConfig::max_buffered_bytes`](crate::ConsumerConfig)). What is
    /// here and has no room any more is thrown away, and fetched again when there is.
    pub fn set_max_buffered_bytes(&mut self, now: Instant, bytes: usize) {
        self.shared.config.max_buffered_bytes = bytes;
        self.fetcher.give_way(bytes);
        self.settle(now);
    }
}
