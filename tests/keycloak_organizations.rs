//! Organizations of a real Keycloak and their groups: read, looked up, and compared with the tokens of their members.

#![cfg(test)]

mod support;

#[path = "scenarios"]
#[expect(dead_code, reason = "the stories need more of it")]
mod parts {
    pub mod home;
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use idpsyncd::directory::{Completeness, Enabled, Interest, Kind, OrganizationInterest, Sighting};
use idpsyncd::model::{Diagnostic, DiagnosticCode};
use idpsyncd::source::{Looked, Lookup as _, Who};
use parts::home::{Home, Options};
use serde_json::json;
use support::kc_organizations::Organized;
use support::kc_snapshot::{self, Everything, Facts, Source_, config, facts, source, try_read};
use support::keycloak::{Keycloak, RIGHTS, Realm};

const SECRET: &str = "s3cr3t-of-the-reader";
const SEES: [&str; 4] = ["view-users", "view-realm", "view-clients", "view-organizations"];

fn realm<'k>(keycloak: &'k Keycloak, name: &str, rights: &[&str]) -> (Realm<'k>, Source_) {
    let realm = keycloak.realm(name);
    realm.organizations(true);
    realm.reader("idpsyncd", SECRET, rights);
    (realm, source(&config(&keycloak.url, name), SECRET))
}

fn read(source: &Source_, aliases: &[&str]) -> Facts {
    facts(&try_read(source, Arc::new(Organized::new(aliases))).unwrap())
}

/// Who is directly in something, by name.
fn direct(facts: &Facts, kind: Kind, identity: &str) -> Vec<String> {
    let mut names = facts.direct(kind, identity);
    names.sort();
    names
}

/// What somebody is in by a look-up: kind and key.
fn looked_up(source: &Source_, aliases: &[&str], id: &str) -> BTreeSet<(Kind, String)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let who = Who::Id(id.to_owned());
    let looked = runtime.block_on(source.lookup(&Organized::new(aliases), &who)).unwrap();
    let Looked::Found(seen) = looked else { panic!("{looked:?}") };
    let Sighting { within, .. } = *seen;
    within.into_iter().map(|it| (it.kind, it.key)).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one realm, and all that is true of it")]
fn members_and_groups_are_read_as_tokens_and_look_ups_say_them() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, source) = realm(keycloak, "orgs", &SEES);
    let (acme, upper) = (realm.organization("acme"), realm.organization("ACME"));
    let (other, off) = (realm.organization("other"), realm.organization("off"));
    realm.organization("empty");
    // Groups of one path, in two organizations and in the realm.
    let eng = realm.organization_group(&acme, "eng", None);
    let ml = realm.organization_group(&acme, "ml", Some(&eng));
    let odd = realm.organization_group(&acme, "eng/ml ü?#%", None);
    let theirs = realm.organization_group(&other, "eng", None);
    let of_off = realm.organization_group(&off, "eng", None);
    let of_realm = realm.group("eng", None);

    let ids: BTreeMap<&str, String> =
        ["ann", "bob", "cay", "dan", "eve"].map(|name| (name, realm.person(name, "pw"))).into();
    for (name, organization) in [
        ("ann", &acme),
        ("bob", &acme),
        ("cay", &acme),
        ("cay", &upper),
        ("bob", &other),
        ("dan", &off),
        ("ann", &off),
    ] {
        realm.join_organization(&ids[name], organization);
    }
    realm.join_organization_group(&ids["ann"], &acme, &eng);
    realm.join_organization_group(&ids["bob"], &acme, &ml);
    realm.join_organization_group(&ids["cay"], &acme, &odd);
    realm.join_organization_group(&ids["bob"], &other, &theirs);
    realm.join_organization_group(&ids["dan"], &off, &of_off);
    realm.join(&ids["eve"], &of_realm);
    realm.set_organization(&off, false);

    // Nobody gets it, whatever the server shows.
    let role = realm.realm_role("of-a-group");
    let path = format!("/organizations/{acme}/groups/{ml}/role-mappings/realm");
    realm.call("POST", &path, Some(&json!([role])));

    let aliases = ["acme", "ACME", "other", "empty", "off", "absent"];
    let snapshot = try_read(&source, Arc::new(Organized::new(&aliases))).unwrap();
    let unused: Vec<_> = snapshot
        .diagnostics
        .iter()
        .filter(|it| it.code == DiagnosticCode::OrganizationRolesUnused)
        .collect();
    assert!(unused.len() == 1 && unused[0].message.contains("`acme:/eng/ml`"), "{unused:?}");
    let facts = facts(&snapshot);
    assert!(!facts.roles_of("bob").contains("of-a-group"));
    assert_eq!(facts.direct(Kind::RealmRole, "of-a-group"), [""; 0]);
    assert!(facts.reading_complete, "{:?}", facts.scopes);
    let organizations = [
        ("acme", &["ann", "bob", "cay"][..]),
        ("ACME", &["cay"]),
        ("other", &["bob"]),
        ("empty", &[]),
        ("off", &[]),
    ];
    for (alias, members) in organizations {
        assert_eq!(direct(&facts, Kind::Organization, alias), members, "{alias}");
        assert_eq!(facts.members_are(alias), Completeness::Complete, "{alias}");
    }
    let group = |identity| direct(&facts, Kind::OrganizationGroup, identity);
    for (identity, members) in [
        ("acme:/eng", &["ann"][..]),
        ("acme:/eng/ml", &["bob"]),
        ("acme:/eng/ml ü?#%", &["cay"]),
        ("other:/eng", &["bob"]),
        ("off:/eng", &[]),
    ] {
        assert_eq!(group(identity), members, "{identity}");
        assert_eq!(facts.members_are(identity), Completeness::Complete, "{identity}");
    }
    assert_eq!(facts.direct(Kind::Group, "/eng"), ["eve"], "the realm's own");
    assert!(facts.all_within("bob").contains("acme:/eng"), "whoever is below is in it too");
    assert!(!facts.all_within("ann").contains("acme:/eng/ml"));
    for alias in aliases {
        let top = format!("{alias}:/");
        assert_eq!(facts.has(&top), alias != "absent", "{top}");
    }

    // The server's own word: the claim, and what it says of one person.
    realm.post(
        "/clients",
        &json!({"clientId": "tester", "publicClient": true, "directAccessGrantsEnabled": true, "enabled": true}),
    );
    let scope = realm.find("/client-scopes", "organization");
    realm.post(
        &format!("/client-scopes/{}/protocol-mappers/models", scope["id"].as_str().unwrap()),
        &json!({"name": "groups", "protocol": "openid-connect", "config": {"access.token.claim": "true"},
            "protocolMapper": "oidc-organization-group-membership-mapper"}),
    );
    for (name, id) in &ids {
        let claim = realm.organization_claim("tester", name, "pw");
        let mut theirs = BTreeSet::new();
        for (alias, more) in claim.as_object().into_iter().flatten() {
            theirs.insert(alias.clone());
            for group in more["groups"].as_array().into_iter().flatten() {
                theirs.insert(format!("{alias}:{}", group.as_str().unwrap()));
            }
        }
        let kinds = [Kind::Organization, Kind::OrganizationGroup];
        assert_eq!(facts.direct_of(name, &kinds), theirs, "{name}: {claim}");
        // A look-up of one person says what the read of all says.
        let looked = looked_up(&source, &aliases, id);
        assert_eq!(looked, facts.keys_of(name), "{name}");
    }
}

#[test]
fn only_what_rules_name_is_asked_for() {
    struct Some_;
    const ASKED: &[(&str, bool, bool)] = &[("acme", true, false), ("other", false, true)];
    static INTEREST: std::sync::LazyLock<Vec<OrganizationInterest>> =
        std::sync::LazyLock::new(|| {
            let asked = ASKED.iter().map(|(alias, members, groups)| OrganizationInterest {
                alias: (*alias).to_owned(),
                members: *members,
                groups: *groups,
            });
            asked.collect()
        });
    impl Interest for Some_ {
        fn reaches(&self, _: Kind, _: &str, _: &str, identity: &str, _: &str, _: &[&str]) -> bool {
            identity == "other:/eng"
        }
        fn attributes(&self) -> &[(String, String)] {
            &[]
        }
        fn organizations(&self) -> &[OrganizationInterest] {
            &INTEREST
        }
    }
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, source) = realm(keycloak, "orgsasked", &SEES);
    let ann = realm.user("ann", json!({}));
    for alias in ["acme", "other", "third"] {
        let organization = realm.organization(alias);
        realm.join_organization(&ann, &organization);
        let eng = realm.organization_group(&organization, "eng", None);
        let below = realm.organization_group(&organization, "below", Some(&eng));
        realm.organization_group(&organization, "aside", None);
        realm.join_organization_group(&ann, &organization, &below);
    }
    let facts = facts(&try_read(&source, Arc::new(Some_)).unwrap());
    assert!(facts.reading_complete, "{:?}", facts.scopes);
    for (identity, expected) in [
        ("acme", Completeness::Complete),
        ("other", Completeness::NotAsked),
        ("third", Completeness::NotAsked),
        ("other:/", Completeness::Complete),
        ("other:/eng", Completeness::Complete),
        ("other:/eng/below", Completeness::Complete),
        ("other:/aside", Completeness::NotAsked),
    ] {
        assert_eq!(facts.members_are(identity), expected, "{identity}");
    }
    for unread in ["acme:/", "acme:/eng", "third:/", "third:/eng"] {
        assert!(!facts.has(unread), "{unread}");
    }
    let nobody_asks = read(&source, &[]);
    assert!(nobody_asks.reading_complete && !nobody_asks.has("acme"));
    let everything = try_read(&source, Arc::new(Everything::default())).unwrap();
    assert_eq!(everything.organizations, Completeness::NotAsked);
}

#[test]
fn more_members_than_a_page_has_are_read_and_none_twice() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, source) = realm(keycloak, "orgspages", &SEES);
    let acme = realm.organization("acme");
    let eng = realm.organization_group(&acme, "eng", None);
    let users: Vec<_> =
        (0..470).map(|n| json!({"username": format!("u{n:03}"), "enabled": true})).collect();
    let import = json!({"users": users, "ifResourceExists": "FAIL"});
    realm.call("POST", "/partialImport", Some(&import));
    let all = realm.get("/users?max=-1&briefRepresentation=true");
    for user in all.as_array().unwrap().iter().filter(|it| it["username"] != "u007") {
        let id = user["id"].as_str().unwrap();
        realm.join_organization(id, &acme);
        realm.join_organization_group(id, &acme, &eng);
    }
    let facts = read(&source, &["acme"]);
    assert!(facts.reading_complete, "{:?}", facts.scopes);
    for (kind, identity) in [(Kind::Organization, "acme"), (Kind::OrganizationGroup, "acme:/eng")] {
        let members: BTreeSet<String> = facts.direct(kind, identity).into_iter().collect();
        assert_eq!(members.len(), 469, "{identity}");
        assert!(!members.contains("u007") && members.contains("u469"), "{identity}");
    }
}

#[test]
fn whom_an_organization_manages_goes_with_it_and_is_disabled_with_it() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, source) = realm(keycloak, "orgsmanaged", &SEES);
    let acme = realm.organization("acme");
    let max = realm.managed(keycloak, &acme, "max");
    let ann = realm.user("ann", json!({}));
    realm.join_organization(&ann, &acme);
    let before = read(&source, &["acme"]);
    assert!(before.reading_complete, "{:?}", before.scopes);
    assert_eq!(direct(&before, Kind::Organization, "acme"), ["ann", "max"]);
    assert_eq!(before.users["max"].id, max);

    realm.set_organization(&acme, false);
    // The trap on the wire.
    assert_eq!(realm.get(&format!("/users/{max}"))["enabled"], json!(false));
    assert_eq!(realm.get("/users?enabled=false"), json!([]));
    let off = read(&source, &["acme"]);
    assert!(off.reading_complete, "{:?}", off.scopes);
    assert_eq!(off.users["max"].enabled, Enabled::No, "cannot sign in");
    assert_eq!(off.users["ann"].enabled, Enabled::Yes);
    assert_eq!(off.direct(Kind::Organization, "acme"), [""; 0]);
    assert_eq!(off.members_are("acme"), Completeness::Complete);
    assert!(
        looked_up(&source, &["acme"], &ann).iter().all(|(kind, _)| *kind != Kind::Organization)
    );

    realm.set_organization(&acme, true);
    assert_eq!(read(&source, &["acme"]).digest, before.digest, "as before");

    // Organizations off in the realm: there are none, and that is known.
    realm.organizations(false);
    let snapshot = try_read(&source, Arc::new(Organized::new(&["acme"]))).unwrap();
    let told = |it: &Diagnostic| it.code == DiagnosticCode::OrganizationsOff;
    assert!(snapshot.diagnostics.iter().any(told), "{:?}", snapshot.diagnostics);
    let none = facts(&snapshot);
    assert!(none.reading_complete, "{:?}", none.scopes);
    assert!(!none.has("acme"));
    let findings = kc_snapshot::check(&source, Arc::new(Organized::new(&["acme"])));
    assert!(findings.iter().any(told), "{findings:?}");
    assert_eq!(none.users["max"].enabled, Enabled::No);
    realm.organizations(true);
    assert_eq!(read(&source, &["acme"]).digest, before.digest, "as before");

    realm.delete(&format!("/organizations/{acme}"));
    let gone = read(&source, &["acme"]);
    assert!(gone.reading_complete && !gone.has("acme"), "{:?}", gone.scopes);
    assert_eq!(gone.users.keys().collect::<Vec<_>>(), ["ann"], "whom it managed went with it");
}

#[test]
fn without_the_right_organizations_are_unknown_and_the_right_is_named() {
    let Some(keycloak) = Keycloak::shared() else { return };
    // Lists are 403 without any right, and `200 []` beside a count of 0 with the second.
    for (name, more) in [("orgsblind", None), ("orgsquery", Some("query-organizations"))] {
        let rights: Vec<&str> = RIGHTS.into_iter().chain(more).collect();
        let (realm, source) = realm(keycloak, name, &rights);
        let acme = realm.organization("acme");
        let ann = realm.user("ann", json!({}));
        realm.join_organization(&ann, &acme);
        let snapshot = try_read(&source, Arc::new(Organized::new(&["acme"]))).unwrap();
        let Completeness::Partial(why) = &snapshot.organizations else {
            panic!("{:?}", snapshot.organizations)
        };
        assert!(
            why.contains("`view-organizations`") && why.contains("`realm-management`"),
            "{why}"
        );
        assert!(snapshot.users.is_complete() && snapshot.groups.is_complete());
        let findings = kc_snapshot::check(&source, Arc::new(Organized::new(&["acme"])));
        let named = |it: &Diagnostic| {
            it.is_error()
                && it.code == DiagnosticCode::RightsMissing
                && it.message.contains("`view-organizations`")
        };
        assert!(findings.iter().any(named), "{findings:?}");
        // Nobody asks: nothing is wanting.
        let findings = kc_snapshot::check(&source, Arc::new(Everything::default()));
        assert!(!findings.iter().any(named), "{findings:?}");
        assert!(try_read(&source, Arc::new(Everything::default())).unwrap().is_complete());
        // A look-up fails: a role that denies may hang on one.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let who = Who::Id(ann.clone());
        let looked = runtime.block_on(source.lookup(&Organized::new(&["acme"]), &who));
        assert!(looked.unwrap_err().message.contains("`view-organizations`"));
    }
}

#[test]
fn a_right_that_is_lost_after_the_token_was_given_makes_organizations_unknown() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, source) = realm(keycloak, "orgslost", &SEES);
    let acme = realm.organization("acme");
    realm.organization_group(&acme, "eng", None);
    let ann = realm.user("ann", json!({}));
    realm.join_organization(&ann, &acme);
    assert!(read(&source, &["acme"]).reading_complete);
    let account = realm.get("/users?exact=false&username=service-account-idpsyncd");
    let account = format!("users/{}", account[0]["id"].as_str().unwrap());
    realm.take(&account, &realm.right("view-organizations"));
    // 403 for all of them, then `200 []` beside a count of 0: the token shows the right all the while.
    for right in [None, Some("query-organizations")] {
        if let Some(right) = right {
            realm.give(&account, &realm.right(right));
        }
        let snapshot = try_read(&source, Arc::new(Organized::new(&["acme"]))).unwrap();
        assert!(matches!(snapshot.organizations, Completeness::Partial(_)), "{right:?}");
        assert!(snapshot.users.is_complete() && snapshot.groups.is_complete(), "{right:?}");
    }
}

#[test]
fn the_program_gives_and_takes_by_organizations_and_holds_what_goes_with_a_deleted_one() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("orgsprogram");
    realm.organizations(true);
    let account = format!("users/{}", realm.reader("idpsyncd", SECRET, &SEES));
    let (acme, other) = (realm.organization("acme"), realm.organization("other"));
    let eng = realm.organization_group(&acme, "eng", None);
    let ops = realm.group("ops", None);
    let ids: BTreeMap<&str, String> =
        ["ann", "bob", "cay"].map(|name| (name, realm.user(name, json!({})))).into();
    for name in ["ann", "bob"] {
        realm.join_organization(&ids[name], &acme);
    }
    realm.join_organization_group(&ids["ann"], &acme, &eng);
    realm.join_organization(&ids["cay"], &other);
    realm.join(&ids["cay"], &ops);
    realm.managed(keycloak, &acme, "max");
    realm.managed(keycloak, &acme, "moe");
    let source = format!(
        r#"
        kind = "keycloak"
        url = "{}"
        realm = "orgsprogram"
        client_id = "idpsyncd"
        client_secret = {{ file = "secret" }}
        [[mapping]]
        organization = "acme"
        roles = ["ml"]
        [[mapping]]
        organization_group = "acme:/eng"
        roles = ["oncall"]
        "#,
        keycloak.url
    );
    let home = Home::new(&source, SECRET, Options { after: "0s", floor: 1, ops: "/ops" });
    home.sync(0);
    let cay = ("cay", "ops opsmate");
    let all = [("ann", "ml oncall"), ("bob", "ml"), cay, ("max", "ml"), ("moe", "ml")];
    home.assert_roles(&all);

    // Without the right nobody gains, and nobody loses.
    realm.take(&account, &realm.right("view-organizations"));
    realm.leave_organization(&ids["bob"], &acme);
    realm.join_organization(&ids["cay"], &acme);
    let blind = home.sync(4);
    assert!(blind.trouble().contains("`view-organizations`"), "{}", blind.trouble());
    home.assert_roles(&all);
    realm.give(&account, &realm.right("view-organizations"));
    home.sync(0);
    let cay = ("cay", "ml ops opsmate");
    let left = [("ann", "ml oncall"), ("bob", ""), cay, ("max", "ml"), ("moe", "ml")];
    home.assert_roles(&left);

    // With it go two people whom it managed, and the roles of two more.
    realm.delete(&format!("/organizations/{acme}"));
    home.sync(3);
    home.assert_roles(&left);
}
