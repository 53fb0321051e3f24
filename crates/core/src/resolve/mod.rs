//! Mapping rules, sync modes, users: from what the sources say to what the store should hold.
//!
//! Pure: no clock, no environment, no I/O. Users, groups and roles are small integers inside;
//! texts stand at the edges. The order of the input never matters, since directories and states
//! are canonical.
//!
//! [`resolve`] finds out which roles there are (`roles`), lays the rules over the sources' directories
//! (`rules`), follows groups and roles (`closure`), finds out who is who (`people`), says what becomes
//! of each person (`grants`), applies each role's mode (`modes`), and says which accounts are called
//! otherwise than their person (`claims`). What comes out is the new [`State`] and the [`Change`]s
//! that lead to it.

mod claims;
mod closure;
mod concerned;
mod current;
mod doubt;
mod gaps;
mod grants;
mod inspect;
mod known;
mod matching;
mod modes;
mod people;
mod principals;
mod roles;
mod rules;
mod settings;
pub mod template;

use std::collections::BTreeSet;
use std::collections::HashMap;

use crate::directory::Directory;
use crate::model::{
    Change, Diagnostic, DiagnosticCode as Code, Inconsistent, IndexVec, State, Subject, Time,
};
use closure::{MatchedView, closures, named};
use current::CurrentMatches;
use people::ViewIdx;
use principals::{Principals, Shown};

pub use concerned::{
    Account, By, Concerned, Everybody, NamesAtSource, Seeds, concerned, given_otherwise,
};
pub use inspect::{InDoubt, NewGroup, in_doubt, may_deny, new_group, renamed_groups};
pub use principals::{foreign_members, has_foreign_members};
pub use rules::{Rules, bare_names, folded};
pub use settings::{
    LinkBy, Mapping, MappingRule, Names, PolicyText, Provision, RoleDefinition, RoleTemplate,
    Settings, SourceTerms,
};

/// What a source holds, as far as it is known now.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Its content: the mirror with the current reading laid over it. It says itself which of its
    /// lists are all there; what is not on the others is unknown.
    pub directory: &'a Directory,
}

/// What resolving came to.
#[derive(Debug)]
pub struct Resolved {
    /// The state once every change is applied. Keeps each role that a change names, removed ones
    /// as well.
    pub state: State,
    /// From the old state to that one, in the order in which they must be done.
    pub changes: Vec<Change>,
    /// For each federation link (source and provider): how many of its users were enabled before.
    pub federated: HashMap<(String, String), u64>,
    /// Worth telling.
    pub diagnostics: BTreeSet<Diagnostic>,
    /// The next moment at which something falls due by itself.
    pub next_due: Option<Time>,
    /// Some role may be given by something that was never read in full.
    pub unread: bool,
}

/// Resolves `views` by `settings` against what the store holds in `old`, at `now`.
///
/// What a source has never said in full is unknown (`gaps`): nobody goes missing, no grant ends and
/// no role of a template disappears because of it. What was read in full counts by itself.
///
/// # Errors
/// `old` contradicts itself, or there is more of something than can be numbered.
pub fn resolve(
    settings: &Settings<'_>,
    views: &[View<'_>],
    old: &State,
    now: Time,
) -> Result<Resolved, Inconsistent> {
    resolve_of(settings, views, old, Extent::Whole, now)
}

/// As [`resolve`], for some people: `views` are parts of the sources ([`Directory::part`]), and `old` of
/// the state. Which roles there are is not for these to say: those of `old` stay. Nor is it, which
/// rules match nothing.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_part(
    settings: &Settings<'_>,
    views: &[View<'_>],
    old: &State,
    now: Time,
) -> Result<Resolved, Inconsistent> {
    resolve_of(settings, views, old, Extent::Part, now)
}

/// Says that something that may give the role `name` was never read in full.
fn unread(name: &str) -> Diagnostic {
    let message = format!(
        "role `{name}`: a group, role or attribute that may give it was never read in full; whoever \
         may hold it through that keeps it meanwhile"
    );
    Diagnostic::warning(Code::RoleUnread, Subject::Role(name.to_owned()), message)
}

/// How much of the sources views hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Part,
}

fn resolve_of(
    settings: &Settings<'_>,
    views: &[View<'_>],
    old: &State,
    extent: Extent,
    now: Time,
) -> Result<Resolved, Inconsistent> {
    let mut warnings = BTreeSet::new();
    let mut pairs = Vec::new();
    for source in &settings.sources {
        if let Some(view) = views.iter().find(|view| view.source == source.name) {
            pairs.push((Rules::new(settings, *source), view.directory));
        }
    }
    let gaps = gaps::Gaps::of(settings, views, extent);
    // Groups and roles of which nothing is seen here may be there.
    let unseen = gaps.refs() || extent == Extent::Part;
    let roles = roles::universe(settings, &pairs, &old.roles, unseen, &mut warnings)?;
    let (mut state, moved) = grants::start(old, &roles)?;
    let mut changes = Vec::new();
    grants::role_changes(old, &roles, &mut state, &mut changes);
    if state.catalog != settings.catalog {
        settings.catalog.clone_into(&mut state.catalog);
        changes.push(Change::CatalogChanged);
    }
    if state.workload != settings.workload {
        settings.workload.clone_into(&mut state.workload);
        changes.push(Change::WorkloadChanged);
    }

    let mut matched = IndexVec::<ViewIdx, _>::with_capacity(pairs.len());
    for (rules, directory) in &pairs {
        matched.push(matching::matches(rules, directory, &roles, &mut warnings)?)?;
    }
    let directories = named(&pairs)?;
    let principals = Principals::of(settings, &directories, Shown::People);
    let parts = MatchedView::of(&directories, &matched)?;
    let mut closures = closures(&parts, &principals, &mut state.reasons)?.into_iter();
    drop(parts);
    let mut unknown_roles = BTreeSet::new();
    let mut current = CurrentMatches::default();
    let mut sources = IndexVec::with_capacity(pairs.len());
    for ((name, directory), found) in directories.iter().zip(matched.iter_mut()) {
        let Some(closure) = closures.next() else { break };
        unknown_roles.extend(closure.unknown.iter().copied());
        // A part has what concerns some people, and nothing of what nobody there has.
        if extent == Extent::Whole {
            unknown_roles.append(&mut found.unasked);
        }
        let doubts = std::mem::take(&mut found.doubts);
        sources.push(people::SourceView { name, directory, closure, doubts })?;
    }
    if !unknown_roles.is_empty() {
        for ((view, source), found) in sources.numbered().zip(&matched) {
            current.add(source, found, |place| principals.is_open((view, place)));
        }
        warnings.extend(unknown_roles.iter().map(|role| unread(&roles.defs.at(*role).name)));
    }
    // Nor is what a rule names missing where nobody knows whether it is there.
    if !unseen && !gaps.organizations() {
        matching::unmatched(settings, &matched, &mut warnings);
    }
    drop(matched);

    let people = people::find(settings, &sources, &gaps, old, &mut state, &mut warnings)?;
    let mut resolver = grants::Resolver {
        settings,
        roles: &roles,
        sources: &sources,
        gaps: &gaps,
        unknown_roles: &unknown_roles,
        current: &current,
        old,
        moved: &moved,
        now,
        state: &mut state,
        changes: &mut changes,
        next_due: None,
    };
    resolver.run(&people)?;
    let next_due = resolver.next_due;
    claims::settle(old, &people, &sources, &mut state, &mut changes)?;
    let federated = people.federated;
    let unread = !unknown_roles.is_empty() || gaps.organizations();
    Ok(Resolved { state, changes, federated, diagnostics: warnings, next_due, unread })
}
