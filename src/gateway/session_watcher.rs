//! Follows the store's list of ended sessions, in a thread of its own: to load a generation may take
//! seconds, and a session that has ended is not to go on meanwhile.
//!
//! What cannot be read now changes nothing: what is known to have ended has ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;

use super::ended::EndedSessions;
use super::watcher::{NOTHING_LOADED, Stale};
use crate::model::panicked::{own_fault, words_of};
use crate::store::{Reader, Seen, Store, StoreError, StoreErrorKind, Waker, Watch};

/// How far the list was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// Nothing of it yet.
    Nothing,
    /// All of it, at some moment, and what came since.
    All,
    /// Nobody reads it any more.
    Over,
}

/// Puts on a list what has ended by the store's. Its thread ends when this is dropped.
pub struct SessionWatcher {
    list: Arc<EndedSessions>,
    shared: Arc<Shared>,
    waker: Waker,
}

/// What the thread and the handle share.
struct Shared {
    known: watch::Sender<Known>,
    /// The same for whoever answers a request: all of it is known.
    ready: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    fn tell(&self, now: Known) {
        self.ready.store(now == Known::All, Ordering::Relaxed);
        self.known.send_if_modified(|known| std::mem::replace(known, now) != now);
    }
}

impl SessionWatcher {
    /// Begins to put on `list` what is on that of `store`, which need not exist yet: all of it, and what
    /// comes. Returns at once: nothing is read yet.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        store: &Arc<dyn Store>,
        list: &Arc<EndedSessions>,
    ) -> std::io::Result<SessionWatcher> {
        let shared = Arc::new(Shared {
            known: watch::Sender::new(Known::Nothing),
            ready: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let watch = store.watch();
        let waker = watch.waker();
        let thread = Thread {
            list: Arc::clone(list),
            shown: store.shown(),
            place: 0,
            trouble: None,
            told: Told(Arc::clone(&shared)),
        };
        std::thread::Builder::new()
            .name("watch-sessions".to_owned())
            .spawn(move || thread.run(watch))?;
        Ok(SessionWatcher { list: Arc::clone(list), shared, waker })
    }

    /// How much is on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing is on the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Waits until all of the store's list was read once, or nobody will read it.
    pub async fn read(&self) {
        let mut known = self.shared.known.subscribe();
        // Whoever tells is held by this.
        let _told = known.wait_for(|known| *known != Known::Nothing).await;
    }

    /// Why no token may be judged now; `None`: what has ended is known.
    #[must_use]
    pub fn stale(&self) -> Option<Stale> {
        if self.shared.ready.load(Ordering::Relaxed) {
            return None;
        }
        let words = match *self.shared.known.borrow() {
            Known::All => return None,
            Known::Nothing => "which sessions have ended was not read yet",
            Known::Over => "which sessions have ended is not followed any more: restart idpsyncd",
        };
        Some(Stale { since: None, told: NOTHING_LOADED, words: words.to_owned() })
    }
}

impl Drop for SessionWatcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// Tells how far the list was read, and that nobody reads it any more, however the thread ends.
struct Told(Arc<Shared>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.tell(Known::Over);
    }
}

/// The thread's own.
struct Thread {
    list: Arc<EndedSessions>,
    shown: String,
    /// How far the store's list was read.
    place: u64,
    /// Why the last look brought nothing; `None`: it went well.
    trouble: Option<String>,
    told: Told,
}

impl Thread {
    fn run(mut self, mut watch: Box<dyn Watch>) {
        loop {
            let news = watch.wait(Duration::MAX);
            if self.told.0.stop.load(Ordering::Relaxed) {
                return;
            }
            if !news {
                continue;
            }
            match watch.look(&mut |reader, seen| self.look_or_fail(reader, seen)) {
                Ok(()) => {
                    self.trouble = None;
                    self.told.0.tell(Known::All);
                }
                Err(error) => self.unwell(error),
            }
        }
    }

    /// Whoever loads generations says the same of a store that is not there.
    fn unwell(&mut self, error: StoreError) {
        let new = self.trouble.as_ref() != Some(&error.message);
        if new && error.kind != StoreErrorKind::Absent {
            tracing::warn!("which sessions have ended cannot be read: {}", error.message);
        }
        self.trouble = Some(error.message);
    }

    /// [`Thread::look`], of which a panic is an error.
    fn look_or_fail(&mut self, reader: &dyn Reader, seen: Seen) -> Result<(), StoreError> {
        let looked = catch_unwind(AssertUnwindSafe(|| self.look(reader, seen)));
        looked.unwrap_or_else(|panic| {
            let message = format!("store `{}`: {}", self.shown, own_fault(&words_of(&*panic)));
            Err(StoreError { kind: StoreErrorKind::Other, message })
        })
    }

    /// Takes in what is new. Of another store everything is, and so it is by another server, which may count
    /// otherwise; what the one before told stays, and does no harm.
    fn look(&mut self, reader: &dyn Reader, seen: Seen) -> Result<(), StoreError> {
        let place = if seen.another || seen.elsewhere { 0 } else { self.place };
        let since = reader.ended_since(place)?;
        self.list.add(&since.ended, Utc::now());
        self.place = since.place;
        Ok(())
    }
}
