//! What a group has committed, before and while its member reads.

use std::collections::BTreeSet;

use anyhow::anyhow;
use milena::{Admin, AutoOffsetReset, ConsumeError, ConsumerError, IsolationLevel, TopicPartition};

use crate::advised::advised;

use super::{
    plan::{self, Survey},
    start::Start,
};

/// Insists that the group has committed where to go on, in every partition.
pub(super) async fn insist_on_offsets(
    admin: &Admin,
    group: &str,
    partitions: &BTreeSet<TopicPartition>,
) -> anyhow::Result<()> {
    let mut committed = admin.group_offsets(group).await?;
    for partition in partitions {
        match committed.remove(partition) {
            Some(offset) => drop(offset?),
            None => return Err(nothing_committed(group, partition)),
        }
    }
    Ok(())
}

fn nothing_committed(group: &str, partition: &TopicPartition) -> anyhow::Error {
    let error = anyhow!("the group {group} has committed nothing for {partition}");
    advised(error, "--from beginning or --from end says where to start where nothing is committed")
}

/// Where a member goes on where nothing is committed.
pub(super) fn reset(start: Start) -> AutoOffsetReset {
    match start {
        Start::Beginning => AutoOffsetReset::Earliest,
        Start::End => AutoOffsetReset::Latest,
        _ => AutoOffsetReset::None,
    }
}

/// The error, with what to do about it.
pub(super) async fn explained(admin: &Admin, group: Option<&str>, error: ConsumeError) -> anyhow::Error {
    match (error.kind(), group) {
        (ConsumerError::NoOffset { partition }, Some(group)) => nothing_committed(group, partition),
        (ConsumerError::OffsetOutOfRange { partition, offset }, Some(group)) => {
            let one = BTreeSet::from([partition.clone()]);
            let isolation = IsolationLevel::ReadUncommitted;
            let logs = Survey { admin, partitions: &one, isolation }.logs().await.ok();
            let range = logs.and_then(|logs| logs.get(partition).copied());
            let range = range.map_or_else(String::new, |plan::Log { first, end }| {
                format!(", which goes from {first} to {end}")
            });
            let error = anyhow!(
                "the group {group} goes on at offset {offset} of {partition}, which is not in the log{range}"
            );
            advised(error, format!("`milena offsets reset {group}` sets where it goes on"))
        }
        _ => error.into(),
    }
}
