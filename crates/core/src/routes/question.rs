//! What a request asks, once its route is known.

use crate::model::index::{Place as _, place};
use crate::model::{IndexVec, TooMany};
use crate::policy::Action;

place! {
    /// A place among the actions that the routes name.
    ActionIdx(u32) of "actions of routes"
}

impl ActionIdx {
    /// The place of `action`, which is added where it is new.
    pub(super) fn of(
        action: &Action,
        actions: &mut IndexVec<ActionIdx, Action>,
    ) -> Result<ActionIdx, TooMany> {
        let known = actions.position(|known| known == action);
        known.map_or_else(|| actions.push(action.clone()), Ok)
    }

    /// The one at `place`.
    ///
    /// # Errors
    /// It is past the last there can be.
    pub fn at(place: usize) -> Result<ActionIdx, TooMany> {
        ActionIdx::from_place(place).ok_or(TooMany(ActionIdx::OF))
    }
}

/// What a request is about, once its route is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// The route's action.
    pub action: ActionIdx,
    /// On what.
    pub on: On<'a>,
}

/// What a request's action is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On<'a> {
    /// No resource.
    Nothing,
    /// This resource, `scope/id`; concrete.
    Resource(&'a str),
    /// Some resource of this scope that the path does not tell: allowed where some Allow for the
    /// action could match a resource of that scope and no Deny covers the whole scope.
    SomeOf(&'a str),
}
