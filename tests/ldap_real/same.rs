//! An export of a directory reads as the directory does, and a look-up finds what a full read finds,
//! whatever the directory looks like.

use idpsyncd::source::file::LdifConfig;
use idpsyncd::source::file::ldif::read_ldif;

use super::*;

/// Everything odd that was met in the field.
fn odd() -> String {
    let posix = |gid: u32| {
        format!("objectClass: posixAccount\nuidNumber: 7\ngidNumber: {gid}\nhomeDirectory: /h\n")
    };
    [
        tree(),
        person("MixedCase", &posix(700)),
        person("bo", "cn;lang-de: Baum\ntitle: helpdesk\n"),
        person("cy", "givenName: Baum\n"),
        format!(
            "dn: cn=two,ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\ncn: two\nsn: Two\n\
             uid: two\nuid: deux\nuid;lang-en: root\n\n"
        ),
        format!(
            "dn: cn=Kim\\, Jr.+sn=Lee,ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\n\
             cn: Kim, Jr.\nsn: Lee\nuid: kim\n\n"
        ),
        // A user and a group at once.
        format!(
            "dn: cn=both,ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\n\
             objectClass: extensibleObject\ncn: both\nsn: b\nuid: both\nmember: {}\n\n",
            person_dn("bo")
        ),
        group("Names", &[
            "UID=mixedcase, ou=People,dc=EXAMPLE,dc=org".to_owned(),
            format!("cn=two,ou=people,{SUFFIX}"),
            format!("sn=lee+cn=kim\\2C jr.,ou=people,{SUFFIX}"),
            format!("cn=both,ou=people,{SUFFIX}"),
            group_dn("Unique"),
        ]),
        format!(
            "dn: cn=Unique,ou=groups,{SUFFIX}\nobjectClass: groupOfUniqueNames\ncn: Unique\n\
             cn;lang-de: Einzig\nuniqueMember: {}#'0101'B\nuniqueMember: cn=two,ou=people,{SUFFIX}#'1'B\n\
             uniqueMember: {}\n\n",
            person_dn("mixedcase"),
            person_dn("cy")
        ),
        format!(
            "dn: cn=Px,ou=groups,{SUFFIX}\nobjectClass: posixGroup\ncn: Px\ngidNumber: 700\n\
             memberUid: DEUX\nmemberUid: kim\nmemberUid: root\nmemberUid: nobody\n\n"
        ),
        format!(
            "dn: cn=alias,ou=groups,{SUFFIX}\nobjectClass: alias\nobjectClass: extensibleObject\n\
             cn: alias\naliasedObjectName: {}\n\n",
            group_dn("Px")
        ),
    ]
    .concat()
}

fn export(server: &OpenLdap, config: &LdapConfig) -> LdifConfig {
    let path = server.dir.path().join("export.ldif");
    // As it is stored: referrals are entries.
    std::fs::write(&path, server.search(&["-M", "*", "+"])).unwrap();
    LdifConfig { path, users: config.users.clone(), groups: config.groups.clone() }
}

/// What the full reading says of each user: the keys of what they are directly in.
fn full(snapshot: &Snapshot) -> Vec<(String, Vec<String>)> {
    let directory = &snapshot.directory;
    let within = |user| {
        let lists = directory.refs.iter().zip(&directory.members);
        let inside = lists.filter(|(_, members)| members.contains(&user));
        inside.map(|(reference, _)| text(snapshot, reference.key).to_owned()).collect()
    };
    let users = directory.users.numbered();
    let named = users.filter(|(_, user)| !text(snapshot, user.username).is_empty());
    named.map(|(place, user)| (text(snapshot, user.username).to_owned(), within(place))).collect()
}

#[test]
fn file_and_server_and_look_up_say_the_same_of_an_odd_directory() {
    let Some(server) = OpenLdap::start(&odd(), "") else { return };
    let mut config = reader(&server);
    let groups = config.groups.as_mut().unwrap();
    groups.base = SUFFIX.to_owned();
    groups.primary = true;
    groups.filter = "(|(member=*)(uniqueMember=*)(gidNumber=700))".to_owned();
    let live = read(&config).unwrap();
    let file = read_ldif(&export(&server, &config), &Wants(vec![])).unwrap();
    assert_eq!(full(&live), full(&file));
    assert_eq!(live.warnings(), file.warnings());
    let of = |names: &[&str]| -> Vec<String> {
        let mut keys: Vec<String> = names.iter().map(|name| id_of_cn(&live, name)).collect();
        keys.sort();
        keys
    };
    for (name, mut within) in full(&live) {
        within.sort();
        let expected = match name.as_str() {
            "MixedCase" => of(&["Names", "Unique", "Px"]),
            "two" => of(&["Names", "Unique", "Px"]),
            "kim" => of(&["Names", "Px"]),
            "both" => of(&["Names"]),
            "bo" => of(&["both"]),
            "cy" => of(&["Unique"]),
            other => panic!("{other}"),
        };
        assert_eq!(within, expected, "{name}");
        assert_eq!(sighting(&config, &[], &name), within, "a look-up of {name}");
    }
}

fn id_of_cn(snapshot: &Snapshot, cn: &str) -> String {
    let directory = &snapshot.directory;
    let found = directory.refs.iter().find(|group| text(snapshot, group.name) == cn);
    text(snapshot, found.unwrap().key).to_owned()
}

#[test]
fn a_filter_finds_the_same_in_a_file_as_on_the_server() {
    let Some(server) = OpenLdap::start(&odd(), "") else { return };
    for (filter, found) in [
        ("(2.5.4.3=bo)", 1),
        ("(cn;lang-de=baum)", 1),
        ("(cn;lang-en=baum)", 0),
        ("(name=baum)", 2),
        ("(name;lang-de=baum)", 1),
        ("(&(objectClass=2.5.6.6)(2.5.4.4=lee))", 1),
        ("(&(objectClass=top)(title=*))", 1),
        ("(objectClass=residentialPerson)", 0),
        ("(cn:=BAUM)", 1),
        ("(cn:caseExactMatch:=Baum)", 1),
        ("(cn:caseExactMatch:=baum)", 0),
        ("(&(objectClass=person)(sn:dn:=lee))", 1),
        ("(&(objectClass=person)(ou:dn:=people))", 6),
        ("(gidNumber:1.2.840.113556.1.4.803:=512)", 1),
        ("(gidNumber:1.2.840.113556.1.4.804:=3)", 0),
        ("(distinguishedName=uid=bo,ou=people,dc=example,dc=org)", 1),
        ("(!(givenName=*))", 5),
    ] {
        let mut config = reader(&server);
        config.users.filter = filter.to_owned();
        config.groups = None;
        let live = read(&config).map(|snapshot| full(&snapshot)).unwrap_or_default();
        let file = read_ldif(&export(&server, &config), &Wants(vec![]));
        let file = file.map(|snapshot| full(&snapshot)).unwrap_or_default();
        assert_eq!(live, file, "{filter}");
        assert_eq!(live.len(), found, "{filter}: {live:?}");
    }
}

#[test]
fn those_below_a_referral_are_unknown_in_a_file_as_on_the_server() {
    let below = |base: &str| {
        format!(
            "dn: ou=remote,ou={base},{SUFFIX}\nobjectClass: referral\n\
             objectClass: extensibleObject\nou: remote\nuid: remote\ncn: remote\n\
             ref: ldap://other.example.org/ou=remote\n\n"
        )
    };
    for (base, users, groups) in [("people", false, true), ("groups", true, false)] {
        let ldif = [
            tree(),
            person("bo", ""),
            group("t", &[person_dn("bo"), format!("uid=eve,ou=remote,ou=people,{SUFFIX}")]),
            group("whole", &[person_dn("bo")]),
            below(base),
        ]
        .concat();
        let Some(server) = OpenLdap::start(&ldif, "") else { return };
        let config = reader(&server);
        let live = read(&config).unwrap();
        let file = read_ldif(&export(&server, &config), &Wants(vec![])).unwrap();
        for snapshot in [&live, &file] {
            let complete = (snapshot.users.is_complete(), snapshot.groups.is_complete());
            assert_eq!(complete, (users, groups), "{base}: {:?}", snapshot.scopes());
            assert_eq!(usernames(snapshot), ["bo"]);
            let t = completeness(snapshot, &group_dn("t"));
            assert_eq!(t.is_complete(), users, "{base}");
            assert!(completeness(snapshot, &group_dn("whole")).is_complete());
        }
        assert_eq!(live.directory.digest(), file.directory.digest(), "{base}");
    }
}
