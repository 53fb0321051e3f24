//! The LDAP source against a real 389 Directory Server, and FreeIPA's tree in one.
#![cfg(test)]

mod support;

use idpsyncd::config::SecretRef;
use idpsyncd::source::ldap::{LdapConfig, LdapGroups, LdapUsers, MembersFrom};
use support::ds389::*;
use support::ldap::{
    assert_complete, at, check, completeness, disabled, id_of, members, partial, read, sighting,
    sighting_by_id, ups, usernames,
};

const READER: &str = "cn=reader,ou=services,dc=example,dc=org";

/// A configuration for `server` as its reader.
fn reader(server: &Ds389) -> LdapConfig {
    let path = server.dir.path().join("reader-secret");
    std::fs::write(&path, "reader-secret\n").unwrap();
    LdapConfig {
        bind_dn: Some(READER.to_owned()),
        bind_password: Some(SecretRef::File(path)),
        ..at(&server.url)
    }
}

fn by_member_of(config: &LdapConfig) -> LdapConfig {
    let groups = config.groups.clone().unwrap();
    LdapConfig {
        groups: Some(LdapGroups { from: MembersFrom::MemberOf, ..groups }),
        ..config.clone()
    }
}

fn value(server: &Ds389, filter: &str, attribute: &str) -> String {
    let told = server.search(&[filter, attribute]);
    let line = told.lines().find_map(|line| line.strip_prefix(&format!("{attribute}: ")));
    line.unwrap_or_else(|| panic!("no {attribute}: {told}")).to_ascii_lowercase()
}

/// Three people, a group in a group, a cycle, and an empty group.
fn company() -> String {
    [
        tree(),
        person("alice", ""),
        person("bob", ""),
        person("carol", ""),
        group("ml", &[person_dn("alice"), group_dn("cycle")]),
        group("cycle", &[group_dn("ml"), "uid=BOB, ou=People,dc=EXAMPLE,dc=org".to_owned()]),
        group("empty", &[]),
        format!(
            "dn: cn=posix,ou=groups,{SUFFIX}\nobjectClass: posixGroup\ncn: posix\n\
             gidNumber: 100\nmemberUid: carol\n\n"
        ),
    ]
    .concat()
}

#[test]
fn a_389_is_read_whole_and_its_people_are_known_by_nsuniqueid() {
    let Some(server) = Ds389::start(&company()) else { return };
    let config = reader(&server);
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    assert_eq!(usernames(&snapshot), ["alice", "bob", "carol"]);
    assert_eq!(members(&snapshot, &group_dn("ml")), ["alice"]);
    assert_eq!(members(&snapshot, &group_dn("cycle")), ["bob"]);
    assert_eq!(ups(&snapshot, &group_dn("cycle")), [group_dn("ml")]);
    // Here a group may be empty, and that `member` can be seen the others show.
    assert!(members(&snapshot, &group_dn("empty")).is_empty());
    assert_eq!(members(&snapshot, &group_dn("posix")), ["carol"]);
    assert_eq!(id_of(&snapshot, "alice"), value(&server, "(uid=alice)", "nsUniqueId"));
    assert_eq!(id_of(&snapshot, "ml"), value(&server, "(cn=ml)", "nsUniqueId"));
    assert_eq!(sighting(&config, &[], "bob"), [id_of(&snapshot, "cycle")]);
    let bob = id_of(&snapshot, "bob");
    assert_eq!(sighting_by_id(&config, &bob), [id_of(&snapshot, "cycle")]);
    assert_eq!(sighting(&config, &[], "Carol"), [id_of(&snapshot, "posix")]);

    server.modify(&format!(
        "dn: {}\nchangetype: modrdn\nnewrdn: uid=alicia\ndeleteoldrdn: 1\n\n\
         dn: {}\nchangetype: delete\n\n",
        person_dn("alice"),
        person_dn("bob"),
    ));
    server.add(&person("bob", ""));
    let later = read(&config).unwrap();
    assert_complete(&later);
    assert_eq!(id_of(&later, "alicia"), id_of(&snapshot, "alice"), "a rename keeps the person");
    assert_ne!(id_of(&later, "bob"), id_of(&snapshot, "bob"), "made again is another person");
}

/// Inactivation as `ns-inactivate.pl` and `dsidm` set it up: a class of service gives everyone in
/// `nsDisabledRole` a computed `nsAccountLock`.
fn inactivation() -> String {
    format!(
        "dn: cn=nsManagedDisabledRole,{SUFFIX}\nobjectClass: ldapSubEntry\n\
         objectClass: nsRoleDefinition\nobjectClass: nsSimpleRoleDefinition\n\
         objectClass: nsManagedRoleDefinition\ncn: nsManagedDisabledRole\n\n\
         dn: cn=leavers,{SUFFIX}\nobjectClass: ldapSubEntry\nobjectClass: nsRoleDefinition\n\
         objectClass: nsSimpleRoleDefinition\nobjectClass: nsManagedRoleDefinition\ncn: leavers\n\n\
         dn: cn=nsDisabledRole,{SUFFIX}\nobjectClass: ldapSubEntry\n\
         objectClass: nsRoleDefinition\nobjectClass: nsComplexRoleDefinition\n\
         objectClass: nsNestedRoleDefinition\ncn: nsDisabledRole\n\
         nsRoleDN: cn=nsManagedDisabledRole,{SUFFIX}\nnsRoleDN: cn=leavers,{SUFFIX}\n\n\
         dn: cn=nsAccountInactivationTmp,{SUFFIX}\nobjectClass: nsContainer\n\
         cn: nsAccountInactivationTmp\n\n\
         dn: cn=\"cn=nsDisabledRole,{SUFFIX}\",cn=nsAccountInactivationTmp,{SUFFIX}\n\
         objectClass: extensibleObject\nobjectClass: cosTemplate\nobjectClass: ldapSubEntry\n\
         cn: cn=nsDisabledRole,{SUFFIX}\nnsAccountLock: true\ncosPriority: 0\n\n\
         dn: cn=nsAccountInactivation_cos,{SUFFIX}\nobjectClass: ldapSubEntry\n\
         objectClass: cosSuperDefinition\nobjectClass: cosClassicDefinition\n\
         cn: nsAccountInactivation_cos\ncosTemplateDn: cn=nsAccountInactivationTmp,{SUFFIX}\n\
         cosSpecifier: nsRole\ncosAttribute: nsAccountLock operational\n\n"
    )
}

#[test]
fn an_account_is_disabled_by_its_lock_or_by_a_role_that_locks_it() {
    let entries = [
        tree(),
        inactivation(),
        person("alice", ""),
        person("bob", "nsAccountLock: TRUE\n"),
        person("carol", "nsAccountLock: false\n"),
        person("dave", &format!("nsRoleDN: cn=nsManagedDisabledRole,{SUFFIX}\n")),
        person("eve", &format!("nsRoleDN: cn=leavers,{SUFFIX}\n")),
        group("all", &[person_dn("alice")]),
    ]
    .concat();
    let Some(server) = Ds389::start(&entries) else { return };
    let config = reader(&server);
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    assert_eq!(disabled(&snapshot), ["bob", "dave", "eve"]);
    // The computed lock says it by itself, where the roles may not be seen.
    server.modify(&format!(
        "dn: {SUFFIX}\nchangetype: modify\nadd: aci\n\
         aci: (targetattr = \"nsRole || nsRoleDN\")(version 3.0; acl \"no roles\"; \
         deny (read, search, compare) userdn = \"ldap:///anyone\";)\n\n"
    ));
    assert_eq!(disabled(&read(&config).unwrap()), ["bob", "dave", "eve"]);
}

#[test]
fn a_limit_makes_the_read_partial_and_the_advice_lifts_it() {
    let people: String = (0..60).map(|n| person(&format!("u{n:02}"), "")).collect();
    let everyone: Vec<String> = (0..60).map(|n| person_dn(&format!("u{n:02}"))).collect();
    let entries = [tree(), people, group("all", &everyone)].concat();
    let Some(server) = Ds389::start(&entries) else { return };
    let limit = |attribute: &str, value: &str| {
        server.modify(&format!(
            "dn: {READER}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n\n"
        ));
    };
    let config = LdapConfig { page_size: 20, ..reader(&server) };

    limit("nsLookThroughLimit", "30");
    let cut = read(&config).unwrap();
    assert!(partial(&cut.users).contains("`nsLookThroughLimit`"), "{}", partial(&cut.users));
    assert!(partial(&cut.users).contains("result 11"), "{}", partial(&cut.users));
    limit("nsLookThroughLimit", "-1");
    assert_complete(&read(&config).unwrap());

    // The limit on the size counts for each page.
    limit("nsSizeLimit", "21");
    assert_complete(&read(&config).unwrap());
    let cut = read(&LdapConfig { page_size: 1000, ..config.clone() }).unwrap();
    assert!(partial(&cut.users).contains("`page_size` below it"), "{}", partial(&cut.users));
    assert!(partial(&cut.users).contains("`nsSizeLimit`"), "{}", partial(&cut.users));
    limit("nsSizeLimit", "-1");
    assert_complete(&read(&LdapConfig { page_size: 1000, ..config }).unwrap());
}

#[test]
fn what_people_say_of_their_groups_is_compared_and_counts_where_it_is_asked_for() {
    let Some(server) = Ds389::start(&company()) else { return };
    let config = reader(&server);
    let differ = |config: &LdapConfig| -> Vec<String> {
        let told = check(config).into_iter().map(|told| told.message);
        told.filter(|message| message.contains("memberOf")).collect()
    };
    assert_eq!(differ(&config), [""; 0], "groups of groups are no difference");

    // Its plug-in writes the groups of groups as well, so a person is in each of them.
    let by_word = read(&by_member_of(&config)).unwrap();
    assert_complete(&by_word);
    assert_eq!(members(&by_word, &group_dn("ml")), ["alice", "bob"]);
    assert_eq!(members(&by_word, &group_dn("cycle")), ["alice", "bob"]);
    assert!(members(&by_word, &group_dn("posix")).is_empty(), "`memberUid` is the group's side");
    let expected = [id_of(&by_word, "cycle"), id_of(&by_word, "ml")];
    let mut found = sighting(&by_member_of(&config), &[], "alice");
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(found, expected);

    server.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: memberOf\nmemberOf: {}\n\n\
         dn: {}\nchangetype: modify\ndelete: memberOf\nmemberOf: {}\n\n",
        person_dn("carol"),
        group_dn("empty"),
        person_dn("alice"),
        group_dn("ml"),
    ));
    let told = differ(&config);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("cn=empty") && told[0].contains("does not list `carol`"), "{told:?}");
    assert!(told[1].contains("cn=ml") && told[1].contains("lists `alice` who"), "{told:?}");
    let snapshot = read(&config).unwrap();
    assert_eq!(members(&snapshot, &group_dn("ml")), ["alice"], "the group's list counts");

    // Where nobody may read what people say, nobody is known to be in no group.
    server.modify(&format!(
        "dn: {SUFFIX}\nchangetype: modify\nadd: aci\n\
         aci: (targetattr = \"memberOf\")(version 3.0; acl \"no memberOf\"; \
         deny (read, search, compare) userdn = \"ldap:///anyone\";)\n\n"
    ));
    let hidden = read(&by_member_of(&config)).unwrap();
    let why = partial(completeness(&hidden, &group_dn("ml")));
    assert!(why.contains("no user shows a `memberOf`"), "{why}");
    assert_eq!(differ(&config), [""; 0], "what is not to be seen is no difference");
}

#[test]
fn a_389_keeps_what_was_added_over_a_restart_and_its_plugins_are_on() {
    let entries = [tree(), person("alice", ""), group("ml", &[person_dn("alice")])].concat();
    let Some(mut server) = Ds389::start(&entries) else { return };
    server.stop();
    assert!(server.start_again());
    let alice = server.search(&["(uid=alice)", "nsUniqueId", "memberOf"]);
    assert!(alice.contains("nsUniqueId: "), "{alice}");
    assert!(alice.contains(&format!("memberOf: {}\n", group_dn("ml"))), "{alice}");
    let root = server.search(&["-b", "", "-s", "base", "supportedControl", "lastChangeNumber"]);
    assert!(root.contains("supportedControl: 1.3.6.1.4.1.4203.1.9.1.1\n"), "{root}");
    assert!(!root.contains("lastChangeNumber: 0\n"), "{root}");
}

/// FreeIPA's schema, as far as its tree below needs it.
const IPA_SCHEMA: &str = "dn: cn=schema
changetype: modify
add: attributeTypes
attributeTypes: ( 2.16.840.1.113730.3.8.3.1 NAME 'ipaUniqueID' DESC 'Unique identifier' EQUALITY caseIgnoreMatch ORDERING caseIgnoreOrderingMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 X-ORIGIN 'IPA v2' )
attributeTypes: ( 2.16.840.1.113730.3.8.11.1 NAME 'ipaExternalMember' DESC 'External Group Member Identifier' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 X-ORIGIN 'IPA v3' )
-
add: objectClasses
objectClasses: ( 2.16.840.1.113730.3.8.4.5 NAME 'ipaObject' DESC 'IPA objectclass' SUP top AUXILIARY MUST ipaUniqueID X-ORIGIN 'IPA v2' )
objectClasses: ( 2.16.840.1.113730.3.8.4.14 NAME 'nestedGroup' DESC 'Group that supports nesting' SUP groupOfNames STRUCTURAL MAY memberOf X-ORIGIN 'IPA v2' )
objectClasses: ( 2.16.840.1.113730.3.8.4.10 NAME 'ipaUserGroup' DESC 'IPA user group object class' SUP nestedGroup STRUCTURAL X-ORIGIN 'IPA v2' )
objectClasses: ( 2.16.840.1.113730.3.8.12.18 NAME 'ipaUser' AUXILIARY MUST uid X-ORIGIN 'IPA v3' )
objectClasses: ( 2.16.840.1.113730.3.8.12.1 NAME 'ipaExternalGroup' SUP top STRUCTURAL MUST cn MAY ( ipaExternalMember $ memberOf $ description $ owner ) X-ORIGIN 'IPA v3' )

";

/// A tree of FreeIPA's shape: its accounts, and the second view of them that its compat plug-in makes.
fn ipa() -> String {
    let container = |dn: &str| {
        let cn = dn.split([',', '=']).nth(1).unwrap();
        format!("dn: {dn},{SUFFIX}\nobjectClass: nsContainer\ncn: {cn}\n\n")
    };
    let user = |uid: &str, number: u32, extra: &str| {
        format!(
            "dn: uid={uid},cn=users,cn=accounts,{SUFFIX}\nobjectClass: inetOrgPerson\n\
             objectClass: inetUser\nobjectClass: posixAccount\nobjectClass: ipaObject\n\
             objectClass: ipaUser\nuid: {uid}\ncn: {uid}\nsn: {uid}\nuidNumber: {number}\n\
             gidNumber: {number}\nhomeDirectory: /home/{uid}\n\
             ipaUniqueID: 5F0C1B2A-0000-11EE-8000-0000000{number}\nmail: {uid}@example.org\n{extra}\n"
        )
    };
    let group = |cn: &str, class: &str, lines: &str| {
        format!(
            "dn: cn={cn},cn=groups,cn=accounts,{SUFFIX}\nobjectClass: groupOfNames\n\
             objectClass: nestedGroup\nobjectClass: ipaUserGroup\nobjectClass: ipaObject\n\
             objectClass: {class}\ncn: {cn}\nipaUniqueID: group-{cn}\n{lines}\n"
        )
    };
    let in_users = |uid: &str| format!("member: uid={uid},cn=users,cn=accounts,{SUFFIX}\n");
    let in_groups = |cn: &str| format!("member: cn={cn},cn=groups,cn=accounts,{SUFFIX}\n");
    [
        tree(),
        container("cn=accounts"),
        container("cn=users,cn=accounts"),
        container("cn=groups,cn=accounts"),
        user("alice", 50001, ""),
        user("bob", 50002, "nsAccountLock: TRUE\n"),
        group(
            "ipausers",
            "top",
            &[in_users("alice"), in_users("bob"), in_groups("admins")].concat(),
        ),
        group("admins", "posixGroup", &format!("gidNumber: 60001\n{}", in_users("alice"))),
        group(
            "partners",
            "ipaExternalGroup",
            "ipaExternalMember: S-1-5-21-1-2-3-1104\nipaExternalMember: S-1-5-21-1-2-3-1105\n",
        ),
        container("cn=compat"),
        container("cn=users,cn=compat"),
        container("cn=groups,cn=compat"),
        format!(
            "dn: uid=alice,cn=users,cn=compat,{SUFFIX}\nobjectClass: posixAccount\n\
             objectClass: account\nuid: alice\ncn: alice\nuidNumber: 50001\ngidNumber: 50001\n\
             homeDirectory: /home/alice\n\n\
             dn: cn=admins,cn=groups,cn=compat,{SUFFIX}\nobjectClass: posixGroup\ncn: admins\n\
             gidNumber: 60001\nmemberUid: alice\n\n"
        ),
        container("cn=provisioning"),
        container("cn=accounts,cn=provisioning"),
        container("cn=deleted users,cn=accounts,cn=provisioning"),
        user("zoe", 50003, "")
            .replace("cn=users,cn=accounts", "cn=deleted users,cn=accounts,cn=provisioning"),
    ]
    .concat()
}

#[test]
fn a_tree_of_freeipas_shape_is_read_once_and_its_people_are_known_by_ipauniqueid() {
    let Some(server) = Ds389::start("") else { return };
    server.modify(IPA_SCHEMA);
    server.add(&ipa());
    let groups = reader(&server).groups.unwrap();
    // The whole suffix, the compat tree within.
    let config = LdapConfig {
        users: LdapUsers {
            base: SUFFIX.to_owned(),
            filter: "(objectClass=posixAccount)".to_owned(),
            ..reader(&server).users
        },
        groups: Some(LdapGroups { base: SUFFIX.to_owned(), ..groups }),
        ..reader(&server)
    };
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    assert_eq!(usernames(&snapshot), ["alice", "bob"]);
    assert_eq!(disabled(&snapshot), ["bob"]);
    assert_eq!(id_of(&snapshot, "alice"), "5f0c1b2a-0000-11ee-8000-000000050001");
    assert_eq!(id_of(&snapshot, "admins"), value(&server, "(cn=admins)", "nsUniqueId"));
    let group = |cn: &str| format!("cn={cn},cn=groups,cn=accounts,{SUFFIX}");
    assert_eq!(members(&snapshot, &group("admins")), ["alice"]);
    assert_eq!(members(&snapshot, &group("ipausers")), ["alice", "bob"]);
    assert_eq!(ups(&snapshot, &group("admins")), [group("ipausers")]);
    assert!(members(&snapshot, &group("partners")).is_empty());
    let told: Vec<&str> = snapshot.diagnostics.iter().map(|told| told.message.as_str()).collect();
    let about = told.iter().find(|told| told.contains("cn=partners")).expect("a warning");
    assert!(about.contains("2 member(s) are of another directory"), "{about}");
    assert!(about.contains("S-1-5-21-1-2-3-1104"), "{about}");
    assert_eq!(sighting(&config, &[], "alice").len(), 2);
    assert_eq!(sighting_by_id(&config, &id_of(&snapshot, "alice")).len(), 2);
    // Hidden, it does not make others of them: nobody is known, and nobody gone.
    let rule =
        "(version 3.0; acl \"read\"; allow (read, search, compare) userdn = \"ldap:///anyone\";)";
    server.modify(&format!(
        "dn: {SUFFIX}\nchangetype: modify\nreplace: aci\n\
         aci: (targetattr != \"userPassword || ipaUniqueID\"){rule}\n\n"
    ));
    let hidden = read(&config).unwrap();
    assert!(usernames(&hidden).is_empty());
    assert!(partial(&hidden.users).contains("2 entries"), "{}", partial(&hidden.users));
}
