//! The two kinds of server behind one face: what happens to people and groups there.

use std::sync::{MutexGuard, OnceLock, PoisonError};

use serde_json::json;

use super::super::support::keycloak::{Keycloak, RIGHTS, Realm};
use super::super::support::openldap::{self, OpenLdap, SUFFIX};
use super::super::support::skip::skip;

/// A secret that shows wherever it is shown.
pub const SECRET: &str = "reader-secret";

/// A server with people and groups.
pub trait World {
    /// The port that it listens on.
    fn port(&self) -> u16;
    /// The body of a `[[source]]` that reads it at this port.
    fn source_at(&self, port: u16) -> String;
    /// [`World::source`] with a realm, or one base after the other, that is not there.
    fn misplaced(&self) -> Vec<String>;
    /// The secret that the body finds in the file `secret`.
    fn secret(&self) -> String;
    /// The whole identity of a group on top.
    fn identity(&self, group: &str) -> String;
    fn hire(&self, user: &str);
    fn fire(&self, user: &str);
    fn set_enabled(&self, user: &str, enabled: bool);
    fn rename(&self, user: &str, new: &str);
    fn join(&self, user: &str, group: &str);
    fn leave(&self, user: &str, group: &str);
    fn found(&self, group: &str);
    fn rename_group(&self, group: &str, new: &str);
    /// Puts a group below another place; [`World::identity`] no longer names it.
    fn move_group(&self, group: &str);
    fn dissolve(&self, group: &str);
    fn stop(&mut self);
    fn start(&mut self);

    /// The body of a `[[source]]` that reads it.
    fn source(&self) -> String {
        self.source_at(self.port())
    }

    /// Ann and bob in `ml`, cay in `ops`, dan nowhere.
    fn people(&self) {
        for user in ["ann", "bob", "cay", "dan"] {
            self.hire(user);
        }
        for group in ["ml", "ops"] {
            self.found(group);
        }
        for (user, group) in [("ann", "ml"), ("bob", "ml"), ("cay", "ops")] {
            self.join(user, group);
        }
    }
}

/// An OpenLDAP. Its groups keep a member who is nobody, as the class demands one.
pub struct Ldap {
    pub server: OpenLdap,
}

impl Ldap {
    pub fn start(test: &str) -> Option<Ldap> {
        let refint = "moduleload refint\noverlay refint\nrefint_attributes member\n";
        let tree = format!(
            "{}dn: ou=moved,ou=groups,{SUFFIX}\nobjectClass: organizationalUnit\nou: moved\n\n",
            openldap::tree()
        );
        let server = OpenLdap::start(&tree, refint);
        if server.is_none() {
            skip(test, "slapd is not installed");
        }
        server.map(|server| Ldap { server })
    }

    fn member(&self, how: &str, user: &str, group: &str) {
        self.server.modify(&format!(
            "dn: {}\nchangetype: modify\n{how}: member\nmember: {}\n",
            openldap::group_dn(group),
            openldap::person_dn(user)
        ));
    }
}

impl World for Ldap {
    fn port(&self) -> u16 {
        self.server.port
    }
    fn source_at(&self, port: u16) -> String {
        format!(
            r#"
            kind = "ldap"
            url = "ldap://127.0.0.1:{port}"
            bind_dn = "cn=reader,ou=services,{SUFFIX}"
            bind_password = {{ file = "secret" }}
            users = {{ base = "ou=people,{SUFFIX}" }}
            groups = {{ base = "ou=groups,{SUFFIX}" }}
            page_size = 2
            "#
        )
    }
    fn misplaced(&self) -> Vec<String> {
        ["ou=people", "ou=groups"].map(|base| self.source().replace(base, "ou=nowhere")).into()
    }
    fn secret(&self) -> String {
        SECRET.to_owned()
    }
    fn identity(&self, group: &str) -> String {
        openldap::group_dn(group)
    }
    fn hire(&self, user: &str) {
        let person = openldap::person(user, "objectClass: shadowAccount\n");
        self.server.modify(&person.replacen('\n', "\nchangetype: add\n", 1));
    }
    fn fire(&self, user: &str) {
        self.server.modify(&format!("dn: {}\nchangetype: delete\n", openldap::person_dn(user)));
    }
    fn set_enabled(&self, user: &str, enabled: bool) {
        let expire = if enabled { -1 } else { 1 };
        self.server.modify(&format!(
            "dn: {}\nchangetype: modify\nreplace: shadowExpire\nshadowExpire: {expire}\n",
            openldap::person_dn(user)
        ));
    }
    fn rename(&self, user: &str, new: &str) {
        self.server.modify(&format!(
            "dn: {}\nchangetype: modrdn\nnewrdn: uid={new}\ndeleteoldrdn: 1\n",
            openldap::person_dn(user)
        ));
        // `refint` mends the groups in a task of its own, a moment later.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let old = format!("(member={})", openldap::person_dn(user));
        while self.server.search(&[&old, "dn"]).contains("dn:") {
            assert!(std::time::Instant::now() < deadline, "the groups are not mended");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
    fn join(&self, user: &str, group: &str) {
        self.member("add", user, group);
    }
    fn leave(&self, user: &str, group: &str) {
        self.member("delete", user, group);
    }
    fn found(&self, group: &str) {
        let group = openldap::group(group, &["cn=nobody".to_owned()]);
        self.server.modify(&group.replacen('\n', "\nchangetype: add\n", 1));
    }
    fn rename_group(&self, group: &str, new: &str) {
        self.server.modify(&format!(
            "dn: {}\nchangetype: modrdn\nnewrdn: cn={new}\ndeleteoldrdn: 1\n",
            openldap::group_dn(group)
        ));
    }
    fn move_group(&self, group: &str) {
        self.server.modify(&format!(
            "dn: {}\nchangetype: modrdn\nnewrdn: cn={group}\ndeleteoldrdn: 1\n\
             newsuperior: ou=moved,ou=groups,{SUFFIX}\n",
            openldap::group_dn(group)
        ));
    }
    fn dissolve(&self, group: &str) {
        self.server.modify(&format!("dn: {}\nchangetype: delete\n", openldap::group_dn(group)));
    }
    fn stop(&mut self) {
        self.server.kill();
    }
    fn start(&mut self) {
        assert!(self.server.start_again(), "slapd does not start again");
    }
}

/// A realm of the one Keycloak of this program. Whoever has it has the server alone: it may be
/// stopped.
pub struct Kc {
    server: MutexGuard<'static, Keycloak>,
    realm: String,
    stopped: bool,
}

impl Kc {
    pub fn start(test: &str) -> Option<Kc> {
        use std::sync::Mutex;
        static SHARED: OnceLock<Option<Mutex<Keycloak>>> = OnceLock::new();
        let Some(shared) = SHARED.get_or_init(|| Keycloak::start().map(Mutex::new)) else {
            skip(test, "Keycloak cannot be had");
            return None;
        };
        // A test that failed has poisoned the lock, not the server.
        let server = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let realm = test.to_owned();
        server.realm(&realm).reader("idpsyncd", &secret_of_client(), &RIGHTS);
        Some(Kc { server, realm, stopped: false })
    }

    /// The realm.
    pub fn realm(&self) -> Realm<'_> {
        self.server.existing_realm(&self.realm)
    }

    /// The service account's user id.
    pub fn account(&self) -> String {
        let client = self.realm().client_uuid("idpsyncd");
        let user = self.realm().get(&format!("/clients/{client}/service-account-user"));
        user["id"].as_str().unwrap().to_owned()
    }

    fn user(&self, name: &str) -> String {
        let found = self.realm().get(&format!("/users?exact=true&username={name}"));
        found[0]["id"].as_str().unwrap_or_else(|| panic!("no user {name}")).to_owned()
    }

    fn group(&self, name: &str) -> String {
        let found = self.realm().get(&format!("/groups?exact=true&search={name}"));
        found[0]["id"].as_str().unwrap_or_else(|| panic!("no group {name}")).to_owned()
    }
}

fn secret_of_client() -> String {
    format!("client-{SECRET}")
}

impl World for Kc {
    fn port(&self) -> u16 {
        self.server.url.rsplit(':').next().unwrap().parse().unwrap()
    }
    fn source_at(&self, port: u16) -> String {
        format!(
            r#"
            kind = "keycloak"
            url = "http://127.0.0.1:{port}"
            realm = "{}"
            client_id = "idpsyncd"
            client_secret = {{ file = "secret" }}
            "#,
            self.realm
        )
    }
    fn misplaced(&self) -> Vec<String> {
        vec![self.source().replace(&self.realm, "nowhere")]
    }
    fn secret(&self) -> String {
        secret_of_client()
    }
    fn identity(&self, group: &str) -> String {
        format!("/{group}")
    }
    fn hire(&self, user: &str) {
        self.realm().user(user, json!({"email": format!("{user}@example.org")}));
    }
    fn fire(&self, user: &str) {
        self.realm().delete(&format!("/users/{}", self.user(user)));
    }
    fn set_enabled(&self, user: &str, enabled: bool) {
        self.realm().set_enabled(&self.user(user), enabled);
    }
    fn rename(&self, user: &str, new: &str) {
        let realm = self.realm();
        let mut settings = realm.get("");
        settings["editUsernameAllowed"] = json!(true);
        realm.put("", &settings);
        let path = format!("/users/{}", self.user(user));
        let mut person = realm.get(&path);
        person["username"] = json!(new);
        realm.put(&path, &person);
    }
    fn join(&self, user: &str, group: &str) {
        self.realm().join(&self.user(user), &self.group(group));
    }
    fn leave(&self, user: &str, group: &str) {
        self.realm().leave(&self.user(user), &self.group(group));
    }
    fn found(&self, group: &str) {
        self.realm().group(group, None);
    }
    fn rename_group(&self, group: &str, new: &str) {
        self.realm().put(&format!("/groups/{}", self.group(group)), &json!({"name": new}));
    }
    fn move_group(&self, group: &str) {
        let (realm, id) = (self.realm(), self.group(group));
        let moved = realm.group("moved", None);
        let body = json!({"id": id, "name": group});
        realm.post(&format!("/groups/{moved}/children"), &body);
    }
    fn dissolve(&self, group: &str) {
        self.realm().delete(&format!("/groups/{}", self.group(group)));
    }
    fn stop(&mut self) {
        self.server.stop();
        self.stopped = true;
    }
    fn start(&mut self) {
        self.server.start_again();
        self.stopped = false;
    }
}

impl Drop for Kc {
    /// The next test finds the server running.
    fn drop(&mut self) {
        if self.stopped {
            self.server.start_again();
        }
    }
}
