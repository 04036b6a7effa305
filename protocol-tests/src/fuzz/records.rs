//! Records fields: every way of reading a batch gives the same, and a broker's changes are readable.

use bytes::{Bytes, BytesMut};
use milena_protocol::records::{
    Batch, Batches, ControlRecord, DecodedBatch, ProducerStamp, ReadOptions, Record, RecordView,
    append_assigned, assign_offsets, restamp,
};

use super::{codecs, heap};

/// What the records of a batch may decompress to.
const LIMIT: usize = 256 * 1024;

pub(super) fn batch(input: &[u8]) {
    let field = Bytes::copy_from_slice(input);
    let (batches, failed, left) = heap::within(heap::VIEW + 4 * input.len(), || {
        let mut found = Batches::new(field.clone());
        let mut failed = false;
        let batches: Vec<Batch> =
            found.by_ref().filter_map(|batch| batch.map_err(|_| failed = true).ok()).collect();
        assert!(found.next().is_none(), "there is more after the end");
        (batches, failed, found.truncated().map_or(0, |truncated| truncated.len))
    });
    let whole: usize = batches.iter().map(|batch| batch.bytes().len()).sum();
    assert!(failed || whole + left == input.len(), "{whole} and {left} bytes of {}", input.len());
    batches.iter().for_each(one_batch);
}

fn one_batch(batch: &Batch) {
    let header = batch.header();
    assert!(batch.next_offset() > header.base_offset, "reading would not go on after {header:?}");
    assert!((0..=2).contains(&batch.magic()), "a batch of magic {}", batch.magic());
    let intact = batch.verify_crc().is_ok();
    let checked = decode(batch, true);
    assert!(intact || checked.is_none(), "a broken CRC was not seen");
    if let Some(decoded) = decode(batch, false) {
        assert!(checked.is_some() || !intact, "the check of the CRC refuses an intact batch");
        every_way_of_reading(&decoded);
    }
    if batch.magic() == 2 {
        what_a_broker_does(batch);
    }
}

fn decode(batch: &Batch, check_crc: bool) -> Option<DecodedBatch> {
    let options = ReadOptions { check_crc, max_decompressed: Some(LIMIT) };
    let bound = match batch.compression() {
        // What is of magic 0 or 1 is written anew.
        Ok(compression) if batch.magic() < 2 => {
            codecs::heap_bound(compression, LIMIT) + LIMIT + 2 * batch.bytes().len()
        }
        Ok(compression) => codecs::heap_bound(compression, LIMIT),
        Err(_) => heap::VIEW,
    };
    let decoded = heap::within(bound, || batch.decode(&options)).ok()?;
    assert!(decoded.uncompressed_len() <= LIMIT.max(batch.bytes().len()), "more than the limit");
    Some(decoded)
}

fn every_way_of_reading(batch: &DecodedBatch) {
    let count = heap::within(heap::VIEW, || {
        let views = batch.records();
        let headers = |view: RecordView<'_>| view.headers().map(|header| header.name.len()).sum::<usize>();
        views.map(|view| view.map_or(0, headers)).fold(0, |count, _| count + 1)
    });
    let mut owned = batch.clone().into_iter();
    let mut views = batch.records();
    let mut read = 0;
    let mut last = false;
    while let Some(view) = views.next() {
        assert!(!last, "a record after an error");
        match (view, owned.next()) {
            (Ok(view), Some(Ok(record))) => same(&view, &record),
            (Err(view), Some(Err(record))) => {
                assert_eq!(view, record);
                last = true;
            }
            (view, record) => panic!("a view is {view:?}, the record {record:?}"),
        }
        read += 1;
        // To take up reading costs as much as to read on: at one place is enough.
        if read == count / 2 && !last {
            let rest = batch.records_from(views.place()).count();
            assert_eq!(rest, count - read, "records were lost where reading was taken up");
        }
    }
    assert!(owned.next().is_none(), "more records than views");
    assert_eq!(read, count);
}

fn same(view: &RecordView<'_>, record: &Record) {
    let header = (view.offset(), view.timestamp(), view.key(), view.value());
    assert_eq!(header, (record.offset, record.timestamp, record.key.as_deref(), record.value.as_deref()));
    assert_eq!(view.headers().len(), record.headers.len());
    assert_eq!(view.headers().count(), record.headers.len(), "headers were lost");
    assert!(view.headers().eq(record.headers.iter()), "the headers differ");
    // Whether it is one is for the caller to know; reading it as one must not hurt.
    let _ = ControlRecord::parse(view);
}

fn what_a_broker_does(batch: &Batch) {
    let mut log = BytesMut::new();
    append_assigned(batch, 1_000, 7, Some(99), &mut log);
    let stamp = ProducerStamp { producer_id: 5, producer_epoch: 1, base_sequence: 9, transactional: false };
    let restamped = restamp(log.freeze(), stamp);
    let kept = assign_offsets(batch.clone(), 1_000, 7, None);
    for (bytes, checksum) in [(restamped, Ok(())), (kept, batch.verify_crc().map_err(|error| error.kind))] {
        assert_eq!(bytes.len(), batch.bytes().len());
        let again = Batches::new(bytes).next().unwrap().unwrap();
        assert_eq!((again.header().base_offset, again.header().partition_leader_epoch), (1_000, 7));
        assert_eq!(again.verify_crc().map_err(|error| error.kind), checksum);
    }
}
