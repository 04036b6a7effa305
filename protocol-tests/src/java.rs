//! Kafka's own command-line tools, run from its jars.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
};

/// Why a tool has no output.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Java could not be run.
    #[error("cannot run java")]
    Io(#[from] io::Error),
    /// The tool failed.
    #[error("{class} failed: {message}")]
    Failed {
        /// Its main class.
        class: String,
        /// What it printed on standard error.
        message: String,
    },
}

/// Runs the tool `class` from the jars in `libs`, feeds it `input` and returns what it printed. Blocks.
///
/// # Errors
/// When it can't be run, or fails.
pub fn run(libs: &Path, class: &str, arguments: &[&str], input: &str) -> Result<String, ToolError> {
    let mut tool = Command::new("java")
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Dfile.encoding=UTF-8", "-cp"])
        .arg(libs.join("*"))
        .arg(class)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // The tools print nothing before they have read their input, so that neither side can fill a pipe and wait.
    if let Some(mut stdin) = tool.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = tool.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(ToolError::Failed { class: class.to_owned(), message })
}

/// A record as Java's console consumer prints it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrintedRecord {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The timestamp in milliseconds since 1970, with its kind in front: `CreateTime:7`.
    pub timestamp: String,
    /// `name:value` for each header, separated by commas; `NO_HEADERS` without any.
    pub headers: String,
    /// The key; `null` for none.
    pub key: String,
    /// The value; `null` for none.
    pub value: String,
}

/// Which records Java's consumer is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Those of transactions that are open or aborted, too.
    All,
    /// The committed ones.
    Committed,
}

/// Reads `count` records of a topic from its beginning with Java's console consumer.
///
/// # Errors
/// When the tool fails.
///
/// # Panics
/// When it prints something else than records.
pub fn consume(
    libs: &Path,
    bootstrap: &str,
    topic: &str,
    count: usize,
) -> Result<Vec<PrintedRecord>, ToolError> {
    consume_at(libs, bootstrap, topic, Isolation::All, count)
}

/// As [`consume`], at an isolation level. Fewer than `count` when no other has come for half a minute.
///
/// # Errors
/// When the tool fails.
///
/// # Panics
/// When it prints something else than records.
pub fn consume_at(
    libs: &Path,
    bootstrap: &str,
    topic: &str,
    isolation: Isolation,
    count: usize,
) -> Result<Vec<PrintedRecord>, ToolError> {
    let count = count.to_string();
    let level = match isolation {
        Isolation::All => "read_uncommitted",
        Isolation::Committed => "read_committed",
    };
    let mut arguments = vec!["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning"];
    arguments.extend(["--max-messages", &count, "--timeout-ms", "30000", "--isolation-level", level]);
    for property in ["key", "headers", "partition", "offset", "timestamp"] {
        arguments.push("--formatter-property");
        arguments.push(match property {
            "key" => "print.key=true",
            "headers" => "print.headers=true",
            "partition" => "print.partition=true",
            "offset" => "print.offset=true",
            _ => "print.timestamp=true",
        });
    }
    let text = run(libs, "org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments, "")?;
    Ok(text.lines().map(parse).collect())
}

#[expect(clippy::panic, reason = "a line that is no record fails the test that asked for records")]
fn parse(line: &str) -> PrintedRecord {
    let fields: Vec<&str> = line.split('\t').collect();
    let number = |text: &str, prefix: &str| {
        let digits = text.strip_prefix(prefix).unwrap_or_else(|| panic!("no record: {line}"));
        digits.parse::<i64>().unwrap_or_else(|_| panic!("no record: {line}"))
    };
    let [timestamp, partition, offset, headers, key, value] = fields.as_slice() else {
        panic!("no record: {line}")
    };
    PrintedRecord {
        partition: number(partition, "Partition:") as i32,
        offset: number(offset, "Offset:"),
        timestamp: (*timestamp).to_owned(),
        headers: (*headers).to_owned(),
        key: (*key).to_owned(),
        value: (*value).to_owned(),
    }
}
