//! `milena consume`: the records of topics, on standard output.
//!
//! - [`start`] and [`plan`]: where reading starts and ends in each partition;
//! - [`group`]: what a group has committed;
//! - [`reader`]: the loop from the consumer to the output, and [`vanished`]: what is gone meanwhile;
//! - [`output`], [`format`] and [`json`]: how records are written, and [`listener`]: to whom.

mod format;
mod group;
mod json;
mod listener;
mod output;
mod plan;
mod reader;
mod shown;
mod start;
mod vanished;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use clap::ValueEnum;
use milena::{
    Admin, AutoOffsetReset, Client, Consumer, ConsumerBuilder, IsolationLevel, SeekTo, TopicPartition,
};

use crate::{
    advised::advised,
    cluster::Cluster,
    escaped::Escaped,
    output::{counted, grouped, rate},
    print_error,
    progress::Progress,
    stop::Stop,
};
use format::Format;
use listener::Listener;
use output::{Output, Style};
use plan::Survey;
use reader::{Commits, Ended, Reader};
use start::{Start, Until};
use vanished::Vanished;

const NOTES: &str = "\
Examples:
  # All there is, and what comes
  milena consume -b localhost:9092 orders
  # The last ten of each partition, with their keys, and no more
  milena consume -b localhost:9092 orders --from -10 -K : -e
  # What was written in a quarter of an hour, as objects that `milena produce --input json` takes
  milena consume -b localhost:9092 orders --from 15m -e --json
  # As a member of a group, which goes on where it stopped
  milena consume -b localhost:9092 -G audit orders payments --from beginning

--from takes: beginning, end; an offset; -N, so many offsets before the end; a time such as 2026-11-27T08:00:00Z, @ and milliseconds
since 1970, or how long ago (90s, 15m, 2h, 7d): the first record that is not older, or the end. Without a group it is beginning.
With --group it is stored, where the group has committed; beginning and end then count only where it has committed nothing, and
`milena offsets reset` sets the rest.

--format knows:
  %t topic        %k key, %K its length      %h headers, as a=1,b=2; null is NULL
  %p partition    %s value, %S its length    %R the value's length in four bytes, the highest first
  %o offset       %T timestamp in ms         %% a percent sign
  and the escapes \\n \\r \\t \\0 \\\\ and \\xNN. The length of null is -1. Nothing is added: a line ends where \\n says so.

--json prints an object a record: topic, partition, offset, timestamp, key, value and, if there are any, headers as a list of name
and value. What is not UTF-8 is in key_base64, value_base64 or name_base64, the last of which `milena produce` can't send. A null is null,
and so is a timestamp that there is none of.

Of `kcat -C` the options -b -t -p -o -e -c -f -D -K -Z -G and -q are the same; but -Z marks null alone, and not what is empty.

With --group what is written is committed after that, so that each record is written at least once. With --exit a member ends when it
has partitions and has read each of them to where it ended when the command began.

Ends with 0 when all that was asked for is written, or the reader has seen enough, as `head` has; 1 when reading or committing fails,
or an interrupt comes before the end that --exit, --until or --count have set; 2 when it can't begin. An interrupt (SIGINT, SIGTERM)
ends the reading: what is written is committed, and the group left, within 10 s. The second one ends it at once.";

/// How long an end may take.
const GRACE: Duration = Duration::from_secs(10);
/// The most records that are handed out at once.
const POLL_RECORDS: usize = 10_000;

/// What to read, from where and how to show it.
#[derive(clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
    /// The topics
    #[arg(value_name = "TOPIC", required_unless_present = "named")]
    topics: Vec<String>,
    /// A topic, as well; may be repeated
    #[arg(short = 't', long = "topic", value_name = "TOPIC")]
    named: Vec<String>,
    /// A partition, rather than all of each topic; may be repeated
    #[arg(short, long = "partition", value_name = "NUMBER", conflicts_with = "group",
          value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Shares the partitions with the other members of this group, and commits what is written
    #[arg(short = 'G', long)]
    group: Option<String>,
    /// Where to start: see below
    #[arg(short = 'o', long, value_name = "WHERE", allow_hyphen_values = true)]
    from: Option<Start>,
    /// Where to end, in each partition: before this offset, or before the first record that is not older than a time as --from takes it
    #[arg(long, value_name = "WHERE")]
    until: Option<Until>,
    /// Ends where each partition ended when the command began
    #[arg(short, long)]
    exit: bool,
    /// Ends after so many records in all
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Whether records of open and aborted transactions are read
    #[arg(long, value_enum, default_value_t = Isolation::ReadUncommitted, value_name = "LEVEL")]
    isolation: Isolation,
    /// What is printed of a record, as `%k: %s\n`: see below
    #[arg(short, long, conflicts_with_all = ["json", "key_separator", "delimiter"])]
    format: Option<Format>,
    /// Prints the key, and this between it and the value; \n, \r, \t, \0, \\ and \xNN are escapes
    #[arg(short = 'K', long, value_name = "BYTES", alias = "key-delimiter", conflicts_with = "json")]
    key_separator: Option<Escaped>,
    /// What ends a record, with escapes as in --key-separator
    #[arg(short = 'D', long, value_name = "BYTES", default_value = "\\n", conflicts_with = "json")]
    delimiter: Escaped,
    /// What is printed for a key or a value that is null; by default nothing
    #[arg(long, value_name = "MARK", conflicts_with = "json")]
    null_value: Option<String>,
    /// Prints NULL for a key or a value that is null
    #[arg(short = 'Z', long, conflicts_with_all = ["null_value", "json"])]
    print_null: bool,
    /// Says nothing unless something fails
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Isolation {
    /// They are
    #[value(name = "read_uncommitted")]
    ReadUncommitted,
    /// They are not, and what follows an open one waits for its end
    #[value(name = "read_committed")]
    ReadCommitted,
}

/// The first offsets that are not read any more; none when reading goes on and on.
type Ends = Option<BTreeMap<TopicPartition, i64>>;

/// A consumer that stands where reading starts.
struct Prepared {
    client: Client,
    admin: Admin,
    consumer: Consumer,
    ends: Ends,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let start = arguments.start()?;
    let stop = Stop::on_signals()?;
    end_in_time(stop.clone());
    let begun = Instant::now();
    let Prepared { client, admin, consumer, ends } = tokio::select! {
        biased;
        () = stop.more_than(0) => return Ok(arguments.code(Ended::Interrupt)),
        prepared = arguments.prepare(start) => prepared?,
    };
    let mut reader = arguments.reader(consumer, &admin, ends, stop);
    let ended = match reader.read().await {
        Err(error) => match error.downcast() {
            Ok(error) => Err(group::explained(&admin, arguments.group.as_deref(), error).await),
            Err(error) => Err(error),
        },
        ended => ended,
    };
    let written = reader.written;
    let closed = reader.close(GRACE).await;
    client.shutdown();
    if !arguments.quiet && std::io::stderr().is_terminal() {
        say(&summary(written, begun.elapsed()));
    }
    // Something may have been written: this is not an end before the beginning.
    Ok(match ended.and_then(|ended| closed.map(|()| ended)) {
        Ok(ended) => arguments.code(ended),
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    })
}

/// Ends the process when it takes too long after an interrupt, such as when nobody reads what it writes.
fn end_in_time(stop: Stop) {
    tokio::spawn(async move {
        stop.more_than(0).await;
        tokio::select! {
            () = stop.more_than(1) => {}
            () = tokio::time::sleep(GRACE + Duration::from_secs(2)) => {}
        }
        std::process::exit(1);
    });
}

fn summary(written: u64, took: Duration) -> String {
    let (records, per_second) = (counted(written, "record"), grouped(rate(written, took) as u64));
    format!("{records} in {:.2} s, {per_second}/s", took.as_secs_f64())
}

#[expect(clippy::print_stderr, reason = "what people are told goes to the terminal")]
fn say(text: &str) {
    eprintln!("milena: {text}");
}

impl Arguments {
    /// Where to start. Refuses what a group has no use for, and what nobody has without one.
    fn start(&self) -> anyhow::Result<Start> {
        match (self.from, &self.group) {
            (None, None) => Ok(Start::Beginning),
            (None, Some(_)) => Ok(Start::Stored),
            (Some(Start::Stored), None) => {
                let error = anyhow!("--from stored needs a group that has committed something");
                Err(advised(error, "name it with --group, or start at beginning, end, an offset or a time"))
            }
            (Some(Start::Offset(_) | Start::Last(_) | Start::Time(_)), Some(group)) => {
                let error = anyhow!("a group goes on where it has committed, and not elsewhere");
                let advice = format!(
                    "`milena offsets reset {group} --to WHERE` sets where that is; \
                     --from beginning and --from end count where nothing is committed"
                );
                Err(advised(error, advice))
            }
            (Some(start), _) => Ok(start),
        }
    }

    fn code(&self, ended: Ended) -> ExitCode {
        let is_awaited = self.exit || self.until.is_some() || self.count.is_some();
        ExitCode::from(u8::from(ended == Ended::Interrupt && is_awaited))
    }

    fn topics(&self) -> BTreeSet<&str> {
        self.topics.iter().chain(&self.named).map(String::as_str).collect()
    }

    fn isolation(&self) -> IsolationLevel {
        match self.isolation {
            Isolation::ReadUncommitted => IsolationLevel::ReadUncommitted,
            Isolation::ReadCommitted => IsolationLevel::ReadCommitted,
        }
    }

    async fn prepare(&self, start: Start) -> anyhow::Result<Prepared> {
        let client = self.cluster.connect().await?;
        let admin = client.admin().timeout(self.cluster.timeout());
        let topics = self.topics();
        let partitions = plan::partitions(&admin, &topics, &self.partitions).await?;
        let survey = Survey { admin: &admin, partitions: &partitions, isolation: self.isolation() };
        let logs = survey.logs().await?;
        let ends = match self.exit || self.until.is_some() {
            true => Some(survey.ends(self.exit, self.until, &logs).await?),
            false => None,
        };
        let consumer = if let Some(group) = &self.group {
            if start == Start::Stored {
                group::insist_on_offsets(&admin, group, &partitions).await?;
            }
            let builder = client.consumer(group.as_str()).subscribe(topics.iter().copied());
            self.configure(builder).auto_offset_reset(group::reset(start)).build()?
        } else {
            let starts = survey.starts(start, &logs).await?;
            let builder = client.consumer_without_group().assign(partitions.iter().cloned());
            // What is deleted before it is read is passed over.
            let consumer = self.configure(builder).auto_offset_reset(AutoOffsetReset::Earliest).build()?;
            for (partition, offset) in &starts {
                consumer.seek(partition, SeekTo::Offset(*offset))?;
            }
            consumer
        };
        Ok(Prepared { client, admin, consumer, ends })
    }

    fn configure(&self, builder: ConsumerBuilder) -> ConsumerBuilder {
        let most = self
            .count
            .map_or(POLL_RECORDS, |count| usize::try_from(count).unwrap_or(POLL_RECORDS).min(POLL_RECORDS));
        builder.isolation_level(self.isolation()).max_poll_records(most)
    }

    fn style(&self) -> Style {
        if self.cluster.json {
            return Style::Json;
        }
        let key_separator = self.key_separator.as_ref().map(|separator| separator.0.as_slice());
        let plain = || Format::plain(key_separator, &self.delimiter.0);
        let null = if self.print_null { "NULL" } else { self.null_value.as_deref().unwrap_or_default() };
        Style::Text { format: self.format.clone().unwrap_or_else(plain), null: null.into() }
    }

    fn reader(&self, consumer: Consumer, admin: &Admin, ends: Ends, stop: Stop) -> Reader {
        // A count in the midst of records helps nobody.
        let is_shown = !self.quiet && !std::io::stdout().is_terminal();
        // All that is read up to where partitions have ended is there.
        let stall = (self.exit && self.group.is_none()).then(|| self.cluster.timeout());
        Reader {
            consumer,
            output: Output::new(self.style()),
            listener: Listener::new(),
            stop,
            progress: Progress::new(!is_shown, "written"),
            ends,
            left: self.count,
            stall,
            commits: self.group.as_ref().map(|_| Commits::new()),
            vanished: Vanished::new(admin.clone(), self.topics().into_iter().map(str::to_owned)),
            written: 0,
        }
    }
}
