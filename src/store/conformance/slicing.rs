//! What one change needs: the same as a look at everybody would find.

use std::collections::{BTreeMap, BTreeSet};

use super::keeping::read;
use super::worlds::{World, at, next_world, plan, random_directory};
use super::{commit, rules, with_people};
use crate::directory::{
    AccountSid, Delta, Directory, Enabled, Kind, ListChange, Mirror, NewRef, NewUser, OwnDomain,
    PartRefs, RefDelta, RefId, Rid, Sighting, SnapshotBuilder, Touched, Within,
};
use crate::model::username::canonical;
use crate::model::{State, Status, UserId};
use crate::plan::{Guard, Others};
use crate::store::{
    Account, AccountNames, Bears, Commit, MirrorPatch, Reader, RefsWanted, Slice, SliceQuery,
    Store, Turn,
};

rules! {
    a_slice_has_those_alone_and_everybody_else_in_numbers
    a_slices_mirrors_have_those_alone_and_all_that_they_may_be_in
    a_slices_mirrors_have_of_references_what_bears_on_those_alone
    accounts_are_found_by_what_they_are_called_as_names_compare
    accounts_are_found_by_the_sids_of_their_domain_and_by_no_other
    who_is_who_is_told_from_either_end
    of_a_list_that_is_told_whole_those_are_loaded_of_whom_something_may_become
    accounts_of_a_federation_are_counted_as_far_as_the_limits_ask
}

fn guard(protected: impl IntoIterator<Item = String>) -> Guard {
    Guard {
        max_lost_percent: 10.0,
        max_lost_floor: 20,
        max_disabled_percent: 10.0,
        protected_roles: protected.into_iter().map(|name| (name, 1)).collect(),
        window: std::time::Duration::from_secs(3600),
    }
}

fn sliced(
    reader: &dyn Reader,
    users: &BTreeSet<UserId>,
    accounts: &BTreeSet<Account>,
    guard: &Guard,
) -> Slice {
    let refs = BTreeMap::from([("corp".to_owned(), RefsWanted::All)]);
    parted(reader, (users, accounts), (&refs, &BTreeSet::new()), guard)
}

fn parted(
    reader: &dyn Reader,
    (users, accounts): (&BTreeSet<UserId>, &BTreeSet<Account>),
    (refs, names): (&BTreeMap<String, RefsWanted>, &BTreeSet<String>),
    guard: &Guard,
) -> Slice {
    let sources = &["corp", "never read"];
    reader.slice(&SliceQuery { users, accounts, sources, refs, names, guard }).unwrap()
}

/// Everybody but `users`, counted one by one.
fn recount(reader: &dyn Reader, state: &State, users: &BTreeSet<UserId>, guard: &Guard) -> Others {
    let mut others = Others::default();
    reader
        .users(&mut |row| {
            if users.contains(&row.id) {
                return;
            }
            others.pairs += row.roles.len() as u64;
            others.enabled += u64::from(row.status.counts());
            for role in row.roles.iter().filter(|role| guard.protected_roles.contains_key(*role)) {
                *others.holders.entry(role.clone()).or_default() += 1;
            }
        })
        .unwrap();
    assert!(state.users.iter().filter(|user| !users.contains(&user.id)).count() >= 1);
    others
}

fn a_slice_has_those_alone_and_everybody_else_in_numbers(store: &dyn Store) {
    store.prepare().unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let mut old = World::default();
    let mut seen = (0, 0, 0);
    for step in 1..60 {
        let new = next_world(&old, &mut random, at(step));
        commit(store, &plan(&old, &new, at(step)));
        old = new;
        let reader = store.reader().unwrap().unwrap();
        let state = reader.state().unwrap();
        if state.users.is_empty() {
            continue;
        }
        let guard = guard(old.roles.keys().cloned());
        for _ in 0..3 {
            let mut users: BTreeSet<UserId> =
                state.users.iter().map(|it| it.id).filter(|_| random.u8(0..3) == 0).collect();
            // Everybody is no slice; whom the store does not know is left out.
            users.remove(&state.users[0].id);
            users.insert(UserId::new(1_000_000));
            let slice = sliced(&*reader, &users, &BTreeSet::new(), &guard);
            let expected = state.of_users(&users);
            assert_eq!(World::of(&slice.state), World::of(&expected), "step {step}");
            let sets = |state: &State| -> Vec<_> {
                state.users.iter().map(|it| (it.id, it.role_set)).collect()
            };
            assert_eq!(sets(&slice.state), sets(&expected));
            assert_eq!(slice.state.next_user, state.next_user);
            let order = |state: &State| -> Vec<_> {
                state.grants.iter().map(|it| (it.user, it.role, it.kind.is_idp())).collect()
            };
            assert_eq!(order(&slice.state), order(&expected));
            assert_eq!(slice.meta, reader.meta().unwrap());
            let mut others = slice.others;
            // A role whose only holders are in the slice is held by none of the others.
            others.holders.retain(|_, holders| *holders > 0);
            assert_eq!(others, recount(&*reader, &state, &users, &guard), "step {step}");
            seen.0 += slice.state.grants.len();
            seen.1 += slice.state.tokens.list().len();
            seen.2 += others.holders.len();
        }
    }
    assert!(seen.0 > 50 && seen.1 > 10 && seen.2 > 50, "{seen:?}: next to nothing was compared");
}

/// Who is in what: external id, and kind and key of each.
fn memberships(directory: &Directory) -> BTreeSet<(String, Kind, String)> {
    let lists = directory.refs.iter().zip(&directory.members);
    lists
        .flat_map(|(row, members)| {
            members.iter().map(|place| {
                let ext = directory.text(directory.users.get(*place).unwrap().ext).to_owned();
                (ext, row.kind, directory.text(row.key).to_owned())
            })
        })
        .collect()
}

fn a_slices_mirrors_have_those_alone_and_all_that_they_may_be_in(store: &dyn Store) {
    with_people(store, 1);
    let mut random = fastrand::Rng::with_seed(5);
    for seed in 1..6 {
        let directory = random_directory(seed, 30, 8);
        read(store, u32::try_from(seed).unwrap(), &directory, None);
        let reader = store.reader().unwrap().unwrap();
        let key = reader.digest_key().unwrap();
        let mut exts: BTreeSet<&str> =
            directory.users.iter().map(|it| directory.text(it.ext)).collect();
        exts.retain(|_| random.u8(0..3) == 0);
        exts.insert("nobody");
        let accounts: BTreeSet<Account> =
            exts.iter().map(|ext| ("corp".to_owned(), (*ext).to_owned())).collect();
        let slice = sliced(&*reader, &BTreeSet::new(), &accounts, &guard([]));
        assert_eq!(slice.mirrors.keys().collect::<Vec<_>>(), ["corp"], "who was never read is not");
        let mirror = &slice.mirrors["corp"];
        let expected = directory.of_people(&exts).unwrap();
        assert_eq!(mirror.directory.digests(&key).whole, expected.digests(&key).whole);
        assert_eq!(memberships(&mirror.directory), memberships(&expected));
        assert_eq!(mirror.directory.proven, expected.proven);
        let some: BTreeSet<RefId> = directory
            .refs
            .iter()
            .map(|row| RefId { kind: row.kind, key: directory.text(row.key).to_owned() })
            .filter(|_| random.bool())
            .collect();
        let of = |id: &RefId, it: &(String, Kind, String)| (it.1, &it.2) == (id.kind, &id.key);
        let all = memberships(&directory);
        let within: BTreeSet<String> = all
            .iter()
            .filter(|it| some.iter().any(|id| of(id, it)))
            .map(|(ext, ..)| ext.clone())
            .collect();
        let mut asked = some.clone();
        asked.insert(RefId { kind: Kind::Group, key: "never heard of".to_owned() });
        assert_eq!(reader.members("corp", &asked).unwrap(), within);
    }
}

fn of_a_list_that_is_told_whole_those_are_loaded_of_whom_something_may_become(store: &dyn Store) {
    with_people(store, 1);
    let mut random = fastrand::Rng::with_seed(9);
    let (mut staying, mut moving) = (0, 0);
    for seed in 1..12 {
        let directory = random_directory(seed, 30, 8);
        read(store, u32::try_from(seed).unwrap(), &directory, None);
        let reader = store.reader().unwrap().unwrap();
        let key = reader.digest_key().unwrap();
        let exts: Vec<String> =
            directory.users.iter().map(|it| directory.text(it.ext).to_owned()).collect();
        let mut there: BTreeSet<String> = exts.iter().cloned().collect();
        let asked = there.iter().cloned().chain(["nobody".to_owned()]).collect();
        assert_eq!(reader.has_accounts("corp", &asked).unwrap(), there);
        assert!(reader.has_accounts("never read", &asked).unwrap().is_empty());
        there.retain(|_| random.u8(0..9) == 0);
        let mut told = Vec::new();
        for _ in 0..2 {
            let mut delta = Delta::default();
            delta.gone_people.extend(there.iter().filter(|_| random.u8(0..30) == 0).cloned());
            for (row, members) in directory.refs.iter().zip(&directory.members) {
                let id = RefId { kind: row.kind, key: directory.text(row.key).to_owned() };
                if random.u8(0..20) == 0 {
                    delta.gone_refs.push(id);
                    continue;
                }
                let ext = |place| directory.text(directory.users.get(place).unwrap().ext);
                let mut list: Vec<String> =
                    members.iter().map(|place| ext(*place).to_owned()).collect();
                list.retain(|_| random.u8(0..12) > 0);
                list.extend(exts.iter().filter(|_| random.u8(0..40) == 0).cloned());
                list.extend((random.u8(0..3) == 0).then(|| "nobody".to_owned()));
                let members = ListChange::Whole(list);
                delta.refs.push(RefDelta { members, ..RefDelta::new(id) });
            }
            told.push(delta);
        }
        let touched = Touched::by_all(&told);
        let (mut rows, _) = reader.mirror_rows("corp", &touched).unwrap().unwrap();
        let mirror = Mirror { directory, cursor: None };
        let expected = mirror.rows(&touched, Some(&key));
        rows.head = expected.head.clone();
        assert_eq!(rows, expected);
        staying += rows.staying.values().map(BTreeSet::len).sum::<usize>();
        moving += rows.people.len();
    }
    assert!(staying > 50 && moving > 50, "{staying} and {moving}: next to nothing was compared");
}

fn a_slices_mirrors_have_of_references_what_bears_on_those_alone(store: &dyn Store) {
    with_people(store, 1);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut some, mut all) = (0, 0);
    for seed in 1..12 {
        let directory = random_directory(seed, 20, 24);
        read(store, u32::try_from(seed).unwrap(), &directory, None);
        let reader = store.reader().unwrap().unwrap();
        let key = reader.digest_key().unwrap();
        for most in [0, 1, 1, 3] {
            let mut exts: BTreeSet<&str> = BTreeSet::from(["nobody"]);
            let mut refs = BTreeSet::new();
            let mut names = BTreeSet::new();
            for _ in 0..random.usize(0..=most) {
                let user = random.choice(&directory.users[..]).unwrap();
                exts.insert(directory.text(user.ext));
                let row = random.choice(&directory.refs[..]).unwrap();
                refs.insert(RefId { kind: row.kind, key: directory.text(row.key).to_owned() });
                names.insert(format!("n{}", random.u32(0..3)));
            }
            refs.insert(RefId { kind: Kind::Group, key: "never heard of".to_owned() });
            let near = PartRefs::Near { refs: &refs, names: &names };
            let expected = directory.part(&exts, near).unwrap();
            let accounts: BTreeSet<Account> =
                exts.iter().map(|ext| ("corp".to_owned(), (*ext).to_owned())).collect();
            let wanted = BTreeMap::from([("corp".to_owned(), RefsWanted::Near(refs.clone()))]);
            let (users, guard) = (BTreeSet::new(), guard([]));
            let slice = parted(&*reader, (&users, &accounts), (&wanted, &names), &guard);
            let mirror = &slice.mirrors["corp"];
            assert_eq!(mirror.directory.digests(&key).whole, expected.digests(&key).whole);
            assert_eq!(memberships(&mirror.directory), memberships(&expected));
            some += expected.refs.len();
            all += directory.refs.len();
        }
    }
    assert!(some > 100 && some < all / 2, "{some} of {all}: too little was compared, or left out");
}

/// Accounts by place: username, address, whether it is verified.
const ODD: &[(&str, &str, bool)] = &[
    ("ann", "ann@example.org", true),
    ("ANN", "Ann@Example.org", true),
    (" Ann ", "ann@example.org", false),
    ("Ａｎｎ", "ÄNN@example.org", true),
    ("änn", "änn@example.org", true),
    ("ÄNN", "Änn@EXAMPLE.org", false),
    ("a\u{308}nn", "", false),
    ("김철수", "kim@example.org", true),
    ("no name", "no address", true),
    ("\u{212a}im", "\u{212a}im@example.org", true),
    ("kim", "KIM@example.org", true),
];

fn accounts(rows: &[(&str, &str, bool)], federation: &str) -> Directory {
    let mut builder = SnapshotBuilder::new(false);
    let (kind, key) = (Kind::Group, "g");
    builder.reference(&NewRef { kind, key, name: key, identity: "/g", norm: "/g" }).unwrap();
    for (place, (username, email, email_verified)) in rows.iter().enumerate() {
        let ext = format!("ext-u{place}");
        builder
            .user(&NewUser {
                ext: &ext,
                username,
                email,
                email_verified: *email_verified,
                enabled: Enabled::Yes,
                federation,
            })
            .unwrap();
    }
    builder.finish().directory
}

/// Looks for everybody of `directory` by everything that they can be found by, beside a pass over all.
pub(in crate::store) fn all_are_found(reader: &dyn Reader, directory: &Directory) {
    let rows: Vec<(String, AccountNames)> = directory
        .users
        .iter()
        .map(|row| {
            let text = |text| directory.text(text).to_owned();
            let (username, email) = (text(row.username), text(row.email));
            let names = AccountNames { username, email, email_verified: row.email_verified };
            (text(row.ext), names)
        })
        .collect();
    let mut found = 0;
    for (ext, names) in &rows {
        assert_eq!(reader.account("corp", ext).unwrap().as_ref(), Some(names));
        let name = |text: &str| canonical(text).ok().map(|name| name.into_owned());
        let (called, mail) = (name(&names.username), name(&names.email));
        let address = names.email.to_lowercase();
        let by_name = called.as_deref().map(Bears::Username);
        let by_mail = mail.as_deref().map(Bears::Email);
        for bears in by_name.into_iter().chain(by_mail).chain([Bears::Address(&address)]) {
            let expected: Vec<String> =
                rows.iter().filter(|(_, it)| bears.fits(it)).map(|(ext, _)| ext.clone()).collect();
            let told = reader.bearing("corp", bears).unwrap();
            assert_eq!(
                told.iter().collect::<BTreeSet<_>>(),
                expected.iter().collect(),
                "{bears:?}"
            );
            assert!(told.is_sorted());
            found += told.len();
        }
    }
    assert!(found > rows.len(), "{found}");
    assert_eq!(reader.account("corp", "nobody").unwrap(), None);
    assert_eq!(reader.account("never read", "ext-u0").unwrap(), None);
    assert!(reader.bearing("corp", Bears::Username("nobody")).unwrap().is_empty());
    assert!(reader.bearing("never read", Bears::Username("ann")).unwrap().is_empty());
    assert!(reader.bearing("corp", Bears::Address("")).unwrap().is_empty());
}

fn accounts_are_found_by_the_sids_of_their_domain_and_by_no_other(store: &dyn Store) {
    with_people(store, 1);
    let mut builder = SnapshotBuilder::new(true);
    let sid = |text: &str| AccountSid::of_text(text).unwrap();
    builder.domain(OwnDomain::Of(sid("S-1-5-21-1-2-3-4").domain()));
    for (ext, rid) in [("ann", Some(1104)), ("bob", Some(1105)), ("eve", None), ("all", Some(0))] {
        let user = builder
            .user(&NewUser {
                ext,
                username: ext,
                email: "",
                email_verified: false,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
        builder.user_is(user, Rid::of_code(rid));
    }
    let directory = builder.finish().directory;
    read(store, 1, &directory, None);
    let reader = store.reader().unwrap().unwrap();
    let found = |text: &str| reader.bearing("corp", Bears::Sid(&sid(text))).unwrap();
    assert_eq!(found("S-1-5-21-1-2-3-1105"), ["bob"]);
    assert!(found("S-1-5-21-1-2-3-1106").is_empty());
    assert!(found("S-1-5-21-1-2-4-1105").is_empty(), "another domain has the same numbers");
    let known = reader.mirror("corp").unwrap().unwrap().mirror.directory;
    assert_eq!(known.digest(), directory.digest());
    let outline = reader.structure("corp").unwrap().unwrap();
    assert_eq!(outline.own_domain(), OwnDomain::Of("S-1-5-21-1-2-3"));
}

/// Lets `corp` say the odd names, in a store whose state is `world`.
pub(in crate::store) fn odd_accounts(store: &dyn Store, world: &World) {
    say(store, world, &accounts(ODD, "ad"));
}

/// Lets `corp` say this, in a store whose state is `world`.
pub(in crate::store) fn say(store: &dyn Store, world: &World, directory: &Directory) {
    let reader = store.reader().unwrap().unwrap();
    let digest = directory.digests(&reader.digest_key().unwrap());
    let nothing = plan(world, world, at(90));
    let sources = [super::worlds::update("corp", at(90), None, directory, &digest)];
    let base_version = reader.meta().unwrap().version;
    let configured = &["corp".to_owned()];
    let commit =
        Commit { plan: &nothing, base_version, sources: &sources, configured, settled: None };
    store.begin(Turn::Anyones).unwrap().commit(&commit).unwrap();
}

fn accounts_are_found_by_what_they_are_called_as_names_compare(store: &dyn Store) {
    with_people(store, 1);
    let directory = accounts(ODD, "");
    read(store, 1, &directory, None);
    let reader = store.reader().unwrap().unwrap();
    all_are_found(&*reader, &directory);
    let ann: Vec<String> = reader.bearing("corp", Bears::Username("ann")).unwrap();
    assert_eq!(ann, ["ext-u0", "ext-u1", "ext-u2", "ext-u3"]);
    let kim = reader.bearing("corp", Bears::Address("kim@example.org")).unwrap();
    assert_eq!(kim, ["ext-u10", "ext-u7", "ext-u9"]);
    // A read in which some are called otherwise, and a look-up of one.
    let mut turned = ODD.to_vec();
    turned.rotate_left(3);
    let directory = accounts(&turned, "");
    read(store, 2, &directory, None);
    all_are_found(&*reader, &directory);
    let person = Sighting {
        ext: "ext-u0".to_owned(),
        username: "ΣΊΣΥΦΟΣ".to_owned(),
        email: "ÜBER@example.org".to_owned(),
        email_verified: true,
        enabled: Enabled::Yes,
        federation: String::new(),
        sid: None,
        within: vec![Within { kind: Kind::Group, key: "g".to_owned(), name: None }],
    };
    let delta = Delta::of_person(&directory, &person);
    let (rows, key) = reader.mirror_rows("corp", &delta.touched()).unwrap().unwrap();
    let patch = rows.apply(&delta, &key).unwrap();
    let plan = super::newcomer(3);
    let base_version = reader.meta().unwrap().version;
    let configured = &["corp".to_owned()];
    let commit = Commit { plan: &plan, base_version, sources: &[], configured, settled: None };
    let patches = [MirrorPatch { source: "corp", patch: &patch }];
    store.begin(Turn::Anyones).unwrap().commit_patches(&commit, &patches).unwrap();
    let directory = reader.mirror("corp").unwrap().unwrap().mirror.directory;
    all_are_found(&*reader, &directory);
    let uber = reader.bearing("corp", Bears::Address("über@example.org")).unwrap();
    assert_eq!(uber, ["ext-u0"]);
}

fn who_is_who_is_told_from_either_end(store: &dyn Store) {
    store.prepare().unwrap();
    let (mut world, old) = (World::default(), World::default());
    world.person(0, "ann").person(1, "bob").person(2, "ann");
    world.people.get_mut(&0).unwrap().status = Status::Deprovisioned { since: at(0) };
    world.sources.push("more".to_owned());
    let links = &mut world.people.get_mut(&1).unwrap().links;
    links.insert(("more".to_owned(), "ext-ann".to_owned()));
    world.people.get_mut(&2).unwrap().links =
        BTreeSet::from([("corp".to_owned(), "another".to_owned())]);
    commit(store, &plan(&old, &world, at(1)));
    let reader = store.reader().unwrap().unwrap();
    for (id, person) in &world.people {
        let user = UserId::new(*id);
        let links: Vec<Account> = person.links.iter().cloned().collect();
        assert_eq!(reader.linked(user).unwrap(), Some((person.username.clone(), links.clone())));
        for (source, ext) in links {
            assert_eq!(reader.user_of(&source, &ext).unwrap(), Some(user), "{source} {ext}");
        }
    }
    assert_eq!(reader.called("ann").unwrap(), [UserId::new(0), UserId::new(2)]);
    assert_eq!(reader.called("bob").unwrap(), [UserId::new(1)]);
    assert_eq!(reader.called("nobody").unwrap(), []);
    assert_eq!(reader.linked(UserId::new(9)).unwrap(), None);
    assert_eq!(reader.user_of("more", "ext-bob").unwrap(), None);
    assert_eq!(reader.user_of("nowhere", "ext-bob").unwrap(), None);
}

fn accounts_of_a_federation_are_counted_as_far_as_the_limits_ask(store: &dyn Store) {
    store.prepare().unwrap();
    let mut world = World::default();
    for id in 0..40 {
        world.person(id, &format!("u{id}"));
    }
    // Not enabled: neither counts, nor does whoever has gone missing.
    world.people.get_mut(&38).unwrap().status = Status::Disabled { by: "corp".to_owned() };
    let missing = Status::Missing { since: at(0), disabled_by: None };
    world.people.get_mut(&39).unwrap().status = missing;
    commit(store, &plan(&World::default(), &world, at(1)));
    let names: Vec<String> = (0..45).map(|id| format!("u{id}")).collect();
    let rows: Vec<(&str, &str, bool)> = names.iter().map(|it| (it.as_str(), "", false)).collect();
    // Five of them no user has.
    let mut directory = accounts(&rows, "ad");
    let reader = store.reader().unwrap().unwrap();
    let digest = directory.digests(&reader.digest_key().unwrap());
    let nothing = plan(&world, &world, at(2));
    let says = |store: &dyn Store, directory: &Directory, digest| {
        let old = reader.mirror("corp").unwrap();
        let sources = [super::worlds::update("corp", at(2), old.as_ref(), directory, digest)];
        let base_version = reader.meta().unwrap().version;
        let configured = &["corp".to_owned()];
        let settled = Some(at(2).to_string());
        let commit =
            Commit { plan: &nothing, base_version, sources: &sources, configured, settled };
        store.begin(Turn::Anyones).unwrap().commit(&commit).unwrap();
    };
    says(store, &directory, &digest);
    let counted = |users: std::ops::Range<u32>, percent: f64| {
        let accounts = users.clone().map(|id| ("corp".to_owned(), format!("ext-u{id}"))).collect();
        let users = users.map(UserId::new).collect();
        let guard = Guard { max_disabled_percent: percent, ..guard([]) };
        sliced(&*reader, &users, &accounts, &guard).others.federated
    };
    let ad = |count| BTreeMap::from([(("corp".to_owned(), "ad".to_owned()), count)]);
    // One of a tenth: with eleven others or more it passes no limit.
    assert_eq!(counted(0..1, 10.0), ad(11));
    assert_eq!(counted(0..3, 10.0), ad(31));
    assert_eq!(counted(0..5, 10.0), ad(33), "all of them, exactly");
    assert_eq!(counted(0..1, 0.0), ad(37));
    assert_eq!(counted(35..45, 10.0), ad(35));
    assert_eq!(counted(0..0, 10.0), ad(1));
    // Nobody comes through it any more.
    directory = accounts(&rows, "");
    let digest = directory.digests(&reader.digest_key().unwrap());
    says(store, &directory, &digest);
    assert_eq!(counted(0..1, 0.0), BTreeMap::new());
}
