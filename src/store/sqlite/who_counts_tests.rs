//! Who counts is said in Rust ([`Status::counts`]) and in SQL, by the views and by queries of this
//! room. They say the same of every status.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::writer::SqliteWriter;
use crate::model::{Standing, Status, Time};
use crate::store::Reader;

/// A status of each kind, by a name. Whoever adds one is told to add it here.
fn statuses() -> BTreeMap<&'static str, Status> {
    let since = Time::from_timestamp(1_700_000_000, 0).unwrap();
    let by = || "corp".to_owned();
    let all = [
        Status::Enabled,
        Status::Disabled { by: by() },
        Status::Missing { since, disabled_by: None },
        Status::Missing { since, disabled_by: Some(by()) },
        Status::Deprovisioned { since },
    ];
    let name = |status: &Status| match status {
        Status::Enabled => "enabled",
        Status::Disabled { .. } => "disabled",
        Status::Missing { disabled_by: None, .. } => "missing",
        Status::Missing { disabled_by: Some(_), .. } => "missing and disabled",
        Status::Deprovisioned { .. } => "deprovisioned",
    };
    all.into_iter().map(|status| (name(&status), status)).collect()
}

/// A store in which everybody holds a role that allows a request, may start pods that are somebody
/// in a cloud, is linked and has a token: what differs is the status alone.
fn store(path: &std::path::Path) -> SqliteWriter {
    let writer = SqliteWriter::open(path).unwrap();
    let conn = writer.connection();
    conn.execute_batch(
        "INSERT INTO role VALUES (7, 'ml', 1, '', 0, 'merge', NULL, '[]');
         INSERT INTO role_set (num, id, users, list) VALUES (1, '1', 5, 1);
         INSERT INTO role_set_role VALUES (1, 7);
         INSERT INTO request (num, action, resource) VALUES (1, 'workflow:Create', 'pool/gpu');
         INSERT INTO decision (list, request, whose, allow, role) VALUES (1, 1, 0, 1, 7);
         INSERT INTO workload (num, pool, platform, cloud, identity, why)
         VALUES (1, 'gpu', 'default', 'aws', 'arn', '');
         INSERT INTO link_source VALUES (1, 'corp');",
    )
    .unwrap();
    for (id, (name, status)) in (0..).zip(statuses()) {
        let (code, since, by) = crate::store::sql::status_of(&status);
        conn.execute(
            "INSERT INTO user (id, username, email, status, since, disabled_by, role_set) \
             VALUES (?1, ?2, '', ?3, ?4, ?5, 1)",
            rusqlite::params![id, name, code, since, by],
        )
        .unwrap();
        conn.execute("INSERT INTO link (user, source, ext) VALUES (?1, 1, ?2)", (id, name))
            .unwrap();
        conn.execute(
            "INSERT INTO token VALUES (?1, ?1, 't', randomblob(32), 1800000000, '', 'ops', 0, 1)",
            [id],
        )
        .unwrap();
    }
    writer
}

#[test]
fn sql_and_rust_agree_who_counts_and_who_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let writer = store(&folder.path().join("store.db"));
    let statuses = statuses();
    let of = |wanted: &dyn Fn(&Status) -> bool| -> BTreeSet<String> {
        let names = statuses.iter().filter(|(_, status)| wanted(status));
        names.map(|(name, _)| (*name).to_owned()).collect()
    };
    let who_count = of(&Status::counts);
    assert_eq!(who_count.iter().map(String::as_str).collect::<Vec<_>>(), ["enabled", "missing"]);
    let there = of(&|status| !status.is_deprovisioned());
    let rows = |sql: &str| -> BTreeSet<String> {
        let mut statement = writer.connection().prepare(sql).unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(rows("SELECT username FROM gateway_user").len(), statuses.len());
    for sql in [
        "SELECT username FROM gateway_user WHERE enabled = 1",
        "SELECT username FROM gateway_user_role",
        "SELECT username FROM gateway_decision",
        "SELECT username FROM gateway_workload_identity",
    ] {
        assert_eq!(rows(sql), who_count, "{sql}");
    }
    for sql in ["SELECT username FROM gateway_user_link", "SELECT username FROM gateway_token"] {
        assert_eq!(rows(sql), there, "{sql}");
    }

    let reader = writer.reader().unwrap();
    let mut holders = BTreeSet::new();
    let mut each = |name: &str, _| {
        holders.insert(name.to_owned());
        ControlFlow::Continue(())
    };
    reader.holders(&mut each).unwrap();
    assert_eq!(holders, who_count);
    let reached: BTreeSet<String> =
        reader.reached_by("arn").unwrap().into_iter().map(|reached| reached.user).collect();
    assert_eq!(reached, who_count);
    // What gateways keep is decided in Rust, of what was stored.
    let mut seen = BTreeMap::new();
    let mut each = |user: crate::store::SeenUser<'_>, _: &[crate::store::SeenLink]| {
        seen.insert(user.username.to_owned(), user.status.standing() == Standing::Enabled);
        Ok(())
    };
    reader.seen_users(&[], &mut each).unwrap();
    let expected = statuses.iter().map(|(name, status)| ((*name).to_owned(), status.counts()));
    assert_eq!(seen, expected.collect());
}
