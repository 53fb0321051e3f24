//! What somebody held at a moment, put together.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use crate::store::sql::db::{Conn, OptionalExtension, Statement, params};
use hashbrown::HashMap;

use super::super::accounts;
use super::super::codec::decode;
use super::super::error::Fault;
use super::super::load::{local_grant, text};
use super::super::reasons::reason as stored;
use super::generation::{NUMBERED, held_from, one_generation};
use super::moment::{Moment, Person};
use super::{called, role_num};
use crate::model::{LocalGrant, Reason, UserId};
use crate::plan::{by_way, reason};
use crate::store::{Access, AccessFilter, Began, Generation, Ways};

/// A set of roles.
struct Set {
    /// Sorted.
    nums: Vec<i64>,
    /// Sorted by the roles' names.
    by_name: Vec<i64>,
}

/// What is looked up again and again.
pub(super) struct AccessReader<'c> {
    /// The people whom the filter may mean; absent: all.
    pub(super) users: Option<BTreeSet<UserId>>,
    /// The role that the filter means.
    role: Option<i64>,
    roles: HashMap<i64, (Rc<str>, bool)>,
    sets: HashMap<i64, Rc<Set>>,
    past_sets: HashMap<i64, Rc<Set>>,
    /// Reasons in words, each with its place among all of them, the shorter way first.
    reasons: HashMap<u32, (usize, Rc<str>)>,
    generations: HashMap<i64, Generation>,
    from: Option<Generation>,
    /// Whom `local` knows as service accounts.
    services: HashSet<UserId>,
    of_set: Statement<'c>,
    of_past_set: Statement<'c>,
    of_reasons: Statement<'c>,
    past: Statement<'c>,
    idp: Statement<'c>,
    local: Statement<'c>,
    local_past: Statement<'c>,
    conn: Conn<'c>,
}

impl<'c> AccessReader<'c> {
    pub(super) fn open(conn: Conn<'c>, filter: &AccessFilter) -> Result<AccessReader<'c>, Fault> {
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
        Ok(AccessReader {
            users,
            role,
            roles,
            sets: HashMap::new(),
            past_sets: HashMap::new(),
            reasons: reasons(conn)?,
            generations: HashMap::new(),
            from: held_from(conn)?,
            services: accounts::services(conn)?,
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
    pub(super) fn held(
        &mut self,
        person: &Person,
        name: &str,
        moment: &Moment,
    ) -> Result<Vec<Access>, Fault> {
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
        // Few: role and reasons.
        let mut idp = pairs(&mut self.idp, person.id)?;
        for undo in moment.grants(person.id) {
            idp.retain(|(role, _)| *role != undo.role);
            idp.extend(undo.reasons.map(|reasons| (undo.role, reasons)));
        }
        let mut local = stories(&mut self.local, person.id, moment.generation)?;
        local.extend(stories(&mut self.local_past, person.id, moment.generation)?);
        let user: Rc<str> = name.into();
        let service = self.services.contains(&person.id);
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
                idp: match idp.iter().find(|(role, _)| *role == num) {
                    Some((_, reasons)) => Some(self.ways(*reasons)?),
                    None => None,
                },
                local: local.remove(&num),
                service,
            });
        }
        Ok(held)
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
fn reasons(conn: Conn<'_>) -> Result<HashMap<u32, (usize, Rc<str>)>, Fault> {
    let mut all: Vec<(u32, Reason)> = Vec::new();
    let mut statement = conn.prepare("SELECT num, source, rule, path FROM reason")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        all.push((row.get(0)?, stored(row, 1)?));
    }
    all.sort_by(|(_, a), (_, b)| by_way(a, b));
    let words = all.iter().enumerate();
    Ok(words.map(|(place, (num, it))| (*num, (place, reason(it).into()))).collect())
}

/// The rows of two numbers that `statement` finds for `user`.
fn pairs(statement: &mut Statement<'_>, user: UserId) -> Result<Vec<(i64, i64)>, Fault> {
    let rows = statement.query_map([user.get()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The local grants that `statement` finds for `user` at `generation`, by role.
fn stories(
    statement: &mut Statement<'_>,
    user: UserId,
    generation: i64,
) -> Result<HashMap<i64, LocalGrant>, Fault> {
    let mut rows = statement.query(params![user.get(), generation])?;
    let mut stories = HashMap::new();
    while let Some(row) = rows.next()? {
        stories.insert(row.get(0)?, local_grant(row, 1)?);
    }
    Ok(stories)
}
