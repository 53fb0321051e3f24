//! What a store must do, said without naming how it is stored: through [`Reader`], [`Writer`] and
//! the columns that gateways read.

#![cfg(test)]

mod store_support;
mod support;

use std::collections::BTreeSet;

use idpsyncd::directory::Directory;
use idpsyncd::model::{LocalGrant, State, Status, UserId};
use idpsyncd::plan::{ChangeView, Held, Plan, TokenSet};
use idpsyncd::policy::Effect;
use idpsyncd::store::{Commit, CommitError, HistoryFilter, Meta, ScopeStatus, SourceUpdate};
use proptest::prelude::*;
use store_support::door::{Reader, Writer};
use store_support::*;
use tempfile::TempDir;

/// What gateways read.
const VIEWS: [&str; 9] = [
    "gateway_meta",
    "gateway_user",
    "gateway_user_link",
    "gateway_user_role",
    "gateway_decision",
    "gateway_role_decision",
    "gateway_role_policy",
    "gateway_token",
    "gateway_workload_identity",
];

fn store() -> (TempDir, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::open(&folder.path().join("store.db")).unwrap();
    (folder, writer)
}

/// A gateway's question, through a connection of its own: rows of texts, NULL as `-`.
fn ask(folder: &TempDir, sql: &str) -> Vec<String> {
    use rusqlite::types::ValueRef;
    let path = folder.path().join("store.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement
        .query_map([], |row| {
            let cells: Vec<String> = (0..columns)
                .map(|column| match row.get_ref(column).unwrap() {
                    ValueRef::Null => "-".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    _ => panic!("neither text nor number"),
                })
                .collect();
            Ok(cells.join(" "))
        })
        .unwrap();
    rows.map(Result::unwrap).collect()
}

fn changes_of(writer: &Writer, filter: &HistoryFilter) -> Vec<ChangeView> {
    let rows = writer.reader().unwrap().history(filter).unwrap();
    rows.into_iter().map(|row| row.change).collect()
}

fn company() -> World {
    let mut world = World::default();
    world.role(role("admin", vec![policy(Effect::Allow, &["*:*"], Some(&["*"]))]));
    world.role(role(
        "ml",
        vec![
            policy(Effect::Allow, &["workflow:*", "pool:List"], Some(&["pool/ml-*", "pool/x"])),
            policy(Effect::Deny, &["pool:Delete"], None),
        ],
    ));
    let mut everyone = role("default", vec![policy(Effect::Allow, &["profile:Read"], None)]);
    everyone.everyone = true;
    world.role(everyone);
    world.catalog = vec![
        request("pool:List", None),
        request("workflow:Create", Some("pool/ml-training")),
        request("workflow:Create", Some("pool/secret")),
    ];
    world.person(0, "alice").person(1, "bob").person(2, "carol").person(3, "dora");
    world.idp(0, "ml", &["/Eng/ML"]).idp(1, "ml", &["/Eng/ML", "/Ops"]);
    world.idp(2, "admin", &["/Admin"]).local(3, "ml", "ticket 7");
    world
}

#[test]
fn a_new_store_is_empty_and_reads_as_the_state_before_the_first_sync() {
    let (_folder, writer) = store();
    let reader = writer.reader().unwrap();
    let meta = reader.meta().unwrap();
    assert_eq!(meta, Meta { schema_version: 11, ..Meta::default() });
    assert_eq!(World::of(&reader.state().unwrap()), World::default());
    assert_eq!(reader.state().unwrap().next_user, UserId::new(0));
    assert!(reader.held().unwrap().is_none());
    assert!(reader.sources().unwrap().is_empty());
    assert!(reader.mirror("corp").unwrap().is_none());
    assert!(reader.history(&HistoryFilter::default()).unwrap().is_empty());
    assert!(reader.user("alice").unwrap().is_none());
}

#[test]
fn what_hangs_on_who_asks_is_each_ones_own_decision_and_no_role_sets() {
    let (folder, mut writer) = store();
    let mut world = World::default();
    world
        .role(role("a-own", vec![policy(Effect::Allow, &["auth:Token"], Some(&["user/${self}"]))]));
    world.role(role(
        "not-own",
        vec![policy(Effect::Deny, &["auth:Token"], Some(&["user/${self}"]))],
    ));
    world.role(role("z-all", vec![policy(Effect::Allow, &["*:*"], Some(&["*"]))]));
    world.catalog = vec![
        request("auth:Token", None),
        request("auth:Token", Some("user/alice")),
        request("auth:Token", Some("user/bob")),
        request("auth:Token", Some("user/dora")),
    ];
    world.person(0, "alice").person(1, "bob").person(2, "carol").person(3, "dora");
    for user in 0..4 {
        world.idp(user, "a-own", &["/all"]);
    }
    // Dora may make tokens for everybody but herself, Carol for everybody.
    world.idp(2, "z-all", &["/ops"]).idp(3, "z-all", &["/ops"]).idp(3, "not-own", &["/no"]);
    commit(&mut writer, &plan(&World::default(), &world, at(60)));
    let rows = ask(
        &folder,
        "SELECT username, resource, effect, role FROM gateway_decision \
         WHERE resource <> '' ORDER BY 1, 2",
    );
    assert_eq!(
        rows,
        [
            "alice user/alice Allow a-own",
            "bob user/bob Allow a-own",
            "carol user/alice Allow z-all",
            "carol user/bob Allow z-all",
            "carol user/dora Allow z-all",
            "dora user/alice Allow z-all",
            "dora user/bob Allow z-all",
            "dora user/dora Deny not-own",
        ]
    );
    // Of a set that several share only what is true of each of them; no row is no.
    let rows = ask(
        &folder,
        "SELECT u.username, d.resource, d.effect, d.role FROM gateway_role_decision d \
         JOIN gateway_user u USING (role_set) ORDER BY 1, 2",
    );
    assert_eq!(
        rows,
        [
            "alice  Allow a-own",
            "bob  Allow a-own",
            "carol  Allow a-own",
            "carol user/alice Allow z-all",
            "carol user/bob Allow z-all",
            "carol user/dora Allow z-all",
            "dora  Deny not-own",
        ]
    );
    let patterns = "SELECT resource FROM gateway_role_policy WHERE role = 'a-own'";
    assert_eq!(ask(&folder, patterns), ["user/${self}"]);
    let reader = writer.reader().unwrap();
    let asked = |who: &str| {
        let (action, resource) = request("auth:Token", Some("user/bob"));
        reader.decision(who, &action, resource.as_ref()).unwrap().map(|it| it.effect)
    };
    assert_eq!((asked("bob"), asked("alice")), (Some(Effect::Allow), None));
}

#[test]
fn gateways_find_who_may_do_what_and_why() {
    let (folder, mut writer) = store();
    let committed = commit(&mut writer, &plan(&World::default(), &company(), at(60)));
    assert_eq!(committed.generation, Some(1));

    let rows = ask(&folder, "SELECT username, email, enabled FROM gateway_user ORDER BY 1");
    assert_eq!(
        rows,
        [
            "alice alice@example.org 1",
            "bob bob@example.org 1",
            "carol carol@example.org 1",
            "dora dora@example.org 1"
        ]
    );
    let rows = ask(&folder, "SELECT username, role FROM gateway_user_role ORDER BY 1, 2");
    assert_eq!(
        rows,
        [
            "alice default",
            "alice ml",
            "bob default",
            "bob ml",
            "carol admin",
            "carol default",
            "dora default",
            "dora ml"
        ]
    );
    let sql = "SELECT action, resource, effect, role FROM gateway_decision \
               WHERE username = 'alice' ORDER BY 1, 2";
    assert_eq!(
        ask(&folder, sql),
        ["pool:List  Allow ml", "workflow:Create pool/ml-training Allow ml"]
    );
    let sql = "SELECT DISTINCT role_set FROM gateway_user WHERE username <> 'carol'";
    assert_eq!(ask(&folder, sql).len(), 1, "the same roles are the same set");
    let sql = "SELECT count(*) FROM gateway_role_decision d JOIN gateway_user u USING (role_set) \
               WHERE u.username = 'bob'";
    assert_eq!(ask(&folder, sql), ["2"]);
    let sql = "SELECT position, effect, action, resource FROM gateway_role_policy \
               WHERE role = 'ml' ORDER BY 1, 3, 4";
    assert_eq!(
        ask(&folder, sql),
        [
            "0 Allow pool:List pool/ml-*",
            "0 Allow pool:List pool/x",
            "0 Allow workflow:* pool/ml-*",
            "0 Allow workflow:* pool/x",
            "1 Deny pool:Delete -"
        ]
    );
    let sql =
        "SELECT schema_version, generation, applied_at, oldest_source_read_at FROM gateway_meta";
    assert_eq!(ask(&folder, sql), ["11 1 2023-11-14T22:14:20Z -"]);
}

#[test]
fn the_same_roles_have_the_same_set_in_every_generation() {
    let (folder, mut writer) = store();
    let first = company();
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let sql = "SELECT role_set FROM gateway_user WHERE username = 'alice'";
    let before = ask(&folder, sql);
    let mut second = first.clone();
    second.idp.remove(&(0, "ml".to_owned()));
    commit(&mut writer, &plan(&first, &second, at(1)));
    assert_ne!(ask(&folder, sql), before);
    commit(&mut writer, &plan(&second, &first, at(2)));
    assert_eq!(ask(&folder, sql), before);
    assert_eq!(before[0].len(), 32);
}

#[test]
fn a_role_set_that_nobody_has_any_more_goes_with_its_decisions() {
    let (folder, mut writer) = store();
    let first = company();
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let sets = "SELECT count(DISTINCT role_set) FROM gateway_role_decision";
    assert_eq!(ask(&folder, sets), ["2"]);
    let mut second = first.clone();
    second.idp.remove(&(2, "admin".to_owned()));
    commit(&mut writer, &plan(&first, &second, at(1)));
    assert_eq!(ask(&folder, sets), ["1"]);
}

#[test]
fn decisions_follow_policies_and_catalog() {
    let (folder, mut writer) = store();
    let first = company();
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let mut second = first.clone();
    second.role(role("ml", vec![policy(Effect::Deny, &["workflow:Create"], Some(&["pool/*"]))]));
    commit(&mut writer, &plan(&first, &second, at(1)));
    let sql = "SELECT action, resource, effect, role FROM gateway_decision \
               WHERE username = 'alice' ORDER BY 1, 2";
    assert_eq!(
        ask(&folder, sql),
        ["workflow:Create pool/ml-training Deny ml", "workflow:Create pool/secret Deny ml"]
    );
    let mut third = second.clone();
    third.catalog = vec![request("profile:Read", None)];
    let committed = commit(&mut writer, &plan(&second, &third, at(2)));
    assert_eq!(committed.generation, Some(3));
    assert_eq!(ask(&folder, sql), ["profile:Read  Allow default"]);
    let carol = "SELECT action, role FROM gateway_decision WHERE username = 'carol'";
    assert_eq!(ask(&folder, carol), ["profile:Read admin"]);
}

#[test]
fn who_is_not_enabled_has_no_role_and_no_decision() {
    let (folder, mut writer) = store();
    let mut world = company();
    let status = |world: &mut World, id, status| world.people.get_mut(&id).unwrap().status = status;
    status(&mut world, 0, Status::Disabled { by: "corp".to_owned() });
    status(&mut world, 1, Status::Missing { since: at(0), disabled_by: None });
    status(&mut world, 2, Status::Missing { since: at(0), disabled_by: Some("corp".to_owned()) });
    status(&mut world, 3, Status::Deprovisioned { since: at(0) });
    commit(&mut writer, &plan(&World::default(), &world, at(0)));
    let sql = "SELECT username, enabled FROM gateway_user ORDER BY 1";
    assert_eq!(ask(&folder, sql), ["alice 0", "bob 1", "carol 0", "dora 0"]);
    assert_eq!(ask(&folder, "SELECT DISTINCT username FROM gateway_user_role"), ["bob"]);
    assert_eq!(ask(&folder, "SELECT DISTINCT username FROM gateway_decision"), ["bob"]);
    let detail = writer.reader().unwrap().user("alice").unwrap().unwrap();
    assert_eq!(detail.grants.len(), 1, "grants are kept for the return");
    assert!(detail.roles.is_empty());
}

#[test]
fn a_username_shows_once_as_the_person_who_has_it_now() {
    let (folder, mut writer) = store();
    let mut first = World::default();
    first.person(0, "alice").person(1, "bob");
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let mut second = first.clone();
    second.people.get_mut(&0).unwrap().status = Status::Deprovisioned { since: at(1) };
    second.people.get_mut(&1).unwrap().status = Status::Deprovisioned { since: at(1) };
    second.person(2, "alice");
    second.people.get_mut(&2).unwrap().email = "new@example.org".to_owned();
    commit(&mut writer, &plan(&first, &second, at(1)));
    let sql = "SELECT username, email, enabled FROM gateway_user ORDER BY 1";
    assert_eq!(ask(&folder, sql), ["alice new@example.org 1", "bob bob@example.org 0"]);
    assert_eq!(writer.reader().unwrap().user("alice").unwrap().unwrap().id, UserId::new(2));
    let mut third = second.clone();
    third.people.get_mut(&2).unwrap().status = Status::Deprovisioned { since: at(2) };
    commit(&mut writer, &plan(&second, &third, at(2)));
    assert_eq!(ask(&folder, sql), ["alice new@example.org 0", "bob bob@example.org 0"]);
}

#[test]
fn two_people_can_swap_their_names_in_one_run() {
    let (folder, mut writer) = store();
    let mut first = World::default();
    first.person(0, "alice").person(1, "bob");
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let mut second = first.clone();
    second.people.get_mut(&0).unwrap().username = "bob".to_owned();
    second.people.get_mut(&1).unwrap().username = "alice".to_owned();
    commit(&mut writer, &plan(&first, &second, at(1)));
    let sql = "SELECT username, email FROM gateway_user ORDER BY 1";
    assert_eq!(ask(&folder, sql), ["alice bob@example.org", "bob alice@example.org"]);
    let views =
        changes_of(&writer, &HistoryFilter { user: Some("bob".into()), ..Default::default() });
    assert!(views.iter().any(|view| view.user_id == Some(UserId::new(0))), "who is called so now");
    assert!(
        views.iter().any(|view| view.user_id == Some(UserId::new(1))),
        "who was called so before"
    );
}

#[test]
fn two_people_of_one_name_are_refused_and_nothing_is_changed() {
    let (_folder, mut writer) = store();
    let mut first = World::default();
    first.person(0, "alice").person(1, "bob");
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let before = writer.reader().unwrap().meta().unwrap();
    let mut second = first.clone();
    second.people.get_mut(&1).unwrap().username = "alice".to_owned();
    let plan = plan(&first, &second, at(1));
    let commit = Commit {
        plan: &plan,
        base_version: before.version,
        sources: &[],
        configured: &[],
        settled: None,
    };
    let error = writer.commit(&commit).unwrap_err();
    assert!(matches!(error, CommitError::Inconsistent(_)));
    assert_eq!(
        error.to_string(),
        "the plan does not fit the store: two people would be called `alice`; nothing was applied"
    );
    assert_eq!(writer.reader().unwrap().meta().unwrap(), before);
    assert_eq!(World::of(&writer.reader().unwrap().state().unwrap()), first);
}

#[test]
fn a_plan_made_from_another_state_is_refused() {
    let (_folder, mut writer) = store();
    let first = company();
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let version = writer.reader().unwrap().meta().unwrap().version;
    let mut second = first.clone();
    second.idp.remove(&(0, "ml".to_owned()));
    let plan = plan(&first, &second, at(1));
    let commit = |base_version| Commit {
        plan: &plan,
        base_version,
        sources: &[],
        configured: &[],
        settled: None,
    };
    let error = writer.commit(&commit(version - 1)).unwrap_err();
    assert!(matches!(error, CommitError::Raced));
    assert!(writer.commit(&commit(version)).is_ok());
    // The same plan once more, now with the right version but the wrong state.
    let error = writer.commit(&commit(version + 1)).unwrap_err();
    assert!(matches!(error, CommitError::Inconsistent(_)), "{error}");
}

#[test]
fn a_commit_without_changes_writes_no_generation() {
    let (folder, mut writer) = store();
    let world = company();
    commit(&mut writer, &plan(&World::default(), &world, at(0)));
    let before = writer.reader().unwrap().meta().unwrap();
    let committed = commit(&mut writer, &plan(&world, &world, at(9)));
    assert_eq!(committed.generation, None);
    assert_eq!(writer.reader().unwrap().meta().unwrap(), before);
    assert_eq!(ask(&folder, "SELECT generation FROM gateway_meta"), ["1"]);
}

#[test]
fn the_age_of_the_evidence_is_that_of_the_oldest_complete_read() {
    let (folder, mut writer) = store();
    let world = company();
    let plan = plan(&World::default(), &world, at(0));
    let directory = random_directory(1, 5, 3);
    let digest = digests(&directory);
    let both = ["corp".to_owned(), "files".to_owned()];
    let sources = [update("corp", at(10), None, &directory, &digest)];
    writer
        .commit(&Commit {
            plan: &plan,
            base_version: 0,
            sources: &sources,
            configured: &both,
            settled: None,
        })
        .unwrap();
    let oldest = "SELECT oldest_source_read_at FROM gateway_meta";
    assert_eq!(ask(&folder, oldest), ["-"], "one source was never read");

    let read = |source, moment, complete, error: Option<&str>| SourceUpdate {
        source,
        kind: "file",
        tried_at: at(moment),
        complete,
        error: error.map(str::to_owned),
        scopes: vec![ScopeStatus { scope: "users".into(), count: 5, partial: None }],
        cursor: None,
        mirror: None,
    };
    writer.touch(&[read("files", 20, true, None)], &both).unwrap();
    assert_eq!(ask(&folder, oldest), ["2023-11-14T22:13:30Z"]);
    // Neither a partial nor a failed read makes the evidence younger.
    writer.touch(&[read("corp", 30, false, None)], &both).unwrap();
    writer.touch(&[read("corp", 40, false, Some("connection refused"))], &both).unwrap();
    assert_eq!(ask(&folder, oldest), ["2023-11-14T22:13:30Z"]);
    let sources = writer.reader().unwrap().sources().unwrap();
    assert_eq!(sources[0].error.as_deref(), Some("connection refused"));
    assert_eq!((sources[0].read_at, sources[0].tried_at), (Some(at(10)), Some(at(40))));
    assert_eq!(sources[0].spoke_at, Some(at(30)), "a partial read brings something");
    assert_eq!(sources[0].scopes.len(), 1, "of the last read that brought something");
    writer.touch(&[read("corp", 50, true, None)], &both).unwrap();
    assert_eq!(ask(&folder, oldest), ["2023-11-14T22:13:40Z"]);
    assert_eq!(writer.reader().unwrap().sources().unwrap()[0].error, None);
    assert_eq!(ask(&folder, "SELECT generation FROM gateway_meta"), ["1"]);
}

#[test]
fn a_source_that_left_keeps_its_mirror_while_anything_is_held() {
    let (_folder, mut writer) = store();
    let directory = random_directory(1, 5, 3);
    let digest = digests(&directory);
    let world = company();
    let mut first = plan(&World::default(), &world, at(0));
    let sources = [update("corp", at(10), None, &directory, &digest)];
    let configured = ["corp".to_owned()];
    let run = Some("a run".to_owned());
    let mut go = |plan: &_, base_version, sources: &[_], configured: &[String], settled| {
        writer.commit(&Commit { plan, base_version, sources, configured, settled }).unwrap().version
    };
    let version = go(&first, 0, &sources, &configured, run.clone());
    first = plan(&world, &world, at(1));
    first.held = Some(Held {
        id: "abcdefabcdef".into(),
        since: "2026-01-01T00:00:00Z".into(),
        why: vec!["too many".into()],
        lost_pairs: 3,
        changes: Vec::new(),
    });
    let version = go(&first, version, &[], &[], run.clone());
    let other = plan(&world, &world, at(2));
    let reader = Reader::open(&_folder.path().join("store.db")).unwrap().unwrap();
    assert!(reader.mirror("corp").unwrap().is_some());
    assert!(!reader.sources().unwrap()[0].configured);
    let version = go(&other, version, &[], &[], None);
    assert!(reader.mirror("corp").unwrap().is_some(), "nothing done by hand drops it");
    go(&plan(&world, &world, at(3)), version, &[], &[], run);
    assert!(reader.mirror("corp").unwrap().is_none());
    assert!(reader.sources().unwrap().is_empty());
}

#[test]
fn a_held_plan_is_kept_word_for_word_until_discarded_or_replaced() {
    let (_folder, mut writer) = store();
    let world = company();
    let mut plan = plan(&World::default(), &world, at(0));
    let held = Held {
        id: "0123456789ab".into(),
        since: "2026-01-01T00:00:00Z".into(),
        why: vec!["too many".into()],
        lost_pairs: 3,
        changes: vec![ChangeView {
            change: idpsyncd::model::ChangeKind::GrantRemoved,
            user: Some("alice".into()),
            user_id: Some(UserId::new(0)),
            role: Some("ml".into()),
            token: None,
            origin: Some(idpsyncd::model::Origin::Idp),
            old: None,
            new: None,
            cause: Some(idpsyncd::model::CauseKind::NotAtIdp),
            why: Some("gone".into()),
            reasons: Vec::new(),
        }],
    };
    plan.held = Some(held.clone());
    plan.next_due = Some(at(99));
    let commit = Commit {
        plan: &plan,
        base_version: 0,
        sources: &[],
        configured: &[],
        settled: Some("digest".into()),
    };
    let version = writer.commit(&commit).unwrap().version;
    let reader = writer.reader().unwrap();
    assert_eq!(reader.held().unwrap(), Some(held));
    let meta = reader.meta().unwrap();
    assert_eq!(meta.settled.as_deref(), Some("digest"));
    assert_eq!(meta.next_due, Some(at(99)));
    assert_eq!(meta.version, version);
    assert!(!writer.discard_held("ffffffffffff").unwrap());
    assert!(writer.discard_held("0123456789ab").unwrap());
    assert!(!writer.discard_held("0123456789ab").unwrap());
    let meta = reader.meta().unwrap();
    assert_eq!(meta.settled, None, "the next run asks again");
    assert_eq!(meta.version, version + 1);
    assert!(reader.held().unwrap().is_none());
}

#[test]
fn history_tells_who_gained_and_lost_what_and_why() {
    let (_folder, mut writer) = store();
    let first = company();
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let mut second = first.clone();
    second.idp.remove(&(0, "ml".to_owned()));
    second.local.remove(&(3, "ml".to_owned()));
    second.people.get_mut(&0).unwrap().username = "alison".to_owned();
    commit(&mut writer, &plan(&first, &second, at(100)));

    let reader = writer.reader().unwrap();
    let filter = HistoryFilter { user: Some("alice".into()), ..Default::default() };
    let rows = reader.history(&filter).unwrap();
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let view = &row.change;
            format!(
                "{} {} {} {} {}: {}",
                row.generation,
                view.change,
                view.user.as_deref().unwrap_or("-"),
                view.role.as_deref().unwrap_or("-"),
                view.cause.map(|it| it.as_str()).unwrap_or("-"),
                view.why.as_deref().unwrap_or("-")
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "2 grant-removed alison ml not-at-idp: no source says so any more; it came \
             through group `/Eng/ML/below` → group `/Eng/ML` (corp, mapping[1])",
            "2 user-renamed alison - -: -",
            "1 grant-added alice ml -: through group `/Eng/ML/below` → group `/Eng/ML` (corp, mapping[1])",
            "1 link-added alice - -: known in `corp` by this external id",
            "1 user-created alice - -: -",
        ]
    );
    assert_eq!(rows[0].at, at(100));
    assert_eq!(rows[1].change.old.as_deref(), Some("alice"));
    let by_new_name = HistoryFilter { user: Some("alison".into()), ..Default::default() };
    assert_eq!(reader.history(&by_new_name).unwrap(), rows, "by either name");

    let since = HistoryFilter { since: Some(at(1)), ..Default::default() };
    assert!(reader.history(&since).unwrap().iter().all(|row| row.generation == 2));
    let newest = HistoryFilter { limit: Some(1), ..Default::default() };
    assert_eq!(reader.history(&newest).unwrap().len(), 1);
    let later = HistoryFilter { since: Some(at(101)), ..Default::default() };
    assert!(reader.history(&later).unwrap().is_empty());
    let of_role = HistoryFilter { role: Some("ml".into()), ..Default::default() };
    let views = changes_of(&writer, &of_role);
    assert_eq!(views.len(), 6);
    let dora =
        views.iter().find(|view| view.cause.map(|it| it.as_str()) == Some("by-hand")).unwrap();
    assert_eq!(dora.user.as_deref(), Some("dora"));
    assert_eq!(dora.origin.map(|it| it.as_str()), Some("local"));
    assert_eq!(
        dora.why.as_deref(),
        Some("removed by ops; was given by `ops` at 2023-11-14T22:13:20Z: ticket 7")
    );
}

#[test]
fn history_goes_on_naming_a_role_that_is_gone() {
    let (_folder, mut writer) = store();
    let first = company();
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let mut second = first.clone();
    second.roles.remove("admin");
    second.idp.retain(|(_, role), _| role != "admin");
    commit(&mut writer, &plan(&first, &second, at(1)));
    assert_eq!(World::of(&writer.reader().unwrap().state().unwrap()), second);
    let of_role = HistoryFilter { role: Some("admin".into()), ..Default::default() };
    let codes: Vec<&str> =
        changes_of(&writer, &of_role).into_iter().map(|view| view.change.as_str()).collect();
    assert_eq!(codes, ["role-removed", "grant-removed", "grant-added", "role-added"]);
    // And a role of that name can come back.
    commit(&mut writer, &plan(&second, &first, at(2)));
    assert_eq!(World::of(&writer.reader().unwrap().state().unwrap()), first);
}

#[test]
fn a_role_that_somebody_still_holds_cannot_be_removed() {
    let (_folder, mut writer) = store();
    let first = company();
    commit(&mut writer, &plan(&World::default(), &first, at(0)));
    let mut second = first.clone();
    second.roles.remove("admin");
    second.idp.retain(|(_, role), _| role != "admin");
    let mut plan = plan(&first, &second, at(1));
    plan.changes.retain(|change| !matches!(change, idpsyncd::model::Change::GrantRemoved { .. }));
    let commit =
        Commit { plan: &plan, base_version: 1, sources: &[], configured: &[], settled: None };
    assert!(matches!(writer.commit(&commit), Err(CommitError::Inconsistent(_))));
    assert_eq!(World::of(&writer.reader().unwrap().state().unwrap()), first);
}

#[test]
fn a_token_that_its_store_has_not_as_planned_is_refused_and_nothing_is_changed() {
    let (_folder, mut writer) = store();
    let mut with_token = company();
    with_token.token(0, "ci", 1, &["ml"]);
    commit(&mut writer, &plan(&World::default(), &company(), at(0)));
    let refused = |writer: &mut Writer, old: &World, new: &World| {
        let base_version = writer.reader().unwrap().meta().unwrap().version;
        let plan = plan(old, new, at(1));
        let commit =
            Commit { plan: &plan, base_version, sources: &[], configured: &[], settled: None };
        let error = writer.commit(&commit).unwrap_err();
        assert!(matches!(error, CommitError::Inconsistent(_) | CommitError::Store(_)), "{error}");
    };
    // It loses a role, goes, or gets another set, and is not there at all.
    let mut without_role = with_token.clone();
    without_role.token(0, "ci", 1, &[]);
    let mut disabled = with_token.clone();
    disabled.people.get_mut(&0).unwrap().status = Status::Disabled { by: "corp".to_owned() };
    for next in [&without_role, &company(), &disabled] {
        refused(&mut writer, &with_token, next);
    }
    commit(&mut writer, &plan(&company(), &with_token, at(1)));
    // One of that name is there, or one of that secret.
    refused(&mut writer, &company(), &with_token);
    let mut same_secret = company();
    same_secret.token(1, "other", 1, &["ml"]);
    refused(&mut writer, &company(), &same_secret);
    // A role goes that it has.
    let mut gone = with_token.clone();
    gone.roles.remove("ml");
    gone.idp.retain(|(_, role), _| role != "ml");
    gone.local.retain(|(_, role), _| role != "ml");
    refused(&mut writer, &with_token, &gone);
    assert_eq!(World::of(&writer.reader().unwrap().state().unwrap()), with_token);
}

#[test]
fn a_token_whose_set_changes_alone_makes_a_generation_that_names_nobody() {
    let (folder, mut writer) = store();
    let mut world = company();
    world.token(0, "ci", 1, &["ml"]);
    commit(&mut writer, &plan(&World::default(), &world, at(0)));
    let mut again = plan(&world, &world, at(1));
    assert_eq!(commit(&mut writer, &again).generation, None);
    // As where a role of its owner's gains a policy that denies.
    let all = set_id(&world.effective(0));
    let name = again.tables.texts.add("ci").unwrap();
    let old = set_id(&world.decides(0, &world.tokens[&(0, "ci".to_owned())]));
    again.token_sets = vec![TokenSet { user: UserId::new(0), name, old, new: all }];
    assert_eq!(commit(&mut writer, &again).generation, Some(2));
    let sql = "SELECT t.role_set = u.role_set FROM gateway_token t JOIN gateway_user u \
               USING (username)";
    assert_eq!(ask(&folder, sql), ["1"]);
    assert_eq!(ask(&folder, "SELECT num, silent FROM generation ORDER BY num"), ["1 0", "2 1"]);
}

#[test]
fn history_tells_of_a_token_from_its_making_to_its_end() {
    let (_folder, mut writer) = store();
    let mut one = company();
    one.token(0, "ci", 1, &["default", "ml"]);
    commit(&mut writer, &plan(&World::default(), &one, at(0)));
    let mut two = one.clone();
    two.token(0, "ci", 1, &["default"]);
    commit(&mut writer, &plan(&one, &two, at(1)));
    commit(&mut writer, &plan(&two, &company(), at(2)));
    let filter = HistoryFilter { user: Some("alice".to_owned()), ..HistoryFilter::default() };
    let told: Vec<String> = changes_of(&writer, &filter)
        .iter()
        .filter(|change| change.token.as_deref() == Some("ci"))
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "token-removed alice ci: removed by ops",
            "token-role-lost alice ci ml: no source says so any more",
            "token-added alice ci: by ops until 2023-11-14T22:13:21Z with default, ml: for tests",
        ]
    );
}

#[test]
fn people_are_found_with_all_that_is_known_of_their_grants() {
    let (_folder, mut writer) = store();
    commit(&mut writer, &plan(&World::default(), &company(), at(0)));
    let reader = writer.reader().unwrap();
    let bob = reader.user("bob").unwrap().unwrap();
    assert_eq!(bob.roles, ["default", "ml"]);
    assert_eq!(bob.links, [("corp".to_owned(), "ext-bob".to_owned())]);
    assert_eq!(bob.grants.len(), 1);
    let groups: BTreeSet<String> = bob.grants[0]
        .reasons
        .iter()
        .filter_map(|reason| reason.target().map(ToString::to_string))
        .collect();
    assert_eq!(groups, BTreeSet::from(["group `/Eng/ML`", "group `/Ops`"].map(str::to_owned)));
    let dora = reader.user("dora").unwrap().unwrap();
    let story = LocalGrant { by: "ops".into(), at: at(0), reason: "ticket 7".into(), until: None };
    assert_eq!(dora.grants[0].local, Some(story));

    let mut names = Vec::new();
    reader
        .users(&mut |row| names.push(format!("{}: {}", row.username, row.roles.join(","))))
        .unwrap();
    assert_eq!(
        names,
        ["alice: default,ml", "bob: default,ml", "carol: admin,default", "dora: default,ml"]
    );

    let effective = reader.roles_of("carol").unwrap().unwrap();
    let roles: Vec<&str> = effective.roles.iter().map(|role| role.name.as_str()).collect();
    assert_eq!(roles, ["admin", "default"]);
    assert!(reader.roles_of("nobody").unwrap().is_none());

    let decided = |name: &str, action: &str, resource: Option<&str>| {
        let (action, resource) = request(action, resource);
        let decided = reader.decision(name, &action, resource.as_ref()).unwrap();
        decided.map(|decided| (decided.effect, decided.role))
    };
    assert_eq!(decided("alice", "pool:List", None), Some((Effect::Allow, "ml".to_owned())));
    assert_eq!(decided("alice", "workflow:Create", Some("pool/secret")), None);
    assert_eq!(
        decided("carol", "workflow:Create", Some("pool/secret")),
        Some((Effect::Allow, "admin".to_owned()))
    );
}

#[test]
fn a_mirror_that_somebody_else_wrote_meanwhile_is_not_overwritten() {
    let (_folder, mut writer) = store();
    let world = World::default();
    let plan = plan(&world, &world, at(0));
    let configured = ["corp".to_owned()];
    let (one, two) = (random_directory(1, 5, 3), random_directory(2, 5, 3));
    let (first, second) = (digests(&one), digests(&two));
    let mut go = |sources: &[SourceUpdate<'_>]| {
        writer.commit(&Commit {
            plan: &plan,
            base_version: 0,
            sources,
            configured: &configured,
            settled: None,
        })
    };
    go(&[update("corp", at(0), None, &one, &first)]).unwrap();
    let error = go(&[update("corp", at(1), None, &two, &second)]).unwrap_err();
    assert!(matches!(error, CommitError::Raced));
}

/// The numbers that decide whether someone was left alone.
fn mirror_rows(folder: &TempDir) -> BTreeSet<String> {
    ask(folder, "SELECT id, ext, username, email, flags, federation FROM mirror_user")
        .into_iter()
        .collect()
}

#[test]
fn someone_new_in_a_source_moves_nobody_else() {
    use idpsyncd::directory::{Enabled, NewUser, SnapshotBuilder};
    let (folder, mut writer) = store();
    let world = World::default();
    let plan = plan(&world, &world, at(0));
    let configured = ["corp".to_owned()];
    let build = |exts: &[&str]| {
        let mut build = SnapshotBuilder::new(false);
        for ext in exts {
            build
                .user(&NewUser {
                    ext,
                    username: ext,
                    email: "",
                    email_verified: false,
                    enabled: Enabled::Yes,
                    federation: "f",
                })
                .unwrap();
        }
        build.finish().directory
    };
    let mut go = |old: Option<&idpsyncd::store::StoredMirror>, directory: &Directory| {
        let digest = digests(directory);
        let sources = [update("corp", at(0), old, directory, &digest)];
        writer
            .commit(&Commit {
                plan: &plan,
                base_version: 0,
                sources: &sources,
                configured: &configured,
                settled: None,
            })
            .unwrap();
        writer.reader().unwrap().mirror("corp").unwrap().unwrap()
    };
    let first = go(None, &build(&["b", "d", "f"]));
    let before = mirror_rows(&folder);
    let second = go(Some(&first), &build(&["a", "b", "c", "d", "f"]));
    let after = mirror_rows(&folder);
    assert!(after.is_superset(&before));
    assert_eq!(after.len(), before.len() + 2);
    let third = go(Some(&second), &build(&["a", "f"]));
    assert!(after.is_superset(&mirror_rows(&folder)));
    let empty = go(Some(&third), &build(&[]));
    assert!(empty.mirror.directory.users.is_empty(), "an empty mirror is one, and not none");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_loaded_state_is_the_one_that_was_planned(seed in any::<u64>()) {
        let (folder, mut writer) = store();
        // Does all that this one does by plans that were kept as text meanwhile.
        let (twin, mut twin_writer) = store();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::default();
        let mut before = State::default();
        let mut generation = 0;
        for step in 0..6 {
            let next = next_world(&world, &mut random, at(step));
            let plan = plan(&world, &next, at(step));
            let committed = commit(&mut writer, &plan);
            if !plan.changes.is_empty() {
                generation += 1;
            }
            prop_assert_eq!(committed.generation.is_some(), !plan.changes.is_empty());
            let kept = serde_json::to_string(&plan).unwrap();
            let read: Plan = serde_json::from_str(&kept).unwrap();
            prop_assert_eq!(commit(&mut twin_writer, &read), committed);
            for view in VIEWS {
                let rows = |of: &TempDir| -> Vec<String> {
                    let mut rows = ask(of, &format!("SELECT * FROM {view}"));
                    rows.sort();
                    rows
                };
                prop_assert_eq!(rows(&twin), rows(&folder), "{}", view);
            }
            let all = HistoryFilter::default();
            let reader = writer.reader().unwrap();
            let same = twin_writer.reader().unwrap().history(&all).unwrap();
            prop_assert_eq!(same, reader.history(&all).unwrap());
            let state = reader.state().unwrap();
            prop_assert_eq!(&World::of(&state), &next);
            // What the store does to its rows is what the plan says that a state becomes.
            prop_assert_eq!(&World::of(&plan.applied(&before).unwrap()), &next);
            before = state.clone();
            prop_assert_eq!(state.next_user, plan.tables.next_user);
            prop_assert_eq!(reader.meta().unwrap().generation, generation);
            // What the gateway sees, from the definition.
            let mut pairs = BTreeSet::new();
            for (id, person) in &next.people {
                for role in next.effective(*id) {
                    pairs.insert(format!("{} {role}", person.username));
                }
            }
            let seen = ask(&folder, "SELECT username, role FROM gateway_user_role");
            prop_assert_eq!(seen.len(), pairs.len());
            prop_assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), pairs);
            let decided = |who: &str, effective: &BTreeSet<String>| -> Vec<String> {
                let roles: Vec<_> = effective
                    .iter()
                    .map(|name| (name.as_str(), next.roles[name].policies.as_slice()))
                    .collect();
                let decisions = idpsyncd::policy::decide_catalog(&roles, &next.catalog, None);
                let words = decisions.into_iter().map(|decision| {
                    let (action, resource) = &next.catalog[decision.request];
                    let resource = resource.as_ref().map_or("", |resource| resource.as_str());
                    let effect = decision.effect.as_str();
                    format!("{who} {action} {resource} {effect} {}", decision.role)
                });
                words.collect()
            };
            let people = next.people.iter();
            let decisions: BTreeSet<String> = people
                .flat_map(|(id, person)| decided(&person.username, &next.effective(*id)))
                .collect();
            let sql = "SELECT username, action, resource, effect, role FROM gateway_decision";
            prop_assert_eq!(ask(&folder, sql).into_iter().collect::<BTreeSet<_>>(), decisions);
            let mut tokens = BTreeSet::new();
            for ((user, name), pass) in &next.tokens {
                let set = set_id(&next.decides(*user, pass));
                let until = idpsyncd::model::rfc3339(pass.expires_at);
                tokens.insert(format!("{} {name} {until} {set}", next.people[user].username));
            }
            let sql = "SELECT username, name, expires_at, role_set FROM gateway_token";
            prop_assert_eq!(ask(&folder, sql).into_iter().collect::<BTreeSet<_>>(), tokens);
            let decisions: BTreeSet<String> = next
                .tokens
                .iter()
                .flat_map(|((user, name), pass)| {
                    let who = format!("{} {name}", next.people[user].username);
                    decided(&who, &next.decides(*user, pass))
                })
                .collect();
            let sql = "SELECT t.username, t.name, d.action, d.resource, d.effect, d.role \
                       FROM gateway_token t JOIN gateway_role_decision d USING (role_set)";
            prop_assert_eq!(ask(&folder, sql).into_iter().collect::<BTreeSet<_>>(), decisions);
            let stored = "SELECT count(*) FROM role_set WHERE users = 0 OR users <> \
                          (SELECT count(*) FROM user WHERE role_set = role_set.num) + \
                          (SELECT count(*) FROM token WHERE role_set = role_set.num)";
            prop_assert_eq!(ask(&folder, stored), ["0"]);
            let stored = "SELECT count(*) FROM token_role WHERE token NOT IN (SELECT num FROM token)";
            prop_assert_eq!(ask(&folder, stored), ["0"]);
            let stored = "SELECT count(*) FROM decision_list WHERE sets = 0 OR sets <> \
                          (SELECT count(*) FROM role_set WHERE list = decision_list.num)";
            prop_assert_eq!(ask(&folder, stored), ["0"]);
            let stored = "SELECT count(*) FROM decision \
                          WHERE list NOT IN (SELECT num FROM decision_list)";
            prop_assert_eq!(ask(&folder, stored), ["0"]);
            world = next;
        }
        let rows: u64 = ask(&folder, "SELECT count(*) FROM history")[0].parse().unwrap();
        prop_assert_eq!(writer.reader().unwrap().history(&HistoryFilter::default()).unwrap().len() as u64, rows);
    }

    #[test]
    fn a_loaded_mirror_is_the_directory_that_was_read(seeds in prop::collection::vec(any::<u64>(), 1..6)) {
        let (_folder, mut writer) = store();
        let world = World::default();
        let plan = plan(&world, &world, at(0));
        let configured = ["corp".to_owned(), "other".to_owned()];
        for seed in seeds {
            for name in &configured {
                let old = writer.reader().unwrap().mirror(name).unwrap();
                let directory = random_directory(seed, (seed % 17) as u32 + 1, (seed % 7) as u32 + 1);
                let digest = digests(&directory);
                let sources = [update(name, at(0), old.as_ref(), &directory, &digest)];
                let base_version = writer.reader().unwrap().meta().unwrap().version;
                let commit = Commit {
                    plan: &plan, base_version, sources: &sources, configured: &configured, settled: None,
                };
                prop_assert_eq!(writer.commit(&commit).unwrap().generation, None);
                let mirror = writer.reader().unwrap().mirror(name).unwrap().unwrap();
                prop_assert_eq!(&mirror.digest, &digest.whole.to_string());
                prop_assert_eq!(digests(&mirror.mirror.directory), digest);
            }
        }
    }
}
