//! A request's host with one reading, or a refusal; and the hosts that a route names.
//!
//! Behind one gateway several sites may be served, told apart by the host alone. Programs differ in
//! what they make of a user's name before it, of a port, of letters beyond ASCII, of numbers in the
//! place of an address. A host that two of them could read differently is refused here, so that no
//! request is decided as one site's and served as another's. What is left is compared in lower case,
//! without the port and without one dot at the end (RFC 3986, section 3.2.2; RFC 1034, section 3.1).

use core::net::{Ipv4Addr, Ipv6Addr};
use std::borrow::Cow;
use std::fmt;

/// The longest name, in bytes (RFC 1035, section 2.3.4, without the root's label).
const LONGEST: usize = 253;

/// The longest label, in bytes (RFC 1035, section 2.3.4).
const LONGEST_LABEL: usize = 63;

/// How the ASCII form of a label in another script begins (RFC 5890, section 2.3.2.5).
const A_LABEL: &str = "xn--";

/// Why a text is not taken for a host. In words for the log; it never quotes the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadHost {
    /// Nothing, or nothing before the port.
    #[error("the host is empty")]
    Empty,
    /// Longer than a name can be.
    #[error("the host is longer than {LONGEST} bytes")]
    TooLong,
    /// White space, inside or around it.
    #[error("the host holds white space")]
    Space,
    /// A control character, NUL among them.
    #[error("the host holds a control character")]
    Control,
    /// A name in another script as it is; clients send its ASCII form (RFC 5891, section 4.4).
    #[error("the host holds a character beyond ASCII")]
    NotAscii,
    /// `user@host`: no part of a `Host` header (RFC 9110, section 7.2).
    #[error("the host has a user before it (`@`)")]
    Userinfo,
    /// A scheme, a path, a query: a whole URL, or the beginning of one.
    #[error("the host is a URL, or holds a part of one")]
    Url,
    /// `%` escapes, zones of IPv6 addresses among them.
    #[error("the host is percent-encoded")]
    Encoded,
    /// A list, as a chain of proxies makes one.
    #[error("there is more than one host")]
    Several,
    /// What no name holds.
    #[error("the host holds a character that no name has")]
    Character,
    /// No number from 1 to 65535, or more than one colon.
    #[error("the host has a port that is none")]
    Port,
    /// Two dots in a row, one at the beginning, more than one at the end.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// Longer than a label can be.
    #[error("the host has a label of more than {LONGEST_LABEL} bytes")]
    LongLabel,
    /// A `-` where a label begins or ends (RFC 1123, section 2.1).
    #[error("the host has a label that begins or ends with `-`")]
    Hyphen,
    /// `127.1`, `0x7f000001`, `0177.0.0.1`: addresses to some programs, names to others.
    #[error("the host is a number that is not an address of four decimal parts")]
    Number,
    /// What stands in brackets is no IPv6 address.
    #[error("the host has brackets without an IPv6 address in them")]
    Brackets,
}

/// A host with one reading: an ASCII name in lower case without the dot at its end, an IPv4 address,
/// or an IPv6 address in brackets in its canonical form (RFC 5952).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host<'a> {
    name: Cow<'a, str>,
    port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Reads a host as a request tells it, with its port if it has one. Allocates only where it is not
    /// in lower case.
    ///
    /// # Errors
    /// It is none, or one that programs read in different ways.
    pub fn parse(text: &'a str) -> Result<Self, BadHost> {
        if let Some(why) = text.bytes().find_map(refused) {
            return Err(why);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or(BadHost::Brackets)?;
            let address: Ipv6Addr = address.parse().map_err(|_| BadHost::Brackets)?;
            let port = match after.strip_prefix(':') {
                Some(digits) => Some(port(digits)?),
                None if after.is_empty() => None,
                None => return Err(BadHost::Brackets),
            };
            return Ok(Host { name: Cow::Owned(format!("[{address}]")), port });
        }
        if text.contains(['[', ']']) {
            return Err(BadHost::Brackets);
        }
        let (name, port) = match text.split_once(':') {
            Some((name, digits)) => (name, Some(port(digits)?)),
            None => (text, None),
        };
        Ok(Host { name: name_of(name)?, port })
    }

    /// The name, or the address, as hosts are compared: without the port.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, where the text has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether some label is the ASCII form of another script's. Programs differ in whether and how
    /// they decode one, and two may look alike: only a route that names exactly this host takes it.
    #[must_use]
    pub fn is_international(&self) -> bool {
        self.name.split('.').any(|label| label.starts_with(A_LABEL))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why a byte is refused wherever it stands; the others are taken.
const fn refused(byte: u8) -> Option<BadHost> {
    match byte {
        b' ' | b'\t' => Some(BadHost::Space),
        0..=0x1f | 0x7f => Some(BadHost::Control),
        0x80.. => Some(BadHost::NotAscii),
        b'@' => Some(BadHost::Userinfo),
        b'/' | b'\\' | b'?' | b'#' => Some(BadHost::Url),
        b'%' => Some(BadHost::Encoded),
        b',' => Some(BadHost::Several),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => None,
        b'.' | b'-' | b'_' | b':' | b'[' | b']' => None,
        _ => Some(BadHost::Character),
    }
}

fn port(digits: &str) -> Result<u16, BadHost> {
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // With a zero before it, it is the same number to one and eight-based to another.
    if !decimal || digits.starts_with('0') {
        return Err(BadHost::Port);
    }
    digits.parse().map_err(|_| BadHost::Port)
}

/// A name, or an IPv4 address, in the form in which hosts are compared.
fn name_of(text: &str) -> Result<Cow<'_, str>, BadHost> {
    if text.is_empty() {
        return Err(BadHost::Empty);
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > LONGEST {
        return Err(BadHost::TooLong);
    }
    let mut last = "";
    for label in name.split('.') {
        if label.is_empty() {
            return Err(BadHost::EmptyLabel);
        }
        if label.len() > LONGEST_LABEL {
            return Err(BadHost::LongLabel);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(BadHost::Hyphen);
        }
        last = label;
    }
    // The URL Standard, section 3.5: a name whose last label is a number is an address.
    if is_number(last) && !is_ipv4(name) {
        return Err(BadHost::Number);
    }
    Ok(match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    })
}

fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Four decimal parts without zeros before them.
fn is_ipv4(name: &str) -> bool {
    name.parse::<Ipv4Addr>().is_ok()
}

/// A host that a route names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HostPattern {
    /// This one.
    Exactly(String),
    /// `*.example.com`: every name below this one, by one label or more; not the name itself.
    Below(String),
}

/// Why a text is no host of a route. Each carries the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostPatternError {
    /// Routes that say nothing of hosts are for any.
    #[error("`*` is any host: leave `hosts` out")]
    Any,
    /// `*` is the first label, as a whole, or none.
    #[error("`{}` has a `*` that is not its first label: `*.example.com`", .0.escape_debug())]
    Wildcard(String),
    /// `*.0.0.1`
    #[error("`{}` has a `*` before an address, which has nothing below it", .0.escape_debug())]
    Address(String),
    /// Hosts are compared without it.
    #[error("`{}` has a port: hosts are compared without it", .0.escape_debug())]
    Port(String),
    /// Requests bring the ASCII form.
    #[error(
        "`{}` is not ASCII: write it as requests do, `xn--` and so on",
        .0.escape_debug()
    )]
    NotAscii(String),
    /// No request's host could equal it.
    #[error("`{}` is no host: {why}", .text.escape_debug())]
    Host {
        /// The text.
        text: String,
        /// Why.
        why: BadHost,
    },
}

impl HostPattern {
    /// Whether it names this host. One with a label in another script's ASCII form is named exactly or not
    /// at all, as by routes ([`Host::is_international`]).
    #[must_use]
    pub fn names(&self, host: &Host<'_>) -> bool {
        match self {
            HostPattern::Exactly(name) => name == host.name(),
            HostPattern::Below(name) => {
                let rest = host.name().strip_suffix(name.as_str());
                let below = rest.and_then(|rest| rest.strip_suffix('.'));
                below.is_some_and(|label| !label.is_empty()) && !host.is_international()
            }
        }
    }
}

impl std::str::FromStr for HostPattern {
    type Err = HostPatternError;

    /// `osmo.example.com` or `*.lab.example.com`; in any case, with or without a dot at its end.
    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let whole = || text.to_owned();
        if text == "*" {
            return Err(HostPatternError::Any);
        }
        let rest = text.strip_prefix("*.");
        let name = rest.unwrap_or(text);
        if name.contains('*') {
            return Err(HostPatternError::Wildcard(whole()));
        }
        let host = Host::parse(name).map_err(|why| match why {
            BadHost::NotAscii => HostPatternError::NotAscii(whole()),
            why => HostPatternError::Host { text: whole(), why },
        })?;
        if host.port().is_some() {
            return Err(HostPatternError::Port(whole()));
        }
        let name = host.name().to_owned();
        match rest {
            Some(_) if name.starts_with('[') || is_ipv4(&name) => {
                Err(HostPatternError::Address(whole()))
            }
            Some(_) => Ok(HostPattern::Below(name)),
            None => Ok(HostPattern::Exactly(name)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exactly(name) => f.write_str(name),
            HostPattern::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// The hosts of a route as a person reads them: `a.example.com|*.b.example.com`; nothing for any.
pub(super) fn joined(hosts: &[HostPattern]) -> String {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    hosts.join("|")
}

/// Something for each host that routes name, and for the others.
#[derive(Clone, Debug)]
pub(super) struct ByHost<T> {
    /// Sorted by name.
    exactly: Vec<(Box<str>, T)>,
    /// Sorted by the name that they are below.
    below: Vec<(Box<str>, T)>,
}

impl<T: Copy> ByHost<T> {
    /// Nothing, for no host.
    pub(super) fn new() -> Self {
        ByHost { exactly: Vec::new(), below: Vec::new() }
    }

    /// What is kept for a host that some route names; made where there is none.
    pub(super) fn entry(&mut self, host: &HostPattern, make: impl FnOnce() -> T) -> T {
        let (list, name) = match host {
            HostPattern::Exactly(name) => (&mut self.exactly, name),
            HostPattern::Below(name) => (&mut self.below, name),
        };
        match list.binary_search_by(|(own, _)| (**own).cmp(name.as_str())) {
            Ok(place) => list.get(place).map_or_else(make, |(_, kept)| *kept),
            Err(place) => {
                let made = make();
                list.insert(place, (name.as_str().into(), made));
                made
            }
        }
    }

    /// Whether nothing is kept: no route names a host.
    pub(super) fn is_empty(&self) -> bool {
        self.exactly.is_empty() && self.below.is_empty()
    }

    /// What is kept for exactly this host.
    pub(super) fn exactly(&self, host: &Host<'_>) -> Option<T> {
        find(&self.exactly, host.name())
    }

    /// What is kept for the nearest name that this host is below.
    pub(super) fn below(&self, host: &Host<'_>) -> Option<T> {
        // Nothing is below what an address ends in: no route names such a thing.
        host.name().match_indices('.').find_map(|(dot, _)| {
            find(&self.below, host.name().get(dot.saturating_add(1)..).unwrap_or_default())
        })
    }
}

fn find<T: Copy>(list: &[(Box<str>, T)], name: &str) -> Option<T> {
    let place = list.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?;
    list.get(place).map(|(_, kept)| *kept)
}
