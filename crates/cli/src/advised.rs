//! Errors that come with a way out.

use std::borrow::Cow;

use thiserror::Error;

/// An error and what to do about it.
#[derive(Debug, Error)]
#[error("{error:#}")]
pub(crate) struct Advised {
    error: anyhow::Error,
    advice: Cow<'static, str>,
}

/// The error, with what to do about it.
pub(crate) fn advised(
    error: impl Into<anyhow::Error>,
    advice: impl Into<Cow<'static, str>>,
) -> anyhow::Error {
    Advised { error: error.into(), advice: advice.into() }.into()
}

impl Advised {
    pub(crate) fn advice(&self) -> &str {
        &self.advice
    }
}
