//! What OSMO's clients ask at `/api/auth/jwt/access_token`, and gateways at `/api/auth/keys`, answered
//! by the HTTP listener as OSMO's service does.

use axum::body::{Body, to_bytes};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::app_state::AppState;
use super::exchange::Exchanged;

/// Where tokens are exchanged.
pub(super) const EXCHANGE: &str = "/api/auth/jwt/access_token";

/// Where the public keys are.
pub(super) const KEYS: &str = "/api/auth/keys";

/// The largest body: a token is 64 characters at most.
const LARGEST: usize = 4096;

/// Answers with the JWK set; `None`: nothing is exchanged here.
pub(super) fn keys(state: &AppState, request: &Parts) -> Option<Response<Body>> {
    let authorizer = state.authorizer();
    let exchange = authorizer.exchange()?;
    Some(match request.method {
        Method::GET | Method::HEAD => response(StatusCode::OK, exchange.jwks().to_owned()),
        _ => only("GET, HEAD"),
    })
}

/// Exchanges a token; `None`: nothing is exchanged here.
pub(super) async fn exchange(
    state: &AppState,
    request: &Parts,
    body: Body,
) -> Option<Response<Body>> {
    let authorizer = state.authorizer();
    authorizer.exchange()?;
    let token = match request.method {
        Method::POST => match to_bytes(body, LARGEST).await {
            Ok(body) => in_body(&body),
            Err(_) => None,
        },
        // Deprecated there: a token in a URL ends up in logs.
        Method::GET => in_query(request.uri.query().unwrap_or_default()),
        _ => return Some(only("POST, GET")),
    };
    let exchanged = match token {
        Some(token) => authorizer.exchanged(&token).await,
        None => Exchanged::Refused(
            "there is no token: expected a JSON object with `token`, a string".to_owned(),
        ),
    };
    let (result, answer) = match exchanged {
        Exchanged::Made { token, expires_at } => {
            let body = json!({ "token": token, "expires_at": expires_at });
            ("made", response(StatusCode::OK, body.to_string()))
        }
        Exchanged::Refused(why) => ("refused", error(StatusCode::BAD_REQUEST, "USER", &why)),
        Exchanged::Unavailable(why) => {
            ("unavailable", error(StatusCode::SERVICE_UNAVAILABLE, "SERVER", why))
        }
        Exchanged::Off => return None,
    };
    state.metrics().exchanged(result);
    Some(answer)
}

/// The token of `{"token": "…"}`, if there is one alone.
fn in_body(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Asked {
        token: String,
    }
    serde_json::from_slice(body).ok().map(|asked: Asked| asked.token)
}

/// The token of `?access_token=…`, if there is one alone.
fn in_query(query: &str) -> Option<String> {
    let mut found = url::form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "access_token")
        .map(|(_, value)| value.into_owned());
    found.next().filter(|_| found.next().is_none())
}

/// An error as OSMO has them (`osmo_errors.py`).
fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = json!({ "message": message, "error_code": code, "workflow_id": null });
    response(status, body.to_string())
}

fn only(methods: &'static str) -> Response<Body> {
    let why = format!("the method is not among {methods}");
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "USER", &why);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

fn response(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
