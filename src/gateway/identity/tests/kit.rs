//! Keys, tokens, headers and a cache for the tests.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use futures_util::FutureExt;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::super::issuer::Pace;
use super::super::{Identifier, JwksCache};
use crate::config::{
    DpopConfig, GatewayConfig, IdentifyBy, IdentityWay as Way, JustInTime, JwtConfig,
};
use crate::gateway::question::{Header, Headers, Identity, Unidentified};
use crate::model::Time;
use crate::model::caller::{Caller, KnownBy};

pub const ISSUER: &str = "https://auth.example.com/realms/osmo";
pub const NOW: i64 = 1_800_000_000;

pub fn at(seconds: i64) -> Time {
    Time::from_timestamp(seconds, 0).unwrap()
}

pub fn now() -> Time {
    at(NOW)
}

/// A key pair and its name.
#[derive(Clone)]
pub struct Signer {
    pub algorithm: Algorithm,
    pub kid: &'static str,
    pub encoding: EncodingKey,
}

static RSA: LazyLock<Vec<EncodingKey>> = LazyLock::new(|| {
    let made = || {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // PKCS#1 is in there after 26 bytes of PKCS#8.
        EncodingKey::from_rsa_der(&der.as_ref()[26..])
    };
    vec![made(), made()]
});

impl Signer {
    /// One of two RSA keys.
    pub fn rsa(kid: &'static str, which: usize) -> Signer {
        Signer { algorithm: Algorithm::RS256, kid, encoding: RSA[which].clone() }
    }

    pub fn with(&self, algorithm: Algorithm) -> Signer {
        Signer { algorithm, ..self.clone() }
    }

    pub fn es256(kid: &'static str) -> Signer {
        let rng = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
        let encoding = EncodingKey::from_ec_der(der.as_ref());
        Signer { algorithm: Algorithm::ES256, kid, encoding }
    }

    pub fn es384(kid: &'static str) -> Signer {
        let rng = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &rng).unwrap();
        let encoding = EncodingKey::from_ec_der(der.as_ref());
        Signer { algorithm: Algorithm::ES384, kid, encoding }
    }

    pub fn ed25519(kid: &'static str) -> Signer {
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let encoding = EncodingKey::from_ed_der(der.as_ref());
        Signer { algorithm: Algorithm::EdDSA, kid, encoding }
    }

    /// The public key as issuers show it, with `alg` and `use`.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.encoding, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// As [`Signer::jwk`], without `alg`.
    pub fn open_jwk(&self) -> Value {
        let mut jwk = self.jwk();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    }

    pub fn header(&self) -> Value {
        json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT", "kid": self.kid})
    }

    /// Signs whatever it is given.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", base64(header.as_bytes()), base64(payload.as_bytes()));
        self.sign_message(&message)
    }

    pub fn sign_message(&self, message: &str) -> String {
        let made = jsonwebtoken::crypto::sign(message.as_bytes(), &self.encoding, self.algorithm);
        format!("{message}.{}", made.unwrap())
    }

    /// A token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }
}

/// base64url without padding.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * place)) as usize & 63]));
        }
    }
    text
}

/// What a good token claims.
pub fn claims() -> Value {
    claims_of(ISSUER)
}

pub fn claims_of(issuer: &str) -> Value {
    json!({
        "iss": issuer,
        "sub": "7b9f2c1e",
        "typ": "Bearer",
        "azp": "osmo-browser-flow",
        "aud": "account",
        "iat": NOW - 10,
        "exp": NOW + 300,
        "preferred_username": "ann",
        "realm_access": {"roles": ["osmo-user", "offline_access"]},
    })
}

/// [`claims`] with one of them set.
pub fn but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// [`claims`] without one of them.
pub fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Headers of a request, in order.
pub struct Sent(pub Vec<(&'static str, String)>);

impl Headers for Sent {
    fn header(&self, name: &str) -> Header<'_> {
        let mut found = self.0.iter().filter(|(header, _)| *header == name);
        match (found.next(), found.next()) {
            (None, _) => Header::Absent,
            (Some((_, value)), None) => Header::One(value),
            (Some(_), Some(_)) => Header::Bad,
        }
    }
}

pub fn authorization(value: impl Into<String>) -> Sent {
    Sent(vec![("authorization", value.into())])
}

pub fn bearer(token: &str) -> Sent {
    authorization(format!("Bearer {token}"))
}

/// A cache in memory.
#[derive(Default)]
pub struct MemoryJwksCache(pub Mutex<HashMap<String, String>>);

impl MemoryJwksCache {
    pub fn of(keys: &[(&str, Vec<Value>)]) -> Arc<MemoryJwksCache> {
        let set = |keys: &Vec<Value>| json!({"keys": keys}).to_string();
        let kept = keys.iter().map(|(issuer, keys)| ((*issuer).to_owned(), set(keys)));
        Arc::new(MemoryJwksCache(Mutex::new(kept.collect())))
    }
}

impl JwksCache for MemoryJwksCache {
    fn load(&self, issuer: &str) -> Option<String> {
        self.0.lock().unwrap().get(issuer).cloned()
    }

    fn keep(&self, issuer: &str, jwks: &str) -> bool {
        self.0.lock().unwrap().insert(issuer.to_owned(), jwks.to_owned());
        true
    }
}

pub fn jwt(issuer: &str) -> JwtConfig {
    JwtConfig {
        issuer: issuer.to_owned(),
        identify: IdentifyBy::Source("kc".to_owned()),
        audiences: vec!["osmo-browser-flow".to_owned(), "osmo-device".to_owned()],
        authorized_parties: None,
        username_claim: "preferred_username".to_owned(),
        names_are_addresses: false,
        jwks_url: None,
        roles_claim: Some("realm_access.roles".to_owned()),
        ca_file: None,
        service_roles: None,
        dpop_required: false,
    }
}

pub fn config(identity: Way, jwt: Vec<JwtConfig>) -> GatewayConfig {
    GatewayConfig {
        tls: None,
        grpc_health: false,
        grpc: None,
        http: None,
        identity,
        user_header: "x-osmo-user".to_owned(),
        roles_header: "x-osmo-roles".to_owned(),
        max_staleness: Duration::from_secs(86_400),
        provision: JustInTime::Off,
        anonymous_role: None,
        preset: None,
        max_connections: 10,
        subject: None,
        tokens: None,
        logout: None,
        dpop: DpopConfig::default(),
        jwt,
        routes: Vec::new(),
        allowed: Vec::new(),
        authzen: None,
    }
}

/// A pace at which no issuer is ever asked for an unknown key.
pub const NEVER: Pace = Pace {
    refresh: Duration::from_secs(3600),
    ration: Duration::from_secs(3600),
    burst: 0,
    wait: Duration::from_secs(60),
};

/// Knows these keys and asks no issuer.
pub fn offline(jwt: Vec<JwtConfig>, keys: &[(&str, Vec<Value>)]) -> Identifier {
    offline_with(&config(Way::Jwt, jwt), keys)
}

/// The same by a whole configuration.
pub fn offline_with(config: &GatewayConfig, keys: &[(&str, Vec<Value>)]) -> Identifier {
    Identifier::with_pace(config, Some(MemoryJwksCache::of(keys)), NEVER).unwrap()
}

/// What is answered without waiting for anything.
pub fn at_once(
    identifier: &Identifier,
    headers: &Sent,
    now: Time,
) -> Result<Identity, Unidentified> {
    identifier.identify(headers, None, now).now_or_never().expect("nothing to wait for")
}

pub fn caller(answer: Result<Identity, Unidentified>) -> Arc<Caller> {
    match answer {
        Ok(Identity::Caller(caller)) => caller,
        other => panic!("nobody is identified: {other:?}"),
    }
}

/// Whom the store knows by this id.
pub fn known_by(ext: &str) -> KnownBy {
    KnownBy::Id { source: "kc".to_owned(), ext: ext.to_owned() }
}

pub fn reason(answer: Result<Identity, Unidentified>) -> String {
    match answer {
        Err(Unidentified::Refused(why)) => why.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}
