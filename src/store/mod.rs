//! The store: what is known about people and roles, kept for runs, commands and gateways.
//!
//! | what | where |
//! |---|---|
//! | SQLite: one file that gateways read | `sqlite` |

mod sqlite;

pub use sqlite::*;
