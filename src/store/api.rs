//! The door: what every store can do, and [`update`](#method.update), the one way to change one.
//!
//! A backend implements [`Store`], [`Reader`], [`Transaction`] and [`Watch`]. What it must keep is in
//! `conformance`, a rule a function.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Commit, CommitError, Committed, Lead, LeadError, Leader, LockError, MirrorPatch, Reader,
    Review, SourceUpdate, StoreError, StoreLeader,
};
use crate::model::{Followed, Inconsistent, SessionEnd, Time};
use crate::plan::Plan;

/// A store: opened for each use, so that the value itself holds nothing open that could go stale,
/// or a pool of connections that looks after itself.
pub trait Store: Send + Sync + fmt::Debug {
    /// Where it is, for people: without secrets.
    fn shown(&self) -> String;

    /// Makes the store where there is none, and brings an older one up to what this program writes.
    /// Nothing else does either. Take the lock first.
    ///
    /// # Errors
    /// It cannot be made, migrated or written, or a newer program wrote it. It is as it was.
    fn prepare(&self) -> Result<(), StoreError>;

    /// The store for reading. Creates and alters nothing. `None`: there is none yet.
    ///
    /// # Errors
    /// It cannot be read, or is of another program or version.
    fn reader(&self) -> Result<Option<Box<dyn Reader>>, StoreError>;

    /// Takes the store's lock without waiting: one run at a time, on all hosts. `what` is the
    /// command, such as `idpsyncd sync`, and `at` the time now: what the next one is told.
    ///
    /// # Errors
    /// Somebody else has it, or it cannot be taken.
    fn lock(&self, what: &str, at: Time) -> Result<RunLock, LockError>;

    /// Takes the lead of all daemons on this store, without waiting. `me` is what the others are told.
    ///
    /// # Errors
    /// Another one leads, or the lead cannot be taken.
    fn lead(&self, me: &Leader) -> Result<Arc<dyn Lead>, LeadError>;

    /// Which daemon leads.
    ///
    /// # Errors
    /// It cannot be told.
    fn leader(&self) -> Result<StoreLeader, StoreError>;

    /// Begins to change the store. Callers use [`update`](#method.update).
    ///
    /// # Errors
    /// There is no store ([`super::StoreErrorKind::Absent`]), it cannot be read, or with
    /// [`Turn::Mine`] somebody else has been writing for too long.
    fn begin(&self, turn: Turn) -> Result<Box<dyn Transaction + '_>, StoreError>;

    /// Forgets the held plan `id`. `false`: another one is held, or none.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    fn discard_held(&self, id: &str) -> Result<bool, StoreError>;

    /// Keeps `keys`, a JWK set of public keys, for `issuer`; `at` is when they were read. No plan
    /// depends on that, so this needs no lock.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    fn keep_keys(&self, issuer: &str, keys: &str, at: Time) -> Result<(), StoreError>;

    /// Keeps how `source` is followed; a `last_drift` that is absent leaves the one that is kept. No
    /// plan depends on that, so this needs no lock.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    fn keep_followed(&self, source: &str, followed: &Followed) -> Result<(), StoreError>;

    /// Puts `ended` on the list of ended sessions, where it says more than what is there, and takes off
    /// what has a `last_iat` before `forget`. Whoever follows the store is woken. Places on the list are
    /// seen in their order: who has read up to one finds everything else behind it. No plan depends on
    /// that, so this needs no lock.
    ///
    /// # Errors
    /// The store cannot be written, or there is none. Nothing was changed.
    fn end_sessions(&self, ended: &[SessionEnd], forget: i64) -> Result<(), StoreError>;

    /// Records `review`. No plan depends on that, so this needs no lock.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    fn sign(&self, review: &Review) -> Result<(), StoreError>;

    /// Lets a role of the store's database read what a gateway needs and nothing else, whatever it was let
    /// before; with `tokens` the digests of access tokens too.
    ///
    /// # Errors
    /// There is no such role, it owns the store, the rights cannot be given, or the store is in no database
    /// that has roles. Nothing was changed.
    fn let_read(&self, role: &str, tokens: bool) -> Result<(), StoreError>;

    /// What is amiss with the standby from which gateways would rather read it. `None`: nothing, or there is no
    /// such standby. A store that is not there yet has nothing to compare.
    ///
    /// # Errors
    /// The store itself cannot be read.
    fn standby_fault(&self) -> Result<Option<StandbyFault>, StoreError>;

    /// Follows the store, one that is not there yet too.
    fn watch(&self) -> Box<dyn Watch>;
}

/// Why gateways are not read a store from its standby: said of it.
#[derive(Debug, thiserror::Error)]
pub enum StandbyFault {
    /// It cannot be read, and why.
    #[error("{0}")]
    Unread(StoreError),
    /// The store has not come to it.
    #[error("it has no such store: it follows another server, or has not got so far yet")]
    NotThere,
    /// Its store is another one.
    #[error("it has another store than `store.postgres`: it is no standby of that server")]
    AnotherStore,
    /// It did not have in time what the primary had.
    #[error("it has not had within {} ms what the primary had: look at its replication", .0.as_millis())]
    Behind(Duration),
}

/// Whether others may write while a transaction is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// They may: whoever commits first wins, the other plans anew.
    Anyones,
    /// They wait: the writer's place is taken before anything is read.
    Mine,
}

/// A change of the store under way: read, plan, then commit at most once. Dropped without a commit
/// it has changed nothing.
pub trait Transaction {
    /// The store as it is. With [`Turn::Anyones`] the newest state, which may move between two
    /// questions: nothing that was planned from two states can be committed.
    fn reader(&self) -> &dyn Reader;

    /// Writes everything of `commit`, safe on disk when this returns.
    ///
    /// # Errors
    /// [`CommitError::Raced`]: the store is not at [`Commit::base_version`]. Else the plan does not
    /// fit the store, or it cannot be written. Nothing was changed.
    fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed, CommitError>;

    /// As [`Transaction::commit`], and patches mirrors in the same transaction.
    ///
    /// # Errors
    /// As [`Transaction::commit`]; a mirror is another one than its patch was made for
    /// ([`CommitError::Raced`]).
    fn commit_patches(
        &mut self,
        commit: &Commit<'_>,
        patches: &[MirrorPatch<'_>],
    ) -> Result<Committed, CommitError>;

    /// As [`Transaction::commit`] for a plan that is still to be made: `make` makes it while the
    /// mirrors are written, which need none. That is for a first run, which writes the most: in a
    /// later one it would keep those waiting who want to write meanwhile.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    fn commit_beside(
        &mut self,
        beside: &Beside<'_>,
        make: Box<dyn FnOnce() -> Result<Plan, Inconsistent> + Send + '_>,
    ) -> Result<(Plan, Committed), CommitError>;

    /// Writes how reads went that brought nothing new. No plan depends on that: neither the
    /// generation nor [`super::Meta::version`] changes.
    ///
    /// # Errors
    /// The store cannot be written. Nothing was changed.
    fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError>;

    /// Whether somebody else was faster: a commit was refused as raced, or the store has moved
    /// since this began and nothing was committed.
    fn lost(&self) -> bool;
}

/// A [`Commit`] without its plan.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// As [`Commit::base_version`].
    pub base_version: i64,
    /// As [`Commit::sources`].
    pub sources: &'a [SourceUpdate<'a>],
    /// As [`Commit::configured`].
    pub configured: &'a [String],
    /// What [`super::Meta::settled`] is to be.
    pub settled: &'a str,
}

impl dyn Store + '_ {
    /// Changes the store: `work` reads it, plans, and commits, or says why nothing is to be done.
    ///
    /// Where somebody else committed meanwhile, whatever `work` came to counts for nothing and it
    /// is called once more, with the writer's place taken: then nobody can be faster, so a stream
    /// of small commits cannot keep a large one from ever coming through. The first time nobody is
    /// kept waiting by how long it plans.
    ///
    /// # Errors
    /// Those of `work`, and of the store. Nothing was changed.
    pub fn update<T, E: From<StoreError>>(
        &self,
        mut work: impl FnMut(&mut dyn Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut first = self.begin(Turn::Anyones)?;
        let done = work(&mut *first);
        if !first.lost() {
            return done;
        }
        drop((done, first));
        tracing::debug!("somebody else wrote meanwhile: planning anew, alone");
        let mut second = self.begin(Turn::Mine)?;
        work(&mut *second)
    }
}

/// Follows a store: tells when it may have something new, and shows it.
pub trait Watch: Send {
    /// What ends a [`Watch::wait`] from another thread.
    fn waker(&self) -> Waker;

    /// Waits until a generation was committed, a source was read, or a session has ended, since the last
    /// [`Watch::look`]; until somebody wakes it; or, where the last look failed, until it is worth
    /// trying again. `false`: none of that was so for `most`. It may say `true` without a cause.
    /// Before the first look it does not wait.
    fn wait(&mut self, most: Duration) -> bool;

    /// Lets `work` look at the newest state. `Seen::another` tells whether it is another store than
    /// at the last look that went well (or whether that cannot be known): then what was read before
    /// says nothing about it.
    ///
    /// # Errors
    /// There is no store ([`super::StoreErrorKind::Absent`]), it cannot be read, or `work` says so.
    /// What has failed is not opened again while it is as it was.
    fn look(
        &mut self,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// How far what is shown is behind the store, kept up to date while this is waited in.
    fn lag(&self) -> StoreLag {
        StoreLag::default()
    }
}

/// What a watch tells with what it shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// It is another store than the one that was shown before, or the first; or one whose history is another:
    /// the generation that was shown is none of its own.
    pub another: bool,
    /// It is shown by another server than before, or by one that was started anew: what is no part of a
    /// generation may be otherwise than it was.
    pub elsewhere: bool,
}

/// How far what a watch has shown is behind its store.
#[derive(Clone, Debug, Default)]
pub struct StoreLag(Arc<Mutex<Option<KnownLag>>>);

/// What is known of it.
#[derive(Clone, Copy, Debug)]
struct KnownLag {
    /// When it was last known to be all that there was.
    current: Instant,
    /// It is not any more, or nobody can tell.
    behind: bool,
    by_standby: bool,
}

impl StoreLag {
    fn known(&self) -> std::sync::MutexGuard<'_, Option<KnownLag>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown is read anew; `by_standby`: from one. `all`: it is known to be all that was committed.
    pub(super) fn read(&self, by_standby: bool, all: bool) {
        let mut known = self.known();
        let now = Instant::now();
        let current = if all { now } else { known.map_or(now, |known| known.current) };
        *known = Some(KnownLag { current, behind: !all, by_standby });
    }

    /// What is shown is all that there is, as it was when it was read.
    pub(super) fn still_none(&self) {
        if let Some(known) = &mut *self.known() {
            *known = KnownLag { current: Instant::now(), behind: false, ..*known };
        }
    }

    /// There is something that is not shown yet, or the store cannot be asked.
    pub(super) fn some(&self) {
        if let Some(known) = &mut *self.known() {
            known.behind = true;
        }
    }

    /// For how long it has not been known that everything is shown (zero: it is), and whether what is shown
    /// came from a standby. `None`: nothing was shown yet, or the store is one that is never behind.
    #[must_use]
    pub fn told(&self) -> Option<(Duration, bool)> {
        let known = (*self.known())?;
        let behind = if known.behind { known.current.elapsed() } else { Duration::ZERO };
        Some((behind, known.by_standby))
    }
}

/// Wakes whoever waits for a store.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<(Mutex<bool>, Condvar)>);

impl Waker {
    /// Ends a wait that goes on, or else the next one.
    pub fn wake(&self) {
        let (woken, bell) = &*self.0;
        *woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.notify_all();
    }

    /// Whether both wake the same.
    #[cfg(test)]
    pub(super) fn is(&self, other: &Waker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits until it is woken, at most for `time`. Whether it was woken.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let (woken, bell) = &*self.0;
        let woken = woken.lock().unwrap_or_else(PoisonError::into_inner);
        let asleep = |woken: &mut bool| !*woken;
        let (mut woken, _) =
            bell.wait_timeout_while(woken, time, asleep).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut woken)
    }
}

/// The store's lock, held until this is dropped. It ends with the process that holds it, however
/// that ends, so a stale lock cannot exist.
pub struct RunLock(#[expect(dead_code, reason = "dropping it lets go")] Box<dyn Any + Send>);

impl RunLock {
    /// Holds `lock`, which lets go when it is dropped.
    pub(super) fn new(lock: impl Any + Send) -> Self {
        RunLock(Box::new(lock))
    }
}

impl fmt::Debug for RunLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunLock")
    }
}
