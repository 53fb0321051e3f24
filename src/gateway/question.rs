//! The shapes that the rooms of the gateway hand to each other.

use std::sync::Arc;

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

/// What says who somebody is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum KnownBy {
    /// A source's own id. Whatever name comes with it decides nothing.
    Id {
        /// The source's name.
        source: String,
        /// The external id: a token's `sub`, say.
        ext: String,
    },
    /// A name in the form in which the store keeps names
    /// ([`crate::model::username::canonical`]): the gateway vouches for it, or an issuer that is
    /// no source.
    Name(Arc<str>),
}

/// Someone whose identity is proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// What says who it is.
    pub known_by: KnownBy,
    /// The name that came along, in the store's form; absent where there was none, or none that
    /// could be believed.
    pub name: Option<Arc<str>>,
    /// The token's issuer; absent where a header named the user.
    pub issuer: Option<String>,
    /// The roles that the verified token names (`roles_claim`); absent where the configuration
    /// names no such claim or the token has none.
    pub roles: Option<Vec<String>>,
    /// What bounds the roles that count, where the token is OSMO's.
    pub named: Option<Named>,
}

/// What a token of OSMO's says beside who it is. It names roles of the platform, and no others count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// The roles that count: for a service those that its issuer may name, for anybody else those of
    /// them that the user holds.
    pub roles: Vec<String>,
    /// It is a pod's or a backend's, not a person's: nobody need hold what it names.
    pub service: bool,
    /// The access token that it was made from.
    pub token: Option<String>,
    /// The workflow that it is for.
    pub workflow: Option<String>,
}

/// The SHA-256 of an access token's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl Caller {
    /// Someone whom a gateway's header names.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Caller {
        let name = name.into();
        let known_by = KnownBy::Name(Arc::clone(&name));
        Caller { known_by, name: Some(name), issuer: None, roles: None, named: None }
    }

    /// What to call it in a log.
    #[must_use]
    pub fn shown(&self) -> &str {
        match &self.known_by {
            KnownBy::Name(name) => name,
            KnownBy::Id { ext, .. } => ext,
        }
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
    Token(Digest),
}

/// Why nobody knows who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unidentified {
    /// What the request bears is no proof: 401. For the log only.
    Refused(String),
    /// It cannot be judged now (no keys of the issuer could be had yet): 503. For the log only.
    Unavailable(String),
}
