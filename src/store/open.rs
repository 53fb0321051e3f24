//! Opening the file: rights, SQLite's `-wal` and `-shm` files, and who may create what.
//!
//! The store is in WAL mode, and gateways read it under another account that can write neither
//! the file nor its folder. Such an account can only open it while `-wal` and `-shm` exist, since
//! it cannot create them. SQLite's last writer deletes both when it leaves. So a writer here never
//! checkpoints on close (which is what deletes them) but after each commit, which empties the
//! `-wal` and leaves it where it is.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::M;

use super::error::{StoreError, StoreErrorKind, io, sql};
use super::schema::{Identity, identify, migrate};

/// Owner reads and writes, group reads.
const FILE_MODE: u32 = 0o640;

/// How long to wait for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// What an unlocked reader watches, to notice a writer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Still {
    file: (u64, u64, u64, i64, i64),
    wal: u64,
}

/// A read-only connection.
pub(super) struct ReadConnection {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    /// Present where the file is read without locks; then it must not change meanwhile.
    pub(super) still: Option<Still>,
}

/// `path` with `suffix` added to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn size(path: &Path) -> Result<Option<u64>, StoreError> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("look at", path, &error)),
    }
}

/// How the file stands now.
pub(super) fn still(path: &Path) -> Result<Still, StoreError> {
    let meta = fs::metadata(path).map_err(|error| io("look at", path, &error))?;
    let file = (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec());
    Ok(Still { file, wal: size(&beside(path, "-wal"))?.unwrap_or(0) })
}

/// The file itself, behind symbolic links: SQLite puts `-wal` and `-shm` beside that one.
fn resolve(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("open the store", path, &error)),
    };
    // Only ever `stat`, never `open`: closing any descriptor of the file would drop the locks
    // that SQLite holds on it in this process (POSIX locks belong to the process).
    let meta = fs::metadata(&real).map_err(|error| io("open the store", path, &error))?;
    if !meta.is_file() {
        return Err(StoreError::new(
            StoreErrorKind::NotOurs,
            format!("the store `{}` is not a file: set `store.path` to a file", path.display()),
        ));
    }
    Ok(Some(real))
}

/// Opens the store read-only, creating nothing. `None`: there is no store yet. Also tells what the
/// file is; anything but a store is an error.
pub(super) fn open_read(
    path: &Path,
    known: i64,
) -> Result<Option<(ReadConnection, i64)>, StoreError> {
    let Some(real) = resolve(path)? else { return Ok(None) };
    if size(&real)? == Some(0) {
        return Ok(None);
    }
    let wal = size(&beside(&real, "-wal"))?;
    let shm = size(&beside(&real, "-shm"))?;
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
    let before = if immutable { Some(still(&real)?) } else { None };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = if immutable {
        Connection::open_with_flags(uri(&real), flags | OpenFlags::SQLITE_OPEN_URI)
    } else {
        Connection::open_with_flags(&real, flags)
    }
    .map_err(|error| sql(&error, path))?;
    let read = ReadConnection { conn, path: path.to_owned(), still: before };
    let setup = || -> rusqlite::Result<()> {
        read.conn.busy_timeout(BUSY)?;
        read.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        read.conn.pragma_update(None, "query_only", true)?;
        Ok(())
    };
    setup().map_err(|error| sql(&error, path))?;
    match identify(&read.conn, path, known)? {
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
        // this descriptor stays open: one, in the rare case of a store without a log. The
        // connection left in its place is on no file.
        if let Ok(nothing) = Connection::open_in_memory() {
            std::mem::forget(std::mem::replace(&mut self.conn, nothing));
        }
    }
}

/// Opens the store for writing, creates and migrates it where needed.
pub(super) fn open_write(
    path: &Path,
    steps: &'static [M<'static>],
) -> Result<Connection, StoreError> {
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    // What is not ours, or newer, is refused before anything could alter it. Only a log without
    // its index cannot be looked at that way; opening it for writing does not alter the file.
    match open_read(path, known) {
        Ok(_) => {}
        Err(error) if resolve(path)?.is_some_and(|real| orphaned_log(&real)) => {
            tracing::debug!(%error, "recovering the store's log");
        }
        Err(error) => return Err(error),
    }
    create(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let real = resolve(path)?.unwrap_or_else(|| path.to_owned());
    let mut conn = Connection::open_with_flags(&real, flags).map_err(|error| sql(&error, path))?;
    let denied = |why: &str| {
        StoreError::new(
            StoreErrorKind::Denied,
            format!(
                "cannot write the store `{}`: {why}; this account needs write access to the file \
                 and its folder, on a writable file system",
                path.display()
            ),
        )
    };
    // SQLite falls back to reading where it may not write.
    if conn.is_readonly("main").map_err(|error| sql(&error, path))? {
        return Err(denied("it is read-only here"));
    }
    conn.busy_timeout(BUSY).map_err(|error| sql(&error, path))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(|error| sql(&error, path))?;
    identify(&conn, path, known)?;
    let setup = |conn: &Connection| -> rusqlite::Result<String> {
        let mode = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        // In WAL mode FULL is what makes a commit survive a power cut.
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.pragma_update(None, "foreign_keys", false)?;
        conn.pragma_update(None, "cache_size", -65_536)?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.set_prepared_statement_cache_capacity(64);
        Ok(mode)
    };
    let mode = setup(&conn).map_err(|error| sql(&error, path))?;
    if mode != "wal" {
        return Err(denied("its file system cannot hold a write-ahead log (a network share?)"));
    }
    migrate(&mut conn, steps, path)?;
    checkpoint(&conn);
    Ok(conn)
}

fn orphaned_log(real: &Path) -> bool {
    matches!(size(&beside(real, "-wal")), Ok(Some(1..)))
        && matches!(size(&beside(real, "-shm")), Ok(None))
}

/// The folder of the store, which must exist: it is never made, since its rights are what keeps
/// others out.
pub(super) fn folder(path: &Path) -> Result<fs::Metadata, StoreError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::metadata(folder) {
        Ok(meta) if meta.is_dir() => Ok(meta),
        Ok(_) => Err(StoreError::new(
            StoreErrorKind::NoFolder,
            format!("the store's folder `{}` is not a folder", folder.display()),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::new(
            StoreErrorKind::NoFolder,
            format!(
                "the store's folder `{}` does not exist: create it, writable for this account",
                folder.display()
            ),
        )),
        Err(error) => Err(io("look at the store's folder", folder, &error)),
    }
}

/// Makes the empty file where there is none, with its mode whatever the umask. `-wal` and `-shm`
/// take their mode and owner from it (SQLite does that).
fn create(path: &Path) -> Result<(), StoreError> {
    let home = folder(path)?;
    let made =
        fs::OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path);
    let file = match made {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            // Still empty: its making was cut short, perhaps before it had its mode.
            if size(path)? == Some(0) {
                fs::set_permissions(path, fs::Permissions::from_mode(FILE_MODE))
                    .map_err(|error| io("set the mode of", path, &error))?;
            }
            return Ok(());
        }
        Err(error) => return Err(io("create the store", path, &error)),
    };
    file.set_permissions(fs::Permissions::from_mode(FILE_MODE))
        .map_err(|error| io("set the mode of", path, &error))?;
    give_to(&file, &home);
    Ok(())
}

/// Root's first run in the daemon's folder must not lock the daemon out: what root creates there
/// belongs to the folder's owner. Anybody else cannot give files away, and need not.
pub(super) fn give_to(file: &fs::File, folder: &fs::Metadata) {
    let Ok(meta) = file.metadata() else { return };
    if meta.uid() == 0
        && folder.uid() != 0
        && let Err(error) = std::os::unix::fs::fchown(file, Some(folder.uid()), Some(folder.gid()))
    {
        tracing::debug!(%error, "the store's file stays root's");
    }
}

/// Moves the log's content into the file and empties the log. The commit is safe in the log
/// already: where a reader is in the way, or the disk full, a later commit does it.
pub(super) fn checkpoint(conn: &Connection) {
    let patience = |time| conn.busy_timeout(time);
    let done = patience(Duration::from_millis(200)).and_then(|()| {
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
    });
    let restored = patience(BUSY);
    match done.and_then(|busy| restored.map(|()| busy)) {
        Ok(0) => {}
        Ok(_) => tracing::debug!("a reader keeps the store's log from being emptied"),
        Err(error) => tracing::warn!(%error, "cannot empty the store's log; the commit is safe"),
    }
}
