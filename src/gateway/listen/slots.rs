//! How many connections a listener may have open, and how many the process can afford.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Descriptors that no listener may take: the sync needs them for its sources and the store, a
/// reload for new listeners.
const RESERVE: usize = 128;

/// The connections of one listener.
#[derive(Clone)]
pub(super) struct Slots(Arc<Inner>);

struct Inner {
    most: AtomicUsize,
    open: AtomicUsize,
    changed: Notify,
    gauge: Gauge,
}

/// A place among the connections, free again when it is dropped.
pub(super) struct Slot(Arc<Inner>);

impl Slots {
    /// Room for `most` connections, which are counted on `gauge` as well.
    pub(super) fn new(most: usize, gauge: Gauge) -> Slots {
        let (most, open) = (AtomicUsize::new(most), AtomicUsize::new(0));
        Slots(Arc::new(Inner { most, open, changed: Notify::new(), gauge }))
    }

    /// Changes how many may be open. Those that are stay.
    pub(super) fn set(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
        self.0.changed.notify_waiters();
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Whether there is no room.
    pub(super) fn full(&self) -> bool {
        self.open() >= self.0.most.load(Ordering::Relaxed)
    }

    /// Waits for room. Only one may wait and take.
    pub(super) async fn room(&self) {
        self.until(|| !self.full()).await;
    }

    /// Waits until no connection is left.
    pub(super) async fn empty(&self) {
        self.until(|| self.open() == 0).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if holds() {
                return;
            }
            changed.await;
        }
    }

    /// Takes a place.
    pub(super) fn take(&self) -> Slot {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        self.0.gauge.inc();
        Slot(Arc::clone(&self.0))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        self.0.gauge.dec();
        self.0.changed.notify_waiters();
    }
}

/// How many connections each of `listeners` may have where `wanted` are configured: no more than
/// the process's limit of open files affords, beside what is kept for the sync. Says so where it is
/// fewer.
pub(in crate::gateway) fn affordable(wanted: usize, listeners: usize) -> usize {
    let limits = match std::fs::read_to_string("/proc/self/limits") {
        Ok(limits) => limits,
        Err(error) => {
            tracing::debug!("cannot read the limit of open files: {error}");
            return wanted;
        }
    };
    let Some(files) = open_files(&limits) else { return wanted };
    let most = share(files, listeners);
    if most < wanted {
        tracing::info!(
            "`gateway.max_connections` is {wanted} and the process may have {files} files open: \
             each listener takes {most} connections; raise the limit (`LimitNOFILE=`, `ulimit -n`) \
             for more"
        );
    }
    most.min(wanted)
}

/// The soft limit of open files in `/proc/self/limits` (proc_pid_limits(5)); `None`: unlimited, or
/// not told.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What each listener may take of so many files. A small limit is halved.
fn share(files: usize, listeners: usize) -> usize {
    let spare = files.saturating_sub(RESERVE.min(files / 2));
    spare.checked_div(listeners).unwrap_or(spare).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sync_needs_is_kept_from_the_listeners() {
        for (files, listeners, each) in [
            (32_768, 2, 16_320),
            (32_768, 1, 32_640),
            (1024, 2, 448),
            (256, 2, 64),
            (64, 2, 16),
            (1, 2, 1),
        ] {
            assert_eq!(share(files, listeners), each, "{files} {listeners}");
            let taken = each * listeners;
            assert!(files < 4 || files - taken >= RESERVE.min(files / 2), "{files} {listeners}");
        }
    }

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max file locks            unlimited            unlimited            locks     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files("Max open files   unlimited   unlimited   files\n"), None);
        assert_eq!(open_files("Max processes    7            7          processes\n"), None);
    }

    #[tokio::test]
    async fn there_is_room_when_one_is_dropped_or_the_limit_is_raised() {
        let gauge = Gauge::default();
        let slots = Slots::new(1, gauge.clone());
        slots.room().await;
        let one = slots.take();
        assert!(slots.full());
        let waiting = slots.clone();
        let waiting = tokio::spawn(async move { waiting.room().await });
        slots.set(2);
        waiting.await.unwrap();
        let two = slots.take();
        let waiting = slots.clone();
        let waiting = tokio::spawn(async move { waiting.room().await });
        drop(two);
        waiting.await.unwrap();
        assert_eq!((slots.open(), gauge.get()), (1, 1));
        drop(one);
        slots.empty().await;
        assert_eq!(gauge.get(), 0);
    }
}
