//! `idpsyncd` keeps a gateway's idea of *who may do what* in step with the identity providers.
//!
//! ```text
//! sources ──► mirror ──► resolve ──► policy ──► plan ──► guard ──► store ──► gateway
//! Keycloak    what each   mapping    roles to   now vs   may it    one       SQL views
//! LDAP        source      rules and  decisions  wanted   happen?   transac-
//! files       last said   sync modes                               tion
//! local
//! ```
//!
//! | arrow | room |
//! |---|---|
//! | reading a source | [`source`] |
//! | what a source says, and what a partial read means | [`directory`] (pure) |
//! | rules, modes, users | [`resolve`] (pure) |
//! | patterns, evaluation, decisions | [`policy`] (pure) |
//! | changes, the guard | [`plan`] (pure) |
//! | which action a request is, and on what | [`routes`] (pure) |
//! | schema, mirror, reading, applying | [`store`] |
//! | one run from end to end; one newcomer; what people do by hand | [`sync`] |
//! | the words | [`model`] |
//! | the TOML file | [`config`] |
//! | the platforms' own files | [`platform`] |
//! | schedule, signals, systemd | [`daemon`] |
//! | what the gateway asks, and who asks | [`gateway`] |
//! | commands and how things print | [`cli`] |
//!
//! Only the two ends touch the world: what is pure is a crate of its own, `crates/core`, that has no
//! clock, no environment and no I/O. Planning never holds a writer, so it cannot write.
//!
//! From the bottom up: those, `platform`, `config`, `store` and `source`, `sync`, `gateway`, `daemon`,
//! `cli`. Nothing knows what is above it: `docs/architecture.md` has the table, and
//! `tests/architecture.rs` reads every `crate::` by it.

// So that tests of the library can share with tests of the program what both begin with.
#[cfg(test)]
extern crate self as idpsyncd;

pub use idpsyncd_core::{directory, model, plan, policy, resolve, routes};

pub mod cli;
pub mod config;
pub mod daemon;
pub mod gateway;
pub mod platform;
pub mod source;
pub mod store;
pub mod sync;
