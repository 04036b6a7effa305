//! The settings of a client.

use std::{sync::Arc, sync::atomic::AtomicUsize, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

#[cfg(feature = "_tls")]
use crate::Tls;
use crate::{
    Error, SchemaRegistry, Secret, base_url::BaseUrl, cache::Cache, http::Dialing, registry::Shared,
    transport::Transport,
};

const DOING: &str = "building a schema registry client";

/// The settings of a [`SchemaRegistry`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SchemaRegistryBuilder {
    urls: Vec<String>,
    authentication: Authentication,
    may_be_in_the_clear: bool,
    connect_timeout: Duration,
    request_timeout: Duration,
    retries: u32,
    cache_capacity: usize,
    most_answer: usize,
    #[cfg(feature = "_tls")]
    tls: Tls,
}

#[derive(Clone, Debug)]
enum Authentication {
    None,
    Basic(String, Secret),
    Bearer(Secret),
}

impl SchemaRegistryBuilder {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            authentication: Authentication::None,
            may_be_in_the_clear: false,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            retries: 3,
            cache_capacity: 1000,
            most_answer: 8 << 20,
            #[cfg(feature = "_tls")]
            tls: Tls::system_roots(),
        }
    }

    /// Another address of the same registry, which is asked when those before it can't be reached or are out of order.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Logs in with a user's name and password.
    pub fn basic_auth(mut self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.authentication = Authentication::Basic(user.into(), password.into());
        self
    }

    /// Logs in with a token.
    pub fn bearer_auth(mut self, token: impl Into<Secret>) -> Self {
        self.authentication = Authentication::Bearer(token.into());
        self
    }

    /// Sends the password or token over plain `http` to other machines too. Everybody in between can read it.
    pub fn allow_secrets_in_the_clear(mut self) -> Self {
        self.may_be_in_the_clear = true;
        self
    }

    /// How connections to `https` are encrypted. By default the system's authorities are trusted.
    #[cfg(feature = "_tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// How long a connection, with TLS, may take to come about; 5 s unless told otherwise.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long one attempt may take, from connecting to the answer's end; 10 s unless told otherwise.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How often all addresses are tried again after failures that pass: no connection, status 429 or 5xx. 3 unless told
    /// otherwise, at most 20. Pauses grow from 0.1 to 2 s.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries.min(20);
        self
    }

    /// How many schemas, and how many ids, are remembered: 1000 of each unless told otherwise. 0 asks every time.
    pub fn cache_capacity(mut self, entries: usize) -> Self {
        self.cache_capacity = entries;
        self
    }

    /// How long an answer may be, in bytes: 8 MiB unless told otherwise.
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.most_answer = bytes;
        self
    }

    /// The client. Nothing is asked yet.
    ///
    /// # Errors
    /// When a URL is none, a secret would go over the network in the clear, or the certificates can't be used.
    pub fn build(self) -> Result<SchemaRegistry, Error> {
        let urls: Result<Vec<_>, _> = self.urls.iter().map(|url| BaseUrl::parse(url)).collect();
        let urls = urls.map_err(|error| Error::misuse(DOING, error))?;
        let authorization = self.authorization()?;
        let is_guarded = authorization.is_some() && !self.may_be_in_the_clear;
        if is_guarded && let Some(url) = urls.iter().find(|url| !url.is_encrypted && !url.is_this_machine()) {
            let cause = format!(
                "{url} would get the password or token in the clear: take https, or allow_secrets_in_the_clear"
            );
            return Err(Error::misuse(DOING, cause));
        }
        let dialing = Dialing {
            connect_timeout: self.connect_timeout,
            most_answer: self.most_answer,
            authorization,
            must_be_this_machine: is_guarded,
            #[cfg(feature = "_tls")]
            tls: self.tls,
        };
        #[cfg(feature = "_tls")]
        if urls.iter().any(|url| url.is_encrypted) {
            // What is wrong with certificates is told now rather than by every request.
            dialing.tls.connector().map_err(|error| Error::misuse(DOING, error))?;
        }
        #[cfg(not(feature = "_tls"))]
        if urls.iter().any(|url| url.is_encrypted) {
            return Err(Error::misuse(
                DOING,
                "https needs one of the features `tls`, `ring` and `aws-lc-rs`",
            ));
        }
        let transport = Transport {
            urls,
            dialing,
            request_timeout: self.request_timeout,
            retries: self.retries,
            good: AtomicUsize::new(0),
        };
        Ok(SchemaRegistry(Arc::new(Shared {
            transport,
            by_id: Cache::new(self.cache_capacity),
            by_version: Cache::new(self.cache_capacity),
            ids: Cache::new(self.cache_capacity),
        })))
    }

    fn authorization(&self) -> Result<Option<Zeroizing<String>>, Error> {
        let value = match &self.authentication {
            Authentication::None => return Ok(None),
            Authentication::Basic(user, _) if user.contains(':') => {
                return Err(Error::misuse(DOING, "a user's name has no colon"));
            }
            Authentication::Basic(user, password) => {
                let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
                let encoded = Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()));
                format!("Basic {}", encoded.as_str())
            }
            Authentication::Bearer(token) => format!("Bearer {}", token.expose()),
        };
        let value = Zeroizing::new(value);
        if value.bytes().any(|byte| !(b' '..=b'~').contains(&byte)) {
            return Err(Error::misuse(DOING, "the token has characters that no token has"));
        }
        Ok(Some(value))
    }
}
