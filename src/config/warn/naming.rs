//! What somebody could gain or lift by naming things at an identity provider, and which source says
//! who is there.

use crate::config::types::{Config, SourceConfig};
use crate::model::{Diagnostic, DiagnosticCode, Mode, Subject};
use crate::policy::only_deny;
use crate::resolve::{Mapping, MappingRule, Names, RoleDefinition};

pub(super) fn warnings(config: &Config, warnings: &mut Vec<Diagnostic>) {
    open_sources(config, warnings);
    restrictions_by_name(config, warnings);
    nobody_says_who_is_there(config, warnings);
}

/// Sources that nothing keeps from giving a protected role.
fn open_sources(config: &Config, warnings: &mut Vec<Diagnostic>) {
    let open = |source: &&SourceConfig| source.grants.is_none() && !source.kind.is_local();
    for source in config.sources.iter().filter(open) {
        let given: Vec<String> = config
            .roles
            .iter()
            .filter(|(name, role)| {
                config.is_protected(name) && may_give(config, source, name, role)
            })
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        if !given.is_empty() {
            warnings.push(Diagnostic::warning(DiagnosticCode::SourceWithoutGrants, Subject::None, format!(
                "source `{}` has no `grants`, so whoever administers it can give {}, which {} \
                 protected: list in `grants` the roles that it is to give",
                source.name,
                given.join(", "),
                if given.len() == 1 { "is" } else { "are" }
            )).of(&source.name));
        }
    }
}

/// Whether some rule could give the protected role `name` through `source`: an IdP role of that
/// name, or what a mapping names in whole.
fn may_give(config: &Config, source: &SourceConfig, name: &str, role: &RoleDefinition) -> bool {
    if role.everyone || role.mode == Mode::Ignore {
        return false;
    }
    let directory = source.kind.names() == Names::Folded;
    let maps = |mapping: &Mapping| {
        let here = mapping.source.as_ref().is_none_or(|it| *it == source.name);
        let reaches = match &mapping.rule {
            MappingRule::Group(group) => directory != group.starts_with('/'),
            MappingRule::GroupId(_) => true,
            MappingRule::GroupPath(_)
            | MappingRule::Organization(_)
            | MappingRule::OrganizationGroup(_)
            | MappingRule::OrganizationGroupPath { .. }
            | MappingRule::OrganizationGroupId { .. }
            | MappingRule::RealmRole(_)
            | MappingRule::ClientRole(_)
            | MappingRule::ClientRoleOf { .. } => !directory,
            MappingRule::GroupName(_)
            | MappingRule::GroupRegex { .. }
            | MappingRule::Attribute { .. } => false,
        };
        here && reaches && mapping.roles.iter().any(|role| role == name)
    };
    (!directory && !role.external_roles.is_empty()) || config.mappings.iter().any(maps)
}

/// Roles that only deny, and that somebody holds for a bare name: who renames the group lifts the
/// restriction.
fn restrictions_by_name(config: &Config, warnings: &mut Vec<Diagnostic>) {
    for (name, role) in &config.roles {
        if !only_deny(&role.policies) || role.everyone || role.mode == Mode::Ignore {
            continue;
        }
        let mut names: Vec<String> =
            role.external_roles.iter().map(|it| format!("`{it}`")).collect();
        for mapping in config.mappings.iter().filter(|mapping| mapping.roles.contains(name)) {
            if let MappingRule::GroupName(bare) = &mapping.rule {
                names.push(format!("`{bare}` (mapping[{}])", mapping.number));
            }
        }
        if !names.is_empty() {
            warnings.push(Diagnostic::warning(DiagnosticCode::RestrictionByName, Subject::Role(name.clone()), format!(
                "roles.{name} denies, and hangs on the bare name {}: who renames a group that bears \
                 it lifts the restriction; set `external_roles = []` and name the group in whole \
                 (`group`, `group_id`), or an IdP role",
                names.join(", ")
            )));
        }
    }
    for (number, template) in (1usize..).zip(&config.templates) {
        if template.only_denies() {
            warnings.push(Diagnostic::warning(DiagnosticCode::RestrictionByName, Subject::Setting(format!("role_template[{number}]")), format!(
                "role_template[{number}] denies, and hangs on bare names: who renames a group that \
                 bears one lifts the restriction; declare the role under `[roles]` and name the group \
                 in whole (`group`, `group_id`)"
            )));
        }
    }
}

/// Without a source that says who is there, nobody is.
fn nobody_says_who_is_there(config: &Config, warnings: &mut Vec<Diagnostic>) {
    let says = |source: &SourceConfig| source.lifecycle && !source.kind.is_local();
    if config.has_idp() && !config.sources.iter().any(says) {
        warnings.push(Diagnostic::warning(DiagnosticCode::NoLifecycle, Subject::None, "every source has `lifecycle = false`: none says who is there, so nobody is provisioned \
             but those who are added by hand"));
    }
}
