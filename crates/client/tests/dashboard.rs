//! The dashboard asks for what is counted, and for nothing else.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test states its expectations by unwrapping")]

use std::{collections::BTreeSet, fs, path::Path};

use milena::metrics::NAMES;
use serde_json::Value;

/// Words of PromQL, and the names of our labels.
const WORDS: &[&str] = &[
    "histogram_quantile",
    "increase",
    "max",
    "rate",
    "sum",
    "by",
    "le",
    "label_values",
    "job",
    "topic",
    "partition",
    "consumer_group",
    "api",
    "outcome",
    "cause",
    "change",
];
/// What an exporter makes of a histogram.
const PARTS: &[&str] = &["_bucket", "_sum", "_count"];

/// Words of an expression outside of what is quoted, of variables and of numbers.
fn words(expression: &str) -> BTreeSet<String> {
    let unquoted = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = unquoted.split(|symbol: char| !(symbol.is_alphanumeric() || symbol == '_' || symbol == '$'));
    let is_name = |word: &&str| word.starts_with(|first: char| first.is_alphabetic());
    words.filter(is_name).filter(|word| !WORDS.contains(word)).map(str::to_owned).collect()
}

/// Names that nobody counts by.
fn unknown(expression: &str) -> Vec<String> {
    let is_known = |word: &String| {
        let base = PARTS.iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word);
        NAMES.contains(&base)
    };
    words(expression).into_iter().filter(|word| !is_known(word)).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

fn expressions(value: &Value) -> Vec<String> {
    let children = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(elements) => elements.iter().collect(),
        _ => Vec::new(),
    };
    let own =
        ["expr", "definition"].into_iter().filter_map(|name| Some(value.get(name)?.as_str()?.to_owned()));
    own.chain(children.into_iter().flat_map(expressions)).collect()
}

#[test]
fn the_dashboard_asks_for_names_that_are_counted() {
    let dashboard: Value = serde_json::from_str(&read("monitoring/grafana/dashboards/milena.json")).unwrap();
    let expressions = expressions(&dashboard);
    for expression in &expressions {
        assert_eq!(unknown(expression), Vec::<String>::new(), "{expression}");
    }
    let asked: BTreeSet<_> = expressions.iter().flat_map(|expression| words(expression)).collect();
    for name in NAMES.iter().filter(|name| name.starts_with("kafka_")) {
        assert!(asked.iter().any(|word| word.starts_with(name)), "{name} has no panel");
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let source = read("monitoring/grafana/provisioning/datasources/prometheus.yml");
    for panel in panels {
        let uid = panel["datasource"]["uid"].as_str().unwrap();
        assert!(source.contains(&format!("uid: {uid}")), "{uid}");
    }
}

#[test]
fn a_wrong_name_is_found() {
    let wrong = r#"sum by (topic) (rate(kafka_message_produced_total{job=~"$job"}[$__rate_interval]))"#;
    assert_eq!(unknown(wrong), ["kafka_message_produced_total"]);
    assert_eq!(unknown("milena_connections_open_total"), ["milena_connections_open_total"]);
    assert_eq!(
        unknown("histogram_quantile(0.5, kafka_produce_duration_seconds_bucket)"),
        Vec::<String>::new()
    );
}

/// The documentation has a row for each name, and no others.
#[test]
fn the_table_of_the_documentation_has_each_name() {
    let source = read("crates/client/src/metrics/mod.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next());
    let rows: BTreeSet<_> = rows.collect();
    assert_eq!(rows, NAMES.iter().copied().collect());
}
