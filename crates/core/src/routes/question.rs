//! What a request asks, once its route is known.

use crate::model::IndexVec;
use crate::model::index::{Place as _, place_or_nowhere};
use crate::policy::Action;

place_or_nowhere! {
    /// A place among the actions that the routes name. Of one that is nowhere no policy speaks, so
    /// nothing is allowed.
    ActionIdx(u32) of "actions of routes"
}

impl ActionIdx {
    /// The place of `action`, which is added where it is new; nowhere where no number is left.
    pub(super) fn of(action: &Action, actions: &mut IndexVec<ActionIdx, Action>) -> ActionIdx {
        let known = actions.position(|known| known == action);
        let place = known.map_or_else(|| actions.push(action.clone()), Ok);
        place.unwrap_or(ActionIdx::NOWHERE)
    }

    /// The one at `place`; nowhere past the last there can be.
    #[must_use]
    pub fn at(place: usize) -> ActionIdx {
        ActionIdx::from_place(place).unwrap_or(ActionIdx::NOWHERE)
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
