//! Whatever is asked of a store, every backend tells the same as SQLite: after any of many plans, each
//! committed to both.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::worlds::{World, at, next_world, plan};
use super::{Empty, commit, memory, postgres, sqlite};
use crate::store::{AccessFilter, HistoryFilter, Reader, SetKey, Store};

/// What role sets stand for, so that a key of one backend can be held against another's.
type Sets = BTreeMap<SetKey, String>;

/// Everything that a reader tells, in words, question by question.
#[expect(clippy::too_many_lines, reason = "a table")]
fn told(reader: &dyn Reader, world: &World, generation: u64) -> Vec<String> {
    let mut told = Vec::new();
    let mut tell = |what: &str, words: String| told.push(format!("{what}: {words}"));
    let meta = reader.meta().unwrap();
    tell("meta", format!("{:?}", crate::store::Meta { schema_version: 0, ..meta }));
    tell("state", format!("{:?}", World::of(&reader.state().unwrap())));
    tell("roles", format!("{:?}", reader.roles().unwrap()));
    tell("catalog", format!("{:?}", reader.catalog().unwrap()));
    reader.users(&mut |row| tell("users", format!("{row:?}"))).unwrap();
    reader.tokens(None, &mut |row| tell("tokens", format!("{row:?}"))).unwrap();
    let names: BTreeSet<String> = world.people.values().map(|it| it.username.clone()).collect();
    for name in &names {
        let detail = reader.user(name).unwrap().map(|mut detail| {
            detail.grants.iter_mut().for_each(|grant| grant.reasons.sort());
            tell("set", format!("{:?}", reader.roles_of_set(detail.role_set).unwrap()));
            detail
        });
        tell("user", format!("{detail:?}"));
        tell("effective", format!("{:?}", reader.roles_of(name).unwrap()));
        for (action, resource) in &world.catalog {
            let decided = reader.decision(name, action, resource.as_ref()).unwrap();
            tell("decision", format!("{name} {action} {resource:?} {decided:?}"));
        }
    }
    let sets: Sets = reader
        .seen_sets()
        .unwrap()
        .into_iter()
        .map(|(key, set)| (key, format!("{} {:?}", set.id, set.roles)))
        .collect();
    let sources: Vec<String> = world.sources.clone();
    tell("links", format!("{:?}", reader.count_links(&sources).unwrap()));
    reader
        .seen_users(&sources, &mut |user, links| {
            let mut links: Vec<_> = links.iter().map(|it| format!("{it:?}")).collect();
            links.sort();
            tell(
                "seen",
                format!("{} {:?} {} {links:?}", user.username, user.status, sets[&user.set]),
            );
            Ok(())
        })
        .unwrap();
    reader
        .seen_under(&names, &mut |name, user| {
            let user = user.map(|user| format!("{:?} {}", user.status, sets[&user.set]));
            tell("under", format!("{name} {user:?}"));
        })
        .unwrap();
    let mut tokens = Vec::new();
    reader
        .seen_tokens(&mut |it| {
            let set = &sets[&it.set];
            tokens.push(format!("{:?} {} {} {} {set}", it.digest, it.owner, it.name, it.until));
            Ok(())
        })
        .unwrap();
    tokens.sort();
    tell("seen tokens", format!("{tokens:?}"));
    reader
        .holders(&mut |name, set| {
            tell("holder", format!("{name} {}", sets[&set]));
            ControlFlow::Continue(())
        })
        .unwrap();
    for row in reader.history(&HistoryFilter::default()).unwrap() {
        let it = row.change;
        let words = (it.change, it.user, it.user_id, it.role, it.token, it.origin, it.cause);
        tell("history", format!("{} {} {words:?}", row.generation, row.at));
    }
    for then in 1..=generation {
        let filter = AccessFilter::default();
        let mut rows = Vec::new();
        reader
            .access(then, &filter, &mut |access| {
                rows.push(format!("{access:?}"));
                ControlFlow::Continue(())
            })
            .unwrap();
        rows.sort();
        tell("access", format!("{then} {rows:#?}"));
        let mut changes = Vec::new();
        reader
            .access_changes((then, generation), &filter, &mut |change| {
                changes.push(format!("{change:?}"));
                ControlFlow::Continue(())
            })
            .unwrap();
        changes.sort();
        tell("changes", format!("{then} {changes:#?}"));
    }
    told
}

fn newest(store: &dyn Store, world: &World) -> Vec<String> {
    let reader = store.reader().unwrap().unwrap();
    let generation = reader.meta().unwrap().generation;
    reader.snapshot(|reader| Ok(told(reader, world, generation))).unwrap()
}

#[test]
fn every_backend_tells_the_same_after_any_plan() {
    for seed in 0..12 {
        let stores: Vec<Empty> = [sqlite(), memory(), postgres()].into_iter().flatten().collect();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut old = World::default();
        stores.iter().for_each(|it| it.store.prepare().unwrap());
        for step in 1..10 {
            let new = next_world(&old, &mut random, at(step));
            let plan = plan(&old, &new, at(step));
            let mut done = stores.iter().map(|it| commit(&*it.store, &plan));
            let one = done.next().unwrap();
            done.for_each(|other| assert_eq!(one, other, "seed {seed}, step {step}"));
            let mut told = stores.iter().map(|it| newest(&*it.store, &new));
            let one = told.next().unwrap();
            for other in told {
                for (one, other) in one.iter().zip(&other) {
                    assert_eq!(one, other, "seed {seed}, step {step}");
                }
                assert_eq!(one.len(), other.len(), "seed {seed}, step {step}");
            }
            old = new;
        }
    }
}
