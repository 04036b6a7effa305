//! `milena conformance`: scripts of requests and expected answers, run against any Kafka-compatible cluster.
//!
//! - [`progress`]: what is shown meanwhile;
//! - [`report`]: what is printed in the end;
//! - [`fill`]: what the cluster answered, written into a script.

mod fill;
mod progress;
mod report;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use milena_conformance::{
    report::Outcome,
    run::{Cluster, Options, Subject, Suite},
    script::{self, Script, Source},
};

use crate::{advised::advised, output};
use progress::Progress;

const EXAMPLES: &str = "\
Examples:
  # All that Milena knows of Kafka 4.3.1, against a cluster
  milena conformance --bootstrap localhost:9092
  # Only transactions, as JSON
  milena conformance --bootstrap localhost:9092 --only 'txn-*' --json
  # Scripts of your own
  milena conformance --bootstrap localhost:9092 --scripts my-scenarios

Topics, groups and transactional ids have names that begin with `milena-conformance-` and a number of the run. Topics
and groups are removed when a script ends, also after a failure or an interrupt; transactional ids expire by themselves.

Ends with 0 when every answer was as expected, 1 when some were not, 2 when it can't begin.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The cluster, as host:port[,host:port…]
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "list")]
    bootstrap: Option<String>,
    /// Only scripts whose name this is or, with `*` in it, may be; may be repeated
    #[arg(long, value_name = "PATTERN")]
    only: Vec<String>,
    /// Runs the scripts of this folder, not those that come with Milena
    #[arg(long, value_name = "FOLDER")]
    scripts: Option<PathBuf>,
    /// Lists the scripts and runs none
    #[arg(long)]
    list: bool,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
    /// How many scripts run at a time
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    jobs: u8,
    /// How long a script may take
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3600))]
    limit: u64,
    /// Writes what the cluster answers in the place of every `__` of the scripts
    #[arg(long, requires = "scripts")]
    fill: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (sources, shared) = match &arguments.scripts {
        None => script::builtin(),
        Some(folder) => script::from_folder(folder)?,
    };
    let chosen = choose(sources, &arguments.only)?;
    let scripts = understand(&chosen, &shared, arguments.fill)?;
    if arguments.list {
        output::print(&report::list(&scripts, arguments.json)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let bootstrap = arguments.bootstrap.as_deref().unwrap_or_default();
    let cluster = Cluster::discover(bootstrap).await.map_err(|error| {
        advised(error, "start a broker with `milena broker`, and name it with --bootstrap")
    })?;
    let offered = cluster.offered().clone();
    let suite = Suite::new(cluster, options(&arguments));
    let progress = Progress::new(scripts.len(), arguments.json);
    let finished = tokio::select! {
        outcomes = suite.run(scripts, |done| progress.tell(&done)) => Some(outcomes),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("waiting for an interrupt")?;
            None
        }
    };
    progress.finish();
    let left = suite.clean_up().await;
    let Some(outcomes) = finished else {
        return Err(anyhow::anyhow!("interrupted; {}", report::removed(&left)));
    };
    if arguments.fill {
        fill::fill(&chosen, &outcomes)?;
    }
    output::print(&report::report(&outcomes, &offered, arguments.json)?)?;
    Ok(if outcomes.iter().all(Outcome::has_passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(arguments: &Arguments) -> Options {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(now.as_millis()).unwrap_or_default();
    Options {
        subject: Subject::Cluster,
        jobs: arguments.jobs.into(),
        prefix: format!("milena-conformance-{now_ms:x}"),
        script_limit: Duration::from_secs(arguments.limit),
        now_ms,
    }
}

fn choose(sources: Vec<Source>, only: &[String]) -> anyhow::Result<Vec<Source>> {
    let fits = |source: &Source| {
        let name = source.file.trim_end_matches(".txt");
        only.is_empty() || only.iter().any(|pattern| matches(pattern, name))
    };
    let names: Vec<String> = sources.iter().map(|source| source.file.clone()).collect();
    let chosen: Vec<Source> = sources.into_iter().filter(fits).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let wanted = only.join(", ");
    let likeness = |name: &&String| strsim::jaro_winkler(&wanted, name.trim_end_matches(".txt"));
    let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let advice = nearest.map_or("a folder with files *.txt".into(), |name| {
        format!("--list shows them; the nearest is `{}`", name.trim_end_matches(".txt"))
    });
    Err(advised(anyhow::anyhow!("there is no such script: {wanted}"), advice))
}

/// Whether a name is what a pattern with any number of `*` says.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, behind)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| matches(behind, rest))
}

/// Every script, or all that is wrong with them.
fn understand(
    sources: &[Source],
    shared: &BTreeMap<String, String>,
    holes: bool,
) -> anyhow::Result<Vec<Script>> {
    let (mut scripts, mut errors) = (Vec::new(), Vec::new());
    for source in sources {
        match script::parse(source, shared, holes) {
            Ok(script) => scripts.push(script),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if errors.is_empty() { Ok(scripts) } else { Err(anyhow::anyhow!(errors.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fits) in [
            ("txn-*", "txn-commit", true),
            ("txn-*", "a-txn-", false),
            ("*commit*", "txn-commit-v1", true),
            ("*", "", true),
            ("a", "ab", false),
            ("a*b", "acb", true),
            ("a*b", "acbd", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
