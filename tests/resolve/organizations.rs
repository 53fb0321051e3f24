//! Organizations of Keycloak and their groups: who is reached, by what, and what is known of them.

use super::*;
use idpsyncd::directory::Interest;
use idpsyncd::model::diagnostic::texts;
use idpsyncd::resolve::renamed_groups;

const WIDE: &str = "[guard]\nmax_lost_floor = 100000\n";

/// An organization: id, alias, members; and its groups: id, names from the top, members. Groups come after
/// those above them.
struct Org<'a> {
    id: &'a str,
    alias: &'a str,
    members: &'a [&'a str],
    groups: &'a [(&'a str, &'a [&'a str], &'a [&'a str])],
}

const PEOPLE: [&str; 4] = ["ann", "bob", "cy", "dee"];

/// Everybody, these organizations, and realm groups by their paths, which are their ids too.
fn builder(organizations: &[Org<'_>], realm: &[(&str, &[&str])]) -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::new(false);
    for name in PEOPLE {
        let user = NewUser {
            ext: name,
            username: name,
            email: "",
            email_verified: false,
            enabled: Enabled::Yes,
            federation: "",
        };
        builder.user(&user).unwrap();
    }
    let fill = |builder: &mut SnapshotBuilder, place, members: &[&str]| {
        for name in members {
            let user = builder.find_user(name).unwrap();
            builder.member(place, user);
        }
    };
    builder.organizations_are(Completeness::Complete);
    for Org { id, alias, members, groups } in organizations {
        let place = builder.organization(id, alias).unwrap();
        fill(&mut builder, place, members);
        let mut above = vec![(Vec::new(), builder.organization_top(id, alias).unwrap())];
        for (id, names, members) in *groups {
            let (_, right_above) =
                above.iter().rev().find(|(it, _)| names.split_last().unwrap().1 == it).unwrap();
            let place = builder.organization_group(id, alias, names, *right_above).unwrap();
            fill(&mut builder, place, members);
            above.push((names.to_vec(), place));
        }
    }
    for (path, members) in realm {
        let name = path.rsplit('/').next().unwrap();
        let row = NewRef { kind: Kind::Group, key: path, name, identity: path, norm: path };
        let place = builder.reference(&row).unwrap();
        fill(&mut builder, place, members);
    }
    builder
}

fn keycloak(organizations: &[Org<'_>], realm: &[(&str, &[&str])]) -> Directory {
    builder(organizations, realm).finish().directory
}

fn run_on(world: &mut World, directory: Directory) -> Plan {
    let plan = world.plan_on(&[("kc".to_owned(), directory)]);
    world.state = stored(&world.state, &plan);
    plan
}

fn mapping(rule: &str) -> String {
    format!("{WIDE}[roles.r]\nexternal_roles = []\n[[mapping]]\n{rule}\nroles = [\"r\"]\n")
}

fn held_by(rest: &str, directory: Directory) -> String {
    let mut world = World::new(config_of(&["kc"], rest));
    run_on(&mut world, directory);
    world.effective()
}

/// `acme` with ann and bob, bob in `/eng/ml`; `ACME` with cy, in a group of the same path; a group whose name
/// holds a slash with ann; and realm groups that are called like everything there, with dee.
fn two_of_a_name() -> Directory {
    keycloak(
        &[
            Org {
                id: "o1",
                alias: "acme",
                members: &["ann", "bob"],
                groups: &[
                    ("g1", &["eng"], &[]),
                    ("g2", &["eng", "ml"], &["bob"]),
                    ("g3", &["ops"], &["ann"]),
                    ("g4", &["a/b"], &["ann"]),
                ],
            },
            Org { id: "o2", alias: "ACME", members: &["cy"], groups: &[("h1", &["eng"], &["cy"])] },
        ],
        &[("/eng", &["dee"]), ("/eng/ml", &["dee"]), ("/acme", &["dee"]), ("/acme:", &["dee"])],
    )
}

#[test]
fn a_rule_reaches_the_organization_or_the_group_that_it_names_and_nothing_that_is_called_alike() {
    for (rule, holders) in [
        (r#"organization = "acme""#, "ann:r bob:r"),
        (r#"organization = "ACME""#, "cy:r"),
        (r#"organization = "Acme""#, ""),
        (r#"organization = "o1""#, ""),
        // Who is in a group is in those above it, and not the other way round.
        (r#"organization_group = "acme:/eng""#, "bob:r"),
        (r#"organization_group = "acme:/eng/ml""#, "bob:r"),
        (r#"organization_group = "acme:/ops""#, "ann:r"),
        (r#"organization_group = "ACME:/eng""#, "cy:r"),
        (r#"organization_group = "acme:/Eng""#, ""),
        (r#"organization_group = "acme:/ml""#, ""),
        (r#"organization_group = "acme:/a/b""#, "ann:r"),
        (r#"organization_group = ["acme", "a/b"]"#, "ann:r"),
        (r#"organization_group = ["acme", "a", "b"]"#, ""),
        (r#"organization_group = ["acme", "eng", "ml"]"#, "bob:r"),
        (r#"organization_group = ["ACME", "eng"]"#, "cy:r"),
        (r#"organization_group = ["acme", "eng/ml"]"#, ""),
        (r#"organization_group = { organization = "acme", id = "g1" }"#, "bob:r"),
        (r#"organization_group = { organization = "acme", id = "G4" }"#, "ann:r"),
        (r#"organization_group = { organization = "ACME", id = "h1" }"#, "cy:r"),
        (r#"organization_group = { organization = "ACME", id = "g1" }"#, ""),
        // What is above all groups is no group, whatever it is known by.
        (r#"organization_group = { organization = "acme", id = "o1" }"#, ""),
        // Realm groups are reached by their own rules, which reach nothing of an organization.
        (r#"group = "/eng""#, "dee:r"),
        (r#"group = ["eng"]"#, "dee:r"),
        (r#"group = "/eng/ml""#, "dee:r"),
        (r#"group_name = "acme""#, "dee:r"),
        (r#"group_name = "ops""#, ""),
        (r#"group_id = "o1""#, ""),
        (r#"group_id = "g2""#, ""),
        (r#"group_regex = '.*'"#, "dee:r"),
        (r#"group_regex = 'acme.*'"#, ""),
        (r#"realm_role = "acme""#, ""),
    ] {
        assert_eq!(held_by(&mapping(rule), two_of_a_name()), holders, "{rule}");
    }
}

#[test]
fn no_name_and_no_template_reaches_an_organization_or_its_groups() {
    for rest in [
        "[roles.r]\nexternal_roles = [\"ops\", \"o1\", \"g3\", \"acme:/ops\"]\n",
        "[roles.ops]\n",
        "[[role_template]]\nname = '(?<x>ops|ACME|a.b)'\n[[role_template.policies]]\n\
         actions = [\"workflow:*\"]\nresources = [\"pool/${x}\"]\n",
        "[[role_template]]\nname = '(?<x>o-.*)'\n[[role_template.policies]]\n\
         actions = [\"workflow:*\"]\nresources = [\"pool/${x}\"]\n[[mapping]]\n\
         group_regex = '(acme:)?/(?<y>ops)'\nroles = [\"o-${y}\"]\n",
    ] {
        assert_eq!(held_by(&format!("{WIDE}{rest}"), two_of_a_name()), "", "{rest}");
    }
}

#[test]
fn a_template_may_make_a_role_that_an_organization_gives() {
    let rest = format!(
        "{WIDE}[[role_template]]\nname = 'osmo-(?<x>.*)'\n[[role_template.policies]]\n\
         actions = [\"workflow:*\"]\nresources = [\"pool/${{x}}\"]\n[[mapping]]\n\
         organization = \"acme\"\nroles = [\"osmo-acme\"]\n"
    );
    assert_eq!(held_by(&rest, two_of_a_name()), "ann:osmo-acme bob:osmo-acme");
}

/// A protected role that a rule gives.
fn protected(rule: &str) -> String {
    format!(
        "{WIDE}protected_roles = {{ r = 0 }}\n[roles.r]\nexternal_roles = [\"acme\", \"eng\"]\n[[mapping]]\n\
         {rule}\nroles = [\"r\"]\n"
    )
}

#[test]
fn a_protected_role_is_reached_by_what_is_named_in_whole() {
    for (rule, holders) in [
        (r#"organization = "acme""#, "ann:r bob:r"),
        (r#"organization_group = "acme:/eng""#, "bob:r"),
        (r#"organization_group = ["acme", "a/b"]"#, "ann:r"),
        (r#"organization_group = { organization = "acme", id = "g4" }"#, "ann:r"),
        // Whoever may name a group could make one that reads like another.
        (r#"organization_group = "acme:/a/b""#, ""),
    ] {
        let mut world = World::new(config_of(&["kc"], &protected(rule)));
        let plan = run_on(&mut world, two_of_a_name());
        assert_eq!(world.effective(), holders, "{rule}");
        let told = plan.warnings().into_iter().find(|it| it.contains("organization group"));
        let remedy = "no path reaches in which a group's name holds a slash: name the group with \
                      `organization_group = [\"alias\", \"…\", \"…\"]`, or by its id";
        assert_eq!(
            told.map(|it| it.contains(remedy)),
            holders.is_empty().then_some(true),
            "{rule}"
        );
    }
}

/// `/x/y` as one name, with ann, and as two, with `second`.
fn twice(second: &[&str]) -> Directory {
    let groups: &[(&str, &[&str], &[&str])] =
        &[("g1", &["x/y"], &["ann"]), ("g2", &["x"], &[]), ("g3", &["x", "y"], second)];
    keycloak(&[Org { id: "o1", alias: "acme", members: &["ann", "bob", "cy"], groups }], &[])
}

#[test]
fn a_path_that_fits_two_groups_of_an_organization_gives_nobody_anything_new_and_takes_nothing() {
    let before = keycloak(
        &[Org {
            id: "o1",
            alias: "acme",
            members: &["ann", "bob", "cy"],
            groups: &[("g1", &["x/y"], &["ann", "cy"])],
        }],
        &[],
    );
    let rule = "organization_group = \"acme:/x/y\"";
    let mut world = World::new(config_of(&["kc"], &mapping(rule)));
    run_on(&mut world, before);
    assert_eq!(world.effective(), "ann:r cy:r");
    // A second one comes, with bob; cy is in neither any more.
    let plan = run_on(&mut world, twice(&["bob"]));
    assert_eq!(world.effective(), "ann:r");
    let told = "kc: organization group `acme:/x/y` is ambiguous (2 fit it, since a name may hold a slash): \
                nobody gains anything through it, who holds a role through it keeps it, and what a role \
                only denies is denied to the members of all; name the group with `organization_group = \
                [\"alias\", \"…\", \"…\"]`, or by its id";
    assert!(plan.warnings().iter().any(|it| it == told), "{:?}", plan.warnings());
    // What only denies is denied to the members of both.
    let deny =
        format!("{}[[roles.r.policies]]\neffect = \"Deny\"\nactions = [\"*:*\"]\n", mapping(rule));
    assert_eq!(held_by(&deny, twice(&["bob"])), "ann:r bob:r");
    let names = mapping("organization_group = [\"acme\", \"x\", \"y\"]");
    assert_eq!(held_by(&names, twice(&["bob"])), "bob:r");
}

#[test]
fn an_alias_that_two_organizations_of_a_file_have_is_in_doubt() {
    let org = |id, members| Org { id, alias: "acme", members, groups: &[] };
    let mut world = World::new(config_of(&["kc"], &mapping("organization = \"acme\"")));
    run_on(&mut world, keycloak(&[org("o1", &["ann", "cy"])], &[]));
    let plan = run_on(&mut world, keycloak(&[org("o1", &["ann"]), org("o2", &["bob"])], &[]));
    assert_eq!(world.effective(), "ann:r", "{:?}", words(&plan));
    assert!(
        plan.warnings().iter().any(|it| it.contains("organization `acme` is ambiguous (2 fit it)")),
        "{:?}",
        plan.warnings()
    );
}

/// `acme` with ann, in `/eng`, and bob; and what of that is not known, as `change` has it.
fn acme(change: impl FnOnce(&mut SnapshotBuilder)) -> Directory {
    let acme = Org {
        id: "o1",
        alias: "acme",
        members: &["ann", "bob"],
        groups: &[("g1", &["eng"], &["ann"])],
    };
    let mut builder = builder(&[acme], &[]);
    change(&mut builder);
    builder.finish().directory
}

/// The same organization without anybody in it and without groups, and what of that is not known.
fn empty(change: impl FnOnce(&mut SnapshotBuilder)) -> Directory {
    let acme = Org { id: "o1", alias: "acme", members: &[], groups: &[] };
    let mut builder = builder(&[acme], &[]);
    change(&mut builder);
    builder.finish().directory
}

fn unknown() -> Completeness {
    Completeness::Partial("never read".to_owned())
}

#[test]
fn unknown_takes_nothing_away_and_gives_nothing_while_empty_and_absent_do_take_it() {
    let none = |organizations: Completeness| {
        let mut builder = builder(&[], &[]);
        builder.organizations_are(organizations);
        builder.finish().directory
    };
    let of = |it: &SnapshotBuilder, kind, key: &str| it.find_ref(kind, key).unwrap();
    let members_unknown = empty(|it| {
        let acme = of(it, Kind::Organization, "o1");
        it.members_are(acme, unknown());
    });
    let groups_unknown = empty(|it| {
        let top = of(it, Kind::OrganizationGroup, "o1");
        it.members_are(top, unknown());
    });
    // What is known after ann and bob held the role, and who holds it by the organization, and by its group.
    for (what, after, by_organization, by_group) in [
        ("the same", acme(|_| {}), "ann:r bob:r", "ann:r"),
        (
            "no organization was ever asked for",
            none(Completeness::NotAsked),
            "ann:r bob:r",
            "ann:r",
        ),
        ("no list of them was ever read in full", none(unknown()), "ann:r bob:r", "ann:r"),
        ("there are none", none(Completeness::Complete), "", ""),
        ("nobody is in it, and it has no groups", empty(|_| {}), "", ""),
        ("who is in it was never read", members_unknown, "ann:r bob:r", ""),
        ("its groups were never read", groups_unknown, "", "ann:r"),
    ] {
        for (rule, expected) in [
            ("organization = \"acme\"", by_organization),
            ("organization_group = \"acme:/eng\"", by_group),
        ] {
            let mut world = World::new(config_of(&["kc"], &mapping(rule)));
            run_on(&mut world, acme(|_| {}));
            let plan = run_on(&mut world, after.clone());
            assert_eq!(world.effective(), expected, "{what}: {rule}: {:?}", words(&plan));
            // Nobody gains by what is not known.
            let first = held_by(&mapping(rule), after.clone());
            assert_eq!(first, if what == "the same" { expected } else { "" }, "{what}: {rule}");
        }
    }
}

#[test]
fn members_of_an_organizations_group_that_were_never_read_are_unknown() {
    let rule = "organization_group = \"acme:/eng\"";
    let with = |in_ml: &[&str], known: Completeness| {
        let groups: &[(&str, &[&str], &[&str])] =
            &[("g1", &["eng"], &[]), ("g2", &["eng", "ml"], in_ml)];
        let acme = Org { id: "o1", alias: "acme", members: &["ann", "bob"], groups };
        let mut builder = builder(&[acme], &[]);
        let ml = builder.find_ref(Kind::OrganizationGroup, "g2").unwrap();
        builder.members_are(ml, known);
        builder.finish().directory
    };
    let mut world = World::new(config_of(&["kc"], &mapping(rule)));
    run_on(&mut world, with(&["ann"], Completeness::Complete));
    let plan = run_on(&mut world, with(&[], unknown()));
    assert_eq!(world.effective(), "ann:r");
    assert!(!plan.all_read);
    let plan = run_on(&mut world, with(&[], Completeness::Complete));
    assert_eq!(world.effective(), "");
    assert!(plan.all_read);
}

#[test]
fn what_is_not_known_of_organizations_keeps_nothing_else() {
    // A realm group and an organization give a role each; the group is gone, of the organizations nothing is
    // known.
    let rest = format!(
        "{WIDE}[roles.g]\nexternal_roles = []\n[roles.o]\nexternal_roles = []\n\
         [[mapping]]\ngroup = \"/eng\"\nroles = [\"g\"]\n[[mapping]]\norganization = \"acme\"\nroles = [\"o\"]\n"
    );
    let org = Org { id: "o1", alias: "acme", members: &["ann"], groups: &[] };
    let before = keycloak(&[org], &[("/eng", &["ann"])]);
    let mut world = World::new(config_of(&["kc"], &rest));
    run_on(&mut world, before.clone());
    assert_eq!(world.effective(), "ann:g ann:o");
    let mut after = builder(&[], &[]);
    after.organizations_are(unknown());
    let plan = run_on(&mut world, after.finish().directory);
    assert_eq!(world.effective(), "ann:o", "{:?}", words(&plan));
    // Nor the other way round: groups that nobody saw keep nothing that an organization gave.
    let mut world = World::new(config_of(&["kc"], &rest));
    run_on(&mut world, before);
    let mut after = builder(&[], &[]);
    after.groups_are(unknown());
    run_on(&mut world, after.finish().directory);
    assert_eq!(world.effective(), "ann:g");
    // And where no rule names one nobody need know.
    let rest = format!(
        "{WIDE}[roles.g]\nexternal_roles = []\n[[mapping]]\ngroup = \"/eng\"\nroles = [\"g\"]\n"
    );
    world.config = config_of(&["kc"], &rest);
    let mut after = builder(&[], &[]);
    after.organizations_are(Completeness::NotAsked);
    let plan = run_on(&mut world, after.finish().directory);
    assert_eq!(world.effective(), "");
    assert!(plan.all_read);
}

#[test]
fn a_role_goes_with_the_rule_that_gave_it_though_no_organization_is_known_any_more() {
    let mut world = World::new(config_of(&["kc"], &mapping("organization = \"acme\"")));
    run_on(&mut world, acme(|_| {}));
    assert_eq!(world.effective(), "ann:r bob:r");
    world.config = config_of(&["kc"], &format!("{WIDE}[roles.r]\nexternal_roles = []\n"));
    let mut after = builder(&[], &[]);
    after.organizations_are(Completeness::NotAsked);
    run_on(&mut world, after.finish().directory);
    assert_eq!(world.effective(), "");
}

#[test]
fn a_rule_that_matches_nothing_is_told_unless_nobody_knows_whether_it_does() {
    let told = |rule: &str, directory: Directory| {
        let mut world = World::new(config_of(&["kc"], &mapping(rule)));
        let warnings = run_on(&mut world, directory).warnings();
        warnings.into_iter().find(|it| it.contains("matches nothing"))
    };
    let nothing = |what: &str| Some(format!("mapping[1], {what}, matches nothing in any source"));
    assert_eq!(told("organization = \"acme\"", acme(|_| {})), None);
    assert_eq!(told("organization = \"Acme\"", acme(|_| {})), nothing("organization `Acme`"));
    for (rule, what) in [
        ("\"acme:/ops\"", "organization group `acme:/ops`"),
        ("[\"acme\", \"ops\"]", "organization group `acme` → `ops`"),
    ] {
        let rule = format!("organization_group = {rule}");
        assert_eq!(told(&rule, acme(|_| {})), nothing(what));
        let unread = acme(|it| {
            let top = it.find_ref(Kind::OrganizationGroup, "o1").unwrap();
            it.members_are(top, unknown());
        });
        assert_eq!(told(&rule, unread), None);
    }
}

#[test]
fn a_group_of_an_organization_that_is_named_in_whole_is_told_when_it_is_called_otherwise() {
    let with = |names: &[&str]| {
        let groups: &[(&str, &[&str], &[&str])] = &[("g0", &["eng"], &[]), ("g1", names, &["ann"])];
        keycloak(&[Org { id: "o1", alias: "acme", members: &["ann"], groups }], &[])
    };
    let by_name =
        "name it so, or by `{ organization = \"acme\", id = \"g1\" }`, which survives renames";
    for (rule, advice) in [
        ("organization_group = \"acme:/ml\"", Some(by_name)),
        ("organization_group = [\"acme\", \"ml\"]", Some(by_name)),
        (
            "organization_group = { organization = \"acme\", id = \"g1\" }",
            Some("the rule goes on by its id"),
        ),
        ("organization_group = \"acme:/eng\"", None),
        ("organization = \"acme\"", None),
    ] {
        let config = config_of(&["kc"], &mapping(rule));
        let settings = config.settings();
        let renamed =
            renamed_groups(&settings, settings.sources[0], &with(&["ml"]), &with(&["eng", "ml"]));
        let told = "kc: organization group `acme:/ml`, which mapping[1] names in whole, is called \
                    `acme:/eng/ml` now";
        let expected: Vec<String> =
            advice.into_iter().map(|advice| format!("{told}: {advice}")).collect();
        assert_eq!(texts(&renamed), expected, "{rule}");
    }
}

#[test]
fn what_rules_name_of_organizations_is_asked_for_and_no_more() {
    let rest = "[roles.r]\nexternal_roles = [\"acme\"]\n\
        [[mapping]]\norganization = \"b\"\nroles = [\"r\"]\n\
        [[mapping]]\norganization_group = \"a:/x\"\nroles = [\"r\"]\n\
        [[mapping]]\norganization_group = [\"b\", \"y\"]\nroles = [\"r\"]\n\
        [[mapping]]\norganization_group = { organization = \"d\", id = \"id\" }\nroles = [\"r\"]\n\
        [[mapping]]\nsource = \"other\"\norganization = \"c\"\nroles = [\"r\"]\n\
        [[mapping]]\ngroup = \"/x\"\nroles = [\"r\"]\n";
    let config = config_of(&["kc", "other"], rest);
    let settings = config.settings();
    let asked = |source: usize| -> Vec<(String, bool, bool)> {
        let rules = settings.rules(settings.sources[source]);
        let asked = rules.organizations().iter();
        asked.map(|it| (it.alias.clone(), it.members, it.groups)).collect()
    };
    let all = |list: &[(&str, bool, bool)]| -> Vec<(String, bool, bool)> {
        list.iter()
            .map(|(alias, members, groups)| ((*alias).to_owned(), *members, *groups))
            .collect()
    };
    let both = [("a", false, true), ("b", true, true), ("d", false, true)];
    assert_eq!(asked(0), all(&both));
    assert_eq!(asked(1), all(&[both[0], both[1], ("c", true, false), both[2]]));
    let rules = settings.rules(settings.sources[0]);
    let reaches = |kind, name: &str, identity: &str, path: &[&str]| {
        rules.reaches(kind, "id", name, identity, identity, path)
    };
    assert!(reaches(Kind::Organization, "b", "b", &["b"]));
    assert!(!reaches(Kind::Organization, "a", "a", &["a"]));
    assert!(!reaches(Kind::Organization, "acme", "acme", &["acme"]));
    assert!(reaches(Kind::OrganizationGroup, "x", "a:/x", &["x"]));
    assert!(reaches(Kind::OrganizationGroup, "y", "b:/y", &["y"]));
    assert!(!reaches(Kind::OrganizationGroup, "acme", "b:/acme", &["acme"]));
    assert!(!reaches(Kind::OrganizationGroup, "", "a:/", &[]));
    assert!(reaches(Kind::OrganizationGroup, "z", "d:/z", &["z"]));
    assert!(!reaches(Kind::OrganizationGroup, "", "d:/", &[]));
    // A directory has none.
    let ldif = super::naming::ldif("[[mapping]]\ngroup_name = \"x\"\nroles = [\"r\"]\n[roles.r]\n");
    let settings = ldif.config.settings();
    assert!(settings.rules(settings.sources[0]).organizations().is_empty());
}
