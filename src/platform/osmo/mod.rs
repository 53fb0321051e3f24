//! OSMO's own configuration: roles, pools, pod templates.
//!
//! ```text
//! texts ─► shape: which sections, in which of three shapes ─► role, pool ─► Osmo
//!                  │ chart values: laid over the chart's defaults, as Helm does
//! ```
//!
//! Nothing is skipped: what is not understood is a fault that names file, place and role. What
//! differs from OSMO's own reading is in `docs/osmo.md`, row by row.

pub mod database;
mod helm;
mod pool;
mod role;
mod shape;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::yaml::{self, Node, Position};
use crate::model::fault::{Code, FileFault, near_miss};
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::resolve::RoleDefinition;

pub use pool::{Platform, Pool};
pub use template::merged;

/// What OSMO's files say.
#[derive(Clone, Debug, Default)]
pub struct Osmo {
    /// Roles by name.
    pub roles: BTreeMap<String, Imported>,
    /// Pools by name.
    pub pools: BTreeMap<String, Pool>,
    /// Pod templates by name, as they are written.
    pub templates: BTreeMap<String, Node>,
    /// What is wrong. Where there is anything, the rest is not to be used.
    pub faults: Vec<FileFault>,
    /// Worth telling.
    pub diagnostics: Vec<Diagnostic>,
}

/// A role and where it was declared.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The role.
    pub role: RoleDefinition,
    /// Where, for messages: `config.yaml:12`. `None`: by no file, but by the chart that the file is
    /// for, so that any other declaration takes its place.
    pub declared: Option<String>,
}

/// Reads OSMO's `files`: path and text of each.
#[must_use]
pub fn read<'a>(files: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Osmo {
    let mut osmo = Osmo::default();
    let mut pools = Vec::new();
    let mut defaults = BTreeMap::new();
    let mut origins = Origins::default();
    for (path, text) in files {
        let mut parse = FileParse { file: path, faults: Vec::new(), diagnostics: Vec::new() };
        let documents = yaml::documents(text).unwrap_or_else(|error| {
            parse.fault(error.place, "", Code::Syntax, error.fault.to_string());
            Vec::new()
        });
        if documents.is_empty() && parse.faults.is_empty() {
            let message = "is empty: none of OSMO's sections is in it";
            parse.fault(Position { line: 1, column: 1 }, "", Code::MissingKey, message);
        }
        for document in &documents {
            let sections = shape::sections(&mut parse, document);
            for (name, place, node) in &sections.roles {
                role::take(&mut parse, &mut osmo, (name, *place, node));
            }
            for (name, place, node) in sections.pools {
                if origins.is_new(&mut parse, "pools", &name, place) {
                    let key = format!("pools.{name}");
                    let pool = pool::pool(&mut parse, &name, &key, place, &node);
                    pools.extend(pool.map(|pool| (path.to_owned(), name, pool)));
                }
            }
            for (name, place, node) in sections.templates {
                if origins.is_new(&mut parse, "pod_templates", &name, place) {
                    template::check(&mut parse, &format!("pod_templates.{name}"), &node);
                    osmo.templates.insert(name, node);
                }
            }
            role::take_defaults(sections.default_roles, &mut defaults);
            for (name, node) in sections.default_templates {
                osmo.templates.entry(name).or_insert(node);
            }
        }
        osmo.faults.append(&mut parse.faults);
        osmo.diagnostics.append(&mut parse.diagnostics);
    }
    for (path, name, pool) in pools {
        let mut parse = FileParse { file: &path, faults: Vec::new(), diagnostics: Vec::new() };
        pool::check_templates(&mut parse, &format!("pools.{name}"), &pool, &osmo.templates);
        osmo.faults.append(&mut parse.faults);
        osmo.pools.insert(name, pool);
    }
    role::add_defaults(&mut osmo, defaults);
    osmo
}

/// Where pools and templates were declared.
#[derive(Default)]
struct Origins(BTreeMap<(&'static str, String), String>);

impl Origins {
    /// Whether `name` is declared for the first time; else a fault says where it was before.
    fn is_new(
        &mut self,
        parse: &mut FileParse<'_>,
        section: &'static str,
        name: &str,
        place: Position,
    ) -> bool {
        let key = (section, name.to_owned());
        if let Some(first) = self.0.get(&key) {
            let message = format!("is declared twice: first in `{first}`");
            parse.fault(place, &format!("{section}.{name}"), Code::Conflict, message);
            return false;
        }
        self.0.insert(key, parse.at(place));
        true
    }
}

/// One file that is being read.
struct FileParse<'a> {
    file: &'a Path,
    faults: Vec<FileFault>,
    diagnostics: Vec<Diagnostic>,
}

impl FileParse<'_> {
    fn fault(&mut self, place: Position, key: &str, code: Code, message: impl Into<String>) {
        self.fault_near(place, key, code, message, None);
    }

    fn fault_near(
        &mut self,
        place: Position,
        key: &str,
        code: Code,
        message: impl Into<String>,
        did_you_mean: Option<String>,
    ) {
        self.faults.push(FileFault {
            file: Some(PathBuf::from(self.file)),
            line: place.line,
            column: place.column,
            key: key.to_owned(),
            code,
            message: message.into(),
            did_you_mean,
        });
    }

    fn warn(&mut self, code: DiagnosticCode, place: Position, key: &str, message: &str) {
        let at = self.at(place);
        let message = format!("{at}: {key}: {message}");
        self.diagnostics.push(Diagnostic::warning(code, Subject::File(at), message));
    }

    /// `config.yaml:12`
    fn at(&self, place: Position) -> String {
        format!("{}:{}", self.file.display(), place.line)
    }

    /// The text at `key`; a fault where it is something else, or nothing.
    fn text(&mut self, key: &str, node: &Node) -> Option<String> {
        let Some(text) = node.text() else {
            let hint = if matches!(node.value, yaml::Value::Number(_) | yaml::Value::Bool(_)) {
                ": put it in quotes"
            } else {
                ""
            };
            let message = format!("expected a string, found {}{hint}", node.kind());
            self.fault(node.place, key, Code::WrongType, message);
            return None;
        };
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            let message = "is empty, or holds a control character";
            self.fault(node.place, key, Code::BadValue, message);
            return None;
        }
        Some(text.to_owned())
    }

    /// The texts of a list; nothing where it is absent or null. `None`: something is wrong.
    fn texts(&mut self, key: &str, node: Option<&Node>) -> Option<Vec<(String, Position)>> {
        let Some(node) = node.filter(|node| !node.is_null()) else { return Some(Vec::new()) };
        let Some(items) = node.list() else {
            let message = format!("expected a list, found {}", node.kind());
            self.fault(node.place, key, Code::WrongType, message);
            return None;
        };
        let texts: Vec<Option<(String, Position)>> = (1usize..)
            .zip(items)
            .map(|(number, item)| Some((self.text(&format!("{key}[{number}]"), item)?, item.place)))
            .collect();
        texts.into_iter().collect()
    }

    /// Reports keys of the map `node` that are not `known`.
    fn only(&mut self, key: &str, node: &Node, known: &[&str]) {
        for (name, _) in node.map().unwrap_or_default() {
            if known.contains(&name.name.as_str()) {
                continue;
            }
            let near = near_miss(&name.name, known.iter().copied());
            let message = match near {
                Some(_) => "unknown key".to_owned(),
                None => format!(
                    "unknown key: what it would say is not known here; known: `{}`",
                    known.join("`, `")
                ),
            };
            let key = format!("{key}.{}", name.name.escape_debug());
            self.fault_near(name.place, &key, Code::UnknownKey, message, near);
        }
    }

    /// Reports keys of the map `node` that were probably meant to be one of `read`: of what OSMO's
    /// own keys say besides, nothing is needed here.
    fn misspelt(&mut self, key: &str, node: &Node, read: &[&str]) {
        for (name, _) in node.map().unwrap_or_default() {
            if read.contains(&name.name.as_str()) {
                continue;
            }
            if let Some(near) = near_miss(&name.name, read.iter().copied()) {
                let key = format!("{key}.{}", name.name.escape_debug());
                let near = Some(near);
                self.fault_near(name.place, &key, Code::UnknownKey, "unknown key", near);
            }
        }
    }
}
