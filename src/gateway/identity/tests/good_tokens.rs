//! What proves who asks, and for how long.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::super::{Identifier, Is};
use super::kit::*;
use crate::config::IdentifyBy;
use crate::model::caller::{Caller, KnownBy};

fn remembered(identifier: &Identifier) -> usize {
    match &identifier.way {
        Is::Jwt(verifier) => verifier.remembered(),
        _ => panic!("no token is verified"),
    }
}

#[test]
fn a_token_of_every_algorithm_is_proof() {
    let rsa = Signer::rsa("rsa", 0);
    let signers = [
        rsa.clone(),
        rsa.with(Algorithm::RS384),
        rsa.with(Algorithm::RS512),
        rsa.with(Algorithm::PS256),
        rsa.with(Algorithm::PS384),
        rsa.with(Algorithm::PS512),
        Signer::es256("p256"),
        Signer::es384("p384"),
        Signer::ed25519("ed"),
    ];
    for signer in signers {
        for jwk in [signer.jwk(), signer.open_jwk()] {
            let identifier = offline(vec![jwt(ISSUER)], &[(ISSUER, vec![jwk.clone()])]);
            let caller = caller(at_once(&identifier, &bearer(&signer.token(&claims())), now()));
            let expected = Caller {
                known_by: known_by("7b9f2c1e"),
                name: Some("ann".into()),
                issuer: Some(ISSUER.to_owned()),
                roles: Some(vec!["osmo-user".to_owned(), "offline_access".to_owned()]),
                named: None,
            };
            assert_eq!(*caller, expected, "{jwk}");
        }
    }
}

#[test]
fn what_may_differ_among_good_tokens() {
    let key = Signer::es256("ec");
    let identifier = offline(vec![jwt(ISSUER)], &[(ISSUER, vec![key.jwk()])]);
    let passes = |name: &str, sent: &Sent| {
        assert_eq!(
            caller(at_once(&identifier, sent, now())).name.as_deref().unwrap_or_default(),
            "ann",
            "{name}"
        );
    };
    for (name, claims) in [
        ("aud one of them", but("aud", json!("osmo-device"))),
        ("aud a list", but("aud", json!(["account", "osmo-device"]))),
        ("azp alone", without("aud")),
        ("expired a moment ago", but("exp", json!(NOW - 29))),
        ("exp a fraction", but("exp", json!(NOW as f64 + 0.5))),
        ("exp far away", but("exp", json!(i64::MAX))),
        ("valid in a moment", but("nbf", json!(NOW + 30))),
        ("issued in the future", but("iat", json!(NOW + 3600))),
        ("no typ", without("typ")),
        ("no roles", without("realm_access")),
        ("a claim null", but("locale", Value::Null)),
        ("claim typ in capitals", but("typ", json!("BEARER"))),
        ("a name in capitals", but("preferred_username", json!("ANN"))),
    ] {
        passes(name, &bearer(&key.token(&claims)));
    }
    let token = key.token(&claims());
    for scheme in ["Bearer ", "bearer ", "BEARER ", "Bearer   "] {
        passes(scheme, &authorization(format!("{scheme}{token}")));
    }
    for header in [
        r#"{"alg":"ES256","kid":"ec"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"ec","typ":"at+jwt"}"#,
        r#"{"alg":"ES256","kid":"ec","typ":"application/at+JWT"}"#,
        r#"{"alg":"ES256","kid":"ec","x5c":["MIIB"],"x5t":"abc"}"#,
    ] {
        passes(header, &bearer(&key.sign(header, &claims().to_string())));
    }
}

#[test]
fn names_and_roles_come_from_the_configured_claims() {
    let key = Signer::es256("ec");
    let mut config = jwt(ISSUER);
    config.username_claim = "email".to_owned();
    config.roles_claim = Some("resource_access.osmo.device.roles".to_owned());
    let identifier = offline(vec![config.clone()], &[(ISSUER, vec![key.jwk()])]);
    config.names_are_addresses = true;
    let mut claims = but("email", json!("Ann@Example.org"));
    claims["email_verified"] = json!(true);
    claims["resource_access"] = json!({"osmo.device": {"roles": ["osmo-ml"]}});
    let found = caller(at_once(&identifier, &bearer(&key.token(&claims)), now()));
    assert_eq!(found.name.as_deref().unwrap_or_default(), "ann@example.org");
    assert_eq!(found.roles, Some(vec!["osmo-ml".to_owned()]));
    claims["resource_access"] = json!({"osmo.device": {"roles": "osmo-ml"}});
    let found = caller(at_once(&identifier, &bearer(&key.token(&claims)), now()));
    assert_eq!(found.roles, Some(vec!["osmo-ml".to_owned()]), "one role as text");
    claims["resource_access"] = json!({"osmo.device": {"roles": []}});
    let found = caller(at_once(&identifier, &bearer(&key.token(&claims)), now()));
    assert_eq!(found.roles, Some(vec![]), "none is not absent");
    claims["resource_access"] = json!({});
    let found = caller(at_once(&identifier, &bearer(&key.token(&claims)), now()));
    assert_eq!(found.roles, None);
    config.roles_claim = None;
    let identifier = offline(vec![config], &[(ISSUER, vec![key.jwk()])]);
    let found = caller(at_once(&identifier, &bearer(&key.token(&claims)), now()));
    assert_eq!(found.roles, None);
}

#[test]
fn an_id_proves_who_it_is_whatever_name_comes_with_it() {
    let key = Signer::es256("ec");
    let identifier = offline(vec![jwt(ISSUER)], &[(ISSUER, vec![key.jwk()])]);
    let named = |claims: &Value| {
        let found = caller(at_once(&identifier, &bearer(&key.token(claims)), now()));
        assert_eq!(found.known_by, known_by("7b9f2c1e"));
        found.name.clone()
    };
    assert_eq!(named(&claims()).as_deref(), Some("ann"));
    assert_eq!(named(&without("preferred_username")), None);
    for name in ["", "ann admin", "ann\nx: y", "ａｎｎ", "e\u{301}mile", "\u{265a}"] {
        assert_eq!(named(&but("preferred_username", json!(name))), None, "{name:?}");
    }
}

#[test]
fn where_names_decide_only_one_that_is_written_as_it_is_kept_does() {
    let key = Signer::es256("ec");
    let identifier = |addresses| {
        let mut config = jwt(ISSUER);
        config.identify = IdentifyBy::Username;
        config.names_are_addresses = addresses;
        offline(vec![config], &[(ISSUER, vec![key.jwk()])])
    };
    let plain = identifier(false);
    let ask = |claims: &Value| at_once(&plain, &bearer(&key.token(claims)), now());
    for (name, kept) in [("ann", "ann"), ("ANN", "ann"), ("\u{c9}mile", "\u{e9}mile")] {
        let mut claims = but("preferred_username", json!(name));
        claims.as_object_mut().unwrap().remove("sub");
        assert_eq!(caller(ask(&claims)).known_by, KnownBy::Name(kept.into()));
    }
    for (name, why) in [
        ("", "the username is empty"),
        ("ann admin", "not a username"),
        ("ann\nx: y", "not a username"),
        ("ａｎｎ", "another name's spelling"),
        ("e\u{301}mile", "another name's spelling"),
        (" ann", "username"),
    ] {
        let told = reason(ask(&but("preferred_username", json!(name))));
        assert!(told.contains(why), "{name:?}: {told}");
    }
    assert!(reason(ask(&without("preferred_username"))).contains("no claim"));
    // An address is its owner's where somebody has seen to that.
    let by_address = identifier(true);
    let ask = |claims: &Value| at_once(&by_address, &bearer(&key.token(claims)), now());
    for verified in [json!(false), json!("true"), json!(1), Value::Null] {
        assert!(reason(ask(&but("email_verified", verified))).contains("`email_verified`"));
    }
    assert!(reason(ask(&claims())).contains("`email_verified`"));
    assert_eq!(
        caller(ask(&but("email_verified", json!(true)))).known_by,
        KnownBy::Name("ann".into())
    );
}

#[test]
fn whom_a_token_was_issued_to_counts_where_that_is_said() {
    let key = Signer::es256("ec");
    let mut config = jwt(ISSUER);
    config.authorized_parties = Some(vec!["osmo-device".to_owned()]);
    let identifier = offline(vec![config], &[(ISSUER, vec![key.jwk()])]);
    let ask = |claims: &Value| at_once(&identifier, &bearer(&key.token(claims)), now());
    let ours = |azp: &str| {
        let mut claims = but("aud", json!(["account", "osmo-browser-flow"]));
        claims["azp"] = json!(azp);
        claims
    };
    caller(ask(&ours("osmo-device")));
    // Keycloak puts every client that the user has roles of into `aud`, whoever asked.
    assert!(reason(ask(&ours("shop"))).contains("issued to `shop`"));
    assert!(reason(ask(&ours("osmo-browser-flow"))).contains("issued to"));
    let mut none = ours("");
    none.as_object_mut().unwrap().remove("azp");
    assert!(reason(ask(&none)).contains("whom it was issued to"));
    // The audience counts all the same.
    let mut elsewhere = but("azp", json!("osmo-device"));
    elsewhere["aud"] = json!("account");
    caller(ask(&elsewhere));
}

#[test]
fn of_keys_that_share_a_name_the_right_one_is_found() {
    let (one, two, nameless) = (Signer::es256("k"), Signer::es256("k"), Signer::es256("n"));
    let mut anonymous = nameless.jwk();
    anonymous.as_object_mut().unwrap().remove("kid");
    let keys = vec![one.jwk(), Signer::rsa("k", 0).jwk(), two.jwk(), anonymous];
    let identifier = offline(vec![jwt(ISSUER)], &[(ISSUER, keys)]);
    for signer in [&one, &two, &Signer::rsa("k", 0), &nameless] {
        let token = signer.token(&claims());
        assert_eq!(
            caller(at_once(&identifier, &bearer(&token), now()))
                .name
                .as_deref()
                .unwrap_or_default(),
            "ann"
        );
        let header = json!({"alg": format!("{:?}", signer.algorithm)}).to_string();
        let token = signer.sign(&header, &claims().to_string());
        assert_eq!(
            caller(at_once(&identifier, &bearer(&token), now()))
                .name
                .as_deref()
                .unwrap_or_default(),
            "ann"
        );
    }
}

#[test]
fn a_verified_token_is_remembered_while_its_claims_hold() {
    let key = Signer::es256("ec");
    let identifier = offline(vec![jwt(ISSUER)], &[(ISSUER, vec![key.jwk()])]);
    let sent = bearer(&key.token(&but("nbf", json!(NOW))));
    let first = caller(at_once(&identifier, &sent, now()));
    assert_eq!(remembered(&identifier), 1);
    for time in [NOW - 30, NOW, NOW + 300, NOW + 329] {
        let again = caller(at_once(&identifier, &sent, at(time)));
        assert!(Arc::ptr_eq(&first, &again), "remembered at {time}");
    }
    for (time, why) in [(NOW - 31, "not valid"), (NOW + 330, "expired"), (NOW + 10_000, "expired")]
    {
        // Into the cache again, and then asked at another time.
        caller(at_once(&identifier, &sent, now()));
        assert!(reason(at_once(&identifier, &sent, at(time))).contains(why));
        assert_eq!(remembered(&identifier), 0, "forgotten at {time}");
    }
}

#[test]
fn how_many_tokens_are_remembered_is_bounded() {
    let key = Signer::ed25519("ed");
    let identifier = offline(vec![jwt(ISSUER)], &[(ISSUER, vec![key.jwk()])]);
    // 16 KB each, so that 32 MiB are soon reached.
    let pad = "x".repeat(11_000);
    for n in 0..3000 {
        let mut claims = but("jti", json!(n));
        claims["pad"] = json!(pad);
        caller(at_once(&identifier, &bearer(&key.token(&claims)), now()));
    }
    let kept = remembered(&identifier);
    assert!((500..=2300).contains(&kept), "{kept}");
}
