//! Roles: what OSMO's reading lets pass silently is a fault here.

use std::collections::BTreeMap;

use super::super::yaml::{Node, Position};
use super::{FileParse, Imported, Osmo};
use crate::model::fault::{Code, near_miss};
use crate::model::{DiagnosticCode, Mode, check_role_name};
use crate::policy::{ActionPattern, Effect, Policy, ResourcePattern};
use crate::resolve::RoleDefinition;

/// The role that everybody has.
const EVERYONE: &str = "osmo-default";

/// Takes one role of a file.
pub(super) fn take(
    parse: &mut FileParse<'_>,
    osmo: &mut Osmo,
    (name, place, node): (&str, Position, &Node),
) {
    let key = format!("roles.{}", name.escape_debug());
    let declared = parse.at(place);
    if let Some(first) = osmo.roles.get(name).and_then(|role| role.declared.as_ref()) {
        let message = format!("role `{name}` is declared twice: first in `{first}`");
        return parse.fault(place, &key, Code::Conflict, message);
    }
    if let Err(error) = check_role_name(name) {
        return parse.fault(place, &key, Code::BadValue, error.to_string());
    }
    if let Some(role) = role(parse, name, &key, node) {
        osmo.roles.insert(name.to_owned(), Imported { role, declared: Some(declared) });
    }
}

/// Notes roles that a chart has where its values are silent.
pub(super) fn take_defaults(roles: Vec<(String, Node)>, into: &mut BTreeMap<String, Node>) {
    for (name, node) in roles {
        into.entry(name).or_insert(node);
    }
}

/// Adds those of the `defaults` that no file declares.
pub(super) fn add_defaults(osmo: &mut Osmo, defaults: BTreeMap<String, Node>) {
    for (name, node) in defaults {
        if osmo.roles.contains_key(&name) {
            continue;
        }
        let mut parse = FileParse {
            file: std::path::Path::new(""),
            faults: Vec::new(),
            diagnostics: Vec::new(),
        };
        if let Some(role) = role(&mut parse, &name, &name, &node) {
            osmo.roles.insert(name, Imported { role, declared: None });
        }
    }
}

fn role(parse: &mut FileParse<'_>, name: &str, key: &str, node: &Node) -> Option<RoleDefinition> {
    if node.map().is_none() {
        let message = format!("expected a role, found {}", node.kind());
        parse.fault(node.place, key, Code::WrongType, message);
        return None;
    }
    let before = parse.faults.len();
    let known = ["name", "description", "policies", "immutable", "sync_mode", "external_roles"];
    parse.only(key, node, &known);
    if let Some(own) = node.get("name").filter(|own| !own.is_null())
        && own.text() != Some(name)
    {
        let message = format!("is not the name `{name}` under which the role stands");
        parse.fault(own.place, &format!("{key}.name"), Code::Conflict, message);
    }
    let description = match node.get("description").filter(|it| !it.is_null()) {
        None => String::new(),
        Some(it) => it.text().map(str::to_owned).unwrap_or_else(|| {
            let message = format!("expected a string, found {}", it.kind());
            parse.fault(it.place, &format!("{key}.description"), Code::WrongType, message);
            String::new()
        }),
    };
    let mode = sync_mode(parse, &format!("{key}.sync_mode"), node.get("sync_mode"));
    let everyone = name == EVERYONE;
    let external_roles = external_roles(parse, name, key, node, everyone);
    let policies = policies(parse, &format!("{key}.policies"), node.get("policies"));
    (parse.faults.len() == before).then_some(RoleDefinition {
        description,
        everyone,
        mode,
        external_roles,
        policies,
    })
}

fn sync_mode(parse: &mut FileParse<'_>, key: &str, node: Option<&Node>) -> Mode {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Mode::Import };
    let found = Mode::ALL.into_iter().find(|mode| Some(mode.as_str()) == node.text());
    found.unwrap_or_else(|| {
        let words = Mode::ALL.map(Mode::as_str);
        let given = node.text().unwrap_or(node.kind());
        let message = format!("`{}` is not one of `{}`", given.escape_debug(), words.join("`, `"));
        let near = near_miss(given, words);
        parse.fault_near(node.place, key, Code::BadValue, message, near);
        Mode::Import
    })
}

fn external_roles(
    parse: &mut FileParse<'_>,
    name: &str,
    key: &str,
    node: &Node,
    everyone: bool,
) -> Vec<String> {
    let key = format!("{key}.external_roles");
    let given = node.get("external_roles").filter(|given| !given.is_null());
    let Some(names) = parse.texts(&key, given) else { return Vec::new() };
    match given {
        Some(given) if everyone && !names.is_empty() => {
            let message = "has no effect: everybody holds the role anyway";
            let code = DiagnosticCode::OsmoExternalRolesUnused;
            parse.warn(code, given.place, &key, message);
            Vec::new()
        }
        Some(_) => names.into_iter().map(|(name, _)| name).collect(),
        None if everyone => Vec::new(),
        None => vec![name.to_owned()],
    }
}

fn policies(parse: &mut FileParse<'_>, key: &str, node: Option<&Node>) -> Vec<Policy> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Vec::new() };
    let Some(items) = node.list() else {
        let message = format!("expected a list, found {}", node.kind());
        parse.fault(node.place, key, Code::WrongType, message);
        return Vec::new();
    };
    let each = (1usize..).zip(items);
    each.filter_map(|(number, item)| policy(parse, &format!("{key}[{number}]"), item)).collect()
}

/// One policy; `None` where a fault says why not.
fn policy(parse: &mut FileParse<'_>, key: &str, node: &Node) -> Option<Policy> {
    if node.map().is_none() {
        let message = format!("expected a policy, found {}", node.kind());
        parse.fault(node.place, key, Code::WrongType, message);
        return None;
    }
    parse.only(key, node, &["effect", "actions", "resources"]);
    let effect = effect(parse, &format!("{key}.effect"), node.get("effect"));
    let actions = actions(parse, &format!("{key}.actions"), node);
    let resources = resources(parse, &format!("{key}.resources"), node.get("resources"));
    let resources = Some(resources?).filter(|resources| !resources.is_empty());
    Some(Policy { effect: effect?, actions: actions?, resources })
}

/// Exactly `Allow` or `Deny`: a misspelt Deny that nobody heeds would give access.
fn effect(parse: &mut FileParse<'_>, key: &str, node: Option<&Node>) -> Option<Effect> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Some(Effect::Allow) };
    match node.text() {
        Some("Allow") => Some(Effect::Allow),
        Some("Deny") => Some(Effect::Deny),
        given => {
            let given = given.unwrap_or(node.kind());
            let message =
                format!("`{}` is not one of `Allow`, `Deny`; case counts", given.escape_debug());
            let near = near_miss(given, ["Allow", "Deny"]);
            parse.fault_near(node.place, key, Code::BadValue, message, near);
            None
        }
    }
}

fn actions(parse: &mut FileParse<'_>, key: &str, policy: &Node) -> Option<Vec<ActionPattern>> {
    let Some(node) = policy.get("actions").filter(|node| !node.is_null()) else {
        parse.fault(policy.place, key, Code::MissingKey, "a policy without actions");
        return None;
    };
    let Some(items) = node.list().filter(|items| !items.is_empty()) else {
        let message = match node.list() {
            Some(_) => "is an empty list".to_owned(),
            None => format!("expected a list, found {}", node.kind()),
        };
        parse.fault(node.place, key, Code::WrongType, message);
        return None;
    };
    let each: Vec<Option<ActionPattern>> = (1usize..)
        .zip(items)
        .map(|(number, item)| action(parse, &format!("{key}[{number}]"), item))
        .collect();
    each.into_iter().collect()
}

/// `type:Name`, or the same as `{action: …}`.
fn action(parse: &mut FileParse<'_>, key: &str, node: &Node) -> Option<ActionPattern> {
    let is_set = |key: &str| node.get(key).is_some_and(|it| !it.is_null() && it.text() != Some(""));
    let (key, node) = if node.map().is_some() {
        let older = ["base", "path", "method"].into_iter().any(is_set);
        match node.get("action").filter(|_| is_set("action")) {
            Some(action) if !older => {
                parse.only(key, node, &["action", "base", "path", "method"]);
                (format!("{key}.action"), action)
            }
            _ if older => {
                let message = "is of the older form `{base, path, method}`, which names no action: \
                               write the action, such as `workflow:Create`";
                parse.fault(node.place, key, Code::BadValue, message);
                return None;
            }
            _ => {
                parse.fault(node.place, key, Code::MissingKey, "names no action");
                return None;
            }
        }
    } else {
        (key.to_owned(), node)
    };
    let text = parse.text(&key, node)?;
    // To OSMO a bare star is every action.
    let spelt = if text == "*" { "*:*" } else { text.as_str() };
    match spelt.parse() {
        Ok(pattern) => {
            if !is_osmos(spelt) {
                let message = format!(
                    "OSMO has no action that `{text}` could mean: they are spelt like \
                     `workflow:Create`, and case counts"
                );
                let code = DiagnosticCode::OsmoActionUnknown;
                parse.warn(code, node.place, &key, &message);
            }
            Some(pattern)
        }
        Err(error) => {
            parse.fault(node.place, &key, Code::BadValue, error.to_string());
            None
        }
    }
}

/// What OSMO's API takes for an action: `^(\*|[a-z]+):(\*|[A-Z][a-zA-Z]*)$`.
fn is_osmos(text: &str) -> bool {
    let Some((kind, name)) = text.split_once(':') else { return false };
    let kind = kind == "*" || kind.bytes().all(|b| b.is_ascii_lowercase());
    let upper = name.starts_with(|c: char| c.is_ascii_uppercase());
    kind && (name == "*" || (upper && name.bytes().all(|b| b.is_ascii_alphabetic())))
}

/// Absent, null and empty are one, the empty list: requests without a resource.
fn resources(
    parse: &mut FileParse<'_>,
    key: &str,
    node: Option<&Node>,
) -> Option<Vec<ResourcePattern>> {
    let texts = parse.texts(key, node)?;
    let each: Vec<Option<ResourcePattern>> = (1usize..)
        .zip(texts)
        .map(|(number, (text, place))| match text.parse() {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let hint = if text.contains('*') && !text.contains('/') {
                    "; a pattern that goes over several scopes is not taken: name each, such as \
                     `pool/*`"
                } else {
                    ""
                };
                let key = format!("{key}[{number}]");
                parse.fault(place, &key, Code::BadValue, format!("{error}{hint}"));
                None
            }
        })
        .collect();
    each.into_iter().collect()
}
