//! Against whole runs: sources, modes, guard, expiry and all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::store_support::door::Reader;
use idpsyncd::config::{self, Config};
use idpsyncd::model::{Deed, GrantKind, LocalGrant, Time, parse_rfc3339};
use idpsyncd::plan::ByHand;
use idpsyncd::store::open;
use idpsyncd::sync::{self, ManualError, UserWish};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const MODES: [&str; 4] = ["force", "import", "merge", "ignore"];

#[derive(Clone)]
struct Someone {
    id: u32,
    name: String,
    enabled: bool,
    groups: BTreeSet<usize>,
}

/// A company whose sources and configuration change at random.
struct Company {
    folder: tempfile::TempDir,
    random: fastrand::Rng,
    now: Time,
    /// By group `g0`… a role `r0`…: mode and whether everyone has it; absent: not configured.
    roles: [Option<(usize, bool)>; 4],
    people: Vec<Someone>,
    /// Who has left, and may return.
    gone: Vec<Someone>,
    next: u32,
    runtime: tokio::runtime::Runtime,
}

impl Company {
    fn new(seed: u64) -> Company {
        let mut random = fastrand::Rng::with_seed(seed);
        let roles = std::array::from_fn(|_| Some((random.usize(0..4), random.u8(0..8) == 0)));
        let mut company = Company {
            folder: tempfile::tempdir().unwrap(),
            random,
            now: parse_rfc3339("2026-11-23T12:00:00Z").unwrap(),
            roles,
            people: Vec::new(),
            gone: Vec::new(),
            next: 0,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
        };
        (0..5).for_each(|_| company.hire());
        company
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn hire(&mut self) {
        // A name may be another's whom nobody has any more.
        let name = format!("u{}", self.random.u32(0..9));
        if self.people.iter().any(|other| other.name == name) {
            return;
        }
        let groups = (0..4).filter(|_| self.random.bool()).collect();
        self.people.push(Someone { id: self.next, name, enabled: true, groups });
        self.next += 1;
    }

    /// Something happens in the source or to the configuration.
    fn happen(&mut self) {
        let somebody = self.random.usize(0..self.people.len().max(1));
        let group = self.random.usize(0..4);
        match self.random.u8(0..10) {
            0 if self.random.bool() && !self.gone.is_empty() => {
                let back = self.gone.remove(0);
                if !self.people.iter().any(|other| other.name == back.name) {
                    self.people.push(back);
                }
            }
            0 => self.hire(),
            1 if self.people.len() > 1 => self.gone.push(self.people.remove(somebody)),
            2 => {
                let mode = self.random.usize(0..4);
                let everyone = self.random.u8(0..4) == 0;
                let stays = self.random.u8(0..4) > 0;
                self.roles[group] = stays.then_some((mode, everyone));
            }
            3 => {
                let name = format!("n{}", self.random.u32(0..9));
                if !self.people.iter().any(|other| other.name == name)
                    && let Some(person) = self.people.get_mut(somebody)
                {
                    person.name = name;
                }
            }
            4 | 5 => {
                if let Some(person) = self.people.get_mut(somebody) {
                    person.enabled = !person.enabled;
                }
            }
            _ => {
                if let Some(person) = self.people.get_mut(somebody)
                    && !person.groups.remove(&group)
                {
                    person.groups.insert(group);
                }
            }
        }
    }

    fn config(&self) -> Config {
        let mut toml = "[store]\npath = \"store.db\"\n\
                        [sync]\non_missing = { after = \"30m\" }\n\
                        [guard]\nmax_lost_percent = 1\nmax_lost_floor = 2\n\
                        max_disabled_percent = 1\n\
                        [[source]]\nname = \"corp\"\nkind = \"file\"\nrealm_export = \"realm.json\"\n"
            .to_owned();
        for (number, role) in self.roles.iter().enumerate() {
            let Some((mode, everyone)) = role else { continue };
            let mode = MODES[*mode];
            toml.push_str(&format!("[roles.r{number}]\nsync_mode = \"{mode}\"\n"));
            match everyone {
                true => toml.push_str("everyone = true\n"),
                false => toml.push_str(&format!("external_roles = [\"g{number}\"]\n")),
            }
        }
        std::fs::write(self.file("idpsyncd.toml"), toml).unwrap();
        config::load(&self.file("idpsyncd.toml"), &idpsyncd::source::kinds())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    fn sync(&mut self) {
        let groups: Vec<_> = (0..4)
            .map(|g| json!({"id": format!("g{g}"), "name": format!("g{g}"), "path": format!("/g{g}"), "subGroups": []}))
            .collect();
        let users: Vec<_> = self
            .people
            .iter()
            .map(|person| {
                let groups: Vec<_> = person.groups.iter().map(|g| format!("/g{g}")).collect();
                json!({"id": format!("id-{}", person.id), "username": person.name,
                    "enabled": person.enabled, "groups": groups})
            })
            .collect();
        let realm = json!({"realm": "r", "roles": {"realm": []}, "groups": groups, "users": users});
        std::fs::write(self.file("realm.json"), realm.to_string()).unwrap();
        let config = self.config();
        in_process::sync(&self.runtime, &config, self.now);
    }

    /// Somebody grants or removes by hand; what is refused does not matter here.
    fn by_hand(&mut self) {
        let config = self.config();
        let (user, role) = (self.random.usize(0..9), self.random.u32(0..4));
        let add = self.random.bool();
        let minutes = self.random.i64(1..40);
        let until = self.random.bool().then(|| self.now + chrono::Duration::minutes(minutes));
        let reason = format!("ticket {minutes}");
        let grant = LocalGrant { by: "ops".into(), at: self.now, reason, until };
        let _refused = sync::by_hand(&config, &*open(&config.store), self.now, None, |state| {
            if state.users.is_empty() || state.roles.is_empty() {
                return Err(ManualError::UnknownUser { name: "nobody".to_owned() });
            }
            let user = state.users[user % state.users.len()].id;
            let role = RoleIdx::new(role % state.roles.len() as u32);
            Ok(match add {
                true => ByHand::Add { user, role, grant: grant.clone() },
                false => ByHand::Remove { user, role, imported: None, by: "ops".into() },
            })
        });
    }

    /// Somebody who needs no source is added, disabled, enabled or removed.
    fn by_name(&mut self) {
        let config = self.config();
        let name = format!("l{}", self.random.u8(0..3));
        let wish = match self.random.u8(0..6) {
            0 => UserWish::Disable,
            1 => UserWish::Enable,
            2 => UserWish::Remove,
            _ => UserWish::Add { email: String::new(), service: self.random.bool() },
        };
        let deed = Deed { by: "ops".into(), reason: "because".to_owned() };
        let _refused =
            sync::change_user(&config, &*open(&config.store), &name, &wish, &deed, self.now);
    }

    fn approve(&mut self) {
        let config = self.config();
        if let Some(held) = self.reader().held_head().unwrap() {
            let _refused =
                sync::approve(&config, &*open(&config.store), &held.id, "test", self.now);
        }
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.file("store.db")).unwrap().unwrap()
    }

    /// Why everyone holds what they hold, as the state has it.
    fn why(&self) -> BTreeMap<(UserId, String), Why> {
        let state = self.reader().state().unwrap();
        let mut why = BTreeMap::new();
        for user in &state.users {
            for (number, role) in state.roles.numbered() {
                let mut one = Why { everyone: role.everyone, idp: None, local: None };
                let mine =
                    |grant: &&idpsyncd::model::Grant| grant.user == user.id && grant.role == number;
                for grant in state.grants.iter().filter(mine) {
                    match grant.kind {
                        GrantKind::Idp(set) => {
                            let ways = idpsyncd::plan::sorted(state.reasons.of_set(set).unwrap());
                            let ways: Vec<_> =
                                ways.into_iter().map(idpsyncd::plan::reason).collect();
                            one.idp = Some(ways.join("; "));
                        }
                        GrantKind::Local(local) => {
                            one.local = Some(state.local(local).unwrap().clone());
                        }
                    }
                }
                why.insert((user.id, role.name.clone()), one);
            }
        }
        why
    }

    /// Who is called what, of those who count.
    fn numbers(&self) -> BTreeMap<String, UserId> {
        let mut numbers = BTreeMap::new();
        let mut each = |row: idpsyncd::store::UserRow| {
            // Those who are not deprovisioned come first.
            numbers.entry(row.username).or_insert(row.id);
        };
        self.reader().users(&mut each).unwrap();
        numbers
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10) })]

    #[test]
    fn after_random_runs_the_report_as_of_each_generation_is_what_the_views_were(seed in any::<u64>()) {
        let mut company = Company::new(seed);
        company.sync();
        let mut then: BTreeMap<u64, (BTreeSet<(String, String)>, Held)> = BTreeMap::new();
        let mut last = Held::new();
        for _ in 0..16 {
            let generation = company.reader().meta().unwrap().generation;
            if generation > 0 && !then.contains_key(&generation) {
                let seen = view(&company.file("store.db"));
                let (numbers, mut why) = (company.numbers(), company.why());
                last = seen.iter().map(|(user, role)| {
                    let key = (numbers[user], role.clone());
                    let since = last.get(&key).map_or(generation, |(since, _)| *since);
                    let why = why.remove(&key).unwrap();
                    (key, (since, why))
                }).collect();
                then.insert(generation, (seen, last.clone()));
            }
            let minutes = company.random.i64(1..25);
            company.now += chrono::Duration::minutes(minutes);
            match company.random.u8(0..8) {
                0 | 1 => company.by_hand(),
                2 => company.approve(),
                3 | 4 => company.by_name(),
                _ => {
                    (0..company.random.usize(0..5)).for_each(|_| company.happen());
                    company.sync();
                }
            }
        }
        let reader = company.reader();
        for (generation, (seen, held_then)) in &then {
            let rows = all(&reader, *generation);
            prop_assert_eq!(pairs(&rows), seen.iter().cloned().collect::<Vec<_>>(), "generation {}", generation);
            prop_assert_eq!(&held(&rows), held_then, "generation {}", generation);
        }
        if let (Some(from), Some(to)) = (then.keys().next(), then.keys().last()) {
            differ_as_told(&reader, *from, *to);
        }
    }
}
