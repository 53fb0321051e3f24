//! Texts with `${capture}` in them, and the roles that templates make.
//!
//! Captured text comes from the identity provider: whoever may name a group there must not be
//! able to write a pattern. So a capture that holds `*`, `/`, `$`, white space or control
//! characters is refused, and so is one that is empty where a pattern would use it: `pool/${team}*`
//! with nothing captured would be `pool/*`.

use regex::{Captures, Regex};

use super::types::{PolicyText, RoleTemplate};
use super::value::check_role_name;
use crate::policy::{ActionPattern, Policy, ResourcePattern};

/// A part of a text with captures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part<'a> {
    /// As it stands.
    Literal(&'a str),
    /// `${name}`
    Capture(&'a str),
}

/// Takes a text apart.
///
/// # Errors
/// A `$` that does not begin `${name}`.
pub(super) fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let shown = || text.escape_debug();
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('$') {
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let Some(tail) = tail.strip_prefix('{') else {
            return Err(format!("`{}` holds a `$` that does not begin `${{name}}`", shown()));
        };
        let Some((name, tail)) = tail.split_once('}') else {
            return Err(format!("`{}` holds a `${{` without its `}}`", shown()));
        };
        let valid = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']'));
        if !valid {
            return Err(format!(
                "`{}` holds `${{{}}}`, which is not the name of a capture",
                shown(),
                name.escape_debug()
            ));
        }
        parts.push(Part::Capture(name));
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    Ok(parts)
}

/// Whether a captured text may go into a role's name or a pattern.
///
/// # Errors
/// Which character is refused, in which capture.
fn check_capture(name: &str, value: &str) -> Result<(), String> {
    let refused =
        value.chars().find(|c| matches!(c, '*' | '/' | '$') || c.is_whitespace() || c.is_control());
    match refused {
        None => Ok(()),
        Some(c) => {
            let what = match c {
                '*' | '/' | '$' => format!("`{c}`"),
                c if c.is_whitespace() => "white space".to_owned(),
                _ => "a control character".to_owned(),
            };
            Err(format!("capture `{name}` is `{}`, which holds {what}", value.escape_debug()))
        }
    }
}

/// Fills captures into `text`.
fn fill(text: &str, captures: &Captures<'_>) -> Result<String, String> {
    let mut filled = String::new();
    for part in parts(text)? {
        match part {
            Part::Literal(literal) => filled.push_str(literal),
            Part::Capture(name) => match captures.name(name).map(|m| m.as_str()) {
                Some(value) if !value.is_empty() => {
                    check_capture(name, value)?;
                    filled.push_str(value);
                }
                Some(_) | None => return Err(format!("capture `{name}` is empty")),
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
pub fn expand(text: &str, regex: &Regex, identity: &str) -> Option<Result<String, String>> {
    let captures = regex.captures(identity)?;
    Some(
        fill(text, &captures)
            .and_then(|role| check_role_name(&role).map(|()| role))
            .map_err(|error| format!("`{}` is refused: {error}", identity.escape_debug())),
    )
}

/// Reads a policy's texts, through `fill`.
pub(super) fn policy(
    text: &PolicyText,
    mut fill: impl FnMut(&str) -> Result<String, String>,
) -> Result<Policy, String> {
    let PolicyText { effect, actions, resources } = text;
    let mut action = |text: &String| -> Result<ActionPattern, String> {
        fill(text)?.parse().map_err(|error| format!("{error}"))
    };
    let actions = actions.iter().map(&mut action).collect::<Result<_, _>>()?;
    let mut resource = |text: &String| -> Result<ResourcePattern, String> {
        fill(text)?.parse().map_err(|error| format!("{error}"))
    };
    let resources = match resources {
        Some(texts) => Some(texts.iter().map(&mut resource).collect::<Result<_, _>>()?),
        None => None,
    };
    Ok(Policy { effect: *effect, actions, resources })
}

impl RoleTemplate {
    /// The description and policies of the role `role_name`, with what the name's captures hold
    /// filled in.
    ///
    /// `None`: the name does not match the template. The inner error: it does, but the name or a
    /// capture of it is refused (says which and why, external text escaped); such a role is never
    /// made.
    #[must_use]
    pub fn instantiate(&self, role_name: &str) -> Option<Result<(String, Vec<Policy>), String>> {
        let captures = self.regex.captures(role_name)?;
        Some(self.fill_in(role_name, &captures).map_err(|error| {
            format!(
                "role `{}` of template `{}` is refused: {error}",
                role_name.escape_debug(),
                self.name.escape_debug()
            )
        }))
    }

    fn fill_in(
        &self,
        role_name: &str,
        captures: &Captures<'_>,
    ) -> Result<(String, Vec<Policy>), String> {
        check_role_name(role_name)?;
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
            .collect::<Result<_, _>>()?;
        Ok((description, policies))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::config::value::anchored;
    use crate::model::Mode;
    use crate::policy::Effect;

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
        ] {
            let error = template.instantiate(name).unwrap().unwrap_err();
            assert!(error.contains(reason), "{name:?}: {error}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn a_mapping_fills_its_captures_in() {
        let regex = anchored("/OSMO (?<team>.*)").unwrap();
        assert_eq!(expand("osmo-${team}", &regex, "/OSMO ml").unwrap().unwrap(), "osmo-ml");
        assert_eq!(expand("osmo-user", &regex, "/OSMO a b").unwrap().unwrap(), "osmo-user");
        assert!(expand("osmo-${team}", &regex, "/Eng/OSMO ml").is_none());
        assert_eq!(
            expand("osmo-${team}", &regex, "/OSMO a/b").unwrap().unwrap_err(),
            "`/OSMO a/b` is refused: capture `team` is `a/b`, which holds `/`"
        );
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
