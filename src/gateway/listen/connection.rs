//! One connection: its requests, and how long it may keep a place without one.
//!
//! | it | may take |
//! |---|---|
//! | is new, or is in the midst of a request's head | [`Timeouts::head`], then it is cut |
//! | lies idle between requests | [`Timeouts::idle`], then it ends as HTTP has it |
//! | is being answered | [`Timeouts::answer`] for each request, its body included |
//!
//! So whoever says nothing, says it slowly, or does not read, is gone after a while.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::gateway::tls::PeerNames;

/// A gateway sends all headers of its client on: more of them than nginx and Envoy let through.
const MOST_HEADERS: usize = 512;
/// Requests at once on one HTTP/2 connection: a gateway has few connections and many requests.
const MOST_STREAMS: u32 = 4096;

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) struct Timeouts {
    /// From its beginning to the end of its first request's head, the TLS handshake included; and
    /// from the first byte of a later head to its end (HTTP/1).
    pub head: Duration,
    /// Between two requests: longer than gateways keep theirs (nginx and Envoy a minute or less in
    /// the shipped configurations).
    pub idle: Duration,
    /// For the answer to one request: longer than a just-in-time look-up.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            head: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            answer: Duration::from_secs(30),
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// As HTTP has it, or by the client.
    Done,
    /// It sent no whole head in time.
    TooSlow,
}

/// Serves one connection, with what its client's certificate calls it, that was accepted at `began`, until it ends or `stopped` says so and what
/// it has open is answered.
pub(super) async fn serve<S>(
    (stream, peer): (S, Option<PeerNames>),
    router: Router,
    timeouts: Timeouts,
    began: Instant,
    mut stopped: watch::Receiver<bool>,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::new(timeouts, began));
    let inner = TowerToHyperService::new(router);
    let heard = Arc::clone(&activity);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        let busy = heard.asked(request.version());
        let answer = inner.call(request);
        async move {
            let answer = tokio::time::timeout(timeouts.answer, answer).await;
            drop(busy);
            answer.unwrap_or_else(|_| Ok::<_, Infallible>(too_late()))
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    // Heads are timed here, for both versions and from the first byte of the connection.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_headers(MOST_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .keep_alive_interval(Duration::from_secs(60));
    let stream = TokioIo::new(Heard { stream, activity: Arc::clone(&activity) });
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut overdue = pin!(Overdue::new(&activity));
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            done = poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => overdue.as_mut().poll(cx).map(|()| None),
            }) => match done {
                Some(done) => {
                    if let Err(error) = done {
                        tracing::debug!("a connection ended badly: {error}");
                    }
                    return End::Done;
                }
                // A second time: it does not end as it should.
                None if ending => return End::Done,
                None if activity.idle() => {
                    ending = true;
                    activity.again();
                    connection.as_mut().graceful_shutdown();
                }
                None => return End::TooSlow,
            },
            _ = stopped.wait_for(|stopped| *stopped), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn too_late() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    response
}

/// Where a connection is between and in its requests.
struct Activity {
    timeouts: Timeouts,
    state: Mutex<ConnectionState>,
}

struct ConnectionState {
    /// When the present wait began.
    since: Instant,
    waits: Waits,
    /// Requests that are being answered.
    running: usize,
    /// Its first request was HTTP/1, where bytes between requests are the next head.
    http1: bool,
}

/// What is waited for while nothing is being answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The rest of a head.
    Head,
    /// The first byte of the next.
    Next,
}

impl Activity {
    fn new(timeouts: Timeouts, began: Instant) -> Activity {
        let state = ConnectionState { since: began, waits: Waits::Head, running: 0, http1: false };
        Activity { timeouts, state: Mutex::new(state) }
    }

    /// A whole head has come. What it gives is to be dropped with the answer.
    fn asked(self: &Arc<Self>, version: Version) -> Busy {
        let mut state = self.state();
        state.running = state.running.saturating_add(1);
        state.waits = Waits::Next;
        state.http1 = version < Version::HTTP_2;
        Busy(Arc::clone(self))
    }

    /// Bytes have come.
    fn heard(&self) {
        let mut state = self.state();
        if state.http1 && state.running == 0 && state.waits == Waits::Next {
            state.waits = Waits::Head;
            state.since = Instant::now();
        }
    }

    /// The wait begins anew.
    fn again(&self) {
        self.state().since = Instant::now();
    }

    /// Until when it may go on like this; `None`: something is being answered.
    fn due(&self) -> Option<Instant> {
        let state = self.state();
        let timeouts = match state.waits {
            Waits::Head => self.timeouts.head,
            Waits::Next => self.timeouts.idle,
        };
        (state.running == 0).then(|| state.since + timeouts)
    }

    /// Whether it lies between two requests.
    fn idle(&self) -> bool {
        self.state().waits == Waits::Next
    }

    fn state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = state.running.saturating_sub(1);
        state.since = Instant::now();
    }
}

/// Ready when a connection has waited for too long. It is polled after the connection, so a moment
/// that came nearer is seen; one that moved away is looked up when the old one comes, so that no
/// request has to set a timer.
struct Overdue<'p> {
    activity: &'p Activity,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl<'p> Overdue<'p> {
    fn new(activity: &'p Activity) -> Overdue<'p> {
        let due = activity.due().unwrap_or_else(Instant::now);
        Overdue { activity, timer: Box::pin(tokio::time::sleep_until(due)) }
    }
}

impl Future for Overdue<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(due) = self.activity.due()
            && due < self.timer.deadline()
        {
            self.timer.as_mut().reset(due);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let due = match self.activity.due() {
                Some(due) if due <= now => return Poll::Ready(()),
                Some(due) => due,
                // Asked again when it can be due at the earliest.
                None => now + self.activity.timeouts.head.min(self.activity.timeouts.idle),
            };
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// A stream whose bytes are heard.
struct Heard<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            this.activity.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
