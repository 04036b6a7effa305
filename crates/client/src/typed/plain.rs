//! Text, bytes and numbers, as Java's serializers of these types write them.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;

use super::{Deserializer, Field, SerdeError, Serializer, present};

/// Text in UTF-8, as Java's `StringSerializer` and `StringDeserializer` have it by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8;

impl Serializer for Utf8 {
    type Input = str;

    async fn serialize(&self, value: &str, _: Field<'_>) -> Result<Option<Bytes>, SerdeError> {
        Ok(Some(Bytes::copy_from_slice(value.as_bytes())))
    }
}

impl Deserializer for Utf8 {
    type Output = String;

    async fn deserialize(&self, bytes: Option<&Bytes>, _: Field<'_>) -> Result<String, SerdeError> {
        let text = std::str::from_utf8(present(bytes)?).map_err(SerdeError::invalid)?;
        Ok(text.to_owned())
    }
}

/// [`Bytes`] as they are, without copying.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawBytes;

impl Serializer for RawBytes {
    type Input = Bytes;

    async fn serialize(&self, value: &Bytes, _: Field<'_>) -> Result<Option<Bytes>, SerdeError> {
        Ok(Some(value.clone()))
    }
}

impl Deserializer for RawBytes {
    type Output = Bytes;

    async fn deserialize(&self, bytes: Option<&Bytes>, _: Field<'_>) -> Result<Bytes, SerdeError> {
        present(bytes).cloned()
    }
}

/// Not looked at: what is there is as good as null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored;

impl Deserializer for Ignored {
    type Output = ();

    async fn deserialize(&self, _: Option<&Bytes>, _: Field<'_>) -> Result<(), SerdeError> {
        Ok(())
    }
}

/// What may be null, as an [`Option`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nullable<S>(pub S);

impl<S: Serializer> Serializer for Nullable<S>
where
    S::Input: Sized,
{
    type Input = Option<S::Input>;

    async fn serialize(
        &self,
        value: &Option<S::Input>,
        field: Field<'_>,
    ) -> Result<Option<Bytes>, SerdeError> {
        match value {
            None => Ok(None),
            Some(value) => self.0.serialize(value, field).await,
        }
    }
}

impl<D: Deserializer> Deserializer for Nullable<D> {
    type Output = Option<D::Output>;

    async fn deserialize(
        &self,
        bytes: Option<&Bytes>,
        field: Field<'_>,
    ) -> Result<Option<D::Output>, SerdeError> {
        match bytes {
            None => Ok(None),
            bytes => self.0.deserialize(bytes, field).await.map(Some),
        }
    }
}

/// Numbers with their highest byte first, as Java's `ShortSerializer`, `IntegerSerializer`, `LongSerializer`,
/// `FloatSerializer` and `DoubleSerializer` write them.
pub struct BigEndian<N>(PhantomData<fn() -> N>);

impl<N: IsBigEndian> BigEndian<N> {
    /// For this type of number.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<N: IsBigEndian> Serializer for BigEndian<N> {
    type Input = N;

    async fn serialize(&self, value: &N, _: Field<'_>) -> Result<Option<Bytes>, SerdeError> {
        Ok(Some(value.to_bytes()))
    }
}

impl<N: IsBigEndian> Deserializer for BigEndian<N> {
    type Output = N;

    async fn deserialize(&self, bytes: Option<&Bytes>, _: Field<'_>) -> Result<N, SerdeError> {
        N::from_bytes(present(bytes)?)
    }
}

impl<N> Clone for BigEndian<N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for BigEndian<N> {}

impl<N: IsBigEndian> Default for BigEndian<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N> fmt::Debug for BigEndian<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BigEndian<{}>", std::any::type_name::<N>())
    }
}

/// A number that [`BigEndian`] writes and reads: `i16`, `i32`, `i64`, `f32` or `f64`.
pub trait IsBigEndian: sealed::Number {}

mod sealed {
    use super::{Bytes, SerdeError};

    pub trait Number: Copy + Send + Sync + 'static {
        fn to_bytes(self) -> Bytes;
        fn from_bytes(bytes: &[u8]) -> Result<Self, SerdeError>;
    }
}

macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl IsBigEndian for $number {}

        impl sealed::Number for $number {
            fn to_bytes(self) -> Bytes {
                Bytes::copy_from_slice(&self.to_be_bytes())
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, SerdeError> {
                let wanted = size_of::<Self>();
                let array = bytes.try_into().map_err(|_| {
                    SerdeError::invalid(format!("it has {} bytes and not {wanted}", bytes.len()))
                })?;
                Ok(Self::from_be_bytes(array))
            }
        }
    )+};
}

numbers!(i16, i32, i64, f32, f64);

#[cfg(test)]
mod tests {
    use super::{super::RecordPart, *};

    const FIELD: Field<'_> = Field::new("t", RecordPart::Value);

    async fn read<D: Deserializer>(with: D, bytes: &'static [u8]) -> Result<D::Output, String> {
        let bytes = Bytes::from_static(bytes);
        with.deserialize(Some(&bytes), FIELD).await.map_err(|error| error.to_string())
    }

    /// What Java's serializers make.
    #[tokio::test]
    async fn numbers_are_as_java_writes_them() {
        assert_eq!(read(BigEndian::<i32>::new(), &[0xff, 0xff, 0xff, 0xfe]).await, Ok(-2));
        assert_eq!(read(BigEndian::<i64>::new(), &[0, 0, 0, 0, 0, 0, 1, 2]).await, Ok(258));
        let pi = &[0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18];
        assert_eq!(read(BigEndian::<f64>::new(), pi).await, Ok(std::f64::consts::PI));
        assert_eq!(read(BigEndian::<i32>::new(), &[1, 2]).await.unwrap_err(), "it has 2 bytes and not 4");
        let written = BigEndian::<f64>::new().serialize(&std::f64::consts::PI, FIELD).await.unwrap();
        assert_eq!(written.unwrap(), &pi[..]);
        let written = BigEndian::new().serialize(&-2i16, FIELD).await.unwrap();
        assert_eq!(written.unwrap(), &[0xff, 0xfe][..]);
    }

    #[tokio::test]
    async fn null_and_empty_are_different() {
        assert_eq!(read(Utf8, b"").await.unwrap(), "");
        assert_eq!(Utf8.deserialize(None, FIELD).await.unwrap_err().to_string(), "it is null");
        assert_eq!(Nullable(Utf8).deserialize(None, FIELD).await.unwrap(), None);
        assert_eq!(read(Nullable(Utf8), b"").await, Ok(Some(String::new())));
        assert!(read(Utf8, b"\xff").await.is_err());
        let numbers = Nullable(BigEndian::<i64>::new());
        assert_eq!(numbers.serialize(&None, FIELD).await.unwrap(), None);
        assert!(numbers.serialize(&Some(1), FIELD).await.unwrap().is_some());
        Ignored.deserialize(None, FIELD).await.unwrap();
    }
}
