//! Primary groups of which something is hidden: hidden is not gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use idpsyncd::source::ldap::LdapConfig;
use tokio::runtime::Runtime;

use crate::kit::World;
use crate::support::fake_ldap::*;
use crate::support::ldap;
use crate::support::openldap::{SUFFIX, group_dn, person_dn};

/// The number of the group `team`.
const TEAM: &str = "700";

/// A person: name, number, `gidNumber`, and whether it and its number are shown.
#[derive(Clone)]
struct Person {
    name: &'static str,
    id: u8,
    gid: &'static str,
    shows_gid: bool,
    is_shown: bool,
}

/// What stands in it: `team` is the primary group of alice and bob and lists `listed`.
struct State {
    people: Vec<Person>,
    listed: Vec<&'static str>,
    team_shows_gid: bool,
    /// How often people were asked for by name, and by a search.
    asked: (usize, usize),
    /// What it says to the search for changes.
    told: Vec<Vec<Say>>,
}

#[derive(Clone)]
struct Directory(Arc<Mutex<State>>);

fn at(number: u32) -> String {
    format!("rid=000,csn=20261127{number:06}.000000Z#000000#000#000000")
}

fn id_of(number: u8) -> (&'static str, Vec<String>) {
    let it = format!("{number:02x}").repeat(4);
    ("entryUUID", vec![format!("{it}-{0}-{0}-{0}-{0}{it}", &it[..4])])
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

impl Directory {
    /// Followed, and about to tell that these have changed.
    fn follow(runtime: &Runtime, told: Vec<Say>) -> (Self, World) {
        Directory::follow_many(runtime, told, Vec::new())
    }

    /// The same with more people, whose primary group the team is.
    fn follow_many(
        runtime: &Runtime,
        told: Vec<Say>,
        more: Vec<(&'static str, u8)>,
    ) -> (Self, World) {
        let person = |(name, id)| Person { name, id, gid: TEAM, shows_gid: true, is_shown: true };
        let carol = Person { gid: "9", ..person(("carol", 3)) };
        let dave = Person { gid: "9", ..person(("dave", 4)) };
        let it = Directory(Arc::new(Mutex::new(State {
            people: [person(("alice", 1)), person(("bob", 2)), carol, dave]
                .into_iter()
                .chain(more.into_iter().map(person))
                .collect(),
            listed: vec!["carol", "dave"],
            team_shows_gid: true,
            asked: (0, 0),
            told: Vec::new(),
        })));
        let fake = it.clone();
        let fake = runtime.block_on(Fake::start(9, Arc::new(move |ask| fake.answer(ask))));
        let mut config = ldap::at(&fake.url);
        config.groups.as_mut().unwrap().primary = true;
        let mut world = World::new(LdapConfig { timeout: Duration::from_secs(2), ..config });
        for name in ["alice", "bob", "carol", "dave"] {
            assert!(world.is_in(&group_dn("team"), name), "{name}");
        }
        world.following = None;
        it.set(|it| it.told = vec![[told, vec![refreshed(&at(7))]].concat()]);
        world.restart();
        (it, world)
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap());
    }

    fn answer(&self, ask: &Ask) -> Vec<Say> {
        let mut it = self.0.lock().unwrap();
        if ask.sync && ask.one {
            return vec![cookie(&at(5))];
        }
        if ask.sync {
            let says = if it.told.is_empty() { None } else { Some(it.told.remove(0)) };
            return says.unwrap_or_else(|| vec![refreshed(&at(5))]);
        }
        if ask.base.is_empty() {
            let root = vec![
                ("objectClass", texts(&["OpenLDAProotDSE"])),
                ("supportedControl", texts(&["1.3.6.1.4.1.4203.1.9.1.1"])),
            ];
            return vec![Say::Entry(vec![], root), Say::Done(0, None)];
        }
        if ask.base.contains("ou=people") {
            it.asked.0 += usize::from(ask.one);
            it.asked.1 += usize::from(!ask.one);
        }
        let whole = |base: &str| !ask.one && ask.base == format!("ou={base},{SUFFIX}");
        let by_gid = ask.filter.contains("gidNumber");
        let mut says = Vec::new();
        for person in it.people.iter().filter(|person| person.is_shown) {
            // What is hidden passes no test.
            let has_it = person.shows_gid && ask.filter.contains(&format!("{:?}", person.gid));
            if whole("people") && (has_it || !by_gid)
                || ask.one && ask.base == person_dn(person.name)
            {
                let mut attributes = vec![
                    ("uid", texts(&[person.name])),
                    ("objectClass", texts(&["inetOrgPerson", "posixAccount"])),
                    ("departmentNumber", texts(&["sales"])),
                    id_of(person.id),
                ];
                attributes.extend(person.shows_gid.then(|| ("gidNumber", texts(&[person.gid]))));
                says.push(Say::Entry(person_dn(person.name).into_bytes(), attributes));
            }
        }
        let knows = whole("groups") && !ask.filter.to_lowercase().contains("memberuid");
        if knows || ask.one && ask.base == group_dn("team") {
            let mut attributes = vec![
                ("cn", texts(&["team"])),
                ("objectClass", texts(&["groupOfNames", "posixGroup"])),
                ("member", it.listed.iter().map(|name| person_dn(name)).collect()),
                id_of(9),
            ];
            attributes.extend(it.team_shows_gid.then(|| ("gidNumber", texts(&[TEAM]))));
            says.push(Say::Entry(group_dn("team").into_bytes(), attributes));
        }
        let missing = ask.one && says.is_empty();
        says.push(if missing { Say::Done(32, None) } else { Say::Done(0, Some("")) });
        says
    }
}

fn team() -> Vec<Say> {
    vec![became(2, &group_dn("team"), [9; 16])]
}

/// The team as it is once everything was worked on that was told.
fn team_of(world: &mut World) -> Vec<&'static str> {
    while !world.next(Duration::from_secs(10)) {}
    let names = ["alice", "bob", "carol", "dave"].into_iter();
    names.filter(|name| world.is_in(&group_dn("team"), name)).collect()
}

#[test]
fn a_group_that_hides_its_number_keeps_its_primary_members() {
    let runtime = ldap::runtime();
    let (directory, mut world) = Directory::follow(&runtime, team());
    directory.set(|it| {
        it.team_shows_gid = false;
        it.listed = vec!["carol"];
    });
    assert_eq!(team_of(&mut world), ["alice", "bob", "carol", "dave"], "not known");
    assert_eq!(world.reads, []);
}

#[test]
fn an_account_that_hides_its_number_stays_in_its_primary_group() {
    let runtime = ldap::runtime();
    let (directory, mut world) = Directory::follow(&runtime, team());
    directory.set(|it| {
        it.people[0].shows_gid = false;
        it.listed = vec!["carol"];
    });
    assert_eq!(team_of(&mut world), ["alice", "bob", "carol", "dave"], "not known");
    assert_eq!(world.reads, []);
}

#[test]
fn who_is_hidden_altogether_stays_and_what_is_to_be_seen_is_told() {
    let runtime = ldap::runtime();
    let (directory, mut world) = Directory::follow(&runtime, team());
    directory.set(|it| {
        it.people[0].is_shown = false;
        it.people[1].gid = "9";
        it.listed = vec!["carol"];
    });
    assert_eq!(team_of(&mut world), ["alice", "carol"]);
    assert_eq!(world.reads, []);
}

#[test]
fn an_account_that_is_told_and_hides_its_number_leads_to_a_full_read() {
    let runtime = ldap::runtime();
    let told = vec![became(2, &person_dn("alice"), [1; 16])];
    let (directory, mut world) = Directory::follow(&runtime, told);
    directory.set(|it| it.people[0].shows_gid = false);
    let came = world.what_comes_of_following();
    assert!(came.contains("Read(Other(") && came.contains("gidNumber"), "{came}");
    assert!(world.is_in(&group_dn("team"), "alice"));
}

/// However many leave at once, told or not: nobody is asked about alone but who is told, once.
#[test]
fn those_who_leave_a_primary_group_in_one_burst_are_looked_at_together() {
    let runtime = ldap::runtime();
    let many: Vec<(&'static str, u8)> =
        (100..220).map(|n| (&*Box::leak(format!("p{n}").into_boxed_str()), n)).collect();
    let people = many.iter().map(|(name, n)| became(2, &person_dn(name), [*n; 16]));
    // The people themselves are told, and of others nothing but that they are not in the group any more.
    for (what, told, each) in [("told", people.collect(), 120), ("not told", team(), 0)] {
        let (directory, mut world) = Directory::follow_many(&runtime, told, many.clone());
        directory.set(|it| {
            it.people.iter_mut().filter(|it| it.id >= 100).for_each(|it| it.gid = "9");
            it.asked = (0, 0);
        });
        world.until("left", |facts| {
            !facts.iter().any(|it| it.starts_with("member ") && it.contains(" p1"))
        });
        let by_name = |name| world.is_in(&group_dn("team"), name);
        assert!(["alice", "bob", "carol", "dave"].into_iter().all(by_name), "{what}");
        let (one, some) = directory.0.lock().unwrap().asked;
        assert!(one <= each + 6 && some <= 12, "{what}: {one} by name and {some} searches");
        assert_eq!(world.reads, [], "{what}");
    }
}
