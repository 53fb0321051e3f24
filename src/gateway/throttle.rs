//! Log lines about what anybody can cause: one a second at most, with a count, so that nobody can fill
//! a disk by sending what is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time in which one line is written.
const WINDOW: Duration = Duration::from_secs(1);

/// Writes a line: why the last happened, and how many times it did since the last line.
type Say = dyn Fn(&str, u64) + Send + Sync;

/// One kind of line.
pub struct Throttle {
    say: Box<Say>,
    state: Mutex<ThrottleState>,
}

impl Throttle {
    /// Lines that `say` writes: it is given why the last one happened and how many it stands for.
    #[must_use]
    pub fn new(say: impl Fn(&str, u64) + Send + Sync + 'static) -> Arc<Throttle> {
        Arc::new(Throttle { say: Box::new(say), state: Mutex::default() })
    }

    /// It happened once more: told at once, or counted and told when the second is over. To be
    /// called within a runtime.
    pub fn note(self: &Arc<Self>, why: &str) {
        let now = Instant::now();
        let then = self.state().note(now, why);
        match then {
            Then::Tell => (self.say)(why, 1),
            Then::TellAt(at) => {
                let this = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep_until(at.into()).await;
                    let (last, count) = this.state().take(Instant::now());
                    (this.say)(&last, count);
                });
            }
            Then::Nothing => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, ThrottleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be done about one more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// A line is due.
    Tell,
    /// It is the first that is counted: a line is due at that moment.
    TellAt(Instant),
    /// It is counted; a line is due already.
    Nothing,
}

#[derive(Default)]
struct ThrottleState {
    /// When the next line may be written; absent: now.
    next: Option<Instant>,
    /// How many are counted and not yet told.
    held: u64,
    /// Why the last of those.
    last: String,
}

impl ThrottleState {
    fn note(&mut self, now: Instant, why: &str) -> Then {
        let next = match self.next {
            Some(next) if self.held > 0 || now < next => next,
            _ => {
                self.next = Some(now + WINDOW);
                return Then::Tell;
            }
        };
        self.held = self.held.saturating_add(1);
        self.last.clear();
        self.last.push_str(why);
        if self.held == 1 { Then::TellAt(next) } else { Then::Nothing }
    }

    /// What was counted, for a line that is written now.
    fn take(&mut self, now: Instant) -> (String, u64) {
        self.next = Some(now + WINDOW);
        (std::mem::take(&mut self.last), std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_a_second_and_every_one_of_it_is_counted() {
        let began = Instant::now();
        let (mut state, mut due, mut lines) = (ThrottleState::default(), None, Vec::new());
        for n in 0..2500 {
            let now = began + Duration::from_millis(n);
            if due.is_some_and(|due| now >= due) {
                due = None;
                let (last, count) = state.take(now);
                lines.push((now - began, last, count));
            }
            match state.note(now, &format!("no {n}")) {
                Then::Tell => lines.push((now - began, format!("no {n}"), 1)),
                Then::TellAt(at) => assert_eq!(due.replace(at), None),
                Then::Nothing => assert!(due.is_some(), "who is counted is told of"),
            }
        }
        let (last, count) = state.take(due.unwrap());
        lines.push((due.unwrap() - began, last, count));
        let seconds: Vec<u64> = lines.iter().map(|line| line.0.as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 3]);
        assert_eq!(lines[0].1, "no 0");
        assert_eq!(lines[3].1, "no 2499");
        assert_eq!(lines.iter().map(|line| line.2).sum::<u64>(), 2500);
    }

    #[test]
    fn what_happens_now_and_then_is_told_at_once() {
        let began = Instant::now();
        let mut state = ThrottleState::default();
        for n in 0..3 {
            assert_eq!(state.note(began + WINDOW * n, "no"), Then::Tell);
        }
    }

    #[tokio::test]
    async fn what_was_counted_is_told_though_nothing_more_happens() {
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let throttle = Throttle::new(move |why, count| told.send((why.to_owned(), count)).unwrap());
        for why in ["a", "b", "c"] {
            throttle.note(why);
        }
        assert_eq!(heard.recv().await.unwrap(), ("a".to_owned(), 1));
        assert_eq!(heard.recv().await.unwrap(), ("c".to_owned(), 2));
    }
}
