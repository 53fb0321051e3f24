//! A store of ordinary values: a [`State`](crate::model::State), mirrors, history, behind one lock.
//! Readers hold an [`Arc`] of what was committed, writers change a copy and put it in its place.
//!
//! It is compiled for tests alone, so that nobody can run a gateway on a store that forgets.
//! `conformance` holds it to what SQLite does, so what a test sees here is what it would see there.

mod access;
mod content;
mod ended;
mod people;
mod reader;
mod seen;
mod slice;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    Beside, Commit, CommitError, Committed, Lead, LeadError, Leader, LockError, MirrorPatch,
    Reader, Review, RunLock, Seen, SourceUpdate, StandbyFault, Store, StoreError, StoreErrorKind,
    StoreLeader, Transaction, Turn, Waker, Watch,
};
use crate::model::{Followed, Inconsistent, SessionEnd, Time};
use crate::plan::Plan;
use content::Content;
use reader::MemoryReader;

/// How long somebody waits for the writer's place before it is told that another one is writing.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store in memory. Its clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// What was committed last, and how often something was; `None`: there is no store yet.
    now: Mutex<(Option<Arc<Content>>, u64)>,
    /// Somebody is writing.
    writing: Mutex<bool>,
    written: Condvar,
    /// Who runs.
    holder: Mutex<Option<String>>,
    /// Who leads.
    leader: Mutex<Option<Leader>>,
    watching: Mutex<Vec<Waker>>,
    /// The next look of whoever follows it, or the next write beside plans, panics.
    panics: AtomicBool,
    /// Where whoever follows it waits, as long as a test wants: before the roles of a generation, and before
    /// the list of ended sessions.
    roles: Gate,
    ended: Gate,
}

/// Lets through whoever comes, but while it is held.
#[derive(Debug, Default)]
pub struct Gate {
    held: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    /// Lets nobody through until what is returned is dropped.
    pub fn hold(&self) -> HeldGate<'_> {
        *locked(&self.held) = true;
        HeldGate(self)
    }

    /// How many stand before it.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let held = locked(&self.held);
        drop(self.opened.wait_while(held, |held| *held).unwrap_or_else(PoisonError::into_inner));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A gate that lets nobody through.
pub struct HeldGate<'g>(&'g Gate);

impl Drop for HeldGate<'_> {
    fn drop(&mut self) {
        *locked(&self.0.held) = false;
        self.0.opened.notify_all();
    }
}

const SHOWN: &str = "in memory";

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn content(&self) -> Option<Arc<Content>> {
        locked(&self.now).0.clone()
    }

    fn there(&self) -> Result<Arc<Content>, StoreError> {
        self.content().ok_or_else(|| StoreError::absent(SHOWN))
    }

    fn panics(&self) -> bool {
        self.panics.swap(false, Ordering::SeqCst)
    }

    fn publish(&self, content: Arc<Content>) {
        let mut now = locked(&self.now);
        *now = (Some(content), now.1 + 1);
        drop(now);
        locked(&self.watching).iter().for_each(Waker::wake);
    }
}

/// The writer's place. Dropping it lets the next one write.
struct Writing(Arc<Shared>);

impl Writing {
    fn begin(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let taken = locked(&shared.writing);
        let (mut taken, waited) = shared
            .written
            .wait_timeout_while(taken, PATIENCE, |taken| *taken)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(StoreError::new(StoreErrorKind::Busy, "another one is writing"));
        }
        *taken = true;
        drop(taken);
        Ok(Writing(Arc::clone(shared)))
    }

    /// Changes a copy of what is there, and puts it in its place if that goes well.
    fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Content) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut content = Content::clone(&*self.0.there()?);
        let done = work(&mut content)?;
        self.0.publish(Arc::new(content));
        Ok(done)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        *locked(&self.0.writing) = false;
        self.0.written.notify_one();
    }
}

impl MemoryStore {
    /// Lets the next look of whoever follows it, or the next write beside plans, end as a mistake in this
    /// program would end it.
    pub fn panics_once(&self) {
        self.0.panics.store(true, Ordering::SeqCst);
    }

    /// Where whoever follows it waits before the roles of a generation.
    pub fn roles_gate(&self) -> &Gate {
        &self.0.roles
    }

    /// Where whoever follows it waits before the list of ended sessions.
    pub fn ended_gate(&self) -> &Gate {
        &self.0.ended
    }

    fn aside<T>(
        &self,
        work: impl FnOnce(&mut Content) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        assert!(!self.0.panics(), "no text 7");
        Writing::begin(&self.0)?.write(work)
    }
}

impl Store for MemoryStore {
    fn shown(&self) -> String {
        SHOWN.to_owned()
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let _writing = Writing::begin(&self.0)?;
        if self.0.content().is_none() {
            self.0.publish(Arc::default());
        }
        Ok(())
    }

    fn reader(&self) -> Result<Option<Box<dyn Reader>>, StoreError> {
        let there = self.0.content().is_some();
        Ok(there.then(|| Box::new(MemoryReader::newest(Arc::clone(&self.0))) as Box<dyn Reader>))
    }

    fn lock(&self, what: &str, _: Time) -> Result<RunLock, LockError> {
        let mut holder = locked(&self.0.holder);
        if let Some(holder) = &*holder {
            return Err(LockError::Held { store: self.shown(), holder: holder.clone() });
        }
        *holder = Some(format!("`{what}`"));
        Ok(RunLock::new(Held(Arc::clone(&self.0))))
    }

    fn lead(&self, me: &Leader) -> Result<Arc<dyn Lead>, LeadError> {
        let mut leader = locked(&self.0.leader);
        if leader.is_some() {
            return Err(LeadError::Led { by: leader.clone() });
        }
        *leader = Some(me.clone());
        Ok(Arc::new(Leading { store: self.clone(), resigned: AtomicBool::new(false) }))
    }

    fn leader(&self) -> Result<StoreLeader, StoreError> {
        Ok(locked(&self.0.leader).clone().map_or(StoreLeader::Nobody, StoreLeader::Seen))
    }

    fn begin(&self, turn: Turn) -> Result<Box<dyn Transaction + '_>, StoreError> {
        Ok(match turn {
            Turn::Anyones => {
                let began = self.0.there()?.meta.version;
                let reader = MemoryReader::newest(Arc::clone(&self.0));
                let stands = Stands::Open;
                Box::new(Anyones { shared: Arc::clone(&self.0), reader, began, stands })
            }
            Turn::Mine => {
                let writing = Writing::begin(&self.0)?;
                let reader = MemoryReader::of(self.0.there()?);
                Box::new(Mine { writing, reader, over: false })
            }
        })
    }

    fn discard_held(&self, id: &str) -> Result<bool, StoreError> {
        self.aside(|content| Ok(content.discard_held(id)))
    }

    fn keep_keys(&self, issuer: &str, keys: &str, _: Time) -> Result<(), StoreError> {
        self.aside(|content| {
            content.keys.insert(issuer.to_owned(), keys.to_owned());
            Ok(())
        })
    }

    fn keep_followed(&self, source: &str, followed: &Followed) -> Result<(), StoreError> {
        self.aside(|content| {
            let before = content.followed.get(source).and_then(|before| before.last_drift);
            let last_drift = followed.last_drift.or(before);
            let followed = Followed { last_drift, ..followed.clone() };
            content.followed.insert(source.to_owned(), followed);
            Ok(())
        })
    }

    fn end_sessions(&self, ended: &[SessionEnd], forget: i64) -> Result<(), StoreError> {
        self.aside(|content| {
            content.ended.keep(ended, forget);
            Ok(())
        })
    }

    fn sign(&self, review: &Review) -> Result<(), StoreError> {
        self.aside(|content| {
            content.reviews.push(review.clone());
            Ok(())
        })
    }

    fn let_read(&self, _role: &str, _tokens: bool) -> Result<(), StoreError> {
        Err(StoreError::new(StoreErrorKind::Other, "memory knows no roles"))
    }

    fn standby_fault(&self) -> Result<Option<StandbyFault>, StoreError> {
        Ok(None)
    }

    fn watch(&self) -> Box<dyn Watch> {
        let waker = Waker::default();
        locked(&self.0.watching).push(waker.clone());
        Box::new(MemoryWatch { shared: Arc::clone(&self.0), waker, seen: None, another: true })
    }
}

/// The lock. Dropping it lets go.
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        *locked(&self.0.holder) = None;
    }
}

/// The lead.
#[derive(Debug)]
struct Leading {
    store: MemoryStore,
    resigned: AtomicBool,
}

impl Lead for Leading {
    fn beat(&self) -> Result<(), StoreError> {
        if self.resigned.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Busy, "it has resigned"));
        }
        Ok(())
    }

    fn lock(&self, what: &str, at: Time) -> Result<RunLock, LockError> {
        self.beat()?;
        self.store.lock(what, at)
    }

    fn resign(&self) {
        if !self.resigned.swap(true, Ordering::SeqCst) {
            *locked(&self.store.0.leader) = None;
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.resign();
    }
}

/// How far a change has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Open,
    Committed,
    Raced,
}

/// How a change gets at the content; what it may do to it is the same for all.
trait Changing {
    fn reader(&self) -> &dyn Reader;

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Content) -> Result<T, CommitError>,
    ) -> Result<T, CommitError>;

    fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError>;

    fn lost(&self) -> bool;
}

impl<C: Changing> Transaction for C {
    fn reader(&self) -> &dyn Reader {
        Changing::reader(self)
    }

    fn commit(&mut self, commit: &Commit<'_>) -> Result<Committed, CommitError> {
        self.write(|content| content.commit(commit, &[]))
    }

    fn commit_patches(
        &mut self,
        commit: &Commit<'_>,
        patches: &[MirrorPatch<'_>],
    ) -> Result<Committed, CommitError> {
        self.write(|content| content.commit(commit, patches))
    }

    fn commit_beside(
        &mut self,
        beside: &Beside<'_>,
        make: Box<dyn FnOnce() -> Result<Plan, Inconsistent> + Send + '_>,
    ) -> Result<(Plan, Committed), CommitError> {
        self.write(|content| content.commit_beside(beside, make))
    }

    fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        Changing::touch(self, sources, configured)
    }

    fn lost(&self) -> bool {
        Changing::lost(self)
    }
}

/// A change that keeps nobody waiting while it is planned.
struct Anyones {
    shared: Arc<Shared>,
    reader: MemoryReader,
    /// The store's version when this began.
    began: i64,
    stands: Stands,
}

impl Changing for Anyones {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Content) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        let done = Writing::begin(&self.shared)?.write(work);
        match &done {
            Ok(_) => self.stands = Stands::Committed,
            Err(CommitError::Raced) => self.stands = Stands::Raced,
            Err(_) => {}
        }
        done
    }

    fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        Writing::begin(&self.shared)?.write(|content| content.touch(sources, configured))
    }

    fn lost(&self) -> bool {
        match self.stands {
            Stands::Committed => false,
            Stands::Raced => true,
            Stands::Open => self.shared.there().map_or(true, |now| now.meta.version != self.began),
        }
    }
}

/// A change that nobody can be faster than.
struct Mine {
    writing: Writing,
    reader: MemoryReader,
    over: bool,
}

impl Mine {
    fn once<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Content) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.over {
            let busy = StoreError::new(StoreErrorKind::Busy, "this change is over already");
            return Err(busy.into());
        }
        self.over = true;
        let done = self.writing.write(work)?;
        self.reader = MemoryReader::of(self.writing.0.there()?);
        Ok(done)
    }
}

impl Changing for Mine {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Content) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        self.once(work)
    }

    fn touch(
        &mut self,
        sources: &[SourceUpdate<'_>],
        configured: &[String],
    ) -> Result<(), StoreError> {
        self.once(|content| content.touch(sources, configured))
    }

    fn lost(&self) -> bool {
        false
    }
}

struct MemoryWatch {
    shared: Arc<Shared>,
    waker: Waker,
    /// How often something had been committed at the last look.
    seen: Option<u64>,
    another: bool,
}

impl Watch for MemoryWatch {
    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn wait(&mut self, most: Duration) -> bool {
        let moved = |seen: u64| locked(&self.shared.now).1 != seen;
        self.seen.is_none_or(moved) || self.waker.wait(most)
    }

    fn look(
        &mut self,
        work: &mut dyn FnMut(&dyn Reader, Seen) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (content, times) = locked(&self.shared.now).clone();
        self.seen = Some(times);
        let content = content.ok_or_else(|| StoreError::absent(SHOWN))?;
        let reader = match self.shared.panics() {
            true => MemoryReader::Panics,
            false => MemoryReader::Followed(content, Arc::clone(&self.shared)),
        };
        work(&reader, Seen { another: self.another, elsewhere: false })?;
        self.another = false;
        Ok(())
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        locked(&self.shared.watching).retain(|waker| !waker.is(&self.waker));
    }
}
