//! `[roles]`, `[[role_template]]` and their policies; `[[catalog]]`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use regex::Regex;

use super::fault::{Code, RawFault, listed, near_miss};
use super::reader::{Node, Read, Reported, Table, all};
use super::sections::MODES;
use crate::model::{Diagnostic, DiagnosticCode, Mode, Subject, check_role_name};
use crate::platform::osmo::Imported;
use crate::policy::{Action, Effect, Policy, Resource};
use crate::resolve::template::{CALLER, Part, SELF, TemplateError, anchored, parts, policy};
use crate::resolve::{PolicyText, RoleDefinition, RoleTemplate};

/// The roles that other sections may name, as far as they could be read.
#[derive(Default)]
pub(super) struct RoleNames {
    /// Names under `[roles]`, whether or not the rest of them is valid, with `everyone`.
    pub declared: BTreeMap<String, bool>,
    /// What templates match.
    pub templates: Vec<Regex>,
    /// Something could not be read, so that a name that is not here may be there all the same.
    pub incomplete: bool,
}

impl RoleNames {
    /// Whether a role of that name is declared or templated. An unreadable part of the file gets
    /// the benefit of the doubt: its own fault is enough.
    pub(super) fn has(&self, name: &str) -> bool {
        let declared = self.declared.contains_key(name);
        // A declared role goes before a template's, and no two roles differ in case only.
        let apart = || !self.declared.keys().any(|known| one_case(known) == one_case(name));
        self.incomplete
            || declared
            || (self.templates.iter().any(|regex| regex.is_match(name)) && apart())
    }

    /// Reports `name` at `node` where it is not known.
    pub(super) fn check(&self, node: &Node<'_>, name: &str) -> Read<()> {
        if self.has(name) {
            return Ok(());
        }
        Err(node.fault_near(
            Code::UnknownName,
            format!("role `{}` is neither declared nor templated", name.escape_debug()),
            near_miss(name, self.declared.keys().map(String::as_str)),
        ))
    }
}

/// A name in the form in which case does not count. Upper case first: `ſ`, for one, is an `s` only
/// that way.
pub(super) fn one_case(name: &str) -> String {
    name.to_uppercase().to_lowercase()
}

/// The one of `known` that differs from `name` in case only.
pub fn role_in_another_case<'k>(
    name: &str,
    mut known: impl Iterator<Item = &'k str>,
) -> Option<&'k str> {
    known.find(|other| *other != name && one_case(other) == one_case(name))
}

/// Reads `[roles]`, adds the `imported` ones, and notes the names in `known`.
pub(super) fn roles(
    root: &Table<'_>,
    default_mode: Mode,
    imported: BTreeMap<String, Imported>,
    known: &mut RoleNames,
    warnings: &mut Vec<Diagnostic>,
) -> Read<BTreeMap<String, RoleDefinition>> {
    let table = match root.get("roles") {
        Some(node) => Some(node.table().inspect_err(|_| known.incomplete = true)?),
        None => None,
    };
    let entries = table.as_ref().map(Table::entries).unwrap_or_default();
    let mut lower: BTreeMap<String, String> = BTreeMap::new();
    let mut roles = BTreeMap::new();
    let mut apart = Ok(());
    for (name, Imported { role, declared }) in &imported {
        // What only a chart has of itself gives way.
        if declared.is_none() && entries.iter().any(|(own, ..)| own == name) {
            continue;
        }
        if let Some(other) = lower.get(&one_case(name)) {
            let told = |name: &str| {
                let declared = imported.get(name).and_then(|it| it.declared.as_deref());
                format!("`{}` ({})", name.escape_debug(), declared.unwrap_or("the chart's default"))
            };
            apart = Err(root.fault(
                Code::Conflict,
                format!(
                    "import.osmo: roles {} and {} differ in case only",
                    told(other),
                    told(name)
                ),
            ));
        }
        lower.insert(one_case(name), name.clone());
        known.declared.insert(name.clone(), role.everyone);
        roles.insert(name.clone(), role.clone());
    }
    let declared = all(entries.into_iter().map(|(name, span, node)| {
        let here = |code, message| {
            let (span, key) = (span.clone(), node.key.clone());
            node.ctx.report(RawFault { span, key, code, message, did_you_mean: None })
        };
        let named = check_role_name(name).map_err(|error| here(Code::BadValue, error.to_string()));
        let alone = match lower.get(&one_case(name)) {
            Some(other) if other == name => Err(here(
                Code::Conflict,
                format!(
                    "is declared in `{}` already (`[import] osmo`)",
                    imported.get(name).and_then(|it| it.declared.as_deref()).unwrap_or_default()
                ),
            )),
            Some(other) => Err(here(
                Code::Conflict,
                format!("differs from role `{}` in case only", other.escape_debug()),
            )),
            None => Ok(()),
        };
        lower.entry(one_case(name)).or_insert_with(|| name.to_owned());
        known.declared.insert(name.to_owned(), false);
        let role = role(&node, name, default_mode, warnings);
        if let Ok(RoleDefinition { everyone: true, .. }) = &role {
            known.declared.insert(name.to_owned(), true);
        }
        named?;
        alone?;
        Ok((name.to_owned(), role?))
    }));
    apart?;
    roles.extend(declared?);
    Ok(roles)
}

fn role(
    node: &Node<'_>,
    name: &str,
    default_mode: Mode,
    warnings: &mut Vec<Diagnostic>,
) -> Read<RoleDefinition> {
    let table = node.table()?;
    let description =
        table.or("description", String::new(), |node| node.string().map(str::to_owned));
    let everyone = table.or("everyone", false, Node::boolean);
    let mode = table.optional("sync_mode", |node| node.one_of(&MODES));
    let is_everyone = matches!(everyone, Ok(true));
    let external_roles = table.optional("external_roles", |node| {
        let names = all(node.list()?.iter().map(Node::text));
        if is_everyone && names.as_ref().is_ok_and(|names| !names.is_empty()) {
            return Err(node.fault(
                Code::Conflict,
                "every enabled user holds an `everyone` role without a grant: no name at the IdP \
                 can give it",
            ));
        }
        names
    });
    let policies =
        table.or("policies", Vec::new(), |node| all(node.tables()?.iter().map(declared_policy)));
    table.finish();
    if is_everyone && matches!(mode, Ok(Some(_))) {
        warnings.push(Diagnostic::warning(DiagnosticCode::SyncModeUnused, Subject::Role(name.to_owned()), format!(
            "{}.sync_mode has no effect: an `everyone` role has no grants that a sync could change",
            table.key
        )));
    }
    let everyone = everyone?;
    Ok(RoleDefinition {
        description: description?,
        everyone,
        mode: mode?.unwrap_or(default_mode),
        external_roles: external_roles?
            .unwrap_or_else(|| if everyone { Vec::new() } else { vec![name.to_owned()] }),
        policies: policies?,
    })
}

/// A policy whose patterns are read by `action` and `resource`.
struct ReadPolicy<A, R> {
    effect: Effect,
    actions: Vec<A>,
    resources: Option<Vec<R>>,
}

fn read_policy<A, R>(
    table: &Table<'_>,
    action: impl Fn(&Node<'_>, &str) -> Read<A>,
    resource: impl Fn(&Node<'_>, &str) -> Read<R>,
) -> Read<ReadPolicy<A, R>> {
    let effect = table.or("effect", Effect::Allow, |node| {
        node.one_of(&[("Allow", Effect::Allow), ("Deny", Effect::Deny)])
    });
    let actions = table.required("actions", |node| {
        all(node.some_list()?.iter().map(|node| action(node, &node.text()?)))
    });
    let resources = table.optional("resources", |node| {
        all(node.some_list()?.iter().map(|node| resource(node, &node.text()?)))
    });
    table.finish();
    Ok(ReadPolicy { effect: effect?, actions: actions?, resources: resources? })
}

fn declared_policy(table: &Table<'_>) -> Read<Policy> {
    fn pattern<T>(node: &Node<'_>, text: &str, literal: &str) -> Read<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        if literal.contains("${") {
            return Err(node
                .bad(format!("`{text}` holds `${{`: captures exist in `[[role_template]]` only")));
        }
        text.parse().map_err(|error: T::Err| node.bad(error.to_string()))
    }
    let ReadPolicy { effect, actions, resources } = read_policy(
        table,
        |node, text| pattern(node, text, text),
        |node, text| pattern(node, text, &without_self(text)),
    )?;
    Ok(Policy { effect, actions, resources })
}

/// Reads `[[role_template]]`, and notes what they match in `known`.
pub(super) fn templates(
    root: &Table<'_>,
    default_mode: Mode,
    known: &mut RoleNames,
) -> Read<Vec<RoleTemplate>> {
    let Some(node) = root.get("role_template") else { return Ok(Vec::new()) };
    let tables = node.tables().inspect_err(|_| known.incomplete = true)?;
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    all((1usize..).zip(tables).map(|(place, table)| {
        let name = table.required("name", |node| {
            let regex = node.parsed(anchored)?;
            let name = node.string()?.to_owned();
            if regex.capture_names().flatten().any(|name| name == SELF) {
                return Err(node.bad(
                    "captures something as `self`, and `${self}` in a policy is the caller's \
                     username: choose another name",
                ));
            }
            if let Some(first) = names.get(&name) {
                return Err(node.fault(
                    Code::Conflict,
                    format!("is the name of `role_template[{first}]` already"),
                ));
            }
            names.insert(name.clone(), place);
            Ok((name, regex))
        });
        match &name {
            Ok((_, regex)) => known.templates.push(regex.clone()),
            Err(_) => known.incomplete = true,
        }
        let regex = name.as_ref().ok().map(|(_, regex)| regex);
        let mode = table.or("sync_mode", default_mode, |node| node.one_of(&MODES));
        let description = table.or("description", String::new(), |node| {
            let text = node.string()?.to_owned();
            check_captures(node, &text, regex)?;
            Ok(text)
        });
        let policies = table.or("policies", Vec::new(), |node| {
            all(node.tables()?.iter().map(|table| template_policy(table, regex)))
        });
        table.finish();
        let (name, regex) = name?;
        Ok(RoleTemplate {
            name,
            regex,
            mode: mode?,
            description: description?,
            policies: policies?,
        })
    }))
}

/// A policy of a template: it must be one with a harmless text in each capture's place.
fn template_policy(table: &Table<'_>, regex: Option<&Regex>) -> Read<PolicyText> {
    let check = |node: &Node<'_>, text: &str, action: bool| -> Read<String> {
        let captures = if action { Cow::Borrowed(text) } else { without_self(text) };
        check_captures(node, &captures, regex)?;
        // One text at a time, so that each fault stands at its own place.
        let probe = PolicyText {
            effect: Effect::Allow,
            actions: vec![if action { text.to_owned() } else { "a:b".to_owned() }],
            resources: (!action).then(|| vec![text.to_owned()]),
        };
        policy(&probe, probe_fill).map_err(|error| node.bad(error.to_string()))?;
        Ok(text.to_owned())
    };
    let ReadPolicy { effect, actions, resources } = read_policy(
        table,
        |node, text| check(node, text, true),
        |node, text| check(node, text, false),
    )?;
    Ok(PolicyText { effect, actions, resources })
}

fn probe_fill(text: &str) -> Result<String, TemplateError> {
    Ok(parts(text)?
        .into_iter()
        .map(|part| match part {
            Part::Literal(literal) => literal,
            Part::Capture(SELF) => CALLER,
            Part::Capture(_) => "x",
        })
        .collect())
}

/// A resource pattern's text without what stands for the caller's username, which is no capture.
fn without_self(text: &str) -> Cow<'_, str> {
    match text.contains(CALLER) {
        true => Cow::Owned(text.replace(CALLER, "")),
        false => Cow::Borrowed(text),
    }
}

/// Reports a malformed `${…}` in `text`, and names that `regex` does not capture. With no regex
/// (it is at fault itself) any name will do.
pub(super) fn check_captures(node: &Node<'_>, text: &str, regex: Option<&Regex>) -> Read<()> {
    let parts = parts(text).map_err(|error| node.bad(error.to_string()))?;
    let Some(regex) = regex else { return Ok(()) };
    let names = || regex.capture_names().flatten();
    let mut result: Result<(), Reported> = Ok(());
    for part in parts {
        if let Part::Capture(name) = part
            && !names().any(|known| known == name)
        {
            let what = match names().count() {
                0 => "the regular expression captures nothing by name".to_owned(),
                _ => format!("captured here: {}", listed(names())),
            };
            result = Err(node.fault_near(
                Code::UnknownName,
                format!("`${{{name}}}` is not captured; {what}"),
                near_miss(name, names()),
            ));
        }
    }
    result
}

/// Reports protected roles that nobody declares or templates, and those that everyone holds.
pub(super) fn check_protected(
    root: &Table<'_>,
    protected: &[(String, Range<usize>, String)],
    known: &RoleNames,
) {
    for (name, span, key) in protected {
        let report = |code, message, did_you_mean| {
            let (span, key) = (span.clone(), key.clone());
            root.ctx.report(RawFault { span, key, code, message, did_you_mean });
        };
        if !known.has(name) {
            report(
                Code::UnknownName,
                format!("role `{}` is neither declared nor templated", name.escape_debug()),
                near_miss(name, known.declared.keys().map(String::as_str)),
            );
        } else if known.declared.get(name) == Some(&true) {
            report(
                Code::Conflict,
                "every enabled user holds an `everyone` role: it cannot be protected".to_owned(),
                None,
            );
        }
    }
}

/// `[[catalog]]`, multiplied out, sorted, distinct.
pub(super) fn catalog(root: &Table<'_>) -> Read<Vec<(Action, Option<Resource>)>> {
    let Some(node) = root.get("catalog") else { return Ok(Vec::new()) };
    let blocks = all(node.tables()?.iter().map(|table| {
        let actions = table.required("actions", |node| {
            all(node.some_list()?.iter().map(|node| node.parsed(str::parse::<Action>)))
        });
        let resources = table.optional("resources", |node| {
            all(node.some_list()?.iter().map(|node| node.parsed(str::parse::<Resource>)))
        });
        table.finish();
        Ok((actions?, resources?))
    }));
    let mut catalog = BTreeSet::new();
    for (actions, resources) in blocks? {
        for action in actions {
            match &resources {
                None => {
                    catalog.insert((action, None));
                }
                Some(resources) => catalog.extend(
                    resources.iter().map(|resource| (action.clone(), Some(resource.clone()))),
                ),
            }
        }
    }
    Ok(catalog.into_iter().collect())
}
