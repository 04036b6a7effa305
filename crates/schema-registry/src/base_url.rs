//! Where a registry is.

use std::{fmt, fmt::Write as _, net::IpAddr};

use hyper::Uri;

/// A registry's URL, taken apart. A path in it is kept: that of Apicurio is `/apis/ccompat/v7`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Without a slash at the end.
    pub(crate) path: String,
    pub(crate) is_encrypted: bool,
}

impl BaseUrl {
    /// Takes a URL apart. The error never repeats it: there may be a password in it.
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a registry's URL is http[s]://HOST[:PORT][/PATH]";
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        let is_encrypted = match scheme.as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(FORM),
        };
        let uri: Uri = url.parse().map_err(|_| FORM)?;
        let authority = uri.authority().ok_or(FORM)?;
        if authority.as_str().contains('@') {
            return Err("a user and a password are not part of the URL: name them by basic_auth");
        }
        if uri.query().is_some() || url.contains('#') {
            return Err("a registry's URL has no query and no fragment");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match (authority.port_u16(), is_encrypted) {
            (Some(port), _) => port,
            (None, _) if authority.as_str().len() > authority.host().len() => return Err(FORM),
            (None, true) => 443,
            (None, false) => 80,
        };
        if host.is_empty() {
            return Err(FORM);
        }
        Ok(Self { host, port, path: uri.path().trim_end_matches('/').to_owned(), is_encrypted })
    }

    /// The value of the `Host` header.
    pub(crate) fn host_header(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.port, self.is_encrypted) {
            (443, true) | (80, false) => host,
            (port, _) => format!("{host}:{port}"),
        }
    }

    pub(crate) fn is_this_machine(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host_header(), self.path)
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A segment of a path, or a value of a query: all but the unreserved characters of RFC 3986 is encoded.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    // A segment of dots alone would be taken for a way up.
    if encoded == "." || encoded == ".." { encoded.replace('.', "%2E") } else { encoded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept() {
        for (url, shown, path) in [
            ("http://localhost:8081", "http://localhost:8081", ""),
            ("HTTP://localhost:8081/", "http://localhost:8081", ""),
            (
                "https://registry.example/apis/ccompat/v7/",
                "https://registry.example/apis/ccompat/v7",
                "/apis/ccompat/v7",
            ),
            ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443/a", "/a"),
        ] {
            let url = BaseUrl::parse(url).unwrap();
            assert_eq!((url.to_string().as_str(), url.path.as_str()), (shown, path));
        }
    }

    #[test]
    fn what_is_none_is_refused_without_being_repeated() {
        for url in [
            "",
            "registry:8081",
            "ftp://a",
            "http://",
            "http://user:hunter2@a",
            "http://a:x",
            "http://a?b",
            "http://a#b",
        ] {
            let error = BaseUrl::parse(url).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn subjects_are_encoded() {
        assert_eq!(encoded("a b/c?é-value"), "a%20b%2Fc%3F%C3%A9-value");
        assert_eq!(encoded(".."), "%2E%2E");
    }
}
