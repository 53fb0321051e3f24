//! What may happen to a state: one step, and why something is taken away.

use super::{GrantKind, NewToken, Role, RoleIdx, SetIdx, SourceIdx, Text, Time, UserId};

/// Why something is taken away.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Cause {
    /// No source says yes any more: a group no longer lists the person, a mapping or source left
    /// the configuration. Absence.
    NotAtIdp,
    /// The role left the configuration, or no source has the template's role any more. Absence.
    RoleGone,
    /// The person is gone from every source for longer than `on_missing.after`. Absence.
    UserGone {
        /// Since when.
        since: Time,
    },
    /// Another person has the username now. Absence.
    Replaced,
    /// A local grant's time is over.
    Expired,
    /// `force`: the IdP decides alone, and it says yes itself.
    IdpDecides,
    /// Everyone held the role, and does no more.
    NotEveryone,
    /// A token of the same name with another secret takes its place.
    NewSecret,
    /// Somebody removed it by hand: who and why.
    ByHand {
        /// An operating-system account name.
        by: String,
    },
}

impl Cause {
    /// Whether the guard counts it: what is taken away because something is *absent*.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Cause::NotAtIdp | Cause::RoleGone | Cause::UserGone { .. } | Cause::Replaced => true,
            Cause::Expired
            | Cause::IdpDecides
            | Cause::NotEveryone
            | Cause::NewSecret
            | Cause::ByHand { .. } => false,
        }
    }

    /// A stable word: `not-at-idp`, `role-gone`, `user-gone`, `replaced`, `expired`,
    /// `idp-decides`, `not-everyone`, `new-secret`, `by-hand`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Cause::NotAtIdp => "not-at-idp",
            Cause::RoleGone => "role-gone",
            Cause::UserGone { .. } => "user-gone",
            Cause::Replaced => "replaced",
            Cause::Expired => "expired",
            Cause::IdpDecides => "idp-decides",
            Cause::NotEveryone => "not-everyone",
            Cause::NewSecret => "new-secret",
            Cause::ByHand { .. } => "by-hand",
        }
    }
}

/// One step from the old state to the new one. Role, set, source and local numbers are places in the
/// tables of the plan that has it, texts are of theirs; while a plan is being made, in those of the new
/// [`State`](super::State), which keeps every role that a change names.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Change {
    /// A role is declared, or a template's role has appeared at an IdP.
    RoleAdded {
        /// The role.
        role: RoleIdx,
    },
    /// A role's definition changed (policies, mode, description, `everyone`).
    RoleChanged {
        /// The role.
        role: RoleIdx,
        /// As it was.
        old: Box<Role>,
    },
    /// A role left the configuration or the IdP; its grants go with it as changes of their own.
    RoleRemoved {
        /// The role.
        role: RoleIdx,
    },
    /// A person is provisioned.
    UserCreated {
        /// The new number.
        user: UserId,
    },
    /// The username changed; grants stay.
    UserRenamed {
        /// Who.
        user: UserId,
        /// The old username.
        old: Text,
    },
    /// The email address changed.
    EmailChanged {
        /// Who.
        user: UserId,
        /// The old one.
        old: Text,
    },
    /// A source says outright that the account is disabled.
    UserDisabled {
        /// Who.
        user: UserId,
        /// The source's name.
        by: String,
        /// Keycloak's federation link, or empty.
        federation: Text,
    },
    /// No source says disabled any more.
    UserEnabled {
        /// Who.
        user: UserId,
    },
    /// Gone from every source since now; nothing is lost yet.
    UserMissing {
        /// Who.
        user: UserId,
    },
    /// Back again, in time or after having been deprovisioned. Enabled unless a
    /// [`Change::UserDisabled`] follows.
    UserReturned {
        /// Who.
        user: UserId,
    },
    /// Loses all effective roles; import and local grants are kept for a return.
    UserDeprovisioned {
        /// Who.
        user: UserId,
        /// [`Cause::UserGone`] or [`Cause::Replaced`].
        cause: Cause,
    },
    /// A source knows the person by this external id.
    LinkAdded {
        /// Who.
        user: UserId,
        /// The source.
        source: SourceIdx,
        /// The external id.
        ext: Text,
    },
    /// The source shows a stable id for somebody whom it named by username alone: the link by
    /// username goes.
    LinkRemoved {
        /// Who.
        user: UserId,
        /// The source.
        source: SourceIdx,
        /// What stood for an id.
        ext: Text,
    },
    /// The source calls the account by a name that the person does not have, or does so no more:
    /// [`super::Link::claim`].
    LinkClaims {
        /// Who.
        user: UserId,
        /// The source.
        source: SourceIdx,
        /// The external id.
        ext: Text,
        /// The name; `None`: no such name any more.
        claim: Option<Text>,
    },
    /// A grant is made.
    GrantAdded {
        /// Who.
        user: UserId,
        /// What.
        role: RoleIdx,
        /// Where from.
        kind: GrantKind,
    },
    /// An idp grant stays, for other reasons.
    GrantReasons {
        /// Who.
        user: UserId,
        /// What.
        role: RoleIdx,
        /// The reasons as they were.
        old: SetIdx,
        /// The reasons now.
        new: SetIdx,
    },
    /// A grant goes.
    GrantRemoved {
        /// Who.
        user: UserId,
        /// What.
        role: RoleIdx,
        /// Which: idp, or local.
        kind: GrantKind,
        /// Why.
        cause: Cause,
    },
    /// The catalog of requests changed: decisions are computed anew.
    CatalogChanged,
    /// An access token is made. Comes after a [`Change::TokenRemoved`] of the same name.
    TokenAdded {
        /// Its owner.
        user: UserId,
        /// The token.
        token: Box<NewToken>,
    },
    /// An access token goes, for good.
    TokenRemoved {
        /// Its owner.
        user: UserId,
        /// Its name, a text of the plan; while one is being made, of [`super::State::tokens`].
        name: Text,
        /// Why.
        cause: Cause,
    },
    /// An access token loses a role, for good, since its owner does.
    TokenRoleLost {
        /// Its owner.
        user: UserId,
        /// Its name, a text of the plan; while one is being made, of [`super::State::tokens`].
        name: Text,
        /// What.
        role: RoleIdx,
        /// Why the owner holds it no more.
        cause: Box<Cause>,
    },
    /// Who pools' pods are in the clouds changed.
    WorkloadChanged,
}

#[cfg(test)]
mod tests {
    use super::Change;

    /// A first sync of a million people with seven million memberships has nine million of them.
    #[test]
    fn a_change_is_small() {
        assert!(std::mem::size_of::<Change>() <= 40, "{}", std::mem::size_of::<Change>());
    }
}
