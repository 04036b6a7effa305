//! The certificate with which `milena broker` speaks TLS.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::advised::advised;

/// Serves with the certificate, and those that lead to its authority, in one PEM file and the key in another.
pub(super) fn server(certificates: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let unreadable = |what: &str, path: &Path, error: rustls::pki_types::pem::Error| {
        let error = anyhow::anyhow!("reading the {what} in {}: {error}", path.display());
        advised(error, "both files are PEM: BEGIN CERTIFICATE in one, BEGIN PRIVATE KEY in the other")
    };
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("certificate", certificates, error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("key", key, error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
        .with_safe_default_protocol_versions()
        .context("setting up TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("{} and {} do not go together", certificates.display(), key.display()))?;
    Ok(Arc::new(config))
}
