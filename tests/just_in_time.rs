//! Just in time against a real Keycloak and a real OpenLDAP: whoever comes after the sync is looked
//! up and has what the next sync gives.

#![cfg(test)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use idpsyncd::config::{self, Config};
use idpsyncd::gateway::provision::{Limits, Provisioned, Provisioner};
use idpsyncd::model::caller::{Caller, KnownBy};
use idpsyncd::resolve::Rules;
use idpsyncd::source::{Looked, OnProgress, Who, open_source};
use idpsyncd::sync::{Options, Outcome, run};
use serde_json::json;
use support::door::Reader;
use support::kc_slapd::{Slapd, federate};
use support::keycloak::{Keycloak, RIGHTS, Realm};
use support::openldap::{OpenLdap, SUFFIX, group, group_dn, person, person_dn, tree};

const SECRET: &str = "s3cr3t-of-the-reader";

/// Who looks people up, without a token yet.
fn again(config: &Arc<Config>) -> Provisioner {
    // A busy machine must not turn a test of facts into one of speed.
    let limits = Limits {
        deadline: std::time::Duration::from_secs(120),
        lookup: std::time::Duration::from_secs(60),
        memory: std::time::Duration::ZERO,
        ..Limits::default()
    };
    let store = idpsyncd::store::open(&config.store);
    Provisioner::new(Arc::clone(config), store, limits, Arc::new(()))
}

struct Home {
    folder: tempfile::TempDir,
    config: Arc<Config>,
    provisioner: Provisioner,
    runtime: tokio::runtime::Runtime,
}

impl Home {
    fn new(sources: &str, secret: &str) -> Home {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), secret).unwrap();
        let file = folder.path().join("idpsyncd.toml");
        let rest = "[store]\npath = \"store.db\"\n[gateway]\nhttp = \"127.0.0.1:0\"\n\
                    identity = \"header\"\nprovision = \"lookup\"\npreset = \"osmo\"\n";
        std::fs::write(&file, format!("{rest}{sources}")).unwrap();
        let config = Arc::new(
            config::load(&file, &idpsyncd::source::kinds())
                .unwrap_or_else(|error| panic!("{error}")),
        );
        let provisioner = again(&config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Home { folder, config, provisioner, runtime }
    }

    fn sync(&self) -> Outcome {
        let options = Options {
            dry_run: false,
            sources: None,
            what: "test".to_owned(),
            ..Options::default()
        };
        let silent: OnProgress = Arc::new(|_| {});
        self.runtime
            .block_on(run(
                &self.config,
                &*idpsyncd::store::open(&self.config.store),
                &options,
                &silent,
                chrono::Utc::now(),
            ))
            .unwrap()
    }

    fn provision(&self, caller: Caller) -> Provisioned {
        self.runtime.block_on(self.provisioner.provision(&Arc::new(caller)))
    }

    fn by_name(&self, name: &str) -> Provisioned {
        self.provision(Caller::named(name))
    }

    /// Effective roles by user.
    fn roles(&self) -> BTreeMap<String, BTreeSet<String>> {
        let conn = rusqlite::Connection::open(self.folder.path().join("store.db")).unwrap();
        let mut held = conn.prepare("SELECT username, role FROM gateway_user_role").unwrap();
        let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let rows = held.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        for row in rows {
            let (user, role): (String, String) = row.unwrap();
            users.entry(user).or_default().insert(role);
        }
        users
    }

    /// Grants of everyone with their ways.
    fn grants(&self) -> BTreeSet<String> {
        let state = Reader::open(&self.config.store).unwrap().unwrap().state().unwrap();
        let name = |id| state.users.iter().find(|user| user.id == id).unwrap().username;
        let grants = state.grants.iter().map(|grant| {
            format!(
                "{} {}: {}",
                state.texts.get(name(grant.user)),
                state.roles.get(grant.role).unwrap().name,
                idpsyncd::plan::reasons(&state, grant.kind)
            )
        });
        grants.collect()
    }

    /// The next sync finds nothing to change.
    fn sync_agrees(&self) {
        let (roles, grants) = (self.roles(), self.grants());
        let outcome = self.sync();
        assert!(!outcome.incomplete(), "{:?}", outcome.sources);
        assert!(!outcome.changes(), "{:?}", outcome.plan.unwrap().changes);
        assert_eq!((self.roles(), self.grants()), (roles, grants));
    }
}

fn committed(answer: &Provisioned) {
    assert!(matches!(answer, Provisioned::Committed { .. }), "{answer:?}");
}

fn refused(answer: Provisioned, part: &str) {
    match answer {
        Provisioned::Refused(why) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    }
}

fn keycloak_home(keycloak: &Keycloak, realm: &Realm<'_>) -> Home {
    realm.reader("idpsyncd", SECRET, &RIGHTS);
    let (url, name) = (&keycloak.url, &realm.name);
    Home::new(
        &format!(
            r#"
[[source]]
name = "kc"
kind = "keycloak"
url = "{url}"
realm = "{name}"
client_id = "idpsyncd"
client_secret = {{ file = "secret" }}
clients = ["app"]
[roles.by-group]
sync_mode = "force"
external_roles = ["ML"]
[roles.by-parent]
external_roles = ["Eng"]
[roles.by-composite]
external_roles = ["inner"]
[roles.by-client]
external_roles = ["direct"]
[roles.by-default]
external_roles = ["for-all"]
[roles.by-attribute]
external_roles = []
[[mapping]]
attribute = {{ name = "department", value = "Research" }}
roles = ["by-attribute"]
"#
        ),
        SECRET,
    )
}

#[test]
fn keycloak_someone_new_has_at_once_what_the_next_sync_gives() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("jit");
    realm.allow_attributes();
    let app = realm.client("app");
    let bundle = realm.realm_role("bundle");
    let for_all = realm.realm_role("for-all");
    let inner = realm.client_role(&app, "inner");
    let direct = realm.client_role(&app, "direct");
    realm.contain(&bundle, &inner);
    let default = realm.find("/roles", "default-roles-jit");
    realm.contain(&default, &for_all);
    let eng = realm.group("Eng", None);
    let ml = realm.group("ML", Some(&eng));
    realm.give(&format!("groups/{eng}"), &bundle);
    let old = realm.user("old", json!({}));
    realm.join(&old, &eng);
    let home = keycloak_home(keycloak, &realm);
    let first = home.sync();
    assert!(!first.incomplete(), "{:?}", first.sources);

    let ann = realm.user("Ann", json!({"attributes": {"department": ["Research"]}}));
    realm.join(&ann, &ml);
    let bob = realm.user("bob", json!({"attributes": {"department": ["research"]}}));
    realm.give(&format!("users/{bob}"), &direct);
    realm.user("off", json!({"enabled": false}));
    realm.user("plain", json!({}));

    // By name, and by the id of a token that the realm issued, whatever name is in it.
    committed(&home.by_name("ann"));
    let token = |name: &str, subject: &str| Caller {
        known_by: KnownBy::Id { source: "kc".to_owned(), ext: subject.to_owned() },
        name: Some(name.into()),
        issuer: Some(format!("{}/realms/jit", keycloak.url)),
        roles: None,
        named: None,
    };
    assert_eq!(
        home.provision(token("bob", "00000000-0000-4000-8000-000000000000")),
        Provisioned::Nobody
    );
    committed(&home.provision(token("plain", &bob)));
    committed(&home.by_name("plain"));
    refused(home.by_name("off"), "disabled in `kc`");
    assert_eq!(home.by_name("no-one"), Provisioned::Nobody);
    assert_eq!(home.by_name("service-account-idpsyncd"), Provisioned::Nobody);

    let roles = home.roles();
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        roles["ann"],
        set(&["by-attribute", "by-composite", "by-default", "by-group", "by-parent"])
    );
    assert_eq!(roles["bob"], set(&["by-client", "by-default"]));
    assert_eq!(roles["plain"], set(&["by-default"]));
    assert_eq!(roles.len(), 4, "{roles:?}");
    let jit = home.grants();
    home.sync();
    assert_eq!(home.roles(), roles);
    // The sync knows the disabled as well.
    let mut after = home.grants();
    after.retain(|grant| !grant.starts_with("off "));
    assert_eq!(after, jit);
}

#[test]
fn keycloak_someone_new_in_organizations_has_at_once_what_the_next_sync_gives() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("jit-orgs");
    realm.organizations(true);
    let account = realm.reader("idpsyncd", SECRET, &RIGHTS);
    let (acme, off) = (realm.organization("acme"), realm.organization("off"));
    let eng = realm.organization_group(&acme, "eng", None);
    let ml = realm.organization_group(&acme, "ml", Some(&eng));
    let url = &keycloak.url;
    let home = Home::new(
        &format!(
            r#"
[[source]]
name = "kc"
kind = "keycloak"
url = "{url}"
realm = "jit-orgs"
client_id = "idpsyncd"
client_secret = {{ file = "secret" }}
[roles.by-organization]
external_roles = []
[roles.by-group]
external_roles = []
[roles.by-off]
external_roles = []
[[mapping]]
organization = "acme"
roles = ["by-organization"]
[[mapping]]
organization_group = "acme:/eng"
roles = ["by-group"]
[[mapping]]
organization = "off"
roles = ["by-off"]
"#
        ),
        SECRET,
    );
    // A role that denies may hang on an organization: whoever may not see them is not let in.
    assert!(home.sync().incomplete());
    let nia = realm.user("nia", json!({}));
    let answer = home.by_name("nia");
    let Provisioned::Unavailable(why) = answer else { panic!("{answer:?}") };
    assert!(why.contains("`view-organizations`"), "{why}");
    realm.give(&format!("users/{account}"), &realm.right("view-organizations"));
    let home = Home { provisioner: again(&home.config), ..home };
    let first = home.sync();
    assert!(!first.incomplete(), "{:?}", first.sources);

    let (ann, bob) = (realm.user("ann", json!({})), realm.user("bob", json!({})));
    for person in [&ann, &bob] {
        realm.join_organization(person, &acme);
        realm.join_organization(person, &off);
    }
    realm.join_organization(&nia, &off);
    realm.join_organization_group(&ann, &acme, &ml);
    realm.set_organization(&off, false);
    committed(&home.by_name("ann"));
    committed(&home.by_name("bob"));
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let roles = home.roles();
    assert_eq!(roles["ann"], set(&["by-group", "by-organization"]));
    assert_eq!(roles["bob"], set(&["by-organization"]));
    home.sync_agrees();
}

#[test]
fn keycloak_an_outage_tells_strangers_nothing_and_changes_nothing() {
    let Some(mut keycloak) = Keycloak::start() else { return };
    let home = {
        let realm = keycloak.realm("out");
        let eng = realm.group("Eng", None);
        let old = realm.user("old", json!({}));
        realm.join(&old, &eng);
        let home = keycloak_home(&keycloak, &realm);
        home.sync();
        realm.user("ann", json!({}));
        home
    };
    let before = (home.roles(), home.grants());
    keycloak.stop();
    let answer = home.by_name("ann");
    let Provisioned::Unavailable(why) = answer else { panic!("{answer:?}") };
    assert!(why.contains("cannot connect"), "{why}");
    assert_eq!((home.roles(), home.grants()), before);
    keycloak.start_again();
    committed(&home.by_name("ann"));
}

#[test]
fn keycloak_whose_directory_is_away_is_not_believed_about_its_people() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let Some(mut slapd) = Slapd::start(&["lea", "leo"], &[]) else { return };
    let realm = keycloak.realm("jit-fed");
    let home = keycloak_home(keycloak, &realm);
    realm.user("old", json!({}));
    home.sync();
    federate(&realm, &slapd, true, "READ_ONLY");
    committed(&home.by_name("lea"));
    slapd.stop();
    let answer = home.by_name("leo");
    assert!(matches!(answer, Provisioned::Unavailable(_)), "{answer:?}");
    slapd.start_again();
    committed(&home.by_name("leo"));
}

const LDAP_RULES: &str = r#"
[roles.by-group]
sync_mode = "force"
external_roles = ["inner"]
[roles.by-nesting]
external_roles = ["outer"]
[roles.by-uid]
external_roles = ["posix"]
[roles.by-attribute]
external_roles = []
[[mapping]]
attribute = { name = "departmentNumber", value = "research" }
roles = ["by-attribute"]
"#;

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn openldap_someone_new_has_at_once_what_the_next_sync_gives() {
    let posix = format!(
        "dn: cn=posix,ou=groups,{SUFFIX}\nobjectClass: posixGroup\ncn: posix\ngidNumber: 7\n\
         memberUid: old\n\n"
    );
    let ldif = [
        tree(),
        person("old", "departmentNumber: other\n"),
        group("inner", &[person_dn("old")]),
        group("outer", &[group_dn("inner")]),
        posix,
    ]
    .concat();
    let Some(server) = OpenLdap::start(&ldif, "") else { return };
    let url = &server.url;
    let home = Home::new(
        &format!(
            r#"
[[source]]
name = "corp"
kind = "ldap"
url = "{url}"
bind_dn = "cn=reader,ou=services,{SUFFIX}"
bind_password = {{ file = "secret" }}
users = {{ base = "ou=people,{SUFFIX}", filter = "(objectClass=inetOrgPerson)", username = "uid", email = "mail" }}
groups = {{ base = "ou=groups,{SUFFIX}", filter = "(|(objectClass=groupOfNames)(objectClass=posixGroup))", name = "cn", nested = true }}
{LDAP_RULES}"#
        ),
        "reader-secret",
    );
    let first = home.sync();
    assert!(!first.incomplete(), "{:?}", first.sources);
    let add = |text: &str| server.modify(text);
    let entry = |uid: &str, extra: &str| {
        person(uid, extra).replacen("objectClass", "changetype: add\nobjectClass", 1)
    };
    add(&entry("ann", "departmentNumber: Research\n"));
    add(&entry("bob", ""));
    add(&entry("o(d*d)", ""));
    add(&entry("off", "objectClass: shadowAccount\nshadowExpire: 1\n"));
    let join = |cn: &str, line: &str| {
        let (attribute, _) = line.split_once(':').unwrap();
        add(&format!(
            "dn: cn={cn},ou=groups,{SUFFIX}\nchangetype: modify\nadd: {attribute}\n{line}\n\n"
        ));
    };
    join("inner", &format!("member: {}", person_dn("ann")));
    join("posix", "memberUid: bob");
    join("inner", &format!("member: {}", person_dn("off")));

    committed(&home.by_name("ann"));
    committed(&home.by_name("bob"));
    committed(&home.by_name("o(d*d)"));
    refused(home.by_name("off"), "disabled in `corp`");
    for name in ["nobody", "*", "o*", "a)(uid=*", "ann)", "o(d*d"] {
        assert_eq!(home.by_name(name), Provisioned::Nobody, "{name}");
    }
    let roles = home.roles();
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(roles["ann"], set(&["by-attribute", "by-group", "by-nesting"]));
    assert_eq!(roles["bob"], set(&["by-uid"]));
    let jit = home.grants();
    home.sync();
    let after = home.roles();
    assert_eq!((&after["ann"], &after["bob"]), (&roles["ann"], &roles["bob"]));
    assert!(!after.contains_key("off"));
    let mine = |all: BTreeSet<String>| {
        all.into_iter().filter(|it| !it.starts_with("off ")).collect::<BTreeSet<_>>()
    };
    assert_eq!(mine(home.grants()), jit);
    home.sync_agrees();

    // By the directory's own id, whatever the person is called.
    let state = Reader::open(&home.config.store).unwrap().unwrap().state().unwrap();
    let ann = state.users.iter().find(|user| state.texts.get(user.username) == "ann").unwrap().id;
    let link = state.links.iter().find(|link| link.user == ann).unwrap();
    let ext = state.texts.get(link.ext).to_owned();
    let source = &home.config.sources[0];
    let settings = home.config.settings();
    let rules = Rules::new(&settings, source.terms());
    let opened = open_source(source).unwrap();
    let asked = |id: &str| {
        let who = Who::Id(id.to_owned());
        home.runtime.block_on(opened.as_lookup().unwrap().lookup(&rules, &who)).unwrap()
    };
    let Looked::Found(found) = asked(&ext) else { panic!("{ext} is nobody") };
    assert_eq!((found.username.as_str(), found.ext), ("ann", ext));
    for id in ["", "*", "ann", "00000000-0000-4000-8000-000000000000", "a)(uid=ann"] {
        assert_eq!(asked(id), Looked::Nobody, "{id}");
    }
}
