use std::collections::BTreeSet;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::directory::{Completeness, DirUserIdx, Directory, Enabled, Kind};
use crate::model::index::Place as _;
use crate::source::ldap::{LdapGroups, LdapUsers, MembersFrom};

struct Wants(Vec<(String, String)>);

impl Interest for Wants {
    fn reaches(&self, _: Kind, _: &str, _: &str, _: &str, _: &str, _: &[&str]) -> bool {
        true
    }

    fn attributes(&self) -> &[(String, String)] {
        &self.0
    }
}

fn config() -> LdifConfig {
    LdifConfig {
        path: PathBuf::from("directory.ldif"),
        users: LdapUsers {
            base: "ou=people,dc=x".to_owned(),
            filter: "(objectClass=inetOrgPerson)".to_owned(),
            username: "uid".to_owned(),
            email: "mail".to_owned(),
            email_verified: false,
        },
        groups: Some(LdapGroups {
            base: "ou=groups,dc=x".to_owned(),
            filter: "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))".to_owned(),
            name: "cn".to_owned(),
            nested: true,
            primary: false,
            from: MembersFrom::Member,
            distribution: false,
        }),
    }
}

fn read_as(text: &str, config: &LdifConfig, wants: &[(&str, &str)]) -> Result<Snapshot, String> {
    let wants = Wants(wants.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
    let now = crate::model::parse_rfc3339("2026-11-23T12:00:00Z").unwrap();
    read_bytes(text.as_bytes(), config, &wants, now)
        .map(|(assembler, verdict)| assembler.finish(verdict, &wants))
        .map_err(|fault| located(Path::new("directory.ldif"), &fault))
}

fn read(text: &str) -> Result<Snapshot, String> {
    read_as(text, &config(), &[])
}

fn user(uid: &str) -> String {
    format!("dn: uid={uid},ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: {uid}\n\n")
}

fn group(cn: &str, members: &[&str]) -> String {
    let members: String = members.iter().map(|m| format!("member: {m}\n")).collect();
    format!("dn: cn={cn},ou=groups,dc=x\nobjectClass: groupOfNames\ncn: {cn}\n{members}\n")
}

fn members(directory: &Directory, name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (index, reference) in directory.refs.iter().enumerate() {
        if directory.text(reference.name) == name {
            for member in &directory.members[index] {
                let user = &directory.users[member.place()];
                found.insert(directory.text(user.username).to_owned());
            }
        }
    }
    found
}

fn ups(directory: &Directory, name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (index, reference) in directory.refs.iter().enumerate() {
        if directory.text(reference.name) == name {
            for up in &directory.implies[index] {
                let up = &directory.refs[up.place()];
                found.insert(directory.text(up.name).to_owned());
            }
        }
    }
    found
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn folding_base64_comments_crlf_and_a_version_are_understood() {
    let text = "version: 1\r\n\r\n# a comment\r\n  that is folded\r\ndn:: dWlkPWFsaWNlLG91PXBlb3BsZSxkYz14\r\nobjectClass: inetOrg\r\n Person\r\nuid: alice\r\nmail:: YUB4Lm9yZw==\r\nuserPassword::\r\n\r\n\r\n";
    let snapshot = read(text).unwrap();
    let user = &snapshot.directory.users[0];
    assert_eq!(snapshot.directory.text(user.username), "alice");
    assert_eq!(snapshot.directory.text(user.email), "a@x.org");
    assert!(!user.email_verified, "it is not said that nobody can write their own");
    let mut vouched = config();
    vouched.users.email_verified = true;
    assert!(read_as(text, &vouched, &[]).unwrap().directory.users[0].email_verified);
    assert_eq!(user.enabled, Enabled::Yes);
    assert!(snapshot.from_file && snapshot.is_complete());
}

#[test]
fn every_kind_of_group_is_read_and_nested_ones_lead_on() {
    let text = [
        user("alice"),
        user("bob"),
        user("carol"),
        group("names", &["UID=Alice, OU=People,DC=X", "cn=unique,ou=groups,dc=x"]),
        "dn: cn=unique,ou=groups,dc=x\nobjectClass: groupOfUniqueNames\ncn: unique\nuniqueMember: uid=bob,ou=people,dc=x#'0101'B\nuniqueMember: cn=names,ou=groups,dc=x\n\n".to_owned(),
        "dn: cn=posix,ou=groups,dc=x\nobjectClass: posixGroup\ncn: posix\nmemberUid: carol\n\n".to_owned(),
        "dn: cn=empty,ou=groups,dc=x\nobjectClass: posixGroup\ncn: empty\n\n".to_owned(),
    ]
    .concat();
    let snapshot = read(&text).unwrap();
    let directory = &snapshot.directory;
    assert_eq!(members(directory, "names"), set(&["alice"]));
    assert_eq!(members(directory, "unique"), set(&["bob"]));
    assert_eq!(members(directory, "posix"), set(&["carol"]));
    assert_eq!(ups(directory, "unique"), set(&["names"]), "nested, and a cycle is legal");
    assert_eq!(ups(directory, "names"), set(&["unique"]));
    assert!(snapshot.is_complete(), "{:?}", snapshot.members);
    assert!(snapshot.warnings().is_empty(), "{:?}", snapshot.warnings());

    let mut flat = config();
    flat.groups.as_mut().unwrap().nested = false;
    let snapshot = read_as(&text, &flat, &[]).unwrap();
    assert_eq!(ups(&snapshot.directory, "unique"), set(&[]));
    assert!(snapshot.warnings().is_empty(), "{:?}", snapshot.warnings());
}

#[test]
fn two_groups_of_one_name_in_different_branches_stay_two() {
    let text = [
        user("alice"),
        user("bob"),
        "dn: cn=admins,ou=a,ou=groups,dc=x\nobjectClass: groupOfNames\ncn: admins\nmember: uid=alice,ou=people,dc=x\n\n".to_owned(),
        "dn: cn=admins,ou=b,ou=groups,dc=x\nobjectClass: groupOfNames\ncn: admins\nmember: uid=bob,ou=people,dc=x\n\n".to_owned(),
    ]
    .concat();
    let snapshot = read(&text).unwrap();
    assert_eq!(snapshot.directory.refs.len(), 2);
    let member = DirUserIdx::new;
    assert_eq!(snapshot.directory.members[..], [[member(0)], [member(1)]]);
}

#[test]
fn placeholders_are_silent_and_members_who_lead_nowhere_are_told_once_a_group() {
    let text = [
        user("alice"),
        group("quiet", &["", "cn=nobody", "cn=quiet,ou=groups,dc=x", "cn=nobody,dc=x"]),
        group(
            "loud",
            &["uid=gone,ou=people,dc=x", "uid=else,dc=y", "not a dn", "uid=alice,ou=people,dc=x"],
        ),
        "dn: cn=posix,ou=groups,dc=x\nobjectClass: posixGroup\ncn: posix\nmemberUid: ghost\n\n"
            .to_owned(),
    ]
    .concat();
    let snapshot = read(&text).unwrap();
    assert_eq!(
        snapshot.warnings(),
        [
            "group `cn=loud,ou=groups,dc=x`: 1 member(s) lead to no user or group (gone, or left out by a filter): `uid=gone,ou=people,dc=x`; 1 member(s) are outside the bases of users and groups: `uid=else,dc=y`; 1 member(s) are not distinguished names: `not a dn`",
            "group `cn=posix,ou=groups,dc=x`: 1 member(s) name no user: `ghost`",
        ]
    );
    assert!(snapshot.is_complete());
    assert_eq!(members(&snapshot.directory, "loud"), set(&["alice"]));
}

#[test]
fn a_group_without_members_in_a_file_has_none_and_nobody_is_told_of_rights() {
    let text = [user("alice"), group("none", &[]), group("open", &["uid=alice,ou=people,dc=x"])];
    let snapshot = read(&text.concat()).unwrap();
    assert!(snapshot.is_complete() && snapshot.stands_alone(), "{:?}", snapshot.scopes());
    assert_eq!(snapshot.warnings(), [""; 0]);
    assert_eq!(members(&snapshot.directory, "none"), set(&[]));
}

#[test]
fn groups_whose_members_are_not_read_are_told_by_name_and_are_never_empty() {
    let of = |cn: &str, class: &str, rest: &str| {
        format!("dn: cn={cn},ou=groups,dc=x\nobjectClass: {class}\ncn: {cn}\n{rest}\n")
    };
    let mut config = config();
    config.groups.as_mut().unwrap().filter = "(objectClass=*)".to_owned();
    for (name, class, rest, told) in [
        (
            "desk",
            "groupOfURLs",
            "memberURL: ldap:///ou=people,dc=x??sub?(title:1.2.3:=x)\n",
            "the URL `ldap:///ou=people,dc=x",
        ),
        (
            "boss",
            "organizationalRole",
            "roleOccupant: uid=alice,ou=people,dc=x\n",
            "`roleOccupant`",
        ),
        ("post", "nisMailAlias", "rfc822MailMember: alice\n", "`rfc822MailMember`"),
        ("net", "nisNetgroup", "nisNetgroupTriple: (,alice,)\n", "`nisNetgroupTriple`"),
        ("unit", "organizationalUnit", "", "`organizationalUnit`"),
        (
            "mixed",
            "groupOfNames",
            "member: uid=alice,ou=people,dc=x\nmemberURL: ldap:///\n",
            "the URL `ldap:///`",
        ),
    ] {
        let text = [user("alice"), of(name, class, rest), group("other", &[])].concat();
        let snapshot = read_as(&text, &config, &[]).unwrap();
        let partial: Vec<&Completeness> =
            snapshot.members.iter().filter(|members| !members.is_complete()).collect();
        let [Completeness::Partial(why)] = partial.as_slice() else {
            panic!("{name}: {partial:?}")
        };
        assert!(why.contains(told) && why.contains(&format!("cn={name},")), "{why}");
        assert!(snapshot.warnings().iter().any(|w| w.contains(&format!("`cn={name},"))), "{name}");
        assert!(!snapshot.is_complete() && snapshot.groups.is_complete());
    }
}

#[test]
fn members_that_a_url_means_are_found_in_a_file() {
    let dynamic = |cn: &str, url: &str| {
        format!(
            "dn: cn={cn},ou=groups,dc=x\nobjectClass: groupOfURLs\ncn: {cn}\nmemberURL: {url}\n\n"
        )
    };
    let text = [
        // A group may come before whom it means.
        dynamic("desk", "ldap:///ou=people,dc=x??sub?(title=Help Desk)"),
        dynamic("none", "ldap:///ou=people,dc=x??one?(room=7)"),
        dynamic("all", "ldap:///dc=x??sub?(|(title=*)(cn=d*))"),
        user("alice").replace("\n\n", "\ntitle: helpdesk\ntitle: help  desk\n\n"),
        user("bob"),
    ]
    .concat();
    let mut config = config();
    config.groups.as_mut().unwrap().filter = "(objectClass=groupOfURLs)".to_owned();
    let snapshot = read_as(&text, &config, &[]).unwrap();
    assert!(snapshot.is_complete() && snapshot.stands_alone(), "{:?}", snapshot.scopes());
    assert_eq!(members(&snapshot.directory, "desk"), set(&["alice"]));
    assert_eq!(members(&snapshot.directory, "none"), set(&[]));
    assert_eq!(members(&snapshot.directory, "all"), set(&["alice"]));
}

#[test]
fn ids_come_from_the_export_else_from_the_username() {
    let text = [
        "dn: uid=a,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: A\nentryUUID: 0000ABCD-0000-1040-8000-000000000001\n\n",
        "dn: uid=b,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: B\n\n",
        "dn: cn=g,ou=groups,dc=x\nobjectClass: posixGroup\ncn: g\n\n",
    ]
    .concat();
    let snapshot = read(&text).unwrap();
    let exts: Vec<&str> =
        snapshot.directory.users.iter().map(|user| snapshot.directory.text(user.ext)).collect();
    assert_eq!(exts, ["0000abcd-0000-1040-8000-000000000001", "b"]);
    let reference = &snapshot.directory.refs[0];
    assert_eq!(snapshot.directory.text(reference.key), "cn=g,ou=groups,dc=x");
    assert_eq!(snapshot.directory.text(reference.norm), "cn=g,ou=groups,dc=x");
}

#[test]
fn two_people_of_one_username_stay_two_for_resolving_to_report() {
    let text = [
        "dn: uid=a,ou=1,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: a\n\n",
        "dn: uid=a,ou=2,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: A\n\n",
        "dn: cn=g,ou=groups,dc=x\nobjectClass: posixGroup\ncn: g\nmemberUid: a\n\n",
    ];
    let snapshot = read(&text.concat()).unwrap();
    assert_eq!(snapshot.directory.users.len(), 2);
    assert_eq!(members(&snapshot.directory, "g"), set(&[]), "nobody is meant for sure");
    assert!(snapshot.warnings()[0].contains("name several users"), "{:?}", snapshot.warnings());
}

#[test]
fn attribute_values_that_rules_name_become_references() {
    let text = [
        "dn: uid=a,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: a\ndepartmentNumber:  RESEARCH  Lab\n\n",
        "dn: uid=b,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: b\ndepartmentNumber: Sales\n\n",
    ]
    .concat();
    let wants = [("DepartmentNumber", "Research lab"), ("title", "Boss")];
    let snapshot = read_as(&text, &config(), &wants).unwrap();
    assert_eq!(members(&snapshot.directory, "Research lab"), set(&["a"]));
    let reference = &snapshot.directory.refs[0];
    assert_eq!(reference.kind, Kind::Attribute);
    assert_eq!(snapshot.directory.text(reference.identity), "DepartmentNumber=Research lab");
    let told = |text: &str| snapshot.warnings().iter().any(|warning| warning.contains(text));
    assert!(told("no user shows an attribute `title`"), "{:?}", snapshot.warnings());
}

#[test]
fn disabled_accounts_are_known_by_their_attributes() {
    let text = format!(
        "{}dn: uid=l,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: l\npwdAccountLockedTime: 000001010000Z\n\n",
        user("alice")
    );
    let snapshot = read(&text).unwrap();
    let enabled: Vec<Enabled> = snapshot.directory.users.iter().map(|user| user.enabled).collect();
    assert_eq!(enabled, [Enabled::Yes, Enabled::No]);
}

#[test]
fn what_is_not_whole_or_not_content_is_an_error_that_names_the_place() {
    let alice = user("alice");
    for (text, why) in [
        (String::new(), "directory.ldif`: it is empty"),
        ("\n\n".to_owned(), "it is empty"),
        ("# nothing\n".to_owned(), "there is no entry in it"),
        ("version: 1\n".to_owned(), "there is no entry in it"),
        ("version: 2\n".to_owned(), "ldif:1`: only version 1"),
        (format!("{alice}dn: uid=bob,ou=peo"), "ldif:5`: it ends in the middle of a line"),
        (
            format!("{alice}dn: uid=bob,ou=people,dc=x\n"),
            "ldif:5`: the entry `uid=bob,ou=people,dc=x` has no attributes",
        ),
        (
            format!("{alice}dn: uid=b,dc=x\nmail:: YUB4Lm9yZ\n"),
            "ldif:6`: the value of `mail` is not base64",
        ),
        (
            format!("{alice}dn: uid=b,dc=x\nmail:: YU=4\n"),
            "ldif:6`: the value of `mail` is not base64",
        ),
        (format!("{alice}dn: uid=b,dc=x\nsecret\n"), "ldif:6`: `secret` is not `name: value`"),
        (format!("{alice}dn: uid=b,dc=x\nmy mail: b\n"), "ldif:6`: `my mail` is not the name"),
        (format!("{alice}cn: bob\n"), "ldif:5`: an entry starts with `dn:`, not with `cn`"),
        (format!("{alice}search: 2\nresult: 0 Success\n"), "-LLL"),
        (
            format!("{alice}{alice}"),
            "ldif:5`: the entry `uid=alice,ou=people,dc=x` stands in line 1 already",
        ),
        (
            format!("{}dn: uid=b,dc=x\ncn: b\n", alice.trim_end_matches('\n').to_owned() + "\n"),
            "a second `dn`",
        ),
        ("dn: nonsense\ncn: a\n".to_owned(), "ldif:1`: `nonsense` is not a distinguished name"),
        (
            "dn: uid=a,dc=x\nchangetype: modify\n".to_owned(),
            "ldif:2`: `changetype` makes this a change record",
        ),
        (
            "dn: uid=a,dc=x\nchangetype: delete\n".to_owned(),
            "ldif:2`: `changetype` makes this a change record",
        ),
        (
            "dn: uid=a,dc=x\ncontrol: 1.2.3 true\nobjectClass: person\n".to_owned(),
            "ldif:2`: `control` belongs to a change record",
        ),
        (
            "dn: uid=a,dc=x\nchangetype: add\n".to_owned(),
            "ldif:1`: the entry `uid=a,dc=x` has no attributes",
        ),
        ("dn:< file:///etc/shadow\n".to_owned(), "ldif:1`: `dn` takes its value from a URL"),
        (
            "dn: uid=a,dc=x\ncn: a\n".to_owned(),
            "no user: none of its 1 entries is below `ou=people,dc=x`",
        ),
        ("dn: cn=a,ou=people,dc=x\nobjectClass: inetOrgPerson\ncn: a\n".to_owned(), "has a `uid`"),
    ] {
        let error = read(&text).map(|_| ()).unwrap_err();
        assert!(error.contains(why), "{text:?}: {error}");
    }
}

#[test]
fn a_record_that_adds_an_entry_says_that_it_is_there() {
    for lines in [
        "changetype: add\n",
        "changeType: ADD\r\n",
        "changetype:: YWRk\n",
        "control: 1.2.3 true\nchangetype: add\n",
        "# a comment\nchangetype: add\n",
    ] {
        let text = user("alice").replacen("objectClass", &format!("{lines}objectClass"), 1);
        let snapshot =
            read(&[text, user("bob")].concat()).map(|snapshot| snapshot.directory.users.len());
        assert_eq!(snapshot, Ok(2), "{lines:?}");
    }
}

#[test]
fn a_value_at_a_url_is_an_error_only_where_it_is_needed() {
    let at = |dn: &str, class: &str, name: &str| {
        format!("dn: {dn}\nobjectClass: {class}\nuid: a\ncn: a\n{name}:< file:///etc/shadow\n\n")
    };
    let person = |name: &str| at("uid=a,ou=people,dc=x", "inetOrgPerson", name);
    let group = |name: &str| at("cn=a,ou=groups,dc=x", "groupOfNames", name);
    let mut titled = config();
    titled.users.filter = "(&(objectClass=inetOrgPerson)(!(title=Leaver)))".to_owned();
    for (text, needed) in [
        (person("jpegPhoto"), false),
        (person("userCertificate;binary"), false),
        (person("member"), false),
        (person("mail"), true),
        (person("2.5.4.12"), true),
        (person("shadowExpire"), true),
        (person("nsUniqueId"), true),
        (person("departmentNumber"), true),
        (group("mail"), false),
        (group("member"), true),
        (group("objectClass"), true),
        (at("cn=printer,ou=people,dc=x", "device", "mail"), false),
        (at("cn=printer,ou=people,dc=x", "device", "objectClass"), true),
        (at("cn=printer,ou=devices,dc=x", "device", "objectClass"), false),
    ] {
        let read =
            read_as(&[user("z"), text.clone()].concat(), &titled, &[("departmentNumber", "1")]);
        match read {
            Ok(_) => assert!(!needed, "{text}"),
            Err(error) => {
                assert!(needed && error.contains("takes its value from a URL"), "{text}: {error}");
                assert!(!error.contains("shadow:") && !error.contains("/etc"), "{error}");
            }
        }
    }
}

#[test]
fn what_no_search_returns_is_neither_a_user_nor_a_group_nor_in_the_way_of_one() {
    let plain = [user("ada"), group("admins", &["uid=ada,ou=people,dc=x"])].concat();
    let expected = read(&plain).unwrap();
    let extra = [
        "dn: nsuniqueid=1-1-1-1,uid=ada,ou=people,dc=x\nobjectClass: inetOrgPerson\nobjectClass: nsTombstone\nuid: ada\n\n",
        "dn: nsuniqueid=1-1-1-2,cn=admins,ou=groups,dc=x\nobjectClass: groupOfNames\nobjectClass: nsTombstone\ncn: admins\nmember: uid=bo,ou=people,dc=x\n\n",
        "dn: CN=bo\\0ADEL:77,CN=Deleted Objects,OU=people,DC=x\nobjectClass: inetOrgPerson\nuid: bo\nisDeleted: TRUE\n\n",
        "dn: uid=glue,ou=people,dc=x\nobjectClass: inetOrgPerson\nobjectClass: glue\nuid: glue\n\n",
        "dn: cn=policy,ou=people,dc=x\nobjectClass: inetOrgPerson\nobjectClass: subentry\nuid: policy\n\n",
    ];
    let snapshot = read(&[plain.as_str(), &extra.concat()].concat()).unwrap();
    assert_eq!(snapshot.directory.digest(), expected.directory.digest());
    assert_eq!(snapshot.warnings(), expected.warnings());
    // One of the deleted alone is nobody at all.
    assert!(read(extra[0]).map(|_| ()).unwrap_err().contains("no user"));

    let conflict = "dn: nsuniqueid=1-1-1-3+uid=ada,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: ada\nnsds5ReplConflict: namingConflict uid=ada\n\n";
    let snapshot = read(&[plain.as_str(), conflict].concat()).unwrap();
    assert_eq!(snapshot.directory.digest(), expected.directory.digest());
    assert!(snapshot.warnings()[0].contains("replication conflicts"), "{:?}", snapshot.warnings());
}

#[test]
fn the_servers_own_suffixes_are_below_no_company_s() {
    let mut everywhere = config();
    everywhere.users.base = String::new();
    let manager = "dn: uid=rm,cn=config\nobjectClass: inetOrgPerson\nuid: rm\n\n";
    let text = [user("ada"), manager.to_owned()].concat();
    let snapshot = read_as(&text, &everywhere, &[]).unwrap();
    assert_eq!(snapshot.directory.users.len(), 1);
    everywhere.users.base = "cn=config".to_owned();
    let snapshot = read_as(&text, &everywhere, &[]).unwrap();
    assert_eq!(snapshot.directory.text(snapshot.directory.users[0].username), "rm");
}

#[test]
fn an_account_is_inactivated_by_the_roles_that_the_export_defines() {
    let role = |cn: &str, value: &str| {
        format!(
            "dn: cn={cn},dc=x\nobjectClass: LDAPsubentry\nobjectClass: nsRoleDefinition\ncn: {cn}\n{value}\n"
        )
    };
    let holder = |uid: &str, line: &str| user(uid).replacen("uid: ", &format!("{line}\nuid: "), 1);
    let text = [
        holder("locked", "nsRoleDN: cn=nsManagedDisabledRole,dc=x"),
        holder("leaver", "nsRoleDN: cn=Leavers,dc=x"),
        holder("staff", "nsRoleDN: cn=Staff,dc=x"),
        role("nsManagedDisabledRole", ""),
        role(
            "nsDisabledRole",
            "nsRoleDN: cn=nsManagedDisabledRole,dc=x\nnsRoleDN: cn=leavers,dc=x\n",
        ),
        role("leavers", ""),
        role("staff", ""),
    ];
    let snapshot = read(&text.concat()).unwrap();
    let states: Vec<(&str, Enabled)> = snapshot
        .directory
        .users
        .iter()
        .map(|user| (snapshot.directory.text(user.username), user.enabled))
        .collect();
    assert_eq!(states, [("leaver", Enabled::No), ("locked", Enabled::No), ("staff", Enabled::Yes)]);
}

#[test]
fn whoever_has_a_value_that_cannot_be_read_is_named_with_it() {
    let with = |uid: &str, line: &str| user(uid).replacen("uid: ", &format!("{line}\nuid: "), 1);
    let text = [
        user("alice"),
        with("bob", "pwdEndTime: soon"),
        with("carol", "nsAccountLock: perhaps"),
        "dn: cn=odd,ou=people,dc=x\nobjectClass: inetOrgPerson\nuid:: //5iaW4=\n\n".to_owned(),
    ];
    let snapshot = read(&text.concat()).unwrap();
    for told in [
        r"user `uid=bob,ou=people,dc=x`: `pwdEndTime` is `soon`, which is no time",
        r"user `uid=carol,ou=people,dc=x`: `nsAccountLock` is `perhaps`, which is no boolean",
        r"user `cn=odd,ou=people,dc=x`: `uid` is `\xff\xfebin`, which is no text (UTF-8)",
    ] {
        assert!(
            snapshot.warnings().iter().any(|w| w.starts_with(told)),
            "{:?}",
            snapshot.warnings()
        );
    }
    let crowd: String = (0..60).map(|n| with(&format!("u{n:02}"), "pwdEndTime: soon")).collect();
    let snapshot = read(&crowd).unwrap();
    assert_eq!(snapshot.warnings().iter().filter(|w| w.starts_with("user `")).count(), 50);
    assert!(snapshot.warnings().iter().any(|w| w.starts_with("10 more users")));
}

#[test]
fn an_export_cut_between_two_lines_is_told_by_its_missing_id() {
    let entry = |uid: &str, id: u32| {
        format!(
            "dn: uid={uid},ou=people,dc=x\nobjectClass: inetOrgPerson\nuid: {uid}\nentryUUID: 00000000-0000-0000-0000-{id:012}\n\n"
        )
    };
    let text = [entry("a", 1), entry("b", 2), entry("c", 3)].concat();
    assert!(read(&text).is_ok());
    let cut = text.find("entryUUID: 00000000-0000-0000-0000-000000000003").unwrap();
    let error = read(&text[..cut]).map(|_| ()).unwrap_err();
    assert!(error.contains("ldif:11`: the last entry has no id"), "{error}");
    let twice = [entry("a", 1), entry("b", 1)].concat();
    assert!(read(&twice).map(|_| ()).unwrap_err().contains("has the id of the one in line 1"));
}

#[test]
fn an_export_cut_in_its_first_group_is_refused_wherever_that_is() {
    let with_id = |entry: String, id: u32| {
        format!("{}\nentryUUID: 00000000-0000-0000-0000-{id:012}\n\n", entry.trim_end())
    };
    let people = [with_id(user("a"), 1), with_id(user("b"), 2)].concat();
    let team = with_id(group("team", &["uid=a,ou=people,dc=x", "uid=b,ou=people,dc=x"]), 3);
    assert!(read(&(people.clone() + &team)).is_ok());
    // Nobody else shows what a whole group looks like, and more of them may have followed.
    let lines: Vec<&str> = team.trim_end().split_inclusive('\n').collect();
    assert!(lines.len() > 4);
    for kept in 1..lines.len() {
        let cut = people.clone() + &lines[..kept].concat();
        assert!(read(&cut).is_err(), "{kept} lines: {cut}");
    }
}

#[test]
fn members_that_came_as_ranges_are_all_of_them_where_no_range_is_missing() {
    let people: String = ["a", "b", "c"].map(user).concat();
    let first = "member;range=0-1: uid=a,ou=people,dc=x\nmember;range=0-1: uid=b,ou=people,dc=x\n";
    let rest = "member;range=2-*: uid=c,ou=people,dc=x\n";
    for (ranges, seen, is_whole) in [
        (format!("{first}{rest}"), set(&["a", "b", "c"]), true),
        (first.to_owned(), set(&[]), false),
        (rest.to_owned(), set(&[]), false),
    ] {
        let team = group("team", &[]).trim_end().to_owned() + "\n" + &ranges;
        let snapshot = read(&(people.clone() + &team)).unwrap();
        assert_eq!(members(&snapshot.directory, "team"), seen, "{ranges}");
        assert_eq!(snapshot.is_complete(), is_whole, "{ranges}: {:?}", snapshot.scopes());
    }
}

#[test]
fn a_bad_filter_or_base_is_an_error() {
    let mut bad = config();
    bad.users.filter = "(objectClass=".to_owned();
    let error = read_as(&user("a"), &bad, &[]).map(|_| ()).unwrap_err();
    assert!(error.contains("`users.filter`: `(objectClass=` is not a search filter"), "{error}");
    let mut bad = config();
    bad.groups.as_mut().unwrap().base = "groups".to_owned();
    let error = read_as(&user("a"), &bad, &[]).map(|_| ()).unwrap_err();
    assert!(error.contains("`groups.base`: `groups` is not a distinguished name"), "{error}");
}

#[test]
fn no_message_quotes_a_value() {
    let text = "dn: uid=a,dc=x\nuserPassword:: aHVudGVyMg\n";
    let error = read(text).map(|_| ()).unwrap_err();
    assert!(!error.contains("aHVudGVyMg"), "{error}");
}

proptest! {
    #[test]
    fn the_order_of_entries_never_matters(seed in any::<u64>()) {
        let mut records = vec![
            user("a"), user("b"), user("c"), user("d"),
            group("one", &["uid=a,ou=people,dc=x", "cn=two,ou=groups,dc=x"]),
            group("two", &["uid=B,ou=people,dc=x", "cn=one,ou=groups,dc=x", "uid=zz,ou=people,dc=x"]),
            group("three", &["uid=c,ou=people,dc=x"]),
        ];
        let straight = read(&records.concat()).unwrap();
        fastrand::Rng::with_seed(seed).shuffle(&mut records);
        let shuffled = read(&records.concat()).unwrap();
        prop_assert_eq!(straight.directory.digest(), shuffled.directory.digest());
        prop_assert_eq!(straight.warnings(), shuffled.warnings());
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_or_ends_at_a_line(at in 0_usize..400) {
        let text = [user("a"), user("b"), group("g", &["uid=a,ou=people,dc=x"])].concat();
        let cut = &text[..at.min(text.len())];
        if read(cut).is_ok() {
            prop_assert!(cut.ends_with('\n'));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_never_a_panic(text in "(dn|cn|member|objectClass|version|#| |\n|:|::|[a-z=,+/]{1,6}|\r\n){0,60}\n") {
        let _ = read(&text);
    }

    #[test]
    fn folding_and_base64_change_nothing(name in "[a-zA-Z]{1,30}", width in 2_usize..20) {
        let plain = user(&name);
        let folded: String = plain
            .lines()
            .map(|line| {
                let chars: Vec<char> = line.chars().collect();
                let rows: Vec<String> =
                    chars.chunks(width).map(|row| row.iter().collect()).collect();
                rows.join("\r\n ") + "\r\n"
            })
            .collect();
        let a = read(&plain).unwrap();
        let b = read(&folded).unwrap();
        prop_assert_eq!(a.directory.digest(), b.directory.digest());
    }
}
