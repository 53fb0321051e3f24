//! The list of ended sessions, as it crosses the door.

use crate::model::SessionEnd;

/// What came onto the list of ended sessions since somebody looked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EndedSince {
    /// What has ended, in the order in which it came.
    pub ended: Vec<SessionEnd>,
    /// How far that leads: where to go on from. 0: nothing was ever on it.
    pub place: u64,
}
