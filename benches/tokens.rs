//! What access tokens cost a gateway: a decision by one beside a decision by a JWT that was verified
//! before, whole requests from headers to headers; and what each adds to a generation in memory.
//!
//! `cargo bench --bench tokens` exits 1 where a limit is passed: 1.3 times, 60 bytes a token.
//! `BENCH_USERS` (100,000) and `BENCH_TOKENS` (1,000,000) change the sizes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot go on ends as a test does"
)]

#[path = "../tests/support/door.rs"]
#[expect(dead_code, reason = "shared with tests/, which need more of it")]
mod door;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use chrono::Utc;
use door::Reader;
use idpsyncd::config::{self, Config};
use idpsyncd::gateway::answer::Answer;
use idpsyncd::gateway::authorizer::{Authorizer, Incoming, Upgrade};
use idpsyncd::gateway::identity::{Identifier, JwksCache};
use idpsyncd::gateway::question::{Header, Headers};
use idpsyncd::gateway::replica::{Replica, Wanted};
use idpsyncd::gateway::watcher::ReplicaWatcher;
use idpsyncd::model::token;
use idpsyncd::source::OnProgress;
use idpsyncd::sync::{Options, run};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;

const ISSUER: &str = "https://auth.example.com/realms/acme";
/// Requests of each kind, each by somebody else.
const ASKED: usize = 2_000;
const ROUNDS: usize = 201;
/// Says to a child process what to load, with tokens or without.
const MEASURE: &str = "IDPSYNCD_BENCH_TOKENS";

fn size(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn secret(n: usize) -> String {
    // As long as a real one; what is random of it is its digest.
    format!("{n:043}")
}

/// A store of users of a realm with 50 groups, and their tokens, with names as people give them.
fn made(folder: &Path, users: usize, tokens: usize) -> Config {
    let groups: Vec<String> = (0..50)
        .map(|n| format!(r#"{{"id":"g{n}","name":"g{n}","path":"/g{n}","subGroups":[]}}"#))
        .collect();
    let mut realm = format!(
        r#"{{"realm":"acme","groups":[{}],"roles":{{"realm":[],"client":{{}}}},"users":["#,
        groups.join(",")
    );
    for n in 0..users {
        let comma = if n == 0 { "" } else { "," };
        let (one, two) = (n % 50, (n * 7 + 1) % 50);
        write!(
            realm,
            r#"{comma}{{"id":"{n:08x}-1111-4222-8333-444455556666","username":"user{n:07}","enabled":true,"groups":["/g{one}","/g{two}"]}}"#
        )
        .unwrap();
    }
    realm.push_str("]}");
    std::fs::write(folder.join("realm.json"), realm).unwrap();
    let mut text = format!(
        "[store]\npath = \"store.db\"\n[[source]]\nname = \"acme\"\nkind = \"file\"\n\
         realm_export = \"realm.json\"\n[gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"jwt\"\n\
         preset = \"osmo\"\n[[gateway.jwt]]\nissuer = \"{ISSUER}\"\nsource = \"acme\"\n\
         audiences = [\"app\"]\n[gateway.tokens]\nenabled = true\n"
    );
    for n in 0..50 {
        write!(
            text,
            "[roles.r{n}]\nexternal_roles = [\"g{n}\"]\n[[roles.r{n}.policies]]\n\
             actions = [\"workflow:*\"]\nresources = [\"pool/*\"]\n"
        )
        .unwrap();
    }
    std::fs::write(folder.join("idpsyncd.toml"), text).unwrap();
    let config = config::load(&folder.join("idpsyncd.toml"), &idpsyncd::source::kinds()).unwrap();
    let options =
        Options { dry_run: false, sources: None, what: "bench".to_owned(), ..Options::default() };
    let silent: OnProgress = Arc::new(|_| {});
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(run(
            &config,
            &*idpsyncd::store::open(&config.store),
            &options,
            &silent,
            Utc::now(),
        ))
        .unwrap();
    let mut store = rusqlite::Connection::open(config.store.to_string()).unwrap();
    let of_user: Vec<(i64, i64)> = store
        .prepare("SELECT id, role_set FROM user ORDER BY id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let writing = store.transaction().unwrap();
    {
        let mut insert = writing
            .prepare(
                "INSERT INTO token (user, name, digest, expires_at, description, by, at, role_set) \
                 VALUES (?1, ?2, ?3, 4000000000, '', 'bench', 0, ?4)",
            )
            .unwrap();
        for n in 0..tokens {
            let (user, set) = of_user[n % of_user.len()];
            let name = format!("nightly-{}", n / of_user.len());
            let digest = token::digest(&secret(n));
            insert.execute((user, name, digest.as_slice(), set)).unwrap();
        }
    }
    writing.commit().unwrap();
    config
}

struct Bearer(String);

impl Headers for Bearer {
    fn header(&self, name: &str) -> Header<'_> {
        if name == "authorization" { Header::One(&self.0) } else { Header::Absent }
    }
}

struct MemoryJwksCache(String);

impl JwksCache for MemoryJwksCache {
    fn load(&self, _: &str) -> Option<String> {
        Some(self.0.clone())
    }

    fn keep(&self, _: &str, _: &str) -> bool {
        true
    }
}

fn verdict(what: &str, passed: bool) -> bool {
    println!("{}: {what}", if passed { "PASS" } else { "FAIL" });
    passed
}

fn speed(config: &Config, users: usize) -> bool {
    let rng = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    let signing = EncodingKey::from_ec_der(der.as_ref());
    let mut jwk = Jwk::from_encoding_key(&signing, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some("k".to_owned());
    let mut header = jsonwebtoken::Header::new(Algorithm::ES256);
    header.kid = Some("k".to_owned());
    let exp = Utc::now().timestamp() + 86_400;
    let jwts: Vec<Bearer> = (0..ASKED)
        .map(|n| {
            let n = n * 37 % users;
            // As large as Keycloak's are.
            let roles: Vec<String> = (0..12).map(|n| format!("default-role-{n}")).collect();
            let claims = json!({
                "iss": ISSUER, "aud": "account", "azp": "app", "typ": "Bearer", "exp": exp,
                "sub": format!("{n:08x}-1111-4222-8333-444455556666"),
                "preferred_username": format!("user{n:07}"), "realm_access": {"roles": roles},
            });
            Bearer(format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &signing).unwrap()))
        })
        .collect();
    let tokens: Vec<Bearer> =
        (0..ASKED).map(|n| Bearer(format!("Bearer {}", secret(n * 37 % users)))).collect();

    let gateway = config.gateway.clone().unwrap();
    let cache = Arc::new(MemoryJwksCache(json!({ "keys": [jwk] }).to_string()));
    let identifier = Arc::new(Identifier::new(&gateway, Some(cache)).unwrap());
    let watcher = Arc::new(
        ReplicaWatcher::start(
            idpsyncd::store::open(&config.store),
            Authorizer::wanted(&gateway).unwrap(),
        )
        .unwrap(),
    );
    let authorizer = Authorizer::new(&gateway, identifier, Arc::clone(&watcher), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
        assert!(watcher.at_least(1, deadline).await);
        let round = async |sent: &[Bearer]| {
            let began = Instant::now();
            for bearer in sent {
                let incoming = Incoming {
                    method: "POST",
                    target: "/api/pool/ml-a/workflow",
                    host: Header::Absent,
                    tls: false,
                    upgrade: Upgrade::None,
                    headers: bearer,
                    payloads: None,
                };
                let answer = authorizer.answer(&incoming).await;
                assert!(matches!(answer, Answer::Allow(_)), "{answer:?}");
            }
            began.elapsed().as_secs_f64() * 1e9 / sent.len() as f64
        };
        // Verifies them once.
        round(&jwts).await;
        // Turn by turn, so that both see the same machine.
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(round(&jwts).await);
            ours.push(round(&tokens).await);
        }
        let median = |mut took: Vec<f64>| {
            took.sort_by(f64::total_cmp);
            took[took.len() / 2]
        };
        let (theirs, ours) = (median(theirs), median(ours));
        let ratio = ours / theirs;
        println!("a request by a verified JWT {theirs:.0} ns, by an access token {ours:.0} ns");
        verdict(&format!("{ratio:.2} times, 1.3 at most"), ratio <= 1.3)
    })
}

/// `VmRSS` of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// In a process of its own: what a generation takes, in bytes.
fn measure(path: &Path, tokens: bool) {
    let wanted = Arc::new(Wanted { tokens, ..Wanted::default() });
    let before = resident();
    let replica = {
        let reader = Reader::open(path).unwrap().unwrap();
        Replica::load(&*reader, wanted).unwrap()
    };
    println!("{}", resident() - before);
    drop(replica);
}

fn growth(config: &Config, tokens: usize) -> bool {
    let loaded = |with: &str| -> u64 {
        let child = Command::new(std::env::current_exe().unwrap())
            .env(MEASURE, with)
            .env("STORE", config.store.to_string())
            .output()
            .unwrap();
        String::from_utf8(child.stdout).unwrap().trim().parse().unwrap()
    };
    let (without, with) = (loaded("without"), loaded("with"));
    let each = (with.saturating_sub(without)) as f64 / tokens as f64;
    println!(
        "a generation takes {} MiB without, {} MiB with {tokens} tokens",
        without >> 20,
        with >> 20
    );
    verdict(&format!("{each:.1} bytes a token, less than 60"), each < 60.0)
}

fn main() {
    if let Some(with) = std::env::var_os(MEASURE) {
        let store = std::env::var_os("STORE").unwrap();
        measure(Path::new(&store), with == "with");
        return;
    }
    let (users, tokens) = (size("BENCH_USERS", 100_000), size("BENCH_TOKENS", 1_000_000));
    assert!(tokens >= users, "everybody has a token here");
    let folder = tempfile::tempdir().unwrap();
    let config = made(folder.path(), users, tokens);
    println!("{users} users, {tokens} tokens");
    let mut passed = growth(&config, tokens);
    passed &= speed(&config, users);
    std::process::exit(i32::from(!passed));
}
