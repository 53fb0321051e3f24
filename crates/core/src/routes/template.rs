//! A route as it is declared: its path template, what a request there does, and on what.

use crate::policy::{Action, Resource};

/// Routes that are built in: `preset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// OSMO's API.
    Osmo,
}

/// A route as it is declared, in `[[gateway.route]]` or by a preset.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Upper case; empty: any.
    pub methods: Vec<String>,
    /// The template as written.
    pub path: String,
    /// Its segments.
    pub segments: Vec<Segment>,
    /// What a request there does.
    pub action: Action,
    /// On what.
    pub target: Target,
}

/// A segment of a route's path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Segment {
    /// Exactly this.
    Literal(String),
    /// `{name}`: one segment.
    Capture(String),
    /// `*`: one segment; at the end one or more.
    Any,
}

/// What a route's action is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// No resource.
    Nothing,
    /// A resource whose text may hold `{capture}`s of the path.
    Resource(String),
    /// Some resource of this scope, which the path does not tell.
    Scope(String),
}

/// A path template's segments.
///
/// # Errors
/// It is no template; the message quotes it and says why.
pub fn parse_path(text: &str) -> Result<Vec<Segment>, String> {
    let shown = text.escape_debug();
    let Some(rest) = text.strip_prefix('/') else {
        return Err(format!("`{shown}` does not begin with `/`"));
    };
    if text.contains(['?', '#']) || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("`{shown}` is not a path: no query, no `#`, no white space"));
    }
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::new();
    for part in rest.split('/') {
        let segment = match part {
            "" => return Err(format!("`{shown}` has an empty segment, which no request can have")),
            "." | ".." => {
                return Err(format!("`{shown}` has a dot segment, which no request can have"));
            }
            "*" => Segment::Any,
            part => match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => {
                    let valid = !name.is_empty()
                        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                    if !valid {
                        return Err(format!("`{shown}` has a capture without a proper name"));
                    }
                    Segment::Capture(name.to_owned())
                }
                None if part.contains(['{', '}', '*']) => {
                    return Err(format!(
                        "`{shown}` has a `{{name}}` or `*` that is not a whole segment"
                    ));
                }
                None => {
                    check_literal(part).map_err(|why| format!("`{shown}` {why}"))?;
                    Segment::Literal(part.to_owned())
                }
            },
        };
        if matches!(segment, Segment::Capture(_)) && segments.contains(&segment) {
            return Err(format!("`{shown}` has two captures of one name"));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Refuses what no request's segment, decoded once, could equal ([`super::path`]).
fn check_literal(part: &str) -> Result<(), &'static str> {
    let escape = |three: &[u8]| matches!(three, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    if part.contains(['\\', ';']) {
        Err("holds a `\\` or `;`, with which every request is refused")
    } else if part.as_bytes().windows(3).any(escape) {
        Err("is percent-encoded: requests are compared decoded, so write the character itself")
    } else {
        Ok(())
    }
}

/// A route's resource: with its captures filled in it must be concrete. `path` is absent where it
/// is at fault itself.
///
/// # Errors
/// It is no resource, or names what the path does not capture; the message says why.
pub fn check_resource(text: &str, path: Option<&[Segment]>) -> Result<(), String> {
    let shown = text.escape_debug();
    let mut filled = String::new();
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('{') {
        let Some((name, tail)) = tail.split_once('}') else {
            return Err(format!("`{shown}` holds a `{{` without its `}}`"));
        };
        let captured = |segment: &Segment| matches!(segment, Segment::Capture(n) if n == name);
        if path.is_some_and(|path| !path.iter().any(captured)) {
            return Err(format!("`{shown}` holds `{{{name}}}`, which `path` does not capture"));
        }
        filled.push_str(literal);
        filled.push('x');
        rest = tail;
    }
    filled.push_str(rest);
    filled.parse::<Resource>().map(drop).map_err(|error| error.to_string())
}

/// A resource's scope.
///
/// # Errors
/// It is none; the message says what one is.
pub fn parse_scope(text: &str) -> Result<String, String> {
    let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '*');
    if text.is_empty() || text.contains(refused) {
        return Err(format!(
            "`{}` is not a scope: it is what stands before the `/` of a resource",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}
