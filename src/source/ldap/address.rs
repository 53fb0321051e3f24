//! Where the servers are: at URLs, or where DNS says that a domain has them.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::config::{BadValue, remote, url};

/// A value of `url`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Server {
    /// One at a URL.
    At(Url),
    /// Those that DNS names for a domain: `srv:example.com` (RFC 2782).
    Of(Domain),
}

/// The name of a domain, in lower case and without a dot at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain(String);

/// Why a text says no server. Holds nothing of what may be a secret.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotAServer(BadValue);

const SRV: &str = "srv:";

impl Server {
    /// Whether what is said to it goes over another machine's wire unencrypted.
    pub(super) fn in_the_clear(&self, start_tls: bool) -> bool {
        match self {
            Server::At(url) => url.scheme() == "ldap" && !start_tls && remote(url),
            Server::Of(_) => !start_tls,
        }
    }

    /// Whether TLS is spoken to it, whatever port DNS may name.
    pub(super) fn with_tls(&self, start_tls: bool) -> bool {
        match self {
            Server::At(url) => url.scheme() == "ldaps" || (url.scheme() == "ldap" && start_tls),
            Server::Of(_) => start_tls,
        }
    }

    /// The scheme of its URL where StartTLS means nothing with it.
    pub(super) fn of_another_scheme(&self) -> Option<&str> {
        match self {
            Server::At(url) => Some(url.scheme()).filter(|scheme| *scheme != "ldap"),
            Server::Of(_) => None,
        }
    }

    /// Whether it is a socket of this machine.
    pub(super) fn is_socket(&self) -> bool {
        matches!(self, Server::At(url) if url.scheme() == "ldapi")
    }
}

impl Domain {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `host` is this domain or below it.
    pub(super) fn has(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let below = host.strip_suffix(self.as_str());
        below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl fmt::Display for Server {
    /// As it is configured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::At(url) => f.write_str(url.as_str()),
            Server::Of(domain) => write!(f, "{SRV}{}", domain.0),
        }
    }
}

impl FromStr for Server {
    type Err = NotAServer;

    fn from_str(text: &str) -> Result<Self, NotAServer> {
        match text.strip_prefix(SRV) {
            Some(domain) => self::domain(domain).map(Server::Of).map_err(NotAServer),
            None => ldap_url(text).map(Server::At).map_err(NotAServer),
        }
    }
}

fn domain(text: &str) -> Result<Domain, BadValue> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(BadValue::new(
            "names no domain after `srv:`: expected the like of `srv:example.com`",
        ));
    }
    Ok(Domain(name.to_ascii_lowercase()))
}

/// Whether `text` is a part of a domain's name.
fn is_label(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(part)
}

/// The name of a site, which is a part of a name in DNS.
pub(super) fn site(text: &str) -> Result<String, BadValue> {
    if is_label(text) {
        return Ok(text.to_owned());
    }
    Err(BadValue::new(format!(
        "`{}` is not the name of a site: letters, digits and `-`",
        text.escape_debug()
    )))
}

/// `ldap://`, `ldaps://` or `ldapi://`, without a path (but for `ldapi`, whose host is the path).
fn ldap_url(text: &str) -> Result<Url, BadValue> {
    let url = url(text, &["ldaps", "ldap", "ldapi"])?;
    match url.scheme() {
        "ldapi" if url.host_str().is_none_or(str::is_empty) && url.path().len() > 1 => {
            Err(BadValue::new(
                "names no socket: its path is written with `%2f` for `/`, such as \
                 `ldapi://%2frun%2fslapd%2fldapi`",
            ))
        }
        "ldap" | "ldaps" if url.path().len() > 1 => Err(BadValue::new(
            "has a path: the search base is given with `users.base` and `groups.base`",
        )),
        _ => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_told_from_a_url_and_knows_who_is_in_it() {
        let of = |text: &str| match text.parse() {
            Ok(Server::Of(domain)) => domain.0,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(of("srv:Example.COM."), "example.com");
        assert_eq!(of("srv:ad"), "ad");
        for bad in ["srv:", "srv://example.com", "srv:a..b", "srv:a b", "srv:user:pw@example.com"] {
            let error = bad.parse::<Server>().unwrap_err().to_string();
            assert!(error.contains("srv:example.com") && !error.contains("pw"), "{error}");
        }
        assert!(matches!("ldaps://a".parse(), Ok(Server::At(_))));
        let Ok(Server::Of(domain)) = "srv:example.com".parse() else { panic!() };
        for (host, inside) in [
            ("dc1.example.com", true),
            ("DC1.Example.Com.", true),
            ("example.com", true),
            ("badexample.com", false),
            ("example.com.evil.org", false),
            ("localhost", false),
        ] {
            assert_eq!(domain.has(host), inside, "{host}");
        }
    }
}
