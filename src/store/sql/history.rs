//! Who gained or lost what, when, why, in which generation.
//!
//! A row holds numbers; names and sentences are made when it is read. A person's name in a row is
//! the one after that change: renames are in the history themselves, so it can be told.

mod codes;
mod read;

use crate::store::sql::db::{Conn, params};

use super::apply::{Names, role_of, user_of};
use super::batch::{Batch, Cell};
use super::error::Fault;
use super::grants::local_of;
use crate::model::{Cause, Change, GrantKind, LocalGrant, SourceIdx, UserId, rfc3339};
use crate::plan::{Plan, RoleDifference, Tables, token_story};
pub(super) use codes::{RENAMED, UNLINKED};
use codes::{cause_number, kind_number, origin_number};

/// A row that is about to be written. `'v` is the plan's.
#[derive(Clone)]
struct Record<'v> {
    kind: i64,
    user: Option<UserId>,
    role: Option<i64>,
    origin: Option<i64>,
    cause: Option<i64>,
    reasons: Option<i64>,
    old_reasons: Option<i64>,
    old: Cell<'v>,
    new: Cell<'v>,
    note: Cell<'v>,
}

/// A row of this kind that says nothing more.
fn bare<'v>(kind: i64) -> Record<'v> {
    Record {
        kind,
        user: None,
        role: None,
        origin: None,
        cause: None,
        reasons: None,
        old_reasons: None,
        old: Cell::Null,
        new: Cell::Null,
        note: Cell::Null,
    }
}

/// A generation whose rows are still to be written: one for each change of its plan, under the numbers that
/// were given out for those.
pub(super) struct Log<'v> {
    generation: i64,
    plan: &'v Plan,
    /// The first row's number; `None`: the store numbers them.
    first: Option<i64>,
}

impl<'v> Log<'v> {
    /// Begins `generation`, of `plan`. `silent`: it changes somebody's role set of whom it has no row.
    pub(super) fn open(
        conn: Conn<'_>,
        generation: i64,
        plan: &'v Plan,
        silent: bool,
    ) -> Result<Self, Fault> {
        let first = conn.numbers("history", plan.changes.len())?;
        let (deed, taken) = (plan.records.deed.as_ref(), plan.taken);
        let (by, reason) = (deed.map(|deed| deed.by.as_str()), deed.map(|deed| &deed.reason));
        conn.execute(
            "INSERT INTO generation (num, at, first, silent, by, reason, lost, disabled) \
             VALUES (?1, ?2, coalesce(?8, (SELECT coalesce(max(num), 0) + 1 FROM history)), ?3, ?4, ?5, \
                     ?6, ?7)",
            params![
                generation,
                plan.at.timestamp(),
                silent,
                by,
                reason,
                i64::try_from(taken.lost_pairs).unwrap_or(i64::MAX),
                i64::try_from(taken.disabled).unwrap_or(i64::MAX),
                first
            ],
        )?;
        Ok(Log { generation, plan, first })
    }

    /// Writes them.
    pub(super) fn write(self, conn: Conn<'_>, names: &mut Names<'_>) -> Result<(), Fault> {
        let Log { generation, plan, first } = self;
        let mut rows = Batch::new(
            conn,
            "history (num, generation, kind, user, role, origin, cause, reasons, old_reasons, \
             old, new, note)",
        );
        for (place, change) in (0..).zip(&plan.changes) {
            let Record { kind, user, role, origin, cause, reasons, old_reasons, old, new, note } =
                record(plan, change, names)?;
            rows.add([
                first.map(|first| first.saturating_add(place)).into(),
                generation.into(),
                kind.into(),
                user.into(),
                role.into(),
                origin.into(),
                cause.into(),
                reasons.into(),
                old_reasons.into(),
                old,
                new,
                note,
            ])?;
        }
        rows.finish()
    }
}

fn origin(kind: GrantKind) -> Option<i64> {
    Some(origin_number(kind.origin()))
}

/// The story of a local grant in a few words.
fn story(local: &LocalGrant) -> String {
    let LocalGrant { by, at, reason, until } = local;
    let until = until.map(|until| format!(", until {}", rfc3339(until))).unwrap_or_default();
    format!("by `{by}` at {}: {reason}{until}", rfc3339(*at))
}

/// The row of `change` of `plan`.
fn record<'v>(
    plan: &'v Plan,
    change: &'v Change,
    names: &mut Names<'_>,
) -> Result<Record<'v>, Fault> {
    let tables = &plan.tables;
    let text = |text| Cell::from(tables.texts.get(text));
    let kind = kind_number(change.kind());
    let bare = bare(kind);
    let of = |user: &UserId| Record { user: Some(*user), ..bare.clone() };
    let ended = |user: &UserId, cause: &'v Cause| Record {
        cause: Some(cause_number(cause.kind())),
        note: cause.note().into(),
        ..of(user)
    };
    let named = |source: SourceIdx| Cell::from(tables.sources.get(source).map(String::as_str));
    Ok(match change {
        Change::RoleAdded { role } | Change::RoleRemoved { role } => {
            Record { role: Some(names.role(*role)?), ..bare }
        }
        Change::RoleChanged { role, old } => {
            let note = RoleDifference::of(old, role_of(tables, *role)?).done().into();
            Record { role: Some(names.role(*role)?), note, ..bare }
        }
        Change::UserCreated { user }
        | Change::UserEnabled { user }
        | Change::UserMissing { user }
        | Change::UserReturned { user } => of(user),
        Change::UserRenamed { user, old } => {
            let new = text(user_of(tables, *user)?.1.username);
            Record { old: text(*old), new, ..of(user) }
        }
        Change::EmailChanged { user, old } => {
            let new = text(user_of(tables, *user)?.1.email);
            Record { old: text(*old), new, ..of(user) }
        }
        Change::UserDisabled { user, by, federation: _ } => {
            Record { note: by.as_str().into(), ..of(user) }
        }
        Change::UserDeprovisioned { user, cause } => ended(user, cause),
        Change::LinkAdded { user, source, ext } => {
            Record { new: text(*ext), note: named(*source), ..of(user) }
        }
        Change::LinkRemoved { user, source, ext } => {
            Record { old: text(*ext), note: named(*source), ..of(user) }
        }
        Change::LinkClaims { user, source, ext, claim } => {
            let old = claim.map(text).into();
            Record { old, new: text(*ext), note: named(*source), ..of(user) }
        }
        Change::GrantAdded { user, role, kind } => {
            let (role, origin) = (Some(names.role(*role)?), origin(*kind));
            let (reasons, new) = why(tables, names, *kind)?;
            Record { role, origin, reasons, new, ..of(user) }
        }
        Change::GrantReasons { user, role, old, new } => Record {
            role: Some(names.role(*role)?),
            origin: Some(0),
            reasons: Some(names.reasons(*new)?),
            old_reasons: Some(names.reasons(*old)?),
            ..of(user)
        },
        Change::GrantRemoved { user, role, kind, cause } => {
            let (role, origin) = (Some(names.role(*role)?), origin(*kind));
            let (old_reasons, old) = why(tables, names, *kind)?;
            Record { role, origin, old_reasons, old, ..ended(user, cause) }
        }
        Change::TokenAdded { user, token } => {
            Record { new: token.name.as_str().into(), note: token_story(token).into(), ..of(user) }
        }
        Change::TokenRemoved { user, name, cause } => {
            Record { old: text(*name), ..ended(user, cause) }
        }
        Change::TokenRoleLost { user, name, role, cause } => {
            Record { role: Some(names.role(*role)?), old: text(*name), ..ended(user, cause) }
        }
        Change::CatalogChanged | Change::WorkloadChanged => bare,
    })
}

/// Why there is a grant: the number of its reasons, or the story of a local one.
fn why<'v>(
    tables: &Tables,
    names: &mut Names<'_>,
    kind: GrantKind,
) -> Result<(Option<i64>, Cell<'v>), Fault> {
    Ok(match kind {
        GrantKind::Idp(set) => (Some(names.reasons(set)?), Cell::Null),
        GrantKind::Local(local) => (None, story(local_of(tables, local)?).into()),
    })
}
