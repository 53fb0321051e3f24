//! Someone whose identity is proven, by a token or by a gateway that vouches for them.

use std::sync::Arc;

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
    /// ([`super::username::canonical`]): the gateway vouches for it, or an issuer that is
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
    pub named: Option<NamedRoles>,
}

/// What a token of OSMO's says beside who it is. It names roles of the platform, and no others count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedRoles {
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
