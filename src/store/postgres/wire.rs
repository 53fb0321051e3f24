//! A connection, and how long an answer on it is waited for.
//!
//! Whoever asks waits for [`PATIENCE`], of a standby for [`IMPATIENCE`]. What has not come by then is asked about aside, by a connection of
//! its own: a statement at which the server still works is waited for, as an index over a whole table may
//! take long; where it does not, or nobody answers there either, the connection is given up. So it is with
//! a server that hangs, and with a proxy that passes nothing on any more. Who has another server to ask may
//! be in a hurry: then nobody looks ([`Wire::hurry`]).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::connect::DatabaseAddress;
use super::session::SessionError;

/// How long an answer may take until somebody looks whether the server still works at it.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The same for a server beside which there is another that can be asked.
pub(super) const IMPATIENCE: Duration = Duration::from_millis(1500);

/// How long an answer may take that takes no work, or that nobody needs.
pub(super) const BRIEF: Duration = Duration::from_secs(5);

/// How long the server may work at one statement.
const LONG: Duration = Duration::from_secs(3600);

/// What is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Backend {
    /// Its process, and since when it is there.
    pub(super) pid: String,
    pub(super) since: String,
    /// Since when the server runs: no two have run since the same microsecond.
    pub(super) server: String,
    /// What the session was marked with when it began.
    pub(super) mark: String,
}

/// A connection.
pub(super) struct Wire {
    pub(super) client: Client,
    pub(super) backend: Backend,
    place: DatabaseAddress,
    /// Sends and receives.
    carrier: Option<AbortHandle>,
    /// An answer has not come: nobody knows what would come next.
    given_up: AtomicBool,
    /// What has not come by then is not waited for, whether the server works at it or not.
    in_a_hurry: AtomicBool,
}

impl Wire {
    pub(super) fn new(
        client: Client,
        backend: Backend,
        place: DatabaseAddress,
        carrier: Option<AbortHandle>,
    ) -> Self {
        let (given_up, in_a_hurry) = (AtomicBool::new(false), AtomicBool::new(false));
        Wire { client, backend, place, carrier, given_up, in_a_hurry }
    }

    /// Whether it is known to be of no use any more.
    pub(super) fn is_gone(&self) -> bool {
        self.client.is_closed() || self.given_up.load(Ordering::Acquire)
    }

    /// From now on, or no more, what takes the server long is not waited for: another one can be asked.
    pub(super) fn hurry(&self, hurry: bool) {
        self.in_a_hurry.store(hurry, Ordering::Release);
    }

    /// Hangs up: whatever was under way there is taken back by the server, when it notices.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
        if let Some(carrier) = &self.carrier {
            carrier.abort();
        }
    }

    /// What `future` comes to, as long as the server works at it.
    pub(super) fn wait<T, E: Into<SessionError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, SessionError> {
        let mut future = pin!(future);
        let began = Instant::now();
        loop {
            self.usable()?;
            match wait_for(future.as_mut(), self.place.patience) {
                Some(done) => return done.map_err(Into::into),
                None if self.may_take_longer(began) => {}
                None => return Err(self.silent(began.elapsed())),
            }
        }
    }

    /// What `future` comes to within `most`.
    pub(super) fn within<T>(
        &self,
        future: impl Future<Output = Result<T, Error>>,
        most: Duration,
    ) -> Result<T, SessionError> {
        self.usable()?;
        match wait_for(future, most) {
            Some(done) => Ok(done?),
            None => Err(self.silent(most)),
        }
    }

    fn may_take_longer(&self, began: Instant) -> bool {
        let hurries = self.in_a_hurry.load(Ordering::Acquire);
        !hurries && began.elapsed() < LONG && self.is_at_work()
    }

    fn usable(&self) -> Result<(), SessionError> {
        if self.given_up.load(Ordering::Acquire) {
            return Err(SessionError::GivenUp);
        }
        Ok(())
    }

    fn silent(&self, since: Duration) -> SessionError {
        self.give_up();
        SessionError::Silent(since)
    }

    /// Whether the server works at what was asked here, as it says by another connection. Where it waits
    /// for us to send or to take what it sends, the way is what hangs. Asked as whoever signed in here as well
    /// ([`super::connect`]); `disabled`: the server keeps no book of what sessions do, but of what they wait for.
    fn is_at_work(&self) -> bool {
        let most = self.place.patience;
        let aside = match self.place.wire_within(None, most) {
            Ok(aside) => aside,
            // It answers, and lets nobody in just now (the password is another one by now, there is no room): what
            // it works at is not to be seen, but it does not hang.
            Err(error @ SessionError::Database(_)) => return !error.is_cut(),
            Err(_) => return false,
        };
        let Backend { pid, since, server, .. } = &self.backend;
        if aside.backend.server != *server {
            return false;
        }
        // Both were told by the server, and hold no quote.
        let sql = format!(
            "SET ROLE NONE; \
             SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = {pid} AND CAST(backend_start AS text) = '{since}' \
             AND state IN ('active', 'fastpath function call', 'disabled') \
             AND wait_event IS DISTINCT FROM 'ClientRead' AND wait_event IS DISTINCT FROM 'ClientWrite'"
        );
        let found = aside.within(aside.client.simple_query(&sql), BRIEF.min(most));
        found.is_ok_and(|rows| rows.iter().any(|row| matches!(row, SimpleQueryMessage::Row(_))))
    }
}

/// Wakes a thread that waits for a future.
struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// What `future` comes to, at most after `most`. In whatever thread: it makes nobody of a runtime wait
/// but the caller.
pub(super) fn wait_for<T>(future: impl Future<Output = T>, most: Duration) -> Option<T> {
    let parked = Arc::new(Parked { thread: std::thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&parked));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let end = Instant::now().checked_add(most);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Some(done);
        }
        while !parked.woken.swap(false, Ordering::Acquire) {
            let left = end.map_or(most, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    }
}
