//! One person's change costs what it touches, from what a feed tells to the replica that knows it,
//! however many people there are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::{Found, Replica, Wanted};
use crate::config::{self, Config};
use crate::directory::{
    Cursor, Delta, Enabled, Kind, ListChange, PersonDelta, RefDelta, RefId, Step, Touched,
};
use crate::model::{Time, parse_rfc3339};
use crate::store::{self, Store, counted};
use crate::sync::{self, Options};

const CONFIG: &str = r#"
[store]
path = "store.db"
[sync]
on_missing = { after = "0s" }
[guard]
max_lost_percent = 100
max_disabled_percent = 100
[[source]]
name = "kc"
kind = "file"
realm_export = "realm.json"
[roles.everyone]
everyone = true
[roles.ml]
external_roles = ["ml"]
[roles.dept]
[[mapping]]
group_regex = '/dept-[0-9]*7'
roles = ["dept"]
[roles.team]
[[mapping]]
group_regex = '/dept-[0-9]*3/team-.*'
roles = ["team"]
"#;

/// A department for every fifty, each with a team of the same name, a few of which a bare name means.
fn realm(people: usize) -> Value {
    let departments = people / 50;
    let team = |at: usize| if at == 5 || at == 9 { "ml" } else { "team-a" };
    let groups: Vec<Value> = (0..departments)
        .map(|at| {
            let (path, team) = (format!("/dept-{at}"), team(at));
            json!({"id": format!("g{at}"), "name": format!("dept-{at}"), "path": path,
                "subGroups": [
                    {"id": format!("t{at}"), "name": team, "path": format!("{path}/{team}")}]})
        })
        .collect();
    let users: Vec<Value> = (0..people)
        .map(|at| {
            let mine = [at, at + 1, at + 7].map(|of| of % departments);
            let of = |at: &usize| [format!("/dept-{at}"), format!("/dept-{at}/{}", team(*at))];
            let groups: Vec<String> = mine.iter().flat_map(of).collect();
            json!({"id": format!("id-{at}"), "username": format!("user{at}"), "enabled": true,
                "groups": groups})
        })
        .collect();
    json!({"realm": "r", "groups": groups, "users": users})
}

fn now() -> Time {
    parse_rfc3339("2026-11-23T12:00:00Z").unwrap()
}

struct Company {
    _folder: tempfile::TempDir,
    config: Config,
    store: Arc<dyn Store>,
    replica: Replica,
    told: u32,
}

fn cursor(store: &dyn Store) -> Cursor {
    let reader = store.reader().unwrap().unwrap();
    let (rows, _) = reader.mirror_rows("kc", &Touched::default()).unwrap().unwrap();
    rows.head.cursor.unwrap()
}

impl Company {
    fn of(people: usize) -> Company {
        let folder = tempfile::tempdir().unwrap();
        let realm = serde_json::to_vec(&realm(people)).unwrap();
        std::fs::write(folder.path().join("realm.json"), realm).unwrap();
        let file: &Path = &folder.path().join("idpsyncd.toml");
        std::fs::write(file, CONFIG).unwrap();
        let config = config::load(file, &crate::source::kinds()).unwrap();
        let store = store::open(&config.store);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let silent: crate::source::OnProgress = Arc::new(|_| {});
        let options = Options::default();
        let run = sync::run(&config, &*store, &options, &silent, now());
        assert!(!runtime.block_on(run).unwrap().worth_retrying());
        let wanted =
            Arc::new(Wanted { sources: vec!["kc".to_owned()], tokens: true, ..Wanted::default() });
        let replica = Replica::load(&*store.reader().unwrap().unwrap(), wanted).unwrap();
        assert_eq!(replica.users(), people);
        let mut company = Company { _folder: folder, config, store, replica, told: 0 };
        // What a full run has made of the schema is read anew once.
        let person = PersonDelta {
            ext: "id-50".to_owned(),
            enabled: Some(Enabled::No),
            ..PersonDelta::default()
        };
        company.tells(Delta { people: vec![person], ..Delta::default() });
        company
    }

    /// Lets the feed tell `delta`: the steps of SQLite to the commit, and from there to the replica.
    fn tells(&mut self, delta: Delta) -> [u64; 2] {
        self.told += 1;
        let from = cursor(&*self.store);
        let to = Cursor::new(self.told.to_string());
        let delta = Delta { step: Some(Step { from, to }), ..delta };
        let told = BTreeMap::from([("kc".to_owned(), vec![delta])]);
        let (config, store) = (&self.config, &*self.store);
        let ((outcome, _), commits) =
            counted(|| sync::ingest(config, store, &told, now()).unwrap());
        assert_eq!(outcome.generation, outcome.before + 1);
        let reader = || store.reader().unwrap().unwrap();
        let (replica, follows) = counted(|| self.replica.caught_up(&*reader()).unwrap().unwrap());
        self.replica = replica;
        [commits, follows]
    }

    fn stands(&self, name: &str) -> &'static str {
        match self.replica.user(name) {
            Found::Unknown => "unknown",
            Found::Disabled(_) => "disabled",
            Found::Enabled(set) => match self.replica.roles_header(set) {
                "everyone" => "everyone",
                _ => "more",
            },
        }
    }
}

fn group(key: &str) -> RefId {
    RefId { kind: Kind::Group, key: key.to_owned() }
}

fn out_of(key: &str, ext: &str) -> RefDelta {
    let members = ListChange::Changed { added: Vec::new(), removed: vec![ext.to_owned()] };
    RefDelta { members, ..RefDelta::new(group(key)) }
}

/// Changes of one person each, what they are, and of whom: `user6` is in departments 6, 7 and 13.
fn changes() -> Vec<(&'static str, Delta, [&'static str; 2])> {
    let of = |ext: &str| PersonDelta { ext: ext.to_owned(), ..PersonDelta::default() };
    let people = |person| Delta { people: vec![person], ..Delta::default() };
    let off = PersonDelta { enabled: Some(Enabled::No), ..of("id-20") };
    let came = PersonDelta {
        username: Some("newcomer".to_owned()),
        enabled: Some(Enabled::Yes),
        within: ListChange::Whole(vec![group("g7"), group("t7"), group("t3")]),
        ..of("new")
    };
    let refs = vec![out_of("g7", "id-6"), out_of("t7", "id-6"), out_of("t13", "id-6")];
    vec![
        ("out of groups", Delta { refs, ..Delta::default() }, ["user6", "everyone"]),
        ("disabled", people(off), ["user20", "disabled"]),
        (
            "deleted",
            Delta { gone_people: vec!["id-33".to_owned()], ..Delta::default() },
            ["user33", "disabled"],
        ),
        ("new", people(came), ["newcomer", "more"]),
    ]
}

#[test]
fn one_change_costs_what_it_touches_however_many_there_are() {
    let [mut small, mut large] = [1_000, 10_000].map(Company::of);
    for (what, delta, [who, stands]) in changes() {
        let few = small.tells(delta.clone());
        let many = large.tells(delta);
        for company in [&small, &large] {
            assert_eq!(company.stands(who), stands, "{what}: {who}");
            assert!(company.replica.recent() <= 5, "it was loaded again");
        }
        for (few, many) in few.into_iter().zip(many) {
            assert!(few > 20, "{what}: {few} steps: they were not counted");
            // As many rows, but for a few steps (a search in a deeper tree).
            assert!(many <= few + few / 10, "{what}: {few} steps, and {many} of ten times as many");
        }
    }
}
