//! Realm exports as people and old servers write them: one odd value costs that value, and what
//! cannot be left out safely leaves its scope in doubt. Nothing makes the company smaller unsaid.
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use idpsyncd::directory::{
    Applied, Completeness, Directory, Enabled, Interest, Kind, Mirror, Snapshot,
};
use idpsyncd::model::index::Place as _;
use idpsyncd::source::file::{FileSource, RealmExportConfig};
use idpsyncd::source::{FullRead, SourceError};
use serde_json::{Value, json};

/// `snapshot` laid over a mirror.
fn merge(mirror: Option<&Directory>, snapshot: Snapshot) -> Applied {
    let directory = mirror.cloned().unwrap_or_default();
    Mirror { directory, cursor: None }.apply_snapshot(snapshot)
}

/// Rules that can name these identities, and an attribute.
struct Rules(Vec<&'static str>, Vec<(String, String)>);

impl Interest for Rules {
    fn reaches(&self, _: Kind, _: &str, _: &str, identity: &str, _: &str, _: &[&str]) -> bool {
        self.0.contains(&identity)
    }

    fn attributes(&self) -> &[(String, String)] {
        &self.1
    }
}

fn rules(names: &[&'static str]) -> Rules {
    Rules(names.to_vec(), vec![("site".to_owned(), "7".to_owned())])
}

fn try_read(path: &Path, realm: Option<&str>, rules: &Rules) -> Result<Snapshot, SourceError> {
    let config = RealmExportConfig {
        path: path.to_owned(),
        realm: realm.map(str::to_owned),
        clients: vec!["shop".to_owned(), "account".to_owned()],
        service_accounts: false,
    };
    let source = FileSource::new("s", &config).unwrap();
    source.read(rules, Arc::new(|_| {})).now_or_never().expect("a file is read without waiting")
}

fn text_read(text: &str, realm: Option<&str>) -> Result<Snapshot, SourceError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("realm.json");
    std::fs::write(&path, text).unwrap();
    try_read(&path, realm, &rules(&["dev", "shop/buyer"]))
}

fn read(export: &Value) -> Snapshot {
    read_for(export, &rules(&["dev", "shop/buyer"]))
}

fn read_for(export: &Value, rules: &Rules) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("realm.json");
    std::fs::write(&path, export.to_string()).unwrap();
    try_read(&path, None, rules).unwrap()
}

/// Who has what, through everything: `ann dev`, sorted.
fn held(directory: &Directory) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (place, members) in directory.members.iter().enumerate() {
        let (mut open, mut seen) = (vec![place], BTreeSet::new());
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(directory.implies[next].iter().map(|to| to.place()));
            }
        }
        for user in members {
            let name = directory.text(directory.users[user.place()].username);
            for reference in &seen {
                let what = directory.text(directory.refs[*reference].identity);
                all.insert(format!("{name} {what}"));
            }
        }
    }
    all
}

fn has(snapshot: &Snapshot, what: &str) -> bool {
    held(&snapshot.directory).contains(what)
}

/// Whether a warning begins so.
fn told(snapshot: &Snapshot, start: &str) -> bool {
    snapshot.warnings().iter().any(|it| it.starts_with(start))
}

fn up(snapshot: &Snapshot, identity: &str) -> Completeness {
    let directory = &snapshot.directory;
    let is = |it: &idpsyncd::directory::RefRow| directory.text(it.identity) == identity;
    snapshot.implies[directory.refs.iter().position(is).unwrap()].clone()
}

/// Three people in a shop.
fn shop() -> Value {
    json!({
        "realm": "shop", "enabled": true,
        "roles": {
            "realm": [{"name": "dev"}, {"name": "lead", "composite": true,
                       "composites": {"realm": ["dev"], "client": {"shop": ["buyer"]}}}],
            "client": {"shop": [{"name": "buyer"}, {"name": "seller"}]}
        },
        "groups": [{"id": "g1", "name": "Eng", "realmRoles": ["dev"], "subGroups": [
            {"id": "g2", "name": "ML", "clientRoles": {"shop": ["seller"]}, "subGroups": null}
        ]}, {"id": "g3", "name": "Ops"}],
        "clients": [{"clientId": "shop"}],
        "users": [
            {"id": "u1", "username": "ann", "email": "ann@example.org", "emailVerified": true,
             "enabled": true, "groups": ["/Eng/ML"], "realmRoles": ["lead"]},
            {"id": "u2", "username": "bob", "enabled": true, "groups": ["/Ops"],
             "clientRoles": {"shop": ["seller"]}, "attributes": {"site": ["7"]}},
            {"id": "u3", "username": "cay", "enabled": false, "groups": ["/Eng"]}
        ]
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut export = shop();
    let (above, key) = pointer.rsplit_once('/').unwrap();
    let above = export.pointer_mut(above).unwrap_or_else(|| panic!("{pointer}"));
    match above {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        object => object[key] = value,
    }
    export
}

#[test]
fn an_odd_value_costs_that_value_and_is_told_with_its_place() {
    let whole = read(&shop());
    assert!(whole.is_complete() && whole.warnings().is_empty(), "{:?}", whole.warnings());
    let expected = held(&whole.directory);
    // What is odd, whether something was left out, and what to tell.
    for (pointer, value, place) in [
        ("/users/0/attributes", json!({"k": [null]}), "users[0].attributes[`k`][0] is null"),
        ("/users/0/attributes", json!({"k": {"a": 1}}), "users[0].attributes[`k`] is an object"),
        ("/users/0/attributes", json!({"k": [[]], "l": null}), "users[0].attributes[`k`][0] is a"),
        ("/users/0/attributes", json!({"k": 5, "d": [true, 1.5]}), ""),
        ("/users/0/email", json!(["a@b"]), "users[0].email is a list"),
        ("/users/0/email", Value::Null, ""),
        ("/users/0/emailVerified", json!({}), "users[0].emailVerified is an object"),
        ("/users/0/emailVerified", json!("false"), ""),
        ("/users/0/federationLink", json!([1]), "users[0].federationLink is a list"),
        ("/users/0/groups", json!(["/Eng/ML", null]), "users[0].groups[1] is null"),
        ("/users/0/groups", json!(["Eng/ML/"]), ""),
        ("/users/0/realmRoles", json!([" lead ", ""]), "users[0].realmRoles[1] is empty"),
        ("/users/0/clientRoles", json!({"shop": null, "other": [null]}), "users[0].clientRoles[`o"),
        ("/users/0/credentials", json!("x"), ""),
        ("/users/1/attributes", json!({"site": 7}), ""),
        ("/users/1/attributes", json!({"site": [null, 7]}), "users[1].attributes[`site`][0] is n"),
        ("/groups/1/attributes", json!(5), ""),
        ("/groups/1/realmRoles", json!([null]), "groups[1].realmRoles[0] is null"),
        ("/groups/1/subGroups", json!([null]), "groups[1].subGroups[0] is null"),
        ("/groups/1/path", json!({}), "groups[1].path is an object"),
        ("/roles/realm/0/id", json!([]), "roles.realm[0].id is a list"),
        ("/roles/realm/0/composite", json!("false"), ""),
        ("/roles/realm/0/composite", json!("no"), "roles.realm[0].composite is a text"),
        ("/roles/client/shop/0/description", json!([1]), ""),
        ("/roles/client/other", Value::Null, ""),
        ("/clients/0", json!({"clientId": "shop", "defaultRoles": null, "attributes": []}), ""),
        ("/clients", json!([{"clientId": "shop"}, null, 5]), "clients[1] is null"),
        ("/clients", json!([{"clientId": "shop"}, {"clientId": {}}]), "clients[1].clientId is an"),
        ("/defaultRole", json!("x"), ""),
        ("/scopeMappings", json!("x"), ""),
        ("/users/0/id", json!("u1"), ""),
    ] {
        let snapshot = read(&with(pointer, value.clone()));
        assert!(snapshot.is_complete(), "{pointer} {value}: {:?}", snapshot.scopes());
        assert_eq!(held(&snapshot.directory), expected, "{pointer} {value}");
        match place {
            "" => assert_eq!(snapshot.warnings(), Vec::<String>::new(), "{pointer} {value}"),
            place => assert!(told(&snapshot, place), "{place}: {:?}", snapshot.warnings()),
        }
    }
    // The same names, as numbers and booleans.
    let mut export = with("/users/0/username", json!(17));
    export["roles"]["realm"][0]["name"] = json!(true);
    export["roles"]["realm"][1]["composites"]["realm"] = json!([true]);
    export["groups"][1]["name"] = json!(5);
    export["users"][1]["groups"] = json!(["/5"]);
    export["users"][1]["id"] = json!(12);
    let snapshot = read(&export);
    assert!(
        has(&snapshot, "17 true") && has(&snapshot, "bob /5"),
        "{:?}",
        held(&snapshot.directory)
    );
    assert!(snapshot.directory.users.iter().any(|it| snapshot.directory.text(it.ext) == "12"));
}

#[test]
fn whether_someone_is_enabled_is_read_as_keycloak_reads_it() {
    for (value, enabled, place) in [
        (json!("true"), Enabled::Yes, ""),
        (json!("false"), Enabled::No, ""),
        (json!(1), Enabled::Yes, ""),
        (json!(0), Enabled::No, ""),
        (Value::Null, Enabled::No, "users[0].enabled of `ann` is missing: disabled"),
        (json!(""), Enabled::No, "users[0].enabled of `ann` is missing: disabled"),
        // Neither can be said: what was known stays.
        (json!("yes"), Enabled::Unknown, "users[0].enabled is a text"),
        (json!({}), Enabled::Unknown, "users[0].enabled is an object"),
    ] {
        let snapshot = read(&with("/users/0/enabled", value.clone()));
        assert_eq!(snapshot.directory.users[0].enabled, enabled, "{value}");
        assert!(place.is_empty() == snapshot.warnings().is_empty(), "{:?}", snapshot.warnings());
        assert!(place.is_empty() || told(&snapshot, place), "{:?}", snapshot.warnings());
    }
    let mut export = shop();
    export["users"][0].as_object_mut().unwrap().remove("enabled");
    let snapshot = read(&export);
    assert_eq!(snapshot.directory.users[0].enabled, Enabled::No);
    assert!(told(&snapshot, "users[0].enabled of `ann` is missing: disabled"));
}

#[test]
fn what_cannot_be_left_out_makes_its_scope_partial_and_takes_nothing_away() {
    let before = merge(None, read(&shop())).mirror.directory;
    let kept = held(&before);
    let role = |name: &str| json!({"name": name});
    for (pointer, value, scope, place) in [
        ("/users/0/groups", json!("/Eng/ML"), "memberships", "users[0].groups is a text"),
        ("/users/0/groups", json!([{"name": "Eng"}]), "memberships", "users[0].groups[0] is an"),
        ("/users/0/realmRoles", json!("lead"), "memberships", "users[0].realmRoles is a text"),
        ("/users/0/realmRoles", json!([role("lead")]), "roles", "users[0].realmRoles[0] is an"),
        ("/users/1/clientRoles", json!(["seller"]), "memberships", "users[1].clientRoles is a li"),
        ("/users/1/clientRoles", json!({"shop": "seller"}), "roles", "users[1].clientRoles[`shop"),
        ("/users/1/attributes", json!(["site"]), "memberships", "users[1].attributes is a list"),
        ("/users/1/attributes", json!({"site": {}}), "memberships", "users[1].attributes[`site`]"),
        ("/users/0", json!("ann"), "users", "users[0] is a text, not a user: left out"),
        ("/users/0", json!([]), "users", "users[0] is a list, not a user: left out"),
        ("/users/0", json!({"id": "u1"}), "users", "users[0] has no `username`: left out"),
        ("/users/0/username", json!(""), "users", "users[0] has no `username`: left out"),
        ("/users/0/username", json!(["ann"]), "users", "users[0].username is a list"),
        ("/users/0/id", json!(""), "users", "users[0] of `ann` has an empty `id`"),
        ("/users/0/id", json!({}), "users", "users[0] of `ann` has no readable `id`"),
        ("/users/1/id", json!("u1"), "users", "users[1] of `bob` has the `id` of a user before"),
        ("/groups", json!({"Eng": []}), "groups", "groups is an object, not a list"),
        ("/groups", Value::Null, "groups", "the export has no `groups`"),
        ("/groups/0", json!("Eng"), "groups", "groups[0] is a text, not a group: left out"),
        ("/groups/0/name", Value::Null, "groups", "groups[0] has no `name`: left out"),
        ("/groups/0/name", json!(""), "groups", "groups[0] has no `name`: left out"),
        ("/groups/0/subGroups", json!("ML"), "groups", "groups[0].subGroups is a text"),
        ("/groups/0/realmRoles", json!("dev"), "memberships", "groups[0].realmRoles is a text"),
        ("/groups/0/realmRoles", json!([role("dev")]), "roles", "groups[0].realmRoles[0] is an"),
        ("/roles", json!([]), "roles", "roles is a list, not an object"),
        ("/roles/realm", json!("dev"), "roles", "roles.realm is a text, not a list"),
        ("/roles/realm/1", json!("lead"), "roles", "roles.realm[1] is a text, not a role"),
        ("/roles/realm/1/name", json!([]), "roles", "roles.realm[1].name is a list"),
        ("/roles/client", json!([]), "roles", "roles.client is a list, not an object"),
        ("/roles/client/shop", json!({}), "roles", "roles.client[`shop`] is an object"),
        ("/roles/realm/1/composites", json!("dev"), "memberships", "roles.realm[1].composites is"),
        ("/roles/realm/1/composites/realm", json!("dev"), "memberships", "roles.realm[1].composi"),
        ("/roles/realm/1/composites/client", json!([5]), "memberships", "roles.realm[1].composit"),
    ] {
        let snapshot = read(&with(pointer, value.clone()));
        let partial = snapshot.scopes().into_iter().find(|it| it.scope == scope).unwrap().partial;
        assert!(partial.is_some(), "{pointer} {value}: {:?}", snapshot.scopes());
        assert!(told(&snapshot, place), "{place}: {:?}", snapshot.warnings());
        let after = merge(Some(&before), snapshot);
        assert!(!after.complete);
        let lost: Vec<_> = kept.difference(&held(&after.mirror.directory)).cloned().collect();
        assert!(lost.is_empty(), "{pointer} {value} takes away {lost:?}");
        assert_eq!(after.mirror.directory.users.len(), 3, "{pointer} {value}");
    }
}

#[test]
fn what_is_told_twice_is_read_once_and_takes_nothing_away() {
    let before = merge(None, read(&shop())).mirror.directory;
    let kept = held(&before);
    let twice =
        shop().to_string().replace("\"users\":[", "\"users\":[{\"username\":\"eve\"}],\"users\":[");
    let mut exports = vec![(twice, "users comes more than once")];
    let mut export = shop();
    export["roles"]["realm"].as_array_mut().unwrap().push(json!({"name": "lead"}));
    exports.push((export.to_string(), "`roles` lists realm role `lead` twice"));
    let mut export = shop();
    export["roles"]["realm"][0]["id"] = json!("r");
    export["roles"]["realm"][1]["id"] = json!("r");
    exports.push((export.to_string(), "realm role `lead` has the `id` of another role"));
    let mut export = shop();
    export["groups"][1]["id"] = json!("g2");
    exports.push((export.to_string(), "the group `/Ops` has the `id` of another group"));
    for (text, place) in exports {
        let snapshot = text_read(&text, None).unwrap();
        assert!(told(&snapshot, place), "{place}: {:?}", snapshot.warnings());
        let after = held(&merge(Some(&before), snapshot).mirror.directory);
        assert!(kept.is_subset(&after), "{place}: {:?}", kept.difference(&after));
    }
}

#[test]
fn a_second_group_of_one_path_takes_nobody_out_of_the_first() {
    let before = merge(None, read(&shop())).mirror.directory;
    let mut export = shop();
    export["groups"].as_array_mut().unwrap().push(json!({"id": "g9", "name": "Eng/ML"}));
    let snapshot = read(&export);
    assert!(told(&snapshot, "group path `/Eng/ML` fits 2 groups"), "{:?}", snapshot.warnings());
    let after = merge(Some(&before), snapshot).mirror.directory;
    assert_eq!(held(&after), held(&before), "who was in it stays, and nobody comes into the other");
}

#[test]
fn the_names_that_old_servers_used_are_read_as_keycloak_still_reads_them() {
    let old = json!({
        "realm": "old", "enabled": true,
        "roles": {
            "realm": [{"name": "dev", "composite": true,
                       "composites": {"application": {"shop": ["buyer"]}}}],
            "application": {"shop": [{"name": "buyer"}, {"name": "boss", "composite": true,
                "composites": {"realm": ["dev"], "application": {"shop": ["buyer"]}}}]}
        },
        "applications": [{"name": "shop", "enabled": true}],
        "oauthClients": [{"name": "account", "enabled": true}],
        "users": [{"username": "ann", "enabled": true, "applicationRoles": {"shop": ["boss"]}},
                  {"username": "bob", "enabled": true, "realmRoles": ["dev"]}]
    });
    let snapshot = read(&old);
    assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
    let expected = ["ann dev", "ann shop/boss", "ann shop/buyer", "bob dev", "bob shop/buyer"]
        .map(str::to_owned);
    assert_eq!(held(&snapshot.directory), expected.into());
    // Nobody says in such an export what groups there are: servers had none.
    assert_eq!(snapshot.warnings(), ["the export has no `groups`: nobody is in any"]);

    // Beside the new name the old one is not read, and that is told.
    let mut both = old;
    both["users"][0]["clientRoles"] = json!({"shop": ["buyer"]});
    let snapshot = read(&both);
    assert!(!has(&snapshot, "ann shop/boss") && has(&snapshot, "ann shop/buyer"));
    let place = "users[0].applicationRoles is not read beside `clientRoles`";
    assert!(told(&snapshot, place), "{:?}", snapshot.warnings());
}

#[test]
fn roles_that_keycloak_makes_are_unknown_where_they_are_not_listed_and_not_nothing() {
    let hold = |export: &mut Value, role: &str| export["users"][2]["realmRoles"] = json!([role]);
    let mut listed = shop();
    hold(&mut listed, "default-roles-shop");
    let default = json!({"name": "default-roles-shop", "composites": {"realm": ["dev"]}});
    listed["roles"]["realm"].as_array_mut().unwrap().push(default);
    let before = merge(None, read(&listed)).mirror.directory;
    let mut unlisted = shop();
    hold(&mut unlisted, "default-roles-shop");
    let snapshot = read(&unlisted);
    assert!(
        snapshot.is_complete(),
        "no rule names what is normally in it: {:?}",
        snapshot.scopes()
    );
    assert_eq!(snapshot.warnings(), Vec::<String>::new());
    let after = merge(Some(&before), snapshot);
    assert!(
        after.complete && held(&after.mirror.directory).contains("cay dev"),
        "what was known stays"
    );
    // Where nothing was known, it is no reason to doubt what everyone who holds it has otherwise.
    let first = merge(None, read(&unlisted)).mirror.directory;
    assert!(first.refs.iter().all(|it| it.implies_known));

    // A rule names what it normally contains: that is missed.
    for name in ["offline_access", "uma_authorization", "account/view-profile"] {
        let snapshot = read_for(&unlisted, &rules(&[name]));
        let Completeness::Partial(why) = up(&snapshot, "default-roles-shop") else {
            panic!("{name}")
        };
        assert!(why.contains(&format!("`{name}`")), "{why}");
    }
    // Held alone, or in a composite that is listed.
    let mut export = shop();
    hold(&mut export, "offline_access");
    export["users"][2]["clientRoles"] = json!({"account": ["manage-account"], "broker": ["x"]});
    export["roles"]["realm"][1]["composites"] = json!({"realm": ["dev", "uma_authorization"],
        "client": {"shop": ["buyer"], "account": ["view-profile"], "realm-management": ["realm-admin"]}});
    let snapshot = read(&export);
    assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
    for what in [
        "cay offline_access",
        "cay account/manage-account",
        "ann uma_authorization",
        "ann account/view-profile",
        "ann dev",
    ] {
        assert!(has(&snapshot, what), "{what}: {:?}", held(&snapshot.directory));
    }
    let links = read_for(&export, &rules(&["account/manage-account-links"]));
    assert!(matches!(up(&links, "account/manage-account"), Completeness::Partial(_)));
    // No such role is Keycloak's.
    let mut export = shop();
    export["roles"]["realm"][1]["composites"]["realm"] = json!(["dev", "forgotten"]);
    assert!(matches!(up(&read(&export), "lead"), Completeness::Partial(_)));
}

#[test]
fn what_new_users_are_given_is_read_in_the_old_form_and_in_the_new() {
    let mut old = shop();
    old["users"][2]["realmRoles"] = json!(["default-roles-shop"]);
    old["defaultRoles"] = json!(["offline_access", "dev", null]);
    old["clients"][0]["defaultRoles"] = json!(["buyer"]);
    let snapshot = read(&old);
    assert!(snapshot.is_complete(), "{:?}", snapshot.scopes());
    for what in ["cay dev", "cay shop/buyer", "cay offline_access"] {
        assert!(has(&snapshot, what), "{what}: {:?}", held(&snapshot.directory));
    }
    assert!(!has(&snapshot, "bob dev"), "who does not hold it does not have what is in it");
    // With the new form the old one means nothing, as for Keycloak.
    let mut new = old.clone();
    new["defaultRole"] = json!({"name": "Default-Roles-Of-Shop", "composite": true});
    new["users"][2]["realmRoles"] = json!(["Default-Roles-Of-Shop"]);
    new["users"][2]["groups"] = json!([]);
    let snapshot = read(&new);
    assert!(!has(&snapshot, "cay dev"));
    assert_eq!(up(&snapshot, "Default-Roles-Of-Shop"), Completeness::NotAsked);
    // In a form that cannot be read.
    old["defaultRoles"] = json!("dev");
    old["clients"] = json!([{"clientId": "shop", "defaultRoles": ["buyer"]}]);
    assert!(matches!(up(&read(&old), "default-roles-shop"), Completeness::Partial(_)));
}

#[test]
fn one_of_several_realms_is_picked_by_name() {
    let mut other = shop();
    other["realm"] = json!("other");
    other["users"] = json!([{"username": "zoe", "enabled": true, "groups": ["/Ops"]}]);
    let both = json!([shop(), 5, other, {"realm": "none", "users": []}]).to_string();
    let digest = read(&shop()).directory.digest();
    assert_eq!(text_read(&both, Some("shop")).unwrap().directory.digest(), digest);
    assert!(has(&text_read(&both, Some("other")).unwrap(), "zoe /Ops"));
    let one = json!([shop()]).to_string();
    assert_eq!(text_read(&one, None).unwrap().directory.digest(), digest);
    assert_eq!(text_read(&shop().to_string(), Some("shop")).unwrap().directory.digest(), digest);
    for (text, realm, part) in [
        (&both, None, "it holds 3 realms (`shop`, `other`, `none`): pick one with `realm = \"…\"`"),
        (&both, Some("Shop"), "it does not hold the realm `Shop`, but `shop`, `other`, `none`"),
        (&both, Some("none"), "its `users` are an empty list"),
        (&one, Some("x"), "it does not hold the realm `x`, but `shop`"),
        (&json!([shop(), shop()]).to_string(), Some("shop"), "it holds two realms called `shop`"),
        (&both[..both.len() - 9].to_owned(), Some("shop"), "the file is cut off"),
    ] {
        let error = text_read(text, realm).unwrap_err();
        assert!(error.message.contains(part), "{part}: {error}");
    }
    // In a folder, as `kc.sh export --dir` writes several.
    let folder = tempfile::tempdir().unwrap();
    for name in ["shop", "other"] {
        let text = if name == "shop" { shop() } else { other.clone() }.to_string();
        std::fs::write(folder.path().join(format!("{name}-realm.json")), text).unwrap();
    }
    let rules = rules(&["dev", "shop/buyer"]);
    let picked = try_read(folder.path(), Some("shop"), &rules).unwrap();
    assert_eq!(picked.directory.digest(), digest);
    let error = try_read(folder.path(), Some("gone"), &rules).unwrap_err();
    assert!(error.message.contains("the folder holds no `gone-realm.json`"), "{error}");
}

#[test]
fn an_export_of_a_disabled_realm_is_warned_of() {
    for value in [json!(false), json!("false"), json!(0)] {
        let snapshot = read(&with("/enabled", value));
        assert!(snapshot.is_complete());
        assert!(told(&snapshot, "the realm `shop` is disabled"), "{:?}", snapshot.warnings());
    }
}

#[test]
fn a_file_that_is_kept_by_hand_may_have_comments_and_a_byte_order_mark() {
    let text = format!("\u{feff}// the shop\n{}/* the end */\n", shop());
    assert_eq!(
        text_read(&text, None).unwrap().directory.digest(),
        read(&shop()).directory.digest()
    );
}

#[test]
fn people_without_anything_that_they_are_in_are_read_and_the_rest_is_in_doubt() {
    let before = merge(None, read(&shop())).mirror.directory;
    let mut export = json!({"realm": "shop", "users": shop()["users"]});
    for user in export["users"].as_array_mut().unwrap() {
        for key in ["groups", "realmRoles", "clientRoles"] {
            user.as_object_mut().unwrap().remove(key);
        }
    }
    let snapshot = read(&export);
    assert!(!snapshot.is_complete());
    let after = merge(Some(&before), snapshot).mirror.directory;
    assert_eq!(held(&after), held(&before));
}

#[test]
fn a_group_that_people_are_in_and_nothing_lists_is_not_gone() {
    let before = merge(None, read(&shop())).mirror.directory;
    let without = |place: &str, groups: Value| {
        let mut export = shop();
        *export.pointer_mut(place).unwrap() = groups;
        export
    };
    for export in [without("/groups", json!([])), without("/groups/0/subGroups", json!([]))] {
        let snapshot = read(&export);
        assert!(told(&snapshot, "group path `/Eng/ML` fits no group"), "{:?}", snapshot.warnings());
        assert!(!snapshot.is_complete(), "{export}");
        let after = merge(Some(&before), snapshot).mirror.directory;
        assert!(held(&after).is_superset(&held(&before)), "{export}: {:?}", held(&after));
    }
    // Whom the file does not name in it either is in it no more.
    let mut export = without("/groups", json!([]));
    for user in export["users"].as_array_mut().unwrap() {
        user["groups"] = json!([]);
    }
    let snapshot = read(&export);
    assert!(snapshot.is_complete());
    let after = held(&merge(Some(&before), snapshot).mirror.directory);
    assert!(!after.iter().any(|it| it.contains("/Eng")), "{after:?}");
}

/// Three people who hold one role each, which gives the others: through a client that does not count, too.
fn nested() -> Value {
    json!({
        "realm": "shop", "enabled": true, "groups": [],
        "roles": {
            "realm": [
                {"id": "r1", "name": "dev"}, {"id": "r2", "name": "ops"},
                {"id": "r3", "name": "lead", "composite": true,
                 "composites": {"realm": ["dev"], "client": {"shop": ["boss"]}}},
            ],
            "client": {
                "shop": [{"id": "s1", "name": "buyer"}, {"id": "s2", "name": "boss", "composite": true,
                    "composites": {"client": {"shop": ["buyer"], "other": ["inner"]}}}],
                "other": [{"id": "o1", "name": "inner", "composite": true,
                    "composites": {"realm": ["ops"]}}]
            }
        },
        "clients": [{"clientId": "shop"}, {"clientId": "other"}],
        "users": [
            {"id": "u1", "username": "ann", "enabled": true, "realmRoles": ["lead"]},
            {"id": "u2", "username": "bob", "enabled": true, "clientRoles": {"shop": ["boss"]}},
            {"id": "u3", "username": "cay", "enabled": true, "clientRoles": {"other": ["inner"]}}
        ]
    })
}

type Edit = fn(&mut Value);

/// What is left out, what else is changed; what is gone, whether the source is complete, what is told.
type Case<'a> = (&'a [&'a str], Edit, &'a str, bool, Vec<&'a str>);

/// Takes what is called `name` out of a list.
fn take(export: &mut Value, from: &str, name: &str) {
    export.pointer_mut(from).unwrap().as_array_mut().unwrap().retain(|it| it["name"] != name);
}

fn nested_without(paths: &[&str], edit: Edit) -> Value {
    let mut export = nested();
    edit(&mut export);
    for path in paths {
        let (above, key) = path.rsplit_once('/').unwrap_or(("", path));
        let above = if above.is_empty() { String::new() } else { format!("/{above}") };
        let above = export.pointer_mut(&above).unwrap().as_object_mut().unwrap();
        above.remove(key).unwrap_or_else(|| panic!("{path}"));
    }
    export
}

/// What takes something, by what is left out, and by what is gone from a list that is there.
#[test]
fn a_list_of_roles_that_is_left_out_is_unknown_and_one_that_is_there_says_what_is_not_in_it() {
    let before = merge(None, read(&nested())).mirror.directory;
    let all = held(&before);
    assert!(all.contains("ann ops") && all.contains("cay ops") && all.contains("bob shop/buyer"));
    let ann = "ann dev, ann lead, ann ops, ann other/inner, ann shop/boss, ann shop/buyer";
    let absent = |what: &str| {
        format!(
            "the export has no `{what}`: what its composite roles contain is not known to it; what was \
             known of that stays"
        )
    };
    let (roles, realm, client) = (absent("roles"), absent("roles.realm"), absent("roles.client"));
    let (shop, other) = (absent("roles.client.shop"), absent("roles.client.other"));
    let not_listed = "realm role `lead` is held but not listed under `roles`: it counts as a role that \
                      contains nothing, as Keycloak imports it";
    let nobody: Edit = |it| it["users"][0]["realmRoles"] = json!([]);
    let no_dev: Edit = |it| {
        take(it, "/roles/realm", "dev");
        it["roles"]["realm"][1]["composites"]["realm"] = json!([]);
    };
    let cases: Vec<Case> = vec![
        (&["roles"], |_| {}, "", true, vec![&roles]),
        (&["roles/realm", "roles/client"], |_| {}, "", true, vec![&client, &realm]),
        (&["roles/realm"], |_| {}, "", true, vec![&realm]),
        (&["roles/client"], |_| {}, "", true, vec![&client]),
        (&["roles/client/shop"], |_| {}, "", true, vec![&shop]),
        (&["roles/client/other"], |_| {}, "", true, vec![&other]),
        (&["roles/client/shop", "roles/client/other"], |_| {}, "", true, vec![&other, &shop]),
        // Who holds what was read all the same.
        (&["roles"], nobody, ann, true, vec![&roles]),
        (&["roles/realm"], nobody, ann, true, vec![&realm]),
        (&["roles/client"], nobody, ann, true, vec![&client]),
        // The realm's list is there: what is not in it is gone, wherever it was contained.
        (&["roles/client"], no_dev, "ann dev", true, vec![&client]),
        (
            &["roles/client"],
            |it| take(it, "/roles/realm", "ops"),
            "ann ops, bob ops, cay ops",
            true,
            vec![&client],
        ),
        // Held, and not in its list: Keycloak's import makes it, and nothing is in it.
        (
            &[],
            |it| take(it, "/roles/realm", "lead"),
            "ann dev, ann ops, ann other/inner, ann shop/boss, ann shop/buyer",
            true,
            vec![not_listed],
        ),
        // Contained, and not in its list: Keycloak refuses that, and the list is not whole.
        (&[], |it| take(it, "/roles/realm", "ops"), "", false, vec![]),
        (&[], |it| take(it, "/roles/client/other", "inner"), "", false, vec![]),
        // A list that nobody needs is not missed.
        (
            &["roles/client/other"],
            |it| {
                it["users"][2]["clientRoles"] = json!({});
                it["roles"]["client"]["shop"][1]["composites"]["client"]["other"] = json!([]);
            },
            "ann ops, ann other/inner, bob ops, bob other/inner, cay ops, cay other/inner",
            true,
            vec![],
        ),
    ];
    for (without, edit, gone, complete, warnings) in cases {
        let export = nested_without(without, edit);
        let name = format!("without {without:?}: {}", export["roles"]);
        let snapshot = read(&export);
        assert_eq!(snapshot.is_complete(), complete, "{name}: {:?}", snapshot.scopes());
        assert_eq!(snapshot.warnings(), warnings, "{name}");
        let fresh = held(&merge(None, snapshot.clone()).mirror.directory);
        let after = merge(Some(&before), snapshot.clone());
        assert_eq!(after.complete, complete, "{name}");
        let now = held(&after.mirror.directory);
        let lost: Vec<&str> = all.difference(&now).map(String::as_str).collect();
        assert_eq!(lost.join(", "), gone, "{name}");
        assert!(now.is_superset(&fresh) && now.is_subset(&all), "{name}: {now:?}");
        // A second one like it changes nothing, and the next that has everything heals it.
        let again = merge(Some(&after.mirror.directory), snapshot).mirror.directory;
        assert_eq!(held(&again), now, "{name}");
        let whole = merge(Some(&again), read(&nested())).mirror.directory;
        assert_eq!(whole.digest(), before.digest(), "{name}");
    }
}
