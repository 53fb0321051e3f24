//! What every listener shares: the desk that is in force, and the metrics.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::desk::Desk;
use super::metrics::Metrics;
use super::throttle::Throttle;

/// The desk in force, swapped whole by a reload, and the metrics, which outlive it.
pub struct Front {
    desk: ArcSwap<Desk>,
    metrics: Arc<Metrics>,
    unclear: Arc<Throttle>,
}

impl Front {
    /// One with `desk` in force.
    #[must_use]
    pub fn new(desk: Arc<Desk>, metrics: Arc<Metrics>) -> Front {
        let unclear = Throttle::new(|why, count| {
            tracing::warn!(count, "a request to /authz is refused: {why}");
        });
        Front { desk: ArcSwap::new(desk), metrics, unclear }
    }

    /// The desk in force. Keep it for one request.
    #[must_use]
    pub fn desk(&self) -> Arc<Desk> {
        self.desk.load_full()
    }

    /// Puts another desk in force; requests under way end at the old one.
    pub fn put(&self, desk: Arc<Desk>) {
        self.desk.store(desk);
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
