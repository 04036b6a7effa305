//! A golden line about a value that a version may not be able to carry: we must do what Java does.

use bytes::Bytes;
use milena_protocol::EncodeError;
use serde_json::Value;

use crate::{golden::unhex, subject::Subject};

/// A message of one version that is to be written in another, and what Java does then.
#[derive(Debug)]
pub struct Refusal {
    subject: Subject,
    version: i16,
    to_version: i16,
    bytes: Bytes,
    /// What Java does.
    pub outcome: Outcome,
    line: Value,
}

/// What becomes of a message that is written in another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These bytes.
    Written(Bytes),
    /// Nothing: the version has not got the field of this name, and it must not be lost.
    Refused(String),
    /// Nothing: in the version the field of this name may not be null.
    /// Java does not name it in a message of random values: then it is empty.
    Null(String),
    /// Nothing: there are unknown tagged fields, and the version has no room for them.
    Tags,
    /// Nothing, for a reason that Java does not know.
    Otherwise(EncodeError),
}

impl From<Result<Bytes, EncodeError>> for Outcome {
    fn from(encoded: Result<Bytes, EncodeError>) -> Self {
        match encoded {
            Ok(bytes) => Self::Written(bytes),
            Err(EncodeError::UnsupportedField { field, .. }) => Self::Refused(field.to_owned()),
            Err(EncodeError::NullField { field, .. }) => Self::Null(field.to_owned()),
            Err(EncodeError::UnsupportedTags) => Self::Tags,
            Err(other) => Self::Otherwise(other),
        }
    }
}

impl Refusal {
    /// `None` when the line is of another kind.
    ///
    /// # Panics
    /// When the line is not understood.
    #[must_use]
    #[expect(clippy::panic, reason = "a line that is not understood fails the test")]
    pub fn new(line: Value) -> Option<Self> {
        (line["kind"] == "refusal").then(|| {
            Self::read(&line)
                .map(|refusal| Self { line: line.clone(), ..refusal })
                .unwrap_or_else(|| panic!("not understood: {line}"))
        })
    }

    fn read(line: &Value) -> Option<Self> {
        let version = |name: &str| i16::try_from(line[name].as_i64()?).ok();
        let bytes = |name: &str| Some(Bytes::from(unhex(line[name].as_str()?)));
        let refused = || Some(line["refused"].as_str()?.to_owned());
        let outcome = match line["outcome"].as_str()? {
            "written" => Outcome::Written(bytes("written")?),
            "refused" => Outcome::Refused(refused()?),
            "null" => Outcome::Null(refused().unwrap_or_default()),
            "tags" => Outcome::Tags,
            _ => return None,
        };
        Some(Self {
            subject: Subject::named(line["name"].as_str()?)?,
            version: version("version")?,
            to_version: version("toVersion")?,
            bytes: bytes("hex")?,
            outcome,
            line: Value::Null,
        })
    }

    /// How our encoder differs from Java's, if it does.
    #[must_use]
    pub fn mismatch(&self) -> Option<String> {
        let message = match self.subject.decode(&self.bytes, self.version) {
            Ok(message) => message,
            Err(error) => return Some(format!("not decoded: {error} in {}", self.line)),
        };
        let ours = Outcome::from(message.bytes(self.to_version));
        let alike = match (&ours, &self.outcome) {
            // Among several reasons to refuse, Java finds these first, while it adds up the size.
            (Outcome::Refused(_) | Outcome::Null(_) | Outcome::Tags, Outcome::Null(_) | Outcome::Tags)
                if self.line["set"] == "random" =>
            {
                true
            }
            (ours, java) => ours == java,
        };
        (!alike).then(|| format!("{ours:?} in {}", self.line))
    }
}
