//! Writing the store: one transaction a commit.

use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::M;

use super::begun::Begun;
use super::error::{Fault, StoreError};
use super::files::StorePath;
use super::kept::Footprint;
use super::open::{checkpoint, open_write, reads, rests, writes};
use super::reader::SqliteReader;
use super::schema::{SCHEMA_VERSION, STEPS, still_known};
use crate::model::Time;
use crate::store::Review;
use crate::store::sql;
use crate::store::sql::db::Conn;
#[cfg(test)]
use crate::store::{Commit, CommitError, Committed};

/// A store opened for writing. Take the lock first.
pub struct SqliteWriter {
    conn: Connection,
    place: StorePath,
    /// How the files stood when it was opened, or taken from those that are kept. `None`: it is not kept.
    found: Option<Footprint>,
}

/// Does `work` in a transaction of `conn`, which was opened for writing, and commits it: safe on disk when this
/// returns.
pub(super) fn write_by<T>(
    conn: &Connection,
    place: &StorePath,
    work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let _acting = place.act().map_err(Fault::Store)?;
    writes(conn)?;
    let begun = Begun::writing(conn)?;
    // While the writer's place was waited for somebody may have migrated it.
    still_known(conn, &place.shown, SCHEMA_VERSION)?;
    let done = work(Conn::Sqlite(conn))?;
    begun.commit()?;
    checkpoint(conn);
    Ok(done)
}

impl SqliteWriter {
    /// Opens the store at `path` for writing. Makes the file (mode 0640) where there is none, and
    /// migrates an older one; the folder must exist.
    ///
    /// # Errors
    /// The folder is missing, the file is not a store, was written by a newer program, or cannot
    /// be written. The file is as it was.
    pub fn open(path: &Path) -> Result<SqliteWriter, StoreError> {
        SqliteWriter::open_at(path, STEPS)
    }

    /// As [`SqliteWriter::open`], with other versions of the schema.
    pub(super) fn open_at(
        path: &Path,
        steps: &'static [M<'static>],
    ) -> Result<SqliteWriter, StoreError> {
        let (conn, place) = open_write(path, steps)?;
        let mut writer = SqliteWriter::over(conn, place);
        // Looked at without a transaction: to open a store for writing waits for nobody who writes.
        let older = |fault: Fault| fault.store(&writer.place.shown.display());
        if steps.len() == STEPS.len()
            && sql::older(Conn::Sqlite(&writer.conn)).map_err(older)?.is_some()
        {
            writer.aside(sql::index_older)?;
        }
        let current = || {
            sql::are_current(Conn::Sqlite(&writer.conn))
                .map_err(|it| it.store(&writer.place.shown.display()))
        };
        if steps.len() == STEPS.len() && !current()? {
            writer.aside(sql::make_names)?;
        }
        Ok(writer)
    }

    /// The same store for reading.
    ///
    /// # Errors
    /// It cannot be read.
    #[cfg(test)]
    pub fn reader(&self) -> Result<SqliteReader, StoreError> {
        let gone =
            || Fault::Damaged("its file is gone".to_owned()).store(&self.place.shown.display());
        SqliteReader::open(&self.place.shown)?.ok_or_else(gone)
    }

    /// Writes everything of one run, for tests of the file.
    ///
    /// # Errors
    /// Another process wrote since the plan was made, the plan does not fit the store, or the
    /// store cannot be written. Nothing was changed.
    #[cfg(test)]
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed, CommitError> {
        self.write(|conn| sql::write_commit(conn, commit))
            .map_err(|fault| fault.commit(&self.place.shown.display()))
    }

    /// Forgets the held plan `id`. `false`: another one is held, or none.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    pub fn discard_held(&mut self, id: &str) -> Result<bool, StoreError> {
        self.write(|conn| sql::discard_held(conn, id))
            .map_err(|fault| fault.store(&self.place.shown.display()))
    }

    /// Keeps `keys`, a JWK set of public keys, for `issuer`; `at` is when they were read. Writes
    /// where they differ from those kept, and nothing that a plan is based on: neither the
    /// generation nor [`crate::store::Meta::version`] changes, so this needs no lock.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    pub fn keep_keys(&mut self, issuer: &str, keys: &str, at: Time) -> Result<(), StoreError> {
        self.aside(|conn| sql::keep_keys(conn, issuer, keys, at))
    }

    /// Records `review`. Writes nothing that a plan is based on: neither the generation nor
    /// [`crate::store::Meta::version`] changes, so this needs no lock.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    pub fn sign(&mut self, review: &Review) -> Result<(), StoreError> {
        self.aside(|conn| sql::sign(conn, review))
    }

    /// Writes something that is no part of a generation.
    pub(super) fn aside<T>(
        &mut self,
        work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.write(work).map_err(|fault| fault.store(&self.place.shown.display()))
    }

    /// Does `work` in a transaction and commits it: safe on disk when this returns.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(Conn<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        write_by(&self.conn, &self.place, work)
    }

    /// Makes sure that no newer program has migrated the store since it was opened.
    ///
    /// # Errors
    /// One has, or that cannot be told.
    pub(super) fn still_known(&self) -> Result<(), StoreError> {
        let shown = &self.place.shown;
        let acting = self.place.act()?;
        let known = still_known(&self.conn, shown, SCHEMA_VERSION);
        drop(acting);
        known.map_err(|fault| fault.store(&shown.display()))
    }

    /// The connection, and where it is.
    pub(super) fn into_parts(self) -> (Connection, StorePath) {
        (self.conn, self.place)
    }

    /// The same connection for reading: it knows the pages that it has written already. It is not told to refuse
    /// writing, for which SQLite would have it prepare every statement anew; each question ends by taking back
    /// whatever it would have written.
    ///
    /// # Errors
    /// It cannot be.
    pub(super) fn into_reader(self) -> Result<SqliteReader, StoreError> {
        reads(&self.conn).map_err(|error| Fault::from(error).store(&self.place.shown.display()))?;
        Ok(SqliteReader::over(self.conn, self.place))
    }

    /// Over a connection that was taken out of another one.
    pub(super) fn over(conn: Connection, place: StorePath) -> SqliteWriter {
        SqliteWriter { conn, place, found: None }
    }

    /// The same, which is open on the files that stood like this.
    pub(super) fn finding(mut self, found: Footprint) -> SqliteWriter {
        self.found = Some(found);
        self
    }

    /// How the files stood when it was opened, or taken from those that are kept. `None`: that cannot be told.
    pub(super) fn found(&self) -> Option<&Footprint> {
        self.found.as_ref()
    }

    /// Lets go of most of the memory that a change took, until the next change. Whether the connection is fit
    /// for that: it has no transaction open.
    pub(super) fn rests(&self) -> bool {
        self.conn.is_autocommit() && rests(&self.conn).is_ok()
    }

    /// The connection, for tests that provoke faults.
    #[cfg(test)]
    pub(in crate::store) fn connection(&self) -> &Connection {
        &self.conn
    }
}
