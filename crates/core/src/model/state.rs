//! What the store holds about people and roles, as one value: the input and the output of a plan.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::{
    ExternalRef, IndexVec, Reason, RoleIdx, Text, Texts, Time, Tokens, UserId, WorkloadIdentity,
};
use crate::policy::{Action, Policy, Resource};

/// A set of reasons in a [`ReasonBook`].
pub type SetIdx = u32;

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
    /// A place in [`State::sources`].
    pub source: u16,
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
    Local(u32),
}

impl GrantKind {
    /// Whether an identity provider made it.
    #[must_use]
    pub fn is_idp(self) -> bool {
        matches!(self, GrantKind::Idp(_))
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
    /// Who made it: an operating-system account name.
    pub by: String,
    /// When.
    pub at: Time,
    /// Why, in their words.
    pub reason: String,
    /// Until when it counts; absent: until removed.
    pub until: Option<Time>,
}

/// Reasons and sets of them, each held once.
#[derive(Clone, Debug, Default)]
pub struct ReasonBook {
    reasons: Vec<Reason>,
    /// The reasons' places, by what people read of them.
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
    renewed: Vec<(u32, Reason)>,
    sets: Vec<Box<[u32]>>,
    by_set: HashMap<Box<[u32]>, SetIdx>,
}

/// Without what only finds things in it.
#[derive(serde::Serialize, serde::Deserialize)]
struct PlainReasonBook<'a> {
    reasons: std::borrow::Cow<'a, [Reason]>,
    sets: std::borrow::Cow<'a, [Box<[u32]>]>,
}

impl serde::Serialize for ReasonBook {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PlainReasonBook { reasons: (&self.reasons).into(), sets: (&self.sets).into() }
            .serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for ReasonBook {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let PlainReasonBook { reasons, sets } = PlainReasonBook::deserialize(deserializer)?;
        let mut book = ReasonBook::default();
        for reason in reasons.into_owned() {
            book.reason(reason);
        }
        for set in sets.into_owned() {
            book.set(&set);
        }
        Ok(book)
    }
}

impl ReasonBook {
    /// The number of `reason`, added where it is new.
    pub fn reason(&mut self, reason: Reason) -> u32 {
        let hash = self.hash(&reason);
        let known = self.find(hash, |other| *other == reason);
        known.unwrap_or_else(|| self.add(hash, reason))
    }

    /// The number of `reason`, which a source gives now; `is_there` says which things it has.
    ///
    /// One that reads the same and leads through what is not there any more, or of which an older
    /// store kept no ids, is that one and gets its ids: a group that was made anew under its path,
    /// and an update of this program, are nothing that anybody would read in the history.
    pub fn current(&mut self, reason: Reason, is_there: impl Fn(&ExternalRef) -> bool) -> u32 {
        let hash = self.hash(&reason);
        if let Some(known) = self.find(hash, |other| *other == reason) {
            return known;
        }
        let outdated =
            |other: &Reason| other.reads_as(&reason) && !other.path.iter().all(&is_there);
        let Some(place) = self.find(hash, outdated) else { return self.add(hash, reason) };
        if let Some(slot) = self.reasons.get_mut(place as usize) {
            self.renewed.push((place, std::mem::replace(slot, reason)));
        }
        place
    }

    /// Reasons that have got other ids, by number, as they were: they are to be stored anew.
    #[must_use]
    pub fn renewed(&self) -> &[(u32, Reason)] {
        &self.renewed
    }

    /// Gives the reason `before` the ids of `now`, which reads the same.
    pub fn renew(&mut self, before: &Reason, now: &Reason) {
        let place = self.find(self.hash(before), |other| other == before);
        if let Some(slot) = place.and_then(|place| self.reasons.get_mut(place as usize)) {
            slot.clone_from(now);
        }
    }

    fn hash(&self, reason: &Reason) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        reason.hash_words(&mut hasher);
        hasher.finish()
    }

    fn find(&self, hash: u64, wanted: impl Fn(&Reason) -> bool) -> Option<u32> {
        let at = |place: &u32| self.reasons.get(*place as usize).is_some_and(&wanted);
        self.places.find(hash, at).copied()
    }

    fn add(&mut self, hash: u64, reason: Reason) -> u32 {
        let place = u32::try_from(self.reasons.len()).unwrap_or(u32::MAX);
        self.reasons.push(reason);
        let ReasonBook { reasons, places, hasher, .. } = self;
        places.insert_unique(hash, place, |place| {
            let mut hasher = hasher.build_hasher();
            if let Some(reason) = reasons.get(*place as usize) {
                reason.hash_words(&mut hasher);
            }
            hasher.finish()
        });
        place
    }

    /// The number of the set of `reasons`, added where it is new. Order and repeats do not matter.
    pub fn set(&mut self, reasons: &[u32]) -> SetIdx {
        if let Some(index) = self.by_set.get(reasons) {
            return *index;
        }
        let mut sorted = reasons.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let sorted: Box<[u32]> = sorted.into();
        if let Some(index) = self.by_set.get(&sorted) {
            return *index;
        }
        let index = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        self.sets.push(sorted.clone());
        self.by_set.insert(sorted, index);
        index
    }

    /// The reasons of a set, in the order in which they were first seen.
    pub fn of_set(&self, set: SetIdx) -> impl Iterator<Item = &Reason> {
        self.sets
            .get(set as usize)
            .into_iter()
            .flat_map(|set| set.iter())
            .filter_map(|index| self.reasons.get(*index as usize))
    }

    /// All sets, by number, as numbers of reasons.
    #[must_use]
    pub fn sets(&self) -> &[Box<[u32]>] {
        &self.sets
    }

    /// All reasons, by number.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
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
    pub sources: Vec<String>,
    /// Users, sorted by id.
    pub users: Vec<User>,
    /// Links, in any order.
    pub links: Vec<Link>,
    /// Grants, sorted by user, role, kind (idp before local).
    pub grants: Vec<Grant>,
    /// Why idp grants exist.
    pub reasons: ReasonBook,
    /// The stories of local grants.
    pub locals: Vec<LocalGrant>,
    /// Access tokens, shared by the states of one run until one changes them.
    pub tokens: Arc<Tokens>,
    /// The concrete requests that decisions are computed for: action, and resource or none.
    pub catalog: Vec<(Action, Option<Resource>)>,
    /// Who the pods of pools are in the clouds. Sorted, distinct.
    pub workload: Vec<WorkloadIdentity>,
    /// The next free user id.
    pub next_user: UserId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn through(ids: &[Option<&str>]) -> Reason {
        let step = |id: &Option<&str>| ExternalRef {
            id: id.map(str::to_owned),
            ..ExternalRef::new(Kind::Group, "", "/a")
        };
        Reason {
            source: "kc".to_owned(),
            rule: "mapping[1]".to_owned(),
            path: ids.iter().map(step).collect(),
        }
    }

    #[test]
    fn a_reason_that_reads_the_same_gets_the_ids_of_what_is_there_and_no_second_number() {
        let mut book = ReasonBook::default();
        let (old, one, two) = (through(&[None]), through(&[Some("1")]), through(&[Some("2")]));
        let there = |ids: &'static [&'static str]| {
            move |step: &ExternalRef| step.id.as_deref().is_some_and(|id| ids.contains(&id))
        };
        assert_eq!(book.reason(old.clone()), 0);
        assert_eq!(book.current(one.clone(), there(&["1", "2"])), 0, "an older store's");
        assert_eq!(book.current(two.clone(), there(&["1", "2"])), 1, "two things of one name");
        assert_eq!(book.current(one.clone(), there(&["1", "2"])), 0);
        assert_eq!(book.reasons(), [one.clone(), two.clone()]);
        let three = through(&[Some("3")]);
        assert_eq!(book.current(three.clone(), there(&["2", "3"])), 0, "1 was made anew as 3");
        assert_eq!(book.renewed(), [(0, old.clone()), (0, one)]);
        assert_eq!(book.reason(old.clone()), 2, "what is added as it is stays as it is");
        assert_eq!(book.reason(three), 0);
        let mut longer = through(&[Some("4"), Some("2")]);
        assert_eq!(book.current(longer.clone(), there(&[])), 3, "another way");
        longer.rule = "mapping[2]".to_owned();
        assert_eq!(book.current(longer, there(&[])), 4, "another rule");
    }
}
