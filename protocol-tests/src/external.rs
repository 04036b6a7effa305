//! Other people's clients as processes: kcat (librdkafka), franz-go and Java's own tools, spoken to over their pipes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a client that can't be run fails the test that needs it"
)]

use std::{env, process::Stdio, time::Duration};

use milena_protocol::ApiKey;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::proxy::{Asked, Proxy, Weather};

/// Most that any client may take; a JVM on a busy machine needs seconds to start.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// kcat, taken from PATH.
#[must_use]
pub fn kcat(bootstrap: &str) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", bootstrap, "-X", "topic.metadata.refresh.interval.ms=1000"]);
    command
}

/// Runs a client that produces through a network that is narrow and resets connections three times, all or those to the
/// broker with this port, as soon as that has been asked to write.
///
/// # Panics
/// When the client fails, or is done before a connection was reset.
pub async fn run_through_resets(producer: &mut Command, input: &str, proxy: &Proxy, broker: Option<u16>) {
    let narrow = Weather { bytes_per_second: Some(20_000), ..Weather::round_trip(Duration::from_millis(50)) };
    proxy.weather(None, narrow);
    let is_meant = |asked: &Asked| broker.is_none_or(|broker| asked.broker == broker);
    let asked = || proxy.asked(ApiKey::Produce).iter().filter(|asked| is_meant(asked)).count();
    let mut resets = 0;
    let resetting = async {
        while resets < 3 {
            let before = asked();
            while asked() == before {
                sleep(Duration::from_millis(5)).await;
            }
            proxy.reset(broker);
            resets += 1;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = run(producer, input) => {}
        () = resetting => {}
    }
    assert!(resets > 0, "nothing was reset");
    proxy.weather(None, Weather::default());
}

/// The program in `protocol-tests/go`, built, at the path that `MILENA_FRANZ` names.
///
/// # Panics
/// When the variable is not set.
#[must_use]
pub fn franz(bootstrap: &str) -> Command {
    let program =
        env::var("MILENA_FRANZ").expect("MILENA_FRANZ must name what `go build` makes of protocol-tests/go");
    let mut command = Command::new(program);
    command.args(["-bootstrap", bootstrap]);
    command
}

/// One of Java's tools, by the name of its class below `org.apache.kafka.tools`. The jars are those of the folder that
/// MILENA_KAFKA_LIBS names.
///
/// # Panics
/// When the variable is not set.
#[must_use]
pub fn java(tool: &str) -> Command {
    java_class(&format!("org.apache.kafka.tools.{tool}"))
}

/// As [`java`], by the whole name of the class.
///
/// # Panics
/// When the variable is not set.
#[must_use]
pub fn java_class(class: &str) -> Command {
    let libs = env::var("MILENA_KAFKA_LIBS").expect("MILENA_KAFKA_LIBS must name the folder of Kafka's jars");
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
    command.args(["-cp", &format!("{libs}/*"), class]);
    command
}

/// Starts a client.
///
/// # Panics
/// When it is not installed.
pub fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.spawn().unwrap_or_else(|error| panic!("{program} must be installed to run this test: {error}"))
}

/// Runs a client to its end with this input and gives what it printed.
///
/// # Panics
/// When it fails or hangs.
pub async fn run(command: &mut Command, input: &str) -> String {
    let mut child = spawn(command);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the client hangs").unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{:?}\n{printed}", command.as_std());
    printed
}

/// Runs a client to its end, whatever that is, and gives what came out of it.
///
/// # Panics
/// When it hangs.
pub async fn finish(command: &mut Command, input: &str) -> std::process::Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.as_std()));
    let mut stdin = child.stdin.take().unwrap();
    // A client that has enough does not read on.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    timeout(PATIENCE, child.wait_with_output()).await.expect("the client hangs").unwrap()
}

/// Reads lines from a running client until `count` of them are there.
///
/// # Panics
/// When the client ends, or hangs, before that.
pub async fn lines(child: &mut Child, count: usize) -> Vec<String> {
    let mut reader = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let mut lines = Vec::new();
    timeout(PATIENCE, async {
        while lines.len() < count {
            lines.push(reader.next_line().await.unwrap().expect("the client ended early"));
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} of {count} lines", lines.len()));
    lines
}

/// The numbers, a line each.
#[must_use]
pub fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

/// The numbers that were printed a line each, in their order.
///
/// # Panics
/// When a line is no number.
#[must_use]
pub fn sorted(lines: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = lines.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}
