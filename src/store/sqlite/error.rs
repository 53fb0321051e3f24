//! What can go wrong with the store, in words for people.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::model::{Inconsistent, TooMany};
use crate::store::Contradiction;
pub(super) use crate::store::error::{CommitError, StoreError, StoreErrorKind};

/// What happens inside, before anybody knows which file it was about.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Store(StoreError),
    Damaged(String),
    Inconsistent(String),
    /// What people are found by is still that of an older program.
    Names,
    Raced,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sql(error)
    }
}

impl From<Contradiction> for Fault {
    fn from(what: Contradiction) -> Self {
        Fault::Damaged(what.to_string())
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
    pub(super) fn store(self, path: &Path) -> StoreError {
        let shown = path.display();
        match self {
            Fault::Sql(error) => sql(&error, path),
            Fault::Store(error) => error,
            Fault::Damaged(what) => StoreError::new(
                StoreErrorKind::Damaged,
                format!(
                    "the store `{shown}` is damaged: {what}; restore it from a backup, or move it away and sync anew"
                ),
            ),
            Fault::Inconsistent(what) => StoreError::new(
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
    pub(super) fn commit(self, path: &Path) -> CommitError {
        match self {
            Fault::Inconsistent(what) => CommitError::Inconsistent(what),
            Fault::Raced => CommitError::Raced,
            fault => CommitError::Store(fault.store(path)),
        }
    }
}

/// `SQLITE_IOERR_SHMSIZE` (<https://www.sqlite.org/rescode.html#ioerr_shmsize>).
const SHM_SIZE: i32 = 4874;

/// SQLite's fault in words. `path` is the store's file.
pub(super) fn sql(error: &rusqlite::Error, path: &Path) -> StoreError {
    let shown = path.display();
    let full = || {
        let message = format!(
            "cannot write the store `{shown}`: the disk is full; nothing was changed, free some \
             space and run it again"
        );
        (StoreErrorKind::Full, message)
    };
    let extended = error.sqlite_error().map_or(0, |error| error.extended_code);
    let (kind, message) = match error.sqlite_error_code() {
        // The log's index has no room: SQLite calls that an I/O error.
        Some(ErrorCode::SystemIoFailure) if extended == SHM_SIZE => full(),
        Some(ErrorCode::DiskFull) => full(),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            StoreErrorKind::Denied,
            format!(
                "cannot write the store `{shown}`: {error}; this account needs write access to the file and its folder, on a writable file system"
            ),
        ),
        Some(ErrorCode::CannotOpen) => (
            StoreErrorKind::Denied,
            format!(
                "cannot open the store `{shown}`: {error}; this account needs access to the file, its `-wal` and `-shm` files and their folder"
            ),
        ),
        Some(ErrorCode::NotADatabase) => (
            StoreErrorKind::NotOurs,
            format!(
                "`{shown}` is not a store of idpsyncd (not an SQLite database): it was left alone, set `store.path` to another file"
            ),
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            StoreErrorKind::Busy,
            format!("the store `{shown}` is being written by another process: try again"),
        ),
        Some(ErrorCode::DatabaseCorrupt) => (
            StoreErrorKind::Damaged,
            format!(
                "the store `{shown}` is damaged: {error}; restore it from a backup, or move it away and sync anew"
            ),
        ),
        Some(ErrorCode::SystemIoFailure) => (
            StoreErrorKind::Other,
            format!(
                "cannot use the store `{shown}`: {error}; nothing was changed, look at the disk and the system's log"
            ),
        ),
        _ => (StoreErrorKind::Other, format!("cannot use the store `{shown}`: {error}")),
    };
    StoreError::new(kind, message)
}

/// An operating-system fault while `doing` something (such as `create`) to the store's file.
pub(super) fn io(doing: &str, path: &Path, error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    let shown = path.display();
    let (kind, next) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (StoreErrorKind::Full, "; free some space and run it again")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => (
            StoreErrorKind::Denied,
            "; this account needs access to the file and its folder, on a writable file system",
        ),
        _ => (StoreErrorKind::Other, ""),
    };
    StoreError::new(kind, format!("cannot {doing} `{shown}`: {error}{next}"))
}
