//! How sources are followed, kept in the store for `status`: at each change, and otherwise now and then,
//! so that a daemon that is gone is seen by a lag that grows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::Utc;

use crate::model::{FollowMode, LastDrift, Time};
use crate::source::feed::FollowState;
use crate::store::{Store, StoreError};

/// How often it is said anew that a mirror is current.
const ANEW: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Feed {
    state: FollowState,
    drift: Option<LastDrift>,
    /// When it was kept, as it is now; absent: it was not.
    kept: Option<Instant>,
}

/// How sources are followed.
#[derive(Debug, Default)]
pub struct KeptFeeds(BTreeMap<String, Feed>);

impl KeptFeeds {
    /// `source` is followed so.
    pub fn follows(&mut self, source: &str, state: FollowState) {
        match self.0.get_mut(source) {
            Some(feed) => {
                // That it is current still is not worth a write each time.
                let same = feed.state.how == state.how && feed.state.why == state.why;
                feed.kept = feed.kept.filter(|_| same);
                feed.state = state;
            }
            None => {
                self.0.insert(source.to_owned(), Feed { state, drift: None, kept: None });
            }
        }
    }

    /// A full read found so much that the feed of `source` had not told.
    pub fn drifted(&mut self, source: &str, changes: u64, at: Time) {
        if let Some(feed) = self.0.get_mut(source) {
            feed.drift = Some(LastDrift { at, changes });
            feed.kept = None;
        }
    }

    /// Other sources are followed from now on.
    pub fn anew(&mut self) {
        self.0.clear();
    }

    /// Writes what has changed, or was not said for a while. Blocks on the disk.
    ///
    /// # Errors
    /// The store cannot be written now; it is tried again.
    pub fn keep(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        for (source, feed) in &mut self.0 {
            let lasts = feed.state.how == FollowMode::Full;
            if feed.kept.is_some_and(|kept| lasts || kept.elapsed() < ANEW) {
                continue;
            }
            store.keep_followed(source, &feed.state.shown(feed.drift, Utc::now()))?;
            feed.kept = Some(Instant::now());
        }
        Ok(())
    }
}
