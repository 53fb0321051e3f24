//! The LDAP source against a real OpenLDAP.
#![cfg(test)]

mod support;

#[path = "ldap_real/binds.rs"]
mod binds;
#[path = "ldap_real/dynamic.rs"]
mod dynamic;
#[path = "ldap_real/groups.rs"]
mod groups;
#[path = "ldap_real/same.rs"]
mod same;
#[path = "ldap_real/srv.rs"]
mod srv;

use std::net::UdpSocket;
use std::sync::Arc;

use idpsyncd::directory::{Interest, Kind, Snapshot};
use idpsyncd::source::ldap::{Flavor, LdapConfig, LdapSource};
use idpsyncd::source::{FullRead, SourceErrorKind};
use support::ldap::*;
use support::openldap::*;
use support::skip;

/// Three people, and groups of all three classes.
fn company() -> String {
    [
        tree(),
        person("alice", "departmentNumber: Research\n"),
        person("bob", ""),
        person("carol", ""),
        group("ml", &[person_dn("alice"), group_dn("cycle")]),
        group("cycle", &[group_dn("ml"), "uid=BOB, ou=People,dc=EXAMPLE,dc=org".to_owned()]),
        group("empty", &["cn=nobody".to_owned()]),
        format!(
            "dn: cn=unique,ou=groups,{SUFFIX}\nobjectClass: groupOfUniqueNames\ncn: unique\n\
             uniqueMember: {}#'01'B\nuniqueMember: {}\n\n",
            person_dn("bob"),
            person_dn("carol")
        ),
        format!(
            "dn: cn=posix,ou=groups,{SUFFIX}\nobjectClass: posixGroup\ncn: posix\ngidNumber: 7\n\
             memberUid: carol\n\n"
        ),
        format!("dn: ou=a,ou=groups,{SUFFIX}\nobjectClass: organizationalUnit\nou: a\n\n"),
        format!(
            "dn: cn=ml,ou=a,ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: ml\nmember: {}\n\n",
            person_dn("carol")
        ),
    ]
    .concat()
}

fn many(count: usize) -> String {
    let people: String = (0..count).map(|i| person(&format!("user{i:05}"), "")).collect();
    let members: Vec<String> = (0..count).map(|i| person_dn(&format!("user{i:05}"))).collect();
    [tree(), people, group("all", &members)].concat()
}

#[test]
fn everything_is_read_groups_of_all_classes_nested_ones_and_cycles() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let snapshot = read_wanting(&reader(&server), &[("departmentNumber", "research")]).unwrap();
    assert_complete(&snapshot);
    assert_eq!(usernames(&snapshot), ["alice", "bob", "carol"]);
    assert_eq!(members(&snapshot, &group_dn("ml")), ["alice"]);
    assert_eq!(members(&snapshot, &group_dn("cycle")), ["bob"]);
    assert_eq!(ups(&snapshot, &group_dn("ml")), [group_dn("cycle")]);
    assert_eq!(ups(&snapshot, &group_dn("cycle")), [group_dn("ml")]);
    assert_eq!(members(&snapshot, &group_dn("empty")), [""; 0]);
    assert_eq!(members(&snapshot, &group_dn("unique")), ["bob", "carol"]);
    assert_eq!(members(&snapshot, &group_dn("posix")), ["carol"]);
    assert_eq!(members(&snapshot, &format!("cn=ml,ou=a,ou=groups,{SUFFIX}")), ["carol"]);
    assert_eq!(members(&snapshot, "departmentNumber=research"), ["alice"]);
    assert_eq!(snapshot.warnings(), [""; 0]);
    let uuid = server.search(&["(uid=alice)", "entryUUID"]);
    let alice = &snapshot.directory.users.iter().find(|u| text(&snapshot, u.username) == "alice");
    let alice = alice.unwrap();
    assert!(uuid.contains(text(&snapshot, alice.ext)), "{uuid}");
    assert_eq!(text(&snapshot, alice.email), "alice@example.org");
    assert!(!snapshot.from_file);
}

#[test]
fn an_export_of_the_directory_reads_as_the_directory_does() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let live = read(&reader(&server)).unwrap();
    let config = reader(&server);
    let file = server.dir.path().join("export.ldif");
    std::fs::write(&file, server.search(&["*", "+"])).unwrap();
    let config = idpsyncd::source::file::LdifConfig {
        path: file,
        users: config.users.clone(),
        groups: config.groups.clone(),
    };
    let exported = idpsyncd::source::file::ldif::read_ldif(&config, &Wants(vec![])).unwrap();
    assert_eq!(live.directory.digest(), exported.directory.digest());
}

#[test]
fn more_than_a_page_is_read_page_by_page() {
    let Some(server) = OpenLdap::start(&many(2500), "limits * size=unlimited") else { return };
    let snapshot = read(&reader(&server)).unwrap();
    assert_complete(&snapshot);
    assert_eq!(snapshot.directory.users.len(), 2500);
    assert_eq!(members(&snapshot, &group_dn("all")).len(), 2500);
}

#[test]
fn exactly_as_many_entries_as_a_page_holds_are_complete() {
    let Some(server) = OpenLdap::start(&many(20), "") else { return };
    for page_size in [1, 5, 10, 20, 21] {
        let mut config = reader(&server);
        config.page_size = page_size;
        let snapshot = read(&config).unwrap();
        assert_complete(&snapshot);
        assert_eq!(snapshot.directory.users.len(), 20, "pages of {page_size}");
    }
}

#[test]
fn a_size_limit_makes_users_and_their_groups_partial_and_names_the_rule() {
    let Some(server) = OpenLdap::start(&many(600), "") else { return };
    let snapshot = read(&reader(&server)).unwrap();
    let why = partial(&snapshot.users);
    assert!(why.contains("result 4") && why.contains("`limits` rule"), "{why}");
    assert_eq!(snapshot.directory.users.len(), 500);
    let why = partial(&snapshot.members[0]);
    assert!(why.contains("not among the users that could be read"), "{why}");
    assert!(snapshot.groups.is_complete());
}

#[test]
fn a_refused_page_size_is_told_and_made_smaller() {
    let extra = "limits * size=unlimited size.pr=200";
    let Some(server) = OpenLdap::start(&many(600), extra) else { return };
    let snapshot = read(&reader(&server)).unwrap();
    assert_complete(&snapshot);
    assert_eq!(snapshot.directory.users.len(), 600);
    assert!(snapshot.warnings()[0].contains("refuses pages of the size configured"));

    let extra = "limits * size=unlimited size.prtotal=disabled";
    let Some(server) = OpenLdap::start(&many(600), extra) else { return };
    let snapshot = read(&reader(&server)).unwrap();
    assert_complete(&snapshot);
    assert_eq!(snapshot.directory.users.len(), 600);
    assert!(snapshot.warnings()[0].contains("read without pages"), "{:?}", snapshot.warnings());
}

#[test]
fn tls_works_with_ones_own_ca_and_says_what_is_wrong_without() {
    let Some(server) = OpenLdap::start_tls(&company(), "") else { return };
    let with = |url: &str, ca: std::path::PathBuf, start_tls: bool| {
        let mut config = reader(&server);
        config.urls = vec![url.parse().unwrap()];
        config.ca_file = Some(ca);
        config.start_tls = start_tls;
        read(&config)
    };
    let by_name = server.url.replace("127.0.0.1", "localhost");
    assert_complete(&with(&server.ldaps_url, server.ca_file(), false).unwrap());
    assert_complete(&with(&by_name, server.ca_file(), true).unwrap());
    for (url, start_tls) in [(&server.ldaps_url, false), (&by_name, true)] {
        let error = with(url, server.other_ca_file(), start_tls).unwrap_err();
        assert!(error.message.contains("authority that is not trusted: set `ca_file`"), "{error}");
        assert_eq!((error.transient, error.kind), (false, SourceErrorKind::Tls));
        let url = url.replace("localhost", "127.0.0.1");
        let error = with(&url, server.ca_file(), start_tls).unwrap_err();
        assert!(error.message.contains("certificate is for another name"), "{error}");
        assert!(error.message.contains("127.0.0.1"), "{error}");
    }
    let plain = format!("ldaps://localhost:{}", server.port);
    let error = with(&plain, server.ca_file(), false).unwrap_err();
    assert!(error.message.contains("is this port for `ldap://`"), "{error}");

    let ca = server.dir.path().join("no-such.pem");
    let error = with(&server.ldaps_url, ca, false).unwrap_err();
    assert!(error.message.contains("cannot read `ca_file`"), "{error}");
    let error = with(&server.ldaps_url, server.dir.path().join("data.ldif"), false).unwrap_err();
    assert!(error.message.contains("holds no certificate"), "{error}");
}

#[test]
fn a_server_that_is_called_by_an_ipv6_literal_is_read_over_tls() {
    let Some(server) = OpenLdap::start_tls(&company(), "") else { return };
    let Some([ldap, ldaps]) = server.ipv6.clone() else {
        return skip::skip(
            "a_server_that_is_called_by_an_ipv6_literal_is_read_over_tls",
            "no IPv6",
        );
    };
    let mut config = reader(&server);
    config.ca_file = Some(server.dir.path().join("ca.pem"));
    config.urls = vec![ldaps.parse().unwrap()];
    assert_complete(&read(&config).unwrap());
    config.urls = vec![ldap.parse().unwrap()];
    config.start_tls = true;
    assert_complete(&read(&config).unwrap());
    config.ca_file = Some(server.dir.path().join("other-ca.pem"));
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("an authority that is not trusted"), "{error}");
    // The address stands in the certificate; this one does not.
    config.ca_file = Some(server.dir.path().join("ca.pem"));
    let url = format!("ldap://[::ffff:127.0.0.1]:{}", server.port);
    config.urls = vec![url.parse().unwrap()];
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("for another name"), "{error}");
}

#[test]
fn an_authoritys_certificate_as_the_servers_own_is_told_with_what_to_do() {
    let Some(server) = OpenLdap::start_self_signed(&company(), "") else { return };
    let mut config = reader(&server);
    config.urls = vec![server.ldaps_url.parse().unwrap()];
    config.ca_file = Some(server.dir.path().join("ca.pem"));
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("basicConstraints = CA:FALSE"), "{error}");
}

#[test]
fn start_tls_that_the_server_refuses_is_an_error_and_never_clear_text() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let mut config = reader(&server);
    config.start_tls = true;
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("failed"), "{error}");
    assert!(!error.message.contains("reader-secret"), "{error}");
}

#[test]
fn a_local_socket_is_read_and_signs_in_by_the_processs_account() {
    let extra = "#global authz-regexp gidNumber=.*,cn=peercred,cn=external,cn=auth \
                 cn=reader,ou=services,dc=example,dc=org\n\
                 access to * by dn.exact=cn=reader,ou=services,dc=example,dc=org read";
    let Some(server) = OpenLdap::start(&company(), extra) else { return };
    let mut config = reader(&server);
    config.urls = vec![server.ldapi_url.parse().unwrap()];
    config.bind_dn = None;
    config.bind_password = None;
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    assert_eq!(snapshot.directory.users.len(), 3);

    config.urls = vec!["ldapi://%2Fno%2Fsuch%2Fsocket".parse().unwrap()];
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("No such file"), "{error}");
}

#[test]
fn the_next_server_is_asked_when_the_first_is_dead_and_the_error_names_all() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let dead = format!("ldap://127.0.0.1:{}", dead_port());
    let mut config = reader(&server);
    config.urls = vec![dead.parse().unwrap(), server.url.parse().unwrap()];
    assert_complete(&read(&config).unwrap());

    config.urls =
        vec![dead.parse().unwrap(), dead.replace("127.0.0.1", "localhost").parse().unwrap()];
    let error = read(&config).unwrap_err();
    assert!(error.transient);
    assert!(
        error.message.contains(&dead) && error.message.contains("ldap://localhost:"),
        "{error}"
    );
    assert!(error.message.contains("refused"), "{error}");
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
}

#[test]
fn a_wrong_password_is_named_without_being_shown_and_not_tried_elsewhere() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let mut config = reader(&server);
    config.bind_password = Some(secret(&server, "wrong-hunter2"));
    config.urls = vec![server.url.parse().unwrap(), server.url.parse().unwrap()];
    let error = read(&config).unwrap_err();
    assert!(!error.transient, "{error}");
    assert!(error.message.contains("wrong password"), "{error}");
    assert!(!error.message.contains("hunter2"), "{error}");
    assert_eq!(error.kind, SourceErrorKind::SignIn);
    assert_eq!(error.message.matches("result 49").count(), 1, "{error}");

    config.bind_password = Some(secret(&server, ""));
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("is empty"), "{error}");

    config.bind_password = Some(secret(&server, "x"));
    config.bind_dn = Some("nonsense".to_owned());
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("check `bind_dn`"), "{error}");
}

#[test]
fn a_base_that_does_not_exist_is_partial_and_never_empty() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let mut config = reader(&server);
    config.users.base = format!("ou=persons,{SUFFIX}");
    let snapshot = read(&config).unwrap();
    let why = partial(&snapshot.users);
    assert!(why.contains("no such base") && why.contains("ou=persons"), "{why}");
    assert!(snapshot.groups.is_complete());

    config.groups.as_mut().unwrap().base = format!("ou=teams,{SUFFIX}");
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("ou=persons") && error.message.contains("ou=teams"), "{error}");
}

const READER: &str = "cn=reader,ou=services,dc=example,dc=org";

#[test]
fn hidden_members_are_unreadable_and_never_empty() {
    let extra = format!(
        "access to attrs=userPassword by anonymous auth\naccess to dn.exact=\"{}\" attrs=member by dn.exact={READER} none\n\
         access to * by * read",
        group_dn("ml")
    );
    let Some(server) = OpenLdap::start(&company(), &extra) else { return };
    let snapshot = read(&reader(&server)).unwrap();
    assert!(snapshot.users.is_complete() && snapshot.groups.is_complete());
    let why = partial(completeness(&snapshot, &group_dn("ml")));
    assert!(why.contains("shows no members although it must have some"), "{why}");
    assert!(completeness(&snapshot, &group_dn("unique")).is_complete());
    // It may have held any of them still; that its own list says.
    assert!(snapshot.nested_by_list);
}

#[test]
fn hidden_users_and_hidden_groups_are_unknown_and_never_absent() {
    for hidden in ["ou=people", "ou=groups"] {
        let extra = format!(
            "access to attrs=userPassword by anonymous auth\naccess to dn.children=\"{hidden},{SUFFIX}\" by * none\naccess to * by * read"
        );
        let Some(server) = OpenLdap::start(&company(), &extra) else { return };
        let snapshot = read(&reader(&server)).unwrap();
        let scope = if hidden == "ou=people" { &snapshot.users } else { &snapshot.groups };
        let why = partial(scope);
        assert!(why.contains("succeeded with no entries"), "{why}");
    }
}

#[test]
fn hidden_ids_and_hidden_names_make_users_partial() {
    for (attribute, told) in [("entryUUID", "readable `entryUUID`"), ("cn", "readable `cn`")] {
        let extra = format!(
            "access to attrs=userPassword by anonymous auth\naccess to dn.exact=\"{}\" attrs={attribute} by * none\naccess to * by * read",
            person_dn("bob")
        );
        let Some(server) = OpenLdap::start(&company(), &extra) else { return };
        let mut config = reader(&server);
        if attribute == "cn" {
            config.users.username = "cn".to_owned();
        }
        let snapshot = read(&config).unwrap();
        let why = snapshot.scopes()[0].partial.clone().unwrap();
        assert!(why.contains(told) && why.contains("uid=bob"), "{why}");
        // Who it is whose name is hidden says the id.
        let expected = if attribute == "cn" { (3, true) } else { (2, false) };
        assert_eq!((snapshot.directory.users.len(), snapshot.users.is_complete()), expected);
    }
}

#[test]
fn a_canary_that_cannot_be_read_makes_everything_partial() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let mut config = reader(&server);
    config.canary = Some(group_dn("ml"));
    assert_complete(&read(&config).unwrap());
    config.canary = Some(person_dn("canary"));
    let snapshot = read(&config).unwrap();
    for scope in [&snapshot.users, &snapshot.groups] {
        assert!(partial(scope).contains("the canary `uid=canary,"), "{scope:?}");
    }
    assert!(snapshot.members.iter().all(|scope| !scope.is_complete()));
}

/// Attribute types that some servers have and OpenLDAP can be taught.
const TAUGHT: &str = "\
#global attributetype ( 1.1.9.1 NAME 'krbPrincipalExpiration' SYNTAX 1.3.6.1.4.1.1466.115.121.1.24 )
#global attributetype ( 1.1.9.2 NAME 'inetUserStatus' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
#global attributetype ( 1.1.9.3 NAME 'loginDisabled' SYNTAX 1.3.6.1.4.1.1466.115.121.1.7 )
#global attributetype ( 1.1.9.4 NAME 'nsRoleDN' SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )
#global attributetype ( 1.1.9.5 NAME 'ds-pwp-account-disabled' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
";

#[test]
fn accounts_locked_for_good_or_expired_are_disabled_and_locked_out_ones_are_not() {
    let taught =
        |uid: &str, line: &str| person(uid, &format!("objectClass: extensibleObject\n{line}\n"));
    let ldif = [
        company(),
        person("locked", "pwdAccountLockedTime: 000001010000Z\n"),
        person("locked2", "pwdAccountLockedTime: 0000010100Z\n"),
        person("lockedout", "pwdAccountLockedTime: 20200101000000Z\n"),
        person("expired", "objectClass: shadowAccount\nshadowExpire: 1\n"),
        person("never", "objectClass: shadowAccount\nshadowExpire: -1\n"),
        person("zero", "objectClass: shadowAccount\nshadowExpire: 0\n"),
        taught("kerberos", "krbPrincipalExpiration: 2020010100+0100"),
        taught("status", "inetUserStatus: Inactive"),
        taught("status2", "inetUserStatus: active"),
        taught("login", "loginDisabled: TRUE"),
        taught("role", "nsRoleDN: cn=nsManagedDisabledRole,dc=example,dc=org"),
        taught("ping", "ds-pwp-account-disabled: true"),
        taught("odd", "inetUserStatus: hold"),
    ]
    .concat();
    let extra = format!("moduleload ppolicy\noverlay ppolicy\n{TAUGHT}");
    let Some(server) = OpenLdap::start(&ldif, &extra) else { return };
    let snapshot = read(&reader(&server)).unwrap();
    assert_complete(&snapshot);
    assert_eq!(
        disabled(&snapshot),
        ["expired", "kerberos", "locked", "locked2", "login", "odd", "ping", "role", "status"]
    );
    let odd = "user `uid=odd,ou=people,dc=example,dc=org`: `inetUserStatus` is `hold`";
    assert!(snapshot.warnings().iter().any(|w| w.starts_with(odd)), "{:?}", snapshot.warnings());
}

#[test]
fn of_several_values_the_plain_one_then_the_one_in_the_rdn_stands_and_edge_spaces_do_not_count() {
    let ldif = [
        tree(),
        person("alice", ""),
        format!(
            "dn: cn=Ed Elm,ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\ncn: Ed Elm\nsn: Elm\n\
             uid;lang-en: alice\nuid: ed\nmail;lang-en: chief@example.org\n\
             mail: ed@example.org\n\n"
        ),
        // `charlie ` with a space at its end.
        format!(
            "dn: cn=Charlie,ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\ncn: Charlie\nsn: C\n\
             uid:: Y2hhcmxpZSA=\n\n"
        ),
        format!(
            "dn: cn=Admins,ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn;lang-de: Verwaltung\n\
             cn: Admins\nmember: {}\n\n",
            person_dn("alice")
        ),
        format!(
            "dn: cn=Staff,ou=groups,{SUFFIX}\nobjectClass: posixGroup\ncn: Crew\ncn: Staff\n\
             gidNumber: 7\nmemberUid: ed\nmemberUid: charlie\nmemberUid: alice\n\n"
        ),
    ];
    let Some(server) = OpenLdap::start(&ldif.concat(), "") else { return };
    let snapshot = read(&reader(&server)).unwrap();
    assert_complete(&snapshot);
    assert_eq!(usernames(&snapshot), ["alice", "charlie ", "ed"]);
    let emails: Vec<&str> =
        snapshot.directory.users.iter().map(|user| text(&snapshot, user.email)).collect();
    assert!(emails.contains(&"ed@example.org"), "{emails:?}");
    let names: Vec<&str> =
        snapshot.directory.refs.iter().map(|group| text(&snapshot, group.name)).collect();
    assert_eq!(names, ["Admins", "Staff"]);
    assert_eq!(members(&snapshot, &group_dn("Staff")), ["alice", "charlie ", "ed"]);

    let mut german = reader(&server);
    german.groups.as_mut().unwrap().name = "cn;lang-de".to_owned();
    let snapshot = read(&german).unwrap();
    let name = |group: &str| id_of(&snapshot, group);
    assert!(!name("Admins").is_empty());
    let reference = snapshot
        .directory
        .refs
        .iter()
        .find(|c| text(&snapshot, c.identity).starts_with("cn=Admins"))
        .unwrap();
    assert_eq!(text(&snapshot, reference.name), "Verwaltung");
}

#[test]
fn a_rename_and_a_move_keep_the_id_and_making_again_does_not() {
    let Some(server) = OpenLdap::start(
        &company(),
        "moduleload refint\noverlay refint\nrefint_attributes member uniqueMember",
    ) else {
        return;
    };
    let config = reader(&server);
    let ids = |name: &str| {
        let snapshot = read(&config).unwrap();
        assert_complete(&snapshot);
        id_of(&snapshot, name)
    };
    let (alice, ml) = (ids("alice"), ids("ml"));
    server.modify(&format!(
        "dn: {}\nchangetype: modrdn\nnewrdn: uid=alicia\ndeleteoldrdn: 1\n",
        person_dn("alice")
    ));
    // The references to the old name are mended by an overlay a moment after the rename. It looks
    // for the groups first: one that is renamed in between keeps the old reference for ever.
    wait_until(|| server.search(&["(cn=ml)", "member"]).contains("uid=alicia"));
    server.modify(&format!(
        "dn: {}\nchangetype: modrdn\nnewrdn: cn=machine\ndeleteoldrdn: 1\n\
         newsuperior: ou=a,ou=groups,{SUFFIX}\n",
        group_dn("ml")
    ));
    assert_eq!(ids("alicia"), alice);
    assert_eq!(ids("machine"), ml);
    let snapshot = read(&config).unwrap();
    assert_eq!(members(&snapshot, &format!("cn=machine,ou=a,ou=groups,{SUFFIX}")), ["alicia"]);

    let bob = ids("bob");
    server.modify(&format!(
        "dn: {dn}\nchangetype: delete\n\ndn: {dn}\nchangetype: add\nobjectClass: inetOrgPerson\n\
         uid: bob\ncn: bob\nsn: bob\n",
        dn = person_dn("bob")
    ));
    assert_ne!(ids("bob"), bob);
}

#[test]
fn members_left_out_by_the_filter_or_gone_are_told_and_the_read_is_complete() {
    let ldif = [
        company(),
        person("external", "employeeType: external\n"),
        group(
            "mixed",
            &[person_dn("alice"), person_dn("external"), person_dn("ghost"), group_dn("nothing")],
        ),
    ]
    .concat();
    let Some(server) = OpenLdap::start(&ldif, "") else { return };
    let mut config = reader(&server);
    config.users.filter = "(&(objectClass=inetOrgPerson)(!(employeeType=external)))".to_owned();
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("mixed")), ["alice"]);
    assert_eq!(snapshot.warnings().len(), 1, "{:?}", snapshot.warnings());
    assert!(snapshot.warnings()[0].contains("3 member(s) lead to no user or group"));
}

#[test]
fn very_many_members_left_out_by_the_filter_do_not_make_the_read_partial() {
    let Some(server) = OpenLdap::start(&many(1200), "limits * size=unlimited") else { return };
    let mut config = reader(&server);
    config.users.filter = "(uid=user000*)".to_owned();
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &group_dn("all")).len(), 100);
    assert!(snapshot.warnings()[0].contains("1100 member(s)"), "{:?}", snapshot.warnings());
}

#[test]
fn codes_and_cuts_that_a_server_sends_are_partial_or_errors_and_never_empty() {
    for (item, told) in [
        ("0x33 text=\"busy bee\"", "busy"),
        ("0x34", "unavailable"),
        ("0x0a ref=\"ldap://elsewhere.example.org\"", "references are not followed"),
        ("0x35", "unwilling"),
        ("0x50", "failed inside"),
        ("0x34 unsolicited=1.3.6.1.4.1.1466.20036", "broke"),
        ("0x00 flags=disconnect", "broke"),
        ("0x00 sleeptime=3", "no answer within"),
    ] {
        let extra = retcode(&format!("retcode-item \"cn=fault\" {item}"));
        let Some(server) = OpenLdap::start(&many(50), &extra) else { return };
        let mut config = reader(&server);
        config.timeout = std::time::Duration::from_secs(1);
        config.users.base = format!("cn=fault,ou=retcodes,{SUFFIX}");
        let snapshot = read(&config).unwrap();
        let why = partial(&snapshot.users);
        assert!(why.contains(told), "{item}: {why}");
        assert!(snapshot.groups.is_complete(), "{item}: {:?}", snapshot.groups);
    }
}

fn retcode(item: &str) -> String {
    format!(
        "moduleload retcode\nlimits * size=unlimited\noverlay retcode\nretcode-parent ou=retcodes,{SUFFIX}\n{item}"
    )
}

#[test]
fn a_server_killed_in_mid_read_is_partial_or_an_error() {
    let Some(mut server) = OpenLdap::start(&many(5000), "limits * size=unlimited") else { return };
    let mut config = reader(&server);
    config.page_size = 10;
    let pid = server.pid();
    let killer = std::sync::atomic::AtomicBool::new(false);
    let result = read_with(
        &config,
        &[],
        std::sync::Arc::new(move |progress| {
            let half = progress.what == "users" && progress.done > 1000;
            if half && !killer.swap(true, std::sync::atomic::Ordering::SeqCst) {
                let killed =
                    std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
                assert!(killed.unwrap().success());
            }
        }),
    );
    server.kill();
    let snapshot = result.unwrap();
    assert!(snapshot.directory.users.len() >= 1000 && snapshot.directory.users.len() < 5000);
    let why = partial(&snapshot.users);
    assert!(why.contains("broke"), "{why}");
    assert!(!completeness(&snapshot, &group_dn("all")).is_complete());

    let error = read(&config).unwrap_err();
    assert!(error.transient, "{error}");
    assert!(server.start_again());
    assert_complete(&read(&config).unwrap());
}

#[test]
fn changes_in_mid_read_never_lose_a_membership() {
    let extra =
        "limits * size=unlimited\nmoduleload refint\noverlay refint\nrefint_attributes member";
    let Some(server) = OpenLdap::start(&many(3000), extra) else { return };
    let mut config = reader(&server);
    config.page_size = 50;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let snapshots = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The same three people change their names back and forth while others read.
            for (from, to) in [("user", "renamed"), ("renamed", "user")].into_iter().cycle() {
                for number in ["00010", "01500", "02990"] {
                    if stop.load(std::sync::atomic::Ordering::SeqCst) {
                        return;
                    }
                    server.modify(&format!(
                        "dn: {}\nchangetype: modrdn\nnewrdn: uid={to}{number}\ndeleteoldrdn: 1\n",
                        person_dn(&format!("{from}{number}"))
                    ));
                }
                // Slower than a read believes that a member leads nowhere.
                std::thread::sleep(std::time::Duration::from_millis(400));
            }
        });
        let snapshots: Vec<_> = (0..8).map(|_| read(&config)).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        snapshots
    });
    for snapshot in snapshots {
        let snapshot = snapshot.unwrap();
        let complete = completeness(&snapshot, &group_dn("all")).is_complete();
        if snapshot.users.is_complete() && complete {
            assert_eq!(snapshot.directory.users.len(), 3000);
            assert_eq!(
                members(&snapshot, &group_dn("all")).len(),
                3000,
                "{:?}",
                snapshot.warnings()
            );
        }
    }
}

#[test]
fn a_read_that_takes_too_long_is_partial_or_an_error() {
    let Some(server) = OpenLdap::start(&many(3000), "limits * size=unlimited") else { return };
    let mut config = reader(&server);
    config.page_size = 1;
    config.read_timeout = std::time::Duration::from_millis(60);
    match read(&config) {
        Ok(snapshot) => assert!(partial(&snapshot.users).contains("`read_timeout` has passed")),
        Err(error) => assert!(error.message.contains("`read_timeout` has passed"), "{error}"),
    }
}

#[test]
fn check_finds_what_would_make_a_read_fail_or_lie() {
    let Some(server) = OpenLdap::start(&many(600), "") else { return };
    let mut config = reader(&server);
    let findings = check(&config);
    assert!(
        findings.iter().any(|f| f.is_error() && f.message.contains("`limits` rule")),
        "{findings:?}"
    );

    config.bind_dn = None;
    config.bind_password = None;
    let findings = check(&config);
    assert!(
        findings.iter().any(|f| !f.is_error() && f.message.contains("anonymously")),
        "{findings:?}"
    );

    config.urls = vec![format!("ldap://127.0.0.1:{}", dead_port()).parse().unwrap()];
    let findings = check(&config);
    assert!(findings.iter().any(|f| f.is_error() && f.message.contains("refused")), "{findings:?}");

    let Some(server) = OpenLdap::start(&company(), "") else { return };
    assert_eq!(check(&reader(&server)), []);
}

#[test]
fn a_flavor_that_is_not_the_servers_finds_nobody_rather_than_others() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let mut config = reader(&server);
    config.flavor = Flavor::ActiveDirectory;
    let error = read(&config).unwrap_err();
    assert!(error.message.contains("without a readable `objectGUID`"), "{error}");
    config.flavor = Flavor::OpenLdap;
    assert_complete(&read(&config).unwrap());
}

#[test]
fn progress_is_told_for_users_and_groups() {
    let Some(server) = OpenLdap::start(&company(), "") else { return };
    let seen = std::sync::Arc::new(std::sync::Mutex::new(std::collections::BTreeMap::new()));
    let into = seen.clone();
    let on = std::sync::Arc::new(move |progress: idpsyncd::source::Progress| {
        into.lock().unwrap().insert(progress.what, progress.done);
    });
    read_with(&reader(&server), &[], on).unwrap();
    let seen: Vec<_> = seen.lock().unwrap().clone().into_iter().collect();
    assert_eq!(seen, [("groups", 6), ("users", 3)]);
}
