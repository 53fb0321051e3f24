//! Which roles there are: declared ones, those that templates make of the sources' roles, and those
//! that only the store still has.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{Rules, folded, templated_names};
use super::settings::Settings;
use crate::directory::Directory;
use crate::model::{Diagnostic, DiagnosticCode as Code, IndexVec, Role, RoleIdx, Subject, TooMany};
use crate::policy::{allow_all, only_deny};

/// Every role that a plan can speak of, sorted by name.
#[derive(Debug, Default)]
pub struct Roles {
    /// Declared ones, those that a template makes of the sources' roles, and those that only the
    /// store still has.
    pub defs: IndexVec<RoleIdx, Role>,
    /// For each whether the configuration (or a source, through a template) still has it.
    pub live: IndexVec<RoleIdx, bool>,
    /// For each whether it is protected.
    protected: IndexVec<RoleIdx, bool>,
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
        found.filter(|role| *self.live.at(*role))
    }

    /// The name of the role at `role`.
    pub(super) fn name(&self, role: RoleIdx) -> &str {
        &self.defs.at(role).name
    }

    /// Whether only an IdP role, or a group that is named in whole, reaches it.
    pub(super) fn is_protected(&self, role: RoleIdx) -> bool {
        *self.protected.at(role)
    }

    /// Whether it does nothing but deny.
    pub(super) fn only_denies(&self, role: RoleIdx) -> bool {
        only_deny(&self.defs.at(role).policies)
    }

    /// Whether every enabled user holds it.
    pub(super) fn is_everyone(&self, role: RoleIdx) -> bool {
        self.defs.at(role).everyone
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
///
/// # Errors
/// There are more roles than can be numbered.
pub fn universe(
    settings: &Settings<'_>,
    sources: &[(Rules<'_>, &Directory)],
    stored: &[Role],
    keep_missing: bool,
    warnings: &mut BTreeSet<Diagnostic>,
) -> Result<Roles, TooMany> {
    let mut live = Live::declared(settings);
    let mut made = BTreeSet::new();
    for (rules, directory) in sources {
        made.extend(templated_names(rules, directory));
    }
    if keep_missing {
        made.extend(stored.iter().filter(|role| role.template.is_some()).map(|r| r.name.clone()));
    }
    warnings.extend(made.into_iter().filter_map(|name| live.make(settings, name)));
    assemble(settings, live, stored)
}

/// The roles that the configuration, or a source through a template, has.
#[derive(Default)]
struct Live {
    roles: BTreeMap<String, Role>,
    /// Their names, by what they are whatever their case.
    folded_names: BTreeMap<String, String>,
    external: Vec<GivenBy>,
}

/// A name of the sources that gives a role.
struct GivenBy {
    external: String,
    role: String,
    /// What says so.
    rule: String,
}

impl Live {
    fn declared(settings: &Settings<'_>) -> Self {
        let mut live = Live::default();
        for (name, role) in settings.roles {
            if !role.everyone {
                live.external.extend(role.external_roles.iter().map(|external| GivenBy {
                    external: external.clone(),
                    role: name.clone(),
                    rule: format!("roles.{name}"),
                }));
            }
            live.add(Role {
                name: name.clone(),
                description: role.description.clone(),
                everyone: role.everyone,
                mode: role.mode,
                template: None,
                policies: role.policies.clone(),
            });
        }
        live
    }

    fn add(&mut self, role: Role) {
        self.folded_names.insert(folded(&role.name), role.name.clone());
        self.roles.insert(role.name.clone(), role);
    }

    /// Makes the role `name` by the first template that fits it, where nobody declares it. What comes
    /// back says why it is left out.
    fn make(&mut self, settings: &Settings<'_>, name: String) -> Option<Diagnostic> {
        if self.roles.contains_key(&name) {
            return None;
        }
        let refusal = |code, name: String, message: String| {
            Some(Diagnostic::warning(code, Subject::Role(name), message))
        };
        if let Some(other) = self.folded_names.get(&folded(&name)) {
            let message = format!(
                "role `{name}` of a source differs from role `{other}` in case only: left out"
            );
            return refusal(Code::RoleCaseConflict, name, message);
        }
        let mut made = (1usize..)
            .zip(settings.templates)
            .filter_map(|(number, it)| Some((number, it, it.instantiate(&name)?)));
        let (number, template, made) = made.next()?;
        let rule = format!("role_template[{number}]");
        let (description, policies) = match made {
            Ok(made) => made,
            Err(why) => {
                let message = format!("{rule} does not take `{}`: {why}", name.escape_debug());
                return refusal(Code::TemplateRefuses, name, message);
            }
        };
        if settings.is_protected(&name) || allow_all(&policies) {
            let message = format!(
                "protected role `{name}` is not made by a template: declare it under [roles]"
            );
            return refusal(Code::TemplateProtected, name, message);
        }
        self.external.push(GivenBy { external: name.clone(), role: name.clone(), rule });
        self.add(Role {
            name,
            description,
            everyone: false,
            mode: template.mode,
            template: Some(template.name.clone()),
            policies,
        });
        None
    }
}

fn assemble(settings: &Settings<'_>, live: Live, stored: &[Role]) -> Result<Roles, TooMany> {
    let mut all: BTreeMap<String, (Role, bool)> =
        live.roles.into_iter().map(|(name, role)| (name, (role, true))).collect();
    for role in stored {
        all.entry(role.name.clone()).or_insert_with(|| (role.clone(), false));
    }
    let mut roles = Roles::default();
    for (name, (role, is_live)) in all {
        let index = roles.defs.push(role)?;
        roles.live.push(is_live)?;
        roles.protected.push(settings.is_protected(&name))?;
        if is_live {
            roles.by_folded.insert(folded(&name), index);
        }
        roles.by_name.insert(name, index);
    }
    for GivenBy { external, role, rule } in live.external {
        let Some(index) = roles.by_name.get(&role).copied() else { continue };
        roles.external_folded.entry(folded(&external)).or_default().push((index, rule.clone()));
        roles.external.entry(external).or_default().push((index, rule));
    }
    Ok(roles)
}
