//! The store's files: rights, faults of the disk, other people's files, locks.

#![cfg(test)]

#[expect(dead_code, reason = "the tests of the store need more of it")]
mod store_support;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use idpsyncd::store::{Commit, CommitError, LockError, StoreErrorKind};
use store_support::door::{Reader, RunLock, Writer};
use store_support::*;
use support::skip;
use tempfile::TempDir;

const CHILD: &str = "IDPSYNCD_TEST_STORE_CHILD";
const DAEMON: u32 = 61_234;
const GATEWAY: u32 = 61_235;
const GROUP: u32 = 61_236;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

/// So many people.
fn people(count: u32) -> World {
    let mut world = World::default();
    world.role(role("user", Vec::new()));
    for id in 0..count {
        world.person(id, &format!("user-{id}"));
        world.idp(id, "user", &["/All"]);
    }
    world
}

/// Adds one person to the store, whose name is the generation's.
fn grow(writer: &mut Writer) -> u64 {
    let state = writer.reader().unwrap().state().unwrap();
    let count = u32::try_from(state.users.len()).unwrap();
    let plan = plan(&World::of(&state), &people(count + 1), at(i64::from(count)));
    commit(writer, &plan).generation.unwrap()
}

/// The names and contents of a folder's files.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            (path.file_name().unwrap().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// Some tests need root: two accounts, a file system of their own. They say so where they cannot
/// run, and fail where they must.
fn root() -> bool {
    let (folder, _) = folder();
    let root = fs::metadata(folder.path()).unwrap().uid() == 0;
    if !root {
        skip::skip(&skip::test(), "needs root");
    }
    root
}

fn said(child: &mut BufReader<ChildStdout>) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(child.read_line(&mut line).unwrap(), 0, "the child has ended");
        // The test harness prints its own lines first, without an end.
        if let Some((_, text)) = line.split_once("child: ") {
            return text.trim().to_owned();
        }
    }
}

fn this_test(program: &Path, job: &str, path: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, job)
        .env("STORE", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// What the other processes of these tests do.
#[test]
fn child() {
    let Ok(job) = std::env::var(CHILD) else { return };
    let path = PathBuf::from(std::env::var("STORE").unwrap());
    let say = |text: &str| {
        println!("child: {text}");
        std::io::stdout().flush().unwrap();
    };
    let lines = || std::io::stdin().lines().map_while(Result::ok);
    match job.as_str() {
        "write" => {
            let mut writer = Writer::open(&path).unwrap();
            say("open");
            for line in lines() {
                match line.as_str() {
                    "grow" => say(&format!("generation {}", grow(&mut writer))),
                    _ => break,
                }
            }
            drop(writer);
            say("closed");
        }
        "read" => {
            let reader = Reader::open(&path).unwrap().unwrap();
            let read = || {
                let state = reader.state().unwrap();
                assert_eq!(state.users.len() as u64, reader.meta().unwrap().generation);
                format!("generation {}", state.users.len())
            };
            say(&read());
            for line in lines() {
                match line.as_str() {
                    "again" => say(&read()),
                    _ => break,
                }
            }
        }
        "open" => match Writer::open(&path) {
            Ok(_) => say("opened"),
            Err(error) => say(&error.to_string()),
        },
        "lock" => {
            let lock = RunLock::acquire(&path, "idpsyncd sync", at(0)).unwrap();
            say("locked");
            lines().next();
            drop(lock);
            say("unlocked");
        }
        other => panic!("{other}"),
    }
}

struct Talk {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Talk {
    fn start(mut command: Command) -> Talk {
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Talk { child, out }
    }

    fn said(&mut self) -> String {
        said(&mut self.out)
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        self.said()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // A child of a test that failed must not outlive it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn another_account_reads_while_the_writer_runs_after_it_ended_and_after_it_was_killed() {
    if !root() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The test itself may lie where other accounts cannot reach it.
    let program = base.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let folder = base.path().join("state");
    fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(DAEMON), Some(GROUP)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    let path = folder.join("store.db");

    let write = || {
        let mut command = this_test(&program, "write", &path);
        command.uid(DAEMON).gid(GROUP);
        let mut talk = Talk::start(command);
        assert_eq!(talk.said(), "open");
        talk
    };
    let read = || {
        let mut command = this_test(&program, "read", &path);
        command.uid(GATEWAY).gid(GROUP);
        Talk::start(command)
    };
    // A gateway of another make, with the SQLite of the system.
    let sqlite = |uid: u32, gid: u32, sql: &str| {
        let target = format!("file:{}?mode=ro", path.display());
        let out = Command::new("sqlite3").arg(target).arg(sql).uid(uid).gid(gid).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned()
            + &String::from_utf8_lossy(&out.stderr);
        text.trim().to_owned()
    };
    let generation =
        "SELECT generation || ' ' || (SELECT count(*) FROM gateway_user) FROM gateway_meta";
    let expect = |g: u64, when: &str| {
        assert_eq!(sqlite(GATEWAY, GROUP, generation), format!("{g} {g}"), "{when}");
        assert_eq!(read().said(), format!("generation {g}"), "{when}");
    };

    let mut writer = write();
    assert_eq!(writer.ask("grow"), "generation 1");
    expect(1, "while the writer runs");
    let mut long = read();
    assert_eq!(long.said(), "generation 1");
    assert_eq!(writer.ask("grow"), "generation 2");
    assert_eq!(long.ask("again"), "generation 2");
    expect(2, "beside a reader that stays");
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let meta = fs::metadata(folder.join(name)).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o640, "{name}");
        assert_eq!((meta.uid(), meta.gid()), (DAEMON, GROUP), "{name}");
    }
    let unable = |sql: &str| {
        let plain =
            Command::new("sqlite3").arg(&path).arg(sql).uid(GATEWAY).gid(GROUP).output().unwrap();
        assert!(!plain.status.success(), "a gateway must not be able to: {sql}");
    };
    unable("DELETE FROM user");
    unable("PRAGMA user_version = 9");
    unable("CREATE TABLE mine (a)");
    assert!(sqlite(GATEWAY, GROUP + 1, generation).contains("unable to open"), "nor can strangers");

    assert_eq!(writer.ask("end"), "closed");
    drop(writer);
    expect(2, "after the writer ended");
    assert_eq!(long.ask("again"), "generation 2");
    drop(long);
    expect(2, "after everybody ended");
    // The last to leave is who would take the log along.
    let mut writer = write();
    assert_eq!(writer.ask("end"), "closed");
    drop(writer);
    expect(2, "after the writer ended as the last");

    let mut writer = write();
    assert_eq!(writer.ask("grow"), "generation 3");
    writer.kill();
    expect(3, "after the writer was killed");

    // A reader in the midst of a transaction keeps the log from being emptied: what it holds must
    // be read from there, even by those who cannot write its index.
    let mut writer = write();
    let mut holder = Command::new("sqlite3")
        .arg(format!("file:{}?mode=ro", path.display()))
        .uid(GATEWAY)
        .gid(GROUP)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = holder.stdin.as_mut().unwrap();
    writeln!(input, "BEGIN; SELECT generation FROM gateway_meta;").unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "3");
    assert_eq!(writer.ask("grow"), "generation 4");
    expect(4, "while the log is full");
    assert!(fs::metadata(folder.join("store.db-wal")).unwrap().len() > 0);
    writer.kill();
    expect(4, "after the writer was killed with a full log");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    expect(4, "after the last reader ended, too");
    assert!(fs::metadata(folder.join("store.db-wal")).unwrap().len() > 0);
    let mut writer = write();
    expect(4, "after the writer came back");
    assert_eq!(writer.ask("grow"), "generation 5");
    expect(5, "and went on");
}

#[test]
fn the_files_have_their_mode_whatever_the_umask() {
    for umask in ["000", "077"] {
        let (folder, path) = folder();
        let exe = std::env::current_exe().unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("umask {umask}; exec \"$0\" --exact child --nocapture"));
        shell.arg(exe).env(CHILD, "write").env("STORE", &path);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut talk = Talk::start(shell);
        assert_eq!(talk.said(), "open");
        assert_eq!(talk.ask("grow"), "generation 1");
        for name in ["store.db", "store.db-wal", "store.db-shm"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o640, "{name} with umask {umask}");
        }
    }
}

#[test]
fn what_root_makes_in_the_daemons_folder_belongs_to_the_daemon() {
    if !root() {
        return;
    }
    let (folder, path) = folder();
    std::os::unix::fs::chown(folder.path(), Some(DAEMON), Some(GROUP)).unwrap();
    let lock = RunLock::acquire(&path, "idpsyncd sync", at(0)).unwrap();
    let mut writer = Writer::open(&path).unwrap();
    grow(&mut writer);
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        let meta = fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (DAEMON, GROUP), "{name}");
    }
    drop((lock, writer));
}

/// What somebody puts under a name that is used in the store's folder. `target` is a file of another
/// person's, of which nothing may change.
type Trap = (&'static str, fn(&Path, &Path));

const TRAPS: [Trap; 6] = [
    ("a symbolic link", |name, target| std::os::unix::fs::symlink(target, name).unwrap()),
    ("a symbolic link", |name, target| {
        std::os::unix::fs::symlink(target.with_file_name("made by whoever follows"), name).unwrap();
    }),
    ("one of 2 names (hard links) of a file", |name, target| fs::hard_link(target, name).unwrap()),
    ("a folder", |name, _| fs::create_dir(name).unwrap()),
    ("a pipe", |name, _| assert!(Command::new("mkfifo").arg(name).status().unwrap().success())),
    ("a socket", |name, _| {
        drop(std::os::unix::net::UnixListener::bind(name).unwrap());
    }),
];

/// Content, mode, owner, number of names.
fn facts(path: &Path) -> (Vec<u8>, u32, (u32, u32), u64) {
    let meta = fs::metadata(path).unwrap();
    (fs::read(path).unwrap(), meta.mode(), (meta.uid(), meta.gid()), meta.nlink())
}

/// A run as far as files go.
fn run(path: &Path) -> Result<(), String> {
    let _lock = RunLock::acquire(path, "idpsyncd sync", at(0)).map_err(|e| e.to_string())?;
    Writer::open(path).map(drop).map_err(|e| e.to_string())
}

#[test]
fn nothing_in_the_stores_folder_is_followed_truncated_or_given_away() {
    let owners: &[Option<u32>] = if fs::metadata("/proc/self").unwrap().uid() == 0 {
        &[None, Some(DAEMON)]
    } else {
        &[None]
    };
    for owner in owners {
        for suffix in [".lock", "-wal", "-shm", "-journal", ""] {
            for (there, (what, put)) in TRAPS.iter().enumerate() {
                let case = format!("store.db{suffix} is {what} ({there}), folder of {owner:?}");
                let base = tempfile::tempdir().unwrap();
                let theirs = base.path().join("theirs");
                let folder = base.path().join("state");
                for made in [&theirs, &folder] {
                    fs::create_dir(made).unwrap();
                }
                fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
                let target = theirs.join("precious");
                fs::write(&target, "precious").unwrap();
                fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
                let path = folder.join("store.db");
                let name = folder.join(format!("store.db{suffix}"));
                put(&name, &target);
                std::os::unix::fs::chown(&folder, *owner, owner.map(|_| GROUP)).unwrap();
                let before = facts(&target);

                let error = run(&path).expect_err(&case);
                let expected = match (suffix, *what) {
                    ("", "a symbolic link") => format!(
                        "the store `{}` is a symbolic link, and none is followed: set \
                         `store.path` to the file itself",
                        path.display()
                    ),
                    ("", what) if !what.starts_with("one") => format!(
                        "the store `{}` is not a file: set `store.path` to a file",
                        path.display()
                    ),
                    (_, what) => format!("cannot use `{}`: it is {what}", name.display()),
                };
                assert!(error.starts_with(&expected), "{case}: {error}");
                assert_eq!(facts(&target), before, "{case}");
                assert_eq!(fs::read_dir(&theirs).unwrap().count(), 1, "{case}: nothing was made");
                // Readers do no better by a link.
                if what.contains("symbolic") && suffix.is_empty() {
                    assert!(Reader::open(&path).is_err(), "{case}");
                }
            }
        }
    }
}

#[test]
fn a_device_is_not_opened_for_a_lock() {
    if !root() {
        return;
    }
    let (folder, path) = folder();
    let name = folder.path().join("store.db.lock");
    let made = Command::new("mknod").arg(&name).args(["c", "1", "3"]).status().unwrap();
    if !made.success() {
        return skip::skip(&skip::test(), "cannot make a device");
    }
    let error = run(&path).unwrap_err();
    assert!(error.contains("it is a device"), "{error}");
}

#[test]
fn a_link_on_the_way_to_the_folder_is_the_administrators() {
    let base = tempfile::tempdir().unwrap();
    fs::create_dir(base.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", base.path().join("state")).unwrap();
    run(&base.path().join("state/store.db")).unwrap();
    assert!(base.path().join("real/store.db").is_file());
}

#[test]
fn a_lock_file_that_is_no_lock_keeps_its_content() {
    let (folder, path) = folder();
    let name = folder.path().join("store.db.lock");
    fs::write(&name, "precious").unwrap();
    let lock = RunLock::acquire(&path, "idpsyncd sync", at(0)).unwrap();
    let error = RunLock::acquire(&path, "idpsyncd run", at(0)).unwrap_err().to_string();
    assert!(error.contains("a process that has just started"), "{error}");
    drop(lock);
    assert_eq!(fs::read_to_string(&name).unwrap(), "precious");
    // One that a killed process left behind is signed anew.
    fs::write(&name, "process 1, `idpsyncd run`, since 2020-01-01T00:00:00Z\n").unwrap();
    let lock = RunLock::acquire(&path, "idpsyncd sync", at(0)).unwrap();
    assert!(fs::read_to_string(&name).unwrap().contains("`idpsyncd sync`"));
    drop(lock);
    assert_eq!(fs::read_to_string(&name).unwrap(), "");
}

#[test]
fn root_works_in_somebody_elses_folder_as_its_owner_and_is_root_again_afterwards() {
    if !root() {
        return;
    }
    let (folder, path) = folder();
    std::os::unix::fs::chown(folder.path(), Some(DAEMON), Some(GROUP)).unwrap();
    // What only root may touch is out of reach in there.
    let name = folder.path().join("store.db.lock");
    fs::write(&name, "").unwrap();
    fs::set_permissions(&name, fs::Permissions::from_mode(0o600)).unwrap();
    let error = run(&path).unwrap_err();
    let expected = format!("root works on it as uid {DAEMON}, gid {GROUP}, whose folder it is");
    assert!(error.contains("cannot open the lock") && error.contains(&expected), "{error}");
    let mine = folder.path().join("mine");
    fs::write(&mine, "").unwrap();
    assert_eq!(facts(&mine).2, (0, 0), "root again");

    // In a folder of root's that others may write, the store's owner is whose files they are.
    std::os::unix::fs::chown(folder.path(), Some(0), Some(GROUP)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o2770)).unwrap();
    fs::remove_file(&name).unwrap();
    fs::write(&path, "").unwrap();
    std::os::unix::fs::chown(&path, Some(DAEMON), Some(GROUP)).unwrap();
    run(&path).unwrap();
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"] {
        assert_eq!(facts(&folder.path().join(name)).2, (DAEMON, GROUP), "{name}");
    }
}

#[test]
fn root_that_may_not_become_the_owner_says_what_to_do() {
    if !root() {
        return;
    }
    if !skip::has("setpriv") {
        return skip::skip(&skip::test(), "no setpriv (Debian: util-linux)");
    }
    let (folder, path) = folder();
    std::os::unix::fs::chown(folder.path(), Some(DAEMON), Some(GROUP)).unwrap();
    let exe = std::env::current_exe().unwrap();
    let stripped = |capabilities: &str, job: &str| {
        let plain = this_test(&exe, job, &path);
        let mut command = Command::new("setpriv");
        command.arg(format!("--bounding-set={capabilities}")).arg("--inh-caps=-all");
        command.arg(plain.get_program()).args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Talk::start(command).said()
    };
    let said = stripped("-setuid,-setgid", "open");
    let expected = format!("run it as that account: `setpriv --reuid {DAEMON} --regid {GROUP}");
    assert!(said.contains(&expected), "{said}");
    assert!(content(folder.path()).is_empty());
    // Root without any capability is an account like others: it reads what it may.
    run(&path).unwrap();
    grow(&mut Writer::open(&path).unwrap());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        let path = folder.path().join(name);
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert_eq!(stripped("-all", "read"), "generation 1");
}

#[test]
fn reading_creates_and_alters_nothing() {
    let (folder, path) = folder();
    assert!(Reader::open(&path).unwrap().is_none());
    assert!(Reader::open(&folder.path().join("no/such/store.db")).unwrap().is_none());
    assert!(content(folder.path()).is_empty());

    let mut writer = Writer::open(&path).unwrap();
    grow(&mut writer);
    drop(writer);
    let before = content(folder.path());
    let reader = Reader::open(&path).unwrap().unwrap();
    assert_eq!(reader.meta().unwrap().generation, 1);
    assert_eq!(reader.state().unwrap().users.len(), 1);
    drop(reader);
    let stored = |files: Vec<(String, Vec<u8>)>| {
        files.into_iter().filter(|(name, _)| name != "store.db-shm").collect::<Vec<_>>()
    };
    assert_eq!(stored(content(folder.path())), stored(before));
}

#[test]
fn a_store_that_was_copied_alone_can_be_read_in_place() {
    let (folder, path) = folder();
    let mut writer = Writer::open(&path).unwrap();
    grow(&mut writer);
    drop(writer);
    let copied = folder.path().join("a copy?immutable=0#%");
    fs::create_dir(&copied).unwrap();
    fs::copy(&path, copied.join("store.db")).unwrap();
    let before = content(&copied);
    let reader = Reader::open(&copied.join("store.db")).unwrap().unwrap();
    let read = |reader: &Reader| {
        reader.snapshot(|reader| Ok((reader.meta()?.generation, reader.state()?.users.len())))
    };
    assert_eq!(read(&reader).unwrap(), (1, 1));
    assert_eq!(content(&copied), before, "nothing was created");

    // A writer that comes meanwhile is noticed: what was read without locks is not believed.
    let mut writer = Writer::open(&copied.join("store.db")).unwrap();
    grow(&mut writer);
    let error = read(&reader).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Busy);
    drop(reader);
    assert_eq!(read(&writer.reader().unwrap()).unwrap(), (2, 2));
    assert_eq!(grow(&mut writer), 3);
}

#[test]
fn a_log_without_its_index_is_not_silently_left_out() {
    let (folder, path) = folder();
    let mut writer = Writer::open(&path).unwrap();
    grow(&mut writer);
    // Generation 2 is in the log only.
    let reader = rusqlite::Connection::open(&path).unwrap();
    let hold = reader.unchecked_transaction().unwrap();
    hold.query_row("SELECT generation FROM gateway_meta", [], |row| row.get::<_, i64>(0)).unwrap();
    grow(&mut writer);
    let copied = folder.path().join("copied");
    fs::create_dir(&copied).unwrap();
    for name in ["store.db", "store.db-wal"] {
        fs::copy(folder.path().join(name), copied.join(name)).unwrap();
    }
    let error = Reader::open(&copied.join("store.db")).err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::Denied);
    assert!(error.message.contains("copied while in use"), "{error}");
    let writer = Writer::open(&copied.join("store.db")).unwrap();
    assert_eq!(writer.reader().unwrap().meta().unwrap().generation, 2);
}

/// What it is, how it is made, how it is refused.
type Case<'a> = (&'a str, &'a dyn Fn(&Path), StoreErrorKind, &'a str);

#[test]
fn what_is_not_a_store_is_refused_and_left_alone() {
    let cases: [Case; 4] = [
        (
            "a text",
            &|path| {
                fs::write(path, "not a database, but long enough to look at ".repeat(99)).unwrap()
            },
            StoreErrorKind::NotOurs,
            "is not a store of idpsyncd (not an SQLite database): it was left alone, set \
             `store.path` to another file",
        ),
        (
            "somebody else's database",
            &|path| {
                let conn = rusqlite::Connection::open(path).unwrap();
                conn.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)")
                    .unwrap();
            },
            StoreErrorKind::NotOurs,
            "is an SQLite database, but not a store of idpsyncd: it was left alone, set \
             `store.path` to another file",
        ),
        (
            "a newer store",
            &|path| {
                drop(Writer::open(path).unwrap());
                let conn = rusqlite::Connection::open(path).unwrap();
                conn.pragma_update(None, "user_version", 99).unwrap();
            },
            StoreErrorKind::Newer,
            "has schema version 99, this idpsyncd knows 11: it was left untouched, use the newer \
             idpsyncd that wrote it",
        ),
        (
            "a folder",
            &|path| fs::create_dir(path).unwrap(),
            StoreErrorKind::NotOurs,
            "is not a file: set `store.path` to a file",
        ),
    ];
    for (what, make, kind, message) in cases {
        let (folder, path) = folder();
        make(&path);
        let before = if path.is_file() { content(folder.path()) } else { Vec::new() };
        for error in [Reader::open(&path).err().unwrap(), Writer::open(&path).err().unwrap()] {
            assert_eq!(error.kind, kind, "{what}: {error}");
            assert!(error.message.ends_with(message), "{what}: {error}");
            assert!(error.message.contains(&format!("`{}`", path.display())), "{what}: {error}");
        }
        if path.is_file() {
            assert_eq!(content(folder.path()), before, "{what}");
        }
    }
}

#[test]
fn the_folder_is_never_made() {
    let (folder, _) = folder();
    let path = folder.path().join("none/store.db");
    let expected = format!(
        "the store's folder `{}` does not exist: create it, writable for this account",
        folder.path().join("none").display()
    );
    let error = Writer::open(&path).err().unwrap();
    assert_eq!((error.kind, error.to_string()), (StoreErrorKind::NoFolder, expected.clone()));
    let error = RunLock::acquire(&path, "idpsyncd sync", at(0)).unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert!(content(folder.path()).is_empty());
}

/// A small file system of its own.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn mount(options: &str) -> Option<Disk> {
        if !root() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk { folder };
        if disk.run("mount", &["-t", "tmpfs", "-o", options, "tmpfs"]) {
            return Some(disk);
        }
        skip::skip(&skip::test(), "cannot mount a tmpfs");
        None
    }

    fn run(&self, program: &str, args: &[&str]) -> bool {
        Command::new(program).args(args).arg(self.folder.path()).status().unwrap().success()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the reader of a store without a log leaves a descriptor open on purpose.
        self.run("umount", &["-l"]);
    }
}

#[test]
fn a_full_disk_is_told_and_harms_nothing() {
    let Some(disk) = Disk::mount("size=4m") else { return };
    let path = disk.folder.path().join("store.db");
    let mut writer = Writer::open(&path).unwrap();
    let small = people(10);
    commit(&mut writer, &plan(&World::default(), &small, at(0)));
    let big = plan(&small, &people(40_000), at(1));
    let before = writer.reader().unwrap().meta().unwrap();
    let commit = Commit {
        plan: &big,
        base_version: before.version,
        sources: &[],
        configured: &[],
        settled: None,
    };
    let error = writer.commit(&commit).unwrap_err();
    let CommitError::Store(error) = error else { panic!("{error}") };
    assert_eq!(
        (error.kind, error.to_string()),
        (
            StoreErrorKind::Full,
            format!(
                "cannot write the store `{}`: the disk is full; nothing was changed, free some \
                 space and run it again",
                path.display()
            )
        )
    );
    let reader = writer.reader().unwrap();
    assert_eq!(reader.meta().unwrap(), before);
    assert_eq!(World::of(&reader.state().unwrap()), small);
    drop((reader, writer));
    let writer = Writer::open(&path).unwrap();
    assert_eq!(World::of(&writer.reader().unwrap().state().unwrap()), small);
    drop(writer);

    assert!(disk.run("mount", &["-o", "remount,size=64m"]));
    let mut writer = Writer::open(&path).unwrap();
    assert_eq!(writer.commit(&commit).unwrap().generation, Some(2));
}

#[test]
fn a_disk_without_room_for_the_store_says_so() {
    let Some(disk) = Disk::mount("size=8k") else { return };
    let path = disk.folder.path().join("store.db");
    let error = Writer::open(&path).err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
    assert!(disk.run("mount", &["-o", "remount,size=8m"]));
    assert!(Reader::open(&path).unwrap().is_none(), "there is still no store");
    assert_eq!(grow(&mut Writer::open(&path).unwrap()), 1);
}

#[test]
fn a_read_only_file_system_is_read_and_told_when_written() {
    let Some(disk) = Disk::mount("size=8m") else { return };
    let path = disk.folder.path().join("store.db");
    let mut writer = Writer::open(&path).unwrap();
    grow(&mut writer);
    drop(writer);
    let alone = disk.folder.path().join("alone.db");
    fs::copy(&path, &alone).unwrap();
    assert!(disk.run("mount", &["-o", "remount,ro"]));
    for path in [&path, &alone] {
        let reader = Reader::open(path).unwrap().unwrap();
        assert_eq!(reader.meta().unwrap().generation, 1);
        assert_eq!(reader.state().unwrap().users.len(), 1);
        drop(reader);
        let error = Writer::open(path).err().unwrap();
        assert_eq!(error.kind, StoreErrorKind::Denied);
        assert!(error.to_string().contains("cannot write the store"), "{error}");
    }
    assert!(Writer::open(&disk.folder.path().join("new.db")).is_err());
    assert!(disk.run("mount", &["-o", "remount,rw"]));
    assert_eq!(grow(&mut Writer::open(&path).unwrap()), 2);
}

#[test]
fn an_account_without_rights_is_told_and_harms_nothing() {
    if !root() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = base.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = base.path().join("store.db");
    let stranger = |path: &Path| {
        let mut command = this_test(&program, "open", path);
        command.uid(GATEWAY).gid(GROUP);
        Talk::start(command).said()
    };
    assert!(stranger(&path).starts_with("cannot create the store"), "{}", stranger(&path));
    grow(&mut Writer::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = stranger(&path);
    assert!(error.contains("this account needs"), "{error}");
    assert_eq!(Reader::open(&path).unwrap().unwrap().meta().unwrap().generation, 1);
}

#[test]
fn of_two_processes_one_works_and_the_other_is_told_who() {
    let (folder, path) = folder();
    let exe = std::env::current_exe().unwrap();
    let start = || {
        let mut talk = Talk::start(this_test(&exe, "lock", &path));
        assert_eq!(talk.said(), "locked");
        talk
    };
    let mut first = start();
    let error = RunLock::acquire(&path, "idpsyncd run", at(5)).unwrap_err();
    assert!(matches!(error, LockError::Held { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "another idpsyncd works on the store `{}`: process {}, `idpsyncd sync`, since \
             2023-11-14T22:13:20Z; wait for it to end",
            path.display(),
            first.child.id()
        )
    );
    assert_eq!(first.ask("end"), "unlocked");
    let mine = RunLock::acquire(&path, "idpsyncd run", at(5)).unwrap();
    drop(mine);
    // The kernel lets go for those who cannot do it themselves.
    start().kill();
    let mine = RunLock::acquire(&path, "idpsyncd run", at(5)).unwrap();
    assert!(RunLock::acquire(&path, "idpsyncd run", at(5)).is_err(), "in one process as well");
    drop(mine);
    // Whoever can open it can lock it: no gateway may.
    let mode = fs::metadata(folder.path().join("store.db.lock")).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o600);
}
