//! Errors that come with a way out.

use thiserror::Error;

/// An error and what to do about it.
#[derive(Debug, Error)]
#[error("{error:#}")]
pub(crate) struct Advised {
    error: anyhow::Error,
    advice: &'static str,
}

impl Advised {
    pub(crate) fn new(error: impl Into<anyhow::Error>, advice: &'static str) -> anyhow::Error {
        Self { error: error.into(), advice }.into()
    }

    pub(crate) fn advice(&self) -> &'static str {
        self.advice
    }
}
