//! Access tokens at the gateway, what they are exchanged for, and OSMO's own JWTs: the real binary,
//! over HTTP and over gRPC.
#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value as Protobuf};
use serde_json::{Value, json};
use support::asking::{Listens, Told};
use support::gateways::{Got, Platform, Ports, caddy, envoy, nginx, send};
use support::idpsyncd::{Home, Idpsyncd};
use support::server::free_port;

const CREATE: &str = "/api/pool/ml-a/workflow";

/// People of the realm: name, groups, enabled.
type People<'a> = &'a [(&'a str, &'a [&'a str], bool)];

const PEOPLE: People<'static> = &[
    ("ann", &["/ML", "/Readers", "/Curbed"], true),
    ("bob", &["/Readers"], true),
    ("dan", &["/ML"], false),
    ("pat", &["/Admins"], true),
];

fn realm(home: &Home, people: People<'_>) {
    let groups = ["ML", "Readers", "Curbed", "Admins"]
        .map(|name| json!({"id": name, "name": name, "path": format!("/{name}"), "subGroups": []}));
    let users: Vec<Value> = people
        .iter()
        .map(|(name, groups, enabled)| {
            json!({"id": format!("id-{name}"), "username": name, "enabled": enabled,
                "groups": groups})
        })
        .collect();
    let realm = json!({"realm": "acme", "groups": groups,
        "roles": {"realm": [], "client": {}}, "users": users});
    std::fs::write(home.path("realm.new"), realm.to_string()).unwrap();
    std::fs::rename(home.path("realm.new"), home.path("realm.json")).unwrap();
}

struct Stage {
    home: Home,
    at: Listens,
}

impl Stage {
    /// A filled store. `gateway` goes into `[gateway]`, `more` behind it.
    fn new(gateway: &str, more: &str) -> Stage {
        let at = Listens { grpc: free_port(), http: free_port() };
        let home = Home::new(&format!(
            r#"
            [store]
            path = "store.db"
            [schedule]
            cron = "0 0 0 1 1 *"
            [guard]
            max_lost_floor = 1000
            [[source]]
            name = "acme"
            kind = "file"
            realm_export = "realm.json"
            [roles.osmo-default]
            everyone = true
            external_roles = []
            [[roles.osmo-default.policies]]
            actions = ["profile:*", "system:Health"]
            resources = ["*"]
            [roles.osmo-ml]
            external_roles = ["ML"]
            [[roles.osmo-ml.policies]]
            actions = ["workflow:*"]
            resources = ["pool/ml-*"]
            [[roles.osmo-ml.policies]]
            actions = ["auth:Token"]
            resources = ["user/${{self}}"]
            [roles.reader]
            external_roles = ["Readers"]
            [[roles.reader.policies]]
            actions = ["app:Read"]
            resources = ["*"]
            [roles.curbed]
            external_roles = ["Curbed"]
            [[roles.curbed.policies]]
            effect = "Deny"
            actions = ["*:Delete", "internal:Router"]
            resources = ["*"]
            [[mapping]]
            group = "/Admins"
            roles = ["osmo-admin"]
            [roles.osmo-admin]
            external_roles = []
            [[roles.osmo-admin.policies]]
            actions = ["*:*"]
            resources = ["*"]
            [roles.osmo-ctrl]
            external_roles = []
            [[roles.osmo-ctrl.policies]]
            actions = ["internal:Logger", "internal:Router"]
            resources = ["*"]
            [roles.osmo-backend]
            external_roles = []
            [[roles.osmo-backend.policies]]
            actions = ["internal:Operator"]
            resources = ["*"]
            [gateway]
            grpc = "127.0.0.1:{grpc}"
            http = "127.0.0.1:{http}"
            {gateway}
            {more}
            "#,
            grpc = at.grpc,
            http = at.http,
        ));
        realm(&home, PEOPLE);
        home.ok(&["sync"], 0);
        Stage { home, at }
    }

    fn serve(&self) -> Idpsyncd {
        // At trace, every library's lines too: no secret is in any.
        let mut server = self.home.start_at("serve", "trace", &[]);
        self.at.ready(&mut server);
        server
    }

    /// Makes a token; its secret.
    fn token(&self, user: &str, name: &str, more: &[&str]) -> String {
        let args = [&["token", "create", user, name, "--expires", "30d"], more].concat();
        self.home.ok(&args, 0).trim().to_owned()
    }

    fn sync(&self, people: People<'_>) {
        realm(&self.home, people);
        self.home.ok(&["sync"], 0);
    }

    fn get(&self, path: &str) -> Got {
        send(self.at.http, "GET", path.as_bytes(), &[])
    }

    /// What a metric with these labels counts.
    fn metric(&self, line: &str) -> u64 {
        let text = self.get("/metrics").body;
        let found = text.lines().find_map(|it| it.strip_prefix(line));
        found.unwrap_or_else(|| panic!("{line} in\n{text}")).trim().parse().unwrap()
    }
}

fn headers(told: &Told) -> [&str; 4] {
    assert_eq!(told.status, 200, "{told:?}");
    ["x-osmo-user", "x-osmo-roles", "x-osmo-token-name", "x-osmo-workflow-id"]
        .map(|name| told.headers.get(name).map_or("-", String::as_str))
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn a_token_decides_with_its_own_roles_and_no_jwt_is_needed() {
    let stage = Stage::new(
        "preset = \"osmo\"\nanonymous_role = \"osmo-default\"",
        "[gateway.tokens]\nenabled = true",
    );
    let some = stage.token("ann", "ci", &["--role", "osmo-ml"]);
    let all = stage.token("ann", "all_of-them", &[]);
    let server = stage.serve();
    let at = stage.at;

    // Its own roles, those of everyone, and no way around the owner's restrictions.
    assert_eq!(
        headers(&at.bear(&some, "POST", CREATE)),
        ["ann", "curbed,osmo-default,osmo-ml", "ci", ""]
    );
    assert_eq!(
        at.bear(&some, "GET", "/api/app/x").status,
        403,
        "a role of hers, not of the token's"
    );
    assert_eq!(
        headers(&at.bear(&all, "GET", "/api/app/x")),
        ["ann", "curbed,osmo-default,osmo-ml,reader", "all_of-them", ""]
    );
    let told = at.bear(&some, "DELETE", "/api/workflow/w");
    assert_eq!(told.status, 403);
    assert!(told.body.contains("role `curbed`, policy 1 says Deny"), "{told:?}");
    // The caller's own, by the owner's name and by nothing else.
    assert_eq!(at.bear(&some, "POST", "/api/auth/user/ann/access_token/x").status, 200);
    for other in ["bob", "anne", "an", "Ann", "ann%20", "$%7Bself%7D", "*", "%2A"] {
        let path = format!("/api/auth/user/{other}/access_token/x");
        assert_eq!(at.bear(&some, "POST", &path).status, 403, "{other}");
    }

    // As OSMO's clients may send it, and in any case of the scheme.
    for sent in [
        ("x-osmo-auth", some.clone()),
        ("x-osmo-auth", format!("Bearer {some}")),
        ("authorization", format!("bearer {some}")),
    ] {
        assert_eq!(headers(&at.ask("POST", CREATE, &[(sent.0, &sent.1)]))[2], "ci", "{}", sent.0);
    }

    // What is no token is 401, anonymous or not; nothing else is tried.
    let unknown = "A".repeat(43);
    let longer = format!("{some}x");
    for bad in [&unknown, &some[1..], &longer, &"0f".repeat(32), "a.b.c", "a.b"] {
        let told = at.bear(bad, "GET", "/health");
        assert_eq!(
            (told.status, told.body.as_str()),
            (401, r#"{"error":"unauthenticated"}"#),
            "{bad}"
        );
    }
    let basic = at.ask("GET", "/health", &[("authorization", &format!("Basic {some}"))]);
    assert_eq!(basic.status, 401);
    let both = [("x-osmo-auth", some.as_str()), ("authorization", &format!("Bearer {unknown}"))];
    assert_eq!(at.ask("GET", "/health", &both).status, 401, "the one that counts fails");

    // No client sends these headers itself, with a token or without.
    let forged =
        [("x-osmo-token-name", "root"), ("x-osmo-workflow-id", "w"), ("x-osmo-user", "pat")];
    assert_eq!(headers(&at.ask("GET", "/health", &forged)), ["", "osmo-default", "", ""]);
    let bearer = format!("Bearer {some}");
    let with = [&forged[..], &[("authorization", bearer.as_str())]].concat();
    assert_eq!(headers(&at.ask("GET", "/health", &with))[2], "ci");

    let by = |protocol: &str, result: &str| {
        let labels = format!("{{protocol=\"{protocol}\",result=\"{result}\"}}");
        stage.metric(&format!("idpsyncd_token_decisions_total{labels}"))
    };
    // The unknown one twice: alone, and where it is the one of two that counts.
    let mut expected = BTreeMap::from([("allow", 7), ("deny", 10), ("unauthenticated", 2)]);
    expected.insert("unavailable", 0);
    for (result, count) in expected {
        assert_eq!((by("http", result), by("grpc", result)), (count, count), "{result}");
    }
    let log = server.log();
    for secret in [&some, &all, &unknown] {
        assert!(!log.contains(secret.as_str()), "a secret is in the log:\n{log}");
    }
    assert!(log.contains("there is no such access token, or no more"), "{log}");
    server.stop();
}

/// `${self}` is the same to every command that decides.
#[test]
fn the_callers_own_is_told_alike_by_authorize_explain_and_who() {
    let stage = Stage::new("identity = \"header\"\npreset = \"osmo\"", "");
    let home = &stage.home;
    for (args, status) in [
        (&["authorize", "ann", "auth:Token", "user/ann"][..], 0),
        (&["authorize", "Ann", "auth:Token", "user/ann"], 0),
        (&["authorize", "ann", "auth:Token", "user/bob"], 5),
        (&["authorize", "ann", "auth:Token", "user/ann/x"], 5),
        (&["authorize", "bob", "auth:Token", "user/bob"], 5),
        (&["authorize", "ann", "auth:Token", "user/${self}"], 64),
        (&["authorize", "ann", "--request", "POST /api/auth/user/ann/access_token/x"], 0),
        (&["authorize", "ann", "--request", "POST /api/auth/user/pat/access_token/x"], 5),
        (&["authorize", "pat", "--request", "DELETE /api/auth/user/ann"], 0),
        (&["authorize", "ann", "--request", "DELETE /api/auth/user/ann"], 5),
    ] {
        home.ok(args, status);
    }
    for (resource, effect) in [("user/ann", "Allow"), ("user/bob", "Deny")] {
        let args = [
            "explain",
            "ann",
            "--action",
            "auth:Token",
            "--resource",
            resource,
            "--output",
            "json",
        ];
        let told: Value = serde_json::from_str(&home.ok(&args, 0)).unwrap();
        assert_eq!(told["decision"]["effect"], effect, "{resource}");
    }
    for (resource, expected) in [
        (
            "user/ann",
            json!([{"user": "ann", "role": "osmo-ml"}, {"user": "pat", "role": "osmo-admin"}]),
        ),
        ("user/bob", json!([{"user": "pat", "role": "osmo-admin"}])),
    ] {
        let told = home.ok(&["who", "auth:Token", resource, "--output", "json"], 0);
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), expected, "{resource}");
    }
    // Whoever could make an administrator's token is told of.
    let quiet = home.ok(&["check", "--offline"], 0);
    assert!(!quiet.contains("auth:Token"), "{quiet}");
    let text = std::fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    for (resource, told) in [("*", true), ("user/*", true), ("user/b*", true), ("pool/x", false)] {
        home.configure(&text.replace("user/${self}", resource));
        let said = home.ok(&["check", "--offline"], 0);
        let expected = format!(
            "roles.osmo-ml.policies[2] allows `auth:Token` on `{resource}`, and nothing of"
        );
        assert_eq!(said.contains(&expected), told, "{resource}: {said}");
    }
}

#[test]
fn a_token_follows_its_owner_and_ends_when_it_is_revoked_or_over() {
    let stage = Stage::new("preset = \"osmo\"", "[gateway.tokens]\nenabled = true");
    let ci = stage.token("ann", "ci", &[]);
    let other = stage.token("ann", "other", &["--role", "osmo-ml"]);
    let bobs = stage.token("bob", "ci", &[]);
    // The daemon serves as well.
    let mut server = stage.home.start("run");
    stage.at.ready(&mut server);
    let at = stage.at;
    // Over one of both while a generation may come in between.
    let told =
        |token: &str| at.http("POST", CREATE, &[("authorization", &format!("Bearer {token}"))]);
    let status = |token: &str| told(token).status;
    assert_eq!([status(&ci), status(&other), status(&bobs)], [200, 200, 403]);

    stage.home.ok(&["token", "revoke", "ann", "ci"], 0);
    server.until("it is revoked", || (status(&ci) == 401).then_some(()));
    assert_eq!(status(&other), 200, "that one alone");
    // Of the same name, and another.
    let ci = stage.token("ann", "ci", &[]);
    server.until("it is there", || (status(&ci) == 200).then_some(()));

    // A role that is lost leaves the token for good; her own comes back.
    let lost = [("ann", &["/Readers"][..], true), ("bob", &[], true), ("pat", &["/Admins"], true)];
    stage.sync(&lost);
    server.until("the role is gone", || (status(&ci) == 403).then_some(()));
    stage.sync(PEOPLE);
    let new = stage.token("ann", "new", &[]);
    server.until("the new one is there", || (status(&new) == 200).then_some(()));
    assert_eq!([status(&ci), status(&other)], [403, 403], "the role came again, not to them");

    // Disabled is not lost: what they had they have again.
    let disabled = [("ann", &["/ML", "/Readers", "/Curbed"][..], false), PEOPLE[1], PEOPLE[3]];
    stage.sync(&disabled);
    server.until("she is disabled", || {
        let told = told(&new);
        (told.status == 403 && told.body.contains("disabled or deprovisioned")).then_some(())
    });
    assert_eq!(at.bear(&new, "GET", "/api/profile/settings").status, 403);
    stage.sync(PEOPLE);
    server.until("she is back", || (status(&new) == 200).then_some(()));

    // Over by the clock alone: no generation comes for that.
    let brief = stage.home.ok(&["token", "create", "ann", "brief", "--expires", "4s"], 0);
    let brief = brief.trim();
    server.until("it counts, then is over", || {
        let (got, log) = (status(brief), server_log(&stage));
        (got == 401 && log.contains("access token `brief` of `ann` has expired")).then_some(())
    });
    server.stop();
}

fn server_log(stage: &Stage) -> String {
    std::fs::read_to_string(stage.home.path("run.log")).unwrap()
}

#[test]
fn beside_what_the_gateway_vouches_for_a_token_is_one_credential_too_many() {
    let gateway =
        "identity = \"header\"\n[[gateway.route]]\npath = \"/p\"\naction = \"profile:Read\"";
    let stage = Stage::new(gateway, "[gateway.tokens]\nenabled = true");
    let ci = stage.token("ann", "ci", &[]);
    let server = stage.serve();
    let bearer = format!("Bearer {ci}");
    let (token, bob) = (("authorization", bearer.as_str()), ("x-osmo-user", "bob"));
    let at = stage.at;
    // Without a preset the header is set or emptied all the same.
    let told = at.ask("GET", "/p", &[token]);
    assert_eq!(headers(&told), ["ann", "curbed,osmo-default,osmo-ml,reader", "ci", "-"]);
    let told = at.ask("GET", "/p", &[bob, ("x-osmo-token-name", "root")]);
    assert_eq!(headers(&told), ["bob", "osmo-default,reader", "", "-"]);
    assert_eq!(at.ask("GET", "/p", &[token, bob]).status, 401);
    // What is no token of ours is not looked at, as ever.
    for other in ["Basic eDp5", "Bearer a.b.c", "Negotiate x", ""] {
        assert_eq!(at.ask("GET", "/p", &[("authorization", other), bob]).status, 200, "{other}");
    }
    server.stop();
}

#[test]
fn a_bad_credential_is_nobodys_and_not_an_anonymous_request() {
    let secret = "a".repeat(43);
    let long = format!("Bearer {}", "a".repeat(44));
    let short = format!("Bearer {}", "a".repeat(42));
    let two = format!("Bearer {secret},Bearer {secret}");
    let bad = [
        long.as_str(),
        &short,
        &two,
        "Bearer a.b.c=",
        "Bearer a.b.c.d.e",
        "Bearer a.b.c",
        "Basic eDp5",
        "Negotiate x",
        "Bearer",
    ];
    for way in ["jwt", "metadata", "header"] {
        let stage = Stage::new(
            &format!("preset = \"osmo\"\nidentity = \"{way}\"\nanonymous_role = \"osmo-default\""),
            "[gateway.tokens]\nenabled = true",
        );
        let server = stage.serve();
        let status = |headers: &[(&str, &str)]| stage.at.ask("GET", "/health", headers).status;
        assert_eq!(status(&[]), 200, "{way}");
        for credential in bad {
            assert_eq!(status(&[("authorization", credential)]), 401, "{way}: {credential}");
        }
        assert_eq!(status(&[("x-osmo-auth", "a.b")]), 401, "{way}");
        server.stop();
    }
}

#[test]
fn no_name_speaks_for_a_service_account_or_the_default_admin() {
    let stage =
        Stage::new("preset = \"osmo\"\nidentity = \"header\"", "[gateway.tokens]\nenabled = true");
    let add = |name: &str, more: &[&str]| {
        stage.home.ok(&[&["user", "add", name, "--reason", "builds"], more].concat(), 0);
        stage.home.ok(&["grant", "add", name, "osmo-ml", "--reason", "builds"], 0);
    };
    add("svc-ci", &["--service"]);
    add("root", &[]);
    add("person", &[]);
    rusqlite::Connection::open(stage.home.path("store.db"))
        .unwrap()
        .execute(
            "UPDATE local_user SET admin = 1 WHERE ext = (SELECT l.ext FROM link l \
             JOIN user u ON u.id = l.user WHERE u.username = 'root')",
            [],
        )
        .unwrap();
    let secret = stage.token("svc-ci", "t", &[]);
    let mut server = stage.serve();
    let at = stage.at;
    let told = |name: &str| at.http("POST", CREATE, &[("x-osmo-user", name)]);
    for name in ["svc-ci", "SVC-CI", "root"] {
        let told = told(name);
        assert!(told.body.contains("only access tokens speak for this account"), "{told:?}");
        assert_eq!(told.status, 403);
    }
    assert_eq!(told("person").status, 200);
    assert_eq!(headers(&at.bear(&secret, "POST", CREATE))[0], "svc-ci");
    // One that comes while the gateway is at work, and the name of one that is gone.
    add("svc-new", &["--service"]);
    server
        .until("it has come", || told("svc-new").body.contains("only access tokens").then_some(()));
    stage.home.ok(&["user", "remove", "svc-ci", "--reason", "r"], 0);
    server.until("it is gone", || {
        (!told("svc-ci").body.contains("only access tokens")).then_some(())
    });
    assert_eq!(told("svc-ci").status, 403);
    server.stop();
}

/// With the files that are shipped the platform is told which token asks, and by no client.
#[test]
fn nginx_and_caddy_pass_on_which_token_asks() {
    let stage = Stage::new("preset = \"osmo\"", "[gateway.tokens]\nenabled = true");
    let ci = stage.token("ann", "ci", &["--role", "osmo-ml"]);
    let server = stage.serve();
    let platform = Platform::start();
    let ports = Ports { idpsyncd: stage.at.http, platform: platform.port };
    let Some((_nginx, first)) = nginx(ports) else { return };
    let Some((_caddy, second)) = caddy(ports, &[]) else { return };
    for port in [first, second] {
        let bearer = format!("Bearer {ci}");
        let sent = [("authorization", bearer.as_str()), ("x-osmo-token-name", "root")];
        let got = send(port, "POST", CREATE.as_bytes(), &sent);
        assert_eq!(got.status, 200, "{got:?}");
        let reached = got.json()["headers"].clone();
        assert_eq!(
            (&reached["x-osmo-user"], &reached["x-osmo-token-name"]),
            (&json!("ann"), &json!("ci"))
        );
        let unknown = format!("Bearer {}", "A".repeat(43));
        let got = send(port, "POST", CREATE.as_bytes(), &[("authorization", &unknown)]);
        assert_eq!(got.status, 401, "{got:?}");
    }
    server.stop();
}

// ---- the exchange ------------------------------------------------------------------------------

/// A key as `signing_key` wants it.
fn pem(key: &RsaKeyPair) -> String {
    let der = key.as_der().unwrap();
    let der: &[u8] = der.as_ref();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

fn exchanging(more: &str) -> (Stage, RsaKeyPair) {
    let tokens = format!(
        "[gateway.tokens]\nenabled = true\nexchange = true\nsigning_key = {{ file = \"key.pem\" }}\n{more}"
    );
    let stage = Stage::new("preset = \"osmo\"", &tokens);
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    std::fs::write(stage.home.path("key.pem"), pem(&key)).unwrap();
    (stage, key)
}

fn part(jwt: &str, place: usize) -> Value {
    let text = jwt.split('.').nth(place).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// The same with another signature: one letter of it differs.
fn forged(jwt: &str) -> String {
    let at = jwt.len() - 30;
    let letter = if jwt.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{letter}{}", &jwt[..at], &jwt[at + 1..])
}

/// Sends a request with a body.
fn post(port: u16, path: &str, body: &str) -> (u16, Value) {
    let url = format!("http://127.0.0.1:{port}{path}");
    let body = body.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let answer = reqwest::Client::new()
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    })
}

const EXCHANGE: &str = "/api/auth/jwt/access_token";

/// What `osmo login --method token` keeps, and does with it (`src/lib/utils/login.py`).
struct Login {
    refresh_token: String,
    id_token: String,
    exchanges: u32,
}

impl Login {
    fn new(port: u16, token: &str) -> Login {
        let mut login =
            Login { refresh_token: token.to_owned(), id_token: String::new(), exchanges: 0 };
        login.exchange(port);
        login
    }

    fn exchange(&mut self, port: u16) {
        let body = json!({ "token": self.refresh_token }).to_string();
        let (status, answer) = post(port, EXCHANGE, &body);
        assert!(status < 300, "unable to refresh login token: {answer}");
        self.id_token = answer["token"].as_str().unwrap().to_owned();
        assert_eq!(answer["expires_at"], part(&self.id_token, 1)["exp"]);
        self.exchanges += 1;
    }

    /// The token for a request at `now` by the client's clock.
    fn bearer(&mut self, port: u16, now: i64) -> &str {
        if part(&self.id_token, 1)["exp"].as_i64().unwrap() - 3 < now {
            self.exchange(port);
        }
        &self.id_token
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn a_token_is_exchanged_for_a_jwt_as_osmo_makes_them() {
    let (stage, key) = exchanging("");
    let ci = stage.token("ann", "ci", &["--role", "osmo-ml"]);
    let short = stage.home.ok(&["token", "create", "ann", "short", "--expires", "90s"], 0);
    // As OSMO made them once, in hex, and the store may have from there.
    let old = "0f".repeat(32);
    stage.token("bob", "old", &[]);
    rusqlite::Connection::open(stage.home.path("store.db"))
        .unwrap()
        .execute(
            "UPDATE token SET digest = ?1 WHERE name = 'old'",
            [idpsyncd::model::token::digest(&old).to_vec()],
        )
        .unwrap();
    let mut server = stage.serve();
    let (at, port) = (stage.at, stage.at.http);

    let keys = stage.get("/api/auth/keys");
    assert_eq!((keys.status, keys.headers["content-type"].as_str()), (200, "application/json"));
    let jwk = keys.json()["keys"][0].clone();
    let public = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (n, e) = (
        public(key.public_key().modulus().big_endian_without_leading_zero()),
        public(key.public_key().exponent().big_endian_without_leading_zero()),
    );
    // RFC 7638.
    let canonical = format!("{{\"e\":\"{e}\",\"kty\":\"RSA\",\"n\":\"{n}\"}}");
    let kid = public(
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes()).as_ref(),
    );
    let expected = json!({"kty": "RSA", "n": n, "e": e, "kid": kid, "use": "sig", "alg": "RS256"});
    assert_eq!((keys.json()["keys"].as_array().unwrap().len(), &jwk), (1, &expected));

    let before = now();
    let mut login = Login::new(port, &ci);
    let jwt = login.id_token.clone();
    assert_eq!(part(&jwt, 0), json!({"alg": "RS256", "kid": kid, "typ": "JWT"}));
    let mut claims = part(&jwt, 1);
    let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert!(jti.as_str().unwrap().starts_with("idpsyncd:"), "{jti}");
    let iat = claims["iat"].as_i64().unwrap();
    assert!((before..=now()).contains(&iat), "{claims}");
    assert_eq!(
        claims,
        json!({"iss": "osmo", "aud": "osmo", "iat": iat, "nbf": iat, "exp": iat + 300,
            "unique_name": "ann", "roles": ["curbed", "osmo-default", "osmo-ml"],
            "osmo_token_name": "ci"})
    );
    // It is a JWT for this gateway too, with no more than what it names and she holds.
    let names = ["ann", "curbed,osmo-default,osmo-ml", "ci", ""];
    assert_eq!(headers(&at.bear(&jwt, "POST", CREATE)), names);
    assert_eq!(at.bear(&jwt, "GET", "/api/app/x").status, 403);
    assert_eq!(at.bear(&jwt, "DELETE", "/api/workflow/w").status, 403);
    // The client goes on with it, and exchanges again when it is over.
    let soon = iat + 296;
    assert_eq!(at.bear(login.bearer(port, soon), "POST", CREATE).status, 200);
    assert_eq!((login.id_token == jwt, login.exchanges), (true, 1));
    assert_eq!(at.bear(login.bearer(port, iat + 298), "POST", CREATE).status, 200);
    assert_eq!(login.exchanges, 2);
    // Not a bit of it may differ.
    assert_eq!(at.bear(&forged(&jwt), "POST", CREATE).status, 401);

    // It does not outlive its token.
    let until = rusqlite::Connection::open(stage.home.path("store.db"))
        .unwrap()
        .query_row("SELECT expires_at FROM token WHERE name = 'short'", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap();
    let jwt = Login::new(port, short.trim()).id_token;
    assert_eq!(part(&jwt, 1)["exp"], until);
    assert!(until < now() + 300);
    // 64 characters, and the deprecated way.
    assert_eq!(part(&Login::new(port, &old).id_token, 1)["unique_name"], "bob");
    let got = stage.get(&format!("{EXCHANGE}?access_token={ci}"));
    assert_eq!((got.status, got.headers["cache-control"].as_str()), (200, "no-store"));
    assert_eq!(part(got.json()["token"].as_str().unwrap(), 1)["osmo_token_name"], "ci");

    let unknown = "A".repeat(43);
    let refusals = [
        (json!({"token": unknown}).to_string(), "Access Token is invalid"),
        (json!({"token": &ci[1..]}).to_string(), "Access token has invalid length 42"),
        (json!({"token": ""}).to_string(), "Access token has invalid length 0"),
        (json!({"token": 5}).to_string(), "there is no token"),
        (format!("{{\"token\": \"{unknown}\", \"token\": \"{ci}\"}}"), "there is no token"),
        ("{}".to_owned(), "there is no token"),
        (ci.clone(), "there is no token"),
        (String::new(), "there is no token"),
        (json!({"token": "x".repeat(10_000)}).to_string(), "there is no token"),
    ];
    for (body, message) in &refusals {
        let (status, answer) = post(port, EXCHANGE, body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["message"].as_str().unwrap().starts_with(message), "{body}: {answer}");
        assert_eq!(answer["error_code"], "USER");
        assert_eq!(answer.as_object().unwrap().get("workflow_id"), Some(&Value::Null));
        assert!(!answer.to_string().contains(&ci), "{answer}");
    }
    for query in
        ["", "?access_token=", "?token=x", &format!("?access_token={ci}&access_token={ci}")]
    {
        assert_eq!(stage.get(&format!("{EXCHANGE}{query}")).status, 400, "{query}");
    }
    assert_eq!(send(port, "PUT", EXCHANGE.as_bytes(), &[]).status, 405);
    assert_eq!(send(port, "POST", b"/api/auth/keys", &[]).status, 405);

    assert_eq!(stage.metric("idpsyncd_token_exchanges_total{result=\"made\"}"), 5);

    // What she loses, a JWT does not keep; nor does anything make one of a revoked token, or for
    // somebody who is disabled.
    stage.sync(&[("ann", &["/Readers"], true), ("bob", &["/Readers"], false), PEOPLE[3]]);
    let jwt = login.id_token.clone();
    let bearer = format!("Bearer {jwt}");
    server.until("the role is gone", || {
        let told = at.http("POST", CREATE, &[("authorization", &bearer)]);
        (told.status == 403).then_some(())
    });
    assert_eq!(headers(&at.bear(&jwt, "GET", "/health"))[1], "osmo-default");
    assert_eq!(post(port, EXCHANGE, &json!({"token": old}).to_string()).0, 400, "he is disabled");
    stage.home.ok(&["token", "revoke", "ann", "ci"], 0);
    server.until("it is revoked", || {
        (post(port, EXCHANGE, &json!({ "token": ci }).to_string()).0 == 400).then_some(())
    });
    assert_eq!(at.bear(&jwt, "GET", "/health").status, 401, "nor does it outlive its token");
    let log = server.log();
    for secret in [ci.as_str(), short.trim(), &old, &unknown, &jwt] {
        assert!(!log.contains(secret), "a secret is in the log:\n{log}");
    }
    server.stop();
}

/// What an exchange would sign.
fn signed(key: &RsaKeyPair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    let rng = SystemRandom::new();
    key.sign(&RSA_PKCS1_SHA256, &rng, message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What Envoy's `jwt_authn` has verified.
fn verified(claims: &Value) -> Option<Metadata> {
    let fields = BTreeMap::from([("osmo".to_owned(), protobuf(claims))]);
    let payloads = Struct { fields: fields.into_iter().collect() };
    Some(Metadata {
        filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), payloads)].into(),
        ..Metadata::default()
    })
}

const BACKEND: &str = "backend-operator-eve";

/// Whatever name is in it, and whoever has that name now.
#[test]
fn what_is_exchanged_stands_for_its_token_and_not_for_a_name() {
    for way in ["jwt", "metadata", "header"] {
        let (stage, key) = exchanging("");
        let file = std::fs::read_to_string(stage.home.path("idpsyncd.toml")).unwrap();
        let preset = format!("preset = \"osmo\"\nidentity = \"{way}\"");
        stage.home.configure(&file.replace("preset = \"osmo\"", &preset));
        let people = [PEOPLE[0], PEOPLE[1], (BACKEND, &["/ML"][..], true)];
        stage.sync(&people);
        let ci = stage.token("ann", "ci", &["--role", "osmo-ml"]);
        let eves = stage.token(BACKEND, "eves", &[]);
        let mut server = stage.serve();
        let at = stage.at;
        let ask = |jwt: &str, more: &[(&str, &str)], method: &str, path: &str| {
            let bearer = format!("Bearer {jwt}");
            let sent = [&[("authorization", bearer.as_str())], more].concat();
            match way {
                "metadata" => at.grpc(method, path, &sent, verified(&part(jwt, 1))),
                // Over one of both while a generation may come in between.
                _ => at.http(method, path, &sent),
            }
        };
        let jwt = Login::new(at.http, &ci).id_token;
        let names = ["ann", "curbed,osmo-default,osmo-ml", "ci", ""];
        assert_eq!(headers(&ask(&jwt, &[], "POST", CREATE)), names, "{way}");
        if way == "header" {
            let bob = [("x-osmo-user", "bob")];
            assert_eq!(ask(&jwt, &bob, "GET", "/health").status, 401, "two people's");
        }

        // What the key has signed and no exchange has made, and what is over.
        let (header, claims) = (part(&jwt, 0), part(&jwt, 1));
        let with = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            signed(&key, &header, &claims)
        };
        assert_eq!(ask(&with("iat", json!(1)), &[], "POST", CREATE).status, 200, "{way}");
        for (name, value) in [
            ("jti", Value::Null),
            ("jti", json!("")),
            ("jti", json!("idpsyncd:")),
            ("jti", json!(format!("idpsyncd:{}", "A".repeat(80)))),
            ("exp", json!(now() - 1)),
        ] {
            let forged = with(name, value.clone());
            assert_eq!(ask(&forged, &[], "POST", CREATE).status, 401, "{way}: {name} {value}");
        }

        // A name that sounds like one of OSMO's services, whose roles nobody else bounds.
        let eve = Login::new(at.http, &eves).id_token;
        let names = [BACKEND, "osmo-default,osmo-ml", "eves", ""];
        assert_eq!(headers(&ask(&eve, &[], "POST", CREATE)), names, "{way}");
        stage.sync(&[PEOPLE[0], PEOPLE[1], (BACKEND, &[][..], true)]);
        server.until("the role is gone", || {
            (ask(&eve, &[], "POST", CREATE).status == 403).then_some(())
        });

        // Ann is called otherwise, and another has her name.
        realm(&stage.home, &[PEOPLE[0], PEOPLE[1]]);
        let text = std::fs::read_to_string(stage.home.path("realm.json")).unwrap();
        let text = text.replace("\"username\":\"ann\"", "\"username\":\"anna\"");
        let text = text.replace("\"username\":\"bob\"", "\"username\":\"ann\"");
        std::fs::write(stage.home.path("realm.json"), text).unwrap();
        stage.home.ok(&["sync"], 0);
        server.until("she is called otherwise", || {
            (headers(&ask(&jwt, &[], "GET", "/health"))[0] == "anna").then_some(())
        });
        assert_eq!(ask(&jwt, &[], "POST", CREATE).status, 200, "{way}");
        stage.home.ok(&["token", "revoke", "anna", "ci"], 0);
        server.until("it is revoked", || {
            (ask(&jwt, &[], "GET", "/health").status == 401).then_some(())
        });
        server.stop();
    }
}

/// A reload waits for a store that can be read; here the second comes before the first has ended.
#[test]
fn a_reload_within_a_reload_leaves_one_key_to_sign_with_and_to_verify_by() {
    let (stage, key) = exchanging("");
    let ci = stage.token("ann", "ci", &["--role", "osmo-ml"]);
    let store = stage.home.path("store.db");
    let away = stage.home.path("away.db");
    std::fs::rename(&store, &away).unwrap();
    let mut server = stage.home.start("serve");
    server.until_logged("`gateway.http` listens");
    let other = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    for (times, key) in [(1, &other), (2, &key)] {
        std::fs::write(stage.home.path("key.pem"), pem(key)).unwrap();
        server.signal("HUP");
        let loaded = stage.home.path("serve.log");
        server.until("it is loaded", || {
            let log = std::fs::read_to_string(&loaded).unwrap();
            (log.matches("the configuration is in force").count() == times).then_some(())
        });
    }
    std::fs::rename(&away, &store).unwrap();
    stage.at.ready(&mut server);
    let jwt = Login::new(stage.at.http, &ci).id_token;
    assert_eq!(stage.at.bear(&jwt, "POST", CREATE).status, 200);
    server.stop();
}

#[test]
fn without_exchange_its_paths_are_nothing_and_a_bad_key_starts_nothing() {
    let stage = Stage::new(
        "",
        "[gateway.tokens]\nenabled = true\n[[gateway.route]]\npath = \"/p\"\naction = \"profile:Read\"",
    );
    let server = stage.serve();
    assert_eq!(stage.get("/api/auth/keys").status, 404);
    assert_eq!(stage.get(EXCHANGE).status, 404);
    server.stop();

    let (stage, _) = exchanging("");
    let small = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n";
    for (key, why) in [
        ("", "it is empty"),
        ("c2VjcmV0c2VjcmV0", "holds no private key in PEM"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n",
            "holds no private key in PEM",
        ),
        (small, "no RSA key that can be used"),
    ] {
        std::fs::write(stage.home.path("key.pem"), key).unwrap();
        for command in [&["serve"][..], &["check"], &["check", "--offline"]] {
            let output = stage.home.run(command);
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert_eq!(output.status.code(), Some(1), "{command:?} {key}: {said}");
            assert!(said.contains(why) && said.contains("gateway.tokens.signing_key"), "{said}");
            assert!(!said.contains("c2VjcmV0"), "{said}");
        }
    }
}

/// Envoy's `jwt_authn` verifies what is exchanged, by the keys that it reads here; the exchange and
/// the keys go past whoever asks who somebody is.
#[test]
fn envoy_verifies_what_is_exchanged_and_idpsyncd_decides() {
    let platform = Platform::start();
    let (stage, _) = exchanging("");
    let file = std::fs::read_to_string(stage.home.path("idpsyncd.toml")).unwrap();
    stage.home.configure(
        &file.replace("preset = \"osmo\"", "preset = \"osmo\"\nidentity = \"metadata\""),
    );
    let ci = stage.token("ann", "ci", &["--role", "osmo-ml"]);
    let mut server = stage.serve();
    let more = [
        ("port_value: 9180", format!("port_value: {}", stage.at.http)),
        ("127.0.0.1:9180", format!("127.0.0.1:{}", stage.at.http)),
        // However busy the machine is, nobody is refused for that.
        ("timeout: 1s", "timeout: 300s".to_owned()),
        ("timeout: 5s", "timeout: 300s".to_owned()),
    ];
    let ports = Ports { idpsyncd: stage.at.grpc, platform: platform.port };
    let Some((_envoy, port)) = envoy("config/envoy-tokens.yaml", ports, &more) else { return };
    let ask = |token: &str, method: &str, path: &str| {
        let bearer = format!("Bearer {token}");
        send(
            port,
            method,
            path.as_bytes(),
            &[("authorization", &bearer), ("x-osmo-token-name", "root")],
        )
    };
    // The client speaks to Envoy alone.
    let mut login = Login::new(port, &ci);
    server.until("Envoy has the keys", || {
        (ask(&login.id_token, "POST", CREATE).status == 200).then_some(())
    });
    platform.take();
    let got = ask(login.bearer(port, now()), "POST", CREATE);
    let reached = got.json()["headers"].clone();
    assert_eq!(
        [&reached["x-osmo-user"], &reached["x-osmo-roles"], &reached["x-osmo-token-name"]],
        ["ann", "curbed,osmo-default,osmo-ml", "ci"]
    );
    // Envoy takes the token itself for no JWT, and lets idpsyncd judge it.
    assert_eq!(ask(&ci, "POST", CREATE).json()["headers"]["x-osmo-token-name"], "ci");
    assert_eq!(platform.take().len(), 2);
    let jwt = login.id_token.clone();
    for bad in [forged(&jwt).as_str(), &"A".repeat(43), "a.b.c"] {
        assert_eq!(ask(bad, "POST", CREATE).status, 401, "{bad}");
    }
    assert_eq!(ask(&jwt, "GET", "/api/app/x").status, 403);
    assert_eq!(send(port, "POST", CREATE.as_bytes(), &[]).status, 401);
    assert_eq!(platform.take().len(), 0);
    server.stop();
}

// ---- OSMO's own JWTs ---------------------------------------------------------------------------

/// OSMO's service, as far as it signs.
struct Osmo {
    key: RsaKeyPair,
    jwks: Value,
}

impl Osmo {
    fn new() -> Osmo {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwks = json!({"keys": [{
            "kty": "RSA", "kid": "its-own",
            "n": public(key.public_key().modulus().big_endian_without_leading_zero()),
            "e": public(key.public_key().exponent().big_endian_without_leading_zero()),
        }]});
        Osmo { key, jwks }
    }

    /// A token as OSMO makes them: no `kid`, no `typ`, no `sub`.
    fn sign(&self, claims: &Value) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(json!({"alg": "RS256"})), part(claims.clone()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let rng = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &rng, message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn osmos(user: &str, roles: &[&str], more: Value) -> Value {
    let now = now();
    let mut claims = json!({"iss": "osmo", "aud": "osmo", "iat": now, "nbf": now,
        "exp": now + 300, "unique_name": user, "roles": roles});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// What the upstream is told, or the status.
type Expected = Result<[&'static str; 4], u16>;

/// Name, claims, what comes of a request, and the status of some.
type Case = (&'static str, Value, Expected, Vec<(&'static str, u16)>);

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let (logger, operator) = ("POST /api/logger/workflow/w/osmo_ctrl/x", "GET /api/agent/worker/b");
    let router = "GET /api/router/exec/w/backend/x";
    let pod = json!({"osmo_workflow_id": "wf-1"});
    let ctrl = ["osmo-user", "osmo-ctrl", "osmo-admin", "osmo-ml", "nobody-knows"];
    vec![
        (
            "a pod has those of its named roles that the issuer may name",
            osmos("bob", &ctrl, pod.clone()),
            Ok(["bob", "osmo-ctrl,osmo-user", "", "wf-1"]),
            vec![
                (logger, 200),
                (router, 200),
                ("POST /api/pool/ml-a/workflow", 403),
                (operator, 403),
            ],
        ),
        (
            "a submitter's restrictions are the pod's",
            osmos("Ann", &ctrl, pod.clone()),
            Ok(["ann", "curbed,osmo-ctrl,osmo-user", "", "wf-1"]),
            vec![(logger, 200), (router, 403)],
        ),
        (
            "a submitter whom the store does not know",
            osmos("testuser", &["osmo-ctrl", "osmo-admin"], pod.clone()),
            Ok(["testuser", "osmo-ctrl", "", "wf-1"]),
            vec![(logger, 200), ("DELETE /api/auth/user/ann", 403)],
        ),
        (
            "a submitter who is disabled",
            osmos("dan", &["osmo-ctrl"], pod),
            Err(403),
            vec![(logger, 403)],
        ),
        (
            "a backend is in no store",
            osmos(
                "backend-operator-b1",
                &["osmo-backend", "osmo-admin"],
                json!({"osmo_token_name": "backend-bootstrap-b1"}),
            ),
            Ok(["backend-operator-b1", "osmo-backend", "backend-bootstrap-b1", ""]),
            vec![(operator, 200), (logger, 403), ("GET /api/configs/pool", 403)],
        ),
        (
            "anybody else has those of the named roles that they hold",
            osmos(
                "ann",
                &["osmo-ml", "osmo-admin", "osmo-ctrl"],
                json!({"osmo_token_name": "t-1"}),
            ),
            Ok(["ann", "curbed,osmo-default,osmo-ml", "t-1", ""]),
            vec![
                ("POST /api/pool/ml-a/workflow", 200),
                (logger, 403),
                ("GET /api/app/x", 403),
                ("DELETE /api/workflow/w", 403),
                ("DELETE /api/auth/user/bob", 403),
            ],
        ),
        (
            "an administrator's token without the role is none's",
            osmos("pat", &["osmo-ml"], json!({"osmo_token_name": "t"})),
            Ok(["pat", "osmo-default", "t", ""]),
            vec![("DELETE /api/auth/user/bob", 403), ("POST /api/pool/ml-a/workflow", 403)],
        ),
        (
            "who names no roles has those of everyone",
            osmos("pat", &[], json!({})),
            Ok(["pat", "osmo-default", "", ""]),
            vec![("GET /api/app/x", 403)],
        ),
        ("nobody", osmos("eve", &["osmo-ml"], json!({})), Err(403), vec![]),
        (
            "almost a backend",
            osmos("backend-operator", &["osmo-backend"], json!({})),
            Err(403),
            vec![],
        ),
        ("for another", osmos("ann", &["osmo-ml"], json!({"aud": "other"})), Err(401), vec![]),
        ("over", osmos("ann", &["osmo-ml"], json!({"exp": now() - 60})), Err(401), vec![]),
        ("no list", osmos("ann", &[], json!({"roles": {"a": 1}})), Err(401), vec![]),
        (
            "what is empty is not there",
            osmos("bob", &["osmo-ctrl"], json!({"osmo_workflow_id": "", "osmo_token_name": null})),
            Ok(["bob", "osmo-default", "", ""]),
            vec![(logger, 403)],
        ),
        ("two in one", osmos("ann", &[], json!({"osmo_workflow_id": "a,b"})), Err(401), vec![]),
        (
            "a line more",
            osmos("ann", &[], json!({"osmo_token_name": "a\r\nx: y"})),
            Err(401),
            vec![],
        ),
        ("no name", osmos("", &["osmo-ml"], json!({})), Err(401), vec![]),
    ]
}

fn jwt_config(url: &str) -> String {
    format!(
        "[[gateway.jwt]]\nissuer = \"osmo\"\njwks_url = \"{url}\"\nidentify_by = \"username\"\n\
         audiences = [\"osmo\"]\nusername_claim = \"unique_name\"\n\
         service_roles = [\"osmo-ctrl\", \"osmo-backend\", \"osmo-user\"]\n\
         [roles.osmo-user]\n[[roles.osmo-user.policies]]\nactions = [\"app:List\"]\n"
    )
}

/// The first request that is allowed, if any is.
fn foremost(requests: &[(&'static str, u16)]) -> (&'static str, &'static str) {
    let allowed = requests.iter().find(|(_, status)| *status == 200);
    allowed.map_or(("GET", "/health"), |(request, _)| request.split_once(' ').unwrap())
}

fn judge(name: &str, result: Result<[&str; 4], u16>, told: &Told) {
    match result {
        Ok(expected) => assert_eq!(headers(told), expected, "{name}"),
        Err(status) => assert_eq!(told.status, status, "{name}: {told:?}"),
    }
}

#[test]
fn osmos_own_tokens_name_no_role_that_is_not_theirs_to_name() {
    let osmo = Osmo::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = runtime.block_on(async {
        let service = wiremock::MockServer::start().await;
        wiremock::Mock::given(wiremock::matchers::path("/api/auth/keys"))
            .respond_with(wiremock::ResponseTemplate::new(200).set_body_json(&osmo.jwks))
            .mount(&service)
            .await;
        service
    });
    let config = jwt_config(&format!("{}/api/auth/keys", service.uri()));
    let stage = Stage::new("preset = \"osmo\"\nidentity = \"jwt\"", &config);
    let mut server = stage.serve();
    let at = stage.at;
    let first = osmo.sign(&osmos("ann", &[], json!({})));
    server.until("the keys are there", || {
        (at.bear(&first, "GET", "/health").status == 200).then_some(())
    });
    for (name, claims, result, requests) in cases() {
        let token = osmo.sign(&claims);
        let (method, path) = foremost(&requests);
        judge(name, result, &at.bear(&token, method, path));
        for (request, status) in requests {
            let (method, path) = request.split_once(' ').unwrap();
            assert_eq!(at.bear(&token, method, path).status, status, "{name}: {request}");
        }
    }
    // Another's signature.
    let forged = Osmo::new().sign(&osmos("ann", &["osmo-ml"], json!({})));
    assert_eq!(at.bear(&forged, "GET", "/health").status, 401);
    // An access token is no credential where they are not enabled.
    let ci = stage.token("ann", "ci", &[]);
    assert_eq!(at.bear(&ci, "GET", "/health").status, 401);
    server.stop();
}

#[test]
fn what_envoy_has_verified_of_osmos_tokens_is_judged_alike() {
    // Where the keys are is Envoy's business. That tokens are exchanged here as well changes nothing.
    let config = jwt_config("").replace("jwks_url = \"\"\n", "");
    let (stage, _) = exchanging(&config);
    let file = std::fs::read_to_string(stage.home.path("idpsyncd.toml")).unwrap();
    stage.home.configure(
        &file.replace("preset = \"osmo\"", "preset = \"osmo\"\nidentity = \"metadata\""),
    );
    let server = stage.serve();
    for (name, claims, result, requests) in cases() {
        let ask = |method: &str, path: &str| stage.at.grpc(method, path, &[], verified(&claims));
        let (method, path) = foremost(&requests);
        judge(name, result, &ask(method, path));
        for (request, status) in requests {
            let (method, path) = request.split_once(' ').unwrap();
            assert_eq!(ask(method, path).status, status, "{name}: {request}");
        }
    }
    server.stop();
}

/// JSON as Envoy's metadata has it.
fn protobuf(value: &Value) -> Protobuf {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap()),
        Value::String(value) => Kind::StringValue(value.clone()),
        Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(protobuf).collect() })
        }
        Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields.iter().map(|(name, value)| (name.clone(), protobuf(value))).collect(),
        }),
    };
    Protobuf { kind: Some(kind) }
}
