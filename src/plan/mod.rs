//! The plan: what would change, as a value. Pure; nothing here can write.
//!
//! [`Change`] is one step, [`Plan`] is all of them with what the guard said. The same value is
//! shown, saved while it is held, approved and applied.

mod change;

pub use change::{Cause, Change, ChangeView, Held, Plan, RoleSetId, Summary};
