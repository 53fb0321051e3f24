//! Nobody gains or takes by naming things: section 5.

use super::*;
use idpsyncd::directory::RefIdx;
use idpsyncd::model::diagnostic::texts;
use idpsyncd::resolve::{in_doubt, renamed_groups};

/// A directory of groups by hand: id, name, identity, members; and people by external id, which is
/// the username too.
pub(super) fn built(
    ldap: bool,
    groups: &[(&str, &str, &str, &[&str])],
    people: &[&str],
) -> Directory {
    let mut builder = SnapshotBuilder::new(ldap);
    for name in people {
        builder
            .user(&NewUser {
                ext: &format!("id-{name}"),
                username: name,
                email: "",
                email_verified: false,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
    }
    for (key, name, identity, members) in groups {
        let norm = if ldap {
            idpsyncd::directory::dn::normalize(identity).unwrap()
        } else {
            (*identity).to_owned()
        };
        let group = builder
            .reference(&NewRef { kind: Kind::Group, key, name, identity, norm: &norm })
            .unwrap();
        for member in *members {
            let user = builder.find_user(&format!("id-{member}")).unwrap();
            builder.member(group, user);
        }
    }
    builder.finish().directory
}

/// A world of one LDIF, for what LDAP compares in its own way.
pub(super) fn ldif(rest: &str) -> World {
    let text = format!(
        "[store]\npath = \"s.db\"\n[[source]]\nname = \"dir\"\nkind = \"file\"\nldif = \"d.ldif\"\n{rest}"
    );
    World::new(
        config::parse(&text, Path::new("t.toml"), &idpsyncd::source::kinds())
            .unwrap_or_else(|f| panic!("{f}\n{text}")),
    )
}

/// Runs on directories by hand.
fn run_on(world: &mut World, source: &str, directory: Directory) -> Plan {
    let plan = world.plan_on(&[(source.to_owned(), directory)]);
    world.state = stored(&world.state, &plan);
    plan
}

const WIDE: &str = "[guard]\nmax_lost_floor = 100000\n";

#[test]
fn a_second_group_of_a_name_gives_nobody_and_takes_from_nobody() {
    for rule in [
        "[roles.r]\nexternal_roles = [\"g\"]\n",
        "[roles.r]\nexternal_roles = []\n[[mapping]]\ngroup_name = \"g\"\nroles = [\"r\"]\n",
    ] {
        for mode in ["force", "import", "merge"] {
            let config = format!("{WIDE}[sync]\ndefault_mode = \"{mode}\"\n{rule}");
            let mut world =
                World::with(&config, &[person("1", "ann", &["/a/g"]), person("2", "bob", &[])]);
            world.run();
            // Somebody makes /b/g and puts bob in; cy comes into the first one.
            world.says(
                "kc",
                &[
                    person("1", "ann", &["/a/g"]),
                    person("2", "bob", &["/b/g"]),
                    person("3", "cy", &["/a/g"]),
                ],
            );
            let plan = world.run();
            assert_eq!(world.effective(), "ann:r", "{mode} {rule}");
            assert!(
                plan.warnings().iter().any(|w| w.contains("`g` is ambiguous (`/a/g`, `/b/g`)")),
                "{:?}",
                plan.warnings()
            );
            assert!(world.run().changes.is_empty(), "not settled");
            // It ends: who is in the one that is left holds the role.
            world.says("kc", &[person("1", "ann", &["/a/g"]), person("3", "cy", &["/a/g"])]);
            world.run();
            assert_eq!(world.effective(), "ann:r cy:r");
        }
    }
}

#[test]
fn who_holds_a_role_through_a_name_in_doubt_keeps_it_in_any_bearer_and_in_none_no_longer() {
    let config = format!("{WIDE}[roles.r]\nexternal_roles = [\"g\"]\n");
    let mut world = World::with(&config, &[person("1", "ann", &["/a/g"])]);
    world.run();
    world.says("kc", &[person("1", "ann", &["/b/g"]), person("2", "bob", &["/a/g"])]);
    world.run();
    assert_eq!(world.effective(), "ann:r");
    world.says("kc", &[person("1", "ann", &[]), person("2", "bob", &["/a/g", "/b/g"])]);
    world.run();
    assert_eq!(world.effective(), "");
    world.says("kc", &[person("1", "ann", &["/a/g"]), person("2", "bob", &["/a/g", "/b/g"])]);
    world.run();
    assert_eq!(world.effective(), "", "who has lost it does not get it back through doubt");
}

#[test]
fn another_name_of_the_same_role_is_no_way_to_keep_it() {
    let config = format!("{WIDE}[roles.r]\nexternal_roles = [\"one\", \"two\"]\n");
    let mut world = World::with(&config, &[person("1", "ann", &["/one"])]);
    world.run();
    // Ann is to lose `one`, and makes two groups `two` for herself.
    world.says("kc", &[person("1", "ann", &["/x/two", "/y/two"])]);
    world.run();
    assert_eq!(world.effective(), "");
}

#[test]
fn a_role_that_only_denies_is_held_by_the_members_of_every_bearer() {
    let deny =
        "[[roles.r.policies]]\neffect = \"Deny\"\nactions = [\"a:*\"]\nresources = [\"*\"]\n";
    let mapped = "external_roles = []\n[[mapping]]\ngroup_name = \"g\"\nroles = [\"r\"]\n";
    for rule in [
        format!("{WIDE}[roles.r]\nexternal_roles = [\"g\"]\n{deny}"),
        format!("{WIDE}[roles.r]\n{}", mapped.replacen('\n', &format!("\n{deny}"), 1)),
    ] {
        let mut world = World::with(&rule, &[person("1", "ann", &["/a/g"])]);
        world.run();
        world.says(
            "kc",
            &[
                person("1", "ann", &["/a/g"]),
                person("2", "bob", &["/b/g"]),
                person("3", "cy", &["/a/g"]),
            ],
        );
        let plan = world.run();
        assert_eq!(world.effective(), "ann:r bob:r cy:r", "{rule}");
        assert!(plan.warnings().iter().any(|w| w.contains("ambiguous")), "{:?}", plan.warnings());
    }
    // One Allow among the policies, or none at all, and it is a role like any other.
    let allow = "[[roles.r.policies]]\nactions = [\"b:Read\"]\n";
    for policies in [format!("{deny}{allow}"), String::new()] {
        let config = format!("{WIDE}[roles.r]\nexternal_roles = [\"g\"]\n{policies}");
        let mut world =
            World::with(&config, &[person("1", "ann", &["/a/g"]), person("2", "bob", &["/b/g"])]);
        world.run();
        assert_eq!(world.effective(), "", "{policies}");
    }
}

#[test]
fn what_else_gives_the_role_does_not_end_the_claim_of_who_holds_it_through_a_name() {
    let config = format!(
        "{WIDE}[roles.r]\nexternal_roles = [\"g\"]\n[[mapping]]\ngroup = \"/x\"\nroles = [\"r\"]\n"
    );
    let mut world = World::with(&config, &[person("1", "ann", &["/a/g", "/x"])]);
    world.run();
    world.says("kc", &[person("1", "ann", &["/a/g", "/x"]), person("2", "bob", &["/b/g"])]);
    world.run();
    world.says("kc", &[person("1", "ann", &["/a/g"]), person("2", "bob", &["/b/g"])]);
    world.run();
    assert_eq!(world.effective(), "ann:r");
}

#[test]
fn who_holds_a_role_by_another_rule_does_not_hold_it_through_a_name_in_doubt() {
    let named = format!("{WIDE}[roles.r]\nexternal_roles = [\"g\"]\n");
    let other = "[[mapping]]\ngroup_name = \"elsewhere\"\nroles = [\"r\"]\n";
    let exact = "[[mapping]]\ngroup = \"/a/g\"\nroles = [\"r\"]\n";
    let people = [person("1", "ann", &["/a/g"]), person("2", "bob", &["/b/g"])];
    let mut world = World::with(&format!("{named}{other}{exact}"), &people);
    world.run();
    assert_eq!(world.effective(), "ann:r");
    assert_eq!(words(&world.run()), [""; 0], "nothing is new in a second run");
    // Another place in the file makes no other rule of it.
    world.config = config_of(&["kc"], &format!("{named}{exact}{other}"));
    world.run();
    assert_eq!(words(&world.run()), [""; 0]);
    // What gave her the role is taken out; the name has never given it to anybody.
    world.config = config_of(&["kc"], &named);
    world.run();
    assert_eq!(world.effective(), "");
}

#[test]
fn a_name_in_doubt_survives_a_move_of_the_group_and_a_new_order_of_the_rules() {
    let rule = "[[mapping]]\ngroup_name = \"g\"\nroles = [\"r\"]\n";
    let first = "[[mapping]]\ngroup = \"/other\"\nroles = [\"r\"]\n";
    let base = format!("{WIDE}[roles.r]\nexternal_roles = []\n");
    let mut world = World::with(&format!("{base}{rule}"), &[person("1", "ann", &["/a/g"])]);
    world.run();
    // All in one run: the first group moves, the second appears, the mapping's number changes.
    world.config = config_of(&["kc"], &format!("{base}{first}{rule}"));
    world.says("kc", &[person("1", "ann", &["/c/g"]), person("2", "bob", &["/b/g"])]);
    world.run();
    assert_eq!(world.effective(), "ann:r");
}

#[test]
fn a_second_group_in_one_source_leaves_the_name_alone_in_another() {
    let mut world =
        World::new(config_of(&["a", "b"], &format!("{WIDE}[roles.r]\nexternal_roles = [\"g\"]\n")));
    world.says("a", &[person("1", "ann", &["/g"]), person("2", "bob", &["/x/g"])]);
    world.says("b", &[person("3", "cy", &["/g"])]);
    world.run();
    assert_eq!(world.effective(), "cy:r");
}

#[test]
fn an_idp_role_of_the_name_is_no_bearer_and_in_no_doubt() {
    let config = format!("{WIDE}[roles.g]\n");
    let mut ann = person("1", "ann", &[]);
    ann.roles = vec!["g".to_owned()];
    let mut world =
        World::with(&config, &[ann, person("2", "bob", &["/a/g"]), person("3", "cy", &["/b/g"])]);
    world.run();
    assert_eq!(world.effective(), "ann:g");
}

#[test]
fn bare_names_compare_as_the_source_compares_them() {
    let rule = format!("{WIDE}[roles.r]\nexternal_roles = [\"Interns\"]\n");
    let first = ("k1", "Interns", "cn=Interns,ou=a", &["ann"][..]);
    for other in ["interns", "INTERNS", "  Interns ", "Ｉnterns", "Intern\u{ad}s"] {
        let mut world = ldif(&rule);
        run_on(&mut world, "dir", built(true, &[first], &["ann", "bob"]));
        assert_eq!(world.effective(), "ann:r");
        let second = ("k2", other, "cn=x,ou=b", &["bob"][..]);
        run_on(&mut world, "dir", built(true, &[first, second], &["ann", "bob"]));
        assert_eq!(world.effective(), "ann:r", "{other:?}");
    }
    // Keycloak's names compare exactly: those are two names.
    let mut world = World::with(&rule, &[person("1", "ann", &["/Interns"])]);
    world.run();
    world.says("kc", &[person("1", "ann", &["/Interns"]), person("2", "bob", &["/x/interns"])]);
    let plan = world.run();
    assert_eq!(world.effective(), "ann:r");
    assert!(!plan.warnings().iter().any(|w| w.contains("ambiguous")), "{:?}", plan.warnings());
}

#[test]
fn a_path_that_two_groups_fit_is_in_doubt_like_a_name() {
    let config = format!(
        "{WIDE}[roles.r]\nexternal_roles = []\n[roles.d]\nexternal_roles = []\n\
         [[roles.d.policies]]\neffect = \"Deny\"\nactions = [\"a:B\"]\n\
         [[mapping]]\ngroup = \"/Eng/ML\"\nroles = [\"r\", \"d\"]\n\
         [roles.p]\nexternal_roles = []\n[[mapping]]\ngroup_regex = '/Eng/.*'\nroles = [\"p\"]\n"
    );
    let mut world = World::new(config_of(&["kc"], &config));
    let real = ("k1", "ML", "/Eng/ML", &["ann"][..]);
    run_on(&mut world, "kc", built(false, &[real], &["ann", "bob"]));
    assert_eq!(world.effective(), "ann:d ann:p ann:r");
    let spoof = ("k2", "Eng/ML", "/Eng/ML", &["bob"][..]);
    let plan = run_on(&mut world, "kc", built(false, &[real, spoof], &["ann", "bob"]));
    assert_eq!(world.effective(), "ann:d ann:p ann:r bob:d");
    assert!(
        plan.warnings().iter().any(|w| w.contains("the path `/Eng/ML` is ambiguous")),
        "{:?}",
        plan.warnings()
    );
}

#[test]
fn a_client_role_that_fits_two_readings_is_in_doubt_and_a_list_is_not() {
    let of = |rule: &str| {
        let text = format!(
            "{WIDE}[roles.r]\nexternal_roles = []\n[[mapping]]\nclient_role = {rule}\nroles = [\"r\"]\n"
        );
        let mut config = config_of(&["kc"], "[roles.r]\n");
        let whole =
            config_of(&["kc"], &text.replace("client_role", "realm_role").replace(rule, "\"x\""));
        config.roles = whole.roles;
        config.mappings = whole.mappings;
        config
    };
    let directory = |both: bool| {
        let mut builder = SnapshotBuilder::new(false);
        let user = |builder: &mut SnapshotBuilder, name: &str| {
            builder
                .user(&NewUser {
                    ext: name,
                    username: name,
                    email: "",
                    email_verified: false,
                    enabled: Enabled::Yes,
                    federation: "",
                })
                .unwrap()
        };
        let (ann, bob) = (user(&mut builder, "ann"), user(&mut builder, "bob"));
        for (client, role, member) in [("a/b", "c", ann), ("a", "b/c", bob)] {
            if member == bob && !both {
                continue;
            }
            let key = idpsyncd::directory::client_role_key(client, role);
            let role = builder
                .reference(&NewRef {
                    kind: Kind::ClientRole,
                    key: &key,
                    name: role,
                    identity: &format!("{client}/{role}"),
                    norm: &key,
                })
                .unwrap();
            builder.member(role, member);
        }
        builder.finish().directory
    };
    use idpsyncd::resolve::MappingRule;
    let mut config = of("\"x\"");
    config.mappings[0].rule = MappingRule::ClientRole("a/b/c".to_owned());
    let mut world = World::new(config);
    run_on(&mut world, "kc", directory(false));
    assert_eq!(world.effective(), "ann:r");
    let plan = run_on(&mut world, "kc", directory(true));
    assert_eq!(world.effective(), "ann:r", "{:?}", words(&plan));
    assert!(
        plan.warnings().iter().any(|w| w.contains("`a/b/c` is ambiguous")),
        "{:?}",
        plan.warnings()
    );
    let mut config = of("\"x\"");
    config.mappings[0].rule =
        MappingRule::ClientRoleOf { client: "a".to_owned(), role: "b/c".to_owned() };
    let mut world = World::new(config);
    let plan = run_on(&mut world, "kc", directory(true));
    assert_eq!(world.effective(), "bob:r");
    assert!(!plan.warnings().iter().any(|w| w.contains("ambiguous")), "{:?}", plan.warnings());
}

#[test]
fn a_bearer_that_was_never_read_in_full_takes_nothing_away() {
    let config = format!("{WIDE}[roles.r]\nexternal_roles = [\"g\"]\n");
    let mut world = World::with(&config, &[person("1", "ann", &["/a/g"])]);
    world.run();
    let mut facts = Facts::of(&[person("1", "ann", &[])]);
    facts.groups = vec!["/a/g".to_owned(), "/b/g".to_owned()];
    let mut snapshot = facts.snapshot(false);
    for (index, reference) in snapshot.directory.refs.iter().enumerate() {
        if snapshot.directory.text(reference.identity) == "/b/g" {
            snapshot.members[index] = Completeness::Partial("cut off".to_owned());
        }
    }
    let plan = world.plan_on(&[("kc".to_owned(), merge(None, snapshot).mirror.directory)]);
    assert_eq!(plan.summary.grants_removed, 0, "{:?}", words(&plan));
}

#[test]
fn every_role_that_allows_everything_somewhere_is_protected() {
    let allow = |actions: &str, resources: &str| {
        format!("[[roles.boss.policies]]\nactions = {actions}\nresources = {resources}\n")
    };
    let mapping = |rule: &str| format!("[[mapping]]\n{rule}\nroles = [\"boss\"]\n");
    let protecting = [
        allow("[\"*:*\"]", "[\"*\"]"),
        allow("[\"a:Read\", \"*:*\"]", "[\"pool/small\"]"),
        "[[roles.boss.policies]]\nactions = [\"*:*\"]\n".to_owned(),
        format!(
            "{}[[roles.boss.policies]]\neffect = \"Deny\"\nactions = [\"*:*\"]\n",
            allow("[\"*:*\"]", "[\"*\"]")
        ),
    ];
    let loose = [
        String::new(),
        mapping("group_name = \"boss\""),
        mapping("group_regex = '/x/.*'"),
        mapping("attribute = { name = \"dep\", value = \"IT\" }"),
    ];
    for policies in &protecting {
        for rule in &loose {
            let config = format!("{WIDE}[roles.boss]\n{policies}{rule}");
            let mut world = World::with(&config, &[person("1", "ann", &["/x/boss"])]);
            let plan = world.run();
            assert_eq!(world.effective(), "", "{policies}{rule}");
            assert!(plan.warnings().iter().any(|w| w.contains("protected role `boss`")), "{rule}");
        }
        for rule in [
            mapping("group = \"/x/boss\""),
            mapping("group = [\"x\", \"boss\"]"),
            mapping("group_id = \"/X/BOSS\"").replace("/X/BOSS", "K-1"),
        ] {
            let config = format!("{WIDE}[roles.boss]\n{policies}{rule}");
            let mut world = World::new(config_of(&["kc"], &config));
            let group = ("k-1", "boss", "/x/boss", &["ann"][..]);
            let above = ("k-0", "x", "/x", &[][..]);
            let mut directory = built(false, &[above, group], &["ann"]);
            directory.refs[1].parent = Some(RefIdx::new(0));
            run_on(&mut world, "kc", directory);
            assert_eq!(world.effective(), "ann:boss", "{rule}");
        }
    }
    // Allowing nearly everything, or denying everything, protects nobody.
    for policies in [
        allow("[\"a:*\"]", "[\"*\"]"),
        "[[roles.boss.policies]]\neffect = \"Deny\"\nactions = [\"*:*\"]\n".to_owned(),
    ] {
        let config = format!("{WIDE}[roles.boss]\n{policies}");
        let mut world = World::with(&config, &[person("1", "ann", &["/x/boss"])]);
        world.run();
        assert_eq!(world.effective(), "ann:boss", "{policies}");
    }
}

#[test]
fn a_template_makes_no_role_that_allows_everything() {
    let config = format!(
        "{WIDE}[[role_template]]\nname = 'osmo-(?<team>[a-z]+)'\n[[role_template.policies]]\n\
         actions = [\"*:*\"]\nresources = [\"pool/${{team}}-*\"]\n\
         [[mapping]]\ngroup = \"/x\"\nroles = [\"osmo-b\"]\n"
    );
    let mut ann = person("1", "ann", &["/x"]);
    ann.roles = vec!["osmo-a".to_owned()];
    let mut world = World::with(&config, &[ann]);
    let plan = world.run();
    assert_eq!(world.effective(), "");
    assert!(
        plan.warnings().iter().any(|w| w.contains("protected role `osmo-a` is not made")),
        "{:?}",
        plan.warnings()
    );
}

#[test]
fn a_group_whose_name_holds_a_slash_is_no_way_to_a_protected_role_by_path() {
    let config = format!(
        "{WIDE}[roles.boss]\nexternal_roles = []\n[[roles.boss.policies]]\nactions = [\"*:*\"]\n\
         [[mapping]]\ngroup = \"/Eng/Admins\"\nroles = [\"boss\"]\n"
    );
    let mut world = World::new(config_of(&["kc"], &config));
    let spoof = ("k2", "Eng/Admins", "/Eng/Admins", &["bob"][..]);
    run_on(&mut world, "kc", built(false, &[spoof], &["bob"]));
    assert_eq!(world.effective(), "");
}

#[test]
fn captured_text_that_no_screen_shows_makes_no_role() {
    let config = format!(
        "{WIDE}[[role_template]]\nname = '(?i)osmo-(?<team>.+)'\n[[mapping]]\n\
         group_regex = '/OSMO (?<team>.*)'\nroles = [\"osmo-${{team}}\"]\n"
    );
    let groups = [
        "/OSMO m\u{200b}l",
        "/OSMO \u{202e}lm",
        "/OSMO m\u{2066}l",
        "/OSMO m\u{ad}l",
        "/OSMO ml\u{feff}",
        "/OSMO ml\u{e0020}",
        "/OSMO \u{61c}ml",
        "/OSMO m\tl",
        "/OSMO a\u{7}",
        "/OSMO $ml",
        "/OSMO *",
        "/OSMO ",
    ];
    for group in groups {
        let mut world = World::new(config_of(&["kc"], &config));
        let directory = built(false, &[("k", "x", group, &["ann"])], &["ann"]);
        let plan = run_on(&mut world, "kc", directory);
        assert_eq!(world.effective(), "", "{group:?}");
        assert!(world.state.roles.is_empty(), "{group:?}");
        assert!(plan.warnings().iter().any(|w| w.contains("mapping[1]")), "{:?}", plan.warnings());
    }
}

#[test]
fn a_group_named_in_whole_that_is_called_otherwise_is_told_with_its_new_name() {
    let config = config_of(
        &["kc"],
        "[roles.r]\n[[mapping]]\ngroup = \"/a/g\"\nroles = [\"r\"]\n[[mapping]]\ngroup_id = \"k1\"\nroles = [\"r\"]\n",
    );
    let old = built(false, &[("k1", "g", "/a/g", &["ann"]), ("k2", "x", "/x", &[])], &["ann"]);
    let new = built(false, &[("k1", "h", "/b/h", &["ann"]), ("k2", "y", "/y", &[])], &["ann"]);
    let told = renamed_groups(&config.settings(), config.sources[0].terms(), &old, &new);
    assert_eq!(
        texts(&told),
        [
            "kc: group `/a/g`, which mapping[1] names in whole, is called `/b/h` now: name it so, or \
             by `group_id = \"k1\"`, which survives renames",
            "kc: group `/a/g`, which mapping[2] names in whole, is called `/b/h` now: the rule goes \
             on by its id"
        ]
    );
    assert_eq!(renamed_groups(&config.settings(), config.sources[0].terms(), &new, &new), []);
    let mut world = World::new(config);
    run_on(&mut world, "kc", old);
    run_on(&mut world, "kc", new);
    assert_eq!(world.effective(), "ann:r", "the id goes on giving the role");
}

#[test]
fn what_is_in_doubt_can_be_told_without_a_run() {
    let config = config_of(&["kc"], "[roles.r]\nexternal_roles = [\"g\"]\n[roles.other]\n");
    let directory = Facts::of(&[person("1", "ann", &["/a/g", "/b/g", "/a/h", "/b/h"])]).directory();
    let told = in_doubt(&config.settings(), &[("kc", &directory)], &[]).unwrap();
    assert_eq!(told.len(), 1, "nobody asks for `h`: {told:?}");
    assert_eq!(told[0].roles, BTreeSet::from(["r".to_owned()]));
    assert!(told[0].told.message.starts_with("kc: group name `g` is ambiguous (`/a/g`, `/b/g`)"));
}

const NAMES: [&str; 4] = ["/a/one", "/a/two", "/b/one", "/c"];

fn people_in(groups: &'static [&'static str]) -> impl Strategy<Value = Vec<Person>> {
    prop::collection::vec(prop::collection::vec(0..groups.len(), 0..4), 1..7).prop_map(move |all| {
        all.into_iter()
            .enumerate()
            .map(|(i, mine)| {
                let names: Vec<&str> = mine.into_iter().map(|g| groups[g]).collect();
                person(&format!("id{i}"), &format!("user{i}"), &names)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn making_a_second_group_never_gives_and_never_takes(
        people in people_in(&NAMES),
        second in prop::collection::vec(any::<bool>(), 7),
        name in prop::sample::select(vec!["one", "two", "c"]),
        mode in prop::sample::select(vec!["force", "import", "merge"]),
    ) {
        let config = format!(
            "{WIDE}[sync]\ndefault_mode = \"{mode}\"\n[roles.r1]\nexternal_roles = [\"one\", \"c\"]\n\
             [roles.r2]\nexternal_roles = []\n[roles.d]\nexternal_roles = [\"two\", \"one\"]\n\
             [[roles.d.policies]]\neffect = \"Deny\"\nactions = [\"a:*\"]\n\
             [[mapping]]\ngroup_name = \"two\"\nroles = [\"r2\"]\n\
             [[mapping]]\ngroup = \"/c\"\nroles = [\"r2\"]\n"
        );
        let all = || NAMES.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>();
        let mut world = World::with(&config, &people);
        world.facts.get_mut("kc").unwrap().groups = all();
        world.run();
        let before = pairs(&world.state, world.now);
        let mut after = people.clone();
        for (person, joins) in after.iter_mut().zip(&second) {
            if *joins {
                person.groups.push(format!("/evil/{name}"));
            }
        }
        world.says("kc", &after);
        let groups = &mut world.facts.get_mut("kc").unwrap().groups;
        groups.extend(all().into_iter().chain([format!("/evil/{name}")]));
        world.run();
        let now = pairs(&world.state, world.now);
        prop_assert!(now.is_superset(&before), "taken: {:?}", before.difference(&now));
        for pair in now.difference(&before) {
            prop_assert!(pair.ends_with(":d"), "given: {}", pair);
        }
        // And away again: as it was before.
        world.says("kc", &people);
        world.facts.get_mut("kc").unwrap().groups = all();
        world.run();
        let back = pairs(&world.state, world.now);
        if mode != "import" {
            prop_assert_eq!(back, before);
        }
    }

    #[test]
    fn naming_never_gives_a_protected_role(
        names in prop::collection::vec("(/?(boss|BOSS|x|admin|\u{200b}boss)){1,3}", 1..5),
        ldap in any::<bool>(),
    ) {
        let rest = format!(
            "{WIDE}[roles.boss]\nexternal_roles = [\"admin\", \"boss\"]\n[[roles.boss.policies]]\n\
             actions = [\"*:*\"]\nresources = [\"pool/x\"]\n[[role_template]]\nname = '.*(?<n>o).*'\n\
             [[role_template.policies]]\nactions = [\"*:*\"]\nresources = [\"pool/${{n}}\"]\n\
             [[mapping]]\ngroup_name = \"boss\"\nroles = [\"boss\"]\n\
             [[mapping]]\ngroup_regex = '.*(?<n>boss).*'\nroles = [\"${{n}}\"]\n"
        );
        let (mut world, source) = if ldap {
            (ldif(&rest), "dir")
        } else {
            (World::new(config_of(&["kc"], &rest)), "kc")
        };
        let mut builder = SnapshotBuilder::new(ldap);
        let ann = builder.user(&NewUser {
            ext: "1", username: "ann", email: "", email_verified: false, enabled: Enabled::Yes,
            federation: "",
        }).unwrap();
        for (i, name) in names.iter().enumerate() {
            let identity = if ldap { format!("cn={name},ou=g{i}") } else { format!("/{name}") };
            let group = builder.reference(&NewRef {
                kind: Kind::Group, key: &format!("k{i}"), name, identity: &identity, norm: &identity,
            }).unwrap();
            builder.member(group, ann);
        }
        run_on(&mut world, source, builder.finish().directory);
        prop_assert_eq!(world.effective(), "");
    }
}
