//! Everybody in numbers, kept as they change: how many users are enabled, and how many effectively
//! hold each role. A plan for some people is weighed against them.

use std::collections::BTreeMap;

use crate::store::sql::db::{Conn, OptionalExtension, params};
use hashbrown::HashMap;

use super::apply::Names;
use super::codec::COUNTS;
use super::error::{Fault, Mismatch};
use crate::model::{RoleSetId, User};
use crate::plan::Plan;

/// What one commit adds to the numbers, and takes.
pub(super) struct Totals<'c> {
    conn: Conn<'c>,
    enabled: i64,
    /// How many users each role set gained, less those it lost. Of users alone, where
    /// `role_set.users` counts tokens as well.
    sets: HashMap<RoleSetId, i64>,
}

impl<'c> Totals<'c> {
    pub(super) fn new(conn: Conn<'c>) -> Self {
        Totals { conn, enabled: 0, sets: HashMap::new() }
    }

    /// `user` comes, with role set `set`.
    pub(super) fn came(&mut self, user: &User, set: RoleSetId) {
        self.enabled = self.enabled.saturating_add(i64::from(user.status.counts()));
        self.add(set, 1);
    }

    /// `user` is about to be written: the row is still what it was.
    pub(super) fn changes(&mut self, user: &User) -> Result<(), Fault> {
        let sql = format!("SELECT {COUNTS} FROM user u WHERE u.id = ?1");
        let mut statement = self.conn.prepare(&sql)?;
        // Whoever is not there is told where the row is written.
        let was: Option<bool> =
            statement.query_row([user.id.get()], |row| row.get(0)).optional()?;
        let was = i64::from(was.unwrap_or_default());
        self.enabled =
            self.enabled.saturating_add(i64::from(user.status.counts())).saturating_sub(was);
        Ok(())
    }

    /// A user gets role set `new` instead of `old`.
    pub(super) fn moved(&mut self, old: RoleSetId, new: RoleSetId) {
        self.add(old, -1);
        self.add(new, 1);
    }

    fn add(&mut self, set: RoleSetId, users: i64) {
        let gained = self.sets.entry(set).or_default();
        *gained = gained.saturating_add(users);
    }

    /// Writes the numbers. The sets that users leave must still be there.
    pub(super) fn finish(self, plan: &Plan, names: &mut Names<'_>) -> Result<(), Fault> {
        let mut roles: BTreeMap<i64, i64> = BTreeMap::new();
        let mut stored = self.conn.prepare(
            "SELECT m.role FROM role_set s JOIN role_set_role m ON m.role_set = s.num \
             WHERE s.id = ?1",
        )?;
        for (id, users) in self.sets.iter().filter(|(_, users)| **users != 0) {
            let members: Vec<i64> = match plan.set_roles.get(id) {
                Some(members) => {
                    members.iter().map(|role| names.role(*role)).collect::<Result<_, _>>()?
                }
                None => stored
                    .query_map([id.to_string()], |row| row.get(0))?
                    .collect::<Result<_, _>>()?,
            };
            for role in members {
                let gained = roles.entry(role).or_default();
                *gained = gained.saturating_add(*users);
            }
        }
        let mut write = self.conn.prepare(
            "INSERT INTO role_holders (role, users) VALUES (?1, ?2) \
             ON CONFLICT (role) DO UPDATE SET users = role_holders.users + excluded.users RETURNING users",
        )?;
        let mut nobody = self.conn.prepare("DELETE FROM role_holders WHERE role = ?1")?;
        for (role, users) in roles.into_iter().filter(|(_, users)| *users != 0) {
            let users: i64 = write.query_row(params![role, users], |row| row.get(0))?;
            if users < 0 {
                return Err(Mismatch::RoleHolders.into());
            }
            if users == 0 {
                nobody.execute([role])?;
            }
        }
        if self.enabled != 0 {
            self.conn.execute("UPDATE meta SET enabled = enabled + ?1", [self.enabled])?;
        }
        Ok(())
    }
}
