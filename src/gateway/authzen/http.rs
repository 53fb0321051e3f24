//! AuthZEN over HTTP (section 10): POST and JSON, whatever is asked.
//!
//! Who asks is settled before anything else is looked at. A body that nobody reads ends the connection,
//! so that it can never become the next request on it.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use chrono::Utc;
use serde::Serialize;

use super::body::discard;
use super::callers::{Asking, NotProven};
use super::decide::Decision;
use super::request::{self, BadRequest, Batch, Evaluations, Object, Searched, Semantic};
use super::{Authzen, shown};
use crate::config::{AuthzenConfig, Capability};
use crate::gateway::answer::CHALLENGE;
use crate::gateway::app_state::AppState;
use crate::gateway::authorizer::Authorizer;
use crate::gateway::replica::Replica;
use crate::gateway::tls::PeerNames;
use crate::gateway::watcher::NOTHING_LOADED;

pub(super) const EVALUATION: &str = "/access/v1/evaluation";
pub(super) const EVALUATIONS: &str = "/access/v1/evaluations";
pub(super) const SUBJECTS: &str = "/access/v1/search/subject";
pub(super) const RESOURCES: &str = "/access/v1/search/resource";
pub(super) const ACTIONS: &str = "/access/v1/search/action";
const WELL_KNOWN: &str = "/.well-known/authzen-configuration";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is counted for these requests.
const PROTOCOL: &str = "authzen";

/// Where what is asked.
pub(super) struct Paths {
    endpoints: [(String, Endpoint); 5],
    /// Below the host, before the path of `base_url`; absent without it.
    metadata: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Endpoint {
    Evaluation,
    Evaluations,
    Search(Searched),
}

impl Endpoint {
    fn needs(self) -> Capability {
        match self {
            Endpoint::Evaluation | Endpoint::Evaluations => Capability::Evaluate,
            Endpoint::Search(_) => Capability::Search,
        }
    }
}

impl Paths {
    pub(super) fn new(config: &AuthzenConfig) -> Paths {
        let before = config.base_url.as_ref().map_or("", |base| &base.path);
        let at = |path: &str, endpoint| (format!("{before}{path}"), endpoint);
        Paths {
            endpoints: [
                at(EVALUATION, Endpoint::Evaluation),
                at(EVALUATIONS, Endpoint::Evaluations),
                at(SUBJECTS, Endpoint::Search(Searched::Subjects)),
                at(RESOURCES, Endpoint::Search(Searched::Resources)),
                at(ACTIONS, Endpoint::Search(Searched::Actions)),
            ],
            metadata: config.base_url.is_some().then(|| format!("{WELL_KNOWN}{before}")),
        }
    }
}

/// Why a request is refused, in words for whoever asks.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    why: String,
    /// Its body was not read.
    unread: bool,
}

impl Refusal {
    pub(super) fn unread(status: StatusCode, why: impl Into<String>) -> Refusal {
        Refusal { status, why: why.into(), unread: true }
    }

    fn of(status: StatusCode, why: impl Into<String>) -> Refusal {
        Refusal { status, why: why.into(), unread: false }
    }
}

impl From<BadRequest> for Refusal {
    fn from(why: BadRequest) -> Refusal {
        Refusal::of(StatusCode::BAD_REQUEST, why.to_string())
    }
}

/// An answer, and what of it is counted: how often something was allowed and denied.
struct Told {
    body: String,
    allowed: u64,
    denied: u64,
}

/// Answers a request; `None`: AuthZEN asks nothing there.
pub(in crate::gateway) async fn respond(
    state: &AppState,
    request: &Parts,
    body: Body,
) -> Option<Response<Body>> {
    let authorizer = state.authorizer();
    let authzen = Arc::clone(authorizer.authzen()?);
    let path = request.uri.path();
    let mut response = if authzen.paths.metadata.as_deref() == Some(path) {
        authzen.describe(request)
    } else {
        let found = authzen.paths.endpoints.iter().find(|(known, _)| known == path);
        let (_, endpoint) = found?;
        authzen.answer(state, &authorizer, *endpoint, request, body).await
    };
    let headers = response.headers_mut();
    // Section 10.1.3: the very same, on errors too.
    for id in request.headers.get_all(&REQUEST_ID) {
        headers.append(REQUEST_ID, id.clone());
    }
    Some(response)
}

impl Authzen {
    /// The metadata: for anybody.
    fn describe(&self, request: &Parts) -> Response<Body> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return only("GET, HEAD", request.version);
        }
        json(StatusCode::OK, self.metadata.clone().unwrap_or_default())
    }

    /// Answers a question, and counts it.
    async fn answer(
        &self,
        state: &AppState,
        authorizer: &Authorizer,
        endpoint: Endpoint,
        request: &Parts,
        body: Body,
    ) -> Response<Body> {
        let began = Instant::now();
        let peer = request.extensions.get::<PeerNames>();
        let asking = match self.callers.asking(&request.headers, peer, Utc::now()).await {
            Ok(asking) => asking,
            Err(why) => {
                self.lines.unproven.note(&why.to_string());
                let (result, refusal) = unproven(&why);
                state.metrics().answered(PROTOCOL, &[(result, 1)], began.elapsed());
                discard(&request.headers, body).await;
                return refused(&refusal, request.version);
            }
        };
        if request.method != Method::POST {
            discard(&request.headers, body).await;
            return only("POST", request.version);
        }
        match self.told(authorizer, endpoint, request, body, &asking).await {
            Ok(told) => {
                let counts = [("allow", told.allowed), ("deny", told.denied)];
                state.metrics().answered(PROTOCOL, &counts, began.elapsed());
                json(StatusCode::OK, told.body)
            }
            Err(refusal) => {
                let caller = asking.name.map_or_else(String::new, |name| format!("{name}: "));
                self.lines.unclear.note(&format!("{caller}{}", refusal.why));
                if refusal.status == StatusCode::SERVICE_UNAVAILABLE {
                    state.metrics().answered(PROTOCOL, &[("unavailable", 1)], began.elapsed());
                }
                refused(&refusal, request.version)
            }
        }
    }

    async fn told(
        &self,
        authorizer: &Authorizer,
        endpoint: Endpoint,
        request: &Parts,
        body: Body,
        asking: &Asking<'_>,
    ) -> Result<Told, Refusal> {
        if !asking.may(endpoint.needs()) {
            let what = match endpoint.needs() {
                Capability::Evaluate => "evaluate",
                Capability::Search => "search",
            };
            let why = format!("this caller may not {what}");
            discard(&request.headers, body).await;
            return Err(Refusal::unread(StatusCode::FORBIDDEN, why));
        }
        let body = self.room.read(&request.headers, body).await?;
        let object = request::object(&body.bytes, self.config.max_evaluations)?;
        // Old evidence is no denial.
        if let Some(told) = authorizer.nothing_to_decide_by() {
            return Err(Refusal::of(StatusCode::SERVICE_UNAVAILABLE, told));
        }
        let loaded = authorizer.watcher().loaded();
        let Some(loaded) = &*loaded else {
            return Err(Refusal::of(StatusCode::SERVICE_UNAVAILABLE, NOTHING_LOADED));
        };
        // From here on one generation, however many are committed meanwhile.
        let replica = &loaded.replica;
        match endpoint {
            Endpoint::Evaluation => {
                let question = request::evaluation(&object)?;
                one(&self.decide(replica, &question, asking.name))
            }
            Endpoint::Evaluations => self.evaluations(replica, &object, asking),
            Endpoint::Search(searched) => {
                let search = request::search(&object, searched)?;
                let found = self.search(replica, &search)?;
                tracing::debug!(
                    caller = asking.name,
                    searched = ?searched,
                    results = found.count(),
                    "searched"
                );
                let body = text(&found)?;
                Ok(Told { body, allowed: 0, denied: 0 })
            }
        }
    }

    fn evaluations(
        &self,
        replica: &Replica,
        object: &Object,
        asking: &Asking<'_>,
    ) -> Result<Told, Refusal> {
        #[derive(Serialize)]
        struct Answer {
            evaluations: Vec<Decision>,
        }
        let Batch { items, semantic } =
            match request::evaluations(object, self.config.max_evaluations)? {
                Evaluations::One(question) => {
                    return one(&self.decide(replica, &question, asking.name));
                }
                Evaluations::Several(batch) => batch,
            };
        let mut evaluations = Vec::with_capacity(items.len());
        for item in items {
            let decision = match item {
                Ok(question) => self.decide(replica, &question, asking.name),
                Err(why) => {
                    tracing::info!(caller = asking.name, "denied: {}", shown(&why.to_string()));
                    Decision::broken(&why)
                }
            };
            let decides = match semantic {
                Semantic::ExecuteAll => false,
                Semantic::DenyOnFirstDeny => !decision.decision,
                Semantic::PermitOnFirstPermit => decision.decision,
            };
            evaluations.push(decision);
            if decides {
                break;
            }
        }
        let allowed = evaluations.iter().filter(|it| it.decision).count() as u64;
        let denied = (evaluations.len() as u64).saturating_sub(allowed);
        Ok(Told { body: text(&Answer { evaluations })?, allowed, denied })
    }
}

fn one(decision: &Decision) -> Result<Told, Refusal> {
    let allowed = u64::from(decision.decision);
    Ok(Told { body: text(decision)?, allowed, denied: 1 - allowed })
}

fn text(answer: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(answer).map_err(|error| {
        tracing::error!("an AuthZEN answer cannot be written: {error}");
        Refusal::of(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written")
    })
}

/// What a caller is told whom nobody knows, and the word for metrics.
fn unproven(why: &NotProven) -> (&'static str, Refusal) {
    match why {
        NotProven::NotNow(_) => {
            let told = "callers cannot be verified at the moment";
            ("unavailable", Refusal::unread(StatusCode::SERVICE_UNAVAILABLE, told))
        }
        _ => {
            let told = "the caller is not known here";
            ("unauthenticated", Refusal::unread(StatusCode::UNAUTHORIZED, told))
        }
    }
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error: its body is a message, a JSON string (section 10.1.2), in which no caller that looks at
/// the body alone finds a decision.
fn refused(refusal: &Refusal, version: Version) -> Response<Body> {
    let body = serde_json::Value::String(refusal.why.clone()).to_string();
    let mut response = json(refusal.status, body);
    if refusal.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(CHALLENGE);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if refusal.unread {
        ends(&mut response, version);
    }
    response
}

fn only(methods: &'static str, version: Version) -> Response<Body> {
    let refusal = Refusal::unread(StatusCode::METHOD_NOT_ALLOWED, format!("use {methods}"));
    let mut response = refused(&refusal, version);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}

/// The connection ends with this answer, where it carries one request after the other.
fn ends(response: &mut Response<Body>, version: Version) {
    if version < Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
