//! Changing the store: with whatever others write meanwhile, or with the writer's place taken.

use rusqlite::Connection;

use super::error::{CommitError, Fault, StoreError, StoreErrorKind};
use super::open::checkpoint;
use super::reader::SqliteReader;
use super::store::SqliteStore;
use super::writer::{SqliteWriter, write_beside, write_commit, write_patches, write_touch};
use crate::model::Inconsistent;
use crate::plan::Plan;
use crate::store::{Beside, Commit, Committed, MirrorPatch, Reader, SourceUpdate, Transaction};

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
        let Some(reader) = SqliteReader::open(&store.path)? else {
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
        let done = write(&mut SqliteWriter::open(&self.store.path)?);
        match &done {
            Ok(_) => self.stands = Stands::Committed,
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
        SqliteWriter::open(&self.store.path)?.touch(sources, configured)
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
pub(super) struct Mine {
    /// Over the writing connection, inside its transaction.
    reader: SqliteReader,
}

impl Mine {
    pub(super) fn begin(store: &SqliteStore) -> Result<Self, StoreError> {
        // To open it for writing would make it.
        if SqliteReader::open(&store.path)?.is_none() {
            return Err(StoreError::absent(store.path.display()));
        }
        let (conn, place) = SqliteWriter::open(&store.path)?.into_parts();
        let reader = SqliteReader::over(conn, place);
        let (conn, place) = reader.connection();
        let acting = place.act()?;
        let begun = conn.execute_batch("BEGIN IMMEDIATE");
        drop(acting);
        begun.map_err(|error| reader.fault(Fault::Sql(error)))?;
        Ok(Mine { reader })
    }

    /// Writes and commits. Dropping the connection takes back what was not committed.
    fn write<T>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, CommitError> {
        let (_, place) = self.reader.connection();
        self.written(write).map_err(|fault| fault.commit(&place.shown))
    }

    fn written<T>(&self, write: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let (conn, place) = self.reader.connection();
        let _acting = place.act().map_err(Fault::Store)?;
        if conn.is_autocommit() {
            // It is over already: what was planned from is not held still any more.
            return Err(Fault::Raced);
        }
        let done = match write(conn) {
            Ok(done) => done,
            Err(fault) => {
                conn.execute_batch("ROLLBACK")?;
                return Err(fault);
            }
        };
        conn.execute_batch("COMMIT")?;
        checkpoint(conn);
        Ok(done)
    }
}

impl Transaction for Mine {
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
        let (_, place) = self.reader.connection();
        self.written(|conn| write_touch(conn, sources, configured))
            .map_err(|fault| fault.store(&place.shown))
    }

    fn lost(&self) -> bool {
        false
    }
}
