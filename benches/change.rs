//! What one person's change costs, from what a feed tells to the gateway's replica that knows it:
//! companies of 10,000, 100,000 and 1,000,000 people with seven memberships each.
//!
//! `cargo bench --bench change` prints the CPU time (of all threads, the kernel's for them included) of
//! planning and committing one change and of catching up with it, beside that of a full run that finds one
//! change: it reads a realm export, the cheapest source there is. Beside that, of planning for everybody
//! from the mirror alone. It exits 1 where a limit is passed: a hundredth of the run at 100,000 people,
//! 50 ms at 1,000,000. `BENCH_USERS` changes the sizes (`10000,100000`). `BENCH_ALL=1` puts everybody in
//! one role more, as a realm's default roles do: a person who goes is taken from that list of everybody.
//! `BENCH_POSTGRES` is the URL of a PostgreSQL that keeps the store in place of a file (`bench/postgres.sh` starts one):
//! for how long that works for a change is told too, and may be 20 ms.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on ends as a test does"
)]

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use idpsyncd::config::{self, Config};
use idpsyncd::directory::{
    Cursor, Delta, Enabled, Kind, ListChange, PersonDelta, RefDelta, RefId, Step, Touched,
};
use idpsyncd::gateway::replica::{Replica, Wanted};
use idpsyncd::model::{Time, parse_rfc3339};
use idpsyncd::source::OnProgress;
use idpsyncd::store::{self, Reader, Seen, Store};
use idpsyncd::sync::{self, Options};
use nix::time::{ClockId, clock_gettime};

const SOURCE: &str = "kc";
/// Changes of each kind.
const CHANGES: u32 = 25;

/// How long a database may work for one change.
const DATABASE_MS: f64 = 20.0;

/// What CPU time one change may take, from a delta to the replica.
#[derive(Clone, Copy)]
enum Limit {
    Time(Duration),
    /// This part of a full run's.
    OneIn(u32),
}

impl Limit {
    /// Of companies of so many people; there is none for small ones.
    fn of(users: u32) -> Option<Limit> {
        match users {
            1_000_000.. => Some(Limit::Time(Duration::from_millis(50))),
            100_000.. => Some(Limit::OneIn(100)),
            _ => None,
        }
    }

    fn is_met(self, change: Duration, run: Duration) -> bool {
        match self {
            Limit::Time(most) => change <= most,
            Limit::OneIn(part) => change * part <= run,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Time(most) => write!(f, "within {} ms of CPU", most.as_millis()),
            Limit::OneIn(part) => write!(f, "within 1/{part} of a full run's CPU"),
        }
    }
}

/// The PostgreSQL that keeps the store, where it is no file: `BENCH_POSTGRES`.
fn database() -> Option<String> {
    std::env::var("BENCH_POSTGRES").ok()
}

/// For how long that database has worked on statements so far, in milliseconds. It tells of what a session did
/// after ten seconds at most.
fn worked(url: &str) -> f64 {
    std::thread::sleep(Duration::from_secs(12));
    let sql = "SELECT active_time FROM pg_stat_database WHERE datname = current_database()";
    let output = Command::new("psql").args(["-X", "-A", "-t", "-c", sql, url]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Two hundred roles behind a tenth of the groups; the other groups mean nothing here.
fn configuration(folder: &Path, users: u32) -> Config {
    let store = match database() {
        None => "path = \"store.db\"".to_owned(),
        Some(url) => format!("postgres = \"{url}\"\nschema = \"change_{users}\""),
    };
    let mut text = format!("[store]\n{store}\n");
    text.push_str(
        "[sync]\non_missing = { after = \"0s\" }\n\
         [guard]\nmax_lost_percent = 100\nmax_disabled_percent = 100\n\
         [[source]]\nname = \"kc\"\nkind = \"file\"\nrealm_export = \"realm.json\"\n\
         [roles.everyone]\neveryone = true\n\
         [[roles.everyone.policies]]\nactions = [\"profile:*\"]\n\
         [[catalog]]\nactions = [\"workflow:Create\", \"workflow:Read\"]\n\
         resources = [\"pool/p1\", \"pool/p2\", \"pool/p3\"]\n",
    );
    for role in 0..200 {
        text.push_str(&format!(
            "[roles.r{role}]\nexternal_roles = []\n[[roles.r{role}.policies]]\n\
             actions = [\"workflow:*\"]\nresources = [\"pool/p{role}*\"]\n\
             [[mapping]]\ngroup_regex = '/g{role}-.*'\nroles = [\"r{role}\"]\n"
        ));
    }
    config::parse(&text, &folder.join("bench.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

fn now() -> Time {
    parse_rfc3339("2026-01-01T00:00:00Z").unwrap()
}

fn ext(user: u32) -> String {
    format!("{user:08x}-1111-4222-8333-444455556666")
}

fn group(number: u32) -> RefId {
    RefId { kind: Kind::Group, key: format!("group-{number:08}") }
}

/// A fiftieth as many groups as users. A tenth of them are named by a rule.
fn groups(users: u32) -> u32 {
    users / 50
}

/// The groups that `user` is in; neighbours share them, as they do in companies.
fn groups_of(user: u32, users: u32) -> [u32; 7] {
    [0, 1, 2, 3, 4, 5, 6].map(|step| (user / 100 * 7 + step * 13) % groups(users))
}

fn name_of(number: u32) -> String {
    if number.is_multiple_of(10) {
        format!("g{}-{number}", (number / 10) % 200)
    } else {
        format!("other-{number}")
    }
}

/// Writes the company's realm export; `off` is disabled.
fn export(users: u32, off: Option<u32>, file: &Path) {
    let mut out = BufWriter::new(File::create(file).unwrap());
    let all = std::env::var_os("BENCH_ALL").is_some();
    let roles = if all { r#","realmRoles":["default-roles-r"]"# } else { "" };
    write!(out, r#"{{"realm":"r","roles":{{"realm":["#).unwrap();
    if all {
        write!(out, r#"{{"id":"d","name":"default-roles-r"}}"#).unwrap();
    }
    write!(out, r#"]}},"groups":["#).unwrap();
    for number in 0..groups(users) {
        let (key, name) = (group(number).key, name_of(number));
        let comma = if number == 0 { "" } else { "," };
        writeln!(out, r#"{comma}{{"id":"{key}","name":"{name}","path":"/{name}"}}"#).unwrap();
    }
    write!(out, r#"],"users":["#).unwrap();
    for user in 0..users {
        let comma = if user == 0 { "" } else { "," };
        let (ext, enabled) = (ext(user), off != Some(user));
        let mine = groups_of(user, users).map(|it| format!(r#""/{}""#, name_of(it))).join(",");
        writeln!(
            out,
            r#"{comma}{{"id":"{ext}","username":"user{user:07}","email":"user{user:07}@example.org","emailVerified":true,"enabled":{enabled},"groups":[{mine}]{roles}}}"#
        )
        .unwrap();
    }
    write!(out, "]}}").unwrap();
    out.flush().unwrap();
}

/// A full run, and the CPU time that it takes.
fn run(config: &Config, store: &dyn Store) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (options, silent): (_, OnProgress) = (Options::default(), Arc::new(|_| {}));
    let before = cpu();
    let outcome = runtime.block_on(sync::run(config, store, &options, &silent, now())).unwrap();
    assert_eq!(outcome.generation, outcome.before + 1, "{:?}", outcome.sources);
    cpu() - before
}

/// How far the mirror has come.
fn cursor_of(store: &dyn Store) -> Cursor {
    let reader = store.reader().unwrap().unwrap();
    let (rows, _) = reader.mirror_rows(SOURCE, &Touched::default()).unwrap().unwrap();
    rows.head.cursor.unwrap()
}

/// The kinds of change.
const KINDS: [&str; 4] =
    ["a member removed", "a person disabled", "a person deleted", "a new person"];

/// The change `n`, of one person each.
fn change(n: u32, users: u32) -> Delta {
    let mut delta = Delta::default();
    let user = (n + 1) * 4_001 % users;
    let person = PersonDelta { ext: ext(user), ..PersonDelta::default() };
    match n % 4 {
        0 => {
            // From a group that gives a role, where there is one.
            let mut mine = groups_of(user, users).into_iter();
            let from = mine.clone().find(|it| it % 10 == 0).or_else(|| mine.next()).unwrap();
            let members =
                ListChange::Changed { added: Vec::new(), removed: vec![person.ext.clone()] };
            delta.refs.push(RefDelta { members, ..RefDelta::new(group(from)) });
        }
        1 => delta.people.push(PersonDelta { enabled: Some(Enabled::No), ..person }),
        2 => delta.gone_people.push(person.ext),
        _ => delta.people.push(PersonDelta {
            ext: ext(users + n),
            username: Some(format!("user{:07}", users + n)),
            email: Some(format!("user{:07}@example.org", users + n)),
            email_verified: Some(true),
            enabled: Some(Enabled::Yes),
            within: ListChange::Whole(groups_of(user, users).map(group).to_vec()),
            ..person
        }),
    }
    delta
}

/// The CPU time that this process has used.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

/// What the feed tells after `from`.
fn told(delta: Delta, from: Cursor, to: Cursor) -> BTreeMap<String, Vec<Delta>> {
    let delta = Delta { step: Some(Step { from, to }), ..delta };
    BTreeMap::from([(SOURCE.to_owned(), vec![delta])])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap()
}

/// Whether the database, which had worked so long before all changes, was quick enough with each.
fn database_is_quick(users: u32, before: f64) -> bool {
    let after = database().map_or(before, |url| worked(&url));
    let each = (after - before) / f64::from(CHANGES * 4);
    let met = each <= DATABASE_MS;
    println!(
        "{}: one change among {users} people, and a follower's reading of it: {each:.2} ms of the \
         database's time, within {DATABASE_MS} ms",
        if met { "PASS" } else { "FAIL" }
    );
    met
}

/// Measures a company; whether its limit is met, where it has one.
fn measure(users: u32) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), users);
    let file = folder.path().join("realm.json");
    let store: Arc<dyn Store> = store::open(&config.store);
    export(users, None, &file);
    run(&config, &*store);
    export(users, Some(0), &file);
    let whole = run(&config, &*store);
    // With another configuration what a feed tells is planned for everybody, and with this one again.
    let at = cursor_of(&*store);
    let still = told(Delta::default(), at.clone(), at);
    let other = Config { fingerprint: String::new(), ..config.clone() };
    sync::ingest(&other, &*store, &still, now()).unwrap();
    let before = cpu();
    sync::ingest(&config, &*store, &still, now()).unwrap();
    let from_mirror = cpu() - before;

    let wanted = Wanted { sources: vec![SOURCE.to_owned()], ..Wanted::default() };
    let before = cpu();
    let mut replica = Replica::load(&*store.reader().unwrap().unwrap(), wanted.into()).unwrap();
    let loaded = cpu() - before;
    let mut times: [(Vec<Duration>, Vec<Duration>); 4] = Default::default();
    let (mut at, mut watch) = (cursor_of(&*store), store.watch());
    let worked_before = database().map(|url| worked(&url));
    for n in 0..CHANGES * 4 {
        let to = Cursor::new(n.to_string());
        let told = told(change(n, users), std::mem::replace(&mut at, to.clone()), to);
        let start = cpu();
        let (outcome, _) = sync::ingest(&config, &*store, &told, now()).unwrap();
        let committed = cpu();
        assert_eq!(outcome.generation, outcome.before + 1, "change {n} changes somebody");
        // As a gateway that follows the store does.
        let mut catch_up = |reader: &dyn Reader, _: Seen| {
            replica = replica.caught_up(reader)?.unwrap();
            Ok(())
        };
        watch.look(&mut catch_up).unwrap();
        let (commits, follows) = times.get_mut((n % 4) as usize).unwrap();
        follows.push(cpu() - committed);
        commits.push(committed - start);
    }
    assert!(replica.recent() <= 2 * (CHANGES as usize) * 4, "it was loaded again");
    println!(
        "{users} people, {} groups: a full run takes {:.0} ms of CPU, planning for everybody from \
         the mirror {:.0} ms, loading a replica {:.0} ms",
        groups(users),
        ms(whole),
        ms(from_mirror),
        ms(loaded)
    );
    let limit = Limit::of(users);
    let mut passed = true;
    for (kind, (commits, follows)) in KINDS.iter().zip(&mut times) {
        let both: Vec<Duration> = commits.iter().zip(&*follows).map(|(a, b)| *a + *b).collect();
        let worst = both.iter().max().copied().unwrap();
        let (committed, followed) = (median(commits), median(follows));
        let met = limit.is_none_or(|limit| limit.is_met(committed + followed, whole));
        passed &= met;
        println!(
            "  {} {kind:18} {:6.2} ms to the commit, {:5.2} ms to the replica (worst {:6.2} ms), \
             1/{:.0}",
            if met { "    " } else { "FAIL" },
            ms(committed),
            ms(followed),
            ms(worst),
            whole.as_secs_f64() / (committed + followed).as_secs_f64()
        );
    }
    passed &= worked_before.is_none_or(|before| database_is_quick(users, before));
    if let Some(limit) = limit {
        println!(
            "{}: one change among {users} people {limit}",
            if passed { "PASS" } else { "FAIL" }
        );
    }
    passed
}

fn main() {
    let sizes = std::env::var("BENCH_USERS").unwrap_or("10000,100000,1000000".to_owned());
    let mut passed = true;
    for users in sizes.split(',') {
        passed &= measure(users.parse().unwrap());
    }
    if !passed {
        std::process::exit(1);
    }
}
