//! Groups without members, groups whose members are not read, directories without groups.

use idpsyncd::directory::Completeness;

use super::*;

/// A class that may be empty, and one whose members are a URL.
const CLASSES: &str = "#global include /etc/ldap/schema/dyngroup.schema\n\
    #global objectclass ( 1.1.2.2 NAME 'team' SUP top STRUCTURAL MUST cn MAY ( member $ description ) )\n\
    #global objectclass ( 1.1.2.3 NAME 'crew' SUP top STRUCTURAL MUST cn MAY memberUid )\n";

fn entry(cn: &str, class: &str, rest: &str) -> String {
    format!("dn: {}\nobjectClass: {class}\ncn: {cn}\n{rest}\n", group_dn(cn))
}

fn any_group(server: &OpenLdap) -> LdapConfig {
    let mut config = reader(server);
    config.groups.as_mut().unwrap().filter = "(cn=*)".to_owned();
    config
}

#[test]
fn a_group_that_the_schema_lets_be_empty_is_empty_where_another_s_members_can_be_read() {
    let ldif = [
        tree(),
        person("alice", ""),
        entry("none", "team", ""),
        entry("some", "team", &format!("member: {}\n", person_dn("alice"))),
        entry("rowers", "crew", ""),
    ];
    let Some(server) = OpenLdap::start(&ldif.concat(), CLASSES) else { return };
    let snapshot = read(&any_group(&server)).unwrap();
    assert!(completeness(&snapshot, &group_dn("none")).is_complete(), "{:?}", snapshot.scopes());
    let why = partial(completeness(&snapshot, &group_dn("rowers")));
    assert!(
        why.contains("hidden cannot be told from empty") && why.contains("`memberuid`"),
        "{why}"
    );
    assert!(snapshot.users.is_complete() && snapshot.groups.is_complete());
}

#[test]
fn members_that_a_url_means_are_evaluated_and_what_cannot_be_is_unknown_by_name() {
    let url = format!("memberURL: ldap:///ou=people,{SUFFIX}?");
    let ldif = [
        tree(),
        person("alice", "title: helpdesk\nuserPassword: a\n"),
        person("bob", ""),
        entry("desk", "groupOfURLs", &format!("{url}?sub?(title=Help\\64esk)\n")),
        entry("nobody", "groupOfURLs", &format!("{url}?sub?(title=nothing)\n")),
        entry(
            "one",
            "groupOfURLs",
            &format!("memberURL: ldap:///{SUFFIX}??one?(title=helpdesk)\n"),
        ),
        entry("two", "groupOfURLs", &format!("{url}?one?(uid=bob)\n{url}?sub?(!(uid=bob))\n")),
        entry("all", "groupOfURLs", &format!("memberURL: ldap:///{SUFFIX}??sub?(cn=*)\n")),
        entry("names", "groupOfURLs", &format!("{url}?sub?(name=alice)\n")),
        entry("far", "groupOfURLs", &format!("{url}?sub?(manager=cn=boss)\n")),
        entry("uids", "groupOfURLs", "memberURL: ldap:///dc=example,dc=org?uid?sub?(uid=bob)\n"),
        entry(
            "mixed",
            "groupOfNames\nobjectClass: extensibleObject",
            &format!("member: {}\n{url}?sub?(title=helpdesk)\n", person_dn("bob")),
        ),
        format!("dn: ou=a,ou=groups,{SUFFIX}\nobjectClass: organizationalUnit\nou: a\ncn: a\n\n")
            .replace("organizationalUnit", "organizationalUnit\nobjectClass: extensibleObject"),
    ]
    .concat();
    let Some(server) = OpenLdap::start(&ldif, CLASSES) else { return };
    let config = any_group(&server);
    let snapshot = read(&config).unwrap();
    for (name, expected) in [
        ("desk", &["alice"][..]),
        ("nobody", &[]),
        ("one", &[]),
        ("two", &["alice", "bob"]),
        ("all", &["alice", "bob"]),
        ("mixed", &["alice", "bob"]),
    ] {
        assert_eq!(members(&snapshot, &group_dn(name)), expected, "{name}");
        assert!(completeness(&snapshot, &group_dn(name)).is_complete(), "{name}");
        let by_name = |who: &&&str| sighting(&config, &[], who).contains(&id_of(&snapshot, name));
        let shown = expected.iter().filter(by_name).copied().collect::<Vec<_>>();
        // Of `bob`, who has no title, it cannot be told whether that is hidden: `nobody` is not his.
        assert_eq!(shown, expected, "{name}: what a look-up says");
    }
    assert_eq!(ups(&snapshot, &group_dn("desk")), [group_dn("all")], "a group is meant as well");
    for (name, why) in
        [("names", "`name`"), ("far", "no user shows `manager`"), ("uids", "values of attributes")]
    {
        let told = partial(completeness(&snapshot, &group_dn(name)));
        assert!(told.contains("which is not evaluated here") && told.contains(why), "{told}");
        let told = |warning: &&String| warning.contains(&format!("`{}`", group_dn(name)));
        assert_eq!(snapshot.warnings().iter().filter(told).count(), 1, "{:?}", snapshot.warnings());
    }
    let why = partial(completeness(&snapshot, &format!("ou=a,ou=groups,{SUFFIX}")));
    assert!(why.contains("`organizationalUnit`"), "{why}");

    let dynlist = format!(
        "{CLASSES}moduleload dynlist\noverlay dynlist\ndynlist-attrset groupOfURLs memberURL member\n"
    );
    let Some(server) = OpenLdap::start(&ldif, &dynlist) else { return };
    let snapshot = read(&any_group(&server)).unwrap();
    for (name, expected) in [("desk", &["alice"][..]), ("nobody", &[]), ("names", &["alice"])] {
        assert_eq!(members(&snapshot, &group_dn(name)), expected, "{name}");
        assert!(completeness(&snapshot, &group_dn(name)).is_complete(), "{:?}", snapshot.scopes());
    }
    assert_eq!(members(&snapshot, &group_dn("mixed")), ["alice", "bob"]);
}

#[test]
fn what_is_hidden_makes_nobody_a_member_by_url_and_takes_nobody_out() {
    let url = format!("memberURL: ldap:///ou=people,{SUFFIX}?");
    let ldif = [
        tree(),
        person("alice", "title: helpdesk\n"),
        person("bob", ""),
        entry("desk", "groupOfURLs", &format!("{url}?sub?(title=helpdesk)\n")),
        entry("others", "groupOfURLs", &format!("{url}?sub?(!(title=helpdesk))\n")),
    ]
    .concat();
    let hidden = |what: &str| {
        format!(
            "{CLASSES}access to attrs=userPassword by anonymous auth\naccess to {what} by * none\n\
             access to * by * read\n"
        )
    };
    let Some(server) = OpenLdap::start(&ldif, &hidden("attrs=title")) else { return };
    let snapshot = read(&any_group(&server)).unwrap();
    for name in ["desk", "others"] {
        let why = partial(completeness(&snapshot, &group_dn(name)));
        assert!(why.contains("no user shows `title`"), "{why}");
        assert_eq!(members(&snapshot, &group_dn(name)), [""; 0], "{name}");
    }
    assert!(!sighting(&any_group(&server), &[], "alice").contains(&id_of(&snapshot, "others")));

    let no_schema = "#global access to dn.subtree=cn=Subschema by * none\n\
                     #global access to * by * read\n";
    let Some(server) = OpenLdap::start(&ldif, &format!("{CLASSES}{no_schema}")) else { return };
    let snapshot = read(&any_group(&server)).unwrap();
    let why = partial(completeness(&snapshot, &group_dn("desk")));
    assert!(why.contains("does not show its schema"), "{why}");
}

#[test]
fn what_no_rule_can_reach_leaves_nothing_unknown_and_is_told() {
    let ldif = [
        tree(),
        person("alice", ""),
        group("outer", &[group_dn("inner"), person_dn("alice")]),
        entry("inner", "groupOfURLs", "memberURL: ldap:///\n"),
        entry("aside", "groupOfURLs", "memberURL: ldap:///\n"),
    ];
    let Some(server) = OpenLdap::start(&ldif.concat(), CLASSES) else { return };
    let source = LdapSource::new("corp", &any_group(&server)).unwrap();
    let read = |named: &str| {
        runtime().block_on(source.read(&Names(named.to_owned()), Arc::new(|_| {}))).unwrap()
    };
    let snapshot = read("nothing");
    assert_complete(&snapshot);
    assert_eq!(*completeness(&snapshot, &group_dn("inner")), Completeness::NotAsked);
    assert!(snapshot.warnings().iter().any(|warning| warning.contains(&group_dn("aside"))));
    // Through the group that it is in a rule does reach it.
    let snapshot = read("outer");
    partial(completeness(&snapshot, &group_dn("inner")));
    assert_eq!(*completeness(&snapshot, &group_dn("aside")), Completeness::NotAsked);
    assert!(completeness(&snapshot, &group_dn("outer")).is_complete());
}

/// Rules that name the group of this name.
struct Names(String);

impl Interest for Names {
    fn reaches(&self, _: Kind, _: &str, name: &str, _: &str, _: &str, _: &[&str]) -> bool {
        name == self.0
    }

    fn attributes(&self) -> &[(String, String)] {
        &[]
    }
}

#[test]
fn a_directory_without_groups_is_complete_where_that_is_said() {
    let ldif = [tree(), person("alice", "departmentNumber: Research\n")].concat();
    let Some(server) = OpenLdap::start(&ldif, "") else { return };
    let mut config = reader(&server);
    partial(&read(&config).unwrap().groups);
    config.groups = None;
    let snapshot = read_wanting(&config, &[("departmentNumber", "research")]).unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, "departmentNumber=research"), ["alice"]);
    assert_eq!(sighting(&config, &[("departmentNumber", "research")], "alice").len(), 1);
}

#[test]
fn one_hidden_primary_group_is_unknown_and_the_others_are_not() {
    let account = |gid: u32| {
        format!("objectClass: posixAccount\nuidNumber: 7\ngidNumber: {gid}\nhomeDirectory: /\n")
    };
    let ldif = [
        tree(),
        person("alice", &account(700)),
        person("bob", &account(701)),
        person("carol", ""),
        entry("ops", "posixGroup", "gidNumber: 700\n"),
        entry("staff", "posixGroup", "gidNumber: 701\nmemberUid: alice\n"),
    ]
    .concat();
    let Some(server) = OpenLdap::start(&ldif, "") else { return };
    let mut config = reader(&server);
    assert_eq!(members(&read(&config).unwrap(), &group_dn("staff")), ["alice"]);
    config.groups.as_mut().unwrap().primary = true;
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("ops")), ["alice"]);
    assert_eq!(members(&snapshot, &group_dn("staff")), ["alice", "bob"]);

    let hide = |dn: &str| {
        format!(
            "access to attrs=userPassword by anonymous auth\n\
             access to dn.exact=\"{dn}\" attrs=gidNumber by * none\naccess to * by * read"
        )
    };
    let Some(server) = OpenLdap::start(&ldif, &hide(&group_dn("ops"))) else { return };
    config = LdapConfig { groups: config.groups, ..reader(&server) };
    let snapshot = read(&config).unwrap();
    assert!(partial(completeness(&snapshot, &group_dn("ops"))).contains("`gidNumber`"));
    assert!(completeness(&snapshot, &group_dn("staff")).is_complete());
    let Some(server) = OpenLdap::start(&ldif, &hide(&person_dn("bob"))) else { return };
    config = LdapConfig { groups: config.groups, ..reader(&server) };
    let snapshot = read(&config).unwrap();
    assert!(partial(completeness(&snapshot, &group_dn("staff"))).contains("uid=bob"));
}
