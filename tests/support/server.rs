//! What the real servers of tests have in common: a port of their own, a process that answers or ends,
//! certificates, and programs that are run to their end.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A port that was free a moment ago, on the loopback.
pub fn free_port() -> u16 {
    // None that the kernel hands out by itself (on Linux those from 32768 on): whoever connects, or
    // listens on any port, may be given one of them before the server is there that it is meant for.
    // Each is given once here, so that tests that run side by side never talk to each other's server.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = fastrand::u16(10_000..32_768);
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free && GIVEN.lock().expect("no test panics in here").insert(port) {
            return port;
        }
    }
}

/// A server's process, killed when dropped.
pub struct Process(Child);

impl Process {
    /// Starts it and waits until it `answers`; `None`: it ended, or does not answer within a minute.
    pub fn start(command: &mut Command, answers: impl Fn() -> bool) -> Option<Process> {
        let mut process = Process(command.spawn().expect("a server"));
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if matches!(process.0.try_wait(), Ok(Some(_))) {
                return None;
            }
            if answers() {
                return Some(process);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a service manager does (SIGTERM), and waits.
    pub fn stop(mut self) {
        let pid = self.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        assert!(told.success(), "kill -TERM {pid}");
        self.0.wait().expect("its end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("a program")
}

/// Runs a program that reads `input` to its end, and forgets what it prints; what it complains of where
/// it fails.
pub fn fed(command: &mut Command, input: &str) -> Result<(), String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a program");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("its input");
    let output = child.wait_with_output().expect("its end");
    if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `openssl` in `dir`.
pub fn openssl(dir: &Path, arguments: &str) {
    let output = run(Command::new("openssl").args(arguments.split(' ')).current_dir(dir));
    assert!(output.status.success(), "openssl: {}", text(&output.stderr));
}

/// How every key of these tests is made.
pub const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";

/// An authority's certificate and its key, by the names of their files (`.pem` and `.key`).
pub type Authority = [&'static str; 2];

/// Makes an authority called `cn` in `dir`.
pub fn authority(dir: &Path, [certificate, key]: Authority, cn: &str) {
    openssl(
        dir,
        &format!("req -x509 {KEY} -keyout {key}.key -out {certificate}.pem -subj /CN={cn}"),
    );
}

/// A certificate by the authority in `dir` for whoever is called `cn`, with an extension such as
/// `subjectAltName=DNS:localhost`: `NAME.pem` and `NAME.key`.
pub fn certificate(dir: &Path, by: Authority, name: &str, cn: &str, extension: &str) {
    let [ca, ca_key] = by;
    openssl(dir, &format!("req {KEY} -keyout {name}.key -out {name}.csr -subj /CN={cn}"));
    std::fs::write(dir.join("extension"), format!("{extension}\n")).expect("a file");
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca_key}.key -CAcreateserial -days 2 \
             -extfile extension -out {name}.pem"
        ),
    );
}
