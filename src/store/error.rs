//! What can go wrong with a store, in words for people.

use super::SetKey;
use crate::model::TooMany;

/// What kind of fault it was, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreErrorKind {
    /// There is no store yet, or nothing in it: only a sync makes one.
    Absent,
    /// The store's folder does not exist.
    NoFolder,
    /// The file is not a store of this program.
    NotOurs,
    /// The store was written by a newer program.
    Newer,
    /// The store was written by an older program, and a reader cannot migrate it.
    Older,
    /// No room on the disk.
    Full,
    /// Rights are missing, or the file system is read-only.
    Denied,
    /// Another process is writing.
    Busy,
    /// The content contradicts itself.
    Damaged,
    /// Anything else.
    Other,
}

/// A store that cannot be opened, read or written. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// For programs.
    pub kind: StoreErrorKind,
    /// What was tried, on what, why it failed, what to do next. One line.
    pub message: String,
}

impl StoreError {
    /// There is no store at `shown`.
    pub(super) fn absent(shown: impl std::fmt::Display) -> Self {
        let message = format!("there is no store `{shown}` yet: run `idpsyncd sync` first");
        StoreError::new(StoreErrorKind::Absent, message)
    }

    pub(super) fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        StoreError { kind, message: message.into() }
    }
}

/// What whoever reads a store finds that it says against itself.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Contradiction {
    /// A set has a role of a name that no role has.
    #[error("a role set has the role `{0}`, which does not exist")]
    SetOfUnknownRole(String),
    /// A user has a set that is not there.
    #[error("a user has the unknown role set {0}")]
    UserOfUnknownSet(SetKey),
    /// A token has a set that is not there.
    #[error("an access token of `{owner}` has the unknown role set {set}")]
    TokenOfUnknownSet {
        /// Whose token.
        owner: String,
        /// Its set.
        set: SetKey,
    },
    /// A token belongs to nobody.
    #[error("an access token is of `{owner}`, whom nobody knows")]
    TokenOfNobody {
        /// What its owner is called.
        owner: String,
    },
    /// Names of tokens are longer than any.
    #[error("the names of access tokens are too long")]
    TokenNames,
    /// A read came to no end.
    #[error("it was not read")]
    NotRead,
    /// There is more of something than can be numbered.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Why a commit did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else wrote since the plan was made: read again, plan again.
    #[error("the store changed while the plan was made: nothing was applied, run it again")]
    Raced,
    /// The plan does not fit the store's content: a fault of this program, refused before harm.
    #[error("the plan does not fit the store: {0}; nothing was applied")]
    Inconsistent(String),
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another idpsyncd works on the store `{store}`: {holder}; wait for it to end")]
    Held {
        /// The store.
        store: String,
        /// Who: process id, command, since when.
        holder: String,
    },
    /// The lock's file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}
