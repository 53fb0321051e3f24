//! What feeds tell: committed at once, beside full reads too.

use std::collections::BTreeMap;

use super::*;
use crate::directory::{
    Cursor, Delta, Enabled, Kind, ListChange, NewRef, NewUser, PersonDelta, RefDelta, RefId,
    Refusal, SnapshotBuilder, Step,
};
use crate::source::feed::MirrorView as _;
use crate::source::{SourceError, SourceErrorKind};
use crate::sync::ingest::{Way, ingest_by};
use crate::sync::{FeedLog, IngestError, SourceAnswer, SourceResult, StoredView, ingest};

const TOML: &str = "[guard]\nmax_lost_floor = 2\n[[source]]\nname = \"kc\"\nkind = \"file\"\n\
                    realm_export = \"kc.json\"\n[roles.ml]\nexternal_roles = [\"ML\"]\n";

/// So many people, all in the group but those of `left`.
fn reading(people: usize, left: &[usize], cursor: Option<&str>) -> Snapshot {
    let mut builder = SnapshotBuilder::new(false);
    let kind = Kind::Group;
    let ml = builder
        .reference(&NewRef { kind, key: "ml", name: "ML", identity: "/ML", norm: "/ML" })
        .unwrap();
    for at in 0..people {
        let user = builder
            .user(&NewUser {
                ext: &format!("id-{at}"),
                username: &format!("user{at}"),
                email: "",
                email_verified: false,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
        if !left.contains(&at) {
            builder.member(ml, user);
        }
    }
    let mut snapshot = builder.finish();
    snapshot.cursor = cursor.map(Cursor::new);
    snapshot
}

pub(super) fn step(from: &str, to: &str) -> Option<Step> {
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
    ingest(&home.config, &*home.store, &told, now()).map(|(outcome, _)| outcome)
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
fn nobody_of_whom_something_was_told_since_is_surely_in_a_group() {
    let home = home(4);
    let view = StoredView::new(Arc::clone(&home.store), "kc");
    let surely = || view.surely_in(&ml()).unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(surely(), ["id-0", "id-1", "id-2", "id-3"]);
    let gone =
        Delta { step: step("1", "2"), gone_people: vec!["id-1".to_owned()], ..Delta::default() };
    let told = [gone, disabled("2", "3", "id-2")];
    told.iter().for_each(|delta| view.push(delta.clone()));
    assert_eq!(surely(), ["id-0", "id-3"]);
    tell(&home, told.to_vec()).unwrap();
    // Committed, and not yet forgotten.
    assert_eq!(surely(), ["id-0", "id-3"]);
    view.clear();
    assert_eq!(surely(), ["id-0", "id-2", "id-3"]);
    assert!(surely().iter().all(|ext| view.has_person(ext).unwrap()));
    let other = RefId { kind: Kind::Group, key: "other".to_owned() };
    assert!(view.surely_in(&other).unwrap().is_empty());
}

#[test]
fn what_was_told_of_a_group_counts_before_it_is_committed() {
    let home = home(3);
    let view = StoredView::new(Arc::clone(&home.store), "kc");
    let new = RefId { kind: Kind::Group, key: "new".to_owned() };
    let named = |text: &str| Some(text.to_owned());
    let came = |members| RefDelta {
        name: named("New"),
        identity: named("/New"),
        norm: named("/New"),
        members,
        ..RefDelta::new(new.clone())
    };
    let told = |from, to, refs| Delta { step: step(from, to), refs, ..Delta::default() };
    let answers = || (view.has_ref(&new).unwrap(), view.knows_members(&new).unwrap());
    assert_eq!(answers(), (false, false));
    let everybody = ListChange::Whole(vec!["id-0".to_owned(), "id-1".to_owned()]);
    let steps = [
        (told("1", "2", vec![came(ListChange::Kept)]), (true, false)),
        (told("2", "3", vec![came(everybody)]), (true, true)),
        (told("3", "4", vec![came(ListChange::Kept)]), (true, true)),
        (
            Delta { step: step("4", "5"), gone_refs: vec![new.clone()], ..Delta::default() },
            (false, false),
        ),
        (told("5", "6", vec![came(ListChange::Kept)]), (true, false)),
    ];
    for (delta, expected) in &steps {
        view.push(delta.clone());
        assert_eq!(answers(), *expected, "{delta:?}");
        let anybody = ["id-0", "nobody"].map(str::to_owned).into();
        assert_eq!(view.surely_there(&anybody).unwrap(), ["id-0".to_owned()].into());
    }
    tell(&home, steps.map(|(delta, _)| delta).to_vec()).unwrap();
    assert_eq!(answers(), (true, false), "committed, and not yet forgotten");
    view.clear();
    assert_eq!(answers(), (true, false));
}

#[test]
fn what_leads_to_a_group_is_the_same_before_and_after_it_is_committed() {
    let home = home(2);
    let view = StoredView::new(Arc::clone(&home.store), "kc");
    let child = RefId { kind: Kind::Group, key: "child".to_owned() };
    let named = |text: &str| Some(text.to_owned());
    let new = RefDelta {
        name: named("Child"),
        identity: named("/ML/Child"),
        norm: named("/ML/Child"),
        implies: ListChange::Whole(vec![ml()]),
        members: ListChange::Whole(vec!["id-0".to_owned()]),
        ..RefDelta::new(child.clone())
    };
    let told = Delta { step: step("1", "2"), refs: vec![new], ..Delta::default() };
    assert!(view.leading_to(&ml()).unwrap().is_empty());
    view.push(told.clone());
    assert_eq!(view.leading_to(&ml()).unwrap(), std::slice::from_ref(&child));
    tell(&home, vec![told]).unwrap();
    view.clear();
    assert_eq!(view.leading_to(&ml()).unwrap(), std::slice::from_ref(&child));
    assert_eq!(view.leads_to(&child).unwrap(), [ml()]);
    assert_eq!(view.within("id-0").unwrap().len(), 2);
}

/// What is led to, and by what.
type LedTo = &'static [(u8, &'static [u8])];

#[test]
fn what_leads_to_what_is_carried_from_one_commit_to_the_next() {
    let home = home(3);
    let view = StoredView::new(Arc::clone(&home.store), "kc");
    let at = |number: u8| if number == 0 { ml() } else { group_id(number) };
    let group = |number: u8| {
        let name = |what: &str| Some(format!("{what}{number}"));
        RefDelta {
            name: name("G"),
            identity: name("/G"),
            norm: name("/G"),
            members: ListChange::Whole(vec!["id-0".to_owned()]),
            ..RefDelta::new(at(number))
        }
    };
    let leads = |number: u8, to: &[u8]| RefDelta {
        implies: ListChange::Whole(to.iter().copied().map(at).collect()),
        ..group(number)
    };
    let refs = |refs| Delta { refs, ..Delta::default() };
    let gone = |number| Delta { gone_refs: vec![at(number)], ..Delta::default() };
    let below = RefDelta { parent: Some(Some(at(2))), ..group(4) };
    let steps: [(Delta, LedTo); 8] = [
        (refs(vec![group(2), leads(1, &[0, 2])]), &[(0, &[1]), (2, &[1])]),
        // Somebody comes and goes: nothing leads elsewhere.
        (moved("", "", &[], &["id-1"]), &[(0, &[1]), (2, &[1])]),
        (refs(vec![leads(3, &[2]), leads(1, &[2])]), &[(2, &[1, 3])]),
        (refs(vec![below]), &[(2, &[1, 3, 4])]),
        (refs(vec![leads(1, &[])]), &[(2, &[3, 4])]),
        (gone(3), &[(2, &[4])]),
        (gone(2), &[]),
        (refs(vec![group(2), leads(1, &[2])]), &[(2, &[1])]),
    ];
    assert!(view.leading_to(&ml()).unwrap().is_empty());
    for (number, (mut delta, expected)) in steps.into_iter().enumerate() {
        delta.step = step(&(number + 1).to_string(), &(number + 2).to_string());
        let told = BTreeMap::from([("kc".to_owned(), vec![delta.clone()])]);
        view.push(delta);
        let (_, patches) = ingest(&home.config, &*home.store, &told, now()).unwrap();
        view.committed(patches.get("kc"));
        assert!(view.knows_what_leads_to_what(), "step {number}: without another look at all");
        for id in 0..5 {
            let leading = view.leading_to(&at(id)).unwrap();
            let of = expected.iter().find(|(to, _)| *to == id).map(|(_, from)| *from);
            let expected: Vec<RefId> = of.unwrap_or_default().iter().copied().map(at).collect();
            assert_eq!(leading, expected, "step {number}, group {id}");
        }
    }
    // Whatever somebody else has written meanwhile is found.
    let told = Delta { step: step("9", "10"), ..refs(vec![leads(1, &[0])]) };
    let (_, patches) = {
        let told = BTreeMap::from([("kc".to_owned(), vec![told])]);
        ingest(&home.config, &*home.store, &told, now()).unwrap()
    };
    assert_eq!(view.leading_to(&ml()).unwrap(), [at(1)]);
    tell(&home, vec![Delta { step: step("10", "11"), ..gone(1) }]).unwrap();
    view.committed(patches.get("kc"));
    assert!(view.leading_to(&ml()).unwrap().is_empty(), "the patch was of an earlier mirror");
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
    let _followed = feeds.follows("kc");
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
fn what_a_feed_tells_without_a_newer_cursor_counts_as_well() {
    let home = home(30);
    let feeds = FeedLog::default();
    let followed = feeds.follows("kc");
    let outcome = run_beside(&home, &feeds, reading(30, &[], None), || {
        let deltas = vec![moved("1", "1", &[], &["id-0"])];
        feeds.tells("kc", &deltas);
        tell(&home, deltas).unwrap();
        // It is not followed any more when the read has ended.
        drop(followed);
    });
    assert!(matches!(outcome.sources[0].result, SourceResult::Complete(_)), "{outcome:?}");
    assert!(!holders(&home).contains("user0"));
    assert_eq!(holders(&home).len(), 29);
    assert_eq!(cursor(&home).as_deref(), Some("1"));
}

#[test]
fn of_whom_a_feed_only_names_in_a_list_the_read_counts() {
    let home = home(30);
    let feeds = FeedLog::default();
    let _followed = feeds.follows("kc");
    // An account that ended by the clock, which no server tells: the read alone knows.
    let mut answer = reading(30, &[], None);
    for user in answer.directory.users.iter_mut() {
        if answer.directory.texts.get(user.ext) == "id-7" {
            user.enabled = Enabled::No;
        }
    }
    run_beside(&home, &feeds, answer, || {
        let members = (1..30).map(|at| format!("id-{at}")).collect();
        let members = ListChange::Whole(members);
        let refs = vec![RefDelta { members, ..RefDelta::new(ml()) }];
        let deltas = vec![Delta { step: step("1", "2"), refs, ..Delta::default() }];
        feeds.tells("kc", &deltas);
        tell(&home, deltas).unwrap();
    });
    let holders = holders(&home);
    assert!(!holders.contains("user0"), "told to be out: {holders:?}");
    assert!(!holders.contains("user7"), "read to be disabled: {holders:?}");
    assert_eq!(holders.len(), 28);
}

#[test]
fn whom_the_configuration_sees_to_stays_though_a_feed_comes_before_the_first_run() {
    let home = home(5);
    let secret = home.file("secret");
    std::fs::write(&secret, "A".repeat(43)).unwrap();
    let section = format!(
        "[default_admin]\nusername = \"root\"\npassword = {{ file = {secret:?} }}\nrole = \"ml\"\n"
    );
    let config = Home::new(&format!("{TOML}{section}")).config;
    let told = BTreeMap::from([("kc".to_owned(), vec![moved("1", "2", &[], &["id-0"])])]);
    ingest(&config, &*home.store, &told, now()).unwrap();
    assert!(holders(&home).contains("root"));
    let home = Home { config, ..home };
    let options = Options { sources: Some(Vec::new()), ..Options::default() };
    let silent: OnProgress = Arc::new(|_| {});
    for hours in [1, 3] {
        let later = now() + chrono::Duration::hours(hours);
        wait(run(&home.config, &*home.store, &options, &silent, later)).unwrap();
        assert!(holders(&home).contains("root"), "{hours}");
    }
}

#[test]
fn a_group_that_a_rule_names_in_whole_and_that_is_renamed_is_told() {
    let toml = TOML.replace(
        "[roles.ml]\nexternal_roles = [\"ML\"]\n",
        "[roles.ml]\n[[mapping]]\ngroup = \"/ML\"\nroles = [\"ml\"]\n",
    );
    let home = Home::new(&toml);
    keep(&home, reading(5, &[], Some("1")));
    assert_eq!(holders(&home).len(), 5);
    let renamed = RefDelta {
        name: Some("AI".to_owned()),
        identity: Some("/AI".to_owned()),
        norm: Some("/AI".to_owned()),
        ..RefDelta::new(ml())
    };
    let delta = Delta { step: step("1", "2"), refs: vec![renamed], ..Delta::default() };
    let told = BTreeMap::from([("kc".to_owned(), vec![delta])]);
    let (outcome, way) = ingest_by(&home.config, &*home.store, &told, Way::ForSome, now()).unwrap();
    assert_eq!(way, Way::ForSome);
    let codes: Vec<&str> = outcome.diagnostics.iter().map(|it| it.code.as_str()).collect();
    assert!(codes.contains(&"group-renamed"), "{codes:?}");
}

#[test]
fn who_comes_to_be_followed_while_it_is_read_is_heard_too() {
    let home = home(30);
    let feeds = FeedLog::default();
    // The read has a mark of its own, as nobody follows yet.
    let mut answer = reading(30, &[], None);
    answer.cursor = Some(Cursor::new("mark"));
    let before = Before::of(
        &home.config,
        &Options { feeds: feeds.clone(), ..Options::default() },
        Some(&*home.reader()),
    )
    .unwrap();
    let _followed = feeds.follows("kc");
    let deltas = vec![moved("1", "2", &[], &["id-0"])];
    feeds.tells("kc", &deltas);
    tell(&home, deltas).unwrap();
    let answers = (vec![SourceAnswer::Said(Box::new(answer)), SourceAnswer::NotAsked], None);
    let untold: crate::sync::OnPhase = Arc::new(|_| {});
    let outcome = crate::sync::plan_and_commit(
        &home.config,
        &*home.store,
        answers,
        (&before, &untold),
        false,
        now(),
    )
    .unwrap()
    .0;
    assert!(matches!(outcome.sources[0].result, SourceResult::Complete(_)), "{outcome:?}");
    assert!(!holders(&home).contains("user0"));
    assert_eq!(cursor(&home).as_deref(), Some("2"), "from where whoever follows goes on");
}

#[test]
fn a_role_of_a_template_goes_with_what_gave_it_beside_people_added_by_hand() {
    let home = with_both("plain", None);
    by_hand(&home, "bot");
    let role = |from: &str, to: &str, members: &[String]| {
        let refs = vec![role_of("osmo-blue", members)];
        Delta { step: step(from, to), refs, ..Delta::default() }
    };
    tell(&home, vec![role("0", "1", &["id-1".to_owned()])]).unwrap();
    assert!(home.roles()["üser1"].contains("osmo-blue"));
    let gone = RefId { kind: Kind::RealmRole, key: "osmo-blue".to_owned() };
    let gone = Delta { step: step("1", "2"), gone_refs: vec![gone], ..Delta::default() };
    tell(&home, vec![gone]).unwrap();
    assert!(!home.roles()["üser1"].contains("osmo-blue"));
    let roles = home.reader().roles().unwrap();
    assert!(
        roles.iter().all(|role| role.name != "osmo-blue"),
        "it was read in full that it is gone"
    );
    assert!(home.roles().contains_key("bot"));
}

#[test]
fn a_read_beside_another_process_gives_way_to_its_mirror() {
    let home = home(30);
    // Nobody tells this process what the other one commits.
    let feeds = FeedLog::default();
    for followed in [false, true] {
        let _followed = followed.then(|| feeds.follows("kc"));
        let (from, to) = if followed { ("2", "3") } else { ("1", "2") };
        let who = if followed { "id-1" } else { "id-0" };
        let outcome = run_beside(&home, &feeds, reading(30, &[], None), || {
            tell(&home, vec![moved(from, to, &[], &[who])]).unwrap();
        });
        let result = &outcome.sources[0].result;
        let SourceResult::Failed(SourceError { kind, transient, .. }) = result else {
            panic!("{result:?}");
        };
        assert_eq!((*kind, *transient), (SourceErrorKind::Raced, true));
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
    let _followed = feeds.follows("kc");
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

/// Adds somebody by hand.
pub(super) fn by_hand(home: &Home, name: &str) {
    let add = crate::sync::UserWish::Add { email: String::new(), service: false };
    let by = crate::model::Actor::Account("tester (uid 7)".to_owned());
    let deed = crate::model::Deed { by, reason: "needed".to_owned() };
    crate::sync::change_user(&home.config, &*home.store, name, &add, &deed, now()).unwrap();
}

pub(super) const CROWD: &str = r#"
[guard]
max_lost_floor = 3
max_lost_percent = 20
protected_roles = { top = 1 }
[sync]
on_missing = { after = "10m" }
[[source]]
name = "kc"
kind = "file"
realm_export = "kc.json"
[[source]]
name = "other"
kind = "file"
realm_export = "other.json"
[[source]]
name = "dir"
kind = "file"
ldif = "dir.ldif"
[roles.everyone]
everyone = true
[roles.ml]
external_roles = ["ML"]
[roles.top]
sync_mode = "force"
external_roles = ["Ops"]
[roles.kept]
sync_mode = "import"
external_roles = ["Eng"]
[roles.named]
external_roles = []
[[mapping]]
group_name = "Straße"
roles = ["named"]
[roles.whole]
external_roles = []
[[mapping]]
group = "/Ops"
roles = ["whole"]
[[mapping]]
group_id = "g5"
roles = ["whole"]
[[mapping]]
group_regex = '/(Eng|Ops)/.*'
roles = ["whole"]
[[mapping]]
source = "dir"
group_regex = 'cn=(e|o).*'
roles = ["named"]
[[role_template]]
name = 'osmo-(?<team>[a-z]+)'
"#;

pub(super) fn group_id(at: u8) -> RefId {
    RefId { kind: Kind::Group, key: format!("g{at}") }
}

/// A realm role with everybody who has it.
pub(super) fn role_of(name: &str, members: &[String]) -> RefDelta {
    let id = RefId { kind: Kind::RealmRole, key: name.to_owned() };
    RefDelta {
        name: Some(name.to_owned()),
        identity: Some(name.to_owned()),
        norm: Some(name.to_owned()),
        members: ListChange::Whole(members.to_vec()),
        implies: ListChange::Whole(Vec::new()),
        ..RefDelta::new(id)
    }
}

pub(super) const NAMES: [&str; 6] = ["ML", "Ops", "Eng", "osmo-red", "plain", "Straße"];

/// What a group of this name is called in whole.
pub(super) fn identity(folded: bool, name: &str) -> String {
    if folded { format!("cn={name},dc=x") } else { format!("/{name}") }
}

/// Ten people in five groups, of a source whose names are `folded` or not.
pub(super) fn crowd(folded: bool) -> Snapshot {
    let mut builder = SnapshotBuilder::new(folded);
    let mut groups = Vec::new();
    for at in 0..5u8 {
        let (name, kind) = (NAMES[usize::from(at)], Kind::Group);
        let (key, identity) = (format!("g{at}"), identity(folded, name));
        let norm = crate::directory::dn::normalize(&identity).unwrap_or(identity.clone());
        let new = NewRef { kind, key: &key, name, identity: &identity, norm: &norm };
        groups.push(builder.reference(&new).unwrap());
    }
    for at in 0..10u8 {
        let user = builder
            .user(&NewUser {
                ext: &format!("id-{at}"),
                username: &format!("Üser{at}"),
                email: "",
                email_verified: false,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
        builder.member(groups[usize::from(at) % 5], user);
    }
    let mut snapshot = builder.finish();
    snapshot.cursor = Some(Cursor::new("0"));
    snapshot
}

/// Another source, which nobody follows: one of the people has an account there too, in a group called
/// so. `unread`: nobody has read in full who is in it (`true`), or what it leads to.
pub(super) fn beside(group: &str, unread: Option<bool>) -> Snapshot {
    let mut builder = SnapshotBuilder::new(false);
    let (kind, identity) = (Kind::Group, format!("/{group}"));
    let new = NewRef { kind, key: "x", name: group, identity: &identity, norm: &identity };
    let place = builder.reference(&new).unwrap();
    let user = builder
        .user(&NewUser {
            ext: "x-3",
            username: "Üser3",
            email: "",
            email_verified: false,
            enabled: Enabled::Yes,
            federation: "",
        })
        .unwrap();
    builder.member(place, user);
    let partial = || crate::directory::Completeness::Partial("cut".to_owned());
    match unread {
        Some(true) => builder.members_are(place, partial()),
        Some(false) => builder.implies_is(place, partial()),
        None => {}
    }
    builder.finish()
}

/// A store with all three sources.
pub(super) fn with_both(group: &str, unread: Option<bool>) -> Home {
    let home = Home::new(CROWD);
    home.store.prepare().unwrap();
    let said = |snapshot| SourceAnswer::Said(Box::new(snapshot));
    let answers = vec![
        said(crowd(false)),
        said(beside(group, unread)),
        said(crowd(true)),
        SourceAnswer::NotAsked,
    ];
    let untold: crate::sync::OnPhase = Arc::new(|_| {});
    let before =
        Before::of(&home.config, &Options::default(), home.store.reader().unwrap().as_deref());
    let before = before.unwrap();
    let (config, store) = (&home.config, &*home.store);
    crate::sync::plan_and_commit(config, store, (answers, None), (&before, &untold), false, now())
        .unwrap();
    home
}

/// Everything of a store that does not hang on the order of its rows.
pub(super) fn dump(home: &Home) -> BTreeMap<&'static str, BTreeSet<String>> {
    let conn = rusqlite::Connection::open(home.file("store.db")).unwrap();
    let rows = |sql: &str| -> BTreeSet<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut all = BTreeSet::new();
        while let Some(row) = rows.next().unwrap() {
            let row: Vec<rusqlite::types::Value> =
                (0..columns).map(|at| row.get(at).unwrap()).collect();
            assert!(all.insert(format!("{row:?}")), "{row:?}");
        }
        all
    };
    let mut dump = BTreeMap::from([
        ("users", rows("SELECT username, status, since, disabled_by, email FROM user")),
        ("sets", rows("SELECT username, role FROM gateway_user_role")),
        (
            "holders",
            rows("SELECT r.name, h.users FROM role_holders h JOIN role r ON r.num = h.role"),
        ),
        ("used", rows("SELECT id, users FROM role_set")),
        ("meta", rows("SELECT generation, settled IS NULL, enabled, all_read FROM meta")),
        ("history", rows("SELECT num, lost, disabled FROM generation")),
    ]);
    let grants = home.roles().into_keys().flat_map(|name| {
        home.grants(&name).into_iter().map(move |grant| format!("{name}: {grant}"))
    });
    dump.insert("grants", grants.collect());
    let held = home.reader().held().unwrap();
    dump.insert("held", held.iter().map(|held| format!("{held:?}")).collect());
    dump
}

#[test]
fn what_was_never_read_in_full_is_planned_for_all() {
    let way = |group: &str, unread: Option<bool>| {
        let home = with_both(group, unread);
        let told = BTreeMap::from([("kc".to_owned(), vec![disabled("0", "1", "id-5")])]);
        ingest_by(&home.config, &*home.store, &told, Way::ForSome, now()).unwrap().1
    };
    assert_eq!(way("ML", None), Way::ForSome);
    assert_eq!(way("ML", Some(true)), Way::ForAll, "who else is in it keeps the role");
    assert_eq!(way("plain", Some(true)), Way::ForSome, "it gives nothing");
    assert_eq!(way("ML", Some(false)), Way::ForAll, "it may lead to anything");
    assert_eq!(way("plain", Some(false)), Way::ForSome, "nothing there gives anything");
}

#[test]
fn one_change_is_planned_for_one_and_what_can_concern_anybody_for_all() {
    let home = with_both("plain", None);
    let way = |delta: Delta| {
        let told = BTreeMap::from([("kc".to_owned(), vec![delta])]);
        ingest_by(&home.config, &*home.store, &told, Way::ForSome, now()).unwrap().1
    };
    let in_group = |from: &str, to: &str, group: u8, removed: &str| {
        let members = ListChange::Changed { added: Vec::new(), removed: vec![removed.to_owned()] };
        let refs = vec![RefDelta { members, ..RefDelta::new(group_id(group)) }];
        Delta { step: step(from, to), refs, ..Delta::default() }
    };
    assert_eq!(way(in_group("0", "1", 0, "id-0")), Way::ForSome);
    assert_eq!(way(disabled("1", "2", "id-5")), Way::ForSome);
    // A group that nobody's rule names any more: its members are concerned, and nobody else.
    let called = |from: &str, to: &str, name: &str| {
        let reference = RefDelta {
            name: Some(name.to_owned()),
            identity: Some(format!("/{name}")),
            norm: Some(format!("/{name}")),
            ..RefDelta::new(group_id(4))
        };
        Delta { step: step(from, to), refs: vec![reference], ..Delta::default() }
    };
    assert_eq!(way(called("2", "3", "ML")), Way::ForSome);
    // With a name of a template comes a role.
    let role = role_of("osmo-blue", &["id-1".to_owned()]);
    let role = Delta { step: step("3", "4"), refs: vec![role], ..Delta::default() };
    assert_eq!(way(role), Way::ForAll);
    assert_eq!(way(in_group("4", "5", 0, "id-1")), Way::ForSome);
    // What a run has still to see to is seen to first.
    home.write("kc.json", &serde_json::json!({}));
    let config = CROWD.replace("max_lost_floor = 3", "max_lost_floor = 4");
    let other = Home { config: Home::new(&config).config, ..home };
    let told = BTreeMap::from([("kc".to_owned(), vec![in_group("5", "6", 0, "id-2")])]);
    let done = ingest_by(&other.config, &*other.store, &told, Way::ForSome, now()).unwrap();
    assert_eq!(done.1, Way::ForAll);
}
