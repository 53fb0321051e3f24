//! Who may ask, and how they prove it.

use std::process::Command;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use chrono::Utc;
use idpsyncd::model::{SessionEnd, SessionRealm, SessionScope, StoreConfig};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::kit::{ACTIONS, EVALUATION, EVALUATIONS, METADATA, Pdp, RESOURCES, SUBJECTS, asks};
use crate::support::gateways::{Got, send, send_body};
use crate::support::idpsyncd::Home;
use crate::support::server::{authority, certificate};
use crate::support::skip;

const BASE: &str = r#"
[store]
path = "store.db"
[[source]]
name = "acme"
kind = "file"
realm_export = "realm.json"
[roles.reader]
everyone = true
external_roles = []
[[roles.reader.policies]]
actions = ["record:read"]
resources = ["record/*"]
[[catalog]]
actions = ["record:read"]
resources = ["record/record-1"]
[gateway]
http = "127.0.0.1:{http}"
[gateway.authzen]
enabled = true
base_url = "https://pdp.example.com/tenants/one"
"#;

const REALM: &str = r#"{"realm": "acme", "groups": [], "roles": {}, "users": [
    {"id": "1", "username": "alice", "enabled": true},
    {"id": "2", "username": "dan", "enabled": false}]}"#;

const TOKENS: &str = r#"
[[gateway.authzen.caller]]
name = "kong"
token = { file = "kong.token" }
[[gateway.authzen.caller]]
name = "portal"
token = { file = "portal.token" }
may = ["search"]
[[gateway.authzen.caller]]
name = "mcp"
token = { file = "mcp.token" }
may = ["evaluate"]
"#;

const KONG: &str = "kong+secret/0123456789==";

fn of(callers: &str) -> Pdp {
    let files = [
        ("realm.json", REALM),
        ("kong.token", "kong+secret/0123456789==\n"),
        ("portal.token", "portal.secret.0123456789"),
        ("mcp.token", "mcp-secret-0123456789"),
    ];
    Pdp::of(&format!("{BASE}{callers}"), &files)
}

/// Where it is asked, below the path of `base_url`.
fn at(path: &str) -> String {
    format!("/tenants/one{path}")
}

fn ask(pdp: &Pdp, path: &str, headers: &[(&str, &str)]) -> Got {
    pdp.raw(&at(path), asks("alice", "read", "record/record-1").to_string().as_bytes(), headers)
}

fn bearing(token: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {token}"))]
}

/// The status that a question by this token gets at a port.
fn bear_at(port: u16, token: &str) -> u16 {
    let [(name, value)] = bearing(token);
    let headers = [("content-type", "application/json"), (name, &*value)];
    let body = asks("alice", "read", "record/record-1").to_string();
    send_body(port, "POST", at(EVALUATION).as_bytes(), &headers, body.as_bytes()).status
}

fn bear(pdp: &Pdp, path: &str, token: &str) -> Got {
    let [(name, value)] = bearing(token);
    ask(pdp, path, &[(name, &value)])
}

#[test]
fn a_caller_is_known_by_its_token_and_may_what_it_may() {
    let mut pdp = of(TOKENS);
    let all = [EVALUATION, EVALUATIONS, SUBJECTS, RESOURCES, ACTIONS];
    for (token, allowed) in [
        (KONG, &all[..]),
        ("portal.secret.0123456789", &all[2..]),
        ("mcp-secret-0123456789", &all[..2]),
    ] {
        for path in all {
            let expected = if allowed.contains(&path) { 200 } else { 403 };
            let got = bear(&pdp, path, token);
            assert_eq!(got.status, expected, "{token} {path}");
            if expected == 403 {
                assert!(got.json().is_string(), "{got:?}");
            }
        }
    }
    assert!(bear(&pdp, EVALUATION, KONG).json()["decision"].as_bool().unwrap());
    let scheme = format!("bearer  {KONG}");
    assert_eq!(ask(&pdp, EVALUATION, &[("authorization", &scheme)]).status, 200, "any case");
    let id = ("x-request-id", "42");
    for headers in [
        vec![id],
        vec![id, ("authorization", "")],
        vec![id, ("authorization", KONG)],
        vec![id, ("authorization", "Bearer")],
        vec![id, ("authorization", "Bearer ")],
        vec![id, ("authorization", "Bearer wrong")],
        vec![id, ("authorization", "Bearer kong+secret/0123456789=")],
        vec![id, ("authorization", "Bearer kong+secret/0123456789== ,")],
        vec![id, ("authorization", "Bearer KONG+SECRET/0123456789==")],
        vec![id, ("authorization", "Bearer kong+secret/0123456789==x")],
        vec![id, ("authorization", "Basic kong+secret/0123456789==")],
        vec![id, ("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")],
        vec![
            id,
            ("authorization", "Bearer kong+secret/0123456789=="),
            ("authorization", "Bearer x"),
        ],
        vec![id, ("x-osmo-auth", KONG)],
    ] {
        for path in all {
            let got = ask(&pdp, path, &headers);
            assert_eq!(got.status, 401, "{headers:?} {path}");
            assert_eq!(got.headers["www-authenticate"], "Bearer");
            assert_eq!(got.headers["x-request-id"], "42", "{headers:?}");
            assert_eq!(got.json(), "the caller is not known here");
        }
    }
    // Who asks comes first: what else is wrong is not told.
    for (method, kind, body) in [
        ("POST", "text/plain", "x"),
        ("POST", "application/json", "{"),
        ("PUT", "application/json", "{}"),
        ("GET", "application/json", ""),
    ] {
        let sent = [("content-type", kind)];
        let got = send_body(pdp.port, method, at(EVALUATION).as_bytes(), &sent, body.as_bytes());
        assert_eq!(got.status, 401, "{method} {kind}");
    }
    // What it may not do it may not do with a broken body either.
    let [(name, value)] = bearing("portal.secret.0123456789");
    assert_eq!(pdp.raw(&at(EVALUATION), b"{", &[(name, &value)]).status, 403);
    // The log names the caller, and the secret nowhere.
    let [(name, value)] = bearing(KONG);
    let denied = asks("dan", "read", "record/record-1").to_string();
    assert_eq!(pdp.raw(&at(EVALUATION), denied.as_bytes(), &[(name, &value)]).status, 200);
    pdp.logs("caller=\"kong\"");
    pdp.logs("its caller is not proven");
    assert!(!pdp.server.log().contains("secret"), "{}", pdp.server.log());
    counted(&pdp);
}

/// What was counted is by result.
fn counted(pdp: &Pdp) {
    let line = |result: &str| {
        let start = format!("idpsyncd_decisions_total{{protocol=\"authzen\",result=\"{result}\"}}");
        let lines = pdp.metrics(&start);
        lines.first().unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = (line("allow"), line("deny"), line("unauthenticated"));
    assert!(before.2 >= 74, "{before:?}");
    let mut body = asks("alice", "read", "record/record-1");
    body["evaluations"] = json!([{}, {"subject": {"type": "user", "id": "dan"}}, {"action": {"name": "x"}}, {"action": 1}]);
    let [(name, value)] = bearing(KONG);
    let got = pdp.raw(&at(EVALUATIONS), body.to_string().as_bytes(), &[(name, &value)]);
    assert_eq!(got.status, 200);
    assert_eq!(bear(pdp, EVALUATION, "wrong").status, 401);
    let after = (line("allow"), line("deny"), line("unauthenticated"));
    assert_eq!(after, (before.0 + 1, before.1 + 3, before.2 + 1));
}

#[test]
fn the_metadata_is_for_everybody_and_stands_between_host_and_path() {
    let pdp = of(TOKENS);
    let got = send(pdp.port, "GET", format!("{METADATA}/tenants/one").as_bytes(), &[]);
    assert_eq!(got.status, 200);
    let told = got.json();
    assert_eq!(told["policy_decision_point"], "https://pdp.example.com/tenants/one");
    let evaluation = "https://pdp.example.com/tenants/one/access/v1/evaluation";
    assert_eq!(told["access_evaluation_endpoint"], evaluation);
    for nowhere in [METADATA.to_owned(), at(METADATA), format!("{METADATA}/tenants/two")] {
        assert_eq!(send(pdp.port, "GET", nowhere.as_bytes(), &[]).status, 404, "{nowhere}");
    }
    // Nor is anything asked where nothing was announced.
    let body = asks("alice", "read", "record/record-1").to_string();
    for path in [EVALUATION, "/tenants/one/access/v1/evaluation/", "/tenants/one/access/v1"] {
        let [(name, value)] = bearing(KONG);
        assert_eq!(pdp.raw(path, body.as_bytes(), &[(name, &value)]).status, 404, "{path}");
    }
}

#[test]
fn a_token_that_is_replaced_counts_from_the_reload_on() {
    let mut pdp = of(TOKENS);
    assert_eq!(bear(&pdp, EVALUATION, KONG).status, 200);
    std::fs::write(pdp.home.path("kong.token"), "another-secret-0123456789").unwrap();
    pdp.server.signal("HUP");
    pdp.server.until_logged("requests are answered by the new configuration");
    assert_eq!(bear(&pdp, EVALUATION, KONG).status, 401);
    assert_eq!(bear(&pdp, EVALUATION, "another-secret-0123456789").status, 200);
    // A bad one keeps what was in force.
    std::fs::write(pdp.home.path("kong.token"), "mcp-secret-0123456789").unwrap();
    pdp.server.signal("HUP");
    pdp.server.until_logged("the callers `kong` and `mcp` have the same token");
    assert_eq!(bear(&pdp, EVALUATION, "another-secret-0123456789").status, 200);
}

#[test]
fn without_callers_whoever_is_on_this_machine_may_ask() {
    let pdp = of("");
    for headers in [vec![], vec![("authorization", "Bearer whatever")]] {
        assert_eq!(ask(&pdp, EVALUATION, &headers).status, 200, "{headers:?}");
        assert_eq!(ask(&pdp, SUBJECTS, &headers).status, 200, "{headers:?}");
    }
    let home = Home::new(&BASE.replace("127.0.0.1:{http}", "0.0.0.0:9180"));
    std::fs::write(home.path("realm.json"), REALM).unwrap();
    let output = home.run(&["check", "--offline"]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("gateway.authzen.caller"), "{said}");
    // A socket is this machine's.
    home.configure(&BASE.replace("127.0.0.1:{http}", "unix:/run/idpsyncd/http.sock"));
    home.ok(&["check", "--offline"], 0);
}

static KEY: LazyLock<EncodingKey> = LazyLock::new(|| {
    let rng = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    EncodingKey::from_ec_der(der.as_ref())
});

/// An issuer on this machine that says where its keys are.
async fn issuer() -> MockServer {
    let server = MockServer::start().await;
    let mut jwk = Jwk::from_encoding_key(&KEY, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("k".to_owned());
    let discovery = json!({"issuer": server.uri(), "jwks_uri": format!("{}/keys", server.uri()),
        "authorization_endpoint": format!("{}/auth", server.uri()),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"]});
    for (at, body) in
        [("/.well-known/openid-configuration", discovery), ("/keys", json!({"keys": [jwk]}))]
    {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(path(at)).respond_with(answer).mount(&server).await;
    }
    server
}

fn signed(claims: &Value) -> String {
    let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, claims, &KEY).unwrap()
}

#[test]
fn a_caller_is_known_by_a_jwt_of_its_issuer_for_this_place_and_that_client() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(issuer());
    let uri = server.uri();
    let pdp = of(&format!(
        "{TOKENS}\n[[gateway.authzen.caller]]\nname = \"traefik\"\n\
         jwt = {{ issuer = \"{uri}\", audience = \"pdp\", client = \"traefik\" }}\n\
         [[gateway.authzen.caller]]\nname = \"backstage\"\nmay = [\"search\"]\n\
         jwt = {{ issuer = \"{uri}\", audience = \"pdp\", client = \"backstage\" }}\n"
    ));
    let good = json!({"iss": uri, "sub": "service-account-traefik", "aud": ["pdp", "account"],
        "azp": "traefik", "typ": "Bearer", "exp": Utc::now().timestamp() + 300});
    let with = |member: &str, value: Value| {
        let mut claims = good.clone();
        claims[member] = value;
        bear(&pdp, EVALUATION, &signed(&claims)).status
    };
    assert_eq!(bear(&pdp, EVALUATION, &signed(&good)).status, 200);
    assert_eq!(bear(&pdp, EVALUATION, KONG).status, 200, "beside tokens");
    for (member, value) in [
        ("azp", json!("grafana")),
        ("azp", json!("Traefik")),
        ("aud", json!("account")),
        ("iss", json!("https://elsewhere.example.com")),
        ("exp", json!(Utc::now().timestamp() - 300)),
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("nbf", json!(Utc::now().timestamp() + 300)),
    ] {
        assert_eq!(with(member, value.clone()), 401, "{member} {value}");
    }
    let mut other = good.clone();
    other["azp"] = json!("backstage");
    assert_eq!(bear(&pdp, EVALUATION, &signed(&other)).status, 403, "it may search");
    assert_eq!(bear(&pdp, SUBJECTS, &signed(&other)).status, 200);
    let mut parts: Vec<String> = signed(&good).split('.').map(str::to_owned).collect();
    parts[2] = signed(&other).split('.').nth(2).unwrap().to_owned();
    assert_eq!(bear(&pdp, EVALUATION, &parts.join(".")).status, 401, "another's signature");
}

#[test]
fn a_callers_jwt_is_over_with_what_has_ended_at_its_issuer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(issuer());
    let uri = server.uri();
    let base = BASE.replace("[gateway]\n", "[gateway]\nidentity = \"jwt\"\n");
    let config = format!(
        "{base}\n[[gateway.authzen.caller]]\nname = \"traefik\"\n\
         jwt = {{ issuer = \"{uri}\", audience = \"pdp\", client = \"traefik\" }}\n\
         [gateway.logout]\n[[gateway.jwt]]\nissuer = \"{uri}\"\nsource = \"acme\"\n\
         audiences = [\"app\"]\n"
    );
    let mut pdp = Pdp::of(&config, &[("realm.json", REALM)]);
    let now = Utc::now().timestamp();
    let token = |iat: i64| {
        signed(&json!({"iss": uri, "sub": "service-account-traefik", "aud": ["pdp", "account"],
            "azp": "traefik", "typ": "Bearer", "iat": iat, "exp": now + 600}))
    };
    let status = |pdp: &Pdp, iat: i64| bear(pdp, EVALUATION, &token(iat)).status;
    assert_eq!(status(&pdp, now - 60), 200);
    assert_eq!(status(&pdp, now - 7_200), 401, "older than what is remembered");
    let store = idpsyncd::store::open(&StoreConfig::sqlite(pdp.home.path("store.db")));
    for (scope, last_iat) in [
        (SessionScope::Client("traefik".to_owned()), now - 50),
        (SessionScope::Everybody, now - 30),
    ] {
        assert_eq!(status(&pdp, last_iat), 200, "{scope:?}");
        let realm = SessionRealm::Source("acme".to_owned());
        let end = SessionEnd { realm, scope: scope.clone(), last_iat };
        store.end_sessions(&[end], 0).unwrap();
        let port = pdp.port;
        let what = format!("{scope:?}");
        let old = token(last_iat);
        pdp.server.until(&what, || (bear_at(port, &old) == 401).then_some(()));
        assert_eq!(status(&pdp, last_iat + 1), 200, "{scope:?}");
    }
}

#[test]
fn a_caller_is_known_by_its_client_certificate() {
    if !skip::has("openssl") || !skip::has("curl") {
        skip::skip(&skip::test(), "no openssl or curl");
        return;
    }
    let port = crate::support::server::free_port();
    let callers = "[[gateway.authzen.caller]]\nname = \"kong\"\nclient_certificate = \"kong.example.com\"\n\
        [[gateway.authzen.caller]]\nname = \"spire\"\nclient_certificate = \"spiffe://example.org/mcp\"\n\
        [[gateway.authzen.caller]]\nname = \"old\"\nclient_certificate = \"old one\"\nmay = [\"search\"]\n\
        [[gateway.authzen.caller]]\nname = \"token\"\ntoken = { file = \"kong.token\" }\n";
    let tls = "[gateway.tls]\ncert_file = \"tls.pem\"\nkey_file = \"tls.key\"\nclient_ca_file = \"ca.pem\"\n";
    let base = BASE.replace("127.0.0.1:{http}", &format!("0.0.0.0:{port}"));
    let home = Home::new(&format!("{base}{callers}{tls}"));
    std::fs::write(home.path("realm.json"), REALM).unwrap();
    std::fs::write(home.path("kong.token"), KONG).unwrap();
    let folder = home.path("");
    authority(&folder, ["ca", "ca"], "ca");
    for (name, cn, extension) in [
        ("tls", "localhost", "subjectAltName=IP:127.0.0.1"),
        ("kong", "whatever", "subjectAltName=DNS:other.example.com,DNS:kong.example.com"),
        ("spire", "whatever", "subjectAltName=URI:spiffe://example.org/mcp"),
        ("named", "kong.example.com", "basicConstraints=CA:FALSE"),
        ("liar", "kong.example.com", "subjectAltName=DNS:liar.example.com"),
    ] {
        certificate(&folder, ["ca", "ca"], name, cn, extension);
    }
    home.ok(&["sync"], 0);
    let mut server = home.start("serve");
    let body = asks("alice", "read", "record/record-1").to_string();
    let curl = |client: &str, path: &str, more: &[&str]| {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", "ca.pem"])
            .args(["--cert", &format!("{client}.pem"), "--key", &format!("{client}.key")])
            .args(["-H", "content-type: application/json", "-d", &body])
            .args(more)
            .arg(format!("https://127.0.0.1:{port}/tenants/one{path}"))
            .current_dir(home.path(""))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    server.until("it is ready", || (curl("kong", EVALUATION, &[]) == "200").then_some(()));
    for version in ["--http1.1", "--http2"] {
        assert_eq!(curl("kong", EVALUATION, &[version]), "200");
        assert_eq!(curl("spire", SUBJECTS, &[version]), "200");
        // Without other names its common name counts, and with them it does not.
        assert_eq!(curl("named", EVALUATION, &[version]), "200");
        assert_eq!(curl("liar", EVALUATION, &[version]), "401");
    }
    // A bearer token that is there decides alone.
    let bearer = format!("authorization: Bearer {KONG}");
    assert_eq!(curl("liar", EVALUATION, &["-H", &bearer]), "200");
    assert_eq!(curl("kong", EVALUATION, &["-H", "authorization: Bearer wrong"]), "401");
    server.stop();
}
