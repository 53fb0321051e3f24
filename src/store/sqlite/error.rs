//! What can go wrong with the store, in words for people.

use std::fmt::Display;

use rusqlite::ErrorCode;

pub(super) use crate::store::error::{StoreError, StoreErrorKind};
pub(super) use crate::store::sql::Fault;

/// `SQLITE_IOERR_SHMSIZE` (<https://www.sqlite.org/rescode.html#ioerr_shmsize>).
const SHM_SIZE: i32 = 4874;

/// SQLite's fault in words. `shown` is the store's file.
pub(in crate::store) fn sql(error: &rusqlite::Error, shown: &dyn Display) -> StoreError {
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
pub(super) fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> StoreError {
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
