//! `idpsyncd authorize`: the store's decision.

use serde_json::json;

use super::args::{AuthorizeArgs, Output};
use super::request::{self, On};
use super::{Context, Failure, exit, print};
use crate::model::{Standing, Status};
use crate::policy::{Action, Verdict, decide, decide_some};
use crate::routes::{Matched, Routes, Target};
use crate::store::Store;
use crate::sync;

pub(super) fn run(at: Context<'_>, args: &AuthorizeArgs, output: Output) -> Result<u8, Failure> {
    let Context { config, store } = at;
    match &args.request {
        Some(request) => {
            let routes = Routes::new(request::gateway(config)?.route_specs())?;
            let told = request::told(&routes, request, args.host.as_deref())?;
            match told.asks {
                Ok((action, on)) => {
                    let answer = decided(store, &args.user, &action, &on)?;
                    answer.say(args, Some((&action, &on)), told.matched.as_ref(), output)
                }
                Err(why) => {
                    Decided::deny(why.to_string()).say(args, None, told.matched.as_ref(), output)
                }
            }
        }
        None => {
            // The command line has refused that both are absent.
            let action = args.action.as_deref().unwrap_or_default();
            let (action, on) = request::named(action, args.resource.as_deref())?;
            let answer = decided(store, &args.user, &action, &on)?;
            answer.say(args, Some((&action, &on)), None, output)
        }
    }
}

/// A decision and why.
struct Decided {
    effect: &'static str,
    /// The role's name, and the policy's number from 1.
    by: Option<(String, usize)>,
    why: String,
}

impl Decided {
    fn deny(why: impl Into<String>) -> Self {
        Decided { effect: "Deny", by: None, why: why.into() }
    }
}

/// The store's decision.
fn decided(store: &dyn Store, user: &str, action: &Action, on: &On) -> Result<Decided, Failure> {
    let reader = sync::existing_reader(store)?;
    let user = crate::model::username::canonical(user).unwrap_or(user.into());
    let Some(effective) = reader.roles_of(&user)? else {
        return Ok(Decided::deny("the store knows no such user"));
    };
    if let Some(why) = suspended(&effective.status) {
        return Ok(Decided::deny(why));
    }
    let roles = effective.roles.iter().map(|role| (role.name.as_str(), role.policies.as_slice()));
    let me = Some(&*user);
    let verdict = match on {
        On::Nothing => decide(roles, action, None, me),
        On::Resource(resource) => decide(roles, action, Some(resource), me),
        On::SomeOf(scope) => decide_some(roles, action, scope, me),
    };
    Ok(match verdict {
        Verdict::Decided(effect, role, position) => Decided {
            effect: effect.as_str(),
            by: Some((role.to_owned(), position + 1)),
            why: format!("role `{role}`, policy {} says {}", position + 1, effect.as_str()),
        },
        Verdict::NoPolicy if effective.roles.is_empty() => {
            Decided::deny("the user has no effective role")
        }
        Verdict::NoPolicy => {
            let names: Vec<String> =
                effective.roles.iter().map(|role| format!("`{}`", role.name)).collect();
            Decided::deny(format!("no policy of {} speaks of it", names.join(", ")))
        }
    })
}

/// Why nothing counts, in words; `None` where grants count.
pub(super) fn suspended(status: &Status) -> Option<String> {
    let how = match (status.standing(), status) {
        (Standing::Enabled, _) => return None,
        (Standing::Disabled(by), _) => format!("disabled in `{by}`"),
        (Standing::Deprovisioned, Status::Deprovisioned { since }) => {
            format!("deprovisioned since {}", crate::model::rfc3339(*since))
        }
        (Standing::Deprovisioned, _) => "deprovisioned".to_owned(),
    };
    Some(format!("the user is {how}: no role counts"))
}

impl Decided {
    /// Prints it, with what was asked as far as it is known.
    fn say(
        &self,
        args: &AuthorizeArgs,
        asked: Option<(&Action, &On)>,
        matched: Option<&Matched<'_>>,
        output: Output,
    ) -> Result<u8, Failure> {
        let Decided { effect, by, why } = self;
        match output {
            Output::Json => {
                let resource = match asked {
                    Some((_, On::Resource(resource))) => Some(resource.as_str()),
                    _ => None,
                };
                let mut value = json!({
                    "user": args.user,
                    "action": asked.map(|(action, _)| action.to_string()),
                    "resource": resource,
                    "effect": effect,
                    "role": by.as_ref().map(|(role, _)| role),
                    "policy": by.as_ref().map(|(_, policy)| policy),
                    "why": why,
                });
                if let (Some(request), Some(value)) = (&args.request, value.as_object_mut()) {
                    value.insert("request".to_owned(), json!(request));
                    value.insert("route".to_owned(), matched.map_or(json!(null), route));
                }
                print::json(&value)?;
            }
            Output::Text => {
                let mut lines = Vec::new();
                if let Some(matched) = matched {
                    lines.push(format!("route:    {}", matched.route));
                }
                if let (Some(_), Some((action, on))) = (&args.request, asked) {
                    lines.push(format!("action:   {action}"));
                    lines.push(match on {
                        On::Nothing => "resource: none".to_owned(),
                        On::Resource(resource) => {
                            format!("resource: {}", print::shown(resource.as_str()))
                        }
                        On::SomeOf(scope) => format!("resource: some {scope}"),
                    });
                }
                lines.push(format!("{effect}: {why}"));
                print::lines(&lines)?;
            }
        }
        Ok(if *effect == "Allow" { exit::DONE } else { exit::DENY })
    }
}

/// A route for programs. `scope` is told where the path does not tell the resource; `hosts` is there where
/// the route names some.
fn route(matched: &Matched<'_>) -> serde_json::Value {
    let route = matched.route;
    let scope = match &route.target {
        Target::Scope(scope) => Some(scope),
        Target::Nothing | Target::Resource(_) => None,
    };
    let mut value = json!({
        "methods": route.methods,
        "path": route.path,
        "scope": scope,
        "from": route.origin.to_string(),
    });
    if let (false, Some(value)) = (route.hosts.is_empty(), value.as_object_mut()) {
        let hosts: Vec<String> = route.hosts.iter().map(ToString::to_string).collect();
        value.insert("hosts".to_owned(), json!(hosts));
    }
    value
}
