//! What pod templates come to when several are laid over each other, as OSMO does it
//! (`recursive_dict_update` with `merge_lists_on_name`).

use std::collections::BTreeMap;

use super::super::yaml::{Node, Position, Value};
use super::FileParse;
use super::pool::{Platform, Pool};
use crate::model::fault::Code;

/// Reports a template that is no map.
pub(super) fn check(parse: &mut FileParse<'_>, key: &str, node: &Node) {
    if node.map().is_none() {
        let message = format!("expected a pod template, found {}", node.kind());
        parse.fault(node.place, key, Code::WrongType, message);
    }
}

/// The pod template of `platform` in `pool`: the pool's templates in order, then the platform's.
#[must_use]
pub fn merged(pool: &Pool, platform: &Platform, templates: &BTreeMap<String, Node>) -> Node {
    let mut whole = Node { place: Position::default(), value: Value::Map(Vec::new()) };
    for (name, _) in pool.common.iter().chain(&platform.overrides) {
        if let Some(template) = templates.get(name) {
            lay_over(&mut whole, template);
        }
    }
    whole
}

/// Maps merge; of lists, items with the same `name` merge and others come after; of everything else
/// the last one is it, null too.
fn lay_over(under: &mut Node, over: &Node) {
    match (&mut under.value, &over.value) {
        (Value::Map(entries), Value::Map(more)) => {
            for (key, node) in more {
                match entries.iter_mut().find(|(known, _)| known.name == key.name) {
                    Some((_, known)) => lay_over(known, node),
                    None => entries.push((key.clone(), node.clone())),
                }
            }
        }
        (Value::List(items), Value::List(more)) => {
            let name = |node: &Node| node.get("name").and_then(Node::text).map(str::to_owned);
            let known: Vec<Option<String>> = items.iter().map(name).collect();
            for node in more {
                // Of several with one name OSMO takes the last.
                let place = name(node)
                    .and_then(|name| known.iter().rposition(|known| known.as_ref() == Some(&name)));
                match place.and_then(|place| items.get_mut(place)) {
                    Some(item) => lay_over(item, node),
                    None => items.push(node.clone()),
                }
            }
        }
        _ => under.clone_from(over),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::yaml::documents;

    fn text(node: &Node) -> String {
        match &node.value {
            Value::List(items) => {
                format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(","))
            }
            Value::Map(entries) => {
                let each = entries.iter().map(|(key, it)| format!("{}:{}", key.name, text(it)));
                format!("{{{}}}", each.collect::<Vec<_>>().join(","))
            }
            Value::Text(text) | Value::Number(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Null => "null".to_owned(),
        }
    }

    /// What OSMO's own functions make of these, tried with them.
    #[test]
    fn templates_are_laid_over_each_other_as_osmo_does() {
        for (templates, expected) in [
            (&["{a: 1}", "{b: 2}"][..], "{a:1,b:2}"),
            (&["{a: {x: 1, y: 2}}", "{a: {y: 3}}"], "{a:{x:1,y:3}}"),
            (&["{a: 1}", "{a: null}"], "{a:null}"),
            (&["{a: 1}", "{a: null}", "{a: 2}"], "{a:2}"),
            (&["{a: null}", "{a: {x: 1}}"], "{a:{x:1}}"),
            (
                &["{l: [{name: c, i: 1}, {name: d}]}", "{l: [{name: c, j: 2}, {name: e}]}"],
                "{l:[{name:c,i:1,j:2},{name:d},{name:e}]}",
            ),
            (&["{l: [1, 2]}", "{l: [2, 3]}"], "{l:[1,2,2,3]}"),
            (&["{l: [{key: k}]}", "{l: [{key: k}]}"], "{l:[{key:k},{key:k}]}"),
            (&["{l: 1}", "{l: [2]}"], "{l:[2]}"),
            (&["{l: [1]}", "{l: 2}"], "{l:2}"),
            (
                &["{l: [{name: c}]}", "{l: [{name: x}, {name: x}]}"],
                "{l:[{name:c},{name:x},{name:x}]}",
            ),
            (
                &[
                    "{l: [{name: c, m: [{name: v, p: 1}]}]}",
                    "{l: [{name: c, m: [{name: v, p: 2}]}]}",
                ],
                "{l:[{name:c,m:[{name:v,p:2}]}]}",
            ),
        ] {
            let mut whole = documents("{}").unwrap().remove(0);
            for template in templates {
                lay_over(&mut whole, &documents(template).unwrap()[0]);
            }
            assert_eq!(text(&whole), expected, "{templates:?}");
        }
    }

    #[test]
    fn the_pools_templates_come_first_in_order_and_then_the_platforms() {
        let named =
            |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), Position::default())).collect();
        let templates: BTreeMap<String, Node> =
            [("a", "{x: a, y: a}"), ("b", "{x: b}"), ("c", "{x: c}")]
                .into_iter()
                .map(|(name, text)| (name.to_owned(), documents(text).unwrap().remove(0)))
                .collect();
        for (common, overrides, expected) in [
            (&["a", "b"][..], &[][..], "{x:b,y:a}"),
            (&["b", "a"], &[], "{x:a,y:a}"),
            (&["a", "b"], &["c"], "{x:c,y:a}"),
            (&["a"], &["c", "b"], "{x:b,y:a}"),
            (&[], &[], "{}"),
        ] {
            let platform = Platform { overrides: named(overrides) };
            let pool = Pool { backend: None, common: named(common), platforms: BTreeMap::new() };
            assert_eq!(text(&merged(&pool, &platform, &templates)), expected);
        }
    }
}
