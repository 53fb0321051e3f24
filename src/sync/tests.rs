//! Just in time, against the next full sync: the same facts, the same roles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::concurrent::Before;
use super::provision::{Opened, ProvisionOutcome, claims_person, lookup_person, plan_and_commit};
use super::{Options, Outcome, run};
use crate::config::{self, Config};
use crate::directory::{Interest, Snapshot};
use crate::model::caller::{Caller, KnownBy};
use crate::model::{Time, parse_rfc3339};
use crate::source::{FullRead, OnProgress, Source, SourceError, open_source};
use crate::store::{self, Reader, Store};
use futures_util::future::BoxFuture;

mod claims;
mod domains;
mod ingest;
mod naming;
mod older;
mod organizations;
mod races;
mod random_feeds;
mod standing;
mod window;

const GROUPS: [&str; 6] = ["Eng", "ML", "Ops", "Eng", "osmo-blue", "osmo-red"];
const ROLES: [&str; 6] = ["plain", "bundle", "deep", "osmo-green", "admin", "viewer"];

fn now() -> Time {
    parse_rfc3339("2026-11-23T12:00:00Z").unwrap()
}

/// A company in a folder of its own: configuration, exports, store.
struct Home {
    folder: tempfile::TempDir,
    config: Config,
    store: Arc<dyn Store>,
}

/// What makes a store for a configuration that was never used.
type Over = fn(&Config) -> Arc<dyn Store>;

fn sqlite(config: &Config) -> Arc<dyn Store> {
    store::open(&config.store)
}

fn memory(_: &Config) -> Arc<dyn Store> {
    Arc::new(store::memory::MemoryStore::default())
}

/// Makes a test of each of these for each backend: what a run does hangs on no store.
macro_rules! over_both {
    ($($test:ident)*) => { over_both!(@ ($($test)*) sqlite memory); };
    (@ $tests:tt $($backend:ident)*) => { $(over_both!(# $tests $backend);)* };
    (# ($($test:ident)*) $backend:ident) => {
        mod $backend {
            $(#[test]
            fn $test() {
                super::$test($crate::sync::tests::$backend);
            })*
        }
    };
}
use over_both;

over_both! {
    a_generation_of_its_own_says_why_and_the_next_sync_has_nothing_to_add
    a_failing_source_does_not_make_a_newcomer_missing
    who_is_no_stranger_is_left_to_the_sync
    disabled_unmapped_and_colliding_strangers_are_refused
    what_came_after_the_last_read_gives_nothing_until_the_next
    several_sources_know_one_person_and_disabled_in_any_is_disabled
    a_mirror_that_says_disabled_counts_while_its_source_is_away
    an_address_that_links_to_somebody_known_is_left_to_the_sync
    where_people_are_called_by_their_address_they_are_looked_up_by_it
    who_was_in_the_mirror_already_is_there_as_they_are_now
    a_look_up_before_the_first_sync_is_unavailable
}

impl Home {
    fn new(toml: &str) -> Home {
        Home::over(sqlite, toml)
    }

    fn over(over: Over, toml: &str) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[store]\npath = \"store.db\"\n{toml}");
        let file = folder.path().join("idpsyncd.toml");
        std::fs::write(&file, text).unwrap();
        let config =
            config::load(&file, &crate::source::kinds()).unwrap_or_else(|error| panic!("{error}"));
        let store = over(&config);
        Home { folder, config, store }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The digest of what a mirror holds.
    fn digest(&self, stored: &crate::store::StoredMirror) -> String {
        let key = self.reader().digest_key().unwrap();
        stored.mirror.directory.digests(&key).whole.to_string()
    }

    fn write(&self, name: &str, realm: &Value) {
        std::fs::write(self.file(name), serde_json::to_vec(realm).unwrap()).unwrap();
    }

    fn sync(&self) -> Outcome {
        self.sync_only(None)
    }

    fn sync_only(&self, sources: Option<Vec<String>>) -> Outcome {
        let options =
            Options { dry_run: false, sources, what: "test".to_owned(), ..Options::default() };
        let silent: OnProgress = Arc::new(|_| {});
        wait(run(&self.config, &*self.store, &options, &silent, now())).unwrap()
    }

    fn lookup(&self, name: &str) -> ProvisionOutcome {
        let sources: Vec<Opened> = self.config.sources.iter().map(open_source).collect();
        wait(lookup_person(&self.config, &*self.store, &sources, &caller(name), now())).unwrap()
    }

    fn reader(&self) -> Box<dyn Reader> {
        self.store.reader().unwrap().unwrap()
    }

    /// Effective roles by user, of those who are not gone.
    fn roles(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut users = BTreeMap::new();
        self.reader()
            .users(&mut |row| {
                if !row.status.is_deprovisioned() {
                    users.insert(row.username, row.roles.iter().cloned().collect());
                }
            })
            .unwrap();
        users
    }

    /// Grants of one user with their reasons, as the store has them.
    fn grants(&self, name: &str) -> BTreeSet<String> {
        let state = self.reader().state().unwrap();
        let user = state.users.iter().find(|user| state.texts.get(user.username) == name).unwrap();
        let grants = state.grants.iter().filter(|grant| grant.user == user.id);
        grants
            .map(|grant| {
                let role = &state.roles.get(grant.role).unwrap().name;
                format!("{role}: {}", crate::plan::reasons(&state, grant.kind))
            })
            .collect()
    }
}

fn wait<T: Send>(future: impl Future<Output = T> + Send) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn caller(name: &str) -> Caller {
    Caller::named(name)
}

/// A user of an export.
#[derive(Clone, Debug)]
struct User {
    name: usize,
    enabled: bool,
    groups: Vec<usize>,
    roles: Vec<usize>,
    department: bool,
}

fn path(parents: &[Option<usize>], group: usize) -> String {
    let above = parents[group].map(|parent| path(parents, parent)).unwrap_or_default();
    format!("{above}/{}", GROUPS[group])
}

#[derive(Clone, Debug)]
struct Company {
    /// Above each group an earlier one.
    parents: Vec<Option<usize>>,
    group_roles: Vec<Vec<usize>>,
    /// What each role contains: later ones.
    contains: Vec<Vec<usize>>,
    users: Vec<User>,
}

impl Company {
    fn realm(&self, people: &[User]) -> Value {
        let names = |roles: &[usize]| roles.iter().map(|role| ROLES[*role]).collect::<Vec<_>>();
        let roles: Vec<Value> = ROLES
            .iter()
            .enumerate()
            .map(|(n, name)| {
                let parts = names(&self.contains[n]);
                let mut role = json!({"id": format!("r{n}"), "name": name,
                    "composite": !parts.is_empty(), "clientRole": false});
                if !parts.is_empty() {
                    role["composites"] = json!({"realm": parts});
                }
                role
            })
            .collect();
        let users: Vec<Value> = people
            .iter()
            .map(|user| {
                let groups: Vec<String> =
                    user.groups.iter().map(|group| path(&self.parents, *group)).collect();
                let mut row = json!({"id": format!("id-{}", user.name),
                    "username": format!("u{}", user.name), "enabled": user.enabled,
                    "realmRoles": names(&user.roles), "groups": groups});
                if user.department {
                    row["attributes"] = json!({"department": ["Research"]});
                }
                row
            })
            .collect();
        json!({"realm": "r", "roles": {"realm": roles}, "groups": self.below(None), "users": users})
    }

    fn below(&self, parent: Option<usize>) -> Vec<Value> {
        (0..GROUPS.len())
            .filter(|group| self.parents[*group] == parent)
            .map(|group| {
                let roles: Vec<&str> =
                    self.group_roles[group].iter().map(|role| ROLES[*role]).collect();
                json!({"id": format!("g{group}"), "name": GROUPS[group],
                    "path": path(&self.parents, group), "realmRoles": roles,
                    "subGroups": self.below(Some(group))})
            })
            .collect()
    }
}

fn some(below: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::btree_set(0..below, 0..3).prop_map(|set| set.into_iter().collect())
}

prop_compose! {
    fn company()(
        parents in prop::collection::vec(any::<Option<prop::sample::Index>>(), GROUPS.len()),
        group_roles in prop::collection::vec(some(ROLES.len()), GROUPS.len()),
        contains in prop::collection::vec(some(ROLES.len()), ROLES.len()),
        users in prop::collection::vec(
            (prop::bool::weighted(0.85), some(GROUPS.len()), some(ROLES.len()), any::<bool>()), 2..7),
    ) -> Company {
        Company {
            parents: parents.into_iter().enumerate().map(|(group, parent)| {
                parent.filter(|_| group > 0).map(|parent| parent.index(group))
            }).collect(),
            group_roles,
            contains: contains.into_iter().enumerate()
                .map(|(role, parts)| parts.into_iter().filter(|part| *part > role).collect())
                .collect(),
            users: users.into_iter().enumerate()
                .map(|(name, (enabled, groups, roles, department))| {
                    User { name, enabled, groups, roles, department }
                })
                .collect(),
        }
    }
}

const RULES: &str = r#"
[sync]
provision = "PROVISION"
[guard]
protected_roles = { top = 0 }
[[source]]
name = "realm"
kind = "file"
realm_export = "realm.json"
grants = ["t*", "f*", "i*", "m*", "g*", "osmo-*"]
[roles.everyone]
everyone = true
[roles.forced]
sync_mode = "force"
external_roles = ["plain", "ML"]
[roles.imported]
sync_mode = "import"
external_roles = ["deep", "Ops"]
[roles.merged]
external_roles = ["viewer"]
[roles.ignored]
sync_mode = "ignore"
external_roles = ["plain"]
[roles.beyond]
external_roles = ["plain"]
[roles.top]
external_roles = ["admin", "Eng"]
[[role_template]]
name = 'osmo-(?<team>[a-z]+)'
sync_mode = "merge"
[[mapping]]
group = "/Eng/ML"
roles = ["merged"]
[[mapping]]
attribute = { name = "department", value = "Research" }
roles = ["forced"]
[[mapping]]
group_regex = '/(?<team>Ops|Eng)'
roles = ["merged"]
"#;

fn rules(provision: &str) -> String {
    RULES.replace("PROVISION", provision)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn who_is_looked_up_has_what_the_next_full_sync_gives(
        company in company(), mapped in any::<bool>(), in_memory in any::<bool>(),
    ) {
        let home = Home::over(if in_memory { memory } else { sqlite }, &rules(if mapped { "mapped" } else { "all" }));
        let (first, others) = company.users.split_at(1);
        home.write("realm.json", &company.realm(first));
        home.sync();
        // Everyone else comes after the sync, and half of them is looked up.
        home.write("realm.json", &company.realm(&company.users));
        let before = home.roles();
        let mut met = BTreeSet::new();
        for user in others.iter().step_by(2) {
            let name = format!("u{}", user.name);
            match home.lookup(&name) {
                ProvisionOutcome::Provisioned { .. } => {
                    prop_assert!(user.enabled, "{name}");
                    met.insert(name);
                }
                ProvisionOutcome::Refused(_) => {}
                other => panic!("{name}: {other:?}"),
            }
        }
        let jit = home.roles();
        let grants: BTreeMap<_, _> = met.iter().map(|name| (name.clone(), home.grants(name))).collect();
        for (name, roles) in &before {
            prop_assert_eq!(jit.get(name), Some(roles), "somebody else changed");
        }
        prop_assert_eq!(jit.len(), before.len() + met.len());
        home.sync();
        let full = home.roles();
        for user in others {
            let name = format!("u{}", user.name);
            if met.contains(&name) {
                prop_assert_eq!(&jit[&name], &full[&name], "{}", name);
                prop_assert_eq!(&grants[&name], &home.grants(&name), "{}", name);
            } else if user.name % 2 == 1 {
                // Who was refused is not let in by the sync either.
                prop_assert!(full.get(&name).is_none_or(BTreeSet::is_empty), "{}", name);
            }
        }
    }
}

fn person(name: usize, groups: &[usize], roles: &[usize]) -> User {
    User { name, enabled: true, groups: groups.into(), roles: roles.into(), department: false }
}

fn small() -> Company {
    Company {
        parents: vec![None, Some(0), None, Some(2), None, None],
        group_roles: vec![vec![], vec![3], vec![], vec![], vec![], vec![]],
        contains: vec![vec![], vec![2], vec![5], vec![], vec![], vec![]],
        users: Vec::new(),
    }
}

fn provisioned(person: &ProvisionOutcome) -> u64 {
    match person {
        ProvisionOutcome::Provisioned { generation } => *generation,
        other => panic!("{other:?}"),
    }
}

fn refused(person: ProvisionOutcome, part: &str) {
    match person {
        ProvisionOutcome::Refused(why) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    }
}

fn a_generation_of_its_own_says_why_and_the_next_sync_has_nothing_to_add(over: Over) {
    let home = Home::over(over, &rules("all"));
    let company = small();
    home.write("realm.json", &company.realm(&[person(0, &[], &[])]));
    home.sync();
    home.write("realm.json", &company.realm(&[person(0, &[], &[]), person(1, &[1], &[1])]));
    assert_eq!(provisioned(&home.lookup("u1")), 2);
    let grants = home.grants("u1");
    let has = |part: &str| grants.iter().any(|grant| grant.contains(part));
    assert!(has("forced: through group `/Eng/ML`"), "{grants:?}");
    assert!(has("osmo-green: through group `/Eng/ML` → realm role `osmo-green`"), "{grants:?}");
    assert!(has("merged: through group `/Eng/ML`"), "{grants:?}");
    assert!(has("imported: through realm role `bundle` → realm role `deep`"), "{grants:?}");
    assert!(home.reader().meta().unwrap().settled.is_none(), "the next run compares everything");
    assert_eq!(home.lookup("u1"), ProvisionOutcome::Known { generation: 2 });
    let outcome = home.sync();
    assert!(!outcome.changes(), "{:?}", outcome.plan.unwrap().changes);
    assert_eq!(outcome.generation, 2);
    let again = home.sync();
    assert!(again.plan.is_none(), "settled again");
}

fn a_failing_source_does_not_make_a_newcomer_missing(over: Over) {
    let home = Home::over(over, &rules("all"));
    let company = small();
    home.write("realm.json", &company.realm(&[person(0, &[], &[])]));
    home.sync();
    home.write("realm.json", &company.realm(&[person(0, &[], &[]), person(1, &[1], &[])]));
    provisioned(&home.lookup("u1"));
    let held = home.roles();
    std::fs::write(home.file("realm.json"), "cut off").unwrap();
    let outcome = home.sync();
    assert!(outcome.incomplete() && !outcome.changes());
    assert_eq!(home.roles(), held);
    assert!(held["u1"].contains("forced"));
}

fn who_is_no_stranger_is_left_to_the_sync(over: Over) {
    let home = Home::over(
        over,
        &format!(
            "{}\n",
            rules("all").replace(
                "provision = \"all\"",
                "provision = \"all\"\non_missing = { after = \"0s\" }"
            )
        ),
    );
    let company = small();
    let off = |user: User| User { enabled: false, ..user };
    home.write(
        "realm.json",
        &company.realm(&[
            person(0, &[], &[]),
            off(person(1, &[1], &[])),
            person(2, &[1], &[]),
            person(3, &[], &[]),
        ]),
    );
    home.sync();
    home.write(
        "realm.json",
        &company.realm(&[person(0, &[], &[]), off(person(1, &[1], &[])), person(3, &[], &[])]),
    );
    home.sync();
    let before = home.roles();
    // Enabled, back and renamed at the source since.
    let mut realm = company.realm(&[
        person(0, &[], &[]),
        person(1, &[1], &[]),
        person(2, &[1], &[]),
        person(3, &[1], &[]),
    ]);
    realm["users"][3]["username"] = json!("renamed");
    home.write("realm.json", &realm);
    refused(home.lookup("u1"), "disabled in `realm`");
    refused(home.lookup("u2"), "deprovisioned");
    refused(home.lookup("renamed"), "knows the person as `u3`");
    assert_eq!(home.roles(), before);
    assert_eq!(home.lookup("nobody"), ProvisionOutcome::Nobody);
}

fn disabled_unmapped_and_colliding_strangers_are_refused(over: Over) {
    let home = Home::over(over, &rules("mapped"));
    let company = small();
    home.write("realm.json", &company.realm(&[person(0, &[], &[])]));
    home.sync();
    let mut realm = company.realm(&[
        person(0, &[], &[]),
        User { enabled: false, ..person(1, &[1], &[]) },
        person(2, &[4], &[]),
        person(3, &[1], &[]),
        person(4, &[1], &[]),
        person(5, &[], &[]),
    ]);
    realm["users"][4]["username"] = json!("U3");
    home.write("realm.json", &realm);
    refused(home.lookup("u1"), "disabled in `realm`");
    refused(home.lookup("u3"), "more than one");
    refused(home.lookup("u5"), "no rule gives");
    assert_eq!(home.roles().len(), 0, "{:?}", home.roles());
    home.sync();
    assert!(!home.roles().contains_key("u5") && !home.roles().contains_key("u3"));
}

fn what_came_after_the_last_read_gives_nothing_until_the_next(over: Over) {
    let home = Home::over(over, &rules("all"));
    let mut company = small();
    company.parents[5] = Some(4);
    home.write("realm.json", &company.realm(&[person(0, &[], &[])]));
    home.sync();
    let mut realm = company.realm(&[person(0, &[], &[]), person(1, &[1], &[])]);
    realm["groups"].as_array_mut().unwrap().push(json!({"id": "new", "name": "Fresh",
        "path": "/Fresh", "realmRoles": ["viewer"], "subGroups": []}));
    realm["users"][1]["groups"].as_array_mut().unwrap().push(json!("/Fresh"));
    home.write("realm.json", &realm);
    provisioned(&home.lookup("u1"));
    let (jit, full) = (home.roles(), {
        home.sync();
        home.roles()
    });
    assert!(jit["u1"].is_subset(&full["u1"]));
    assert!(jit["u1"].contains("forced"));
}

const TWO: &str = r#"
[[source]]
name = "a"
kind = "file"
realm_export = "a.json"
[[source]]
name = "b"
kind = "file"
realm_export = "b.json"
[roles.forced]
external_roles = ["plain"]
[roles.merged]
external_roles = ["viewer"]
"#;

fn several_sources_know_one_person_and_disabled_in_any_is_disabled(over: Over) {
    let home = Home::over(over, TWO);
    let company = small();
    let nobody = company.realm(&[person(0, &[], &[])]);
    home.write("a.json", &nobody);
    home.write("b.json", &nobody);
    home.sync();
    let off = |user: User| User { enabled: false, ..user };
    let zero = person(0, &[], &[]);
    home.write(
        "a.json",
        &company.realm(&[
            zero.clone(),
            person(1, &[], &[0]),
            person(2, &[], &[0]),
            person(3, &[], &[0]),
        ]),
    );
    home.write(
        "b.json",
        &company.realm(&[zero.clone(), person(1, &[], &[5]), off(person(2, &[], &[]))]),
    );
    provisioned(&home.lookup("u1"));
    assert_eq!(home.roles()["u1"], ["forced", "merged"].map(str::to_owned).into());
    refused(home.lookup("u2"), "disabled in `b`");
    // b is away and never named u3: a's word stands.
    std::fs::write(home.file("b.json"), "gone").unwrap();
    provisioned(&home.lookup("u3"));
    // Nobody of what could be heard knows u4; b might.
    assert!(matches!(home.lookup("u4"), ProvisionOutcome::Unavailable(_)));
    home.sync();
    let after = home.roles();
    assert_eq!(after["u1"], ["forced", "merged"].map(str::to_owned).into());
    assert_eq!(after["u3"], ["forced"].map(str::to_owned).into());
}

fn a_mirror_that_says_disabled_counts_while_its_source_is_away(over: Over) {
    let home = Home::over(over, &format!("[sync]\nprovision = \"mapped\"\n{TWO}"));
    let company = small();
    let zero = person(0, &[], &[]);
    home.write("a.json", &company.realm(std::slice::from_ref(&zero)));
    // In b's mirror, and for want of a role not in the store.
    let off = User { enabled: false, ..person(1, &[], &[]) };
    home.write("b.json", &company.realm(&[zero.clone(), off, person(2, &[], &[])]));
    home.sync();
    assert!(home.roles().is_empty());
    home.write("a.json", &company.realm(&[zero, person(1, &[], &[0]), person(2, &[], &[0])]));
    std::fs::write(home.file("b.json"), "gone").unwrap();
    refused(home.lookup("u1"), "disabled in `b`");
    provisioned(&home.lookup("u2"));
    let state = home.reader().state().unwrap();
    assert_eq!(state.links.len(), 2, "linked to what b's mirror has as well");
}

fn an_address_that_links_to_somebody_known_is_left_to_the_sync(over: Over) {
    for linked in ["a", "b"] {
        let toml = TWO.replace(
            &format!("realm_export = \"{linked}.json\""),
            &format!("realm_export = \"{linked}.json\"\nlink_by = \"email\""),
        );
        let home = Home::over(over, &toml);
        let company = small();
        let with = |n: usize, name: &str, verified: bool| {
            let mut realm = company.realm(&[person(0, &[], &[]), person(n, &[], &[0])]);
            realm["users"][1]["username"] = json!(name);
            realm["users"][1]["email"] = json!("Ann@Example.org");
            realm["users"][1]["emailVerified"] = json!(verified);
            realm
        };
        let nobody = company.realm(&[person(0, &[], &[])]);
        home.write("a.json", &nobody);
        home.write("b.json", &with(1, "annie", true));
        home.sync();
        home.write("a.json", &with(2, "ann", true));
        let before = home.roles();
        refused(home.lookup("ann"), "knows the person as `annie`");
        assert_eq!(home.roles(), before);
        // An address that nobody verified is no link.
        home.write("a.json", &with(2, "ann", false));
        provisioned(&home.lookup("ann"));
        let jit = home.roles();
        home.sync();
        assert_eq!(home.roles(), jit);
    }
}

fn where_people_are_called_by_their_address_they_are_looked_up_by_it(over: Over) {
    let home = Home::over(over, &format!("[sync]\nusername = \"email\"\n{TWO}"));
    let company = small();
    let mut first = company.realm(&[person(0, &[], &[])]);
    first["users"][0]["email"] = json!("root@example.org");
    home.write("b.json", &first);
    home.write("a.json", &first);
    home.sync();
    let mut later = company.realm(&[person(0, &[], &[]), person(1, &[], &[0])]);
    later["users"][0]["email"] = json!("root@example.org");
    later["users"][1]["email"] = json!("Ann@Example.org");
    home.write("a.json", &later);
    assert_eq!(home.lookup("u1"), ProvisionOutcome::Nobody);
    provisioned(&home.lookup("ann@example.org"));
    let jit = home.roles();
    assert!(jit["ann@example.org"].contains("forced"));
    home.sync();
    assert_eq!(home.roles(), jit);
}

fn who_was_in_the_mirror_already_is_there_as_they_are_now(over: Over) {
    let home = Home::over(over, &rules("mapped"));
    let company = small();
    let zero = person(0, &[1], &[]);
    // No rule gives u1 anything: in the mirror, not in the store.
    home.write("realm.json", &company.realm(&[zero.clone(), person(1, &[5], &[])]));
    home.sync();
    assert!(!home.roles().contains_key("u1"));
    let later = company.realm(&[zero, person(1, &[4], &[5])]);
    home.write("realm.json", &later);
    provisioned(&home.lookup("u1"));
    let mirror = home.reader().mirror("realm").unwrap().unwrap();
    let place = |name: &str| {
        let texts = &mirror.mirror.directory;
        texts.users.position(|user| texts.text(user.username) == name).unwrap()
    };
    let within: Vec<&str> = mirror
        .mirror
        .directory
        .refs
        .iter()
        .zip(&mirror.mirror.directory.members)
        .filter(|(_, members)| members.contains(&place("u1")))
        .map(|(reference, _)| mirror.mirror.directory.text(reference.identity))
        .collect();
    assert_eq!(within, ["/osmo-blue", "viewer"]);
    assert_eq!(mirror.mirror.directory.users.len(), 2);
    // A source that fails now leaves them what they have.
    std::fs::write(home.file("realm.json"), "cut off").unwrap();
    assert!(!home.sync().changes());
    home.write("realm.json", &later);
    assert!(!home.sync().changes());
}

fn a_look_up_before_the_first_sync_is_unavailable(over: Over) {
    let home = Home::over(over, TWO);
    assert!(matches!(home.lookup("u1"), ProvisionOutcome::Unavailable(_)));
    assert!(home.store.reader().unwrap().is_none(), "nobody made a store");
}

/// A source that can be read in full and asked about nobody.
struct FullReadOnly;

impl Source for FullReadOnly {
    fn name(&self) -> &str {
        "full"
    }

    fn as_lookup(&self) -> Option<&dyn crate::source::Lookup> {
        None
    }

    fn check<'a>(&'a self, _: &'a dyn Interest) -> BoxFuture<'a, Vec<crate::model::Diagnostic>> {
        Box::pin(async { Vec::new() })
    }
}

impl FullRead for FullReadOnly {
    fn read<'a>(
        &'a self,
        _: &'a dyn Interest,
        _: OnProgress,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async { Err(SourceError::fatal("not in this test")) })
    }
}

#[test]
fn a_source_without_look_ups_is_not_asked_about_one_person() {
    let home = Home::new(TWO);
    let opened: Vec<Opened> = vec![Ok(Box::new(FullReadOnly))];
    let heard = wait(super::provision::ask(&home.config, &opened, &caller("u1")));
    assert!(matches!(heard.as_slice(), [super::provision::Heard::NotAsked]), "{heard:?}");
}

/// The people of `realm` as the file source shows them.
fn sighted(home: &Home, realm: &Value, name: &str) -> super::provision::Heard {
    home.write("aside.json", realm);
    let mut source = home.config.sources[0].clone();
    let export = source.kind.of::<crate::source::file::RealmExportConfig>().unwrap();
    let path = home.file("aside.json");
    source.kind = Arc::new(crate::source::file::RealmExportConfig { path, ..export.clone() });
    let mut config = home.config.clone();
    config.sources = vec![source.clone()];
    let opened = vec![open_source(&source)];
    wait(super::provision::ask(&config, &opened, &caller(name))).remove(0)
}

/// A store whose mirror of `kc` has these groups, and nobody in it.
fn mirrored(over: Over, toml: &str, groups: impl FnOnce(&mut dyn FnMut(&str, &str, &str))) -> Home {
    use crate::directory::{Kind, NewRef, SnapshotBuilder};
    let home = Home::over(over, toml);
    let mut builder = SnapshotBuilder::new(false);
    groups(&mut |key, name, identity| {
        let kind = Kind::Group;
        builder.reference(&NewRef { kind, key, name, identity, norm: identity }).unwrap();
    });
    keep(&home, builder.finish());
    home
}

/// Puts a reading into the store as the mirror of `kc`.
fn keep(home: &Home, snapshot: crate::directory::Snapshot) {
    let answer = super::SourceAnswer::Said(Box::new(snapshot));
    home.store.prepare().unwrap();
    let answers = (vec![answer, super::SourceAnswer::NotAsked], None);
    let untold: super::OnPhase = Arc::new(|_| {});
    let store = &*home.store;
    let reader = store.reader().unwrap();
    let before = Before::of(&home.config, &Options::default(), reader.as_deref()).unwrap();
    super::plan_and_commit(&home.config, store, answers, (&before, &untold), false, now()).unwrap();
}
