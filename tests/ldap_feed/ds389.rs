//! Following a real 389-DS.

use std::collections::BTreeSet;

use idpsyncd::config::SecretRef;
use idpsyncd::directory::Cursor;
use idpsyncd::model::FollowMode;
use idpsyncd::source::feed::{Mark, Start, WhyFull};
use idpsyncd::source::ldap::LdapConfig;

use crate::kit::{World, add, change, delete, facts, is_in, rename};
use crate::support::ds389::*;
use crate::support::ldap;

/// A configuration for `server` as its reader.
pub fn reader(server: &Ds389) -> LdapConfig {
    let path = server.dir.path().join("reader-secret");
    std::fs::write(&path, "reader-secret\n").unwrap();
    LdapConfig {
        bind_dn: Some(format!("cn=reader,ou=services,{SUFFIX}")),
        bind_password: Some(SecretRef::File(path)),
        ..ldap::at(&server.url)
    }
}

fn company() -> String {
    [
        tree(),
        person("alice", "departmentNumber: Research\n"),
        person("bob", ""),
        person("carol", ""),
        person("yan", "departmentNumber: research\n"),
        group("ml", &[person_dn("alice"), person_dn("bob"), group_dn("inner")]),
        group("inner", &[person_dn("carol")]),
        group("other", &[person_dn("alice")]),
    ]
    .concat()
}

fn has(facts: &BTreeSet<String>, user: &str) -> bool {
    facts.iter().any(|fact| fact.starts_with(&format!("user {user} ")))
}

/// The cursor with another change number.
fn at(cursor: &Cursor, number: impl FnOnce(u64) -> u64) -> Cursor {
    let text = cursor.as_str().trim_end_matches("\"}");
    let (head, now) = text.rsplit_once('#').unwrap();
    Cursor::new(format!("{head}#{}\"}}", number(now.parse().unwrap())))
}

#[test]
fn new_groups_that_list_one_another_in_a_circle_are_told_and_so_is_what_follows() {
    let Some(server) = Ds389::start(&company()) else { return };
    let mut world = World::new(reader(&server));
    world.settle();
    // Told together; one lists itself as well.
    let ring = [
        add(&group("ring-a", &[group_dn("ring-b"), group_dn("ring-a"), person_dn("bob")])),
        add(&group("ring-b", &[group_dn("ring-a")])),
    ];
    server.modify(&ring.concat());
    world.until("the circle", |facts| is_in(facts, &group_dn("ring-a"), "bob"));
    server.modify(&change(&person_dn("bob"), "replace: mail\nmail: later@example.org\n"));
    world.until("what follows", |facts| facts.iter().any(|it| it.contains("later@example.org")));
    world.settle();
    world.assert_no_drift();
}

#[test]
fn changes_are_told_and_nobody_is_gone_who_was_not_mentioned() {
    let Some(mut server) = Ds389::start(&company()) else { return };
    let mut world = World::new(reader(&server));
    world.settle();
    world.assert_no_drift();
    // Each as it comes.
    server.modify(&change(
        &group_dn("ml"),
        &format!("delete: member\nmember: {}\n", person_dn("bob")),
    ));
    world.until("a member removed", |facts| !is_in(facts, &group_dn("ml"), "bob"));
    server.modify(&change(&person_dn("bob"), "add: nsAccountLock\nnsAccountLock: TRUE\n"));
    let locked = |facts: &BTreeSet<String>| {
        facts.iter().any(|fact| fact.starts_with("user bob ") && fact.contains(" No "))
    };
    world.until("a locked account", locked);
    server.modify(&rename(&person_dn("carol"), "uid=caroline"));
    world.until("somebody renamed", |facts| is_in(facts, &group_dn("inner"), "caroline"));
    server.modify(&[delete(&person_dn("yan")), add(&person("zoe", ""))].concat());
    world.until("gone and new", |facts| !has(facts, "yan") && has(facts, "zoe"));
    // A group that has nobody left, which here it may.
    server.modify(&change(&group_dn("other"), "delete: member\n"));
    world.until("emptied", |facts| !is_in(facts, &group_dn("other"), "alice"));
    world.settle();
    world.assert_no_drift();

    // What happened while nobody followed, with the first of the six ways: a cookie is answered with
    // changes alone, and who is not among them is there. A locked account comes without its lock.
    for kill in [false, true] {
        world.following = None;
        server
            .modify(&change(&person_dn("alice"), "replace: nsAccountLock\nnsAccountLock: TRUE\n"));
        server.modify(&delete(&person_dn("zoe")));
        if kill {
            server.kill()
        } else {
            server.stop()
        }
        assert!(server.start_again());
        let before = world.seen.len();
        world.restart();
        world.settle();
        assert!(!has(&world.facts(), "zoe"));
        assert!(
            world.seen[before..].iter().all(|it| has(&facts(it), "bob")),
            "nobody is gone who was not mentioned"
        );
        assert!(
            world.facts().iter().any(|it| it.starts_with("user alice ") && it.contains(" No "))
        );
        world.assert_no_drift();
        server.modify(&add(&person("zoe", "")));
        server.modify(&change(&person_dn("alice"), "delete: nsAccountLock\n"));
        world.settle();
        world.assert_no_drift();
    }
    assert_eq!(world.reads, [], "nothing of that needs a full read");
    let state = world.state();
    assert_eq!((state.how, state.why), (FollowMode::Persist, None));
}

/// The second way: a change log that was trimmed is answered with success and what is left.
#[test]
fn a_log_that_was_trimmed_and_a_cookie_of_something_else_lead_to_a_full_read() {
    let Some(mut server) = Ds389::start(&company()) else { return };
    let mut world = World::new(reader(&server));
    world.settle();
    world.following = None;
    let cursor = world.mirror.0.lock().unwrap().cursor.clone().unwrap();
    server.modify(&delete(&person_dn("bob")));
    for n in 0..4 {
        server.modify(&change(&person_dn("alice"), &format!("replace: title\ntitle: {n}\n")));
    }
    // As trimming does, all but the last few.
    let told = server.search(&["-b", "cn=changelog", "(changeNumber=*)", "changeNumber"]);
    let mut numbers: Vec<u64> =
        told.lines().filter_map(|line| line.strip_prefix("changeNumber: ")?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.truncate(numbers.len() - 2);
    let trim: String = numbers
        .iter()
        .map(|number| delete(&format!("changenumber={number},cn=changelog")))
        .collect();
    server.modify(&trim);
    // What the root DSE says of the log is counted anew by its own trimming, and at the start.
    server.stop();
    assert!(server.start_again());
    let start = world.follow();
    assert!(matches!(start, Start::Read(WhyFull::Trimmed { .. })), "{start:?}");
    world.take(start);
    assert!(!has(&world.facts(), "bob"));
    world.settle();
    world.assert_no_drift();

    // Newer than the server, as after a restored backup.
    let now = world.mirror.0.lock().unwrap().cursor.clone().unwrap();
    world.following = None;
    world.mirror.0.lock().unwrap().cursor = Some(at(&now, |n| n + 50));
    let start = world.follow();
    assert!(matches!(start, Start::Read(WhyFull::Newer)), "{start:?}");
    // The server itself refuses one that is not its own.
    let foreign = cursor.as_str().replace("\"cookie\":\"", "\"cookie\":\"other:1#");
    world.mirror.0.lock().unwrap().cursor = Some(at(&Cursor::new(foreign), |_| {
        now.as_str().trim_end_matches("\"}").rsplit_once('#').unwrap().1.parse().unwrap()
    }));
    let start = world.follow();
    world.take(start);
    world.settle();
    assert_eq!(world.reads.last(), Some(&WhyFull::Refused), "{:?}", world.reads);
    world.assert_no_drift();
}

/// It says nothing of somebody who was made and deleted after the cookie, as in mid-read.
#[test]
fn who_was_made_and_deleted_after_the_cookie_is_not_kept() {
    let Some(server) = Ds389::start(&company()) else { return };
    let mut world = World::new(reader(&server));
    world.following = None;
    let Mark::At(cursor) = world.mark() else { panic!("no mark") };
    server.add(&person("zoe", ""));
    let mut snapshot = world.snapshot();
    snapshot.cursor = Some(cursor);
    {
        let mut mirror = world.mirror.0.lock().unwrap();
        *mirror = mirror.apply_snapshot(snapshot).mirror;
    }
    assert!(has(&world.facts(), "zoe"));
    server.modify(&delete(&person_dn("zoe")));
    world.restart();
    world.settle();
    assert!(matches!(world.reads.as_slice(), [WhyFull::Other(_)]), "{:?}", world.reads);
    world.assert_no_drift();
    // While it follows, the mirror is never ahead of its cookie.
    server.add(&person("zoe", ""));
    world.until("made", |facts| has(facts, "zoe"));
    world.following = None;
    server.modify(&delete(&person_dn("zoe")));
    world.restart();
    world.until("gone", |facts| !has(facts, "zoe"));
    world.assert_no_drift();
    assert_eq!(world.reads.len(), 1);
}

/// The whole instance from an archive, its change log with it; or the people and groups alone from an
/// LDIF, beside a change log that knows nothing of that.
#[test]
fn a_restored_backup_leads_to_a_full_read_and_takes_nobody_by_mistake() {
    for of_all in [true, false] {
        let people = company() + &person("mark", "");
        let Some(mut server) = Ds389::start(&people) else { return };
        let mut world = World::new(reader(&server));
        server.modify(&change(&person_dn("bob"), "replace: title\ntitle: x\n"));
        world.settle();
        let backup = server.dir.path().join(if of_all { "bak/1" } else { "ldif/1.ldif" });
        let backup = backup.to_str().unwrap();
        let (save, restore): (&[&str], &[&str]) = match of_all {
            true => (&["-a", backup], &["-a", backup]),
            false => (&["-n", "userRoot", "-a", backup], &["-n", "userRoot", "-i", backup]),
        };
        server.stop();
        server.offline(if of_all { "db2archive" } else { "db2ldif" }, save);
        assert!(server.start_again());
        let drop_alice = format!("delete: member\nmember: {}\n", person_dn("alice"));
        server.modify(&[delete(&person_dn("bob")), change(&group_dn("ml"), &drop_alice)].concat());
        server.modify(&add(&person("zoe", "")));
        world.until("told", |facts| {
            has(facts, "zoe") && !has(facts, "bob") && !is_in(facts, &group_dn("ml"), "alice")
        });
        // To the last of it: what is told later than that is told of the restored server.
        world.settle_by(|n| {
            let mail = format!("replace: mail\nmail: {n}\n");
            server.modify(&change(&person_dn("mark"), &mail));
        });
        world.assert_no_drift();
        assert_eq!(world.reads, [], "{of_all}");

        server.stop();
        server.offline(if of_all { "archive2db" } else { "ldif2db" }, restore);
        let before = world.seen.len();
        assert!(server.start_again());
        world.until("restored", |facts| {
            has(facts, "bob") && is_in(facts, &group_dn("ml"), "alice") && !has(facts, "zoe")
        });
        assert_eq!(world.reads, [WhyFull::Newer], "{of_all}");
        world.settle();
        world.assert_no_drift();
        // Nothing but the full read said so: not for a moment was anybody gone or back before it.
        assert!(world.seen[before..].iter().all(|it| has(&facts(it), "bob")), "{of_all}");
    }
}

/// Before anything was told there is nothing told that could be undone: what had changed last is then.
#[test]
fn a_backup_that_is_restored_before_anything_was_told_leads_to_a_full_read() {
    let Some(mut server) = Ds389::start(&company()) else { return };
    let ldif = server.dir.path().join("ldif/1.ldif");
    let ldif = ldif.to_str().unwrap();
    server.stop();
    server.offline("db2ldif", &["-n", "userRoot", "-a", ldif]);
    assert!(server.start_again());
    let drop_alice = format!("delete: member\nmember: {}\n", person_dn("alice"));
    server.modify(&[delete(&person_dn("bob")), change(&group_dn("ml"), &drop_alice)].concat());
    let mut world = World::new(reader(&server));
    world.settle();
    assert!(!has(&world.facts(), "bob"));
    server.stop();
    server.offline("ldif2db", &["-n", "userRoot", "-i", ldif]);
    assert!(server.start_again());
    world.until("restored", |facts| has(facts, "bob") && is_in(facts, &group_dn("ml"), "alice"));
    assert_eq!(world.reads, [WhyFull::Newer]);
    world.settle();
    world.assert_no_drift();
}
