//! Following a real OpenLDAP and a real 389-DS: a mirror that is fed is what a full read would say.
#![cfg(test)]

mod support;

#[path = "ldap_feed/changes.rs"]
mod changes;
#[path = "ldap_feed/ds389.rs"]
mod ds389;
#[path = "ldap_feed/dynamic.rs"]
mod dynamic;
#[path = "ldap_feed/faults.rs"]
mod faults;
#[path = "ldap_feed/kit.rs"]
mod kit;
#[path = "ldap_feed/primary.rs"]
mod primary;
#[path = "ldap_feed/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::time::Duration;

use idpsyncd::directory::Cursor;
use idpsyncd::model::FollowMode;
use idpsyncd::source::feed::{Feed, FeedEvent, Mark, NotFollowed, Start, WhyFull};
use idpsyncd::source::ldap::LdapConfig;
use kit::{World, add, change, delete, facts, is_in, rename};
use support::ldap;
use support::openldap::*;

const SYNCPROV: &str = "moduleload syncprov\nindex entryCSN eq\noverlay syncprov\n\
                        syncprov-sessionlog 1000\nsyncprov-checkpoint 1 1\n";
/// Without the log: who is left is said instead of who is gone.
const NO_LOG: &str = "moduleload syncprov\noverlay syncprov\nsyncprov-checkpoint 1 1\n";
const REFINT: &str = "moduleload refint\noverlay refint\nrefint_attributes member\n\
                      refint_nothing cn=nobody\n";

fn company() -> String {
    [
        tree(),
        person("alice", "departmentNumber: Research\n"),
        person("bob", ""),
        person("carol", ""),
        person("yan", "departmentNumber: research\n"),
        group("ml", &[person_dn("alice"), person_dn("bob"), group_dn("inner")]),
        group("inner", &[person_dn("carol")]),
        group("empty", &["cn=nobody".to_owned()]),
        format!(
            "dn: cn=posix,ou=groups,{SUFFIX}\nobjectClass: posixGroup\ncn: posix\ngidNumber: 7\n\
             memberUid: carol\n\n"
        ),
    ]
    .concat()
}

fn world(conf: &str) -> Option<(OpenLdap, World)> {
    let server = OpenLdap::start(&company(), conf)?;
    let world = World::new(ldap::reader(&server));
    Some((server, world))
}

#[test]
fn each_kind_of_change_is_told_without_a_full_read() {
    let Some((server, mut world)) = world(SYNCPROV) else { return };
    world.assert_no_drift();
    type Seen = Box<dyn Fn(&BTreeSet<String>) -> bool>;
    let steps: Vec<(&str, String, Seen)> = vec![
        (
            "a member removed",
            change(&group_dn("ml"), &format!("delete: member\nmember: {}\n", person_dn("bob"))),
            Box::new(|facts| !is_in(facts, &group_dn("ml"), "bob")),
        ),
        (
            "a member added",
            change(&group_dn("inner"), &format!("add: member\nmember: {}\n", person_dn("bob"))),
            Box::new(|facts| is_in(facts, &group_dn("inner"), "bob")),
        ),
        (
            "a group in a group no longer",
            change(&group_dn("ml"), &format!("delete: member\nmember: {}\n", group_dn("inner"))),
            Box::new(|facts| !facts.iter().any(|it| it.contains(" in cn=ml"))),
        ),
        (
            "a group in a group",
            change(&group_dn("inner"), &format!("add: member\nmember: {}\n", group_dn("ml"))),
            Box::new(|facts| facts.iter().any(|it| it.contains(" in cn=inner"))),
        ),
        (
            "somebody new",
            add(&person("dave", "")),
            Box::new(|facts| facts.iter().any(|it| it.starts_with("user dave "))),
        ),
        (
            "somebody renamed",
            rename(&person_dn("carol"), "uid=caroline"),
            Box::new(|facts| facts.iter().any(|it| it.starts_with("user caroline "))),
        ),
        (
            "an attribute that a rule names",
            change(&person_dn("bob"), "add: departmentNumber\ndepartmentNumber: research\n"),
            Box::new(|facts| is_in(facts, "departmentNumber=research", "bob")),
        ),
        (
            "that attribute no longer",
            change(&person_dn("alice"), "replace: departmentNumber\ndepartmentNumber: sales\n"),
            Box::new(|facts| !is_in(facts, "departmentNumber=research", "alice")),
        ),
        (
            "a user name in a list",
            change(&format!("cn=posix,ou=groups,{SUFFIX}"), "add: memberUid\nmemberUid: Bob\n"),
            Box::new(|facts| is_in(facts, &format!("cn=posix,ou=groups,{SUFFIX}"), "bob")),
        ),
        (
            "a group renamed",
            rename(&group_dn("ml"), "cn=machine learning"),
            Box::new(|facts| facts.iter().any(|it| it.contains(" machine learning "))),
        ),
        (
            "somebody deleted",
            delete(&person_dn("bob")),
            Box::new(|facts| !facts.iter().any(|it| it.starts_with("user bob "))),
        ),
        (
            "a group deleted",
            delete(&group_dn("inner")),
            Box::new(|facts| !facts.iter().any(|it| it.contains("cn=inner"))),
        ),
    ];
    for (what, changes, done) in steps {
        server.modify(&changes);
        world.until(what, done);
    }
    world.settle();
    world.assert_no_drift();
    assert_eq!(world.reads, [], "nothing of that needs a full read");
    let state = world.state();
    assert_eq!((state.how, state.why), (FollowMode::Persist, None));
    assert!(state.current_at.is_some());
}

/// The third way to remove access by mistake, and its reverse.
#[test]
fn who_is_renamed_keeps_groups_that_the_server_mends_without_a_word() {
    let Some((server, mut world)) = world(&format!("{SYNCPROV}{REFINT}")) else { return };
    server.modify(&rename(&person_dn("bob"), "uid=robert"));
    world.settle();
    assert!(world.is_in(&group_dn("ml"), "robert"));
    assert!(
        world.seen.iter().all(|it| {
            is_in(&facts(it), &group_dn("ml"), "bob")
                || is_in(&facts(it), &group_dn("ml"), "robert")
        }),
        "not for a moment"
    );
    world.assert_no_drift();
    // A group that is in groups likewise.
    server.modify(&rename(&group_dn("inner"), "cn=core"));
    world.settle();
    world.assert_no_drift();
    assert!(world.facts().iter().any(|it| it.starts_with("cn=core,") && it.contains(" in cn=ml,")));
    // Deleted and made again under the same name: nobody inherits what the other was in.
    server.modify(&[delete(&person_dn("alice")), add(&person("alice", ""))].concat());
    world.settle();
    assert!(!world.is_in(&group_dn("ml"), "alice"));
    assert!(
        world.seen.iter().all(|it| {
            let now = facts(it);
            let own = now.iter().find(|fact| fact.starts_with("user alice "));
            let id = own.and_then(|fact| fact.split(' ').nth(2)).unwrap_or_default();
            let old = &world.seen[0];
            let was = facts(old).iter().any(|fact| fact.contains(id));
            was || !is_in(&now, &group_dn("ml"), "alice")
        }),
        "not for a moment"
    );
    world.assert_no_drift();
    assert_eq!(world.reads, []);
}

#[test]
fn who_is_renamed_loses_groups_that_list_the_old_name_where_nobody_mends_them() {
    let Some((server, mut world)) = world(SYNCPROV) else { return };
    server.modify(&rename(&person_dn("bob"), "uid=robert"));
    world.until("renamed", |facts| facts.iter().any(|it| it.starts_with("user robert ")));
    assert!(world.is_in(&group_dn("ml"), "robert"), "it may be mended yet");
    world.until("given up", |facts| !is_in(facts, &group_dn("ml"), "robert"));
    world.settle();
    world.assert_no_drift();
    // Whoever gets the name is in the group that still lists it: the server says so.
    server.modify(&add(&person("bob", "")));
    world.settle();
    assert!(world.is_in(&group_dn("ml"), "bob"));
    world.assert_no_drift();
}

/// The fourth way: pages and synchronization in one request.
#[test]
fn more_changes_than_a_page_holds_are_all_told() {
    let Some((server, mut world)) = world(SYNCPROV) else { return };
    world.following = None;
    world.config.page_size = 5;
    let people: String = (0..60).map(|n| add(&person(&format!("p{n}"), ""))).collect();
    server.modify(&people);
    world.restart();
    world.settle();
    world.assert_no_drift();
    assert_eq!(world.reads, []);
    assert_eq!(world.facts().iter().filter(|it| it.starts_with("user ")).count(), 64);
}

/// The sixth way: who leaves a filter on what can change.
#[test]
fn who_leaves_the_filter_is_gone_and_who_enters_it_is_there() {
    let Some(server) = OpenLdap::start(&company(), SYNCPROV) else { return };
    let mut config = ldap::reader(&server);
    config.users.filter = "(&(objectClass=inetOrgPerson)(!(employeeType=external)))".to_owned();
    let mut world = World::new(config);
    let has = |facts: &BTreeSet<String>| facts.iter().any(|it| it.starts_with("user alice "));
    server.modify(&change(&person_dn("alice"), "add: employeeType\nemployeeType: external\n"));
    world.until("left", |facts| !has(facts));
    server.modify(&change(&person_dn("alice"), "delete: employeeType\n"));
    world.until("entered", |facts| has(facts) && is_in(facts, &group_dn("ml"), "alice"));
    // Out of the base, and back.
    let to = |name: &str, ou: &str| {
        format!(
            "dn: {name}\nchangetype: modrdn\nnewrdn: uid=alice\ndeleteoldrdn: 1\nnewsuperior: ou={ou},{SUFFIX}\n\n"
        )
    };
    server.modify(&to(&person_dn("alice"), "services"));
    world.until("moved out", |facts| !has(facts));
    server.modify(&to(&format!("uid=alice,ou=services,{SUFFIX}"), "people"));
    world.until("moved in", |facts| has(facts) && is_in(facts, &group_dn("ml"), "alice"));
    world.settle();
    world.assert_no_drift();
    assert_eq!(world.reads, []);
}

#[test]
fn what_happened_while_nobody_followed_is_told_by_the_session_log() {
    let Some((server, mut world)) = world(SYNCPROV) else { return };
    world.following = None;
    let changes = [
        delete(&person_dn("bob")),
        delete(&group_dn("inner")),
        add(&person("dave", "")),
        rename(&person_dn("carol"), "uid=caroline"),
        change(&group_dn("ml"), &format!("add: member\nmember: {}\n", person_dn("dave"))),
    ];
    server.modify(&changes.concat());
    world.restart();
    world.settle();
    assert_eq!(world.reads, []);
    world.assert_no_drift();
}

/// The first of the six ways, as OpenLDAP has it: who is not among those that are there.
#[test]
fn who_is_missing_in_a_present_phase_is_gone_only_by_a_full_read() {
    let Some((mut server, mut world)) = world(NO_LOG) else { return };
    for kill in [false, true] {
        world.following = None;
        server.modify(&[delete(&person_dn("bob")), add(&person("dave", ""))].concat());
        if kill {
            server.kill();
            assert!(server.start_again());
        }
        let before = world.seen.len();
        world.restart();
        world.settle();
        assert!(matches!(world.reads.as_slice(), [WhyFull::NoSessionLog]), "{:?}", world.reads);
        let alice = |it: &_| facts(it).iter().any(|fact| fact.starts_with("user alice "));
        assert!(world.seen[before..].iter().all(alice), "nobody is gone who is there");
        world.assert_no_drift();
        world.reads.clear();
        server.modify(&[delete(&person_dn("dave")), add(&person("bob", ""))].concat());
        world.settle();
        assert_eq!(world.reads, [], "while it follows, each is told");
        world.assert_no_drift();
    }
}

#[test]
fn an_outage_is_waited_for_and_what_happened_in_it_is_told() {
    let Some((mut server, mut world)) = world(SYNCPROV) else { return };
    world.settle();
    for _ in 0..3 {
        server.kill();
        assert!(!world.next(Duration::from_millis(1500)), "nothing comes");
        let state = world.state();
        assert!(state.why.is_some() && state.how == FollowMode::Persist, "{state:?}");
        assert!(server.start_again());
        server.modify(&change(
            &group_dn("ml"),
            &format!(
                "delete: member\nmember: {}\n-\nadd: member\nmember: {}\n",
                person_dn("bob"),
                person_dn("carol")
            ),
        ));
        world.until("told", |facts| {
            is_in(facts, &group_dn("ml"), "carol") && !is_in(facts, &group_dn("ml"), "bob")
        });
        server.modify(&change(
            &group_dn("ml"),
            &format!(
                "add: member\nmember: {}\n-\ndelete: member\nmember: {}\n",
                person_dn("bob"),
                person_dn("carol")
            ),
        ));
        world.settle();
        world.assert_no_drift();
        assert_eq!(world.state().why, None);
    }
    // The server's log does not outlive it.
    assert!(world.reads.iter().all(|why| *why == WhyFull::NoSessionLog), "{:?}", world.reads);
}

#[test]
fn a_restored_backup_and_a_cookie_of_something_else_lead_to_a_full_read() {
    let Some((mut server, mut world)) = world(SYNCPROV) else { return };
    world.settle();
    // A cookie of another base, filter or identity would be accepted, and nothing be told.
    let cursor = world.mirror.0.lock().unwrap().cursor.clone();
    let original = world.config.clone();
    let other = |change: fn(&mut LdapConfig)| {
        let mut config = original.clone();
        change(&mut config);
        config
    };
    world.following = None;
    for (config, what) in [
        (other(|it| it.users.filter = "(objectClass=person)".to_owned()), "filter"),
        (other(|it| it.users.username = "cn".to_owned()), "set of attributes"),
        (other(|it| it.bind_dn = None), "identity"),
        (other(|it| it.groups = None), "base"),
    ] {
        world.config = config;
        if what == "identity" {
            world.config.bind_password = None;
        }
        let start = world.follow();
        assert!(matches!(&start, Start::Read(WhyFull::Foreign(it)) if *it == what), "{start:?}");
    }
    world.config = original;
    for (cursor, why) in [
        (None, WhyFull::NoCursor),
        (Some(Cursor::new("garbage")), WhyFull::Unreadable),
        (
            cursor.as_ref().map(|it| {
                let text = it.as_str();
                let (head, _) = text.split_once("\"cookie\"").unwrap();
                Cursor::new(format!("{head}\"cookie\":\"rid=000\"}}"))
            }),
            WhyFull::Unreadable,
        ),
    ] {
        world.mirror.0.lock().unwrap().cursor = cursor;
        let start = world.follow();
        assert!(matches!(&start, Start::Read(it) if *it == why), "{start:?}");
    }
    world.mirror.0.lock().unwrap().cursor = cursor;
    world.restart();

    // A backup from before somebody was deleted.
    server.modify(&change(&person_dn("bob"), "replace: title\ntitle: x\n"));
    server.kill();
    let (db, backup) = (server.dir.path().join("db"), server.dir.path().join("backup"));
    std::fs::create_dir(&backup).unwrap();
    std::fs::copy(db.join("data.mdb"), backup.join("data.mdb")).unwrap();
    assert!(server.start_again());
    server.modify(&change(&person_dn("alice"), "replace: mail\nmail: a@example.org\n"));
    world.until("there again", |facts| facts.iter().any(|it| it.contains("a@example.org")));
    world.reads.clear();
    server.modify(&delete(&person_dn("bob")));
    world.until("deleted", |facts| !facts.iter().any(|it| it.starts_with("user bob ")));
    world.settle();
    assert_eq!(world.reads, []);
    server.kill();
    std::fs::copy(backup.join("data.mdb"), db.join("data.mdb")).unwrap();
    assert!(server.start_again());
    let is_back = |facts: &BTreeSet<String>| facts.iter().any(|it| it.starts_with("user bob "));
    world.until("back", is_back);
    assert_eq!(world.reads, [WhyFull::Newer]);
    world.settle();
    world.assert_no_drift();
}

/// OpenLDAP without `syncprov-checkpoint` forgets after a crash what it had told.
#[test]
fn a_crash_without_checkpoints_leads_to_a_full_read_rather_than_to_silence() {
    let conf = "moduleload syncprov\noverlay syncprov\nsyncprov-sessionlog 1000\n";
    let Some((mut server, mut world)) = world(conf) else { return };
    for n in 0..3 {
        server.modify(&add(&person(&format!("p{n}"), "")));
        world.until("there", |facts| facts.iter().any(|it| it.starts_with(&format!("user p{n} "))));
        server.modify(&delete(&person_dn(&format!("p{n}"))));
        world.until("gone", |facts| !facts.iter().any(|it| it.starts_with(&format!("user p{n} "))));
        world.settle();
        server.kill();
        assert!(server.start_again());
        world.settle();
        world.assert_no_drift();
    }
    let expected = |why: &WhyFull| matches!(why, WhyFull::Newer | WhyFull::NoSessionLog);
    assert!(world.reads.iter().all(expected), "{:?}", world.reads);
}

#[test]
fn a_container_that_is_renamed_leads_to_a_full_read() {
    let Some(server) = OpenLdap::start(
        &[
            company(),
            format!("dn: ou=a,ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: a\n\n"),
            person("zoe", "").replacen("ou=people", "ou=a,ou=people", 1),
        ]
        .concat(),
        SYNCPROV,
    ) else {
        return;
    };
    let mut world = World::new(ldap::reader(&server));
    server.modify(&rename(&format!("ou=a,ou=people,{SUFFIX}"), "ou=b"));
    world.settle();
    assert!(matches!(world.reads.as_slice(), [WhyFull::Moved(_)]), "{:?}", world.reads);
    world.assert_no_drift();
}

#[test]
fn a_server_without_the_overlay_is_not_followed_and_says_why() {
    // Without the module; with the module but not on this database.
    for conf in ["", "moduleload syncprov\n"] {
        let Some(server) = OpenLdap::start(&company(), conf) else { return };
        let source =
            idpsyncd::source::ldap::LdapSource::new("corp", &ldap::reader(&server)).unwrap();
        let mark = ldap::runtime().block_on(Feed::mark(&source, &kit::wants())).unwrap();
        let Mark::Not(NotFollowed::NotOffered(why)) = mark else { panic!("{mark:?}") };
        assert!(why.contains("overlay syncprov"), "{why}");
    }
}

#[test]
fn a_group_whose_members_are_hidden_keeps_them() {
    let access = "access to dn.subtree=\"ou=groups,dc=example,dc=org\" attrs=member by dn=\"cn=other\" read by * none\n\
                  access to * by * read\n";
    let Some((mut server, mut world)) = world(SYNCPROV) else { return };
    // From the first change on the server keeps its place over a restart.
    server.modify(&change(&person_dn("bob"), "replace: title\ntitle: x\n"));
    world.settle();
    // The rules change under it, which no server tells; then a group is touched.
    server.kill();
    let path = server.dir.path().join("slapd.conf");
    let conf = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, conf + access).unwrap();
    assert!(server.start_again());
    assert!(!world.next(Duration::from_millis(1500)), "nothing comes");
    server.modify(&change(&group_dn("ml"), "add: description\ndescription: x\n"));
    world.settle();
    assert!(world.is_in(&group_dn("ml"), "alice"), "{:#?}", world.facts());
    assert_eq!(world.reads, []);
}

/// The fifth way, as a feed meets it: limits cut the answer short.
#[test]
fn a_limit_of_the_server_takes_nothing_away() {
    let Some((mut server, mut world)) = world(SYNCPROV) else { return };
    world.settle();
    let path = server.dir.path().join("slapd.conf");
    let conf = std::fs::read_to_string(&path).unwrap();
    for limit in ["size=2", "size.soft=1 size.hard=1 size.prtotal=1", "time=0 size=1"] {
        world.following = None;
        for n in 0..4 {
            let name = format!("replace: mail\nmail: {n}@example.org\n");
            server.modify(&change(&person_dn(["alice", "bob", "carol", "yan"][n]), &name));
        }
        server.modify(&change(&group_dn("ml"), "add: description\ndescription: x\n"));
        server.kill();
        let reader = format!("limits dn.exact=\"cn=reader,ou=services,{SUFFIX}\" {limit}\n");
        std::fs::write(&path, format!("{conf}{reader}")).unwrap();
        assert!(server.start_again());
        let before = world.facts();
        // Either it is said at once, or once the search has ended.
        let source = idpsyncd::source::ldap::LdapSource::new("corp", &world.config).unwrap();
        let wants = kit::wants();
        let why = ldap::runtime().block_on(async {
            let cursor = world.mirror.0.lock().unwrap().cursor.clone();
            let view = std::sync::Arc::new(world.mirror.clone());
            match Feed::follow(&source, &wants, cursor, view).await.unwrap() {
                Start::Not(why) => why,
                Start::Here(mut following) => match following.next().await.unwrap() {
                    FeedEvent::Not(why) => why,
                    other => panic!("{limit}: {other:?}"),
                },
                other => panic!("{limit}: {other:?}"),
            }
        });
        let NotFollowed::Refused(why) = why else { panic!("{limit}: {why:?}") };
        assert!(why.contains("limits"), "{why}");
        assert_eq!(before, world.facts());
        server.kill();
        std::fs::write(&path, &conf).unwrap();
        assert!(server.start_again());
        server.modify(&change(&group_dn("ml"), "delete: description\n"));
        world.restart();
        world.settle();
        world.assert_no_drift();
    }
}

#[test]
fn access_rules_that_hide_everything_take_nothing_away() {
    let Some((mut server, mut world)) = world(SYNCPROV) else { return };
    world.settle();
    let path = server.dir.path().join("slapd.conf");
    let conf = std::fs::read_to_string(&path).unwrap();
    let hide = |what: &str| {
        format!("access to {what} by dn=\"cn=other\" read by * none\naccess to * by * read\n")
    };
    for (what, canary) in [
        ("dn.subtree=\"ou=people,dc=example,dc=org\"", false),
        ("dn.onelevel=\"ou=people,dc=example,dc=org\" filter=(!(uid=yan))", false),
        (
            "dn.children=\"dc=example,dc=org\" attrs=entry,children,objectClass,uid,member,mail",
            false,
        ),
        ("attrs=entryUUID", false),
        ("attrs=uid", false),
    ] {
        // Somebody is gone, so that the server must say who is there; its log ends with it.
        world.following = None;
        server.modify(&[delete(&person_dn("bob")), add(&person("bob", ""))].concat());
        server.kill();
        std::fs::write(&path, format!("{conf}{}", hide(what))).unwrap();
        assert!(server.start_again());
        world.config.canary = canary.then(|| person_dn("alice"));
        let before = world.facts();
        let told = world.what_comes_of_following();
        println!("{what}: {told}");
        assert_eq!(before, world.facts(), "{what}");
        world.config.canary = None;
        server.kill();
        std::fs::write(&path, &conf).unwrap();
        assert!(server.start_again());
        world.restart();
        world.settle();
        world.assert_no_drift();
    }
}

#[test]
fn who_is_in_a_list_and_comes_later_is_found_in_it() {
    let Some(server) = OpenLdap::start(&company(), SYNCPROV) else { return };
    let mut config = ldap::reader(&server);
    config.users.filter = "(&(objectClass=inetOrgPerson)(employeeType=staff))".to_owned();
    for who in ["alice", "bob", "yan"] {
        server.modify(&change(&person_dn(who), "add: employeeType\nemployeeType: staff\n"));
    }
    let mut world = World::new(config);
    // Below the base and left out: their names in lists lead to nobody.
    let list = |who: &str| change(&group_dn("ml"), &format!("add: member\nmember: {who}\n"));
    server.modify(&list(&person_dn("carol")));
    server.modify(&list(&person_dn("nobody-yet")));
    server.modify(&list(&format!("uid=x,ou=services,{SUFFIX}")));
    world.settle();
    assert!(!world.is_in(&group_dn("ml"), "carol"));
    server.modify(&change(&person_dn("carol"), "add: employeeType\nemployeeType: staff\n"));
    world.until("let in", |facts| {
        is_in(facts, &group_dn("ml"), "carol") && is_in(facts, &group_dn("inner"), "carol")
    });
    server.modify(&add(&person("nobody-yet", "employeeType: staff\n")));
    world.until("made", |facts| is_in(facts, &group_dn("ml"), "nobody-yet"));
    world.settle();
    world.assert_no_drift();
    assert_eq!(world.reads, []);
}
