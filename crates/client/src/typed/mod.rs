//! Keys and values as types of the application's.

#[cfg(feature = "schema-registry")]
mod avro;
mod consumer;
#[cfg(feature = "json")]
mod json;
mod plain;
mod records;

use std::{error::Error, fmt};

use bytes::Bytes;
use thiserror::Error;

#[cfg(feature = "schema-registry")]
pub use avro::Avro;
pub use consumer::{TypedConsumer, TypedRecords};
#[cfg(feature = "json")]
pub use json::Json;
pub use plain::{BigEndian, Ignored, IsBigEndian, Nullable, RawBytes, Utf8};
pub use records::{DeserializeError, RecordDeserializer, RecordSerializer, SerializeError, TypedRecord};

/// Makes bytes of keys or values, as Java's interface of this name does.
///
/// [`Utf8`], [`RawBytes`] and [`BigEndian`] write what Java's serializers of these types do; `Json` and `Avro` come with
/// features. What writes usually reads as well: it is a [`Deserializer`], too.
pub trait Serializer: Send + Sync + 'static {
    /// What bytes are made of.
    type Input: ?Sized + Sync;

    /// Makes them; `None` is null: no key, or a tombstone.
    ///
    /// # Errors
    /// When the value can't be written, or a schema that it needs can't be had.
    ///
    /// # Cancellation
    /// Dropping the future takes nothing back that others were told, such as a schema that is registered by then.
    fn serialize(
        &self,
        value: &Self::Input,
        field: Field<'_>,
    ) -> impl Future<Output = Result<Option<Bytes>, SerdeError>> + Send;
}

/// Makes values of the bytes of keys or values, as Java's interface of this name does.
///
/// ```
/// use milena::{Bytes, Deserializer, Field, RecordPart, SerdeError, Utf8};
///
/// struct Celsius;
///
/// impl Deserializer for Celsius {
///     type Output = f32;
///
///     async fn deserialize(&self, bytes: Option<&Bytes>, field: Field<'_>) -> Result<f32, SerdeError> {
///         Utf8.deserialize(bytes, field).await?.parse().map_err(SerdeError::invalid)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), SerdeError> {
/// let field = Field::new("weather", RecordPart::Value);
/// assert_eq!(Celsius.deserialize(Some(&"21.5".into()), field).await?, 21.5);
/// assert!(Celsius.deserialize(None, field).await.is_err());
/// # Ok(())
/// # }
/// ```
pub trait Deserializer: Send + Sync + 'static {
    /// What is made.
    type Output: Send;

    /// Makes it. `None` is null: a record without a key, or a tombstone. [`Nullable`] lets another deserializer have it.
    ///
    /// # Errors
    /// When the bytes are not what they should be, or a schema that they need can't be had.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    fn deserialize(
        &self,
        bytes: Option<&Bytes>,
        field: Field<'_>,
    ) -> impl Future<Output = Result<Self::Output, SerdeError>> + Send;
}

/// Whose bytes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    topic: &'a str,
    part: RecordPart,
}

impl<'a> Field<'a> {
    /// This part of records of a topic.
    #[must_use]
    pub const fn new(topic: &'a str, part: RecordPart) -> Self {
        Self { topic, part }
    }

    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// The part of the record.
    #[must_use]
    pub const fn part(&self) -> RecordPart {
        self.part
    }
}

/// The key or the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordPart {
    /// The key.
    Key,
    /// The value.
    Value,
}

impl fmt::Display for RecordPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Value => "value",
        })
    }
}

/// Why a value can't be made of bytes, or bytes of a value.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct SerdeError {
    reason: Box<dyn Error + Send + Sync>,
    is_transient: bool,
}

impl SerdeError {
    /// The bytes or the value are to blame: trying again can't help.
    pub fn invalid(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { reason: reason.into(), is_transient: false }
    }

    /// Something else is, such as a registry that can't be reached: nothing is known against the bytes or the value.
    pub fn transient(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { reason: reason.into(), is_transient: true }
    }

    /// True when the bytes or the value are not to blame.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.is_transient
    }

    fn null() -> Self {
        Self::invalid("it is null")
    }
}

/// The bytes, which have to be there.
fn present(bytes: Option<&Bytes>) -> Result<&Bytes, SerdeError> {
    bytes.ok_or_else(SerdeError::null)
}
