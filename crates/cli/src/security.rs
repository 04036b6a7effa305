//! How a command is let in: TLS, and who logs in with what password.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use milena::{Address, ClientBuilder, Sasl, ScramHash, Socks5, Tls, Token};

use crate::advised::advised;

/// Where the password is looked for when no file is named.
const PASSWORD: &str = "MILENA_PASSWORD";
/// The same for a token.
const TOKEN: &str = "MILENA_TOKEN";
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
    /// How to log in. `plain` shows the password, `oauthbearer` the token, and they need TLS; the others take --user. The token
    /// comes from the environment variable MILENA_TOKEN or --token-file
    #[arg(help_heading = HEADING, long, value_enum, value_name = "MECHANISM")]
    sasl_mechanism: Option<Mechanism>,
    /// Who logs in. The password comes from the environment variable MILENA_PASSWORD or --password-file, and never from the
    /// command line, which others on the machine can read
    #[arg(help_heading = HEADING, long, value_name = "NAME", requires = "sasl_mechanism")]
    user: Option<String>,
    /// Connects through a SOCKS5 proxy, which resolves the names of the brokers
    #[arg(help_heading = HEADING, long, value_name = "HOST:PORT")]
    socks5: Option<Address>,
    /// The token of `oauthbearer`, in the first line of a file; it goes before MILENA_TOKEN
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "sasl_mechanism")]
    token_file: Option<PathBuf>,
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
    #[value(name = "oauthbearer")]
    OAuthBearer,
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
        let Some(mechanism) = self.sasl_mechanism else { return Ok(None) };
        let hash = match mechanism {
            Mechanism::OAuthBearer => return Ok(Some(Sasl::oauth_bearer(self.token()?))),
            Mechanism::Plain => {
                let (user, password) = self.login()?;
                return Ok(Some(Sasl::plain(user, password)));
            }
            Mechanism::ScramSha256 => ScramHash::Sha256,
            Mechanism::ScramSha512 => ScramHash::Sha512,
        };
        let (user, password) = self.login()?;
        Ok(Some(Sasl::scram(hash, user, password)))
    }

    fn login(&self) -> anyhow::Result<(&str, String)> {
        let Some(user) = self.user.as_deref() else {
            return Err(advised(anyhow!("the user who logs in is not given"), "name the user with --user"));
        };
        let what = format!("the password of {user}");
        Ok((user, secret(&what, PASSWORD, "--password-file", self.password_file.as_deref())?))
    }

    fn token(&self) -> anyhow::Result<Token> {
        if let Some(user) = &self.user {
            let error = anyhow!("the token says who logs in, not --user {user}");
            return Err(advised(error, "leave --user out, or take another --sasl-mechanism"));
        }
        Ok(Token::new(secret("the token", TOKEN, "--token-file", self.token_file.as_deref())?)?)
    }

    /// What may be done about the reason for which no broker lets the command in; none when that has nothing to do with
    /// encryption, logins or the proxy.
    pub(crate) fn advice(&self, reason: &str) -> Option<&'static str> {
        let is_encrypted = self.tls().is_some();
        let says = |words: &str| reason.contains(words);
        // The words are those of `ConnectionError`; the tests of this command hold them to it.
        if says("the proxy at") {
            Some("check --socks5, and that the proxy may connect to the brokers")
        } else if says("refused the login") || says("the login by") {
            Some("check --user, the password in MILENA_PASSWORD or --password-file, and --sasl-mechanism")
        } else if says("does not offer") {
            Some("name a mechanism that the broker offers with --sasl-mechanism")
        } else if says("the port for SASL?") {
            Some("leave --user and --sasl-mechanism out, or name the port for logins with --bootstrap")
        } else if says("a plaintext port?") {
            Some("leave the options of TLS out, or name the port for TLS with --bootstrap")
        } else if says("TLS handshake failed") && says("UnknownIssuer") {
            Some("name the certificate of the brokers' authority with --tls-ca FILE")
        } else if says("demands a certificate of the client's own") {
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

/// What nobody else may read: the first line of a file, or of an environment variable where no file is named.
fn secret(what: &str, variable: &str, option: &str, file: Option<&Path>) -> anyhow::Result<String> {
    let (secret, place) = if let Some(file) = file {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {what} in {}", file.display()))?;
        (text.lines().next().unwrap_or_default().to_owned(), file.display().to_string())
    } else {
        match env::var(variable) {
            Ok(secret) => (secret, variable.to_owned()),
            Err(env::VarError::NotPresent) => {
                let error = anyhow!("{what} is not given");
                let advice = format!("set {variable} in the environment, or name a file with {option}");
                return Err(advised(error, advice));
            }
            Err(env::VarError::NotUnicode(_)) => return Err(anyhow!("{what} in {variable} is not UTF-8")),
        }
    };
    if secret.is_empty() {
        return Err(anyhow!("{what} in {place} is empty"));
    }
    Ok(secret)
}
