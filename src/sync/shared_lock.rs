//! The store's lock, shared within this process.
//!
//! A full read may hold the lock for minutes. What feeds tell meanwhile is committed beside it: the
//! run knows of that ([`super::FeedLog`]). No other process may.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::model::Time;
use crate::store::{LockError, RunLock, Store};

/// The lock of one store for everybody in this process who has a clone of this.
#[derive(Clone, Default)]
pub struct SharedLock(Arc<Mutex<Weak<Mutex<RunLock>>>>);

/// The lock is held until the last of these is dropped.
pub struct HeldLock(#[expect(dead_code, reason = "dropping it lets go")] Arc<Mutex<RunLock>>);

impl fmt::Debug for SharedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedLock")
    }
}

impl fmt::Debug for HeldLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl SharedLock {
    /// Takes the lock of `store`, or a share of it where this process has it. `what` and `now` are
    /// what others are told of its holder.
    ///
    /// # Errors
    /// Another process has it, or it cannot be taken.
    pub fn take(&self, store: &dyn Store, what: &str, now: Time) -> Result<HeldLock, LockError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.upgrade() {
            return Ok(HeldLock(held));
        }
        let lock = Arc::new(Mutex::new(store.lock(what, now)?));
        *held = Arc::downgrade(&lock);
        Ok(HeldLock(lock))
    }
}
