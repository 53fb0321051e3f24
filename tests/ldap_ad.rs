//! The LDAP source against a real Active Directory: Samba's domain controller.
#![cfg(test)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use idpsyncd::config::SecretRef;
use idpsyncd::directory::{Kind, Rid, Snapshot};
use idpsyncd::model::index::Place as _;
use idpsyncd::source::ldap::{LdapConfig, LdapGroups, LdapSource, LdapUsers};
use idpsyncd::source::{Gone, Looked, Lookup as _, Who};
use support::ad::{USERS, service, whole};
use support::ldap::{
    Wants, assert_complete, completeness, disabled, id_of, members, partial, read, runtime,
    sighting, sighting_by_id, text, ups, usernames,
};
use support::samba;
use support::samba::{AD, ADMIN, OTHER, Samba, dn, group, user};

fn with_groups(config: &LdapConfig, change: impl Fn(&mut LdapGroups)) -> LdapConfig {
    let mut config = config.clone();
    config.groups.iter_mut().for_each(change);
    config
}

/// Everyone's groups: direct ones and those that they lead to, by DN.
fn closure(snapshot: &Snapshot) -> BTreeMap<String, BTreeSet<String>> {
    let directory = &snapshot.directory;
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for user in &directory.users {
        all.insert(text(snapshot, user.username).to_owned(), BTreeSet::new());
    }
    for (start, members) in directory.members.iter().enumerate() {
        let (mut seen, mut next) = (BTreeSet::from([start]), vec![start]);
        while let Some(at) = next.pop() {
            let up = directory.implies[at].iter().map(|up| up.place());
            next.extend(up.filter(|up| seen.insert(*up)));
        }
        for member in members {
            let name = text(snapshot, directory.users[member.place()].username);
            let identities = seen.iter().map(|at| text(snapshot, directory.refs[*at].identity));
            all.get_mut(name).unwrap().extend(identities.map(str::to_owned));
        }
    }
    all
}

/// What the server itself says of one person's groups, by DN.
fn token_groups(dc: &Samba, name: &str, sids: &BTreeMap<String, String>) -> BTreeSet<String> {
    let told = dc.search(&[&format!("(sAMAccountName={name})"), "1.1"]);
    let of = told.lines().find_map(|line| line.strip_prefix("dn: ")).unwrap();
    let told = dc.search(&["-b", of, "-s", "base", "tokenGroups"]);
    let found = told.lines().filter_map(|line| line.strip_prefix("tokenGroups:: "));
    found.filter_map(|sid| sids.get(sid).cloned()).collect()
}

/// The groups of the domain by their SID, in base 64.
fn sids(dc: &Samba) -> BTreeMap<String, String> {
    let told = dc.search(&["(objectClass=group)", "objectSid"]);
    let mut dn = "";
    let mut all = BTreeMap::new();
    for line in told.lines() {
        if let Some(it) = line.strip_prefix("dn: ") {
            dn = it;
        } else if let Some(sid) = line.strip_prefix("objectSid:: ") {
            all.insert(sid.to_owned(), dn.to_owned());
        }
    }
    all
}

/// Four people; groups in groups, one in a cycle, one of each type and scope.
fn company() -> String {
    const DOMAIN_LOCAL: &str = "groupType: -2147483644\n";
    const UNIVERSAL: &str = "groupType: -2147483640\n";
    const DISTRIBUTION: &str = "groupType: 8\n";
    [
        user("alice", "userPrincipalName: alice@ad.example.org\nmail: alice@example.org\n"),
        user("bob", "userPrincipalName: bob@ad.example.org\n"),
        user("carol", "userPrincipalName: carol@ad.example.org\n"),
        user("dave", "userPrincipalName: dave@ad.example.org\n"),
        group("team", &[dn("alice"), dn("bob")], ""),
        group("mailing", &[dn("carol"), dn("team")], DISTRIBUTION),
        group("wide", &[dn("team"), dn("mailing"), dn("dave")], UNIVERSAL),
        group("local", &[dn("wide")], DOMAIN_LOCAL),
        group("empty", &[], ""),
    ]
    .concat()
}

#[test]
fn a_domain_is_read_whole_and_its_people_are_known_by_objectguid() {
    let Some(dc) = Samba::start(AD, &company()) else { return };
    let config = whole(&dc);
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    for name in ["alice", "bob", "carol", "dave", ADMIN] {
        assert!(usernames(&snapshot).contains(&name), "{:?}", usernames(&snapshot));
    }
    assert_eq!(members(&snapshot, &dc.dn("team")), ["alice", "bob"]);
    assert!(members(&snapshot, &dc.dn("empty")).is_empty());
    // The text form of the bytes, as the vendor's tools show it.
    let base64 = dc.search(&["(sAMAccountName=alice)", "objectGUID"]);
    let base64 = base64.lines().find_map(|line| line.strip_prefix("objectGUID:: ")).unwrap();
    assert_eq!(id_of(&snapshot, "alice"), guid_text(base64));
    let by_guid = format!("<GUID={}>", id_of(&snapshot, "alice"));
    let found = dc.search(&["-b", &by_guid, "-s", "base", "sAMAccountName"]);
    assert!(found.contains("sAMAccountName: alice"), "{found}");

    // Another name for the people, and StartTLS.
    let by_upn = LdapConfig {
        urls: vec![dc.url.parse().unwrap()],
        start_tls: true,
        users: LdapUsers {
            username: "userPrincipalName".to_owned(),
            filter: format!("(&{USERS}(userPrincipalName=*))"),
            ..config.users.clone()
        },
        ..config.clone()
    };
    let snapshot_by_upn = read(&by_upn).unwrap();
    assert_complete(&snapshot_by_upn);
    let upns = ["alice", "bob", "carol", "dave"].map(|name| dc.upn(name));
    assert_eq!(usernames(&snapshot_by_upn), upns);
    assert_eq!(id_of(&snapshot_by_upn, &upns[0]), id_of(&snapshot, "alice"));

    // Renamed, and moved to another place: the same person.
    dc.modify(
        "dn: OU=moved,SUFFIX\nchangetype: add\nobjectClass: organizationalUnit\n\n\
         dn: CN=alice,CN=Users,SUFFIX\nchangetype: modrdn\nnewrdn: CN=Alicia\ndeleteoldrdn: 1\n\
         newsuperior: OU=moved,SUFFIX\n\n\
         dn: CN=Alicia,OU=moved,SUFFIX\nchangetype: modify\nreplace: sAMAccountName\n\
         sAMAccountName: alicia\n\n\
         dn: CN=bob,CN=Users,SUFFIX\nchangetype: delete\n\n",
    );
    dc.modify(
        "dn: CN=bob,CN=Users,SUFFIX\nchangetype: add\nobjectClass: user\nsAMAccountName: bob\n\
         userAccountControl: 544\n\n",
    );
    let later = read(&config).unwrap();
    assert_complete(&later);
    assert_eq!(id_of(&later, "alicia"), id_of(&snapshot, "alice"));
    assert_ne!(id_of(&later, "bob"), id_of(&snapshot, "bob"), "made again is another person");
    assert_eq!(members(&later, &dc.dn("team")), ["alicia"]);
}

/// The text form of a GUID in base 64: the first three fields are the other way round.
fn guid_text(base64: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text: String = order.iter().map(|at| format!("{:02x}", bytes[*at])).collect();
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

#[test]
fn everyones_groups_are_those_that_the_server_puts_into_their_token() {
    let Some(dc) = Samba::start(AD, &company()) else { return };
    // A cycle, and a primary group of one's own, which is in no list.
    dc.modify(
        "dn: CN=team,CN=Users,SUFFIX\nchangetype: modify\nreplace: groupType\n\
         groupType: -2147483640\n\n\
         dn: CN=team,CN=Users,SUFFIX\nchangetype: modify\nadd: member\n\
         member: CN=wide,CN=Users,SUFFIX\n\n",
    );
    let rid = rid_of(&dc, "empty");
    dc.modify(&format!(
        "dn: CN=empty,CN=Users,SUFFIX\nchangetype: modify\nadd: member\n\
         member: CN=dave,CN=Users,SUFFIX\n\n\
         dn: CN=dave,CN=Users,SUFFIX\nchangetype: modify\nreplace: primaryGroupID\n\
         primaryGroupID: {rid}\n\n"
    ));
    let config = whole(&dc);
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &dc.dn("empty")), ["dave"], "by `primaryGroupID` alone");
    let sids = sids(&dc);
    for (name, groups) in closure(&snapshot) {
        assert_eq!(groups, token_groups(&dc, &name, &sids), "{name}");
    }
    let all = closure(&snapshot);
    assert!(
        all["alice"].contains(&dc.dn("local")) && all["alice"].contains(&dc.dn("Domain Users"))
    );

    // One person: what she is directly in, her primary group among it.
    for name in ["alice", "dave", "carol", ADMIN] {
        let directory = &snapshot.directory;
        let mut direct: Vec<String> = directory
            .members
            .iter()
            .zip(&directory.refs)
            .filter(|(users, _)| {
                let mut users = users.iter().map(|user| &directory.users[user.place()]);
                users.any(|user| text(&snapshot, user.username) == name)
            })
            .map(|(_, group)| text(&snapshot, group.key).to_owned())
            .collect();
        direct.sort();
        assert_eq!(sighting(&config, &[], name), direct, "{name}");
        assert_eq!(sighting_by_id(&config, &id_of(&snapshot, name)), direct, "{name}");
    }
}

/// The last part of the SID of a group.
fn rid_of(dc: &Samba, name: &str) -> u32 {
    use base64::Engine as _;
    let told = dc.search(&[&format!("(sAMAccountName={name})"), "objectSid"]);
    let sid = told.lines().find_map(|line| line.strip_prefix("objectSid:: ")).unwrap();
    let sid = base64::engine::general_purpose::STANDARD.decode(sid).unwrap();
    u32::from_le_bytes(sid[sid.len() - 4..].try_into().unwrap())
}

#[test]
fn distribution_groups_count_only_where_that_is_asked_for() {
    let Some(dc) = Samba::start(AD, &company()) else { return };
    let config = whole(&dc);
    let snapshot = read(&config).unwrap();
    assert_complete(&snapshot);
    let identities = |snapshot: &Snapshot| -> Vec<String> {
        let refs = snapshot.directory.refs.iter();
        refs.map(|group| text(snapshot, group.identity).to_owned()).collect()
    };
    assert!(!identities(&snapshot).contains(&dc.dn("mailing")));
    assert!(!closure(&snapshot)["carol"].contains(&dc.dn("wide")), "no path leads through it");
    assert_eq!(members(&snapshot, &dc.dn("wide")), ["dave"]);
    let told: Vec<&str> = snapshot.diagnostics.iter().map(|it| it.message.as_str()).collect();
    let named = |name: &str| told.iter().any(|told| told.contains(&dc.dn(name)));
    assert!(named("mailing") && !named("wide"), "{told:?}");
    assert!(!sighting(&config, &[], "carol").iter().any(|key| *key == guid_of(&dc, "mailing")));

    let all = with_groups(&config, |groups| groups.distribution = true);
    let snapshot = read(&all).unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &dc.dn("mailing")), ["carol"]);
    assert_eq!(ups(&snapshot, &dc.dn("mailing")), [dc.dn("wide")]);
    assert!(closure(&snapshot)["carol"].contains(&dc.dn("local")));
    assert!(sighting(&all, &[], "carol").contains(&guid_of(&dc, "mailing")));
}

fn guid_of(dc: &Samba, name: &str) -> String {
    let told = dc.search(&[&format!("(sAMAccountName={name})"), "objectGUID"]);
    guid_text(told.lines().find_map(|line| line.strip_prefix("objectGUID:: ")).unwrap())
}

/// Tenths of microseconds since 1601, in `days` days.
fn ticks_in(days: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let since = i64::try_from(now.as_secs()).unwrap() + 11_644_473_600 + days * 86_400;
    since * 10_000_000
}

#[test]
fn an_account_is_disabled_or_expired_and_a_lock_out_disables_nobody() {
    let entries = [
        user("alice", ""),
        user("off", "userAccountControl: 546\n"),
        user("expired", &format!("accountExpires: {}\n", ticks_in(-1))),
        user("soon", &format!("accountExpires: {}\n", ticks_in(1))),
        user("never", "accountExpires: 9223372036854775807\n"),
        user("locked", "userPrincipalName: locked@ad.example.org\n"),
        group("all", &[dn("alice"), dn("locked")], ""),
    ]
    .concat();
    let Some(dc) = Samba::start(AD, &entries) else { return };
    dc.modify("dn: SUFFIX\nchangetype: modify\nreplace: lockoutThreshold\nlockoutThreshold: 2\n\n");
    for _ in 0..3 {
        dc.bind(&dc.upn("locked"), "wrong").unwrap_err();
    }
    let locked = dc.search(&["(sAMAccountName=locked)", "lockoutTime"]);
    assert!(locked.contains("lockoutTime: ") && !locked.contains("lockoutTime: 0\n"), "{locked}");
    let snapshot = read(&whole(&dc)).unwrap();
    assert_complete(&snapshot);
    let disabled: BTreeSet<&str> = disabled(&snapshot).into_iter().collect();
    // `Guest` and `krbtgt` are in every domain, and disabled.
    assert_eq!(disabled, BTreeSet::from(["Guest", "expired", "krbtgt", "off"]));
}

#[test]
fn members_of_another_domain_are_counted_and_named_and_leave_the_read_whole() {
    let entries = [company(), group("partners", &[dn("alice")], "groupType: -2147483644\n")];
    let Some(dc) = Samba::start(AD, &entries.concat()) else { return };
    for rid in [1104, 1105] {
        dc.modify(&format!(
            "dn: CN=partners,CN=Users,SUFFIX\nchangetype: modify\nadd: member\n\
             member: <SID=S-1-5-21-1111-2222-3333-{rid}>\n\n"
        ));
    }
    let snapshot = read(&whole(&dc)).unwrap();
    assert_complete(&snapshot);
    assert_eq!(members(&snapshot, &dc.dn("partners")), ["alice"]);
    // Whether another source knows them is not for this one to say: see tests/ldap_domains.rs.
    let directory = &snapshot.directory;
    let principals = directory.refs.numbered().filter(|(_, it)| it.kind == Kind::ForeignPrincipal);
    let led: Vec<(&str, Vec<String>)> = principals
        .map(|(place, row)| {
            let groups = directory.implies[place.place()].iter();
            let groups = groups.map(|at| directory.refs[at.place()].identity);
            (text(&snapshot, row.key), groups.map(|it| text(&snapshot, it).to_owned()).collect())
        })
        .collect();
    let partners = vec![dc.dn("partners")];
    assert_eq!(
        led,
        [
            ("S-1-5-21-1111-2222-3333-1104", partners.clone()),
            ("S-1-5-21-1111-2222-3333-1105", partners)
        ]
    );
    // A domain's own SID, and the numbers that its people and groups have in it.
    let alice = directory.users.iter().find(|it| text(&snapshot, it.username) == "alice").unwrap();
    let sid = dc.sid("alice");
    assert_eq!(directory.sid_of(alice.rid), Some(sid.clone()));
    assert_eq!(directory.sid_of(rid(&snapshot, &dc.dn("team"))), Some(dc.sid("team")));
    assert_eq!(
        rid(&snapshot, &format!("CN=Administrators,CN=Builtin,{}", dc.domain.suffix)),
        Rid::Elsewhere
    );
    // A look-up tells the same of one person.
    let source = LdapSource::new("ad", &whole(&dc)).unwrap();
    let alice = Who::Id(id_of(&snapshot, "alice"));
    let looked = runtime().block_on(source.lookup(&Wants(vec![]), &alice)).unwrap();
    let Looked::Found(seen) = looked else { panic!("{looked:?}") };
    assert_eq!(seen.sid, Some(sid));
    // Without groups in groups a foreign security principal, which may be a group, counts for nothing.
    let flat = with_groups(&whole(&dc), |groups| groups.nested = false);
    let snapshot = read(&flat).unwrap();
    assert_complete(&snapshot);
    let told: Vec<&str> = snapshot.diagnostics.iter().map(|it| it.message.as_str()).collect();
    let about = told.iter().find(|told| told.contains("CN=partners")).expect("a warning");
    assert!(about.contains("2 member(s) are of another directory"), "{about}");
}

fn rid(snapshot: &Snapshot, group: &str) -> Rid {
    let mut refs = snapshot.directory.refs.iter();
    refs.find(|it| text(snapshot, it.identity) == group).expect("the group").rid
}

#[test]
fn who_was_deleted_is_told_from_who_left_the_base() {
    let entries = [company(), service()].concat();
    let Some(dc) = Samba::start(AD, &entries) else { return };
    let config = whole(&dc);
    let in_users = LdapConfig {
        users: LdapUsers { base: format!("CN=Users,{}", dc.domain.suffix), ..config.users.clone() },
        ..config
    };
    let ids = ["alice", "bob", "carol"].map(|name| guid_of(&dc, name));
    dc.modify(
        "dn: OU=left,SUFFIX\nchangetype: add\nobjectClass: organizationalUnit\n\n\
         dn: CN=alice,CN=Users,SUFFIX\nchangetype: modrdn\nnewrdn: CN=alice\ndeleteoldrdn: 1\n\
         newsuperior: OU=left,SUFFIX\n\n\
         dn: CN=bob,CN=Users,SUFFIX\nchangetype: delete\n\n",
    );
    let asked = |config: &LdapConfig, id: &str| {
        let source = LdapSource::new("ad", config).unwrap();
        runtime().block_on(source.lookup(&Wants(vec![]), &Who::Id(id.to_owned()))).unwrap()
    };
    let [alice, bob, carol] = &ids;
    let left = Gone::Left(format!("CN=alice,OU=left,{}", dc.domain.suffix));
    assert_eq!(asked(&in_users, alice), Looked::Gone(left));
    assert_eq!(asked(&in_users, bob), Looked::Gone(Gone::Deleted));
    assert!(matches!(asked(&in_users, carol), Looked::Found(_)));
    assert_eq!(asked(&in_users, "00000000-0000-0000-0000-000000000001"), Looked::Nobody);
    assert_eq!(asked(&in_users, "no guid"), Looked::Nobody);
    // Who may not see the deleted is told that nobody is there, and no more.
    let ordinary = LdapConfig { bind_dn: Some(dc.dn("reader")), ..in_users };
    assert_eq!(asked(&ordinary, bob), Looked::Nobody);
}

#[test]
fn several_domains_are_several_sources() {
    let entries = |name: &str| [user(name, ""), group("team", &[dn(name)], "")].concat();
    let Some(first) = Samba::start(AD, &entries("alice")) else { return };
    let Some(second) = Samba::start(OTHER, &entries("zoe")) else { return };
    let (of_first, of_second) = (read(&whole(&first)).unwrap(), read(&whole(&second)).unwrap());
    assert_complete(&of_first);
    assert_complete(&of_second);
    assert_eq!(members(&of_first, &first.dn("team")), ["alice"]);
    assert_eq!(members(&of_second, &second.dn("team")), ["zoe"]);
    assert!(!usernames(&of_second).contains(&"alice"));
}

#[test]
fn a_refused_bind_says_which_it_was_and_is_tried_once() {
    let entries = [company(), service()].concat();
    let Some(dc) = Samba::start(AD, &entries) else { return };
    dc.modify(
        "dn: SUFFIX\nchangetype: modify\nreplace: lockoutThreshold\nlockoutThreshold: 10\n\n",
    );
    let config = whole(&dc);
    let wrong = dc.dir.path().join("wrong");
    std::fs::write(&wrong, "not-this-one").unwrap();
    let two_urls = vec![dc.ldaps_url.parse().unwrap(), dc.ldaps_url.parse().unwrap()];
    let refused = LdapConfig {
        urls: two_urls,
        bind_dn: Some(dc.dn("alice")),
        bind_password: Some(SecretRef::File(wrong)),
        ..config.clone()
    };
    let error = read(&refused).unwrap_err();
    assert!(error.message.contains("wrong password, or no such user"), "{}", error.message);
    assert!(!error.transient, "not to be tried again at once");
    let count = || dc.search(&["(sAMAccountName=alice)", "badPwdCount"]);
    assert!(count().contains("badPwdCount: 1\n"), "{}", count());
    // Nor by the next run, nor by a look-up.
    for _ in 0..3 {
        let error = read(&refused).unwrap_err();
        assert!(error.message.contains("is not tried"), "{}", error.message);
    }
    assert!(count().contains("badPwdCount: 1\n"), "{}", count());
    std::fs::write(dc.dir.path().join("wrong"), "another-one").unwrap();
    read(&refused).unwrap_err();
    assert!(count().contains("badPwdCount: 2\n"), "another password is tried at once");

    // An ordinary account reads as much as the administrator.
    let ordinary = LdapConfig { bind_dn: Some(dc.dn("reader")), ..config.clone() };
    let (by_it, by_admin) = (read(&ordinary).unwrap(), read(&config).unwrap());
    assert_complete(&by_it);
    assert_eq!(usernames(&by_it), usernames(&by_admin));
    assert_eq!(closure(&by_it), closure(&by_admin));

    // Codes that show with the right password alone.
    for (change, why) in [
        ("replace: userAccountControl\nuserAccountControl: 514\n", "the account is disabled"),
        (
            "replace: userAccountControl\nuserAccountControl: 512\n-\nreplace: accountExpires\n\
             accountExpires: 100000000000000000\n",
            "the account has expired",
        ),
    ] {
        dc.modify(&format!("dn: CN=reader,CN=Users,SUFFIX\nchangetype: modify\n{change}\n"));
        let refused = LdapConfig { bind_dn: Some(dc.dn("reader")), ..config.clone() };
        let error = read(&refused).unwrap_err();
        assert!(error.message.contains(why), "{}", error.message);
    }

    // Without TLS, and without an identity.
    let clear = LdapConfig { urls: vec![dc.url.parse().unwrap()], ..config.clone() };
    let error = read(&clear).unwrap_err();
    assert!(error.message.contains("use `ldaps://` or `start_tls = true`"), "{}", error.message);
    let anonymous = LdapConfig { bind_dn: None, bind_password: None, ..config };
    let error = read(&anonymous).unwrap_err();
    assert!(error.message.contains("set `bind_dn`"), "{}", error.message);
}

#[test]
fn a_canary_that_is_not_to_be_seen_makes_the_read_partial() {
    let Some(dc) = Samba::start(AD, &company()) else { return };
    let with = |name: &str| LdapConfig { canary: Some(dc.dn(name)), ..whole(&dc) };
    assert_complete(&read(&with("team")).unwrap());
    assert_complete(&read(&with("alice")).unwrap());
    let gone = read(&with("gone")).unwrap();
    assert!(partial(&gone.users).contains("canary"), "{}", partial(&gone.users));
    let empty = read(&with("empty")).unwrap();
    let why = partial(completeness(&empty, &dc.dn("team")));
    assert!(why.contains("shows no members"), "{why}");
}

#[test]
fn a_domain_controller_serves_what_was_loaded_and_says_why_it_refuses_a_bind() {
    let entries =
        [samba::user("alice", ""), samba::group("ml", &[samba::dn("alice")], "")].concat();
    let Some(dc) = samba::Samba::start(samba::AD, &entries) else { return };
    let alice = dc.search(&["(sAMAccountName=alice)", "objectGUID", "memberOf"]);
    assert!(alice.contains("objectGUID:: "), "{alice}");
    assert!(alice.contains(&format!("memberOf: {}\n", dc.dn("ml"))), "{alice}");
    dc.bind(&dc.upn(samba::ADMIN), samba::PASSWORD).unwrap();
    let refused = dc.bind(&dc.upn(samba::ADMIN), "wrong").unwrap_err();
    assert!(refused.contains("data 52e"), "{refused}");
}
