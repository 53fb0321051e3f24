//! A company behind a fake Keycloak that takes 20 ms an answer, synced once: for counting the calls
//! of look-ups, for faults that a real server does not commit on demand, and for measuring.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idpsyncd::config::{self, Config};
use idpsyncd::gateway::provision::{Limits, Provisioner};
use idpsyncd::model::caller::{Caller, KnownBy};
use idpsyncd::source::OnProgress;
use idpsyncd::sync::{Options, run};
use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// What the fake was asked, and how it misbehaves.
#[derive(Default)]
pub struct Realm {
    /// The calls, in order.
    pub log: Vec<String>,
    /// Begin of a call to its answer: status, body.
    pub faults: BTreeMap<&'static str, (u16, &'static str)>,
    /// What `lea` of the federation `F` is shown as.
    pub lea_enabled: bool,
}

struct Answer(Arc<Mutex<Realm>>);

const DELAY: Duration = Duration::from_millis(20);

fn user(id: &str, name: &str) -> Value {
    json!({"id": id, "username": name, "enabled": true, "emailVerified": false})
}

impl Respond for Answer {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut realm = self.0.lock().unwrap();
        let path = request.url.path().to_owned();
        let query = request.url.query().unwrap_or_default().to_owned();
        let json = |value: Value| ResponseTemplate::new(200).set_body_json(value).set_delay(DELAY);
        let base = format!("http://{}", request.headers["host"].to_str().unwrap());
        if path == "/realms/r/.well-known/openid-configuration" {
            let at = |end: &str| format!("{base}/realms/r/protocol/openid-connect/{end}");
            return json(json!({"issuer": format!("{base}/realms/r"),
                "authorization_endpoint": at("auth"), "token_endpoint": at("token"),
                "jwks_uri": at("certs"), "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"]}));
        }
        if path == "/realms/r/protocol/openid-connect/token" {
            realm.log.push("POST token".to_owned());
            // {"sub":"reader"}: a lightweight token, which shows no rights.
            return json(json!({"access_token": "x.eyJzdWIiOiJyZWFkZXIifQ.y", "expires_in": 300,
                "token_type": "Bearer"}));
        }
        // Whoever wants to follow the realm hears that it keeps no events.
        if path == "/admin/realms/r" {
            return json(json!({"id": "r", "realm": "r", "adminEventsEnabled": false}));
        }
        let below = path.strip_prefix("/admin/realms/r/").unwrap();
        let call = if query.is_empty() { below.to_owned() } else { format!("{below}?{query}") };
        realm.log.push(call.clone());
        let fault = realm.faults.iter().find(|(begin, _)| call.starts_with(**begin));
        if let Some((_, (status, body))) = fault {
            return ResponseTemplate::new(*status).set_body_string(*body).set_delay(DELAY);
        }
        let role = |name: &str| json!({"id": format!("id-{name}"), "name": name});
        let known = ["0", "root"];
        let parts: Vec<&str> = below.split('/').collect();
        match parts.as_slice() {
            ["components"] => json(json!([])),
            ["clients"] => json(json!([{"id": "rm", "clientId": "realm-management"}])),
            ["clients", _, "roles"] => json(json!([role("view-users")])),
            ["roles"] => json(json!([role("team")])),
            ["roles", _, "users"] => json(json!([user(known[0], known[1])])),
            ["groups", "count"] => json(json!({"count": 1})),
            ["groups"] if query.contains("search=") || query.contains("first=0") => {
                let mut group = json!({"id": "g1", "name": "eng", "path": "/eng", "subGroups": []});
                if query.contains("briefRepresentation=false") {
                    group["realmRoles"] = json!(["team"]);
                    group["clientRoles"] = json!({});
                }
                json(json!([group]))
            }
            ["groups", "g1", "members"] => json(json!([user(known[0], known[1])])),
            ["groups"] => json(json!([])),
            ["users", "count"] => json(json!(i32::from(query.is_empty()))),
            ["users"] if query.contains("username=") => {
                let name = query.split("username=").nth(1).unwrap().split('&').next().unwrap();
                match name {
                    "lea" => {
                        let mut lea = user("id-lea", "lea");
                        lea["federationLink"] = json!("F");
                        lea["enabled"] = json!(realm.lea_enabled);
                        json(json!([lea]))
                    }
                    name if name.starts_with('s') => {
                        json(json!([user(&format!("id-{name}"), name)]))
                    }
                    _ => json(json!([])),
                }
            }
            ["users"] => json(json!([user(known[0], known[1])])),
            ["users", "reader", "role-mappings", ..] => json(
                ["view-users", "view-realm", "view-clients"].iter().map(|it| role(it)).collect(),
            ),
            ["users", _, "groups"] => json(json!([{"id": "g1", "name": "eng"}])),
            ["users", _, "role-mappings"] => json(json!({"realmMappings": [role("team")]})),
            ["users", id] if id.starts_with("id-s") => json(user(id, &id[3..])),
            ["users", _] => ResponseTemplate::new(404)
                .set_body_string(r#"{"error":"User not found"}"#)
                .set_delay(DELAY),
            _ => panic!("the fake does not know {call}"),
        }
    }
}

/// The company, its store and its Keycloak.
pub struct Home {
    folder: tempfile::TempDir,
    server: MockServer,
    /// What the fake was asked, and how it misbehaves.
    pub realm: Arc<Mutex<Realm>>,
    config: Arc<Config>,
}

impl Home {
    /// Made and synced.
    pub async fn new() -> Home {
        let realm = Arc::new(Mutex::new(Realm::default()));
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(Answer(Arc::clone(&realm))).mount(&server).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "hunter2").unwrap();
        let file = folder.path().join("idpsyncd.toml");
        let url = server.uri();
        let text = format!(
            r#"
[store]
path = "store.db"
[[source]]
name = "kc"
kind = "keycloak"
url = "{url}"
realm = "r"
client_id = "idpsyncd"
client_secret = {{ file = "secret" }}
[roles.member]
external_roles = ["team"]
[gateway]
http = "127.0.0.1:0"
identity = "header"
provision = "lookup"
preset = "osmo"
"#
        );
        std::fs::write(&file, text).unwrap();
        let config = Arc::new(
            config::load(&file, &idpsyncd::source::kinds())
                .unwrap_or_else(|error| panic!("{error}")),
        );
        let options = Options {
            dry_run: false,
            sources: None,
            what: "test".to_owned(),
            ..Options::default()
        };
        let silent: OnProgress = Arc::new(|_| {});
        let outcome = run(
            &config,
            &*idpsyncd::store::open(&config.store),
            &options,
            &silent,
            chrono::Utc::now(),
        )
        .await
        .unwrap();
        assert!(!outcome.incomplete(), "{:?}", outcome.sources);
        realm.lock().unwrap().log.clear();
        Home { folder, server, realm, config }
    }

    /// One over its configuration.
    pub fn provisioner(&self, limits: Limits) -> Provisioner {
        let store = idpsyncd::store::open(&self.config.store);
        Provisioner::new(Arc::clone(&self.config), store, limits, Arc::new(()))
    }

    /// A caller whose token the realm issued.
    pub fn by_id(&self, name: &str) -> Arc<Caller> {
        Arc::new(Caller {
            known_by: KnownBy::Id { source: "kc".to_owned(), ext: format!("id-{name}") },
            name: Some(name.into()),
            issuer: Some(format!("{}/realms/r", self.server.uri())),
            roles: None,
            named: None,
        })
    }

    /// What was asked since the last call, sorted.
    pub fn calls(&self) -> Vec<String> {
        let mut calls = std::mem::take(&mut self.realm.lock().unwrap().log);
        calls.sort();
        calls
    }

    /// From now on calls that begin so are answered so.
    pub fn set(&self, begin: &'static str, status: u16, body: &'static str) {
        self.realm.lock().unwrap().faults.insert(begin, (status, body));
    }

    /// Without faults from now on.
    pub fn mend(&self) {
        self.realm.lock().unwrap().faults.clear();
    }

    /// How many hold the role.
    pub fn members(&self) -> u64 {
        let conn = rusqlite::Connection::open(self.folder.path().join("store.db")).unwrap();
        conn.query_row("SELECT count(*) FROM gateway_user_role", [], |row| row.get::<_, i64>(0))
            .unwrap()
            .unsigned_abs()
    }
}

/// A caller of whom only the name is known.
pub fn by_name(name: &str) -> Arc<Caller> {
    Arc::new(Caller::named(name))
}
