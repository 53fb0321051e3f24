//! What can be told of sources without resolving anybody: names in doubt, and groups that a rule
//! names in whole and that are called otherwise now.

use std::collections::BTreeSet;

use crate::directory::{Directory, Kind, RefIdx, Within};
use crate::model::{Diagnostic, DiagnosticCode, ExternalRef, Role, Subject, TooMany};
use crate::policy::only_deny;

use super::matching::matches;
use super::roles::universe;
use super::rules::{Rules, Thing};
use super::settings::{MappingRule, Settings, SourceTerms};

/// A name in doubt that stands before roles.
#[derive(Clone, Debug)]
pub struct InDoubt {
    /// The source.
    pub source: String,
    /// The roles.
    pub roles: BTreeSet<String>,
    /// What bears the name.
    pub bearers: BTreeSet<ExternalRef>,
    /// What is in doubt, what that means, and what to do about it.
    pub told: Diagnostic,
}

/// What is in doubt in the sources, by name and content. `stored` are the store's roles: those that
/// templates once made are among them.
///
/// # Errors
/// There is more in doubt than can be numbered.
pub fn in_doubt(
    settings: &Settings<'_>,
    sources: &[(&str, &Directory)],
    stored: &[Role],
) -> Result<Vec<InDoubt>, TooMany> {
    let pairs: Vec<(Rules<'_>, &Directory)> = sources
        .iter()
        .filter_map(|(name, directory)| {
            Some((Rules::new(settings, *settings.source(name)?), *directory))
        })
        .collect();
    let mut unused = BTreeSet::new();
    let roles = universe(settings, &pairs, stored, true, &mut unused)?;
    let mut found = Vec::new();
    for (rules, directory) in &pairs {
        let matched = matches(rules, directory, &roles, &mut unused)?;
        for (number, doubt) in matched.doubts.list.numbered() {
            let doubted = matched.doubted.iter().filter(|(it, _)| *it == number);
            let names: BTreeSet<String> =
                doubted.map(|(_, role)| roles.name(*role).to_owned()).collect();
            if !names.is_empty() {
                found.push(InDoubt {
                    source: rules.source().to_owned(),
                    roles: names,
                    bearers: doubt.bearers().iter().map(|it| directory.external(*it)).collect(),
                    told: doubt.diagnostic(rules.source()),
                });
            }
        }
    }
    Ok(found)
}

/// Says of each group that a mapping names in whole, by path, DN or id, what it is called now, where
/// that changed between `old` and `new`.
#[must_use]
pub fn renamed_groups(
    settings: &Settings<'_>,
    source: SourceTerms<'_>,
    old: &Directory,
    new: &Directory,
) -> Vec<Diagnostic> {
    let rules = Rules::new(settings, source);
    let mut told = Vec::new();
    for (index, group) in old.refs.numbered() {
        if !matches!(group.kind, Kind::Group | Kind::OrganizationGroup) {
            continue;
        }
        let key = old.text(group.key);
        let now = new.find_ref(group.kind, key).map(|place| new.refs.at(place));
        let Some(now) = now.filter(|now| new.text(now.norm) != old.text(group.norm)) else {
            continue;
        };
        let path = old.path(index);
        let thing = Thing::of(old, group, &path);
        for ready in rules.mappings.iter().filter(|ready| rules.hits(ready, &thing)) {
            let advice = match &ready.mapping.rule {
                MappingRule::GroupId(_) | MappingRule::OrganizationGroupId { .. } => {
                    "the rule goes on by its id".to_owned()
                }
                MappingRule::Group(_) | MappingRule::GroupPath(_) => {
                    format!("name it so, or by `group_id = \"{key}\"`, which survives renames")
                }
                MappingRule::OrganizationGroup(_) | MappingRule::OrganizationGroupPath { .. } => {
                    let organization = ready.mapping.rule.organization();
                    let (alias, _) = organization.unwrap_or_default();
                    format!(
                        "name it so, or by `{{ organization = \"{alias}\", id = \"{key}\" }}`, which \
                         survives renames"
                    )
                }
                _ => continue,
            };
            let message = format!(
                "{} `{}`, which mapping[{}] names in whole, is called `{}` now: {advice}",
                group.kind.as_str(),
                thing.identity.escape_debug(),
                ready.mapping.number,
                new.text(now.identity).escape_debug()
            );
            let subject =
                Subject::Reference(ExternalRef::new(group.kind, key, new.text(now.identity)));
            let one = Diagnostic::warning(DiagnosticCode::GroupRenamed, subject, message);
            told.push(one.said_by(source.name));
        }
    }
    told
}

/// Whether a role that only denies is given to those in one of these refs, or in what they
/// lead to.
///
/// # Errors
/// There is more in doubt than can be numbered.
pub fn may_deny(
    settings: &Settings<'_>,
    source: SourceTerms<'_>,
    directory: &Directory,
    stored: &[Role],
    refs: &[RefIdx],
) -> Result<bool, TooMany> {
    let pairs = [(Rules::new(settings, source), directory)];
    let mut unused = BTreeSet::new();
    let roles = universe(settings, &pairs, stored, true, &mut unused)?;
    let [(rules, _)] = &pairs;
    let matched = matches(rules, directory, &roles, &mut unused)?;
    let mut seen: BTreeSet<RefIdx> = BTreeSet::new();
    let mut open = refs.to_vec();
    while let Some(next) = open.pop() {
        if !seen.insert(next) {
            continue;
        }
        if matched.gives.at(next).iter().any(|given| roles.only_denies(given.role)) {
            return Ok(true);
        }
        open.extend(directory.implies.at(next));
    }
    Ok(false)
}

/// What a group, an organization or a group of one that a mirror does not have yet means for somebody who is in
/// it, told from its bare name: more than that it gives nothing yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewGroup {
    /// Nothing more.
    Nothing,
    /// A role that only denies hangs on the name.
    Denies,
    /// A rule names a group so, and the mirror has one: the name is in doubt now.
    InDoubt,
}

/// Looks at what somebody is in and `directory` does not have. Things of other kinds mean nothing more, nor
/// does what the source tells no name of.
#[must_use]
pub fn new_group(
    settings: &Settings<'_>,
    source: SourceTerms<'_>,
    directory: &Directory,
    within: &Within,
) -> NewGroup {
    let rules = Rules::new(settings, source);
    match (within.kind, &within.name) {
        (Kind::Group, Some(name)) => new_realm_group(&rules, directory, (&within.key, name)),
        (Kind::Organization | Kind::OrganizationGroup, Some(name)) => {
            if organization_denies(&rules, within, name) {
                NewGroup::Denies
            } else {
                NewGroup::Nothing
            }
        }
        _ => NewGroup::Nothing,
    }
}

/// Whether a role that only denies hangs on an organization of this alias, or on a group of some organization
/// whose own name may be this.
fn organization_denies(rules: &Rules<'_>, within: &Within, name: &str) -> bool {
    let kind = within.kind;
    let may_name = |rule: &MappingRule| match rule {
        MappingRule::Organization(alias) => kind == Kind::Organization && alias == name,
        MappingRule::OrganizationGroup(group) => {
            kind == Kind::OrganizationGroup && group.ends_with(&format!("/{name}"))
        }
        MappingRule::OrganizationGroupPath { names, .. } => {
            kind == Kind::OrganizationGroup && names.last().is_some_and(|last| last == name)
        }
        MappingRule::OrganizationGroupId { id, .. } => {
            kind == Kind::OrganizationGroup && id.eq_ignore_ascii_case(&within.key)
        }
        _ => false,
    };
    let denies = |role: &String| {
        rules.settings.roles.get(role).is_some_and(|role| only_deny(&role.policies))
    };
    let mappings = rules.mappings.iter().map(|ready| ready.mapping);
    mappings.filter(|it| may_name(&it.rule)).any(|it| it.roles.iter().any(denies))
}

fn new_realm_group(
    rules: &Rules<'_>,
    directory: &Directory,
    (key, name): (&str, &str),
) -> NewGroup {
    let settings = rules.settings;
    let bare = rules.bare(name);
    let mut named = false;
    let mut denies = false;
    for (role, declared) in settings.roles {
        let mut maps = settings.mappings.iter().filter(|mapping| mapping.roles.contains(role));
        let by_name = declared.external_roles.iter().any(|it| rules.bare(it) == bare)
            || maps.any(|mapping| {
                mapping.source.as_ref().is_none_or(|it| *it == rules.source())
                    && matches!(&mapping.rule, MappingRule::GroupName(it) if rules.bare(it) == bare)
            });
        named |= by_name;
        denies |= by_name && only_deny(&declared.policies);
    }
    named |= settings.templates.iter().any(|template| template.regex.is_match(name));
    let other = |group: &crate::directory::RefRow| {
        group.kind == Kind::Group
            && directory.text(group.key) != key
            && rules.bare(directory.text(group.name)) == bare
    };
    if denies {
        NewGroup::Denies
    } else if named && directory.refs.iter().any(other) {
        NewGroup::InDoubt
    } else {
        NewGroup::Nothing
    }
}
