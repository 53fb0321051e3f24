//! Two domains of Active Directory whose groups list one another's people: full reads, and what feeds
//! tell.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::ingest::{dump, step};
use super::*;
use crate::directory::{
    AccountSid, Cursor, Delta, Enabled, Kind, ListChange, NewRef, NewUser, OwnDomain, PersonDelta,
    RefDelta, RefId, Rid, Sighting, Snapshot, SnapshotBuilder, Within,
};
use crate::sync::ingest::{Way, ingest_by};
use crate::sync::provision::Heard;

const TOML: &str = "[guard]\nmax_lost_percent = 100\nmax_lost_floor = 1000\n\
    [[source]]\nname = \"a\"\nkind = \"ldap\"\nurl = \"ldaps://a.example.com\"\n\
    users = { base = \"dc=a\" }\ngroups = { base = \"dc=a\" }\n\
    [[source]]\nname = \"b\"\nkind = \"ldap\"\nurl = \"ldaps://b.example.com\"\n\
    users = { base = \"dc=b\" }\ngroups = { base = \"dc=b\" }\n\
    [roles.r]\nexternal_roles = []\n[roles.s]\nexternal_roles = []\n\
    [[mapping]]\nsource = \"a\"\ngroup = \"cn=g0,dc=a\"\nroles = [\"r\"]\n\
    [[mapping]]\nsource = \"b\"\ngroup = \"cn=g0,dc=b\"\nroles = [\"s\"]\n";

const NAMES: [&str; 2] = ["a", "b"];
/// People, and groups, of each domain.
const EACH: u8 = 3;

/// Who is in a group: of its domain, or of the other by SID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Member {
    Person(u8),
    Group(u8),
    OtherPerson(u8),
    OtherGroup(u8),
}

/// One domain.
#[derive(Clone, Debug, Default)]
struct Domain {
    /// Each with the number of the SID, where that is to be seen.
    people: BTreeMap<u8, Option<u32>>,
    members: BTreeSet<(u8, Member)>,
}

fn sid(domain: usize, rid: u32) -> AccountSid {
    AccountSid::of_text(&format!("S-1-5-21-1-2-{domain}-{rid}")).unwrap()
}

fn rid_of_person(place: u8) -> u32 {
    1000 + u32::from(place)
}

fn rid_of_group(place: u8) -> u32 {
    2000 + u32::from(place)
}

/// The SID by which a member of the other domain is listed.
fn listed(domain: usize, member: Member) -> Option<AccountSid> {
    match member {
        Member::Person(_) | Member::Group(_) => None,
        Member::OtherPerson(it) => Some(sid(1 - domain, rid_of_person(it))),
        Member::OtherGroup(it) => Some(sid(1 - domain, rid_of_group(it))),
    }
}

fn group_id(domain: usize, place: u8) -> RefId {
    RefId { kind: Kind::Group, key: format!("{}-g{place}", NAMES[domain]) }
}

fn ext(domain: usize, place: u8) -> String {
    format!("{}-p{place}", NAMES[domain])
}

fn principal_dn(domain: usize, sid: &AccountSid) -> String {
    format!("cn={sid},cn=foreignsecurityprincipals,dc={}", NAMES[domain])
}

impl Domain {
    fn snapshot(&self, domain: usize) -> Snapshot {
        let mut builder = SnapshotBuilder::new(true);
        builder.domain(OwnDomain::Of(sid(domain, 1).domain()));
        builder.nested_by_list();
        for (place, rid) in &self.people {
            let name = ext(domain, *place);
            let user = builder
                .user(&NewUser {
                    ext: &name,
                    username: &name,
                    email: "",
                    email_verified: false,
                    enabled: Enabled::Yes,
                    federation: "",
                })
                .unwrap();
            builder.user_is(user, Rid::of_code(*rid));
        }
        let mut groups = Vec::new();
        for place in 0..EACH {
            let identity = format!("cn=g{place},dc={}", NAMES[domain]);
            let group = builder
                .reference(&NewRef {
                    kind: Kind::Group,
                    key: &group_id(domain, place).key,
                    name: &format!("g{place}"),
                    identity: &identity,
                    norm: &identity,
                })
                .unwrap();
            builder.ref_is(group, Rid::of_code(Some(rid_of_group(place))));
            groups.push(group);
        }
        for (group, member) in &self.members {
            let group = groups[usize::from(*group)];
            match *member {
                Member::Person(it) => {
                    let user = builder.find_user(&ext(domain, it));
                    user.into_iter().for_each(|user| builder.member(group, user));
                }
                Member::Group(it) => builder.leads_to(groups[usize::from(it)], group),
                other @ (Member::OtherPerson(_) | Member::OtherGroup(_)) => {
                    let sid = listed(domain, other).unwrap();
                    let dn = principal_dn(domain, &sid);
                    let principal = builder
                        .reference(&NewRef {
                            kind: Kind::ForeignPrincipal,
                            key: &sid.to_string(),
                            name: "",
                            identity: &dn,
                            norm: &dn,
                        })
                        .unwrap();
                    builder.leads_to(principal, group);
                }
            }
        }
        let mut snapshot = builder.finish();
        snapshot.cursor = Some(Cursor::new("0"));
        snapshot
    }

    /// The groups that list `member`.
    fn listing(&self, domain: usize, member: Member) -> Vec<RefId> {
        let listing = self.members.iter().filter(|(_, it)| *it == member);
        listing.map(|(group, _)| group_id(domain, *group)).collect()
    }

    /// Makes a person come or go, or a member; what a feed tells of it.
    fn change(&mut self, domain: usize, change: Change) -> Delta {
        let mut delta = Delta::default();
        match change {
            Change::Person(place, _) if self.people.remove(&place).is_some() => {
                self.members.retain(|(_, member)| *member != Member::Person(place));
                delta.gone_people.push(ext(domain, place));
            }
            Change::Person(place, bears) => {
                let rid = match bears {
                    Bears::Own => Some(rid_of_person(place)),
                    Bears::That(other) => Some(other),
                    Bears::Hidden => None,
                };
                self.people.insert(place, rid);
                let name = ext(domain, place);
                delta.people.push(PersonDelta {
                    ext: name.clone(),
                    username: Some(name),
                    enabled: Some(Enabled::Yes),
                    rid: Rid::of_code(rid),
                    ..PersonDelta::default()
                });
            }
            Change::Member(_, Member::Person(place)) if !self.people.contains_key(&place) => {}
            Change::Member(group, member) => {
                if !self.members.remove(&(group, member)) {
                    self.members.insert((group, member));
                }
                delta.refs.push(self.told(domain, group, member));
            }
        }
        delta
    }

    fn told(&self, domain: usize, group: u8, member: Member) -> RefDelta {
        let implies = ListChange::Whole(self.listing(domain, member));
        match member {
            Member::Person(place) => {
                let (one, none) = (vec![ext(domain, place)], Vec::new());
                let came = self.members.contains(&(group, member));
                let (added, removed) = if came { (one, none) } else { (none, one) };
                let members = ListChange::Changed { added, removed };
                RefDelta { members, ..RefDelta::new(group_id(domain, group)) }
            }
            Member::Group(place) => RefDelta { implies, ..RefDelta::new(group_id(domain, place)) },
            Member::OtherPerson(_) | Member::OtherGroup(_) => {
                let sid = listed(domain, member).unwrap();
                let dn = principal_dn(domain, &sid);
                let id = RefId { kind: Kind::ForeignPrincipal, key: sid.to_string() };
                RefDelta {
                    name: Some(String::new()),
                    identity: Some(dn.clone()),
                    norm: Some(dn),
                    members: ListChange::Whole(Vec::new()),
                    implies,
                    ..RefDelta::new(id)
                }
            }
        }
    }
}

/// Which SID somebody bears who comes.
#[derive(Clone, Copy, Debug)]
enum Bears {
    Own,
    That(u32),
    Hidden,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Person(u8, Bears),
    Member(u8, Member),
}

fn read(home: &Home, domains: [Option<&Domain>; 2]) -> Outcome {
    home.store.prepare().unwrap();
    let answer = |(domain, it): (usize, Option<&Domain>)| match it {
        Some(it) => super::super::SourceAnswer::Said(Box::new(it.snapshot(domain))),
        None => super::super::SourceAnswer::NotAsked,
    };
    let mut answers: Vec<_> = domains.into_iter().enumerate().map(answer).collect();
    answers.push(super::super::SourceAnswer::NotAsked);
    let untold: crate::sync::OnPhase = Arc::new(|_| {});
    let reader = home.store.reader().unwrap();
    let before = Before::of(&home.config, &Options::default(), reader.as_deref()).unwrap();
    let store = &*home.store;
    let answers = (answers, None);
    super::super::plan_and_commit(&home.config, store, answers, (&before, &untold), false, now())
        .unwrap()
        .0
}

fn two() -> [Domain; 2] {
    let members = BTreeSet::from([(0, Member::OtherPerson(0))]);
    let people = |some: &[u8]| some.iter().map(|it| (*it, Some(rid_of_person(*it)))).collect();
    let a = Domain { people: people(&[0]), members };
    let b = Domain { people: people(&[0, 1]), members: BTreeSet::new() };
    [a, b]
}

fn holders(home: &Home, role: &str) -> Vec<String> {
    let roles = home.roles().into_iter();
    roles.filter(|(_, roles)| roles.contains(role)).map(|(name, _)| name).collect()
}

#[test]
fn what_stays_foreign_is_told_by_every_run_and_nobody_who_is_found() {
    let home = Home::new(TOML);
    let [mut a, b] = two();
    a.members.insert((0, Member::OtherPerson(2)));
    let foreign = |outcome: &Outcome| -> Vec<String> {
        let told = outcome.diagnostics.iter().map(|it| it.message.clone());
        told.filter(|it| it.contains("of another directory")).collect()
    };
    // The other domain was never read: whom these stand for is unknown.
    assert_eq!(foreign(&read(&home, [Some(&a), None])), Vec::<String>::new());
    assert!(holders(&home, "r").is_empty());
    let told = foreign(&read(&home, [None, Some(&b)]));
    assert_eq!(holders(&home, "r"), ["b-p0"]);
    let [one] = told.as_slice() else { panic!("{told:?}") };
    assert!(one.contains("1 member(s)") && one.contains("S-1-5-21-1-2-1-1002"), "{one}");
    let again = read(&home, [Some(&a), None]);
    assert!(again.plan.is_none(), "nothing is new");
    assert_eq!(foreign(&again), told);
    // A mirror keeps it all: nobody is asked, and nothing changes.
    assert!(home.sync_only(Some(Vec::new())).plan.is_none());
    assert_eq!(holders(&home, "r"), ["b-p0"]);
    let [grant] = home.grants("b-p0").into_iter().collect::<Vec<_>>().try_into().unwrap();
    let way = "through foreign security principal \
               `cn=S-1-5-21-1-2-1-1000,cn=foreignsecurityprincipals,dc=a` → group `cn=g0,dc=a`";
    assert!(grant.contains(way) && grant.ends_with("(a, mapping[1])"), "{grant}");
}

#[test]
fn a_change_in_one_domain_concerns_people_of_the_other_and_nobody_else() {
    let home = Home::new(TOML);
    let mut domains = two();
    read(&home, [Some(&domains[0]), Some(&domains[1])]);
    assert_eq!(holders(&home, "r"), ["b-p0"]);
    let tell = |domains: &mut [Domain; 2], domain, change| tell(&home, domains, domain, change);
    let other = |place| Change::Member(0, Member::OtherPerson(place));
    assert_eq!(tell(&mut domains, 0, other(1)), Way::ForSome);
    assert_eq!(holders(&home, "r"), ["b-p0", "b-p1"]);
    assert_eq!(tell(&mut domains, 0, other(0)), Way::ForSome);
    assert_eq!(holders(&home, "r"), ["b-p1"]);
    // A group of the other domain, and then somebody in it.
    let group = Change::Member(0, Member::OtherGroup(1));
    assert_eq!(tell(&mut domains, 0, group), Way::ForSome);
    let within = |place| Change::Member(1, Member::Person(place));
    assert_eq!(tell(&mut domains, 1, within(0)), Way::ForSome);
    assert_eq!(holders(&home, "r"), ["b-p0", "b-p1"]);
    // Somebody comes who was listed before.
    assert_eq!(tell(&mut domains, 0, other(2)), Way::ForSome);
    assert_eq!(tell(&mut domains, 1, Change::Person(2, Bears::Own)), Way::ForSome);
    assert_eq!(holders(&home, "r"), ["b-p0", "b-p1", "b-p2"]);
    let mirror = home.reader().mirror("b").unwrap().unwrap();
    assert_eq!(mirror.digest, home.digest(&mirror), "the mirror is what its digest says");
}

/// Tells one change by the feed of one domain, planned for some.
fn tell(home: &Home, domains: &mut [Domain; 2], domain: usize, change: Change) -> Way {
    let cursor = home.reader().mirror(NAMES[domain]).unwrap().unwrap().mirror.cursor.unwrap();
    let delta = domains[domain].change(domain, change);
    let step = step(cursor.as_str(), &format!("{}+", cursor.as_str()));
    let told = BTreeMap::from([(NAMES[domain].to_owned(), vec![Delta { step, ..delta }])]);
    ingest_by(&home.config, &*home.store, &told, Way::ForSome, now()).unwrap().1
}

#[test]
fn who_bears_the_sid_of_another_gains_nothing_by_it() {
    for taken in [rid_of_person(0), rid_of_group(1)] {
        let home = Home::new(TOML);
        let mut domains = two();
        domains[0].members.insert((0, Member::OtherGroup(1)));
        domains[1].members.insert((1, Member::Person(1)));
        read(&home, [Some(&domains[0]), Some(&domains[1])]);
        assert_eq!(holders(&home, "r"), ["b-p0", "b-p1"]);
        let twice = Change::Person(2, Bears::That(taken));
        assert_eq!(tell(&home, &mut domains, 1, twice), Way::ForAll);
        assert_eq!(holders(&home, "r"), ["b-p0", "b-p1"]);
        assert!(!home.reader().meta().unwrap().all_read);
    }
}

#[test]
fn while_somebodys_sid_was_never_read_nobody_is_planned_for_alone() {
    let home = Home::new(TOML);
    let mut domains = two();
    read(&home, [Some(&domains[0]), Some(&domains[1])]);
    let hidden = Change::Person(2, Bears::Hidden);
    assert_eq!(tell(&home, &mut domains, 1, hidden), Way::ForAll);
    assert!(home.reader().meta().unwrap().all_read, "who is listed is found");
    let goes = Change::Person(0, Bears::Own);
    assert_eq!(tell(&home, &mut domains, 1, goes), Way::ForAll);
    assert!(!home.reader().meta().unwrap().all_read, "whoever was hidden may be who is listed");
}

/// What comes of somebody whom the second domain shows with this SID, who is in its first group.
fn come(home: &Home, name: &str, sid: Option<AccountSid>) -> ProvisionOutcome {
    let group = group_id(1, 0);
    let within = vec![Within { kind: group.kind, key: group.key, name: Some("g0".to_owned()) }];
    let sighting = Sighting {
        ext: format!("id of {name}"),
        username: name.to_owned(),
        email: String::new(),
        email_verified: false,
        enabled: Enabled::Yes,
        federation: String::new(),
        sid,
        within,
    };
    let mut answers = vec![Heard::NotAsked; home.config.sources.len()];
    answers[1] = Heard::Found(Box::new(sighting));
    plan_and_commit(&home.config, &*home.store, &caller(name), answers, now()).unwrap()
}

#[test]
fn who_is_looked_up_bears_a_number_of_the_sources_own_domain_or_none() {
    let home = Home::new(TOML);
    let [a, b] = two();
    let a = Domain { members: BTreeSet::new(), ..a };
    read(&home, [Some(&a), Some(&b)]);
    let own = sid(1, rid_of_person(2));
    // The server is of another domain by now, and has the same numbers.
    let other = AccountSid::of_text("S-1-5-21-1-2-9-1003");
    let rid = own.rid();
    for (name, sid, rid) in
        [("own", Some(own), rid), ("hidden", None, Rid::Unread), ("other", other, Rid::Unread)]
    {
        let outcome = come(&home, name, sid);
        assert!(matches!(outcome, ProvisionOutcome::Provisioned { .. }), "{name}: {outcome:?}");
        let mirror = home.reader().mirror("b").unwrap().unwrap();
        assert_eq!(mirror.digest, home.digest(&mirror));
        let directory = mirror.mirror.directory;
        let place = directory.find_user(&format!("id of {name}")).unwrap();
        assert_eq!(directory.users.at(place).rid, rid, "{name}");
    }
}

fn is_refused(outcome: &ProvisionOutcome, why: &str) -> bool {
    matches!(outcome, ProvisionOutcome::Refused(told) if told.contains(why))
}

const UNKNOWN: &str = "groups of a list members of that domain: left to the next sync";

#[test]
fn who_is_looked_up_waits_where_it_is_not_known_whether_a_group_of_another_domain_lists_them() {
    let home = Home::new(TOML);
    let [mut a, b] = two();
    a.members.insert((0, Member::OtherPerson(2)));
    read(&home, [Some(&a), Some(&b)]);
    assert!(is_refused(&come(&home, "hidden", None), UNKNOWN));
    // The server is of another domain by now, and has the same numbers.
    let other = AccountSid::of_text("S-1-5-21-1-2-9-1002");
    assert!(is_refused(&come(&home, "other", other), UNKNOWN));
    let taken = come(&home, "taken", Some(sid(1, rid_of_person(1))));
    assert!(is_refused(&taken, "b: another user of the same SID was there at the last read"));
    assert!(holders(&home, "s").is_empty());
    let known = come(&home, "known", Some(sid(1, rid_of_person(2))));
    assert!(matches!(known, ProvisionOutcome::Provisioned { .. }), "{known:?}");
    assert_eq!((holders(&home, "s"), holders(&home, "r").len()), (vec!["known".to_owned()], 2));
}

#[test]
fn who_is_looked_up_waits_where_it_is_not_known_which_domain_a_source_is() {
    let home = Home::new(TOML);
    let [a, b] = two();
    read(&home, [Some(&a), Some(&b)]);
    rusqlite::Connection::open(home.file("store.db"))
        .unwrap()
        .execute_batch("UPDATE source SET domain = '' WHERE name = 'b'")
        .unwrap();
    assert!(is_refused(&come(&home, "hidden", None), UNKNOWN));
    assert!(is_refused(&come(&home, "shown", Some(sid(1, 1007))), UNKNOWN));
    let other = come(&home, "other", AccountSid::of_text("S-1-5-21-1-2-9-1002"));
    assert!(matches!(other, ProvisionOutcome::Provisioned { .. }), "{other:?}");
}

fn arbitrary_change() -> impl Strategy<Value = (usize, Change)> {
    let member = (0..4u8, 0..EACH).prop_map(|(kind, place)| match kind {
        0 => Member::Person(place),
        1 => Member::Group(place),
        2 => Member::OtherPerson(place),
        _ => Member::OtherGroup(place),
    });
    let bears = prop_oneof![
        4 => Just(Bears::Own),
        1 => (0..EACH).prop_map(|it| Bears::That(rid_of_person(it))),
        1 => (0..EACH).prop_map(|it| Bears::That(rid_of_group(it))),
        1 => Just(Bears::Hidden),
    ];
    let change = prop_oneof![
        2 => (0..EACH, bears).prop_map(|(place, bears)| Change::Person(place, bears)),
        4 => (0..EACH, member).prop_map(|(group, member)| Change::Member(group, member)),
    ];
    (0..2usize, change)
}

/// Whatever feeds of two domains tell: planned for those whom it concerns, or for everybody, the store is
/// the same, and a full read afterwards finds nothing to add.
#[test]
fn planned_for_some_across_domains_is_planned_for_all() {
    let cases = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(12) };
    let (planned_for_some, planned) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let input = prop::collection::vec(arbitrary_change(), 1..12);
    let run = TestRunner::new(cases).run(&input, |changes| {
        let (some, all) = (Home::new(TOML), Home::new(TOML));
        let mut domains = two();
        for home in [&some, &all] {
            read(home, [Some(&domains[0]), Some(&domains[1])]);
        }
        let mut at = [0, 0];
        for (domain, change) in changes {
            // A group in itself is in no list of its own.
            if matches!(change, Change::Member(group, Member::Group(it)) if group == it) {
                continue;
            }
            let delta = domains[domain].change(domain, change);
            let step = step(&at[domain].to_string(), &(at[domain] + 1).to_string());
            at[domain] += 1;
            let told = BTreeMap::from([(NAMES[domain].to_owned(), vec![Delta { step, ..delta }])]);
            let (_, way) =
                ingest_by(&some.config, &*some.store, &told, Way::ForSome, now()).unwrap();
            planned.fetch_add(1, Ordering::Relaxed);
            planned_for_some.fetch_add(usize::from(way == Way::ForSome), Ordering::Relaxed);
            ingest_by(&all.config, &*all.store, &told, Way::ForAll, now()).unwrap();
            prop_assert_eq!(dump(&some), dump(&all), "after {:?}", told);
        }
        let before = some.roles();
        read(&some, [Some(&domains[0]), Some(&domains[1])]);
        prop_assert_eq!(some.roles(), before);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    // Else next to nothing was compared.
    let [some, all] = [planned_for_some, planned].map(AtomicUsize::into_inner);
    assert!(some * 2 > all, "{some} of {all} were planned for some");
}
