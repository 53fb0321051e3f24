//! Pools, their platforms, and the names of the pod templates that they are made of.

use std::collections::BTreeMap;

use super::super::yaml::{Node, Position};
use super::FileParse;
use crate::model::fault::{Code, near_miss};
use crate::policy::Resource;

/// A pool.
#[derive(Clone, PartialEq, Debug)]
pub struct Pool {
    /// The backend that runs it; none where the file does not say.
    pub backend: Option<String>,
    /// The templates that every platform begins with, in order, each with its place.
    pub common: Vec<(String, Position)>,
    /// Its platforms by name.
    pub platforms: BTreeMap<String, Platform>,
}

/// A platform of a pool.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Platform {
    /// The templates that come after the pool's, in order, each with its place.
    pub overrides: Vec<(String, Position)>,
}

pub(super) fn pool(
    parse: &mut FileParse<'_>,
    name: &str,
    key: &str,
    place: Position,
    node: &Node,
) -> Option<Pool> {
    if format!("pool/{name}").parse::<Resource>().is_err() {
        let message = format!("`{}` cannot be a pool's name", name.escape_debug());
        parse.fault(place, key, Code::BadValue, message);
        return None;
    }
    if node.map().is_none() {
        let message = format!("expected a pool, found {}", node.kind());
        parse.fault(node.place, key, Code::WrongType, message);
        return None;
    }
    parse.misspelt(key, node, &["backend", "common_pod_template", "platforms"]);
    let backend = node.get("backend").filter(|it| !it.is_null());
    let backend = backend.and_then(|it| parse.text(&format!("{key}.backend"), it));
    let common =
        parse.texts(&format!("{key}.common_pod_template"), node.get("common_pod_template"));
    let platforms = platforms(parse, &format!("{key}.platforms"), node.get("platforms"));
    Some(Pool { backend, common: common?, platforms: platforms? })
}

fn platforms(
    parse: &mut FileParse<'_>,
    key: &str,
    node: Option<&Node>,
) -> Option<BTreeMap<String, Platform>> {
    let Some(node) = node.filter(|node| !node.is_null()) else { return Some(BTreeMap::new()) };
    let Some(entries) = node.map() else {
        let message = format!("expected a map, found {}", node.kind());
        parse.fault(node.place, key, Code::WrongType, message);
        return None;
    };
    let each: Vec<Option<(String, Platform)>> = entries
        .iter()
        .map(|(name, node)| {
            let key = format!("{key}.{}", name.name.escape_debug());
            if node.map().is_none() && !node.is_null() {
                let message = format!("expected a platform, found {}", node.kind());
                parse.fault(node.place, &key, Code::WrongType, message);
                return None;
            }
            parse.misspelt(&key, node, &["override_pod_template"]);
            let names = node.get("override_pod_template");
            let overrides = parse.texts(&format!("{key}.override_pod_template"), names)?;
            Some((name.name.clone(), Platform { overrides }))
        })
        .collect();
    each.into_iter().collect()
}

/// Reports templates that the pool names and that are not among the `known`: what they would make of
/// its pods is unknown.
pub(super) fn check_templates(
    parse: &mut FileParse<'_>,
    key: &str,
    pool: &Pool,
    known: &BTreeMap<String, Node>,
) {
    let common = (format!("{key}.common_pod_template"), &pool.common);
    let overrides = pool.platforms.iter().map(|(name, platform)| {
        (format!("{key}.platforms.{name}.override_pod_template"), &platform.overrides)
    });
    for (key, names) in std::iter::once(common).chain(overrides) {
        for (number, (name, place)) in (1usize..).zip(names) {
            if known.contains_key(name) {
                continue;
            }
            let near = near_miss(name, known.keys().map(String::as_str));
            let message =
                format!("there is no pod template `{}` in these files", name.escape_debug());
            let key = format!("{key}[{number}]");
            parse.fault_near(*place, &key, Code::UnknownName, message, near);
        }
    }
}
