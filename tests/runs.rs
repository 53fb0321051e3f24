//! Whole runs, a folder each: `tests/runs/NAME/config.toml`, and for each step the files that change
//! before it (a configuration too). A step is a sync, or what stands in its `commands`, one command
//! line each; `{held}` is the id of the held plan, and a line that begins with `@80` is run on a
//! terminal of 80 columns. What came out, and what the gateway sees then, is
//! in `expected.txt`; `UPDATE_EXPECTED=1` writes it anew.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `idpsyncd` with `args` in `folder`: exit status, standard output, standard error.
fn idpsyncd(folder: &Path, args: &[String]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
    for name in
        ["IDPSYNCD_CONFIG", "IDPSYNCD_LOG_FORMAT", "RUST_LOG", "NO_COLOR", "SUDO_USER", "SUDO_UID"]
    {
        command.env_remove(name);
    }
    let output = command.current_dir(folder).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// As [`idpsyncd`] with a terminal of `width` columns in place of standard output.
fn on_terminal(folder: &Path, width: &str, args: &[String]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_idpsyncd");
    let args = args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
    let mut command = Command::new("script");
    command.env_remove("RUST_LOG").env("NO_COLOR", "1").current_dir(folder).stdin(Stdio::null());
    let line = format!("stty cols {width}; exec '{program}' {args} 2>stderr");
    let output = command.args(["-qec", &line, "/dev/null"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace('\r', "");
    let stderr = fs::read_to_string(folder.join("stderr")).unwrap();
    let wide = |line: &str| {
        // A character of these tests takes one column, or two where it is Chinese.
        line.chars().map(|c| if c >= '\u{3000}' { 2 } else { 1 }).sum::<usize>()
    };
    let most = width.parse().unwrap();
    for line in text.lines() {
        assert!(wide(line) <= most, "{} columns in {width}: {line}", wide(line));
    }
    (output.status.code().unwrap(), text, stderr)
}

/// Every moment becomes `TIME`.
fn scrubbed(text: &str) -> String {
    let moment = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").unwrap();
    moment.replace_all(text, "TIME").into_owned()
}

/// Compares with the file, or writes it.
fn compare(actual: &str, file: &Path) {
    if std::env::var_os("UPDATE_EXPECTED").is_some_and(|value| value == "1") {
        fs::write(file, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if expected == actual {
        return;
    }
    let mut pairs = expected.lines().zip(actual.lines()).enumerate();
    let place = match pairs.find(|(_, (expected, actual))| expected != actual) {
        Some((line, (expected, actual))) => {
            format!("line {}:\n  expected {expected}\n  actual   {actual}", line + 1)
        }
        None => "one ends before the other".to_owned(),
    };
    panic!(
        "{} differs, {place}\n\nUPDATE_EXPECTED=1 writes it anew; all that came out:\n\n{actual}",
        file.display()
    );
}

/// Without what is absent, so that a line holds what there is.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// JSON with a line for each key, and for each item of a list.
fn spread(text: &str) -> String {
    let Ok(Value::Object(report)) = serde_json::from_str(text) else { return text.to_owned() };
    let mut out = String::new();
    for (key, value) in report.iter().filter(|(_, value)| !value.is_null()) {
        match without_nulls(value) {
            Value::Array(list) if !list.is_empty() => {
                out.push_str(&format!("{key}:\n"));
                list.iter().for_each(|item| out.push_str(&format!("  {item}\n")));
            }
            value => out.push_str(&format!("{key}: {value}\n")),
        }
    }
    out
}

const VIEWS: [&str; 6] = [
    "SELECT schema_version, generation FROM gateway_meta",
    "SELECT username, email, enabled, role_set FROM gateway_user ORDER BY 1",
    "SELECT username, role FROM gateway_user_role ORDER BY 1, 2",
    "SELECT username, action, resource, effect, role FROM gateway_decision ORDER BY 1, 2, 3",
    "SELECT role_set, action, resource, effect, role FROM gateway_role_decision ORDER BY 1, 2, 3",
    "SELECT role, position, effect, action, resource FROM gateway_role_policy ORDER BY 1, 2, 4, 5",
];

/// The rows of each of [`VIEWS`].
fn views(store: &Path) -> Vec<String> {
    let conn = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let dump = |sql: &&str| {
        let mut select = conn.prepare(sql).unwrap();
        let columns = select.column_count();
        let mut rows = select.query([]).unwrap();
        let mut out = String::new();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<String> = (0..columns)
                .map(|column| match row.get_ref(column).unwrap() {
                    ValueRef::Null => "NULL".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Text(b"") => "''".to_owned(),
                    ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
                    other => panic!("{other:?} in {sql}"),
                })
                .collect();
            out.push_str(&format!("  {}\n", cells.join(" | ")));
        }
        out
    };
    VIEWS.iter().map(dump).collect()
}

/// Splits a line as a shell does, double quotes being the only ones.
fn words(line: &str) -> Vec<String> {
    let part = |(place, part): (usize, &str)| -> Vec<String> {
        match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        }
    };
    line.split('"').enumerate().flat_map(part).collect()
}

fn run(name: &str) {
    let from = root().join("tests/runs").join(name);
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::copy(from.join("config.toml"), at.join("config.toml")).unwrap();
    let mut out = String::new();
    let mut before: Vec<String> = VIEWS.iter().map(|_| String::new()).collect();
    for step in (1..).map(|number| from.join(format!("step{number}"))).take_while(|s| s.is_dir()) {
        out.push_str(&format!("==== {}\n", step.file_name().unwrap().display()));
        let mut commands = vec!["sync --output json".to_owned()];
        for file in files(&step) {
            if file.file_name().is_some_and(|name| name == "commands") {
                let text = fs::read_to_string(&file).unwrap();
                commands = text.lines().map(str::to_owned).collect();
            } else {
                fs::copy(&file, at.join(file.file_name().unwrap())).unwrap();
            }
        }
        for line in commands {
            let (width, bare) = match line.strip_prefix('@').and_then(|line| line.split_once(' ')) {
                Some((width, bare)) => (Some(width), bare),
                None => (None, line.as_str()),
            };
            let mut args = words(&bare.replace("{held}", &held(at)));
            args.extend(["--config".to_owned(), "config.toml".to_owned()]);
            let (status, stdout, stderr) = match width {
                Some(width) => on_terminal(at, width, &args),
                None => idpsyncd(at, &args),
            };
            out.push_str(&format!("$ idpsyncd {line}\n{}{stderr}", spread(&stdout)));
            out.push_str(&format!("exit status {status}\n\n"));
        }
        let now = views(&at.join("store.db"));
        for ((sql, now), before) in VIEWS.iter().zip(&now).zip(&before) {
            let view = sql.split_whitespace().find(|word| word.starts_with("gateway_")).unwrap();
            if now == before {
                out.push_str(&format!("{view}: as before\n"));
            } else {
                out.push_str(&format!("{view}:\n{now}"));
            }
        }
        out.push('\n');
        before = now;
    }
    compare(&scrubbed(&out), &from.join("expected.txt"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The id of the held plan; `nothing` where none is.
fn held(at: &Path) -> String {
    let args = ["plan", "show", "--output", "json", "--config", "config.toml"];
    let (_, stdout, _) = idpsyncd(at, &args.map(str::to_owned));
    let plan: Value = serde_json::from_str(&stdout).unwrap_or_default();
    plan["id"].as_str().unwrap_or("nothing").to_owned()
}

/// A test for each folder, and a check that no folder is forgotten.
macro_rules! runs {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_folder_is_a_test() {
            let known = [$(stringify!($name)),*];
            let folders = files(&root().join("tests/runs")).into_iter().filter(|f| f.is_dir());
            let names: Vec<String> =
                folders.map(|f| f.file_name().unwrap().display().to_string()).collect();
            let mut sorted = known.to_vec();
            sorted.sort_unstable();
            assert_eq!(names, sorted);
        }
    };
}

runs!(
    disable,
    held_and_approved,
    join_and_leave,
    many_changes,
    mode_changed,
    organizations,
    rename,
    role_removed,
    same_name_new_person,
    template_role_appears,
    two_sources,
);

#[test]
fn all_tells_every_change_one_by_one_and_json_always_does() {
    let from = root().join("tests/runs/many_changes");
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for file in ["config.toml", "step1/corp.ldif"] {
        fs::copy(from.join(file), at.join(file.rsplit('/').next().unwrap())).unwrap();
    }
    let args = |line: &str| words(&format!("{line} --config config.toml"));
    let (_, all, _) = idpsyncd(at, &args("sync --dry-run --all"));
    let (_, on_terminal, _) = on_terminal(at, "80", &args("sync --dry-run --all"));
    let (_, json, _) = idpsyncd(at, &args("sync --dry-run --output json"));
    for (text, what) in [(all, "text"), (on_terminal, "text on a terminal")] {
        for (begins, many) in [("    +  ", 672), ("    -  ", 0), ("    …", 0)] {
            let lines = text.lines().filter(|line| line.starts_with(begins)).count();
            assert_eq!(lines, many, "{what}: {begins}");
        }
    }
    let json: Value = serde_json::from_str(&json).unwrap();
    let told = json["changes"].as_array().unwrap().iter();
    assert_eq!(told.filter(|change| change["change"] == "grant-added").count(), 399);
}

// ---- the quickstart ----------------------------------------------------------------------------

/// What a stranger types first.
const FIRST: &str = "cargo run --release -- sync --dry-run --config config/quickstart.toml";

/// The quickstart's files as they are in a fresh checkout: no store beside them.
fn checkout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in
        ["config/quickstart.toml", "fixtures/acme/realm.json", "fixtures/acme/directory.ldif"]
    {
        let to = folder.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root().join(file), to).unwrap();
    }
    folder
}

#[test]
fn the_quickstart_prints_what_its_file_says_and_the_same_bytes_again() {
    let folder = checkout();
    let (_, args) = FIRST.split_once(" -- ").unwrap();
    let before = files(folder.path());
    let (status, first, stderr) = idpsyncd(folder.path(), &words(args));
    assert_eq!((status, stderr.as_str()), (0, ""));
    // In another process its hash maps have another order.
    for _ in 0..5 {
        assert_eq!(idpsyncd(folder.path(), &words(args)).1, first);
    }
    assert_eq!(files(folder.path()), before, "a dry run makes nothing");
    compare(&scrubbed(&first), &root().join("tests/runs/quickstart.txt"));
}

#[test]
fn the_quickstart_applies_and_a_second_run_finds_nothing_to_do() {
    let folder = checkout();
    let sync = words("sync --config config/quickstart.toml");
    let (status, first, _) = idpsyncd(folder.path(), &sync);
    assert_eq!(status, 0, "{first}");
    let before = views(&folder.path().join("quickstart.db"));
    let (status, second, _) = idpsyncd(folder.path(), &sync);
    assert_eq!(status, 0, "{second}");
    assert!(second.contains("generation 1 stands"), "{second}");
    assert_eq!(views(&folder.path().join("quickstart.db")), before);
    // A dry run plans it all anew, where a run sees that nothing it reads has changed.
    let args = "sync --dry-run --detailed-exitcode --config config/quickstart.toml";
    let (status, third, _) = idpsyncd(folder.path(), &words(args));
    assert_eq!(status, 0, "{third}");
}

#[test]
fn the_first_command_of_the_readme_and_of_the_quickstart_is_the_one_tested_here() {
    let quickstart = fs::read_to_string(root().join("config/quickstart.toml")).unwrap();
    let command = quickstart.lines().find_map(|line| line.strip_prefix("#     ")).unwrap();
    assert_eq!(command, FIRST);
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let first = readme
        .lines()
        .map(|line| line.trim().trim_start_matches("$ "))
        .find(|line| line.starts_with("cargo ") || line.starts_with("idpsyncd "));
    assert_eq!(first, Some(FIRST));
}
