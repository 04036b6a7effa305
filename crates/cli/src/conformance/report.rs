//! What is printed: the table, and what is not as it must be.

use std::io::IsTerminal;

use milena_conformance::{
    report::{Outcome, Verdict, table, to_json, verdicts},
    run::Offered,
    script::{Action, Script},
};
use serde_json::json;

pub(super) fn list(scripts: &[Script], json: bool) -> anyhow::Result<String> {
    let steps = |script: &Script| {
        let statements = script.statements.iter();
        statements.filter(|statement| matches!(statement.action, Action::Step(_))).count()
    };
    if json {
        let listed = scripts.iter().map(|script| {
            json!({ "script": script.name, "title": script.title, "steps": steps(script), "brokers": script.brokers })
        });
        return Ok(serde_json::to_string_pretty(&listed.collect::<Vec<_>>())? + "\n");
    }
    let width = scripts.iter().map(|script| script.name.len()).max().unwrap_or_default();
    let line = |script: &Script| {
        format!("{:<width$} {:>4} steps  {}", script.name, steps(script), script.title).trim_end().to_owned()
    };
    let mut text = scripts.iter().map(line).collect::<Vec<_>>().join("\n");
    text += &format!("\n{} scripts, {} steps\n", scripts.len(), scripts.iter().map(steps).sum::<usize>());
    Ok(text)
}

pub(super) fn report(outcomes: &[Outcome], offered: &Offered, json: bool) -> anyhow::Result<String> {
    let verdicts = verdicts(outcomes, offered);
    if json {
        return Ok(serde_json::to_string_pretty(&to_json(outcomes, &verdicts))? + "\n");
    }
    let colours = std::io::stdout().is_terminal();
    let paint = |cell: &str, verdict: Verdict| match verdict {
        Verdict::Pass if colours => format!("\x1b[32m{cell}\x1b[0m"),
        Verdict::Fail if colours => format!("\x1b[1;31m{cell}\x1b[0m"),
        _ => cell.to_owned(),
    };
    let mut text = table(&verdicts, &paint) + "\n";
    text += "ok: as expected   FAIL: not   ·: no script asks   -: asked for and not offered\n";
    for outcome in outcomes.iter().filter(|outcome| !outcome.has_passed()) {
        text += &format!("\n{}: {}\n", outcome.script, outcome.title);
        for failure in &outcome.failures {
            text += &format!("  {failure}\n");
        }
    }
    for outcome in outcomes {
        if let Some(reason) = &outcome.skipped {
            text += &format!("\n{} is skipped: {reason}", outcome.script);
        }
        for left in &outcome.left_behind {
            text += &format!("\n{} leaves behind {left}", outcome.script);
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.has_passed()).count();
    let skipped = outcomes.iter().filter(|outcome| outcome.skipped.is_some()).count();
    let checks: usize = outcomes.iter().map(|outcome| outcome.checks.len()).sum();
    let passed = outcomes.len() - outcomes.iter().filter(|o| !o.has_passed() || o.skipped.is_some()).count();
    text +=
        &format!("\n{passed} scripts passed, {failed} failed, {skipped} skipped; {checks} answers checked\n");
    Ok(text)
}

/// What became of the names of an interrupted run.
pub(super) fn removed(left: &[String]) -> String {
    if left.is_empty() {
        return "topics and groups are removed".into();
    }
    format!("left behind: {}", left.join("; "))
}
