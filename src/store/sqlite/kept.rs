//! Connections that are kept from one use to the next: to open one costs more than a small change does.
//!
//! One is used again only where the store's files are, byte for byte as far as the file system tells,
//! what its last use left, or what this program has committed since. Whatever else happened to them since (another process's commit, an
//! administrator's `mv` or `cp`, a log that was deleted) is looked at by opening the store anew.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::files::StorePath;

/// So many that nobody uses are kept: of a daemon, what plans, what a source's feed asks, what tells the
/// status.
const MOST: usize = 3;

/// Connections that nobody uses just now.
pub(super) struct Kept<C> {
    idle: Mutex<Vec<Idle<C>>>,
}

struct Idle<C> {
    connection: C,
    place: StorePath,
    left: Footprint,
}

impl<C> Default for Kept<C> {
    fn default() -> Self {
        Kept { idle: Mutex::new(Vec::new()) }
    }
}

impl<C> std::fmt::Debug for Kept<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl<C> Kept<C> {
    /// A connection that was kept, where the store at `path` is still what its last use left. Opening it
    /// anew says what is wrong with one that cannot be looked at.
    pub(super) fn take(&self, path: &Path) -> Option<(C, Footprint)> {
        let mut idle = std::mem::take(&mut *self.idle());
        if idle.is_empty() {
            return None;
        }
        let now = FilesNow::of(path);
        // Others may have been left before the last commit: they are of no use any more.
        idle.retain(
            |it| matches!(&now, Ok(Some(now)) if (&now.place, &now.files) == (&it.place, &it.left)),
        );
        let taken = idle.pop();
        self.idle().extend(idle);
        taken.map(|taken| (taken.connection, taken.left))
    }

    /// Keeps `connection`, which has no transaction open and of which the store's files are what it knows,
    /// for the next use. They stand like this `now`.
    pub(super) fn keep(&self, now: FilesNow, connection: C) {
        let FilesNow { place, files: left } = now;
        let mut idle = self.idle();
        let oldest = (idle.len() >= MOST).then(|| idle.remove(0));
        idle.push(Idle { connection, place, left });
        // Closed when nobody waits for this any more.
        drop(idle);
        drop(oldest);
    }

    /// What was left as `before` goes on to be of use: this program has committed since, by a connection that
    /// found the files so, and nothing else is known to have happened to them. They stand like this `now`.
    pub(super) fn goes_on(&self, now: &FilesNow, before: &Footprint) {
        for it in self.idle().iter_mut() {
            if it.place == now.place && it.left == *before && now.files.same_files(before) {
                it.left = now.files;
            }
        }
    }

    /// Whether one is kept that could be used.
    #[cfg(test)]
    pub(super) fn keeps(&self, path: &Path) -> bool {
        let Some((connection, _)) = self.take(path) else { return false };
        if let Ok(Some(now)) = FilesNow::of(path) {
            self.keep(now, connection);
        }
        true
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle<C>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a store is, and how its files stand.
pub(super) struct FilesNow {
    place: StorePath,
    /// How they stand.
    pub(super) files: Footprint,
}

impl FilesNow {
    /// Of the store at `path`, now. `None`: there is no file.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub(super) fn of(path: &Path) -> Result<Option<FilesNow>, StoreError> {
        let Some(place) = StorePath::existing(path)? else { return Ok(None) };
        let files = Footprint::at(&place)?;
        Ok(files.map(|files| FilesNow { place, files }))
    }
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
        Ok(FilesNow::of(path)?.map(|now| now.files))
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

    /// Whether both are of the same files, changed or not: what opened one of them has the other open.
    pub(super) fn same_files(&self, other: &Footprint) -> bool {
        let files = |it: &Footprint| (it.file, it.log.map(|(log, ..)| log), it.index);
        files(self) == files(other)
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

    use super::{Footprint, MOST};
    use crate::model::Time;
    use crate::store::sqlite::SqliteStore;
    use crate::store::sqlite::error::StoreErrorKind;
    use crate::store::sqlite::reader::SqliteReader;
    use crate::store::sqlite::schema::SCHEMA_VERSION;
    use crate::store::sqlite::writer::SqliteWriter;
    use crate::store::{Reader, Store, StoreError, Turn};

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

    #[test]
    fn who_reads_by_a_connection_that_was_kept_finds_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let beside = |suffix: &str| folder.path().join(format!("store.db{suffix}"));
        let another = |what: &str| {
            let at = folder.path().join(format!("{what}.db"));
            keep(&store_at(&at), what);
            at
        };
        let store = store_at(&path);
        keep(&store, "1");
        let opened = || store.reader().unwrap().unwrap();
        let keys = |reader: &dyn Reader| reader.keys(ISSUER).unwrap();
        // Reads by one connection while `meanwhile` happens, and then by whatever was kept.
        let then = |meanwhile: &dyn Fn()| {
            let reader = opened();
            keys(&*reader).unwrap();
            meanwhile();
            drop(reader);
            let kept = store.readers.keeps(&path);
            let read = keys(&*opened()).unwrap();
            assert_eq!(found(&path).as_deref(), Some(&*read));
            (kept, read)
        };
        assert_eq!(then(&|| ()), (true, "1".to_owned()));
        assert_eq!(
            then(&|| keep(&store, "2")),
            (true, "2".to_owned()),
            "a commit is no other file"
        );
        keep(&store, "3");
        assert!(store.readers.keeps(&path), "this program's own commit");
        assert_eq!(keys(&*opened()).as_deref(), Some("3"));
        keep(&store_at(&path), "another's");
        assert!(
            !store.readers.keeps(&path),
            "what was left before another's commit is opened anew"
        );
        assert_eq!(keys(&*opened()).as_deref(), Some("another's"));
        keep(&store_at(&path), "another's again");
        keep(&store, "2");
        keep(&store, "3");
        assert!(
            !store.readers.keeps(&path),
            "what was left before that is not to be trusted since"
        );
        drop(opened());
        std::fs::write(&path, std::fs::read(another("put in place")).unwrap()).unwrap();
        keep(&store, "4");
        assert!(!store.readers.keeps(&path), "others were put in place before the commit");

        let (copied, moved) = (another("copied"), another("moved"));
        let copy = || std::fs::write(&path, std::fs::read(&copied).unwrap()).unwrap();
        assert_eq!(then(&copy).1, "copied");
        assert_eq!(then(&|| std::fs::rename(&moved, &path).unwrap()), (false, "moved".to_owned()));
        keep(&store, "4");
        let delete =
            || ["-wal", "-shm"].iter().for_each(|it| std::fs::remove_file(beside(it)).unwrap());
        assert_eq!(then(&delete), (false, "4".to_owned()));

        // However many read at once, few are kept.
        keep(&store, "5");
        let many: Vec<_> = (0..2 * MOST).map(|_| opened()).collect();
        assert!(many.iter().all(|reader| keys(&**reader).as_deref() == Some("5")));
        drop(many);
        assert_eq!(store.readers.idle().len(), MOST);
    }

    /// A newer program migrates the store at `path`.
    fn migrate(path: &std::path::Path) {
        let newer = Connection::open(path).unwrap();
        newer.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    }

    /// How a change goes on while a newer program migrates the store at that path.
    type Meanwhile = fn(&SqliteStore, &std::path::Path) -> Result<(), StoreError>;

    #[test]
    fn a_store_that_is_migrated_while_it_is_changed_is_neither_written_nor_used_again() {
        let cases: [(&str, Meanwhile, Option<StoreErrorKind>, &str); 3] = [
            (
                "before it writes",
                |store, path| {
                    let mut writer = store.kept_writer().unwrap();
                    migrate(path);
                    writer.keep_keys(ISSUER, "2", Time::UNIX_EPOCH)
                },
                Some(StoreErrorKind::Newer),
                "1",
            ),
            (
                "while it is planned",
                |store, path| {
                    let mut change = store.begin(Turn::Anyones).unwrap();
                    migrate(path);
                    change.touch(&[], &[])
                },
                Some(StoreErrorKind::Newer),
                "1",
            ),
            (
                "once it has committed",
                |store, path| {
                    let mut writer = store.kept_writer().unwrap();
                    writer.keep_keys(ISSUER, "2", Time::UNIX_EPOCH)?;
                    migrate(path);
                    store.keep_writer(writer, true);
                    Ok(())
                },
                None,
                "2",
            ),
        ];
        for (when, change, refused, has) in cases {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store.db");
            let store = store_at(&path);
            keep(&store, "1");
            drop(store.reader().unwrap());
            assert!(store.keeps() && store.readers.keeps(&path), "{when}");
            let done = change(&store, &path);
            assert_eq!(done.err().map(|error| error.kind), refused, "{when}");
            assert!(!store.keeps() && !store.readers.keeps(&path), "{when}");
            // As opening it anew refuses.
            let kind = |error: StoreError| Some(error.kind);
            assert_eq!(store.reader().err().and_then(kind), Some(StoreErrorKind::Newer), "{when}");
            let keys = "SELECT keys FROM jwks";
            let keys = Connection::open(&path).unwrap().query_row(keys, [], |row| row.get(0));
            assert_eq!(keys.as_ref().map(String::as_str), Ok(has), "{when}");
        }
    }

    #[test]
    fn what_was_opened_anew_is_not_kept_for_a_file_that_was_put_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (here, other) = (path("store.db"), path("other.db"));
        let store = store_at(&here);
        drop(store_at(&other));
        let mut writer = store.writer().unwrap();
        assert!(writer.found().is_some(), "opened, and looked at");
        writer.keep_keys(ISSUER, "1", Time::UNIX_EPOCH).unwrap();
        std::fs::rename(&here, path("away.db")).unwrap();
        std::fs::rename(&other, &here).unwrap();
        store.keep_writer(writer, true);
        assert!(!store.keeps());
        keep(&store, "2");
        let keys = store.reader().unwrap().unwrap().keys(ISSUER).unwrap();
        assert_eq!(keys.as_deref(), Some("2"), "in the file that is there");
    }

    #[test]
    fn what_reads_a_store_that_is_migrated_meanwhile_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = store_at(&path);
        keep(&store, "1");
        let reader = store.reader().unwrap().unwrap();
        migrate(&path);
        drop(reader);
        assert!(!store.readers.keeps(&path));
        let refused = store.reader().err().map(|error| error.kind);
        assert_eq!(refused, Some(StoreErrorKind::Newer));
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
