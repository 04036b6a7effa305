//! From values to settings.

use std::time::Duration;

use milena_producer::{Acks, Partitioner};
use milena_protocol::records::{Codec, Compression};

use super::{Settings, names::Setting};
use crate::properties::{
    Flavor, PropertyProblem,
    given::{Given, INT, LONG, Read, noted},
};

impl Given<Setting> {
    /// Reads every value. Those that can't be read are added to `problems`.
    pub(super) fn read(&self, problems: &mut Vec<PropertyProblem>) -> Settings {
        use Setting as S;
        let is_java = self.flavor() == Flavor::Java;
        let (acks, idempotence) = noted(problems, self.guarantees()).unwrap_or_default();
        let up_to = |java, librdkafka| if is_java { java } else { librdkafka };
        let from = u64::from(!is_java);
        Settings {
            acks,
            idempotence,
            linger: noted(problems, self.linger()),
            batch_size: noted(problems, self.batch_size()),
            buffer_memory: noted(problems, self.buffer_memory()),
            max_request_size: noted(
                problems,
                self.bytes(S::MaxRequestSize, 1024..=up_to(INT / 2, 1_000_000_000)),
            ),
            max_in_flight: noted(problems, self.bytes_or(S::MaxInFlight, 1..=INT, "requests")),
            codec: noted(problems, self.codec()),
            request_timeout: noted(problems, self.ms(S::RequestTimeout, 1..=up_to(INT, 900_000))),
            delivery_timeout: noted(problems, self.delivery_timeout()),
            retry_initial: noted(problems, self.ms(S::RetryInitial, from..=up_to(LONG, 300_000))),
            retry_max: noted(problems, self.ms(S::RetryMax, from..=up_to(LONG, 300_000))),
            max_block: noted(problems, self.ms(S::MaxBlock, 0..=LONG)),
            partitioner: noted(problems, self.partitioner()),
            adaptive_partitioning: noted(problems, self.flag(S::Adaptive)),
            availability_timeout: noted(problems, self.availability_timeout()),
            prefer_rack: noted(problems, self.prefer_rack()),
            transactional_id: noted(problems, self.transactional_id()),
            transaction_timeout: noted(problems, self.ms(S::TransactionTimeout, up_to(10, 1000)..=INT)),
        }
    }

    /// What the producer promises: who must have a record, and whether retries are recognised. Acks of less than all turn
    /// idempotence off where nothing is said of it, as they do with Java.
    fn guarantees(&self) -> Read<Option<(Option<Acks>, Option<bool>)>> {
        let idempotence = self.flag(Setting::Idempotence)?;
        let acks = match self.property(Setting::Acks) {
            None => None,
            Some(property) => match property.value() {
                "all" | "-1" => Some(Acks::All),
                "1" => Some(Acks::Leader),
                "0" => Some(Acks::None),
                _ => return property.invalid("it is all, 1 or 0"),
            },
        };
        if let Some(property) = self.property(Setting::Acks)
            && acks != Some(Acks::All)
        {
            return match idempotence {
                Some(true) => {
                    property.invalid("an idempotent producer has all: that, or enable.idempotence=false")
                }
                _ => Ok(Some((acks, Some(false)))),
            };
        }
        if idempotence != Some(false)
            && let Some(property) = self.property(Setting::MaxInFlight)
            && property.value().parse::<u64>().is_ok_and(|requests| requests > 5)
        {
            return property.invalid(
                "an idempotent producer has 1 to 5 requests in flight: that, or enable.idempotence=false",
            );
        }
        Ok(Some((acks, idempotence)))
    }

    /// librdkafka takes parts of a millisecond.
    fn linger(&self) -> Read<Option<Duration>> {
        const LONGEST_MS: u64 = 900_000;
        let Some(property) = self.property(Setting::Linger) else { return Ok(None) };
        if self.flavor() == Flavor::Java || !property.value().contains('.') {
            let longest = if self.flavor() == Flavor::Java { LONG } else { LONGEST_MS };
            return self.ms(Setting::Linger, 0..=longest);
        }
        let is_decimal = property.value().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let ms = property.value().parse::<f64>().ok().filter(|ms| is_decimal && *ms <= LONGEST_MS as f64);
        match ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok()) {
            Some(linger) => Ok(Some(linger)),
            None => property
                .invalid(format!("it is a number of milliseconds from 0 to {LONGEST_MS}, without a unit")),
        }
    }

    /// Java takes 0 for batches of one record each, as it does 1.
    fn batch_size(&self) -> Read<Option<usize>> {
        let least = u64::from(self.flavor() == Flavor::Librdkafka);
        Ok(self.bytes(Setting::BatchSize, least..=INT)?.map(|bytes| bytes.max(1)))
    }

    fn buffer_memory(&self) -> Read<Option<usize>> {
        if let Some(bytes) = self.bytes(Setting::BufferBytes, 0..=LONG)? {
            return Ok(Some(bytes));
        }
        let kbytes = self.bytes_or(Setting::BufferKbytes, 1..=INT, "units of 1024 bytes")?;
        Ok(kbytes.map(|kbytes| kbytes.saturating_mul(1024)))
    }

    /// With librdkafka 0 is without end.
    fn delivery_timeout(&self) -> Read<Option<Duration>> {
        let timeout = self.ms(Setting::DeliveryTimeout, 0..=INT)?;
        let is_endless = self.flavor() == Flavor::Librdkafka && timeout == Some(Duration::ZERO);
        Ok(if is_endless { Some(Duration::MAX) } else { timeout })
    }

    /// 0 turns it off.
    fn availability_timeout(&self) -> Read<Option<Option<Duration>>> {
        let timeout = self.ms(Setting::AvailabilityTimeout, 0..=LONG)?;
        Ok(timeout.map(|timeout| (!timeout.is_zero()).then_some(timeout)))
    }

    fn transactional_id(&self) -> Read<Option<String>> {
        match self.property(Setting::TransactionalId) {
            Some(property) if property.value().is_empty() => property.invalid("it has at least a letter"),
            property => Ok(property.map(|property| property.value().to_owned())),
        }
    }

    fn prefer_rack(&self) -> Read<Option<milena_protocol::wire::ByteString>> {
        if self.flag(Setting::RackAware)? != Some(true) {
            return Ok(None);
        }
        let rack = self.property(Setting::Rack).filter(|rack| !rack.value().is_empty());
        match (rack, self.property(Setting::RackAware)) {
            (Some(rack), _) => Ok(Some(rack.value().into())),
            (None, Some(aware)) => aware.invalid("it needs client.rack to say which rack that is"),
            (None, None) => Ok(None),
        }
    }

    fn codec(&self) -> Read<Option<Codec>> {
        let Some(property) = self.property(Setting::Compression) else {
            self.no_levels_but(None)?;
            return Ok(None);
        };
        let compression = match property.value() {
            "none" => Compression::None,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => return property.invalid("it is one of none, gzip, snappy, lz4 and zstd"),
        };
        self.no_levels_but(Some(compression))?;
        let level = match compression {
            Compression::Gzip => self.property(Setting::GzipLevel),
            Compression::Zstd => self.property(Setting::ZstdLevel),
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        };
        let Some(level) = level.or_else(|| self.property(Setting::Level)) else {
            return Ok(Some(compression.into()));
        };
        let is_default = match (compression, level.value()) {
            // Of Java's zstd it is a level like others.
            (Compression::Zstd, "-1") => self.flavor() == Flavor::Librdkafka,
            (Compression::Snappy | Compression::Lz4, "0") | (_, "-1") => true,
            _ => false,
        };
        if is_default {
            return Ok(Some(compression.into()));
        }
        match level.value().parse().ok().and_then(|level| Codec::with_level(compression, level).ok()) {
            Some(codec) => Ok(Some(codec)),
            None => level.invalid(match compression {
                Compression::Gzip => "gzip has levels from 1 to 9",
                Compression::Zstd => "zstd has levels from -7 to 4 in Milena; all clients read all of them",
                _ => "this compression has no levels in Milena; remove it",
            }),
        }
    }

    /// A level of a compression that is not used would change nothing.
    fn no_levels_but(&self, used: Option<Compression>) -> Read<()> {
        let levels = [
            (Setting::GzipLevel, Some(Compression::Gzip), "it needs compression.type=gzip; remove it"),
            (Setting::ZstdLevel, Some(Compression::Zstd), "it needs compression.type=zstd; remove it"),
            (Setting::Lz4Level, None, "Milena's LZ4 has one level; remove it"),
        ];
        for (setting, compression, advice) in levels {
            match self.property(setting) {
                Some(property) if compression.is_none() || used != compression => {
                    return property.no_effect(advice);
                }
                _ => {}
            }
        }
        match self.property(Setting::Level) {
            Some(level) if matches!(used, None | Some(Compression::None)) && level.value() != "-1" => {
                level.no_effect("it needs a compression.codec; remove it")
            }
            _ => Ok(()),
        }
    }

    fn partitioner(&self) -> Read<Option<Partitioner>> {
        match self.flavor() {
            Flavor::Java => self.java_partitioner(),
            Flavor::Librdkafka => self.librdkafka_partitioner().map(Some),
        }
    }

    fn java_partitioner(&self) -> Read<Option<Partitioner>> {
        let ignores_keys = self.flag(Setting::IgnoreKeys)? == Some(true);
        let Some(property) = self.property(Setting::Partitioner) else {
            let named = self.property(Setting::IgnoreKeys).map(|_| ignores_keys);
            return Ok(named.map(
                |ignores| {
                    if ignores { Partitioner::IgnoreKeys } else { Partitioner::Murmur2 }
                },
            ));
        };
        let named = match property.value().strip_prefix("org.apache.kafka.clients.producer.") {
            Some("RoundRobinPartitioner") => Partitioner::RoundRobin,
            // Of releases before 4.0.
            Some("internals.DefaultPartitioner") => Partitioner::Murmur2,
            Some("UniformStickyPartitioner") => Partitioner::IgnoreKeys,
            _ => {
                return property.invalid(
                    "Milena runs no Java class: remove it, and give the builder a Partitioner::Custom that does the same",
                );
            }
        };
        match self.property(Setting::IgnoreKeys) {
            Some(ignore) if ignores_keys => ignore.no_effect("partitioner.class decides; remove it"),
            _ => Ok(Some(named)),
        }
    }

    fn librdkafka_partitioner(&self) -> Read<Partitioner> {
        let Some(property) = self.property(Setting::Partitioner) else { return Ok(Partitioner::Unchosen) };
        match property.value() {
            "murmur2_random" => Ok(Partitioner::Murmur2),
            "murmur2" => Ok(Partitioner::Murmur2Always),
            "consistent_random" => Ok(Partitioner::Crc32),
            "consistent" => Ok(Partitioner::Crc32Always),
            "random" => Ok(Partitioner::IgnoreKeys),
            "fnv1a" | "fnv1a_random" => property.invalid(
                "Milena has no FNV-1a: remove it, and give the builder a Partitioner::Custom that places keys so",
            ),
            _ => property.invalid(
                "it is one of consistent_random, consistent, murmur2_random, murmur2 and random",
            ),
        }
    }
}
