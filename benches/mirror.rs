//! What one person's change costs in a mirror of 1,000,000 people with seven memberships each: a
//! delta, from its values to a commit that is safe on disk, beside laying a full read over the same
//! mirror in which as much has changed.
//!
//! `cargo bench --bench mirror` exits 1 where a limit is passed: a hundredth of the time of the full
//! read, twenty rows loaded, twenty written. `BENCH_USERS` changes the size.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on ends as a test does"
)]

#[path = "../tests/support/door.rs"]
#[expect(dead_code, reason = "shared with tests/, which need more of it")]
mod door;

use std::path::Path;
use std::time::{Duration, Instant};

use door::Writer;
use idpsyncd::config::{self, Config};
use idpsyncd::directory::{
    Cursor, Delta, Enabled, ListChange, NewRef, NewUser, PersonDelta, RefId, RefIdx, Snapshot,
    SnapshotBuilder, Step, local,
};
use idpsyncd::model::{Kind, State, parse_rfc3339};
use idpsyncd::plan::{self, Plan};
use idpsyncd::resolve::{View, resolve};
use idpsyncd::store::{Commit, MirrorPatch, MirrorUpdate, SourceUpdate};

const SOURCE: &str = "kc";
/// Changes of one person each.
const CHANGES: u32 = 200;

fn configuration() -> Config {
    let text = "[store]\npath = \"s.db\"\n[[source]]\nname = \"kc\"\nkind = \"keycloak\"\n\
                url = \"https://kc.example.com\"\nrealm = \"r\"\nclient_id = \"c\"\n\
                client_secret = { env = \"X\" }\n";
    config::parse(text, Path::new("bench.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// A plan that changes nobody: the mirror alone is measured.
fn nothing(config: &Config) -> Plan {
    let nobody = local::nobody();
    let by_hand = View { source: local::NAME, directory: &nobody };
    let (old, now) = (State::default(), parse_rfc3339("2026-01-01T00:00:00Z").unwrap());
    let resolved = resolve(&config.settings(), &[by_hand], &old, now).unwrap();
    plan::plan(&config.guard, resolved, &old, &plan::Background::default(), now).unwrap()
}

fn ext(user: u32) -> String {
    format!("{user:08x}-1111-4222-8333-444455556666")
}

fn key(group: u32) -> String {
    format!("group-{group:08}")
}

/// `users` users, a fiftieth as many groups, seven memberships a user; `off` is disabled.
fn read(users: u32, off: Option<u32>) -> Snapshot {
    let groups = users / 50;
    let mut builder = SnapshotBuilder::new(false);
    builder.cursor(cursor(0));
    for group in 0..groups {
        let (key, name, path) = (key(group), format!("g{group}"), format!("/g{group}"));
        builder
            .reference(&NewRef {
                kind: Kind::Group,
                key: &key,
                name: &name,
                identity: &path,
                norm: &path,
            })
            .unwrap();
    }
    for user in 0..users {
        let (name, email) = (format!("user{user:07}"), format!("user{user:07}@example.org"));
        let number = builder
            .user(&NewUser {
                ext: &ext(user),
                username: &name,
                email: &email,
                email_verified: true,
                enabled: if off == Some(user) { Enabled::No } else { Enabled::Yes },
                federation: "",
            })
            .unwrap();
        for step in 0..7u32 {
            // Neighbours share groups, as they do in companies.
            let group = (number.get() / 100 * 7 + step * 13) % groups;
            builder.member(RefIdx::new(group), number);
        }
    }
    builder.finish()
}

fn cursor(n: u32) -> Cursor {
    Cursor::new(n.to_string())
}

/// A change of one person, of three kinds in turn: disabled, out of a group and into another,
/// deleted.
fn change(n: u32, users: u32) -> Delta {
    let groups = users / 50;
    let user = n * 4_001 % users;
    let group = |group: u32| RefId { kind: Kind::Group, key: key(group % groups) };
    let mut delta =
        Delta { step: Some(Step { from: cursor(n), to: cursor(n + 1) }), ..Delta::default() };
    let person = PersonDelta { ext: ext(user), ..PersonDelta::default() };
    match n % 3 {
        0 => delta.people.push(PersonDelta { enabled: Some(Enabled::No), ..person }),
        1 => delta.people.push(PersonDelta {
            within: ListChange::Changed {
                added: vec![group(user / 100 * 7 + 5)],
                removed: vec![group(user / 100 * 7)],
            },
            ..person
        }),
        _ => delta.gone_people.push(person.ext),
    }
    delta
}

struct Home {
    writer: Writer,
    plan: Plan,
    configured: [String; 1],
}

impl Home {
    fn commit(&mut self, sources: &[SourceUpdate<'_>], patches: &[MirrorPatch<'_>]) {
        let base_version = self.writer.reader().unwrap().meta().unwrap().version;
        let (plan, configured) = (&self.plan, self.configured.as_slice());
        let commit = Commit { plan, base_version, sources, configured, settled: None };
        self.writer.commit_patches(&commit, patches).unwrap();
    }

    /// Lays a full read over the stored mirror, as a run does.
    fn full(&mut self, snapshot: Snapshot) -> Duration {
        let start = Instant::now();
        let reader = self.writer.reader().unwrap();
        let old = reader.mirror(SOURCE).unwrap();
        let mirror = old.as_ref().map(|stored| stored.mirror.clone()).unwrap_or_default();
        let applied = mirror.apply_snapshot(snapshot);
        let directory = &applied.mirror.directory;
        let digest = directory.digests(&reader.digest_key().unwrap());
        let update = SourceUpdate {
            source: SOURCE,
            kind: "keycloak",
            tried_at: self.plan.at,
            complete: applied.complete,
            error: None,
            scopes: Vec::new(),
            cursor: applied.mirror.cursor.as_ref(),
            mirror: Some(MirrorUpdate { old: old.as_ref(), directory, digest: &digest }),
        };
        self.commit(&[update], &[]);
        start.elapsed()
    }

    /// Applies a delta; tells the time, and the rows that were loaded and written.
    fn delta(&mut self, delta: &Delta) -> (Duration, usize, usize) {
        let start = Instant::now();
        let reader = self.writer.reader().unwrap();
        let (rows, key) = reader.mirror_rows(SOURCE, &delta.touched()).unwrap().unwrap();
        let patch = rows.apply(delta, &key).unwrap();
        self.commit(&[], &[MirrorPatch { source: SOURCE, patch: &patch }]);
        (start.elapsed(), rows.count(), patch.count())
    }
}

fn main() {
    let users = std::env::var("BENCH_USERS").map_or(1_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut home = Home {
        writer: Writer::open(&folder.path().join("store.db")).unwrap(),
        plan: nothing(&configuration()),
        configured: [SOURCE.to_owned()],
    };
    let (first, second) = (read(users, None), read(users, Some(users / 2)));
    let memberships: usize = first.directory.members.iter().map(Vec::len).sum();
    let filled = home.full(first);
    let full = home.full(second);
    let mut took = Vec::new();
    let (mut loaded, mut written) = (0, 0);
    for n in 0..CHANGES {
        let (time, rows, patched) = home.delta(&change(n, users));
        took.push(time);
        loaded = loaded.max(rows);
        written = written.max(patched);
    }
    took.sort();
    let median = took.get(took.len() / 2).copied().unwrap();
    let worst = took.last().copied().unwrap();
    // All these changes came to what their digest says.
    let reader = home.writer.reader().unwrap();
    let stored = reader.mirror(SOURCE).unwrap().unwrap();
    let digest = stored.mirror.directory.digests(&reader.digest_key().unwrap()).whole;
    assert_eq!(stored.digest, digest.to_string(), "the digest is not that of the rows");
    let ratio = median.as_secs_f64() / full.as_secs_f64();
    println!(
        "{users} people, {memberships} memberships: first read {:.2} s, a full read with one \
         change {:.2} s; a delta of one person {:.2} ms (worst {:.2} ms of {CHANGES}), at most \
         {loaded} rows loaded, {written} written",
        filled.as_secs_f64(),
        full.as_secs_f64(),
        median.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3,
    );
    let passed = ratio < 0.01 && loaded <= 20 && written <= 20;
    println!(
        "{}: 1/{:.0} of a full read, of 1/100",
        if passed { "PASS" } else { "FAIL" },
        1.0 / ratio
    );
    if !passed {
        std::process::exit(1);
    }
}
