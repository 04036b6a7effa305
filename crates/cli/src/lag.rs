//! `milena lag`: how far groups are behind.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use milena::{Admin, AdminError, PartitionLag};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, about_group, print_json},
    output::{counted, grouped, print},
    stop::Stop,
    table::{Table, or_none},
};

const NOTES: &str = "\
Examples:
  milena lag -b localhost:9092 inventory email
  milena lag -b localhost:9092 inventory --watch
  milena lag -b localhost:9092 inventory --json | jq 'select(.lag == null or .lag > 1000)'

A partition that the group has committed nothing for has no lag: `-`, in JSON null. All partitions are shown of the topics
that the group has committed for or reads.

Ends with 0; with 1 when something of a partition is not known; with 2 when there is no such group, or no answer.";

/// Which groups, and whether once or on and on.
#[derive(clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The groups; they may be anybody's
    #[arg(value_name = "GROUP", required = true)]
    groups: Vec<String>,
    /// Looks again every so many seconds, 2 if nothing is said, until it is interrupted
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let admin = arguments.cluster.admin().await?;
    let Some(seconds) = arguments.watch else {
        return Ok(ExitCode::from(u8::from(!look(&admin, &arguments).await?)));
    };
    let stop = Stop::on_signals()?;
    let watching = async {
        loop {
            look(&admin, &arguments).await?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    };
    tokio::select! {
        () = stop.more_than(0) => Ok(ExitCode::SUCCESS),
        ended = watching => ended,
    }
}

/// Looks once, and prints. True when all is known.
async fn look(admin: &Admin, arguments: &Arguments) -> anyhow::Result<bool> {
    let mut lags = Vec::new();
    for group in &arguments.groups {
        match admin.group_lag(group.as_str()).await {
            Ok(found) => lags.extend(found.into_iter().map(|lag| (group.as_str(), lag))),
            Err(error) => return Err(about_group(admin, group, error).await),
        }
    }
    if arguments.cluster.json {
        print_json(lags.iter().map(|(group, lag)| object(group, lag)))?;
    } else {
        // A terminal shows one table, at the same place.
        let clear = arguments.watch.is_some() && std::io::stdout().is_terminal();
        print(&format!("{}{}", if clear { "\x1b[H\x1b[2J" } else { "" }, table(&lags)))?;
    }
    Ok(lags.iter().all(|(_, lag)| error(lag).is_none()))
}

fn committed(lag: &PartitionLag) -> Option<i64> {
    Some(lag.committed.as_ref().ok()?.as_ref()?.position.offset)
}

/// What is not known, and why.
fn error(lag: &PartitionLag) -> Option<&AdminError> {
    lag.committed.as_ref().err().or(lag.end.as_ref().err())
}

fn object(group: &str, lag: &PartitionLag) -> Value {
    json!({
        "group": group,
        "topic": &*lag.partition.topic,
        "partition": lag.partition.partition,
        "committed": committed(lag),
        "end": lag.end.as_ref().ok(),
        "lag": lag.lag(),
        "member": lag.member.as_deref(),
        "error": error(lag).map(ToString::to_string),
    })
}

fn table(lags: &[(&str, PartitionLag)]) -> String {
    let mut table = Table::new(&["GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"]);
    for (group, lag) in lags {
        table.row([
            (*group).to_owned(),
            lag.partition.topic.to_string(),
            lag.partition.partition.to_string(),
            or_none(committed(lag)),
            or_none(lag.end.as_ref().ok()),
            or_none(lag.lag()),
            or_none(lag.member.as_deref()),
        ]);
    }
    let mut text = table.text();
    let total = lags.iter().filter_map(|(_, lag)| lag.lag()).sum::<i64>();
    text += &format!("{} behind", grouped(u64::try_from(total).unwrap_or_default()));
    let without = lags.iter().filter(|(_, lag)| matches!(lag.committed, Ok(None))).count();
    if without > 0 {
        text += &format!("; {} without a commit", counted(without as u64, "partition"));
    }
    text.push('\n');
    for (_, lag) in lags {
        if let Some(error) = error(lag) {
            text += &format!("{}: {error}\n", lag.partition);
        }
    }
    text
}
