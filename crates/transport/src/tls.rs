//! TLS, by rustls.
//!
//! Certificates come from files or from memory. Files are looked at again for every connection, so that those which are
//! replaced while the client runs are used from the next connection on.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use thiserror::Error;
use tokio_rustls::TlsConnector;

use crate::{Secret, cryptography::cryptography, words};

/// How connections are encrypted, and whom the client believes to be a broker, or whatever else it connects to. TLS 1.2 and
/// 1.3; the certificate's name is always held against the host that is connected to.
#[derive(Clone)]
pub struct Tls {
    settings: Arc<Settings>,
    loaded: Arc<Mutex<Option<Loaded>>>,
}

#[derive(Clone, Debug)]
struct Settings {
    roots: Roots,
    identity: Option<(Pem, Pem)>,
    server_name: Option<String>,
    is_verified: bool,
}

#[derive(Clone, Debug)]
enum Roots {
    System,
    Own(Pem),
}

/// Where a certificate or a key is.
#[derive(Clone, Debug)]
enum Pem {
    File(PathBuf),
    Text(Secret),
}

/// What was made of the settings, and of which state of the files.
struct Loaded {
    changed: Vec<Option<SystemTime>>,
    config: Arc<ClientConfig>,
}

/// Why TLS can't be had with these settings.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This processor lacks instructions that the cryptography needs.
    #[error(
        "the cryptography needs a processor with AES, CLMUL, BMI2, ADX and AVX2 (or NEON, AES and PMULL): take another \
         processor, or build with milena's feature `ring` or `aws-lc-rs`"
    )]
    UnsupportedCpu,
    /// There are no certificates of authorities on this system.
    #[error("this system has no certificates of authorities{0}; name a file of your own")]
    NoSystemRoots(String),
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
    /// The client's certificate is one thing, and its key another's.
    #[error("the private key in {key} is not that of the certificate in {certificate}")]
    KeyMismatch {
        /// Where the certificate is.
        certificate: String,
        /// Where the key is.
        key: String,
    },
    /// The certificates can't be used.
    #[error("the certificates can't be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The host's name can't stand in a certificate.
    #[error("{0} is no name that a certificate can have")]
    ServerName(String),
}

impl Tls {
    /// Believes brokers that have a certificate of an authority that this system trusts.
    #[must_use]
    pub fn system_roots() -> Self {
        Self::new(Roots::System)
    }

    /// Believes brokers that have a certificate of one of the authorities in a PEM file, and no others.
    pub fn ca_file(path: impl Into<PathBuf>) -> Self {
        Self::new(Roots::Own(Pem::File(path.into())))
    }

    /// As [`ca_file`](Self::ca_file), with the PEM text itself.
    pub fn ca_pem(pem: impl Into<String>) -> Self {
        Self::new(Roots::Own(Pem::Text(pem.into().into())))
    }

    fn new(roots: Roots) -> Self {
        let settings = Settings { roots, identity: None, server_name: None, is_verified: true };
        Self { settings: Arc::new(settings), loaded: Arc::default() }
    }

    fn change(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = (*self.settings).clone();
        change(&mut settings);
        self.settings = Arc::new(settings);
        self.loaded = Arc::default();
        self
    }

    /// Shows brokers a certificate of the client's own (mutual TLS): PEM files of the certificate, with what leads to its
    /// authority, and of its key without a password.
    #[must_use]
    pub fn client_certificate_files(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let identity = (Pem::File(certificate.into()), Pem::File(key.into()));
        self.change(|settings| settings.identity = Some(identity))
    }

    /// As [`client_certificate_files`](Self::client_certificate_files), with the PEM texts themselves.
    #[must_use]
    pub fn client_certificate_pem(self, certificate: impl Into<String>, key: impl Into<Secret>) -> Self {
        let identity = (Pem::Text(certificate.into().into()), Pem::Text(key.into()));
        self.change(|settings| settings.identity = Some(identity))
    }

    /// Expects this name in every broker's certificate in place of the host that is connected to: through a tunnel, say.
    #[must_use]
    pub fn server_name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.change(|settings| settings.server_name = Some(name))
    }

    /// What is not safe.
    #[must_use]
    pub fn dangerous(self) -> DangerousTls {
        DangerousTls(self)
    }

    /// The name that the certificate of `host` must have.
    ///
    /// # Errors
    /// When no certificate can have it.
    pub fn name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        // A name that is said to be complete is the same name.
        let name = name.strip_suffix('.').unwrap_or(name).to_owned();
        ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name))
    }

    /// Why a handshake failed, for a person.
    #[must_use]
    pub fn describe(&self, error: &io::Error) -> String {
        words::describe(error, self.settings.identity.is_some())
    }

    /// What connects, of the certificates as they are now.
    ///
    /// # Errors
    /// When they can't be read or used, or there is no cryptography for this processor.
    pub fn connector(&self) -> Result<TlsConnector, TlsError> {
        let changed = self.settings.changed();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded
            && loaded.changed == changed
        {
            return Ok(Arc::clone(&loaded.config).into());
        }
        let config = Arc::new(self.settings.load()?);
        *loaded = Some(Loaded { changed, config: Arc::clone(&config) });
        Ok(config.into())
    }
}

/// What is not safe: see [`Tls::dangerous`].
#[derive(Clone, Debug)]
pub struct DangerousTls(Tls);

impl DangerousTls {
    /// Believes everybody to be a broker. What is sent is encrypted, and whoever stands between client and broker can
    /// read and change it.
    #[must_use]
    pub fn without_verification(self) -> Tls {
        self.0.change(|settings| settings.is_verified = false)
    }
}

impl Settings {
    /// When the files were written to last.
    fn changed(&self) -> Vec<Option<SystemTime>> {
        let own = match &self.roots {
            Roots::System => None,
            Roots::Own(pem) => Some(pem),
        };
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        own.into_iter().chain(identity).map(Pem::changed).collect()
    }

    fn load(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(cryptography()?);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if self.is_verified {
            builder.with_root_certificates(self.roots.load()?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        Ok(match &self.identity {
            Some((certificate, key)) => {
                let own = builder.with_client_auth_cert(certificate.certificates()?, key.key()?);
                own.map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => {
                        TlsError::KeyMismatch { certificate: certificate.place(), key: key.place() }
                    }
                    rustls::Error::InvalidCertificate(error) => certificate.damaged(&error),
                    other => TlsError::Unusable(other),
                })?
            }
            None => builder.with_no_client_auth(),
        })
    }
}

impl Roots {
    fn load(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        match self {
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                // One that nobody can read does not spoil the others.
                let (usable, _) = store.add_parsable_certificates(found.certs);
                if usable == 0 {
                    let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
                    return Err(TlsError::NoSystemRoots(why));
                }
            }
            Self::Own(pem) => {
                for certificate in pem.certificates()? {
                    store.add(certificate).map_err(|error| pem.damaged(&error))?;
                }
            }
        }
        Ok(store)
    }
}

impl Pem {
    fn changed(&self) -> Option<SystemTime> {
        match self {
            Self::File(path) => fs::metadata(path).and_then(|metadata| metadata.modified()).ok(),
            Self::Text(_) => None,
        }
    }

    fn read(&self, what: &'static str) -> Result<Secret, TlsError> {
        match self {
            Self::File(path) => fs::read_to_string(path)
                .map(Secret::from)
                .map_err(|error| self.invalid(what, error.to_string())),
            Self::Text(text) => Ok(text.clone()),
        }
    }

    fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(_) => "the text".to_owned(),
        }
    }

    fn invalid(&self, what: &'static str, error: impl Into<String>) -> TlsError {
        TlsError::Pem { place: self.place(), what, error: error.into() }
    }

    fn damaged(&self, error: &dyn fmt::Display) -> TlsError {
        self.invalid("certificate", format!("what is between BEGIN and END is none ({error})"))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = self.read("certificate")?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.expose().as_bytes()).collect();
        let found = found.map_err(|error| self.invalid("certificate", error.to_string()))?;
        if found.is_empty() {
            return Err(self.invalid("certificate", "no BEGIN CERTIFICATE"));
        }
        Ok(found)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = self.read("private key")?;
        // As PKCS #8 has it, and as OpenSSL has its own.
        let encrypted = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];
        if encrypted.iter().any(|mark| text.expose().contains(mark)) {
            return Err(
                self.invalid("private key", "it is encrypted; take the password off with openssl pkey")
            );
        }
        PrivateKeyDer::from_pem_slice(text.expose().as_bytes())
            .map_err(|error| self.invalid("private key", error.to_string()))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.settings).finish()
    }
}

/// Takes every certificate; the handshake is still held against it.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
