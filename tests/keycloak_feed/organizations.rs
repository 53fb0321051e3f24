//! Organizations followed by their events.

use idpsyncd::source::feed::WhyFull;
use serde_json::json;

use crate::faults::Faulty;
use crate::kit::Followed;
use crate::support::kc_organizations::Organized;
use crate::support::keycloak::{Keycloak, Realm};
use crate::{SECRET, Step, everything, realm};

fn organized(aliases: &[&str]) -> &'static Organized {
    Box::leak(Box::new(Organized::new(aliases)))
}

/// The realm, with organizations on, and a reader who may see them or not.
fn with_organizations<'k>(
    keycloak: &'k Keycloak,
    name: &str,
    sees: bool,
) -> (Realm<'k>, idpsyncd::source::keycloak::KeycloakConfig) {
    let (realm, config) = realm(keycloak, name);
    realm.organizations(true);
    if sees {
        let account = account_of(&realm);
        realm.give(&account, &realm.right("view-organizations"));
    }
    (realm, config)
}

fn account_of(realm: &Realm<'_>) -> String {
    let account = realm.get("/users?exact=false&username=service-account-idpsyncd");
    format!("users/{}", account[0]["id"].as_str().unwrap())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table: each kind of change, one after the other")]
fn each_kind_of_change_is_told_as_a_full_read_would_have_it() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, config) = with_organizations(keycloak, "orgkinds", true);
    let (ann, bob) = (realm.user("ann", json!({})), realm.user("bob", json!({})));
    let (acme, other) = (realm.organization("acme"), realm.organization("other"));
    let eng = realm.organization_group(&acme, "eng", None);
    let ml = realm.organization_group(&acme, "ml", Some(&eng));
    let max = realm.managed(keycloak, &acme, "max");
    let mut followed =
        Followed::new(&config, SECRET, organized(&["acme", "other", "new", "unborn"]));
    assert!(followed.has(&["has max"]));
    let steps: Vec<(&str, Step<'_>)> = vec![
        ("joining", Box::new(|_| realm.join_organization(&ann, &acme))),
        ("joining a second one", Box::new(|_| realm.join_organization(&ann, &other))),
        ("joining a group", Box::new(|_| realm.join_organization_group(&ann, &acme, &ml))),
        ("leaving a group", Box::new(|_| realm.leave_organization_group(&ann, &acme, &ml))),
        ("joining it again", Box::new(|_| realm.join_organization_group(&ann, &acme, &ml))),
        ("leaving, and its groups with it", Box::new(|_| realm.leave_organization(&ann, &acme))),
        (
            "joining under a name of upper case",
            Box::new(|_| {
                realm.put(&format!("/users/{bob}"), &json!({"email": "Bob@example.org"}));
                realm.join_organization(&bob, &acme);
            }),
        ),
        (
            "a new group with somebody",
            Box::new(|new| {
                *new = realm.organization_group(&acme, "ops", None);
                realm.join_organization_group(&bob, &acme, new);
            }),
        ),
        (
            "a group renamed",
            Box::new(|new| {
                let path = format!("/organizations/{acme}/groups/{new}");
                realm.put(&path, &json!({"name": "ops/of all"}));
            }),
        ),
        (
            "a group moved",
            Box::new(|new| {
                let path = format!("/organizations/{acme}/groups/{new}/children");
                realm.call("POST", &path, Some(&json!({"id": ml, "name": "ml"})));
            }),
        ),
        (
            "a group's role, which nobody gets",
            Box::new(|new| {
                let role = realm.realm_role("of-a-group");
                let path = format!("/organizations/{acme}/groups/{new}/role-mappings/realm");
                realm.call("POST", &path, Some(&json!([role])));
            }),
        ),
        (
            "a group deleted with what is below",
            Box::new(|new| realm.delete(&format!("/organizations/{acme}/groups/{new}"))),
        ),
        (
            "another name",
            Box::new(|_| {
                let path = format!("/organizations/{acme}");
                let mut it = realm.get(&path);
                it["name"] = json!("renamed");
                realm.put(&path, &it);
            }),
        ),
        (
            "disabling, and whom it manages with it",
            Box::new(|_| realm.set_organization(&acme, false)),
        ),
        ("somebody joins the disabled one", Box::new(|_| realm.join_organization(&ann, &acme))),
        ("enabling", Box::new(|_| realm.set_organization(&acme, true))),
        (
            "somebody whom it manages leaves, and is gone",
            Box::new(|_| realm.leave_organization(&max, &acme)),
        ),
    ];
    let mut new = String::new();
    for (what, mut step) in steps {
        step(&mut new);
        followed.assert_no_drift(what);
        assert_eq!(followed.reads, [], "{what} needs no full read");
    }
    // What is new of organizations themselves: read in full or told, it is the same in the end.
    let made = realm.organization("new");
    realm.join_organization(&ann, &made);
    followed.assert_no_drift("a new organization with somebody");
    let last = realm.managed(keycloak, &made, "zoe");
    followed.settle();
    followed.reads.clear();
    realm.delete(&format!("/organizations/{made}"));
    followed.assert_no_drift("an organization deleted, and whom it managed with it");
    assert!(!followed.has(&["user zoe"]), "{last}");
    let deleted = |why: &WhyFull| matches!(why, WhyFull::Other(why) if why.contains("deleted"));
    assert!(followed.reads.iter().any(deleted), "{:?}", followed.reads);
}

#[test]
fn whom_a_disabled_organization_manages_is_disabled_whether_rules_name_it_or_not() {
    let Some(keycloak) = Keycloak::shared() else { return };
    for (name, sees) in [("orgunnamed", true), ("orgunseen", false)] {
        let (realm, config) = with_organizations(keycloak, name, sees);
        let acme = realm.organization("acme");
        realm.managed(keycloak, &acme, "max");
        let mut followed = Followed::new(&config, SECRET, everything());
        realm.set_organization(&acme, false);
        followed.assert_no_drift("disabling");
        assert!(followed.has(&["user max", "(No,"]), "{name}");
        realm.set_organization(&acme, true);
        followed.assert_no_drift("enabling");
        assert!(followed.has(&["user max", "(Yes,"]), "{name}");
        // Where nobody may see whom it manages, everything is read instead.
        assert_eq!(followed.reads.is_empty(), sees, "{name}: {:?}", followed.reads);
    }
}

#[test]
fn a_right_to_see_organizations_that_is_lost_takes_nothing_away() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, config) = with_organizations(keycloak, "orgright", true);
    let acme = realm.organization("acme");
    let eng = realm.organization_group(&acme, "eng", None);
    let ann = realm.user("ann", json!({}));
    realm.join_organization(&ann, &acme);
    realm.join_organization_group(&ann, &acme, &eng);
    let mut followed = Followed::new(&config, SECRET, organized(&["acme"]));
    let held = ["has ann", &acme];
    assert!(followed.has(&held));
    let account = account_of(&realm);
    realm.take(&account, &realm.right("view-organizations"));
    // A reader that is left with this is answered `200 []`.
    realm.give(&account, &realm.right("query-organizations"));
    realm.put(&format!("/users/{ann}"), &json!({"email": "ann@example.org"}));
    realm.leave_organization(&ann, &acme);
    followed.settle();
    assert!(followed.has(&held), "she is in it as far as anybody knows");
    assert!(followed.has(&["has ann", &eng]));
    realm.give(&account, &realm.right("view-organizations"));
    realm.put(&format!("/users/{ann}"), &json!({"email": "ann@example.com"}));
    followed.assert_no_drift("the right came back");
    assert!(!followed.has(&held));
}

#[test]
fn only_a_404_that_says_so_takes_somebody_out_of_an_organization() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, mut config) = with_organizations(keycloak, "orgleft", true);
    let acme = realm.organization("acme");
    let ann = realm.user("ann", json!({}));
    let faulty = Faulty::before(&keycloak.url);
    config.url = faulty.url().parse().unwrap();
    realm.join_organization(&ann, &acme);
    let mut followed = Followed::new(&config, SECRET, organized(&["acme"]));
    let held = ["has ann", &acme];
    for (status, body) in [
        (404, "<html>no such page</html>"),
        (404, r#"{"error":"Realm not found."}"#),
        (404, r#"{"error":"Unable to find matching target resource method"}"#),
        (404, ""),
        (502, "<html>bad gateway</html>"),
        // It shows her there, where the list of what she is in does not.
        (200, "{}"),
    ] {
        assert!(followed.has(&held), "{status} {body}");
        faulty.fail(&format!("/organizations/{acme}/members/{ann}"), status, body);
        realm.leave_organization(&ann, &acme);
        let why = followed.stuck();
        assert!(why.contains(&ann), "{status} {body}: {why}");
        assert!(followed.has(&held), "{status} {body}");
        faulty.mend();
        followed.assert_no_drift(body);
        assert!(!followed.has(&held), "{status} {body}");
        realm.join_organization(&ann, &acme);
        followed.assert_no_drift("she joins again");
    }
    assert_eq!(followed.reads, []);
}
