//! Role sets and their decisions.
//!
//! Users and their tokens share role sets, and decisions hang on sets: a set is written when the
//! first of them gets it, and goes with the last one. Decisions of a set that stays are written anew only where the
//! catalog changed, or the policies of one of its roles. Sets with the same decisions share one
//! list of them ([`Lists`]).

use std::collections::{BTreeMap, BTreeSet};

use crate::store::sql::db::{Conn, OptionalExtension};
use hashbrown::HashMap;
use sha2::{Digest, Sha256};

use super::batch::Batch;
use super::error::{Fault, Mismatch};
use crate::model::{Inconsistent, RoleIdx, RoleSetId, TooMany};
use crate::plan::{Decider, Plan, Whose};
use crate::policy::Effect;

/// Where role sets are looked up and written during one commit. [`Sets::settle`] comes last.
pub(super) struct Sets<'a> {
    conn: Conn<'a>,
    plan: &'a Plan,
    /// Numbers of sets that were needed so far.
    nums: HashMap<RoleSetId, i64>,
    /// How many users and tokens each set gained, less those it lost. Not of those made here.
    gained: BTreeMap<i64, i64>,
    /// Sets that this commit made: their decisions are new already, and so is their count.
    made: BTreeSet<i64>,
    decider: Decider<'a>,
    lists: Lists<'a>,
    /// The next free number.
    next: i64,
    /// There was no set at all before this commit.
    first: bool,
    sets: Batch<'a, 'a, 4>,
    roles: Batch<'a, 'a, 2>,
}

fn unknown(id: RoleSetId) -> Fault {
    Mismatch::UnplannedSet(id).into()
}

impl<'a> Sets<'a> {
    pub(super) fn new(conn: Conn<'a>, plan: &'a Plan) -> Result<Self, Fault> {
        let last: Option<i64> =
            conn.query_row("SELECT max(num) FROM role_set", [], |row| row.get(0))?;
        Ok(Sets {
            conn,
            plan,
            decider: plan.decider(),
            nums: HashMap::new(),
            gained: BTreeMap::new(),
            made: BTreeSet::new(),
            lists: Lists::new(conn)?,
            next: last.unwrap_or(0).saturating_add(1),
            first: last.is_none(),
            sets: Batch::new(conn, "role_set (num, id, users, list)"),
            roles: Batch::new(conn, "role_set_role (role_set, role)"),
        })
    }

    /// The number of the stored set `id`.
    fn stored(&mut self, id: RoleSetId) -> Result<Option<i64>, Fault> {
        if let Some(num) = self.nums.get(&id) {
            return Ok(Some(*num));
        }
        if self.first {
            return Ok(None);
        }
        let num = self
            .conn
            .prepare("SELECT num FROM role_set WHERE id = ?1")?
            .query_row([id.to_string()], |row| row.get::<_, i64>(0))
            .optional()?;
        if let Some(num) = num {
            self.nums.insert(id, num);
        }
        Ok(num)
    }

    /// Makes those sets of `coming` (how many users and tokens get which set) that are not there, before
    /// anybody enters one. In the order of their ids, in which they are indexed fastest. `role`
    /// gives roles' numbers in the store.
    pub(super) fn make(
        &mut self,
        coming: &HashMap<RoleSetId, i64>,
        role: &mut dyn FnMut(RoleIdx) -> Result<i64, Fault>,
    ) -> Result<(), Fault> {
        let plan = self.plan;
        for (id, members) in &plan.set_roles {
            let Some(users) = coming.get(id) else { continue };
            if self.stored(*id)?.is_some() {
                continue;
            }
            let num = self.next;
            self.next = num.saturating_add(1);
            let list = self.decide(members, role)?;
            self.sets.add([num.into(), id.to_string().into(), (*users).into(), list.into()])?;
            for index in members {
                self.roles.add([num.into(), role(*index)?.into()])?;
            }
            self.nums.insert(*id, num);
            self.made.insert(num);
        }
        Ok(())
    }

    /// A user or token gets set `id`, one of those that were announced to [`Sets::make`]: its number.
    pub(super) fn enter(&mut self, id: RoleSetId) -> Result<i64, Fault> {
        let num = self.stored(id)?.ok_or_else(|| unknown(id))?;
        if !self.made.contains(&num) {
            let gained = self.gained.entry(num).or_default();
            *gained = gained.saturating_add(1);
        }
        Ok(num)
    }

    /// A user or token loses set `id`: its number.
    pub(super) fn leave(&mut self, id: RoleSetId) -> Result<i64, Fault> {
        let gone = || Fault::from(Mismatch::NoSuchSet(id));
        let num = self.stored(id)?.ok_or_else(gone)?;
        if self.made.contains(&num) {
            return Err(gone());
        }
        let gained = self.gained.entry(num).or_default();
        *gained = gained.saturating_sub(1);
        Ok(num)
    }

    /// A token that goes had the set of this number.
    pub(super) fn left(&mut self, num: i64) {
        let gained = self.gained.entry(num).or_default();
        *gained = gained.saturating_sub(1);
    }

    /// Writes what the plan decides for a set of `roles`: the number of its list of decisions.
    fn decide(
        &mut self,
        roles: &[RoleIdx],
        role: &mut dyn FnMut(RoleIdx) -> Result<i64, Fault>,
    ) -> Result<i64, Fault> {
        let decided = self
            .decider
            .decide(roles)
            .map_err(|role| Mismatch::Plan(Inconsistent::NoSuchRole(role)))?;
        let mut decisions = Vec::with_capacity(decided.len());
        for one in decided {
            decisions.push(Decided {
                request: i64::try_from(one.request).map_err(|_| TooMany("requests"))?,
                whose: whose_code(one.whose),
                allow: one.effect == Effect::Allow,
                role: role(one.role)?,
            });
        }
        self.lists.enter(&decisions)
    }

    /// Counts the users, drops sets that nobody has, and writes the decisions of those that stay
    /// and that the plan decides anew.
    pub(super) fn settle(
        mut self,
        role: &mut dyn FnMut(RoleIdx) -> Result<i64, Fault>,
    ) -> Result<(), Fault> {
        let mut count = self.conn.prepare(
            "UPDATE role_set SET users = users + ?2 WHERE num = ?1 RETURNING users, list",
        )?;
        for (num, gained) in &self.gained {
            let (users, list): (i64, i64) =
                count.query_row([*num, *gained], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if users < 0 {
                return Err(Mismatch::SetUsers.into());
            }
            if users == 0 {
                self.lists.leave(list);
                self.conn.execute("DELETE FROM role_set_role WHERE role_set = ?1", [num])?;
                self.conn.execute("DELETE FROM role_set WHERE num = ?1", [num])?;
            }
        }
        drop(count);
        self.decide_anew(role)?;
        self.sets.finish()?;
        self.roles.finish()?;
        self.lists.settle()
    }

    fn decide_anew(
        &mut self,
        role: &mut dyn FnMut(RoleIdx) -> Result<i64, Fault>,
    ) -> Result<(), Fault> {
        // Some of them may be gone.
        self.nums.retain(|_, num| self.made.contains(num));
        let plan = self.plan;
        let mut list_of = self.conn.prepare("SELECT list FROM role_set WHERE num = ?1")?;
        let mut change = self.conn.prepare("UPDATE role_set SET list = ?2 WHERE num = ?1")?;
        for (id, members) in plan.decided_anew() {
            // A set may be listed that nobody has.
            let Some(num) = self.stored(id)? else { continue };
            if !self.made.contains(&num) {
                let before: i64 = list_of.query_row([num], |row| row.get(0))?;
                let list = self.decide(members, role)?;
                self.lists.leave(before);
                if list != before {
                    change.execute([num, list])?;
                }
            }
        }
        Ok(())
    }
}

/// For whom of those who have a role set a decision is, as stored.
fn whose_code(whose: Whose) -> u8 {
    match whose {
        Whose::All => 0,
        Whose::Others => 1,
        Whose::Own => 2,
    }
}

/// One decision of a list: a request's and a role's number in the store.
struct Decided {
    request: i64,
    whose: u8,
    allow: bool,
    role: i64,
}

/// Lists of decisions. A list is found by its content, and goes with the last set that has it.
struct Lists<'a> {
    conn: Conn<'a>,
    /// By digest, those that were needed so far.
    nums: HashMap<[u8; 32], i64>,
    /// How many sets each list gained, less those it lost.
    gained: BTreeMap<i64, i64>,
    next: i64,
    lists: Batch<'a, 'a, 3>,
    decisions: Batch<'a, 'a, 5>,
}

impl<'a> Lists<'a> {
    fn new(conn: Conn<'a>) -> Result<Self, Fault> {
        let next =
            conn.query_row("SELECT coalesce(max(num), 0) + 1 FROM decision_list", [], |row| {
                row.get(0)
            })?;
        Ok(Lists {
            conn,
            nums: HashMap::new(),
            gained: BTreeMap::new(),
            next,
            lists: Batch::new(conn, "decision_list (num, digest, sets)"),
            decisions: Batch::new(conn, "decision (list, request, whose, allow, role)"),
        })
    }

    /// A set gets the list of these `decisions`: its number.
    fn enter(&mut self, decisions: &[Decided]) -> Result<i64, Fault> {
        let mut content = Vec::with_capacity(decisions.len().saturating_mul(18));
        for Decided { request, whose, allow, role } in decisions {
            content.extend_from_slice(&request.to_le_bytes());
            content.push(*whose);
            content.push(u8::from(*allow));
            content.extend_from_slice(&role.to_le_bytes());
        }
        let digest: [u8; 32] = Sha256::digest(&content).into();
        let num = match self.nums.get(&digest) {
            Some(num) => *num,
            None => {
                let stored: Option<i64> = self
                    .conn
                    .prepare("SELECT num FROM decision_list WHERE digest = ?1")?
                    .query_row([digest.as_slice()], |row| row.get(0))
                    .optional()?;
                let num = match stored {
                    Some(num) => num,
                    None => self.make(&digest, decisions)?,
                };
                self.nums.insert(digest, num);
                num
            }
        };
        let gained = self.gained.entry(num).or_default();
        *gained = gained.saturating_add(1);
        Ok(num)
    }

    fn make(&mut self, digest: &[u8; 32], decisions: &[Decided]) -> Result<i64, Fault> {
        let num = self.next;
        self.next = num.saturating_add(1);
        self.lists.add([num.into(), digest.to_vec().into(), 0_i64.into()])?;
        for Decided { request, whose, allow, role } in decisions {
            self.decisions.add([
                num.into(),
                (*request).into(),
                i64::from(*whose).into(),
                (*allow).into(),
                (*role).into(),
            ])?;
        }
        Ok(num)
    }

    /// A set loses list `num`.
    fn leave(&mut self, num: i64) {
        let gained = self.gained.entry(num).or_default();
        *gained = gained.saturating_sub(1);
    }

    /// Counts the sets, and drops the lists that none has.
    fn settle(mut self) -> Result<(), Fault> {
        self.lists.flush()?;
        self.decisions.flush()?;
        let mut count = self
            .conn
            .prepare("UPDATE decision_list SET sets = sets + ?2 WHERE num = ?1 RETURNING sets")?;
        for (num, gained) in self.gained.iter().filter(|(_, gained)| **gained != 0) {
            let sets: i64 = count.query_row([*num, *gained], |row| row.get(0))?;
            if sets < 0 {
                return Err(Mismatch::ListSets.into());
            }
            if sets == 0 {
                self.conn.execute("DELETE FROM decision WHERE list = ?1", [num])?;
                self.conn.execute("DELETE FROM decision_list WHERE num = ?1", [num])?;
            }
        }
        Ok(())
    }
}
