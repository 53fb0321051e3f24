//! `idpsyncd authorize`: the store's decision.

use serde_json::json;

use super::args::{AuthorizeArgs, Output};
use super::{Failure, exit, print};
use crate::config::Config;
use crate::model::Status;
use crate::pipeline;
use crate::policy::{Action, Resource, Verdict, decide};

pub(super) fn run(config: &Config, args: &AuthorizeArgs, output: Output) -> Result<u8, Failure> {
    let action: Action = args.action.parse().map_err(|error| usage("action", &error))?;
    let resource: Option<Resource> = match &args.resource {
        Some(resource) => Some(resource.parse().map_err(|error| usage("resource", &error))?),
        None => None,
    };
    let reader = pipeline::existing_reader(&config.store)?;
    let user = crate::model::username::canonical(&args.user).unwrap_or(args.user.as_str().into());
    let Some(effective) = reader.roles_of(&user)? else {
        return answer(args, output, None, "the store knows no such user");
    };
    if let Some(why) = suspended(&effective.status) {
        return answer(args, output, None, &why);
    }
    let roles = effective.roles.iter().map(|role| (role.name.as_str(), role.policies.as_slice()));
    match decide(roles, &action, resource.as_ref()) {
        Verdict::Decided(effect, role, position) => {
            let why = format!("role `{role}`, policy {} says {}", position + 1, effect.as_str());
            answer(args, output, Some((effect.as_str(), role, position + 1)), &why)
        }
        Verdict::NoPolicy if effective.roles.is_empty() => {
            answer(args, output, None, "the user has no effective role")
        }
        Verdict::NoPolicy => {
            let names: Vec<String> =
                effective.roles.iter().map(|role| format!("`{}`", role.name)).collect();
            let why = format!("no policy of {} speaks of it", names.join(", "));
            answer(args, output, None, &why)
        }
    }
}

fn usage(what: &str, error: &crate::policy::PatternError) -> Failure {
    Failure::Usage(format!("the {what} is not concrete: {error}"))
}

/// Why nothing counts, in words; `None` where grants count.
pub(super) fn suspended(status: &Status) -> Option<String> {
    match status {
        Status::Enabled | Status::Missing { disabled_by: None, .. } => None,
        Status::Disabled { by } | Status::Missing { disabled_by: Some(by), .. } => {
            Some(format!("the user is disabled in `{by}`: no role counts"))
        }
        Status::Deprovisioned { since } => Some(format!(
            "the user is deprovisioned since {}: no role counts",
            crate::model::rfc3339(*since)
        )),
    }
}

fn answer(
    args: &AuthorizeArgs,
    output: Output,
    decided: Option<(&str, &str, usize)>,
    why: &str,
) -> Result<u8, Failure> {
    let effect = decided.map_or("Deny", |(effect, _, _)| effect);
    match output {
        Output::Json => print::json(&json!({
            "user": args.user,
            "action": args.action,
            "resource": args.resource,
            "effect": effect,
            "role": decided.map(|(_, role, _)| role),
            "policy": decided.map(|(_, _, policy)| policy),
            "why": why,
        }))?,
        Output::Text => print::lines(&[format!("{effect}: {why}")])?,
    }
    Ok(if effect == "Allow" { exit::DONE } else { exit::DENY })
}
