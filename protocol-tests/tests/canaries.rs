//! Secrets, and what records hold, are told to nobody: everything a client does is done with known ones, and everything is
//! logged that can be.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use std::{
    fmt::{Debug, Write},
    fs, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use metrics_util::debugging::DebuggingRecorder;
use milena::{
    AutoOffsetReset, AwsCredentials, Client, ClientBuilder, DiagnosisOptions, MskIam, NewTopic, Oidc, Record,
    Sasl, Socks5, Tls, Token,
};
use milena_embedded_broker::{EmbeddedBroker, core::SaslConfig};
use protocol_tests::tls;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// A password, a token, a key of AWS and a secret of a client.
const SECRET: &str = "canary-4711-secret";
/// What a record holds.
const PAYLOAD: &str = "canary-4712-payload";
const SOON: Duration = Duration::from_secs(20);

/// What was told to anybody.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Told {
    fn tell(&self, what: impl Debug) {
        let _ = writeln!(self.0.lock().unwrap_or_else(PoisonError::into_inner), "{what:?}");
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Told {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// A secret as it is, and as it may be hidden without meaning to: in base64 at each place within three bytes, in numbers.
fn disguises(secret: &str) -> Vec<String> {
    let shifted = (0..3).map(|shift| {
        let encoded = BASE64_STANDARD_NO_PAD.encode([vec![b'x'; shift], secret.into()].concat());
        // What its neighbours have a part in is left out.
        encoded[4..encoded.len() - 4].to_owned()
    });
    let numbers: Vec<_> = secret.bytes().map(|byte| byte.to_string()).collect();
    let hex = secret.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    shifted.chain([secret.to_owned(), numbers.join(", "), hex]).collect()
}

/// A broker that knows bob, and wants to hear again and again who a client is.
async fn broker(is_encrypted: bool) -> EmbeddedBroker {
    let mut sasl = SaslConfig::new([("bob", SECRET)]);
    sasl.session_lifetime = Some(Duration::from_millis(300));
    let builder = EmbeddedBroker::builder().topic("orders", 2).configure(|config| config.sasl = Some(sasl));
    let builder = if is_encrypted { builder.tls(tls::server()) } else { builder };
    builder.start().await.unwrap()
}

fn builder(broker: &EmbeddedBroker, is_encrypted: bool, sasl: Sasl) -> ClientBuilder {
    let builder = Client::builder(broker.bootstrap()).setup_timeout(Duration::from_secs(5)).sasl(sasl);
    if is_encrypted { builder.tls(Tls::ca_file(tls::authority())) } else { builder }
}

/// All that one does with a cluster.
async fn work(told: &Told, client: &Client, broker: &EmbeddedBroker, number: usize) {
    let record = || Record::new("orders").key(PAYLOAD).value(PAYLOAD).header("h", PAYLOAD);
    let producer = client.producer().build().unwrap();
    told.tell(producer.send(record()).await.unwrap());
    let mut payments = client.transactional_producer("payments").build().await.unwrap();
    let transaction = payments.begin().unwrap();
    transaction.send(record()).await.unwrap();
    told.tell(&transaction);
    transaction.commit().await.unwrap();
    let consumer = client.consumer(format!("group-{number}")).subscribe(["orders"]);
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Earliest).build().unwrap();
    assert!(consumer.poll(SOON).await.unwrap().unwrap().iter().count() > 0);
    consumer.commit().await.unwrap();
    let admin = client.admin();
    told.tell(admin.create_topic(NewTopic::new(format!("t{number}")).partitions(1)).await);
    told.tell(admin.groups().await);
    // The sessions are renewed meanwhile.
    let renewed = || broker.with_cluster(|cluster, _| cluster.renewed_logins());
    let before = renewed();
    while renewed() < before + 2 {
        producer.send(record()).await.unwrap();
    }
    let explanation = client.explain();
    assert!(!explanation.producers.is_empty() && !explanation.consumers.is_empty());
    told.tell((&explanation, explanation.to_string(), serde_json::to_string(&explanation).unwrap()));
    told.tell((client, &producer, &consumer, producer.stats()));
    consumer.close(SOON).await.unwrap();
    producer.close(SOON).await.unwrap();
}

#[tokio::test]
async fn no_secret_and_no_payload_is_told_to_anybody() {
    let told = Told::default();
    let recorder = DebuggingRecorder::new();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let subscriber =
        tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(told.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut number = 0;
    for is_encrypted in [false, true] {
        let broker = broker(is_encrypted).await;
        for sasl in [
            Sasl::plain("bob", SECRET).allow_in_the_clear(),
            Sasl::scram_sha_256("bob", SECRET),
            Sasl::scram_sha_512("bob", SECRET),
        ] {
            let builder = builder(&broker, is_encrypted, sasl);
            told.tell(&builder);
            let client = builder.clone().connect().await.unwrap();
            number += 1;
            work(&told, &client, &broker, number).await;
            let diagnosis = builder.diagnose(&DiagnosisOptions::new().topic("orders").group("group-1")).await;
            let diagnosis = diagnosis.unwrap();
            told.tell((&diagnosis, diagnosis.to_string(), serde_json::to_string(&diagnosis).unwrap()));
        }
        // Whom the broker does not let in.
        for sasl in [
            Sasl::plain("alice", SECRET).allow_in_the_clear(),
            Sasl::scram_sha_256("alice", SECRET),
            Sasl::oauth_bearer(Token::new(SECRET).unwrap()).allow_in_the_clear(),
            Sasl::oauth_bearer(aws()).allow_in_the_clear(),
            Sasl::oauth_bearer(oidc()).allow_in_the_clear(),
        ] {
            let builder = builder(&broker, is_encrypted, sasl);
            told.tell(builder.clone().connect().await.unwrap_err());
            let diagnosis = builder.diagnose(&DiagnosisOptions::new()).await.unwrap();
            told.tell((&diagnosis, diagnosis.to_string()));
        }
        let proxied = builder(&broker, is_encrypted, Sasl::scram_sha_256("bob", SECRET));
        let proxied = proxied.socks5(Socks5::new("127.0.0.1:1".parse().unwrap()).login("bob", SECRET));
        told.tell(&proxied);
        told.tell(proxied.connect().await.unwrap_err());
    }
    told.tell((aws(), oidc(), AwsCredentials::new("AKIDEXAMPLE", SECRET).with_session_token(SECRET)));
    let key = fs::read_to_string(tls::certificate("client").1).unwrap();
    told.tell(Tls::ca_file(tls::authority()).client_certificate_pem("x", key.as_str()));

    // Names, labels and descriptions.
    let counted = recorder.snapshotter().snapshot().into_vec();
    assert!(counted.iter().any(|(key, ..)| key.key().name() == "kafka_messages_produced_total"));
    told.tell(counted);

    let text = told.text();
    for expected in
        ["TRACE", "a login without TLS", "connection over", "topics", "group-1", "refused the login by PLAIN"]
    {
        assert!(text.contains(expected), "{expected:?} is told: the test would find what is");
    }
    let key = key.lines().nth(1).unwrap();
    let secrets = [SECRET, PAYLOAD].into_iter().flat_map(disguises).chain([key.to_owned()]);
    for secret in secrets {
        let found = text.find(&secret).map(|at| text[..at].lines().next_back().unwrap_or_default());
        assert_eq!(found, None, "{secret}");
    }
}

/// Nobody listens at its endpoint.
fn oidc() -> Oidc {
    Oidc::builder("https://127.0.0.1:1/token", "bob", SECRET).build().unwrap()
}

fn aws() -> MskIam {
    MskIam::new("eu-central-1", AwsCredentials::new("AKIDEXAMPLE", SECRET)).unwrap()
}

#[test]
fn a_secret_is_found_in_its_disguises() {
    for hidden in [
        format!("{:?}", SECRET.as_bytes()),
        BASE64_STANDARD_NO_PAD.encode(format!("\0bob\0{SECRET}")),
        BASE64_STANDARD_NO_PAD.encode(format!("{SECRET}!")),
    ] {
        assert!(disguises(SECRET).iter().any(|disguise| hidden.contains(disguise)), "{hidden}");
    }
}
