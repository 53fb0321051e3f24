//! Connections that are kept from one use to the next: to open one costs more than a small change does.
//!
//! One is used again only where the store's files are, byte for byte as far as the file system tells,
//! what its last use left. Whatever else happened to them since (another process's commit, an
//! administrator's `mv` or `cp`, a log that was deleted) is looked at by opening the store anew.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::error::StoreError;
use super::files::StorePath;

/// A connection that nobody uses just now, if there is one.
pub(super) struct Kept<C> {
    idle: Mutex<Option<Idle<C>>>,
}

struct Idle<C> {
    connection: C,
    place: StorePath,
    left: Footprint,
}

impl<C> Default for Kept<C> {
    fn default() -> Self {
        Kept { idle: Mutex::new(None) }
    }
}

impl<C> std::fmt::Debug for Kept<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl<C> Kept<C> {
    /// The connection that was kept, where the store at `path` is still what it left. Opening it anew
    /// says what is wrong with one that cannot be looked at.
    pub(super) fn take(&self, path: &Path) -> Option<C> {
        let Idle { connection, place, left } = self.replace(None)?;
        match now(path) {
            Ok(Some(now)) if now == (place, left) => Some(connection),
            _ => None,
        }
    }

    /// Keeps `connection`, which committed last and has no transaction open, for the next use.
    pub(super) fn keep(&self, path: &Path, connection: C) {
        if let Ok(Some((place, left))) = now(path) {
            drop(self.replace(Some(Idle { connection, place, left })));
        }
    }

    /// Whether one is kept that could be used.
    #[cfg(test)]
    pub(super) fn keeps(&self, path: &Path) -> bool {
        let connection = self.take(path);
        let keeps = connection.is_some();
        connection.into_iter().for_each(|connection| self.keep(path, connection));
        keeps
    }

    fn replace(&self, with: Option<Idle<C>>) -> Option<Idle<C>> {
        std::mem::replace(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner), with)
    }
}

/// Where the store at `path` is, and how its files stand.
fn now(path: &Path) -> Result<Option<(StorePath, Footprint)>, StoreError> {
    let Some(place) = StorePath::existing(path)? else { return Ok(None) };
    let footprint = Footprint::at(&place)?;
    Ok(footprint.map(|footprint| (place, footprint)))
}

/// What tells a store's files from others, and from themselves after a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Footprint {
    file: (u64, u64),
    content: (u64, i64, i64, i64, i64),
    /// Which it is, its size, and when it was written: a log that could not be emptied is begun anew
    /// in its old size.
    log: Option<(u64, u64, i64, i64)>,
    index: Option<u64>,
}

impl Footprint {
    /// The footprint of the store at `path` now. `None`: there is no file.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub(super) fn of(path: &Path) -> Result<Option<Footprint>, StoreError> {
        Ok(now(path)?.map(|(_, footprint)| footprint))
    }

    fn at(place: &StorePath) -> Result<Option<Footprint>, StoreError> {
        let _acting = place.act()?;
        let Some(meta) = place.file()? else { return Ok(None) };
        let log = place.side_file("-wal")?;
        Ok(Some(Footprint {
            file: (meta.dev(), meta.ino()),
            content: (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()),
            log: log.map(|log| (log.ino(), log.len(), log.mtime(), log.mtime_nsec())),
            index: place.side_file("-shm")?.map(|index| index.ino()),
        }))
    }

    /// Whether both are of one file, changed or not.
    pub(super) fn same_file(&self, other: &Footprint) -> bool {
        self.file == other.file
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rusqlite::Connection;

    use super::Footprint;
    use crate::model::Time;
    use crate::store::Store;
    use crate::store::sqlite::SqliteStore;
    use crate::store::sqlite::reader::SqliteReader;
    use crate::store::sqlite::writer::SqliteWriter;

    const ISSUER: &str = "https://issuer.example.org";

    /// Commits `keys` by `store`.
    fn keep(store: &SqliteStore, keys: &str) {
        store.keep_keys(ISSUER, keys, Time::UNIX_EPOCH).unwrap();
    }

    /// What the store at `path` has, as whoever opens it finds it.
    fn found(path: &std::path::Path) -> Option<String> {
        SqliteReader::open(path).unwrap().unwrap().keys(ISSUER).unwrap()
    }

    #[test]
    fn a_connection_is_used_again_until_the_files_are_others() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("store.db"), folder.path().join("away.db"));
        let beside = |suffix: &str| folder.path().join(format!("store.db{suffix}"));
        let store = SqliteStore::new(path.clone());
        store.prepare().unwrap();
        assert!(!store.keeps(), "it has committed nothing");
        keep(&store, "1");
        assert!(store.keeps());
        keep(&store, "2");
        assert_eq!(found(&path).as_deref(), Some("2"));

        // Another process commits.
        let mut other = SqliteWriter::open(&path).unwrap();
        other.keep_keys(ISSUER, "another's", Time::UNIX_EPOCH).unwrap();
        drop(other);
        assert!(!store.keeps());
        keep(&store, "3");
        assert_eq!(found(&path).as_deref(), Some("3"));

        // Its log is deleted: what would be written into that is lost.
        assert!(store.keeps());
        std::fs::remove_file(beside("-wal")).unwrap();
        std::fs::remove_file(beside("-shm")).unwrap();
        assert!(!store.keeps());
        keep(&store, "4");
        assert_eq!(found(&path).as_deref(), Some("4"));

        // Another store is moved, then copied, to its place; the old one is left alone.
        let another = folder.path().join("another.db");
        keep(&store_at(&another), "moved here");
        let copied = std::fs::read(&another).unwrap();
        std::fs::rename(&path, &away).unwrap();
        std::fs::rename(&another, &path).unwrap();
        keep(&store, "5");
        assert_eq!(found(&path).as_deref(), Some("5"));
        std::fs::write(&path, copied).unwrap();
        assert!(!store.keeps());
        assert_eq!(found(&path).as_deref(), Some("moved here"));
        keep(&store, "6");
        assert_eq!(found(&path).as_deref(), Some("6"));
        assert_eq!(found(&away).as_deref(), Some("4"));
    }

    fn store_at(path: &std::path::Path) -> SqliteStore {
        let store = SqliteStore::new(path.to_owned());
        store.prepare().unwrap();
        store
    }

    /// Else a store whose content could not be read would be left alone for ever, though somebody
    /// has mended it.
    #[test]
    fn a_commit_into_a_log_that_is_begun_anew_leaves_another_footprint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        drop(SqliteWriter::open(&path).unwrap());
        let conn = Connection::open(&path).unwrap();
        let write = |version: i64| conn.execute("UPDATE meta SET version = ?1", [version]).unwrap();
        write(1);
        // All of it is in the file now, and the log has its size: as when a reader kept it.
        let kept = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        assert_eq!(conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], kept).unwrap(), 0);
        let log = std::fs::File::options().append(true).open(folder.path().join("store.db-wal"));
        log.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let before = Footprint::of(&path).unwrap().unwrap();
        write(2);
        let after = Footprint::of(&path).unwrap().unwrap();
        assert_eq!((before.content, before.index), (after.content, after.index));
        assert_eq!(before.log.map(|log| log.1), after.log.map(|log| log.1), "in its old size");
        assert_ne!(before, after);
    }
}
