//! What may happen to a state: one step, and why something is taken away.

use super::words::words;
use super::{
    Actor, GrantKind, NewToken, Role, RoleIdx, SetIdx, SourceIdx, Text, Time, UserId,
    parse_rfc3339, rfc3339,
};

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
        /// Who.
        by: Actor,
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

    /// Which of them it is, without what it says.
    #[must_use]
    pub fn kind(&self) -> CauseKind {
        match self {
            Cause::NotAtIdp => CauseKind::NotAtIdp,
            Cause::RoleGone => CauseKind::RoleGone,
            Cause::UserGone { .. } => CauseKind::UserGone,
            Cause::Replaced => CauseKind::Replaced,
            Cause::Expired => CauseKind::Expired,
            Cause::IdpDecides => CauseKind::IdpDecides,
            Cause::NotEveryone => CauseKind::NotEveryone,
            Cause::NewSecret => CauseKind::NewSecret,
            Cause::ByHand { .. } => CauseKind::ByHand,
        }
    }

    /// What it says beyond its kind, as history keeps it.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        match self {
            Cause::UserGone { since } => Some(rfc3339(*since)),
            Cause::ByHand { by } => Some(by.to_string()),
            Cause::NotAtIdp
            | Cause::RoleGone
            | Cause::Replaced
            | Cause::Expired
            | Cause::IdpDecides
            | Cause::NotEveryone
            | Cause::NewSecret => None,
        }
    }

    /// The cause of this kind and [`Cause::note`]; `None`: no cause has such a note.
    #[must_use]
    pub fn of(kind: CauseKind, note: Option<&str>) -> Option<Self> {
        Some(match kind {
            CauseKind::NotAtIdp => Cause::NotAtIdp,
            CauseKind::RoleGone => Cause::RoleGone,
            CauseKind::UserGone => Cause::UserGone { since: parse_rfc3339(note?).ok()? },
            CauseKind::Replaced => Cause::Replaced,
            CauseKind::Expired => Cause::Expired,
            CauseKind::IdpDecides => Cause::IdpDecides,
            CauseKind::NotEveryone => Cause::NotEveryone,
            CauseKind::NewSecret => Cause::NewSecret,
            CauseKind::ByHand => Cause::ByHand { by: note?.into() },
        })
    }
}

words! {
    /// What a [`Cause`] is called.
    pub enum CauseKind {
        /// [`Cause::NotAtIdp`]
        NotAtIdp = "not-at-idp",
        /// [`Cause::RoleGone`]
        RoleGone = "role-gone",
        /// [`Cause::UserGone`]
        UserGone = "user-gone",
        /// [`Cause::Replaced`]
        Replaced = "replaced",
        /// [`Cause::Expired`]
        Expired = "expired",
        /// [`Cause::IdpDecides`]
        IdpDecides = "idp-decides",
        /// [`Cause::NotEveryone`]
        NotEveryone = "not-everyone",
        /// [`Cause::NewSecret`]
        NewSecret = "new-secret",
        /// [`Cause::ByHand`]
        ByHand = "by-hand",
    }
}

words! {
    /// What a [`Change`] is called.
    pub enum ChangeKind {
        /// [`Change::RoleAdded`]
        RoleAdded = "role-added",
        /// [`Change::RoleChanged`]
        RoleChanged = "role-changed",
        /// [`Change::RoleRemoved`]
        RoleRemoved = "role-removed",
        /// [`Change::UserCreated`]
        UserCreated = "user-created",
        /// [`Change::UserRenamed`]
        UserRenamed = "user-renamed",
        /// [`Change::EmailChanged`]
        EmailChanged = "email-changed",
        /// [`Change::UserDisabled`]
        UserDisabled = "user-disabled",
        /// [`Change::UserEnabled`]
        UserEnabled = "user-enabled",
        /// [`Change::UserMissing`]
        UserMissing = "user-missing",
        /// [`Change::UserReturned`]
        UserReturned = "user-returned",
        /// [`Change::UserDeprovisioned`]
        UserDeprovisioned = "user-deprovisioned",
        /// [`Change::LinkAdded`]
        LinkAdded = "link-added",
        /// [`Change::LinkRemoved`]
        LinkRemoved = "link-removed",
        /// [`Change::LinkClaims`] with a name that the person does not have.
        LinkRefused = "link-refused",
        /// [`Change::LinkClaims`] with no such name any more.
        LinkAccepted = "link-accepted",
        /// [`Change::GrantAdded`]
        GrantAdded = "grant-added",
        /// [`Change::GrantReasons`]
        GrantReasons = "grant-reasons",
        /// [`Change::GrantRemoved`]
        GrantRemoved = "grant-removed",
        /// [`Change::CatalogChanged`]
        CatalogChanged = "catalog-changed",
        /// [`Change::WorkloadChanged`]
        WorkloadChanged = "workload-changed",
        /// [`Change::TokenAdded`]
        TokenAdded = "token-added",
        /// [`Change::TokenRemoved`]
        TokenRemoved = "token-removed",
        /// [`Change::TokenRoleLost`]
        TokenRoleLost = "token-role-lost",
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

impl Change {
    /// What it is called.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match self {
            Change::RoleAdded { .. } => ChangeKind::RoleAdded,
            Change::RoleChanged { .. } => ChangeKind::RoleChanged,
            Change::RoleRemoved { .. } => ChangeKind::RoleRemoved,
            Change::UserCreated { .. } => ChangeKind::UserCreated,
            Change::UserRenamed { .. } => ChangeKind::UserRenamed,
            Change::EmailChanged { .. } => ChangeKind::EmailChanged,
            Change::UserDisabled { .. } => ChangeKind::UserDisabled,
            Change::UserEnabled { .. } => ChangeKind::UserEnabled,
            Change::UserMissing { .. } => ChangeKind::UserMissing,
            Change::UserReturned { .. } => ChangeKind::UserReturned,
            Change::UserDeprovisioned { .. } => ChangeKind::UserDeprovisioned,
            Change::LinkAdded { .. } => ChangeKind::LinkAdded,
            Change::LinkRemoved { .. } => ChangeKind::LinkRemoved,
            Change::LinkClaims { claim: Some(_), .. } => ChangeKind::LinkRefused,
            Change::LinkClaims { claim: None, .. } => ChangeKind::LinkAccepted,
            Change::GrantAdded { .. } => ChangeKind::GrantAdded,
            Change::GrantReasons { .. } => ChangeKind::GrantReasons,
            Change::GrantRemoved { .. } => ChangeKind::GrantRemoved,
            Change::CatalogChanged => ChangeKind::CatalogChanged,
            Change::WorkloadChanged => ChangeKind::WorkloadChanged,
            Change::TokenAdded { .. } => ChangeKind::TokenAdded,
            Change::TokenRemoved { .. } => ChangeKind::TokenRemoved,
            Change::TokenRoleLost { .. } => ChangeKind::TokenRoleLost,
        }
    }

    /// Whom it speaks of, if of somebody.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Change::UserCreated { user }
            | Change::UserRenamed { user, .. }
            | Change::EmailChanged { user, .. }
            | Change::UserDisabled { user, .. }
            | Change::UserEnabled { user }
            | Change::UserMissing { user }
            | Change::UserReturned { user }
            | Change::UserDeprovisioned { user, .. }
            | Change::LinkAdded { user, .. }
            | Change::LinkRemoved { user, .. }
            | Change::LinkClaims { user, .. }
            | Change::GrantAdded { user, .. }
            | Change::GrantReasons { user, .. }
            | Change::GrantRemoved { user, .. }
            | Change::TokenAdded { user, .. }
            | Change::TokenRemoved { user, .. }
            | Change::TokenRoleLost { user, .. } => Some(*user),
            Change::RoleAdded { .. }
            | Change::RoleChanged { .. }
            | Change::RoleRemoved { .. }
            | Change::CatalogChanged
            | Change::WorkloadChanged => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, CauseKind, Change};
    use crate::model::Time;

    #[test]
    fn a_cause_is_read_as_it_was_kept_and_one_that_says_too_little_is_none() {
        let since = Time::from_timestamp(1_700_000_000, 0).unwrap();
        for kind in CauseKind::ALL {
            let cause = match kind {
                CauseKind::UserGone => Cause::UserGone { since },
                CauseKind::ByHand => Cause::ByHand { by: "ann".into() },
                kind => Cause::of(*kind, None).unwrap(),
            };
            assert_eq!(cause.kind(), *kind);
            assert_eq!(Cause::of(*kind, cause.note().as_deref()), Some(cause));
        }
        assert_eq!(Cause::of(CauseKind::UserGone, Some("long ago")), None);
        assert_eq!(Cause::of(CauseKind::ByHand, None), None);
    }

    /// A first sync of a million people with seven million memberships has nine million of them.
    #[test]
    fn a_change_is_small() {
        assert!(std::mem::size_of::<Change>() <= 40, "{}", std::mem::size_of::<Change>());
    }
}
