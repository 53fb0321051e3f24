//! IAM policies, from and to the vendor's JSON.
//!
//! Reading is strict: an allow that is not understood would lose access, and a deny that is not
//! understood would give it. So a text is understood in whole or refused in whole, with every fault
//! named by its field. Nothing is skipped.

use std::fmt;

use serde_json::json;

use super::json::Json;
use crate::model::{RoleNameError, check_role_name};
use crate::policy::{ActionPattern, Effect, PatternError, Policy, ResourcePattern};

/// One policy, as its file has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IamPolicy {
    /// What its statements are about. At least one.
    pub resources: Vec<ResourcePattern>,
    /// At least one, in order.
    pub statements: Vec<Statement>,
}

/// One statement of a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The roles that it is about: its subjects, without `role:`. At least one.
    pub roles: Vec<String>,
    /// At least one.
    pub actions: Vec<ActionPattern>,
    /// Whether it has `attributes`: an empty list then.
    pub attributes: bool,
    /// Allow or Deny.
    pub effect: Effect,
}

/// What is wrong with a text, and where.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct IamFault {
    /// The field, such as `statements[1].effect`; places in lists count from 1, and where the text
    /// is a list of policies, it begins with the policy's. Empty for the text as a whole.
    pub field: String,
    /// What is wrong, and what is possible instead.
    pub message: String,
}

impl fmt::Display for IamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IamFault { field, message } = self;
        match field.as_str() {
            "" => f.write_str(message),
            field => write!(f, "{field}: {message}"),
        }
    }
}

impl IamPolicy {
    /// What the policy says of each role that its subjects name, statement by statement in order.
    pub fn of_roles(&self) -> impl Iterator<Item = (&str, Policy)> {
        self.statements.iter().flat_map(|statement| {
            let policy = Policy {
                effect: statement.effect,
                actions: statement.actions.clone(),
                resources: Some(self.resources.clone()),
            };
            statement.roles.iter().map(move |role| (role.as_str(), policy.clone()))
        })
    }
}

/// Reads the policies of a text: one object, or a list of them.
///
/// # Errors
/// Every fault of it. Nothing of it counts then.
pub fn parse(text: &str) -> Result<Vec<IamPolicy>, Vec<IamFault>> {
    let whole = |message| vec![IamFault { field: String::new(), message }];
    let json = Json::parse(text).map_err(|error| whole(error.to_string()))?;
    let mut reader = Reader::default();
    let policies = match &json {
        Json::List(list) => {
            all((1usize..).zip(list).map(|(place, one)| reader.policy(&format!("[{place}]"), one)))
        }
        one => reader.policy("", one).map(|policy| vec![policy]),
    };
    match policies {
        Some(policies) if reader.faults.is_empty() => Ok(policies),
        _ => Err(reader.faults),
    }
}

/// Writes policies as they are read: one as an object, as the vendor shows it, else a list. Same
/// members, same order.
#[must_use]
pub fn write(policies: &[&IamPolicy]) -> String {
    let mut text = match policies {
        [one] => object(one, ""),
        [] => "[]".to_owned(),
        several => {
            let list: Vec<String> =
                several.iter().map(|policy| format!("  {}", object(policy, "  "))).collect();
            format!("[\n{}\n]", list.join(",\n"))
        }
    };
    text.push('\n');
    text
}

/// One policy, by hand: a map of the JSON library would sort its members.
fn object(policy: &IamPolicy, indent: &str) -> String {
    let IamPolicy { resources, statements } = policy;
    let statements: Vec<String> = statements
        .iter()
        .map(|Statement { roles, actions, attributes, effect }| {
            let subjects = list(roles.iter().map(|role| format!("role:{role}")));
            let attributes = if *attributes { ", \"attributes\": []" } else { "" };
            let effect = word(*effect);
            let actions = list(actions.iter().map(ToString::to_string));
            format!(
                "{indent}    {{\"subjects\": {subjects}, \"actions\": {actions}{attributes}, \
                 \"effect\": \"{effect}\"}}"
            )
        })
        .collect();
    format!(
        "{{\n{indent}  \"resources\": {},\n{indent}  \"statements\": [\n{}\n{indent}  ]\n{indent}}}",
        list(resources.iter().map(ToString::to_string)),
        statements.join(",\n")
    )
}

fn list(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<String> = texts.map(|text| json!(text).to_string()).collect();
    format!("[{}]", texts.join(", "))
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
    }
}

/// All values, or none. Looks at every item, unlike `collect`.
fn all<T>(items: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = items.collect();
    items.into_iter().collect()
}

/// Collects faults. What returns nothing has said why.
#[derive(Default)]
struct Reader {
    faults: Vec<IamFault>,
}

impl Reader {
    fn fault<T>(&mut self, field: &str, message: String) -> Option<T> {
        self.faults.push(IamFault { field: field.to_owned(), message });
        None
    }

    fn policy(&mut self, at: &str, json: &Json) -> Option<IamPolicy> {
        let [resources, statements] = self.members(at, json, ["resources", "statements"])?;
        let resources = self.texts(&below(at, "resources"), resources, resource);
        let at = below(at, "statements");
        let statements = self.list(&at, statements).and_then(|list| {
            let items = (1usize..).zip(list);
            all(items.map(|(place, one)| self.statement(&format!("{at}[{place}]"), one)))
        });
        Some(IamPolicy { resources: resources?, statements: statements? })
    }

    fn statement(&mut self, at: &str, json: &Json) -> Option<Statement> {
        let [subjects, actions, attributes, effect] =
            self.members(at, json, ["subjects", "actions", "attributes", "effect"])?;
        let roles = self.texts(&below(at, "subjects"), subjects, subject);
        let actions = self.texts(&below(at, "actions"), actions, action);
        let attributes = match attributes {
            None => Some(false),
            Some(Json::List(list)) if list.is_empty() => Some(true),
            Some(Json::List(_)) => self.fault(
                &below(at, "attributes"),
                "holds something: what attributes mean is not published, so only `[]` is understood"
                    .to_owned(),
            ),
            Some(other) => self.wrong(&below(at, "attributes"), "a list", other),
        };
        let effect = match effect {
            Some(Json::Text(text)) if text == "allow" => Some(Effect::Allow),
            Some(Json::Text(text)) if text == "deny" => Some(Effect::Deny),
            Some(Json::Text(text)) => self.fault(
                &below(at, "effect"),
                format!("`{}` is neither `allow` nor `deny`", text.escape_debug()),
            ),
            Some(other) => self.wrong(&below(at, "effect"), "`allow` or `deny`", other),
            None => self.fault(&below(at, "effect"), "is missing".to_owned()),
        };
        Some(Statement {
            roles: roles?,
            actions: actions?,
            attributes: attributes?,
            effect: effect?,
        })
    }

    fn wrong<T>(&mut self, field: &str, expected: &str, found: &Json) -> Option<T> {
        self.fault(field, format!("expected {expected}, found {}", found.kind()))
    }

    /// The members of an object by name. One that is not known, or stands twice, is a fault; the
    /// rest is read all the same, so that every fault is found.
    fn members<'j, const N: usize>(
        &mut self,
        at: &str,
        json: &'j Json,
        known: [&str; N],
    ) -> Option<[Option<&'j Json>; N]> {
        let Json::Object(members) = json else {
            return self.wrong(at, "an object", json);
        };
        for (place, (name, _)) in members.iter().enumerate() {
            let field = below(at, &name.escape_debug().to_string());
            if !known.contains(&name.as_str()) {
                let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                self.fault::<()>(
                    &field,
                    format!("unknown field; known here: {}", known.join(", ")),
                );
            }
            if members.iter().take(place).any(|(before, _)| before == name) {
                self.fault::<()>(&field, "stands twice".to_owned());
            }
        }
        Some(
            known.map(|name| {
                members.iter().find(|(other, _)| other == name).map(|(_, value)| value)
            }),
        )
    }

    /// A list that must be there and hold something.
    fn list<'j>(&mut self, at: &str, json: Option<&'j Json>) -> Option<&'j [Json]> {
        match json {
            Some(Json::List(list)) if list.is_empty() => {
                self.fault(at, "is an empty list".to_owned())
            }
            Some(Json::List(list)) => Some(list),
            Some(other) => self.wrong(at, "a list", other),
            None => self.fault(at, "is missing".to_owned()),
        }
    }

    /// A list of texts that `parse` understands.
    fn texts<T>(
        &mut self,
        at: &str,
        json: Option<&Json>,
        parse: impl Fn(&str) -> Result<T, TextFault>,
    ) -> Option<Vec<T>> {
        let list = self.list(at, json)?;
        all((1usize..).zip(list).map(|(place, item)| {
            let at = format!("{at}[{place}]");
            match item {
                Json::Text(text) => match parse(text) {
                    Ok(value) => Some(value),
                    Err(fault) => self.fault(&at, fault.to_string()),
                },
                other => self.wrong(&at, "a string", other),
            }
        }))
    }
}

fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// Why a text in a statement means nothing here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum TextFault {
    #[error("`{}` is not a subject that is understood: only `role:NAME` is", .0.escape_debug())]
    Subject(String),
    #[error("`{}` holds `*` or `!`: a role is named in whole", .0.escape_debug())]
    RolePattern(String),
    #[error(transparent)]
    RoleName(#[from] RoleNameError),
    #[error("`{}` is not an action", .0.escape_debug())]
    Unprintable(String),
    #[error(transparent)]
    Action(#[from] PatternError),
    #[error(
        "`{}` is not a resource that is understood: only `*`, `type/id` and `type/*` are",
        .0.escape_debug()
    )]
    Resource(String),
}

/// `role:NAME`
fn subject(text: &str) -> Result<String, TextFault> {
    let Some(name) = text.strip_prefix("role:") else {
        return Err(TextFault::Subject(text.to_owned()));
    };
    if name.contains(['*', '!']) {
        return Err(TextFault::RolePattern(text.to_owned()));
    }
    check_role_name(name)?;
    Ok(name.to_owned())
}

/// `type:name`, or a pattern of them as everywhere here.
fn action(text: &str) -> Result<ActionPattern, TextFault> {
    text.parse().map_err(|error| match text.chars().any(char::is_control) {
        true => TextFault::Unprintable(text.to_owned()),
        false => TextFault::Action(error),
    })
}

/// `*`, `type/id` or `type/*`.
fn resource(text: &str) -> Result<ResourcePattern, TextFault> {
    let refused = || TextFault::Resource(text.to_owned());
    // `${` would mean somebody here, and is no id there.
    if text.contains("${") {
        return Err(refused());
    }
    match text.parse().map_err(|_| refused())? {
        ResourcePattern::Prefix(prefix) if !prefix.ends_with('/') => Err(refused()),
        // The first slash ends the type; `type/a/*` is about ids that begin so.
        ResourcePattern::Prefix(prefix) if prefix.matches('/').count() > 1 => Err(refused()),
        pattern => Ok(pattern),
    }
}

#[cfg(test)]
mod tests;
