//! What is no proof is refused, with the reason for the log.

use std::sync::LazyLock;

use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::Identifier;
use super::kit::*;
use crate::config::IdentityWay as Way;
use crate::gateway::question::{Identity, Unidentified};

const OTHER: &str = "https://auth.example.com/realms/other";

struct World {
    identifier: Identifier,
    rsa: Signer,
    ec: Signer,
    other: Signer,
    forger: Signer,
}

fn world() -> World {
    let rsa = Signer::rsa("rsa", 0);
    let ec = Signer::es256("ec");
    let other = Signer::es256("other");
    let keys = [(ISSUER, vec![rsa.jwk(), ec.jwk()]), (OTHER, vec![other.jwk()])];
    let identifier = offline(vec![jwt(ISSUER), jwt(OTHER)], &keys);
    World { identifier, rsa, ec, other, forger: Signer::rsa("rsa", 1) }
}

/// A token with something in its header set.
fn headed(signer: &Signer, name: &str, value: Value) -> Sent {
    let mut header = signer.header();
    header[name] = value;
    bearer(&signer.sign(&header.to_string(), &claims().to_string()))
}

fn raw(signer: &Signer, payload: &str) -> Sent {
    bearer(&signer.sign(&signer.header().to_string(), payload))
}

/// Claims that no signature could save, and why.
fn bad_claims() -> Vec<(&'static str, Value, &'static str)> {
    let far = NOW + 1_000_000;
    vec![
        // Issuers.
        (
            "another issuer",
            but("iss", json!("https://evil.example")),
            "no `[[gateway.jwt]]` is for its issuer",
        ),
        ("a slash more", but("iss", json!(format!("{ISSUER}/"))), "no `[[gateway.jwt]]`"),
        (
            "the host in capitals",
            but("iss", json!("https://AUTH.example.com/realms/osmo")),
            "no `[[gateway.jwt]]`",
        ),
        (
            "a beginning of the issuer",
            but("iss", json!("https://auth.example.com/realms")),
            "no `[[gateway.jwt]]`",
        ),
        ("no issuer", without("iss"), "names no issuer"),
        ("issuers in a list", but("iss", json!([ISSUER])), "`iss` is not a string"),
        ("issuer null", but("iss", Value::Null), "`iss` is not a string"),
        // Audiences.
        ("another audience", but("azp", json!("shop")), "meant for `account`, `shop`"),
        ("an audience in capitals", but("azp", json!("OSMO-device")), "meant for"),
        ("a longer audience", but("azp", json!("osmo-device2")), "meant for"),
        (
            "audiences in one string",
            but("azp", json!("osmo-device osmo-browser-flow")),
            "meant for",
        ),
        ("azp a list", but("azp", json!(["osmo-device"])), "`azp` is not a string"),
        ("aud a number", but("aud", json!(1)), "`aud` is neither"),
        ("aud null", but("aud", Value::Null), "`aud` is neither"),
        ("aud with a number", but("aud", json!(["osmo-device", 1])), "`aud` holds something"),
        // Times.
        ("expired", but("exp", json!(NOW - 60)), "expired 60 s ago"),
        ("expired, to the second", but("exp", json!(NOW - 30)), "expired 30 s ago"),
        ("expired before 1970", but("exp", json!(-1)), "expired"),
        ("never expires", without("exp"), "no `exp`"),
        ("exp text", but("exp", json!("1900000000")), "`exp` is not a time"),
        ("exp null", but("exp", Value::Null), "`exp` is not a time"),
        ("exp true", but("exp", json!(true)), "`exp` is not a time"),
        ("exp beyond all time", but("exp", json!(1e300)), "`exp` is not a time"),
        ("exp beyond 64 bits", but("exp", json!(u64::MAX)), "`exp` is not a time"),
        ("not yet valid", but("nbf", json!(NOW + 31)), "not valid for another 1 s"),
        ("not valid for long", but("nbf", json!(far)), "not valid for another"),
        ("nbf text", but("nbf", json!("0")), "`nbf` is not a time"),
        ("iat text", but("iat", json!("now")), "`iat` is not a time"),
        // People.
        ("user null", but("preferred_username", Value::Null), "is not a string"),
        ("user a number", but("preferred_username", json!(7)), "is not a string"),
        ("users in a list", but("preferred_username", json!(["ann"])), "is not a string"),
        ("sub a number", but("sub", json!(7)), "`sub` is not a string"),
        ("no sub", without("sub"), "no `sub`"),
        ("sub empty", but("sub", json!("")), "no `sub`"),
        (
            "roles an object",
            but("realm_access", json!({"roles": {"a": 1}})),
            "`realm_access.roles` is neither",
        ),
        (
            "roles null",
            but("realm_access", json!({"roles": null})),
            "`realm_access.roles` is neither",
        ),
        ("roles with a number", but("realm_access", json!({"roles": ["a", 1]})), "holds something"),
        // Other tokens of the same issuer.
        ("an ID token", but("typ", json!("ID")), "no access token"),
        ("a refresh token", but("typ", json!("Refresh")), "no access token"),
        ("an offline token", but("typ", json!("offline")), "no access token"),
        ("a log-out token of Keycloak", but("typ", json!("Logout")), "no access token"),
        ("an ID token without typ", but("at_hash", json!("x")), "the claim `at_hash`"),
        ("an ID token of the hybrid flow", but("c_hash", json!("x")), "the claim `c_hash`"),
        ("a security event", but("events", json!({})), "the claim `events`"),
        ("an initial access token", but("typ", json!("InitialAccessToken")), "no access token"),
        ("an action token", but("typ", json!("reset-credentials")), "no access token"),
        ("a DPoP token", but("typ", json!("DPoP")), "no access token"),
        ("claim typ empty", but("typ", json!("")), "no access token"),
        ("claim typ a number", but("typ", json!(1)), "`typ` is not a string"),
        ("bound to a key", but("cnf", json!({"jkt": "x"})), "bound to a key"),
    ]
}

#[test]
fn claims_are_judged_alike_whoever_verified_the_signature() {
    let key = Signer::es256("ec");
    let here = offline(vec![jwt(ISSUER), jwt(OTHER)], &[(ISSUER, vec![key.jwk()])]);
    let config = config(Way::Metadata, vec![jwt(ISSUER), jwt(OTHER)]);
    let envoy = Identifier::new(&config, None).unwrap();
    let by_envoy = |claims: &Value| {
        let payloads = json!({"jwt_payload": claims});
        let nothing = Sent(vec![]);
        let answer = envoy.identify(&nothing, Some(&payloads), now());
        futures_util::FutureExt::now_or_never(answer).unwrap()
    };
    for (name, claims, why) in bad_claims() {
        let told = reason(at_once(&here, &bearer(&key.token(&claims)), now()));
        assert!(told.contains(why), "{name}, here: {told}");
        let told = reason(by_envoy(&claims));
        assert!(told.contains(why), "{name}, by Envoy: {told}");
        assert!(told.len() < 400 && !told.contains(char::is_control), "{name}: {told}");
    }
    let good = claims();
    assert_eq!(caller(at_once(&here, &bearer(&key.token(&good)), now())), caller(by_envoy(&good)));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_bad_token_is_refused_for_its_own_reason() {
    let w = world();
    let (rsa, ec) = (&w.rsa, &w.ec);
    let good = rsa.token(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let unsigned = |alg: &str| {
        let header = base64(json!({"alg": alg, "typ": "JWT"}).to_string().as_bytes());
        format!("{header}.{payload}")
    };
    let hmac = |secret: &[u8]| {
        let signer = Signer {
            algorithm: Algorithm::HS256,
            kid: "rsa",
            encoding: EncodingKey::from_secret(secret),
        };
        bearer(&signer.token(&claims()))
    };
    let public = rsa.jwk();
    let own_key = w.forger.jwk();
    let mut table: Vec<(&str, Sent, &str)> = vec![
        // Algorithms.
        ("alg none, no signature", bearer(&format!("{}.", unsigned("none"))), "algorithm `none`"),
        (
            "alg none, a signature",
            bearer(&format!("{}.{signature}", unsigned("none"))),
            "algorithm `none`",
        ),
        ("alg None", bearer(&format!("{}.", unsigned("None"))), "algorithm `None`"),
        ("alg nOnE", bearer(&format!("{}.{signature}", unsigned("nOnE"))), "algorithm `nOnE`"),
        ("alg empty", bearer(&format!("{}.{signature}", unsigned(""))), "algorithm ``"),
        (
            "alg of lower case",
            bearer(&format!("{}.{signature}", unsigned("rs256"))),
            "algorithm `rs256`",
        ),
        (
            "HS256 with the modulus",
            hmac(public["n"].as_str().unwrap().as_bytes()),
            "algorithm `HS256`",
        ),
        ("HS256 with the JWK", hmac(public.to_string().as_bytes()), "algorithm `HS256`"),
        ("HS256 with nothing", hmac(b""), "algorithm `HS256`"),
        (
            "alg ES256K",
            headed(ec, "alg", json!("ES256K")),
            "`ES256K`, which idpsyncd cannot verify",
        ),
        ("alg ES512", headed(ec, "alg", json!("ES512")), "`ES512`, which idpsyncd cannot verify"),
        ("alg a number", headed(ec, "alg", json!(256)), "`alg` is not a string"),
        ("alg a list", headed(ec, "alg", json!(["RS256"])), "`alg` is not a string"),
        ("no alg", bearer(&ec.sign(r#"{"kid":"ec"}"#, &claims().to_string())), "no algorithm"),
        (
            "an algorithm that the key is not for",
            bearer(&rsa.with(Algorithm::PS256).token(&claims())),
            "not for PS256",
        ),
        (
            "a longer hash than the key is for",
            bearer(&rsa.with(Algorithm::RS512).token(&claims())),
            "not for RS512",
        ),
        (
            "an RSA key's name with ES256",
            bearer(&Signer { kid: "rsa", ..ec.clone() }.token(&claims())),
            "not for ES256",
        ),
        // Keys and signatures.
        ("another key of that name", bearer(&w.forger.token(&claims())), "signature is wrong"),
        (
            "another EC key of that name",
            bearer(&Signer::es256("ec").token(&claims())),
            "signature is wrong",
        ),
        ("an unknown key", bearer(&Signer::es256("new").token(&claims())), "no key called `new`"),
        (
            "no kid, an unknown key",
            bearer(&w.forger.sign(r#"{"alg":"RS256"}"#, &claims().to_string())),
            "no known key of its issuer",
        ),
        ("kid a number", headed(ec, "kid", json!(1)), "`kid` is not a string"),
        ("kid null", headed(ec, "kid", Value::Null), "`kid` is not a string"),
        (
            "a kid that is a path",
            headed(ec, "kid", json!("../../dev/null")),
            "no key called `../../dev/null`",
        ),
        ("a kid that breaks lines", headed(ec, "kid", json!("a\nb")), "no key called `a\\nb`"),
        (
            "another realm's key under its own name",
            bearer(&w.other.token(&claims())),
            "no key called `other`",
        ),
        (
            "another realm's key under our name",
            bearer(&Signer { kid: "ec", ..w.other.clone() }.token(&claims())),
            "signature is wrong",
        ),
        ("our key for another realm", bearer(&ec.token(&claims_of(OTHER))), "no key called `ec`"),
        ("no signature", bearer(&format!("{message}.")), "no signature"),
        (
            "half a signature",
            bearer(&format!("{message}.{}", &signature[..170])),
            "signature is wrong",
        ),
        ("a signature with padding", bearer(&format!("{good}==")), "something else than one JWT"),
        (
            "a signature of another token",
            bearer(&format!(
                "{}.{signature}",
                rsa.token(&super::kit::but("sub", json!("x"))).rsplit_once('.').unwrap().0
            )),
            "signature is wrong",
        ),
        (
            "another payload",
            bearer(&format!(
                "{header}.{}.{signature}",
                base64(
                    super::kit::but("preferred_username", json!("admin")).to_string().as_bytes()
                )
            )),
            "signature is wrong",
        ),
        (
            "another header",
            bearer(&format!("{}.{payload}.{signature}", base64(br#"{"alg":"RS256","kid":"rsa"}"#))),
            "signature is wrong",
        ),
        (
            "a signature of ASN.1",
            bearer(&format!(
                "{}.{}",
                ec.token(&claims()).rsplit_once('.').unwrap().0,
                base64(&[0x30, 0x44, 2, 32])
            )),
            "signature is wrong",
        ),
        (
            "a signature of zeros",
            bearer(&format!(
                "{}.{}",
                ec.token(&claims()).rsplit_once('.').unwrap().0,
                base64(&[0; 64])
            )),
            "signature is wrong",
        ),
        // What a header brings along.
        (
            "jku",
            headed(&w.forger, "jku", json!("https://evil.example/keys")),
            "key of its own (`jku`)",
        ),
        (
            "x5u",
            headed(&w.forger, "x5u", json!("https://evil.example/chain")),
            "key of its own (`x5u`)",
        ),
        ("jwk", headed(&w.forger, "jwk", own_key), "key of its own (`jwk`)"),
        ("jku with a good signature", headed(ec, "jku", json!(ISSUER)), "key of its own (`jku`)"),
        ("x5c with its own key", headed(&w.forger, "x5c", json!(["MIIB"])), "signature is wrong"),
        ("crit", headed(ec, "crit", json!(["exp"])), "`crit`"),
        ("crit, empty", headed(ec, "crit", json!([])), "`crit`"),
        (
            "b64 false",
            bearer(&ec.sign(
                r#"{"alg":"ES256","kid":"ec","b64":false,"crit":["b64"]}"#,
                &claims().to_string(),
            )),
            "`crit`",
        ),
        ("a DPoP proof", headed(ec, "typ", json!("dpop+jwt")), "its type `typ` is `dpop+jwt`"),
        ("a log-out token", headed(ec, "typ", json!("logout+jwt")), "its type `typ` is"),
        ("typ a number", headed(ec, "typ", json!(1)), "`typ` is not a string"),
        // JSON.
        (
            "a claim twice",
            raw(ec, &claims().to_string().replacen('{', r#"{"sub":"x","#, 1)),
            "`sub` is there twice",
        ),
        (
            "the user twice, the same",
            raw(ec, &claims().to_string().replacen('{', r#"{"preferred_username":"ann","#, 1)),
            "`preferred_username` is there twice",
        ),
        (
            "the user twice, once escaped",
            raw(
                ec,
                &claims().to_string().replacen('{', r#"{"preferred\u005fusername":"admin","#, 1),
            ),
            "`preferred_username` is there twice",
        ),
        (
            "twice further in",
            raw(
                ec,
                &claims().to_string().replacen(r#""roles":"#, r#""roles":["admin"],"roles":"#, 1),
            ),
            "`roles` is there twice",
        ),
        (
            "alg twice",
            bearer(&ec.sign(r#"{"alg":"none","kid":"ec","alg":"ES256"}"#, &claims().to_string())),
            "`alg` is there twice",
        ),
        ("a payload that is a list", raw(ec, "[]"), "not a JSON object"),
        ("a payload that is text", raw(ec, "\"ann\""), "not a JSON object"),
        ("a payload that is nothing", raw(ec, ""), "not JSON"),
        ("a payload with more behind it", raw(ec, &format!("{} {{}}", claims())), "not JSON"),
        ("a payload of NaN", raw(ec, r#"{"exp":NaN}"#), "not JSON"),
        ("a payload without end", raw(ec, r#"{"exp":1"#), "not JSON"),
        (
            "a payload too deep",
            raw(ec, &format!("{{\"a\":{}{}}}", "[".repeat(4000), "]".repeat(4000))),
            "not JSON",
        ),
        (
            "a header that is no JSON",
            bearer(&ec.sign("ES256", &claims().to_string())),
            "header cannot be read: not JSON",
        ),
        (
            "bytes that are no UTF-8",
            bearer(&ec.sign_message(&format!(
                "{}.{}",
                base64(ec.header().to_string().as_bytes()),
                base64(b"{\"iss\":\"\xff\"}")
            ))),
            "not JSON",
        ),
        (
            "an odd length of base64",
            bearer(&ec.sign_message(&format!("{header}.{payload}A"))),
            "cannot be read",
        ),
        // Shapes.
        ("one part", bearer("eyJhbGciOiJub25lIn0"), "three parts"),
        ("two parts", bearer(message), "three parts"),
        ("four parts", bearer(&format!("{good}.x")), "three parts"),
        ("five parts", bearer(&format!("{good}.x.y")), "encrypted"),
        ("six parts", bearer(&format!("{good}.x.y.z")), "three parts"),
        ("dots", bearer(".."), "header cannot be read"),
        ("empty parts between", bearer("..."), "three parts"),
        ("not base64", bearer("!!!.???.***"), "something else than one JWT"),
        (
            "letters of ordinary base64",
            bearer(&good.replacen('.', "+.", 1)),
            "something else than one JWT",
        ),
        ("huge", bearer(&"a".repeat(16 * 1024 + 1)), "longer than 16 KiB"),
        (
            "huge, of good form",
            bearer(&ec.token(&but("pad", json!("x".repeat(20_000))))),
            "longer than 16 KiB",
        ),
        // The header.
        ("an empty header", authorization(""), "header is empty"),
        ("no token", authorization("Bearer"), "has no token"),
        ("spaces for a token", authorization("Bearer   "), "has no token"),
        ("no scheme", authorization(good.clone()), "another scheme"),
        ("Basic", authorization("Basic YW5uOnNlY3JldA=="), "another scheme"),
        ("DPoP", authorization(format!("DPoP {good}")), "bound to no key"),
        ("Bearer with a colon", authorization(format!("Bearer: {good}")), "another scheme"),
        ("a tab", authorization(format!("Bearer\t{good}")), "another scheme"),
        ("a space before", authorization(format!(" Bearer {good}")), "another scheme"),
        (
            "two tokens",
            authorization(format!("Bearer {good} {good}")),
            "something else than one JWT",
        ),
        (
            "two tokens with a comma",
            authorization(format!("Bearer {good},Bearer {good}")),
            "something else than one JWT",
        ),
        ("quoted", authorization(format!("Bearer \"{good}\"")), "something else than one JWT"),
        ("a NUL", authorization(format!("Bearer {good}\0")), "something else than one JWT"),
    ];
    table.push((
        "two headers",
        Sent(vec![
            ("authorization", format!("Bearer {good}")),
            ("authorization", format!("Bearer {good}")),
        ]),
        "more than one",
    ));
    assert!(table.len() + bad_claims().len() >= 100);
    for (name, sent, why) in table {
        let told = reason(at_once(&w.identifier, &sent, now()));
        assert!(told.contains(why), "{name}: {told}");
        assert!(told.len() < 400 && !told.contains(char::is_control), "{name}: {told}");
        for part in sent.0.iter().flat_map(|(_, value)| value.split(['.', ' '])) {
            assert!(part.len() < 20 || !told.contains(part), "{name} shows a part of it: {told}");
        }
    }
    // The very tokens that the bad ones were made from are good.
    assert_eq!(
        caller(at_once(&w.identifier, &bearer(&good), now())).name.as_deref().unwrap_or_default(),
        "ann"
    );
    assert_eq!(
        caller(at_once(&w.identifier, &bearer(&ec.token(&claims())), now()))
            .name
            .as_deref()
            .unwrap_or_default(),
        "ann"
    );
}

#[test]
fn a_bad_token_is_refused_as_often_as_it_comes() {
    let w = world();
    let bad = bearer(&w.forger.token(&claims()));
    for _ in 0..3 {
        assert!(reason(at_once(&w.identifier, &bad, now())).contains("signature is wrong"));
    }
}

#[test]
fn without_the_header_nobody_asks() {
    let w = world();
    assert_eq!(at_once(&w.identifier, &Sent(vec![]), now()), Ok(Identity::Nobody));
    let forged = Sent(vec![("x-osmo-user", "admin".to_owned())]);
    assert_eq!(
        at_once(&w.identifier, &forged, now()),
        Ok(Identity::Nobody),
        "no other header counts"
    );
    let payloads = json!({"p": claims()});
    let answer = futures_util::FutureExt::now_or_never(w.identifier.identify(
        &Sent(vec![]),
        Some(&payloads),
        now(),
    ));
    assert_eq!(answer.unwrap(), Ok(Identity::Nobody), "nor does metadata");
}

fn proves(identifier: &Identifier, sent: &Sent) -> bool {
    match at_once(identifier, sent, now()) {
        Ok(Identity::Caller(_)) => true,
        Ok(Identity::Nobody) => panic!("a header is there"),
        Err(Unidentified::Refused(_)) => false,
        Ok(Identity::Token(_)) => panic!("an access token"),
        Err(Unidentified::Unavailable(why)) => panic!("{why}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_is_sent_proves_nothing(text in "\\PC*", token in "[A-Za-z0-9_.-]{0,300}") {
        prop_assert!(!proves(&ONE, &authorization(text)));
        prop_assert!(!proves(&ONE, &bearer(&token)));
    }

    #[test]
    fn whatever_json_is_sent_proves_nothing(
        header in json_text(), payload in json_text(), signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let message = format!("{}.{}", base64(header.as_bytes()), base64(payload.as_bytes()));
        let unproven = format!("{message}.{}", base64(&signature));
        prop_assert!(!proves(&ONE, &bearer(&unproven)));
        // Signed by the issuer, it is refused all the same: no `iss` and `exp` that fit.
        prop_assert!(!proves(&ONE, &bearer(&KEY.sign_message(&message))));
    }

    #[test]
    fn a_changed_token_proves_nothing(
        place in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_.-]", how in 0..3u8,
    ) {
        let token = KEY.token(&claims());
        let place = place.index(token.len());
        let mut changed = token.clone();
        match how {
            0 => changed.replace_range(place..=place, &letter),
            1 => changed.insert_str(place, &letter),
            _ => drop(changed.remove(place)),
        }
        prop_assert_eq!(proves(&ONE, &bearer(&changed)), changed == token);
    }
}

static KEY: LazyLock<Signer> = LazyLock::new(|| Signer::es256("ec"));
static ONE: LazyLock<Identifier> =
    LazyLock::new(|| offline(vec![jwt(ISSUER)], &[(ISSUER, vec![KEY.jwk()])]));

/// JSON objects with the names that matter.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["ES256", "RS256", "none", "JWT", "ec", ISSUER, "osmo-device"])
            .prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z_]{1,8}", inner, 0..4).prop_map(Value::from_iter),
        ]
    });
    let names = prop::sample::select(vec![
        "alg",
        "kid",
        "typ",
        "crit",
        "jwk",
        "iss",
        "aud",
        "azp",
        "exp",
        "nbf",
        "iat",
        "sub",
        "preferred_username",
        "realm_access",
        "cnf",
    ]);
    prop::collection::vec((names, value), 0..10).prop_map(|fields| {
        let fields: Vec<String> =
            fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}
