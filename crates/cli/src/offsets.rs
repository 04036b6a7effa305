//! `milena offsets`: where groups go on reading.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    str::FromStr,
};

use anyhow::{anyhow, bail};
use clap::Subcommand;
use milena::{Admin, AdminError, IsolationLevel, OffsetSpec, Position, TopicPartition};
use serde_json::{Value, json};

use crate::{
    advised::advised,
    cluster::{Cluster, about_topic, print_json},
    output::{counted, print},
    table::{NONE, Table, or_none},
    timestamp,
};

const NOTES: &str = "\
Examples:
  # What would change, and nothing else
  milena offsets reset -b localhost:9092 inventory --topic orders --to earliest --dry-run
  # Everything since the morning again
  milena offsets reset -b localhost:9092 inventory --topic orders --to 2026-11-27T08:00:00Z
  # The last hundred of partition 3 again
  milena offsets reset -b localhost:9092 inventory --topic orders:3 --to -100

--to takes: earliest, latest; an offset; +N or -N, from what was committed; a time as above, @ and milliseconds since 1970, or how
long ago (90s, 15m, 2h, 7d): the first record that is not older, or the end. What is outside a partition is moved to its nearest end.

The group must have no members while its offsets change. Ends with 0 when all is set; with 1 when a partition is not; with 2
when nothing was done.";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sets where a group goes on reading
    Reset(Reset),
}

#[derive(clap::Args)]
#[command(after_help = NOTES)]
struct Reset {
    #[command(flatten)]
    cluster: Cluster,
    /// The group; one that there is none of is made
    group: String,
    /// A topic, with :PARTITION[,PARTITION…] some of it; may be repeated
    #[arg(short, long = "topic", value_name = "TOPIC", required_unless_present = "all_topics")]
    topics: Vec<Wanted>,
    /// All topics that the group has committed for
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    /// Where to: see below
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    to: Goal,
    /// Shows what would be set, and sets nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// A topic, or partitions of one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    topic: String,
    /// Empty for all.
    partitions: Vec<i32>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A topic's name has no colon.
        let Some((topic, partitions)) = text.split_once(':') else {
            return Ok(Self { topic: text.to_owned(), partitions: Vec::new() });
        };
        let number = |text: &str| text.parse().ok().filter(|number: &i32| *number >= 0);
        let partitions: Option<_> = partitions.split(',').map(number).collect();
        let partitions = partitions.ok_or("expected TOPIC or TOPIC:PARTITION[,PARTITION…]")?;
        Ok(Self { topic: topic.to_owned(), partitions })
    }
}

/// Where a group is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Earliest,
    Latest,
    Offset(i64),
    By(i64),
    Time(i64),
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}` is not a number of 64 bits"));
        match text.as_bytes() {
            b"earliest" => Ok(Self::Earliest),
            b"latest" => Ok(Self::Latest),
            [b'+' | b'-', ..] => number(text).map(Self::By),
            [b'@', ..] => timestamp::parse(text.trim_start_matches('@')).map(Self::Time),
            [first, ..] if first.is_ascii_digit() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                number(text).map(Self::Offset)
            }
            _ => timestamp::parse_or_ago(text).map(Self::Time).map_err(|_| {
                format!("`{text}` is none of earliest, latest, an offset, +N, -N, @MS, 15m (ago) and a time like 2026-11-27T09:30:00Z")
            }),
        }
    }
}

/// What becomes of a partition.
struct Change {
    before: Option<i64>,
    after: Result<i64, AdminError>,
}

type Changes = BTreeMap<TopicPartition, Change>;

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Verb::Reset(reset) = arguments.verb;
    let admin = reset.cluster.admin().await?;
    let group = reset.group.as_str();
    insist_on_no_members(&admin, group).await?;
    let committed = admin.group_offsets(group).await?;
    let mut before = BTreeMap::new();
    for (partition, committed) in committed {
        before.insert(partition, committed?.position.offset);
    }
    let partitions = match reset.all_topics {
        true => before.keys().cloned().collect(),
        false => named(&admin, &reset.topics).await?,
    };
    if partitions.is_empty() {
        bail!("the group {group} has committed nothing that could be reset: name topics with --topic");
    }
    let mut changes = plan(&admin, &before, partitions, reset.to).await?;
    if !reset.dry_run {
        let known = changes.iter().filter_map(|(partition, change)| {
            let offset = *change.after.as_ref().ok()?;
            Some((partition.clone(), Position { offset, leader_epoch: None }.into()))
        });
        let known: Vec<_> = known.collect();
        let set = admin.alter_group_offsets(group, known).await?;
        for (partition, result) in set {
            if let (Err(error), Some(change)) = (result, changes.get_mut(&partition)) {
                change.after = Err(error);
            }
        }
    }
    show(&reset, &changes)?;
    Ok(ExitCode::from(u8::from(changes.values().any(|change| change.after.is_err()))))
}

/// Refuses a group that has members.
pub(crate) async fn insist_on_no_members(admin: &Admin, group: &str) -> anyhow::Result<()> {
    match admin.describe_group(group).await {
        Ok(described) if !described.members.is_empty() => {
            let members = counted(described.members.len() as u64, "member");
            let error = anyhow!("the group {group} has {members}, which would commit over what is set");
            Err(advised(error, "stop them first; `milena groups describe` tells where they are"))
        }
        // What can't be described may still be set; the coordinator has the last word.
        _ => Ok(()),
    }
}

/// The partitions that are meant.
async fn named(admin: &Admin, topics: &[Wanted]) -> anyhow::Result<BTreeSet<TopicPartition>> {
    let mut partitions = BTreeSet::new();
    for wanted in topics {
        let described = match admin.describe_topic(wanted.topic.as_str()).await {
            Ok(described) => described,
            Err(error) => return Err(about_topic(admin, &wanted.topic, error).await),
        };
        let count = described.partitions.len();
        let all = described.partitions.iter().map(|it| it.partition);
        let all: BTreeSet<_> = all.collect();
        if let Some(missing) = wanted.partitions.iter().find(|number| !all.contains(number)) {
            bail!(
                "the topic {} has no partition {missing}, but {}",
                wanted.topic,
                counted(count as u64, "partition")
            );
        }
        let meant =
            if wanted.partitions.is_empty() { all } else { wanted.partitions.iter().copied().collect() };
        partitions
            .extend(meant.into_iter().map(|number| TopicPartition::new(described.name.clone(), number)));
    }
    Ok(partitions)
}

/// Where each partition would go on.
async fn plan(
    admin: &Admin,
    before: &BTreeMap<TopicPartition, i64>,
    partitions: BTreeSet<TopicPartition>,
    goal: Goal,
) -> anyhow::Result<Changes> {
    if let (Goal::By(_), Some(partition)) = (goal, partitions.iter().find(|it| !before.contains_key(it))) {
        bail!(
            "nothing is committed for {partition} that could be gone on from: use earliest, latest, an offset or a time"
        );
    }
    let ask = |spec| {
        let wanted: Vec<_> = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
        admin.list_offsets(wanted, IsolationLevel::ReadUncommitted)
    };
    let (starts, ends) = tokio::join!(ask(OffsetSpec::Earliest), ask(OffsetSpec::Latest));
    let by_time = match goal {
        Goal::Time(ms) => ask(OffsetSpec::AtOrAfter(ms)).await,
        _ => BTreeMap::new(),
    };
    let found = |map: &BTreeMap<TopicPartition, Result<milena::ListedOffset, AdminError>>,
                 partition: &TopicPartition| {
        map.get(partition).cloned().transpose().map(|listed| listed.and_then(|listed| listed.offset))
    };
    let changes = partitions.iter().map(|partition| {
        let before = before.get(partition).copied();
        let after = || {
            let start = found(&starts, partition)?.unwrap_or_default();
            let end = found(&ends, partition)?.unwrap_or(start);
            let goal = match goal {
                Goal::Earliest => start,
                Goal::Latest => end,
                Goal::Offset(offset) => offset,
                Goal::By(distance) => before.unwrap_or(start).saturating_add(distance),
                // No record is that new: what comes next is.
                Goal::Time(_) => found(&by_time, partition)?.unwrap_or(end),
            };
            Ok(goal.clamp(start, end.max(start)))
        };
        (partition.clone(), Change { before, after: after() })
    });
    Ok(changes.collect())
}

fn show(reset: &Reset, changes: &Changes) -> anyhow::Result<()> {
    if reset.cluster.json {
        return print_json(changes.iter().map(|(partition, change)| object(reset, partition, change)));
    }
    let mut table = Table::new(&["TOPIC", "PARTITION", "BEFORE", "AFTER"]);
    let mut errors = String::new();
    for (partition, Change { before, after }) in changes {
        table.row([
            partition.topic.to_string(),
            partition.partition.to_string(),
            or_none(*before),
            after.as_ref().map_or_else(|_| NONE.to_owned(), ToString::to_string),
        ]);
        if let Err(error) = after {
            errors += &format!("{partition}: {error}\n");
        }
    }
    let outcome = if reset.dry_run { "nothing was set (--dry-run)\n" } else { "" };
    print(&(table.text() + &errors + outcome))
}

fn object(reset: &Reset, partition: &TopicPartition, change: &Change) -> Value {
    json!({
        "group": reset.group,
        "topic": &*partition.topic,
        "partition": partition.partition,
        "before": change.before,
        "after": change.after.as_ref().ok(),
        "set": !reset.dry_run && change.after.is_ok(),
        "error": change.after.as_ref().err().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_a_place_an_offset_a_distance_or_a_time() {
        let cases = [
            ("earliest", Goal::Earliest),
            ("latest", Goal::Latest),
            ("42", Goal::Offset(42)),
            ("-10", Goal::By(-10)),
            ("+3", Goal::By(3)),
            ("@1700000000000", Goal::Time(1_700_000_000_000)),
            ("1970-01-01T00:00:01Z", Goal::Time(1000)),
        ];
        for (text, goal) in cases {
            assert_eq!(text.parse(), Ok(goal), "{text}");
        }
        assert!(matches!("15m".parse(), Ok(Goal::Time(ms)) if ms > 1_700_000_000_000));
        for text in ["", "soon", "-", "@", "99999999999999999999", "2026-13-01T00:00:00Z"] {
            assert!(text.parse::<Goal>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_topic_may_name_its_partitions() {
        let wanted =
            |topic: &str, partitions: &[i32]| Wanted { topic: topic.into(), partitions: partitions.into() };
        assert_eq!("orders".parse(), Ok(wanted("orders", &[])));
        assert_eq!("orders:0,12".parse(), Ok(wanted("orders", &[0, 12])));
        for text in ["orders:", "orders:x", "orders:-1", "orders:0,"] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}
