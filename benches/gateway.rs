//! What the gateway does for each request, and what it keeps in memory.
//!
//! `cargo bench --bench gateway` prints the median of finding the user and deciding, beside
//! `cedar-policy` on the same questions and policies (50 roles, 100 pools, OSMO's actions), and the
//! memory of a replica of a million users, loaded from a store's file by a process of its own.
//! Users are found by their source's id, a UUID, as a token has it.
//! It exits 1 where a limit is passed: 1 µs, 20 times as fast, 150 MiB a replica, 300 MiB for the
//! two that a swap holds (400 MB is the limit of all of `serve`).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot go on ends as a test does"
)]

#[path = "../tests/support/door.rs"]
#[expect(dead_code, reason = "shared with tests/, which need more of it")]
mod door;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request};
use door::{Reader, Writer};
use idpsyncd::config::AllowedConfig;
use idpsyncd::gateway::replica::{Found, Replica, Wanted};
use idpsyncd::model::caller::KnownBy;
use idpsyncd::model::{
    Change, Link, Mode, Role, RoleIdx, RoleSetId, State, Status, User, UserId, parse_rfc3339,
};
use idpsyncd::plan::{Plan, RoleSets};
use idpsyncd::policy::{Effect, Policy};
use idpsyncd::routes::{ActionIdx, On, Question};
use idpsyncd::store::Commit;

/// OSMO's actions (`src/utils/roles/action_registry.go`).
const ACTIONS: [&str; 35] = [
    "workflow:Create",
    "workflow:List",
    "workflow:Read",
    "workflow:Update",
    "workflow:Delete",
    "workflow:Cancel",
    "workflow:Exec",
    "workflow:PortForward",
    "workflow:Rsync",
    "pool:List",
    "credentials:Create",
    "credentials:Read",
    "credentials:Update",
    "credentials:Delete",
    "profile:Read",
    "profile:Update",
    "user:List",
    "app:Create",
    "app:Read",
    "app:Update",
    "app:Delete",
    "resources:Read",
    "config:Read",
    "config:Update",
    "auth:Login",
    "auth:Refresh",
    "auth:Token",
    "mcp:Access",
    "system:Health",
    "system:Version",
    "internal:Operator",
    "internal:Logger",
    "internal:Router",
    "queue:Read",
    "queue:Update",
];

const TEAMS: usize = 46;
const SETS: usize = 5_000;
const MEASURE: &str = "IDPSYNCD_BENCH_MEASURE";

fn policy(effect: Effect, actions: &[&str], resources: &[String]) -> Policy {
    Policy {
        effect,
        actions: actions.iter().map(|text| text.parse().unwrap()).collect(),
        resources: Some(resources.iter().map(|text| text.parse().unwrap()).collect()),
    }
}

/// OSMO's four roles of people, and teams: 50.
fn roles() -> Vec<Role> {
    let any = ["*".to_owned()];
    let mut roles: BTreeMap<String, Vec<Policy>> = BTreeMap::new();
    roles.insert("osmo-admin".into(), vec![policy(Effect::Allow, &["*:*"], &any)]);
    roles.insert(
        "osmo-user".into(),
        vec![
            policy(
                Effect::Allow,
                &[
                    "app:*",
                    "auth:Token",
                    "credentials:*",
                    "mcp:Access",
                    "pool:List",
                    "profile:Read",
                    "profile:Update",
                    "resources:Read",
                    "user:List",
                    "workflow:List",
                    "workflow:Read",
                ],
                &any,
            ),
            policy(Effect::Allow, &["workflow:*"], &["pool/default".to_owned()]),
        ],
    );
    let default = ["auth:Login", "auth:Refresh", "auth:Token", "profile:*", "system:Health"];
    roles.insert("osmo-default".into(), vec![policy(Effect::Allow, &default, &any)]);
    roles.insert(
        "osmo-backend".into(),
        vec![policy(Effect::Allow, &["internal:Operator", "config:Read", "pool:List"], &any)],
    );
    for team in 0..TEAMS {
        let shared = format!("pool/team{:02}-1", (team + 1) % TEAMS);
        roles.insert(
            format!("osmo-team{team:02}"),
            vec![
                policy(Effect::Allow, &["workflow:*"], &[format!("pool/team{team:02}-*"), shared]),
                policy(
                    Effect::Deny,
                    &["workflow:Exec", "workflow:Delete"],
                    &[format!("pool/team{team:02}-0")],
                ),
            ],
        );
    }
    let role = |(name, policies): (String, Vec<Policy>)| Role {
        everyone: name == "osmo-default",
        name,
        description: String::new(),
        mode: Mode::Force,
        template: None,
        policies,
    };
    roles.into_iter().map(role).collect()
}

fn pools() -> Vec<String> {
    let mut pools: Vec<String> =
        (0..99).map(|pool| format!("pool/team{:02}-{}", pool % TEAMS, pool / TEAMS)).collect();
    pools.push("pool/default".to_owned());
    pools
}

/// The roles of each set: everyone's, `osmo-user`, and up to four teams.
fn sets(roles: &[Role]) -> Vec<(RoleSetId, Vec<RoleIdx>)> {
    let mut random = fastrand::Rng::with_seed(7);
    let place = |name: &str| {
        let place = roles.iter().position(|role| role.name == name).unwrap();
        RoleIdx::new(u32::try_from(place).unwrap())
    };
    let mut sets = BTreeMap::new();
    while sets.len() < SETS {
        let mut set = vec![place("osmo-default"), place("osmo-user")];
        for _ in 0..random.usize(1..5) {
            set.push(place(&format!("osmo-team{:02}", random.usize(..TEAMS))));
        }
        set.sort_unstable();
        set.dedup();
        sets.insert(
            RoleSetId::of(set.iter().map(|role| roles[role.get() as usize].name.as_str())),
            set,
        );
    }
    sets.into_iter().collect()
}

fn name(user: u32) -> String {
    format!("user{user:07}@example.org")
}

/// What the source knows a user by.
fn id(user: u32) -> String {
    format!("{user:08x}-0a3b-4f0e-9d0e-2f6f0c1d7a11")
}

/// The plan that makes `users` users from nothing.
fn plan(users: u32) -> Plan {
    let roles = roles();
    let sets = sets(&roles);
    let mut state = State { next_user: UserId::new(users), ..State::default() };
    let mut changes: Vec<Change> = (0u32..)
        .zip(&roles)
        .map(|(role, _)| Change::RoleAdded { role: RoleIdx::new(role) })
        .collect();
    changes.push(Change::CatalogChanged);
    let create: idpsyncd::policy::Action = "workflow:Create".parse().unwrap();
    let resource = |pool: &String| (create.clone(), Some(pool.parse().unwrap()));
    state.catalog = pools().iter().map(resource).collect();
    state.roles = roles.try_into().unwrap();
    let source = state.source("realm").unwrap();
    let mut of_user = Vec::with_capacity(users as usize);
    for number in 0..users {
        let username = state.texts.add(&name(number)).unwrap();
        let id = UserId::new(number);
        let role_set = RoleSetId::EMPTY;
        let (status, email) = (Status::Enabled, username);
        state.users.push(User { id, username, email, status, role_set });
        changes.push(Change::UserCreated { user: id });
        let link = Link {
            source,
            ext: state.texts.add(&self::id(number)).unwrap(),
            user: id,
            claim: None,
        };
        state.links.push(link);
        changes.push(Change::LinkAdded { user: id, source, ext: link.ext });
        of_user.push(sets[number as usize % SETS].0);
    }
    let at = parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
    let sets = RoleSets { users: of_user, tokens: Vec::new(), roles: sets.into_iter().collect() };
    Plan::leading_to(state, changes, sets, Vec::new(), at).unwrap()
}

fn commit(path: &Path, plan: &Plan, base_version: i64) {
    let commit = Commit { plan, base_version, sources: &[], configured: &[], settled: None };
    let done = Writer::open(path).unwrap().commit(&commit).unwrap();
    assert!(done.generation.is_some());
}

fn wanted() -> Arc<Wanted> {
    Arc::new(Wanted {
        actions: ACTIONS.iter().map(|text| text.parse().unwrap()).collect(),
        allowed: vec![AllowedConfig {
            header: "x-osmo-allowed-pools".to_owned(),
            action: "workflow:Create".parse().unwrap(),
            scope: "pool".to_owned(),
            routes: vec!["profile:Read".parse().unwrap()],
        }],
        anonymous_role: Some("osmo-default".to_owned()),
        sources: vec!["realm".to_owned()],
        tokens: false,
        subjects: Vec::new(),
    })
}

fn load(path: &Path) -> Replica {
    Replica::load(&*Reader::open(path).unwrap().unwrap(), wanted()).unwrap()
}

/// One question of each kind of route, for many users.
struct Asked {
    user: String,
    by_id: KnownBy,
    set: usize,
    action: usize,
    resource: Option<String>,
}

fn questions(users: u32) -> Vec<Asked> {
    let (mut random, pools) = (fastrand::Rng::with_seed(3), pools());
    (0..1_000)
        .map(|_| {
            let user = random.u32(..users);
            let action = random.usize(..ACTIONS.len());
            // What OSMO asks about pools names one; the rest has no resource.
            let pool = ACTIONS[action].starts_with("workflow:") || random.u8(..4) == 0;
            let resource = pool.then(|| pools[random.usize(..pools.len())].clone());
            let by_id = KnownBy::Id { source: "realm".to_owned(), ext: id(user) };
            Asked { user: name(user), by_id, set: user as usize % SETS, action, resource }
        })
        .collect()
}

/// Median of `samples` timings of `work`, which does `each` things: nanoseconds a thing.
fn median(samples: usize, each: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..samples)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_nanos() as f64 / each as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[samples / 2]
}

/// The roles' policies in Cedar's words: what can be is said in a policy's head, where Cedar
/// decides without evaluating. `Resource::"-"` is a request without resource.
fn in_cedar(roles: &[Role]) -> PolicySet {
    let mut text = String::new();
    for role in roles {
        for policy in &role.policies {
            let effect = if policy.effect == Effect::Allow { "permit" } else { "forbid" };
            let actions: Vec<String> =
                policy.actions.iter().map(|action| format!("Action::\"{action}\"")).collect();
            let head = format!(
                "{effect}(principal in Role::\"{}\", action in [{}], ",
                role.name,
                actions.join(", ")
            );
            writeln!(text, "{head}resource == Resource::\"-\");").unwrap();
            for pattern in policy.resources.iter().flatten().map(ToString::to_string) {
                match pattern.split_once('/') {
                    None => writeln!(text, "{head}resource);").unwrap(),
                    Some((scope, id)) if id.ends_with('*') => writeln!(
                        text,
                        "{head}resource in Scope::\"{scope}\") when {{ resource.id like \"{id}\" }};"
                    )
                    .unwrap(),
                    Some(_) => {
                        writeln!(text, "{head}resource == Resource::\"{pattern}\");").unwrap();
                    }
                }
            }
        }
    }
    text.parse().unwrap()
}

fn uid(kind: &str, id: &str) -> EntityUid {
    format!("{kind}::\"{id}\"").parse().unwrap()
}

/// Actions in their patterns, pools in their scope, and one user a set, who has its roles.
fn cedar_entities(roles: &[Role], sets: &[(RoleSetId, Vec<RoleIdx>)], asked: &[Asked]) -> Entities {
    let mut list = Vec::new();
    let entity = |uid: (&str, &str), attrs: serde_json::Value, parents: Vec<(&str, &str)>| {
        let of = |(kind, id): (&str, &str)| serde_json::json!({ "type": kind, "id": id });
        let parents: Vec<_> = parents.into_iter().map(of).collect();
        serde_json::json!({ "uid": of(uid), "attrs": attrs, "parents": parents })
    };
    let none = || serde_json::json!({});
    let mut kinds: Vec<String> = Vec::new();
    for action in ACTIONS {
        let kind = format!("{}:*", action.split_once(':').unwrap().0);
        list.push(entity(("Action", action), none(), vec![("Action", &kind)]));
        kinds.push(kind);
    }
    kinds.sort();
    kinds.dedup();
    for kind in &kinds {
        list.push(entity(("Action", kind), none(), vec![("Action", "*:*")]));
    }
    for pool in pools() {
        let (scope, id) = pool.split_once('/').unwrap();
        let attrs = serde_json::json!({ "id": id });
        list.push(entity(("Resource", &pool), attrs, vec![("Scope", scope)]));
    }
    let mut seen: Vec<usize> = asked.iter().map(|asked| asked.set).collect();
    seen.sort_unstable();
    seen.dedup();
    for set in seen {
        let parents = sets[set]
            .1
            .iter()
            .map(|role| ("Role", roles[role.get() as usize].name.as_str()))
            .collect();
        list.push(entity(("User", &set.to_string()), none(), parents));
    }
    Entities::from_json_value(serde_json::Value::Array(list), None).unwrap()
}

fn speed(path: &Path, users: u32) -> bool {
    let replica = load(path);
    let asked = questions(users);
    let ours = |asked: &Asked| {
        let on = asked.resource.as_deref().map_or(On::Nothing, On::Resource);
        let action = ActionIdx::at(asked.action).unwrap();
        match replica.caller(&asked.by_id).0 {
            Found::Enabled(set) => replica.decide(set, None, &Question { action, on }).is_allow(),
            other => panic!("{} is {other:?}", asked.user),
        }
    };
    let some_of = |asked: &Asked| {
        let action = ActionIdx::at(asked.action).unwrap();
        let by_name = replica.user(&asked.user);
        let Found::Enabled(set) = by_name else { panic!("unknown") };
        replica.decide(set, None, &Question { action, on: On::SomeOf("pool") }).is_allow()
    };

    let roles = roles();
    let sets = sets(&roles);
    let policies = in_cedar(&roles);
    let entities = cedar_entities(&roles, &sets, &asked);
    let authorizer = Authorizer::new();
    let requests: Vec<Request> = asked
        .iter()
        .map(|asked| {
            Request::new(
                uid("User", &asked.set.to_string()),
                uid("Action", ACTIONS[asked.action]),
                uid("Resource", asked.resource.as_deref().unwrap_or("-")),
                Context::empty(),
                None,
            )
            .unwrap()
        })
        .collect();
    let cedar = |request: &Request| {
        let answer = authorizer.is_authorized(request, &policies, &entities);
        answer.decision() == cedar_policy::Decision::Allow
    };
    let mut allowed = 0;
    for (asked, request) in asked.iter().zip(&requests) {
        let decided = ours(asked);
        assert_eq!(decided, cedar(request), "{} {:?}", ACTIONS[asked.action], asked.resource);
        allowed += usize::from(decided);
    }
    assert!(allowed > 200 && allowed < 800, "{allowed} of 1000 allowed: both should be common");

    let run = |decide: &dyn Fn(&Asked) -> bool| {
        median(501, asked.len(), || {
            for asked in &asked {
                black_box(decide(black_box(asked)));
            }
        })
    };
    let (ours, some_of) = (run(&ours), run(&some_of));
    let mut turn = 0;
    let theirs = median(101, 20, || {
        for _ in 0..20 {
            black_box(cedar(black_box(&requests[turn % requests.len()])));
            turn += 1;
        }
    });
    let ratio = theirs / ours;
    println!(
        "{users} users, {} roles, 100 pools, {} policies in Cedar; {allowed} of 1000 allowed",
        roles.len(),
        policies.policies().count()
    );
    println!(
        "user by id and decision: {ours:.0} ns, by name and some pool: {some_of:.0} ns; Cedar {theirs:.0} ns"
    );
    verdict(&format!("{ours:.0} ns of 1000"), ours < 1_000.0 && some_of < 1_000.0)
        & verdict(&format!("{ratio:.0} times as fast as Cedar, 20 wanted"), ratio >= 20.0)
}

fn verdict(what: &str, passed: bool) -> bool {
    println!("{}: {what}", if passed { "PASS" } else { "FAIL" });
    passed
}

/// `VmRSS` or `VmHWM` of this process, in MiB.
fn mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// In a process of its own: loads the store, and loads it again beside the first.
fn measure(path: &Path) -> bool {
    let start = mib("VmRSS");
    let clock = Instant::now();
    let first = load(path);
    let took = clock.elapsed().as_millis();
    let one = mib("VmRSS") - start;
    // A swap: each user of each set is asked about meanwhile.
    let second = load(path);
    for user in 0..u32::try_from(SETS).unwrap() {
        let Found::Enabled(set) = second.user(&name(user)) else { panic!("unknown") };
        assert!(second.allowed_header(set, None, 0).contains("default"));
    }
    let (two, peak) = (mib("VmRSS") - start, mib("VmHWM"));
    assert_eq!(first.users(), second.users());
    println!(
        "a replica of {} users: loaded in {took} ms, {one} MiB; two {two} MiB; the process at \
         most {peak} MiB",
        first.users()
    );
    verdict(&format!("{one} MiB of 150 a replica"), one < 150)
        & verdict(&format!("{peak} MiB of 300 for the process during a swap"), peak < 300)
}

fn main() {
    if let Some(path) = std::env::var_os(MEASURE) {
        std::process::exit(i32::from(!measure(Path::new(&path))));
    }
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.db");
    commit(&small, &plan(100_000), 0);
    let mut passed = speed(&small, 100_000);

    let large = folder.path().join("large.db");
    let mut plan = plan(1_000_000);
    commit(&large, &plan, 0);
    let child = Command::new(std::env::current_exe().unwrap()).env(MEASURE, &large).status();
    passed &= child.unwrap().success();

    // What one person's change costs who follows.
    let before = load(&large);
    let old = plan.tables.users[0].username;
    plan.tables.users[0].username = plan.tables.texts.add("somebody-else").unwrap();
    for (user, set) in plan.tables.users.iter_mut().zip(&plan.user_sets) {
        user.role_set = *set;
    }
    plan.changes = vec![Change::UserRenamed { user: UserId::new(0), old }];
    commit(&large, &plan, 1);
    let reader = Reader::open(&large).unwrap().unwrap();
    let clock = Instant::now();
    let after = before.caught_up(&*reader).unwrap().unwrap();
    let took = clock.elapsed();
    assert!(matches!(after.user("somebody-else"), Found::Enabled(_)));
    assert_eq!(after.user(&name(0)), Found::Unknown);
    println!("one person renamed among 1000000: caught up in {:.1} ms", took.as_secs_f64() * 1e3);
    if !passed {
        std::process::exit(1);
    }
}
