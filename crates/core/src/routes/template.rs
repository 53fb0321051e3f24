//! A route as it is declared: its path template, what a request there does, and on what.

use super::host::HostPattern;
use crate::policy::{Action, PatternError, Resource};

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
    /// The hosts that it is for, distinct; empty: those that no route names.
    pub hosts: Vec<HostPattern>,
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

/// Why a text is no path template, no resource or no scope of a route. Each carries the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteTemplateError {
    /// A path begins with a slash.
    #[error("`{}` does not begin with `/`", .0.escape_debug())]
    NoSlash(String),
    /// More or less than a path.
    #[error("`{}` is not a path: no query, no `#`, no white space", .0.escape_debug())]
    NotAPath(String),
    /// A segment that no request can have.
    #[error("`{}` has {segment}, which no request can have", .path.escape_debug())]
    Unreachable {
        /// The path.
        path: String,
        /// What kind of segment.
        segment: &'static str,
    },
    /// `{}`, or with something in it that is no name.
    #[error("`{}` has a capture without a proper name", .0.escape_debug())]
    UnnamedCapture(String),
    /// A capture or `*` is one segment.
    #[error("`{}` has a `{{name}}` or `*` that is not a whole segment", .0.escape_debug())]
    NotWhole(String),
    /// A literal segment that no request's could equal, decoded once.
    #[error(
        "`{}` holds a `\\` or `;`, with which every request is refused",
        .0.escape_debug()
    )]
    Refused(String),
    /// A literal segment in the encoded form.
    #[error(
        "`{}` is percent-encoded: requests are compared decoded, so write the character itself",
        .0.escape_debug()
    )]
    Encoded(String),
    /// A name stands for one thing.
    #[error("`{}` has two captures of one name", .0.escape_debug())]
    CapturedTwice(String),
    /// A resource's capture has no end.
    #[error("`{}` holds a `{{` without its `}}`", .0.escape_debug())]
    Unclosed(String),
    /// A resource names what the path does not tell.
    #[error("`{}` holds `{{{capture}}}`, which `path` does not capture", .resource.escape_debug())]
    NotCaptured {
        /// The resource.
        resource: String,
        /// The capture's name.
        capture: String,
    },
    /// With its captures filled in it is no resource.
    #[error(transparent)]
    Resource(#[from] PatternError),
    /// No scope.
    #[error("`{}` is not a scope: it is what stands before the `/` of a resource", .0.escape_debug())]
    Scope(String),
}

/// A path template's segments.
///
/// # Errors
/// It is no template: why.
pub fn parse_path(text: &str) -> Result<Vec<Segment>, RouteTemplateError> {
    let whole = || text.to_owned();
    let unreachable = |segment| RouteTemplateError::Unreachable { path: whole(), segment };
    let Some(rest) = text.strip_prefix('/') else {
        return Err(RouteTemplateError::NoSlash(whole()));
    };
    if text.contains(['?', '#']) || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(RouteTemplateError::NotAPath(whole()));
    }
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let mut segments = Vec::new();
    for part in rest.split('/') {
        let segment = match part {
            "" => return Err(unreachable("an empty segment")),
            "." | ".." => return Err(unreachable("a dot segment")),
            "*" => Segment::Any,
            part => match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(name) => {
                    let valid = !name.is_empty()
                        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                    if !valid {
                        return Err(RouteTemplateError::UnnamedCapture(whole()));
                    }
                    Segment::Capture(name.to_owned())
                }
                None if part.contains(['{', '}', '*']) => {
                    return Err(RouteTemplateError::NotWhole(whole()));
                }
                // What no request's segment, decoded once, could equal ([`super::path`]).
                None if part.contains(['\\', ';']) => {
                    return Err(RouteTemplateError::Refused(whole()));
                }
                None if has_escape(part) => return Err(RouteTemplateError::Encoded(whole())),
                None => Segment::Literal(part.to_owned()),
            },
        };
        if matches!(segment, Segment::Capture(_)) && segments.contains(&segment) {
            return Err(RouteTemplateError::CapturedTwice(whole()));
        }
        segments.push(segment);
    }
    Ok(segments)
}

fn has_escape(part: &str) -> bool {
    let escape = |three: &[u8]| matches!(three, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    part.as_bytes().windows(3).any(escape)
}

/// A route's resource: with its captures filled in it must be concrete. `path` is absent where it
/// is at fault itself.
///
/// # Errors
/// It is no resource, or names what the path does not capture.
pub fn check_resource(text: &str, path: Option<&[Segment]>) -> Result<(), RouteTemplateError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('{') {
        let Some((name, tail)) = tail.split_once('}') else {
            return Err(RouteTemplateError::Unclosed(text.to_owned()));
        };
        let captured = |segment: &Segment| matches!(segment, Segment::Capture(n) if n == name);
        if path.is_some_and(|path| !path.iter().any(captured)) {
            let (resource, capture) = (text.to_owned(), name.to_owned());
            return Err(RouteTemplateError::NotCaptured { resource, capture });
        }
        filled.push_str(literal);
        filled.push('x');
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled.parse::<Resource>().map(drop)?)
}

/// A resource's scope.
///
/// # Errors
/// It is none.
pub fn parse_scope(text: &str) -> Result<String, RouteTemplateError> {
    let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '*');
    if text.is_empty() || text.contains(refused) {
        return Err(RouteTemplateError::Scope(text.to_owned()));
    }
    Ok(text.to_owned())
}
