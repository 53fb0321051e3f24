//! Whatever feeds tell: planned for those whom it concerns, or for everybody, the store is the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::test_runner::TestRunner;

use super::ingest::{NAMES, by_hand, dump, group_id, identity, role_of, step, with_both};
use super::*;
use crate::directory::{Delta, Enabled, ListChange, PersonDelta, RefDelta, RefId, dn};
use crate::sync::ingest::{Way, ingest_by};

/// The sources that are followed, and whether their names are folded.
const FED: [(&str, bool); 2] = [("kc", false), ("dir", true)];

/// One thing that a feed may tell, in numbers of people and groups.
#[derive(Clone, Debug)]
enum Tells {
    Person {
        at: u8,
        name: u8,
        enabled: bool,
        within: Option<BTreeSet<u8>>,
    },
    Moved {
        group: u8,
        added: BTreeSet<u8>,
        removed: BTreeSet<u8>,
    },
    Gone {
        at: u8,
    },
    /// Made, where it is not there.
    Renamed {
        group: u8,
        name: u8,
    },
    /// Deleted.
    Ended {
        group: u8,
    },
    Nested {
        group: u8,
        parent: Option<u8>,
    },
    Leads {
        group: u8,
        to: BTreeSet<u8>,
    },
    Role {
        name: u8,
        members: BTreeSet<u8>,
    },
}

/// What groups there are: each thing with the place of its source in [`FED`].
fn shape() -> impl Strategy<Value = Vec<(usize, Tells)>> {
    let to = prop::collection::btree_set(0u8..8, 1..3);
    let one = prop_oneof![
        2 => (0u8..8, 0u8..6).prop_map(|(group, name)| Tells::Renamed { group, name }),
        1 => (0u8..8, (0u8..8).prop_map(Some))
            .prop_map(|(group, parent)| Tells::Nested { group, parent }),
        2 => (0u8..8, to).prop_map(|(group, to)| Tells::Leads { group, to }),
    ];
    prop::collection::vec((0..FED.len(), one), 0..12)
}

/// Bursts of what the feeds tell together, likewise.
fn tells() -> impl Strategy<Value = Vec<Vec<(usize, Tells)>>> {
    let some = || prop::collection::btree_set(0u8..12, 0..4);
    let in_groups = || prop::collection::btree_set(0u8..8, 0..3);
    let groups = || prop::option::of(in_groups());
    let one = prop_oneof![
        12 => (0u8..14, 0u8..16, prop::bool::weighted(0.8), groups())
            .prop_map(|(at, name, enabled, within)| Tells::Person { at, name, enabled, within }),
        12 => (0u8..8, some(), some())
            .prop_map(|(group, added, removed)| Tells::Moved { group, added, removed }),
        4 => (0u8..14).prop_map(|at| Tells::Gone { at }),
        3 => (0u8..8, 0u8..6).prop_map(|(group, name)| Tells::Renamed { group, name }),
        1 => (0u8..8).prop_map(|group| Tells::Ended { group }),
        2 => (0u8..8, prop::option::of(0u8..8))
            .prop_map(|(group, parent)| Tells::Nested { group, parent }),
        2 => (0u8..8, in_groups()).prop_map(|(group, to)| Tells::Leads { group, to }),
        1 => (0u8..3, some()).prop_map(|(name, members)| Tells::Role { name, members }),
    ];
    let one = (0..FED.len(), one);
    prop::collection::vec(prop::collection::vec(one, 1..4), 1..9)
}

/// What a source has, so that what it tells can be told.
struct Fed {
    folded: bool,
    people: BTreeSet<u8>,
    groups: BTreeSet<u8>,
    at: u32,
}

fn ext(at: u8) -> String {
    format!("id-{at}")
}

impl Fed {
    fn list(&self, of: &BTreeSet<u8>) -> Vec<String> {
        of.intersection(&self.people).copied().map(ext).collect()
    }

    fn groups(&self, of: &BTreeSet<u8>) -> ListChange<RefId> {
        ListChange::Whole(of.intersection(&self.groups).copied().map(group_id).collect())
    }

    /// The delta of one thing; it is empty where that cannot be told.
    fn delta(&mut self, tells: &Tells) -> Delta {
        let step = step(&self.at.to_string(), &(self.at + 1).to_string());
        let mut delta = Delta { step, ..Delta::default() };
        self.at += 1;
        match tells {
            Tells::Person { at, name, enabled, within } => {
                self.people.insert(*at);
                delta.people.push(PersonDelta {
                    ext: ext(*at),
                    username: Some(format!("Üser{name}")),
                    enabled: Some(if *enabled { Enabled::Yes } else { Enabled::No }),
                    within: within.as_ref().map_or(ListChange::Kept, |it| self.groups(it)),
                    ..PersonDelta::default()
                });
            }
            Tells::Moved { group, added, removed } if self.groups.contains(group) => {
                let removed = removed - added;
                let (added, removed) = (self.list(added), self.list(&removed));
                let members = ListChange::Changed { added, removed };
                delta.refs.push(RefDelta { members, ..RefDelta::new(group_id(*group)) });
            }
            Tells::Gone { at } => {
                self.people.remove(at);
                delta.gone_people.push(ext(*at));
            }
            Tells::Renamed { group, name } => {
                let name = NAMES[usize::from(*name)].to_owned();
                let mut identity = identity(self.folded, &name);
                // Some that are called alike are told apart by where they are.
                if group % 2 == 1 {
                    identity = if self.folded {
                        format!("{identity},ou=d{group}")
                    } else {
                        format!("/d{group}{identity}")
                    };
                }
                let new = self.groups.insert(*group);
                delta.refs.push(RefDelta {
                    norm: Some(dn::normalize(&identity).unwrap_or(identity.clone())),
                    identity: Some(identity),
                    name: Some(name),
                    members: if new { ListChange::Whole(Vec::new()) } else { ListChange::Kept },
                    implies: if new { ListChange::Whole(Vec::new()) } else { ListChange::Kept },
                    ..RefDelta::new(group_id(*group))
                });
            }
            Tells::Ended { group } if self.groups.remove(group) => {
                delta.gone_refs.push(group_id(*group));
            }
            Tells::Nested { group, parent } if self.groups.contains(group) => {
                let parent = parent.filter(|it| it != group && self.groups.contains(it));
                let parent = Some(parent.map(group_id));
                delta.refs.push(RefDelta { parent, ..RefDelta::new(group_id(*group)) });
            }
            Tells::Leads { group, to } if self.groups.contains(group) => {
                let implies = self.groups(to);
                delta.refs.push(RefDelta { implies, ..RefDelta::new(group_id(*group)) });
            }
            Tells::Role { name, members } => {
                let name = ["osmo-a", "osmo-b", "ML"][usize::from(*name)];
                delta.refs.push(role_of(name, &self.list(members)));
            }
            Tells::Moved { .. }
            | Tells::Ended { .. }
            | Tells::Nested { .. }
            | Tells::Leads { .. } => {}
        }
        delta
    }
}

/// What time alone brings about, or a name that was free a run later, is a run's to find: runs until
/// there is nothing more.
fn settle(home: &Home, at: u32, now: Time) {
    for _ in 0..4 {
        let step = step(&at.to_string(), &at.to_string());
        let nothing = vec![Delta { step, ..Delta::default() }];
        let nothing = BTreeMap::from([("kc".to_owned(), nothing)]);
        let done = ingest_by(&home.config, &*home.store, &nothing, Way::ForAll, now).unwrap().0;
        if done.generation == done.before {
            break;
        }
    }
}

#[test]
fn planned_for_some_is_planned_for_all() {
    let cases = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::with_cases(24) };
    let unread = prop::option::weighted(0.2, any::<bool>());
    let input = (shape(), tells(), 0..NAMES.len(), unread);
    let (planned_for_some, planned) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run = TestRunner::new(cases).run(&input, |(shape, told, group, unread)| {
        let (some, all) = (with_both(NAMES[group], unread), with_both(NAMES[group], unread));
        for home in [&some, &all] {
            by_hand(home, "bot");
        }
        let people: BTreeSet<u8> = (0..10).collect();
        let groups: BTreeSet<u8> = (0..5).collect();
        let mut feeds = FED.map(|(_, folded)| {
            let (people, groups) = (people.clone(), groups.clone());
            Fed { folded, people, groups, at: 0 }
        });
        let mut tell = |burst: &[(usize, Tells)]| {
            let mut told: BTreeMap<String, Vec<Delta>> = BTreeMap::new();
            for (source, it) in burst {
                let deltas = told.entry(FED[*source].0.to_owned()).or_default();
                deltas.push(feeds[*source].delta(it));
            }
            (told, feeds[0].at)
        };
        let (first, mut at) = tell(&shape);
        for home in [&some, &all] {
            ingest_by(&home.config, &*home.store, &first, Way::ForAll, now()).unwrap();
        }
        for (minutes, burst) in told.iter().enumerate() {
            let now = now() + chrono::Duration::minutes(i64::try_from(minutes).unwrap());
            for home in [&some, &all] {
                settle(home, at, now);
            }
            let told;
            (told, at) = tell(burst);
            let (_, way) = ingest_by(&some.config, &*some.store, &told, Way::ForSome, now).unwrap();
            planned.fetch_add(1, Ordering::Relaxed);
            planned_for_some.fetch_add(usize::from(way == Way::ForSome), Ordering::Relaxed);
            ingest_by(&all.config, &*all.store, &told, Way::ForAll, now).unwrap();
            prop_assert_eq!(dump(&some), dump(&all), "after {:?}", told);
        }
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    // Else next to nothing was compared.
    let [some, all] = [planned_for_some, planned].map(AtomicUsize::into_inner);
    assert!(some * 2 > all, "{some} of {all} were planned for some");
}
