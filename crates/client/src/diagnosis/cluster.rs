//! What to think of a cluster's own words.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use milena_cluster::{TopicPartition, counted};
use milena_connection::Address;
use milena_protocol::{
    ErrorCode,
    messages::{MetadataResponse, metadata::MetadataResponseTopic},
};

use super::{Check, Health};

/// Records may be so much ahead of this machine's clock: no two clocks agree.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// The bits of the operations that Metadata tells of (KIP-430), by their names.
const OPERATIONS: [(u32, &str); 4] =
    [(3, "read"), (4, "write"), (8, "describe"), (10, "describe its settings")];
/// What a broker answers that does not tell of them.
const UNTOLD: i32 = i32::MIN;

/// The brokers and where they say they are.
pub(super) fn advertised(metadata: &MetadataResponse) -> Vec<(i32, Address)> {
    let brokers = metadata.brokers.iter().filter_map(|broker| {
        let port = u16::try_from(broker.port).ok()?;
        Some((broker.node_id, Address { host: broker.host.to_string(), port }))
    });
    brokers.collect()
}

pub(super) fn check_cluster(metadata: &MetadataResponse) -> Check {
    let id = metadata.cluster_id.as_deref().unwrap_or("without an id");
    let brokers = metadata.brokers.len();
    if brokers == 0 {
        return Check::new("cluster", Health::Wrong, format!("{id}, no brokers are named"))
            .advise("the broker is starting, or has lost its cluster: look into its log");
    }
    Check::new("cluster", Health::Fine, format!("{id}, {}", counted(brokers, "broker", "brokers")))
}

/// Addresses that can't be meant for clients elsewhere.
pub(super) fn check_advertised(bootstrap: &[Address], advertised: &[(i32, Address)]) -> Vec<Check> {
    let is_local = |address: &Address| {
        let is_loopback = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        address.host == "localhost" || address.host.parse().is_ok_and(is_loopback)
    };
    let mut checks = Vec::new();
    if bootstrap.iter().any(|address| !is_local(address)) {
        for (id, address) in advertised.iter().filter(|(_, address)| is_local(address)) {
            let found = format!("is elsewhere, and advertises {address}, which is this machine itself");
            checks.push(
                Check::new(format!("broker {id}"), Health::Wrong, found)
                    .advise("set advertised.listeners of the broker to an address that clients reach it by"),
            );
        }
    }
    let mut by_address: BTreeMap<&Address, Vec<i32>> = BTreeMap::new();
    for (id, address) in advertised {
        by_address.entry(address).or_default().push(*id);
    }
    for (address, ids) in by_address.iter().filter(|(_, ids)| ids.len() > 1) {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        checks.push(
            Check::new("brokers", Health::Wrong, format!("{} all advertise {address}", ids.join(" and ")))
                .advise("give each broker an address of its own in advertised.listeners: clients ask leaders directly"),
        );
    }
    checks
}

/// `spoken`: the versions that would be used, each once.
pub(super) fn check_versions(spoken: &BTreeSet<&BTreeMap<&'static str, i16>>) -> Option<Check> {
    let first = spoken.first()?;
    let versions = |apis: &[&str]| {
        let told = apis.iter().filter_map(|api| Some(format!("{api} {}", first.get(api)?)));
        told.collect::<Vec<_>>().join(", ")
    };
    if spoken.len() > 1 {
        let differing =
            first.keys().filter(|api| spoken.iter().any(|other| other.get(*api) != first.get(*api)));
        let differing: Vec<_> = differing.copied().collect();
        let found = format!("brokers speak different versions of {}", differing.join(", "));
        return Some(
            Check::new("versions", Health::Doubtful, found)
                .advise("finish the upgrade that is under way; until then the older versions are used with the older brokers"),
        );
    }
    let usual = versions(&["Produce", "Fetch", "Metadata", "FindCoordinator", "InitProducerId"]);
    let groups = if first.contains_key("ConsumerGroupHeartbeat") {
        "both group protocols"
    } else {
        "classic groups only"
    };
    Some(Check::new("versions", Health::Fine, format!("{usual}; {groups}")))
}

/// The topics that were asked for each, or all of them in few words.
pub(super) fn check_topics(metadata: &MetadataResponse, all: bool) -> Vec<Check> {
    if !all {
        return metadata.topics.iter().map(check_topic).collect();
    }
    let troubled: Vec<Check> =
        metadata.topics.iter().map(check_topic).filter(|check| check.health != Health::Fine).collect();
    let partitions = metadata.topics.iter().map(|topic| topic.partitions.len()).sum();
    let partitions = counted(partitions, "partition", "partitions");
    let count = metadata.topics.len();
    let found = format!("{count} that the client may see, {partitions}, {} in trouble", troubled.len());
    std::iter::once(Check::new("topics", Health::Fine, found)).chain(troubled).collect()
}

fn check_topic(topic: &MetadataResponseTopic) -> Check {
    let about = format!("topic {}", topic.name.as_deref().unwrap_or("?"));
    match ErrorCode(topic.error_code) {
        ErrorCode::NONE | ErrorCode::LEADER_NOT_AVAILABLE => {}
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            return Check::new(about, Health::Wrong, "there is none, or the client may not see it")
                .advise("check the name, create it (milena topics create NAME), or grant DESCRIBE on it");
        }
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
            return Check::new(about, Health::Wrong, "the client may not see it").advise(
                "grant the client's user DESCRIBE, and READ or WRITE (kafka-acls.sh --add --topic …)",
            );
        }
        code => return Check::new(about, Health::Wrong, code.to_string()),
    }
    let partitions: Vec<_> = topic.partitions.iter().collect();
    let listed = |ids: Vec<i32>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let leaderless = partitions.iter().filter(|partition| partition.leader_id < 0);
    let leaderless: Vec<i32> = leaderless.map(|partition| partition.partition_index).collect();
    let behind =
        partitions.iter().filter(|partition| partition.isr_nodes.len() < partition.replica_nodes.len());
    let behind: Vec<i32> = behind.map(|partition| partition.partition_index).collect();
    let rights = rights(topic.topic_authorized_operations);
    let count = counted(partitions.len(), "partition", "partitions");
    if !leaderless.is_empty() {
        let found = format!("{count}{rights}; without a leader: {}", listed(leaderless));
        return Check::new(about, Health::Wrong, found)
            .advise("start the brokers that have these partitions: nobody can read or write them meanwhile");
    }
    if !behind.is_empty() {
        let found = format!("{count}{rights}; with replicas that are behind: {}", listed(behind));
        return Check::new(about, Health::Doubtful, found).advise(
            "start the brokers that are missing: with min.insync.replicas unmet nothing can be written",
        );
    }
    if topic.topic_authorized_operations != UNTOLD && !may(topic.topic_authorized_operations, 3, 4) {
        return Check::new(about, Health::Doubtful, format!("{count}{rights}"))
            .advise("grant the client's user READ or WRITE (kafka-acls.sh --add --topic …)");
    }
    Check::new(about, Health::Fine, format!("{count}{rights}"))
}

fn may(operations: i32, one: u32, other: u32) -> bool {
    operations & ((1 << one) | (1 << other)) != 0
}

fn rights(operations: i32) -> String {
    if operations == UNTOLD {
        return String::new();
    }
    let granted = OPERATIONS.iter().filter(|(bit, _)| operations & (1 << bit) != 0);
    let granted: Vec<_> = granted.map(|(_, name)| *name).collect();
    match granted.as_slice() {
        [] => "; the client may do nothing with it".to_owned(),
        granted => format!("; the client may {}", granted.join(", ")),
    }
}

/// `newest`: the largest timestamp of a record, `wall_ms`: this machine's time, both in milliseconds since 1970.
pub(super) fn check_clock(newest: i64, partition: &TopicPartition, wall_ms: i64) -> Check {
    let ahead = newest.saturating_sub(wall_ms);
    if ahead > CLOCK_TOLERANCE_MS {
        let found =
            format!("the newest record of {partition} is {} s ahead of this machine's clock", ahead / 1000);
        return Check::new("clock", Health::Doubtful, found).advise(
            "set the clock of this machine, or of the one that wrote the record (timedatectl): certificates, tokens, \
             retention and offsets by time go by it",
        );
    }
    Check::new(
        "clock",
        Health::Fine,
        format!("no record of those looked at is ahead of it (newest in {partition})"),
    )
}

#[cfg(test)]
mod tests {
    use milena_protocol::messages::metadata::{MetadataResponseBroker, MetadataResponsePartition};

    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_broker_elsewhere_that_advertises_this_machine_is_wrong() {
        let here =
            [(1, address("localhost:9092")), (2, address("127.0.0.1:9093")), (3, address("kafka3:9092"))];
        let checks = check_advertised(&[address("kafka.example:9092")], &here);
        let found: Vec<_> = checks.iter().map(|check| check.about.as_str()).collect();
        assert_eq!(found, ["broker 1", "broker 2"]);
        assert!(check_advertised(&[address("localhost:9092")], &here).is_empty());
    }

    #[test]
    fn brokers_with_one_address_are_wrong() {
        let same = [(1, address("kafka:9092")), (2, address("kafka:9092"))];
        let checks = check_advertised(&[address("kafka:9092")], &same);
        assert_eq!(checks[0].found, "1 and 2 all advertise kafka:9092");
    }

    fn topic(partition: MetadataResponsePartition, operations: i32) -> MetadataResponseTopic {
        MetadataResponseTopic {
            name: Some("orders".into()),
            partitions: [partition].into_iter().collect(),
            topic_authorized_operations: operations,
            ..Default::default()
        }
    }

    #[test]
    fn topics_are_judged_by_leaders_replicas_and_rights() {
        let partition = |leader_id, isr: &[i32]| MetadataResponsePartition {
            leader_id,
            replica_nodes: [1, 2].into_iter().collect(),
            isr_nodes: isr.iter().copied().collect(),
            ..Default::default()
        };
        for (leader, isr, operations, health, found) in [
            (1, &[1, 2][..], UNTOLD, Health::Fine, "1 partition"),
            (1, &[1, 2], 0b1_0001_1000, Health::Fine, "1 partition; the client may read, write, describe"),
            (1, &[1, 2], 0b1_0000_0000, Health::Doubtful, "1 partition; the client may describe"),
            (1, &[1], UNTOLD, Health::Doubtful, "1 partition; with replicas that are behind: 0"),
            (-1, &[], UNTOLD, Health::Wrong, "1 partition; without a leader: 0"),
        ] {
            let check = check_topic(&topic(partition(leader, isr), operations));
            assert_eq!((check.health, check.found.as_str()), (health, found));
        }
    }

    #[test]
    fn versions_that_differ_are_told() {
        let (old, new) = (
            BTreeMap::from([("Fetch", 16), ("Produce", 11)]),
            BTreeMap::from([("Fetch", 17), ("Produce", 11)]),
        );
        let check = check_versions(&BTreeSet::from([&old, &new])).unwrap();
        assert_eq!(
            (check.health, check.found.as_str()),
            (Health::Doubtful, "brokers speak different versions of Fetch")
        );
        let check = check_versions(&BTreeSet::from([&old])).unwrap();
        assert_eq!(check.found, "Produce 11, Fetch 16; classic groups only");
        assert_eq!(check_versions(&BTreeSet::new()), None);
    }

    #[test]
    fn records_of_the_future_put_the_clock_in_doubt() {
        let partition = TopicPartition::new("orders", 0);
        assert_eq!(check_clock(1_000, &partition, 0).health, Health::Fine);
        let check = check_clock(7_200_000, &partition, 0);
        assert_eq!(check.found, "the newest record of orders-0 is 7200 s ahead of this machine's clock");
        assert_eq!(check.health, Health::Doubtful);
    }

    #[test]
    fn a_cluster_without_brokers_is_wrong() {
        let broker =
            MetadataResponseBroker { node_id: 1, host: "b".into(), port: 9092, ..Default::default() };
        let metadata =
            MetadataResponse { brokers: vec![broker], cluster_id: Some("abc".into()), ..Default::default() };
        assert_eq!(check_cluster(&metadata).found, "abc, 1 broker");
        assert_eq!(advertised(&metadata), [(1, address("b:9092"))]);
        assert_eq!(check_cluster(&MetadataResponse::default()).health, Health::Wrong);
    }
}
