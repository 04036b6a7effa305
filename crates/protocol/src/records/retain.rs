//! A batch with fewer records: what compaction leaves of it.

use bytes::Bytes;

use super::{
    Batch, BatchError, Codec, Compression, HEADER_LEN, ReadOptions, RecordView, TimestampType,
    header::{BatchHeader, LENGTH_END},
};

/// The batch with only the records that are to be kept, or `None` when those are all of them.
///
/// What is kept stands at its offset: base offset, last offset, producer and sequence stay, and a batch of which nothing is
/// left is one of no records. The largest timestamp is that of what is left. It is compressed as it was.
///
/// # Errors
/// When the records can't be read, or not be compressed again in this build.
pub fn retain_records(
    batch: &Batch,
    mut keep: impl FnMut(&RecordView<'_>) -> bool,
) -> Result<Option<Bytes>, BatchError> {
    let decoded = batch.decode(&ReadOptions::default())?;
    let mut kept = Vec::new();
    let (mut record_count, mut max_timestamp) = (0, None);
    let mut records = decoded.records();
    let mut start = records.place();
    while let Some(record) = records.next().transpose()? {
        let end = records.place();
        if keep(&record) {
            kept.extend_from_slice(decoded.payload().get(start.at()..end.at()).unwrap_or_default());
            record_count = i32::saturating_add(record_count, 1);
            max_timestamp = max_timestamp.max(Some(record.timestamp()));
        }
        start = end;
    }
    let header = *batch.header();
    if record_count == header.record_count {
        return Ok(None);
    }
    let mut bytes = vec![0; HEADER_LEN];
    match batch.compression()? {
        Compression::None => bytes.append(&mut kept),
        _ if kept.is_empty() => {}
        compression => {
            let failed = |error| BatchError { base_offset: header.base_offset, kind: error };
            bytes = Codec::from(compression).compress(&kept, bytes).map_err(|error| failed(error.into()))?;
        }
    }
    let left = BatchHeader {
        batch_length: i32::try_from(bytes.len().saturating_sub(LENGTH_END)).unwrap_or(i32::MAX),
        record_count,
        max_timestamp: match header.attributes.timestamp_type() {
            TimestampType::CreateTime => max_timestamp.unwrap_or(header.max_timestamp),
            TimestampType::LogAppendTime => header.max_timestamp,
        },
        ..header
    };
    left.write(&mut bytes);
    Ok(Some(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{BatchBuilder, Batches, ProducerStamp, assign_offsets};

    fn batch(compression: Compression) -> Batch {
        let mut builder = BatchBuilder::new(1 << 10);
        for (at, value) in (0..).zip([b"a", b"b", b"c", b"d"]) {
            builder.append(1_000 + at, Some(b"key"), Some(value), []).unwrap();
        }
        let stamp =
            ProducerStamp { producer_id: 7, producer_epoch: 1, base_sequence: 3, transactional: true };
        let bytes = builder.compress(compression).unwrap().stamp(stamp);
        let batch = Batches::new(bytes).next().unwrap().unwrap();
        Batches::new(assign_offsets(batch, 100, 2, None)).next().unwrap().unwrap()
    }

    #[test]
    fn what_is_kept_stays_where_it_was() {
        for compression in [Compression::None, Compression::Gzip, Compression::Lz4] {
            let batch = batch(compression);
            let kept = retain_records(&batch, |record| matches!(record.offset(), 101 | 102));
            let kept = Batches::new(kept.unwrap().unwrap()).next().unwrap().unwrap();
            let was = *batch.header();
            let is = *kept.header();
            assert_eq!((is.record_count, is.max_timestamp), (2, 1_002));
            let same = |header: BatchHeader| BatchHeader {
                batch_length: 0,
                crc: 0,
                record_count: 0,
                max_timestamp: 0,
                ..header
            };
            assert_eq!(same(is), same(was));
            let decoded = kept.decode(&ReadOptions::default()).unwrap();
            let records: Vec<_> = decoded.records().map(Result::unwrap).collect();
            let values: Vec<_> =
                records.iter().map(|it| (it.offset(), it.timestamp(), it.value().unwrap())).collect();
            assert_eq!(values, [(101, 1_001, &b"b"[..]), (102, 1_002, b"c")]);
        }
    }

    #[test]
    fn all_of_them_is_nothing_to_do_and_none_is_an_empty_batch() {
        for compression in [Compression::None, Compression::Gzip] {
            let batch = batch(compression);
            assert_eq!(retain_records(&batch, |_| true), Ok(None));
            let empty = retain_records(&batch, |_| false).unwrap().unwrap();
            assert_eq!(empty.len(), HEADER_LEN);
            let empty = Batches::new(empty).next().unwrap().unwrap();
            assert_eq!(empty.next_offset(), 104);
            assert_eq!(empty.header().last_sequence(), 6);
            assert_eq!(empty.decode(&ReadOptions::default()).unwrap().records().count(), 0);
        }
    }
}
