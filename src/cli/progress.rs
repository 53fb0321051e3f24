//! Progress of long work, on a terminal only.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::source::{OnProgress, Progress};

/// Shows progress on standard error where that is a terminal; otherwise does nothing. The second
/// value ends it.
pub fn on_terminal() -> (OnProgress, impl FnOnce()) {
    let bars = MultiProgress::new();
    let all = bars.clone();
    let on: OnProgress = if std::io::stderr().is_terminal() {
        let known: Mutex<HashMap<(String, &'static str), ProgressBar>> = Mutex::default();
        Arc::new(move |progress: Progress| {
            let Progress { source, what, done, total } = progress;
            // A poisoned lock means that another report panicked: the bars are still good.
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let bar = known.entry((source.clone(), what)).or_insert_with(|| {
                let bar = bars.add(ProgressBar::no_length());
                if let Ok(style) = ProgressStyle::with_template("{prefix}: {msg} {human_pos}") {
                    bar.set_style(style);
                }
                bar.set_prefix(source);
                bar.set_message(what);
                bar
            });
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
        })
    } else {
        Arc::new(|_| {})
    };
    (on, move || {
        // Nothing is lost where a bar cannot be wiped off the terminal.
        let _ = all.clear();
    })
}
