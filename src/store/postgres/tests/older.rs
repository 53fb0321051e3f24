//! Stores of older schemas.

use super::rows::SCHEMA;
use super::{another, store, texts};
use crate::store::conformance::worlds::World;
use crate::store::conformance::{finding, slicing};
use crate::store::postgres::schema::{self, STEPS, Step};
use crate::store::postgres::store::PostgresStore;
use crate::store::{Store as _, StoreErrorKind};

/// Schema 11 with something behind it that fails.
const BROKEN: Step = (11, concat!(include_str!("../schema/v11.sql"), "; SELECT * FROM no_such"));

/// What the schema of a store says, whatever its name is.
fn said(store: &PostgresStore) -> Vec<String> {
    let named = format!("\"{}\".", store.place.config.schema);
    texts(store, SCHEMA).iter().map(|line| line.replace(&named, "")).collect()
}

/// Gives a store the indexes again that it had in schema 10.
fn back(store: &PostgresStore) {
    let hashed: String = STEPS[0]
        .1
        .lines()
        .filter(|line| line.starts_with("CREATE INDEX mirror_user_") && line.contains("USING hash"))
        .map(|line| {
            let name = line.split(' ').nth(2).unwrap();
            format!("DROP INDEX {name}; {line}")
        })
        .collect();
    store
        .session()
        .unwrap()
        .batch(&format!("{hashed} UPDATE meta SET schema_version = 10"))
        .unwrap();
}

#[test]
fn a_store_of_schema_10_finds_everybody_after_its_migration_which_happens_or_does_not() {
    let (Some(of_10), Some(of_now), Some(older)) = (store(), store(), store()) else { return };
    schema::migrate(&of_10.session().unwrap(), &of_10.place, &STEPS[..1]).unwrap();
    of_now.prepare().unwrap();
    assert_ne!(said(&of_10), said(&of_now));

    older.prepare().unwrap();
    slicing::say(&older, &World::default(), &finding::long_accounts());
    back(&older);
    assert_eq!(said(&older), said(&of_10));
    let error = older.reader().err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::Older, "{error}");

    let session = older.session().unwrap();
    assert!(schema::migrate(&session, &older.place, &[STEPS[0], BROKEN]).is_err());
    assert_eq!(said(&older), said(&of_10));
    assert_eq!(texts(&older, "SELECT CAST(schema_version AS text) FROM meta"), ["10"]);

    older.prepare().unwrap();
    assert_eq!(said(&older), said(&of_now));
    let reader = another(&older).reader().unwrap().unwrap();
    assert_eq!(reader.meta().unwrap().schema_version, 11);
    slicing::all_are_found(&*reader, &finding::long_accounts());
}
