//! Writing the store: one transaction a commit.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};
use rusqlite_migration::M;

use super::apply::{apply, json};
use super::error::{CommitError, Fault, StoreError};
use super::files::StorePath;
use super::held;
use super::mirror;
use super::names;
use super::open::{CACHE, RESTING_CACHE, checkpoint, open_write};
#[cfg(test)]
use super::reader::SqliteReader;
use super::schema::STEPS;
use crate::directory::Cursor;
use crate::model::{Inconsistent, Time};
use crate::plan::Plan;
use crate::store::{Beside, Commit, Committed, MirrorPatch, SourceUpdate};

/// A store opened for writing. Take the lock first.
pub struct SqliteWriter {
    conn: Connection,
    place: StorePath,
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
        let mut writer = SqliteWriter { conn, place };
        // Looked at without a transaction: to open a store for writing waits for nobody who writes.
        let older = |fault: Fault| fault.store(&writer.place.shown);
        if steps.len() == STEPS.len() && mirror::older(&writer.conn).map_err(older)?.is_some() {
            writer.aside(mirror::index_older)?;
        }
        let current =
            || names::are_current(&writer.conn).map_err(|it| it.store(&writer.place.shown));
        if steps.len() == STEPS.len() && !current()? {
            writer.aside(names::make)?;
        }
        Ok(writer)
    }

    /// The same store for reading.
    ///
    /// # Errors
    /// It cannot be read.
    #[cfg(test)]
    pub fn reader(&self) -> Result<SqliteReader, StoreError> {
        let gone = || Fault::Damaged("its file is gone".to_owned()).store(&self.place.shown);
        SqliteReader::open(&self.place.shown)?.ok_or_else(gone)
    }

    /// Writes everything of one run in one transaction, safe on disk when this returns.
    ///
    /// # Errors
    /// Another process wrote since the plan was made, the plan does not fit the store, or the
    /// store cannot be written. Nothing was changed.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed, CommitError> {
        self.write(|conn| write_commit(conn, commit))
            .map_err(|fault| fault.commit(&self.place.shown))
    }

    /// As [`SqliteWriter::commit`] for a plan that is still to be made: `make` makes it while the mirrors
    /// are written, which need none. That is for a first run, which writes the most: in a later one
    /// it would keep those waiting who want to write meanwhile.
    ///
    /// # Errors
    /// As [`SqliteWriter::commit`].
    pub fn commit_beside(
        &mut self,
        beside: &Beside<'_>,
        make: impl FnOnce() -> Result<Plan, Inconsistent> + Send,
    ) -> Result<(Plan, Committed), CommitError> {
        self.write(|conn| write_beside(conn, beside, make))
            .map_err(|fault| fault.commit(&self.place.shown))
    }

    /// As [`SqliteWriter::commit`], and patches mirrors in the same transaction.
    ///
    /// # Errors
    /// As [`SqliteWriter::commit`]; a mirror is another one than its patch was made for.
    pub fn commit_patches(
        &mut self,
        commit: &Commit<'_>,
        patches: &[MirrorPatch<'_>],
    ) -> Result<Committed, CommitError> {
        self.write(|conn| write_patches(conn, commit, patches))
            .map_err(|fault| fault.commit(&self.place.shown))
    }

    /// Writes how reads went that brought nothing new: one row a source.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    pub fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        self.write(|conn| write_touch(conn, sources, configured))
            .map_err(|fault| fault.store(&self.place.shown))
    }

    /// Forgets the held plan `id`. `false`: another one is held, or none.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    pub fn discard_held(&mut self, id: &str) -> Result<bool, StoreError> {
        self.write(|conn| {
            if held::id(conn)?.as_deref() != Some(id) {
                return Ok(false);
            }
            held::write(conn, None)?;
            conn.execute("UPDATE meta SET version = version + 1, settled = NULL", [])?;
            Ok(true)
        })
        .map_err(|fault| fault.store(&self.place.shown))
    }

    /// Keeps `keys`, a JWK set of public keys, for `issuer`; `at` is when they were read. Writes
    /// where they differ from those kept, and nothing that a plan is based on: neither the
    /// generation nor [`crate::store::Meta::version`] changes, so this needs no lock.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    pub fn keep_keys(&mut self, issuer: &str, keys: &str, at: Time) -> Result<(), StoreError> {
        self.aside(|conn| super::keys::keep(conn, issuer, keys, at))
    }

    /// Writes something that is no part of a generation.
    pub(super) fn aside<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.write(work).map_err(|fault| fault.store(&self.place.shown))
    }

    fn write<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let _acting = self.place.act().map_err(Fault::Store)?;
        // IMMEDIATE: another writer is met here, not in the middle.
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&tx)?;
        tx.commit()?;
        checkpoint(&self.conn);
        Ok(done)
    }

    /// The connection, and where it is.
    pub(super) fn into_parts(self) -> (Connection, StorePath) {
        (self.conn, self.place)
    }

    /// Over a connection that was taken out of another one.
    pub(super) fn over(conn: Connection, place: StorePath) -> SqliteWriter {
        SqliteWriter { conn, place }
    }

    /// Lets go of the memory that a large change took, until the next change. Whether the connection is
    /// fit for that: it has no transaction open.
    pub(super) fn rests(&self) -> bool {
        self.conn.is_autocommit()
            && self.conn.pragma_update(None, "cache_size", RESTING_CACHE).is_ok()
            && self.conn.pragma_update(None, "cache_size", CACHE).is_ok()
    }

    /// The connection, for tests that provoke faults.
    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.conn
    }
}

/// Writes how reads went that brought nothing new.
pub(super) fn write_touch(
    conn: &Connection,
    sources: &[SourceUpdate<'_>],
    configured: &[String],
) -> Result<(), Fault> {
    write_configured(conn, configured)?;
    sources.iter().try_for_each(|source| write_source(conn, source))
}

/// Writes a commit whose plan `make` makes meanwhile.
pub(super) fn write_beside(
    conn: &Connection,
    beside: &Beside<'_>,
    make: impl FnOnce() -> Result<Plan, Inconsistent> + Send,
) -> Result<(Plan, Committed), Fault> {
    let Beside { base_version, sources, configured, settled } = *beside;
    let (plan, written) = std::thread::scope(|scope| {
        let planning = scope.spawn(make);
        let written = write_sources(conn, base_version, sources, configured);
        let plan = planning.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (plan, written)
    });
    written?;
    let plan = plan.map_err(|what| Fault::Inconsistent(what.to_string()))?;
    let committed = write_plan(conn, &plan, Some(settled))?;
    Ok((plan, committed))
}

/// Writes a commit, and patches mirrors.
pub(super) fn write_patches(
    conn: &Connection,
    commit: &Commit<'_>,
    patches: &[MirrorPatch<'_>],
) -> Result<Committed, Fault> {
    let committed = write_commit(conn, commit)?;
    patches.iter().try_for_each(|it| super::patch::write(conn, it))?;
    Ok(committed)
}

pub(super) fn write_commit(conn: &Connection, commit: &Commit<'_>) -> Result<Committed, Fault> {
    let Commit { plan, base_version, sources, configured, settled } = commit;
    write_sources(conn, *base_version, sources, configured)?;
    write_plan(conn, plan, settled.as_deref())
}

/// Writes what the sources said.
fn write_sources(
    conn: &Connection,
    base_version: i64,
    sources: &[SourceUpdate<'_>],
    configured: &[String],
) -> Result<(), Fault> {
    let version: i64 = conn.query_row("SELECT version FROM meta", [], |row| row.get(0))?;
    if version != base_version {
        return Err(Fault::Raced);
    }
    write_configured(conn, configured)?;
    for source in sources {
        write_source(conn, source)?;
        if let Some(new) = &source.mirror {
            mirror::write(conn, source.source, new.old, new.directory, new.digest)?;
        }
    }
    Ok(())
}

/// Writes what a plan changes.
fn write_plan(conn: &Connection, plan: &Plan, settled: Option<&str>) -> Result<Committed, Fault> {
    let (version, generation, before): (i64, i64, Option<String>) =
        conn.query_row("SELECT version, generation, settled FROM meta", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    // Only a run has weighed what a source's absence means; what a person does by hand has not.
    if plan.held.is_none() && settled.is_some() {
        drop_unconfigured(conn)?;
    }
    let next = generation.saturating_add(1);
    let applied = apply(conn, plan, next)?;
    if applied {
        conn.execute(
            "UPDATE meta SET generation = ?1, applied_at = ?2",
            params![next, plan.at.timestamp()],
        )?;
    }
    let held = held::write(conn, plan.held.as_ref())?;
    super::accounts::write(conn, &plan.records.accounts)?;
    let changed =
        applied || held || !plan.records.accounts.is_empty() || settled != before.as_deref();
    if changed {
        conn.execute("UPDATE meta SET version = version + 1, settled = ?1", [settled])?;
    }
    conn.execute(
        "UPDATE meta SET next_due = ?1 WHERE next_due IS NOT ?1",
        [plan.next_due.map(|due| due.timestamp())],
    )?;
    if settled.is_some() {
        conn.execute("UPDATE meta SET all_read = ?1 WHERE all_read <> ?1", [plan.all_read])?;
    }
    let below = |_| Fault::Damaged(format!("it is at generation {next}"));
    let generation = applied.then(|| u64::try_from(next)).transpose().map_err(below)?;
    Ok(Committed { generation, version: if changed { version.saturating_add(1) } else { version } })
}

/// Marks which sources are configured.
fn write_configured(conn: &Connection, configured: &[String]) -> Result<(), Fault> {
    let mut known = Vec::new();
    let mut statement = conn.prepare("SELECT name, configured FROM source")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        known.push((row.get::<_, String>(0)?, row.get::<_, bool>(1)?));
    }
    for (name, was) in &known {
        let is = configured.contains(name);
        if is != *was {
            conn.execute("UPDATE source SET configured = ?2 WHERE name = ?1", params![name, is])?;
        }
    }
    for name in configured {
        if !known.iter().any(|(known, _)| known == name) {
            conn.execute("INSERT INTO source (name, configured) VALUES (?1, 1)", [name])?;
        }
    }
    Ok(())
}

fn drop_unconfigured(conn: &Connection) -> Result<(), Fault> {
    let mut statement = conn.prepare("SELECT num FROM source WHERE configured = 0")?;
    let gone: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    gone.into_iter().try_for_each(|num| mirror::drop_source(conn, num))
}

/// Writes how a read went.
fn write_source(conn: &Connection, source: &SourceUpdate<'_>) -> Result<(), Fault> {
    let SourceUpdate { source: name, kind, tried_at, complete, error, scopes, .. } = source;
    let cursor = source.cursor.map(Cursor::as_str);
    let tried_at = tried_at.timestamp();
    let read_at = complete.then_some(tried_at);
    let spoke_at = error.is_none().then_some(tried_at);
    let scopes = if error.is_some() { None } else { Some(json(scopes)?) };
    let changed = conn.execute(
        "UPDATE source SET kind = ?2, tried_at = ?3, read_at = coalesce(?4, read_at), error = ?5, \
         scopes = coalesce(?6, scopes), spoke_at = coalesce(?7, spoke_at), \
         cursor = CASE WHEN ?7 IS NULL THEN cursor ELSE ?8 END WHERE name = ?1",
        params![name, kind, tried_at, read_at, error, scopes, spoke_at, cursor],
    )?;
    if changed != 1 {
        return Err(Fault::Inconsistent(format!("source `{name}` is not among the configured")));
    }
    Ok(())
}
