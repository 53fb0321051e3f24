//! A process that is killed while it writes leaves the old generation or the new one, whole.

#![cfg(test)]

#[expect(dead_code, reason = "the tests of the store need more of it")]
mod store_support;
mod support;

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use idpsyncd::directory::{Directory, Enabled, NewUser, SnapshotBuilder};
use idpsyncd::model::{PostgresConfig, Status, StoreConfig, StoreTls, UserId};
use idpsyncd::plan::{ChangeView, Held};
use idpsyncd::policy::Effect;
use idpsyncd::store::{Commit, HistoryFilter};
use store_support::door::{Reader, Writer};
use store_support::*;
use support::postgres::Postgres;

const CHILD: &str = "IDPSYNCD_TEST_CRASH_STORE";
const PEOPLE: u32 = 300;
/// So many of them have a token.
const TOKENS: u32 = 40;
/// So many kills that hit a commit, of at most so many tries.
const KILLS: u32 = 50;
const TRIES: u32 = 400;
/// The same in a database.
const KILLS_OF_SESSIONS: u32 = 20;

/// Everything in generation `g` says `g`, so that a mix of two generations shows.
fn world(g: u64) -> World {
    let mut world = World::default();
    if g == 0 {
        return world;
    }
    for k in 0..3 {
        world.role(role(&format!("r{k}"), vec![policy(Effect::Allow, &["w:*"], None)]));
    }
    world.catalog = vec![request(&format!("w:G{g}"), None)];
    for id in 0..PEOPLE {
        world.person(id, &format!("u{id}"));
        let person = world.people.get_mut(&id).unwrap();
        person.email = format!("g{g}@example.org");
        person.status = Status::Enabled;
        let role = format!("r{}", g % 3);
        world.idp(id, &role, &[&format!("/g{g}")]);
        if id < TOKENS {
            world.token(id, &format!("t{g}"), g * u64::from(TOKENS) + u64::from(id), &[&role]);
        }
    }
    world
}

fn directory(g: u64) -> Directory {
    let mut build = SnapshotBuilder::new(false);
    for id in 0..PEOPLE {
        build
            .user(&NewUser {
                ext: &format!("ext-u{id}"),
                username: &format!("u{id}"),
                email: &format!("g{g}@example.org"),
                email_verified: true,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
    }
    build.finish().directory
}

/// Enough changes that a kill can come between two of them.
fn held(g: u64) -> Held {
    let change = |user: u32| ChangeView {
        change: idpsyncd::model::ChangeKind::GrantRemoved,
        user: Some(format!("user-{user}")),
        user_id: Some(UserId::new(user)),
        role: Some(format!("r{g}")),
        token: None,
        origin: None,
        old: None,
        new: None,
        cause: None,
        why: None,
        reasons: Vec::new(),
    };
    Held {
        id: format!("{g:012x}"),
        since: String::new(),
        why: Vec::new(),
        lost_pairs: g,
        changes: (0..200).map(change).collect(),
    }
}

/// Commits the generation after the stored one; returns it.
fn commit_next(writer: &mut Writer) -> u64 {
    let reader = writer.reader().unwrap();
    let meta = reader.meta().unwrap();
    let g = meta.generation + 1;
    let mut plan = plan(&world(g - 1), &world(g), at(i64::try_from(g).unwrap()));
    plan.held = Some(held(g));
    let old = reader.mirror("corp").unwrap();
    let (directory, configured) = (directory(g), ["corp".to_owned()]);
    let digest = digests(&directory);
    let moment = at(i64::try_from(g).unwrap());
    let sources = [update("corp", moment, old.as_ref(), &directory, &digest)];
    let settled = Some(format!("settled {g}"));
    let commit = Commit {
        plan: &plan,
        base_version: meta.version,
        sources: &sources,
        configured: &configured,
        settled,
    };
    assert_eq!(writer.commit(&commit).unwrap().generation, Some(g));
    g
}

/// The store of this name: a file, or the database of a URL.
fn at_of(name: &str) -> StoreConfig {
    if !name.starts_with("postgresql://") {
        return StoreConfig::sqlite(name);
    }
    StoreConfig::Postgres(PostgresConfig {
        url: name.to_owned(),
        shown: name.to_owned(),
        tls: StoreTls::Never,
        ca_file: None,
        schema: "idpsyncd".to_owned(),
        read: None,
    })
}

#[test]
fn child_commits_generation_after_generation() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let mut writer = Writer::open(&at_of(&path)).unwrap();
    let mut out = std::io::stdout();
    loop {
        let g = commit_next(&mut writer);
        // The parent is gone: so is the need for this process.
        if writeln!(out, "committed {g}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// Everything that can be read says one and the same generation, which is returned.
fn whole(path: &Path) -> u64 {
    let reader = Reader::open(path).unwrap().unwrap();
    let meta = reader.meta().unwrap();
    let g = meta.generation;
    drop(reader);
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(texts("PRAGMA integrity_check"), ["ok"]);
    if g == 0 {
        assert!(texts("SELECT username FROM gateway_user").is_empty());
        return 0;
    }
    let people = [PEOPLE.to_string()];
    assert_eq!(texts("SELECT DISTINCT email FROM gateway_user"), [format!("g{g}@example.org")]);
    assert_eq!(texts("SELECT CAST(count(*) AS TEXT) FROM gateway_user"), people);
    assert_eq!(texts("SELECT DISTINCT role FROM gateway_user_role"), [format!("r{}", g % 3)]);
    assert_eq!(texts("SELECT CAST(count(*) AS TEXT) FROM gateway_user_role"), people);
    assert_eq!(texts("SELECT DISTINCT action FROM gateway_decision"), [format!("w:G{g}")]);
    assert_eq!(texts("SELECT DISTINCT role FROM gateway_decision"), [format!("r{}", g % 3)]);
    assert_eq!(texts("SELECT CAST(count(*) AS TEXT) FROM gateway_decision"), people);
    assert_eq!(texts("SELECT CAST(count(*) AS TEXT) FROM gateway_role_decision"), ["1"]);

    assert_eq!(texts("SELECT DISTINCT name FROM gateway_token"), [format!("t{g}")]);
    assert_eq!(texts("SELECT CAST(count(*) AS TEXT) FROM gateway_token"), [TOKENS.to_string()]);
    let sql = "SELECT DISTINCT t.role_set FROM gateway_token t JOIN gateway_role_decision d \
               USING (role_set)";
    assert_eq!(texts(sql).len(), 1);

    assert_eq!(told(&StoreConfig::sqlite(path)), g);
    g
}

/// What is read through the door says one and the same generation, which is returned.
fn told(store: &StoreConfig) -> u64 {
    let reader = Reader::open(store).unwrap().unwrap();
    let meta = reader.meta().unwrap();
    let g = meta.generation;
    if g == 0 {
        assert_eq!(reader.count_users().unwrap(), 0);
        return 0;
    }
    assert_eq!(World::of(&reader.state().unwrap()), world(g));
    assert_eq!(reader.held().unwrap(), Some(held(g)));
    assert_eq!(
        reader.mirror("corp").unwrap().unwrap().mirror.directory.digest(),
        directory(g).digest()
    );
    assert_eq!(meta.settled, Some(format!("settled {g}")));
    assert_eq!(reader.sources().unwrap()[0].read_at, Some(at(i64::try_from(g).unwrap())));
    let newest = reader.history(&HistoryFilter { limit: Some(1), ..HistoryFilter::default() });
    assert_eq!(newest.unwrap()[0].generation, g);
    let since = Some(at(i64::try_from(g).unwrap()));
    let rows = reader.history(&HistoryFilter { since, ..HistoryFilter::default() }).unwrap();
    let i = i64::try_from(g).unwrap();
    assert_eq!(rows.len(), plan(&world(g - 1), &world(g), at(i)).changes.len());
    g
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_commits_generation_after_generation", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

#[test]
fn a_kill_at_any_point_leaves_one_generation_whole_and_the_next_run_completes() {
    if std::env::var(CHILD).is_ok() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let log = folder.path().join("store.db-wal");
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut inside, mut longest) = (0, 100_000);
    let mut kill = 0;
    while inside < KILLS {
        assert!(kill < TRIES, "only {inside} of {kill} kills hit a commit");
        let mut child = start(&path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A few kills hit the making of the store, others come after a commit or three, and most
        // when the log has grown to some length: in the midst of writing, syncing or emptying it.
        let commits = if kill < 5 { 0 } else { random.u32(1..3) };
        let mut seen = 0;
        while seen < commits {
            let line = lines.next().expect("the child commits").unwrap();
            seen += u32::from(line.starts_with("committed"));
        }
        let wanted = random.u64(0..=longest);
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let length = std::fs::metadata(&log).map_or(0, |meta| meta.len());
            longest = longest.max(length);
            // One in four only waits for a random number of looks.
            if length >= wanted || (kill % 4 == 0 && random.u32(0..2_000) == 0) {
                break;
            }
            assert!(Instant::now() < deadline, "the log never grew");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        inside += u32::from(std::fs::metadata(&log).is_ok_and(|meta| meta.len() > 0));
        // Killed while the store was made: there may be none yet.
        if Reader::open(&path).unwrap().is_some() {
            whole(&path);
        }
        let mut writer = Writer::open(&path).unwrap();
        let next = commit_next(&mut writer);
        drop(writer);
        assert_eq!(whole(&path), next);
        kill += 1;
    }
    eprintln!("{inside} of {kill} kills hit a commit, longest log {longest}");
}

#[test]
fn a_kill_at_any_point_leaves_one_generation_whole_in_a_database_too() {
    if std::env::var(CHILD).is_ok() {
        return;
    }
    let Some(postgres) = Postgres::start() else { return };
    postgres.database("idpsyncd", "idpsyncd");
    let url = format!("postgresql://idpsyncd@127.0.0.1:{}/idpsyncd", postgres.port);
    let at = at_of(&url);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut inside, mut last) = (0, 0);
    let mut kill = 0;
    while inside < KILLS_OF_SESSIONS {
        assert!(kill < TRIES, "only {inside} of {kill} kills hit a commit");
        let mut child = start(Path::new(&url));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let commits = if kill < 3 { 0 } else { random.u32(1..3) };
        let mut seen = 0;
        while seen < commits {
            let line = lines.next().expect("the child commits").unwrap();
            seen += u32::from(line.starts_with("committed"));
        }
        // At any moment: what is hit is looked at afterwards.
        std::thread::sleep(Duration::from_micros(random.u64(0..60_000)));
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'idpsyncd' AND \
                    backend_xid IS NOT NULL";
        let hit = postgres.sql("postgres", busy) != "0";
        child.kill().unwrap();
        child.wait().unwrap();
        inside += u32::from(hit);
        // The server notices by itself, and takes back what was open.
        let there = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'idpsyncd'";
        let deadline = Instant::now() + Duration::from_secs(120);
        while postgres.sql("postgres", there) != "0" {
            assert!(Instant::now() < deadline, "the server still has a session");
        }
        if Reader::open(&at).unwrap().is_some() {
            let g = told(&at);
            assert!(g >= last, "a generation that was committed is gone");
            let views = "SELECT string_agg(DISTINCT email, ',') FROM idpsyncd.gateway_user";
            let wanted = if g == 0 { String::new() } else { format!("g{g}@example.org") };
            assert_eq!(postgres.sql("idpsyncd", views), wanted);
        }
        let mut writer = Writer::open(&at).unwrap();
        last = commit_next(&mut writer);
        drop(writer);
        assert_eq!(told(&at), last);
        kill += 1;
    }
    eprintln!("{inside} of {kill} kills hit a commit");
}
