//! The store's lock, shared within this process.
//!
//! A full read may hold the lock for minutes. What feeds tell meanwhile is committed beside it: the
//! run knows of that ([`super::FeedLog`]). No other process may.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::model::Time;
use crate::store::{Lead, LockError, RunLock, Store};

/// The lock of one store for everybody in this process who has a clone of this.
#[derive(Clone, Default)]
pub struct SharedLock {
    /// By whose lead it is taken; `None`: by nobody's.
    lead: Option<Arc<dyn Lead>>,
    held: Arc<Mutex<Weak<Mutex<RunLock>>>>,
}

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
    /// The lock that only whoever leads by `lead` gets.
    #[must_use]
    pub fn of(lead: Arc<dyn Lead>) -> Self {
        SharedLock { lead: Some(lead), held: Arc::default() }
    }

    /// Takes the lock of `store`, or a share of it where this process has it. `what` and `now` are
    /// what others are told of its holder.
    ///
    /// # Errors
    /// Another process has it, it cannot be taken, or this process leads no more.
    pub fn take(&self, store: &dyn Store, what: &str, now: Time) -> Result<HeldLock, LockError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.upgrade() {
            return Ok(HeldLock(held));
        }
        let lock = match &self.lead {
            Some(lead) => lead.lock(what, now)?,
            None => store.lock(what, now)?,
        };
        let lock = Arc::new(Mutex::new(lock));
        *held = Arc::downgrade(&lock);
        Ok(HeldLock(lock))
    }
}
