//! One run at a time: a lock beside the store.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::error::{StoreError, StoreErrorKind, io};
use super::files::StorePath;
use crate::model::{Time, rfc3339};
use crate::store::{Leader, LockError, StoreLeader};

/// Held while a process plans and writes. The kernel lets go of it when the process ends, however
/// it ends, so a stale lock cannot exist.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    /// The file names this process.
    signed: bool,
}

impl FileLock {
    /// Takes the lock of the store at `path`, without waiting. `what` is the command, such as
    /// `idpsyncd sync`, and `at` the time now: what the next one is told.
    ///
    /// # Errors
    /// Somebody else has it, or its file cannot be made.
    pub(super) fn acquire(path: &Path, what: &str, at: Time) -> Result<FileLock, LockError> {
        let text = format!("{WHO} {}, `{what}`, since {}\n", std::process::id(), rfc3339(at));
        FileLock::beside(path, ".lock", &text)
    }

    /// Takes the lock of whoever leads, without waiting.
    ///
    /// # Errors
    /// As [`FileLock::acquire`].
    pub(super) fn lead(path: &Path, me: &Leader) -> Result<FileLock, LockError> {
        FileLock::beside(path, LEADER, &format!("{me}\n"))
    }

    /// Who has the lock of whoever leads.
    ///
    /// # Errors
    /// Its file cannot be looked at.
    pub(super) fn leader(path: &Path) -> Result<StoreLeader, StoreError> {
        let place = StorePath::of(path)?;
        let _acting = place.act()?;
        if place.side(LEADER)?.is_none() {
            return Ok(StoreLeader::Nobody);
        }
        let mut file = match place.open_side(LEADER, "open the lock", 0o600) {
            Ok(file) => file,
            Err(error) if error.kind == StoreErrorKind::Denied => return Ok(StoreLeader::Unseen),
            Err(error) => return Err(error),
        };
        let name = place.beside(LEADER);
        match file.try_lock_shared() {
            Ok(()) => Ok(StoreLeader::Nobody),
            Err(TryLockError::WouldBlock) => {
                let text = told(&mut file).map_err(|error| io("read", &name, &error))?;
                Ok(StoreLeader::by(text.and_then(|text| text.parse().ok())))
            }
            Err(TryLockError::Error(error)) => Err(io("lock", &name, &error)),
        }
    }

    /// Whether the file of whoever leads is still the one that is locked. Where that cannot be seen nobody
    /// else can have taken it either.
    pub(super) fn leads(&self, path: &Path) -> bool {
        let there = StorePath::of(path).and_then(|place| place.side_file(LEADER));
        match (there, self.file.metadata()) {
            (Ok(Some(there)), Ok(own)) => (there.dev(), there.ino()) == (own.dev(), own.ino()),
            (Ok(None), _) => false,
            (Err(_), _) | (_, Err(_)) => true,
        }
    }

    /// Takes the lock in the file beside the store that `suffix` names. `text` is what the next one is told.
    ///
    /// # Errors
    /// As [`FileLock::acquire`].
    fn beside(path: &Path, suffix: &str, text: &str) -> Result<FileLock, LockError> {
        let place = StorePath::of(path)?;
        let _acting = place.act()?;
        // Mode 0600: whoever can open the file can take the lock, and a gateway that only reads
        // must not be able to keep the daemon from working.
        let mut file = place.open_side(suffix, "open the lock", 0o600)?;
        let name = place.beside(suffix);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Whoever holds it writes its name right after taking it.
                let holder = match told(&mut file) {
                    Ok(Some(holder)) if !holder.is_empty() => holder,
                    _ => "a process that has just started".to_owned(),
                };
                return Err(LockError::Held { store: path.display().to_string(), holder });
            }
            Err(TryLockError::Error(error)) => {
                return Err(LockError::Store(io("lock", &name, &error)));
            }
        }
        let write = |file: &mut File| -> std::io::Result<bool> {
            match told(file)? {
                // A file of this name that is no lock's loses nothing by being locked.
                None => return Ok(false),
                Some(last) if last.is_empty() => {}
                Some(_) => file.set_len(0)?,
            }
            file.rewind()?;
            file.write_all(text.as_bytes())?;
            Ok(true)
        };
        // The lock holds without the text: a full disk must not stop a run that would free none.
        let signed = write(&mut file).unwrap_or_else(|error| {
            tracing::debug!(%error, "the lock's file stays empty");
            false
        });
        Ok(FileLock { file, signed })
    }
}

/// What the name of the file ends with by which it is known who leads.
const LEADER: &str = ".leader";

/// What the text of a lock begins with.
const WHO: &str = "process";

/// Whom the lock's file names: empty, nobody; `None`: it holds something else.
fn told(file: &mut File) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(500).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).unwrap_or_else(|_| "?".to_owned());
    let ours = text.is_empty() || text.starts_with(WHO);
    Ok(ours.then(|| text.trim().to_owned()))
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if !self.signed {
            return;
        }
        // So that the next holder is never shown under this one's name.
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!(%error, "the lock's file keeps an old name");
        }
    }
}
