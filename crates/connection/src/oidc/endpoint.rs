//! Where tokens are asked for.

use std::{fmt, net::IpAddr};

use hyper::Uri;

use super::InvalidOidc;
use crate::Address;

/// A token endpoint that may be asked.
pub(super) struct Endpoint {
    pub(super) address: Address,
    /// What the request asks for there: path and query.
    pub(super) path: String,
    pub(super) is_encrypted: bool,
}

impl Endpoint {
    /// Takes a URL apart, and refuses what is not to be asked: anything but `https`, unless `may_be_plain` and it is this
    /// machine.
    pub(super) fn parse(url: &str, may_be_plain: bool) -> Result<Self, InvalidOidc> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        let is_encrypted = match scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(InvalidOidc::Scheme),
        };
        let uri: Uri = url.parse().map_err(|_| InvalidOidc::Url)?;
        let authority = uri.authority().ok_or(InvalidOidc::Url)?;
        if authority.as_str().contains('@') || url.contains('#') {
            return Err(InvalidOidc::Url);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match (authority.port_u16(), is_encrypted) {
            (Some(port), _) => port,
            // A colon with something behind it that is no port.
            (None, _) if authority.as_str().len() > authority.host().len() => return Err(InvalidOidc::Url),
            (None, true) => 443,
            (None, false) => 80,
        };
        if host.is_empty() {
            return Err(InvalidOidc::Url);
        }
        let may_be_asked = is_encrypted || may_be_plain && is_this_machine(&host);
        if !may_be_asked {
            return Err(InvalidOidc::InTheClear);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { address: Address { host, port }, path, is_encrypted })
    }

    /// The value of the `Host` header.
    pub(super) fn host(&self) -> String {
        let host = match self.address.host.as_str() {
            v6 if v6.contains(':') => format!("[{v6}]"),
            name => name.to_owned(),
        };
        match self.address.port {
            443 if self.is_encrypted => host,
            80 if !self.is_encrypted => host,
            port => format!("{host}:{port}"),
        }
    }
}

/// Without path and query, which may hold what is nobody's business.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, host, port, path, shown) in [
            ("https://login.example", "login.example", 443, "/", "https://login.example"),
            (
                "HTTPS://login.example:8443/a/token?tenant=b",
                "login.example",
                8443,
                "/a/token?tenant=b",
                "https://login.example:8443",
            ),
            ("https://[2001:db8::1]/token", "2001:db8::1", 443, "/token", "https://[2001:db8::1]"),
        ] {
            let endpoint = Endpoint::parse(url, false).unwrap();
            assert_eq!(endpoint.address, Address { host: host.to_owned(), port });
            assert_eq!((endpoint.path.as_str(), endpoint.to_string().as_str()), (path, shown));
        }
    }

    #[test]
    fn what_is_not_to_be_asked_is_refused() {
        for (url, expected) in [
            ("file:///etc/passwd", InvalidOidc::Scheme),
            ("file:/etc/passwd", InvalidOidc::Scheme),
            ("ftp://login.example/", InvalidOidc::Scheme),
            ("unix:/run/login", InvalidOidc::Scheme),
            ("login.example/token", InvalidOidc::Scheme),
            ("/token", InvalidOidc::Scheme),
            ("", InvalidOidc::Scheme),
            ("https:", InvalidOidc::Url),
            ("https:///token", InvalidOidc::Url),
            ("https://:443/token", InvalidOidc::Url),
            ("https://user:word@login.example/", InvalidOidc::Url),
            ("https://login.example/#token", InvalidOidc::Url),
            ("https://login.example:70000/", InvalidOidc::Url),
            ("https://login.example:/", InvalidOidc::Url),
            ("https://login example/", InvalidOidc::Url),
            ("http://login.example/", InvalidOidc::InTheClear),
            ("http://127.0.0.1:80/", InvalidOidc::InTheClear),
        ] {
            assert_eq!(Endpoint::parse(url, false).unwrap_err(), expected, "{url}");
        }
    }

    #[test]
    fn only_this_machine_may_be_asked_in_the_clear() {
        for url in ["http://127.0.0.1:8080/", "http://127.9.9.9/", "http://[::1]/", "http://LocalHost/"] {
            assert!(!Endpoint::parse(url, true).unwrap().is_encrypted, "{url}");
        }
        for url in
            ["http://10.0.0.1/", "http://localhost.example/", "http://0.0.0.0/", "http://169.254.169.254/"]
        {
            assert_eq!(Endpoint::parse(url, true).unwrap_err(), InvalidOidc::InTheClear, "{url}");
        }
    }
}
