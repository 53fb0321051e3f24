//! What a request asks, once its route is known.

/// A place among the actions that the routes name.
pub type ActionIdx = u32;

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
