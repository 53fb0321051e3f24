//! A real Keycloak for tests: started from a template database, driven through its admin API.
//!
//! Everything here blocks and may be called from plain tests and from async ones: requests run on
//! a runtime of their own thread.
//!
//! ```ignore
//! let Some(keycloak) = Keycloak::shared() else { return };   // says why it skips
//! let realm = keycloak.realm("acme");                        // made new
//! let ann = realm.user("ann", json!({}));
//! let team = realm.group("team", None);
//! realm.join(&ann, &team);
//! realm.reader("idpsyncd", "secret", &["view-users", "view-realm", "view-clients"]);
//! ```
//!
//! Where the server cannot be had (no Java, no network), tests are skipped; with `CI=true` that
//! is a failure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::free_port;
use super::skip;

/// The rights that a reader needs.
pub const RIGHTS: [&str; 3] = ["view-users", "view-realm", "view-clients"];

/// A running server. Stopped when dropped, and when the test process ends in whatever way.
pub struct Keycloak {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    port: u16,
    management: u16,
    home: PathBuf,
    database: Database,
    folder: tempfile::TempDir,
    child: Option<Child>,
    token: Mutex<Option<(String, Instant)>>,
}

/// Where a server keeps its realms.
enum Database {
    /// A file of its own folder, copied from the template.
    H2,
    /// A PostgreSQL database, by its JDBC URL, and who Keycloak is there. It has no password.
    Postgres { url: String, user: String },
}

impl Keycloak {
    /// One server for the whole test binary.
    pub fn shared() -> Option<&'static Keycloak> {
        static SHARED: OnceLock<Option<Keycloak>> = OnceLock::new();
        SHARED.get_or_init(Keycloak::start).as_ref()
    }

    /// A server of one's own, for tests that stop it. `None` where none can be had (and says so).
    pub fn start() -> Option<Keycloak> {
        let keycloak = Keycloak::stopped(&[], Database::H2)?;
        let database = keycloak.folder.path().join("keycloakdb.mv.db");
        std::fs::copy(keycloak.home.join("template/keycloakdb.mv.db"), database).unwrap();
        Some(keycloak.started())
    }

    /// As [`Keycloak::start`], on an empty PostgreSQL database: its JDBC URL, and who owns it.
    pub fn start_on_postgres(url: &str, user: &str) -> Option<Keycloak> {
        let database = Database::Postgres { url: url.to_owned(), user: user.to_owned() };
        Some(Keycloak::stopped(&["postgres"], database)?.started())
    }

    fn stopped(fetch: &[&str], database: Database) -> Option<Keycloak> {
        let home = match fetched(fetch) {
            Ok(home) => home,
            Err(reason) => {
                skip::skip(&skip::test(), &format!("no Keycloak: {reason}"));
                return None;
            }
        };
        let (port, management) = (free_port(), free_port());
        Some(Keycloak {
            url: format!("http://127.0.0.1:{port}"),
            port,
            management,
            home,
            database,
            folder: tempfile::tempdir().unwrap(),
            child: None,
            token: Mutex::default(),
        })
    }

    fn started(mut self) -> Keycloak {
        self.start_again();
        self
    }

    /// Starts the stopped server on its old port and database, and waits until it is ready.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        // The shell waits for its standard input to close, which it does when this process ends,
        // even by a signal: no server outlives its tests.
        let watch =
            r#""$@" </dev/null & server=$!; read line; kill $server 2>/dev/null; wait $server"#;
        let mut command = Command::new("sh");
        command
            .args(["-c", watch, "sh"])
            .arg(self.home.join("bin/kc.sh"))
            .args(["start", "--optimized", "--cache=local", "--http-enabled=true"])
            .args(["--hostname-strict=false", "--http-host=127.0.0.1"])
            .arg(format!("--http-port={}", self.port))
            .arg(format!("--http-management-port={}", self.management))
            .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1")
            .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        match &self.database {
            Database::H2 => command.arg(format!(
                "--db-url=jdbc:h2:file:{}/keycloakdb;NON_KEYWORDS=VALUE",
                self.folder.path().display()
            )),
            Database::Postgres { url, user } => command
                .arg(format!("--db-url={url}"))
                .arg(format!("--db-username={user}"))
                // The template has its admin already.
                .env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin")
                .env("KC_BOOTSTRAP_ADMIN_PASSWORD", "admin"),
        };
        self.child = Some(command.spawn().unwrap());
        let ready = format!("http://127.0.0.1:{}/health/ready", self.management);
        let deadline = Instant::now() + Duration::from_secs(240);
        while http("GET", &ready, None, None).is_none_or(|(status, _, _)| status != 200) {
            let log =
                || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "Keycloak does not come up:\n{}", log());
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "Keycloak ended:\n{}", log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The port that it listens on, on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the server; its database stays. Returns when it has ended.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
        *self.token.lock().unwrap() = None;
    }

    /// What `kc.sh export` writes of a realm of the stopped server.
    pub fn export(&self, realm: &str) -> std::path::PathBuf {
        assert!(self.child.is_none(), "it runs");
        let Database::H2 = self.database else { panic!("not of a file") };
        let file = self.folder.path().join(format!("{realm}.json"));
        let done = Command::new(self.home.join("bin/kc.sh"))
            .args(["export", "--optimized", "--users", "same_file", "--realm", realm, "--file"])
            .arg(&file)
            .arg(format!(
                "--db-url=jdbc:h2:file:{}/keycloakdb;NON_KEYWORDS=VALUE",
                self.folder.path().display()
            ))
            .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1")
            .env("JAVA_OPTS_KC_HEAP", "-Xms64m -Xmx512m")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(done.status.success(), "{}\n{}", text(&done.stdout), text(&done.stderr));
        file
    }

    /// Makes a realm, in place of one of that name.
    pub fn realm(&self, name: &str) -> Realm<'_> {
        let (status, _, _) = self.admin("DELETE", &format!("/{name}"), None);
        assert!(matches!(status, 204 | 404), "deleting realm {name}: {status}");
        let (status, body, _) =
            self.admin("POST", "", Some(&json!({"realm": name, "enabled": true})));
        assert_eq!(status, 201, "making realm {name}: {body}");
        Realm { keycloak: self, name: name.to_owned() }
    }

    /// The realm of that name, as it is.
    pub fn existing_realm(&self, name: &str) -> Realm<'_> {
        Realm { keycloak: self, name: name.to_owned() }
    }

    /// Calls `/admin/realms{path}` as the bootstrap admin: status, body, id from `Location`.
    pub fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String, String) {
        let token = self.admin_token();
        let url = format!("{}/admin/realms{path}", self.url);
        http(method, &url, Some(&token), body).expect("the server does not answer")
    }

    /// A token of the bootstrap admin.
    pub fn admin_token(&self) -> String {
        let mut slot = self.token.lock().unwrap();
        if let Some((token, until)) = &*slot
            && Instant::now() < *until
        {
            return token.clone();
        }
        let url = format!("{}/realms/master/protocol/openid-connect/token", self.url);
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", "admin"),
            ("password", "admin"),
        ];
        let (status, body) = post_form(&url, &form);
        assert_eq!(status, 200, "signing in as admin: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let token = answer["access_token"].as_str().unwrap().to_owned();
        *slot = Some((token.clone(), Instant::now() + Duration::from_secs(40)));
        token
    }
}

impl Keycloak {
    /// A new token for what is asked next: while the server is in trouble there is none to be had.
    pub fn sign_in_again(&self) {
        *self.token.lock().unwrap() = None;
        self.admin_token();
    }

    /// A token of a client's service account.
    pub fn client_token(&self, realm: &str, client: &str, secret: &str) -> String {
        let url = format!("{}/realms/{realm}/protocol/openid-connect/token", self.url);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
        ];
        let (status, body) = post_form(&url, &form);
        assert_eq!(status, 200, "signing in as `{client}`: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Status and body of `/admin/realms{path}`, asked with `token`.
    pub fn get_with(&self, token: &str, path: &str) -> (u16, String) {
        let url = format!("{}/admin/realms{path}", self.url);
        let (status, body, _) = http("GET", &url, Some(token), None).expect("no answer");
        (status, body)
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A realm. Every method panics where the server refuses.
pub struct Realm<'a> {
    keycloak: &'a Keycloak,
    /// Its name.
    pub name: String,
}

impl Realm<'_> {
    /// Calls `path` below the realm, such as `/users`; the parsed body, or the new id.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let whole = format!("/{}{path}", self.name);
        let (status, text, id) = self.keycloak.admin(method, &whole, body);
        assert!((200..300).contains(&status), "{method} {whole}: {status} {text}");
        if !id.is_empty() {
            return Value::String(id);
        }
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// `GET`
    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, None)
    }

    /// `POST`; the new thing's id where there is one.
    pub fn post(&self, path: &str, body: &Value) -> String {
        self.call("POST", path, Some(body)).as_str().unwrap_or_default().to_owned()
    }

    /// `PUT`
    pub fn put(&self, path: &str, body: &Value) {
        self.call("PUT", path, Some(body));
    }

    /// `DELETE`
    pub fn delete(&self, path: &str) {
        self.call("DELETE", path, None);
    }

    /// Makes a user, enabled unless `more` says otherwise; its id.
    pub fn user(&self, username: &str, more: Value) -> String {
        let mut user = json!({"username": username, "enabled": true});
        for (key, value) in more.as_object().unwrap() {
            user[key] = value.clone();
        }
        self.post("/users", &user)
    }

    /// Enables or disables a user.
    pub fn set_enabled(&self, user: &str, enabled: bool) {
        self.put(&format!("/users/{user}"), &json!({"enabled": enabled}));
    }

    /// Makes a group, on top or below another; its id.
    pub fn group(&self, name: &str, parent: Option<&str>) -> String {
        match parent {
            Some(parent) => {
                self.post(&format!("/groups/{parent}/children"), &json!({"name": name}))
            }
            None => self.post("/groups", &json!({"name": name})),
        }
    }

    /// Puts a user into a group.
    pub fn join(&self, user: &str, group: &str) {
        self.put(&format!("/users/{user}/groups/{group}"), &json!({}));
    }

    /// Takes a user out of a group.
    pub fn leave(&self, user: &str, group: &str) {
        self.delete(&format!("/users/{user}/groups/{group}"));
    }

    /// Makes a client; its uuid.
    pub fn client(&self, client_id: &str) -> String {
        self.post("/clients", &json!({"clientId": client_id, "enabled": true}))
    }

    /// The uuid of a client.
    pub fn client_uuid(&self, client_id: &str) -> String {
        let found = self.get(&format!("/clients?clientId={client_id}"));
        found[0]["id"].as_str().unwrap_or_else(|| panic!("no client {client_id}")).to_owned()
    }

    /// Makes a realm role; the role.
    pub fn realm_role(&self, name: &str) -> Value {
        self.call("POST", "/roles", Some(&json!({"name": name})));
        self.find("/roles", name)
    }

    /// Makes a client role (`client` is a uuid); the role.
    pub fn client_role(&self, client: &str, name: &str) -> Value {
        let path = format!("/clients/{client}/roles");
        self.call("POST", &path, Some(&json!({"name": name})));
        self.find(&path, name)
    }

    /// The role `name` of a list of roles.
    pub fn find(&self, path: &str, name: &str) -> Value {
        let roles = self.get(path);
        let mut roles = roles.as_array().unwrap().iter();
        roles.find(|role| role["name"] == name).unwrap_or_else(|| panic!("no role {name}")).clone()
    }

    /// Makes `whole` a composite that contains `part`. Both are roles as returned above.
    pub fn contain(&self, whole: &Value, part: &Value) {
        let path = format!("/roles-by-id/{}/composites", whole["id"].as_str().unwrap());
        self.call("POST", &path, Some(&json!([part])));
    }

    /// Gives a role to `holder`, `users/{id}` or `groups/{id}`.
    pub fn give(&self, holder: &str, role: &Value) {
        self.call("POST", &Self::mapping(holder, role), Some(&json!([role])));
    }

    /// Takes a role away.
    pub fn take(&self, holder: &str, role: &Value) {
        self.call("DELETE", &Self::mapping(holder, role), Some(&json!([role])));
    }

    fn mapping(holder: &str, role: &Value) -> String {
        match role["clientRole"].as_bool() {
            Some(true) => {
                let client = role["containerId"].as_str().unwrap();
                format!("/{holder}/role-mappings/clients/{client}")
            }
            _ => format!("/{holder}/role-mappings/realm"),
        }
    }

    /// Makes a client with a service account that has these roles of `realm-management`; the
    /// account's user id.
    pub fn reader(&self, client_id: &str, secret: &str, rights: &[&str]) -> String {
        let client = self.post(
            "/clients",
            &json!({"clientId": client_id, "secret": secret, "enabled": true,
                "serviceAccountsEnabled": true, "standardFlowEnabled": false}),
        );
        let user = self.get(&format!("/clients/{client}/service-account-user"));
        let user = user["id"].as_str().unwrap().to_owned();
        for right in rights {
            self.give(&format!("users/{user}"), &self.right(right));
        }
        user
    }

    /// A role of `realm-management`.
    pub fn right(&self, name: &str) -> Value {
        self.find(&format!("/clients/{}/roles", self.client_uuid("realm-management")), name)
    }

    /// The realm as its tokens name it (`iss`).
    pub fn issuer(&self) -> String {
        format!("{}/realms/{}", self.keycloak.url, self.name)
    }

    /// Makes a user who can sign in with a password; the id.
    pub fn person(&self, username: &str, password: &str) -> String {
        self.user(
            username,
            json!({"firstName": "Test", "lastName": "Person", "emailVerified": true,
                "email": format!("{username}@example.org"),
                "credentials": [{"type": "password", "value": password, "temporary": false}]}),
        )
    }

    /// Signs a user in by password: what the token endpoint answers (`access_token`, `id_token`,
    /// `refresh_token`). The client must be public and allow direct access.
    pub fn sign_in(&self, client: &str, username: &str, password: &str) -> Value {
        let url = format!("{}/protocol/openid-connect/token", self.issuer());
        let form = [
            ("grant_type", "password"),
            ("client_id", client),
            ("username", username),
            ("password", password),
            ("scope", "openid"),
        ];
        let (status, body) = post_form(&url, &form);
        assert_eq!(status, 200, "signing in as {username}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Lets users have attributes that the user profile does not declare.
    pub fn allow_attributes(&self) {
        let mut profile = self.get("/users/profile");
        profile["unmanagedAttributePolicy"] = json!("ENABLED");
        self.put("/users/profile", &profile);
    }
}

/// The unpacked distribution; fetched, built and, for H2, given a template database where it is
/// missing. `arguments` say for which database.
fn fetched(arguments: &[&str]) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/keycloak-fetch.sh");
    let run = Command::new(script).args(arguments).output().map_err(|error| error.to_string())?;
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).trim().to_owned());
    }
    let _ = std::io::stderr().write_all(&run.stderr);
    Ok(PathBuf::from(String::from_utf8_lossy(&run.stdout).trim()))
}

/// Runs `future` on the runtime of this module and waits for it.
pub fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    });
    let (send, receive) = mpsc::channel();
    runtime.spawn(async move {
        let _ = send.send(future.await);
    });
    receive.recv().expect("the request panicked")
}

/// Status, body, last segment of `Location`; `None` where nothing answers.
fn http(
    method: &str,
    url: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Option<(u16, String, String)> {
    let mut request = client().request(method.parse().unwrap(), url);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    wait(async move {
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let location = answer.headers().get("location").and_then(|it| it.to_str().ok());
        let id = location.and_then(|it| it.rsplit('/').next()).unwrap_or_default().to_owned();
        Some((status, answer.text().await.ok()?, id))
    })
}

/// Posts a form; status and body.
pub fn post_form(url: &str, form: &[(&str, &str)]) -> (u16, String) {
    let request = client().post(url).form(form);
    wait(async move {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

fn client() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let build = || reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
    CLIENT.get_or_init(build).clone()
}
