//! The store in one SQLite file, which gateways read.
//!
//! ```text
//! SqliteReader ── state, mirror, meta ──► plan ──► SqliteWriter::commit   one transaction
//! (cannot write)                             (base_version: or Raced)
//! ```
//!
//! | what | where |
//! |---|---|
//! | the tables and the gateway's views | `schema/v1.sql`, explained in `docs/store.md` |
//! | opening, `-wal` and `-shm` | `open` |
//! | whose the files are, links among them | `files` |
//! | one run at a time | `lock` |
//! | reading | `SqliteReader`: `load` (the state), `query` (people), `gateway` (what a gateway keeps in memory), `tokens`, `history`, `access` (who held what at any generation), `review`, `mirror`, `keys` (issuers'), `ended` (sessions), `workload` (who reaches what in the clouds) |
//! | reading for one stranger | `provision` |
//! | reading what one change needs | `slice`; by `names` (what accounts are found by) and `totals` (everybody in numbers) |
//! | people who were added by hand | `accounts` |
//! | writing | `SqliteWriter`: `apply` (changes), `grants`, `tokens`, `sets` (role sets, decisions), `past` (what people held before), `mirror` (all of it), `patch` (some of its rows), `keys`; `batch` (many rows a statement) |
//!
//! A commit costs what it changes: rows that stay are not written. Nothing outside this folder
//! knows that it is SQLite, and nothing in it decides what should change: it does what the plan
//! says, and refuses a plan that does not fit.

mod access;
mod accounts;
mod apply;
mod batch;
mod bearers;
mod codec;
mod door;
mod ended;
mod error;
mod files;
mod followed;
mod gateway;
mod grants;
mod held;
mod history;
mod kept;
mod keys;
mod load;
mod lock;
mod mirror;
mod names;
mod open;
mod past;
mod patch;
mod provision;
mod query;
mod reader;
mod reasons;
mod review;
mod schema;
mod sets;
mod slice;
mod store;
mod tokens;
mod totals;
mod transaction;
mod watch;
mod workload;
mod writer;

#[cfg(test)]
mod older_tests;

#[cfg(test)]
pub mod steps;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod who_counts_tests;

pub use store::SqliteStore;
