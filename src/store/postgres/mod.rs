//! The store in a schema of a PostgreSQL database, for gateways on many machines.
//!
//! | what | where |
//! |---|---|
//! | the tables and the gateway's views | `schema/v10.sql` and on, explained in `docs/store.md` |
//! | connecting: TLS, who signs in, one host after the other; sessions that are kept | `connect`, `hosts`, `pool` |
//! | asking and being answered, and for how long | `session`, `wire`; many rows at once: `rows`; what it says otherwise than SQLite: `dialect` |
//! | one run at a time | `lock` |
//! | which daemon leads | `lead` |
//! | reading and writing | `reader`, `transaction`: the transactions in which `crate::store::sql` reads and writes |
//! | a whole store into or out of it (`crate::store::copy`) | `store`; rows by `copying` |
//! | following it | `watch` |
//! | what a gateway's role may read | `rights` |
//!
//! Nothing outside this folder knows that the client is async: it has a runtime of its own.

mod connect;
mod copying;
mod dialect;
mod error;
mod hosts;
mod lead;
mod lock;
mod pool;
mod reader;
mod rights;
mod rows;
mod schema;
pub(in crate::store) mod session;
mod store;
mod text;
mod transaction;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

pub(in crate::store) use copying::PgCopy;
pub use store::PostgresStore;
