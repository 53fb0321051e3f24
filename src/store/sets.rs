//! Role sets and their decisions.
//!
//! Users share role sets, and decisions hang on sets: a set is written when its first user gets
//! it, and goes with its last one. Decisions of a set that stays are written anew only where the
//! catalog changed, or the policies of one of its roles.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::error::Fault;
use crate::model::RoleIdx;
use crate::plan::{Plan, RoleSetId};
use crate::policy::{Effect, Policy, decide_catalog};

/// Where role sets are looked up and written during one commit.
pub(super) struct Sets<'a> {
    conn: &'a Connection,
    plan: &'a Plan,
    /// Numbers of sets that were needed so far.
    nums: HashMap<RoleSetId, i64>,
    /// How many users each set gained, less those it lost.
    gained: BTreeMap<i64, i64>,
    /// Sets that this commit made: their decisions are new already.
    made: BTreeSet<i64>,
    /// Something that a gateway can see has changed.
    pub(super) changed: bool,
}

fn unknown(id: RoleSetId) -> Fault {
    Fault::Inconsistent(format!("role set {id} is not among the plan's sets"))
}

impl<'a> Sets<'a> {
    pub(super) fn new(conn: &'a Connection, plan: &'a Plan) -> Self {
        Sets {
            conn,
            plan,
            nums: HashMap::new(),
            gained: BTreeMap::new(),
            made: BTreeSet::new(),
            changed: false,
        }
    }

    /// The number of the stored set `id`.
    fn stored(&mut self, id: RoleSetId) -> Result<Option<i64>, Fault> {
        if let Some(num) = self.nums.get(&id) {
            return Ok(Some(*num));
        }
        let num = self
            .conn
            .prepare_cached("SELECT num FROM role_set WHERE id = ?1")?
            .query_row([id.to_string()], |row| row.get::<_, i64>(0))
            .optional()?;
        if let Some(num) = num {
            self.nums.insert(id, num);
        }
        Ok(num)
    }

    /// A user gets set `id`: its number. `role` gives roles' numbers in the store.
    pub(super) fn enter(
        &mut self,
        id: RoleSetId,
        role: &mut dyn FnMut(RoleIdx) -> Result<i64, Fault>,
    ) -> Result<i64, Fault> {
        let num = match self.stored(id)? {
            Some(num) => num,
            None => self.make(id, role)?,
        };
        let gained = self.gained.entry(num).or_default();
        *gained = gained.saturating_add(1);
        Ok(num)
    }

    /// A user loses set `id`: its number.
    pub(super) fn leave(&mut self, id: RoleSetId) -> Result<i64, Fault> {
        let num = self
            .stored(id)?
            .ok_or_else(|| Fault::Inconsistent(format!("role set {id} is not in the store")))?;
        let gained = self.gained.entry(num).or_default();
        *gained = gained.saturating_sub(1);
        Ok(num)
    }

    fn make(
        &mut self,
        id: RoleSetId,
        role: &mut dyn FnMut(RoleIdx) -> Result<i64, Fault>,
    ) -> Result<i64, Fault> {
        let roles = self.plan.set_roles.get(&id).ok_or_else(|| unknown(id))?;
        self.conn
            .prepare_cached("INSERT INTO role_set (id, users) VALUES (?1, 0)")?
            .execute([id.to_string()])?;
        let num = self.conn.last_insert_rowid();
        let mut member = self
            .conn
            .prepare_cached("INSERT INTO role_set_role (role_set, role) VALUES (?1, ?2)")?;
        for index in roles {
            member.execute([num, role(*index)?])?;
        }
        self.decide(num, roles, role)?;
        self.nums.insert(id, num);
        self.made.insert(num);
        self.changed = true;
        Ok(num)
    }

    /// Writes the decisions of set `num`, which has none.
    fn decide(
        &self,
        num: i64,
        roles: &[RoleIdx],
        role: &mut dyn FnMut(RoleIdx) -> Result<i64, Fault>,
    ) -> Result<(), Fault> {
        let state = &self.plan.state;
        let mut named: Vec<(&str, &[Policy])> = Vec::with_capacity(roles.len());
        let mut index_of: HashMap<&str, RoleIdx> = HashMap::with_capacity(roles.len());
        for index in roles {
            let role = state.roles.get(*index as usize).ok_or_else(|| {
                Fault::Inconsistent(format!("a role set names role {index}, which is not there"))
            })?;
            named.push((&role.name, &role.policies));
            index_of.insert(&role.name, *index);
        }
        let mut insert: Statement<'_> = self.conn.prepare(
            "INSERT INTO decision (role_set, request, allow, role) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for decision in decide_catalog(&named, &state.catalog) {
            let index = index_of.get(decision.role).copied().unwrap_or(RoleIdx::MAX);
            insert.execute(params![
                num,
                i64::try_from(decision.request).unwrap_or(i64::MAX),
                decision.effect == Effect::Allow,
                role(index)?,
            ])?;
        }
        Ok(())
    }

    /// Counts the users, drops sets that nobody has, and decides anew for those that stay and
    /// whose decisions may differ: all (`catalog`), or those with one of `roles`.
    pub(super) fn settle(
        &mut self,
        catalog: bool,
        roles: &BTreeSet<RoleIdx>,
        role: &mut dyn FnMut(RoleIdx) -> Result<i64, Fault>,
    ) -> Result<(), Fault> {
        let mut count = self
            .conn
            .prepare("UPDATE role_set SET users = users + ?2 WHERE num = ?1 RETURNING users")?;
        for (num, gained) in &self.gained {
            let users: i64 = count.query_row([*num, *gained], |row| row.get(0))?;
            if users < 0 {
                return Err(Fault::Inconsistent("a role set lost users it never had".to_owned()));
            }
            if users == 0 {
                self.conn.execute("DELETE FROM decision WHERE role_set = ?1", [num])?;
                self.conn.execute("DELETE FROM role_set_role WHERE role_set = ?1", [num])?;
                self.conn.execute("DELETE FROM role_set WHERE num = ?1", [num])?;
                self.changed = true;
            }
        }
        if !catalog && roles.is_empty() {
            return Ok(());
        }
        self.nums.clear();
        let sets = &self.plan.set_roles;
        for (id, members) in sets {
            if !catalog && !members.iter().any(|member| roles.contains(member)) {
                continue;
            }
            // A set may be listed that no user has.
            let Some(num) = self.stored(*id)? else { continue };
            if !self.made.contains(&num) {
                self.conn.execute("DELETE FROM decision WHERE role_set = ?1", [num])?;
                self.decide(num, members, role)?;
                self.changed = true;
            }
        }
        Ok(())
    }
}
