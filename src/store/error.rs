//! What can go wrong with a store, in words for people.

use super::SetKey;
use crate::model::{Inconsistent, RoleSetId, TooMany, UserId};

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

/// How a plan does not fit the store's content, or the content itself: a fault of this program.
#[derive(Debug, thiserror::Error)]
pub enum Mismatch {
    /// The plan speaks of what its own tables have not.
    #[error(transparent)]
    Plan(#[from] Inconsistent),
    /// The plan says for some people what they decide with, and not for all.
    #[error("it has not one role set for each user")]
    UnevenSets,
    /// A role is named that the plan's tables have not.
    #[error("its tables have no role `{0}`")]
    UnplannedRole(String),
    /// A role is to be changed or given that is not there.
    #[error("role `{0}` is not in the store")]
    NoSuchRole(String),
    /// A role is to be made that is there.
    #[error("role `{0}` is in the store already")]
    RoleThere(String),
    /// A role is to be removed that is not there.
    #[error("a removed role (number {0}) is not in the store")]
    NoSuchRemovedRole(i64),
    /// A role is to be removed and would be left with holders.
    #[error("a role is removed that somebody or a token still has")]
    RoleStillHeld,
    /// More people lose a role than had it.
    #[error("a role lost holders it never had")]
    RoleHolders,
    /// Somebody or a token is to lose a role set that is not there.
    #[error("role set {0} is not in the store")]
    NoSuchSet(RoleSetId),
    /// Somebody is to have a role set that the plan does not bring.
    #[error("role set {0} is not among the plan's sets")]
    UnplannedSet(RoleSetId),
    /// More people lose a role set than had it.
    #[error("a role set lost users it never had")]
    SetUsers,
    /// More role sets lose a list of decisions than had it.
    #[error("a list of decisions lost sets it never had")]
    ListSets,
    /// Links' sources are numbered otherwise than the plan has them.
    #[error("source `{0}` has another place in the store")]
    MisplacedSource(String),
    /// A source was read that is not configured.
    #[error("source `{0}` is not among the configured")]
    UnconfiguredSource(String),
    /// Somebody is to be changed who is not there.
    #[error("user {0} is not in the store")]
    NoSuchUser(UserId),
    /// Somebody is to be made who is there.
    #[error("user {0} is in the store already")]
    UserThere(UserId),
    /// Somebody decides with another role set than the plan was made for.
    #[error("user {0} has another role set in the store")]
    OtherSet(UserId),
    /// A link is to go that is not there.
    #[error("user {0} is not known by that external id")]
    NoSuchLink(UserId),
    /// Two people would have one name: a gateway could not tell them apart.
    #[error("two people would be called `{0}`")]
    SameName(String),
    /// A token is to go or to be changed that is not there.
    #[error("user {user} has no token `{name}`")]
    NoSuchToken {
        /// Whose.
        user: UserId,
        /// What it is called.
        name: String,
    },
    /// A token is to lose a role that it does not have.
    #[error("token `{name}` of user {user} has not the role that it loses")]
    NoSuchTokenRole {
        /// Whose.
        user: UserId,
        /// What it is called.
        name: String,
    },
    /// A token decides with another role set than the plan was made for.
    #[error("token `{0}` has another role set in the store")]
    OtherTokenSet(String),
    /// A grant is to go that is not there, or to come that is there.
    #[error("user {user} has no such grant of role number {role} in the store")]
    NoSuchGrant {
        /// Whose.
        user: UserId,
        /// The role's number in the store.
        role: i64,
    },
    /// A reason is to be renewed that is not there.
    #[error("reason {0} is not in the store")]
    NoSuchReason(u32),
    /// A token comes without what it decides with.
    #[error("it makes a token that decides with no role set")]
    TokenWithoutSet,
    /// Something cannot be written down.
    #[error("it cannot be written down: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<TooMany> for Mismatch {
    fn from(what: TooMany) -> Self {
        Mismatch::Plan(what.into())
    }
}

/// Why a commit did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else wrote since the plan was made: read again, plan again.
    #[error("the store changed while the plan was made: nothing was applied, run it again")]
    Raced,
    /// The plan does not fit the store's content: a fault of this program, refused before harm.
    #[error("the plan does not fit the store: {0}; nothing was applied")]
    Inconsistent(#[from] Mismatch),
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
