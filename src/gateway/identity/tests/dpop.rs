//! Tokens that are bound to a key, and their proofs (RFC 9449).

use std::sync::Arc;

use futures_util::FutureExt;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::{Identifier, ProofMemory};
use super::kit::*;
use crate::config::{IdentityWay as Way, JwtConfig};
use crate::gateway::answer::PossessionFault;
use crate::gateway::question::{Header, Identity, RequestLine, Unidentified};

/// A request as gateways tell of it.
const REQUEST: RequestLine<'static> = RequestLine {
    method: "GET",
    target: "/api/pool?x=1",
    host: Header::One("osmo.example.com"),
    tls: true,
};

const URL: &str = "https://osmo.example.com/api/pool";

/// An issuer, and somebody with a key of their own.
struct Stage {
    issuer: Signer,
    own: Signer,
    identifier: Identifier,
}

impl Stage {
    fn new(own: Signer) -> Stage {
        Stage::with(own, jwt(ISSUER))
    }

    fn with(own: Signer, jwt: JwtConfig) -> Stage {
        let issuer = Signer::es256("k");
        let identifier = offline(vec![jwt], &[(ISSUER, vec![issuer.jwk()])]);
        Stage { issuer, own, identifier }
    }

    /// A token that is bound to one's own key.
    fn token(&self) -> String {
        self.issuer.token(&but("cnf", json!({"jkt": thumbprint(&self.own)})))
    }

    fn ask(&self, token: &str, proof: &str, request: RequestLine<'static>) -> Answer {
        let sent = [("authorization", format!("DPoP {token}")), ("dpop", proof.to_owned())];
        self.send(&sent, request, NOW)
    }

    fn send(
        &self,
        sent: &[(&'static str, String)],
        request: RequestLine<'static>,
        now: i64,
    ) -> Answer {
        let sent = Sent(sent.to_vec());
        let answer = self.identifier.identify_request(&sent, Some(request), None, at(now));
        answer.now_or_never().expect("nothing to wait for")
    }

    /// What a proof of `token` is refused for, with `change` made to its header and claims.
    fn refused(&self, change: impl Fn(&mut Value, &mut Value)) -> String {
        let token = self.token();
        let (mut header, mut claims) = (header(&self.own), proof(&token));
        change(&mut header, &mut claims);
        let proof = self.own.sign(&header.to_string(), &claims.to_string());
        reason(self.ask(&token, &proof, REQUEST))
    }
}

type Answer = Result<Identity, Unidentified>;

fn thumbprint(signer: &Signer) -> String {
    let jwk: Jwk = serde_json::from_value(public(signer)).unwrap();
    jwk.thumbprint(ThumbprintHash::SHA256).unwrap()
}

/// The members of a public key that say what it is.
fn public(signer: &Signer) -> Value {
    let mut jwk = signer.open_jwk();
    for name in ["kid", "use"] {
        jwk.as_object_mut().unwrap().remove(name);
    }
    jwk
}

fn header(own: &Signer) -> Value {
    json!({"typ": "dpop+jwt", "alg": format!("{:?}", own.algorithm), "jwk": public(own)})
}

/// What a good proof of `token` claims.
fn proof(token: &str) -> Value {
    json!({
        "jti": format!("{:?}", std::time::Instant::now()),
        "htm": "GET",
        "htu": URL,
        "iat": NOW,
        "ath": base64(&Sha256::digest(token)),
    })
}

fn signed(own: &Signer, claims: &Value) -> String {
    own.sign(&header(own).to_string(), &claims.to_string())
}

/// What is told of a refusal.
fn fault(answer: &Answer) -> Option<PossessionFault> {
    match answer {
        Err(Unidentified::Refused(why)) => why.possession(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_bound_token_counts_with_a_proof_by_its_key_whichever_kind_that_is() {
    let rsa = Signer::rsa("r", 0);
    for own in [
        Signer::es256("own"),
        Signer::es384("own"),
        Signer::ed25519("own"),
        rsa.clone(),
        rsa.with(Algorithm::PS512),
    ] {
        let stage = Stage::new(own);
        let token = stage.token();
        // The second is known already.
        for _ in 0..2 {
            let answer = stage.ask(&token, &signed(&stage.own, &proof(&token)), REQUEST);
            assert_eq!(caller(answer).known_by, known_by("7b9f2c1e"), "{:?}", stage.own.algorithm);
        }
        // As Keycloak's are.
        let mut claims = but("typ", json!("DPoP"));
        claims["cnf"] = json!({"jkt": thumbprint(&stage.own), "kc-jkt-type": "DPoP"});
        let token = stage.issuer.token(&claims);
        caller(stage.ask(&token, &signed(&stage.own, &proof(&token)), REQUEST));
    }
}

#[test]
fn a_bound_token_is_no_bearers_and_a_bearers_is_not_bound() {
    let stage = Stage::new(Signer::es256("own"));
    let token = stage.token();
    let good = || signed(&stage.own, &proof(&token));
    let sent = |scheme: &str, token: &str| {
        vec![("authorization", format!("{scheme} {token}")), ("dpop", good())]
    };
    // Whether the token is known already or not.
    for _ in 0..2 {
        let bearer = stage.send(&sent("Bearer", &token), REQUEST, NOW);
        assert_eq!(fault(&bearer), Some(PossessionFault::Token));
        assert!(reason(bearer).contains("bound to a key (`cnf`), and a bearer token proves none"));
        caller(stage.send(&sent("dpop", &token), REQUEST, NOW));
    }
    let unbound = stage.issuer.token(&claims());
    for _ in 0..2 {
        let answer = stage.send(&sent("DPoP", &unbound), REQUEST, NOW);
        assert_eq!(fault(&answer), Some(PossessionFault::Token));
        assert!(reason(answer).contains("bound to no key"));
        // As a bearer's it counts, whatever proof is beside it.
        caller(stage.send(&sent("Bearer", &unbound), REQUEST, NOW));
    }
    // `typ` alone binds nothing.
    let said = stage.issuer.token(&but("typ", json!("DPoP")));
    for scheme in ["Bearer", "DPoP"] {
        reason(stage.send(&sent(scheme, &said), REQUEST, NOW));
    }
    // A bad token is the token's fault; a request without a token nobody's.
    let expired = json!({"jkt": thumbprint(&stage.own)});
    let mut expired = but("cnf", expired);
    expired["exp"] = json!(NOW - 100);
    let answer = stage.send(&sent("DPoP", &stage.issuer.token(&expired)), REQUEST, NOW);
    assert_eq!(fault(&answer), Some(PossessionFault::Token));
    assert!(reason(answer).contains("expired"));
    let nobody = stage.send(&[("dpop", good())], REQUEST, NOW);
    assert_eq!(nobody, Ok(Identity::Nobody));
    // Of a request of which nothing is known no proof says anything.
    let headers = Sent(sent("DPoP", &token));
    assert!(reason(at_once(&stage.identifier, &headers, now())).contains("nothing is known"));
}

#[test]
fn what_binds_a_token_besides_a_thumbprint_is_not_known_here() {
    let stage = Stage::new(Signer::es256("own"));
    let jkt = thumbprint(&stage.own);
    for cnf in [
        json!({"x5t#S256": "x"}),
        json!({"jkt": jkt, "x5t#S256": "x"}),
        json!({"jkt": jkt, "kid": "k"}),
        json!({"jkt": jkt, "jwk": null}),
        json!({"jkt": ""}),
        json!({"jkt": 1}),
        json!({"jkt": null}),
        json!({}),
        json!(null),
        json!([jkt]),
        json!(jkt),
    ] {
        let token = stage.issuer.token(&but("cnf", cnf.clone()));
        let answer = stage.ask(&token, &signed(&stage.own, &proof(&token)), REQUEST);
        assert!(reason(answer).contains("something else"), "{cnf}");
        assert!(
            reason(at_once(&stage.identifier, &bearer(&token), now())).contains("cnf"),
            "{cnf}"
        );
    }
    for jkt in [jkt.to_lowercase(), format!("{jkt}="), thumbprint(&Signer::es256("other"))] {
        let token = stage.issuer.token(&but("cnf", json!({"jkt": jkt})));
        let answer = stage.ask(&token, &signed(&stage.own, &proof(&token)), REQUEST);
        assert_eq!(fault(&answer), Some(PossessionFault::Proof));
        assert!(reason(answer).contains("another key"), "{jkt}");
    }
}

/// A change to a proof's header and claims.
type Change = fn(&mut Value, &mut Value);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_proof_that_is_not_of_this_request_token_and_moment_proves_nothing() {
    let stage = Stage::new(Signer::es256("own"));
    let table: &[(&str, Change, &str)] = &[
        (
            "no type",
            |h, _| {
                h.as_object_mut().unwrap().remove("typ");
            },
            "`typ`",
        ),
        ("a JWT's type", |h, _| h["typ"] = json!("JWT"), "`typ`"),
        ("an access token's", |h, _| h["typ"] = json!("at+jwt"), "`typ`"),
        ("another spelling", |h, _| h["typ"] = json!("DPoP+JWT"), "`typ`"),
        ("none", |h, _| h["alg"] = json!("none"), "asymmetric"),
        ("symmetric", |h, _| h["alg"] = json!("HS256"), "asymmetric"),
        ("unknown", |h, _| h["alg"] = json!("ES512"), "cannot verify"),
        (
            "no algorithm",
            |h, _| {
                h.as_object_mut().unwrap().remove("alg");
            },
            "`alg`",
        ),
        ("another algorithm", |h, _| h["alg"] = json!("ES384"), "not for its `alg`"),
        ("critical", |h, _| h["crit"] = json!(["x"]), "`crit`"),
        (
            "no key",
            |h, _| {
                h.as_object_mut().unwrap().remove("jwk");
            },
            "no key",
        ),
        ("a name in its place", |h, _| h["jwk"] = json!("own"), "no key"),
        ("a private key", |h, _| h["jwk"]["d"] = json!("c2VjcmV0"), "private one (`d`)"),
        ("a private factor", |h, _| h["jwk"]["p"] = json!("c2VjcmV0"), "private one (`p`)"),
        ("a symmetric key", |h, _| h["jwk"] = json!({"kty": "oct", "k": "c2VjcmV0"}), "private"),
        ("a key for something else", |h, _| h["jwk"]["use"] = json!("enc"), "`use`"),
        ("a broken key", |h, _| h["jwk"]["x"] = json!("AA"), "too short"),
        (
            "no jti",
            |_, c| {
                c.as_object_mut().unwrap().remove("jti");
            },
            "no `jti`",
        ),
        ("an empty jti", |_, c| c["jti"] = json!(""), "no `jti`"),
        ("a number for a jti", |_, c| c["jti"] = json!(7), "`jti` is not a string"),
        ("a long jti", |_, c| c["jti"] = json!("x".repeat(257)), "longer than 256"),
        (
            "no htm",
            |_, c| {
                c.as_object_mut().unwrap().remove("htm");
            },
            "no `htm`",
        ),
        ("another method", |_, c| c["htm"] = json!("POST"), "another method"),
        ("a method of another case", |_, c| c["htm"] = json!("get"), "another method"),
        (
            "no htu",
            |_, c| {
                c.as_object_mut().unwrap().remove("htu");
            },
            "no `htu`",
        ),
        (
            "no iat",
            |_, c| {
                c.as_object_mut().unwrap().remove("iat");
            },
            "no `iat`",
        ),
        ("a text for iat", |_, c| c["iat"] = json!("now"), "`iat` is not a time"),
        ("long ago", |_, c| c["iat"] = json!(NOW - 91), "91 s ago"),
        ("for later", |_, c| c["iat"] = json!(NOW + 31), "31 s from now"),
        (
            "no ath",
            |_, c| {
                c.as_object_mut().unwrap().remove("ath");
            },
            "no `ath`",
        ),
        ("another token", |_, c| c["ath"] = json!(base64(&Sha256::digest("x"))), "`ath`"),
        (
            "a padded ath",
            |_, c| c["ath"] = json!(format!("{}=", c["ath"].as_str().unwrap())),
            "`ath`",
        ),
    ];
    for (name, change, why) in table {
        let got = stage.refused(change);
        assert!(got.starts_with("the DPoP proof is refused: "), "{name}: {got}");
        assert!(got.contains(why), "{name}: {got}");
    }
    for fine in [NOW - 90, NOW + 30] {
        let token = stage.token();
        let mut claims = proof(&token);
        claims["iat"] = json!(fine);
        caller(stage.ask(&token, &signed(&stage.own, &claims), REQUEST));
    }

    let token = stage.token();
    let good = signed(&stage.own, &proof(&token));
    let other = Signer::es256("other");
    let another = other.sign(&header(&stage.own).to_string(), &proof(&token).to_string());
    let (signed_part, signature) = good.rsplit_once('.').unwrap();
    for (name, proof, why) in [
        ("signed by another key", another, "signature is wrong"),
        ("another's own", signed(&other, &proof(&token)), "another key"),
        ("without a signature", format!("{signed_part}."), "signature is wrong"),
        ("cut", good[..good.len() - 1].to_owned(), "signature is wrong"),
        ("a part too few", signed_part.to_owned(), ""),
        ("a part too many", format!("{signed_part}.x.{signature}"), ""),
        ("two in one", format!("{good}, {good}"), ""),
        ("empty", String::new(), "three parts"),
        ("very long", "x".repeat(8193), "longer than 8192"),
        ("the token itself", token.clone(), "`typ`"),
    ] {
        let answer = stage.ask(&token, &proof, REQUEST);
        assert_eq!(fault(&answer), Some(PossessionFault::Proof), "{name}");
        let got = reason(answer);
        assert!(got.contains(why), "{name}: {got}");
    }
    let scheme = ("authorization", format!("DPoP {token}"));
    let twice = [scheme.clone(), ("dpop", good.clone()), ("dpop", good.clone())];
    assert!(reason(stage.send(&twice, REQUEST, NOW)).contains("more than one"));
    assert!(reason(stage.send(&[scheme], REQUEST, NOW)).contains("there is none"));
    // None of all that has used up the good one.
    caller(stage.ask(&token, &good, REQUEST));
}

#[test]
fn the_url_of_a_proof_is_that_of_the_request_as_the_gateway_knows_it() {
    let stage = Stage::new(Signer::es256("own"));
    let asks = |htu: &str, request: RequestLine<'static>, more: &[(&'static str, &str)]| {
        let token = stage.token();
        let mut claims = proof(&token);
        claims["htu"] = json!(htu);
        let proof = signed(&stage.own, &claims);
        let mut sent = vec![("authorization", format!("DPoP {token}")), ("dpop", proof)];
        sent.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        stage.send(&sent, request, NOW)
    };
    for htu in [
        URL,
        "https://osmo.example.com/api/pool?other=query",
        "https://osmo.example.com/api/pool#fragment",
        "HTTPS://OSMO.example.com.:443/api/pool",
        "https://osmo.example.com/api/p%6Fol",
    ] {
        caller(asks(htu, REQUEST, &[]));
    }
    for (htu, why) in [
        ("http://osmo.example.com/api/pool", "scheme"),
        ("https://other.example.com/api/pool", "host"),
        ("https://osmo.example.com.evil.test/api/pool", "host"),
        ("https://osmo.example.com:8443/api/pool", "port"),
        ("https://osmo.example.com:80/api/pool", "port"),
        ("https://osmo.example.com/api/pools", "path"),
        ("https://osmo.example.com/api/pool/", "path"),
        ("https://osmo.example.com/API/pool", "path"),
        ("https://osmo.example.com/", "path"),
        ("https://osmo.example.com", "path"),
        ("https://osmo.example.com/api/x/../pool", "not a URL"),
        ("https://osmo.example.com/api%2Fpool", "not a URL"),
        ("https://user@osmo.example.com/api/pool", "not a URL"),
        ("https:///api/pool", "not a URL"),
        ("https://osmo.example.com\\api/pool", "not a URL"),
        ("//osmo.example.com/api/pool", "not a URL"),
        ("/api/pool", "not a URL"),
        ("osmo.example.com/api/pool", "not a URL"),
        ("ftp://osmo.example.com/api/pool", "not a URL"),
    ] {
        let got = reason(asks(htu, REQUEST, &[]));
        assert!(got.contains(why), "{htu}: {got}");
    }
    let plain = RequestLine { tls: false, ..REQUEST };
    // Where TLS ends before the gateway, it is asked in the clear.
    caller(asks(URL, plain, &[]));
    caller(asks("http://osmo.example.com:80/api/pool", plain, &[]));
    let port = RequestLine { host: Header::One("OSMO.example.com:8443"), ..plain };
    caller(asks("https://osmo.example.com:8443/api/pool", port, &[]));
    assert!(reason(asks(URL, port, &[])).contains("port"));
    let root = RequestLine { target: "/", ..REQUEST };
    caller(asks("https://osmo.example.com", root, &[]));
    caller(asks("https://osmo.example.com/?x", root, &[]));
    let post = RequestLine { method: "POST", ..REQUEST };
    assert!(reason(asks(URL, post, &[])).contains("method"));
    let dots = RequestLine { target: "/api/./pool", ..REQUEST };
    assert!(reason(asks(URL, dots, &[])).contains("path"));
    for (host, more, why) in [
        (Header::Absent, &[][..], "does not tell the host"),
        (Header::Absent, &[("x-forwarded-host", "osmo.example.com")], "does not tell the host"),
        (Header::Bad, &[], "more than once"),
        (Header::One("user@osmo.example.com"), &[], "a user before it"),
        (Header::One("osmo.example.com"), &[("x-forwarded-host", "a.test")], "different hosts"),
    ] {
        let got = reason(asks(URL, RequestLine { host, ..REQUEST }, more));
        assert!(got.contains(why), "{more:?}: {got}");
    }
}

#[test]
fn a_proof_is_for_the_hosts_that_are_named_whatever_host_a_client_asks() {
    let mut stage = Stage::new(Signer::es256("own"));
    let mut config = config(Way::Jwt, vec![jwt(ISSUER)]);
    config.dpop.hosts = ["osmo.example.com", "*.lab.example.com", "xn--bcher-kva.example"]
        .map(|host| host.parse().unwrap())
        .to_vec();
    stage.identifier = offline_with(&config, &[(ISSUER, vec![stage.issuer.jwk()])]);
    let asks = |named: &str, asked: &'static str| {
        let token = stage.token();
        let mut claims = proof(&token);
        claims["htu"] = json!(format!("https://{named}/api/pool"));
        let request = RequestLine { host: Header::One(asked), ..REQUEST };
        stage.ask(&token, &signed(&stage.own, &claims), request)
    };
    for (named, asked) in [
        ("osmo.example.com", "osmo.example.com"),
        ("OSMO.example.com.", "osmo.example.com"),
        ("osmo.example.com:8443", "osmo.example.com:8443"),
        ("a.lab.example.com", "a.lab.example.com"),
        ("b.a.lab.example.com", "b.a.lab.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ] {
        caller(asks(named, asked));
    }
    for foreign in [
        "shop.test",
        "example.com",
        "lab.example.com",
        "a.osmo.example.com",
        "xosmo.example.com",
        "xlab.example.com",
        "xn--bcher-kva.lab.example.com",
        "a.xn--bcher-kva.example",
        "127.0.0.1",
    ] {
        let got = reason(asks(foreign, foreign));
        assert!(got.contains("`gateway.dpop.hosts`"), "{foreign}: {got}");
    }
    // It is for one that is named, and for this request's as well.
    assert!(reason(asks("a.lab.example.com", "osmo.example.com")).contains("another host"));
    assert!(reason(asks("shop.test", "osmo.example.com")).contains("`gateway.dpop.hosts`"));
}

#[test]
fn a_proof_counts_once_for_as_long_as_it_could_come_again() {
    let mut stage = Stage::new(Signer::es256("own"));
    let token = stage.token();
    let proof = signed(&stage.own, &proof(&token));
    let sent = [("authorization", format!("DPoP {token}")), ("dpop", proof)];
    let memory: Arc<ProofMemory> = Arc::default();
    stage.identifier = stage.identifier.remembering(Arc::clone(&memory));
    caller(stage.send(&sent, REQUEST, NOW - 30));
    for later in [-30, 0, 45, 90] {
        let answer = stage.send(&sent, REQUEST, NOW + later);
        assert_eq!(fault(&answer), Some(PossessionFault::Proof));
        assert!(reason(answer).contains("used before"), "{later}");
    }
    assert!(reason(stage.send(&sent, REQUEST, NOW + 91)).contains("s ago"));
    // Another configuration in force does not forget.
    let issuer = [(ISSUER, vec![stage.issuer.jwk()])];
    stage.identifier = offline(vec![jwt(ISSUER)], &issuer).remembering(memory);
    assert!(reason(stage.send(&sent, REQUEST, NOW)).contains("used before"));
    // Somebody else's proof may have the same `jti`.
    let other = Signer::es384("other");
    let theirs = stage.issuer.token(&but("cnf", json!({"jkt": thumbprint(&other)})));
    let mut claims = self::proof(&theirs);
    claims["jti"] = json!("same");
    let again = signed(&other, &claims);
    caller(stage.ask(&theirs, &again, REQUEST));
    let mut claims = self::proof(&token);
    claims["jti"] = json!("same");
    caller(stage.ask(&token, &signed(&stage.own, &claims), REQUEST));
    assert!(reason(stage.ask(&theirs, &again, REQUEST)).contains("used before"));
}

#[test]
fn where_it_is_required_no_bearer_token_counts() {
    let config = JwtConfig { dpop_required: true, ..jwt(ISSUER) };
    let stage = Stage::with(Signer::es256("own"), config);
    let answer = at_once(&stage.identifier, &bearer(&stage.issuer.token(&claims())), now());
    assert_eq!(fault(&answer), Some(PossessionFault::Token));
    assert!(reason(answer).contains("dpop_required"));
    let token = stage.token();
    caller(stage.ask(&token, &signed(&stage.own, &proof(&token)), REQUEST));
}

#[test]
fn what_envoy_verified_is_no_bound_token() {
    let envoy = Identifier::new(&config(Way::Metadata, vec![jwt(ISSUER)]), None).unwrap();
    let payloads = json!({"p": but("cnf", json!({"jkt": "x"}))});
    let nothing = Sent(Vec::new());
    let answer = envoy.identify_request(&nothing, Some(REQUEST), Some(&payloads), now());
    assert!(reason(answer.now_or_never().unwrap()).contains("bound to a key"));
}
