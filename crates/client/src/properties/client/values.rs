//! From values to how a client connects.

use std::time::Duration;

use milena_cluster::Backoff;
use milena_connection::ConnectionConfig;

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
        let up_to = |java, librdkafka| if is_java { java } else { librdkafka };
        let shortest = up_to(1, 1000);
        Settings {
            bootstrap: noted(problems, self.text(S::Bootstrap)),
            client_id: noted(problems, self.text(S::ClientId)),
            setup_timeout: noted(problems, self.ms(S::SetupTimeout, shortest..=up_to(LONG, INT))),
            max_setup_timeout: noted(problems, self.ms(S::MaxSetupTimeout, 1..=LONG)),
            reconnect_backoff: noted(problems, self.reconnect_backoff()),
            max_idle: noted(problems, self.max_idle()),
            rebootstrap_after: noted(problems, self.rebootstrap_after()),
            max_frame_len: noted(problems, self.bytes(S::MaxFrame, 1000..=INT)),
            keepalive: noted(problems, self.flag(S::Keepalive)),
            security: self.security(problems),
        }
    }

    fn text(&self, setting: Setting) -> Read<Option<String>> {
        match self.property(setting) {
            Some(property) if property.value().is_empty() => property.invalid("it has at least a letter"),
            property => Ok(property.map(|property| property.value().to_owned())),
        }
    }

    /// One of the two alone takes the other one with it where they would not go together, as with Java.
    fn reconnect_backoff(&self) -> Read<Option<Backoff>> {
        let longest = if self.flavor() == Flavor::Java { LONG } else { 3_600_000 };
        let initial = self.ms(Setting::ReconnectInitial, 1..=longest)?;
        let max = self.ms(Setting::ReconnectMax, 1..=longest)?;
        let default = ConnectionConfig::default().reconnect_backoff;
        match (initial, max, self.property(Setting::ReconnectMax)) {
            (Some(initial), Some(max), Some(property)) if max < initial => {
                property.invalid("it is at least reconnect.backoff.ms")
            }
            (Some(initial), Some(max), _) => Ok(Some(Backoff { initial, max })),
            (Some(initial), None, _) => Ok(Some(Backoff { initial, max: default.max.max(initial) })),
            (None, Some(max), _) => Ok(Some(Backoff { initial: default.initial.min(max), max })),
            (None, None, _) => Ok(None),
        }
    }

    /// Java keeps connections with -1, librdkafka with 0.
    fn max_idle(&self) -> Read<Option<Duration>> {
        let Some(property) = self.property(Setting::MaxIdle) else { return Ok(None) };
        match (self.flavor(), property.value()) {
            (Flavor::Java, "-1") | (Flavor::Librdkafka, "0") => Ok(Some(Duration::MAX)),
            (Flavor::Java, _) => self.ms(Setting::MaxIdle, 1..=LONG),
            (Flavor::Librdkafka, _) => self.ms(Setting::MaxIdle, 1..=INT),
        }
    }

    fn rebootstrap_after(&self) -> Read<Option<Duration>> {
        let longest = if self.flavor() == Flavor::Java { LONG } else { INT };
        let trigger = self.ms(Setting::RebootstrapAfter, 0..=longest)?;
        let Some(strategy) = self.property(Setting::Recovery) else { return Ok(trigger) };
        match (strategy.value().to_ascii_lowercase().as_str(), self.property(Setting::RebootstrapAfter)) {
            ("none", None) => Ok(Some(Duration::MAX)),
            ("none", Some(property)) => property.no_effect("metadata.recovery.strategy is none; remove it"),
            ("rebootstrap", _) => Ok(trigger),
            _ => strategy.invalid("it is rebootstrap or none"),
        }
    }
}
