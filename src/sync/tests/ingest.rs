//! What feeds tell: committed at once, beside full reads too.

use std::collections::BTreeMap;

use super::*;
use crate::directory::{
    Cursor, Delta, Enabled, Kind, ListChange, NewRef, NewUser, PersonDelta, RefDelta, RefId,
    Refusal, SnapshotBuilder, Step,
};
use crate::sync::{FeedLog, IngestError, SourceAnswer, SourceResult, ingest};

const TOML: &str = "[guard]\nmax_lost_floor = 2\n[[source]]\nname = \"kc\"\nkind = \"file\"\n\
                    realm_export = \"kc.json\"\n[roles.ml]\nexternal_roles = [\"ML\"]\n";

/// So many people, all in the group but those of `left`.
fn reading(people: usize, left: &[usize], cursor: Option<&str>) -> Snapshot {
    let mut builder = SnapshotBuilder::new(false);
    let kind = Kind::Group;
    let ml =
        builder.reference(&NewRef { kind, key: "ml", name: "ML", identity: "/ML", norm: "/ML" });
    for at in 0..people {
        let user = builder.user(&NewUser {
            ext: &format!("id-{at}"),
            username: &format!("user{at}"),
            email: "",
            email_verified: false,
            enabled: Enabled::Yes,
            federation: "",
        });
        if !left.contains(&at) {
            builder.member(ml, user);
        }
    }
    let mut snapshot = builder.finish();
    snapshot.cursor = cursor.map(Cursor::new);
    snapshot
}

fn step(from: &str, to: &str) -> Option<Step> {
    Some(Step { from: Cursor::new(from), to: Cursor::new(to) })
}

fn ml() -> RefId {
    RefId { kind: Kind::Group, key: "ml".to_owned() }
}

fn moved(from: &str, to: &str, added: &[&str], removed: &[&str]) -> Delta {
    let list = |of: &[&str]| of.iter().map(|it| (*it).to_owned()).collect();
    let members = ListChange::Changed { added: list(added), removed: list(removed) };
    let refs = vec![RefDelta { members, ..RefDelta::new(ml()) }];
    Delta { step: step(from, to), refs, ..Delta::default() }
}

fn disabled(from: &str, to: &str, ext: &str) -> Delta {
    let person =
        PersonDelta { ext: ext.to_owned(), enabled: Some(Enabled::No), ..PersonDelta::default() };
    Delta { step: step(from, to), people: vec![person], ..Delta::default() }
}

fn tell(home: &Home, deltas: Vec<Delta>) -> Result<Outcome, IngestError> {
    let told = BTreeMap::from([("kc".to_owned(), deltas)]);
    ingest(&home.config, &*home.store, &told, now())
}

fn cursor(home: &Home) -> Option<String> {
    let mirror = home.reader().mirror("kc").unwrap().unwrap().mirror;
    mirror.cursor.map(|cursor| cursor.as_str().to_owned())
}

fn holders(home: &Home) -> BTreeSet<String> {
    let roles = home.roles().into_iter();
    roles.filter(|(_, roles)| roles.contains("ml")).map(|(name, _)| name).collect()
}

fn home(people: usize) -> Home {
    let home = Home::new(TOML);
    keep(&home, reading(people, &[], Some("1")));
    home
}

#[test]
fn what_a_feed_tells_is_a_generation_with_the_cursor_to_which_it_leads() {
    let home = home(30);
    assert_eq!(holders(&home).len(), 30);
    let new = PersonDelta {
        ext: "new".to_owned(),
        username: Some("newcomer".to_owned()),
        enabled: Some(Enabled::Yes),
        within: ListChange::Whole(vec![ml()]),
        ..PersonDelta::default()
    };
    let came = Delta { step: step("2", "3"), people: vec![new], ..Delta::default() };
    let outcome = tell(&home, vec![moved("1", "2", &[], &["id-0"]), came]).unwrap();
    assert_eq!((outcome.before, outcome.generation), (1, 2));
    assert_eq!(cursor(&home).as_deref(), Some("3"));
    let now_in = holders(&home);
    assert!(!now_in.contains("user0") && now_in.contains("newcomer"), "{now_in:?}");
    let stored = home.reader().mirror("kc").unwrap().unwrap();
    assert_eq!(stored.digest, home.digest(&stored), "the mirror is what its digest says");
    // Nothing is left for a run to plan.
    let none = Some(Vec::new());
    assert!(home.sync_only(none).plan.is_none());

    tell(&home, vec![disabled("3", "4", "id-1")]).unwrap();
    assert!(!holders(&home).contains("user1"));
    // What changes nothing moves the cursor alone.
    let outcome = tell(&home, vec![moved("4", "5", &[], &["id-0"])]).unwrap();
    assert_eq!((outcome.before, outcome.generation), (3, 3));
    assert_eq!(cursor(&home).as_deref(), Some("5"));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let home = home(5);
    let refused = |deltas: Vec<Delta>| match tell(&home, deltas) {
        Err(IngestError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(vec![moved("0", "1", &[], &["id-0"])]), Refusal::Cursor { .. }));
    let unknown = moved("2", "3", &["nobody"], &[]);
    let why = refused(vec![moved("1", "2", &[], &["id-0"]), unknown]);
    assert_eq!(why, Refusal::UnknownPerson("nobody".to_owned()));
    assert_eq!(cursor(&home).as_deref(), Some("1"));
    assert_eq!(holders(&home).len(), 5);
    assert_eq!(home.reader().meta().unwrap().generation, 1);
}

#[test]
fn what_feeds_take_away_adds_up_to_what_the_guard_holds() {
    let home = home(30);
    for (from, to, who) in [("1", "2", "id-0"), ("2", "3", "id-1"), ("3", "4", "id-2")] {
        let outcome = tell(&home, vec![moved(from, to, &[], &[who])]).unwrap();
        assert!(outcome.held.is_none(), "{who}");
    }
    let outcome = tell(&home, vec![moved("4", "5", &[], &["id-3"])]).unwrap();
    assert_eq!(outcome.held.unwrap().lost_pairs, 1);
    assert_eq!(holders(&home).len(), 27);
    assert_eq!(cursor(&home).as_deref(), Some("5"), "the mirror has it, whatever is held");
}

/// A run whose read is `answer`, and `meanwhile` happens after it has begun.
fn run_beside(
    home: &Home,
    feeds: &FeedLog,
    mut answer: Snapshot,
    meanwhile: impl FnOnce(),
) -> Outcome {
    let options = Options { feeds: feeds.clone(), ..Options::default() };
    let before = Before::of(&home.config, &options, Some(&*home.reader())).unwrap();
    answer.cursor = before.starts[0].cursor.clone().filter(|_| before.starts[0].followed);
    meanwhile();
    let answers = (vec![SourceAnswer::Said(Box::new(answer)), SourceAnswer::NotAsked], None);
    let untold: crate::sync::OnPhase = Arc::new(|_| {});
    crate::sync::plan_and_commit(
        &home.config,
        &*home.store,
        answers,
        (&before, &untold),
        false,
        now(),
    )
    .unwrap()
    .0
}

#[test]
fn a_full_read_gives_nobody_back_what_a_feed_took_while_it_read() {
    let home = home(30);
    let feeds = FeedLog::default();
    feeds.follows("kc");
    // The read sees everybody in the group, for it passed there first; and that user5 left, which no
    // feed has told.
    let tells = |deltas: Vec<Delta>| {
        feeds.tells("kc", &deltas);
        tell(&home, deltas).unwrap();
    };
    let outcome = run_beside(&home, &feeds, reading(30, &[5], None), || {
        tells(vec![moved("1", "2", &[], &["id-0"])]);
        let gone = vec!["id-1".to_owned()];
        tells(vec![Delta { step: step("2", "3"), gone_people: gone, ..Delta::default() }]);
    });
    assert!(matches!(outcome.sources[0].result, SourceResult::Complete(_)), "{outcome:?}");
    let holders = holders(&home);
    assert!(!holders.contains("user0"), "{holders:?}");
    assert!(!holders.contains("user5"), "the read's word counts for the rest: {holders:?}");
    // Of user1, who is not there any more, `on_missing` decides.
    assert_eq!(holders.len(), 28);
    let state = home.reader().state().unwrap();
    let missing =
        |user: &crate::model::User| matches!(user.status, crate::model::Status::Missing { .. });
    assert_eq!(state.users.iter().filter(|user| missing(user)).count(), 1);
    assert_eq!(cursor(&home).as_deref(), Some("3"), "the feed goes on from where it is");
    let stored = home.reader().mirror("kc").unwrap().unwrap();
    assert_eq!(stored.digest, home.digest(&stored));
    assert_eq!(stored.mirror.directory.users.len(), 29);
}

#[test]
fn a_read_beside_another_process_gives_way_to_its_mirror() {
    let home = home(30);
    // Nobody tells this process what the other one commits.
    let feeds = FeedLog::default();
    for followed in [false, true] {
        if followed {
            feeds.follows("kc");
        }
        let (from, to) = if followed { ("2", "3") } else { ("1", "2") };
        let who = if followed { "id-1" } else { "id-0" };
        let outcome = run_beside(&home, &feeds, reading(30, &[], None), || {
            tell(&home, vec![moved(from, to, &[], &[who])]).unwrap();
        });
        let result = &outcome.sources[0].result;
        assert!(matches!(result, SourceResult::Failed { transient: true, .. }), "{result:?}");
        assert!(outcome.worth_retrying());
        assert_eq!(cursor(&home).as_deref(), Some(to));
    }
    let holders = holders(&home);
    assert!(!holders.contains("user0") && !holders.contains("user1"), "{holders:?}");
    assert_eq!(holders.len(), 28);
}

#[test]
fn a_partial_read_beside_a_feed_leaves_its_cursor() {
    let home = home(30);
    let feeds = FeedLog::default();
    feeds.follows("kc");
    let mut answer = SnapshotBuilder::new(false);
    answer.users_are(crate::directory::Completeness::Partial("cut".to_owned()));
    answer.groups_are(crate::directory::Completeness::Partial("cut".to_owned()));
    run_beside(&home, &feeds, answer.finish(), || {
        let deltas = vec![moved("1", "2", &[], &["id-0"])];
        feeds.tells("kc", &deltas);
        tell(&home, deltas).unwrap();
    });
    assert_eq!(cursor(&home).as_deref(), Some("2"));
    assert_eq!(holders(&home).len(), 29);
}
