//! Our client's TLS and SASL, against the embedded broker's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests state their expectations by unwrapping")]

use std::{
    fs,
    time::{Duration, Instant},
};

use milena::{Client, ConnectError, Record, Sasl, Tls};
use milena_embedded_broker::{
    EmbeddedBroker,
    core::{SaslConfig, SaslMechanism},
};
use protocol_tests::tls;

const PASSWORD: &str = "sec=ret,";

/// A broker that knows alice, over TLS with this certificate, or in the clear.
async fn broker(certificate: Option<&str>, turn: impl FnOnce(&mut SaslConfig)) -> EmbeddedBroker {
    let mut sasl = SaslConfig::new([("alice", PASSWORD)]);
    turn(&mut sasl);
    let builder =
        EmbeddedBroker::builder().brokers(2).topic("orders", 2).configure(|config| config.sasl = Some(sasl));
    let builder = match certificate {
        Some(name) => builder.tls(tls::server_with(name, false)),
        None => builder,
    };
    builder.start().await.unwrap()
}

fn mechanisms(password: &str) -> [Sasl; 3] {
    [
        Sasl::plain("alice", password).allow_in_the_clear(),
        Sasl::scram_sha_256("alice", password),
        Sasl::scram_sha_512("alice", password),
    ]
}

async fn connect(
    broker: &EmbeddedBroker,
    tls: Option<Tls>,
    sasl: Option<Sasl>,
) -> Result<Client, ConnectError> {
    let mut builder = Client::builder(broker.bootstrap()).setup_timeout(Duration::from_secs(5));
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    if let Some(sasl) = sasl {
        builder = builder.sasl(sasl);
    }
    builder.connect().await
}

/// Why there is no connection, which takes no longer than a moment to find out.
async fn refusal(broker: &EmbeddedBroker, tls: Option<Tls>, sasl: Option<Sasl>) -> String {
    let begin = Instant::now();
    let error = connect(broker, tls, sasl).await.err().map(|error| error.to_string());
    assert!(begin.elapsed() < Duration::from_secs(10), "{error:?} after {:?}", begin.elapsed());
    error.unwrap_or_else(|| panic!("it connects"))
}

fn ca() -> Tls {
    Tls::ca_file(tls::authority())
}

async fn send(client: &Client, value: &str) {
    client.producer().build().unwrap().send(Record::new("orders").value(value.to_owned())).await.unwrap();
}

#[tokio::test]
async fn every_mechanism_lets_in_with_and_without_tls() {
    for certificate in [None, Some("server")] {
        let broker = broker(certificate, |_| {}).await;
        for sasl in mechanisms(PASSWORD) {
            let client = connect(&broker, certificate.map(|_| ca()), Some(sasl)).await.unwrap();
            send(&client, "an order").await;
            client.shutdown();
        }
    }
}

/// X1.
#[tokio::test]
async fn a_wrong_password_is_named_at_once() {
    let broker = broker(None, |_| {}).await;
    for sasl in mechanisms("guess") {
        let mechanism = sasl.mechanism();
        let refusal = refusal(&broker, None, Some(sasl)).await;
        assert!(refusal.contains(&format!("the broker refused the login by {mechanism}: ")), "{refusal}");
        assert!(!refusal.contains("guess"), "{refusal}");
    }
}

/// X1.
#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_named_with_those_that_are() {
    let broker = broker(None, |sasl| sasl.mechanisms = vec![SaslMechanism::ScramSha256]).await;
    let refusal = refusal(&broker, None, Some(Sasl::scram_sha_512("alice", PASSWORD))).await;
    assert!(refusal.contains("the broker does not offer SCRAM-SHA-512, but SCRAM-SHA-256"), "{refusal}");
}

#[tokio::test]
async fn what_others_could_read_is_not_sent_unless_it_is_meant() {
    let broker = broker(None, |_| {}).await;
    let token = milena::Token::new("a.b.c").unwrap();
    for sasl in [Sasl::plain("alice", PASSWORD), Sasl::oauth_bearer(token)] {
        let error = connect(&broker, None, Some(sasl)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unsafe(_)), "{error}");
        assert!(error.to_string().contains("without TLS shows the password or token"), "{error}");
    }
}

#[tokio::test]
async fn brokers_without_a_right_certificate_are_not_believed() {
    for (certificate, tls, expected) in [
        ("server", Tls::system_roots(), "UnknownIssuer"),
        ("elsewhere", ca(), "not valid for name"),
        ("expired", ca(), "Expired"),
        ("server", ca().server_name("elsewhere.example"), "not valid for name"),
    ] {
        let broker = broker(Some(certificate), |_| {}).await;
        let refusal = refusal(&broker, Some(tls), Some(Sasl::scram_sha_256("alice", PASSWORD))).await;
        assert!(refusal.contains("the TLS handshake failed: "), "{refusal}");
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[tokio::test]
async fn a_name_may_be_another_and_verification_be_left_out_on_purpose() {
    for (certificate, tls) in [
        ("elsewhere", ca().server_name("elsewhere.example.")),
        ("expired", Tls::system_roots().dangerous().without_verification()),
    ] {
        let broker = broker(Some(certificate), |_| {}).await;
        let client = connect(&broker, Some(tls), Some(Sasl::scram_sha_256("alice", PASSWORD))).await.unwrap();
        send(&client, "an order").await;
    }
}

#[tokio::test]
async fn tls_on_a_plaintext_port_and_the_reverse_are_told_apart() {
    let plaintext = EmbeddedBroker::start().await.unwrap();
    let refused = refusal(&plaintext, Some(ca()), None).await;
    assert!(refused.contains("is this a plaintext port?"), "{refused}");
    let encrypted = EmbeddedBroker::builder().tls(tls::server()).start().await.unwrap();
    let refused = refusal(&encrypted, None, None).await;
    assert!(refused.contains("TLS"), "{refused}");
}

#[tokio::test]
async fn a_login_where_nobody_asks_and_none_where_somebody_does() {
    let open = EmbeddedBroker::start().await.unwrap();
    let refused = refusal(&open, None, Some(Sasl::scram_sha_256("alice", PASSWORD))).await;
    assert!(refused.contains("is this the port for SASL?"), "{refused}");
    for certificate in [None, Some("server")] {
        let closed = broker(certificate, |_| {}).await;
        let refused = refusal(&closed, certificate.map(|_| ca()), None).await;
        assert!(refused.contains("does it want a login (SASL)?"), "{refused}");
    }
}

#[tokio::test]
async fn a_broker_may_demand_a_certificate_of_the_client() {
    let broker = EmbeddedBroker::builder().topic("orders", 1).tls(tls::server_with("server", true));
    let broker = broker.start().await.unwrap();
    let (certificate, key) = tls::certificate("client");
    let client =
        connect(&broker, Some(ca().client_certificate_files(&certificate, &key)), None).await.unwrap();
    send(&client, "an order").await;
    let (certificate, key) = (fs::read_to_string(certificate).unwrap(), fs::read_to_string(key).unwrap());
    let tls =
        Tls::ca_pem(fs::read_to_string(tls::authority()).unwrap()).client_certificate_pem(certificate, key);
    send(&connect(&broker, Some(tls), None).await.unwrap(), "an order").await;
    let refused = refusal(&broker, Some(ca()), None).await;
    assert!(refused.to_lowercase().contains("certificate"), "{refused}");
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let broker = broker(Some("server"), |_| {}).await;
    for (tls, expected) in [
        (Tls::ca_file("/nowhere/ca.pem"), "/nowhere/ca.pem holds no certificate in PEM: No such file"),
        (Tls::ca_pem("nothing"), "the text holds no certificate in PEM: no BEGIN CERTIFICATE"),
        (ca().client_certificate_pem("nothing", ""), "the text holds no certificate in PEM"),
    ] {
        let refusal = refusal(&broker, Some(tls), None).await;
        assert!(refusal.contains(expected), "{refusal}");
    }
}

#[tokio::test]
async fn an_authority_that_is_replaced_in_its_file_counts_from_the_next_connection_on() {
    let broker = broker(Some("server"), |_| {}).await;
    let folder = std::env::temp_dir().join(format!("milena-tls-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("ca.pem");
    // The client's own certificate is one, but no broker's authority.
    fs::copy(tls::certificate("client").0, &file).unwrap();
    let tls = Tls::ca_file(&file);
    let sasl = || Some(Sasl::scram_sha_256("alice", PASSWORD));
    let refused = refusal(&broker, Some(tls.clone()), sasl()).await;
    assert!(refused.contains("the TLS handshake failed"), "{refused}");
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    while fs::metadata(&file).unwrap().modified().unwrap() == before {
        fs::copy(tls::authority(), &file).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let client = connect(&broker, Some(tls), sasl()).await.unwrap();
    send(&client, "an order").await;
    fs::remove_dir_all(folder).unwrap();
}

/// X2.
#[tokio::test]
async fn a_session_is_renewed_while_requests_are_under_way() {
    for sasl in mechanisms(PASSWORD) {
        let broker = broker(None, |sasl| sasl.session_lifetime = Some(Duration::from_secs(1))).await;
        let client = connect(&broker, None, Some(sasl)).await.unwrap();
        let producer = client.producer().linger(Duration::ZERO).build().unwrap();
        let begin = Instant::now();
        let renewed = || broker.with_cluster(|cluster, _| cluster.renewed_logins());
        while renewed() < 4 {
            assert!(begin.elapsed() < Duration::from_secs(60), "{} sessions were renewed", renewed());
            producer.send(Record::new("orders").value("an order")).await.unwrap();
        }
    }
}
