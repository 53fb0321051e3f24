//! Sessions that are kept from one use to the next: to open one costs more than a small change does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connect::DatabaseAddress;
use super::session::{Session, SessionError, Statements};
use super::wire::Wire;

/// So many are kept at most.
const MOST: usize = 4;

/// Whatever has not been used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Sessions that nobody uses just now.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Resting>>);

struct Resting {
    since: Instant,
    wire: Arc<Wire>,
    statements: Statements,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Pool {
    /// A session: one that was kept, if it still answers, or a new one.
    pub(super) fn take(pool: &Arc<Pool>, place: &DatabaseAddress) -> Result<Session, SessionError> {
        while let Some(Resting { wire, statements, .. }) = pool.kept() {
            let session = Session::over(wire, statements, Some(Arc::clone(pool)));
            // The server may have gone since: then this one is not asked anything that matters.
            match session.still_ours() {
                Ok(()) => return Ok(session),
                Err(error @ SessionError::Shared) => return Err(error),
                Err(_) => {}
            }
            // What happened to this one most likely has to the others: none of them is waited for as well.
            pool.forget();
        }
        place.connect(Some(Arc::clone(pool)), None)
    }

    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn kept(&self) -> Option<Resting> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|it| it.since.elapsed() < IDLE && !it.wire.is_gone());
        kept.pop()
    }

    /// Keeps what nobody uses any more, in no transaction.
    pub(super) fn keep(&self, wire: Arc<Wire>, statements: Statements) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST {
            kept.push(Resting { since: Instant::now(), wire, statements });
        }
    }
}
