//! One rule for tests whose server or tool may be missing.
//!
//! On a developer's machine such a test says so and ends; `tests/run` prints the list last. Where
//! `CI=true` a missing tool is a failure, so that a green run has run everything.

use std::io::Write;

/// Says that `test` cannot run, and why: on standard error, and as a line of the file that
/// `$IDPSYNCD_SKIPS` names.
///
/// # Panics
/// With `CI=true`.
pub fn skip(test: &str, why: &str) {
    let line = format!("skipped: {test}: {why}");
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{line} (with CI=true nothing may be missing)"
    );
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("IDPSYNCD_SKIPS") {
        // One write of one line to a file opened for appending: lines of tests that run at the
        // same time do not mix.
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Whether `program` is there to be run: a path, or a name found on `$PATH` or in `/usr/sbin`.
#[must_use]
pub fn has(program: &str) -> bool {
    if program.contains('/') {
        return std::path::Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// The test that runs now, by the name of its thread.
#[must_use]
pub fn test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}
