//! Changing the store: with whatever others write meanwhile, or with the writer's place taken.

use super::error::{Fault, StoreError, StoreErrorKind};
use super::open::checkpoint;
use super::reader::SqliteReader;
use super::store::SqliteStore;
use super::writer::SqliteWriter;
use crate::model::Inconsistent;
use crate::plan::Plan;
use crate::store::sql::db::Conn;
use crate::store::sql::{Reads, write_beside, write_commit, write_patches, write_touch};
use crate::store::{
    Beside, Commit, CommitError, Committed, MirrorPatch, Reader, SourceUpdate, Transaction,
};

/// A change that keeps nobody waiting while it is planned. It is written on the version that it was
/// planned from, or not at all.
pub(super) struct Anyones<'s> {
    store: &'s SqliteStore,
    reader: SqliteReader,
    /// The store's version when this began.
    version: i64,
    stands: Stands,
}

/// How far a change has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Open,
    Committed,
    Raced,
}

impl<'s> Anyones<'s> {
    pub(super) fn begin(store: &'s SqliteStore) -> Result<Self, StoreError> {
        let Some(reader) = store.opened()? else {
            return Err(StoreError::absent(store.path.display()));
        };
        let version = reader.meta()?.version;
        Ok(Anyones { store, reader, version, stands: Stands::Open })
    }

    /// Runs `write` with a writer, and keeps in mind what came of it.
    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut SqliteWriter) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        let mut writer = self.store.writer()?;
        let done = write(&mut writer);
        match &done {
            Ok(_) => {
                self.stands = Stands::Committed;
                self.store.keep_writer(writer);
            }
            Err(CommitError::Raced) => self.stands = Stands::Raced,
            Err(_) => {}
        }
        done
    }
}

impl Transaction for Anyones<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed, CommitError> {
        self.write(|writer| writer.commit(commit))
    }

    fn commit_patches(
        &mut self,
        commit: &Commit<'_>,
        patches: &[MirrorPatch<'_>],
    ) -> Result<Committed, CommitError> {
        self.write(|writer| writer.commit_patches(commit, patches))
    }

    fn commit_beside(
        &mut self,
        beside: &Beside<'_>,
        make: Box<dyn FnOnce() -> Result<Plan, Inconsistent> + Send + '_>,
    ) -> Result<(Plan, Committed), CommitError> {
        self.write(|writer| writer.commit_beside(beside, make))
    }

    fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        let mut writer = self.store.writer()?;
        writer.touch(sources, configured)?;
        self.store.keep_writer(writer);
        Ok(())
    }

    fn lost(&self) -> bool {
        match self.stands {
            Stands::Committed => false,
            Stands::Raced => true,
            Stands::Open => match self.reader.meta() {
                Ok(meta) => meta.version != self.version,
                // A file at rest that somebody has begun to write.
                Err(error) => self.reader.is_at_rest() && error.kind == StoreErrorKind::Busy,
            },
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

    /// Writes and commits. Dropping the connection takes back what was not committed.
    fn write<T>(
        &mut self,
        write: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
    ) -> Result<T, CommitError> {
        let done = self.written(write);
        let (_, place) = self.reader.connection();
        done.map_err(|fault| fault.commit(&place.shown.display()))
    }

    fn written<T>(&mut self, write: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let (conn, place) = self.reader.connection();
        let _acting = place.act().map_err(Fault::Store)?;
        if conn.is_autocommit() {
            // It is over already: what was planned from is not held still any more.
            return Err(Fault::Raced);
        }
        let done = match write(Conn::Sqlite(conn)) {
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

impl Transaction for Mine<'_> {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed, CommitError> {
        self.write(|conn| write_commit(conn, commit))
    }

    fn commit_patches(
        &mut self,
        commit: &Commit<'_>,
        patches: &[MirrorPatch<'_>],
    ) -> Result<Committed, CommitError> {
        self.write(|conn| write_patches(conn, commit, patches))
    }

    fn commit_beside(
        &mut self,
        beside: &Beside<'_>,
        make: Box<dyn FnOnce() -> Result<Plan, Inconsistent> + Send + '_>,
    ) -> Result<(Plan, Committed), CommitError> {
        self.write(|conn| write_beside(conn, beside, make))
    }

    fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        let done = self.written(|conn| write_touch(conn, sources, configured));
        let (_, place) = self.reader.connection();
        done.map_err(|fault| fault.store(&place.shown.display()))
    }

    fn lost(&self) -> bool {
        false
    }
}
