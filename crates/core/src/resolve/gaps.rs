//! What is not known of the sources, list by list.
//!
//! A source says many things, and each that was read in full counts by itself: who is not on a
//! list that was read is not on it, whatever became of the other lists. What is kept here is the
//! rest: lists of which nobody ever saw the whole.

use std::collections::HashMap;

use super::known::KnownRefs;
use super::rules;
use super::settings::{Settings, SourceTerms};
use super::{Extent, View};
use crate::directory::{Directory, Kind};
use crate::model::{ExternalRef, Reason, RefKind};

/// The lists that nobody ever saw in full.
pub struct Gaps<'a> {
    settings: &'a Settings<'a>,
    /// Configured sources without a word: neither read nor kept.
    silent: Vec<&'a str>,
    /// Sources that may hold users whom nobody saw.
    users: Vec<&'a str>,
    /// Sources that may hold groups or roles that nobody saw.
    refs: Vec<&'a str>,
    /// Sources that may hold organizations that nobody saw, or groups of one, and a rule names such.
    organizations: Vec<&'a str>,
    /// What is there that a rule can name, by source, in sources that may hold others.
    seen: HashMap<&'a str, KnownRefs<'a>>,
}

impl<'a> Gaps<'a> {
    /// Looks for them in `views`, which hold so much of the sources.
    pub(super) fn of(settings: &'a Settings<'a>, views: &[View<'a>], extent: Extent) -> Self {
        let mut gaps = Gaps {
            settings,
            silent: Vec::new(),
            users: Vec::new(),
            refs: Vec::new(),
            organizations: Vec::new(),
            seen: HashMap::new(),
        };
        for source in &settings.sources {
            let name = source.name;
            let Some(view) = views.iter().find(|view| view.source == name) else {
                gaps.silent.push(name);
                gaps.users.push(name);
                gaps.refs.push(name);
                continue;
            };
            if !view.directory.proven.users {
                gaps.users.push(name);
            }
            let refs = !view.directory.proven.refs();
            if refs {
                gaps.refs.push(name);
            }
            let organizations = hides_organizations(settings, source, view.directory, extent);
            if organizations {
                gaps.organizations.push(name);
            }
            if refs || organizations {
                let seen = gaps.seen.entry(name).or_default();
                view.directory.refs.iter().for_each(|row| seen.insert(view.directory, row));
            }
        }
        gaps
    }

    /// Whether there are none, but for organizations.
    pub fn none(&self) -> bool {
        self.users.is_empty() && self.refs.is_empty()
    }

    /// Whether some source may hold a group or role that nobody saw.
    pub fn refs(&self) -> bool {
        !self.refs.is_empty()
    }

    /// Whether some source may hold an organization, or a group of one, that nobody saw and a rule names.
    pub fn organizations(&self) -> bool {
        !self.organizations.is_empty()
    }

    /// Whether `source` may list people whom nobody saw, and it is for it to say who is there. Of a
    /// source that is not configured any more that is so while another has such a gap: it may be
    /// the same one under a new name.
    pub fn may_list(&self, source: &str) -> bool {
        let open = |name: &&&str| self.settings.says_who_is_there(name);
        let mut gaps = self.users.iter().filter(open);
        if self.is_gone(source) { gaps.next().is_some() } else { gaps.any(|name| *name == source) }
    }

    /// Whether what `reason` says may still hold of somebody for whom no source says it now. `seen`:
    /// the sources that list the person.
    pub fn may_stand(&self, reason: &Reason, seen: &[&str]) -> bool {
        let Reason { source, rule: _, path } = reason;
        let source = source.as_str();
        // A source that is not configured any more may be one with a gap, under a new name.
        let by_organization = self.organizations() && path.iter().any(is_of_organization);
        let gap = !self.none() || by_organization;
        if self.silent.contains(&source) || (gap && self.is_gone(source)) {
            return true;
        }
        if self.may_stand_abroad(reason) {
            return true;
        }
        let known = self.seen.get(source);
        let unseen = |step: &ExternalRef| {
            let gap = if is_of_organization(step) { &self.organizations } else { &self.refs };
            gap.contains(&source) && !known.is_some_and(|known| known.contains(step))
        };
        (self.users.contains(&source) && !seen.contains(&source)) || path.iter().any(unseen)
    }

    /// Whether what `reason` says of other sources than its own may still hold: any that is not known in
    /// full may be the domain through which it leads.
    pub fn may_stand_abroad(&self, reason: &Reason) -> bool {
        !self.none() && reason.leads_abroad()
    }

    /// Whether some source may give somebody a role without anybody having seen it. `seen`: the
    /// sources that list the person.
    pub fn may_give(&self, seen: &[&str]) -> bool {
        self.refs()
            || self.organizations()
            || self.users.iter().any(|source| !seen.contains(source))
    }

    fn is_gone(&self, source: &str) -> bool {
        !self.settings.sources.iter().any(|known| known.name == source)
    }
}

/// Whether `source`, whose content is `directory`, may hold an organization that a rule names, or a group of
/// one, and nobody ever saw whether it does. Of a part of the content only whether all organizations are known
/// can be said: the run before it has seen to the groups of each.
fn hides_organizations(
    settings: &Settings<'_>,
    source: &SourceTerms<'_>,
    directory: &Directory,
    extent: Extent,
) -> bool {
    let named = rules::organizations(settings, source);
    if named.is_empty() {
        return false;
    }
    let asked_for_groups = |alias: &str| named.iter().any(|it| it.groups && it.alias == alias);
    let groups_unseen = || {
        let organizations = directory.refs.iter().filter(|row| row.kind == Kind::Organization);
        organizations
            .filter(|row| asked_for_groups(directory.text(row.identity)))
            .any(|row| !directory.knows_groups_of(directory.text(row.key)))
    };
    !directory.proven.organizations || (extent == Extent::Whole && groups_unseen())
}

fn is_of_organization(step: &ExternalRef) -> bool {
    matches!(step.kind, RefKind::Directory(Kind::Organization | Kind::OrganizationGroup))
}
