//! The records: orders in JSON, drawn from a seed, the same for all peers.

use std::{fmt::Write as _, fs, path::Path};

use bytes::Bytes;

use crate::case::Case;

/// More than any codec's window, so that nothing is compressed by having been seen whole before.
const POOL_BYTES: usize = 8 << 20;
const CUSTOMERS: u32 = 20_000;
const SEED: u64 = 20_261_127;

const CITIES: [&str; 6] = ["Berlin", "Lisbon", "Oslo", "Wien", "Tallinn", "Porto"];
const STATUS: [&str; 4] = ["CREATED", "PAID", "SHIPPED", "CANCELLED"];
const NAMES: [&str; 6] =
    ["Espresso cup", "Notebook A5", "USB-C cable", "Desk lamp", "Water bottle", "Wool scarf"];

static NOTHING: (Bytes, Bytes) = (Bytes::new(), Bytes::new());

/// A pool of keys and values, one behind the other in memory as they are for the peers in other languages: where each were an
/// allocation of its own, waiting for memory would be most of what is measured. Peers go round it.
#[derive(Debug)]
pub(crate) struct Payloads {
    records: Vec<(Bytes, Bytes)>,
    keyed: bool,
}

impl Payloads {
    pub(crate) fn of(case: Case) -> Self {
        let mut random = fastrand::Rng::with_seed(SEED);
        let count = (POOL_BYTES / case.value.max(1)).max(1);
        let mut pool = Vec::new();
        let mut ends = Vec::with_capacity(count);
        for _ in 0..count {
            let customer = random.u32(..CUSTOMERS);
            pool.extend(format!("customer-{customer:04x}").bytes());
            let key_end = pool.len();
            pool.extend(value(&mut random, customer, case.value));
            ends.push((key_end, pool.len()));
        }
        let pool = Bytes::from(pool);
        let begins = std::iter::once(0).chain(ends.iter().map(|(_, end)| *end));
        let records = begins
            .zip(&ends)
            .map(|(begin, (key_end, end))| (pool.slice(begin..*key_end), pool.slice(*key_end..*end)))
            .collect();
        Self { records, keyed: case.keyed }
    }

    /// Nothing, for who only reads.
    pub(crate) fn none() -> Self {
        Self { records: Vec::new(), keyed: false }
    }

    /// The key and the value of the record with this number.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> (Option<&Bytes>, &Bytes) {
        // Who asks has a pool that is not empty.
        let (key, value) = self.records.get(index % self.records.len().max(1)).unwrap_or(&NOTHING);
        (self.keyed.then_some(key), value)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.records.len()
    }

    /// Writes the pool for the peers that are processes in other languages: key and value after key and value, without
    /// anything between, for all have the same length.
    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        let bytes: Vec<u8> =
            self.records.iter().flat_map(|(key, value)| [key.as_ref(), value.as_ref()].concat()).collect();
        fs::write(path, bytes)
    }
}

/// JSON, cut to `len` bytes.
fn value(random: &mut fastrand::Rng, customer: u32, len: usize) -> Vec<u8> {
    let pick = |random: &mut fastrand::Rng, of: &[&'static str]| of.get(random.usize(..of.len())).copied();
    let city = pick(random, &CITIES).unwrap_or_default();
    let status = pick(random, &STATUS).unwrap_or_default();
    let mut text = String::with_capacity(len + 128);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{{\"orderId\":\"{:08x}\",\"customerId\":{customer},\"status\":\"{status}\",\"city\":\"{city}\",\"cents\":{},\"items\":[",
        random.u32(..),
        random.u32(99..20_000),
    );
    while text.len() < len {
        let name = pick(random, &NAMES).unwrap_or_default();
        let _ = write!(
            text,
            "{{\"sku\":\"SKU-{:06}\",\"name\":\"{name}\",\"quantity\":{},\"price\":{}.{:02}}},",
            random.u32(..5000),
            random.u32(1..5),
            random.u32(1..200),
            random.u32(..100),
        );
    }
    text.truncate(len);
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_length_and_are_the_same_each_time() {
        let case: Case = "produce-100b-none-3p-key".parse().unwrap();
        let (one, other) = (Payloads::of(case), Payloads::of(case));
        assert!(one.len() > 80_000);
        for index in 0..1000 {
            let (key, value) = one.at(index);
            assert_eq!((key.unwrap().len(), value.len()), (13, 100));
            assert_eq!(other.at(index), (key, value));
        }
        assert_eq!(one.at(one.len()), one.at(0));
        assert_ne!(one.at(1), one.at(0));
    }

    #[test]
    fn payloads_compress_as_json_does() {
        use milena_protocol::records::{BatchBuilder, Compression, Header};
        let case: Case = "produce-1000b-none-3p-nokey".parse().unwrap();
        let payloads = Payloads::of(case);
        let mut builder = BatchBuilder::new(1 << 20);
        for index in 0..900 {
            builder.append(0, None, Some(payloads.at(index).1), std::iter::empty::<Header<'_>>()).unwrap();
        }
        let batch = builder.compress(Compression::Lz4).unwrap();
        let ratio = batch.uncompressed_len() as f64 / batch.len() as f64;
        assert!((2.0..6.0).contains(&ratio), "{ratio}");
    }
}
