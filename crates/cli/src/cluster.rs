//! What the commands that look after a cluster have in common.

use std::time::Duration;

use anyhow::anyhow;
use milena::{Admin, AdminError, Client, ErrorCode};
use serde_json::Value;

use crate::{
    advised::advised,
    connect::{connect, near},
    output::print,
    security::Security,
};

/// Which cluster, and how to tell of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Cluster {
    /// The cluster, as host:port[,host:port…]
    #[arg(short, long, value_name = "HOST:PORT")]
    bootstrap: String,
    /// How long the cluster may take to answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Prints an object of JSON a line, for scripts
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    security: Security,
}

impl Cluster {
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        connect(&self.bootstrap, &self.security, "milena-cli", "name another one with --bootstrap").await
    }

    pub(crate) async fn admin(&self) -> anyhow::Result<Admin> {
        Ok(self.connect().await?.admin().timeout(self.timeout()))
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl Cluster {
    /// Tells what was done: as an object for scripts, or in words.
    pub(crate) fn tell(&self, object: Value, words: &str) -> anyhow::Result<()> {
        if self.json { print_json([object]) } else { print(&format!("{words}\n")) }
    }
}

pub(crate) fn print_json(lines: impl IntoIterator<Item = Value>) -> anyhow::Result<()> {
    print(&lines.into_iter().map(|line| line.to_string() + "\n").collect::<String>())
}

/// The error, with the groups that may have been meant when there is none of that name.
pub(crate) async fn about_group(admin: &Admin, group: &str, error: AdminError) -> anyhow::Error {
    match error.code() {
        Some(ErrorCode::GROUP_ID_NOT_FOUND) => {
            let groups = admin.groups().await.unwrap_or_default().groups;
            let near = near(group, groups.iter().map(|group| &*group.id));
            let advice = match near.as_slice() {
                [] => "`milena groups list` tells which ones there are".to_owned(),
                near => format!("one that is close to it: {}", near.join(", ")),
            };
            advised(anyhow!("the cluster has no group {group}"), advice)
        }
        Some(
            ErrorCode::NON_EMPTY_GROUP | ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
        ) => advised(
            error,
            "stop the members of the group first; `milena groups describe` tells where they are",
        ),
        _ => error.into(),
    }
}

/// The error, with the topics that may have been meant when there is none of that name.
pub(crate) async fn about_topic(admin: &Admin, topic: &str, error: AdminError) -> anyhow::Error {
    if error.code() != Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
        return error.into();
    }
    let topics = admin.topics().await.unwrap_or_default();
    let near = near(topic, topics.iter().map(|topic| &*topic.name));
    let advice = match near.as_slice() {
        [] => "`milena topics list` tells which ones there are".to_owned(),
        near => format!("one that is close to it: {}", near.join(", ")),
    };
    advised(anyhow!("the cluster has no topic {topic}"), advice)
}
