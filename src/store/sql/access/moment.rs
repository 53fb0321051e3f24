//! People, and what was otherwise at a generation than it is now.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use crate::store::sql::db::{Conn, Row, params};

use super::super::apply::json;
use super::super::codec::user_at;
use super::super::error::Fault;
use super::super::load::text;
use crate::model::UserId;

/// Somebody's row.
pub(super) struct Person {
    pub(super) id: UserId,
    pub(super) username: String,
    /// The number of the role set.
    pub(super) set: i64,
    /// The generation that made the person; 0: before that was kept.
    pub(super) made: i64,
}

const PERSON: &str = "SELECT id, username, role_set, made FROM user";

fn person(row: Row<'_>) -> Result<Person, Fault> {
    Ok(Person {
        id: user_at(row, 0)?,
        username: text(row, 1)?.to_owned(),
        set: row.get(2)?,
        made: row.get(3)?,
    })
}

/// What is done for everyone, with the name at a moment.
type Each<'e> = dyn FnMut(&Person, &str) -> Result<ControlFlow<()>, Fault> + 'e;

/// Calls `each` for everyone with the name at `moment`, in order of those names.
pub(super) fn people(
    conn: Conn<'_>,
    only: &Option<BTreeSet<UserId>>,
    moment: &Moment,
    each: &mut Each<'_>,
) -> Result<(), Fault> {
    let only = only.as_ref().map(json).transpose()?;
    let mut statement = conn.prepare(&match &only {
        Some(_) => {
            format!("{PERSON} WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY username, id")
        }
        None => format!("{PERSON} WHERE CAST(?1 AS TEXT) IS NULL ORDER BY username, id"),
    })?;
    let mut one = conn.prepare(&format!("{PERSON} WHERE id = ?1"))?;
    // Those who were called otherwise come where their old names stand.
    let mut renamed: Vec<(&str, UserId)> =
        moment.names.iter().map(|(id, name)| (name.as_str(), *id)).collect();
    renamed.sort_unstable();
    let mut renamed = renamed.into_iter().peekable();
    let mut rows = statement.query([only])?;
    loop {
        let next = rows.next()?.map(person).transpose()?;
        let here = |(name, _): &(&str, UserId)| match &next {
            Some(next) => *name <= next.username.as_str(),
            None => true,
        };
        while let Some((name, id)) = renamed.next_if(here) {
            let mut rows = one.query([id.get()])?;
            let gone =
                || Fault::Damaged(format!("history speaks of user {id}, who does not exist"));
            let person = person(rows.next()?.ok_or_else(gone)?)?;
            if each(&person, name)?.is_break() {
                return Ok(());
            }
        }
        match next {
            None => return Ok(()),
            Some(person) if moment.names.contains_key(&person.id) => {}
            Some(person) if each(&person, &person.username)?.is_break() => return Ok(()),
            Some(_) => {}
        }
    }
}

/// An idp grant was another one at a moment than it is now.
pub(super) struct Undo {
    user: UserId,
    pub(super) role: i64,
    /// The reason set then; absent: there was no such grant.
    pub(super) reasons: Option<i64>,
}

/// What was otherwise at a generation than it is now.
pub(super) struct Moment {
    pub(super) generation: i64,
    /// By user and role.
    grants: Vec<Undo>,
    names: HashMap<UserId, String>,
    /// Whether a role was everyone's.
    pub(super) everyone: HashMap<i64, bool>,
}

impl Moment {
    pub(super) fn load(
        conn: Conn<'_>,
        generation: u64,
        only: Option<&BTreeSet<UserId>>,
    ) -> Result<Moment, Fault> {
        let generation = i64::try_from(generation).unwrap_or(i64::MAX);
        let mut moment = Moment {
            generation,
            grants: Vec::new(),
            names: HashMap::new(),
            everyone: HashMap::new(),
        };
        let first: Option<i64> = conn.query_row(
            "SELECT min(first) FROM generation WHERE num > ?1",
            [generation],
            |row| row.get(0),
        )?;
        // The newest one: nothing is otherwise.
        let Some(first) = first else { return Ok(moment) };
        let only = only.map(json).transpose()?;
        let mut statement = conn.prepare(
            "SELECT user, role, old_reasons FROM history \
             WHERE num >= ?1 AND kind IN (12, 13, 14) AND origin = 0 \
               AND (CAST(?2 AS TEXT) IS NULL OR user IN (SELECT value FROM json_each(?2))) ORDER BY num",
        )?;
        let mut rows = statement.query(params![first, only])?;
        while let Some(row) = rows.next()? {
            moment.grants.push(Undo {
                user: user_at(row, 0)?,
                role: row.get(1)?,
                reasons: row.get(2)?,
            });
        }
        // Stable: the first change after the moment tells what was before it.
        moment.grants.sort_by_key(|undo| (undo.user, undo.role));
        moment.grants.dedup_by_key(|undo| (undo.user, undo.role));
        let mut statement = conn.prepare(
            "SELECT user, old FROM history WHERE kind = 4 AND num >= ?1 \
               AND (CAST(?2 AS TEXT) IS NULL OR user IN (SELECT value FROM json_each(?2))) ORDER BY num",
        )?;
        let mut rows = statement.query(params![first, only])?;
        while let Some(row) = rows.next()? {
            if let Entry::Vacant(entry) = moment.names.entry(user_at(row, 0)?) {
                entry.insert(row.get(1)?);
            }
        }
        let mut statement =
            conn.prepare("SELECT role, everyone FROM role_past WHERE until > ?1 ORDER BY until")?;
        let mut rows = statement.query([generation])?;
        while let Some(row) = rows.next()? {
            let was = row.get(1)?;
            moment.everyone.entry(row.get(0)?).or_insert(was);
        }
        Ok(moment)
    }

    pub(super) fn name<'a>(&'a self, person: &'a Person) -> &'a str {
        self.names.get(&person.id).map_or(&person.username, String::as_str)
    }

    /// What was otherwise of the idp grants of `user`.
    pub(super) fn grants(&self, user: UserId) -> &[Undo] {
        let start = self.grants.partition_point(|undo| undo.user < user);
        let rest = self.grants.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|undo| undo.user == user).count();
        rest.get(..count).unwrap_or_default()
    }
}
