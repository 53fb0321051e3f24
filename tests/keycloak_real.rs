//! The Keycloak source against a real server: one process for the file, a realm for each test.

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use idpsyncd::directory::{Completeness, Enabled, Kind};
use idpsyncd::model::DiagnosticCode;
use serde_json::json;
use support::kc_slapd::{Slapd, federate};
use support::kc_snapshot::{
    self, Everything, Facts, Named, Source_, config, facts, source, try_read,
};
use support::keycloak::{Keycloak, RIGHTS, Realm};

const SECRET: &str = "s3cr3t-of-the-reader";

fn reader(keycloak: &Keycloak, realm: &Realm<'_>) -> Source_ {
    realm.reader("idpsyncd", SECRET, &RIGHTS);
    source(&config(&keycloak.url, &realm.name), SECRET)
}

fn read(source: &Source_) -> Facts {
    facts(&try_read(source, Arc::new(Everything::default())).unwrap())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn a_full_read_says_what_keycloak_itself_computes_for_everyone() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("full");
    let (browser, other) = (realm.client("osmo-browser-flow"), realm.client("other-app"));
    realm.client("osmo-device");
    let admin = realm.realm_role("admin");
    let bundle = realm.realm_role("bundle");
    let odd = realm.realm_role("odd/ %?#;ü");
    let inner = realm.client_role(&browser, "inner");
    let direct = realm.client_role(&browser, "direct");
    let foreign = realm.client_role(&other, "foreign");
    realm.contain(&bundle, &inner);
    realm.contain(&bundle, &odd);
    realm.contain(&foreign, &admin);
    realm.contain(&inner, &direct);

    let eng = realm.group("Eng", None);
    let ml = realm.group("ML", Some(&eng));
    let deep = realm.group("a/b ü?#;%", Some(&ml));
    let flat = realm.group("Eng/ML", None);
    realm.give(&format!("groups/{eng}"), &bundle);
    realm.give(&format!("groups/{ml}"), &odd);
    realm.give(&format!("groups/{flat}"), &foreign);

    let mut users = Vec::new();
    for (name, group) in
        [("ann", &eng), ("bob", &ml), ("cay", &deep), ("dan", &flat), ("eve-ü", &eng)]
    {
        let user = realm.user(
            name,
            json!({"email": format!("{}@example.org", &name[..3]),
            "emailVerified": name == "ann"}),
        );
        realm.join(&user, group);
        users.push((name, user));
    }
    let fay = realm.user("fay", json!({}));
    realm.give(&format!("users/{fay}"), &direct);
    realm.give(&format!("users/{fay}"), &foreign);
    users.push(("fay", fay));
    users.push(("off", realm.user("off", json!({"enabled": false}))));
    let account = realm.reader("robot", "x", &[]);
    realm.join(&account, &eng);
    realm.give(&format!("users/{account}"), &admin);

    realm.reader("idpsyncd", SECRET, &RIGHTS);
    let mut config = config(&keycloak.url, "full");
    config.clients = vec!["osmo-browser-flow".to_owned(), "osmo-device".to_owned()];
    let source = source(&config, SECRET);
    let snapshot = try_read(&source, Arc::new(Everything::default())).unwrap();
    assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
    assert!(snapshot.warnings().is_empty(), "{:?}", snapshot.warnings());
    let facts = facts(&snapshot);
    assert_eq!(
        facts.users.keys().map(String::as_str).collect::<Vec<_>>(),
        ["ann", "bob", "cay", "dan", "eve-ü", "fay", "off"],
        "everyone but the service accounts"
    );
    for (name, id) in &users {
        let user = &facts.users[*name];
        assert_eq!(user.id, *id);
        assert_eq!(user.enabled, if *name == "off" { Enabled::No } else { Enabled::Yes });
        assert_eq!(user.email_verified, *name == "ann");
        let mut theirs = BTreeSet::new();
        for role in
            realm.get(&format!("/users/{id}/role-mappings/realm/composite")).as_array().unwrap()
        {
            theirs.insert(role["name"].as_str().unwrap().to_owned());
        }
        let path = format!("/users/{id}/role-mappings/clients/{browser}/composite");
        for role in realm.get(&path).as_array().unwrap() {
            theirs.insert(format!("osmo-browser-flow/{}", role["name"].as_str().unwrap()));
        }
        let mut ours = facts.roles_of(name);
        ours.retain(|role| {
            !role.contains('/') || role.starts_with("osmo-") || role.starts_with("odd")
        });
        assert_eq!(ours, theirs, "{name}");
    }
    assert_eq!(facts.groups_of("cay"), ["/Eng", "/Eng/ML", "/Eng/ML/a/b ü?#;%"]);
    assert_eq!(facts.groups_of("dan"), ["/Eng/ML"]);
    let again = try_read(&source, Arc::new(Everything::default())).unwrap();
    assert_eq!(
        snapshot.directory.digest(),
        again.directory.digest(),
        "a second read says the same"
    );
}

#[test]
fn what_no_rule_can_reach_is_not_asked_for() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("limited");
    let wanted = realm.realm_role("wanted");
    let unwanted = realm.realm_role("unwanted");
    let whole = realm.realm_role("whole");
    realm.contain(&whole, &wanted);
    let top = realm.group("top", None);
    let below = realm.group("below", Some(&top));
    let aside = realm.group("aside", None);
    realm.give(&format!("groups/{top}"), &whole);
    realm.give(&format!("groups/{aside}"), &unwanted);
    let ann = realm.user("ann", json!({}));
    realm.join(&ann, &below);
    realm.join(&ann, &aside);

    let source = reader(keycloak, &realm);
    let interest = Named { names: vec!["wanted".into()], attributes: vec![] };
    let snapshot = try_read(&source, Arc::new(interest)).unwrap();
    assert!(snapshot.is_complete());
    let facts = facts(&snapshot);
    for (identity, asked) in [
        ("/top", true),
        ("/top/below", true),
        ("/aside", false),
        ("wanted", true),
        ("whole", true),
        ("unwanted", false),
        ("default-roles-limited", false),
    ] {
        let expected = if asked { Completeness::Complete } else { Completeness::NotAsked };
        assert_eq!(facts.members_are(identity), expected, "{identity}");
    }
    assert!(facts.roles_of("ann").contains("wanted"));
}

#[test]
fn the_default_role_is_listed_only_where_it_contains_something_that_matters() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("default");
    let wanted = realm.realm_role("wanted");
    let default = realm.find("/roles", "default-roles-default");
    realm.contain(&default, &wanted);
    let (ann, bob) = (realm.user("ann", json!({})), realm.user("bob", json!({})));
    realm.take(&format!("users/{bob}"), &default);
    let source = reader(keycloak, &realm);
    let interest = Named { names: vec!["wanted".into()], attributes: vec![] };
    let facts = facts(&try_read(&source, Arc::new(interest)).unwrap());
    assert!(facts.roles_of("ann").contains("wanted"), "{ann}");
    assert!(!facts.roles_of("bob").contains("wanted"), "it was taken from them");
}

#[test]
fn attribute_values_are_compared_exactly_whatever_they_hold() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("attributes");
    realm.allow_attributes();
    for (name, key, value) in [
        ("ann", "team", "Research"),
        ("bob", "team", "research"),
        ("cay", "team", "a b:c"),
        ("dan", "my team", "say \"hi\""),
        ("eve", "team", "R*"),
    ] {
        realm.user(name, json!({"attributes": {key: [value, "other"]}}));
    }
    let source = reader(keycloak, &realm);
    let attributes = [
        ("team", "Research"),
        ("team", "a b:c"),
        ("my team", "say \"hi\""),
        ("team", "nobody"),
        ("team", "ends\\"),
    ];
    let interest = Named {
        names: vec![],
        attributes: attributes.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
    };
    let facts = facts(&try_read(&source, Arc::new(interest)).unwrap());
    assert_eq!(facts.direct(Kind::Attribute, "team=Research"), ["ann"]);
    assert_eq!(facts.direct(Kind::Attribute, "team=a b:c"), ["cay"]);
    assert_eq!(facts.direct(Kind::Attribute, "my team=say \"hi\""), ["dan"]);
    assert_eq!(facts.members_are("team=nobody"), Completeness::Complete);
    assert!(matches!(facts.members_are("team=ends\\"), Completeness::Partial(_)));
}

#[test]
fn service_accounts_are_people_only_where_asked() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("accounts");
    let role = realm.realm_role("worker");
    let robot = realm.reader("robot", "x", &[]);
    realm.give(&format!("users/{robot}"), &role);
    realm.user("ann", json!({}));
    let source_ = reader(keycloak, &realm);
    let facts_ = read(&source_);
    assert_eq!(facts_.users.keys().collect::<Vec<_>>(), ["ann"]);
    assert!(facts_.reading_complete);
    let mut with = config(&keycloak.url, &realm.name);
    with.service_accounts = true;
    let facts_ = read(&source(&with, SECRET));
    assert!(facts_.users.contains_key("service-account-robot"));
    assert!(facts_.roles_of("service-account-robot").contains("worker"));
    assert!(facts_.reading_complete);
}

#[test]
fn a_role_called_dot_dot_is_refused_and_told() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("dots");
    realm.call("POST", "/roles", Some(&json!({"name": ".."})));
    let ann = realm.user("ann", json!({}));
    let source = reader(keycloak, &realm);
    let snapshot = try_read(&source, Arc::new(Everything::default())).unwrap();
    assert!(
        snapshot.warnings().iter().any(|it| it.contains("`..` of the realm")),
        "{:?}",
        snapshot.warnings()
    );
    assert!(!facts(&snapshot).roles_of("ann").contains(".."), "{ann}");
}

#[test]
fn what_is_wrong_with_the_sign_in_is_said_with_what_to_do_and_no_secret() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("Signin");
    realm.reader("idpsyncd", SECRET, &RIGHTS);
    realm.reader("half", SECRET, &["view-users", "view-realm"]);
    realm.post("/clients", &json!({"clientId": "plain", "secret": SECRET, "enabled": true}));
    realm.post("/clients", &json!({"clientId": "public", "publicClient": true, "enabled": true}));
    let off = realm.reader("off", SECRET, &RIGHTS);
    realm.set_enabled(&off, false);

    let good = config(&keycloak.url, "Signin");
    let with = |client: &str| {
        let mut config = good.clone();
        config.client_id = client.to_owned();
        config
    };
    let mut wrong_realm = good.clone();
    wrong_realm.realm = "signin".to_owned();
    let mut auth = good.clone();
    auth.url = format!("{}/auth", keycloak.url).parse().unwrap();
    let mut refused = good.clone();
    refused.url = format!("http://127.0.0.1:{}", support::server::free_port()).parse().unwrap();
    let mut plain_port = good.clone();
    plain_port.url = keycloak.url.replace("http:", "https:").parse().unwrap();
    for (config, secret, parts) in [
        (&good, "not-the-secret", &["`client_secret` is wrong", "client `idpsyncd`"][..]),
        (&with("nobody"), SECRET, &["no enabled client of this name", "`client_id`"]),
        (&with("plain"), SECRET, &["switch on `Service accounts roles`"]),
        (&with("public"), SECRET, &["switch on `Client authentication`"]),
        (&with("off"), SECRET, &["enable the service account's user"]),
        (&with("half"), SECRET, &["lacks the right `view-clients`", "client `realm-management`"]),
        (&wrong_realm, SECRET, &["realm `signin`", "check `realm`"]),
        (&auth, SECRET, &["this server answers below", "set `url`"]),
        (&refused, SECRET, &["Connection refused", "is the server running"]),
        (&plain_port, SECRET, &["does not speak TLS", "`http://`"]),
    ] {
        let source = source(config, secret);
        let error = try_read(&source, Arc::new(Everything::default())).unwrap_err();
        for part in parts {
            assert!(error.message.contains(part), "`{part}` is missing in: {error}");
        }
        assert!(!error.message.contains(secret) && !error.message.contains("eyJ"), "{error}");
        assert_eq!(error.transient, parts[0] == "Connection refused", "{error}");
        let findings = kc_snapshot::check(&source, Arc::new(Everything::default()));
        assert!(
            findings.iter().any(|it| it.is_error() && it.message.contains(parts[0])),
            "{findings:?}"
        );
    }
}

#[test]
fn a_lightweight_token_is_good_enough_where_the_rights_are_there() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("light");
    let light = json!({"attributes": {"client.use.lightweight.access.token.enabled": "true"}});
    for (client, rights) in [("light", &RIGHTS[..]), ("lacking", &RIGHTS[1..])] {
        realm.reader(client, SECRET, rights);
        let uuid = realm.client_uuid(client);
        realm.put(&format!("/clients/{uuid}"), &light);
    }
    let mut config = config(&keycloak.url, "light");
    config.client_id = "light".to_owned();
    assert!(read(&source(&config, SECRET)).reading_complete);
    config.client_id = "lacking".to_owned();
    let error = try_read(&source(&config, SECRET), Arc::new(Everything::default())).unwrap_err();
    assert!(error.message.contains("`view-users`"), "{error}");
}

#[test]
fn check_finds_what_would_make_a_read_fail_or_lie() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("check");
    realm.client("osmo-browser-flow");
    realm.reader("idpsyncd", SECRET, &["view-users", "view-realm", "view-clients", "manage-users"]);
    let mut config = config(&keycloak.url, "check");
    config.clients = vec!["osmo-browser-flo".to_owned()];
    let findings = kc_snapshot::check(&source(&config, SECRET), Arc::new(Named::default()));
    let has = |error: bool, part: &str| {
        findings.iter().any(|it| it.is_error() == error && it.message.contains(part))
    };
    assert!(has(true, "did you mean `osmo-browser-flow`?"), "{findings:?}");
    assert!(has(false, "may do more than reading needs (`manage-users`)"), "{findings:?}");
    config.clients = vec!["osmo-browser-flow".to_owned()];
    realm.take(
        &format!(
            "users/{}",
            realm.get("/users?exact=false&username=service-account-idpsyncd")[0]["id"]
                .as_str()
                .unwrap()
        ),
        &realm.right("manage-users"),
    );
    let codes = || {
        let findings = kc_snapshot::check(&source(&config, SECRET), Arc::new(Named::default()));
        assert!(findings.iter().all(|it| !it.is_error()), "{findings:?}");
        findings.into_iter().map(|it| it.code).collect::<Vec<_>>()
    };
    // What stands in the way of following it, one after the other.
    assert_eq!(codes(), [DiagnosticCode::EventsOff]);
    realm.put("", &json!({"adminEventsEnabled": true}));
    assert_eq!(codes(), [DiagnosticCode::EventsUnseen]);
    let account = realm.get("/users?exact=false&username=service-account-idpsyncd");
    let account = format!("users/{}", account[0]["id"].as_str().unwrap());
    realm.give(&account, &realm.right("view-events"));
    assert_eq!(codes(), [DiagnosticCode::EventsUnbounded, DiagnosticCode::EventsPartly]);
    let kept = json!({"adminEventsExpiration": "86400"});
    realm.put(
        "",
        &json!({"eventsEnabled": true, "eventsExpiration": 86400,
        "enabledEventTypes": ["LOGIN"], "attributes": kept}),
    );
    assert_eq!(codes(), [DiagnosticCode::EventsPartly]);
    realm.put("", &json!({"enabledEventTypes": []}));
    assert_eq!(codes(), []);
}

#[test]
fn a_token_that_ends_in_mid_read_is_renewed() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("short");
    for n in 0..20 {
        realm.group(&format!("g{n}"), None);
    }
    realm.user("ann", json!({}));
    let source = reader(keycloak, &realm);
    let uuid = realm.client_uuid("idpsyncd");
    // Two seconds: renewed after one, and a read with waits in between outlives several.
    realm.put(&format!("/clients/{uuid}"), &json!({"attributes": {"access.token.lifespan": "2"}}));
    let deadline = std::time::Instant::now() + Duration::from_secs(4);
    while std::time::Instant::now() < deadline {
        assert!(read(&source).reading_complete);
    }
}

#[test]
fn a_directory_that_is_down_takes_nothing_away() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let people = ["ann", "bob", "cay"];
    let Some(mut slapd) = Slapd::start(&people, &[("team", &["ann", "bob"])]) else { return };
    let realm = keycloak.realm("federated");
    federate(&realm, &slapd, true, "READ_ONLY");
    realm.user("local", json!({}));
    let source = reader(keycloak, &realm);
    let healthy = read(&source);
    assert!(healthy.reading_complete, "{:?}", healthy.scopes);
    assert_eq!(healthy.groups_of("ann"), ["/team"]);

    slapd.stop();
    // Still in Keycloak's cache: everyone looks enabled, the group looks empty.
    let down = read(&source);
    assert!(matches!(down.members_are("/team"), Completeness::Partial(_)), "{:?}", down.scopes);
    assert!(!down.users_are.is_complete());
    assert!(people.iter().all(|name| down.users[*name].enabled != Enabled::No));

    // Forgotten by the cache: everyone looks disabled.
    realm.call("POST", "/clear-user-cache", None);
    let down = read(&source);
    assert!(matches!(down.members_are("/team"), Completeness::Partial(_)));
    assert!(!down.users_are.is_complete());
    for name in people {
        assert_eq!(down.users[name].enabled, Enabled::Unknown, "{name}");
    }
    assert_eq!(down.users["local"].enabled, Enabled::Yes);
    let findings = kc_snapshot::check(&source, Arc::new(Everything::default()));
    assert!(
        findings.iter().any(|it| it.is_error() && it.message.contains("federation `ldap`")),
        "{findings:?}"
    );

    slapd.start_again();
    let back = read(&source);
    assert!(back.reading_complete, "{:?}", back.scopes);
    assert_eq!(back.digest, healthy.digest, "as before the outage");
}

#[test]
fn a_federation_that_hangs_is_off_or_lost_its_bind_or_base_takes_nothing_away() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let Some(slapd) = Slapd::start(&["ann"], &[("team", &["ann"])]) else { return };
    let realm = keycloak.realm("misbound");
    let federation = federate(&realm, &slapd, true, "READ_ONLY");
    let source = reader(keycloak, &realm);
    let healthy = read(&source);
    assert!(healthy.reading_complete, "{:?}", healthy.scopes);
    let path = format!("/components/{federation}");
    // Accepts and never answers.
    let hung = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hung = (format!("ldap://{}", hung.local_addr().unwrap()), hung);
    for (key, value) in [
        ("connectionUrl", hung.0.as_str()),
        ("bindCredential", "wrong"),
        ("usersDn", "ou=nowhere,dc=example,dc=org"),
        ("connectionUrl", "ldap://127.0.0.1:1"),
        ("enabled", "false"),
    ] {
        let mut component = realm.get(&path);
        let before = component["config"][key].clone();
        component["config"][key] = json!([value]);
        realm.put(&path, &component);
        realm.call("POST", "/clear-user-cache", None);
        let ill = read(&source);
        assert_eq!(ill.users["ann"].enabled, Enabled::Unknown, "{key}");
        assert!(!ill.users_are.is_complete(), "{key}");
        assert!(matches!(ill.members_are("/team"), Completeness::Partial(_)), "{key}");
        component["config"][key] = if key == "bindCredential" { json!(["secret"]) } else { before };
        realm.put(&path, &component);
        realm.call("POST", "/clear-user-cache", None);
    }
    assert!(read(&source).reading_complete, "well again");

    // The directory answers for people and not for groups: nothing but their all being empty
    // at once tells.
    let mappers = realm.get(&format!("/components?parent={federation}"));
    let mapper =
        mappers.as_array().unwrap().iter().find(|it| it["providerId"] == "group-ldap-mapper");
    let mut mapper = mapper.unwrap().clone();
    mapper["config"]["groups.dn"] = json!(["ou=nowhere,dc=example,dc=org"]);
    realm.put(&format!("/components/{}", mapper["id"].as_str().unwrap()), &mapper);
    realm.call("POST", "/clear-user-cache", None);
    let ill = read(&source);
    assert!(matches!(ill.members_are("/team"), Completeness::Partial(_)), "{:?}", ill.scopes);
}

#[test]
fn with_import_off_users_are_never_complete() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let Some(mut slapd) = Slapd::start(&["ann", "bob"], &[("team", &["ann"])]) else { return };
    let realm = keycloak.realm("unimported");
    federate(&realm, &slapd, false, "READ_ONLY");
    realm.user("local", json!({}));
    let source = reader(keycloak, &realm);
    let healthy = read(&source);
    assert_eq!(healthy.groups_of("ann"), ["/team"], "{:?}", healthy.users);
    assert!(!healthy.users_are.is_complete());
    slapd.stop();
    realm.call("POST", "/clear-user-cache", None);
    let down = read(&source);
    assert!(!down.users.contains_key("ann"), "vanished, and the counts agree");
    assert!(!down.users_are.is_complete());
    assert!(matches!(down.members_are("/team"), Completeness::Partial(_)));
    let findings = kc_snapshot::check(&source, Arc::new(Everything::default()));
    assert!(findings.iter().any(|it| it.message.contains("`Import users` off")), "{findings:?}");
}

#[test]
fn a_server_that_stops_in_mid_read_gives_an_error_or_a_partial_read_and_recovers() {
    let Some(mut keycloak) = Keycloak::start() else { return };
    let realm = keycloak.realm("stopping");
    let ann = realm.user("ann", json!({}));
    for n in 0..60 {
        realm.join(&ann, &realm.group(&format!("g{n:02}"), None));
    }
    let source = reader(&keycloak, &realm);
    let healthy = read(&source);
    assert!(healthy.reading_complete);

    let (begun, wait) = std::sync::mpsc::channel();
    let (stopped, go_on) = std::sync::mpsc::channel::<()>();
    let go_on = std::sync::Mutex::new(go_on);
    let progress: idpsyncd::source::OnProgress = Arc::new(move |progress| {
        if progress.what.starts_with("members") && progress.done == 5 {
            begun.send(()).unwrap();
            // The reader goes on only once the server is gone, however slow the machine.
            go_on.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap();
        }
    });
    let snapshot = {
        let source = source.clone();
        std::thread::spawn(move || {
            kc_snapshot::try_read_telling(&source, Arc::new(Everything::default()), progress)
        })
    };
    wait.recv_timeout(Duration::from_secs(60)).unwrap();
    keycloak.stop();
    stopped.send(()).unwrap();
    match snapshot.join().unwrap() {
        Ok(snapshot) => assert!(!snapshot.is_complete(), "a server that is gone read whole"),
        Err(error) => assert!(error.transient, "{error}"),
    }
    keycloak.start_again();
    let back = read(&source);
    assert!(back.reading_complete);
    assert_eq!(back.digest, healthy.digest);
}

/// The mapper of that name in the realm's client scope `roles`.
fn role_mapper(realm: &Realm<'_>, name: &str) -> (String, serde_json::Value) {
    let scope = realm.find("/client-scopes", "roles");
    let mappers =
        format!("/client-scopes/{}/protocol-mappers/models", scope["id"].as_str().unwrap());
    let mapper = realm.find(&mappers, name);
    (format!("{mappers}/{}", mapper["id"].as_str().unwrap()), mapper)
}

#[test]
fn a_realm_whose_tokens_show_roles_elsewhere_or_nowhere_is_read_whole() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("claims");
    let group = realm.group("Eng", None);
    let ann = realm.user("ann", json!({}));
    realm.join(&ann, &group);
    let account = realm.reader("idpsyncd", SECRET, &RIGHTS);
    let read = || {
        // A token of its own for each read: what it shows has changed.
        let source = source(&config(&keycloak.url, "claims"), SECRET);
        try_read(&source, Arc::new(Everything::default()))
    };
    let before = read().unwrap();
    assert!(before.is_complete());
    let (path, mut mapper) = role_mapper(&realm, "client roles");
    // As for Grafana or Argo CD: the claim has another name, or every client's roles lie together.
    for name in ["roles", "resource_access.roles"] {
        mapper["config"]["claim.name"] = json!(name);
        realm.put(&path, &mapper);
        assert_eq!(read().unwrap().directory.digest(), before.directory.digest(), "{name}");
    }
    realm.delete(&path);
    assert_eq!(read().unwrap().directory.digest(), before.directory.digest());
    realm.delete(&role_mapper(&realm, "realm roles").0);
    assert_eq!(read().unwrap().directory.digest(), before.directory.digest());
    // A right that is really missing is still told by name.
    realm.take(&format!("users/{account}"), &realm.right("view-realm"));
    let error = read().unwrap_err();
    assert!(error.message.contains("`view-realm`"), "{error}");
}

#[test]
fn a_server_with_a_public_name_that_is_not_reachable_is_read_by_its_url() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("frontend");
    realm.user("ann", json!({}));
    let source = reader(keycloak, &realm);
    let mut settings = realm.get("");
    settings["attributes"]["frontendUrl"] = json!("https://login.example.invalid");
    realm.put("", &settings);
    assert!(try_read(&source, Arc::new(Everything::default())).unwrap().is_complete());
}

#[test]
fn a_realm_with_an_organization_is_read_in_pages_and_says_the_same() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("organized");
    let group = realm.group("Eng", None);
    let users: Vec<_> = (0..230)
        .map(|n| json!({"username": format!("u{n:03}"), "enabled": n % 7 != 0, "groups": ["/Eng"]}))
        .collect();
    realm.call(
        "POST",
        "/partialImport",
        Some(&json!({"users": users, "ifResourceExists": "FAIL"})),
    );
    let account = realm.reader("idpsyncd", SECRET, &RIGHTS);
    let read = || {
        let source = source(&config(&keycloak.url, "organized"), SECRET);
        let snapshot = try_read(&source, Arc::new(Everything::default())).unwrap();
        assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
        snapshot.directory.digest()
    };
    let without = read();
    let mut settings = realm.get("");
    settings["organizationsEnabled"] = json!(true);
    realm.put("", &settings);
    // Allowed to see that there is none: everyone in one answer.
    realm.give(&format!("users/{account}"), &realm.right("view-organizations"));
    assert_eq!(read(), without);
    realm.post("/organizations", &json!({"name": "one", "domains": [{"name": "one.example.org"}]}));
    assert_eq!(read(), without, "{group}");
}
