//! What each source last said, as the store keeps it.

use crate::directory::{Mirror, Patch};
use crate::model::Time;

/// A source as the store knows it.
#[derive(Clone, Debug)]
pub struct StoredMirror {
    /// The facts and the cursor.
    pub mirror: Mirror,
    /// [`crate::directory::Directory::digests`] of the facts under the store's key.
    pub digest: String,
    /// The last complete read; absent where every read so far was partial.
    pub read_at: Option<Time>,
    pub(super) numbers: Numbers,
}

/// What becomes of some rows of a source's mirror.
#[derive(Clone, Copy, Debug)]
pub struct MirrorPatch<'a> {
    /// The source.
    pub source: &'a str,
    /// The rows.
    pub patch: &'a Patch,
}

/// The numbers of a directory's users and refs, place by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) users: Vec<u32>,
    pub(super) refs: Vec<u32>,
}
