//! Against plans that know nothing of the program's own planning.

use std::collections::BTreeMap;

use crate::store_support::door::Writer;
use idpsyncd::model::Status;
use idpsyncd::plan::{reason, sorted};
use idpsyncd::store::{AsOf, Began, Untold};
use proptest::prelude::*;

use super::store_support::*;
use super::*;

/// What a world says, given what the one before it said.
fn expected(world: &World, before: &Held, generation: u64) -> Held {
    let mut held = Held::new();
    for id in world.people.keys() {
        for role in world.effective(*id) {
            let key = (*id, role.clone());
            let began = before
                .get(&(UserId::new(*id), role.clone()))
                .map_or(generation, |(began, _)| *began);
            let ways = world
                .idp
                .get(&key)
                .map(|ways| sorted(ways).into_iter().map(reason).collect::<Vec<_>>().join("; "));
            let why = Why {
                everyone: world.roles[&role].everyone,
                idp: ways,
                local: world.local.get(&key).cloned(),
            };
            held.insert((UserId::new(*id), role), (began, why));
        }
    }
    held
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn the_report_as_of_each_generation_is_what_the_views_were(seed in any::<u64>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let mut writer = Writer::open(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::default();
        let mut then: BTreeMap<u64, (BTreeSet<(String, String)>, Held)> = BTreeMap::new();
        let mut last = Held::new();
        for step in 0..8 {
            let next = next_world(&world, &mut random, at(step));
            if let Some(generation) = commit(&mut writer, &plan(&world, &next, at(step))).generation {
                last = expected(&next, &last, generation);
                then.insert(generation, (view(&path), last.clone()));
            }
            world = next;
            if step % 4 != 3 {
                continue;
            }
            let reader = writer.reader().unwrap();
            for (generation, (view, held_then)) in &then {
                let rows = all(&reader, *generation);
                let listed = pairs(&rows);
                let distinct: BTreeSet<_> = listed.iter().cloned().collect();
                prop_assert_eq!(&distinct, view, "generation {}", generation);
                prop_assert_eq!(distinct.into_iter().collect::<Vec<_>>(), listed, "in order, once");
                prop_assert_eq!(&held(&rows), held_then, "generation {}", generation);
            }
        }
        let reader = writer.reader().unwrap();
        for (from, to) in then.keys().zip(then.keys().skip(1)).chain(then.keys().zip(then.keys().rev())) {
            if from <= to {
                differ_as_told(&reader, *from, *to);
            }
        }
    }
}

#[test]
fn a_role_lost_and_regained_begins_anew_and_a_rename_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(&folder.path().join("store.db")).unwrap();
    let mut world = World::default();
    world.role(role("ml", Vec::new())).person(0, "ada").person(1, "ben");
    world.idp(0, "ml", &["/ML"]).idp(1, "ml", &["/ML"]);
    let mut step = 0;
    let mut go = |old: &mut World, change: &dyn Fn(&mut World)| {
        let mut new = old.clone();
        change(&mut new);
        let generation = commit(&mut writer, &plan(old, &new, at(step))).generation.unwrap();
        step += 60;
        *old = new;
        let rows = all(&writer.reader().unwrap(), generation);
        rows.iter().map(|row| format!("{} {}", row.user, began(row))).collect::<Vec<_>>()
    };
    let mut old = World::default();
    assert_eq!(go(&mut old, &|new| *new = world.clone()), ["ada 1", "ben 1"]);
    let rename = |new: &mut World| new.people.get_mut(&0).unwrap().username = "zoe".to_owned();
    assert_eq!(go(&mut old, &rename), ["ben 1", "zoe 1"]);
    // Other reasons, and from an idp grant to a local one without a gap.
    assert_eq!(go(&mut old, &|new| _ = new.idp(0, "ml", &["/Other"])), ["ben 1", "zoe 1"]);
    let by_hand = |new: &mut World| {
        new.idp.remove(&(0, "ml".to_owned()));
        new.local(0, "ml", "on call");
    };
    assert_eq!(go(&mut old, &by_hand), ["ben 1", "zoe 1"]);
    let lose = |new: &mut World| drop(new.local.remove(&(0, "ml".to_owned())));
    assert_eq!(go(&mut old, &lose), ["ben 1"]);
    assert_eq!(go(&mut old, &|new| _ = new.idp(0, "ml", &["/ML"])), ["ben 1", "zoe 6"]);
    // Disabled is not effective.
    let status = |status: Status| {
        move |new: &mut World| new.people.get_mut(&1).unwrap().status = status.clone()
    };
    assert_eq!(go(&mut old, &status(Status::Disabled { by: "corp".into() })), ["zoe 6"]);
    assert_eq!(go(&mut old, &status(Status::Enabled)), ["ben 8", "zoe 6"]);
    // Missing for not too long is.
    let missing = Status::Missing { since: at(9), disabled_by: None };
    assert_eq!(go(&mut old, &status(missing)), ["ben 8", "zoe 6"]);
    assert_eq!(go(&mut old, &status(Status::Enabled)), ["ben 8", "zoe 6"]);
    let everyone = |new: &mut World| new.roles.get_mut("ml").unwrap().everyone = true;
    assert_eq!(go(&mut old, &everyone), ["ben 8", "zoe 6"]);
}

#[test]
fn what_was_before_a_migration_is_unknown_and_not_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut writer = Writer::open(&path).unwrap();
    let mut first = World::default();
    first.role(role("ml", Vec::new())).role(role("ops", Vec::new()));
    first.person(0, "ada").idp(0, "ml", &["/ML"]).idp(0, "ops", &["/Ops"]);
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let mut second = first.clone();
    second.person(1, "ben").idp(1, "ml", &["/ML"]);
    commit(&mut writer, &plan(&first, &second, at(60)));
    drop(writer);
    // What the migration leaves of a store of that age.
    let conn = rusqlite::Connection::open(&path).unwrap();
    let migrated = "UPDATE meta SET held_from = generation; UPDATE user SET made = 0; \
                    UPDATE local_grant SET made = 0; DELETE FROM past_held; DELETE FROM past_set; \
                    DELETE FROM role_past";
    conn.execute_batch(migrated).unwrap();
    drop(conn);
    let mut writer = Writer::open(&path).unwrap();
    let mut third = second.clone();
    third.idp.remove(&(0, "ops".to_owned()));
    third.person(2, "cay").idp(2, "ml", &["/ML"]);
    commit(&mut writer, &plan(&second, &third, at(120)));

    let reader = writer.reader().unwrap();
    let asked = |as_of| reader.generation(as_of, at(500));
    for as_of in [AsOf::Generation(1), AsOf::Time(at(30))] {
        let untold = asked(as_of).unwrap_err();
        assert!(matches!(&untold, Untold::NotKept { asked: 1, from } if from.num == 2), "{untold}");
    }
    assert_eq!(asked(AsOf::Generation(2)).unwrap().num, 2);
    let since = |generation: u64| -> Vec<String> {
        let rows = all(&reader, generation);
        let words = |row: &Access| match row.since {
            Began::In(since) => format!("{} {} {}", row.user, row.role, since.num),
            Began::Before(since) => format!("{} {} before {}", row.user, row.role, since.num),
        };
        rows.iter().map(words).collect()
    };
    assert_eq!(since(2), ["ada ml before 2", "ada ops before 2", "ben ml before 2"]);
    assert_eq!(since(3), ["ada ml before 2", "ben ml before 2", "cay ml 3"]);
}

#[test]
fn a_generation_or_time_that_is_not_there_is_said_and_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(&folder.path().join("store.db")).unwrap();
    let asked = |writer: &Writer, as_of| writer.reader().unwrap().generation(as_of, at(500));
    assert!(matches!(asked(&writer, AsOf::Time(at(0))), Err(Untold::None)));
    let mut first = World::default();
    first.person(0, "ada");
    commit(&mut writer, &plan(&World::default(), &first, at(60)));
    let mut second = first.clone();
    second.person(1, "ben");
    commit(&mut writer, &plan(&first, &second, at(120)));
    let found = |as_of| asked(&writer, as_of).unwrap().num;
    assert_eq!(found(AsOf::Generation(1)), 1);
    for (moment, expected) in [(60, 1), (119, 1), (120, 2), (499, 2), (500, 2)] {
        assert_eq!(found(AsOf::Time(at(moment))), expected, "{moment}");
    }
    for missing in [0, 3, u64::MAX] {
        let untold = asked(&writer, AsOf::Generation(missing)).unwrap_err();
        assert!(matches!(untold, Untold::NotThere { .. }), "{untold}");
    }
    assert!(matches!(asked(&writer, AsOf::Time(at(59))), Err(Untold::Before { .. })));
    assert!(matches!(asked(&writer, AsOf::Time(at(501))), Err(Untold::ToCome(_))));
}
