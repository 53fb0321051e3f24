//! Asking about one person.
//!
//! What comes back is about that person alone: who they are there, and what they are directly in.
//! What groups and roles there are, and what those lead to, is the mirror's business. A look-up
//! can only add, so what it cannot see is no danger; what it must never do is take an answer that
//! nobody can believe for "there is nobody".

use std::fmt;

use crate::directory::{Named, Sighting};

/// Who is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    /// Whoever has this stable external id in the source, whatever they are called.
    Id(String),
    /// Whoever bears this name.
    Named(Named),
}

/// What a source said about one person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Looked {
    /// There is exactly one such person.
    Found(Box<Sighting>),
    /// There is certainly nobody of that id or name.
    Nobody,
    /// There is certainly nobody of that id any more, and this became of them.
    Gone(Gone),
    /// More than one person comes to that name: nobody can tell which is meant.
    Several,
}

/// What became of somebody who is no longer among a source's users.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gone {
    /// They were deleted.
    Deleted,
    /// They are there still, under this name, and not among the users: elsewhere than these, or no
    /// longer of their kind.
    Left(String),
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Deleted => f.write_str("the account was deleted"),
            Gone::Left(name) => write!(
                f,
                "the account is `{}`, which is outside the users' base or filter",
                name.escape_debug()
            ),
        }
    }
}
