//! Someone whom nobody has seen yet: provisioned before the answer.
//!
//! ```text
//! provision ─► remembered? ─► under way for this person? ─► queue ─► look-up ─► commit
//!              30 s           one flight a person           bounded  8 at once  one at a time
//! ```
//!
//! A thousand requests of one stranger are one look-up; a thousand strangers are eight at once, a
//! bounded queue, and "later" for the rest. An asker waits until a deadline; the look-up goes on
//! without it, so that what it brings is there for the next request. What is told for certain
//! (nobody, refused, committed) is remembered for a short while.
//!
//! Nothing here can take anything from anybody: [`crate::sync::provision`] only adds.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::config::{Config, JustInTime, SourceConfig};
use crate::model::caller::{Caller, KnownBy};
use crate::source::{SourceError, open_source};
use crate::store::Store;
use crate::sync::provision::{self, Heard, Opened, ProvisionOutcome};

/// What came of provisioning someone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Provisioned {
    /// The store knows the person, from this generation on at the latest.
    Committed {
        /// The generation.
        generation: u64,
    },
    /// No source knows them.
    Nobody,
    /// They are not provisioned: why. For the log.
    Refused(Arc<str>),
    /// It cannot be told now: why. For the log.
    Unavailable(Arc<str>),
}

impl Provisioned {
    /// A stable word: `committed`, `nobody`, `refused`, `unavailable`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Provisioned::Committed { .. } => "committed",
            Provisioned::Nobody => "nobody",
            Provisioned::Refused(_) => "refused",
            Provisioned::Unavailable(_) => "unavailable",
        }
    }
}

/// Why nobody was heard in time. Each with the time that there was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum Overdue {
    /// Too many look-ups are under way.
    #[error("waited {0:?} for other look-ups to end")]
    Others(Duration),
    /// A source does not answer.
    #[error("the sources did not answer within {0:?}")]
    Sources(Duration),
}

/// What bounds the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Look-ups at once.
    pub at_once: usize,
    /// People who may wait for theirs to begin.
    pub queue: usize,
    /// How long an asker waits, and how long a look-up may wait to begin.
    pub deadline: Duration,
    /// How long a look-up may take once it has begun.
    pub lookup: Duration,
    /// How long an answer is remembered.
    pub memory: Duration,
    /// How many answers are remembered.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            at_once: 8,
            queue: 256,
            deadline: Duration::from_secs(2),
            lookup: Duration::from_secs(10),
            memory: Duration::from_secs(30),
            remembered: 10_000,
        }
    }
}

/// Hears of each look-up. Called from any task; must be quick and must not block.
pub trait Observer: Send + Sync {
    /// A look-up ended, or (`queue-full`) did not begin. `result` is a [`Provisioned::label`] or
    /// `queue-full`; `took` counts from the first request, waiting included.
    fn ended(&self, result: &'static str, took: Duration);
}

/// Hears nothing.
impl Observer for () {
    fn ended(&self, _: &'static str, _: Duration) {}
}

/// Tells the time; a value, so that tests need not wait.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Provisions strangers. Cheap to clone; made anew where the configuration changes.
#[derive(Clone)]
pub struct Provisioner(Arc<Inner>);

/// One person as a token shows them. Another token's answer is no answer for this one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    known_by: KnownBy,
    issuer: Option<String>,
    /// With `claims` the answer hangs on the roles, and on the name: a digest, since a token may
    /// name many.
    claimed: Option<[u8; 32]>,
}

impl Key {
    fn of(caller: &Caller, mode: JustInTime) -> Self {
        let digest = || {
            let mut hash = Sha256::new();
            let name = caller.name.as_deref().unwrap_or_default();
            let roles = caller.roles.iter().flatten().map(String::as_str);
            for part in std::iter::once(name).chain(roles) {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
            hash.finalize().into()
        };
        Key {
            known_by: caller.known_by.clone(),
            issuer: caller.issuer.clone(),
            claimed: (mode == JustInTime::Claims).then(digest),
        }
    }
}

type Flight = Shared<BoxFuture<'static, Provisioned>>;

struct Inner {
    config: Arc<Config>,
    store: Arc<dyn Store>,
    mode: JustInTime,
    /// Kept, so that connections and tokens serve many look-ups.
    sources: Vec<Opened>,
    limits: Limits,
    observer: Arc<dyn Observer>,
    clock: Clock,
    flights: Mutex<HashMap<Key, Flight>>,
    memory: Cache<Key, (Instant, Provisioned)>,
    lookups: Semaphore,
    /// The store has one writer.
    commits: tokio::sync::Mutex<()>,
}

impl Provisioner {
    /// For the sources of `config`, whose store is `store`, as its `gateway.provision` says (`off` where it has no
    /// gateway). A source that cannot be opened (a secret that cannot be read) is one that does
    /// not answer. Opens no connection.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        store: Arc<dyn Store>,
        limits: Limits,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let open = |source: &SourceConfig| open_source(&tuned(source, &limits));
        let sources = config.sources.iter().map(open).collect();
        Provisioner::with((config, store), sources, limits, observer, Arc::new(Instant::now))
    }

    /// As [`Provisioner::new`], with opened sources (those of `config`, in its order) and a clock.
    #[must_use]
    pub fn with(
        (config, store): (Arc<Config>, Arc<dyn Store>),
        sources: Vec<Result<Box<dyn crate::source::Source>, SourceError>>,
        limits: Limits,
        observer: Arc<dyn Observer>,
        clock: Clock,
    ) -> Self {
        let mode = config.gateway.as_ref().map_or(JustInTime::Off, |gateway| gateway.provision);
        Provisioner(Arc::new(Inner {
            mode,
            sources,
            observer,
            clock,
            flights: Mutex::new(HashMap::new()),
            memory: Cache::new(limits.remembered.max(1)),
            lookups: Semaphore::new(limits.at_once.max(1)),
            commits: tokio::sync::Mutex::new(()),
            limits,
            config,
            store,
        }))
    }

    /// How many people are being looked up or wait for it.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.0.flights().len()
    }

    /// Provisions `caller`, whom the store does not know. Returns within the deadline; the work
    /// goes on to its end even where nobody waits for it any more. Needs a runtime of several
    /// threads.
    pub async fn provision(&self, caller: &Arc<Caller>) -> Provisioned {
        let inner = &self.0;
        if inner.mode == JustInTime::Off {
            return Provisioned::Refused("`gateway.provision` is \"off\"".into());
        }
        let key = Key::of(caller, inner.mode);
        if let Some(known) = inner.remembered(&key) {
            return known;
        }
        let Some(flight) = inner.board(key, caller) else {
            inner.observer.ended("queue-full", Duration::ZERO);
            return Provisioned::Unavailable("too many people are being looked up already".into());
        };
        match tokio::time::timeout(inner.limits.deadline, flight).await {
            Ok(done) => done,
            Err(_) => Provisioned::Unavailable(
                format!("no answer within {:?}; the look-up goes on", inner.limits.deadline).into(),
            ),
        }
    }
}

/// The source with settings that suit look-ups: several at once share its connections, and none
/// takes longer than a look-up may.
fn tuned(source: &SourceConfig, limits: &Limits) -> SourceConfig {
    let kind = source.kind.for_lookups(limits.at_once, limits.lookup);
    SourceConfig { kind, ..source.clone() }
}

impl Inner {
    fn flights(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, key: &Key) -> Option<Provisioned> {
        let (until, known) = self.memory.get(key)?;
        if (self.clock)() < until {
            return Some(known);
        }
        self.memory.remove(key);
        None
    }

    /// Joins the person's look-up, or begins one. `None`: too many are under way.
    fn board(self: &Arc<Self>, key: Key, caller: &Arc<Caller>) -> Option<Flight> {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&key) {
            return Some(flight.clone());
        }
        if flights.len() >= self.limits.at_once.saturating_add(self.limits.queue) {
            return None;
        }
        let task = tokio::spawn(Arc::clone(self).fly(key.clone(), Arc::clone(caller)));
        let fault = "the look-up ended in a fault of this program; please report it";
        let flight =
            async move { task.await.unwrap_or_else(|_| Provisioned::Unavailable(fault.into())) };
        let flight = flight.boxed().shared();
        flights.insert(key, flight.clone());
        Some(flight)
    }

    async fn fly(self: Arc<Self>, key: Key, caller: Arc<Caller>) -> Provisioned {
        let began = (self.clock)();
        // Takes the flight off the list however this ends.
        let landing = Landing { inner: &self, key: &key };
        let done = self.work(&caller).await;
        let now = (self.clock)();
        if !matches!(done, Provisioned::Unavailable(_))
            && let Some(until) = now.checked_add(self.limits.memory)
        {
            self.memory.insert(key.clone(), (until, done.clone()));
        }
        drop(landing);
        self.observer.ended(done.label(), now.saturating_duration_since(began));
        match &done {
            Provisioned::Committed { generation } => {
                tracing::info!(generation, "a stranger is provisioned");
            }
            Provisioned::Nobody => tracing::info!("a stranger whom no source knows"),
            Provisioned::Refused(why) => tracing::info!(%why, "a stranger is not provisioned"),
            Provisioned::Unavailable(why) => {
                tracing::warn!(%why, "a stranger cannot be looked up now");
            }
        }
        done
    }

    async fn work(self: &Arc<Self>, caller: &Arc<Caller>) -> Provisioned {
        let answers = match self.mode {
            JustInTime::Claims => None,
            JustInTime::Lookup | JustInTime::Off => match self.ask(caller).await {
                Ok(answers) => Some(answers),
                Err(why) => return Provisioned::Unavailable(why.to_string().into()),
            },
        };
        let (inner, caller) = (Arc::clone(self), Arc::clone(caller));
        let _turn = self.commits.lock().await;
        let settled = tokio::task::spawn_blocking(move || {
            let (config, store, now) = (&inner.config, &*inner.store, Utc::now());
            match answers {
                Some(answers) => provision::plan_and_commit(config, store, &caller, answers, now),
                None => provision::claims_person(config, store, &caller, now),
            }
        });
        match settled.await {
            Err(error) => {
                Provisioned::Unavailable(format!("a fault of this program: {error}").into())
            }
            Ok(Err(error)) => Provisioned::Unavailable(error.to_string().into()),
            Ok(Ok(
                ProvisionOutcome::Provisioned { generation }
                | ProvisionOutcome::Known { generation },
            )) => Provisioned::Committed { generation },
            Ok(Ok(ProvisionOutcome::Nobody)) => Provisioned::Nobody,
            Ok(Ok(ProvisionOutcome::Refused(why))) => Provisioned::Refused(why.into()),
            Ok(Ok(ProvisionOutcome::Unavailable(why))) => Provisioned::Unavailable(why.into()),
        }
    }

    async fn ask(&self, caller: &Caller) -> Result<Vec<Heard>, Overdue> {
        let Limits { deadline, lookup, .. } = self.limits;
        let Ok(Ok(_permit)) = tokio::time::timeout(deadline, self.lookups.acquire()).await else {
            return Err(Overdue::Others(deadline));
        };
        let asked = provision::ask(&self.config, &self.sources, caller);
        tokio::time::timeout(lookup, asked).await.map_err(|_| Overdue::Sources(lookup))
    }
}

struct Landing<'a> {
    inner: &'a Inner,
    key: &'a Key,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.inner.flights().remove(self.key);
    }
}
