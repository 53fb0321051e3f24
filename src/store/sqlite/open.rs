//! Opening the file: rights, SQLite's `-wal` and `-shm` files, and who may create what.
//!
//! The store is in WAL mode, and gateways read it under another account that can write neither
//! the file nor its folder. Such an account can only open it while `-wal` and `-shm` exist, since
//! it cannot create them. SQLite's last writer deletes both when it leaves. So a writer here never
//! checkpoints on close (which is what deletes them) but after each commit, which empties the
//! `-wal` and leaves it where it is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::M;

use super::error::{StoreError, StoreErrorKind, io, sql};
use super::files::StorePath;
use super::schema::{Identity, identify, migrate};

/// Owner reads and writes, group reads. `-wal` and `-shm` take their mode and owner from the
/// store's file (SQLite does that).
const FILE_MODE: u32 = 0o640;

/// Every page of a commit costs a few calls of the system, in the log and in the file: a quarter as
/// many as with SQLite's 4096 bytes, for a few kilobytes more where one row changes.
const PAGE_SIZE: i64 = 16_384;

/// How long to wait for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// What a writer keeps of the file in memory at most, in SQLite's way of saying KiB.
const CACHE: i64 = -65_536;

/// The same from one change to the next.
const RESTING_CACHE: i64 = -4_096;

/// What an unlocked reader watches, to notice a writer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Still {
    file: (u64, u64, u64, i64, i64),
    wal: u64,
}

/// What somebody who reads keeps of the file in memory at most, in KiB (negative, as SQLite has it): an index
/// over hundreds of thousands of people, that the members of a group are looked up in.
const READ_CACHE: i64 = -16_384;

/// From now on `conn` is read by, and keeps no more of the file than what reads does.
pub(super) fn reads(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "cache_size", READ_CACHE)
}

/// From now on `conn`, which was opened for writing, writes.
pub(super) fn writes(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "cache_size", CACHE)
}

/// `conn`, which was opened for writing, lets go of what is more than that until it is used again.
pub(super) fn rests(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "cache_size", RESTING_CACHE)
}

/// So many statements are kept prepared by a connection: all that one change needs, since to prepare one
/// costs more than to find a row.
const STATEMENTS: usize = 256;

/// A read-only connection.
pub(super) struct ReadConnection {
    /// Absent once it was taken out for another use.
    pub(super) conn: Option<Connection>,
    pub(super) place: StorePath,
    /// Present where the file is read without locks; then it must not change meanwhile.
    pub(super) still: Option<Still>,
}

impl ReadConnection {
    /// The connection.
    ///
    /// # Errors
    /// It was taken out.
    pub(super) fn conn(&self) -> Result<&Connection, StoreError> {
        self.conn.as_ref().ok_or_else(|| {
            let shown = self.place.shown.display();
            StoreError::new(
                StoreErrorKind::Other,
                format!("nothing reads the store `{shown}` any more"),
            )
        })
    }
}

/// The path holds no link when it is given to SQLite: one that appears later is not followed.
const OPEN: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX.union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

/// How the file stands now. Only ever `stat`, never `open`: closing any descriptor of the file
/// would drop the locks that SQLite holds on it in this process (POSIX locks belong to the
/// process).
pub(super) fn still(place: &StorePath) -> Result<Still, StoreError> {
    let meta =
        fs::symlink_metadata(&place.real).map_err(|error| io("look at", &place.shown, &error))?;
    let file = (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    Ok(Still { file, wal: place.side("-wal")?.unwrap_or(0) })
}

/// Opens the store read-only, creating nothing. `None`: there is no store yet. Also tells what the
/// file is; anything but a store is an error.
pub(super) fn open_read(
    path: &Path,
    known: i64,
) -> Result<Option<(ReadConnection, i64)>, StoreError> {
    let Some(place) = StorePath::existing(path)? else { return Ok(None) };
    let _acting = place.act()?;
    match place.file()? {
        Some(meta) if meta.len() > 0 => {}
        _ => return Ok(None),
    }
    let (wal, shm) = (place.side("-wal")?, place.side("-shm")?);
    let immutable = match (wal, shm) {
        (Some(_), Some(_)) => false,
        // Nothing is in the log, so nobody has it open and the file alone is the whole store
        // (somebody copied it, or another program deleted the log). Opening it the usual way would
        // create both files. `still` notices a writer that comes meanwhile.
        (None | Some(0), _) => true,
        (Some(_), None) => {
            return Err(StoreError::new(
                StoreErrorKind::Denied,
                format!(
                    "the store `{}` has a `-wal` file with content and no `-shm` file: it was \
                     copied while in use; run `idpsyncd sync` once to recover it, or copy all \
                     three files",
                    path.display()
                ),
            ));
        }
    };
    let before = if immutable { Some(still(&place)?) } else { None };
    let told = |error: rusqlite::Error| place.whose(sql(&error, &path.display()));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OPEN;
    let conn = if immutable {
        Connection::open_with_flags(uri(&place.real), flags | OpenFlags::SQLITE_OPEN_URI)
    } else {
        Connection::open_with_flags(&place.real, flags)
    }
    .map_err(told)?;
    let read = ReadConnection { conn: Some(conn), place: place.clone(), still: before };
    let conn = read.conn()?;
    let setup = || -> rusqlite::Result<()> {
        #[cfg(test)]
        super::steps::watch(conn)?;
        conn.busy_timeout(BUSY)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.pragma_update(None, "query_only", true)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        reads(conn)
    };
    setup().map_err(told)?;
    match identify(conn, path, known).map_err(|error| place.whose(error))? {
        Identity::Fresh => Ok(None),
        Identity::Ours(version) => Ok(Some((read, version))),
    }
}

/// An `immutable` URI of an absolute path (<https://www.sqlite.org/uri.html>).
fn uri(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri.push_str("?immutable=1");
    uri
}

impl Drop for ReadConnection {
    fn drop(&mut self) {
        if self.still.is_none() {
            return;
        }
        // Closing a descriptor of the file drops the locks that this process's writer may have
        // taken on it since, and SQLite guards against that only among connections that lock. So
        // this descriptor stays open: one, in the rare case of a store without a log.
        std::mem::forget(self.conn.take());
    }
}

/// Opens the store for writing, creates and migrates it where needed.
pub(super) fn open_write(
    path: &Path,
    steps: &'static [M<'static>],
) -> Result<(Connection, StorePath), StoreError> {
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let place = StorePath::of(path)?;
    let _acting = place.act()?;
    place.sound()?;
    // What is not ours, or newer, is refused before anything could alter it. Only a log without
    // its index cannot be looked at that way; opening it for writing does not alter the file.
    match open_read(path, known) {
        Ok(_) => {}
        Err(error) if orphaned_log(&place) => {
            tracing::debug!(%error, "recovering the store's log");
        }
        Err(error) => return Err(place.whose(error)),
    }
    place.make(FILE_MODE)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OPEN;
    let told = |error: rusqlite::Error| place.whose(sql(&error, &path.display()));
    let mut conn = Connection::open_with_flags(&place.real, flags).map_err(told)?;
    let denied = |why: &str| {
        place.whose(StoreError::new(
            StoreErrorKind::Denied,
            format!(
                "cannot write the store `{}`: {why}; this account needs write access to the file \
                 and its folder, on a writable file system",
                path.display()
            ),
        ))
    };
    // SQLite falls back to reading where it may not write.
    if conn.is_readonly("main").map_err(told)? {
        return Err(denied("it is read-only here"));
    }
    conn.busy_timeout(BUSY).map_err(told)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(told)?;
    identify(&conn, path, known)?;
    let setup = |conn: &Connection| -> rusqlite::Result<String> {
        // Only a file that is still empty takes it.
        conn.pragma_update(None, "page_size", PAGE_SIZE)?;
        let mode = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        // In WAL mode FULL is what makes a commit survive a power cut.
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.pragma_update(None, "foreign_keys", false)?;
        conn.pragma_update(None, "cache_size", CACHE)?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        #[cfg(test)]
        super::steps::watch(conn)?;
        Ok(mode)
    };
    let mode = setup(&conn).map_err(told)?;
    if mode != "wal" {
        return Err(denied("its file system cannot hold a write-ahead log (a network share?)"));
    }
    migrate(&mut conn, steps, path)?;
    checkpoint(&conn);
    Ok((conn, place))
}

fn orphaned_log(place: &StorePath) -> bool {
    matches!((place.side("-wal"), place.side("-shm")), (Ok(Some(1..)), Ok(None)))
}

/// Moves the log's content into the file and empties the log. The commit is safe in the log
/// already: where a reader is in the way, or the disk full, a later commit does it.
pub(super) fn checkpoint(conn: &Connection) {
    let patience = |time| conn.busy_timeout(time);
    let done = patience(Duration::from_millis(200)).and_then(|()| {
        let mut statement = conn.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?;
        statement.query_row([], |row| row.get::<_, i64>(0))
    });
    let restored = patience(BUSY);
    match done.and_then(|busy| restored.map(|()| busy)) {
        Ok(0) => {}
        Ok(_) => tracing::debug!("a reader keeps the store's log from being emptied"),
        Err(error) => tracing::warn!(%error, "cannot empty the store's log; the commit is safe"),
    }
}
