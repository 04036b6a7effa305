//! `batch(…)` and the other functions that make bytes or texts.

use milena_protocol::records::{BatchBuilder, Compression, ProducerStamp};

use crate::script::{Place, ScriptError};

const FUNCTIONS: [&str; 8] = ["batch", "hex", "data", "join", "repeat", "cut", "poke", "sealed"];

/// Most bytes that a function makes.
const LIMIT: usize = 32 << 20;

/// Where the checksum of a batch stands, and what it covers.
const CRC: usize = 17;
const COVERED: usize = 21;

/// An argument whose variables have their values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Record(Option<Vec<u8>>, Option<Vec<u8>>),
}

/// A function that does not exist is found out before the script runs.
pub(crate) fn check_function(name: &str, place: &Place) -> Result<(), ScriptError> {
    if FUNCTIONS.contains(&name) {
        return Ok(());
    }
    Err(ScriptError::new(place.clone(), format!("there is no function `{name}`")).suggest(name, FUNCTIONS))
}

/// What a function makes; `data` is not among them, since it knows the schemas.
pub(crate) fn call(
    function: &str,
    arguments: &[(Option<String>, Argument)],
    now: i64,
) -> Result<Argument, String> {
    let plain: Vec<&Argument> =
        arguments.iter().filter(|(name, _)| name.is_none()).map(|(_, value)| value).collect();
    match (function, plain.as_slice()) {
        ("batch", _) => Batch::new(arguments, now)?.build().map(Argument::Bytes),
        ("hex", [Argument::Text(digits)]) => unhex(digits).map(Argument::Bytes),
        ("join", _) => join(&plain),
        ("repeat", [Argument::Text(text), Argument::Int(times)]) => {
            let times = usize::try_from(*times).unwrap_or_default();
            if text.len().saturating_mul(times) > LIMIT {
                return Err(format!("more than {LIMIT} bytes"));
            }
            Ok(Argument::Text(text.repeat(times)))
        }
        ("cut", [Argument::Bytes(bytes), Argument::Int(count)]) => {
            let keep = bytes.len().saturating_sub(usize::try_from(*count).unwrap_or_default());
            Ok(Argument::Bytes(bytes.get(..keep).unwrap_or_default().to_vec()))
        }
        ("poke", [Argument::Bytes(bytes), Argument::Int(at), Argument::Int(byte)]) => {
            let mut bytes = bytes.clone();
            let at = if *at < 0 { at + bytes.len() as i64 } else { *at };
            let byte = u8::try_from(*byte).map_err(|_| format!("{byte} is no byte"))?;
            let place = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at));
            *place.ok_or_else(|| format!("there is no byte {at}"))? = byte;
            Ok(Argument::Bytes(bytes))
        }
        ("sealed", [Argument::Bytes(bytes)]) => {
            let mut bytes = bytes.clone();
            let crc = crc32c(bytes.get(COVERED..).unwrap_or_default());
            let place = bytes.get_mut(CRC..COVERED).ok_or("too short for a batch")?;
            place.copy_from_slice(&crc.to_be_bytes());
            Ok(Argument::Bytes(bytes))
        }
        _ => Err(format!("`{function}` can't take {arguments:?}")),
    }
}

fn join(parts: &[&Argument]) -> Result<Argument, String> {
    let (mut bytes, mut is_text) = (Vec::new(), true);
    for part in parts {
        match part {
            Argument::Text(text) => bytes.extend(text.bytes()),
            Argument::Bytes(more) => {
                is_text = false;
                bytes.extend(more);
            }
            Argument::Int(number) => bytes.extend(number.to_string().bytes()),
            other => return Err(format!("`join` can't take {other:?}")),
        }
    }
    if bytes.len() > LIMIT {
        return Err(format!("more than {LIMIT} bytes"));
    }
    match String::from_utf8(bytes) {
        Ok(text) if is_text => Ok(Argument::Text(text)),
        Ok(text) => Ok(Argument::Bytes(text.into_bytes())),
        Err(error) => Ok(Argument::Bytes(error.into_bytes())),
    }
}

fn unhex(digits: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
    let byte = |pair: &[char]| {
        let text: String = pair.iter().collect();
        u8::from_str_radix(&text, 16).map_err(|_| format!("`{text}` is no byte in hexadecimal"))
    };
    digits.chunks(2).map(byte).collect()
}

type KeyAndValue = (Option<Vec<u8>>, Option<Vec<u8>>);

/// What `batch(…)` says.
struct Batch {
    stamp: ProducerStamp,
    codec: Compression,
    first_timestamp: i64,
    records: Vec<KeyAndValue>,
}

impl Batch {
    fn new(arguments: &[(Option<String>, Argument)], now: i64) -> Result<Self, String> {
        let mut batch = Self {
            stamp: ProducerStamp::NONE,
            codec: Compression::None,
            first_timestamp: now,
            records: Vec::new(),
        };
        let (mut count, mut at) = (1, None);
        for (name, value) in arguments {
            let name = name.as_deref().unwrap_or_default();
            let wrong = || format!("`{name}` of a batch can't be {value:?}");
            match (name, value) {
                ("pid", Argument::Int(id)) => batch.stamp.producer_id = *id,
                ("epoch", Argument::Int(epoch)) => {
                    batch.stamp.producer_epoch = (*epoch).try_into().map_err(|_| wrong())?;
                }
                ("seq", Argument::Int(sequence)) => {
                    batch.stamp.base_sequence = (*sequence).try_into().map_err(|_| wrong())?;
                }
                ("txn", Argument::Bool(transactional)) => batch.stamp.transactional = *transactional,
                ("n", Argument::Int(records @ 0..=100_000)) => count = *records,
                ("at", Argument::Int(timestamp)) => at = Some(*timestamp),
                ("codec", Argument::Text(codec)) => batch.codec = codec_named(codec)?,
                ("record", Argument::Record(key, value)) => batch.records.push((key.clone(), value.clone())),
                _ => return Err(wrong()),
            }
        }
        // A few milliseconds apart: where timestamps jump, Kafka begins a new segment.
        batch.first_timestamp = at.unwrap_or(now + i64::from(batch.stamp.base_sequence.max(0) % 1_000));
        if batch.records.is_empty() {
            let record = (Some(b"k".to_vec()), Some(b"v".to_vec()));
            batch.records = vec![record; usize::try_from(count).unwrap_or_default()];
        }
        Ok(batch)
    }

    fn build(self) -> Result<Vec<u8>, String> {
        let mut builder = BatchBuilder::new(LIMIT);
        for (timestamp, (key, value)) in (self.first_timestamp..).zip(&self.records) {
            let appended = builder.append(timestamp, key.as_deref(), value.as_deref(), []);
            appended.map_err(|error| error.to_string())?;
        }
        let compressed = builder.compress(self.codec).map_err(|error| error.to_string())?;
        Ok(compressed.stamp(self.stamp).to_vec())
    }
}

fn codec_named(name: &str) -> Result<Compression, String> {
    let known = (0..=u8::MAX).map_while(Compression::from_id);
    let found = known.into_iter().find(|codec| codec.to_string() == name);
    found.ok_or_else(|| format!("there is no codec `{name}`"))
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |crc: u32, byte: &u8| {
        let bit = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), bit)
    };
    !bytes.iter().fold(u32::MAX, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_mends_a_poked_batch() {
        let batch = call("batch", &[], 5).unwrap();
        let poke = |batch: &Argument, byte| {
            call("poke", &[(None, batch.clone()), (None, Argument::Int(-1)), (None, Argument::Int(byte))], 0)
        };
        let poked = poke(&batch, 1).unwrap();
        assert_ne!(poked, batch);
        let sealed = call("sealed", &[(None, poked.clone())], 0).unwrap();
        assert_ne!(sealed, poked);
        let back = call("sealed", &[(None, poke(&sealed, 0).unwrap())], 0).unwrap();
        assert_eq!(back, batch);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for (name, value) in [("pid", Argument::Text("x".into())), ("codec", Argument::Text("zip".into()))] {
            assert!(call("batch", &[(Some(name.into()), value)], 0).is_err());
        }
        assert!(call("hex", &[(None, Argument::Text("0g".into()))], 0).is_err());
    }
}
