//! Answers to questions about people.

use std::rc::Rc;

use crate::model::{
    LocalAccount, LocalGrant, Mode, Reason, Role, RoleSetId, Status, Time, UserId, WorkloadIdentity,
};
use crate::policy::Effect;

/// A person, in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserRow {
    /// The store's number.
    pub id: UserId,
    /// The username.
    pub username: String,
    /// The email address; empty where there is none.
    pub email: String,
    /// How it stands.
    pub status: Status,
    /// The effective roles, sorted; shared by everyone who has the same.
    pub roles: Rc<[String]>,
    /// A service account: only tokens speak for it.
    pub service: bool,
}

/// A person with everything that is known about the grants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserDetail {
    /// The store's number.
    pub id: UserId,
    /// The username.
    pub username: String,
    /// The email address; empty where there is none.
    pub email: String,
    /// How it stands.
    pub status: Status,
    /// The role set that gateways see.
    pub role_set: RoleSetId,
    /// The effective roles, sorted: those of the role set.
    pub roles: Vec<String>,
    /// By which external ids which sources know the person: source, external id.
    pub links: Vec<(String, String)>,
    /// The grants, by role, idp before local; those of someone who is disabled too.
    pub grants: Vec<GrantDetail>,
    /// Who added the person by hand, where `local` knows them.
    pub local: Option<LocalAccount>,
}

/// A grant and its story.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantDetail {
    /// The role's name.
    pub role: String,
    /// The role's sync mode.
    pub mode: Mode,
    /// Why an identity provider gives it; empty for a local grant.
    pub reasons: Vec<Reason>,
    /// The story of a grant made by hand; absent for an identity provider's.
    pub local: Option<LocalGrant>,
}

/// A person's effective roles.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EffectiveRoles {
    /// How the person stands.
    pub status: Status,
    /// The roles with their policies, sorted by name; none for someone who is not enabled.
    pub roles: Vec<Role>,
}

/// A stored decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredDecision {
    /// Allow or Deny.
    pub effect: Effect,
    /// The role whose policy decided.
    pub role: String,
}

/// A token, as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenRow {
    /// The owner's number.
    pub user_id: UserId,
    /// The owner's username.
    pub user: String,
    /// How the owner stands.
    pub owner: Status,
    /// The owner is a service account.
    pub service: bool,
    /// Its name.
    pub name: String,
    /// From then on it is refused.
    pub expires_at: Time,
    /// Its roles, sorted; shared by tokens that have the same.
    pub roles: Rc<[String]>,
    /// What it is for; may be empty.
    pub description: String,
    /// Who made it.
    pub by: Rc<str>,
    /// When.
    pub at: Time,
    /// The role set that it decides with.
    pub role_set: RoleSetId,
}

/// Somebody reaches an identity, or an unknown one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ReachedBy {
    /// What, through which pool and platform.
    pub row: WorkloadIdentity,
    /// Who.
    pub user: String,
    /// `workflow:Create` or `workflow:Exec`.
    pub via_action: String,
    /// The role that allows it.
    pub role: String,
}
