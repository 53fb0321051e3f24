//! One run at a time: a lock beside the store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::{StoreError, io};
use super::open::{beside, folder, give_to};
use crate::model::{Time, rfc3339};

/// Held while a process plans and writes. The kernel lets go of it when the process ends, however
/// it ends, so a stale lock cannot exist.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another idpsyncd works on the store `{}`: {holder}; wait for it to end", store.display())]
    Held {
        /// The store.
        store: PathBuf,
        /// Who: process id, command, since when.
        holder: String,
    },
    /// The lock's file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunLock {
    /// Takes the lock of the store at `path`, without waiting. `what` is the command, such as
    /// `idpsyncd sync`, and `at` the time now: what the next one is told.
    ///
    /// # Errors
    /// Somebody else has it, or its file cannot be made.
    pub fn acquire(path: &Path, what: &str, at: Time) -> Result<RunLock, LockError> {
        let home = folder(path)?;
        let name = beside(path, ".lock");
        // Mode 0600: whoever can open the file can take the lock, and a gateway that only reads
        // must not be able to keep the daemon from working.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)
            .map_err(|error| io("open the lock", &name, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Whoever holds it writes its name right after taking it.
                let read = file.take(500).read_to_string(&mut holder);
                let holder = match read {
                    Ok(_) if !holder.trim().is_empty() => holder.trim().to_owned(),
                    _ => "a process that has just started".to_owned(),
                };
                return Err(LockError::Held { store: path.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => {
                return Err(LockError::Store(io("lock", &name, &error)));
            }
        }
        give_to(&file, &home);
        let text = format!("process {}, `{what}`, since {}\n", std::process::id(), rfc3339(at));
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(text.as_bytes())
        };
        // The lock holds without the text: a full disk must not stop a run that would free none.
        if let Err(error) = write(&mut file) {
            tracing::debug!(%error, "the lock's file stays empty");
        }
        Ok(RunLock { file })
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // So that the next holder is never shown under this one's name.
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!(%error, "the lock's file keeps an old name");
        }
    }
}
