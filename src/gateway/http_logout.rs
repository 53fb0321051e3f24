//! What identity providers send to `/backchannel-logout` (OpenID Connect Back-Channel Logout 1.0,
//! sections 2.5 to 2.8), answered by the HTTP listener.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use chrono::Utc;
use serde_json::json;
use tokio::sync::Semaphore;

use super::app_state::AppState;
use super::logout::LogOutHeard;

/// Where log-outs are told.
pub(super) const LOGOUT: &str = "/backchannel-logout";

/// The largest body: one token.
const LARGEST: usize = 16 * 1024;
/// Bodies of strangers that are held at once, and for how long each: whoever sends one has proven nothing yet.
static BODIES: Semaphore = Semaphore::const_new(256);
const BODY_WITHIN: Duration = Duration::from_secs(5);

const NO_TOKEN: &str = "expected a form with one `logout_token`";
const NO_PROOF: &str = "the logout token proves no log-out";
const CANNOT_WRITE: &str = "this process cannot write the store, which tells every gateway: send log-outs to \
     `idpsyncd run`";
const NOT_YET: &str = "the log-out counts at this gateway alone: the store cannot be written yet";

/// Why a log-out is not done.
struct NotDone {
    result: &'static str,
    /// What whoever sent it is told, who may be anybody.
    told: &'static str,
    /// The same for the log.
    why: String,
}

impl NotDone {
    fn refused(told: &'static str, why: impl Into<String>) -> NotDone {
        NotDone { result: "refused", told, why: why.into() }
    }

    fn failed(told: &'static str) -> NotDone {
        NotDone { result: "failed", told, why: told.to_owned() }
    }
}

/// Ends the sessions that a logout token names; `None`: none are ended here.
pub(super) async fn log_out(
    state: &AppState,
    request: &Parts,
    body: Body,
) -> Option<Response<Body>> {
    let authorizer = state.authorizer();
    if !authorizer.ends_sessions() {
        return None;
    }
    if request.method != Method::POST {
        let mut response = refusal("use POST");
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Some(response);
    }
    let done = match token(request, body).await {
        Some(token) => told(state, &token).await,
        None => Err(NotDone::refused(NO_TOKEN, NO_TOKEN)),
    };
    let (result, response) = match done {
        Ok(()) => ("ended", done_response()),
        Err(NotDone { result, told, why }) => {
            state.no_log_out(&why);
            (result, refusal(told))
        }
    };
    state.metrics().logged_out(result);
    Some(response)
}

async fn told(state: &AppState, token: &str) -> Result<(), NotDone> {
    let authorizer = state.authorizer();
    let Some(ledger) = authorizer.ledger() else { return Err(NotDone::failed(CANNOT_WRITE)) };
    let proven = authorizer.logged_out(token, Utc::now()).await;
    let out = proven.map_err(|why| NotDone::refused(NO_PROOF, why.to_string()))?;
    match ledger.hear(out).await {
        LogOutHeard::Kept => Ok(()),
        LogOutHeard::Again => Err(NotDone::refused(NO_PROOF, "it came before (`jti`)")),
        LogOutHeard::NotYet => Err(NotDone::failed(NOT_YET)),
    }
}

/// The one `logout_token` of a form.
async fn token(request: &Parts, body: Body) -> Option<String> {
    let kind = request.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return None;
    }
    let held = BODIES.acquire().await.ok()?;
    let body = tokio::time::timeout(BODY_WITHIN, to_bytes(body, LARGEST)).await.ok()?.ok()?;
    drop(held);
    let mut found = url::form_urlencoded::parse(&body)
        .filter(|(name, _)| name == "logout_token")
        .map(|(_, value)| value.into_owned());
    found.next().filter(|_| found.next().is_none())
}

fn done_response() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A log-out that is not done is a 400, whatever the reason (section 2.8).
fn refusal(told: &str) -> Response<Body> {
    let body = json!({ "error": "invalid_request", "error_description": told });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
