//! Settings of a client: where its cluster is, how it connects, and as whom.

mod jaas;
mod names;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(feature = "_tls")]
mod pem;
mod sasl;
mod security;
#[cfg(feature = "_tls")]
mod tls;
mod values;

use std::{collections::BTreeMap, fmt, time::Duration};

use milena_cluster::Backoff;
use milena_connection::Sasl;

use self::{names::Setting, security::Security};
use super::{
    ConsumerProperties, Flavor, ProducerProperties, PropertiesError, PropertiesOf, PropertyProblem, consumer,
    environment,
    names::{self as shared, Handle, Meaning, Named, Sorted},
    owned, producer,
};
use crate::{Client, ClientBuilder};

/// Settings of a client that were written for another one, from its file, a map, or the environment: where the cluster is, how
/// connections are made and secured, and as whom the client logs in.
///
/// Nothing is ignored. Each property is a setting, or about producers, consumers, keys and values or logs and then in
/// [`left`](Self::left), or refused with the reason and what to do:
///
/// | setting | Java | librdkafka |
/// |---|---|---|
/// | [`Client::builder`] | `bootstrap.servers` | that, `metadata.broker.list` |
/// | [`client_id`](ClientBuilder::client_id) | `client.id` | the same |
/// | [`setup_timeout`](ClientBuilder::setup_timeout) | `socket.connection.setup.timeout.ms` | the same |
/// | [`max_setup_timeout`](ClientBuilder::max_setup_timeout) | `socket.connection.setup.timeout.max.ms` | |
/// | [`reconnect_backoff`](ClientBuilder::reconnect_backoff) | `reconnect.backoff.ms`, `reconnect.backoff.max.ms` | the same |
/// | [`max_idle`](ClientBuilder::max_idle) | `connections.max.idle.ms` | the same |
/// | [`rebootstrap_after`](ClientBuilder::rebootstrap_after) | `metadata.recovery.strategy`, `metadata.recovery.rebootstrap.trigger.ms` | the same |
/// | [`max_frame_len`](ClientBuilder::max_frame_len) | | `receive.message.max.bytes` |
/// | [`keepalive`](ClientBuilder::keepalive) | | `socket.keepalive.enable` |
/// | [`tls`](ClientBuilder::tls), [`sasl`](ClientBuilder::sasl) | `security.protocol` | the same |
/// | whom to believe: [`Tls`](crate::Tls) | `ssl.truststore.type=PEM` with `ssl.truststore.location` or `ssl.truststore.certificates` | `ssl.ca.location`, `ssl.ca.pem` |
/// | a certificate of the client's own | `ssl.keystore.type=PEM` with `ssl.keystore.location`, or `ssl.keystore.certificate.chain` and `ssl.keystore.key` | `ssl.certificate.location` and `ssl.key.location`, or `ssl.certificate.pem` and `ssl.key.pem` |
/// | [`Sasl::plain`], [`Sasl::scram`] | `sasl.mechanism`, `sasl.jaas.config` | `sasl.mechanism` or `sasl.mechanisms`, `sasl.username`, `sasl.password` |
/// | [`Sasl::oauth_bearer`] with an `Oidc` (feature `oidc`) | `sasl.oauthbearer.token.endpoint.url`, and `sasl.jaas.config` with `clientId`, `clientSecret`, `scope`, `extension_…`, or `sasl.oauthbearer.client.credentials.*`, `sasl.oauthbearer.scope` | `sasl.oauthbearer.method=oidc`, `sasl.oauthbearer.token.endpoint.url`, `sasl.oauthbearer.client.id`, `….client.secret`, `….scope`, `….extensions`, `https.ca.location`, `https.ca.pem` |
///
/// What is not named stays as the builder has it, **not** as the other client would have it: the builder says what that is. Both
/// other clients have PLAINTEXT where no `security.protocol` is named, and so has Milena, but `ssl.*` and `sasl.*` without it,
/// or with one that has no use for them, are refused.
///
/// # Security
/// - Brokers always prove who they are: `enable.ssl.certificate.verification=false` and an empty
///   `ssl.endpoint.identification.algorithm` are refused.
/// - PLAIN and OAUTHBEARER without TLS are refused unless [`allow_login_in_the_clear`](Self::allow_login_in_the_clear) is
///   called.
/// - Stores are in PEM. The refusal of JKS or PKCS#12 tells the command that converts them. Keys have no password.
/// - No class is loaded: `sasl.jaas.config` is read as text, and others than Kafka's own three login modules are refused.
/// - Values are taken as they are: variables and files in them (`${…}`, `config.providers`) are not looked up.
/// - Properties that name a file to read or an address that gets secrets are refused unless
///   [`trust_files_and_urls`](Self::trust_files_and_urls) is called: of settings that a stranger may write, a client would read
///   any file and call any host. `bootstrap.servers` is always taken; who may not choose it needs another check.
/// - Passwords, keys and tokens are in no error and no `Debug` output.
///
/// # Example
/// One file for all. What is about producers goes to [`producer`](Self::producer), what is about consumers to
/// [`consumer`](Self::consumer):
/// ```
/// # use milena_embedded_broker::EmbeddedBroker;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let broker = EmbeddedBroker::builder().topic("orders", 3).start().await?;
/// # let file = format!("bootstrap.servers = {}
/// # client.id = order-service
/// # linger.ms = 10
/// # group.id = billing
/// # ", broker.bootstrap());
/// use milena::{Client, ClientProperties, Flavor};
///
/// // let file = std::fs::read_to_string("kafka.properties")?;
/// let properties = ClientProperties::parse(Flavor::Java, &file)?;
/// let client = Client::from_properties(&properties)?.connect().await?;
///
/// let producer = client.producer().properties(&properties.producer()?)?.build()?;
/// let consumer = properties.consumer()?;
/// let group = consumer.group_id().ok_or("no group.id")?;
/// let consumer = client.consumer(group).properties(&consumer)?.subscribe(["orders"]).build()?;
/// # producer.close(std::time::Duration::from_secs(5)).await?;
/// # consumer.close(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
///
/// A secure cluster, in librdkafka's words:
/// ```
/// use milena::{Client, ClientProperties, Flavor};
///
/// let file = "bootstrap.servers=kafka.example:9093
/// security.protocol=SASL_SSL
/// ssl.ca.location=/etc/kafka/ca.pem
/// sasl.mechanism=SCRAM-SHA-512
/// sasl.username=order-service
/// sasl.password=secret
/// ";
/// let properties = ClientProperties::parse(Flavor::Librdkafka, file)?.trust_files_and_urls();
/// let builder = Client::from_properties(&properties)?;
/// # Ok::<(), milena::PropertiesError>(())
/// ```
///
/// What can't be taken is named, all at once:
/// ```
/// use milena::{ClientProperties, Flavor};
///
/// let named = [
///     ("bootstrap.server", "kafka.example:9093"),
///     ("security.protocol", "SSL"),
///     ("ssl.truststore.location", "/etc/kafka/store.jks"),
///     ("ssl.truststore.type", "JKS"),
/// ];
/// let error = ClientProperties::from_pairs(Flavor::Java, named).unwrap_err();
/// assert_eq!(error.to_string(), "the client's properties can't be taken:
/// - bootstrap.server is no setting of Java's client; did you mean bootstrap.servers? Correct or remove it
/// - ssl.truststore.type is refused: Milena reads PEM: keytool -list -rfc -keystore STORE > ca.pem writes it; \
/// then name that file, and set this to PEM");
/// ```
#[derive(Clone)]
pub struct ClientProperties {
    flavor: Flavor,
    settings: Settings,
    left: BTreeMap<String, String>,
    is_trusted: bool,
    may_show_secrets: bool,
}

/// What the properties set. `None` was not named.
#[derive(Clone, Debug, Default)]
struct Settings {
    bootstrap: Option<String>,
    client_id: Option<String>,
    setup_timeout: Option<Duration>,
    max_setup_timeout: Option<Duration>,
    reconnect_backoff: Option<Backoff>,
    max_idle: Option<Duration>,
    rebootstrap_after: Option<Duration>,
    max_frame_len: Option<usize>,
    keepalive: Option<bool>,
    security: Security,
}

/// What is known to a client.
struct Names;

impl Handle for Names {
    type Setting = Setting;

    const OF: PropertiesOf = PropertiesOf::Client;
    const LEFT_PREFIXES: &'static [&'static str] = shared::ASIDE_PREFIXES;

    fn known(flavor: Flavor) -> impl Iterator<Item = Named<Setting>> {
        let producers = producer::own(flavor).map(|(name, _)| (name, Meaning::Left));
        let consumers = consumer::own(flavor).map(|(name, _)| (name, Meaning::Left));
        names::own(flavor).chain(shared::aside()).chain(producers).chain(consumers)
    }
}

impl ClientProperties {
    /// Reads the text of a file, as [`ProducerProperties::parse`] does.
    ///
    /// # Errors
    /// All that can't be read or taken.
    pub fn parse(flavor: Flavor, text: &str) -> Result<Self, PropertiesError> {
        let pairs = PropertiesOf::Client.taken(flavor.read(text))?;
        Self::from_pairs(flavor, pairs)
    }

    /// Takes names and values, of a map or whatever has pairs. A name may come twice if its value is the same.
    ///
    /// # Errors
    /// All that can't be taken.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        flavor: Flavor,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, PropertiesError> {
        let Sorted { given, left, mut problems } = shared::sort::<Names>(flavor, owned(pairs));
        let settings = given.read(&mut problems);
        PropertiesError::unless_empty(PropertiesOf::Client, problems)?;
        Ok(Self { flavor, settings, left, is_trusted: false, may_show_secrets: false })
    }

    /// Takes the variables of this process whose names begin with `prefix` and a low line. The rest is the property's name, in
    /// any case, with `.` written `_`, `_` written `__` and `-` written `___`, as Kafka's images have it: with the prefix
    /// `ORDERS`, `ORDERS_BOOTSTRAP_SERVERS` is `bootstrap.servers`. All of them have to be settings, so the prefix is to be one that
    /// nothing else has. Each value is the variable's, as it stands.
    ///
    /// ```
    /// # use milena::{Client, ClientProperties, Flavor};
    /// let properties = ClientProperties::from_environment(Flavor::Java, "ORDER_SERVICE_KAFKA")?;
    /// if properties.bootstrap_servers().is_some() {
    ///     let builder = Client::from_properties(&properties)?;
    /// }
    /// # Ok::<(), milena::PropertiesError>(())
    /// ```
    ///
    /// # Errors
    /// All that can't be taken, which includes variables with the prefix that are no settings.
    pub fn from_environment(flavor: Flavor, prefix: &str) -> Result<Self, PropertiesError> {
        Self::from_pairs(flavor, environment::own(PropertiesOf::Client, prefix)?)
    }

    /// Lets the properties name files, which the client reads, and the address of a token endpoint, which gets the client's
    /// secret. For properties that nobody writes but who may have the program do so.
    #[must_use]
    pub fn trust_files_and_urls(mut self) -> Self {
        self.is_trusted = true;
        self
    }

    /// Lets passwords and tokens go over connections that anybody between client and broker can read: PLAIN or OAUTHBEARER
    /// with `security.protocol=SASL_PLAINTEXT`. For development. As [`Sasl::allow_in_the_clear`].
    #[must_use]
    pub fn allow_login_in_the_clear(mut self) -> Self {
        self.may_show_secrets = true;
        self
    }

    /// Where the cluster is (`bootstrap.servers`), if the properties say so.
    #[must_use]
    pub fn bootstrap_servers(&self) -> Option<&str> {
        self.settings.bootstrap.as_deref()
    }

    /// The properties that are about other things than the client: producers, consumers, keys and values, logs. Their values
    /// are not in any error or `Debug` output.
    #[must_use]
    pub fn left(&self) -> &BTreeMap<String, String> {
        &self.left
    }

    /// The properties of a producer among them. Those of consumers are not; [`ProducerProperties::parse`] would refuse them.
    ///
    /// # Errors
    /// All that can't be taken.
    pub fn producer(&self) -> Result<ProducerProperties, PropertiesError> {
        ProducerProperties::from_pairs(
            self.flavor,
            self.left_but(consumer::own(self.flavor), producer::own(self.flavor)),
        )
    }

    /// The properties of a consumer among them. Those of producers are not; [`ConsumerProperties::parse`] would refuse them.
    ///
    /// # Errors
    /// All that can't be taken.
    pub fn consumer(&self) -> Result<ConsumerProperties, PropertiesError> {
        ConsumerProperties::from_pairs(
            self.flavor,
            self.left_but(producer::own(self.flavor), consumer::own(self.flavor)),
        )
    }

    /// What is left, without the names that are of `others` alone.
    fn left_but<A, B>(
        &self,
        others: impl Iterator<Item = (&'static str, A)>,
        own: impl Iterator<Item = (&'static str, B)>,
    ) -> Vec<(String, String)> {
        let own: Vec<&str> = own.map(|(name, _)| name).collect();
        let others: Vec<&str> = others.map(|(name, _)| name).filter(|name| !own.contains(name)).collect();
        let kept = self.left.iter().filter(|(name, _)| !others.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn check(&self) -> Vec<PropertyProblem> {
        let security = &self.settings.security;
        let mut problems = Vec::new();
        if !self.is_trusted {
            let reaching = security.reaching.iter();
            problems.extend(reaching.map(|name| PropertyProblem::Untrusted { name: name.clone() }));
        }
        let shown = security.sasl.as_ref().map(Sasl::mechanism).filter(|name| !name.starts_with("SCRAM"));
        if let Some(mechanism) = shown
            && !security.is_encrypted
            && !self.may_show_secrets
        {
            let reason = format!(
                "{mechanism} without TLS shows the password or token to everybody in between; set it to SASL_SSL, take \
                 SCRAM, or say that it is meant with ClientProperties::allow_login_in_the_clear"
            );
            problems.push(PropertyProblem::Refused { name: "security.protocol".to_owned(), reason });
        }
        problems
    }
}

impl fmt::Debug for ClientProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Among what is left may be passwords of a schema registry.
        let left: Vec<&String> = self.left.keys().collect();
        f.debug_struct("ClientProperties")
            .field("settings", &self.settings)
            .field("left", &left)
            .field("is_trusted", &self.is_trusted)
            .field("may_show_secrets", &self.may_show_secrets)
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn apply(&self, mut builder: ClientBuilder, may_show_secrets: bool) -> ClientBuilder {
        if let Some(id) = &self.client_id {
            builder = builder.client_id(id.as_str());
        }
        if let Some(timeout) = self.setup_timeout {
            builder = builder.setup_timeout(timeout);
        }
        if let Some(timeout) = self.max_setup_timeout {
            builder = builder.max_setup_timeout(timeout);
        }
        if let Some(Backoff { initial, max }) = self.reconnect_backoff {
            builder = builder.reconnect_backoff(initial, max);
        }
        if let Some(idle) = self.max_idle {
            builder = builder.max_idle(idle);
        }
        if let Some(patience) = self.rebootstrap_after {
            builder = builder.rebootstrap_after(patience);
        }
        if let Some(bytes) = self.max_frame_len {
            builder = builder.max_frame_len(bytes);
        }
        if self.keepalive == Some(false) {
            builder = builder.keepalive(None);
        }
        #[cfg(feature = "_tls")]
        if let Some(tls) = &self.security.tls {
            builder = builder.tls(tls.clone());
        }
        if let Some(sasl) = &self.security.sasl {
            let sasl = sasl.clone();
            builder = builder.sasl(if may_show_secrets { sasl.allow_in_the_clear() } else { sasl });
        }
        builder
    }
}

impl Client {
    /// The settings that the properties name, to start from. What is called on the builder after this goes before it.
    ///
    /// # Errors
    /// When they do not say where the cluster is (`bootstrap.servers`), or have the client do what has to be
    /// [allowed](ClientProperties#security) in the program.
    pub fn from_properties(properties: &ClientProperties) -> Result<ClientBuilder, PropertiesError> {
        let mut problems = properties.check();
        let bootstrap = properties.bootstrap_servers().unwrap_or_else(|| {
            let reason = "it says where the cluster is: HOST:PORT, several with commas between".to_owned();
            problems.push(PropertyProblem::Missing { name: "bootstrap.servers", reason });
            ""
        });
        PropertiesError::unless_empty(PropertiesOf::Client, problems)?;
        Ok(properties.settings.apply(Self::builder(bootstrap), properties.may_show_secrets))
    }
}

/// The names of clients.
#[cfg(test)]
pub(super) fn names_of(flavor: Flavor) -> Vec<&'static str> {
    names::own(flavor).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests;
