//! Why properties can't be taken.

use std::fmt;

use thiserror::Error;

use super::{Flavor, PropertiesOf};

/// Properties that Milena can't do as they say. All of them are listed, so that they can be mended at once.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct PropertiesError {
    of: PropertiesOf,
    problems: Vec<PropertyProblem>,
}

impl PropertiesError {
    /// What is wrong, a property each; at least one.
    #[must_use]
    pub fn problems(&self) -> &[PropertyProblem] {
        &self.problems
    }

    /// Refuses if there is a problem.
    pub(super) fn unless_empty(of: PropertiesOf, problems: Vec<PropertyProblem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { of, problems }) }
    }

    pub(super) const fn of(of: PropertiesOf, problems: Vec<PropertyProblem>) -> Self {
        Self { of, problems }
    }
}

impl fmt::Display for PropertiesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {}'s properties can't be taken:", self.of)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n- {problem}"))
    }
}

/// What is wrong with a property. The values of settings that may be secret are in none of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PropertyProblem {
    /// A line that can't be read.
    #[error("line {line}: {reason}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody knows the name.
    #[error("{name} is no setting of {flavor}'s {of}{}", hint(near, other))]
    Unknown {
        /// The name.
        name: String,
        /// What it was to be a setting of.
        of: PropertiesOf,
        /// Whose names were expected.
        flavor: Flavor,
        /// A name that looks like it.
        near: Option<&'static str>,
        /// Who has a setting of that name.
        other: Option<Flavor>,
    },
    /// The name is known, and nothing in Milena would change by it.
    #[error("{name} has no effect: {advice}")]
    NoEffect {
        /// The name.
        name: String,
        /// What to do.
        advice: &'static str,
    },
    /// The value can't be.
    #[error("{name} is {value:?}; {rule}")]
    Invalid {
        /// The name.
        name: String,
        /// The value.
        value: String,
        /// What it must be.
        rule: String,
    },
    /// Milena does not do what the value says, or should not. The value, which may be secret, is not shown.
    #[error("{name} is refused: {reason}")]
    Refused {
        /// The name.
        name: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A property that has to be there.
    #[error("{name} is missing: {reason}")]
    Missing {
        /// The name.
        name: &'static str,
        /// Why it has to be there.
        reason: String,
    },
    /// A file to read or an address to send a secret to, in properties that might be anybody's.
    #[error(
        "{name} has the client read a file or call an address: if whoever wrote the properties may have it do so, say so \
         with ClientProperties::trust_files_and_urls"
    )]
    Untrusted {
        /// The name.
        name: String,
    },
    /// Two lines, of one name or of two names for the same, have different values.
    #[error("{} different values: keep one", both(name, other))]
    Twice {
        /// The name that came first.
        name: String,
        /// The name that came later.
        other: String,
    },
    /// The properties are a transactional producer's, and the builder is not, or is another one's.
    #[error(
        "transactional.id is {id:?}; make the producer with Client::transactional_producer and that id{}",
        builder.as_deref().map(|id| format!(", not {id:?}")).unwrap_or_default()
    )]
    TransactionalId {
        /// The id of the properties.
        id: String,
        /// The id of the builder, if it has one.
        builder: Option<String>,
    },
    /// The properties are of a consumer in a group, and the builder is not, or is in another one.
    #[error(
        "group.id is {id:?}; make the consumer with Client::consumer and that id{}",
        builder.as_deref().map(|id| format!(", not {id:?}")).unwrap_or_default()
    )]
    GroupId {
        /// The id of the properties.
        id: String,
        /// The id of the builder, if it has one.
        builder: Option<String>,
    },
}

impl PropertyProblem {
    /// The property, unless there is none because its line can't be read.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Syntax { .. } => None,
            Self::TransactionalId { .. } => Some("transactional.id"),
            Self::GroupId { .. } => Some("group.id"),
            Self::Missing { name, .. } => Some(name),
            Self::Unknown { name, .. }
            | Self::Refused { name, .. }
            | Self::Untrusted { name }
            | Self::NoEffect { name, .. }
            | Self::Invalid { name, .. }
            | Self::Twice { name, .. } => Some(name),
        }
    }
}

fn hint(near: &Option<&'static str>, other: &Option<Flavor>) -> String {
    match (near, other) {
        (_, Some(other)) => format!(", but one of {other}'s; correct or remove it"),
        (Some(near), None) => format!("; did you mean {near}? Correct or remove it"),
        (None, None) => "; correct or remove it".to_owned(),
    }
}

fn both(name: &str, other: &str) -> String {
    if name == other { format!("{name} is there twice, with") } else { format!("{name} and {other} have") }
}
