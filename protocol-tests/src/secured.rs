//! The real broker that asks who you are, as `cargo xtask test` hands it to the tests that need it.
//!
//! Such a test is marked `#[ignore = "needs the secure cluster"]` and lives in a file `tests/secured_broker_*.rs`. Ports,
//! users and passwords are those of docker-compose.secure.yml.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broker that can't be had fails the test that needs it"
)]

use std::{
    env, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use milena::{Client, ClientBuilder, Sasl, Tls, Token};
use milena_cluster::Target;
use milena_connection::{Address, ConnectionConfig, Network};
use milena_protocol::messages::{CreateAclsRequest, create_acls::AclCreation};
use tokio::net::TcpStream;

use crate::{cluster::ClusterError, tls};

/// Everybody, as ANONYMOUS, who may do everything.
pub const PLAIN: &str = "127.0.0.1:44092";
/// Everybody, over TLS.
pub const TLS: &str = "127.0.0.1:44093";
/// Who has a certificate of our authority.
pub const MTLS: &str = "127.0.0.1:44094";
/// Who logs in, by any mechanism; tokens need no signature.
pub const LOGIN: &str = "127.0.0.1:44095";
/// Who logs in over TLS; tokens are signed.
pub const TLS_LOGIN: &str = "127.0.0.1:44096";
/// Nobody who sees that the certificate has expired.
pub const EXPIRED: &str = "127.0.0.1:44097";
/// Who logs in by SCRAM-SHA-256.
pub const FEW: &str = "127.0.0.1:44098";

/// What names begin with that alice and the client of the certificate may use.
pub const OURS: &str = "ours";

const PATIENCE: Duration = Duration::from_secs(30);

/// The running broker.
#[derive(Debug)]
pub struct SecuredBroker {
    secrets: PathBuf,
}

/// A way in.
#[derive(Debug)]
pub struct Way {
    /// What it is called.
    pub name: String,
    /// The listener.
    pub address: &'static str,
    /// How it is encrypted.
    pub tls: Option<Tls>,
    /// Who the client says to be.
    pub sasl: Option<Sasl>,
}

impl Way {
    /// A client that comes in here.
    #[must_use]
    pub fn client(&self) -> ClientBuilder {
        builder(self.address, self.tls.clone(), self.sasl.clone())
    }
}

impl SecuredBroker {
    /// The broker whose secrets are in the folder `MILENA_SECRETS`.
    ///
    /// # Errors
    /// When the variable is not set.
    pub fn from_env() -> Result<Self, ClusterError> {
        const NAME: &str = "MILENA_SECRETS";
        let secrets = env::var_os(NAME).ok_or(ClusterError::NotSet(NAME))?;
        Ok(Self { secrets: secrets.into() })
    }

    /// A token of alice's: `good`, `expired`, `wrong-audience` or `unsigned`.
    ///
    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn token(&self, name: &str) -> Token {
        let path = self.secrets.join(format!("{name}.jwt"));
        Token::new(fs::read_to_string(path).expect("the tokens are made by xtask")).unwrap()
    }

    /// Every way in, as somebody who may use what is [ours](OURS).
    #[must_use]
    pub fn ways(&self) -> Vec<Way> {
        let way = |name: &str, address, tls, sasl| Way { name: name.to_owned(), address, tls, sasl };
        let mut ways = vec![
            way("in the clear", PLAIN, None, None),
            way("TLS", TLS, Some(authority()), None),
            way("TLS with a certificate", MTLS, Some(certified("client")), None),
        ];
        for (name, address, tls, token) in
            [("login", LOGIN, None, "unsigned"), ("login over TLS", TLS_LOGIN, Some(authority()), "good")]
        {
            for sasl in [
                Sasl::plain("alice", "alice-plain"),
                Sasl::scram_sha_256("alice", "alice-scram"),
                Sasl::scram_sha_512("alice", "alice-scram"),
                Sasl::oauth_bearer(self.token(token)),
            ] {
                let sasl = if tls.is_some() { sasl } else { sasl.allow_in_the_clear() };
                let name = format!("{name} by {}", sasl.mechanism());
                ways.push(Way { name, address, tls: tls.clone(), sasl: Some(sasl) });
            }
        }
        ways
    }

    /// Lets alice and the client of the certificate do everything with what is [ours](OURS), and bob know of our topics.
    ///
    /// # Panics
    /// When the broker does not take it.
    pub async fn grant(&self) {
        let mut creations = Vec::new();
        for principal in ["User:alice", "User:client"] {
            for resource in [acl::TOPIC, acl::GROUP, acl::TRANSACTIONAL_ID] {
                creations.push(acl::allow(principal, acl::ALL, resource));
            }
        }
        creations.push(acl::allow("User:bob", acl::DESCRIBE, acl::TOPIC));
        let addresses = Address::parse_list(PLAIN).unwrap();
        let network = Network::new(addresses, ConnectionConfig::default());
        let request = CreateAclsRequest { creations, ..Default::default() };
        let answer = network.call(Target::AnyBroker, request, PATIENCE).await.unwrap();
        assert!(answer.results.iter().all(|result| result.error_code == 0), "{answer:?}");
        network.close();
    }
}

/// The authority that vouches for the broker.
#[must_use]
pub fn authority() -> Tls {
    Tls::ca_file(tls::authority())
}

/// With the certificate of this name.
#[must_use]
pub fn certified(name: &str) -> Tls {
    let (certificate, key) = tls::certificate(name);
    authority().client_certificate_files(certificate, key)
}

/// A client of the broker.
#[must_use]
pub fn builder(address: &str, tls: Option<Tls>, sasl: Option<Sasl>) -> ClientBuilder {
    let mut builder = Client::builder(address).setup_timeout(PATIENCE);
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    if let Some(sasl) = sasl {
        builder = builder.sasl(sasl);
    }
    builder
}

/// Counts the connections that clients make.
#[derive(Debug, Default)]
pub struct Connections(Arc<AtomicUsize>);

impl Connections {
    /// A client whose connections are counted.
    pub fn counted(&self, client: ClientBuilder) -> ClientBuilder {
        let count = Arc::clone(&self.0);
        client.dial_with(move |host, port| {
            count.fetch_add(1, Ordering::Relaxed);
            async move { TcpStream::connect((host.as_str(), port)).await }
        })
    }

    /// How many were begun so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What ACLs are made of on the wire.
mod acl {
    use super::{AclCreation, OURS};

    pub(super) const TOPIC: i8 = 2;
    pub(super) const GROUP: i8 = 3;
    pub(super) const TRANSACTIONAL_ID: i8 = 5;
    pub(super) const ALL: i8 = 2;
    pub(super) const DESCRIBE: i8 = 8;
    const PREFIXED: i8 = 4;
    const ALLOW: i8 = 3;

    /// That the principal may do this with every such resource that is ours.
    pub(super) fn allow(principal: &str, operation: i8, resource_type: i8) -> AclCreation {
        AclCreation {
            resource_type,
            resource_name: OURS.into(),
            resource_pattern_type: PREFIXED,
            principal: principal.into(),
            host: "*".into(),
            operation,
            permission_type: ALLOW,
            ..AclCreation::default()
        }
    }
}
