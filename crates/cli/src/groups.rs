//! `milena groups`: the groups of a cluster and their members.

use std::process::ExitCode;

use clap::Subcommand;
use milena::{GroupDescription, GroupListings};
use serde_json::json;

use crate::{
    cluster::{Cluster, about_group, print_json},
    output::print,
    table::{Table, or_none},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Lists all groups. Ends with 1 when a broker did not tell of its own
    List {
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Shows a group's members and what each reads
    Describe {
        #[command(flatten)]
        cluster: Cluster,
        /// The group
        group: String,
    },
    /// Deletes groups that have no members, with what they committed
    Delete {
        #[command(flatten)]
        cluster: Cluster,
        /// The groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.verb {
        Verb::List { cluster } => list(&cluster.admin().await?.groups().await?, cluster.json),
        Verb::Describe { cluster, group } => {
            let admin = cluster.admin().await?;
            match admin.describe_group(group.as_str()).await {
                Ok(described) => describe(&described, cluster.json),
                Err(error) => Err(about_group(&admin, &group, error).await),
            }
        }
        Verb::Delete { cluster, groups } => delete(&cluster, &groups).await,
    }
}

fn list(listings: &GroupListings, is_json: bool) -> anyhow::Result<ExitCode> {
    if is_json {
        let groups = listings.groups.iter().map(|group| {
            json!({
                "group": &*group.id, "type": group.group_type.to_string(), "state": &*group.state,
                "protocol_type": &*group.protocol_type,
            })
        });
        let errors = listings.errors.iter();
        let errors = errors.map(|(broker, error)| json!({ "broker": broker.0, "error": error.to_string() }));
        print_json(groups.chain(errors))?;
    } else {
        let mut table = Table::new(&["GROUP", "TYPE", "STATE", "PROTOCOL"]);
        for group in &listings.groups {
            let words = [&group.state, &group.protocol_type]
                .map(|word| or_none(Some(word).filter(|it| !it.is_empty())));
            let [state, protocol] = words;
            table.row([group.id.to_string(), group.group_type.to_string(), state, protocol]);
        }
        let mut text = table.text();
        for (broker, error) in &listings.errors {
            text += &format!("broker {}: {error}\n", broker.0);
        }
        print(&text)?;
    }
    Ok(ExitCode::from(u8::from(!listings.errors.is_empty())))
}

fn describe(group: &GroupDescription, is_json: bool) -> anyhow::Result<ExitCode> {
    if is_json {
        let members = group.members.iter().map(|member| {
            let assignment = member.assignment.iter();
            let assignment: Vec<_> = assignment
                .map(|it| json!({ "topic": &*it.topic, "partition": it.partition }))
                .collect();
            json!({
                "member": &*member.id, "instance": member.instance_id.as_deref(), "client": &*member.client_id,
                "host": &*member.host, "assignment": assignment,
            })
        });
        print_json([json!({
            "group": &*group.id, "type": group.group_type.to_string(), "state": &*group.state,
            "assignor": &*group.assignor, "epoch": group.epoch, "coordinator": group.coordinator.0,
            "members": members.collect::<Vec<_>>(),
        })])?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{}: {}, {}", group.id, group.group_type, group.state);
    if !group.assignor.is_empty() {
        text += &format!(", assignor {}", group.assignor);
    }
    text += &format!(", coordinated by broker {}\n", group.coordinator.0);
    if !group.members.is_empty() {
        let mut table = Table::new(&["MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS"]);
        for member in &group.members {
            let partitions: Vec<_> = member.assignment.iter().map(ToString::to_string).collect();
            table.row([
                member.id.to_string(),
                or_none(member.instance_id.as_deref()),
                member.client_id.to_string(),
                member.host.to_string(),
                or_none(Some(partitions.join(" ")).filter(|it| !it.is_empty())),
            ]);
        }
        text += &table.text();
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn delete(cluster: &Cluster, groups: &[String]) -> anyhow::Result<ExitCode> {
    let admin = cluster.admin().await?;
    for group in groups {
        if let Err(error) = admin.delete_group(group.as_str()).await {
            return Err(about_group(&admin, group, error).await);
        }
        cluster.tell(json!({ "group": group, "deleted": true }), &format!("deleted the group {group}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
