//! When to run. Pure: time and chance come in, moments come out.
//!
//! | why | when |
//! |---|---|
//! | start, reload | at once |
//! | schedule | the next tick of the cron expression (UTC), plus jitter |
//! | due | the very moment at which a grant or a missing user's time ends |
//! | retry | a while after a run that something passing kept from being whole, with backoff |
//!
//! One run at a time: whatever falls due while a run is under way starts one run after it, however
//! many ticks went by. This module decides nothing about what a run does.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::config::Schedule;
use crate::model::Time;

/// The first retry comes this long after a failure; each further one doubles the wait.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The longest wait between retries, however rare the ticks: an hour's outage must not cost a day.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// A clock that goes back by less than this was only trimmed.
const SET_BACK: Duration = Duration::from_secs(60);

/// Why a run starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The daemon has started.
    Start,
    /// The configuration was loaded anew.
    Reload,
    /// A tick of the schedule.
    Tick,
    /// Something falls due by itself.
    Due,
    /// The last run was not whole.
    Retry,
    /// A feed cannot go on before its source is read in full.
    Feed,
}

impl Why {
    /// A stable word for logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Start => "start",
            Why::Reload => "reload",
            Why::Tick => "schedule",
            Why::Due => "due",
            Why::Retry => "retry",
            Why::Feed => "feed",
        }
    }
}

/// Draws how much later than its tick a run starts: from nothing up to what is given.
pub type Jitter<'a> = &'a mut dyn FnMut(Duration) -> Duration;

/// What is to be run, and when.
#[derive(Debug)]
pub struct Scheduler {
    schedule: Schedule,
    /// Nothing to wait for.
    at_once: Option<Why>,
    /// A feed waits for a full read.
    wanted: bool,
    /// When the run of the next tick starts, jitter included.
    tick: Option<Time>,
    /// What the store says falls due.
    due: Option<Time>,
    retry: Option<Time>,
    backoff: ExponentialBackoff,
    /// The last run.
    began: Option<(Time, Why)>,
    /// The last time seen on the clock.
    seen: Time,
}

/// The first tick that is later than `after`. `None`: there is none any more.
#[must_use]
pub fn next_tick(cron: &cron::Schedule, after: Time) -> Option<Time> {
    // The iterator counts in whole seconds: what is not later than `after` is skipped.
    cron.after(&after).find(|tick| *tick > after)
}

fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_factor(2.0)
        .with_min_delay(FIRST_RETRY)
        .with_max_delay(LONGEST_RETRY)
        .without_max_times()
        .build()
}

impl Scheduler {
    /// A scheduler whose first run starts at once.
    #[must_use]
    pub fn new(schedule: &Schedule, now: Time) -> Self {
        Scheduler {
            schedule: schedule.clone(),
            at_once: Some(Why::Start),
            wanted: false,
            tick: None,
            due: None,
            retry: None,
            backoff: backoff(),
            began: None,
            seen: now,
        }
    }

    /// A new configuration: its run starts at once.
    pub fn reload(&mut self, schedule: &Schedule) {
        self.schedule = schedule.clone();
        self.at_once = Some(Why::Reload);
        // Ticks of the old schedule mean nothing any more; the run's end makes the new one's.
        self.tick = None;
        self.retry = None;
        self.backoff = backoff();
    }

    /// A feed waits for a full read of its source.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// What the store says about the next moment at which something falls due by itself.
    pub fn set_due(&mut self, due: Option<Time>) {
        self.due = due;
    }

    /// The next run: not before this moment. `None`: nothing is to come.
    #[must_use]
    pub fn next(&self) -> Option<(Time, Why)> {
        if let Some(why) = self.at_once {
            return Some((Time::MIN_UTC, why));
        }
        if self.wanted {
            return Some((Time::MIN_UTC, Why::Feed));
        }
        // A moment that the last run was late enough for is not waited for again, whatever came of
        // it: without this, something that stays due would start run after run.
        let due = self.due.filter(|due| self.began.is_none_or(|(began, _)| *due > began));
        [(self.tick, Why::Tick), (due, Why::Due), (self.retry, Why::Retry)]
            .into_iter()
            .filter_map(|(at, why)| Some((at?, why)))
            .min_by_key(|(at, _)| *at)
    }

    /// A run starts for the reason that [`Scheduler::next`] gives.
    pub fn begin(&mut self, now: Time) -> Why {
        let why = self.next().map_or(Why::Tick, |(_, why)| why);
        self.began = Some((now, why));
        self.at_once = None;
        // It asks what a feed waits for, or everybody. A retry may ask somebody else.
        self.wanted &= why == Why::Retry;
        if why != Why::Feed {
            self.retry = None;
        }
        why
    }

    /// The run has ended. `again`: another try soon may bring more.
    pub fn end(&mut self, now: Time, again: bool, jitter: Jitter<'_>) {
        let (began, why) = self.began.unwrap_or((now, Why::Tick));
        // A retry asks some sources only, as a run for a feed does: it does not stand for a tick. Any
        // other run stands for every tick up to its start; those that went by since then are one
        // run, now.
        if !matches!(why, Why::Retry | Why::Feed) || self.tick.is_none() {
            self.tick = self.tick_after(began, jitter).map(|tick| tick.max(now));
        }
        if !again {
            self.backoff = backoff();
            return;
        }
        let wait = self.backoff.next().unwrap_or(LONGEST_RETRY);
        let at = now + wait;
        self.retry = self.tick.is_none_or(|tick| at < tick).then_some(at);
    }

    /// Looks at the clock. A clock that was set back must not leave everything waiting for a time
    /// that was reached once already.
    pub fn see(&mut self, now: Time, jitter: Jitter<'_>) {
        if now + SET_BACK < self.seen {
            self.began = self.began.map(|(began, why)| (began.min(now), why));
            self.retry = self.retry.map(|retry| retry.min(now + FIRST_RETRY));
            if self.tick.is_some() {
                self.tick = self.tick_after(now, jitter);
            }
        }
        self.seen = now;
    }

    fn tick_after(&self, after: Time, jitter: Jitter<'_>) -> Option<Time> {
        next_tick(&self.schedule.cron, after).map(|tick| tick + jitter(self.schedule.jitter))
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn at(text: &str) -> Time {
        crate::model::parse_rfc3339(&format!("2026-03-01T{text}Z")).unwrap()
    }

    fn schedule(cron: &str, jitter: u64) -> Schedule {
        Schedule {
            cron: cron::Schedule::from_str(cron).unwrap(),
            cron_text: cron.to_owned(),
            jitter: Duration::from_secs(jitter),
        }
    }

    /// All of it, and none of it.
    fn most(limit: Duration) -> Duration {
        limit
    }
    fn none(_: Duration) -> Duration {
        Duration::ZERO
    }

    /// A scheduler after a first run from `began` to `ended`.
    fn after_first_run(schedule: &Schedule, began: &str, ended: &str) -> Scheduler {
        let mut scheduler = Scheduler::new(schedule, at(began));
        scheduler.begin(at(began));
        scheduler.end(at(ended), false, &mut none);
        scheduler
    }

    #[test]
    fn a_tick_is_always_later_than_the_last_one() {
        let table = [
            ("0 */5 * * * *", "00:00:00", "00:05:00"),
            ("0 */5 * * * *", "00:04:59", "00:05:00"),
            ("0 */5 * * * *", "00:04:59.999", "00:05:00"),
            ("0 */5 * * * *", "00:05:00.001", "00:10:00"),
            ("* * * * * *", "00:00:00", "00:00:01"),
            ("* * * * * *", "00:00:00.5", "00:00:01"),
            ("30 0 12 * * *", "11:00:00", "12:00:30"),
        ];
        for (cron, after, expected) in table {
            let cron = cron::Schedule::from_str(cron).unwrap();
            assert_eq!(next_tick(&cron, at(after)), Some(at(expected)), "{cron} after {after}");
        }
        let mut last = at("00:00:00");
        let cron = cron::Schedule::from_str("*/7 * * * * *").unwrap();
        for _ in 0..1000 {
            let next = next_tick(&cron, last).unwrap();
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn a_schedule_in_the_past_has_no_tick() {
        let cron = cron::Schedule::from_str("0 0 0 1 1 * 2020").unwrap();
        assert_eq!(next_tick(&cron, at("00:00:00")), None);
    }

    #[test]
    fn the_first_run_starts_at_once_and_the_next_at_the_tick() {
        let schedule = schedule("0 */5 * * * *", 30);
        let mut scheduler = Scheduler::new(&schedule, at("00:01:00"));
        assert_eq!(scheduler.next(), Some((Time::MIN_UTC, Why::Start)));
        assert_eq!(scheduler.begin(at("00:01:00")), Why::Start);
        scheduler.end(at("00:01:02"), false, &mut none);
        assert_eq!(scheduler.next(), Some((at("00:05:00"), Why::Tick)));
    }

    #[test]
    fn a_tick_is_put_off_by_the_jitter() {
        let schedule = schedule("0 */5 * * * *", 30);
        let mut scheduler = Scheduler::new(&schedule, at("00:01:00"));
        scheduler.begin(at("00:01:00"));
        scheduler.end(at("00:01:02"), false, &mut most);
        assert_eq!(scheduler.next(), Some((at("00:05:30"), Why::Tick)));
        scheduler.begin(at("00:05:30"));
        scheduler.end(at("00:05:31"), false, &mut most);
        assert_eq!(scheduler.next(), Some((at("00:10:30"), Why::Tick)));
    }

    #[test]
    fn ticks_missed_while_a_run_is_under_way_are_one_run_after_it() {
        let table = [
            // (began, ended, next)
            ("00:00:00", "00:04:59", "00:05:00"),
            ("00:00:00", "00:05:00", "00:05:00"),
            ("00:00:00", "00:07:00", "00:07:00"),
            ("00:00:00", "00:31:00", "00:31:00"),
            ("00:04:59", "00:05:01", "00:05:01"),
        ];
        let schedule = schedule("0 */5 * * * *", 0);
        for (began, ended, next) in table {
            let mut scheduler = after_first_run(&schedule, began, ended);
            assert_eq!(scheduler.next(), Some((at(next), Why::Tick)), "{began} to {ended}");
            // The one that follows stands for all that were missed.
            scheduler.begin(at(ended).max(at(next)));
            scheduler.end(at(ended).max(at(next)), false, &mut none);
            assert!(scheduler.next().unwrap().0 > at(ended), "{began} to {ended}");
        }
    }

    #[test]
    fn what_falls_due_runs_at_that_very_moment_without_jitter() {
        let schedule = schedule("0 */5 * * * *", 30);
        let mut scheduler = after_first_run(&schedule, "00:01:00", "00:01:01");
        scheduler.set_due(Some(at("00:03:17")));
        assert_eq!(scheduler.next(), Some((at("00:03:17"), Why::Due)));
        // The tick comes first where it is earlier.
        scheduler.set_due(Some(at("00:06:00")));
        assert_eq!(scheduler.next(), Some((at("00:05:00"), Why::Tick)));
        scheduler.set_due(None);
        assert_eq!(scheduler.next(), Some((at("00:05:00"), Why::Tick)));
    }

    #[test]
    fn what_stays_due_does_not_start_run_after_run() {
        let schedule = schedule("0 */5 * * * *", 0);
        let mut scheduler = after_first_run(&schedule, "00:01:00", "00:01:01");
        scheduler.set_due(Some(at("00:03:00")));
        assert_eq!(scheduler.begin(at("00:03:00")), Why::Due);
        scheduler.end(at("00:03:01"), false, &mut none);
        // Still said to be due: the guard may be holding it.
        scheduler.set_due(Some(at("00:03:00")));
        assert_eq!(scheduler.next(), Some((at("00:05:00"), Why::Tick)));
        // What fell due while the run was under way is another matter.
        scheduler.set_due(Some(at("00:03:01")));
        assert_eq!(scheduler.next(), Some((at("00:03:01"), Why::Due)));
    }

    #[test]
    fn a_failure_is_tried_again_with_doubling_waits_up_to_the_tick() {
        let schedule = schedule("0 */5 * * * *", 0);
        let mut scheduler = Scheduler::new(&schedule, at("00:00:00"));
        let mut now = at("00:00:00");
        for wait in [5, 10, 20, 40, 80] {
            scheduler.begin(now);
            scheduler.end(now, true, &mut none);
            let (next, why) = scheduler.next().unwrap();
            assert_eq!((why, (next - now).num_seconds()), (Why::Retry, wait));
            now = next;
        }
        // 00:02:35 + 160 s is later than the tick.
        scheduler.begin(now);
        scheduler.end(now, true, &mut none);
        assert_eq!(scheduler.next(), Some((at("00:05:00"), Why::Tick)));
        // Once it goes well, the waits start from the beginning.
        scheduler.begin(at("00:05:00"));
        scheduler.end(at("00:05:00"), false, &mut none);
        scheduler.begin(at("00:10:00"));
        scheduler.end(at("00:10:00"), true, &mut none);
        assert_eq!(scheduler.next(), Some((at("00:10:05"), Why::Retry)));
    }

    #[test]
    fn with_rare_ticks_a_failure_is_tried_again_every_five_minutes() {
        let schedule = schedule("0 0 0 1 1 *", 0);
        let mut scheduler = Scheduler::new(&schedule, at("00:00:00"));
        let mut now = at("00:00:00");
        let mut waits = Vec::new();
        for _ in 0..10 {
            scheduler.begin(now);
            scheduler.end(now, true, &mut none);
            let next = scheduler.next().unwrap().0;
            waits.push((next - now).num_seconds());
            now = next;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]);
    }

    #[test]
    fn a_retry_does_not_stand_for_a_tick() {
        let schedule = schedule("0 */5 * * * *", 30);
        let mut scheduler = Scheduler::new(&schedule, at("00:04:57"));
        scheduler.begin(at("00:04:57"));
        scheduler.end(at("00:04:58"), true, &mut most);
        assert_eq!(scheduler.next(), Some((at("00:05:03"), Why::Retry)));
        scheduler.begin(at("00:05:03"));
        scheduler.end(at("00:05:04"), false, &mut most);
        assert_eq!(scheduler.next(), Some((at("00:05:30"), Why::Tick)));
    }

    #[test]
    fn what_a_feed_waits_for_is_read_at_once_and_stands_for_no_tick() {
        let schedule = schedule("0 */5 * * * *", 0);
        let mut scheduler = after_first_run(&schedule, "00:01:00", "00:01:01");
        scheduler.want();
        assert_eq!(scheduler.next(), Some((Time::MIN_UTC, Why::Feed)));
        assert_eq!(scheduler.begin(at("00:02:00")), Why::Feed);
        scheduler.end(at("00:02:01"), false, &mut none);
        assert_eq!(scheduler.next(), Some((at("00:05:00"), Why::Tick)));
        // A retry may ask others: the feed waits on. A run that asks everybody is what it waits for.
        scheduler.begin(at("00:05:00"));
        scheduler.end(at("00:05:00"), true, &mut none);
        assert_eq!(scheduler.begin(at("00:05:05")), Why::Retry);
        scheduler.want();
        scheduler.end(at("00:05:06"), false, &mut none);
        assert_eq!(scheduler.next(), Some((Time::MIN_UTC, Why::Feed)));
        scheduler.reload(&schedule);
        assert_eq!(scheduler.begin(at("00:06:00")), Why::Reload);
        scheduler.end(at("00:06:01"), false, &mut none);
        assert_eq!(scheduler.next(), Some((at("00:10:00"), Why::Tick)));
    }

    #[test]
    fn a_reload_runs_at_once_under_the_new_schedule() {
        let mut scheduler = after_first_run(&schedule("0 */5 * * * *", 0), "00:01:00", "00:01:01");
        scheduler.reload(&schedule("0 0 * * * *", 0));
        assert_eq!(scheduler.next(), Some((Time::MIN_UTC, Why::Reload)));
        assert_eq!(scheduler.begin(at("00:02:00")), Why::Reload);
        scheduler.end(at("00:02:01"), false, &mut none);
        assert_eq!(scheduler.next(), Some((at("01:00:00"), Why::Tick)));
    }

    #[test]
    fn a_reload_during_a_run_starts_another_one_after_it() {
        let schedule = schedule("0 */5 * * * *", 0);
        let mut scheduler = Scheduler::new(&schedule, at("00:01:00"));
        scheduler.begin(at("00:01:00"));
        scheduler.reload(&schedule);
        scheduler.end(at("00:01:01"), false, &mut none);
        assert_eq!(scheduler.next(), Some((Time::MIN_UTC, Why::Reload)));
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_schedule() {
        let schedule = schedule("0 */5 * * * *", 0);
        let mut scheduler = after_first_run(&schedule, "10:01:00", "10:01:01");
        scheduler.see(at("10:02:00"), &mut none);
        scheduler.see(at("10:01:59.5"), &mut none);
        assert_eq!(scheduler.next(), Some((at("10:05:00"), Why::Tick)));
        scheduler.see(at("03:02:00"), &mut none);
        assert_eq!(scheduler.next(), Some((at("03:05:00"), Why::Tick)));
        scheduler.set_due(Some(at("03:03:00")));
        assert_eq!(scheduler.next(), Some((at("03:03:00"), Why::Due)));
    }
}
