//! The HTTP listener: `/authz` for gateways, AuthZEN ([`super::authzen`]), `/healthz`, `/readyz` and `/metrics` for whoever
//! watches.
//!
//! Who asks at `/authz` is told by how they ask, never by what a client could add:
//!
//! | gateway | how it tells of the original request |
//! |---|---|
//! | nginx `auth_request` | `X-Original-URI`, `X-Original-Method`, `X-Original-Host` |
//! | Traefik ForwardAuth, Caddy `forward_auth` | `X-Forwarded-Uri`, `X-Forwarded-Method`, `X-Forwarded-Host` |
//! | Envoy ext_authz over HTTP with `path_prefix: /authz` | the request's own method, path and `Host` |
//!
//! A client can send the headers of the gateway that is not there. So a request with both kinds is
//! decided only where both say the same, and one with half a kind is refused.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use super::answer::{Answer, Denial, Set};
use super::app_state::AppState;
use super::authorizer::{Credential, Incoming, Upgrade};
use super::authzen;
use super::host;
use super::http_exchange::{self, EXCHANGE, KEYS};
use super::http_logout::{self, LOGOUT};
use super::metrics::read_from;
use super::question::{Header, Headers};

/// Where gateways ask.
const AUTHZ: &str = "/authz";

const ORIGINAL: (&str, &str) = ("x-original-uri", "x-original-method");
const FORWARDED: (&str, &str) = ("x-forwarded-uri", "x-forwarded-method");

impl Headers for HeaderMap {
    fn header(&self, name: &str) -> Header<'_> {
        let mut values = self.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Header::Absent,
            (Some(value), None) => {
                std::str::from_utf8(value.as_bytes()).map_or(Header::Bad, Header::One)
            }
            (Some(_), Some(_)) => Header::Bad,
        }
    }
}

/// Whether a gateway tells of the `Upgrade` that a client sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tells {
    /// It does: one that is not there proves that there is none.
    Upgrade,
    /// It may not, as Traefik, which drops it as a header of the connection.
    Key,
}

/// What upgrade a request with this method asks for (RFC 9110, section 7.8). A WebSocket begins as
/// a GET (RFC 6455, section 4.1).
pub(super) fn upgrade(method: &str, headers: &dyn Headers, tells: Tells) -> Upgrade {
    // RFC 7540, section 3.2.1: it goes with an upgrade to h2c and with nothing else. A platform may
    // take one by it alone, where a gateway drops or hides the rest.
    if headers.header("http2-settings") != Header::Absent {
        return Upgrade::Other;
    }
    let asked = match headers.header("upgrade") {
        Header::Absent => None,
        Header::One(value) => Some(value.trim()).filter(|value| !value.is_empty()),
        Header::Bad => return Upgrade::Other,
    };
    match asked {
        Some(value) if method == "GET" && value.eq_ignore_ascii_case("websocket") => {
            Upgrade::WebSocket
        }
        Some(_) => Upgrade::Other,
        None if tells == Tells::Key
            && method == "GET"
            && headers.header("sec-websocket-key") != Header::Absent =>
        {
            Upgrade::Hidden
        }
        None => Upgrade::None,
    }
}

/// Answers one request of the HTTP listener. But for an exchange, a log-out, and AuthZEN, its body is not read.
pub async fn respond(state: Arc<AppState>, request: Request<Body>) -> Response<Body> {
    let (request, body) = request.into_parts();
    let path = request.uri.path();
    match path {
        AUTHZ => authz(&state, &request).await,
        _ if path.starts_with("/authz/") => envoy(&state, &request).await,
        "/healthz" => watched(&request, || text(StatusCode::OK, "ok\n".to_owned())),
        "/readyz" => watched(&request, || ready(&state)),
        "/metrics" => watched(&request, || metrics(&state)),
        KEYS => http_exchange::keys(&state, &request).unwrap_or_else(not_found),
        EXCHANGE => http_exchange::exchange(&state, &request, body).await.unwrap_or_else(not_found),
        LOGOUT => http_logout::log_out(&state, &request, body).await.unwrap_or_else(not_found),
        _ => authzen::respond(&state, &request, body).await.unwrap_or_else(not_found),
    }
}

/// Whether there is something to decide by; and how far that is behind the store, where it can be.
fn ready(state: &AppState) -> Response<Body> {
    let authorizer = state.authorizer();
    let (status, mut body) = match authorizer.not_ready() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", why.told)),
    };
    if let Some((lag, by_standby)) = authorizer.watcher().lag() {
        let (lag, from) = (lag.as_secs_f64(), read_from(by_standby));
        body.push_str(&format!("store_lag_seconds {lag:.1} ({from})\n"));
    }
    text(status, body)
}

fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "not found\n".to_owned())
}

/// What only GET and HEAD may ask for.
fn watched(request: &Parts, answer: impl FnOnce() -> Response<Body>) -> Response<Body> {
    if matches!(request.method, Method::GET | Method::HEAD) {
        return answer();
    }
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn metrics(state: &AppState) -> Response<Body> {
    match state.metrics().encode(&state.authorizer()) {
        Ok(body) => {
            let mut response = text(StatusCode::OK, body);
            response.headers_mut().insert(
                CONTENT_TYPE,
                HeaderValue::from_static(
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                ),
            );
            response
        }
        Err(error) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the metrics: {error}\n"))
        }
    }
}

/// nginx, Traefik, Caddy: headers tell of the original request.
async fn authz(state: &AppState, request: &Parts) -> Response<Body> {
    let began = Instant::now();
    let headers = &request.headers;
    let mut by = Credential::Other;
    let (protocol, answer) = match original(headers) {
        Ok(original) => {
            let incoming = Incoming {
                method: original.method,
                target: original.uri,
                host: headers.header(original.host),
                tls: over_tls(headers),
                upgrade: upgrade(original.method, headers, original.tells),
                headers,
                payloads: None,
            };
            let (answer, credential) = state.authorizer().decide(&incoming).await;
            by = credential;
            (original.protocol, answer)
        }
        Err(why) => {
            let why = why.to_string();
            state.unclear(&why);
            let denial = Denial { why, ..Denial::default() };
            ("auth_request", Answer::Denied(Box::new(denial)))
        }
    };
    state.metrics().decided(protocol, by, answer.word(), began.elapsed());
    // nginx turns anything but 2xx, 401 and 403 into a 500 for the client.
    let nginx = protocol == "auth_request";
    response(answer, nginx)
}

/// Envoy over HTTP: the original request's own method and path, below the prefix.
async fn envoy(state: &AppState, request: &Parts) -> Response<Body> {
    let began = Instant::now();
    let target = request.uri.path_and_query().map_or("", |target| target.as_str());
    let headers = &request.headers;
    let incoming = Incoming {
        method: request.method.as_str(),
        target: target.strip_prefix(AUTHZ).unwrap_or_default(),
        host: own_host(request),
        tls: over_tls(headers),
        upgrade: upgrade(request.method.as_str(), headers, Tells::Upgrade),
        headers,
        payloads: None,
    };
    let (answer, by) = state.authorizer().decide(&incoming).await;
    state.metrics().decided("http", by, answer.word(), began.elapsed());
    response(answer, false)
}

/// Whether a gateway says that it was asked over TLS. Nothing but stricter does it make an answer.
fn over_tls(headers: &HeaderMap) -> bool {
    matches!(headers.header("x-forwarded-proto"), Header::One(it) if it.eq_ignore_ascii_case("https"))
}

/// The host of a request that is the original one, by HTTP/1.1 or HTTP/2.
fn own_host(request: &Parts) -> Header<'_> {
    let authority = request.uri.authority().map(|authority| authority.as_str());
    match (authority, request.headers.header("host")) {
        (None, host) => host,
        (Some(authority), Header::Absent) => Header::One(authority),
        (Some(authority), Header::One(host)) if host == authority => Header::One(host),
        (Some(_), Header::One(_) | Header::Bad) => Header::Bad,
    }
}

/// The original request, as a gateway's headers tell of it.
struct Original<'a> {
    protocol: &'static str,
    method: &'a str,
    uri: &'a str,
    /// The header that tells its host.
    host: &'static str,
    tells: Tells,
}

/// Why nothing can be made of a request's headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum NoOriginal {
    #[error(
        "no header tells of the original request: nginx sends `X-Original-URI` and \
         `X-Original-Method`, Traefik and Caddy send `X-Forwarded-Uri` and `X-Forwarded-Method`, \
         Envoy puts the path behind `/authz`"
    )]
    None,
    #[error("a header that tells of the original request is there more than once, or no text")]
    Bad,
    #[error(
        "of the two headers that tell of the original request (its URI and its method) only one is \
         there"
    )]
    Half,
    #[error(
        "the `X-Original-` and the `X-Forwarded-` headers tell of different requests: a client \
         sends those that the gateway does not set; let the gateway remove them"
    )]
    Different,
    #[error(
        "a WebSocket's key without `Upgrade`, and both the `X-Original-` and the `X-Forwarded-` \
         headers: a client sends those that the gateway does not set; let the gateway remove them"
    )]
    HiddenUpgrade,
}

/// Who asks, and of what.
fn original(headers: &HeaderMap) -> Result<Original<'_>, NoOriginal> {
    let original = pair(headers, ORIGINAL)?;
    let forwarded = pair(headers, FORWARDED)?;
    let hidden = |method| upgrade(method, headers, Tells::Key) == Upgrade::Hidden;
    match (original, forwarded) {
        (Some(original), Some(forwarded)) if original != forwarded => Err(NoOriginal::Different),
        // By the one kind it is no WebSocket, by the other it may be.
        (Some((_, method)), Some(_)) if hidden(method) => Err(NoOriginal::HiddenUpgrade),
        (Some((uri, method)), _) => {
            let host = host::ORIGINAL;
            Ok(Original { protocol: "auth_request", method, uri, host, tells: Tells::Upgrade })
        }
        (None, Some((uri, method))) => {
            let host = host::FORWARDED;
            Ok(Original { protocol: "forward_auth", method, uri, host, tells: Tells::Key })
        }
        (None, None) => Err(NoOriginal::None),
    }
}

type Pair<'a> = Option<(&'a str, &'a str)>;

fn pair<'a>(headers: &'a HeaderMap, names: (&str, &str)) -> Result<Pair<'a>, NoOriginal> {
    match (headers.header(names.0), headers.header(names.1)) {
        (Header::Absent, Header::Absent) => Ok(None),
        (Header::One(uri), Header::One(method)) => Ok(Some((uri, method))),
        (Header::Bad, _) | (_, Header::Bad) => Err(NoOriginal::Bad),
        (Header::Absent, _) | (_, Header::Absent) => Err(NoOriginal::Half),
    }
}

fn response(answer: Answer, nginx: bool) -> Response<Body> {
    let status = match answer.status() {
        503 if nginx => 403,
        status => status,
    };
    let mut response = Response::new(Body::from(answer.body()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = answer.challenge() {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    match answer {
        Answer::Allow(sets) => {
            for set in sets {
                // A header that is absent here may pass through from the client: Envoy copies only
                // what is there. Empty overwrites it.
                if upstream(headers, &set).is_none() {
                    tracing::error!("the header `{}` cannot be written: denied", set.name);
                    let denial = Denial {
                        why: format!("the header `{}` cannot be written", set.name),
                        ..Denial::default()
                    };
                    return self::response(Answer::Denied(Box::new(denial)), nginx);
                }
            }
        }
        Answer::Unauthenticated
        | Answer::SessionEnded
        | Answer::NotPossessed(_)
        | Answer::Denied(_)
        | Answer::Unavailable(_) => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
    }
    response
}

fn upstream(headers: &mut HeaderMap, set: &Set) -> Option<()> {
    let name = HeaderName::from_bytes(set.name.as_bytes()).ok()?;
    let value = HeaderValue::from_str(set.value.as_deref().unwrap_or_default())
        .or_else(|_| HeaderValue::from_bytes(set.value.as_deref().unwrap_or_default().as_bytes()))
        .ok()?;
    headers.insert(name, value);
    Some(())
}
