//! Organizations of realm exports: who is in them and in their groups, and what cannot be told.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use idpsyncd::directory::{
    Completeness, Directory, Enabled, Interest, Kind, Mirror, ScopeReport, Snapshot,
};
use idpsyncd::model::Diagnostic;
use idpsyncd::source::FullRead;
use idpsyncd::source::file::{FileSource, RealmExportConfig};
use serde_json::{Value, json};

/// Rules that can name roles called so.
struct Rules(&'static [&'static str]);

impl Interest for Rules {
    fn reaches(&self, _: Kind, _: &str, name: &str, _: &str, _: &str, _: &[&str]) -> bool {
        self.0.contains(&name)
    }

    fn attributes(&self) -> &[(String, String)] {
        &[]
    }
}

fn read(export: &Value) -> Snapshot {
    read_text(&export.to_string())
}

fn read_text(text: &str) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("realm.json");
    std::fs::write(&path, text).unwrap();
    let clients = vec!["shop".to_owned()];
    let config = RealmExportConfig { path, realm: None, clients, service_accounts: false };
    let source = FileSource::new("s", &config).unwrap();
    let reading = source.read(&Rules(&["buyer"]), Arc::new(|_| {}));
    reading.now_or_never().expect("a file is read without waiting").unwrap()
}

/// Ann, bob and cy, with these organizations.
fn realm(organizations: &Value) -> Value {
    let user = |name: &str| json!({"id": format!("id-{name}"), "username": name, "enabled": true});
    let users = ["ann", "bob", "cy"].map(user);
    json!({
        "realm": "r", "organizationsEnabled": true, "groups": [], "roles": {}, "users": users,
        "organizations": organizations, "clients": [{"clientId": "shop"}],
    })
}

fn member(name: &str, groups: &[&str]) -> Value {
    json!({"username": name, "membershipType": "UNMANAGED", "groups": groups})
}

fn managed(name: &str) -> Value {
    json!({"username": name, "membershipType": "MANAGED", "groups": []})
}

/// `acme` with ann, who is in `/eng/ml`, and bob.
fn acme() -> Value {
    json!({
        "id": "o1", "name": "Acme", "alias": "acme", "enabled": true,
        "domains": [{"name": "acme.example", "verified": true}],
        "members": [member("ann", &["g2"]), member("bob", &[])],
        "groups": [{
            "id": "g1", "name": "eng", "path": "/eng",
            "subGroups": [{"id": "g2", "name": "ml", "path": "/eng/ml", "subGroups": []}],
        }],
    })
}

/// `acme` with `value` under `key`.
fn acme_with(key: &str, value: Value) -> Value {
    let mut acme = acme();
    acme[key] = value;
    acme
}

/// Of each organization and each of its groups, by kind and id, who is directly in it; `?` where that may not
/// be all.
fn told(directory: &Directory, members: impl Fn(usize) -> bool) -> String {
    let mut told = Vec::new();
    for (at, (row, list)) in directory.refs.iter().zip(&directory.members).enumerate() {
        if matches!(row.kind, Kind::Organization | Kind::OrganizationGroup) {
            let names: Vec<&str> = list
                .iter()
                .map(|user| directory.text(directory.users.get(*user).unwrap().username))
                .collect();
            let unknown = if members(at) { "" } else { "?" };
            told.push(format!("{}{unknown}={}", directory.text(row.identity), names.join(",")));
        }
    }
    told.join(" ")
}

fn of(snapshot: &Snapshot) -> String {
    let whole: Vec<bool> = snapshot.members.iter().map(Completeness::is_complete).collect();
    let list = match &snapshot.organizations {
        Completeness::Complete => "",
        Completeness::Partial(_) => "some: ",
        Completeness::NotAsked => "not asked: ",
    };
    format!("{list}{}", told(&snapshot.directory, |at| whole[at]))
}

const WHOLE: &str = "acme=ann,bob acme:/eng= acme:/eng/ml=ann acme:/=";

#[test]
fn members_and_groups_are_read_as_a_server_writes_them() {
    let snapshot = read(&realm(&json!([acme()])));
    assert!(snapshot.is_complete() && snapshot.stands_alone());
    assert_eq!(of(&snapshot), WHOLE);
    assert_eq!(snapshot.warnings(), Vec::<String>::new());
    let directory = &snapshot.directory;
    let place = |key: &str| directory.find_ref(Kind::OrganizationGroup, key).unwrap();
    assert_eq!(directory.path(place("g2")), ["eng", "ml"]);
    assert_eq!(*directory.implies.get(place("g2")).unwrap(), [place("g1")]);
    assert_eq!(directory.refs.get(place("g2")).unwrap().parent, Some(place("g1")));
    assert!(directory.knows_groups_of("o1"));
    let acme = directory.find_ref(Kind::Organization, "o1").unwrap();
    // Who is in an organization is in none of its groups for that.
    assert!(directory.implies.get(acme).unwrap().is_empty());
    let scopes = snapshot.scopes();
    let scope = scopes.iter().find(|it| it.scope == "organizations");
    assert_eq!(scope, Some(&ScopeReport { scope: "organizations", count: 1, partial: None }));
}

#[test]
fn an_export_without_organizations_says_that_there_are_none() {
    for (key, value) in [
        ("organizations", json!(null)),
        ("organizations", json!([])),
        ("organizations", json!([null])),
        ("organizationsEnabled", json!(false)),
        ("organizationsEnabled", json!(null)),
    ] {
        let mut export = realm(&json!([]));
        export[key] = value;
        let snapshot = read(&export);
        assert_eq!(of(&snapshot), "");
        assert!(snapshot.stands_alone() && snapshot.directory.proven.organizations);
        assert!(snapshot.scopes().iter().all(|it| it.scope != "organizations"));
    }
    let mut export = realm(&json!([]));
    export.as_object_mut().unwrap().remove("organizations");
    assert!(read(&export).directory.proven.organizations);
}

fn enabled(snapshot: &Snapshot) -> Vec<Enabled> {
    snapshot.directory.users.iter().map(|user| user.enabled).collect()
}

#[test]
fn a_disabled_organization_has_no_members_and_its_managed_ones_are_disabled() {
    let members = json!([member("ann", &["g2"]), managed("bob"), member("nobody", &["g9"])]);
    let mut disabled = acme_with("members", members);
    disabled["enabled"] = json!(false);
    let snapshot = read(&realm(&json!([disabled])));
    assert_eq!(of(&snapshot), "acme= acme:/eng= acme:/eng/ml= acme:/=");
    assert!(snapshot.is_complete());
    assert_eq!(enabled(&snapshot), [Enabled::Yes, Enabled::No, Enabled::Yes]);
    // In one that is enabled a managed member is a member.
    let snapshot = read(&realm(&json!([acme_with("members", json!([managed("bob")]))])));
    assert_eq!(of(&snapshot), "acme=bob acme:/eng= acme:/eng/ml= acme:/=");
    assert_eq!(enabled(&snapshot), [Enabled::Yes; 3]);
}

#[test]
fn where_organizations_are_off_none_counts_and_managed_members_are_disabled() {
    let mut export =
        realm(&json!([acme_with("members", json!([managed("bob"), member("ann", &[])]))]));
    export["organizationsEnabled"] = json!(false);
    let snapshot = read(&export);
    assert_eq!(of(&snapshot), "");
    assert!(snapshot.is_complete() && snapshot.directory.proven.organizations);
    assert_eq!(enabled(&snapshot), [Enabled::Yes, Enabled::No, Enabled::Yes]);
    let words = "organizations are off in the realm (`organizationsEnabled`): of the 1 that it has none \
                 counts";
    assert_eq!(snapshot.warnings(), [words]);
    // A list without the word counts: people write exports by hand.
    export.as_object_mut().unwrap().remove("organizationsEnabled");
    assert_eq!(of(&read(&export)), "acme=ann,bob acme:/eng= acme:/eng/ml= acme:/=");
}

/// What is odd, what comes of it in a file of its own, and what is told.
#[expect(clippy::too_many_lines, reason = "a table")]
fn odd() -> Vec<(Value, &'static str, &'static str)> {
    let list = |one: Value| realm(&json!([one]));
    let members = |list: Value| realm(&json!([acme_with("members", list)]));
    let groups = |list: Value| realm(&json!([acme_with("groups", list)]));
    let group = |value: Value| json!([{"id": "g2", "name": "ml"}, value]);
    let mut off = realm(&json!([acme()]));
    off["organizationsEnabled"] = json!("maybe");
    vec![
        (realm(&json!({})), "some: ", "organizations is an object, not a list"),
        (
            list(json!("acme")),
            "some: ",
            "organizations[0] is a text, not an organization: left out",
        ),
        (
            realm(&json!([[], acme()])),
            "some: acme=ann,bob acme:/eng= acme:/eng/ml=ann acme:/=",
            "organizations[0] is a list, not an organization: left out",
        ),
        (
            list(json!({"id": "o1", "members": [member("ann", &[])]})),
            "some: ",
            "organizations[0] has neither `alias` nor `name`: left out",
        ),
        (
            list(acme_with("alias", json!("a/b"))),
            "some: ",
            "organizations[0] has white space or a slash in its alias, which Keycloak does not take: left \
             out",
        ),
        (
            list(acme_with("id", json!([]))),
            "some: ",
            "organizations[0].id is a list, not a text: left out",
        ),
        // Whether it is enabled is unknown, and so is who counts as a member.
        (
            list(acme_with("enabled", json!({}))),
            "acme?= acme:/eng?= acme:/eng/ml?= acme:/=",
            "organizations[0].enabled is an object, not true or false: left out",
        ),
        (off, "some: ", "organizationsEnabled is a text, not true or false: left out"),
        (
            members(json!({})),
            "acme?= acme:/eng?= acme:/eng/ml?= acme:/=",
            "organizations[0].members is an object, not a list",
        ),
        (
            members(json!(["bob", member("ann", &["g1"])])),
            "acme?=ann acme:/eng?=ann acme:/eng/ml?= acme:/=",
            "organizations[0].members[0] is a text, not a member: left out",
        ),
        (
            members(json!([{"membershipType": "MANAGED"}])),
            "acme?= acme:/eng?= acme:/eng/ml?= acme:/=",
            "organizations[0].members[0] has no `username`: left out",
        ),
        (
            members(json!([member("bob", &["g1"]), member("dee", &["g1"]), member("eve", &[])])),
            "acme?=bob acme:/eng?=bob acme:/eng/ml?= acme:/=",
            "organizations[0].members[1] of `dee` is no user of the export: left out (and 1 more like it)",
        ),
        // Keycloak's names are in lower case.
        (
            members(json!([member("Bob", &[])])),
            "acme?= acme:/eng?= acme:/eng/ml?= acme:/=",
            "organizations[0].members[0] of `Bob` is no user of the export: left out",
        ),
        (
            members(json!([member("ann", &[]), member("bob", &["g1", "g9"])])),
            "acme=ann,bob acme:/eng?=bob acme:/eng/ml?= acme:/?=",
            "organizations[0].members[1].groups of `bob` lists a group that is not one of the \
             organization's: not counted in it",
        ),
        (
            members(json!([member("ann", &[]), {"username": "bob", "groups": [["g1"], "g2"]}])),
            "acme=ann,bob acme:/eng?= acme:/eng/ml?=bob acme:/=",
            "organizations[0].members[1].groups[0] is a list, not a name",
        ),
        // Somebody is in a group of it, so that it has none is not said.
        (
            groups(json!([])),
            "acme=ann,bob acme:/?=",
            "organizations[0].members[0].groups of `ann` lists a group that is not one of the \
             organization's: not counted in it",
        ),
        (
            groups(json!(null)),
            "acme=ann,bob acme:/?=",
            "organizations[0].members[0].groups of `ann` lists a group that is not one of the \
             organization's: not counted in it",
        ),
        (
            groups(json!({})),
            "acme=ann,bob acme:/?=",
            "organizations[0].groups is an object, not a list",
        ),
        (
            groups(group(json!(7))),
            "acme=ann,bob acme:/ml=ann acme:/?=",
            "organizations[0].groups[1] is a number, not a group: left out",
        ),
        (
            groups(group(json!({"id": "g3"}))),
            "acme=ann,bob acme:/ml=ann acme:/?=",
            "organizations[0].groups[1] has no `name`: left out, with what is below it",
        ),
        (
            groups(group(json!({"id": "g3", "name": "x", "subGroups": 7}))),
            "acme=ann,bob acme:/ml=ann acme:/x= acme:/?=",
            "organizations[0].groups[1].subGroups is a number, not a list",
        ),
        (
            groups(group(json!({"id": {}, "name": "x"}))),
            "acme=ann,bob acme:/x= acme:/ml=ann acme:/?=",
            "organizations[0].groups[1].id is an object, not a text: left out",
        ),
    ]
}

#[test]
fn what_cannot_be_read_is_told_with_its_place_and_leaves_what_it_would_say_unknown() {
    for (export, expected, words) in odd() {
        let snapshot = read(&export);
        assert_eq!(of(&snapshot), expected, "{export}");
        assert!(!snapshot.is_complete(), "{export}");
        let warnings = snapshot.warnings();
        assert!(warnings.iter().any(|it| it == words), "{export}: {warnings:?}");
    }
}

#[test]
fn what_cannot_be_read_takes_nothing_from_what_was_known() {
    let whole = Mirror::default().apply_snapshot(read(&realm(&json!([acme()])))).mirror;
    // By what each thing is known by: some of these call a group otherwise.
    let pairs = |directory: &Directory| -> BTreeSet<(String, String)> {
        let things = directory.refs.iter().zip(&directory.members);
        let text = |text| directory.text(text).to_owned();
        let pair = |key, user| (text(key), text(directory.users.get(user).unwrap().username));
        things.flat_map(|(row, list)| list.iter().map(move |user| pair(row.key, *user))).collect()
    };
    let before = pairs(&whole.directory);
    assert_eq!(before.len(), 3);
    for (export, _, _) in odd() {
        let after = whole.apply_snapshot(read(&export));
        assert!(!after.complete && after.mirror.directory.proven.organizations);
        let after = pairs(&after.mirror.directory);
        assert!(after.is_superset(&before), "{export}: {after:?}");
    }
    // What could be read, and does not name them, does.
    let after = whole.apply_snapshot(read(&realm(&json!([acme_with("members", json!([]))]))));
    assert_eq!(pairs(&after.mirror.directory), BTreeSet::new());
}

#[test]
fn a_service_account_that_does_not_count_is_left_out_of_an_organization_unsaid() {
    let mut export =
        realm(&json!([acme_with("members", json!([member("bob", &[]), member("robot", &[])]))]));
    export["users"].as_array_mut().unwrap().push(json!({
        "id": "id-robot", "username": "robot", "enabled": true, "serviceAccountClientId": "shop",
    }));
    let snapshot = read(&export);
    assert_eq!(of(&snapshot), "acme=bob acme:/eng= acme:/eng/ml= acme:/=");
    assert_eq!(snapshot.warnings(), Vec::<String>::new());
}

#[test]
fn a_name_that_two_users_have_is_nobodys() {
    let mut export = realm(&json!([acme()]));
    export["users"].as_array_mut().unwrap().push(json!({
        "id": "id-other", "username": "bob", "enabled": true,
    }));
    let snapshot = read(&export);
    assert_eq!(of(&snapshot), "acme?=ann acme:/eng?= acme:/eng/ml?=ann acme:/=");
    let words = "organizations[0].members[1] of `bob` is the name of several users: left out";
    assert!(snapshot.warnings().iter().any(|it| it == words), "{:?}", snapshot.warnings());
}

#[test]
fn things_of_one_id_or_without_any_are_two_and_are_told() {
    let twin = |id: Value, alias: &str, name: &str| json!({"id": id, "alias": alias, "members": [member(name, &[])]});
    let words = |snapshot: &Snapshot| -> Vec<String> {
        snapshot.diagnostics.iter().map(|it: &Diagnostic| it.message.clone()).collect()
    };
    let snapshot =
        read(&realm(&json!([twin(json!("o"), "a", "ann"), twin(json!("o"), "b", "bob")])));
    assert_eq!(of(&snapshot), "b=bob a=ann b:/= a:/=");
    assert_eq!(words(&snapshot), ["the organization `b` has the `id` of another"]);
    assert!(["o", "b\u{0}1"].iter().all(|id| snapshot.directory.knows_groups_of(id)));
    // One alias is one organization's in Keycloak: which is meant is left to whoever asks.
    let snapshot =
        read(&realm(&json!([twin(json!("o"), "a", "ann"), twin(json!("p"), "a", "bob")])));
    assert_eq!(of(&snapshot), "a=ann a=bob a:/= a:/=");
    let snapshot =
        read(&realm(&json!([twin(json!(null), "a", "ann"), twin(json!(""), "a", "bob")])));
    assert_eq!(of(&snapshot), "a=ann a=bob a:/= a:/=");
    assert_eq!(words(&snapshot), ["two organizations are `a`, and not both have an `id`"]);

    // Of two groups of one id nobody can tell which a member is in.
    let group = |id: &str, name: &str| json!({"id": id, "name": name});
    let groups = json!([group("g", "x"), group("g", "y")]);
    let mut acme = acme_with("groups", groups);
    acme["members"] = json!([member("ann", &["g"])]);
    let snapshot = read(&realm(&json!([acme])));
    assert_eq!(of(&snapshot), "acme=ann acme:/y?= acme:/x?= acme:/=");
    let told = "the organization group `acme:/y` has the `id` of another";
    assert!(words(&snapshot).iter().any(|it| it == told), "{:?}", words(&snapshot));
    // Groups without ids are known by their names, of one organization and of another.
    let nameless = json!([{"name": "x"}, {"name": "x"}]);
    let other = |alias: &str| json!({"id": alias, "alias": alias, "groups": nameless.clone()});
    let snapshot = read(&realm(&json!([other("a"), other("b")])));
    assert_eq!(of(&snapshot).matches(":/x=").count(), 4);
    assert_eq!(words(&snapshot).len(), 2, "{:?}", words(&snapshot));
}

#[test]
fn a_slash_in_a_groups_name_stands_as_it_is() {
    let groups = json!([
        {"id": "g1", "name": "a/b"},
        {"id": "g2", "name": "a", "subGroups": [{"id": "g3", "name": "b"}]},
    ]);
    let mut acme = acme_with("groups", groups);
    acme["members"] = json!([member("ann", &["g1"]), member("bob", &["g3"])]);
    let snapshot = read(&realm(&json!([acme])));
    assert_eq!(of(&snapshot), "acme=ann,bob acme:/a/b=ann acme:/a= acme:/a/b=bob acme:/=");
    let directory = &snapshot.directory;
    let path = |key| directory.path(directory.find_ref(Kind::OrganizationGroup, key).unwrap());
    assert_eq!((path("g1"), path("g3")), (vec!["a/b"], vec!["a", "b"]));
}

#[test]
fn a_deep_tree_is_read_to_its_end() {
    let mut tree = json!({"id": "g40", "name": "n40"});
    for depth in (0..40).rev() {
        tree = json!({"id": format!("g{depth}"), "name": format!("n{depth}"), "subGroups": [tree]});
    }
    let mut acme = acme_with("groups", json!([tree]));
    acme["members"] = json!([member("cy", &["g40"])]);
    let snapshot = read(&realm(&json!([acme])));
    assert!(snapshot.is_complete());
    let directory = &snapshot.directory;
    let deepest = directory.find_ref(Kind::OrganizationGroup, "g40").unwrap();
    assert_eq!(directory.path(deepest).len(), 41);
    assert_eq!(directory.members.get(deepest).unwrap().len(), 1);
}

#[test]
fn roles_of_groups_give_nothing_and_those_that_a_rule_names_are_told() {
    let group = |name: &str, realm: &str, client: &str, role: &str| {
        json!({
            "id": name, "name": name, "realmRoles": [realm], "clientRoles": {client: [role]},
        })
    };
    let words = |groups: Value| read(&realm(&json!([acme_with("groups", groups)]))).warnings();
    let told = |first: &str, more: &str| {
        format!(
            "roles are mapped to the organization group `acme:/{first}`{more}: Keycloak gives them to nobody, \
             so they do not count; map the group itself with `organization_group`"
        )
    };
    for (groups, expected) in [
        (json!([group("a", "other", "shop", "other")]), vec![]),
        (json!([group("a", "other", "unasked", "buyer")]), vec![]),
        (json!([group("a", "buyer", "shop", "other")]), vec![told("a", "")]),
        (
            json!([group("b", "other", "shop", "buyer"), group("a", "buyer", "shop", "buyer")]),
            vec![told("a", " (and 1 more)")],
        ),
    ] {
        let warnings: Vec<String> =
            words(groups).into_iter().filter(|it| it.starts_with("roles are mapped")).collect();
        assert_eq!(warnings, expected);
    }
    let mut acme = acme_with("groups", json!([group("a", "buyer", "shop", "buyer")]));
    acme["members"] = json!([member("ann", &["a"])]);
    let directory = read(&realm(&json!([acme]))).directory;
    assert!(directory.refs.iter().all(|it| !matches!(it.kind, Kind::RealmRole | Kind::ClientRole)));
}

#[test]
fn the_order_in_a_file_does_not_matter_and_a_key_that_comes_twice_says_nothing() {
    let with = |before: &str, after: &str| {
        format!(
            r#"{{"realm": "r", {before} "groups": [], "roles": {{}}, "users": [{{"id": "1", "username": "ann",
            "enabled": true}}] {after}}}"#
        )
    };
    // Members stand before the groups that they are in, and the list before everybody.
    let list = r#""organizations": [{"members": [{"groups": ["g"], "username": "ann"}], "groups": [{"name": "x",
        "id": "g"}], "alias": "a", "id": "o"}]"#;
    let first = read_text(&with(&format!("{list},"), ""));
    let last = read_text(&with("", &format!(", {list}")));
    assert_eq!(of(&first), "a=ann a:/x=ann a:/=");
    assert_eq!(first.directory.digest(), last.directory.digest());
    let twice = read_text(&with(&format!("{list},"), &format!(", {list}")));
    assert_eq!(of(&twice), "some: ");
    assert!(twice.warnings().iter().any(|it| it == "organizations comes more than once"));
}

#[test]
fn people_in_files_beside_the_realms_are_members_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut export = realm(&json!([acme()]));
    let users = export.as_object_mut().unwrap().remove("users").unwrap();
    std::fs::write(folder.path().join("r-realm.json"), export.to_string()).unwrap();
    let beside = json!({"realm": "r", "users": users}).to_string();
    std::fs::write(folder.path().join("r-users-0.json"), beside).unwrap();
    let path = folder.path().to_owned();
    let config =
        RealmExportConfig { path, realm: None, clients: Vec::new(), service_accounts: false };
    let source = FileSource::new("s", &config).unwrap();
    let snapshot = source.read(&Rules(&[]), Arc::new(|_| {})).now_or_never().unwrap().unwrap();
    assert_eq!(of(&snapshot), WHOLE);
}
