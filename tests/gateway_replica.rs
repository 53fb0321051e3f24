//! The gateway's replica says what the store's views say, however it came to its generation.

#![cfg(test)]

#[expect(dead_code, reason = "the tests of the store need more of it")]
mod store_support;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use idpsyncd::config::AllowedConfig;
use idpsyncd::gateway::question::TokenDigest;
use idpsyncd::gateway::replica::{Found, Replica, Ruling, Wanted};
use idpsyncd::model::caller::KnownBy;
use idpsyncd::model::{Status, Time};
use idpsyncd::policy::{Effect, Verdict, decide};
use idpsyncd::routes::{ActionIdx, On, Question};
use idpsyncd::store::StoreErrorKind;
use rusqlite::{Connection, OptionalExtension};
use store_support::door::{Reader, Writer};
use tempfile::TempDir;

use store_support::{Person, World, at, commit, next_world, plan, policy, request, role};

const ACTIONS: [&str; 3] = ["workflow:Create", "pool:List", "config:Read"];
const ON: [On<'_>; 5] = [
    On::Nothing,
    On::Resource("pool/ml-1"),
    On::Resource("pool/x"),
    On::SomeOf("pool"),
    On::SomeOf("config"),
];

fn wanted() -> Arc<Wanted> {
    let allowed = |header: &str, action: &str| AllowedConfig {
        header: header.to_owned(),
        action: action.parse().unwrap(),
        scope: "pool".to_owned(),
        routes: vec!["pool:List".parse().unwrap()],
    };
    Arc::new(Wanted {
        actions: ACTIONS.iter().map(|text| text.parse().unwrap()).collect(),
        allowed: vec![
            allowed("x-osmo-allowed-pools", "workflow:Create"),
            allowed("x-other", "pool:List"),
        ],
        anonymous_role: Some("a".to_owned()),
        sources: vec!["corp".to_owned()],
        tokens: true,
        subjects: Vec::new(),
    })
}

fn store() -> (TempDir, PathBuf, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let writer = Writer::open(&path).unwrap();
    (folder, path, writer)
}

fn load(path: &Path) -> Replica {
    Replica::load(&*Reader::open(path).unwrap().unwrap(), wanted()).unwrap()
}

fn caught_up(replica: &Replica, path: &Path) -> Option<Replica> {
    replica.caught_up(&*Reader::open(path).unwrap().unwrap()).unwrap()
}

/// All that a gateway could learn about `names`, in words that mean the same in every replica.
fn answers(replica: &Replica, names: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    let of = |set| {
        let mut answers = vec![replica.roles_header(set).to_owned()];
        for place in 0..replica.wanted().allowed.len() {
            answers.push(replica.allowed_header(set, None, place).into_owned());
        }
        for action in (0..3).map(ActionIdx::new) {
            for on in ON {
                let decided = replica.decide(set, None, &Question { action, on });
                answers.push(format!("{action} {on:?} {decided:?}"));
            }
        }
        answers
    };
    let mut all: BTreeMap<String, Vec<String>> = names
        .iter()
        .map(|name| {
            let answer = match replica.user(name) {
                Found::Unknown => vec!["unknown".to_owned()],
                Found::Disabled(why) => vec![why.to_owned()],
                Found::Enabled(set) => of(set),
            };
            (name.clone(), answer)
        })
        .collect();
    all.insert("(anonymous)".to_owned(), replica.anonymous().map(of).unwrap_or_default());
    let (generation, at) = (replica.generation(), replica.applied_at());
    all.insert("(all)".to_owned(), vec![format!("{generation} {at:?} {}", replica.users())]);
    all
}

/// Holds the replica against the views of its store, and against the policies themselves.
fn agrees_with_the_views(replica: &Replica, path: &Path, world: &World) {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn.prepare("SELECT username, enabled FROM gateway_user").unwrap();
    let rows: Vec<(String, bool)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(replica.users(), rows.len());
    agrees_with_the_links(replica, &conn, world);
    for (name, enabled) in rows {
        let set = match replica.user(&name) {
            Found::Enabled(set) if enabled => set,
            Found::Disabled(why) if !enabled && !why.is_empty() => continue,
            other => panic!("{name}, enabled {enabled}, is {other:?}"),
        };
        let roles: Vec<String> = conn
            .prepare("SELECT role FROM gateway_user_role WHERE username = ?1 ORDER BY role")
            .unwrap()
            .query_map([&name], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(replica.roles_header(set), roles.join(","));
        let held = || roles.iter().map(|role| (role.as_str(), &*world.roles[role].policies));
        for (action, text) in (0u32..).map(ActionIdx::new).zip(ACTIONS) {
            let action_of = text.parse().unwrap();
            for on in ON {
                let resource = match on {
                    On::Nothing => None,
                    On::Resource(text) => Some(text.parse().unwrap()),
                    On::SomeOf(_) => continue,
                };
                let expected = match decide(held(), &action_of, resource.as_ref(), None) {
                    Verdict::Decided(Effect::Allow, role, policy) => Ruling::Allow { role, policy },
                    Verdict::Decided(Effect::Deny, role, policy) => Ruling::Deny { role, policy },
                    Verdict::NoPolicy => Ruling::NoPolicy,
                };
                assert_eq!(replica.decide(set, None, &Question { action, on }), expected);
            }
        }
        for (place, list) in replica.wanted().allowed.iter().enumerate() {
            let ids: BTreeSet<&str> = world
                .catalog
                .iter()
                .filter_map(|(_, resource)| resource.as_ref())
                .filter(|resource| decide(held(), &list.action, Some(resource), None).is_allow())
                .filter_map(|resource| resource.as_str().strip_prefix("pool/"))
                .filter(|id| !id.contains(','))
                .collect();
            let ids: Vec<&str> = ids.into_iter().collect();
            assert_eq!(replica.allowed_header(set, None, place), ids.join(","));
        }
    }
}

/// Whoever has an id is that person, by the view, and under the name that the person has now.
fn agrees_with_the_links(replica: &Replica, conn: &Connection, world: &World) {
    let mut owners: BTreeMap<&(String, String), Vec<&Status>> = BTreeMap::new();
    for person in world.people.values() {
        for link in person.links.iter().filter(|(source, _)| source == "corp") {
            owners.entry(link).or_default().push(&person.status);
        }
    }
    for ((source, ext), owners) in owners {
        if owners.len() > 1 {
            continue;
        }
        let sql = "SELECT l.username, u.enabled FROM gateway_user_link l \
                   JOIN gateway_user u ON u.username = l.username \
                   WHERE l.source = ?1 AND l.external_id = ?2";
        let row: Option<(String, bool)> = conn
            .query_row(sql, [source, ext], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .unwrap();
        let known_by = KnownBy::Id { source: source.clone(), ext: ext.clone() };
        let (found, name) = replica.caller(&known_by);
        match row {
            Some((username, enabled)) => {
                assert_eq!(name, username);
                let expected = replica.user(&username);
                assert!(matches!(expected, Found::Enabled(_)) == enabled);
                assert_eq!(found, expected, "{ext}");
            }
            None => {
                assert!(matches!(owners[0], Status::Deprovisioned { .. }), "{ext}");
                assert!(matches!(found, Found::Disabled(_)), "{ext} is {found:?}");
            }
        }
        let other = KnownBy::Id { source: "other".to_owned(), ext: ext.clone() };
        assert_eq!(replica.caller(&other), (Found::Unknown, ""));
    }
}

/// Each token is its owner's, by the name that the owner has now, with the roles that it decides with;
/// one of the past is nobody's.
fn agrees_with_the_tokens(replica: &Replica, digests: &BTreeSet<[u8; 32]>, world: &World) {
    for digest in digests {
        let found = replica.token(&TokenDigest(*digest));
        let of = world.tokens.iter().find(|(_, pass)| pass.digest == *digest);
        let Some(((user, name), pass)) = of else {
            assert_eq!(found, None);
            continue;
        };
        let (bearer, person) = (found.unwrap(), &world.people[user]);
        assert_eq!((bearer.owner, bearer.name), (person.username.as_str(), name.as_str()));
        assert_eq!(bearer.until, pass.expires_at.timestamp());
        match (bearer.found, replica.user(&person.username)) {
            (Found::Enabled(set), Found::Enabled(_)) => {
                let roles: Vec<String> = world.decides(*user, pass).into_iter().collect();
                assert_eq!(replica.roles_header(set), roles.join(","), "{name}");
            }
            (Found::Disabled(_), Found::Disabled(_)) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// People whose names are taken over, who are renamed, and no two of one name.
fn shuffle_names(world: &mut World, random: &mut fastrand::Rng) {
    let names: Vec<String> = world.people.values().map(|person| person.username.clone()).collect();
    for person in world.people.values_mut() {
        if random.u8(0..6) == 0 {
            person.username = format!("new-{}", random.u16(..));
        } else if random.u8(0..6) == 0 {
            person.username.clone_from(&names[random.usize(0..names.len())]);
        }
    }
    let mut taken = BTreeSet::new();
    for (id, person) in &mut world.people {
        let live = !matches!(person.status, Status::Deprovisioned { .. });
        if live && !taken.insert(person.username.clone()) {
            person.username = format!("own-{id}-{}", random.u32(..));
            taken.insert(person.username.clone());
        }
    }
}

#[test]
fn a_snapshot_that_caught_up_answers_as_one_that_was_loaded() {
    let (mut loads, mut steps) = (0, 0);
    for seed in 0..25 {
        let (_folder, path, mut writer) = store();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::default();
        let mut replica = load(&path);
        assert_eq!((replica.generation(), replica.users()), (0, 0));
        let mut names = BTreeSet::from(["nobody".to_owned()]);
        let mut digests = BTreeSet::from([[7; 32]]);
        for round in 0..12 {
            let mut applied = false;
            for turn in 0..random.i64(1..4) {
                let moment = at(round * 10 + turn);
                let mut next = next_world(&world, &mut random, moment);
                shuffle_names(&mut next, &mut random);
                if round % 2 == 0 {
                    // No role that everyone holds comes or goes: what changes is told.
                    next.roles.values_mut().for_each(|role| role.everyone = false);
                }
                applied |= commit(&mut writer, &plan(&world, &next, moment)).generation.is_some();
                world = next;
                names.extend(world.people.values().map(|person| person.username.clone()));
            }
            let fresh = load(&path);
            match caught_up(&replica, &path) {
                Some(next) => replica = next,
                None => assert!(!applied),
            }
            assert_eq!(answers(&replica, &names), answers(&fresh, &names), "{seed} {round}");
            agrees_with_the_views(&replica, &path, &world);
            digests.extend(world.tokens.values().map(|pass| pass.digest));
            agrees_with_the_tokens(&replica, &digests, &world);
            assert!(caught_up(&replica, &path).is_none());
            steps += 1;
            loads += usize::from(replica.recent() == 0);
        }
    }
    assert!(loads > 20 && loads < steps * 2 / 3, "{loads} of {steps} were loads: both are meant");
}

/// Two roles, three people.
fn small() -> World {
    let mut world = World { sources: vec!["corp".to_owned()], ..World::default() };
    let allow = |resource: &str| vec![policy(Effect::Allow, &["workflow:*"], Some(&[resource]))];
    for (name, resource) in [("a", "pool/ml-*"), ("b", "pool/x")] {
        world.roles.insert(name.to_owned(), role(name, allow(resource)));
    }
    for (id, name) in (0..).zip(["ann", "ben", "cy"]) {
        world.people.insert(id, Person::new(name));
    }
    world.catalog = vec![
        request("workflow:Create", Some("pool/ml-2")),
        request("workflow:Create", Some("pool/ml-1")),
        request("workflow:Read", Some("pool/x")),
        request("workflow:Read", Some("pool/ml-a,b")),
        request("workflow:Read", Some("config/x")),
    ];
    grant(&mut world, 0, "a");
    world
}

fn grant(world: &mut World, user: u32, role: &str) {
    world.idp.insert((user, role.to_owned()), BTreeSet::from([store_support::reason("/g")]));
}

fn step(writer: &mut Writer, world: &mut World, moment: Time, change: impl FnOnce(&mut World)) {
    let mut next = world.clone();
    change(&mut next);
    assert!(commit(writer, &plan(world, &next, moment)).generation.is_some());
    *world = next;
}

fn roles_of<'a>(replica: &'a Replica, name: &str) -> Option<&'a str> {
    match replica.user(name) {
        Found::Enabled(set) => Some(replica.roles_header(set)),
        Found::Disabled(_) | Found::Unknown => None,
    }
}

#[test]
fn headers_name_the_roles_and_the_catalogs_resources_that_are_allowed() {
    let (_folder, path, mut writer) = store();
    let mut world = World::default();
    step(&mut writer, &mut world, at(0), |world| *world = small());
    step(&mut writer, &mut world, at(1), |world| grant(world, 0, "b"));
    let replica = load(&path);
    let set = |name| match replica.user(name) {
        Found::Enabled(set) => set,
        other => panic!("{other:?}"),
    };
    assert_eq!(replica.roles_header(set("ann")), "a,b");
    // Sorted, each once, whatever the catalog's actions; an id with a comma would read as two.
    assert_eq!(replica.allowed_header(set("ann"), None, 0), "ml-1,ml-2,x");
    assert_eq!(replica.allowed_header(set("ann"), None, 1), "", "no role lists pools");
    assert_eq!(replica.allowed_header(set("ann"), None, 2), "", "out of range");
    assert_eq!(replica.roles_header(set("ben")), "");
    assert_eq!(replica.allowed_header(set("ben"), None, 0), "");
    let anonymous = replica.anonymous().unwrap();
    assert_eq!(replica.roles_header(anonymous), "a");
    assert_eq!(replica.allowed_header(anonymous, None, 0), "ml-1,ml-2");
    step(&mut writer, &mut world, at(2), |world| {
        world.idp.clear();
        world.roles.remove("a");
    });
    assert!(caught_up(&replica, &path).unwrap().anonymous().is_none(), "no such role any more");
}

#[test]
fn someone_missing_counts_until_deprovisioned_and_a_name_can_pass_to_another() {
    let (_folder, path, mut writer) = store();
    let mut world = World::default();
    step(&mut writer, &mut world, at(0), |world| *world = small());
    let mut replica = load(&path);
    let mut check = |world: &World| {
        replica = caught_up(&replica, &path).unwrap();
        assert!(replica.recent() > 0, "nobody else was read again");
        agrees_with_the_views(&replica, &path, world);
        match replica.user("ann") {
            Found::Unknown => "unknown".to_owned(),
            Found::Disabled(why) => why.to_owned(),
            Found::Enabled(set) => format!("roles {}", replica.roles_header(set)),
        }
    };
    let mut now = |writer: &mut Writer, world: &mut World, moment, status: Option<Status>| {
        step(writer, world, at(moment), |world| match status {
            Some(status) => world.people.get_mut(&0).unwrap().status = status,
            None => drop(world.people.insert(7, Person::new("ann"))),
        });
        check(world)
    };
    let missing =
        |by: Option<&str>| Status::Missing { since: at(1), disabled_by: by.map(str::to_owned) };
    let (writer, world) = (&mut writer, &mut world);
    assert_eq!(now(writer, world, 1, Some(missing(None))), "roles a");
    let disabled = "`corp` says that the account is disabled";
    let by_corp = Status::Disabled { by: "corp".to_owned() };
    assert_eq!(now(writer, world, 2, Some(by_corp)), disabled);
    assert_eq!(now(writer, world, 3, Some(missing(Some("corp")))), disabled);
    let gone = now(writer, world, 4, Some(Status::Deprovisioned { since: at(4) }));
    assert!(gone.starts_with("the account is gone"), "{gone}");
    assert_eq!(now(writer, world, 5, None), "roles ", "another person has the name");
}

#[test]
fn a_renamed_person_leaves_the_old_name_and_names_can_be_swapped() {
    let (_folder, path, mut writer) = store();
    let mut world = World::default();
    step(&mut writer, &mut world, at(0), |world| *world = small());
    let old = load(&path);
    let rename = |world: &mut World, id, name: &str| {
        world.people.get_mut(&id).unwrap().username = name.to_owned();
    };
    step(&mut writer, &mut world, at(1), |world| {
        rename(world, 0, "ben");
        rename(world, 1, "anna");
    });
    let new = caught_up(&old, &path).unwrap();
    assert_eq!(new.recent(), 3);
    assert_eq!(roles_of(&new, "ann"), None);
    assert_eq!(new.user("ann"), Found::Unknown);
    assert_eq!((roles_of(&new, "ben"), roles_of(&new, "anna")), (Some("a"), Some("")));
    assert_eq!(new.users(), 3);
    assert_eq!(roles_of(&old, "ann"), Some("a"), "the old one never changes");
}

#[test]
fn a_role_that_everyone_comes_to_hold_is_seen_though_no_history_names_anybody() {
    let (_folder, path, mut writer) = store();
    let mut world = World::default();
    step(&mut writer, &mut world, at(0), |world| *world = small());
    let old = load(&path);
    step(&mut writer, &mut world, at(1), |world| {
        world.roles.get_mut("b").unwrap().everyone = true;
    });
    let new = caught_up(&old, &path).unwrap();
    assert_eq!((roles_of(&new, "ann"), roles_of(&new, "ben")), (Some("a,b"), Some("b")));
}

#[test]
fn a_number_of_a_role_set_that_is_used_again_means_the_new_set() {
    let (_folder, path, mut writer) = store();
    let mut world = World::default();
    step(&mut writer, &mut world, at(0), |world| {
        *world = small();
        world.idp.clear();
        grant(world, 2, "a");
    });
    let old = load(&path);
    assert_eq!(roles_of(&old, "cy"), Some("a"));
    // The set {a} goes with its only holder, and {b} gets its number.
    step(&mut writer, &mut world, at(1), |world| world.idp.clear());
    let between = caught_up(&old, &path).unwrap();
    step(&mut writer, &mut world, at(2), |world| grant(world, 1, "b"));
    let conn = Connection::open(&path).unwrap();
    let top: i64 = conn.query_row("SELECT max(num) FROM role_set", [], |row| row.get(0)).unwrap();
    assert_eq!(top, 2, "the number is used again");
    for start in [old, between] {
        let new = caught_up(&start, &path).unwrap();
        assert_eq!((roles_of(&new, "cy"), roles_of(&new, "ben")), (Some(""), Some("b")));
    }
}

#[test]
fn changed_policies_reach_those_whom_nothing_else_changes() {
    let (_folder, path, mut writer) = store();
    let mut world = World::default();
    step(&mut writer, &mut world, at(0), |world| *world = small());
    let old = load(&path);
    let question = Question { action: ActionIdx::new(0), on: On::Resource("pool/ml-1") };
    let may = |replica: &Replica| match replica.user("ann") {
        Found::Enabled(set) => replica.decide(set, None, &question).is_allow(),
        other => panic!("{other:?}"),
    };
    assert!(may(&old));
    step(&mut writer, &mut world, at(1), |world| {
        let deny = policy(Effect::Deny, &["*:Create"], Some(&["pool/*"]));
        world.roles.get_mut("a").unwrap().policies.push(deny);
    });
    let new = caught_up(&old, &path).unwrap();
    assert!(!may(&new));
    step(&mut writer, &mut world, at(2), |world| world.catalog.truncate(1));
    let newer = caught_up(&new, &path).unwrap();
    step(&mut writer, &mut world, at(3), |world| {
        world.roles.get_mut("a").unwrap().policies.pop();
    });
    let newest = caught_up(&newer, &path).unwrap();
    assert!(may(&newest));
    let set = newest.anonymous().unwrap();
    assert_eq!(newest.allowed_header(set, None, 0), "ml-2", "the catalog is the new one");
}

#[test]
fn a_store_with_another_past_is_read_anew() {
    let (folder, path, mut writer) = store();
    let mut world = World::default();
    step(&mut writer, &mut world, at(0), |world| *world = small());
    let backup = folder.path().join("backup.db");
    std::fs::copy(&path, &backup).unwrap();
    let mut other_world = world.clone();
    step(&mut writer, &mut world, at(1), |world| grant(world, 1, "b"));
    let replica = load(&path);
    let mut other = Writer::open(&backup).unwrap();
    let behind = caught_up(&replica, &backup).unwrap();
    assert_eq!((behind.generation(), roles_of(&behind, "ben")), (1, Some("")), "it went back");
    step(&mut other, &mut other_world, at(2), |world| grant(world, 2, "b"));
    let beside = caught_up(&replica, &backup).unwrap();
    assert_eq!(beside.generation(), 2);
    assert_eq!((roles_of(&beside, "ben"), roles_of(&beside, "cy")), (Some(""), Some("b")));
    step(&mut other, &mut other_world, at(3), |world| grant(world, 2, "a"));
    let past = caught_up(&replica, &backup).unwrap();
    assert_eq!((roles_of(&past, "ben"), roles_of(&past, "cy")), (Some(""), Some("a,b")));
}

#[test]
fn many_changes_at_once_are_read_anew_and_few_are_not() {
    let (_folder, path, mut writer) = store();
    let mut world = World::default();
    step(&mut writer, &mut world, at(0), |world| *world = small());
    let old = load(&path);
    step(&mut writer, &mut world, at(1), |world| {
        for id in 10..4_010 {
            world.people.insert(id, Person::new(&format!("u{id}")));
        }
    });
    let few = caught_up(&old, &path).unwrap();
    assert_eq!((few.users(), few.recent()), (4_003, 4_000));
    step(&mut writer, &mut world, at(2), |world| {
        for id in 5_000..5_200 {
            world.people.insert(id, Person::new(&format!("u{id}")));
        }
    });
    let many = caught_up(&few, &path).unwrap();
    assert_eq!((many.users(), many.recent()), (4_203, 0), "what is kept apart stays small");
}

#[test]
fn a_store_that_contradicts_itself_is_refused() {
    for harm in [
        "UPDATE role SET live = 0 WHERE name = 'a'",
        "UPDATE user SET role_set = 77 WHERE id = 1",
        "UPDATE user SET status = 9 WHERE id = 1",
        "DELETE FROM role_set",
    ] {
        let (_folder, path, mut writer) = store();
        let mut world = World::default();
        step(&mut writer, &mut world, at(0), |world| *world = small());
        let old = load(&path);
        // A set of roles that nobody had: one that is known is not read again.
        step(&mut writer, &mut world, at(1), |world| {
            grant(world, 1, "a");
            grant(world, 1, "b");
        });
        Connection::open(&path).unwrap().execute(harm, []).unwrap();
        let reader = Reader::open(&path).unwrap().unwrap();
        let errors = [Replica::load(&*reader, wanted()).err(), old.caught_up(&*reader).err()];
        for error in errors {
            let error = error.unwrap_or_else(|| panic!("nothing was found wrong after {harm}"));
            assert_eq!(error.kind, StoreErrorKind::Damaged, "{error}");
        }
    }
}
