//! Asks idpsyncd as gateways do, over HTTP (Envoy's, below `/authz`) and over gRPC, and says the same
//! of both answers.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use tonic::transport::Channel;

use super::gateways::send;

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// 200, 401, 403 or 503.
    pub status: u16,
    /// What the upstream is told; a header that is removed is empty.
    pub headers: BTreeMap<String, String>,
    /// What the client is told.
    pub body: String,
}

/// Where idpsyncd listens.
#[derive(Clone, Copy)]
pub struct Listens {
    /// ext_authz over gRPC.
    pub grpc: u16,
    /// Over HTTP.
    pub http: u16,
}

impl Listens {
    /// Asks over HTTP and over gRPC; both must say the same.
    pub fn ask(self, method: &str, path: &str, headers: &[(&str, &str)]) -> Told {
        let (http, grpc) =
            (self.http(method, path, headers), self.grpc(method, path, headers, None));
        assert_eq!(http, grpc, "{method} {path}");
        http
    }

    /// With a bearer token.
    pub fn bear(self, token: &str, method: &str, path: &str) -> Told {
        self.ask(method, path, &[("authorization", &format!("Bearer {token}"))])
    }

    /// Over HTTP.
    pub fn http(self, method: &str, path: &str, headers: &[(&str, &str)]) -> Told {
        let got = send(self.http, method, format!("/authz{path}").as_bytes(), headers);
        let headers = match got.status {
            200 => got.headers.into_iter().filter(|(name, _)| name.starts_with("x-")).collect(),
            _ => BTreeMap::new(),
        };
        Told { status: got.status, headers, body: got.body }
    }

    /// Over gRPC, with what Envoy's `jwt_authn` has verified.
    pub fn grpc(
        self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        metadata: Option<Metadata>,
    ) -> Told {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let request = HttpRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: headers.iter().map(owned).collect(),
            ..HttpRequest::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let response = runtime.block_on(async move {
            let channel = Channel::from_shared(format!("http://127.0.0.1:{}", self.grpc)).unwrap();
            let request = CheckRequest {
                attributes: Some(AttributeContext {
                    request: Some(Request { http: Some(request), ..Request::default() }),
                    metadata_context: metadata,
                    ..AttributeContext::default()
                }),
            };
            let mut client = AuthorizationClient::new(channel.connect().await.unwrap());
            client.check(request).await.unwrap().into_inner()
        });
        match response.http_response.unwrap() {
            HttpResponse::OkResponse(ok) => {
                let set = ok.headers.into_iter().map(|option| {
                    assert_eq!(option.append_action, 2, "it overwrites: {option:?}");
                    let header = option.header.unwrap();
                    (header.key, header.value)
                });
                let removed = ok.headers_to_remove.into_iter().map(|name| (name, String::new()));
                Told { status: 200, headers: set.chain(removed).collect(), body: String::new() }
            }
            HttpResponse::DeniedResponse(denied) => Told {
                status: u16::try_from(denied.status.unwrap().code).unwrap(),
                headers: BTreeMap::new(),
                body: denied.body,
            },
            other => panic!("{other:?}"),
        }
    }

    /// Waits until `idpsyncd` decides.
    pub fn ready(self, server: &mut super::idpsyncd::Idpsyncd) {
        server.until("it is ready", || {
            std::net::TcpStream::connect(("127.0.0.1", self.http)).ok()?;
            (send(self.http, "GET", b"/readyz", &[]).status == 200).then_some(())
        });
    }
}
