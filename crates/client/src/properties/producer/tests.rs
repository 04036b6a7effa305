use super::*;
use milena_cluster::Backoff;
use milena_protocol::records::Compression;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// `ProducerConfig.configDef().names()` of kafka-clients 4.3.1.
pub(in crate::properties) const JAVA_NAMES: &str = "\
     acks batch.size bootstrap.servers buffer.memory client.dns.lookup client.id compression.gzip.level \
     compression.lz4.level compression.type compression.zstd.level config.providers connections.max.idle.ms \
     delivery.timeout.ms enable.idempotence enable.metrics.push interceptor.classes key.serializer linger.ms \
     max.block.ms max.in.flight.requests.per.connection max.request.size metadata.max.age.ms \
     metadata.max.idle.ms metadata.recovery.rebootstrap.trigger.ms metadata.recovery.strategy \
     metric.reporters metrics.num.samples metrics.recording.level metrics.sample.window.ms \
     partitioner.adaptive.partitioning.enable partitioner.availability.timeout.ms partitioner.class \
     partitioner.ignore.keys receive.buffer.bytes reconnect.backoff.max.ms reconnect.backoff.ms \
     request.timeout.ms retries retry.backoff.max.ms retry.backoff.ms sasl.client.callback.handler.class \
     sasl.jaas.config sasl.kerberos.kinit.cmd sasl.kerberos.min.time.before.relogin \
     sasl.kerberos.service.name sasl.kerberos.ticket.renew.jitter sasl.kerberos.ticket.renew.window.factor \
     sasl.login.callback.handler.class sasl.login.class sasl.login.connect.timeout.ms \
     sasl.login.read.timeout.ms sasl.login.refresh.buffer.seconds sasl.login.refresh.min.period.seconds \
     sasl.login.refresh.window.factor sasl.login.refresh.window.jitter sasl.login.retry.backoff.max.ms \
     sasl.login.retry.backoff.ms sasl.mechanism sasl.oauthbearer.assertion.algorithm \
     sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.exp.seconds \
     sasl.oauthbearer.assertion.claim.iss sasl.oauthbearer.assertion.claim.jti.include \
     sasl.oauthbearer.assertion.claim.nbf.seconds sasl.oauthbearer.assertion.claim.sub \
     sasl.oauthbearer.assertion.file sasl.oauthbearer.assertion.private.key.file \
     sasl.oauthbearer.assertion.private.key.passphrase sasl.oauthbearer.assertion.template.file \
     sasl.oauthbearer.client.credentials.client.id sasl.oauthbearer.client.credentials.client.secret \
     sasl.oauthbearer.clock.skew.seconds sasl.oauthbearer.expected.audience sasl.oauthbearer.expected.issuer \
     sasl.oauthbearer.header.urlencode sasl.oauthbearer.jwks.endpoint.refresh.ms \
     sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms sasl.oauthbearer.jwks.endpoint.retry.backoff.ms \
     sasl.oauthbearer.jwks.endpoint.url sasl.oauthbearer.jwt.retriever.class \
     sasl.oauthbearer.jwt.validator.class sasl.oauthbearer.scope sasl.oauthbearer.scope.claim.name \
     sasl.oauthbearer.sub.claim.name sasl.oauthbearer.token.endpoint.url security.protocol \
     security.providers send.buffer.bytes socket.connection.setup.timeout.max.ms \
     socket.connection.setup.timeout.ms ssl.cipher.suites ssl.enabled.protocols \
     ssl.endpoint.identification.algorithm ssl.engine.factory.class ssl.key.password \
     ssl.keymanager.algorithm ssl.keystore.certificate.chain ssl.keystore.key ssl.keystore.location \
     ssl.keystore.password ssl.keystore.type ssl.protocol ssl.provider ssl.secure.random.implementation \
     ssl.trustmanager.algorithm ssl.truststore.certificates ssl.truststore.location ssl.truststore.password \
     ssl.truststore.type transaction.timeout.ms transaction.two.phase.commit.enable transactional.id \
     value.serializer";
/// The rows for producers in CONFIGURATION.md of librdkafka 2.15.0, without its callbacks.
pub(in crate::properties) const LIBRDKAFKA_NAMES: &str = "\
     acks allow.auto.create.topics api.version.fallback.ms api.version.request \
     api.version.request.timeout.ms batch.num.messages batch.size bootstrap.servers broker.address.family \
     broker.address.ttl broker.version.fallback builtin.features client.dns.lookup client.id client.rack \
     compression.codec compression.level compression.type connections.max.idle.ms debug default_topic_conf \
     delivery.report.only.error delivery.timeout.ms enable.gapless.guarantee enable.idempotence \
     enable.metrics.push enable.random.seed enable.sasl.oauthbearer.unsecure.jwt \
     enable.ssl.certificate.verification enabled_events https.ca.location https.ca.pem interceptors \
     internal.termination.signal linger.ms log.connection.close log.queue log.thread.name log_level \
     max.in.flight max.in.flight.requests.per.connection message.copy.max.bytes message.max.bytes \
     message.send.max.retries message.timeout.ms metadata.broker.list metadata.max.age.ms \
     metadata.recovery.rebootstrap.trigger.ms metadata.recovery.strategy msg_order_cmp partitioner \
     plugin.library.paths produce.offset.report queue.buffering.backpressure.threshold \
     queue.buffering.max.kbytes queue.buffering.max.messages queue.buffering.max.ms queuing.strategy \
     receive.message.max.bytes reconnect.backoff.jitter.ms reconnect.backoff.max.ms reconnect.backoff.ms \
     request.required.acks request.timeout.ms retries retry.backoff.max.ms retry.backoff.ms \
     sasl.kerberos.keytab sasl.kerberos.kinit.cmd sasl.kerberos.min.time.before.relogin \
     sasl.kerberos.principal sasl.kerberos.service.name sasl.mechanism sasl.mechanisms \
     sasl.oauthbearer.assertion.algorithm sasl.oauthbearer.assertion.claim.aud \
     sasl.oauthbearer.assertion.claim.exp.seconds sasl.oauthbearer.assertion.claim.iss \
     sasl.oauthbearer.assertion.claim.jti.include sasl.oauthbearer.assertion.claim.nbf.seconds \
     sasl.oauthbearer.assertion.claim.sub sasl.oauthbearer.assertion.file \
     sasl.oauthbearer.assertion.jwt.template.file sasl.oauthbearer.assertion.private.key.file \
     sasl.oauthbearer.assertion.private.key.passphrase sasl.oauthbearer.assertion.private.key.pem \
     sasl.oauthbearer.client.credentials.client.id sasl.oauthbearer.client.credentials.client.secret \
     sasl.oauthbearer.client.id sasl.oauthbearer.client.secret sasl.oauthbearer.config \
     sasl.oauthbearer.extensions sasl.oauthbearer.grant.type sasl.oauthbearer.metadata.authentication.type \
     sasl.oauthbearer.method sasl.oauthbearer.scope sasl.oauthbearer.sub.claim.name \
     sasl.oauthbearer.token.endpoint.url sasl.password sasl.username security.protocol \
     socket.blocking.max.ms socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails \
     socket.nagle.disable socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms \
     ssl.ca.certificate.stores ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem \
     ssl.cipher.suites ssl.crl.location ssl.curves.list ssl.endpoint.identification.algorithm ssl.engine.id \
     ssl.engine.location ssl.key.location ssl.key.password ssl.key.pem ssl.keystore.location \
     ssl.keystore.password ssl.providers ssl.sigalgs.list ssl_ca ssl_certificate ssl_engine_callback_data \
     ssl_key statistics.interval.ms sticky.partitioning.linger.ms topic.blacklist \
     topic.metadata.propagation.max.ms topic.metadata.refresh.fast.cnt \
     topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.interval.ms \
     topic.metadata.refresh.sparse transaction.timeout.ms transactional.id";
fn take<const N: usize>(
    flavor: Flavor,
    pairs: [(&str, &str); N],
) -> Result<(ProducerConfig, Duration), PropertiesError> {
    let (mut config, mut max_block) = (ProducerConfig::default(), Duration::from_secs(60));
    ProducerProperties::from_pairs(flavor, pairs)?.settings.apply(&mut config, &mut max_block)?;
    Ok((config, max_block))
}

#[track_caller]
fn config<const N: usize>(flavor: Flavor, pairs: [(&str, &str); N]) -> ProducerConfig {
    take(flavor, pairs).unwrap().0
}

#[track_caller]
fn problem(flavor: Flavor, name: &str, value: &str) -> String {
    problem_of(flavor, [(name, value)])
}

#[track_caller]
fn problem_of<const N: usize>(flavor: Flavor, pairs: [(&str, &str); N]) -> String {
    let error = take(flavor, pairs).unwrap_err();
    let [problem] = error.problems() else { panic!("{error}") };
    assert!(problem.name().is_none_or(|name| problem.to_string().contains(name)), "{problem}");
    problem.to_string()
}

#[test]
fn every_name_of_both_clients_is_known() {
    for (flavor, names) in [(Flavor::Java, JAVA_NAMES), (Flavor::Librdkafka, LIBRDKAFKA_NAMES)] {
        let unknown: Vec<&str> = names
            .split_whitespace()
            .filter(|name| shared::meaning::<Names>(flavor, name).is_none())
            .collect();
        assert!(unknown.is_empty(), "{flavor} has {unknown:?}");
    }
    assert_eq!(JAVA_NAMES.split_whitespace().count(), 113);
    assert_eq!(LIBRDKAFKA_NAMES.split_whitespace().count(), 141);
}

#[test]
fn settings_of_java_are_taken() {
    let (config, max_block) = take(
        Flavor::Java,
        [
            ("linger.ms", "10"),
            ("batch.size", " 32768 "),
            ("buffer.memory", "67108864"),
            ("max.request.size", "2097152"),
            ("max.in.flight.requests.per.connection", "3"),
            ("compression.type", "zstd"),
            ("compression.zstd.level", "3"),
            ("request.timeout.ms", "15000"),
            ("delivery.timeout.ms", "60000"),
            ("retry.backoff.ms", "50"),
            ("retry.backoff.max.ms", "2000"),
            ("max.block.ms", "5000"),
            ("partitioner.class", "org.apache.kafka.clients.producer.RoundRobinPartitioner"),
            ("partitioner.adaptive.partitioning.enable", "False"),
            ("partitioner.availability.timeout.ms", "700"),
            ("client.rack", "a"),
            ("partitioner.rack.aware", "true"),
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("retries", "2147483647"),
        ],
    )
    .unwrap();
    assert_eq!((config.linger, config.batch_size), (MS(10), 32768));
    assert_eq!((config.buffer_memory, config.max_request_size), (64 << 20, 2 << 20));
    assert_eq!(config.max_in_flight, 3);
    assert_eq!(config.codec, Codec::with_level(Compression::Zstd, 3).unwrap());
    assert_eq!((config.request_timeout, config.delivery_timeout), (MS(15000), MS(60000)));
    assert_eq!(config.retry_backoff, Backoff { initial: MS(50), max: MS(2000) });
    assert_eq!(max_block, MS(5000));
    assert!(matches!(config.partitioner, Partitioner::RoundRobin));
    assert!(!config.adaptive_partitioning);
    assert_eq!(config.partition_availability_timeout, Some(MS(700)));
    assert_eq!(config.partitioner_rack.as_deref(), Some("a"));
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn settings_of_librdkafka_are_taken() {
    let config = config(
        Flavor::Librdkafka,
        [
            ("queue.buffering.max.ms", "0.5"),
            ("batch.size", "1000000"),
            ("queue.buffering.max.kbytes", "2048"),
            ("message.max.bytes", "1000000"),
            ("max.in.flight", "5"),
            ("compression.codec", "gzip"),
            ("compression.level", "9"),
            ("request.timeout.ms", "15000"),
            ("message.timeout.ms", "0"),
            ("retry.backoff.ms", "50"),
            ("partitioner", "murmur2_random"),
            ("request.required.acks", "-1"),
            ("enable.idempotence", "1"),
        ],
    );
    assert_eq!((config.linger, config.batch_size), (Duration::from_micros(500), 1_000_000));
    assert_eq!((config.buffer_memory, config.max_request_size), (2 << 20, 1_000_000));
    assert_eq!(config.codec, Codec::with_level(Compression::Gzip, 9).unwrap());
    assert_eq!((config.request_timeout, config.delivery_timeout), (MS(15000), Duration::MAX));
    assert_eq!(config.retry_backoff, Backoff { initial: MS(50), ..Backoff::DEFAULT });
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn what_is_not_named_stays() {
    let mut before = ProducerConfig { linger: MS(77), partitioner: Partitioner::Crc32, ..Default::default() };
    let expected = format!("{before:?}");
    let nothing = ProducerProperties::from_pairs(Flavor::Java, [("client.id", "x")]).unwrap();
    nothing.settings.apply(&mut before, &mut Duration::from_secs(1)).unwrap();
    assert_eq!(format!("{before:?}"), expected);
}

#[test]
fn who_comes_from_librdkafka_has_to_choose_a_partitioner() {
    let unchosen = config(Flavor::Librdkafka, [("linger.ms", "5")]);
    assert!(matches!(unchosen.partitioner, Partitioner::Unchosen));
    let refused = unchosen.validate().unwrap_err();
    assert_eq!(refused.setting, "partitioner");
    for (named, expected) in [
        ("consistent_random", "Crc32"),
        ("consistent", "Crc32Always"),
        ("murmur2_random", "Murmur2"),
        ("murmur2", "Murmur2Always"),
        ("random", "IgnoreKeys"),
    ] {
        let config = config(Flavor::Librdkafka, [("partitioner", named)]);
        assert_eq!(format!("{:?}", config.partitioner), expected);
        assert_eq!(config.validate(), Ok(()));
    }
    for unknown in ["fnv1a", "fnv1a_random", "Murmur2", ""] {
        let said = problem(Flavor::Librdkafka, "partitioner", unknown);
        assert!(said.starts_with(&format!("partitioner is {unknown:?}; ")), "{said}");
        assert_eq!(said.contains("FNV-1a"), unknown.starts_with("fnv1a"), "{said}");
    }
}

#[test]
fn partitioners_of_java_are_taken_or_refused_by_their_class() {
    let of = |class: &str| format!("org.apache.kafka.clients.producer.{class}");
    for (class, expected) in [
        ("internals.DefaultPartitioner", "Murmur2"),
        ("UniformStickyPartitioner", "IgnoreKeys"),
        ("RoundRobinPartitioner", "RoundRobin"),
    ] {
        let config = config(Flavor::Java, [("partitioner.class", of(class).as_str())]);
        assert_eq!(format!("{:?}", config.partitioner), expected);
    }
    let ignoring = config(Flavor::Java, [("partitioner.ignore.keys", "true")]);
    assert!(matches!(ignoring.partitioner, Partitioner::IgnoreKeys));
    let said = problem(Flavor::Java, "partitioner.class", "com.example.Own");
    assert!(
        said.starts_with("partitioner.class is \"com.example.Own\"; Milena runs no Java class"),
        "{said}"
    );
    let class = of("RoundRobinPartitioner");
    let said = problem_of(Flavor::Java, [("partitioner.class", &class), ("partitioner.ignore.keys", "true")]);
    assert_eq!(said, "partitioner.ignore.keys has no effect: partitioner.class decides; remove it");
}

#[test]
fn values_that_cannot_be_are_named_with_what_they_must_be() {
    use Flavor::{Java, Librdkafka};
    for (flavor, name, value, rule) in [
        (Java, "linger.ms", "5ms", "it is a number of milliseconds from 0 on, without a unit"),
        (Java, "linger.ms", "0.5", "it is a number of milliseconds from 0 on, without a unit"),
        (Java, "linger.ms", "-1", "it is a number of milliseconds from 0 on, without a unit"),
        (Java, "batch.size", "16k", "it is a number of bytes from 0 to 2147483647, without a unit"),
        (Java, "batch.size", "", "it is a number of bytes from 0 to 2147483647, without a unit"),
        (Java, "max.request.size", "1", "it is a number of bytes from 1024 to 1073741823, without a unit"),
        (
            Java,
            "request.timeout.ms",
            "0",
            "it is a number of milliseconds from 1 to 2147483647, without a unit",
        ),
        (
            Java,
            "max.in.flight.requests.per.connection",
            "6",
            "an idempotent producer has 1 to 5 requests in flight: that, or enable.idempotence=false",
        ),
        (Java, "compression.type", "brotli", "it is one of none, gzip, snappy, lz4 and zstd"),
        (Java, "partitioner.adaptive.partitioning.enable", "1", "it is true or false"),
        (Java, "partitioner.rack.aware", "true", "it needs client.rack to say which rack that is"),
        (
            Librdkafka,
            "linger.ms",
            "900000.5",
            "it is a number of milliseconds from 0 to 900000, without a unit",
        ),
        (Librdkafka, "linger.ms", "1.e1", "it is a number of milliseconds from 0 to 900000, without a unit"),
        (Librdkafka, "linger.ms", "1.2.3", "it is a number of milliseconds from 0 to 900000, without a unit"),
        (
            Librdkafka,
            "max.in.flight",
            "1000000",
            "an idempotent producer has 1 to 5 requests in flight: that, or enable.idempotence=false",
        ),
        (Librdkafka, "max.in.flight", "0", "it is a number of requests from 1 to 2147483647, without a unit"),
        (
            Librdkafka,
            "retry.backoff.ms",
            "0",
            "it is a number of milliseconds from 1 to 300000, without a unit",
        ),
        (Librdkafka, "enable.idempotence", "yes", "it is true or false"),
        (
            Librdkafka,
            "queue.buffering.max.kbytes",
            "0",
            "it is a number of units of 1024 bytes from 1 to 2147483647, without a unit",
        ),
    ] {
        assert_eq!(problem(flavor, name, value), format!("{name} is {value:?}; {rule}"));
    }
}

#[test]
fn zero_means_what_it_means_to_the_client_it_comes_from() {
    let java = config(Flavor::Java, [("batch.size", "0"), ("partitioner.availability.timeout.ms", "0")]);
    assert_eq!((java.batch_size, java.partition_availability_timeout), (1, None));
    assert!(take(Flavor::Librdkafka, [("batch.size", "0")]).is_err());
}

#[test]
fn levels_are_of_a_compression_that_is_used() {
    let codec = |compression, level| Codec::with_level(compression, level).unwrap();
    for (flavor, kind, level, expected) in [
        (Flavor::Java, "gzip", ("compression.gzip.level", "-1"), Compression::Gzip.into()),
        (Flavor::Java, "gzip", ("compression.gzip.level", "9"), codec(Compression::Gzip, 9)),
        (Flavor::Java, "zstd", ("compression.zstd.level", "-1"), codec(Compression::Zstd, -1)),
        (Flavor::Librdkafka, "zstd", ("compression.level", "-1"), Compression::Zstd.into()),
        (Flavor::Librdkafka, "zstd", ("compression.level", "4"), codec(Compression::Zstd, 4)),
        (Flavor::Librdkafka, "lz4", ("compression.level", "0"), Compression::Lz4.into()),
        (Flavor::Librdkafka, "snappy", ("compression.level", "0"), Compression::Snappy.into()),
        (Flavor::Librdkafka, "none", ("compression.level", "-1"), Compression::None.into()),
    ] {
        assert_eq!(config(flavor, [("compression.type", kind), level]).codec, expected, "{kind} {level:?}");
    }
    for (flavor, kind, level, said) in [
        (Flavor::Java, "zstd", ("compression.zstd.level", "22"), "zstd has levels from -7 to 4"),
        (Flavor::Java, "gzip", ("compression.gzip.level", "0"), "gzip has levels from 1 to 9"),
        (Flavor::Java, "lz4", ("compression.lz4.level", "9"), "Milena's LZ4 has one level"),
        (Flavor::Java, "gzip", ("compression.zstd.level", "3"), "it needs compression.type=zstd"),
        (Flavor::Java, "none", ("compression.gzip.level", "3"), "it needs compression.type=gzip"),
        (Flavor::Librdkafka, "lz4", ("compression.level", "12"), "has no levels in Milena"),
        (Flavor::Librdkafka, "none", ("compression.level", "3"), "it needs a compression.codec"),
    ] {
        let problem = problem_of(flavor, [("compression.type", kind), level]);
        assert!(problem.starts_with(level.0) && problem.contains(said), "{problem}");
    }
    assert!(take(Flavor::Java, [("compression.gzip.level", "3")]).is_err());
}

#[test]
fn names_that_nobody_knows_are_refused_with_a_guess() {
    for (flavor, name, said) in [
        (Flavor::Java, "linger_ms", "; did you mean linger.ms? Correct or remove it"),
        (Flavor::Java, "producer.batch.size", "; did you mean batch.size? Correct or remove it"),
        (Flavor::Java, "buffermemory", "; did you mean buffer.memory? Correct or remove it"),
        (Flavor::Java, "queue.buffering.max.ms", ", but one of librdkafka's; correct or remove it"),
        (Flavor::Java, "colour", "; correct or remove it"),
        (Flavor::Librdkafka, "mesage.timeout.ms", "; did you mean message.timeout.ms? Correct or remove it"),
        (Flavor::Librdkafka, "max.block.ms", ", but one of Java's; correct or remove it"),
    ] {
        let expected = format!("{name} is no setting of {flavor}'s producer{said}");
        assert_eq!(problem(flavor, name, "1"), expected);
    }
}

#[test]
fn names_without_effect_are_refused_unless_they_say_what_is_done_anyway() {
    use Flavor::{Java, Librdkafka};
    for (flavor, name, value) in [
        (Java, "retries", "5"),
        (Java, "interceptor.classes", "com.example.Own"),
        (Java, "enable.metrics.push", "true"),
        (Java, "group.id", "readers"),
        (Librdkafka, "message.send.max.retries", "0"),
        (Librdkafka, "batch.num.messages", "10000"),
        (Librdkafka, "queue.buffering.max.messages", "100000"),
        (Librdkafka, "socket.timeout.ms", "60000"),
        (Librdkafka, "queuing.strategy", "lifo"),
        (Librdkafka, "auto.offset.reset", "earliest"),
    ] {
        let said = problem(flavor, name, value);
        assert!(said.starts_with(&format!("{name} has no effect: ")), "{said}");
    }
    for (flavor, name, value) in [
        (Java, "retries", "2147483647"),
        (Java, "interceptor.classes", ""),
        (Java, "enable.metrics.push", "false"),
        (Librdkafka, "queuing.strategy", "fifo"),
    ] {
        assert!(ProducerProperties::from_pairs(flavor, [(name, value)]).unwrap().left().is_empty());
    }
}

#[test]
fn less_than_all_acks_turns_idempotence_off_unless_both_are_asked_for() {
    for (flavor, name, value, expected) in [
        (Flavor::Java, "acks", "1", (Acks::Leader, false)),
        (Flavor::Java, "acks", "0", (Acks::None, false)),
        (Flavor::Java, "acks", "-1", (Acks::All, true)),
        (Flavor::Librdkafka, "request.required.acks", "1", (Acks::Leader, false)),
        (Flavor::Java, "enable.idempotence", "false", (Acks::All, false)),
        (Flavor::Librdkafka, "enable.idempotence", "0", (Acks::All, false)),
    ] {
        let config = config(flavor, [(name, value)]);
        assert_eq!((config.acks, config.idempotence), expected, "{name}={value}");
    }
    let both = [("acks", "1"), ("enable.idempotence", "true")];
    let said = problem_of(Flavor::Java, both);
    assert_eq!(said, "acks is \"1\"; an idempotent producer has all: that, or enable.idempotence=false");
    assert_eq!(problem(Flavor::Java, "acks", "2"), "acks is \"2\"; it is all, 1 or 0");
    let many = [("max.in.flight", "9"), ("enable.idempotence", "false")];
    assert_eq!(config(Flavor::Librdkafka, many).max_in_flight, 9);
    let said = problem(Flavor::Librdkafka, "max.in.flight", "9");
    assert!(said.ends_with("1 to 5 requests in flight: that, or enable.idempotence=false"), "{said}");
}

#[test]
fn the_same_setting_has_one_value() {
    let twice = [("linger.ms", "5"), ("queue.buffering.max.ms", "6")];
    let said = problem_of(Flavor::Librdkafka, twice);
    assert_eq!(said, "linger.ms and queue.buffering.max.ms have different values: keep one");
    let said = problem_of(Flavor::Java, [("linger.ms", "5"), ("linger.ms", "6")]);
    assert_eq!(said, "linger.ms is there twice, with different values: keep one");
    let said = problem_of(Flavor::Java, [("sasl.jaas.config", "secret"), ("sasl.jaas.config", "other")]);
    assert_eq!(said, "sasl.jaas.config is there twice, with different values: keep one");
    assert_eq!(config(Flavor::Java, [("linger.ms", "6"), ("linger.ms", "6")]).linger, MS(6));
}

#[test]
fn what_is_about_other_things_is_left_and_not_shown() {
    let left = [("bootstrap.servers", "a:1"), ("client.rack", "r"), ("ssl.key.password", " p4ss ")];
    let properties = ProducerProperties::from_pairs(Flavor::Java, left).unwrap();
    let expected: BTreeMap<_, _> = left.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(*properties.left(), expected);
    let shown = format!("{properties:?}");
    assert!(shown.contains("ssl.key.password") && !shown.contains("p4ss"), "{shown}");
}

#[test]
fn the_properties_of_a_transactional_producer_make_no_other() {
    let named = [("transactional.id", "payments-1"), ("transaction.timeout.ms", "5000")];
    let properties = ProducerProperties::from_pairs(Flavor::Java, named).unwrap();
    assert_eq!(properties.transactional_id(), Some("payments-1"));
    let mut max_block = Duration::ZERO;
    let mut of = |id: Option<&str>| {
        let transactional_id = id.map(Into::into);
        let mut config = ProducerConfig { transactional_id, ..Default::default() };
        properties.settings.apply(&mut config, &mut max_block).map(|()| config.transaction_timeout)
    };
    assert_eq!(of(Some("payments-1")), Ok(MS(5000)));
    let said = of(None).unwrap_err().problems()[0].to_string();
    assert!(said.ends_with("make the producer with Client::transactional_producer and that id"), "{said}");
    let said = of(Some("other")).unwrap_err().problems()[0].to_string();
    assert!(said.ends_with("and that id, not \"other\""), "{said}");
    let said = problem(Flavor::Java, "transaction.timeout.ms", "5000");
    assert_eq!(said, "transaction.timeout.ms has no effect: the producer has no transactions; remove it");
}

#[test]
fn all_problems_are_told_at_once() {
    let error =
        ProducerProperties::parse(Flavor::Java, "linger.ms=x\nnonsense=1\nretries=3\nacks=2").unwrap_err();
    let names: Vec<_> = error.problems().iter().map(|problem| problem.name().unwrap()).collect();
    assert_eq!(names, ["nonsense", "retries", "acks", "linger.ms"]);
    assert_eq!(error.to_string().lines().count(), 5);
}
