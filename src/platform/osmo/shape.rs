//! Which sections a document has, in whichever of the shapes OSMO's configuration comes in.

use super::super::yaml::{Key, Node, Position, Value};
use super::FileParse;
use super::helm;
use crate::model::DiagnosticCode;
use crate::model::fault::{Code, near_miss};

/// A name, where it stands, and what it stands for.
pub(super) type Entry = (String, Position, Node);

/// What a document has.
#[derive(Default)]
pub(super) struct Sections {
    pub roles: Vec<Entry>,
    pub pools: Vec<Entry>,
    pub templates: Vec<Entry>,
    /// Roles that the chart has where these values are silent.
    pub default_roles: Vec<(String, Node)>,
    /// Likewise pod templates.
    pub default_templates: Vec<(String, Node)>,
}

/// The sections of the rendered file. What the others say bears on nobody's access.
const SECTIONS: [&str; 10] = [
    "roles",
    "pools",
    "pod_templates",
    "backends",
    "service",
    "workflow",
    "dataset",
    "resource_validations",
    "group_templates",
    "backend_tests",
];

/// As the chart's values spell them, with what is beside them.
const IN_VALUES: [&str; 16] = [
    "roles",
    "pools",
    "podTemplates",
    "pod_templates",
    "backends",
    "service",
    "workflow",
    "dataset",
    "resourceValidations",
    "resource_validations",
    "groupTemplates",
    "group_templates",
    "backendTests",
    "backend_tests",
    "enabled",
    "extraAnnotations",
];

/// What one of OSMO's things is told by, where nothing but its content says what it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thing {
    Role,
    Pool,
    Template,
}

/// Sections of a rendered file that declare something.
const DECLARING: [&str; 3] = ["roles", "pools", "pod_templates"];

pub(super) fn sections(parse: &mut FileParse<'_>, document: &Node) -> Sections {
    let mut sections = Sections::default();
    // The API's requests wrap what its answers say.
    let root = match document.get("configs") {
        Some(configs) if is_request(document) => configs,
        _ => document,
    };
    match &root.value {
        Value::List(items) => listed_roles(parse, items, &mut sections),
        Value::Map(entries) => {
            let umbrella = root.get("configuration").filter(|it| it.map().is_some());
            let chart_values = root.get("services").and_then(|it| it.get("configs"));
            // What a file says beside the shape that is read would count for nothing.
            let top = entries.iter().find(|(key, _)| DECLARING.contains(&key.name.as_str()));
            let shapes = [
                umbrella.map(|it| ("configuration", it.place)),
                chart_values.map(|it| ("services.configs", it.place)),
                top.map(|(key, it)| (key.name.as_str(), it.place)),
            ];
            let mut shapes = shapes.into_iter().flatten();
            if let (Some((first, _)), Some((second, place))) = (shapes.next(), shapes.next()) {
                let message = format!(
                    "this file has two of OSMO's shapes, `{first}` and `{second}`: leave one of \
                     them"
                );
                parse.fault(place, second, Code::Conflict, message);
            }
            if let Some(values) = umbrella {
                chart(parse, "configuration", values, &mut sections);
            } else if let Some(values) = chart_values {
                chart(parse, "services.configs", values, &mut sections);
            } else if entries.iter().any(|(key, _)| SECTIONS.contains(&key.name.as_str())) {
                rendered(parse, root, &mut sections);
            } else {
                bare(parse, root, entries, &mut sections);
            }
        }
        _ => unrecognised(parse, root),
    }
    sections
}

/// `{configs, description?, tags?}`
fn is_request(document: &Node) -> bool {
    let known = ["configs", "description", "tags"];
    document.map().unwrap_or_default().iter().all(|(key, _)| known.contains(&key.name.as_str()))
}

fn unrecognised(parse: &mut FileParse<'_>, node: &Node) {
    let what = if node.get("managed_configs").is_some() {
        "`managed_configs` is a layout of earlier releases: render the chart anew"
    } else if node.get("kind").and_then(Node::text) == Some("ConfigMap") {
        "this is the ConfigMap itself: give the text under `data`, `config.yaml`, as a file"
    } else if node.get("services").is_some() {
        "these values have no `services.configs`: OSMO's roles are in its database, export them with \
         its API (`GET /api/configs/role`)"
    } else {
        "this is none of the shapes of OSMO's configuration: expected the rendered `config.yaml` \
         (`roles`, `pools`, `pod_templates`), chart values (`services.configs` or `configuration`), \
         or an answer of the API"
    };
    parse.fault(node.place, "", Code::UnknownKey, what);
}

/// The answers of `GET /api/configs/role`, each role with its name in it.
fn listed_roles(parse: &mut FileParse<'_>, items: &[Node], sections: &mut Sections) {
    for (number, item) in (1usize..).zip(items) {
        let key = format!("[{number}]");
        let Some(entries) = item.map() else {
            let message = format!("expected a role, found {}", item.kind());
            parse.fault(item.place, &key, Code::WrongType, message);
            continue;
        };
        match entries.iter().find(|(key, _)| key.name == "name") {
            None => {
                let message = "a role without a `name`";
                parse.fault(item.place, &key, Code::MissingKey, message);
            }
            Some((_, name)) => {
                if let Some(text) = parse.text(&format!("{key}.name"), name) {
                    sections.roles.push((text, item.place, item.clone()));
                }
            }
        }
    }
}

fn rendered(parse: &mut FileParse<'_>, root: &Node, sections: &mut Sections) {
    parse.only("", root, &SECTIONS);
    // A key without anything under it names no section.
    for fault in &mut parse.faults {
        if let Some(key) = fault.key.strip_prefix('.') {
            fault.key = key.to_owned();
        }
    }
    fill(parse, root, sections);
}

/// Takes the entries of the sections of `root`.
fn fill(parse: &mut FileParse<'_>, root: &Node, sections: &mut Sections) {
    if let Some(roles) = root.get("roles") {
        match &roles.value {
            Value::List(items) => listed_roles(parse, items, sections),
            _ => sections.roles.extend(named(parse, "roles", Some(roles))),
        }
    }
    sections.pools.extend(named(parse, "pools", root.get("pools")));
    sections.templates.extend(named(parse, "pod_templates", root.get("pod_templates")));
}

fn named(parse: &mut FileParse<'_>, key: &str, node: Option<&Node>) -> Vec<Entry> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Vec::new() };
    let Some(entries) = node.map() else {
        let message = format!("expected a map, found {}", node.kind());
        parse.fault(node.place, key, Code::WrongType, message);
        return Vec::new();
    };
    entries.iter().map(|(key, node)| (key.name.clone(), key.place, node.clone())).collect()
}

/// Values of one of the charts, over what the chart has itself.
fn chart(parse: &mut FileParse<'_>, key: &str, values: &Node, sections: &mut Sections) {
    if values.is_null() {
        return unrecognised(parse, values);
    }
    let Some(entries) = values.map() else {
        let message = format!("expected a map, found {}", values.kind());
        return parse.fault(values.place, key, Code::WrongType, message);
    };
    for (name, _) in entries {
        if IN_VALUES.contains(&name.name.as_str()) {
            continue;
        }
        let read = ["roles", "pools", "podTemplates", "backends"];
        let full = format!("{key}.{}", name.name.escape_debug());
        match near_miss(&name.name, read) {
            None => {
                let message = "is not read: it is not known here";
                parse.warn(DiagnosticCode::OsmoUnread, name.place, &full, message);
            }
            near => {
                parse.fault_near(name.place, &full, Code::UnknownKey, "unknown key", near);
            }
        }
    }
    if values.get("enabled").is_some_and(|it| it.value == Value::Bool(false)) {
        let message =
            "is false: this OSMO takes its roles from its database, not from these values";
        let code = DiagnosticCode::OsmoElsewhere;
        parse.warn(code, values.place, &format!("{key}.enabled"), message);
    }
    let values = spelt_as_rendered(values);
    let defaults = helm::defaults();
    let merged = helm::merge(&defaults, &values);
    let given =
        |section: &str, name: &str| values.get(section).is_some_and(|it| it.get(name).is_some());
    let mut all = Sections::default();
    fill(parse, &merged, &mut all);
    // Where no default stands behind it, a null says nothing: so it is for Helm.
    let is_there = |entry: &Entry| !entry.2.is_null();
    for entry in all.roles.into_iter().filter(is_there) {
        if given("roles", &entry.0) {
            sections.roles.push(entry);
        } else {
            sections.default_roles.push((entry.0, entry.2));
        }
    }
    for entry in all.templates.into_iter().filter(is_there) {
        if given("pod_templates", &entry.0) {
            sections.templates.push(entry);
        } else {
            sections.default_templates.push((entry.0, entry.2));
        }
    }
    sections.pools.extend(all.pools.into_iter().filter(is_there));
    if !sections.default_roles.is_empty() {
        let names: Vec<&str> =
            sections.default_roles.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!(
            "these values leave out `{}`: taken as the chart has them (6.4); the rendered \
             `config.yaml`, or `helm get values --all`, says what is really there",
            names.join("`, `")
        );
        parse.warn(DiagnosticCode::OsmoDefaults, values.place, key, &message);
    }
}

/// With the rendered file's names of the sections.
fn spelt_as_rendered(values: &Node) -> Node {
    let entries = values.map().unwrap_or_default().iter().map(|(key, node)| {
        let name = match key.name.as_str() {
            "podTemplates" => "pod_templates",
            other => other,
        };
        (Key { name: name.to_owned(), place: key.place }, node.clone())
    });
    Node { place: values.place, value: Value::Map(entries.collect()) }
}

/// A map whose content alone says what it is: names to templates, pools or roles, or one role.
fn bare(parse: &mut FileParse<'_>, root: &Node, entries: &[(Key, Node)], sections: &mut Sections) {
    if root.get("name").and_then(Node::text).is_some() && root.get("policies").is_some() {
        return listed_roles(parse, std::slice::from_ref(root), sections);
    }
    if entries.is_empty() {
        let message = "nothing is in this file";
        return parse.warn(DiagnosticCode::OsmoUnread, root.place, "osmo", message);
    }
    // What is empty says nothing of what it is: the others do.
    let said = entries.iter().filter(|(_, node)| node.map().is_none_or(|it| !it.is_empty()));
    let things: Vec<Option<Thing>> = said.map(|(_, node)| thing(node)).collect();
    let Some(Some(first)) = things.first().copied() else { return unrecognised(parse, root) };
    if things.iter().any(|thing| *thing != Some(first)) {
        return unrecognised(parse, root);
    }
    let all = entries.iter().map(|(key, node)| (key.name.clone(), key.place, node.clone()));
    match first {
        Thing::Role => sections.roles.extend(all),
        Thing::Pool => sections.pools.extend(all),
        Thing::Template => sections.templates.extend(all),
    }
}

fn thing(node: &Node) -> Option<Thing> {
    let has = |keys: &[&str]| keys.iter().any(|key| node.get(key).is_some());
    if has(&["policies"]) {
        Some(Thing::Role)
    } else if has(&["platforms", "common_pod_template", "default_platform", "backend"]) {
        Some(Thing::Pool)
    } else if has(&["spec", "metadata"]) {
        Some(Thing::Template)
    } else {
        None
    }
}
