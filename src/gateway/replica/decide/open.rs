//! Decisions about actions that nobody named beforehand: from the patterns of actions themselves.
//!
//! Of an action `k:n` at most four patterns speak: `*:*`, `k:*`, `*:n` and `k:n`. Each has what is said
//! under it; the first Deny of all of that decides, else the first Allow, as if it were one list.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::{Class, ClassIdx, Place, Postings, Rules, Ruling};
use crate::model::{IndexVec, TooMany};
use crate::policy::{Policy, concrete};

/// What is said under each pattern of actions.
#[derive(Debug, Default)]
pub(super) struct OpenClasses {
    any: Option<ClassIdx>,
    kinds: HashMap<Box<str>, ClassIdx>,
    names: HashMap<Box<str>, ClassIdx>,
    exact: HashMap<Box<str>, ClassIdx>,
    /// Patterns under which the same policies stand share one.
    classes: IndexVec<ClassIdx, Class>,
}

impl OpenClasses {
    /// Of the policies of `roles`, sorted by name.
    pub(super) fn new(roles: &[(&str, &[Policy])]) -> Result<OpenClasses, TooMany> {
        type Under<'p> = Vec<(Place, &'p Policy)>;
        let mut under: BTreeMap<(Option<&str>, Option<&str>), Under<'_>> = BTreeMap::new();
        for (role, (_, policies)) in (0u32..).zip(roles) {
            for (position, policy) in (0u32..).zip(*policies) {
                for pattern in &policy.actions {
                    let list = under.entry((pattern.kind(), pattern.name())).or_default();
                    // A pattern that stands twice in one policy says nothing more.
                    if list.last().is_none_or(|(place, _)| *place != (role, position)) {
                        list.push(((role, position), policy));
                    }
                }
            }
        }
        let mut open = OpenClasses::default();
        let mut known: HashMap<Vec<Place>, ClassIdx> = HashMap::new();
        for ((kind, name), speaking) in under {
            let key: Vec<Place> = speaking.iter().map(|(place, _)| *place).collect();
            let class = match known.get(&key) {
                Some(class) => *class,
                None => {
                    let class = open.classes.push(Class::new(&speaking))?;
                    known.insert(key, class);
                    class
                }
            };
            match (kind, name) {
                (None, None) => open.any = Some(class),
                (Some(kind), None) => drop(open.kinds.insert(kind.into(), class)),
                (None, Some(name)) => drop(open.names.insert(name.into(), class)),
                (Some(kind), Some(name)) => {
                    open.exact.insert(format!("{kind}:{name}").into(), class);
                }
            }
        }
        Ok(open)
    }

    /// Those that speak of `action`, `type:Name`; nothing speaks of what is no action.
    fn of(&self, action: &str) -> impl Iterator<Item = &Class> + Clone {
        let parts = action.split_once(':').filter(|(kind, name)| {
            !kind.is_empty() && !name.is_empty() && !name.contains(':') && !action.contains('*')
        });
        let found = parts.map_or([None; 4], |(kind, name)| {
            [
                self.any,
                self.kinds.get(kind).copied(),
                self.names.get(name).copied(),
                self.exact.get(action).copied(),
            ]
        });
        found.into_iter().flatten().map(|class| self.classes.at(class))
    }
}

impl Class {
    /// What is said of a `resource`, `scope` and `id`, where somebody called `me` asks.
    fn speaking<'c>(
        &'c self,
        resource: &str,
        named: (&str, &str),
        me: Option<&str>,
    ) -> impl Iterator<Item = &'c Postings> + Clone + use<'c> {
        let found = [self.exact.get(resource), self.own(named, me), Some(&self.any)];
        found.into_iter().flatten().chain(self.prefixes(resource))
    }
}

impl Rules {
    /// Decides about any action, as [`Rules::decide`] does about those that were named beforehand.
    /// Refused with [`Ruling::NoPolicy`]: what is no action, or no concrete resource.
    pub(in crate::gateway::replica) fn decide_open(
        &self,
        set: &[u32],
        me: Option<&str>,
        action: &str,
        resource: Option<&str>,
    ) -> Ruling<'_> {
        let Some(open) = &self.open else { return Ruling::NoPolicy };
        let classes = open.of(action);
        let Some(resource) = resource else {
            return self.answer(set, classes.map(|class| &class.nothing));
        };
        let Some(named) = concrete(resource) else { return Ruling::NoPolicy };
        self.answer(set, classes.flat_map(|class| class.speaking(resource, named, me)))
    }

    /// Whether what is said of `action` on resources of `scope` hangs on who asks.
    pub(in crate::gateway::replica) fn open_hangs_on_who_asks(
        &self,
        action: &str,
        scope: &str,
    ) -> bool {
        let own = |class: &Class| class.own.contains_key(scope);
        self.open.as_ref().is_some_and(|open| open.of(action).any(own))
    }
}
