//! The registry behind TLS, by whichever cryptography this was built with.
#![cfg(any(feature = "tls", feature = "ring", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::sync::Arc;

use milena_schema_registry::{SchemaRegistry, Tls, server::InProcessRegistry};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tls");

fn acceptor(name: &str, is_mutual: bool) -> TlsAcceptor {
    let read = |name: &str| CertificateDer::from_pem_file(format!("{FIXTURES}/{name}.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FIXTURES}/{name}.key")).unwrap();
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = if is_mutual {
        let mut roots = RootCertStore::empty();
        roots.add(read("ca")).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        config.with_client_cert_verifier(verifier)
    } else {
        config.with_no_client_auth()
    };
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![read(name)], key).unwrap()))
}

/// The URL of a registry behind TLS.
async fn behind(served: &InProcessRegistry, acceptor: TlsAcceptor) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = served.address();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut outside) = acceptor.accept(stream).await else { continue };
            let mut inside = TcpStream::connect(address).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn the_registrys_certificate_is_held_against_the_authority_and_the_host() {
    let served = InProcessRegistry::start().await.unwrap();
    let ca = || Tls::ca_file(format!("{FIXTURES}/ca.pem"));
    let url = behind(&served, acceptor("server", false)).await;
    let registry = SchemaRegistry::builder(&url).tls(ca()).bearer_auth("token").build().unwrap();
    registry.subjects().await.unwrap();
    let stranger = Tls::ca_file(format!("{FIXTURES}/client.pem"));
    for (tls, name) in [(ca(), "elsewhere"), (ca(), "expired"), (stranger, "server")] {
        let url = behind(&served, acceptor(name, false)).await;
        let registry = SchemaRegistry::builder(&url).tls(tls).retries(0).build().unwrap();
        let error = registry.subjects().await.unwrap_err().to_string();
        assert!(error.contains("the TLS handshake failed"), "{error}");
    }
}

#[tokio::test]
async fn the_client_shows_its_certificate() {
    let served = InProcessRegistry::start().await.unwrap();
    let url = behind(&served, acceptor("server", true)).await;
    let ca = Tls::ca_file(format!("{FIXTURES}/ca.pem"));
    let own = ca
        .clone()
        .client_certificate_files(format!("{FIXTURES}/client.pem"), format!("{FIXTURES}/client.key"));
    SchemaRegistry::builder(&url).tls(own).build().unwrap().subjects().await.unwrap();
    SchemaRegistry::builder(&url).tls(ca).retries(0).build().unwrap().subjects().await.unwrap_err();
}
