//! A domain controller that breaks off at the worst moment: what it told then is not lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use idpsyncd::source::feed::WhyFull;
use idpsyncd::source::ldap::LdapConfig;

use crate::fake::{DOMAIN, controllers, value};
use crate::has;
use crate::kit::World;
use crate::support::fake_ldap::{Ask, Fake, Say, Script};
use crate::support::ldap;

const GROUP: &str = "cn=ml,ou=groups,dc=example,dc=org";
const DELETED: &str = "<WKGUID=18e2ea80684f11d2b9aa00c04f79f805,dc=example,dc=org>";

type Fault = Box<dyn FnMut(&Ask) -> Option<Vec<Say>> + Send>;

/// What changed with a number: the entry's name, its number and its class, or that it was deleted.
type Change = (u64, String, u8, Option<&'static str>);

struct State {
    /// The number of the last change.
    usn: u64,
    changes: Vec<Change>,
    /// By name and number.
    people: Vec<(String, u8)>,
    containers: Vec<(String, u8)>,
    /// Who hides the primary group.
    hides_primary: u8,
    /// What it does to a search before all else.
    fault: Fault,
}

#[derive(Clone)]
struct Directory(Arc<Mutex<State>>);

/// A SID of one part.
fn sid(part: u16) -> Vec<u8> {
    let [low, high] = part.to_le_bytes();
    vec![1, 1, 0, 0, 0, 0, 0, 5, low, high, 0, 0]
}

fn place(name: &str) -> String {
    format!("cn={name},ou=people,{DOMAIN}")
}

/// Whether it is asked for what has changed.
fn asks_for_changes(ask: &Ask) -> bool {
    ask.filter.contains("uSNChanged")
}

impl Directory {
    fn new() -> Self {
        Directory(Arc::new(Mutex::new(State {
            usn: 17,
            changes: Vec::new(),
            people: vec![(place("alice"), 1), (place("bob"), 2)],
            containers: Vec::new(),
            hides_primary: 0,
            fault: Box::new(|_| None),
        })))
    }

    fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// Where it is, as it is told to those who ask.
    fn config(&self) -> LdapConfig {
        let it = self.clone();
        let settings = controllers(&["CN=dc1"], true);
        let script: Script = Arc::new(move |ask| it.answer(ask, &settings));
        let fake = runtime().block_on(Fake::start(100, script));
        LdapConfig { timeout: Duration::from_secs(2), ..ldap::at(&fake.url) }
    }

    /// Bob is deleted, and a group changes.
    fn deletes_bob(&self) {
        self.set(|it| {
            it.usn = 18;
            it.people.retain(|(_, number)| *number != 2);
            it.changes.push((18, format!("cn=bob,cn=deleted objects,{DOMAIN}"), 2, None));
            it.changes.push((18, GROUP.to_owned(), 9, Some("group")));
        });
    }

    fn answer(&self, ask: &Ask, settings: &Script) -> Vec<Say> {
        let mut it = self.0.lock().unwrap();
        if let Some(says) = (it.fault)(ask) {
            return says;
        }
        let mut says = Vec::new();
        let mut entry = |dn: &str, number: u8, more: Vec<(String, Vec<Vec<u8>>)>| {
            let id = value("objectGUID", &[number; 16]);
            says.push(Say::Ranged(dn.as_bytes().to_vec(), [vec![id], more].concat()));
        };
        // Nobody has another list of members.
        let others = ["memberUid", "uniqueMember"];
        let lists_groups = !others.iter().any(|name| ask.filter.contains(name));
        let by_id = ask.filter.contains("objectGUID");
        match ask.base.as_str() {
            "" => {
                let usn = it.usn.to_string();
                let root = vec![
                    value("defaultNamingContext", DOMAIN.as_bytes()),
                    value("dsServiceName", b"CN=dc1"),
                    value("highestCommittedUSN", usn.as_bytes()),
                ];
                return vec![Say::Ranged(Vec::new(), root), Say::Done(0, None)];
            }
            "CN=dc1" => return settings(ask),
            DELETED => entry("cn=deleted objects", 99, vec![value("isDeleted", b"TRUE")]),
            // DirSync: not for this identity.
            DOMAIN if ask.filter.contains("isDeleted") => return vec![Say::Done(50, None)],
            DOMAIN if asks_for_changes(ask) => {
                let digits = |it: &char| it.is_ascii_digit();
                let from = ask.filter.chars().filter(digits).collect::<String>().parse().unwrap();
                for (_, dn, number, class) in it.changes.iter().filter(|it| it.0 >= from) {
                    let class_of = |class: &str| value("objectClass", class.as_bytes());
                    let gone = || vec![value("isDeleted", b"TRUE"), class_of("user")];
                    entry(dn, *number, class.map_or_else(gone, |class| vec![class_of(class)]));
                }
            }
            DOMAIN if ask.filter.contains("person\"") => {
                it.containers.iter().for_each(|(dn, number)| entry(dn, *number, Vec::new()));
            }
            groups if groups.starts_with("ou=groups") && lists_groups => {
                let class = value("objectClass", b"group");
                let kind = value("groupType", b"-2147483646");
                // Whoever is told of is read again with the members' ids.
                let id = if by_id { format!("<GUID={}>;", "01".repeat(16)) } else { String::new() };
                let alice = value("member", (id + &place("alice")).as_bytes());
                let more =
                    vec![class, kind, value("cn", b"ml"), value("objectSid", &sid(513)), alice];
                entry(GROUP, 9, more);
            }
            base if !ask.one => {
                let below = |it: &&(String, u8)| it.0.ends_with(base);
                for (dn, number) in it.people.iter().filter(below) {
                    let name = dn.split([',', '=']).nth(1).unwrap();
                    let primary =
                        (*number != it.hides_primary).then(|| value("primaryGroupID", b"513"));
                    let id = String::from_utf8(vec![*number; 16]).unwrap();
                    if by_id && !ask.filter.contains(&format!("{id:?}")) {
                        continue;
                    }
                    // What is hidden passes no test.
                    if primary.is_none() && ask.filter.contains("primaryGroupID") {
                        continue;
                    }
                    let known = vec![
                        value("objectClass", b"user"),
                        value("uid", name.as_bytes()),
                        value("userAccountControl", b"512"),
                        value("departmentNumber", b"research"),
                        value("objectSid", &sid(21)),
                    ];
                    entry(dn, *number, known.into_iter().chain(primary).collect());
                }
            }
            base if it.people.iter().any(|(dn, _)| dn == base) => entry(base, 1, Vec::new()),
            _ => return vec![Say::Done(if ask.one { 32 } else { 0 }, None)],
        }
        says.push(Say::Done(0, None));
        says
    }
}

/// One for the servers of these tests.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::LazyLock<tokio::runtime::Runtime> =
        std::sync::LazyLock::new(ldap::runtime);
    &RUNTIME
}

#[test]
fn who_was_told_to_be_gone_is_gone_although_the_connection_broke_after_it() {
    let directory = Directory::new();
    let mut world = World::new(directory.config());
    assert!(has(&world.facts(), "bob"));
    directory.deletes_bob();
    let (mut told, mut broke) = (false, false);
    directory.set(|it| {
        it.fault = Box::new(move |ask| {
            told |= asks_for_changes(ask);
            let breaks = told && !broke && ask.base == DELETED;
            broke |= breaks;
            breaks.then(|| vec![Say::Close])
        });
    });
    world.until("gone", |facts| !has(facts, "bob"));
    assert_eq!(world.reads, []);
    assert!(has(&world.facts(), "alice"));
}

/// The mirror, too, may give no answer, whatever it is asked.
#[test]
fn who_was_told_to_be_gone_is_gone_whatever_the_mirror_did_not_say() {
    let asked = |number: usize| {
        let directory = Directory::new();
        let mut world = World::new(directory.config());
        world.following = None;
        directory.deletes_bob();
        world.mirror.1.store(number, Ordering::SeqCst);
        world.restart();
        world.until("gone", |facts| !has(facts, "bob"));
        assert_eq!(world.reads, [], "{number}");
        world.mirror.1.load(Ordering::SeqCst) == 0
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (1..16).map(|number| scope.spawn(move || asked(number))).collect();
        let asked = all.into_iter().map(|one| one.join().unwrap());
        assert!(asked.filter(|it| *it).count() > 3, "some were asked");
    });
}

#[test]
fn a_container_that_was_moved_is_not_forgotten_where_nobody_said_who_is_below() {
    let directory = Directory::new();
    let below = |ou: &str| format!("cn=carol,{ou}");
    let (before, after) = (format!("ou=t,ou=people,{DOMAIN}"), format!("ou=t,ou=out,{DOMAIN}"));
    directory.set(|it| {
        it.people.push((below(&before), 3));
        it.containers.push((before.clone(), 5));
    });
    let mut world = World::new(directory.config());
    assert!(has(&world.facts(), "carol"));
    directory.set(|it| {
        it.usn = 18;
        it.changes.push((18, place("bob"), 2, Some("user")));
    });
    assert!(world.next(Duration::from_secs(10)), "names are as new as what is told");
    let (mut late, base) = (false, after.clone());
    directory.set(|it| {
        it.usn = 19;
        it.people[2].0 = below(&after);
        it.containers[0].0 = after.clone();
        it.changes.push((19, after, 5, Some("organizationalUnit")));
        it.fault = Box::new(move |ask| {
            let is_late = !late && ask.base == base;
            late |= is_late;
            is_late.then(|| vec![Say::Done(3, None)])
        });
    });
    world.until("gone", |facts| !has(facts, "carol"));
    assert!(matches!(world.reads.as_slice(), [WhyFull::Moved(_)]), "{:?}", world.reads);
}

#[test]
fn an_account_that_hides_its_primary_group_stays_in_it() {
    let directory = Directory::new();
    let mut world = World::new(directory.config());
    let stays = |world: &World| ["alice", "bob"].iter().all(|name| world.is_in(GROUP, name));
    assert!(stays(&world));
    directory.set(|it| {
        it.usn = 18;
        it.hides_primary = 2;
        it.changes.push((18, GROUP.to_owned(), 9, Some("group")));
    });
    assert!(world.next(Duration::from_secs(10)));
    assert!(stays(&world), "{:#?}", world.facts());
    assert_eq!(world.reads, []);
}

#[test]
fn a_canary_that_is_not_answered_for_is_asked_for_again() {
    let directory = Directory::new();
    let canary = place("alice");
    let mut world = World::new(LdapConfig { canary: Some(canary.clone()), ..directory.config() });
    directory.deletes_bob();
    let (mut busy, once) = (false, Arc::new(AtomicUsize::new(0)));
    let asked = once.clone();
    directory.set(|it| {
        it.fault = Box::new(move |ask| {
            let is_busy = !busy && ask.one && ask.base == canary;
            busy |= is_busy;
            asked.fetch_add(is_busy.into(), Ordering::SeqCst);
            is_busy.then(|| vec![Say::Done(51, None)])
        });
    });
    world.until("gone", |facts| !has(facts, "bob"));
    assert_eq!((world.reads, once.load(Ordering::SeqCst)), (vec![], 1));
}

#[test]
fn who_was_told_of_deletions_and_is_not_when_following_begins_reads_in_full() {
    let directory = Directory::new();
    let mut world = World::new(directory.config());
    let hides = |hides: bool| {
        directory.set(|it| {
            it.fault = Box::new(move |ask| {
                (hides && ask.base == DELETED).then(|| vec![Say::Done(32, None)])
            });
        });
    };
    for is_hidden in [true, false] {
        world.following = None;
        hides(is_hidden);
        world.restart();
        assert!(matches!(world.reads.as_slice(), [WhyFull::Other(_)]), "{:?}", world.reads);
        world.restart();
        assert_eq!(world.reads.len(), 1, "{:?}", world.reads);
        world.reads.clear();
    }
}
