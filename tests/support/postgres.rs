//! A small PostgreSQL for tests, in a folder of its own, and the troubles it can have.
//!
//! The server of Debian's `postgresql`, without a cluster of the system's: made by `initdb` in a
//! temporary folder, on a free port of the loopback, without passwords, without fsync. It refuses to
//! run as root, so root runs it as `nobody`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::server::free_port;
use super::skip;

/// A running server. Stopped when dropped, and when the test process ends in whatever way.
pub struct Postgres {
    /// Where it listens, on the loopback.
    pub port: u16,
    programs: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Postgres {
    /// Starts one. `None` where it is not installed (and says so).
    pub fn start() -> Option<Postgres> {
        let Some(programs) = programs() else {
            skip::skip(&skip::test(), "PostgreSQL is not installed (Debian: postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        if let Some((uid, gid)) = other_account() {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).unwrap();
        }
        let data = path.join("data");
        let made = as_other(&programs.join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"])
            .arg("--no-sync")
            .arg("-D")
            .arg(&data)
            .current_dir(&path)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = Postgres { port: free_port(), programs, folder, child: None };
        postgres.start_again();
        Some(postgres)
    }

    /// A standby of this one, which follows it.
    pub fn standby(&self) -> Postgres {
        let folder = tempfile::tempdir().unwrap();
        if let Some((uid, gid)) = other_account() {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let copied = as_other(&self.programs.join("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres"])
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-D"])
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let programs = self.programs.clone();
        let mut standby = Postgres { port: free_port(), programs, folder, child: None };
        standby.start_again();
        standby
    }

    /// Waits until this standby has everything that `primary` has now.
    pub fn await_replayed(&self, primary: &Postgres) {
        let there = primary.sql("postgres", "SELECT pg_current_wal_lsn()");
        self.await_true(&format!("SELECT pg_last_wal_replay_lsn() >= '{there}'"));
    }

    /// Waits until `sql` finds `true`.
    pub fn await_true(&self, sql: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.sql("postgres", sql) != "t" {
            assert!(Instant::now() < deadline, "never true: {sql}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Cuts this standby off from its primary: nothing that is committed from now on reaches it.
    pub fn detach(&self) {
        self.sql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        self.sql("postgres", "SELECT pg_reload_conf()");
        self.await_true("SELECT count(*) = 0 FROM pg_stat_wal_receiver");
    }

    /// Makes this standby a primary.
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()");
    }

    /// Stops it at once, in the middle of whatever it does. Nothing that was committed is lost.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// Starts it again, with what it had.
    pub fn start_again(&mut self) {
        let path = self.folder.path();
        let log = std::fs::File::create(path.join("log")).unwrap();
        // As for Keycloak: no server outlives its tests. An immediate stop is enough for data that
        // nobody keeps.
        let watch = r#""$@" </dev/null & server=$!; read line; kill -QUIT $server; wait $server"#;
        let mut server = as_other(&self.programs.join("postgres"));
        server.arg("-D").arg(path.join("data")).args(["-p", &self.port.to_string()]);
        server.arg("-k").arg(path);
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "full_page_writes=off"] {
            server.args(["-c", setting]);
        }
        let child = Command::new("sh")
            .args(["-c", watch, "sh"])
            .arg(server.get_program())
            .args(server.get_args())
            .current_dir(path)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let child = self.child.insert(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        let ready = || {
            let mut asking = psql(&self.programs, self.port, "postgres");
            asking.args(["-c", "SELECT 1"]).output().unwrap().status.success()
        };
        while !ready() {
            let log = || std::fs::read_to_string(path.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not come up:\n{}", log());
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "PostgreSQL ended:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Makes an empty database for `user`, who owns it and is no superuser. Returns its JDBC URL.
    pub fn database(&self, name: &str, user: &str) -> String {
        self.sql("postgres", &format!("CREATE ROLE {user} LOGIN"));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {user}"));
        format!("jdbc:postgresql://127.0.0.1:{}/{name}", self.port)
    }

    /// From now on every role but the superuser signs in by a password, and `role` by this one. Whoever is signed
    /// in stays so.
    pub fn ask_password(&self, role: &str, password: &str) {
        self.sql("postgres", &format!("ALTER ROLE {role} PASSWORD '{password}'"));
        let rules = "host all,replication postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(self.data().join("pg_hba.conf"), rules).unwrap();
        self.sql("postgres", "SELECT pg_reload_conf()");
        let deadline = Instant::now() + Duration::from_secs(60);
        let goes_without = || {
            let mut asking = self.psql("postgres");
            asking.args(["-w", "-U", role, "-c", "SELECT 1"]).output().unwrap().status.success()
        };
        while goes_without() {
            assert!(Instant::now() < deadline, "nobody is asked for a password");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs SQL in a database, as superuser; what it printed, cells and rows apart by `|` and new
    /// lines.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let run = self.psql(database).args(["-c", sql]).output().unwrap();
        assert!(run.status.success(), "{sql}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim_end().to_owned()
    }

    /// Holds tables locked against everybody, readers too, until the lock is dropped.
    pub fn lock(&self, database: &str, tables: &str) -> Locked {
        self.lock_for(database, tables, "ACCESS EXCLUSIVE")
    }

    /// Holds tables locked in a mode, such as `SHARE`: against whoever writes.
    pub fn lock_for(&self, database: &str, tables: &str, mode: &str) -> Locked {
        let mut child =
            self.psql(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let locking = format!("BEGIN;\nLOCK TABLE {tables} IN {mode} MODE;\n");
        input.write_all(locking.as_bytes()).unwrap();
        let mut locked = Locked { child, input: Some(input), output };
        locked.say("locked");
        locked
    }

    /// Makes each row that is put into `table` take until what this returns is dropped, while the server works
    /// at it.
    pub fn slow(&self, database: &str, table: &str) -> Slow<'_> {
        self.sql(
            database,
            &format!(
                "CREATE TABLE IF NOT EXISTS public.go (a int); TRUNCATE public.go; \
                 GRANT SELECT ON public.go TO PUBLIC; \
                 CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                   WHILE NOT EXISTS (SELECT 1 FROM public.go) LOOP PERFORM pg_sleep(0.05); END LOOP; \
                   RETURN NEW; END $$; \
                 CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION public.slow()"
            ),
        );
        Slow { postgres: self, database: database.to_owned(), table: table.to_owned() }
    }

    fn psql(&self, database: &str) -> Command {
        psql(&self.programs, self.port, database)
    }
}

fn psql(programs: &Path, port: u16, database: &str) -> Command {
    let mut psql = Command::new(programs.join("psql"));
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"])
        .args(["-p", &port.to_string(), "-U", "postgres", "-d", database])
        .stdin(Stdio::null())
        .env_clear();
    psql
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Tables that are locked.
pub struct Locked {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Locked {
    /// Waits until everything sent before has been done.
    fn say(&mut self, word: &str) {
        let input = self.input.as_mut().expect("it is open");
        input.write_all(format!("\\echo {word}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // The end of its input ends psql, and its transaction with it.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// A table into which nothing is put until this is dropped.
pub struct Slow<'p> {
    postgres: &'p Postgres,
    database: String,
    table: String,
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        let Slow { postgres, database, table } = self;
        postgres.sql(database, "INSERT INTO public.go VALUES (1)");
        postgres.sql(database, &format!("DROP TRIGGER slow ON {table}"));
    }
}

/// The folder of the newest server's programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let newest = versions
        .max_by_key(|it| it.file_name().to_str().and_then(|version| version.parse::<u32>().ok()))?;
    let programs = newest.path().join("bin");
    programs.join("postgres").is_file().then_some(programs)
}

/// For root: who runs the server instead, as uid and gid.
pub(super) fn other_account() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let run = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8(run.stdout).unwrap().trim().parse::<u32>().unwrap()
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "nobody"]), id(&["-g", "nobody"])))
}

/// `program`, to be run by an account that is not root.
pub(super) fn as_other(program: &Path) -> Command {
    let Some((uid, gid)) = other_account() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command
        .args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups"])
        .arg("--")
        .arg(program);
    command
}
