//! What the rules give to a source's groups, roles and attribute values.
//!
//! Three things are decided here, each in a function of its own, since each keeps somebody out: what
//! may not reach a protected role ([`Matcher::reaches`]), what a source may not give
//! ([`Matcher::may_give`]), and what a name in doubt gives ([`Matcher::doubtful`]).

use std::collections::BTreeSet;

use crate::directory::{Directory, Kind};
use crate::model::{Mode, RoleIdx};

use super::doubt::Doubts;
use super::roles::Roles;
use super::rules::{Ready, Rules, Thing, folded};
use super::settings::{MappingRule, Settings};

/// A role that a reference gives to those in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Given {
    /// The role.
    pub role: RoleIdx,
    /// The rule's key in the configuration.
    pub rule: String,
    /// The rule reaches the reference by a name in doubt (its number): nobody gains the role so,
    /// and who holds it through that name keeps it.
    pub doubt: Option<u32>,
}

/// What rules make of one source's refs.
#[derive(Debug, Default)]
pub struct Matched {
    /// Parallel to [`Directory::refs`].
    pub gives: Vec<Vec<Given>>,
    /// What is in doubt in the source, whether or not a rule names it.
    pub doubts: Doubts,
    /// The doubts that stand before a role, with the roles.
    pub doubted: BTreeSet<(u32, RoleIdx)>,
    /// Numbers of the mappings that matched something.
    pub mappings_used: BTreeSet<usize>,
    /// External names of declared roles that matched something.
    pub names_used: BTreeSet<String>,
}

/// By what a rule reaches a thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// Its bare name.
    Name,
    /// A pattern, or what people write about themselves.
    Pattern,
    /// A path in which a name holds a slash, so that it reads like another group's.
    SlashedPath,
    /// Itself: a group in whole, or a role of the IdP.
    Itself,
}

struct Matcher<'a> {
    rules: &'a Rules<'a>,
    directory: &'a Directory,
    roles: &'a Roles,
    warnings: &'a mut BTreeSet<String>,
    matched: Matched,
}

/// Lays the rules over a source's refs.
#[must_use]
pub fn matches(
    rules: &Rules<'_>,
    directory: &Directory,
    roles: &Roles,
    warnings: &mut BTreeSet<String>,
) -> Matched {
    let doubts = Doubts::of(directory);
    let gives = Vec::with_capacity(directory.refs.len());
    let matched = Matched { gives, doubts, ..Matched::default() };
    let mut matcher = Matcher { rules, directory, roles, warnings, matched };
    for (index, reference) in (0u32..).zip(&directory.refs) {
        let path = directory.path(index);
        let thing = Thing {
            kind: reference.kind,
            key: directory.text(reference.key),
            name: directory.text(reference.name),
            identity: directory.text(reference.identity),
            norm: directory.text(reference.norm),
            path: &path,
        };
        let mut found = Vec::new();
        matcher.by_bare_name(&thing, &mut found);
        for ready in rules.mappings.iter().filter(|ready| rules.hits(ready, &thing)) {
            matcher.by_mapping(ready, index, &thing, &mut found);
        }
        found.retain(|given| matcher.may_give(given, &thing));
        found.sort();
        found.dedup();
        matcher.matched.gives.push(found);
    }
    let Matcher { matched, warnings, .. } = matcher;
    let told: BTreeSet<u32> = matched.doubted.iter().map(|(doubt, _)| *doubt).collect();
    for doubt in told.iter().filter_map(|doubt| matched.doubts.list.get(*doubt as usize)) {
        warnings.insert(doubt.sentence(rules.source()));
    }
    matched
}

impl Matcher<'_> {
    /// What a group or a role of the IdP gives by its bare name.
    fn by_bare_name(&mut self, thing: &Thing<'_>, found: &mut Vec<Given>) {
        if thing.name.is_empty() || thing.kind == Kind::Attribute {
            return;
        }
        let is_group = thing.kind == Kind::Group;
        let bare = self.rules.bare(thing.name);
        let doubt = self.matched.doubts.about_name(&bare).filter(|_| is_group);
        let by = if is_group { By::Name } else { By::Itself };
        let roles = self.roles;
        for (role, rule) in roles.given_by(thing.name, self.rules.fold) {
            self.matched.names_used.insert(bare.clone());
            if self.reaches(by, *role, rule, thing) {
                let doubt = self.doubtful(doubt, *role);
                found.push(Given { role: *role, rule: rule.clone(), doubt });
            }
        }
    }

    /// What a mapping that names the thing gives.
    fn by_mapping(
        &mut self,
        ready: &Ready<'_>,
        index: u32,
        thing: &Thing<'_>,
        found: &mut Vec<Given>,
    ) {
        let rule = format!("mapping[{}]", ready.mapping.number);
        self.matched.mappings_used.insert(ready.mapping.number);
        let doubts = &self.matched.doubts;
        let doubt = match &ready.mapping.rule {
            MappingRule::GroupName(_) => doubts.about_name(&self.rules.bare(thing.name)),
            MappingRule::Group(_) | MappingRule::GroupRegex { .. } | MappingRule::ClientRole(_) => {
                doubts.about_identity(thing.kind, thing.identity)
            }
            MappingRule::GroupPath(_)
            | MappingRule::GroupId(_)
            | MappingRule::RealmRole(_)
            | MappingRule::ClientRoleOf { .. }
            | MappingRule::Attribute { .. } => None,
        };
        let slashed = || thing.path.iter().any(|name| name.contains('/'));
        let by = match &ready.mapping.rule {
            MappingRule::GroupName(_) => By::Name,
            _ if ready.is_loose() => By::Pattern,
            MappingRule::Group(_) if !self.rules.fold && slashed() => By::SlashedPath,
            _ => By::Itself,
        };
        for target in ready.targets(self.rules, self.directory, index) {
            let target = match target {
                Ok(target) => target,
                Err(why) => {
                    self.warnings.insert(format!(
                        "{}: {rule}: group {why}: what a pattern captures may not hold `*`, `/`, \
                         `$`, white space, control or format characters",
                        self.rules.source()
                    ));
                    continue;
                }
            };
            let Some(role) = self.roles.find(&target, self.rules.fold) else {
                self.warnings.insert(format!(
                    "{}: {rule} comes to role `{}` for `{}`, which is neither declared nor made \
                     by a template: nothing granted",
                    self.rules.source(),
                    target.escape_debug(),
                    thing.identity
                ));
                continue;
            };
            if self.reaches(by, role, &rule, thing) {
                let doubt = self.doubtful(doubt, role);
                found.push(Given { role, rule: rule.clone(), doubt });
            }
        }
    }

    /// Whether a rule that reaches a thing in this way may give the role through it: a protected
    /// role is given by an IdP role or by a group that is named in whole, and by nothing that
    /// somebody could name or write.
    fn reaches(&mut self, by: By, role: RoleIdx, rule: &str, thing: &Thing<'_>) -> bool {
        if by == By::Itself || !self.roles.is_protected(role) {
            return true;
        }
        let what = match by {
            By::Name => "no bare name reaches: map the group by its whole identity",
            By::SlashedPath => {
                "no path reaches in which a group's name holds a slash: name the group with \
                 `group = [\"…\", \"…\"]`, or by its `group_id`"
            }
            By::Pattern | By::Itself => {
                "no pattern and no attribute reaches: map a group by its whole identity"
            }
        };
        self.warnings.insert(format!(
            "{}: {rule} would give the protected role `{}` through {} `{}`, which {what}",
            self.rules.source(),
            self.roles.name(role),
            thing.kind.as_str(),
            thing.identity.escape_debug()
        ));
        false
    }

    /// The doubt that stands before `role`, of a rule whose name is in `doubt`. None before a role
    /// that only denies: it is held by the members of all bearers.
    fn doubtful(&mut self, doubt: Option<u32>, role: RoleIdx) -> Option<u32> {
        let number = doubt?;
        self.matched.doubted.insert((number, role));
        doubt.filter(|_| !self.roles.only_denies(role))
    }

    /// Whether the source's `grants` have the role. Nobody needs a grant of an `everyone` role.
    fn may_give(&mut self, given: &Given, thing: &Thing<'_>) -> bool {
        let name = self.roles.name(given.role);
        if !self.rules.may_give(name) {
            self.warnings.insert(format!(
                "{}: {} would give role `{name}` through {} `{}`, but the source's `grants` do not \
                 name it: nothing granted",
                self.rules.source(),
                given.rule,
                thing.kind.as_str(),
                thing.identity
            ));
            return false;
        }
        !self.roles.is_everyone(given.role)
    }
}

/// Rules that matched nothing in any source that was looked at, as warnings.
pub fn unmatched(settings: &Settings<'_>, matched: &[Matched], warnings: &mut BTreeSet<String>) {
    for mapping in settings.mappings {
        if !matched.iter().any(|m| m.mappings_used.contains(&mapping.number)) {
            warnings.insert(format!(
                "mapping[{}], {}, matches nothing in any source",
                mapping.number, mapping.rule
            ));
        }
    }
    // Where there is no identity provider every role is given by hand.
    let given = settings.roles.iter().filter(|_| settings.has_idp());
    for (name, role) in given {
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
            let mapped = settings.mappings.iter().any(|m| m.roles.contains(name));
            if !mapped {
                warnings.insert(format!(
                    "roles.{name}: no role or group of any source is called {names}, and no \
                     mapping gives it: nobody can reach it"
                ));
            }
        }
    }
}
