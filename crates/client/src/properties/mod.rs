//! Settings in the names of Kafka's Java client or of librdkafka.
//!
//! `file` reads the two formats and `environment` a process's variables, `names` sorts names by what they are about, `given`
//! reads values that are alike everywhere. For each handle there is a folder with the names that are its own, what makes
//! settings of their values, and the public type. What a setting does is the builder's business.

mod client;
mod consumer;
mod environment;
mod error;
mod file;
mod given;
mod names;
mod producer;

use std::fmt;

pub use self::{
    client::ClientProperties,
    consumer::ConsumerProperties,
    error::{PropertiesError, PropertyProblem},
    producer::ProducerProperties,
};

/// Whose names properties have. The same name may mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flavor {
    /// Kafka's Java client, 4.3.1.
    Java,
    /// librdkafka, 2.15: the names of its clients in C, C++, Python, Go, .NET and Rust.
    Librdkafka,
}

impl Flavor {
    const fn other(self) -> Self {
        self.either(Self::Librdkafka, Self::Java)
    }

    /// Of two things the one that is this flavor's.
    const fn either<T: Copy>(self, java: T, librdkafka: T) -> T {
        match self {
            Self::Java => java,
            Self::Librdkafka => librdkafka,
        }
    }

    /// The names and values in the text of a file.
    fn read(self, text: &str) -> Result<Vec<(String, String)>, Vec<PropertyProblem>> {
        match self {
            Self::Java => file::read_java(text),
            Self::Librdkafka => file::read_librdkafka(text),
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Java => "Java",
            Self::Librdkafka => "librdkafka",
        })
    }
}

/// What properties are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PropertiesOf {
    /// A client: [`ClientProperties`].
    Client,
    /// A producer: [`ProducerProperties`].
    Producer,
    /// A consumer: [`ConsumerProperties`].
    Consumer,
}

impl PropertiesOf {
    fn taken<T>(self, read: Result<T, Vec<PropertyProblem>>) -> Result<T, PropertiesError> {
        read.map_err(|problems| PropertiesError::of(self, problems))
    }
}

impl fmt::Display for PropertiesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}

fn owned<N: Into<String>, V: Into<String>>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> impl Iterator<Item = (String, String)> {
    pairs.into_iter().map(|(name, value)| (name.into(), value.into()))
}

fn put<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

#[cfg(test)]
mod tests;
