//! What a search for people finds is what each question about one of them would say, by every kind of id,
//! in pages of any size, after a load and after changes were caught up with.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{KnownPerson, OpenQuestion, Replica, Span, Wanted, sort_key};
use crate::config::{self, SubjectId};
use crate::model::{Time, parse_rfc3339};
use crate::store::{self, Store};
use crate::sync::{self, Options};

const NAMES: [&str; 8] = ["ann", "bob", "cat", "dan", "eve", "é", "zoe", "self"];
const ADDRESSES: [&str; 5] = ["", "A@x.org", "a@x.org", "b@x.org", "É@x.org"];
const GROUPS: [&str; 3] = ["r0", "r1", "r2"];
const ACTIONS: [&str; 4] = ["doc:read", "doc:write", "home:open", "x:y"];
const PATTERNS: [&str; 5] = ["*:*", "doc:*", "*:open", "doc:read", "home:open"];
const RESOURCES: [Option<&str>; 7] = [
    None,
    Some("doc/a"),
    Some("doc/b/c"),
    Some("home/ann"),
    Some("home/é"),
    Some("home/self"),
    Some("none/x"),
];
const RESOURCE_PATTERNS: [&str; 6] = ["*", "doc/*", "doc/b*", "doc/a", "home/${self}", "home/ann"];

/// Somebody: place of the address, whether enabled, groups as bits; `None`: not there.
type Someone = Option<(usize, bool, u8)>;

fn people() -> impl Strategy<Value = Vec<Someone>> {
    let one = (0..ADDRESSES.len(), prop::bool::weighted(0.85), 0..8u8);
    prop::collection::vec(prop::option::weighted(0.85, one), NAMES.len())
}

fn policy() -> impl Strategy<Value = String> {
    let resources =
        prop::option::weighted(0.8, prop::collection::vec(0..RESOURCE_PATTERNS.len(), 1..3));
    (prop::bool::weighted(0.75), 0..PATTERNS.len(), resources).prop_map(
        |(allow, action, resources)| {
            let effect = if allow { "Allow" } else { "Deny" };
            let mut text = format!("effect = \"{effect}\"\nactions = [\"{}\"]\n", PATTERNS[action]);
            if let Some(resources) = resources {
                let list: Vec<&str> = resources.iter().map(|at| RESOURCE_PATTERNS[*at]).collect();
                text.push_str(&format!("resources = {list:?}\n"));
            }
            text
        },
    )
}

fn config(folder: &Path, policies: &[Vec<String>]) -> config::Config {
    let mut text = "[store]\npath = \"store.db\"\n[sync]\non_missing = { after = \"0s\" }\n[guard]\n\
        max_lost_percent = 100\nmax_disabled_percent = 100\n[[source]]\nname = \"kc\"\nkind = \"file\"\n\
        realm_export = \"realm.json\"\n"
        .to_owned();
    for (role, policies) in GROUPS.iter().zip(policies) {
        text.push_str(&format!(
            "[roles.{role}]\nexternal_roles = []\n[[mapping]]\ngroup = \"/{role}\"\n\
            roles = [\"{role}\"]\n"
        ));
        for policy in policies {
            text.push_str(&format!("[[roles.{role}.policies]]\n{policy}"));
        }
    }
    let file = folder.join("idpsyncd.toml");
    std::fs::write(&file, text).unwrap();
    config::load(&file, &crate::source::kinds()).unwrap_or_else(|error| panic!("{error}"))
}

fn write(folder: &Path, people: &[Someone]) {
    let users: Vec<Value> = NAMES
        .iter()
        .zip(people)
        .filter_map(|(name, someone)| {
            let (address, enabled, groups) = (*someone)?;
            let mine = GROUPS.iter().enumerate().filter(|(bit, _)| groups & (1 << bit) != 0);
            let mine: Vec<String> = mine.map(|(_, group)| format!("/{group}")).collect();
            Some(json!({"id": format!("id-{name}"), "username": name, "enabled": enabled,
                "email": ADDRESSES[address], "groups": mine}))
        })
        .collect();
    let groups: Vec<Value> = GROUPS
        .iter()
        .map(|name| json!({"id": format!("g-{name}"), "name": name, "path": format!("/{name}")}))
        .collect();
    let realm = json!({"realm": "r", "groups": groups, "roles": {}, "users": users});
    std::fs::write(folder.join("realm.json"), realm.to_string()).unwrap();
}

fn commit(config: &config::Config, store: &Arc<dyn Store>, minute: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let silent: crate::source::OnProgress = Arc::new(|_| {});
    let at: Time = parse_rfc3339(&format!("2026-01-01T00:{minute:02}:00Z")).unwrap();
    let options = Options::default();
    runtime.block_on(sync::run(config, &**store, &options, &silent, at)).unwrap();
}

/// Every id that somebody could have, and some that nobody has.
fn ids(kind: &SubjectId) -> Vec<String> {
    match kind {
        SubjectId::Username => {
            NAMES.iter().chain(&["none"]).map(|name| (*name).to_owned()).collect()
        }
        SubjectId::External(_) => NAMES.iter().map(|name| format!("id-{name}")).collect(),
        SubjectId::Email => ADDRESSES.iter().map(|address| (*address).to_owned()).collect(),
    }
}

fn holds(replica: &Replica, most: usize) {
    for kind in &replica.wanted().subjects {
        for (action, resource) in ACTIONS.iter().flat_map(|it| RESOURCES.map(|of| (*it, of))) {
            let question = OpenQuestion { action, resource };
            let may = |id: &String| match replica.person(kind, id) {
                KnownPerson::Enabled { set, name } => {
                    replica.decide_open(set, Some(name), question).is_allow()
                }
                _ => false,
            };
            let mut expected: Vec<String> =
                ids(kind).into_iter().filter(may).map(|id| sort_key(kind, &id)).collect();
            expected.sort_unstable();
            expected.dedup();
            let all = replica.who(kind, question, Span { after: None, most: 100 });
            let keys = |found: &[String]| -> Vec<String> {
                found.iter().map(|id| sort_key(kind, id)).collect()
            };
            assert_eq!(keys(&all), expected, "{kind:?} {action} {resource:?}");
            assert!(all.iter().all(may), "{all:?}");
            let mut paged: Vec<String> = Vec::new();
            loop {
                let after = paged.last().map(|last| sort_key(kind, last));
                let span = Span { after: after.as_deref(), most };
                let page = replica.who(kind, question, span);
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, all, "{kind:?} {action} {resource:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_search_finds_whom_each_question_allows(
        policies in prop::collection::vec(prop::collection::vec(policy(), 0..4), GROUPS.len()),
        worlds in prop::collection::vec(people(), 1..4),
        most in 1..4usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &policies);
        let store = store::open(&config.store);
        let kinds = [SubjectId::Username, SubjectId::External("kc".to_owned()), SubjectId::Email];
        let wanted = Arc::new(Wanted {
            sources: vec!["kc".to_owned()],
            subjects: kinds.to_vec(),
            ..Wanted::default()
        });
        let mut replica: Option<Replica> = None;
        for (minute, world) in (0u32..).zip(&worlds) {
            write(folder.path(), world);
            commit(&config, &store, minute);
            let reader = store.reader().unwrap().unwrap();
            let caught_up = match &replica {
                None => Replica::load(&*reader, Arc::clone(&wanted)).unwrap(),
                Some(before) => match before.caught_up(&*reader).unwrap() {
                    Some(after) => after,
                    None => continue,
                },
            };
            holds(&caught_up, most);
            // As if all had been read at once.
            holds(&Replica::load(&*reader, Arc::clone(&wanted)).unwrap(), most);
            replica = Some(caught_up);
        }
    }
}
