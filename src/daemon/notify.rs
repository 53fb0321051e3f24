//! What systemd is told: readiness, status line, watchdog.
//!
//! Plain `sd_notify` datagrams
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>). Without
//! `NOTIFY_SOCKET` nothing is sent. That systemd cannot be told is no reason to stop: it is logged
//! once, and systemd itself will act.

use std::time::Duration;

use sd_notify::NotifyState;

/// The way to systemd, if there is one.
#[derive(Debug, Default)]
pub struct Notify {
    /// The status line as last sent.
    status: String,
    failing: bool,
}

/// What systemd allows between two `WATCHDOG=1`, where it watches this process.
#[must_use]
pub fn watchdog_limit() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

impl Notify {
    /// The daemon is up.
    pub fn ready(&mut self) {
        self.send(&[NotifyState::Ready]);
    }

    /// The configuration is being loaded anew. [`Notify::ready`] must follow.
    pub fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            // Without the time systemd 253 and later would take the reload for failed, and end
            // the daemon: rather a reload that it does not hear of.
            Err(error) => tracing::warn!(%error, "cannot read the monotonic clock"),
        }
    }

    /// The daemon ends.
    pub fn stopping(&mut self) {
        self.send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// The daemon is alive.
    pub fn watchdog(&mut self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// The status line, sent if it differs from the last one. `line` holds no line end.
    pub fn status(&mut self, line: String) {
        if self.status != line {
            self.send(&[NotifyState::Status(&line)]);
            self.status = line;
        }
    }

    fn send(&mut self, states: &[NotifyState<'_>]) {
        match sd_notify::notify(states) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(%error, "cannot tell the service manager: look at `NOTIFY_SOCKET`");
            }
            Err(_) => {}
        }
    }
}
