//! `[[gateway.authzen.rule]]`: questions that mean another request than the patterns say.

use serde_json::Value;

use super::super::fault::Code;
use super::super::reader::{Node, Read, Table};
use super::pattern::{self, AuthzenPattern};

/// `[[gateway.authzen.rule]]`
#[derive(Clone, PartialEq, Debug)]
pub struct AuthzenRule {
    /// The resource's type; absent: any.
    pub resource_type: Option<String>,
    /// The action's name; absent: any.
    pub action_name: Option<String>,
    /// What the question must say besides: all of it.
    pub when: Vec<Condition>,
    /// The action; absent: as `[gateway.authzen]` has it.
    pub action: Option<AuthzenPattern>,
    /// The resource; absent: as `[gateway.authzen]` has it; the inner `None`: the request has none.
    pub resource: Option<Option<AuthzenPattern>>,
}

/// A value that a question must have.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    /// Where it is.
    pub part: QuestionPart,
    /// The names from there on, at least one.
    pub path: Vec<String>,
    /// A text, a boolean or a number.
    pub value: Value,
}

/// Where in a question a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuestionPart {
    /// `subject.properties`
    Subject,
    /// `action.properties`
    Action,
    /// `resource.properties`
    Resource,
    /// `context`
    Context,
}

const PARTS: [(&str, QuestionPart); 4] = [
    ("subject.properties.", QuestionPart::Subject),
    ("action.properties.", QuestionPart::Action),
    ("resource.properties.", QuestionPart::Resource),
    ("context.", QuestionPart::Context),
];

/// Reads one rule.
pub(super) fn rule(table: &Table<'_>) -> Read<AuthzenRule> {
    let resource_type = table.optional("resource_type", pattern::type_name);
    let action_name = table.optional("action_name", Node::text);
    let when = table.or("when", Vec::new(), |node| {
        let conditions = node.table()?;
        let read = conditions.entries().into_iter().map(|(key, _, node)| condition(key, &node));
        super::super::reader::all(read)
    });
    let action = table.optional("action", pattern::any_action);
    let resource = table.optional("resource", |node| match node.string()? {
        "" => Ok(None),
        _ => pattern::any_resource(node).map(Some),
    });
    table.finish();
    if !table.has("action") && !table.has("resource") {
        return Err(table.fault(
            Code::MissingKey,
            "says neither which `action` nor which `resource` such a question means",
        ));
    }
    Ok(AuthzenRule {
        resource_type: resource_type?,
        action_name: action_name?,
        when: when?,
        action: action?,
        resource: resource?,
    })
}

fn condition(key: &str, node: &Node<'_>) -> Read<Condition> {
    let found = PARTS.iter().find_map(|(start, part)| Some((*part, key.strip_prefix(start)?)));
    let (part, rest) = found.filter(|(_, rest)| !rest.split('.').any(str::is_empty)).ok_or_else(
        || {
            node.fault(
                Code::UnknownKey,
                "is nowhere in a question: expected `\"subject.properties.…\"`, \
                 `\"action.properties.…\"`, `\"resource.properties.…\"` or `\"context.…\"`, in quotes",
            )
        },
    )?;
    let path = rest.split('.').map(str::to_owned).collect();
    Ok(Condition { part, path, value: node.scalar()? })
}
