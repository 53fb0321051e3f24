//! The parser's events put together: keys that stand twice, aliases of bounded size, merge keys, tags.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, ScalarStyle, Span, Tag};

use super::{Key, MOST_LEVELS, MOST_NODES, Node, Position, Value, YamlError, YamlFault};

/// A list or map that is still open.
struct Open {
    place: Position,
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
pub(super) struct Builder {
    pub(super) documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// A document has begun, and nothing of it has come.
    empty: bool,
}

fn at(span: &Span) -> Position {
    Position { line: span.start.line().max(1), column: span.start.col() + 1 }
}

fn error<T>(place: Position, fault: YamlFault) -> Result<T, YamlError> {
    Err(YamlError { place, fault })
}

impl Builder {
    /// Takes the next event in.
    pub(super) fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
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

    fn begin(&mut self, place: Position, anchor: usize, what: Items) -> Result<(), YamlError> {
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

fn check_tag(place: Position, tag: Option<&Tag>) -> Result<Tagged, YamlError> {
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
