//! The shapes that the rooms of the gateway hand to each other.

use std::sync::Arc;

pub use super::identity::Unidentified;
use crate::model::caller::Caller;

/// One header of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header<'a> {
    /// It is not there.
    Absent,
    /// It is there once, as text.
    One(&'a str),
    /// It is there more than once, or is not text.
    Bad,
}

/// The headers of a request, whatever protocol brought them.
pub trait Headers: Sync {
    /// The header `name` (lower case).
    fn header(&self, name: &str) -> Header<'_>;
}

/// What of a request a proof of possession names (RFC 9449, section 4.2), as its gateway tells.
#[derive(Clone, Copy)]
pub struct RequestLine<'a> {
    /// As it was sent.
    pub method: &'a str,
    /// Path and query, as they were sent.
    pub target: &'a str,
    /// With its port, as it was sent.
    pub host: Header<'a>,
    /// The gateway says that it was asked over TLS.
    pub tls: bool,
}

/// The SHA-256 of an access token's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(…)")
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// The request bears no identity at all.
    Nobody,
    /// A caller whose identity is proven.
    Caller(Arc<Caller>),
    /// Whoever bears the access token with this digest, or a JWT that it was exchanged for: the
    /// generation knows whether there is one.
    Token(TokenDigest),
}
