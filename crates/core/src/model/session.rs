//! Sessions at an identity provider that end before the tokens do that were issued in them.
//!
//! A token is good until its `exp`, whatever becomes of the session. So what has ended is put on a list,
//! and a gateway refuses the tokens that belong to it.

/// Whose sessions they are. An id of a session or of a person means something there alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SessionRealm {
    /// Those of this source's people.
    Source(String),
    /// Those of an issuer that is no source, by `iss`.
    Issuer(String),
}

/// What has ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SessionScope {
    /// The session with this id, the `sid` of its tokens (OpenID Connect Front-Channel Logout 1.0,
    /// section 3).
    Session(String),
    /// Every session of the person with this id, the `sub` of their tokens.
    Subject(String),
    /// Every session of the realm.
    Everybody,
    /// Every session at the client with this id, the `azp` of its tokens.
    Client(String),
}

/// Sessions that have ended.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionEnd {
    /// Whose.
    pub realm: SessionRealm,
    /// Which.
    pub scope: SessionScope,
    /// Their tokens are refused whose `iat` is this or earlier: seconds since 1970 by the issuer's
    /// clock.
    pub last_iat: i64,
}

impl SessionEnd {
    /// The id of what has ended; empty for everybody.
    #[must_use]
    pub fn id(&self) -> &str {
        match &self.scope {
            SessionScope::Session(id) | SessionScope::Subject(id) | SessionScope::Client(id) => id,
            SessionScope::Everybody => "",
        }
    }
}
