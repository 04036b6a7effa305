//! Whether the topic is there, before anything is read.

use std::time::Duration;

use anyhow::anyhow;
use milena::{Client, ErrorCode};
use tokio::time::Instant;

use crate::{advised::advised, connect::near};

/// How long a topic may be unknown: brokers hear of a new one a moment after it was created.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Insists on the topic, and on the partition if one is named.
pub(super) async fn insist(client: &Client, topic: &str, partition: Option<i32>) -> anyhow::Result<()> {
    let admin = client.admin();
    let deadline = Instant::now() + PATIENCE;
    let described = loop {
        match admin.describe_topic(topic).await {
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => {
                if Instant::now() >= deadline {
                    return Err(unknown(client, topic).await);
                }
            }
            described => break described?,
        }
        tokio::time::sleep(PAUSE).await;
    };
    let count = described.partitions.len();
    match partition.filter(|partition| usize::try_from(*partition).is_ok_and(|index| index >= count)) {
        None => Ok(()),
        Some(partition) => {
            let error = anyhow!("the topic {topic} has no partition {partition}");
            Err(advised(error, format!("--partition from 0 to {}", count.saturating_sub(1))))
        }
    }
}

/// The error, with the topics that may have been meant.
async fn unknown(client: &Client, topic: &str) -> anyhow::Error {
    let topics = client.admin().topics().await.unwrap_or_default();
    let near = near(topic, topics.iter().map(|topic| &*topic.name));
    let advice = match near.as_slice() {
        [] => "create it first, or name another one with --topic".to_owned(),
        near => format!("create it first, or name one that is close to it: {}", near.join(", ")),
    };
    advised(anyhow!("the cluster has no topic {topic}"), advice)
}
