//! Writing: what a commit is, inside of a transaction that only one can have at a time.

use super::apply::{apply, json};
use super::error::{Fault, Mismatch};
use super::{held, mirror};
use crate::directory::Cursor;
use crate::model::Inconsistent;
use crate::plan::Plan;
use crate::store::sql::db::{Conn, params};
use crate::store::{Beside, Commit, Committed, MirrorPatch, SourceUpdate};

/// Forgets the held plan `id`. `false`: another one is held, or none.
pub(in crate::store) fn discard_held(conn: Conn<'_>, id: &str) -> Result<bool, Fault> {
    if held::id(conn)?.as_deref() != Some(id) {
        return Ok(false);
    }
    held::write(conn, None)?;
    conn.execute("UPDATE meta SET version = version + 1, settled = NULL", [])?;
    Ok(true)
}

/// Writes how reads went that brought nothing new.
pub(in crate::store) fn write_touch(
    conn: Conn<'_>,
    sources: &[SourceUpdate<'_>],
    configured: &[String],
) -> Result<(), Fault> {
    write_configured(conn, configured)?;
    sources.iter().try_for_each(|source| write_source(conn, source))
}

/// Writes a commit whose plan `make` makes meanwhile.
pub(in crate::store) fn write_beside(
    conn: Conn<'_>,
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
    let plan = plan.map_err(Mismatch::from)?;
    let committed = write_plan(conn, &plan, Some(settled))?;
    Ok((plan, committed))
}

/// Writes a commit, and patches mirrors.
pub(in crate::store) fn write_patches(
    conn: Conn<'_>,
    commit: &Commit<'_>,
    patches: &[MirrorPatch<'_>],
) -> Result<Committed, Fault> {
    let committed = write_commit(conn, commit)?;
    patches.iter().try_for_each(|it| super::patch::write(conn, it))?;
    Ok(committed)
}

pub(in crate::store) fn write_commit(
    conn: Conn<'_>,
    commit: &Commit<'_>,
) -> Result<Committed, Fault> {
    let Commit { plan, base_version, sources, configured, settled } = commit;
    write_sources(conn, *base_version, sources, configured)?;
    write_plan(conn, plan, settled.as_deref())
}

/// Writes what the sources said.
fn write_sources(
    conn: Conn<'_>,
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
fn write_plan(conn: Conn<'_>, plan: &Plan, settled: Option<&str>) -> Result<Committed, Fault> {
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
        "UPDATE meta SET next_due = ?1 WHERE next_due IS DISTINCT FROM ?1",
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
fn write_configured(conn: Conn<'_>, configured: &[String]) -> Result<(), Fault> {
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

fn drop_unconfigured(conn: Conn<'_>) -> Result<(), Fault> {
    let mut statement = conn.prepare("SELECT num FROM source WHERE configured = 0")?;
    let gone: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    gone.into_iter().try_for_each(|num| mirror::drop_source(conn, num))
}

/// Writes how a read went.
fn write_source(conn: Conn<'_>, source: &SourceUpdate<'_>) -> Result<(), Fault> {
    let SourceUpdate { source: name, kind, tried_at, complete, error, scopes, .. } = source;
    let cursor = source.cursor.map(Cursor::as_str);
    let tried_at = tried_at.timestamp();
    let read_at = complete.then_some(tried_at);
    let spoke_at = error.is_none().then_some(tried_at);
    let scopes = if error.is_some() { None } else { Some(json(scopes)?) };
    let changed = conn.execute(
        "UPDATE source SET kind = ?2, tried_at = ?3, read_at = coalesce(?4, read_at), error = ?5, \
         scopes = coalesce(?6, scopes), spoke_at = coalesce(?7, spoke_at), \
         cursor = CASE WHEN CAST(?7 AS BIGINT) IS NULL THEN cursor ELSE ?8 END WHERE name = ?1",
        params![name, kind, tried_at, read_at, error, scopes, spoke_at, cursor],
    )?;
    if changed != 1 {
        return Err(Mismatch::UnconfiguredSource((*name).to_owned()).into());
    }
    Ok(())
}
