//! What each codec costs, and what it saves, on batches of orders: a table on standard output.
//!
//! `just bench-compression` runs it. The figures are the best of many rounds, of this machine at this moment: compare
//! those of one run only. What is timed is sealing a batch and decoding it, header, CRC and all.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is read by whoever runs it"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use milena_protocol::records::{BatchBuilder, Batches, Codec, Compression, ProducerStamp, ReadOptions};

const ROUNDS_FOR: Duration = Duration::from_millis(400);
const SIZES: [(&str, usize); 2] = [("16 KiB", 16 << 10), ("1 MiB", 1 << 20)];
const NAMES: [&str; 8] = [
    "Espresso cup",
    "Notebook A5",
    "USB-C cable",
    "Desk lamp",
    "Water bottle",
    "Running socks",
    "Phone stand",
    "Wool scarf",
];
const CITIES: [&str; 6] = ["Berlin", "Lisbon", "Oslo", "Wien", "Tallinn", "Porto"];
const STATUS: [&str; 4] = ["CREATED", "PAID", "SHIPPED", "CANCELLED"];

/// A format of orders.
type Encode = fn(&Order) -> Vec<u8>;

struct Order {
    id: u128,
    customer: u32,
    created: i64,
    status: usize,
    city: usize,
    /// Article, name, quantity, cents.
    items: Vec<(u32, usize, u32, u32)>,
}

fn order(random: &mut fastrand::Rng, created: i64) -> Order {
    let items = 0..random.usize(1..5);
    Order {
        id: random.u128(..),
        customer: random.u32(0..20_000),
        created,
        status: random.usize(0..STATUS.len()),
        city: random.usize(0..CITIES.len()),
        items: items
            .map(|_| {
                let name = random.usize(0..NAMES.len());
                (random.u32(0..5000), name, random.u32(1..5), random.u32(99..20_000))
            })
            .collect(),
    }
}

fn json(order: &Order) -> Vec<u8> {
    let items = order.items.iter().map(|(article, name, quantity, cents)| {
        let (name, euros, cents) = (NAMES[*name], cents / 100, cents % 100);
        format!("{{\"sku\":\"SKU-{article:06}\",\"name\":\"{name}\",\"quantity\":{quantity},\"price\":{euros}.{cents:02}}}")
    });
    let items = items.collect::<Vec<_>>().join(",");
    let Order { id, customer, created, status, city, .. } = order;
    let (status, city) = (STATUS[*status], CITIES[*city]);
    format!(
        "{{\"orderId\":\"{id:032x}\",\"customerId\":{customer},\"email\":\"user{customer}@example.org\",\
         \"createdAt\":{created},\"status\":\"{status}\",\"city\":\"{city}\",\"items\":[{items}]}}"
    )
    .into_bytes()
}

fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    long(out, text.len() as i64);
    out.extend_from_slice(text.as_bytes());
}

/// In Avro's binary encoding, behind the five bytes of a schema registry.
fn avro(order: &Order) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0, 7];
    text(&mut out, &format!("{:032x}", order.id));
    long(&mut out, order.customer.into());
    text(&mut out, &format!("user{}@example.org", order.customer));
    long(&mut out, order.created);
    long(&mut out, order.status as i64);
    text(&mut out, CITIES[order.city]);
    long(&mut out, order.items.len() as i64);
    for (article, name, quantity, cents) in &order.items {
        text(&mut out, &format!("SKU-{article:06}"));
        text(&mut out, NAMES[*name]);
        long(&mut out, (*quantity).into());
        out.extend_from_slice(&(f64::from(*cents) / 100.0).to_le_bytes());
    }
    out.push(0);
    out
}

fn batch(size: usize, encode: Encode) -> BatchBuilder {
    let mut random = fastrand::Rng::with_seed(1);
    let mut builder = BatchBuilder::with_capacity(size, size);
    let mut created = 1_790_000_000_000;
    loop {
        created += random.i64(0..40);
        let order = order(&mut random, created);
        let key = order.customer.to_string();
        if builder.append(created, Some(key.as_bytes()), Some(&encode(&order)), []).is_err() {
            return builder;
        }
    }
}

/// Megabytes a second.
fn rate(len: usize, mut round: impl FnMut() -> Duration) -> f64 {
    let begin = Instant::now();
    let mut best = round();
    while begin.elapsed() < ROUNDS_FOR {
        best = best.min(round());
    }
    len as f64 / best.as_secs_f64() / 1e6
}

fn seal(size: usize, encode: Encode, codec: Codec) -> (Duration, Bytes) {
    let builder = batch(size, encode);
    let begin = Instant::now();
    let sealed = black_box(builder.compress(codec).unwrap().stamp(ProducerStamp::NONE));
    (begin.elapsed(), sealed)
}

fn decode(sealed: &Bytes) -> Duration {
    let begin = Instant::now();
    let batch = Batches::new(sealed.clone()).next().unwrap().unwrap();
    black_box(batch.decode(&ReadOptions::default()).unwrap());
    begin.elapsed()
}

fn main() {
    let level = |compression, level| Codec::with_level(compression, level).unwrap();
    let codecs = [
        ("none", Compression::None.into()),
        ("gzip 1", level(Compression::Gzip, 1)),
        ("gzip 4 (default)", level(Compression::Gzip, 4)),
        ("gzip 6", level(Compression::Gzip, 6)),
        ("snappy", Compression::Snappy.into()),
        ("lz4", Compression::Lz4.into()),
        ("zstd -1", level(Compression::Zstd, -1)),
        ("zstd 1", level(Compression::Zstd, 1)),
        ("zstd 3", level(Compression::Zstd, 3)),
        ("zstd 4", level(Compression::Zstd, 4)),
    ];
    let formats: [(&str, Encode); 2] = [("JSON", json), ("Avro", avro)];
    println!("encode MB/s / decode MB/s (ratio)");
    let columns = formats.iter().flat_map(|(format, _)| SIZES.map(|(size, _)| format!("| {format} {size} ")));
    println!("| codec {}|\n|---|---|---|---|---|", columns.collect::<String>());
    for (name, codec) in codecs {
        let mut row = format!("| {name} ");
        for (_, encode) in formats {
            for (_, size) in SIZES {
                let len = batch(size, encode).uncompressed_len();
                let (_, sealed) = seal(size, encode, codec);
                let encoding = rate(len, || seal(size, encode, codec).0);
                let decoding = rate(len, || decode(&sealed));
                let ratio = len as f64 / sealed.len() as f64;
                row += &format!("| {encoding:.0} / {decoding:.0} ({ratio:.2}) ");
            }
        }
        println!("{row}|");
    }
}
