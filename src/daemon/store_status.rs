//! What the daemon looks up in the store between runs.
//!
//! People write to it meanwhile: a grant with an expiry has to be run for at that very moment, an
//! approved plan is not held any more. The main loop looks often enough that this is no matter of
//! ticks. Opening and three rows each time: nothing stays open that an administrator's `mv` would
//! leave behind.

use crate::model::Time;
use crate::plan::HeldHead;
use crate::store::{LockError, Reader, Store, StoreError, StoreErrorKind};

use super::attempt::WHAT;

/// The store between runs.
#[derive(Debug)]
pub struct StoreStatus {
    /// The committed generation.
    pub generation: u64,
    /// The next moment at which something falls due by itself.
    pub next_due: Option<Time>,
    /// What waits for a person.
    pub held: Option<HeldHead>,
    /// As [`crate::store::Meta::version`].
    pub version: i64,
}

/// Looks at the store. `None`: there is none yet.
///
/// # Errors
/// The store cannot be read.
pub fn store_status(store: &dyn Store) -> Result<Option<StoreStatus>, StoreError> {
    let Some(reader) = store.reader()? else { return Ok(None) };
    reader.snapshot(|reader| look(reader)).map(Some)
}

/// Loads the store whole, once: a daemon that says it is ready must have something that gateways
/// can live on. `None`: there is none yet.
///
/// # Errors
/// The store cannot be read, or contradicts itself.
pub fn load(store: &dyn Store) -> Result<Option<StoreStatus>, StoreError> {
    let Some(reader) = store.reader()? else { return Ok(None) };
    reader
        .snapshot(|reader| {
            reader.state()?;
            look(reader)
        })
        .map(Some)
}

fn look(reader: &dyn Reader) -> Result<StoreStatus, StoreError> {
    let meta = reader.meta()?;
    let held = reader.held_head()?;
    let (generation, version) = (meta.generation, meta.version);
    Ok(StoreStatus { generation, next_due: meta.next_due, held, version })
}

/// Makes or migrates the store, so that what is wrong with it shows before anybody is asked
/// anything. `Some`: another process is at work on it, and who; it was left alone.
///
/// # Errors
/// The store cannot be made, migrated or written.
pub fn prepare(store: &dyn Store, now: Time) -> Result<Option<String>, StoreError> {
    let _lock = match store.lock(WHAT, now) {
        Ok(lock) => lock,
        Err(error @ LockError::Held { .. }) => return Ok(Some(error.to_string())),
        Err(LockError::Store(error)) => return Err(error),
    };
    match store.prepare() {
        Ok(()) => Ok(None),
        Err(error) if error.kind == StoreErrorKind::Busy => Ok(Some(error.message)),
        Err(error) => Err(error),
    }
}
