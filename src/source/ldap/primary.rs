//! The primary group of a POSIX account (RFC 2307, section 2.2): a number that both bear.

use super::entry::Entry;

/// Whose primary group something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Primary {
    /// Nobody's.
    No,
    /// Those of this `gidNumber`.
    Of(i64),
    /// It has a `gidNumber` that cannot be read.
    Hidden,
}

/// The `gidNumber` of an entry that must have one if it is of the class `class` (lower case).
pub(super) fn primary(entry: &Entry, class: &str) -> Primary {
    let number = entry.texts("gidnumber").next().map(|text| text.trim().parse());
    match number {
        Some(Ok(number)) => Primary::Of(number),
        Some(Err(_)) => Primary::Hidden,
        None if entry.is_a(class) => Primary::Hidden,
        None => Primary::No,
    }
}
