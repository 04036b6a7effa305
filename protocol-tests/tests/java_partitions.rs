//! Keys go to the partitions that Kafka's own producer picks.
#![allow(clippy::unwrap_used, reason = "tests state their expectations by unwrapping")]

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use flate2::read::GzDecoder;
use milena_producer::{murmur2, partition_for_key};

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/murmur2/keys.txt.gz");

#[test]
fn ten_thousand_keys_hash_and_go_where_javas_do() {
    let mut keys = 0;
    for line in BufReader::new(GzDecoder::new(File::open(KEYS).unwrap())).lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let hex = words.next().unwrap();
        let digits = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let key: Vec<u8> = digits.collect();
        assert_eq!(murmur2(&key).cast_signed(), words.next().unwrap().parse().unwrap(), "{hex}");
        for count in [1, 6, 12, 1_000] {
            let partition: usize = words.next().unwrap().parse().unwrap();
            assert_eq!(partition_for_key(&key, count), partition, "{hex} of {count}");
        }
        assert_eq!(words.next(), None);
        keys += 1;
    }
    assert_eq!(keys, 10_000);
}
