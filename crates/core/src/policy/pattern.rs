//! Actions, resources and the patterns that match them. Case counts.

use std::fmt;

/// Why a text is not an action, resource or pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` {fault}")]
pub struct PatternError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub fault: PatternFault,
}

/// What is wrong with a text that is not an action, resource or pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternFault {
    /// One of its parts, which this names, is empty.
    #[error("has an empty {0}")]
    Empty(&'static str),
    /// Something in it is not seen.
    #[error("holds white space or a control character")]
    Unseen,
    /// It has no `:`.
    #[error("is not an action: expected `type:Name`")]
    NoAction,
    /// It has a `:` too many.
    #[error("is not an action: it has more than one `:`")]
    Colons,
    /// It is a pattern, and an action is wanted.
    #[error("holds a `*`: a concrete action is needed")]
    ActionPattern,
    /// A `*` is a part of a type or name.
    #[error("is not an action pattern: `*` stands for a whole type or name")]
    PartOfAction,
    /// It has no `/`.
    #[error("is not a resource: expected `scope/id`")]
    NoResource,
    /// It is a pattern, and a resource is wanted.
    #[error("holds a `*`: a concrete resource is needed")]
    ResourcePattern,
    /// It means whoever asks, and a resource is wanted.
    #[error("holds `{SELF}`: a concrete resource is needed, that is a name for policies")]
    OwnResource,
    /// Its scope is a pattern.
    #[error("is not a resource pattern: a scope is named in whole")]
    ScopePattern,
    /// It has a `${…}` that means nothing, or a part of an id.
    #[error(
        "is not a resource pattern: of what stands in `${{…}}` only `{SELF}` is known, the caller's \
         username, and it stands for a whole id"
    )]
    Variable,
    /// A `*` stands elsewhere than at the end.
    #[error("is not a resource pattern: only one `*`, at the end")]
    Stars,
}

impl PatternFault {
    fn of(self, text: &str) -> PatternError {
        PatternError { text: text.to_owned(), fault: self }
    }
}

/// A concrete action, `type:Name`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Action {
    kind: String,
    name: String,
}

/// A concrete resource, `scope/id`. The id may hold further slashes.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Resource(String);

/// `*:*`, `type:*`, `*:Name` or `type:Name`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct ActionPattern {
    kind: Option<String>,
    name: Option<String>,
}

/// `*`, `scope/*`, `scope/prefix*`, `scope/id` or `scope/${self}`.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum ResourcePattern {
    /// `*`
    Any,
    /// `scope/*` (the prefix then ends in `/`) or `scope/prefix*`: the whole rest, slashes too.
    Prefix(String),
    /// One resource.
    Exact(String),
    /// `scope/${self}` (the scope is kept): the resource of that scope whose id is the caller's
    /// username, the whole of it and no more. The name is compared, never put into a pattern, so
    /// that no name can widen one.
    Own(String),
}

/// What stands for the caller's username in a pattern.
const SELF: &str = "${self}";

fn part(text: &str, whole: &str, what: &'static str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternFault::Empty(what).of(whole));
    }
    if text.contains(is_unseen) {
        return Err(PatternFault::Unseen.of(whole));
    }
    Ok(())
}

fn split_action(text: &str) -> Result<(&str, &str), PatternError> {
    let Some((kind, name)) = text.split_once(':') else {
        return Err(PatternFault::NoAction.of(text));
    };
    part(kind, text, "type")?;
    part(name, text, "name")?;
    if name.contains(':') {
        return Err(PatternFault::Colons.of(text));
    }
    Ok((kind, name))
}

impl Action {
    /// An action that this program itself spells, such as those of a built-in route. The caller's
    /// tests show that it reads back as it is written.
    pub fn spelt(kind: &'static str, name: &'static str) -> Self {
        Action { kind: kind.to_owned(), name: name.to_owned() }
    }
}

impl std::str::FromStr for Action {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (kind, name) = split_action(text)?;
        if text.contains('*') {
            return Err(PatternFault::ActionPattern.of(text));
        }
        Ok(Action { kind: kind.to_owned(), name: name.to_owned() })
    }
}

impl std::str::FromStr for ActionPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (kind, name) = split_action(text)?;
        let side = |side: &str| match side {
            "*" => Ok(None),
            side if side.contains('*') => Err(PatternFault::PartOfAction.of(text)),
            side => Ok(Some(side.to_owned())),
        };
        Ok(ActionPattern { kind: side(kind)?, name: side(name)? })
    }
}

fn split_resource(text: &str) -> Result<(&str, &str), PatternError> {
    let Some((scope, id)) = text.split_once('/') else {
        return Err(PatternFault::NoResource.of(text));
    };
    part(scope, text, "scope")?;
    part(id, text, "id")?;
    Ok((scope, id))
}

/// The scope and the id of a text that is a [`Resource`]; `None` where it is none. What decides on
/// every request asks here and makes no [`Resource`] of it.
#[must_use]
pub fn concrete(text: &str) -> Option<(&str, &str)> {
    let (scope, id) =
        text.split_once('/').filter(|(scope, id)| !scope.is_empty() && !id.is_empty())?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'$');
    let concrete = text.bytes().all(plain) || is_literal(text) && !text.contains(SELF);
    concrete.then_some((scope, id))
}

/// Whether `text` may stand in a [`Resource`], as a part of it: nothing in it is a pattern or unseen.
#[must_use]
pub fn is_literal(text: &str) -> bool {
    !text.contains(|c: char| c == '*' || is_unseen(c))
}

fn is_unseen(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

impl std::str::FromStr for Resource {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if concrete(text).is_some() {
            return Ok(Resource(text.to_owned()));
        }
        split_resource(text)?;
        let pattern = text.contains('*');
        let fault = if pattern { PatternFault::ResourcePattern } else { PatternFault::OwnResource };
        Err(fault.of(text))
    }
}

impl std::str::FromStr for ResourcePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(ResourcePattern::Any);
        }
        let (scope, id) = split_resource(text)?;
        if scope.contains('*') {
            return Err(PatternFault::ScopePattern.of(text));
        }
        if id == SELF && !scope.contains("${") {
            return Ok(ResourcePattern::Own(scope.to_owned()));
        }
        if text.contains("${") {
            return Err(PatternFault::Variable.of(text));
        }
        match id.strip_suffix('*') {
            Some(prefix) if prefix.contains('*') => Err(PatternFault::Stars.of(text)),
            Some(prefix) => Ok(ResourcePattern::Prefix(format!("{scope}/{prefix}"))),
            None if id.contains('*') => Err(PatternFault::Stars.of(text)),
            None => Ok(ResourcePattern::Exact(text.to_owned())),
        }
    }
}

impl ActionPattern {
    /// A pattern that this program itself spells: `kind:name`, or `kind:*`. The caller's tests show
    /// that it reads back as it is written.
    pub fn spelt(kind: &'static str, name: Option<&'static str>) -> Self {
        ActionPattern { kind: Some(kind.to_owned()), name: name.map(str::to_owned) }
    }

    /// Whether this is `*:*`.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.kind.is_none() && self.name.is_none()
    }

    /// The type that it names; `None`: any.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// The name that it names; `None`: any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether `action` is one of those meant.
    #[must_use]
    pub fn matches(&self, action: &Action) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == action.kind)
            && self.name.as_ref().is_none_or(|name| *name == action.name)
    }
}

impl ResourcePattern {
    /// Whether `resource` is one of those meant where somebody called `me` asks; `None`: nobody
    /// who has a username.
    #[must_use]
    pub fn matches(&self, resource: &Resource, me: Option<&str>) -> bool {
        match self {
            ResourcePattern::Any => true,
            ResourcePattern::Prefix(prefix) => resource.0.starts_with(prefix),
            ResourcePattern::Exact(exact) => resource.0 == *exact,
            ResourcePattern::Own(scope) => {
                let (of, id) = resource.parts();
                of == scope && me == Some(id)
            }
        }
    }

    /// Whether every resource of `scope` is one of those meant.
    #[must_use]
    pub fn covers(&self, scope: &str) -> bool {
        match self {
            ResourcePattern::Any => true,
            ResourcePattern::Prefix(prefix) => prefix.strip_suffix('/') == Some(scope),
            ResourcePattern::Exact(_) | ResourcePattern::Own(_) => false,
        }
    }

    /// Whether every resource of `scope` that `other` means is one of those meant.
    #[must_use]
    pub fn covers_all_of(&self, other: &ResourcePattern, scope: &str) -> bool {
        match (self, other) {
            _ if self.covers(scope) || self == other => true,
            (
                ResourcePattern::Prefix(prefix),
                ResourcePattern::Prefix(text) | ResourcePattern::Exact(text),
            ) => text.starts_with(prefix),
            _ => false,
        }
    }

    /// Whether some resource of `scope` is one of those meant, where somebody called `me` asks.
    #[must_use]
    pub fn reaches(&self, scope: &str, me: Option<&str>) -> bool {
        match self {
            ResourcePattern::Any => true,
            ResourcePattern::Own(own) => own == scope && me.is_some(),
            // A pattern names its scope in whole: what stands before its first slash.
            ResourcePattern::Prefix(text) | ResourcePattern::Exact(text) => {
                text.split_once('/').is_some_and(|(own, _)| own == scope)
            }
        }
    }

    /// Whether some resource that begins with `start` is one of those meant, where somebody asks
    /// who may have any username.
    #[must_use]
    pub fn meets(&self, start: &str) -> bool {
        match self {
            ResourcePattern::Any => true,
            ResourcePattern::Prefix(prefix) => {
                prefix.starts_with(start) || start.starts_with(prefix.as_str())
            }
            ResourcePattern::Exact(exact) => exact.starts_with(start),
            ResourcePattern::Own(scope) => match start.strip_prefix(scope.as_str()) {
                Some(rest) => rest.is_empty() || rest.starts_with('/'),
                None => scope.starts_with(start),
            },
        }
    }
}

impl Resource {
    /// The text `scope/id`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id: what stands behind the first `/`.
    #[must_use]
    pub fn id(&self) -> &str {
        self.parts().1
    }

    /// The scope and the id. Both are there: it was parsed.
    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ActionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "*".to_owned());
        write!(f, "{}:{}", side(&self.kind), side(&self.name))
    }
}

impl fmt::Display for ResourcePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourcePattern::Any => f.write_str("*"),
            ResourcePattern::Prefix(prefix) => write!(f, "{prefix}*"),
            ResourcePattern::Exact(exact) => f.write_str(exact),
            ResourcePattern::Own(scope) => write!(f, "{scope}/{SELF}"),
        }
    }
}

/// Serialised as the text that was parsed.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
as_text!(Action, Resource, ActionPattern, ResourcePattern);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Resource, concrete};

    proptest! {
        #[test]
        fn a_concrete_resource_is_what_the_pages_say(
            text in "(\\$\\{self\\})?[a-z$*/\\x00-\\x20üあ\u{a0}\u{85}-]{0,6}",
        ) {
            let (scope, id) = text.split_once('/').unwrap_or(("", ""));
            let refused = |c: char| c == '*' || c.is_whitespace() || c.is_control();
            let is = !scope.is_empty()
                && !id.is_empty()
                && !text.chars().any(refused)
                && !text.contains("${self}");
            prop_assert_eq!(concrete(&text), is.then_some((scope, id)), "{:?}", text);
            prop_assert_eq!(text.parse::<Resource>().is_ok(), is, "{:?}", text);
        }
    }
}
