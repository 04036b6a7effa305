//! What can go wrong, whose fault it was, and what was being done.

use std::{fmt, sync::Arc};

/// Why something could not be done. It can be cloned, because all who wait for one request share its failure.
#[derive(Clone)]
pub struct Error(Arc<Failure>);

struct Failure {
    kind: ErrorKind,
    doing: String,
    cause: String,
    status: Option<u16>,
    error_code: Option<i32>,
}

/// Whose fault an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's: settings, a schema or a value that can't be used so.
    Misuse,
    /// The network's: no registry could be reached, or none in time, or all were out of order (status 429 and 5xx).
    Unavailable,
    /// The registry's, or that of whoever answers in its place: the answer is none of a schema registry.
    BadAnswer,
    /// The registry says no: see [`Error::error_code`].
    Refused,
    /// The record's: its bytes are not what its schema says.
    InvalidData,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, doing: impl Into<String>, cause: impl fmt::Display) -> Self {
        let (doing, cause) = (doing.into(), cause.to_string());
        Self(Arc::new(Failure { kind, doing, cause, status: None, error_code: None }))
    }

    pub(crate) fn answered(
        kind: ErrorKind,
        doing: impl Into<String>,
        cause: String,
        status: u16,
        error_code: Option<i32>,
    ) -> Self {
        Self(Arc::new(Failure { kind, doing: doing.into(), cause, status: Some(status), error_code }))
    }

    pub(crate) fn misuse(doing: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Misuse, doing, cause)
    }

    pub(crate) fn data(doing: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidData, doing, cause)
    }

    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The status of the registry's answer, if there was one.
    #[must_use]
    pub fn http_status(&self) -> Option<u16> {
        self.0.status
    }

    /// The registry's own code: 40401 no such subject, 40402 no such version, 40403 no such schema, 42201 no schema,
    /// 42202 no version, 409 incompatible, and so on.
    #[must_use]
    pub fn error_code(&self) -> Option<i32> {
        self.0.error_code
    }

    /// Whether the registry has no such subject, version, schema or configuration.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::Refused && self.http_status() == Some(404)
    }

    /// Whether the registry refused a schema because readers or data of other versions could not live with it.
    #[must_use]
    pub fn is_incompatible(&self) -> bool {
        self.kind() == ErrorKind::Refused && self.http_status() == Some(409)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.doing, self.0.cause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}, {:?})", self.0.kind, self.to_string())
    }
}

impl std::error::Error for Error {}
