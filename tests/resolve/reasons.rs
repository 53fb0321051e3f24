//! By what somebody held a role, while sources are known in part: things are what their ids say,
//! whatever they are called.

use super::naming::built;
use super::*;

const BY_ID: &str = "[guard]\nmax_lost_floor = 100000\n[roles.r]\nexternal_roles = [\"other\"]\n\
                     [[mapping]]\ngroup_id = \"x\"\nroles = [\"r\"]\n";
const BY_PATH: &str = "[guard]\nmax_lost_floor = 100000\n[roles.r]\nexternal_roles = [\"other\"]\n\
                       [[mapping]]\ngroup = \"/ml\"\nroles = [\"r\"]\n";

type Group<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);
const OTHER: Group<'_> = ("o", "other", "/other", &[]);

fn keycloak(groups: &[Group<'_>]) -> Directory {
    built(false, groups, &["ann", "bob"])
}

/// Nobody has ever read who is in these groups.
fn unread(mut directory: Directory, groups: &[&str]) -> Directory {
    for at in 0..directory.refs.len() {
        let key = directory.text(directory.refs[at].key);
        directory.refs[at].known = !groups.contains(&key);
    }
    directory
}

/// Nobody has ever read which groups there are.
fn groups_in_part(mut directory: Directory) -> Directory {
    directory.proven.groups = false;
    directory
}

/// Ann and bob hold `r` by the group `x`, called `/ml`; then the source holds `after`.
fn then(rest: &str, after: Directory) -> (World, Plan) {
    let mut world = World::new(config_of(&["kc"], rest));
    let plan = world
        .plan_on(&[("kc".to_owned(), keycloak(&[("x", "ml", "/ml", &["ann", "bob"]), OTHER]))]);
    world.state = stored(&world.state, &plan);
    assert_eq!(world.effective(), "ann:r bob:r");
    let plan = world.plan_on(&[("kc".to_owned(), after)]);
    world.state = stored(&world.state, &plan);
    (world, plan)
}

#[test]
fn a_renamed_group_says_who_is_in_it_though_another_group_is_unknown() {
    let renamed = keycloak(&[("x", "ml2", "/ml2", &["bob"]), OTHER]);
    let (world, plan) = then(BY_ID, unread(renamed, &["o"]));
    assert_eq!(world.effective(), "bob:r", "{:?}", words(&plan));
    // Bob's reason is told by the new name, as every rename is.
    let told = "grant-reasons bob r (idp): through group `/ml` (kc, mapping[1]) → through group \
                `/ml2` (kc, mapping[1])";
    assert!(words(&plan).iter().any(|line| line == told), "{:?}", words(&plan));
}

#[test]
fn a_group_that_took_anothers_name_does_not_speak_for_it() {
    // `x` is gone, or was moved where nobody may look; `y` is called as it was.
    let taken = || keycloak(&[("y", "ml", "/ml", &[]), OTHER]);
    let (world, plan) = then(BY_PATH, unread(taken(), &["o"]));
    assert_eq!(world.effective(), "ann:r bob:r", "{:?}", words(&plan));
    let (world, plan) = then(BY_PATH, groups_in_part(taken()));
    assert_eq!(world.effective(), "ann:r bob:r", "{:?}", words(&plan));
    // Once everything is read it is known that nobody is in anything that gives the role.
    let (world, plan) = then(BY_PATH, taken());
    assert_eq!(world.effective(), "", "{:?}", words(&plan));
    // By the name alone nobody gains what only the id gives.
    let (world, plan) = then(BY_ID, keycloak(&[("y", "ml", "/ml", &["ann"]), OTHER]));
    assert_eq!(world.effective(), "", "{:?}", words(&plan));
}

#[test]
fn a_group_that_is_there_under_another_name_is_no_group_that_nobody_saw() {
    let moved = || keycloak(&[("x", "ml", "/eng/ml", &["bob"]), OTHER]);
    let (world, plan) = then(BY_ID, groups_in_part(moved()));
    assert_eq!(world.effective(), "bob:r", "{:?}", words(&plan));
    // One that is not shown may be there under any name.
    let (world, plan) = then(BY_ID, groups_in_part(keycloak(&[OTHER])));
    assert_eq!(world.effective(), "ann:r bob:r", "{:?}", words(&plan));
}

#[test]
fn nobody_loses_by_one_way_what_another_may_still_give_that_nobody_has_read() {
    let mut world = World::new(config_of(&["kc"], BY_ID));
    let before =
        keycloak(&[("x", "ml", "/ml", &["ann", "bob"]), ("o", "other", "/other", &["ann"])]);
    let plan = world.plan_on(&[("kc".to_owned(), before)]);
    world.state = stored(&world.state, &plan);
    // Neither is in `x` any more; who is in the other group nobody knows now.
    let after = unread(keycloak(&[("x", "ml2", "/ml2", &[]), OTHER]), &["o"]);
    let plan = world.plan_on(&[("kc".to_owned(), after)]);
    world.state = stored(&world.state, &plan);
    assert_eq!(world.effective(), "ann:r", "{:?}", words(&plan));
}

#[test]
fn a_group_made_anew_under_its_path_is_told_of_nobody_and_remembered_by_its_new_id() {
    let anew = || keycloak(&[("y", "ml", "/ml", &["ann", "bob"]), OTHER]);
    let (mut world, plan) = then(BY_PATH, anew());
    assert_eq!(words(&plan), Vec::<String>::new());
    let ids = |state: &State| -> Vec<Option<String>> {
        state.reasons.reasons().iter().map(|it| it.target().unwrap().id.clone()).collect()
    };
    assert_eq!(ids(&world.state), [Some("y".to_owned())]);
    assert_eq!(plan.renewed.len(), 1);
    assert_eq!(plan.renewed[0].0.target().unwrap().id.as_deref(), Some("x"));
    // From then on that one is meant.
    let after = unread(keycloak(&[("y", "ml", "/ml", &["bob"]), OTHER]), &["o"]);
    let plan = world.plan_on(&[("kc".to_owned(), after)]);
    world.state = stored(&world.state, &plan);
    assert_eq!(world.effective(), "bob:r", "{:?}", words(&plan));
}

#[test]
fn who_holds_a_role_by_a_group_that_was_moved_keeps_it_when_its_name_comes_into_doubt() {
    // The names that count are not in the DNs here.
    let config = "[guard]\nmax_lost_floor = 100000\n[roles.r]\nexternal_roles = [\"ml\"]\n";
    let mut world = super::naming::ldif(config);
    let directory = |groups: &[Group<'_>]| built(true, groups, &["ann", "bob"]);
    let run = |world: &mut World, directory: Directory| {
        let plan = world.plan_on(&[("dir".to_owned(), directory)]);
        world.state = stored(&world.state, &plan);
    };
    run(&mut world, directory(&[("x", "ml", "ou=1,dc=x", &["ann"])]));
    assert_eq!(world.effective(), "ann:r");
    let moved: Group<'_> = ("x", "ml", "ou=1,ou=eng,dc=x", &["ann", "bob"]);
    run(&mut world, directory(&[moved, ("y", "ml", "ou=2,dc=x", &["bob"])]));
    assert_eq!(world.effective(), "ann:r", "bob gains nothing by a name in doubt");
}

#[test]
fn what_an_older_store_kept_without_ids_is_known_by_its_name_until_a_source_gives_it_again() {
    let mut world = World::new(config_of(&["kc"], BY_PATH));
    let groups = |ml: &'static [&'static str]| keycloak(&[("x", "ml", "/ml", ml), OTHER]);
    let plan = world.plan_on(&[("kc".to_owned(), groups(&["ann", "bob"]))]);
    let whole = stored(&world.state, &plan);
    world.state = without_ids(&whole);
    // Ann left; who is in the other group nobody knows.
    let plan = world.plan_on(&[("kc".to_owned(), unread(groups(&["bob"]), &["o"]))]);
    assert_eq!(
        words(&plan),
        [
            "grant-removed ann r (idp): no source says so any more; it came through group `/ml` (kc, \
         mapping[1])"
        ]
    );
    assert_eq!(
        plan.applied(&world.state).unwrap().reasons.reasons()[..1],
        whole.reasons.reasons()[..]
    );
    // A group of which nobody knows who is in it, and one that is not shown, take nothing.
    for unsure in [unread(groups(&[]), &["x", "o"]), groups_in_part(keycloak(&[OTHER]))] {
        let plan = world.plan_on(&[("kc".to_owned(), unsure)]);
        assert_eq!(words(&plan), Vec::<String>::new());
    }
    // Under another name it may be another group: what is unknown stays so.
    let renamed = keycloak(&[("x", "ml2", "/ml2", &[]), OTHER]);
    for unsure in [unread(renamed.clone(), &["o"]), groups_in_part(renamed)] {
        let plan = world.plan_on(&[("kc".to_owned(), unsure)]);
        assert_eq!(words(&plan), Vec::<String>::new());
    }
}

/// The state as a store before schema 4 would have it.
fn without_ids(state: &State) -> State {
    let mut old = state.clone();
    old.reasons = Default::default();
    for grant in &mut old.grants {
        if let GrantKind::Idp(set) = &mut grant.kind {
            let reasons: Vec<_> = state
                .reasons
                .of_set(*set)
                .unwrap()
                .map(|reason| {
                    let mut reason = reason.clone();
                    reason.path.iter_mut().for_each(|step| step.id = None);
                    old.reasons.reason(reason).unwrap()
                })
                .collect();
            *set = old.reasons.set(&reasons).unwrap();
        }
    }
    old
}
