//! Organizations of Keycloak from an export to the store: who is looked up, who is deleted with one, and a
//! store that knows of none.

use super::*;

over_both! {
    people_who_are_deleted_with_their_organization_are_held_by_the_guard
    somebody_looked_up_has_what_an_organization_gives_and_is_denied_what_it_denies
    a_group_of_an_organization_that_moves_is_told_by_its_new_name_in_the_run_that_sees_it
    a_tokens_claim_reaches_no_organization
}

const RULES: &str = r#"
[sync]
on_missing = { after = "0s" }
[guard]
max_lost_floor = 3
[[source]]
name = "realm"
kind = "file"
realm_export = "realm.json"
[roles.member]
external_roles = []
[roles.engineer]
external_roles = []
[roles.kept]
external_roles = []
[[roles.kept.policies]]
effect = "Deny"
actions = ["*:*"]
resources = ["*"]
[[mapping]]
organization = "acme"
roles = ["member"]
[[mapping]]
organization_group = "acme:/eng"
roles = ["engineer"]
[[mapping]]
organization = "rivals"
roles = ["kept"]
[[mapping]]
organization_group = ["acme", "guests"]
roles = ["kept"]
"#;

/// An organization with members and the ids of the groups that each is in; groups are at the top, by id and
/// name.
fn organization(
    alias: &str,
    kind: &str,
    groups: &[(&str, &str)],
    members: &[(&str, &[&str])],
) -> Value {
    let member = |(name, groups): &(&str, &[&str])| json!({"username": name, "membershipType": kind, "groups": groups});
    let group =
        |(id, name): &(&str, &str)| json!({"id": id, "name": name, "path": format!("/{name}")});
    json!({
        "id": format!("o-{alias}"), "alias": alias, "enabled": true,
        "groups": groups.iter().map(group).collect::<Vec<_>>(),
        "members": members.iter().map(member).collect::<Vec<_>>(),
    })
}

fn realm(people: &[&str], organizations: &[Value]) -> Value {
    let user = |name: &&str| json!({"id": format!("id-{name}"), "username": name, "enabled": true});
    let users: Vec<Value> = people.iter().map(user).collect();
    json!({
        "realm": "r", "organizationsEnabled": true, "groups": [], "roles": {}, "users": users,
        "organizations": organizations,
    })
}

const ENG: &[(&str, &str)] = &[("g-eng", "eng")];

/// Four people of an organization, one of them in its group, and one who is in none.
fn company() -> Value {
    let members: &[(&str, &[&str])] =
        &[("ann", &["g-eng"]), ("bob", &[]), ("cy", &[]), ("dee", &[])];
    realm(&["ann", "bob", "cy", "dee", "eve"], &[organization("acme", "MANAGED", ENG, members)])
}

fn holders(home: &Home, role: &str) -> Vec<String> {
    let roles = home.roles().into_iter();
    roles.filter(|(_, roles)| roles.contains(role)).map(|(name, _)| name).collect()
}

fn people_who_are_deleted_with_their_organization_are_held_by_the_guard(over: Over) {
    let home = Home::over(over, RULES);
    home.write("realm.json", &company());
    home.sync();
    assert_eq!(holders(&home, "member"), ["ann", "bob", "cy", "dee"]);
    assert_eq!(holders(&home, "engineer"), ["ann"]);
    // With the organization Keycloak deletes those whom it brought.
    home.write("realm.json", &realm(&["eve"], &[]));
    let outcome = home.sync();
    assert_eq!(outcome.held.unwrap().lost_pairs, 5);
    assert_eq!(holders(&home, "member"), ["ann", "bob", "cy", "dee"]);
    // It may as well be that they are there, and the organization has gone.
    home.write("realm.json", &realm(&["ann", "bob", "cy", "dee", "eve"], &[]));
    assert_eq!(home.sync().held.unwrap().lost_pairs, 5);
    // A few are no accident.
    let members: &[(&str, &[&str])] = &[("ann", &["g-eng"]), ("bob", &[])];
    home.write(
        "realm.json",
        &realm(&["ann", "bob", "eve"], &[organization("acme", "MANAGED", ENG, members)]),
    );
    assert!(home.sync().held.is_none());
    assert_eq!(holders(&home, "member"), ["ann", "bob"]);
}

fn somebody_looked_up_has_what_an_organization_gives_and_is_denied_what_it_denies(over: Over) {
    let rivals = |members| organization("rivals", "UNMANAGED", &[], members);
    let acme = |groups, members| organization("acme", "UNMANAGED", groups, members);
    let with = |organizations: &[Value]| realm(&["old", "new"], organizations);
    let guests: &[(&str, &str)] = &[("g-eng", "eng"), ("g-guests", "guests")];
    let others: &[(&str, &str)] = &[("g-eng", "eng"), ("g-other", "other")];
    for (organizations, expected) in [
        (vec![acme(ENG, &[("new", &[])])], Ok(vec!["member"])),
        (vec![acme(ENG, &[("new", &["g-eng"])])], Ok(vec!["engineer", "member"])),
        // Known to the mirror: it keeps something from the person.
        (vec![acme(ENG, &[]), rivals(&[("new", &[])])], Ok(vec!["kept"])),
        // One that came after the last read gives nothing yet, and nobody is let past what it denies.
        (vec![acme(others, &[("new", &["g-other"])])], Ok(vec!["member"])),
        (
            vec![acme(guests, &[("new", &["g-guests"])])],
            Err(
                "the person is in organization group `guests`, which came after the last read, and a role \
                 that denies hangs on its name",
            ),
        ),
    ] {
        let home = Home::over(over, RULES);
        home.write("realm.json", &realm(&["old"], &[acme(ENG, &[]), rivals(&[])]));
        home.sync();
        home.write("realm.json", &with(&organizations));
        let person = home.lookup("new");
        match expected {
            Err(why) => refused(person, why),
            Ok(roles) => {
                provisioned(&person);
                let roles: BTreeSet<String> = roles.into_iter().map(str::to_owned).collect();
                assert_eq!(home.roles()["new"], roles);
                let before = home.grants("new");
                home.sync();
                assert_eq!(home.grants("new"), before);
            }
        }
    }
    // The organization itself came after the last read.
    let home = Home::over(over, RULES);
    home.write("realm.json", &realm(&["old"], &[acme(ENG, &[])]));
    home.sync();
    home.write("realm.json", &with(&[acme(ENG, &[]), rivals(&[("new", &[])])]));
    refused(home.lookup("new"), "the person is in organization `rivals`, which came after");
}

fn a_group_of_an_organization_that_moves_is_told_by_its_new_name_in_the_run_that_sees_it(
    over: Over,
) {
    let home = Home::over(over, RULES);
    home.write("realm.json", &company());
    home.sync();
    let moved = organization("acme", "MANAGED", &[("g-eng", "crew")], &[("ann", &["g-eng"])]);
    home.write("realm.json", &realm(&["ann", "eve"], &[moved]));
    let told = "realm: organization group `acme:/eng`, which mapping[2] names in whole, is called `acme:/crew` \
                now: name it so, or by `{ organization = \"acme\", id = \"g-eng\" }`, which survives renames";
    let warnings = home.sync().warnings();
    assert!(warnings.iter().any(|it| it == told), "{warnings:?}");
}

fn a_tokens_claim_reaches_no_organization(over: Over) {
    use crate::directory::{Completeness, SnapshotBuilder};
    let rules = super::claims::CLAIMS.replace("CLAIM", "groups").replace(
        "[[mapping]]\ngroup = \"/Top\"",
        "[[mapping]]\norganization = \"viewer\"\nroles = [\"merged\"]\n[[mapping]]\n\
         organization_group = \"viewer:/ML\"\nroles = [\"merged\"]\n[[mapping]]\ngroup = \"/Top\"",
    );
    let home = Home::over(over, &rules);
    let mut builder = SnapshotBuilder::new(false);
    builder.organizations_are(Completeness::Complete);
    builder.organization("o", "viewer").unwrap();
    let top = builder.organization_top("o", "viewer").unwrap();
    builder.organization_group("g", "viewer", &["ML"], top).unwrap();
    keep(&home, builder.finish());
    for name in ["viewer", "ML", "/ML", "viewer:/ML", "viewer:/"] {
        let who = format!("new-{}", name.len());
        super::claims::claim(&home, &super::claims::bearer(&who, &[name]));
        let roles = home.roles().remove(&who).unwrap_or_default();
        assert!(!roles.contains("merged"), "{name}: {roles:?}");
    }
}

/// The store as a program would have written it that read no organizations.
fn without_organizations(home: &Home) {
    let conn = rusqlite::Connection::open(home.file("store.db")).unwrap();
    let digest = format!("1:{}", "0".repeat(64));
    conn.execute_batch("DELETE FROM mirror_container WHERE kind IN (5, 6)").unwrap();
    let written = "UPDATE source SET proven = 7, digest = ?1 WHERE name = 'realm' AND proven = 15";
    assert_eq!(conn.execute(written, [digest]).unwrap(), 1);
}

#[test]
fn a_store_from_before_organizations_were_read_neither_takes_anything_nor_says_that_there_are_none()
{
    let mut home = Home::new(RULES);
    home.write("realm.json", &company());
    home.sync();
    let before = home.roles();
    without_organizations(&home);
    // The source is away, and the rules are planned anew, since one has changed.
    std::fs::remove_file(home.file("realm.json")).unwrap();
    let file = home.file("idpsyncd.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[roles.member]", "[roles.member]\ndescription = \"new\""))
        .unwrap();
    home.config = config::load(&file, &crate::source::kinds()).unwrap();
    let outcome = home.sync();
    assert!(outcome.incomplete() && outcome.plan.is_some());
    assert_eq!(home.roles(), before);
    assert!(!home.reader().meta().unwrap().all_read);
    let told = outcome.warnings();
    assert!(!told.iter().any(|it| it.contains("matches nothing")), "{told:?}");
    // It is back: what it says counts.
    home.write("realm.json", &company());
    home.sync();
    assert_eq!(home.roles(), before);
    assert!(home.reader().meta().unwrap().all_read);
    let members: &[(&str, &[&str])] = &[("bob", &[]), ("cy", &[]), ("dee", &[])];
    let people = ["ann", "bob", "cy", "dee", "eve"];
    home.write("realm.json", &realm(&people, &[organization("acme", "MANAGED", ENG, members)]));
    home.sync();
    assert_eq!(holders(&home, "member"), ["bob", "cy", "dee"]);
    assert_eq!(holders(&home, "engineer"), Vec::<String>::new());
}
