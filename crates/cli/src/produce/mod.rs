//! `milena produce`: records from standard input or files, sent to a topic.
//!
//! - [`splitter`] and [`input`]: records out of a stream of bytes;
//! - [`shape`], [`json_record`] and [`record`]: what is sent for each;
//! - [`pump`] and [`transactions`]: the loop from the input to the producer;
//! - [`books`] and [`report`]: what became of every record;
//! - [`topic`]: whether there is anybody to take the records.

mod books;
mod dry_run;
mod input;
mod json_record;
mod options;
mod pump;
mod record;
mod report;
mod shape;
mod splitter;
mod topic;
mod transactions;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode, time::Duration};

use clap::ValueEnum;
use milena::{Acks, Client, Codec, ProducerBuilder};

use crate::{
    advised::advised, compression, connect::connect, escaped::Escaped, progress::Progress,
    security::Security, stop::Stop, timestamp,
};
use books::Books;
use input::{Cut, Input};
use options::{Bytesize, Header, Needed};
use pump::{GRACE, Pace, Pump};
use report::{End, Reporter, Style};
use shape::{Format, Plain, Shape};

const EXAMPLES: &str = "\
Examples:
  # Every line is a record, with a key before the colon
  milena produce -b localhost:9092 -t orders -K : < orders.txt
  # Files as records of their own, compressed, in one transaction
  milena produce -b localhost:9092 -t images --whole-file -z zstd --transactional-id images-1 *.png
  # Anything a script can think of: bytes in base64, headers, nulls, partitions, times
  echo '{\"key\":\"k\",\"value_base64\":\"/wA=\",\"headers\":{\"a\":\"b\"},\"timestamp\":1700000000000}' |
    milena produce -b localhost:9092 -t orders --input json --json

Of `kcat -P` the options -b -t -p -D -K -k -H -z -Z -c and -q are the same. Other than there, files are read like
standard input, record by record, unless --whole-file is given; an empty line is an empty record unless --skip-empty is
given; and keys are placed as Java's producer places them.

--json prints an object a line: of type `record` with line, topic, partition, offset and timestamp, or with error and
certainty (NotWritten, MaybeWritten); of type `transaction` with its outcome (committed, aborted, unknown); and of type
`summary` in the end. A record of a transaction counts once that is committed. With --acks 0 brokers answer nothing: a record
has the offset null and `acknowledged` false, and the summary counts it as `sent`.

Ends with 0 when every record of the input is acknowledged (with --acks 0: sent), and in a transaction committed; 1 when one is not, or the
input could not be read to its end, or an interrupt came before; 2 when it can't begin. An interrupt (SIGINT, SIGTERM)
ends the reading: what was accepted is sent, within 10 s, and an open transaction aborted. The second one ends it at once.";

/// What to send, where and how.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The cluster, as host:port[,host:port…]
    #[arg(short, long, value_name = "HOST:PORT", required_unless_present = "dry_run")]
    bootstrap: Option<String>,
    #[command(flatten)]
    security: Security,
    /// The topic. It must exist
    #[arg(short, long, value_name = "NAME")]
    topic: String,
    /// Files to read, one after the other; `-` is standard input, which is read if there are none
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the input is written
    #[arg(long, value_enum, default_value_t = InputFormat::Plain, value_name = "FORMAT")]
    input: InputFormat,
    /// What ends a record; \n, \r, \t, \0, \\ and \xNN are escapes
    #[arg(short = 'D', long, value_name = "BYTES", default_value = "\\n")]
    delimiter: Escaped,
    /// Sends each file as one record
    #[arg(long, conflicts_with_all = ["delimiter", "key_delimiter", "input"])]
    whole_file: bool,
    /// What stands between key and value, with escapes as in --delimiter; a record without it is a value alone
    #[arg(short = 'K', long, value_name = "BYTES")]
    key_delimiter: Option<Escaped>,
    /// The key of records that have none of their own
    #[arg(short, long)]
    key: Option<String>,
    /// A header for every record; without `=` its value is null; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    headers: Vec<Header>,
    /// A value that stands for null
    #[arg(long, value_name = "MARK")]
    null_value: Option<String>,
    /// Sends null for an empty value, and for an empty key before --key-delimiter
    #[arg(short = 'Z', long)]
    empty_is_null: bool,
    /// Sends nothing for an empty line
    #[arg(long)]
    skip_empty: bool,
    /// The partition; by default the key decides, and without one any partition will do
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// When it happened, in milliseconds since 1970 or as 2026-11-27T09:30:00Z; by default when it is sent
    #[arg(long, value_name = "TIME", value_parser = timestamp::parse)]
    timestamp: Option<i64>,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd, the first and the last perhaps with :LEVEL
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none", value_parser = compression::codec)]
    compression: Codec,
    /// Who must have a record before it counts; other than `all`, retries may repeat or reorder records
    #[arg(long, value_enum, default_value_t = Needed::All, value_name = "WHO", allow_negative_numbers = true)]
    acks: Needed,
    /// Sends in a transaction of this id, which is committed when all is sent and aborted when a record fails
    #[arg(long, value_name = "ID")]
    transactional_id: Option<String>,
    /// Commits after so many records and begins another transaction
    #[arg(long, value_name = "COUNT", requires = "transactional_id", value_parser = clap::value_parser!(u64).range(1..))]
    transaction_records: Option<u64>,
    /// How long a transaction may be open, in seconds; the brokers have a limit, too, of 900 s by default
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    transaction_timeout: u64,
    /// Records a second at most
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// How long a batch waits for more records, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    linger: u64,
    /// The size of a batch before compression; one over the topic's max.message.bytes is refused
    #[arg(long, value_name = "BYTES", default_value_t = Bytesize(256 << 10))]
    batch_size: Bytesize,
    /// The longest record that is read; longer ones are errors, and are not kept in memory
    #[arg(long, value_name = "BYTES", default_value_t = Bytesize(1 << 20))]
    max_record_size: Bytesize,
    /// Ends after so many records
    #[arg(short, long, value_name = "COUNT")]
    count: Option<u64>,
    /// How long a record may take to be acknowledged, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// What to do when a record can't be sent
    #[arg(long, value_enum, default_value_t = OnError::Stop, value_name = "WHAT")]
    on_error: OnError,
    /// Prints what became of every record, as JSON
    #[arg(long)]
    json: bool,
    /// Says nothing unless something fails
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Connects to nobody and prints what would be sent; with --json as `--input json` takes it
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InputFormat {
    /// A value, or a key and a value
    Plain,
    /// An object with `key`, `value`, `headers`, `partition` and `timestamp`; `key_base64` and `value_base64` for bytes;
    /// `topic` and `offset`, which `milena consume --json` adds, are passed over
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnError {
    /// Reads no further, and sends what was accepted
    Stop,
    /// Goes on with the next
    Continue,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.transactional_id.is_some() && arguments.on_error == OnError::Continue {
        let error = anyhow::anyhow!("a transaction has all of its records or none");
        return Err(advised(error, "leave --on-error continue out, or --transactional-id"));
    }
    if arguments.transactional_id.is_some() && arguments.acks != Needed::All {
        let acks = arguments.acks.acks();
        let error = anyhow::anyhow!(
            "--acks {acks} is not enough for a transaction, which needs all replicas in sync"
        );
        return Err(advised(error, "leave --acks out, or --transactional-id"));
    }
    let stop = Stop::on_signals()?;
    if arguments.dry_run {
        let input = arguments.open()?;
        return Ok(code(dry_run::run(&arguments, input, stop).await));
    }
    let bootstrap = arguments.bootstrap.as_deref().unwrap_or_default();
    let client =
        connect(bootstrap, &arguments.security, "milena-produce", "name another one with --bootstrap")
            .await?;
    topic::insist(&client, &arguments.topic, arguments.partition).await?;
    let is_complete = match &arguments.transactional_id {
        None => plain(&arguments, &client, stop).await?,
        Some(id) => in_transactions(&arguments, &client, stop, id).await?,
    };
    client.shutdown();
    Ok(code(is_complete))
}

fn code(is_complete: bool) -> ExitCode {
    if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn plain(arguments: &Arguments, client: &Client, stop: Stop) -> anyhow::Result<bool> {
    let producer = arguments.configure(client.producer()).build()?;
    let mut pump = arguments.pump(stop)?;
    let end = pump.send(&producer, u64::MAX).await.unwrap_or(End::Count);
    let timeout = match end {
        End::Input | End::Count => arguments.timeout(),
        End::Error | End::Interrupt => arguments.timeout().min(GRACE),
    };
    if let Err(error) = pump.close(&producer, timeout).await {
        pump.books.give_up(&error.to_string());
    }
    Ok(pump.books.close(end))
}

async fn in_transactions(
    arguments: &Arguments,
    client: &Client,
    stop: Stop,
    id: &str,
) -> anyhow::Result<bool> {
    let builder = client
        .transactional_producer(id)
        .transaction_timeout(Duration::from_secs(arguments.transaction_timeout))
        .end_timeout(arguments.timeout().min(Duration::from_secs(60)))
        .configure(|builder| arguments.configure(builder));
    let mut producer = tokio::select! {
        built = builder.build() => built?,
        () = stop.more_than(0) => anyhow::bail!("interrupted before the coordinator has answered"),
    };
    let mut pump = arguments.pump(stop)?;
    let each = arguments.transaction_records.unwrap_or(u64::MAX);
    let end = transactions::send(&mut pump, &mut producer, each).await;
    if let Err(error) = producer.close(GRACE).await {
        pump.books.failed(&error.to_string());
    }
    Ok(pump.books.close(end))
}

impl Arguments {
    fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    fn configure(&self, builder: ProducerBuilder) -> ProducerBuilder {
        // Beside the record's own bytes stand the fixed key and headers, and a few bytes for each of them.
        let header =
            |header: &Header| header.name.len() + header.value.as_ref().map_or(0, bytes::Bytes::len) + 16;
        let fixed = self.key.as_ref().map_or(0, String::len) + self.headers.iter().map(header).sum::<usize>();
        let request = self.max_record_size.0.saturating_add(fixed).saturating_add(1024).max(1 << 20);
        let linger = Duration::from_millis(self.linger);
        let timeout = self.timeout().max(linger.saturating_add(Duration::from_millis(100)));
        let acks = self.acks.acks();
        builder
            .acks(acks)
            .idempotence(acks == Acks::All)
            .compression(self.compression)
            .linger(linger)
            .batch_size(self.batch_size.0)
            .max_request_size(request)
            .buffer_memory((32 << 20).max(request.saturating_mul(2)).max(self.batch_size.0))
            .request_timeout(timeout.saturating_sub(linger).min(Duration::from_secs(30)))
            .delivery_timeout(timeout)
            .max_block(timeout.min(Duration::from_secs(60)))
    }

    fn open(&self) -> anyhow::Result<Input> {
        if self.files.is_empty() && std::io::stdin().is_terminal() && !self.quiet {
            say("reading from the terminal; Ctrl-D ends the input, Ctrl-C the command");
        }
        let delimiter = if self.whole_file { Vec::new() } else { self.delimiter.0.clone() };
        Input::open(&self.files, Cut { delimiter, limit: self.max_record_size.0 })
    }

    fn shape(&self) -> Shape {
        let format = match self.input {
            InputFormat::Json => Format::Json,
            InputFormat::Plain => Format::Plain(Plain {
                key_delimiter: self.key_delimiter.as_ref().map(|delimiter| delimiter.0.clone()),
                null_value: self.null_value.as_ref().map(|mark| mark.as_bytes().to_vec()),
                empty_is_null: self.empty_is_null,
                skip_empty: self.skip_empty,
            }),
        };
        Shape {
            format,
            key: self.key.clone().map(Into::into),
            headers: self.headers.clone(),
            partition: self.partition,
            timestamp: self.timestamp,
        }
    }

    fn style(&self) -> Style {
        match (self.json, self.quiet) {
            (true, _) => Style::Json,
            (false, true) => Style::Quiet,
            (false, false) => Style::Text,
        }
    }

    fn pump(&self, stop: Stop) -> anyhow::Result<Pump> {
        // Somebody who types sees what they type.
        let is_typed = self.files.is_empty() && std::io::stdin().is_terminal();
        let are_acknowledged = self.acks != Needed::Nobody;
        let word = if are_acknowledged { "acknowledged" } else { "sent" };
        let progress = Progress::new(self.json || self.quiet || is_typed, word);
        Ok(Pump {
            topic: self.topic.clone(),
            input: self.open()?,
            shape: self.shape(),
            books: Books::new(Reporter::new(&self.topic, self.style()), progress, are_acknowledged),
            stop,
            pace: Pace::new(self.rate),
            left: self.count,
            stop_on_error: self.on_error == OnError::Stop,
            held: None,
        })
    }
}

#[expect(clippy::print_stderr, reason = "what people are told goes to the terminal")]
fn say(text: &str) {
    eprintln!("milena: {text}");
}
