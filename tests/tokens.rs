//! Access tokens as they are asked for, through the program: what is made, what is refused, what
//! becomes of them, and where the secret is: on standard output, once.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::idpsyncd::Home;

const CONFIG: &str = r#"
[store]
path = "store.db"

[sync]
on_missing = { after = "0s" }

[guard]
max_lost_floor = 1000

[[source]]
name = "acme"
kind = "file"
realm_export = "acme.json"

[roles.default]
everyone = true
[[roles.default.policies]]
actions = ["profile:Read"]

[roles.ml]
external_roles = ["ML"]
[[roles.ml.policies]]
actions = ["workflow:*"]
resources = ["pool/ml-*"]

[roles.ops]
external_roles = ["Ops"]
[[roles.ops.policies]]
actions = ["pool:*"]
resources = ["*"]

[roles.brake]
external_roles = ["Brake"]
[[roles.brake.policies]]
effect = "Deny"
actions = ["workflow:Exec"]
resources = ["*"]

[[catalog]]
actions = ["workflow:Create", "workflow:Exec", "pool:List"]
resources = ["pool/ml-1"]
"#;

/// People with their groups; a name with `!` before it is disabled.
fn says(home: &Home, people: &[(&str, &[&str])]) {
    let users: Vec<Value> = people
        .iter()
        .map(|(name, groups)| {
            let groups: Vec<String> = groups.iter().map(|group| format!("/{group}")).collect();
            let (name, enabled) = match name.strip_prefix('!') {
                Some(name) => (name, false),
                None => (*name, true),
            };
            json!({ "id": format!("id-{name}"), "username": name, "enabled": enabled,
                    "groups": groups })
        })
        .collect();
    let groups: Vec<Value> = ["ML", "Ops", "Brake"]
        .iter()
        .map(|name| json!({ "id": name, "name": name, "path": format!("/{name}") }))
        .collect();
    let realm = json!({ "realm": "acme", "groups": groups, "users": users });
    std::fs::write(home.path("acme.json"), realm.to_string()).unwrap();
}

fn sync(home: &Home, people: &[(&str, &[&str])]) {
    says(home, people);
    home.ok(&["sync"], 0);
}

/// Ada in `ML` and `Ops`, and Ben in nothing.
fn company() -> Home {
    let home = Home::new(CONFIG);
    sync(&home, &[("ada", &["ML", "Ops"]), ("ben", &[])]);
    home
}

/// Makes a token; its secret.
fn create(home: &Home, args: &[&str]) -> String {
    let out = home.ok(&[&["token", "create"], args].concat(), 0);
    let secret = out.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {out:?}"));
    assert_eq!(secret.len(), 43, "{secret}");
    assert!(secret.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{secret}");
    secret.to_owned()
}

fn ask(home: &Home, sql: &str) -> Vec<String> {
    let conn = rusqlite::Connection::open_with_flags(
        home.path("store.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )
    .unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// What the token decides of the catalog, as gateways find it: `workflow:Create Allow ml`.
fn decides(home: &Home, user: &str, name: &str) -> Vec<String> {
    ask(
        home,
        &format!(
            "SELECT d.action || ' ' || d.effect || ' ' || d.role FROM gateway_token t \
             JOIN gateway_role_decision d USING (role_set) \
             WHERE t.username = '{user}' AND t.name = '{name}' ORDER BY 1"
        ),
    )
}

fn json_of(home: &Home, args: &[&str]) -> Value {
    let out = home.ok(&[args, &["--output", "json"]].concat(), 0);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// The roles of a token; `None`: there is no such token.
fn roles(home: &Home, user: &str, name: &str) -> Option<Vec<String>> {
    let list = json_of(home, &["token", "list", "--user", user]);
    let token = list.as_array().unwrap().iter().find(|token| token["name"] == name)?;
    let roles = token["roles"].as_array().unwrap();
    Some(roles.iter().map(|role| role.as_str().unwrap().to_owned()).collect())
}

#[test]
fn a_token_is_made_listed_shown_and_revoked() {
    let home = company();
    let generation = json_of(&home, &["status"])["generation"].as_u64().unwrap();
    let secret = create(
        &home,
        &["ada", "ci", "--role", "ml", "--expires", "30d", "--description", " nightly builds "],
    );
    let other = create(&home, &["Ada", "laptop", "--expires", "24h"]);
    assert_ne!(secret, other);
    let status = json_of(&home, &["status"]);
    assert_eq!(status["generation"], generation + 2);
    assert_eq!((&status["tokens"], &status["tokens_expired"]), (&json!(2), &json!(0)));

    let list = json_of(&home, &["token", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let ci = &list[0];
    for (key, value) in [
        ("user", json!("ada")),
        ("name", json!("ci")),
        ("roles", json!(["ml"])),
        ("description", json!("nightly builds")),
        ("expired", json!(false)),
        ("owner", json!("enabled")),
    ] {
        assert_eq!(ci[key], value, "{key}");
    }
    assert!(ci["by"].as_str().unwrap().contains("uid "), "{ci}");
    assert_eq!(list[1]["roles"], json!(["ml", "ops"]));
    let shown = json_of(&home, &["token", "show", "ada", "ci"]);
    assert_eq!(shown["effective"], json!(["default", "ml"]));
    assert_eq!(shown["expires_at"], ci["expires_at"]);
    let text = home.ok(&["token", "list"], 0);
    assert!(text.contains("ada") && text.contains("laptop") && text.contains("ml, ops"), "{text}");
    for args in [&["token", "show", "ada", "ci"][..], &["explain", "ada"], &["user", "show", "ada"]]
    {
        let text = home.ok(args, 0);
        assert!(text.contains("ci") && text.contains("nightly builds"), "{args:?}: {text}");
    }
    assert_eq!(json_of(&home, &["token", "list", "--user", "ben"]), json!([]));

    // All that is kept of the secret.
    let digest: String =
        ask(&home, "SELECT lower(hex(digest)) FROM token WHERE name = 'ci'").remove(0);
    assert_eq!(digest, format!("{:x}", Sha256::digest(&secret)));
    assert_eq!(decides(&home, "ada", "ci"), ["workflow:Create Allow ml", "workflow:Exec Allow ml"]);

    home.ok(&["token", "revoke", "ada", "ci", "--reason", "left in a log"], 0);
    assert_eq!(roles(&home, "ada", "ci"), None);
    assert!(ask(&home, "SELECT name FROM gateway_token").iter().all(|name| name == "laptop"));
    let history = home.ok(&["history", "--user", "ada"], 0);
    let lines: Vec<&str> = history.lines().filter(|line| line.contains("token ci")).collect();
    assert_eq!(lines.len(), 2, "{history}");
    assert!(lines[0].contains("token-removed") && lines[0].contains("left in a log"), "{history}");
    assert!(lines[1].contains("token-added") && lines[1].contains("with ml: nightly"), "{history}");
    // The name is free again.
    create(&home, &["ada", "ci", "--expires", "1d"]);
    let text = home.ok(&["token", "revoke", "ada", "ci"], 0);
    assert!(text.contains("is revoked: generation"), "{text}");
}

#[test]
fn what_cannot_be_a_token_is_refused_and_nothing_is_made() {
    let home = company();
    create(&home, &["ada", "ci", "--expires", "1d"]);
    let before = json_of(&home, &["status"])["generation"].clone();
    let today = &idpsyncd::model::rfc3339(chrono::Utc::now())[..10];
    let in_two_years =
        &idpsyncd::model::rfc3339(chrono::Utc::now() + chrono::Duration::days(730))[..10];
    let good = ["--expires", "1d"];
    let cases: [(&[&str], i32, &str); 16] = [
        (&["ada", "ci", "--expires", "1d"], 1, "has a token `ci` already"),
        (&["eve", "x", "--expires", "1d"], 1, "no user `eve`"),
        (&["ada", "x", "--expires", today], 1, "in the past"),
        (&["ada", "x", "--expires", "0s"], 1, "in the past"),
        (&["ada", "x", "--expires", in_two_years], 1, "tokens.max_lifetime"),
        (&["ada", "x", "--expires", "366d"], 1, "tokens.max_lifetime"),
        (&["ada", "x", "--expires", "1d", "--role", "brake"], 1, "does not hold `brake`"),
        (&["ada", "x", "--expires", "1d", "--role", "nonsense"], 1, "does not hold `nonsense`"),
        (&["ben", "x", "--expires", "1d"], 1, "at least one role"),
        (&["ada", "x", "--expires", "1d", "--role", "ml", "--role", "ml"], 64, "named twice"),
        (&["ada", "x", "--expires", "soon"], 64, "neither a date"),
        (&["ada", "x", "--expires", "never"], 64, "neither a date"),
        (&["ada", "x"], 64, "--expires"),
        (&["ada", "9x", good[0], good[1]], 64, "no name for a token"),
        (&["ada", "x_", good[0], good[1]], 64, "no name for a token"),
        (&["ada", "a b", good[0], good[1]], 64, "no name for a token"),
    ];
    for (args, status, why) in cases {
        let output = home.run(&[&["token", "create"], args].concat());
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {err}");
        assert!(output.stdout.is_empty() && err.contains(why), "{args:?}: {err}");
    }
    for args in [
        &["token", "revoke", "ada", "nothing"][..],
        &["token", "revoke", "eve", "ci"],
        &["token", "show", "ada", "nothing"],
        &["token", "list", "--user", "eve"],
    ] {
        home.ok(args, 1);
    }
    home.configure(&format!("{CONFIG}\n[tokens]\nmax_lifetime = \"12h\"\n"));
    let output = home.run(&["token", "create", "ada", "x", "--expires", "13h"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json_of(&home, &["status"])["generation"], before);
    create(&home, &["ada", "x", "--expires", "11h"]);
}

#[test]
fn a_token_loses_what_its_owner_loses_in_the_same_generation_and_for_good() {
    let home = company();
    create(&home, &["ada", "ci", "--expires", "1d"]);
    create(&home, &["ada", "ops", "--role", "ops", "--expires", "1d"]);
    sync(&home, &[("ada", &["Ops"]), ("ben", &[])]);
    let names = |list: &[&str]| Some(list.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(roles(&home, "ada", "ci"), names(&["ops"]));
    assert_eq!(decides(&home, "ada", "ci"), ["pool:List Allow ops"]);
    let sql = "SELECT group_concat(kind) FROM history WHERE generation = \
               (SELECT max(generation) FROM history)";
    assert_eq!(ask(&home, sql), ["14,21"], "grant-removed and token-role-lost in one generation");
    let history = json_of(&home, &["history", "--user", "ada", "--limit", "1"]);
    for (key, value) in [
        ("change", "token-role-lost"),
        ("token", "ci"),
        ("role", "ml"),
        ("cause", "not-at-idp"),
        ("why", "no source says so any more"),
    ] {
        assert_eq!(history[0][key], value);
    }
    // Granted again it does not come back; a restriction comes by itself.
    sync(&home, &[("ada", &["ML", "Ops", "Brake"]), ("ben", &[])]);
    assert_eq!(roles(&home, "ada", "ci"), names(&["ops"]));
    assert_eq!(decides(&home, "ada", "ci"), ["pool:List Allow ops", "workflow:Exec Deny brake"]);

    sync(&home, &[("!ada", &["ML", "Ops", "Brake"]), ("ben", &[])]);
    assert_eq!(decides(&home, "ada", "ops"), Vec::<String>::new());
    let output = home.run(&["token", "create", "ada", "x", "--expires", "1d"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("disabled in `acme`"));
    assert!(home.ok(&["token", "list"], 0).contains("its owner is disabled"));
    sync(&home, &[("ada", &["ML", "Ops"]), ("ben", &[])]);
    assert_eq!(decides(&home, "ada", "ops"), ["pool:List Allow ops"]);

    sync(&home, &[("ben", &[])]);
    assert_eq!(json_of(&home, &["token", "list"]), json!([]));
    sync(&home, &[("ada", &["ML", "Ops"]), ("ben", &[])]);
    assert_eq!(json_of(&home, &["token", "list"]), json!([]));
    assert_eq!(ask(&home, "SELECT username FROM gateway_token"), Vec::<String>::new());
}

#[test]
fn a_dry_run_tells_what_tokens_would_lose() {
    let home = company();
    create(&home, &["ada", "ci", "--expires", "1d"]);
    says(&home, &[("ada", &["Ops"]), ("ben", &[])]);
    let plan = json_of(&home, &["sync", "--dry-run"]);
    assert_eq!(plan["summary"]["token_roles_lost"], 1);
    let text = home.ok(&["sync", "--dry-run"], 0);
    assert!(text.contains("Access tokens (1)") && text.contains("token ci: ml"), "{text}");
    assert_eq!(roles(&home, "ada", "ci").unwrap().len(), 2);
}

/// Runs a command and looks at the process list meanwhile: what it printed, and all that was to be
/// seen of the process. Until somebody has seen it the store is kept from it.
fn watched(home: &Home, args: &[&str]) -> (Output, Vec<u8>) {
    let mut lock = rusqlite::Connection::open(home.path("store.db")).unwrap();
    let waits = lock.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_idpsyncd"))
        .args(args)
        .arg("--config")
        .arg(home.path("idpsyncd.toml"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let proc = Path::new("/proc").join(child.id().to_string());
    let writes = || {
        let fds = std::fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
        let names = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        names.filter(|name| name.ends_with("store.db-wal")).count() > 1
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = Vec::new();
    // opened for reading, and for writing: by then it has its secret.
    while !writes() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it never came to write");
        std::thread::yield_now();
    }
    for file in ["cmdline", "environ", "comm", "status"] {
        seen.extend(std::fs::read(proc.join(file)).unwrap_or_default());
    }
    waits.commit().unwrap();
    (child.wait_with_output().unwrap(), seen)
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn the_secret_is_nowhere_but_on_standard_output_once() {
    let home = company();
    let args = ["token", "create", "ada", "ci", "--expires", "1d", "--log-level", "trace"];
    let (output, seen) = watched(&home, &args);
    let secret = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
    assert_eq!(secret.len(), 43);
    assert!(holds(&seen, b"create"), "the process was looked at");
    let mut told: Vec<(String, Vec<u8>)> =
        vec![("the process list".to_owned(), seen), ("logs".to_owned(), output.stderr)];

    let json = json_of(&home, &["token", "create", "ada", "json", "--expires", "1d"]);
    let other = json["secret"].as_str().unwrap().to_owned();
    assert_eq!(other.len(), 43);
    for args in [
        &["token", "create", "ada", "ci", "--expires", "1d"][..],
        &["token", "list"],
        &["token", "show", "ada", "ci"],
        &["history"],
        &["explain", "ada"],
        &["user", "show", "ada"],
        &["status"],
        &["sync", "--dry-run"],
        &["sync"],
        &["token", "revoke", "ada", "json"],
        &["history", "--user", "ada"],
    ] {
        for output in ["text", "json"] {
            let all = [args, &["--output", output, "--log-level", "trace"]].concat();
            let said = home.run(&all);
            told.push((format!("{all:?}"), [said.stdout, said.stderr].concat()));
        }
    }
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(home.path("")).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::fs::File::open(entry.path()).unwrap().read_to_end(&mut bytes).unwrap();
        files.insert(entry.file_name().to_string_lossy().into_owned());
        told.push((entry.path().display().to_string(), bytes));
    }
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        assert!(files.contains(file), "{files:?}");
    }
    for secret in [&secret, &other] {
        let raw = base64url(secret);
        assert_eq!(raw.len(), 32);
        for (what, bytes) in &told {
            assert!(!holds(bytes, secret.as_bytes()), "the secret is in {what}");
            assert!(!holds(bytes, &raw), "the secret's bytes are in {what}");
        }
    }
    let digest = Sha256::digest(&secret);
    assert!(told.iter().any(|(what, bytes)| what.ends_with("store.db") && holds(bytes, &digest)));
}

/// The bytes of a text in base64url.
fn base64url(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            _ => 63,
        };
        (bits, count) = (bits << 6 | u32::from(six), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

#[test]
fn a_secret_that_cannot_be_written_is_an_error_that_says_what_to_do() {
    let home = company();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_idpsyncd"))
        .args(["token", "create", "ada", "ci", "--expires", "1d", "--config"])
        .arg(home.path("idpsyncd.toml"))
        .stdout(full)
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("idpsyncd token revoke ada ci"), "{err}");
    home.ok(&["token", "revoke", "ada", "ci"], 0);
}

#[test]
fn a_service_account_needs_no_source_and_its_tokens_go_with_it() {
    let home = Home::new(
        "[store]\npath = \"store.db\"\n[roles.ml]\n[[roles.ml.policies]]\nactions = [\"a:B\"]\n\
         [[catalog]]\nactions = [\"a:B\"]\n",
    );
    home.ok(&["sync"], 0);
    let add = ["user", "add", "svc-ci", "--service", "--reason", "nightly builds"];
    home.ok(&add, 0);
    let refused = home.run(&["token", "create", "svc-ci", "ci", "--expires", "1d"]);
    assert_eq!(refused.status.code(), Some(1));
    home.ok(&["grant", "add", "svc-ci", "ml", "--reason", "nightly builds"], 0);
    create(&home, &["svc-ci", "ci", "--expires", "1d"]);
    let token = json_of(&home, &["token", "show", "svc-ci", "ci"]);
    assert_eq!((&token["service"], &token["effective"]), (&json!(true), &json!(["ml"])));
    assert_eq!(decides(&home, "svc-ci", "ci"), ["a:B Allow ml"]);
    home.ok(&["user", "disable", "svc-ci", "--reason", "quiet, please"], 0);
    assert_eq!(decides(&home, "svc-ci", "ci"), Vec::<String>::new());
    home.ok(&["user", "enable", "svc-ci", "--reason", "go on"], 0);
    assert_eq!(decides(&home, "svc-ci", "ci"), ["a:B Allow ml"]);
    home.ok(&["grant", "remove", "svc-ci", "ml"], 0);
    home.ok(&["grant", "add", "svc-ci", "ml", "--reason", "again"], 0);
    assert_eq!(roles(&home, "svc-ci", "ci"), Some(Vec::new()));
    home.ok(&["user", "remove", "svc-ci", "--reason", "nobody builds any more"], 0);
    assert_eq!(json_of(&home, &["token", "list"]), json!([]));
    home.ok(&add, 0);
    assert_eq!(json_of(&home, &["token", "list"]), json!([]));
    let history = json_of(&home, &["history", "--user", "svc-ci"]);
    let gone: Vec<&Value> =
        history.as_array().unwrap().iter().filter(|row| row["change"] == "token-removed").collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0]["cause"], "by-hand");
}
