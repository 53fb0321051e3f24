//! Callers whom the gateway has verified: Envoy's metadata, and a header.

use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::super::Identifier;
use super::kit::*;
use crate::config::{IdentityWay as Way, SubjectHeader};
use crate::gateway::question::{Identity, Unidentified};
use crate::model::caller::Caller;

fn metadata(issuers: Vec<&str>) -> Identifier {
    let jwt = issuers.into_iter().map(jwt).collect();
    Identifier::new(&config(Way::Metadata, jwt), None).unwrap()
}

fn told(identifier: &Identifier, payloads: &Value) -> Result<Identity, Unidentified> {
    // A good token and a good header that must not count.
    let sent = Sent(vec![
        ("authorization", "Bearer x.y.z".to_owned()),
        ("x-osmo-user", "admin".to_owned()),
    ]);
    identifier.identify(&sent, Some(payloads), now()).now_or_never().unwrap()
}

#[test]
fn the_verified_payload_of_a_configured_issuer_is_proof() {
    let identifier = metadata(vec![ISSUER, "https://b.example"]);
    let found = caller(told(&identifier, &json!({"osmo": claims()})));
    let expected = Caller {
        known_by: known_by("7b9f2c1e"),
        name: Some("ann".into()),
        issuer: Some(ISSUER.to_owned()),
        roles: Some(vec!["osmo-user".to_owned(), "offline_access".to_owned()]),
        named: None,
    };
    assert_eq!(*found, expected);
    // As Envoy passes numbers on, and with what else it may put there.
    let mut claims = but("exp", json!((NOW + 300) as f64));
    claims["nbf"] = json!(NOW as f64);
    let beside = json!({
        "header": {"alg": "RS256", "kid": "k", "typ": "JWT"},
        "status": {"code": 16, "message": "Jwt is missing"},
        "other": but("iss", json!("https://elsewhere.example")),
        "text": "x",
        "osmo": claims,
    });
    assert_eq!(caller(told(&identifier, &beside)).name.as_deref().unwrap_or_default(), "ann");
}

#[test]
fn without_a_payload_nobody_asks() {
    let identifier = metadata(vec![ISSUER]);
    for payloads in [
        json!(null),
        json!({}),
        json!({"p": {}}),
        json!({"p": null, "q": "text", "r": [1]}),
        json!({"header": {"alg": "RS256"}, "status": {"code": 16, "message": "Jwt is expired"}}),
    ] {
        assert_eq!(told(&identifier, &payloads), Ok(Identity::Nobody), "{payloads}");
    }
    let sent = Sent(vec![("authorization", "Bearer x.y.z".to_owned())]);
    let answer = identifier.identify(&sent, None, now()).now_or_never().unwrap();
    assert_eq!(answer, Ok(Identity::Nobody), "the token is no fallback");
}

#[test]
fn a_payload_that_does_not_fit_is_refused() {
    let identifier = metadata(vec![ISSUER, "https://b.example"]);
    for (payloads, why) in [
        (json!([claims()]), "not an object"),
        (json!({"a": claims(), "b": claims()}), "2 of configured issuers"),
        (json!({"a": claims(), "b": claims_of("https://b.example")}), "2 of configured issuers"),
        (json!({"p": claims_of("https://c.example")}), "no `[[gateway.jwt]]` is for its issuer"),
        (json!({"p": without("iss")}), "names no issuer"),
        (json!({"p": but("iss", json!(1))}), "`iss` is not a string"),
        (json!({"p": but("azp", json!("shop"))}), "meant for"),
        (json!({"p": but("exp", json!(NOW - 30))}), "expired"),
        (json!({"p": but("exp", json!("later"))}), "`exp` is not a time"),
        (json!({"p": but("nbf", json!(NOW + 100))}), "not valid for another"),
        (json!({"p": without("exp")}), "no `exp`"),
        (json!({"p": but("realm_access", json!({"roles": 1}))}), "neither"),
    ] {
        let told = reason(told(&identifier, &payloads));
        assert!(told.contains(why), "{payloads}: {told}");
    }
}

#[test]
fn a_header_that_envoy_passes_on_counts_too() {
    let identifier = metadata(vec![ISSUER]);
    let with = |header: Value| told(&identifier, &json!({"p": claims(), "h": header}));
    for header in [
        json!({"alg": "ES512", "kid": "k"}),
        json!({"alg": "RS256", "typ": "at+jwt"}),
        json!({"alg": "RS256", "typ": "JWT", "x5t": "abc"}),
    ] {
        caller(with(header));
    }
    for (header, why) in [
        (json!({"alg": "RS256", "typ": "logout+jwt"}), "its type `typ` is `logout+jwt`"),
        (json!({"alg": "RS256", "typ": "dpop+jwt"}), "its type `typ`"),
        (json!({"alg": "RS256", "typ": 1}), "`typ` is not a string"),
        (json!({"alg": "RS256", "crit": ["b64"]}), "`crit`"),
        (json!({"alg": "RS256", "jku": "https://evil.example"}), "`jku`"),
    ] {
        let told = reason(with(header.clone()));
        assert!(told.contains(why), "{header}: {told}");
    }
}

#[test]
fn a_header_names_the_user_and_nothing_else_does() {
    let identifier = Identifier::new(&config(Way::Header, vec![]), None).unwrap();
    let ask = |sent: Vec<(&'static str, String)>| {
        let payloads = json!({"p": claims()});
        identifier.identify(&Sent(sent), Some(&payloads), now()).now_or_never().unwrap()
    };
    let user = |name: &str| vec![("x-osmo-user", name.to_owned())];
    for (name, username) in
        [("ann", "ann"), ("Ann@Example.org", "ann@example.org"), ("émile", "émile")]
    {
        let expected = Caller::named(username);
        assert_eq!(ask(user(name)), Ok(Identity::Caller(Arc::new(expected))));
    }
    assert_eq!(ask(vec![]), Ok(Identity::Nobody));
    assert_eq!(ask(user("")), Ok(Identity::Nobody));
    let token = ("authorization", "Bearer x.y.z".to_owned());
    assert_eq!(ask(vec![token]), Ok(Identity::Nobody), "the token is no fallback");
    for bad in [" ", "ann bob", "ann\u{0}", "\u{265a}", "ａｎｎ", "e\u{301}mile"] {
        assert!(reason(ask(user(bad))).contains("`x-osmo-user`"), "{bad:?}");
    }
    let twice = vec![("x-osmo-user", "ann".to_owned()), ("x-osmo-user", "admin".to_owned())];
    assert!(reason(ask(twice)).contains("more than once"));
}

#[test]
fn a_header_that_holds_an_id_decides_and_the_name_beside_it_does_not() {
    let mut config = config(Way::Header, vec![]);
    let header = "x-osmo-subject".to_owned();
    config.subject = Some(SubjectHeader { header, source: "kc".to_owned() });
    let identifier = Identifier::new(&config, None).unwrap();
    let ask = |sent: &[(&'static str, &str)]| {
        let sent = sent.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        identifier.identify(&Sent(sent), None, now()).now_or_never().unwrap()
    };
    for name in ["admin", "ann admin", ""] {
        let found = caller(ask(&[("x-osmo-subject", "id-ann"), ("x-osmo-user", name)]));
        assert_eq!(found.known_by, known_by("id-ann"), "{name}");
    }
    caller(ask(&[("x-osmo-subject", "id-ann")]));
    assert_eq!(ask(&[]), Ok(Identity::Nobody));
    assert_eq!(ask(&[("x-osmo-subject", ""), ("x-osmo-user", "")]), Ok(Identity::Nobody));
    assert!(reason(ask(&[("x-osmo-user", "ann")])).contains("without `x-osmo-subject`"));
    let twice = ask(&[("x-osmo-subject", "id-ann"), ("x-osmo-subject", "id-admin")]);
    assert!(reason(twice).contains("more than once"));
}
