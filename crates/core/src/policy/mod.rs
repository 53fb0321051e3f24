//! Roles' policies: patterns, evaluation, decisions. Pure.
//!
//! The semantics are the design's section 8. A pattern is parsed once into a type that cannot be
//! wrong; what cannot be parsed is a configuration error and never skipped.

mod evaluate;
mod pattern;

pub use evaluate::{
    Decision, Effect, Policy, Said, Verdict, allow_all, combined, decide, decide_catalog,
    decide_some, effects, only_deny,
};
pub use pattern::{
    Action, ActionPattern, PatternError, PatternFault, Resource, ResourcePattern, concrete,
    is_literal,
};
