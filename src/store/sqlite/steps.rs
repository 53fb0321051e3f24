//! How much SQLite does for some work, for tests that compare what it costs in a small and in a large
//! store: each row that a statement looks at is a step or a few.

use std::cell::Cell;

use rusqlite::Connection;

thread_local! {
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Counts what `conn`, newly opened, does on a thread while somebody counts there: which may begin when it
/// has long been open, since a connection is kept from one change to the next.
pub(super) fn watch(conn: &Connection) -> rusqlite::Result<()> {
    let step = || {
        COUNTED.set(COUNTED.get().map(|steps| steps + 1));
        false
    };
    conn.progress_handler(1, Some(step))
}

/// What comes of `work`, and in how many steps of the stores that it uses.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    COUNTED.set(Some(0));
    let done = work();
    (done, COUNTED.take().unwrap())
}
