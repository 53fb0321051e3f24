//! One look-up a person, a bounded queue, and what is remembered, with sources that answer when
//! the test lets them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, join_all};
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::config;
use crate::directory::{Enabled, Interest, Kind, Sighting, Snapshot, Within};
use crate::source::{FullRead, Looked, Lookup, OnProgress, Source, Who};
use crate::store;
use crate::sync::{Options, run};

const TOML: &str = r#"
[store]
path = "store.db"
[[source]]
name = "realm"
kind = "file"
realm_export = "realm.json"
[roles.member]
external_roles = ["team"]
[gateway]
http = "127.0.0.1:0"
identity = "header"
provision = "lookup"
preset = "osmo"
"#;

/// What a test's source says of a name.
type Say = dyn Fn(&str) -> Result<Looked, SourceError> + Send + Sync;

/// Answers once the gate is open, and counts.
struct Gated {
    say: Box<Say>,
    gate: Semaphore,
    asked: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    /// Hears of each question.
    heard: mpsc::UnboundedSender<String>,
}

struct Handle(Arc<Gated>);

impl Source for Handle {
    fn name(&self) -> &str {
        "realm"
    }

    fn as_lookup(&self) -> Option<&dyn Lookup> {
        Some(self)
    }

    fn check<'a>(&'a self, _: &'a dyn Interest) -> BoxFuture<'a, Vec<crate::model::Diagnostic>> {
        Box::pin(async { Vec::new() })
    }
}

impl FullRead for Handle {
    fn read<'a>(
        &'a self,
        _: &'a dyn Interest,
        _: OnProgress,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async { Err(SourceError::fatal("not in this test")) })
    }
}

impl Lookup for Handle {
    fn lookup<'a>(
        &'a self,
        _: &'a dyn Interest,
        who: &'a Who,
    ) -> BoxFuture<'a, Result<Looked, SourceError>> {
        Box::pin(async move {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most.fetch_max(now, Ordering::SeqCst);
            let Who::Named(who) = who else { return Ok(Looked::Nobody) };
            let _ = self.0.heard.send(who.username.clone());
            let passed = self.0.gate.acquire().await;
            self.0.now.fetch_sub(1, Ordering::SeqCst);
            drop(passed);
            (self.0.say)(&who.username)
        })
    }
}

/// Passes each end on.
struct Ends(mpsc::UnboundedSender<&'static str>);

impl Observer for Ends {
    fn ended(&self, result: &'static str, _: Duration) {
        let _ = self.0.send(result);
    }
}

struct Home {
    folder: tempfile::TempDir,
    config: Arc<Config>,
    source: Arc<Gated>,
    questions: mpsc::UnboundedReceiver<String>,
    ends: mpsc::UnboundedReceiver<&'static str>,
    provisioner: Provisioner,
    /// Seconds that the clock is ahead.
    ahead: Arc<AtomicU64>,
}

const OPEN: usize = 1 << 20;

impl Home {
    /// A company of one, synced, whose source says `say` through a gate that is open for `open`
    /// questions at once.
    async fn new(
        limits: Limits,
        open: usize,
        say: impl Fn(&str) -> Result<Looked, SourceError> + Send + Sync + 'static,
    ) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("idpsyncd.toml");
        std::fs::write(&file, TOML).unwrap();
        let realm = json!({"realm": "r", "roles": {"realm": [{"id": "t", "name": "team"}]},
        "groups": [], "users": [
            {"id": "0", "username": "root", "enabled": true, "realmRoles": ["team"]},
            {"id": "1", "username": "off", "enabled": false, "realmRoles": ["team"]},
        ]});
        std::fs::write(folder.path().join("realm.json"), realm.to_string()).unwrap();
        let config = Arc::new(config::load(&file, &crate::source::kinds()).unwrap());
        let options = Options {
            dry_run: false,
            sources: None,
            what: "test".to_owned(),
            ..Options::default()
        };
        let store = store::open(&config.store);
        run(&config, &*store, &options, &(Arc::new(|_| {}) as OnProgress), Utc::now())
            .await
            .unwrap();
        let (heard, questions) = mpsc::unbounded_channel();
        let (told, ends) = mpsc::unbounded_channel();
        let source = Arc::new(Gated {
            say: Box::new(say),
            gate: Semaphore::new(open),
            asked: AtomicUsize::new(0),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            heard,
        });
        let ahead = Arc::new(AtomicU64::new(0));
        let (start, later) = (Instant::now(), Arc::clone(&ahead));
        let provisioner = Provisioner::with(
            (Arc::clone(&config), store),
            vec![Ok(Box::new(Handle(Arc::clone(&source))))],
            limits,
            Arc::new(Ends(told)),
            Arc::new(move || start + Duration::from_secs(later.load(Ordering::SeqCst))),
        );
        Home { folder, config, source, questions, ends, provisioner, ahead }
    }

    fn asked(&self) -> usize {
        self.source.asked.load(Ordering::SeqCst)
    }

    /// Effective roles by user, and the generation.
    fn held(&self) -> (BTreeMap<String, Vec<String>>, u64) {
        let conn = rusqlite::Connection::open(self.folder.path().join("store.db")).unwrap();
        let mut held = conn.prepare("SELECT username, role FROM gateway_user_role").unwrap();
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let rows = held.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        for row in rows {
            let (user, role): (String, String) = row.unwrap();
            users.entry(user).or_default().push(role);
        }
        let reader = store::open(&self.config.store).reader().unwrap().unwrap();
        (users, reader.meta().unwrap().generation)
    }
}

fn caller(name: &str) -> Arc<Caller> {
    Arc::new(Caller::named(name))
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of an answer")]
fn found(name: &str, enabled: Enabled) -> Result<Looked, SourceError> {
    Ok(Looked::Found(Box::new(Sighting {
        ext: format!("id-{name}"),
        username: name.to_owned(),
        email: String::new(),
        email_verified: false,
        enabled,
        federation: String::new(),
        sid: None,
        within: vec![Within { kind: Kind::RealmRole, key: "t".to_owned(), name: None }],
    })))
}

fn patient() -> Limits {
    Limits { deadline: Duration::from_secs(600), ..Limits::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_of_one_stranger_are_one_look_up_and_one_generation() {
    let mut home = Home::new(patient(), 0, |name| found(name, Enabled::Yes)).await;
    let (provisioner, who) = (home.provisioner.clone(), caller("ann"));
    let asking =
        tokio::spawn(async move { join_all((0..1000).map(|_| provisioner.provision(&who))).await });
    assert_eq!(home.questions.recv().await.unwrap(), "ann");
    home.source.gate.add_permits(OPEN);
    let answers = asking.await.unwrap();
    assert_eq!(answers.len(), 1000);
    assert!(answers.iter().all(|it| *it == Provisioned::Committed { generation: 2 }));
    assert_eq!(home.asked(), 1);
    assert_eq!(home.held().0["ann"], ["member"]);
    assert_eq!(home.held().1, 2);
    assert_eq!(home.provisioner.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_strangers_are_eight_at_once_a_queue_and_later_for_the_rest() {
    let limits = Limits { queue: 40, ..patient() };
    let mut home = Home::new(limits, 0, |name| found(name, Enabled::Yes)).await;
    let provisioner = home.provisioner.clone();
    let asking = tokio::spawn(async move {
        let callers: Vec<_> = (0..1000).map(|n| caller(&format!("s{n}"))).collect();
        join_all(callers.iter().map(|who| provisioner.provision(who))).await
    });
    // Those whom the queue does not take are told at once, while nothing is answered yet.
    for _ in 0..952 {
        assert_eq!(home.ends.recv().await.unwrap(), "queue-full");
    }
    for _ in 0..8 {
        home.questions.recv().await.unwrap();
    }
    assert_eq!((home.asked(), home.provisioner.in_flight()), (8, 48));
    home.source.gate.add_permits(OPEN);
    let answers = asking.await.unwrap();
    let count = |label| answers.iter().filter(|it| it.label() == label).count();
    assert_eq!((count("committed"), count("unavailable")), (48, 952));
    assert_eq!(home.source.most.load(Ordering::SeqCst), 8);
    assert_eq!(home.held().0.len(), 49);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asked_may_leave_and_the_look_up_goes_on() {
    let mut home =
        Home::new(Limits { deadline: Duration::from_millis(1), ..Limits::default() }, 0, |name| {
            found(name, Enabled::Yes)
        })
        .await;
    let first = home.provisioner.provision(&caller("ann")).await;
    let Provisioned::Unavailable(why) = first else { panic!("{first:?}") };
    assert!(why.contains("the look-up goes on"), "{why}");
    home.questions.recv().await.unwrap();
    home.source.gate.add_permits(OPEN);
    assert_eq!(home.ends.recv().await.unwrap(), "committed");
    assert_eq!(home.held().0["ann"], ["member"]);
    let again = home.provisioner.provision(&caller("ann")).await;
    assert_eq!(again, Provisioned::Committed { generation: 2 });
    assert_eq!(home.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_turn_too_long_is_not_looked_up() {
    let limits = Limits { at_once: 1, deadline: Duration::from_millis(1), ..Limits::default() };
    let mut home = Home::new(limits, 0, |name| found(name, Enabled::Yes)).await;
    let _ = home.provisioner.provision(&caller("ann")).await;
    home.questions.recv().await.unwrap();
    let second = home.provisioner.provision(&caller("bob")).await;
    assert_eq!(second.label(), "unavailable");
    assert_eq!(home.ends.recv().await.unwrap(), "unavailable", "bob's turn never came");
    home.source.gate.add_permits(OPEN);
    assert_eq!(home.ends.recv().await.unwrap(), "committed");
    assert_eq!(home.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_remembered_for_a_while_and_an_outage_is_not() {
    let down = Arc::new(AtomicUsize::new(0));
    let is_down = Arc::clone(&down);
    let home = Home::new(patient(), OPEN, move |_| match is_down.load(Ordering::SeqCst) {
        0 => Ok(Looked::Nobody),
        _ => Err(SourceError::transient("connection refused")),
    })
    .await;
    let before = home.held();
    for _ in 0..3 {
        assert_eq!(home.provisioner.provision(&caller("ann")).await, Provisioned::Nobody);
    }
    assert_eq!(home.asked(), 1);
    // Another token is another question: its answer could be another one.
    let other = Caller { issuer: Some("x".to_owned()), ..caller("ann").as_ref().clone() };
    home.provisioner.provision(&Arc::new(other)).await;
    assert_eq!(home.asked(), 2);
    home.ahead.store(29, Ordering::SeqCst);
    home.provisioner.provision(&caller("ann")).await;
    assert_eq!(home.asked(), 2);
    home.ahead.store(31, Ordering::SeqCst);
    home.provisioner.provision(&caller("ann")).await;
    assert_eq!(home.asked(), 3, "forgotten");

    down.store(1, Ordering::SeqCst);
    for asked in [4, 5] {
        let answer = home.provisioner.provision(&caller("bob")).await;
        let Provisioned::Unavailable(why) = answer else { panic!("{answer:?}") };
        assert!(why.contains("realm: connection refused"), "{why}");
        assert_eq!(home.asked(), asked);
    }
    assert_eq!(home.held(), before, "an outage changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded() {
    let limits = Limits { remembered: 16, ..patient() };
    let home = Home::new(limits, OPEN, |_| Ok(Looked::Nobody)).await;
    for n in 0..200 {
        home.provisioner.provision(&caller(&format!("s{n}"))).await;
    }
    assert!(home.provisioner.0.memory.len() <= 16, "{}", home.provisioner.0.memory.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disabled_are_never_provisioned_known_or_not() {
    let home = Home::new(patient(), OPEN, |name| match name {
        "doubt" => found(name, Enabled::Unknown),
        "off" => found(name, Enabled::Yes),
        _ => found(name, Enabled::No),
    })
    .await;
    let before = home.held();
    for (name, label, part) in [
        ("off", "refused", "disabled in `realm`"),
        ("new", "refused", "disabled in `realm`"),
        ("doubt", "unavailable", "cannot be believed"),
    ] {
        let answer = home.provisioner.provision(&caller(name)).await;
        assert_eq!(answer.label(), label, "{name}");
        let (Provisioned::Refused(why) | Provisioned::Unavailable(why)) = answer else { panic!() };
        assert!(why.contains(part), "{name}: {why}");
    }
    assert_eq!(home.held(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_a_source_is_no_answer_and_blocks_nobody() {
    let home = Home::new(patient(), OPEN, |name| match name {
        "bad" => panic!("a bug"),
        name => found(name, Enabled::Yes),
    })
    .await;
    assert_eq!(home.provisioner.provision(&caller("bad")).await.label(), "unavailable");
    assert_eq!(home.provisioner.in_flight(), 0);
    assert_eq!(home.provisioner.provision(&caller("ann")).await.label(), "committed");
}
