//! What Helm makes of a values file: it is laid over the chart's own values.

use crate::platform::yaml::{self, Node, Value};

/// The chart's own values as far as they matter here.
pub(super) const DEFAULTS: &str = include_str!("chart.yaml");

/// `given` laid over `defaults` as Helm does: maps merge key by key, a null takes a default away,
/// everything else takes its place, lists too.
pub(super) fn merge(defaults: &Node, given: &Node) -> Node {
    let (Value::Map(base), Value::Map(over)) = (&defaults.value, &given.value) else {
        return given.clone();
    };
    let mut entries = Vec::new();
    for (key, node) in base {
        match over.iter().find(|(other, _)| other.name == key.name) {
            None => entries.push((key.clone(), node.clone())),
            Some((_, null)) if null.is_null() => {}
            Some((key, node_over)) => entries.push((key.clone(), merge(node, node_over))),
        }
    }
    let new = over.iter().filter(|(key, _)| !base.iter().any(|(other, _)| other.name == key.name));
    entries.extend(new.cloned());
    Node { place: given.place, value: Value::Map(entries) }
}

/// The chart's defaults; nothing where they could not be read, which a test rules out.
pub(super) fn defaults() -> Node {
    let documents = yaml::documents(DEFAULTS).unwrap_or_default();
    let empty = Node { place: yaml::Position::default(), value: Value::Map(Vec::new()) };
    documents.into_iter().next().unwrap_or(empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        yaml::documents(text).unwrap().remove(0)
    }

    /// Without places.
    fn shape(node: &Node) -> String {
        match &node.value {
            Value::List(items) => {
                format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(","))
            }
            Value::Map(entries) => {
                let each = entries.iter().map(|(key, it)| format!("{}:{}", key.name, shape(it)));
                format!("{{{}}}", each.collect::<Vec<_>>().join(","))
            }
            Value::Text(text) | Value::Number(text) => text.clone(),
            Value::Bool(value) => value.to_string(),
            Value::Null => "null".to_owned(),
        }
    }

    #[test]
    fn values_are_laid_over_the_charts_as_helm_does() {
        for (defaults, given, merged) in [
            ("{a: 1, b: 2}", "{b: 3, c: 4}", "{a:1,b:3,c:4}"),
            ("{a: {x: 1, y: 2}}", "{a: {y: 3}}", "{a:{x:1,y:3}}"),
            ("{a: [1, 2]}", "{a: [3]}", "{a:[3]}"),
            ("{a: {x: 1}, b: 1}", "{a: null}", "{b:1}"),
            ("{a: {x: 1}}", "{a: 5}", "{a:5}"),
            ("{a: 5}", "{a: {x: 1}}", "{a:{x:1}}"),
            ("{}", "{a: null}", "{a:null}"),
        ] {
            assert_eq!(shape(&merge(&node(defaults), &node(given))), merged, "{defaults} {given}");
        }
    }

    #[test]
    fn the_charts_defaults_are_there() {
        let defaults = defaults();
        let names = |section: &str| -> Vec<String> {
            let map = defaults.get(section).and_then(Node::map).unwrap();
            map.iter().map(|(key, _)| key.name.clone()).collect()
        };
        assert_eq!(
            names("roles"),
            ["osmo-admin", "osmo-user", "osmo-default", "osmo-ctrl", "osmo-backend"]
        );
        assert_eq!(names("pod_templates"), ["default_ctrl", "default_user"]);
    }
}
