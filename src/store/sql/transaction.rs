//! Changing a store of SQL: what is the same whoever holds the writer's place, and since when.

use super::db::Conn;
use super::error::{CommitError, Fault, StoreError, StoreErrorKind};
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
    /// The store could not be written, or nobody knows whether it was.
    Broken,
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
        let done = done.map_err(|fault| fault.commit(&self.changing.shown()));
        match &done {
            Ok(_) => self.stands = Stands::Committed,
            Err(CommitError::Raced) => self.stands = Stands::Raced,
            Err(CommitError::Store(error)) if error.kind == StoreErrorKind::Other => {
                self.stands = Stands::Broken;
            }
            Err(_) => {}
        }
        done
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
            // What may have come through is not done once more, and who does not answer is not asked again.
            Stands::Committed | Stands::Broken => false,
            Stands::Raced => true,
            Stands::Open => self.changing.has_moved(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::sqlite::SqliteStore;

    /// Whose store another one writes meanwhile, and which fails so.
    struct Failing(Box<dyn Reader>, fn() -> Fault);

    impl Changing for Failing {
        fn reader(&self) -> &dyn Reader {
            &*self.0
        }

        fn write<T>(
            &mut self,
            _work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
        ) -> Result<T, Fault> {
            Err((self.1)())
        }

        fn shown(&self) -> String {
            "x".to_owned()
        }

        fn has_moved(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_change_of_which_nobody_knows_whether_it_came_through_is_not_made_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::new(folder.path().join("store.db"));
        store.prepare().unwrap();
        let cases: [(fn() -> Fault, bool); 3] = [
            (|| Fault::Store(StoreError::new(StoreErrorKind::Other, "unknown")), false),
            (|| Fault::Store(StoreError::new(StoreErrorKind::Busy, "locked")), true),
            (|| Fault::Raced, true),
        ];
        for (fault, again) in cases {
            let reader = store.reader().unwrap().unwrap();
            let mut transaction = SqlTransaction::over(Failing(reader, fault));
            assert!(transaction.committed(|_| Ok(())).is_err());
            assert_eq!(transaction.lost(), again, "{:?}", fault());
        }
    }
}
