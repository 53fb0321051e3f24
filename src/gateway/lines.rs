//! What a [`super::authorizer::Authorizer`] logs of what strangers can cause: a line a second of each kind at most.

use std::sync::Arc;

use super::throttle::Throttle;

/// Log lines that strangers can cause.
pub(super) struct Lines {
    pub unproven: Arc<Throttle>,
    pub ended: Arc<Throttle>,
    pub unjudged: Arc<Throttle>,
    pub anonymous: Arc<Throttle>,
    pub unexchanged: Arc<Throttle>,
}

impl Lines {
    pub(super) fn new() -> Lines {
        Lines {
            unproven: Throttle::new(|why, count| match count {
                1 => {
                    tracing::info!(count, "a request is refused, its identity is not proven: {why}")
                }
                _ => tracing::info!(
                    count,
                    "{count} more requests are refused, their identity is not proven; the last: {why}"
                ),
            }),
            ended: Throttle::new(|why, count| match count {
                1 => tracing::info!(count, "a request is refused: {why}"),
                _ => tracing::info!(count, "{count} more requests are refused; the last: {why}"),
            }),
            unjudged: Throttle::new(|why, count| match count {
                1 => tracing::warn!(
                    count,
                    "a request is refused, its identity cannot be judged now: {why}"
                ),
                _ => tracing::warn!(
                    count,
                    "{count} more requests are refused, their identity cannot be judged now; the \
                     last: {why}"
                ),
            }),
            anonymous: Throttle::new(|why, count| match count {
                1 => tracing::info!(count, "a request without identity is denied: {why}"),
                _ => tracing::info!(
                    count,
                    "{count} more requests without identity are denied; the last: {why}"
                ),
            }),
            unexchanged: Throttle::new(|why, count| match count {
                1 => tracing::info!(count, "an access token is not exchanged: {why}"),
                _ => tracing::info!(
                    count,
                    "{count} more access tokens are not exchanged; the last: {why}"
                ),
            }),
        }
    }
}
