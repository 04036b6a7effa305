//! What our client says to mistakes at a real broker that asks who you are, as whole texts: `secured_broker_mistakes/texts.txt`
//! is to be read by people. `MILENA_BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use milena::{AutoOffsetReset, Client, Consumer, NewTopic, Record, Sasl, Tls, Token, TopicPartition};
use protocol_tests::{
    secured::{
        EXPIRED, FEW, LOGIN, MTLS, OURS, PLAIN, SecuredBroker, TLS, TLS_LOGIN, authority, builder, certified,
    },
    stage::within,
    tls, told,
};
use tokio::time::{Instant, sleep};

const TEXTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/secured_broker_mistakes/texts.txt");
const SOON: Duration = Duration::from_secs(30);

#[track_caller]
fn assert_told(name: &str, text: &impl ToString) {
    told::assert_told(TEXTS, name, text);
}

/// A text that no test looks at any more is to go.
#[test]
fn every_text_is_of_a_mistake_that_is_made() {
    let source = include_str!("secured_broker_mistakes.rs");
    let texts = told::texts(TEXTS);
    assert!(texts.len() >= 25, "{}", texts.len());
    for name in texts.keys() {
        assert!(source.contains(&format!("\"{name}\"")), "nobody makes the mistake `{name}`");
    }
}

fn ours(what: &str) -> String {
    format!("{OURS}-{what}-{}", std::process::id())
}

async fn refused(name: &str, address: &str, tls: Option<Tls>, sasl: impl Into<Option<Sasl>>) {
    let error = within(builder(address, tls, sasl.into()).connect()).await;
    assert_told(name, &error.err().unwrap_or_else(|| panic!("{name}: it connects")));
}

fn ca() -> Option<Tls> {
    Some(authority())
}

#[tokio::test]
#[ignore = "needs the secure cluster"]
async fn ports_and_certificates() {
    SecuredBroker::from_env().unwrap();
    let scram = || Sasl::scram_sha_256("alice", "alice-scram");
    refused("TLS to plaintext", PLAIN, ca(), None).await;
    refused("plaintext to TLS", TLS, None, None).await;
    refused("a login where nobody asks", PLAIN, None, scram()).await;
    refused("no login", LOGIN, None, None).await;
    refused("no login over TLS", TLS_LOGIN, ca(), None).await;
    let others = Some(Tls::ca_file(tls::certificate("untrusted").0));
    refused("unknown authority", TLS, others, None).await;
    refused("certificate out of date", EXPIRED, ca(), None).await;
    refused("another host", TLS, Some(authority().server_name("elsewhere.example")), None).await;
    refused("no certificate of the client's", MTLS, ca(), None).await;
    refused("untrusted certificate of the client's", MTLS, Some(certified("untrusted")), None).await;
    refused("outdated certificate of the client's", MTLS, Some(certified("outdated")), None).await;
    refused("certificate of a server for the client's", MTLS, Some(certified("server")), None).await;
}

#[tokio::test]
#[ignore = "needs the secure cluster"]
async fn logins() {
    let broker = SecuredBroker::from_env().unwrap();
    let token = |name: &str| Sasl::oauth_bearer(broker.token(name)).allow_in_the_clear();
    refused("expired token", TLS_LOGIN, ca(), token("expired")).await;
    refused("expired token without a signature", LOGIN, None, token("expired")).await;
    refused("token for another audience", TLS_LOGIN, ca(), token("wrong-audience")).await;
    refused("token without a signature", TLS_LOGIN, ca(), token("unsigned")).await;
    let none = || async { Err::<Token, _>(std::io::Error::other("the vault is sealed")) };
    refused("provider without a token", LOGIN, None, Sasl::oauth_bearer(none).allow_in_the_clear()).await;
    refused("wrong password by PLAIN", TLS_LOGIN, ca(), Sasl::plain("alice", "guess")).await;
    refused("wrong password by SCRAM-SHA-256", LOGIN, None, Sasl::scram_sha_256("alice", "guess")).await;
    refused("wrong password by SCRAM-SHA-512", LOGIN, None, Sasl::scram_sha_512("alice", "guess")).await;
    refused("unknown user by PLAIN", TLS_LOGIN, ca(), Sasl::plain("mallory", "guess")).await;
    refused("unknown user by SCRAM-SHA-256", LOGIN, None, Sasl::scram_sha_256("mallory", "guess")).await;
    refused("no SCRAM-SHA-512", FEW, None, Sasl::scram_sha_512("alice", "alice-scram")).await;
}

/// A topic that is there, as somebody who may make it sees it.
async fn topic(what: &str, settings: &[(&str, &str)]) -> (Client, String) {
    SecuredBroker::from_env().unwrap().grant().await;
    let client = within(Client::connect(PLAIN)).await.unwrap();
    let name = ours(what);
    let topic = NewTopic::new(name.as_str()).partitions(1);
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.config(*name, *value));
    within(client.admin().create_topic(topic)).await.unwrap();
    within(async {
        while client.admin().partition_count(name.as_str()).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    (client, name)
}

/// Bob may know that our topics are there, and nothing else.
async fn bob() -> Client {
    let sasl = Sasl::scram_sha_512("bob", "bob-scram");
    within(builder(TLS_LOGIN, Some(authority()), Some(sasl)).connect()).await.unwrap()
}

async fn not_sent(name: &str, client: &Client, record: Record, is_idempotent: bool) {
    let producer = client.producer().idempotence(is_idempotent).max_block(Duration::from_secs(1));
    let producer = producer.request_timeout(Duration::from_secs(1)).delivery_timeout(Duration::from_secs(2));
    assert_told(name, &within(producer.build().unwrap().send(record)).await.unwrap_err());
}

/// What stops a consumer.
async fn stops(name: &str, consumer: &Consumer) {
    let begin = Instant::now();
    loop {
        match within(consumer.poll(Duration::from_secs(1))).await {
            Ok(_) => assert!(begin.elapsed() < SOON, "{:?}", consumer.explain()),
            Err(error) => return assert_told(name, &error),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the secure cluster"]
async fn rights() {
    let (_, seen) = topic("seen", &[]).await;
    let client = bob().await;
    let record = |topic: &str| Record::new(topic).value("x");
    not_sent("no Write on the topic", &client, record(&seen), false).await;
    not_sent("no IdempotentWrite", &client, record(&seen), true).await;
    not_sent("no Describe on the topic", &client, record("hidden"), false).await;
    let error = within(client.transactional_producer(ours("bobs")).build()).await.unwrap_err();
    assert_told("no Write on the transactional id", &error);
    let group = ours("bobs");
    let consumer = client.consumer(group.as_str()).subscribe([seen.as_str()]).build().unwrap();
    stops("no Read on the group", &consumer).await;
    for (name, topic) in
        [("no Read on the topic", seen.as_str()), ("no Describe on the topic of a consumer", "hidden")]
    {
        let consumer = client.consumer_without_group().assign([TopicPartition::new(topic, 0)]);
        let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
        stops(name, &consumer).await;
    }
    let error = within(client.admin().create_topic(NewTopic::new(ours("made").as_str()))).await.unwrap_err();
    assert_told("no Create on the cluster", &error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the secure cluster"]
async fn limits() {
    let settings = [("max.message.bytes", "2000"), ("min.insync.replicas", "1")];
    let (client, name) = topic("small", &settings).await;
    let large = Record::new(name.as_str()).value(vec![b'x'; 5000]);
    not_sent("record larger than the topic allows", &client, large, true).await;
    let tomorrow = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_hours(24);
    let record = Record::new(name.as_str()).value("x").timestamp(tomorrow.as_millis() as i64);
    not_sent("timestamp of a clock that is ahead", &client, record, true).await;
    let builder = client.transactional_producer(ours("long"));
    let error = within(builder.transaction_timeout(Duration::from_hours(24)).build()).await.unwrap_err();
    assert_told("transaction timeout that is too long", &error);
    let mut first = within(client.transactional_producer(ours("twice")).build()).await.unwrap();
    let transaction = first.begin().unwrap();
    within(transaction.send(Record::new(name.as_str()).value("x"))).await.unwrap();
    let _second = within(client.transactional_producer(ours("twice")).build()).await.unwrap();
    assert_told("transactional id that two have", &within(transaction.commit()).await.unwrap_err());
    let member = client.consumer(ours("sticky")).subscribe([name.as_str()]);
    let member = member.group_protocol(milena::GroupProtocol::Consumer).server_assignor("sticky");
    stops("assignor that the broker does not offer", &member.build().unwrap()).await;
    let record = Record::new("no-such-topic").partition(0).value("x");
    not_sent("unknown topic", &client, record, true).await;
    within(client.admin().delete_topic(name.as_str())).await.unwrap();
}
