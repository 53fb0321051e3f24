//! What the rules name: every role that a rule comes to for a thing, and by what the rule reaches the
//! thing. Nothing is kept out here.

use crate::directory::{Directory, Kind, RefIdx};
use crate::model::RoleIdx;
use crate::resolve::template::TemplateError;

use super::SourceMatches;
use crate::resolve::doubt::{DoubtIdx, Doubts};
use crate::resolve::roles::Roles;
use crate::resolve::rules::{Ready, Rules, Thing};
use crate::resolve::settings::MappingRule;

/// By what a rule reaches a thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// Its bare name.
    Name,
    /// A pattern, or what people write about themselves.
    Pattern,
    /// A path in which a name holds a slash, so that it reads like another group's.
    SlashedPath,
    /// Itself: a group in whole, or a role of the IdP.
    Itself,
}

/// Why a rule comes to no role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NoRole {
    /// What its pattern captures may not stand in a role's name; why.
    Captured(TemplateError),
    /// It comes to this name, which is neither declared nor made by a template.
    Unknown(String),
}

/// A role that a rule might give to those in a thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    /// The rule's key in the configuration.
    pub rule: String,
    /// By what it reaches the thing.
    pub by: By,
    /// The role that it comes to.
    pub role: Result<RoleIdx, NoRole>,
    /// What it names the thing by is in doubt: the doubt's number.
    pub doubt: Option<DoubtIdx>,
}

/// Looks for candidates in one source.
pub(super) struct Candidates<'a> {
    pub rules: &'a Rules<'a>,
    pub directory: &'a Directory,
    pub roles: &'a Roles,
    pub doubts: &'a Doubts,
}

impl Candidates<'_> {
    /// Those of the thing at `index`. Which rules matched something is noted in `matched`.
    pub fn of(
        &self,
        index: RefIdx,
        thing: &Thing<'_>,
        matched: &mut SourceMatches,
    ) -> Vec<Candidate> {
        let mut found = Vec::new();
        self.by_bare_name(thing, matched, &mut found);
        for ready in self.rules.mappings.iter().filter(|it| self.rules.hits(it, thing)) {
            matched.mappings_used.insert(ready.mapping.number);
            self.by_mapping(ready, index, thing, &mut found);
        }
        found
    }

    /// What a group or a role of the IdP might give by its bare name.
    fn by_bare_name(
        &self,
        thing: &Thing<'_>,
        matched: &mut SourceMatches,
        found: &mut Vec<Candidate>,
    ) {
        if thing.name.is_empty() || !thing.kind.has_bare_name() {
            return;
        }
        let is_group = thing.kind == Kind::Group;
        let bare = self.rules.bare(thing.name);
        let doubt = self.doubts.about_name(&bare).filter(|_| is_group);
        let by = if is_group { By::Name } else { By::Itself };
        for (role, rule) in self.roles.given_by(thing.name, self.rules.fold) {
            matched.names_used.insert(bare.clone());
            found.push(Candidate { rule: rule.clone(), by, role: Ok(*role), doubt });
        }
    }

    /// What a mapping that names the thing might give.
    fn by_mapping(
        &self,
        ready: &Ready<'_>,
        index: RefIdx,
        thing: &Thing<'_>,
        found: &mut Vec<Candidate>,
    ) {
        let by = self.reached_by(ready, thing);
        let doubt = self.doubt_about(&ready.mapping.rule, thing);
        for target in ready.targets(self.rules, self.directory, index) {
            let role = target.map_err(NoRole::Captured).and_then(|name| {
                let known = self.roles.find(&name, self.rules.fold);
                known.ok_or(NoRole::Unknown(name))
            });
            let rule = ready.mapping.key();
            found.push(Candidate { rule, by, role, doubt });
        }
    }

    fn reached_by(&self, ready: &Ready<'_>, thing: &Thing<'_>) -> By {
        let slashed = || thing.path.iter().any(|name| name.contains('/'));
        match &ready.mapping.rule {
            MappingRule::GroupName(_) => By::Name,
            _ if ready.is_loose() => By::Pattern,
            MappingRule::Group(_) | MappingRule::OrganizationGroup(_)
                if !self.rules.fold && slashed() =>
            {
                By::SlashedPath
            }
            _ => By::Itself,
        }
    }

    fn doubt_about(&self, rule: &MappingRule, thing: &Thing<'_>) -> Option<DoubtIdx> {
        match rule {
            MappingRule::GroupName(_) => self.doubts.about_name(&self.rules.bare(thing.name)),
            MappingRule::Group(_)
            | MappingRule::GroupRegex { .. }
            | MappingRule::ClientRole(_)
            | MappingRule::Organization(_)
            | MappingRule::OrganizationGroup(_) => {
                self.doubts.about_identity(thing.kind, thing.identity)
            }
            MappingRule::GroupPath(_)
            | MappingRule::GroupId(_)
            | MappingRule::OrganizationGroupPath { .. }
            | MappingRule::OrganizationGroupId { .. }
            | MappingRule::RealmRole(_)
            | MappingRule::ClientRoleOf { .. }
            | MappingRule::Attribute { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kit::Kit;
    use super::*;

    /// Rule, by what it reaches the thing, the role, and whether that is in doubt.
    fn of(kit: &Kit, identity: &str) -> Vec<String> {
        let mut found = Vec::new();
        kit.each(identity, |Candidate { rule, by, role, doubt }, _, _, roles| {
            let role = match role {
                Ok(role) => roles.name(*role).to_owned(),
                Err(NoRole::Captured(_)) => "(captured)".to_owned(),
                Err(NoRole::Unknown(name)) => format!("(no {name})"),
            };
            let doubt = if doubt.is_some() { ", in doubt" } else { "" };
            found.push(format!("{rule} by {by:?}: {role}{doubt}"));
        });
        found.sort();
        found
    }

    #[test]
    fn a_protected_role_is_found_with_what_it_is_reached_by() {
        let kit = Kit::new(&[
            (Kind::Group, "ops", "/ops"),
            (Kind::RealmRole, "ops", "ops"),
            (Kind::Group, "top/ops", "/top/ops"),
            (Kind::Group, "any", "/any"),
            (Kind::Attribute, "boss", "title=boss"),
        ]);
        assert_eq!(of(&kit, "/ops"), ["roles.admin by Name: admin"]);
        assert_eq!(of(&kit, "ops"), ["roles.admin by Itself: admin"]);
        assert_eq!(of(&kit, "/top/ops"), ["mapping[2] by SlashedPath: admin"]);
        assert_eq!(of(&kit, "/any"), ["mapping[3] by Pattern: admin"]);
        assert_eq!(
            of(&kit, "title=boss"),
            ["mapping[4] by Pattern: admin", "mapping[4] by Pattern: all"]
        );
    }

    #[test]
    fn a_role_beyond_the_sources_grants_is_found() {
        let kit = Kit::new(&[(Kind::RealmRole, "beyond", "beyond")]);
        assert_eq!(of(&kit, "beyond"), ["roles.beyond by Itself: beyond"]);
    }

    #[test]
    fn a_name_that_two_groups_bear_is_in_doubt_and_a_roles_name_never() {
        let kit = Kit::new(&[
            (Kind::Group, "ml", "/a/ml"),
            (Kind::Group, "ml", "/b/ml"),
            (Kind::RealmRole, "ml", "ml"),
        ]);
        let doubted = ["roles.ml by Name: ml, in doubt", "roles.no by Name: no, in doubt"];
        assert_eq!(of(&kit, "/a/ml"), doubted);
        assert_eq!(of(&kit, "/b/ml"), doubted);
        assert_eq!(of(&kit, "ml"), ["roles.ml by Itself: ml", "roles.no by Itself: no"]);
    }

    #[test]
    fn an_organization_and_its_groups_are_reached_by_no_bare_name_and_no_pattern() {
        let kit = Kit::new(&[
            (Kind::Organization, "ml", "ml"),
            (Kind::Organization, "ops", "ops"),
            (Kind::OrganizationGroup, "ml", "acme:/ml"),
            (Kind::OrganizationGroup, "ops", "/top/ops"),
            (Kind::OrganizationGroup, "any", "/any"),
            (Kind::OrganizationGroup, "boss", "title=boss"),
        ]);
        for thing in ["ml", "ops", "acme:/ml", "/top/ops", "/any", "title=boss"] {
            assert_eq!(of(&kit, thing), Vec::<String>::new(), "{thing}");
        }
    }

    #[test]
    fn a_pattern_may_come_to_no_role() {
        let names = ["/team blue", "/team red", "/team *"];
        let kit = Kit::new(&names.map(|name| (Kind::Group, "team", name)));
        let found = names.map(|name| of(&kit, name).concat());
        let by = "mapping[1] by Pattern:";
        assert_eq!(
            found,
            [format!("{by} team-blue"), format!("{by} (no team-red)"), format!("{by} (captured)")]
        );
    }
}
