//! A folder with a configuration, a secret and a store, and the real binary to run on it.
//!
//! Every run is logged as loudly as it can be, and what it prints is searched for secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

/// How a home differs from the ordinary.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// `on_missing.after`
    pub after: &'a str,
    /// `guard.max_lost_floor`
    pub floor: u32,
    /// The whole identity of the group that gives `ops`.
    pub ops: &'a str,
}

/// See the module.
pub struct Home {
    folder: tempfile::TempDir,
    secrets: Vec<String>,
}

impl Home {
    /// One whose only source is `source`, the body of a `[[source]]` called `idp` that finds
    /// `secret` in the file `secret`.
    pub fn new(source: &str, secret: &str, options: Options<'_>) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let mut home = Home { folder, secrets: Vec::new() };
        home.secret(secret);
        home.configure(source, options);
        home
    }

    /// Puts `secret` in place of the one there is.
    pub fn secret(&mut self, secret: &str) {
        fs::write(self.path("secret"), format!("{secret}\n")).unwrap();
        self.secrets.push(secret.to_owned());
    }

    /// Writes the configuration: `ml` and `opsmate` by a group's bare name, `ops` by a
    /// group's whole identity, `oncall` by hand, `base` for everyone.
    pub fn configure(&self, source: &str, options: Options<'_>) {
        let Options { after, floor, ops } = options;
        let text = format!(
            r#"
            [store]
            path = "store.db"
            [sync]
            on_missing = {{ after = "{after}" }}
            [guard]
            max_lost_floor = {floor}
            [[source]]
            name = "idp"
            {source}
            [roles.base]
            everyone = true
            [[roles.base.policies]]
            actions = ["pool:List"]
            [roles.ml]
            external_roles = ["ml"]
            [[roles.ml.policies]]
            actions = ["workflow:*"]
            resources = ["pool/ml-*"]
            [roles.ops]
            external_roles = []
            [roles.opsmate]
            external_roles = ["ops"]
            [roles.oncall]
            external_roles = []
            [[mapping]]
            source = "idp"
            group = "{ops}"
            roles = ["ops"]
            [[catalog]]
            actions = ["workflow:Create"]
            resources = ["pool/ml-a", "pool/other"]
            [[catalog]]
            actions = ["pool:List"]
            "#
        );
        fs::write(self.path("idpsyncd.toml"), text).unwrap();
    }

    /// Whether the store's file is there.
    pub fn has_store(&self) -> bool {
        self.path("store.db").exists()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
        command.args(arguments).arg("--config").arg(self.path("idpsyncd.toml"));
        command.args(["--log-level", "trace"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.ran(self.command(arguments).output().unwrap())
    }

    /// Starts a sync. Its output goes to files, so that a full pipe cannot hold it up.
    pub fn start_sync(&self) -> Started<'_> {
        let file = |name| fs::File::create(self.path(name)).unwrap();
        let mut command = self.command(&["sync", "--output", "json"]);
        let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Started { home: self, child }
    }

    fn ran(&self, output: Output) -> Ran {
        let ran = Ran {
            status: output.status.code().expect("not ended by a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        for text in [&ran.out, &ran.err] {
            for secret in &self.secrets {
                assert!(!text.contains(secret.as_str()), "a secret is shown: {text}");
            }
            // The beginning of a JSON web token.
            assert!(!text.contains("eyJ"), "a token is shown: {text}");
        }
        ran
    }

    /// `sync`, which must end with `status`.
    pub fn sync(&self, status: i32) -> Report {
        self.run(&["sync", "--output", "json"]).report(status)
    }

    /// Each user's effective roles but `base`, as the gateway sees them; enabled users only.
    pub fn roles(&self) -> BTreeMap<String, String> {
        let conn = self.open();
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let enabled = "SELECT username, '' FROM gateway_user WHERE enabled";
        let roles = "SELECT username, role FROM gateway_user_role WHERE role <> 'base'";
        for sql in [enabled, roles] {
            let mut statement = conn.prepare(sql).unwrap();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let role: String = row.get(1).unwrap();
                found.entry(row.get(0).unwrap()).or_default().insert(role);
            }
        }
        let join = |roles: BTreeSet<String>| {
            roles.into_iter().filter(|role| !role.is_empty()).collect::<Vec<_>>().join(" ")
        };
        found.into_iter().map(|(user, roles)| (user, join(roles))).collect()
    }

    /// Asserts [`Home::roles`].
    #[track_caller]
    pub fn assert_roles(&self, wanted: &[(&str, &str)]) {
        let wanted = wanted.iter().map(|(user, roles)| ((*user).into(), (*roles).into()));
        assert_eq!(self.roles(), wanted.collect());
    }

    /// Everything that the views say, but for the time of the reads.
    pub fn views(&self) -> Dump {
        self.dump("view")
    }

    /// Everything that the file holds, but for the time of the reads.
    pub fn tables(&self) -> Dump {
        self.dump("table")
    }

    /// The time of the oldest read.
    pub fn read_at(&self) -> String {
        let sql = "SELECT oldest_source_read_at FROM gateway_meta";
        self.open().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// `explain USER`
    pub fn explain(&self, user: &str) -> Value {
        let ran = self.run(&["explain", user, "--output", "json"]);
        assert_eq!(ran.status, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }

    /// The roles of a user's grants with their origins, such as `ml:idp`.
    pub fn grants(&self, user: &str) -> Vec<String> {
        let told = self.explain(user);
        let grants = told["grants"].as_array().unwrap().iter();
        let mut grants: Vec<String> = grants
            .map(|grant| {
                format!("{}:{}", grant["role"].as_str().unwrap(), grant["origin"].as_str().unwrap())
            })
            .collect();
        grants.sort();
        grants
    }

    /// Whether the user may create workflows in `pool/ml-a`.
    pub fn may(&self, user: &str) -> bool {
        let ran = self.run(&["authorize", user, "workflow:Create", "pool/ml-a"]);
        assert!(matches!(ran.status, 0 | 5), "{}: {}", ran.status, ran.err);
        ran.status == 0
    }

    fn open(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        Connection::open_with_flags(self.path("store.db"), flags).unwrap()
    }

    fn dump(&self, kind: &str) -> Dump {
        let conn = self.open();
        let mut names =
            conn.prepare("SELECT name FROM sqlite_schema WHERE type = ?1 ORDER BY name").unwrap();
        let names: Vec<String> =
            names.query_map([kind], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(names.len() >= 6, "{names:?}");
        let mut dump = Dump::new();
        for name in names {
            let mut statement = conn.prepare(&format!("SELECT * FROM {name}")).unwrap();
            let columns: Vec<String> =
                statement.column_names().into_iter().map(str::to_owned).collect();
            let mut rows = statement.query([]).unwrap();
            let mut lines = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                let mut line = String::new();
                for (place, column) in columns.iter().enumerate() {
                    if !column.ends_with("read_at") && column != "tried_at" && column != "spoke_at"
                    {
                        let cell: Cell = row.get(place).unwrap();
                        line += &format!("{column}={cell:?} ");
                    }
                }
                lines.push(line);
            }
            lines.sort();
            dump.insert(name, lines);
        }
        dump
    }
}

/// Tables or views, row by row.
pub type Dump = BTreeMap<String, Vec<String>>;

/// A sync that is at work. Killed when dropped.
pub struct Started<'h> {
    home: &'h Home,
    child: Child,
}

impl Started<'_> {
    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        let read = |name| fs::read(self.home.path(name)).unwrap();
        self.home.ran(Output { status, stdout: read("out"), stderr: read("err") })
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run came to.
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// As a report of `sync`, which must have ended with `status`.
    #[track_caller]
    pub fn report(self, status: i32) -> Report {
        assert_eq!(self.status, status, "{}\n{}", self.out, tail(&self.err));
        let report: Value = serde_json::from_str(&self.out).unwrap();
        assert_eq!(report["exit_status"], status);
        Report(report)
    }
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(2000);
    (from..text.len()).find_map(|from| text.get(from..)).unwrap_or("")
}

/// What `sync --output json` said.
pub struct Report(pub Value);

impl Report {
    /// Whether it did nothing but read.
    pub fn is_quiet(&self) -> bool {
        self.0["generation"] == self.0["generation_before"]
            && self.0["changes"] == Value::Array(Vec::new())
            && self.0["held"].is_null()
    }

    /// The changes, such as `grant-removed ann ml membership-gone`: sorted, links left out.
    pub fn changes(&self) -> Vec<String> {
        words(&self.0["changes"])
    }

    /// The held changes.
    pub fn held(&self) -> Vec<String> {
        words(&self.0["held"]["changes"])
    }

    /// The warnings, a line each.
    pub fn warnings(&self) -> String {
        let lines = self.0["warnings"].as_array().unwrap().iter();
        lines.map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// Why the source was not read in full: its error, or the reasons of its scopes.
    pub fn trouble(&self) -> String {
        let source = &self.0["sources"][0];
        let scopes = source["scopes"].as_array().unwrap().iter();
        let texts = scopes.map(|scope| &scope["partial"]).chain([&source["error"]]);
        texts.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
    }
}

fn words(changes: &Value) -> Vec<String> {
    let word = |change: &Value| {
        let parts = ["change", "user", "role", "cause"];
        let parts = parts.iter().filter_map(|part| change[part].as_str());
        parts.collect::<Vec<_>>().join(" ")
    };
    let mut words: Vec<String> = changes.as_array().into_iter().flatten().map(word).collect();
    words.retain(|word| !word.starts_with("link-added"));
    words.sort();
    words
}
