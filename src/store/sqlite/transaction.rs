//! Changing the store: with whatever others write meanwhile, or with the writer's place taken.

use super::error::{Fault, StoreError, StoreErrorKind};
use super::open::checkpoint;
use super::reader::SqliteReader;
use super::store::SqliteStore;
use super::writer::SqliteWriter;
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
}

impl<'s> Anyones<'s> {
    pub(super) fn begin(store: &'s SqliteStore) -> Result<Self, StoreError> {
        let Some(reader) = store.opened()? else {
            return Err(StoreError::absent(store.path.display()));
        };
        let version = reader.meta()?.version;
        Ok(Anyones { store, reader, version })
    }
}

impl Changing for Anyones<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut writer = self.store.writer().map_err(Fault::Store)?;
        let done = writer.write(work)?;
        self.store.keep_writer(writer);
        Ok(done)
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

/// A change that nobody can be faster than: the writer's place is taken before anything is read.
pub(super) struct Mine<'s> {
    store: &'s SqliteStore,
    /// Over the writing connection, inside its transaction.
    reader: SqliteReader,
    committed: bool,
}

impl<'s> Mine<'s> {
    pub(super) fn begin(store: &'s SqliteStore) -> Result<Self, StoreError> {
        let (conn, place) = store.writer_of_existing()?.into_parts();
        let reader = SqliteReader::over(conn, place);
        let (conn, place) = reader.connection();
        let acting = place.act()?;
        let begun = conn.execute_batch("BEGIN IMMEDIATE");
        drop(acting);
        begun.map_err(|error| reader.fault(error.into()))?;
        Ok(Mine { store, reader, committed: false })
    }
}

impl Changing for Mine<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    /// Dropping the connection takes back what was not committed.
    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let (conn, place) = self.reader.connection();
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
        self.reader.connection().1.shown.display().to_string()
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
            self.store.keep_writer(SqliteWriter::over(conn, place));
        }
    }
}
