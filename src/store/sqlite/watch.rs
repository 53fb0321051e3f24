//! Noticing that somebody has written the store.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::StoreError;
use super::files::Place;

/// What tells a file from another one, and from itself after a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Footprint {
    file: (u64, u64),
    content: (u64, i64, i64, i64, i64),
    log: Option<u64>,
    index: bool,
}

impl Footprint {
    /// The footprint of the store's file at `path` now. `None`: there is no file.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn of(path: &Path) -> Result<Option<Footprint>, StoreError> {
        let Some(place) = Place::existing(path)? else { return Ok(None) };
        let _acting = place.act()?;
        let Some(meta) = place.file()? else { return Ok(None) };
        Ok(Some(Footprint {
            file: (meta.dev(), meta.ino()),
            content: (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()),
            log: place.side("-wal")?,
            index: place.side("-shm")?.is_some(),
        }))
    }

    /// Whether both are of one file, changed or not.
    #[must_use]
    pub fn same_file(&self, other: &Footprint) -> bool {
        self.file == other.file
    }
}
