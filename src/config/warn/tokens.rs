//! Who could make access tokens in somebody else's name.

use crate::config::types::Config;
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::policy::{Action, ActionPattern, Effect, Policy, ResourcePattern};

/// The scope of people.
const USER: &str = "user";

/// Roles whose holders may make tokens for others (`auth:Token` on `user/…`) and may not manage them
/// (`user:Manage`): such a token can be an administrator's, with all that one's roles.
pub(super) fn warnings(config: &Config, warnings: &mut Vec<Diagnostic>) {
    let (token, manage) = (Action::spelt("auth", "Token"), Action::spelt("user", "Manage"));
    let mut warn = |place: String, on: &str| {
        warnings.push(Diagnostic::warning(DiagnosticCode::TokensForOthers, Subject::Setting(place.clone()), format!(
            "{place} allows `auth:Token` on `{on}`, and nothing of the role allows `user:Manage` \
             there: whoever holds it can make a token in somebody else's name, an administrator's \
             too; for their own tokens write `resources = [\"user/${{self}}\"]`"
        )));
    };
    for (name, role) in &config.roles {
        let managed = |pattern: &ResourcePattern| {
            let taken = denies(&role.policies, &manage, &token);
            !taken
                && allows(&role.policies, &manage)
                    .any(|(_, by)| by.iter().any(|by| by.covers_all_of(pattern, USER)))
        };
        for (place, patterns) in allows(&role.policies, &token) {
            if let Some(others) = patterns.iter().find(|it| others(it) && !managed(it)) {
                warn(format!("roles.{name}.policies[{place}]"), &others.to_string());
            }
        }
    }
    for (number, template) in (1usize..).zip(&config.templates) {
        let speaks = |texts: &[String], action: &Action| {
            let matches = |text: &String| {
                text.parse().is_ok_and(|pattern: ActionPattern| pattern.matches(action))
            };
            texts.iter().any(matches)
        };
        let reach = |text: &String| {
            text == "*" || (text.starts_with("user/") && *text != format!("{USER}/${{self}}"))
        };
        let of = |effect: Effect, action| {
            let numbered = (1usize..).zip(&template.policies);
            numbered.filter(move |(_, policy)| {
                policy.effect == effect && speaks(&policy.actions, action)
            })
        };
        let taken = of(Effect::Deny, &manage).any(|(_, policy)| {
            !speaks(&policy.actions, &token)
                && policy
                    .resources
                    .iter()
                    .flatten()
                    .any(|text| text == "*" || text.starts_with("user/"))
        });
        let managed = |text: &String| {
            !taken
                && of(Effect::Allow, &manage).any(|(_, policy)| {
                    policy
                        .resources
                        .iter()
                        .flatten()
                        .any(|by| by == text || by == "*" || *by == format!("{USER}/*"))
                })
        };
        for (place, policy) in of(Effect::Allow, &token) {
            let mut resources = policy.resources.iter().flatten();
            if let Some(others) = resources.find(|text| reach(text) && !managed(text)) {
                warn(format!("role_template[{number}].policies[{place}]"), others);
            }
        }
    }
}

/// Whether some Deny takes `action` on some person away that it does not take `but` away with.
fn denies(policies: &[Policy], action: &Action, but: &Action) -> bool {
    policies.iter().any(|policy| {
        let speaks = |action| policy.actions.iter().any(|pattern| pattern.matches(action));
        policy.effect == Effect::Deny
            && speaks(action)
            && !speaks(but)
            && policy.resources.iter().flatten().any(|pattern| pattern.reaches(USER, Some("")))
    })
}

/// The Allows of `action` with resources: their numbers from 1, and the resources.
fn allows<'a>(
    policies: &'a [Policy],
    action: &'a Action,
) -> impl Iterator<Item = (usize, &'a [ResourcePattern])> {
    (1usize..).zip(policies).filter_map(|(place, policy)| {
        let speaks = policy.effect == Effect::Allow
            && policy.actions.iter().any(|pattern| pattern.matches(action));
        policy.resources.as_deref().filter(|_| speaks).map(|resources| (place, resources))
    })
}

/// Whether some person is meant who need not be the one who asks.
fn others(pattern: &ResourcePattern) -> bool {
    !matches!(pattern, ResourcePattern::Own(_)) && pattern.reaches(USER, None)
}
