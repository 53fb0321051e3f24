//! Runs in the test's own process, beside tests that start others.

use chrono::{DateTime, Utc};
use idpsyncd::config::Config;
use idpsyncd::source::OnProgress;
use idpsyncd::sync::{self, Options, Outcome, RunError};

/// One sync. A process that another test is just starting holds a copy of whatever this one had open,
/// the lock of the run before included, until it is what it is to be: that is waited for.
pub fn sync(runtime: &tokio::runtime::Runtime, config: &Config, now: DateTime<Utc>) -> Outcome {
    let options =
        Options { dry_run: false, sources: None, what: "test".to_owned(), ..Options::default() };
    let store = idpsyncd::store::open(&config.store);
    let silent: OnProgress = std::sync::Arc::new(|_| {});
    loop {
        match runtime.block_on(sync::run(config, &*store, &options, &silent, now)) {
            Err(RunError::Locked(_)) => std::thread::yield_now(),
            done => return done.unwrap(),
        }
    }
}
