//! What is measured: one case is one line of settings that every peer is given alike.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, bail};
use milena_protocol::records::Compression;
use serde::{Deserialize, Serialize};

/// What a peer does in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    /// Hands records over as fast as it can; all are awaited.
    Produce,
    /// Sends one record at a time, each awaited before the next.
    Latency,
    /// Reads a topic that is full already.
    Consume,
}

/// The name of a codec, as Kafka spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CodecName {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// What every peer has as its default but Milena. A level of one encoder is not the same level of another: Milena has its own
/// default, and the bytes stored tell what came of it.
pub(crate) const GZIP_LEVEL: i32 = 6;
/// As [`GZIP_LEVEL`].
pub(crate) const ZSTD_LEVEL: i32 = 3;

/// One line of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) work: Work,
    /// Bytes of a value.
    pub(crate) value: usize,
    pub(crate) codec: CodecName,
    pub(crate) partitions: i32,
    pub(crate) keyed: bool,
}

const CODECS: [CodecName; 5] =
    [CodecName::None, CodecName::Gzip, CodecName::Snappy, CodecName::Lz4, CodecName::Zstd];

impl CodecName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Milena's codec at the level that all peers use.
    pub(crate) fn codec(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Snappy => Compression::Snappy,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd,
        }
    }
}

impl Case {
    /// The bytes that a batch may have. What a partition gets within the linger of 5 ms is far less than this where
    /// there are 100 of them; a peer that reserves whole batches must not run out of its 32 MiB there.
    pub(crate) fn batch_size(self) -> usize {
        if self.partitions > 10 { 128 << 10 } else { 1_000_000 }
    }

    /// How many records are measured. Reading is quick, and what a client fetches ahead must be a small part of it.
    pub(crate) fn records(self, quick: bool) -> usize {
        let full = match (self.work, self.value) {
            (Work::Latency, _) => 5_000,
            (Work::Consume, ..=200) => 5_000_000,
            (Work::Consume, _) => 1_000_000,
            (_, ..=200) => 1_000_000,
            (_, _) => 250_000,
        };
        if quick { full * 2 / 5 } else { full }
    }

    /// Records before those that are measured. None when reading: a client fetches ahead, so that there is no moment at
    /// which the measured part of the work begins but the first.
    pub(crate) fn warm_up(self, quick: bool) -> usize {
        if self.work == Work::Consume { 0 } else { self.records(quick) / 5 }
    }

    /// The cases of a run, in the order of the table.
    pub(crate) fn all(consume: bool, quick: bool) -> Vec<Self> {
        let work = if consume { Work::Consume } else { Work::Produce };
        let case = |value, codec, partitions, keyed| Self { work, value, codec, partitions, keyed };
        let mut cases = Vec::new();
        if quick {
            cases.extend(CODECS.map(|codec| case(100, codec, 3, false)));
            cases.push(case(100, CodecName::None, 100, true));
            cases.extend(CODECS.map(|codec| case(1000, codec, 3, false)));
        } else {
            for value in [100, 1000] {
                for partitions in [3, 100] {
                    for keyed in [false, true] {
                        cases.extend(CODECS.map(|codec| case(value, codec, partitions, keyed)));
                    }
                }
            }
        }
        if !consume {
            cases.push(Self { work: Work::Latency, ..case(100, CodecName::None, 3, false) });
        }
        cases
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = match self.work {
            Work::Produce => "produce",
            Work::Latency => "latency",
            Work::Consume => "consume",
        };
        let key = if self.keyed { "key" } else { "nokey" };
        write!(f, "{work}-{}b-{}-{}p-{key}", self.value, self.codec.as_str(), self.partitions)
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [work, value, codec, partitions, key] = parts.as_slice() else {
            bail!("{text} is no case such as produce-100b-none-3p-nokey");
        };
        let work = match *work {
            "produce" => Work::Produce,
            "latency" => Work::Latency,
            "consume" => Work::Consume,
            other => bail!("{other} is none of produce, latency and consume"),
        };
        let codec = CODECS.into_iter().find(|known| known.as_str() == *codec);
        let number = |text: &str, unit: char| {
            text.strip_suffix(unit)
                .and_then(|number| number.parse::<u16>().ok())
                .with_context(|| format!("{text} is no number followed by {unit}"))
        };
        Ok(Self {
            work,
            value: usize::from(number(value, 'b')?),
            codec: codec.with_context(|| format!("{text} names no codec of Kafka"))?,
            partitions: i32::from(number(partitions, 'p')?),
            keyed: match *key {
                "key" => true,
                "nokey" => false,
                other => bail!("{other} is neither key nor nokey"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_back_from_its_name() {
        for quick in [false, true] {
            for case in Case::all(false, quick).into_iter().chain(Case::all(true, quick)) {
                assert_eq!(case.to_string().parse::<Case>().unwrap(), case);
            }
        }
        assert_eq!(Case::all(false, false).len(), 41);
        for wrong in
            ["", "produce", "produce-100b-brotli-3p-key", "produce-b-none-3p-key", "x-1b-none-3p-key"]
        {
            assert!(wrong.parse::<Case>().is_err(), "{wrong}");
        }
    }
}
