//! The policies of all roles, turned round so that a question finds those that speak of it.
//!
//! ```text
//! action ──► class ──► nothing                                   ┐
//!            (actions   exact  "pool/x"    by hash               │ each an Allow and a Deny list:
//!            that the   prefix "pool/ml-"  sorted, with a link   │ (role, position) by role, the
//!            same       any    "*"         to the next shorter   │ first position of each role
//!            policies   scope  "pool"      by hash               │
//!            name)      own    "user"      by hash: `${self}`    ┘
//! ```
//!
//! Who may ask about any action (AuthZEN) is answered from the patterns of actions themselves (`open`).
//!
//! A list holds the roles whose policies speak of it, whoever holds them; a set of roles is met
//! with it when it is asked. So the size is that of the policies, however many sets there are.

mod open;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use self::open::OpenClasses;
use crate::model::{IndexVec, TooMany};
use crate::policy::{Action, ActionPattern, Effect, Policy, ResourcePattern, concrete};
use crate::routes::{ActionIdx, On, Question};

/// A role by its place among all, sorted by name, and a policy by its place in the role.
pub(super) type Place = (u32, u32);

/// Roles whose policies speak of something: sorted by role, each once with its first policy.
type PostingList = Box<[Place]>;

/// Who allows and who denies something.
#[derive(Clone, Debug, Default)]
struct Postings {
    allow: PostingList,
    deny: PostingList,
}

/// What was decided, and by whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling<'a> {
    /// Permitted.
    Allow {
        /// The role.
        role: &'a str,
        /// The place of its policy, from 0.
        policy: usize,
    },
    /// Refused outright.
    Deny {
        /// The role.
        role: &'a str,
        /// The place of its policy, from 0.
        policy: usize,
    },
    /// No policy speaks of it: refused.
    NoPolicy,
}

impl Ruling<'_> {
    /// Whether the request is permitted.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        matches!(self, Ruling::Allow { .. })
    }
}

/// The policies of all roles, for the actions that are asked about.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Roles' names, sorted.
    names: Vec<Box<str>>,
    /// For each action its class.
    class_of: IndexVec<ActionIdx, ClassIdx>,
    classes: IndexVec<ClassIdx, Class>,
    /// For actions that nobody named beforehand; absent: nobody asks about such.
    open: Option<OpenClasses>,
}

idpsyncd_core::list_place! {
    /// A place in [`Rules::classes`].
    ClassIdx of "classes of actions"
}

/// Actions of which exactly the same policies speak.
#[derive(Debug, Default)]
struct Class {
    nothing: Postings,
    any: Postings,
    exact: HashMap<Box<str>, Postings>,
    /// Sorted by text.
    prefixes: Vec<Prefix>,
    /// For a scope: who could allow something in it, and who denies all of it. Those of `any` are
    /// not repeated.
    scopes: HashMap<Box<str>, Postings>,
    /// For a scope: who speaks of the resource that is named after whoever asks.
    own: HashMap<Box<str>, Postings>,
    /// Of those the Allows, which could allow something in the scope.
    own_scopes: HashMap<Box<str>, Postings>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    /// The place of the longest other prefix that this one begins with.
    shorter: Option<u32>,
    postings: Postings,
}

impl Rules {
    /// Compiles the policies of `roles` (name and policies, sorted by name) for `actions`, whose
    /// places are what questions name.
    ///
    /// # Errors
    /// There are more actions than can be numbered.
    pub(super) fn new<'a>(
        roles: &[(&'a str, &'a [Policy])],
        actions: impl IntoIterator<Item = &'a Action>,
    ) -> Result<Rules, TooMany> {
        let mut known: HashMap<Vec<Place>, ClassIdx> = HashMap::new();
        let mut rules = Rules {
            names: roles.iter().map(|(name, _)| Box::from(*name)).collect(),
            ..Rules::default()
        };
        for action in actions {
            let speaking: Vec<(Place, &Policy)> = (0u32..)
                .zip(roles)
                .flat_map(|(role, (_, policies))| {
                    (0u32..)
                        .zip(*policies)
                        .map(move |(position, policy)| ((role, position), policy))
                })
                .filter(|(_, policy)| speaks_of(&policy.actions, action))
                .collect();
            let key: Vec<Place> = speaking.iter().map(|(place, _)| *place).collect();
            let class = match known.entry(key) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(rules.classes.push(Class::new(&speaking))?),
            };
            rules.class_of.push(class)?;
        }
        Ok(rules)
    }

    /// The same for any action besides, of the same `roles`.
    ///
    /// # Errors
    /// There are more patterns of actions than can be numbered.
    pub(super) fn opened(self, roles: &[(&str, &[Policy])]) -> Result<Rules, TooMany> {
        Ok(Rules { open: Some(OpenClasses::new(roles)?), ..self })
    }

    /// Roles' names, sorted; a role's place is what sets hold.
    pub(super) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// How many classes of actions there are.
    #[cfg(test)]
    pub(super) fn classes(&self) -> usize {
        self.classes.len()
    }

    /// `None`: nobody said that this action would be asked about.
    fn class(&self, action: ActionIdx) -> Option<&Class> {
        self.class_of.get(action).map(|class| self.classes.at(*class))
    }

    /// Whether what is said of `action` on resources of `scope` hangs on who asks.
    pub(super) fn hangs_on_who_asks(&self, action: ActionIdx, scope: &str) -> bool {
        self.class(action).is_some_and(|class| class.own.contains_key(scope))
    }

    /// The place of the role `name`.
    pub(super) fn place(&self, name: &str) -> Option<u32> {
        let place = self.names.binary_search_by(|known| (**known).cmp(name)).ok()?;
        u32::try_from(place).ok()
    }

    /// Decides for someone called `me` (`None`: nobody who has a username) who holds `set` (places
    /// of roles, sorted). The same role and policy as [`crate::policy::decide`] finds.
    pub(super) fn decide(
        &self,
        set: &[u32],
        me: Option<&str>,
        question: &Question<'_>,
    ) -> Ruling<'_> {
        let Some(class) = self.class(question.action) else {
            return Ruling::NoPolicy;
        };
        match question.on {
            On::Nothing => self.answer(set, [&class.nothing]),
            On::Resource(resource) => {
                let Some((scope, id)) = concrete(resource) else { return Ruling::NoPolicy };
                let named = [class.exact.get(resource), class.own((scope, id), me)];
                let postings = named.into_iter().flatten();
                self.answer(set, postings.chain([&class.any]).chain(class.prefixes(resource)))
            }
            On::SomeOf(scope) => {
                let own = me.and_then(|_| class.own_scopes.get(scope));
                let named = [class.scopes.get(scope), own];
                self.answer(set, named.into_iter().flatten().chain([&class.any]))
            }
        }
    }

    /// The first Deny of `postings` that a role of `set` has, else the first Allow.
    fn answer<'l>(
        &self,
        set: &[u32],
        postings: impl IntoIterator<Item = &'l Postings, IntoIter: Clone>,
    ) -> Ruling<'_> {
        let postings = postings.into_iter();
        let role = |role: u32| self.names.get(role as usize).map_or("", |name| &**name);
        let deny = postings.clone().filter_map(|postings| meet(set, &postings.deny)).min();
        if let Some((place, policy)) = deny {
            return Ruling::Deny { role: role(place), policy: policy as usize };
        }
        match postings.filter_map(|postings| meet(set, &postings.allow)).min() {
            Some((place, policy)) => Ruling::Allow { role: role(place), policy: policy as usize },
            None => Ruling::NoPolicy,
        }
    }
}

fn speaks_of(patterns: &[ActionPattern], action: &Action) -> bool {
    patterns.iter().any(|pattern| pattern.matches(action))
}

/// The first role that both lists have. Both are sorted by role.
pub(super) fn meet(set: &[u32], list: &[Place]) -> Option<Place> {
    /// Where one list is so many times the other, its places are looked up one by one.
    const LOPSIDED: usize = 8;
    if list.len() > set.len().saturating_mul(LOPSIDED) {
        return set.iter().find_map(|role| {
            let found = list.binary_search_by_key(role, |(role, _)| *role).ok()?;
            list.get(found).copied()
        });
    }
    if set.len() > list.len().saturating_mul(LOPSIDED) {
        return list.iter().find(|(role, _)| set.binary_search(role).is_ok()).copied();
    }
    let mut set = set.iter();
    let mut next = set.next()?;
    for place in list {
        while *next < place.0 {
            next = set.next()?;
        }
        if *next == place.0 {
            return Some(*place);
        }
    }
    None
}

/// What stands before the `/` of a resource or a pattern.
fn scope_of(text: &str) -> &str {
    text.split_once('/').map_or(text, |(scope, _)| scope)
}

/// A class while it is made.
#[derive(Default)]
struct Draft<'a> {
    nothing: DraftPostings,
    any: DraftPostings,
    exact: HashMap<&'a str, DraftPostings>,
    prefixes: std::collections::BTreeMap<&'a str, DraftPostings>,
    scopes: HashMap<&'a str, DraftPostings>,
    own: HashMap<&'a str, DraftPostings>,
    own_scopes: HashMap<&'a str, DraftPostings>,
}

#[derive(Default)]
struct DraftPostings {
    allow: Vec<Place>,
    deny: Vec<Place>,
}

impl DraftPostings {
    /// Places come sorted, so that the first of a role is the one that counts.
    fn add(&mut self, effect: Effect, place: Place) {
        let list = match effect {
            Effect::Allow => &mut self.allow,
            Effect::Deny => &mut self.deny,
        };
        if list.last().is_none_or(|(role, _)| *role != place.0) {
            list.push(place);
        }
    }

    fn finish(self) -> Postings {
        Postings { allow: self.allow.into(), deny: self.deny.into() }
    }
}

impl Class {
    /// Of the policies that speak of its actions, in the order of their places.
    fn new(speaking: &[(Place, &Policy)]) -> Class {
        let mut draft = Draft::default();
        for (place, policy) in speaking {
            let (place, effect) = (*place, policy.effect);
            draft.nothing.add(effect, place);
            for pattern in policy.resources.iter().flatten() {
                match pattern {
                    ResourcePattern::Any => draft.any.add(effect, place),
                    ResourcePattern::Exact(text) => {
                        draft.exact.entry(text).or_default().add(effect, place);
                        if effect == Effect::Allow {
                            draft.scopes.entry(scope_of(text)).or_default().add(effect, place);
                        }
                    }
                    ResourcePattern::Prefix(text) => {
                        draft.prefixes.entry(text).or_default().add(effect, place);
                        let scope = scope_of(text);
                        let whole = text.len() == scope.len().saturating_add(1);
                        if effect == Effect::Allow || whole {
                            draft.scopes.entry(scope).or_default().add(effect, place);
                        }
                    }
                    ResourcePattern::Own(scope) => {
                        draft.own.entry(scope).or_default().add(effect, place);
                        if effect == Effect::Allow {
                            draft.own_scopes.entry(scope).or_default().add(effect, place);
                        }
                    }
                }
            }
        }
        let finish = |map: HashMap<&str, DraftPostings>| {
            map.into_iter().map(|(text, postings)| (Box::from(text), postings.finish())).collect()
        };
        Class {
            nothing: draft.nothing.finish(),
            any: draft.any.finish(),
            exact: finish(draft.exact),
            prefixes: link(draft.prefixes),
            scopes: finish(draft.scopes),
            own: finish(draft.own),
            own_scopes: finish(draft.own_scopes),
        }
    }

    /// The postings of `${self}`, where the resource, `scope` and `id`, is named after `me`. Names
    /// are compared as they are: nothing in one means anything else.
    fn own(&self, (scope, id): (&str, &str), me: Option<&str>) -> Option<&Postings> {
        if me == Some(id) { self.own.get(scope) } else { None }
    }

    /// The postings of the prefixes that `resource` begins with.
    fn prefixes(&self, resource: &str) -> Prefixes<'_> {
        // Of what sorts before `resource`, the last one shares the most with it. Whatever prefix
        // of `resource` there is, is that one or one that it begins with itself.
        let after = self.prefixes.partition_point(|prefix| *prefix.text <= *resource);
        let mut next = after.checked_sub(1);
        while let Some(prefix) = next.and_then(|place| self.prefixes.get(place)) {
            if resource.starts_with(&*prefix.text) {
                break;
            }
            next = prefix.shorter.map(|place| place as usize);
        }
        Prefixes { all: &self.prefixes, next }
    }
}

/// Links each prefix to the next shorter one.
fn link(sorted: std::collections::BTreeMap<&str, DraftPostings>) -> Vec<Prefix> {
    let mut prefixes: Vec<Prefix> = Vec::with_capacity(sorted.len());
    // The prefixes that the last one begins with, itself included, the longest last.
    let mut open: Vec<(u32, &str)> = Vec::new();
    for (place, (text, postings)) in (0u32..).zip(sorted) {
        while open.last().is_some_and(|(_, shorter)| !text.starts_with(shorter)) {
            open.pop();
        }
        let shorter = open.last().map(|(place, _)| *place);
        open.push((place, text));
        prefixes.push(Prefix { text: text.into(), shorter, postings: postings.finish() });
    }
    prefixes
}

/// From the longest matching prefix to the shortest.
#[derive(Clone)]
struct Prefixes<'a> {
    all: &'a [Prefix],
    next: Option<usize>,
}

impl<'a> Iterator for Prefixes<'a> {
    type Item = &'a Postings;

    fn next(&mut self) -> Option<&'a Postings> {
        let prefix = self.all.get(self.next?)?;
        self.next = prefix.shorter.map(|place| place as usize);
        Some(&prefix.postings)
    }
}
