//! History as it is shown: names and sentences made of a row's numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::sql::db::{Conn, OptionalExtension, Row, params};

use super::codes::{RENAMED, cause_number, kind_number, origin_number};
use crate::model::{Cause, CauseKind, ChangeKind, Deed, Origin, Reason, Time, UserId};
use crate::plan::{
    ChangeView, Taken, came, disabled_by, lost, outgrown, reason_views, shortest, sorted,
};
use crate::store::sql::codec::user_at;
use crate::store::sql::error::{Fault, StoreError};
use crate::store::sql::load::{StoredReasons, whole};
use crate::store::sql::reader::{Reads, time_at};
use crate::store::{HistoryFilter, HistoryRow};

impl dyn Reads + '_ {
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
    fn load(conn: Conn<'_>) -> Result<Self, Fault> {
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

fn read(conn: Conn<'_>, filter: &HistoryFilter) -> Result<Vec<HistoryRow>, Fault> {
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
            Some(crate::store::sql::apply::json(&users)?)
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
            "SELECT coalesce(min(first), 9223372036854775807) FROM generation WHERE at >= ?1",
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
         WHERE h.num >= ?1 AND (CAST(?2 AS BIGINT) IS NULL OR h.role = ?2) \
           AND (CAST(?3 AS TEXT) IS NULL OR h.user IN (SELECT value FROM json_each(?3))) \
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

/// What a row says besides its numbers, as far as words are made of it.
struct RowWords {
    old: Option<String>,
    new: Option<String>,
    note: Option<String>,
    /// The reasons after the change, and before it.
    reasons: Option<String>,
    old_reasons: Option<String>,
}

impl RowWords {
    /// Why the change came, as a sentence.
    fn why(
        &self,
        change: ChangeKind,
        cause: Option<CauseKind>,
        origin: Option<Origin>,
    ) -> Option<String> {
        let note = self.note.as_deref();
        // A row that says what no cause of its kind says is shown by the word alone.
        let told = |kind: CauseKind, origin: Option<Origin>| {
            let cause = Cause::of(kind, note);
            cause.map_or_else(
                || kind.to_string(),
                |cause| lost(&cause, origin.unwrap_or(Origin::Idp)),
            )
        };
        match change {
            ChangeKind::RoleChanged | ChangeKind::TokenAdded => self.note.clone(),
            ChangeKind::UserDisabled => note.map(disabled_by),
            ChangeKind::LinkAdded => {
                note.map(|source| format!("known in `{source}` by this external id"))
            }
            ChangeKind::LinkRemoved => note.map(outgrown),
            ChangeKind::LinkRefused | ChangeKind::LinkAccepted => {
                note.map(|source| crate::plan::claims(source, self.old.as_deref()))
            }
            ChangeKind::TokenRemoved | ChangeKind::TokenRoleLost => {
                cause.map(|cause| told(cause, None))
            }
            ChangeKind::GrantAdded | ChangeKind::GrantReasons => {
                self.reasons.clone().or_else(|| self.new.clone())
            }
            ChangeKind::GrantRemoved | ChangeKind::UserDeprovisioned => {
                let told = cause.map(|cause| told(cause, origin));
                match (told, &self.old_reasons, &self.old) {
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
        }
    }

    /// What was before, what is after, and the token that the change is about.
    fn shown(self, change: ChangeKind) -> [Option<String>; 3] {
        match change {
            ChangeKind::TokenAdded | ChangeKind::TokenRemoved | ChangeKind::TokenRoleLost => {
                [None, None, self.new.or(self.old)]
            }
            ChangeKind::GrantReasons => [self.old_reasons, self.reasons, None],
            // What the account was called is in the sentence.
            ChangeKind::LinkRefused => [None, self.new, None],
            _ => [self.old, self.new, None],
        }
    }
}

fn view(
    row: Row<'_>,
    user_id: Option<UserId>,
    past: &PastNames,
    stored: &StoredReasons,
) -> Result<HistoryRow, Fault> {
    let num: i64 = row.get(0)?;
    let generation = whole(row, 1)?;
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
    let told = RowWords {
        old: row.get(11)?,
        new: row.get(12)?,
        note: row.get(13)?,
        reasons: words(&ways),
        old_reasons: words(&old_ways),
    };
    let why = told.why(change, cause, origin);
    let [old, new, token] = told.shown(change);
    Ok(HistoryRow {
        generation,
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

/// What the generations after `since` took away.
fn taken_since(conn: Conn<'_>, since: Time) -> Result<Taken, Fault> {
    let sql = "SELECT CAST(coalesce(sum(lost), 0) AS BIGINT), CAST(coalesce(sum(disabled), 0) AS BIGINT) FROM generation \
               WHERE at > ?1 AND (lost > 0 OR disabled > 0)";
    let count = |row: Row<'_>, at| row.get::<_, i64>(at).map(i64::unsigned_abs);
    Ok(conn.query_row(sql, [since.timestamp()], |row| {
        Ok(Taken { lost_pairs: count(row, 0)?, disabled: count(row, 1)? })
    })?)
}
