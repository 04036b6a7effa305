//! Bootstrap addresses as people write them: `host:port,host:port`.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Host name or IP address, an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidAddress {
    /// There is no address at all.
    #[error("no bootstrap address was given; expected host:port, several separated by commas")]
    Missing,
    /// No port, or none that fits.
    #[error("`{0}` has no port between 1 and 65535; expected host:port, such as localhost:9092")]
    Port(String),
    /// No host.
    #[error("`{0}` has no host; expected host:port, such as localhost:9092")]
    Host(String),
    /// A scheme stands in front.
    #[error("`{0}` is a URL; expected host:port, such as localhost:9092")]
    Url(String),
}

impl Address {
    /// The addresses of a list separated by commas.
    ///
    /// # Errors
    /// When one of them is no address, or there is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidAddress> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let addresses = parts.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() { Err(InvalidAddress::Missing) } else { Ok(addresses) }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if text.contains("://") {
            return Err(InvalidAddress::Url(text.to_owned()));
        }
        let invalid_port = || InvalidAddress::Port(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid_port)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid_port)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(InvalidAddress::Host(text.to_owned()));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let list = Address::parse_list("a:1, [::1]:2,").unwrap();
        assert_eq!(list.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "[::1]:2"]);
        for (text, error) in [
            ("", InvalidAddress::Missing),
            ("a", InvalidAddress::Port("a".to_owned())),
            ("a:0", InvalidAddress::Port("a:0".to_owned())),
            ("a:99999", InvalidAddress::Port("a:99999".to_owned())),
            (":1", InvalidAddress::Host(":1".to_owned())),
            ("http://a:1", InvalidAddress::Url("http://a:1".to_owned())),
        ] {
            assert_eq!(Address::parse_list(text), Err(error));
        }
    }
}
