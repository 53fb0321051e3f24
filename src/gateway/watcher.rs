//! Follows the store: loads each new generation beside the one that is served, then swaps.
//!
//! One thread of its own looks at the file. Whoever answers requests shares nothing with it but
//! the handle that is swapped: a request never waits for the disk, and never frees a generation
//! that nobody needs any more. What cannot be read now changes nothing: the generation that was
//! loaded goes on being served, and its evidence goes on ageing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;

use super::replica::{Replica, Wanted};
use crate::directory::local;
use crate::model::{Time, rfc3339};
use crate::store::{Footprint, Reader, SCHEMA_VERSION, SourceStatus, StoreError, StoreErrorKind};

/// How often the store is looked at.
const POLL: Duration = Duration::from_millis(250);

/// How long it is left alone at most after a fault that may go by itself.
const BACKOFF_MAX: Duration = Duration::from_secs(4);

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
    pub fn of(sources: &[SourceStatus]) -> Evidence {
        let mut oldest: Option<(Time, &str)> = None;
        let (local, others): (Vec<&SourceStatus>, Vec<&SourceStatus>) = sources
            .iter()
            .filter(|source| source.configured)
            .partition(|source| source.name == local::NAME);
        for source in &others {
            let at = match (source.read_at, source.digest.is_some()) {
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
        let by_hand = |local: &&SourceStatus| {
            local.digest.is_some() && (others.is_empty() || local.holds_anybody())
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
    wake: Mutex<Wake>,
    woken: Condvar,
    ended: AtomicBool,
}

#[derive(Default)]
struct Wake {
    nudged: bool,
    stop: bool,
}

/// The store's generation in memory, always the newest that could be read. Its thread ends when
/// this is dropped, as soon as it has finished what it reads.
pub struct ReplicaWatcher {
    shared: Arc<Shared>,
}

impl ReplicaWatcher {
    /// Begins to follow the store at `path`, which need not exist yet, for what `wanted` will ask.
    /// Returns at once: nothing is loaded yet.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(path: &Path, wanted: Arc<Wanted>) -> std::io::Result<ReplicaWatcher> {
        let shared = Arc::new(Shared {
            loaded: ArcSwapOption::empty(),
            trouble: ArcSwapOption::from_pointee("the store was not looked at yet".to_owned()),
            generation: watch::Sender::new(0),
            wake: Mutex::default(),
            woken: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let mut watch = Watch {
            shared: Arc::clone(&shared),
            path: path.to_owned(),
            wanted,
            seen: None,
            reader: None,
            hopeless: None,
            replaced: false,
            wait: POLL,
            retired: Vec::new(),
        };
        std::thread::Builder::new().name("watch-store".to_owned()).spawn(move || watch.run())?;
        Ok(ReplicaWatcher { shared })
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

    /// Lets the store be looked at now.
    pub fn nudge(&self) {
        self.shared.wake(|wake| wake.nudged = true);
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
        self.shared.wake(|wake| wake.stop = true);
    }
}

impl Shared {
    fn wake(&self, say: impl FnOnce(&mut Wake)) {
        say(&mut self.wake.lock().unwrap_or_else(PoisonError::into_inner));
        self.woken.notify_all();
    }

    /// Waits until somebody nudges, or for `time`. `false`: it is over.
    fn wait(&self, time: Duration) -> bool {
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |wake: &mut Wake| !wake.nudged && !wake.stop;
        let (mut wake, _) = self
            .woken
            .wait_timeout_while(wake, time, quiet)
            .unwrap_or_else(PoisonError::into_inner);
        wake.nudged = false;
        !wake.stop
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
struct Watch {
    shared: Arc<Shared>,
    path: PathBuf,
    wanted: Arc<Wanted>,
    /// How the file stood when the last look began.
    seen: Option<Footprint>,
    /// The store as opened, and the file that was there then.
    reader: Option<(Reader, Footprint)>,
    /// The file whose content cannot be read, and why: it is left alone until it changes.
    hopeless: Option<(Footprint, String)>,
    /// The store is another file than the one that was loaded.
    replaced: bool,
    wait: Duration,
    /// Generations that were swapped out and that a request may still use. They are freed here.
    retired: Vec<Arc<Loaded>>,
}

/// Why a look brought nothing.
enum Nothing {
    /// There is no generation to be had yet.
    Yet(String),
    Fault(StoreError),
    /// The same file and fault as before.
    Hopeless(String),
}

impl From<StoreError> for Nothing {
    fn from(error: StoreError) -> Self {
        Nothing::Fault(error)
    }
}

impl Watch {
    fn run(&mut self) {
        let ended = Ended(Arc::clone(&self.shared));
        loop {
            if let Err(nothing) = self.look() {
                self.unwell(nothing);
            }
            if !ended.0.wait(self.wait) {
                return;
            }
        }
    }

    fn well(&mut self) {
        self.wait = POLL;
        if self.shared.trouble.swap(None).is_some() {
            tracing::info!(store = %self.path.display(), "following the store");
        }
    }

    fn unwell(&mut self, nothing: Nothing) {
        let text = match nothing {
            Nothing::Yet(text) | Nothing::Hopeless(text) => {
                self.wait = POLL;
                text
            }
            Nothing::Fault(error) => {
                // What was opened may be what is wrong.
                self.reader = None;
                self.wait = self.wait.saturating_mul(2).min(BACKOFF_MAX);
                if let (true, Some(seen)) = (is_content(error.kind), self.seen) {
                    self.hopeless = Some((seen, error.message.clone()));
                }
                error.message
            }
        };
        let known = self.shared.trouble.load();
        if known.as_ref().is_none_or(|known| **known != text) {
            tracing::warn!("{text}");
            self.shared.trouble.store(Some(Arc::new(text)));
        }
    }

    fn look(&mut self) -> Result<(), Nothing> {
        self.retired.retain(|loaded| Arc::strong_count(loaded) > 1);
        let was_open = self.reader.is_some();
        match self.attempt() {
            // A store that was at rest when it was opened, and is written now, is opened anew.
            Err(Nothing::Fault(error)) if was_open && error.kind == StoreErrorKind::Busy => {
                self.reader = None;
                self.attempt()
            }
            done => done,
        }
    }

    fn attempt(&mut self) -> Result<(), Nothing> {
        let shown = self.path.display();
        self.seen = None;
        self.seen = Footprint::of(&self.path)?;
        let Some(now) = self.seen else {
            self.replaced = true;
            self.reader = None;
            return Err(Nothing::Yet(format!("there is no store `{shown}` yet: run a sync")));
        };
        // Opening again what failed would fail again, and may cost a descriptor each time.
        match &self.hopeless {
            Some((then, why)) if *then == now => return Err(Nothing::Hopeless(why.clone())),
            _ => self.hopeless = None,
        }
        if self.reader.as_ref().is_some_and(|(_, then)| !then.same_file(&now)) {
            self.replaced = true;
            self.reader = None;
        }
        let (reader, _) = match &mut self.reader {
            Some(opened) => opened,
            none => match Reader::open(&self.path)? {
                Some(reader) => none.insert((reader, now)),
                None => {
                    return Err(Nothing::Yet(format!("the store `{shown}` is empty: run a sync")));
                }
            },
        };
        let old = self.shared.loaded.load_full();
        let began = Instant::now();
        let (old, wanted, replaced) = (old.as_ref(), &self.wanted, self.replaced);
        let (meta, replica, sources) = reader.snapshot(|reader| {
            let meta = reader.meta()?;
            let replica = match old {
                _ if meta.generation == 0 || meta.schema_version != SCHEMA_VERSION => None,
                Some(old) if !replaced => Some(match old.replica.caught_up(reader)? {
                    Some(new) => Arc::new(new),
                    None => Arc::clone(&old.replica),
                }),
                _ => Some(Arc::new(Replica::load(reader, Arc::clone(wanted))?)),
            };
            Ok((meta, replica, reader.sources()?))
        })?;
        if meta.schema_version != SCHEMA_VERSION {
            // Opening it says what that means.
            self.reader = None;
            let text = format!("the store `{shown}` was migrated by another idpsyncd");
            return Err(Nothing::Yet(text));
        }
        let Some(replica) = replica else {
            let text = format!("nothing was committed to the store `{shown}` yet: run a sync");
            return Err(Nothing::Yet(text));
        };
        self.replaced = false;
        // First, so that whoever waited for a generation finds nothing in its way.
        self.well();
        let evidence = Evidence::of(&sources);
        let reads = sources
            .into_iter()
            .filter(|source| source.configured && source.name != local::NAME)
            .map(|source| (source.name, source.read_at))
            .collect();
        self.publish(Loaded { replica, evidence, reads }, began);
        Ok(())
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

/// Whether the fault is in what the file holds, so that the same file has it again.
fn is_content(kind: StoreErrorKind) -> bool {
    match kind {
        StoreErrorKind::NotOurs
        | StoreErrorKind::Newer
        | StoreErrorKind::Older
        | StoreErrorKind::Damaged => true,
        StoreErrorKind::NoFolder
        | StoreErrorKind::Full
        | StoreErrorKind::Denied
        | StoreErrorKind::Busy
        | StoreErrorKind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Evidence;
    use crate::model::Time;
    use crate::store::{ScopeStatus, SourceStatus};

    fn at(seconds: i64) -> Time {
        Time::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    /// A source by its last complete read, its mirror, and when it last brought anything.
    fn source(name: &str, read: Option<i64>, mirror: bool, spoke: Option<i64>) -> SourceStatus {
        SourceStatus {
            name: name.to_owned(),
            kind: Some("ldap".to_owned()),
            configured: true,
            read_at: read.map(at),
            tried_at: Some(at(9_999)),
            spoke_at: spoke.map(at),
            error: None,
            scopes: Vec::new(),
            digest: mirror.then(|| "d".to_owned()),
        }
    }

    #[test]
    fn the_oldest_source_whose_word_counts_is_the_age_of_the_evidence() {
        let left = SourceStatus { configured: false, ..source("left", Some(1), true, Some(1)) };
        let by_hand = |count| SourceStatus {
            scopes: vec![ScopeStatus { scope: "users".to_owned(), count, partial: None }],
            ..source("local", Some(1), true, Some(1))
        };
        let oldest =
            |seconds, name: &str| Evidence::Oldest { at: at(seconds), source: name.into() };
        let table = [
            ("no source", vec![], Evidence::None),
            ("never read", vec![source("a", None, false, None)], Evidence::None),
            ("one that left alone", vec![left.clone()], Evidence::None),
            (
                "two read in full, and one that left",
                vec![
                    source("a", Some(20), true, Some(30)),
                    source("b", Some(10), true, Some(40)),
                    left,
                ],
                oldest(10, "b"),
            ),
            (
                "one that was never tried with success gives nothing",
                vec![source("a", Some(20), true, Some(20)), source("b", None, false, None)],
                oldest(20, "a"),
            ),
            (
                "one that only ever was read in part is as old as that",
                vec![source("a", Some(20), true, Some(20)), source("b", None, true, Some(15))],
                oldest(15, "b"),
            ),
            (
                "a part that was read later makes a complete read no younger",
                vec![source("a", Some(20), true, Some(90))],
                oldest(20, "a"),
            ),
            ("local alone", vec![source("local", Some(1), true, Some(1))], Evidence::Present),
            (
                "local and one that was never read",
                vec![source("a", None, false, None), by_hand(1)],
                Evidence::Present,
            ),
            (
                "a local without anybody, and one that was never read",
                vec![source("a", None, false, None), by_hand(0)],
                Evidence::None,
            ),
            (
                "local makes nothing older, and nothing younger",
                vec![source("a", Some(20), true, Some(20)), by_hand(1)],
                oldest(20, "a"),
            ),
            (
                "a mirror of unknown age",
                vec![source("a", Some(20), true, Some(20)), source("b", None, true, None)],
                Evidence::Ageless("b".into()),
            ),
        ];
        for (what, sources, expected) in table {
            assert_eq!(Evidence::of(&sources), expected, "{what}");
        }
    }

    #[test]
    fn evidence_is_stale_past_its_time_and_where_there_is_none() {
        let evidence = Evidence::Oldest { at: at(0), source: "corp".into() };
        let max = Duration::from_secs(60);
        assert_eq!(evidence.stale(at(60), max), None);
        assert_eq!(evidence.stale(at(-1_000), max), None, "the clock was set back");
        let stale = evidence.stale(at(61), max).unwrap();
        assert_eq!(stale.since, Some(at(0)));
        assert!(stale.words.contains("`corp`") && stale.words.contains("2023-11-14T22:13:20Z"));
        for evidence in [Evidence::None, Evidence::Ageless("corp".into())] {
            assert!(evidence.stale(at(0), Duration::MAX).unwrap().since.is_none());
        }
    }
}
