//! `idpsyncd explain`: why a user holds each role, and why not others. What was granted is told
//! from the reasons that were recorded when it was granted, never worked out again.

use serde_json::{Value, json};

use super::args::{ExplainArgs, Output};
use super::print::{self, Style};
use super::user::{detail, find, header, origin, why};
use super::{Failure, authorize, exit};
use crate::config::{Config, Mapping};
use crate::model::{Mode, Role, rfc3339};
use crate::pipeline;
use crate::policy::{Action, Effect, Policy, Resource, Verdict, decide};
use crate::source::Directory;
use crate::store::{HistoryFilter, Reader, UserDetail};

/// Why someone does not hold a role.
struct WhyNot {
    role: String,
    lines: Vec<String>,
}

pub(super) fn run(config: &Config, args: &ExplainArgs, output: Output) -> Result<u8, Failure> {
    let action: Option<Action> = match &args.action {
        Some(action) => Some(action.parse().map_err(|e| Failure::Usage(format!("{e}")))?),
        None => None,
    };
    let resource: Option<Resource> = match &args.resource {
        Some(resource) => Some(resource.parse().map_err(|e| Failure::Usage(format!("{e}")))?),
        None => None,
    };
    let reader = pipeline::existing_reader(&config.store)?;
    let user = find(&reader, &args.user)?;
    let state_roles = roles(&reader)?;
    if let Some(role) = &args.role
        && !state_roles.iter().any(|known| known.name == *role)
    {
        return Err(Failure::Error(format!(
            "the store knows no role `{role}`; it knows {}",
            state_roles.iter().map(|r| format!("`{}`", r.name)).collect::<Vec<_>>().join(", ")
        )));
    }
    let places = places(&reader, &user)?;
    let suspended = authorize::suspended(&user.status);
    let wanted = |role: &str| args.role.as_ref().is_none_or(|wanted| wanted == role);
    let mut not = Vec::new();
    for role in state_roles.iter().filter(|role| wanted(&role.name)) {
        let granted = user.grants.iter().any(|grant| grant.role == role.name);
        if !granted && !user.roles.contains(&role.name) {
            not.push(why_not(config, &reader, &user, role, suspended.as_deref())?);
        }
    }
    let decision = action.as_ref().map(|action| {
        let held: Vec<&Role> =
            state_roles.iter().filter(|role| user.roles.contains(&role.name)).collect();
        decision(&held, &state_roles, action, resource.as_ref())
    });
    match output {
        Output::Json => {
            let mut value = detail(&user);
            if let Some(map) = value.as_object_mut() {
                map.insert("suspended".to_owned(), json!(suspended));
                map.insert("memberships".to_owned(), json!(places));
                map.insert(
                    "everyone".to_owned(),
                    json!(everyone(&state_roles, &user).collect::<Vec<_>>()),
                );
                let not: Vec<Value> =
                    not.iter().map(|not| json!({ "role": not.role, "why": not.lines })).collect();
                map.insert("not_held".to_owned(), json!(not));
                if let Some(decision) = &decision {
                    map.insert("decision".to_owned(), decision.0.clone());
                }
            }
            print::json(&value)?;
        }
        Output::Text => {
            let style = Style::detect();
            let mut out = header(&user, style);
            out.push(String::new());
            out.push(style.bold("Why"));
            for role in everyone(&state_roles, &user).filter(|role| wanted(role)) {
                out.push(format!(
                    "  {} {role}: everyone who is enabled holds it",
                    style.green("+")
                ));
            }
            for grant in user.grants.iter().filter(|grant| wanted(&grant.role)) {
                let counts = user.roles.contains(&grant.role);
                let sign = if counts { style.green("+") } else { style.yellow("~") };
                out.push(format!(
                    "  {sign} {} ({}, mode {})",
                    grant.role,
                    origin(grant),
                    grant.mode
                ));
                out.extend(why(grant).iter().map(|why| format!("      {why}")));
                if !counts {
                    let why = suspended.as_deref().unwrap_or("its time is over");
                    out.push(format!("      does not count: {why}"));
                }
            }
            if !not.is_empty() {
                out.push(String::new());
                out.push(style.bold("Why not"));
            }
            for not in &not {
                out.push(format!("  {} {}", style.red("-"), not.role));
                out.extend(not.lines.iter().map(|line| format!("      {}", style.dim(line))));
            }
            if !places.is_empty() {
                out.push(String::new());
                out.push(style.bold("In the sources"));
                out.extend(places.iter().map(|place| format!("  {}", print::shown(place))));
            }
            if let Some((_, lines)) = decision {
                out.push(String::new());
                out.push(style.bold("Decision"));
                out.extend(lines.into_iter().map(|line| format!("  {line}")));
            }
            print::lines(&out)?;
        }
    }
    Ok(exit::DONE)
}

fn roles(reader: &Reader) -> Result<Vec<Role>, Failure> {
    Ok(reader.roles()?)
}

/// Roles that the user holds because everyone does.
fn everyone<'a>(roles: &'a [Role], user: &'a UserDetail) -> impl Iterator<Item = &'a str> {
    roles
        .iter()
        .filter(|role| role.everyone && user.roles.contains(&role.name))
        .map(|role| role.name.as_str())
}

/// What the mirrors say the user is directly in.
fn places(reader: &Reader, user: &UserDetail) -> Result<Vec<String>, Failure> {
    let mut out = Vec::new();
    for (source, ext) in &user.links {
        let Some(mirror) = reader.mirror(source)? else {
            out.push(format!("{source}: it was never read"));
            continue;
        };
        let directory: &Directory = &mirror.directory;
        let found = directory.users.binary_search_by(|row| directory.text(row.ext).cmp(ext));
        let Ok(place) = found else {
            out.push(format!("{source}: does not list the user any more"));
            continue;
        };
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let mut mine: Vec<String> = directory
            .containers
            .iter()
            .zip(&directory.members)
            .filter(|(_, members)| members.binary_search(&place).is_ok())
            .map(|(container, _)| {
                format!("{} `{}`", container.kind.as_str(), directory.text(container.identity))
            })
            .collect();
        mine.sort();
        let mine = if mine.is_empty() { "nothing".to_owned() } else { mine.join(", ") };
        out.push(format!("{source}: directly in {mine}"));
    }
    Ok(out)
}

/// Why `user` does not hold `role`: the mode, the rules that would give it, what became of it.
fn why_not(
    config: &Config,
    reader: &Reader,
    user: &UserDetail,
    role: &Role,
    suspended: Option<&str>,
) -> Result<WhyNot, Failure> {
    let mut lines = Vec::new();
    if role.everyone {
        lines.push(format!(
            "everyone who is enabled holds it, but {}",
            suspended.unwrap_or("the user does not count")
        ));
    } else if role.mode == Mode::Ignore {
        lines.push("mode ignore: only `idpsyncd grant add` gives it".to_owned());
    } else {
        let rules = rules_for(config, role);
        if rules.is_empty() {
            lines.push("no rule of the configuration gives it".to_owned());
        } else {
            lines.push(format!(
                "none of the rules that give it reach the user: {}",
                rules.join("; ")
            ));
        }
        if role.mode != Mode::Force {
            lines.push("there is no local grant".to_owned());
        }
    }
    let filter = HistoryFilter {
        user: Some(user.username.clone()),
        role: Some(role.name.clone()),
        since: None,
        limit: Some(1),
    };
    if let Some(row) = reader.history(&filter)?.first()
        && row.change.change == "grant-removed"
    {
        lines.push(format!(
            "taken away in generation {} at {}: {}",
            row.generation,
            rfc3339(row.at),
            row.change.why.clone().unwrap_or_default()
        ));
    }
    Ok(WhyNot { role: role.name.clone(), lines })
}

fn rules_for(config: &Config, role: &Role) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(declared) = config.roles.get(&role.name) {
        if !declared.external_roles.is_empty() {
            let names: Vec<String> =
                declared.external_roles.iter().map(|name| format!("`{name}`")).collect();
            out.push(format!(
                "a role or group called {} (roles.{})",
                names.join(" or "),
                role.name
            ));
        }
    } else if let Some(template) = &role.template {
        out.push(format!("a role or group called `{}` (template `{template}`)", role.name));
    }
    for mapping in &config.mappings {
        if mapping.roles.iter().any(|target| may_come_to(target, &role.name)) {
            out.push(rule(mapping));
        }
    }
    out
}

/// Whether a mapping's role, captures filled in, can be `role`.
fn may_come_to(target: &str, role: &str) -> bool {
    let Some((before, rest)) = target.split_once("${") else { return target == role };
    let after = rest.rsplit_once('}').map_or("", |(_, after)| after);
    role.len() > before.len() + after.len() && role.starts_with(before) && role.ends_with(after)
}

fn rule(mapping: &Mapping) -> String {
    let source = mapping.source.as_ref().map(|s| format!(" of `{s}`")).unwrap_or_default();
    format!("{}{source} (mapping[{}])", mapping.rule, mapping.number)
}

/// The decision, as JSON and as lines, with the roles that would allow it.
fn decision(
    held: &[&Role],
    all: &[Role],
    action: &Action,
    resource: Option<&Resource>,
) -> (Value, Vec<String>) {
    let policies = |role: &&Role| -> Vec<Policy> { role.policies.clone() };
    let held: Vec<(&str, Vec<Policy>)> =
        held.iter().map(|role| (role.name.as_str(), policies(role))).collect();
    let verdict =
        decide(held.iter().map(|(name, policies)| (*name, policies.as_slice())), action, resource);
    let (effect, role, policy, mut lines) = match verdict {
        Verdict::Decided(effect, role, position) => (
            effect.as_str(),
            Some(role),
            Some(position + 1),
            vec![format!(
                "{}: role `{role}`, policy {} speaks of {action}",
                effect.as_str(),
                position + 1
            )],
        ),
        Verdict::NoPolicy => (
            "Deny",
            None,
            None,
            vec![format!("Deny: no policy of an effective role speaks of {action}")],
        ),
    };
    let would: Vec<&str> = all
        .iter()
        .filter(|role| !held.iter().any(|(name, _)| *name == role.name))
        .filter(|role| {
            let one = std::iter::once((role.name.as_str(), role.policies.as_slice()));
            matches!(decide(one, action, resource), Verdict::Decided(Effect::Allow, _, _))
        })
        .map(|role| role.name.as_str())
        .collect();
    if effect == "Deny" && !would.is_empty() {
        lines.push(format!("roles that would allow it: {}", would.join(", ")));
    }
    let value = json!({
        "action": action, "resource": resource, "effect": effect, "role": role, "policy": policy,
        "roles_that_would_allow": would,
    });
    (value, lines)
}
