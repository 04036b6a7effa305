//! Whole frames: a length, a header, a message.
//!
//! # References
//! [The protocol's size prefix](https://kafka.apache.org/protocol#protocol_common), KIP-482 for the flexible headers,
//! KIP-511 for the response header of ApiVersions, KIP-498 for the bytes of a peer that speaks something else.

use bytes::Bytes;
use thiserror::Error;

#[cfg(feature = "broker")]
use crate::messages::RequestHeader;
#[cfg(any(feature = "client", feature = "broker"))]
use crate::{
    DecodeError, EncodeError,
    messages::{ApiKey, Request, Response, ResponseHeader},
    wire::{Decode, Encode, Frame, Reader, Writer},
};

/// The bytes of a frame's length.
pub const LENGTH_PREFIX: usize = 4;

/// Why four bytes are not the length of a frame to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer answered in HTTP.
    #[error("the peer speaks HTTP, not Kafka")]
    Http,
    /// The peer answered in TLS.
    #[error("the peer speaks TLS; this connection is in plaintext")]
    Tls,
    /// The length is negative.
    #[error("a frame of {0} bytes is announced; the peer does not speak Kafka")]
    Negative(i32),
    /// The length is over the limit.
    #[error("a frame of {len} bytes is announced, over the limit of {limit}; does the peer speak Kafka?")]
    TooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// The length of the frame behind its first four bytes, of at most `limit` bytes.
///
/// To be asked before anything is allocated for the frame.
///
/// # Errors
/// When the bytes are no such length. Those that start an HTTP answer or a TLS record are named: they are the usual
/// reason for a length of a gigabyte.
///
/// ```
/// # use milena_protocol::frame::{FrameError, frame_len};
/// assert_eq!(frame_len([0, 0, 1, 0], 1024), Ok(256));
/// assert_eq!(frame_len(*b"HTTP", 1024), Err(FrameError::Http));
/// ```
pub fn frame_len(prefix: [u8; LENGTH_PREFIX], limit: usize) -> Result<usize, FrameError> {
    let len = i32::from_be_bytes(prefix);
    let Ok(len) = usize::try_from(len) else { return Err(FrameError::Negative(len)) };
    if len <= limit {
        return Ok(len);
    }
    match prefix {
        [b'H', b'T', b'T', b'P'] => Err(FrameError::Http),
        // A record's type (alert or handshake), then the major version of TLS.
        [0x15 | 0x16, 3, ..] => Err(FrameError::Tls),
        _ => Err(FrameError::TooLong { len, limit }),
    }
}

/// Appends a request with its header and length to what `writer` holds, in which payloads are borrowed.
///
/// For one request after the other: `writer` can be written with [`Writer::chunks`], and its buffer used again.
///
/// # Errors
/// When the version can't carry the request. The writer then holds what it held before.
#[cfg(feature = "client")]
pub fn encode_request_into<'v>(
    writer: &mut Writer<'v>,
    request: &'v Request,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<(), EncodeError> {
    let api = request.api_key();
    writer.frame(|writer| {
        // A RequestHeader, which would have to outlive the writer.
        writer.i16(api.code());
        writer.i16(version);
        writer.i32(correlation_id);
        // Never compact, so that a broker can read it in a version it does not know.
        writer.nullable_str(false, client_id)?;
        if api.request_header_version(version) >= 2 {
            writer.unsigned_varint(0);
        }
        request.encode(writer, version)
    })
}

/// A request with its header and length, as slices for one vectored write.
///
/// # Errors
/// When the version can't carry the request.
#[cfg(feature = "client")]
pub fn encode_request(
    request: &Request,
    version: i16,
    correlation_id: i32,
    client_id: Option<crate::wire::ByteString>,
) -> Result<Frame, EncodeError> {
    let mut writer = Writer::new();
    encode_request_into(&mut writer, request, version, correlation_id, client_id.as_deref())?;
    Ok(writer.finish())
}

/// The id that tells which request a response (without its length) answers.
///
/// # Errors
/// When there are fewer than four bytes.
#[cfg(feature = "client")]
pub fn correlation_id(frame: &Bytes) -> Result<i32, DecodeError> {
    Reader::new(frame).i32()
}

/// A response, from a frame without its length.
///
/// # Errors
/// When the bytes are not that response, or do not end with it.
#[cfg(feature = "client")]
pub fn decode_response(api: ApiKey, version: i16, frame: &Bytes) -> Result<Response, DecodeError> {
    let mut reader = Reader::new(frame);
    ResponseHeader::decode(&mut reader, api.response_header_version(version))?;
    let response = Response::decode(api, &mut reader, version)?;
    reader.finish()?;
    Ok(response)
}

/// What a broker reads from a frame without its length.
#[cfg(feature = "broker")]
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedRequest {
    /// The header.
    pub header: RequestHeader,
    /// The API the header names.
    pub api: ApiKey,
    /// The body, or what is wrong with it. The header stands all the same: it is what an answer needs.
    pub body: Result<Request, DecodeError>,
}

/// A request, from a frame without its length.
///
/// # Errors
/// When not even the header can be read, or it names an API that is not known: such a connection can't go on.
#[cfg(feature = "broker")]
pub fn decode_request(frame: &Bytes) -> Result<ReceivedRequest, DecodeError> {
    let mut peek = Reader::new(frame);
    let key = peek.i16()?;
    let version = peek.i16()?;
    let api = ApiKey::from_code(key).ok_or_else(|| peek.error(crate::DecodeErrorKind::UnknownApiKey(key)))?;
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader, api.request_header_version(version))?;
    let body = Request::decode(api, &mut reader, version).and_then(|body| {
        reader.finish()?;
        Ok(body)
    });
    Ok(ReceivedRequest { header, api, body })
}

/// A response with its header and length, as slices for one vectored write.
///
/// # Errors
/// When the version can't carry the response.
#[cfg(feature = "broker")]
pub fn encode_response(response: &Response, version: i16, correlation_id: i32) -> Result<Frame, EncodeError> {
    let header = ResponseHeader { correlation_id, ..ResponseHeader::default() };
    let mut writer = Writer::new();
    writer.frame(|writer| {
        header.encode(writer, response.api_key().response_header_version(version))?;
        response.encode(writer, version)
    })?;
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(feature = "client", feature = "broker"))]
    #[test]
    fn the_header_is_the_schemas() {
        for (version, client_id) in [(8, None), (8, Some("me")), (12, None), (12, Some(""))] {
            let request: Request = crate::messages::MetadataRequest::default().into();
            let client_id = client_id.map(crate::wire::ByteString::from);
            let frame = encode_request(&request, version, 77, client_id.clone()).unwrap().to_bytes();
            let received = decode_request(&frame.slice(LENGTH_PREFIX..)).unwrap();
            let header = RequestHeader {
                request_api_key: 3,
                request_api_version: version,
                correlation_id: 77,
                client_id,
                ..RequestHeader::default()
            };
            assert_eq!((received.header, received.body), (header, Ok(request)));
        }
    }

    #[test]
    fn a_peer_that_is_not_kafka_is_named() {
        let limit = 100 << 20;
        assert_eq!(frame_len(*b"HTTP", limit), Err(FrameError::Http));
        assert_eq!(frame_len([0x15, 3, 3, 0], limit), Err(FrameError::Tls));
        assert_eq!(frame_len([0xff; 4], limit), Err(FrameError::Negative(-1)));
        let len = i32::MAX as usize;
        assert_eq!(frame_len(i32::MAX.to_be_bytes(), limit), Err(FrameError::TooLong { len, limit }));
    }
}
