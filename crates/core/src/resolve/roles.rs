//! Which roles there are: declared ones, those that templates make of the sources' roles, and those
//! that only the store still has.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{Rules, folded, templated_names};
use super::settings::Settings;
use crate::directory::Directory;
use crate::model::index::Place as _;
use crate::model::{Diagnostic, DiagnosticCode as Code, Role, RoleIdx, Subject};
use crate::policy::{allow_all, only_deny};

/// Every role that a plan can speak of, sorted by name.
#[derive(Debug, Default)]
pub struct Roles {
    /// Declared ones, those that a template makes of the sources' roles, and those that only the
    /// store still has.
    pub defs: Vec<Role>,
    /// For each whether the configuration (or a source, through a template) still has it.
    pub live: Vec<bool>,
    /// For each whether it is protected.
    protected: Vec<bool>,
    by_name: BTreeMap<String, RoleIdx>,
    by_folded: BTreeMap<String, RoleIdx>,
    /// Names that give a role: external name to role and rule.
    external: BTreeMap<String, Vec<(RoleIdx, String)>>,
    external_folded: BTreeMap<String, Vec<(RoleIdx, String)>>,
}

impl Roles {
    /// The place of the live role called `name`; `fold` ignores case (roles never differ in case
    /// only).
    pub(super) fn find(&self, name: &str, fold: bool) -> Option<RoleIdx> {
        let found = if fold {
            self.by_folded.get(&folded(name)).copied()
        } else {
            self.by_name.get(name).copied()
        };
        found.filter(|index| self.live.get(index.place()).copied().unwrap_or(false))
    }

    /// The name of the role at `role`; empty where there is none.
    pub(super) fn name(&self, role: RoleIdx) -> &str {
        self.defs.get(role.place()).map_or("", |role| role.name.as_str())
    }

    /// Whether only an IdP role, or a group that is named in whole, reaches it.
    pub(super) fn is_protected(&self, role: RoleIdx) -> bool {
        self.protected.get(role.place()).copied().unwrap_or(true)
    }

    /// Whether it does nothing but deny.
    pub(super) fn only_denies(&self, role: RoleIdx) -> bool {
        self.defs.get(role.place()).is_some_and(|role| only_deny(&role.policies))
    }

    /// Whether every enabled user holds it.
    pub(super) fn is_everyone(&self, role: RoleIdx) -> bool {
        self.defs.get(role.place()).is_some_and(|role| role.everyone)
    }

    pub(super) fn given_by(&self, external: &str, fold: bool) -> &[(RoleIdx, String)] {
        let found = if fold {
            self.external_folded.get(&folded(external))
        } else {
            self.external.get(external)
        };
        found.map_or(&[], Vec::as_slice)
    }
}

/// The roles that exist now: declared ones, those that templates make of what the sources hold,
/// and what the store still has. `keep_missing`: some source may hold groups or roles that
/// nobody saw, so a template's role that no source shows is unknown, not gone.
#[must_use]
pub fn universe(
    settings: &Settings<'_>,
    sources: &[(Rules<'_>, &Directory)],
    stored: &[Role],
    keep_missing: bool,
    warnings: &mut BTreeSet<Diagnostic>,
) -> Roles {
    let mut live: BTreeMap<String, Role> = BTreeMap::new();
    let mut folded_names: BTreeMap<String, String> = BTreeMap::new();
    let mut external: Vec<(String, String, String)> = Vec::new();
    for (name, role) in settings.roles {
        folded_names.insert(folded(name), name.clone());
        live.insert(
            name.clone(),
            Role {
                name: name.clone(),
                description: role.description.clone(),
                everyone: role.everyone,
                mode: role.mode,
                template: None,
                policies: role.policies.clone(),
            },
        );
        if !role.everyone {
            for given in &role.external_roles {
                external.push((given.clone(), name.clone(), format!("roles.{name}")));
            }
        }
    }
    let mut made = BTreeSet::new();
    for (rules, directory) in sources {
        made.extend(templated_names(rules, directory));
    }
    if keep_missing {
        made.extend(stored.iter().filter(|role| role.template.is_some()).map(|r| r.name.clone()));
    }
    for name in made {
        if live.contains_key(&name) {
            continue;
        }
        if let Some(other) = folded_names.get(&folded(&name)) {
            let message = format!(
                "role `{name}` of a source differs from role `{other}` in case only: left out"
            );
            let subject = Subject::Role(name);
            warnings.insert(Diagnostic::warning(Code::RoleCaseConflict, subject, message));
            continue;
        }
        for (number, template) in settings.templates.iter().enumerate() {
            match template.instantiate(&name) {
                None => continue,
                Some(Err(why)) => {
                    let message = format!(
                        "role_template[{}] does not take `{}`: {why}",
                        number + 1,
                        name.escape_debug()
                    );
                    let subject = Subject::Role(name);
                    warnings.insert(Diagnostic::warning(Code::TemplateRefuses, subject, message));
                }
                Some(Ok((_, policies))) if settings.is_protected(&name) || allow_all(&policies) => {
                    let message = format!(
                        "protected role `{name}` is not made by a template: declare it under \
                         [roles]"
                    );
                    let subject = Subject::Role(name);
                    warnings.insert(Diagnostic::warning(Code::TemplateProtected, subject, message));
                }
                Some(Ok((description, policies))) => {
                    folded_names.insert(folded(&name), name.clone());
                    external.push((
                        name.clone(),
                        name.clone(),
                        format!("role_template[{}]", number + 1),
                    ));
                    live.insert(
                        name.clone(),
                        Role {
                            name: name.clone(),
                            description,
                            everyone: false,
                            mode: template.mode,
                            template: Some(template.name.clone()),
                            policies,
                        },
                    );
                }
            }
            break;
        }
    }
    assemble(settings, live, external, stored)
}

fn assemble(
    settings: &Settings<'_>,
    live: BTreeMap<String, Role>,
    external: Vec<(String, String, String)>,
    stored: &[Role],
) -> Roles {
    let mut all: BTreeMap<String, (Role, bool)> =
        live.into_iter().map(|(name, role)| (name, (role, true))).collect();
    for role in stored {
        all.entry(role.name.clone()).or_insert_with(|| (role.clone(), false));
    }
    let mut roles = Roles::default();
    for (index, (name, (role, is_live))) in (0u32..).map(RoleIdx::new).zip(all) {
        if is_live {
            roles.by_folded.insert(folded(&name), index);
        }
        roles.protected.push(settings.is_protected(&name));
        roles.by_name.insert(name, index);
        roles.defs.push(role);
        roles.live.push(is_live);
    }
    for (given, role, rule) in external {
        let Some(index) = roles.by_name.get(&role).copied() else { continue };
        roles.external_folded.entry(folded(&given)).or_default().push((index, rule.clone()));
        roles.external.entry(given).or_default().push((index, rule));
    }
    roles
}
