//! Members of another domain of Active Directory: by SID, against the source that is that domain.

use idpsyncd::directory::{AccountSid, DomainSid, OwnDomain, Rid};
use idpsyncd::model::{ExternalRef, Reason};
use idpsyncd::resolve::foreign_members;

use super::*;

/// A person or a group of a domain: name, and the number of its SID where it is readable.
type Named = (&'static str, Option<u32>);

/// What a domain holds. Members are of the domain by name, and of others by SID.
#[derive(Clone, Debug, Default)]
struct Domain {
    people: Vec<Named>,
    groups: Vec<(Named, Vec<String>)>,
    /// The number that tells this domain's SID from others'; absent: it is none.
    number: Option<u32>,
    /// Which domain it is could not be read.
    hidden: bool,
    users: Option<&'static str>,
    unread_groups: Option<&'static str>,
}

fn domain_sid(number: u32) -> DomainSid {
    let parts = [21, 1, 2, number];
    let sid = [&[1, 4, 0, 0, 0, 0, 0, 5][..], &parts.map(u32::to_le_bytes).concat()].concat();
    DomainSid::of_bytes(&sid).unwrap()
}

/// `S-1-5-21-1-2-DOMAIN-RID`
fn sid(domain: u32, rid: u32) -> String {
    format!("S-1-5-21-1-2-{domain}-{rid}")
}

fn of(number: u32, people: &[Named], groups: &[(Named, &[&str])]) -> Domain {
    let groups = groups.iter().map(|(group, members)| {
        (*group, members.iter().map(|member| (*member).to_owned()).collect())
    });
    Domain {
        people: people.to_vec(),
        groups: groups.collect(),
        number: Some(number),
        ..Domain::default()
    }
}

fn with(mut domain: Domain, group: &str, member: &str) -> Domain {
    let it = domain.groups.iter_mut().find(|((name, _), _)| *name == group).unwrap();
    it.1.push(member.to_owned());
    domain
}

fn without(mut domain: Domain, group: &str, member: &str) -> Domain {
    let it = domain.groups.iter_mut().find(|((name, _), _)| *name == group).unwrap();
    it.1.retain(|other| other != member);
    domain
}

fn partial() -> Completeness {
    Completeness::Partial("cut".to_owned())
}

impl Domain {
    fn snapshot(&self, source: &str) -> Snapshot {
        let mut builder = SnapshotBuilder::new(true);
        if let Some(number) = self.number.filter(|_| !self.hidden) {
            builder.domain(OwnDomain::Of(&domain_sid(number)));
        } else if self.hidden {
            builder.domain(OwnDomain::Unread);
        }
        for (name, rid) in &self.people {
            let user = builder
                .user(&NewUser {
                    ext: &format!("{source}-{name}"),
                    username: name,
                    email: "",
                    email_verified: false,
                    enabled: Enabled::Yes,
                    federation: "",
                })
                .unwrap();
            builder.user_is(user, Rid::of_code(*rid));
        }
        builder.nested_by_list();
        let reference = |builder: &mut SnapshotBuilder, kind, key: &str, name, identity: &str| {
            builder.reference(&NewRef { kind, key, name, identity, norm: identity }).unwrap()
        };
        let dn = |name: &str| format!("cn={name},dc={source}");
        for ((name, rid), _) in &self.groups {
            let key = format!("{source}-{name}");
            let group = reference(&mut builder, Kind::Group, &key, name, &dn(name));
            builder.ref_is(group, Rid::of_code(*rid));
        }
        for ((name, _), members) in &self.groups {
            let group = builder.find_ref(Kind::Group, &format!("{source}-{name}")).unwrap();
            for member in members {
                let key = format!("{source}-{member}");
                if let Some(user) = builder.find_user(&key) {
                    builder.member(group, user);
                } else if let Some(inner) = builder.find_ref(Kind::Group, &key) {
                    builder.leads_to(inner, group);
                } else if AccountSid::of_text(member).is_some() {
                    let identity = format!("cn={member},cn=foreignsecurityprincipals,dc={source}");
                    let kind = Kind::ForeignPrincipal;
                    let principal = reference(&mut builder, kind, member, "", &identity);
                    builder.leads_to(principal, group);
                }
            }
            if self.unread_groups == Some(name) {
                builder.members_are(group, partial());
            }
        }
        if self.users.is_some() {
            builder.users_are(partial());
        }
        builder.finish()
    }
}

/// Sources as a store keeps them, run after run.
struct Domains {
    world: World,
    mirrors: BTreeMap<String, Directory>,
}

/// Rules that give `r` to the members of `dc=a`'s groups called `team`, and `s` to those of `dc=b`'s.
const RULES: &str = "[guard]\nmax_lost_percent = 100\nmax_lost_floor = 1000\n\
    [roles.r]\nexternal_roles = []\nsync_mode = \"force\"\n\
    [roles.s]\nexternal_roles = []\nsync_mode = \"force\"\n\
    [[mapping]]\nsource = \"a\"\ngroup = \"cn=team,dc=a\"\nroles = [\"r\"]\n\
    [[mapping]]\nsource = \"b\"\ngroup = \"cn=team,dc=b\"\nroles = [\"s\"]\n";

fn config_of_domains(sources: &[&str], rest: &str) -> Config {
    let mut text = String::from("[store]\npath = \"s.db\"\n");
    for source in sources {
        text.push_str(&format!(
            "[[source]]\nname = \"{source}\"\nkind = \"ldap\"\nurl = \"ldaps://{source}.example.com\"\n\
             users = {{ base = \"dc={source}\" }}\ngroups = {{ base = \"dc={source}\" }}\n"
        ));
    }
    text.push_str(rest);
    config::parse(&text, Path::new("test.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

impl Domains {
    fn new() -> Self {
        Domains::of(&["a", "b"])
    }

    fn of(sources: &[&str]) -> Self {
        let world = World::new(config_of_domains(sources, RULES));
        Domains { world, mirrors: BTreeMap::new() }
    }

    /// What `source` says now, laid over its mirror.
    fn says(&mut self, source: &str, domain: &Domain) {
        let merged = merge(self.mirrors.get(source), domain.snapshot(source));
        self.mirrors.insert(source.to_owned(), merged.mirror.directory);
    }

    fn readings(&self) -> Vec<(String, Directory)> {
        self.mirrors.iter().map(|(name, it)| (name.clone(), it.clone())).collect()
    }

    fn run(&mut self) -> String {
        let plan = self.world.plan_on(&self.readings());
        self.world.state = stored(&self.world.state, &plan);
        assert!(plan.held.is_none());
        self.world.grants()
    }

    /// After these have spoken.
    fn after(&mut self, said: &[(&str, &Domain)]) -> String {
        for (source, domain) in said {
            self.says(source, domain);
        }
        self.run()
    }

    fn reasons(&self) -> Vec<&Reason> {
        self.world.state.reasons.reasons().iter().collect()
    }

    /// What stays foreign, in words.
    fn foreign(&self) -> Vec<String> {
        let readings = self.readings();
        let views: Vec<View<'_>> =
            readings.iter().map(|(source, directory)| View { source, directory }).collect();
        let told = foreign_members(&self.world.config.settings(), &views);
        told.into_iter().map(|it| it.message).collect()
    }
}

/// Domain 1, whose group `team` lists these of others.
fn first(members: &[&str]) -> Domain {
    of(1, &[("ann", Some(1104))], &[(("team", Some(1200)), members)])
}

/// Domain 2: `bob` (1105), and `ops` (1300) with `eve` (1106) in it.
fn second() -> Domain {
    let people = [("bob", Some(1105)), ("eve", Some(1106))];
    of(2, &people, &[(("ops", Some(1300)), &["eve"]), (("team", Some(1200)), &[])])
}

#[test]
fn a_person_of_another_domain_is_a_member_by_their_sid_and_the_reason_says_by_what_way() {
    let mut domains = Domains::new();
    let granted = domains.after(&[("a", &first(&["ann", &sid(2, 1105)])), ("b", &second())]);
    assert_eq!(granted, "ann:r=idp bob:r=idp");
    let told: Vec<String> = domains
        .reasons()
        .iter()
        .map(|it| format!("{}: {}: {}", it.source, it.rule, steps(it)))
        .collect();
    let through = format!(
        "a: mapping[1]: foreign security principal `cn={},cn=foreignsecurityprincipals,dc=a` → \
         group `cn=team,dc=a`",
        sid(2, 1105)
    );
    assert!(told.contains(&through), "{told:?}");
    assert_eq!(domains.foreign(), Vec::<String>::new());
    // Who is taken out loses it; who is put in again gets it.
    assert_eq!(domains.after(&[("a", &first(&["ann"]))]), "ann:r=idp");
    assert_eq!(domains.after(&[("a", &first(&[&sid(2, 1105)]))]), "bob:r=idp");
}

fn steps(reason: &Reason) -> String {
    reason.path.iter().map(ExternalRef::to_string).collect::<Vec<_>>().join(" → ")
}

#[test]
fn a_group_of_another_domain_brings_its_members_closed_over_there_and_cycles_are_legal() {
    let mut domains = Domains::new();
    let a = first(&[&sid(2, 1300)]);
    let mut b = second();
    b.groups.push((("inner", Some(1301)), vec!["bob".to_owned()]));
    let b = with(b, "ops", "inner");
    assert_eq!(domains.after(&[("a", &a), ("b", &b)]), "bob:r=idp eve:r=idp");
    let told: Vec<String> = domains.reasons().iter().map(|it| steps(it)).collect();
    let foreign = format!(
        "foreign security principal `cn={},cn=foreignsecurityprincipals,dc=a`",
        sid(2, 1300)
    );
    let way =
        format!("group `cn=inner,dc=b` → group `cn=ops,dc=b` → {foreign} → group `cn=team,dc=a`");
    assert!(told.contains(&way), "{told:?}");
    // Both ways at once, in a circle: `ops` of 2 is in `team` of 1, which is in `inner` of 2.
    let a = with(a, "team", "ann");
    let b = with(with(b, "inner", &sid(1, 1200)), "team", "ops");
    assert_eq!(
        domains.after(&[("a", &a), ("b", &b)]),
        "ann:r=idp ann:s=idp bob:r=idp bob:s=idp eve:r=idp eve:s=idp"
    );
    assert_eq!(
        domains.after(&[("b", &without(b, "inner", "bob"))]),
        "ann:r=idp ann:s=idp eve:r=idp eve:s=idp"
    );
}

#[test]
fn while_the_other_domain_is_unread_or_read_in_part_membership_is_unknown_and_nothing_is_taken() {
    let a = first(&[&sid(2, 1105), &sid(2, 1300)]);
    let both = "bob:r=idp eve:r=idp";
    let gone = of(2, &[], &[(("team", Some(1200)), &[])]);
    // Its mirror is gone, and whoever was in it is there by way of another source.
    let mut domains = Domains::of(&["a", "b", "c"]);
    let c = Domain { people: vec![("bob", None), ("eve", None)], ..Domain::default() };
    assert_eq!(domains.after(&[("a", &a), ("b", &second()), ("c", &c)]), both);
    let whole = domains.mirrors.remove("b").unwrap();
    assert_eq!(domains.run(), both);
    assert_eq!(domains.foreign(), Vec::<String>::new(), "unknown is not foreign");
    // Read in part, with nobody in it.
    domains.says("b", &Domain { users: Some("cut"), ..gone.clone() });
    assert_eq!(domains.run(), both);
    domains.mirrors.insert("b".to_owned(), whole);
    let cut = Domain { people: Vec::new(), users: Some("cut"), ..second() };
    domains.says("b", &Domain { unread_groups: Some("ops"), ..cut });
    assert_eq!(domains.run(), both);
    // Read in full, without a SID to be seen: what was known stands.
    let mut hidden = second();
    hidden.people.iter_mut().for_each(|(_, rid)| *rid = None);
    hidden.groups.iter_mut().for_each(|((_, rid), _)| *rid = None);
    assert_eq!(domains.after(&[("b", &hidden)]), both);
    // The list of the group there was not read.
    let unread = without(Domain { unread_groups: Some("ops"), ..second() }, "ops", "eve");
    assert_eq!(domains.after(&[("b", &unread)]), both);
    // Then it was, and she is not in it.
    assert_eq!(domains.after(&[("b", &without(second(), "ops", "eve"))]), "bob:r=idp");
    assert_eq!(domains.after(&[("b", &gone)]), "");
    assert_eq!(domains.foreign().len(), 1);
}

/// `domain` without what tells its SIDs.
fn hiding(mut domain: Domain) -> Domain {
    domain.hidden = true;
    domain.people.iter_mut().for_each(|(_, rid)| *rid = None);
    domain.groups.iter_mut().for_each(|((_, rid), _)| *rid = None);
    domain
}

#[test]
fn a_source_of_which_is_not_known_which_domain_it_is_may_be_any() {
    let a = first(&[&sid(2, 1105), &sid(2, 1300)]);
    let both = "bob:r=idp eve:r=idp";
    let mut domains = Domains::new();
    assert_eq!(domains.after(&[("a", &a), ("b", &second())]), both);
    // The source has another name now, and its first read does not show which domain it is.
    let rules = RULES.replace("source = \"b\"", "source = \"corp\"");
    domains.world.config = config_of_domains(&["a", "corp"], &rules);
    domains.mirrors.remove("b");
    assert_eq!(domains.after(&[("corp", &hiding(second()))]), both);
    assert_eq!(domains.foreign(), Vec::<String>::new(), "unknown is not foreign");
    let plan = domains.world.plan_on(&domains.readings());
    assert!(!plan.all_read, "everybody is to be looked at with the next change");
    // A read of a part says nothing of it.
    let none = Domain { number: None, unread_groups: Some("ops"), ..second() };
    assert_eq!(domains.after(&[("corp", &none)]), both);
    // Once it is known, what was known by it counts again; and what is not so any more goes.
    assert_eq!(domains.after(&[("corp", &second())]), both);
    let plan = domains.world.plan_on(&domains.readings());
    assert!(plan.all_read);
    // What was known of it stands where it is not shown again.
    assert_eq!(domains.after(&[("corp", &hiding(second()))]), both);
    let gone = without(second(), "ops", "eve");
    assert_eq!(domains.after(&[("corp", &hiding(gone))]), "bob:r=idp");
    // That it is none is known by a complete read.
    let none = Domain { number: None, ..second() };
    assert_eq!(domains.after(&[("corp", &none)]), "");
    assert_eq!(domains.foreign().len(), 1);
}

#[test]
fn a_group_whose_sid_was_never_read_may_be_the_one_that_is_listed() {
    let a = first(&[&sid(2, 1300)]);
    let mut domains = Domains::new();
    assert_eq!(domains.after(&[("a", &a), ("b", &second())]), "eve:r=idp");
    // Read anew, and its group shows none.
    let mut hidden = second();
    hidden.groups.iter_mut().for_each(|((_, rid), _)| *rid = None);
    let known = domains.mirrors.remove("b").unwrap();
    assert_eq!(domains.after(&[("b", &hidden)]), "eve:r=idp");
    assert_eq!(domains.foreign(), Vec::<String>::new());
    // What was known of it stands.
    domains.mirrors.insert("b".to_owned(), known);
    assert_eq!(domains.after(&[("b", &hidden)]), "eve:r=idp");
    let without_eve = without(hidden, "ops", "eve");
    assert_eq!(domains.after(&[("b", &without_eve)]), "");
}

#[test]
fn another_source_that_nobody_has_read_may_be_the_same_domain() {
    let a = first(&[&sid(2, 1105)]);
    let mut domains = Domains::of(&["a", "b", "c"]);
    let c = Domain { people: vec![("bob", Some(1105))], number: Some(2), ..Domain::default() };
    let b = Domain { people: Vec::new(), ..second() };
    let b = without(b, "ops", "eve");
    assert_eq!(domains.after(&[("a", &a), ("b", &b), ("c", &c)]), "bob:r=idp");
    // Read anew, in part.
    domains.mirrors.remove("c");
    let known_elsewhere = Domain { people: vec![("ann", Some(1104)), ("bob", None)], ..a.clone() };
    assert_eq!(domains.after(&[("a", &known_elsewhere)]), "bob:r=idp");
    let gone = Domain { people: vec![("eve", Some(1106))], ..c };
    assert_eq!(domains.after(&[("c", &gone)]), "");
}

#[test]
fn who_is_in_no_source_stays_foreign_and_is_counted_and_named() {
    let mut domains = Domains::new();
    let others: Vec<String> =
        (1..=5).map(|rid| sid(9, rid)).chain([sid(2, 4000), sid(2, 1105)]).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    assert_eq!(domains.after(&[("a", &first(&others)), ("b", &second())]), "bob:r=idp");
    let [told] = domains.foreign().try_into().unwrap();
    assert_eq!(
        told,
        "a: group `cn=team,dc=a`: 6 member(s) are of another directory, and no source knows them: \
         `cn=S-1-5-21-1-2-2-4000,cn=foreignsecurityprincipals,dc=a`, \
         `cn=S-1-5-21-1-2-9-1,cn=foreignsecurityprincipals,dc=a`, \
         `cn=S-1-5-21-1-2-9-2,cn=foreignsecurityprincipals,dc=a` and 3 more"
    );
}

#[test]
fn nobody_answers_for_the_sids_of_another_domain() {
    let mut domains = Domains::new();
    // Domain 3 has the same numbers.
    let third = Domain { number: Some(3), ..second() };
    let a = first(&[&sid(2, 1105), &sid(2, 1300)]);
    assert_eq!(domains.after(&[("a", &a), ("b", &third)]), "");
    // Nor does a source that is none.
    let none = Domain { number: None, ..second() };
    let mut domains = Domains::new();
    assert_eq!(domains.after(&[("a", &a), ("b", &none)]), "");
    assert_eq!(domains.foreign().len(), 1);
    // A source that becomes another domain takes no number over that it does not show.
    let mut domains = Domains::new();
    assert_eq!(domains.after(&[("a", &a), ("b", &second())]), "bob:r=idp eve:r=idp");
    let mut moved = Domain { number: Some(3), ..second() };
    moved.people.iter_mut().for_each(|(_, rid)| *rid = None);
    moved.groups.iter_mut().for_each(|((_, rid), _)| *rid = None);
    let a = first(&[&sid(3, 1105), &sid(3, 1300)]);
    assert_eq!(domains.after(&[("a", &a), ("b", &moved)]), "", "nobody is shown to bear these");
}

#[test]
fn a_sid_that_two_bear_is_nobodys_and_who_holds_something_by_it_keeps_it() {
    let mut domains = Domains::new();
    let a = first(&[&sid(2, 1105)]);
    assert_eq!(domains.after(&[("a", &a), ("b", &second())]), "bob:r=idp");
    let mut twice = second();
    twice.people.push(("mallory", Some(1105)));
    assert_eq!(domains.after(&[("b", &twice)]), "bob:r=idp");
    let mut anew = Domains::new();
    assert_eq!(anew.after(&[("a", &a), ("b", &twice)]), "");
}

#[test]
fn who_is_deleted_and_made_again_has_another_sid() {
    let mut domains = Domains::new();
    let a = first(&[&sid(2, 1105)]);
    assert_eq!(domains.after(&[("a", &a), ("b", &second())]), "bob:r=idp");
    let again = of(2, &[("bobby", Some(1107))], &[(("team", Some(1200)), &[])]);
    assert_eq!(domains.after(&[("b", &again)]), "bob:r=idp", "gone, but not yet deprovisioned");
    domains.world.later(60 * 24 * 365);
    assert_eq!(domains.run(), "");
}

/// A domain's people and groups with members of either domain, by place.
fn arbitrary_domain(number: u32) -> impl Strategy<Value = Domain> {
    const PEOPLE: [&str; 3] = ["p0", "p1", "p2"];
    const GROUPS: [&str; 3] = ["team", "g1", "g2"];
    // 0..3 people, 3..6 groups of this domain; 6..12 the same of the other.
    let lists = prop::collection::vec(prop::collection::btree_set(0..12usize, 0..5), 3);
    let there = prop::collection::vec(prop::bool::weighted(0.85), 3);
    (lists, there).prop_map(move |(lists, there)| {
        let other = 3 - number;
        let name = |place: usize| match place {
            0..3 => PEOPLE[place].to_owned(),
            3..6 => GROUPS[place - 3].to_owned(),
            6..9 => sid(other, 100 + place as u32 - 6),
            _ => sid(other, 200 + place as u32 - 9),
        };
        let people = (0..3).filter(|at| there[*at]);
        Domain {
            people: people.map(|at| (PEOPLE[at], Some(100 + at as u32))).collect(),
            groups: (0..3)
                .map(|at| {
                    (
                        (GROUPS[at], Some(200 + at as u32)),
                        lists[at].iter().map(|it| name(*it)).collect(),
                    )
                })
                .collect(),
            number: Some(number),
            ..Domain::default()
        }
    })
}

/// Who is in `team` of either domain, by walking down from it: an independent way to say it.
fn expected(domains: [&Domain; 2]) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (at, role) in ["r", "s"].iter().enumerate() {
        let (mut seen, mut open) = (BTreeSet::new(), vec![(at, "team".to_owned())]);
        while let Some((of, name)) = open.pop() {
            if !seen.insert((of, name.clone())) {
                continue;
            }
            if domains[of].people.iter().any(|(it, _)| *it == name) {
                out.insert(format!("{}{name}:{role}", ["a", "b"][of]));
            }
            let group = domains[of].groups.iter().find(|((it, _), _)| *it == name);
            for member in group.into_iter().flat_map(|(_, members)| members) {
                match AccountSid::of_text(member) {
                    None => open.push((of, member.clone())),
                    Some(sid) => {
                        let other = domains[1 - of];
                        let all = other.people.iter().chain(other.groups.iter().map(|(it, _)| it));
                        let found = all.copied().find(|(_, rid)| *rid == sid.rid().code());
                        open.extend(found.map(|(name, _)| (1 - of, name.to_owned())));
                    }
                }
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn who_is_in_a_group_is_whoever_a_walk_down_from_it_finds(
        first in (arbitrary_domain(1), arbitrary_domain(2)),
        second in (arbitrary_domain(1), arbitrary_domain(2)),
    ) {
        // People of one name in two domains are one person, unless they are called otherwise.
        let mut domains = Domains::new();
        for (a, b) in [first, second] {
            for (source, domain) in [("a", &a), ("b", &b)] {
                let merged = domain.snapshot(source);
                domains.mirrors.insert(source.to_owned(), apart(merged, source));
            }
            domains.run();
            let present = domains.present();
            let held = pairs(&domains.world.state, domains.world.now);
            let held: BTreeSet<String> =
                held.into_iter().filter(|it| present.contains(it.split(':').next().unwrap())).collect();
            prop_assert_eq!(held, expected([&a, &b]));
        }
    }
}

/// With every username prefixed, so that those of two sources are two people.
fn apart(snapshot: Snapshot, prefix: &str) -> Directory {
    let mut directory = snapshot.directory;
    for user in directory.users.iter_mut() {
        let name = format!("{prefix}{}", directory.texts.get(user.username));
        user.username = directory.texts.add(&name).unwrap();
    }
    directory
}

impl Domains {
    fn present(&self) -> BTreeSet<String> {
        let names = self.mirrors.values().flat_map(|directory| {
            directory.users.iter().map(|user| directory.text(user.username).to_owned())
        });
        names.collect()
    }
}
