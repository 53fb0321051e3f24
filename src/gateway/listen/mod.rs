//! Listening: TCP, TLS, unix sockets; HTTP/1.1 and HTTP/2; ending without dropping a request.
//!
//! A listener has so many connections and no more: when they are all taken, the next waits in the
//! kernel's queue until one ends. What every one of them costs is bounded in time
//! ([`connection`]), so one does end.

mod connection;
mod slots;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rustix::fs::OFlags;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use self::connection::End;
pub(super) use self::connection::Timeouts;
pub(super) use self::slots::affordable;
use self::slots::{Slot, Slots};
use super::throttle::Throttle;
use super::tls::PeerNames;
use crate::config::Listen;

/// How long open requests may take once the listener ends.
const GRACE: Duration = Duration::from_secs(10);
/// How long it is waited at most before accepting is tried again where it fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Who may connect to a unix socket: owner and group. The folder's rights count as well.
const SOCKET_MODE: u32 = 0o660;

/// What a listener needs for TLS; replaced when the files are read again.
pub type Tls = Arc<ArcSwapOption<TlsAcceptor>>;

/// A listener at work.
pub struct Listening {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    slots: Slots,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What a listener counts.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Open connections.
    pub open: Gauge,
    /// Connections that were cut because they sent no whole head in time.
    pub too_slow: Counter,
}

/// How much a listener takes upon itself.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub most: usize,
    /// How long each may take.
    pub(super) timeouts: Timeouts,
}

impl Bounds {
    /// So many connections, with the usual timeouts.
    #[must_use]
    pub fn new(most: usize) -> Bounds {
        Bounds { most, timeouts: Timeouts::default() }
    }
}

enum Bound {
    Tcp(TcpListener, Tls),
    Unix(UnixListener),
}

impl Listening {
    /// Listens at `at` and lets `router` answer. `tls` counts for TCP only.
    ///
    /// # Errors
    /// The address or socket cannot be had.
    pub async fn start(
        at: &Listen,
        tls: Tls,
        router: Router,
        bounds: Bounds,
        counts: Counts,
    ) -> io::Result<Listening> {
        let (bound, address, socket) = match at {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                (Bound::Tcp(listener, tls), Some(address), None)
            }
            Listen::Unix(path) => {
                let listener = unix(path)?;
                (Bound::Unix(listener), None, Some(path.clone()))
            }
        };
        let (stop, stopped) = watch::channel(false);
        let slots = Slots::new(bounds.most, counts.open);
        let host = Host {
            router,
            slots: slots.clone(),
            timeouts: bounds.timeouts,
            too_slow: counts.too_slow,
            stopped,
            lines: Lines::new(),
        };
        let task = tokio::spawn(host.accept(bound));
        Ok(Listening { address, socket, slots, stop, task })
    }

    /// Changes how many connections there may be at once. Those that are open stay.
    pub fn limit(&self, most: usize) {
        self.slots.set(most);
    }

    /// Where it listens; absent for a unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Accepts nothing more, lets open requests end (for at most ten seconds), and removes its
    /// socket.
    pub async fn stop(self) {
        // Nobody can connect to a name that is gone; another process may make it anew.
        if let Some(socket) = &self.socket
            && let Err(error) = std::fs::remove_file(socket)
        {
            tracing::warn!("cannot remove the socket `{}`: {error}", socket.display());
        }
        if self.stop.send(true).is_err() {
            tracing::debug!("a listener had ended already");
        }
        if let Err(error) = self.task.await {
            tracing::error!("a listener ended badly: {error}");
        }
    }
}

/// Binds a unix socket. One that a process left behind that is gone is replaced; one that somebody
/// listens on is not.
fn unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something else under that name, not a socket",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    permit(path)?;
    Ok(listener)
}

/// Lets the gateway's group connect to the socket at `path`. By a handle on the socket itself: of
/// somebody who may write the folder and puts a link in its place, nothing else gets the mode.
fn permit(path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let node = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let meta = node.metadata()?;
    if !meta.file_type().is_socket() || meta.nlink() > 1 {
        return Err(io::Error::other("something else has taken its name"));
    }
    let node = format!("/proc/self/fd/{}", node.as_raw_fd());
    std::fs::set_permissions(node, std::fs::Permissions::from_mode(SOCKET_MODE))
}

/// Log lines that whoever can connect can cause.
#[derive(Clone)]
struct Lines {
    full: Arc<Throttle>,
    failed: Arc<Throttle>,
    handshake: Arc<Throttle>,
}

impl Lines {
    fn new() -> Lines {
        Lines {
            full: Throttle::new(|why, _| tracing::warn!("{why}")),
            failed: Throttle::new(|why, count| {
                tracing::warn!(count, "cannot accept a connection: {why}");
            }),
            handshake: Throttle::new(|why, count| {
                tracing::info!(count, "a TLS handshake failed: {why}");
            }),
        }
    }
}

/// What serves the connections of one listener.
#[derive(Clone)]
struct Host {
    router: Router,
    slots: Slots,
    timeouts: Timeouts,
    too_slow: Counter,
    stopped: watch::Receiver<bool>,
    lines: Lines,
}

impl Host {
    /// Accepts until told to stop, then waits for open requests.
    async fn accept(self, bound: Bound) {
        let mut stopped = self.stopped.clone();
        let mut pause = Duration::ZERO;
        loop {
            if self.slots.full() {
                self.lines.full.note(
                    "as many connections are open as `gateway.max_connections` and the limit of \
                     open files permit: the next waits until one ends",
                );
            }
            let accepted = tokio::select! {
                // An error says that the sender is gone: an end as well.
                _ = stopped.changed() => break,
                accepted = async {
                    self.slots.room().await;
                    self.accept_one(&bound).await
                } => accepted,
            };
            let Err(error) = accepted else {
                pause = Duration::ZERO;
                continue;
            };
            self.lines.failed.note(&error.to_string());
            // One that went away before it was accepted says nothing about the next. Else it is out
            // of descriptors or memory, mostly: the open connections go on meanwhile, and the sync
            // is not starved by trying again and again.
            pause = match error.kind() {
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => Duration::ZERO,
                _ => after(pause),
            };
            tokio::select! {
                _ = stopped.changed() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        drop(bound);
        if tokio::time::timeout(GRACE, self.slots.empty()).await.is_err() {
            tracing::warn!("some requests did not end within {} s and are cut", GRACE.as_secs());
        }
    }

    async fn accept_one(&self, bound: &Bound) -> io::Result<()> {
        match bound {
            Bound::Tcp(listener, tls) => {
                let (stream, _) = listener.accept().await?;
                let (began, slot) = (Instant::now(), self.slots.take());
                // Answers are small and awaited: none waits for a full packet.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!("cannot set TCP_NODELAY: {error}");
                }
                match tls.load_full() {
                    None => tokio::spawn(self.clone().serve(stream, None, began, slot)),
                    Some(acceptor) => {
                        tokio::spawn(self.clone().serve_tls(acceptor, stream, began, slot))
                    }
                };
            }
            Bound::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let (began, slot) = (Instant::now(), self.slots.take());
                tokio::spawn(self.clone().serve(stream, None, began, slot));
            }
        }
        Ok(())
    }

    async fn serve_tls(
        mut self,
        acceptor: Arc<TlsAcceptor>,
        stream: TcpStream,
        began: Instant,
        slot: Slot,
    ) {
        let until = began + self.timeouts.head;
        let shaken = tokio::select! {
            shaken = tokio::time::timeout_at(until, acceptor.accept(stream)) => shaken,
            // There is no request yet that could end.
            _ = self.stopped.wait_for(|stopped| *stopped) => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates();
                let peer = shown.and_then(<[_]>::first).map(PeerNames::of);
                self.serve(stream, peer, began, slot).await;
            }
            Ok(Err(error)) => self.lines.handshake.note(&error.to_string()),
            Err(_) => {
                self.too_slow.inc();
                self.lines.handshake.note("it took too long");
            }
        }
    }

    /// Serves a connection, which keeps its place until it ends.
    /// `peer`: what its client's certificate calls it.
    async fn serve<S>(self, stream: S, peer: Option<PeerNames>, began: Instant, _slot: Slot)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Host { router, timeouts, too_slow, stopped, .. } = self;
        if connection::serve((stream, peer), router, timeouts, began, stopped).await == End::TooSlow
        {
            too_slow.inc();
            tracing::debug!("a connection is cut: no whole head of a request came in time");
        }
    }
}

/// How long to wait after one more error than before.
fn after(pause: Duration) -> Duration {
    (pause * 2).clamp(Duration::from_millis(10), LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
