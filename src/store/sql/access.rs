//! Who effectively holds what, since when and why: now, and at any generation since it is kept
//! ([`super::past`]).
//!
//! A past state is reached backwards from the present one: names and idp grants through the rows of
//! history since then, role sets and local grants through what was kept of them. So it costs what
//! changed since, and a look at each person; nothing is replayed from the beginning.

mod generation;
mod moment;
mod reader;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::store::sql::db::{Conn, OptionalExtension};

use super::codec::user_at;
use super::error::{Fault, StoreError};
use super::reader::Reads;
use crate::model::UserId;
use crate::store::{Access, AccessChange, AccessFilter};
use moment::{Moment, people};
use reader::AccessReader;

impl dyn Reads + '_ {
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
            let mut reader = AccessReader::open(conn, filter)?;
            let moment = Moment::load(conn, generation, reader.users.as_ref())?;
            let user = filter.user.as_deref();
            people(conn, &reader.users.clone(), &moment, &mut |person, name| {
                if user.is_some_and(|user| user != name) {
                    return Ok(ControlFlow::Continue(()));
                }
                for access in reader.held(person, name, &moment)? {
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
            let mut reader = AccessReader::open(conn, filter)?;
            let before = Moment::load(conn, from, reader.users.as_ref())?;
            let after = Moment::load(conn, to, reader.users.as_ref())?;
            let user = filter.user.as_deref();
            people(conn, &reader.users.clone(), &after, &mut |person, name| {
                let old_name = before.name(person);
                if user.is_some_and(|user| user != name && user != old_name) {
                    return Ok(ControlFlow::Continue(()));
                }
                let was = reader.held(person, old_name, &before)?;
                let is = reader.held(person, name, &after)?;
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

/// The people who are called `name`, or were once.
fn called(conn: Conn<'_>, name: &str) -> Result<BTreeSet<UserId>, Fault> {
    let mut statement = conn.prepare(
        "SELECT id FROM user WHERE username = ?1 \
         UNION SELECT user FROM history WHERE kind = 4 AND old = ?1",
    )?;
    Ok(statement.query_map([name], |row| user_at(row, 0))?.collect::<Result<_, _>>()?)
}

fn role_num(conn: Conn<'_>, name: &str) -> Result<Option<i64>, Fault> {
    Ok(conn
        .query_row("SELECT num FROM role WHERE name = ?1", [name], |row| row.get(0))
        .optional()?)
}
