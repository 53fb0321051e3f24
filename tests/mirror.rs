//! Mirrors in the store: patched row by row they are what they would be written anew.

#![cfg(test)]

#[expect(dead_code, reason = "the tests of the store need more of it")]
mod store_support;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use idpsyncd::directory::{
    Cursor, Delta, DirUserIdx, Directory, Enabled, Kind, ListChange, NewRef, NewUser, PersonDelta,
    RefDelta, RefId, Refusal, Sighting, SnapshotBuilder, Step, Within,
};
use idpsyncd::store::{Commit, CommitError, MirrorPatch, MirrorUpdate, SourceUpdate};
use proptest::prelude::*;
use store_support::door::{Reader, Writer};
use store_support::{World, at, plan};
use tempfile::TempDir;

const SOURCE: &str = "corp";

/// What a source holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Facts {
    people: BTreeMap<String, (String, bool)>,
    groups: BTreeMap<String, Option<String>>,
    members: BTreeSet<(String, String)>,
}

impl Facts {
    fn random(random: &mut fastrand::Rng) -> Facts {
        let mut facts = Facts::default();
        for n in 0..8 {
            if random.bool() {
                facts
                    .people
                    .insert(format!("u{n}"), (format!("n{}", random.u8(0..9)), random.bool()));
            }
            if random.bool() {
                facts.groups.insert(format!("g{n}"), None);
            }
        }
        let keys: Vec<String> = facts.groups.keys().cloned().collect();
        for (at, key) in keys.iter().enumerate() {
            if at > 0 && random.bool() {
                let parent = keys[random.usize(0..at)].clone();
                facts.groups.insert(key.clone(), Some(parent));
            }
            let some = facts.people.keys().filter(|_| random.u8(0..3) == 0);
            facts.members.extend(some.map(|ext| (key.clone(), ext.clone())));
        }
        facts
    }

    fn directory(&self) -> Directory {
        let mut builder = SnapshotBuilder::new(false);
        for (ext, (username, enabled)) in &self.people {
            builder
                .user(&NewUser {
                    ext,
                    username,
                    email: "",
                    email_verified: false,
                    enabled: yes(*enabled),
                    federation: "",
                })
                .unwrap();
        }
        for key in self.groups.keys() {
            let kind = Kind::Group;
            builder.reference(&NewRef { kind, key, name: key, identity: key, norm: key }).unwrap();
        }
        let of = |builder: &SnapshotBuilder, key: &str| builder.find_ref(Kind::Group, key).unwrap();
        for (key, parent) in &self.groups {
            if let Some(parent) = parent {
                let (parent, child) = (of(&builder, parent), of(&builder, key));
                builder.child(parent, child);
            }
        }
        for (key, ext) in &self.members {
            let (key, ext) = (of(&builder, key), builder.find_user(ext).unwrap());
            builder.member(key, ext);
        }
        builder.finish().directory
    }

    /// A delta from this to `next`, told from the people's or from the groups' side.
    fn delta(&self, next: &Facts, random: &mut fastrand::Rng) -> Delta {
        let mut delta = Delta::default();
        let gone = |ext: &&String| !next.people.contains_key(*ext);
        delta.gone_people = self.people.keys().filter(gone).cloned().collect();
        let gone = |key: &&String| !next.groups.contains_key(*key);
        delta.gone_refs = self.groups.keys().filter(gone).map(|key| group(key)).collect();
        let of_people = random.bool();
        for (ext, (username, enabled)) in &next.people {
            let list = |facts: &Facts| -> BTreeSet<String> {
                let of = facts.members.iter().filter(|(_, member)| member == ext);
                of.map(|(key, _)| key.clone()).collect()
            };
            let within = if of_people {
                ListChange::Whole(list(next).iter().map(|key| group(key)).collect())
            } else {
                ListChange::Kept
            };
            if self.people.get(ext) == next.people.get(ext) && list(self) == list(next) {
                continue;
            }
            delta.people.push(PersonDelta {
                ext: ext.clone(),
                username: Some(username.clone()),
                enabled: Some(yes(*enabled)),
                within,
                ..PersonDelta::default()
            });
        }
        for (key, parent) in &next.groups {
            let list = |facts: &Facts| -> BTreeSet<String> {
                let of = facts.members.iter().filter(|(of, _)| of == key);
                of.map(|(_, ext)| ext.clone()).collect()
            };
            let (before, after) = (list(self), list(next));
            let is_new = !self.groups.contains_key(key);
            let members = if of_people {
                ListChange::Kept
            } else if is_new || random.bool() {
                ListChange::Whole(after.into_iter().collect())
            } else {
                ListChange::Changed {
                    added: after.difference(&before).cloned().collect(),
                    removed: before.difference(&after).cloned().collect(),
                }
            };
            // A group of which the members were never told is not known: these tests know all.
            let members = match members {
                ListChange::Kept if is_new => ListChange::Whole(after_of(next, key)),
                members => members,
            };
            delta.refs.push(RefDelta {
                name: Some(key.clone()),
                identity: Some(key.clone()),
                norm: Some(key.clone()),
                parent: Some(parent.as_deref().map(group)),
                implies: ListChange::Whole(Vec::new()),
                members,
                ..RefDelta::new(group(key))
            });
        }
        delta
    }
}

fn after_of(facts: &Facts, key: &str) -> Vec<String> {
    facts.members.iter().filter(|(of, _)| of == key).map(|(_, ext)| ext.clone()).collect()
}

fn yes(enabled: bool) -> Enabled {
    if enabled { Enabled::Yes } else { Enabled::No }
}

fn group(key: &str) -> RefId {
    RefId { kind: Kind::Group, key: key.to_owned() }
}

struct Home {
    _folder: TempDir,
    writer: Writer,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::open(&folder.path().join("store.db")).unwrap();
        Home { _folder: folder, writer }
    }

    fn reader(&self) -> Reader {
        self.writer.reader().unwrap()
    }

    fn commit(
        &mut self,
        sources: &[SourceUpdate<'_>],
        patches: &[MirrorPatch<'_>],
    ) -> Result<(), CommitError> {
        let plan = plan(&World::default(), &World::default(), at(0));
        let base_version = self.reader().meta().unwrap().version;
        let configured = [SOURCE.to_owned()];
        let settled = None;
        let commit =
            Commit { plan: &plan, base_version, sources, configured: &configured, settled };
        self.writer.commit_patches(&commit, patches).map(drop)
    }

    fn read(&mut self, directory: &Directory, cursor: Option<&Cursor>) {
        let reader = self.reader();
        let old = reader.mirror(SOURCE).unwrap();
        let digest = directory.digests(&reader.digest_key().unwrap());
        let update = SourceUpdate {
            source: SOURCE,
            kind: "ldap",
            tried_at: at(0),
            complete: true,
            error: None,
            scopes: Vec::new(),
            cursor,
            mirror: Some(MirrorUpdate { old: old.as_ref(), directory, digest: &digest }),
        };
        self.commit(&[update], &[]).unwrap();
    }

    /// Applies `delta` and says how many rows were loaded and written for it.
    fn patch(&mut self, delta: &Delta) -> Result<(usize, usize), Refusal> {
        let (rows, key) = self.reader().mirror_rows(SOURCE, &delta.touched()).unwrap().unwrap();
        let patch = rows.apply(delta, &key)?;
        self.commit(&[], &[MirrorPatch { source: SOURCE, patch: &patch }]).unwrap();
        Ok((rows.count(), patch.count()))
    }

    /// The stored mirror, after looking whether its digest and both sides of who is in what are
    /// what its facts say.
    fn sound(&self) -> Directory {
        let reader = self.reader();
        let stored = reader.mirror(SOURCE).unwrap().unwrap();
        let directory = stored.mirror.directory;
        let digests = directory.digests(&reader.digest_key().unwrap());
        assert_eq!(stored.digest, digests.whole.to_string());
        let id = |place: u32| group(directory.text(directory.refs[place as usize].key));
        let all = Delta {
            gone_people: directory
                .users
                .iter()
                .map(|it| directory.text(it.ext).to_owned())
                .collect(),
            gone_refs: (0..directory.refs.len() as u32).map(id).collect(),
            ..Delta::default()
        };
        let (rows, _) = reader.mirror_rows(SOURCE, &all.touched()).unwrap().unwrap();
        for (place, members) in directory.members.iter().enumerate() {
            let id = id(place as u32);
            assert_eq!(rows.refs[&id].members, digests.members[place]);
            for (user, person) in all.gone_people.iter().enumerate() {
                let is_in = members.contains(&DirUserIdx::new(user as u32));
                assert_eq!(rows.people[person].within.contains(&id), is_in, "{person} in {id:?}");
            }
        }
        directory
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_way_to_a_stored_mirror_leaves_no_trace(seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut home = Home::new();
        let mut facts = Facts::random(&mut random);
        home.read(&facts.directory(), None);
        for _ in 0..6 {
            let next = Facts::random(&mut random);
            if random.u8(0..4) == 0 {
                home.read(&next.directory(), None);
            } else {
                home.patch(&facts.delta(&next, &mut random)).unwrap();
            }
            prop_assert_eq!(home.sound().digest(), next.directory().digest());
            facts = next;
        }
    }
}

fn company() -> Facts {
    let mut facts = Facts::default();
    for n in 0..500 {
        facts.people.insert(format!("u{n:03}"), (format!("n{n}"), true));
        facts.members.insert(("g0".to_owned(), format!("u{n:03}")));
        facts.members.insert((format!("g{}", n % 7), format!("u{n:03}")));
    }
    facts.groups = (0..50).map(|n| (format!("g{n}"), None)).collect();
    facts
}

#[test]
fn a_delta_of_one_person_costs_that_persons_rows() {
    let mut home = Home::new();
    let mut facts = company();
    home.read(&facts.directory(), None);
    // Disabled: the person's row.
    let off = PersonDelta {
        ext: "u003".to_owned(),
        enabled: Some(Enabled::No),
        ..PersonDelta::default()
    };
    let step = |people| Delta { people, ..Delta::default() };
    home.read(&facts.directory(), Some(&Cursor::new("a")));
    let feed = |delta: Delta, from: &str, to: &str| Delta {
        step: Some(Step { from: Cursor::new(from), to: Cursor::new(to) }),
        ..delta
    };
    assert_eq!(home.patch(&feed(step(vec![off]), "a", "b")).unwrap(), (1, 1));
    facts.people.insert("u003".to_owned(), ("n3".to_owned(), false));
    assert_eq!(home.sound().digest(), facts.directory().digest());
    // Out of one group and into another: the person's row and theirs.
    let moved = PersonDelta {
        ext: "u003".to_owned(),
        within: ListChange::Changed { added: vec![group("g9")], removed: vec![group("g3")] },
        ..PersonDelta::default()
    };
    assert_eq!(home.patch(&feed(step(vec![moved]), "b", "c")).unwrap(), (3, 3));
    // Deleted: as many again as the person was in.
    let gone = Delta { gone_people: vec!["u003".to_owned()], ..Delta::default() };
    assert_eq!(home.patch(&feed(gone, "c", "d")).unwrap(), (3, 3));
    let stored = home.reader().mirror(SOURCE).unwrap().unwrap();
    assert_eq!(stored.mirror.cursor, Some(Cursor::new("d")));
    assert_eq!(home.sound().users.len(), 499);
}

#[test]
fn a_patch_is_written_to_the_mirror_that_it_was_made_for_and_to_no_other() {
    let mut home = Home::new();
    home.read(&company().directory(), None);
    let delta = Delta { gone_people: vec!["u003".to_owned()], ..Delta::default() };
    let (rows, key) = home.reader().mirror_rows(SOURCE, &delta.touched()).unwrap().unwrap();
    let patch = rows.apply(&delta, &key).unwrap();
    let other = Delta { gone_people: vec!["u004".to_owned()], ..Delta::default() };
    home.patch(&other).unwrap();
    let late = home.commit(&[], &[MirrorPatch { source: SOURCE, patch: &patch }]);
    assert!(matches!(late, Err(CommitError::Raced)), "{late:?}");
    assert_eq!(home.sound().users.len(), 499);
}

#[test]
fn the_cursor_goes_with_the_rows_and_a_full_read_sets_or_clears_it() {
    let mut home = Home::new();
    let directory = company().directory();
    let cursor = Cursor::new("cookie");
    let stored = |home: &Home| home.reader().mirror(SOURCE).unwrap().unwrap().mirror.cursor;
    home.read(&directory, Some(&cursor));
    assert_eq!(stored(&home), Some(cursor.clone()));
    let foreign = Step { from: Cursor::new("other"), to: Cursor::new("next") };
    let delta = Delta { step: Some(foreign), ..Delta::default() };
    assert!(matches!(home.patch(&delta), Err(Refusal::Cursor { .. })));
    assert_eq!(stored(&home), Some(cursor.clone()), "what was refused changed nothing");
    let look_up = Delta { gone_people: vec!["u003".to_owned()], ..Delta::default() };
    home.patch(&look_up).unwrap();
    assert_eq!(stored(&home), Some(cursor), "a look-up is no part of the feed");
    home.read(&directory, None);
    assert_eq!(stored(&home), None);
}

#[test]
fn who_was_looked_up_counts_as_having_come_now() {
    let mut home = Home::new();
    let directory = company().directory();
    home.read(&directory, None);
    let marks = home.reader().marks().unwrap();
    let within = ["g1", "g9", "unheard-of"].map(|key| Within {
        kind: Kind::Group,
        key: key.to_owned(),
        name: None,
    });
    let person = Sighting {
        ext: "u003".to_owned(),
        username: "ann".to_owned(),
        email: String::new(),
        email_verified: false,
        enabled: Enabled::Yes,
        federation: String::new(),
        sid: None,
        within: within.to_vec(),
    };
    home.patch(&Delta::of_person(&directory, &person)).unwrap();
    let after = home.sound();
    assert_eq!(after.users.len(), 500);
    let came = home.reader().added_since(SOURCE, &marks).unwrap();
    assert_eq!(came, [Sighting { within: within[..2].to_vec(), ..person }]);
}
