//! Snapshot the store. Nothing here can write.

use std::path::Path;

use rusqlite::{Connection, Row};

use super::error::{Fault, StoreError, StoreErrorKind};
use super::files::StorePath;
use super::kept::Footprint;
use super::load::whole;
use super::open::{ReadConnection, open_read, still};
use super::schema::SCHEMA_VERSION;
use super::store::SqliteStore;
use crate::directory::{DigestKey, MirrorRows, Touched};
use crate::model::{State, Time};
use crate::plan::{Held, HeldHead};
use crate::store::{Marks, Meta, ProvisionContext, ProvisionQuery, SourceStatus, StoredMirror};

/// A store opened for reading. Each method reads one committed state; [`SqliteReader::snapshot`] makes
/// several read the same one.
pub struct SqliteReader {
    read: ReadConnection,
    /// Where the connection is kept for the next use, and how the files stood before it was opened.
    home: Option<(SqliteStore, Footprint)>,
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
        Ok(Some(SqliteReader { read, home: None }))
    }

    /// Over `conn`, in whose transaction everything is read, if it has one open.
    pub(super) fn over(conn: Connection, place: StorePath) -> SqliteReader {
        SqliteReader { read: ReadConnection { conn, place, still: None }, home: None }
    }

    /// The same, which `home` keeps for its next use. The files stood as `opened` before it was opened.
    pub(super) fn of(mut self, home: &SqliteStore, opened: Footprint) -> SqliteReader {
        self.home = Some((home.clone(), opened));
        self
    }

    /// Lets go of every page that was read, as if it had just been opened: only what was prepared stays.
    /// Whether it did.
    pub(super) fn forgets(&self) -> bool {
        self.read.conn.execute_batch("PRAGMA shrink_memory").is_ok()
    }

    /// The connection, and where it is.
    pub(super) fn connection(&self) -> (&Connection, &StorePath) {
        (&self.read.conn, &self.read.place)
    }

    /// Takes the connection out, for another use of it: what is left here is on no file. `None`: it cannot
    /// be used again, as one that reads without locks, or one whose transaction did not end, which would
    /// show an old state for ever.
    pub(super) fn leave(&mut self) -> Option<(Connection, StorePath)> {
        if self.is_at_rest() || !self.read.conn.is_autocommit() {
            return None;
        }
        let nothing = Connection::open_in_memory().ok()?;
        let conn = std::mem::replace(&mut self.read.conn, nothing);
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

    /// The store in a few numbers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn meta(&self) -> Result<Meta, StoreError> {
        self.read_as(meta)
    }

    /// Everything that a plan starts from. Only reasons that some grant has are in its book.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn state(&self) -> Result<State, StoreError> {
        self.read_as(super::load::state)
    }

    /// How each source's reads went, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn sources(&self) -> Result<Vec<SourceStatus>, StoreError> {
        self.read_as(sources)
    }

    /// What is said of the changes that wait for a person, without reading them: one row, however
    /// many they are.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn held_head(&self) -> Result<Option<HeldHead>, StoreError> {
        self.read_as(super::held::head)
    }

    /// The changes that wait for a person, all of them in memory.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn held(&self) -> Result<Option<Held>, StoreError> {
        self.read_as(super::held::load)
    }

    /// What bears on one query.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn provision_context(
        &self,
        query: &ProvisionQuery<'_>,
    ) -> Result<ProvisionContext, StoreError> {
        self.read_as(|conn| super::provision::provision_context(conn, query))
    }

    /// For each source the number that the next newcomer to its mirror gets, as they only rise.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn marks(&self) -> Result<Marks, StoreError> {
        self.read_as(super::provision::marks)
    }

    /// Those who came into the mirror of `source` since `marks` were taken.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn added_since(
        &self,
        source: &str,
        marks: &Marks,
    ) -> Result<Vec<crate::directory::Sighting>, StoreError> {
        self.read_as(|conn| super::provision::added_since(conn, source, marks))
    }

    /// The mirror of `source`: what it last said.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn mirror(&self, source: &str) -> Result<Option<StoredMirror>, StoreError> {
        self.read_as(|conn| super::mirror::load(conn, source))
    }

    /// The rows of the mirror of `source` that are `touched`, and what its digest hangs on.
    /// `None`: it has no mirror.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn mirror_rows(
        &self,
        source: &str,
        touched: &Touched<'_>,
    ) -> Result<Option<(MirrorRows, DigestKey)>, StoreError> {
        self.read_as(|conn| super::patch::load(conn, source, touched))
    }

    /// What the digests of this store's mirrors hang on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn digest_key(&self) -> Result<DigestKey, StoreError> {
        self.read_as(super::mirror::digest_key)
    }

    /// What groups, roles and attribute values the mirror of `source` has, and what they lead to:
    /// nobody is in them.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn structure(
        &self,
        source: &str,
    ) -> Result<Option<crate::directory::Directory>, StoreError> {
        self.read_as(|conn| super::mirror::structure(conn, source))
    }

    /// `fault` of this store.
    pub(super) fn fault(&self, fault: Fault) -> StoreError {
        fault.store(&self.read.place.shown)
    }

    /// The keys kept for `issuer` (compared exactly): a JWK set. `None`: there are none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn keys(&self, issuer: &str) -> Result<Option<String>, StoreError> {
        self.read_as(|conn| super::keys::load(conn, issuer))
    }

    /// Runs `work` on one committed state.
    pub(super) fn read_as<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let conn = &self.read.conn;
        let place = &self.read.place;
        let path = &place.shown;
        if !conn.is_autocommit() {
            return work(conn).map_err(|fault| fault.store(path));
        }
        let _acting = place.act()?;
        let tx = conn.unchecked_transaction().map_err(|error| Fault::Sql(error).store(path))?;
        let result = work(&tx).map_err(|fault| fault.store(path));
        tx.finish().map_err(|error| Fault::Sql(error).store(path))?;
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

/// The store in a few numbers.
pub(super) fn meta(conn: &Connection) -> Result<Meta, Fault> {
    let schema_version = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(conn.query_row(
        "SELECT generation, applied_at, settled, version, next_due, all_read FROM meta",
        [],
        |row| {
            Ok(Meta {
                schema_version,
                generation: whole(row, 0)?,
                applied_at: time(row, 1)?,
                settled: row.get(2)?,
                version: row.get(3)?,
                next_due: time(row, 4)?,
                all_read: row.get(5)?,
            })
        },
    )?)
}

fn sources(conn: &Connection) -> Result<Vec<SourceStatus>, Fault> {
    let mut statement = conn.prepare(
        "SELECT name, kind, configured, read_at, tried_at, error, digest, scopes, \
                spoke_at \
         FROM source ORDER BY name",
    )?;
    let mut rows = statement.query([])?;
    let mut sources = Vec::new();
    while let Some(row) = rows.next()? {
        let scopes: Option<String> = row.get(7)?;
        sources.push(SourceStatus {
            name: row.get(0)?,
            kind: row.get(1)?,
            configured: row.get(2)?,
            read_at: time(row, 3)?,
            tried_at: time(row, 4)?,
            spoke_at: time(row, 8)?,
            error: row.get(5)?,
            digest: row.get(6)?,
            scopes: scopes
                .map(|scopes| json(&scopes, "source's scopes"))
                .transpose()?
                .unwrap_or_default(),
        });
    }
    Ok(sources)
}

/// The time in column `index`.
pub(super) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Time>> {
    Ok(row.get::<_, Option<i64>>(index)?.and_then(|seconds| Time::from_timestamp(seconds, 0)))
}

/// The time in column `index`, which must be there.
pub(super) fn time_at(row: &Row<'_>, index: usize) -> Result<Time, Fault> {
    time(row, index)?.ok_or_else(|| Fault::Damaged("a time is missing".to_owned()))
}

/// Reads what was written as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::Damaged(format!("a {what}: {error}")))
}
