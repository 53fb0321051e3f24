//! A Keycloak realm export as a source: what is read, what is refused, and where.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use idpsyncd::directory::{
    Completeness, Directory, Enabled, Interest, Kind, RefIdx, RefRow, Snapshot,
};
use idpsyncd::model::index::Place as _;
use idpsyncd::model::{Diagnostic, DiagnosticCode, Subject};
use idpsyncd::source::file::{FileSource, RealmExportConfig};
use idpsyncd::source::{FullRead, Source, SourceError};
use serde_json::{Value, json};

struct Rules(Vec<(String, String)>);

impl Interest for Rules {
    fn reaches(&self, _: Kind, _: &str, _: &str, _: &str, _: &str, _: &[&str]) -> bool {
        true
    }

    fn attributes(&self) -> &[(String, String)] {
        &self.0
    }
}

static NO_RULES: Rules = Rules(Vec::new());

fn config(path: &Path) -> RealmExportConfig {
    RealmExportConfig {
        path: path.to_owned(),
        realm: None,
        clients: vec!["browser".to_owned(), "device".to_owned()],
        service_accounts: false,
    }
}

fn read_as(config: RealmExportConfig, rules: &Rules) -> Result<Snapshot, SourceError> {
    let source = FileSource::new("acme", &config).unwrap();
    assert_eq!(source.name(), "acme");
    source.read(rules, Arc::new(|_| {})).now_or_never().expect("a file is read without waiting")
}

fn read(path: &Path) -> Result<Snapshot, SourceError> {
    read_as(config(path), &NO_RULES)
}

/// A file of its own that holds `bytes`.
fn file(bytes: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("realm.json");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read_json(export: &Value) -> Result<Snapshot, SourceError> {
    let (_folder, path) = file(serde_json::to_vec_pretty(export).unwrap());
    read(&path)
}

/// What is wrong with `bytes`, without the words that name the file.
fn refused(bytes: &[u8]) -> String {
    let (_folder, path) = file(bytes);
    let error = read(&path).expect_err("this is no export");
    assert!(!error.transient, "only a person can mend it: {error}");
    stripped(&path, &error)
}

fn stripped(path: &Path, error: &SourceError) -> String {
    let start = format!("cannot read the realm export `{}`: ", path.display());
    error.message.strip_prefix(&start).unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// The rest of a message whose place is somewhere on line 1, as in every compact file.
fn on_line_1(message: &str) -> Option<&str> {
    let (column, rest) = message.strip_prefix("line 1, column ")?.split_once(": ")?;
    column.parse::<u32>().ok().map(|_| rest)
}

fn refs<'a>(
    directory: &'a Directory,
    wanted: impl Fn(&RefRow) -> bool + 'a,
) -> impl Iterator<Item = usize> + 'a {
    (0..directory.refs.len()).filter(move |place| wanted(&directory.refs[*place]))
}

fn reference(directory: &Directory, kind: Kind, identity: &str) -> usize {
    let is = |c: &RefRow| c.kind == kind && directory.text(c.identity) == identity;
    let found: Vec<usize> = refs(directory, is).collect();
    assert_eq!(found.len(), 1, "{kind:?} {identity}");
    found[0]
}

/// Who is in a thing, directly or through whatever leads to it, by username.
fn members(directory: &Directory, kind: Kind, identity: &str) -> BTreeSet<String> {
    let mut inside = BTreeSet::from([reference(directory, kind, identity)]);
    loop {
        let leads = |from: &usize| {
            directory.implies[*from].iter().any(|to| inside.contains(&to.place()))
                && !inside.contains(from)
        };
        let more: Vec<usize> = (0..directory.implies.len()).filter(leads).collect();
        if more.is_empty() {
            break;
        }
        inside.extend(more);
    }
    inside
        .iter()
        .flat_map(|place| &directory.members[*place])
        .map(|user| directory.text(directory.users[user.place()].username).to_owned())
        .collect()
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// An export with everything that matters, small enough to hold in the head.
fn small() -> Value {
    json!({
        "realm": "osmo",
        "groups": [
            {"id": "g-eng", "name": "Eng", "path": "/Eng", "realmRoles": ["engineer"],
             "clientRoles": {"device": ["osmo-dev"]}, "subGroups": [
                {"id": "g-ml", "name": "ML", "path": "/Eng/ML", "realmRoles": [],
                 "clientRoles": {"browser": ["osmo-ml"]}, "subGroups": []}
            ]},
            {"id": "g-it", "name": "IT", "subGroups": [{"id": "g-it-ml", "name": "ML"}]}
        ],
        "roles": {
            "realm": [
                {"id": "r-default", "name": "default-roles-osmo", "composite": true,
                 "composites": {"realm": ["everyone"]}},
                {"id": "r-everyone", "name": "everyone", "composite": false},
                {"id": "r-engineer", "name": "engineer", "composite": true,
                 "composites": {"client": {"portal": ["signed"]}}}
            ],
            "client": {
                "browser": [
                    {"id": "b-user", "name": "osmo-user"}, {"id": "b-ml", "name": "osmo-ml"}
                ],
                "device": [
                    {"id": "d-user", "name": "osmo-user"}, {"id": "d-dev", "name": "osmo-dev"}
                ],
                "portal": [
                    {"id": "p-signed", "name": "signed", "composite": true, "composites":
                        {"client": {"portal": ["welcome"], "browser": ["osmo-user"]}}},
                    {"id": "p-welcome", "name": "welcome"}
                ]
            }
        },
        "clients": [{"clientId": "browser"}, {"clientId": "device"}, {"clientId": "portal"}],
        "users": [
            {"id": "u-ann", "username": "ann", "email": "ann@example.org", "emailVerified": true,
             "enabled": true, "federationLink": "ldap-1", "groups": ["/Eng/ML"],
             "realmRoles": ["default-roles-osmo"], "attributes": {"site": ["A", "B"]}},
            {"id": "u-bob", "username": "bob", "enabled": true, "groups": ["/Eng", "/IT/ML"],
             "realmRoles": ["default-roles-osmo"]},
            {"id": "u-cy", "username": "cy", "enabled": false,
             "clientRoles": {"portal": ["signed"], "browser": ["osmo-ml"]},
             "attributes": {"site": ["a"]}}
        ]
    })
}

fn without(key: &str) -> Value {
    let mut export = small();
    export.as_object_mut().unwrap().remove(key).unwrap();
    export
}

/// `small()` with the value at a JSON pointer replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut export = small();
    *export.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    export
}

#[test]
fn members_of_a_group_have_the_roles_of_every_group_above_it_and_never_of_those_below() {
    let snapshot = read_json(&small()).unwrap();
    let directory = &snapshot.directory;
    assert!(snapshot.is_complete());
    assert!(snapshot.from_file);
    assert_eq!(snapshot.warnings(), Vec::<String>::new());
    assert_eq!(members(directory, Kind::Group, "/Eng"), names(&["ann", "bob"]));
    assert_eq!(members(directory, Kind::Group, "/Eng/ML"), names(&["ann"]));
    assert_eq!(members(directory, Kind::Group, "/IT/ML"), names(&["bob"]));
    assert_eq!(members(directory, Kind::ClientRole, "device/osmo-dev"), names(&["ann", "bob"]));
    assert_eq!(members(directory, Kind::ClientRole, "browser/osmo-ml"), names(&["ann", "cy"]));
    let ml = reference(directory, Kind::Group, "/Eng/ML");
    assert_eq!(directory.path(RefIdx::new(u32::try_from(ml).unwrap())), ["Eng", "ML"]);
}

#[test]
fn users_carry_their_id_email_state_and_federation() {
    let snapshot = read_json(&small()).unwrap();
    let directory = &snapshot.directory;
    let text = |text| directory.text(text);
    let facts: Vec<_> = directory
        .users
        .iter()
        .map(|u| (text(u.ext), text(u.username), text(u.email), u.email_verified, u.enabled))
        .collect();
    assert_eq!(
        facts,
        [
            ("u-ann", "ann", "ann@example.org", true, Enabled::Yes),
            ("u-bob", "bob", "", false, Enabled::Yes),
            ("u-cy", "cy", "", false, Enabled::No),
        ]
    );
    let federations: Vec<_> = directory.users.iter().map(|user| text(user.federation)).collect();
    assert_eq!(federations, ["ldap-1", "", ""]);
}

#[test]
fn a_composite_is_followed_through_a_client_that_does_not_count_and_no_rule_can_name_its_role() {
    let snapshot = read_json(&small()).unwrap();
    let directory = &snapshot.directory;
    let users = members(directory, Kind::ClientRole, "browser/osmo-user");
    assert_eq!(users, names(&["ann", "bob", "cy"]));
    let signed = &directory.refs[reference(directory, Kind::ClientRole, "portal/signed")];
    assert_eq!(directory.text(signed.name), "");
    assert_eq!(directory.text(signed.norm), "(not counted) portal/signed");
    let welcome = |c: &RefRow| directory.text(c.identity).contains("welcome");
    assert_eq!(refs(directory, welcome).count(), 0, "it leads to nothing that counts");
    let counted = reference(directory, Kind::ClientRole, "device/osmo-user");
    let counted = &directory.refs[counted];
    assert_eq!(directory.text(counted.name), "osmo-user");
    assert_eq!(directory.text(counted.norm), "device/osmo-user");
    assert_eq!(directory.text(counted.key), "d-user");
}

#[test]
fn default_roles_are_a_composite_like_any_other() {
    let snapshot = read_json(&small()).unwrap();
    // cy was taken out of them.
    let holders = members(&snapshot.directory, Kind::RealmRole, "everyone");
    assert_eq!(holders, names(&["ann", "bob"]));
}

#[test]
fn a_cycle_of_composites_is_legal() {
    let composites = json!({"realm": ["engineer"], "client": {"browser": ["osmo-user"]}});
    let snapshot =
        read_json(&with("/roles/client/portal/0/composites", composites.clone())).unwrap();
    let holders = members(&snapshot.directory, Kind::RealmRole, "engineer");
    assert_eq!(holders, names(&["ann", "bob", "cy"]));
}

#[test]
fn attributes_match_exactly_and_any_of_their_values_counts() {
    let mut export = small();
    export["users"][1]["attributes"] = json!({"site": "A", "other": null});
    let (_folder, path) = file(export.to_string());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let rules = Rules(vec![pair("site", "A"), pair("site", "C")]);
    let snapshot = read_as(config(&path), &rules).unwrap();
    let of = |identity| members(&snapshot.directory, Kind::Attribute, identity);
    assert_eq!(of("site=A"), names(&["ann", "bob"]));
    assert_eq!(of("site=C"), names(&[]));
}

#[test]
fn service_accounts_are_left_out_unless_asked_for() {
    let mut export = small();
    export["users"].as_array_mut().unwrap().push(json!({
        "id": "u-sa", "username": "service-account-portal", "enabled": true,
        "serviceAccountClientId": "portal", "groups": ["/Eng"]
    }));
    let (_folder, path) = file(export.to_string());
    let snapshot = read(&path).unwrap();
    assert_eq!(members(&snapshot.directory, Kind::Group, "/Eng"), names(&["ann", "bob"]));
    assert_eq!(snapshot.directory.users.len(), 3);
    let config = RealmExportConfig { service_accounts: true, ..config(&path) };
    let snapshot = read_as(config, &NO_RULES).unwrap();
    let eng = members(&snapshot.directory, Kind::Group, "/Eng");
    assert_eq!(eng, names(&["ann", "bob", "service-account-portal"]));
}

#[test]
fn a_path_that_fits_two_groups_lets_nobody_in_and_is_reported() {
    let mut export = small();
    export["groups"].as_array_mut().unwrap().push(json!({"id": "g-slash", "name": "Eng/ML"}));
    export["users"][1]["groups"] = json!(["/Eng"]);
    let snapshot = read_json(&export).unwrap();
    let directory = &snapshot.directory;
    let both: Vec<usize> = refs(directory, |c| directory.text(c.identity) == "/Eng/ML").collect();
    assert_eq!(both.len(), 2);
    for group in both {
        assert!(directory.members[group].is_empty());
    }
    // Not the group above either: who is in neither is not in their parent.
    assert_eq!(members(directory, Kind::Group, "/Eng"), names(&["bob"]));
    assert_eq!(
        snapshot.warnings(),
        ["group path `/Eng/ML` fits 2 groups, as `/` in a group's name is not escaped: 1 user \
          (`ann`) is not counted in any of them"]
    );
}

#[test]
fn a_server_that_escapes_slashes_is_understood() {
    let mut export = small();
    let slash = json!({"id": "g-slash", "name": "Eng/ML", "path": "/Eng~/ML"});
    export["groups"].as_array_mut().unwrap().push(slash);
    export["users"][1]["groups"] = json!(["/Eng~/ML"]);
    let snapshot = read_json(&export).unwrap();
    let directory = &snapshot.directory;
    assert_eq!(snapshot.warnings(), Vec::<String>::new());
    let count = |key: &str| {
        let place = refs(directory, |c| directory.text(c.key) == key).next().unwrap();
        directory.members[place].len()
    };
    assert_eq!((count("g-slash"), count("g-ml")), (1, 1));
}

#[test]
fn a_path_that_fits_no_group_is_reported_once_with_the_first_names() {
    let user = |n: usize| {
        json!({"id": n.to_string(), "username": format!("u{n}"), "enabled": true,
               "groups": ["/Gone", "/Eng"]})
    };
    let users: Vec<Value> = (0..5).rev().map(user).collect();
    let snapshot = read_json(&with("/users", json!(users))).unwrap();
    assert_eq!(
        snapshot.warnings(),
        ["group path `/Gone` fits no group: 5 users (`u0`, `u1`, `u2`, …) are not counted in it"]
    );
    assert_eq!(members(&snapshot.directory, Kind::Group, "/Eng").len(), 5);
}

#[test]
fn a_path_without_its_first_slash_is_the_same_path() {
    let snapshot = read_json(&with("/users/0/groups", json!(["Eng/ML"]))).unwrap();
    assert_eq!(members(&snapshot.directory, Kind::Group, "/Eng/ML"), names(&["ann"]));
}

#[test]
fn roles_called_dot_or_dot_dot_are_refused_and_reported() {
    let mut export = small();
    let dots = json!({"id": "r-dots", "name": "..", "composite": true,
                      "composites": {"realm": ["everyone"]}});
    export["roles"]["realm"].as_array_mut().unwrap().push(dots);
    let dot = json!({"name": "."});
    export["roles"]["client"]["device"].as_array_mut().unwrap().push(dot);
    export["roles"]["realm"][2]["composites"]["realm"] = json!([".."]);
    export["users"][2]["realmRoles"] = json!([".."]);
    let snapshot = read_json(&export).unwrap();
    let directory = &snapshot.directory;
    assert_eq!(
        snapshot.warnings(),
        [
            "client role `device/.` is refused: a role cannot be called `.` or `..`",
            "realm role `..` is refused: a role cannot be called `.` or `..`",
        ]
    );
    assert!(snapshot.is_complete());
    let everyone = members(directory, Kind::RealmRole, "everyone");
    assert_eq!(everyone, names(&["ann", "bob"]), "nothing comes through a refused role");
    assert_eq!(refs(directory, |c| directory.text(c.name).starts_with('.')).count(), 0);
}

#[test]
fn a_held_role_that_is_not_listed_counts_and_is_reported() {
    let mut export = small();
    export["users"][2]["realmRoles"] = json!(["forgotten"]);
    export["users"][2]["clientRoles"] = json!({"device": ["lost"], "portal": ["nothing"]});
    let snapshot = read_json(&export).unwrap();
    assert_eq!(members(&snapshot.directory, Kind::RealmRole, "forgotten"), names(&["cy"]));
    assert_eq!(members(&snapshot.directory, Kind::ClientRole, "device/lost"), names(&["cy"]));
    let end = "is held but not listed under `roles`: it counts as a role that contains nothing, \
               as Keycloak imports it";
    assert_eq!(
        snapshot.warnings(),
        [format!("client role `device/lost` {end}"), format!("realm role `forgotten` {end}")]
    );
}

#[test]
fn what_a_composite_contains_is_unknown_where_the_file_does_not_say() {
    let mut export = small();
    export["roles"]["realm"][0]["composites"]["realm"] = json!(["everyone", "gone"]);
    export["roles"]["realm"][2].as_object_mut().unwrap().remove("composites");
    let snapshot = read_json(&export).unwrap();
    let directory = &snapshot.directory;
    let up = |role| snapshot.implies[reference(directory, Kind::RealmRole, role)].clone();
    let partial = |why: &str| Completeness::Partial(why.to_owned());
    assert_eq!(
        up("default-roles-osmo"),
        partial(
            "realm role `default-roles-osmo` contains realm role `gone`, which the file does not \
             list"
        )
    );
    assert_eq!(
        up("engineer"),
        partial("realm role `engineer` is composite, but the file does not say of what")
    );
    assert_eq!(up("everyone"), Completeness::Complete);
    // What is there still counts.
    let everyone = members(directory, Kind::RealmRole, "everyone");
    assert_eq!(everyone, names(&["ann", "bob"]));
}

#[test]
fn without_ids_names_identify_and_two_groups_whose_paths_look_alike_stay_two() {
    let export = json!({
        "realm": "osmo", "roles": {}, "clients": [],
        "groups": [{"name": "a/b"}, {"name": "a", "subGroups": [{"name": "b"}]}],
        "users": [{"username": "ann", "enabled": true, "groups": ["/a"]}]
    });
    let snapshot = read_json(&export).unwrap();
    assert_eq!(snapshot.directory.refs.len(), 3);
    assert_eq!(snapshot.directory.text(snapshot.directory.users[0].ext), "ann");
}

#[test]
fn the_order_of_the_file_does_not_matter() {
    fn reversed(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().rev().map(reversed).collect(),
            Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), reversed(v))).collect(),
            other => other.clone(),
        }
    }
    let mut export = small();
    export["groups"].as_array_mut().unwrap().push(json!({"id": "g-slash", "name": "Eng/ML"}));
    export["users"][1]["groups"] = json!(["/Gone", "/Eng", "/Eng/ML"]);
    export["users"][2]["realmRoles"] = json!(["forgotten", "everyone"]);
    let one = read_json(&export).unwrap();
    let other = read_json(&reversed(&export)).unwrap();
    assert_eq!(one.directory.digest(), other.directory.digest());
    assert_eq!(one.warnings(), other.warnings());
    assert_eq!(one.warnings().len(), 3);
    assert_eq!(one.scopes(), other.scopes());
    let changed = read_json(&with("/users/0/groups", json!(["/Eng"]))).unwrap();
    let same = read_json(&small()).unwrap();
    assert_ne!(same.directory.digest(), changed.directory.digest());
}

/// What the file holds, its bytes, and the message. A message without a place stands for any place
/// on line 1, where the whole of a compact file is.
fn broken() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let text = |export: &Value| serde_json::to_vec(export).unwrap();
    let put = |pointer: &str, value: Value| text(&with(pointer, value));
    let user = |user: Value| text(&with("/users", json!([user])));
    vec![
        ("nothing", b"".to_vec(), "the file is empty"),
        ("blanks", b" \n\t\r\n".to_vec(), "the file is empty"),
        (
            "cut off in a text",
            b"{\n  \"realm\": \"os".to_vec(),
            "line 2, column 14: the file is cut off: it ends in the middle of a string",
        ),
        (
            "cut off in a list",
            b"{\n  \"realm\": \"osmo\",\n  \"users\": [".to_vec(),
            "line 3, column 12: the file is cut off: it ends in the middle of a list",
        ),
        (
            "a proxy's page",
            b"<html>sign in</html>".to_vec(),
            "line 1, column 1: not JSON: expected value",
        ),
        (
            "a comma at the end",
            b"{\"realm\": \"osmo\",\n}".to_vec(),
            "line 2, column 1: not JSON: key must be a string",
        ),
        (
            "two documents",
            b"{\"realm\": \"osmo\"}\n{}".to_vec(),
            "line 2, column 1: not JSON: trailing characters",
        ),
        ("not UTF-8", b"{\"realm\":\n \"caf\xe9\"}".to_vec(), "line 2, column 6: not UTF-8"),
        (
            "several realms",
            text(&json!([small(), {"realm": "other"}])),
            "it holds 2 realms (`osmo`, `other`): pick one with `realm = \"…\"`",
        ),
        ("no realms", b"[]".to_vec(), "it is not a realm export: it has no `realm`"),
        ("a text", b"\"osmo\"".to_vec(), "it is not a realm export: an object `{…}` was expected"),
        (
            "another program's JSON",
            br#"{"name": "package", "version": "1.0.0"}"#.to_vec(),
            "it is not a realm export: it has no `realm`",
        ),
        ("no realm", text(&without("realm")), "it is not a realm export: it has no `realm`"),
        (
            "a realm without a name",
            put("/realm", json!("")),
            "it is not a realm export: it has no `realm`",
        ),
        (
            "no users",
            text(&without("users")),
            "it has no `users`, and no `osmo-users-0.json` lies beside it, so it says nothing \
             about people, as with the admin console's partial export; write it with `kc.sh \
             export --realm osmo --users same_file --file FILE`",
        ),
        (
            "null for users",
            put("/users", Value::Null),
            "it has no `users`, and no `osmo-users-0.json` lies beside it, so it says nothing \
             about people, as with the admin console's partial export; write it with `kc.sh \
             export --realm osmo --users same_file --file FILE`",
        ),
        (
            "an empty list of users",
            put("/users", json!([])),
            "its `users` are an empty list, so it says nothing about people, as with the admin \
             console's partial export; write it with `kc.sh export --realm osmo --users same_file \
             --file FILE`",
        ),
        (
            "service accounts alone",
            user(json!({"id": "s", "username": "service-account-x", "enabled": true,
                        "serviceAccountClientId": "x"})),
            "its only user is a service account, so it says nothing about people, as with the \
             admin console's partial export; write it with `kc.sh export --realm osmo --users \
             same_file --file FILE`",
        ),
    ]
}

#[test]
fn what_is_not_a_whole_export_is_refused_with_its_place() {
    let mut wrong = Vec::new();
    for (what, bytes, message) in broken() {
        let got = refused(&bytes);
        if got != message && on_line_1(&got) != Some(message) {
            wrong.push(format!("{what}\n   got: {got}\n  want: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_export_cut_off_anywhere_is_refused() {
    let text = serde_json::to_vec_pretty(&small()).unwrap();
    for end in (1..text.len()).step_by(3) {
        let message = refused(&text[..end]);
        assert!(message.contains("the file is cut off: it ends in the middle of "), "{message}");
    }
}

#[test]
fn a_file_that_is_not_there_and_a_folder_without_one_realm_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing.json");
    assert_eq!(stripped(&path, &read(&path).unwrap_err()), "there is no such file");
    let of_folder = || stripped(folder.path(), &read(folder.path()).unwrap_err());
    assert_eq!(of_folder(), "the folder holds no `REALM-realm.json`");
    for realm in ["b", "a"] {
        std::fs::write(folder.path().join(format!("{realm}-realm.json")), "{}").unwrap();
    }
    assert_eq!(
        of_folder(),
        "the folder holds 2 realms (`a-realm.json`, `b-realm.json`): pick one with `realm = \"…\"`"
    );
}

/// `small()` as `kc.sh export --dir` writes it, a user a file.
fn exported_folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let realm = folder.path().join("osmo-realm.json");
    std::fs::write(&realm, without("users").to_string()).unwrap();
    for (number, user) in small()["users"].as_array().unwrap().iter().enumerate() {
        let part = json!({"realm": "osmo", "users": [user]}).to_string();
        std::fs::write(folder.path().join(format!("osmo-users-{number}.json")), part).unwrap();
    }
    std::fs::write(folder.path().join("other-users-0.json"), "not ours").unwrap();
    (folder, realm)
}

#[test]
fn users_in_files_of_their_own_are_found_beside_the_realm_or_by_the_folder() {
    let (folder, realm) = exported_folder();
    let one = read_json(&small()).unwrap().directory.digest();
    assert_eq!(read(&realm).unwrap().directory.digest(), one);
    assert_eq!(read(folder.path()).unwrap().directory.digest(), one);
}

#[test]
fn a_users_file_that_is_missing_broken_or_of_another_realm_is_an_error_that_names_it() {
    let (folder, realm) = exported_folder();
    let part = folder.path().join("osmo-users-1.json");
    let good = std::fs::read(&part).unwrap();
    std::fs::remove_file(&part).unwrap();
    assert_eq!(
        stripped(&realm, &read(&realm).unwrap_err()),
        "`osmo-users-1.json` is missing beside it, though `osmo-users-2.json` is there: the \
         export was not copied whole"
    );
    let with_part = |content: &[u8]| {
        std::fs::write(&part, content).unwrap();
        stripped(&part, &read(&realm).unwrap_err())
    };
    let message = with_part(&good[..good.len() - 2]);
    assert!(message.contains("the file is cut off"), "{message}");
    assert_eq!(
        with_part(br#"{"realm": "other", "users": []}"#),
        "it is of realm `other`, but lies beside realm `osmo`"
    );
    assert_eq!(with_part(br#"{"realm": "osmo"}"#), "it has no `users`");
}

#[test]
fn users_files_beside_an_export_with_users_of_its_own_are_not_mixed_in() {
    let (folder, realm) = exported_folder();
    let ann = small()["users"][0].clone();
    std::fs::write(&realm, with("/users", json!([ann])).to_string()).unwrap();
    let snapshot = read(&realm).unwrap();
    assert_eq!(snapshot.directory.users.len(), 1);
    assert_eq!(
        snapshot.warnings(),
        [format!(
            "`{}` is not read, nor what follows it: `{}` has users of its own",
            folder.path().join("osmo-users-0.json").display(),
            realm.display()
        )]
    );
}

#[test]
fn a_configured_client_that_the_export_does_not_know_is_reported() {
    let (_folder, path) = file(small().to_string());
    let config = RealmExportConfig { clients: vec!["brwoser".to_owned()], ..config(&path) };
    let snapshot = read_as(config, &NO_RULES).unwrap();
    assert_eq!(snapshot.warnings(), ["client `brwoser` of `clients` is not in the export"]);
}

#[test]
fn what_an_export_leaves_out_is_reported() {
    let users = json!([{"id": "1", "username": "ann", "enabled": true, "realmRoles": ["x"]}]);
    let mut export = with("/users", users);
    let object = export.as_object_mut().unwrap();
    object.remove("groups");
    object.remove("roles");
    object.insert("federatedUsers".to_owned(), json!([{"id": "f:1:zoe", "groups": ["/Eng"]}]));
    let snapshot = read_json(&export).unwrap();
    assert_eq!(
        snapshot.warnings(),
        [
            "1 user of a federation without import is left out: an export does not name such",
            "the export has no `groups`: nobody is in any",
            "the export has no `roles`: what its composite roles contain is not known to it; what was \
             known of that stays",
        ]
    );
}

#[test]
fn a_byte_order_mark_and_unknown_keys_do_no_harm() {
    let mut export = small();
    export["authenticationFlows"] = json!([{"alias": "browser", "x": [1, {"y": null}]}]);
    let (_folder, path) = file(format!("\u{feff}{export}"));
    let plain = read_json(&small()).unwrap().directory.digest();
    assert_eq!(read(&path).unwrap().directory.digest(), plain);
}

#[test]
fn no_message_quotes_what_is_not_looked_at() {
    // Credentials and clients' secrets lie in the same file.
    let mut export = small();
    export["users"][0]["credentials"] = json!([{"secretData": "hunter2"}]);
    export["users"][0]["enabled"] = json!("hunter2");
    export["users"][0]["email"] = json!(["hunter2"]);
    export["clients"][0]["secret"] = json!("hunter2");
    export["clients"][1] = json!("hunter2");
    export["users"][1].as_object_mut().unwrap().remove("username");
    let snapshot = read_json(&export).unwrap();
    let told = format!("{:?} {:?}", snapshot.warnings(), snapshot.scopes());
    assert!(told.contains("users[1] has no `username`") && !told.contains("hunter2"), "{told}");
}

#[test]
fn progress_is_told_as_users_come() {
    let user = |n: usize| json!({"username": format!("u{n}"), "enabled": true, "groups": ["/Eng"]});
    let users: Vec<Value> = (0..10_000).map(user).collect();
    let (_folder, path) = file(with("/users", json!(users)).to_string());
    let source = FileSource::new("acme", &config(&path)).unwrap();
    let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
    let told = seen.clone();
    let read = source.read(&NO_RULES, Arc::new(move |p| told.lock().unwrap().push(p.done)));
    let snapshot = read.now_or_never().unwrap().unwrap();
    assert_eq!(snapshot.directory.users.len(), 10_000);
    assert_eq!(*seen.lock().unwrap(), [4096, 8192]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_tells_what_a_read_would() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("realm.json");
    let source = FileSource::new("acme", &config(&path)).unwrap();
    let missing =
        format!("cannot read the realm export `{}`: there is no such file", path.display());
    let missing = Diagnostic::error(DiagnosticCode::SourceFailed, Subject::None, missing);
    assert_eq!(source.check(&NO_RULES).await, [missing]);
    std::fs::write(&path, with("/users/0/groups", json!(["/Gone"])).to_string()).unwrap();
    let message = "group path `/Gone` fits no group: 1 user (`ann`) is not counted in it";
    let subject = Subject::reference(Kind::Group, "/Gone");
    let finding = Diagnostic::warning(DiagnosticCode::GroupPathUnclear, subject, message);
    let partial = format!("the groups are not all there: {message}");
    let groups = Subject::Scope("groups".into());
    let partial = Diagnostic::warning(DiagnosticCode::SourcePartial, groups, partial);
    assert_eq!(source.check(&NO_RULES).await, [partial, finding]);
    std::fs::write(&path, small().to_string()).unwrap();
    assert_eq!(source.check(&NO_RULES).await, []);
}

#[test]
fn a_kind_that_is_no_file_is_refused() {
    let kind = idpsyncd::source::keycloak::KeycloakConfig {
        url: "https://auth.example.com".parse().unwrap(),
        realm: "osmo".to_owned(),
        client_id: "idpsyncd".to_owned(),
        client_secret: idpsyncd::config::SecretRef::Env("SECRET".to_owned()),
        clients: Vec::new(),
        service_accounts: false,
        ca_file: None,
        timeout: std::time::Duration::from_secs(1),
        read_timeout: std::time::Duration::from_secs(1),
        concurrency: 1,
    };
    let error = FileSource::new("corp", &kind).unwrap_err();
    assert_eq!(error.message, "source `corp` is of kind `keycloak`, not a file");
}

fn acme() -> Snapshot {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/acme/realm.json");
    let config = RealmExportConfig {
        path,
        realm: None,
        clients: vec!["osmo-browser-flow".to_owned(), "osmo-device".to_owned()],
        service_accounts: false,
    };
    read_as(config, &Rules(vec![("department".to_owned(), "Research".to_owned())])).unwrap()
}

#[test]
fn acme_is_read_whole() {
    let snapshot = acme();
    let directory = &snapshot.directory;
    assert!(snapshot.is_complete());
    assert_eq!(snapshot.warnings(), Vec::<String>::new());
    let counts: BTreeMap<&str, u64> =
        snapshot.scopes().iter().map(|scope| (scope.scope, scope.count)).collect();
    assert_eq!((counts["users"], counts["groups"]), (56, 15));
    let disabled: BTreeSet<String> = directory
        .users
        .iter()
        .filter(|user| user.enabled == Enabled::No)
        .map(|user| directory.text(user.username).to_owned())
        .collect();
    assert_eq!(disabled, names(&["cem.aydin", "kateryna.bondar", "kofi.mensah"]));
}

#[test]
fn acme_s_people_are_where_the_company_says() {
    let snapshot = acme();
    let directory = &snapshot.directory;
    let of = |kind, identity| members(directory, kind, identity);
    let role = |identity| members(directory, Kind::ClientRole, identity);
    let team = names(&[
        "amara.okafor",
        "bruno.keller",
        "chidi.eze",
        "dana.levi",
        "diego.luna",
        "elif.yildiz",
        "farid.haddad",
        "grace.lindqvist",
        "hugo.marchetti",
        "ingrid.solberg",
        "kofi.mensah",
    ]);
    assert_eq!(of(Kind::Group, "/OSMO ML Team"), team);
    assert_eq!(role("osmo-device/osmo-ml-team"), team);
    let interns = names(&["hugo.marchetti", "ingrid.solberg"]);
    assert_eq!(of(Kind::Group, "/OSMO ML Team/Interns"), interns);
    let admins = names(&["carla.rossi", "david.osei", "olga.kuznetsova"]);
    assert_eq!(role("osmo-browser-flow/osmo-admin"), admins);
    assert_eq!(role("osmo-device/osmo-admin"), admins);
    // A role of the realm that holds another, which holds roles of clients.
    let leads = names(&["amara.okafor", "grace.lindqvist", "mateo.alvarez", "viktor.novak"]);
    assert_eq!(of(Kind::RealmRole, "team-lead"), leads);
    assert!(of(Kind::RealmRole, "engineer").is_superset(&leads));
    // Through the HR portal's role, whose client does not count.
    let users = role("osmo-device/osmo-user");
    assert!(users.is_superset(&names(&["ursula.frei", "yara.haddad", "zane.cooper"])));
    assert!(!users.contains("lena.brandt"), "she is in no group and has no role");
    // Roles that are given in the browser's client alone: to a group, and to one person.
    assert_eq!(role("osmo-browser-flow/osmo-simulation").len(), 5);
    assert_eq!(role("osmo-device/osmo-simulation"), names(&[]));
    assert_eq!(role("osmo-browser-flow/osmo-perception").len(), 4);
    assert_eq!(role("osmo-device/osmo-perception").len(), 3);
    assert_eq!(role("osmo-device/osmo-ctrl"), names(&[]), "a service account alone holds it");
    assert_eq!(of(Kind::RealmRole, "offline_access").len(), 56);
    assert_eq!(of(Kind::Attribute, "department=Research").len(), 13);
    let called = |name: &str| {
        let is = |c: &RefRow| c.kind == Kind::Group && directory.text(c.name) == name;
        refs(directory, is).count()
    };
    assert_eq!((called("On-call"), called("Platform"), called("Admin")), (2, 2, 1));
}
