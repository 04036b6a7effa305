//! What reading and writing batches, and the frames that carry them, asks of the allocator. One test in the thread of `main`, so
//! that nothing else allocates meanwhile: the usual harness has a thread of its own that does.
#![expect(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::alloc::System;
use std::process::ExitCode;

use bytes::Bytes;
use libtest_mimic::{Arguments, Trial};
use milena_protocol::records::{
    BatchBuilder, BatchErrorKind, Batches, Compression, CompressionError, HEADER_LEN, Header, ProducerStamp,
    ReadOptions,
};
use milena_protocol::{
    ApiKey,
    frame::{decode_request, decode_response, encode_request, encode_request_into, encode_response},
    messages::{
        FetchResponse, ProduceRequest, Request, Response,
        fetch::{AbortedTransaction, FetchableTopicResponse, PartitionData},
        produce::{PartitionProduceData, TopicProduceData},
    },
    wire::{Uuid, Writer},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What reading may ask for besides the decompressed records (and their buffer as it grows).
const ALLOWANCE: usize = 64 * 1024;

fn main() -> ExitCode {
    // One: this very thread.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let bounded = Trial::test("allocations_are_bounded", || {
        allocations_are_bounded();
        Ok(())
    });
    libtest_mimic::run(&arguments, vec![bounded]).exit_code()
}

fn allocations_are_bounded() {
    appending_allocates_only_as_the_buffer_grows();
    reading_views_allocates_nothing();
    counts_and_lengths_size_no_allocation();
    bombs_stop_at_the_limit();
    hot_messages_are_read_in_place();
    a_writer_that_is_used_again_allocates_nothing();
}

/// Bytes allocated in `f`, and how often.
fn allocated<T>(f: impl FnOnce() -> T) -> (usize, usize) {
    let region = Region::new(ALLOCATOR);
    std::hint::black_box(f());
    let change = region.change();
    (change.bytes_allocated, change.allocations + change.reallocations)
}

fn thousand_records(batch: &mut BatchBuilder) {
    for at in 0..1000 {
        let headers = [Header::new("trace", Some(b"7f")), Header::new("trace", None)];
        batch.append(at, Some(b"key"), Some(&[b'v'; 100]), headers).unwrap();
    }
}

fn appending_allocates_only_as_the_buffer_grows() {
    let mut presized = BatchBuilder::with_capacity(1 << 20, 1 << 18);
    assert_eq!(allocated(|| thousand_records(&mut presized)), (0, 0));
    let mut growing = BatchBuilder::new(1 << 20);
    let (_, times) = allocated(|| thousand_records(&mut growing));
    assert!(times < 20, "{times}");
    let sealing = allocated(|| growing.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE));
    // The share count behind `Bytes`.
    assert!(sealing.0 < 100, "{sealing:?}");
}

fn reading_views_allocates_nothing() {
    let mut batch = BatchBuilder::new(1 << 20);
    thousand_records(&mut batch);
    let bytes = batch.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE);
    let read = || {
        let batch = Batches::new(bytes.clone()).next().unwrap().unwrap();
        let decoded = batch.decode(&ReadOptions::default()).unwrap();
        decoded.records().map(|record| record.unwrap().headers().count()).sum::<usize>()
    };
    assert_eq!(read(), 2000);
    assert_eq!(allocated(read), (0, 0));
}

/// An empty batch of which every number says that it is huge.
fn counts_and_lengths_size_no_allocation() {
    let mut batch = BatchBuilder::new(1 << 20);
    batch.append(0, Some(b"k"), Some(b"v"), []).unwrap();
    let honest = batch.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE);
    for at in 0..honest.len() {
        for width in 1..=4 {
            let mut hostile = honest.to_vec();
            let Some(field) = hostile.get_mut(at..at + width) else { continue };
            field.fill(0xff);
            field[0] = 0x7f;
            read_hostile(hostile.into(), ALLOWANCE);
        }
    }
}

fn read_hostile(bytes: Bytes, bound: usize) {
    let options = ReadOptions { check_crc: false, ..ReadOptions::default() };
    let (allocated, _) = allocated(|| {
        let decoded = Batches::new(bytes.clone()).flatten().flat_map(|batch| batch.decode(&options));
        decoded.map(|decoded| decoded.records().flatten().count()).sum::<usize>()
    });
    assert!(allocated <= bound, "{allocated} bytes for {}: {bytes:?}", bytes.len());
}

fn bombs_stop_at_the_limit() {
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut batch = BatchBuilder::new(1 << 20);
        batch.append(0, None, Some(&vec![0; 64 << 20]), []).unwrap();
        let bomb = batch.compress(compression).unwrap().stamp(ProducerStamp::NONE);
        let bomb = Batches::new(bomb).next().unwrap().unwrap();
        let limit = 1 << 20;
        let options = ReadOptions { max_decompressed: Some(limit), ..ReadOptions::default() };
        let (allocated, _) = allocated(|| {
            let error = bomb.decode(&options).unwrap_err();
            let over = CompressionError::OverLimit { compression, limit };
            assert_eq!(error.kind, BatchErrorKind::Compression(over));
        });
        // A buffer that doubles has asked for twice its size in all.
        assert!(allocated <= 4 * limit + ALLOWANCE, "{compression}: {allocated}");
    }
    snappy_claims_size_no_allocation();
}

/// Blocks that claim 4 GiB, 1 GiB, and 1 MB, which the default limit would allow.
fn snappy_claims_size_no_allocation() {
    let mut batch = BatchBuilder::new(1 << 20);
    batch.append(0, None, Some(&[7; 100]), []).unwrap();
    let honest = batch.compress(Compression::Snappy).unwrap().stamp(ProducerStamp::NONE);
    for claim in [b"\xff\xff\xff\xff\x0f".as_slice(), b"\x80\x80\x80\x80\x04", b"\xc0\x84\x3d"] {
        let mut hostile = honest[..HEADER_LEN].to_vec();
        hostile.extend_from_slice(claim);
        hostile.extend_from_slice(&[0; 64]);
        let length = hostile.len() as i32 - 12;
        hostile[8..12].copy_from_slice(&length.to_be_bytes());
        read_hostile(hostile.into(), ALLOWANCE);
    }
}

/// A fetch response and a produce request of 50 partitions, decoded and walked through.
fn hot_messages_are_read_in_place() {
    let partition = |partition_index| PartitionData {
        partition_index,
        aborted_transactions: Some(vec![AbortedTransaction::default(); 3].into()),
        records: Some(Bytes::from(vec![1; 500])),
        ..Default::default()
    };
    let topic = |id| FetchableTopicResponse {
        topic_id: Uuid::from_bytes([id; 16]),
        partitions: (0..10).map(partition).collect(),
        ..Default::default()
    };
    let response = FetchResponse { responses: (1..=5).map(topic).collect(), ..Default::default() };
    let frame = encode_response(&response.clone().into(), 16, 7).unwrap().to_bytes().slice(4..);
    // The share count behind `Bytes` is made with the first clone of a frame.
    let _shared = frame.clone();
    let read = || {
        let Ok(Response::Fetch(read)) = decode_response(ApiKey::Fetch, 16, &frame) else { return 0 };
        let partitions =
            read.responses.iter().flat_map(|topic| (0..10).filter_map(move |at| topic.partitions.get(at)));
        partitions.map(|partition| partition.records.map_or(0, |records| records.len())).sum::<usize>()
    };
    assert_eq!(read(), 50 * 500);
    assert_eq!(allocated(read), (0, 0));
    assert_eq!(decode_response(ApiKey::Fetch, 16, &frame), Ok(response.into()));

    let data = |index| PartitionProduceData {
        index,
        records: Some(Bytes::from(vec![1; 500])),
        ..Default::default()
    };
    let topic = TopicProduceData {
        topic_id: Uuid::from_bytes([1; 16]),
        partition_data: (0..50).map(data).collect(),
        ..Default::default()
    };
    let request: Request = ProduceRequest { topic_data: vec![topic].into(), ..Default::default() }.into();
    let frame = encode_request(&request, 13, 7, None).unwrap().to_bytes().slice(4..);
    let _shared = frame.clone();
    let read = || {
        let Ok(Request::Produce(read)) = decode_request(&frame).unwrap().body else { return 0 };
        read.topic_data.iter().map(|topic| topic.partition_data.iter().count()).sum::<usize>()
    };
    assert_eq!(read(), 50);
    assert_eq!(allocated(read), (0, 0));
    assert_eq!(decode_request(&frame).unwrap().body, Ok(request));
}

/// A produce request of 50 batches, encoded into a writer that carried it before.
fn a_writer_that_is_used_again_allocates_nothing() {
    let batch = Bytes::from(vec![1; 16 * 1024]);
    let data = |index| PartitionProduceData { index, records: Some(batch.clone()), ..Default::default() };
    let topic = TopicProduceData { partition_data: (0..50).map(data).collect(), ..Default::default() };
    let request: Request = ProduceRequest { topic_data: vec![topic].into(), ..Default::default() }.into();
    let encode = |writer: Writer<'static>| -> Writer<'static> {
        let mut writer = writer.recycle(64 * 1024);
        encode_request_into(&mut writer, &request, 13, 7, Some("milena")).unwrap();
        let len: usize = writer.chunks().slices().map(<[u8]>::len).sum();
        assert!(len == writer.len() && len > 50 * batch.len());
        writer.recycle(64 * 1024)
    };
    let warm = encode(Writer::new());
    assert_eq!(allocated(|| encode(warm)), (0, 0));
    assert_ne!(allocated(|| encode(Writer::new())), (0, 0));
}
