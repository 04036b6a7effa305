//! What holds for the properties of all handles.

use super::{producer::tests as producers, *};

/// What `ConsumerConfig` and `AdminClientConfig` of kafka-clients 4.3.1 have besides the names of `ProducerConfig`.
const JAVA_NAMES: &str = "\
     allow.auto.create.topics auto.commit.interval.ms auto.offset.reset bootstrap.controllers check.crcs \
     client.rack default.api.timeout.ms enable.auto.commit exclude.internal.topics fetch.max.bytes \
     fetch.max.wait.ms fetch.min.bytes group.id group.instance.id group.protocol group.remote.assignor \
     heartbeat.interval.ms internal.throw.on.fetch.stable.offset.unsupported isolation.level key.deserializer \
     max.partition.fetch.bytes max.poll.interval.ms max.poll.records partition.assignment.strategy \
     session.timeout.ms share.acknowledgement.mode share.acquire.mode value.deserializer";
/// The rows for consumers alone in CONFIGURATION.md of librdkafka 2.15.0, without its callbacks.
const LIBRDKAFKA_NAMES: &str = "\
     auto.commit.enable auto.commit.interval.ms auto.offset.reset check.crcs consume.callback.max.messages \
     coordinator.query.interval.ms enable.auto.commit enable.auto.offset.store enable.partition.eof \
     fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms \
     fetch.wait.max.ms group.id group.instance.id group.protocol group.protocol.type group.remote.assignor \
     heartbeat.interval.ms isolation.level max.partition.fetch.bytes max.poll.interval.ms offset.store.method \
     offset.store.path offset.store.sync.interval.ms partition.assignment.strategy queued.max.messages.kbytes \
     queued.min.messages session.timeout.ms";
const CANARY: &str = "c4n4ry-hunter2";

fn names(flavor: Flavor) -> Vec<&'static str> {
    let of = |names: [&'static str; 2]| names.into_iter().flat_map(str::split_whitespace).collect();
    match flavor {
        Flavor::Java => of([producers::JAVA_NAMES, JAVA_NAMES]),
        Flavor::Librdkafka => of([producers::LIBRDKAFKA_NAMES, LIBRDKAFKA_NAMES]),
    }
}

/// What each handle says to the pairs, and how it shows what it has taken.
fn told(flavor: Flavor, pairs: &[(&str, &str)]) -> [String; 3] {
    let pairs = || pairs.iter().copied();
    let client = ClientProperties::from_pairs(flavor, pairs()).map(|properties| {
        let built = crate::Client::from_properties(&properties.clone().trust_files_and_urls());
        format!("{properties:?} {built:?} {:?} {:?}", properties.producer(), properties.consumer())
    });
    let producer =
        ProducerProperties::from_pairs(flavor, pairs()).map(|properties| format!("{properties:?}"));
    let consumer =
        ConsumerProperties::from_pairs(flavor, pairs()).map(|properties| format!("{properties:?}"));
    [client, producer, consumer].map(|told| told.unwrap_or_else(|error| format!("{error} {error:?}")))
}

#[test]
fn every_name_of_both_clients_is_known_to_every_handle() {
    for flavor in [Flavor::Java, Flavor::Librdkafka] {
        for name in names(flavor) {
            for said in told(flavor, &[(name, "x")]) {
                assert!(!said.contains("is no setting of"), "{said}");
            }
        }
    }
    assert_eq!(JAVA_NAMES.split_whitespace().count(), 28);
    assert_eq!(LIBRDKAFKA_NAMES.split_whitespace().count(), 31);
}

#[test]
fn what_is_about_clients_is_left_by_producers_and_consumers() {
    for flavor in [Flavor::Java, Flavor::Librdkafka] {
        let own = client::names_of(flavor);
        for name in names(flavor).into_iter().filter(|name| own.contains(name)) {
            let producer = ProducerProperties::from_pairs(flavor, [(name, "x")]).unwrap();
            let consumer = ConsumerProperties::from_pairs(flavor, [(name, "x")]).unwrap();
            assert!(producer.left().contains_key(name) && consumer.left().contains_key(name), "{name}");
        }
    }
}

#[test]
fn no_secret_is_shown_whatever_is_wrong() {
    let secrets = [
        "sasl.jaas.config",
        "sasl.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.extensions",
        "sasl.oauthbearer.token.endpoint.url",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.key",
        "ssl.keystore.password",
        "ssl.truststore.password",
        "basic.auth.user.info",
    ];
    let jaas =
        format!("org.apache.kafka.common.security.scram.ScramLoginModule required password=\"{CANARY}\"");
    let complete = format!("{jaas} username=\"alice\";");
    let broken_key = format!("-----BEGIN PRIVATE KEY-----{CANARY}-----END PRIVATE KEY-----");
    let url = format!("https://alice:{CANARY}@login.example/#token");
    for flavor in [Flavor::Java, Flavor::Librdkafka] {
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "GSSAPI", "none"] {
            for protocol in ["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL", "none", ""] {
                for name in secrets {
                    for value in [CANARY, &jaas, &complete, &broken_key, &url] {
                        let pairs = [
                            ("security.protocol", protocol),
                            ("sasl.mechanism", mechanism),
                            ("sasl.oauthbearer.method", "oidc"),
                            ("sasl.username", "alice"),
                            ("bootstrap.servers", "a:1"),
                            (name, value),
                            (name, "another"),
                        ];
                        let java = |name: &&(&str, &str)| {
                            flavor == Flavor::Librdkafka
                                || !matches!(name.0, "sasl.username" | "sasl.oauthbearer.method")
                        };
                        let pairs: Vec<_> = pairs.iter().filter(java).copied().collect();
                        for pairs in [&pairs[..], &pairs[..pairs.len() - 1]] {
                            for said in told(flavor, pairs) {
                                assert!(!said.contains(CANARY), "{said}");
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_panics_whatever_is_named() {
    let values = [
        "",
        " ",
        "0",
        "-1",
        "1",
        "true",
        "99999999999999999999",
        "1.5",
        "PEM",
        "SASL_SSL",
        "PLAIN",
        "OAUTHBEARER",
        "SSL",
        "https",
        "by_duration:P1D",
        "by_duration:PT99999999999999999999S",
        "consumer",
        "none",
        "\\",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN \u{e9}-----\u{e9}-----END \u{e9}-----",
        "x required a=\"",
        "\u{1f600},=;",
        "org.apache.kafka.common.security.plain.PlainLoginModule required;",
    ];
    for flavor in [Flavor::Java, Flavor::Librdkafka] {
        let names = names(flavor);
        for name in &names {
            for value in values {
                let _ = told(flavor, &[(name, value)]);
            }
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let mut pairs: Vec<(&str, &str)> = (0..random.usize(1..8))
                .map(|_| (names[random.usize(..names.len())], values[random.usize(..values.len())]))
                .collect();
            pairs.push(("security.protocol", ["SSL", "SASL_SSL", "SASL_PLAINTEXT"][random.usize(..3)]));
            let _ = told(flavor, &pairs);
            let text: String = (0..random.usize(..60))
                .map(|_| *random.choice(&['=', '\\', 'u', 'd', '8', '\n', ' ', '-', ':', '\u{e9}']).unwrap())
                .collect();
            let _ = ClientProperties::parse(flavor, &text);
            let _ = ConsumerProperties::parse(flavor, &text);
        }
    }
}

#[test]
fn one_file_is_for_all_and_each_takes_its_own() {
    let text = "bootstrap.servers=a:1\nclient.id=orders\nclient.rack=r1\nlinger.ms=5\ngroup.id=billing\nrequest.timeout.ms=7000\n\
                key.serializer=S\nvalue.deserializer=D\nmetric.reporters=\nschema.registry.url=http://s\n";
    let properties = ClientProperties::parse(Flavor::Java, text).unwrap();
    let left: Vec<&str> = properties.left().keys().map(String::as_str).collect();
    let others =
        ["client.rack", "group.id", "key.serializer", "linger.ms", "metric.reporters", "request.timeout.ms"];
    assert_eq!(left, [&others[..], &["schema.registry.url", "value.deserializer"]].concat());
    let (producer, consumer) = (properties.producer().unwrap(), properties.consumer().unwrap());
    let of = |left: &std::collections::BTreeMap<String, String>| left.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        of(producer.left()),
        ["client.rack", "key.serializer", "metric.reporters", "schema.registry.url"]
    );
    assert_eq!(of(consumer.left()), ["metric.reporters", "schema.registry.url", "value.deserializer"]);
    assert_eq!(consumer.group_id(), Some("billing"));
    let said = ProducerProperties::parse(Flavor::Java, text).unwrap_err().to_string();
    assert!(said.contains("- group.id has no effect: it is about consumers; remove it"), "{said}");
    let said = ConsumerProperties::parse(Flavor::Java, text).unwrap_err().to_string();
    assert!(said.contains("- linger.ms has no effect: it is about producers; remove it"), "{said}");
    let unable = ClientProperties::parse(Flavor::Java, "retries=3\nshare.acquire.mode=x").unwrap();
    let said = unable.producer().unwrap_err().to_string();
    assert!(
        said.starts_with("the producer's properties can't be taken:\n- retries has no effect: "),
        "{said}"
    );
    let said = unable.consumer().unwrap_err().to_string();
    assert_eq!(
        said,
        "the consumer's properties can't be taken:\n- share.acquire.mode has no effect: Milena has no share groups (KIP-932); \
         remove it"
    );
}
