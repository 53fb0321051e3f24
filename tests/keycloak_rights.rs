//! The whole program on a real Keycloak that takes rights away in mid-read, or shows only what
//! fine-grained permissions let through: lists get short without a word, and nobody may lose
//! anything for it.
#![cfg(test)]

mod support;

#[path = "scenarios"]
#[expect(dead_code, reason = "the stories need more of it")]
mod parts {
    pub mod home;
}

use std::collections::BTreeMap;

use parts::home::{Home, Options};
use serde_json::{Value, json};
use support::keycloak::{Keycloak, RIGHTS, Realm};
use support::meddle::Meddler;

const SECRET: &str = "secret-of-the-reader";

/// A realm that is read through a meddler.
struct World {
    realm: Realm<'static>,
    meddler: Meddler,
    /// The reader's service account.
    account: String,
    /// User ids by name.
    ids: BTreeMap<&'static str, String>,
    home: Home,
}

/// What everyone holds.
const HELD: [(&str, &str); 4] =
    [("ann", "ml"), ("bob", "ml"), ("cay", "ops opsmate"), ("dan", "opsmate")];

impl World {
    /// Ann and bob in `ml`, cay in `ops`, dan with a role of a client; everything read once. No
    /// mercy: whatever looks gone is gone at once, and nothing is held.
    fn start(name: &str) -> Option<World> {
        let keycloak = Keycloak::shared()?;
        let realm = keycloak.realm(name);
        let account = realm.reader("idpsyncd", SECRET, &RIGHTS);
        let app = realm.client("app");
        let role = realm.client_role(&app, "ops");
        let (ml, ops) = (realm.group("ml", None), realm.group("ops", None));
        let ids: BTreeMap<_, _> =
            HELD.iter().map(|(name, _)| (*name, realm.user(name, json!({})))).collect();
        realm.join(&ids["ann"], &ml);
        realm.join(&ids["bob"], &ml);
        realm.join(&ids["cay"], &ops);
        realm.give(&format!("users/{}", ids["dan"]), &role);
        let meddler = Meddler::before(keycloak.port());
        let source = format!(
            r#"
            kind = "keycloak"
            url = "http://127.0.0.1:{}"
            realm = "{name}"
            client_id = "idpsyncd"
            client_secret = {{ file = "secret" }}
            clients = ["app"]
            "#,
            meddler.port
        );
        let home = Home::new(&source, SECRET, Options { after: "0s", floor: 1000, ops: "/ops" });
        let world = World { realm, meddler, account, ids, home };
        assert!(world.requests().len() > 20, "a read that long has a middle");
        world.home.assert_roles(&HELD);
        Some(world)
    }

    /// A whole read's requests.
    fn requests(&self) -> Vec<String> {
        self.meddler.tell(|_, _| {});
        self.home.sync(0);
        self.meddler.end()
    }

    /// A sync in which the reader loses `right` before request `place`; it must fail, say so, and
    /// change nothing. What it said. Afterwards the reader has the right again.
    fn without(&self, right: &str, place: usize) -> String {
        let role = self.realm.right(right);
        let account = format!("users/{}", self.account);
        let (realm, holder, taken) = (self.realm.name.clone(), account.clone(), role.clone());
        self.meddler.tell(move |n, _| {
            if n == place {
                Keycloak::shared().unwrap().existing_realm(&realm).take(&holder, &taken);
            }
        });
        let views = self.home.views();
        let report = self.home.sync(4);
        let requests = self.meddler.end();
        assert!(requests.len() >= place, "it ended before request {place}");
        let at = &requests[place - 1];
        assert!(report.is_quiet(), "without {right} from `{at}` on: {}", report.0);
        assert_eq!(self.home.views(), views, "without {right} from `{at}` on");
        self.realm.give(&account, &role);
        report.trouble()
    }
}

#[test]
fn a_right_that_is_taken_away_anywhere_in_a_read_takes_nothing_away() {
    let Some(world) = World::start("taken") else { return };
    let places = world.requests().len();
    // Every sixth place; which sixth depends on the right.
    for (offset, right) in [1, 3, 5].into_iter().zip(RIGHTS) {
        for place in (offset..=places).step_by(6) {
            let trouble = world.without(right, place);
            assert!(trouble.contains(right), "`{right}` from {place} on: {trouble}");
        }
    }
    assert!(world.home.sync(0).is_quiet());
    world.home.assert_roles(&HELD);
}

#[test]
fn lists_that_get_empty_for_want_of_a_right_take_nothing_away() {
    let Some(world) = World::start("emptied") else { return };
    let account = format!("users/{}", world.account);
    for right in ["query-users", "query-groups"] {
        world.realm.give(&account, &world.realm.right(right));
    }
    // The lie on the wire: with these alone, lists are `200 []` beside true counts.
    let right = world.realm.right("view-users");
    world.realm.take(&account, &right);
    assert_eq!(as_reader(&world, "/users"), json!([]));
    assert_eq!(as_reader(&world, "/users/count"), json!(HELD.len()));
    assert_eq!(as_reader(&world, "/groups"), json!([]));
    world.realm.give(&account, &right);

    for place in (3..=world.requests().len()).step_by(4) {
        let trouble = world.without("view-users", place);
        assert!(trouble.contains("view-users"), "from {place} on: {trouble}");
    }
    assert!(world.home.sync(0).is_quiet());
    world.home.assert_roles(&HELD);
}

/// Switches fine-grained permissions on and lets the reader view these users alone.
fn permit(world: &World, users: &[&str]) {
    let realm = &world.realm;
    let mut settings = realm.get("");
    settings["adminPermissionsEnabled"] = json!(true);
    realm.put("", &settings);
    let server =
        format!("/clients/{}/authz/resource-server", realm.client_uuid("admin-permissions"));
    let policy = realm.call(
        "POST",
        &format!("{server}/policy/user"),
        Some(&json!({"name": "the reader", "users": [world.account]})),
    );
    let permission = json!({"name": "some users", "resourceType": "Users", "scopes": ["view"],
        "resources": users, "policies": [policy["id"]]});
    realm.call("POST", &format!("{server}/permission/scope"), Some(&permission));
}

/// What the reader itself is answered.
fn as_reader(world: &World, path: &str) -> Value {
    let keycloak = Keycloak::shared().unwrap();
    let token = keycloak.client_token(&world.realm.name, "idpsyncd", SECRET);
    let (status, body) = keycloak.get_with(&token, &format!("/{}{path}", world.realm.name));
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn fine_grained_permissions_that_shorten_lists_and_counts_alike_take_nothing_away() {
    let Some(world) = World::start("finegrained") else { return };
    let account = format!("users/{}", world.account);
    // What is asked about the reader itself is allowed as well: nothing is a 403.
    permit(&world, &[&world.ids["ann"], &world.account]);
    for right in ["query-users", "query-groups"] {
        world.realm.give(&account, &world.realm.right(right));
    }
    // `view-users` overrides the permissions.
    assert!(world.home.sync(0).is_quiet());

    // The lie on the wire: one of four, and the count agrees.
    let right = world.realm.right("view-users");
    world.realm.take(&account, &right);
    assert_eq!(as_reader(&world, "/users").as_array().unwrap().len(), 1);
    assert_eq!(as_reader(&world, "/users/count"), json!(1));
    let views = world.home.views();
    let report = world.home.sync(4);
    assert!(report.trouble().contains("`view-users`"), "{}", report.trouble());
    assert!(report.is_quiet(), "{}", report.0);
    assert_eq!(world.home.views(), views);
    world.realm.give(&account, &right);

    for place in (3..=world.requests().len()).rev().step_by(4) {
        let trouble = world.without("view-users", place);
        assert!(trouble.contains("view-users"), "from {place} on: {trouble}");
    }
    assert!(world.home.sync(0).is_quiet());
    world.home.assert_roles(&HELD);
}
