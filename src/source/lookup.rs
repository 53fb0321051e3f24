//! Asking about one person.
//!
//! What comes back is about that person alone: who they are there, and what they are directly in.
//! What groups and roles there are, and what those lead to, is the mirror's business. A look-up
//! can only add, so what it cannot see is no danger; what it must never do is take an answer that
//! nobody can believe for "there is nobody".

use crate::config::UsernameFrom;
use crate::directory::Sighting;
use crate::model::username;

/// Who is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// Whoever has this stable external id in the source, whatever they are called.
    Id(String),
    /// Whoever bears this name.
    Named(Named),
}

/// Someone of whom a name is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// The username in its canonical form ([`username::canonical`]).
    pub username: String,
    /// Which of a person's names that is.
    pub by: UsernameFrom,
}

impl Named {
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
    /// There is certainly nobody of that id or name.
    Nobody,
    /// More than one person comes to that name: nobody can tell which is meant.
    Several,
}
