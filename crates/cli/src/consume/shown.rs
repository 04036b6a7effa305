//! A record as it is shown, in text or in JSON.

use milena::{Headers, PartitionRecords, TopicPartition};

/// A record's fields, all borrowed.
#[derive(Clone, Debug)]
pub(super) struct Shown<'a, H = Headers<'a>> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: H,
}

/// The records of a partition.
pub(super) fn shown(records: &PartitionRecords) -> impl Iterator<Item = Shown<'_>> {
    let TopicPartition { topic, partition } = records.partition();
    records.iter().map(move |view| Shown {
        topic,
        partition: *partition,
        offset: view.offset(),
        timestamp: view.timestamp(),
        key: view.key(),
        value: view.value(),
        headers: view.headers(),
    })
}
