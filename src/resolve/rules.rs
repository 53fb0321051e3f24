//! The configuration's rules, as seen by one source: what they can name, what they give.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexBuilder};

use crate::config::{Config, Mapping, MappingRule, SourceConfig};
use crate::model::{Mode, RoleIdx};
use crate::source::{Directory, Interest, Kind};

use super::roles::Roles;

/// LDAP's idea of equal names: case and repeated or outer spaces do not count.
#[must_use]
pub fn folded(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for word in name.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().flat_map(char::to_lowercase));
    }
    out
}

/// One mapping with its patterns made ready for the source.
struct Ready<'a> {
    mapping: &'a Mapping,
    regex: Option<Regex>,
    norm: String,
}

/// The rules that speak of one source.
pub struct Rules<'a> {
    config: &'a Config,
    source: &'a SourceConfig,
    fold: bool,
    mappings: Vec<Ready<'a>>,
    names: BTreeSet<String>,
    attributes: Vec<(String, String)>,
}

impl<'a> Rules<'a> {
    /// The rules of `config` that can speak of `source`.
    #[must_use]
    pub fn new(config: &'a Config, source: &'a SourceConfig) -> Self {
        let fold = source.kind.is_ldap();
        let key = |name: &str| if fold { folded(name) } else { name.to_owned() };
        let mut names = BTreeSet::new();
        for role in config.roles.values().filter(|role| !role.everyone) {
            names.extend(role.external_roles.iter().map(|name| key(name)));
        }
        let mut attributes = BTreeSet::new();
        let mappings = config
            .mappings
            .iter()
            .filter(|mapping| mapping.source.as_ref().is_none_or(|name| *name == source.name))
            .map(|mapping| {
                let mut regex = None;
                let mut norm = String::new();
                match &mapping.rule {
                    MappingRule::Group(identity) => norm = norm_of(identity, fold),
                    MappingRule::GroupRegex { regex: exact, .. } if fold => {
                        // Directories ignore case in names; a pattern that compiled compiles
                        // again with that one flag.
                        regex =
                            RegexBuilder::new(exact.as_str()).case_insensitive(true).build().ok();
                    }
                    MappingRule::GroupRegex { regex: exact, .. } => regex = Some(exact.clone()),
                    MappingRule::Attribute { name, value } => {
                        attributes.insert((name.clone(), value.clone()));
                    }
                    MappingRule::GroupPath(_)
                    | MappingRule::GroupName(_)
                    | MappingRule::RealmRole(_)
                    | MappingRule::ClientRole(_) => {}
                }
                Ready { mapping, regex, norm }
            })
            .collect();
        let attributes = attributes.into_iter().collect();
        Rules { config, source, fold, mappings, names, attributes }
    }

    /// The source's name.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source.name
    }

    fn protected(&self, role: &str) -> bool {
        self.config.guard.protected_roles.contains_key(role)
    }

    fn may_give(&self, role: &str) -> bool {
        self.source.grants.as_ref().is_none_or(|globs| globs.iter().any(|glob| glob.is_match(role)))
    }

    fn hits(&self, ready: &Ready<'_>, thing: &Thing<'_>) -> bool {
        let name = |wanted: &str| {
            if self.fold { folded(wanted) == folded(thing.name) } else { wanted == thing.name }
        };
        match &ready.mapping.rule {
            MappingRule::Group(_) => thing.kind == Kind::Group && ready.norm == thing.norm,
            MappingRule::GroupPath(path) => {
                thing.kind == Kind::Group
                    && !self.fold
                    && path.iter().map(String::as_str).eq(thing.path.iter().copied())
            }
            MappingRule::GroupName(wanted) => thing.kind == Kind::Group && name(wanted),
            MappingRule::GroupRegex { .. } => {
                thing.kind == Kind::Group
                    && ready.regex.as_ref().is_some_and(|regex| {
                        regex.is_match(thing.identity) || regex.is_match(thing.norm)
                    })
            }
            MappingRule::RealmRole(wanted) => thing.kind == Kind::RealmRole && wanted == thing.name,
            MappingRule::ClientRole(wanted) => {
                thing.kind == Kind::ClientRole && wanted == thing.identity
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
    crate::source::ldap::dn::normalize(identity).unwrap_or_else(|_| identity.to_owned())
}

struct Thing<'a> {
    kind: Kind,
    name: &'a str,
    identity: &'a str,
    norm: &'a str,
    path: &'a [&'a str],
}

impl Interest for Rules<'_> {
    fn reaches(&self, kind: Kind, name: &str, identity: &str, norm: &str, path: &[&str]) -> bool {
        let thing = Thing { kind, name, identity, norm, path };
        let named = || {
            if self.fold { self.names.contains(&folded(name)) } else { self.names.contains(name) }
        };
        let templated =
            || self.config.templates.iter().any(|template| template.regex.is_match(name));
        (kind != Kind::Attribute && !name.is_empty() && (named() || templated()))
            || self.mappings.iter().any(|ready| self.hits(ready, &thing))
    }

    fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }
}

/// What rules make of one source's containers: for each container the roles that it gives, each
/// with the rule's key.
pub struct Matched {
    /// Parallel to [`Directory::containers`].
    pub gives: Vec<Vec<(RoleIdx, String)>>,
    /// Numbers of the mappings that matched something.
    pub mappings_used: BTreeSet<usize>,
    /// External names of declared roles that matched something.
    pub names_used: BTreeSet<String>,
}

/// How many groups bear each name and each identity.
struct Counts {
    names: BTreeMap<String, u32>,
    identities: BTreeMap<String, u32>,
}

impl Counts {
    fn of(directory: &Directory) -> Self {
        let mut counts = Counts { names: BTreeMap::new(), identities: BTreeMap::new() };
        for group in directory.containers.iter().filter(|c| c.kind == Kind::Group) {
            let name = directory.text(group.name);
            let name = if directory.ignore_case { folded(name) } else { name.to_owned() };
            *counts.names.entry(name).or_default() += 1;
            *counts.identities.entry(directory.text(group.norm).to_owned()).or_default() += 1;
        }
        counts
    }
}

/// Names that templates may make roles of: roles of the source, and what mappings with a pattern
/// come to.
pub(super) fn templated_names(rules: &Rules<'_>, directory: &Directory) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let template = |name: &str| rules.config.templates.iter().any(|t| t.regex.is_match(name));
    for (index, container) in (0u32..).zip(&directory.containers) {
        let name = directory.text(container.name);
        match container.kind {
            Kind::RealmRole | Kind::ClientRole if !name.is_empty() && template(name) => {
                names.insert(name.to_owned());
            }
            Kind::RealmRole | Kind::ClientRole | Kind::Attribute => {}
            Kind::Group => {
                for ready in &rules.mappings {
                    if ready.regex.is_none() {
                        continue;
                    }
                    for target in targets(rules, ready, directory, index).into_iter().flatten() {
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

/// The roles that a mapping with a pattern gives to a group, captures filled in. `Err` names a
/// captured text that is refused.
fn targets(
    rules: &Rules<'_>,
    ready: &Ready<'_>,
    directory: &Directory,
    container: u32,
) -> Vec<Result<String, String>> {
    let Some(regex) = &ready.regex else { return Vec::new() };
    let Some(group) = directory.containers.get(container as usize) else { return Vec::new() };
    let captures = regex
        .captures(directory.text(group.identity))
        .or_else(|| regex.captures(directory.text(group.norm)).filter(|_| rules.fold));
    let Some(captures) = captures else { return Vec::new() };
    ready
        .mapping
        .roles
        .iter()
        .map(|role| {
            for name in regex.capture_names().flatten() {
                let Some(text) = captures.name(name).map(|text| text.as_str()) else { continue };
                if role.contains(&format!("${{{name}}}")) && !is_tame(text) {
                    return Err(format!("`${{{name}}}` would be `{}`", text.escape_debug()));
                }
            }
            let mut out = String::new();
            captures.expand(role, &mut out);
            Ok(out)
        })
        .collect()
}

/// Captured text may become part of a role's name: nothing that could widen a pattern.
fn is_tame(text: &str) -> bool {
    !text.is_empty()
        && !text
            .chars()
            .any(|c| matches!(c, '*' | '/' | '$') || c.is_whitespace() || c.is_control())
}

/// Lays the rules over a source's containers.
#[must_use]
pub fn matches(
    rules: &Rules<'_>,
    directory: &Directory,
    roles: &Roles,
    warnings: &mut BTreeSet<String>,
) -> Matched {
    let counts = Counts::of(directory);
    let mut matched = Matched {
        gives: vec![Vec::new(); directory.containers.len()],
        mappings_used: BTreeSet::new(),
        names_used: BTreeSet::new(),
    };
    let mut ambiguous: BTreeSet<String> = BTreeSet::new();
    for (index, container) in (0u32..).zip(&directory.containers) {
        let name = directory.text(container.name);
        let identity = directory.text(container.identity);
        let path = directory.path(index);
        let thing = Thing {
            kind: container.kind,
            name,
            identity,
            norm: directory.text(container.norm),
            path: &path,
        };
        let is_group = container.kind == Kind::Group;
        let bare = if rules.fold { folded(name) } else { name.to_owned() };
        let namesakes = is_group && counts.names.get(&bare).is_some_and(|count| *count > 1);
        let same_path = is_group && counts.identities.get(thing.norm).is_some_and(|n| *n > 1);
        let mut found: Vec<(RoleIdx, String)> = Vec::new();

        if !name.is_empty() && container.kind != Kind::Attribute {
            for (role, rule) in roles.given_by(name, rules.fold) {
                let role_name = role_name(roles, *role);
                matched.names_used.insert(bare.clone());
                if is_group && rules.protected(role_name) {
                    warnings.insert(format!(
                        "{}: group `{identity}` bears a name of the protected role `{role_name}`, \
                         which no bare name reaches: map the group by its whole identity",
                        rules.source()
                    ));
                } else if namesakes {
                    ambiguous.insert(bare.clone());
                } else {
                    found.push((*role, rule.clone()));
                }
            }
        }
        for ready in rules.mappings.iter().filter(|ready| rules.hits(ready, &thing)) {
            let number = ready.mapping.number;
            let rule = format!("mapping[{number}]");
            matched.mappings_used.insert(number);
            if namesakes && matches!(ready.mapping.rule, MappingRule::GroupName(_)) {
                ambiguous.insert(bare.clone());
                continue;
            }
            let by_path = matches!(
                ready.mapping.rule,
                MappingRule::Group(_) | MappingRule::GroupRegex { .. }
            );
            if same_path && by_path {
                warnings.insert(format!(
                    "{}: the path `{identity}` fits two groups: {rule} gives nothing through it; \
                     name the group with `group = [\"…\", \"…\"]`",
                    rules.source()
                ));
                continue;
            }
            let loose = matches!(
                ready.mapping.rule,
                MappingRule::GroupName(_)
                    | MappingRule::GroupRegex { .. }
                    | MappingRule::Attribute { .. }
            );
            let targets = if ready.regex.is_some() {
                targets(rules, ready, directory, index)
            } else {
                ready.mapping.roles.iter().cloned().map(Ok).collect()
            };
            for target in targets {
                let target = match target {
                    Ok(target) => target,
                    Err(why) => {
                        warnings.insert(format!(
                            "{}: {rule} does not take group `{}`: {why}, and text that a pattern \
                             captured may not hold `*`, `/`, `$`, white space or control characters",
                            rules.source(),
                            identity.escape_debug()
                        ));
                        continue;
                    }
                };
                match roles.find(&target, rules.fold) {
                    Some(role) if loose && rules.protected(role_name(roles, role)) => {
                        warnings.insert(format!(
                            "{}: {rule} would give the protected role `{target}` through group \
                             `{identity}`, which no pattern or bare name reaches: map the group by \
                             its whole identity",
                            rules.source()
                        ));
                    }
                    Some(role) => found.push((role, rule.clone())),
                    None => {
                        warnings.insert(format!(
                            "{}: {rule} comes to role `{}` for `{identity}`, which is neither \
                             declared nor made by a template: nothing granted",
                            rules.source(),
                            target.escape_debug()
                        ));
                    }
                }
            }
        }
        found.retain(|(role, rule)| {
            let name = role_name(roles, *role);
            let everyone = roles.defs.get(*role as usize).is_some_and(|role| role.everyone);
            if !rules.may_give(name) {
                warnings.insert(format!(
                    "{}: {rule} would give role `{name}` through {} `{identity}`, but the source's \
                     `grants` do not name it: nothing granted",
                    rules.source(),
                    container.kind.as_str(),
                ));
            }
            !everyone && rules.may_give(name)
        });
        found.sort();
        found.dedup();
        if let Some(slot) = matched.gives.get_mut(index as usize) {
            *slot = found;
        }
    }
    warnings.extend(ambiguous.iter().map(|bare| ambiguous_name(rules.source(), directory, bare)));
    matched
}

fn role_name(roles: &Roles, role: RoleIdx) -> &str {
    roles.defs.get(role as usize).map_or("", |role| role.name.as_str())
}

fn ambiguous_name(source: &str, directory: &Directory, bare: &str) -> String {
    let mut bearers: Vec<&str> = directory
        .containers
        .iter()
        .filter(|c| c.kind == Kind::Group)
        .filter(|c| {
            let name = directory.text(c.name);
            if directory.ignore_case { folded(name) == bare } else { name == bare }
        })
        .map(|c| directory.text(c.identity))
        .collect();
    bearers.sort_unstable();
    let mut shown: Vec<String> = bearers.iter().take(10).map(|b| format!("`{b}`")).collect();
    if let Some(more) = bearers.len().checked_sub(10).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    format!(
        "{source}: group name `{bare}` is ambiguous ({}): nothing granted through it; map the \
         group by its whole identity",
        shown.join(", ")
    )
}

/// Rules that matched nothing in any source that was looked at, as warnings.
pub fn unmatched(config: &Config, matched: &[Matched], warnings: &mut BTreeSet<String>) {
    for mapping in &config.mappings {
        if !matched.iter().any(|m| m.mappings_used.contains(&mapping.number)) {
            warnings.insert(format!(
                "mapping[{}], {}, matches nothing in any source",
                mapping.number, mapping.rule
            ));
        }
    }
    for (name, role) in &config.roles {
        if role.everyone || role.external_roles.is_empty() || role.mode == Mode::Ignore {
            continue;
        }
        let used = |external: &String| {
            matched.iter().any(|m| {
                m.names_used.contains(external) || m.names_used.contains(&folded(external))
            })
        };
        let missing: Vec<&String> =
            role.external_roles.iter().filter(|external| !used(external)).collect();
        if missing.len() == role.external_roles.len() {
            let names = missing.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            let mapped = config.mappings.iter().any(|m| m.roles.contains(name));
            if !mapped {
                warnings.insert(format!(
                    "roles.{name}: no role or group of any source is called {names}, and no \
                     mapping gives it: nobody can reach it"
                ));
            }
        }
    }
}
