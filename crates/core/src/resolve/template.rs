//! Texts with `${capture}` in them, and the roles that templates make.
//!
//! Captured text comes from the identity provider: whoever may name a group there must not be
//! able to write a pattern, or a role's name that only looks like another. So a capture that holds
//! `*`, `/`, `$`, white space, control or format characters is refused, and so is one that is empty
//! where a pattern would use it: `pool/${team}*` with nothing captured would be `pool/*`.

use std::sync::LazyLock;

use regex::{Captures, Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

use super::settings::{PolicyText, RoleTemplate};
use crate::model::{RoleNameError, check_role_name};
use crate::policy::{ActionPattern, Effect, PatternError, Policy, ResourcePattern};

/// What no capture may be called: in a policy's resource it is the caller's username, which only a
/// request tells.
pub const SELF: &str = "self";

/// How it is written there.
pub const CALLER: &str = "${self}";

/// A part of a text with captures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part<'a> {
    /// As it stands.
    Literal(&'a str),
    /// `${name}`
    Capture(&'a str),
}

/// Why a text with captures, a pattern or what is made of them is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TemplateError {
    /// A `$` that begins no capture.
    #[error("`{}` holds a `$` that does not begin `${{name}}`", .0.escape_debug())]
    LoneDollar(String),
    /// A capture that does not end.
    #[error("`{}` holds a `${{` without its `}}`", .0.escape_debug())]
    Unclosed(String),
    /// What stands between the braces names no capture.
    #[error(
        "`{}` holds `${{{}}}`, which is not the name of a capture",
        text.escape_debug(),
        name.escape_debug()
    )]
    NoName {
        /// The text.
        text: String,
        /// What stands there.
        name: String,
    },
    /// A capture holds what could widen a pattern, or hide.
    #[error("capture `{name}` is `{}`, which holds {what}", shown(value))]
    Refused {
        /// The capture.
        name: String,
        /// What it holds.
        value: String,
        /// What of that is refused.
        what: String,
    },
    /// A capture holds nothing where something must stand.
    #[error("capture `{0}` is empty")]
    EmptyCapture(String),
    /// An empty pattern.
    #[error("is empty")]
    Empty,
    /// No regular expression.
    #[error("`{}` is not a regular expression: {why}", text.escape_debug())]
    NoRegex {
        /// The text.
        text: String,
        /// What the parser says.
        why: String,
    },
    /// What comes out is no role's name.
    #[error(transparent)]
    RoleName(#[from] RoleNameError),
    /// A role's name holds what no screen shows.
    #[error("it holds a format character (`{}`)", .0.escape_unicode())]
    Unseen(char),
    /// What comes out is no action and no resource.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// What a group is called comes to no role.
    #[error("`{}` is refused: {why}", shown(identity))]
    Identity {
        /// What the group is called.
        identity: String,
        /// Why.
        why: Box<TemplateError>,
    },
    /// A role that the template does not make.
    #[error("role `{}` of template `{}` is refused: {why}", shown(role), template.escape_debug())]
    Role {
        /// What it would be called.
        role: String,
        /// The template.
        template: String,
        /// Why.
        why: Box<TemplateError>,
    },
}

/// Takes a text apart.
///
/// # Errors
/// A `$` that does not begin `${name}`.
pub fn parts(text: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('$') {
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let Some(tail) = tail.strip_prefix('{') else {
            return Err(TemplateError::LoneDollar(text.to_owned()));
        };
        let Some((name, tail)) = tail.split_once('}') else {
            return Err(TemplateError::Unclosed(text.to_owned()));
        };
        let valid = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']'));
        if !valid {
            let (text, name) = (text.to_owned(), name.to_owned());
            return Err(TemplateError::NoName { text, name });
        }
        parts.push(Part::Capture(name));
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Ok(parts)
}

/// What no screen shows: the format characters (zero-width ones, those that turn the direction of
/// writing, tags), and what Unicode calls ignorable besides (fillers, variation selectors).
static UNSEEN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"[\p{Cf}\p{Default_Ignorable_Code_Point}]").ok());

/// The first character of `text` that no screen shows.
fn unseen(text: &str) -> Option<char> {
    if text.is_ascii() {
        return None;
    }
    match UNSEEN.as_ref() {
        Some(regex) => regex.find(text).and_then(|found| found.as_str().chars().next()),
        // Cannot be, and then nothing is let through that could be one.
        None => text.chars().find(|c| !c.is_ascii()),
    }
}

/// Whether a captured text may go into a role's name or a pattern.
///
/// # Errors
/// Which character is refused, in which capture.
fn check_capture(name: &str, value: &str) -> Result<(), TemplateError> {
    let plain = |c: &char| matches!(c, '*' | '/' | '$') || c.is_whitespace() || c.is_control();
    let what = match value.chars().find(plain) {
        Some(c @ ('*' | '/' | '$')) => format!("`{c}`"),
        Some(c) if c.is_whitespace() => "white space".to_owned(),
        Some(_) => "a control character".to_owned(),
        None => match unseen(value) {
            Some(c) => format!("a format character (`{}`)", c.escape_unicode()),
            None => return Ok(()),
        },
    };
    Err(TemplateError::Refused { name: name.to_owned(), value: value.to_owned(), what })
}

/// `text` with what no screen shows escaped.
fn shown(text: &str) -> String {
    let escaped = |c: char| match unseen(c.encode_utf8(&mut [0; 4])) {
        Some(c) => c.escape_unicode().to_string(),
        None => c.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}

/// A regular expression that must match the whole text.
///
/// # Errors
/// It is none; the message says why.
pub fn anchored(text: &str) -> Result<Regex, TemplateError> {
    if text.is_empty() {
        return Err(TemplateError::Empty);
    }
    // Alone first: `a)(?:b` would slip through the anchors' brackets.
    Regex::new(text)
        .and_then(|_| Regex::new(&format!("^(?:{text})$")))
        .map_err(|error| TemplateError::NoRegex { text: text.to_owned(), why: regex_error(&error) })
}

/// The same expression where case does not matter: for sources whose names compare so.
///
/// # Errors
/// It is too large.
pub fn ignoring_case(regex: &Regex) -> Result<Regex, TemplateError> {
    let text = regex.as_str();
    RegexBuilder::new(text)
        .case_insensitive(true)
        .build()
        .map_err(|error| TemplateError::NoRegex { text: text.to_owned(), why: regex_error(&error) })
}

/// The one line of a regex error that says what is wrong.
fn regex_error(error: &regex::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once("error: ") {
        Some((_, reason)) => reason.trim().replace('\n', " "),
        None => text.lines().last().unwrap_or_default().trim().to_lowercase(),
    }
}

/// Fills captures into `text`.
fn fill(text: &str, captures: &Captures<'_>) -> Result<String, TemplateError> {
    let mut filled = String::new();
    for part in parts(text)? {
        match part {
            Part::Literal(literal) => filled.push_str(literal),
            Part::Capture(SELF) => filled.push_str(CALLER),
            Part::Capture(name) => match captures.name(name).map(|m| m.as_str()) {
                Some(value) if !value.is_empty() => {
                    check_capture(name, value)?;
                    filled.push_str(value);
                }
                Some(_) | None => return Err(TemplateError::EmptyCapture(name.to_owned())),
            },
        }
    }
    Ok(filled)
}

/// Fills what `regex` captures in `identity` into `text`, a role's name of a `group_regex`
/// mapping. `None` where the regex does not match.
///
/// The inner error says which capture is refused and why, external text escaped.
#[must_use]
pub fn expand(text: &str, regex: &Regex, identity: &str) -> Option<Result<String, TemplateError>> {
    let captures = regex.captures(identity)?;
    Some(
        fill(text, &captures)
            .and_then(|role| Ok(check_role_name(&role).map(|()| role)?))
            .map_err(Box::new)
            .map_err(|why| TemplateError::Identity { identity: identity.to_owned(), why }),
    )
}

/// Whether `text`, a role's name of a `group_regex` mapping, can come to `role`: whether `regex` can
/// capture what would have to stand in it.
#[must_use]
pub fn could_be(text: &str, regex: &Regex, role: &str) -> bool {
    let Ok(parts) = parts(text) else { return false };
    let Ok(whole) = regex_syntax::parse(regex.as_str()) else { return true };
    let mut pattern = String::from("^");
    for (number, part) in parts.into_iter().enumerate() {
        match part {
            Part::Literal(literal) => pattern.push_str(&regex::escape(literal)),
            Part::Capture(name) => {
                let Some(captured) = captured(&whole, name) else { return false };
                pattern.push_str(&format!("(?<part{number}>{captured})"));
            }
        }
    }
    pattern.push('$');
    // What cannot be put together again (a capture within a capture) may be anything.
    let Ok(pattern) = Regex::new(&pattern) else { return true };
    let Some(found) = pattern.captures(role) else { return false };
    let mut parts = pattern.capture_names().flatten().filter_map(|name| found.name(name));
    parts.all(|part| !part.is_empty() && check_capture("", part.as_str()).is_ok())
}

/// What the capture `name` of a pattern takes.
fn captured<'h>(hir: &'h Hir, name: &str) -> Option<&'h Hir> {
    match hir.kind() {
        HirKind::Capture(capture) if capture.name.as_deref() == Some(name) => Some(&capture.sub),
        HirKind::Capture(capture) => captured(&capture.sub, name),
        HirKind::Repetition(repetition) => captured(&repetition.sub, name),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().find_map(|part| captured(part, name))
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => None,
    }
}

/// Reads a policy's texts, through `fill`.
///
/// # Errors
/// A text is no pattern, or `fill` refuses it.
pub fn policy(
    text: &PolicyText,
    mut fill: impl FnMut(&str) -> Result<String, TemplateError>,
) -> Result<Policy, TemplateError> {
    let PolicyText { effect, actions, resources } = text;
    let mut action =
        |text: &String| -> Result<ActionPattern, TemplateError> { Ok(fill(text)?.parse()?) };
    let actions = actions.iter().map(&mut action).collect::<Result<_, TemplateError>>()?;
    let mut resource =
        |text: &String| -> Result<ResourcePattern, TemplateError> { Ok(fill(text)?.parse()?) };
    let resources = match resources {
        Some(texts) => Some(texts.iter().map(&mut resource).collect::<Result<_, TemplateError>>()?),
        None => None,
    };
    Ok(Policy { effect: *effect, actions, resources })
}

impl RoleTemplate {
    /// Whether its roles allow every action. A capture never holds `*`, so the text tells.
    #[must_use]
    pub fn allows_all(&self) -> bool {
        let any =
            |text: &String| text.parse::<ActionPattern>().is_ok_and(|pattern| pattern.is_any());
        self.policies
            .iter()
            .any(|policy| policy.effect == Effect::Allow && policy.actions.iter().any(any))
    }

    /// Whether its roles do nothing but deny.
    #[must_use]
    pub fn only_denies(&self) -> bool {
        !self.policies.is_empty()
            && self.policies.iter().all(|policy| policy.effect == Effect::Deny)
    }

    /// The description and policies of the role `role_name`, with what the name's captures hold
    /// filled in.
    ///
    /// `None`: the name does not match the template. The inner error: it does, but the name or a
    /// capture of it is refused (says which and why, external text escaped); such a role is never
    /// made.
    #[must_use]
    pub fn instantiate(
        &self,
        role_name: &str,
    ) -> Option<Result<(String, Vec<Policy>), TemplateError>> {
        let captures = self.regex.captures(role_name)?;
        Some(self.fill_in(role_name, &captures).map_err(|why| TemplateError::Role {
            role: role_name.to_owned(),
            template: self.name.clone(),
            why: Box::new(why),
        }))
    }

    fn fill_in(
        &self,
        role_name: &str,
        captures: &Captures<'_>,
    ) -> Result<(String, Vec<Policy>), TemplateError> {
        check_role_name(role_name)?;
        if let Some(c) = unseen(role_name) {
            return Err(TemplateError::Unseen(c));
        }
        // Captures that no text uses are checked too: one rule, whatever the policies are today.
        for name in self.regex.capture_names().flatten() {
            if let Some(value) = captures.name(name) {
                check_capture(name, value.as_str())?;
            }
        }
        let description = fill(&self.description, captures)?;
        let policies = self
            .policies
            .iter()
            .map(|text| policy(text, |text| fill(text, captures)))
            .collect::<Result<_, TemplateError>>()?;
        Ok((description, policies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mode;

    fn template(name: &str, resource: &str) -> RoleTemplate {
        RoleTemplate {
            name: name.to_owned(),
            regex: anchored(name).unwrap(),
            mode: Mode::Merge,
            description: "team ${team}".to_owned(),
            policies: vec![PolicyText {
                effect: Effect::Allow,
                actions: vec!["workflow:*".to_owned()],
                resources: Some(vec![resource.to_owned()]),
            }],
        }
    }

    #[test]
    fn a_template_fills_its_captures_in() {
        let template = template("osmo-(?<team>[a-z]+)", "pool/${team}-*");
        let (description, policies) = template.instantiate("osmo-vision").unwrap().unwrap();
        assert_eq!(description, "team vision");
        assert_eq!(policies[0].resources.as_ref().unwrap()[0].to_string(), "pool/vision-*");
    }

    #[test]
    fn a_template_must_match_the_whole_name() {
        let template = template("osmo-(?<team>[a-z]+)", "pool/${team}-*");
        for name in ["xosmo-vision", "osmo-vision2", "osmo-", "osmo-vision\n", ""] {
            assert!(template.instantiate(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn text_that_could_write_a_pattern_is_refused() {
        let template = template("osmo-(?s)(?<team>.*)", "pool/${team}*");
        for (name, reason) in [
            ("osmo-*", "capture `team` is `*`, which holds `*`"),
            ("osmo-a/b", "capture `team` is `a/b`, which holds `/`"),
            ("osmo-$x", "capture `team` is `$x`, which holds `$`"),
            ("osmo-", "capture `team` is empty"),
            ("osmo-a b", "it holds white space or a control character"),
            ("osmo-a\nb", "it holds white space or a control character"),
            ("osmo-a,b", "it holds a comma"),
            ("osmo-a\u{200b}b", "a format character"),
            ("osmo-a\u{202e}b", "a format character"),
            ("osmo-a\u{ad}b", "a format character"),
            ("osmo-a\u{e0061}", "a format character"),
            ("osmo-a\u{3164}", "a format character"),
        ] {
            let error = template.instantiate(name).unwrap().unwrap_err().to_string();
            assert!(error.contains(reason), "{name:?}: {error}");
            assert!(!error.contains('\n') && unseen(&error).is_none(), "{error:?}");
        }
    }

    #[test]
    fn a_mapping_fills_its_captures_in() {
        let regex = anchored("/OSMO (?<team>.*)").unwrap();
        assert_eq!(expand("osmo-${team}", &regex, "/OSMO ml").unwrap().unwrap(), "osmo-ml");
        assert_eq!(expand("osmo-user", &regex, "/OSMO a b").unwrap().unwrap(), "osmo-user");
        assert!(expand("osmo-${team}", &regex, "/Eng/OSMO ml").is_none());
        assert_eq!(
            expand("osmo-${team}", &regex, "/OSMO a/b").unwrap().unwrap_err().to_string(),
            "`/OSMO a/b` is refused: capture `team` is `a/b`, which holds `/`"
        );
    }

    #[test]
    fn what_a_capture_can_never_be_no_mapping_comes_to() {
        let regex = anchored(r"/OSMO (?<team>robotics|sim(?<n>\d))(?: (?<part>[a-z.]+))?").unwrap();
        for (text, role, can) in [
            ("osmo-${team}", "osmo-robotics", true),
            ("osmo-${team}", "osmo-sim7", true),
            ("osmo-${team}", "osmo-sim", false),
            ("osmo-${team}", "osmo-ml", false),
            ("osmo-${team}", "osmo-", false),
            ("osmo-${team}-x", "osmo-robotics-x", true),
            ("osmo-${team}-x", "osmo-robotics", false),
            ("${part}.${team}", "a.b.robotics", true),
            ("${part}.${team}", "a.b.c", false),
            ("osmo-user", "osmo-user", true),
            ("osmo-user", "osmo-users", false),
        ] {
            assert_eq!(could_be(text, &regex, role), can, "{text} {role}");
        }
    }

    #[test]
    fn a_dollar_begins_a_capture_or_is_an_error() {
        assert_eq!(
            parts("a${b}c").unwrap(),
            [Part::Literal("a"), Part::Capture("b"), Part::Literal("c")]
        );
        for bad in ["$", "a$b", "${", "${}", "${a b}", "${1}", "$$", "${a"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }
}
