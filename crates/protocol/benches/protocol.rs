//! What the hot path costs: records into batches and out of them.
//!
//! `just bench-protocol` runs it. Times are of this machine at this moment: compare figures of one run only.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark is read by whoever runs it")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use milena_protocol::records::{BatchBuilder, Batches, Compression, ProducerStamp, ReadOptions};

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

criterion_group!(benches, records);
criterion_main!(benches);
