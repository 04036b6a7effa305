//! JSON, by serde.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Deserializer, Field, SerdeError, Serializer, present};

/// Values of a type of serde's as JSON, without a schema.
///
/// ```
/// use milena::{Deserializer, Field, Json, RecordPart, Serializer};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Order { id: u64 }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), milena::SerdeError> {
/// let (orders, field) = (Json::<Order>::new(), Field::new("orders", RecordPart::Value));
/// let bytes = orders.serialize(&Order { id: 7 }, field).await?;
/// assert_eq!(bytes.as_deref(), Some(&br#"{"id":7}"#[..]));
/// assert_eq!(orders.deserialize(bytes.as_ref(), field).await?, Order { id: 7 });
/// # Ok(())
/// # }
/// ```
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// For this type.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Serialize + Sync + 'static> Serializer for Json<T> {
    type Input = T;

    async fn serialize(&self, value: &T, _: Field<'_>) -> Result<Option<Bytes>, SerdeError> {
        Ok(Some(serde_json::to_vec(value).map_err(SerdeError::invalid)?.into()))
    }
}

impl<T: DeserializeOwned + Send + 'static> Deserializer for Json<T> {
    type Output = T;

    async fn deserialize(&self, bytes: Option<&Bytes>, _: Field<'_>) -> Result<T, SerdeError> {
        serde_json::from_slice(present(bytes)?).map_err(SerdeError::invalid)
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Json<T> {}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json<{}>", std::any::type_name::<T>())
    }
}
