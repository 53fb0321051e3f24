//! One change, and how it reads.

use crate::model::{
    Deed, GrantKind, LocalAccount, NewToken, Role, RoleIdx, SetIdx, State, Text, Time, UserId,
};

/// The id of a role set: the first 16 bytes of a SHA-256 over its roles' names, so that it means
/// the same in every generation and on every machine. Printed as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default)]
pub struct RoleSetId(pub u128);

impl std::fmt::Display for RoleSetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Why something is taken away.
#[derive(Clone, PartialEq, Eq, Debug)]
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

/// One step from the old state to the new one. Role, set, source and local numbers are places in
/// the plan's new [`State`] (which keeps every role that a change names), texts are of its arena.
#[derive(Clone, PartialEq, Eq, Debug)]
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
        /// The source, a place in [`State::sources`].
        source: u16,
        /// The external id.
        ext: Text,
    },
    /// The source shows a stable id for somebody whom it named by username alone: the link by
    /// username goes.
    LinkRemoved {
        /// Who.
        user: UserId,
        /// The source, a place in [`State::sources`].
        source: u16,
        /// What stood for an id.
        ext: Text,
    },
    /// The source calls the account by a name that the person does not have, or does so no more:
    /// [`crate::model::Link::claim`].
    LinkClaims {
        /// Who.
        user: UserId,
        /// The source, a place in [`State::sources`].
        source: u16,
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
        /// Its name, of the texts of [`State::tokens`].
        name: Text,
        /// Why.
        cause: Cause,
    },
    /// An access token loses a role, for good, since its owner does.
    TokenRoleLost {
        /// Its owner.
        user: UserId,
        /// Its name, of the texts of [`State::tokens`].
        name: Text,
        /// What.
        role: RoleIdx,
        /// Why the owner holds it no more.
        cause: Box<Cause>,
    },
    /// Who pools' pods are in the clouds changed.
    WorkloadChanged,
}

/// One change in words, for people, programs, history and held plans. Fields that do not apply
/// are absent.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ChangeView {
    /// `role-added`, `role-changed`, `role-removed`, `user-created`, `user-renamed`,
    /// `email-changed`, `user-disabled`, `user-enabled`, `user-missing`, `user-returned`,
    /// `user-deprovisioned`, `link-added`, `link-removed`, `link-refused`,
    /// `link-accepted`, `grant-added`, `grant-reasons`, `grant-removed`, `catalog-changed`,
    /// `workload-changed`, `token-added`, `token-removed`, `token-role-lost`.
    pub change: String,
    /// The username (the new one, where it changed).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// The store's number of the user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user_id: Option<UserId>,
    /// The role.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub role: Option<String>,
    /// The user's access token, by name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<String>,
    /// `idp` or `local`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<String>,
    /// The old value, where one changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<String>,
    /// The new value, where one changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<String>,
    /// [`Cause::code`], for what is taken away.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// Why, in a sentence: for a grant the shortest way it came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// For an idp grant every way it came, shortest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reasons: Vec<crate::model::Reason>,
}

impl ChangeView {
    /// What identifies the change from run to run: everything but the words of `why`.
    #[must_use]
    pub fn key(&self) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        // Only those of tokens name one: the keys of all others are what they have always been.
        let token = self.token.as_ref().map(|token| format!("\t{token}")).unwrap_or_default();
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}{token}",
            self.change,
            part(&self.user),
            self.user_id.map(|id| id.to_string()).unwrap_or_default(),
            part(&self.role),
            part(&self.origin),
            part(&self.old),
            part(&self.new),
            part(&self.cause),
        )
    }
}

/// Changes that wait for a person.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// Made from the changes' keys: the same changes have the same id. 12 hex digits.
    pub id: String,
    /// When they were first held, RFC 3339.
    pub since: String,
    /// Why, a sentence for each limit that was passed.
    pub why: Vec<String>,
    /// How many effective user-role pairs they would take away.
    pub lost_pairs: u64,
    /// The changes, sorted by key.
    pub changes: Vec<ChangeView>,
}

impl Held {
    /// All of it but the changes.
    #[must_use]
    pub fn head(&self) -> HeldHead {
        let Held { id, since, why, lost_pairs, changes } = self;
        HeldHead {
            id: id.clone(),
            since: since.clone(),
            why: why.clone(),
            lost_pairs: *lost_pairs,
            changes: changes.len() as u64,
        }
    }
}

/// [`Held`] without the changes, of which there may be millions: what a status line or a log needs.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct HeldHead {
    /// As [`Held::id`].
    pub id: String,
    /// As [`Held::since`].
    pub since: String,
    /// As [`Held::why`].
    pub why: Vec<String>,
    /// As [`Held::lost_pairs`].
    pub lost_pairs: u64,
    /// How many changes wait.
    pub changes: u64,
}

/// How much a plan changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Summary {
    /// Users provisioned.
    pub users_created: u64,
    /// Users renamed, with a new email address, enabled, returned, missing.
    pub users_changed: u64,
    /// Users disabled by a source.
    pub users_disabled: u64,
    /// Users deprovisioned.
    pub users_deprovisioned: u64,
    /// Roles added, changed or removed.
    pub roles_changed: u64,
    /// Grants made.
    pub grants_added: u64,
    /// Grants taken away.
    pub grants_removed: u64,
    /// Access tokens made.
    pub tokens_added: u64,
    /// Access tokens that went.
    pub tokens_removed: u64,
    /// Roles that access tokens lost.
    pub token_roles_lost: u64,
    /// Effective user-role pairs gained.
    pub pairs_gained: u64,
    /// Effective user-role pairs lost, for any reason.
    pub pairs_lost: u64,
    /// Changes held by the guard.
    pub held: u64,
}

/// What one run would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The moment for which it was made.
    pub at: Time,
    /// What applies now: what is not held. In the order in which it must be done.
    pub changes: Vec<Change>,
    /// The state after `changes`. Users' role sets are in `sets`, tokens' in `token_sets`.
    pub state: State,
    /// For each of `state.users` the role set it has after `changes`.
    pub sets: Vec<RoleSetId>,
    /// The tokens (places in `state.tokens`) that are new or get another role set than the stored
    /// one, with that set.
    pub token_sets: Vec<(u32, RoleSetId)>,
    /// Every set that users or tokens have, with its roles in order of their names.
    pub set_roles: std::collections::BTreeMap<RoleSetId, Vec<RoleIdx>>,
    /// What waits for a person.
    pub held: Option<Held>,
    /// Worth telling: ambiguous names, unmatched rules, refused users. Sorted.
    pub warnings: Vec<String>,
    /// The next moment at which something falls due without any source changing: a local grant's
    /// end, a missing user's last moment.
    pub next_due: Option<Time>,
    /// Who reaches more in the clouds than before.
    pub widened: Vec<super::Widened>,
    /// How much changes.
    pub summary: Summary,
    /// What is written down beside the changes.
    pub records: Records,
}

/// What the store keeps beside a plan's changes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Records {
    /// Who asked for all of it by hand, and why; absent: a run did.
    pub deed: Option<Deed>,
    /// Stories of local accounts, as they are to be.
    pub accounts: Vec<LocalAccount>,
}

impl std::fmt::Display for ChangeView {
    /// One line without colour: `grant-removed alice osmo-user (idp): no source says so any more`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.change)?;
        for part in [&self.user, &self.token, &self.role].into_iter().flatten() {
            write!(f, " {part}")?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        if let (Some(old), Some(new)) = (&self.old, &self.new) {
            write!(f, ": {old} → {new}")?;
        }
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        Ok(())
    }
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
