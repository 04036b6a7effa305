//! What records take, and what is done about it.

use milena_protocol::ApiKey;

use super::{
    Script, asked,
    batches::{at, data as batch, zeros},
    data, fetched, from_the_start as config,
};
use crate::{ConsumerConfig, PartitionRecords};

/// Room for a fetch of one partition and no second one.
fn narrow() -> ConsumerConfig {
    ConsumerConfig { max_partition_fetch_bytes: 400, max_buffered_bytes: 600, ..config() }
}

/// Bytes of a batch of 25 records.
fn batch_len() -> usize {
    batch(None, 25).len()
}

#[test]
fn records_that_the_application_keeps_take_memory() {
    let mut script = Script::reading(narrow(), &[0]);
    let (id, request) = script.fetch_of(1);
    assert_eq!(request.max_bytes, 400);
    assert_eq!(script.consumer.held_bytes(), 400, "what may come is counted from the start");
    script.answer(id, fetched([data(0, &[at(0, 5, batch(None, 25))])]));
    assert!(batch_len() > 200, "else there would be room for another");
    assert_eq!(script.consumer.held_bytes(), batch_len());
    let kept = script.take(100);
    assert_eq!(kept[0].len(), 25);
    assert_eq!(script.consumer.held_bytes(), batch_len());
    assert!(!script.waits_for(ApiKey::Fetch), "the records are still there");
    // A single record keeps them all.
    let record = kept[0].to_records().next().unwrap();
    drop(kept);
    assert!(!script.waits_for(ApiKey::Fetch));
    drop(record);
    assert_eq!(script.consumer.held_bytes(), 0);
    assert_eq!(asked(&script.fetch_of(1).1), [(0, 25)]);
}

#[test]
fn an_application_that_keeps_everything_and_waits_is_given_more() {
    let mut script = Script::reading(narrow(), &[0]);
    let mut kept = Vec::new();
    for turn in 0..10 {
        let (id, request) = script.fetch_of(1);
        assert_eq!(request.max_bytes, 400);
        script.answer(id, fetched([data(0, &[at(turn * 25, 5, batch(None, 25))])]));
        kept.extend(script.take(100));
        assert!(!script.waits_for(ApiKey::Fetch), "it is busy");
        script.consumer.application_waits(script.now());
    }
    assert_eq!(kept.iter().map(PartitionRecords::len).sum::<usize>(), 250);
}

/// An answer is one piece of memory: what is left of it in one partition holds what the others have had.
#[test]
fn an_answer_is_counted_until_its_last_batch_is_read() {
    let config = ConsumerConfig { max_partition_fetch_bytes: 400, max_buffered_bytes: 900, ..config() };
    let mut script = Script::reading(config, &[0, 0]);
    let (id, _) = script.fetch_of(1);
    let both = [0, 1].map(|partition| data(partition, &[at(0, 5, batch(None, 25))]));
    script.answer(id, fetched(both));
    assert_eq!(script.taken(25).len(), 1);
    assert_eq!(script.consumer.held_bytes(), 2 * batch_len());
    assert!(!script.waits_for(ApiKey::Fetch));
    assert_eq!(script.taken(25).len(), 1);
    assert!(script.waits_for(ApiKey::Fetch));
    assert_eq!(script.consumer.held_bytes(), 400, "what may come");
}

/// With a batch of each partition decompressed, memory would grow with the partitions: those that are begun are read to
/// their end first.
#[test]
fn partitions_do_not_each_keep_a_decompressed_batch() {
    let (compressed, len) = zeros(100, 1_000);
    let limit = 2 * len + 6 * compressed.len();
    let bytes = i32::try_from(compressed.len()).unwrap();
    let config = ConsumerConfig { max_partition_fetch_bytes: bytes, max_buffered_bytes: limit, ..config() };
    let mut script = Script::reading(config, &[0; 3]);
    let (id, _) = script.fetch_of(1);
    let all = (0..3).map(|partition| data(partition, &[at(0, 5, compressed.clone())]));
    script.answer(id, fetched(all));
    let mut seen = [0; 3];
    for _ in 0..60 {
        for (partition, offsets) in script.taken(5) {
            let seen = &mut seen[usize::try_from(partition).unwrap()];
            assert!(offsets.iter().all(|offset| { std::mem::replace(seen, *offset + 1) == *offset }));
        }
        let held = script.consumer.held_bytes();
        assert!(held <= limit, "{held} of {limit}");
    }
    assert_eq!(seen, [100; 3], "all of them come to their end");
}

/// However little memory there is, one batch is opened.
#[test]
fn a_batch_larger_than_the_memory_is_read_all_the_same() {
    let (compressed, len) = zeros(100, 1_000);
    let config = ConsumerConfig { max_buffered_bytes: len / 2, ..config() };
    let mut script = Script::reading(config, &[0, 0]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([0, 1].map(|partition| data(partition, &[at(0, 5, compressed.clone())]))));
    let first = script.taken(60);
    assert_eq!(first.len(), 1);
    let (read, rest) = (first[0].0, script.taken(60));
    assert_eq!(rest[0].0, read, "the other partition waits for the memory");
    assert_eq!((rest[0].1.len(), rest.len()), (40, 1));
    assert_eq!(script.taken(100)[0].0, 1 - read);
}

/// Where a single batch is more than the memory, the next one is not asked for before it is dropped or waited for.
#[test]
fn what_is_decompressed_leaves_no_room_to_fetch() {
    let (compressed, len) = zeros(100, 1_000);
    let config = ConsumerConfig { max_buffered_bytes: len / 2, ..config() };
    let mut script = Script::reading(config, &[0]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([data(0, &[at(0, 5, compressed)])]));
    let kept = script.take(100);
    assert_eq!((kept[0].len(), script.consumer.held_bytes()), (100, len));
    assert!(!script.waits_for(ApiKey::Fetch));
    script.consumer.application_waits(script.now());
    assert_eq!(script.fetch_of(1).1.max_bytes, 1);
}

#[test]
fn less_memory_takes_away_what_is_here_and_it_is_fetched_again() {
    let config = ConsumerConfig { max_partition_fetch_bytes: 400, max_buffered_bytes: 5_000, ..config() };
    let mut script = Script::reading(config, &[0, 0]);
    let (id, _) = script.fetch_of(1);
    script.answer(id, fetched([0, 1].map(|partition| data(partition, &[at(0, 5, batch(None, 25))]))));
    assert_eq!(script.taken(5).len(), 1);
    let (id, _) = script.fetch_of(1);
    script.consumer.set_max_buffered_bytes(script.now(), 450);
    assert_eq!(script.consumer.held_bytes(), 800, "only what is on its way");
    // It was asked for when there was room.
    script.answer(id, fetched([0, 1].map(|partition| data(partition, &[at(25, 5, batch(None, 25))]))));
    assert!(script.consumer.held_bytes() <= 450, "{}", script.consumer.held_bytes());
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (id, request) = script.fetch_of(1);
        assert!(request.max_bytes <= 450, "{}", request.max_bytes);
        let (partition, offset) = asked(&request)[0];
        assert_eq!(script.position(partition), Some(offset));
        script.answer(id, fetched([data(partition, &[at(0, 5, batch(None, 25))])]));
        seen.extend(script.taken(100));
    }
    seen.sort();
    assert_eq!(seen[0], (0, (5..25).collect()));
    assert!(seen.contains(&(1, (0..25).collect())), "{seen:?}");
}
