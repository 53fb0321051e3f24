//! A person is who the source says: whoever a run does not provision, does not rename, replaces or
//! holds is nobody at the gateway, whatever the token's name says, however it was verified, and
//! whether or not strangers are looked up.
#![cfg(test)]

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use chrono::Utc;
use idpsyncd::config::{self, Config};
use idpsyncd::gateway::answer::Answer;
use idpsyncd::gateway::authorizer::{Authorizer, Incoming, Upgrade};
use idpsyncd::gateway::identity::{Identifier, JwksCache};
use idpsyncd::gateway::provision::{Limits, Provisioner};
use idpsyncd::gateway::question::{Header, Headers};
use idpsyncd::gateway::watcher::ReplicaWatcher;
use idpsyncd::source::OnProgress;
use idpsyncd::sync::{Options, Outcome, run};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

const ISSUER: &str = "https://auth.example.com/realms/acme";

const TOML: &str = r#"
[store]
path = "store.db"
[sync]
on_missing = { after = "0s" }
[guard]
protected_roles = { top = 1 }
[[source]]
name = "kc"
kind = "file"
realm_export = "kc.json"
LINK
[[source]]
name = "hr"
kind = "file"
realm_export = "hr.json"
[roles.everyone]
everyone = true
external_roles = []
[[roles.everyone.policies]]
actions = ["page:Read"]
[roles.top]
external_roles = []
[[mapping]]
realm_role = "top"
roles = ["top"]
[gateway]
http = "127.0.0.1:0"
identity = "IDENTITY"
provision = "PROVISION"
[[gateway.jwt]]
issuer = "https://auth.example.com/realms/acme"
source = "kc"
audiences = ["app"]
[[gateway.route]]
path = "/page"
action = "page:Read"
"#;

/// A user of a realm: id, name, and what else.
type User = (&'static str, &'static str, &'static str);

/// One way in which a run does not let an account be the person that it is called.
struct Case {
    name: &'static str,
    /// What stands in the place of `LINK`.
    source: &'static str,
    hr: &'static [User],
    /// The realm, sync by sync.
    kc: Vec<Vec<User>>,
    /// What the last run says; empty: it holds a plan.
    says: &'static str,
    /// The accounts that are nobody then, and the names that their tokens bear.
    nobody: &'static [(&'static str, &'static str)],
    /// Accounts that are who they were, and what the upstream is told.
    somebody: &'static [(&'static str, &'static str, &'static str)],
}

fn case(name: &'static str, kc: &[&[User]], says: &'static str) -> Case {
    Case {
        name,
        source: "",
        hr: &[],
        kc: kc.iter().map(|users| users.to_vec()).collect(),
        says,
        nobody: &[],
        somebody: &[],
    }
}

const ROOT: User = ("id-root", "root", "top");

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let mut many: Vec<User> = (0..60u8)
        .map(|n| {
            let id: &'static str = Box::leak(format!("id-bad{n:02}").into_boxed_str());
            let name: &'static str = Box::leak(format!("bad name {n}").into_boxed_str());
            (id, name, "")
        })
        .collect();
    many.push(ROOT);
    vec![
        Case {
            nobody: &[("id-x", "a b"), ("id-x", "root")],
            somebody: &[("id-root", "root", "root")],
            ..case(
                "a name that is no username",
                &[&[ROOT], &[ROOT, ("id-x", "a b", "")]],
                "user `id-x` is not provisioned",
            )
        },
        Case {
            nobody: &[("id-m", "m m"), ("id-m", "mallory")],
            ..case(
                "somebody known under a name that is no username now",
                &[&[ROOT, ("id-m", "mallory", "")], &[ROOT, ("id-m", "m m", "")]],
                "user `id-m` is not provisioned",
            )
        },
        Case {
            nobody: &[("id-bad59", "root"), ("id-bad00", "bad name 0")],
            ..Case { kc: vec![many], ..case("many names that are none", &[], "more users are not") }
        },
        Case {
            nobody: &[("id-w", "ａlice"), ("id-w", "alice")],
            somebody: &[("id-a", "anything", "alice")],
            ..case(
                "a name in wide letters",
                &[
                    &[ROOT, ("id-a", "alice", "top")],
                    &[ROOT, ("id-a", "alice", "top"), ("id-w", "ａlice", "")],
                ],
                "more than one user comes to the username `alice`",
            )
        },
        Case {
            nobody: &[("id-1", "twin"), ("id-2", "Twin")],
            ..case(
                "two newcomers of one name",
                &[&[ROOT], &[ROOT, ("id-1", "twin", ""), ("id-2", "Twin", "")]],
                "more than one user comes to the username `twin`",
            )
        },
        Case {
            hr: &[("hr-ceo", "ceo", "")],
            nobody: &[("id-m", "ceo"), ("id-m", "mallory"), ("hr-ceo", "ceo")],
            ..case(
                "a rename to somebody whom another source knows",
                &[&[ROOT, ("id-m", "mallory", "")], &[ROOT, ("id-m", "ceo", "")]],
                "user `mallory` cannot be renamed to `ceo`",
            )
        },
        Case {
            nobody: &[("id-1", "same"), ("id-2", "same"), ("id-1", "one")],
            ..case(
                "a name that two want",
                &[
                    &[ROOT, ("id-1", "one", ""), ("id-2", "two", "")],
                    &[ROOT, ("id-1", "same", ""), ("id-2", "Same", "")],
                ],
                "cannot be renamed to `same`",
            )
        },
        Case {
            nobody: &[("id-old", "ann")],
            somebody: &[("id-new", "ann", "ann")],
            ..case(
                "a new person under an old name",
                &[&[ROOT, ("id-old", "ann", "")], &[ROOT, ("id-new", "ann", "")]],
                "`ann` belongs to another person now",
            )
        },
        Case {
            nobody: &[("id-old", "ann")],
            somebody: &[("id-new", "ann", "ann")],
            ..case(
                "somebody who is back, and whose name is taken",
                &[
                    &[ROOT, ("id-old", "ann", "")],
                    &[ROOT, ("id-new", "ann", "")],
                    &[ROOT, ("id-new", "ann", ""), ("id-old", "Ann", "")],
                ],
                "`ann` is back, but the username `ann` belongs to someone else now",
            )
        },
        Case {
            nobody: &[("id-thief", "root"), ("id-thief", "thief")],
            somebody: &[("id-m", "mallory", "mallory")],
            ..case(
                "a replacement that the guard holds",
                &[
                    &[ROOT, ("id-m", "mallory", "")],
                    &[("id-thief", "root", ""), ("id-m", "mallory", "")],
                ],
                "",
            )
        },
        Case {
            nobody: &[("id-m", "root"), ("id-m", "mallory")],
            ..case(
                "a rename that the guard holds",
                &[&[ROOT, ("id-m", "mallory", "")], &[("id-m", "root", "")]],
                "",
            )
        },
        Case {
            hr: &[("hr-a", "alice", "")],
            nobody: &[("id-b", "alice")],
            somebody: &[("id-root", "root", "root")],
            ..case(
                "a new id under the name of somebody whom another source still lists",
                &[&[ROOT, ("id-a", "alice", "")], &[ROOT, ("id-b", "alice", "")]],
                "the newcomer is not provisioned while another source lists",
            )
        },
        Case {
            source: "lifecycle = false",
            hr: &[("hr-root", "root", "")],
            nobody: &[("id-x", "xavier"), ("id-x", "root")],
            somebody: &[("id-root", "xavier", "root")],
            ..case(
                "somebody whom only a source knows that gives roles only",
                &[&[ROOT], &[ROOT, ("id-x", "xavier", "")]],
                "are known to it alone",
            )
        },
        Case {
            source: "link_by = \"email\"",
            hr: &[("hr-bob", "bob", "bob@example.org"), ("hr-rob", "robert", "rob@example.org")],
            // He is Robert, who is called Bob in the realm; the other Bob has no account there.
            somebody: &[("id-bob", "bob", "robert")],
            nobody: &[("hr-bob", "bob"), ("hr-rob", "robert")],
            ..case(
                "a name of somebody else in another source",
                &[&[ROOT], &[ROOT, ("id-bob", "bob", "rob@example.org")]],
                "-",
            )
        },
    ]
}

fn realm(users: &[User]) -> Value {
    let users: Vec<Value> = users
        .iter()
        .map(|(id, name, more)| {
            let roles: &[&str] = if *more == "top" { &["top"] } else { &[] };
            let mut user =
                json!({"id": id, "username": name, "enabled": true, "realmRoles": roles});
            if more.contains('@') {
                user["email"] = json!(more);
                user["emailVerified"] = json!(true);
            }
            user
        })
        .collect();
    json!({"realm": "acme", "groups": [], "users": users,
        "roles": {"realm": [{"id": "r", "name": "top"}], "client": {}}})
}

static KEY: LazyLock<EncodingKey> = LazyLock::new(|| {
    let rng = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    EncodingKey::from_ec_der(der.as_ref())
});

struct MemoryJwksCache;

impl JwksCache for MemoryJwksCache {
    fn load(&self, _: &str) -> Option<String> {
        let mut jwk = Jwk::from_encoding_key(&KEY, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some("k".to_owned());
        Some(json!({"keys": [jwk]}).to_string())
    }

    fn keep(&self, _: &str, _: &str) -> bool {
        true
    }
}

fn claims(sub: &str, name: &str) -> Value {
    json!({"iss": ISSUER, "sub": sub, "preferred_username": name, "azp": "app", "typ": "Bearer",
        "exp": Utc::now().timestamp() + 300})
}

struct Authorization(Option<String>);

impl Headers for Authorization {
    fn header(&self, name: &str) -> Header<'_> {
        match &self.0 {
            Some(value) if name == "authorization" => Header::One(value),
            _ => Header::Absent,
        }
    }
}

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, source: &str, identity: &str, provision: &str) -> Config {
        let text = TOML
            .replace("LINK", source)
            .replace("IDENTITY", identity)
            .replace("PROVISION", provision);
        std::fs::write(self.path("idpsyncd.toml"), text).unwrap();
        config::load(&self.path("idpsyncd.toml"), &idpsyncd::source::kinds())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn write(&self, name: &str, users: &[User]) {
        std::fs::write(self.path(name), realm(users).to_string()).unwrap();
    }
}

async fn sync(config: &Config) -> Outcome {
    let options =
        Options { dry_run: false, sources: None, what: "test".to_owned(), ..Options::default() };
    let silent: OnProgress = Arc::new(|_| {});
    run(config, &*idpsyncd::store::open(&config.store), &options, &silent, Utc::now())
        .await
        .unwrap()
}

/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A gateway over the store, which follows it from now on.
struct Gate {
    label: String,
    config: Config,
    identifier: Arc<Identifier>,
    watcher: Arc<ReplicaWatcher>,
    authorizer: Authorizer,
}

impl Gate {
    fn open(label: &str, config: Config) -> Gate {
        let gateway = config.gateway.clone().unwrap();
        let identifier =
            Arc::new(Identifier::new(&gateway, Some(Arc::new(MemoryJwksCache))).unwrap());
        let store = idpsyncd::store::open(&config.store);
        let watcher = Arc::new(
            ReplicaWatcher::start(Arc::clone(&store), Authorizer::wanted(&gateway).unwrap())
                .unwrap(),
        );
        let limits = Limits {
            deadline: PATIENCE,
            lookup: PATIENCE,
            memory: Duration::ZERO,
            ..Limits::default()
        };
        let provisioner = (gateway.provision != config::JustInTime::Off).then(|| {
            Arc::new(Provisioner::new(Arc::new(config.clone()), store, limits, Arc::new(())))
        });
        let authorizer =
            Authorizer::new(&gateway, Arc::clone(&identifier), Arc::clone(&watcher), provisioner)
                .unwrap();
        let label = format!("{label}, {:?}, {:?}", gateway.identity, gateway.provision);
        Gate { label, config, identifier, watcher, authorizer }
    }

    async fn at_least(&self, generation: u64) {
        self.watcher.nudge();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        assert!(self.watcher.at_least(generation, deadline).await);
    }

    /// What the upstream is told; `Err`: the status of a refusal.
    async fn ask(&self, sub: &str, name: &str) -> Result<String, u16> {
        let claims = claims(sub, name);
        let payloads = json!({"jwt_payload": claims});
        let by_token = self.config.gateway.as_ref().unwrap().identity == config::IdentityWay::Jwt;
        let mut header = jsonwebtoken::Header::new(Algorithm::ES256);
        header.kid = Some("k".to_owned());
        let token = jsonwebtoken::encode(&header, &claims, &KEY).unwrap();
        let headers = Authorization(by_token.then(|| format!("Bearer {token}")));
        let incoming = Incoming {
            method: "GET",
            target: "/page",
            host: Header::Absent,
            tls: false,
            upgrade: Upgrade::None,
            headers: &headers,
            payloads: Some(&payloads).filter(|_| !by_token),
        };
        match self.authorizer.answer(&incoming).await {
            Answer::Allow(set) => {
                let user = set.iter().find(|set| &*set.name == "x-osmo-user").unwrap();
                Ok(user.value.clone().unwrap())
            }
            Answer::Denied(_) => Err(403),
            Answer::Unauthenticated | Answer::SessionEnded | Answer::NotPossessed(_) => Err(401),
            Answer::Unavailable(_) => Err(503),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_a_run_does_not_let_be_that_person_is_nobody() {
    for case in cases() {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        let config = home.config(case.source, "jwt", "off");
        home.write("hr.json", case.hr);
        let (last, before) = case.kc.split_last().unwrap();
        for users in before {
            home.write("kc.json", users);
            sync(&config).await;
        }
        // Those that saw the state before learn of the last run alone; the others read all.
        let ways = [("jwt", "off"), ("metadata", "off"), ("jwt", "lookup"), ("metadata", "lookup")];
        let open = |label: &str| {
            let gate = |(identity, provision): (&str, &str)| {
                Gate::open(
                    &format!("{}: {label}", case.name),
                    home.config(case.source, identity, provision),
                )
            };
            ways.map(gate)
        };
        let following = open("following");
        if !before.is_empty() {
            for gate in &following {
                gate.at_least(1).await;
            }
        }
        home.write("kc.json", last);
        let outcome = sync(&config).await;
        let plan = outcome.plan.as_ref().unwrap();
        match case.says {
            "" => assert!(plan.held.is_some(), "{}: nothing is held", case.name),
            "-" => assert!(plan.held.is_none(), "{}", case.name),
            says => {
                let told = outcome.warnings().iter().any(|warning| warning.contains(says));
                assert!(told, "{}: {:?}", case.name, outcome.warnings());
            }
        }
        for gate in following.iter().chain(&open("read anew")) {
            gate.at_least(outcome.generation).await;
            for (sub, name) in case.nobody {
                assert_eq!(gate.ask(sub, name).await, Err(403), "{}: {sub} {name}", gate.label);
            }
            for (sub, name, told) in case.somebody {
                let answer = gate.ask(sub, name).await;
                assert_eq!(answer.as_deref(), Ok(*told), "{}: {sub}", gate.label);
            }
            assert_eq!(gate.ask("", "root").await, Err(401), "{}", gate.label);
            assert!(!gate.label.is_empty() && Arc::strong_count(&gate.identifier) > 0);
        }
        // The same by the view, for gateways that read the store themselves.
        let conn = rusqlite::Connection::open(home.path("store.db")).unwrap();
        let whose = |ext: &str| {
            conn.query_row(
                "SELECT username FROM gateway_user_link WHERE source = 'kc' AND external_id = ?1",
                [ext],
                |row| row.get::<_, String>(0),
            )
        };
        for (sub, _) in case.nobody {
            assert!(whose(sub).is_err(), "{}: {sub} is {:?}", case.name, whose(sub));
        }
        for (sub, _, told) in case.somebody {
            assert_eq!(whose(sub).as_deref(), Ok(*told), "{}: {sub}", case.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_that_was_refused_counts_again_once_it_is_done_or_undone() {
    for (later, called) in [("mallory", "mallory"), ("free", "free"), ("ceo", "ceo")] {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        let config = home.config("", "jwt", "off");
        home.write("hr.json", &[("hr-ceo", "ceo", ""), ("hr-x", "xena", "")]);
        home.write("kc.json", &[ROOT, ("id-m", "mallory", "")]);
        sync(&config).await;
        let gate = Gate::open("rename", config.clone());
        home.write("kc.json", &[ROOT, ("id-m", "ceo", "")]);
        let refused = sync(&config).await;
        gate.at_least(refused.generation).await;
        assert_eq!(gate.ask("id-m", "ceo").await, Err(403));
        let again = sync(&config).await;
        assert_eq!(again.generation, refused.generation, "said once");
        // Whoever had the name is gone, or the name is another one.
        home.write("hr.json", &[("hr-x", "xena", "")]);
        home.write("kc.json", &[ROOT, ("id-m", later, "")]);
        let done = sync(&config).await;
        gate.at_least(done.generation).await;
        let told = gate.ask("id-m", "whatever").await;
        assert_eq!(told.as_deref(), Ok(called), "{:?}", done);
        assert!(!sync(&config).await.changes());
    }
}
