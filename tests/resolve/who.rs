//! Who somebody is: section 7.

use super::*;

/// Keycloak-like sources, each with keys of its own after its name.
fn sources(list: &[(&str, &str)], rest: &str) -> Config {
    let names: Vec<&str> = list.iter().map(|(name, _)| *name).collect();
    let mut text = String::from("[store]\npath = \"s.db\"\n");
    for name in names {
        let keys = list.iter().find(|(it, _)| *it == name).map_or("", |(_, keys)| keys);
        text.push_str(&format!(
            "[[source]]\nname = \"{name}\"\nkind = \"keycloak\"\nurl = \"https://kc.example.com\"\n\
             realm = \"r\"\nclient_id = \"c\"\nclient_secret = {{ env = \"X\" }}\n{keys}\n"
        ));
    }
    text.push_str(rest);
    config::parse(&text, Path::new("test.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

const R: &str = "[guard]\nmax_lost_floor = 100000\n[sync]\non_missing = { after = \"1h\" }\n\
                 [roles.r]\nexternal_roles = [\"g\"]\n[roles.s]\nexternal_roles = [\"h\"]\n";

fn both(first: &str, second: &str) -> World {
    World::new(sources(&[("kc", first), ("ldap", second)], R))
}

fn names(world: &World) -> Vec<&str> {
    let alive = world
        .state
        .users
        .iter()
        .filter(|user| !matches!(user.status, Status::Deprovisioned { .. }))
        .map(|user| world.state.texts.get(user.username));
    let mut names: Vec<&str> = alive.collect();
    names.sort_unstable();
    names
}

/// The external ids of one person: `kc:1 ldap:x`.
fn known_as(world: &World, name: &str) -> String {
    let user = world.user(name).id;
    let mut links: Vec<String> = world
        .state
        .links
        .iter()
        .filter(|link| link.user == user)
        .map(|link| {
            let source = world.state.sources.get(link.source).unwrap();
            format!("{source}:{}", world.state.texts.get(link.ext))
        })
        .collect();
    links.sort();
    links.join(" ")
}

#[test]
fn a_source_without_lifecycle_gives_roles_to_those_whom_others_list_and_provisions_nobody() {
    // Wherever it stands in the file.
    for turned in [false, true] {
        let mut list = [("kc", ""), ("ldap", "lifecycle = false")];
        if turned {
            list.reverse();
        }
        let mut world = World::new(sources(&list, R));
        world.says("kc", &[person("1", "ann", &[])]);
        world.says("ldap", &[person("x", "ann", &["/g"]), person("y", "zoe", &["/g"])]);
        let plan = world.run();
        assert_eq!((names(&world), world.effective().as_str()), (vec!["ann"], "ann:r"));
        assert!(
            plan.warnings().iter().any(|w| w.contains("ldap: 1 people are known to it alone")),
            "{:?}",
            plan.warnings()
        );
        assert!(world.run().changes.is_empty());
        // What it gave goes when it says so no more.
        world.says("ldap", &[person("x", "ann", &[])]);
        world.run();
        assert_eq!(world.effective(), "");
    }
}

#[test]
fn a_source_without_lifecycle_does_not_say_who_is_enabled_there_or_gone() {
    let mut world = both("", "lifecycle = false");
    let mut off = person("x", "ann", &["/g"]);
    off.enabled = false;
    off.email = "other@example.org".to_owned();
    world.says("kc", &[person("1", "ann", &["/h"]), person("2", "bob", &[])]);
    world.says("ldap", std::slice::from_ref(&off));
    world.run();
    assert_eq!(world.effective(), "ann:r ann:s", "disabled there, and nobody asked");
    assert_eq!(world.state.texts.get(world.user("ann").email), "ann@example.org");
    // Gone from there: nothing but its roles goes.
    world.says("ldap", &[]);
    world.run();
    assert_eq!(world.effective(), "ann:s");
    assert_eq!(world.user("ann").status, Status::Enabled);
    // Gone from the other: missing, though it goes on listing her.
    world.says("ldap", &[person("x", "ann", &["/g"])]);
    world.says("kc", &[person("2", "bob", &[])]);
    world.run();
    assert!(matches!(world.user("ann").status, Status::Missing { .. }));
    world.later(60);
    world.run();
    assert!(matches!(world.user("ann").status, Status::Deprovisioned { .. }));
    // Never read: who is gone is gone all the same.
    let mut world = both("", "lifecycle = false");
    world.says("kc", &[person("1", "ann", &[]), person("2", "bob", &[])]);
    world.says("ldap", &[person("x", "ann", &["/g"])]);
    world.run();
    world.says("kc", &[person("2", "bob", &[])]);
    world.facts.remove("ldap");
    world.run();
    assert!(matches!(world.user("ann").status, Status::Missing { .. }));
}

#[test]
fn a_lifecycle_that_is_taken_from_a_source_ends_what_it_alone_said() {
    let mut world = both("", "");
    let mut off = person("x", "ann", &[]);
    off.enabled = false;
    world.says("kc", &[person("1", "ann", &["/g"])]);
    world.says("ldap", &[off, person("y", "zoe", &["/g"])]);
    world.run();
    assert_eq!(world.effective(), "zoe:r");
    world.config = sources(&[("kc", ""), ("ldap", "lifecycle = false")], R);
    let plan = world.run();
    assert_eq!(world.user("ann").status, Status::Enabled);
    assert!(matches!(world.user("zoe").status, Status::Missing { .. }), "{:?}", words(&plan));
}

#[test]
fn a_rename_to_a_name_that_only_another_source_knows_is_refused_and_stays_refused() {
    for keys in ["lifecycle = false", ""] {
        let mut world = both("", keys);
        world.says("kc", &[person("1", "mallory", &[])]);
        world.says("ldap", &[]);
        world.run();
        // In the same run: mallory calls herself as somebody whom the directory lists.
        world.says("kc", &[person("1", "ceo", &[])]);
        world.says("ldap", &[person("x", "ceo", &["/g"])]);
        for _ in 0..3 {
            let plan = world.run();
            assert!(
                plan.warnings().iter().any(|w| w.contains("`mallory` cannot be renamed to `ceo`")),
                "{keys}: {:?}",
                plan.warnings()
            );
            assert!(!world.effective().contains("mallory"), "{keys}: {}", world.effective());
            assert_eq!(known_as(&world, "mallory"), "kc:1", "{keys}");
        }
    }
}

#[test]
fn a_rename_in_both_sources_is_a_rename() {
    let mut world = both("", "lifecycle = false");
    world.says("kc", &[person("1", "ann", &[])]);
    world.says("ldap", &[person("x", "ann", &["/g"])]);
    world.run();
    world.says("kc", &[person("1", "ann2", &[])]);
    world.says("ldap", &[person("x", "ann2", &["/g"])]);
    world.run();
    assert_eq!(world.effective(), "ann2:r");
}

#[test]
fn a_new_id_under_an_old_name_in_one_source_is_not_who_another_still_lists() {
    for keys in ["", "lifecycle = false"] {
        // The one that is made anew is `kc` here, and then the one that only gives roles.
        let anew = if keys.is_empty() { "kc" } else { "ldap" };
        let mut world = both("", keys);
        world.says("kc", &[person("1", "ann", &["/g"])]);
        world.says("ldap", &[person("x", "ann", &["/h"])]);
        world.run();
        world.grant("ann", "r", None);
        assert_eq!(known_as(&world, "ann"), "kc:1 ldap:x");
        world.says(anew, &[person("9", "ann", &["/g", "/h"])]);
        let plan = world.run();
        assert!(!known_as(&world, "ann").contains('9'), "{}", known_as(&world, "ann"));
        assert!(
            plan.warnings().iter().any(|w| w.contains("`ann` has another id there than before")),
            "{:?}",
            plan.warnings()
        );
        assert_eq!(names(&world), ["ann"]);
        // A source under another name is another source: names link again.
        let list = [("kc", ""), ("ldap", keys)]
            .map(|(name, keys)| (if name == anew { "fresh" } else { name }, keys));
        let facts = world.facts.remove(anew).unwrap();
        world.facts.insert("fresh".to_owned(), facts);
        world.config = sources(&list, R);
        world.run();
        assert!(known_as(&world, "ann").contains("fresh:9"), "{}", known_as(&world, "ann"));
    }
}

#[test]
fn who_has_the_name_of_somebody_gone_is_not_them_unless_their_source_is_not_asked_any_more() {
    let mut world = both("", "");
    world.says("kc", &[person("2", "bob", &[])]);
    world.says("ldap", &[person("x", "ann", &[])]);
    world.run();
    world.grant("ann", "r", None);
    // Ann left the directory an instant ago, and a stranger registers her name.
    world.says("kc", &[person("2", "bob", &[]), person("9", "ann", &[])]);
    world.says("ldap", &[]);
    let plan = world.run();
    assert_eq!(world.effective(), "", "{:?}", words(&plan));
    // The directory under another name: the same people.
    let mut world = both("", "");
    world.says("kc", &[person("2", "bob", &[])]);
    world.says("ldap", &[person("x", "ann", &[])]);
    world.run();
    world.grant("ann", "r", None);
    world.config = sources(&[("kc", ""), ("people", "")], R);
    world.facts.remove("ldap");
    world.says("people", &[person("x", "ann", &[])]);
    world.run();
    assert_eq!(world.effective(), "ann:r");
}

#[test]
fn an_address_links_only_where_both_sources_have_verified_it() {
    for (here, there) in [(true, true), (true, false), (false, true), (false, false)] {
        let text = format!("{R}\n").replace("[sync]", "[sync]\nlink_by = \"email\"");
        let mut world = World::new(sources(&[("kc", ""), ("ldap", "")], &text));
        let one = |ext: &str, name: &str, verified: bool, group: &str| {
            let mut builder = SnapshotBuilder::new(false);
            let user = builder
                .user(&NewUser {
                    ext,
                    username: name,
                    email: "Ann@example.org",
                    email_verified: verified,
                    enabled: Enabled::Yes,
                    federation: "",
                })
                .unwrap();
            let group = builder
                .reference(&NewRef {
                    kind: Kind::Group,
                    key: group,
                    name: group.trim_start_matches('/'),
                    identity: group,
                    norm: group,
                })
                .unwrap();
            builder.member(group, user);
            builder.finish().directory
        };
        let plan = world.plan_on(&[
            ("kc".to_owned(), one("1", "ann", here, "/g")),
            ("ldap".to_owned(), one("x", "asmith", there, "/h")),
        ]);
        world.state = stored(&world.state, &plan);
        let expected = if here && there { "ann:r ann:s" } else { "ann:r asmith:s" };
        assert_eq!(world.effective(), expected, "{here} {there}");
    }
}

#[test]
fn a_verified_address_that_two_newcomers_share_links_neither() {
    let text = R.replace("[sync]", "[sync]\nlink_by = \"email\"");
    let mut world = World::new(sources(&[("kc", ""), ("ldap", "")], &text));
    world.says("kc", &[person("1", "ann", &[])]);
    let mut one = person("x", "one", &["/g"]);
    let mut two = person("y", "two", &["/g"]);
    one.email = "ann@example.org".to_owned();
    two.email = "ann@example.org".to_owned();
    world.says("ldap", &[one, two]);
    world.run();
    assert_eq!(known_as(&world, "ann"), "kc:1");
}

#[test]
fn a_name_links_nobody_whose_source_links_by_address() {
    // Whichever stands first in the file.
    for list in [
        [("kc", "link_by = \"username\""), ("ldap", "link_by = \"email\"")],
        [("ldap", "link_by = \"email\""), ("kc", "link_by = \"username\"")],
    ] {
        let mut world = World::new(sources(&list, R));
        let mut theirs = person("x", "bob", &["/g"]);
        theirs.email = "bob@elsewhere.example".to_owned();
        world.says("kc", &[person("1", "bob", &["/h"])]);
        world.says("ldap", &[theirs]);
        world.run();
        assert!(!known_as(&world, "bob").contains(' '), "{}", known_as(&world, "bob"));
    }
}

/// A world of one LDIF.
fn file() -> World {
    let text = format!(
        "[store]\npath = \"s.db\"\n[[source]]\nname = \"dir\"\nkind = \"file\"\nldif = \"d.ldif\"\n{R}\
         [roles.local]\nexternal_roles = []\n"
    );
    World::new(config::parse(&text, Path::new("t.toml"), &idpsyncd::source::kinds()).unwrap())
}

#[test]
fn ids_that_appear_later_are_those_of_the_same_people() {
    let mut world = file();
    world.says("dir", &[person("ann", "ann", &["/g"]), person("bob", "bob", &["/g"])]);
    world.run();
    world.grant("ann", "local", None);
    let before = world.user("ann").id;
    world.says("dir", &[person("u-1", "ann", &["/g"]), person("u-2", "bob", &["/g"])]);
    let plan = world.run();
    let told: Vec<String> =
        plan.changes.iter().map(|change| view(change, &plan).to_string()).collect();
    assert_eq!(plan.summary.users_created + plan.summary.pairs_lost, 0, "{told:?}");
    assert_eq!(world.user("ann").id, before);
    assert_eq!(world.effective(), "ann:local ann:r bob:r");
    assert_eq!(known_as(&world, "ann"), "dir:u-1", "the id takes the username's place");
    assert!(world.run().changes.is_empty());
    // A rename is one from now on.
    world.says("dir", &[person("u-1", "ann2", &["/g"]), person("u-2", "bob", &["/g"])]);
    world.run();
    assert_eq!(world.effective(), "ann2:local ann2:r bob:r");
}

#[test]
fn an_id_that_appears_later_is_no_way_to_become_somebody_else() {
    // Once an id is known, another one under the name is another person.
    let mut world = file();
    world.says("dir", &[person("ann", "ann", &[])]);
    world.run();
    world.says("dir", &[person("u-1", "ann", &[])]);
    world.run();
    world.grant("ann", "local", None);
    world.says("dir", &[person("u-9", "ann", &[])]);
    world.run();
    assert_eq!(world.effective(), "");
    // Nor does somebody who was known by an id all along give way.
    let mut world = file();
    world.says("dir", &[person("u-1", "ann", &[])]);
    world.run();
    world.grant("ann", "local", None);
    world.says("dir", &[person("u-9", "ann", &[])]);
    world.run();
    assert_eq!(world.effective(), "");
    // Two of the name: nobody can tell who it was.
    let mut world = file();
    world.says("dir", &[person("ann", "ann", &[])]);
    world.run();
    world.grant("ann", "local", None);
    world.says("dir", &[person("u-1", "ann", &[]), person("u-2", "Ann", &[])]);
    world.run();
    assert_ne!(known_as(&world, "ann"), "dir:u-1");
    // A realm always has ids: there a name stands for nothing.
    let mut world = World::new(sources(&[("kc", "")], &format!("{R}[roles.local]\n")));
    world.says("kc", &[person("ann", "ann", &[])]);
    world.run();
    world.grant("ann", "local", None);
    world.says("kc", &[person("u-9", "ann", &[])]);
    world.run();
    assert_eq!(world.effective(), "");
}
