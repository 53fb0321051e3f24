//! What cannot be tested from outside: other schemas, and faults in the midst of a commit.

use std::ops::ControlFlow;
use std::path::PathBuf;

use rusqlite::Connection;
use rusqlite_migration::M;
use tempfile::TempDir;

use super::reader::SqliteReader;
use super::schema::{SCHEMA_VERSION, STEPS};
use super::writer::SqliteWriter;
use crate::directory::{Delta, DirUserIdx, Proven, RefIdx};
use crate::model::{
    Change, NewToken, RoleIdx, RoleSetId, State, Status, Time, Token, TokenIdx, User, UserId,
};
use crate::plan::{ChangeView, Held, Plan, RoleSets};
use crate::store::Reader;
use crate::store::{
    Access, AccessFilter, AsOf, Began, Commit, CommitError, Meta, MirrorPatch, StoreErrorKind,
    Untold,
};

const V1: M<'static> = M::up(include_str!("schema/v1.sql"));
const FIRST: &[M<'static>] = &[V1];
const V2: M<'static> = M::up(include_str!("schema/v2.sql"));
const SECOND: &[M<'static>] = &[V1, V2];
const V3: M<'static> = M::up(include_str!("schema/v3.sql"));
const V4: M<'static> = M::up(include_str!("schema/v4.sql"));
const V5: M<'static> = M::up(include_str!("schema/v5.sql"));
const V6: M<'static> = M::up(include_str!("schema/v6.sql"));
const V7: M<'static> = M::up(include_str!("schema/v7.sql"));
const V8: M<'static> = M::up(include_str!("schema/v8.sql"));
const V9: M<'static> = M::up(include_str!("schema/v9.sql"));
const V10: M<'static> = M::up(include_str!("schema/v10.sql"));
const V11: M<'static> = M::up(include_str!("schema/v11.sql"));
const WITH_NEXT: &[M<'static>] = &[
    V1,
    V2,
    V3,
    V4,
    V5,
    V6,
    V7,
    V8,
    V9,
    V10,
    V11,
    M::up("ALTER TABLE meta ADD COLUMN extra INTEGER"),
];
const WITH_BROKEN: &[M<'static>] = &[
    V1,
    V2,
    V3,
    V4,
    V5,
    V6,
    V7,
    V8,
    V9,
    V10,
    V11,
    M::up("ALTER TABLE meta ADD COLUMN extra INTEGER; DROP TABLE user; SELECT * FROM no_such"),
];

fn path() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

/// A plan that provisions so many people, from nothing.
fn plan(people: u32) -> Plan {
    let mut state = State { next_user: UserId::new(people), ..State::default() };
    for id in 0..people {
        let username = state.texts.add(&format!("user-{id}")).unwrap();
        let email = state.texts.add(&format!("user-{id}@example.org")).unwrap();
        let role_set = RoleSetId(0);
        let id = UserId::new(id);
        state.users.push(User { id, username, email, status: Status::Enabled, role_set });
    }
    let at = Time::from_timestamp(1_700_000_000, 0).unwrap();
    let changes = (0..people).map(|user| Change::UserCreated { user: UserId::new(user) }).collect();
    let users = vec![RoleSetId(0); people as usize];
    let sets = RoleSets { users, tokens: Vec::new(), roles: [(RoleSetId(0), Vec::new())].into() };
    Plan::leading_to(state, changes, sets, Vec::new(), at).unwrap()
}

fn commit(plan: &Plan) -> Commit<'_> {
    Commit { plan, base_version: 0, sources: &[], configured: &[], settled: None }
}

#[test]
fn the_schema_version_is_said_alike_everywhere() {
    assert_eq!(usize::try_from(SCHEMA_VERSION), Ok(STEPS.len()));
    let (_folder, path) = path();
    let writer = SqliteWriter::open(&path).unwrap();
    let number =
        |sql: &str| -> i64 { writer.connection().query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(number("PRAGMA user_version"), SCHEMA_VERSION);
    assert_eq!(number("SELECT schema_version FROM gateway_meta"), SCHEMA_VERSION);
}

#[test]
fn an_older_store_is_migrated_with_its_content_and_then_refused_by_older_programs() {
    let (_folder, path) = path();
    SqliteWriter::open(&path).unwrap().commit(&commit(&plan(3))).unwrap();
    let writer = SqliteWriter::open_at(&path, WITH_NEXT).unwrap();
    let conn = writer.connection();
    let users: i64 = conn.query_row("SELECT count(*) FROM gateway_user", [], |r| r.get(0)).unwrap();
    assert_eq!(users, 3);
    conn.query_row("SELECT extra FROM meta", [], |_| Ok(())).unwrap();
    drop(writer);
    let before = std::fs::read(&path).unwrap();
    for error in
        [SqliteWriter::open(&path).err().unwrap(), SqliteReader::open(&path).err().unwrap()]
    {
        assert_eq!(error.kind, StoreErrorKind::Newer);
    }
    assert_eq!(std::fs::read(&path).unwrap(), before, "untouched");
}

#[test]
fn what_a_mirror_of_version_1_proves_is_what_its_source_was_once_read_in_full() {
    let (_folder, path) = path();
    let writer = SqliteWriter::open_at(&path, FIRST).unwrap();
    writer
        .connection()
        .execute_batch(
            "INSERT INTO source (num, name, configured, read_at, digest) \
             VALUES (1, 'whole', 1, 1700000000, 'x'), (2, 'partial', 1, NULL, 'y');
             INSERT INTO mirror_container VALUES \
             (4294967296, 0, 'g', 'g', 'g', 'g', NULL, x'', x'', 1), \
             (8589934592, 0, 'g', 'g', 'g', 'g', NULL, x'', x'', 1)",
        )
        .unwrap();
    drop(writer);
    let reader = SqliteWriter::open(&path).unwrap().reader().unwrap();
    let facts = |source: &str| {
        let directory = reader.mirror(source).unwrap().unwrap().mirror.directory;
        (directory.proven, directory.refs[0].known, directory.refs[0].implies_known)
    };
    // Of organizations no program knew anything then.
    let proven = Proven { organizations: false, ..Proven::ALL };
    assert_eq!(facts("whole"), (proven, true, true));
    assert_eq!(facts("partial"), (Proven::default(), true, false));
}

#[test]
fn a_store_of_the_second_schema_knows_who_holds_what_from_its_migration_on() {
    let (_folder, path) = path();
    let old = SqliteWriter::open_at(&path, SECOND).unwrap();
    old.connection()
        .execute_batch(
            "UPDATE meta SET generation = 2, applied_at = 1700000060;
             INSERT INTO generation VALUES (1, 1700000000, 1, 0), (2, 1700000060, 2, 0);
             INSERT INTO role VALUES (7, 'ml', 1, '', 0, 'merge', NULL, '[]');
             INSERT INTO role_set (num, id, users) VALUES (1, '0', 1);
             INSERT INTO role_set_role VALUES (1, 7);
             INSERT INTO user VALUES (0, 'ann', '', 0, NULL, NULL, 1);
             INSERT INTO local_grant VALUES (0, 7, 'ops', 1700000000, 'on call', NULL);",
        )
        .unwrap();
    drop(old);
    let reader = SqliteWriter::open(&path).unwrap().reader().unwrap();
    let now = Time::from_timestamp(1_800_000_000, 0).unwrap();
    let asked = |num| reader.generation(AsOf::Generation(num), now);
    assert!(matches!(asked(1), Err(Untold::NotKept { asked: 1, .. })));
    let migrated = asked(2).unwrap();
    let mut rows = Vec::new();
    let mut each = |access| {
        rows.push(access);
        ControlFlow::Continue(())
    };
    reader.access(2, &AccessFilter::default(), &mut each).unwrap();
    let [Access { since, local, everyone: false, idp: None, .. }] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(*since, Began::Before(migrated));
    assert_eq!(local.as_ref().unwrap().reason, "on call");
}

#[test]
fn a_store_of_the_first_schema_shows_whose_each_id_is_once_it_is_migrated() {
    let (_folder, path) = path();
    let old = SqliteWriter::open_at(&path, FIRST).unwrap();
    old.connection()
        .execute_batch(
            "INSERT INTO role_set (num, id, users) VALUES (1, '0', 3);
             INSERT INTO user VALUES (1, 'ann', '', 0, NULL, NULL, 1), \
                 (2, 'bob', '', 3, 5, NULL, 1), (3, 'cay', '', 1, NULL, 'kc', 1);
             INSERT INTO link_source VALUES (0, 'kc');
             INSERT INTO link VALUES (1, 0, 'id-ann'), (2, 0, 'id-bob'), (3, 0, 'id-cay');",
        )
        .unwrap();
    drop(old);
    let writer = SqliteWriter::open(&path).unwrap();
    let mut all = writer
        .connection()
        .prepare("SELECT source || ' ' || external_id || ' ' || username FROM gateway_user_link")
        .unwrap();
    let rows = all.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut links: Vec<String> = rows.map(Result::unwrap).collect();
    links.sort();
    // Bob is gone: another person may have his name by now.
    assert_eq!(links, ["kc id-ann ann", "kc id-cay cay"]);
}

#[test]
fn a_store_of_the_second_schema_has_no_tokens_and_takes_some() {
    let (_folder, path) = path();
    let old = SqliteWriter::open_at(&path, SECOND).unwrap();
    old.connection()
        .execute_batch(
            "INSERT INTO role_set (num, id, users, list) \
                 VALUES (1, '00000000000000000000000000000000', 1, 1);
             INSERT INTO decision_list VALUES (1, x'00', 1);
             INSERT INTO user VALUES (1, 'ann', '', 0, NULL, NULL, 1);",
        )
        .unwrap();
    drop(old);
    let mut writer = SqliteWriter::open(&path).unwrap();
    let state = writer.reader().unwrap().state().unwrap();
    assert!(state.tokens.list().is_empty());
    let new = NewToken {
        name: "ci".to_owned(),
        digest: [7; 32],
        expires_at: Time::from_timestamp(1_800_000_000, 0).unwrap(),
        roles: Vec::new(),
        description: "nightly".to_owned(),
        by: "root".to_owned(),
        at: Time::from_timestamp(1_700_000_000, 0).unwrap(),
    };
    let changes = vec![Change::TokenAdded { user: UserId::new(1), token: Box::new(new.clone()) }];
    let mut after = state;
    let tokens = std::sync::Arc::make_mut(&mut after.tokens);
    let (name, roles) = (tokens.add_name(&new.name).unwrap(), tokens.roles_place(&[]).unwrap());
    let (digest, expires_at, role_set) = (new.digest, new.expires_at, RoleSetId(1));
    tokens.push(Token { user: UserId::new(1), name, roles, digest, expires_at, role_set }).unwrap();
    let sets = RoleSets {
        users: vec![RoleSetId(0)],
        tokens: vec![(TokenIdx::new(0), RoleSetId(0))],
        roles: [(RoleSetId(0), Vec::new())].into(),
    };
    let again = Plan::leading_to(after, changes, sets, Vec::new(), new.at).unwrap();
    writer.commit(&commit(&again)).unwrap();
    let shown: (String, String, String, String) = writer
        .connection()
        .query_row("SELECT * FROM gateway_token", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    let expected = ("ann", "ci", "2027-01-15T08:00:00Z", "00000000000000000000000000000000");
    assert_eq!((&*shown.0, &*shown.1, &*shown.2, &*shown.3), expected);
}

#[test]
fn what_a_source_called_local_left_is_not_taken_for_the_built_in_sources() {
    let (_folder, path) = path();
    let old = SqliteWriter::open_at(&path, FIRST).unwrap();
    old.connection()
        .execute_batch(
            "INSERT INTO role_set (num, id, users) VALUES (1, '0', 1);
             INSERT INTO source (num, name, configured, read_at, digest) \
             VALUES (1, 'local', 1, 1700000000, 'x');
             INSERT INTO mirror_user VALUES (4294967296, 'id-ann', 'ann', '', 0, NULL);
             INSERT INTO user VALUES (1, 'ann', '', 1, NULL, 'local', 1);
             INSERT INTO link_source VALUES (0, 'local');
             INSERT INTO link VALUES (1, 0, 'id-ann');
             INSERT INTO reason VALUES (1, 'local', 'r', 'g', '[]');",
        )
        .unwrap();
    drop(old);
    let writer = SqliteWriter::open(&path).unwrap();
    for (table, column) in
        [("source", "name"), ("link_source", "name"), ("reason", "source"), ("user", "disabled_by")]
    {
        let sql = format!("SELECT {column} FROM {table}");
        let name: String = writer.connection().query_row(&sql, [], |row| row.get(0)).unwrap();
        assert_eq!(name, "local (before schema 3)", "{table}");
    }
    assert!(writer.reader().unwrap().mirror("local").unwrap().is_none());
}

#[test]
fn what_is_noted_beside_makes_no_store_and_migrates_none() {
    let (_folder, path) = path();
    let store = crate::store::open(&crate::model::StoreConfig::sqlite(&path));
    let followed = crate::model::Followed {
        mode: crate::model::FollowMode::Poll,
        why: None,
        since: Time::from_timestamp(1, 0).unwrap(),
        current_at: None,
        last_drift: None,
    };
    let refused = |kind| {
        assert_eq!(store.keep_followed("corp", &followed).unwrap_err().kind, kind);
        assert_eq!(store.keep_keys("https://issuer", "{}", followed.since).unwrap_err().kind, kind);
    };
    refused(StoreErrorKind::Absent);
    assert!(!path.exists());
    drop(SqliteWriter::open_at(&path, FIRST).unwrap());
    let before = std::fs::read(&path).unwrap();
    refused(StoreErrorKind::Older);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_migration_that_fails_leaves_the_store_as_it_was() {
    let (_folder, path) = path();
    SqliteWriter::open(&path).unwrap().commit(&commit(&plan(3))).unwrap();
    let error = SqliteWriter::open_at(&path, WITH_BROKEN).err().unwrap();
    assert!(error.message.contains("no_such"), "{error}");
    let reader = SqliteReader::open(&path).unwrap().unwrap();
    assert_eq!(reader.meta().unwrap().schema_version, SCHEMA_VERSION);
    assert_eq!(reader.state().unwrap().users.len(), 3);
    let extra =
        Connection::open(&path).unwrap().query_row("SELECT extra FROM meta", [], |_| Ok(()));
    assert!(extra.is_err());
}

#[test]
fn a_disk_that_fills_up_in_the_midst_of_a_commit_changes_nothing() {
    let (_folder, path) = path();
    let mut writer = SqliteWriter::open(&path).unwrap();
    let pages: i64 =
        writer.connection().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let big = plan(2_000);
    for more in [1, 2, 4, 8] {
        let limit = pages + more;
        writer.connection().pragma_update(None, "max_page_count", limit).unwrap();
        let error = writer.commit(&commit(&big)).unwrap_err();
        let CommitError::Store(error) = error else { panic!("{error}") };
        assert_eq!(error.kind, StoreErrorKind::Full);
        let reader = writer.reader().unwrap();
        assert_eq!(
            reader.meta().unwrap(),
            Meta { schema_version: SCHEMA_VERSION, ..Meta::default() }
        );
        assert!(reader.state().unwrap().users.is_empty());
    }
    writer.connection().pragma_update(None, "max_page_count", 1_000_000).unwrap();
    assert_eq!(writer.commit(&commit(&big)).unwrap().generation, Some(1));
}

#[test]
fn two_writers_of_one_store_cannot_both_apply_what_they_planned_from_one_state() {
    let (_folder, path) = path();
    let (mut one, mut two) =
        (SqliteWriter::open(&path).unwrap(), SqliteWriter::open(&path).unwrap());
    let plan = plan(3);
    one.commit(&commit(&plan)).unwrap();
    assert!(matches!(two.commit(&commit(&plan)), Err(CommitError::Raced)));
}

#[test]
fn a_plan_whose_parts_do_not_fit_is_refused_before_anything_is_written() {
    let (_folder, path) = path();
    let mut writer = SqliteWriter::open(&path).unwrap();
    let mut short = plan(3);
    short.user_sets.pop();
    let mut unknown = plan(3);
    unknown.changes.push(Change::UserMissing { user: UserId::new(77) });
    let mut twice = plan(3);
    twice
        .changes
        .push(Change::UserRenamed { user: UserId::new(0), old: crate::model::Text::EMPTY });
    twice.tables.users[1].username = twice.tables.users[0].username;
    let mut no_set = plan(3);
    no_set.set_roles.clear();
    let mut no_role = plan(3);
    no_role.set_roles.insert(RoleSetId(0), vec![RoleIdx::new(5)]);
    for plan in [short, unknown, twice, no_set, no_role] {
        let error = writer.commit(&commit(&plan)).unwrap_err();
        assert!(matches!(error, CommitError::Inconsistent(_)), "{error}");
        assert!(writer.reader().unwrap().state().unwrap().users.is_empty());
    }
}

#[test]
fn what_version_1_decided_stands_until_it_is_decided_anew() {
    let (_folder, path) = path();
    SqliteWriter::open_at(&path, FIRST)
        .unwrap()
        .connection()
        .execute_batch(
            "INSERT INTO role VALUES (1, 'ml', 1, '', 0, 'merge', NULL, '[]');
             INSERT INTO request VALUES (0, 'w:Create', 'pool/a'), (1, 'w:Read', NULL);
             INSERT INTO role_set VALUES (3, '00000000000000000000000000000003', 1), \
                                         (7, '00000000000000000000000000000007', 1);
             INSERT INTO role_set_role VALUES (3, 1), (7, 1);
             INSERT INTO decision VALUES (3, 0, 1, 1), (7, 0, 1, 1), (7, 1, 0, 1);
             INSERT INTO user VALUES (0, 'ada', '', 0, NULL, NULL, 3), (1, 'bob', '', 0, NULL, NULL, 7)",
        )
        .unwrap();
    let writer = SqliteWriter::open(&path).unwrap();
    let rows = |sql: &str| -> Vec<String> {
        let mut statement = writer.connection().prepare(sql).unwrap();
        let found = statement.query_map([], |row| row.get(0)).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    };
    let said =
        ["ada w:Create pool/a Allow ml", "bob w:Create pool/a Allow ml", "bob w:Read  Deny ml"];
    let columns = "action || ' ' || resource || ' ' || effect || ' ' || role";
    assert_eq!(
        rows(&format!("SELECT username || ' ' || {columns} FROM gateway_decision ORDER BY 1")),
        said
    );
    assert_eq!(
        rows(&format!(
            "SELECT username || ' ' || {columns} FROM gateway_role_decision \
             JOIN gateway_user USING (role_set) ORDER BY 1"
        )),
        said
    );
}

/// So many removals that wait.
fn held(id: &str, count: u32) -> Held {
    let change = |user: u32| ChangeView {
        change: crate::model::ChangeKind::GrantRemoved,
        user: Some(format!("user-{user}")),
        user_id: Some(UserId::new(user)),
        role: Some("ml".to_owned()),
        token: None,
        origin: Some(crate::model::Origin::Idp),
        old: None,
        new: None,
        cause: Some(crate::model::CauseKind::NotAtIdp),
        why: Some("no source says so any more".to_owned()),
        reasons: Vec::new(),
    };
    Held {
        id: id.to_owned(),
        since: "2026-01-01T00:00:00Z".to_owned(),
        why: vec!["too many".to_owned()],
        lost_pairs: u64::from(count),
        changes: (0..count).map(change).collect(),
    }
}

#[test]
fn what_is_said_of_a_hold_is_read_without_its_changes_however_many_they_are() {
    let (_folder, path) = path();
    let mut writer = SqliteWriter::open(&path).unwrap();
    let mut plan = plan(1);
    let held = held("0123456789ab", 200_000);
    plan.held = Some(held.clone());
    writer.commit(&commit(&plan)).unwrap();
    let reader = writer.reader().unwrap();
    assert_eq!(reader.held().unwrap().as_ref(), Some(&held));
    // A change that nobody can read shows who reads it.
    let broken = "UPDATE held_change SET change = 'broken' WHERE num = 100000";
    assert_eq!(writer.connection().execute(broken, []).unwrap(), 1);
    assert_eq!(reader.held_head().unwrap(), Some(held.head()));
    let error = reader.held().unwrap_err();
    assert!(error.message.contains("a held change"), "{error}");
    // One that is missing is missed.
    writer.connection().execute("DELETE FROM held_change WHERE num = 100000", []).unwrap();
    let error = reader.held().unwrap_err();
    assert!(error.message.contains("has 200000 changes, 199999 are there"), "{error}");
    assert_eq!(reader.held_head().unwrap(), Some(held.head()));
    assert!(writer.discard_held("0123456789ab").unwrap());
    assert_eq!(rows(&writer), 0);
}

fn rows(writer: &SqliteWriter) -> i64 {
    let count = "SELECT count(*) FROM held_change";
    writer.connection().query_row(count, [], |row| row.get(0)).unwrap()
}

#[test]
fn holding_the_same_plan_again_writes_nothing_and_another_takes_its_place() {
    let (_folder, path) = path();
    let mut writer = SqliteWriter::open(&path).unwrap();
    let mut first = plan(1);
    first.held = Some(held("aaaaaaaaaaaa", 3));
    let version = writer.commit(&commit(&first)).unwrap().version;
    let reader = writer.reader().unwrap();

    // Whatever changes a row from here on fails.
    let guard = "CREATE TEMP TRIGGER guard BEFORE INSERT ON main.held_change \
                 BEGIN SELECT RAISE(ABORT, 'written'); END";
    writer.connection().execute_batch(guard).unwrap();
    let mut again = Plan { changes: Vec::new(), ..first.clone() };
    fn base(plan: &Plan, base_version: i64) -> Commit<'_> {
        Commit { base_version, ..commit(plan) }
    }
    assert_eq!(writer.commit(&base(&again, version)).unwrap().version, version);
    assert_eq!(reader.held().unwrap(), again.held);

    // A commit that fails in the midst of the new rows leaves the old ones.
    again.held = Some(held("bbbbbbbbbbbb", 2));
    let error = writer.commit(&base(&again, version)).unwrap_err();
    assert!(error.to_string().contains("written"), "{error}");
    assert_eq!(reader.held().unwrap(), first.held);

    writer.connection().execute_batch("DROP TRIGGER guard").unwrap();
    let version = writer.commit(&base(&again, version)).unwrap().version;
    assert_eq!(reader.held().unwrap(), again.held);
    assert_eq!(rows(&writer), 2);
    again.held = None;
    writer.commit(&base(&again, version)).unwrap();
    assert_eq!((reader.held_head().unwrap(), rows(&writer)), (None, 0));
}

#[test]
fn a_mirror_of_the_second_schema_can_be_patched_and_says_what_it_said() {
    let (_folder, path) = path();
    let old = SqliteWriter::open_at(&path, SECOND).unwrap();
    // Numbers of a source's rows begin at its own times 2^32. Ann is in both, `b` leads to `a`.
    old.connection()
        .execute_batch(
            "INSERT INTO source (num, name, configured, read_at, digest, next_user, \
                                 next_container, proven) \
             VALUES (1, 'corp', 1, 1700000000, 'unknown since 7', 3, 2, 7), \
                    (2, 'never', 1, NULL, NULL, 0, 0, 0);
             INSERT INTO mirror_user VALUES (4294967297, 'id-ann', 'ann', '', 4, NULL), \
                                            (4294967298, 'id-bob', 'bob', '', 1, NULL);
             INSERT INTO mirror_container VALUES \
             (4294967296, 0, 'a', 'a', 'a', 'a', NULL, x'01', x'', 1, 1), \
             (4294967297, 0, 'b', 'b', 'b', 'b', 0, x'0101', x'00', 1, 1)",
        )
        .unwrap();
    drop(old);
    let mut writer = SqliteWriter::open(&path).unwrap();
    let reader = writer.reader().unwrap();
    let stored = reader.mirror("corp").unwrap().unwrap();
    let digest = stored.mirror.directory.digests(&reader.digest_key().unwrap()).whole;
    assert_eq!(stored.digest, digest.to_string());
    let member = DirUserIdx::new;
    let members = [vec![member(0)], vec![member(0), member(1)]];
    assert_eq!(stored.mirror.directory.members[..], members);
    assert_eq!(stored.mirror.directory.refs[1].parent, Some(RefIdx::new(0)));
    let gone = Delta { gone_people: vec!["id-ann".to_owned()], ..Delta::default() };
    let (rows, key) = reader.mirror_rows("corp", &gone.touched()).unwrap().unwrap();
    assert_eq!(rows.people["id-ann"].within.len(), 2);
    let patch = rows.apply(&gone, &key).unwrap();
    let patch = MirrorPatch { source: "corp", patch: &patch };
    writer.aside(|conn| crate::store::sql::patch_write(conn, &patch)).unwrap();
    let stored = reader.mirror("corp").unwrap().unwrap();
    let digest = stored.mirror.directory.digests(&key).whole;
    assert_eq!(stored.digest, digest.to_string());
    assert_eq!(stored.mirror.directory.members[..], [vec![], vec![member(0)]]);
}
