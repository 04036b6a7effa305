//! What is wrong with a script.

use std::{fmt, sync::Arc};

use thiserror::Error;

/// A place in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// Where the definition that the line belongs to was called.
    pub called_at: Option<Arc<Place>>,
    /// Whether it is written out several times.
    pub in_loop: bool,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file, self.line, self.column)?;
        match &self.called_at {
            Some(call) => {
                let call = call.outermost();
                write!(out, " (called at {}:{})", call.file, call.line)
            }
            None => Ok(()),
        }
    }
}

impl Place {
    /// The line of the script itself: where the outermost call stands.
    #[must_use]
    pub fn outermost(&self) -> &Self {
        self.called_at.as_deref().map_or(self, Self::outermost)
    }
}

/// A script that can't be understood. Displays as `file:line:column: what, and what may be meant`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ScriptError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What may be meant.
    pub advice: Option<String>,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)?;
        match &self.advice {
            Some(advice) => write!(out, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl ScriptError {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), advice: None }
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Advises the name among `known` that is closest to `given`, if one is close.
    pub(crate) fn suggest<'k>(self, given: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        let lower = given.to_lowercase();
        let likeness = |name: &&str| strsim::jaro_winkler(&lower, &name.to_lowercase());
        let best = known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        match best.filter(|best| likeness(best) > 0.8) {
            Some(best) => self.advise(format!("is `{best}` meant?")),
            None => self,
        }
    }
}
