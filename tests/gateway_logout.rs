//! Log-outs as an identity provider sends them (OpenID Connect Back-Channel Logout 1.0): the real binary,
//! `run` and `serve` over one store.
#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use chrono::Utc;
use idpsyncd::model::StoreConfig;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use support::asking::Listens;
use support::gateways::{Got, send};
use support::idpsyncd::{Home, Idpsyncd};
use support::postgres::Postgres;
use support::server::free_port;

const ISSUER: &str = "https://auth.example.com/realms/acme";
const LOGOUT: &str = "/backchannel-logout";
const ENDED: &str = "Bearer error=\"invalid_token\", error_description=\"the session has ended\"";

static KEY: LazyLock<EncodingKey> = LazyLock::new(|| {
    let rng = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    EncodingKey::from_ec_der(der.as_ref())
});

fn sign(typ: &str, claims: &Value) -> String {
    let header = Header {
        typ: Some(typ.to_owned()),
        kid: Some("k".to_owned()),
        ..Header::new(Algorithm::ES256)
    };
    jsonwebtoken::encode(&header, claims, &KEY).unwrap()
}

/// A token of Ann's that was issued so many seconds ago.
fn token(sid: &str, ago: i64) -> String {
    let iat = Utc::now().timestamp() - ago;
    sign(
        "JWT",
        &json!({"iss": ISSUER, "sub": "id-ann", "sid": sid, "aud": "app", "iat": iat,
            "exp": iat + 600, "typ": "Bearer", "preferred_username": "ann"}),
    )
}

fn logout_token(jti: &str, more: &Value) -> String {
    let now = Utc::now().timestamp();
    let mut claims = json!({"iss": ISSUER, "aud": "app", "iat": now, "exp": now + 120, "jti": jti,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}}});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    sign("logout+jwt", &claims)
}

fn config(run: Listens, logout: &str) -> String {
    config_on("path = \"store.db\"", run, logout)
}

fn config_on(store: &str, run: Listens, logout: &str) -> String {
    format!(
        r#"
        [store]
        {store}
        [schedule]
        cron = "0 0 0 1 1 *"
        [[source]]
        name = "acme"
        kind = "file"
        realm_export = "realm.json"
        [roles.reader]
        everyone = true
        external_roles = []
        [[roles.reader.policies]]
        actions = ["page:Read"]
        [gateway]
        grpc = "127.0.0.1:{}"
        http = "127.0.0.1:{}"
        identity = "jwt"
        [[gateway.jwt]]
        issuer = "{ISSUER}"
        source = "acme"
        audiences = ["app"]
        jwks_url = "http://127.0.0.1:1/keys"
        [[gateway.route]]
        path = "/page"
        action = "page:Read"
        {logout}
        "#,
        run.grpc, run.http
    )
}

fn listens() -> Listens {
    Listens { grpc: free_port(), http: free_port() }
}

/// A folder with the realm in which Ann is.
fn folder(config: &str) -> Home {
    let home = Home::new(config);
    let realm = json!({"realm": "acme", "groups": [], "roles": {"realm": [], "client": {}},
        "users": [{"id": "id-ann", "username": "ann", "enabled": true, "groups": []}]});
    std::fs::write(home.path("realm.json"), realm.to_string()).unwrap();
    home
}

/// The issuer's keys as a store keeps them.
fn keys() -> String {
    let mut key =
        serde_json::to_value(Jwk::from_encoding_key(&KEY, Algorithm::ES256).unwrap()).unwrap();
    key["kid"] = json!("k");
    json!({"keys": [key]}).to_string()
}

/// A filled store, in which the issuer's keys are.
fn home(at: Listens, logout: &str) -> Home {
    let home = folder(&config(at, logout));
    home.ok(&["sync"], 0);
    let store = idpsyncd::store::open(&StoreConfig::sqlite(home.path("store.db")));
    store.keep_keys(ISSUER, &keys(), Utc::now()).unwrap();
    home
}

/// What `serve` answers beside it, on its own ports.
fn serve_beside(home: &Home, logout: &str) -> (Idpsyncd, Listens) {
    let at = listens();
    std::fs::write(home.path("run.toml"), std::fs::read(home.path("idpsyncd.toml")).unwrap())
        .unwrap();
    home.configure(&config(at, logout));
    let mut serve = home.start("serve");
    at.ready(&mut serve);
    home.configure(&std::fs::read_to_string(home.path("run.toml")).unwrap());
    (serve, at)
}

fn page(at: Listens, token: &str) -> Got {
    send(at.http, "GET", b"/authz/page", &[("authorization", &format!("Bearer {token}"))])
}

/// Posts a form; the status, and what the answer says.
fn post(at: Listens, form: &[(&str, &str)]) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}{LOGOUT}", at.http);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let answer = reqwest::Client::new().post(url).form(form).send().await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

fn log_out(at: Listens, token: &str) -> u16 {
    post(at, &[("logout_token", token)]).0
}

fn assert_ended(got: &Got) {
    assert_eq!(got.status, 401, "{got:?}");
    assert_eq!(got.headers["www-authenticate"], ENDED);
    assert_eq!(
        serde_json::from_str::<Value>(&got.body).unwrap(),
        json!({"error": "unauthenticated", "why": "the session has ended"})
    );
}

#[test]
fn a_session_that_has_ended_is_over_at_every_gateway_and_after_a_restart() {
    let at = listens();
    let logout = "[gateway.logout]";
    let home = home(at, logout);
    let mut run = home.start("run");
    at.ready(&mut run);
    let (mut serve, beside) = serve_beside(&home, logout);
    let (mine, other) = (token("s1", 5), token("s2", 5));
    for at in [at, beside] {
        assert_eq!(page(at, &mine).status, 200);
        assert_eq!(page(at, &other).status, 200);
    }
    // A session that is named ends alone, whatever else of the person there is.
    let out = logout_token("j1", &json!({"sid": "s1", "sub": "id-ann"}));
    assert_eq!(log_out(at, &out), 200);
    assert_ended(&page(at, &mine));
    // A refresh while the log-out is not done yet at the server.
    assert_ended(&page(at, &token("s1", 0)));
    serve.until("the other gateway knows", || (page(beside, &mine).status == 401).then_some(()));
    assert_ended(&page(beside, &mine));
    let told = beside.bear(&mine, "GET", "/page");
    assert_eq!(told.status, 401, "over gRPC as well");
    for at in [at, beside] {
        assert_eq!(page(at, &other).status, 200);
    }
    assert_eq!(log_out(at, &out), 400, "it came before");

    run.stop();
    let mut run = home.start("run");
    at.ready(&mut run);
    assert_ended(&page(at, &mine));
    assert_eq!(page(at, &other).status, 200);

    // Without a session everything of the person ends that was issued by then.
    assert_eq!(log_out(at, &logout_token("j2", &json!({"sub": "id-ann"}))), 200);
    assert_ended(&page(at, &other));
    serve.until("the other gateway knows", || (page(beside, &other).status == 401).then_some(()));
    assert_eq!(page(at, &token("s3", -6)).status, 200, "who signs in anew later");

    let metrics = send(at.http, "GET", b"/metrics", &[]).body;
    let count = |line: &str| -> u64 {
        let found = metrics.lines().find_map(|it| it.strip_prefix(line));
        found.unwrap_or_else(|| panic!("{line} in\n{metrics}")).trim().parse().unwrap()
    };
    assert_eq!(count("idpsyncd_ended_sessions "), 2);
    let status = home.ok(&["status", "--output", "json"], 0);
    assert_eq!(serde_json::from_str::<Value>(&status).unwrap()["ended_sessions"], 2);
    assert!(home.ok(&["status"], 0).contains("2 ended before their tokens"));
    assert_eq!(count("idpsyncd_backchannel_logouts_total{result=\"ended\"} "), 1);
    assert_eq!(count("idpsyncd_decisions_total{protocol=\"http\",result=\"session_ended\"} "), 2);
}

#[test]
fn a_log_out_that_comes_to_a_daemon_that_does_not_lead_counts_at_every_gateway() {
    let Some(postgres) = Postgres::start() else { return };
    postgres.database("idpsyncd", "idpsyncd");
    let store =
        format!("postgres = \"postgresql://idpsyncd@127.0.0.1:{}/idpsyncd\"", postgres.port);
    folder(&config_on(&store, listens(), "")).ok(&["sync"], 0);
    let keys = keys().replace('\'', "''");
    let kept = format!(
        "INSERT INTO idpsyncd.jwks (issuer, keys, read_at) VALUES ('{ISSUER}', '{keys}', 0)"
    );
    postgres.sql("idpsyncd", &kept);
    let machine = |what: &str| {
        let at = listens();
        let home = folder(&config_on(&store, at, "[gateway.logout]"));
        let mut daemon = home.start(what);
        at.ready(&mut daemon);
        (home, daemon, at)
    };
    let (_leads, mut leader, first) = machine("run");
    leader.until_logged("this daemon leads");
    let (_follows, mut follower, second) = machine("run");
    follower.until_logged("another daemon leads, this one follows");
    let (_serves, mut serve, third) = machine("serve");
    let (mine, other) = (token("s1", 5), token("s2", 5));
    for at in [first, second, third] {
        assert_eq!((page(at, &mine).status, page(at, &other).status), (200, 200));
    }
    let out = logout_token("j1", &json!({"sid": "s1", "sub": "id-ann"}));
    assert_eq!(log_out(second, &out), 200);
    let began = Instant::now();
    assert_ended(&page(second, &mine));
    for (daemon, at) in [(&mut leader, first), (&mut serve, third)] {
        daemon.until("it knows", || (page(at, &mine).status == 401).then_some(()));
        eprintln!("it counts at another gateway after {} ms", began.elapsed().as_millis());
        assert_ended(&page(at, &mine));
    }
    for at in [first, second, third] {
        assert_eq!(page(at, &other).status, 200, "another session goes on");
    }
    // It is the store's: whoever starts later knows, and whoever leads later.
    leader.stop();
    follower.until_logged("this daemon leads");
    assert_ended(&page(second, &mine));
    let (_late, _latest, late) = machine("serve");
    assert_ended(&page(late, &mine));
}

#[test]
fn what_proves_no_log_out_ends_nothing_and_is_told_no_more() {
    let at = listens();
    let home = home(at, "[gateway.logout]\nmax_token_lifetime = \"10m\"");
    let mut run = home.start("run");
    at.ready(&mut run);
    let mine = token("s1", 5);
    let good = logout_token("j1", &json!({"sid": "s1"}));
    let place = good.len() - 30;
    let letter = if good.as_bytes()[place] == b'A' { "B" } else { "A" };
    let forged = format!("{}{letter}{}", &good[..place], &good[place + 1..]);
    let nothing = "{\"error\":\"invalid_request\",\"error_description\":\"the logout token proves no log-out\"}";
    for token in [&forged, &mine, &sign("JWT", &json!({"iss": ISSUER})), &String::new()] {
        let (status, body) = post(at, &[("logout_token", token.as_str())]);
        assert_eq!((status, body.as_str()), (400, nothing));
    }
    for form in
        [&[][..], &[("token", good.as_str())], &[("logout_token", &good), ("logout_token", &good)]]
    {
        let (status, body) = post(at, form);
        assert_eq!(status, 400);
        assert!(body.contains("expected a form with one `logout_token`"), "{body}");
    }
    let long = "x".repeat(65 * 1024);
    assert_eq!(post(at, &[("logout_token", good.as_str()), ("more", &long)]).0, 400);
    let got = send(at.http, "GET", LOGOUT.as_bytes(), &[]);
    assert_eq!((got.status, got.headers["allow"].as_str()), (405, "POST"));
    assert_eq!(page(at, &mine).status, 200);
    assert!(!run.log().contains(&good), "no token is logged");
    assert!(run.log().contains("a log-out at /backchannel-logout is refused"));
    // A token that lives longer than it is remembered which sessions have ended.
    assert_eq!(page(at, &token("s1", 700)).status, 401);
    // What failed is no reason to refuse the same again.
    assert_eq!(log_out(at, &good), 200);
    assert_ended(&page(at, &mine));
}

#[test]
fn who_cannot_write_the_store_says_so_and_who_ends_nothing_is_not_there() {
    let at = listens();
    let home = home(at, "[gateway.logout]");
    let mut serve = home.start("serve");
    at.ready(&mut serve);
    let mine = token("s1", 5);
    let (status, body) = post(at, &[("logout_token", &logout_token("j1", &json!({"sid": "s1"})))]);
    assert_eq!(status, 400);
    assert!(body.contains("send log-outs to `idpsyncd run`"), "{body}");
    assert_eq!(page(at, &mine).status, 200, "it ends nothing by halves");
    home.configure(&config(at, "[gateway.logout]\nenabled = false"));
    serve.signal("HUP");
    serve.until("it is not there any more", || {
        (send(at.http, "POST", LOGOUT.as_bytes(), &[]).status == 404).then_some(())
    });
    assert_eq!(page(at, &token("s1", 7200)).status, 401, "expired");
    let old = Utc::now().timestamp() - 7200;
    let long = sign(
        "JWT",
        &json!({"iss": ISSUER, "sub": "id-ann", "aud": "app", "iat": old, "exp": old + 86_400,
            "preferred_username": "ann"}),
    );
    assert_eq!(page(at, &long).status, 200, "a token counts until its `exp`");
    let headers: BTreeMap<String, String> = page(at, "x.y.z").headers;
    assert_eq!(headers["www-authenticate"], "Bearer");
}
