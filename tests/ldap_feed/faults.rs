//! Following a server that commits faults which a real one won't commit on demand.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use idpsyncd::source::FullRead as _;
use idpsyncd::source::feed::WhyFull;
use idpsyncd::source::feed::{Feed as _, Start};
use idpsyncd::source::ldap::{LdapConfig, LdapSource, Server};
use tokio::runtime::Runtime;

use crate::kit::{World, facts, is_in};
use crate::support::fake_dns::FakeDns;
use crate::support::fake_ldap::*;
use crate::support::ldap;
use crate::support::openldap::{SUFFIX, group_dn, person_dn};

/// Whose ways it has.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    OpenLdap,
    Ds389,
}

type Fault = Box<dyn FnMut(&Ask) -> Option<Vec<Say>> + Send>;

/// What stands in it and what it does.
struct State {
    kind: Kind,
    /// Name, number, and where it has one the `ipaUniqueID`.
    people: Vec<(String, u8, Option<&'static str>)>,
    /// Name, number, members by DN.
    groups: Vec<(String, u8, Vec<String>)>,
    /// What it does to a search before all else.
    fault: Fault,
    /// What it says to each search for changes, and then to all that come after.
    told: Vec<Vec<Say>>,
    /// When it was asked for changes.
    asked: Vec<Instant>,
}

#[derive(Clone)]
struct Directory(Arc<Mutex<State>>);

fn id(number: u8) -> [u8; 16] {
    [number; 16]
}

fn id_text(kind: Kind, number: u8) -> String {
    let it = format!("{number:02x}").repeat(4);
    match kind {
        Kind::Ds389 => format!("{it}-{it}-{it}-{it}"),
        Kind::OpenLdap => format!("{it}-{0}-{0}-{0}-{0}{it}", &it[..4]),
    }
}

fn at(kind: Kind, number: u32) -> String {
    match kind {
        Kind::OpenLdap => format!("rid=000,csn=20261127{number:06}.000000Z#000000#000#000000"),
        Kind::Ds389 => format!("h:389#cn=r:dc=x:(a=b)#{number}"),
    }
}

impl Directory {
    fn new(kind: Kind) -> Self {
        let team = [person_dn("alice"), person_dn("bob")].to_vec();
        Directory(Arc::new(Mutex::new(State {
            kind,
            people: [("alice", 1), ("bob", 2), ("carol", 3)]
                .map(|(name, number)| (name.to_owned(), number, None))
                .to_vec(),
            groups: vec![("team".to_owned(), 9, team)],
            fault: Box::new(|_| None),
            told: Vec::new(),
            asked: Vec::new(),
        })))
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    /// What it says to searches for changes, one after the other.
    fn tells(&self, told: impl IntoIterator<Item = Vec<Say>>) {
        self.set(|it| it.told = told.into_iter().collect());
    }

    fn asked(&self) -> Vec<Instant> {
        self.0.lock().unwrap().asked.clone()
    }

    /// Follows it from what stands in it.
    fn follow(&self, runtime: &Runtime) -> World {
        World::new(self.config(runtime))
    }

    fn config(&self, runtime: &Runtime) -> LdapConfig {
        let it = self.clone();
        let fake = runtime.block_on(Fake::start(9, Arc::new(move |ask| it.answer(ask))));
        let mut config = ldap::at(&fake.url);
        // A machine that is busy answers late, too.
        config.timeout = Duration::from_secs(2);
        config
    }

    fn answer(&self, ask: &Ask) -> Vec<Say> {
        let mut it = self.0.lock().unwrap();
        if let Some(says) = (it.fault)(ask) {
            return says;
        }
        if ask.sync && ask.one {
            return vec![cookie(&at(it.kind, 5))];
        }
        if ask.sync {
            it.asked.push(Instant::now());
            let says = if it.told.is_empty() { None } else { Some(it.told.remove(0)) };
            return says.unwrap_or_else(|| vec![refreshed(&at(it.kind, 5))]);
        }
        if ask.base.is_empty() {
            return vec![root(it.kind), Say::Done(0, None)];
        }
        let (people, groups) = (format!("ou=people,{SUFFIX}"), format!("ou=groups,{SUFFIX}"));
        let whole = |base: &str| !ask.one && ask.base == base;
        // Of nobody's `memberUid` is anything known here.
        let knows = |base: &str| whole(base) && !ask.filter.to_lowercase().contains("memberuid");
        let mut says = Vec::new();
        for (name, number, ipa) in &it.people {
            if knows(&people) || ask.one && ask.base == person_dn(name) {
                says.push(person(it.kind, name, *number, *ipa));
            }
        }
        for (name, number, members) in &it.groups {
            if knows(&groups) || ask.one && ask.base == group_dn(name) {
                says.push(group(it.kind, name, *number, members));
            }
        }
        let missing = ask.one && says.is_empty();
        says.push(if missing { Say::Done(32, None) } else { Say::Done(0, Some("")) });
        says
    }
}

fn root(kind: Kind) -> Say {
    let one = |name, value: &str| (name, vec![value.to_owned()]);
    let mut attributes = vec![one("supportedControl", "1.3.6.1.4.1.4203.1.9.1.1")];
    attributes.extend(match kind {
        Kind::OpenLdap => vec![one("objectClass", "OpenLDAProotDSE")],
        Kind::Ds389 => vec![
            one("vendorName", "389 Project"),
            one("firstChangeNumber", "1"),
            one("lastChangeNumber", "99"),
        ],
    });
    Say::Entry(vec![], attributes)
}

fn id_of(kind: Kind, number: u8) -> (&'static str, Vec<String>) {
    let name = if kind == Kind::Ds389 { "nsUniqueId" } else { "entryUUID" };
    (name, vec![id_text(kind, number)])
}

fn person(kind: Kind, name: &str, number: u8, ipa: Option<&str>) -> Say {
    let department = ("departmentNumber", vec!["sales".to_owned()]);
    let mut attributes = vec![("uid", vec![name.to_owned()]), id_of(kind, number), department];
    attributes.extend(ipa.map(|ipa| ("ipaUniqueID", vec![ipa.to_owned()])));
    Say::Entry(person_dn(name).into_bytes(), attributes)
}

fn group(kind: Kind, name: &str, number: u8, members: &[String]) -> Say {
    let attributes = vec![
        ("cn", vec![name.to_owned()]),
        ("objectClass", vec!["groupOfNames".to_owned()]),
        ("member", members.to_vec()),
        id_of(kind, number),
    ];
    Say::Entry(group_dn(name).into_bytes(), attributes)
}

fn has(facts: &BTreeSet<String>, user: &str) -> bool {
    facts.iter().any(|fact| fact.starts_with(&format!("user {user} ")))
}

fn changed(name: &str, number: u8) -> Say {
    became(2, &person_dn(name), id(number))
}

/// It fails the first so many searches over `base` alone so, and none after those.
fn fails(times: usize, base: String, says: Vec<Say>) -> Fault {
    let mut left = times;
    Box::new(move |ask| {
        let meant = ask.one && !ask.sync && ask.base == base && left > 0;
        left -= usize::from(meant);
        meant.then(|| says.clone())
    })
}

/// A removal that was told, and lost with the step in which it was told.
#[test]
fn who_was_told_to_be_gone_is_gone_although_the_search_after_it_timed_out() {
    let runtime = ldap::runtime();
    let directory = Directory::new(Kind::Ds389);
    directory.set(|it| it.people[0].2 = Some("ipa-alice"));
    let told = |it: Kind| {
        vec![became(3, &person_dn("alice"), id(1)), changed("bob", 2), refreshed(&at(it, 7))]
    };
    let first =
        vec![refreshed(&at(Kind::Ds389, 5)), Say::Wait(Duration::from_millis(100)), Say::Close];
    directory.tells([first, told(Kind::Ds389), told(Kind::Ds389)]);
    let mut world = directory.follow(&runtime);
    assert!(has(&world.facts(), "alice"));
    directory.set(|it| {
        it.people.remove(0);
        it.fault = fails(1, person_dn("bob"), vec![Say::Stall]);
    });
    world.until("gone", |facts| !has(facts, "alice"));
    assert_eq!(directory.asked().len(), 3, "it was told again");
    assert_eq!(world.reads, []);
    assert!(has(&world.facts(), "bob"));
}

/// The mirror, too, may give no answer, whatever it is asked.
#[test]
fn what_was_told_is_not_lost_whatever_the_mirror_did_not_say() {
    std::thread::scope(|scope| {
        let all: Vec<_> = (1..20).map(|number| scope.spawn(move || unanswered(number))).collect();
        let asked = all.into_iter().map(|one| one.join().unwrap());
        assert!(asked.filter(|it| *it).count() > 9, "some were asked");
    });
}

/// Whether the mirror was asked so many questions.
fn unanswered(number: usize) -> bool {
    let runtime = ldap::runtime();
    // Where nobody is waited for, so that the cursor moves at once.
    let kind = Kind::Ds389;
    let directory = Directory::new(kind);
    let mut world = directory.follow(&runtime);
    world.following = None;
    let gone = became(3, &person_dn("bob"), id(2));
    let told = vec![gone, became(2, &group_dn("team"), id(9)), refreshed(&at(kind, 7))];
    directory.tells([told.clone(), told]);
    directory.set(|it| {
        it.people.remove(1);
        it.groups[0].2 = vec![person_dn("carol")];
    });
    world.mirror.1.store(number, Ordering::SeqCst);
    world.restart();
    let team = group_dn("team");
    world.until("told", |facts| {
        !has(facts, "bob") && !is_in(facts, &team, "alice") && is_in(facts, &team, "carol")
    });
    assert_eq!(world.reads, [], "{number}");
    world.mirror.1.load(Ordering::SeqCst) == 0
}

#[test]
fn a_step_that_breaks_off_each_time_is_not_tried_without_a_pause() {
    let runtime = ldap::runtime();
    let directory = Directory::new(Kind::OpenLdap);
    directory.tells((0..9).map(|n| vec![changed("bob", 2), refreshed(&at(Kind::OpenLdap, 6 + n))]));
    let mut world = directory.follow(&runtime);
    directory.set(|it| it.fault = fails(6, person_dn("bob"), vec![Say::Done(51, None)]));
    world.until("read in the end", |_| directory.asked().len() > 6);
    let asked = directory.asked();
    // 100 ms, and each time twice as long.
    assert!(asked[6] - asked[1] >= Duration::from_millis(200 + 400 + 800 + 1600));
    assert_eq!(world.reads, []);
}

#[test]
fn a_refresh_that_never_ends_is_given_up_and_begun_anew() {
    let runtime = ldap::runtime();
    let directory = Directory::new(Kind::OpenLdap);
    let whole = vec![became(3, &person_dn("bob"), id(2)), refreshed(&at(Kind::OpenLdap, 7))];
    directory.tells([vec![became(3, &person_dn("bob"), id(2))], whole]);
    let mut config = directory.config(&runtime);
    config.read_timeout = Duration::from_secs(1);
    let mut world = World::new(config);
    directory.set(|it| drop(it.people.remove(1)));
    world.until("gone", |facts| !has(facts, "bob"));
    assert_eq!(world.reads, []);
}

#[test]
fn a_canary_that_nobody_answers_for_is_asked_again() {
    let runtime = ldap::runtime();
    let directory = Directory::new(Kind::OpenLdap);
    let told = vec![became(3, &person_dn("bob"), id(2)), refreshed(&at(Kind::OpenLdap, 7))];
    directory.tells([told.clone(), told]);
    let mut config = directory.config(&runtime);
    config.canary = Some(person_dn("carol"));
    let mut world = World::new(config);
    directory.set(|it| {
        it.people.remove(1);
        it.fault = fails(1, person_dn("carol"), vec![Say::Stall]);
    });
    world.until("gone", |facts| !has(facts, "bob"));
    assert_eq!(world.reads, [], "an outage is no reason for a full read");
}

/// Whatever becomes of a search beside the feed's own: only what was read to its end counts.
#[test]
fn a_search_that_is_not_answered_in_full_takes_nothing_away() {
    let kind = Kind::OpenLdap;
    let alone = [person_dn("bob")];
    let cut = || group(kind, "team", 9, &alone);
    let bare = |attribute: &'static str, value: &str| {
        let attributes = vec![
            ("cn", vec!["team".to_owned()]),
            ("objectClass", vec!["groupOfNames".to_owned()]),
            (attribute, vec![value.to_owned()]),
            id_of(kind, 9),
        ];
        Say::Entry(group_dn("team").into_bytes(), attributes)
    };
    let reference = || Say::Reference("ldap://other.example.org/dc=x");
    let ends: Vec<Vec<Say>> = vec![
        // Nothing to this search; nothing to any further one on the connection either.
        vec![],
        vec![Say::Stall],
        vec![Say::Close],
        vec![Say::Raw(vec![0x30, 0x00])],
        vec![Say::Op(0x7e, vec![])],
        vec![reference(), Say::Done(0, None)],
        vec![Say::Done(0, None)],
        vec![Say::Done(1, None)],
        vec![Say::Done(3, None)],
        vec![Say::Done(4, None)],
        vec![Say::Done(10, None)],
        vec![Say::Done(11, None)],
        vec![Say::Done(32, None)],
        vec![Say::Done(50, None)],
        vec![Say::Done(51, None)],
        vec![Say::Done(53, None)],
        vec![Say::Done(80, None)],
    ];
    // Without its entry; and where it breaks off, after a part of it.
    let parts = ends.iter().filter(|end| !matches!(end[..], [Say::Done(0 | 32, _)]));
    let parts = parts.map(|end| [vec![cut()], end.clone()].concat());
    let odd = [
        // A part of the members, no members, an entry whose members and id are hidden.
        vec![bare("member;range=0-0", &person_dn("bob")), Say::Done(0, None)],
        vec![bare("description", "x"), Say::Done(0, None)],
        vec![Say::Entry(group_dn("team").into_bytes(), vec![]), Say::Done(0, None)],
    ];
    let team = ends.iter().cloned().chain(parts).chain(odd).map(|says| (group_dn("team"), says));
    let alice = ends.iter().cloned().map(|says| (person_dn("alice"), says));
    // Each waits for what times out: some together.
    let all: Vec<(String, Vec<Say>)> = team.chain(alice).collect();
    for some in all.chunks(8) {
        std::thread::scope(|scope| {
            for (base, says) in some {
                scope.spawn(|| not_answered_in_full(base.clone(), says.clone()));
            }
        });
    }
}

fn not_answered_in_full(base: String, says: Vec<Say>) {
    let runtime = ldap::runtime();
    let kind = Kind::OpenLdap;
    let shown = format!("{base}: {says:?}");
    let directory = Directory::new(kind);
    let told = || {
        let team = became(2, &group_dn("team"), id(9));
        vec![changed("alice", 1), team, refreshed(&at(kind, 7))]
    };
    directory.tells((0..20).map(|_| told()));
    let mut world = directory.follow(&runtime);
    world.following = None;
    directory.set(|it| it.fault = fails(usize::MAX, base, says));
    // Soon enough that what becomes of a search without an answer is seen.
    let patience = std::mem::replace(&mut world.config.timeout, Duration::from_millis(300));
    let came = world.what_comes_of_following();
    world.config.timeout = patience;
    println!("{shown}: {came}");
    let whole = |facts: &BTreeSet<String>| {
        ["alice", "bob"].iter().all(|user| is_in(facts, &group_dn("team"), user))
    };
    assert!(whole(&world.facts()), "{shown}: {came}");
    // Once it answers, what was told is found.
    directory.set(|it| {
        it.fault = Box::new(|_| None);
        it.groups[0].2 = vec![person_dn("bob")];
    });
    world.restart();
    world.until(&shown, |facts| !is_in(facts, &group_dn("team"), "alice"));
    assert!(has(&world.facts(), "alice"));
}

#[test]
fn somebody_who_was_renamed_a_moment_ago_stays_among_however_many_names_that_lead_nowhere() {
    let runtime = ldap::runtime();
    let directory = Directory::new(Kind::OpenLdap);
    directory.tells([vec![
        refreshed(&at(Kind::OpenLdap, 6)),
        Say::Wait(Duration::from_millis(300)),
        became(2, &group_dn("team"), id(9)),
    ]]);
    let mut world = directory.follow(&runtime);
    // The group comes with the new name before the person does.
    directory.set(|it| {
        it.people[1].0 = "robert".to_owned();
        let nobody = (0..700).map(|n| person_dn(&format!("gone-{n}")));
        it.groups[0].2 =
            [person_dn("alice"), person_dn("robert")].into_iter().chain(nobody).collect();
    });
    while world.deltas == 0 {
        assert!(world.next(Duration::from_secs(10)));
    }
    assert!(is_in(&world.facts(), &group_dn("team"), "bob"), "{:#?}", world.facts());
    assert_eq!(world.reads, []);
}

/// A directory's own ids may pass from one entry to another.
#[test]
fn whoever_has_an_id_now_stays_when_the_entry_that_had_it_goes() {
    let runtime = ldap::runtime();
    let kind = Kind::Ds389;
    let directory = Directory::new(kind);
    directory.set(|it| it.people[0].2 = Some("ipa-alice"));
    let pause = || Say::Wait(Duration::from_millis(300));
    directory.tells([vec![
        refreshed(&at(kind, 5)),
        pause(),
        changed("alicia", 4),
        pause(),
        became(3, &person_dn("alice"), id(1)),
        pause(),
        changed("carol", 3),
    ]]);
    let mut world = directory.follow(&runtime);
    directory.set(|it| {
        it.people[0] = ("alicia".to_owned(), 4, Some("ipa-alice"));
        it.people[2] = ("caroline".to_owned(), 3, None);
    });
    world.until("alicia", |facts| has(facts, "alicia"));
    world.next(Duration::from_millis(900));
    world.next(Duration::from_millis(900));
    let all = world.seen.iter().all(|it| facts(it).iter().any(|fact| fact.contains(" ipa-alice ")));
    assert!(all && has(&world.facts(), "alicia"), "{:#?}", world.facts());
}

/// Somebody who was told a moment ago is deleted after the server has begun to tell what is new, and before
/// it is looked whether that is still so.
#[test]
fn whoever_is_gone_before_that_is_told_is_no_sign_of_a_restored_backup() {
    let (mut world, _runtime) =
        undone(|kind| vec![became(3, &person_dn("bob"), id(2)), refreshed(&at(kind, 7))]);
    world.until("gone", |facts| !has(facts, "bob"));
    assert_eq!(world.reads, []);
}

/// The same, and nothing is ever told of it.
#[test]
fn whoever_is_gone_without_a_word_is_a_sign_of_a_restored_backup() {
    let (mut world, _runtime) = undone(|kind| vec![refreshed(&at(kind, 7))]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while world.reads.is_empty() {
        assert!(Instant::now() < deadline, "{:?}", world.state());
        world.next(Duration::from_millis(200));
    }
    assert_eq!(world.reads, [WhyFull::Newer]);
}

/// Follows a server that tells of bob, breaks off, has nobody of his id any more, and then tells `at_last`.
fn undone(at_last: impl Fn(Kind) -> Vec<Say>) -> (World, Runtime) {
    let runtime = ldap::runtime();
    let kind = Kind::Ds389;
    let directory = Directory::new(kind);
    let mut world = directory.follow(&runtime);
    world.following = None;
    let time = ("modifyTimestamp", vec!["20261127120000Z".to_owned()]);
    let Say::Entry(dn, mut bob) = person(kind, "bob", 2, None) else { panic!("no entry") };
    bob.push(time);
    let bob = vec![Say::Entry(dn, bob), Say::Done(0, None)];
    let (told, at_last) = (vec![changed("bob", 2), refreshed(&at(kind, 6))], at_last(kind));
    let (mut is_read, mut is_looked_for) = (false, false);
    directory.set(|it| {
        it.fault = Box::new(move |ask| {
            if ask.sync && !ask.one {
                return Some(match (is_read, is_looked_for) {
                    // Until he was read, which takes a while.
                    (false, _) => {
                        let pause = Say::Wait(Duration::from_millis(300));
                        told.iter().cloned().chain([pause, Say::Close]).collect()
                    }
                    (true, false) => vec![refreshed(&at(kind, 6))],
                    (true, true) => at_last.clone(),
                });
            }
            is_looked_for |= ask.filter.contains("nsUniqueId") && ask.filter.contains("Equality");
            let meant = ask.one && ask.base == person_dn("bob");
            is_read |= meant;
            meant.then(|| bob.clone())
        });
    });
    world.restart();
    (world, runtime)
}

/// DNS puts the servers of a domain into another order each time.
#[test]
fn of_a_domains_servers_the_one_of_the_cursor_is_followed() {
    let runtime = ldap::runtime();
    let [one, two] = [(); 2].map(|()| Directory::new(Kind::OpenLdap).config(&runtime));
    let port = |config: &LdapConfig| match &config.urls[0] {
        Server::At(url) => url.port().unwrap(),
        Server::Of(_) => panic!("a domain"),
    };
    let servers = [(0, 1, port(&one), "dc1.example.com"), (0, 1, port(&two), "dc2.example.com")];
    let dns = FakeDns::start(&[("_ldap._tcp.example.com", &servers)]);
    let urls = vec!["srv:example.com".parse().unwrap()];
    let world = World::new(LdapConfig { urls, dns_servers: vec![dns.address], ..one });
    for _ in 0..12 {
        let start = world.follow();
        assert!(matches!(start, Start::Here(_)), "{start:?}");
    }
}

/// A cookie of one server, and what was read of another, do not go together.
#[test]
fn a_cursor_the_read_that_goes_with_it_and_what_follows_are_of_one_server() {
    let runtime = ldap::runtime();
    let (one, two) = (Directory::new(Kind::OpenLdap), Directory::new(Kind::OpenLdap));
    two.set(|it| drop(it.people.remove(2)));
    let (mut config, second) = (one.config(&runtime), two.config(&runtime));
    // As after the first was away for a moment.
    let mut world = World::new(second.clone());
    world.following = None;
    config.urls.extend(second.urls);
    world.config = config.clone();
    let start = world.follow();
    assert!(matches!(start, Start::Here(_)), "{start:?}");

    let source = LdapSource::new("corp", &config).unwrap();
    let wants = crate::kit::wants();
    let read = || runtime.block_on(source.read(&wants, Arc::new(|_| {})));
    assert_eq!(ldap::usernames(&read().unwrap()), ["alice", "bob", "carol"]);
    let cursor = world.mirror.0.lock().unwrap().cursor.clone().unwrap();
    let stays = || runtime.block_on(source.stays(&cursor));
    stays().unwrap();
    assert_eq!(ldap::usernames(&read().unwrap()), ["alice", "bob"]);
    // What another one says does not go with that cursor, however well it answers.
    two.set(|it| it.fault = Box::new(|_| Some(vec![Say::Close])));
    let error = stays().and_then(|_| read().map(drop)).unwrap_err();
    assert!(error.transient, "{error}");
}

/// Where DNS does not say whose a server is, it may still be one of the source's.
#[test]
fn a_read_beside_the_feed_waits_for_dns() {
    let runtime = ldap::runtime();
    let [one, two] = [(); 2].map(|()| Directory::new(Kind::OpenLdap).config(&runtime));
    let Server::At(url) = &one.urls[0] else { panic!("a domain") };
    let servers = [(0, 1, url.port().unwrap(), "dc1.example.com")];
    let dns = FakeDns::start(&[("_ldap._tcp.example.com", &servers)]);
    let urls = vec!["srv:example.com".parse().unwrap()];
    let world = World::new(LdapConfig { urls, dns_servers: vec![dns.address], ..one });
    let mut config = world.config.clone();
    config.urls.extend(two.urls);
    let cursor = world.mirror.0.lock().unwrap().cursor.clone().unwrap();
    let stays = |config: &LdapConfig| {
        let source = LdapSource::new("corp", config).unwrap();
        runtime.block_on(source.stays(&cursor))
    };
    stays(&config).unwrap();
    config.dns_servers = vec![([127, 0, 0, 1], ldap::dead_port()).into()];
    let error = stays(&config).unwrap_err();
    assert!(error.transient && error.message.contains("DNS"), "{error}");
    // What is none of the source's any more is not waited for.
    config.urls.remove(0);
    stays(&config).unwrap();
}
