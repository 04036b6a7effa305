//! Records in Protobuf: between the header and the message stands which message of the schema it is.
//!
//! The way there is written as a count and the indexes, each a zigzag varint; `[0]`, the first message, is a single zero.

use std::{marker::PhantomData, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto};

use crate::{
    EncoderOptions, Error, Part, Schema, SchemaId, SchemaRegistry, SchemaType, SubjectNameStrategy,
    codec::Registrar, framing::framed, split_header,
};

/// So deep may messages be defined within messages.
const DEEPEST: usize = 64;

/// Which message of a `.proto` file: its index, and within it those of nested ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageIndexes {
    indexes: Vec<u32>,
    /// With the package, where it is known.
    full_name: Option<String>,
}

impl MessageIndexes {
    /// The file's first message.
    #[must_use]
    pub fn first() -> Self {
        Self { indexes: vec![0], full_name: None }
    }

    /// The message at the end of this way.
    ///
    /// # Errors
    /// When the way is empty or longer than 64.
    pub fn new(indexes: Vec<u32>) -> Result<Self, Error> {
        let fits = (1..=DEEPEST).contains(&indexes.len())
            && indexes.iter().all(|&index| i32::try_from(index).is_ok());
        if fits {
            Ok(Self { indexes, full_name: None })
        } else {
            Err(Error::misuse("naming a Protobuf message", "1 to 64 indexes are due, none above 2^31"))
        }
    }

    /// The message of this full name, with its package, in a file's descriptor.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(file: &FileDescriptorProto, full_name: &str) -> Result<Self, Error> {
        let missing = || {
            Error::misuse("naming a Protobuf message", format!("{} has no message {full_name}", file.name()))
        };
        let name = match file.package() {
            "" => full_name,
            package => {
                full_name.strip_prefix(package).and_then(|rest| rest.strip_prefix('.')).ok_or_else(missing)?
            }
        };
        let (mut messages, mut indexes): (&[DescriptorProto], _) = (&file.message_type, Vec::new());
        for part in name.split('.') {
            let at = messages.iter().position(|message| message.name() == part).ok_or_else(missing)?;
            indexes.push(u32::try_from(at).map_err(|_| missing())?);
            messages = messages.get(at).map(|message| message.nested_type.as_slice()).unwrap_or_default();
        }
        Ok(Self { full_name: Some(full_name.to_owned()), ..Self::new(indexes)? })
    }

    /// As [`of`](Self::of), with the file's descriptor in bytes (a `FileDescriptorProto`).
    ///
    /// # Errors
    /// When the bytes are no descriptor, or there is no such message.
    pub fn of_bytes(file: &[u8], full_name: &str) -> Result<Self, Error> {
        let file = FileDescriptorProto::decode(file)
            .map_err(|error| Error::misuse("reading a file's descriptor", error))?;
        Self::of(&file, full_name)
    }

    /// The indexes.
    #[must_use]
    pub fn indexes(&self) -> &[u32] {
        &self.indexes
    }

    fn write(&self, bytes: &mut BytesMut) {
        if self.indexes == [0] {
            bytes.put_u8(0);
            return;
        }
        write_varint(bytes, u32::try_from(self.indexes.len()).unwrap_or_default());
        for index in &self.indexes {
            write_varint(bytes, *index);
        }
    }

    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), String> {
        let (count, mut rest) = read_varint(bytes)?;
        if count == 0 {
            return Ok((Self::first(), rest));
        }
        let count = usize::try_from(count).ok().filter(|count| *count <= DEEPEST);
        let mut indexes = Vec::new();
        for _ in 0..count.ok_or("more than 64 message indexes")? {
            let (index, after) = read_varint(rest)?;
            indexes.push(index);
            rest = after;
        }
        Ok((Self { indexes, full_name: None }, rest))
    }
}

fn write_varint(bytes: &mut BytesMut, value: u32) {
    let mut zigzag = u64::from(value) << 1;
    while zigzag >= 0x80 {
        bytes.put_u8(u8::try_from(zigzag & 0x7f).unwrap_or_default() | 0x80);
        zigzag >>= 7;
    }
    bytes.put_u8(u8::try_from(zigzag).unwrap_or_default());
}

fn read_varint(mut bytes: &[u8]) -> Result<(u32, &[u8]), String> {
    let mut zigzag = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first().ok_or("the message indexes end early")?;
        bytes = rest;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            let value = u32::try_from(zigzag >> 1).ok().filter(|_| zigzag & 1 == 0);
            return Ok((value.ok_or("a message index is negative or too large")?, bytes));
        }
    }
    Err("a message index is too long".to_owned())
}

/// Writes messages, with the header that names the schema and the message in it. All tasks may share one.
///
/// # Cancellation
/// As of [`AvroEncoder`](crate::AvroEncoder).
pub struct ProtobufEncoder {
    registrar: Registrar,
    schema: Arc<Schema>,
    message: MessageIndexes,
}

impl ProtobufEncoder {
    /// An encoder of one message of a schema. The schema's text is registered as it is, not looked into.
    ///
    /// # Errors
    /// When the schema is not Protobuf.
    pub fn new(
        registry: SchemaRegistry,
        schema: Schema,
        message: MessageIndexes,
        strategy: SubjectNameStrategy,
    ) -> Result<Self, Error> {
        if schema.schema_type != SchemaType::Protobuf {
            let cause = format!("the schema is {:?}, not Protobuf", schema.schema_type);
            return Err(Error::misuse("building an encoder of Protobuf", cause));
        }
        let registrar = Registrar::new(registry, strategy);
        Ok(Self { registrar, schema: Arc::new(schema), message })
    }

    /// How the schema gets its id.
    #[must_use]
    pub fn options(mut self, options: EncoderOptions) -> Self {
        self.registrar.options = options;
        self
    }

    /// Writes a message.
    ///
    /// # Errors
    /// When the registry can't be asked or refuses, or the strategy needs a name and the message was given by indexes.
    pub async fn encode(&self, topic: &str, part: Part, message: &impl Message) -> Result<Bytes, Error> {
        let mut bytes = self.begin(topic, part).await?;
        message.encode(&mut bytes).map_err(|error| Error::misuse("encoding a record in Protobuf", error))?;
        Ok(bytes.freeze())
    }

    /// As [`encode`](Self::encode), with a message that is encoded already, by whichever crate.
    ///
    /// # Errors
    /// As those of [`encode`](Self::encode).
    pub async fn encode_bytes(&self, topic: &str, part: Part, message: &[u8]) -> Result<Bytes, Error> {
        let mut bytes = self.begin(topic, part).await?;
        bytes.extend_from_slice(message);
        Ok(bytes.freeze())
    }

    async fn begin(&self, topic: &str, part: Part) -> Result<BytesMut, Error> {
        let subject = self.registrar.subject(topic, part, self.message.full_name.as_deref())?;
        let id = if self.registrar.options.use_latest_version {
            self.registrar.latest_id(&subject).await?
        } else {
            self.registrar.id(&subject, &self.schema).await?
        };
        let mut bytes = framed(id);
        self.message.write(&mut bytes);
        Ok(bytes)
    }
}

/// Reads messages. Protobuf needs no schema to read what it knows, so the registry is not asked.
pub struct ProtobufDecoder<M> {
    expected: Option<MessageIndexes>,
    decoded: PhantomData<fn() -> M>,
}

impl<M: Message + Default> ProtobufDecoder<M> {
    /// A decoder. With `expected`, a record with another message is refused.
    #[must_use]
    pub fn new(expected: Option<MessageIndexes>) -> Self {
        Self { expected, decoded: PhantomData }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When there is no header, another message than the expected one, or the bytes are no such message.
    pub fn decode(&self, record: &[u8]) -> Result<M, Error> {
        let (id, message, bytes) = split_protobuf(record)?;
        let invalid = |error: String| Error::data(format!("decoding a record of schema {id}"), error);
        if let Some(expected) = &self.expected
            && expected.indexes != message.indexes
        {
            return Err(invalid(format!("it is message {:?}, not {:?}", message.indexes, expected.indexes)));
        }
        M::decode(bytes).map_err(|error| invalid(error.to_string()))
    }
}

/// Takes header and message indexes off a record: the schema's id, which message it is, and the message's bytes.
///
/// # Errors
/// When there is no header.
pub fn split_protobuf(record: &[u8]) -> Result<(SchemaId, MessageIndexes, &[u8]), Error> {
    let (id, rest) = split_header(record)?;
    let (message, rest) = MessageIndexes::read(rest)
        .map_err(|error| Error::data("reading a record's message indexes", error))?;
    Ok((id, message, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_message_is_a_single_zero() {
        for (indexes, expected) in
            [(vec![0], &[0][..]), (vec![1], &[2, 2]), (vec![0, 1], &[4, 0, 2]), (vec![64], &[2, 0x80, 1])]
        {
            let indexes = MessageIndexes::new(indexes).unwrap();
            let mut bytes = BytesMut::new();
            indexes.write(&mut bytes);
            assert_eq!(&bytes[..], expected);
            assert_eq!(MessageIndexes::read(&bytes).unwrap(), (indexes, &[][..]));
        }
    }

    #[test]
    fn a_name_leads_to_its_message() {
        let message = |name: &str, nested_type| DescriptorProto {
            name: Some(name.to_owned()),
            nested_type,
            ..Default::default()
        };
        let file = FileDescriptorProto {
            package: Some("shop.v1".to_owned()),
            message_type: vec![
                message("Order", vec![]),
                message("Cart", vec![message("A", vec![]), message("Line", vec![])]),
            ],
            ..Default::default()
        };
        let of = |name| MessageIndexes::of_bytes(&file.encode_to_vec(), name).map(|found| found.indexes);
        assert_eq!(of("shop.v1.Order").unwrap(), [0]);
        assert_eq!(of("shop.v1.Cart.Line").unwrap(), [1, 1]);
        for name in ["Order", "shop.v1.Line", "shop.v1", ""] {
            of(name).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = split_protobuf(&bytes);
        }
    }
}
