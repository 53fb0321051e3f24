//! What was, kept beside what is: enough to say who effectively held what at any generation, and
//! since when.
//!
//! The views show role sets, so role sets are what is kept: whenever somebody gets another one, in
//! whatever way (a grant, an expiry, a role that everyone holds, being disabled), the one before goes
//! into `past_held` with the number of the generation that took it away. What somebody held at a
//! generation is the set of the first such row after it, or the present one; and a role is held since
//! the last generation whose row lacks it. Nothing is derived from rules that may be other ones today.

use crate::store::sql::db::{Conn, params};
use hashbrown::HashMap;

use super::batch::Batch;
use super::codec::encode;
use super::error::Fault;
use crate::model::UserId;

/// Where one commit writes what people held before it. [`Past::finish`] comes last.
pub(super) struct Past<'a> {
    conn: Conn<'a>,
    generation: i64,
    /// From role sets' numbers to those of the kept ones.
    nums: HashMap<i64, i64>,
    rows: Batch<'a, 'a, 3>,
}

impl<'a> Past<'a> {
    pub(super) fn new(conn: Conn<'a>, generation: i64) -> Self {
        let rows = Batch::new(conn, "past_held (user, until, past_set)");
        Past { conn, generation, nums: HashMap::new(), rows }
    }

    /// `user` had role set `set`, which must still be there, and gets another one.
    pub(super) fn held(&mut self, user: UserId, set: i64) -> Result<(), Fault> {
        let num = match self.nums.get(&set) {
            Some(num) => *num,
            None => {
                let num = self.keep(set)?;
                self.nums.insert(set, num);
                num
            }
        };
        self.rows.add([user.into(), self.generation.into(), num.into()])
    }

    /// The number under which the roles of `set` are kept.
    fn keep(&self, set: i64) -> Result<i64, Fault> {
        let mut statement = self
            .conn
            .prepare("SELECT role FROM role_set_role WHERE role_set = ?1 ORDER BY role")?;
        let roles: Vec<u32> =
            statement.query_map([set], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let content = encode(&roles);
        self.conn
            .prepare("INSERT INTO past_set (roles) VALUES (?1) ON CONFLICT DO NOTHING")?
            .execute([&content])?;
        let num = self
            .conn
            .prepare("SELECT num FROM past_set WHERE roles = ?1")?
            .query_row([&content], |row| row.get(0))?;
        Ok(num)
    }

    /// Writes the last rows.
    pub(super) fn finish(self) -> Result<(), Fault> {
        self.rows.finish()
    }
}

/// Role `num` is about to be defined: what it was to everyone before `generation` is kept where that
/// differs.
pub(super) fn redefined(
    conn: Conn<'_>,
    num: i64,
    everyone: bool,
    generation: i64,
) -> Result<(), Fault> {
    conn.execute(
        "INSERT INTO role_past (role, until, everyone) \
         SELECT num, ?2, everyone FROM role WHERE num = ?1 AND everyone <> ?3 \
         ON CONFLICT DO NOTHING",
        params![num, generation, everyone],
    )?;
    Ok(())
}

/// How a local grant's row is kept before it goes: its user, its role, the generation that takes it.
pub(super) const KEEP_LOCAL: &str = "INSERT INTO local_grant_past (user, role, by, at, reason, until, made, gone) \
     SELECT user, role, by, at, reason, until, made, ?3 FROM local_grant \
     WHERE user = ?1 AND role = ?2";
