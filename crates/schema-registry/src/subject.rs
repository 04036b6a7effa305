//! Under which subject a schema is registered.

use crate::Error;

/// Which part of a record is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The key.
    Key,
    /// The value.
    Value,
}

/// How a subject gets its name, as Confluent's classes of these names do it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubjectNameStrategy {
    /// `TOPIC-key` and `TOPIC-value`: one type of record in a topic.
    #[default]
    TopicName,
    /// The record's full name: its versions are the same in all topics.
    RecordName,
    /// `TOPIC-RECORD`: several types of record in a topic.
    TopicRecordName,
}

impl SubjectNameStrategy {
    /// The subject's name.
    ///
    /// # Errors
    /// When the record's name is needed and the schema has none.
    pub fn subject(self, topic: &str, part: Part, record: Option<&str>) -> Result<String, Error> {
        let named = || {
            record.ok_or_else(|| {
                Error::misuse("naming a subject", "the schema has no name, which this strategy needs")
            })
        };
        Ok(match (self, part) {
            (Self::TopicName, Part::Key) => format!("{topic}-key"),
            (Self::TopicName, Part::Value) => format!("{topic}-value"),
            (Self::RecordName, _) => named()?.to_owned(),
            (Self::TopicRecordName, _) => format!("{topic}-{}", named()?),
        })
    }
}
