//! The patterns that turn an AuthZEN question into an action and a resource of the platform.
//!
//! A pattern is read both ways: a question becomes a request, and in a search a request of the catalog
//! becomes a question again. So that no two questions become one request, what stands for the
//! resource's type is followed by a `:` or `/`, which no type holds, and the name or the id comes last.

use super::super::reader::{Node, Read};
use crate::policy::{Action, concrete, is_literal};

const TYPE: &str = "{resource.type}";
const NAME: &str = "{action.name}";
const ID: &str = "{resource.id}";

/// A pattern of an action or a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthzenPattern {
    /// What stands before the end: texts, between which the resource's type stands. Never empty.
    texts: Vec<String>,
    /// What it ends in.
    pub ending: Ending,
}

/// What a pattern ends in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The name of the action, or the id of the resource.
    Named,
    /// Nothing that the question says.
    Fixed,
}

impl AuthzenPattern {
    /// `{resource.type}:{action.name}`
    pub(super) fn action() -> AuthzenPattern {
        AuthzenPattern { texts: vec![String::new(), ":".to_owned()], ending: Ending::Named }
    }

    /// `{resource.type}/{resource.id}`
    pub(super) fn resource() -> AuthzenPattern {
        AuthzenPattern { texts: vec![String::new(), "/".to_owned()], ending: Ending::Named }
    }

    /// What comes before the name or the id, for a resource of the type `kind`.
    #[must_use]
    pub fn start(&self, kind: &str) -> String {
        self.texts.join(kind)
    }

    /// The text of a question about `kind`, with the name or the id `last`.
    #[must_use]
    pub fn text(&self, kind: &str, last: &str) -> String {
        let mut text = self.start(kind);
        if self.ending == Ending::Named {
            text.push_str(last);
        }
        text
    }

    fn read(text: &str, ends: &str) -> Option<AuthzenPattern> {
        let (before, ending) = match text.strip_suffix(ends) {
            Some(before) => (before, Ending::Named),
            None => (text, Ending::Fixed),
        };
        let texts: Vec<String> = before.split(TYPE).map(str::to_owned).collect();
        let braces = |text: &String| text.contains(['{', '}']);
        (!texts.iter().any(braces)).then_some(AuthzenPattern { texts, ending })
    }

    /// Whether two types could give one text: something else than a `:` or `/` follows the type.
    fn is_ambiguous(&self) -> bool {
        let ends = self.texts.len().saturating_sub(1);
        let follows = |(place, text): (usize, &String)| {
            let last = place == ends && self.ending == Ending::Fixed;
            !(text.starts_with([':', '/']) || (last && text.is_empty()))
        };
        self.texts.iter().enumerate().skip(1).any(follows)
    }
}

/// What is read: of actions or of resources.
#[derive(Clone, Copy)]
struct Side {
    ends: &'static str,
    example: &'static str,
    /// Whether what comes of a question is one.
    holds: fn(&str) -> bool,
    what: &'static str,
}

const OF_ACTIONS: Side = Side {
    ends: NAME,
    example: "`{resource.type}:{action.name}`",
    holds: |text| text.parse::<Action>().is_ok(),
    what: "an action, `type:Name`",
};

const OF_RESOURCES: Side = Side {
    ends: ID,
    example: "`{resource.type}/{resource.id}`",
    holds: |text| concrete(text).is_some(),
    what: "a resource, `scope/id`",
};

fn any(node: &Node<'_>, side: Side) -> Read<AuthzenPattern> {
    let text = node.text()?;
    let Side { ends, example, holds, what } = side;
    let pattern = AuthzenPattern::read(&text, ends).ok_or_else(|| {
        node.bad(format!(
            "`{}` is no such pattern: of what stands in `{{…}}` only `{TYPE}` is known, and `{ends}` \
             at its end, as in {example}",
            text.escape_debug()
        ))
    })?;
    if pattern.is_ambiguous() {
        return Err(node.bad(format!(
            "`{}`: what follows `{TYPE}` begins with `:` or `/`, which no type holds: else two \
             questions would be one request",
            text.escape_debug()
        )));
    }
    if !holds(&pattern.text("t", "n")) {
        let text = text.escape_debug();
        return Err(node.bad(format!("`{text}` does not give {what}")));
    }
    Ok(pattern)
}

fn whole(node: &Node<'_>, side: Side) -> Read<AuthzenPattern> {
    let pattern = any(node, side)?;
    match pattern.ending {
        Ending::Named => Ok(pattern),
        Ending::Fixed => Err(node.bad(format!(
            "does not end in `{}`: then a search could not tell what to answer; write it like {}",
            side.ends, side.example
        ))),
    }
}

/// A pattern of actions that a search can turn round.
pub(super) fn whole_action(node: &Node<'_>) -> Read<AuthzenPattern> {
    whole(node, OF_ACTIONS)
}

/// A pattern of resources that a search can turn round.
pub(super) fn whole_resource(node: &Node<'_>) -> Read<AuthzenPattern> {
    whole(node, OF_RESOURCES)
}

/// A pattern of actions, or one action.
pub(super) fn any_action(node: &Node<'_>) -> Read<AuthzenPattern> {
    any(node, OF_ACTIONS)
}

/// A pattern of resources, or one resource.
pub(super) fn any_resource(node: &Node<'_>) -> Read<AuthzenPattern> {
    any(node, OF_RESOURCES)
}

/// The type of an entity, as it can stand in a request.
pub(super) fn type_name(node: &Node<'_>) -> Read<String> {
    let text = node.text()?;
    if !is_literal(&text) || text.contains([':', '/']) {
        return Err(node.bad(format!(
            "`{}` is not a type: it holds no white space, `*`, `:` or `/`",
            text.escape_debug()
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_says_what_a_question_is() {
        for (text, kind, last, expected) in [
            ("{resource.type}:{action.name}", "record", "read", "record:read"),
            ("app:{action.name}", "record", "read", "app:read"),
            ("app:{resource.type}/{action.name}", "record", "read", "app:record/read"),
            ("{resource.type}:soft-{action.name}", "record", "delete", "record:soft-delete"),
            ("record:soft-delete", "x", "y", "record:soft-delete"),
        ] {
            let pattern = AuthzenPattern::read(text, NAME).unwrap();
            assert!(!pattern.is_ambiguous(), "{text}");
            assert_eq!(pattern.text(kind, last), expected, "{text}");
        }
    }

    #[test]
    fn two_questions_never_give_one_text() {
        for text in ["{resource.type}{action.name}", "{resource.type}-{action.name}"] {
            assert!(AuthzenPattern::read(text, NAME).unwrap().is_ambiguous(), "{text}");
        }
        for text in
            ["{action.name}:{resource.type}", "{action.name}{action.name}", "{x}:{action.name}"]
        {
            assert_eq!(AuthzenPattern::read(text, NAME), None, "{text}");
        }
    }
}
