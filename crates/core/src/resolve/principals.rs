//! Who is meant by the foreign security principals of a source: the person or group of another source that
//! bears the SID.
//!
//! ```text
//! domain A: group G ◄── S-1-5-21-B-1105 (a foreign security principal)
//!                              ▲
//! domain B: the person, or the group, with the SID S-1-5-21-B-1105: in G of A
//! ```
//!
//! A source answers for the SIDs of the domain that it is, and for no other's. While it was not read in
//! full, who bears a SID is unknown, not nobody; and while a source was not, or which domain it is, it may
//! be any.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{AccountSid, DirUserIdx, Directory, Kind, OwnDomain, RefIdx, Rid};
use crate::model::diagnostic::some_of;
use crate::model::{Diagnostic, DiagnosticCode, IndexVec, Subject};

use super::View;
use super::people::ViewIdx;
use super::settings::Settings;

/// A reference of one of the sources.
pub(super) type Node = (ViewIdx, RefIdx);

/// A person of one of the sources.
pub(super) type Account = (ViewIdx, DirUserIdx);

/// Who is meant by the foreign security principals of all sources.
#[derive(Debug, Default)]
pub(super) struct Principals {
    /// What stands for a group in other sources.
    of_group: BTreeMap<Node, Vec<Node>>,
    /// What stands for a person there.
    of_person: BTreeMap<Account, Vec<Node>>,
    /// Those that stand for a person.
    persons: BTreeSet<Node>,
    /// Those of which is not known for whom they stand.
    open: BTreeSet<Node>,
    /// Those that stand for nobody whom any source knows.
    strange: BTreeSet<Node>,
}

/// Whether directories are shown with their people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// With all, or with all that matter.
    People,
    /// Without: who bears a SID is not asked.
    Outline,
}

/// Who bears one SID.
#[derive(Default)]
struct Bearers {
    groups: Vec<Node>,
    people: Vec<Account>,
}

impl Principals {
    /// Looks for them in what the sources hold.
    pub fn of(
        settings: &Settings<'_>,
        sources: &IndexVec<ViewIdx, (&str, &Directory)>,
        shown: Shown,
    ) -> Self {
        let mut wanted: BTreeMap<AccountSid, (Vec<Node>, Bearers)> = BTreeMap::new();
        for (view, (_, directory)) in sources.numbered() {
            for (place, row) in directory.refs.numbered() {
                if row.kind == Kind::ForeignPrincipal
                    && let Some(sid) = AccountSid::of_text(directory.text(row.key))
                {
                    wanted.entry(sid).or_default().0.push((view, place));
                }
            }
        }
        let mut found = Principals::default();
        if wanted.is_empty() {
            return found;
        }
        for (view, (_, directory)) in sources.numbered() {
            bearers(view, directory, &mut wanted);
        }
        // Some source that nobody ever saw whole may be the domain.
        let all_known = settings.sources.iter().all(|source| {
            let view = sources.iter().find(|(name, _)| *name == source.name);
            let seen = |it: &Directory| it.proven.users && it.domain != OwnDomain::Unread;
            source.by_hand || view.is_some_and(|(_, directory)| seen(directory))
        });
        for (sid, (stand, bearers)) in wanted {
            let mut owners = sources.iter().filter(|(_, it)| is_domain(it, &sid));
            let known = match shown {
                Shown::Outline => true,
                Shown::People => all_known && owners.all(|(_, directory)| tells_all(directory)),
            };
            found.add(&stand, &bearers, known);
        }
        found
    }

    /// Adds what stands for those who bear one SID. `known`: nobody else can.
    fn add(&mut self, stand: &[Node], bearers: &Bearers, known: bool) {
        let Bearers { groups, people } = bearers;
        let mut views: Vec<ViewIdx> = groups.iter().map(|(view, _)| *view).collect();
        views.extend(people.iter().map(|(view, _)| *view));
        let several = views.len();
        views.sort_unstable();
        views.dedup();
        // No domain gives a SID twice. Where two of one source bear it neither is who is meant.
        if views.len() < several {
            self.open.extend(stand);
            return;
        }
        for group in groups {
            self.of_group.entry(*group).or_default().extend(stand);
        }
        for person in people {
            self.of_person.entry(*person).or_default().extend(stand);
            self.persons.extend(stand);
        }
        if several == 0 && known {
            self.strange.extend(stand);
        } else if several == 0 {
            self.open.extend(stand);
        }
    }

    /// What stands for a group in other sources.
    pub fn of_group(&self, group: Node) -> &[Node] {
        if self.of_group.is_empty() {
            return &[];
        }
        self.of_group.get(&group).map_or(&[], Vec::as_slice)
    }

    /// The people for whom something stands in other sources, with what does.
    pub fn people(&self) -> impl Iterator<Item = (Account, &[Node])> {
        self.of_person.iter().map(|(person, stand)| (*person, stand.as_slice()))
    }

    /// Whether it stands for a person.
    pub fn is_person(&self, principal: Node) -> bool {
        self.persons.contains(&principal)
    }

    /// Whether it is not known for whom it stands.
    pub fn is_open(&self, principal: Node) -> bool {
        self.open.contains(&principal)
    }
}

fn is_domain(directory: &Directory, sid: &AccountSid) -> bool {
    directory.own_domain() == OwnDomain::Of(sid.domain().as_str())
}

/// Whether a domain is known so well that whoever bears none of its SIDs here bears none.
fn tells_all(directory: &Directory) -> bool {
    directory.proven.users && directory.proven.groups && directory.tells_sids()
}

/// Notes who of a source bears which of the wanted SIDs.
fn bearers(
    view: ViewIdx,
    directory: &Directory,
    wanted: &mut BTreeMap<AccountSid, (Vec<Node>, Bearers)>,
) {
    let mine = wanted.iter_mut().filter(|(sid, _)| is_domain(directory, sid));
    let mut by_rid: BTreeMap<Rid, &mut Bearers> =
        mine.map(|(sid, (_, bearers))| (sid.rid(), bearers)).collect();
    if by_rid.is_empty() {
        return;
    }
    for (place, user) in directory.users.numbered() {
        if let Some(bearers) = by_rid.get_mut(&user.rid) {
            bearers.people.push((view, place));
        }
    }
    for (place, row) in directory.refs.numbered() {
        if let Some(bearers) = by_rid.get_mut(&row.rid) {
            bearers.groups.push((view, place));
        }
    }
}

/// Whether groups of `directory` list members of other domains.
#[must_use]
pub fn has_foreign_members(directory: &Directory) -> bool {
    directory.refs.iter().any(|row| row.kind == Kind::ForeignPrincipal)
}

/// At most this many groups have a warning of their own, with at most this many names each.
const WARNED_GROUPS: usize = 50;
const NAMED: usize = 3;

/// Tells of members of other domains whom no source knows, group by group. Only where `views` show
/// everybody.
#[must_use]
pub fn foreign_members(settings: &Settings<'_>, views: &[View<'_>]) -> Vec<Diagnostic> {
    let sources = views.iter().map(|view| (view.source, view.directory)).collect::<Vec<_>>();
    let Ok(sources) = IndexVec::try_from(sources) else { return Vec::new() };
    let found = Principals::of(settings, &sources, Shown::People);
    let mut lost: BTreeMap<Node, Vec<&str>> = BTreeMap::new();
    for (view, place) in &found.strange {
        let Some((_, directory)) = sources.get(*view) else { continue };
        let Some(row) = directory.refs.get(*place) else { continue };
        for group in directory.implies.get(*place).into_iter().flatten() {
            lost.entry((*view, *group)).or_default().push(directory.text(row.identity));
        }
    }
    let mut told = Vec::new();
    let mut of_source: BTreeMap<ViewIdx, usize> = BTreeMap::new();
    for ((view, group), mut names) in lost {
        let Some((source, directory)) = sources.get(view) else { continue };
        let Some(row) = directory.refs.get(group) else { continue };
        let warned = of_source.entry(view).or_default();
        *warned = warned.saturating_add(1);
        if *warned > WARNED_GROUPS {
            continue;
        }
        let identity = directory.text(row.identity);
        names.sort_unstable();
        let message = format!(
            "group `{}`: {} member(s) are of another directory, and no source knows them: {}",
            identity.escape_debug(),
            names.len(),
            some_of(&names, NAMED)
        );
        let subject = Subject::reference(Kind::Group, identity);
        let one = Diagnostic::warning(DiagnosticCode::MembersLost, subject, message);
        told.push(one.said_by(source));
    }
    for (view, warned) in of_source {
        let Some((source, _)) = sources.get(view) else { continue };
        if let Some(more) = warned.checked_sub(WARNED_GROUPS).filter(|more| *more > 0) {
            let message = format!("{more} more groups have members whom no source knows");
            let one = Diagnostic::warning(DiagnosticCode::MembersLost, Subject::None, message);
            told.push(one.said_by(source));
        }
    }
    told
}
