//! Accounts are found by texts of any length.

use super::keeping::read;
use super::slicing::all_are_found;
use super::{rules, with_people};
use crate::directory::{Directory, Enabled, NewUser, SnapshotBuilder};
use crate::store::{Bears, Store};

rules! {
    accounts_are_found_by_texts_of_any_length
}

/// So many letters of which none can be told from those before it.
fn letters(seed: u64, count: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric()).take(count).collect()
}

/// Accounts whose texts are as long as no index by the text itself takes them; the first two differ in the end alone.
pub(in crate::store) fn long_accounts() -> Directory {
    let shared = letters(1, 6_000);
    let mut builder = SnapshotBuilder::new(false);
    for text in [format!("{shared}a"), format!("{shared}b"), format!("Ä{}", letters(2, 40_000))] {
        builder
            .user(&NewUser {
                ext: &text,
                username: &text,
                email: &format!("{text}@Example.org"),
                email_verified: true,
                enabled: Enabled::Yes,
                federation: "",
            })
            .unwrap();
    }
    builder.finish().directory
}

fn accounts_are_found_by_texts_of_any_length(store: &dyn Store) {
    with_people(store, 1);
    let directory = long_accounts();
    read(store, 1, &directory, None);
    let reader = store.reader().unwrap().unwrap();
    all_are_found(&*reader, &directory);
    // One letter less is nobody's.
    let less = letters(1, 6_000);
    assert_eq!(reader.account("corp", &less).unwrap(), None);
    assert!(reader.bearing("corp", Bears::Username(&less.to_lowercase())).unwrap().is_empty());
}
