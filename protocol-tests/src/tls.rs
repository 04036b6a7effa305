//! Certificates for tests: an authority of our own and a server of its for localhost.
#![expect(clippy::unwrap_used, reason = "the fixtures are there, or the tests that need them fail")]

use std::sync::Arc;

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/tls");

/// The path of the authority's certificate, in PEM.
#[must_use]
pub fn authority() -> String {
    format!("{FOLDER}/ca.pem")
}

/// A server for localhost and 127.0.0.1 that asks for no certificate of the client's.
///
/// # Panics
/// When the fixtures are not what they were.
#[must_use]
pub fn server() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(format!("{FOLDER}/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FOLDER}/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
}
