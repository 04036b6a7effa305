//! What a message says, in a few words for the trace.

use milena_protocol::{
    ErrorCode,
    messages::{Request, Response},
    records::Batches,
};

/// The batches of a Produce request with their numbers; the name of another one.
pub(super) fn request(request: &Request, version: i16) -> String {
    let mut text = format!("{} v{version}", request.api_key());
    let Request::Produce(produce) = request else { return text };
    for topic in &produce.topic_data {
        for data in &topic.partition_data {
            let batch = Batches::new(data.records.clone().unwrap_or_default()).next();
            let Some(Ok(batch)) = batch else { continue };
            let header = batch.header();
            let (producer, first, last) = (header.producer_id, header.base_sequence, header.last_sequence());
            text += &format!(", {}-{} {producer}:{first}..={last}", topic.name, data.index);
        }
    }
    text
}

/// What the answer to a Produce request says of each partition.
pub(super) fn response(response: &Response) -> String {
    let mut text = response.api_key().to_string();
    let Response::Produce(produce) = response else { return text };
    for answer in produce.responses.iter().flat_map(|topic| &topic.partition_responses) {
        text += &match ErrorCode(answer.error_code) {
            ErrorCode::NONE => format!(", {} at {}", answer.index, answer.base_offset),
            code => format!(", {} {code:?}", answer.index),
        };
    }
    text
}
