//! YAML (and so JSON) as a tree that knows its places.
//!
//! The parser gives events; what a configuration must be able to rely on is decided here: a key that
//! stands twice is an error, aliases are copies of bounded size, a tag that would make a value of its
//! own is refused. Plain scalars mean what YAML 1.2's core schema says; a text that it takes for a
//! number or a boolean is not a text, so that nothing depends on which reader guesses how.

mod build;
mod fault;

use granit_parser::Parser;

use build::Builder;
pub use fault::{YamlError, YamlFault};

/// The most values of one text, those that aliases repeat counted each time.
const MOST_NODES: usize = 1_000_000;

/// The most levels of lists and maps.
const MOST_LEVELS: usize = 100;

/// Line and column, both from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// A value with its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Where it begins; of an alias where what it repeats begins.
    pub place: Position,
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
    pub place: Position,
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
            place: Position {
                line: error.marker().line().max(1),
                column: error.marker().col() + 1,
            },
            fault: YamlFault::Syntax(error.info().to_lowercase()),
        })?;
        builder.take(event, &span)?;
    }
    Ok(builder.documents)
}

#[cfg(test)]
mod tests;
