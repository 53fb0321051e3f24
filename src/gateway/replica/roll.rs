//! Who may: the ids of one kind in order, and by role set.
//!
//! A search goes by role sets: whether one allows what is asked is decided once, and of the people who
//! have it a page is taken. Nothing passes over everybody, but for somebody whom `${self}` concerns.
//!
//! ```text
//! order   of all ids of people whose roles count, sorted
//! sets    a set ─► the places in `order` of those who have it, sorted
//! recent  whoever changed since: they are looked at one by one, and count as they stand now
//! ```

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

use super::emails::{self, Emails};
use super::ids::Ids;
use super::people::{People, Stands};
use super::{Found, HeldRoles, Replica, Ruling, SetRef, Wanted};
use crate::config::SubjectId;
use crate::gateway::identity::username;
use crate::model::Text;
use crate::policy::concrete;

/// The ids of one kind that are known, of people whose roles count.
#[derive(Debug, Default)]
pub(super) struct Roll {
    order: Order,
    /// For the place of a role set the places in `order`, sorted.
    sets: HashMap<u32, Vec<u32>>,
}

#[derive(Debug)]
enum Order {
    /// Names of [`People`].
    Names(Vec<Text>),
    /// Where ids are in [`Ids`].
    Ids(Vec<u32>),
    /// As they are in [`Emails`].
    Emails,
}

impl Default for Order {
    fn default() -> Self {
        Order::Names(Vec::new())
    }
}

/// What the store knows of somebody who is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KnownPerson<'a> {
    /// Nothing.
    Unknown,
    /// Several people have that id: nobody can tell who is meant.
    Several,
    /// Someone whose roles do not count, and why.
    Disabled(&'a str),
    /// A service account or the default admin: only access tokens speak for it.
    TokensAlone,
    /// Someone whose roles count.
    Enabled {
        /// The role set.
        set: SetRef,
        /// What the store calls the person.
        name: &'a str,
    },
}

/// What is asked: an action, `type:Name`, and on what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenQuestion<'a> {
    /// Any action.
    pub action: &'a str,
    /// A concrete resource, `scope/id`, or none.
    pub resource: Option<&'a str>,
}

/// A part of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span<'a> {
    /// It begins behind this one.
    pub after: Option<&'a str>,
    /// So many at most.
    pub most: usize,
}

impl Roll {
    /// Of all people.
    fn of(kind: &SubjectId, people: &People, ids: Option<&Ids>, emails: &Emails) -> Roll {
        let mut sets: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut enlist = |place: u32, stands: Option<Stands>| {
            if let Some(Stands::Enabled(set)) = stands {
                sets.entry(set).or_default().push(place);
            }
        };
        let order = match kind {
            SubjectId::Username => {
                let enabled = |stands| matches!(stands, Stands::Enabled(_));
                let those = people.iter().filter(|(_, packed)| enabled(packed.stands()));
                let mut names: Vec<(Text, Stands)> =
                    those.map(|(name, packed)| (name, packed.stands())).collect();
                names.sort_unstable_by(|(a, _), (b, _)| people.name(*a).cmp(people.name(*b)));
                for (place, (_, stands)) in (0u32..).zip(&names) {
                    enlist(place, Some(*stands));
                }
                Order::Names(names.into_iter().map(|(name, _)| name).collect())
            }
            SubjectId::External(_) => {
                let mut places: Vec<(u32, Stands)> = ids
                    .iter()
                    .flat_map(|ids| ids.iter())
                    .map(|(at, owner)| (at, owner.packed.stands()))
                    .filter(|(_, stands)| matches!(stands, Stands::Enabled(_)))
                    .collect();
                if let Some(ids) = ids {
                    places.sort_unstable_by(|(a, _), (b, _)| ids.compare(*a, *b));
                }
                for (place, (_, stands)) in (0u32..).zip(&places) {
                    enlist(place, Some(*stands));
                }
                Order::Ids(places.into_iter().map(|(at, _)| at).collect())
            }
            SubjectId::Email => {
                for (place, at) in (0u32..).zip(0..emails.len()) {
                    let owner = emails.at(at).and_then(|(_, owner)| people.get(people.name(owner)));
                    enlist(place, owner.map(super::people::PackedStands::stands));
                }
                Order::Emails
            }
        };
        Roll { order, sets }
    }

    /// One for each kind that is wanted.
    pub(super) fn all(wanted: &Wanted, people: &People, ids: &[Ids], emails: &Emails) -> Vec<Roll> {
        let of = |kind: &SubjectId| {
            let place = wanted.id_place(kind);
            Roll::of(kind, people, place.and_then(|place| ids.get(place)), emails)
        };
        wanted.subjects.iter().map(of).collect()
    }
}

impl Wanted {
    /// Whether subjects are known by addresses.
    pub(super) fn has_emails(&self) -> bool {
        self.subjects.contains(&SubjectId::Email)
    }

    /// The place among [`Wanted::sources`] of the source whose ids subjects of this kind have.
    fn id_place(&self, kind: &SubjectId) -> Option<usize> {
        match kind {
            SubjectId::External(source) => self.sources.iter().position(|known| known == source),
            SubjectId::Username | SubjectId::Email => None,
        }
    }
}

/// An id, with the form in which it is sorted.
type Keyed<'a> = (Cow<'a, str>, Cow<'a, str>);

fn keyed<'a>(kind: &SubjectId, id: Cow<'a, str>) -> Keyed<'a> {
    match kind {
        SubjectId::Email => (Cow::Owned(emails::key(&id)), id),
        SubjectId::Username | SubjectId::External(_) => (id.clone(), id),
    }
}

/// The form in which ids of this kind are sorted.
#[must_use]
pub fn sort_key(kind: &SubjectId, id: &str) -> String {
    keyed(kind, Cow::Borrowed(id)).0.into_owned()
}

/// Who of all people is allowed what is asked.
struct Allowed<'a> {
    /// For each role set, where nothing hangs on who asks.
    sets: Vec<bool>,
    /// Whoever the resource is named after, what set they have, and whether they are.
    own: Option<(&'a str, SetRef, bool)>,
}

impl Allowed<'_> {
    fn has(&self, set: SetRef, name: &str) -> bool {
        match self.own {
            Some((own, _, allowed)) if own == name => allowed,
            _ => self.sets.get(set.0 as usize).copied().unwrap_or_default(),
        }
    }
}

impl Replica {
    /// Decides about any action, for someone called `me` who holds the roles of `held`. Needs
    /// [`Wanted::subjects`]: else nothing is allowed.
    #[must_use]
    pub fn decide_open<'a>(
        &'a self,
        held: impl Into<HeldRoles<'a>>,
        me: Option<&str>,
        question: OpenQuestion<'_>,
    ) -> Ruling<'a> {
        let OpenQuestion { action, resource } = question;
        let rules = &self.compiled.rules;
        let roles = self.roles(held.into());
        roles.map_or(Ruling::NoPolicy, |roles| rules.decide_open(roles, me, action, resource))
    }

    /// Who has the `id` of this kind.
    #[must_use]
    pub fn person(&self, kind: &SubjectId, id: &str) -> KnownPerson<'_> {
        let (found, name) = match kind {
            SubjectId::Username => {
                let Ok(name) = username(id) else { return KnownPerson::Unknown };
                match self.stored_name(&name) {
                    Some(name) => (self.user(name), name),
                    None => return KnownPerson::Unknown,
                }
            }
            SubjectId::External(source) => self.by_id(source, id),
            SubjectId::Email => {
                let wanted = emails::key(id);
                let mut owners = self.owners(&wanted);
                let Some(name) = owners.next() else { return KnownPerson::Unknown };
                if owners.any(|other| other != name) {
                    return KnownPerson::Several;
                }
                (self.user(name), name)
            }
        };
        match found {
            Found::Unknown => KnownPerson::Unknown,
            Found::Disabled(why) => KnownPerson::Disabled(why),
            Found::Enabled(_) if self.speaks_by_tokens_alone(name) => KnownPerson::TokensAlone,
            Found::Enabled(set) => KnownPerson::Enabled { set, name },
        }
    }

    /// `name` as it is kept.
    fn stored_name(&self, name: &str) -> Option<&str> {
        match self.recent.place(name) {
            Some(place) => Some(self.recent.name(place)),
            None => self.people.place(name).map(|place| self.people.name(place)),
        }
    }

    /// What those are called who have the address of the form `wanted` now.
    fn owners<'a, 'w>(&'a self, wanted: &'w str) -> impl Iterator<Item = &'a str> + use<'a, 'w> {
        let base = self.emails.owners(wanted, &self.people);
        let base = base.filter(|name| self.recent.get(name).is_none());
        base.chain(self.recent_emails.owners(wanted, &self.recent))
    }

    /// The ids of this kind of those who may do what is asked, in order: each is what
    /// [`Replica::person`] and [`Replica::decide_open`] say.
    #[must_use]
    pub fn who(&self, kind: &SubjectId, question: OpenQuestion<'_>, span: Span<'_>) -> Vec<String> {
        let place = self.wanted.subjects.iter().position(|known| known == kind);
        let Some(roll) = place.and_then(|place| self.rolls.get(place)) else { return Vec::new() };
        let allowed = self.allowed(question);
        let mut besides = self.recent_ids_of(kind, &allowed);
        besides.extend(self.own_ids_of(kind, &allowed));
        besides.retain(|(key, _)| span.after.is_none_or(|after| **key > *after));
        besides.sort_unstable();
        let mut besides = besides.into_iter().peekable();
        let mut listed = self.listed(kind, roll, &allowed, span.after).peekable();
        let mut found: Vec<String> = Vec::new();
        // An address may have been somebody else's, spelled otherwise: what is newer comes first.
        let mut last: Option<Cow<'_, str>> = None;
        while found.len() < span.most {
            let next = match (listed.peek(), besides.peek()) {
                (Some((one, _)), Some((other, _))) if other <= one => besides.next(),
                (Some(_), _) => listed.next(),
                (None, _) => besides.next(),
            };
            let Some((key, id)) = next else { break };
            if last.as_ref() == Some(&key) {
                continue;
            }
            if let KnownPerson::Enabled { set, name } = self.person(kind, &id)
                && allowed.has(set, name)
            {
                found.push(id.into_owned());
                last = Some(key);
            }
        }
        found
    }

    fn allowed<'q>(&self, question: OpenQuestion<'q>) -> Allowed<'q> {
        let OpenQuestion { action, resource } = question;
        let rules = &self.compiled.rules;
        let decide = |roles: &[u32], me| rules.decide_open(roles, me, action, resource).is_allow();
        let sets = self.sets.iter().map(|set| decide(&set.roles, None)).collect();
        let own = resource
            .and_then(concrete)
            .filter(|(scope, _)| rules.open_hangs_on_who_asks(action, scope))
            .and_then(|(_, id)| match self.user(id) {
                Found::Enabled(set) => {
                    let roles = self.sets.get(set).map_or(&[][..], |set| &set.roles);
                    Some((id, set, decide(roles, Some(id))))
                }
                Found::Unknown | Found::Disabled(_) => None,
            });
        Allowed { sets, own }
    }

    /// The ids of those who have allowed sets in `roll`, in order, behind `after`. Whoever changed since
    /// is among them as they stood then.
    fn listed<'a>(
        &'a self,
        kind: &'a SubjectId,
        roll: &'a Roll,
        allowed: &Allowed<'_>,
        after: Option<&str>,
    ) -> impl Iterator<Item = Keyed<'a>> {
        let start = after.map_or(0, |after| self.start(kind, roll, after));
        let is_allowed = |set: u32| allowed.sets.get(set as usize).copied().unwrap_or_default();
        let mut lists: Vec<std::slice::Iter<'a, u32>> = roll
            .sets
            .iter()
            .filter(|(set, _)| is_allowed(**set))
            .map(|(_, places)| {
                let from = places.partition_point(|place| (*place as usize) < start);
                places.get(from..).unwrap_or_default().iter()
            })
            .collect();
        let mut next: BinaryHeap<Reverse<(u32, usize)>> = lists
            .iter_mut()
            .enumerate()
            .filter_map(|(list, places)| Some(Reverse((*places.next()?, list))))
            .collect();
        std::iter::from_fn(move || {
            loop {
                let Reverse((place, list)) = next.pop()?;
                if let Some(following) = lists.get_mut(list).and_then(Iterator::next) {
                    next.push(Reverse((*following, list)));
                }
                if let Some(id) = self.id_at(kind, roll, place) {
                    return Some(keyed(kind, id));
                }
            }
        })
    }

    /// The id at a place of `roll`.
    fn id_at<'a>(&'a self, kind: &SubjectId, roll: &Roll, place: u32) -> Option<Cow<'a, str>> {
        let place = place as usize;
        match &roll.order {
            Order::Names(names) => {
                names.get(place).map(|name| Cow::Borrowed(self.people.name(*name)))
            }
            Order::Ids(places) => {
                let ids = self.wanted.id_place(kind).and_then(|place| self.ids.get(place))?;
                places.get(place).and_then(|at| ids.text(*at))
            }
            Order::Emails => self.emails.at(place).map(|(email, _)| Cow::Borrowed(email)),
        }
    }

    /// Where the ids of `roll` begin that come after the form `after`.
    fn start(&self, kind: &SubjectId, roll: &Roll, after: &str) -> usize {
        match &roll.order {
            Order::Names(names) => names.partition_point(|name| self.people.name(*name) <= after),
            Order::Ids(places) => {
                let ids = self.wanted.id_place(kind).and_then(|place| self.ids.get(place));
                let text = |at: u32| ids.and_then(|ids| ids.text(at)).unwrap_or_default();
                places.partition_point(|at| *text(*at) <= *after)
            }
            Order::Emails => self.emails.after(after, false),
        }
    }

    /// The ids of those who changed, where they have an allowed set.
    fn recent_ids_of<'a>(&'a self, kind: &SubjectId, allowed: &Allowed<'_>) -> Vec<Keyed<'a>> {
        let has = |stands: Stands| match stands {
            Stands::Enabled(set) => allowed.sets.get(set as usize).copied().unwrap_or_default(),
            Stands::Disabled(_) | Stands::Nobody => false,
        };
        match kind {
            SubjectId::Username => {
                let those = self.recent.iter().filter(|(_, packed)| has(packed.stands()));
                those.map(|(name, _)| keyed(kind, self.recent.name(name).into())).collect()
            }
            SubjectId::External(_) => {
                let ids = self.wanted.id_place(kind).and_then(|place| self.recent_ids.get(place));
                let all = ids.into_iter().flat_map(|ids| ids.iter().map(move |it| (ids, it)));
                all.filter(|(_, (_, owner))| has(owner.packed.stands()))
                    .filter_map(|(ids, (at, _))| Some(keyed(kind, ids.text(at)?)))
                    .collect()
            }
            SubjectId::Email => (0..self.recent_emails.len())
                .filter_map(|place| self.recent_emails.at(place))
                .map(|(email, _)| keyed(kind, email.into()))
                .collect(),
        }
    }

    /// The ids of whoever the resource is named after, if they are allowed what their set is not.
    fn own_ids_of<'a>(&'a self, kind: &SubjectId, allowed: &Allowed<'_>) -> Vec<Keyed<'a>> {
        let Some((own, set, true)) = allowed.own else { return Vec::new() };
        if allowed.sets.get(set.0 as usize).copied().unwrap_or_default() {
            return Vec::new();
        }
        let (base, recent) = (self.people.place(own), self.recent.place(own));
        match kind {
            SubjectId::Username => {
                self.stored_name(own).map(|name| keyed(kind, name.into())).into_iter().collect()
            }
            SubjectId::External(_) => {
                let place = self.wanted.id_place(kind);
                let of = |ids: Option<&'a Ids>, name: Option<Text>| {
                    let all = ids.into_iter().flat_map(|ids| ids.iter().map(move |it| (ids, it)));
                    all.filter(move |(_, (_, owner))| Some(owner.name) == name)
                        .filter_map(|(ids, (at, _))| ids.text(at))
                };
                let base = of(place.and_then(|place| self.ids.get(place)), base);
                let recent = of(place.and_then(|place| self.recent_ids.get(place)), recent);
                base.chain(recent).map(|id| keyed(kind, id)).collect()
            }
            SubjectId::Email => {
                let of = |emails: &'a Emails, name: Option<Text>| {
                    (0..emails.len())
                        .filter_map(|place| emails.at(place))
                        .filter(move |(_, owner)| Some(*owner) == name)
                };
                let both = of(&self.emails, base).chain(of(&self.recent_emails, recent));
                both.map(|(email, _)| keyed(kind, email.into())).collect()
            }
        }
    }

    /// The catalog's actions, sorted. Needs [`Wanted::subjects`].
    pub fn catalog_actions(&self) -> impl Iterator<Item = &str> + Clone {
        self.compiled.catalog.actions.iter().map(|action| &**action)
    }

    /// The catalog's resources that begin with `start`, sorted; without `start`, and those behind
    /// `after`. Needs [`Wanted::subjects`].
    pub fn catalog_resources<'a>(
        &'a self,
        start: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a str> {
        let all = &self.compiled.catalog.resources;
        let from = match after {
            None => all.partition_point(|resource| **resource < *start),
            Some(after) => {
                let behind = format!("{start}{after}");
                all.partition_point(|resource| **resource <= *behind)
            }
        };
        let rest = all.get(from..).unwrap_or_default().iter();
        rest.map_while(move |resource| resource.strip_prefix(start))
    }
}
