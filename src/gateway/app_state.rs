//! What every listener shares: the authorizer that is in force, and the metrics.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::authorizer::Authorizer;
use super::metrics::Metrics;
use super::throttle::Throttle;

/// The authorizer in force, swapped whole by a reload, and the metrics, which outlive it.
pub struct AppState {
    authorizer: ArcSwap<Authorizer>,
    metrics: Arc<Metrics>,
    unclear: Arc<Throttle>,
    no_log_out: Arc<Throttle>,
}

impl AppState {
    /// One with `authorizer` in force.
    #[must_use]
    pub fn new(authorizer: Arc<Authorizer>, metrics: Arc<Metrics>) -> AppState {
        let unclear = Throttle::new(|why, count| {
            tracing::warn!(count, "a request to /authz is refused: {why}");
        });
        let no_log_out = Throttle::new(|why, count| {
            tracing::warn!(count, "a log-out at /backchannel-logout is refused: {why}");
        });
        AppState { authorizer: ArcSwap::new(authorizer), metrics, unclear, no_log_out }
    }

    /// The authorizer in force. Keep it for one request.
    #[must_use]
    pub fn authorizer(&self) -> Arc<Authorizer> {
        self.authorizer.load_full()
    }

    /// Puts another authorizer in force; requests under way end at the old one.
    pub fn put(&self, authorizer: Arc<Authorizer>) {
        self.authorizer.store(authorizer);
    }

    /// Logs that nothing can be made of what a gateway tells of a request: a client can be the cause.
    pub fn unclear(&self, why: &str) {
        self.unclear.note(why);
    }

    /// Logs that nobody is logged out by what was sent: anybody can send that.
    pub fn no_log_out(&self, why: &str) {
        self.no_log_out.note(why);
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
