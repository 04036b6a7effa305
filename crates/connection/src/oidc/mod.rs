//! Tokens for OAUTHBEARER from an OpenID Connect provider, or any other OAuth 2.0 server, by the client's own secret.
//!
//! # References
//! KIP-768 (`clientcredentials` there), KIP-342 (extensions), RFC 6749 section 4.4 (the grant), 2.3.1 (how the client says
//! who it is), 5.1 and 5.2 (the answers).

mod answer;
mod endpoint;
mod error;
mod exchange;
mod form;
mod token_cache;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use milena_cluster::later;
use tokio::sync::watch;
use zeroize::Zeroizing;

pub use self::error::{InvalidOidc, OidcError};
use self::{
    endpoint::Endpoint,
    exchange::Question,
    form::{encode_into, form},
    token_cache::{Moment, Plan, TokenCache},
};
use crate::{
    Secret, Tls, Token, now,
    sasl::{TokenProvider, Wanted},
};

/// So long a caller waits for a new token while the old one still does.
const PATIENCE: Duration = Duration::from_secs(1);

/// Gets tokens by the client's own secret (OAuth 2.0 client credentials, KIP-768), for
/// [`Sasl::oauth_bearer`](crate::Sasl::oauth_bearer).
///
/// A token is kept and shared by all connections. After four fifths of its life another one is asked for, and the old one
/// used until it is there; concurrent askers share one request. How long a token lives is what the endpoint says in
/// `expires_in`, or the claim `exp` of a JWT; a day at most; one that says neither is not kept. When the endpoint fails,
/// all who wait are told, and it is asked again after 100 ms, doubled up to 10 s.
///
/// The secret goes where the URL points, so the URL is to come from the program and not from strangers; a program that
/// takes it from settings holds it against a list of its own first. It is asked over `https` only, redirects are not
/// followed, and no more than 64 KiB are read.
///
/// Clones share token and settings. No token outlives the program, and neither secret nor token is printed or logged.
#[derive(Clone)]
pub struct Oidc {
    shared: Arc<Shared>,
}

struct Shared {
    client: OidcClient,
    state: Mutex<State>,
}

/// What is asked for, where, and as whom.
struct OidcClient {
    endpoint: Endpoint,
    client_id: String,
    client_secret: Secret,
    is_secret_in_body: bool,
    parameters: Vec<(String, String)>,
    extensions: Vec<(String, String)>,
    tls: Tls,
    timeout: Duration,
}

struct State {
    cache: TokenCache,
    random: fastrand::Rng,
    /// What the request under way will come to. It is empty until then.
    fetch: Option<watch::Receiver<Option<Outcome>>>,
}

type Outcome = Result<Token, OidcError>;

/// The settings of an [`Oidc`].
#[derive(Clone)]
#[must_use]
pub struct OidcBuilder {
    url: String,
    may_be_plain: bool,
    client_id: String,
    client_secret: Secret,
    is_secret_in_body: bool,
    scope: Option<String>,
    parameters: Vec<(String, String)>,
    extensions: Vec<(String, String)>,
    tls: Tls,
    timeout: Duration,
}

impl Oidc {
    /// Asks this token endpoint (`sasl.oauthbearer.token.endpoint.url`) as this client.
    ///
    /// ```
    /// # use milena_connection::{InvalidOidc, Oidc, Sasl};
    /// # fn sasl(secret: String) -> Result<Sasl, InvalidOidc> {
    /// let oidc = Oidc::builder("https://login.example/oauth2/token", "order-service", secret)
    ///     .scope("kafka")
    ///     .extension("logicalCluster", "lkc-1")
    ///     .build()?;
    /// let sasl = Sasl::oauth_bearer(oidc);
    /// # Ok(sasl)
    /// # }
    /// ```
    pub fn builder(
        token_endpoint_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> OidcBuilder {
        OidcBuilder {
            url: token_endpoint_url.into(),
            may_be_plain: false,
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            is_secret_in_body: false,
            scope: None,
            parameters: Vec::new(),
            extensions: Vec::new(),
            tls: Tls::system_roots(),
            timeout: Duration::from_secs(5),
        }
    }

    async fn current(&self) -> Outcome {
        let (mut fetch, old) = {
            let mut state = self.shared.lock();
            match state.cache.plan(moment()) {
                Plan::Use(token) => return Ok(token),
                Plan::Fail(error) => return Err(error),
                Plan::Fetch(old) => (self.shared.fetch(&mut state), old),
            }
        };
        let outcome = async {
            match fetch.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
                Ok(Some(outcome)) => outcome,
                Ok(None) | Err(_) => {
                    Err(OidcError::RuntimeEnded { endpoint: self.shared.client.endpoint.to_string() })
                }
            }
        };
        match old {
            None => outcome.await,
            Some(old) => match tokio::time::timeout(PATIENCE, outcome).await {
                Ok(Ok(token)) => Ok(token),
                Ok(Err(_)) | Err(_) => Ok(old),
            },
        }
    }
}

/// # Cancellation
/// A request to the endpoint goes on when whoever waits for it gives up, for as long as its timeout, and the token is kept.
impl TokenProvider for Oidc {
    fn token(&self) -> Wanted<'_> {
        Box::pin(async { self.current().await.map_err(Into::into) })
    }
}

impl Shared {
    /// For a moment: nothing waits with the lock held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the request under way, or begins one. A task of its own makes it, so that it does not end with one of those
    /// who wait.
    fn fetch(self: &Arc<Self>, state: &mut State) -> watch::Receiver<Option<Outcome>> {
        // A request whose runtime has ended has nobody left to finish it.
        if let Some(fetch) = state.fetch.as_ref().filter(|fetch| fetch.has_changed().is_ok()) {
            return fetch.clone();
        }
        let (done, fetch) = watch::channel(None);
        state.fetch = Some(fetch.clone());
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let asked = moment();
            let fetched = shared.client.fetch(asked.wall).await;
            done.send_replace(Some(shared.settle(asked, fetched)));
        });
        fetch
    }

    fn settle(&self, asked: Moment, fetched: Result<(Token, Option<Duration>), OidcError>) -> Outcome {
        let mut state = self.lock();
        let State { cache, random, fetch } = &mut *state;
        *fetch = None;
        match fetched {
            Ok((token, life)) => {
                tracing::debug!(endpoint = %self.client.endpoint, ?life, "a token");
                cache.handle_token(asked, &token, life, random);
                Ok(token)
            }
            Err(error) => {
                tracing::warn!(%error, "no token");
                cache.handle_failure(moment(), error.clone(), random);
                Err(error)
            }
        }
    }
}

impl OidcClient {
    /// A token and how long it lives, within the timeout.
    async fn fetch(&self, wall: SystemTime) -> Result<(Token, Option<Duration>), OidcError> {
        let deadline = later(now(), self.timeout);
        let endpoint = || self.endpoint.to_string();
        let overdue = |_| OidcError::Timeout { endpoint: endpoint(), timeout: self.timeout };
        let asking = exchange::ask(&self.endpoint, &self.tls, self.question(), self.timeout, deadline);
        let answer = tokio::time::timeout_at(deadline.into(), asking).await.map_err(overdue)??;
        let unusable = |what: String| OidcError::Unusable { endpoint: endpoint(), what };
        match answer.status {
            200..300 => {
                let (token, life) =
                    answer::token(&answer.body, wall).map_err(|what| unusable(what.to_owned()))?;
                let token = with_extensions(token, &self.extensions)
                    .map_err(|(_, error)| unusable(error.to_string()))?;
                Ok((token, life))
            }
            300..400 => Err(OidcError::Redirect {
                endpoint: endpoint(),
                status: answer.status,
                to: answer::place(answer.location.as_ref().map(AsRef::as_ref), &self.client_secret),
            }),
            status => {
                let said = answer::refusal(&answer.body, &self.client_secret);
                Err(OidcError::Refused { endpoint: endpoint(), status, said })
            }
        }
    }

    fn question(&self) -> Question {
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let grant = [("grant_type", "client_credentials")].into_iter().chain(parameters);
        let (id, secret) = (self.client_id.as_str(), self.client_secret.expose());
        if self.is_secret_in_body {
            let credentials = [("client_id", id), ("client_secret", secret)];
            return Question { authorization: None, body: form(grant.chain(credentials)) };
        }
        let mut pair = Zeroizing::new(String::new());
        encode_into(id, &mut pair);
        pair.push(':');
        encode_into(secret, &mut pair);
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
        let authorization = Zeroizing::new(format!("Basic {}", encoded.as_str()));
        Question { authorization: Some(authorization), body: form(grant) }
    }
}

impl OidcBuilder {
    /// What the token is to allow (`scope`, RFC 6749 section 3.3): names with spaces between them. Nothing unless it is said.
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// For whom the token is to be (`audience`), which some servers ask for.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.parameter("audience", audience)
    }

    /// Adds a parameter to the request, such as `resource` (RFC 8707). Names may come more than once.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Tells brokers this with every token (KIP-342).
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extensions.push((name.into(), value.into()));
        self
    }

    /// How the endpoint proves who it is: by an authority that this system trusts unless something else is said. It has
    /// nothing to do with the brokers' certificates.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// How long a request may take, from the name's look-up to the last byte of the answer: 5 seconds unless it is said. It
    /// should be shorter than the client's setup timeout (10 seconds), within which a connection needs its token; a longer
    /// one is reported as a login that took too long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends id and secret in the request's body (`client_id`, `client_secret`) and not by HTTP Basic authentication, in
    /// which both are encoded as forms are (RFC 6749, 2.3.1). For servers that take them only here, or do not decode them
    /// there, which shows when either has special characters.
    pub fn secret_in_body(mut self) -> Self {
        self.is_secret_in_body = true;
        self
    }

    /// Allows `http` for an endpoint on this machine (`localhost`, `127.0.0.0/8`, `::1`): for tests, and for proxies
    /// beside the program. Whoever can listen there reads secret and token.
    pub fn allow_loopback_in_the_clear(mut self) -> Self {
        self.may_be_plain = true;
        self
    }

    /// The provider. It asks for nothing before somebody wants a token.
    ///
    /// # Errors
    /// When the URL is not one to send a secret to, or a setting can't be sent.
    pub fn build(self) -> Result<Oidc, InvalidOidc> {
        let endpoint = Endpoint::parse(&self.url, self.may_be_plain)?;
        if self.client_id.is_empty() {
            return Err(InvalidOidc::NoClient);
        }
        let own = ["", "grant_type", "client_id", "client_secret", "scope"];
        if let Some((name, _)) = self.parameters.iter().find(|(name, _)| own.contains(&name.as_str())) {
            return Err(InvalidOidc::Parameter(name.clone()));
        }
        with_extensions("token".into(), &self.extensions)
            .map_err(|(name, error)| InvalidOidc::Extension { name: name.to_owned(), error })?;
        let scope = self.scope.map(|scope| ("scope".to_owned(), scope));
        let client = OidcClient {
            endpoint,
            client_id: self.client_id,
            client_secret: self.client_secret,
            is_secret_in_body: self.is_secret_in_body,
            parameters: scope.into_iter().chain(self.parameters).collect(),
            extensions: self.extensions,
            tls: self.tls,
            timeout: self.timeout,
        };
        let state = State { cache: TokenCache::default(), random: fastrand::Rng::new(), fetch: None };
        Ok(Oidc { shared: Arc::new(Shared { client, state: Mutex::new(state) }) })
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = &self.shared.client;
        f.debug_struct("Oidc")
            .field("endpoint", &client.endpoint)
            .field("client_id", &client.client_id)
            .finish_non_exhaustive()
    }
}

/// Without the URL, of which nobody knows yet what is in it.
impl fmt::Debug for OidcBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcBuilder").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

fn moment() -> Moment {
    Moment { steady: now(), wall: SystemTime::now() }
}

/// The token with all of these, or the name of the one that can't be with it (of none if it is the token).
fn with_extensions(
    token: Secret,
    extensions: &[(String, String)],
) -> Result<Token, (&str, crate::InvalidToken)> {
    let mut token = Token::new(token).map_err(|error| ("", error))?;
    for (name, value) in extensions {
        token = token.with_extension(name, value).map_err(|error| (name.as_str(), error))?;
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A provider whose token is due to be replaced, and has some seconds left.
    fn due(port: u16) -> Oidc {
        let builder = Oidc::builder(format!("http://127.0.0.1:{port}/"), "order-service", "secret");
        let oidc = builder.allow_loopback_in_the_clear().build().unwrap();
        let age = Duration::from_secs(86);
        let asked = Moment { steady: now().checked_sub(age).unwrap(), wall: SystemTime::now() - age };
        let life = Some(Duration::from_secs(100));
        let mut random = fastrand::Rng::with_seed(1);
        oidc.shared.lock().cache.handle_token(asked, &Token::new("old").unwrap(), life, &mut random);
        oidc
    }

    async fn ask(oidc: &Oidc) -> (Token, Duration) {
        let begin = Instant::now();
        (oidc.current().await.unwrap(), begin.elapsed())
    }

    #[tokio::test]
    async fn an_endpoint_that_is_slow_or_down_keeps_nobody_who_has_an_old_token() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (token, waited) = ask(&due(silent.local_addr().unwrap().port())).await;
        assert_eq!(token, Token::new("old").unwrap());
        assert!(waited >= PATIENCE && waited < PATIENCE * 3, "{waited:?}");
        let port = silent.local_addr().unwrap().port();
        drop(silent);
        let oidc = due(port);
        for _ in 0..3 {
            let (token, waited) = ask(&oidc).await;
            assert_eq!(token, Token::new("old").unwrap());
            assert!(waited < PATIENCE, "{waited:?}");
        }
    }

    #[tokio::test]
    async fn a_token_that_is_due_is_replaced_at_the_next_asking() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer =
                b"HTTP/1.1 200 OK\r\nContent-Length: 39\r\n\r\n{\"access_token\":\"new\",\"expires_in\":300}";
            assert!(stream.read(&mut [0; 4_096]).await.unwrap() > 0);
            stream.write_all(answer).await.unwrap();
            std::future::pending::<()>().await;
        });
        let oidc = due(port);
        for _ in 0..3 {
            assert_eq!(ask(&oidc).await.0, Token::new("new").unwrap());
        }
    }
}
