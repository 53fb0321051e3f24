//! Listening: TCP, TLS, unix sockets; HTTP/1.1 and HTTP/2; ending without dropping a request.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustix::fs::OFlags;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::config::Listen;

/// How long open requests may take once the listener ends.
const GRACE: Duration = Duration::from_secs(10);
/// How long a client may take for its TLS handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client may take for a request's headers, the time in which a connection lies idle
/// included: longer than gateways keep theirs (nginx and Envoy a minute or less in the shipped
/// configurations).
const IDLE: Duration = Duration::from_secs(120);
/// A gateway sends all headers of its client on: more of them than nginx and Envoy let through.
const MOST_HEADERS: usize = 512;
/// Requests at once on one HTTP/2 connection: a gateway has few connections and many requests.
const MOST_STREAMS: u32 = 4096;
/// Who may connect to a unix socket: owner and group. The folder's rights count as well.
const SOCKET_MODE: u32 = 0o660;

/// What a listener needs for TLS; replaced when the files are read again.
pub type Tls = Arc<ArcSwapOption<TlsAcceptor>>;

/// A listener at work.
pub struct Listening {
    address: Option<SocketAddr>,
    socket: Option<PathBuf>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
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
    pub async fn start(at: &Listen, tls: Tls, router: Router) -> io::Result<Listening> {
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
        let task = tokio::spawn(accept(bound, router, stopped));
        Ok(Listening { address, socket, stop, task })
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

/// Accepts until told to stop, then waits for open requests.
async fn accept(bound: Bound, router: Router, mut stopped: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&bound, &router, &graceful) => accepted,
            // An error says that the sender is gone: an end as well.
            _ = stopped.changed() => break,
        };
        if let Err(error) = accepted {
            // Out of descriptors, mostly: the open connections go on meanwhile.
            tracing::warn!("cannot accept a connection: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    drop(bound);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end within {} s and are cut", GRACE.as_secs());
    }
}

async fn accept_one(bound: &Bound, router: &Router, graceful: &GracefulShutdown) -> io::Result<()> {
    match bound {
        Bound::Tcp(listener, tls) => {
            let (stream, _) = listener.accept().await?;
            // Answers are small and awaited: none waits for a full packet.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("cannot set TCP_NODELAY: {error}");
            }
            let (router, watcher) = (router.clone(), graceful.watcher());
            match tls.load_full() {
                None => {
                    tokio::spawn(connection(stream, router, watcher));
                }
                Some(acceptor) => {
                    tokio::spawn(async move {
                        match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => connection(stream, router, watcher).await,
                            Ok(Err(error)) => tracing::info!("a TLS handshake failed: {error}"),
                            Err(_) => tracing::info!("a TLS handshake took too long"),
                        }
                    });
                }
            }
        }
        Bound::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(connection(stream, router.clone(), graceful.watcher()));
        }
    }
    Ok(())
}

async fn connection<S>(stream: S, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE).max_headers(MOST_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .keep_alive_interval(Duration::from_secs(60));
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(serving.into_owned()).await {
        tracing::debug!("a connection ended badly: {error}");
    }
}
