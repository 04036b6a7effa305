//! Reads the part of a compose file that says what brokers to run.
//!
//! Only what the local JVMs need is read: image, host name, published ports, environment and volumes of the services
//! that run Kafka. Docker itself reads the rest. What would be understood differently from Docker is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

/// A compose file, reduced to its brokers.
#[derive(Debug, Clone)]
pub(crate) struct Compose {
    /// The project's name, which keeps its state apart from other projects'.
    pub(crate) name: String,
    /// The services that run Kafka, by name.
    pub(crate) brokers: Vec<Service>,
    /// The names of all other services.
    pub(crate) others: Vec<String>,
}

/// A service that runs Kafka.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// The name under which the other services reach it.
    pub(crate) hostname: String,
    /// The version of Kafka: the image's tag.
    pub(crate) version: String,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) volumes: Vec<Volume>,
    /// Users of both SCRAM mechanisms and their passwords, from `x-scram-users`: Kafka has no property for them.
    pub(crate) scram_users: BTreeMap<String, String>,
}

/// A port of the container that compose publishes on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedPort {
    pub(crate) host: SocketAddr,
    pub(crate) container: u16,
}

/// A named volume or a folder of the host, and where the container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) source: String,
    pub(crate) target: String,
}

const KAFKA_IMAGE: &str = "apache/kafka:";

impl Compose {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a compose file we can run", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = serde_saphyr::from_str(text)?;
        let mut brokers = Vec::new();
        let mut others = Vec::new();
        for (name, service) in file.services {
            match service.image.strip_prefix(KAFKA_IMAGE) {
                Some(version) => {
                    let version = version.to_owned();
                    let service =
                        broker(&name, &version, service).with_context(|| format!("service {name}"))?;
                    brokers.push(service);
                }
                None => others.push(name),
            }
        }
        ensure!(!brokers.is_empty(), "no service has an image {KAFKA_IMAGE}VERSION");
        let compose = Self { name: file.name, brokers, others };
        ensure!(
            compose.brokers.iter().all(|service| service.version == compose.version()),
            "the brokers have different versions"
        );
        Ok(compose)
    }

    /// The version of Kafka that all brokers run.
    pub(crate) fn version(&self) -> &str {
        self.brokers.first().map_or("", |service| &service.version)
    }

    /// Where clients find the brokers, as `host:port`, in the order of the brokers.
    pub(crate) fn bootstrap(&self) -> Vec<SocketAddr> {
        self.brokers.iter().filter_map(Service::address).collect()
    }

    /// The broker called `name`.
    pub(crate) fn broker(&self, name: &str) -> anyhow::Result<&Service> {
        self.brokers.iter().find(|service| service.name == name).with_context(|| {
            let names: Vec<_> = self.brokers.iter().map(|service| service.name.as_str()).collect();
            format!("no node is called {name}; there are {}", names.join(", "))
        })
    }
}

impl Service {
    /// Where clients find the broker: its first published port.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.ports.first().map(|port| port.host)
    }

    /// The value of an environment variable that the broker cannot do without.
    pub(crate) fn required(&self, variable: &str) -> anyhow::Result<&str> {
        self.environment
            .get(variable)
            .map(String::as_str)
            .with_context(|| format!("service {} does not set {variable}", self.name))
    }
}

fn broker(name: &str, version: &str, service: RawService) -> anyhow::Result<Service> {
    let mut environment = BTreeMap::new();
    for (variable, Scalar(value)) in service.environment {
        let value = unescape(&value).with_context(|| format!("environment variable {variable}"))?;
        environment.insert(variable, value);
    }
    let ports = service.ports.iter().map(|port| published_port(port)).collect::<Result<Vec<_>, _>>()?;
    ensure!(!ports.is_empty(), "publishes no port, so no client can reach it");
    let volumes = service.volumes.iter().map(|volume| mount(volume)).collect::<Result<Vec<_>, _>>()?;
    for (user, password) in &service.scram_users {
        // They become parts of `[name=USER,password=PASSWORD]`, which knows no quotes.
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        ensure!(
            is_plain(user) && is_plain(password),
            "the SCRAM user {user} needs quotes, of which there are none"
        );
    }
    Ok(Service {
        name: name.to_owned(),
        hostname: service.hostname.unwrap_or_else(|| name.to_owned()),
        version: version.to_owned(),
        environment,
        ports,
        volumes,
        scram_users: service.scram_users,
    })
}

/// Turns compose's `$$` into `$`. Docker would replace any other `$NAME` by a variable of the caller's environment.
fn unescape(value: &str) -> anyhow::Result<String> {
    let mut text = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        if character == '$' {
            ensure!(
                characters.next() == Some('$'),
                "`{value}` takes a variable from the environment, which only Docker does; write `$$` for a dollar"
            );
        }
        text.push(character);
    }
    Ok(text)
}

/// Reads `ADDRESS:PORT:CONTAINER_PORT`.
fn published_port(text: &str) -> anyhow::Result<PublishedPort> {
    let parse = || {
        let (host, container) = text.rsplit_once(':')?;
        Some(PublishedPort { host: host.parse().ok()?, container: container.parse().ok()? })
    };
    let port = parse().with_context(|| format!("port `{text}` is not ADDRESS:PORT:CONTAINER_PORT"))?;
    ensure!(port.host.ip().is_loopback(), "port `{text}` is published beyond the loopback interface");
    Ok(port)
}

/// Reads `SOURCE:TARGET` or `SOURCE:TARGET:MODE`.
fn mount(text: &str) -> anyhow::Result<Volume> {
    let mut parts = text.split(':');
    match (parts.next(), parts.next()) {
        (Some(source), Some(target)) if target.starts_with('/') => {
            Ok(Volume { source: source.to_owned(), target: target.to_owned() })
        }
        _ => bail!("volume `{text}` is not SOURCE:TARGET"),
    }
}

#[derive(Deserialize)]
struct File {
    name: String,
    services: BTreeMap<String, RawService>,
}

#[derive(Deserialize)]
struct RawService {
    image: String,
    hostname: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, Scalar>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default, rename = "x-scram-users")]
    scram_users: BTreeMap<String, String>,
}

/// The value of an environment variable: text or an integer. Compose refuses bare booleans; so do we.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text or an integer (anything else in quotes)")
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(environment: &str) -> anyhow::Result<Compose> {
        Compose::parse(&format!(
            "name: p\nservices:\n  a:\n    image: apache/kafka:4.3.1\n    ports: ['127.0.0.1:41092:9094']\n    environment:\n      {environment}\n"
        ))
    }

    #[test]
    fn merge_keys_take_the_anchors_values_and_the_services_own_win() {
        let compose = Compose::parse(
            "name: p
x-image: &image
  image: apache/kafka:4.3.1
x-all: &all
  KAFKA_NUM_PARTITIONS: 6
  KAFKA_NODE_ID: 9
services:
  web:
    image: nginx:1
  b:
    <<: *image
    hostname: bee
    ports: ['127.0.0.1:42092:9094', '127.0.0.1:42093:9095']
    volumes: ['data:/var/lib/kafka/data', './certificates:/etc/secrets:ro']
    environment:
      <<: *all
      KAFKA_NODE_ID: 2
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false'
  a:
    <<: *image
    ports: ['127.0.0.1:41092:9094']
    environment:
      KAFKA_NODE_ID: 1
      <<: *all
",
        )
        .unwrap();
        assert_eq!(compose.name, "p");
        assert_eq!(compose.version(), "4.3.1");
        assert_eq!(compose.others, ["web"]);
        assert_eq!(
            compose.bootstrap(),
            ["127.0.0.1:41092".parse().unwrap(), "127.0.0.1:42092".parse::<SocketAddr>().unwrap()]
        );
        let [a, b] = compose.brokers.as_slice() else { panic!("{compose:?}") };
        assert_eq!((a.hostname.as_str(), b.hostname.as_str()), ("a", "bee"));
        assert_eq!(a.environment["KAFKA_NODE_ID"], "1", "own value before the merge key");
        assert_eq!(b.environment["KAFKA_NODE_ID"], "2", "own value after the merge key");
        assert_eq!(b.environment["KAFKA_NUM_PARTITIONS"], "6");
        assert_eq!(b.environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"], "false");
        assert_eq!(b.ports[1], PublishedPort { host: "127.0.0.1:42093".parse().unwrap(), container: 9095 });
        assert_eq!(
            b.volumes[1],
            Volume { source: "./certificates".to_owned(), target: "/etc/secrets".to_owned() }
        );
    }

    #[test]
    fn the_file_of_this_repository_is_understood() {
        let compose =
            Compose::read(&crate::workspace_root().join(crate::cluster::DEFAULT_COMPOSE_FILE)).unwrap();
        assert_eq!(compose.brokers.len(), 3);
        assert_eq!(compose.others, ["registry", "ui"]);
        for (node, service) in compose.brokers.iter().enumerate() {
            assert_eq!(service.required("KAFKA_NODE_ID").unwrap(), (node + 1).to_string());
            assert_eq!(service.required("KAFKA_MIN_INSYNC_REPLICAS").unwrap(), "2");
            assert_eq!(service.required("KAFKA_LOG_RETENTION_BYTES").unwrap(), "-1");
        }
    }

    #[test]
    fn the_secure_file_of_this_repository_is_understood() {
        let path = crate::workspace_root().join(crate::cluster::SECURE_COMPOSE_FILE);
        let compose = Compose::read(&path).unwrap();
        let [broker] = compose.brokers.as_slice() else { panic!("{compose:?}") };
        assert_eq!(broker.address().unwrap().to_string(), "127.0.0.1:44092");
        let protocols = broker.required("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP").unwrap();
        // Readiness is asked for in plaintext.
        assert!(protocols.contains("PLAIN:PLAINTEXT"), "{protocols}");
        assert!(broker.required("KAFKA_LISTENERS").unwrap().starts_with("PLAIN://:44092,"));
        assert_eq!(broker.scram_users["alice"], "alice-scram");
        // Both clusters may run at the same time.
        let other = Compose::read(&path.with_file_name(crate::cluster::DEFAULT_COMPOSE_FILE)).unwrap();
        assert_ne!(compose.name, other.name);
        for port in &broker.ports {
            assert!(other.brokers.iter().all(|other| !other.ports.contains(port)), "{port:?}");
        }
    }

    #[test]
    fn passwords_that_would_be_read_as_something_else_are_refused() {
        let file = |password: &str| {
            Compose::parse(&format!(
                "name: p\nservices:\n  a:\n    image: apache/kafka:4.3.1\n    ports: ['127.0.0.1:41092:9094']\n    x-scram-users: {{alice: '{password}'}}\n"
            ))
        };
        assert_eq!(file("se-cret").unwrap().brokers[0].scram_users["alice"], "se-cret");
        assert!(format!("{:#}", file("a,b]").unwrap_err()).contains("alice needs quotes"));
    }

    #[test]
    fn what_docker_would_refuse_or_read_differently_is_refused() {
        for (environment, complaint) in [
            ("A: true", "text or an integer"),
            ("A: 1.5", "text or an integer"),
            ("A:", "text or an integer"),
            ("A: x${HOME}", "write `$$`"),
            ("A: x$", "write `$$`"),
        ] {
            let error = format!("{:#}", parse(environment).unwrap_err());
            assert!(error.contains(complaint), "{environment}: {error}");
        }
        assert_eq!(parse("A: $$1/$$").unwrap().brokers[0].environment["A"], "$1/$");
    }

    #[test]
    fn ports_are_published_on_the_loopback_interface_only() {
        for port in ["41092:41092", "0.0.0.0:41092:41092", "localhost:41092:41092", "127.0.0.1:x:1"] {
            assert!(published_port(port).is_err(), "{port}");
        }
    }

    #[test]
    fn an_unknown_node_is_answered_with_the_known_ones() {
        let error = parse("A: b").unwrap().broker("z").unwrap_err().to_string();
        assert_eq!(error, "no node is called z; there are a");
    }
}
