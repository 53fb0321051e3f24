//! The keys with which issuers sign, kept so that a gateway can verify tokens after a restart
//! before any issuer was reached. They are no part of what a run plans from.

use crate::store::sql::db::{Conn, OptionalExtension, params};

use super::error::Fault;
use crate::model::Time;

/// The keys of `issuer`.
pub(super) fn load(conn: Conn<'_>, issuer: &str) -> Result<Option<String>, Fault> {
    let keys = "SELECT keys FROM jwks WHERE issuer = ?1";
    Ok(conn.query_row(keys, [issuer], |row| row.get(0)).optional()?)
}

/// Keeps the keys of `issuer`, where they differ from those kept.
pub(in crate::store) fn keep(
    conn: Conn<'_>,
    issuer: &str,
    keys: &str,
    at: Time,
) -> Result<(), Fault> {
    conn.execute(
        "INSERT INTO jwks (issuer, keys, read_at) VALUES (?1, ?2, ?3) \
         ON CONFLICT (issuer) DO UPDATE SET keys = ?2, read_at = ?3 WHERE jwks.keys <> ?2",
        params![issuer, keys, at.timestamp()],
    )?;
    Ok(())
}
