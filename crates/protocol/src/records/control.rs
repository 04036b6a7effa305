//! The records that brokers write for readers, not for users.

use bytes::Bytes;

use super::{BatchBuilder, Compression, CompressionError, RecordView};
use crate::{
    error::DecodeError,
    wire::{Decode, Reader},
};

/// A record of a control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRecord<'a> {
    /// What it says.
    pub kind: ControlKind,
    /// What it says it with: the value of the record, which begins with its version. [`decode`](Self::decode) reads it.
    pub value: Option<&'a [u8]>,
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
    /// The metadata log has another leader (KIP-595); its value is a `LeaderChangeMessage`.
    LeaderChange,
    /// The front of a snapshot (KIP-630); its value is a `SnapshotHeaderRecord`.
    SnapshotHeader,
    /// The end of a snapshot (KIP-630); its value is a `SnapshotFooterRecord`.
    SnapshotFooter,
    /// The version of the protocol between the voters (KIP-853); its value is a `KRaftVersionRecord`.
    KRaftVersion,
    /// Who votes (KIP-853); its value is a `VotersRecord`.
    KRaftVoters,
    /// Something that came later.
    Other(i16),
}

impl ControlKind {
    const fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KRaftVersion,
            6 => Self::KRaftVoters,
            other => Self::Other(other),
        }
    }
}

impl<'a> ControlRecord<'a> {
    /// Understands a record of a control batch: the key says what it is, the value the rest. Later versions may add
    /// fields behind those that are known.
    ///
    /// `None` when the key is no control record's.
    #[must_use]
    pub fn parse(record: &RecordView<'a>) -> Option<Self> {
        let (version, rest) = record.key()?.split_first_chunk()?;
        let kind = ControlKind::from_id(i16::from_be_bytes(*rest.first_chunk()?));
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        let coordinator_epoch = match kind {
            ControlKind::Abort | ControlKind::Commit => record.value().and_then(coordinator_epoch),
            _ => None,
        };
        Some(Self { kind, value: record.value(), coordinator_epoch })
    }

    /// The value as the message that belongs to [`kind`](Self::kind).
    ///
    /// # Errors
    /// When the bytes are no such message, of no version that is known, or there are none.
    pub fn decode<M: Decode>(&self) -> Result<M, DecodeError> {
        let value = Bytes::copy_from_slice(self.value.unwrap_or_default());
        // The version is a field of the message as well, and its first.
        let version = Reader::new(&value).i16()?;
        let mut reader = Reader::new(&value);
        let message = M::decode(&mut reader, version)?;
        reader.finish()?;
        Ok(message)
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
    use crate::{
        error::DecodeErrorKind,
        messages::LeaderChangeMessage,
        records::{Batches, DecodedBatch, ProducerStamp, ReadOptions},
    };

    fn decode(bytes: Bytes) -> DecodedBatch {
        Batches::new(bytes).next().unwrap().unwrap().decode(&ReadOptions::default()).unwrap()
    }

    fn batch(key: Option<&[u8]>, value: Option<&[u8]>) -> DecodedBatch {
        let mut batch = BatchBuilder::new(0);
        batch.append(0, key, value, []).unwrap();
        decode(batch.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE))
    }

    fn parse(batch: &DecodedBatch) -> Option<ControlRecord<'_>> {
        ControlRecord::parse(&batch.records().next().unwrap().unwrap())
    }

    #[test]
    fn markers_and_back() {
        for (committed, kind) in [(true, ControlKind::Commit), (false, ControlKind::Abort)] {
            let marker = end_marker(committed, 7, 4000, 3, 1_700_000_000_000).unwrap();
            let header = *Batches::new(marker.clone()).next().unwrap().unwrap().header();
            assert!(header.attributes.is_control() && header.attributes.is_transactional());
            assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4000, 3, -1));
            let value = Some([0, 0, 0, 0, 0, 7].as_slice());
            let expected = ControlRecord { kind, value, coordinator_epoch: Some(7) };
            assert_eq!(parse(&decode(marker)), Some(expected));
        }
    }

    #[test]
    fn later_kinds_and_versions_are_passed_over() {
        let value = Some([0, 0, 0, 0, 0, 9].as_slice());
        let other = ControlRecord { kind: ControlKind::Other(7), value, coordinator_epoch: None };
        assert_eq!(parse(&batch(Some(&[0, 0, 0, 7]), value)), Some(other));
        let value = Some([0, 1, 0, 0, 0, 9, 5].as_slice());
        let commit = ControlRecord { kind: ControlKind::Commit, value, coordinator_epoch: Some(9) };
        assert_eq!(parse(&batch(Some(&[0, 1, 0, 1, 5]), value)), Some(commit));
        for value in [None, Some([0; 5].as_slice()), Some(&[0xff, 0xff, 0, 0, 0, 9])] {
            let bare = ControlRecord { value, coordinator_epoch: None, ..commit };
            assert_eq!(parse(&batch(Some(&[0, 0, 0, 1]), value)), Some(bare));
        }
    }

    #[test]
    fn what_is_no_control_record_is_none() {
        for key in [None, Some([0; 3].as_slice()), Some(&[0xff, 0xff, 0, 1])] {
            assert_eq!(parse(&batch(key, None)), None);
        }
    }

    #[test]
    fn a_value_that_is_no_message_is_an_error() {
        let decode = |value: Option<&[u8]>| {
            let batch = batch(Some(&[0, 0, 0, 2]), value);
            let error = parse(&batch).unwrap().decode::<LeaderChangeMessage>().unwrap_err();
            error.kind
        };
        assert!(matches!(decode(None), DecodeErrorKind::Truncated { .. }));
        assert!(matches!(decode(Some(&[0, 0, 0, 0])), DecodeErrorKind::Truncated { .. }));
        assert!(matches!(decode(Some(&[0, 9, 0, 0])), DecodeErrorKind::UnknownVersion { .. }));
        assert_eq!(decode(Some(&[0, 0, 0, 0, 0, 1, 1, 1, 0, 5])), DecodeErrorKind::LeftOver(1));
    }
}
