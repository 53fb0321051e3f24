//! Routes that nobody may take, and policies that no route asks for. Pure; for `idpsyncd check`.

use std::collections::{BTreeMap, BTreeSet};

use super::host::joined;
use super::{Origin, RouteSpec, Target};
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::policy::{Action, ActionPattern, Effect, Policy, ResourcePattern};
use crate::resolve::{PolicyText, Settings};

/// One Allow of a role or a role template.
struct Allow {
    /// `roles.NAME.policies[1]`
    place: String,
    /// Absent where a template's capture is in a pattern: it may come to match anything.
    actions: Vec<Option<ActionPattern>>,
    /// Absent: speaks only of requests without a resource.
    resources: Option<Vec<Reach>>,
}

/// What an Allow's resource pattern reaches.
enum Reach {
    Pattern(ResourcePattern),
    /// A template's pattern up to its first capture.
    From(String),
}

/// What is worth telling of routes, roles and templates, in words: each action of a route
/// that no role allows there, and each pattern of a role that allows what no route asks for. Nothing
/// where there is no route.
#[must_use]
pub fn warnings(routes: &[(Origin, RouteSpec)], settings: &Settings<'_>) -> Vec<Diagnostic> {
    if routes.is_empty() {
        return Vec::new();
    }
    let allows = allows(settings);
    let mut warnings = nobody_may(routes, &allows);
    for Allow { place, actions, .. } in &allows {
        let asked = |pattern: &&ActionPattern| {
            routes.iter().any(|(_, route)| pattern.matches(&route.action))
        };
        for pattern in actions.iter().flatten().filter(|pattern| !asked(pattern)) {
            warnings.push(Diagnostic::warning(
                DiagnosticCode::PolicyWithoutRoute,
                Subject::Setting(place.clone()),
                format!("{place} allows `{pattern}`, which no route asks for"),
            ));
        }
    }
    warnings
}

/// One warning for each own route, one for all of a preset's actions.
fn nobody_may(routes: &[(Origin, RouteSpec)], allows: &[Allow]) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    // An action may be allowed on one of its routes and not on another.
    let mut built_in: BTreeMap<String, BTreeMap<&Action, BTreeSet<&str>>> = BTreeMap::new();
    for (origin, route) in routes {
        if allows.iter().any(|allow| allow.allows(route)) {
            continue;
        }
        let on = match &route.target {
            Target::Nothing => String::new(),
            Target::Resource(resource) => format!(" on `{resource}`"),
            Target::Scope(scope) => format!(" on any `{scope}`"),
        };
        match origin {
            Origin::Own(_) => warnings.push(Diagnostic::warning(DiagnosticCode::RouteNobodyMay, Subject::Route(origin.to_string()), format!(
                "{origin} (`{}{}`) asks for `{}`{on}, which no role allows: every such request is \
                 denied",
                joined(&route.hosts), route.path, route.action
            ))),
            Origin::Preset(_) => {
                let actions = built_in.entry(origin.to_string()).or_default();
                actions.entry(&route.action).or_default().insert(&route.path);
            }
        }
    }
    for (origin, actions) in built_in {
        for (action, paths) in actions {
            let mut paths = paths.into_iter();
            let first = paths.next().unwrap_or_default();
            let more = match paths.count() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            warnings.push(Diagnostic::warning(DiagnosticCode::RouteNobodyMay, Subject::Route(format!("{origin}: {action}")), format!(
                "{origin} asks for `{action}` (`{first}`{more}), which no role allows there: every \
                 such request is denied"
            )));
        }
    }
    warnings
}

impl Allow {
    /// Whether it could allow some request of a route.
    fn allows(&self, route: &RouteSpec) -> bool {
        let speaks = |pattern: &Option<ActionPattern>| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(&route.action))
        };
        if !self.actions.iter().any(speaks) {
            return false;
        }
        let mut resources = self.resources.iter().flatten();
        match &route.target {
            Target::Nothing => true,
            Target::Scope(scope) => resources.any(|reach| match reach {
                Reach::Pattern(pattern) => pattern.reaches(scope, SOMEBODY),
                Reach::From(start) => meet(start, &format!("{scope}/")),
            }),
            Target::Resource(text) => match (text.split_once('{'), text.parse()) {
                (None, Ok(resource)) => resources.any(|reach| match reach {
                    Reach::Pattern(pattern) => pattern.matches(&resource, Some(resource.id())),
                    Reach::From(start) => resource.as_str().starts_with(start),
                }),
                (told, _) => {
                    let start = told.map_or(text.as_str(), |(start, _)| start);
                    resources.any(|reach| match reach {
                        Reach::Pattern(pattern) => pattern.meets(start),
                        Reach::From(own) => meet(own, start),
                    })
                }
            },
        }
    }
}

/// Somebody who has a username, whichever.
const SOMEBODY: Option<&str> = Some("");

/// Whether some text begins with both.
fn meet(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn allows(settings: &Settings<'_>) -> Vec<Allow> {
    let mut allows = Vec::new();
    for (name, role) in settings.roles {
        for (number, policy) in (1usize..).zip(&role.policies) {
            if policy.effect == Effect::Allow {
                allows.push(of_role(format!("roles.{name}.policies[{number}]"), policy));
            }
        }
    }
    for (number, template) in (1usize..).zip(settings.templates) {
        for (place, policy) in (1usize..).zip(&template.policies) {
            if policy.effect == Effect::Allow {
                let place = format!("role_template[{number}].policies[{place}]");
                allows.push(of_template(place, policy));
            }
        }
    }
    allows
}

fn of_role(place: String, policy: &Policy) -> Allow {
    Allow {
        place,
        actions: policy.actions.iter().cloned().map(Some).collect(),
        resources: policy
            .resources
            .as_ref()
            .map(|patterns| patterns.iter().cloned().map(Reach::Pattern).collect()),
    }
}

fn of_template(place: String, policy: &PolicyText) -> Allow {
    // Without a capture the text was parsed when the configuration was read.
    let action = |text: &String| match text.contains("${") {
        true => None,
        false => text.parse().ok(),
    };
    let reach = |text: &String| match (text.split_once("${"), text.parse()) {
        (_, Ok(pattern)) => Reach::Pattern(pattern),
        (start, _) => Reach::From(start.map_or(text.as_str(), |(start, _)| start).to_owned()),
    };
    Allow {
        place,
        actions: policy.actions.iter().map(action).collect(),
        resources: policy.resources.as_ref().map(|texts| texts.iter().map(reach).collect()),
    }
}
