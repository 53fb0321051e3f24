//! What a commit keeps, and what it leaves alone.

use super::worlds::{World, at, digests, next_world, plan, random_directory, update};
use super::{commit, counted, newcomer, rules, try_commit, with_people, world};
use crate::directory::{Cursor, Delta, Directory, Enabled, Kind, Sighting, Within};
use std::collections::BTreeMap;

use crate::model::{CauseKind, ChangeKind, Deed, FollowMode, Followed, LastDrift, LocalAccount};
use crate::plan::{ChangeView, Held, Plan, Taken};
use crate::store::{
    AsOf, Commit, CommitError, HistoryFilter, MirrorPatch, Review, Since, SourceUpdate, Store, Turn,
};

rules! {
    the_generation_moves_only_where_something_changes
    a_plan_that_settles_moves_the_version_alone
    how_reads_went_is_kept_without_a_generation_and_a_version
    mirrors_and_cursors_come_with_the_rows
    a_patch_of_another_mirror_leaves_nothing_of_its_commit
    who_was_provisioned_is_told_by_marks
    a_source_that_left_goes_with_its_mirror_once_nothing_is_held
    what_is_held_stays_until_it_is_decided
    history_has_one_row_for_each_change
    history_tells_the_newest_first_and_who_asked
    the_past_is_as_it_was
    what_went_is_counted_from_a_moment_on
    stories_of_local_accounts_come_with_a_commit
    keys_and_reviews_are_no_part_of_what_a_plan_is_made_from
    tokens_are_found_by_what_is_kept_of_their_secret
    who_follows_is_never_told_that_nothing_changed_where_something_did
}

fn nothing_new() -> Plan {
    plan(&world(1), &world(1), at(7))
}

fn the_generation_moves_only_where_something_changes(store: &dyn Store) {
    with_people(store, 1);
    let before = store.reader().unwrap().unwrap().meta().unwrap();
    let committed = commit(store, &nothing_new());
    assert_eq!((committed.generation, committed.version), (None, before.version));
    assert_eq!(store.reader().unwrap().unwrap().meta().unwrap(), before);
    assert_eq!(commit(store, &newcomer(1)).generation, Some(2));
}

fn what_went_is_counted_from_a_moment_on(store: &dyn Store) {
    with_people(store, 1);
    for (id, lost_pairs, disabled) in [(1, 2, 0), (2, 0, 0), (3, 1, 4)] {
        let mut plan = newcomer(id);
        plan.at = at(i64::from(id) * 10);
        plan.taken = Taken { lost_pairs, disabled };
        assert!(commit(store, &plan).generation.is_some());
    }
    let since = |seconds| {
        let taken = store.reader().unwrap().unwrap().taken_since(at(seconds)).unwrap();
        (taken.lost_pairs, taken.disabled)
    };
    assert_eq!([0, 9, 10, 29, 30].map(since), [(3, 4), (3, 4), (1, 4), (1, 4), (0, 0)]);
}

fn a_plan_that_settles_moves_the_version_alone(store: &dyn Store) {
    with_people(store, 1);
    let committed = try_commit(store, &nothing_new(), Some("all")).unwrap();
    assert_eq!((committed.generation, committed.version), (None, 2));
    let committed = try_commit(store, &nothing_new(), Some("all")).unwrap();
    assert_eq!((committed.generation, committed.version), (None, 2));
    let meta = store.reader().unwrap().unwrap().meta().unwrap();
    assert_eq!((meta.settled.as_deref(), meta.applied_at), (Some("all"), Some(at(0))));
}

fn how_reads_went_is_kept_without_a_generation_and_a_version(store: &dyn Store) {
    with_people(store, 1);
    let before = store.reader().unwrap().unwrap().meta().unwrap();
    let (directory, configured) = (Directory::default(), ["corp".to_owned()]);
    let digest = digests(&directory);
    let read = |seconds, complete, error: Option<&str>| SourceUpdate {
        complete,
        error: error.map(str::to_owned),
        mirror: None,
        ..update("corp", at(seconds), None, &directory, &digest)
    };
    let touch = |update| {
        store.begin(Turn::Anyones).unwrap().touch(&[update], &configured).unwrap();
        store.reader().unwrap().unwrap().sources().unwrap().pop().unwrap()
    };
    let source = touch(read(5, true, None));
    assert_eq!((source.read_at, source.spoke_at), (Some(at(5)), Some(at(5))));
    let source = touch(read(6, false, None));
    assert_eq!((source.read_at, source.spoke_at), (Some(at(5)), Some(at(6))));
    let source = touch(read(7, false, Some("away")));
    assert_eq!((source.read_at, source.spoke_at), (Some(at(5)), Some(at(6))));
    assert_eq!((source.tried_at, source.error.as_deref()), (Some(at(7)), Some("away")));
    assert!(source.configured && source.digest.is_none());
    assert_eq!(store.reader().unwrap().unwrap().meta().unwrap(), before);
}

/// Commits what `corp` says with the newcomer `id`.
pub(super) fn read(store: &dyn Store, id: u32, directory: &Directory, cursor: Option<&Cursor>) {
    let reader = store.reader().unwrap().unwrap();
    let (old, key) = (reader.mirror("corp").unwrap(), reader.digest_key().unwrap());
    let digest = directory.digests(&key);
    let plan = newcomer(id);
    let sources =
        [SourceUpdate { cursor, ..update("corp", at(3), old.as_ref(), directory, &digest) }];
    store
        .begin(Turn::Anyones)
        .unwrap()
        .commit(&Commit {
            plan: &plan,
            base_version: reader.meta().unwrap().version,
            sources: &sources,
            configured: &["corp".to_owned()],
            settled: Some("all".to_owned()),
        })
        .unwrap();
}

fn mirrors_and_cursors_come_with_the_rows(store: &dyn Store) {
    with_people(store, 1);
    let cursor = Cursor::new("c1");
    for seed in 1..4 {
        let directory = random_directory(seed, 20, 6);
        read(store, u32::try_from(seed).unwrap(), &directory, Some(&cursor));
        let reader = store.reader().unwrap().unwrap();
        let stored = reader.mirror("corp").unwrap().unwrap();
        let key = reader.digest_key().unwrap();
        assert_eq!(stored.mirror.directory.digests(&key).whole, directory.digests(&key).whole);
        assert_eq!(stored.digest, directory.digests(&key).whole.to_string());
        assert_eq!((stored.mirror.cursor, stored.read_at), (Some(cursor.clone()), Some(at(3))));
        assert_eq!(reader.sources().unwrap()[0].digest.as_ref(), Some(&stored.digest));
        let structure = reader.structure("corp").unwrap().unwrap();
        assert_eq!(structure.refs.len(), directory.refs.len());
        assert!(structure.users.is_empty());
        assert_eq!(reader.meta().unwrap().generation, seed + 1);
    }
    assert!(store.reader().unwrap().unwrap().mirror("other").unwrap().is_none());
}

fn sighting(ext: &str, directory: &Directory) -> Sighting {
    let within = directory.refs.first().map(|it| Within {
        kind: it.kind,
        key: directory.text(it.key).to_owned(),
        name: None,
    });
    Sighting {
        ext: ext.to_owned(),
        username: ext.to_owned(),
        email: String::new(),
        email_verified: false,
        enabled: Enabled::Yes,
        federation: String::new(),
        sid: None,
        within: within.into_iter().collect(),
    }
}

fn a_patch_of_another_mirror_leaves_nothing_of_its_commit(store: &dyn Store) {
    with_people(store, 1);
    let directory = random_directory(1, 20, 6);
    read(store, 1, &directory, None);
    let reader = store.reader().unwrap().unwrap();
    let delta = Delta::of_person(&directory, &sighting("came", &directory));
    let (rows, key) = reader.mirror_rows("corp", &delta.touched()).unwrap().unwrap();
    let patch = rows.apply(&delta, &key).unwrap();
    let of_this = [MirrorPatch { source: "corp", patch: &patch }];
    read(store, 2, &random_directory(2, 20, 6), None);
    let before = (reader.meta().unwrap(), reader.mirror("corp").unwrap().unwrap().digest);
    let plan = newcomer(3);
    let (base_version, sources, configured) = (before.0.version, &[], &["corp".to_owned()]);
    let commit = Commit { plan: &plan, base_version, sources, configured, settled: None };
    for turn in [Turn::Anyones, Turn::Mine] {
        let refused = store.begin(turn).unwrap().commit_patches(&commit, &of_this);
        assert!(matches!(refused, Err(CommitError::Raced)), "{refused:?}");
        let after = (reader.meta().unwrap(), reader.mirror("corp").unwrap().unwrap().digest);
        assert_eq!(after, before);
    }
    assert_eq!(counted(store), (3, 3));
}

fn who_was_provisioned_is_told_by_marks(store: &dyn Store) {
    with_people(store, 1);
    assert!(store.reader().unwrap().unwrap().marks().is_ok(), "there need be no source");
    let directory = random_directory(1, 20, 6);
    read(store, 1, &directory, Some(&Cursor::new("c1")));
    let reader = store.reader().unwrap().unwrap();
    let marks = reader.marks().unwrap();
    assert_eq!(reader.added_since("corp", &marks).unwrap(), []);
    // Somebody new, and somebody whom the mirror has: both count as having come now.
    let known = directory.text(directory.users[3].ext).to_owned();
    for (id, ext) in [(2, "came"), (3, known.as_str())] {
        let delta = Delta::of_person(&directory, &sighting(ext, &directory));
        let (rows, key) = reader.mirror_rows("corp", &delta.touched()).unwrap().unwrap();
        let patch = rows.apply(&delta, &key).unwrap();
        let (plan, configured) = (newcomer(id), &["corp".to_owned()]);
        let base_version = reader.meta().unwrap().version;
        let commit = Commit { plan: &plan, base_version, sources: &[], configured, settled: None };
        let patches = [MirrorPatch { source: "corp", patch: &patch }];
        store.begin(Turn::Anyones).unwrap().commit_patches(&commit, &patches).unwrap();
        let stored = reader.mirror("corp").unwrap().unwrap();
        assert_eq!(stored.digest, patch.after.to_string());
        assert_eq!(stored.mirror.directory.digests(&key).whole, patch.after);
        assert_eq!(stored.mirror.cursor, Some(Cursor::new("c1")), "a look-up is no part of a feed");
    }
    let mut came = reader.added_since("corp", &marks).unwrap();
    came.sort_by(|a, b| a.ext.cmp(&b.ext));
    let mut expected = [sighting("came", &directory), sighting(&known, &directory)];
    expected.sort_by(|a, b| a.ext.cmp(&b.ext));
    assert_eq!(came, expected);
    assert_eq!(reader.added_since("corp", &reader.marks().unwrap()).unwrap(), []);
    let kinds = came.iter().flat_map(|it| &it.within).map(|it| it.kind);
    assert!(kinds.clone().count() == 2 && kinds.min() >= Some(Kind::Group));
}

fn held() -> Held {
    let change = ChangeView {
        change: ChangeKind::UserDeprovisioned,
        user: Some("u0".to_owned()),
        user_id: None,
        role: None,
        token: None,
        origin: None,
        old: None,
        new: None,
        cause: Some(CauseKind::UserGone),
        why: None,
        reasons: Vec::new(),
    };
    Held {
        id: "0123456789ab".to_owned(),
        since: "2026-11-23T12:00:00Z".to_owned(),
        why: vec!["many".to_owned()],
        lost_pairs: 3,
        changes: vec![change],
    }
}

fn a_source_that_left_goes_with_its_mirror_once_nothing_is_held(store: &dyn Store) {
    with_people(store, 1);
    read(store, 1, &random_directory(1, 5, 2), None);
    let left = || {
        let reader = store.reader().unwrap().unwrap();
        let sources = reader.sources().unwrap();
        (sources.iter().map(|it| it.configured).next(), reader.mirror("corp").unwrap().is_some())
    };
    assert_eq!(left(), (Some(true), true));
    try_commit(store, &newcomer(2), None).unwrap();
    assert_eq!(left(), (Some(false), true), "what people do by hand has weighed nothing");
    let waits = Plan { held: Some(held()), ..nothing_new() };
    try_commit(store, &waits, Some("all")).unwrap();
    assert_eq!(left(), (Some(false), true), "it may come back");
    try_commit(store, &nothing_new(), Some("all")).unwrap();
    assert_eq!(left(), (None, false));
}

fn what_is_held_stays_until_it_is_decided(store: &dyn Store) {
    with_people(store, 1);
    let reader = store.reader().unwrap().unwrap();
    assert!(reader.held().unwrap().is_none() && reader.held_head().unwrap().is_none());
    let waits = |plan| Plan { held: Some(held()), ..plan };
    let version = try_commit(store, &waits(nothing_new()), Some("all")).unwrap().version;
    assert_eq!(reader.held().unwrap(), Some(held()));
    assert_eq!(reader.held_head().unwrap(), Some(held().head()));
    let again = try_commit(store, &waits(nothing_new()), Some("all")).unwrap();
    assert_eq!((again.version, again.generation), (version, None), "the same is nothing new");
    commit(store, &waits(newcomer(1)));
    assert_eq!(reader.held().unwrap(), Some(held()));
    assert!(!store.discard_held("another").unwrap());
    assert!(reader.held().unwrap().is_some());
    let before = reader.meta().unwrap();
    assert!(store.discard_held(&held().id).unwrap());
    let after = reader.meta().unwrap();
    assert!(reader.held().unwrap().is_none() && after.version > before.version);
    assert_eq!((after.generation, after.settled), (before.generation, None));
}

fn history_has_one_row_for_each_change(store: &dyn Store) {
    with_people(store, 2);
    let mut later = world(5);
    later.idp.remove(&(0, "ml".to_owned()));
    later.people.get_mut(&1).unwrap().username = "ann".to_owned();
    let changes = plan(&world(2), &later, at(10));
    for (number, plan) in [(2, &changes), (3, &newcomer(5)), (4, &newcomer(6))] {
        assert_eq!(commit(store, plan).generation, Some(number));
        let reader = store.reader().unwrap().unwrap();
        let mut rows = reader.history(&HistoryFilter::default()).unwrap();
        rows.retain(|row| row.generation == number);
        let told = |changes: Vec<ChangeKind>| {
            let mut all: Vec<String> = changes.iter().map(|kind| format!("{kind:?}")).collect();
            all.sort_unstable();
            all
        };
        let of_plan = plan.changes.iter().map(|change| change.kind()).collect();
        assert_eq!(told(rows.iter().map(|row| row.change.change).collect()), told(of_plan));
        assert!(plan.changes.len() > 1);
    }
}

fn history_tells_the_newest_first_and_who_asked(store: &dyn Store) {
    with_people(store, 1);
    let deed = Deed { by: "ops".into(), reason: "ticket 1".to_owned() };
    let mut by_hand = newcomer(1);
    by_hand.records.deed = Some(deed.clone());
    commit(store, &by_hand);
    let mut renamed = world(2);
    renamed.people.get_mut(&0).unwrap().username = "ann".to_owned();
    commit(store, &plan(&world(2), &renamed, at(20)));
    let reader = store.reader().unwrap().unwrap();
    let told = |filter: HistoryFilter| -> Vec<(u64, ChangeKind, Option<String>)> {
        let rows = reader.history(&filter).unwrap();
        rows.into_iter().map(|it| (it.generation, it.change.change, it.change.user)).collect()
    };
    let all = told(HistoryFilter::default());
    assert!(all.is_sorted_by(|a, b| a.0 >= b.0), "{all:?}");
    let row =
        |generation, change: ChangeKind, user: &str| (generation, change, Some(user.to_owned()));
    assert_eq!(all[0], row(3, ChangeKind::UserRenamed, "ann"));
    let of = |user: &str| HistoryFilter { user: Some(user.to_owned()), ..Default::default() };
    let (old, new) = (told(of("u0")), told(of("ann")));
    assert_eq!(old, new, "who had a name is found by it");
    assert!(
        old.contains(&row(1, ChangeKind::GrantAdded, "u0")),
        "called as they were then: {old:?}"
    );
    let role = HistoryFilter { role: Some("ml".to_owned()), ..Default::default() };
    assert!(
        told(role).iter().all(|it| matches!(it.1, ChangeKind::GrantAdded | ChangeKind::RoleAdded))
    );
    let late = HistoryFilter { since: Some(at(20)), ..Default::default() };
    assert_eq!(told(late).len(), 1);
    let two = HistoryFilter { limit: Some(2), ..Default::default() };
    assert_eq!(told(two)[..], all[..2]);
    let rows = reader.history(&HistoryFilter::default()).unwrap();
    assert!(rows.iter().all(|it| it.deed.as_ref() == (it.generation == 2).then_some(&deed)));
}

fn the_past_is_as_it_was(store: &dyn Store) {
    with_people(store, 1);
    let mut later = world(2);
    later.idp.remove(&(0, "ml".to_owned()));
    commit(store, &plan(&world(1), &later, at(10)));
    let reader = store.reader().unwrap().unwrap();
    let held = |generation| {
        let mut held = Vec::new();
        let filter = Default::default();
        reader
            .access(generation, &filter, &mut |it| {
                held.push(format!("{} {} {:?}", it.user, it.role, it.since));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        held.len()
    };
    assert_eq!((held(1), held(2)), (1, 1));
    let asked = |seconds| reader.generation(AsOf::Time(at(seconds)), at(99)).map(|it| it.num);
    assert!(matches!((asked(5), asked(10)), (Ok(1), Ok(2))));
    assert!(asked(-1).is_err() && asked(100).is_err());
    assert!(reader.generation(AsOf::Generation(3), at(99)).is_err());
    assert!(reader.ever_called("u0").unwrap() && !reader.ever_called("u7").unwrap());
    assert!(reader.ever_a_role("ml").unwrap() && !reader.ever_a_role("x").unwrap());
}

fn stories_of_local_accounts_come_with_a_commit(store: &dyn Store) {
    with_people(store, 1);
    let deed = Deed { by: "ops".into(), reason: "robot".to_owned() };
    let account = LocalAccount {
        ext: "bot".to_owned(),
        service: true,
        admin: false,
        added: deed,
        added_at: at(4),
        last: None,
    };
    let mut with_bot = world(1);
    with_bot.person(1, "bot");
    with_bot.sources.push("local".to_owned());
    with_bot.people.get_mut(&1).unwrap().links =
        [("local".to_owned(), "bot".to_owned())].into_iter().collect();
    let mut plan = plan(&world(1), &with_bot, at(4));
    plan.records.accounts = vec![account.clone()];
    commit(store, &plan);
    let reader = store.reader().unwrap().unwrap();
    assert_eq!(reader.local_account("bot").unwrap(), Some(account.clone()));
    assert_eq!(reader.local_account("x").unwrap(), None);
    assert_eq!(reader.user("bot").unwrap().unwrap().local, Some(account));
    assert_eq!(reader.spoken_for().unwrap(), ["bot"]);
    assert_eq!(reader.default_admins().unwrap(), []);
    let mut services = Vec::new();
    reader.users(&mut |row| services.push((row.username, row.service))).unwrap();
    assert_eq!(services, [("bot".to_owned(), true), ("u0".to_owned(), false)]);
}

fn keys_and_reviews_are_no_part_of_what_a_plan_is_made_from(store: &dyn Store) {
    with_people(store, 1);
    let reader = store.reader().unwrap().unwrap();
    let before = reader.meta().unwrap();
    store.keep_keys("https://issuer", "{}", at(1)).unwrap();
    store.keep_keys("https://issuer", "{\"keys\":[]}", at(2)).unwrap();
    assert_eq!(reader.keys("https://issuer").unwrap().as_deref(), Some("{\"keys\":[]}"));
    assert_eq!(reader.keys("https://issuer/").unwrap(), None);
    let mut followed = Followed {
        mode: FollowMode::Poll,
        why: Some("a reason".to_owned()),
        since: at(1),
        current_at: Some(at(2)),
        last_drift: Some(LastDrift { at: at(1), changes: 3 }),
    };
    store.keep_followed("corp", &followed).unwrap();
    assert_eq!(reader.followed().unwrap()["corp"], followed);
    // What the last full read found stays until another one has found something.
    let later = Followed {
        mode: FollowMode::Full,
        why: None,
        since: at(3),
        current_at: None,
        last_drift: None,
    };
    store.keep_followed("corp", &later).unwrap();
    followed = Followed { last_drift: followed.last_drift, ..later };
    assert_eq!(reader.followed().unwrap(), BTreeMap::from([("corp".to_owned(), followed)]));
    let review = |generation| Review {
        name: "quarter".to_owned(),
        generation,
        by: "Ann".to_owned(),
        account: "ann".to_owned(),
        at: at(3),
    };
    store.sign(&review(1)).unwrap();
    store.sign(&Review { name: "other".to_owned(), ..review(1) }).unwrap();
    store.sign(&review(2)).unwrap();
    assert_eq!(reader.last_review("quarter").unwrap(), Some(review(2)));
    assert_eq!(reader.reviews().unwrap().len(), 3);
    assert_eq!(reader.reviews().unwrap()[0], review(2));
    assert_eq!(reader.meta().unwrap(), before);
}

fn tokens_are_found_by_what_is_kept_of_their_secret(store: &dyn Store) {
    with_people(store, 2);
    let mut with_token = world(2);
    with_token.token(1, "ci", 77, &["ml"]);
    commit(store, &plan(&world(2), &with_token, at(5)));
    let digest = with_token.tokens[&(1, "ci".to_owned())].digest;
    let reader = store.reader().unwrap().unwrap();
    let found = Some(("u1".to_owned(), "ci".to_owned()));
    assert_eq!(reader.token_of(&digest).unwrap(), found);
    assert_eq!(reader.token_of(&[9; 32]).unwrap(), None);
    assert_eq!(reader.count_tokens(at(0)).unwrap(), (1, 0));
    assert_eq!(reader.count_tokens(at(77)).unwrap(), (1, 1));
    commit(store, &plan(&with_token, &world(2), at(6)));
    assert_eq!(reader.token_of(&digest).unwrap(), None);
}

fn who_follows_is_never_told_that_nothing_changed_where_something_did(store: &dyn Store) {
    store.prepare().unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let mut old = World::default();
    let reader = store.reader().unwrap().unwrap();
    for step in 0..12 {
        let before = reader.meta().unwrap();
        let new = next_world(&old, &mut random, at(step));
        let committed = commit(store, &plan(&old, &new, at(step)));
        let since = reader.since(before.generation, before.applied_at, 1_000).unwrap();
        assert_eq!(since == Since::Nothing, committed.generation.is_none(), "step {step}");
        let now = reader.meta().unwrap();
        let since = reader.since(now.generation, now.applied_at, 1_000).unwrap();
        assert_eq!(since, Since::Nothing);
        old = new;
    }
}
