//! The pure half of `idpsyncd`: what the sources say, what follows from it, and what would change.
//!
//! ```text
//! sources ──► mirror ──► resolve ──► policy ──► plan ──► guard ──► store ──► gateway
//!             └──────────────────── here ─────────────────────┘
//! ```
//!
//! | arrow | room |
//! |---|---|
//! | the words: ids as types, users, roles, grants, reasons, changes | [`model`] |
//! | what a source says, and what a partial read means | [`directory`] |
//! | rules, modes, users | [`resolve`] |
//! | patterns, evaluation, decisions | [`policy`] |
//! | changes, the guard | [`plan`] |
//! | which action a request is, and on what | [`routes`] |
//!
//! Everything is a function of what it is given: no clock, no environment, no file, no socket, no
//! random number. Time, keys and texts come in as arguments. So whatever plans cannot write, and
//! the same inputs give the same plan.

pub mod directory;
pub mod model;
pub mod plan;
pub mod policy;
pub mod resolve;
pub mod routes;
