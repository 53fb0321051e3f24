//! Names in doubt, ids that appear and sources that give roles only, through files and the store.

use super::claims::{CLAIMS, bearer, claim};
use super::*;

over_both! {
    what_is_in_doubt_is_told_in_every_run
    a_group_named_in_whole_that_moves_is_told_by_its_new_name_in_the_run_that_sees_it
    somebody_looked_up_gains_nothing_by_a_name_in_doubt_and_is_denied_what_it_denies
    somebody_in_a_group_that_came_after_the_last_read_waits_where_its_name_matters
    somebody_looked_up_is_there_where_a_source_says_so_that_may
    a_claim_that_may_mean_a_group_that_is_denied_something_waits_for_the_next_sync
    ids_that_appear_in_a_file_cost_nobody_anything
    a_rule_value_that_is_a_dn_compares_as_one
}

/// A realm: groups by id and path, and people with their groups.
fn export(groups: &[(&str, &str)], people: &[(&str, bool, &[&str])]) -> Value {
    fn below(groups: &[(&str, &str)], above: &str) -> Vec<Value> {
        let mine = groups.iter().filter(|(_, path)| path.rsplit_once('/').unwrap().0 == above);
        mine.map(|(id, path)| {
            json!({"id": id, "name": path.rsplit('/').next().unwrap(), "path": path,
                   "subGroups": below(groups, path)})
        })
        .collect()
    }
    let users: Vec<Value> = people
        .iter()
        .map(|(name, enabled, groups)| {
            json!({"id": format!("id-{name}"), "username": name, "enabled": enabled,
                   "groups": groups})
        })
        .collect();
    json!({"realm": "r", "roles": {"realm": []}, "groups": below(groups, ""), "users": users})
}

const DOUBT: &str = r#"
[[source]]
name = "realm"
kind = "file"
realm_export = "realm.json"
[roles.team]
external_roles = ["team"]
[roles.intern]
external_roles = ["Interns"]
[[roles.intern.policies]]
effect = "Deny"
actions = ["*:*"]
resources = ["*"]
[roles.whole]
external_roles = []
[[mapping]]
group = "/a/team"
roles = ["whole"]
"#;

const A: &[(&str, &str)] = &[("ga", "/a"), ("gb", "/b"), ("g1", "/a/team"), ("g3", "/a/Interns")];
const BOTH: &[(&str, &str)] = &[
    ("ga", "/a"),
    ("gb", "/b"),
    ("g1", "/a/team"),
    ("g2", "/b/team"),
    ("g3", "/a/Interns"),
    ("g4", "/b/Interns"),
];

fn what_is_in_doubt_is_told_in_every_run(over: Over) {
    let home = Home::over(over, DOUBT);
    home.write("realm.json", &export(BOTH, &[("ann", true, &["/a/team"])]));
    let told = |outcome: &Outcome| {
        outcome.warnings().iter().filter(|it| it.contains("`team` is ambiguous")).count()
    };
    assert_eq!(told(&home.sync()), 1);
    let again = home.sync();
    assert!(again.plan.is_none(), "nothing to plan");
    assert_eq!(told(&again), 1);
    // And where the source cannot be read, through its mirror.
    std::fs::remove_file(home.file("realm.json")).unwrap();
    let failed = home.sync();
    assert!(failed.plan.is_none() && failed.incomplete());
    assert_eq!(told(&failed), 1);
}

fn a_group_named_in_whole_that_moves_is_told_by_its_new_name_in_the_run_that_sees_it(over: Over) {
    let home = Home::over(over, DOUBT);
    home.write("realm.json", &export(A, &[("ann", true, &["/a/team"])]));
    home.sync();
    let moved = [("ga", "/a"), ("gb", "/b"), ("g1", "/b/crew"), ("g3", "/a/Interns")];
    home.write("realm.json", &export(&moved, &[("ann", true, &["/b/crew"])]));
    let warnings = home.sync().warnings();
    assert!(
        warnings.iter().any(|it| it.contains(
            "group `/a/team`, which mapping[1] names in whole, is \
                                             called `/b/crew` now"
        )),
        "{warnings:?}"
    );
}

fn somebody_looked_up_gains_nothing_by_a_name_in_doubt_and_is_denied_what_it_denies(over: Over) {
    let home = Home::over(over, DOUBT);
    home.write("realm.json", &export(BOTH, &[("old", true, &[])]));
    home.sync();
    let people: &[(&str, bool, &[&str])] =
        &[("old", true, &[]), ("ann", true, &["/a/team", "/b/Interns"])];
    home.write("realm.json", &export(BOTH, people));
    provisioned(&home.lookup("ann"));
    assert_eq!(home.roles()["ann"], ["intern", "whole"].map(str::to_owned).into());
    let before = home.roles();
    home.sync();
    assert_eq!(home.roles(), before);
}

fn somebody_in_a_group_that_came_after_the_last_read_waits_where_its_name_matters(over: Over) {
    let later = [("g9", "/b/team"), ("g8", "/b/Interns"), ("g7", "/b/other")];
    for (new, refusal) in [
        (later[0], Some("another group bears its name")),
        (later[1], Some("a role that denies hangs on its name")),
        (later[2], None),
    ] {
        let home = Home::over(over, DOUBT);
        home.write("realm.json", &export(A, &[("old", true, &[])]));
        home.sync();
        let groups = [A, &[new]].concat();
        let within = [new.1, "/a/team"];
        let people: &[(&str, bool, &[&str])] = &[("old", true, &[]), ("ann", true, &within)];
        home.write("realm.json", &export(&groups, people));
        let person = home.lookup("ann");
        match refusal {
            Some(why) => refused(person, why),
            None => {
                provisioned(&person);
                assert!(home.roles()["ann"].contains("team"));
            }
        }
    }
}

const ROLES_ONLY: &str = r#"
[[source]]
name = "roles"
kind = "file"
realm_export = "roles.json"
lifecycle = false
[[source]]
name = "people"
kind = "file"
realm_export = "people.json"
[roles.team]
external_roles = ["team"]
[roles.intern]
external_roles = ["Interns"]
"#;

fn somebody_looked_up_is_there_where_a_source_says_so_that_may(over: Over) {
    let home = Home::over(over, ROLES_ONLY);
    home.write("people.json", &export(A, &[("old", true, &[])]));
    home.write("roles.json", &export(A, &[("old", false, &["/a/Interns"])]));
    home.sync();
    assert_eq!(home.roles()["old"], ["intern"].map(str::to_owned).into());
    home.write("roles.json", &export(A, &[("ann", false, &["/a/team"]), ("zoe", true, &[])]));
    home.write("people.json", &export(A, &[("old", true, &[]), ("ann", true, &[])]));
    assert_eq!(home.lookup("zoe"), ProvisionOutcome::Nobody);
    provisioned(&home.lookup("ann"));
    assert_eq!(home.roles()["ann"], ["team"].map(str::to_owned).into());
}

fn a_claim_that_may_mean_a_group_that_is_denied_something_waits_for_the_next_sync(over: Over) {
    let toml = CLAIMS
        .replace("CLAIM", "groups")
        .replace("[gateway]\n", "[roles.intern]\nexternal_roles = [\"twice\"]\n[[roles.intern.policies]]\neffect = \"Deny\"\nactions = [\"*:*\"]\n[gateway]\n")
        .replace("grants = [", "grants = [\"intern\", ");
    let home = mirrored(over, &toml, |add| {
        add("g3", "twice", "/a/twice");
        add("g4", "twice", "/b/twice");
        add("g5", "again", "/a/again");
        add("g6", "again", "/b/again");
    });
    refused(claim(&home, &bearer("ann", &["twice"])), "a role that denies hangs on one of them");
    provisioned(&claim(&home, &bearer("ann", &["again"])));
}

const LDIF: &str = r#"
[[source]]
name = "dir"
kind = "file"
ldif = "dir.ldif"
users = { base = "ou=people,dc=x" }
groups = { base = "ou=groups,dc=x" }
[roles.team]
external_roles = ["Team"]
[roles.ops]
external_roles = []
[[mapping]]
attribute = { name = "memberOf", value = "CN=Ops Team, OU=Groups,  DC=X" }
roles = ["ops"]
"#;

/// Two people and their group, with ids or without.
fn ldif(ids: bool) -> String {
    let id = |n: u32| {
        let id = format!("entryUUID: 00000000-0000-4000-8000-00000000000{n}\n");
        if ids { id } else { String::new() }
    };
    let person = |n: u32, uid: &str, more: &str| {
        format!(
            "dn: uid={uid},ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: {uid}\n{more}{}\n",
            id(n)
        )
    };
    format!(
        "{}{}dn: cn=Team,ou=groups,dc=x\nobjectClass: groupOfNames\ncn: Team\n\
         member: uid=Ann,ou=people,dc=x\nmember: uid=bob,ou=people,dc=x\n{}",
        person(1, "Ann", "memberOf: cn=ops\\20team,ou=groups,dc=x\n"),
        person(2, "bob", "memberOf: cn=opsteam,ou=groups,dc=x\n"),
        id(9)
    )
}

fn ids_that_appear_in_a_file_cost_nobody_anything(over: Over) {
    let home = Home::over(over, LDIF);
    std::fs::write(home.file("dir.ldif"), ldif(false)).unwrap();
    home.sync();
    let before = home.roles();
    assert_eq!(before["ann"], ["ops", "team"].map(str::to_owned).into());
    std::fs::write(home.file("dir.ldif"), ldif(true)).unwrap();
    let outcome = home.sync();
    let plan = outcome.plan.unwrap();
    assert_eq!((plan.summary.users_created, plan.summary.pairs_lost), (0, 0));
    assert_eq!(home.roles(), before);
    let links = || -> Vec<String> {
        let state = home.reader().state().unwrap();
        let mut links: Vec<String> =
            state.links.iter().map(|link| state.texts.get(link.ext).to_owned()).collect();
        links.sort();
        links
    };
    assert_eq!(
        links(),
        ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"]
    );
    assert!(!home.sync().changes());
}

fn a_rule_value_that_is_a_dn_compares_as_one(over: Over) {
    let home = Home::over(over, LDIF);
    std::fs::write(home.file("dir.ldif"), ldif(true)).unwrap();
    home.sync();
    let roles = home.roles();
    assert!(roles["ann"].contains("ops") && !roles["bob"].contains("ops"), "{roles:?}");
}
