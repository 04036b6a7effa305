//! Record batches, the unit in which records travel and are stored: written in place, read lazily.
//!
//! # Layout
//! - Writing: [`BatchBuilder`] encodes records straight into the batch's buffer, [`BatchBuilder::compress`] does the
//!   expensive part, [`CompressedBatch::stamp`] the part that waits for the producer's sequence. The [`bytes::Bytes`] that
//!   come out are kept for retries, which are byte-identical (KIP-98 counts on it).
//! - Reading: [`Batches`] finds the batches in a records field, [`Batch::decode`] checks and decompresses one,
//!   [`DecodedBatch::records`] parses its records as borrowed views, one at a time.
//! - The broker's side: [`assign_offsets`] rewrites what a broker sets when it appends, [`end_marker`] writes the
//!   control batch that ends a transaction.
//!
//! Written is magic 2. Read are the messages of magic 0 and 1 as well, which old segments hold, between batches of
//! magic 2 perhaps: each is handed out as a batch, and decoded into the same records.
//!
//! # CRC
//! The CRC-32C covers everything from the attributes to the end. Base offset, length, leader epoch and magic stand
//! before it, so that a broker can set them without touching the rest.
//!
//! # References
//! [Record batch](https://kafka.apache.org/documentation/#recordbatch), KIP-98 (format), KIP-74 (partial batch at the
//! end), KIP-724 (end of magic 0 and 1).

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

mod assign;
mod batch;
mod buffers;
mod builder;
mod compression;
mod control;
mod cursor;
mod encode;
mod error;
mod header;
mod legacy;
mod record;
mod restamp;
mod retain;

pub use assign::{append_assigned, assign_offsets};
pub use batch::{Batch, Batches, DecodedBatch, ReadOptions, Truncated};
pub use buffers::BatchBuffers;
pub use builder::{AppendError, BatchBuilder, CompressedBatch, ProducerStamp, record_upper_bound};
pub use compression::{Codec, Compression, CompressionError, InvalidLevel};
pub use control::{ControlKind, ControlRecord, end_marker};
pub use error::{BatchError, BatchErrorKind, RecordErrorKind};
pub use header::{Attributes, BatchHeader, HEADER_LEN, TimestampType, increment_sequence};
pub use record::{Header, Headers, OwnedRecords, Record, RecordHeaders, RecordPlace, RecordView, Records};
pub use restamp::restamp;
pub use retain::retain_records;
