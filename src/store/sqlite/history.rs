//! Who gained or lost what, when, why, in which generation.
//!
//! A row holds numbers; names and sentences are made when it is read. A person's name in a row is
//! the one after that change: renames are in the history themselves, so it can be told.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::apply::{Names, role_of, user_of};
use super::batch::{Batch, Cell};
use super::codec::user_at;
use super::error::{Fault, StoreError};
use super::grants::local_of;
use super::load::StoredReasons;
use super::reader::{SqliteReader, time_at};
use crate::model::{
    Cause, CauseKind, Change, ChangeKind, Deed, GrantKind, LocalGrant, Origin, Reason, Time,
    UserId, rfc3339,
};
use crate::plan::{
    ChangeView, Plan, RoleDifference, Taken, came, disabled_by, lost, outgrown, reason_views,
    shortest, sorted, token_story,
};
use crate::store::{HistoryFilter, HistoryRow};

/// The number that stands for a kind of change in a row. None is ever another's.
pub(super) const fn kind_number(kind: ChangeKind) -> i64 {
    match kind {
        ChangeKind::RoleAdded => 0,
        ChangeKind::RoleChanged => 1,
        ChangeKind::RoleRemoved => 2,
        ChangeKind::UserCreated => 3,
        ChangeKind::UserRenamed => 4,
        ChangeKind::EmailChanged => 5,
        ChangeKind::UserDisabled => 6,
        ChangeKind::UserEnabled => 7,
        ChangeKind::UserMissing => 8,
        ChangeKind::UserReturned => 9,
        ChangeKind::UserDeprovisioned => 10,
        ChangeKind::LinkAdded => 11,
        ChangeKind::GrantAdded => 12,
        ChangeKind::GrantReasons => 13,
        ChangeKind::GrantRemoved => 14,
        ChangeKind::CatalogChanged => 15,
        ChangeKind::LinkRemoved => 16,
        ChangeKind::LinkRefused => 17,
        ChangeKind::LinkAccepted => 18,
        ChangeKind::TokenAdded => 19,
        ChangeKind::TokenRemoved => 20,
        ChangeKind::TokenRoleLost => 21,
        ChangeKind::WorkloadChanged => 22,
    }
}

/// `user-renamed`: the schema has an index of these.
pub(super) const RENAMED: i64 = kind_number(ChangeKind::UserRenamed);

/// `link-removed`
pub(super) const UNLINKED: i64 = kind_number(ChangeKind::LinkRemoved);

/// The number that stands for a cause in a row. None is ever another's.
const fn cause_number(cause: CauseKind) -> i64 {
    match cause {
        CauseKind::NotAtIdp => 0,
        CauseKind::RoleGone => 1,
        CauseKind::UserGone => 2,
        CauseKind::Replaced => 3,
        CauseKind::Expired => 4,
        CauseKind::IdpDecides => 5,
        CauseKind::ByHand => 6,
        CauseKind::NotEveryone => 7,
        CauseKind::NewSecret => 8,
    }
}

/// The number that stands for who made a grant.
const fn origin_number(origin: Origin) -> i64 {
    match origin {
        Origin::Idp => 0,
        Origin::Local => 1,
    }
}

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

/// What the generations after `since` took away.
fn taken_since(conn: &Connection, since: Time) -> Result<Taken, Fault> {
    let sql = "SELECT coalesce(sum(lost), 0), coalesce(sum(disabled), 0) FROM generation \
               WHERE at > ?1 AND (lost > 0 OR disabled > 0)";
    let count = |row: &rusqlite::Row<'_>, at| row.get::<_, i64>(at).map(i64::unsigned_abs);
    Ok(conn.query_row(sql, [since.timestamp()], |row| {
        Ok(Taken { lost_pairs: count(row, 0)?, disabled: count(row, 1)? })
    })?)
}

/// Where one generation's rows are written. [`Log::finish`] comes last.
pub(super) struct Log<'c, 'v> {
    generation: i64,
    rows: Batch<'c, 'v, 11>,
}

impl<'c, 'v> Log<'c, 'v> {
    /// Begins `generation`. `silent`: it changes somebody's role set of whom it has no row.
    pub(super) fn open(
        conn: &'c Connection,
        generation: i64,
        at: Time,
        silent: bool,
        deed: Option<&Deed>,
        taken: Taken,
    ) -> Result<Self, Fault> {
        let (by, reason) = (deed.map(|deed| deed.by.as_str()), deed.map(|deed| &deed.reason));
        conn.execute(
            "INSERT INTO generation (num, at, first, silent, by, reason, lost, disabled) \
             VALUES (?1, ?2, (SELECT coalesce(max(num), 0) + 1 FROM history), ?3, ?4, ?5, ?6, ?7)",
            params![
                generation,
                at.timestamp(),
                silent,
                by,
                reason,
                i64::try_from(taken.lost_pairs).unwrap_or(i64::MAX),
                i64::try_from(taken.disabled).unwrap_or(i64::MAX)
            ],
        )?;
        let rows = Batch::new(
            conn,
            "history (generation, kind, user, role, origin, cause, reasons, old_reasons, old, \
             new, note)",
        );
        Ok(Log { generation, rows })
    }

    fn write(&mut self, record: Record<'v>) -> Result<(), Fault> {
        let Record { kind, user, role, origin, cause, reasons, old_reasons, old, new, note } =
            record;
        self.rows.add([
            self.generation.into(),
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
        ])
    }

    /// Writes the last rows.
    pub(super) fn finish(self) -> Result<(), Fault> {
        self.rows.finish()
    }
}

fn origin(kind: GrantKind) -> Option<i64> {
    Some(origin_number(kind.origin()))
}

fn cause_code(cause: &Cause) -> Option<i64> {
    Some(cause_number(cause.kind()))
}

/// The story of a local grant in a few words.
fn story(local: &LocalGrant) -> String {
    let LocalGrant { by, at, reason, until } = local;
    let until = until.map(|until| format!(", until {}", rfc3339(until))).unwrap_or_default();
    format!("by `{by}` at {}: {reason}{until}", rfc3339(*at))
}

/// Writes `change` of `plan`.
pub(super) fn record<'v>(
    log: &mut Log<'_, 'v>,
    plan: &'v Plan,
    change: &'v Change,
    names: &mut Names<'_>,
) -> Result<(), Fault> {
    let tables = &plan.tables;
    let text = |text| Cell::from(tables.texts.get(text));
    let kind = kind_number(change.kind());
    let bare = bare(kind);
    let of = |user: &UserId| Record { user: Some(*user), ..bare.clone() };
    let record = match change {
        Change::RoleAdded { role } => Record { role: Some(names.role(*role)?), ..bare },
        Change::RoleChanged { role, old } => {
            let note = RoleDifference::of(old, role_of(tables, *role)?).done().into();
            Record { role: Some(names.role(*role)?), note, ..bare }
        }
        Change::RoleRemoved { role } => Record { role: Some(names.role(*role)?), ..bare },
        Change::UserCreated { user } => of(user),
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
        Change::UserEnabled { user } => of(user),
        Change::UserMissing { user } => of(user),
        Change::UserReturned { user } => of(user),
        Change::UserDeprovisioned { user, cause } => {
            Record { cause: cause_code(cause), note: cause.note().into(), ..of(user) }
        }
        Change::LinkAdded { user, source, ext } => {
            let source = tables.sources.get(*source).map(String::as_str);
            Record { new: text(*ext), note: source.into(), ..of(user) }
        }
        Change::LinkRemoved { user, source, ext } => {
            let source = tables.sources.get(*source).map(String::as_str);
            Record { old: text(*ext), note: source.into(), ..of(user) }
        }
        Change::LinkClaims { user, source, ext, claim } => {
            let source = tables.sources.get(*source).map(String::as_str);
            let old = claim.map(text).into();
            Record { old, new: text(*ext), note: source.into(), ..of(user) }
        }
        Change::GrantAdded { user, role, kind } => {
            let (role, origin) = (Some(names.role(*role)?), origin(*kind));
            match kind {
                GrantKind::Idp(set) => {
                    let reasons = Some(names.reasons(*set)?);
                    Record { role, origin, reasons, ..of(user) }
                }
                GrantKind::Local(index) => {
                    let new = story(local_of(tables, *index)?).into();
                    Record { role, origin, new, ..of(user) }
                }
            }
        }
        Change::GrantReasons { user, role, old, new } => Record {
            role: Some(names.role(*role)?),
            origin: Some(0),
            reasons: Some(names.reasons(*new)?),
            old_reasons: Some(names.reasons(*old)?),
            ..of(user)
        },
        Change::GrantRemoved { user, role, kind, cause } => {
            let role = Some(names.role(*role)?);
            let (origin, note) = (origin(*kind), cause.note().into());
            let cause = cause_code(cause);
            match kind {
                GrantKind::Idp(set) => {
                    let old_reasons = Some(names.reasons(*set)?);
                    Record { role, origin, cause, note, old_reasons, ..of(user) }
                }
                GrantKind::Local(index) => {
                    let old = story(local_of(tables, *index)?).into();
                    Record { role, origin, cause, note, old, ..of(user) }
                }
            }
        }
        Change::CatalogChanged => bare,
        Change::TokenAdded { user, token } => {
            Record { new: token.name.as_str().into(), note: token_story(token).into(), ..of(user) }
        }
        Change::TokenRemoved { user, name, cause } => Record {
            old: text(*name),
            cause: cause_code(cause),
            note: cause.note().into(),
            ..of(user)
        },
        Change::TokenRoleLost { user, name, role, cause } => Record {
            role: Some(names.role(*role)?),
            old: text(*name),
            cause: cause_code(cause),
            note: cause.note().into(),
            ..of(user)
        },
        Change::WorkloadChanged => bare,
    };
    log.write(record)
}

impl SqliteReader {
    /// What the generations after `since` took away.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn taken_since(&self, since: Time) -> Result<Taken, StoreError> {
        self.read_as(|conn| taken_since(conn, since))
    }

    /// The changes that were applied, newest first.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryRow>, StoreError> {
        self.read_as(|conn| read(conn, filter))
    }
}

/// Names by which people were known.
struct PastNames {
    /// For each person the renames, oldest first: the row's number, the name before it.
    renames: BTreeMap<UserId, Vec<(i64, String)>>,
}

impl PastNames {
    fn load(conn: &Connection) -> Result<Self, Fault> {
        let mut statement = conn.prepare(&format!(
            "SELECT user, num, old FROM history WHERE kind = {RENAMED} ORDER BY user, num"
        ))?;
        let mut rows = statement.query([])?;
        let mut renames: BTreeMap<UserId, Vec<(i64, String)>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            renames.entry(user_at(row, 0)?).or_default().push((row.get(1)?, row.get(2)?));
        }
        Ok(PastNames { renames })
    }

    /// The name of `user` right after row `num`, `now` being the present one.
    fn after(&self, user: UserId, num: i64, now: String) -> String {
        let later = self.renames.get(&user).and_then(|renames| {
            renames.iter().find(|(renamed, _)| *renamed > num).map(|(_, old)| old.clone())
        });
        later.unwrap_or(now)
    }

    fn called(&self, name: &str) -> BTreeSet<UserId> {
        self.renames
            .iter()
            .filter(|(_, renames)| renames.iter().any(|(_, old)| old == name))
            .map(|(user, _)| *user)
            .collect()
    }
}

fn read(conn: &Connection, filter: &HistoryFilter) -> Result<Vec<HistoryRow>, Fault> {
    let past = PastNames::load(conn)?;
    let reasons = StoredReasons::load(conn)?;
    let users = match &filter.user {
        None => None,
        Some(name) => {
            let mut users = past.called(name);
            let mut statement = conn.prepare("SELECT id FROM user WHERE username = ?1")?;
            let mut rows = statement.query([name])?;
            while let Some(row) = rows.next()? {
                users.insert(user_at(row, 0)?);
            }
            Some(super::apply::json(&users)?)
        }
    };
    let role: Option<i64> = match &filter.role {
        None => None,
        Some(name) => {
            let num = conn
                .query_row("SELECT num FROM role WHERE name = ?1", [name], |row| row.get(0))
                .optional()?;
            if num.is_none() {
                return Ok(Vec::new());
            }
            num
        }
    };
    let first: i64 = match filter.since {
        None => 0,
        Some(since) => conn.query_row(
            "SELECT coalesce(min(first), 0x7fffffffffffffff) FROM generation WHERE at >= ?1",
            [since.timestamp()],
            |row| row.get(0),
        )?,
    };
    let limit = filter.limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX);
    let mut statement = conn.prepare(
        "SELECT h.num, h.generation, g.at, h.kind, h.user, u.username, r.name, h.origin, h.cause, \
                h.reasons, h.old_reasons, h.old, h.new, h.note, g.by, g.reason \
         FROM history h JOIN generation g ON g.num = h.generation \
         LEFT JOIN user u ON u.id = h.user LEFT JOIN role r ON r.num = h.role \
         WHERE h.num >= ?1 AND (?2 IS NULL OR h.role = ?2) \
           AND (?3 IS NULL OR h.user IN (SELECT value FROM json_each(?3))) \
         ORDER BY h.num DESC LIMIT ?4",
    )?;
    let mut rows = statement.query(params![first, role, users, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(view(row, row.get::<_, Option<u32>>(4)?.map(UserId::new), &past, &reasons)?);
    }
    Ok(found)
}

/// That of `all` whose number, as `number` has it, stands in a row.
fn numbered<T: Copy>(
    all: &[T],
    number: impl Fn(T) -> i64,
    stored: Option<i64>,
) -> Result<Option<T>, Fault> {
    let Some(stored) = stored else { return Ok(None) };
    let found = all.iter().copied().find(|it| number(*it) == stored);
    let unknown = || Fault::Damaged(format!("a row of history has the unknown code {stored}"));
    found.map(Some).ok_or_else(unknown)
}

fn view(
    row: &Row<'_>,
    user_id: Option<UserId>,
    past: &PastNames,
    stored: &StoredReasons,
) -> Result<HistoryRow, Fault> {
    let num: i64 = row.get(0)?;
    let generation: i64 = row.get(1)?;
    let change = numbered(ChangeKind::ALL, kind_number, Some(row.get(3)?))?
        .ok_or_else(|| Fault::Damaged("a row of history has no code".to_owned()))?;
    let now: Option<String> = row.get(5)?;
    let user = user_id.zip(now).map(|(id, now)| past.after(id, num, now));
    let origin = numbered(Origin::ALL, origin_number, row.get(7)?)?;
    let cause = numbered(CauseKind::ALL, cause_number, row.get(8)?)?;
    let ways = |column: usize| -> Result<Vec<&Reason>, Fault> {
        let Some(set) = row.get::<_, Option<i64>>(column)? else { return Ok(Vec::new()) };
        Ok(sorted(stored.of_set(set)?))
    };
    let (ways, old_ways) = (ways(9)?, ways(10)?);
    let words = |ways: &[&Reason]| (!ways.is_empty()).then(|| shortest(ways));
    let (reasons, old_reasons) = (words(&ways), words(&old_ways));
    let old: Option<String> = row.get::<_, Option<String>>(11)?;
    let new: Option<String> = row.get::<_, Option<String>>(12)?;
    let note: Option<String> = row.get(13)?;
    // A row that says what no cause of its kind says is shown by the word alone.
    let told = |kind: CauseKind, origin: Option<Origin>| {
        let cause = Cause::of(kind, note.as_deref());
        cause.map_or_else(|| kind.to_string(), |cause| lost(&cause, origin.unwrap_or(Origin::Idp)))
    };
    let why = match change {
        ChangeKind::RoleChanged | ChangeKind::TokenAdded => note.clone(),
        ChangeKind::UserDisabled => note.as_deref().map(disabled_by),
        ChangeKind::LinkAdded => {
            note.as_deref().map(|source| format!("known in `{source}` by this external id"))
        }
        ChangeKind::LinkRemoved => note.as_deref().map(outgrown),
        ChangeKind::LinkRefused | ChangeKind::LinkAccepted => {
            note.as_deref().map(|source| crate::plan::claims(source, old.as_deref()))
        }
        ChangeKind::TokenRemoved | ChangeKind::TokenRoleLost => {
            cause.map(|cause| told(cause, None))
        }
        ChangeKind::GrantAdded | ChangeKind::GrantReasons => {
            reasons.clone().or_else(|| new.clone())
        }
        ChangeKind::GrantRemoved | ChangeKind::UserDeprovisioned => {
            let told = cause.map(|cause| told(cause, origin));
            match (told, &old_reasons, &old) {
                (Some(told), Some(ways), _) => Some(came(&told, ways)),
                (Some(told), None, Some(story)) => Some(format!("{told}; was given {story}")),
                (told, _, _) => told,
            }
        }
        ChangeKind::RoleAdded
        | ChangeKind::RoleRemoved
        | ChangeKind::UserCreated
        | ChangeKind::UserRenamed
        | ChangeKind::EmailChanged
        | ChangeKind::UserEnabled
        | ChangeKind::UserMissing
        | ChangeKind::UserReturned
        | ChangeKind::CatalogChanged
        | ChangeKind::WorkloadChanged => None,
    };
    let mut token = None;
    let (old, new) = match change {
        ChangeKind::TokenAdded | ChangeKind::TokenRemoved | ChangeKind::TokenRoleLost => {
            token = new.or(old);
            (None, None)
        }
        ChangeKind::GrantReasons => (old_reasons, reasons),
        // What the account was called is in the sentence.
        ChangeKind::LinkRefused => (None, new),
        _ => (old, new),
    };
    Ok(HistoryRow {
        generation: u64::try_from(generation).unwrap_or(0),
        at: time_at(row, 2)?,
        change: ChangeView {
            change,
            user,
            user_id,
            role: row.get(6)?,
            token,
            origin,
            old,
            new,
            cause,
            why,
            reasons: reason_views(if ways.is_empty() { old_ways } else { ways }),
        },
        deed: row
            .get::<_, Option<String>>(14)?
            .zip(row.get(15)?)
            .map(|(by, reason): (String, _)| Deed { by: by.into(), reason }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of older stores hold these numbers.
    #[test]
    fn numbers_of_kinds_and_causes_are_those_of_the_first_store() {
        let words = |all: Vec<(i64, &'static str)>| {
            let all: BTreeMap<i64, &str> = all.into_iter().collect();
            all.into_iter().map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>()
        };
        let kinds = ChangeKind::ALL.iter().map(|it| (kind_number(*it), it.as_str())).collect();
        assert_eq!(
            words(kinds),
            [
                "0 role-added",
                "1 role-changed",
                "2 role-removed",
                "3 user-created",
                "4 user-renamed",
                "5 email-changed",
                "6 user-disabled",
                "7 user-enabled",
                "8 user-missing",
                "9 user-returned",
                "10 user-deprovisioned",
                "11 link-added",
                "12 grant-added",
                "13 grant-reasons",
                "14 grant-removed",
                "15 catalog-changed",
                "16 link-removed",
                "17 link-refused",
                "18 link-accepted",
                "19 token-added",
                "20 token-removed",
                "21 token-role-lost",
                "22 workload-changed",
            ]
        );
        let causes = CauseKind::ALL.iter().map(|it| (cause_number(*it), it.as_str())).collect();
        assert_eq!(
            words(causes),
            [
                "0 not-at-idp",
                "1 role-gone",
                "2 user-gone",
                "3 replaced",
                "4 expired",
                "5 idp-decides",
                "6 by-hand",
                "7 not-everyone",
                "8 new-secret",
            ]
        );
    }
}
