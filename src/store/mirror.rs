//! What each source last said, as the store keeps it.

use crate::directory::Directory;
use crate::model::Time;

/// What a source last said.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// The facts, canonical.
    pub directory: Directory,
    /// [`Directory::digest`] of them.
    pub digest: String,
    /// The last complete read; absent where every read so far was partial.
    pub read_at: Option<Time>,
    pub(super) numbers: Numbers,
}

/// The numbers of a directory's users and refs, place by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) users: Vec<u32>,
    pub(super) refs: Vec<u32>,
}
