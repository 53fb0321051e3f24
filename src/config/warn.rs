//! What is worth telling of a valid configuration.

mod authzen;
mod dpop;
mod naming;
mod tokens;

use super::exposure;
use super::gateway::{GatewayConfig, JustInTime};
use super::jwt::IdentifyBy;
use super::types::Config;
use crate::model::{Diagnostic, DiagnosticCode, Mode, Subject};
use crate::policy::{Action, ActionPattern, Effect};
use crate::resolve::{MappingRule, RoleDefinition};
use crate::routes::Target;

/// Everything worth telling, in the order of the file's sections.
pub(super) fn warnings(config: &Config) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    exposure::warnings(config, &mut warnings);
    toothless_denies(config, &mut warnings);
    idle_mappings(config, &mut warnings);
    idle_roles(config, &mut warnings);
    naming::warnings(config, &mut warnings);
    open_administrators(config, &mut warnings);
    tokens::warnings(config, &mut warnings);
    authzen::warnings(config, &mut warnings);
    dpop::warnings(config, &mut warnings);
    if let Some(gateway) = &config.gateway
        && gateway.routes.is_empty()
        && gateway.preset.is_none()
        && gateway.authzen.is_none()
    {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::NoRoutes,
            Subject::Setting("gateway".to_owned()),
            "gateway has neither `preset` nor `[[gateway.route]]`: every request is denied",
        ));
    }
    names_decide(config, &mut warnings);
    warnings
}

/// Issuers whose tokens are believed by name, or whose keys are believed from anybody on the way.
fn names_decide(config: &Config, warnings: &mut Vec<Diagnostic>) {
    for jwt in config.gateway.iter().flat_map(|gateway| &gateway.jwt) {
        let issuer = &jwt.issuer;
        // What is exchanged here names whom the store calls so.
        let exchanged = jwt.service_roles.is_some() && jwt.jwks_url.is_none();
        if jwt.identify == IdentifyBy::Username && !exchanged {
            warnings.push(Diagnostic::warning(DiagnosticCode::NamesDecide, Subject::Issuer(issuer.clone()), format!(
                "gateway.jwt: names decide for issuer `{issuer}` (`identify_by = \"username\"`): \
                 whoever gets a name there is whom the store calls so"
            )));
        }
        let in_the_clear = |text: &String| {
            url::Url::parse(text).is_ok_and(|url| url.scheme() == "http" && exposure::remote(&url))
        };
        if jwt.jwks_url.as_ref().is_some_and(in_the_clear) {
            warnings.push(Diagnostic::warning(
                DiagnosticCode::KeysInClear,
                Subject::Issuer(issuer.clone()),
                format!(
                    "gateway.jwt: the keys of issuer `{issuer}` come over `http://` from another \
                 machine: anybody on the way can put their own, and be anyone"
                ),
            ));
        }
    }
    idle_claims(config, warnings);
}

/// Issuers whose tokens' roles can give nothing: what bounds them is the source whose ids they have.
fn idle_claims(config: &Config, warnings: &mut Vec<Diagnostic>) {
    let Some(gateway) = &config.gateway else { return };
    if gateway.provision != JustInTime::Claims {
        return;
    }
    for jwt in &gateway.jwt {
        if jwt.source().is_none() && jwt.service_roles.is_none() {
            warnings.push(Diagnostic::warning(DiagnosticCode::ClaimsWithoutSource, Subject::Issuer(jwt.issuer.clone()), format!(
                "gateway.jwt: issuer `{}` is no source: `provision = \"claims\"` gives its tokens' \
                 bearers nothing",
                jwt.issuer
            )));
        }
    }
}

/// H2O takes administrators' roles from tokens alone; here a group's name gives one as well.
fn open_administrators(config: &Config, warnings: &mut Vec<Diagnostic>) {
    let admin = config.h2o.as_ref().and_then(|h2o| h2o.admin_role.as_ref());
    let Some((name, role)) = admin.and_then(|name| config.roles.get_key_value(name)) else {
        return;
    };
    if !config.is_protected(name) && !role.everyone && !role.external_roles.is_empty() {
        warnings.push(Diagnostic::warning(DiagnosticCode::H2oAdministratorOpen, Subject::Role(name.clone()), format!(
            "h2o.admin_role `{name}` is not protected, so whoever makes a group of that name at a \
             source can give it: list it under `[guard] protected_roles`"
        )));
    }
}

/// A Deny without `resources` says nothing about requests with one.
fn toothless_denies(config: &Config, warnings: &mut Vec<Diagnostic>) {
    let mut with_resource: Vec<Action> = config
        .catalog
        .iter()
        .filter(|(_, resource)| resource.is_some())
        .map(|(action, _)| action.clone())
        .chain(config.gateway.iter().flat_map(route_actions))
        .collect();
    with_resource.sort();
    with_resource.dedup();
    let mut warn = |place: String, pattern: &ActionPattern| {
        if let Some(action) = with_resource.iter().find(|action| pattern.matches(action)) {
            warnings.push(Diagnostic::warning(
                DiagnosticCode::DenyWithoutResources,
                Subject::Setting(place.clone()),
                format!(
                    "{place} denies `{pattern}` without `resources`, and `{action}` takes one: it \
                 denies nothing there; write `resources = [\"*\"]` to deny it everywhere"
                ),
            ));
        }
    };
    for (name, role) in &config.roles {
        for (place, policy) in (1usize..).zip(&role.policies) {
            if policy.effect == Effect::Deny && policy.resources.is_none() {
                for pattern in &policy.actions {
                    warn(format!("roles.{name}.policies[{place}]"), pattern);
                }
            }
        }
    }
    for (number, template) in (1usize..).zip(&config.templates) {
        for (place, policy) in (1usize..).zip(&template.policies) {
            if policy.effect == Effect::Deny && policy.resources.is_none() {
                // A pattern with a capture in it cannot be compared before a role is made.
                for pattern in policy.actions.iter().filter_map(|text| text.parse().ok()) {
                    warn(format!("role_template[{number}].policies[{place}]"), &pattern);
                }
            }
        }
    }
}

/// The actions that take a resource in the routes, the preset's too.
fn route_actions(gateway: &GatewayConfig) -> impl Iterator<Item = Action> + use<> {
    let routes = gateway.route_specs().into_iter().map(|(_, route)| route);
    routes.filter(|route| route.target != Target::Nothing).map(|route| route.action)
}

/// Mappings that can give nothing.
fn idle_mappings(config: &Config, warnings: &mut Vec<Diagnostic>) {
    for mapping in &config.mappings {
        let number = mapping.number;
        let source = config.sources.iter().find(|s| Some(&s.name) == mapping.source.as_ref());
        let grants = source.and_then(|source| Some((source, source.grants.as_ref()?)));
        for role in mapping.roles.iter().filter(|role| !role.contains("${")) {
            if let Some(RoleDefinition { everyone: true, .. }) = config.roles.get(role) {
                warnings.push(Diagnostic::warning(
                    DiagnosticCode::MappingOfEveryone,
                    Subject::Setting(format!("mapping[{number}]")),
                    format!(
                        "mapping[{number}] gives `{role}`, which every enabled user holds anyway"
                    ),
                ));
            }
            if let Some(RoleDefinition { mode: Mode::Ignore, everyone: false, .. }) =
                config.roles.get(role)
            {
                warnings.push(Diagnostic::warning(
                    DiagnosticCode::MappingOfIgnored,
                    Subject::Setting(format!("mapping[{number}]")),
                    format!(
                        "mapping[{number}] gives `{role}`, whose `sync_mode` is `ignore`: it gives \
                     nothing"
                    ),
                ));
            }
            if let Some((source, grants)) = grants
                && !grants.iter().any(|glob| glob.is_match(role))
            {
                warnings.push(Diagnostic::warning(DiagnosticCode::MappingOutsideGrants, Subject::Setting(format!("mapping[{number}]")), format!(
                    "mapping[{number}] gives `{role}`, which is not in the `grants` of source \
                     `{}`: it gives nothing",
                    source.name
                )).of(&source.name));
            }
            let indirect = match mapping.rule {
                MappingRule::GroupName(_) => "a group's bare name",
                MappingRule::GroupRegex { .. } => "a regular expression",
                MappingRule::Attribute { .. } => "an attribute",
                _ => continue,
            };
            if config.is_protected(role) {
                warnings.push(Diagnostic::warning(
                    DiagnosticCode::MappingOfProtected,
                    Subject::Setting(format!("mapping[{number}]")),
                    format!(
                        "mapping[{number}] gives `{role}`, which is protected: {indirect} never \
                     reaches it; name the group in whole, or an IdP role"
                    ),
                ));
            }
        }
    }
}

/// Roles whose keys contradict each other in effect.
fn idle_roles(config: &Config, warnings: &mut Vec<Diagnostic>) {
    for (number, template) in (1usize..).zip(&config.templates) {
        for name in config.guard.protected_roles.keys() {
            if !config.roles.contains_key(name) && template.regex.is_match(name) {
                warnings.push(Diagnostic::warning(
                    DiagnosticCode::TemplateOfProtected,
                    Subject::Role(name.clone()),
                    format!(
                        "guard.protected_roles.{name} comes from role_template[{number}], and a \
                     template never reaches a protected role: declare it under `[roles]`"
                    ),
                ));
            }
        }
        if template.allows_all() {
            warnings.push(Diagnostic::warning(DiagnosticCode::TemplateOfProtected, Subject::Setting(format!("role_template[{number}]")), format!(
                "role_template[{number}] allows `*:*`, which makes each of its roles a protected \
                 one, and a template never reaches such a role: it gives nothing; declare the roles \
                 under `[roles]`, or name the actions"
            )));
        }
    }
}
