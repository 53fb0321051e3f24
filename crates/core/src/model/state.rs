//! What the store holds about people and roles, as one value: the input and the output of a plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::words::words;
use super::{
    Actor, Inconsistent, IndexVec, LocalIdx, ReasonBook, RoleIdx, SetIdx, SourceIdx, Text, Texts,
    Time, Tokens, TooMany, UserId, WorkloadIdentity,
};
use crate::policy::{Action, Policy, Resource};

/// The id of a role set: the first 16 bytes of a SHA-256 over its roles' names, so that it means
/// the same in every generation and on every machine. Printed as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, Default)]
pub struct RoleSetId(pub u128);

impl std::fmt::Display for RoleSetId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// As it is printed: not every format has numbers of 128 bits.
impl serde::Serialize for RoleSetId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RoleSetId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
        Ok(RoleSetId(id))
    }
}

/// What a sync does with a role: the design's section 6.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The IdP decides alone.
    Force,
    /// The IdP adds and never takes away.
    Import,
    /// The IdP's grants and local ones stand side by side.
    Merge,
    /// Local grants only.
    Ignore,
}

impl Mode {
    /// Every mode, in the order of the design.
    pub const ALL: [Mode; 4] = [Mode::Force, Mode::Import, Mode::Merge, Mode::Ignore];

    /// The word that stands in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Force => "force",
            Mode::Import => "import",
            Mode::Merge => "merge",
            Mode::Ignore => "ignore",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A platform role as the store knows it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Role {
    /// Its name, exactly as configured.
    pub name: String,
    /// What it is for; empty where the configuration does not say.
    pub description: String,
    /// Every enabled user holds it without a grant.
    pub everyone: bool,
    /// What a sync does with it.
    pub mode: Mode,
    /// The template it came from, by the template's `name`; absent where it is declared.
    pub template: Option<String>,
    /// What it may and may not, in order.
    pub policies: Vec<Policy>,
}

/// How a person stands.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Status {
    /// Present and enabled: grants count.
    Enabled,
    /// A source says outright that the account is disabled (its name). Grants are kept, none counts.
    Disabled {
        /// The source that says so.
        by: String,
    },
    /// Gone from every source since then; keeps what it has until `on_missing.after` has passed.
    Missing {
        /// When a complete read first did not list it.
        since: Time,
        /// The source that had disabled it before it went: then nothing counts meanwhile either.
        disabled_by: Option<String>,
    },
    /// Gone for longer than that, or replaced by another person of the same name.
    Deprovisioned {
        /// Since when.
        since: Time,
    },
}

/// What a [`Status`] means for what somebody holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing<'a> {
    /// Grants count: enabled, or missing for not too long and not disabled before.
    Enabled,
    /// None counts: this source says or said that the account is disabled.
    Disabled(&'a str),
    /// None counts: gone for too long, or replaced by another person. The name may be another's.
    Deprovisioned,
}

impl Status {
    /// What it means: the only place that says so. The store's views cannot ask here, and are held
    /// to it by a test.
    #[must_use]
    pub fn standing(&self) -> Standing<'_> {
        match self {
            Status::Enabled | Status::Missing { disabled_by: None, .. } => Standing::Enabled,
            Status::Disabled { by } | Status::Missing { disabled_by: Some(by), .. } => {
                Standing::Disabled(by)
            }
            Status::Deprovisioned { .. } => Standing::Deprovisioned,
        }
    }

    /// Whether grants count.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.standing() == Standing::Enabled
    }

    /// Whether somebody is gone for good, so that the username is free.
    #[must_use]
    pub fn is_deprovisioned(&self) -> bool {
        self.standing() == Standing::Deprovisioned
    }
}

/// A person.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// The store's number.
    pub id: UserId,
    /// The name the gateway calls it by, after PRECIS `UsernameCaseMapped`. Unique among users
    /// that are not deprovisioned.
    pub username: Text,
    /// The email address; empty where there is none.
    pub email: Text,
    /// How it stands.
    pub status: Status,
    /// The role set that the gateway sees now, as stored; the empty set's id for a new user.
    pub role_set: RoleSetId,
}

/// A person is known in `source` by the stable external id `ext`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The source.
    pub source: SourceIdx,
    /// The external id.
    pub ext: Text,
    /// The person.
    pub user: UserId,
    /// What the source calls this account, where the person could not be called so, or not yet;
    /// empty: by what is no username. While that is not the username, the account is nobody's at
    /// the gateway.
    pub claim: Option<Text>,
}

/// Where a grant comes from.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum GrantKind {
    /// From an identity provider, for this set of reasons in [`State::reasons`].
    Idp(SetIdx),
    /// Made by hand: a place in [`State::locals`].
    Local(LocalIdx),
}

impl GrantKind {
    /// Whether an identity provider made it.
    #[must_use]
    pub fn is_idp(self) -> bool {
        matches!(self, GrantKind::Idp(_))
    }

    /// Who made it.
    #[must_use]
    pub fn origin(self) -> Origin {
        if self.is_idp() { Origin::Idp } else { Origin::Local }
    }
}

words! {
    /// Who makes a grant.
    pub enum Origin {
        /// An identity provider, by a rule.
        Idp = "idp",
        /// Somebody here, by hand.
        Local = "local",
    }
}

/// A user holds a role. At most one idp and one local grant a user and role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The holder.
    pub user: UserId,
    /// The role.
    pub role: RoleIdx,
    /// Where it comes from.
    pub kind: GrantKind,
}

/// The story of a grant made by hand.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct LocalGrant {
    /// Who made it.
    pub by: Actor,
    /// When.
    pub at: Time,
    /// Why, in their words.
    pub reason: String,
    /// Until when it counts; absent: until removed.
    pub until: Option<Time>,
}

/// Everything that a plan starts from and ends in. Sorted throughout, so that two equal states
/// are equal values.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The texts of users and links.
    pub texts: Texts,
    /// Roles, sorted by name.
    pub roles: IndexVec<RoleIdx, Role>,
    /// Names of sources that links speak of. Order is the order in which they were first seen.
    pub sources: IndexVec<SourceIdx, String>,
    /// Users, sorted by id.
    pub users: Vec<User>,
    /// Links, in any order.
    pub links: Vec<Link>,
    /// Grants, sorted by user, role, kind (idp before local).
    pub grants: Vec<Grant>,
    /// Why idp grants exist.
    pub reasons: ReasonBook,
    /// The stories of local grants.
    pub locals: IndexVec<LocalIdx, LocalGrant>,
    /// Access tokens, shared by the states of one run until one changes them.
    pub tokens: Arc<Tokens>,
    /// The concrete requests that decisions are computed for: action, and resource or none.
    pub catalog: Vec<(Action, Option<Resource>)>,
    /// Who the pods of pools are in the clouds. Sorted, distinct.
    pub workload: Vec<WorkloadIdentity>,
    /// The next free user id.
    pub next_user: UserId,
}

impl State {
    /// This state as if nobody but `users` were in it: what all share stays.
    #[must_use]
    pub fn of_users(&self, users: &BTreeSet<UserId>) -> State {
        let mut tokens = Arc::clone(&self.tokens);
        if !tokens.list().iter().all(|token| users.contains(&token.user)) {
            Arc::make_mut(&mut tokens).retain(|_, token| users.contains(&token.user));
        }
        State {
            texts: self.texts.clone(),
            roles: self.roles.clone(),
            sources: self.sources.clone(),
            users: self.users.iter().filter(|it| users.contains(&it.id)).cloned().collect(),
            links: self.links.iter().filter(|it| users.contains(&it.user)).cloned().collect(),
            grants: self.grants.iter().filter(|it| users.contains(&it.user)).cloned().collect(),
            reasons: self.reasons.clone(),
            locals: self.locals.clone(),
            tokens,
            catalog: self.catalog.clone(),
            workload: self.workload.clone(),
            next_user: self.next_user,
        }
    }

    /// The number of the source called `name`, added where it is new.
    ///
    /// # Errors
    /// It is new, and there is no number left for it.
    pub fn source(&mut self, name: &str) -> Result<SourceIdx, TooMany> {
        let known = self.sources.position(|other| other == name);
        known.map_or_else(|| self.sources.push(name.to_owned()), Ok)
    }

    /// The story of a grant made by hand.
    ///
    /// # Errors
    /// There is none.
    pub fn local(&self, local: LocalIdx) -> Result<&LocalGrant, Inconsistent> {
        self.locals.get(local).ok_or(Inconsistent::NoSuchLocal(local))
    }
}
