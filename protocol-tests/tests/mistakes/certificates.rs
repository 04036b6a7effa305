//! Certificates that prove nothing, of the broker's and of the client's.

use std::fs;

use milena::Tls;
use milena_embedded_broker::EmbeddedBroker;
use protocol_tests::tls;

use super::{assert_told, ca, refusal};

async fn at(certificate: &str, is_mutual: bool, tls: Tls) -> String {
    let broker = EmbeddedBroker::builder().tls(tls::server_with(certificate, is_mutual));
    refusal(broker.start().await.unwrap().bootstrap(), Some(tls), None).await
}

fn pem(name: &str) -> (String, String) {
    let (certificate, key) = tls::certificate(name);
    (fs::read_to_string(certificate).unwrap(), fs::read_to_string(key).unwrap())
}

#[tokio::test]
async fn the_brokers_certificate() {
    assert_told("certificate that was never valid", &at("expired", false, ca()).await);
    assert_told("certificate of another host", &at("elsewhere", false, ca()).await);
    assert_told("certificate of an unknown authority", &at("server", false, Tls::system_roots()).await);
    let late = Tls::ca_file(tls::certificate("outdated").0);
    assert_told("certificate of years ago", &at("outdated", false, late).await);
    let early = Tls::ca_file(tls::certificate("early").0);
    assert_told("certificate that is not valid yet", &at("early", false, early).await);
    assert_told("certificate of a client", &at("client", false, ca()).await);
}

#[tokio::test]
async fn the_clients_certificate() {
    assert_told("no certificate of the client's", &at("server", true, ca()).await);
    let with = |name| {
        let (certificate, key) = tls::certificate(name);
        ca().client_certificate_files(certificate, key)
    };
    assert_told("untrusted certificate of the client's", &at("server", true, with("untrusted")).await);
    assert_told("certificate of a server for the client's", &at("server", true, with("server")).await);
}

/// None of them is found by the broker, and each is before anything is sent.
#[tokio::test]
async fn files() {
    let at = |tls| at("server", true, tls);
    assert_told("no file of the authority", &at(Tls::ca_file("/nowhere/ca.pem")).await);
    assert_told("no PEM of the authority", &at(Tls::ca_pem("keystore")).await);
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_told("damaged PEM of the authority", &at(Tls::ca_pem(damaged)).await);
    let key = tls::certificate("client").1;
    assert_told("a key for the authority", &at(Tls::ca_file(key)).await);
    let (certificate, key) = tls::certificate("client");
    let missing = ca().client_certificate_files(&certificate, "/nowhere/client.key");
    assert_told("no file of the key", &at(missing).await);
    let other = ca().client_certificate_files(&certificate, tls::certificate("server").1);
    assert_told("key of another certificate", &at(other).await);
    let swapped = ca().client_certificate_files(&key, &certificate);
    assert_told("key and certificate swapped", &at(swapped).await);
    let (certificate, key) = pem("client");
    let pkcs8 = key.replace("BEGIN PRIVATE KEY", "BEGIN ENCRYPTED PRIVATE KEY");
    assert_told("encrypted key", &at(ca().client_certificate_pem(certificate.as_str(), pkcs8)).await);
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
               -----END EC PRIVATE KEY-----\n";
    assert_told(
        "encrypted key of OpenSSL's own kind",
        &at(ca().client_certificate_pem(certificate, old)).await,
    );
}
