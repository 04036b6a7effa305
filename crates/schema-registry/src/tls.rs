//! TLS to the registry, by rustls. TLS 1.2 and 1.3; the certificate's name is always held against the URL's host.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use thiserror::Error;
use tokio_rustls::TlsConnector;

use crate::{Secret, cryptography::cryptography};

/// Whom the client believes to be the registry, and by what it shows itself. Certificates are read when the client is built.
#[derive(Clone, Debug)]
pub struct Tls {
    roots: Option<Pem>,
    identity: Option<(Pem, Pem)>,
}

#[derive(Clone, Debug)]
enum Pem {
    File(PathBuf),
    Text(Secret),
}

/// Why TLS can't be had with these settings.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This processor lacks instructions that the cryptography needs.
    #[error(
        "the cryptography needs a processor with AES, CLMUL, BMI2, ADX and AVX2 (or NEON, AES and PMULL): take another \
         processor, or build with the feature `ring` or `aws-lc-rs`"
    )]
    UnsupportedCpu,
    /// There are no certificates of authorities on this system.
    #[error("this system has no certificates of authorities; name a file of your own")]
    NoSystemRoots,
    /// A file or text is no certificate, or no key.
    #[error("{place} holds no {what} in PEM: {error}")]
    Pem {
        /// Where it was looked for.
        place: String,
        /// What should be there.
        what: &'static str,
        /// What was wrong.
        error: String,
    },
    /// The certificates can't be used, or not with this key.
    #[error("the certificates can't be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// Believes a registry that has a certificate of an authority that this system trusts. This is the default.
    #[must_use]
    pub fn system_roots() -> Self {
        Self { roots: None, identity: None }
    }

    /// Believes a registry that has a certificate of one of the authorities in a PEM file, and no other.
    pub fn ca_file(path: impl Into<PathBuf>) -> Self {
        Self { roots: Some(Pem::File(path.into())), identity: None }
    }

    /// As [`ca_file`](Self::ca_file), with the PEM text itself.
    pub fn ca_pem(pem: impl Into<String>) -> Self {
        Self { roots: Some(Pem::Text(pem.into().into())), identity: None }
    }

    /// Shows the registry a certificate of the client's own (mutual TLS): PEM files of the certificate, with what leads to
    /// its authority, and of its key without a password.
    #[must_use]
    pub fn client_certificate_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.identity = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// As [`client_certificate_files`](Self::client_certificate_files), with the PEM texts themselves.
    #[must_use]
    pub fn client_certificate_pem(mut self, certificate: impl Into<String>, key: impl Into<Secret>) -> Self {
        self.identity = Some((Pem::Text(certificate.into().into()), Pem::Text(key.into())));
        self
    }

    pub(crate) fn connector(&self) -> Result<TlsConnector, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(cryptography()?))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?);
        let config = match &self.identity {
            Some((certificate, key)) => {
                builder.with_client_auth_cert(certificate.certificates()?, key.key()?)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config).into())
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        match &self.roots {
            None => {
                // One that nobody can read does not spoil the others.
                let found = rustls_native_certs::load_native_certs();
                if store.add_parsable_certificates(found.certs).0 == 0 {
                    return Err(TlsError::NoSystemRoots);
                }
            }
            Some(pem) => {
                for certificate in pem.certificates()? {
                    store.add(certificate)?;
                }
            }
        }
        Ok(store)
    }
}

/// The name that the certificate of `host` must have.
pub(crate) fn name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.strip_suffix('.').unwrap_or(host).to_owned()).ok()
}

impl Pem {
    fn read(&self, what: &'static str) -> Result<Secret, TlsError> {
        match self {
            Self::File(path) => {
                fs::read_to_string(path).map(Secret::from).map_err(|error| self.invalid(what, &error))
            }
            Self::Text(text) => Ok(text.clone()),
        }
    }

    fn invalid(&self, what: &'static str, error: &dyn fmt::Display) -> TlsError {
        let place = match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(_) => "the text".to_owned(),
        };
        TlsError::Pem { place, what, error: error.to_string() }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read("certificate")?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.expose().as_bytes()).collect();
        let found = found.map_err(|error| self.invalid("certificate", &error))?;
        if found.is_empty() {
            return Err(self.invalid("certificate", &"no BEGIN CERTIFICATE"));
        }
        Ok(found)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = self.read("private key")?;
        PrivateKeyDer::from_pem_slice(text.expose().as_bytes())
            .map_err(|error| self.invalid("private key", &error))
    }
}
