//! When systemd's watchdog is fed: by progress, not by a timer.
//!
//! systemd starts the daemon anew when `WATCHDOG=1` stays out for `WatchdogSec`
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_watchdog_enabled.html>). Two
//! things count as being alive:
//!
//! - *Between runs* the main loop's own turns: it wakes by itself, and what hangs it (a store on a
//!   disk that does not answer) keeps the message out.
//! - *During a run* only what the run gets done: every report of progress by a source, the step
//!   from reading to planning, and its end move a counter. While the counter stands still nothing
//!   is sent, however well the main loop turns. A read that hangs is therefore ended by systemd,
//!   should the source's own time-outs, which are shorter, ever fail to.
//!
//! Planning and the transaction make no reports: together they have `WatchdogSec` to end in.

use std::time::{Duration, Instant};

/// Decides when the watchdog is fed. Knows no clock.
#[derive(Debug)]
pub struct Watchdog {
    /// Half of what systemd allows; absent: there is no watchdog.
    every: Option<Duration>,
    fed: Option<Instant>,
    /// The count when it was fed last.
    seen: u64,
}

impl Watchdog {
    /// `limit` is what systemd allows between two messages; absent: there is no watchdog.
    #[must_use]
    pub fn new(limit: Option<Duration>) -> Self {
        // systemd's page recommends half of the limit. Zero means none.
        let every = limit.filter(|limit| !limit.is_zero()).map(|limit| limit / 2);
        Watchdog { every, fed: None, seen: 0 }
    }

    /// How often the main loop must look, at least.
    #[must_use]
    pub fn look_every(&self) -> Option<Duration> {
        self.every.map(|every| (every / 2).max(Duration::from_millis(1)))
    }

    /// Whether to send `WATCHDOG=1` now. `running`: a run is under way; `count` rises with
    /// everything that runs get done.
    pub fn feed(&mut self, now: Instant, running: bool, count: u64) -> bool {
        let Some(every) = self.every else { return false };
        if self.fed.is_some_and(|fed| now.saturating_duration_since(fed) < every) {
            return false;
        }
        if running && count == self.seen && self.fed.is_some() {
            return false;
        }
        self.fed = Some(now);
        self.seen = count;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the turns, given as (second, running, count), feed a watchdog of 20 s.
    fn fed(turns: &[(u64, bool, u64)]) -> Vec<u64> {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(20)));
        turns
            .iter()
            .filter(|(second, running, count)| {
                watchdog.feed(start + Duration::from_secs(*second), *running, *count)
            })
            .map(|(second, ..)| *second)
            .collect()
    }

    #[test]
    fn an_idle_loop_feeds_it_at_half_of_the_limit() {
        let turns: Vec<_> = (0..=40).map(|second| (second, false, 0)).collect();
        assert_eq!(fed(&turns), [0, 10, 20, 30, 40]);
    }

    #[test]
    fn a_run_that_makes_progress_feeds_it() {
        let turns: Vec<_> = (0..=40).map(|second| (second, true, second)).collect();
        assert_eq!(fed(&turns), [0, 10, 20, 30, 40]);
    }

    #[test]
    fn a_run_that_makes_no_progress_does_not_feed_it() {
        let turns: Vec<_> = (0..=100).map(|second| (second, true, second.min(12))).collect();
        assert_eq!(fed(&turns), [0, 10, 20]);
    }

    #[test]
    fn late_progress_is_seen_at_the_next_turn() {
        let turns: Vec<_> = (0..=20).map(|second| (second, true, second / 17)).collect();
        assert_eq!(fed(&turns), [0, 17]);
    }

    #[test]
    fn the_end_of_a_run_lets_the_loop_feed_it_again() {
        let turns = [(0, true, 1), (15, true, 1), (25, true, 1), (26, false, 1), (36, false, 1)];
        assert_eq!(fed(&turns), [0, 26, 36]);
    }

    #[test]
    fn without_a_limit_nothing_is_sent() {
        for limit in [None, Some(Duration::ZERO)] {
            let mut watchdog = Watchdog::new(limit);
            assert!(!watchdog.feed(Instant::now(), false, 1));
            assert_eq!(watchdog.look_every(), None);
        }
    }
}
