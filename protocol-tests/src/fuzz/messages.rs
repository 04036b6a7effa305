//! Messages: what is decoded can be encoded, and is the same again.

use std::fmt::Debug;

use bytes::Bytes;
use milena_protocol::{
    ApiKey, DecodeError, EncodeError,
    frame::{LENGTH_PREFIX, correlation_id, decode_request, decode_response, frame_len},
    messages::{FetchResponse, ProduceRequest},
    wire::{Decode, Listed, Reader},
};

use super::heap;
use crate::subject::Subject;

/// The longest frame that the `frame` target reads.
const LIMIT: usize = 1 << 20;

/// The API, the version and the body that an input stands for.
#[must_use]
pub fn message(input: &[u8]) -> Option<(ApiKey, i16, Bytes)> {
    let (&[api, version], body) = input.split_first_chunk()?;
    let api = ApiKey::from_code(i16::from(api))?;
    Some((api, i16::from(version.cast_signed()), Bytes::copy_from_slice(body)))
}

/// The first byte is 0 for what a broker reads; else the next two are the API and the version of the answers.
pub(super) fn frame(input: &[u8]) {
    let Some((&side, rest)) = input.split_first() else { return };
    let (answers_to, stream) = match (side, message(rest)) {
        (0, _) => (None, rest),
        (_, Some((api, version, _))) => (Some((api, version)), rest.get(2..).unwrap_or_default()),
        _ => return,
    };
    let mut rest = Bytes::copy_from_slice(stream);
    while let Some(prefix) = rest.first_chunk::<LENGTH_PREFIX>() {
        let Ok(len) = frame_len(*prefix, LIMIT) else { return };
        assert!(len <= LIMIT, "a frame over the limit");
        let Some(end) = len.checked_add(LENGTH_PREFIX).filter(|end| *end <= rest.len()) else { return };
        let frame = rest.split_to(end).split_off(LENGTH_PREFIX);
        heap::within(heap::owned(frame.len()), || read_frame(&frame, answers_to));
    }
}

fn read_frame(frame: &Bytes, answers_to: Option<(ApiKey, i16)>) {
    match answers_to {
        None => {
            if let Ok(received) = decode_request(frame) {
                assert_eq!(received.header.request_api_key, received.api.code());
            }
        }
        Some((api, version)) => {
            let id = correlation_id(frame);
            let read = decode_response(api, version, frame);
            assert!(id.is_ok() || read.is_err(), "a response without an id");
        }
    }
}

pub(super) fn request(input: &[u8]) {
    let Some((api, version, body)) = message(input) else { return };
    holds(Subject::Request(api), &body, version);
}

pub(super) fn response(input: &[u8]) {
    let Some((api, version, body)) = message(input) else { return };
    holds(Subject::Response(api), &body, version);
}

/// The first byte says which of the structures that belong to no API: headers, what members of a group tell each other,
/// control records.
pub(super) fn data(input: &[u8]) {
    let Some((&[which, version], body)) = input.split_first_chunk() else { return };
    let Some(structure) = structures().nth(which.into()) else { return };
    holds(structure, &Bytes::copy_from_slice(body), version.cast_signed().into());
}

/// What [`data`] can read, in its order.
pub(super) fn structures() -> impl Iterator<Item = Subject> {
    Subject::all().filter(|subject| matches!(subject, Subject::Structure(_)))
}

/// Every element that was counted is handed out, by every way to ask for it, and again.
pub(super) fn listed(input: &[u8]) {
    let Some((&[which, version], body)) = input.split_first_chunk() else { return };
    let body = Bytes::copy_from_slice(body);
    let version = version.cast_signed().into();
    let mut reader = Reader::new(&body);
    if which == 0 {
        let fetched = heap::within(heap::VIEW, || FetchResponse::decode(&mut reader, version));
        let Ok(fetched) = fetched else { return };
        complete(&fetched.responses);
        for topic in &fetched.responses {
            complete(&topic.partitions);
            let aborted = topic.partitions.iter().filter_map(|partition| partition.aborted_transactions);
            aborted.for_each(|aborted| complete(&aborted));
        }
    } else {
        let produced = heap::within(heap::VIEW, || ProduceRequest::decode(&mut reader, version));
        let Ok(produced) = produced else { return };
        complete(&produced.topic_data);
        produced.topic_data.iter().for_each(|topic| complete(&topic.partition_data));
    }
}

fn complete<T: Clone + Default + PartialEq + Debug>(listed: &Listed<T>) {
    assert_eq!(listed.iter().count(), listed.len(), "elements were lost");
    assert_eq!(listed.iter().len(), listed.len(), "the iterator announces another count");
    let built = listed.clone().into_vec();
    assert_eq!(built.len(), listed.len(), "elements were lost in building");
    assert!(listed.iter().eq(built.iter().cloned()), "an element differs from itself");
    let mut walk = listed.walk();
    let lent = built.iter().all(|element| walk.lend_next().is_some_and(|lent| lent == element));
    assert!(lent && walk.lend_next().is_none(), "an element is left over from another");
    let last = listed.len().checked_sub(1);
    assert_eq!(last.and_then(|last| listed.get(last)).as_ref(), built.last(), "the last element is another");
    assert_eq!(listed.get(listed.len()), None, "an element too many");
}

/// Decodes, encodes, decodes and encodes again, within the bound for owned messages.
fn holds(subject: Subject, body: &Bytes, version: i16) {
    let message = match heap::within(heap::owned(body.len()), || subject.decode(body, version)) {
        Ok(message) => message,
        Err(DecodeError { at, .. }) => {
            return assert!(at <= body.len(), "an error at byte {at} of {}", body.len());
        }
    };
    let encoded = match message.bytes(version) {
        Ok(encoded) => encoded,
        // Readers take tags in any order, writers only in theirs.
        Err(EncodeError::UnorderedTag(_)) => return,
        Err(error) => panic!("what was decoded can't be encoded: {error}: {message:?}"),
    };
    assert!(encoded.len() <= body.len(), "{} bytes became {}: {message:?}", body.len(), encoded.len());
    let again = subject.decode(&encoded, version);
    let again =
        again.unwrap_or_else(|error| panic!("what was encoded can't be decoded: {error}: {message:?}"));
    // A message with NaN in it is unequal to itself.
    if message.equals(&*message) {
        assert!(again.equals(&*message), "{message:?} became {again:?}");
    }
    let same = again.bytes(version).as_ref() == Ok(&encoded);
    assert!(same, "encoding {message:?} depends on where it was decoded from");
}
