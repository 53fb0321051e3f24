//! The real binary at work for tests: a folder with its configuration, its process, its log.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// A folder with a configuration and a store, and what runs on it.
pub struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    /// One with this configuration.
    pub fn new(config: &str) -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        home.configure(config);
        home
    }

    /// Puts another configuration in place.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.path("idpsyncd.toml"), config).unwrap();
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command with this configuration, to be run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
        command.args(args).arg("--config").arg(self.path("idpsyncd.toml"));
        command.env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must end with this status; what it printed.
    pub fn ok(&self, args: &[&str], status: i32) -> String {
        let output = self.run(args);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{args:?}\n{out}\n{err}");
        out.into_owned()
    }

    /// Starts `run` or `serve`.
    pub fn start(&self, what: &str) -> Idpsyncd {
        self.start_with(what, &[])
    }

    /// Starts `run` or `serve` with environment variables.
    pub fn start_with(&self, what: &str, env: &[(&str, &Path)]) -> Idpsyncd {
        self.start_at(what, "idpsyncd=debug", env)
    }

    /// The same, logging at a level.
    pub fn start_at(&self, what: &str, level: &str, env: &[(&str, &Path)]) -> Idpsyncd {
        let log = self.path(&format!("{what}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let from = file.metadata().unwrap().len();
        let mut command = self.command(&[what, "--log-level", level]);
        command.envs(env.iter().copied()).stdout(Stdio::null()).stderr(file);
        Idpsyncd { child: command.spawn().unwrap(), log, from }
    }
}

/// A running `idpsyncd run` or `serve`; killed when dropped.
pub struct Idpsyncd {
    child: Child,
    log: PathBuf,
    from: u64,
}

impl Idpsyncd {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What its threads are called.
    pub fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // One that ends meanwhile has no name.
        let names = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.map(|name| name.trim().to_owned()).collect()
    }

    /// The most memory that it has had so far, in MiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let text = std::fs::read(&self.log).unwrap();
        let from = usize::try_from(self.from).unwrap();
        String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
    }

    /// Waits until `condition` gives something.
    pub fn until<T>(&mut self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = condition() {
                return value;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended while waiting for: {what}\n{}", self.log());
            assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the log holds `text`.
    pub fn until_logged(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended before it logged `{text}`\n{}", self.log());
            assert!(Instant::now() < deadline, "never logged `{text}`\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it with SIGTERM; it must end well.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.ended();
        assert!(status.success(), "{status}\n{}", self.log());
    }
}

impl Drop for Idpsyncd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
