//! What the store's tests share: a world of plain maps, and a plan between two of them.
//!
//! The plan here is made by comparing worlds, by none of the program's own planning: what is
//! tested is that the store does what a plan says, whoever made it.

use std::collections::{BTreeMap, BTreeSet};

use idpsyncd::directory::{
    AccountSid, Completeness, DigestKey, DirUserIdx, Directory, DirectoryDigest, Enabled, NewRef,
    NewUser, OwnDomain, RefIdx, Rid, SnapshotBuilder,
};
use idpsyncd::model::{
    Cause, Change, ExternalRef, Grant, GrantKind, Kind, Link, LocalGrant, Mode, NewToken, Reason,
    Role, RoleIdx, RoleSetId, State, Status, Time, Token, TokenIdx, User, UserId,
};
use idpsyncd::plan::{Plan, RoleSets};
use idpsyncd::policy::{Action, Effect, Policy, Resource};
use idpsyncd::store::{Commit, Committed, MirrorUpdate, SourceUpdate, StoredMirror};

pub use super::support::door;
use door::Writer;

pub fn at(seconds: i64) -> Time {
    Time::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    pub username: String,
    pub email: String,
    pub status: Status,
    pub links: BTreeSet<(String, String)>,
}

impl Person {
    pub fn new(username: &str) -> Person {
        Person {
            username: username.to_owned(),
            email: format!("{username}@example.org"),
            status: Status::Enabled,
            links: BTreeSet::from([("corp".to_owned(), format!("ext-{username}"))]),
        }
    }

    pub fn enabled(&self) -> bool {
        matches!(self.status, Status::Enabled | Status::Missing { disabled_by: None, .. })
    }
}

/// An access token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pass {
    pub digest: [u8; 32],
    pub expires_at: Time,
    pub roles: BTreeSet<String>,
}

/// A state as people would write it down.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct World {
    pub roles: BTreeMap<String, Role>,
    pub sources: Vec<String>,
    pub people: BTreeMap<u32, Person>,
    pub idp: BTreeMap<(u32, String), BTreeSet<Reason>>,
    pub local: BTreeMap<(u32, String), LocalGrant>,
    pub tokens: BTreeMap<(u32, String), Pass>,
    pub catalog: Vec<(Action, Option<Resource>)>,
}

pub fn policy(effect: Effect, actions: &[&str], resources: Option<&[&str]>) -> Policy {
    Policy {
        effect,
        actions: actions.iter().map(|action| action.parse().unwrap()).collect(),
        resources: resources.map(|list| list.iter().map(|one| one.parse().unwrap()).collect()),
    }
}

pub fn role(name: &str, policies: Vec<Policy>) -> Role {
    Role {
        name: name.to_owned(),
        description: String::new(),
        everyone: false,
        mode: Mode::Merge,
        template: None,
        policies,
    }
}

pub fn reason(group: &str) -> Reason {
    Reason {
        source: "corp".to_owned(),
        rule: "mapping[1]".to_owned(),
        path: [format!("{group}/below"), group.to_owned()]
            .map(|it| ExternalRef::new(Kind::Group, &format!("id of {it}"), &it))
            .to_vec(),
    }
}

pub fn request(action: &str, resource: Option<&str>) -> (Action, Option<Resource>) {
    (action.parse().unwrap(), resource.map(|resource| resource.parse().unwrap()))
}

impl World {
    /// The names of the roles that count for someone.
    pub fn effective(&self, user: u32) -> BTreeSet<String> {
        let Some(person) = self.people.get(&user) else { return BTreeSet::new() };
        if !person.enabled() {
            return BTreeSet::new();
        }
        let mine = |grants: Vec<&(u32, String)>| -> Vec<String> {
            grants.into_iter().filter(|(id, _)| *id == user).map(|(_, role)| role.clone()).collect()
        };
        let range = (user, String::new())..(user + 1, String::new());
        let mut roles: BTreeSet<String> = self
            .roles
            .values()
            .filter(|role| role.everyone)
            .map(|role| role.name.clone())
            .collect();
        roles.extend(mine(self.idp.range(range.clone()).map(|(key, _)| key).collect()));
        roles.extend(mine(self.local.range(range).map(|(key, _)| key).collect()));
        roles
    }

    /// What a token decides with, in these tests: of the owner's roles its own.
    pub fn decides(&self, user: u32, token: &Pass) -> BTreeSet<String> {
        self.effective(user).intersection(&token.roles).cloned().collect()
    }

    pub fn token(&mut self, user: u32, name: &str, secret: u64, roles: &[&str]) -> &mut Self {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&secret.to_be_bytes());
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let expires_at = at(i64::try_from(secret % 1_000_000).unwrap());
        self.tokens.insert((user, name.to_owned()), Pass { digest, expires_at, roles });
        self
    }

    pub fn person(&mut self, id: u32, username: &str) -> &mut Self {
        for source in Person::new(username).links.iter().map(|(source, _)| source.clone()) {
            if !self.sources.contains(&source) {
                self.sources.push(source);
            }
        }
        self.people.insert(id, Person::new(username));
        self
    }

    pub fn role(&mut self, role: Role) -> &mut Self {
        self.roles.insert(role.name.clone(), role);
        self
    }

    pub fn idp(&mut self, user: u32, role: &str, groups: &[&str]) -> &mut Self {
        self.idp
            .insert((user, role.to_owned()), groups.iter().map(|group| reason(group)).collect());
        self
    }

    pub fn local(&mut self, user: u32, role: &str, why: &str) -> &mut Self {
        let local = LocalGrant { by: "ops".into(), at: at(0), reason: why.to_owned(), until: None };
        self.local.insert((user, role.to_owned()), local);
        self
    }

    /// What a state says.
    pub fn of(state: &State) -> World {
        let text = |text| state.texts.get(text).to_owned();
        let role = |index| state.roles.get(index).unwrap().name.clone();
        let mut world = World {
            roles: state.roles.iter().map(|role| (role.name.clone(), role.clone())).collect(),
            sources: state.sources.to_vec(),
            catalog: state.catalog.clone(),
            ..World::default()
        };
        for user in &state.users {
            let person = Person {
                username: text(user.username),
                email: text(user.email),
                status: user.status.clone(),
                links: BTreeSet::new(),
            };
            assert!(world.people.insert(user.id.get(), person).is_none());
        }
        for link in &state.links {
            let source = state.sources.get(link.source).unwrap().clone();
            let new = world
                .people
                .get_mut(&link.user.get())
                .unwrap()
                .links
                .insert((source, text(link.ext)));
            assert!(new);
        }
        for grant in &state.grants {
            let key = (grant.user.get(), role(grant.role));
            match grant.kind {
                GrantKind::Idp(set) => {
                    let reasons = state.reasons.of_set(set).unwrap().cloned().collect();
                    assert!(world.idp.insert(key, reasons).is_none());
                }
                GrantKind::Local(index) => {
                    let local = state.local(index).unwrap().clone();
                    assert!(world.local.insert(key, local).is_none());
                }
            }
        }
        for token in state.tokens.list() {
            let pass = Pass {
                digest: token.digest,
                expires_at: token.expires_at,
                roles: state.tokens.roles(token).unwrap().iter().cloned().collect(),
            };
            let key = (token.user.get(), state.tokens.name(token).to_owned());
            assert!(world.tokens.insert(key, pass).is_none());
        }
        world
    }
}

pub fn set_id<'a>(roles: impl IntoIterator<Item = &'a String>) -> RoleSetId {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for role in roles {
        hash.update(role.as_bytes());
        hash.update([0]);
    }
    let bytes: [u8; 16] = hash.finalize()[..16].try_into().unwrap();
    RoleSetId(u128::from_be_bytes(bytes))
}

/// The plan that leads from `old` to `new`.
#[expect(clippy::too_many_lines, reason = "each kind of change, one after the other")]
pub fn plan(old: &World, new: &World, moment: Time) -> Plan {
    let mut state = State { sources: new.sources.clone().try_into().unwrap(), ..State::default() };
    assert!(new.sources.starts_with(&old.sources));
    // Roles that go are kept: changes name them.
    let mut roles = old.roles.clone();
    roles.extend(new.roles.clone());
    state.roles = roles.values().cloned().collect::<Vec<_>>().try_into().unwrap();
    state.catalog = new.catalog.clone();
    let index: BTreeMap<&str, RoleIdx> =
        (0u32..).zip(roles.keys()).map(|(i, n)| (n.as_str(), RoleIdx::new(i))).collect();
    let role = |name: &str| index[name];
    let mut changes = Vec::new();

    for name in roles.keys() {
        match (old.roles.get(name), new.roles.get(name)) {
            (None, Some(_)) => changes.push(Change::RoleAdded { role: role(name) }),
            (Some(before), Some(after)) if before != after => {
                changes
                    .push(Change::RoleChanged { role: role(name), old: Box::new(before.clone()) });
            }
            _ => {}
        }
    }
    if old.catalog != new.catalog {
        changes.push(Change::CatalogChanged);
    }
    let mut sets = Vec::new();
    let mut set_roles = BTreeMap::new();
    for (id, person) in &new.people {
        let user = User {
            id: UserId::new(*id),
            username: state.texts.add(&person.username).unwrap(),
            email: state.texts.add(&person.email).unwrap(),
            status: person.status.clone(),
            role_set: set_id(&old.effective(*id)),
        };
        state.users.push(user);
        let effective = new.effective(*id);
        let set = set_id(&effective);
        sets.push(set);
        set_roles.insert(set, effective.iter().map(|name| role(name)).collect());
        let user = UserId::new(*id);
        let before = old.people.get(id);
        match before {
            None => changes.push(Change::UserCreated { user }),
            Some(before) => {
                if before.username != person.username {
                    let old = state.texts.add(&before.username).unwrap();
                    changes.push(Change::UserRenamed { user, old });
                }
                if before.email != person.email {
                    let old = state.texts.add(&before.email).unwrap();
                    changes.push(Change::EmailChanged { user, old });
                }
            }
        }
        let was = before.map_or(&Status::Enabled, |before| &before.status);
        if *was != person.status {
            changes.push(match &person.status {
                Status::Enabled if matches!(was, Status::Disabled { .. }) => {
                    Change::UserEnabled { user }
                }
                Status::Enabled => Change::UserReturned { user },
                Status::Disabled { by } => Change::UserDisabled {
                    user,
                    by: by.clone(),
                    federation: idpsyncd::model::Text::EMPTY,
                },
                Status::Missing { .. } => Change::UserMissing { user },
                Status::Deprovisioned { since } => {
                    Change::UserDeprovisioned { user, cause: Cause::UserGone { since: *since } }
                }
            });
        }
        for (source, ext) in &person.links {
            let name = source;
            let source = state.sources.position(|known| known == name).unwrap();
            let link = Link { source, ext: state.texts.add(ext).unwrap(), user, claim: None };
            state.links.push(link);
            let known =
                before.is_some_and(|before| before.links.contains(&(name.clone(), ext.clone())));
            if !known {
                changes.push(Change::LinkAdded { user, source, ext: link.ext });
            }
        }
    }
    let set_of = |state: &mut State, reasons: &BTreeSet<Reason>| {
        let number = |reason: &Reason| state.reasons.reason(reason.clone()).unwrap();
        let reasons: Vec<_> = reasons.iter().map(number).collect();
        state.reasons.set(&reasons).unwrap()
    };
    for ((user, name), reasons) in &new.idp {
        let set = set_of(&mut state, reasons);
        let grant = Grant { user: UserId::new(*user), role: role(name), kind: GrantKind::Idp(set) };
        state.grants.push(grant);
        match old.idp.get(&(*user, name.clone())) {
            None => changes.push(Change::GrantAdded {
                user: UserId::new(*user),
                role: role(name),
                kind: grant.kind,
            }),
            Some(before) if before != reasons => {
                let old = set_of(&mut state, before);
                changes.push(Change::GrantReasons {
                    user: UserId::new(*user),
                    role: role(name),
                    old,
                    new: set,
                });
            }
            Some(_) => {}
        }
    }
    for ((user, name), reasons) in &old.idp {
        if !new.idp.contains_key(&(*user, name.clone())) {
            let kind = GrantKind::Idp(set_of(&mut state, reasons));
            let cause = Cause::NotAtIdp;
            changes.push(Change::GrantRemoved {
                user: UserId::new(*user),
                role: role(name),
                kind,
                cause,
            });
        }
    }
    let local = |state: &mut State, story: &LocalGrant| {
        GrantKind::Local(state.locals.push(story.clone()).unwrap())
    };
    for ((user, name), story) in &old.local {
        if new.local.get(&(*user, name.clone())) != Some(story) {
            let kind = local(&mut state, story);
            let cause = Cause::ByHand { by: "ops".into() };
            changes.push(Change::GrantRemoved {
                user: UserId::new(*user),
                role: role(name),
                kind,
                cause,
            });
        }
    }
    for ((user, name), story) in &new.local {
        let kind = local(&mut state, story);
        state.grants.push(Grant { user: UserId::new(*user), role: role(name), kind });
        if old.local.get(&(*user, name.clone())) != Some(story) {
            changes.push(Change::GrantAdded { user: UserId::new(*user), role: role(name), kind });
        }
    }
    let token_sets = tokens(old, new, moment, &role, &mut state, &mut changes, &mut set_roles);
    for name in old.roles.keys().filter(|name| !new.roles.contains_key(*name)) {
        changes.push(Change::RoleRemoved { role: role(name) });
    }
    state.grants.sort_by_key(|grant| (grant.user, grant.role, grant.kind));
    state.next_user = UserId::new(new.people.keys().next_back().map_or(0, |last| last + 1));
    let sets = RoleSets { users: sets, tokens: token_sets, roles: set_roles };
    Plan::leading_to(state, changes, sets, Vec::new(), moment).unwrap()
}

/// What happens to tokens, and which get another set.
fn tokens(
    old: &World,
    new: &World,
    moment: Time,
    role: &dyn Fn(&str) -> RoleIdx,
    state: &mut State,
    changes: &mut Vec<Change>,
    set_roles: &mut BTreeMap<RoleSetId, Vec<RoleIdx>>,
) -> Vec<(TokenIdx, RoleSetId)> {
    let stays = |key: &(u32, String), pass: &Pass| {
        new.tokens.get(key).is_some_and(|now| now.digest == pass.digest)
    };
    let tokens = std::sync::Arc::make_mut(&mut state.tokens);
    for ((user, name), pass) in &old.tokens {
        if !stays(&(*user, name.clone()), pass) {
            let (name, cause) =
                (tokens.add_name(name).unwrap(), Cause::ByHand { by: "ops".into() });
            changes.push(Change::TokenRemoved { user: UserId::new(*user), name, cause });
        }
    }
    let mut token_sets = Vec::new();
    for (place, (key, pass)) in (0u32..).map(TokenIdx::new).zip(&new.tokens) {
        let (user, name) = (UserId::new(key.0), key.1.clone());
        let before = old.tokens.get(key).filter(|before| before.digest == pass.digest);
        match before {
            None => {
                let token = Box::new(NewToken {
                    name: name.clone(),
                    digest: pass.digest,
                    expires_at: pass.expires_at,
                    roles: pass.roles.iter().cloned().collect(),
                    description: "for tests".to_owned(),
                    by: "ops".to_owned(),
                    at: moment,
                });
                changes.push(Change::TokenAdded { user, token });
            }
            Some(before) => {
                assert!(before.roles.is_superset(&pass.roles), "a token never gains a role");
                for lost in before.roles.difference(&pass.roles) {
                    let (role, cause) = (role(lost), Box::new(Cause::NotAtIdp));
                    let name = tokens.add_name(&name).unwrap();
                    changes.push(Change::TokenRoleLost { user, name, role, cause });
                }
            }
        }
        let decides = new.decides(key.0, pass);
        let set = set_id(&decides);
        set_roles.insert(set, decides.iter().map(|name| role(name)).collect());
        let stored = before.map(|before| set_id(&old.decides(key.0, before)));
        if stored != Some(set) {
            token_sets.push((place, set));
        }
        let names: Vec<String> = pass.roles.iter().cloned().collect();
        let token = Token {
            user,
            name: tokens.add_name(&name).unwrap(),
            roles: tokens.roles_place(&names).unwrap(),
            digest: pass.digest,
            expires_at: pass.expires_at,
            role_set: stored.unwrap_or_default(),
        };
        tokens.push(token).unwrap();
    }
    token_sets
}

/// Commits `plan` alone, on the store as it is.
pub fn commit(writer: &mut Writer, plan: &Plan) -> Committed {
    let base_version = writer.reader().unwrap().meta().unwrap().version;
    let commit = Commit { plan, base_version, sources: &[], configured: &[], settled: None };
    writer.commit(&commit).unwrap()
}

/// A complete read at `moment` that found `directory`.
pub fn update<'a>(
    source: &'a str,
    moment: Time,
    old: Option<&'a StoredMirror>,
    directory: &'a Directory,
    digest: &'a DirectoryDigest,
) -> SourceUpdate<'a> {
    SourceUpdate {
        source,
        kind: "ldap",
        tried_at: moment,
        complete: true,
        error: None,
        scopes: Vec::new(),
        cursor: None,
        mirror: Some(MirrorUpdate { old, directory, digest }),
    }
}

/// Its digests, under no store's key: who writes whole mirrors alone may take any.
pub fn digests(directory: &Directory) -> DirectoryDigest {
    directory.digests(&DigestKey::default())
}

/// A directory of so many people and groups, arbitrary but the same for the same seed.
pub fn random_directory(seed: u64, users: u32, groups: u32) -> Directory {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut build = SnapshotBuilder::new(random.bool());
    let mut people = Vec::new();
    for _ in 0..users {
        let name = random.u32(0..users * 2);
        let email = if random.bool() { format!("u{name}@example.org") } else { String::new() };
        let federation = ["", "", "f-1", "f-2"][random.usize(0..4)];
        people.push(
            build
                .user(&NewUser {
                    ext: &format!("ext-{name}"),
                    username: &format!("u{}", random.u32(0..9)),
                    email: &email,
                    email_verified: random.bool(),
                    enabled: [Enabled::Yes, Enabled::No, Enabled::Unknown][random.usize(0..3)],
                    federation,
                })
                .unwrap(),
        );
    }
    let mut refs = Vec::new();
    for _ in 0..groups {
        let name = format!("g{}", random.u32(0..groups * 2));
        let kinds = [
            Kind::Group,
            Kind::RealmRole,
            Kind::ClientRole,
            Kind::Attribute,
            Kind::Organization,
            Kind::OrganizationGroup,
        ];
        let reference = build
            .reference(&NewRef {
                kind: kinds[random.usize(0..kinds.len())],
                key: &name,
                name: &format!("n{}", random.u32(0..3)),
                // Some of them read alike.
                identity: &format!("/{}", if name.ends_with('3') { "three" } else { &name }),
                norm: &name,
            })
            .unwrap();
        refs.push(reference);
        for person in &people {
            if random.u32(0..3) == 0 {
                build.member(reference, *person);
            }
        }
    }
    for from in &refs {
        if random.bool() {
            build.leads_to(*from, refs[random.usize(0..refs.len())]);
        } else if random.bool() {
            build.child(refs[random.usize(0..refs.len())], *from);
        }
    }
    if random.bool() {
        build.organizations_are(Completeness::Complete);
    }
    of_domain(&mut build, (&people, &refs), seed);
    build.finish().directory
}

/// Makes it a domain of Active Directory, or not.
fn of_domain(build: &mut SnapshotBuilder, (people, refs): (&[DirUserIdx], &[RefIdx]), seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    if random.bool() {
        return;
    }
    let sid = AccountSid::of_text(&format!("S-1-5-21-1-2-{}-1", seed % 1_000_000)).expect("a SID");
    build.domain(OwnDomain::Of(sid.domain()));
    let mut rid = || Rid::of_code([None, Some(random.u32(0..9))][random.usize(0..2)]);
    people.iter().for_each(|person| build.user_is(*person, rid()));
    refs.iter().for_each(|reference| build.ref_is(*reference, rid()));
}

/// One of many worlds that can follow `old`.
#[expect(clippy::too_many_lines, reason = "each kind of change, one after the other")]
pub fn next_world(old: &World, random: &mut fastrand::Rng, moment: Time) -> World {
    let mut world = old.clone();
    let names = ["a", "b", "c", "d", "e"];
    let actions = ["workflow:Create", "workflow:*", "pool:List", "*:*"];
    let resources = ["pool/ml-*", "pool/x", "*"];
    for _ in 0..random.usize(0..3) {
        let name = names[random.usize(0..names.len())];
        let policies = (0..random.usize(0..3))
            .map(|_| {
                let effect = if random.u8(0..4) == 0 { Effect::Deny } else { Effect::Allow };
                let action = actions[random.usize(0..actions.len())];
                let resource = resources[random.usize(0..resources.len())];
                policy(effect, &[action], random.bool().then_some(&[resource]))
            })
            .collect();
        let mut new = role(name, policies);
        new.mode = Mode::ALL[random.usize(0..4)];
        new.everyone = random.u8(0..5) == 0;
        new.template = random.bool().then(|| "t-(.*)".to_owned());
        if random.u8(0..4) == 0 {
            world.roles.remove(name);
            world.idp.retain(|(_, role), _| role != name);
            world.local.retain(|(_, role), _| role != name);
        } else {
            world.roles.insert(name.to_owned(), new);
        }
    }
    for _ in 0..random.usize(0..4) {
        let id = world.people.keys().next_back().map_or(0, |last| last + 1);
        let mut person = Person::new(&format!("u{id}"));
        person.links = (0..random.usize(0..3))
            .map(|source| (format!("s{source}"), format!("x{id}-{source}")))
            .collect();
        world.people.insert(id, person);
    }
    let ids: Vec<u32> = world.people.keys().copied().collect();
    for id in &ids {
        let person = world.people.get_mut(id).unwrap();
        if random.u8(0..6) == 0 {
            person.email = format!("m{}@example.org", random.u8(0..9));
        }
        if random.u8(0..4) == 0 {
            person.status = match random.u8(0..5) {
                0 | 1 => Status::Enabled,
                2 => Status::Disabled { by: "corp".to_owned() },
                3 => Status::Missing {
                    since: moment,
                    disabled_by: random.bool().then(|| "corp".to_owned()),
                },
                _ => Status::Deprovisioned { since: moment },
            };
        }
    }
    if ids.len() >= 2 && random.bool() {
        // Two people swap their names.
        let (a, b) = (ids[random.usize(0..ids.len())], ids[random.usize(0..ids.len())]);
        let name = world.people[&a].username.clone();
        let other = std::mem::replace(&mut world.people.get_mut(&b).unwrap().username, name);
        world.people.get_mut(&a).unwrap().username = other;
    }
    let roles: Vec<String> = world.roles.keys().cloned().collect();
    for id in &ids {
        for role in &roles {
            let key = (*id, role.clone());
            match random.u8(0..12) {
                0 => drop(world.idp.remove(&key)),
                1 | 2 => {
                    let groups = (0..random.usize(1..4))
                        .map(|_| reason(&format!("/g{}", random.u8(0..4))))
                        .collect();
                    world.idp.insert(key, groups);
                }
                3 => drop(world.local.remove(&key)),
                4 => {
                    let until = random.bool().then(|| at(i64::from(random.u16(..))));
                    let reason = format!("ticket {}", random.u8(0..9));
                    let local = LocalGrant { by: "ops".into(), at: moment, reason, until };
                    world.local.insert(key, local);
                }
                _ => {}
            }
        }
    }
    for id in &ids {
        let mut held: Vec<String> = world.effective(*id).into_iter().collect();
        held.retain(|_| random.bool());
        if random.u8(0..3) == 0 && !held.is_empty() {
            let held: Vec<&str> = held.iter().map(String::as_str).collect();
            let name = ["ci", "laptop"][random.usize(0..2)];
            world.token(*id, name, random.u64(..), &held);
        }
    }
    let (live, people) = (world.roles.clone(), world.people.clone());
    world.tokens.retain(|(user, _), _| {
        let gone = matches!(people[user].status, Status::Deprovisioned { .. });
        !gone && random.u8(0..8) != 0
    });
    for pass in world.tokens.values_mut() {
        pass.roles.retain(|role| live.contains_key(role) && random.u8(0..6) != 0);
    }
    if random.u8(0..4) == 0 {
        world.catalog = [
            request("workflow:Create", Some("pool/ml-1")),
            request("workflow:Create", Some("pool/x")),
            request("pool:List", None),
        ]
        .into_iter()
        .filter(|_| random.bool())
        .collect();
    }
    for person in world.people.values() {
        for (source, _) in &person.links {
            if !world.sources.contains(source) {
                world.sources.push(source.clone());
            }
        }
    }
    world
}
