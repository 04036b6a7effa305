//! The records that brokers write for readers, not for users.

use bytes::Bytes;

use super::{BatchBuilder, Compression, CompressionError, RecordView};

/// A record of a control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRecord {
    /// What it says.
    pub kind: ControlKind,
    /// For the end of a transaction: epoch of the coordinator that wrote it. A later epoch's marker overrules it.
    pub coordinator_epoch: Option<i32>,
}

/// What a control record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlKind {
    /// The producer's records since its last marker are void.
    Abort,
    /// The producer's records since its last marker are good.
    Commit,
    /// Something that a client can pass over, such as a change of leader in the metadata log.
    Other(i16),
}

impl ControlKind {
    const fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            other => Self::Other(other),
        }
    }
}

impl ControlRecord {
    /// Understands a record of a control batch: the key says what it is, the value the rest. Later versions may add
    /// fields behind those that are known.
    ///
    /// `None` when the key is no control record's.
    #[must_use]
    pub fn parse(record: &RecordView<'_>) -> Option<Self> {
        let (version, rest) = record.key()?.split_first_chunk()?;
        let kind = ControlKind::from_id(i16::from_be_bytes(*rest.first_chunk()?));
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        let coordinator_epoch = match kind {
            ControlKind::Abort | ControlKind::Commit => record.value().and_then(coordinator_epoch),
            ControlKind::Other(_) => None,
        };
        Some(Self { kind, coordinator_epoch })
    }
}

fn coordinator_epoch(value: &[u8]) -> Option<i32> {
    let (version, rest) = value.split_first_chunk()?;
    let epoch = rest.first_chunk().copied().map(i32::from_be_bytes);
    epoch.filter(|_| i16::from_be_bytes(*version) >= 0)
}

/// The control batch that ends a transaction of a producer, as its partition's leader appends it. `timestamp` counts
/// milliseconds since 1970.
///
/// # Errors
/// Never in practice: the batch is a few bytes, and not compressed.
pub fn end_marker(
    committed: bool,
    coordinator_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    timestamp: i64,
) -> Result<Bytes, CompressionError> {
    let key = [0, 0, 0, u8::from(committed)];
    let mut value = [0; 6];
    if let Some(epoch) = value.last_chunk_mut() {
        *epoch = coordinator_epoch.to_be_bytes();
    }
    let mut batch = BatchBuilder::new(usize::MAX);
    // An empty batch takes any record of so few bytes.
    let _ = batch.append(timestamp, Some(&key), Some(&value), []);
    Ok(batch.compress(Compression::None)?.stamp_control(producer_id, producer_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Batches, ProducerStamp, ReadOptions};

    fn parse(bytes: Bytes) -> Option<ControlRecord> {
        let batch = Batches::new(bytes).next().unwrap().unwrap();
        let decoded = batch.decode(&ReadOptions::default()).unwrap();
        let record = decoded.records().next().unwrap().unwrap();
        ControlRecord::parse(&record)
    }

    fn parse_record(key: Option<&[u8]>, value: Option<&[u8]>) -> Option<ControlRecord> {
        let mut batch = BatchBuilder::new(0);
        batch.append(0, key, value, []).unwrap();
        parse(batch.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE))
    }

    #[test]
    fn markers_and_back() {
        for (committed, kind) in [(true, ControlKind::Commit), (false, ControlKind::Abort)] {
            let marker = end_marker(committed, 7, 4000, 3, 1_700_000_000_000).unwrap();
            let header = *Batches::new(marker.clone()).next().unwrap().unwrap().header();
            assert!(header.attributes.is_control() && header.attributes.is_transactional());
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4000, 3, -1));
            assert_eq!(parse(marker), Some(ControlRecord { kind, coordinator_epoch: Some(7) }));
        }
    }

    #[test]
    fn later_kinds_and_versions_are_passed_over() {
        let other = ControlRecord { kind: ControlKind::Other(2), coordinator_epoch: None };
        assert_eq!(parse_record(Some(&[0, 0, 0, 2]), Some(&[0; 6])), Some(other));
        let commit = ControlRecord { kind: ControlKind::Commit, coordinator_epoch: Some(9) };
        assert_eq!(parse_record(Some(&[0, 1, 0, 1, 5]), Some(&[0, 1, 0, 0, 0, 9, 5])), Some(commit));
        let bare = ControlRecord { coordinator_epoch: None, ..commit };
        for value in [None, Some([0; 5].as_slice()), Some(&[0xff, 0xff, 0, 0, 0, 9])] {
            assert_eq!(parse_record(Some(&[0, 0, 0, 1]), value), Some(bare));
        }
    }

    #[test]
    fn what_is_no_control_record_is_none() {
        for key in [None, Some([0; 3].as_slice()), Some(&[0xff, 0xff, 0, 1])] {
            assert_eq!(parse_record(key, None), None);
        }
    }
}
