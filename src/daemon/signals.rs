//! The signals that the daemon and `serve` obey.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
pub enum Wish {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGTERM or SIGINT: end.
    Stop,
}

/// The signals, received from here on.
pub struct Signals {
    hup: Signal,
    term: Signal,
    int: Signal,
}

impl Signals {
    /// From now on these signals do not end the process any more.
    ///
    /// # Errors
    /// They cannot be received.
    pub fn new() -> std::io::Result<Self> {
        Ok(Signals {
            hup: signal(SignalKind::hangup())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hup.recv() => Wish::Reload,
            _ = self.term.recv() => Wish::Stop,
            _ = self.int.recv() => Wish::Stop,
        }
    }
}
