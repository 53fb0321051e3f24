//! Grants' rows.

use std::cmp::Reverse;

use crate::store::sql::db::{Conn, Statement, params};

use super::apply::{Names, one, user_of};
use super::batch::Batch;
use super::error::{Fault, Mismatch};
use super::past::KEEP_LOCAL;
use crate::model::{Change, Grant, GrantKind, Inconsistent, LocalGrant, LocalIdx};
use crate::plan::{Plan, Tables};

/// The local grant's story at `index` of a plan.
pub(super) fn local_of(tables: &Tables, index: LocalIdx) -> Result<&LocalGrant, Fault> {
    tables.locals.get(index).ok_or_else(|| Mismatch::Plan(Inconsistent::NoSuchLocal(index)).into())
}

/// The grant that a change speaks of.
fn grant_of(change: &Change) -> Option<Grant> {
    match change {
        Change::GrantAdded { user, role, kind } | Change::GrantRemoved { user, role, kind, .. } => {
            Some(Grant { user: *user, role: *role, kind: *kind })
        }
        Change::GrantReasons { user, role, new, .. } => {
            Some(Grant { user: *user, role: *role, kind: GrantKind::Idp(*new) })
        }
        _ => None,
    }
}

struct GrantStatements<'a> {
    add_idp: Batch<'a, 'a, 3>,
    add_local: Statement<'a>,
    reasons: Statement<'a>,
    keep_local: Statement<'a>,
    remove_idp: Statement<'a>,
    remove_local: Statement<'a>,
}

/// Writes the grants that a plan makes, changes and takes away.
pub(super) fn write_grants(
    conn: Conn<'_>,
    plan: &Plan,
    names: &mut Names<'_>,
    generation: i64,
) -> Result<(), Fault> {
    let mut statements = GrantStatements {
        add_idp: Batch::new(conn, "idp_grant (user, role, reasons)"),
        add_local: conn.prepare(
            "INSERT INTO local_grant (user, role, by, at, reason, until, made) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?,
        reasons: conn.prepare("UPDATE idp_grant SET reasons = ?3 WHERE user = ?1 AND role = ?2")?,
        keep_local: conn.prepare(KEEP_LOCAL)?,
        remove_idp: conn.prepare("DELETE FROM idp_grant WHERE user = ?1 AND role = ?2")?,
        remove_local: conn.prepare("DELETE FROM local_grant WHERE user = ?1 AND role = ?2")?,
    };
    let grant = |place: &u32| plan.changes.get(*place as usize).and_then(grant_of);
    let mut touched: Vec<u32> = (0u32..)
        .zip(&plan.changes)
        .filter(|(_, change)| grant_of(change).is_some())
        .map(|(place, _)| place)
        .collect();
    // In the order of the rows, which is how they are written fastest. The sort is stable: what
    // happens to one grant happens in the plan's order.
    touched.sort_by_key(|place| {
        grant(place).map(|grant| (grant.user, grant.role, Reverse(grant.kind.is_idp())))
    });
    // A number may have to be asked for: not between rows that are on their way.
    for change in touched.iter().filter_map(|place| plan.changes.get(*place as usize)) {
        if let Change::GrantAdded { kind: GrantKind::Idp(set), .. } = change {
            names.reasons(*set)?;
        }
    }
    for place in touched {
        let change = plan.changes.get(place as usize);
        if let Some((change, grant)) = change.zip(grant(&place)) {
            write_grant(&mut statements, plan, (change, grant), names, generation)?;
        }
    }
    statements.add_idp.finish()
}

fn write_grant(
    statements: &mut GrantStatements<'_>,
    plan: &Plan,
    (change, grant): (&Change, Grant),
    names: &mut Names<'_>,
    generation: i64,
) -> Result<(), Fault> {
    let (user, role) = (grant.user, names.role(grant.role)?);
    if let (Change::GrantAdded { .. }, GrantKind::Idp(set)) = (change, grant.kind) {
        user_of(&plan.tables, user)?;
        return statements.add_idp.add([user.into(), role.into(), names.reasons(set)?.into()]);
    }
    // What happens to one grant happens in the plan's order.
    statements.add_idp.flush()?;
    let changed = match (change, grant.kind) {
        (Change::GrantRemoved { .. }, GrantKind::Idp(_)) => {
            statements.remove_idp.execute(params![user.get(), role])?
        }
        (Change::GrantRemoved { .. }, GrantKind::Local(_)) => {
            statements.keep_local.execute(params![user.get(), role, generation])?;
            statements.remove_local.execute(params![user.get(), role])?
        }
        (_, GrantKind::Idp(set)) => {
            statements.reasons.execute(params![user.get(), role, names.reasons(set)?])?
        }
        (_, GrantKind::Local(index)) => {
            user_of(&plan.tables, user)?;
            let local = local_of(&plan.tables, index)?;
            let until = local.until.map(|until| until.timestamp());
            let at = local.at.timestamp();
            let (by, reason) = (local.by.as_str(), &local.reason);
            statements.add_local.execute(params![
                user.get(),
                role,
                by,
                at,
                reason,
                until,
                generation
            ])?
        }
    };
    one(changed, || Mismatch::NoSuchGrant { user, role })
}
