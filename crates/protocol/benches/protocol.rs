//! What the hot path costs: records into batches and out of them, and the frames around them.
//!
//! `just bench-protocol` runs it. Times are of this machine at this moment: compare figures of one run only.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark is read by whoever runs it")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use milena_protocol::{
    ApiKey,
    frame::{decode_response, encode_request, encode_response},
    messages::{
        FetchResponse, ProduceRequest, Response,
        fetch::{FetchableTopicResponse, PartitionData},
        produce::{PartitionProduceData, TopicProduceData},
    },
    records::{BatchBuilder, Batches, Compression, ProducerStamp, ReadOptions},
    wire::Uuid,
};

const RECORDS: u64 = 1000;
const VALUE: [u8; 100] = [b'x'; 100];
const STAMP: ProducerStamp =
    ProducerStamp { producer_id: 1, producer_epoch: 0, base_sequence: 0, transactional: false };

fn batch() -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1 << 20, 128 * 1024);
    for timestamp in 0..RECORDS {
        builder.append(timestamp as i64, None, Some(&VALUE), []).unwrap();
    }
    builder.compress(Compression::None).unwrap().stamp(STAMP)
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("append 1000 of 100 B, CRC included", |bencher| bencher.iter(batch));
    let written = batch();
    group.bench_function("read 1000 of 100 B as views, CRC checked", |bencher| {
        bencher.iter(|| {
            let batch = Batches::new(written.clone()).next().unwrap().unwrap();
            let decoded = batch.decode(&ReadOptions::default()).unwrap();
            decoded.records().map(|record| record.unwrap().value().map_or(0, <[u8]>::len)).sum::<usize>()
        });
    });
    group.finish();
}

fn fetch_response() -> Bytes {
    let partition = |partition_index| PartitionData {
        partition_index,
        high_watermark: 1_000_000,
        records: Some(Bytes::from_static(&[1; 256])),
        ..Default::default()
    };
    let topic = |id| FetchableTopicResponse {
        topic_id: Uuid::from_bytes([id; 16]),
        partitions: (0..10).map(partition).collect(),
        ..Default::default()
    };
    let response = FetchResponse { responses: (1..=5).map(topic).collect(), ..Default::default() };
    let frame = encode_response(&response.into(), 16, 7).unwrap().to_bytes();
    frame.slice(4..)
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames");
    let fetched = fetch_response();
    group.bench_function("decode a fetch response of 50 partitions", |bencher| {
        bencher.iter(|| -> Response { decode_response(ApiKey::Fetch, 16, black_box(&fetched)).unwrap() });
    });
    let records = Bytes::from(vec![1; 16 * 1024]);
    let data = |index| PartitionProduceData { index, records: Some(records.clone()), ..Default::default() };
    let topic = TopicProduceData {
        topic_id: Uuid::from_bytes([1; 16]),
        partition_data: (0..10).map(data).collect(),
        ..Default::default()
    };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic].into(), ..Default::default() }
            .into();
    group.bench_function("encode a produce request of ten 16 KiB batches", |bencher| {
        bencher.iter(|| encode_request(black_box(&request), 13, 7, None).unwrap());
    });
    group.finish();
}

criterion_group!(benches, records, frames);
criterion_main!(benches);
