//! Sessions that end before their tokens do, and what an issuer says of one that has.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::super::{Identifier, LoggedOut, LogoutError};
use super::kit::*;
use crate::config::{IdentifyBy, IdentityWay as Way, JwtConfig, LogoutConfig, OSMO};
use crate::gateway::ended::EndedSessions;
use crate::gateway::question::Unidentified;
use crate::model::{SessionEnd, SessionRealm, SessionScope};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const HOUR: i64 = 3600;

/// Knows these keys, asks no issuer, and holds tokens against `ended`.
fn holding(
    way: Way,
    jwt: Vec<JwtConfig>,
    keys: &[(&str, Vec<Value>)],
    ended: &Arc<EndedSessions>,
) -> Identifier {
    let mut config = config(way, jwt);
    config.logout = Some(LogoutConfig { max_token_lifetime: Duration::from_secs(3600) });
    Identifier::made(&config, Some(MemoryJwksCache::of(keys)), (None, ended), NEVER).unwrap()
}

fn ann() -> SessionEnd {
    session_of("kc", SessionScope::Subject("7b9f2c1e".to_owned()))
}

fn session_of(source: &str, scope: SessionScope) -> SessionEnd {
    let realm = SessionRealm::Source(source.to_owned());
    SessionEnd { realm, scope, last_iat: NOW - 10 }
}

fn in_session(sid: &str) -> Value {
    but("sid", json!(sid))
}

#[test]
fn a_token_is_refused_from_the_moment_on_at_which_its_session_has_ended() {
    let key = Signer::es256("ec");
    let ended = EndedSessions::new();
    let identifier = holding(Way::Jwt, vec![jwt(ISSUER)], &[(ISSUER, vec![key.jwk()])], &ended);
    let (mine, others) = (key.token(&in_session("s1")), key.token(&in_session("s2")));
    let new = key.token(&{
        let mut claims = in_session("s3");
        claims["iat"] = json!(NOW - 9);
        claims
    });
    let ask = |token: &str| at_once(&identifier, &bearer(token), now());
    for token in [&mine, &others, &new] {
        caller(ask(token));
    }
    let session = |sid: &str| session_of("kc", SessionScope::Session(sid.to_owned()));
    ended.add(&[session("s1")], now());
    // It was verified before, and is remembered: the session counts all the same.
    for _ in 0..2 {
        let Err(Unidentified::Refused(why)) = ask(&mine) else { panic!("not refused") };
        assert!(why.session_ended(), "{why}");
    }
    caller(ask(&others));
    ended.add(&[ann()], now());
    assert_eq!(reason(ask(&others)), "the bearer token is refused: its session has ended");
    caller(ask(&new));
    ended.add(&[session_of("elsewhere", SessionScope::Everybody)], now());
    caller(ask(&new));
    // What was never seen before is held against the list as well.
    let unseen = key.token(&in_session("s4"));
    assert!(reason(ask(&unseen)).contains("its session has ended"));
}

#[test]
fn whose_token_is_forged_is_not_told_what_became_of_the_session() {
    let (key, other) = (Signer::es256("ec"), Signer::es256("ec"));
    let ended = EndedSessions::new();
    ended.add(&[ann()], now());
    let identifier = holding(Way::Jwt, vec![jwt(ISSUER)], &[(ISSUER, vec![key.jwk()])], &ended);
    let forged = other.token(&in_session("s1"));
    let Err(Unidentified::Refused(why)) = at_once(&identifier, &bearer(&forged), now()) else {
        panic!("not refused")
    };
    assert!(!why.session_ended(), "{why}");
}

#[test]
fn a_token_that_is_older_than_what_is_remembered_is_refused() {
    let key = Signer::es256("ec");
    let keys = [(ISSUER, vec![key.jwk()]), (OSMO, vec![key.jwk()])];
    let osmo = JwtConfig {
        audiences: vec!["account".to_owned()],
        identify: IdentifyBy::Username,
        ..jwt(OSMO)
    };
    let identifier = holding(Way::Jwt, vec![jwt(ISSUER), osmo], &keys, &EndedSessions::new());
    let ask = |claims: &Value, later: i64| {
        at_once(&identifier, &bearer(&key.token(claims)), at(NOW + later))
    };
    let mut long = but("exp", json!(NOW + 10 * HOUR));
    // With the leeway that times have.
    caller(ask(&long, HOUR - 10 + 29));
    let too_old = "and whether its session has ended since is remembered for";
    assert!(reason(ask(&long, HOUR - 10 + 30)).contains(too_old));
    // What is remembered of the token does not outlive that either.
    assert!(reason(ask(&long, HOUR + 30)).contains(too_old));
    long.as_object_mut().unwrap().remove("iat");
    assert!(reason(ask(&long, 0)).contains("has no `iat`"));
    // The program's own tokens belong to no session.
    long["iss"] = json!(OSMO);
    caller(ask(&long, 9 * HOUR));
    let plain = offline(vec![jwt(ISSUER)], &keys);
    long["iss"] = json!(ISSUER);
    caller(at_once(&plain, &bearer(&key.token(&long)), at(NOW + 9 * HOUR)));
}

#[test]
fn what_envoy_verified_is_held_against_the_list_too() {
    let (key, ended) = (Signer::es256("ec"), EndedSessions::new());
    let keys = [(ISSUER, vec![key.jwk()])];
    let identifier = holding(Way::Metadata, vec![jwt(ISSUER)], &keys, &ended);
    let ask = |claims: Value| {
        let payloads = json!({"osmo": claims});
        identifier.identify(&Sent(Vec::new()), Some(&payloads), now()).now_or_never().unwrap()
    };
    caller(ask(in_session("s1")));
    ended.add(&[session_of("kc", SessionScope::Session("s1".to_owned()))], now());
    let Err(Unidentified::Refused(why)) = ask(in_session("s1")) else { panic!("not refused") };
    assert!(why.session_ended(), "{why}");
    caller(ask(in_session("s2")));
    assert!(reason(ask(without("iat"))).contains("has no `iat`"));
    // Envoy sees no logout token: they are verified here.
    let out = key.sign(&header(&key, "logout+jwt").to_string(), &logout().to_string());
    assert_eq!(told(&identifier, &out).unwrap().jti, "j1");
    let forged =
        Signer::es256("ec").sign(&header(&key, "logout+jwt").to_string(), &logout().to_string());
    assert!(told(&identifier, &forged).unwrap_err().to_string().contains("signature is wrong"));
}

/// What Keycloak sends (26.7).
fn logout() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "7b9f2c1e",
        "aud": "osmo-browser-flow",
        "iat": NOW,
        "exp": NOW + 120,
        "jti": "j1",
        "typ": "Logout",
        "sid": "s1",
        "events": {EVENT: {}, "revoke_offline_access": true},
    })
}

fn logout_but(name: &str, value: Value) -> Value {
    let mut claims = logout();
    claims[name] = value;
    claims
}

fn logout_without(names: &[&str]) -> Value {
    let mut claims = logout();
    names.iter().for_each(|name| drop(claims.as_object_mut().unwrap().remove(*name)));
    claims
}

fn header(key: &Signer, typ: &str) -> Value {
    let mut header = key.header();
    header["typ"] = json!(typ);
    header
}

fn told(identifier: &Identifier, token: &str) -> Result<LoggedOut, LogoutError> {
    identifier.logged_out(token, now()).now_or_never().expect("nothing to wait for")
}

#[test]
fn a_log_out_ends_the_session_or_where_none_is_named_everything_of_the_person() {
    let key = Signer::es256("ec");
    let strict = JwtConfig { authorized_parties: Some(vec!["cli".to_owned()]), ..jwt(ISSUER) };
    let identifier =
        holding(Way::Jwt, vec![strict], &[(ISSUER, vec![key.jwk()])], &EndedSessions::new());
    let sign =
        |claims: &Value| key.sign(&header(&key, "logout+jwt").to_string(), &claims.to_string());
    let out = told(&identifier, &sign(&logout())).unwrap();
    let session = SessionEnd {
        last_iat: NOW + 300,
        ..session_of("kc", SessionScope::Session("s1".to_owned()))
    };
    let expected = LoggedOut {
        end: session,
        issuer: ISSUER.to_owned(),
        jti: "j1".to_owned(),
        until: NOW + 150,
    };
    assert_eq!(out, expected);
    let out = told(&identifier, &sign(&logout_without(&["sid"]))).unwrap();
    assert_eq!(out.end, SessionEnd { last_iat: NOW + 5, ..ann() });
    for (name, claims) in [
        ("no sub", logout_without(&["sub"])),
        ("no claim typ", logout_without(&["typ"])),
        ("several clients", logout_but("aud", json!(["other", "osmo-device"]))),
        ("a party of the tokens", logout_but("aud", json!("cli"))),
        ("issued by a clock that is ahead", logout_but("iat", json!(NOW + 30))),
        ("expired a moment ago", logout_but("exp", json!(NOW - 29))),
    ] {
        told(&identifier, &sign(&claims)).expect(name);
    }
    let other_case =
        key.sign(&header(&key, "application/Logout+JWT").to_string(), &logout().to_string());
    told(&identifier, &other_case).unwrap();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_no_log_out_of_a_configured_issuer_ends_nothing() {
    let (key, other) = (Signer::es256("ec"), Signer::es256("ec"));
    let keys = [(ISSUER, vec![key.jwk()]), (OSMO, vec![key.jwk()])];
    let osmo = JwtConfig { identify: IdentifyBy::Username, ..jwt(OSMO) };
    let identifier = holding(Way::Jwt, vec![jwt(ISSUER), osmo], &keys, &EndedSessions::new());
    let typed = |typ: &str| header(&key, typ);
    let mut untyped = key.header();
    untyped.as_object_mut().unwrap().remove("typ");
    let with = |name: &str, value: Value| {
        let mut header = typed("logout+jwt");
        header[name] = value;
        header
    };
    for (header, why) in [
        (typed("JWT"), "its type `typ` is `JWT`"),
        (typed("at+jwt"), "its type `typ` is `at+jwt`"),
        (untyped, "its type `typ` is ``"),
        (with("typ", json!(1)), "`typ` is not a string"),
        (with("alg", json!("none")), "not one of the asymmetric ones"),
        (with("alg", json!("HS256")), "not one of the asymmetric ones"),
        (with("crit", json!(["x"])), "critical extensions"),
        (with("jwk", key.jwk()), "brings a key of its own"),
        (with("kid", json!("other")), "no key called `other`"),
    ] {
        let token = key.sign(&header.to_string(), &logout().to_string());
        let error = told(&identifier, &token).unwrap_err().to_string();
        assert!(error.contains(why), "{header}: {error}");
    }
    let sign = |key: &Signer, claims: &Value| {
        key.sign(&typed("logout+jwt").to_string(), &claims.to_string())
    };
    for (claims, why) in [
        (logout_without(&["iss"]), "names no issuer"),
        (logout_but("iss", json!("https://elsewhere.example")), "no `[[gateway.jwt]]` is for"),
        (logout_but("iss", json!(OSMO)), "no `[[gateway.jwt]]` is for"),
        (logout_without(&["aud"]), "names no audience"),
        (logout_but("aud", json!("other")), "none of `audiences`"),
        (logout_but("aud", json!([1])), "`aud` holds something"),
        (logout_without(&["iat"]), "has no `iat`"),
        (logout_but("iat", json!("now")), "`iat` is not a time"),
        (logout_but("iat", json!(NOW + 31)), "was issued in 31 s from now"),
        (logout_without(&["exp"]), "has no `exp`"),
        (logout_but("exp", json!(NOW - 30)), "expired 30 s ago"),
        (logout_but("nbf", json!(NOW + 31)), "is not valid for another"),
        (logout_without(&["jti"]), "has no `jti`"),
        (logout_but("jti", json!("")), "has no `jti`"),
        (logout_but("nonce", json!("x")), "has a `nonce`"),
        (logout_but("nonce", Value::Null), "has a `nonce`"),
        (logout_without(&["events"]), "`events` have no object"),
        (logout_but("events", json!({})), "`events` have no object"),
        (logout_but("events", json!([EVENT])), "`events` have no object"),
        (logout_but("events", json!({EVENT: true})), "`events` have no object"),
        (logout_without(&["sid", "sub"]), "neither `sid` nor `sub`"),
        (
            {
                let mut claims = logout_but("sid", json!(""));
                claims["sub"] = json!("");
                claims
            },
            "neither `sid` nor `sub`",
        ),
        (logout_but("sid", json!(1)), "`sid` is not a string"),
        (logout_but("sub", json!(["a"])), "`sub` is not a string"),
        (logout_but("typ", json!("Bearer")), "its claim `typ` is `Bearer`"),
    ] {
        let error = told(&identifier, &sign(&key, &claims)).unwrap_err().to_string();
        assert!(error.contains(why), "{claims}: {error}");
    }
    for (token, why) in [
        (sign(&other, &logout()), "its signature is wrong"),
        ("x.y".to_owned(), "not a JWT of three parts"),
        (String::new(), "not a JWT of three parts"),
        (
            key.sign(
                &typed("logout+jwt").to_string(),
                &logout().to_string().replacen('{', "{\"sid\":\"s0\",", 1),
            ),
            "is there twice",
        ),
    ] {
        let error = told(&identifier, &token).unwrap_err().to_string();
        assert!(error.contains(why), "{token}: {error}");
    }
}

#[test]
fn a_logout_token_lets_nobody_in() {
    let key = Signer::es256("ec");
    let keys = [(ISSUER, vec![key.jwk()])];
    let identifier = holding(Way::Jwt, vec![jwt(ISSUER)], &keys, &EndedSessions::new());
    let token = key.sign(&header(&key, "logout+jwt").to_string(), &logout().to_string());
    assert!(reason(at_once(&identifier, &bearer(&token), now())).contains("no access token"));
    let token = key.token(&logout());
    assert!(reason(at_once(&identifier, &bearer(&token), now())).contains("no access token"));
}
