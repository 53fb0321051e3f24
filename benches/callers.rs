//! What it costs to know who asks: verifying a token beside the bare verification of its signature,
//! knowing it again, and looking up someone whom nobody has seen at a Keycloak that takes 20 ms an
//! answer.
//!
//! `cargo bench --bench callers` exits 1 where a limit is passed: 1.5 times the bare verification, a
//! known token ten times cheaper than that, 300 ms at p99 for a stranger.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot go on ends as a test does"
)]

#[path = "../tests/support/slow_keycloak.rs"]
#[expect(dead_code, reason = "shared with tests/, which need more of it")]
mod slow_keycloak;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use futures_util::FutureExt;
use idpsyncd::config;
use idpsyncd::gateway::identity::{Identifier, JwksCache};
use idpsyncd::gateway::provision::{Limits, Provisioned};
use idpsyncd::gateway::question::{Header, Headers, Identity};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use serde_json::{Value, json};
use slow_keycloak::{Home, by_name};

const ISSUER: &str = "https://auth.example.com/realms/osmo";
const TOKENS: usize = 2_000;
const NEWCOMERS: usize = 400;

struct MemoryJwksCache(String);

impl JwksCache for MemoryJwksCache {
    fn load(&self, _: &str) -> Option<String> {
        Some(self.0.clone())
    }

    fn keep(&self, _: &str, _: &str) -> bool {
        true
    }
}

struct Bearer(String);

impl Headers for Bearer {
    fn header(&self, name: &str) -> Header<'_> {
        if name == "authorization" { Header::One(&self.0) } else { Header::Absent }
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "PASS" } else { "FAIL" }
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

fn tokens() -> bool {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    // PKCS#1 is in there after 26 bytes of PKCS#8.
    let signing = EncodingKey::from_rsa_der(&der.as_ref()[26..]);
    let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256).unwrap();
    jwk.common.key_id = Some("k1".to_owned());
    let now = chrono::Utc::now();
    let mut header = jsonwebtoken::Header::new(Algorithm::RS256);
    header.kid = Some("k1".to_owned());
    let sent: Vec<Bearer> = (0..TOKENS)
        .map(|n| {
            let claims = json!({
                "iss": ISSUER, "aud": "account", "azp": "osmo-device", "typ": "Bearer",
                "exp": now.timestamp() + 300, "iat": now.timestamp(), "sub": format!("id-{n}"),
                "preferred_username": format!("user{n}"), "email": format!("user{n}@example.org"),
                "realm_access": {"roles": ["offline_access", "default-roles-osmo"]},
            });
            Bearer(format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &signing).unwrap()))
        })
        .collect();

    let config = format!(
        "[store]\npath = \"s.db\"\n[[source]]\nname = \"a\"\nkind = \"file\"\nrealm_export = \"r.json\"\n\
         [gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"jwt\"\npreset = \"osmo\"\n\
         [[gateway.jwt]]\nissuer = \"{ISSUER}\"\nsource = \"a\"\naudiences = [\"osmo-device\"]\n"
    );
    let config =
        config::parse(&config, Path::new("bench.toml"), &idpsyncd::source::kinds()).unwrap();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let cache = Arc::new(MemoryJwksCache(json!({"keys": [jwk]}).to_string()));
    let identifier = Identifier::new(&config.gateway.unwrap(), Some(cache)).unwrap();
    let identify = |bearer: &Bearer| {
        let began = Instant::now();
        let who = identifier.identify(bearer, None, now).now_or_never().unwrap().unwrap();
        let took = began.elapsed();
        assert!(matches!(who, Identity::Caller(_)));
        took
    };
    let mut bare = Validation::new(Algorithm::RS256);
    bare.validate_aud = false;
    let verify = |bearer: &Bearer| {
        let token = bearer.0.strip_prefix("Bearer ").unwrap();
        let began = Instant::now();
        jsonwebtoken::decode::<Value>(token, &key, &bare).unwrap();
        began.elapsed()
    };
    // Side by side, so that both see the same machine.
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for bearer in &sent {
        theirs.push(verify(bearer));
        ours.push(identify(bearer));
    }
    let again = median(sent.iter().map(identify).collect());
    let (theirs, ours) = (median(theirs), median(ours));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    let cheaper = theirs.as_secs_f64() / again.as_secs_f64();
    println!("bare RS256 verification {theirs:?}, a token seen first {ours:?}, again {again:?}");
    println!(
        "seen first  {ratio:.2} x the bare verification (at most 1.5)  {}",
        verdict(ratio <= 1.5)
    );
    println!(
        "again       {cheaper:.0} x cheaper than it (at least 10)  {}",
        verdict(cheaper >= 10.0)
    );
    ratio <= 1.5 && cheaper >= 10.0
}

async fn newcomers() -> bool {
    let home = Home::new().await;
    let provisioner = home.provisioner(Limits::default());
    let mut met = true;
    for (label, by_id) in [("by the token's sub", true), ("by name", false)] {
        let mut took = Vec::new();
        for n in 0..NEWCOMERS {
            let name = format!("s{n}{by_id}");
            let who = if by_id { home.by_id(&name) } else { by_name(&name) };
            let began = Instant::now();
            let answer = provisioner.provision(&who).await;
            took.push(began.elapsed());
            assert!(matches!(answer, Provisioned::Committed { .. }), "{answer:?}");
        }
        let p99 = p99(took);
        let fine = p99 <= Duration::from_millis(300);
        println!("a stranger {label}: p99 {p99:?} (at most 300 ms)  {}", verdict(fine));
        met &= fine;
    }
    met
}

fn main() {
    let mut met = tokens();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    met &= runtime.block_on(newcomers());
    std::process::exit(i32::from(!met));
}
