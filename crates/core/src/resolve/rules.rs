//! The configuration's rules, as seen by one source: what they can name, what they give.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::settings::{Mapping, MappingRule, Names, Settings, SourceTerms};
use super::template::TemplateError;
use super::template::expand;
use crate::directory::{
    Directory, Interest, Kind, OrganizationInterest, RefIdx, RefRow, dn, organization_group,
    split_organization_group, value,
};
use crate::model::{ExternalRef, Role};

/// A name as directories compare it: case, width, repeated and outer spaces do not count.
#[must_use]
pub fn folded(name: &str) -> String {
    value::folded(name).into_owned()
}

/// One mapping with its patterns made ready for the source.
pub(super) struct Ready<'a> {
    pub mapping: &'a Mapping,
    regex: Option<&'a Regex>,
    norm: String,
}

impl Ready<'_> {
    /// Whether it reaches things by what they are called, or by what people write about
    /// themselves: not a protected role, then.
    pub fn is_loose(&self) -> bool {
        matches!(
            self.mapping.rule,
            MappingRule::GroupName(_)
                | MappingRule::GroupRegex { .. }
                | MappingRule::Attribute { .. }
        )
    }

    /// The roles that it gives to the group `reference`, captures filled in. `Err` says which
    /// captured text is refused, and why.
    pub fn targets(
        &self,
        rules: &Rules<'_>,
        directory: &Directory,
        reference: RefIdx,
    ) -> Vec<Result<String, TemplateError>> {
        let Some(regex) = self.regex else {
            return self.mapping.roles.iter().cloned().map(Ok).collect();
        };
        let group = directory.refs.at(reference);
        let norm = || Some(directory.text(group.norm)).filter(|_| rules.fold);
        let filled = |role: &String| {
            expand(role, regex, directory.text(group.identity))
                .or_else(|| expand(role, regex, norm()?))
        };
        self.mapping.roles.iter().filter_map(filled).collect()
    }
}

/// The rules that speak of one source.
pub struct Rules<'a> {
    pub(super) settings: &'a Settings<'a>,
    source: SourceTerms<'a>,
    /// Names compare as directories compare them; exactly otherwise.
    pub(super) fold: bool,
    pub(super) mappings: Vec<Ready<'a>>,
    names: BTreeSet<String>,
    attributes: Vec<(String, String)>,
    organizations: Vec<OrganizationInterest>,
}

/// Whether a mapping can speak of a source.
fn speaks_of(mapping: &Mapping, source: &SourceTerms<'_>) -> bool {
    mapping.source.as_ref().is_none_or(|name| *name == source.name)
}

/// The organizations of `source` of which rules name something, by alias. A directory has none.
pub(super) fn organizations(
    settings: &Settings<'_>,
    source: &SourceTerms<'_>,
) -> Vec<OrganizationInterest> {
    if source.names == Names::Folded {
        return Vec::new();
    }
    let mut named: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for mapping in settings.mappings.iter().filter(|mapping| speaks_of(mapping, source)) {
        if let Some((alias, a_group)) = mapping.rule.organization() {
            let (members, groups) = named.entry(alias).or_default();
            *(if a_group { groups } else { members }) = true;
        }
    }
    let interest = |(alias, (members, groups)): (&str, (bool, bool))| OrganizationInterest {
        alias: alias.to_owned(),
        members,
        groups,
    };
    named.into_iter().map(interest).collect()
}

impl<'a> Rules<'a> {
    /// The rules of `settings` that can speak of `source`.
    #[must_use]
    pub fn new(settings: &'a Settings<'a>, source: SourceTerms<'a>) -> Self {
        let fold = source.names == Names::Folded;
        let key = |name: &str| compared(name, fold);
        let mut names = BTreeSet::new();
        for role in settings.roles.values().filter(|role| !role.everyone) {
            names.extend(role.external_roles.iter().map(|name| key(name)));
        }
        let mut attributes = BTreeSet::new();
        let mappings = settings
            .mappings
            .iter()
            .filter(|mapping| speaks_of(mapping, &source))
            .map(|mapping| {
                let mut regex = None;
                let mut norm = String::new();
                match &mapping.rule {
                    MappingRule::Group(identity) => norm = norm_of(identity, fold),
                    MappingRule::GroupRegex { regex: exact, folded, .. } => {
                        regex = Some(if fold { folded } else { exact });
                    }
                    MappingRule::Attribute { name, value } => {
                        attributes.insert((name.clone(), value.clone()));
                    }
                    MappingRule::GroupPath(_)
                    | MappingRule::GroupId(_)
                    | MappingRule::GroupName(_)
                    | MappingRule::Organization(_)
                    | MappingRule::OrganizationGroup(_)
                    | MappingRule::OrganizationGroupPath { .. }
                    | MappingRule::OrganizationGroupId { .. }
                    | MappingRule::RealmRole(_)
                    | MappingRule::ClientRole(_)
                    | MappingRule::ClientRoleOf { .. } => {}
                }
                Ready { mapping, regex, norm }
            })
            .collect();
        let attributes = attributes.into_iter().collect();
        let organizations = organizations(settings, &source);
        Rules { settings, source, fold, mappings, names, attributes, organizations }
    }

    /// The source's name.
    #[must_use]
    pub fn source(&self) -> &str {
        self.source.name
    }

    /// Whether its people are added by hand: nothing else is to be known of them.
    pub(super) fn is_by_hand(&self) -> bool {
        self.source.by_hand
    }

    /// Whether the source's `grants` let it give `role`.
    pub(super) fn may_give(&self, role: &str) -> bool {
        self.source.grants.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.is_match(role)))
    }

    /// A bare name in the form in which this source's names compare.
    pub(super) fn bare(&self, name: &str) -> String {
        compared(name, self.fold)
    }

    /// Whether a mapping names `thing`.
    pub(super) fn hits(&self, ready: &Ready<'_>, thing: &Thing<'_>) -> bool {
        let name = |wanted: &str| self.bare(wanted) == self.bare(thing.name);
        match &ready.mapping.rule {
            MappingRule::Group(_) => thing.kind == Kind::Group && ready.norm == thing.norm,
            MappingRule::GroupPath(path) => {
                thing.kind == Kind::Group
                    && !self.fold
                    && path.iter().map(String::as_str).eq(thing.path.iter().copied())
            }
            MappingRule::GroupId(id) => {
                thing.kind == Kind::Group && id.eq_ignore_ascii_case(thing.key)
            }
            MappingRule::GroupName(wanted) => thing.kind == Kind::Group && name(wanted),
            MappingRule::GroupRegex { .. } => {
                thing.kind == Kind::Group
                    && ready.regex.is_some_and(|regex| {
                        regex.is_match(thing.identity) || regex.is_match(thing.norm)
                    })
            }
            MappingRule::Organization(alias) => {
                thing.kind == Kind::Organization && !self.fold && alias == thing.identity
            }
            MappingRule::OrganizationGroup(group) => {
                thing.kind == Kind::OrganizationGroup && !self.fold && group == thing.identity
            }
            MappingRule::OrganizationGroupPath { alias, names } => {
                thing.kind == Kind::OrganizationGroup
                    && !self.fold
                    && names.iter().map(String::as_str).eq(thing.path.iter().copied())
                    && organization_group(alias, thing.path) == thing.identity
            }
            // What is above all groups bears the organization's id, and no name.
            MappingRule::OrganizationGroupId { alias, id } => {
                thing.kind == Kind::OrganizationGroup
                    && !self.fold
                    && !thing.name.is_empty()
                    && id.eq_ignore_ascii_case(thing.key)
                    && split_organization_group(thing.identity).is_some_and(|(it, _)| it == alias)
            }
            MappingRule::RealmRole(wanted) => thing.kind == Kind::RealmRole && wanted == thing.name,
            MappingRule::ClientRole(wanted) => {
                thing.kind == Kind::ClientRole && wanted == thing.identity
            }
            MappingRule::ClientRoleOf { client, role } => {
                thing.kind == Kind::ClientRole
                    && role == thing.name
                    && thing
                        .identity
                        .strip_suffix(role.as_str())
                        .and_then(|it| it.strip_suffix('/'))
                        == Some(client)
            }
            MappingRule::Attribute { name, value } => {
                thing.kind == Kind::Attribute
                    && thing.identity.split_once('=').is_some_and(|(n, v)| n == name && v == value)
            }
        }
    }
}

/// A group as rules compare it: the normalised DN, or a path as written.
fn norm_of(identity: &str, fold: bool) -> String {
    if !fold {
        return identity.to_owned();
    }
    dn::normalize(identity).unwrap_or_else(|_| identity.to_owned())
}

/// A bare name in the form in which names compare.
fn compared(name: &str, fold: bool) -> String {
    if fold { folded(name) } else { name.to_owned() }
}

/// What a rule may name, with the fields of [`crate::directory::RefRow`].
pub(super) struct Thing<'a> {
    pub kind: Kind,
    pub key: &'a str,
    pub name: &'a str,
    pub identity: &'a str,
    pub norm: &'a str,
    pub path: &'a [&'a str],
}

impl<'a> Thing<'a> {
    /// A row of a directory, whose path is `path`.
    pub fn of(directory: &'a Directory, row: &RefRow, path: &'a [&'a str]) -> Self {
        Thing {
            kind: row.kind,
            key: directory.text(row.key),
            name: directory.text(row.name),
            identity: directory.text(row.identity),
            norm: directory.text(row.norm),
            path,
        }
    }

    /// As what is told of it says what it is.
    pub fn external(&self) -> ExternalRef {
        ExternalRef::new(self.kind, self.key, self.identity)
    }
}

impl Interest for Rules<'_> {
    fn reaches(
        &self,
        kind: Kind,
        key: &str,
        name: &str,
        identity: &str,
        norm: &str,
        path: &[&str],
    ) -> bool {
        let thing = Thing { kind, key, name, identity, norm, path };
        let named = || self.names.contains(&self.bare(name));
        let templated =
            || self.settings.templates.iter().any(|template| template.regex.is_match(name));
        (kind.has_bare_name() && !name.is_empty() && (named() || templated()))
            || self.mappings.iter().any(|ready| self.hits(ready, &thing))
    }

    fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    fn organizations(&self) -> &[OrganizationInterest] {
        &self.organizations
    }
}

/// The bare names, folded, by which rules give something in any source. `stored` are the roles there are:
/// those that templates made bear the names that give them.
#[must_use]
pub fn bare_names(settings: &Settings<'_>, stored: &[Role]) -> BTreeSet<String> {
    let declared = settings.roles.values().filter(|role| !role.everyone);
    let declared = declared.flat_map(|role| &role.external_roles);
    let made = stored.iter().filter(|role| role.template.is_some()).map(|role| &role.name);
    let mapped = settings.mappings.iter().filter_map(|mapping| match &mapping.rule {
        MappingRule::GroupName(name) => Some(name),
        _ => None,
    });
    declared.chain(made).chain(mapped).map(|name| folded(name)).collect()
}

/// Names that templates may make roles of: roles of the source, and what mappings with a pattern
/// come to.
pub(super) fn templated_names(rules: &Rules<'_>, directory: &Directory) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let template = |name: &str| rules.settings.templates.iter().any(|t| t.regex.is_match(name));
    for (index, reference) in directory.refs.numbered() {
        let name = directory.text(reference.name);
        match reference.kind {
            Kind::RealmRole | Kind::ClientRole if !name.is_empty() && template(name) => {
                names.insert(name.to_owned());
            }
            Kind::RealmRole
            | Kind::ClientRole
            | Kind::Attribute
            | Kind::ForeignPrincipal
            | Kind::Organization
            | Kind::OrganizationGroup => {}
            Kind::Group => {
                for ready in &rules.mappings {
                    if ready.regex.is_none() {
                        continue;
                    }
                    for target in ready.targets(rules, directory, index).into_iter().flatten() {
                        let target = if rules.fold { target.to_lowercase() } else { target };
                        if template(&target) {
                            names.insert(target);
                        }
                    }
                }
            }
        }
    }
    for ready in rules.mappings.iter().filter(|ready| ready.regex.is_none()) {
        names.extend(ready.mapping.roles.iter().filter(|name| template(name)).cloned());
    }
    names
}
