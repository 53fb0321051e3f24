//! Names in doubt: a bare name that two groups of one source bear, a path or `client/role` that two
//! things fit, an alias that two organizations of a file have.
//!
//! Whoever may make a group can bring a name into doubt, so doubt must neither give nor take: it
//! gives nobody anything new, and who holds a role through the name and is in one of its bearers
//! keeps it. A role that only denies is held by the members of all bearers, or a second group would
//! lift the restriction. The choice between these is made in [`super::matching`] and
//! [`super::grants`]; here is what is in doubt, and who holds something through it.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{Directory, Kind, RefIdx, dn};
use crate::model::index::list_place;
use crate::model::{
    Diagnostic, DiagnosticCode, ExternalRef, IndexVec, Reason, RefKind, Subject, TooMany,
};

use super::rules::folded;
use super::settings::Mapping;

list_place! {
    /// A place in [`Doubts::list`].
    DoubtIdx of "names in doubt in one source"
}

/// One name in doubt.
#[derive(Clone, Debug)]
pub struct Doubt {
    kind: Kind,
    /// A group's bare name, in the form in which names compare; absent: what is in doubt is an
    /// identity.
    bare: Option<String>,
    /// Names compare as directories compare them.
    fold: bool,
    /// What bears it, sorted.
    bearers: Vec<RefIdx>,
    /// The bearers' identities, sorted, each as often as it occurs.
    identities: Vec<String>,
    /// The members of every bearer have been read in full once.
    pub known: bool,
}

/// How many bearers a message names.
const SHOWN: usize = 10;

impl Doubt {
    /// Whether somebody who held a role in `source`, whose content is `directory`, for `reason` held
    /// it through this name, by which the rule `by` gives the role: through what bears it now, or
    /// through what bore it then. Names count here, since a name is what is in doubt. Which mapping it
    /// was does not matter, since its key changes with its place in the file; but who held the role
    /// by a mapping did not hold it by one of the role's own names.
    pub fn is_behind(
        &self,
        by: &str,
        source: &str,
        directory: &Directory,
        reason: &Reason,
    ) -> bool {
        let Some(target) = reason.target() else { return false };
        if Mapping::is_key(&reason.rule) && !Mapping::is_key(by) {
            return false;
        }
        let ExternalRef { kind, id, identity } = target;
        reason.source == source
            && *kind == RefKind::Directory(self.kind)
            && (id.as_deref().is_some_and(|id| self.is_borne_by(directory, id))
                || self.identities.binary_search(identity).is_ok()
                || self.was_borne(identity))
    }

    fn is_borne_by(&self, directory: &Directory, id: &str) -> bool {
        // A directory is sorted by kind and key, and all bearers are of one kind.
        let bearer = directory.find_ref(self.kind, id);
        bearer.is_some_and(|bearer| self.bearers.binary_search(&bearer).is_ok())
    }

    /// Whether the group that was called `identity` bore the name, though it is called otherwise or
    /// is elsewhere by now.
    fn was_borne(&self, identity: &str) -> bool {
        let Some(bare) = &self.bare else { return false };
        if !self.fold {
            return identity.strip_suffix(bare.as_str()).is_some_and(|above| above.ends_with('/'));
        }
        let Ok(norm) = dn::normalize(identity) else { return false };
        let mut parts = dn::first_rdn(&norm).split('+');
        parts.any(|part| part.split_once('=').is_some_and(|(_, value)| value == bare))
    }

    /// What bears it, sorted.
    pub fn bearers(&self) -> &[RefIdx] {
        &self.bearers
    }

    /// Which name it is and what bears it: name or identity, and the bearers by key and identity.
    pub fn content(&self, directory: &Directory) -> BTreeSet<(Option<String>, String, String)> {
        let rows = self.bearers.iter().map(|it| directory.refs.at(*it));
        rows.map(|row| {
            let text = |text| directory.text(text).to_owned();
            (self.bare.clone(), text(row.key), text(row.identity))
        })
        .collect()
    }

    /// What is in doubt in `source`, what that means, and what to do about it.
    pub fn diagnostic(&self, source: &str) -> Diagnostic {
        let subject = match (&self.bare, self.identities.first()) {
            (Some(bare), _) => Subject::Name(bare.clone()),
            (None, first) => Subject::reference(self.kind, first.map_or("", String::as_str)),
        };
        let message = format!(
            "{}: nobody gains anything through it, who holds a role through it keeps it, \
             and what a role only denies is denied to the members of all; {}",
            self.told(),
            self.advice()
        );
        Diagnostic::warning(DiagnosticCode::Ambiguous, subject, message).said_by(source)
    }

    fn told(&self) -> String {
        let mut shown: Vec<String> =
            self.identities.iter().take(SHOWN).map(|bearer| format!("`{bearer}`")).collect();
        if let Some(more) = self.identities.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            shown.push(format!("and {more} more"));
        }
        match (&self.bare, self.identities.first()) {
            (Some(bare), _) => {
                format!("group name `{bare}` is ambiguous ({})", shown.join(", "))
            }
            (None, first) => format!(
                "{} `{}` is ambiguous ({} fit it{})",
                if self.kind == Kind::Group { "the path" } else { self.kind.as_str() },
                first.map_or("", String::as_str),
                self.identities.len(),
                if self.kind == Kind::Organization {
                    ""
                } else {
                    ", since a name may hold a slash"
                }
            ),
        }
    }

    fn advice(&self) -> &'static str {
        match (&self.bare, self.kind) {
            (Some(_), _) => "map the group by its whole identity (`group`, `group_id`)",
            (None, Kind::Group) => {
                "name the group with `group = [\"…\", \"…\"]`, or by its `group_id`"
            }
            (None, Kind::Organization) => "an alias is one organization's alone in Keycloak",
            (None, Kind::OrganizationGroup) => {
                "name the group with `organization_group = [\"alias\", \"…\", \"…\"]`, or by its id"
            }
            (None, _) => "write it as a list, `client_role = [\"client\", \"role\"]`",
        }
    }
}

/// Everything that is in doubt in one source.
#[derive(Debug, Default)]
pub struct Doubts {
    /// The names in doubt, by their numbers.
    pub list: IndexVec<DoubtIdx, Doubt>,
    by_name: BTreeMap<String, DoubtIdx>,
    by_identity: BTreeMap<(Kind, String), DoubtIdx>,
}

impl Doubts {
    /// Looks for what several groups, roles of clients or organizations of `directory` are called.
    ///
    /// # Errors
    /// There are more of them than can be numbered.
    pub fn of(directory: &Directory) -> Result<Self, TooMany> {
        let mut names: BTreeMap<String, Vec<RefIdx>> = BTreeMap::new();
        let mut identities: BTreeMap<(Kind, String), Vec<RefIdx>> = BTreeMap::new();
        for (index, thing) in directory.refs.numbered() {
            let name = directory.text(thing.name);
            match thing.kind {
                Kind::Group => {
                    let bare = if directory.ignore_case { folded(name) } else { name.to_owned() };
                    names.entry(bare).or_default().push(index);
                }
                // Without a name nothing reaches it, so it cannot be meant.
                Kind::ClientRole | Kind::Organization | Kind::OrganizationGroup
                    if !name.is_empty() => {}
                Kind::ClientRole
                | Kind::RealmRole
                | Kind::Attribute
                | Kind::ForeignPrincipal
                | Kind::Organization
                | Kind::OrganizationGroup => continue,
            }
            let identity = directory.text(thing.identity).to_owned();
            identities.entry((thing.kind, identity)).or_default().push(index);
        }
        let mut doubts = Doubts::default();
        for (bare, bearers) in names.into_iter().filter(|(_, bearers)| bearers.len() > 1) {
            let doubt = doubts.add(directory, Kind::Group, Some(bare.clone()), bearers)?;
            doubts.by_name.insert(bare, doubt);
        }
        for ((kind, identity), bearers) in identities.into_iter().filter(|(_, it)| it.len() > 1) {
            let doubt = doubts.add(directory, kind, None, bearers)?;
            doubts.by_identity.insert((kind, identity), doubt);
        }
        Ok(doubts)
    }

    fn add(
        &mut self,
        directory: &Directory,
        kind: Kind,
        bare: Option<String>,
        bearers: Vec<RefIdx>,
    ) -> Result<DoubtIdx, TooMany> {
        let things = || bearers.iter().map(|it| directory.refs.at(*it));
        let mut identities: Vec<String> =
            things().map(|thing| directory.text(thing.identity).to_owned()).collect();
        identities.sort_unstable();
        let known = things().all(|thing| thing.known);
        let fold = directory.ignore_case;
        self.list.push(Doubt { kind, bare, fold, bearers, identities, known })
    }

    /// The doubt about a bare name, in the form in which names compare.
    pub fn about_name(&self, bare: &str) -> Option<DoubtIdx> {
        self.by_name.get(bare).copied()
    }

    /// The doubt about a path, a `client/role` or an alias.
    pub fn about_identity(&self, kind: Kind, identity: &str) -> Option<DoubtIdx> {
        if self.by_identity.is_empty() {
            return None;
        }
        self.by_identity.get(&(kind, identity.to_owned())).copied()
    }
}
