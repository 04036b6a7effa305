//! From values to a consumer's settings.

use std::{ops::RangeInclusive, time::Duration};

use milena_consumer_group::{Assignor, AutoOffsetReset, GroupProtocol, IsolationLevel};
use milena_protocol::wire::ByteString;

use super::{Settings, duration, names::Setting};
use crate::properties::{
    Flavor, PropertyProblem,
    given::{Given, INT, LONG, Property, Read, noted},
};

/// How often positions are committed where nothing is said of it, with both clients.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);

impl Given<Setting> {
    /// Reads every value. Those that can't be read are added to `problems`.
    pub(super) fn read(&self, problems: &mut Vec<PropertyProblem>) -> Settings {
        use Setting as S;
        let is_java = self.flavor() == Flavor::Java;
        let up_to = |java, librdkafka| if is_java { java } else { librdkafka };
        let from = u64::from(!is_java);
        let group_protocol = noted(problems, self.group_protocol());
        problems.extend(self.of_another_protocol(group_protocol));
        Settings {
            group_protocol,
            group_id: noted(problems, self.text(S::GroupId)),
            group_instance_id: noted(problems, self.text(S::GroupInstanceId)),
            offset_reset: noted(problems, self.offset_reset()),
            auto_commit: noted(problems, self.auto_commit()),
            isolation_level: noted(problems, self.isolation_level()),
            assignors: noted(problems, self.assignors()),
            server_assignor: noted(problems, self.text(S::ServerAssignor)),
            // Nowhere in particular, with both clients.
            client_rack: self
                .property(S::Rack)
                .filter(|rack| !rack.value().is_empty())
                .map(|rack| rack.value().into()),
            fetch_min_bytes: noted(problems, self.i32(S::FetchMinBytes, from..=up_to(INT, 100_000_000))),
            fetch_max_bytes: noted(problems, self.i32(S::FetchMaxBytes, 1..=up_to(INT, 2_147_483_135))),
            fetch_max_wait: noted(problems, self.ms(S::FetchMaxWait, 0..=up_to(INT, 300_000))),
            max_partition_fetch_bytes: noted(
                problems,
                self.i32(S::MaxPartitionFetch, 1..=up_to(INT, 1_000_000_000)),
            ),
            max_buffered_bytes: noted(
                problems,
                self.bytes_or(S::MaxBuffered, 1..=2_097_151, "units of 1024 bytes"),
            )
            .map(|kbytes| kbytes.saturating_mul(1024)),
            max_poll_records: noted(problems, self.bytes_or(S::MaxPollRecords, 1..=INT, "records")),
            max_poll_interval: noted(problems, self.ms(S::MaxPollInterval, 1..=up_to(INT, 86_400_000))),
            session_timeout: noted(problems, self.ms(S::SessionTimeout, 1..=up_to(INT, 3_600_000))),
            heartbeat_interval: noted(problems, self.ms(S::HeartbeatInterval, 1..=up_to(INT, 3_600_000))),
            check_crcs: noted(problems, self.flag(S::CheckCrcs)),
            request_timeout: noted(problems, self.ms(S::RequestTimeout, up_to(1, 10)..=up_to(INT, 300_000))),
            commit_timeout: noted(problems, self.ms(S::CommitTimeout, 0..=INT)),
            retry_initial: noted(problems, self.ms(S::RetryInitial, from..=up_to(LONG, 300_000))),
            retry_max: noted(problems, self.ms(S::RetryMax, from..=up_to(LONG, 300_000))),
        }
    }

    fn i32(&self, setting: Setting, range: RangeInclusive<u64>) -> Read<Option<i32>> {
        // The ranges are within it.
        Ok(self.bytes(setting, range)?.and_then(|bytes| i32::try_from(bytes).ok()))
    }

    fn text(&self, setting: Setting) -> Read<Option<ByteString>> {
        match self.property(setting) {
            Some(property) if property.value().is_empty() => property.invalid("it has at least a letter"),
            property => Ok(property.map(|property| property.value().into())),
        }
    }

    fn group_protocol(&self) -> Read<Option<GroupProtocol>> {
        let Some(property) = self.property(Setting::GroupProtocol) else { return Ok(None) };
        match property.value().to_ascii_lowercase().as_str() {
            "classic" => Ok(Some(GroupProtocol::Classic)),
            "consumer" => Ok(Some(GroupProtocol::Consumer)),
            _ => property.invalid("it is classic or consumer; without it the cluster's newest is taken"),
        }
    }

    /// Settings that the chosen protocol has no use for.
    fn of_another_protocol(&self, protocol: Option<GroupProtocol>) -> Vec<PropertyProblem> {
        let (settings, advice): (&[Setting], _) = match protocol {
            Some(GroupProtocol::Consumer) => (
                &[Setting::Assignors, Setting::HeartbeatInterval, Setting::SessionTimeout],
                "with group.protocol=consumer the cluster decides; remove it",
            ),
            Some(GroupProtocol::Classic) => (
                &[Setting::ServerAssignor],
                "with group.protocol=classic a member decides, by partition.assignment.strategy; remove it",
            ),
            Some(GroupProtocol::Auto) | None => (&[], ""),
        };
        let named = settings.iter().filter_map(|setting| self.property(*setting));
        named.map(|property| PropertyProblem::NoEffect { name: property.name.clone(), advice }).collect()
    }

    fn offset_reset(&self) -> Read<Option<AutoOffsetReset>> {
        let Some(property) = self.property(Setting::OffsetReset) else { return Ok(None) };
        let is_java = self.flavor() == Flavor::Java;
        let value = property.value().to_ascii_lowercase();
        let reset = match value.as_str() {
            "earliest" => AutoOffsetReset::Earliest,
            "latest" => AutoOffsetReset::Latest,
            "none" if is_java => AutoOffsetReset::None,
            "smallest" | "beginning" if !is_java => AutoOffsetReset::Earliest,
            "largest" | "end" if !is_java => AutoOffsetReset::Latest,
            "error" if !is_java => AutoOffsetReset::None,
            _ => match value.strip_prefix("by_duration:").filter(|_| is_java).and_then(duration::read) {
                Some(duration) => AutoOffsetReset::ByDuration(duration),
                None => {
                    return property.invalid(if is_java {
                        "it is earliest, latest, none, or by_duration: and a duration such as PT1H30M or P7D"
                    } else {
                        "it is earliest, latest or error (or smallest, beginning, largest, end)"
                    });
                }
            },
        };
        Ok(Some(reset))
    }

    /// Off without a word of it, though both clients have it on: an interval alone would have no effect.
    fn auto_commit(&self) -> Read<Option<Option<Duration>>> {
        let is_on = self.flag(Setting::AutoCommit)?;
        let interval = self.ms(Setting::AutoCommitInterval, 1..=INT)?;
        match (is_on, self.property(Setting::AutoCommitInterval)) {
            (Some(true), _) => Ok(Some(Some(interval.unwrap_or(COMMIT_INTERVAL)))),
            (Some(false), Some(property)) => property.no_effect("enable.auto.commit is false; remove it"),
            (None, Some(property)) => property.no_effect(
                "Milena commits by itself only with enable.auto.commit=true; add that, or remove it",
            ),
            (Some(false), None) => Ok(Some(None)),
            (None, None) => Ok(None),
        }
    }

    fn isolation_level(&self) -> Read<Option<IsolationLevel>> {
        let Some(property) = self.property(Setting::IsolationLevel) else { return Ok(None) };
        match property.value() {
            "read_committed" => Ok(Some(IsolationLevel::ReadCommitted)),
            "read_uncommitted" => Ok(Some(IsolationLevel::ReadUncommitted)),
            _ => property.invalid("it is read_committed or read_uncommitted"),
        }
    }

    fn assignors(&self) -> Read<Option<Vec<Assignor>>> {
        let Some(property) = self.property(Setting::Assignors) else { return Ok(None) };
        let names = property.value().split(',').map(str::trim);
        names.map(|name| self.assignor(property, name)).collect::<Read<Vec<_>>>().map(Some)
    }

    fn assignor(&self, property: &Property, name: &str) -> Read<Assignor> {
        if self.flavor() == Flavor::Librdkafka {
            return match name {
                "range" => Ok(Assignor::Range),
                "roundrobin" => Ok(Assignor::RoundRobin),
                "cooperative-sticky" => Ok(Assignor::CooperativeSticky),
                _ => property.invalid("it has range, roundrobin or cooperative-sticky, with commas between"),
            };
        }
        match name.strip_prefix("org.apache.kafka.clients.consumer.") {
            Some("RangeAssignor") => Ok(Assignor::Range),
            Some("RoundRobinAssignor") => Ok(Assignor::RoundRobin),
            Some("StickyAssignor") => Ok(Assignor::Sticky),
            Some("CooperativeStickyAssignor") => Ok(Assignor::CooperativeSticky),
            _ => property.invalid(
                "Milena runs no Java class, and has RangeAssignor, RoundRobinAssignor, StickyAssignor and \
                 CooperativeStickyAssignor of org.apache.kafka.clients.consumer; give the builder an Assignor::Custom \
                 that does the same as another",
            ),
        }
    }
}
