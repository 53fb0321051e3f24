//! The schema's versions, and what a file is.
//!
//! `PRAGMA user_version` is the schema's version. A migration is one transaction: it happens or it
//! does not.

use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};

use super::error::{Fault, StoreError, StoreErrorKind};
use crate::store::sql::db::Conn;

/// `idps`: how a store's file is told from any other SQLite database.
pub(super) const APPLICATION_ID: i64 = 1_768_190_067;

/// The schema that this program writes.
pub const SCHEMA_VERSION: i64 = 11;

/// From nothing to [`SCHEMA_VERSION`], one step a version. Steps are never edited once released.
pub(super) const STEPS: &[M<'static>] = &[
    M::up(include_str!("schema/v1.sql")),
    M::up(include_str!("schema/v2.sql")),
    M::up(include_str!("schema/v3.sql")),
    M::up(include_str!("schema/v4.sql")),
    M::up(include_str!("schema/v5.sql")),
    M::up(include_str!("schema/v6.sql")),
    M::up(include_str!("schema/v7.sql")),
    M::up(include_str!("schema/v8.sql")),
    M::up(include_str!("schema/v9.sql")),
    M::up(include_str!("schema/v10.sql")),
    M::up(include_str!("schema/v11.sql")),
];

/// What a file turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Identity {
    /// An empty database: a store whose making was cut short.
    Fresh,
    /// A store of this schema version.
    Ours(i64),
}

/// Tells what `conn` is open on, without writing.
pub(super) fn identify(conn: &Connection, path: &Path, known: i64) -> Result<Identity, StoreError> {
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let facts = || -> Result<(i64, i64, i64), Fault> {
        Ok((
            number("PRAGMA application_id")?,
            number("PRAGMA user_version")?,
            number("SELECT count(*) FROM sqlite_schema")?,
        ))
    };
    let shown = path.display();
    match facts().map_err(|fault| fault.store(&path.display()))? {
        (0, 0, 0) => Ok(Identity::Fresh),
        (APPLICATION_ID, version, _) if version > known => Err(newer(path, version, known)),
        (APPLICATION_ID, version, _) if version >= 1 => Ok(Identity::Ours(version)),
        _ => Err(StoreError::new(
            StoreErrorKind::NotOurs,
            format!(
                "`{shown}` is an SQLite database, but not a store of idpsyncd: it was left alone, \
                 set `store.path` to another file"
            ),
        )),
    }
}

fn newer(path: &Path, version: i64, known: i64) -> StoreError {
    let shown = path.display();
    StoreError::new(
        StoreErrorKind::Newer,
        format!(
            "the store `{shown}` has schema version {version}, this idpsyncd knows {known}: \
             it was left untouched, use the newer idpsyncd that wrote it"
        ),
    )
}

/// Makes sure that nobody has migrated the store since `conn` was opened on it, at which it had a version that
/// is known.
///
/// # Errors
/// A newer program has, or that cannot be told.
pub(super) fn still_known(conn: &Connection, path: &Path, known: i64) -> Result<(), Fault> {
    match Conn::Sqlite(conn).schema_version()? {
        version if version > known => Err(Fault::Store(newer(path, version, known))),
        _ => Ok(()),
    }
}

/// Brings `conn` up to the last of `steps`, in one transaction.
pub(super) fn migrate(
    conn: &mut Connection,
    steps: &'static [M<'static>],
    path: &Path,
) -> Result<(), StoreError> {
    use rusqlite_migration::Error;
    Migrations::from_slice(steps).to_latest(conn).map_err(|error| match error {
        Error::RusqliteError { err, .. } => Fault::from(err).store(&path.display()),
        other => StoreError::new(
            StoreErrorKind::Other,
            format!("cannot migrate the store `{}`: {other}; it is as it was", path.display()),
        ),
    })
}
