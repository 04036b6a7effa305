//! What to do about what was found.

use milena_connection::Stage;
use milena_protocol::ErrorCode;

/// When a bootstrap address does not lead to a broker.
pub(super) fn bootstrap_advice(stage: Stage) -> &'static str {
    match stage {
        Stage::Dns => "check the name, and that this machine's resolver knows it (getent hosts NAME)",
        Stage::Tcp => {
            "check that the broker runs, that this is its port, and that no firewall stands in between"
        }
        of_the_connection => on_the_way(of_the_connection),
    }
}

/// When a broker can't be reached where it says that it is.
pub(super) fn advertised_advice(stage: Stage) -> &'static str {
    match stage {
        Stage::Dns => {
            "the broker names this host in advertised.listeners: let the name resolve on this machine, or let the broker \
             advertise one that does, in a listener for clients outside"
        }
        Stage::Tcp => {
            "the broker names this address in advertised.listeners: check that it is meant for clients on this side, that the \
             broker runs, and that no firewall stands in between"
        }
        of_the_connection => on_the_way(of_the_connection),
    }
}

fn on_the_way(stage: Stage) -> &'static str {
    match stage {
        Stage::Proxy => "check the proxy, and that it may connect to this host",
        Stage::Tls => {
            "check that this port speaks TLS (openssl s_client -connect HOST:PORT), that the authority is the broker's, and \
             that the certificate names this host and has not run out"
        }
        Stage::ApiVersions => {
            "check that this is a port of Kafka for clients (not of a controller, JMX or HTTP), whether it wants TLS \
             (listener.security.protocol.map of the broker tells), and that the broker does not hang"
        }
        Stage::Sasl => {
            "check mechanism, user and password or token; the broker's log says more than it tells a client \
             (failed authentication)"
        }
        _ => "look into the broker's log at this time",
    }
}

/// When a group can't be looked at.
pub(super) fn of_group(code: Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::GROUP_AUTHORIZATION_FAILED) => {
            "grant the client's user READ and DESCRIBE on the group (kafka-acls.sh --add --group …)"
        }
        Some(ErrorCode::GROUP_ID_NOT_FOUND) => {
            "check the name: nobody has joined the group or committed for it"
        }
        Some(ErrorCode::COORDINATOR_NOT_AVAILABLE) => {
            "check that the topic __consumer_offsets can be made: its replication factor must not exceed the brokers"
        }
        _ => "look into the coordinator's log",
    }
}
