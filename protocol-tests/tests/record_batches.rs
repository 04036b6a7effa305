//! Properties of record batches: what is written is read again, and what is broken is told, not guessed.
#![expect(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use bytes::Bytes;
use milena_protocol::records::{
    AppendError, Batch, BatchBuilder, BatchError, BatchErrorKind, Batches, Compression, DecodedBatch,
    HEADER_LEN, Header, ProducerStamp, ReadOptions, Record, RecordErrorKind, Truncated, assign_offsets,
    record_upper_bound,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const BASE_OFFSET: std::ops::Range<usize> = 0..8;
const LEADER_EPOCH: std::ops::Range<usize> = 12..16;
const MAGIC: usize = 16;
const LAST_OFFSET_DELTA: std::ops::Range<usize> = 23..27;
const RECORD_COUNT: std::ops::Range<usize> = 57..61;

/// A record's timestamp, key, value and headers.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn some_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(prop_oneof![4 => vec(any::<u8>(), 0..80), 1 => vec(select(vec![0u8, 1]), 0..20_000)])
}

fn plain() -> impl Strategy<Value = Plain> {
    let timestamp = prop_oneof![1_700_000_000_000..1_700_000_100_000i64, any::<i64>()];
    let headers = vec(("[a-c]{0,2}", some_bytes()), 0..4);
    (timestamp, some_bytes(), some_bytes(), headers).prop_map(|(timestamp, key, value, headers)| Plain {
        timestamp,
        key,
        value,
        headers,
    })
}

fn compression() -> impl Strategy<Value = Compression> {
    select(all_compressions())
}

fn all_compressions() -> Vec<Compression> {
    (0..5).map(|id| Compression::from_id(id).unwrap()).collect()
}

fn stamp() -> impl Strategy<Value = ProducerStamp> {
    let idempotent = (0..i64::MAX, 0..i16::MAX, 0..=i32::MAX, any::<bool>());
    let idempotent = idempotent.prop_map(|(producer_id, producer_epoch, base_sequence, transactional)| {
        ProducerStamp { producer_id, producer_epoch, base_sequence, transactional }
    });
    prop_oneof![Just(ProducerStamp::NONE), idempotent]
}

fn headers_of(record: &Plain) -> impl Iterator<Item = Header<'_>> + Clone {
    record.headers.iter().map(|(name, value)| Header::new(name, value.as_deref()))
}

fn append(batch: &mut BatchBuilder, record: &Plain) -> Result<i32, AppendError> {
    batch.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), headers_of(record))
}

fn write(records: &[Plain], compression: Compression, stamp: ProducerStamp) -> Bytes {
    let mut batch = BatchBuilder::new(usize::MAX);
    for (at, record) in records.iter().enumerate() {
        assert_eq!(append(&mut batch, record), Ok(at as i32));
    }
    batch.compress(compression).unwrap().stamp(stamp)
}

fn only_batch(bytes: &Bytes) -> Batch {
    let mut batches = Batches::new(bytes.clone());
    let batch = batches.next().unwrap().unwrap();
    assert!(batches.next().is_none());
    assert_eq!(batches.truncated(), None);
    batch
}

fn decode(batch: &Batch) -> DecodedBatch {
    batch.decode(&ReadOptions { max_decompressed: Some(1 << 24), ..ReadOptions::default() }).unwrap()
}

fn to_plain(record: &Record) -> Plain {
    let own = |bytes: &Option<Bytes>| bytes.as_deref().map(<[u8]>::to_vec);
    let headers = record.headers.iter();
    Plain {
        timestamp: record.timestamp,
        key: own(&record.key),
        value: own(&record.value),
        headers: headers
            .map(|header| (header.name_str().unwrap().to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        records in vec(plain(), 1..40),
        compression in compression(),
        stamp in stamp(),
        base_offset in 0..1i64 << 60,
        log_append_time in option::of(0..1i64 << 50),
    ) {
        let produced = only_batch(&write(&records, compression, stamp));
        let bytes = assign_offsets(produced, base_offset, 7, log_append_time);
        let batch = only_batch(&bytes);
        let header = *batch.header();
        prop_assert_eq!((header.base_offset, header.partition_leader_epoch), (base_offset, 7));
        prop_assert_eq!(header.producer_id, stamp.producer_id);
        prop_assert_eq!(header.producer_epoch, stamp.producer_epoch);
        prop_assert_eq!(header.base_sequence, stamp.base_sequence);
        prop_assert_eq!(header.attributes.is_transactional(), stamp.transactional);
        prop_assert_eq!(batch.next_offset(), base_offset + records.len() as i64);
        let largest = records.iter().map(|record| record.timestamp).max().unwrap();
        prop_assert_eq!(header.max_timestamp, log_append_time.unwrap_or(largest));

        let decoded = decode(&batch);
        prop_assert_eq!(decoded.records().count(), records.len());
        let read: Vec<_> = decoded.into_iter().map(Result::unwrap).collect();
        for (at, (read, written)) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(read.offset, base_offset + at as i64);
            let written = Plain { timestamp: log_append_time.unwrap_or(written.timestamp), ..written.clone() };
            prop_assert_eq!(to_plain(read), written);
        }
        prop_assert_eq!(read.len(), records.len());
    }

    #[test]
    fn a_record_takes_no_more_than_its_bound(records in vec(plain(), 1..10)) {
        let mut batch = BatchBuilder::new(usize::MAX);
        for record in &records {
            let before = batch.uncompressed_len();
            append(&mut batch, record).unwrap();
            let bound = record_upper_bound(record.key.as_deref(), record.value.as_deref(), headers_of(record));
            let taken = batch.uncompressed_len() - before;
            prop_assert!(taken <= bound && bound <= taken + 21, "{} of {}", taken, bound);
        }
    }

    #[test]
    fn a_limit_holds_after_the_first_record(records in vec(plain(), 1..40), limit in 0..4096usize) {
        let mut batch = BatchBuilder::new(limit);
        let mut taken = Vec::new();
        for record in &records {
            let before = batch.uncompressed_len();
            match append(&mut batch, record) {
                Ok(at) => {
                    prop_assert_eq!(at as usize, taken.len());
                    taken.push(record.clone());
                    prop_assert!(taken.len() == 1 || batch.uncompressed_len() <= limit);
                }
                Err(error) => {
                    prop_assert_eq!(error, AppendError::Full);
                    prop_assert_eq!(batch.uncompressed_len(), before);
                }
            }
        }
        prop_assert!(!taken.is_empty());
        let limited = batch.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE);
        prop_assert_eq!(limited, write(&taken, Compression::None, ProducerStamp::NONE));
    }

    #[test]
    fn a_field_cut_anywhere_yields_whole_batches_only(
        first in vec(plain(), 1..4),
        second in vec(plain(), 1..4),
        compression in compression(),
        cut in any::<prop::sample::Index>(),
    ) {
        let batches = [&first, &second].map(|records| write(records, compression, ProducerStamp::NONE));
        let whole = Bytes::from(batches.concat());
        let cut = cut.index(whole.len() + 1);
        let mut read = Batches::new(whole.slice(..cut));
        let found: Vec<_> = read.by_ref().map(|batch| batch.unwrap().bytes().clone()).collect();
        let boundaries = [batches[0].len(), whole.len()];
        let complete = boundaries.into_iter().filter(|end| *end <= cut).count();
        prop_assert_eq!(&found, &batches[..complete]);
        let rest = cut - found.iter().map(Bytes::len).sum::<usize>();
        prop_assert_eq!(read.truncated().map_or(0, |truncated| truncated.len), rest);
    }

    #[test]
    fn any_flipped_bit_under_the_crc_is_found(
        records in vec(plain(), 1..5),
        compression in compression(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let honest = write(&records, compression, ProducerStamp::NONE);
        let at = at.index(honest.len());
        let mut flipped = honest.to_vec();
        flipped[at] ^= 1 << bit;
        let mut batches = Batches::new(flipped.into());
        let read = batches.next().transpose().and_then(|batch| {
            batch.map(|batch| batch.decode(&ReadOptions::default()).map(|_| batch)).transpose()
        });
        if BASE_OFFSET.contains(&at) || LEADER_EPOCH.contains(&at) {
            // Outside the CRC, for brokers to set. A negative offset is no offset.
            prop_assert_eq!(read.is_err(), at == 0 && bit == 7);
        } else {
            // A longer length makes it a batch that is cut off.
            prop_assert!(read.is_err() || batches.truncated().is_some(), "byte {}", at);
        }
    }

    #[test]
    fn what_is_no_batch_never_panics(bytes in vec(any::<u8>(), 0..300), magic in option::of(-1..4i8)) {
        let mut bytes = bytes;
        if let (Some(magic), Some(at)) = (magic, bytes.get_mut(MAGIC)) {
            *at = magic.cast_unsigned();
            bytes[8..11].fill(0);
        }
        read_all(&bytes.into());
    }

    #[test]
    fn records_that_pass_no_check_never_panic(
        records in vec(plain(), 1..5),
        compression in compression(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = write(&records, compression, ProducerStamp::NONE).to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(&bytes.into());
    }
}

/// Reads all that can be read, the CRC not asked. A batch gives its count of records, or an error; never more.
fn read_all(bytes: &Bytes) {
    let options = ReadOptions { check_crc: false, max_decompressed: Some(1 << 20) };
    let mut found = 0;
    for batch in Batches::new(bytes.clone()).flatten() {
        found += batch.bytes().len();
        let Ok(decoded) = batch.decode(&options) else { continue };
        let mut records = decoded.records();
        let read = records.by_ref().take_while(Result::is_ok).map(Result::unwrap).inspect(|record| {
            assert!((batch.header().base_offset..=batch.header().last_offset()).contains(&record.offset()));
            assert_eq!(record.headers().count(), record.headers().len());
        });
        assert!(read.count() <= decoded.header().record_count as usize);
        assert!(records.next().is_none(), "there is nothing behind an error");
    }
    assert!(found <= bytes.len());
}

#[test]
fn every_cut_of_the_records_is_an_error() {
    let plain = Plain {
        timestamp: 1_700_000_000_000,
        key: Some(vec![1; 70]),
        value: None,
        headers: vec![("a".to_owned(), None), ("a".to_owned(), Some(vec![2; 3]))],
    };
    let records = [plain.clone(), plain];
    for compression in all_compressions() {
        let whole = write(&records, compression, ProducerStamp::NONE);
        for len in HEADER_LEN..whole.len() {
            let mut cut = whole[..len].to_vec();
            let length = (len - 12) as i32;
            cut[8..12].copy_from_slice(&length.to_be_bytes());
            let batch = only_batch(&cut.into());
            assert!(matches!(
                batch.verify_crc(),
                Err(BatchError { kind: BatchErrorKind::CrcMismatch { .. }, .. })
            ));
            let options = ReadOptions { check_crc: false, ..ReadOptions::default() };
            let Ok(decoded) = batch.decode(&options) else { continue };
            let read: Vec<_> = decoded.records().collect();
            assert!(read.last().unwrap().is_err(), "{compression}, {len}");
            let whole = read.iter().flatten().map(|record| to_plain(&record.to_record()));
            assert!(whole.eq(records.iter().take(read.len() - 1).cloned()));
        }
    }
}

/// The batch with these bytes over its own, and a CRC that holds again.
fn forge(honest: &Bytes, changes: &[(std::ops::Range<usize>, &[u8])]) -> Batch {
    let mut forged = honest.to_vec();
    for (at, bytes) in changes {
        forged[at.clone()].copy_from_slice(bytes);
    }
    let crc = crc32c::crc32c(&forged[21..]);
    forged[17..21].copy_from_slice(&crc.to_be_bytes());
    only_batch(&forged.into())
}

fn three_records() -> Bytes {
    let record = Plain { timestamp: 5, key: None, value: Some(b"v".to_vec()), headers: Vec::new() };
    write(&[record.clone(), record.clone(), record], Compression::None, ProducerStamp::NONE)
}

fn last_error(batch: &Batch) -> BatchErrorKind {
    batch
        .decode(&ReadOptions::default())
        .map_or_else(|error| error.kind, |decoded| decoded.records().last().unwrap().unwrap_err().kind)
}

#[test]
fn the_count_is_held_against_the_records() {
    let honest = three_records();
    let record_len = (honest.len() - HEADER_LEN) / 3;
    let with_count = |count: i32| last_error(&forge(&honest, &[(RECORD_COUNT, &count.to_be_bytes())]));
    assert_eq!(with_count(2), BatchErrorKind::LeftOver(record_len));
    assert_eq!(with_count(0), BatchErrorKind::LeftOver(3 * record_len));
    let len = 3 * record_len;
    for count in [4, i32::MAX, -1] {
        assert_eq!(with_count(count), BatchErrorKind::ImpossibleCount { count, len });
    }
}

#[test]
fn offsets_stay_within_the_batch() {
    let honest = three_records();
    let forged = forge(&honest, &[(LAST_OFFSET_DELTA, &1i32.to_be_bytes())]);
    let kind = BatchErrorKind::Record { index: 2, kind: RecordErrorKind::InvalidOffset(2) };
    assert_eq!(last_error(&forged), kind);

    for (base_offset, delta) in [(0i64, -1i32), (i64::MAX - 1, 2), (i64::MAX, 0), (-1, 2)] {
        let mut forged = honest.to_vec();
        forged[BASE_OFFSET].copy_from_slice(&base_offset.to_be_bytes());
        forged[LAST_OFFSET_DELTA].copy_from_slice(&delta.to_be_bytes());
        let mut batches = Batches::new(forged.into());
        let kind = BatchErrorKind::InvalidOffsets(delta);
        assert_eq!(batches.next().unwrap().unwrap_err(), BatchError { base_offset, kind });
        assert!(batches.next().is_none());
        assert_eq!(batches.truncated(), None);
    }
}

#[test]
fn the_next_offset_follows_the_last_one_not_the_count() {
    // As compaction leaves it: records are gone, the last offset stays.
    let compacted = forge(&three_records(), &[(LAST_OFFSET_DELTA, &9i32.to_be_bytes())]);
    assert_eq!(compacted.next_offset(), 10);
    assert_eq!(decode(&compacted).records().count(), 3);
}

#[test]
fn lengths_and_magics_that_cannot_be_name_the_offset() {
    let front = |length: i32, magic: i8, len: usize| {
        let mut bytes = 42i64.to_be_bytes().to_vec();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.push(magic.cast_unsigned());
        bytes.resize(len, 0);
        let mut batches = Batches::new(bytes.into());
        let first = batches.next().map(|batch| batch.map(|_| ()));
        assert!(batches.next().is_none(), "nothing follows an error or the end");
        first.ok_or(batches.truncated())
    };
    let error = |kind| Ok(Err(BatchError { base_offset: 42, kind }));
    for length in [i32::MIN, -1, 0, 13, 48] {
        assert_eq!(front(length, 2, 100), error(BatchErrorKind::InvalidLength(length)));
    }
    for magic in [-1, 3, i8::MAX] {
        assert_eq!(front(1000, magic, 17), error(BatchErrorKind::UnknownMagic(magic)));
    }
    let cut = |len, needed| Err(Some(Truncated { len, needed }));
    assert_eq!(front(i32::MAX, 2, 100), cut(100, Some(i32::MAX as usize + 12)));
    assert_eq!(front(49, 2, 60), cut(60, Some(61)));
    assert_eq!(front(22, 1, 33), cut(33, Some(34)));
}

/// C4.
#[test]
fn null_and_empty_stay_apart() {
    let empty = Some(Vec::new());
    let headers = vec![("n".to_owned(), None), ("e".to_owned(), empty.clone()), (String::new(), None)];
    let records = [
        Plain { timestamp: 0, key: None, value: empty.clone(), headers },
        Plain { timestamp: 0, key: empty, value: None, headers: Vec::new() },
    ];
    let decoded = decode(&only_batch(&write(&records, Compression::None, ProducerStamp::NONE)));
    let read: Vec<_> = decoded.into_iter().map(|record| to_plain(&record.unwrap())).collect();
    assert_eq!(read, records);
}

#[test]
fn an_owned_record_shares_the_buffer() {
    let bytes = three_records();
    let range = bytes.as_ptr_range();
    let record = decode(&only_batch(&bytes)).into_iter().next().unwrap().unwrap();
    assert!(range.contains(&record.value.unwrap().as_ptr()));
}

/// A batch of one record with this body; the header is taken from an honest one.
fn with_body(body: &[u8]) -> BatchErrorKind {
    let record = Plain { timestamp: 0, key: None, value: Some(vec![0; body.len() - 6]), headers: Vec::new() };
    let honest = write(&[record], Compression::None, ProducerStamp::NONE);
    assert_eq!(honest.len(), HEADER_LEN + 1 + body.len());
    last_error(&forge(&honest, &[(HEADER_LEN + 1..honest.len(), body)]))
}

#[test]
fn broken_records_say_what_is_broken() {
    use RecordErrorKind::{InvalidHeaderCount, InvalidVarint, LeftOver, NullHeaderName, Truncated};
    // Attributes, timestamp, offset, null key, empty value; then the headers.
    let cases: [(&[u8], RecordErrorKind); 8] = [
        (&[0, 0, 0, 1, 0, 2, 1, 1, 0], NullHeaderName),
        (&[0, 0, 0, 1, 0, 1, 0, 0, 0], InvalidHeaderCount(-1)),
        (&[0, 0, 0, 1, 0, 4, 0, 1, 0], InvalidHeaderCount(2)),
        (&[0, 0, 0, 1, 0, 0, 9, 9, 9], LeftOver(3)),
        (&[0, 0, 0, 1, 0, 2, 0, 1, 9], LeftOver(1)),
        (&[0, 0, 0, 1, 20, 0, 0, 0, 0], Truncated),
        (&[0, 0, 0, 20, 0, 0, 0, 0, 0], Truncated),
        (&[0, 0, 255, 255, 255, 255, 255, 0, 0], InvalidVarint),
    ];
    for (body, kind) in cases {
        assert_eq!(with_body(body), BatchErrorKind::Record { index: 0, kind }, "{body:?}");
    }
    let honest = three_records();
    let negative = forge(&honest, &[(HEADER_LEN..HEADER_LEN + 1, &[1])]);
    let kind = BatchErrorKind::Record { index: 0, kind: RecordErrorKind::InvalidLength(-1) };
    assert_eq!(last_error(&negative), kind);
}
