//! `milena redrive`: dead letters on their way back.

use std::process::ExitCode;

use milena::{Admin, Client};
use milena_patterns::{Redrive, RedriveError, RedriveReport, Shutdown};
use serde_json::json;

use crate::{
    advised::advised,
    cluster::{Cluster, about_topic},
    offsets::insist_on_no_members,
    output::counted,
    stop::Stop,
};

const NOTES: &str = "\
Examples:
  # How many letters there are that were not sent back before
  milena redrive -b localhost:9092 orders.dlq
  # One, to see whether it is handled this time, and then the others
  milena redrive -b localhost:9092 orders.dlq --limit 1 --execute
  milena redrive -b localhost:9092 orders.dlq --execute

Letters go back as they were: key, value, headers and timestamp, without the headers that made letters of them. They and the
offsets behind them are committed in transactions, so that each goes back once, whatever happens. They stay in their topic until
its retention takes them; to send them once more, name another group, or set this one back with `milena offsets reset`.

Ends with 0 when all are sent back, or would be; with 1 when it was interrupted; with 2 when something is wrong: what was sent back
before that stays so, and the rest goes the next time. The first interrupt finishes the transaction that is open, the second
aborts it.";

/// Which letters, and where to.
#[derive(clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The topic of the dead letters
    topic: String,
    /// Where they go; the topic's name without .dlq if nothing is said
    #[arg(long, value_name = "TOPIC")]
    to: Option<String>,
    /// The group whose offsets tell what was sent back; TOPIC.redrive if nothing is said
    #[arg(long)]
    group: Option<String>,
    /// Sends so many at most
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Sends them; without it they are only counted
    #[arg(long)]
    execute: bool,
}

impl Arguments {
    fn redrive(&self) -> Redrive {
        let mut redrive = Redrive::new(self.topic.as_str()).dry_run(!self.execute);
        if let Some(to) = &self.to {
            redrive = redrive.to(to.as_str());
        }
        if let Some(group) = &self.group {
            redrive = redrive.group(group.as_str());
        }
        self.limit.into_iter().fold(redrive, Redrive::limit)
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let redrive = arguments.redrive();
    let to = match redrive.target() {
        Ok(to) => to.to_owned(),
        Err(error) => return Err(advised(error, "name the topic that they are to go to with --to")),
    };
    let client = arguments.cluster.connect().await?;
    let admin = client.admin().timeout(arguments.cluster.timeout());
    for topic in [&arguments.topic, &to] {
        if let Err(error) = admin.describe_topic(topic.as_str()).await {
            return Err(about_topic(&admin, topic, error).await);
        }
    }
    let group = redrive.offsets_group();
    insist_on_no_members(&admin, &group).await?;
    let stop = Stop::on_signals()?;
    let Some(ended) = until_stopped(redrive, &client, &stop).await else {
        return Ok(ExitCode::from(1));
    };
    let report = match ended {
        Ok(report) => report,
        Err(error) => return Err(about(&admin, &arguments.topic, error).await),
    };
    client.shutdown();
    tell(&arguments, &group, &report, stop.is_wanted())?;
    Ok(ExitCode::from(u8::from(stop.is_wanted())))
}

/// None if it was stopped at once.
async fn until_stopped(
    redrive: Redrive,
    client: &Client,
    stop: &Stop,
) -> Option<Result<RedriveReport, RedriveError>> {
    let shutdown = Shutdown::new();
    let mut running = std::pin::pin!(redrive.run(client, &shutdown));
    tokio::select! {
        ended = &mut running => return Some(ended),
        () = stop.more_than(0) => shutdown.begin(),
    }
    tokio::select! {
        ended = running => Some(ended),
        () = stop.more_than(1) => None,
    }
}

/// The error, with what to do about it.
async fn about(admin: &Admin, topic: &str, error: RedriveError) -> anyhow::Error {
    match error {
        RedriveError::Topic { topic, error } => about_topic(admin, &topic, error).await,
        RedriveError::Initialize(_) | RedriveError::Transaction(_) => advised(
            error,
            format!(
                "run it again, it goes on where it was, and one at a time: a second redrive of {topic} fences the first"
            ),
        ),
        error => anyhow::Error::new(error).context(format!("sending back letters of {topic}")),
    }
}

fn tell(
    arguments: &Arguments,
    group: &str,
    report: &RedriveReport,
    is_interrupted: bool,
) -> anyhow::Result<()> {
    let (topic, RedriveReport { to, sent }) = (&arguments.topic, report);
    let letters = counted(*sent, "letter");
    let mut words = match arguments.execute {
        true => format!("{letters} of {topic} sent back to {to}"),
        false => {
            format!("{letters} of {topic} would be sent back to {to}; nothing was sent (--execute sends)")
        }
    };
    if is_interrupted {
        words += "; interrupted before the end";
    }
    let object = json!({
        "topic": topic, "to": to, "group": group, "letters": sent, "sent": arguments.execute, "interrupted": is_interrupted,
    });
    arguments.cluster.tell(object, &words)
}
