//! `idpsyncd run`, the real binary: what systemd hears of it through a socket of the test's own,
//! what signals do, what ends up in the store.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use idpsyncd::config;
use idpsyncd::model::LocalGrant;
use idpsyncd::plan::ByHand;
use idpsyncd::sync;
use rusqlite::{Connection, OpenFlags};
use support::door::{Reader, RunLock};

/// How long something may take before the test gives up: nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(90);

const NEVER: &str = "0 0 0 1 1 *";
const EVERY_SECOND: &str = "* * * * * *";

/// Waits until `condition` gives something.
fn await_some<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn await_true(what: &str, mut condition: impl FnMut() -> bool) {
    await_some(what, || condition().then_some(()));
}

/// A folder with a configuration, a realm export and a store.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new(cron: &str) -> Self {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        home.configure(cron, "");
        home.realm(&["ada", "ben"], &["cleo"]);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn store(&self) -> PathBuf {
        self.path("store.db")
    }

    /// Only runs read it: how a file is followed is another matter (`tests/following.rs`).
    fn configure(&self, cron: &str, more: &str) {
        let text = format!(
            r#"
            [store]
            path = "store.db"
            [schedule]
            cron = "{cron}"
            jitter = "0s"
            [[source]]
            name = "acme"
            kind = "file"
            realm_export = "realm.json"
            watch = "off"
            [roles.ml]
            external_roles = ["ML"]
            [roles.ops]
            external_roles = []
            {more}
            "#
        );
        fs::write(self.path("idpsyncd.toml"), text).unwrap();
    }

    fn config(&self) -> config::Config {
        config::load(&self.path("idpsyncd.toml"), &idpsyncd::source::kinds()).unwrap()
    }

    fn realm_text(members: &[&str], others: &[&str]) -> String {
        let user = |name: &&str, groups: &[&str]| {
            serde_json::json!({"id": format!("id-{name}"), "username": name, "enabled": true,
                "groups": groups})
        };
        let users = members.iter().map(|name| user(name, &["/ML"]));
        let users = users.chain(others.iter().map(|name| user(name, &[])));
        serde_json::json!({
            "realm": "acme",
            "groups": [{"id": "g1", "name": "ML", "path": "/ML", "subGroups": []}],
            "roles": {"realm": [], "client": {}},
            "users": users.collect::<Vec<_>>(),
        })
        .to_string()
    }

    /// The export with these people in the group `ML`, and these outside. Put in place whole, as
    /// the daemon may be reading.
    fn realm(&self, members: &[&str], others: &[&str]) {
        fs::write(self.path("realm.new"), Home::realm_text(members, others)).unwrap();
        fs::rename(self.path("realm.new"), self.path("realm.json")).unwrap();
    }

    /// An export that does not say anything until somebody writes into it.
    fn silent_realm(&self) {
        fs::remove_file(self.path("realm.json")).unwrap();
        let done = Command::new("mkfifo").arg(self.path("realm.json")).status().unwrap();
        assert!(done.success());
    }

    fn generation(&self) -> u64 {
        Reader::open(&self.store()).unwrap().map_or(0, |reader| reader.meta().unwrap().generation)
    }

    /// What a gateway sees, as `user role`.
    fn roles(&self) -> BTreeSet<String> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let conn = Connection::open_with_flags(self.store(), flags).unwrap();
        let mut rows = conn.prepare("SELECT username, role FROM gateway_user_role").unwrap();
        rows.query_map([], |row| {
            Ok(format!("{} {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect()
    }

    fn await_generation(&self, generation: u64) {
        await_true(&format!("generation {generation}"), || {
            self.store().exists() && self.generation() >= generation
        });
    }

    fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    fn start_with(&self, env: &[(&str, &str)]) -> Daemon {
        let socket = UnixDatagram::bind(self.path("notify")).unwrap();
        let (send, messages) = channel();
        // Always drained: a full socket would hold up the daemon.
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                if text == "end of test" || send.send(text).is_err() {
                    return;
                }
            }
        });
        let child = self
            .command()
            .env("NOTIFY_SOCKET", self.path("notify"))
            .envs(env.iter().copied())
            .spawn()
            .unwrap();
        Daemon { child, messages, heard: Vec::new(), folder: self.folder.path().to_owned() }
    }

    fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
        command
            .args(["run", "--config"])
            .arg(self.path("idpsyncd.toml"))
            .env("IDPSYNCD_LOG_FORMAT", "json")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// The runs that the log tells of, each as why it started.
    fn runs(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines
            .map(|line: serde_json::Value| line.get("fields").cloned().unwrap_or(line))
            .filter(|fields| fields["message"].as_str().is_some_and(|m| m.starts_with("run done")))
            .map(|fields| fields["why"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// The daemon under test. Killed when dropped.
struct Daemon {
    child: Child,
    messages: Receiver<String>,
    /// Every datagram so far.
    heard: Vec<String>,
    folder: PathBuf,
}

impl Daemon {
    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Waits for a datagram that fits, and returns it. Those before it are over then.
    fn hear(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(message) => {
                    self.heard.push(message.clone());
                    if fits(&message) {
                        return message;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                    panic!("never heard {what}; heard {:#?}\n{log}", self.heard);
                }
            }
        }
    }

    fn hear_line(&mut self, line: &str) -> String {
        self.hear(line, |message| message.lines().any(|other| other == line))
    }

    fn hear_status(&mut self, part: &str) -> String {
        self.hear(&format!("a status with `{part}`"), |message| {
            message.lines().any(|line| line.starts_with("STATUS=") && line.contains(part))
        })
    }

    /// SIGHUP, and what systemd hears of it.
    fn reload(&mut self) {
        self.signal("HUP");
        self.hear_line("RELOADING=1");
        self.hear_line("READY=1");
    }

    fn exit(&mut self) -> ExitStatus {
        await_some("the end of the daemon", || self.child.try_wait().unwrap())
    }

    /// Stops it as systemd does.
    fn stop(&mut self) {
        self.signal("TERM");
        self.hear_line("STOPPING=1");
        assert_eq!(self.exit().code(), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.send_to(b"end of test", self.folder.join("notify"));
        }
    }
}

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn it_is_ready_once_the_store_is_loaded_and_runs_at_once() {
    let home = Home::new(NEVER);
    let mut daemon = home.start();
    daemon.hear_line("READY=1");
    let status = daemon.hear_status("generation 1; last run ");
    assert!(status.contains("; next run "), "{status}");
    assert!(status.contains("-01-01T00:00:00Z (schedule)"), "{status}");
    assert_eq!(home.roles(), set(&["ada ml", "ben ml"]));
    daemon.stop();
    assert_eq!(home.runs(), ["start"]);
    // Few changes have a line each, which names user and role.
    for name in ["ada", "ben"] {
        let change = format!("grant-added {name} ml");
        let told = |line: &&str| line.contains("INFO") && line.contains(&change);
        assert_eq!(home.log().lines().filter(told).count(), 1, "{name}: {}", home.log());
    }
}

#[test]
fn it_is_ready_although_its_sources_are_down_and_names_them_in_the_status_line() {
    let home = Home::new(NEVER);
    fs::remove_file(home.path("realm.json")).unwrap();
    let mut daemon = home.start();
    daemon.hear_line("READY=1");
    daemon.hear_status("failing: acme");
    assert!(home.log().contains("there is no such file"), "{}", home.log());
    home.realm(&["ada"], &[]);
    daemon.reload();
    daemon.hear("a status without failing sources", |message| {
        message.contains("next run") && !message.contains("failing")
    });
    daemon.stop();
    assert_eq!(home.roles(), set(&["ada ml"]));
    assert!(home.log().contains("source `acme` is whole again"), "{}", home.log());
}

#[test]
fn a_store_whose_folder_is_missing_is_an_error_at_start() {
    let home = Home::new(NEVER);
    let text = fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    let text = text.replace("store.db", "nowhere/store.db");
    fs::write(home.path("idpsyncd.toml"), text).unwrap();
    let mut daemon = home.start();
    assert_eq!(daemon.exit().code(), Some(1));
    assert!(daemon.messages.try_iter().all(|message| !message.contains("READY=1")));
    assert!(home.log().contains("nowhere"), "{}", home.log());
}

#[test]
fn without_a_service_manager_it_runs_and_stops_all_the_same() {
    for signal in ["-TERM", "-INT"] {
        let home = Home::new(NEVER);
        let mut child = home.command().spawn().unwrap();
        home.await_generation(1);
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let status = await_some("the end of the daemon", || child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn every_tick_of_the_schedule_is_a_run() {
    let home = Home::new(EVERY_SECOND);
    let mut daemon = home.start();
    daemon.hear_status("generation 1");
    home.realm(&["ada", "ben", "dora"], &["cleo"]);
    home.await_generation(2);
    assert_eq!(home.roles(), set(&["ada ml", "ben ml", "dora ml"]));
    daemon.stop();
    let runs = home.runs();
    assert_eq!(runs[0], "start");
    assert!(runs.len() > 1 && runs[1..].iter().all(|why| why == "schedule"), "{runs:?}");
}

#[test]
fn sighup_loads_the_file_and_runs_at_once() {
    let home = Home::new(NEVER);
    let mut daemon = home.start();
    daemon.hear_status("generation 1; last run ");
    home.realm(&["ada", "ben", "dora"], &["cleo"]);
    home.configure(NEVER, "[roles.all]\neveryone = true");
    daemon.signal("HUP");
    let reloading = daemon.hear_line("RELOADING=1");
    assert!(reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading}");
    daemon.hear_line("READY=1");
    daemon.hear_status("generation 2; last run ");
    assert!(home.roles().is_superset(&set(&["dora ml", "cleo all"])));
    daemon.stop();
    assert_eq!(home.runs(), ["start", "reload"]);
}

#[test]
fn a_broken_file_leaves_the_old_configuration_running_and_is_told() {
    let home = Home::new(EVERY_SECOND);
    let mut daemon = home.start();
    daemon.hear_status("generation 1");
    home.configure(EVERY_SECOND, "[roles.bad]\nsync_mode = \"sometimes\"\nbogus = 1");
    daemon.reload();
    let status = daemon.hear_status("the old configuration is in force");
    assert!(status.contains("2 faults"), "{status}");
    // Every fault is logged, with its key.
    for key in ["roles.bad.sync_mode", "roles.bad.bogus"] {
        assert!(home.log().contains(key), "{key}: {}", home.log());
    }
    // The old one goes on.
    home.realm(&["ada", "ben", "dora"], &["cleo"]);
    home.await_generation(2);
    assert_eq!(home.roles(), set(&["ada ml", "ben ml", "dora ml"]));
    // Mended, it is in force and the status line is clean.
    home.configure(EVERY_SECOND, "[roles.good]\neveryone = true");
    daemon.reload();
    let status = daemon.hear_status("generation 3");
    assert!(!status.contains("the old configuration"), "{status}");
    daemon.stop();
}

#[test]
fn a_new_file_whose_store_cannot_be_used_leaves_the_old_one_running() {
    let home = Home::new(NEVER);
    let mut daemon = home.start();
    daemon.hear_status("generation 1; last run ");
    let text = fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    fs::write(home.path("idpsyncd.toml"), text.replace("store.db", "nowhere/store.db")).unwrap();
    daemon.reload();
    daemon.stop();
    let told = daemon.heard.iter().any(|m| m.contains("old configuration is in force"));
    assert!(told, "{:#?}", daemon.heard);
    assert_eq!(home.runs(), ["start"]);
}

#[test]
fn a_file_that_is_gone_leaves_the_old_configuration_running() {
    let home = Home::new(EVERY_SECOND);
    let mut daemon = home.start();
    daemon.hear_status("generation 1");
    fs::remove_file(home.path("idpsyncd.toml")).unwrap();
    daemon.reload();
    home.realm(&["ada", "ben", "dora"], &["cleo"]);
    home.await_generation(2);
    daemon.stop();
}

#[test]
fn an_idle_daemon_feeds_the_watchdog() {
    let home = Home::new(NEVER);
    let mut daemon = home.start_with(&[("WATCHDOG_USEC", "400000")]);
    daemon.hear_status("generation 1; last run ");
    for _ in 0..3 {
        daemon.hear_line("WATCHDOG=1");
    }
    daemon.stop();
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let home = Home::new(NEVER);
    let mut daemon = home.start_with(&[("WATCHDOG_USEC", "2000"), ("WATCHDOG_PID", "1")]);
    daemon.hear_status("generation 1; last run ");
    daemon.stop();
    assert!(daemon.heard.iter().all(|message| !message.contains("WATCHDOG=1")));
}

/// Two milliseconds: a feeder that went by the clock alone would send at nearly every turn of the
/// loop, and each reload is some turns.
#[test]
fn a_read_that_hangs_starves_the_watchdog_and_ends_with_sigterm() {
    let home = Home::new(NEVER);
    home.silent_realm();
    let mut daemon = home.start_with(&[("WATCHDOG_USEC", "2000")]);
    daemon.hear_status("reading, run of ");
    // A broken file: its reload is answered and leaves the run alone.
    home.configure(NEVER, "bogus = 1");
    daemon.reload();
    let before = daemon.heard.len();
    for _ in 0..20 {
        daemon.reload();
    }
    let since = &daemon.heard[before..];
    assert!(since.iter().all(|message| !message.contains("WATCHDOG=1")), "{since:#?}");
    daemon.stop();
    assert_eq!(home.generation(), 0);
}

#[test]
fn sigterm_waits_for_the_running_transaction() {
    let home = Home::new(NEVER);
    home.silent_realm();
    // The watchdog makes the loop turn often, and with it the status line.
    let mut daemon = home.start_with(&[("WATCHDOG_USEC", "400000")]);
    daemon.hear_status("reading, run of ");
    // Somebody else's transaction holds up the daemon's.
    let other = Connection::open(home.store()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    fs::write(home.path("realm.json"), Home::realm_text(&["ada"], &[])).unwrap();
    daemon.hear_status("planning and writing");
    daemon.signal("TERM");
    daemon.hear_line("STOPPING=1");
    // A second signal changes nothing.
    daemon.signal("TERM");
    assert!(daemon.child.try_wait().unwrap().is_none());
    assert_eq!(home.generation(), 0);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(daemon.exit().code(), Some(0));
    assert_eq!(home.generation(), 1);
    assert_eq!(home.roles(), set(&["ada ml"]));
}

#[test]
fn a_store_that_another_process_works_on_is_tried_again() {
    let home = Home::new(NEVER);
    let now = chrono::Utc::now();
    let lock = RunLock::acquire(&home.store(), "idpsyncd sync", now).unwrap();
    let mut daemon = home.start();
    let status = daemon.hear_status("another idpsyncd works on the store");
    assert!(status.contains("(retry)"), "{status}");
    // There is nothing yet that gateways could live on.
    assert!(daemon.heard.iter().all(|message| !message.contains("READY=1")));
    drop(lock);
    daemon.hear_line("READY=1");
    daemon.hear_status("generation 1; last run ");
    daemon.stop();
    assert_eq!(home.runs(), ["retry"]);

    // A store that is there is ready to be lived on, whoever works on it.
    let lock = RunLock::acquire(&home.store(), "idpsyncd sync", now).unwrap();
    fs::remove_file(home.path("notify")).unwrap();
    let mut daemon = home.start();
    daemon.hear_line("READY=1");
    daemon.hear_status("generation 1; last run ");
    daemon.stop();
    drop(lock);
}

#[test]
fn a_grants_expiry_between_ticks_is_a_run_of_its_own() {
    let home = Home::new(NEVER);
    let mut daemon = home.start();
    daemon.hear_status("generation 1; last run ");
    let config = home.config();
    let now = chrono::Utc::now();
    let store = idpsyncd::store::open(&config.store);
    sync::by_hand(&config, &*store, now, None, |state| {
        let user =
            state.users.iter().find(|user| state.texts.get(user.username) == "cleo").unwrap();
        let role = state.roles.find_by(|role| role.name.as_str().cmp("ops")).unwrap();
        let grant = LocalGrant {
            by: "root".into(),
            at: now,
            reason: "on call".to_owned(),
            until: Some(now + Duration::from_secs(4)),
        };
        Ok(ByHand::Add { user: user.id, role, grant })
    })
    .unwrap();
    assert_eq!(home.generation(), 2);
    home.await_generation(3);
    assert_eq!(home.roles(), set(&["ada ml", "ben ml"]));
    daemon.hear_status("generation 3; last run ");
    daemon.stop();
    assert_eq!(home.runs(), ["start", "due"]);
}

#[test]
fn a_held_plan_is_in_the_status_line_until_a_person_has_settled_it() {
    let home = Home::new(NEVER);
    let strict = "[guard]\nmax_lost_floor = 0\nmax_lost_percent = 0";
    home.configure(NEVER, strict);
    let mut daemon = home.start();
    daemon.hear_status("generation 1; last run ");
    home.realm(&[], &["ada", "ben", "cleo"]);
    daemon.reload();
    daemon.hear_status("held plan ");
    let reader = Reader::open(&home.store()).unwrap().unwrap();
    let held = reader.held().unwrap().unwrap();
    assert!(home.log().contains(&format!("idpsyncd plan approve {}", held.id)), "{}", home.log());
    assert_eq!(home.roles(), set(&["ada ml", "ben ml"]));
    let now = chrono::Utc::now();
    let config = home.config();
    let store = idpsyncd::store::open(&config.store);
    await_some("the approval", || sync::approve(&config, &*store, &held.id, "test", now).ok());
    let status = daemon.hear_status("generation 2");
    assert!(!status.contains("held plan"), "{status}");
    daemon.stop();
    assert_eq!(home.roles(), set(&[]));
}

#[test]
fn what_repeats_from_run_to_run_is_logged_once() {
    let home = Home::new(EVERY_SECOND);
    fs::remove_file(home.path("realm.json")).unwrap();
    let mut daemon = home.start();
    await_true("some runs", || home.runs().len() >= 3);
    daemon.stop();
    assert_eq!(home.log().matches("there is no such file").count(), 1, "{}", home.log());
}

/// The path that systemd gives is used as it is.
#[test]
fn a_socket_that_is_gone_does_not_stop_the_daemon() {
    let home = Home::new(NEVER);
    let mut child =
        home.command().env("NOTIFY_SOCKET", Path::new("/nonexistent/notify")).spawn().unwrap();
    home.await_generation(1);
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let status = await_some("the end of the daemon", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert_eq!(home.log().matches("cannot tell the service manager").count(), 1);
}
