//! `milena topics`: the topics of a cluster.

use std::process::ExitCode;

use clap::Subcommand;
use milena::{Admin, BrokerId, ConfigEntry, NewTopic, TopicDescription};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, about_topic, print_json},
    output::{counted, print},
    table::{Table, or_none},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Lists the topics
    List {
        #[command(flatten)]
        cluster: Cluster,
        /// Lists those of Kafka itself, too
        #[arg(long)]
        internal: bool,
    },
    /// Shows where the partitions of a topic are, and its settings
    Describe {
        #[command(flatten)]
        cluster: Cluster,
        /// The topic
        topic: String,
        /// Shows the settings that are the cluster's, too
        #[arg(long)]
        all_settings: bool,
    },
    /// Creates a topic
    Create {
        #[command(flatten)]
        cluster: Cluster,
        /// The topic
        topic: String,
        /// How many partitions; by default as many as the cluster gives
        #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// On how many brokers each partition lies; by default as the cluster says
        #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A setting, such as retention.ms=3600000; may be repeated
        #[arg(short, long = "set", value_name = "NAME=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
    /// Gives a topic more partitions. Keys are placed anew by that
    Grow {
        #[command(flatten)]
        cluster: Cluster,
        /// The topic
        topic: String,
        /// How many it has then
        #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
    },
    /// Changes settings of a topic, all of these or none
    Set {
        #[command(flatten)]
        cluster: Cluster,
        /// The topic
        topic: String,
        /// Settings as NAME=VALUE, or NAME= for the cluster's value
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = setting)]
        settings: Vec<(String, String)>,
    },
    /// Deletes topics with all their records
    Delete {
        #[command(flatten)]
        cluster: Cluster,
        /// The topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
    },
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if name.is_empty() {
        Err("expected NAME=VALUE".to_owned())
    } else {
        Ok((name.to_owned(), value.to_owned()))
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.verb {
        Verb::List { cluster, internal } => list(&cluster, internal).await?,
        Verb::Describe { cluster, topic, all_settings } => describe(&cluster, &topic, all_settings).await?,
        Verb::Create { cluster, topic, partitions, replication_factor, settings } => {
            let mut new = NewTopic::new(topic.as_str());
            if let Some(partitions) = partitions {
                new = new.partitions(partitions);
            }
            if let Some(factor) = replication_factor {
                new = new.replication_factor(factor);
            }
            let new = settings.into_iter().fold(new, |new, (name, value)| new.config(name, value));
            cluster.admin().await?.create_topic(new).await?;
            cluster
                .tell(json!({ "topic": topic, "created": true }), &format!("created the topic {topic}"))?;
        }
        Verb::Grow { cluster, topic, partitions } => {
            let admin = cluster.admin().await?;
            let grown = admin.create_partitions(topic.as_str(), partitions).await;
            explained(&admin, &topic, grown).await?;
            let words =
                format!("the topic {topic} has {}", counted(partitions.unsigned_abs().into(), "partition"));
            cluster.tell(json!({ "topic": topic, "partitions": partitions }), &words)?;
        }
        Verb::Set { cluster, topic, settings } => {
            let admin = cluster.admin().await?;
            let changes = settings.into_iter().map(|(name, value)| {
                (name.into(), Some(value).filter(|value| !value.is_empty()).map(Into::into))
            });
            let changed = admin.alter_topic_configs(topic.as_str(), changes).await;
            explained(&admin, &topic, changed).await?;
            let words = format!("changed settings of the topic {topic}");
            cluster.tell(json!({ "topic": topic, "changed": true }), &words)?;
        }
        Verb::Delete { cluster, topics } => {
            let admin = cluster.admin().await?;
            for topic in topics {
                explained(&admin, &topic, admin.delete_topic(topic.as_str()).await).await?;
                cluster.tell(
                    json!({ "topic": topic, "deleted": true }),
                    &format!("deleted the topic {topic}"),
                )?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn explained<T>(
    admin: &Admin,
    topic: &str,
    result: Result<T, milena::AdminError>,
) -> anyhow::Result<T> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => Err(about_topic(admin, topic, error).await),
    }
}

async fn list(cluster: &Cluster, internal: bool) -> anyhow::Result<()> {
    let topics = cluster.admin().await?.topics().await?;
    let topics: Vec<_> = topics.iter().filter(|topic| internal || !topic.is_internal).collect();
    if cluster.json {
        return print_json(topics.iter().map(|topic| {
            json!({
                "topic": &*topic.name, "partitions": topic.partitions.len(),
                "replication_factor": replication_factor(topic), "internal": topic.is_internal,
            })
        }));
    }
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "REPLICAS"]);
    for topic in topics {
        table.row([
            topic.name.to_string(),
            topic.partitions.len().to_string(),
            or_none(replication_factor(topic)),
        ]);
    }
    print(&table.text())
}

fn replication_factor(topic: &TopicDescription) -> Option<usize> {
    topic.partitions.first().map(|partition| partition.replicas.len())
}

async fn describe(cluster: &Cluster, topic: &str, all_settings: bool) -> anyhow::Result<()> {
    let admin = cluster.admin().await?;
    let described = explained(&admin, topic, admin.describe_topic(topic).await).await?;
    let settings = explained(&admin, topic, admin.topic_configs(topic).await).await?;
    let settings: Vec<_> = settings.into_iter().filter(|setting| all_settings || setting.is_set).collect();
    if cluster.json {
        return print_json([object(&described, &settings)]);
    }
    let id = described.id.map(|id| format!(" ({id})")).unwrap_or_default();
    let mut text = format!("{}{id}\n", described.name);
    let mut table = Table::new(&["PARTITION", "LEADER", "REPLICAS", "IN SYNC", "OFFLINE"]);
    for partition in &described.partitions {
        table.row([
            partition.partition.to_string(),
            or_none(partition.leader.map(|leader| leader.0)),
            numbers(&partition.replicas),
            numbers(&partition.in_sync),
            numbers(&partition.offline),
        ]);
    }
    text += &table.text();
    for setting in &settings {
        text += &format!("{}={}\n", setting.name, setting.value.as_deref().unwrap_or("(secret)"));
    }
    print(&text)
}

fn numbers(brokers: &[BrokerId]) -> String {
    let numbers: Vec<_> = brokers.iter().map(|broker| broker.0.to_string()).collect();
    or_none(Some(numbers.join(" ")).filter(|numbers| !numbers.is_empty()))
}

fn object(topic: &TopicDescription, settings: &[ConfigEntry]) -> Value {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.0).collect::<Vec<_>>();
    let partitions = topic.partitions.iter().map(|partition| {
        json!({
            "partition": partition.partition, "leader": partition.leader.map(|leader| leader.0),
            "leader_epoch": partition.leader_epoch, "replicas": ids(&partition.replicas),
            "in_sync": ids(&partition.in_sync), "offline": ids(&partition.offline),
        })
    });
    let settings = settings.iter().map(
        |setting| json!({ "name": &*setting.name, "value": setting.value.as_deref(), "set": setting.is_set }),
    );
    json!({
        "topic": &*topic.name, "id": topic.id.map(|id| id.to_string()), "internal": topic.is_internal,
        "partitions": partitions.collect::<Vec<_>>(), "settings": settings.collect::<Vec<_>>(),
    })
}
