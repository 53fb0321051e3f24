//! What a plan is made of, and how a change reads.

use super::encoding;
use super::tables::{Tables, TokenSet};
use crate::model::diagnostic::{Diagnostic, texts};
use crate::model::{
    CauseKind, Change, ChangeKind, Deed, LocalAccount, Origin, Reason, RoleIdx, RoleSetId, Time,
    UserId,
};

/// One change in words, for people, programs, history and held plans. Fields that do not apply
/// are absent.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ChangeView {
    /// What it is called.
    pub change: ChangeKind,
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
    /// Of a grant who made it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Origin>,
    /// The old value, where one changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<String>,
    /// The new value, where one changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<String>,
    /// For what is taken away.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<CauseKind>,
    /// Why, in a sentence: for a grant the shortest way it came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// For an idp grant every way it came, shortest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reasons: Vec<ReasonView>,
}

/// A [`Reason`] as `--output json` has it, and a held plan: things of sources by their words.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ReasonView {
    /// The source's name.
    pub source: String,
    /// The rule, by its key in the configuration.
    pub rule: String,
    /// What the rule matched, such as ``group `/Eng/ML` ``.
    pub reference: String,
    /// From what lists the person, step by step, to what the rule matched.
    pub path: Vec<String>,
}

impl From<&Reason> for ReasonView {
    fn from(reason: &Reason) -> Self {
        let Reason { source, rule, path } = reason;
        ReasonView {
            source: source.clone(),
            rule: rule.clone(),
            reference: reason.target().map(ToString::to_string).unwrap_or_default(),
            path: path.iter().map(ToString::to_string).collect(),
        }
    }
}

impl ChangeView {
    /// What identifies the change from run to run: everything but the words of `why`, in a fixed
    /// encoding.
    #[must_use]
    pub fn key(&self) -> String {
        encoding::key(self)
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
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

/// What one run would do: a value that stands by itself. Numbers of roles, sources, reasons and
/// local grants are places in its own tables, texts are of theirs.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(remote = "Self")]
pub struct Plan {
    /// The moment for which it was made.
    pub at: Time,
    /// What applies now: what is not held. In the order in which it must be done.
    pub changes: Vec<Change>,
    /// What the changes name.
    pub tables: Tables,
    /// For each of the tables' users the role set it has after `changes`.
    pub user_sets: Vec<RoleSetId>,
    /// The tokens that are new or get another role set than the stored one.
    pub token_sets: Vec<TokenSet>,
    /// Every set that a user or token gets or that is decided for anew, with its roles in order of
    /// their names.
    pub set_roles: std::collections::BTreeMap<RoleSetId, Vec<RoleIdx>>,
    /// Reasons that read as they did and lead through things with other ids, as they were and as they
    /// are. No change, and no generation.
    pub renewed: Vec<(Reason, Reason)>,
    /// What the changes take away because of absence, and whom sources disable: what later plans
    /// count with theirs.
    pub taken: super::Taken,
    /// What waits for a person.
    pub held: Option<Held>,
    /// Worth telling: ambiguous names, unmatched rules, refused users. Sorted.
    pub diagnostics: Vec<Diagnostic>,
    /// The next moment at which something falls due without any source changing: a local grant's
    /// end, a missing user's last moment.
    pub next_due: Option<Time>,
    /// Everything was read in full at least once that may give a role to anybody.
    pub all_read: bool,
    /// Who reaches more in the clouds than before.
    pub widened: Vec<super::Widened>,
    /// How much changes.
    pub summary: Summary,
    /// What is written down beside the changes.
    pub records: Records,
}

impl Plan {
    /// What there is to tell, in words: sorted, each once.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        texts(&self.diagnostics)
    }
}

impl serde::Serialize for Plan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Plan::serialize(self, serializer)
    }
}

/// Whoever reads a plan that was written down (nobody in this program does: what is held is kept in
/// words, [`Held`]) gets one that holds together: whatever it names stands in its tables.
impl<'de> serde::Deserialize<'de> for Plan {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plan = Plan::deserialize(deserializer)?;
        plan.check().map_err(serde::de::Error::custom)?;
        Ok(plan)
    }
}

/// What the store keeps beside a plan's changes.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Records {
    /// Who asked for all of it by hand, and why; absent: a run did.
    pub deed: Option<Deed>,
    /// Stories of local accounts, as they are to be.
    pub accounts: Vec<LocalAccount>,
}

impl std::fmt::Display for ChangeView {
    /// One line without colour: `grant-removed alice osmo-user (idp): no source says so any more`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.change.as_str())?;
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
