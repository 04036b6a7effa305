//! Headers that tell where a record came from and what went wrong with it. They are added behind the record's own, and taken
//! away again when it is sent back.

use milena::{ConsumedRecord, Record};

use crate::GivenUp;

/// What all of our headers begin with, but for the two that other clients know.
const PREFIX: &str = "milena.origin.";
/// How often the record has been put into a retry topic.
pub(crate) const RETRY_COUNT: &str = "retryCount";
/// When it is to be tried again, in milliseconds since 1970.
pub(crate) const RETRY_AT: &str = "retryAt";

/// The longest text of an error that is kept, in bytes.
const MAX_ERROR: usize = 1_000;

/// Where a record was first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    /// Tries so far, of all that had it.
    pub(crate) tries: u32,
}

impl Origin {
    /// What the record says of itself if `is_ours`, and where it lies if it says nothing. Broken headers say nothing.
    pub(crate) fn of(record: &ConsumedRecord, is_ours: bool) -> Self {
        let here = Self {
            topic: record.topic().to_owned(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp: record.timestamp(),
            tries: 0,
        };
        if is_ours { Self::told(record).unwrap_or(here) } else { here }
    }

    /// What the record says of itself.
    pub(crate) fn told(record: &ConsumedRecord) -> Option<Self> {
        Some(Self {
            topic: text(record, "topic")?.to_owned(),
            partition: text(record, "partition")?.parse().ok()?,
            offset: text(record, "offset")?.parse().ok()?,
            timestamp: text(record, "timestamp")?.parse().ok()?,
            tries: text(record, "tries")?.parse().ok()?,
        })
    }

    /// The record as it was, for `topic`, with headers that tell where it was and why it failed. Its time is not the old one:
    /// how long a topic keeps records counts from now.
    pub(crate) fn letter(&self, record: &ConsumedRecord, topic: &str, why: &GivenUp, now_ms: i64) -> Record {
        let tries = self.tries.saturating_add(why.tries);
        let mut error = why.reason.to_string();
        error.truncate(error.floor_char_boundary(MAX_ERROR));
        plain(record, topic)
            .timestamp(now_ms)
            .header(name("topic"), self.topic.clone())
            .header(name("partition"), self.partition.to_string())
            .header(name("offset"), self.offset.to_string())
            .header(name("timestamp"), self.timestamp.to_string())
            .header(name("tries"), tries.to_string())
            .header(name("failedAt"), now_ms.to_string())
            .header(name("error"), error)
    }
}

/// Key, value and headers, without any of ours. Names of headers that are no UTF-8 are mended: no client can send them.
pub(crate) fn plain(record: &ConsumedRecord, topic: &str) -> Record {
    let mut plain = Record::new(topic);
    if let Some(key) = record.key() {
        plain = plain.key(key.clone());
    }
    if let Some(value) = record.value() {
        plain = plain.value(value.clone());
    }
    for header in record.headers() {
        let name = String::from_utf8_lossy(header.name);
        if name.starts_with(PREFIX) || name == RETRY_COUNT || name == RETRY_AT {
            continue;
        }
        plain = match header.value {
            Some(value) => plain.header(&*name, value.to_vec()),
            None => plain.null_header(&*name),
        };
    }
    plain
}

fn name(what: &str) -> String {
    format!("{PREFIX}{what}")
}

fn text<'r>(record: &'r ConsumedRecord, what: &str) -> Option<&'r str> {
    last_text(record, &name(what))
}

/// The last header of a name, when it is a text of a length that makes sense.
pub(crate) fn last_text<'r>(record: &'r ConsumedRecord, name: &str) -> Option<&'r str> {
    let named = record.headers().iter().filter(|header| header.name == name.as_bytes());
    let value = named.last()?.value?;
    std::str::from_utf8(value).ok().filter(|text| text.len() <= 300)
}
