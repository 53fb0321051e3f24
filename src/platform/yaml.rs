//! YAML (and so JSON) as a tree that knows its places.
//!
//! The parser gives events; what a configuration must be able to rely on is decided here: a key that
//! stands twice is an error, aliases are copies of bounded size, a tag that would make a value of its
//! own is refused. Plain scalars mean what YAML 1.2's core schema says; a text that it takes for a
//! number or a boolean is not a text, so that nothing depends on which reader guesses how.

mod fault;

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

pub use fault::{YamlError, YamlFault};

/// The most values of one text, those that aliases repeat counted each time.
const MOST_NODES: usize = 1_000_000;

/// The most levels of lists and maps.
const MOST_LEVELS: usize = 100;

/// Line and column, both from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// A value with its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where it begins; of an alias where what it repeats begins.
    pub place: Place,
    /// The value.
    pub value: Value,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `null`, `~`, or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the text. No key stands twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a map. What is no text is taken as it is written.
#[derive(Clone, PartialEq, Debug)]
pub struct Key {
    /// The key.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

impl Node {
    /// The value of `key`, where this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.map()?.iter().find(|(known, _)| known.name == key).map(|(_, node)| node)
    }

    /// The entries, where this is a map.
    #[must_use]
    pub fn map(&self) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, where this is a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, where this is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// What this is, for a message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// How many values this is.
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.size()).sum(),
            _ => 0,
        }
    }
}

/// The documents of `text`. One that holds nothing but comments is none.
///
/// # Errors
/// The first thing that is wrong.
pub fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            place: Place { line: error.marker().line().max(1), column: error.marker().col() + 1 },
            fault: YamlFault::Syntax(error.info().to_lowercase()),
        })?;
        builder.take(event, &span)?;
    }
    Ok(builder.documents)
}

/// A list or map that is still open.
struct Open {
    place: Place,
    anchor: usize,
    what: Items,
}

enum Items {
    List(Vec<Node>),
    Map {
        entries: Vec<(Key, Node)>,
        /// The lines of the keys so far.
        lines: HashMap<String, usize>,
        key: Option<Entry>,
        merged: Vec<Node>,
    },
}

/// A key whose value has not come yet.
struct Entry {
    key: Key,
    /// It is `<<`, written plainly: its value's entries are to be taken over.
    merges: bool,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// A document has begun, and nothing of it has come.
    empty: bool,
}

fn at(span: &Span) -> Place {
    Place { line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn error<T>(place: Place, fault: YamlFault) -> Result<T, YamlError> {
    Err(YamlError { place, fault })
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
        let place = at(span);
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                self.empty = true;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain) && tag.is_none();
                if plain && text == "<<" && self.wants_key() {
                    return self.key(Key { name: "<<".to_owned(), place }, true);
                }
                if self.wants_key() {
                    check_tag(place, tag.as_deref())?;
                    let key = Key { name: text.into_owned(), place };
                    if anchor != 0 {
                        let value = Value::Text(key.name.clone());
                        self.anchors.insert(anchor, Node { place, value });
                    }
                    return self.key(key, false);
                }
                let plainly = matches!(style, ScalarStyle::Plain);
                let value = scalar(text.into_owned(), plainly, check_tag(place, tag.as_deref())?);
                self.put(Node { place, value }, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(place, tag.as_deref())?;
                self.begin(place, anchor, Items::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(place, tag.as_deref())?;
                let map = Items::Map {
                    entries: Vec::new(),
                    lines: HashMap::new(),
                    key: None,
                    merged: Vec::new(),
                };
                self.begin(place, anchor, map)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { place, anchor, what }) = self.open.pop() else {
                    return error(place, YamlFault::NotOpen);
                };
                let value = match what {
                    Items::List(items) => Value::List(items),
                    Items::Map { entries, lines: _, key: _, merged } => {
                        Value::Map(merge(entries, &merged)?)
                    }
                };
                self.put(Node { place, value }, anchor)?;
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return error(place, YamlFault::NoAnchor);
                };
                if self.wants_key() {
                    let Value::Text(name) = node.value else {
                        return error(place, YamlFault::KeyNoText);
                    };
                    return self.key(Key { name, place }, false);
                }
                self.nodes = self.nodes.saturating_add(node.size());
                self.put(node, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { what: Items::Map { key: None, .. }, .. }))
    }

    fn key(&mut self, key: Key, merges: bool) -> Result<(), YamlError> {
        let Some(Open { what: Items::Map { lines, key: slot, .. }, .. }) = self.open.last_mut()
        else {
            return Ok(());
        };
        if !merges && let Some(first) = lines.insert(key.name.clone(), key.place.line) {
            return error(key.place, YamlFault::Twice { key: key.name, first });
        }
        *slot = Some(Entry { key, merges });
        Ok(())
    }

    fn begin(&mut self, place: Place, anchor: usize, what: Items) -> Result<(), YamlError> {
        if self.wants_key() {
            return error(place, YamlFault::KeyNoScalar);
        }
        if self.open.len() >= MOST_LEVELS {
            return error(place, YamlFault::TooDeep);
        }
        self.open.push(Open { place, anchor, what });
        Ok(())
    }

    /// Puts a whole value where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MOST_NODES {
            return error(node.place, YamlFault::TooMany);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None if self.empty && node.is_null() => {}
            None => self.documents.push(node),
            Some(Open { what: Items::List(items), .. }) => items.push(node),
            Some(Open { what: Items::Map { entries, key, merged, .. }, .. }) => match key.take() {
                Some(Entry { merges: true, .. }) => match node.value {
                    Value::List(nodes) => merged.extend(nodes),
                    _ => merged.push(node),
                },
                Some(Entry { key, .. }) => entries.push((key, node)),
                None => {}
            },
        }
        self.empty = self.empty && self.open.is_empty() && self.documents.is_empty();
        Ok(())
    }
}

/// `entries` with those of the `merged` maps that it does not have itself; of several the first has
/// it its way.
fn merge(mut entries: Vec<(Key, Node)>, merged: &[Node]) -> Result<Vec<(Key, Node)>, YamlError> {
    if merged.is_empty() {
        return Ok(entries);
    }
    let mut known: HashSet<String> = entries.iter().map(|(key, _)| key.name.clone()).collect();
    for node in merged {
        let Some(more) = node.map() else {
            return error(node.place, YamlFault::MergesNoMap(node.kind()));
        };
        for (key, value) in more {
            if known.insert(key.name.clone()) {
                entries.push((key.clone(), value.clone()));
            }
        }
    }
    Ok(entries)
}

/// What a tag makes of a scalar.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tagged {
    No,
    AsText,
}

fn check_tag(place: Place, tag: Option<&Tag>) -> Result<Tagged, YamlError> {
    let Some(tag) = tag else { return Ok(Tagged::No) };
    match tag.core_suffix() {
        Some("str") => Ok(Tagged::AsText),
        Some(_) => Ok(Tagged::No),
        None => error(place, YamlFault::Tag(tag.original().to_string())),
    }
}

fn scalar(text: String, plain: bool, tag: Tagged) -> Value {
    if !plain || tag == Tagged::AsText {
        return Value::Text(text);
    }
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if is_number(number) => Value::Number(text),
        _ => Value::Text(text),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = digits.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.contains(|c: char| c.is_ascii_digit())
        && digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As JSON, for comparing.
    fn json(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(text) => serde_json::json!({ "number": text }),
            Value::Text(text) => text.clone().into(),
            Value::List(items) => items.iter().map(json).collect(),
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, node)| (key.name.clone(), json(node)));
                serde_json::Value::Object(entries.collect())
            }
        }
    }

    fn one(text: &str) -> serde_json::Value {
        let all = documents(text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        assert_eq!(all.len(), 1, "{text}");
        json(&all[0])
    }

    #[test]
    fn texts_numbers_booleans_and_nothing_are_told_apart() {
        let text = "a: x\nb: '1'\nc: 1\nd: ~\ne:\nf: true\ng: yes\nh: !!str 1\ni: 1.5e3\nj: 1.2.3\n\
                    k: \"\\u00e9\\n\"\nl: |\n  one\n  two\nm: -0x1f\nn: '*'\no: 2026-01-02\n";
        assert_eq!(
            one(text),
            serde_json::json!({
                "a": "x", "b": "1", "c": { "number": "1" }, "d": null, "e": null, "f": true,
                "g": "yes", "h": "1", "i": { "number": "1.5e3" }, "j": "1.2.3", "k": "é\n",
                "l": "one\ntwo\n", "m": { "number": "-0x1f" }, "n": "*", "o": "2026-01-02",
            })
        );
    }

    #[test]
    fn json_is_read_too() {
        let text = "{\n\t\"a\": [1, \"b\\/c\", null, {\"d\": \"\\u00e9\"}],\n\t\"e\": \"\"\n}\n";
        let number = serde_json::json!({ "number": "1" });
        assert_eq!(
            one(text),
            serde_json::json!({ "a": [number, "b/c", null, { "d": "é" }], "e": "" })
        );
        assert_eq!(one(r#"["\ud83d\ude80"]"#), serde_json::json!(["🚀"]));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            "\\PC{0,12}".prop_map(Into::into),
            "[ \\t\\n:#'\"{}\\[\\],&*!|>%@`-]{0,6}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        /// Whatever a program writes as JSON is that.
        #[test]
        fn json_is_what_a_reader_of_json_takes_it_for(value in any_json()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let all = documents(&text).map_err(|error| {
                    TestCaseError::fail(format!("{error}: {text}"))
                })?;
                let read = all.first().map_or(serde_json::Value::Null, json);
                prop_assert_eq!(&read, &value, "{}", text);
            }
        }
    }

    #[test]
    fn aliases_are_copies_and_merge_keys_take_over_what_is_not_there() {
        let text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\nit:\n  <<: [*b, *o]\n  x: 5\n\
                    list: [*b]\nname: &n deep\n*n : 1\n'<<': text\n";
        let n = |text: &str| serde_json::json!({ "number": text });
        assert_eq!(
            one(text),
            serde_json::json!({
                "base": { "x": n("1"), "y": n("2") }, "other": { "y": n("3"), "z": n("4") },
                "it": { "x": n("5"), "y": n("2"), "z": n("4") },
                "list": [{ "x": n("1"), "y": n("2") }], "name": "deep", "deep": n("1"),
                "<<": "text",
            })
        );
    }

    #[test]
    fn documents_are_told_apart_and_empty_ones_are_none() {
        assert_eq!(documents("").unwrap(), []);
        assert_eq!(documents("# nothing\n").unwrap(), []);
        let all = documents("---\na: 1\n---\n# nothing\n---\n- b\n...\n").unwrap();
        assert_eq!(all.len(), 2);
        assert!(all[0].get("a").is_some());
        assert_eq!(all[1].list().unwrap()[0].place, Place { line: 6, column: 3 });
    }

    #[test]
    fn what_cannot_be_relied_on_is_refused_with_its_place() {
        for (text, line, column, message) in [
            ("a: 1\nb:\n  c: 1\n  c: 2\n", 4, 3, "the key `c` stands twice: first in line 3"),
            ("{\"a\": 1, \"a\": 1}", 1, 10, "the key `a` stands twice"),
            ("a: !ruby/object x\n", 1, 17, "the tag `!ruby/object` means nothing here"),
            ("? [a]\n: b\n", 1, 3, "a key that is a list or a map"),
            ("a: [1, 2\nb: 3\n", 2, 2, "is not YAML"),
            ("a: &x [*x]\n", 1, 8, "names an anchor that is not there"),
            ("<<: 3\n", 1, 5, "`<<` takes a map"),
        ] {
            let error = documents(text).unwrap_err();
            assert!(error.to_string().contains(message), "{text}: {error}");
            assert_eq!(error.place, Place { line, column }, "{text}: {error}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(documents(&deep).is_err());
    }

    #[test]
    fn aliases_cannot_grow_without_bound() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let last = n - 1;
            let repeated = vec![format!("*a{last}"); 10].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{repeated}]\n"));
        }
        assert_eq!(documents(&text).unwrap_err().fault, YamlFault::TooMany);
    }
}
