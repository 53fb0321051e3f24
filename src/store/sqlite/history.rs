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
    Cause, Change, Deed, GrantKind, LocalGrant, Reason, Role, Time, UserId, rfc3339,
};
use crate::plan::{
    ChangeView, LOCAL_NOT_AT_IDP, Plan, Taken, outgrown, reason_views, shortest, sorted,
    token_story,
};
use crate::store::{HistoryFilter, HistoryRow};

/// The stable words for changes; a row holds a place in this list. Only ever appended to.
const KINDS: [&str; 23] = [
    "role-added",
    "role-changed",
    "role-removed",
    "user-created",
    "user-renamed",
    "email-changed",
    "user-disabled",
    "user-enabled",
    "user-missing",
    "user-returned",
    "user-deprovisioned",
    "link-added",
    "grant-added",
    "grant-reasons",
    "grant-removed",
    "catalog-changed",
    "link-removed",
    "link-refused",
    "link-accepted",
    "token-added",
    "token-removed",
    "token-role-lost",
    "workload-changed",
];

/// `user-renamed`: the schema has an index of these.
pub(super) const RENAMED: i64 = 4;

/// `link-removed`
pub(super) const UNLINKED: i64 = 16;

/// The stable words for causes; a row holds a place in this list. Only ever appended to.
const CAUSES: [&str; 9] = [
    "not-at-idp",
    "role-gone",
    "user-gone",
    "replaced",
    "expired",
    "idp-decides",
    "by-hand",
    "not-everyone",
    "new-secret",
];

/// A row that is about to be written. `'v` is the plan's.
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
        let (by, reason) = (deed.map(|deed| &deed.by), deed.map(|deed| &deed.reason));
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
    Some(i64::from(!kind.is_idp()))
}

fn cause_code(cause: &Cause) -> Option<i64> {
    let place = CAUSES.iter().position(|code| *code == cause.code());
    place.and_then(|place| i64::try_from(place).ok())
}

/// What a cause says beyond its code.
fn cause_note(cause: &Cause) -> Option<String> {
    match cause {
        Cause::UserGone { since } => Some(rfc3339(*since)),
        Cause::ByHand { by } => Some(by.clone()),
        Cause::NotAtIdp
        | Cause::RoleGone
        | Cause::Replaced
        | Cause::Expired
        | Cause::IdpDecides
        | Cause::NotEveryone
        | Cause::NewSecret => None,
    }
}

/// The story of a local grant in a few words.
fn story(local: &LocalGrant) -> String {
    let LocalGrant { by, at, reason, until } = local;
    let until = until.map(|until| format!(", until {}", rfc3339(until))).unwrap_or_default();
    format!("by `{by}` at {}: {reason}{until}", rfc3339(*at))
}

/// What differs between two definitions of a role.
fn differences(old: &Role, new: &Role) -> String {
    let Role { name: _, description, everyone, mode, template, policies } = old;
    let mut parts = Vec::new();
    if *mode != new.mode {
        parts.push(format!("sync mode {mode} to {}", new.mode));
    }
    if *policies != new.policies {
        parts.push("policies".to_owned());
    }
    if *everyone != new.everyone {
        parts.push(if new.everyone { "held by everyone" } else { "not held by everyone" }.into());
    }
    if *template != new.template {
        parts.push("template".to_owned());
    }
    if *description != new.description {
        parts.push("description".to_owned());
    }
    parts.join(", ")
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
    let of = |kind, user: &UserId| Record { user: Some(*user), ..bare(kind) };
    let record = match change {
        Change::RoleAdded { role } => Record { role: Some(names.role(*role)?), ..bare(0) },
        Change::RoleChanged { role, old } => {
            let note = differences(old, role_of(tables, *role)?).into();
            Record { role: Some(names.role(*role)?), note, ..bare(1) }
        }
        Change::RoleRemoved { role } => Record { role: Some(names.role(*role)?), ..bare(2) },
        Change::UserCreated { user } => of(3, user),
        Change::UserRenamed { user, old } => {
            let new = text(user_of(tables, *user)?.1.username);
            Record { old: text(*old), new, ..of(RENAMED, user) }
        }
        Change::EmailChanged { user, old } => {
            let new = text(user_of(tables, *user)?.1.email);
            Record { old: text(*old), new, ..of(5, user) }
        }
        Change::UserDisabled { user, by, federation: _ } => {
            Record { note: by.as_str().into(), ..of(6, user) }
        }
        Change::UserEnabled { user } => of(7, user),
        Change::UserMissing { user } => of(8, user),
        Change::UserReturned { user } => of(9, user),
        Change::UserDeprovisioned { user, cause } => {
            Record { cause: cause_code(cause), note: cause_note(cause).into(), ..of(10, user) }
        }
        Change::LinkAdded { user, source, ext } => {
            let source = tables.sources.get(*source).map(String::as_str);
            Record { new: text(*ext), note: source.into(), ..of(11, user) }
        }
        Change::LinkRemoved { user, source, ext } => {
            let source = tables.sources.get(*source).map(String::as_str);
            Record { old: text(*ext), note: source.into(), ..of(UNLINKED, user) }
        }
        Change::LinkClaims { user, source, ext, claim } => {
            let kind = if claim.is_some() { 17 } else { 18 };
            let source = tables.sources.get(*source).map(String::as_str);
            let old = claim.map(text).into();
            Record { old, new: text(*ext), note: source.into(), ..of(kind, user) }
        }
        Change::GrantAdded { user, role, kind } => {
            let (role, origin) = (Some(names.role(*role)?), origin(*kind));
            match kind {
                GrantKind::Idp(set) => {
                    let reasons = Some(names.reasons(*set)?);
                    Record { role, origin, reasons, ..of(12, user) }
                }
                GrantKind::Local(index) => {
                    let new = story(local_of(tables, *index)?).into();
                    Record { role, origin, new, ..of(12, user) }
                }
            }
        }
        Change::GrantReasons { user, role, old, new } => Record {
            role: Some(names.role(*role)?),
            origin: Some(0),
            reasons: Some(names.reasons(*new)?),
            old_reasons: Some(names.reasons(*old)?),
            ..of(13, user)
        },
        Change::GrantRemoved { user, role, kind, cause } => {
            let role = Some(names.role(*role)?);
            let (origin, note) = (origin(*kind), cause_note(cause).into());
            let cause = cause_code(cause);
            match kind {
                GrantKind::Idp(set) => {
                    let old_reasons = Some(names.reasons(*set)?);
                    Record { role, origin, cause, note, old_reasons, ..of(14, user) }
                }
                GrantKind::Local(index) => {
                    let old = story(local_of(tables, *index)?).into();
                    Record { role, origin, cause, note, old, ..of(14, user) }
                }
            }
        }
        Change::CatalogChanged => bare(15),
        Change::TokenAdded { user, token } => Record {
            new: token.name.as_str().into(),
            note: token_story(token).into(),
            ..of(19, user)
        },
        Change::TokenRemoved { user, name, cause } => Record {
            old: text(*name),
            cause: cause_code(cause),
            note: cause_note(cause).into(),
            ..of(20, user)
        },
        Change::TokenRoleLost { user, name, role, cause } => Record {
            role: Some(names.role(*role)?),
            old: text(*name),
            cause: cause_code(cause),
            note: cause_note(cause).into(),
            ..of(21, user)
        },
        Change::WorkloadChanged => bare(22),
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
        let mut statement =
            conn.prepare("SELECT user, num, old FROM history WHERE kind = 4 ORDER BY user, num")?;
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

fn word(list: &[&str], place: Option<i64>) -> Result<Option<String>, Fault> {
    let Some(place) = place else { return Ok(None) };
    let word = usize::try_from(place).ok().and_then(|place| list.get(place));
    word.map(|word| Some((*word).to_owned()))
        .ok_or_else(|| Fault::Damaged(format!("a row of history has the unknown code {place}")))
}

fn view(
    row: &Row<'_>,
    user_id: Option<UserId>,
    past: &PastNames,
    stored: &StoredReasons,
) -> Result<HistoryRow, Fault> {
    let num: i64 = row.get(0)?;
    let generation: i64 = row.get(1)?;
    let change = word(&KINDS, row.get(3)?)?.unwrap_or_default();
    let now: Option<String> = row.get(5)?;
    let user = user_id.zip(now).map(|(id, now)| past.after(id, num, now));
    let origin = word(&["idp", "local"], row.get(7)?)?;
    let cause = word(&CAUSES, row.get(8)?)?;
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
    let why = match change.as_str() {
        "role-changed" => note,
        "user-disabled" => note.map(|by| format!("`{by}` says that the account is disabled")),
        "link-added" => note.map(|source| format!("known in `{source}` by this external id")),
        "link-removed" => note.map(|source| outgrown(&source)),
        "link-refused" | "link-accepted" => {
            note.map(|source| crate::plan::claims(&source, old.as_deref()))
        }
        "token-added" => note,
        "token-removed" | "token-role-lost" => {
            cause.as_deref().map(|cause| sentence(cause, note.as_deref()))
        }
        "grant-added" | "grant-reasons" => reasons.clone().or_else(|| new.clone()),
        "grant-removed" | "user-deprovisioned" => {
            let was = old_reasons.clone().map(|text| format!("it came {text}"));
            let was = was.or_else(|| old.clone().map(|story| format!("was given {story}")));
            let told = match (cause.as_deref(), origin.as_deref()) {
                (Some("not-at-idp"), Some("local")) => Some(LOCAL_NOT_AT_IDP.to_owned()),
                (cause, _) => cause.map(|cause| sentence(cause, note.as_deref())),
            };
            let parts: Vec<String> = told.into_iter().chain(was).collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        }
        _ => None,
    };
    let mut token = None;
    let (old, new) = match change.as_str() {
        "token-added" | "token-removed" | "token-role-lost" => {
            token = new.or(old);
            (None, None)
        }
        "grant-reasons" => (old_reasons, reasons),
        // What the account was called is in the sentence.
        "link-refused" => (None, new),
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
            .map(|(by, reason)| Deed { by, reason }),
    })
}

/// A cause in a sentence, in the words of [`crate::plan::because`].
fn sentence(cause: &str, note: Option<&str>) -> String {
    match (cause, note) {
        ("not-at-idp", _) => "no source says so any more".to_owned(),
        ("role-gone", _) => "the role left the configuration or its source".to_owned(),
        ("user-gone", Some(since)) => {
            format!("the user is gone from every source since {since}")
        }
        ("replaced", _) => "another person has the username now".to_owned(),
        ("expired", _) => "its time is over".to_owned(),
        ("idp-decides", _) => "mode force: the IdP decides alone".to_owned(),
        ("not-everyone", _) => "everyone held the role, and does no more".to_owned(),
        ("new-secret", _) => "a token of that name with another secret takes its place".to_owned(),
        ("by-hand", Some(by)) => format!("removed by {by}"),
        (cause, _) => cause.to_owned(),
    }
}
