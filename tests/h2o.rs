//! H2O through the real program: the example, and `h2o iam check`, `import` and `export`.
#![cfg(test)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::done::Done;

/// A copy of `config/examples/h2o` in a folder of its own.
struct Home {
    folder: tempfile::TempDir,
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples/h2o")
}

fn run(arguments: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
    for name in ["IDPSYNCD_CONFIG", "IDPSYNCD_LOG_FORMAT", "RUST_LOG"] {
        command.env_remove(name);
    }
    Done::of(command.args(arguments))
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("iam")).unwrap();
        for file in ["idpsyncd.toml", "realm.json", "iam/support.json", "iam/contractors.json"] {
            fs::copy(example().join(file), folder.path().join(file)).unwrap();
        }
        Home { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Done {
        let config = self.path("idpsyncd.toml");
        run(&[&["--config", &config], arguments].concat())
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Name and content of every file in `iam/`.
    fn files(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.folder.path().join("iam")).unwrap();
        let mut files: Vec<(String, String)> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let store = rusqlite::Connection::open_with_flags(
            self.path("store.db"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )
        .unwrap();
        let mut statement = store.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            (0..columns)
                .map(|column| Ok(row.get::<_, Option<String>>(column)?.unwrap_or("NULL".into())))
                .collect::<Result<Vec<String>, _>>()
        });
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    }
}

const SAMPLE: &str = r#"{"resources": ["*"],
 "statements": [{"subjects": ["role:AUDIT"], "actions": ["instance:read", "app:list"],
                 "attributes": [], "effect": "allow"},
                {"subjects": ["role:CONTRACTOR", "role:AUDIT"], "actions": ["app:delete"],
                 "effect": "deny"}]}"#;

#[test]
fn the_example_is_right_and_decides_as_the_app_store() {
    let config = example().join("idpsyncd.toml");
    let done = run(&["check", "--offline", "--config", config.to_str().unwrap()]).exits(0);
    assert!(done.out.contains("0 errors, 0 warnings"), "{}", done.out);
    let home = Home::new();
    home.run(&["sync"]).exits(0);
    for (user, action, resource, allowed) in [
        // The vendor's sample: support reads any instance and its logs.
        ("sue", "instance:view_log", "instance/17", true),
        ("sue", "instance:read", "instance/17", true),
        ("sue", "instance:terminate", "instance/17", false),
        ("bob", "instance:read", "instance/17", false),
        ("fay", "instance:view_log", "instance/17", false),
        // A deny of any policy denies.
        ("con", "instance:read", "instance/17", true),
        ("con", "instance:view_log", "instance/17", false),
        // Administrators, full access, visitors.
        ("ada", "app:delete", "app/5", true),
        ("ada", "admin:tag_create", "admin/tag", true),
        ("fay", "app:delete", "app/5", false),
        ("fay", "app:run", "visibility/ALL_USERS", true),
        ("vic", "app:run", "visibility/ALL_USERS", false),
        ("vic", "app:run", "tag/finance", true),
        ("vic", "app:run", "tag/health", false),
        ("vic", "tag:assign", "tag/finance", false),
        ("tom", "tag:assign", "tag/finance", true),
        ("tom", "tag:assign", "tag/health", false),
        ("con", "app:list", "tag/health", true),
    ] {
        let done = home.run(&["authorize", user, action, resource]);
        assert_eq!(done.status, if allowed { 0 } else { 5 }, "{user} {action} {resource}");
    }
    // Case is never folded.
    home.run(&["authorize", "sue", "instance:View_Log", "instance/17"]).exits(5);
    home.run(&["authorize", "fay", "app:import"]).exits(0);
    home.run(&["authorize", "vic", "app:import"]).exits(5);
    let tags = home.rows(
        "SELECT role, effect, action FROM gateway_role_policy WHERE resource = 'tag/finance' \
         ORDER BY role, position, action",
    );
    assert_eq!(
        tags,
        [
            ["finance-editors", "Allow", "tag:assign"],
            ["finance-editors", "Allow", "tag:remove"],
            ["finance-guests", "Allow", "app:list"],
            ["finance-guests", "Allow", "app:run"],
        ]
    );
    home.run(&["sync"]).exits(0);
    let generation = home.rows("SELECT CAST(generation AS TEXT) FROM gateway_meta");
    assert_eq!(generation, [["1"]]);
}

#[test]
fn check_names_file_and_field_and_needs_no_configuration() {
    let home = Home::new();
    let good = home.write("good.json", SAMPLE);
    run(&["h2o", "iam", "check", &good]).exits(0).says("1 policy");
    let bad =
        home.write("bad.json", &SAMPLE.replace("\"deny\"", "\"deny\", \"effect\": \"allow\""));
    run(&["h2o", "iam", "check", &bad])
        .exits(1)
        .says(&format!("{bad}: statements[2].effect: stands twice"));
    let done = run(&["h2o", "iam", "check", &bad, "--output", "json"]).exits(1);
    let report: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        report["faults"],
        json!([{"field": "statements[2].effect", "message": "stands twice"}])
    );
    run(&["h2o", "iam", "check", &home.path("none.json")]).exits(1).complains("none.json");
    run(&["h2o", "iam", "check"]).exits(64);
}

#[test]
fn what_is_imported_is_stored_once_and_an_export_imports_to_nothing() {
    let home = Home::new();
    let before = home.files();
    let file = home.write("audit.json", SAMPLE);
    home.run(&["h2o", "iam", "import", &file]).exits(0).says("iam/audit.json");
    let after = home.files();
    assert_eq!(after.len(), before.len() + 1);
    assert!(before.iter().all(|it| after.contains(it)), "what was there stays");
    let stored: Value =
        serde_json::from_str(&fs::read_to_string(home.path("iam/audit.json")).unwrap()).unwrap();
    assert_eq!(stored, serde_json::from_str::<Value>(SAMPLE).unwrap());
    home.run(&["sync"]).exits(0);
    let audit = home.rows("SELECT effect, action, resource FROM gateway_role_policy WHERE role = 'AUDIT' ORDER BY position, action");
    assert_eq!(
        audit,
        [["Allow", "app:list", "*"], ["Allow", "instance:read", "*"], ["Deny", "app:delete", "*"]]
    );
    // Again, and by what was exported: nothing happens.
    home.run(&["h2o", "iam", "import", &file]).exits(0).says("Nothing to import");
    let exported = home.run(&["h2o", "iam", "export"]).exits(0).out;
    let all: Value = serde_json::from_str(&exported).unwrap();
    // By the files' names: audit, contractors, support.
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(all[0], stored);
    assert_eq!(all[2]["statements"][0]["actions"], json!(["instance:view_log", "instance:read"]));
    let exported = home.write("exported.json", &exported);
    let done = home.run(&["h2o", "iam", "import", &exported, "--output", "json"]).exits(0);
    assert_eq!(
        serde_json::from_str::<Value>(&done.out).unwrap(),
        json!({"stored": 0, "known": 3, "file": null})
    );
    assert_eq!(home.files(), after);
    home.run(&["sync"]).exits(0);
    assert_eq!(home.rows("SELECT CAST(generation AS TEXT) FROM gateway_meta"), [["1"]]);
    // An export goes over to another place whole, and comes out the same.
    let other = Home::new();
    fs::remove_file(other.path("iam/support.json")).unwrap();
    fs::remove_file(other.path("iam/contractors.json")).unwrap();
    assert_eq!(other.run(&["h2o", "iam", "export"]).exits(0).out, "[]\n");
    other.run(&["h2o", "iam", "import", &exported]).exits(0);
    assert_eq!(
        other.run(&["h2o", "iam", "export"]).exits(0).out,
        fs::read_to_string(&exported).unwrap()
    );
}

#[test]
fn an_import_never_takes_the_place_of_a_file_and_leaves_nothing_half_done() {
    let home = Home::new();
    let before = home.files();
    let file = home.write("support.json", SAMPLE);
    home.run(&["h2o", "iam", "import", &file]).exits(0).says("iam/support-2.json");
    let after = home.files();
    assert!(before.iter().all(|it| after.contains(it)));
    assert_eq!(after.len(), before.len() + 1, "nothing else lies there");
    // Whole or not at all.
    let twice = format!("[{SAMPLE}, {}]", SAMPLE.replace("allow", "ALLOW"));
    let bad = home.write("bad.json", &twice);
    home.run(&["h2o", "iam", "import", &bad])
        .exits(1)
        .complains("bad.json: [2].statements[1].effect: `ALLOW` is neither");
    // Nor is what would make the configuration wrong.
    let case = home.write("case.json", &SAMPLE.replace("AUDIT", "support"));
    home.run(&["h2o", "iam", "import", &case])
        .exits(1)
        .complains("role `support` differs from role `SUPPORT` in case only");
    assert_eq!(home.files(), after);
    // Of a file only what is new.
    let more = home.write(
        "more.txt",
        &format!("[{SAMPLE}, {}, {SAMPLE}]", SAMPLE.replace("app:delete", "app:update")),
    );
    home.run(&["h2o", "iam", "import", &more]).exits(0).says("1 policy, 2 policies there already");
    assert!(Path::new(&home.path("iam/more.json")).exists());
}

#[test]
fn an_import_needs_to_know_where() {
    let home = Home::new();
    let file = home.write("audit.json", SAMPLE);
    let text = fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    home.write("idpsyncd.toml", &text.replace("iam = [\"iam/*.json\"]", ""));
    home.run(&["h2o", "iam", "import", &file]).exits(1).complains("`[h2o]`");
    home.write("idpsyncd.toml", &text.replace("iam/*.json", "iam/support.json"));
    home.run(&["h2o", "iam", "import", &file]).exits(1).complains("no name is free");
}

#[test]
fn a_policy_that_is_not_understood_is_no_configuration() {
    let home = Home::new();
    home.run(&["sync"]).exits(0);
    home.write("iam/support.json", &SAMPLE.replace("\"attributes\": []", "\"attributes\": [{}]"));
    home.run(&["sync"]).exits(1).complains("iam/support.json`: statements[1].attributes");
    home.run(&["check", "--offline"]).exits(1).says("statements[1].attributes");
    // The store decides as before.
    let rows = home.rows("SELECT count(*) || '' FROM gateway_role_policy WHERE role = 'SUPPORT'");
    assert_eq!(rows, [["2"]]);
}

#[test]
fn a_file_that_a_pattern_finds_and_nobody_can_open_is_unknown_and_lifts_no_deny() {
    let home = Home::new();
    home.run(&["sync"]).exits(0);
    let denies = "SELECT count(*) || '' FROM gateway_role_policy WHERE effect = 'Deny'";
    let before = home.rows(denies);
    assert_ne!(before, [["0"]]);
    fs::remove_file(home.path("iam/contractors.json")).unwrap();
    std::os::unix::fs::symlink("nowhere.json", home.path("iam/contractors.json")).unwrap();
    home.run(&["sync"]).exits(1).complains("cannot read");
    assert_eq!(home.rows(denies), before);
    // A folder that has none any more is told by the run that takes them along.
    for file in ["iam/contractors.json", "iam/support.json"] {
        fs::remove_file(home.path(file)).unwrap();
    }
    home.run(&["sync", "--dry-run"]).exits(0).says("no file fits");
}

#[test]
fn a_pattern_is_relative_to_the_configuration_however_that_is_named() {
    let home = Home::new();
    home.write("deny.json", &fs::read_to_string(home.path("iam/contractors.json")).unwrap());
    let text = fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    home.write("idpsyncd.toml", &text.replace("\"iam/*.json\"", "\"d*.json\""));
    for name in ["idpsyncd.toml", "./idpsyncd.toml"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_idpsyncd"))
            .current_dir(home.folder.path())
            .args(["h2o", "iam", "export", "--config", name])
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && out.contains("CONTRACTOR"), "{name}: {output:?}");
    }
}

#[test]
fn full_access_that_is_everyones_is_said_aloud() {
    let home = Home::new();
    let text = fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    let line = text.lines().find(|line| line.starts_with("full_access_role")).unwrap();
    for instead in ["", "full_access_role = \"\""] {
        home.write("idpsyncd.toml", &text.replace(line, instead));
        let done = home.run(&["check", "--offline"]).exits(0).says("h2o.full_access_role is");
        done.says("that means everyone has full access");
    }
    home.run(&["sync"]).exits(0);
    home.run(&["authorize", "bob", "app:import"]).exits(0);
}
