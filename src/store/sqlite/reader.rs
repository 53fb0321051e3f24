//! Snapshot the store. Nothing here can write.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::begun::Begun;
use super::error::{Fault, StoreError, StoreErrorKind};
use super::files::StorePath;
use super::kept::Footprint;
use super::open::{ReadConnection, open_read, still};
use super::schema::{SCHEMA_VERSION, still_known};
use super::store::SqliteStore;
use crate::store::sql::db::Conn;
use crate::store::sql::{KnownLists, Reads};

/// A store opened for reading. Each method reads one committed state; [`SqliteReader::snapshot`] makes
/// several read the same one.
pub struct SqliteReader {
    read: ReadConnection,
    /// Where the connection is kept for the next use, and how the files stood before it was opened.
    home: Option<(SqliteStore, Footprint)>,
    /// Lists that were looked at lately, where somebody remembers them.
    lists: Option<Arc<KnownLists>>,
}

impl Drop for SqliteReader {
    fn drop(&mut self) {
        let Some((home, opened)) = self.home.take() else { return };
        if let Some((conn, place)) = self.leave() {
            home.keep_reader(SqliteReader::over(conn, place), &opened);
        }
    }
}

impl SqliteReader {
    /// Opens the store at `path`. Creates and alters nothing (SQLite's `-shm` file, an index
    /// without facts of its own, may be made anew in place). `None`: there is no store yet.
    ///
    /// # Errors
    /// The file cannot be read, is not a store, or is of another schema version.
    pub fn open(path: &Path) -> Result<Option<SqliteReader>, StoreError> {
        let Some((read, version)) = open_read(path, SCHEMA_VERSION)? else { return Ok(None) };
        if version < SCHEMA_VERSION {
            return Err(StoreError::new(
                StoreErrorKind::Older,
                format!(
                    "the store `{}` has schema version {version}, this idpsyncd reads \
                     {SCHEMA_VERSION}: run `idpsyncd sync` once, which migrates it",
                    path.display()
                ),
            ));
        }
        Ok(Some(SqliteReader { read, home: None, lists: None }))
    }

    /// Over `conn`, in whose transaction everything is read, if it has one open.
    pub(super) fn over(conn: Connection, place: StorePath) -> SqliteReader {
        let read = ReadConnection { conn: Some(conn), place, still: None };
        SqliteReader { read, home: None, lists: None }
    }

    /// The same, to which these lists are known.
    pub(super) fn knowing(mut self, lists: &Arc<KnownLists>) -> SqliteReader {
        self.lists = Some(Arc::clone(lists));
        self
    }

    /// The same, which `home` keeps for its next use. The files stood as `opened` before it was opened.
    pub(super) fn of(mut self, home: &SqliteStore, opened: Footprint) -> SqliteReader {
        self.home = Some((home.clone(), opened));
        self.knowing(&home.lists)
    }

    /// Lets go of every page that was read, as if it had just been opened: only what was prepared stays.
    /// Whether it did.
    pub(super) fn forgets(&self) -> bool {
        let forgets = |conn: &Connection| conn.execute_batch("PRAGMA shrink_memory").is_ok();
        self.read.conn().is_ok_and(forgets)
    }

    /// Makes sure that no newer program has migrated the store since it was opened.
    ///
    /// # Errors
    /// One has, or that cannot be told.
    pub(super) fn still_known(&self) -> Result<(), StoreError> {
        self.read_as(|conn| still_known(conn, &self.read.place.shown, SCHEMA_VERSION))
    }

    /// The connection, and where it is.
    ///
    /// # Errors
    /// It was taken out.
    pub(super) fn connection(&self) -> Result<(&Connection, &StorePath), StoreError> {
        Ok((self.read.conn()?, &self.read.place))
    }

    /// Where it is.
    pub(super) fn place(&self) -> &StorePath {
        &self.read.place
    }

    /// Takes the connection out, for another use of it: nothing can be read here any more. `None`: it cannot
    /// be used again, as one that reads without locks, or one whose transaction did not end, which would
    /// show an old state for ever.
    pub(super) fn leave(&mut self) -> Option<(Connection, StorePath)> {
        if self.is_at_rest() {
            return None;
        }
        let conn = self.read.conn.take_if(|conn| conn.is_autocommit())?;
        Some((conn, self.read.place.clone()))
    }

    /// Whether the file is read without locks, since nobody had it open.
    pub(super) fn is_at_rest(&self) -> bool {
        self.read.still.is_some()
    }

    /// A number that is another one once somebody else has committed.
    pub(super) fn data_version(&self) -> Result<i64, StoreError> {
        self.read_as(|conn| Ok(conn.query_row("PRAGMA data_version", [], |row| row.get(0))?))
    }

    /// Lets several methods read one and the same committed state. Keep `work` short: the log
    /// cannot be emptied meanwhile.
    ///
    /// # Errors
    /// Those of `work`, and those of reading.
    pub fn snapshot<T>(
        &self,
        work: impl FnOnce(&SqliteReader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // Inside, methods find the transaction open and join it.
        self.read_as(|_| Ok(work(self)))?
    }

    /// Runs `work` on one committed state.
    pub(super) fn read_as<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let conn = self.read.conn()?;
        let place = &self.read.place;
        let path = &place.shown.display();
        if !conn.is_autocommit() {
            return work(conn).map_err(|fault| fault.store(path));
        }
        let _acting = place.act()?;
        let begun = Begun::reading(conn).map_err(|error| Fault::from(error).store(path))?;
        let result = work(conn).map_err(|fault| fault.store(path));
        begun.end().map_err(|error| Fault::from(error).store(path))?;
        // Without locks a writer can have come in between: then whatever was read is worthless,
        // an error as well.
        if let Some(before) = &self.read.still
            && still(place)? != *before
        {
            return Err(Fault::Raced.store(path));
        }
        result
    }
}

impl Reads for SqliteReader {
    fn on_one_state(
        &self,
        work: &mut dyn FnMut(Conn<'_>) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        self.read_as(|conn| work(Conn::Sqlite(conn)))
    }

    fn fault(&self, fault: Fault) -> StoreError {
        fault.store(&self.read.place.shown.display())
    }

    fn known_lists(&self) -> Option<&KnownLists> {
        self.lists.as_deref()
    }
}
