//! Who is who: from the sources' users to persons, and what each is called.
//!
//! A person is known by external id, source by source. Only where an id is new do names matter:
//! another source's person of that name (or verified address) is the same one, the same source's
//! is not (`newcomers`). Whoever cannot be named without doubt is left out and reported; nobody else
//! waits. A source with `lifecycle = false` only adds to those whom others list (`roles_only`).
//! Somebody known by username alone takes the id that a source shows later (`ids`).

mod ids;
mod newcomers;
mod roles_only;

use std::collections::{BTreeSet, HashMap as StdMap};

use hashbrown::{HashMap, HashSet};

use crate::directory::{DirUser, DirUserIdx, Directory, Enabled};
use crate::model::username::{self, UsernameFrom};
use crate::model::{
    Diagnostic, DiagnosticCode as Code, IndexVec, Link, SourceIdx, State, Status, Subject, Text,
    Texts, UserId,
};

use super::closure::RoleClosure;
use super::doubt::Doubts;
use super::gaps::Gaps;
use super::settings::{LinkBy, Provision, Settings};

/// One source, ready to be resolved.
pub struct SourceView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its content.
    pub directory: &'a Directory,
    /// What its refs give.
    pub closure: RoleClosure,
    /// What is in doubt in it.
    pub doubts: Doubts,
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
    pub disabled: Option<(u16, DirUserIdx)>,
}

/// One source's user that is a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PersonLink {
    /// A place in [`People::persons`].
    pub person: u32,
    /// A place among the views.
    pub view: u16,
    /// The directory's user.
    pub user: DirUserIdx,
    /// The state has no such link yet.
    pub new: bool,
    /// [`crate::model::Link::claim`] as it is to be, in the new state's texts.
    pub claim: Option<Text>,
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
    /// Links that an id has taken the place of: old user (place), source, what was known of them.
    pub outgrown: Vec<(u32, SourceIdx, Text)>,
    /// For each federation link (source and provider) how many of its users were enabled before.
    pub federated: StdMap<(String, String), u64>,
}

const NOBODY: u32 = u32::MAX;

/// A source as people are found in it.
#[derive(Clone, Copy)]
struct Terms {
    /// It says who is there.
    lifecycle: bool,
    /// How its people are recognised in other sources.
    link_by: LinkBy,
    /// Its people may have been known by username alone.
    without_ids: bool,
    /// Which of them are provisioned.
    provision: Provision,
}

/// How the state knows somebody in a source.
#[derive(Clone, Copy)]
struct Known {
    /// The old user's place.
    place: u32,
    /// The source that knows them so.
    source: SourceIdx,
    /// The external id, in the old state's texts.
    ext: Text,
}

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
    settings: &'a Settings<'a>,
    sources: &'a [SourceView<'a>],
    /// Parallel to `sources`.
    terms: Vec<Terms>,
    old: &'a State,
    /// Canonical names, view by view, user by user; empty where refused.
    names: &'n [IndexVec<DirUserIdx, Text>],
    texts: &'n Texts,
    drafts: Vec<Draft<'n>>,
    links: Vec<PersonLink>,
    /// Old user (place) to draft.
    draft_of: Vec<u32>,
    /// Who is called what.
    taken: HashMap<&'n str, u32>,
    replaced: BTreeSet<u32>,
    outgrown: Vec<(u32, SourceIdx, Text)>,
    /// Persons with an account that is never linked with another source's.
    apart: HashSet<u32>,
    warnings: &'a mut BTreeSet<Diagnostic>,
}

/// Finds everyone whom a view lists. A source that may list people whom nobody saw may still
/// have users known there, so their names are not free.
pub fn find(
    settings: &Settings<'_>,
    sources: &[SourceView<'_>],
    gaps: &Gaps<'_>,
    old: &State,
    state: &mut State,
    warnings: &mut BTreeSet<Diagnostic>,
) -> People {
    let mut texts = Texts::default();
    let names: Vec<_> =
        sources.iter().map(|view| canonical_names(settings, view, &mut texts, warnings)).collect();
    let terms = sources.iter().map(|view| terms(settings, view.name)).collect();
    let mut finder = Finder {
        settings,
        sources,
        terms,
        old,
        names: &names,
        texts: &texts,
        drafts: Vec::new(),
        links: Vec::new(),
        draft_of: vec![NOBODY; old.users.len()],
        taken: HashMap::new(),
        replaced: BTreeSet::new(),
        outgrown: Vec::new(),
        apart: HashSet::new(),
        warnings,
    };
    let mut unlinked: Vec<Vec<DirUserIdx>> = vec![Vec::new(); sources.len()];
    for view in finder.views(true) {
        let rest = finder.known(view);
        put(&mut unlinked, view, rest);
    }
    let mut alone = vec![0; sources.len()];
    for view in finder.views(false) {
        let (rest, without) = finder.known_to_others(view);
        put(&mut unlinked, view, rest);
        put(&mut alone, view, without);
    }
    let absent = finder.absent(gaps);
    finder.name_known(&absent, &unlinked);
    let of = |view: u16| unlinked.get(usize::from(view)).map_or(&[][..], Vec::as_slice);
    for view in finder.views(true) {
        finder.meet(view, of(view), &absent);
    }
    for view in finder.views(false) {
        let known_alone = alone.get(usize::from(view)).copied().unwrap_or(0);
        finder.join(view, of(view), known_alone);
    }
    finder.drop_unmapped();
    finder.finish(state)
}

fn terms(settings: &Settings<'_>, name: &str) -> Terms {
    let source = settings.source(name);
    Terms {
        lifecycle: source.is_none_or(|source| source.lifecycle),
        link_by: source.map_or(LinkBy::Username, |source| source.link_by),
        without_ids: source.is_some_and(|source| source.without_ids),
        provision: settings.provision_of(name),
    }
}

fn put<T>(list: &mut [T], view: u16, value: T) {
    if let Some(slot) = list.get_mut(usize::from(view)) {
        *slot = value;
    }
}

/// The name that `user` would have, as written.
fn raw_name<'d>(by: UsernameFrom, directory: &'d Directory, user: &DirUser) -> &'d str {
    match by {
        UsernameFrom::Username => directory.text(user.username),
        UsernameFrom::Email => directory.text(user.email),
    }
}

fn canonical_names(
    settings: &Settings<'_>,
    view: &SourceView<'_>,
    texts: &mut Texts,
    warnings: &mut BTreeSet<Diagnostic>,
) -> IndexVec<DirUserIdx, Text> {
    let directory = view.directory;
    let by = settings.called_by(view.name);
    let mut refused = 0u32;
    let names =
        directory.users.map(|user| match username::canonical(raw_name(by, directory, user)) {
            Ok(name) => texts.add(&name),
            Err(why) => {
                refused += 1;
                if refused <= MOST_NAMED {
                    let ext = directory.text(user.ext);
                    let message =
                        format!("user `{}` is not provisioned: {why}", ext.escape_debug());
                    let subject = Subject::Account(ext.to_owned());
                    let told = Diagnostic::warning(Code::UsernameRefused, subject, message);
                    warnings.insert(told.said_by(view.name));
                }
                Text::EMPTY
            }
        });
    if refused > MOST_NAMED {
        let more = refused - MOST_NAMED;
        let message = format!("{more} more users are not provisioned for their names");
        let told = Diagnostic::warning(Code::UsernameRefused, Subject::None, message);
        warnings.insert(told.said_by(view.name));
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
    fn name_of(&self, view: u16, user: DirUserIdx) -> Option<&'n str> {
        let text = self.names.get(view as usize)?.get(user).copied()?;
        Some(self.texts.get(text)).filter(|name| !name.is_empty())
    }

    /// The views that say who is there; or those that give roles only.
    fn views(&self, lifecycle: bool) -> Vec<u16> {
        let numbered = (0u16..).zip(&self.terms);
        numbered.filter(|(_, it)| it.lifecycle == lifecycle).map(|(view, _)| view).collect()
    }

    fn terms_of(&self, view: u16) -> Terms {
        let unknown = Terms {
            lifecycle: false,
            link_by: LinkBy::Email,
            without_ids: false,
            provision: Provision::Mapped,
        };
        self.terms.get(usize::from(view)).copied().unwrap_or(unknown)
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

    /// The place of an old user.
    fn place_of(&self, user: UserId) -> Option<u32> {
        let place = self.old.users.binary_search_by_key(&user, |user| user.id).ok()?;
        u32::try_from(place).ok()
    }

    /// Old users (places) by the external ids under which the state knows them in a view's source.
    fn by_ext(&self, view: u16) -> HashMap<&'a str, Known> {
        let Some(name) = self.sources.get(usize::from(view)).map(|view| view.name) else {
            return HashMap::new();
        };
        let Some(source) = self.old.sources.position(|other| other == name) else {
            return HashMap::new();
        };
        let links = self.old.links.iter().filter(|link| link.source == source);
        let known = |link: &Link| {
            let place = self.place_of(link.user)?;
            let known = Known { place, source: link.source, ext: link.ext };
            Some((self.old.texts.get(link.ext), known))
        };
        links.filter_map(known).collect()
    }

    /// Finds those of a view whom the state knows by external id. Returns the others.
    fn known(&mut self, view: u16) -> Vec<DirUserIdx> {
        let Some(source) = self.sources.get(usize::from(view)) else { return Vec::new() };
        let by_ext = self.by_ext(view);
        let mut rest = Vec::new();
        for (index, user) in source.directory.users.numbered() {
            match by_ext.get(source.directory.text(user.ext)) {
                Some(link) => self.recognise(link.place, view, index, false),
                None => rest.push(index),
            }
        }
        let with_ids = self.with_ids_now(view, &rest, &by_ext);
        rest.retain(|index| {
            let Some(link) = with_ids.get(index) else { return true };
            self.recognise(link.place, view, *index, true);
            self.outgrow(*link);
            false
        });
        rest
    }

    /// Takes the view's user for the old one at `place`.
    fn recognise(&mut self, place: u32, view: u16, user: DirUserIdx, new: bool) {
        let claim = self.name_of(view, user);
        let draft = match self.draft_of.get(place as usize).copied() {
            Some(draft) if draft != NOBODY => draft,
            _ => self.add(place, claim),
        };
        if let Some(draft) = self.drafts.get_mut(draft as usize)
            && draft.claim.is_none()
        {
            draft.claim = claim;
        }
        self.link(draft, view, user, new);
    }

    fn link(&mut self, person: u32, view: u16, user: DirUserIdx, new: bool) {
        if !self.linkable(view, user) {
            self.apart.insert(person);
        }
        self.links.push(PersonLink { person, view, user, new, claim: None });
    }

    /// Whether the view's user may be somebody whom another source lists too.
    fn linkable(&self, view: u16, user: DirUserIdx) -> bool {
        let source = self.sources.get(usize::from(view));
        let row = source.and_then(|source| source.directory.users.get(user));
        row.is_none_or(|row| row.linkable)
    }

    fn absent(&self, gaps: &Gaps<'_>) -> Absent<'a> {
        let mut place_of: HashMap<UserId, u32> = HashMap::new();
        for (place, user) in (0u32..).zip(&self.old.users) {
            let gone = self.draft_of.get(place as usize).is_some_and(|draft| *draft == NOBODY);
            if gone && !user.status.is_deprovisioned() {
                place_of.insert(user.id, place);
            }
        }
        let mut sources: HashMap<u32, Vec<&str>> = HashMap::new();
        if !place_of.is_empty() {
            for link in &self.old.links {
                if let Some(place) = place_of.get(&link.user)
                    && let Some(name) = self.old.sources.get(link.source)
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

    /// Settles what those known by id are called. Who keeps a name goes before who wants it, and
    /// nobody takes a name by which another source knows somebody whom nobody here is: that account
    /// would be linked to whoever has its name, and give them its roles.
    fn name_known(&mut self, absent: &Absent<'_>, unlinked: &[Vec<DirUserIdx>]) {
        let mut movers: Vec<u32> = Vec::new();
        for index in 0..u32::try_from(self.drafts.len()).unwrap_or(NOBODY) {
            let Some(draft) = self.drafts.get(index as usize).copied() else { continue };
            let returning =
                self.old_user(draft.old).is_some_and(|user| user.status.is_deprovisioned());
            let old_name = self.old_name(draft.old);
            if !returning && draft.claim.is_none_or(|claim| claim == old_name) {
                self.call(index, old_name);
            } else {
                movers.push(index);
            }
        }
        let elsewhere = self.borne_elsewhere(&movers, unlinked);
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
                    && wanted.get(claim).is_some_and(|count| *count == 1)
                    && (claim == self.old_name(draft.old) || !elsewhere.contains(index));
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

    /// Of those who want another name, those who want one that an account bears which nobody is
    /// linked to, in a source where they are not known themselves.
    fn borne_elsewhere(&self, movers: &[u32], unlinked: &[Vec<DirUserIdx>]) -> HashSet<u32> {
        let mut bearers: HashMap<&str, Vec<u16>> = HashMap::new();
        for index in movers {
            if let Some(claim) = self.drafts.get(*index as usize).and_then(|draft| draft.claim) {
                bearers.insert(claim, Vec::new());
            }
        }
        if bearers.is_empty() {
            return HashSet::new();
        }
        for (view, users) in (0u16..).zip(unlinked) {
            for user in users {
                let bearer = self.name_of(view, *user).and_then(|name| bearers.get_mut(name));
                if let Some(views) = bearer {
                    views.push(view);
                }
            }
        }
        bearers.retain(|_, views| !views.is_empty());
        if bearers.is_empty() {
            return HashSet::new();
        }
        let mut at_home: HashSet<(u32, u16)> = HashSet::new();
        for link in &self.links {
            at_home.insert((link.person, link.view));
        }
        let elsewhere = |index: &&u32| {
            let claim = self.drafts.get(**index as usize).and_then(|draft| draft.claim);
            let views = claim.and_then(|claim| bearers.get(claim));
            views.is_some_and(|views| views.iter().any(|it| !at_home.contains(&(**index, *it))))
        };
        movers.iter().filter(elsewhere).copied().collect()
    }

    fn refuse_rename(&mut self, index: u32, draft: Draft<'n>) {
        let old_name = self.old_name(draft.old);
        let claim = draft.claim.unwrap_or("");
        let subject = Subject::Rename { from: old_name.to_owned(), to: claim.to_owned() };
        let returning = self.old_user(draft.old).is_some_and(|user| user.status.is_deprovisioned());
        if returning {
            // Someone else has the name by now, so the person cannot come back under it.
            if let Some(slot) = self.drafts.get_mut(index as usize) {
                slot.out = true;
            }
            let message = format!(
                "`{old_name}` is back, but the username `{claim}` belongs to someone else now: not \
                 provisioned"
            );
            self.warnings.insert(Diagnostic::warning(Code::ReturnRefused, subject, message));
        } else {
            self.call(index, old_name);
            let message = format!(
                "user `{old_name}` cannot be renamed to `{claim}`: someone else has or wants that \
                 username; the old one stays"
            );
            self.warnings.insert(Diagnostic::warning(Code::RenameRefused, subject, message));
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
        let message = format!(
            "username `{name}` belongs to another person now (a new id under an old name): the \
             earlier one's grants do not pass over"
        );
        let subject = Subject::User(name.to_owned());
        self.warnings.insert(Diagnostic::warning(Code::UsernameReused, subject, message));
    }

    /// `provision = "mapped"`: leaves out newcomers whom no rule gives a role.
    fn drop_unmapped(&mut self) {
        if self.settings.provision == Provision::All {
            return;
        }
        let mut mapped = vec![false; self.drafts.len()];
        let mut closure = Vec::new();
        for link in &self.links {
            if self.terms_of(link.view).provision == Provision::All {
                if let Some(slot) = mapped.get_mut(link.person as usize) {
                    *slot = true;
                }
                continue;
            }
            closure.clear();
            if let Some(source) = self.sources.get(usize::from(link.view)) {
                source.closure.of_user(link.user, &mut closure);
            }
            if let Some(slot) = mapped.get_mut(link.person as usize) {
                *slot |= !closure.is_empty();
            }
        }
        for (draft, mapped) in self.drafts.iter_mut().zip(mapped) {
            draft.out |= draft.old == NOBODY && !mapped;
        }
    }

    /// What the source calls an account that the state knows, where the person is to be called so,
    /// and may not; empty: by what is no username.
    fn claim(&self, draft: &Draft<'n>, link: &PersonLink) -> Option<&'n str> {
        if link.new {
            return None;
        }
        let old_name = self.old_user(draft.old).map(|user| self.old.texts.get(user.username))?;
        match self.name_of(link.view, link.user) {
            None => Some(""),
            Some(name) => (draft.claim == Some(name) && name != old_name).then_some(name),
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

        let (replaced, outgrown) =
            (std::mem::take(&mut self.replaced), std::mem::take(&mut self.outgrown));
        let terms = std::mem::take(&mut self.terms);
        let mut people = People { replaced, outgrown, ..People::default() };
        people.persons.reserve(order.len());
        let mut at = 0;
        for (person, index) in (0u32..).zip(order) {
            let Some(draft) = self.drafts.get(index as usize) else { continue };
            let old = self.old.users.get(draft.old as usize);
            let mut email = "";
            let mut disabled = None;
            while let Some(link) = links.get(at).copied().filter(|link| link.person == person) {
                if let Some(claim) = self.claim(draft, &link)
                    && let Some(slot) = links.get_mut(at)
                {
                    slot.claim = Some(state.texts.add(claim));
                }
                at += 1;
                let Some(source) = self.sources.get(usize::from(link.view)) else { continue };
                let Some(row) = source.directory.users.get(link.user) else { continue };
                // Whoever gives roles only has no say in the rest.
                if !terms.get(usize::from(link.view)).is_some_and(|it| it.lifecycle) {
                    continue;
                }
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
