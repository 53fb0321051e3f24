//! Envoy's external authorization over gRPC: `envoy.service.auth.v3.Authorization/Check`.
//!
//! Source: <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/auth/v3/external_auth.proto>.

use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_server::Authorization;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use tonic::{Code, Request, Response, Status};

use super::answer::Answer;
use super::app_state::AppState;
use super::authorizer::Incoming;
use super::http::Tells;
use super::question::{Header, Headers};

/// The namespace in which Envoy's `jwt_authn` filter leaves the payloads that it verified.
const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// The service.
pub struct ExtAuthz {
    state: Arc<AppState>,
}

impl ExtAuthz {
    /// One that answers at `front`.
    #[must_use]
    pub fn new(state: Arc<AppState>) -> ExtAuthz {
        ExtAuthz { state }
    }
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let began = Instant::now();
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let payloads = attributes
            .metadata_context
            .and_then(|mut metadata| metadata.filter_metadata.remove(JWT_AUTHN))
            .map(|payload| object(payload, 0));
        let Some(http) = attributes.request.and_then(|request| request.http) else {
            return Err(Status::invalid_argument("the request has no `attributes.request.http`"));
        };
        let headers = EnvoyHeaders { http: &http };
        let incoming = Incoming {
            method: &http.method,
            target: &http.path,
            host: headers.host(),
            tls: http.scheme.eq_ignore_ascii_case("https"),
            upgrade: super::http::upgrade(&http.method, &headers, Tells::Upgrade),
            headers: &headers,
            payloads: payloads.as_ref(),
        };
        let (answer, by) = self.state.authorizer().decide(&incoming).await;
        self.state.metrics().decided("grpc", by, answer.word(), began.elapsed());
        Ok(Response::new(response(answer)))
    }
}

/// The headers as Envoy passes them: a map with lower-case names, in which several of one name are
/// joined by commas; with `encode_raw_headers` a list instead.
struct EnvoyHeaders<'a> {
    http: &'a HttpRequest,
}

impl EnvoyHeaders<'_> {
    /// The host as Envoy tells it. Its headers may have it again: then it is the same.
    fn host(&self) -> Header<'_> {
        let host = self.http.host.as_str();
        let differs = |name| {
            !matches!(self.header(name), Header::Absent) && self.header(name) != Header::One(host)
        };
        if [":authority", "host"].into_iter().any(differs) {
            return Header::Bad;
        }
        if host.is_empty() { Header::Absent } else { Header::One(host) }
    }
}

impl Headers for EnvoyHeaders<'_> {
    fn header(&self, name: &str) -> Header<'_> {
        if let Some(map) = &self.http.header_map {
            return listed(map, name);
        }
        self.http.headers.get(name).map_or(Header::Absent, |value| Header::One(value))
    }
}

fn listed<'a>(map: &'a HeaderMap, name: &str) -> Header<'a> {
    let mut found = Header::Absent;
    for header in map.headers.iter().filter(|header| header.key.eq_ignore_ascii_case(name)) {
        let value = if header.raw_value.is_empty() {
            Some(header.value.as_str())
        } else {
            std::str::from_utf8(&header.raw_value).ok()
        };
        found = match (found, value) {
            (Header::Absent, Some(value)) => Header::One(value),
            _ => return Header::Bad,
        };
    }
    found
}

/// How deep a payload may nest. Claims are shallow; a stack is not endless.
const DEEPEST: usize = 32;

fn object(payload: Struct, depth: usize) -> serde_json::Value {
    let fields = payload.fields.into_iter().map(|(name, value)| (name, json(value, depth)));
    serde_json::Value::Object(fields.collect())
}

/// Protobuf's well-known JSON types as JSON. What nests too deep is null: no claim that counts.
fn json(value: Value, depth: usize) -> serde_json::Value {
    if depth >= DEEPEST {
        return serde_json::Value::Null;
    }
    let depth = depth.saturating_add(1);
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(value)) => value.into(),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => {
            list.values.into_iter().map(|value| json(value, depth)).collect()
        }
        Some(Kind::StructValue(fields)) => object(fields, depth),
    }
}

/// The response: OK with the headers, or a denial that Envoy passes to the client. Never a gRPC
/// error: with `failure_mode_allow` Envoy would let the request pass.
fn response(answer: Answer) -> CheckResponse {
    let code = match &answer {
        Answer::Allow(_) => Code::Ok,
        Answer::Unauthenticated | Answer::SessionEnded | Answer::NotPossessed(_) => {
            Code::Unauthenticated
        }
        Answer::Denied(_) => Code::PermissionDenied,
        Answer::Unavailable(_) => Code::Unavailable,
    };
    let status = Some(RpcStatus { code: code as i32, ..RpcStatus::default() });
    let body = answer.body();
    let http = answer.status();
    let http_response = match answer {
        Answer::Allow(headers) => {
            let mut ok = OkHttpResponse::default();
            for header in headers {
                match header.value {
                    Some(value) if !value.is_empty() => {
                        ok.headers.push(overwritten(&header.name, value));
                    }
                    _ => ok.headers_to_remove.push(header.name.as_ref().to_owned()),
                }
            }
            HttpResponse::OkResponse(ok)
        }
        refused => {
            let mut headers = vec![overwritten("content-type", "application/json".to_owned())];
            if let Some(challenge) = refused.challenge() {
                headers.push(overwritten("www-authenticate", challenge.to_owned()));
            }
            HttpResponse::DeniedResponse(DeniedHttpResponse {
                status: Some(HttpStatus { code: i32::from(http) }),
                headers,
                body,
            })
        }
    };
    CheckResponse { status, http_response: Some(http_response), ..CheckResponse::default() }
}

fn overwritten(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..HeaderValueOption::default()
    }
}
