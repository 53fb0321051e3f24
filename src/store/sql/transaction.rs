//! Changing a store of SQL: what is the same whoever holds the writer's place, and since when.

use super::db::Conn;
use super::error::{CommitError, Fault, StoreError};
use super::writer::{write_beside, write_commit, write_patches, write_touch};
use crate::model::Inconsistent;
use crate::plan::Plan;
use crate::store::{Beside, Commit, Committed, MirrorPatch, Reader, SourceUpdate, Transaction};

/// How a backend gets at its content to change it.
pub(in crate::store) trait Changing {
    /// What the change is planned from.
    fn reader(&self) -> &dyn Reader;

    /// Does `work` in a transaction and commits it, or takes everything back.
    fn write<T>(&mut self, work: impl FnOnce(Conn<'_>) -> Result<T, Fault>) -> Result<T, Fault>;

    /// Where the store is, for messages.
    fn shown(&self) -> String;

    /// Whether somebody else has written since this began.
    fn has_moved(&self) -> bool;
}

/// How far a change has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Open,
    Committed,
    Raced,
}

/// A change of a store of SQL.
pub(in crate::store) struct SqlTransaction<C> {
    changing: C,
    stands: Stands,
}

impl<C: Changing> SqlTransaction<C> {
    /// One that has just begun.
    pub(in crate::store) fn over(changing: C) -> Self {
        SqlTransaction { changing, stands: Stands::Open }
    }

    /// Commits, and keeps in mind what came of it.
    fn committed<T>(
        &mut self,
        work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
    ) -> Result<T, CommitError> {
        let done = self.changing.write(work);
        match &done {
            Ok(_) => self.stands = Stands::Committed,
            Err(Fault::Raced) => self.stands = Stands::Raced,
            Err(_) => {}
        }
        done.map_err(|fault| fault.commit(&self.changing.shown()))
    }
}

impl<C: Changing> Transaction for SqlTransaction<C> {
    fn reader(&self) -> &dyn Reader {
        self.changing.reader()
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed, CommitError> {
        self.committed(|conn| write_commit(conn, commit))
    }

    fn commit_patches(
        &mut self,
        commit: &Commit<'_>,
        patches: &[MirrorPatch<'_>],
    ) -> Result<Committed, CommitError> {
        self.committed(|conn| write_patches(conn, commit, patches))
    }

    fn commit_beside(
        &mut self,
        beside: &Beside<'_>,
        make: Box<dyn FnOnce() -> Result<Plan, Inconsistent> + Send + '_>,
    ) -> Result<(Plan, Committed), CommitError> {
        self.committed(|conn| write_beside(conn, beside, make))
    }

    fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        let done = self.changing.write(|conn| write_touch(conn, sources, configured));
        done.map_err(|fault| fault.store(&self.changing.shown()))
    }

    fn lost(&self) -> bool {
        match self.stands {
            Stands::Committed => false,
            Stands::Raced => true,
            Stands::Open => self.changing.has_moved(),
        }
    }
}
