//! The guard's window: what trickles in one by one is caught like what comes at once.

use idpsyncd::plan::Taken;

use super::*;

/// Runs, and counts what the run took away for those that follow, as a store does.
fn counted(world: &mut World) -> Plan {
    let plan = world.run();
    world.recent.lost_pairs += plan.taken.lost_pairs;
    world.recent.disabled += plan.taken.disabled;
    plan
}

fn taken(lost_pairs: u64, disabled: u64) -> Taken {
    Taken { lost_pairs, disabled }
}

#[test]
fn who_leaves_one_by_one_is_held_from_where_all_at_once_would_be() {
    let mut people = crowd(30, &["/g"]);
    let mut world = World::with(STRICT, &people);
    counted(&mut world);
    for place in 0..3 {
        people[place].groups.clear();
        world.says("kc", &people);
        let plan = counted(&mut world);
        assert!(plan.held.is_none(), "three of thirty are a tenth");
        assert_eq!(plan.taken, taken(1, 0));
    }
    people[3].groups.clear();
    world.says("kc", &people);
    let plan = counted(&mut world);
    let held = plan.held.unwrap();
    assert_eq!(
        held.why,
        [
            "1 of 30 effective user-role pairs would be lost because of absence, after 3 in the last \
          3600 s (`window`): more than max_lost_percent = 10 and max_lost_floor = 2"
        ]
    );
    assert_eq!((held.lost_pairs, plan.taken), (1, taken(0, 0)), "those before stay applied");
    // What comes is not held, and what the IdP disables outright is not either.
    people[4].enabled = false;
    people.push(person("new", "newcomer", &["/g"]));
    world.says("kc", &people);
    let plan = counted(&mut world);
    assert_eq!(plan.held.unwrap().id, held.id);
    assert_eq!(plan.taken, taken(0, 1));
    let enabled = Effective::of(&world.state, world.now).unwrap().pairs();
    assert_eq!(enabled, 30 - 3 - 1 + 1);
}

#[test]
fn disables_one_by_one_are_held_likewise() {
    let mut people = crowd(30, &["/g"]);
    let mut world = World::with(STRICT, &people);
    counted(&mut world);
    for place in 0..4 {
        people[place].enabled = false;
        world.says("kc", &people);
        let plan = counted(&mut world);
        assert_eq!(plan.held.is_some(), place == 3, "{place}");
        if let Some(held) = plan.held {
            let why = "1 of 30 enabled users would be disabled at once, after 3 in the last 3600 s";
            assert!(held.why[0].starts_with(why), "{:?}", held.why);
        }
    }
}

#[test]
fn what_went_before_holds_nothing_where_nothing_goes_now() {
    let mut people = crowd(20, &["/g"]);
    let mut world = World::with(STRICT, &people);
    counted(&mut world);
    world.recent = taken(15, 15);
    people.push(person("new", "newcomer", &["/g"]));
    world.says("kc", &people);
    assert!(counted(&mut world).held.is_none());
}

#[test]
fn what_was_held_and_is_approved_is_not_counted() {
    let mut people = crowd(20, &["/g"]);
    let mut world = World::with(STRICT, &people);
    counted(&mut world);
    people[..5].iter_mut().for_each(|person| person.groups.clear());
    world.says("kc", &people);
    let held = counted(&mut world).held.unwrap();
    assert_eq!(world.recent, taken(0, 0));
    let facts = world.facts["kc"].directory();
    let local = local::nobody();
    let views =
        [View { source: "kc", directory: &facts }, View { source: local::NAME, directory: &local }];
    let resolved = resolve(&world.config.settings(), &views, &world.state, world.now).unwrap();
    let plan = plan::approve(resolved, &world.state, &held, world.now).unwrap();
    assert_eq!((plan.summary.pairs_lost, plan.taken), (5, taken(0, 0)));
}

#[test]
fn limits_are_shares_of_everybody_not_of_those_who_are_planned_for() {
    let few = crowd(4, &["/g"]);
    let mut world = World::with(STRICT, &few);
    world.run();
    world.says(
        "kc",
        &crowd(1, &["/g"]).into_iter().chain(crowd(4, &[]).split_off(1)).collect::<Vec<_>>(),
    );
    assert!(world.plan().held.is_some(), "three of four");
    for (pairs, held) in [(0, true), (26, false), (25, true)] {
        world.others = plan::Others { pairs, enabled: pairs, ..plan::Others::default() };
        let plan = world.plan();
        // Of 30 three are a tenth.
        assert_eq!(plan.held.is_some(), held, "{pairs}");
    }
}
