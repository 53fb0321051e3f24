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
}

impl AppState {
    /// One with `authorizer` in force.
    #[must_use]
    pub fn new(authorizer: Arc<Authorizer>, metrics: Arc<Metrics>) -> AppState {
        let unclear = Throttle::new(|why, count| {
            tracing::warn!(count, "a request to /authz is refused: {why}");
        });
        AppState { authorizer: ArcSwap::new(authorizer), metrics, unclear }
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

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}
