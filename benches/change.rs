//! What one person's change costs, from what a feed tells to the gateway's replica that knows it:
//! companies of 10,000, 100,000 and 1,000,000 people with seven memberships each.
//!
//! `cargo bench --bench change` prints the CPU time (of all threads, the kernel's for them included) of
//! planning and committing one change and of catching up with it, beside that of planning for everybody
//! from the same mirror: a run but for what a source's answer costs. It exits 1 where a limit of the
//! issue is passed: a hundredth of the run at 100,000 people, 50 ms at 1,000,000. `BENCH_USERS` changes
//! the sizes (`10000,100000`). `BENCH_ALL=1` puts everybody in one group more, as a realm's default role does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on ends as a test does"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use idpsyncd::config::{self, Config};
use idpsyncd::directory::{
    Cursor, Delta, Enabled, Kind, ListChange, NewRef, NewUser, PersonDelta, RefDelta, RefId,
    RefIdx, Snapshot, SnapshotBuilder, Step, local,
};
use idpsyncd::gateway::replica::{Replica, Wanted};
use idpsyncd::model::{State, Time, parse_rfc3339};
use idpsyncd::plan;
use idpsyncd::resolve::{View, resolve};
use idpsyncd::store::{self, Commit, MirrorUpdate, SourceUpdate, Store, Turn};
use idpsyncd::sync;
use nix::time::{ClockId, clock_gettime};

const SOURCE: &str = "kc";
/// Changes of each kind.
const CHANGES: u32 = 25;
/// CPU time from a delta to the replica, of 1,000,000 people.
const LIMIT: Duration = Duration::from_millis(50);
/// Of 100,000 people the same, as a part of planning for everybody.
const PART: f64 = 0.01;

/// Two hundred roles behind a tenth of the groups; the other groups mean nothing here.
fn configuration(folder: &Path) -> Config {
    let mut text = String::from(
        "[store]\npath = \"store.db\"\n[sync]\non_missing = { after = \"0s\" }\n\
         [guard]\nmax_lost_percent = 100\nmax_disabled_percent = 100\n\
         [[source]]\nname = \"kc\"\nkind = \"keycloak\"\n\
         url = \"https://kc.example.com\"\nrealm = \"r\"\nclient_id = \"c\"\n\
         client_secret = { env = \"X\" }\n[roles.everyone]\neveryone = true\n\
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

fn cursor(n: u32) -> Cursor {
    Cursor::new(n.to_string())
}

/// A fiftieth as many groups as users. A tenth of them are named by a rule.
fn groups(users: u32) -> u32 {
    users / 50
}

/// The groups that `user` is in; neighbours share them, as they do in companies.
fn groups_of(user: u32, users: u32) -> [u32; 7] {
    [0, 1, 2, 3, 4, 5, 6].map(|step| (user / 100 * 7 + step * 13) % groups(users))
}

fn company(users: u32) -> Snapshot {
    let mut builder = SnapshotBuilder::new(false);
    builder.cursor(cursor(0));
    for number in 0..groups(users) {
        let name = if number % 10 == 0 {
            format!("g{}-{number}", (number / 10) % 200)
        } else {
            format!("other-{number}")
        };
        let (key, path) = (group(number).key, format!("/{name}"));
        let (kind, name) = (Kind::Group, &*name);
        builder.reference(&NewRef { kind, key: &key, name, identity: &path, norm: &path }).unwrap();
    }
    let all = std::env::var_os("BENCH_ALL").map(|_| {
        let (kind, key) = (Kind::RealmRole, "default-roles-r");
        builder.reference(&NewRef { kind, key, name: key, identity: key, norm: key }).unwrap()
    });
    for user in 0..users {
        let (name, email) = (format!("user{user:07}"), format!("user{user:07}@example.org"));
        let number = builder
            .user(&NewUser {
                ext: &ext(user),
                username: &name,
                email: &email,
                email_verified: true,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
        for group in groups_of(user, users) {
            builder.member(RefIdx::new(group), number);
        }
        if let Some(all) = all {
            builder.member(all, number);
        }
    }
    builder.finish()
}

/// Commits a first run.
fn first(config: &Config, store: &dyn Store, company: Snapshot) {
    store.prepare().unwrap();
    let reader = store.reader().unwrap().unwrap();
    let directory = company.directory;
    let nobody = local::nobody();
    let views = [
        View { source: SOURCE, directory: &directory },
        View { source: local::NAME, directory: &nobody },
    ];
    let old = State::default();
    let resolved = resolve(&config.settings(), &views, &old, now()).unwrap();
    let background = plan::Background::default();
    let plan = plan::plan(&config.guard, resolved, &old, &background, now()).unwrap();
    let key = reader.digest_key().unwrap();
    let update = |source, kind, directory, digest, cursor| SourceUpdate {
        source,
        kind,
        tried_at: now(),
        complete: true,
        error: None,
        scopes: Vec::new(),
        cursor,
        mirror: Some(MirrorUpdate { old: None, directory, digest }),
    };
    let (digest, none) = (directory.digests(&key), nobody.digests(&key));
    let sources = [
        update(SOURCE, "keycloak", &directory, &digest, company.cursor.as_ref()),
        update(local::NAME, local::NAME, &nobody, &none, None),
    ];
    let configured: Vec<String> = config.sources.iter().map(|it| it.name.clone()).collect();
    let commit = Commit {
        plan: &plan,
        base_version: reader.meta().unwrap().version,
        sources: &sources,
        configured: &configured,
        settled: None,
    };
    store.begin(Turn::Anyones).unwrap().commit(&commit).unwrap();
}

/// The kinds of change.
const KINDS: [&str; 4] =
    ["a member removed", "a person disabled", "a person deleted", "a new person"];

/// The change `n`, of one person each.
fn change(n: u32, users: u32) -> Delta {
    let mut delta =
        Delta { step: Some(Step { from: cursor(n), to: cursor(n + 1) }), ..Delta::default() };
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

fn told(delta: Delta) -> BTreeMap<String, Vec<Delta>> {
    BTreeMap::from([(SOURCE.to_owned(), vec![delta])])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap()
}

/// Measures a company; whether no limit is passed.
fn measure(users: u32) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path());
    let store: Arc<dyn Store> = store::open(&config.store);
    first(&config, &*store, company(users));
    // Nobody has made a run yet: what a feed tells is planned for everybody.
    let still = Delta { step: Some(Step { from: cursor(0), to: cursor(0) }), ..Delta::default() };
    let before = cpu();
    sync::ingest(&config, &*store, &told(still), now()).unwrap();
    let whole = cpu() - before;

    let wanted = Wanted { sources: vec![SOURCE.to_owned()], ..Wanted::default() };
    let before = cpu();
    let mut replica = Replica::load(&*store.reader().unwrap().unwrap(), wanted.into()).unwrap();
    let loaded = cpu() - before;
    let mut times: [(Vec<Duration>, Vec<Duration>); 4] = Default::default();
    for n in 0..CHANGES * 4 {
        let told = told(change(n, users));
        let start = cpu();
        let outcome = sync::ingest(&config, &*store, &told, now()).unwrap();
        let committed = cpu();
        assert_eq!(outcome.generation, outcome.before + 1, "change {n} changes somebody");
        replica = replica.caught_up(&*store.reader().unwrap().unwrap()).unwrap().unwrap();
        let (commits, follows) = times.get_mut((n % 4) as usize).unwrap();
        follows.push(cpu() - committed);
        commits.push(committed - start);
    }
    assert!(replica.recent() <= 2 * (CHANGES as usize) * 4, "it was loaded again");
    println!(
        "{users} people, {} groups: planned for everybody in {:.0} ms of CPU, a replica loaded in \
         {:.0} ms",
        groups(users),
        ms(whole),
        ms(loaded)
    );
    let mut passed = true;
    for (kind, (commits, follows)) in KINDS.iter().zip(&mut times) {
        let both: Vec<Duration> = commits.iter().zip(&*follows).map(|(a, b)| *a + *b).collect();
        let worst = both.iter().max().copied().unwrap();
        let (committed, followed) = (median(commits), median(follows));
        let part = (committed + followed).as_secs_f64() / whole.as_secs_f64();
        let over = match users {
            1_000_000.. => committed + followed > LIMIT,
            100_000.. => part > PART,
            _ => false,
        };
        passed &= !over;
        println!(
            "  {} {kind:18} {:6.2} ms to the commit, {:5.2} ms to the replica (worst {:6.2} ms), \
             1/{:.0}",
            if over { "FAIL" } else { "    " },
            ms(committed),
            ms(followed),
            ms(worst),
            1.0 / part
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
    println!(
        "{}: one change in {} ms of CPU among 1,000,000 people, in a hundredth of a run's among \
         100,000",
        if passed { "PASS" } else { "FAIL" },
        LIMIT.as_millis()
    );
    if !passed {
        std::process::exit(1);
    }
}
