//! Who is who: from the sources' users to persons, and what each is called.
//!
//! A person is known by external id, source by source. Only where an id is new do names matter:
//! another source's person of that name (or verified address) is the same one, the same source's
//! is not (`newcomers`). Whoever cannot be named without doubt is left out and reported; nobody else
//! waits.

mod newcomers;

use std::collections::{BTreeSet, HashMap as StdMap};

use hashbrown::{HashMap, HashSet};

use crate::config::{Config, Provision, UsernameFrom};
use crate::model::{State, Status, Text, Texts, UserId, username};
use crate::source::{DirUser, Directory, Enabled};

use super::gaps::Gaps;
use super::yields::Yields;

/// One source, ready to be resolved.
pub struct SourceView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its content.
    pub directory: &'a Directory,
    /// What its containers give.
    pub yields: Yields,
}

/// Someone whom at least one source lists now.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The place in the old state's users; absent for someone new.
    pub old: Option<u32>,
    /// The username to be, in the new state's texts.
    pub name: Text,
    /// The email address to be, in the new state's texts.
    pub email: Text,
    /// The first source (a place among the views) and its user that says disabled.
    pub disabled: Option<(u16, u32)>,
}

/// One source's user that is a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PersonLink {
    /// A place in [`People::persons`].
    pub person: u32,
    /// A place among the views.
    pub view: u16,
    /// A place among the directory's users.
    pub user: u32,
    /// The state has no such link yet.
    pub new: bool,
}

/// Everyone.
#[derive(Debug, Default)]
pub struct People {
    /// Those present: old ones by id, then new ones by name.
    pub persons: Vec<Person>,
    /// Their links, sorted by person.
    pub links: Vec<PersonLink>,
    /// Old users (places) whose name another person has now.
    pub replaced: BTreeSet<u32>,
    /// For each federation link (source and provider) how many of its users were enabled before.
    pub federated: StdMap<(String, String), u64>,
}

const NOBODY: u32 = u32::MAX;

/// A person in the making.
#[derive(Clone, Copy)]
struct Draft<'n> {
    old: u32,
    /// What the sources would call the person; `None` where no source's name will do.
    claim: Option<&'n str>,
    /// What the person will be called.
    name: &'n str,
    out: bool,
}

struct Finder<'a, 'n> {
    config: &'a Config,
    sources: &'a [SourceView<'a>],
    old: &'a State,
    /// Canonical names, view by view, user by user; empty where refused.
    names: &'n [Vec<Text>],
    texts: &'n Texts,
    drafts: Vec<Draft<'n>>,
    links: Vec<PersonLink>,
    /// Old user (place) to draft.
    draft_of: Vec<u32>,
    /// Who is called what.
    taken: HashMap<&'n str, u32>,
    replaced: BTreeSet<u32>,
    warnings: &'a mut BTreeSet<String>,
}

/// Finds everyone whom a view lists. A source that may list people whom nobody saw may still
/// have users known there, so their names are not free.
pub fn find(
    config: &Config,
    sources: &[SourceView<'_>],
    gaps: &Gaps<'_>,
    old: &State,
    state: &mut State,
    warnings: &mut BTreeSet<String>,
) -> People {
    let mut texts = Texts::default();
    let names: Vec<Vec<Text>> =
        sources.iter().map(|view| canonical_names(config, view, &mut texts, warnings)).collect();
    let mut finder = Finder {
        config,
        sources,
        old,
        names: &names,
        texts: &texts,
        drafts: Vec::new(),
        links: Vec::new(),
        draft_of: vec![NOBODY; old.users.len()],
        taken: HashMap::new(),
        replaced: BTreeSet::new(),
        warnings,
    };
    let unlinked = finder.known();
    let absent = finder.absent(gaps);
    finder.name_known(&absent);
    for (view, users) in unlinked.iter().enumerate() {
        finder.meet(u16::try_from(view).unwrap_or(u16::MAX), users, &absent);
    }
    finder.drop_unmapped();
    finder.finish(state)
}

/// The name that `user` would have, as written.
fn raw_name<'d>(config: &Config, directory: &'d Directory, user: &DirUser) -> &'d str {
    match config.sync.username {
        UsernameFrom::Username => directory.text(user.username),
        UsernameFrom::Email => directory.text(user.email),
    }
}

fn canonical_names(
    config: &Config,
    view: &SourceView<'_>,
    texts: &mut Texts,
    warnings: &mut BTreeSet<String>,
) -> Vec<Text> {
    let directory = view.directory;
    let mut refused = 0u32;
    let names = directory
        .users
        .iter()
        .map(|user| match username::canonical(raw_name(config, directory, user)) {
            Ok(name) => texts.add(&name),
            Err(why) => {
                refused += 1;
                if refused <= MOST_NAMED {
                    warnings.insert(format!(
                        "{}: user `{}` is not provisioned: {why}",
                        view.name,
                        directory.text(user.ext).escape_debug()
                    ));
                }
                Text::EMPTY
            }
        })
        .collect();
    if refused > MOST_NAMED {
        warnings.insert(format!(
            "{}: {} more users are not provisioned for their names",
            view.name,
            refused - MOST_NAMED
        ));
    }
    names
}

/// How many refused names a source's warnings list one by one.
const MOST_NAMED: u32 = 50;

/// Old users whom no view lists.
struct Absent<'a> {
    /// By username, those that are not deprovisioned: place, and whether a source may still
    /// list them unseen.
    by_name: HashMap<&'a str, (u32, bool)>,
    /// Sources (names) that once knew each of them.
    sources: HashMap<u32, Vec<&'a str>>,
}

impl<'a, 'n> Finder<'a, 'n>
where
    'a: 'n,
{
    fn name_of(&self, view: u16, user: u32) -> Option<&'n str> {
        let text = self.names.get(view as usize)?.get(user as usize).copied()?;
        Some(self.texts.get(text)).filter(|name| !name.is_empty())
    }

    fn old_user(&self, place: u32) -> Option<&'a crate::model::User> {
        self.old.users.get(place as usize)
    }

    fn old_name(&self, place: u32) -> &'a str {
        self.old_user(place).map_or("", |user| self.old.texts.get(user.username))
    }

    fn add(&mut self, old: u32, claim: Option<&'n str>) -> u32 {
        let index = u32::try_from(self.drafts.len()).unwrap_or(NOBODY);
        self.drafts.push(Draft { old, claim, name: "", out: false });
        if let Some(slot) = self.draft_of.get_mut(old as usize) {
            *slot = index;
        }
        index
    }

    /// Finds those whom the state knows by external id. Returns the others, view by view.
    fn known(&mut self) -> Vec<Vec<u32>> {
        let mut place_of: HashMap<UserId, u32> = HashMap::with_capacity(self.old.users.len());
        for (place, user) in (0u32..).zip(&self.old.users) {
            place_of.insert(user.id, place);
        }
        let mut unlinked = Vec::new();
        for (view_index, view) in (0u16..).zip(self.sources) {
            let mut by_ext: HashMap<&str, u32> = HashMap::new();
            if let Some(source) = self.old.sources.iter().position(|name| name == view.name) {
                for link in self.old.links.iter().filter(|l| usize::from(l.source) == source) {
                    if let Some(place) = place_of.get(&link.user) {
                        by_ext.insert(self.old.texts.get(link.ext), *place);
                    }
                }
            }
            let mut rest = Vec::new();
            for (user_index, user) in (0u32..).zip(&view.directory.users) {
                let Some(place) = by_ext.get(view.directory.text(user.ext)).copied() else {
                    rest.push(user_index);
                    continue;
                };
                let claim = self.name_of(view_index, user_index);
                let draft = match self.draft_of.get(place as usize).copied() {
                    Some(draft) if draft != NOBODY => draft,
                    _ => self.add(place, claim),
                };
                if let Some(draft) = self.drafts.get_mut(draft as usize)
                    && draft.claim.is_none()
                {
                    draft.claim = claim;
                }
                self.link(draft, view_index, user_index, false);
            }
            unlinked.push(rest);
        }
        unlinked
    }

    fn link(&mut self, person: u32, view: u16, user: u32, new: bool) {
        self.links.push(PersonLink { person, view, user, new });
    }

    fn absent(&self, gaps: &Gaps<'_>) -> Absent<'a> {
        let mut place_of: HashMap<UserId, u32> = HashMap::new();
        for (place, user) in (0u32..).zip(&self.old.users) {
            let gone = self.draft_of.get(place as usize).is_some_and(|draft| *draft == NOBODY);
            if gone && !matches!(user.status, Status::Deprovisioned { .. }) {
                place_of.insert(user.id, place);
            }
        }
        let mut sources: HashMap<u32, Vec<&str>> = HashMap::new();
        if !place_of.is_empty() {
            for link in &self.old.links {
                if let Some(place) = place_of.get(&link.user)
                    && let Some(name) = self.old.sources.get(usize::from(link.source))
                {
                    sources.entry(*place).or_default().push(name);
                }
            }
        }
        let by_name = place_of
            .values()
            .map(|place| {
                let maybe_there = sources
                    .get(place)
                    .is_some_and(|names| names.iter().any(|name| gaps.may_list(name)));
                (self.old_name(*place), (*place, maybe_there))
            })
            .collect();
        Absent { by_name, sources }
    }

    /// Settles what those known by id are called. Who keeps a name goes before who wants it.
    fn name_known(&mut self, absent: &Absent<'_>) {
        let mut movers: Vec<u32> = Vec::new();
        for index in 0..u32::try_from(self.drafts.len()).unwrap_or(NOBODY) {
            let Some(draft) = self.drafts.get(index as usize).copied() else { continue };
            let returning = self
                .old_user(draft.old)
                .is_some_and(|user| matches!(user.status, Status::Deprovisioned { .. }));
            let old_name = self.old_name(draft.old);
            if !returning && draft.claim.is_none_or(|claim| claim == old_name) {
                self.call(index, old_name);
            } else {
                movers.push(index);
            }
        }
        let mut refused: HashSet<u32> = HashSet::new();
        loop {
            let mut wanted: HashMap<&str, u32> = HashMap::new();
            for index in movers.iter().filter(|index| !refused.contains(*index)) {
                let claim = self.drafts.get(*index as usize).and_then(|draft| draft.claim);
                *wanted.entry(claim.unwrap_or("")).or_default() += 1;
            }
            let mut changed = false;
            for index in &movers {
                let Some(draft) = self.drafts.get(*index as usize).copied() else { continue };
                let claim = draft.claim.unwrap_or("");
                let free = !claim.is_empty()
                    && !self.taken.contains_key(claim)
                    && !absent.by_name.get(claim).is_some_and(|(_, maybe_there)| *maybe_there)
                    && wanted.get(claim).is_some_and(|count| *count == 1);
                if free || !refused.insert(*index) {
                    continue;
                }
                changed = true;
                self.refuse_rename(*index, draft);
            }
            if !changed {
                break;
            }
        }
        for index in movers.into_iter().filter(|index| !refused.contains(index)) {
            let claim = self.drafts.get(index as usize).and_then(|draft| draft.claim);
            if let Some(claim) = claim {
                if let Some((place, _)) = absent.by_name.get(claim) {
                    self.replace(*place, claim);
                }
                self.call(index, claim);
            }
        }
    }

    fn refuse_rename(&mut self, index: u32, draft: Draft<'n>) {
        let old_name = self.old_name(draft.old);
        let claim = draft.claim.unwrap_or("");
        let returning = self
            .old_user(draft.old)
            .is_some_and(|user| matches!(user.status, Status::Deprovisioned { .. }));
        if returning {
            // Someone else has the name by now, so the person cannot come back under it.
            if let Some(slot) = self.drafts.get_mut(index as usize) {
                slot.out = true;
            }
            self.warnings.insert(format!(
                "`{old_name}` is back, but the username `{claim}` belongs to someone else now: not \
                 provisioned"
            ));
        } else {
            self.call(index, old_name);
            self.warnings.insert(format!(
                "user `{old_name}` cannot be renamed to `{claim}`: someone else has or wants that \
                 username; the old one stays"
            ));
        }
    }

    fn call(&mut self, index: u32, name: &'n str) {
        if let Some(slot) = self.drafts.get_mut(index as usize) {
            slot.name = name;
            self.taken.insert(name, index);
        }
    }

    fn replace(&mut self, place: u32, name: &str) {
        self.replaced.insert(place);
        self.warnings.insert(format!(
            "username `{name}` belongs to another person now (a new id under an old name): the \
             earlier one's grants do not pass over"
        ));
    }

    /// `provision = "mapped"`: leaves out newcomers whom no rule gives a role.
    fn drop_unmapped(&mut self) {
        if self.config.sync.provision == Provision::All {
            return;
        }
        let mut mapped = vec![false; self.drafts.len()];
        let mut yields = Vec::new();
        for link in &self.links {
            yields.clear();
            if let Some(source) = self.sources.get(usize::from(link.view)) {
                source.yields.of_user(link.user, &mut yields);
            }
            if let Some(slot) = mapped.get_mut(link.person as usize) {
                *slot |= !yields.is_empty();
            }
        }
        for (draft, mapped) in self.drafts.iter_mut().zip(mapped) {
            draft.out |= draft.old == NOBODY && !mapped;
        }
    }

    fn finish(mut self, state: &mut State) -> People {
        // Old ones by id, new ones by name: numbers and output never depend on the input's order.
        let mut order: Vec<u32> = (0u32..)
            .zip(&self.drafts)
            .filter(|(_, draft)| !draft.out)
            .map(|(index, _)| index)
            .collect();
        let drafts = &self.drafts;
        let key = |index: u32| drafts.get(index as usize).map(|draft| (draft.old, draft.name));
        order.sort_by(|a, b| key(*a).cmp(&key(*b)));
        let mut place = vec![NOBODY; self.drafts.len()];
        for (new, old) in (0u32..).zip(&order) {
            if let Some(slot) = place.get_mut(*old as usize) {
                *slot = new;
            }
        }
        let mut links = std::mem::take(&mut self.links);
        links.retain_mut(|link| {
            link.person = place.get(link.person as usize).copied().unwrap_or(NOBODY);
            link.person != NOBODY
        });
        links.sort_unstable();

        let mut people = People { replaced: self.replaced, ..People::default() };
        people.persons.reserve(order.len());
        let mut at = 0;
        for (person, index) in (0u32..).zip(order) {
            let Some(draft) = self.drafts.get(index as usize) else { continue };
            let old = self.old.users.get(draft.old as usize);
            let mut email = "";
            let mut disabled = None;
            while let Some(link) = links.get(at).filter(|link| link.person == person) {
                at += 1;
                let Some(source) = self.sources.get(usize::from(link.view)) else { continue };
                let Some(row) = source.directory.users.get(link.user as usize) else { continue };
                if email.is_empty() {
                    email = source.directory.text(row.email);
                }
                if row.enabled == Enabled::No && disabled.is_none() {
                    disabled = Some((link.view, link.user));
                }
                let federation = source.directory.text(row.federation);
                if !federation.is_empty() && old.is_some_and(|u| u.status == Status::Enabled) {
                    let key = (source.name.to_owned(), federation.to_owned());
                    *people.federated.entry(key).or_default() += 1;
                }
            }
            let keep = |text: Option<Text>, wanted: &str, texts: &mut Texts| match text {
                Some(text) if self.old.texts.get(text) == wanted => text,
                _ => texts.add(wanted),
            };
            people.persons.push(Person {
                old: old.map(|_| draft.old),
                name: keep(old.map(|user| user.username), draft.name, &mut state.texts),
                email: keep(old.map(|user| user.email), email, &mut state.texts),
                disabled,
            });
        }
        people.links = links;
        people
    }
}
