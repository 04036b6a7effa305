//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests state their expectations by unwrapping"
)]

mod script;

use milena_embedded_broker::core::ClusterConfig;
use milena_protocol::{
    ErrorCode,
    messages::{
        AlterConfigsRequest, CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest,
        alter_configs,
        create_topics::CreatableTopic,
        describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult},
        incremental_alter_configs::{AlterConfigsResource, AlterableConfig},
    },
    records::{BatchBuilder, Compression, ProducerStamp},
};
use script::{Peer, Script, batch};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn orders(settings: &[(&str, &str)]) -> (Script, Peer) {
    let mut script = Script::new(2);
    script.cluster.create_topic_with("orders", 1, settings).unwrap();
    let peer = script.connect(1);
    (script, peer)
}

fn describe(
    script: &mut Script,
    peer: Peer,
    (resource_type, name): (i8, &str),
    keys: Option<&[&str]>,
) -> Result<Vec<DescribeConfigsResourceResult>, ErrorCode> {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
        ..Default::default()
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let result = script.ask(peer, 4, request).results.remove(0);
    if result.error_code == 0 { Ok(result.configs) } else { Err(ErrorCode(result.error_code)) }
}

/// The value that holds and where it comes from, then those behind it.
fn values(script: &mut Script, peer: Peer, resource: (i8, &str), key: &str) -> Vec<(String, i8)> {
    let found = describe(script, peer, resource, Some(&[key])).unwrap();
    let Some(found) = found.first() else { return Vec::new() };
    let synonyms: Vec<(String, i8)> =
        found.synonyms.iter().map(|it| (it.value.clone().unwrap().to_string(), it.source)).collect();
    assert_eq!(synonyms[0], (found.value.clone().unwrap().to_string(), found.config_source));
    synonyms
}

/// The value that holds and where it comes from.
fn value(script: &mut Script, peer: Peer, resource: (i8, &str), key: &str) -> (Option<String>, i8) {
    let found = describe(script, peer, resource, Some(&[key])).unwrap().remove(0);
    (found.value.map(|value| value.to_string()), found.config_source)
}

fn alter(
    script: &mut Script,
    peer: Peer,
    resource: (i8, &str),
    changes: &[(i8, &str, Option<&str>)],
) -> ErrorCode {
    alter_or_check(script, peer, resource, changes, false)
}

fn alter_or_check(
    script: &mut Script,
    peer: Peer,
    (resource_type, name): (i8, &str),
    changes: &[(i8, &str, Option<&str>)],
    validate_only: bool,
) -> ErrorCode {
    let configs = changes.iter().map(|&(config_operation, name, value)| AlterableConfig {
        name: name.into(),
        config_operation,
        value: value.map(Into::into),
        ..Default::default()
    });
    let resource = AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs: configs.collect(),
        ..Default::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only, ..Default::default() };
    ErrorCode(script.ask(peer, 1, request).responses[0].error_code)
}

#[test]
fn a_topic_shows_every_setting_and_where_it_comes_from() {
    let (mut script, peer) = orders(&[("max.message.bytes", "500")]);
    let all = describe(&mut script, peer, (TOPIC, "orders"), None).unwrap();
    assert_eq!(all.len(), 33);
    assert!(all.is_sorted_by_key(|setting| setting.name.clone()));
    assert!(all.iter().all(|setting| !setting.read_only && !setting.is_sensitive));
    let value = |name: &str| {
        let found = all.iter().find(|setting| setting.name == name).unwrap();
        (found.value.clone().unwrap().to_string(), found.config_source, found.config_type)
    };
    assert_eq!(value("max.message.bytes"), ("500".into(), 1, 3));
    assert_eq!(value("cleanup.policy"), ("delete".into(), 5, 7));
    assert_eq!(value("retention.bytes"), ("268435456".into(), 4, 5), "as the cluster was made");
    assert_eq!(
        values(&mut script, peer, (TOPIC, "orders"), "max.message.bytes"),
        [("500".to_owned(), 1), ("1048588".to_owned(), 5)]
    );
    let unknown = describe(&mut script, peer, (TOPIC, "nowhere"), None);
    assert_eq!(unknown, Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    let illegal = describe(&mut script, peer, (TOPIC, "a b"), None);
    assert_eq!(illegal, Err(ErrorCode::INVALID_TOPIC_EXCEPTION));
    assert_eq!(describe(&mut script, peer, (99, "orders"), None), Err(ErrorCode::INVALID_REQUEST));
}

#[test]
fn creating_a_topic_tells_its_settings() {
    let (mut script, peer) = orders(&[]);
    let topic = CreatableTopic {
        name: "made".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let response = script.ask(peer, 7, CreateTopicsRequest { topics: vec![topic], ..Default::default() });
    let configs = response.topics[0].configs.as_ref().unwrap();
    let policy = configs.iter().find(|config| config.name == "cleanup.policy").unwrap();
    assert_eq!((policy.value.as_deref(), policy.config_source), (Some("delete"), 5));
}

#[test]
fn what_is_altered_counts_at_once() {
    let (mut script, peer) = orders(&[]);
    let orders = (TOPIC, "orders");
    let set = |value| [(SET, "max.message.bytes", Some(value))];
    assert_eq!(alter_or_check(&mut script, peer, orders, &set("70"), true), ErrorCode::NONE);
    assert_eq!(script.produce(peer, "orders", 0, batch(&["a long value"])).0, 0, "it was only checked");
    assert_eq!(alter(&mut script, peer, orders, &set("70")), ErrorCode::NONE);
    assert_eq!(
        ErrorCode(script.produce(peer, "orders", 0, batch(&["a long value"])).0),
        ErrorCode::MESSAGE_TOO_LARGE
    );
    assert_eq!(alter(&mut script, peer, orders, &[(DELETE, "max.message.bytes", None)]), ErrorCode::NONE);
    assert_eq!(script.produce(peer, "orders", 0, batch(&["a long value"])).0, 0);
}

#[test]
fn lists_grow_and_shrink() {
    let (mut script, peer) = orders(&[]);
    let orders = (TOPIC, "orders");
    let policy = |script: &mut Script| values(script, peer, orders, "cleanup.policy")[0].0.clone();
    assert_eq!(
        alter(&mut script, peer, orders, &[(APPEND, "cleanup.policy", Some("compact"))]),
        ErrorCode::NONE
    );
    assert_eq!(policy(&mut script), "delete,compact");
    assert_eq!(
        alter(&mut script, peer, orders, &[(SUBTRACT, "cleanup.policy", Some("delete"))]),
        ErrorCode::NONE
    );
    assert_eq!(policy(&mut script), "compact");
    let (code, _) = script.produce(peer, "orders", 0, batch(&["without a key"]));
    assert_eq!(ErrorCode(code), ErrorCode::INVALID_RECORD);
    let number = [(APPEND, "max.message.bytes", Some("1"))];
    assert_eq!(alter(&mut script, peer, orders, &number), ErrorCode::INVALID_CONFIG);
}

#[test]
fn what_cannot_be_set_changes_nothing() {
    let (mut script, peer) = orders(&[]);
    let orders = (TOPIC, "orders");
    let good = (SET, "retention.ms", Some("1"));
    for (bad, code) in [
        ((SET, "no.such.setting", Some("1")), ErrorCode::INVALID_CONFIG),
        ((SET, "max.message.bytes", Some("many")), ErrorCode::INVALID_CONFIG),
        ((SET, "min.insync.replicas", Some("0")), ErrorCode::INVALID_CONFIG),
        ((SET, "cleanup.policy", Some("burn")), ErrorCode::INVALID_CONFIG),
        ((SET, "preallocate", Some("maybe")), ErrorCode::INVALID_CONFIG),
        ((SET, "min.cleanable.dirty.ratio", Some("1.5")), ErrorCode::INVALID_CONFIG),
        ((SET, "segment.ms", None), ErrorCode::INVALID_REQUEST),
        ((9, "segment.ms", Some("1")), ErrorCode::UNKNOWN_SERVER_ERROR),
        (good, ErrorCode::INVALID_REQUEST),
    ] {
        assert_eq!(alter(&mut script, peer, orders, &[good, bad]), code, "{bad:?}");
        assert_eq!(value(&mut script, peer, orders, "retention.ms"), (Some("604800000".to_owned()), 5));
    }
    assert_eq!(alter(&mut script, peer, (TOPIC, "nowhere"), &[good]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(alter(&mut script, peer, (BROKER, "9"), &[]), ErrorCode::INVALID_REQUEST);
    assert_eq!(
        alter(&mut script, peer, (BROKER, "1"), &[(SET, "node.id", Some("3"))]),
        ErrorCode::INVALID_REQUEST
    );
    assert_eq!(alter(&mut script, peer, (32, "group"), &[]), ErrorCode::INVALID_REQUEST);
}

#[test]
fn the_older_api_says_everything_that_is_set() {
    let (mut script, peer) = orders(&[("retention.ms", "1"), ("segment.ms", "2")]);
    let config = alter_configs::AlterableConfig {
        name: "segment.ms".into(),
        value: Some("3".into()),
        ..Default::default()
    };
    let resource = alter_configs::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "orders".into(),
        configs: vec![config],
        ..Default::default()
    };
    let resources = vec![resource];
    let response = script.ask(peer, 2, AlterConfigsRequest { resources, ..Default::default() });
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(values(&mut script, peer, (TOPIC, "orders"), "segment.ms")[0], ("3".to_owned(), 1));
    assert_eq!(
        value(&mut script, peer, (TOPIC, "orders"), "retention.ms"),
        (Some("604800000".to_owned()), 5)
    );
}

#[test]
fn a_brokers_settings_stand_behind_its_topics() {
    let mut script =
        Script::with(ClusterConfig { brokers: 2, max_message_bytes: 2_000, ..ClusterConfig::default() });
    script.topic("orders", 1);
    let peer = script.connect(1);
    let (all, one) = ((BROKER, ""), (BROKER, "1"));
    assert_eq!(describe(&mut script, peer, all, None), Ok(Vec::new()));
    let set = |value| [(SET, "message.max.bytes", Some(value))];
    assert_eq!(alter(&mut script, peer, all, &set("70")), ErrorCode::NONE);
    let expected = |chain: &[(&str, i8)]| -> Vec<(String, i8)> {
        chain.iter().map(|(value, source)| ((*value).to_owned(), *source)).collect()
    };
    let behind = expected(&[("70", 3), ("2000", 4), ("1048588", 5)]);
    assert_eq!(values(&mut script, peer, all, "message.max.bytes"), behind);
    assert_eq!(values(&mut script, peer, one, "message.max.bytes"), behind);
    assert_eq!(values(&mut script, peer, (TOPIC, "orders"), "max.message.bytes"), behind);
    assert_eq!(
        ErrorCode(script.produce(peer, "orders", 0, batch(&["a long value"])).0),
        ErrorCode::MESSAGE_TOO_LARGE
    );
    assert_eq!(alter(&mut script, peer, one, &set("90")), ErrorCode::NONE);
    assert_eq!(values(&mut script, peer, one, "message.max.bytes")[0], ("90".to_owned(), 2));
    assert_eq!(value(&mut script, peer, one, "log.roll.ms"), (None, 5), "another setting stands behind it");
    let id = &describe(&mut script, peer, one, Some(&["node.id"])).unwrap()[0];
    assert_eq!((id.value.as_deref(), id.read_only), (Some("1"), true));
    assert_eq!(describe(&mut script, peer, (BROKER, "2"), None), Err(ErrorCode::INVALID_REQUEST));
}

#[test]
fn a_batch_longer_than_a_segment_is_refused() {
    let settings = [("segment.bytes", "1048576"), ("max.message.bytes", "9999999")];
    let (mut script, peer) = orders(&settings);
    let value = "v".repeat(1 << 19);
    let mut builder = BatchBuilder::new(2 << 20);
    for _ in 0..2 {
        builder.append(0, None, Some(value.as_bytes()), []).unwrap();
    }
    let large = builder.compress(Compression::None).unwrap().stamp(ProducerStamp::NONE);
    assert!(large.len() > 1 << 20);
    assert_eq!(ErrorCode(script.produce(peer, "orders", 0, large).0), ErrorCode::RECORD_LIST_TOO_LARGE);
}
