//! Each way in which a session of a real Keycloak can end: the next request is 401, at the gateway that the
//! daemon serves and at one that stands alone.

#![cfg(test)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

use serde_json::{Value, json};
use support::asking::Listens;
use support::gateways::send;
use support::idpsyncd::{Home, Idpsyncd};
use support::keycloak::{Keycloak, RIGHTS, Realm, post_form};
use support::server::free_port;

const SECRET: &str = "s3cr3t-of-the-reader";
const PASSWORD: &str = "pw";
const ENDED: &str = "Bearer error=\"invalid_token\", error_description=\"the session has ended\"";

/// Somebody who has signed in.
#[derive(Clone)]
struct Signed {
    /// The person's id.
    person: String,
    name: String,
    access: String,
    refresh: String,
    /// The session's id.
    sid: String,
    client: &'static str,
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn sign_in(realm: &Realm<'_>, client: &'static str, name: &str) -> Signed {
    let answer = realm.sign_in(client, name, PASSWORD);
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let access = text("access_token");
    let claims = claims(&access);
    let claim = |name: &str| claims[name].as_str().unwrap().to_owned();
    let (person, sid) = (claim("sub"), claim("sid"));
    Signed { person, name: name.to_owned(), access, refresh: text("refresh_token"), sid, client }
}

/// A realm, made while no other test makes one: several at once take a busy server longer than a call may.
fn made<'k>(keycloak: &'k Keycloak, name: &str) -> Realm<'k> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    keycloak.realm(name)
}

/// A public client; log-outs are told to `url` where there is one.
fn client(realm: &Realm<'_>, id: &str, url: Option<&str>, session: bool) {
    let mut attributes = json!({});
    if let Some(url) = url {
        attributes = json!({"backchannel.logout.url": url,
            "backchannel.logout.session.required": session.to_string()});
    }
    realm.post(
        "/clients",
        &json!({"clientId": id, "enabled": true, "publicClient": true,
            "directAccessGrantsEnabled": true, "attributes": attributes}),
    );
}

fn config(realm: &Realm<'_>, url: &str, at: Listens, watch: &str) -> String {
    format!(
        r#"
        [store]
        path = "store.db"
        [schedule]
        cron = "0 0 0 1 1 *"
        [guard]
        max_lost_floor = 1000
        max_disabled_percent = 100
        [[source]]
        name = "corp"
        kind = "keycloak"
        url = "{url}"
        realm = "{realm}"
        client_id = "idpsyncd"
        client_secret = {{ env = "KEYCLOAK_SECRET" }}
        watch = "{watch}"
        [roles.reader]
        everyone = true
        external_roles = []
        [[roles.reader.policies]]
        actions = ["page:Read"]
        [gateway]
        grpc = "127.0.0.1:{grpc}"
        http = "127.0.0.1:{http}"
        identity = "jwt"
        [gateway.logout]
        [[gateway.jwt]]
        issuer = "{issuer}"
        audiences = ["app", "bare", "race", "person", "off", "cut"]
        [[gateway.route]]
        path = "/page"
        action = "page:Read"
        "#,
        realm = realm.name,
        issuer = realm.issuer(),
        grpc = at.grpc,
        http = at.http,
    )
}

fn listens() -> Listens {
    Listens { grpc: free_port(), http: free_port() }
}

/// What a gateway answers to a token: 200, or 401 that says that the session has ended, or another status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Says {
    Passes,
    Ended,
    Other(u16),
}

fn asked(at: Listens, token: &str) -> Says {
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let got = send(at.http, "GET", b"/authz/page", &headers);
    match got.status {
        200 => Says::Passes,
        401 if got.headers.get("www-authenticate").is_some_and(|it| it == ENDED) => Says::Ended,
        status => Says::Other(status),
    }
}

/// `run` and `serve`, over one store.
struct Stage {
    run: Idpsyncd,
    serve: Idpsyncd,
    at: [Listens; 2],
    _home: Home,
}

impl Stage {
    fn new(realm: &Realm<'_>, url: &str, at: Listens, watch: &str) -> Stage {
        let beside = listens();
        let home = Home::new(&config(realm, url, beside, watch));
        let secret = [("KEYCLOAK_SECRET", std::path::Path::new(SECRET))];
        let serve = home.start("serve");
        // It has the other ports by the time that it reads the file.
        let mut serve = serve;
        serve.until("serve listens", || {
            std::net::TcpStream::connect(("127.0.0.1", beside.http)).ok()
        });
        home.configure(&config(realm, url, at, watch));
        let mut run = home.start_with("run", &secret);
        at.ready(&mut run);
        beside.ready(&mut serve);
        Stage { run, serve, at: [at, beside], _home: home }
    }

    /// Both say so, sooner or later.
    fn until(&mut self, token: &str, says: Says, what: &str) {
        let at = self.at;
        self.run.until(what, || (asked(at[0], token) == says).then_some(()));
        self.serve.until(what, || (asked(at[1], token) == says).then_some(()));
    }
}

/// Changes a client, as the admin console does: all of it is sent back.
fn change_client(realm: &Realm<'_>, id: &str, change: impl Fn(&mut Value)) {
    let path = format!("/clients/{}", realm.client_uuid(id));
    let mut client = realm.get(&path);
    change(&mut client);
    realm.put(&path, &client);
}

/// A way to end a session.
type Way<'r> = (&'static str, &'static str, Box<dyn Fn(&Signed) + 'r>);

fn ways<'r>(realm: &'r Realm<'_>) -> Vec<Way<'r>> {
    let endpoint = |name: &str| format!("{}/protocol/openid-connect/{name}", realm.issuer());
    let (logout, revoke) = (endpoint("logout"), endpoint("revoke"));
    let sign_out = move |one: &Signed| {
        let form = [("client_id", one.client), ("refresh_token", &one.refresh)];
        let (status, body) = post_form(&logout, &form);
        assert_eq!(status, 204, "{body}");
    };
    vec![
        ("signing out, told by back-channel", "app", Box::new(sign_out.clone())),
        ("signing out, told by an event", "bare", Box::new(sign_out)),
        (
            "an administrator ends the session",
            "app",
            Box::new(|one| realm.delete(&format!("/sessions/{}", one.sid))),
        ),
        (
            "an administrator ends the session, told by an event",
            "bare",
            Box::new(|one| realm.delete(&format!("/sessions/{}", one.sid))),
        ),
        (
            "an administrator signs the person out",
            "app",
            Box::new(|one| drop(realm.post(&format!("/users/{}/logout", one.person), &json!({})))),
        ),
        (
            "the same, told by an event",
            "bare",
            Box::new(|one| drop(realm.post(&format!("/users/{}/logout", one.person), &json!({})))),
        ),
        ("disabling", "app", Box::new(|one| realm.set_enabled(&one.person, false))),
        ("deleting", "app", Box::new(|one| realm.delete(&format!("/users/{}", one.person)))),
        (
            "a new password by an administrator",
            "app",
            Box::new(|one| {
                realm.put(
                    &format!("/users/{}/reset-password", one.person),
                    &json!({"type": "password", "value": PASSWORD, "temporary": false}),
                );
            }),
        ),
        (
            "revoking the refresh token",
            "app",
            Box::new(move |one| {
                let form = [("client_id", one.client), ("token", &one.refresh)];
                assert_eq!(post_form(&revoke, &form).0, 200);
            }),
        ),
        (
            "disabling the client",
            "off",
            Box::new(|one| change_client(realm, one.client, |it| it["enabled"] = json!(false))),
        ),
        (
            "a not-before of the client",
            "cut",
            Box::new(|one| {
                let now = chrono::Utc::now().timestamp();
                change_client(realm, one.client, |it| it["notBefore"] = json!(now));
            }),
        ),
        ("logging everybody out", "app", Box::new(|_| drop(realm.post("/logout-all", &json!({}))))),
        (
            "a not-before",
            "app",
            Box::new(|_| {
                let now = chrono::Utc::now().timestamp();
                realm.put("", &json!({"notBefore": now}));
            }),
        ),
    ]
}

#[test]
fn each_way_in_which_a_session_can_end_is_a_401() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = made(keycloak, "sessions");
    realm.put("", &json!({"adminEventsEnabled": true, "eventsEnabled": true}));
    realm.reader("idpsyncd", SECRET, &[&RIGHTS[..], &["view-events"]].concat());
    let at = listens();
    let told = format!("http://127.0.0.1:{}/backchannel-logout", at.http);
    client(&realm, "app", Some(&told), true);
    for other in ["bare", "off", "cut"] {
        client(&realm, other, None, true);
    }
    let ways = ways(&realm);
    for number in 0..ways.len() {
        realm.person(&format!("person{number}"), PASSWORD);
    }
    realm.person("bystander", PASSWORD);
    let mut stage = Stage::new(&realm, &keycloak.url, at, "auto");
    stage.run.until_logged("it is followed which sessions end");
    let other = sign_in(&realm, "app", "bystander");
    for (number, (name, client, end)) in ways.iter().enumerate() {
        let one = sign_in(&realm, client, &format!("person{number}"));
        for at in stage.at {
            assert_eq!(asked(at, &one.access), Says::Passes, "{name}");
        }
        end(&one);
        let acknowledged = Instant::now();
        stage.until(&one.access, Says::Ended, name);
        eprintln!("{name}: 401 everywhere after {:?}", acknowledged.elapsed());
        let everybody = ["logging everybody out", "a not-before"].contains(name);
        if !everybody {
            for at in stage.at {
                assert_eq!(asked(at, &other.access), Says::Passes, "{name}: another one's goes on");
            }
        }
        if !["disabling", "deleting", "disabling the client"].contains(name) {
            // A new session counts: at once by its own id, else from the next second on.
            let started = Instant::now();
            stage.run.until("a new session", || {
                let again = sign_in(&realm, client, &one.name);
                (asked(at, &again.access) == Says::Passes).then_some(())
            });
            eprintln!("{name}: a new session counts after {:?}", started.elapsed());
        }
    }
    let metrics = send(at.http, "GET", b"/metrics", &[]).body;
    assert!(metrics.contains("idpsyncd_source_sessions_followed{source=\"corp\"} 1"), "{metrics}");
    let log = stage.run.log();
    assert!(!log.contains("cannot be told"), "{log}");
}

#[test]
fn tokens_that_live_longer_than_they_count_are_told_of() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = made(keycloak, "sessions-lives");
    realm.reader("idpsyncd", SECRET, &RIGHTS);
    for id in ["app", "bare", "person"] {
        client(&realm, id, None, true);
    }
    let home = Home::new(&config(&realm, &keycloak.url, listens(), "auto"));
    let told = || -> Vec<String> {
        let mut check = home.command(&["check", "--output", "json"]);
        let out = check.env("KEYCLOAK_SECRET", SECRET).output().unwrap();
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        let those = report["diagnostics"].as_array().unwrap().iter();
        let those = those.filter(|it| it["code"] == "tokens-outlive");
        let mut texts: Vec<String> = those
            .map(|it| {
                assert_eq!(it["source"], "corp", "{it}");
                it["message"].as_str().unwrap().to_owned()
            })
            .collect();
        texts.sort();
        texts
    };
    let none: [String; 0] = [];
    assert_eq!(told(), none, "five minutes are fine");
    realm.put(
        "",
        &json!({"accessTokenLifespan": 3601,
        "accessTokenLifespanForImplicitFlow": 5400}),
    );
    change_client(&realm, "bare", |it| {
        it["attributes"]["access.token.lifespan"] = json!("10800");
        it["implicitFlowEnabled"] = json!(true);
        it["redirectUris"] = json!(["https://app.example.com/*"]);
    });
    change_client(&realm, "person", |it| {
        it["attributes"]["access.token.lifespan"] = json!("-1");
    });
    let texts = told();
    let [implicit, bare, person, of_realm] = &texts[..] else { panic!("{texts:?}") };
    for (text, begin) in [
        (bare, "access tokens of client `bare` live 10800 s (its `access.token.lifespan`)"),
        (implicit, "access tokens of client `bare` by the implicit flow live 5400 s"),
        (person, "access tokens of client `person` live as long as their session"),
        (of_realm, "the realm's access tokens live 3601 s (`accessTokenLifespan`)"),
    ] {
        let text = text.strip_prefix("corp: ").unwrap();
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("count for 3600 s here"), "{text}");
    }
    // A run says so as well.
    let mut sync = home.command(&["sync"]);
    let out = sync.env("KEYCLOAK_SECRET", SECRET).output().unwrap();
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(said.contains("access tokens of client `bare` live 10800 s"), "{said}");
    realm.put(
        "",
        &json!({"accessTokenLifespan": 3600,
        "accessTokenLifespanForImplicitFlow": 900}),
    );
    for id in ["bare", "person"] {
        change_client(&realm, id, |it| it["attributes"]["access.token.lifespan"] = json!("3600"));
    }
    assert_eq!(told(), none);
}

#[test]
fn what_changes_of_somebody_else_or_of_other_things_ends_no_session() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = made(keycloak, "sessions-last");
    realm.put("", &json!({"adminEventsEnabled": true, "eventsEnabled": true}));
    realm.reader("idpsyncd", SECRET, &[&RIGHTS[..], &["view-events"]].concat());
    client(&realm, "app", None, true);
    for name in ["ann", "bob", "cay"] {
        realm.person(name, PASSWORD);
    }
    let at = listens();
    let mut stage = Stage::new(&realm, &keycloak.url, at, "auto");
    stage.run.until_logged("it is followed which sessions end");
    let ann = sign_in(&realm, "app", "ann");
    let first = sign_in(&realm, "app", "bob");
    let second = sign_in(&realm, "app", "bob");
    realm.put(&format!("/users/{}", ann.person), &json!({"firstName": "Anna"}));
    let group = realm.group("some", None);
    realm.join(&ann.person, &group);
    // What comes behind it in the log shows that all before was looked at.
    realm.delete(&format!("/sessions/{}", first.sid));
    stage.until(&first.access, Says::Ended, "a session");
    for token in [&ann.access, &second.access] {
        assert_eq!(asked(at, token), Says::Passes);
    }
}

#[test]
fn what_ended_while_nobody_followed_is_told_by_the_events_of_then() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = made(keycloak, "sessions-later");
    realm.put("", &json!({"adminEventsEnabled": true, "eventsEnabled": true}));
    realm.reader("idpsyncd", SECRET, &[&RIGHTS[..], &["view-events"]].concat());
    client(&realm, "app", None, true);
    realm.person("ann", PASSWORD);
    let at = listens();
    let secret = [("KEYCLOAK_SECRET", std::path::Path::new(SECRET))];
    let home = Home::new(&config(&realm, &keycloak.url, at, "auto"));
    let mut run = home.start_with("run", &secret);
    at.ready(&mut run);
    let (gone, lasting) = (sign_in(&realm, "app", "ann"), sign_in(&realm, "app", "ann"));
    run.stop();
    // More than fit into one page of events, all of them newer.
    realm.delete(&format!("/sessions/{}", gone.sid));
    for _ in 0..210 {
        realm.put(&format!("/users/{}", gone.person), &json!({"firstName": "Anna"}));
    }
    let mut run = home.start_with("run", &secret);
    at.ready(&mut run);
    run.until("it is known", || (asked(at, &gone.access) == Says::Ended).then_some(()));
    assert_eq!(asked(at, &lasting.access), Says::Passes);
}

#[test]
fn without_events_the_not_before_alone_is_seen_and_that_is_said() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = made(keycloak, "sessions-unseen");
    let account = realm.reader("idpsyncd", SECRET, &RIGHTS);
    client(&realm, "app", None, true);
    realm.person("ann", PASSWORD);
    let at = listens();
    let mut stage = Stage::new(&realm, &keycloak.url, at, "auto");
    let untold = "source `corp`: not every session that ends is told of: ";
    stage.run.until_logged(&format!("{untold}the realm keeps no admin events"));
    let followed = |value: u8| {
        let metrics = send(at.http, "GET", b"/metrics", &[]).body;
        let line = format!("idpsyncd_source_sessions_followed{{source=\"corp\"}} {value}");
        metrics.contains(&line).then_some(())
    };
    followed(0).unwrap();
    let one = sign_in(&realm, "app", "ann");
    stage.until(&one.access, Says::Passes, "it counts");
    realm.put("", &json!({"notBefore": chrono::Utc::now().timestamp()}));
    stage.until(&one.access, Says::Ended, "a not-before");
    // One after the other is mended, with nothing started anew.
    realm.put("", &json!({"adminEventsEnabled": true}));
    stage.run.until_logged(&format!(
        "{untold}the service account of client `idpsyncd` may not read events"
    ));
    realm.give(&format!("users/{account}"), &realm.right("view-events"));
    stage.run.until_logged(&format!("{untold}the realm keeps no user events"));
    realm.put("", &json!({"eventsEnabled": true}));
    stage.run.until("all is told", || followed(1));
}

/// Passes on the log-outs that Keycloak tells of, and refreshes the session before and after: both while
/// Keycloak is about to end it.
fn between(
    signed: mpsc::Receiver<(String, Signed)>,
    to: Listens,
) -> (u16, mpsc::Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, refreshed) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let body = loop {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.trim().parse::<usize>())
                });
                if body.len() >= length.unwrap().unwrap() {
                    break body.to_owned();
                }
                assert!(count > 0, "it broke off: {text}");
            };
            let token = body.split('&').find_map(|it| it.strip_prefix("logout_token=")).unwrap();
            let (endpoint, one) = signed.recv().unwrap();
            let issued = claims(token)["iat"].as_i64().unwrap();
            let mut refresh = one.refresh.clone();
            let mut again = || {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("client_id", one.client),
                    ("refresh_token", &*refresh),
                ];
                let (status, body) = post_form(&endpoint, &form);
                assert_eq!(status, 200, "the session lives as yet: {body}");
                let answer: Value = serde_json::from_str(&body).unwrap();
                refresh = answer["refresh_token"].as_str().unwrap().to_owned();
                answer["access_token"].as_str().unwrap().to_owned()
            };
            let mut tokens = vec![again()];
            let url = format!("http://127.0.0.1:{}/backchannel-logout", to.http);
            let (status, said) = post_form(&url, &[("logout_token", token)]);
            assert_eq!(status, 200, "{said}");
            // Issued later than the log-out, not in the same second.
            tokens.push(
                std::iter::repeat_with(again)
                    .find(|it| claims(it)["iat"].as_i64().unwrap() > issued)
                    .unwrap(),
            );
            send.send(tokens).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
        }
    });
    (port, refreshed)
}

#[test]
fn a_refresh_while_a_log_out_is_under_way_does_not_get_through() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = made(keycloak, "sessions-race");
    realm.reader("idpsyncd", SECRET, &RIGHTS);
    let at = listens();
    let (signed, to_come) = mpsc::channel();
    let (port, refreshed) = between(to_come, at);
    let url = format!("http://127.0.0.1:{port}/told");
    client(&realm, "race", Some(&url), true);
    // Told of the person alone, without a session.
    client(&realm, "person", Some(&url), false);
    realm.person("ann", PASSWORD);
    realm.person("bob", PASSWORD);
    // By back-channel alone.
    let mut stage = Stage::new(&realm, &keycloak.url, at, "off");
    let endpoint = format!("{}/protocol/openid-connect/token", realm.issuer());
    for (client, name) in [("race", "ann"), ("person", "bob")] {
        let one = sign_in(&realm, client, name);
        stage.until(&one.access, Says::Passes, "it counts");
        signed.send((endpoint.clone(), one.clone())).unwrap();
        realm.delete(&format!("/sessions/{}", one.sid));
        let tokens = refreshed.recv().unwrap();
        assert_eq!(tokens.len(), 2);
        for token in tokens.iter().chain([&one.access]) {
            assert_eq!(asked(at, token), Says::Ended, "{client}");
            stage.until(token, Says::Ended, client);
        }
    }
}
