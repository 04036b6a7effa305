//! The tables: for a terminal, and for a document between two marks.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};

use crate::{case::Case, cells::cells, peers::Peer, turns::Table};

/// What is to be known of each peer's producer to read its figures.
const PRODUCERS: [(Peer, &str); 10] = [
    (Peer::Milena, "`enqueue`, the deliveries awaited."),
    (
        Peer::Confluent,
        "`send` with byte slices and a callback that counts. A `String` for the topic of each record, as its API wants.",
    ),
    (
        Peer::Krafka,
        "`enqueue`, the handles awaited. It has one batch of a partition on its way at a time, whatever the limit.",
    ),
    (
        Peer::Kacrab,
        "`send`, the futures awaited. It refuses a record when its memory is full; the oldest is awaited then.",
    ),
    (
        Peer::Rskafka,
        "not idempotent, no order among requests in flight, no partitioner: the benchmark fills the batches, each \
         request carries one, and with 100 partitions 100 are in flight. Its levels of codecs are fixed, at 6 and 3.",
    ),
    (
        Peer::Rdkafka,
        "`ThreadedProducer` with a context that counts; for latency, `FutureProducer`. C, built as its crate builds it.",
    ),
    (
        Peer::FranzGo,
        "`Produce` with a promise that counts. Levels of codecs are the nearest of its encoders'.",
    ),
    (
        Peer::Java,
        "`send` with a callback that counts, -Xmx512m; the JIT is at work during the measurement, too.",
    ),
    (Peer::Bound, "no client: full batches written beforehand, one a request, over one blocking socket."),
    (
        Peer::Codec,
        "no client and no broker: Milena's codec, at its default level, and CRC over full batches.",
    ),
];

/// The same of its consumer.
const CONSUMERS: [(Peer, &str); 9] = [
    (Peer::Milena, "`poll`, records lent by the buffers they came in."),
    (Peer::Confluent, "`poll` with `BytesDeserializer`; 10,000 records a poll."),
    (Peer::Krafka, "`poll`; 10,000 records a poll, 40,000 buffered."),
    (Peer::Kacrab, "`poll`; 10,000 records a poll."),
    (
        Peer::Rskafka,
        "`fetch_records`, one on its way for each partition: it has no consumer of several partitions.",
    ),
    (
        Peer::Rdkafka,
        "`BaseConsumer::poll`, record by record; fetch.queue.backoff.ms 10 instead of 1,000. C, built as its crate builds it.",
    ),
    (Peer::FranzGo, "`PollFetches`."),
    (Peer::Java, "`poll`; 10,000 records a poll, -Xmx512m."),
    (Peer::Bound, "no client: one fetch at a time over one blocking socket, batches counted and not opened."),
];

/// All tables as text for a terminal.
pub(crate) fn terminal(tables: &[Table]) -> anyhow::Result<String> {
    let mut out = String::new();
    for table in tables {
        writeln!(out, "\n{}", table.case)?;
        let cells = cells(table)?;
        let columns = cells.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let lengths = cells.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count());
            lengths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for line in &cells {
            let mut text = String::new();
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(text, "{cell:<width$}")?,
                    _ if column + 1 == columns => write!(text, "  {}", one_line(cell))?,
                    _ => write!(text, "  {cell:>width$}")?,
                }
            }
            writeln!(out, "{}", text.trim_end())?;
        }
    }
    Ok(out)
}

/// All tables for a document, with the machine and how they were made.
pub(crate) fn markdown(tables: &[Table], about: &str) -> anyhow::Result<String> {
    let mut out = format!("{about}\n");
    for table in tables {
        let cells = cells(table)?;
        // A column that is empty throughout says nothing.
        let columns = cells.first().map_or(0, Vec::len);
        let used: Vec<usize> = (0..columns)
            .filter(|column| cells.iter().any(|line| line.get(*column).is_some_and(|cell| !cell.is_empty())))
            .collect();
        writeln!(out, "\n`{}`\n", table.case)?;
        for (number, line) in cells.iter().enumerate() {
            let shown: Vec<String> =
                used.iter().filter_map(|column| line.get(*column)).map(|cell| one_line(cell)).collect();
            writeln!(out, "| {} |", shown.join(" | "))?;
            if number == 0 {
                writeln!(out, "|{}", "---|".repeat(used.len()))?;
            }
        }
    }
    writeln!(out)?;
    let notes: &[(Peer, &str)] =
        if tables.iter().any(|table| table.case.parse::<Case>().is_ok_and(|case| !case.writes())) {
            &CONSUMERS
        } else {
            &PRODUCERS
        };
    for (peer, note) in notes {
        if tables.iter().any(|table| table.rows.iter().any(|row| row.peer == peer.as_str())) {
            writeln!(out, "- {peer}: {note}")?;
        }
    }
    Ok(out)
}

/// A cell in one line. What a peer says may take several.
fn one_line(cell: &str) -> String {
    cell.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Puts `text` between the marks of `name` in a document that has them.
pub(crate) fn rewrite(path: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let document = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    fs::write(path, between_marks(&document, name, text)?)?;
    Ok(())
}

fn between_marks(document: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) =
        document.split_once(&begin).with_context(|| format!("the document has no line {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the document has no line {end}"))?;
    ensure!(!text.contains(&end), "the table contains its own end");
    Ok(format!("{before}{begin}{text}{end}{after}"))
}

/// The machine, the commit, the peers' versions and the command.
pub(crate) fn about(load_before: &str) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let commit = output("git", &["describe", "--always", "--dirty"]);
    let crates = ["confluent-kafka", "krafka", "kacrab", "rskafka", "rdkafka", "rdkafka-sys"];
    let mut versions: Vec<String> = crates.map(|name| format!("{name} {}", locked_version(name))).to_vec();
    versions.push(format!("franz-go {}", franz_go_version()));
    versions
        .extend(crate::broker::kafka_version().map(|version| format!("Kafka and its Java client {version}")));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "{} × {}, Linux {}, {}; commit {commit}. {}. Load average {load_before} before the run and {} after it. \
         Command: `cargo run --release --manifest-path benches/peers/Cargo.toml -- {}`.",
        cores,
        model.unwrap_or("unknown CPU"),
        output("uname", &["-r"]),
        output("rustc", &["--version"]),
        versions.join(", "),
        load(),
        arguments.join(" "),
    )
}

/// How busy the machine has been for one, five and fifteen minutes.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn locked_version(name: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let after = lock.split_once(&format!("name = \"{name}\"\nversion = \"")).map(|(_, rest)| rest);
    after.and_then(|rest| rest.split('"').next()).unwrap_or("unknown").to_owned()
}

fn franz_go_version() -> &'static str {
    let (_, after) = include_str!("../franz-go/go.mod").split_once("twmb/franz-go v").unwrap_or_default();
    after.lines().next().unwrap_or_default()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{measure::Sample, turns::Row};

    fn sample(cpu_us: f64, seconds: f64) -> Sample {
        Sample { records: 1000, acknowledged: 1200, seconds, cpu_us, peak_kib: 2048, ..Sample::default() }
    }

    fn table() -> Table {
        let case: Case = "produce-100b-none-3p-nokey".parse().unwrap();
        let row =
            |peer, samples, problem| Row { samples, stored: Some(101.0), problem, ..Row::of(peer, case) };
        Table {
            case: case.to_string(),
            rows: vec![
                row(Peer::Milena, vec![sample(300.0, 0.1), sample(500.0, 0.2)], None),
                row(Peer::Rdkafka, vec![sample(600.0, 0.1)], None),
                row(Peer::Krafka, vec![], Some("FAILED: no\nwhy".to_owned())),
            ],
        }
    }

    #[test]
    fn the_best_the_middle_and_the_ratio_are_told() {
        let text = terminal(&[table()]).unwrap();
        let line = |peer: &str| {
            let line = text.lines().find(|line| line.starts_with(peer)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(line("milena"), ["milena", "10", "8", "1", "0.300", "0.400", "1.00", "2", "101"]);
        assert_eq!(line("rdkafka").get(6).unwrap(), "2.00");
        assert_eq!(line("krafka"), ["krafka", "FAILED:", "no", "why"]);
    }

    #[test]
    fn a_document_keeps_what_is_outside_the_marks() {
        let document = "a\n<!-- t: begin -->\nold\n<!-- t: end -->\nb\n";
        let new = between_marks(document, "t", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- t: begin -->\nnew\n<!-- t: end -->\nb\n");
        assert!(between_marks("nothing", "t", "new").is_err());
        assert!(
            markdown(&[table()], "about").unwrap().contains("| milena | 10 | 8 | 1 | 0.300 | 0.400 | 1.00 |")
        );
    }
}
