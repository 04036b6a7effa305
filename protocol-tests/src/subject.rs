//! Every message of the protocol crate by its name, as one type: what tests over all of them need.

use std::{any::Any, fmt::Debug, ops::RangeInclusive};

use bytes::Bytes;
use milena_protocol::{
    ApiKey, DecodeError, EncodeError, Json, ToJson,
    messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, ControlRecordTypeSchema,
        DefaultPrincipalData, EndTxnMarker, KRaftVersionRecord, LeaderChangeMessage, Request, RequestHeader,
        Response, ResponseHeader, SnapshotFooterRecord, SnapshotHeaderRecord, VotersRecord,
    },
    wire::{Decode, Encode, Reader, Writer},
};
use serde_json::Value;

/// What bytes are said to be.
#[derive(Clone, Copy, Debug)]
pub enum Subject {
    /// The request of an API.
    Request(ApiKey),
    /// The response of an API.
    Response(ApiKey),
    /// A header, or what records hold.
    Structure(&'static Structure),
}

/// A structure that belongs to no API.
#[derive(Debug)]
pub struct Structure {
    name: &'static str,
    versions: RangeInclusive<i16>,
    decode: Decoder,
}

type Decoder = fn(&mut Reader<'_>, i16) -> Result<Box<dyn Message>, DecodeError>;

const STRUCTURES: &[Structure] = &[
    structure::<RequestHeader>("RequestHeader", 1..=2),
    structure::<ResponseHeader>("ResponseHeader", 0..=1),
    structure::<ConsumerProtocolSubscription>("ConsumerProtocolSubscription", 0..=3),
    structure::<ConsumerProtocolAssignment>("ConsumerProtocolAssignment", 0..=3),
    structure::<ControlRecordTypeSchema>("ControlRecordTypeSchema", 0..=0),
    structure::<EndTxnMarker>("EndTxnMarker", 0..=0),
    structure::<LeaderChangeMessage>("LeaderChangeMessage", 0..=1),
    structure::<SnapshotHeaderRecord>("SnapshotHeaderRecord", 0..=0),
    structure::<SnapshotFooterRecord>("SnapshotFooterRecord", 0..=0),
    structure::<KRaftVersionRecord>("KRaftVersionRecord", 0..=0),
    structure::<VotersRecord>("VotersRecord", 0..=0),
    structure::<DefaultPrincipalData>("DefaultPrincipalData", 0..=0),
];

const fn structure<T: Message + Decode>(name: &'static str, versions: RangeInclusive<i16>) -> Structure {
    Structure { name, versions, decode: |reader, version| Ok(Box::new(T::decode(reader, version)?)) }
}

impl Subject {
    /// Everything there is: 89 requests, as many responses, 12 structures.
    pub fn all() -> impl Iterator<Item = Self> {
        let messages = ApiKey::ALL.iter().flat_map(|&api| [Self::Request(api), Self::Response(api)]);
        messages.chain(STRUCTURES.iter().map(Self::Structure))
    }

    /// The subject of this name in the schemas.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|subject| subject.name() == name)
    }

    /// The name in the schemas.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Request(api) => format!("{api}Request"),
            Self::Response(api) => format!("{api}Response"),
            Self::Structure(structure) => structure.name.to_owned(),
        }
    }

    /// The versions that the crate knows, the unstable ones too.
    #[must_use]
    pub fn versions(self) -> RangeInclusive<i16> {
        match self {
            Self::Request(api) | Self::Response(api) => api.versions(),
            Self::Structure(structure) => structure.versions.clone(),
        }
    }

    /// Reads the subject from bytes that must hold nothing else.
    ///
    /// # Errors
    /// When they hold something else.
    pub fn decode(self, bytes: &Bytes, version: i16) -> Result<Box<dyn Message>, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message: Box<dyn Message> = match self {
            Self::Request(api) => Box::new(Request::decode(api, &mut reader, version)?),
            Self::Response(api) => Box::new(Response::decode(api, &mut reader, version)?),
            Self::Structure(structure) => (structure.decode)(&mut reader, version)?,
        };
        reader.finish()?;
        Ok(message)
    }
}

/// A decoded message of any type.
pub trait Message: Debug + 'static {
    /// Its bytes.
    ///
    /// # Errors
    /// When the version can't carry it.
    fn bytes(&self, version: i16) -> Result<Bytes, EncodeError>;

    /// How many bytes it has.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes).
    fn encoded_len(&self, version: i16) -> Result<usize, EncodeError>;

    /// Its values at a version, by the names of the schema.
    fn json(&self, version: i16) -> Value;

    /// True when `other` is of the same type and equal.
    fn equals(&self, other: &dyn Message) -> bool;

    /// For [`equals`](Self::equals).
    fn as_any(&self) -> &dyn Any;
}

impl<T: Encode + ToJson + PartialEq + Debug + 'static> Message for T {
    fn bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut writer = Writer::new();
        self.encode(&mut writer, version)?;
        Ok(writer.finish().to_bytes())
    }

    fn encoded_len(&self, version: i16) -> Result<usize, EncodeError> {
        Encode::encoded_len(self, version)
    }

    fn json(&self, version: i16) -> Value {
        serde_json::to_value(Json::new(self, version))
            .unwrap_or_else(|error| format!("no JSON: {error}").into())
    }

    fn equals(&self, other: &dyn Message) -> bool {
        other.as_any().downcast_ref::<T>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
