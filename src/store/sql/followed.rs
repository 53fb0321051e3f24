//! How sources are followed: no part of any generation.

use std::collections::BTreeMap;

use crate::store::sql::db::{Conn, params};

use super::error::Fault;
use super::mirror::damaged;
use super::reader::time;
use crate::model::{FollowMode, Followed, LastDrift};

pub(in crate::store) fn keep(
    conn: Conn<'_>,
    source: &str,
    followed: &Followed,
) -> Result<(), Fault> {
    let Followed { mode, why, since, current_at, last_drift } = followed;
    let changes = last_drift.map(|drift| i64::try_from(drift.changes).unwrap_or(i64::MAX));
    conn.execute(
        "INSERT INTO followed (source, mode, why, since, current_at, drift_at, drift_changes) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (source) DO UPDATE SET mode = excluded.mode, why = excluded.why, \
             since = excluded.since, current_at = excluded.current_at, \
             drift_at = coalesce(excluded.drift_at, followed.drift_at), \
             drift_changes = coalesce(excluded.drift_changes, followed.drift_changes)",
        params![
            source,
            mode.as_str(),
            why,
            since.timestamp(),
            current_at.map(|at| at.timestamp()),
            last_drift.map(|drift| drift.at.timestamp()),
            changes,
        ],
    )?;
    Ok(())
}

pub(super) fn load(conn: Conn<'_>) -> Result<BTreeMap<String, Followed>, Fault> {
    let mut statement = conn.prepare(
        "SELECT source, mode, why, since, current_at, drift_at, drift_changes FROM followed",
    )?;
    let mut rows = statement.query([])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mode: String = row.get(1)?;
        let mode = FollowMode::named(&mode);
        let changes = row.get::<_, Option<i64>>(6)?.and_then(|it| u64::try_from(it).ok());
        let last_drift = time(row, 5)?.zip(changes);
        let followed = Followed {
            mode: mode.ok_or_else(|| damaged("is followed in an unknown way"))?,
            why: row.get(2)?,
            since: time(row, 3)?.ok_or_else(|| damaged("is followed since no time"))?,
            current_at: time(row, 4)?,
            last_drift: last_drift.map(|(at, changes)| LastDrift { at, changes }),
        };
        all.insert(row.get(0)?, followed);
    }
    Ok(all)
}
