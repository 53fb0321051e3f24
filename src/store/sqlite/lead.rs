//! Who leads: whoever has a lock on a file beside the store. A process that is frozen keeps it: it is on this
//! machine, for whoever looks after it to see.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lock::FileLock;
use crate::model::Time;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::{Lead, LeadError, Leader, LockError, RunLock};

/// The lead.
#[derive(Debug)]
pub(super) struct FileLead {
    path: PathBuf,
    /// `None`: it has resigned.
    lock: Mutex<Option<FileLock>>,
}

impl FileLead {
    /// Takes the lead, if nobody has it.
    pub(super) fn take(path: PathBuf, me: &Leader) -> Result<Self, LeadError> {
        match FileLock::lead(&path, me) {
            Ok(lock) => Ok(FileLead { path, lock: Mutex::new(Some(lock)) }),
            Err(LockError::Held { holder, .. }) => Err(LeadError::Led { by: holder.parse().ok() }),
            Err(LockError::Store(error)) => Err(error.into()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<FileLock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead for FileLead {
    fn beat(&self) -> Result<(), StoreError> {
        if self.held().as_ref().is_some_and(|lock| lock.leads(&self.path)) {
            return Ok(());
        }
        let shown = self.path.display();
        Err(StoreError::new(
            StoreErrorKind::Busy,
            format!("this idpsyncd leads the store `{shown}` no more: its files are others now"),
        ))
    }

    fn lock(&self, what: &str, at: Time) -> Result<RunLock, LockError> {
        self.beat()?;
        FileLock::acquire(&self.path, what, at).map(RunLock::new)
    }

    fn resign(&self) {
        *self.held() = None;
    }
}
