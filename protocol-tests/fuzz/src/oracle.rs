//! The crate `kafka-protocol` as a second opinion.
//!
//! It allocates what a length announces, so it is given only what our decoder has accepted and encoded again: there
//! every length is held against the bytes.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};
use milena_protocol::{
    ApiKey,
    messages::{Request, Response},
    wire::{Encode, Reader, Writer},
};
use protocol_tests::fuzz::message;

/// The first byte is 0 for requests, then as in the targets `request` and `response`.
pub fn agrees(input: &[u8]) {
    let Some((&side, rest)) = input.split_first() else { return };
    let Some((api, version, body)) = message(rest) else { return };
    let Ok(theirs) = TheirKey::try_from(api.code()) else { return };
    let range = theirs.valid_versions();
    if !(range.min..=range.max).contains(&version) {
        return;
    }
    let Some(ours) = canonical(side == 0, api, version, &body) else { return };
    let mut bytes = ours.clone();
    let mut written = BytesMut::new();
    let outcome = if side == 0 {
        RequestKind::decode(theirs, &mut bytes, version).and_then(|read| read.encode(&mut written, version))
    } else {
        ResponseKind::decode(theirs, &mut bytes, version).and_then(|read| read.encode(&mut written, version))
    };
    match outcome {
        // Some messages end before the version that their key announces.
        Err(error) if format!("{error:#}").contains("version not supported") => return,
        outcome => outcome.expect("they read and write what we write"),
    }
    assert!(bytes.is_empty(), "they leave {} bytes", bytes.len());
    assert_eq!(ours, written.freeze(), "{api} version {version}");
}

/// The message in the one form in which we write it.
fn canonical(is_request: bool, api: ApiKey, version: i16, body: &Bytes) -> Option<Bytes> {
    let mut reader = Reader::new(body);
    // What is written may refer to the message.
    let (request, response);
    let mut writer = Writer::new();
    if is_request {
        request = Request::decode(api, &mut reader, version).ok()?;
        request.encode(&mut writer, version).ok()?;
    } else {
        response = Response::decode(api, &mut reader, version).ok()?;
        response.encode(&mut writer, version).ok()?;
    }
    reader.finish().ok()?;
    Some(writer.finish().to_bytes())
}
