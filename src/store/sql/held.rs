//! What waits for a person: one row that is looked at often, and a row for each change.

use crate::store::sql::db::{Conn, OptionalExtension, params};

use super::apply::json;
use super::batch::Batch;
use super::error::{Fault, Mismatch};
use super::reader;
use crate::model::TooMany;
use crate::plan::{ChangeView, Held, HeldHead};

/// The id of the held plan.
pub(super) fn id(conn: Conn<'_>) -> Result<Option<String>, Fault> {
    Ok(conn.query_row("SELECT plan FROM held", [], |row| row.get(0)).optional()?)
}

/// What is said of the held plan; its changes are not read.
pub(super) fn head(conn: Conn<'_>) -> Result<Option<HeldHead>, Fault> {
    let mut statement = conn.prepare("SELECT plan, since, why, lost_pairs, changes FROM held")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let why: String = row.get(2)?;
    Ok(Some(HeldHead {
        id: row.get(0)?,
        since: row.get(1)?,
        why: reader::json(&why, "held plan's reasons")?,
        lost_pairs: count(row.get(3)?)?,
        changes: count(row.get(4)?)?,
    }))
}

/// The held plan with its changes.
pub(super) fn load(conn: Conn<'_>) -> Result<Option<Held>, Fault> {
    let Some(head) = head(conn)? else { return Ok(None) };
    let HeldHead { id, since, why, lost_pairs, changes: count } = head;
    let mut statement = conn.prepare("SELECT change FROM held_change ORDER BY num")?;
    let mut rows = statement.query([])?;
    let mut changes: Vec<ChangeView> = Vec::new();
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_str()?;
        changes.push(reader::json(text, "held change")?);
    }
    // Whoever approves must have seen all of them.
    if changes.len() as u64 != count {
        return Err(Fault::Damaged(format!(
            "the held plan `{id}` has {count} changes, {} are there",
            changes.len()
        )));
    }
    Ok(Some(Held { id, since, why, lost_pairs, changes }))
}

/// Makes the stored held plan the given one. Returns whether it differed. A plan of the same id is
/// the same plan: nothing is written then.
pub(super) fn write(conn: Conn<'_>, held: Option<&Held>) -> Result<bool, Fault> {
    let stored = id(conn)?;
    if stored.as_deref() == held.map(|held| held.id.as_str()) {
        return Ok(false);
    }
    conn.execute("DELETE FROM held", [])?;
    conn.execute("DELETE FROM held_change", [])?;
    let Some(Held { id, since, why, lost_pairs, changes }) = held else { return Ok(true) };
    let number = |count: u64| {
        i64::try_from(count).map_err(|_| Fault::from(Mismatch::from(TooMany("held changes"))))
    };
    conn.execute(
        "INSERT INTO held (id, plan, since, why, lost_pairs, changes) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
        params![id, since, json(why)?, number(*lost_pairs)?, number(changes.len() as u64)?],
    )?;
    let mut rows = Batch::new(conn, "held_change (num, change)");
    for (num, change) in (1_i64..).zip(changes) {
        rows.add([num.into(), json(change)?.into()])?;
    }
    rows.finish()?;
    Ok(true)
}

fn count(stored: i64) -> Result<u64, Fault> {
    u64::try_from(stored)
        .map_err(|_| Fault::Damaged(format!("the held plan counts {stored} changes or pairs")))
}
