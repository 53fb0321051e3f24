use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use super::super::ended::TokenSession;
use super::{Gateway, Store};
use crate::config::{self, Config};
use crate::gateway::ProcessKind;
use crate::model::{SessionEnd, SessionRealm, SessionScope};
use crate::store::memory::MemoryStore;
use crate::sync;

/// A folder with a configuration, and the store of one generation of it.
struct Stage {
    folder: tempfile::TempDir,
    store: MemoryStore,
    shared: Arc<dyn Store>,
}

fn realm(names: &[&str]) -> String {
    let users = names
        .iter()
        .map(|name| format!(r#"{{"id": "id-{name}", "username": "{name}", "enabled": true}}"#));
    let users = users.collect::<Vec<_>>().join(",");
    format!(r#"{{"realm": "r", "groups": [], "roles": {{}}, "users": [{users}]}}"#)
}

impl Stage {
    async fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let store = MemoryStore::default();
        let stage = Stage { folder, shared: Arc::new(store.clone()), store };
        stage.sync(&["ann"]).await;
        stage
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration with `more` in it.
    fn config(&self, more: &str) -> Config {
        let toml = format!(
            r#"
            [store]
            path = "store.db"
            [[source]]
            name = "kc"
            kind = "file"
            realm_export = "realm.json"
            [roles.all]
            everyone = true
            [gateway]
            http = "unix:{}/http.sock"
            identity = "jwt"
            [[gateway.jwt]]
            issuer = "https://auth.example.com"
            source = "kc"
            audiences = ["app"]
            jwks_url = "http://127.0.0.1:1/keys"
            [[gateway.route]]
            path = "/page"
            action = "page:Read"
            {more}
            "#,
            self.path().display()
        );
        let file = self.path().join("idpsyncd.toml");
        std::fs::write(&file, toml).unwrap();
        config::load(&file, &crate::source::kinds()).unwrap()
    }

    /// Commits a generation with these people.
    async fn sync(&self, names: &[&str]) {
        std::fs::write(self.path().join("realm.json"), realm(names)).unwrap();
        let silent: crate::source::OnProgress = Arc::new(|_| {});
        let options = sync::Options::default();
        let config = self.config("");
        sync::run(&config, &self.store, &options, &silent, Utc::now()).await.unwrap();
    }

    async fn start(&self, more: &str) -> Gateway {
        let started = Gateway::start(&self.config(more), &self.shared, ProcessKind::Alone).await;
        started.unwrap().unwrap()
    }

    async fn reload(&self, gateway: &mut Gateway, more: &str) {
        gateway.reload(&self.config(more), &self.shared).await.unwrap();
    }

    /// Puts on the store's list that a session has ended so many seconds ago, as another process does.
    fn end(&self, sid: &str, ago: i64) {
        let scope = SessionScope::Session(sid.to_owned());
        let last_iat = Utc::now().timestamp() - ago;
        let realm = SessionRealm::Source("kc".to_owned());
        self.store.end_sessions(&[SessionEnd { realm, scope, last_iat }], 0).unwrap();
    }
}

/// Whether a token of that session that was issued so many seconds ago is refused.
fn over(gateway: &Gateway, sid: &str, ago: i64) -> bool {
    gateway.ended.has_ended(&TokenSession {
        realm: Arc::new(SessionRealm::Source("kc".to_owned())),
        sid: Some(sid.into()),
        sub: None,
        azp: None,
        iat: Utc::now().timestamp() - ago,
    })
}

/// How far back the list reaches, in seconds.
fn reach(gateway: &Gateway) -> i64 {
    let now = Utc::now();
    now.timestamp() - gateway.ended.forgets(now)
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn in_force(gateway: &mut Gateway) {
    gateway.coming.take().expect("a reload is under way").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_while_a_generation_loads_is_over_before_that_is_there() {
    let stage = Stage::new().await;
    let gateway = stage.start("[gateway.logout]").await;
    until("it answers", || gateway.not_ready().is_none()).await;
    let held = stage.store.roles_gate().hold();
    stage.sync(&["ann", "bob"]).await;
    until("it loads", || stage.store.roles_gate().waiting() == 1).await;
    assert!(!over(&gateway, "s1", 5));
    stage.end("s1", 0);
    until("the session is over", || over(&gateway, "s1", 5)).await;
    assert_eq!((gateway.generation(), stage.store.roles_gate().waiting()), (1, 1));
    drop(held);
    until("the generation is there", || gateway.generation() == 2).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_answered_before_it_is_known_which_sessions_have_ended() {
    let stage = Stage::new().await;
    stage.end("s1", 0);
    let held = stage.store.ended_gate().hold();
    let gateway = stage.start("[gateway.logout]").await;
    until("a generation is there", || gateway.generation() == 1).await;
    let why = gateway.not_ready().unwrap();
    assert!(why.contains("which sessions have ended was not read yet"), "{why}");
    drop(held);
    until("it answers", || gateway.not_ready().is_none()).await;
    assert!(over(&gateway, "s1", 5));
    gateway.stop().await;
    // Where none ends nobody waits for it.
    let held = stage.store.ended_gate().hold();
    let gateway = stage.start("").await;
    until("it answers", || gateway.not_ready().is_none()).await;
    drop(held);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_lets_sessions_end_knows_first_which_have() {
    let stage = Stage::new().await;
    stage.end("s1", 0);
    let mut gateway = stage.start("").await;
    until("it answers", || gateway.not_ready().is_none()).await;
    assert!(!over(&gateway, "s1", 5));
    let held = stage.store.ended_gate().hold();
    stage.reload(&mut gateway, "[gateway.logout]").await;
    until("it reads", || stage.store.ended_gate().waiting() == 1).await;
    assert!(!gateway.coming.as_ref().unwrap().is_finished());
    assert!(!gateway.state.authorizer().ends_sessions(), "the old configuration answers");
    assert_eq!(gateway.not_ready(), None);
    drop(held);
    in_force(&mut gateway).await;
    assert!(gateway.state.authorizer().ends_sessions() && over(&gateway, "s1", 5));
    // And from then on.
    stage.end("s2", 0);
    until("the session is over", || over(&gateway, "s2", 5)).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_lets_tokens_live_longer_reads_what_was_forgotten() {
    let stage = Stage::new().await;
    stage.end("old", 1_800);
    let mut gateway = stage.start("[gateway.logout]\nmax_token_lifetime = \"10m\"").await;
    until("it answers", || gateway.not_ready().is_none()).await;
    // What nobody needs is forgotten where much is new.
    for number in 0..600 {
        stage.end(&format!("new {number}"), 0);
    }
    until("it is forgotten", || !over(&gateway, "old", 1_900)).await;
    stage.reload(&mut gateway, "[gateway.logout]\nmax_token_lifetime = \"1h\"").await;
    in_force(&mut gateway).await;
    assert!(over(&gateway, "old", 1_900));
    assert_eq!(reach(&gateway), 3_720);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_lets_tokens_live_shorter_forgets_nothing_before_it_is_in_force() {
    let stage = Stage::new().await;
    let mut gateway = stage.start("[gateway.logout]").await;
    until("it answers", || gateway.not_ready().is_none()).await;
    let held = stage.store.roles_gate().hold();
    // Another route: another view of the store is loaded first.
    let other = "[[gateway.route]]\npath = \"/other\"\naction = \"other:Read\"\n";
    let shorter = format!("{other}[gateway.logout]\nmax_token_lifetime = \"10m\"");
    stage.reload(&mut gateway, &shorter).await;
    until("it loads", || stage.store.roles_gate().waiting() == 1).await;
    assert_eq!(reach(&gateway), 3_720);
    drop(held);
    in_force(&mut gateway).await;
    assert_eq!(reach(&gateway), 720);
    gateway.stop().await;
}
