//! The plan: what would change, as a value. Pure; nothing here can write.
//!
//! A [`Change`](crate::model::Change) is one step, [`Plan`] is all of them with what the guard said. The same value is
//! shown and applied, and can be written down and read; what waits for a person is kept in words ([`Held`]) and
//! planned anew when it is approved. It carries what its changes name ([`Tables`])
//! and makes the decisions for its role sets ([`Plan::decider`]). [`plan()`] makes it of what was resolved,
//! [`approve`] of a held one, [`by_hand`] of what a person asks for, [`stranger`] of one newcomer,
//! [`local`] of what is done by hand to one person, [`import()`] of another platform's database; [`apply`] says what a state becomes.

mod apply;
mod by_hand;
mod change;
mod copy;
mod decisions;
mod difference;
pub mod effective;
mod encoding;
mod gist;
mod guard;
mod import;
pub mod local;
mod make;
mod not_planned;
mod reach;
mod tables;
mod tokens;
mod view;

pub use apply::apply;
pub use by_hand::{ByHand, by_hand};
pub use change::{ChangeView, Held, HeldHead, Plan, ReasonView, Records, Summary};
pub use decisions::{Decided, Decider, Whose};
pub use difference::RoleDifference;
pub use gist::{Changes, Gist};
pub use guard::{Guard, Others, Taken};
pub use import::{Brought, import, long_lived};
pub use make::{Background, NotApproved, approve, newcomer, plan};
pub use not_planned::NotPlanned;
pub use reach::{Reached, Widened};
pub use tables::{RoleSets, Tables, TablesRef, TokenSet};
pub use view::{
    and_more, because, by_way, came, claims, disabled_by, lost, outgrown, reason, reason_views,
    reasons, shortest, sorted, token_story, view,
};
