//! What can go wrong inside, before anybody knows which store it was about.

use std::fmt::Display;

use super::db::DbError;
use crate::model::{Inconsistent, TooMany};
pub(super) use crate::store::error::{CommitError, Mismatch, StoreError, StoreErrorKind};
use crate::store::postgres::session::SessionError;
use crate::store::{Contradiction, sqlite};

/// What happens inside, before anybody knows which file it was about.
#[derive(Debug)]
pub(in crate::store) enum Fault {
    Sql(DbError),
    Store(StoreError),
    Damaged(String),
    Mismatch(Mismatch),
    /// What people are found by is still that of an older program.
    Names,
    Raced,
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Self {
        Fault::Sql(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error.into())
    }
}

impl From<SessionError> for Fault {
    fn from(error: SessionError) -> Self {
        Fault::Sql(error.into())
    }
}

impl From<Contradiction> for Fault {
    fn from(what: Contradiction) -> Self {
        Fault::Damaged(what.to_string())
    }
}

impl From<Mismatch> for Fault {
    fn from(what: Mismatch) -> Self {
        Fault::Mismatch(what)
    }
}

/// Rows that say what no state can be.
impl From<Inconsistent> for Fault {
    fn from(what: Inconsistent) -> Self {
        Fault::Damaged(what.to_string())
    }
}

impl From<TooMany> for Fault {
    fn from(what: TooMany) -> Self {
        Inconsistent::from(what).into()
    }
}

impl Fault {
    /// As what a reader or an opener reports.
    pub(in crate::store) fn store(self, shown: &dyn Display) -> StoreError {
        match self {
            Fault::Sql(DbError::Sqlite(error)) => sqlite::error::sql(&error, shown),
            Fault::Sql(DbError::Postgres(error)) => error.store(shown),
            Fault::Sql(error) => StoreError::new(
                StoreErrorKind::Other,
                format!("cannot use the store `{shown}`: {error}"),
            ),
            Fault::Store(error) => error,
            Fault::Damaged(what) => StoreError::new(
                StoreErrorKind::Damaged,
                format!(
                    "the store `{shown}` is damaged: {what}; restore it from a backup, or move it away and sync anew"
                ),
            ),
            Fault::Mismatch(what) => StoreError::new(
                StoreErrorKind::Damaged,
                format!("the store `{shown}` contradicts itself: {what}"),
            ),
            Fault::Names => StoreError::new(
                StoreErrorKind::Older,
                format!(
                    "the store `{shown}` does not have yet what this idpsyncd finds people by: run \
                     `idpsyncd sync` once, which adds it"
                ),
            ),
            Fault::Raced => StoreError::new(
                StoreErrorKind::Busy,
                format!("the store `{shown}` changed while it was being read: run it again"),
            ),
        }
    }

    /// As what a commit reports.
    pub(in crate::store) fn commit(self, shown: &dyn Display) -> CommitError {
        match self {
            Fault::Mismatch(what) => CommitError::Inconsistent(what),
            Fault::Raced => CommitError::Raced,
            fault => CommitError::Store(fault.store(shown)),
        }
    }
}
