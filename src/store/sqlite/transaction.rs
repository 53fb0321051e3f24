//! Changing the store: with whatever others write meanwhile, or with the writer's place taken.

use super::error::{Fault, StoreError, StoreErrorKind};
use super::kept::Footprint;
use super::open::{checkpoint, writes};
use super::reader::SqliteReader;
use super::schema::{SCHEMA_VERSION, still_known};
use super::store::SqliteStore;
use super::writer::{SqliteWriter, write_by};
use crate::store::Reader;
use crate::store::sql::db::Conn;
use crate::store::sql::{Changing, Reads};

/// A change that keeps nobody waiting while it is planned. It is written on the version that it was
/// planned from, or not at all.
pub(super) struct Anyones<'s> {
    store: &'s SqliteStore,
    reader: SqliteReader,
    /// The store's version when this began.
    version: i64,
    /// What reads was opened for writing, and found the files so: it writes as well, once it is planned. `None`:
    /// it cannot.
    writes: Option<Footprint>,
    committed: bool,
}

impl<'s> Anyones<'s> {
    pub(super) fn begin(store: &'s SqliteStore) -> Result<Self, StoreError> {
        // It has the pages in memory that change after change looks at, where others read them anew.
        let (reader, writes) = match store.kept_writer() {
            Some(writer) => {
                let found = writer.found().copied();
                (writer.into_reader()?.knowing(&store.lists), found)
            }
            None => match store.opened()? {
                Some(reader) => (reader, None),
                None => return Err(StoreError::absent(store.path.display())),
            },
        };
        let version = reader.meta()?.version;
        Ok(Anyones { store, reader, version, writes, committed: false })
    }

    /// Whether what reads can write: the files stand as it found them. What was copied over them meanwhile it
    /// would not notice.
    fn may_write(&mut self) -> bool {
        let now = Footprint::of(&self.store.path).ok().flatten();
        self.writes = self.writes.filter(|found| now == Some(*found));
        self.writes.is_some()
    }
}

impl Changing for Anyones<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        if !self.may_write() {
            let mut writer = self.store.writer().map_err(Fault::Store)?;
            let done = writer.write(work)?;
            self.store.keep_writer(writer, true);
            return Ok(done);
        }
        let (conn, place) = self.reader.connection().map_err(Fault::Store)?;
        let done = write_by(conn, place, work);
        self.committed = done.is_ok();
        if done.is_err() {
            self.writes = None;
        }
        done
    }

    fn shown(&self) -> String {
        self.store.path.display().to_string()
    }

    fn has_moved(&self) -> bool {
        match self.reader.meta() {
            Ok(meta) => meta.version != self.version,
            // A file at rest that somebody has begun to write.
            Err(error) => self.reader.is_at_rest() && error.kind == StoreErrorKind::Busy,
        }
    }
}

impl Drop for Anyones<'_> {
    fn drop(&mut self) {
        if let Some(found) = self.writes
            && let Some((conn, place)) = self.reader.leave()
        {
            let writer = SqliteWriter::over(conn, place).finding(found);
            self.store.keep_writer(writer, self.committed);
        }
    }
}

/// A change that nobody can be faster than: the writer's place is taken before anything is read.
pub(super) struct Mine<'s> {
    store: &'s SqliteStore,
    /// Over the writing connection, inside its transaction.
    reader: SqliteReader,
    /// How the files stood when what writes was taken from those that are kept.
    found: Option<Footprint>,
    committed: bool,
}

impl<'s> Mine<'s> {
    pub(super) fn begin(store: &'s SqliteStore) -> Result<Self, StoreError> {
        let writer = store.writer_of_existing()?;
        let found = writer.found().copied();
        let (conn, place) = writer.into_parts();
        let reader = SqliteReader::over(conn, place);
        let (conn, place) = reader.connection()?;
        let acting = place.act()?;
        let begun = writes(conn).and_then(|()| conn.execute_batch("BEGIN IMMEDIATE"));
        drop(acting);
        begun.map_err(|error| reader.fault(error.into()))?;
        // While the writer's place was waited for somebody may have migrated it.
        still_known(conn, &place.shown, SCHEMA_VERSION).map_err(|fault| reader.fault(fault))?;
        Ok(Mine { store, reader, found, committed: false })
    }
}

impl Changing for Mine<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    /// Dropping the connection takes back what was not committed.
    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let (conn, place) = self.reader.connection().map_err(Fault::Store)?;
        let _acting = place.act().map_err(Fault::Store)?;
        if conn.is_autocommit() {
            // It is over already: what was planned from is not held still any more.
            return Err(Fault::Raced);
        }
        let done = match work(Conn::Sqlite(conn)) {
            Ok(done) => done,
            Err(fault) => {
                conn.execute_batch("ROLLBACK")?;
                return Err(fault);
            }
        };
        conn.execute_batch("COMMIT")?;
        checkpoint(conn);
        self.committed = true;
        Ok(done)
    }

    fn shown(&self) -> String {
        self.reader.place().shown.display().to_string()
    }

    /// Nobody else can.
    fn has_moved(&self) -> bool {
        false
    }
}

impl Drop for Mine<'_> {
    fn drop(&mut self) {
        if self.committed
            && let Some((conn, place)) = self.reader.leave()
        {
            let writer = SqliteWriter::over(conn, place);
            let writer = match self.found {
                Some(found) => writer.finding(found),
                None => writer,
            };
            self.store.keep_writer(writer, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::Store;

    fn store_at(path: &Path) -> SqliteStore {
        let store = SqliteStore::new(path.to_owned());
        store.prepare().unwrap();
        settle(&mut Anyones::begin(&store).unwrap(), "at first");
        store
    }

    /// Writes something by `change`.
    fn settle(change: &mut Anyones<'_>, what: &str) {
        let sql = "UPDATE meta SET settled = ?1";
        assert_eq!(change.write(|conn| Ok(conn.execute(sql, [what])?)).unwrap(), 1);
    }

    /// What was written last into the store at `path`.
    fn settled(path: &Path) -> Option<String> {
        SqliteReader::open(path).unwrap().unwrap().meta().unwrap().settled
    }

    #[test]
    fn a_change_is_planned_by_what_writes_it_and_writes_nothing_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let store = store_at(&path);
        drop(store.reader().unwrap());
        assert!(store.keeps() && store.readers.keeps(&path));

        let mut change = Anyones::begin(&store).unwrap();
        assert!(!store.keeps(), "it is in use");
        let by_a_plan = "UPDATE meta SET settled = 'by a plan'";
        assert_eq!(change.reader.read_as(|conn| Ok(conn.execute(by_a_plan, [])?)).unwrap(), 1);
        assert_eq!(settled(&path).as_deref(), Some("at first"), "a plan writes nothing");
        settle(&mut change, "by a change");
        drop(change);
        assert_eq!(settled(&path).as_deref(), Some("by a change"));
        assert!(store.keeps() && store.readers.keeps(&path), "this program's own commit");

        // One that comes to nothing leaves it for the next; one that fails does not.
        drop(Anyones::begin(&store).unwrap());
        assert!(store.keeps());
        let mut change = Anyones::begin(&store).unwrap();
        assert!(change.write(|_| Err::<(), _>(Fault::Raced)).is_err());
        assert_eq!(change.reader().meta().unwrap().settled.as_deref(), Some("by a change"));
        drop(change);
        assert!(!store.keeps());
    }

    #[test]
    fn what_is_put_in_place_while_a_change_is_planned_is_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (path, another, away) = (at("store.db"), at("another.db"), at("away.db"));
        let store = store_at(&path);
        drop(store_at(&another));
        let copied = std::fs::read(&another).unwrap();

        // Another content, which SQLite does not notice.
        let mut change = Anyones::begin(&store).unwrap();
        settle(&mut Anyones::begin(&store).unwrap(), "somebody else's");
        std::fs::write(&path, &copied).unwrap();
        settle(&mut change, "by a change");
        drop(change);
        assert_eq!(settled(&path).as_deref(), Some("by a change"));
        let change = Anyones::begin(&store).unwrap();
        std::fs::write(&path, &copied).unwrap();
        drop(change);
        assert!(!store.keeps());
        assert_eq!(settled(&path).as_deref(), Some("at first"));

        // Other files.
        settle(&mut Anyones::begin(&store).unwrap(), "at first");
        let mut change = Anyones::begin(&store).unwrap();
        std::fs::rename(&path, &away).unwrap();
        std::fs::rename(&another, &path).unwrap();
        settle(&mut change, "by a change");
        drop(change);
        assert_eq!(settled(&path).as_deref(), Some("by a change"));
        assert_eq!(settled(&away).as_deref(), Some("at first"));

        // One that writes nothing does not leave what it is open on for whoever comes next.
        let change = Anyones::begin(&store).unwrap();
        std::fs::rename(&path, at("away again.db")).unwrap();
        std::fs::rename(&away, &path).unwrap();
        drop(change);
        settle(&mut Anyones::begin(&store).unwrap(), "in the old one");
        assert_eq!(settled(&path).as_deref(), Some("in the old one"));
    }
}
