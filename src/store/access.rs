//! Who effectively held what at some generation.

use std::rc::Rc;

use super::StoreError;
use crate::model::{LocalGrant, Time, UserId, rfc3339};
use crate::plan::and_more;

/// When somebody began to hold a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Began {
    /// In this generation; without a gap ever since.
    In(Generation),
    /// In this one or before: what was before it was not kept.
    Before(Generation),
}

/// The ways in which a grant came, in words, the shortest first; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ways(pub(super) Vec<Rc<str>>);

impl Ways {
    /// The shortest, and how many more there are.
    #[must_use]
    pub fn shortest(&self) -> String {
        match self.0.as_slice() {
            [] => String::new(),
            [only] => only.to_string(),
            [first, rest @ ..] => and_more(first, rest.len()),
        }
    }

    /// Every one.
    #[must_use]
    pub fn all(&self) -> String {
        self.0.join("; ")
    }
}

/// Somebody effectively holds a role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The store's number of the person.
    pub user_id: UserId,
    /// What the person was called then.
    pub user: Rc<str>,
    /// The role.
    pub role: Rc<str>,
    /// Since when, without a gap.
    pub since: Began,
    /// Everyone who is enabled holds the role.
    pub everyone: bool,
    /// The ways in which identity providers give it; absent: none does.
    pub idp: Option<Ways>,
    /// The story of a grant by hand.
    pub local: Option<LocalGrant>,
    /// The person is a service account.
    pub service: bool,
}

/// Whose access is wanted, and to what. Empty: all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessFilter {
    /// Of those who were called so.
    pub user: Option<String>,
    /// Of this role.
    pub role: Option<String>,
}

/// What became of a pair of user and role between two generations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessChange {
    /// It was not there at the first.
    Added(Access),
    /// It is not there at the second: as it was.
    Removed(Access),
    /// It is held otherwise: since another time, for other reasons, under another name.
    Changed {
        /// At the first generation.
        was: Access,
        /// At the second.
        is: Access,
    },
}

/// Which state is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// That of this generation.
    Generation(u64),
    /// The one that stood at this moment.
    Time(Time),
}

/// A committed state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generation {
    /// Its number.
    pub num: u64,
    /// When it was committed.
    pub at: Time,
}

/// Why nothing can be said of a state.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// Nothing was ever committed.
    #[error("the store has no generation yet: run `idpsyncd sync` first")]
    None,
    /// No generation has this number.
    #[error("there is no generation {asked}: the store has {} to {}", .first.num, .last.num)]
    NotThere {
        /// What was asked for.
        asked: u64,
        /// The first there is.
        first: Generation,
        /// The last there is.
        last: Generation,
    },
    /// Before the first one.
    #[error(
        "nothing is known of {}: generation {}, the first, was committed at {}", rfc3339(*.asked),
        .first.num, rfc3339(.first.at)
    )]
    Before {
        /// What was asked for.
        asked: Time,
        /// The first there is.
        first: Generation,
    },
    /// Not yet.
    #[error("{} is still to come: what will be then is not known", rfc3339(*.0))]
    ToCome(Time),
    /// What people held then was not kept.
    #[error(
        "who held what at generation {asked} is not known: the store has kept it since generation \
         {}, committed at {}, when an older idpsyncd's store was migrated; `idpsyncd history` has \
         the changes before", .from.num, rfc3339(.from.at)
    )]
    NotKept {
        /// What was asked for, or led to.
        asked: u64,
        /// Since when it is kept.
        from: Generation,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
