//! Who effectively holds what, since when and why: now, and at any generation since it is kept
//! ([`super::past`]).
//!
//! A past state is reached backwards from the present one: names and idp grants through the rows of
//! history since then, role sets and local grants through what was kept of them. So it costs what
//! changed since, and a look at each person; nothing is replayed from the beginning.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::rc::Rc;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::apply::json;
use super::codec::decode;
use super::error::{Fault, StoreError};
use super::load::{local_grant, stored_reason, text};
use super::reader::{Reader, time_at};
use crate::model::{LocalGrant, Reason, Time, UserId, rfc3339};
use crate::plan::{and_more, by_way, reason};

/// Which state is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// That of this generation.
    Generation(u64),
    /// The one that stood at this moment.
    Time(Time),
}

/// A committed state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generation {
    /// Its number.
    pub num: u64,
    /// When it was committed.
    pub at: Time,
}

/// Why nothing can be said of a state.
#[derive(Debug, thiserror::Error)]
pub enum Untold {
    /// Nothing was ever committed.
    #[error("the store has no generation yet: run `idpsyncd sync` first")]
    None,
    /// No generation has this number.
    #[error("there is no generation {asked}: the store has {} to {}", .first.num, .last.num)]
    NotThere {
        /// What was asked for.
        asked: u64,
        /// The first there is.
        first: Generation,
        /// The last there is.
        last: Generation,
    },
    /// Before the first one.
    #[error(
        "nothing is known of {}: generation {}, the first, was committed at {}", rfc3339(*.asked),
        .first.num, rfc3339(.first.at)
    )]
    Before {
        /// What was asked for.
        asked: Time,
        /// The first there is.
        first: Generation,
    },
    /// Not yet.
    #[error("{} is still to come: what will be then is not known", rfc3339(*.0))]
    ToCome(Time),
    /// What people held then was not kept.
    #[error(
        "who held what at generation {asked} is not known: the store has kept it since generation \
         {}, committed at {}, when an older idpsyncd's store was migrated; `idpsyncd history` has \
         the changes before", .from.num, rfc3339(.from.at)
    )]
    NotKept {
        /// What was asked for, or led to.
        asked: u64,
        /// Since when it is kept.
        from: Generation,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// When somebody began to hold a role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Began {
    /// In this generation; without a gap ever since.
    In(Generation),
    /// In this one or before: what was before it was not kept.
    Before(Generation),
}

/// The ways in which a grant came, in words, the shortest first; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ways(Vec<Rc<str>>);

impl Ways {
    /// The shortest, and how many more there are.
    #[must_use]
    pub fn shortest(&self) -> String {
        match self.0.as_slice() {
            [] => String::new(),
            [only] => only.to_string(),
            [first, rest @ ..] => and_more(first, rest.len()),
        }
    }

    /// Every one.
    #[must_use]
    pub fn all(&self) -> String {
        self.0.join("; ")
    }
}

/// Somebody effectively holds a role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Access {
    /// The store's number of the person.
    pub user_id: UserId,
    /// What the person was called then.
    pub user: Rc<str>,
    /// The role.
    pub role: Rc<str>,
    /// Since when, without a gap.
    pub since: Began,
    /// Everyone who is enabled holds the role.
    pub everyone: bool,
    /// The ways in which identity providers give it; absent: none does.
    pub idp: Option<Ways>,
    /// The story of a grant by hand.
    pub local: Option<LocalGrant>,
    /// The person is a service account.
    pub service: bool,
}

/// Whose access is wanted, and to what. Empty: all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessFilter {
    /// Of those who were called so.
    pub user: Option<String>,
    /// Of this role.
    pub role: Option<String>,
}

/// What became of a pair of user and role between two generations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AccessChange {
    /// It was not there at the first.
    Added(Access),
    /// It is not there at the second: as it was.
    Removed(Access),
    /// It is held otherwise: since another time, for other reasons, under another name.
    Changed {
        /// At the first generation.
        was: Access,
        /// At the second.
        is: Access,
    },
}

impl Reader {
    /// The generation that is meant, if the store can tell who held what then. A moment between two
    /// generations means the earlier one.
    ///
    /// # Errors
    /// There is no such generation, it is not kept who held what then, or the store cannot be read.
    pub fn generation(&self, as_of: AsOf, now: Time) -> Result<Generation, Untold> {
        self.read_as(|conn| generation(conn, as_of, now))?
    }

    /// The newest generation; `None`: there is none yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn newest(&self) -> Result<Option<Generation>, StoreError> {
        self.read_as(|conn| bound(conn, "max"))
    }

    /// Whether somebody is, or was once, called `username`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn ever_called(&self, username: &str) -> Result<bool, StoreError> {
        self.read_as(|conn| Ok(!called(conn, username)?.is_empty()))
    }

    /// Whether there is, or was once, a role of this name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn ever_a_role(&self, name: &str) -> Result<bool, StoreError> {
        self.read_as(|conn| Ok(role_num(conn, name)?.is_some()))
    }

    /// Calls `each` for every pair of user and role that the views showed at `generation` (one that
    /// [`Reader::generation`] gave), by username, then by role, until it breaks off. What is in
    /// memory meanwhile are role sets, single reasons, and about 30 bytes for each grant that changed
    /// since.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn access(
        &self,
        generation: u64,
        filter: &AccessFilter,
        each: &mut dyn FnMut(Access) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read_as(|conn| {
            let mut shelf = Shelf::open(conn, filter)?;
            let moment = Moment::load(conn, generation, shelf.users.as_ref())?;
            let user = filter.user.as_deref();
            people(conn, &shelf.users.clone(), &moment, &mut |person, name| {
                if user.is_some_and(|user| user != name) {
                    return Ok(ControlFlow::Continue(()));
                }
                for access in shelf.held(person, name, &moment)? {
                    if each(access).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })
        })
    }

    /// Calls `each` for what became of every pair between two generations, as [`Reader::access`]
    /// does for pairs.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts itself.
    pub fn access_changes(
        &self,
        (from, to): (u64, u64),
        filter: &AccessFilter,
        each: &mut dyn FnMut(AccessChange) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.read_as(|conn| {
            let mut shelf = Shelf::open(conn, filter)?;
            let before = Moment::load(conn, from, shelf.users.as_ref())?;
            let after = Moment::load(conn, to, shelf.users.as_ref())?;
            let user = filter.user.as_deref();
            people(conn, &shelf.users.clone(), &after, &mut |person, name| {
                let old_name = before.name(person);
                if user.is_some_and(|user| user != name && user != old_name) {
                    return Ok(ControlFlow::Continue(()));
                }
                let was = shelf.held(person, old_name, &before)?;
                let is = shelf.held(person, name, &after)?;
                for change in differences(was, is) {
                    if each(change).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })
        })
    }
}

/// What differs between one person's two lists, each by role.
fn differences(was: Vec<Access>, is: Vec<Access>) -> Vec<AccessChange> {
    let mut changes = Vec::new();
    let (mut was, mut is) = (was.into_iter().peekable(), is.into_iter().peekable());
    loop {
        let order = match (was.peek(), is.peek()) {
            (None, None) => return changes,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(was), Some(is)) => was.role.cmp(&is.role),
        };
        let old = if order.is_le() { was.next() } else { None };
        let new = if order.is_ge() { is.next() } else { None };
        match (old, new) {
            (Some(was), Some(is)) if was == is => {}
            (Some(was), Some(is)) => changes.push(AccessChange::Changed { was, is }),
            (Some(was), None) => changes.push(AccessChange::Removed(was)),
            (None, Some(is)) => changes.push(AccessChange::Added(is)),
            (None, None) => {}
        }
    }
}

fn generation_of(row: &Row<'_>) -> Result<Generation, Fault> {
    Ok(Generation { num: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0), at: time_at(row, 1)? })
}

/// The generation that `sql` selects with `value`.
fn one_generation(conn: &Connection, sql: &str, value: i64) -> Result<Option<Generation>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([value])?;
    rows.next()?.map(generation_of).transpose()
}

const NUMBERED: &str = "SELECT num, at FROM generation WHERE num = ?1";

/// The `min` or `max` generation.
fn bound(conn: &Connection, which: &str) -> Result<Option<Generation>, Fault> {
    let sql = format!(
        "SELECT num, at FROM generation WHERE num = (SELECT {which}(num) FROM generation) AND num > ?1"
    );
    one_generation(conn, &sql, 0)
}

fn generation(
    conn: &Connection,
    as_of: AsOf,
    now: Time,
) -> Result<Result<Generation, Untold>, Fault> {
    let (Some(first), Some(last)) = (bound(conn, "min")?, bound(conn, "max")?) else {
        return Ok(Err(Untold::None));
    };
    let found = match as_of {
        AsOf::Generation(asked) => {
            let num = i64::try_from(asked).unwrap_or(i64::MAX);
            match one_generation(conn, NUMBERED, num)? {
                Some(found) => found,
                None => return Ok(Err(Untold::NotThere { asked, first, last })),
            }
        }
        AsOf::Time(asked) if asked > now.max(last.at) => return Ok(Err(Untold::ToCome(asked))),
        AsOf::Time(asked) => {
            // The newest of those that were committed by then: a clock may have been set back.
            let sql = "SELECT num, at FROM generation WHERE at <= ?1 ORDER BY num DESC LIMIT 1";
            match one_generation(conn, sql, asked.timestamp())? {
                Some(found) => found,
                None => return Ok(Err(Untold::Before { asked, first })),
            }
        }
    };
    let from = held_from(conn)?;
    Ok(match from.filter(|from| from.num > found.num) {
        Some(from) => Err(Untold::NotKept { asked: found.num, from }),
        None => Ok(found),
    })
}

/// Since which generation it is kept who held what; `None`: since ever.
fn held_from(conn: &Connection) -> Result<Option<Generation>, Fault> {
    let from: i64 = conn.query_row("SELECT held_from FROM meta", [], |row| row.get(0))?;
    one_generation(conn, NUMBERED, from)
}

/// The people who are called `name`, or were once.
fn called(conn: &Connection, name: &str) -> Result<BTreeSet<UserId>, Fault> {
    let mut statement = conn.prepare(
        "SELECT id FROM user WHERE username = ?1 \
         UNION SELECT user FROM history WHERE kind = 4 AND old = ?1",
    )?;
    Ok(statement.query_map([name], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

fn role_num(conn: &Connection, name: &str) -> Result<Option<i64>, Fault> {
    Ok(conn
        .query_row("SELECT num FROM role WHERE name = ?1", [name], |row| row.get(0))
        .optional()?)
}

/// Somebody's row.
#[derive(Clone)]
struct Person {
    id: UserId,
    username: String,
    set: i64,
    made: i64,
}

const PERSON: &str = "SELECT id, username, role_set, made FROM user";

fn person(row: &Row<'_>) -> Result<Person, Fault> {
    Ok(Person {
        id: row.get(0)?,
        username: text(row, 1)?.to_owned(),
        set: row.get(2)?,
        made: row.get(3)?,
    })
}

/// Calls `each` for everyone with the name at `moment`, in order of those names.
fn people(
    conn: &Connection,
    only: &Option<BTreeSet<UserId>>,
    moment: &Moment,
    each: &mut dyn FnMut(&Person, &str) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let only = only.as_ref().map(json).transpose()?;
    let mut statement = conn.prepare(&match &only {
        Some(_) => {
            format!("{PERSON} WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY username, id")
        }
        None => format!("{PERSON} WHERE ?1 IS NULL ORDER BY username, id"),
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
            let mut rows = one.query([id])?;
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
struct Undo {
    user: UserId,
    role: i64,
    /// The reason set then; absent: there was no such grant.
    reasons: Option<i64>,
}

/// What was otherwise at a generation than it is now.
struct Moment {
    generation: i64,
    /// By user and role.
    grants: Vec<Undo>,
    names: HashMap<UserId, String>,
    /// Whether a role was everyone's.
    everyone: HashMap<i64, bool>,
}

impl Moment {
    fn load(
        conn: &Connection,
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
               AND (?2 IS NULL OR user IN (SELECT value FROM json_each(?2))) ORDER BY num",
        )?;
        let mut rows = statement.query(params![first, only])?;
        while let Some(row) = rows.next()? {
            moment.grants.push(Undo { user: row.get(0)?, role: row.get(1)?, reasons: row.get(2)? });
        }
        // Stable: the first change after the moment tells what was before it.
        moment.grants.sort_by_key(|undo| (undo.user, undo.role));
        moment.grants.dedup_by_key(|undo| (undo.user, undo.role));
        let mut statement = conn.prepare(
            "SELECT user, old FROM history WHERE kind = 4 AND num >= ?1 \
               AND (?2 IS NULL OR user IN (SELECT value FROM json_each(?2))) ORDER BY num",
        )?;
        let mut rows = statement.query(params![first, only])?;
        while let Some(row) = rows.next()? {
            let user = row.get(0)?;
            if !moment.names.contains_key(&user) {
                moment.names.insert(user, row.get(1)?);
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

    fn name<'a>(&'a self, person: &'a Person) -> &'a str {
        self.names.get(&person.id).map_or(&person.username, String::as_str)
    }

    /// What was otherwise of the idp grants of `user`.
    fn grants(&self, user: UserId) -> &[Undo] {
        let start = self.grants.partition_point(|undo| undo.user < user);
        let rest = self.grants.get(start..).unwrap_or_default();
        let count = rest.iter().take_while(|undo| undo.user == user).count();
        rest.get(..count).unwrap_or_default()
    }
}

/// A set of roles.
struct Set {
    /// Sorted.
    nums: Vec<i64>,
    /// Sorted by the roles' names.
    by_name: Vec<i64>,
}

/// What is looked up again and again.
struct Shelf<'c> {
    /// The people whom the filter may mean; absent: all.
    users: Option<BTreeSet<UserId>>,
    /// The role that the filter means.
    role: Option<i64>,
    roles: HashMap<i64, (Rc<str>, bool)>,
    sets: HashMap<i64, Rc<Set>>,
    past_sets: HashMap<i64, Rc<Set>>,
    /// Reasons in words, each with its place among all of them, the shorter way first.
    reasons: HashMap<u32, (usize, Rc<str>)>,
    generations: HashMap<i64, Generation>,
    from: Option<Generation>,
    of_set: Statement<'c>,
    of_past_set: Statement<'c>,
    of_reasons: Statement<'c>,
    past: Statement<'c>,
    idp: Statement<'c>,
    local: Statement<'c>,
    local_past: Statement<'c>,
    conn: &'c Connection,
}

impl<'c> Shelf<'c> {
    fn open(conn: &'c Connection, filter: &AccessFilter) -> Result<Shelf<'c>, Fault> {
        let users = filter.user.as_deref().map(|name| called(conn, name)).transpose()?;
        let role = match &filter.role {
            // A role that never was is nobody's.
            Some(name) => Some(role_num(conn, name)?.unwrap_or(0)),
            None => None,
        };
        let mut roles = HashMap::new();
        let mut statement = conn.prepare("SELECT num, name, everyone FROM role")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            roles.insert(row.get(0)?, (Rc::from(text(row, 1)?), row.get(2)?));
        }
        Ok(Shelf {
            users,
            role,
            roles,
            sets: HashMap::new(),
            past_sets: HashMap::new(),
            reasons: reasons(conn)?,
            generations: HashMap::new(),
            from: held_from(conn)?,
            of_set: conn.prepare("SELECT role FROM role_set_role WHERE role_set = ?1")?,
            of_past_set: conn.prepare("SELECT roles FROM past_set WHERE num = ?1")?,
            of_reasons: conn.prepare("SELECT reasons FROM reason_set WHERE num = ?1")?,
            past: conn.prepare(
                "SELECT until, past_set FROM past_held WHERE user = ?1 ORDER BY until DESC",
            )?,
            idp: conn.prepare("SELECT role, reasons FROM idp_grant WHERE user = ?1")?,
            local: conn.prepare(
                "SELECT role, by, at, reason, until FROM local_grant \
                 WHERE user = ?1 AND made <= ?2",
            )?,
            local_past: conn.prepare(
                "SELECT role, by, at, reason, until FROM local_grant_past \
                 WHERE user = ?1 AND made <= ?2 AND gone > ?2",
            )?,
            conn,
        })
    }

    /// What `person`, who was called `name`, held at `moment`, by role.
    fn held(&mut self, person: &Person, name: &str, moment: &Moment) -> Result<Vec<Access>, Fault> {
        if person.made > moment.generation {
            return Ok(Vec::new());
        }
        let mut set = self.set(person.set)?;
        // What the person held before each generation that gave another set, newest first.
        let mut before: Vec<(i64, Rc<Set>)> = Vec::new();
        for (until, past) in pairs(&mut self.past, person.id)? {
            let past = self.past_set(past)?;
            if until > moment.generation {
                set = past;
            } else {
                before.push((until, past));
            }
        }
        let wanted = |role: &i64| self.role.is_none_or(|wanted| wanted == *role);
        let roles: Vec<i64> = set.by_name.iter().copied().filter(wanted).collect();
        if roles.is_empty() {
            return Ok(Vec::new());
        }
        let mut idp: HashMap<i64, i64> = pairs(&mut self.idp, person.id)?.into_iter().collect();
        for undo in moment.grants(person.id) {
            match undo.reasons {
                Some(reasons) => idp.insert(undo.role, reasons),
                None => idp.remove(&undo.role),
            };
        }
        let mut local = stories(&mut self.local, person.id, moment.generation)?;
        local.extend(stories(&mut self.local_past, person.id, moment.generation)?);
        let user: Rc<str> = name.into();
        let service = self.service(person.id)?;
        let mut held = Vec::with_capacity(roles.len());
        for num in roles {
            let lacked = before.iter().find(|(_, set)| set.nums.binary_search(&num).is_err());
            let began = lacked.map_or(person.made, |(until, _)| *until);
            let unknown = || Fault::Damaged(format!("a role set has the unknown role {num}"));
            let (role, everyone) = self.roles.get(&num).cloned().ok_or_else(unknown)?;
            held.push(Access {
                user_id: person.id,
                user: Rc::clone(&user),
                role,
                since: self.began(began)?,
                everyone: moment.everyone.get(&num).copied().unwrap_or(everyone),
                idp: idp.get(&num).map(|set| self.ways(*set)).transpose()?,
                local: local.remove(&num),
                service,
            });
        }
        Ok(held)
    }

    /// Whether `user` is a service account.
    fn service(&mut self, _user: UserId) -> Result<bool, Fault> {
        Ok(false)
    }

    fn began(&mut self, generation: i64) -> Result<Began, Fault> {
        if let Some(known) = self.generations.get(&generation) {
            return Ok(Began::In(*known));
        }
        if generation == 0
            && let Some(from) = self.from
        {
            return Ok(Began::Before(from));
        }
        let found = one_generation(self.conn, NUMBERED, generation)?
            .ok_or_else(|| Fault::Damaged(format!("generation {generation} does not exist")))?;
        self.generations.insert(generation, found);
        Ok(Began::In(found))
    }

    fn set(&mut self, num: i64) -> Result<Rc<Set>, Fault> {
        if let Some(set) = self.sets.get(&num) {
            return Ok(Rc::clone(set));
        }
        let nums = self.of_set.query_map([num], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let set = self.make(nums);
        self.sets.insert(num, Rc::clone(&set));
        Ok(set)
    }

    fn past_set(&mut self, num: i64) -> Result<Rc<Set>, Fault> {
        if let Some(set) = self.past_sets.get(&num) {
            return Ok(Rc::clone(set));
        }
        let damaged = || Fault::Damaged(format!("a past set of roles, {num}, cannot be read"));
        let roles: Option<Vec<u8>> =
            self.of_past_set.query_row([num], |row| row.get(0)).optional()?;
        let nums = roles.and_then(|roles| decode(&roles)).ok_or_else(damaged)?;
        let set = self.make(nums.into_iter().map(i64::from).collect());
        self.past_sets.insert(num, Rc::clone(&set));
        Ok(set)
    }

    fn make(&self, mut nums: Vec<i64>) -> Rc<Set> {
        nums.sort_unstable();
        let mut by_name = nums.clone();
        by_name.sort_by_key(|num| self.roles.get(num).map(|(name, _)| name));
        Rc::new(Set { nums, by_name })
    }

    /// The reasons of set `num` in words. Looked up each time: of such sets there may be as many as
    /// grants.
    fn ways(&mut self, num: i64) -> Result<Ways, Fault> {
        let damaged = || Fault::Damaged(format!("set of reasons {num} cannot be read"));
        let set: Option<Vec<u8>> = self.of_reasons.query_row([num], |row| row.get(0)).optional()?;
        let set = set.and_then(|set| decode(&set)).ok_or_else(damaged)?;
        let mut ways = Vec::with_capacity(set.len());
        for reason in set {
            ways.push(self.reasons.get(&reason).ok_or_else(damaged)?);
        }
        ways.sort_unstable_by_key(|(place, _)| *place);
        Ok(Ways(ways.into_iter().map(|(_, words)| Rc::clone(words)).collect()))
    }
}

/// All reasons in words, by number.
fn reasons(conn: &Connection) -> Result<HashMap<u32, (usize, Rc<str>)>, Fault> {
    let mut all: Vec<(u32, Reason)> = Vec::new();
    let mut statement = conn.prepare("SELECT num, source, rule, reference, path FROM reason")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        all.push((row.get(0)?, stored_reason(row, 1)?));
    }
    all.sort_by(|(_, a), (_, b)| by_way(a, b));
    let words = all.iter().enumerate();
    Ok(words.map(|(place, (num, it))| (*num, (place, reason(it).into()))).collect())
}

/// The rows of two numbers that `statement` finds for `user`.
fn pairs(statement: &mut Statement<'_>, user: UserId) -> Result<Vec<(i64, i64)>, Fault> {
    let rows = statement.query_map([user], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The local grants that `statement` finds for `user` at `generation`, by role.
fn stories(
    statement: &mut Statement<'_>,
    user: UserId,
    generation: i64,
) -> Result<HashMap<i64, LocalGrant>, Fault> {
    let mut rows = statement.query(params![user, generation])?;
    let mut stories = HashMap::new();
    while let Some(row) = rows.next()? {
        stories.insert(row.get(0)?, local_grant(row, 1)?);
    }
    Ok(stories)
}
