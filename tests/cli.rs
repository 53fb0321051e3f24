//! The commands as they are typed: exit statuses, what is written and what is not, text and JSON.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use idpsyncd::model::parse_rfc3339;
use serde_json::{Value, json};
use support::done::Done;
use support::door::RunLock;

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
    for name in
        ["IDPSYNCD_CONFIG", "IDPSYNCD_LOG_FORMAT", "RUST_LOG", "NO_COLOR", "SUDO_USER", "SUDO_UID"]
    {
        command.env_remove(name);
    }
    command.env("USER", "tester").env("COLUMNS", "100");
    command
}

/// A folder with a configuration of two realm exports, and a store once something has synced.
struct Home {
    folder: tempfile::TempDir,
}

const CONFIG: &str = r#"
[store]
path = "store.db"

[guard]
max_lost_percent = 10
max_lost_floor = 1

[[source]]
name = "acme"
kind = "file"
realm_export = "acme.json"

[[source]]
name = "plant"
kind = "file"
realm_export = "plant.json"

[roles.ml]
external_roles = ["ML"]
[[roles.ml.policies]]
actions = ["pool:List"]
[[roles.ml.policies]]
actions = ["workflow:*"]
resources = ["pool/ml-*"]

[roles.brake]
sync_mode = "force"
external_roles = []
[[roles.brake.policies]]
effect = "Deny"
actions = ["workflow:Exec"]
resources = ["*"]

[roles.auditor]
sync_mode = "import"
external_roles = ["Audit"]
[[roles.auditor.policies]]
actions = ["*:Read"]
resources = ["*"]

[roles.hand]
sync_mode = "ignore"

[roles.all]
everyone = true
[[roles.all.policies]]
actions = ["auth:Login"]

[[mapping]]
group = "/Brake"
roles = ["brake"]

[[catalog]]
actions = ["workflow:Create", "workflow:Exec"]
resources = ["pool/ml-a", "pool/x"]
[[catalog]]
actions = ["pool:List"]
"#;

/// A realm export: each person with the groups they are in; `-` before a name: disabled.
fn realm(people: &[(&str, &[&str])]) -> String {
    let groups: BTreeSet<&str> = ["ML", "Brake", "Audit"].into();
    let users: Vec<Value> = people
        .iter()
        .map(|(name, groups)| {
            let (name, enabled) = name.strip_prefix('-').map_or((*name, true), |n| (n, false));
            let groups: Vec<String> = groups.iter().map(|group| format!("/{group}")).collect();
            json!({ "id": format!("id-{name}"), "username": name, "enabled": enabled,
                "email": format!("{name}@acme.example"), "groups": groups })
        })
        .collect();
    let groups: Vec<Value> = groups
        .iter()
        .map(|name| {
            json!({ "id": format!("g-{name}"), "name": name, "path": format!("/{name}"),
            "subGroups": [] })
        })
        .collect();
    json!({ "realm": "acme", "groups": groups, "roles": { "realm": [], "client": {} },
        "users": users })
    .to_string()
}

const ACME: &[(&str, &[&str])] = &[
    ("ada", &["ML", "Brake"]),
    ("ben", &["ML"]),
    ("cleo", &["ML", "Audit"]),
    ("dora", &["ML"]),
    ("-eve", &["ML"]),
    ("finn", &[]),
];

impl Home {
    fn new() -> Self {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        home.configure(CONFIG);
        home.write("acme.json", &realm(ACME));
        home.write("plant.json", &realm(&[("gil", &["ML"])]));
        home
    }

    /// One that has synced.
    fn synced() -> Self {
        let home = Home::new();
        home.run(&["sync"]).exits(0);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn configure(&self, text: &str) {
        self.write("idpsyncd.toml", text);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = binary();
        command.current_dir(self.folder.path()).args(args).args(["--config", "idpsyncd.toml"]);
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(&mut self.command(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--output", "json"]].concat()).json()
    }

    /// Everything in the folder but SQLite's shared memory, in which readers leave their marks, and
    /// the lock.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .filter(|(name, _)| !name.ends_with("-shm") && !name.ends_with(".lock"))
            .collect();
        files.sort();
        files
    }

    fn roles(&self, user: &str) -> Vec<String> {
        let user = self.json(&["user", "show", user]);
        user["roles"].as_array().unwrap().iter().map(|r| r.as_str().unwrap().to_owned()).collect()
    }

    /// Takes three of the four enabled holders of `ml` out of the group.
    fn lose_three(&self) {
        self.write(
            "acme.json",
            &realm(&[
                ("ada", &["ML", "Brake"]),
                ("ben", &[]),
                ("cleo", &["Audit"]),
                ("dora", &[]),
                ("-eve", &["ML"]),
                ("finn", &["ML"]),
            ]),
        );
    }
}

// ---- exit statuses -----------------------------------------------------------------------------

#[test]
fn a_wrong_command_line_exits_64_before_anything_is_touched() {
    let home = Home::new();
    let before = home.files();
    for args in [
        &["frobnicate"][..],
        &["sync", "--frobnicate"],
        &["sync", "--output", "yaml"],
        &["sync", "--source", "acme", "--offline"],
        &["sync", "--source", "nobody"],
        &["authorize", "ada"],
        &["authorize", "ada", "workflow:*"],
        &["authorize", "ada", "*:*"],
        &["authorize", "ada", "workflow"],
        &["authorize", "ada", "workflow:Exec", "pool/*"],
        &["authorize", "ada", "workflow:Exec", "*"],
        &["authorize", "ada", "workflow:Exec", "pool"],
        &["authorize", "ada", "pool:List", "--request", "GET /api/pool"],
        &["authorize", "ada", "--request"],
        &["explain", "ada", "--action", "workflow:*"],
        &["explain", "ada", "--action", "workflow:Exec", "--resource", "pool/*"],
        &["explain", "ada", "--resource", "pool/x"],
        &["history", "--since", "tomorrow"],
        &["history", "--limit", "few"],
        &["grant", "add", "ada", "hand"],
        &["grant", "add", "ada", "hand", "--reason", " "],
        &["grant", "add", "ada", "hand", "--reason", "r", "--until", "2001-01-01T00:00:00Z"],
        &["grant", "add", "ada", "hand", "--reason", "r", "--until", "soon"],
        &["plan"],
        &["plan", "approve"],
        &["completions", "cobol"],
        &["sync", "--log-level", "a=b=c"],
    ] {
        let done = home.run(args);
        assert_eq!(done.status, 64, "{args:?}: {done:#?}");
        assert!(done.out.is_empty() && !done.err.is_empty(), "{args:?}: {done:#?}");
    }
    Done::of(&mut binary()).exits(64);
    home.run(&["sync", "--source", "acm"])
        .exits(64)
        .complains("there is no source `acm` in the configuration: it has `acme`, `plant`");
    assert_eq!(home.files(), before);
}

#[test]
fn a_broken_configuration_exits_1_with_every_fault_for_every_command() {
    let home = Home::synced();
    home.configure(
        &CONFIG.replace("max_lost_floor = 1", "max_lost_flor = 1\nmax_lost_percent = 5"),
    );
    home.configure(
        &CONFIG
            .replace("max_lost_floor", "max_lost_flor")
            .replace("sync_mode = \"force\"", "sync_mode = \"farce\""),
    );
    let before = home.files();
    for args in [
        &["sync"][..],
        &["run"],
        &["explain", "ada"],
        &["authorize", "ada", "pool:List"],
        &["status"],
        &["plan", "show"],
        &["history"],
        &["user", "list"],
        &["grant", "list"],
    ] {
        home.run(args)
            .exits(1)
            .complains("idpsyncd.toml:7:")
            .complains("max_lost_floor")
            .complains("farce");
    }
    home.run(&["check", "--offline"]).exits(1).says("max_lost_flor").says("farce");
    let faults = home.run(&["check", "--output", "json"]).exits(1).json();
    assert!(faults.to_string().contains("max_lost_flor"), "{faults}");
    assert_eq!(home.files(), before);
}

#[test]
fn a_configuration_is_named_by_option_else_by_environment_and_its_absence_says_how() {
    let home = Home::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = binary();
    command.current_dir(elsewhere.path()).args(["sync", "--dry-run"]);
    Done::of(command.env("IDPSYNCD_CONFIG", home.path("idpsyncd.toml"))).exits(0).says("ada");
    Done::of(command.env("IDPSYNCD_CONFIG", "nothing.toml"))
        .exits(1)
        .complains("cannot read the configuration `nothing.toml`")
        .complains("--config FILE");
    // The option wins.
    Done::of(command.arg("--config").arg(home.path("idpsyncd.toml"))).exits(0);
}

#[test]
fn a_run_while_another_works_exits_1_and_says_who_it_is() {
    let home = Home::synced();
    let at = parse_rfc3339("2026-01-02T03:04:05Z").unwrap();
    let lock = RunLock::acquire(&home.path("store.db"), "idpsyncd run", at).unwrap();
    let before = home.files();
    let holder =
        format!("process {}, `idpsyncd run`, since 2026-01-02T03:04:05Z", std::process::id());
    home.run(&["sync"])
        .exits(1)
        .complains("another idpsyncd works on the store")
        .complains(&holder);
    // Who only reads needs no lock.
    home.run(&["sync", "--dry-run"]).exits(0);
    home.run(&["status"]).exits(0);
    assert_eq!(home.files(), before);
    drop(lock);
    home.run(&["sync"]).exits(0);
}

#[test]
fn a_store_whose_folder_is_missing_exits_1_and_the_folder_is_not_made() {
    let home = Home::new();
    home.configure(&CONFIG.replace("store.db", "nowhere/store.db"));
    home.run(&["sync"]).exits(1).complains("nowhere");
    assert!(!home.path("nowhere").exists());
}

#[test]
fn without_a_store_reading_commands_exit_1_and_say_what_to_do_but_status_answers() {
    let home = Home::new();
    let before = home.files();
    for args in [
        &["explain", "ada"][..],
        &["authorize", "ada", "pool:List"],
        &["plan", "show"],
        &["plan", "approve", "x"],
        &["plan", "discard", "x"],
        &["history"],
        &["user", "list"],
        &["user", "show", "ada"],
        &["grant", "list"],
        &["grant", "add", "ada", "hand", "--reason", "r"],
        &["grant", "remove", "ada", "hand"],
    ] {
        home.run(args).exits(1).complains("run `idpsyncd sync` first");
    }
    home.run(&["status"]).exits(0).says("not there yet").says("never read in full");
    let status = home.json(&["status"]);
    assert_eq!((&status["exists"], &status["generation"]), (&json!(false), &json!(0)));
    assert_eq!(home.files(), before);
}

#[test]
fn a_source_that_fails_exits_4_while_the_rest_is_applied_and_nothing_of_it_is_lost() {
    let home = Home::synced();
    fs::remove_file(home.path("acme.json")).unwrap();
    home.write("plant.json", &realm(&[("gil", &["ML"]), ("hal", &["ML"])]));
    let report = home.run(&["sync", "--output", "json"]).exits(4).json();
    assert_eq!(report["exit_status"], 4);
    assert_eq!(report["sources"][0]["status"], "failed");
    assert!(report["sources"][0]["error"].as_str().unwrap().contains("acme.json"));
    assert_eq!(report["sources"][1]["status"], "complete");
    assert_eq!(report["summary"]["pairs_lost"], 0);
    assert_eq!(home.roles("hal"), ["all", "ml"]);
    assert_eq!(home.roles("ada"), ["all", "brake", "ml"]);
    home.run(&["sync"]).exits(4).says("failed").says("its mirror of").says("acme.json");
    // On standard error too, whatever the command and its format.
    for args in [
        &["sync"][..],
        &["sync", "--output", "json"],
        &["sync", "--dry-run"],
        &["sync", "--source", "acme", "--output", "json"],
        &["check"],
        &["check", "--output", "json"],
    ] {
        home.run(args).complains("source `acme` failed: ").complains("acme.json");
    }
    home.run(&["status"]).exits(0).says("failed").says("acme.json");
    // Before removals that are held.
    home.write("plant.json", &realm(&[]));
    home.configure(
        &CONFIG
            .replace("max_lost_floor = 1", "max_lost_floor = 0\nprotected_roles = { ml = 6 }")
            .replace("[sync]", "")
            .replace("[guard]", "[sync]\non_missing = { after = \"0s\" }\n[guard]"),
    );
    let report = home.run(&["sync", "--output", "json"]).exits(4).json();
    assert!(report["held"]["id"].is_string(), "{report:#}");
}

#[test]
fn a_dry_run_with_detailed_exitcode_exits_2_where_it_finds_changes() {
    let home = Home::new();
    home.run(&["sync", "--dry-run"]).exits(0);
    home.run(&["sync", "--dry-run", "--detailed-exitcode"]).exits(2);
    // Only a dry run does.
    home.run(&["sync", "--detailed-exitcode"]).exits(0);
    home.run(&["sync", "--dry-run", "--detailed-exitcode"]).exits(0).says("generation 1 stands");
    home.lose_three();
    // What is held comes before what is changed.
    home.run(&["sync", "--dry-run", "--detailed-exitcode"]).exits(3);
    fs::remove_file(home.path("plant.json")).unwrap();
    home.run(&["sync", "--dry-run", "--detailed-exitcode"]).exits(4);
}

// ---- sync --------------------------------------------------------------------------------------

#[test]
fn a_dry_run_makes_no_file_where_there_is_no_store() {
    let home = Home::new();
    let before = home.files();
    for format in ["text", "json"] {
        home.run(&["sync", "--dry-run", "--output", format]).exits(0).says("ada");
    }
    assert_eq!(home.files(), before);
    for more in ["store.db-shm", "store.db.lock"] {
        assert!(!home.path(more).exists(), "{more}");
    }
}

#[test]
fn a_dry_run_alters_no_byte_of_a_store_and_shows_what_a_sync_then_does() {
    let home = Home::synced();
    home.write("plant.json", &realm(&[("gil", &["ML", "Brake"]), ("hal", &["Audit"])]));
    let before = home.files();
    let mut planned = home.json(&["sync", "--dry-run"]);
    home.run(&["sync", "--dry-run"]).exits(0).says("Nothing was written: this was a dry run.");
    assert_eq!(home.files(), before);
    let mut done = home.json(&["sync"]);
    assert_eq!((&planned["generation"], &done["generation"]), (&json!(1), &json!(2)));
    for report in [&mut planned, &mut done] {
        let report = report.as_object_mut().unwrap();
        for key in ["at", "dry_run", "applied", "generation", "sources"] {
            report.remove(key).unwrap();
        }
    }
    assert_eq!(planned, done);
}

#[test]
fn a_sync_that_changes_nothing_writes_no_generation() {
    let home = Home::synced();
    home.run(&["sync"]).exits(0).says("generation 1 stands");
    assert_eq!(home.json(&["status"])["generation"], 1);
    assert_eq!(home.json(&["sync"])["changes"], json!([]));
}

#[test]
fn with_source_only_that_one_is_read_and_the_others_speak_through_their_mirrors() {
    let home = Home::synced();
    home.write("acme.json", "this is not asked");
    home.write("plant.json", &realm(&[("gil", &["ML"]), ("hal", &["ML"])]));
    let report = home.run(&["sync", "--source", "plant", "--output", "json"]).exits(0).json();
    assert_eq!(report["sources"][0]["status"], "not-asked");
    assert_eq!(report["sources"][1]["status"], "complete");
    assert_eq!(home.roles("hal"), ["all", "ml"]);
    assert_eq!(home.roles("ada"), ["all", "brake", "ml"]);
    home.run(&["sync", "--source", "plant"]).exits(0).says("not asked");
    home.run(&["sync", "--source", "acme", "--source", "plant"]).exits(4);
}

#[test]
fn offline_contacts_no_source_and_plans_a_changed_configuration_against_the_mirrors() {
    let home = Home::synced();
    fs::remove_file(home.path("acme.json")).unwrap();
    fs::remove_file(home.path("plant.json")).unwrap();
    home.configure(&format!("{CONFIG}\n[roles.new]\nexternal_roles = [\"Audit\"]\n"));
    let before = home.files();
    let report = home.run(&["sync", "--offline", "--dry-run", "--output", "json"]).exits(0).json();
    let statuses: Vec<&Value> =
        report["sources"].as_array().unwrap().iter().map(|source| &source["status"]).collect();
    assert_eq!(statuses, ["not-asked", "not-asked"]);
    let gained: Vec<(&Value, &Value)> = report["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["change"] == "grant-added")
        .map(|change| (&change["user"], &change["role"]))
        .collect();
    assert_eq!(gained, [(&json!("cleo"), &json!("new"))]);
    assert_eq!(home.files(), before);
    home.run(&["sync", "--offline"]).exits(0).says("Generation 2 is committed.");
    assert_eq!(home.roles("cleo"), ["all", "auditor", "ml", "new"]);
}

#[test]
fn text_tells_who_gains_what_through_what_and_what_to_do_next() {
    let home = Home::new();
    home.run(&["sync", "--dry-run"])
        .exits(0)
        .says("Sources\n  acme   file  complete  6 users, 3 groups")
        .says("What would change\n")
        .says("+  ada   ml")
        .says("through group `/ML` (acme, roles.ml)")
        .says("Would apply: 7 users created")
        .says("To apply it: idpsyncd sync --config idpsyncd.toml");
    home.run(&["sync"]).exits(0).says("What changed\n").says("Generation 1 is committed.");
}

// ---- check -------------------------------------------------------------------------------------

#[test]
fn check_exits_0_with_warnings_alone_and_1_with_errors() {
    let home = Home::new();
    home.run(&["check"]).exits(0).says("idpsyncd.toml: 0 errors, 0 warnings");
    home.configure(&format!("{CONFIG}\n[[mapping]]\ngroup_name = \"Nobody\"\nroles = [\"ml\"]\n"));
    home.run(&["check"]).exits(0).says("warning: ").says("Nobody").says("0 errors, 1 warning\n");
    let report = home.json(&["check"]);
    assert_eq!(report["errors"], json!([]));
    assert!(report["warnings"][0].as_str().unwrap().contains("Nobody"), "{report:#}");
    assert_eq!(report["config"], "idpsyncd.toml");

    // A sync that has told the same before takes nothing from it.
    home.run(&["sync"]).exits(0);
    assert_eq!(home.json(&["check"]), report);
    home.run(&["sync", "--dry-run"]).exits(0).says("Nobody");
    fs::remove_file(home.path("store.db")).unwrap();

    fs::remove_file(home.path("acme.json")).unwrap();
    home.run(&["check"]).exits(1).says("error: acme: ").says("acme.json");
    let report = home.run(&["check", "--output", "json"]).exits(1).json();
    assert_eq!(report["errors"].as_array().unwrap().len(), 1, "{report:#}");
    home.run(&["check", "--offline"]).exits(0).says("(no source was contacted)");
    assert!(!home.path("store.db").exists());
}

#[test]
fn check_tells_of_secrets_that_every_user_of_the_machine_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    home.configure(&format!(
        r#"{CONFIG}
        [[source]]
        name = "kc"
        kind = "keycloak"
        url = "https://kc.example"
        realm = "r"
        client_id = "c"
        client_secret = {{ file = "kc.secret" }}
        [[source]]
        name = "dir"
        kind = "ldap"
        url = "ldaps://dir.example"
        bind_dn = "cn=reader"
        bind_password = {{ file = "ldap.secret" }}
        users = {{ base = "ou=p", username = "uid" }}
        groups = {{ base = "ou=g", name = "cn" }}
        [gateway]
        http = "127.0.0.1:9"
        identity = "header"
        [gateway.tls]
        cert_file = "tls.pem"
        key_file = "tls.key"
        client_ca_file = "ca.pem"
        [[gateway.route]]
        path = "/login"
        action = "auth:Login"
        "#
    ));
    let secrets = ["kc.secret", "ldap.secret", "tls.key"];
    home.write("tls.pem", "public");
    let warned = |mode: u32| {
        for name in secrets {
            home.write(name, "secret");
            let rights = fs::Permissions::from_mode(mode);
            fs::set_permissions(home.path(name), rights).unwrap();
        }
        let report = home.json(&["check", "--offline"]);
        let warnings = report["warnings"].as_array().unwrap().clone();
        let of = |name: &&str| {
            let mark = format!("{name}`: `chmod o-rwx` it");
            warnings.iter().any(|warning| warning.as_str().unwrap().contains(&mark))
        };
        assert!(!warnings.iter().any(|warning| warning.as_str().unwrap().contains("tls.pem")));
        secrets.iter().filter(|name| of(name)).count()
    };
    assert_eq!(warned(0o644), 3);
    assert_eq!(warned(0o604), 3);
    assert_eq!(warned(0o640), 0);
    assert_eq!(warned(0o600), 0);
    for name in secrets {
        fs::remove_file(home.path(name)).unwrap();
    }
    home.run(&["check", "--offline"]).exits(0);
}

#[test]
fn check_reports_several_problems_at_once() {
    let home = Home::new();
    fs::remove_file(home.path("acme.json")).unwrap();
    home.write("plant.json", "{\"realm\": \"x\", ");
    home.configure(&format!(
        "{CONFIG}\n[roles.lonely]\nexternal_roles = []\n[[roles.lonely.policies]]\n\
         effect = \"Deny\"\nactions = [\"workflow:Exec\"]\n"
    ));
    home.run(&["check"])
        .exits(1)
        .says("error: acme: ")
        .says("error: plant: ")
        .says("denies nothing there")
        .says("lonely");
}

/// Every command that changes something on the way to telling it, but those that need a database
/// (`store grant`, `import osmo-db`).
#[test]
fn a_command_that_cannot_say_what_it_did_says_that_it_did() {
    for output in ["text", "json"] {
        let home = Home::new();
        home.configure(&format!("{CONFIG}\n[h2o]\niam = [\"iam/*.json\"]\n"));
        fs::create_dir(home.path("iam")).unwrap();
        home.write(
            "policy.json",
            r#"{"resources": ["*"], "statements": [
                {"subjects": ["role:AUDIT"], "actions": ["app:list"], "effect": "allow"}]}"#,
        );
        let generation = || home.json(&["status"])["generation"].as_u64().unwrap();
        let unheard = |args: &[&str], done: Option<&str>| {
            let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let mut command = home.command(&[args, &["--output", output]].concat());
            let ended = command.stdout(full).output().unwrap();
            let error = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(1), "{args:?}: {error}");
            let said = done.map_or_else(String::new, |done| format!("{done}, but "));
            let cannot = "cannot write to standard output: No space left";
            let secret = "its secret cannot be written to standard output: No space left";
            let tells = |what: &str| error.contains(&format!("error: {said}{what}"));
            assert!(tells(cannot) || tells(secret), "{args:?}: {error}");
        };
        // What is committed, and that nothing is said to be where nothing is.
        let commits = |args: &[&str]| {
            let before = home.json(&["status"])["generation"].as_u64().unwrap_or(0);
            unheard(args, Some(&format!("generation {} is committed", before + 1)));
            assert_eq!(generation(), before + 1, "{args:?}");
        };
        let nothing = |args: &[&str]| {
            let before = generation();
            unheard(args, None);
            assert_eq!(generation(), before, "{args:?}");
        };
        commits(&["sync"]);
        nothing(&["sync"]);
        nothing(&["status"]);
        commits(&["user", "add", "svc", "--service", "--reason", "r"]);
        commits(&["user", "disable", "svc", "--reason", "r"]);
        nothing(&["user", "disable", "svc", "--reason", "r"]);
        commits(&["user", "enable", "svc", "--reason", "r"]);
        commits(&["grant", "add", "svc", "hand", "--reason", "r"]);
        unheard(&["token", "create", "svc", "ci", "--expires", "1d"], Some("token `ci` is made"));
        assert_eq!(home.json(&["token", "show", "svc", "ci"])["name"], "ci");
        commits(&["token", "revoke", "svc", "ci"]);
        commits(&["grant", "remove", "svc", "hand"]);
        commits(&["user", "remove", "svc", "--reason", "r"]);
        home.lose_three();
        nothing(&["sync", "--dry-run"]);
        commits(&["sync"]);
        let id = home.json(&["plan", "show"])["id"].as_str().unwrap().to_owned();
        unheard(&["plan", "discard", &id], Some(&format!("plan {id} is forgotten")));
        home.run(&["plan", "show"]).says("Nothing is held.");
        home.run(&["sync"]).exits(3);
        commits(&["plan", "approve", &id]);
        unheard(&["store", "init"], Some("the store `store.db` is there"));
        unheard(&["store", "copy", "--to", "copy.db"], Some("the copy is committed"));
        assert!(home.path("copy.db").exists());
        unheard(&["h2o", "iam", "import", "policy.json"], Some("`iam/policy.json` is written"));
        assert!(home.path("iam/policy.json").exists());
        unheard(&["h2o", "iam", "import", "policy.json"], None);
    }
    // What the first user of a store without an identity provider begins with stays.
    let home = Home::new();
    home.write("password", &"a".repeat(43));
    home.configure(
        "[store]\npath = \"store.db\"\n[default_admin]\nusername = \"admin\"\nrole = \"boss\"\n\
         password = { file = \"password\" }\n[roles.boss]\n[[roles.boss.policies]]\nactions = [\"*:*\"]\n",
    );
    home.run(&["user", "add", "admin", "--reason", "r"])
        .exits(1)
        .complains("generation 1 is committed, but ");
}

#[test]
fn check_tells_of_a_store_that_is_none_beside_everything_else() {
    let home = Home::new();
    fs::remove_file(home.path("acme.json")).unwrap();
    fs::write(home.path("store.db"), "no store at all").unwrap();
    let done = home.run(&["check"]).exits(1).says("error: acme: ");
    done.says("`store.db` is not a store of idpsyncd").says("2 errors");
    let home = Home::new();
    home.configure(&CONFIG.replace("store.db", "nowhere/store.db"));
    home.run(&["check"]).exits(0).says("the store's folder").says("nowhere").says("does not exist");
    let report = home.json(&["check"]);
    assert_eq!(report["diagnostics"][0]["code"], "store-unusable");
    assert_eq!(report["diagnostics"][0]["severity"], "warning");
}

#[test]
fn check_tells_of_routes_that_nobody_may_take_and_of_policies_that_no_route_asks_for() {
    let home = Home::new();
    home.configure(&format!(
        "{CONFIG}{GATEWAY}\n[[gateway.route]]\npath = \"/admin\"\naction = \"admin:Rule\"\n\
         [roles.old]\n[[roles.old.policies]]\nactions = [\"queue:*\"]\n"
    ));
    let warnings = |args: &[&str]| home.json(args)["warnings"].clone();
    assert_eq!(
        warnings(&["check", "--offline"]),
        json!([
            "gateway.route[6] (`/admin`) asks for `admin:Rule`, which no role allows: every such \
             request is denied",
            "roles.old.policies[1] allows `queue:*`, which no route asks for",
        ])
    );
    home.run(&["check", "--offline"]).exits(0).says("warning: gateway.route[6] (`/admin`)");
    // They are findings of a check, and no words of every run.
    home.run(&["sync"]).exits(0).says_nothing_of("queue:*");
    // Without a route nothing is asked for by any.
    home.configure(CONFIG);
    assert_eq!(warnings(&["check", "--offline"]), json!([]));
}

// ---- authorize, explain ------------------------------------------------------------------------

#[test]
fn authorize_exits_0_or_5_and_names_the_role_and_the_policy() {
    let home = Home::synced();
    for (user, action, resource, status, says) in [
        ("ben", "pool:List", None, 0, "Allow: role `ml`, policy 1 says Allow"),
        ("ben", "workflow:Exec", Some("pool/ml-a"), 0, "Allow: role `ml`, policy 2 says Allow"),
        // Not in the catalog: the store's policies answer.
        ("ben", "workflow:Other", Some("pool/ml-z/1"), 0, "Allow: role `ml`, policy 2 says Allow"),
        ("ben", "workflow:Exec", None, 0, "Allow: role `ml`, policy 2 says Allow"),
        ("BEN", "pool:List", None, 0, "Allow: role `ml`, policy 1 says Allow"),
        ("ben", "pool:List", Some("pool/ml-a"), 5, "Deny: no policy of `all`, `ml` speaks of it"),
        ("ben", "workflow:Exec", Some("pool/x"), 5, "Deny: no policy of `all`, `ml` speaks of it"),
        ("ada", "workflow:Exec", Some("pool/ml-a"), 5, "Deny: role `brake`, policy 1 says Deny"),
        ("ada", "workflow:Create", Some("pool/ml-a"), 0, "Allow: role `ml`, policy 2 says Allow"),
        ("eve", "pool:List", None, 5, "Deny: the user is disabled in `acme`: no role counts"),
        ("nobody", "pool:List", None, 5, "Deny: the store knows no such user"),
        ("finn", "auth:Login", None, 0, "Allow: role `all`, policy 1 says Allow"),
    ] {
        let args: Vec<&str> = ["authorize", user, action].into_iter().chain(resource).collect();
        let done = home.run(&args).exits(status);
        assert_eq!(done.out, format!("{says}\n"), "{args:?}");
        let answer = home.run(&[&args[..], &["--output", "json"]].concat()).exits(status).json();
        assert_eq!(answer["effect"], says.split(':').next().unwrap());
        assert_eq!(answer["user"], user);
        assert_eq!(answer["resource"], json!(resource));
    }
    let answer = home.json(&["authorize", "ada", "workflow:Exec", "pool/ml-a"]);
    assert_eq!((&answer["role"], &answer["policy"]), (&json!("brake"), &json!(1)));
}

const GATEWAY: &str = r#"
[gateway]
http = "127.0.0.1:9180"
identity = "header"

[[gateway.route]]
methods = ["POST"]
path = "/api/pool/{pool}/workflow"
action = "workflow:Create"
resource = "pool/{pool}"

[[gateway.route]]
methods = ["GET"]
path = "/api/pool"
action = "pool:List"

[[gateway.route]]
methods = ["GET"]
path = "/api/workflow/*"
action = "workflow:Read"
scope = "pool"

[[gateway.route]]
methods = ["POST", "WEBSOCKET"]
path = "/api/workflow/*/exec"
action = "workflow:Exec"
scope = "pool"

[[gateway.route]]
path = "/login"
action = "auth:Login"
"#;

#[test]
fn authorize_takes_a_request_and_shows_its_route_action_resource_and_who_decided() {
    let home = Home::synced();
    home.configure(&format!("{CONFIG}{GATEWAY}"));
    let create = "route:    POST /api/pool/{pool}/workflow (gateway.route[1])\n\
                  action:   workflow:Create\n";
    let exec = "route:    POST|WEBSOCKET /api/workflow/*/exec (gateway.route[4])\n\
                action:   workflow:Exec\nresource: some pool\n";
    for (user, request, status, says) in [
        (
            "ben",
            "POST /api/pool/ml-a/workflow?x=1",
            0,
            format!("{create}resource: pool/ml-a\nAllow: role `ml`, policy 2 says Allow"),
        ),
        (
            "ben",
            "POST /api/pool/%6Dl-a/workflow",
            0,
            format!("{create}resource: pool/ml-a\nAllow: role `ml`, policy 2 says Allow"),
        ),
        (
            "ben",
            "POST /api/pool/x/workflow",
            5,
            format!("{create}resource: pool/x\nDeny: no policy of `all`, `ml` speaks of it"),
        ),
        (
            "nobody",
            "POST /api/pool/x/workflow",
            5,
            format!("{create}resource: pool/x\nDeny: the store knows no such user"),
        ),
        (
            "eve",
            "GET /api/pool",
            5,
            "route:    GET /api/pool (gateway.route[2])\naction:   pool:List\nresource: none\n\
             Deny: the user is disabled in `acme`: no role counts"
                .to_owned(),
        ),
        (
            "finn",
            "BREW /login",
            0,
            "route:    any method /login (gateway.route[5])\naction:   auth:Login\n\
             resource: none\nAllow: role `all`, policy 1 says Allow"
                .to_owned(),
        ),
        // Some pool: whoever may on one; a Deny on all of them.
        (
            "ben",
            "WEBSOCKET /api/workflow/w1/exec",
            0,
            format!("{exec}Allow: role `ml`, policy 2 says Allow"),
        ),
        (
            "ada",
            "WEBSOCKET /api/workflow/w1/exec",
            5,
            format!("{exec}Deny: role `brake`, policy 1 says Deny"),
        ),
        (
            "finn",
            "POST /api/workflow/w1/exec",
            5,
            format!("{exec}Deny: no policy of `all` speaks of it"),
        ),
        (
            "ada",
            "GET /api/workflow/w1/logs",
            0,
            "route:    GET /api/workflow/* (gateway.route[3])\naction:   workflow:Read\n\
             resource: some pool\nAllow: role `ml`, policy 2 says Allow"
                .to_owned(),
        ),
        // The most specific path decides alone.
        (
            "ada",
            "GET /api/workflow/w1/exec",
            5,
            "Deny: no route takes this method on this path; it takes POST, WEBSOCKET".to_owned(),
        ),
        // No route, or no path.
        ("ben", "GET /api/pools", 5, "Deny: no route names this path".to_owned()),
        (
            "ben",
            "DELETE /api/pool",
            5,
            "Deny: no route takes this method on this path; it takes GET".to_owned(),
        ),
        ("ben", "GET /api/pool/", 5, "Deny: the path ends in `/`, and no route does".to_owned()),
        (
            "ben",
            "GET /api/x/../pool",
            5,
            "Deny: the path holds a dot segment (`.` or `..`)".to_owned(),
        ),
        (
            "ben",
            "POST /api/pool/*/workflow",
            5,
            "Deny: the path tells no concrete resource for `pool/{pool}`: a `*` or white space is \
             in its place"
                .to_owned(),
        ),
    ] {
        let done = home.run(&["authorize", user, "--request", request]).exits(status);
        assert_eq!(done.out, format!("{says}\n"), "{user} {request}");
        assert_eq!(done.err, "", "{user} {request}");
    }
    home.run(&["authorize", "ben", "--request", "/api/pool"]).exits(64).complains("a method");
    home.run(&["authorize", "ben", "--request", ""]).exits(64);
}

#[test]
fn authorize_tells_programs_the_request_and_its_route() {
    let home = Home::synced();
    home.configure(&format!("{CONFIG}{GATEWAY}"));
    let ask = |user: &str, request: &str| home.json(&["authorize", user, "--request", request]);
    assert_eq!(
        ask("ben", "POST /api/pool/ml-a/workflow"),
        json!({
            "user": "ben", "action": "workflow:Create", "resource": "pool/ml-a",
            "effect": "Allow", "role": "ml", "policy": 2,
            "why": "role `ml`, policy 2 says Allow",
            "request": "POST /api/pool/ml-a/workflow",
            "route": { "methods": ["POST"], "path": "/api/pool/{pool}/workflow", "scope": null,
                "from": "gateway.route[1]" },
        })
    );
    let some = ask("ben", "GET /api/workflow/w1");
    assert_eq!((&some["resource"], &some["route"]["scope"]), (&json!(null), &json!("pool")));
    assert_eq!(
        ask("ben", "GET /nowhere"),
        json!({
            "user": "ben", "action": null, "resource": null, "effect": "Deny", "role": null,
            "policy": null, "why": "no route names this path", "request": "GET /nowhere",
            "route": null,
        })
    );
    // Without a request there is nothing new.
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&home.json(&["authorize", "ben", "pool:List"])),
        ["user", "action", "resource", "effect", "role", "policy", "why"]
    );
}

#[test]
fn authorize_knows_the_presets_routes() {
    let home = Home::synced();
    home.configure(&format!(
        "{CONFIG}\n[gateway]\nhttp = \"127.0.0.1:9180\"\nidentity = \"header\"\npreset = \"osmo\"\n"
    ));
    home.run(&["authorize", "ben", "--request", "POST /api/pool/ml-a/workflow"])
        .exits(0)
        .says("route:    POST /api/pool/{pool}/workflow (preset `osmo`)\n")
        .says("resource: pool/ml-a\n");
}

#[test]
fn authorize_and_who_take_a_requests_host() {
    let home = Home::synced();
    home.configure(&format!(
        "{CONFIG}{GATEWAY}\n[[gateway.route]]\nhosts = [\"ml.example.org\", \"*.lab.example.org\"]\n\
         path = \"/run/{{pool}}\"\naction = \"workflow:Create\"\nresource = \"pool/{{pool}}\"\n"
    ));
    let url = "POST https://ML.example.org.:8443/run/ml-a?x=/y";
    let told = home.json(&["authorize", "ben", "--request", url]);
    assert_eq!((&told["effect"], &told["resource"]), (&json!("Allow"), &json!("pool/ml-a")));
    assert_eq!(told["route"]["hosts"], json!(["ml.example.org", "*.lab.example.org"]));
    let host =
        |host: &'static str| ["authorize", "ben", "--request", "GET /run/ml-a", "--host", host];
    home.run(&host("x.lab.example.org")).exits(0).says("route:    any method ml.example.org|*.lab");
    home.run(&host("lab.example.org")).exits(5).says("no route names this path");
    home.run(&host("ml.example.org@x")).exits(5).says("a user before it");
    let nowhere = "POST http://other.example.org/api/pool/ml-a/workflow";
    home.run(&["authorize", "ben", "--request", nowhere]).exits(0).says("gateway.route[1]");
    home.run(&["authorize", "ben", "--request", "GET http://ml.example.org"])
        .exits(5)
        .says("no route names this path");
    home.run(&["authorize", "ben", "--request", "GET /run/ml-a"])
        .exits(5)
        .says("nothing tells the host of this request");
    home.run(&["authorize", "ben", "--request", url, "--host", "ml.example.org"])
        .exits(64)
        .complains("leave `--host` out");
    home.run(&["authorize", "ben", "pool:List", "--host", "ml.example.org"]).exits(64);
    for args in [
        &["who", "--request", url][..],
        &["who", "--request", "GET /run/ml-a", "--host", "x.lab.example.org"],
    ] {
        home.run(args).exits(0).says("ben");
    }
    home.run(&["who", "--request", "GET /run/ml-a"]).exits(0).says("Nobody may: routes name hosts");
}

#[test]
fn authorize_of_a_request_without_a_gateway_is_an_error_that_says_so() {
    let home = Home::synced();
    home.run(&["authorize", "ben", "--request", "GET /api/pool"])
        .exits(1)
        .complains("`idpsyncd.toml` has no `[gateway]`, so no route tells the action of a request");
    // A gateway without a route has none for it: denied.
    home.configure(&format!(
        "{CONFIG}\n[gateway]\nhttp = \"127.0.0.1:9180\"\nidentity = \"header\"\n"
    ));
    home.run(&["authorize", "ben", "--request", "GET /api/pool"]).exits(5).says("no route");
}

#[test]
fn explain_tells_the_recorded_reasons_and_not_what_the_configuration_says_today() {
    let home = Home::synced();
    let recorded = "through group `/ML` (acme, roles.ml)";
    home.run(&["explain", "ada"]).exits(0).says(recorded).says("all: everyone who is enabled");
    // The files are gone and the rule is another one: what was recorded still stands.
    fs::remove_file(home.path("acme.json")).unwrap();
    home.configure(&CONFIG.replace("external_roles = [\"ML\"]", "external_roles = [\"Other\"]"));
    home.run(&["explain", "ada"])
        .exits(0)
        .says("ml (idp, mode merge)")
        .says(recorded)
        .says("brake (idp, mode force)")
        .says("acme: directly in group `/Brake`, group `/ML`");
    let told = home.json(&["explain", "ada"]);
    let ml = told["grants"].as_array().unwrap().iter().find(|g| g["role"] == "ml").unwrap();
    assert_eq!(ml["reasons"][0]["rule"], "roles.ml");
    assert_eq!(ml["reasons"][0]["source"], "acme");
}

#[test]
fn explain_tells_why_not_and_what_was_taken_away() {
    let home = Home::synced();
    home.run(&["explain", "finn", "--role", "ml"])
        .exits(0)
        .says("- ml\n")
        .says("none of the rules that give it reach the user: a role or group called `ML`")
        .says("there is no local grant")
        .says_nothing_of("brake");
    home.run(&["explain", "finn", "--role", "hand"])
        .exits(0)
        .says("mode ignore: only `idpsyncd grant add` gives it");
    home.write("plant.json", &realm(&[("gil", &[])]));
    home.run(&["sync"]).exits(0);
    home.run(&["explain", "gil", "--role", "ml"])
        .exits(0)
        .says("taken away in generation 2 at ")
        .says("no source says so any more; it came through group `/ML` (plant, roles.ml)");
    home.run(&["explain", "gil", "--role", "nothing"])
        .exits(1)
        .complains("knows no role `nothing`");
    home.run(&["explain", "nobody"]).exits(1).complains("the store knows no user `nobody`");
}

#[test]
fn explain_tells_what_stands_in_the_way_a_name_in_doubt_or_a_held_plan() {
    let home = Home::synced();
    // A second group `ML`: ben is in the first, finn in the second.
    let mut export: Value = serde_json::from_str(&realm(ACME)).unwrap();
    export["groups"].as_array_mut().unwrap().push(json!({ "id": "g-x", "name": "X", "path": "/X",
        "subGroups": [{ "id": "g-x-ml", "name": "ML", "path": "/X/ML", "subGroups": [] }] }));
    export["users"][5]["groups"] = json!(["/X/ML"]);
    home.write("acme.json", &export.to_string());
    home.run(&["sync"]).exits(0).says("group name `ML` is ambiguous (`/ML`, `/X/ML`)");
    let doubt = "acme: group name `ML` is ambiguous (`/ML`, `/X/ML`)";
    home.run(&["explain", "finn", "--role", "ml"]).exits(0).says("- ml\n").says(doubt);
    home.run(&["explain", "ben", "--role", "ml"]).exits(0).says("+ ml (idp").says(doubt);
    home.run(&["explain", "gil", "--role", "ml"]).exits(0).says_nothing_of("ambiguous");
    assert!(home.json(&["explain", "finn"])["in_doubt"][0].as_str().unwrap().starts_with(doubt));

    let home = Home::synced();
    home.lose_three();
    home.run(&["sync"]).exits(3);
    let id = home.json(&["plan", "show"])["id"].as_str().unwrap().to_owned();
    home.run(&["explain", "ben", "--role", "ml"])
        .exits(0)
        .says(&format!("waits in the held plan {id}: grant-removed ben ml (idp)"));
    let told = home.json(&["explain", "ben"]);
    assert_eq!(told["held"]["id"], json!(id));
    assert_eq!(told["held"]["changes"][0]["change"], "grant-removed");
    assert_eq!(home.json(&["explain", "ada"])["held"], Value::Null);
}

#[test]
fn explain_names_of_the_rules_with_a_capture_those_that_could_give_the_role() {
    let home = Home::new();
    home.configure(&format!(
        "{CONFIG}\n[roles.team-red]\nexternal_roles = []\n\
         [[mapping]]\ngroup_regex = '/Crew (?<c>red|blue)'\nroles = [\"team-${{c}}\"]\n\
         [[mapping]]\ngroup_regex = '/Gang (?<g>green|grey)'\nroles = [\"team-${{g}}\"]\n"
    ));
    home.run(&["sync"]).exits(0);
    home.run(&["explain", "finn", "--role", "team-red"])
        .exits(0)
        .says("mapping[2]")
        .says_nothing_of("mapping[3]");
}

#[test]
fn explain_tells_that_a_grant_is_suspended_by_a_disable() {
    let home = Home::synced();
    home.run(&["explain", "eve"])
        .exits(0)
        .says("disabled in `acme`")
        .says("~ ml (idp, mode merge)")
        .says("does not count: the user is disabled in `acme`: no role counts")
        .says("everyone who is enabled holds it, but the user is disabled in `acme`");
    let told = home.json(&["explain", "eve"]);
    assert_eq!(told["suspended"], "the user is disabled in `acme`: no role counts");
    assert_eq!(told["roles"], json!([]));
    assert_eq!(told["grants"][0]["role"], "ml");
}

#[test]
fn explain_tells_a_decision_and_which_roles_would_allow_it() {
    let home = Home::synced();
    home.run(&["explain", "finn", "--action", "workflow:Exec", "--resource", "pool/ml-a"])
        .exits(0)
        .says("Deny: no policy of an effective role speaks of workflow:Exec")
        .says("roles that would allow it: ml");
    let told =
        home.json(&["explain", "ada", "--action", "workflow:Exec", "--resource", "pool/ml-a"]);
    assert_eq!(told["decision"]["effect"], "Deny");
    assert_eq!(told["decision"]["role"], "brake");
    assert_eq!(told["decision"]["policy"], 1);
}

// ---- what is held ------------------------------------------------------------------------------

#[test]
fn with_nothing_held_plan_show_says_so_and_exits_0() {
    let home = Home::synced();
    let done = home.run(&["plan", "show"]).exits(0);
    assert_eq!(done.out, "Nothing is held.\n");
    assert_eq!(home.run(&["plan", "show", "--output", "json"]).exits(0).json(), Value::Null);
    home.run(&["plan", "show", "abc"]).exits(1).complains("no held plan `abc`: nothing is held");
    home.run(&["plan", "approve", "abc"]).exits(1).complains("nothing is held");
    home.run(&["plan", "discard", "abc"]).exits(1).complains("nothing is held");
}

#[test]
fn what_looks_like_an_accident_is_held_shown_and_applied_only_by_approval() {
    let home = Home::synced();
    home.lose_three();
    home.run(&["sync", "--dry-run"]).exits(3).says("A sync would keep what is held waiting");
    home.run(&["plan", "show"]).exits(0).says("Nothing is held.");
    let report = home.run(&["sync", "--output", "json"]).exits(3).json();
    let id = report["held"]["id"].as_str().unwrap().to_owned();
    assert_eq!(report["held"]["lost_pairs"], 3);
    // What is gained is not held up.
    assert_eq!(home.roles("finn"), ["all", "ml"]);
    assert_eq!(home.roles("ben"), ["all", "ml"]);

    let shown = home.json(&["plan", "show"]);
    assert_eq!(shown["id"], id.as_str());
    assert_eq!(home.json(&["plan", "show", &id]), shown);
    let who: Vec<&Value> =
        shown["changes"].as_array().unwrap().iter().map(|change| &change["user"]).collect();
    assert_eq!(who, ["ben", "cleo", "dora"]);
    home.run(&["plan", "show"])
        .exits(0)
        .says(&format!("Held: plan {id} (3 changes, 3 effective pairs lost), waiting since"))
        .says("3 of 13 effective user-role pairs would be lost because of absence")
        .says("-  ben   ml")
        .says(&format!("idpsyncd plan approve {id}"))
        .says(&format!("idpsyncd plan discard {id}"));
    home.run(&["status"]).exits(0).says(&format!("plan {id} since"));
    assert_eq!(home.json(&["status"])["held"]["id"], id.as_str());

    // The same removals keep the id, however often they are asked for.
    let again = home.run(&["sync", "--output", "json"]).exits(3).json();
    assert_eq!(again["held"], report["held"]);
    home.run(&["plan", "approve", "other"])
        .exits(1)
        .complains(&format!("no held plan `other`; the one that waits is `{id}`"));

    let approved = home.run(&["plan", "approve", &id, "--output", "json"]).exits(0).json();
    assert_eq!((&approved["id"], &approved["approved"]), (&json!(id), &json!(true)));
    assert_eq!(approved["changes"].as_array().unwrap().len(), 3);
    assert_eq!(home.roles("ben"), ["all"]);
    home.run(&["plan", "show"]).exits(0).says("Nothing is held.");
    home.run(&["sync"]).exits(0);
    home.run(&["plan", "approve", &id]).exits(1).complains("nothing is held");
}

#[test]
fn status_does_not_read_the_changes_that_wait() {
    let home = Home::synced();
    home.lose_three();
    let id = home.json(&["sync"])["held"]["id"].as_str().unwrap().to_owned();
    let conn = rusqlite::Connection::open(home.path("store.db")).unwrap();
    assert_eq!(conn.execute("UPDATE held_change SET change = 'broken'", []).unwrap(), 3);
    let held = home.json(&["status"])["held"].clone();
    assert_eq!(
        (&held["id"], &held["changes"], &held["lost_pairs"]),
        (&json!(id), &json!(3), &json!(3))
    );
    home.run(&["status"]).exits(0).says("3 changes, 3 effective pairs would be lost");
    home.run(&["plan", "show"]).exits(1).complains("is damaged: a held change");
    home.run(&["plan", "approve", &id]).exits(1).complains("is damaged: a held change");
    home.run(&["plan", "discard", &id]).exits(0);
}

#[test]
fn a_discarded_plan_is_forgotten_until_the_next_run_asks_again() {
    let home = Home::synced();
    home.lose_three();
    let id = home.json(&["sync"])["held"]["id"].as_str().unwrap().to_owned();
    home.run(&["plan", "discard", &id]).exits(0).says("is forgotten until the next run asks again");
    home.run(&["plan", "show"]).exits(0).says("Nothing is held.");
    let again = home.run(&["sync", "--output", "json"]).exits(3).json();
    assert_eq!(again["held"]["id"], id.as_str());
    let discarded = home.run(&["plan", "discard", &id, "--output", "json"]).exits(0).json();
    assert_eq!(discarded, json!({ "id": id, "discarded": true }));
    assert_eq!(home.roles("ben"), ["all", "ml"]);
}

#[test]
fn other_removals_supersede_a_held_plan() {
    let home = Home::synced();
    home.lose_three();
    let id = home.json(&["sync"])["held"]["id"].as_str().unwrap().to_owned();
    home.write("acme.json", &realm(&[("ada", &[]), ("ben", &[]), ("cleo", &[]), ("dora", &[])]));
    let other = home.json(&["sync"])["held"]["id"].as_str().unwrap().to_owned();
    assert_ne!(id, other);
    home.run(&["plan", "approve", &id])
        .exits(1)
        .complains(&format!("the one that waits is `{other}`"));
    // Everyone is back: nothing is left to hold.
    home.write("acme.json", &realm(ACME));
    home.run(&["sync"]).exits(0);
    home.run(&["plan", "show"]).exits(0).says("Nothing is held.");
}

#[test]
fn a_role_that_everyone_is_to_hold_waits_for_the_next_run_when_a_plan_is_approved() {
    let home = Home::synced();
    home.lose_three();
    let id = home.json(&["sync"])["held"]["id"].as_str().unwrap().to_owned();
    home.configure(&format!("{CONFIG}\n[roles.new]\neveryone = true\n"));
    home.run(&["plan", "approve", &id]).exits(0);
    assert_eq!(home.roles("ben"), ["all"]);
    home.run(&["sync"]).exits(0);
    assert_eq!(home.roles("ben"), ["all", "new"]);
}

#[test]
fn approve_refuses_a_plan_that_does_not_stand_and_says_which_changes_do_not() {
    let home = Home::synced();
    home.lose_three();
    let id = home.json(&["sync"])["held"]["id"].as_str().unwrap().to_owned();
    // A rule that has come in the meantime gives cleo the role again.
    home.configure(&CONFIG.replace("[\"ML\"]", "[\"ML\", \"Audit\"]"));
    let before = home.json(&["status"])["generation"].clone();
    home.run(&["plan", "approve", &id])
        .exits(1)
        .complains(&format!("plan {id} does not stand any more, nothing was applied"))
        .complains("cleo")
        .complains("run `idpsyncd sync`")
        .says_nothing_of("dora");
    assert_eq!(home.json(&["status"])["generation"], before);
    assert_eq!(home.roles("ben"), ["all", "ml"]);
}

// ---- history, users, grants --------------------------------------------------------------------

#[test]
fn history_tells_who_gained_or_lost_what_when_why_and_filters() {
    let home = Home::synced();
    home.write("plant.json", &realm(&[("gil", &["Brake"])]));
    home.run(&["sync"]).exits(0);
    let rows = |args: &[&str]| -> Vec<(u64, String, String, String)> {
        let rows = home.json(&[&["history"], args].concat());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let row = |row: &Value| {
            assert!(parse_rfc3339(row["at"].as_str().unwrap()).is_ok(), "{row}");
            (
                row["generation"].as_u64().unwrap(),
                text(&row["change"]),
                text(&row["user"]),
                text(&row["role"]),
            )
        };
        rows.as_array().unwrap().iter().map(row).collect()
    };
    let of = |user: &str, role: &str| rows(&["--user", user, "--role", role]);
    let fact = |generation: u64, change: &str, user: &str, role: &str| {
        (generation, change.to_owned(), user.to_owned(), role.to_owned())
    };
    assert_eq!(
        of("gil", "ml").into_iter().collect::<BTreeSet<_>>(),
        [fact(1, "grant-added", "gil", "ml"), fact(2, "grant-removed", "gil", "ml")].into()
    );
    assert_eq!(of("GIL", "brake"), [fact(2, "grant-added", "gil", "brake")]);
    assert!(rows(&["--user", "gil"]).len() > 3, "{:?}", rows(&["--user", "gil"]));
    assert!(rows(&["--role", "ml"]).iter().all(|row| row.3 == "ml"));
    assert_eq!(rows(&["--since", "1h"]), rows(&[]));
    assert_eq!(rows(&["--since", "2001-01-01T00:00:00Z"]), rows(&[]));
    assert_eq!(rows(&["--since", "2999-01-01T00:00:00Z"]), []);
    assert_eq!(rows(&["--limit", "1"]).len(), 1);
    assert_eq!(rows(&["--limit", "1"])[0].0, 2);
    home.run(&["history", "--user", "nobody"]).exits(0).says("Nothing happened that fits.");
    home.run(&["history", "--user", "gil", "--role", "ml"])
        .exits(0)
        .says("grant-removed  gil  ml (idp)")
        .says("no source says so any more; it came through group `/ML` (plant, roles.ml)");
}

#[test]
fn users_are_listed_and_shown_with_their_status_roles_and_where_they_are_known() {
    let home = Home::synced();
    home.run(&["user", "list"])
        .exits(0)
        .says("ada   ada@acme.example   enabled   all, brake, ml\n")
        .says("eve   eve@acme.example   disabled\n");
    let list = home.json(&["user", "list"]);
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["ada", "ben", "cleo", "dora", "eve", "finn", "gil"]);
    home.run(&["user", "show", "Cleo"])
        .exits(0)
        .says("acme (id-cleo)")
        .says("auditor (idp, mode import)")
        .says("through group `/Audit` (acme, roles.auditor)");
    assert_eq!(home.json(&["user", "show", "eve"])["disabled_by"], "acme");
    home.run(&["user", "show", "nobody"]).exits(1).complains("no user `nobody`");
}

/// Who runs this, as a grant has it.
fn real_user() -> String {
    let id = |flag: &str| {
        let output = Command::new("id").arg(flag).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let uid = id("-u");
    match id("-un") {
        name if name.is_empty() || name == uid => format!("uid {uid}"),
        name => format!("{name} (uid {uid})"),
    }
}

#[test]
fn who_grants_is_the_real_user_whatever_the_environment_says() {
    let home = Home::synced();
    let config = home.folder.path().join("idpsyncd.toml");
    let by = |variables: &[(&str, &str)]| {
        let command = |args: &[&str]| {
            let mut command = binary();
            command.env_remove("USER").env_remove("LOGNAME").env_remove("HOME");
            command.envs(variables.iter().copied()).args(args).arg("--config").arg(&config);
            Done::of(&mut command).exits(0)
        };
        command(&["grant", "add", "finn", "hand", "--reason", "on call"]);
        let list = command(&["grant", "list", "--output", "json"]).json();
        command(&["grant", "remove", "finn", "hand"]);
        list[0]["by"].as_str().unwrap().to_owned()
    };
    let me = real_user();
    assert_eq!(by(&[]), me);
    assert_eq!(by(&[("USER", "mallory"), ("LOGNAME", "mallory")]), me);
    // Sudo's word is root's alone.
    let expected =
        if me.ends_with("(uid 0)") { format!("{me}, by sudo for uid 59999") } else { me };
    assert_eq!(by(&[("SUDO_UID", "59999"), ("SUDO_USER", "mallory")]), expected);
    // Both stories are kept.
    assert!(home.run(&["history", "--user", "finn"]).exits(0).out.contains(&expected));
}

#[test]
fn a_local_grant_is_added_with_a_reason_listed_and_removed() {
    let home = Home::synced();
    home.run(&["grant", "list"]).exits(0).says("There are no local grants.");
    home.run(&[
        "grant",
        "add",
        "finn",
        "hand",
        "--reason",
        "on call",
        "--until",
        "2999-01-02T00:00:00Z",
    ])
    .exits(0)
    .says("The grant of `hand` to `finn` is added: generation 2 is committed.");
    assert_eq!(home.roles("finn"), ["all", "hand"]);
    home.run(&["grant", "list"])
        .exits(0)
        .says(&format!("finn  hand  until 2999-01-02T00:00:00Z  by {}: on call\n", real_user()));
    let list = home.json(&["grant", "list"]);
    assert_eq!(
        (&list[0]["user"], &list[0]["by"], &list[0]["until"]),
        (&json!("finn"), &json!(real_user()), &json!("2999-01-02T00:00:00Z"))
    );
    assert_eq!(home.json(&["status"])["next_due"], "2999-01-02T00:00:00Z");
    home.run(&["explain", "finn"]).exits(0).says("hand (local, mode ignore)").says("on call");
    home.run(&["history", "--user", "finn", "--role", "hand"]).exits(0).says("on call");
    // A sync leaves it.
    home.run(&["sync"]).exits(0);
    assert_eq!(home.roles("finn"), ["all", "hand"]);
    let removed =
        home.run(&["grant", "remove", "finn", "hand", "--output", "json"]).exits(0).json();
    assert_eq!(
        removed,
        json!({"grant": "removed", "user": "finn", "role": "hand", "generation": 3})
    );
    assert_eq!(home.roles("finn"), ["all"]);
    home.run(&["grant", "remove", "finn", "hand"]).exits(1);
}

#[test]
fn grant_remove_takes_the_local_grant_else_the_imported_one_or_that_one_when_told() {
    let home = Home::synced();
    home.run(&["grant", "add", "cleo", "auditor", "--reason", "too"]).exits(0);
    let origins = || -> Vec<String> {
        let user = home.json(&["user", "show", "cleo"]);
        let grants = user["grants"].as_array().unwrap().iter();
        let of_role = grants.filter(|grant| grant["role"] == "auditor");
        of_role.map(|grant| grant["origin"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(origins().len(), 2);
    home.run(&["grant", "remove", "cleo", "auditor", "--imported"]).exits(0);
    assert_eq!(origins(), ["local"]);
    home.run(&["grant", "remove", "cleo", "auditor", "--imported"]).exits(1);
    home.run(&["grant", "remove", "cleo", "auditor"]).exits(0);
    assert_eq!(origins(), Vec::<String>::new());
    // The IdP still says yes: the next sync imports it again, and no IdP's no takes it away.
    home.run(&["sync"]).exits(0);
    assert_eq!(origins(), ["idp"]);
    home.write(
        "acme.json",
        &realm(&[
            ("cleo", &["ML"]),
            ("ada", &["ML", "Brake"]),
            ("ben", &["ML"]),
            ("dora", &["ML"]),
            ("-eve", &["ML"]),
            ("finn", &[]),
        ]),
    );
    home.run(&["sync"]).exits(0);
    assert_eq!(origins(), ["idp"]);
    home.run(&["grant", "remove", "cleo", "auditor"]).exits(0);
    home.run(&["sync"]).exits(0);
    assert_eq!(origins(), Vec::<String>::new());
}

#[test]
fn a_grant_that_cannot_be_is_refused_with_the_reason_and_exits_1() {
    let home = Home::synced();
    let before = home.json(&["status"])["generation"].clone();
    home.run(&["grant", "add", "finn", "brake", "--reason", "r"]).exits(1).complains("force");
    home.run(&["grant", "add", "finn", "hnad", "--reason", "r"])
        .exits(1)
        .complains("knows no role `hnad`; did you mean `hand`?");
    home.run(&["grant", "add", "nobody", "hand", "--reason", "r"])
        .exits(1)
        .complains("the store knows no user `nobody`");
    home.run(&["grant", "add", "finn", "all", "--reason", "r"]).exits(1).complains("everyone");
    home.run(&["grant", "remove", "ben", "ml"]).exits(1);
    assert_eq!(home.json(&["status"])["generation"], before);
}

// ---- how things print --------------------------------------------------------------------------

#[test]
fn every_reading_command_speaks_json_on_standard_output_alone() {
    let home = Home::synced();
    home.run(&["grant", "add", "finn", "hand", "--reason", "r"]).exits(0);
    home.lose_three();
    home.run(&["sync"]).exits(3);
    for args in [
        &["sync", "--dry-run"][..],
        &["sync", "--offline", "--dry-run"],
        &["check"],
        &["check", "--offline"],
        &["explain", "ada"],
        &["explain", "ada", "--role", "ml", "--action", "pool:List"],
        &["authorize", "ada", "pool:List"],
        &["status"],
        &["plan", "show"],
        &["history"],
        &["user", "list"],
        &["user", "show", "ada"],
        &["grant", "list"],
    ] {
        let args = [args, &["--output", "json"]].concat();
        let done = home.run(&args);
        assert!(done.json() != Value::Null, "{args:?}");
        assert_eq!(done.err, "", "{args:?}");
        // Two readings of one store print the same bytes, but for the time of a run and ages.
        if !matches!(args[0], "sync" | "status") {
            assert_eq!(home.run(&args).out, done.out, "{args:?}");
        }
    }
}

#[test]
fn colours_come_on_a_terminal_only_and_not_with_no_color() {
    let home = Home::synced();
    let commands = [&["sync", "--dry-run"][..], &["status"], &["explain", "ada"], &["history"]];
    for args in commands {
        home.run(args).exits(0).says_nothing_of("\u{1b}[");
    }
    // `script` gives the command a terminal.
    let on_terminal = |no_color: Option<&str>| {
        let line = format!("{} history --config idpsyncd.toml", env!("CARGO_BIN_EXE_idpsyncd"));
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).current_dir(home.folder.path());
        script.env_remove("NO_COLOR").env("TERM", "xterm");
        if let Some(value) = no_color {
            script.env("NO_COLOR", value);
        }
        Done::of(&mut script).exits(0).says("grant-added")
    };
    on_terminal(None).says("\u{1b}[32m");
    on_terminal(Some("1")).says_nothing_of("\u{1b}[3");
    // An empty one is none (no-color.org).
    on_terminal(Some("")).says("\u{1b}[32m");
}

#[test]
fn what_comes_from_outside_cannot_steer_a_terminal() {
    let home = Home::new();
    let text =
        realm(&[("ada", &["ML"])]).replace("ada@acme.example", "\\u001b[31mred@acme.example");
    home.write("acme.json", &text);
    home.run(&["sync"]).exits(0).says_nothing_of("\u{1b}");
    for args in [&["user", "list"][..], &["user", "show", "ada"], &["history"], &["explain", "ada"]]
    {
        home.run(args).exits(0).says_nothing_of("\u{1b}");
    }
}

#[test]
fn a_reader_that_goes_away_early_is_no_error() {
    let home = Home::synced();
    let line =
        format!("{} user list --config idpsyncd.toml | true", env!("CARGO_BIN_EXE_idpsyncd"));
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", &line]).current_dir(home.folder.path());
    let done = Done::of(&mut shell).exits(0);
    assert_eq!(done.err, "");
}

/// A server that refuses every log-in, and tells in its answer what it was sent. It tells the test
/// too.
fn refusing_server() -> (String, std::sync::mpsc::Receiver<String>) {
    let (tell, told) = std::sync::mpsc::channel();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let base = format!("{url}/realms/r");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let asked = request_of(&mut stream);
            let (status, body) = if asked.starts_with("GET") {
                let at = |end: &str| format!("{base}/protocol/openid-connect/{end}");
                let body = json!({ "issuer": base, "authorization_endpoint": at("auth"),
                    "token_endpoint": at("token"), "jwks_uri": at("certs"),
                    "response_types_supported": ["code"], "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"] });
                ("200 OK", body)
            } else {
                // A test that has ended does not listen.
                let _ = tell.send(asked.clone());
                let body = json!({ "error": "invalid_client", "error_description": asked });
                ("401 Unauthorized", body)
            };
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // Whoever has gone does not want it.
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    (url, told)
}

/// A whole request, head and body.
fn request_of(stream: &mut std::net::TcpStream) -> String {
    use std::io::Read;
    let mut asked = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&asked).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => asked.extend_from_slice(&piece[..read]),
            _ => return text,
        }
    }
}

#[test]
fn secrets_are_printed_by_no_command_whatever_is_logged() {
    let home = Home::new();
    home.write("secret", "hunter2-keycloak\n");
    let (server, told) = refusing_server();
    home.configure(&format!(
        "{CONFIG}\n\
         [[source]]\nname = \"kc\"\nkind = \"keycloak\"\nurl = \"{server}\"\n\
         realm = \"r\"\nclient_id = \"c\"\nclient_secret = {{ file = \"secret\" }}\n\
         clients = [\"x\"]\n\
         [[source]]\nname = \"dir\"\nkind = \"ldap\"\nurl = \"ldap://127.0.0.1:1\"\n\
         bind_dn = \"cn=s\"\nbind_password = {{ env = \"LDAP_PASSWORD\" }}\n\
         users = {{ base = \"ou=p\", username = \"uid\" }}\n\
         groups = {{ base = \"ou=g\", name = \"cn\" }}\n"
    ));
    let run = |args: &[&str]| {
        let mut command = home.command(&[args, &["--log-level", "trace"]].concat());
        Done::of(command.env("LDAP_PASSWORD", "hunter2-ldap")).says_nothing_of("YzpodW50ZXIyLWtl")
    };
    run(&["sync"]).exits(4).says("failed").says_nothing_of("hunter2");
    run(&["sync", "--output", "json"]).exits(4).says_nothing_of("hunter2");
    run(&["check"]).exits(1).says_nothing_of("hunter2");
    run(&["status"]).exits(0).says_nothing_of("hunter2");
    // It was sent, so it could have been told; as `c:hunter2-keycloak` in base64.
    let sent = "YzpodW50ZXIyLWtleWNsb2Fr";
    assert!(told.try_iter().any(|asked| asked.contains(sent)));
    for (name, bytes) in home.files() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(name == "secret" || !text.contains("hunter2"), "{name}");
    }
    // Nor does a configuration that has one in the wrong place come back in a message.
    home.configure(&format!(
        "{CONFIG}\n[[source]]\nname = \"kc\"\nkind = \"keycloak\"\nurl = \"http://127.0.0.1:1\"\n\
         realm = \"r\"\nclient_id = \"c\"\nclient_secret = \"hunter2\"\n"
    ));
    run(&["sync"]).exits(1).complains("client_secret").says_nothing_of("hunter2");
    run(&["check"]).exits(1).says("client_secret").says_nothing_of("hunter2");
}

// ---- for packagers -----------------------------------------------------------------------------

#[test]
fn every_command_has_help_and_those_with_arguments_have_examples() {
    let help = |path: &[&str]| {
        Done::of(binary().args(path).arg("--help")).exits(0).says("Usage: idpsyncd")
    };
    help(&[]).says("Examples:").says("Exit status");
    for path in
        [&["sync"][..], &["explain"], &["authorize"], &["history"], &["grant", "add"], &["plan"]]
    {
        help(path).says("Example");
    }
    for path in [
        &["run"][..],
        &["check"],
        &["status"],
        &["plan", "show"],
        &["plan", "approve"],
        &["plan", "discard"],
        &["user"],
        &["user", "list"],
        &["user", "show"],
        &["grant"],
        &["grant", "remove"],
        &["grant", "list"],
        &["completions"],
        &["man"],
    ] {
        help(path);
    }
    Done::of(binary().arg("--version")).exits(0).says(env!("CARGO_PKG_VERSION"));
}

#[test]
fn completions_and_the_manual_page_need_no_configuration() {
    let nowhere = tempfile::tempdir().unwrap();
    let write = |args: &[&str]| Done::of(binary().current_dir(nowhere.path()).args(args)).exits(0);
    for shell in ["bash", "zsh", "fish"] {
        write(&["completions", shell]).says("idpsyncd").says("detailed-exitcode");
    }
    let folder = Path::new(nowhere.path());
    fs::write(folder.join("idpsyncd.bash"), write(&["completions", "bash"]).out).unwrap();
    let mut bash = Command::new("bash");
    Done::of(bash.args(["-n", "idpsyncd.bash"]).current_dir(folder)).exits(0);
    // The page tells of every command and its options.
    let mut page = write(&["man"]).says(".TH idpsyncd").says("Exit status");
    page.out = page.out.replace("\\-", "-");
    for command in ["sync", "check", "explain", "authorize", "plan approve", "grant add", "history"]
    {
        page = page.says(command);
    }
    page.says("--detailed-exitcode").says("--offline").says("--until").says("--imported");
}

/// A store of schema 3 as the program wrote it before ids had an encoding of their own
/// (`sqlite3 .dump`): somebody lost a group, a role left the configuration, and a new person took the
/// name of one who left, so that the held plan has changes of many kinds.
#[test]
fn a_plan_that_an_older_program_holds_keeps_its_id_and_is_approved_under_it() {
    const ID: &str = "f3274094f623";
    let older = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/held_by_older");
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.toml", "realm.json"] {
        fs::copy(older.join(name), folder.path().join(name)).unwrap();
    }
    let store = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    store.pragma_update(None, "page_size", 16384).unwrap();
    store.pragma_update(None, "journal_mode", "wal").unwrap();
    store.execute_batch(&fs::read_to_string(older.join("store.sql")).unwrap()).unwrap();
    let held_since = |store: &rusqlite::Connection| -> (String, String) {
        let sql = "SELECT plan, since FROM held";
        store.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let before = held_since(&store);
    assert_eq!(before.0, ID);
    let run = |args: &[&str], status: i32| {
        let output = binary()
            .args(args)
            .arg("--config")
            .arg(folder.path().join("config.toml"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}\n{text}\n{err}");
        text
    };
    // Both where there is nothing to plan and where the plan is made anew.
    run(&["sync"], 3);
    store.execute("UPDATE meta SET settled = 'another', version = version + 1", []).unwrap();
    let report: Value = serde_json::from_str(&run(&["sync", "--output", "json"], 3)).unwrap();
    assert_eq!(report["held"]["id"], ID);
    assert_eq!(report["held"]["changes"].as_array().unwrap().len(), 12);
    assert_eq!(held_since(&store), before, "it has waited since then");
    run(&["plan", "approve", ID], 0);
    let rows = |sql: &str| -> Vec<String> {
        let mut statement = store.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(
        rows("SELECT username || ' ' || role FROM gateway_user_role ORDER BY 1"),
        ["ben ml", "cleo ml"]
    );
    assert_eq!(rows("SELECT plan FROM held"), [""; 0]);
}

/// People of a file: each one's name, and id.
type People<'a> = &'a [(&'a str, Option<u32>)];

/// A file's people with ids and without, as an LDIF and as a realm export: its source's keys, and its text.
struct Written {
    keys: &'static str,
    file: &'static str,
    text: fn(People<'_>) -> String,
}

fn as_ldif(people: People<'_>) -> String {
    let person = |(name, id): &(&str, Option<u32>)| {
        let dn = format!("uid={name},ou=people,dc=acme");
        let id = id.map(|id| format!("entryUUID: 00000000-0000-4000-8000-{id:012}\n"));
        format!(
            "dn: {dn}\nobjectClass: inetOrgPerson\ncn: {name}\nsn: {name}\nuid: {name}\n{}\n",
            id.unwrap_or_default()
        )
    };
    people.iter().map(person).collect()
}

fn as_export(people: People<'_>) -> String {
    let person = |(name, id): &(&str, Option<u32>)| {
        let mut user = json!({ "username": name, "enabled": true, "groups": ["/G"] });
        if let Some(id) = id {
            user["id"] = json!(format!("id-{id}"));
        }
        user
    };
    let users: Vec<Value> = people.iter().map(person).collect();
    json!({ "realm": "acme", "groups": [{ "id": "g", "name": "G" }], "users": users }).to_string()
}

#[test]
fn people_of_a_file_that_shows_no_ids_any_more_are_not_other_people() {
    let two = [
        Written { keys: "ldif = \"people.ldif\"", file: "people.ldif", text: as_ldif },
        Written { keys: "realm_export = \"people.json\"", file: "people.json", text: as_export },
    ];
    let (with, without) = ([("ada", Some(1)), ("Ben", Some(2))], [("ada", None), ("Ben", None)]);
    // Who was in the file, who is in it now; whether that is refused, and who keeps the grant by hand.
    let table: &[(People, People, bool, &str)] = &[
        (&with, &without, true, "ada ben"),
        (&with, &[("Ben", None), ("new", None)], true, "ada ben"),
        // Of the same people each knows some by id, or shows one now.
        (&with, &with, false, "ada ben"),
        (&without, &without, false, "ada ben"),
        (&without, &with, false, "ada ben"),
        (&with, &[("ada", Some(1)), ("Ben", None)], false, "ada"),
        (&with, &[("ada", Some(1)), ("Ben", Some(3))], false, "ada"),
        // Others.
        (&with, &[("cid", None)], false, ""),
        // Known by name before: some go, others come.
        (&without, &[("Ben", None), ("new", None)], false, "ben"),
    ];
    for Written { keys, file, text } in two {
        let config = |name: &str| {
            format!(
                "[store]\npath = \"store.db\"\n[guard]\nmax_lost_floor = 100\n[[source]]\nkind = \"file\"\n\
                 name = \"{name}\"\n{keys}\n[roles.hand]\nexternal_roles = []\n[[roles.hand.policies]]\n\
                 actions = [\"a:B\"]\n[sync]\non_missing = {{ after = \"0s\" }}\n"
            )
        };
        let holders = |home: &Home| {
            let held = home.json(&["who", "--role", "hand"]);
            let names = held.as_array().unwrap().iter().map(|row| row["user"].as_str().unwrap());
            let mut names: Vec<&str> = names.collect();
            names.sort_unstable();
            names.join(" ")
        };
        for (before, now, refused, keep) in table {
            let what = format!("{file}: {before:?}, then {now:?}");
            let home = Home::new();
            home.configure(&config("dir"));
            home.write(file, &text(before));
            home.run(&["sync"]).exits(0);
            for name in ["ada", "ben"] {
                home.run(&["grant", "add", name, "hand", "--reason", "r"]).exits(0);
            }
            home.write(file, &text(now));
            let done = home.run(&["sync"]).exits(if *refused { 4 } else { 0 });
            let told = "source `dir` failed: nobody in it has an id any more";
            assert_eq!(done.err.contains(told), *refused, "{what}: {done:?}");
            assert_eq!(holders(&home), *keep, "{what}");
            if !refused {
                continue;
            }
            assert_eq!(home.json(&["status"])["generation"], 3, "{what}");
            // Written as before, nothing has changed.
            home.write(file, &text(before));
            home.run(&["sync"]).exits(0).says("Nothing changed");
            // Under another name they are found by their usernames.
            home.write(file, &text(now));
            home.configure(&config("other"));
            home.run(&["sync"]).exits(0);
            let still = now.iter().map(|(name, _)| name.to_lowercase());
            let still: Vec<String> = still.filter(|name| name != "new").collect();
            assert_eq!(holders(&home), still.join(" "), "{what}");
        }
    }
}
