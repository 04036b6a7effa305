//! The report for machines.

use serde_json::{Value, json};

use super::{Failure, FailureKind, Outcome, Verdict, Verdicts};

/// Scripts, failures, and API by version by verdict.
#[must_use]
pub fn to_json(outcomes: &[Outcome], verdicts: &Verdicts) -> Value {
    let scripts: Vec<Value> = outcomes.iter().map(script).collect();
    let apis: Vec<Value> = verdicts
        .iter()
        .map(|(api, versions)| {
            let versions: serde_json::Map<String, Value> = versions
                .iter()
                .map(|(version, verdict)| (version.to_string(), word(*verdict).into()))
                .collect();
            json!({ "api": api.name(), "apiKey": api.code(), "versions": versions })
        })
        .collect();
    let passed = outcomes.iter().filter(|outcome| outcome.has_passed() && outcome.skipped.is_none()).count();
    json!({
        "passed": outcomes.iter().all(Outcome::has_passed),
        "scripts": { "run": outcomes.len(), "passed": passed,
            "failed": outcomes.iter().filter(|outcome| !outcome.has_passed()).count(),
            "skipped": outcomes.iter().filter(|outcome| outcome.skipped.is_some()).count() },
        "checks": outcomes.iter().map(|outcome| outcome.checks.len()).sum::<usize>(),
        "apis": apis,
        "results": scripts,
    })
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotCovered => "not covered",
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::NotOffered => "not offered",
    }
}

fn script(outcome: &Outcome) -> Value {
    json!({
        "script": outcome.script,
        "title": outcome.title,
        "passed": outcome.has_passed(),
        "skipped": outcome.skipped,
        "checks": outcome.checks.len(),
        "milliseconds": outcome.took.as_millis() as u64,
        "failures": outcome.failures.iter().map(failure).collect::<Vec<_>>(),
        "leftBehind": outcome.left_behind,
    })
}

fn failure(failure: &Failure) -> Value {
    let mut shown = json!({
        "at": failure.place.to_string(),
        "api": failure.request.map(|(api, _)| api.name()),
        "version": failure.request.map(|(_, version)| version),
        "known": failure.known,
    });
    let (kind, detail) = match &failure.kind {
        FailureKind::Words(differences) => ("differences", json!(differences)),
        FailureKind::Bytes(message) => ("bytes", json!(message)),
        FailureKind::Stopped(message) => ("message", json!(message)),
    };
    if let Some(shown) = shown.as_object_mut() {
        shown.insert(kind.into(), detail);
    }
    shown
}
