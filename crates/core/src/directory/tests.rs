//! Snapshots and deltas, in any order, against a plain model of sets.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::index::Place as _;

/// What a source holds, as plainly as can be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Model {
    /// Username and whether enabled, by external id.
    people: BTreeMap<String, (String, bool)>,
    /// The parent, by group.
    groups: BTreeMap<String, Option<String>>,
    members: BTreeSet<(String, String)>,
}

/// Some of what the model calls groups are of other kinds, each by its key: what a list is that was read in
/// full is said of each kind in its own way.
fn kind(key: &str) -> Kind {
    match key.bytes().last().unwrap_or_default() % 3 {
        0 => Kind::Group,
        1 => Kind::Organization,
        _ => Kind::OrganizationGroup,
    }
}

fn group(key: &str) -> RefId {
    RefId { kind: kind(key), key: key.to_owned() }
}

impl Model {
    fn snapshot(&self, complete: bool) -> Snapshot {
        let mut builder = SnapshotBuilder::new(false);
        // From the end, so that order is seen not to matter.
        for (ext, (username, enabled)) in self.people.iter().rev() {
            builder
                .user(&NewUser {
                    ext,
                    username,
                    email: "",
                    email_verified: false,
                    enabled: if *enabled { Enabled::Yes } else { Enabled::No },
                    federation: "",
                })
                .unwrap();
        }
        for key in self.groups.keys().rev() {
            let kind = kind(key);
            builder.reference(&NewRef { kind, key, name: key, identity: key, norm: key }).unwrap();
        }
        let place =
            |builder: &SnapshotBuilder, key: &str| builder.find_ref(kind(key), key).unwrap();
        for (key, parent) in &self.groups {
            if let Some(parent) = parent {
                let (child, parent) = (place(&builder, key), place(&builder, parent));
                builder.child(parent, child);
            }
        }
        for (key, ext) in self.members.iter().rev() {
            let user = builder.find_user(ext).unwrap();
            builder.member(place(&builder, key), user);
        }
        builder.organizations_are(Completeness::Complete);
        if !complete {
            let partial = || Completeness::Partial("cut".to_owned());
            builder.users_are(partial());
            builder.groups_are(partial());
            builder.organizations_are(partial());
            for key in self.groups.keys() {
                let place = place(&builder, key);
                builder.members_are(place, partial());
                builder.implies_is(place, partial());
            }
        }
        builder.finish()
    }

    /// Only what was said outright goes.
    fn without(&mut self, people: &[String], groups: &[String]) {
        people.iter().for_each(|ext| drop(self.people.remove(ext)));
        groups.iter().for_each(|key| drop(self.groups.remove(key)));
        self.members.retain(|(key, ext)| !groups.contains(key) && !people.contains(ext));
        for parent in self.groups.values_mut() {
            parent.take_if(|parent| groups.contains(parent));
        }
    }
}

/// One thing that may happen, in numbers of people and groups.
#[derive(Clone, Debug)]
enum Step_ {
    /// A complete read of what the model says by now, which changes nothing.
    Read,
    /// A partial read of a part of it.
    Part {
        people: BTreeSet<u8>,
        groups: BTreeSet<u8>,
    },
    Person {
        ext: u8,
        name: u8,
        enabled: bool,
        within: Option<BTreeSet<u8>>,
    },
    Group {
        key: u8,
        parent: Option<u8>,
        members: Option<BTreeSet<u8>>,
    },
    Move {
        key: u8,
        added: BTreeSet<u8>,
        removed: BTreeSet<u8>,
    },
    Gone {
        people: BTreeSet<u8>,
        groups: BTreeSet<u8>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step_>> {
    let some = || prop::collection::btree_set(0u8..6, 0..4);
    let maybe = move || prop::option::of(prop::collection::btree_set(0u8..6, 0..4));
    prop::collection::vec(
        prop_oneof![
            1 => Just(Step_::Read),
            1 => (some(), some()).prop_map(|(people, groups)| Step_::Part { people, groups }),
            4 => (0u8..6, 0u8..9, any::<bool>(), maybe())
                .prop_map(|(ext, name, enabled, within)| Step_::Person { ext, name, enabled, within }),
            4 => (0u8..6, prop::option::of(0u8..6), maybe())
                .prop_map(|(key, parent, members)| Step_::Group { key, parent, members }),
            4 => (0u8..6, some(), some())
                .prop_map(|(key, added, removed)| Step_::Move { key, added, removed }),
            2 => (some(), some()).prop_map(|(people, groups)| Step_::Gone { people, groups }),
        ],
        0..24,
    )
}

fn ext(number: u8) -> String {
    format!("u{number}")
}

fn key(number: u8) -> String {
    format!("g{number}")
}

/// What a step says: a snapshot or a delta. It is done to the model as well.
enum Said {
    Snapshot(Box<Snapshot>),
    Delta(Delta),
}

fn said(step: &Step_, model: &mut Model) -> Option<Said> {
    let people = |model: &Model, numbers: &BTreeSet<u8>| -> Vec<String> {
        numbers.iter().map(|it| ext(*it)).filter(|it| model.people.contains_key(it)).collect()
    };
    let groups = |model: &Model, numbers: &BTreeSet<u8>| -> Vec<String> {
        numbers.iter().map(|it| key(*it)).filter(|it| model.groups.contains_key(it)).collect()
    };
    let mut delta = Delta::default();
    match step {
        Step_::Read => return Some(Said::Snapshot(Box::new(model.snapshot(true)))),
        Step_::Part { people: some, groups: those } => {
            let mut part = model.clone();
            let gone: Vec<String> =
                people(model, &(0..6).filter(|it| !some.contains(it)).collect());
            let left_out: Vec<String> =
                groups(model, &(0..6).filter(|it| !those.contains(it)).collect());
            part.without(&gone, &left_out);
            return Some(Said::Snapshot(Box::new(part.snapshot(false))));
        }
        Step_::Person { ext: number, name, enabled, within } => {
            let ext = ext(*number);
            let name = format!("n{name}");
            let mut person = PersonDelta {
                ext: ext.clone(),
                username: Some(name.clone()),
                enabled: Some(if *enabled { Enabled::Yes } else { Enabled::No }),
                ..PersonDelta::default()
            };
            model.people.insert(ext.clone(), (name, *enabled));
            if let Some(within) = within {
                let within = groups(model, within);
                model.members.retain(|(_, member)| *member != ext);
                model.members.extend(within.iter().map(|key| (key.clone(), ext.clone())));
                person.within = ListChange::Whole(within.iter().map(|key| group(key)).collect());
            }
            delta.people.push(person);
        }
        Step_::Group { key: number, parent, members } => {
            let own = key(*number);
            let parent = parent.map(key).filter(|it| *it != own && model.groups.contains_key(it));
            let mut reference = RefDelta {
                name: Some(own.clone()),
                identity: Some(own.clone()),
                norm: Some(own.clone()),
                parent: Some(parent.as_deref().map(group)),
                implies: ListChange::Whole(Vec::new()),
                ..RefDelta::new(group(&own))
            };
            let is_new = model.groups.insert(own.clone(), parent).is_none();
            // What was never read in full is not known: the model knows everything.
            let members = members.clone().or(is_new.then(BTreeSet::new));
            if let Some(members) = members {
                let members = people(model, &members);
                model.members.retain(|(key, _)| *key != own);
                model.members.extend(members.iter().map(|ext| (own.clone(), ext.clone())));
                reference.members = ListChange::Whole(members);
            }
            delta.refs.push(reference);
        }
        Step_::Move { key: number, added, removed } => {
            let own = key(*number);
            if !model.groups.contains_key(&own) {
                return None;
            }
            let added = people(model, added);
            // Whoever is not there cannot be in it: that is no mistake.
            let removed: Vec<String> =
                removed.iter().map(|it| ext(*it)).filter(|it| !added.contains(it)).collect();
            model.members.extend(added.iter().map(|ext| (own.clone(), ext.clone())));
            model.members.retain(|(key, ext)| *key != own || !removed.contains(ext));
            let members = ListChange::Changed { added, removed };
            delta.refs.push(RefDelta { members, ..RefDelta::new(group(&own)) });
        }
        Step_::Gone { people: some, groups: those } => {
            let some: Vec<String> = some.iter().map(|it| ext(*it)).collect();
            let those: Vec<String> = those.iter().map(|it| key(*it)).collect();
            model.without(&some, &those);
            delta.gone_refs = those.iter().map(|key| group(key)).collect();
            delta.gone_people = some;
        }
    }
    Some(Said::Delta(delta))
}

/// Everything that a directory says, as sets.
fn facts(
    directory: &Directory,
) -> (BTreeSet<String>, BTreeSet<String>, BTreeSet<(String, String)>) {
    let people: Vec<String> =
        directory.users.iter().map(|it| directory.text(it.ext).to_owned()).collect();
    let groups: Vec<String> =
        directory.refs.iter().map(|it| directory.text(it.key).to_owned()).collect();
    let mut members = BTreeSet::new();
    for (place, list) in directory.members.iter().enumerate() {
        members.extend(list.iter().map(|it| (groups[place].clone(), people[it.place()].clone())));
    }
    (people.into_iter().collect(), groups.into_iter().collect(), members)
}

/// A mirror with an organization, its groups and ann in all of them.
fn with_organization() -> Mirror {
    let mut builder = SnapshotBuilder::new(false);
    let ann = user(&mut builder, "ann");
    builder.organizations_are(Completeness::Complete);
    let acme = builder.organization("o1", "acme").unwrap();
    builder.organization("o2", "other").unwrap();
    let top = builder.organization_top("o1", "acme").unwrap();
    let eng = builder.organization_group("g1", "acme", &["eng"], top).unwrap();
    let ml = builder.organization_group("g2", "acme", &["eng", "ml"], eng).unwrap();
    [acme, eng, ml].iter().for_each(|place| builder.member(*place, ann));
    Mirror::default().apply_snapshot(builder.finish()).mirror
}

fn user(builder: &mut SnapshotBuilder, name: &str) -> DirUserIdx {
    let (email, federation, email_verified, enabled) = ("", "", false, Enabled::Yes);
    let ext = &format!("u-{name}");
    let user = NewUser { ext, username: name, email, email_verified, enabled, federation };
    builder.user(&user).unwrap()
}

/// What a mirror says of organizations: whether all are known, and of each thing who is in it, `?` where that
/// is not known.
fn organizations(directory: &Directory) -> String {
    let mut told = if directory.proven.organizations { "all:" } else { "some:" }.to_owned();
    for ((row, members), place) in
        directory.refs.iter().zip(&directory.members).zip(directory.refs.places())
    {
        let known = if row.known { "" } else { "?" };
        let path = directory.path(place).join("/");
        let is = directory.text(row.identity);
        assert!(is == path || is.ends_with(&format!(":/{path}")), "{is} is at {path}");
        told += &format!(" {is}{known}={}", members.len());
    }
    told
}

/// A read without organizations but for what `says` adds.
fn read(says: impl Fn(&mut SnapshotBuilder)) -> Snapshot {
    let mut builder = SnapshotBuilder::new(false);
    user(&mut builder, "ann");
    says(&mut builder);
    builder.finish()
}

#[test]
fn only_what_was_asked_for_and_read_in_full_says_that_something_of_organizations_is_gone() {
    let partial = || Completeness::Partial("cut".to_owned());
    let before = with_organization();
    let whole = "all: acme=1 other=0 acme:/eng=1 acme:/eng/ml=1 acme:/=0";
    assert_eq!(organizations(&before.directory), whole);
    type Says<'a> = &'a dyn Fn(&mut SnapshotBuilder);
    let cases: [(&str, Says<'_>, &str); 8] = [
        ("nobody asked", &|_| {}, "some:"),
        ("none could be listed", &|it| it.organizations_are(partial()), whole),
        ("there are none", &|it| it.organizations_are(Completeness::Complete), "all:"),
        (
            "it is listed, and nobody asked for more",
            &|it| {
                it.organizations_are(Completeness::Complete);
                let acme = it.organization("o1", "acme").unwrap();
                it.members_are(acme, Completeness::NotAsked);
            },
            "all: acme?=0",
        ),
        (
            "its members could not be read, nor its groups",
            &|it| {
                it.organizations_are(Completeness::Complete);
                let acme = it.organization("o1", "acme").unwrap();
                let top = it.organization_top("o1", "acme").unwrap();
                [acme, top].iter().for_each(|place| it.members_are(*place, partial()));
            },
            "all: acme=1 acme:/eng=1 acme:/eng/ml=1 acme:/=0",
        ),
        (
            "a group was seen of those that could not all be read",
            &|it| {
                it.organizations_are(Completeness::Complete);
                it.organization("o1", "acme").unwrap();
                let top = it.organization_top("o1", "acme").unwrap();
                it.members_are(top, partial());
                it.organization_group("g1", "acme", &["eng"], top).unwrap();
            },
            "all: acme=0 acme:/eng=0 acme:/eng/ml=1 acme:/=0",
        ),
        (
            "it is disabled, or everybody left, and its groups are gone",
            &|it| {
                it.organizations_are(Completeness::Complete);
                it.organization("o1", "acme").unwrap();
                it.organization_top("o1", "acme").unwrap();
            },
            "all: acme=0 acme:/=0",
        ),
        (
            "of some that could be listed it was read in full",
            &|it| {
                it.organizations_are(partial());
                it.organization("o1", "acme").unwrap();
                it.organization_top("o1", "acme").unwrap();
            },
            "all: acme=0 other=0 acme:/=0",
        ),
    ];
    for (what, says, after) in cases {
        let mirror = before.apply_snapshot(read(says)).mirror;
        assert_eq!(organizations(&mirror.directory), after, "{what}");
    }
    // What was forgotten is not there again for a read that brings nothing.
    let forgotten = before.apply_snapshot(read(|_| {})).mirror;
    let after = forgotten.apply_snapshot(read(|it| it.organizations_are(partial()))).mirror;
    assert_eq!(organizations(&after.directory), "some:");
}

#[test]
fn groups_seen_for_the_first_time_in_part_are_not_all() {
    let snapshot = read(|it| {
        it.organizations_are(Completeness::Complete);
        it.organization("o1", "acme").unwrap();
        let top = it.organization_top("o1", "acme").unwrap();
        it.members_are(top, Completeness::Partial("cut".to_owned()));
        it.organization_group("g1", "acme", &["eng"], top).unwrap();
    });
    assert!(!snapshot.is_complete() && !snapshot.stands_alone());
    let mirror = Mirror::default().apply_snapshot(snapshot).mirror;
    assert_eq!(organizations(&mirror.directory), "all: acme=0 acme:/eng=0 acme:/?=0");
    assert!(!mirror.directory.knows_groups_of("o1"));
    assert!(with_organization().directory.knows_groups_of("o1"));
    assert!(!with_organization().directory.knows_groups_of("o2"), "nobody asked for its groups");
}

proptest! {
    /// However it came about, the mirror is what a fresh read of the same facts would be, and its
    /// digest, which was patched along the way, is that of all its rows.
    #[test]
    fn the_way_to_a_mirror_leaves_no_trace(steps in steps()) {
        let key = DigestKey::new([3; 32]);
        let mut model = Model::default();
        let mut mirror = Mirror::default().apply_snapshot(model.snapshot(true)).mirror;
        for step in &steps {
            let Some(said) = said(step, &mut model) else { continue };
            mirror = match said {
                Said::Snapshot(snapshot) => mirror.apply_snapshot(*snapshot).mirror,
                Said::Delta(delta) => {
                    let mut rows = mirror.rows(&delta.touched(), Some(&key));
                    let before = mirror.directory.digests(&key).whole;
                    rows.head.digest = before;
                    let patch = rows.apply(&delta, &key).unwrap();
                    let after = mirror.apply_delta(&delta).unwrap().mirror;
                    prop_assert_eq!(patch.before, before);
                    prop_assert_eq!(patch.after, after.directory.digests(&key).whole);
                    after
                }
            };
            let fresh = model.snapshot(true).directory;
            prop_assert_eq!(facts(&mirror.directory), facts(&fresh));
            prop_assert_eq!(mirror.directory.digest(), fresh.digest());
        }
    }

    /// Several deltas at once come to what they come to one after the other, in memory and row by
    /// row, and what they patch is what differs.
    #[test]
    fn deltas_at_once_are_deltas_one_by_one(first in steps(), then in steps()) {
        let key = DigestKey::new([3; 32]);
        let mut model = Model::default();
        for step in &first {
            said(step, &mut model);
        }
        let start = Mirror::default().apply_snapshot(model.snapshot(true)).mirror;
        let deltas: Vec<Delta> = then
            .iter()
            .filter_map(|step| match said(step, &mut model)? {
                Said::Delta(delta) => Some(delta),
                Said::Snapshot(_) => None,
            })
            .collect();
        let mut slow = start.clone();
        for delta in &deltas {
            slow = slow.apply_delta(delta).unwrap().mirror;
        }
        let mut rows = start.rows(&Touched::by_all(&deltas), Some(&key));
        rows.head.digest = start.directory.digests(&key).whole;
        let patch = rows.apply_all(&deltas, &key).unwrap();
        prop_assert_eq!(patch.after, slow.directory.digests(&key).whole);
        let (was, is) = (facts(&start.directory), facts(&slow.directory));
        let pair = |(id, ext): &(RefId, String)| (id.key.clone(), ext.clone());
        let joined: BTreeSet<(String, String)> = patch.joined.iter().map(pair).collect();
        let left: BTreeSet<(String, String)> = patch.left.iter().map(pair).collect();
        prop_assert_eq!(joined, is.2.difference(&was.2).cloned().collect());
        prop_assert_eq!(left, was.2.difference(&is.2).cloned().collect());
        let at_once = start.apply_deltas(&deltas).unwrap().mirror;
        prop_assert_eq!(facts(&at_once.directory), is);
        prop_assert_eq!(at_once.directory.digest(), slow.directory.digest());
    }

    /// Lists that are told whole, some of one group one after the other, of people of whom nothing else
    /// is said: whoever is missing in one of them, and named again later, comes and goes.
    #[test]
    fn lists_told_whole_are_the_last_of_each_group(
        before in prop::collection::vec(prop::collection::btree_set(0u8..6, 0..6), 3),
        told in prop::collection::vec((0usize..3, prop::collection::btree_set(0u8..6, 0..6)), 1..5),
    ) {
        let key = DigestKey::new([3; 32]);
        let people = (0..6).map(|it| (ext(it), (format!("n{it}"), true))).collect();
        let mut model = Model { people, ..Model::default() };
        let own = |number: usize| super::tests::key(u8::try_from(number).unwrap());
        for (number, those) in before.iter().enumerate() {
            model.groups.insert(own(number), None);
            model.members.extend(those.iter().map(|it| (own(number), ext(*it))));
        }
        let start = Mirror::default().apply_snapshot(model.snapshot(true)).mirror;
        let deltas: Vec<Delta> = told
            .iter()
            .map(|(number, those)| {
                model.members.retain(|(key, _)| *key != own(*number));
                model.members.extend(those.iter().map(|it| (own(*number), ext(*it))));
                let members = ListChange::Whole(those.iter().map(|it| ext(*it)).collect());
                let told = RefDelta { members, ..RefDelta::new(group(&own(*number))) };
                Delta { refs: vec![told], ..Delta::default() }
            })
            .collect();
        let mut rows = start.rows(&Touched::by_all(&deltas), Some(&key));
        rows.head.digest = start.directory.digests(&key).whole;
        let patch = rows.apply_all(&deltas, &key).unwrap();
        let fresh = model.snapshot(true).directory;
        prop_assert_eq!(patch.after, fresh.digests(&key).whole);
        let after = start.apply_deltas(&deltas).unwrap().mirror;
        prop_assert_eq!(facts(&after.directory), facts(&fresh));
    }

    /// What becomes of one person, and of references, is told by a part of what was told.
    #[test]
    fn of_one_person_a_part_of_the_deltas_tells_as_much_as_all(
        first in steps(), then in steps(), who in 0u8..6,
    ) {
        let key = DigestKey::default();
        let mut model = Model::default();
        for step in &first {
            said(step, &mut model);
        }
        let start = Mirror::default().apply_snapshot(model.snapshot(true)).mirror;
        let deltas: Vec<Delta> = then
            .iter()
            .filter_map(|step| match said(step, &mut model)? {
                Said::Delta(delta) => Some(delta),
                Said::Snapshot(_) => None,
            })
            .collect();
        let who = ext(who);
        let keys: Vec<RefId> = (0..6).map(|number| group(&super::tests::key(number))).collect();
        let after = |deltas: &[Delta], who: Option<&String>| {
            let all = who.into_iter().map(String::as_str).collect::<BTreeSet<_>>();
            let asked = Touched {
                people: all.clone(),
                everything_of: all,
                refs: keys.iter().collect(),
                everything_to: keys.iter().collect(),
                ..Touched::default()
            };
            let rows = start.rows(&Touched::by_all(deltas).and(asked), Some(&key));
            rows.after(deltas, &key).unwrap()
        };
        let whole = after(&deltas, Some(&who));
        let about = |who: Option<&String>| -> Vec<Delta> {
            deltas.iter().map(|delta| delta.about(who.map(String::as_str))).collect()
        };
        let part = after(&about(Some(&who)), Some(&who));
        let leads = |rows: &MirrorRows| -> Vec<(RefId, BTreeSet<RefId>, Option<RefId>)> {
            let rows = rows.refs.iter().filter(|(id, _)| keys.contains(id));
            rows.map(|(id, it)| (id.clone(), it.implies.clone(), it.parent.clone())).collect()
        };
        let entry = |rows: &MirrorRows| {
            let mut entry = rows.people.get(&who).cloned();
            entry.iter_mut().for_each(|entry| entry.within.retain(|id| keys.contains(id)));
            entry
        };
        prop_assert_eq!(leads(&part), leads(&whole));
        prop_assert_eq!(entry(&part), entry(&whole));
        prop_assert_eq!(leads(&after(&about(None), None)), leads(&whole));
    }

    /// A read that began before some deltas were told: of what they speak their word counts, of the
    /// rest the read's, which may be younger.
    #[test]
    fn a_read_takes_over_what_was_told_meanwhile(
        first in steps(), told in steps(), read in steps(),
    ) {
        let mut model = Model::default();
        for step in &first {
            said(step, &mut model);
        }
        let start = Mirror::default().apply_snapshot(model.snapshot(true)).mirror;
        let mut read_model = model.clone();
        let deltas: Vec<Delta> = told
            .iter()
            .filter_map(|step| match said(step, &mut model)? {
                Said::Delta(delta) => Some(delta),
                Said::Snapshot(_) => None,
            })
            .collect();
        for step in &read {
            said(step, &mut read_model);
        }
        let key = DigestKey::default();
        let told = start.apply_deltas(&deltas).unwrap().mirror;
        let (touched, named) = (Touched::by_all(&deltas), DeltaScope::by_all(&deltas));
        let read = Mirror::default().apply_snapshot(read_model.snapshot(true)).mirror;
        let was = facts(&read.directory);
        let rows = told.rows(&touched, Some(&key));
        let both = facts(&read.with_rows_of(&rows, &deltas).unwrap().directory);
        let said = facts(&told.directory);
        let person = |ext: &String| named.names(&RowId::Person(ext.clone()));
        let reference = |key: &String| named.names(&RowId::Ref(group(key)));
        let pair = |(key, ext): &(String, String)| {
            named.names(&RowId::Member(group(key), ext.clone()))
        };
        let of = |a: &BTreeSet<String>, b: &BTreeSet<String>, by: &dyn Fn(&String) -> bool| {
            let told = a.iter().filter(|it| by(it));
            told.chain(b.iter().filter(|it| !by(it))).cloned().collect::<BTreeSet<String>>()
        };
        prop_assert_eq!(&both.0, &of(&said.0, &was.0, &person));
        prop_assert_eq!(&both.1, &of(&said.1, &was.1, &reference));
        let pairs = said.2.iter().filter(|it| pair(it));
        let pairs: BTreeSet<(String, String)> = pairs
            .chain(was.2.iter().filter(|it| !pair(it)))
            .filter(|(key, ext)| both.1.contains(key) && both.0.contains(ext))
            .cloned()
            .collect();
        prop_assert_eq!(both.2, pairs);
    }

    /// What differs between two directories is what the sets of their facts differ by.
    #[test]
    fn differences_are_those_of_the_facts(first in steps(), then in steps()) {
        let mut model = Model::default();
        first.iter().for_each(|step| drop(said(step, &mut model)));
        let (was, old) = (model.snapshot(true).directory, model.clone());
        then.iter().for_each(|step| drop(said(step, &mut model)));
        let is = model.snapshot(true).directory;
        let mut expected = BTreeMap::new();
        let row = |ext: &String| RowId::Person(ext.clone());
        for ext in old.people.keys().chain(model.people.keys()) {
            match (old.people.get(ext), model.people.get(ext)) {
                (None, _) => expected.insert(row(ext), Difference::Came),
                (_, None) => expected.insert(row(ext), Difference::Went),
                (was, is) if was != is => expected.insert(row(ext), Difference::Changed),
                _ => None,
            };
        }
        let row = |key: &String| RowId::Ref(group(key));
        for key in old.groups.keys().chain(model.groups.keys()) {
            match (old.groups.get(key), model.groups.get(key)) {
                (None, _) => expected.insert(row(key), Difference::Came),
                (_, None) => expected.insert(row(key), Difference::Went),
                (was, is) if was != is => expected.insert(row(key), Difference::Changed),
                _ => None,
            };
        }
        let row = |(key, ext): &(String, String)| RowId::Member(group(key), ext.clone());
        let members = old.members.difference(&model.members).map(row);
        expected.extend(members.map(|row| (row, Difference::Went)));
        let members = model.members.difference(&old.members).map(row);
        expected.extend(members.map(|row| (row, Difference::Came)));
        prop_assert_eq!(was.differences(&is), expected);
        prop_assert!(is.differences(&is).is_empty());
    }

    /// A delta takes away only what it says outright.
    #[test]
    fn what_a_delta_does_not_name_stays(first in steps(), last in steps()) {
        let mut model = Model::default();
        let mut mirror = Mirror::default().apply_snapshot(model.snapshot(true)).mirror;
        for step in first.iter().chain(&last) {
            let before = facts(&mirror.directory);
            let Some(Said::Delta(delta)) = said(step, &mut model) else { continue };
            mirror = mirror.apply_delta(&delta).unwrap().mirror;
            let after = facts(&mirror.directory);
            for ext in before.0.difference(&after.0) {
                prop_assert!(delta.gone_people.contains(ext));
            }
            for key in before.1.difference(&after.1) {
                prop_assert!(delta.gone_refs.contains(&group(key)));
            }
            for (key, ext) in before.2.difference(&after.2) {
                let by_ref = delta.refs.iter().filter(|it| it.id == group(key)).any(|it| {
                    match &it.members {
                        ListChange::Whole(list) => !list.contains(ext),
                        ListChange::Changed { removed, .. } => removed.contains(ext),
                        ListChange::Kept => false,
                    }
                });
                let by_person = delta.people.iter().filter(|it| it.ext == *ext).any(|it| {
                    matches!(&it.within, ListChange::Whole(list) if !list.contains(&group(key)))
                });
                let gone = delta.gone_people.contains(ext) || delta.gone_refs.contains(&group(key));
                prop_assert!(by_ref || by_person || gone, "{} left {}", ext, key);
            }
        }
    }
}

fn small() -> Mirror {
    let mut model = Model::default();
    model.people.insert("u1".to_owned(), ("ann".to_owned(), true));
    model.groups.insert("g1".to_owned(), None);
    model.members.insert(("g1".to_owned(), "u1".to_owned()));
    Mirror::default().apply_snapshot(model.snapshot(true)).mirror
}

fn refused(mirror: Mirror, delta: &Delta) -> Refusal {
    mirror.apply_delta(delta).unwrap_err()
}

#[test]
fn a_delta_fits_one_cursor_only() {
    let (a, b) = (Cursor::new("a"), Cursor::new("b"));
    let delta = Delta { step: Some(Step { from: a.clone(), to: b.clone() }), ..Delta::default() };
    assert_eq!(refused(small(), &delta), Refusal::Cursor { from: a.clone(), at: None });
    let at = |cursor: &Cursor| Mirror { cursor: Some(cursor.clone()), ..small() };
    let moved = at(&a).apply_delta(&delta).unwrap().mirror;
    assert_eq!(moved.cursor, Some(b.clone()));
    assert_eq!(refused(moved, &delta), Refusal::Cursor { from: a, at: Some(b.clone()) });
    // Somebody was looked up: the feed goes on from where it was.
    assert_eq!(at(&b).apply_delta(&Delta::default()).unwrap().mirror.cursor, Some(b));
}

#[test]
fn a_full_read_sets_or_clears_the_cursor_and_a_partial_one_clears_it() {
    let cursor = Some(Cursor::new("a"));
    let read = |complete, cursor: Option<Cursor>| {
        let model =
            Model { people: [("u1".into(), ("ann".into(), true))].into(), ..Model::default() };
        Snapshot { cursor, ..model.snapshot(complete) }
    };
    let mirror = small().apply_snapshot(read(true, cursor.clone())).mirror;
    assert_eq!(mirror.cursor, cursor);
    assert_eq!(mirror.apply_snapshot(read(true, None)).mirror.cursor, None);
    assert_eq!(mirror.apply_snapshot(read(false, cursor)).mirror.cursor, None);
}

#[test]
fn a_delta_that_names_what_nobody_knows_is_refused() {
    let members = |members| Delta {
        refs: vec![RefDelta { members, ..RefDelta::new(group("g1")) }],
        ..Delta::default()
    };
    let unknown = || vec!["u2".to_owned()];
    for list in [
        ListChange::Whole(unknown()),
        ListChange::Changed { added: unknown(), removed: Vec::new() },
    ] {
        assert_eq!(refused(small(), &members(list)), Refusal::UnknownPerson("u2".to_owned()));
    }
    // Whom nobody knows is in nothing: to say so is no mistake.
    let removed = ListChange::Changed { added: Vec::new(), removed: unknown() };
    assert_eq!(
        small().apply_delta(&members(removed)).unwrap().mirror.directory.digest(),
        small().directory.digest()
    );
    let within = ListChange::Whole(vec![group("g2")]);
    let person = PersonDelta { ext: "u1".to_owned(), within, ..PersonDelta::default() };
    let delta = Delta { people: vec![person], ..Delta::default() };
    assert_eq!(refused(small(), &delta), Refusal::UnknownRef(group("g2")));
    let parent = Some(Some(group("g2")));
    let below = RefDelta { parent, ..RefDelta::new(group("g1")) };
    let delta = Delta { refs: vec![below], ..Delta::default() };
    assert_eq!(refused(small(), &delta), Refusal::UnknownRef(group("g2")));
}

#[test]
fn a_delta_that_says_too_little_or_two_things_is_refused() {
    let person = |ext: &str| PersonDelta { ext: ext.to_owned(), ..PersonDelta::default() };
    let delta = Delta { people: vec![person("u2")], ..Delta::default() };
    assert_eq!(refused(small(), &delta), Refusal::IncompletePerson("u2".to_owned()));
    let delta = Delta { refs: vec![RefDelta::new(group("g2"))], ..Delta::default() };
    assert_eq!(refused(small(), &delta), Refusal::IncompleteRef(group("g2")));
    let gone_people = vec!["u1".to_owned()];
    let delta = Delta { people: vec![person("u1")], gone_people, ..Delta::default() };
    assert_eq!(refused(small(), &delta), Refusal::PersonTwice("u1".to_owned()));
    let gone_refs = vec![group("g1"), group("g1")];
    let delta = Delta { gone_refs, ..Delta::default() };
    assert_eq!(refused(small(), &delta), Refusal::RefTwice(group("g1")));
    let within = ListChange::Whole(Vec::new());
    let delta = Delta {
        people: vec![PersonDelta { within, ..person("u1") }],
        refs: vec![RefDelta {
            members: ListChange::Whole(vec!["u1".to_owned()]),
            ..RefDelta::new(group("g1"))
        }],
        ..Delta::default()
    };
    let (reference, person) = (group("g1"), "u1".to_owned());
    assert_eq!(refused(small(), &delta), Refusal::Contradiction { reference, person });
}

#[test]
fn whether_somebody_is_enabled_is_never_guessed() {
    let person = |ext: &str| PersonDelta {
        ext: ext.to_owned(),
        username: Some("x".to_owned()),
        enabled: Some(Enabled::Unknown),
        ..PersonDelta::default()
    };
    let mirror = Mirror { cursor: Some(Cursor::new("a")), ..small() };
    let step = Some(Step { from: Cursor::new("a"), to: Cursor::new("b") });
    let members = ListChange::Whole(vec!["u1".to_owned(), "u2".to_owned()]);
    let delta = Delta {
        step,
        people: vec![person("u1"), person("u2")],
        refs: vec![RefDelta { members, ..RefDelta::new(group("g1")) }],
        ..Delta::default()
    };
    let applied = mirror.apply_delta(&delta).unwrap();
    assert_eq!(applied.undecided, 1);
    let directory = applied.mirror.directory;
    assert_eq!(directory.users.len(), 1);
    assert_eq!(directory.users[0].enabled, Enabled::Yes);
    assert_eq!(directory.members[..], [[DirUserIdx::new(0)]]);
}
