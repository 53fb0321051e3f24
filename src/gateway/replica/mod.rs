//! The committed generation in memory: who is who, and what each role set may.

mod decide;
mod emails;
mod ids;
mod load;
mod people;
mod roll;
#[cfg(test)]
mod tests;
mod tokens;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use hashbrown::HashSet;

pub use decide::Ruling;
pub use roll::{KnownPerson, OpenQuestion, Span, sort_key};

use self::decide::Rules;
use self::emails::Emails;
use self::ids::Ids;
use self::load::Sets;
use self::people::{PackedStands, People, Stands};
use self::roll::Roll;
use self::tokens::ReplicaTokens;
use crate::config::SubjectId;
use crate::gateway::question::TokenDigest;
use crate::model::Time;
use crate::model::caller::{KnownBy, NamedRoles};
use crate::policy::Action;
use crate::routes::{ActionIdx, On, Question};

/// What decisions will be asked for: made from the routes and `[gateway]`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Wanted {
    /// The actions that routes name; an action's place is its [`ActionIdx`].
    pub actions: Vec<Action>,
    /// `[[gateway.allowed]]`; a table's place is what [`Replica::allowed_header`] takes.
    pub allowed: Vec<crate::config::AllowedConfig>,
    /// The role of a request without identity.
    pub anonymous_role: Option<String>,
    /// The sources whose ids callers are known by, distinct.
    pub sources: Vec<String>,
    /// Access tokens are credentials.
    pub tokens: bool,
    /// By what subjects of AuthZEN are known, distinct; empty: nobody asks so. Else any action may be
    /// asked about, and what the catalog has.
    pub subjects: Vec<SubjectId>,
}

/// A role set of one [`Replica`]. It means nothing to another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SetRef(u32);

/// What the store knows of a caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// Nothing.
    Unknown,
    /// Someone who has no effective role, and why: disabled, or deprovisioned.
    Disabled(&'a str),
    /// Someone whose roles count.
    Enabled(SetRef),
}

/// The roles that a request is decided with.
#[derive(Clone, Copy, Debug)]
pub enum HeldRoles<'a> {
    /// Those of a set of the generation.
    Set(SetRef),
    /// Those that a token's own word leaves.
    Bounded(&'a Bounded),
}

impl From<SetRef> for HeldRoles<'_> {
    fn from(set: SetRef) -> Self {
        HeldRoles::Set(set)
    }
}

/// Roles that are no set of the generation: of one [`Replica`], for one request.
#[derive(Clone, Debug)]
pub struct Bounded {
    /// Places of roles in [`Rules::names`], sorted.
    roles: Vec<u32>,
    header: String,
}

/// Whose an access token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bearer<'a> {
    /// How its owner stands; where enabled, with the token's own set. Never unknown.
    pub found: Found<'a>,
    /// What its owner is called.
    pub owner: &'a str,
    /// What it is called.
    pub name: &'a str,
    /// When it ends, in seconds since 1970.
    pub until: i64,
}

/// One committed generation, never changed once made.
///
/// ```text
/// username ─► recent ─┐ what changed since `people` was read: a few entries, copied each time
///             people ─┤
///             1 M     ├► word ─► Enabled(set) ─► sets ─► roles, headers
/// id ───────► recent ─┤          Disabled(why)              │
///             ids    ─┘                                     ▼
///             1 M, shared        question ────────────► rules (see `decide`)
/// digest ───► tokens, recent ones first ─► owner, set
/// ```
///
/// | part | bytes |
/// |---|---|
/// | `people`: names end to end, and where each ends | the name + 4 a user |
/// | `people`: table of (name, word), at most 7/8 full, a power of two | 9 a place: 10 to 21 a user |
/// | `ids`: the ids of [`Wanted::sources`] end to end | 17 a UUID, else its text + 5 |
/// | `ids`: table of (id, name, word) | 13 a place: 15 to 30 a user and source |
/// | `tokens`: sorted by digest, with a start for every few | 48 and 1 a token, and the name + 2, once for those of one name |
/// | `recent` | as `people` and `ids`; at most a sixteenth of its users (or 4,096) |
/// | `rolls`, with AuthZEN: order and places in it | 8 a user and kind of id |
/// | `emails`, where subjects are known by them | the address + 12 a user |
/// | a role set: its roles, the roles header | 4 + the name for each role, and about 150 |
/// | an allowed header, made when first asked for | its text, a set |
/// | `rules`: all roles' policies, turned round | 8 a policy, pattern and class of actions |
///
/// A million people with names of 19 bytes and 5,000 role sets take about 51 MiB
/// (`benches/gateway.rs`), however many roles each has, and 42 MiB more with a UUID each.
/// [`Replica::caught_up`] shares `people`, `rules` and the sets with the replica it starts from.
#[derive(Debug)]
pub struct Replica {
    generation: u64,
    applied_at: Option<Time>,
    wanted: Arc<Wanted>,
    compiled: Arc<Compiled>,
    sets: Sets,
    anonymous: Option<SetRef>,
    /// Why people are disabled, each text once.
    why: Vec<Arc<str>>,
    people: Arc<People>,
    /// For each of [`Wanted::sources`] its ids, with names of `people`.
    ids: Arc<[Ids]>,
    recent: People,
    /// Likewise, with names of `recent`.
    recent_ids: Vec<Ids>,
    /// Owners are names of `people`. Those whose owner is in `recent` do not count.
    tokens: Arc<ReplicaTokens>,
    /// Owners are names of `recent`.
    recent_tokens: ReplicaTokens,
    /// Those of people who are not gone, with names of `people`; only where [`Wanted::subjects`] have some.
    /// Those whose owner is in `recent` do not count.
    emails: Arc<Emails>,
    /// Likewise, with names of `recent`.
    recent_emails: Emails,
    /// For each of [`Wanted::subjects`], of `people`.
    rolls: Arc<[Roll]>,
    /// What service accounts and the default admin are called: few.
    spoken_for: Arc<SpokenFor>,
    users: usize,
}

/// For whom only tokens speak.
#[derive(Debug)]
struct SpokenFor {
    names: HashSet<Box<str>>,
    /// The store's ([`crate::store::Reader::spoken_for_digest`]).
    digest: [u8; 32],
}

/// What comes from roles, catalog and [`Wanted`] alone.
#[derive(Debug, Default)]
struct Compiled {
    /// For the actions of [`Wanted::actions`], and after them those of [`Wanted::allowed`].
    rules: Rules,
    /// For each of [`Wanted::allowed`] the place of its action among those of `rules`.
    allowed: Vec<ActionIdx>,
    /// For each of [`Wanted::allowed`] the catalog's resources of its scope, sorted.
    listed: Vec<Vec<Box<str>>>,
    /// The roles that deny, sorted: no token leaves them behind.
    denying: Vec<u32>,
    /// Those of everyone, sorted: no person's token does.
    everyone: Vec<u32>,
    /// What AuthZEN's searches find; empty without [`Wanted::subjects`].
    catalog: Listed,
}

/// What the catalog has, each once, sorted.
#[derive(Debug, Default)]
struct Listed {
    actions: Vec<Box<str>>,
    resources: Vec<Box<str>>,
}

/// A role set.
#[derive(Debug)]
struct RoleSet {
    /// Places of roles in [`Rules::names`], sorted.
    roles: Box<[u32]>,
    header: Box<str>,
    /// For each of [`Wanted::allowed`], once it was asked for.
    allowed: Box<[OnceLock<Box<str>>]>,
}

impl Replica {
    /// The number of the generation; 0: nothing was committed yet.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When it was committed.
    #[must_use]
    pub fn applied_at(&self) -> Option<Time> {
        self.applied_at
    }

    /// How many usernames are known, those of disabled and deprovisioned people too.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users
    }

    /// How many usernames changed since all were last read: those that are kept apart.
    #[must_use]
    pub fn recent(&self) -> usize {
        self.recent.len()
    }

    /// What the actions' places in questions were taken from.
    #[must_use]
    pub fn wanted(&self) -> &Arc<Wanted> {
        &self.wanted
    }

    /// Who `username` is, in the form of [`crate::model::username::canonical`]: by the rule of the
    /// view `gateway_user`. Someone missing whom no source had disabled counts as enabled.
    #[must_use]
    pub fn user(&self, username: &str) -> Found<'_> {
        self.found(self.packed(username))
    }

    /// Who a caller is and what the store calls them: by the id alone where they are known by one.
    /// The name is empty where they are unknown.
    #[must_use]
    pub fn caller<'a>(&'a self, known_by: &'a KnownBy) -> (Found<'a>, &'a str) {
        match known_by {
            KnownBy::Name(name) => (self.user(name), name),
            KnownBy::Id { source, ext } => self.by_id(source, ext),
        }
    }

    /// Who the one is whom `source` knows by the id `ext`, and what the store calls them.
    fn by_id(&self, source: &str, ext: &str) -> (Found<'_>, &str) {
        let Some(place) = self.wanted.sources.iter().position(|wanted| wanted == source) else {
            return (Found::Unknown, "");
        };
        if let Some(owner) = self.recent_ids.get(place).and_then(|ids| ids.get(ext)) {
            return (self.found(Some(owner.packed)), self.recent.name(owner.name));
        }
        match self.ids.get(place).and_then(|ids| ids.get(ext)) {
            Some(owner) => (self.found(Some(owner.packed)), self.people.name(owner.name)),
            None => (Found::Unknown, ""),
        }
    }

    /// Whether `username` is a service account's or the default admin's, for whom nothing but access
    /// tokens speaks.
    #[must_use]
    pub fn speaks_by_tokens_alone(&self, username: &str) -> bool {
        self.spoken_for.names.contains(username)
    }

    /// Whose the access token with this digest is; `None`: there is none.
    #[must_use]
    pub fn token(&self, digest: &TokenDigest) -> Option<Bearer<'_>> {
        let (token, owner, name) = match self.recent_tokens.get(digest) {
            Some(token) => (token, self.recent.name(token.owner), self.recent_tokens.name(token)),
            None => {
                let token = self.tokens.get(digest)?;
                let owner = self.people.name(token.owner);
                // Whoever changed has all their tokens among the recent ones.
                if self.recent.get(owner).is_some() {
                    return None;
                }
                (token, owner, self.tokens.name(token))
            }
        };
        let found = match self.user(owner) {
            Found::Unknown => return None,
            Found::Enabled(_) => Found::Enabled(SetRef(token.set)),
            disabled @ Found::Disabled(_) => disabled,
        };
        Some(Bearer { found, owner, name, until: i64::from(token.until) })
    }

    /// The roles that a token of OSMO's which names `named` leaves of those of `set` (`None`: its
    /// bearer is not in the store): for a service those named, for anybody else those of them that
    /// are in the set, and of the set's those of everyone; and for both of the set's those that deny.
    #[must_use]
    pub fn bounded(&self, set: Option<SetRef>, named: &NamedRoles) -> Bounded {
        let rules = &self.compiled.rules;
        let held = set.and_then(|set| self.sets.get(set)).map_or(&[][..], |set| &set.roles);
        let holds = |role: &u32| held.binary_search(role).is_ok();
        let everyone = self.compiled.everyone.iter().filter(|_| !named.service);
        let mut roles: Vec<u32> = named
            .roles
            .iter()
            .filter_map(|name| rules.place(name))
            .filter(|role| named.service || holds(role))
            .chain(everyone.chain(&self.compiled.denying).copied().filter(holds))
            .collect();
        roles.sort_unstable();
        roles.dedup();
        let name = |role: &u32| rules.names().get(*role as usize).map_or("", |name| &**name);
        let header: Vec<&str> = roles.iter().map(name).collect();
        Bounded { header: header.join(","), roles }
    }

    /// The roles of `held`, places in [`Rules::names`]; `None`: a set of another replica.
    fn roles<'a>(&'a self, held: HeldRoles<'a>) -> Option<&'a [u32]> {
        match held {
            HeldRoles::Set(set) => self.sets.get(set).map(|set| &*set.roles),
            HeldRoles::Bounded(bounded) => Some(&bounded.roles),
        }
    }

    fn found(&self, packed: Option<PackedStands>) -> Found<'_> {
        match packed.map(PackedStands::stands) {
            None | Some(Stands::Nobody) => Found::Unknown,
            Some(Stands::Enabled(set)) => Found::Enabled(SetRef(set)),
            Some(Stands::Disabled(why)) => {
                Found::Disabled(self.why.get(why as usize).map_or("", |why| &**why))
            }
        }
    }

    fn packed(&self, username: &str) -> Option<PackedStands> {
        self.recent.get(username).or_else(|| self.people.get(username))
    }

    /// The set of [`Wanted::anonymous_role`] alone. `None`: none is configured, or the store does
    /// not know the role (yet).
    #[must_use]
    pub fn anonymous(&self) -> Option<SetRef> {
        self.anonymous
    }

    /// Decides `question` for someone called `me` (`None`: nobody who has a username) with the roles
    /// of `set`, as [`crate::policy::decide`] does, with the role and the policy that decide. Refused with [`Ruling::NoPolicy`]: a resource
    /// that is not concrete, an action out of range, a set of another replica out of range.
    ///
    /// Allocates nothing.
    #[must_use]
    pub fn decide<'a>(
        &'a self,
        held: impl Into<HeldRoles<'a>>,
        me: Option<&str>,
        question: &Question<'_>,
    ) -> Ruling<'a> {
        self.roles(held.into())
            .map_or(Ruling::NoPolicy, |roles| self.compiled.rules.decide(roles, me, question))
    }

    /// The names of the roles of `held`, sorted, separated by commas (no role's name holds one).
    #[must_use]
    pub fn roles_header<'a>(&'a self, held: impl Into<HeldRoles<'a>>) -> &'a str {
        match held.into() {
            HeldRoles::Set(set) => self.sets.get(set).map_or("", |set| &set.header),
            HeldRoles::Bounded(bounded) => &bounded.header,
        }
    }

    /// The value of the header of [`Wanted::allowed`] at `place` for someone called `me`: of the
    /// catalog's resources of its scope those on which `set` allows its action, without their
    /// `scope/`, sorted, separated by commas. OSMO's `x-osmo-allowed-pools` lists pools by name, so it
    /// is what stands after the `/`. An id that holds a comma is left out: it would read as two.
    ///
    /// What does not hang on who asks is worked out when first asked for, and kept.
    #[must_use]
    pub fn allowed_header<'a>(
        &'a self,
        held: impl Into<HeldRoles<'a>>,
        me: Option<&str>,
        place: usize,
    ) -> Cow<'a, str> {
        let held = held.into();
        let action = self.compiled.allowed.get(place).copied();
        let wanted = self.wanted.allowed.get(place).zip(action);
        let (Some(roles), Some((wanted, action))) = (self.roles(held), wanted) else {
            return Cow::default();
        };
        let hangs = self.compiled.rules.hangs_on_who_asks(action, &wanted.scope);
        let once = match held {
            HeldRoles::Set(set) if me.is_none() || !hangs => {
                self.sets.get(set).and_then(|set| set.allowed.get(place))
            }
            _ => None,
        };
        match once {
            Some(once) => {
                Cow::Borrowed(once.get_or_init(|| self.list(roles, None, place, action).into()))
            }
            None => Cow::Owned(self.list(roles, me, place, action)),
        }
    }

    /// The list of [`Replica::allowed_header`].
    fn list(&self, roles: &[u32], me: Option<&str>, place: usize, action: ActionIdx) -> String {
        let mut list = String::new();
        for resource in self.compiled.listed.get(place).into_iter().flatten() {
            let question = Question { action, on: On::Resource(resource) };
            let id = resource.split_once('/').map_or("", |(_, id)| id);
            if id.contains(',') || !self.compiled.rules.decide(roles, me, &question).is_allow() {
                continue;
            }
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(id);
        }
        list
    }
}
