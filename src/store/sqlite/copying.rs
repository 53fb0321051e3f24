//! A whole store into or out of the file (`crate::store::copy`).

use super::error::{Fault, StoreError};
use super::files::StorePath;
use super::store::SqliteStore;
use crate::store::sql::db::Conn;
use crate::store::sql::on_one_state;

impl SqliteStore {
    /// Whether both are the same file, as far as their names tell.
    pub(in crate::store) fn is_at(&self, other: &SqliteStore) -> bool {
        let real = |store: &SqliteStore| StorePath::of(&store.path).map(|place| place.real).ok();
        self.path == other.path || real(self).is_some_and(|path| real(other) == Some(path))
    }

    /// Does `work` in one committed state. `false`: there is no store.
    pub(in crate::store) fn read_tables(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<bool, StoreError> {
        on_one_state(self.opened()?, work)
    }

    /// Does `work` with the writer's place taken, so that nobody else writes.
    pub(in crate::store) fn hold_tables(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        self.writer_of_existing()?.aside(work)
    }

    /// Does `work`, which fills the store with what another one holds, and commits.
    pub(in crate::store) fn fill_tables(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        self.writer_of_existing()?.aside(work)
    }
}
