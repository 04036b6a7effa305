//! What each name of a client's settings is about: how it connects, and as whom.
//!
//! The names are those of Kafka's Java client 4.3.1 (`CommonClientConfigs`, `SslConfigs`, `SaslConfigs`) and of librdkafka 2.15
//! (CONFIGURATION.md); a test holds the tables against all names of both.

use crate::properties::{
    Flavor,
    names::{Meaning, NO_CLASSES, Named},
};

/// A setting of Milena's client that has a name elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    Bootstrap,
    ClientId,
    Keepalive,
    MaxFrame,
    MaxIdle,
    MaxSetupTimeout,
    RebootstrapAfter,
    ReconnectInitial,
    ReconnectMax,
    Recovery,
    SecurityProtocol,
    SetupTimeout,
    // About TLS.
    Authorities,
    AuthoritiesPem,
    Certificate,
    CertificatePem,
    Identification,
    Key,
    KeyPassword,
    KeyPem,
    KeystoreChain,
    KeystoreKey,
    KeystoreLocation,
    KeystorePassword,
    KeystoreType,
    Protocols,
    TruststoreLocation,
    TruststorePassword,
    TruststorePem,
    TruststoreType,
    Verification,
    // About the login.
    ClientSecret,
    Extensions,
    Jaas,
    LoginHandler,
    Mechanism,
    OauthClient,
    OauthMethod,
    Password,
    Scope,
    TokenAuthorities,
    TokenAuthoritiesPem,
    TokenRetriever,
    TokenUrl,
    User,
}

use Meaning::{Nothing, Only, Setting as set};
use Setting as S;

impl Setting {
    /// The settings that have a use with TLS alone.
    pub(super) const TLS: [Self; 19] = [
        S::Authorities,
        S::AuthoritiesPem,
        S::Certificate,
        S::CertificatePem,
        S::Identification,
        S::Key,
        S::KeyPassword,
        S::KeyPem,
        S::KeystoreChain,
        S::KeystoreKey,
        S::KeystoreLocation,
        S::KeystorePassword,
        S::KeystoreType,
        S::Protocols,
        S::TruststoreLocation,
        S::TruststorePassword,
        S::TruststorePem,
        S::TruststoreType,
        S::Verification,
    ];

    /// The settings that have a use with a login alone.
    pub(super) const SASL: [Self; 14] = [
        S::ClientSecret,
        S::Extensions,
        S::Jaas,
        S::LoginHandler,
        S::Mechanism,
        S::OauthClient,
        S::OauthMethod,
        S::Password,
        S::Scope,
        S::TokenAuthorities,
        S::TokenAuthoritiesPem,
        S::TokenRetriever,
        S::TokenUrl,
        S::User,
    ];
}

/// The names of clients.
pub(super) fn own(flavor: Flavor) -> impl Iterator<Item = Named<Setting>> {
    flavor.either(JAVA, LIBRDKAFKA).iter().chain(BOTH).copied()
}

const ADDRESSES: &str =
    "every address of a name is tried, and a connection looks the name up anew; remove it";
const ASSERTIONS: &str = "tokens are asked for by the client's secret; for others give ClientBuilder::sasl a TokenProvider, and remove it";
const BUFFERS: &str = "the system chooses the sizes of its buffers; remove it";
const CIPHERS: &str = "TLS has no ciphers or curves but safe ones; remove it";
const CRLS: &str =
    "Milena reads no lists of revoked certificates; remove it, and have brokers with short-lived ones";
const ENGINE: &str = "the cryptography is a feature of the crate milena; remove it";
const IN_MEMORY: &str = "certificates and keys are named by ssl.*.location or ssl.*.pem; use those";
const KERBEROS: &str = "Milena has no Kerberos; remove it";
const METADATA: &str =
    "what is known of the cluster is asked for after five minutes, and when it proves wrong; remove it";
const OAUTH_TIMES: &str = "Oidc::timeout says how long a token may take, with ClientBuilder::sasl; remove it";
const REFRESH: &str = "a token is replaced after four fifths of its life; remove it";
const TO_BROKERS: &str = "it is the broker who checks tokens; remove it";
const VERSIONS: &str = "brokers are asked for their versions, from 0.10 on; remove it";

const BOTH: &[Named<Setting>] = &[
    ("bootstrap.servers", set(S::Bootstrap)),
    ("client.dns.lookup", Only("use_all_dns_ips", ADDRESSES)),
    ("client.id", set(S::ClientId)),
    ("connections.max.idle.ms", set(S::MaxIdle)),
    ("metadata.max.age.ms", Nothing(METADATA)),
    ("metadata.recovery.rebootstrap.trigger.ms", set(S::RebootstrapAfter)),
    ("metadata.recovery.strategy", set(S::Recovery)),
    ("reconnect.backoff.max.ms", set(S::ReconnectMax)),
    ("reconnect.backoff.ms", set(S::ReconnectInitial)),
    ("sasl.kerberos.kinit.cmd", Nothing(KERBEROS)),
    ("sasl.kerberos.min.time.before.relogin", Nothing(KERBEROS)),
    ("sasl.kerberos.service.name", Nothing(KERBEROS)),
    ("sasl.mechanism", set(S::Mechanism)),
    ("sasl.oauthbearer.assertion.algorithm", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.claim.aud", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.claim.exp.seconds", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.claim.iss", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.claim.jti.include", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.claim.nbf.seconds", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.claim.sub", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.file", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.private.key.file", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.private.key.passphrase", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.client.credentials.client.id", set(S::OauthClient)),
    ("sasl.oauthbearer.client.credentials.client.secret", set(S::ClientSecret)),
    ("sasl.oauthbearer.scope", set(S::Scope)),
    ("sasl.oauthbearer.sub.claim.name", Nothing(TO_BROKERS)),
    ("sasl.oauthbearer.token.endpoint.url", set(S::TokenUrl)),
    ("security.protocol", set(S::SecurityProtocol)),
    ("socket.connection.setup.timeout.ms", set(S::SetupTimeout)),
    ("ssl.cipher.suites", Nothing(CIPHERS)),
    ("ssl.endpoint.identification.algorithm", set(S::Identification)),
    ("ssl.key.password", set(S::KeyPassword)),
    ("ssl.keystore.location", set(S::KeystoreLocation)),
    ("ssl.keystore.password", set(S::KeystorePassword)),
];

const JAVA: &[Named<Setting>] = &[
    ("bootstrap.controllers", Nothing("Milena asks brokers; use bootstrap.servers")),
    ("metadata.max.idle.ms", Nothing(METADATA)),
    ("receive.buffer.bytes", Only("-1", BUFFERS)),
    ("sasl.client.callback.handler.class", Nothing(NO_CLASSES)),
    ("sasl.jaas.config", set(S::Jaas)),
    ("sasl.kerberos.ticket.renew.jitter", Nothing(KERBEROS)),
    ("sasl.kerberos.ticket.renew.window.factor", Nothing(KERBEROS)),
    ("sasl.login.callback.handler.class", set(S::LoginHandler)),
    ("sasl.login.class", Nothing(NO_CLASSES)),
    ("sasl.login.connect.timeout.ms", Nothing(OAUTH_TIMES)),
    ("sasl.login.read.timeout.ms", Nothing(OAUTH_TIMES)),
    ("sasl.login.refresh.buffer.seconds", Nothing(REFRESH)),
    ("sasl.login.refresh.min.period.seconds", Nothing(REFRESH)),
    ("sasl.login.refresh.window.factor", Nothing(REFRESH)),
    ("sasl.login.refresh.window.jitter", Nothing(REFRESH)),
    ("sasl.login.retry.backoff.max.ms", Nothing(OAUTH_TIMES)),
    ("sasl.login.retry.backoff.ms", Nothing(OAUTH_TIMES)),
    ("sasl.oauthbearer.assertion.template.file", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.clock.skew.seconds", Nothing(TO_BROKERS)),
    ("sasl.oauthbearer.expected.audience", Nothing(TO_BROKERS)),
    ("sasl.oauthbearer.expected.issuer", Nothing(TO_BROKERS)),
    (
        "sasl.oauthbearer.header.urlencode",
        Only(
            "true",
            "id and secret are encoded as RFC 6749 says; Oidc::secret_in_body is for servers that do not decode them",
        ),
    ),
    ("sasl.oauthbearer.jwks.endpoint.refresh.ms", Nothing(TO_BROKERS)),
    ("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Nothing(TO_BROKERS)),
    ("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Nothing(TO_BROKERS)),
    ("sasl.oauthbearer.jwks.endpoint.url", Nothing(TO_BROKERS)),
    ("sasl.oauthbearer.jwt.retriever.class", set(S::TokenRetriever)),
    ("sasl.oauthbearer.jwt.validator.class", Nothing(TO_BROKERS)),
    ("sasl.oauthbearer.scope.claim.name", Nothing(TO_BROKERS)),
    ("security.providers", Only("", NO_CLASSES)),
    ("send.buffer.bytes", Only("-1", BUFFERS)),
    ("socket.connection.setup.timeout.max.ms", set(S::MaxSetupTimeout)),
    ("ssl.enabled.protocols", set(S::Protocols)),
    ("ssl.engine.factory.class", Nothing(NO_CLASSES)),
    ("ssl.keymanager.algorithm", Nothing(NO_CLASSES)),
    ("ssl.keystore.certificate.chain", set(S::KeystoreChain)),
    ("ssl.keystore.key", set(S::KeystoreKey)),
    ("ssl.keystore.type", set(S::KeystoreType)),
    (
        "ssl.protocol",
        Only("TLSv1.3", "TLSv1.3 is taken with brokers that have it, and TLSv1.2 with others; remove it"),
    ),
    ("ssl.provider", Nothing(NO_CLASSES)),
    ("ssl.secure.random.implementation", Nothing("randomness is the system's; remove it")),
    ("ssl.trustmanager.algorithm", Nothing(NO_CLASSES)),
    ("ssl.truststore.certificates", set(S::TruststorePem)),
    ("ssl.truststore.location", set(S::TruststoreLocation)),
    ("ssl.truststore.password", set(S::TruststorePassword)),
    ("ssl.truststore.type", set(S::TruststoreType)),
];

const LIBRDKAFKA: &[Named<Setting>] = &[
    ("api.version.fallback.ms", Nothing(VERSIONS)),
    ("api.version.request", Only("true", VERSIONS)),
    ("api.version.request.timeout.ms", Nothing("it is within socket.connection.setup.timeout.ms; use that")),
    ("broker.address.family", Only("any", ADDRESSES)),
    ("broker.address.ttl", Nothing(ADDRESSES)),
    ("broker.version.fallback", Nothing(VERSIONS)),
    (
        "enable.sasl.oauthbearer.unsecure.jwt",
        Only("false", "Milena makes no tokens that nobody signs; remove it"),
    ),
    ("enable.ssl.certificate.verification", set(S::Verification)),
    ("https.ca.location", set(S::TokenAuthorities)),
    ("https.ca.pem", set(S::TokenAuthoritiesPem)),
    ("metadata.broker.list", set(S::Bootstrap)),
    ("receive.message.max.bytes", set(S::MaxFrame)),
    ("reconnect.backoff.jitter.ms", Nothing("waits are spread by a fifth; remove it")),
    ("sasl.kerberos.keytab", Nothing(KERBEROS)),
    ("sasl.kerberos.principal", Nothing(KERBEROS)),
    ("sasl.mechanisms", set(S::Mechanism)),
    ("sasl.oauthbearer.assertion.jwt.template.file", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.assertion.private.key.pem", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.client.id", set(S::OauthClient)),
    ("sasl.oauthbearer.client.secret", set(S::ClientSecret)),
    ("sasl.oauthbearer.config", Nothing(ASSERTIONS)),
    ("sasl.oauthbearer.extensions", set(S::Extensions)),
    ("sasl.oauthbearer.grant.type", Only("client_credentials", ASSERTIONS)),
    ("sasl.oauthbearer.metadata.authentication.type", Only("none", ASSERTIONS)),
    ("sasl.oauthbearer.method", set(S::OauthMethod)),
    ("sasl.password", set(S::Password)),
    ("sasl.username", set(S::User)),
    ("socket.blocking.max.ms", Nothing("no thread is blocked; remove it")),
    ("socket.keepalive.enable", set(S::Keepalive)),
    ("socket.max.fails", Only("1", "a connection over which something fails is made anew; remove it")),
    (
        "socket.nagle.disable",
        Only("true", "requests are written whole, and nothing waits for more; remove it"),
    ),
    ("socket.receive.buffer.bytes", Only("0", BUFFERS)),
    ("socket.send.buffer.bytes", Only("0", BUFFERS)),
    (
        "ssl.ca.certificate.stores",
        Nothing("without ssl.ca.location the system's authorities are taken; remove it"),
    ),
    ("ssl.ca.location", set(S::Authorities)),
    ("ssl.ca.pem", set(S::AuthoritiesPem)),
    ("ssl.certificate.location", set(S::Certificate)),
    ("ssl.certificate.pem", set(S::CertificatePem)),
    ("ssl.crl.location", Nothing(CRLS)),
    ("ssl.curves.list", Nothing(CIPHERS)),
    ("ssl.engine.id", Nothing(ENGINE)),
    ("ssl.engine.location", Nothing(ENGINE)),
    ("ssl.key.location", set(S::Key)),
    ("ssl.key.pem", set(S::KeyPem)),
    ("ssl.providers", Nothing(ENGINE)),
    ("ssl.sigalgs.list", Nothing(CIPHERS)),
    ("ssl_ca", Nothing(IN_MEMORY)),
    ("ssl_certificate", Nothing(IN_MEMORY)),
    ("ssl_engine_callback_data", Nothing(ENGINE)),
    ("ssl_key", Nothing(IN_MEMORY)),
    ("topic.metadata.propagation.max.ms", Nothing(METADATA)),
    ("topic.metadata.refresh.fast.cnt", Nothing(METADATA)),
    ("topic.metadata.refresh.fast.interval.ms", Nothing(METADATA)),
    ("topic.metadata.refresh.interval.ms", Nothing(METADATA)),
    ("topic.metadata.refresh.sparse", Nothing(METADATA)),
];
