//! What reading hostile bytes may take of the heap, at any one time. One test, so that nothing else allocates meanwhile.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use bytes::Bytes;
use milena_protocol::{
    messages::{FetchResponse, ProduceRequest},
    records::{
        BatchBuilder, BatchErrorKind, Batches, Compression, CompressionError, ProducerStamp, ReadOptions,
    },
    wire::{Decode, Reader},
};
use peak_alloc::PeakAlloc;
use protocol_tests::{
    fuzz::{Target, heap, mutate},
    golden,
    subject::Subject,
    vector::Vector,
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Bytes behind a count that is too good to be true.
const FILLING: usize = 1_500;
/// What the bytes are: numbers and empty arrays, empty compact strings, both in turn, and elements with tags.
const FILLERS: [&[u8]; 4] = [&[0], &[1], &[1, 0], &[0, 0, 0, 1]];
const MUTATIONS: u64 = 2_000;

#[test]
fn heap_is_bounded() {
    heap::measure_with(heap::Meter {
        current: || ALLOCATOR.current_usage(),
        peak: || ALLOCATOR.peak_usage(),
        reset: || ALLOCATOR.reset_peak_usage(),
    });
    the_meter_measures();
    counts_that_lie_are_within_the_bound();
    tiny_tags_are_within_the_bound();
    views_take_next_to_nothing();
    mutations_are_within_the_bound();
    bombs_take_what_the_limit_allows();
}

/// A check that can't fail would pass everything else too.
fn the_meter_measures() {
    let (peak, kept) = heap::peak(|| {
        drop(vec![1u8; 50_000]);
        vec![1u8; 10_000]
    });
    assert!((50_000..51_000).contains(&peak), "{peak}");
    assert_eq!(kept.len(), 10_000);
    let by_claim = |claimed: usize| heap::within(heap::owned(8), || Vec::<u8>::with_capacity(claimed));
    let caught = std::panic::catch_unwind(|| by_claim(1 << 20));
    assert!(caught.is_err(), "an allocation by the peer's count was not seen");
}

fn decode(subject: Subject, version: i16, bytes: &Bytes) -> usize {
    let (peak, read) = heap::peak(|| subject.decode(bytes, version));
    let bound = heap::owned(bytes.len());
    assert!(peak <= bound, "{} version {version}: {peak} of {bound} bytes: {bytes:?}", subject.name());
    drop(read);
    peak
}

/// Every byte of every empty message in turn becomes a count, with bytes behind it that make as many elements of as few
/// bytes as there can be.
fn counts_that_lie_are_within_the_bound() {
    let mut most = 0.0f64;
    for vector in golden::lines().filter(|line| line["variant"] == 0).filter_map(Vector::new) {
        for at in 0..vector.bytes.len() {
            for filler in FILLERS {
                let filling = || filler.iter().copied().cycle().take(FILLING);
                let before = vector.bytes[..at].iter().copied();
                for count in [vec![0xf1, 0x05], (FILLING as u32 / 2).to_be_bytes().to_vec()] {
                    let bytes: Bytes = before.clone().chain(count).chain(filling()).collect();
                    let peak = decode(vector.subject, vector.version, &bytes);
                    most = most.max(peak as f64 / bytes.len() as f64);
                }
            }
        }
    }
    // Were it much less, the counts would not have been taken for counts.
    assert!(most > 8.0, "the worst case takes {most:.1} times its bytes");
}

/// The last byte of an empty message of a flexible version says how many tagged fields follow.
fn tiny_tags_are_within_the_bound() {
    let is_flexible = |line: &serde_json::Value| line["variant"] == 0 && line["flexible"] == true;
    for vector in golden::lines().filter(is_flexible).filter_map(Vector::new) {
        let Some((0, before)) = vector.bytes.split_last() else { continue };
        let mut bytes = before.to_vec();
        bytes.extend_from_slice(&[0x90, 0x4e]);
        (0..10_000).for_each(|_| bytes.extend_from_slice(&[0x7f, 0]));
        decode(vector.subject, vector.version, &bytes.into());
    }
}

/// Golden fetch responses and produce requests, and large ones.
fn views_take_next_to_nothing() {
    for vector in golden::lines().filter_map(Vector::new) {
        let (version, mut reader) = (vector.version, Reader::new(&vector.bytes));
        match vector.subject.name().as_str() {
            "FetchResponse" => {
                heap::within(heap::VIEW, || FetchResponse::decode(&mut reader, version)).unwrap();
            }
            "ProduceRequest" => {
                heap::within(heap::VIEW, || ProduceRequest::decode(&mut reader, version)).unwrap();
            }
            _ => {}
        }
    }
    // 20,000 partitions of a fetch response of version 12, each of the fewest bytes.
    let mut bytes = vec![0; 10];
    bytes.extend_from_slice(&[2, 2, b't', 0xa1, 0x9c, 0x01]);
    for _ in 0..20_000 {
        bytes.extend_from_slice(&[0; 37]);
    }
    bytes.extend_from_slice(&[0, 0]);
    let bytes: Bytes = bytes.into();
    let partitions = heap::within(heap::VIEW, || {
        let mut reader = Reader::new(&bytes);
        let response = FetchResponse::decode(&mut reader, 12).unwrap();
        response.responses.iter().map(|topic| topic.partitions.iter().count()).sum::<usize>()
    });
    assert_eq!(partitions, 20_000);
    views_keep_no_list_of_tags();
}

/// The message, a topic and a partition of a fetch response of version 12, each with 20,000 unknown tagged fields of three
/// bytes, of which the known ones among them are told apart.
fn views_keep_no_list_of_tags() {
    let section = |known: &[u8]| {
        // One field more that is known, in the middle.
        let fields = [[0x7f, 1, b'x'].repeat(10_000), known.to_vec(), [0x7f, 1, b'y'].repeat(10_000)];
        let count = 20_000 + u32::from(!known.is_empty());
        let varint = [count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8];
        [varint.to_vec(), fields.concat()].concat()
    };
    let leader = [1, 9, 0, 0, 0, 5, 0, 0, 0, 6, 0];
    let partition = [vec![0; 36], section(&leader)].concat();
    let topic = [b"\x02t\x02".to_vec(), partition, section(&[])].concat();
    let bytes: Bytes = [vec![0; 10], vec![2], topic, section(&[])].concat().into();
    heap::within(heap::VIEW, || {
        let mut reader = Reader::new(&bytes);
        let response = FetchResponse::decode(&mut reader, 12).unwrap();
        reader.finish().unwrap();
        let topic = response.responses.iter().next().unwrap();
        let partition = topic.partitions.iter().next().unwrap();
        assert_eq!(partition.current_leader.leader_id, 5);
        let all = [&response.unknown_tags, &topic.unknown_tags, &partition.unknown_tags];
        for tags in all {
            assert_eq!(tags.iter().filter(|tag| tag.tag == 0x7f && tag.data.len() == 1).count(), 20_000);
        }
    });
}

/// The targets measure by themselves.
fn mutations_are_within_the_bound() {
    for name in ["request", "response", "data", "listed", "batch", "legacy", "gzip", "snappy", "lz4", "zstd"]
    {
        let target = Target::named(name).unwrap();
        let corpus = (target.seeds)();
        // The executions before are the corpus as it is.
        let first = corpus.len() as u64;
        for number in first..first + MUTATIONS {
            (target.run)(&mutate::input(&corpus, 3, number));
        }
    }
}

fn bombs_take_what_the_limit_allows() {
    const LIMIT: usize = 1 << 20;
    let mut broken = Vec::new();
    for (compression, working) in [
        (Compression::Gzip, 64 << 10),
        (Compression::Snappy, 4 << 10),
        (Compression::Lz4, 1 << 20),
        (Compression::Zstd, 1 << 20),
    ] {
        let mut batch = BatchBuilder::new(64 << 20);
        batch.append(0, None, Some(&vec![0; 32 << 20]), []).unwrap();
        let bomb = batch.compress(compression).unwrap().stamp(ProducerStamp::NONE);
        let bomb = Batches::new(bomb).next().unwrap().unwrap();
        let options = ReadOptions { max_decompressed: Some(LIMIT), ..ReadOptions::default() };
        let (peak, error) = heap::peak(|| bomb.decode(&options).unwrap_err());
        let over = CompressionError::OverLimit { compression, limit: LIMIT };
        assert_eq!(error.kind, BatchErrorKind::Compression(over));
        // A buffer that grows is there twice for a moment.
        let bound = 2 * LIMIT + working;
        if peak > bound {
            broken.push(format!("{compression}: {peak} of {bound} bytes"));
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}
