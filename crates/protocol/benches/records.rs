//! What records cost on their way into batches and out of them, beside the crate `kafka-protocol` on the same bytes.
//!
//! `just bench-protocol` runs it. Times are of this machine at this moment: compare figures of one run only.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark is read by whoever runs it")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::{
    messages::{FetchResponse as TheirFetchResponse, ResponseHeader as TheirResponseHeader},
    protocol::{Decodable, StrBytes},
    records::{
        Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
        RecordEncodeOptions, TimestampType,
    },
};
use milena_protocol::{
    ApiKey,
    frame::{decode_response, encode_response},
    messages::{
        FetchResponse, Response,
        fetch::{FetchableTopicResponse, PartitionData},
    },
    records::{BatchBuilder, Batches, Compression, ProducerStamp, ReadOptions},
    wire::Uuid,
};

const RECORDS: u64 = 1000;
const VALUE: [u8; 100] = [b'x'; 100];
const FETCH: i16 = 16;
/// Topics, partitions of each, and records of each of those.
const FETCHED: (u8, i32, u64) = (5, 10, 20);
const STAMP: ProducerStamp =
    ProducerStamp { producer_id: 1, producer_epoch: 0, base_sequence: 0, transactional: false };

fn batch(records: u64) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(1 << 20, 128 * 1024);
    for timestamp in 0..records {
        builder.append(timestamp as i64, None, Some(&VALUE), []).unwrap();
    }
    builder.compress(Compression::None).unwrap().stamp(STAMP)
}

fn their_records() -> Vec<TheirRecord> {
    let record = |at: u64| TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 1,
        producer_epoch: 0,
        timestamp_type: TimestampType::Creation,
        offset: at as i64,
        sequence: at as i32,
        timestamp: at as i64,
        key: None,
        value: Some(Bytes::from_static(&VALUE)),
        headers: std::iter::empty::<(StrBytes, Option<Bytes>)>().collect(),
    };
    (0..RECORDS).map(record).collect()
}

fn their_batch(records: &[TheirRecord]) -> Bytes {
    let mut out = BytesMut::with_capacity(128 * 1024);
    let options = RecordEncodeOptions { version: 2, compression: TheirCompression::None };
    RecordBatchEncoder::encode(&mut out, records, &options).unwrap();
    out.freeze()
}

/// Bytes of the values of a records field, read as views.
fn views(records: Bytes) -> usize {
    let batch = Batches::new(records).next().unwrap().unwrap();
    let decoded = batch.into_decoded(&ReadOptions::default()).unwrap();
    decoded.records().map(|record| record.unwrap().value().map_or(0, <[u8]>::len)).sum()
}

fn their_values(mut records: Bytes) -> usize {
    let decoded = RecordBatchDecoder::decode(&mut records).unwrap();
    decoded.records.iter().map(|record| record.value.as_ref().map_or(0, Bytes::len)).sum()
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("append 1000 of 100 B, CRC included", |bencher| bencher.iter(|| batch(RECORDS)));
    let theirs = their_records();
    group.bench_function("append, kafka-protocol", |bencher| bencher.iter(|| their_batch(&theirs)));

    let written = batch(RECORDS);
    assert_eq!(their_batch(&theirs).len(), written.len());
    assert_eq!(their_values(written.clone()), views(written.clone()));
    group.bench_function("read as views, CRC checked", |bencher| {
        bencher.iter(|| views(black_box(&written).clone()));
    });
    group.bench_function("read as owned records, CRC checked", |bencher| {
        bencher.iter(|| {
            let batch = Batches::new(black_box(&written).clone()).next().unwrap().unwrap();
            let decoded = batch.into_decoded(&ReadOptions::default()).unwrap();
            decoded
                .into_iter()
                .map(|record| record.unwrap().value.map_or(0, |value| value.len()))
                .sum::<usize>()
        });
    });
    group.bench_function("read, kafka-protocol", |bencher| {
        bencher.iter(|| their_values(black_box(&written).clone()));
    });
    group.finish();
}

fn fetch_response() -> Bytes {
    let (topics, partitions, records) = FETCHED;
    let records = batch(records);
    let partition = |partition_index| PartitionData {
        partition_index,
        high_watermark: 1_000_000,
        records: Some(records.clone()),
        ..Default::default()
    };
    let topic = |id| FetchableTopicResponse {
        topic_id: Uuid::from_bytes([id; 16]),
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    let response = FetchResponse { responses: (1..=topics).map(topic).collect(), ..Default::default() };
    encode_response(&response.into(), FETCH, 7).unwrap().to_bytes().slice(4..)
}

fn consume(frame: &Bytes) -> usize {
    let Response::Fetch(response) = decode_response(ApiKey::Fetch, FETCH, frame).unwrap() else { return 0 };
    let mut len = 0;
    let mut topics = response.responses.walk();
    while let Some(topic) = topics.lend_next() {
        let mut partitions = topic.partitions.walk();
        while let Some(partition) = partitions.lend_next() {
            len += partition.records.take().map_or(0, views);
        }
    }
    len
}

fn their_consume(frame: &Bytes) -> usize {
    let mut frame = frame.clone();
    TheirResponseHeader::decode(&mut frame, 1).unwrap();
    let response = TheirFetchResponse::decode(&mut frame, FETCH).unwrap();
    let partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
    partitions.filter_map(|partition| partition.records).map(their_values).sum()
}

fn fetches(criterion: &mut Criterion) {
    let (topics, partitions, records) = FETCHED;
    let mut group = criterion.benchmark_group("a fetch of 50 partitions, 20 records of 100 B each");
    group.throughput(Throughput::Elements(u64::from(topics) * partitions.unsigned_abs() as u64 * records));
    let frame = fetch_response();
    assert_eq!(consume(&frame), their_consume(&frame));
    group.bench_function("response to views", |bencher| bencher.iter(|| consume(black_box(&frame))));
    group.bench_function("kafka-protocol", |bencher| bencher.iter(|| their_consume(black_box(&frame))));
    group.finish();
}

criterion_group!(benches, records, fetches);
criterion_main!(benches);
