//! How a command is let in: TLS, and who logs in with what password.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use milena::{Address, ClientBuilder, Sasl, Socks5, Tls};

use crate::advised::advised;

/// Where the password is looked for when no file is named.
const PASSWORD: &str = "MILENA_PASSWORD";
/// Under what the options stand in the help. Those behind them stand elsewhere, so that it is said of each.
const HEADING: &str = "Encryption and login";

/// Encryption, and who the client is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Security {
    /// Encrypts, and believes brokers whose certificates this system trusts
    #[arg(help_heading = HEADING, long)]
    tls: bool,
    /// Encrypts, and believes only brokers with a certificate of an authority in this PEM file
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Encrypts, and shows brokers the certificate in this PEM file (mutual TLS)
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The key of --tls-certificate, in a PEM file without a password
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// How --user logs in. `plain` shows the password, and needs TLS
    #[arg(help_heading = HEADING, long, value_enum, value_name = "MECHANISM", requires = "user")]
    sasl_mechanism: Option<Mechanism>,
    /// Who logs in. The password comes from the environment variable MILENA_PASSWORD or --password-file, and never from the
    /// command line, which others on the machine can read
    #[arg(help_heading = HEADING, long, value_name = "NAME", requires = "sasl_mechanism")]
    user: Option<String>,
    /// Connects through a SOCKS5 proxy, which resolves the names of the brokers
    #[arg(help_heading = HEADING, long, value_name = "HOST:PORT")]
    socks5: Option<Address>,
    /// The password of --user, in the first line of a file; it goes before MILENA_PASSWORD
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mechanism {
    Plain,
    #[value(name = "scram-sha-256")]
    ScramSha256,
    #[value(name = "scram-sha-512")]
    ScramSha512,
}

impl Security {
    /// The client, encrypted and logged in as the options say.
    pub(crate) fn secure(&self, mut client: ClientBuilder) -> anyhow::Result<ClientBuilder> {
        if let Some(tls) = self.tls() {
            client = client.tls(tls);
        }
        if let Some(proxy) = &self.socks5 {
            client = client.socks5(Socks5::new(proxy.clone()));
        }
        if let Some(sasl) = self.sasl()? {
            client = client.sasl(sasl);
        }
        Ok(client)
    }

    fn tls(&self) -> Option<Tls> {
        if !self.tls && self.tls_ca.is_none() && self.tls_certificate.is_none() {
            return None;
        }
        let tls = self.tls_ca.as_ref().map_or_else(Tls::system_roots, Tls::ca_file);
        Some(match self.tls_certificate.as_ref().zip(self.tls_key.as_ref()) {
            Some((certificate, key)) => tls.client_certificate_files(certificate, key),
            None => tls,
        })
    }

    fn sasl(&self) -> anyhow::Result<Option<Sasl>> {
        let Some((mechanism, user)) = self.sasl_mechanism.zip(self.user.as_deref()) else { return Ok(None) };
        let password = self.password(user)?;
        Ok(Some(match mechanism {
            Mechanism::Plain => Sasl::plain(user, password),
            Mechanism::ScramSha256 => Sasl::scram_sha_256(user, password),
            Mechanism::ScramSha512 => Sasl::scram_sha_512(user, password),
        }))
    }

    fn password(&self, user: &str) -> anyhow::Result<String> {
        let (password, place) = if let Some(file) = &self.password_file {
            let text = fs::read_to_string(file)
                .with_context(|| format!("reading the password in {}", file.display()))?;
            (text.lines().next().unwrap_or_default().to_owned(), file.display().to_string())
        } else {
            match env::var(PASSWORD) {
                Ok(password) => (password, PASSWORD.to_owned()),
                Err(env::VarError::NotPresent) => {
                    let error = anyhow!("the password of {user} is not given");
                    let advice =
                        format!("set {PASSWORD} in the environment, or name a file with --password-file");
                    return Err(advised(error, advice));
                }
                Err(env::VarError::NotUnicode(_)) => {
                    return Err(anyhow!("the password in {PASSWORD} is not UTF-8"));
                }
            }
        };
        if password.is_empty() {
            return Err(anyhow!("the password of {user} in {place} is empty"));
        }
        Ok(password)
    }

    /// What may be done about the reason for which no broker lets the command in; none when that has nothing to do with
    /// encryption or logins.
    pub(crate) fn advice(&self, reason: &str) -> Option<&'static str> {
        let is_encrypted = self.tls().is_some();
        let says = |words: &str| reason.contains(words);
        // The words are those of `ConnectionError`; the tests of this command hold them to it.
        if says("refused the login") || says("the login by") {
            Some("check --user, the password in MILENA_PASSWORD or --password-file, and --sasl-mechanism")
        } else if says("does not offer") {
            Some("name a mechanism that the broker offers with --sasl-mechanism")
        } else if says("the port for SASL?") {
            Some("leave --user and --sasl-mechanism out, or name the port for logins with --bootstrap")
        } else if says("a plaintext port?") {
            Some("leave the options of TLS out, or name the port for TLS with --bootstrap")
        } else if says("TLS handshake failed") && says("UnknownIssuer") {
            Some("name the certificate of the brokers' authority with --tls-ca FILE")
        } else if says("CertificateRequired") {
            Some("name a certificate of your own with --tls-certificate and --tls-key")
        } else if says("TLS handshake failed") || says("TLS is not possible") {
            Some("check --tls-ca, --tls-certificate and --tls-key, and the host in --bootstrap")
        } else if !is_encrypted && (says("the peer speaks TLS") || says("TLS or SASL port?")) {
            Some("encrypt with --tls or --tls-ca FILE, or name the port for plaintext with --bootstrap")
        } else if self.user.is_none() && says("want a login (SASL)?") {
            Some("log in with --sasl-mechanism and --user")
        } else {
            None
        }
    }
}
