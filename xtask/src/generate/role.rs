//! Who sends an API's requests, and so which feature compiles its messages.

use super::schema::{Listener, Schema};

/// The APIs that only brokers ask each other on the listener that clients use too: a group coordinator keeps the state
/// of its share groups with them (KIP-932). WriteTxnMarkers is not among them, as an admin client sends it to abort a
/// transaction that hangs (KIP-664).
const BETWEEN_BROKERS: std::ops::RangeInclusive<i16> = 83..=87;

/// Who sends the requests of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Broker,
    /// A controller, or a broker that talks to one.
    Controller,
}

impl Role {
    pub(crate) fn of(request: &Schema) -> Self {
        if !request.listeners.contains(&Listener::Broker) {
            Self::Controller
        } else if request.api_key.is_some_and(|key| BETWEEN_BROKERS.contains(&key)) {
            Self::Broker
        } else {
            Self::Client
        }
    }

    /// The feature without which the messages are left out. Those of clients never are.
    pub(crate) fn feature(self) -> Option<&'static str> {
        match self {
            Self::Client => None,
            Self::Broker => Some("broker"),
            Self::Controller => Some("controller"),
        }
    }

    /// The attribute that asks for [`feature`](Self::feature), on a line of its own.
    pub(crate) fn gate(self) -> &'static str {
        match self {
            Self::Client => "",
            Self::Broker => "#[cfg(feature = \"broker\")]\n",
            Self::Controller => "#[cfg(feature = \"controller\")]\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listeners_tell_who_asks() {
        let role = |key: i16, listeners: &str| {
            let text = format!(
                r#"{{"apiKey": {key}, "type": "request", "name": "XRequest", "listeners": {listeners}, "validVersions": "0"}}"#
            );
            Role::of(&Schema::parse(&text).unwrap())
        };
        assert_eq!(role(0, r#"["broker"]"#), Role::Client);
        assert_eq!(role(1, r#"["controller", "broker"]"#), Role::Client);
        assert_eq!(role(85, r#"["broker"]"#), Role::Broker);
        assert_eq!(role(52, r#"["controller"]"#), Role::Controller);
    }
}
