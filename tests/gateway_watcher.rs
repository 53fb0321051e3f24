//! The watcher serves the newest generation that it could read, and says what stands in its way.

#![cfg(test)]

#[expect(dead_code, reason = "the tests of the store need more of it")]
mod store_support;
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use idpsyncd::gateway::replica::{Found, Wanted};
use idpsyncd::gateway::watcher::ReplicaWatcher;
use idpsyncd::model::{StoreConfig, Time};
use idpsyncd::store::{MirrorUpdate, SourceUpdate};
use rusqlite::Connection;
use store_support::door::Writer;
use tempfile::TempDir;
use tokio::time::Instant;

use store_support::{Person, World, at, commit, plan, role};

const DEADLINE: Duration = Duration::from_secs(300);

/// Waits until `done`, looking again and again, and fails at the deadline.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn home() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

fn follow(path: &Path) -> ReplicaWatcher {
    ReplicaWatcher::start(
        idpsyncd::store::open(&StoreConfig::sqlite(path)),
        Arc::new(Wanted::default()),
    )
    .unwrap()
}

/// A world of `people`, who all hold `member`.
fn world(people: &[&str]) -> World {
    let mut world = World { sources: vec!["corp".to_owned()], ..World::default() };
    world.roles.insert("member".to_owned(), role("member", Vec::new()));
    for (id, name) in (0..).zip(people) {
        world.people.insert(id, Person::new(name));
        let reasons = BTreeSet::from([store_support::reason("/g")]);
        world.idp.insert((id, "member".to_owned()), reasons);
    }
    world
}

fn roles(watcher: &ReplicaWatcher, name: &str) -> Option<String> {
    let loaded = watcher.loaded();
    let replica = &loaded.as_ref()?.replica;
    match replica.user(name) {
        Found::Enabled(set) => Some(replica.roles_header(set).to_owned()),
        Found::Disabled(_) | Found::Unknown => None,
    }
}

fn generation(watcher: &ReplicaWatcher) -> u64 {
    watcher.loaded().as_ref().map_or(0, |loaded| loaded.replica.generation())
}

fn trouble(watcher: &ReplicaWatcher) -> String {
    watcher.trouble().map_or(String::new(), |text| text.to_string())
}

/// Everything that is logged in this process.
fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    struct To(&'static Mutex<Vec<u8>>);
    impl Write for To {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static ONCE: OnceLock<()> = OnceLock::new();
    let log = LOG.get_or_init(Mutex::default);
    ONCE.get_or_init(|| {
        tracing_subscriber::fmt().with_ansi(false).with_writer(|| To(log)).init();
    });
    log
}

fn warnings(path: &Path) -> usize {
    let log = log().lock().unwrap();
    let text = String::from_utf8_lossy(&log).into_owned();
    let shown = path.display().to_string();
    text.lines().filter(|line| line.contains("WARN") && line.contains(&shown)).count()
}

#[tokio::test]
async fn a_store_that_comes_later_is_served_and_followed_from_generation_to_generation() {
    let (_folder, path) = home();
    let watcher = follow(&path);
    until("it says that there is no store", || trouble(&watcher).contains("no store")).await;
    let stale = watcher.stale(at(0), Duration::MAX).unwrap();
    assert!(stale.words.starts_with("no generation is loaded: there is no store"), "{stale:?}");

    let mut writer = Writer::open(&path).unwrap();
    until("an empty store is no generation", || trouble(&watcher).contains("nothing was")).await;
    assert!(watcher.loaded().is_none());

    let mut now = World::default();
    for (generation_, people) in (1..).zip([&["ann"][..], &["ann", "ben"], &["ann", "ben", "cy"]]) {
        let next = world(people);
        commit(&mut writer, &plan(&now, &next, at(generation_)));
        now = next;
        let generation_ = u64::try_from(generation_).unwrap();
        // Without a nudge too.
        if generation_ == 2 {
            watcher.nudge();
        }
        assert!(watcher.at_least(generation_, Instant::now() + DEADLINE).await);
        assert_eq!(generation(&watcher), generation_);
        assert_eq!(roles(&watcher, people[people.len() - 1]).as_deref(), Some("member"));
        assert_eq!(trouble(&watcher), "");
    }
    let soon = Instant::now() + Duration::from_millis(20);
    assert!(!watcher.at_least(4, soon).await, "nobody committed a fourth");
}

#[tokio::test]
async fn who_took_a_generation_keeps_it_while_others_are_served_the_next() {
    let (_folder, path) = home();
    let mut writer = Writer::open(&path).unwrap();
    let (first, second) = (world(&["ann"]), world(&["ben"]));
    commit(&mut writer, &plan(&World::default(), &first, at(1)));
    let watcher = follow(&path);
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
    let taken = watcher.loaded();
    let kept = Arc::downgrade(taken.as_ref().unwrap());
    commit(&mut writer, &plan(&first, &second, at(2)));
    watcher.nudge();
    assert!(watcher.at_least(2, Instant::now() + DEADLINE).await);
    assert_eq!(roles(&watcher, "ann"), None);
    let old = &taken.as_ref().unwrap().replica;
    assert!(matches!(old.user("ann"), Found::Enabled(_)));
    drop(taken);
    until("the old one is freed", || kept.strong_count() == 0).await;
}

#[tokio::test]
async fn a_sync_that_changes_nothing_makes_the_evidence_younger() {
    let (_folder, path) = home();
    let mut writer = Writer::open(&path).unwrap();
    let configured = ["corp".to_owned(), "never".to_owned()];
    let directory = store_support::random_directory(1, 3, 1);
    let digest = store_support::digests(&directory);
    let read = |moment: Time, complete: bool, mirror: bool| SourceUpdate {
        complete,
        mirror: mirror.then_some(MirrorUpdate {
            old: None,
            directory: &directory,
            digest: &digest,
        }),
        ..store_support::update("corp", moment, None, &directory, &digest)
    };
    let plan = plan(&World::default(), &world(&["ann"]), at(0));
    let commit = |sources: &[SourceUpdate<'_>], writer: &mut Writer| {
        let commit = idpsyncd::store::Commit {
            plan: &plan,
            base_version: 0,
            sources,
            configured: &configured,
            settled: None,
        };
        writer.commit(&commit).unwrap();
    };
    let max = Duration::from_secs(100);
    let watcher = follow(&path);
    commit(&[], &mut writer);
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
    let stale = watcher.stale(at(0), max).unwrap();
    assert!(stale.words.contains("no source was read yet"), "{stale:?}");

    // A try that read nothing, then one that read a part, then all of it.
    let failed = SourceUpdate { error: Some("refused".to_owned()), ..read(at(5), false, false) };
    writer.touch(&[failed], &configured).unwrap();
    writer.touch(&[read(at(10), true, false)], &configured).unwrap();
    until("the read is seen", || watcher.stale(at(100), max).is_none()).await;
    let stale = watcher.stale(at(111), max).unwrap();
    assert_eq!(stale.since, Some(at(10)));
    assert!(stale.words.contains("`corp`"), "{stale:?}");
    writer.touch(&[read(at(50), false, false)], &configured).unwrap();
    writer.touch(&[read(at(60), true, false)], &configured).unwrap();
    until("the next one too", || watcher.stale(at(111), max).is_none()).await;
    assert_eq!(watcher.stale(at(161), max).unwrap().since, Some(at(60)));
    assert_eq!(generation(&watcher), 1, "no generation for that");
}

#[tokio::test]
async fn another_file_in_the_stores_place_is_read_anew() {
    let (folder, path) = home();
    let mut writer = Writer::open(&path).unwrap();
    commit(&mut writer, &plan(&World::default(), &world(&["ann"]), at(1)));
    let watcher = follow(&path);
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
    // As somebody restores a backup: same generation, same moment, other people.
    let backup = folder.path().join("backup.db");
    let mut other = Writer::open(&backup).unwrap();
    commit(&mut other, &plan(&World::default(), &world(&["zoe"]), at(1)));
    drop((writer, other));
    std::fs::rename(&backup, &path).unwrap();
    until("the other store is served", || roles(&watcher, "zoe").is_some()).await;
    assert_eq!(roles(&watcher, "ann"), None);

    std::fs::remove_file(&path).unwrap();
    until("it says that the store is gone", || trouble(&watcher).contains("no store")).await;
    assert!(roles(&watcher, "zoe").is_some(), "what was loaded is still served");
}

#[tokio::test]
async fn a_store_that_was_made_anew_in_its_own_place_takes_nobody_away() {
    let (_folder, path) = home();
    let mut writer = Writer::open(&path).unwrap();
    commit(&mut writer, &plan(&World::default(), &world(&["ann"]), at(1)));
    let watcher = follow(&path);
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "BEGIN; DELETE FROM idp_grant; DELETE FROM history; DELETE FROM user; DELETE FROM generation; \
             UPDATE meta SET generation = 0, applied_at = NULL; COMMIT",
        )
        .unwrap();
    until("it says that it is empty", || trouble(&watcher).contains("nothing was")).await;
    assert_eq!(generation(&watcher), 1);
    assert_eq!(
        roles(&watcher, "ann").as_deref(),
        Some("member"),
        "what was loaded is still served"
    );
}

#[tokio::test]
async fn a_store_that_cannot_be_read_keeps_the_old_generation_and_is_told_once() {
    log();
    let (_folder, path) = home();
    let mut writer = Writer::open(&path).unwrap();
    let with_guests = |people: &[&str]| {
        let mut world = world(people);
        world.roles.insert("guest".to_owned(), role("guest", Vec::new()));
        world
    };
    let first = with_guests(&["ann"]);
    // A set of roles that nobody had: one that is known is not read again.
    let mut second = with_guests(&["ann", "ben"]);
    let reasons = BTreeSet::from([store_support::reason("/g")]);
    second.idp.insert((1, "guest".to_owned()), reasons);
    commit(&mut writer, &plan(&World::default(), &first, at(1)));
    let watcher = follow(&path);
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
    let before = warnings(&path);

    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE role SET live = 0", []).unwrap();
    commit(&mut writer, &plan(&first, &second, at(2)));
    until("the damage is seen", || trouble(&watcher).contains("does not exist")).await;
    for _ in 0..3 {
        watcher.nudge();
        // It has looked when nothing is nudged any more: a commit elsewhere would be seen then.
        assert!(!watcher.at_least(2, Instant::now() + Duration::from_millis(30)).await);
    }
    assert_eq!(roles(&watcher, "ann").as_deref(), Some("member"));
    assert_eq!(generation(&watcher), 1);
    assert_eq!(warnings(&path), before + 1, "once, however often it is looked at");

    conn.execute("UPDATE role SET live = 1", []).unwrap();
    assert!(watcher.at_least(2, Instant::now() + DEADLINE).await, "it is well again");
    assert_eq!(trouble(&watcher), "");
    assert_eq!(roles(&watcher, "ben").as_deref(), Some("guest,member"));
}

#[tokio::test]
async fn a_store_at_rest_is_followed_when_somebody_begins_to_write_it() {
    log();
    let (_folder, path) = home();
    let first = world(&["ann"]);
    let mut writer = Writer::open(&path).unwrap();
    commit(&mut writer, &plan(&World::default(), &first, at(1)));
    drop(writer);
    // As a copy has it: the file alone.
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", path.display())).unwrap();
    }
    let watcher = follow(&path);
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
    assert!(!path.with_extension("db-wal").exists(), "a reader makes no log");
    let mut writer = Writer::open(&path).unwrap();
    commit(&mut writer, &plan(&first, &world(&["ann", "ben"]), at(2)));
    assert!(watcher.at_least(2, Instant::now() + DEADLINE).await);
    assert!(roles(&watcher, "ben").is_some());
    assert_eq!(warnings(&path), 0);
}

#[tokio::test]
async fn a_newer_programs_migration_is_noticed_on_an_open_store() {
    let (_folder, path) = home();
    let mut writer = Writer::open(&path).unwrap();
    commit(&mut writer, &plan(&World::default(), &world(&["ann"]), at(1)));
    let watcher = follow(&path);
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    until("it says so", || trouble(&watcher).contains("schema version 99")).await;
    assert!(roles(&watcher, "ann").is_some());
}

/// How many descriptors of this process are on `path`.
fn descriptors(path: &Path) -> usize {
    let real = std::fs::canonicalize(path).unwrap();
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|link| *link == real)
        .count()
}

#[tokio::test]
async fn a_file_that_is_no_store_is_not_opened_again_until_it_changes() {
    let (_folder, path) = home();
    Connection::open(&path).unwrap().execute("CREATE TABLE other (x)", []).unwrap();
    let watcher = follow(&path);
    until("it says so", || trouble(&watcher).contains("not a store")).await;
    for _ in 0..20 {
        watcher.nudge();
        assert!(!watcher.at_least(1, Instant::now() + Duration::from_millis(10)).await);
    }
    assert!(descriptors(&path) <= 1, "each opening would cost one");
    std::fs::remove_file(&path).unwrap();
    let mut writer = Writer::open(&path).unwrap();
    commit(&mut writer, &plan(&World::default(), &world(&["ann"]), at(1)));
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
}

#[tokio::test]
async fn a_follower_that_is_dropped_lets_go_of_the_store() {
    let (_folder, path) = home();
    let mut writer = Writer::open(&path).unwrap();
    commit(&mut writer, &plan(&World::default(), &world(&["ann"]), at(1)));
    drop(writer);
    let before = descriptors(&path);
    let watcher = follow(&path);
    assert!(watcher.at_least(1, Instant::now() + DEADLINE).await);
    assert!(descriptors(&path) > before);
    drop(watcher);
    until("its thread has ended", || descriptors(&path) == before).await;
}
