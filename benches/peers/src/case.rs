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
    /// Becomes the only member of a new group and waits for the first record, again and again.
    Join,
    /// Two members of a group read what is written steadily; a third comes and goes.
    Rebalance,
}

/// What a case has beyond its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Variant {
    #[default]
    Plain,
    /// The group's members share partitions out.
    Classic,
    /// The broker does.
    Kip848,
    /// One more partition, on another broker, to which nobody writes.
    Idle,
    /// So many MiB may be fetched ahead, and the application is late.
    Budget(u16),
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
    pub(crate) variant: Variant,
}

/// Joins that are measured in one run.
const JOINS: usize = 15;
/// Records in the topic of a group that is joined.
const TO_JOIN: usize = 3_000;
/// Records that a consumer with a budget is behind by: 1 GB of values of 1,000 bytes.
const BEHIND: usize = 1_000_000;

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
        match self.work {
            // The few records of such a topic are to be in all partitions.
            Work::Join => 16 << 10,
            _ if self.partitions > 10 => 128 << 10,
            _ => 1_000_000,
        }
    }

    /// The partitions that its topic has.
    pub(crate) fn topic_partitions(self) -> i32 {
        self.partitions + i32::from(self.variant == Variant::Idle)
    }

    /// Whether peers write records, and do not only read them.
    pub(crate) fn writes(self) -> bool {
        matches!(self.work, Work::Produce | Work::Latency)
    }

    /// How many records are measured, or joins. Reading is quick, and what a client fetches ahead must be a small part of
    /// it. Where records come from beside the peer while it reads, their number is not known beforehand.
    pub(crate) fn records(self, quick: bool) -> usize {
        if let Variant::Budget(_) = self.variant {
            return BEHIND;
        }
        let full = match (self.work, self.value) {
            (Work::Join, _) => return JOINS,
            (Work::Rebalance, _) => return 0,
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
        match self.work {
            Work::Consume | Work::Rebalance => 0,
            Work::Produce | Work::Latency | Work::Join => self.records(quick) / 5,
        }
    }

    /// Records that the topic has before a peer runs.
    pub(crate) fn written_before(self, quick: bool) -> usize {
        match self.work {
            Work::Consume => self.records(quick),
            Work::Join => TO_JOIN,
            Work::Produce | Work::Latency | Work::Rebalance => 0,
        }
    }

    /// The cases of a run, in the order of the table.
    pub(crate) fn all(consume: bool, quick: bool) -> Vec<Self> {
        let work = if consume { Work::Consume } else { Work::Produce };
        let plain = Variant::Plain;
        let case =
            |value, codec, partitions, keyed| Self { work, value, codec, partitions, keyed, variant: plain };
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
        if consume {
            cases.extend(Self::of_groups_and_bounds());
        } else {
            cases.push(Self { work: Work::Latency, ..case(100, CodecName::None, 3, false) });
        }
        cases
    }

    /// What else is asked of a consumer. The case that wants a second broker is the last: it stays.
    fn of_groups_and_bounds() -> impl Iterator<Item = Self> {
        let case = |work, value, partitions, variant| Self {
            work,
            value,
            codec: CodecName::None,
            partitions,
            keyed: false,
            variant,
        };
        let protocols = [Variant::Classic, Variant::Kip848];
        let joins = protocols.map(|protocol| case(Work::Join, 100, 3, protocol));
        let rebalances = protocols.map(|protocol| case(Work::Rebalance, 100, 6, protocol));
        let budgets = [32, 64].map(|mib| case(Work::Consume, 1000, 100, Variant::Budget(mib)));
        let idle = case(Work::Consume, 1000, 3, Variant::Idle);
        joins.into_iter().chain(rebalances).chain(budgets).chain([idle])
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = match self.work {
            Work::Produce => "produce",
            Work::Latency => "latency",
            Work::Consume => "consume",
            Work::Join => "join",
            Work::Rebalance => "rebalance",
        };
        let key = if self.keyed { "key" } else { "nokey" };
        write!(f, "{work}-{}b-{}-{}p-{key}", self.value, self.codec.as_str(), self.partitions)?;
        match self.variant {
            Variant::Plain => Ok(()),
            Variant::Classic => f.write_str("-classic"),
            Variant::Kip848 => f.write_str("-kip848"),
            Variant::Idle => f.write_str("-idle"),
            Variant::Budget(mib) => write!(f, "-{mib}mib"),
        }
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [work, value, codec, partitions, key, rest @ ..] = parts.as_slice() else {
            bail!("{text} is no case such as produce-100b-none-3p-nokey");
        };
        let work = match *work {
            "produce" => Work::Produce,
            "latency" => Work::Latency,
            "consume" => Work::Consume,
            "join" => Work::Join,
            "rebalance" => Work::Rebalance,
            other => bail!("{other} is none of produce, latency, consume, join and rebalance"),
        };
        let variant =
            variant(work, rest).with_context(|| format!("{text} ends in what {work:?} cannot be"))?;
        let codec = CODECS.into_iter().find(|known| known.as_str() == *codec);
        let number = |text: &str, unit: &str| {
            number(text, unit).with_context(|| format!("{text} is no number followed by {unit}"))
        };
        Ok(Self {
            work,
            value: usize::from(number(value, "b")?),
            codec: codec.with_context(|| format!("{text} names no codec of Kafka"))?,
            partitions: i32::from(number(partitions, "p")?),
            keyed: match *key {
                "key" => true,
                "nokey" => false,
                other => bail!("{other} is neither key nor nokey"),
            },
            variant,
        })
    }
}

/// What stands behind the key in the name of a case. A group has a protocol and nothing else has.
fn variant(work: Work, rest: &[&str]) -> Option<Variant> {
    let variant = match *rest {
        [] => Variant::Plain,
        ["classic"] => Variant::Classic,
        ["kip848"] => Variant::Kip848,
        ["idle"] => Variant::Idle,
        [budget] => Variant::Budget(number(budget, "mib")?),
        _ => return None,
    };
    let fits = match work {
        Work::Join | Work::Rebalance => matches!(variant, Variant::Classic | Variant::Kip848),
        Work::Consume => !matches!(variant, Variant::Classic | Variant::Kip848),
        Work::Produce | Work::Latency => variant == Variant::Plain,
    };
    fits.then_some(variant)
}

fn number(text: &str, unit: &str) -> Option<u16> {
    text.strip_suffix(unit)?.parse().ok()
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
        for wrong in [
            "",
            "produce",
            "produce-100b-brotli-3p-key",
            "produce-b-none-3p-key",
            "x-1b-none-3p-key",
            "produce-100b-none-3p-key-idle",
            "consume-100b-none-3p-key-classic",
            "consume-100b-none-3p-key-32",
            "join-100b-none-3p-key",
            "rebalance-100b-none-6p-key-idle",
        ] {
            assert!(wrong.parse::<Case>().is_err(), "{wrong}");
        }
    }
}
