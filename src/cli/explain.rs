//! `idpsyncd explain`: why a user holds each role, and why not others. What was granted is told
//! from the reasons that were recorded when it was granted, never worked out again. What stands in
//! the way is told with it: a name in doubt, changes that wait for a person.

use chrono::Utc;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::{ExplainArgs, Output};
use super::places::{Within, places};
use super::print::{self, Style};
use super::user::{detail, find, header, origin, why};
use super::{Context, Failure, authorize, exit, reach, token};
use crate::config::Config;
use crate::directory::Directory;
use crate::model::{ChangeKind, Inconsistent, Mode, Role, rfc3339};
use crate::plan::{ChangeView, Held};
use crate::policy::{Action, Effect, Policy, Resource, Verdict, decide};
use crate::resolve::template::could_be;
use crate::resolve::{InDoubt, Mapping, MappingRule, in_doubt};
use crate::store::{HistoryFilter, Reader, UserDetail};
use crate::sync::{self, RunError};

/// Why someone does not hold a role.
struct WhyNot {
    role: String,
    lines: Vec<String>,
}

pub(super) fn run(at: Context<'_>, args: &ExplainArgs, output: Output) -> Result<u8, Failure> {
    let Context { config, store } = at;
    let name = match (&args.workload, &args.user) {
        (Some(identity), _) => return reach::explain(store, identity, output),
        (None, Some(name)) => name,
        (None, None) => return Err(Failure::Usage("name a user, or `--workload`".to_owned())),
    };
    let asked = asked(args)?;
    let reader = sync::existing_reader(store)?;
    let held = reader.held()?;
    let user = find(&*reader, name).map_err(|failure| waits(failure, held.as_ref(), name))?;
    let roles = roles(&*reader)?;
    if let Some(role) = &args.role
        && !roles.iter().any(|known| known.name == *role)
    {
        return Err(Failure::Error(format!(
            "the store knows no role `{role}`; it knows {}",
            roles.iter().map(|r| format!("`{}`", r.name)).collect::<Vec<_>>().join(", ")
        )));
    }
    let (places, within) = places(config, &*reader, &user)?;
    let ways = Obstacles {
        doubts: doubts(config, &*reader, &roles, &within)?,
        held: held.as_ref(),
        user: &user.username,
    };
    let suspended = authorize::suspended(&user.status);
    let mut not = Vec::new();
    for role in roles.iter().filter(|role| args.role.as_ref().is_none_or(|it| *it == role.name)) {
        let granted = user.grants.iter().any(|grant| grant.role == role.name);
        if !granted && !user.roles.contains(&role.name) {
            not.push(why_not(config, &*reader, &user, role, suspended.as_deref(), &ways)?);
        }
    }
    let decision = asked.as_ref().map(|(action, resource)| {
        let held: Vec<&Role> =
            roles.iter().filter(|role| user.roles.contains(&role.name)).collect();
        decision(&held, &roles, (action, resource.as_ref()), &user.username)
    });
    let explained = Explained {
        user: &user,
        roles: &roles,
        only: args.role.as_deref(),
        suspended: suspended.as_deref(),
        ways,
        not,
        places,
        decision,
    };
    match output {
        Output::Json => {
            print::json(&explained.json(token::of_user(&*reader, user.id, Utc::now())?))?;
        }
        Output::Text => {
            let tokens = token::lines_of_user(&*reader, user.id, Utc::now())?;
            print::lines(&explained.lines(tokens, Style::detect()))?;
        }
    }
    Ok(exit::DONE)
}

/// The request that is to be decided, where one is named.
fn asked(args: &ExplainArgs) -> Result<Option<(Action, Option<Resource>)>, Failure> {
    let Some(action) = &args.action else { return Ok(None) };
    let action = action.parse().map_err(|e| Failure::Usage(format!("{e}")))?;
    let resource = args.resource.as_ref().map(|it| it.parse()).transpose();
    Ok(Some((action, resource.map_err(|e| Failure::Usage(format!("{e}")))?)))
}

/// What there is to say of a user.
struct Explained<'a> {
    user: &'a UserDetail,
    roles: &'a [Role],
    /// Of this role alone.
    only: Option<&'a str>,
    /// Why nothing that the user holds counts.
    suspended: Option<&'a str>,
    ways: Obstacles<'a>,
    not: Vec<WhyNot>,
    /// What the sources say the user is in.
    places: Vec<String>,
    decision: Option<(Value, Vec<String>)>,
}

impl Explained<'_> {
    fn wanted(&self, role: &str) -> bool {
        self.only.is_none_or(|only| only == role)
    }

    fn json(&self, tokens: impl Serialize) -> Value {
        let mut value = detail(self.user);
        if let Some(map) = value.as_object_mut() {
            let everyone: Vec<&str> = everyone(self.roles, self.user).collect();
            let not = self.not.iter().map(|not| json!({ "role": not.role, "why": not.lines }));
            map.insert("suspended".to_owned(), json!(self.suspended));
            map.insert("memberships".to_owned(), json!(self.places));
            map.insert("tokens".to_owned(), json!(tokens));
            map.insert("everyone".to_owned(), json!(everyone));
            map.insert("in_doubt".to_owned(), json!(self.ways.told()));
            map.insert("held".to_owned(), self.ways.held_json());
            map.insert("not_held".to_owned(), not.collect());
            if let Some((decision, _)) = &self.decision {
                map.insert("decision".to_owned(), decision.clone());
            }
        }
        value
    }

    fn lines(&self, tokens: Vec<String>, style: Style) -> Vec<String> {
        let mut out = header(self.user, style);
        out.push(String::new());
        out.push(style.bold("Why"));
        out.extend(self.why(style));
        let section = |out: &mut Vec<String>, title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                out.push(String::new());
                out.push(style.bold(title));
                out.extend(lines);
            }
        };
        section(&mut out, "Why not", self.why_not(style));
        let tokens = if self.only.is_none() { tokens } else { Vec::new() };
        section(&mut out, "Access tokens", tokens);
        let indented = |line: &String| format!("  {line}");
        let waits = self.ways.of_the_user().iter().map(indented).collect();
        section(&mut out, "Waits for a person", waits);
        let places = self.places.iter().map(|place| format!("  {}", print::shown(place)));
        section(&mut out, "In the sources", places.collect());
        if let Some((_, lines)) = &self.decision {
            section(&mut out, "Decision", lines.iter().map(indented).collect());
        }
        out
    }

    /// Each role that the user holds, and why.
    fn why(&self, style: Style) -> Vec<String> {
        let mut out = Vec::new();
        for role in everyone(self.roles, self.user).filter(|role| self.wanted(role)) {
            out.push(format!("  {} {role}: everyone who is enabled holds it", style.green("+")));
        }
        for grant in self.user.grants.iter().filter(|grant| self.wanted(&grant.role)) {
            let counts = self.user.roles.contains(&grant.role);
            let sign = if counts { style.green("+") } else { style.yellow("~") };
            out.push(format!("  {sign} {} ({}, mode {})", grant.role, origin(grant), grant.mode));
            out.extend(why(grant).iter().map(|why| format!("      {why}")));
            let before = self.ways.before(&grant.role);
            out.extend(before.iter().map(|line| format!("      {}", style.yellow(line))));
            if !counts {
                let why = self.suspended.unwrap_or("its time is over");
                out.push(format!("      does not count: {why}"));
            }
        }
        out
    }

    /// Each role that the user does not hold, and why not.
    fn why_not(&self, style: Style) -> Vec<String> {
        let mut out = Vec::new();
        for not in &self.not {
            out.push(format!("  {} {}", style.red("-"), not.role));
            out.extend(not.lines.iter().map(|line| format!("      {}", style.dim(line))));
        }
        out
    }
}

fn roles(reader: &dyn Reader) -> Result<Vec<Role>, Failure> {
    Ok(reader.roles()?)
}

/// Roles that the user holds because everyone does.
fn everyone<'a>(roles: &'a [Role], user: &'a UserDetail) -> impl Iterator<Item = &'a str> {
    roles
        .iter()
        .filter(|role| role.everyone && user.roles.contains(&role.name))
        .map(|role| role.name.as_str())
}

/// What stands in the way of a user's roles.
struct Obstacles<'a> {
    /// Names in doubt that the user bears something of.
    doubts: Vec<InDoubt>,
    held: Option<&'a Held>,
    user: &'a str,
}

impl Obstacles<'_> {
    /// What stands before `role`, a line each.
    fn before(&self, role: &str) -> Vec<String> {
        let doubts = self.doubts.iter().filter(|doubt| doubt.roles.contains(role));
        let mut lines: Vec<String> =
            doubts.map(|doubt| print::shown(&doubt.told.message)).collect();
        lines.extend(self.waiting(|change| change.role.as_deref() == Some(role)));
        lines
    }

    /// What waits that is about the user and no role.
    fn of_the_user(&self) -> Vec<String> {
        self.waiting(|change| change.role.is_none())
    }

    fn waiting(&self, wanted: impl Fn(&ChangeView) -> bool) -> Vec<String> {
        let Some(held) = self.held else { return Vec::new() };
        let mine = held.changes.iter().filter(|change| change.user.as_deref() == Some(self.user));
        mine.filter(|change| wanted(change)).map(|change| waiting(held, change)).collect()
    }

    fn told(&self) -> Vec<&str> {
        self.doubts.iter().map(|doubt| doubt.told.message.as_str()).collect()
    }

    fn held_json(&self) -> Value {
        let Some(held) = self.held else { return Value::Null };
        let mine = held.changes.iter().filter(|change| change.user.as_deref() == Some(self.user));
        let mine: Vec<&ChangeView> = mine.collect();
        if mine.is_empty() { Value::Null } else { json!({ "id": held.id, "changes": mine }) }
    }
}

fn waiting(held: &Held, change: &ChangeView) -> String {
    format!("waits in the held plan {}: {}", held.id, print::shown(&change.to_string()))
}

/// The failure to find a user, with what is held of somebody of that name.
fn waits(failure: Failure, held: Option<&Held>, name: &str) -> Failure {
    let canonical = crate::model::username::canonical(name).unwrap_or(name.into());
    let change = held.and_then(|held| {
        let mut changes = held.changes.iter();
        Some((held, changes.find(|change| change.user.as_deref() == Some(canonical.as_ref()))?))
    });
    match (failure, change) {
        (Failure::Error(message), Some((held, change))) => {
            Failure::Error(format!("{message}; {}", waiting(held, change)))
        }
        (failure, _) => failure,
    }
}

/// Names in doubt, of those things that the user is in.
fn doubts(
    config: &Config,
    reader: &dyn Reader,
    roles: &[Role],
    within: &Within,
) -> Result<Vec<InDoubt>, Failure> {
    let mut structures = Vec::new();
    for source in &config.sources {
        structures.extend(reader.structure(&source.name)?.map(|it| (source.name.as_str(), it)));
    }
    let all: Vec<(&str, &Directory)> = structures.iter().map(|(name, it)| (*name, it)).collect();
    let mut doubts = in_doubt(&config.settings(), &all, roles)
        .map_err(|full| RunError::from(Inconsistent::from(full)))?;
    doubts.retain(|doubt| {
        doubt.bearers.iter().any(|it| within.contains(&(doubt.source.clone(), it.clone())))
    });
    Ok(doubts)
}

/// Why `user` does not hold `role`: the mode, the rules that would give it, what became of it.
fn why_not(
    config: &Config,
    reader: &dyn Reader,
    user: &UserDetail,
    role: &Role,
    suspended: Option<&str>,
    ways: &Obstacles<'_>,
) -> Result<WhyNot, Failure> {
    let mut lines = ways.before(&role.name);
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
        && row.change.change == ChangeKind::GrantRemoved
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
    let what = if config.is_protected(&role.name) { "a role" } else { "a role or group" };
    if let Some(declared) = config.roles.get(&role.name) {
        if !declared.external_roles.is_empty() {
            let names: Vec<String> =
                declared.external_roles.iter().map(|name| format!("`{name}`")).collect();
            out.push(format!("{what} called {} (roles.{})", names.join(" or "), role.name));
        }
    } else if let Some(template) = &role.template {
        out.push(format!("{what} called `{}` (template `{template}`)", role.name));
    }
    for mapping in &config.mappings {
        if could_give(config, mapping, &role.name) {
            out.push(rule(mapping));
        }
    }
    out
}

/// Whether a mapping can give `role`: a protected one is reached by nothing loose, and a pattern
/// comes to what its captures can be.
fn could_give(config: &Config, mapping: &Mapping, role: &str) -> bool {
    let loose = match &mapping.rule {
        MappingRule::GroupRegex { regex, .. } => {
            let comes_to = |target: &String| could_be(target, regex, role);
            return !config.is_protected(role) && mapping.roles.iter().any(comes_to);
        }
        MappingRule::GroupName(_) | MappingRule::Attribute { .. } => true,
        MappingRule::Group(_)
        | MappingRule::GroupPath(_)
        | MappingRule::GroupId(_)
        | MappingRule::Organization(_)
        | MappingRule::OrganizationGroup(_)
        | MappingRule::OrganizationGroupPath { .. }
        | MappingRule::OrganizationGroupId { .. }
        | MappingRule::RealmRole(_)
        | MappingRule::ClientRole(_)
        | MappingRule::ClientRoleOf { .. } => false,
    };
    !(loose && config.is_protected(role)) && mapping.roles.iter().any(|target| target == role)
}

fn rule(mapping: &Mapping) -> String {
    let source = mapping.source.as_ref().map(|s| format!(" of `{s}`")).unwrap_or_default();
    format!("{}{source} (mapping[{}])", mapping.rule, mapping.number)
}

/// The decision, as JSON and as lines, with the roles that would allow it.
fn decision(
    held: &[&Role],
    all: &[Role],
    (action, resource): (&Action, Option<&Resource>),
    me: &str,
) -> (Value, Vec<String>) {
    let policies = |role: &&Role| -> Vec<Policy> { role.policies.clone() };
    let held: Vec<(&str, Vec<Policy>)> =
        held.iter().map(|role| (role.name.as_str(), policies(role))).collect();
    let me = Some(me);
    let roles = held.iter().map(|(name, policies)| (*name, policies.as_slice()));
    let verdict = decide(roles, action, resource, me);
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
            matches!(decide(one, action, resource, me), Verdict::Decided(Effect::Allow, _, _))
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
