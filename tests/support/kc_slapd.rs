//! A small OpenLDAP to federate behind the real Keycloak, and the federation itself.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::keycloak::Realm;
use super::server::free_port;
use super::skip;

/// A running slapd with `ou=people` and `ou=groups` below `dc=example,dc=org`.
pub struct Slapd {
    /// `ldap://127.0.0.1:PORT`
    pub url: String,
    port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Slapd {
    /// Starts one with these people and groups (name, members). `None` where it is not installed.
    pub fn start(people: &[&str], groups: &[(&str, &[&str])]) -> Option<Slapd> {
        if !std::path::Path::new("/usr/sbin/slapd").exists() {
            skip::skip(&skip::test(), "slapd is not installed (Debian: slapd ldap-utils)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("db")).unwrap();
        let schemas: String = ["core", "cosine", "nis", "inetorgperson"]
            .map(|name| format!("include /etc/ldap/schema/{name}.schema\n"))
            .concat();
        let conf = format!(
            "{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\n\
             suffix dc=example,dc=org\nrootdn cn=admin,dc=example,dc=org\nrootpw secret\n\
             directory {}/db\nmaxsize 104857600\ndbnosync\nindex objectClass,uid eq\n",
            path.display()
        );
        std::fs::write(path.join("slapd.conf"), conf).unwrap();
        let mut ldif = String::from(
            "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\n\
             dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n\
             dn: ou=groups,dc=example,dc=org\nobjectClass: organizationalUnit\nou: groups\n\n",
        );
        for uid in people {
            ldif.push_str(&format!(
                "dn: uid={uid},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {uid}\n\
                 cn: {uid}\nsn: {uid}\nmail: {uid}@example.org\n\n"
            ));
        }
        for (name, members) in groups {
            ldif.push_str(&format!(
                "dn: cn={name},ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: {name}\n"
            ));
            for uid in *members {
                ldif.push_str(&format!("member: uid={uid},ou=people,dc=example,dc=org\n"));
            }
            ldif.push('\n');
        }
        std::fs::write(path.join("in.ldif"), ldif).unwrap();
        let added = Command::new("/usr/sbin/slapadd")
            .args(["-q", "-b", "dc=example,dc=org", "-f"])
            .arg(path.join("slapd.conf"))
            .arg("-l")
            .arg(path.join("in.ldif"))
            .output()
            .unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let port = free_port();
        let url = format!("ldap://127.0.0.1:{port}");
        let mut slapd = Slapd { url, port, folder, child: None };
        slapd.start_again();
        Some(slapd)
    }

    /// Starts it again on the same port and data.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none());
        let child = Command::new("/usr/sbin/slapd")
            .arg("-f")
            .arg(self.folder.path().join("slapd.conf"))
            .args(["-h", &format!("{}/", self.url), "-d", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "slapd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it; the data stay.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Puts `slapd` behind `realm`: a federation named `ldap` with a group mapper of this mode
/// (`READ_ONLY`, `IMPORT`), and imports it. Returns the federation's id.
pub fn federate(realm: &Realm<'_>, slapd: &Slapd, import: bool, mode: &str) -> String {
    let parent = realm.get("")["id"].clone();
    let setting = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!([value])))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let federation = realm.post(
        "/components",
        &json!({"name": "ldap", "providerId": "ldap", "parentId": parent,
        "providerType": "org.keycloak.storage.UserStorageProvider",
        "config": setting(&[
            ("enabled", "true"), ("priority", "0"), ("editMode", "READ_ONLY"),
            ("importEnabled", if import { "true" } else { "false" }), ("vendor", "other"),
            ("usernameLDAPAttribute", "uid"), ("rdnLDAPAttribute", "uid"),
            ("uuidLDAPAttribute", "entryUUID"), ("userObjectClasses", "inetOrgPerson"),
            ("connectionUrl", &slapd.url), ("usersDn", "ou=people,dc=example,dc=org"),
            ("authType", "simple"), ("bindDn", "cn=admin,dc=example,dc=org"),
            ("bindCredential", "secret"), ("searchScope", "1"), ("pagination", "false"),
            ("connectionTimeout", "2000"), ("readTimeout", "2000"),
        ])}),
    );
    let mapper = realm.post(
        "/components",
        &json!({"name": "groups", "providerId": "group-ldap-mapper", "parentId": federation,
        "providerType": "org.keycloak.storage.ldap.mappers.LDAPStorageMapper",
        "config": setting(&[
            ("groups.dn", "ou=groups,dc=example,dc=org"), ("group.name.ldap.attribute", "cn"),
            ("group.object.classes", "groupOfNames"), ("membership.ldap.attribute", "member"),
            ("membership.attribute.type", "DN"), ("membership.user.ldap.attribute", "uid"),
            ("mode", mode), ("groups.path", "/"), ("preserve.group.inheritance", "false"),
            ("user.roles.retrieve.strategy", "LOAD_GROUPS_BY_MEMBER_ATTRIBUTE"),
        ])}),
    );
    if import {
        realm.call(
            "POST",
            &format!("/user-storage/{federation}/sync?action=triggerFullSync"),
            None,
        );
    }
    realm.call(
        "POST",
        &format!("/user-storage/{federation}/mappers/{mapper}/sync?direction=fedToKeycloak"),
        None,
    );
    federation
}
