//! Follows the store: loads each new generation beside the one that is served, then swaps.
//!
//! One thread of its own waits until the store says that there is something new. Whoever answers
//! requests shares nothing with it but the handle that is swapped: a request never waits for the
//! disk, and never frees a generation that nobody needs any more. What cannot be read now changes nothing: the generation that was
//! loaded goes on being served, and its evidence goes on ageing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;

use super::replica::{Replica, Wanted};
use crate::model::panicked::{own_fault, words_of};
use crate::model::{Time, rfc3339};
use crate::store::{
    Reader, Seen, SourceAge, Store, StoreError, StoreErrorKind, StoreLag, Waker, Watch,
};

/// How often it is tried to free generations that requests still used when they were swapped out.
const FREE_EVERY: Duration = Duration::from_millis(250);

/// A generation, and what backs it.
#[derive(Debug)]
pub struct Loaded {
    /// The generation.
    pub replica: Arc<Replica>,
    /// How old the evidence is that the store was made from.
    pub evidence: Evidence,
    /// Each configured source, and when it was last read in full.
    pub reads: Vec<(String, Option<Time>)>,
}

/// How old what the configured sources said is: the oldest of them counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// No configured source has said anything that counts.
    None,
    /// All that counts is what the store itself says: it is never old.
    Present,
    /// This source's word counts, and nobody knows how old it is.
    Ageless(Arc<str>),
    /// This source's is the oldest.
    Oldest {
        /// When it spoke.
        at: Time,
        /// Its name.
        source: Arc<str>,
    },
}

impl Evidence {
    /// Of what the store knows of its sources. `local` is always of now, and makes nothing older. A
    /// source that was read in full is as old as the
    /// last such read. One that never was gives what its mirror holds, which is as old as the last
    /// read that brought anything; without a mirror it gives nothing, and does not count.
    #[must_use]
    pub fn of(sources: &[SourceAge]) -> Evidence {
        let mut oldest: Option<(Time, &str)> = None;
        let (local, others): (Vec<&SourceAge>, Vec<&SourceAge>) =
            sources.iter().partition(|source| source.by_hand.is_some());
        for source in &others {
            let at = match (source.read_at, source.has_mirror) {
                (Some(at), _) => at,
                (None, true) => match source.spoke_at {
                    Some(at) => at,
                    None => return Evidence::Ageless(source.name.as_str().into()),
                },
                (None, false) => continue,
            };
            if oldest.is_none_or(|(oldest, _)| at < oldest) {
                oldest = Some((at, &source.name));
            }
        }
        // What people said by hand counts of itself, before any other source was read too.
        let by_hand = |local: &&SourceAge| {
            local.has_mirror && (others.is_empty() || local.by_hand == Some(true))
        };
        match oldest {
            Some((at, name)) => Evidence::Oldest { at, source: name.into() },
            None if local.iter().any(by_hand) => Evidence::Present,
            None => Evidence::None,
        }
    }

    /// Why it is not to be acted on at `now`; `None`: it is at most `max` old.
    #[must_use]
    pub fn stale(&self, now: Time, max: Duration) -> Option<Stale> {
        match self {
            Evidence::Present => None,
            Evidence::Oldest { at, source } => {
                // A negative age is that of a clock that was set back: not old.
                let age = now.signed_duration_since(*at).to_std().unwrap_or_default();
                (age > max).then(|| Stale {
                    since: Some(*at),
                    told: "the evidence is too old to decide by",
                    words: format!(
                        "what source `{source}` says is of {}, older than `gateway.max_staleness` \
                         permits: see `idpsyncd status`",
                        rfc3339(*at)
                    ),
                })
            }
            Evidence::Ageless(source) => Some(Stale {
                since: None,
                told: NO_EVIDENCE,
                words: format!("nobody knows how old what source `{source}` says is: sync it"),
            }),
            Evidence::None => Some(Stale {
                since: None,
                told: NO_EVIDENCE,
                words: "no source was read yet: see `idpsyncd status`".to_owned(),
            }),
        }
    }
}

/// What whoever asks is told where nothing is loaded.
pub const NOTHING_LOADED: &str = "there is nothing to decide by at the moment";
/// What whoever asks is told where no source has said anything.
const NO_EVIDENCE: &str = "there is no evidence to decide by yet";

/// Why nothing may be decided now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stale {
    /// Of when the evidence is; absent where there is none, or nothing is loaded.
    pub since: Option<Time>,
    /// Why, for whoever asks: it names no source and no age.
    pub told: &'static str,
    /// Why, in one line, for people who run the gateway.
    pub words: String,
}

/// What the thread and the handle share.
struct Shared {
    loaded: ArcSwapOption<Loaded>,
    /// Why the last look brought nothing; absent: it went well.
    trouble: ArcSwapOption<String>,
    generation: watch::Sender<u64>,
    lag: StoreLag,
    stop: AtomicBool,
    ended: AtomicBool,
}

/// The store's generation in memory, always the newest that could be read. Its thread ends when this is dropped, as soon as it has finished what it reads.
pub struct ReplicaWatcher {
    shared: Arc<Shared>,
    waker: Waker,
}

impl ReplicaWatcher {
    /// Begins to follow `store`, which need not exist yet, for what `wanted` will ask.
    /// Returns at once: nothing is loaded yet.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(store: Arc<dyn Store>, wanted: Arc<Wanted>) -> std::io::Result<ReplicaWatcher> {
        let watch = store.watch();
        let shared = Arc::new(Shared {
            lag: watch.lag(),
            loaded: ArcSwapOption::empty(),
            trouble: ArcSwapOption::from_pointee("the store was not looked at yet".to_owned()),
            generation: watch::Sender::new(0),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let mut thread = Thread {
            shared: Arc::clone(&shared),
            shown: store.shown(),
            wanted,
            another: false,
            retired: Vec::new(),
        };
        let waker = watch.waker();
        std::thread::Builder::new()
            .name("watch-store".to_owned())
            .spawn(move || thread.run(watch))?;
        Ok(ReplicaWatcher { shared, waker })
    }

    /// What is served now; `None`: nothing yet. Take it once a request, so that all of it is
    /// answered from one generation.
    #[must_use]
    pub fn loaded(&self) -> Guard<Option<Arc<Loaded>>> {
        self.shared.loaded.load()
    }

    /// Why the last look at the store brought nothing; `None`: it went well.
    #[must_use]
    pub fn trouble(&self) -> Option<Arc<String>> {
        self.shared.trouble.load_full()
    }

    /// How far what is served is behind the store, as [`StoreLag::told`] has it.
    #[must_use]
    pub fn lag(&self) -> Option<(Duration, bool)> {
        self.shared.lag.told()
    }

    /// Lets the store be looked at now.
    pub fn nudge(&self) {
        self.waker.wake();
    }

    /// Waits until `generation` or a later one is served. `false`: it was not by `deadline`.
    pub async fn at_least(&self, generation: u64, deadline: tokio::time::Instant) -> bool {
        let mut served = self.shared.generation.subscribe();
        let wait = served.wait_for(|served| *served >= generation);
        matches!(tokio::time::timeout_at(deadline, wait).await, Ok(Ok(_)))
    }

    /// Why nothing may be decided at `now`: nothing is loaded, or the evidence is older than
    /// `max_staleness`. `None`: decide. Allocates only to say why.
    #[must_use]
    pub fn stale(&self, now: Time, max_staleness: Duration) -> Option<Stale> {
        if self.shared.ended.load(Ordering::Relaxed) {
            let words = "the store is not followed any more: restart idpsyncd".to_owned();
            return Some(Stale { since: None, told: NOTHING_LOADED, words });
        }
        match &*self.loaded() {
            Some(loaded) => loaded.evidence.stale(now, max_staleness),
            None => {
                let why = self.trouble().map_or(String::new(), |why| format!(": {why}"));
                let words = format!("no generation is loaded{why}");
                Some(Stale { since: None, told: NOTHING_LOADED, words })
            }
        }
    }
}

impl Drop for ReplicaWatcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

/// Tells, however the thread ends.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

/// The thread's own.
struct Thread {
    shared: Arc<Shared>,
    shown: String,
    wanted: Arc<Wanted>,
    /// The store is another one than the one that was loaded, or loading broke off: all of it is loaded.
    another: bool,
    /// Generations that were swapped out and that a request may still use. They are freed here.
    retired: Vec<Arc<Loaded>>,
}

impl Thread {
    fn run(&mut self, mut watch: Box<dyn Watch>) {
        let ended = Ended(Arc::clone(&self.shared));
        loop {
            let most = if self.retired.is_empty() { Duration::MAX } else { FREE_EVERY };
            let news = watch.wait(most);
            if ended.0.stop.load(Ordering::Relaxed) {
                return;
            }
            self.retired.retain(|loaded| Arc::strong_count(loaded) > 1);
            if !news {
                continue;
            }
            let mut unwell = None;
            let looked = watch.look(&mut |reader, seen| {
                unwell = self.look_or_fail(reader, seen)?;
                Ok(())
            });
            if let Some(text) = looked.err().map(|error| error.message).or(unwell) {
                self.unwell(text);
            }
        }
    }

    fn well(&mut self) {
        if self.shared.trouble.swap(None).is_some() {
            tracing::info!(store = %self.shown, "following the store");
        }
    }

    fn unwell(&mut self, text: String) {
        let known = self.shared.trouble.load();
        if known.as_ref().is_none_or(|known| **known != text) {
            tracing::warn!("{text}");
            self.shared.trouble.store(Some(Arc::new(text)));
        }
    }

    /// [`Thread::look`], of which a panic is an error: what was loaded goes on being served, and whatever
    /// was half done counts for nothing.
    fn look_or_fail(
        &mut self,
        reader: &dyn Reader,
        seen: Seen,
    ) -> Result<Option<String>, StoreError> {
        let looked = catch_unwind(AssertUnwindSafe(|| self.look(reader, seen)));
        looked.unwrap_or_else(|panic| {
            self.another = true;
            let message = format!(
                "a new generation cannot be loaded from the store `{}`: {}",
                self.shown,
                own_fault(&words_of(&*panic))
            );
            Err(StoreError { kind: StoreErrorKind::Other, message })
        })
    }

    /// Loads what is new and serves it. `Some`: there is no generation to be had yet, and why.
    fn look(&mut self, reader: &dyn Reader, seen: Seen) -> Result<Option<String>, StoreError> {
        self.another |= seen.another;
        let old = self.shared.loaded.load_full();
        let began = Instant::now();
        let replica = match &old {
            Some(old) if !self.another => match old.replica.caught_up(reader)? {
                Some(new) => Arc::new(new),
                None => Arc::clone(&old.replica),
            },
            _ => Arc::new(Replica::load(reader, Arc::clone(&self.wanted))?),
        };
        // One that was made anew in the place of another says nothing of anybody.
        if replica.generation() == 0 {
            let shown = &self.shown;
            return Ok(Some(format!(
                "nothing was committed to the store `{shown}` yet: run a sync"
            )));
        }
        let sources = reader.source_ages()?;
        self.another = false;
        // First, so that whoever waited for a generation finds nothing in its way.
        self.well();
        let evidence = Evidence::of(&sources);
        let reads = sources
            .into_iter()
            .filter(|source| source.by_hand.is_none())
            .map(|source| (source.name, source.read_at))
            .collect();
        self.publish(Loaded { replica, evidence, reads }, began);
        Ok(None)
    }

    fn publish(&mut self, new: Loaded, began: Instant) {
        let old = self.shared.loaded.load_full();
        let same_snapshot = old.as_ref().is_some_and(|old| Arc::ptr_eq(&old.replica, &new.replica));
        let same_evidence =
            |old: &Arc<Loaded>| old.evidence == new.evidence && old.reads == new.reads;
        if same_snapshot && old.as_ref().is_some_and(same_evidence) {
            return;
        }
        let generation = new.replica.generation();
        if !same_snapshot {
            tracing::info!(
                generation,
                users = new.replica.users(),
                milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "the gateway answers from generation {generation}"
            );
        }
        drop(old);
        self.retired.extend(self.shared.loaded.swap(Some(Arc::new(new))));
        self.shared.generation.send_replace(generation);
    }
}

#[cfg(test)]
mod tests;
