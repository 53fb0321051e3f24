//! `idpsyncd serve` and `run` as gateways ask them: Envoy's ext_authz over gRPC and HTTP, nginx's
//! `auth_request`, Traefik and Caddy, and those who watch. The real binary, a store that `sync`
//! wrote from a file, no gateway in between.
#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue, Metadata};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value as Protobuf};
use serde_json::{Value, json};
use support::gateways::{Got, HOST_ROUTES, HostLine, host_lines, send, send_raw};
use support::idpsyncd::{Home, Idpsyncd};
use support::server::free_port;
use tonic::transport::Channel;

const CREATE: &str = "/api/pool/ml-training/workflow";

/// What anybody is told where the evidence is too old.
const OLD: &str = "the evidence is too old to decide by";

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn realm(home: &Home, users: &[(&str, &str, bool)]) {
    let users: Vec<Value> = users
        .iter()
        .map(|(name, group, enabled)| {
            let groups: &[&str] = if group.is_empty() { &[] } else { &[group] };
            json!({"id": format!("id-{name}"), "username": name, "enabled": enabled,
                "groups": groups})
        })
        .collect();
    let realm = json!({
        "realm": "acme",
        "groups": [{"id": "g1", "name": "ML", "path": "/ML", "subGroups": []},
            {"id": "g2", "name": "Readers", "path": "/Readers", "subGroups": []}],
        "roles": {"realm": [], "client": {}},
        "users": users,
    });
    std::fs::write(home.path("realm.new"), realm.to_string()).unwrap();
    std::fs::rename(home.path("realm.new"), home.path("realm.json")).unwrap();
}

const PEOPLE: [(&str, &str, bool); 4] =
    [("ann", "/ML", true), ("bob", "", true), ("dan", "/ML", false), ("rea", "/Readers", true)];

fn config(gateway: &str) -> String {
    format!(
        r#"
        [store]
        path = "store.db"
        [schedule]
        cron = "0 0 0 1 1 *"
        jitter = "0s"
        [[source]]
        name = "acme"
        kind = "file"
        realm_export = "realm.json"
        [roles.osmo-default]
        everyone = true
        external_roles = []
        [[roles.osmo-default.policies]]
        actions = ["profile:*", "system:Health"]
        [roles.osmo-ml]
        external_roles = ["ML"]
        [[roles.osmo-ml.policies]]
        actions = ["workflow:*"]
        resources = ["pool/ml-*"]
        [[roles.osmo-ml.policies]]
        effect = "Deny"
        actions = ["workflow:*"]
        resources = ["pool/ml-closed"]
        [roles.reader]
        external_roles = ["Readers"]
        [[roles.reader.policies]]
        actions = ["workflow:Read"]
        resources = ["*"]
        [[catalog]]
        actions = ["workflow:Create"]
        resources = ["pool/ml-training", "pool/ml-closed", "pool/ml-inference", "pool/other"]
        [gateway]
        identity = "header"
        preset = "osmo"
        {gateway}
        "#
    )
}

const ALLOWED: &str = r#"
        [[gateway.allowed]]
        header = "x-osmo-allowed-pools"
        action = "workflow:Create"
        scope = "pool"
        routes = ["profile:Read"]
"#;

/// A home whose store is filled, with both listeners on free ports.
struct Stage {
    home: Home,
    grpc: u16,
    http: u16,
}

impl Stage {
    /// `more` goes into `[gateway]`.
    fn new(more: &str) -> Stage {
        let stage = Stage::empty(more);
        stage.home.ok(&["sync"], 0);
        stage
    }

    fn empty(more: &str) -> Stage {
        let (grpc, http) = (free_port(), free_port());
        let listen = format!("grpc = \"127.0.0.1:{grpc}\"\nhttp = \"127.0.0.1:{http}\"\n{more}");
        let home = Home::new(&config(&listen));
        realm(&home, &PEOPLE);
        Stage { home, grpc, http }
    }

    fn serve(&self) -> Idpsyncd {
        let mut server = self.home.start("serve");
        self.ready(&mut server);
        server
    }

    fn ready(&self, server: &mut Idpsyncd) {
        server.until("it is ready", || {
            std::net::TcpStream::connect(("127.0.0.1", self.http)).ok()?;
            (self.get("/readyz").status == 200).then_some(())
        });
    }

    fn get(&self, path: &str) -> Got {
        send(self.http, "GET", path.as_bytes(), &[])
    }

    fn nginx(&self, user: &str, method: &str, uri: &str, more: &[(&str, &str)]) -> Got {
        let mut headers = vec![("X-Original-URI", uri), ("X-Original-Method", method)];
        if !user.is_empty() {
            headers.push(("x-osmo-user", user));
        }
        headers.extend(more);
        send(self.http, "GET", b"/authz", &headers)
    }

    fn check(&self, request: HttpRequest) -> CheckResponse {
        self.check_with(request, None)
    }

    fn check_with(&self, request: HttpRequest, metadata: Option<Metadata>) -> CheckResponse {
        let port = self.grpc;
        runtime().block_on(async move {
            let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            let channel = channel.connect().await.unwrap();
            let request = CheckRequest {
                attributes: Some(AttributeContext {
                    request: Some(Request { http: Some(request), ..Request::default() }),
                    metadata_context: metadata,
                    ..AttributeContext::default()
                }),
            };
            AuthorizationClient::new(channel).check(request).await.unwrap().into_inner()
        })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn envoy(method: &str, path: &str, headers: &[(&str, &str)]) -> HttpRequest {
    HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..HttpRequest::default()
    }
}

fn ok(response: &CheckResponse) -> &OkHttpResponse {
    assert_eq!(response.status.as_ref().unwrap().code, 0, "{response:?}");
    match response.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => ok,
        other => panic!("{other:?}"),
    }
}

/// Headers that are set for the upstream; each must overwrite.
fn set(ok: &OkHttpResponse) -> BTreeMap<String, String> {
    ok.headers
        .iter()
        .map(|option| {
            assert_eq!(option.append_action, 2, "OVERWRITE_IF_EXISTS_OR_ADD: {option:?}");
            let header = option.header.as_ref().unwrap();
            (header.key.clone(), header.value.clone())
        })
        .collect()
}

/// Status towards the client, gRPC code, body.
fn denied(response: &CheckResponse) -> (i32, i32, Value) {
    match response.http_response.as_ref().unwrap() {
        HttpResponse::DeniedResponse(denied) => (
            denied.status.as_ref().unwrap().code,
            response.status.as_ref().unwrap().code,
            serde_json::from_str(&denied.body).unwrap(),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn envoy_over_grpc() {
    let stage = Stage::new(ALLOWED);
    let server = stage.serve();

    let response = stage.check(envoy("POST", CREATE, &[("x-osmo-user", "Ann")]));
    let headers = set(ok(&response));
    assert_eq!(headers["x-osmo-user"], "ann", "as the store spells it");
    assert_eq!(headers["x-osmo-roles"], "osmo-default,osmo-ml");
    let removed = &ok(&response).headers_to_remove;
    let expected = ["x-osmo-allowed-pools", "x-osmo-token-name", "x-osmo-workflow-id"];
    assert_eq!(removed, &expected);

    let response = stage.check(envoy("GET", "/api/profile/settings", &[("x-osmo-user", "ann")]));
    assert_eq!(set(ok(&response))["x-osmo-allowed-pools"], "ml-inference,ml-training");
    // Nothing allowed is not the same as nothing said: what the client sent must go.
    let response = stage.check(envoy("GET", "/api/profile/settings", &[("x-osmo-user", "bob")]));
    assert!(!set(ok(&response)).contains_key("x-osmo-allowed-pools"));
    assert!(ok(&response).headers_to_remove.contains(&"x-osmo-allowed-pools".to_owned()));

    let response =
        stage.check(envoy("POST", "/api/pool/ml-closed/workflow", &[("x-osmo-user", "ann")]));
    let (status, code, body) = denied(&response);
    assert_eq!((status, code), (403, 7));
    assert_eq!(
        body,
        json!({"error": "denied", "action": "workflow:Create", "resource": "pool/ml-closed",
            "why": "role `osmo-ml`, policy 2 says Deny"})
    );
    let (_, _, body) = denied(&stage.check(envoy("POST", CREATE, &[("x-osmo-user", "bob")])));
    assert_eq!(body["why"], "no policy of the user's roles allows it");
    let response = stage.check(envoy("GET", "/nowhere", &[("x-osmo-user", "ann")]));
    assert_eq!(denied(&response).2["action"], Value::Null);
    for (user, why) in [("dan", "disabled"), ("eve", "no such user")] {
        let (status, code, body) =
            denied(&stage.check(envoy("POST", CREATE, &[("x-osmo-user", user)])));
        assert_eq!((status, code), (403, 7));
        assert!(body["why"].as_str().unwrap().contains(why), "{body}");
        assert!(!body["why"].as_str().unwrap().contains("acme"), "{body}");
    }

    let (status, code, body) = denied(&stage.check(envoy("POST", CREATE, &[])));
    assert_eq!((status, code), (401, 16));
    assert_eq!(body, json!({"error": "unauthenticated"}));

    // The raw header list: one that is there twice is no identity.
    let listed = |users: &[&str]| HttpRequest {
        header_map: Some(HeaderMap {
            headers: users
                .iter()
                .map(|user| HeaderValue {
                    key: "x-osmo-user".to_owned(),
                    raw_value: user.as_bytes().to_vec(),
                    ..HeaderValue::default()
                })
                .collect(),
        }),
        ..envoy("POST", CREATE, &[])
    };
    ok(&stage.check(listed(&["ann"])));
    assert_eq!(denied(&stage.check(listed(&["ann", "bob"]))).0, 401);
    assert_eq!(denied(&stage.check(listed(&["bob", "ann"]))).0, 401);

    // A WebSocket is an action of its own.
    let exec = "/api/workflow/w1/exec";
    let headers = [("x-osmo-user", "ann"), ("upgrade", "websocket")];
    ok(&stage.check(envoy("GET", exec, &headers)));
    // Any other upgrade would lead past everybody who asks.
    for upgrade in [
        &[("upgrade", "h2c")][..],
        &[("upgrade", "websocket, h2c")],
        &[("upgrade", "h2c,websocket")],
        &[("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA")],
        &[("http2-settings", "")],
        &[("upgrade", "websocket"), ("http2-settings", "AAMAAABk")],
    ] {
        let headers = [&[("x-osmo-user", "ann")][..], upgrade].concat();
        let response = stage.check(envoy("GET", "/health", &headers));
        assert_eq!(denied(&response).0, 403, "{upgrade:?}");
    }
    // The key alone is no WebSocket: Envoy tells of `Upgrade`, and the platform serves a GET.
    for path in [exec, "/api/workflow/w1/exec/x", "/api/pool#/../users", "/health?a#b"] {
        let headers = [("x-osmo-user", "ann"), ("sec-websocket-key", KEY)];
        assert_eq!(denied(&stage.check(envoy("GET", path, &headers))).0, 403, "{path}");
    }
    let log = server.log();
    assert!(log.contains("`acme` says that the account is disabled"), "{log}");
    assert!(log.contains("denied: ") && log.contains("ml-closed"), "{log}");
    server.stop();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn nginx_traefik_caddy_and_envoy_over_http() {
    let stage = Stage::new(ALLOWED);
    let server = stage.serve();
    let nginx = |user: &str, method: &str, uri: &str| stage.nginx(user, method, uri, &[]);

    let got = nginx("ann", "POST", CREATE);
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.headers["x-osmo-user"], "ann");
    assert_eq!(got.headers["x-osmo-roles"], "osmo-default,osmo-ml");
    // Empty, so that a gateway that copies it overwrites what a client sent.
    for name in ["x-osmo-allowed-pools", "x-osmo-token-name", "x-osmo-workflow-id"] {
        assert_eq!(got.headers[name], "", "{name}");
    }
    assert_eq!(nginx("ann", "GET", "/api/profile/settings?a=/../b").status, 200);
    assert_eq!(nginx("bob", "POST", CREATE).status, 403);
    assert_eq!(nginx("", "POST", CREATE).status, 401);
    assert_eq!(nginx("ann", "post", CREATE).status, 403, "methods compare exactly");

    let forwarded = |headers: &[(&str, &str)]| {
        let mut all = vec![("x-osmo-user", "ann")];
        all.extend(headers);
        send(stage.http, "GET", b"/authz", &all)
    };
    let uri = ("X-Forwarded-Uri", CREATE);
    assert_eq!(forwarded(&[uri, ("X-Forwarded-Method", "POST")]).status, 200);
    assert_eq!(forwarded(&[uri, ("X-Forwarded-Method", "DELETE")]).status, 403);

    // A WebSocket is an action of its own: to run things there is not to read of them.
    let (logs, exec) = ("/api/workflow/w1/logs", "/api/workflow/w1/exec");
    let rea = |uri: &str, more: &[(&str, &str)]| stage.nginx("rea", "GET", uri, more).status;
    let ann = |uri: &str, more: &[(&str, &str)]| stage.nginx("ann", "GET", uri, more).status;
    assert_eq!(rea(logs, &[]), 200);
    assert_eq!(rea(logs, &[("Upgrade", "WebSocket")]), 200, "no route takes it as such there");
    assert_eq!(rea(logs, &[("Upgrade", "websocket"), ("Upgrade", "x")]), 403);
    assert_eq!(rea(exec, &[("Upgrade", "WebSocket")]), 403);
    assert_eq!(ann(exec, &[("Upgrade", "websocket")]), 200);
    assert_eq!(ann("/health", &[("Upgrade", "h2c")]), 403);
    assert_eq!(ann("/health", &[("HTTP2-Settings", "AAMAAABk")]), 403);
    // nginx tells of `Upgrade`, so a key alone is none, and the platform serves a GET.
    assert_eq!(ann(exec, &[("Sec-WebSocket-Key", KEY)]), 403);
    assert_eq!(rea(logs, &[("Sec-WebSocket-Key", KEY)]), 200);
    // Traefik does not: there a WebSocket is known by its key.
    let traefik = |uri: &str, more: &[(&str, &str)]| {
        let told = [("X-Forwarded-Uri", uri), ("X-Forwarded-Method", "GET")];
        forwarded(&[&told[..], more].concat()).status
    };
    assert_eq!(traefik(exec, &[("Sec-WebSocket-Key", KEY)]), 200);
    assert_eq!(traefik(exec, &[]), 403);
    assert_eq!(traefik("/health", &[("Sec-WebSocket-Key", KEY)]), 200);
    assert_eq!(traefik("/health", &[("Sec-WebSocket-Key", KEY), ("HTTP2-Settings", "")]), 403);
    // Who could be behind either is neither.
    let both = [("X-Original-URI", exec), ("X-Original-Method", "GET"), ("Sec-WebSocket-Key", KEY)];
    assert_eq!(traefik(exec, &both), 403);

    // What a client adds to what its gateway says makes no difference, or none to its favour.
    let closed = "/api/pool/ml-closed/workflow";
    let post = [("X-Original-Method", "POST"), ("X-Forwarded-Method", "POST")];
    for (original, forward, status) in
        [(CREATE, closed, 403), (closed, CREATE, 403), (closed, closed, 403), (CREATE, CREATE, 200)]
    {
        let uris = [("X-Original-URI", original), ("X-Forwarded-Uri", forward)];
        let got = forwarded(&[&post[..], &uris[..]].concat());
        assert_eq!(got.status, status, "{original} {forward}: {got:?}");
    }
    for half in [
        &[("X-Original-URI", CREATE)][..],
        &[("X-Original-Method", "POST")],
        &[("X-Original-URI", CREATE), ("X-Forwarded-Method", "POST")],
        &[("X-Original-URI", CREATE), ("X-Original-Method", "POST"), ("X-Forwarded-Uri", CREATE)],
        &[("X-Original-URI", closed), ("X-Original-URI", CREATE), ("X-Original-Method", "POST")],
        &[],
    ] {
        let got = forwarded(half);
        assert_eq!(got.status, 403, "{half:?}: {got:?}");
        assert!(!got.headers.contains_key("x-osmo-user"));
    }

    // Envoy over HTTP: the path below the prefix, the request's own method.
    let envoy = |method: &str, path: &str, more: &[(&str, &str)]| {
        let mut headers = vec![("x-osmo-user", "ann")];
        headers.extend(more);
        send(stage.http, method, format!("/authz{path}").as_bytes(), &headers)
    };
    assert_eq!(envoy("POST", CREATE, &[]).status, 200);
    assert_eq!(envoy("POST", closed, &[]).status, 403);
    let lies = [("X-Original-URI", CREATE), ("X-Original-Method", "POST")];
    assert_eq!(envoy("POST", closed, &lies).status, 403, "such headers mean nothing there");
    assert_eq!(envoy("POST", "/../metrics", &[]).status, 403);

    // More headers than a proxy lets through by default.
    let many: Vec<(String, String)> =
        (0..300).map(|n| (format!("x-h{n}"), "v".repeat(100))).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(stage.nginx("ann", "POST", CREATE, &many).status, 200);
    server.stop();
}

#[test]
fn what_may_be_a_websocket_must_be_allowed_as_both() {
    let stage = Stage::new(
        r#"
        [[gateway.route]]
        methods = ["GET"]
        path = "/term/{id}"
        action = "term:Read"
        [[gateway.route]]
        methods = ["WEBSOCKET"]
        path = "/term/{id}"
        action = "workflow:Exec"
        scope = "pool"
        [roles.terminal]
        everyone = true
        external_roles = []
        [[roles.terminal.policies]]
        actions = ["term:Read"]
        "#,
    );
    let server = stage.serve();
    let ask = |user: &str, kind: [&str; 2], more: &[(&str, &str)]| {
        let told = [("x-osmo-user", user), (kind[0], "/term/1"), (kind[1], "GET")];
        send(stage.http, "GET", b"/authz", &[&told[..], more].concat()).status
    };
    let (nginx, traefik) =
        (["X-Original-URI", "X-Original-Method"], ["X-Forwarded-Uri", "X-Forwarded-Method"]);
    let key = [("Sec-WebSocket-Key", KEY)];
    let upgrade = [("Sec-WebSocket-Key", KEY), ("Upgrade", "websocket")];
    // Bob may read of it, and not run things in it; Ann may do both.
    for kind in [nginx, traefik] {
        assert_eq!(ask("bob", kind, &[]), 200);
        assert_eq!(ask("bob", kind, &upgrade), 403);
        assert_eq!(ask("ann", kind, &upgrade), 200);
    }
    assert_eq!(ask("bob", nginx, &key), 200);
    assert_eq!(ask("bob", traefik, &key), 403);
    assert_eq!(ask("ann", traefik, &key), 200);
    server.stop();
}

#[test]
fn what_osmo_believes_never_comes_from_a_client() {
    // Without `[[gateway.allowed]]` nothing here sets the pools.
    let stage = Stage::new("");
    let server = stage.serve();
    let names = ["x-osmo-allowed-pools", "x-osmo-token-name", "x-osmo-workflow-id"];
    for path in ["/api/profile/settings", "/health"] {
        let mut headers = vec![("x-osmo-user", "ann")];
        headers.extend(names.map(|name| (name, "forged")));
        let response = stage.check(envoy("GET", path, &headers));
        assert_eq!(ok(&response).headers_to_remove, names, "{path}");
        let told = [("X-Forwarded-Uri", path), ("X-Forwarded-Method", "GET")];
        let traefik = send(stage.http, "GET", b"/authz", &[&headers[..], &told].concat());
        let envoy = send(stage.http, "GET", format!("/authz{path}").as_bytes(), &headers);
        let nginx = stage.nginx("ann", "GET", path, &headers[1..]);
        for got in [traefik, envoy, nginx] {
            assert_eq!(got.status, 200, "{path}: {got:?}");
            for name in names {
                assert_eq!(got.headers[name], "", "{path}: {name}");
            }
        }
    }
    server.stop();
}

#[test]
fn of_a_flood_of_refusals_every_one_is_counted() {
    let stage = Stage::new("anonymous_role = \"osmo-default\"");
    let mut server = stage.serve();
    // No identity (two of one header), an anonymous request that is denied.
    for _ in 0..50 {
        let twice = [("x-osmo-user", "ann")];
        assert_eq!(stage.nginx("bob", "GET", "/health", &twice).status, 401);
        assert_eq!(stage.nginx("", "GET", "/nowhere", &[]).status, 401);
    }
    // One line tells of one, or of as many more.
    for (one, more) in [
        ("a request is refused, its identity is not proven", " more requests are refused"),
        ("a request without identity is denied", " more requests without identity are denied"),
    ] {
        server.until("all are told of", || {
            let log = std::fs::read_to_string(stage.home.path("serve.log")).unwrap();
            let counted = log.match_indices(more).map(|(at, _)| {
                let number = log[..at].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
                number.parse::<usize>().unwrap()
            });
            let told = counted.sum::<usize>() + log.matches(one).count();
            (told == 50).then_some(())
        });
    }
    server.stop();
}

#[test]
fn who_watches_sees_health_readiness_and_metrics() {
    let stage = Stage::empty("");
    // No store yet: alive, not ready, and every request is refused.
    let mut server = stage.home.start("serve");
    server.until("it listens", || std::net::TcpStream::connect(("127.0.0.1", stage.http)).ok());
    assert_eq!(stage.get("/healthz").status, 200);
    assert_eq!(stage.get("/readyz").status, 503);
    assert_eq!(stage.nginx("ann", "POST", CREATE, &[]).status, 403, "nginx knows no 503");
    let headers = [("X-Forwarded-Uri", CREATE), ("X-Forwarded-Method", "POST")];
    assert_eq!(send(stage.http, "GET", b"/authz", &headers).status, 503);
    let (status, code, _) = denied(&stage.check(envoy("POST", CREATE, &[("x-osmo-user", "ann")])));
    assert_eq!((status, code), (503, 14));

    // Another process writes the store: it is followed.
    stage.home.ok(&["sync"], 0);
    stage.ready(&mut server);
    assert_eq!(stage.nginx("ann", "POST", CREATE, &[]).status, 200);
    assert_eq!(stage.nginx("bob", "POST", CREATE, &[]).status, 403);
    let moved = [("ann", "", true), ("bob", "/ML", true), PEOPLE[2], PEOPLE[3]];
    realm(&stage.home, &moved);
    stage.home.ok(&["sync"], 0);
    server.until("the new generation is answered from", || {
        (stage.nginx("bob", "POST", CREATE, &[]).status == 200).then_some(())
    });
    assert_eq!(stage.nginx("ann", "POST", CREATE, &[]).status, 403);

    let metrics = stage.get("/metrics");
    assert!(metrics.headers["content-type"].starts_with("application/openmetrics-text"));
    let metrics = metrics.body;
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).rsplit(' ').next().unwrap()
    };
    assert_eq!(value("idpsyncd_generation"), "2");
    assert_eq!(value("idpsyncd_users"), "4");
    assert_eq!(value("idpsyncd_ready"), "1");
    assert_eq!(value(r#"idpsyncd_connections{listener="grpc"}"#), "0");
    assert!(value(r#"idpsyncd_connections{listener="http"}"#).parse::<u64>().unwrap() >= 1);
    assert_eq!(value(r#"idpsyncd_connections_too_slow_total{listener="http"}"#), "0");
    let denied = r#"idpsyncd_decisions_total{protocol="auth_request",result="deny"}"#;
    assert!(value(denied).parse::<u64>().unwrap() >= 2);
    assert!(metrics.contains(r#"idpsyncd_source_age_seconds{source="acme"}"#), "{metrics}");
    assert!(metrics.contains("idpsyncd_decision_duration_seconds_bucket"), "{metrics}");
    assert!(!metrics.contains("idpsyncd_syncs"), "it does not sync: zero would be a lie");
    assert!(!metrics.contains("ann"), "no user's name");

    assert_eq!(stage.get("/elsewhere").status, 404);
    assert_eq!(send(stage.http, "POST", b"/metrics", &[]).status, 405);
    server.stop();
}

#[test]
fn evidence_that_is_too_old_decides_nothing() {
    let stage = Stage::new("max_staleness = \"1s\"");
    let mut server = stage.home.start("serve");
    server.until("the evidence is too old", || {
        std::net::TcpStream::connect(("127.0.0.1", stage.http)).ok()?;
        let got = stage.get("/readyz");
        (got.status == 503 && got.body == format!("not ready: {OLD}\n")).then_some(())
    });
    assert_eq!(stage.nginx("ann", "POST", CREATE, &[]).status, 403);
    let response = stage.check(envoy("GET", "/health", &[("x-osmo-user", "ann")]));
    let (status, code, body) = denied(&response);
    assert_eq!((status, code), (503, 14));
    assert_eq!(body, json!({"error": "unavailable", "why": OLD}));
    // Which source, and since when, is in the log.
    server.until_logged("every request is refused: what source `acme` says is of");
    // A sync that changes nothing makes the evidence fresh, without a new generation.
    server.until("a request passes right after a sync", || {
        stage.home.ok(&["sync"], 0);
        (stage.nginx("ann", "POST", CREATE, &[]).status == 200).then_some(())
    });
}

#[test]
fn a_request_without_identity_may_do_what_the_anonymous_role_may() {
    let stage = Stage::new("anonymous_role = \"osmo-default\"");
    let server = stage.serve();
    let response = stage.check(envoy("GET", "/health", &[]));
    let ok = ok(&response);
    assert_eq!(set(ok)["x-osmo-roles"], "osmo-default");
    assert!(ok.headers_to_remove.contains(&"x-osmo-user".to_owned()));
    let got = stage.nginx("", "GET", "/health", &[]);
    assert_eq!((got.status, got.headers["x-osmo-user"].as_str()), (200, ""));
    // Elsewhere the answer is to sign in, whether the route exists or not.
    for path in [CREATE, "/nowhere", "/api/../x"] {
        let got = stage.nginx("", "POST", path, &[]);
        assert_eq!(got.status, 401, "{path}");
        assert_eq!(got.json(), json!({"error": "unauthenticated"}));
    }
    server.stop();
}

#[test]
fn run_serves_beside_the_sync_and_a_reload_changes_routes_and_addresses() {
    let stage = Stage::empty(ALLOWED);
    let mut daemon = stage.home.start("run");
    stage.ready(&mut daemon);
    assert_eq!(stage.nginx("ann", "POST", CREATE, &[]).status, 200);
    // What a run commits is served before the run is counted.
    let metrics = daemon.until("the run is counted", || {
        let metrics = stage.get("/metrics").body;
        metrics.contains(r#"idpsyncd_syncs_total{result="complete"} 1"#).then_some(metrics)
    });
    let reads = r#"idpsyncd_source_reads_total{source="acme",result="complete"} 1"#;
    assert!(metrics.contains(reads), "{metrics}");
    assert!(metrics.contains(r#"idpsyncd_changes_total{kind="user_created"} 4"#), "{metrics}");

    // SIGHUP reads the realm and the configuration again: another address, another route.
    let http = free_port();
    let text = config(&format!(
        "grpc = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{http}\"\n{}",
        stage.grpc, "[[gateway.route]]\npath = \"/own\"\naction = \"system:Health\"\n"
    ));
    stage.home.configure(&text);
    daemon.signal("HUP");
    let moved = Stage { http, ..stage };
    daemon.until("the new address answers by the new routes", || {
        std::net::TcpStream::connect(("127.0.0.1", http)).ok()?;
        (moved.nginx("bob", "GET", "/own", &[]).status == 200).then_some(())
    });

    // A broken one leaves everything as it is.
    moved.home.configure(&text.replace("identity = \"header\"", "identity = \"heador\""));
    daemon.signal("HUP");
    daemon.until_logged("the old one stays");
    assert_eq!(moved.nginx("bob", "GET", "/own", &[]).status, 200);
    // So does one whose address is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    moved.home.configure(&text.replace(&format!("127.0.0.1:{http}"), &format!("127.0.0.1:{port}")));
    daemon.signal("HUP");
    daemon.until_logged("cannot listen at");
    assert_eq!(moved.nginx("bob", "GET", "/own", &[]).status, 200);
    daemon.stop();
    assert!(std::net::TcpStream::connect(("127.0.0.1", http)).is_err());
}

#[test]
fn serve_needs_no_secret_of_a_source_and_writes_nothing() {
    let stage = Stage::new("");
    let with_secret = std::fs::read_to_string(stage.home.path("idpsyncd.toml")).unwrap()
        + r#"
        [[source]]
        name = "kc"
        kind = "keycloak"
        url = "http://127.0.0.1:9"
        realm = "r"
        client_id = "c"
        client_secret = { credential = "not-here" }
        "#;
    stage.home.configure(&with_secret);
    let before = std::fs::read(stage.home.path("store.db")).unwrap();
    let server = stage.serve();
    assert_eq!(stage.nginx("ann", "POST", CREATE, &[]).status, 200);
    assert_eq!(stage.nginx("eve", "POST", CREATE, &[]).status, 403);
    server.stop();
    assert_eq!(std::fs::read(stage.home.path("store.db")).unwrap(), before);

    stage.home.configure("[store]\npath = \"store.db\"\n[roles.r]\n[[source]]\nname = \"a\"\nkind = \"file\"\nrealm_export = \"realm.json\"\n");
    let output = stage.home.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("has no `[gateway]`: there is nothing to serve"), "{error}");
}

#[test]
fn unix_sockets_are_for_owner_and_group_and_one_that_was_left_behind_is_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new("");
    let socket = home.path("authz.sock");
    home.configure(&config(&format!("http = \"unix:{}\"", socket.display())));
    realm(&home, &PEOPLE);
    home.ok(&["sync"], 0);
    let get = |path: &str| {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket"])
            .arg(&socket)
            .arg(format!("http://x{path}"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut server = home.start("serve");
    server.until("it is ready", || (get("/readyz") == "200").then_some(()));
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let second = home.run(&["serve"]);
    assert_eq!(second.status.code(), Some(1), "somebody listens there");
    assert_eq!(get("/readyz"), "200");
    // Killed: the name stays, and the next one takes it.
    server.signal("KILL");
    server.ended();
    assert!(socket.exists());
    let mut server = home.start("serve");
    server.until("it is ready", || (get("/readyz") == "200").then_some(()));
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn tls_lets_in_who_has_a_certificate_of_the_ca() {
    if !support::skip::has("openssl") || !support::skip::has("curl") {
        support::skip::skip(&support::skip::test(), "no openssl or curl");
        return;
    }
    let stage = Stage::new(
        "[gateway.tls]\ncert_file = \"tls.pem\"\nkey_file = \"tls.key\"\nclient_ca_file = \"ca.pem\"",
    );
    let openssl = |args: &str| {
        let output = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(stage.home.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(&format!("req -x509 {ec} -keyout ca.key -out ca.pem -subj /CN=ca"));
    for (name, san) in [("tls", "IP:127.0.0.1"), ("client", "DNS:gateway")] {
        openssl(&format!(
            "req -x509 {ec} -CA ca.pem -CAkey ca.key -keyout {name}.key -out {name}.pem -subj \
             /CN={name} -addext subjectAltName={san} -addext basicConstraints=critical,CA:FALSE"
        ));
    }
    let mut server = stage.home.start("serve");
    let curl = |args: &[&str]| {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"])
            .args(args)
            .arg(format!("https://127.0.0.1:{}/readyz", stage.http))
            .current_dir(stage.home.path(""))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let known = ["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key"];
    server.until("it is ready", || curl(&known).starts_with("200").then_some(()));
    assert_eq!(curl(&known), "200 2", "HTTP/2 by ALPN");
    assert!(curl(&["--cacert", "ca.pem"]).starts_with("000"), "no certificate, no answer");
    assert_eq!(stage.get("/readyz").status, 0, "nor without TLS");
    server.stop();

    std::fs::write(stage.home.path("tls.pem"), "").unwrap();
    let output = stage.home.run(&["serve"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("holds no certificate in PEM"), "{error}");
}

#[test]
fn a_payload_that_envoy_verified_says_who_it_is() {
    let stage = Stage::new("");
    let text = std::fs::read_to_string(stage.home.path("idpsyncd.toml")).unwrap();
    stage.home.configure(&format!(
        "{}\n[[gateway.jwt]]\nissuer = \"https://a.example\"\nsource = \"acme\"\n\
         audiences = [\"a\"]\n",
        text.replace("identity = \"header\"", "identity = \"metadata\"")
    ));
    let server = stage.serve();
    let text = |text: &str| Protobuf { kind: Some(Kind::StringValue(text.to_owned())) };
    let object = |fields: &[(&str, Protobuf)]| Struct {
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
    };
    let payload = |claims: Struct| {
        let claims = Protobuf { kind: Some(Kind::StructValue(claims)) };
        Metadata {
            filter_metadata: [(
                "envoy.filters.http.jwt_authn".to_owned(),
                object(&[("jwt_payload", claims)]),
            )]
            .into(),
            ..Metadata::default()
        }
    };
    let number = |number: f64| Protobuf { kind: Some(Kind::NumberValue(number)) };
    let exp = number(chrono::Utc::now().timestamp() as f64 + 300.0);
    let claims = |sub: Protobuf, name: &str| {
        let issuer = ("iss", text("https://a.example"));
        let rest = [("aud", text("a")), ("exp", exp.clone()), ("preferred_username", text(name))];
        payload(object(&[&[issuer, ("sub", sub)][..], &rest[..]].concat()))
    };
    // Who has the id, whatever the name is.
    for name in ["ann", "bob", "no such name"] {
        let answer =
            stage.check_with(envoy("POST", CREATE, &[]), Some(claims(text("id-ann"), name)));
        assert_eq!(set(ok(&answer))["x-osmo-user"], "ann");
    }
    let stranger = stage.check_with(envoy("POST", CREATE, &[]), Some(claims(text("x"), "ann")));
    assert_eq!(denied(&stranger).0, 403);
    let odd = claims(number(7.0), "ann");
    let response = stage.check_with(envoy("POST", CREATE, &[]), Some(odd));
    assert_eq!(denied(&response).0, 401);
    // Neither a header nor a token stands in for it.
    let headers = [("x-osmo-user", "ann"), ("authorization", "Bearer x.y.z")];
    assert_eq!(denied(&stage.check(envoy("POST", CREATE, &headers))).0, 401);
    server.stop();
}

#[test]
fn grpc_health_is_answered_where_it_is_wanted() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let ask = |port: u16| {
        runtime().block_on(async move {
            let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
            let channel = channel.connect().await.unwrap();
            let service = "envoy.service.auth.v3.Authorization".to_owned();
            HealthClient::new(channel).check(HealthCheckRequest { service }).await
        })
    };
    let stage = Stage::new("grpc_health = true");
    let server = stage.serve();
    assert_eq!(ask(stage.grpc).unwrap().into_inner().status, 1, "SERVING");
    server.stop();
    let stage = Stage::new("");
    let server = stage.serve();
    assert_eq!(ask(stage.grpc).unwrap_err().code(), tonic::Code::Unimplemented);
    server.stop();
}

/// base64url without padding (RFC 4648, section 5).
fn base64(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let letter = (bits >> (18 - 6 * place)) & 63;
            out.push(char::from(LETTERS[letter as usize]));
        }
    }
    out
}

#[test]
fn an_open_request_ends_before_the_server_does() {
    // An issuer that takes the connection and never answers: whoever comes with a key that is not
    // known yet waits for it, for a moment.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}/realms/r", silent.local_addr().unwrap());
    let stage = Stage::new("");
    let text = std::fs::read_to_string(stage.home.path("idpsyncd.toml")).unwrap();
    stage.home.configure(&format!(
        "{}\n[[gateway.jwt]]\nissuer = \"{issuer}\"\nsource = \"acme\"\naudiences = [\"a\"]\n",
        text.replace("identity = \"header\"", "identity = \"jwt\"")
    ));
    let server = stage.serve();
    let exp = chrono::Utc::now().timestamp() + 300;
    let claims = json!({"iss": issuer, "aud": "a", "exp": exp, "sub": "id-ann"});
    let token = format!(
        "Bearer {}.{}.{}",
        base64(r#"{"alg":"RS256","kid":"k"}"#),
        base64(&claims.to_string()),
        base64(&"s".repeat(256))
    );
    let http = stage.http;
    let asked = std::thread::spawn(move || {
        let headers = [
            ("authorization", token.as_str()),
            ("X-Forwarded-Uri", CREATE),
            ("X-Forwarded-Method", "POST"),
        ];
        send(http, "GET", b"/authz", &headers)
    });
    // Once the issuer is asked the request is under way, or will be in a moment.
    let _asked = silent.accept().unwrap();
    let open = || {
        let established = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!(":{http:04X} ");
        established.lines().any(|line| line.contains(&port) && line.contains(" 01 "))
    };
    support::gateways::await_that("the request is open", open);
    server.stop();
    let got = asked.join().unwrap();
    assert!(matches!(got.status, 401 | 503), "answered, not cut: {got:?}");
}

/// What is said of a refusal: the action of the route that was taken, else that no route was.
fn taken(got: &Got, line: &HostLine, by: &str) -> String {
    match got.status {
        403 => got.json()["action"].as_str().unwrap_or("refused").to_owned(),
        // Not even a request to the server.
        400 => "refused".to_owned(),
        status => panic!("{by}: {}: {status}", line.shown),
    }
}

#[test]
fn every_hostile_host_is_refused_by_every_protocol_and_the_others_are_told_apart() {
    let stage = Stage::new(HOST_ROUTES);
    let server = stage.serve();
    let lines = host_lines();
    assert!(lines.len() >= 150, "{}", lines.len());
    let mut seen = [0; 4];
    for line in &lines {
        let told = |own: &'static str, more: Vec<(&'static str, &'static [u8])>, target: &[u8]| {
            let mut headers: Vec<(&str, &[u8])> = vec![("x-osmo-user", b"bob")];
            headers.extend(more);
            headers.extend(line.hosts.iter().map(|host| (own, host.as_slice())));
            if own != "host" {
                headers.push(("host", b"127.0.0.1"));
            }
            let header = line.header.as_ref();
            headers.extend(header.map(|(name, value)| (name.as_str(), value.as_slice())));
            send_raw(stage.http, "GET", target, &headers)
        };
        // Its own host beside it would be a second one.
        let also = |name: &str| {
            line.header.as_ref().is_some_and(|(own, _)| own.eq_ignore_ascii_case(name))
        };
        let pair = |uri: &'static str, method: &'static str| {
            let target: &'static [u8] = Vec::leak(line.target.clone());
            vec![(uri, target), (method, &b"GET"[..])]
        };
        let mut agree = |at: usize, by: &str, got: String| {
            assert_eq!(got, line.expected, "{by}: {}", line.shown);
            seen[at] += 1;
        };
        if !also("x-original-host") {
            let pair = pair("x-original-uri", "x-original-method");
            let got = told("x-original-host", pair, b"/authz");
            agree(0, "nginx", taken(&got, line, "nginx"));
        }
        if !also("x-forwarded-host") {
            let pair = pair("x-forwarded-uri", "x-forwarded-method");
            let got = told("x-forwarded-host", pair, b"/authz");
            agree(1, "Traefik", taken(&got, line, "Traefik"));
        }
        let target = [b"/authz", line.target.as_slice()].concat();
        let got = told("host", Vec::new(), &target);
        match got.status {
            // What does not begin with `/` leads elsewhere.
            404 => assert_eq!(line.expected, "refused", "{}", line.shown),
            _ => agree(2, "Envoy over HTTP", taken(&got, line, "Envoy over HTTP")),
        }
        if let Some(request) = as_envoy_tells(line) {
            let (status, _, body) = denied(&stage.check(request));
            assert_eq!(status, 403, "{}", line.shown);
            agree(3, "Envoy", body["action"].as_str().unwrap_or("refused").to_owned());
        }
    }
    assert!(seen.iter().all(|seen| *seen >= 150), "{seen:?}");
    let log = server.log();
    assert!(
        log.contains("host=\"a.lab.example.test\"") || log.contains("host=a.lab.example.test"),
        "{log}"
    );
    server.stop();
}

/// A request as Envoy tells of it; `None` where its protocol cannot: it is text, and one host.
fn as_envoy_tells(line: &HostLine) -> Option<HttpRequest> {
    let hosts: Option<Vec<String>> =
        line.hosts.iter().map(|host| String::from_utf8(host.clone()).ok()).collect();
    let hosts = hosts?;
    let header = |name: &str, value: &str| HeaderValue {
        key: name.to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let mut headers = vec![header("x-osmo-user", "bob")];
    headers.extend(hosts.iter().map(|host| header(":authority", host)));
    if let Some((name, value)) = &line.header {
        headers.push(header(&name.to_ascii_lowercase(), std::str::from_utf8(value).ok()?));
    }
    Some(HttpRequest {
        host: hosts.first().cloned().unwrap_or_default(),
        header_map: Some(HeaderMap { headers }),
        ..envoy("GET", std::str::from_utf8(&line.target).ok()?, &[])
    })
}

#[test]
fn a_request_without_a_host_is_refused_only_where_routes_name_hosts() {
    let stage = Stage::new("");
    let server = stage.serve();
    for more in [&[][..], &[("X-Original-Host", "user@host")], &[("X-Forwarded-Host", "a, b")]] {
        assert_eq!(stage.nginx("ann", "POST", CREATE, more).status, 200, "{more:?}");
    }
    ok(&stage.check(envoy("POST", CREATE, &[("x-osmo-user", "ann")])));
    server.stop();

    let stage = Stage::new(HOST_ROUTES);
    let server = stage.serve();
    let host = ("X-Original-Host", "osmo.example.test:443");
    assert_eq!(stage.nginx("ann", "POST", CREATE, &[host]).status, 200);
    for (more, why) in [
        (&[][..], "routes name hosts, and nothing tells the host of this request"),
        // What a client sends tells nothing.
        (
            &[("X-Forwarded-Host", "osmo.example.test")],
            "routes name hosts, and nothing tells the host of this request",
        ),
        (
            &[host, ("X-Forwarded-Host", "open.example.test")],
            "two headers tell of different hosts: let the gateway remove what a client sends",
        ),
        // The preset's routes are for hosts that no route names.
        (&[("X-Original-Host", "open.example.test")], "no route names this path"),
    ] {
        let got = stage.nginx("ann", "POST", CREATE, more);
        assert_eq!(got.status, 403, "{more:?}");
        assert_eq!(got.json()["why"], why, "{more:?}");
    }
    server.stop();
}
