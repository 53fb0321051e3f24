//! Who may, who holds what, since when and why: `who` and `report`, now and as it was.
//!
//! The past is held against what the gateways' views showed when it was the present.
#![cfg(test)]

#[expect(dead_code, reason = "the tests of the store need more of it")]
mod store_support;
mod support;

#[path = "report/commands.rs"]
mod commands;
#[path = "report/runs.rs"]
mod runs;
#[path = "report/worlds.rs"]
mod worlds;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use idpsyncd::model::{LocalGrant, RoleIdx, UserId};
use idpsyncd::store::{Access, AccessChange, AccessFilter, Began};
use store_support::door::Reader;
use support::in_process;

/// The pairs that the gateways' view shows now: username and role.
fn view(store: &Path) -> BTreeSet<(String, String)> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(store, flags).unwrap();
    let mut pairs = conn.prepare("SELECT username, role FROM gateway_user_role").unwrap();
    let pairs = pairs.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    pairs.map(Result::unwrap).collect()
}

/// Why somebody holds a role.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Why {
    everyone: bool,
    idp: Option<String>,
    local: Option<LocalGrant>,
}

/// What somebody held at a generation: when it began, and why.
type Held = BTreeMap<(UserId, String), (u64, Why)>;

fn all(reader: &Reader, generation: u64) -> Vec<Access> {
    let mut rows = Vec::new();
    let filter = AccessFilter::default();
    reader
        .access(generation, &filter, &mut |access| {
            rows.push(access);
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn pairs(rows: &[Access]) -> Vec<(String, String)> {
    rows.iter().map(|row| (row.user.to_string(), row.role.to_string())).collect()
}

fn began(row: &Access) -> u64 {
    match row.since {
        Began::In(generation) => generation.num,
        Began::Before(generation) => panic!("before {generation:?}"),
    }
}

fn held(rows: &[Access]) -> Held {
    rows.iter()
        .map(|row| {
            let Access { user_id, role, everyone, idp, local, .. } = row;
            let idp = idp.as_ref().map(|ways| ways.all());
            let why = Why { everyone: *everyone, idp, local: local.clone() };
            ((*user_id, role.to_string()), (began(row), why))
        })
        .collect()
}

/// What the report says of two generations is what differs between the two lists.
fn differ_as_told(reader: &Reader, from: u64, to: u64) {
    let mut told: BTreeMap<(UserId, String), &str> = BTreeMap::new();
    let key = |access: &Access| (access.user_id, access.role.to_string());
    let (was, is) = (all(reader, from), all(reader, to));
    let was: BTreeMap<_, _> = was.into_iter().map(|row| (key(&row), row)).collect();
    let is: BTreeMap<_, _> = is.into_iter().map(|row| (key(&row), row)).collect();
    let filter = AccessFilter::default();
    reader
        .access_changes((from, to), &filter, &mut |change| {
            let (key, word) = match change {
                AccessChange::Added(row) => {
                    assert_eq!(is[&key(&row)], row);
                    (key(&row), "added")
                }
                AccessChange::Removed(row) => {
                    assert_eq!(was[&key(&row)], row);
                    (key(&row), "removed")
                }
                AccessChange::Changed { was: old, is: new } => {
                    assert_eq!((&was[&key(&old)], &is[&key(&new)]), (&old, &new));
                    assert_ne!(old, new);
                    (key(&new), "changed")
                }
            };
            assert_eq!(told.insert(key, word), None);
            ControlFlow::Continue(())
        })
        .unwrap();
    let keys: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    for key in keys {
        let expected = match (was.get(key), is.get(key)) {
            (Some(_), None) => Some("removed"),
            (None, Some(_)) => Some("added"),
            (Some(was), Some(is)) if was != is => Some("changed"),
            _ => None,
        };
        assert_eq!(told.get(key).copied(), expected, "{key:?} from {from} to {to}");
    }
}
