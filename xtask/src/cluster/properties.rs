//! Turns the environment of the `apache/kafka` image into a `server.properties`, by the image's own rules.
//!
//! The rules are those of `kafka.docker.KafkaDockerWrapper`, which the image runs before the broker.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::ensure;

/// Variables that begin with `KAFKA_` and are meant for the start script, not for the broker.
const NOT_PROPERTIES: [&str; 11] = [
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_VERSION",
];

/// The text of `server.properties`, sorted by key.
pub(crate) fn server_properties(environment: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let mut properties = BTreeMap::new();
    for (variable, value) in environment {
        if let Some(key) = property_key(variable) {
            ensure!(!value.contains(['\n', '\r']), "{variable} has more than one line");
            properties.insert(key, value);
        }
    }
    let mut text = String::new();
    for (key, value) in properties {
        writeln!(text, "{key}={value}")?;
    }
    Ok(text)
}

/// The property that an environment variable sets, if it sets one.
fn property_key(variable: &str) -> Option<String> {
    if NOT_PROPERTIES.contains(&variable) {
        return None;
    }
    // The order matters: `___` is three dots by the time it becomes a dash.
    let dotted = variable.strip_prefix("KAFKA_")?.to_lowercase().replace('_', ".");
    Some(dotted.replace("...", "-").replace("..", "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_become_dots_underscores_and_dashes() {
        for (variable, key) in [
            ("KAFKA_NODE_ID", Some("node.id")),
            ("KAFKA_NUM_PARTITIONS", Some("num.partitions")),
            ("KAFKA_A__B", Some("a_b")),
            ("KAFKA_A___B", Some("a-b")),
            ("KAFKA_A____B", Some("a-.b")),
            ("KAFKA_A_____B", Some("a-_b")),
            (
                "KAFKA_LISTENER_NAME_SASL_SCRAM___SHA___256_SASL_JAAS_CONFIG",
                Some("listener.name.sasl.scram-sha-256.sasl.jaas.config"),
            ),
            ("KAFKA_HEAP_OPTS", None),
            ("KAFKA_OPTS", None),
            ("KAFKA_JVM_PERFORMANCE_OPTS", None),
            ("KAFKA_LOG4J_LOGGERS", None),
            ("CLUSTER_ID", None),
            ("MY_KAFKA_ID", None),
        ] {
            assert_eq!(property_key(variable).as_deref(), key, "{variable}");
        }
    }

    #[test]
    fn the_file_is_sorted_and_values_are_written_as_they_are() {
        let environment = [("KAFKA_NODE_ID", "1"), ("KAFKA_LOG_DIRS", "/a=b"), ("PATH", "/bin")]
            .map(|(variable, value)| (variable.to_owned(), value.to_owned()));
        assert_eq!(server_properties(&environment.into()).unwrap(), "log.dirs=/a=b\nnode.id=1\n");
    }

    #[test]
    fn a_value_cannot_smuggle_in_a_second_property() {
        let environment = [("KAFKA_NODE_ID".to_owned(), "1\nlog.dirs=/".to_owned())];
        assert!(server_properties(&environment.into()).is_err());
    }
}
