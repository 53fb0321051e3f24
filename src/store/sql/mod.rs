//! What both backends keep in tables, and the statements that they are read and written by.
//!
//! ```text
//! Reads ── state, mirror, meta ──► plan ──► writer::write_commit   one transaction
//! (cannot write)                           (base_version: or Raced)
//! ```
//!
//! | what | where |
//! |---|---|
//! | what a statement is run by | `db`: a connection to SQLite, or a session with PostgreSQL |
//! | reading | `reader`: `load` (the state), `query` (people), `gateway` (what a gateway keeps in memory), `tokens`, `history`, `access` (who held what at any generation), `review`, `mirror`, `keys` (issuers'), `ended` (sessions), `workload` (who reaches what in the clouds) |
//! | reading for one stranger | `provision` |
//! | reading what one change needs | `slice`, `lists` (who is in a group that changes again and again); by `names` (what accounts are found by) and `totals` (everybody in numbers) |
//! | people who were added by hand | `accounts` |
//! | writing | `transaction` (what every backend's is), `writer`: `apply` (changes), `grants`, `tokens`, `sets` (role sets, decisions), `past` (what people held before), `mirror` (all of it), `patch` (some of its rows), `keys`; `batch` (many rows a statement) |
//!
//! A commit costs what it changes: rows that stay are not written. Nothing here decides what should
//! change: it does what the plan says, and refuses a plan that does not fit. Tables, files, sessions and
//! locks are the backends' own: `sqlite`, `postgres`.

mod access;
mod accounts;
mod apply;
mod batch;
mod bearers;
mod codec;
pub(in crate::store) mod db;
mod distinct;
mod door;
mod ended;
mod error;
mod followed;
mod gateway;
mod grants;
mod held;
mod history;
mod keys;
mod lists;
mod load;
mod mirror;
mod names;
mod past;
mod patch;
mod provision;
mod query;
mod reader;
mod reasons;
mod review;
mod sets;
mod slice;
mod tokens;
mod totals;
mod transaction;
mod workload;
mod writer;

pub(in crate::store) use batch::{Cell, filling};
pub(in crate::store) use ended::keep as end_sessions;
pub(in crate::store) use error::Fault;
pub(in crate::store) use followed::keep as keep_followed;
pub(in crate::store) use keys::keep as keep_keys;
pub(in crate::store) use lists::KnownLists;
pub(in crate::store) use mirror::{index_older, older};
pub(in crate::store) use names::{are_current, make as make_names};
pub(in crate::store) use reader::{Reads, on_one_state};
pub(in crate::store) use review::sign;
pub(in crate::store) use transaction::{Changing, SqlTransaction};
pub(in crate::store) use writer::discard_held;
#[cfg(test)]
pub(in crate::store) use {
    apply::status as status_of, patch::write as patch_write, slice::of_one_change,
    writer::write_commit,
};
