//! Which of the platform's requests a question is: the first rule that fits, else the two patterns.

use serde_json::Value;

use super::request::{Evaluation, Object};
use crate::config::{AuthzenConfig, AuthzenPattern, AuthzenRule, Condition, Ending, QuestionPart};
use crate::policy::{concrete, is_literal};

/// Turns questions into requests, and back.
pub(super) struct Mapping {
    action: AuthzenPattern,
    resource: AuthzenPattern,
    rules: Vec<AuthzenRule>,
}

/// Why no request can be made of a question: what must not stand there would read as something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Inexpressible {
    #[error(
        "the resource's type is empty, or holds white space, a control character, `*`, `:` or `/`"
    )]
    Type,
    #[error("the action's name is empty, or holds white space, a control character, `*` or `:`")]
    Name,
    #[error(
        "the resource's id is empty, or holds white space, a control character, `*` or `${{self}}`"
    )]
    Id,
}

/// A request of the platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Meant {
    pub action: String,
    pub resource: Option<String>,
}

/// The patterns that count for a question, whatever its resource's id.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Chosen<'m> {
    action: &'m AuthzenPattern,
    /// `None`: the request has no resource.
    pub resource: Option<&'m AuthzenPattern>,
}

impl Chosen<'_> {
    /// The action.
    pub(super) fn action(&self, kind: &str, name: &str) -> String {
        self.action.text(kind, name)
    }

    /// The resource that `id` is.
    pub(super) fn resource(&self, kind: &str, id: &str) -> Result<Option<String>, Inexpressible> {
        if id.is_empty() || !is_literal(id) {
            return Err(Inexpressible::Id);
        }
        let resource = self.resource.map(|pattern| pattern.text(kind, id));
        match resource.as_deref().map(concrete) {
            Some(None) => Err(Inexpressible::Id),
            Some(Some(_)) | None => Ok(resource),
        }
    }
}

impl Mapping {
    pub(super) fn new(config: &AuthzenConfig) -> Mapping {
        let AuthzenConfig { action, resource, rules, .. } = config;
        Mapping { action: action.clone(), resource: resource.clone(), rules: rules.clone() }
    }

    /// The pattern of resources that no rule has chosen.
    pub(super) fn plain_resource(&self) -> &AuthzenPattern {
        &self.resource
    }

    /// The request that a question is.
    pub(super) fn meant(&self, question: &Evaluation<'_>) -> Result<Meant, Inexpressible> {
        let (kind, name) = (question.resource.kind, question.action.name);
        let chosen = self.chosen(question)?;
        let resource = chosen.resource(kind, question.resource.id)?;
        Ok(Meant { action: chosen.action(kind, name), resource })
    }

    /// The patterns that count for a question: its resource's id says nothing about that.
    pub(super) fn chosen(&self, question: &Evaluation<'_>) -> Result<Chosen<'_>, Inexpressible> {
        check_type(question.resource.kind)?;
        let name = question.action.name;
        if name.is_empty() || !is_literal(name) || name.contains(':') {
            return Err(Inexpressible::Name);
        }
        let rule = self.rules.iter().find(|rule| fits(rule, question));
        let action = rule.and_then(|rule| rule.action.as_ref()).unwrap_or(&self.action);
        let resource = match rule.and_then(|rule| rule.resource.as_ref()) {
            Some(resource) => resource.as_ref(),
            None => Some(&self.resource),
        };
        Ok(Chosen { action, resource })
    }

    /// The names of actions that the pattern or a rule makes one of the catalog's `actions` of, for
    /// resources of the type `kind`. Sorted, each once. What a name means is for [`Mapping::meant`].
    pub(super) fn names<'a>(
        &'a self,
        kind: &str,
        actions: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Vec<&'a str>, Inexpressible> {
        check_type(kind)?;
        let mut names: Vec<&str> = Vec::new();
        let mut turn_round = |pattern: &AuthzenPattern, own: Option<&'a str>| {
            let start = pattern.start(kind);
            match (own, pattern.ending) {
                (Some(name), _) => {
                    let meant = pattern.text(kind, name);
                    names.extend(actions.clone().any(|action| action == meant).then_some(name));
                }
                (None, Ending::Named) => {
                    names.extend(actions.clone().filter_map(|action| action.strip_prefix(&*start)));
                }
                // Every name would do: none can be told.
                (None, Ending::Fixed) => {}
            }
        };
        turn_round(&self.action, None);
        for rule in self.rules.iter().filter(|rule| is_of(rule, kind)) {
            let pattern = rule.action.as_ref().unwrap_or(&self.action);
            turn_round(pattern, rule.action_name.as_deref());
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// A type that holds `/` or `:` would make two questions one request.
fn check_type(kind: &str) -> Result<(), Inexpressible> {
    match kind.is_empty() || !is_literal(kind) || kind.contains([':', '/']) {
        true => Err(Inexpressible::Type),
        false => Ok(()),
    }
}

fn is_of(rule: &AuthzenRule, kind: &str) -> bool {
    rule.resource_type.as_ref().is_none_or(|wanted| wanted == kind)
}

fn fits(rule: &AuthzenRule, question: &Evaluation<'_>) -> bool {
    is_of(rule, question.resource.kind)
        && rule.action_name.as_ref().is_none_or(|name| name == question.action.name)
        && rule.when.iter().all(|condition| holds(condition, question))
}

fn holds(condition: &Condition, question: &Evaluation<'_>) -> bool {
    let object = match condition.part {
        QuestionPart::Subject => question.subject.properties,
        QuestionPart::Action => question.action.properties,
        QuestionPart::Resource => question.resource.properties,
        QuestionPart::Context => question.context,
    };
    let found = object.and_then(|object| find(object, &condition.path));
    found.is_some_and(|found| is_equal(found, &condition.value))
}

fn find<'v>(object: &'v Object, path: &[String]) -> Option<&'v Value> {
    let (name, rest) = path.split_first()?;
    let value = object.get(name)?;
    if rest.is_empty() { Some(value) } else { find(value.as_object()?, rest) }
}

/// Whether both are the same value of the same type of JSON, where `1` and `1.0` are one number.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            // Beyond that a double is several whole numbers.
            let exact = |it: f64| it.abs() < 9_007_199_254_740_992.0;
            one == other
                || (one.is_f64() != other.is_f64()
                    && one.as_f64() == other.as_f64()
                    && one.as_f64().is_some_and(exact))
        }
        (one, other) => one == other,
    }
}
