//! Following a real Active Directory (Samba's): a mirror that is fed is what a full read would say.
#![cfg(test)]

mod support;

#[path = "ad_feed/changes.rs"]
mod changes;
#[path = "ad_feed/fake.rs"]
mod fake;
#[path = "ad_feed/faults.rs"]
mod faults;
#[path = "ldap_feed/kit.rs"]
mod kit;
#[path = "ad_feed/primary.rs"]
mod primary;

use std::collections::BTreeSet;
use std::time::Duration;

use idpsyncd::directory::Cursor;
use idpsyncd::model::{DiagnosticCode, FollowMode};
use idpsyncd::source::feed::{Start, WhyFull};
use idpsyncd::source::ldap::{LdapConfig, LdapGroups, LdapUsers};
use kit::{Shaken, World, add, change, delete, is_in, rename};
use support::ad::{USERS, service, whole};
use support::samba::{AD, Samba};

/// The place of people and groups, one within it, and one beside it.
const PLACES: [&str; 3] = ["OU=c,SUFFIX", "OU=a,OU=c,SUFFIX", "OU=out,SUFFIX"];

fn company() -> String {
    let places: String =
        PLACES.iter().map(|dn| format!("dn: {dn}\nobjectClass: organizationalUnit\n\n")).collect();
    [
        places,
        person("alice", "departmentNumber: Research\n"),
        person("bob", ""),
        person("carol", ""),
        person("mark", "mail: 0\ndepartmentNumber: research\n"),
        person("yan", "departmentNumber: research\n"),
        group("ml", &["alice", "bob", "inner"]),
        group("inner", &["carol"]),
        group("empty", &[]),
        service(),
    ]
    .concat()
}

fn place(name: &str) -> String {
    format!("CN={name},OU=c,SUFFIX")
}

fn person(name: &str, extra: &str) -> String {
    format!(
        "dn: {}\nobjectClass: user\nsAMAccountName: {name}\nuserAccountControl: 544\n{extra}\n",
        place(name)
    )
}

fn group(name: &str, members: &[&str]) -> String {
    // Those that come later in an LDIF are no members yet.
    let members: String = members
        .iter()
        .filter(|member| **member != "inner")
        .map(|member| format!("member: {}\n", place(member)))
        .collect();
    format!("dn: {}\nobjectClass: group\nsAMAccountName: {name}\n{members}\n", place(name))
}

/// A configuration for what is below `OU=c`, as the administrator.
fn below(dc: &Samba) -> LdapConfig {
    let config = whole(dc);
    let base = dc.full("OU=c,SUFFIX");
    LdapConfig {
        users: LdapUsers {
            base: base.clone(),
            filter: format!("(&{USERS}(!(employeeType=external)))"),
            ..config.users.clone()
        },
        groups: config.groups.clone().map(|groups| LdapGroups { base, ..groups }),
        ..config
    }
}

/// The same as [`service`], which has the rights of an ordinary account.
fn ordinary(dc: &Samba) -> LdapConfig {
    LdapConfig { bind_dn: Some(dc.dn("reader")), ..below(dc) }
}

fn start(more: &str) -> Option<Samba> {
    let dc = Samba::start(AD, &[&company(), more].concat())?;
    dc.modify(&change(&place("ml"), &format!("add: member\nmember: {}\n", place("inner"))));
    Some(dc)
}

/// By what an account is told of changes: by their numbers and tombstones, or by DirSync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Numbers,
    DirSync,
}

/// Grants [`ordinary`] what it needs.
fn grant(dc: &Samba, by: By) {
    match by {
        By::Numbers => dc.show_deleted("reader"),
        // Samba does not tell of deletions by DirSync whom it does not show them, Active Directory does.
        By::DirSync => {
            dc.show_deleted("reader");
            dc.show_changes("reader");
        }
    }
}

fn world(by: By) -> Option<(Samba, World)> {
    let dc = start("")?;
    grant(&dc, by);
    let world = World::new(ordinary(&dc));
    assert_eq!(world.state().lacks, None, "all is told");
    let cursor = world.mirror.0.lock().unwrap().cursor.clone().unwrap();
    assert_eq!(cursor.as_str().contains("dirsync"), by == By::DirSync, "{cursor:?}");
    Some((dc, world))
}

/// Gives `mark` another address, so that what was before it is told.
fn settle(dc: &Samba, world: &mut World) {
    world.settle_by(|n| {
        dc.modify(&change(&place("mark"), &format!("replace: mail\nmail: {n}\n")));
    });
}

fn has(facts: &BTreeSet<String>, user: &str) -> bool {
    facts.iter().any(|fact| fact.starts_with(&format!("user {user} ")))
}

fn is_enabled(facts: &BTreeSet<String>, user: &str) -> bool {
    facts.iter().any(|it| it.starts_with(&format!("user {user} ")) && it.contains(" Yes "))
}

fn moved(dn: &str, rdn: &str, to: &str) -> String {
    format!("dn: {dn}\nchangetype: modrdn\nnewrdn: {rdn}\ndeleteoldrdn: 1\nnewsuperior: {to}\n\n")
}

#[test]
fn each_kind_of_change_is_told_by_numbers() {
    each_kind_of_change_is_told(By::Numbers);
}

#[test]
fn each_kind_of_change_is_told_by_dirsync() {
    each_kind_of_change_is_told(By::DirSync);
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn each_kind_of_change_is_told(by: By) {
    let Some((dc, mut world)) = world(by) else { return };
    world.assert_no_drift();
    let ml = dc.full(&place("ml"));
    let inner = dc.full(&place("inner"));
    type Seen<'a> = Box<dyn Fn(&BTreeSet<String>) -> bool + 'a>;
    let member = |how: &str, who: &str| format!("{how}: member\nmember: {}\n", place(who));
    let steps: Vec<(&str, String, Seen<'_>)> = vec![
        (
            "a member removed",
            change(&place("ml"), &member("delete", "bob")),
            Box::new(|facts| !is_in(facts, &ml, "bob")),
        ),
        (
            "a member added",
            change(&place("inner"), &member("add", "bob")),
            Box::new(|facts| is_in(facts, &inner, "bob")),
        ),
        (
            "a group in a group no longer",
            change(&place("ml"), &member("delete", "inner")),
            Box::new(|facts| !facts.iter().any(|it| it.contains(" in CN=ml"))),
        ),
        (
            "a group in a group",
            change(&place("inner"), &member("add", "ml")),
            Box::new(|facts| facts.iter().any(|it| it.contains(" in CN=inner"))),
        ),
        ("somebody new", add(&person("dave", "")), Box::new(|facts| has(facts, "dave"))),
        (
            "an account that is disabled",
            change(&place("dave"), "replace: userAccountControl\nuserAccountControl: 546\n"),
            Box::new(|facts| !is_enabled(facts, "dave")),
        ),
        (
            "and enabled",
            change(&place("dave"), "replace: userAccountControl\nuserAccountControl: 544\n"),
            Box::new(|facts| is_enabled(facts, "dave")),
        ),
        (
            "an account with an end",
            change(&place("dave"), "replace: accountExpires\naccountExpires: 1\n"),
            Box::new(|facts| !is_enabled(facts, "dave")),
        ),
        (
            "another user name, and another name of the entry",
            change(&place("carol"), "replace: sAMAccountName\nsAMAccountName: caroline\n")
                + &rename(&place("carol"), "CN=caroline"),
            Box::new(|facts| is_in(facts, &inner, "caroline")),
        ),
        (
            "an attribute that a rule names",
            change(&place("bob"), "add: departmentNumber\ndepartmentNumber: research\n"),
            Box::new(|facts| is_in(facts, "departmentNumber=research", "bob")),
        ),
        (
            "that attribute no longer",
            change(&place("alice"), "replace: departmentNumber\ndepartmentNumber: sales\n"),
            Box::new(|facts| !is_in(facts, "departmentNumber=research", "alice")),
        ),
        (
            "a group renamed",
            rename(&place("ml"), "CN=machine learning"),
            Box::new(|facts| facts.iter().any(|it| it.contains(" machine learning "))),
        ),
        (
            "somebody who leaves the filter",
            change(&place("yan"), "add: employeeType\nemployeeType: external\n"),
            Box::new(|facts| !has(facts, "yan")),
        ),
        (
            "and enters it",
            change(&place("yan"), "delete: employeeType\n"),
            Box::new(|facts| has(facts, "yan")),
        ),
        (
            "somebody who leaves the base",
            moved(&place("bob"), "CN=bob", "OU=out,SUFFIX"),
            Box::new(|facts| !has(facts, "bob")),
        ),
        (
            "and comes back, still in a group",
            moved("CN=bob,OU=out,SUFFIX", "CN=bob", "OU=a,OU=c,SUFFIX"),
            Box::new(|facts| is_in(facts, &inner, "bob")),
        ),
        (
            "a group that gives no rights any more",
            change(&place("empty"), "replace: groupType\ngroupType: 2\n"),
            Box::new(|facts| !facts.iter().any(|it| it.contains(" empty "))),
        ),
        (
            "somebody deleted",
            delete("CN=bob,OU=a,OU=c,SUFFIX"),
            Box::new(|facts| !has(facts, "bob")),
        ),
        (
            "a group deleted",
            delete(&place("inner")),
            Box::new(|facts| !facts.iter().any(|it| it.contains("CN=inner"))),
        ),
    ];
    for (what, changes, done) in steps {
        let began = std::time::Instant::now();
        dc.modify(&changes);
        world.until(what, done);
        println!("{what}: {:?}", began.elapsed());
    }
    settle(&dc, &mut world);
    world.assert_no_drift();
    assert_eq!(world.reads, [], "nothing of that needs a full read");
    let state = world.state();
    assert_eq!((state.how, state.why), (FollowMode::Persist, None));
    assert!(state.current_at.is_some());
}

/// What an ordinary account is not told is looked for, and a full read decides.
#[test]
fn who_is_deleted_is_missed_soon_by_whom_no_tombstone_is_shown() {
    let Some(dc) = start("") else { return };
    let mut world = World::new(ordinary(&dc));
    let lacks = world.state().lacks.expect("something is not told");
    assert!(lacks.contains("deletions") && lacks.contains("CN=Deleted Objects"), "{lacks}");
    dc.modify(&change(&place("bob"), "replace: userAccountControl\nuserAccountControl: 546\n"));
    world.until("disabled", |facts| !is_enabled(facts, "bob"));
    settle(&dc, &mut world);
    assert_eq!(world.reads, [], "of all else it is told");
    dc.modify(&[delete(&place("bob")), delete(&place("empty"))].concat());
    world.until("missed", |facts| !has(facts, "bob"));
    assert!(matches!(world.reads.as_slice(), [WhyFull::Other(_)]), "{:?}", world.reads);
    world.assert_no_drift();
    // And what was deleted while nobody followed, at once.
    world.following = None;
    dc.modify(&delete(&place("yan")));
    world.restart();
    world.until("missed", |facts| !has(facts, "yan"));
    world.assert_no_drift();
}

#[test]
fn members_of_another_domain_come_and_go_by_their_sids() {
    for by in [By::Numbers, By::DirSync] {
        members_of_another_domain_come_and_go(by);
    }
}

fn members_of_another_domain_come_and_go(by: By) {
    let Some((dc, mut world)) = world(by) else { return };
    let sid = |rid: u32| format!("S-1-5-21-1111-2222-3333-{rid}");
    let list = |how: &str, rid: u32| format!("{how}: member\nmember: <SID={}>\n", sid(rid));
    const DOMAIN_LOCAL: &str = "groupType: -2147483644\n";
    for name in ["partners", "others"] {
        let group = group(name, &["bob"]).replace("\n\n", &format!("\n{DOMAIN_LOCAL}\n"));
        dc.modify(&add(&group));
    }
    let listed = |facts: &BTreeSet<String>, rid: u32, group: &str| {
        let principal = format!("CN={},CN=ForeignSecurityPrincipals,", sid(rid));
        let group = format!(" in {}", dc.full(&place(group)));
        facts.iter().any(|fact| fact.starts_with(&principal) && fact.ends_with(&group))
    };
    dc.modify(&change(&place("partners"), &list("add", 1104)));
    dc.modify(&change(&place("others"), &list("add", 1104)));
    world.until("one is listed", |facts| listed(facts, 1104, "partners"));
    settle(&dc, &mut world);
    world.assert_no_drift();
    dc.modify(&change(&place("partners"), &list("add", 1105)));
    dc.modify(&change(&place("partners"), &list("delete", 1104)));
    world.until("another is", |facts| {
        listed(facts, 1105, "partners") && !listed(facts, 1104, "partners")
    });
    assert!(listed(&world.facts(), 1104, "others"), "it was not told of");
    settle(&dc, &mut world);
    world.assert_no_drift();
    // With the last group that lists it a principal is gone as well.
    dc.modify(&delete(&place("others")));
    settle(&dc, &mut world);
    world.assert_no_drift();
    dc.modify(&change(&place("partners"), &list("delete", 1105)));
    world.until("nobody is", |facts| !listed(facts, 1105, "partners"));
    settle(&dc, &mut world);
    world.assert_no_drift();
    assert_eq!(world.reads, [], "nothing of that needs a full read");
}

/// Everybody's primary group, which lists nobody, and one of somebody's own.
#[test]
fn primary_groups_are_those_of_a_full_read() {
    let Some(dc) = start("") else { return };
    dc.show_deleted("reader");
    let config = ordinary(&dc);
    let whole = dc.full("SUFFIX");
    let groups = config.groups.clone().map(|groups| LdapGroups { base: whole, ..groups });
    let mut world = World::new(LdapConfig { groups, ..config });
    let everybody = dc.full("CN=Domain Users,CN=Users,SUFFIX");
    assert!(world.is_in(&everybody, "bob"));
    dc.modify(&add(&person("dave", "")));
    world.until("somebody new", |facts| is_in(facts, &everybody, "dave"));
    let told = dc.search(&["(sAMAccountName=ml)", "primaryGroupToken"]);
    let token = told.lines().find(|line| line.starts_with("primaryGroupToken: ")).unwrap();
    let token = token.replace("primaryGroupToken", "primaryGroupID");
    dc.modify(&change(&place("bob"), &format!("replace: primaryGroupID\n{token}\n")));
    settle(&dc, &mut world);
    world.assert_no_drift();
    let leave = format!("delete: member\nmember: {}\n", place("bob"));
    dc.modify(&change("CN=Domain Users,CN=Users,SUFFIX", &leave));
    world.until("left", |facts| !is_in(facts, &everybody, "bob"));
    settle(&dc, &mut world);
    assert!(world.is_in(&dc.full(&place("ml")), "bob"), "its primary group, which lists him not");
    world.assert_no_drift();
    assert_eq!(world.reads, []);
}

#[test]
fn a_container_that_is_renamed_leads_to_a_full_read() {
    a_container_is_renamed(By::Numbers);
    a_container_is_renamed(By::DirSync);
}

fn a_container_is_renamed(by: By) {
    let Some((dc, mut world)) = world(by) else { return };
    dc.modify(&moved(&place("yan"), "CN=yan", "OU=a,OU=c,SUFFIX"));
    dc.modify(&moved(&place("empty"), "CN=empty", "OU=a,OU=c,SUFFIX"));
    // One without anybody below it is of no concern.
    dc.modify("dn: OU=n,OU=c,SUFFIX\nchangetype: add\nobjectClass: organizationalUnit\n\n");
    settle(&dc, &mut world);
    dc.modify(&rename("OU=n,OU=c,SUFFIX", "OU=m"));
    settle(&dc, &mut world);
    assert_eq!(world.reads, []);
    dc.modify(&rename("OU=a,OU=c,SUFFIX", "OU=b"));
    settle(&dc, &mut world);
    assert!(matches!(world.reads.as_slice(), [WhyFull::Moved(_)]), "{:?}", world.reads);
    world.assert_no_drift();
    // And while nobody followed: out of the base, with whoever is in it.
    world.reads.clear();
    world.following = None;
    dc.modify(&moved("OU=b,OU=c,SUFFIX", "OU=b", "OU=out,SUFFIX"));
    world.restart();
    settle(&dc, &mut world);
    assert!(matches!(world.reads.as_slice(), [WhyFull::Moved(_)]), "{:?}", world.reads);
    assert!(!has(&world.facts(), "yan"));
    world.assert_no_drift();
}

#[test]
fn an_outage_is_waited_for_and_a_restored_backup_leads_to_a_full_read() {
    let Some((mut dc, mut world)) = world(By::Numbers) else { return };
    let ml = dc.full(&place("ml"));
    let backup = tempfile::tempdir().unwrap();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let copied =
            std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
        assert!(copied.unwrap().success());
    };
    settle(&dc, &mut world);
    dc.kill();
    let private = dc.dir.path().join("private");
    copy(&private, backup.path());
    assert!(!world.next(Duration::from_millis(1500)), "nothing comes");
    let state = world.state();
    assert!(state.why.is_some() && state.how != FollowMode::Full, "{state:?}");
    assert!(dc.start_again());
    dc.modify(&change(&place("ml"), &format!("delete: member\nmember: {}\n", place("alice"))));
    dc.modify(&delete(&place("yan")));
    world.until("told", |facts| !is_in(facts, &ml, "alice") && !has(facts, "yan"));
    settle(&dc, &mut world);
    world.assert_no_drift();
    assert_eq!((world.state().why, world.reads.len()), (None, 0));
    dc.kill();
    copy(backup.path(), &private);
    assert!(dc.start_again());
    world.until("back", |facts| has(facts, "yan") && is_in(facts, &ml, "alice"));
    assert_eq!(world.reads, [WhyFull::Newer]);
    settle(&dc, &mut world);
    world.assert_no_drift();
}

#[test]
fn a_cursor_of_something_else_leads_to_a_full_read() {
    let Some((dc, mut world)) = world(By::DirSync) else { return };
    let cursor = world.mirror.0.lock().unwrap().cursor.clone().unwrap();
    world.following = None;
    let original = world.config.clone();
    let other = |change: fn(&mut LdapConfig)| {
        let mut config = original.clone();
        change(&mut config);
        config
    };
    for (config, what) in [
        (other(|it| it.users.filter = USERS.to_owned()), "filter"),
        (other(|it| it.users.username = "userPrincipalName".to_owned()), "set of attributes"),
        (LdapConfig { bind_dn: below(&dc).bind_dn, ..original.clone() }, "identity"),
        (LdapConfig { groups: None, ..original.clone() }, "filter"),
    ] {
        world.config = config;
        let start = world.follow();
        assert!(matches!(&start, Start::Read(WhyFull::Foreign(it)) if *it == what), "{start:?}");
    }
    world.config = original;
    let text = cursor.as_str();
    let (head, inner) = text.split_once("\"cookie\":").unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let cookie: String = serde_json::from_str(inner.trim_end_matches('}').trim()).unwrap();
        let mut cookie: serde_json::Value = serde_json::from_str(&cookie).unwrap();
        change(&mut cookie);
        let cookie = serde_json::to_string(&cookie.to_string()).unwrap();
        Some(Cursor::new(format!("{head}\"cookie\":{cookie}}}")))
    };
    type Is = fn(&WhyFull) -> bool;
    let cursors: Vec<(Option<Cursor>, Is)> = vec![
        (None, |why| *why == WhyFull::NoCursor),
        (Some(Cursor::new("garbage")), |why| *why == WhyFull::Unreadable),
        (Some(Cursor::new(format!("{head}\"cookie\":\"17\"}}"))), |why| {
            *why == WhyFull::Unreadable
        }),
        (with(&|it| it["usn"] = 99_999_999.into()), |why| *why == WhyFull::Newer),
        // Another domain controller, or this one with a restored database.
        (with(&|it| it["database"] = "00".repeat(16).into()), |why| {
            matches!(why, WhyFull::Foreign(_))
        }),
        (with(&|it| it["dirsync"] = "?".into()), |why| *why == WhyFull::Unreadable),
        // So old that tombstones may be gone.
        (with(&|it| it["at"] = 0.into()), |why| matches!(why, WhyFull::Other(_))),
    ];
    for (cursor, is) in cursors {
        world.mirror.0.lock().unwrap().cursor = cursor.clone();
        let start = world.follow();
        assert!(matches!(&start, Start::Read(why) if is(why)), "{cursor:?}: {start:?}");
    }
    // One that the server itself refuses (result 12).
    world.mirror.0.lock().unwrap().cursor = with(&|it| it["dirsync"] = "AAAA".into());
    world.restart();
    dc.modify(&delete(&place("yan")));
    settle(&dc, &mut world);
    assert!(matches!(world.reads.as_slice(), [WhyFull::Other(_)]), "{:?}", world.reads);
    world.assert_no_drift();
}

/// A rule that hides somebody takes nothing away.
#[test]
fn what_is_hidden_is_not_gone() {
    let Some((dc, mut world)) = world(By::DirSync) else { return };
    let ml = dc.full(&place("ml"));
    world.settle();
    dc.grant(&place("alice"), "reader", "(D;;RPLCLO;;;WHO)");
    dc.modify(&change(&place("alice"), "replace: mail\nmail: later@example.org\n"));
    dc.modify(&change(&place("ml"), "replace: description\ndescription: x\n"));
    settle(&dc, &mut world);
    assert!(has(&world.facts(), "alice"), "{:#?}", world.facts());
    assert!(world.is_in(&ml, "alice") && world.is_in(&ml, "bob"));
    assert_eq!(world.reads, []);
}

/// Nobody is told when somebody is in by what a group says: then all ids are compared.
#[test]
fn who_leaves_a_filter_by_leaving_a_group_is_gone() {
    for by in [By::Numbers, By::DirSync] {
        let Some(dc) = start("") else { return };
        grant(&dc, by);
        let mut config = ordinary(&dc);
        let ml = dc.full(&place("ml"));
        config.users.filter = format!("(&{USERS}(|(memberOf={ml})(cn=mark)))");
        let mut world = World::new(config);
        assert!(has(&world.facts(), "bob") && !has(&world.facts(), "carol"));
        let list = |how: &str, who: &str| {
            change(&place("ml"), &format!("{how}: member\nmember: {}\n", place(who)))
        };
        dc.modify(&list("delete", "bob"));
        world.until("left", |facts| !has(facts, "bob"));
        dc.modify(&list("add", "carol"));
        world.until("entered", |facts| is_in(facts, &ml, "carol"));
        world.following = None;
        dc.modify(&[list("delete", "carol"), list("add", "bob")].concat());
        world.restart();
        world.until("both", |facts| !has(facts, "carol") && is_in(facts, &ml, "bob"));
        dc.modify(&delete(&place("ml")));
        world.until("without the group", |facts| !has(facts, "bob") && !has(facts, "alice"));
        settle(&dc, &mut world);
        world.assert_no_drift();
        assert_eq!(world.reads, []);
    }
}

#[test]
fn a_right_that_comes_or_goes_leads_to_a_full_read() {
    let Some(dc) = start("") else { return };
    let codes = || -> Vec<DiagnosticCode> {
        let found = support::ldap::check(&ordinary(&dc)).into_iter();
        found.map(|it| it.code).filter(|code| *code == DiagnosticCode::DeletionsUnseen).collect()
    };
    assert_eq!(codes(), [DiagnosticCode::DeletionsUnseen]);
    let mut world = World::new(ordinary(&dc));
    dc.show_changes("reader");
    assert_eq!(codes(), [DiagnosticCode::DeletionsUnseen], "that alone tells nothing here");
    dc.show_deleted("reader");
    assert_eq!(codes(), [], "now it is told");
    world.restart();
    assert!(matches!(world.reads.as_slice(), [WhyFull::Other(_)]), "{:?}", world.reads);
    assert_eq!(world.state().lacks, None);
    dc.modify(&delete(&place("yan")));
    world.until("deleted", |facts| !has(facts, "yan"));
    settle(&dc, &mut world);
    world.assert_no_drift();
    // Denied, while it is followed; then somebody is deleted.
    dc.grant("CN=Deleted Objects,SUFFIX", "reader", "(D;;LCRP;;;WHO)");
    dc.modify(&delete(&place("bob")));
    world.until("deleted", |facts| !has(facts, "bob"));
    assert!(matches!(world.reads.as_slice(), [_, WhyFull::Other(_)]), "{:?}", world.reads);
    assert!(world.state().lacks.is_some());
    world.assert_no_drift();
}

#[test]
fn without_the_canary_nobody_is_gone() {
    let Some((dc, mut world)) = world(By::Numbers) else { return };
    world.config.canary = Some(dc.full(&place("empty")));
    world.following = None;
    dc.modify(&delete(&place("yan")));
    let before = world.facts();
    let told = world.what_comes_of_following();
    assert!(told.contains("canary"), "{told}");
    assert_eq!(before, world.facts());
}

impl Shaken for Samba {
    const MOST: usize = 280;

    fn some(random: &mut fastrand::Rng) -> String {
        changes::some(random)
    }

    fn attempt(&self, changes: &str, random: &mut fastrand::Rng) {
        let primary = random.u8(0..3);
        Samba::attempt(self, changes);
        (0..primary).for_each(|_| changes::primary(self, random));
    }

    fn goes_away_and_comes_back(&mut self) {
        self.kill();
        assert!(self.start_again());
    }

    fn settle(&self, world: &mut World) {
        settle(self, world);
    }
}

fn no_drift_by(seed: u64, by: By) {
    let Some(mut dc) = start(&changes::beginning()) else { return };
    grant(&dc, by);
    let mut world = World::new(ordinary(&dc));
    world.shake(seed, 7, &mut dc);
    assert_eq!(world.reads, []);
}

#[test]
fn there_is_no_drift_by_numbers() {
    no_drift_by(1, By::Numbers);
}

#[test]
fn there_is_no_drift_by_dirsync() {
    no_drift_by(2, By::DirSync);
}
