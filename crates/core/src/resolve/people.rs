//! Who is who: from the sources' users to persons, and what each is called.
//!
//! A person is known by external id, source by source. Only where an id is new do names matter:
//! another source's person of that name (or verified address) is the same one, the same source's
//! is not (`newcomers`). Whoever cannot be named without doubt is left out and reported; nobody else
//! waits. A source with `lifecycle = false` only adds to those whom others list (`roles_only`).
//! Somebody known by username alone takes the id that a source shows later (`ids`).

mod finish;
mod ids;
mod names;
mod newcomers;
mod roles_only;

use std::collections::{BTreeSet, HashMap as StdMap};

use hashbrown::{HashMap, HashSet};

use crate::directory::{DirUser, DirUserIdx, Directory};
use crate::model::index::{Place as _, list_place};
use crate::model::username::{self, UsernameFrom};
use crate::model::{
    Diagnostic, DiagnosticCode as Code, IndexVec, Link, SourceIdx, State, Subject, Text, Texts,
    TooMany, User, UserId,
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

list_place! {
    /// The place of a source among those that are resolved.
    ViewIdx(u16, std::num::NonZeroU16) of "sources"
}

list_place! {
    /// A place in the old state's users.
    OldIdx of "users"
}

list_place! {
    /// A place in [`People::persons`].
    PersonIdx of "people"
}

list_place! {
    /// A person in the making: a place among the drafts.
    DraftIdx of "people"
}

/// Someone whom at least one source lists now.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// The user in the old state; absent for someone new.
    pub old: Option<OldIdx>,
    /// The username to be, in the new state's texts.
    pub name: Text,
    /// The email address to be, in the new state's texts.
    pub email: Text,
    /// The first source and its user that says disabled.
    pub disabled: Option<(ViewIdx, DirUserIdx)>,
}

/// One source's user that is a person, finished or in the making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PersonLink<P = PersonIdx> {
    /// Who.
    pub person: P,
    /// The source.
    pub view: ViewIdx,
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
    pub persons: IndexVec<PersonIdx, Person>,
    /// Their links, sorted by person.
    pub links: Vec<PersonLink>,
    /// Old users whose name another person has now.
    pub replaced: BTreeSet<OldIdx>,
    /// Links that an id has taken the place of: old user, source, what was known of them.
    pub outgrown: Vec<(OldIdx, SourceIdx, Text)>,
    /// For each federation link (source and provider) how many of its users were enabled before.
    pub federated: StdMap<(String, String), u64>,
}

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
struct StoredLink {
    /// The old user.
    place: OldIdx,
    /// The source that knows them so.
    source: SourceIdx,
    /// The external id, in the old state's texts.
    ext: Text,
}

/// A person in the making.
#[derive(Clone, Copy)]
struct Draft<'n> {
    /// The old user; none for someone new.
    old: Option<OldIdx>,
    /// What the sources would call the person; `None` where no source's name will do.
    claim: Option<&'n str>,
    /// What the person will be called.
    name: &'n str,
    out: bool,
}

struct Finder<'a, 'n> {
    settings: &'a Settings<'a>,
    sources: &'a IndexVec<ViewIdx, SourceView<'a>>,
    terms: IndexVec<ViewIdx, Terms>,
    old: &'a State,
    /// Canonical names, view by view, user by user; empty where refused.
    names: &'n IndexVec<ViewIdx, IndexVec<DirUserIdx, Text>>,
    texts: &'n Texts,
    drafts: IndexVec<DraftIdx, Draft<'n>>,
    links: Vec<PersonLink<DraftIdx>>,
    /// The draft of each old user, if somebody lists them.
    draft_of: IndexVec<OldIdx, Option<DraftIdx>>,
    /// Who is called what.
    taken: HashMap<&'n str, DraftIdx>,
    replaced: BTreeSet<OldIdx>,
    outgrown: Vec<(OldIdx, SourceIdx, Text)>,
    /// Persons with an account that is never linked with another source's.
    apart: HashSet<DraftIdx>,
    warnings: &'a mut BTreeSet<Diagnostic>,
}

/// Finds everyone whom a view lists. A source that may list people whom nobody saw may still
/// have users known there, so their names are not free.
///
/// # Errors
/// There are more people than can be numbered.
pub fn find(
    settings: &Settings<'_>,
    sources: &IndexVec<ViewIdx, SourceView<'_>>,
    gaps: &Gaps<'_>,
    old: &State,
    state: &mut State,
    warnings: &mut BTreeSet<Diagnostic>,
) -> Result<People, TooMany> {
    let mut texts = Texts::default();
    let mut names = IndexVec::with_capacity(sources.len());
    for view in sources {
        names.push(canonical_names(settings, view, &mut texts, warnings)?)?;
    }
    let terms = sources.map(|view| terms(settings, view.name));
    let nobody = vec![None; old.users.len()];
    let mut finder = Finder {
        settings,
        sources,
        terms,
        old,
        names: &names,
        texts: &texts,
        drafts: IndexVec::default(),
        links: Vec::new(),
        draft_of: nobody.try_into()?,
        taken: HashMap::new(),
        replaced: BTreeSet::new(),
        outgrown: Vec::new(),
        apart: HashSet::new(),
        warnings,
    };
    let mut unlinked = sources.map(|_| Vec::new());
    for view in finder.views(true) {
        let rest = finder.known(view)?;
        *unlinked.at_mut(view) = rest;
    }
    let mut alone = sources.map(|_| 0);
    for view in finder.views(false) {
        let (rest, without) = finder.known_to_others(view);
        *unlinked.at_mut(view) = rest;
        *alone.at_mut(view) = without;
    }
    let absent = finder.absent(gaps);
    finder.name_known(&absent, &unlinked);
    for view in finder.views(true) {
        finder.meet(view, unlinked.at(view), &absent)?;
    }
    for view in finder.views(false) {
        finder.join(view, unlinked.at(view), *alone.at(view));
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
) -> Result<IndexVec<DirUserIdx, Text>, TooMany> {
    let directory = view.directory;
    let by = settings.called_by(view.name);
    let mut refused = 0u32;
    let mut names = IndexVec::with_capacity(directory.users.len());
    for user in &directory.users {
        let name = match username::canonical(raw_name(by, directory, user)) {
            Ok(name) => texts.add(&name)?,
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
        };
        names.push(name)?;
    }
    if refused > MOST_NAMED {
        let more = refused - MOST_NAMED;
        let message = format!("{more} more users are not provisioned for their names");
        let told = Diagnostic::warning(Code::UsernameRefused, Subject::None, message);
        warnings.insert(told.said_by(view.name));
    }
    Ok(names)
}

/// How many refused names a source's warnings list one by one.
const MOST_NAMED: u32 = 50;

/// Old users whom no view lists.
struct Absent<'a> {
    /// By username, those that are not deprovisioned: place, and whether a source may still
    /// list them unseen.
    by_name: HashMap<&'a str, (OldIdx, bool)>,
    /// Sources (names) that once knew each of them.
    sources: HashMap<OldIdx, Vec<&'a str>>,
}

impl<'a, 'n> Finder<'a, 'n>
where
    'a: 'n,
{
    fn name_of(&self, view: ViewIdx, user: DirUserIdx) -> Option<&'n str> {
        let name = self.texts.get(*self.names.at(view).at(user));
        Some(name).filter(|name| !name.is_empty())
    }

    /// The views that say who is there; or those that give roles only.
    fn views(&self, lifecycle: bool) -> Vec<ViewIdx> {
        let numbered = self.terms.numbered();
        numbered.filter(|(_, it)| it.lifecycle == lifecycle).map(|(view, _)| view).collect()
    }

    fn terms_of(&self, view: ViewIdx) -> Terms {
        *self.terms.at(view)
    }

    fn old_user(&self, place: OldIdx) -> Option<&'a User> {
        self.old.users.get(place.place())
    }

    /// What the store calls an old user.
    fn old_name(&self, place: OldIdx) -> Option<&'a str> {
        self.old_user(place).map(|user| self.old.texts.get(user.username))
    }

    /// The old user that a draft is of; none for someone new.
    fn old_of(&self, draft: &Draft<'n>) -> Option<&'a User> {
        draft.old.and_then(|place| self.old_user(place))
    }

    fn add(&mut self, old: Option<OldIdx>, claim: Option<&'n str>) -> Result<DraftIdx, TooMany> {
        let index = self.drafts.push(Draft { old, claim, name: "", out: false })?;
        if let Some(old) = old {
            *self.draft_of.at_mut(old) = Some(index);
        }
        Ok(index)
    }

    /// The place of an old user.
    fn place_of(&self, user: UserId) -> Option<OldIdx> {
        let place = self.old.users.binary_search_by_key(&user, |user| user.id).ok()?;
        OldIdx::from_place(place)
    }

    /// Old users (places) by the external ids under which the state knows them in a view's source.
    fn by_ext(&self, view: ViewIdx) -> HashMap<&'a str, StoredLink> {
        let name = self.sources.at(view).name;
        let Some(source) = self.old.sources.position(|other| other == name) else {
            return HashMap::new();
        };
        let links = self.old.links.iter().filter(|link| link.source == source);
        let known = |link: &Link| {
            let place = self.place_of(link.user)?;
            let known = StoredLink { place, source: link.source, ext: link.ext };
            Some((self.old.texts.get(link.ext), known))
        };
        links.filter_map(known).collect()
    }

    /// Finds those of a view whom the state knows by external id. Returns the others.
    fn known(&mut self, view: ViewIdx) -> Result<Vec<DirUserIdx>, TooMany> {
        let source = self.sources.at(view);
        let by_ext = self.by_ext(view);
        let mut rest = Vec::new();
        for (index, user) in source.directory.users.numbered() {
            match by_ext.get(source.directory.text(user.ext)) {
                Some(link) => self.recognise(link.place, view, index, false)?,
                None => rest.push(index),
            }
        }
        let with_ids = self.with_ids_now(view, &rest, &by_ext);
        for index in &rest {
            if let Some(link) = with_ids.get(index) {
                self.recognise(link.place, view, *index, true)?;
                self.outgrow(*link);
            }
        }
        rest.retain(|index| !with_ids.contains_key(index));
        Ok(rest)
    }

    /// Takes the view's user for the old one at `place`.
    fn recognise(
        &mut self,
        place: OldIdx,
        view: ViewIdx,
        user: DirUserIdx,
        new: bool,
    ) -> Result<(), TooMany> {
        let claim = self.name_of(view, user);
        let draft = match *self.draft_of.at(place) {
            Some(draft) => draft,
            None => self.add(Some(place), claim)?,
        };
        let known = self.drafts.at_mut(draft);
        known.claim = known.claim.or(claim);
        self.link(draft, view, user, new);
        Ok(())
    }

    fn link(&mut self, person: DraftIdx, view: ViewIdx, user: DirUserIdx, new: bool) {
        if !self.linkable(view, user) {
            self.apart.insert(person);
        }
        self.links.push(PersonLink { person, view, user, new, claim: None });
    }

    /// Whether the view's user may be somebody whom another source lists too.
    fn linkable(&self, view: ViewIdx, user: DirUserIdx) -> bool {
        self.sources.at(view).directory.users.at(user).linkable
    }

    fn absent(&self, gaps: &Gaps<'_>) -> Absent<'a> {
        let mut place_of: HashMap<UserId, OldIdx> = HashMap::new();
        for ((place, draft), user) in self.draft_of.numbered().zip(&self.old.users) {
            if draft.is_none() && !user.status.is_deprovisioned() {
                place_of.insert(user.id, place);
            }
        }
        let mut sources: HashMap<OldIdx, Vec<&str>> = HashMap::new();
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
            .filter_map(|place| {
                let maybe_there = sources
                    .get(place)
                    .is_some_and(|names| names.iter().any(|name| gaps.may_list(name)));
                Some((self.old_name(*place)?, (*place, maybe_there)))
            })
            .collect();
        Absent { by_name, sources }
    }
}
