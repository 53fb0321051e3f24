//! How sources are followed, kept in the store for `status`: at each change, and otherwise now and then,
//! so that a daemon that is gone is seen by a lag that grows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{FollowMode, Followed, LastDrift, Time};
use crate::source::feed::FollowState;
use crate::store::Store;

/// How often it is said anew that a mirror is current.
const ANEW: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Feed {
    state: FollowState,
    drift: Option<LastDrift>,
    /// When it was kept, as it is now; absent: it was not.
    kept: Option<Instant>,
}

/// Somebody is writing; however that ends, the next one may.
struct Writing(Arc<AtomicBool>);

impl Writing {
    /// `None`: somebody is.
    fn begin(writing: &Arc<AtomicBool>) -> Option<Self> {
        (!writing.swap(true, Ordering::SeqCst)).then(|| Writing(Arc::clone(writing)))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// How sources are followed.
#[derive(Debug, Default)]
pub struct KeptFeeds {
    feeds: Arc<Mutex<BTreeMap<String, Feed>>>,
    /// Somebody is writing it down: a store that is busy must hold up nobody.
    writing: Arc<AtomicBool>,
}

fn locked(feeds: &Mutex<BTreeMap<String, Feed>>) -> MutexGuard<'_, BTreeMap<String, Feed>> {
    feeds.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KeptFeeds {
    /// `source` is followed so.
    pub fn follows(&self, source: &str, state: FollowState) {
        let mut feeds = locked(&self.feeds);
        match feeds.get_mut(source) {
            Some(feed) => {
                // That it is current still is not worth a write each time.
                let same = feed.state.how == state.how && feed.state.why == state.why;
                feed.kept = feed.kept.filter(|_| same);
                feed.state = state;
            }
            None => {
                feeds.insert(source.to_owned(), Feed { state, drift: None, kept: None });
            }
        }
    }

    /// A full read found so much that the feed of `source` had not told.
    pub fn drifted(&self, source: &str, changes: u64, at: Time) {
        if let Some(feed) = locked(&self.feeds).get_mut(source) {
            feed.drift = Some(LastDrift { at, changes });
            feed.kept = None;
        }
    }

    /// Other sources are followed from now on.
    pub fn anew(&self) {
        locked(&self.feeds).clear();
    }

    /// What has changed, or was not said for a while.
    fn due(&self) -> Vec<(String, Followed)> {
        let feeds = locked(&self.feeds);
        let due = feeds.iter().filter(|(_, feed)| {
            let lasts = feed.state.how == FollowMode::Full;
            feed.kept.is_none_or(|kept| !lasts && kept.elapsed() >= ANEW)
        });
        due.map(|(source, feed)| (source.clone(), feed.state.shown(feed.drift))).collect()
    }

    /// Has what is due written to `store`, which must be there, beside everything else; what could not
    /// be is tried again.
    pub fn keep(&self, store: &Arc<dyn Store>) {
        let Some(writing) = Writing::begin(&self.writing) else { return };
        let due = self.due();
        if due.is_empty() {
            return;
        }
        let (feeds, store) = (Arc::clone(&self.feeds), Arc::clone(store));
        tokio::task::spawn_blocking(move || {
            let _writing = writing;
            for (source, followed) in due {
                if let Err(error) = store.keep_followed(&source, &followed) {
                    tracing::debug!(%error, "how sources are followed is not in the store");
                    continue;
                }
                if let Some(feed) = locked(&feeds).get_mut(&source)
                    && (feed.state.how, &feed.state.why, feed.drift)
                        == (followed.mode, &followed.why, followed.last_drift)
                {
                    feed.kept = Some(Instant::now());
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
