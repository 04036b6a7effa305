//! Certificates for tests: an authority of our own and a server of its for localhost.
#![expect(clippy::unwrap_used, reason = "the fixtures are there, or the tests that need them fail")]

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls");

/// The path of the authority's certificate, in PEM.
#[must_use]
pub fn authority() -> String {
    format!("{FOLDER}/ca.pem")
}

/// The path of a certificate that the authority vouches for, and of its key: `server` for localhost and 127.0.0.1,
/// `elsewhere` for another host, `expired`, and `client`. `early` and `outdated` are for localhost too, good from 2099 on and
/// until 2021, and each its own authority.
#[must_use]
pub fn certificate(name: &str) -> (String, String) {
    (format!("{FOLDER}/{name}.pem"), format!("{FOLDER}/{name}.key"))
}

/// A server for localhost and 127.0.0.1 that asks for no certificate of the client's.
///
/// # Panics
/// When the fixtures are not what they were.
#[must_use]
pub fn server() -> Arc<ServerConfig> {
    server_with("server", false)
}

/// A server with this certificate. `is_mutual`: it demands one of the client's from the same authority.
///
/// # Panics
/// When the fixtures are not what they were.
#[must_use]
pub fn server_with(name: &str, is_mutual: bool) -> Arc<ServerConfig> {
    let (certificate, key) = certificate(name);
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = if is_mutual {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        config.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        config.with_no_client_auth()
    };
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
}
