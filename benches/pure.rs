//! The pure part (resolve, policy, plan) from memory: 100,000 and then 1,000,000 users with seven
//! memberships each, first sync and unchanged second one.
//!
//! `cargo bench --bench pure` prints the seconds, the ratio of ten times the users to one time
//! (10 is linear), and the peak memory of the process, and exits 1 where a limit of the issue is
//! passed: 4 s and 1 GiB for a million users.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a bench that cannot go on ends as a test does"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use idpsyncd::config::{self, Config};
use idpsyncd::directory::{
    Directory, Enabled, Kind, NewRef, NewUser, RefIdx, SnapshotBuilder, local,
};
use idpsyncd::model::{Change, State, parse_rfc3339};
use idpsyncd::plan::{self, Plan};
use idpsyncd::resolve::{View, resolve};

/// Two hundred roles behind two thousand groups; the other groups mean nothing here.
fn configuration() -> Config {
    let mut text = String::from(
        "[store]\npath = \"s.db\"\n[[source]]\nname = \"kc\"\nkind = \"keycloak\"\n\
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
    config::parse(&text, Path::new("bench.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// `users` users, a fiftieth as many groups, seven memberships a user.
fn directory(users: u32) -> Directory {
    let groups = users / 50;
    let mut builder = SnapshotBuilder::new(false);
    for group in 0..groups {
        // A tenth of the groups are named by a rule.
        let name = if group % 10 == 0 {
            format!("g{}-{group}", (group / 10) % 200)
        } else {
            format!("other-{group}")
        };
        let path = format!("/{name}");
        let key = format!("group-{group:08}");
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
        let ext = format!("{user:08x}-1111-4222-8333-444455556666");
        let name = format!("user{user:07}");
        let email = format!("user{user:07}@example.org");
        let number = builder
            .user(&NewUser {
                ext: &ext,
                username: &name,
                email: &email,
                email_verified: true,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
        for step in 0..7u32 {
            // Neighbours share groups, as they do in companies.
            let group = (number.get() / 100 * 7 + step * 13) % groups;
            builder.member(RefIdx::new(group), number);
        }
    }
    builder.finish().directory
}

fn once(config: &Config, directory: &Directory, old: &State) -> (Plan, Duration) {
    let now = parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
    let start = Instant::now();
    let nobody = local::nobody();
    let by_hand = View { source: local::NAME, directory: &nobody };
    let resolved =
        resolve(&config.settings(), &[View { source: "kc", directory }, by_hand], old, now)
            .unwrap();
    let plan = plan::plan(&config.guard, resolved, old, &plan::Background::default(), now).unwrap();
    let mut decider = plan.decider();
    let decided = |roles: &Vec<_>| decider.decide(roles).unwrap().len();
    let decisions: usize = plan.set_roles.values().map(decided).sum();
    let took = start.elapsed();
    assert_eq!(
        decisions > 0,
        !plan.changes.is_empty(),
        "a first run decides, an unchanged one need not"
    );
    (plan, took)
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn main() {
    let config = configuration();
    let mut first = Vec::new();
    for users in [100_000, 1_000_000] {
        let directory = directory(users);
        let memberships: usize = directory.members.iter().map(Vec::len).sum();
        let input = peak_mib();
        let (plan, took) = once(&config, &directory, &State::default());
        let grant = |change: &&Change| matches!(change, Change::GrantAdded { .. });
        let grants = plan.changes.iter().filter(grant).count();
        let sets = plan.set_roles.len();
        assert_eq!(plan.summary.users_created, u64::from(users));
        let state = plan.applied(&State::default()).unwrap();
        drop(plan);
        let (second, again) = once(&config, &directory, &state);
        assert!(second.changes.is_empty(), "an unchanged run changes something");
        println!(
            "{users} users, {memberships} memberships, {grants} grants, {sets} role sets: first \
             {:.2} s, unchanged {:.2} s; peak {} MiB ({input} MiB of it input)",
            took.as_secs_f64(),
            again.as_secs_f64(),
            peak_mib(),
        );
        first.push(took.as_secs_f64());
    }
    let ratio = first.last().unwrap() / first.first().unwrap();
    let (seconds, mib) = (*first.last().unwrap(), peak_mib());
    println!("ratio of ten times the users: {ratio:.1} (10 is linear)");
    let passed = seconds < 4.0 && mib < 1024;
    println!("{}: {seconds:.2} s of 4, {mib} MiB of 1024", if passed { "PASS" } else { "FAIL" });
    if !passed {
        std::process::exit(1);
    }
}
