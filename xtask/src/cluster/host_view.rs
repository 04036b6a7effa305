//! Rewrites what a container would see into what the host sees.
//!
//! Each service gets a loopback address of its own (127.0.0.11, .12, …), so all of them can listen on the same
//! ports as in their containers. A published port is bound where compose would publish it. Service and host names
//! in values become those addresses, and mount points become folders.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::compose::{Compose, Service, Volume};

/// The last byte of the first service's loopback address.
const FIRST_HOST: u8 = 11;

/// One service as a process of the host.
#[derive(Debug)]
pub(crate) struct HostView {
    /// The environment in the host's terms.
    pub(crate) environment: BTreeMap<String, String>,
    /// Every address the broker binds.
    pub(crate) listeners: Vec<SocketAddr>,
    /// The folders that stand in for the container's volumes.
    pub(crate) volumes: Vec<PathBuf>,
}

impl HostView {
    /// Translates `service` of `compose`. `base` is the folder of the compose file, `state` the service's own.
    pub(crate) fn new(
        compose: &Compose,
        service: &Service,
        base: &Path,
        state: &Path,
    ) -> anyhow::Result<Self> {
        let addresses = addresses(compose)?;
        let own = *addresses.get(service.name.as_str()).context("the service is not part of its file")?;
        let mut environment = service.environment.clone();
        let bound = bind(service, own)?;
        let listeners = bound.iter().map(|(_, address)| *address).collect();
        let bound: Vec<_> = bound.iter().map(|(name, address)| format!("{name}://{address}")).collect();
        environment.insert("KAFKA_LISTENERS".to_owned(), bound.join(","));
        let folders: Vec<_> =
            service.volumes.iter().map(|volume| (volume, folder(volume, base, state))).collect();
        for value in environment.values_mut() {
            for (name, address) in &addresses {
                *value = replace_host(value, name, *address);
            }
            for (volume, folder) in &folders {
                *value = replace_path(value, &volume.target, &folder.to_string_lossy());
            }
        }
        Ok(Self { environment, listeners, volumes: folders.into_iter().map(|(_, folder)| folder).collect() })
    }
}

/// The loopback address of every name under which a service is reached.
fn addresses(compose: &Compose) -> anyhow::Result<BTreeMap<&str, IpAddr>> {
    let mut addresses = BTreeMap::new();
    for (index, service) in compose.brokers.iter().enumerate() {
        let host = u8::try_from(index).ok().and_then(|index| index.checked_add(FIRST_HOST));
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, host.context("too many brokers")?));
        addresses.insert(service.name.as_str(), address);
        addresses.insert(service.hostname.as_str(), address);
    }
    Ok(addresses)
}

/// Reads `KAFKA_LISTENERS` and says where each listener binds on the host.
fn bind(service: &Service, own: IpAddr) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let mut bound = Vec::new();
    for listener in service.required("KAFKA_LISTENERS")?.split(',') {
        let parse = || {
            let (name, address) = listener.trim().split_once("://")?;
            let (_, port) = address.rsplit_once(':')?;
            Some((name.to_owned(), port.parse::<u16>().ok()?))
        };
        let (name, port) =
            parse().with_context(|| format!("listener `{listener}` is not NAME://[HOST]:PORT"))?;
        let published = service.ports.iter().find(|published| published.container == port);
        bound.push((name, published.map_or(SocketAddr::new(own, port), |published| published.host)));
    }
    for published in &service.ports {
        ensure!(
            bound.iter().any(|(_, address)| *address == published.host),
            "service {} publishes port {}, on which it does not listen",
            service.name,
            published.container
        );
    }
    Ok(bound)
}

/// A named volume lives beside the service's state; a path is relative to the compose file.
fn folder(volume: &Volume, base: &Path, state: &Path) -> PathBuf {
    if volume.source.starts_with(['.', '/']) {
        base.join(volume.source.trim_start_matches("./"))
    } else {
        state.join("volumes").join(&volume.source)
    }
}

/// Replaces `host` where it stands before a port: `1@host:9093`, `INTERNAL://host:9092`.
fn replace_host(text: &str, host: &str, address: IpAddr) -> String {
    replace_word(text, host, &address.to_string(), |before, after| {
        !before.is_some_and(|c| c.is_alphanumeric() || "_.-".contains(c))
            && after.strip_prefix(':').is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// Replaces the mount point `path` and what lies under it.
fn replace_path(text: &str, path: &str, folder: &str) -> String {
    replace_word(text, path, folder, |before, after| {
        !before.is_some_and(char::is_alphanumeric) && (after.is_empty() || after.starts_with(['/', ',']))
    })
}

/// Replaces every `word` whose surroundings (the character before, the rest after) satisfy `stands_alone`.
fn replace_word(
    text: &str,
    word: &str,
    replacement: &str,
    stands_alone: impl Fn(Option<char>, &str) -> bool,
) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some((head, tail)) = rest.split_once(word) {
        result.push_str(head);
        before = head.chars().next_back().or(before);
        result.push_str(if stands_alone(before, tail) { replacement } else { word });
        before = word.chars().next_back();
        rest = tail;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::compose::PublishedPort;

    fn service(name: &str, hostname: &str, listeners: &str) -> Service {
        let environment = [
            ("KAFKA_LISTENERS", listeners),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@kafka1:9093,2@two.local:9093"),
            ("KAFKA_ADVERTISED_LISTENERS", "INTERNAL://kafka1:9092,EXTERNAL://127.0.0.1:41092"),
            ("KAFKA_LOG_DIRS", "/var/lib/kafka/data,/var/lib/kafka/data2"),
            ("KAFKA_SSL_KEYSTORE_LOCATION", "/etc/secrets/server.pem"),
        ];
        Service {
            name: name.to_owned(),
            hostname: hostname.to_owned(),
            version: "4.3.1".to_owned(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ports: vec![PublishedPort { host: "127.0.0.1:41092".parse().unwrap(), container: 9094 }],
            volumes: [("data", "/var/lib/kafka/data"), ("./secrets", "/etc/secrets")]
                .map(|(source, target)| Volume { source: source.to_owned(), target: target.to_owned() })
                .to_vec(),
            scram_users: BTreeMap::new(),
        }
    }

    fn view(listeners: &str) -> anyhow::Result<HostView> {
        let brokers = vec![service("kafka1", "kafka1", listeners), service("kafka2", "two.local", listeners)];
        let compose = Compose { name: "p".to_owned(), brokers, others: Vec::new() };
        HostView::new(&compose, &compose.brokers[0], Path::new("/base"), Path::new("/state/kafka1"))
    }

    #[test]
    fn listeners_bind_to_the_services_own_address_or_where_they_are_published() {
        let view = view("INTERNAL://:9092,EXTERNAL://0.0.0.0:9094,CONTROLLER://:9093").unwrap();
        assert_eq!(
            view.environment["KAFKA_LISTENERS"],
            "INTERNAL://127.0.0.11:9092,EXTERNAL://127.0.0.1:41092,CONTROLLER://127.0.0.11:9093"
        );
        assert_eq!(view.listeners.len(), 3);
    }

    #[test]
    fn names_become_addresses_and_mount_points_become_folders() {
        let view = view("EXTERNAL://:9094").unwrap();
        let environment = &view.environment;
        assert_eq!(environment["KAFKA_CONTROLLER_QUORUM_VOTERS"], "1@127.0.0.11:9093,2@127.0.0.12:9093");
        assert_eq!(
            environment["KAFKA_ADVERTISED_LISTENERS"],
            "INTERNAL://127.0.0.11:9092,EXTERNAL://127.0.0.1:41092"
        );
        assert_eq!(environment["KAFKA_LOG_DIRS"], "/state/kafka1/volumes/data,/var/lib/kafka/data2");
        assert_eq!(environment["KAFKA_SSL_KEYSTORE_LOCATION"], "/base/secrets/server.pem");
    }

    #[test]
    fn a_name_inside_another_name_is_left_alone() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for text in
            ["my-kafka1:9092", "a.kafka1:9092", "kafka1.example:9092", "kafka12:9092", "kafka1:x", "kafka1"]
        {
            assert_eq!(replace_host(text, "kafka1", address), text);
        }
        assert_eq!(replace_host("kafka1kafka1:1", "kafka1", address), "kafka1kafka1:1");
        assert_eq!(replace_host("kafka1:1,kafka1:2", "kafka1", address), "127.0.0.1:1,127.0.0.1:2");
    }

    #[test]
    fn a_published_port_without_a_listener_is_an_error() {
        assert!(view("INTERNAL://:9092").unwrap_err().to_string().contains("9094"));
        assert!(view("EXTERNAL:9094").is_err());
    }
}
