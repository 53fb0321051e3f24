//! Values of attributes that rules name: what a source was not asked for yet is unknown.

use super::*;

/// A source whose people are `people`, asked for the values `attributes`, each with who has it.
fn asked(people: &[&str], attributes: &[(&str, &[&str])]) -> Directory {
    let mut builder = SnapshotBuilder::new(false);
    for name in people {
        builder
            .user(&NewUser {
                ext: name,
                username: name,
                email: "",
                email_verified: false,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
    }
    for (identity, holders) in attributes {
        let (_, name) = identity.split_once('=').unwrap();
        let (kind, key, norm) = (Kind::Attribute, *identity, *identity);
        let row = NewRef { kind, key, name, identity, norm };
        let value = builder.reference(&row).unwrap();
        for holder in *holders {
            let user = builder.find_user(holder).unwrap();
            builder.member(value, user);
        }
    }
    builder.finish().directory
}

/// Whoever has this value holds `r`.
fn by(name: &str, value: &str, policies: &str) -> Config {
    let rules = format!(
        "[guard]\nmax_lost_floor = 100000\n[roles.r]\nexternal_roles = []\n{policies}[[mapping]]\n\
         attribute = {{ name = \"{name}\", value = \"{value}\" }}\nroles = [\"r\"]\n"
    );
    config_of(&["kc"], &rules)
}

#[test]
fn who_has_a_value_that_nobody_was_asked_for_is_unknown_and_then_known() {
    let deny =
        "[[roles.r.policies]]\neffect = \"Deny\"\nactions = [\"a:*\"]\nresources = [\"*\"]\n";
    for policies in ["", deny] {
        let mut world = World::new(by("dept", "R", policies));
        let run = |world: &mut World, directory: Directory| {
            let plan = world.plan_on(&[("kc".to_owned(), directory)]);
            world.state = stored(&world.state, &plan);
            plan
        };
        let before = || asked(&["ann", "bob"], &[("dept=R", &["ann"])]);
        run(&mut world, before());
        assert_eq!(world.effective(), "ann:r");
        // The rule is another one, and the source speaks by what it said before.
        world.config = by("team", "r", policies);
        let plan = run(&mut world, before());
        assert_eq!(words(&plan), [""; 0]);
        let told: Vec<_> = plan.warnings();
        assert!(told.iter().any(|it| it.contains("role `r`: ")), "{told:?}");
        assert!(!told.iter().any(|it| it.contains("matches nothing")), "{told:?}");
        // Once it was asked it counts, and so does that nobody has the value.
        run(&mut world, asked(&["ann", "bob"], &[("team=r", &["bob"])]));
        assert_eq!(world.effective(), "bob:r");
        let plan = run(&mut world, asked(&["ann", "bob"], &[("team=r", &[])]));
        assert_eq!(world.effective(), "", "{:?}", words(&plan));
    }
}

#[test]
fn a_value_that_gives_nothing_leaves_nothing_unknown() {
    // The role is not the source's to give.
    let mut world = World::new(by("dept", "R", ""));
    let plan = world.plan_on(&[("kc".to_owned(), asked(&["ann"], &[("dept=R", &["ann"])]))]);
    world.state = stored(&world.state, &plan);
    world.config = by("team", "r", "");
    world.config.sources.iter_mut().for_each(|source| source.grants = Some(Vec::new()));
    let plan = world.plan_on(&[("kc".to_owned(), asked(&["ann"], &[("dept=R", &["ann"])]))]);
    assert_eq!(plan.summary.grants_removed, 1, "{:?}", words(&plan));
}
