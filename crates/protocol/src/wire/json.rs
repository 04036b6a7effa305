//! Messages as JSON, as Java's `JsonConverter` prints them: the fields that a version has, by the schema's names in the
//! schema's order, tagged fields only when they hold something, bytes in base64.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Listed, Packed, Primitive, RawTag, UnknownTags, Uuid};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A message, or a part of one, at a version: something to serialise.
///
/// ```
/// # use milena_protocol::{Json, messages::ApiVersionsRequest};
/// let request = ApiVersionsRequest { client_software_name: "milena".into(), ..Default::default() };
/// let text = serde_json::to_string(&Json::new(&request, 3))?;
/// assert_eq!(text, r#"{"clientSoftwareName":"milena","clientSoftwareVersion":""}"#);
/// assert_eq!(serde_json::to_string(&Json::new(&request, 0))?, "{}");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct Json<'a, T: ?Sized> {
    value: &'a T,
    style: Style,
}

/// How values are printed.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    version: i16,
    unknown_tags: bool,
}

impl<'a, T: ToJson + ?Sized> Json<'a, T> {
    /// `value` with the fields of `version`. What the version has no place for is left out.
    #[must_use]
    pub const fn new(value: &'a T, version: i16) -> Self {
        Self { value, style: Style { version, unknown_tags: false } }
    }

    /// Prints tagged fields that the schema does not know, which Java leaves out: as `unknownTaggedFields`, a list of
    /// `tag` and `data`.
    #[must_use]
    pub const fn with_unknown_tags(mut self) -> Self {
        self.style.unknown_tags = true;
        self
    }
}

impl<T: ToJson + ?Sized> Serialize for Json<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.to_json(self.style, serializer)
    }
}

/// A value that [`Json`] can print.
pub trait ToJson {
    /// Prints the value.
    ///
    /// # Errors
    /// When `serializer` fails.
    fn to_json<S: Serializer>(&self, style: Style, serializer: S) -> Result<S::Ok, S::Error>;
}

/// A structure of a message: what the generator writes of it.
pub trait Fields {
    /// Adds the fields of the version to an object.
    ///
    /// # Errors
    /// When the serializer behind it fails.
    fn fields<M: SerializeMap>(&self, json: &mut Object<'_, M>) -> Result<(), M::Error>;
}

/// The object that a structure becomes.
#[derive(Debug)]
pub struct Object<'m, M> {
    map: &'m mut M,
    style: Style,
}

impl<M: SerializeMap> Object<'_, M> {
    pub(crate) fn version(&self) -> i16 {
        self.style.version
    }

    pub(crate) fn field<T: ToJson>(&mut self, name: &'static str, value: &T) -> Result<(), M::Error> {
        self.map.serialize_entry(name, &Json { value, style: self.style })
    }

    pub(crate) fn unknown_tags(&mut self, tags: &UnknownTags) -> Result<(), M::Error> {
        if !self.style.unknown_tags || tags.is_empty() {
            return Ok(());
        }
        let tags: Vec<_> = tags.iter().map(Tag).collect();
        self.map.serialize_entry("unknownTaggedFields", &tags)
    }
}

/// What the generator writes of a structure: the names of its fields, in the schema's order, and on what it depends whether
/// a field is printed.
macro_rules! fields {
    ($type:ident, $this:ident, $version:ident; $($name:literal $field:ident $(if $printed:expr)?;)* $($tags:ident)?) => {
        impl crate::wire::json::Fields for $type {
            fn fields<M: serde::ser::SerializeMap>(
                &self,
                json: &mut crate::wire::json::Object<'_, M>,
            ) -> Result<(), M::Error> {
                let ($this, $version) = (self, json.version());
                // Not every structure depends on both.
                let _ = ($this, $version);
                $(
                    if true $(&& $printed)? {
                        json.field($name, &self.$field)?;
                    }
                )*
                $(json.unknown_tags(&self.$tags)?;)?
                Ok(())
            }
        }
    };
}

pub(crate) use fields;

struct Tag(RawTag);

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("tag", &self.0.tag)?;
        map.serialize_entry("data", &base64(&self.0.data))?;
        map.end()
    }
}

impl<T: Fields> ToJson for T {
    fn to_json<S: Serializer>(&self, style: Style, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.fields(&mut Object { map: &mut map, style })?;
        map.end()
    }
}

macro_rules! plain {
    ($($type:ty)*) => {$(
        impl ToJson for $type {
            fn to_json<S: Serializer>(&self, _: Style, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }
        }
    )*};
}

plain!(bool i8 i16 u16 i32 u32 i64);

impl ToJson for f64 {
    /// JSON has no word for NaN and infinity; Jackson prints them as text.
    fn to_json<S: Serializer>(&self, _: Style, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_finite() {
            return serializer.serialize_f64(*self);
        }
        serializer.serialize_str(match (self.is_nan(), self.is_sign_positive()) {
            (true, _) => "NaN",
            (_, true) => "Infinity",
            (_, false) => "-Infinity",
        })
    }
}

impl ToJson for ByteString {
    fn to_json<S: Serializer>(&self, _: Style, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl ToJson for Bytes {
    fn to_json<S: Serializer>(&self, _: Style, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64(self))
    }
}

impl ToJson for Uuid {
    fn to_json<S: Serializer>(&self, _: Style, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json<S: Serializer>(&self, style: Style, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.to_json(style, serializer),
            None => serializer.serialize_none(),
        }
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn to_json<S: Serializer>(&self, style: Style, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|value| Json { value, style }))
    }
}

impl<T: ToJson + Clone + Default> ToJson for Listed<T> {
    fn to_json<S: Serializer>(&self, style: Style, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|value| Element { value, style }))
    }
}

impl<T: Primitive + ToJson> ToJson for Packed<T> {
    fn to_json<S: Serializer>(&self, style: Style, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|value| Element { value, style }))
    }
}

/// A value that is handed out, not lent.
struct Element<T> {
    value: T,
    style: Style,
}

impl<T: ToJson> Serialize for Element<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.to_json(self.style, serializer)
    }
}

/// Standard base64 with padding, which is how Jackson writes binary nodes.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| chunk.get(at).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (digit, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = ALPHABET.get((bits.wrapping_shr(shift) & 0x3f) as usize).copied().unwrap_or(b'?');
            text.push(if digit <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_every_remainder() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn numbers_that_json_has_no_word_for_are_text() {
        let text = |number: f64| serde_json::to_string(&Json::new(&number, 0)).unwrap();
        assert_eq!(text(0.5), "0.5");
        assert_eq!((text(f64::NAN), text(f64::NEG_INFINITY)), ("\"NaN\"".into(), "\"-Infinity\"".into()));
    }
}
