//! Access tokens: section 12. What one may never have, and what it always has.

use super::*;
use idpsyncd::model::{NewToken, RoleSetId, UserId, token};

const RULES: &str = "[guard]\nmax_lost_floor = 1000\n\
    [roles.all]\neveryone = true\n\
    [roles.r]\nexternal_roles = [\"g\"]\n\
    [roles.s]\nexternal_roles = [\"h\"]\n\
    [roles.no]\nexternal_roles = [\"n\"]\n\
    [[roles.no.policies]]\neffect = \"Deny\"\nactions = [\"workflow:*\"]\n";

impl World {
    fn rules(&mut self, rest: &str) {
        self.config = config_of(&["kc"], rest);
    }

    fn by_hand(&mut self, wish: ByHand) -> Result<Plan, String> {
        let plan = plan::by_hand(&self.state, wish, self.now).map_err(|why| why.to_string())?;
        self.state = stored(&self.state, &plan);
        Ok(plan)
    }

    fn token(&mut self, user: &str, name: &str, roles: &[&str]) -> Result<Plan, String> {
        let new = NewToken {
            name: name.to_owned(),
            digest: token::digest(&format!("{user} {name} {}", self.now)),
            expires_at: self.now + chrono::Duration::days(30),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            description: String::new(),
            by: "root".to_owned(),
            at: self.now,
        };
        let user = self.user(user).id;
        self.by_hand(ByHand::AddToken { user, token: Box::new(new), replace: false })
    }

    /// A token's own roles, and those that it decides with: `r s; all r`.
    fn token_of(&self, user: &str, name: &str) -> String {
        let Some(token) = self.state.tokens.find(self.user(user).id, name) else {
            return "gone".to_owned();
        };
        let names: Vec<&str> = self.state.roles.iter().map(|role| role.name.as_str()).collect();
        let set = (0..1u32 << names.len())
            .map(|bits| {
                let chosen = (0..names.len()).filter(|place| bits & (1 << place) != 0);
                chosen.map(|place| names[place]).collect::<Vec<_>>()
            })
            .find(|names| RoleSetId::of(names.iter().copied()) == token.role_set)
            .unwrap_or_else(|| panic!("a token decides with an unknown set"));
        format!("{}; {}", self.state.tokens.roles(token).unwrap().join(" "), set.join(" "))
    }

    fn ungrant(&mut self, user: &str, role: &str) -> Plan {
        let user = self.user(user).id;
        let role = self.state.roles.find_by(|r| r.name.as_str().cmp(role)).unwrap();
        let by = "root".to_owned();
        self.by_hand(ByHand::Remove { user, role, imported: None, by: by.into() }).unwrap()
    }

    /// What the last changes took from tokens: `ci r not-at-idp`.
    fn lost(plan: &Plan) -> String {
        let words: Vec<String> = plan
            .changes
            .iter()
            .map(|change| view(change, plan))
            .filter(|view| matches!(view.change.as_str(), "token-removed" | "token-role-lost"))
            .map(|view| {
                let cause = view.cause.map(|cause| cause.to_string());
                let parts = [view.token, view.role, cause];
                parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
            })
            .collect();
        words.join(", ")
    }
}

/// Alice in these groups with a token `ci` of all that she is granted.
fn alice(groups: &[&str]) -> World {
    let mut world = World::with(RULES, &[person("1", "alice", groups)]);
    world.run();
    world.token("alice", "ci", &[]).unwrap();
    world
}

fn in_groups(world: &mut World, groups: &[&str]) -> Plan {
    world.says("kc", &[person("1", "alice", groups)]);
    world.run()
}

#[test]
fn a_token_has_the_roles_named_or_all_that_are_granted_and_never_one_that_is_not_held() {
    let mut world = World::with(RULES, &[person("1", "alice", &["/g", "/h"])]);
    world.says("kc", &[person("1", "alice", &["/g", "/h"]), person("2", "bob", &[])]);
    world.run();
    world.token("alice", "every", &[]).unwrap();
    world.token("alice", "one", &["s"]).unwrap();
    world.token("alice", "plain", &["all"]).unwrap();
    assert_eq!(world.token_of("alice", "every"), "r s; all r s");
    assert_eq!(world.token_of("alice", "one"), "s; all s");
    assert_eq!(world.token_of("alice", "plain"), "all; all");
    let refused = |world: &mut World, user: &str, name: &str, roles: &[&str]| {
        world.token(user, name, roles).unwrap_err()
    };
    assert!(refused(&mut world, "alice", "x", &["r", "no"]).contains("does not hold `no`"));
    assert!(refused(&mut world, "alice", "x", &["nonsense"]).contains("`nonsense`"));
    assert!(refused(&mut world, "alice", "one", &["r"]).contains("a token `one` already"));
    assert!(refused(&mut world, "alice", "x-", &["r"]).contains("no name for a token"));
    // What everyone holds is no grant.
    assert!(refused(&mut world, "bob", "x", &[]).contains("at least one role"));
    world.token("bob", "one", &["all"]).unwrap();
    let bob = world.user("bob").id;
    let gone = ByHand::RemoveToken { user: bob, name: "two".to_owned(), by: "root".into() };
    assert!(world.by_hand(gone).unwrap_err().contains("no token `two`"));
}

#[test]
fn one_secret_makes_one_token_and_a_new_one_takes_the_place_of_the_old() {
    let mut world = alice(&["/g"]);
    let user = world.user("alice").id;
    let token = |name: &str, secret: &str, at: Time| {
        Box::new(NewToken {
            name: name.to_owned(),
            digest: token::digest(secret),
            expires_at: at + chrono::Duration::days(1),
            roles: Vec::new(),
            description: String::new(),
            by: "root".into(),
            at,
        })
    };
    let now = world.now;
    world
        .by_hand(ByHand::AddToken { user, token: token("a", "secret", now), replace: false })
        .unwrap();
    let twice = ByHand::AddToken { user, token: token("b", "secret", now), replace: false };
    assert!(world.by_hand(twice).unwrap_err().contains("has this secret"));
    let other = ByHand::AddToken { user, token: token("a", "other", now), replace: true };
    let plan = world.by_hand(other).unwrap();
    assert_eq!(World::lost(&plan), "a new-secret");
    let digest = world.state.tokens.find(user, "a").unwrap().digest;
    assert_eq!(digest, token::digest("other"));
    assert_eq!(world.state.tokens.of(user).len(), 2);
    let over = ByHand::AddToken { user, token: token("c", "x", now), replace: false };
    world.later(60 * 24);
    assert!(world.by_hand(over).unwrap_err().contains("would have expired"));
}

#[test]
fn a_role_that_the_user_loses_leaves_the_token_in_the_same_generation_and_for_good() {
    let mut world = alice(&["/g", "/h"]);
    let plan = in_groups(&mut world, &["/h"]);
    assert_eq!(World::lost(&plan), "ci r not-at-idp");
    assert_eq!(world.token_of("alice", "ci"), "s; all s");
    in_groups(&mut world, &["/g", "/h"]);
    assert_eq!(world.effective(), "alice:all alice:r alice:s");
    assert_eq!(world.token_of("alice", "ci"), "s; all s");
    let plan = in_groups(&mut world, &[]);
    assert_eq!(World::lost(&plan), "ci s not-at-idp");
    assert_eq!(world.token_of("alice", "ci"), "; all");
}

#[test]
fn a_role_held_twice_is_lost_with_the_second_grant() {
    let mut world = alice(&["/g"]);
    world.grant("alice", "r", None);
    assert_eq!(World::lost(&in_groups(&mut world, &[])), "");
    assert_eq!(world.token_of("alice", "ci"), "r; all r");
    in_groups(&mut world, &["/g"]);
    assert_eq!(World::lost(&world.ungrant("alice", "r")), "");
    assert_eq!(world.token_of("alice", "ci"), "r; all r");
    // From one run to the next it passes from a local grant to the IdP's.
    world.grant("alice", "s", Some(world.now + chrono::Duration::minutes(5)));
    world.token("alice", "two", &["s"]).unwrap();
    world.later(10);
    assert_eq!(World::lost(&in_groups(&mut world, &["/g", "/h"])), "");
    assert_eq!(world.token_of("alice", "two"), "s; all s");
}

#[test]
fn a_local_grant_that_expires_takes_the_role_out_of_the_token() {
    let in_five = |world: &World| Some(world.now + chrono::Duration::minutes(5));
    // By the run that is due then, or by whatever is committed first.
    for by_hand in [false, true] {
        let mut world = alice(&["/g"]);
        let until = in_five(&world);
        world.grant("alice", "s", until);
        world.token("alice", "two", &[]).unwrap();
        assert_eq!(world.token_of("alice", "two"), "r s; all r s");
        world.later(6);
        let plan = match by_hand {
            false => world.run(),
            true => world.token("alice", "three", &[]).unwrap(),
        };
        assert_eq!(World::lost(&plan), "two s expired", "{by_hand}");
        assert_eq!(world.token_of("alice", "two"), "r; all r");
        world.run();
        world.grant("alice", "s", None);
        assert_eq!(world.token_of("alice", "two"), "r; all r");
    }
    let mut world = alice(&["/g"]);
    world.grant("alice", "s", None);
    world.token("alice", "two", &["s"]).unwrap();
    assert_eq!(World::lost(&world.ungrant("alice", "s")), "two s by-hand");
}

#[test]
fn a_role_that_leaves_the_configuration_leaves_the_token_and_does_not_come_back_with_it() {
    let mut world = alice(&["/g", "/h"]);
    world.rules(&RULES.replace("[roles.r]", "[roles.q]"));
    assert_eq!(World::lost(&world.run()), "ci r role-gone");
    assert_eq!(world.token_of("alice", "ci"), "s; all s");
    world.rules(RULES);
    world.run();
    assert_eq!(world.effective(), "alice:all alice:r alice:s");
    assert_eq!(world.token_of("alice", "ci"), "s; all s");
}

#[test]
fn what_everyone_holds_is_in_every_token_while_everyone_holds_it() {
    let mut world = alice(&["/g"]);
    world.token("alice", "plain", &["all"]).unwrap();
    // A role becomes everyone's: nobody loses it, and every token has it.
    let everyones = "[roles.r]\neveryone = true\n";
    world.rules(&RULES.replace("[roles.r]\nexternal_roles = [\"g\"]\n", everyones));
    assert_eq!(World::lost(&world.run()), "");
    assert_eq!(world.token_of("alice", "ci"), "r; all r");
    assert_eq!(world.token_of("alice", "plain"), "all; all r");
    // And ceases to be: in the same generation it is granted again to those of the group.
    world.rules(RULES);
    assert_eq!(World::lost(&world.run()), "");
    assert_eq!(world.token_of("alice", "ci"), "r; all r");
    assert_eq!(world.token_of("alice", "plain"), "all; all");
    world.rules(&RULES.replace("everyone = true", "external_roles = []"));
    assert_eq!(World::lost(&world.run()), "plain all not-everyone");
    assert_eq!(world.token_of("alice", "ci"), "r; r");
    assert_eq!(world.token_of("alice", "plain"), "; ");
}

#[test]
fn no_token_escapes_what_is_denied_to_its_owner() {
    let mut world = alice(&["/g"]);
    in_groups(&mut world, &["/g", "/n"]);
    assert_eq!(world.token_of("alice", "ci"), "r; all no r");
    in_groups(&mut world, &["/g", "/h", "/n"]);
    assert_eq!(world.token_of("alice", "ci"), "r; all no r");
    // A role gains a policy that denies: no grant changes, and the generation is written all the
    // same.
    let denies = "[[roles.s.policies]]\neffect = \"Deny\"\nactions = [\"pool:*\"]\n";
    world.rules(&format!("{RULES}{denies}"));
    let plan = world.run();
    assert_eq!(plan.token_sets.len(), 1);
    assert_eq!(world.token_of("alice", "ci"), "r; all no r s");
    in_groups(&mut world, &["/g"]);
    assert_eq!(world.token_of("alice", "ci"), "r; all r");
}

#[test]
fn a_disabled_owners_token_decides_with_nothing_and_is_whole_again_after() {
    let mut world = alice(&["/g", "/h"]);
    let mut off = person("1", "alice", &["/g", "/h"]);
    off.enabled = false;
    world.says("kc", &[off.clone()]);
    assert_eq!(World::lost(&world.run()), "");
    assert_eq!(world.token_of("alice", "ci"), "r s; ");
    assert!(world.token("alice", "x", &["r"]).unwrap_err().contains("disabled in `kc`"));
    // What is lost meanwhile is lost.
    off.groups.retain(|group| group != "/h");
    world.says("kc", &[off]);
    assert_eq!(World::lost(&world.run()), "ci s not-at-idp");
    in_groups(&mut world, &["/g", "/h"]);
    assert_eq!(world.token_of("alice", "ci"), "r; all r");
    // What ends meanwhile has ended with whatever is committed next.
    let mut off = person("1", "alice", &["/g"]);
    off.enabled = false;
    world.grant("alice", "s", Some(world.now + chrono::Duration::minutes(5)));
    world.token("alice", "two", &["s"]).unwrap();
    world.says("kc", &[off, person("2", "bob", &["/g"])]);
    world.run();
    assert_eq!(world.token_of("alice", "two"), "s; ");
    world.later(6);
    let plan = world.token("bob", "ci", &[]).unwrap();
    assert_eq!(World::lost(&plan), "two s expired");
    in_groups(&mut world, &["/g", "/h"]);
    assert_eq!(world.token_of("alice", "two"), "; all");
    // Gone, and not yet for long.
    world.says("kc", &[]);
    world.run();
    assert_eq!(world.token_of("alice", "ci"), "r; all r");
    in_groups(&mut world, &["/g"]);
    assert_eq!(world.token_of("alice", "ci"), "r; all r");
}

#[test]
fn the_tokens_of_somebody_who_is_deprovisioned_never_return() {
    let mut world = alice(&["/g"]);
    world.says("kc", &[]);
    world.run();
    world.later(61);
    assert_eq!(World::lost(&world.run()), "ci user-gone");
    assert_eq!(world.token_of("alice", "ci"), "gone");
    in_groups(&mut world, &["/g"]);
    assert_eq!(world.effective(), "alice:all alice:r");
    assert_eq!(world.token_of("alice", "ci"), "gone");
    // Another person has the name: the tokens do not pass over.
    world.token("alice", "ci", &[]).unwrap();
    world.says("kc", &[person("2", "alice", &["/g"])]);
    assert_eq!(World::lost(&world.run()), "ci replaced");
    assert!(world.state.tokens.list().is_empty());
}

#[test]
fn a_renamed_owner_keeps_the_tokens() {
    let mut world = alice(&["/g"]);
    world.says("kc", &[person("1", "alina", &["/g"])]);
    world.run();
    assert_eq!(world.token_of("alina", "ci"), "r; all r");
}

#[test]
fn what_the_guard_holds_is_not_lost_until_somebody_approves_it() {
    let mut world = alice(&["/g", "/h"]);
    let tight =
        RULES.replace("max_lost_floor = 1000", "max_lost_floor = 0\nmax_lost_percent = 0.0");
    world.rules(&tight);
    let before = in_groups(&mut world, &["/h"]);
    let held = before.held.clone().unwrap();
    assert_eq!(World::lost(&before), "");
    assert_eq!(world.token_of("alice", "ci"), "r s; all r s");
    let views = held.changes.iter().map(|view| view.change.as_str()).collect::<Vec<_>>();
    assert_eq!(views, ["grant-removed"], "what follows for tokens is no part of the plan's id");
    let plan = world.approve(&held).unwrap();
    assert_eq!(World::lost(&plan), "ci r not-at-idp");
    assert_eq!(world.token_of("alice", "ci"), "s; all s");
}

impl World {
    fn approve(&mut self, held: &plan::Held) -> Result<Plan, plan::NotApproved> {
        let directories: Vec<(String, Directory)> =
            self.facts.iter().map(|(name, facts)| (name.clone(), facts.directory())).collect();
        let views: Vec<View<'_>> =
            directories.iter().map(|(source, directory)| View { source, directory }).collect();
        let resolved = resolve(&self.config.settings(), &views, &self.state, self.now).unwrap();
        let plan = plan::approve(resolved, &self.state, held, self.now)?;
        self.state = stored(&self.state, &plan);
        Ok(plan)
    }
}

#[test]
fn changes_of_tokens_say_all_that_there_is_to_them() {
    let mut world = alice(&["/g"]);
    let before = world.state.clone();
    let plan = in_groups(&mut world, &[]);
    // What the plan came to on paper is what its changes lead to.
    assert_eq!(shape(&plan.applied(&before).unwrap()), shape(&world.state));
    assert_eq!(world.token_of("alice", "ci"), "; all");
}

/// What happens in a history.
#[derive(Clone, Debug)]
enum Event {
    Groups(usize, u8),
    Enabled(usize, bool),
    Here(usize, bool),
    AnotherPerson(usize),
    Rules(u8),
    Grant(usize, usize, Option<i64>),
    Ungrant(usize, usize),
    Create(usize, usize, u8),
    Revoke(usize, usize),
    Later(i64),
    Approve,
    Run,
}

fn event() -> impl Strategy<Value = Event> {
    let (who, what, name) = (0..3usize, 0..4usize, 0..3usize);
    prop_oneof![
        4 => (who.clone(), any::<u8>()).prop_map(|(who, groups)| Event::Groups(who, groups)),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, on)| Event::Enabled(who, on)),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, here)| Event::Here(who, here)),
        1 => who.clone().prop_map(Event::AnotherPerson),
        2 => any::<u8>().prop_map(Event::Rules),
        2 => (who.clone(), what.clone(), prop::option::of(1..90i64))
            .prop_map(|(who, what, until)| Event::Grant(who, what, until)),
        1 => (who.clone(), what).prop_map(|(who, what)| Event::Ungrant(who, what)),
        5 => (who.clone(), name.clone(), any::<u8>())
            .prop_map(|(who, name, roles)| Event::Create(who, name, roles)),
        1 => (who, name).prop_map(|(who, name)| Event::Revoke(who, name)),
        2 => (1..90i64).prop_map(Event::Later),
        1 => Just(Event::Approve),
        8 => Just(Event::Run),
    ]
}

const NAMES: [&str; 4] = ["all", "no", "r", "s"];

/// One of 128 configurations of those roles.
fn rules(bits: u8) -> String {
    let bit = |place: u8| bits & (1 << place) != 0;
    let mut text = match bit(0) {
        true => "[guard]\nmax_lost_floor = 0\nmax_lost_percent = 0.0\n".to_owned(),
        false => "[guard]\nmax_lost_floor = 1000\n".to_owned(),
    };
    for (name, group, there, everyone) in [
        ("all", "a", !bit(1), !bit(2)),
        ("r", "g", !bit(3), false),
        ("s", "h", true, bit(4)),
        ("no", "n", true, false),
    ] {
        if there {
            let held = match everyone {
                true => "everyone = true\n".to_owned(),
                false => format!("external_roles = [\"{group}\"]\n"),
            };
            text.push_str(&format!("[roles.{name}]\n{held}"));
            if name == "r" && bit(5) {
                text.push_str("sync_mode = \"force\"\n");
            }
            if name == "no" || (name == "s" && bit(6)) {
                text.push_str(&format!(
                    "[[roles.{name}.policies]]\neffect = \"Deny\"\nactions = [\"pool:*\"]\n"
                ));
            }
        }
    }
    text
}

/// What must be true of a token, found out from grants alone, generation by generation.
#[derive(Debug)]
struct Promise {
    /// With which it was made, and which the owner has held in every generation since.
    roles: BTreeSet<String>,
}

/// Whatever somebody holds, enabled or not.
fn held(world: &World, user: UserId) -> BTreeSet<String> {
    let state = &world.state;
    let everyones = state.roles.iter().filter(|role| role.everyone).map(|role| role.name.clone());
    let granted =
        state.grants.iter().filter(|grant| grant.user == user).filter(|grant| match grant.kind {
            GrantKind::Idp(_) => true,
            GrantKind::Local(local) => {
                state.local(local).unwrap().until.is_none_or(|until| until > world.now)
            }
        });
    everyones
        .chain(granted.map(|grant| state.roles.get(grant.role).unwrap().name.clone()))
        .collect()
}

fn kept(world: &World, promises: &mut BTreeMap<(UserId, String), Promise>) {
    let state = &world.state;
    let status = |user: UserId| &state.users.iter().find(|it| it.id == user).unwrap().status;
    promises.retain(|(user, _), _| !matches!(status(*user), Status::Deprovisioned { .. }));
    for ((user, _), promise) in promises.iter_mut() {
        let held = held(world, *user);
        promise.roles.retain(|role| held.contains(role));
    }
    let there: BTreeMap<(UserId, String), BTreeSet<String>> = state
        .tokens
        .list()
        .iter()
        .map(|token| {
            let name = state.tokens.name(token).to_owned();
            ((token.user, name), state.tokens.roles(token).unwrap().iter().cloned().collect())
        })
        .collect();
    let promised: BTreeMap<(UserId, String), BTreeSet<String>> =
        promises.iter().map(|(key, promise)| (key.clone(), promise.roles.clone())).collect();
    assert_eq!(there, promised);
    for token in state.tokens.list() {
        let counts = matches!(
            status(token.user),
            Status::Enabled | Status::Missing { disabled_by: None, .. }
        );
        let held = if counts { held(world, token.user) } else { BTreeSet::new() };
        let own = state.tokens.roles(token).unwrap();
        let denies = |role: &idpsyncd::model::Role| {
            role.policies.iter().any(|policy| policy.effect == idpsyncd::policy::Effect::Deny)
        };
        let wanted = state
            .roles
            .iter()
            .filter(|role| held.contains(&role.name))
            .filter(|role| own.contains(&role.name) || role.everyone || denies(role));
        let wanted = RoleSetId::of(wanted.map(|role| role.name.as_str()));
        assert_eq!(token.role_set, wanted, "{}", state.tokens.name(token));
    }
}

/// What is promised of tokens, after each of `events`.
#[expect(clippy::too_many_lines, reason = "a table")]
fn promised(events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut people: Vec<(Person, bool)> = ["alice", "bob", "carol"]
        .iter()
        .enumerate()
        .map(|(n, name)| (person(&n.to_string(), name, &["/g", "/h"]), true))
        .collect();
    let mut world = World::new(config_of(&["kc"], &rules(0)));
    let mut promises: BTreeMap<(UserId, String), Promise> = BTreeMap::new();
    let mut waits: Option<plan::Held> = None;
    let mut next = 10;
    for event in std::iter::once(Event::Run).chain(events) {
        let known = |world: &World, who: usize| -> Option<UserId> {
            let name = &people[who].0.name;
            world
                .state
                .users
                .iter()
                .rfind(|user| {
                    !matches!(user.status, Status::Deprovisioned { .. })
                        && world.state.texts.get(user.username) == name
                })
                .map(|user| user.id)
        };
        let place = |world: &World, role: usize| {
            world.state.roles.find_by(|it| it.name.as_str().cmp(NAMES[role]))
        };
        match event {
            Event::Groups(who, bits) => {
                let groups = ["/g", "/h", "/n", "/a"].iter().enumerate();
                let groups = groups.filter(|(place, _)| bits & (1 << place) != 0);
                people[who].0.groups = groups.map(|(_, group)| (*group).to_owned()).collect();
                continue;
            }
            Event::Enabled(who, on) => {
                people[who].0.enabled = on;
                continue;
            }
            Event::Here(who, here) => {
                people[who].1 = here;
                continue;
            }
            Event::AnotherPerson(who) => {
                next += 1;
                people[who].0.ext = next.to_string();
                continue;
            }
            Event::Rules(bits) => {
                world.rules(&rules(bits));
                continue;
            }
            Event::Later(minutes) => {
                world.later(minutes);
                continue;
            }
            Event::Grant(who, role, until) => {
                let (Some(user), Some(role)) = (known(&world, who), place(&world, role)) else {
                    continue;
                };
                let grant = LocalGrant {
                    by: "root".into(),
                    at: world.now,
                    reason: "test".to_owned(),
                    until: until.map(|until| world.now + chrono::Duration::minutes(until)),
                };
                // What is refused makes no generation.
                if world.by_hand(ByHand::Add { user, role, grant }).is_err() {
                    continue;
                }
            }
            Event::Ungrant(who, role) => {
                let (Some(user), Some(role)) = (known(&world, who), place(&world, role)) else {
                    continue;
                };
                let by = "root".to_owned();
                let wish = ByHand::Remove { user, role, imported: None, by: by.into() };
                if world.by_hand(wish).is_err() {
                    continue;
                }
            }
            Event::Create(who, name, bits) => {
                let Some(user) = known(&world, who) else { continue };
                let owner = people[who].0.name.clone();
                let name = ["ci", "laptop", "x"][name];
                let roles: Vec<&str> = NAMES
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| bits & (1 << place) != 0)
                    .map(|(_, name)| *name)
                    .collect();
                let Ok(plan) = world.token(&owner, name, &roles) else { continue };
                let made = plan.changes.iter().find_map(|change| match change {
                    Change::TokenAdded { token, .. } => Some(token.roles.clone()),
                    _ => None,
                });
                let roles = made.unwrap().into_iter().collect();
                let before = promises.insert((user, name.to_owned()), Promise { roles });
                prop_assert!(before.is_none(), "two tokens of one name");
            }
            Event::Revoke(who, name) => {
                let Some(user) = known(&world, who) else { continue };
                let name = ["ci", "laptop", "x"][name].to_owned();
                let by = "root".to_owned();
                let wish = ByHand::RemoveToken { user, name: name.clone(), by: by.into() };
                let was = promises.remove(&(user, name));
                prop_assert_eq!(world.by_hand(wish).is_ok(), was.is_some());
                if was.is_none() {
                    continue;
                }
            }
            Event::Approve => {
                let Some(held) = waits.take() else { continue };
                if world.approve(&held).is_err() {
                    continue;
                }
            }
            Event::Run => {
                let there = people.iter().filter(|(_, here)| *here);
                let there: Vec<Person> = there.map(|(person, _)| person.clone()).collect();
                world.says("kc", &there);
                waits = world.run().held;
            }
        }
        kept(&world, &mut promises);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// In no generation has a token a role that its user has not held in every generation since it
    /// was made; it loses no other; and no role that denies something to its owner is missing.
    #[test]
    fn a_token_has_what_its_owner_held_all_the_while(
        events in prop::collection::vec(event(), 1..60),
    ) {
        promised(events)?;
    }
}

/// Between the run that held and the approval a role was declared that everyone holds.
#[test]
fn a_role_that_is_still_to_be_added_is_in_nobodys_set_when_a_held_plan_is_approved() {
    use Event::{Approve, Create, Enabled, Groups, Rules, Run};
    for events in [
        vec![Rules(162), Run, Groups(0, 20), Create(0, 0, 52), Rules(67), Run, Rules(80), Approve],
        vec![
            Rules(222),
            Run,
            Create(2, 0, 88),
            Rules(139),
            Enabled(0, false),
            Run,
            Rules(8),
            Approve,
        ],
    ] {
        promised(events).unwrap();
    }
}
