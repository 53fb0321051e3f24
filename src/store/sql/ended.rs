//! The list of ended sessions: no part of any generation.

use super::db::{Conn, OptionalExtension, params};
use super::error::Fault;
use crate::model::{SessionEnd, SessionRealm, SessionScope};
use crate::store::EndedSince;

fn realm(realm: &SessionRealm) -> (&str, bool) {
    match realm {
        SessionRealm::Source(name) => (name, false),
        SessionRealm::Issuer(issuer) => (issuer, true),
    }
}

fn kind(scope: &SessionScope) -> i64 {
    match scope {
        SessionScope::Session(_) => 0,
        SessionScope::Subject(_) => 1,
        SessionScope::Everybody => 2,
        SessionScope::Client(_) => 3,
    }
}

/// Puts `ended` on the list where it says more than what is there, and takes off what ended before
/// `forget`. What says more gets a new number: whoever reads on from the last one finds it.
pub(in crate::store) fn keep(
    conn: Conn<'_>,
    ended: &[SessionEnd],
    forget: i64,
) -> Result<(), Fault> {
    let mut known = conn.prepare(
        "SELECT last_iat FROM ended_session \
         WHERE realm = ?1 AND issuer = ?2 AND kind = ?3 AND id = ?4",
    )?;
    let mut gone = conn.prepare(
        "DELETE FROM ended_session WHERE realm = ?1 AND issuer = ?2 AND kind = ?3 AND id = ?4",
    )?;
    let mut put = conn.prepare(
        "INSERT INTO ended_session (realm, issuer, kind, id, last_iat) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for end in ended {
        let ((realm, issuer), kind, id) = (realm(&end.realm), kind(&end.scope), end.id());
        let row = params![realm, issuer, kind, id];
        let before: Option<i64> = known.query_row(row, |row| row.get(0)).optional()?;
        if before.is_none_or(|before| before < end.last_iat) {
            if before.is_some() {
                gone.execute(row)?;
            }
            put.execute(params![realm, issuer, kind, id, end.last_iat])?;
        }
    }
    conn.execute("DELETE FROM ended_session WHERE last_iat < ?1", [forget])?;
    Ok(())
}

/// What is on the list behind `place`.
pub(super) fn since(conn: Conn<'_>, place: u64) -> Result<EndedSince, Fault> {
    let mut since = EndedSince { ended: Vec::new(), place };
    // A store that was put back to an earlier state gives places anew: then all of it is read, which ends
    // nothing twice.
    let last: i64 = conn
        .prepare("SELECT coalesce(max(num), 0) FROM ended_session")?
        .query_row([], |row| row.get(0))?;
    let from = if u64::try_from(last).unwrap_or_default() < place { 0 } else { place };
    let mut statement = conn.prepare(
        "SELECT num, realm, issuer, kind, id, last_iat FROM ended_session \
         WHERE num > ?1 ORDER BY num",
    )?;
    let mut rows = statement.query([i64::try_from(from).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let (realm, id) = (row.get(1)?, row.get(4)?);
        let realm = match row.get(2)? {
            false => SessionRealm::Source(realm),
            true => SessionRealm::Issuer(realm),
        };
        let scope = match row.get::<_, i64>(3)? {
            0 => SessionScope::Session(id),
            1 => SessionScope::Subject(id),
            2 => SessionScope::Everybody,
            3 => SessionScope::Client(id),
            other => {
                return Err(Fault::Damaged(format!("a session has ended as {other}: unknown")));
            }
        };
        since.ended.push(SessionEnd { realm, scope, last_iat: row.get(5)? });
        since.place = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
    }
    Ok(since)
}

pub(super) fn count(conn: Conn<'_>) -> Result<u64, Fault> {
    let count: i64 = conn.query_row("SELECT count(*) FROM ended_session", [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}
