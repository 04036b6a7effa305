//! What came of a script, and of each version of each API.

use std::{collections::BTreeMap, fmt, time::Duration};

use milena_protocol::ApiKey;

use crate::{
    run::{Difference, Filled, Offered},
    script::Place,
};

/// What came of a script.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The script.
    pub script: String,
    /// What it is about.
    pub title: String,
    /// Why nothing, or not all, of it was carried out.
    pub skipped: Option<String>,
    /// Every request that was held against what is expected, in its order.
    pub checks: Vec<Check>,
    /// Versions that were to be asked and are not offered.
    pub not_offered: Vec<(ApiKey, i16)>,
    /// What is not as it must be.
    pub failures: Vec<Failure>,
    /// What the embedded broker is known to do otherwise, and does.
    pub known: Vec<Failure>,
    /// What it is said to do otherwise and does not: the note must go.
    pub stale: Vec<Place>,
    /// What goes in the place of `__`.
    pub filled: Vec<Filled>,
    /// What could not be removed.
    pub left_behind: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// True when all that was done was answered as expected.
    #[must_use]
    pub const fn has_passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A request that was held against what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The API.
    pub api: ApiKey,
    /// The version.
    pub version: i16,
    /// Whether it was answered as expected.
    pub passed: bool,
}

/// What went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where in the script.
    pub place: Place,
    /// The API and version, if a request went wrong.
    pub request: Option<(ApiKey, i16)>,
    /// What kind it is of.
    pub kind: FailureKind,
    /// What the embedded broker is known to do.
    pub known: Option<String>,
}

/// What kind of thing went wrong.
#[derive(Clone, Debug)]
pub enum FailureKind {
    /// The answer says something else than is expected.
    Words(Vec<Difference>),
    /// The answer's bytes are not those of the schema.
    Bytes(String),
    /// There is no answer, or the script can't go on.
    Stopped(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.place)?;
        if let Some((api, version)) = self.request {
            write!(out, " {} v{version}", api.name())?;
        }
        if let Some(reason) = &self.known {
            write!(out, " (known: {reason})")?;
        }
        match &self.kind {
            FailureKind::Words(differences) => differences.iter().try_for_each(|difference| {
                let Difference { at, expected, found } = difference;
                write!(
                    out,
                    "\n    {at}: expected {expected}\n    {:>width$}  found    {found}",
                    "",
                    width = at.len()
                )
            }),
            FailureKind::Bytes(message) => write!(out, "\n    bytes: {message}"),
            FailureKind::Stopped(message) => write!(out, "\n    {message}"),
        }
    }
}

/// What is known of a version of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No script asked for it.
    NotCovered,
    /// Every answer was as expected.
    Pass,
    /// Some answer was not.
    Fail,
    /// The cluster does not offer it, though a script asks for it.
    NotOffered,
}

/// Verdicts by API and version.
pub type Verdicts = BTreeMap<ApiKey, BTreeMap<i16, Verdict>>;

/// What is known of each version that is offered or was asked for.
#[must_use]
pub fn verdicts(outcomes: &[Outcome], offered: &Offered) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for (code, (first, last)) in offered {
        let Some(api) = ApiKey::from_code(*code) else { continue };
        let versions = (*first..=*last).map(|version| (version, Verdict::NotCovered)).collect();
        verdicts.insert(api, versions);
    }
    for outcome in outcomes {
        for (api, version) in &outcome.not_offered {
            verdicts.entry(*api).or_default().insert(*version, Verdict::NotOffered);
        }
        for check in &outcome.checks {
            let verdict = if check.passed { Verdict::Pass } else { Verdict::Fail };
            let known = verdicts.entry(check.api).or_default().entry(check.version);
            let known = known.or_insert(Verdict::NotCovered);
            *known = (*known).max(verdict);
        }
    }
    verdicts
}
