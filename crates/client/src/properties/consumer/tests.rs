use super::*;
use milena_cluster::Backoff;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn take<const N: usize>(
    flavor: Flavor,
    pairs: [(&str, &str); N],
) -> Result<(ConsumerConfig, Habits), PropertiesError> {
    let (mut config, mut habits) = (ConsumerConfig::default(), Habits::default());
    let properties = ConsumerProperties::from_pairs(flavor, pairs)?;
    config.group_id = properties.group_id().map(Into::into);
    properties
        .settings
        .apply(&mut config, &mut habits)
        .map_err(|problem| PropertiesError::of(PropertiesOf::Consumer, vec![problem]))?;
    Ok((config, habits))
}

#[track_caller]
fn problem<const N: usize>(flavor: Flavor, pairs: [(&str, &str); N]) -> String {
    let error = take(flavor, pairs).err().unwrap();
    let [problem] = error.problems() else { panic!("{error}") };
    problem.to_string()
}

#[test]
fn settings_of_java_are_taken() {
    let (config, habits) = take(
        Flavor::Java,
        [
            ("group.id", "billing"),
            ("group.instance.id", "billing-1"),
            ("auto.offset.reset", "by_duration:PT1H"),
            ("enable.auto.commit", "true"),
            ("auto.commit.interval.ms", "1000"),
            ("isolation.level", "read_committed"),
            (
                "partition.assignment.strategy",
                "org.apache.kafka.clients.consumer.StickyAssignor, org.apache.kafka.clients.consumer.RoundRobinAssignor",
            ),
            ("client.rack", "r1"),
            ("group.protocol", "CLASSIC"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "1000"),
            ("max.poll.interval.ms", "60000"),
            ("max.poll.records", "50"),
            ("fetch.min.bytes", "100"),
            ("fetch.max.bytes", "1000000"),
            ("fetch.max.wait.ms", "250"),
            ("max.partition.fetch.bytes", "500000"),
            ("check.crcs", "false"),
            ("request.timeout.ms", "5000"),
            ("default.api.timeout.ms", "15000"),
            ("retry.backoff.ms", "50"),
            ("retry.backoff.max.ms", "2000"),
            ("allow.auto.create.topics", "false"),
        ],
    )
    .unwrap();
    assert_eq!(config.group_instance_id.as_deref(), Some("billing-1"));
    assert_eq!(config.auto_offset_reset, AutoOffsetReset::ByDuration(Duration::from_secs(3600)));
    assert_eq!((habits.auto_commit, habits.max_poll_records), (Some(MS(1000)), 50));
    assert_eq!(config.isolation_level, IsolationLevel::ReadCommitted);
    assert_eq!(config.assignors, [Assignor::Sticky, Assignor::RoundRobin]);
    assert_eq!(config.client_rack.as_deref(), Some("r1"));
    assert_eq!(config.group_protocol, GroupProtocol::Classic);
    assert_eq!((config.session_timeout, config.heartbeat_interval), (MS(10_000), MS(1000)));
    assert_eq!((config.max_poll_interval, config.fetch_max_wait), (MS(60_000), MS(250)));
    assert_eq!((config.fetch_min_bytes, config.fetch_max_bytes), (100, 1_000_000));
    assert_eq!((config.max_partition_fetch_bytes, config.check_crcs), (500_000, false));
    assert_eq!((config.request_timeout, config.commit_timeout), (MS(5000), MS(15_000)));
    assert_eq!(config.retry_backoff, Backoff { initial: MS(50), max: MS(2000) });
    assert_eq!(config.validate(), Ok(()));
}

#[test]
fn settings_of_librdkafka_are_taken() {
    let (config, habits) = take(
        Flavor::Librdkafka,
        [
            ("group.id", "billing"),
            ("auto.offset.reset", "smallest"),
            ("enable.auto.commit", "1"),
            ("partition.assignment.strategy", "cooperative-sticky,range"),
            ("fetch.wait.max.ms", "100"),
            ("fetch.message.max.bytes", "2000000"),
            ("queued.max.messages.kbytes", "1024"),
            ("socket.timeout.ms", "20000"),
            ("enable.auto.offset.store", "true"),
            ("enable.partition.eof", "false"),
        ],
    )
    .unwrap();
    assert_eq!(config.auto_offset_reset, AutoOffsetReset::Earliest);
    assert_eq!(habits.auto_commit, Some(Duration::from_secs(5)));
    assert_eq!(config.assignors, [Assignor::CooperativeSticky, Assignor::Range]);
    assert_eq!((config.fetch_max_wait, config.request_timeout), (MS(100), MS(20_000)));
    assert_eq!((config.max_partition_fetch_bytes, config.max_buffered_bytes), (2_000_000, 1 << 20));
    assert_eq!(config.validate(), Ok(()));
    let kip_848 =
        take(Flavor::Librdkafka, [("group.protocol", "consumer"), ("group.remote.assignor", "range")]);
    let config = kip_848.unwrap().0;
    assert_eq!(
        (config.group_protocol, config.server_assignor.as_deref()),
        (GroupProtocol::Consumer, Some("range"))
    );
}

#[test]
fn what_is_not_named_stays() {
    let expected = format!("{:?} {:?}", ConsumerConfig::default(), Habits::default());
    let (config, habits) = take(Flavor::Librdkafka, [("client.id", "x")]).unwrap();
    assert_eq!(format!("{config:?} {habits:?}"), expected);
}

#[test]
fn values_that_cannot_be_are_named_with_what_they_must_be() {
    use Flavor::{Java, Librdkafka};
    for (flavor, name, value, rule) in [
        (
            Java,
            "auto.offset.reset",
            "smallest",
            "it is earliest, latest, none, or by_duration: and a duration such as PT1H30M or P7D",
        ),
        (
            Java,
            "auto.offset.reset",
            "by_duration:-PT1H",
            "it is earliest, latest, none, or by_duration: and a duration such as PT1H30M or P7D",
        ),
        (
            Librdkafka,
            "auto.offset.reset",
            "none",
            "it is earliest, latest or error (or smallest, beginning, largest, end)",
        ),
        (Java, "isolation.level", "committed", "it is read_committed or read_uncommitted"),
        (
            Java,
            "group.protocol",
            "share",
            "it is classic or consumer; without it the cluster's newest is taken",
        ),
        (Java, "group.id", "", "it has at least a letter"),
        (Java, "max.poll.records", "0", "it is a number of records from 1 to 2147483647, without a unit"),
        (Java, "check.crcs", "1", "it is true or false"),
        (
            Librdkafka,
            "partition.assignment.strategy",
            "range,sticky",
            "it has range, roundrobin or cooperative-sticky, with commas between",
        ),
        (
            Java,
            "partition.assignment.strategy",
            "com.example.Own",
            "Milena runs no Java class, and has RangeAssignor, RoundRobinAssignor, StickyAssignor and \
             CooperativeStickyAssignor of org.apache.kafka.clients.consumer; give the builder an Assignor::Custom that does \
             the same as another",
        ),
        (
            Librdkafka,
            "queued.max.messages.kbytes",
            "0",
            "it is a number of units of 1024 bytes from 1 to 2097151, without a unit",
        ),
    ] {
        assert_eq!(problem(flavor, [(name, value)]), format!("{name} is {value:?}; {rule}"));
    }
}

#[test]
fn what_has_no_effect_is_told_with_what_to_do() {
    use Flavor::{Java, Librdkafka};
    for (flavor, name, value, advice) in [
        (Java, "acks", "all", "it is about producers; remove it"),
        (Java, "key.serializer", "S", "it is about producers; remove it"),
        (
            Java,
            "allow.auto.create.topics",
            "true",
            "a consumer of Milena makes no topics; remove it or set it to false",
        ),
        (
            Java,
            "auto.commit.interval.ms",
            "5000",
            "Milena commits by itself only with enable.auto.commit=true; add that, or remove it",
        ),
        (
            Librdkafka,
            "enable.auto.offset.store",
            "false",
            "what is to be committed is said to Consumer::commit_offsets, without auto-commit; remove it",
        ),
        (
            Librdkafka,
            "queued.min.messages",
            "1000",
            "what waits is bounded in bytes, by queued.max.messages.kbytes; remove it",
        ),
        (Librdkafka, "message.max.bytes", "1000", "it is about producers; remove it"),
    ] {
        assert_eq!(problem(flavor, [(name, value)]), format!("{name} has no effect: {advice}"));
    }
    let off = [("enable.auto.commit", "false"), ("auto.commit.interval.ms", "5000")];
    assert_eq!(
        problem(Java, off),
        "auto.commit.interval.ms has no effect: enable.auto.commit is false; remove it"
    );
    let decided = [("group.protocol", "consumer"), ("session.timeout.ms", "10000")];
    assert_eq!(
        problem(Java, decided),
        "session.timeout.ms has no effect: with group.protocol=consumer the cluster decides; remove it"
    );
    let decided = [("group.protocol", "classic"), ("group.remote.assignor", "uniform")];
    assert_eq!(
        problem(Java, decided),
        "group.remote.assignor has no effect: with group.protocol=classic a member decides, by \
         partition.assignment.strategy; remove it"
    );
}

#[test]
fn the_properties_of_one_group_make_no_consumer_of_another() {
    let properties = ConsumerProperties::from_pairs(Flavor::Java, [("group.id", "billing")]).unwrap();
    let of = |group: Option<&str>| {
        let mut config = ConsumerConfig { group_id: group.map(Into::into), ..Default::default() };
        properties.settings.apply(&mut config, &mut Habits::default()).map_err(|problem| problem.to_string())
    };
    assert_eq!(of(Some("billing")), Ok(()));
    let said = "group.id is \"billing\"; make the consumer with Client::consumer and that id";
    assert_eq!(of(None), Err(said.to_owned()));
    assert_eq!(of(Some("other")), Err(format!("{said}, not \"other\"")));
}
