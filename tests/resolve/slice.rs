//! Planning for those whom a change concerns says of them what planning for everybody says.

use std::convert::Infallible;

use idpsyncd::model::UserId;
use idpsyncd::model::username;
use idpsyncd::plan::{Background, Others};
use idpsyncd::resolve::{
    Account, By, Everybody, NamesAtSource, Seeds, SourceTerms, concerned, given_otherwise,
};

use super::*;

/// Everybody as the world's state and two readings of its sources have them.
struct All<'a> {
    world: &'a World,
    readings: Vec<(&'a str, &'a Directory)>,
    /// How often something was asked for.
    asked: usize,
}

impl All<'_> {
    fn rows(&self, source: &str) -> impl Iterator<Item = (String, NamesAtSource)> {
        let of = self.readings.iter().filter(move |(name, _)| *name == source);
        of.flat_map(|(_, directory)| {
            directory.users.iter().map(|row| {
                let text = |text| directory.text(text).to_owned();
                let (username, email) = (text(row.username), text(row.email));
                let email_verified = row.email_verified;
                (text(row.ext), NamesAtSource { username, email, email_verified })
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
    }
}

impl Everybody for All<'_> {
    type Error = Infallible;

    fn user_of(&mut self, (source, ext): &Account) -> Result<Option<UserId>, Infallible> {
        self.asked += 1;
        let state = &self.world.state;
        let link = state.links.iter().find(|link| {
            *state.sources.get(link.source).unwrap() == *source && state.texts.get(link.ext) == ext
        });
        Ok(link.map(|link| link.user))
    }

    fn user(&mut self, user: UserId) -> Result<(String, Vec<Account>), Infallible> {
        self.asked += 1;
        let state = &self.world.state;
        let name = state.users.iter().find(|it| it.id == user).unwrap().username;
        let links = state.links.iter().filter(|link| link.user == user);
        let accounts = links.map(|link| {
            (state.sources.get(link.source).unwrap().clone(), state.texts.get(link.ext).to_owned())
        });
        Ok((state.texts.get(name).to_owned(), accounts.collect()))
    }

    fn called(&mut self, name: &str) -> Result<Vec<UserId>, Infallible> {
        self.asked += 1;
        let state = &self.world.state;
        let called = state.users.iter().filter(|user| state.texts.get(user.username) == name);
        Ok(called.map(|user| user.id).collect())
    }

    fn names(&mut self, (source, ext): &Account) -> Result<Vec<NamesAtSource>, Infallible> {
        self.asked += 1;
        Ok(self.rows(source).filter(|(other, _)| other == ext).map(|(_, names)| names).collect())
    }

    fn bearing(&mut self, source: &str, by: &By) -> Result<Vec<String>, Infallible> {
        self.asked += 1;
        let email = self.world.config.settings().called_by(source)
            == idpsyncd::model::username::UsernameFrom::Email;
        let bears = |names: &NamesAtSource| match by {
            By::Name(name) => {
                let called = if email { &names.email } else { &names.username };
                username::canonical(called).is_ok_and(|called| called == *name)
            }
            By::Address(address) => names.email_verified && names.email.to_lowercase() == *address,
        };
        let bearing = self.rows(source).filter(|(_, names)| bears(names));
        Ok(bearing.map(|(ext, _)| ext).collect())
    }
}

/// What a source says of each person: facts, and what they are directly in.
fn rows(directory: &Directory) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for (place, row) in directory.users.numbered() {
        let within: Vec<_> = directory
            .members
            .iter()
            .zip(&directory.refs)
            .filter(|(members, _)| members.contains(&place))
            .map(|(_, it)| (it.kind, directory.text(it.key)))
            .collect();
        let facts = [row.username, row.email, row.federation].map(|text| directory.text(text));
        let rest = (row.email_verified, row.enabled, row.linkable);
        rows.insert(directory.text(row.ext).to_owned(), format!("{facts:?} {rest:?} {within:?}"));
    }
    rows
}

type Readings = Vec<(String, Directory)>;

fn readings(world: &World) -> Readings {
    world.facts.iter().map(|(name, facts)| (name.clone(), facts.directory())).collect()
}

fn paired<'a>(config: &'a Config, all: &'a Readings) -> Vec<(SourceTerms<'a>, &'a Directory)> {
    let settings = config.settings();
    let terms = |name: &str| settings.sources.iter().find(|it| it.name == name).copied();
    all.iter().filter_map(|(name, directory)| Some((terms(name)?, directory))).collect()
}

/// The plan for those alone whom the change from one reading to the other concerns, and how much was
/// asked for; none where it can concern anybody.
fn sliced(world: &World, before: &Readings, after: &Readings) -> Option<(Plan, usize)> {
    let settings = world.config.settings();
    let stored: Vec<_> = world.state.roles.iter().cloned().collect();
    let (was, is) = (paired(&world.config, before), paired(&world.config, after));
    let otherwise = given_otherwise(&settings, &was, &is, &stored).unwrap()?;
    let mut changed: BTreeSet<Account> = BTreeSet::new();
    for ((name, old), (_, new)) in before.iter().zip(after) {
        let (old_rows, new_rows) = (rows(old), rows(new));
        let exts = old_rows.keys().chain(new_rows.keys());
        let different = exts.filter(|ext| old_rows.get(*ext) != new_rows.get(*ext));
        changed.extend(different.map(|ext| (name.clone(), ext.clone())));
        for directory in [old, new] {
            for (members, row) in directory.members.iter().zip(&directory.refs) {
                let id = idpsyncd::directory::RefId {
                    kind: row.kind,
                    key: directory.text(row.key).to_owned(),
                };
                if otherwise[name].contains(&id) {
                    let ext = |place| directory.text(directory.users.get(place).unwrap().ext);
                    changed.extend(members.iter().map(|it| (name.clone(), ext(*it).to_owned())));
                }
            }
        }
    }
    let both = before.iter().chain(after).map(|(name, it)| (name.as_str(), it)).collect();
    let mut all = All { world, readings: both, asked: 0 };
    let waiting = || world.held.iter().flat_map(|held| &held.changes);
    let start = Seeds {
        accounts: changed,
        users: waiting().filter_map(|change| change.user_id).collect(),
        names: waiting().filter_map(|change| change.user.clone()).collect(),
    };
    let Ok(found) = concerned(&settings, start, &mut all);
    let old = world.state.of_users(&found.users);
    let of = |name: &str| -> BTreeSet<&str> {
        let mine = found.accounts.iter().filter(|(source, _)| source == name);
        mine.map(|(_, ext)| ext.as_str()).collect()
    };
    let small: Readings =
        after.iter().map(|(name, it)| (name.clone(), it.of_people(&of(name)).unwrap())).collect();
    let nobody = local::nobody();
    let mut views: Vec<View<'_>> =
        small.iter().map(|(source, directory)| View { source, directory }).collect();
    views.push(View { source: local::NAME, directory: &nobody });
    let resolved = resolve(&settings, &views, &old, world.now).unwrap();
    let others: BTreeSet<UserId> =
        world.state.users.iter().map(|it| it.id).filter(|it| !found.users.contains(it)).collect();
    let others = world.state.of_users(&others);
    let effective = Effective::of(&others, world.now).unwrap();
    let mut holders = BTreeMap::new();
    for name in world.config.guard.protected_roles.keys() {
        let role = others.roles.find_by(|role| role.name.cmp(name)).unwrap();
        let count = (0..others.users.len()).filter(|at| effective.roles(*at).contains(&role));
        holders.insert(name.clone(), count.count() as u64);
    }
    let enabled = others.users.iter().filter(|user| user.status.counts()).count() as u64;
    let mut federated = BTreeMap::new();
    for (name, directory) in before {
        for row in &directory.users {
            let link = world.state.links.iter().find(|link| {
                *world.state.sources.get(link.source).unwrap() == *name
                    && world.state.texts.get(link.ext) == directory.text(row.ext)
            });
            let user = link.and_then(|link| others.users.iter().find(|it| it.id == link.user));
            let federation = directory.text(row.federation);
            if !federation.is_empty() && user.is_some_and(|it| it.status == Status::Enabled) {
                let key = (name.clone(), federation.to_owned());
                *federated.entry(key).or_default() += 1;
            }
        }
    }
    let others = Others { pairs: effective.pairs(), enabled, holders, federated };
    let background = Background { pending: world.pending.clone(), recent: world.recent, others };
    Some((
        plan::plan(&world.config.guard, resolved, &old, &background, world.now).unwrap(),
        all.asked,
    ))
}

/// A plan in words that do not depend on the order, and what becomes of role sets.
fn told(plan: &Plan) -> (BTreeSet<String>, BTreeMap<String, String>, Option<plan::Held>) {
    let sets = plan.moved().map(|(user, set)| (user.id.to_string(), set.to_string())).collect();
    let words = plan.changes.iter().map(|change| view(change, plan).to_string()).collect();
    (words, sets, plan.held.clone())
}

/// People of two sources who share names and addresses.
fn crowd_of(source: &'static str) -> impl Strategy<Value = Vec<Person>> {
    let groups = prop::collection::vec(0..GROUPS.len(), 0..3);
    let one = (0..6usize, 0..4usize, any::<bool>(), groups, prop::bool::weighted(0.7));
    prop::collection::btree_map(0..6usize, one, 0..6).prop_map(move |all| {
        all.into_iter()
            .map(|(id, (name, email, enabled, groups, federated))| {
                let groups: Vec<&str> = groups.into_iter().map(|at| GROUPS[at]).collect();
                let mut it = person(&format!("{source}-{id}"), &format!("User{name}"), &groups);
                it.email = format!("e{email}@example.org");
                it.enabled = enabled;
                it.federation = if federated { "ad-1".to_owned() } else { String::new() };
                it
            })
            .collect()
    })
}

fn two_sources() -> impl Strategy<Value = (String, [Vec<Person>; 2], [Vec<Person>; 2])> {
    let ways = (arbitrary_config(), 0..3usize, any::<bool>(), any::<bool>());
    let people = || (crowd_of("kc"), crowd_of("ad"));
    (ways, people(), people()).prop_map(|((config, link_by, small, mapped), first, second)| {
        let mut config = config;
        if small {
            config = config.replace("max_lost_floor = 100000", "max_lost_floor = 0");
        }
        if mapped {
            config = config.replace("[sync]\n", "[sync]\nprovision = \"mapped\"\n");
        }
        let link_by = ["", "ad", "kc"][link_by];
        (format!("{link_by}#{config}"), [first.0, first.1], [second.0, second.1])
    })
}

fn world_of(config: &str, people: &[Vec<Person>; 2]) -> World {
    let (by_email, rest) = config.split_once('#').unwrap();
    let mut text = String::from("[store]\npath = \"s.db\"\n");
    for source in ["kc", "ad"] {
        let link = if source == by_email { "link_by = \"email\"\n" } else { "" };
        text.push_str(&format!(
            "[[source]]\nname = \"{source}\"\nkind = \"keycloak\"\nurl = \"https://kc.example.com\"\n\
             realm = \"r\"\nclient_id = \"c\"\nclient_secret = {{ env = \"X\" }}\n{link}"
        ));
    }
    let mut world = World::new(
        config::parse(&(text + rest), Path::new("test.toml"), &idpsyncd::source::kinds()).unwrap(),
    );
    for (source, people) in ["kc", "ad"].into_iter().zip(people) {
        let mut facts = Facts::of(people);
        facts.groups = GROUPS.map(str::to_owned).to_vec();
        world.facts.insert(source.to_owned(), facts);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_plan_for_those_concerned_is_the_plan_for_everybody(
        (config, first, second) in two_sources(), some in prop::collection::vec(any::<bool>(), 12),
        minutes in 0..20i64, earlier in prop::option::of((crowd_of("kc"), crowd_of("ad"))),
    ) {
        // Some of those who were there once have gone missing since.
        let mut world = world_of(&config, &first);
        if let Some((kc, ad)) = earlier {
            let facts = std::mem::replace(&mut world.facts, world_of(&config, &[kc, ad]).facts);
            world.run();
            world.facts = facts;
        }
        world.run();
        world.later(minutes);
        // What time alone brings about, or a name that was free a run later, is a run's to find and
        // not a change's.
        for _ in 0..4 {
            if world.run().changes.is_empty() {
                break;
            }
        }
        let before = readings(&world);
        // Some of the people are as they were.
        for (at, (source, people)) in ["kc", "ad"].into_iter().zip(&second).enumerate() {
            let mut mixed: BTreeMap<String, Person> = BTreeMap::new();
            for it in &first[at] {
                mixed.insert(it.ext.clone(), it.clone());
            }
            for place in 0..6 {
                if some[at * 6 + place] {
                    let ext = format!("{source}-{place}");
                    mixed.remove(&ext);
                    mixed.extend(people.iter().find(|it| it.ext == ext).map(|it| (ext, it.clone())));
                }
            }
            world.facts.get_mut(source).unwrap().people = mixed.into_values().collect();
        }
        let after = readings(&world);
        let whole = world.plan();
        let (slice, _) = sliced(&world, &before, &after).expect("the same groups");
        prop_assert_eq!(told(&slice), told(&whole));
        prop_assert_eq!(slice.taken, whole.taken);
    }
}

#[test]
fn a_change_of_one_concerns_one_however_many_there_are() {
    let people = |count: usize, left: usize| {
        let mut people = crowd(count, &["/a"]);
        people[left].groups.clear();
        people
    };
    let config = "[roles.r]\nexternal_roles = [\"a\"]\n";
    let mut asked = BTreeSet::new();
    for count in [10, 100, 1000] {
        let mut world = World::with(config, &people(count, 1));
        world.run();
        let before = readings(&world);
        world.says("kc", &people(count, 2));
        let after = readings(&world);
        let (slice, times) = sliced(&world, &before, &after).unwrap();
        assert_eq!(told(&slice), told(&world.plan()));
        assert_eq!(slice.changes.len(), 2);
        asked.insert(times);
    }
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[test]
fn a_group_that_comes_concerns_those_whom_it_brings_into_doubt_or_gives_something() {
    let config = "[roles.r]\nexternal_roles = [\"ml\"]\n";
    let mut world = World::with(config, &crowd(5, &["/x/ml"]));
    world.run();
    let before = readings(&world);
    // A second group of that name, with somebody new in it.
    let mut people = crowd(5, &["/x/ml"]);
    people.push(person("id9", "newcomer", &["/y/ml"]));
    world.says("kc", &people);
    let after = readings(&world);
    let otherwise = {
        let (was, is) = (paired(&world.config, &before), paired(&world.config, &after));
        let stored: Vec<_> = world.state.roles.iter().cloned().collect();
        given_otherwise(&world.config.settings(), &was, &is, &stored).unwrap().unwrap()
    };
    let keys: Vec<&str> = otherwise["kc"].iter().map(|id| id.key.as_str()).collect();
    assert_eq!(keys, ["/x/ml", "/y/ml"]);
    let (slice, _) = sliced(&world, &before, &after).unwrap();
    assert_eq!(told(&slice), told(&world.plan()));
    // A group that no rule speaks of concerns nobody.
    world.says(
        "kc",
        &crowd(5, &["/x/ml"]).into_iter().chain([person("id9", "n", &["/z"])]).collect::<Vec<_>>(),
    );
    let beyond = readings(&world);
    let (slice, _) = sliced(&world, &before, &beyond).unwrap();
    assert_eq!(told(&slice), told(&world.plan()));
}

#[test]
fn a_role_that_comes_or_goes_with_a_group_can_concern_anybody() {
    let config = "[[role_template]]\nname = 'osmo-(?<team>[a-z]+)'\n";
    let mut world = World::with(config, &crowd(3, &["/osmo-a"]));
    world.run();
    let before = readings(&world);
    let mut people = crowd(3, &["/osmo-a"]);
    people[0].roles.push("osmo-b".to_owned());
    world.says("kc", &people);
    assert!(sliced(&world, &before, &readings(&world)).is_none());
}
