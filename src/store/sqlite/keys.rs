//! The keys with which issuers sign, kept so that a gateway can verify tokens after a restart
//! before any issuer was reached. They are no part of what a run plans from.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::Fault;
use crate::model::Time;

/// The keys of `issuer`.
pub(super) fn load(conn: &Connection, issuer: &str) -> Result<Option<String>, Fault> {
    let keys = "SELECT keys FROM jwks WHERE issuer = ?1";
    Ok(conn.query_row(keys, [issuer], |row| row.get(0)).optional()?)
}

/// Keeps the keys of `issuer`, where they differ from those kept.
pub(super) fn keep(conn: &Connection, issuer: &str, keys: &str, at: Time) -> Result<(), Fault> {
    conn.execute(
        "INSERT INTO jwks (issuer, keys, read_at) VALUES (?1, ?2, ?3) \
         ON CONFLICT (issuer) DO UPDATE SET keys = ?2, read_at = ?3 WHERE keys <> ?2",
        params![issuer, keys, at.timestamp()],
    )?;
    Ok(())
}
