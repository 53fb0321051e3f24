//! `[[mapping]]`: one thing at the IdP, and the roles it gives.

mod organization;

use regex::Regex;

use super::fault::{Code, listed, near_miss};
use super::kind::Facts;
use super::reader::{Node, Read, Table, all};
use super::role::{RoleNames, check_captures};
use crate::model::{Diagnostic, DiagnosticCode, Subject, check_role_name};
use crate::resolve::template::{anchored, ignoring_case};
use crate::resolve::{Mapping, MappingRule, Names};

const RULES: [&str; 9] = [
    "group",
    "group_id",
    "group_regex",
    "group_name",
    "realm_role",
    "client_role",
    "organization",
    "organization_group",
    "attribute",
];

/// Reads `[[mapping]]`. `known` must hold every role, `facts` every source.
pub(super) fn mappings(
    root: &Table<'_>,
    known: &RoleNames,
    facts: &[Facts],
    warnings: &mut Vec<Diagnostic>,
) -> Read<Vec<Mapping>> {
    let Some(node) = root.get("mapping") else { return Ok(Vec::new()) };
    let tables = node.tables()?;
    let numbered = (1usize..).zip(tables);
    all(numbered.map(|(number, table)| mapping(&table, number, known, facts, warnings)))
}

fn mapping(
    table: &Table<'_>,
    number: usize,
    known: &RoleNames,
    facts: &[Facts],
    warnings: &mut Vec<Diagnostic>,
) -> Read<Mapping> {
    // A source whose own name is at fault may be the one that is meant here.
    let all_named = !facts.is_empty() && facts.iter().all(|fact| fact.name.is_some());
    let source = table.optional("source", |node| {
        let name = node.string()?.to_owned();
        let names = || facts.iter().filter_map(|fact| fact.name.as_deref());
        if all_named && !names().any(|known| known == name) {
            return Err(node.fault_near(
                Code::UnknownName,
                format!(
                    "no source is called `{}`; there are {}",
                    name.escape_debug(),
                    listed(names())
                ),
                near_miss(&name, names()),
            ));
        }
        Ok(name)
    });
    let reached: Vec<&Facts> = match &source {
        Ok(Some(name)) => facts.iter().filter(|f| f.name.as_deref() == Some(name)).collect(),
        Ok(None) => facts.iter().collect(),
        Err(_) => Vec::new(),
    };
    let mut rules: Vec<Read<MappingRule>> = Vec::new();
    let mut given = Vec::new();
    for key in RULES {
        if let Some(node) = table.get(key) {
            given.push(key);
            rules.push(rule(key, &node, &reached, warnings));
        }
    }
    let captures = given.contains(&"group_regex");
    let regex = rules.iter().flatten().find_map(|rule| match rule {
        MappingRule::GroupRegex { regex, .. } => Some(regex.clone()),
        _ => None,
    });
    let regex = regex.as_ref();
    let roles = table.required("roles", |node| {
        all(node.some_list()?.iter().map(|node| role(node, captures, regex, known)))
    });
    table.finish();
    let rule = match (rules.pop(), given.as_slice()) {
        (Some(rule), [_]) => rule,
        (None, _) => Err(table.meant(&RULES).unwrap_or_else(|| {
            table.fault(
                Code::MissingKey,
                format!("names nothing at the IdP: give one of {}", listed(RULES)),
            )
        })),
        (Some(_), given) => Err(table.fault(
            Code::Conflict,
            format!("has {}: one only; make a mapping of each", listed(given.iter().copied())),
        )),
    };
    Ok(Mapping { number, source: source?, rule: rule?, roles: roles? })
}

fn role(node: &Node<'_>, captures: bool, regex: Option<&Regex>, known: &RoleNames) -> Read<String> {
    let name = node.string()?.to_owned();
    if captures && name.contains('$') {
        check_captures(node, &name, regex)?;
        return Ok(name);
    }
    if name.contains("${") {
        return Err(node.bad(format!(
            "`{}` holds `${{`: only `group_regex` captures anything",
            name.escape_debug()
        )));
    }
    check_role_name(&name).map_err(|error| node.bad(error.to_string()))?;
    known.check(node, &name)?;
    Ok(name)
}

/// The rule under `key`. `reached` are the sources that the mapping speaks of: none where that is
/// unknown, and then nothing is held against the rule.
fn rule(
    key: &str,
    node: &Node<'_>,
    reached: &[&Facts],
    warnings: &mut Vec<Diagnostic>,
) -> Read<MappingRule> {
    let all_are =
        |names: Names| !reached.is_empty() && reached.iter().all(|fact| fact.names == Some(names));
    // Where names are folded, groups are entries of a directory.
    let (all_directories, no_directory) = (all_are(Names::Folded), all_are(Names::Exact));
    match key {
        "group" if node.is_list() => {
            if all_directories {
                return Err(node.fault(
                    Code::Conflict,
                    "a list of names is a Keycloak group: name a group of a directory by its DN",
                ));
            }
            let names = all(node.some_list()?.iter().map(Node::text))?;
            Ok(MappingRule::GroupPath(names))
        }
        "group" => {
            if node.as_str().is_none() {
                return Err(node.wrong_type("a DN, a path or a list of names"));
            }
            let group = node.text()?;
            let path = group.starts_with('/') && group.len() > 1;
            let dn = group.contains('=');
            if no_directory && !path {
                return Err(node.bad(format!(
                    "`{group}` is not the path of a Keycloak group: expected the like of `/Eng/ML`"
                )));
            }
            if all_directories && !dn {
                return Err(node.bad(format!(
                    "`{group}` is not a DN: expected the like of \
                     `cn=ml,ou=groups,dc=example,dc=org`"
                )));
            }
            if !path && !dn {
                return Err(node.bad(format!(
                    "`{group}` is neither a Keycloak path such as `/Eng/ML` nor a DN; for a bare \
                     name use `group_name`"
                )));
            }
            match group.trim_end_matches('/') {
                short if path && !short.is_empty() && short.len() < group.len() => {
                    warnings.push(trailing_slash(node, (&group, short), "group = [\"…\", \"…\"]"));
                    Ok(MappingRule::Group(short.to_owned()))
                }
                _ => Ok(MappingRule::Group(group)),
            }
        }
        "group_id" => stable_id(node).map(MappingRule::GroupId),
        "group_name" => node.text().map(MappingRule::GroupName),
        "group_regex" => {
            let regex = node.parsed(anchored)?;
            let folded = node.parsed(|_| ignoring_case(&regex))?;
            Ok(MappingRule::GroupRegex { text: node.string()?.to_owned(), regex, folded })
        }
        "realm_role" | "client_role" if all_directories => Err(node.fault(
            Code::Conflict,
            "a directory has no Keycloak roles: use `group` or `group_name`",
        )),
        "organization" | "organization_group" if all_directories => Err(node.fault(
            Code::Conflict,
            "a directory has no organizations: they are Keycloak's; use `group` or `group_name`",
        )),
        "organization" => organization::members(node),
        "organization_group" => organization::group(node, warnings),
        "realm_role" => node.text().map(MappingRule::RealmRole),
        "client_role" => client_role(node, reached, warnings),
        _ => attribute(node),
    }
}

/// What is told where a path ends in a slash that is not read.
fn trailing_slash(node: &Node<'_>, (path, read): (&str, &str), list: &str) -> Diagnostic {
    let message = format!(
        "{}: `{path}` is read as `{read}`: a group whose own name ends in a slash is named by the \
         names from the top, `{list}`",
        node.key
    );
    let subject = Subject::Setting(node.key.clone());
    Diagnostic::warning(DiagnosticCode::TrailingSlash, subject, message)
}

/// A stable id: Keycloak's, `entryUUID`, `objectGUID`, `nsUniqueId`.
fn stable_id(node: &Node<'_>) -> Read<String> {
    let id = node.text()?;
    if id.starts_with('/') || id.contains('=') || id.chars().any(char::is_whitespace) {
        return Err(node.bad(format!(
            "`{}` is not the id of a group: a path or a DN goes under `group`",
            id.escape_debug()
        )));
    }
    Ok(id)
}

/// `["client", "role"]`
fn client_role_of(node: &Node<'_>, reached: &[&Facts]) -> Read<MappingRule> {
    let names = all(node.some_list()?.iter().map(Node::text))?;
    let [client, role] = names.as_slice() else {
        return Err(node.bad("is not a list of two names, `[\"client\", \"role\"]`"));
    };
    let with_clients = || reached.iter().filter(|fact| fact.names != Some(Names::Folded));
    let clients = || with_clients().flat_map(|fact| fact.clients.iter().flatten());
    let unknown = reached.is_empty() || with_clients().any(|fact| fact.clients.is_none());
    if !unknown && !clients().any(|known| known == client) {
        return Err(node.fault_near(
            Code::UnknownName,
            format!("client `{client}` is in no source's `clients`, so its roles do not count"),
            near_miss(client, clients().map(String::as_str)),
        ));
    }
    Ok(MappingRule::ClientRoleOf { client: client.clone(), role: role.clone() })
}

/// `client/role`. Both may hold slashes, so the configured clients say where the first ends; where
/// two of them fit, the roles that there are decide, and a list says it outright.
fn client_role(
    node: &Node<'_>,
    reached: &[&Facts],
    warnings: &mut Vec<Diagnostic>,
) -> Read<MappingRule> {
    if node.is_list() {
        return client_role_of(node, reached);
    }
    if node.as_str().is_none() {
        return Err(node.wrong_type("`\"client/role\"` or a list of the two names"));
    }
    let text = node.text()?;
    let Some((client, role)) = text.split_once('/') else {
        return Err(node.bad(format!("`{text}` is not a client's role: expected `client/role`")));
    };
    if client.is_empty() || role.is_empty() {
        return Err(node.bad(format!("`{text}` is not a client's role: expected `client/role`")));
    }
    let with_clients = || reached.iter().filter(|fact| fact.names != Some(Names::Folded));
    if with_clients().any(|fact| fact.clients.is_none()) || reached.is_empty() {
        return Ok(MappingRule::ClientRole(text));
    }
    let clients = || with_clients().flat_map(|fact| fact.clients.iter().flatten());
    let role_of = |client: &str| {
        let role = text.strip_prefix(client).and_then(|rest| rest.strip_prefix('/'));
        role.filter(|role| !role.is_empty()).map(str::to_owned)
    };
    let mut readings: Vec<(&str, String)> =
        clients().filter_map(|client| Some((client.as_str(), role_of(client)?))).collect();
    readings.sort();
    readings.dedup();
    if readings.len() > 1 {
        let ways: Vec<String> = readings
            .iter()
            .map(|(client, role)| format!("role `{role}` of client `{client}`"))
            .collect();
        warnings.push(Diagnostic::warning(
            DiagnosticCode::ClientRoleAmbiguous,
            Subject::Setting(node.key.clone()),
            format!(
                "{}: `{text}` is ambiguous, it may be {}: write it as a list, \
             `client_role = [\"client\", \"role\"]`",
                node.key,
                ways.join(" or ")
            ),
        ));
    }
    if !readings.is_empty() {
        return Ok(MappingRule::ClientRole(text));
    }
    Err(node.fault_near(
        Code::UnknownName,
        format!("client `{client}` is in no source's `clients`, so its roles do not count"),
        near_miss(client, clients().map(String::as_str)),
    ))
}

/// `{ name = "…", value = "…" }`
fn attribute(node: &Node<'_>) -> Read<MappingRule> {
    let Some(table) = node.as_table() else {
        return Err(node.wrong_type("`{ name = \"…\", value = \"…\" }`"));
    };
    let name = table.required("name", |node| {
        let name = node.text()?;
        if name.contains('=') {
            return Err(node.bad(format!("`{name}` is not the name of an attribute")));
        }
        Ok(name)
    });
    let value = table.required("value", Node::text);
    table.finish();
    Ok(MappingRule::Attribute { name: name?, value: value? })
}
