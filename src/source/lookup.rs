//! Asking about one person.
//!
//! What comes back is about that person alone: who they are there, and what they are directly in.
//! What groups and roles there are, and what those lead to, is the mirror's business. A look-up
//! can only add, so what it cannot see is no danger; what it must never do is take an answer that
//! nobody can believe for "there is nobody".

use super::directory::{Enabled, Kind};
use crate::config::UsernameFrom;
use crate::model::username;

/// Who is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who {
    /// The username in its canonical form ([`username::canonical`]).
    pub username: String,
    /// Which of a person's names that is.
    pub by: UsernameFrom,
    /// The person's stable external id in this source, where a token that the source itself
    /// issued tells it.
    pub subject: Option<String>,
}

impl Who {
    /// Whether a person with this username and email address bears the name that is asked for.
    #[must_use]
    pub fn is(&self, username: &str, email: &str) -> bool {
        let name = match self.by {
            UsernameFrom::Username => username,
            UsernameFrom::Email => email,
        };
        username::canonical(name).is_ok_and(|name| name == self.username)
    }
}

/// What a source said about one person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Looked {
    /// There is exactly one such person.
    Found(Box<Sighting>),
    /// There is certainly nobody of that name (and id).
    Nobody,
    /// More than one person comes to that name: nobody can tell which is meant.
    Several,
}

/// One person as a source shows them now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sighting {
    /// Stable external id.
    pub ext: String,
    /// Username as the source spells it.
    pub username: String,
    /// Email address, or empty.
    pub email: String,
    /// Whether the source vouches for it.
    pub email_verified: bool,
    /// Whether the account is enabled. [`Enabled::Unknown`]: what the source says of that cannot
    /// be believed now.
    pub enabled: Enabled,
    /// Keycloak's federation link, or empty.
    pub federation: String,
    /// What the person is directly in. Sorted, distinct.
    pub within: Vec<Within>,
}

/// Something that a person is directly in, by what the mirror knows it by.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub struct Within {
    /// What kind of thing.
    pub kind: Kind,
    /// Its stable external id: [`super::Container::key`].
    pub key: String,
    /// Its name as it is now: where the mirror has another one for this key, what the rules would
    /// make of it is not known. Absent where the source does not tell.
    pub name: Option<String>,
}

impl Sighting {
    /// Puts `within` in order.
    pub fn sort(&mut self) {
        self.within.sort();
        self.within.dedup();
    }
}
