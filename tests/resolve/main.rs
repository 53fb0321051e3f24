//! The semantics of sections 5 to 7 and 9 as rules: tables first, then properties.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;

use idpsyncd::config::{self, Config};
use idpsyncd::directory::{
    Applied, Completeness, Directory, Enabled, Kind, Mirror, NewRef, NewUser, RefIdx, Snapshot,
    SnapshotBuilder, local,
};
use idpsyncd::model::{
    Change, GrantKind, Inconsistent, LocalGrant, State, Status, Texts, Time, parse_rfc3339,
};
use idpsyncd::plan::effective::Effective;
use idpsyncd::plan::{self, ByHand, Plan, view};
use idpsyncd::resolve::{MappingRule, View, resolve};

mod attributes;
mod domains;
mod naming;
mod organizations;
mod reasons;
mod slice;
mod tokens;
mod who;
mod window;

/// A user of a source: external id, username, groups (by name).
#[derive(Clone, Debug)]
struct Person {
    ext: String,
    name: String,
    email: String,
    enabled: bool,
    federation: String,
    groups: Vec<String>,
    roles: Vec<String>,
}

fn person(ext: &str, name: &str, groups: &[&str]) -> Person {
    Person {
        ext: ext.to_owned(),
        name: name.to_owned(),
        email: format!("{name}@example.org"),
        enabled: true,
        federation: String::new(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        roles: Vec::new(),
    }
}

/// What a Keycloak-like source holds. Groups are paths such as `/Eng/ML`; `acme:` is an organization, and
/// `acme:/Eng` a group of it.
#[derive(Clone, Debug, Default)]
struct Facts {
    people: Vec<Person>,
    groups: Vec<String>,
    /// Realm roles, and what they are composed of.
    roles: Vec<(String, Vec<String>)>,
    /// Roles of groups.
    group_roles: Vec<(String, String)>,
}

/// What a group's path is of.
fn kind(path: &str) -> Kind {
    match path.split_once(':') {
        None => Kind::Group,
        Some((_, "")) => Kind::Organization,
        Some(_) => Kind::OrganizationGroup,
    }
}

/// Where what has this path, or what is above all groups of an organization, is.
fn place(builder: &SnapshotBuilder, path: &str, above: bool) -> RefIdx {
    let kind = if above && path.ends_with(':') { Kind::OrganizationGroup } else { kind(path) };
    builder.find_ref(kind, path).unwrap()
}

impl Facts {
    fn of(people: &[Person]) -> Self {
        Facts { people: people.to_vec(), ..Facts::default() }
    }

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn snapshot(&self, reversed: bool) -> Snapshot {
        let mut builder = SnapshotBuilder::new(false);
        let mut groups: BTreeSet<String> = self.groups.iter().cloned().collect();
        groups.extend(self.people.iter().flat_map(|p| p.groups.iter().cloned()));
        for path in groups.clone() {
            let mut at = path.as_str();
            while let Some((parent, _)) = at.rsplit_once('/') {
                if !parent.is_empty() {
                    groups.insert(parent.to_owned());
                }
                at = parent;
            }
        }
        let mut roles: BTreeSet<String> = self.roles.iter().map(|r| r.0.clone()).collect();
        roles.extend(self.people.iter().flat_map(|p| p.roles.iter().cloned()));
        let turn = |list: Vec<String>| -> Vec<String> {
            if reversed { list.into_iter().rev().collect() } else { list }
        };
        builder.organizations_are(Completeness::Complete);
        for path in turn(groups.iter().cloned().collect()) {
            if let Some(alias) = path.strip_suffix(':') {
                builder.organization(&path, alias).unwrap();
                builder.organization_top(&path, alias).unwrap();
                continue;
            }
            let name = path.rsplit('/').next().unwrap();
            let (kind, key) = (kind(&path), &path);
            builder.reference(&NewRef { kind, key, name, identity: &path, norm: &path }).unwrap();
        }
        for role in turn(roles.into_iter().collect()) {
            builder
                .reference(&NewRef {
                    kind: Kind::RealmRole,
                    key: &role,
                    name: &role,
                    identity: &role,
                    norm: &role,
                })
                .unwrap();
        }
        for path in &groups {
            if let Some((parent, _)) = path.rsplit_once('/')
                && !parent.is_empty()
            {
                let (child, parent) = (place(&builder, path, false), place(&builder, parent, true));
                builder.child(parent, child);
            }
        }
        for (role, parts) in &self.roles {
            let from = builder.find_ref(Kind::RealmRole, role).unwrap();
            for part in parts {
                if let Some(to) = builder.find_ref(Kind::RealmRole, part) {
                    builder.leads_to(from, to);
                }
            }
        }
        for (group, role) in &self.group_roles {
            if let (Some(from), Some(to)) =
                (builder.find_ref(Kind::Group, group), builder.find_ref(Kind::RealmRole, role))
            {
                builder.leads_to(from, to);
            }
        }
        let mut people = self.people.clone();
        if reversed {
            people.reverse();
        }
        for person in &people {
            let user = builder
                .user(&NewUser {
                    ext: &person.ext,
                    username: &person.name,
                    email: &person.email,
                    email_verified: true,
                    enabled: if person.enabled { Enabled::Yes } else { Enabled::No },
                    federation: &person.federation,
                })
                .unwrap();
            for group in &person.groups {
                let group = place(&builder, group, false);
                builder.member(group, user);
            }
            for role in &person.roles {
                let role = builder.find_ref(Kind::RealmRole, role).unwrap();
                builder.member(role, user);
            }
        }
        builder.finish()
    }

    fn directory(&self) -> Directory {
        self.snapshot(false).directory
    }
}

const T0: &str = "2026-01-01T00:00:00Z";

/// `snapshot` laid over a mirror.
fn merge(mirror: Option<&Directory>, snapshot: Snapshot) -> Applied {
    let directory = mirror.cloned().unwrap_or_default();
    Mirror { directory, cursor: None }.apply_snapshot(snapshot)
}

fn at(minutes: i64) -> Time {
    parse_rfc3339(T0).unwrap() + chrono::Duration::minutes(minutes)
}

/// A configuration with these sources (Keycloak-like files) and this rest.
fn config_of(sources: &[&str], rest: &str) -> Config {
    let mut text = String::from("[store]\npath = \"s.db\"\n");
    for source in sources {
        text.push_str(&format!(
            "[[source]]\nname = \"{source}\"\nkind = \"keycloak\"\nurl = \"https://kc.example.com\"\n\
             realm = \"r\"\nclient_id = \"c\"\nclient_secret = {{ env = \"X\" }}\n"
        ));
    }
    text.push_str(rest);
    config::parse(&text, Path::new("test.toml"), &idpsyncd::source::kinds())
        .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// A run's end becomes the next run's start, as it would by way of the store; the plan by way of a
/// file, since it stands by itself.
fn stored(old: &State, plan: &Plan) -> State {
    let state = plan.applied(old).unwrap();
    let kept = serde_json::to_string(plan).unwrap();
    let read: Plan = serde_json::from_str(&kept).unwrap();
    assert_eq!(words(&read), words(plan));
    let again = read.applied(old).unwrap();
    assert_eq!(shape(&again), shape(&state), "a plan that was kept does what it did");
    let sets = |state: &State| state.users.iter().map(|user| user.role_set).collect::<Vec<_>>();
    assert_eq!(sets(&again), sets(&state));
    for change in &plan.changes {
        let Change::RoleRemoved { role } = change else { continue };
        let gone = &plan.tables.roles.get(*role).unwrap().name;
        let left =
            old.grants.iter().filter(|it| old.roles.get(it.role).unwrap().name == *gone).count();
        let taken =
            |it: &&Change| matches!(it, Change::GrantRemoved { role: it, .. } if it == role);
        assert_eq!(plan.changes.iter().filter(taken).count(), left, "a grant of a gone role");
    }
    state
}

/// A change that names a text, and no text: it must not be read as one of nobody, who would be
/// somebody else.
#[test]
fn a_plan_that_names_what_its_tables_have_not_is_refused_wherever_it_comes_in() {
    let world = World::with(&roles("merge"), &[person("1", "alice", &["g"])]);
    let plan = world.plan();
    let mut kept = serde_json::to_value(&plan).unwrap();
    kept["tables"]["texts"] = serde_json::json!({ "bytes": "", "ends": [0] });
    let error = serde_json::from_value::<Plan>(kept).unwrap_err().to_string();
    assert!(error.contains("is spoken of, and there is no such text"), "{error}");
    let broken = |what: &dyn Fn(&mut serde_json::Value), why: &str| {
        let mut kept = serde_json::to_value(&plan).unwrap();
        what(&mut kept);
        let error = serde_json::from_value::<Plan>(kept).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    broken(&|it| it["user_sets"] = serde_json::json!([]), "1 users are spoken of, and 0 role sets");
    broken(&|it| it["set_roles"] = serde_json::json!({}), "and there is no such set");
    broken(
        &|it| {
            for roles in it["set_roles"].as_object_mut().unwrap().values_mut() {
                *roles = serde_json::json!([77]);
            }
        },
        "role number 77 is spoken of",
    );
    broken(&|it| it["tables"]["users"] = serde_json::json!([]), "and the state has no such user");
    broken(
        &|it| {
            for list in ["/tables/users", "/user_sets"] {
                let list = it.pointer_mut(list).unwrap().as_array_mut().unwrap();
                list.push(list[0].clone());
            }
        },
        "is not in its place",
    );
    let wider = serde_json::json!([{ "reached": [], "users": [77] }]);
    broken(&|it| it["widened"] = wider.clone(), "user number 77 is spoken of");
    let mut other = plan.clone();
    other.tables.texts = Texts::default();
    let error = other.applied(&world.state).unwrap_err();
    assert!(matches!(error, Inconsistent::NoSuchText(_)), "{error}");
}

struct World {
    config: Config,
    facts: BTreeMap<String, Facts>,
    state: State,
    now: Time,
    pending: Option<plan::HeldHead>,
    held: Option<plan::Held>,
    /// What went within the guard's window.
    recent: plan::Taken,
    /// Those whom nobody here looks at.
    others: plan::Others,
}

impl World {
    fn new(config: Config) -> Self {
        World {
            config,
            facts: BTreeMap::new(),
            state: State::default(),
            now: at(0),
            pending: None,
            held: None,
            recent: plan::Taken::default(),
            others: plan::Others::default(),
        }
    }

    fn with(rest: &str, people: &[Person]) -> Self {
        let mut world = World::new(config_of(&["kc"], rest));
        world.says("kc", people);
        world
    }

    fn says(&mut self, source: &str, people: &[Person]) {
        self.facts.insert(source.to_owned(), Facts::of(people));
    }

    fn plan(&self) -> Plan {
        let directories: Vec<(String, Directory)> =
            self.facts.iter().map(|(name, facts)| (name.clone(), facts.directory())).collect();
        self.plan_on(&directories)
    }

    fn plan_on(&self, directories: &[(String, Directory)]) -> Plan {
        let mut views: Vec<View<'_>> =
            directories.iter().map(|(source, directory)| View { source, directory }).collect();
        let nobody = local::nobody();
        if !views.iter().any(|view| view.source == local::NAME) {
            views.push(View { source: local::NAME, directory: &nobody });
        }
        let resolved = resolve(&self.config.settings(), &views, &self.state, self.now).unwrap();
        // The rule that makes a plan trustworthy, checked on every plan of every test here.
        let applied = plan::apply(&self.state, &resolved.state, &resolved.changes).unwrap();
        assert_eq!(shape(&applied), shape(&resolved.state), "changes do not lead to the new state");
        let (pending, others) = (self.pending.clone(), self.others.clone());
        let background = plan::Background { pending, recent: self.recent, others };
        plan::plan(&self.config.guard, resolved, &self.state, &background, self.now).unwrap()
    }

    fn run(&mut self) -> Plan {
        let plan = self.plan();
        self.state = stored(&self.state, &plan);
        self.pending = plan.held.as_ref().map(plan::Held::head);
        self.held.clone_from(&plan.held);
        plan
    }

    fn later(&mut self, minutes: i64) {
        self.now += chrono::Duration::minutes(minutes);
    }

    fn grant(&mut self, user: &str, role: &str, until: Option<Time>) {
        let user = self.user(user).id;
        let role = self.state.roles.find_by(|r| r.name.as_str().cmp(role)).unwrap();
        let grant =
            LocalGrant { by: "root".into(), at: self.now, reason: "on call".to_owned(), until };
        let plan = plan::by_hand(&self.state, ByHand::Add { user, role, grant }, self.now).unwrap();
        self.state = stored(&self.state, &plan);
    }

    fn user(&self, name: &str) -> &idpsyncd::model::User {
        self.state
            .users
            .iter()
            .rfind(|user| self.state.texts.get(user.username) == name)
            .unwrap_or_else(|| panic!("no user {name}"))
    }

    /// Who holds what: `alice:osmo-user=idp+local`.
    fn grants(&self) -> String {
        let mut out: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for grant in &self.state.grants {
            let user = self.state.users.iter().find(|u| u.id == grant.user).unwrap();
            let key = format!(
                "{}:{}",
                self.state.texts.get(user.username),
                self.state.roles.get(grant.role).unwrap().name
            );
            out.entry(key).or_default().push(if grant.kind.is_idp() { "idp" } else { "local" });
        }
        out.iter().map(|(k, v)| format!("{k}={}", v.join("+"))).collect::<Vec<_>>().join(" ")
    }

    /// What counts at the gateway: `alice:osmo-user`.
    fn effective(&self) -> String {
        pairs(&self.state, self.now).into_iter().collect::<Vec<_>>().join(" ")
    }
}

fn pairs(state: &State, now: Time) -> BTreeSet<String> {
    let effective = Effective::of(state, now).unwrap();
    let mut out = BTreeSet::new();
    for (place, user) in state.users.iter().enumerate() {
        for role in effective.roles(place) {
            out.insert(format!(
                "{}:{}",
                state.texts.get(user.username),
                state.roles.get(*role).unwrap().name
            ));
        }
    }
    out
}

/// A state in comparable words.
fn shape(state: &State) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for role in &state.roles {
        out.push(format!("{role:?}"));
    }
    for user in &state.users {
        out.push(format!(
            "{} {} {} {:?}",
            user.id,
            state.texts.get(user.username),
            state.texts.get(user.email),
            user.status
        ));
    }
    for grant in &state.grants {
        let why = match grant.kind {
            GrantKind::Idp(set) => {
                format!("{:?}", state.reasons.of_set(set).unwrap().collect::<Vec<_>>())
            }
            GrantKind::Local(local) => format!("{:?}", state.local(local).unwrap()),
        };
        out.push(format!("{} {} {why}", grant.user, grant.role));
    }
    let mut links: Vec<String> = state
        .links
        .iter()
        .map(|l| {
            format!(
                "{} {} {}",
                state.sources.get(l.source).unwrap(),
                state.texts.get(l.ext),
                l.user
            )
        })
        .collect();
    links.sort();
    out.extend(links);
    out.push(format!("{:?}", state.catalog));
    out
}

fn words(plan: &Plan) -> Vec<String> {
    plan.changes
        .iter()
        .map(|change| view(change, plan).to_string())
        .filter(|line| !line.starts_with("link-added"))
        .collect()
}

fn roles(mode: &str) -> String {
    format!(
        "[guard]\nmax_lost_floor = 1000\n[roles.r]\nsync_mode = \"{mode}\"\nexternal_roles = [\"g\"]\n"
    )
}

fn switch(world: &mut World, mode: &str) {
    world.config = config_of(&["kc"], &roles(mode));
}

#[test]
fn every_cell_of_the_mode_table() {
    // What alice holds before (made under merge), the mode, what the IdP says, what she holds then.
    let table = [
        ("", "force", true, "idp"),
        ("", "force", false, ""),
        ("idp", "force", true, "idp"),
        ("idp", "force", false, ""),
        ("local", "force", true, "idp"),
        ("local", "force", false, ""),
        ("idp+local", "force", true, "idp"),
        ("idp+local", "force", false, ""),
        ("", "import", true, "idp"),
        ("", "import", false, ""),
        ("idp", "import", true, "idp"),
        ("idp", "import", false, "idp"),
        ("local", "import", true, "idp+local"),
        ("local", "import", false, "local"),
        ("idp+local", "import", true, "idp+local"),
        ("idp+local", "import", false, "idp+local"),
        ("", "merge", true, "idp"),
        ("", "merge", false, ""),
        ("idp", "merge", true, "idp"),
        ("idp", "merge", false, ""),
        ("local", "merge", true, "idp+local"),
        ("local", "merge", false, "local"),
        ("idp+local", "merge", true, "idp+local"),
        ("idp+local", "merge", false, "local"),
        ("", "ignore", true, ""),
        ("", "ignore", false, ""),
        ("idp", "ignore", true, "idp"),
        ("idp", "ignore", false, "idp"),
        ("local", "ignore", true, "local"),
        ("local", "ignore", false, "local"),
        ("idp+local", "ignore", true, "idp+local"),
        ("idp+local", "ignore", false, "idp+local"),
    ];
    for (before, mode, yes, after) in table {
        let has = before.contains("idp");
        let alice = |member: bool| person("1", "alice", if member { &["/g"] } else { &[] });
        let mut world = World::with(&roles("merge"), &[alice(has)]);
        world.run();
        if before.contains("local") {
            world.grant("alice", "r", None);
        }
        switch(&mut world, mode);
        world.says("kc", &[alice(yes)]);
        world.run();
        let expected = if after.is_empty() { String::new() } else { format!("alice:r={after}") };
        assert_eq!(world.grants(), expected, "{before:?} {mode} {yes}");
        let again = world.run();
        assert_eq!(words(&again), Vec::<String>::new(), "{before:?} {mode} {yes}: not settled");
    }
}

#[test]
fn a_local_grant_beside_force_goes_without_a_lost_pair_when_the_idp_says_yes() {
    let mut world = World::with(&roles("merge"), &[person("1", "alice", &["/g"])]);
    world.run();
    world.grant("alice", "r", None);
    switch(&mut world, "force");
    let plan = world.run();
    assert_eq!(plan.summary.pairs_lost, 0);
    assert_eq!(
        words(&plan),
        [
            "role-changed r: mode merge → force",
            "grant-removed alice r (local): mode force: the IdP decides alone"
        ]
    );
}

#[test]
fn a_mode_changed_between_runs_takes_effect_in_the_next() {
    let mut world = World::with(&roles("import"), &[person("1", "alice", &["/g"])]);
    world.run();
    world.says("kc", &[person("1", "alice", &[])]);
    world.run();
    assert_eq!(world.grants(), "alice:r=idp", "import keeps what was imported");
    switch(&mut world, "ignore");
    world.run();
    assert_eq!(world.grants(), "alice:r=idp", "ignore keeps what was there before");
    switch(&mut world, "merge");
    world.run();
    assert_eq!(world.grants(), "", "merge takes away what no source says any more");
}

#[test]
fn a_disabled_user_keeps_grants_and_has_no_effective_role() {
    for mode in ["force", "import", "merge"] {
        let mut alice = person("1", "alice", &["/g"]);
        let mut world = World::with(&roles(mode), std::slice::from_ref(&alice));
        world.run();
        assert_eq!(world.effective(), "alice:r");
        alice.enabled = false;
        world.says("kc", std::slice::from_ref(&alice));
        let plan = world.run();
        assert_eq!(words(&plan), ["user-disabled alice: `kc` says that the account is disabled"]);
        assert_eq!((world.grants().as_str(), world.effective().as_str()), ("alice:r=idp", ""));
        alice.enabled = true;
        world.says("kc", &[alice]);
        assert_eq!(words(&world.run()), ["user-enabled alice"]);
        assert_eq!(world.effective(), "alice:r");
    }
}

#[test]
fn a_user_gone_keeps_access_for_a_while_then_loses_it_and_gets_it_back_on_return() {
    let config = format!("{}[sync]\non_missing = {{ after = \"1h\" }}\n", roles("merge"));
    let alice = person("1", "alice", &["/g"]);
    let bob = person("2", "bob", &[]);
    let mut world = World::with(&config, &[alice.clone(), bob.clone()]);
    world.run();
    world.grant("alice", "r", None);
    world.says("kc", std::slice::from_ref(&bob));
    let plan = world.run();
    assert_eq!(words(&plan), ["user-missing alice: no source lists the user any more"]);
    assert_eq!(plan.next_due, Some(at(60)));
    assert_eq!(world.effective(), "alice:r", "within the hour nothing is lost");
    world.later(59);
    assert_eq!(words(&world.run()), Vec::<String>::new());
    world.later(1);
    let plan = world.run();
    assert_eq!(
        words(&plan),
        [
            "user-deprovisioned alice: the user is gone from every source since 2026-01-01T00:00:00Z",
            "grant-removed alice r (idp): the user is gone from every source since \
             2026-01-01T00:00:00Z"
        ]
    );
    assert_eq!((world.grants().as_str(), world.effective().as_str()), ("alice:r=local", ""));
    assert_eq!(words(&world.run()), Vec::<String>::new());
    world.says("kc", &[alice, bob]);
    world.run();
    assert_eq!(world.effective(), "alice:r");
    assert_eq!(world.grants(), "alice:r=idp+local");
}

#[test]
fn a_user_gone_loses_access_at_once_or_never_where_the_configuration_says_so() {
    for (after, effective) in [("0s", ""), ("never", "alice:r")] {
        let config = format!("{}[sync]\non_missing = {{ after = \"{after}\" }}\n", roles("merge"));
        let mut world =
            World::with(&config, &[person("1", "alice", &["/g"]), person("2", "bob", &[])]);
        world.run();
        world.says("kc", &[person("2", "bob", &[])]);
        world.run();
        world.later(1_000_000);
        world.run();
        assert_eq!(world.effective(), effective, "{after}");
    }
}

#[test]
fn import_grants_survive_being_deprovisioned() {
    let config = format!("{}[sync]\non_missing = {{ after = \"0s\" }}\n", roles("import"));
    let mut world = World::with(&config, &[person("1", "alice", &["/g"]), person("2", "bob", &[])]);
    world.run();
    world.says("kc", &[person("2", "bob", &[])]);
    world.run();
    assert_eq!((world.grants().as_str(), world.effective().as_str()), ("alice:r=idp", ""));
    world.says("kc", &[person("1", "alice", &[]), person("2", "bob", &[])]);
    world.run();
    assert_eq!(world.effective(), "alice:r");
}

#[test]
fn a_rename_keeps_the_grants_and_names_may_swap() {
    let mut world =
        World::with(&roles("merge"), &[person("1", "alice", &["/g"]), person("2", "bob", &[])]);
    world.run();
    world.grant("alice", "r", None);
    world.says("kc", &[person("1", "bob", &["/g"]), person("2", "alice", &[])]);
    world.run();
    assert_eq!(world.grants(), "bob:r=idp+local");
    world.says("kc", &[person("1", "carol", &["/g"]), person("2", "bob", &[])]);
    world.run();
    assert_eq!(world.grants(), "carol:r=idp+local");
}

#[test]
fn a_new_id_under_an_old_name_is_another_person() {
    let mut world =
        World::with(&roles("merge"), &[person("1", "alice", &["/g"]), person("2", "bob", &[])]);
    world.run();
    world.grant("alice", "r", None);
    world.says("kc", &[person("9", "alice", &[]), person("2", "bob", &[])]);
    let plan = world.run();
    assert_eq!(world.effective(), "", "nothing passes over: {:?}", words(&plan));
    assert!(
        plan.warnings().iter().any(|w| w.contains("`alice` belongs to another person now")),
        "{:?}",
        plan.warnings()
    );
    assert!(matches!(world.state.users[0].status, Status::Deprovisioned { .. }));
    assert_eq!(words(&world.run()), Vec::<String>::new());
}

#[test]
fn a_new_id_under_an_old_name_gets_what_the_idp_says_and_that_is_no_loss() {
    let config =
        "[guard]\nmax_lost_floor = 0\nmax_lost_percent = 0\n[roles.r]\nexternal_roles = [\"g\"]\n";
    let mut world = World::with(config, &[person("1", "alice", &["/g"])]);
    world.run();
    world.says("kc", &[person("9", "alice", &["/g"])]);
    let plan = world.run();
    assert!(plan.held.is_none(), "{:?}", plan.held);
    assert_eq!(world.effective(), "alice:r");
}

#[test]
fn two_sources_for_one_person_say_yes_when_either_does_and_disabled_when_either_does() {
    let mut world = World::new(config_of(&["a", "b"], &roles("merge")));
    world.says("a", &[person("1", "alice", &["/g"])]);
    world.says("b", &[person("x", "Alice", &["/g"])]);
    world.run();
    assert_eq!(world.state.users.len(), 1);
    world.says("a", &[person("1", "alice", &[])]);
    let plan = world.run();
    assert_eq!(world.grants(), "alice:r=idp");
    assert_eq!(plan.summary.pairs_lost, 0);
    let mut off = person("x", "alice", &["/g"]);
    off.enabled = false;
    world.says("b", &[off]);
    world.run();
    assert_eq!(world.effective(), "");
    world.says("b", &[person("y", "zoe", &[])]);
    world.run();
    assert_eq!(world.grants(), "", "a still lists alice, and nobody says yes any more");
    assert_eq!(world.user("alice").status, Status::Enabled);
}

#[test]
fn a_person_known_in_one_source_is_linked_by_verified_email_where_configured() {
    let mut text = roles("merge");
    text.push_str("[sync]\nlink_by = \"email\"\n");
    let mut world = World::new(config_of(&["a", "b"], &text));
    world.says("a", &[person("1", "alice", &[])]);
    let mut other = person("x", "asmith", &["/g"]);
    other.email = "Alice@Example.org".to_owned();
    world.says("b", &[other]);
    world.run();
    assert_eq!(world.effective(), "alice:r");
    assert_eq!(world.state.users.len(), 1);
}

#[test]
fn two_people_of_one_source_who_collide_are_left_out_and_the_rest_goes_on() {
    let mut world = World::with(
        &roles("merge"),
        &[
            person("1", "Bob", &["/g"]),
            person("2", "bob", &["/g"]),
            person("3", "a b", &["/g"]),
            person("4", "carol", &["/g"]),
        ],
    );
    let plan = world.run();
    assert_eq!(world.effective(), "carol:r");
    assert!(plan.warnings().iter().any(|w| w.contains("username `bob`")), "{:?}", plan.warnings());
    assert!(plan.warnings().iter().any(|w| w.contains("`a b` is not a username")));
    // Who is known already keeps name and access when a newcomer collides.
    world.says("kc", &[person("4", "carol", &["/g"]), person("5", "Carol", &[])]);
    world.run();
    assert_eq!(world.effective(), "carol:r");
}

#[test]
fn a_role_removed_from_the_configuration_takes_its_grants_along() {
    let mut world = World::with(&roles("merge"), &[person("1", "alice", &["/g"])]);
    world.run();
    world.grant("alice", "r", None);
    world.config = config_of(&["kc"], "[guard]\nmax_lost_floor = 1000\n[roles.other]\n");
    let plan = world.run();
    assert!(
        words(&plan)
            .contains(&"role-removed r: the role left the configuration or its source".to_owned())
    );
    assert_eq!((world.grants().as_str(), world.state.roles.len()), ("", 1));
}

#[test]
fn a_templates_role_appears_with_the_role_at_the_idp_and_goes_with_it() {
    let template = "[guard]\nmax_lost_floor = 1000\n[[role_template]]\nname = 'osmo-(?<team>[a-z]+)'\n\
                    [[role_template.policies]]\nactions = [\"pool:List\"]\nresources = [\"pool/${team}-*\"]\n";
    let mut alice = person("1", "alice", &[]);
    let mut world = World::with(template, std::slice::from_ref(&alice));
    world.run();
    assert_eq!(world.state.roles.len(), 0);
    alice.roles = vec!["osmo-ml".to_owned()];
    world.says("kc", std::slice::from_ref(&alice));
    world.run();
    assert_eq!(world.effective(), "alice:osmo-ml");
    assert_eq!(
        world.state.roles[0].policies[0].resources.as_ref().unwrap()[0].to_string(),
        "pool/ml-*"
    );
    alice.roles.clear();
    world.says("kc", &[alice]);
    world.run();
    assert_eq!((world.effective().as_str(), world.state.roles.len()), ("", 0));
}

#[test]
fn a_source_that_was_never_read_takes_nothing_away() {
    let mut world = World::new(config_of(&["a", "b"], &roles("merge")));
    world.says("a", &[person("1", "alice", &["/g"])]);
    world.says("b", &[person("2", "bob", &["/g"])]);
    world.run();
    // The store lost b's mirror (a source renamed and back), and b cannot be read.
    world.facts.remove("b");
    let plan = world.run();
    assert_eq!(words(&plan), Vec::<String>::new());
    assert_eq!(world.effective(), "alice:r bob:r");
}

#[test]
fn subgroups_inherit_downwards_and_never_upwards() {
    let config =
        "[roles.eng]\nexternal_roles = []\n[[mapping]]\ngroup = \"/Eng\"\nroles = [\"eng\"]\n";
    let mut world =
        World::with(config, &[person("1", "in", &["/Eng/ML"]), person("2", "out", &["/Ops"])]);
    world.run();
    assert_eq!(world.effective(), "in:eng");
    let below =
        "[roles.eng]\nexternal_roles = []\n[[mapping]]\ngroup = \"/Eng/ML\"\nroles = [\"eng\"]\n";
    let mut world = World::with(below, &[person("1", "above", &["/Eng"])]);
    world.facts.get_mut("kc").unwrap().groups.push("/Eng/ML".to_owned());
    world.run();
    assert_eq!(world.effective(), "");
}

#[test]
fn group_roles_and_composites_are_followed_with_the_path_as_reason() {
    let config = "[roles.osmo-user]\n";
    let mut facts = Facts::of(&[person("1", "alice", &["/User/Temp"])]);
    facts.roles = vec![
        ("all".to_owned(), vec!["osmo-user".to_owned()]),
        ("osmo-user".to_owned(), vec!["all".to_owned()]),
    ];
    facts.group_roles = vec![("/User".to_owned(), "all".to_owned())];
    let mut world = World::new(config_of(&["kc"], config));
    world.facts.insert("kc".to_owned(), facts);
    let plan = world.run();
    assert_eq!(
        words(&plan).last().unwrap(),
        "grant-added alice osmo-user (idp): through group `/User/Temp` → group `/User` → realm role \
         `all` → realm role `osmo-user` (kc, roles.osmo-user)"
    );
}

#[test]
fn an_ambiguous_bare_name_gives_nobody_anything_new_and_is_reported() {
    let config = "[roles.admins]\n[roles.x]\nexternal_roles = []\n[[mapping]]\ngroup = \"/b/admins\"\nroles = [\"x\"]\n";
    let mut world = World::with(
        config,
        &[person("1", "alice", &["/a/admins"]), person("2", "bob", &["/b/admins"])],
    );
    let plan = world.run();
    assert_eq!(world.effective(), "bob:x");
    assert!(
        plan.warnings()
            .iter()
            .any(|w| w.contains("group name `admins` is ambiguous (`/a/admins`, `/b/admins`)")),
        "{:?}",
        plan.warnings()
    );
}

#[test]
fn a_protected_role_is_reached_by_an_idp_role_or_a_whole_identity_only() {
    let base = "[guard]\nprotected_roles = { boss = 0 }\n[roles.boss]\n";
    let cases: [(&str, bool); 4] = [
        ("", false),
        ("[[mapping]]\ngroup = \"/x/boss\"\nroles = [\"boss\"]\n", true),
        ("[[mapping]]\ngroup_name = \"boss\"\nroles = [\"boss\"]\n", false),
        ("[[mapping]]\ngroup_regex = '/x/.*'\nroles = [\"boss\"]\n", false),
    ];
    for (mapping, reached) in cases {
        let mut world =
            World::with(&format!("{base}{mapping}"), &[person("1", "alice", &["/x/boss"])]);
        let plan = world.run();
        assert_eq!(world.effective() == "alice:boss", reached, "{mapping}");
        // The group's bare name is the role's: said in every case, since it gives nothing.
        assert!(plan.warnings().iter().any(|w| w.contains("protected role `boss`")), "{mapping}");
    }
    let mut alice = person("1", "alice", &[]);
    alice.roles = vec!["boss".to_owned()];
    let mut world = World::with(base, &[alice]);
    world.run();
    assert_eq!(world.effective(), "alice:boss");
}

#[test]
fn captured_text_that_could_widen_a_pattern_is_refused_and_reported() {
    let config = "[[role_template]]\nname = 'osmo-(?<team>.+)'\n[[role_template.policies]]\n\
                  actions = [\"pool:List\"]\nresources = [\"pool/${team}-*\"]\n[[mapping]]\n\
                  group_regex = '/OSMO (?<team>.+)'\nroles = [\"osmo-${team}\"]\n";
    let mut world = World::with(
        config,
        &[person("1", "alice", &["/OSMO *"]), person("2", "bob", &["/OSMO ml"])],
    );
    let plan = world.run();
    assert_eq!(world.effective(), "bob:osmo-ml");
    assert!(
        plan.warnings().iter().any(|w| w.contains("capture `team` is `*`")),
        "{:?}",
        plan.warnings()
    );
}

#[test]
fn a_source_gives_only_what_its_grants_name() {
    let mut config = config_of(
        &["kc"],
        "[roles.a]\nexternal_roles = [\"g\"]\n[roles.osmo-b]\nexternal_roles = [\"g\"]\n",
    );
    config.sources[0].grants = Some(vec![globset::Glob::new("osmo-*").unwrap().compile_matcher()]);
    let mut world = World::new(config);
    world.says("kc", &[person("1", "alice", &["/g"])]);
    let plan = world.run();
    assert_eq!(world.effective(), "alice:osmo-b");
    assert!(
        plan.warnings().iter().any(|w| w.contains("`grants` do not name it")),
        "{:?}",
        plan.warnings()
    );
}

#[test]
fn provision_mapped_takes_only_those_whom_a_rule_gives_a_role() {
    let config = format!("{}[sync]\nprovision = \"mapped\"\n", roles("merge"));
    let mut world =
        World::with(&config, &[person("1", "alice", &["/g"]), person("2", "bob", &["/other"])]);
    world.run();
    assert_eq!(world.state.users.len(), 1);
    world.says("kc", &[person("1", "alice", &[]), person("2", "bob", &[])]);
    world.run();
    assert_eq!(world.state.users.len(), 1, "who is provisioned stays");
}

#[test]
fn everyone_is_not_a_grant_and_counts_for_the_enabled_alone() {
    let config = "[roles.all]\neveryone = true\n";
    let mut off = person("2", "bob", &[]);
    off.enabled = false;
    let mut world = World::with(config, &[person("1", "alice", &[]), off]);
    world.run();
    assert_eq!((world.effective().as_str(), world.grants().as_str()), ("alice:all", ""));
}

#[test]
fn an_expired_local_grant_goes_at_its_moment() {
    let mut world = World::with(&roles("merge"), &[person("1", "alice", &[])]);
    world.run();
    world.grant("alice", "r", Some(at(30)));
    let plan = world.run();
    assert_eq!(plan.next_due, Some(at(30)));
    world.later(30);
    let plan = world.run();
    assert_eq!(words(&plan), ["grant-removed alice r (local): its time is over"]);
    assert!(plan.held.is_none());
}

/// Plans on `snapshot` laid over `mirror`, as a run does.
fn over(world: &World, mirror: &Directory, snapshot: Snapshot) -> Plan {
    world.plan_on(&[("kc".to_owned(), merge(Some(mirror), snapshot).mirror.directory)])
}

fn two_groups(group: &str) -> String {
    format!("[guard]\nmax_lost_floor = 1000\n[roles.r]\nexternal_roles = [\"{group}\"]\n")
}

#[test]
fn a_group_that_was_never_read_is_unknown_and_not_empty() {
    let mut world = World::with(&two_groups("one"), &[person("1", "alice", &["/one"])]);
    let mut facts = world.facts["kc"].clone();
    facts.groups.push("/two".to_owned());
    let not_asked = |snapshot: &mut Snapshot, what: Completeness| {
        for (index, reference) in snapshot.directory.refs.iter().enumerate() {
            if snapshot.directory.text(reference.identity) == "/two" {
                snapshot.members[index] = what.clone();
            }
        }
    };
    let mut first = facts.snapshot(false);
    not_asked(&mut first, Completeness::NotAsked);
    let mirror = merge(None, first).mirror.directory;
    let plan = world.plan_on(&[("kc".to_owned(), mirror.clone())]);
    world.state = stored(&world.state, &plan);
    assert_eq!(world.effective(), "alice:r");
    // The rule now names the other group, which nobody has ever read: offline, or cut off.
    world.config = config_of(&["kc"], &two_groups("two"));
    let plan = world.plan_on(&[("kc".to_owned(), mirror.clone())]);
    assert!(!words(&plan).iter().any(|w| w.starts_with("grant-removed")), "{:?}", words(&plan));
    let mut cut = facts.snapshot(false);
    not_asked(&mut cut, Completeness::Partial("cut off".to_owned()));
    let plan = over(&world, &mirror, cut);
    assert!(!words(&plan).iter().any(|w| w.starts_with("grant-removed")), "{:?}", words(&plan));
    // Read in full: alice is not in it.
    let plan = over(&world, &mirror, facts.snapshot(false));
    assert!(words(&plan).iter().any(|w| w.starts_with("grant-removed")), "{:?}", words(&plan));
}

#[test]
fn who_leaves_a_group_that_was_read_loses_the_role_though_another_group_is_unknown() {
    let config = "[guard]\nmax_lost_floor = 1000\n[roles.r]\nexternal_roles = [\"one\", \"two\"]\n";
    let mut world =
        World::with(config, &[person("1", "alice", &["/one"]), person("2", "bob", &["/one"])]);
    world.facts.get_mut("kc").unwrap().groups.push("/two".to_owned());
    world.run();
    let mut facts = Facts::of(&[person("1", "alice", &[]), person("2", "bob", &["/one"])]);
    facts.groups = vec!["/one".to_owned(), "/two".to_owned()];
    let mut snapshot = facts.snapshot(false);
    for (index, reference) in snapshot.directory.refs.iter().enumerate() {
        if snapshot.directory.text(reference.identity) == "/two" {
            snapshot.members[index] = Completeness::Partial("cut off".to_owned());
        }
    }
    let plan = world.plan_on(&[("kc".to_owned(), merge(None, snapshot).mirror.directory)]);
    assert_eq!(plan.summary.grants_removed, 1, "{:?}", words(&plan));
}

#[test]
fn who_leaves_a_group_of_one_source_loses_the_role_though_another_source_has_an_unknown_one() {
    let mut world = World::new(config_of(&["a", "b"], &roles("merge")));
    world.says("a", &[person("1", "alice", &["/g"]), person("2", "bob", &["/g"])]);
    world.says("b", &[person("x", "zoe", &[])]);
    world.run();
    let a = Facts::of(&[person("1", "alice", &[]), person("2", "bob", &["/g"])]).directory();
    let b = Facts { groups: vec!["/g".to_owned()], ..Facts::of(&[person("x", "zoe", &[])]) };
    let mut b = b.snapshot(false);
    b.members[0] = Completeness::Partial("cut off".to_owned());
    let b = merge(None, b).mirror.directory;
    let plan = world.plan_on(&[("a".to_owned(), a), ("b".to_owned(), b)]);
    assert_eq!(plan.summary.grants_removed, 1, "{:?}", words(&plan));
    assert!(
        plan.warnings().iter().any(|w| w.contains("never read in full")),
        "{:?}",
        plan.warnings()
    );
}

/// The reading of these people where the groups `partial` could not be read in full.
fn reading_but(people: &[Person], groups: &[&str], partial: &[&str]) -> Snapshot {
    let mut facts = Facts::of(people);
    facts.groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let mut snapshot = facts.snapshot(false);
    for (index, reference) in snapshot.directory.refs.iter().enumerate() {
        if partial.contains(&snapshot.directory.text(reference.identity)) {
            snapshot.members[index] = Completeness::Partial("hidden".to_owned());
        }
    }
    snapshot
}

/// Runs over one mirror after the other, as a run does.
fn runs(world: &mut World, snapshots: Vec<Snapshot>) -> Plan {
    let mut mirror = None;
    let mut last = None;
    for snapshot in snapshots {
        let merged = merge(mirror.as_ref(), snapshot).mirror.directory;
        let plan = world.plan_on(&[("kc".to_owned(), merged.clone())]);
        world.state = stored(&world.state, &plan);
        mirror = Some(merged);
        last = Some(plan);
    }
    last.unwrap()
}

#[test]
fn a_list_that_was_read_in_full_counts_though_another_never_was() {
    let config = "[guard]\nmax_lost_floor = 1000\n[sync]\non_missing = { after = \"0s\" }\n\
                  [roles.one]\nsync_mode = \"force\"\n[roles.two]\n";
    let groups = ["/one", "/two"];
    let mut world = World::with(config, &[]);
    let before = [
        person("1", "alice", &["/one", "/two"]),
        person("2", "bob", &["/one"]),
        person("3", "carol", &["/two"]),
    ];
    runs(&mut world, vec![reading_but(&before, &groups, &["/two"])]);
    world.grant("carol", "two", None);
    assert_eq!(world.effective(), "alice:one alice:two bob:one carol:two");
    // Alice leaves both groups, of which one cannot be read; bob is gone.
    let after = [person("1", "alice", &[]), person("3", "carol", &[])];
    let first = reading_but(&before, &groups, &["/two"]);
    runs(&mut world, vec![first, reading_but(&after, &groups, &["/two"])]);
    assert_eq!(world.effective(), "alice:two carol:two");
    // Once it can be read, it counts as well.
    runs(&mut world, vec![reading_but(&after, &groups, &[])]);
    assert_eq!(world.effective(), "carol:two", "{}", world.grants());
}

#[test]
fn who_is_not_among_the_users_goes_missing_though_not_all_groups_were_ever_read() {
    let mut world = World::with(&roles("merge"), &[]);
    let people = [person("1", "alice", &["/g"]), person("2", "bob", &["/g"])];
    let cut = |people: &[Person], groups: &[&str]| {
        let mut snapshot = reading_but(people, groups, &[]);
        snapshot.groups = Completeness::Partial("cut off".to_owned());
        snapshot
    };
    let plan = runs(&mut world, vec![cut(&people, &["/g"]), cut(&people[..1], &["/g"])]);
    assert_eq!(words(&plan), ["user-missing bob: no source lists the user any more"]);
    // A group that is not shown may be there.
    let none = person("1", "alice", &[]);
    let plan = runs(&mut world, vec![cut(&people, &["/g"]), cut(std::slice::from_ref(&none), &[])]);
    assert!(!words(&plan).iter().any(|w| w.starts_with("grant-removed")), "{:?}", words(&plan));
    // One that is shown does not list her.
    let plan = runs(&mut world, vec![cut(&people, &["/g"]), cut(&[none], &["/g"])]);
    assert!(words(&plan).iter().any(|w| w.starts_with("grant-removed")), "{:?}", words(&plan));
}

#[test]
fn who_is_not_on_a_list_that_was_read_is_not_on_it_though_not_all_users_ever_were() {
    let mut world = World::with(&roles("merge"), &[]);
    let cut = |people: &[Person], partial: &[&str]| {
        let mut snapshot = reading_but(people, &["/g"], partial);
        snapshot.users = Completeness::Partial("cut off".to_owned());
        snapshot
    };
    let before = [person("1", "alice", &["/g"]), person("2", "bob", &["/g"])];
    let after = [person("1", "alice", &[])];
    runs(&mut world, vec![cut(&before, &[]), cut(&after, &["/g"])]);
    assert_eq!(world.effective(), "alice:r bob:r");
    let plan = runs(&mut world, vec![cut(&before, &[]), cut(&after, &[])]);
    assert!(!words(&plan).iter().any(|w| w.starts_with("user-missing")), "{:?}", words(&plan));
    assert_eq!(world.effective(), "");
}

#[test]
fn whose_role_may_lead_anywhere_keeps_what_a_no_would_take() {
    let config = "[guard]\nmax_lost_floor = 1000\n[roles.r]\nsync_mode = \"force\"\n\
                  external_roles = [\"two\"]\n";
    let mut world = World::with(config, &[]);
    let people = [person("1", "alice", &["/one"])];
    let mut snapshot = reading_but(&people, &["/one", "/two"], &[]);
    let one = snapshot
        .directory
        .refs
        .iter()
        .position(|reference| snapshot.directory.text(reference.identity) == "/one");
    snapshot.implies[one.unwrap()] = Completeness::Partial("what it contains is hidden".to_owned());
    // An administrator made her grant while the role was not yet the IdP's alone.
    world.config = config_of(&["kc"], &config.replace("force", "merge"));
    runs(&mut world, vec![snapshot.clone()]);
    world.grant("alice", "r", None);
    world.config = config_of(&["kc"], config);
    let plan = runs(&mut world, vec![snapshot.clone(), snapshot]);
    assert_eq!(words(&plan), Vec::<String>::new());
    let plan = runs(&mut world, vec![reading_but(&people, &["/one", "/two"], &[])]);
    assert!(words(&plan).iter().any(|w| w.starts_with("grant-removed")), "{:?}", words(&plan));
}

#[test]
fn a_group_s_list_says_which_groups_are_in_it_where_a_directory_nests_that_way() {
    let snapshot = |inner_in: &[&str], partial: &[&str]| {
        let mut builder = SnapshotBuilder::new(true);
        builder.nested_by_list();
        let mut place = BTreeMap::new();
        for name in ["inner", "outer", "other"] {
            let group = builder
                .reference(&NewRef {
                    kind: Kind::Group,
                    key: name,
                    name,
                    identity: name,
                    norm: name,
                })
                .unwrap();
            if partial.contains(&name) {
                builder.members_are(group, Completeness::Partial("hidden".to_owned()));
            }
            place.insert(name, group);
        }
        inner_in.iter().for_each(|to| builder.leads_to(place["inner"], place[to]));
        builder.finish()
    };
    let ups = |directory: &Directory| -> Vec<String> {
        let name = |at| directory.text(directory.refs.get(at).unwrap().name).to_owned();
        let (_, implies) =
            directory.implies.numbered().find(|(at, _)| name(*at) == "inner").unwrap();
        implies.iter().map(|at| name(*at)).collect()
    };
    let mirror = merge(None, snapshot(&["outer", "other"], &[])).mirror.directory;
    let after = |inner_in: &[&str], partial: &[&str]| {
        ups(&merge(Some(&mirror), snapshot(inner_in, partial)).mirror.directory)
    };
    assert_eq!(after(&[], &[]), Vec::<String>::new());
    assert_eq!(after(&[], &["outer"]), ["outer"], "its list may hold the group still");
    assert_eq!(after(&["other"], &["inner"]), ["other"], "that of `outer` was read");
}

#[test]
fn what_a_group_held_before_nobody_asked_for_it_is_forgotten() {
    let facts = Facts::of(&[person("1", "alice", &["/one"])]);
    let mirror = facts.directory();
    let mut snapshot =
        Facts { groups: vec!["/one".to_owned()], ..Facts::of(&[person("1", "alice", &[])]) }
            .snapshot(false);
    snapshot.members[0] = Completeness::NotAsked;
    let merged = merge(Some(&mirror), snapshot).mirror.directory;
    assert!(merged.members[0].is_empty() && !merged.refs[0].known);
}

#[test]
fn a_group_made_again_under_its_path_is_not_ambiguous_in_a_partial_read() {
    let mut world = World::with(&two_groups("one"), &[person("1", "alice", &["/one"])]);
    world.run();
    let mirror = world.facts["kc"].directory();
    let mut builder = SnapshotBuilder::new(false);
    let group = builder
        .reference(&NewRef {
            kind: Kind::Group,
            key: "another id",
            name: "one",
            identity: "/one",
            norm: "/one",
        })
        .unwrap();
    let alice = person("1", "alice", &[]);
    let user = builder
        .user(&NewUser {
            ext: &alice.ext,
            username: &alice.name,
            email: &alice.email,
            email_verified: true,
            enabled: Enabled::Yes,
            federation: "",
        })
        .unwrap();
    builder.member(group, user);
    builder.groups_are(Completeness::Partial("cut off".to_owned()));
    let plan = over(&world, &mirror, builder.finish());
    assert_eq!(words(&plan), Vec::<String>::new());
}

#[test]
fn a_new_person_under_a_name_that_its_holder_has_given_up_inherits_nothing() {
    let mut world =
        World::with(&roles("merge"), &[person("1", "alice", &["/g"]), person("2", "bob", &[])]);
    world.run();
    world.grant("alice", "r", None);
    // The first alice wants a name that is taken, so the store goes on calling her alice.
    world.says(
        "kc",
        &[person("1", "bob", &["/g"]), person("2", "bob", &[]), person("9", "alice", &[])],
    );
    world.run();
    assert_eq!(world.effective(), "", "{}", world.grants());
}

#[test]
fn an_address_that_nobody_verified_captures_no_account_of_another_source() {
    let mut text = roles("merge");
    text.push_str("[sync]\nusername = \"email\"\n");
    let mut world = World::new(config_of(&["a", "b"], &text));
    let mut builder = SnapshotBuilder::new(false);
    builder
        .user(&NewUser {
            ext: "m",
            username: "mallory",
            email: "admin@example.org",
            email_verified: false,
            enabled: Enabled::Yes,
            federation: "",
        })
        .unwrap();
    let a = builder.finish().directory;
    let mut admin = person("1", "admin", &["/g"]);
    admin.email = "admin@example.org".to_owned();
    let b = Facts::of(&[admin]).directory();
    let plan = world.plan_on(&[("a".to_owned(), a), ("b".to_owned(), b)]);
    world.state = stored(&world.state, &plan);
    assert_eq!(world.effective(), "");
}

#[test]
fn a_source_renamed_and_not_yet_readable_takes_nobody_away() {
    let config = format!("{}[sync]\non_missing = {{ after = \"0s\" }}\n", roles("merge"));
    let mut world = World::with(&config, &[person("1", "alice", &["/g"])]);
    world.run();
    world.config = config_of(&["renamed"], &config);
    world.facts.clear();
    assert_eq!(words(&world.run()), Vec::<String>::new());
    assert_eq!(world.effective(), "alice:r");
}

#[test]
fn whom_a_source_disabled_that_nobody_has_read_under_its_new_name_stays_disabled() {
    let config = roles("merge");
    let (on, off) = (
        Facts::of(&[person("1", "alice", &["/g"])]),
        Facts::of(&[Person { enabled: false, ..person("9", "alice", &[]) }]),
    );
    let renamed = &["hr-new", "kc"][..];
    // The sources then, what each says; whether she counts.
    type Said<'a> = &'a [(&'a str, &'a Facts)];
    let table: &[(&[&str], Said, bool)] = &[
        // Neither name has been read: what the old one said stands.
        (renamed, &[("kc", &on)], false),
        (renamed, &[("kc", &on), ("hr-new", &off)], false),
        // It was read, and says otherwise, or does not list her.
        (renamed, &[("kc", &on), ("hr-new", &on)], true),
        (renamed, &[("kc", &on), ("hr-new", &Facts::default())], true),
        // It left, and no other can be it.
        (&["kc"], &[("kc", &on)], true),
        // It keeps its name and its mirror was lost.
        (&["hr", "kc"], &[("kc", &on)], false),
    ];
    for (sources, said, counts) in table {
        let mut world = World::with(&config, &[]);
        world.config = config_of(&["hr", "kc"], &config);
        world.facts = [("hr".to_owned(), off.clone()), ("kc".to_owned(), on.clone())].into();
        world.run();
        assert_eq!(world.effective(), "", "disabled in any of them is disabled");
        world.config = config_of(sources, &config);
        let facts = |(name, facts): &(&str, &Facts)| ((*name).to_owned(), (*facts).clone());
        world.facts = said.iter().map(facts).collect();
        world.run();
        let effective = if *counts { "alice:r" } else { "" };
        assert_eq!(world.effective(), effective, "{sources:?} {said:?}");
        let again = words(&world.run());
        assert_eq!(again, Vec::<String>::new(), "{sources:?} {said:?}");
    }
}

#[test]
fn an_attribute_never_reaches_a_protected_role() {
    let config = "[guard]\nprotected_roles = { boss = 0 }\n[roles.boss]\nexternal_roles = []\n\
                  [[mapping]]\nattribute = { name = \"dep\", value = \"IT\" }\nroles = [\"boss\"]\n";
    let world = World::with(config, &[]);
    let mut builder = SnapshotBuilder::new(false);
    let user = builder
        .user(&NewUser {
            ext: "1",
            username: "alice",
            email: "",
            email_verified: false,
            enabled: Enabled::Yes,
            federation: "",
        })
        .unwrap();
    let it = builder
        .reference(&NewRef {
            kind: Kind::Attribute,
            key: "dep=IT",
            name: "IT",
            identity: "dep=IT",
            norm: "dep=IT",
        })
        .unwrap();
    builder.member(it, user);
    let plan = world.plan_on(&[("kc".to_owned(), builder.finish().directory)]);
    assert_eq!(plan.summary.grants_added, 0, "{:?}", words(&plan));
}

#[test]
fn a_local_grant_ends_on_time_though_its_roles_removal_is_held() {
    let mut world = World::with(STRICT, &crowd(20, &["/g"]));
    world.run();
    let mut people = crowd(20, &["/g"]);
    people.push(person("x", "zed", &[]));
    world.says("kc", &people);
    world.run();
    world.grant("zed", "r", Some(at(30)));
    world.config =
        config_of(&["kc"], "[guard]\nmax_lost_percent = 10\nmax_lost_floor = 2\n[roles.o]\n");
    let plan = world.run();
    assert!(plan.held.is_some());
    assert_eq!(plan.next_due, Some(at(30)));
    world.later(30);
    world.run();
    assert!(!world.effective().contains("zed:r"), "{}", world.effective());
}

#[test]
fn who_waits_for_a_held_name_keeps_the_name_that_another_wants() {
    let config = "[guard]\nmax_lost_floor = 1000\nprotected_roles = { boss = 1 }\n\
                  [sync]\non_missing = { after = \"0s\" }\n[roles.boss]\nexternal_roles = []\n\
                  [[mapping]]\ngroup = \"/boss\"\nroles = [\"boss\"]\n";
    let mut world =
        World::with(config, &[person("1", "alice", &["/boss"]), person("2", "bob", &[])]);
    world.run();
    world.says("kc", &[person("2", "alice", &[]), person("3", "bob", &[])]);
    let plan = world.run();
    assert!(plan.held.is_some());
    let mut names: Vec<&str> = world
        .state
        .users
        .iter()
        .filter(|user| !matches!(user.status, Status::Deprovisioned { .. }))
        .map(|user| world.state.texts.get(user.username))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["alice", "bob"], "two people never share a username");
}

#[test]
fn a_held_plan_with_newcomers_keeps_its_id_and_can_be_approved_later() {
    let mut world = World::with(STRICT, &crowd(20, &["/g"]));
    world.run();
    let renewed = |extra: usize| {
        let mut people = crowd(20, &[]);
        for person in &mut people {
            person.ext = format!("new-{}", person.ext);
        }
        people.extend((0..extra).map(|i| person(&format!("a{i}"), &format!("a{i}"), &[])));
        people
    };
    world.says("kc", &renewed(0));
    let held = world.run().held.unwrap();
    world.says("kc", &renewed(3));
    let again = world.run();
    assert_eq!(again.held.as_ref().map(|held| &held.id), Some(&held.id));
    let directory = world.facts["kc"].directory();
    let view = [View { source: "kc", directory: &directory }];
    let resolved = resolve(&world.config.settings(), &view, &world.state, world.now).unwrap();
    let plan = plan::approve(resolved, &world.state, &held, world.now).unwrap();
    world.state = stored(&world.state, &plan);
    assert_eq!(Effective::of(&world.state, world.now).unwrap().pairs(), 0);
}

fn crowd(count: usize, groups: &[&str]) -> Vec<Person> {
    (0..count).map(|i| person(&format!("id{i:03}"), &format!("user{i:03}"), groups)).collect()
}

const STRICT: &str = "[guard]\nmax_lost_percent = 10\nmax_lost_floor = 2\nmax_disabled_percent = 10\n\
                      [roles.r]\nexternal_roles = [\"g\"]\n";

#[test]
fn more_lost_pairs_than_floor_and_percent_are_held_and_the_rest_applies() {
    let mut people = crowd(20, &["/g"]);
    let mut world = World::with(STRICT, &people);
    world.run();
    for person in &mut people[..3] {
        person.groups.clear();
    }
    people.push(person("new", "newcomer", &["/g"]));
    world.says("kc", &people);
    let plan = world.run();
    let held = plan.held.clone().expect("held");
    assert_eq!((held.lost_pairs, held.changes.len()), (3, 3));
    assert_eq!(
        held.why,
        ["3 of 20 effective user-role pairs would be lost because of absence: more than \
          max_lost_percent = 10 and max_lost_floor = 2"]
    );
    assert_eq!(
        Effective::of(&world.state, world.now).unwrap().pairs(),
        21,
        "additions apply, nothing lost"
    );
    // The same again keeps the id and the time.
    world.later(5);
    let again = world.run();
    assert_eq!(again.held, Some(held.clone()));
    assert!(again.changes.is_empty());
    // Other changes supersede it.
    people[3].groups.clear();
    world.says("kc", &people);
    let other = world.run();
    assert_ne!(other.held.as_ref().unwrap().id, held.id);
    // Back again: nothing is held any more.
    world.says("kc", &crowd(20, &["/g"]));
    assert!(world.run().held.is_none());
}

#[test]
fn an_approved_plan_applies_exactly_or_says_what_does_not_stand() {
    let mut people = crowd(20, &["/g"]);
    let mut world = World::with(STRICT, &people);
    world.run();
    for person in &mut people[..5] {
        person.groups.clear();
    }
    world.says("kc", &people);
    let held = world.run().held.unwrap();
    let directory = world.facts["kc"].directory();
    let view = [View { source: "kc", directory: &directory }];
    let resolved = resolve(&world.config.settings(), &view, &world.state, world.now).unwrap();
    let plan = plan::approve(resolved, &world.state, &held, world.now).unwrap();
    assert_eq!((plan.summary.grants_removed, plan.summary.pairs_lost), (5, 5));
    // One of them is back: the plan does not stand, and says so.
    people[0].groups = vec!["/g".to_owned()];
    world.says("kc", &people);
    let directory = world.facts["kc"].directory();
    let view = [View { source: "kc", directory: &directory }];
    let resolved = resolve(&world.config.settings(), &view, &world.state, world.now).unwrap();
    let gone = plan::approve(resolved, &world.state, &held, world.now).unwrap_err();
    let plan::NotApproved::Gone(gone) = gone else { panic!("{gone:?}") };
    assert_eq!(gone.len(), 1);
    assert!(gone[0].starts_with("grant-removed user000 r (idp)"), "{gone:?}");
}

#[test]
fn a_protected_role_short_of_holders_holds_its_own_removals_alone() {
    let config = "[guard]\nmax_lost_floor = 1000\nprotected_roles = { boss = 1 }\n\
                  [roles.boss]\nexternal_roles = []\n[roles.r]\nexternal_roles = [\"g\"]\n\
                  [[mapping]]\ngroup = \"/boss\"\nroles = [\"boss\"]\n";
    let mut world = World::with(config, &[person("1", "alice", &["/boss", "/g"])]);
    world.run();
    world.says("kc", &[person("1", "alice", &[])]);
    let plan = world.run();
    assert_eq!(plan.held.as_ref().unwrap().changes.len(), 1);
    assert_eq!(world.effective(), "alice:boss");
    // Disabled outright: that applies, with a warning.
    let mut off = person("1", "alice", &["/boss"]);
    off.enabled = false;
    world.says("kc", &[off]);
    let plan = world.run();
    assert!(plan.held.is_none());
    assert!(
        plan.warnings().iter().any(|w| w.contains("protected role `boss` is left with 0")),
        "{:?}",
        plan.warnings()
    );
    assert_eq!(world.effective(), "");
}

#[test]
fn a_protected_roles_last_holder_who_is_gone_stays_until_approved() {
    let config = "[guard]\nmax_lost_floor = 1000\nprotected_roles = { boss = 1 }\n\
                  [sync]\non_missing = { after = \"0s\" }\n\
                  [roles.boss]\nexternal_roles = []\n[roles.r]\nexternal_roles = [\"g\"]\n\
                  [[mapping]]\ngroup = \"/boss\"\nroles = [\"boss\"]\n";
    let mut world =
        World::with(config, &[person("1", "alice", &["/boss", "/g"]), person("2", "bob", &[])]);
    world.run();
    world.says("kc", &[person("2", "bob", &[])]);
    let plan = world.run();
    assert!(plan.held.is_some());
    assert_eq!(world.effective(), "alice:boss", "r is not held, boss is");
}

#[test]
fn many_disables_at_once_look_like_an_outage_and_are_held_with_what_comes_along() {
    let mut people = crowd(20, &["/g"]);
    let mut world = World::with(STRICT, &people);
    world.run();
    for person in &mut people[..3] {
        person.enabled = false;
        person.groups.clear();
    }
    world.says("kc", &people);
    let plan = world.run();
    let held = plan.held.unwrap();
    assert!(
        held.why.iter().any(|why| why.contains("3 of 20 enabled users would be disabled at once"))
    );
    assert_eq!(Effective::of(&world.state, world.now).unwrap().pairs(), 20, "{:?}", held.why);
}

#[test]
fn a_file_that_disables_many_or_loses_many_is_held_like_any_source() {
    let text = format!(
        "[store]\npath = \"s.db\"\n[[source]]\nname = \"dir\"\nkind = \"file\"\n\
         realm_export = \"r.json\"\n{STRICT}"
    );
    let mut people = crowd(20, &["/g"]);
    let mut world =
        World::new(config::parse(&text, Path::new("t.toml"), &idpsyncd::source::kinds()).unwrap());
    world.says("dir", &people);
    world.run();
    for person in &mut people[..3] {
        person.enabled = false;
    }
    world.says("dir", &people);
    assert!(world.run().held.unwrap().why[0].contains("3 of 20 enabled users"));
    let mut people = crowd(20, &["/g"]);
    people.drain(..3).for_each(drop);
    people.extend(crowd(3, &[]));
    world.says("dir", &people);
    assert!(world.run().held.unwrap().why[0].contains("3 of 20 effective user-role pairs"));
}

#[test]
fn a_held_plans_id_is_made_from_its_content_by_a_fixed_encoding() {
    let mut world = World::with(STRICT, &crowd(20, &["/g"]));
    world.run();
    world.config =
        config_of(&["kc"], "[guard]\nmax_lost_percent = 10\nmax_lost_floor = 2\n[roles.o]\n");
    let first = world.run().held.unwrap();
    // Later versions of this program give the same changes the same id.
    assert_eq!(first.id, "016e170f1a51");
}

#[test]
fn disables_of_one_federation_are_held_by_its_own_size() {
    let mut people = crowd(100, &["/g"]);
    for person in &mut people[..10] {
        person.federation = "ldap-1".to_owned();
    }
    let mut world = World::with(STRICT, &people);
    world.run();
    for person in &mut people[..4] {
        person.enabled = false;
    }
    world.says("kc", &people);
    let plan = world.run();
    assert!(plan.held.unwrap().why[0].contains("4 of 10 enabled users of `kc`"));
    // The same four without a federation in common are below a tenth of all.
    let mut people = crowd(100, &["/g"]);
    let mut world = World::with(STRICT, &people);
    world.run();
    for person in &mut people[..4] {
        person.enabled = false;
    }
    world.says("kc", &people);
    assert!(world.run().held.is_none());
}

#[test]
fn everyone_who_comes_back_under_a_new_id_is_held_when_it_costs_too_much() {
    let mut world = World::with(STRICT, &crowd(20, &["/g"]));
    world.run();
    for i in 0..20 {
        world.grant(&format!("user{i:03}"), "r", None);
    }
    let mut people = crowd(20, &[]);
    for person in &mut people {
        person.ext = format!("new-{}", person.ext);
    }
    world.says("kc", &people);
    let plan = world.run();
    assert!(plan.held.is_some());
    assert_eq!(Effective::of(&world.state, world.now).unwrap().pairs(), 20);
    assert_eq!(world.state.users.len(), 20, "the new ones wait");
}

#[test]
fn a_role_that_leaves_the_configuration_is_held_with_its_policies() {
    let mut world = World::with(STRICT, &crowd(20, &["/g"]));
    world.run();
    world.config =
        config_of(&["kc"], "[guard]\nmax_lost_percent = 10\nmax_lost_floor = 2\n[roles.o]\n");
    let plan = world.run();
    assert_eq!(plan.held.unwrap().lost_pairs, 20);
    assert_eq!(Effective::of(&world.state, world.now).unwrap().pairs(), 20);
    assert!(world.state.roles.iter().any(|role| role.name == "r"));
}

#[test]
fn everyone_taken_from_a_role_is_a_loss_like_any_other() {
    let mut world =
        World::with("[guard]\nmax_lost_floor = 2\n[roles.all]\neveryone = true\n", &crowd(20, &[]));
    world.run();
    world.config = config_of(&["kc"], "[guard]\nmax_lost_floor = 2\n[roles.all]\n");
    let plan = world.run();
    assert_eq!(plan.held.unwrap().lost_pairs, 20);
    assert_eq!(Effective::of(&world.state, world.now).unwrap().pairs(), 20);
}

#[test]
fn the_first_sync_into_an_empty_store_never_holds() {
    let mut world = World::with(
        "[guard]\nmax_lost_floor = 0\nmax_lost_percent = 0\nprotected_roles = { r = 5 }\n[roles.r]\n",
        &crowd(3, &[]),
    );
    assert!(world.run().held.is_none());
}

// ---------------------------------------------------------------- properties

const GROUPS: [&str; 8] = ["/a", "/a/x", "/b", "/c", "/d", "acme:", "acme:/a", "acme:/a/x"];

/// The rule that names a group, or an organization.
fn naming(group: &str) -> String {
    match kind(group) {
        Kind::Organization => format!("organization = \"{}\"", group.trim_end_matches(':')),
        Kind::OrganizationGroup => format!("organization_group = \"{group}\""),
        _ => format!("group = \"{group}\""),
    }
}
const MODES: [&str; 4] = ["force", "import", "merge", "ignore"];

fn arbitrary_people() -> impl Strategy<Value = Vec<Person>> {
    prop::collection::vec(
        (any::<bool>(), prop::collection::vec(0..GROUPS.len(), 0..4), 0..3u8),
        0..8,
    )
    .prop_map(|list| {
        list.into_iter()
            .enumerate()
            .filter(|(_, (_, _, kind))| *kind > 0)
            .map(|(i, (enabled, groups, _))| {
                let names: Vec<&str> = groups.into_iter().map(|g| GROUPS[g]).collect();
                let mut one = person(&format!("id{i}"), &format!("user{i}"), &names);
                one.enabled = enabled;
                one
            })
            .collect()
    })
}

fn arbitrary_config() -> impl Strategy<Value = String> {
    prop::collection::vec((0..4usize, 0..GROUPS.len()), 1..4).prop_map(|list| {
        let mut text = String::from("[guard]\nmax_lost_floor = 100000\n[sync]\non_missing = { after = \"10m\" }\n");
        for (i, (mode, group)) in list.iter().enumerate() {
            text.push_str(&format!(
                "[roles.r{i}]\nsync_mode = \"{}\"\nexternal_roles = []\n[[mapping]]\n{}\nroles = [\"r{i}\"]\n",
                MODES[*mode], naming(GROUPS[*group])
            ));
        }
        text
    })
}

/// What the IdP says, worked out the slow way.
fn oracle(config: &Config, facts: &Facts) -> BTreeSet<(String, String)> {
    let mut out = BTreeSet::new();
    for mapping in &config.mappings {
        let (wanted, below) = match &mapping.rule {
            MappingRule::Group(path) | MappingRule::OrganizationGroup(path) => {
                (path.clone(), format!("{path}/"))
            }
            // Who is in a group of an organization only is not in the organization, whatever that would be.
            MappingRule::Organization(alias) => (format!("{alias}:"), "none".to_owned()),
            other => panic!("{other}"),
        };
        for person in facts.people.iter().filter(|p| p.enabled) {
            if person.groups.iter().any(|g| *g == wanted || g.starts_with(&below)) {
                out.extend(mapping.roles.iter().map(|role| (person.name.clone(), role.clone())));
            }
        }
    }
    out
}

fn all_partial(facts: &Facts) -> Snapshot {
    let mut snapshot = facts.snapshot(false);
    let partial = || Completeness::Partial("cut off".to_owned());
    snapshot.users = partial();
    snapshot.groups = partial();
    snapshot.roles = partial();
    snapshot.organizations = partial();
    snapshot.members.iter_mut().for_each(|m| *m = partial());
    snapshot.implies.iter_mut().for_each(|m| *m = partial());
    snapshot
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_second_run_on_the_same_input_changes_nothing(
        config in arbitrary_config(), first in arbitrary_people(), second in arbitrary_people(),
    ) {
        let mut world = World::with(&config, &first);
        world.run();
        world.says("kc", &second);
        world.run();
        let again = world.run();
        prop_assert!(again.changes.is_empty(), "{:?}", words(&again));
        prop_assert!(again.moved().next().is_none());
    }

    #[test]
    fn the_order_of_the_input_never_matters(
        config in arbitrary_config(), first in arbitrary_people(), second in arbitrary_people(),
    ) {
        let mut world = World::with(&config, &first);
        world.run();
        world.says("kc", &second);
        let facts = &world.facts["kc"];
        let one = world.plan_on(&[("kc".to_owned(), facts.snapshot(false).directory)]);
        let other = world.plan_on(&[("kc".to_owned(), facts.snapshot(true).directory)]);
        prop_assert_eq!(words(&one), words(&other));
        let after = |plan: &Plan| shape(&plan.applied(&world.state).unwrap());
        prop_assert_eq!(after(&one), after(&other));
        prop_assert_eq!(facts.snapshot(false).directory.digest(), facts.snapshot(true).directory.digest());
    }

    #[test]
    fn a_partial_read_never_takes_anything_away(
        config in arbitrary_config(), first in arbitrary_people(), second in arbitrary_people(),
    ) {
        let mut world = World::with(&config, &first);
        world.run();
        let mirror = world.facts["kc"].directory();
        let before = pairs(&world.state, world.now);
        let merged = merge(Some(&mirror), all_partial(&Facts::of(&second)));
        prop_assert!(!merged.complete);
        let plan = world.plan_on(&[("kc".to_owned(), merged.mirror.directory)]);
        let taken: Vec<String> = words(&plan).into_iter()
            .filter(|w| w.starts_with("grant-removed") || w.starts_with("user-missing") || w.starts_with("user-deprovisioned"))
            .collect();
        prop_assert!(taken.is_empty(), "{:?}", taken);
        // What is lost, a source said outright: the account is disabled.
        let disabled: BTreeSet<String> =
            second.iter().filter(|p| !p.enabled).map(|p| p.name.clone()).collect();
        for pair in before.difference(&pairs(&plan.applied(&world.state).unwrap(), world.now)) {
            prop_assert!(disabled.contains(pair.split(':').next().unwrap()), "{}", pair);
        }
    }

    #[test]
    fn one_partial_group_takes_nothing_away_that_came_through_it(
        first in arbitrary_people(), second in arbitrary_people(), group in 0..GROUPS.len(),
    ) {
        let config = format!(
            "[guard]\nmax_lost_floor = 100000\n[roles.r]\nexternal_roles = []\n[[mapping]]\n{}\nroles = [\"r\"]\n",
            naming(GROUPS[group])
        );
        let mut world = World::with(&config, &first);
        world.run();
        let mirror = world.facts["kc"].directory();
        let mut facts = Facts::of(&second);
        facts.groups = GROUPS.iter().map(|g| (*g).to_owned()).collect();
        let mut snapshot = facts.snapshot(false);
        snapshot.users = Completeness::Partial("cut off".to_owned());
        for (index, reference) in snapshot.directory.refs.iter().enumerate() {
            if snapshot.directory.text(reference.key).starts_with(GROUPS[group]) {
                snapshot.members[index] = Completeness::Partial("cut off".to_owned());
            }
        }
        let merged = merge(Some(&mirror), snapshot);
        let plan = world.plan_on(&[("kc".to_owned(), merged.mirror.directory)]);
        prop_assert!(!words(&plan).iter().any(|w| w.starts_with("grant-removed")), "{:?}", words(&plan));
    }

    #[test]
    fn laying_a_complete_reading_over_any_mirror_gives_the_reading(
        first in arbitrary_people(), second in arbitrary_people(),
    ) {
        let mirror = Facts::of(&first).directory();
        let snapshot = Facts::of(&second).snapshot(false);
        let digest = snapshot.directory.digest();
        prop_assert_eq!(merge(Some(&mirror), snapshot).mirror.directory.digest(), digest);
        // And a partial one over its own mirror changes nothing.
        let again = merge(Some(&mirror), all_partial(&Facts::of(&first)));
        prop_assert_eq!(again.mirror.directory.digest(), mirror.digest());
    }

    #[test]
    fn effective_holders_of_a_force_role_are_those_of_the_idp(
        first in arbitrary_people(), second in arbitrary_people(), group in 0..GROUPS.len(),
    ) {
        let text = |mode: &str| format!(
            "[guard]\nmax_lost_floor = 100000\n[sync]\non_missing = {{ after = \"0s\" }}\n[roles.r]\nsync_mode = \"{mode}\"\nexternal_roles = []\n[[mapping]]\n{}\nroles = [\"r\"]\n",
            naming(GROUPS[group])
        );
        let mut world = World::with(&text("merge"), &first);
        world.run();
        for person in &first {
            world.grant(&person.name, "r", None);
        }
        world.config = config_of(&["kc"], &text("force"));
        world.says("kc", &second);
        world.run();
        let expected: BTreeSet<String> = oracle(&world.config, &world.facts["kc"])
            .into_iter().map(|(user, role)| format!("{user}:{role}")).collect();
        prop_assert_eq!(pairs(&world.state, world.now), expected);
    }

    #[test]
    fn local_grants_of_a_merge_role_survive_everything(
        first in arbitrary_people(), then in prop::collection::vec((arbitrary_people(), 0..20i64), 1..5),
    ) {
        let mut world = World::with(&roles("merge"), &first);
        world.run();
        for person in &first {
            world.grant(&person.name, "r", None);
        }
        let before = world.state.grants.iter().filter(|g| !g.kind.is_idp()).count();
        for (people, minutes) in then {
            world.says("kc", &people);
            world.later(minutes);
            world.run();
        }
        prop_assert_eq!(world.state.grants.iter().filter(|g| !g.kind.is_idp()).count(), before);
        prop_assert_eq!(before, first.len());
    }

    #[test]
    fn what_the_guard_lets_through_is_never_more_than_it_may(
        first in arbitrary_people(), second in arbitrary_people(), floor in 0..4u64, percent in 0..60u64,
    ) {
        let config = format!(
            "[guard]\nmax_lost_floor = {floor}\nmax_lost_percent = {percent}\nmax_disabled_percent = {percent}\n\
             [sync]\non_missing = {{ after = \"0s\" }}\n[roles.r]\nexternal_roles = [\"a\", \"b\"]\n[roles.s]\nexternal_roles = [\"c\"]\n"
        );
        let mut world = World::with(&config, &first);
        world.run();
        let before = pairs(&world.state, world.now);
        world.says("kc", &second);
        let plan = world.run();
        let after = pairs(&world.state, world.now);
        let disabled: BTreeSet<&str> =
            second.iter().filter(|p| !p.enabled).map(|p| p.name.as_str()).collect();
        let lost = before.difference(&after)
            .filter(|pair| !disabled.contains(pair.split(':').next().unwrap())).count() as u64;
        prop_assert!(lost <= floor || lost * 100 <= percent * before.len() as u64, "{lost} of {}", before.len());
        // Nothing is held that would not be lost: additions are all there.
        if let Some(held) = &plan.held {
            prop_assert!(held.changes.iter().all(|c| c.change.as_str() == "grant-removed" || c.change.as_str().starts_with("user-d")), "{:?}", held.changes);
        }
    }
}
