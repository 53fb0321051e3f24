//! What is asked for on the command line: an action, on a resource or none, named outright or by a
//! request that some route fits.

use super::Failure;
use crate::config::{Config, GatewayConfig};
use crate::policy::{Action, PatternError, Resource};
use crate::routes::path::BadPath;
use crate::routes::{BadHost, Host, Matched, Path, Refused, Routes, Target, WEBSOCKET};

/// What an action is on.
pub(super) enum On {
    /// Nothing.
    Nothing,
    /// One resource.
    Resource(Resource),
    /// Some resource of a scope, which the route does not tell.
    SomeOf(String),
}

impl On {
    /// `on pool/x`, `on some pool`, or nothing; with a space before it.
    pub(super) fn phrase(&self) -> String {
        match self {
            On::Nothing => String::new(),
            On::Resource(resource) => format!(" on `{}`", resource.as_str()),
            On::SomeOf(scope) => format!(" on some {scope}"),
        }
    }
}

/// Reads an action and a resource, which must be concrete.
pub(super) fn named(action: &str, resource: Option<&str>) -> Result<(Action, On), Failure> {
    let action = action.parse().map_err(|error| usage("action", &error))?;
    let on = match resource {
        Some(text) => On::Resource(text.parse().map_err(|error| usage("resource", &error))?),
        None => On::Nothing,
    };
    Ok((action, on))
}

fn usage(what: &str, error: &PatternError) -> Failure {
    Failure::Usage(format!("the {what} is not concrete: {error}"))
}

/// The gateway, whose routes tell what a request is about.
pub(super) fn gateway(config: &Config) -> Result<&GatewayConfig, Failure> {
    config.gateway.as_ref().ok_or_else(|| {
        Failure::Error(format!(
            "`{}` has no `[gateway]`, so no route tells the action of a request: add one, or name \
             the action itself",
            config.file.display()
        ))
    })
}

/// What a request is about.
pub(super) struct RequestMeaning<'r> {
    /// The route that fits it.
    pub(super) matched: Option<Matched<'r>>,
    /// What it asks for; else why it is denied to everyone.
    pub(super) asks: Result<(Action, On), Denied>,
}

/// Why a request is denied to everyone.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Denied {
    /// The path is none.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// The host is none.
    #[error(transparent)]
    Host(#[from] BadHost),
    /// It takes no route.
    #[error(transparent)]
    NoRoute(#[from] Refused),
    /// With what the path tells filled in, the route's resource is none.
    #[error("the path tells no concrete resource: {0}")]
    Resource(#[source] PatternError),
}

/// What the gateway makes of `request`, such as `POST /api/pool/x/workflow`, or with its host
/// `POST https://osmo.example.com/api/pool/x/workflow`. `host`: where `request` has none.
pub(super) fn told<'r>(
    routes: &'r Routes,
    request: &str,
    host: Option<&str>,
) -> Result<RequestMeaning<'r>, Failure> {
    let Some((method, target)) = request.split_once(' ') else {
        return Err(Failure::Usage(
            "`--request` wants a method and a path, such as `POST /api/pool/x/workflow`".to_owned(),
        ));
    };
    let (host, target) = match (split(target), host) {
        (Some(_), Some(_)) => {
            return Err(Failure::Usage(
                "`--request` has a URL, which names the host: leave `--host` out".to_owned(),
            ));
        }
        (Some((host, target)), None) => (Some(host), target),
        (None, host) => (host, target),
    };
    // An upgrade begins as a GET (RFC 6455, section 4.1).
    let websocket = method == WEBSOCKET;
    let method = if websocket { "GET" } else { method };
    let nowhere = |why: Denied| RequestMeaning { matched: None, asks: Err(why) };
    let path = match Path::parse(target) {
        Ok(path) => path,
        Err(why) => return Ok(nowhere(why.into())),
    };
    let host = match host.map(Host::parse).transpose() {
        Ok(host) => host,
        Err(why) => return Ok(nowhere(why.into())),
    };
    let site = routes.site(host.as_ref());
    let matched = match site.and_then(|site| routes.find(site, method, websocket, &path)) {
        Ok(matched) => matched,
        Err(why) => return Ok(nowhere(why.into())),
    };
    let on = match (&matched.resource, &matched.route.target) {
        (Some(resource), _) => resource.parse().map(On::Resource).map_err(Denied::Resource),
        (None, Target::Scope(scope)) => Ok(On::SomeOf(scope.clone())),
        (None, Target::Nothing | Target::Resource(_)) => Ok(On::Nothing),
    };
    let asks = on.map(|on| (matched.route.action.clone(), on));
    Ok(RequestMeaning { matched: Some(matched), asks })
}

/// The host of a URL, and what follows it; `None` where it is no URL.
fn split(target: &str) -> Option<(&str, &str)> {
    let rest = target.strip_prefix("https://").or_else(|| target.strip_prefix("http://"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end)?;
    Some((host, if path.is_empty() { "/" } else { path }))
}
