//! The store in one SQLite file, which gateways read.
//!
//! | what | where |
//! |---|---|
//! | the tables and the gateway's views | `schema/v1.sql` and on, explained in `docs/store.md` |
//! | opening, `-wal` and `-shm` | `open` |
//! | whose the files are, links among them | `files` |
//! | one run at a time; which daemon leads | `lock`, `lead` |
//! | reading and writing | `SqliteReader`, `SqliteWriter`: the transactions in which `crate::store::sql` reads and writes |
//! | connections that are kept, transactions by statements that are | `kept`, `begun` |
//!
//! Nothing outside this folder knows that there are files.

mod begun;
mod copying;
pub(in crate::store) mod error;
mod files;
mod kept;
mod lead;
mod lock;
mod open;
mod reader;
mod schema;
mod store;
mod transaction;
mod watch;
mod writer;

#[cfg(test)]
mod older_tests;

#[cfg(test)]
pub mod steps;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod who_counts_tests;

pub(in crate::store) use schema::SCHEMA_VERSION;
pub use store::SqliteStore;
#[cfg(test)]
pub(in crate::store) use writer::SqliteWriter;
