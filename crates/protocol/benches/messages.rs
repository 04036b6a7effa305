//! What frames cost, beside the crate `kafka-protocol` in the same run.
//!
//! `just bench-protocol` runs it. Times are of this machine at this moment: compare figures of one run only.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark is read by whoever runs it")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, criterion_group, criterion_main};
use kafka_protocol::{
    messages::{
        FetchResponse as TheirFetchResponse, MetadataResponse as TheirMetadataResponse,
        ProduceRequest as TheirProduceRequest, RequestHeader as TheirRequestHeader,
        ResponseHeader as TheirResponseHeader,
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use milena_protocol::{
    ApiKey,
    frame::{decode_request, decode_response, encode_request, encode_request_into, encode_response},
    messages::{
        FetchResponse, MetadataResponse, ProduceRequest, Request, Response,
        fetch::{FetchableTopicResponse, PartitionData},
        metadata::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce::{PartitionProduceData, TopicProduceData},
    },
    wire::{ByteString, Encode, Uuid, Writer},
};

const FETCH: i16 = 16;
const METADATA: i16 = 12;
const PRODUCE: i16 = 12;

/// The response's frame without its length.
fn frame(response: Response, version: i16) -> Bytes {
    encode_response(&response, version, 7).unwrap().to_bytes().slice(4..)
}

/// 5 topics of 10 partitions.
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
    frame(response.into(), FETCH)
}

/// 100 topics of 100 partitions on 6 brokers, three replicas each, all in sync.
fn metadata_response() -> Bytes {
    let broker = |node_id| MetadataResponseBroker {
        node_id,
        host: format!("broker-{node_id}.example.org").into(),
        port: 9092,
        rack: Some("rack".into()),
        ..Default::default()
    };
    let partition = |partition_index: i32| {
        let replicas = [0, 1, 2].map(|replica| (partition_index + replica) % 6);
        MetadataResponsePartition {
            partition_index,
            leader_id: replicas[0],
            leader_epoch: 3,
            replica_nodes: replicas.into(),
            isr_nodes: replicas.into(),
            ..Default::default()
        }
    };
    let topic = |number: u8| MetadataResponseTopic {
        name: Some(format!("topic-number-{number}").into()),
        topic_id: Uuid::from_bytes([number; 16]),
        partitions: (0..100).map(partition).collect(),
        ..Default::default()
    };
    let response = MetadataResponse {
        brokers: (0..6).map(broker).collect(),
        cluster_id: Some("cluster".into()),
        topics: (0..100).map(topic).collect(),
        ..Default::default()
    };
    frame(response.into(), METADATA)
}

/// Ten batches of 16 KiB.
fn produce_request() -> Request {
    let records = Bytes::from(vec![1; 16 * 1024]);
    let data = |index| PartitionProduceData { index, records: Some(records.clone()), ..Default::default() };
    let topic = TopicProduceData {
        name: "letters".into(),
        partition_data: (0..10).map(data).collect(),
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic].into(), ..Default::default() }
        .into()
}

/// Header and body of a frame without its length.
fn theirs<T: Decodable>(frame: &Bytes, header_version: i16, version: i16) -> T {
    let mut rest = frame.clone();
    TheirResponseHeader::decode(&mut rest, header_version).unwrap();
    T::decode(&mut rest, version).unwrap()
}

fn fetch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch response of 50 partitions");
    let frame = fetch_response();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| -> Response { decode_response(ApiKey::Fetch, FETCH, black_box(&frame)).unwrap() });
    });
    group.bench_function("decode and take every partition's records", |bencher| {
        bencher.iter(|| {
            let decoded = decode_response(ApiKey::Fetch, FETCH, black_box(&frame)).unwrap();
            let Response::Fetch(response) = decoded else { return 0 };
            let mut len = 0;
            let mut topics = response.responses.walk();
            while let Some(topic) = topics.lend_next() {
                let mut partitions = topic.partitions.walk();
                while let Some(partition) = partitions.lend_next() {
                    len += black_box(partition.records.take()).map_or(0, |records| records.len());
                }
            }
            len
        });
    });
    group.bench_function("kafka-protocol: decode", |bencher| {
        bencher.iter(|| -> TheirFetchResponse { theirs(black_box(&frame), 1, FETCH) });
    });
    group.finish();
}

fn metadata(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("metadata response of 10,000 partitions");
    let frame = metadata_response();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_response(ApiKey::Metadata, METADATA, black_box(&frame)).unwrap());
    });
    group.bench_function("decode and look at every replica", |bencher| {
        bencher.iter(|| {
            let decoded = decode_response(ApiKey::Metadata, METADATA, black_box(&frame)).unwrap();
            let Response::Metadata(response) = decoded else { return 0 };
            let mut sum = 0i64;
            for topic in &response.topics {
                let mut partitions = topic.partitions.walk();
                while let Some(partition) = partitions.lend_next() {
                    sum += partition.replica_nodes.iter().map(i64::from).sum::<i64>();
                }
            }
            sum
        });
    });
    group.bench_function("kafka-protocol: decode", |bencher| {
        bencher.iter(|| -> TheirMetadataResponse { theirs(black_box(&frame), 1, METADATA) });
    });
    group.finish();
}

fn produce(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("produce request of ten 16 KiB batches");
    let request = produce_request();
    group.bench_function("encode into a kept buffer", |bencher| {
        let mut room = Some(Writer::new());
        bencher.iter(|| {
            let mut writer: Writer<'_> = room.take().unwrap_or_default();
            encode_request_into(&mut writer, black_box(&request), PRODUCE, 7, Some("milena")).unwrap();
            black_box(writer.chunks());
            room = Some(writer.recycle(1 << 16));
        });
    });
    group.bench_function("encode and list the slices", |bencher| {
        let mut room = Some(Writer::new());
        bencher.iter(|| {
            let mut writer: Writer<'_> = room.take().unwrap_or_default();
            encode_request_into(&mut writer, black_box(&request), PRODUCE, 7, Some("milena")).unwrap();
            let len: usize = writer.chunks().slices().map(|slice| black_box(slice).len()).sum();
            room = Some(writer.recycle(1 << 16));
            len
        });
    });
    group.bench_function("encode to a frame that shares the batches", |bencher| {
        let client_id = ByteString::from_static("milena");
        bencher.iter(|| encode_request(black_box(&request), PRODUCE, 7, Some(client_id.clone())).unwrap());
    });
    group.bench_function("measure", |bencher| {
        bencher.iter(|| black_box(&request).encoded_len(PRODUCE).unwrap());
    });

    let client_id = Some(ByteString::from_static("milena"));
    let frame = encode_request(&request, PRODUCE, 7, client_id).unwrap().to_bytes().slice(4..);
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_request(black_box(&frame)).unwrap());
    });
    let mut rest = frame.clone();
    let header = TheirRequestHeader::decode(&mut rest, 2).unwrap();
    assert_eq!(header.client_id, Some(StrBytes::from_static_str("milena")));
    let their_request = TheirProduceRequest::decode(&mut rest, PRODUCE).unwrap();
    group.bench_function("kafka-protocol: encode into a kept buffer", |bencher| {
        let mut buffer = BytesMut::with_capacity(2 * frame.len());
        bencher.iter(|| {
            buffer.clear();
            header.encode(&mut buffer, 2).unwrap();
            black_box(&their_request).encode(&mut buffer, PRODUCE).unwrap();
            black_box(&buffer);
        });
    });
    group.bench_function("kafka-protocol: decode", |bencher| {
        bencher.iter(|| {
            let mut rest = black_box(&frame).clone();
            let header = TheirRequestHeader::decode(&mut rest, 2).unwrap();
            (header, TheirProduceRequest::decode(&mut rest, PRODUCE).unwrap())
        });
    });
    group.finish();
}

criterion_group!(benches, fetch, metadata, produce);
criterion_main!(benches);
