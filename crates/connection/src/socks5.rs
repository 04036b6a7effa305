//! Brokers behind a SOCKS5 proxy (RFC 1928, RFC 1929).

use std::fmt;

use tokio::net::TcpStream;
use tokio_socks::{Error, tcp::Socks5Stream};

use crate::{Address, ConnectionError, Secret};

/// A proxy that every connection goes through. It is told the names of brokers and not their addresses, so that names which
/// only its side can resolve will do.
#[derive(Clone, PartialEq, Eq)]
pub struct Socks5 {
    proxy: Address,
    login: Option<(String, Secret)>,
}

/// What RFC 1929 has room for.
const LOGIN_LEN: std::ops::RangeInclusive<usize> = 1..=255;

impl Socks5 {
    /// A proxy that asks nobody who they are.
    #[must_use]
    pub const fn new(proxy: Address) -> Self {
        Self { proxy, login: None }
    }

    /// Says to the proxy who the client is. Proxy and client speak in the clear: everybody between them can read this.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.login = Some((user.into(), password.into()));
        self
    }

    /// Where the proxy is.
    #[must_use]
    pub const fn proxy(&self) -> &Address {
        &self.proxy
    }

    /// Has the proxy connect `stream`, which leads to it, to `broker`.
    pub(crate) async fn lead(
        &self,
        stream: TcpStream,
        broker: &Address,
    ) -> Result<TcpStream, ConnectionError> {
        let failed = |error: String| ConnectionError::Proxy { proxy: self.proxy.clone(), error };
        let to = (broker.host.as_str(), broker.port);
        let led = match &self.login {
            None => Socks5Stream::connect_with_socket(stream, to).await,
            Some((user, password)) => {
                if !LOGIN_LEN.contains(&user.len()) || !LOGIN_LEN.contains(&password.expose().len()) {
                    return Err(failed("its user and password have to be of 1 to 255 bytes".to_owned()));
                }
                Socks5Stream::connect_with_password_and_socket(stream, to, user, password.expose()).await
            }
        };
        led.map(Socks5Stream::into_inner).map_err(|error| failed(describe(&error)))
    }
}

/// The library's errors hold no secret; some of them are better said otherwise.
fn describe(error: &Error) -> String {
    match error {
        Error::InvalidResponseVersion => "it does not speak SOCKS5".to_owned(),
        Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "it hung up in the middle of it; is this a SOCKS5 port?".to_owned()
        }
        Error::NoAcceptableAuthMethods => "it wants a login".to_owned(),
        Error::PasswordAuthFailure(_) => "it refused the login".to_owned(),
        error => error.to_string(),
    }
}

impl fmt::Debug for Socks5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socks5({})", self.proxy)
    }
}
