//! The commands as they are typed.

use super::support::done::Done;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

struct Home {
    folder: tempfile::TempDir,
}

const CONFIG: &str = r#"
[store]
path = "store.db"

[[source]]
name = "acme"
kind = "file"
realm_export = "acme.json"

[roles.ml]
external_roles = ["ML"]
[[roles.ml.policies]]
actions = ["workflow:*", "pool:List"]
resources = ["pool/ml-*"]

[roles.brake]
external_roles = ["Brake"]
[[roles.brake.policies]]
effect = "Deny"
actions = ["workflow:*"]
resources = ["pool/ml-secret"]

[roles.hand]
sync_mode = "ignore"
[[roles.hand.policies]]
actions = ["pool:List"]

[roles.all]
everyone = true
[[roles.all.policies]]
actions = ["auth:Login"]

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
path = "/api/workflow"
action = "workflow:Read"
scope = "pool"
"#;

impl Home {
    /// A company that has synced.
    fn new(people: &[(&str, &[&str])]) -> Home {
        let home = Home { folder: tempfile::tempdir().unwrap() };
        fs::write(home.folder.path().join("idpsyncd.toml"), CONFIG).unwrap();
        home.people(people);
        home
    }

    /// These people are in these groups from now on.
    fn people(&self, people: &[(&str, &[&str])]) {
        let group = |name: &str| json!({"id": name, "name": name, "path": format!("/{name}")});
        let user = |(name, groups): &(&str, &[&str])| {
            let (name, enabled) = name.strip_prefix('!').map_or((*name, true), |n| (n, false));
            let groups: Vec<String> = groups.iter().map(|group| format!("/{group}")).collect();
            json!({"id": format!("id-{name}"), "username": name, "enabled": enabled, "groups": groups})
        };
        let realm = json!({"realm": "acme", "roles": {"realm": []},
            "groups": [group("ML"), group("Brake")],
            "users": people.iter().map(user).collect::<Vec<_>>()});
        fs::write(self.folder.path().join("acme.json"), realm.to_string()).unwrap();
        self.run(&["sync"]).exits(0);
    }

    fn run(&self, args: &[&str]) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
        for name in [
            "IDPSYNCD_CONFIG",
            "IDPSYNCD_LOG_FORMAT",
            "RUST_LOG",
            "NO_COLOR",
            "SUDO_USER",
            "SUDO_UID",
        ] {
            command.env_remove(name);
        }
        let output = command
            .current_dir(self.folder.path())
            .args(args)
            .args(["--config", "idpsyncd.toml"])
            .output()
            .unwrap();
        Done {
            status: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let done = self.run(&[args, &["--output", "json"]].concat()).exits(0);
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:#?}"))
    }

    /// The values of these keys of each row, with a space between.
    #[track_caller]
    fn rows(&self, args: &[&str], keys: &[&str]) -> Vec<String> {
        let rows = self.json(args);
        let cell = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
        let line =
            |row: &Value| keys.iter().map(|key| cell(row, key)).collect::<Vec<_>>().join(" ");
        rows.as_array().unwrap().iter().map(line).collect()
    }

    fn generation(&self) -> u64 {
        self.json(&["status"])["generation"].as_u64().unwrap()
    }
}

const ACME: &[(&str, &[&str])] =
    &[("ada", &["ML", "Brake"]), ("ben", &["ML"]), ("cay", &[]), ("!dan", &["ML"])];

#[test]
fn who_may_is_said_with_the_role_that_decides_and_a_deny_counts() {
    let home = Home::new(ACME);
    let who = |args: &[&str]| home.rows(&[&["who"], args].concat(), &["user", "role"]);
    assert_eq!(who(&["workflow:Create", "pool/ml-a"]), ["ada ml", "ben ml"]);
    assert_eq!(who(&["workflow:Create", "pool/ml-secret"]), ["ben ml"]);
    assert_eq!(who(&["workflow:Create", "pool/x"]), [""; 0]);
    assert_eq!(who(&["auth:Login"]), ["ada all", "ben all", "cay all"]);
    home.run(&["grant", "add", "cay", "hand", "--reason", "on call"]).exits(0);
    home.run(&["grant", "add", "ben", "hand", "--reason", "on call"]).exits(0);
    assert_eq!(who(&["pool:List"]), ["ada ml", "ben hand", "cay hand"]);
    for user in ["ada", "ben", "cay", "dan"] {
        let args = ["authorize", user, "pool:List", "--output", "json"];
        let decision: Value = serde_json::from_str(&home.run(&args).out).unwrap();
        let listed = who(&["pool:List"]).into_iter().find(|line| line.starts_with(user));
        let allowed = decision["effect"] == "Allow";
        let role = decision["role"].as_str().unwrap_or_default();
        assert_eq!(listed, allowed.then(|| format!("{user} {role}")), "as `authorize` says it");
    }
}

#[test]
fn who_may_send_a_request_is_what_its_route_says() {
    let home = Home::new(ACME);
    let who = |request: &str| home.rows(&["who", "--request", request], &["user", "role"]);
    assert_eq!(who("POST /api/pool/ml-a/workflow"), ["ada ml", "ben ml"]);
    assert_eq!(who("POST /api/pool/ml-secret/workflow"), ["ben ml"]);
    assert_eq!(who("GET /api/workflow"), ["ada ml", "ben ml"], "some pool");
    for denied in ["GET /nowhere", "POST /api/workflow", "GET /api/../x"] {
        assert_eq!(who(denied), [""; 0], "{denied}");
    }
    home.run(&["who", "--request", "GET /nowhere"]).exits(0).says("Nobody may: ");
    home.run(&["who", "--request", "/api/pool"]).exits(64).only_complains("a method");
}

#[test]
fn who_holds_a_role_is_who_holds_it_effectively() {
    let home = Home::new(ACME);
    let who = |role: &str| home.rows(&["who", "--role", role], &["user", "role"]);
    assert_eq!(who("ml"), ["ada ml", "ben ml"]);
    assert_eq!(who("all"), ["ada all", "ben all", "cay all"]);
    assert_eq!(who("hand"), [""; 0]);
    home.run(&["who", "--role", "hand"]).exits(0).says("Nobody holds `hand`.");
    home.run(&["who", "--role", "hnad"]).exits(1).only_complains("did you mean `hand`?");
}

#[test]
fn who_prints_text_json_and_csv() {
    let home = Home::new(ACME);
    let who = |output: &str| home.run(&["who", "--role", "ml", "--output", output]).exits(0).out;
    assert_eq!(who("text"), "USER  ROLE\nada   ml\nben   ml\n");
    assert_eq!(who("csv"), "user,role\r\nada,ml\r\nben,ml\r\n");
    let list: Value = serde_json::from_str(&who("json")).unwrap();
    assert_eq!(list, json!([{"user": "ada", "role": "ml"}, {"user": "ben", "role": "ml"}]));
    let nobody = ["who", "--role", "hand", "--output"];
    assert_eq!(home.run(&[&nobody[..], &["csv"]].concat()).exits(0).out, "user,role\r\n");
    assert_eq!(home.run(&[&nobody[..], &["json"]].concat()).exits(0).out, "[]\n");
}

#[test]
fn a_wrong_command_line_exits_64() {
    let home = Home::new(ACME);
    for args in [
        &["who"][..],
        &["who", "workflow:*"],
        &["who", "*:*"],
        &["who", "workflow:Create", "pool/*"],
        &["who", "workflow"],
        &["who", "--role", "ml", "pool:List"],
        &["who", "pool:List", "--output", "xml"],
        &["report"],
        &["report", "access", "--as-of", "yesterday"],
        &["report", "access", "--as-of", ""],
        &["report", "access", "--as-of", "7d"],
        &["report", "access", "--as-of", "-1"],
        &["report", "access", "--as-of", "2026-13-01"],
        &["report", "sign", "quarterly"],
        &["report", "sign", "quarterly", "--by", " "],
        &["report", "sign", "", "--by", "Ada"],
        &["report", "sign", "a\nb", "--by", "Ada"],
        &["report", "sign", "quarterly", "--by", "Ada", "--generation", "one"],
    ] {
        let done = home.run(args);
        assert_eq!(done.status, 64, "{args:?}: {done:#?}");
    }
    let elsewhere: [&[&str]; 5] =
        [&["status"], &["user", "list"], &["report", "list"], &["history"], &["sync", "--dry-run"]];
    for args in elsewhere {
        home.run(&[args, &["--output", "csv"]].concat())
            .exits(64)
            .only_complains("`who` and `report access`");
    }
}

#[test]
fn the_report_says_who_holds_what_since_when_why_and_by_whom() {
    let home = Home::new(ACME);
    home.run(&["grant", "add", "cay", "hand", "--reason", "=on \"call\"", "--until", "30d"])
        .exits(0);
    let rows = home.json(&["report", "access"]);
    let keys = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert!(rows.as_array().unwrap().iter().all(|row| {
        keys(row) == "by origin role service since user why"
            || keys(row) == "user role since origin why by service"
    }));
    let access = &["report", "access"];
    assert_eq!(
        home.rows(access, &["user", "role", "origin"]),
        [
            "ada all everyone",
            "ada brake idp",
            "ada ml idp",
            "ben all everyone",
            "ben ml idp",
            "cay all everyone",
            "cay hand local"
        ]
    );
    assert_eq!(home.rows(&["report", "access", "--user", "cay"], &["role"]), ["all", "hand"]);
    assert_eq!(home.rows(&["report", "access", "--user", "CAY"], &["role"]), ["all", "hand"]);
    assert_eq!(home.rows(&["report", "access", "--role", "ml"], &["user"]), ["ada", "ben"]);
    let hand = &home.json(&["report", "access", "--role", "hand"])[0];
    assert!(hand["why"].as_str().unwrap().starts_with("=on \"call\" (until 2"), "{hand}");
    assert!(hand["by"].as_str().unwrap().contains("uid"), "{hand}");
    assert_eq!(hand["service"], false);
    let ml = &home.json(&["report", "access", "--role", "ml"])[0];
    assert_eq!(ml["why"], "through group `/ML` (acme, roles.ml)");
    assert_eq!(ml["by"], Value::Null);
    let since = home.json(&["history", "--role", "ml", "--user", "ada"]);
    let granted = since.as_array().unwrap().iter().find(|row| row["change"] == "grant-added");
    assert_eq!(ml["since"], granted.unwrap()["at"]);

    let csv = home.run(&["report", "access", "--role", "hand", "--output", "csv"]).exits(0).out;
    let (header, rest) = csv.split_once("\r\n").unwrap();
    assert_eq!(header, "user,role,since,origin,why,by,service");
    assert!(rest.contains(",local,\"'=on \"\"call\"\" (until 2"), "{rest}");
    assert!(rest.ends_with(",false\r\n"), "{rest}");
    let text = home.run(&["report", "access", "--user", "ben"]).exits(0).out;
    assert!(text.starts_with("Who holds what at generation 2, committed at 2"), "{text}");
    assert!(
        text.contains("\nUSER  ROLE  SINCE                 ORIGIN    WHY\nben   all   2"),
        "{text}"
    );

    home.run(&["report", "access", "--user", "nobody"])
        .exits(1)
        .only_complains("nobody was ever called so");
    home.run(&["report", "access", "--role", "nothing"]).exits(1).only_complains("knows no role");
    assert_eq!(home.json(&["report", "access", "--user", "dan"]), json!([]));
}

#[test]
fn a_service_account_is_told_from_a_person_while_it_is_there_and_afterwards() {
    let home = Home::new(ACME);
    home.run(&["user", "add", "robot", "--service", "--reason", "nightly runs"]).exits(0);
    home.run(&["grant", "add", "robot", "hand", "--reason", "lists pools"]).exits(0);
    let then = home.generation().to_string();
    let row = &home.json(&["report", "access", "--role", "hand"])[0];
    assert_eq!((&row["user"], &row["service"]), (&json!("robot"), &json!(true)));
    assert_eq!((&row["origin"], &row["why"]), (&json!("local"), &json!("lists pools")));
    assert_eq!(home.json(&["report", "access", "--user", "ben"])[0]["service"], false);
    home.run(&["report", "access", "--user", "robot"]).exits(0).says("\nrobot (service)  all");
    let csv = home.run(&["report", "access", "--user", "robot", "--output", "csv"]).exits(0).out;
    assert!(csv.lines().skip(1).all(|line| line.ends_with(",true")), "{csv}");
    assert_eq!(home.rows(&["who", "--role", "hand"], &["user"]), ["robot"]);

    home.run(&["user", "remove", "robot", "--reason", "runs no more"]).exits(0);
    assert_eq!(home.json(&["report", "access", "--role", "hand"]), json!([]));
    let row = &home.json(&["report", "access", "--role", "hand", "--as-of", &then])[0];
    assert_eq!((&row["user"], &row["service"]), (&json!("robot"), &json!(true)));
}

#[test]
fn a_past_state_is_told_by_generation_and_by_time() {
    let home = Home::new(ACME);
    home.people(&[("ada", &["ML"]), ("ben", &[]), ("cay", &["ML"]), ("dan", &["ML"])]);
    let held = |args: &[&str]| {
        home.rows(&[&["report", "access", "--role", "ml"], args].concat(), &["user"])
    };
    assert_eq!(held(&[]), ["ada", "cay", "dan"]);
    assert_eq!(held(&["--as-of", "1"]), ["ada", "ben"]);
    assert_eq!(held(&["--as-of", "2"]), ["ada", "cay", "dan"]);
    let now = home.json(&["status"])["applied_at"].as_str().unwrap().to_owned();
    assert_eq!(held(&["--as-of", &now]), ["ada", "cay", "dan"]);
    assert_eq!(
        home.json(&["report", "access", "--as-of", "2"]),
        home.json(&["report", "access"]),
        "the present as a past"
    );
    for (as_of, why) in [
        ("3", "there is no generation 3: the store has 1 to 2"),
        ("0", "there is no generation 0"),
        ("99999999999999999999999", "there is no generation"),
        ("2020-01-01T00:00:00Z", "nothing is known of 2020-01-01T00:00:00Z"),
        ("2020-01-01", "nothing is known of 2020-01-01T00:00:00Z"),
        ("2999-01-01", "is still to come"),
    ] {
        home.run(&["report", "access", "--as-of", as_of]).exits(1).only_complains(why);
    }
}

#[test]
fn a_review_is_signed_and_the_next_one_sees_what_is_not_as_it_was() {
    let home = Home::new(ACME);
    let since = ["report", "access", "--since-last-review", "quarterly"];
    let keys = ["change", "user", "role"];
    let done = home.run(&[&since[..], &["--output", "json"]].concat()).exits(0);
    assert!(done.err.contains("`quarterly` was never signed: everything is new"), "{done:#?}");
    assert_eq!(home.rows(&since, &keys).len(), 6);
    assert_eq!(home.json(&["report", "list"]), json!([]));

    home.run(&["report", "sign", "quarterly", "--by", "Ada", "--generation", "2"])
        .exits(1)
        .only_complains("no generation 2");
    let signed = home.json(&["report", "sign", "quarterly", "--by", "Ada Berg"]);
    assert_eq!((&signed["generation"], &signed["by"]), (&json!(1), &json!("Ada Berg")));
    assert!(signed["account"].as_str().unwrap().contains("uid"), "{signed}");
    assert_eq!(home.generation(), 1, "nobody's access changes");
    assert_eq!(home.rows(&since, &keys), [""; 0]);
    home.run(&since)
        .exits(0)
        .says("where `quarterly` was signed by Ada Berg at 2")
        .says("Nothing that fits.");

    home.people(&[("ada", &["ML"]), ("ben", &["ML"]), ("cay", &["ML"]), ("!dan", &["ML"])]);
    home.run(&["grant", "add", "ben", "ml", "--reason", "also by hand"]).exits(0);
    assert_eq!(home.rows(&since, &keys), ["removed ada brake", "changed ben ml", "added cay ml"]);
    let rows = home.json(&since);
    assert_eq!(
        (&rows[1]["origin"], &rows[1]["was"]["origin"]),
        (&json!("idp+local"), &json!("idp"))
    );
    assert_eq!(rows[1]["since"], rows[1]["was"]["since"], "without a gap");
    let csv = home.run(&[&since[..], &["--output", "csv"]].concat()).exits(0).out;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines[0], "change,user,role,since,origin,why,by,service,was");
    assert!(lines[2].starts_with("changed,ben,ml,2"), "{csv}");
    assert!(lines[2].contains(",\"idp through group `/ML` (acme, roles.ml)\""), "{csv}");
    let text = home.run(&since).exits(0).out;
    assert!(text.contains("\n~  ben   ml"), "{text}");

    // What was looked at was generation 2, not what came meanwhile.
    home.run(&["report", "sign", "quarterly", "--by", "Ben", "--generation", "2"]).exits(0);
    assert_eq!(home.rows(&since, &keys), ["changed ben ml"]);
    let other = ["report", "access", "--since-last-review", "yearly"];
    assert_eq!(home.rows(&other, &keys).len(), 6, "of another name: never");
    assert_eq!(
        home.rows(&["report", "list"], &["name", "by"]),
        ["quarterly Ben", "quarterly Ada Berg"]
    );
    home.run(&["report", "list"]).exits(0).says("generation 1  by Ada Berg (");
}
