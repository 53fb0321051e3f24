//! People without an identity provider: `local` as a source, `idpsyncd user`, `[default_admin]`. The
//! real binary, and SQL on the store that it leaves.
#![cfg(test)]

mod support;

use rusqlite::Connection;
use serde_json::{Value, json};
use support::gateways::send;
use support::idpsyncd::Home;
use support::server::free_port;

const SECRET: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA";

/// Roles, a catalog, and what `more` says.
fn config(more: &str) -> String {
    format!(
        r#"
        [store]
        path = "store.db"
        [schedule]
        cron = "0 0 0 1 1 *"
        jitter = "0s"
        [guard]
        max_lost_floor = 50
        [roles.osmo-default]
        everyone = true
        [[roles.osmo-default.policies]]
        actions = ["system:Health"]
        [roles.osmo-admin]
        [[roles.osmo-admin.policies]]
        actions = ["*:*"]
        resources = ["*"]
        [roles.osmo-user]
        external_roles = ["ML"]
        [[roles.osmo-user.policies]]
        actions = ["workflow:*"]
        resources = ["pool/*"]
        [[catalog]]
        actions = ["workflow:Create"]
        resources = ["pool/a"]
        {more}
        "#
    )
}

const ACME: &str = r#"
        [[source]]
        name = "acme"
        kind = "file"
        realm_export = "realm.json"
"#;

fn admin_section(role: &str) -> String {
    format!(
        "[default_admin]\nusername = \"admin\"\npassword = {{ file = \"password\" }}\nrole = \"{role}\"\n"
    )
}

/// A realm of these people, all of them in the group ML; `-` before a name: disabled. An export
/// without anybody says nothing: where there is nobody, there is `zed`.
fn realm(home: &Home, people: &[&str]) {
    let people = if people.is_empty() { &["zed"] } else { people };
    let users: Vec<Value> = people
        .iter()
        .map(|name| {
            let (name, enabled) = name.strip_prefix('-').map_or((*name, true), |n| (n, false));
            json!({"id": format!("id-{name}"), "username": name, "enabled": enabled,
                "groups": ["/ML"]})
        })
        .collect();
    let realm = json!({
        "realm": "acme",
        "groups": [{"id": "g1", "name": "ML", "path": "/ML", "subGroups": []}],
        "roles": {"realm": [], "client": {}},
        "users": users,
    });
    std::fs::write(home.path("realm.json"), realm.to_string()).unwrap();
}

/// A home without any source.
fn alone() -> Home {
    Home::new(&config(""))
}

/// A home with a realm of `people` that was synced.
fn with_idp(people: &[&str]) -> Home {
    let home = Home::new(&config(ACME));
    realm(&home, people);
    home.ok(&["sync"], 0);
    home
}

fn sql(home: &Home) -> Connection {
    Connection::open(home.path("store.db")).unwrap()
}

/// The first column of `query`, in order.
fn column(home: &Home, query: &str) -> Vec<String> {
    let conn = sql(home);
    let mut statement = conn.prepare(query).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
    rows.map(|row| row.unwrap().unwrap_or_default()).collect()
}

fn roles(home: &Home, user: &str) -> Vec<String> {
    let sql = format!("SELECT role FROM gateway_user_role WHERE username = '{user}' ORDER BY 1");
    column(home, &sql)
}

fn generation(home: &Home) -> i64 {
    sql(home).query_row("SELECT generation FROM gateway_meta", [], |row| row.get(0)).unwrap()
}

fn json(home: &Home, args: &[&str]) -> Value {
    let args = [args, &["--output", "json"]].concat();
    serde_json::from_str(&home.ok(&args, 0)).unwrap()
}

/// Runs a command that is refused with `status`, and says why in each of these words.
#[track_caller]
fn refused(home: &Home, args: &[&str], status: i32, words: &[&str]) {
    let now = || if home.path("store.db").exists() { generation(home) } else { 0 };
    let before = now();
    let output = home.run(args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {err}");
    for word in words {
        assert!(err.contains(word), "{args:?} says nothing of {word:?}: {err}");
    }
    assert_eq!(now(), before, "{args:?} wrote a generation");
}

fn add(home: &Home, name: &str) {
    home.ok(&["user", "add", name, "--reason", "why not"], 0);
}

fn grant(home: &Home, name: &str, role: &str) {
    home.ok(&["grant", "add", name, role, "--reason", "needs it"], 0);
}

#[test]
fn without_any_source_every_command_works_and_nobody_complains() {
    let home = alone();
    assert!(home.ok(&["check"], 0).contains("0 errors, 0 warnings"));
    home.ok(&["sync", "--dry-run"], 0);
    assert!(!home.path("store.db").exists(), "a dry run makes no store");
    let out = home.ok(&["sync"], 0);
    assert!(out.contains("local") && !out.contains("Warnings"), "{out}");
    assert_eq!(generation(&home), 1, "the roles");
    home.ok(&["sync"], 0);
    home.ok(&["sync", "--source", "local"], 0);
    home.ok(&["sync", "--offline"], 0);
    assert_eq!(generation(&home), 1);
    let status = json(&home, &["status"]);
    assert_eq!(status["sources"][0]["name"], "local");
    assert_eq!(status["sources"][0]["kind"], "local");
    assert_eq!(status["sources"][0]["status"], "complete");
    let mut run = home.start("run");
    run.until_logged("run done");
    run.stop();
}

#[test]
fn without_any_source_the_first_user_makes_the_store_with_its_roles() {
    let home = alone();
    add(&home, "ann");
    grant(&home, "ann", "osmo-user");
    assert_eq!(roles(&home, "ann"), ["osmo-default", "osmo-user"]);
    home.ok(&["authorize", "ann", "workflow:Create", "pool/a"], 0);
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), 3, "the roles, the user, the grant; the sync finds nothing");
}

#[test]
fn where_an_identity_provider_may_be_down_the_first_sync_comes_before_the_first_user() {
    let home = Home::new(&config(ACME));
    refused(&home, &["user", "add", "ann", "--reason", "r"], 1, &["run `idpsyncd sync` first"]);
}

#[test]
fn an_added_user_is_one_generation_told_like_any_other_with_who_did_it_and_why() {
    let home = with_idp(&["bob"]);
    let args = ["user", "add", "Ann", "--email", "ann@example.com", "--reason", "ticket 7"];
    home.ok(&args, 0);
    assert_eq!(generation(&home), 2);
    let shown = json(&home, &["user", "show", "ann"]);
    assert_eq!(shown["status"], "enabled");
    assert_eq!(shown["service"], false);
    assert_eq!(shown["email"], "ann@example.com");
    assert_eq!(shown["links"], json!([{"source": "local", "id": "ann"}]));
    assert_eq!(shown["local"]["reason"], "ticket 7");
    assert!(!shown["local"]["by"].as_str().unwrap().is_empty());
    let text = home.ok(&["user", "show", "ann"], 0);
    assert!(text.contains("added by") && text.contains("ticket 7"), "{text}");
    let history = json(&home, &["history", "--user", "ann"]);
    let rows = history.as_array().unwrap();
    assert!(rows.iter().any(|row| row["change"] == "user-created"));
    assert!(
        rows.iter().all(|row| row["reason"] == "ticket 7" && row["by"] == shown["local"]["by"])
    );
    assert!(home.ok(&["history", "--user", "ann"], 0).contains("ticket 7"));
    assert!(home.ok(&["explain", "ann"], 0).contains("local"));
    let link = "SELECT source || ' ' || external_id FROM gateway_user_link WHERE username = 'ann'";
    assert_eq!(column(&home, link), ["local ann"]);
    let status = json(&home, &["status"]);
    let local = status["sources"].as_array().unwrap().iter().find(|s| s["name"] == "local");
    assert_eq!(local.unwrap()["age_seconds"], 0);
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), 2, "the next sync has nothing to add");
}

#[test]
fn a_service_account_is_told_from_people() {
    let home = with_idp(&["bob"]);
    home.ok(&["user", "add", "svc-ci", "--service", "--reason", "builds"], 0);
    add(&home, "ann");
    assert_eq!(json(&home, &["user", "show", "svc-ci"])["service"], true);
    let list = json(&home, &["user", "list"]);
    let told: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (user["username"].as_str().unwrap(), user["service"].as_bool().unwrap()))
        .collect();
    assert_eq!(told, [("ann", false), ("bob", false), ("svc-ci", true)]);
    let text = home.ok(&["user", "list"], 0);
    let with: Vec<_> = text.lines().filter(|line| line.contains("service")).collect();
    assert!(with.len() == 1 && with[0].contains("svc-ci"), "{text}");
    assert!(home.ok(&["user", "show", "svc-ci"], 0).contains("service"));
}

#[test]
fn a_name_that_is_none_is_a_wrong_command_line() {
    let home = with_idp(&["bob"]);
    for name in ["-x", "a b", "a.", "é", "*", "a/b", "${self}"] {
        refused(&home, &["user", "add", "--reason", "r", "--", name], 64, &[]);
    }
    refused(&home, &["user", "add", "x", "--reason", " "], 64, &["--reason"]);
    refused(&home, &["user", "add", "x"], 64, &["--reason"]);
    add(&home, "x");
    refused(&home, &["user", "add", "x", "--reason", "r"], 1, &["already"]);
}

#[test]
fn disabling_takes_every_role_and_enabling_brings_them_back() {
    let home = with_idp(&["bob"]);
    add(&home, "ann");
    grant(&home, "ann", "osmo-user");
    home.ok(&["user", "disable", "ann", "--reason", "on leave"], 0);
    assert_eq!(generation(&home), 4);
    assert_eq!(roles(&home, "ann"), [""; 0]);
    let shown = json(&home, &["user", "show", "ann"]);
    assert_eq!((&shown["status"], &shown["disabled_by"]), (&json!("disabled"), &json!("local")));
    assert_eq!(shown["local"]["last"]["reason"], "on leave");
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "ann"), [""; 0], "a sync changes nothing of it");
    let again = home.ok(&["user", "disable", "ann", "--reason", "twice"], 0);
    assert!(again.contains("nothing to do"), "{again}");
    assert_eq!(generation(&home), 4);
    home.ok(&["user", "enable", "ann", "--reason", "back"], 0);
    assert_eq!(roles(&home, "ann"), ["osmo-default", "osmo-user"]);
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), 5);
    let history = json(&home, &["history", "--user", "ann"]);
    let of = |change: &str| {
        history.as_array().unwrap().iter().find(|row| row["change"] == change).unwrap()["reason"]
            .clone()
    };
    assert_eq!((of("user-disabled"), of("user-enabled")), (json!("on leave"), json!("back")));
}

#[test]
fn removing_takes_everything_at_once_and_whoever_comes_again_is_somebody_new() {
    let home = with_idp(&["bob"]);
    add(&home, "ann");
    grant(&home, "ann", "osmo-user");
    let id = json(&home, &["user", "show", "ann"])["user_id"].clone();
    home.ok(&["user", "remove", "ann", "--reason", "left"], 0);
    assert_eq!(generation(&home), 4);
    assert_eq!(roles(&home, "ann"), [""; 0]);
    let shown = json(&home, &["user", "show", "ann"]);
    assert_eq!(shown["status"], "deprovisioned");
    assert_eq!(shown["grants"], json!([]));
    assert_eq!(shown["local"]["last"]["reason"], "left");
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), 4);
    add(&home, "ann");
    let new = json(&home, &["user", "show", "ann"]);
    assert_ne!(new["user_id"], id);
    assert_eq!((new["roles"].clone(), new["grants"].clone()), (json!(["osmo-default"]), json!([])));
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), 5);
}

#[test]
fn who_is_known_to_an_identity_provider_alone_is_not_removed_or_disabled_here() {
    let home = with_idp(&["bob"]);
    for what in ["remove", "disable", "enable"] {
        refused(&home, &["user", what, "bob", "--reason", "r"], 1, &["`bob`", "`acme`"]);
        refused(&home, &["user", what, "nobody", "--reason", "r"], 1, &["`nobody`"]);
    }
}

#[test]
fn a_name_that_both_know_is_one_person_and_only_the_local_side_can_be_removed() {
    let home = with_idp(&["bob"]);
    let id = json(&home, &["user", "show", "bob"])["user_id"].clone();
    add(&home, "bob");
    let both = json(&home, &["user", "show", "bob"]);
    assert_eq!(both["user_id"], id);
    assert_eq!(both["links"].as_array().unwrap().len(), 2);
    assert_eq!(roles(&home, "bob"), ["osmo-default", "osmo-user"]);
    // Disabled in any of them is disabled.
    home.ok(&["user", "disable", "bob", "--reason", "r"], 0);
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "bob"), [""; 0]);
    home.ok(&["user", "remove", "bob", "--reason", "r"], 0);
    assert_eq!(roles(&home, "bob"), ["osmo-default", "osmo-user"], "as the IdP has it");
    assert_eq!(json(&home, &["user", "show", "bob"])["links"].as_array().unwrap().len(), 1);
    home.ok(&["sync"], 0);
    let before = generation(&home);
    add(&home, "bob");
    assert_eq!(json(&home, &["user", "show", "bob"])["user_id"], id);
    // Who leaves the IdP stays, since `local` lists them; what the IdP gave goes.
    realm(&home, &[]);
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "bob"), ["osmo-default"]);
    assert_eq!(generation(&home), before + 2);
}

#[test]
fn an_identity_providers_person_who_comes_later_is_linked_by_name_but_never_to_a_service_account() {
    let home = with_idp(&["bob"]);
    add(&home, "ann");
    home.ok(&["user", "add", "svc", "--service", "--reason", "r"], 0);
    realm(&home, &["bob", "ann", "svc"]);
    let out = home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "ann"), ["osmo-default", "osmo-user"]);
    assert_eq!(roles(&home, "svc"), ["osmo-default"], "nobody signs in as a service account");
    assert!(out.contains("svc") && out.contains("not provisioned"), "{out}");
    let sql = "SELECT source FROM gateway_user_link WHERE username = 'svc'";
    assert_eq!(column(&home, sql), ["local"]);
    let word = "`acme`";
    let args = ["user", "add", "bob", "--service", "--reason", "r"];
    refused(&home, &args, 1, &["`bob`", word]);
    // Once the service account is gone, the name is free for whoever the IdP means.
    home.ok(&["user", "remove", "svc", "--reason", "r"], 0);
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "svc"), ["osmo-default", "osmo-user"]);
}

#[test]
fn only_what_was_asked_for_happens_and_the_rest_waits_for_the_next_sync() {
    let home = with_idp(&["bob", "cay"]);
    realm(&home, &["bob"]);
    let more = format!("{ACME}\n[roles.new]\nexternal_roles = [\"ML\"]\n");
    home.configure(&config(&more));
    add(&home, "ann");
    let changes = "SELECT count(*) || '' FROM history WHERE generation = 2";
    assert_eq!(column(&home, changes), ["2"], "the user and its link");
    home.ok(&["user", "disable", "ann", "--reason", "r"], 0);
    home.ok(&["user", "remove", "ann", "--reason", "r"], 0);
    assert_eq!(roles(&home, "bob"), ["osmo-default", "osmo-user"]);
    assert_eq!(json(&home, &["user", "show", "cay"])["status"], "enabled");
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "bob"), ["new", "osmo-default", "osmo-user"]);
    assert_eq!(json(&home, &["user", "show", "cay"])["status"], "missing");
}

#[test]
fn the_last_holder_of_a_protected_role_cannot_be_taken_out_by_hand() {
    let home = alone();
    add(&home, "ann");
    add(&home, "ben");
    grant(&home, "ann", "osmo-admin");
    for what in ["remove", "disable"] {
        refused(&home, &["user", what, "ann", "--reason", "r"], 1, &["`osmo-admin`"]);
    }
    grant(&home, "ben", "osmo-admin");
    home.ok(&["user", "disable", "ann", "--reason", "r"], 0);
    refused(&home, &["user", "remove", "ben", "--reason", "r"], 1, &["`osmo-admin`"]);
    home.ok(&["user", "remove", "ann", "--reason", "r"], 0);
}

#[test]
fn local_users_are_provisioned_whatever_the_sources_people_need_for_it() {
    for sync in
        ["provision = \"mapped\"", "username = \"email\"", "on_missing = { after = \"0s\" }"]
    {
        let home = Home::new(&config(&format!("{ACME}\n[sync]\n{sync}\n")));
        realm(&home, &[]);
        home.ok(&["sync"], 0);
        add(&home, "ann");
        home.ok(&["sync"], 0);
        assert_eq!(json(&home, &["user", "show", "ann"])["status"], "enabled", "{sync}");
        home.ok(&["user", "remove", "ann", "--reason", "r"], 0);
        home.ok(&["sync"], 0);
        assert_eq!(json(&home, &["user", "show", "ann"])["status"], "deprovisioned", "{sync}");
    }
}

#[test]
fn evidence_of_local_is_always_fresh_and_makes_no_other_older() {
    let port = free_port();
    let gateway = format!(
        "[gateway]\nhttp = \"127.0.0.1:{port}\"\nidentity = \"header\"\npreset = \"osmo\"\n\
         max_staleness = \"1s\"\n"
    );
    let home = Home::new(&config(&gateway));
    add(&home, "ann");
    grant(&home, "ann", "osmo-user");
    let read = "SELECT oldest_source_read_at FROM gateway_meta";
    assert!(!column(&home, read)[0].is_empty());
    // As if nothing had run for years.
    sql(&home).execute("UPDATE source SET read_at = 0, tried_at = 0, spoke_at = 0", []).unwrap();
    assert_eq!(column(&home, read), ["1970-01-01T00:00:00Z"], "the last run's time");
    let ask = |user: &str| {
        // Not there yet.
        let Ok(_) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return 0 };
        let asked = [("X-Original-URI", "/api/pool/a/workflow"), ("X-Original-Method", "POST")];
        let headers = [asked[0], asked[1], ("x-osmo-user", user)];
        send(port, "GET", b"/authz", &headers).status
    };
    let mut serve = home.start("serve");
    serve.until("an answer", || (ask("ann") == 200).then_some(()));
    assert_eq!(ask("ben"), 403, "a stranger");
    serve.stop();
    home.ok(&["sync"], 0);
    assert_ne!(column(&home, read), ["1970-01-01T00:00:00Z"]);
    // With another source, that one's age is the evidence's.
    home.configure(&config(&format!("{ACME}{gateway}")));
    realm(&home, &["bob"]);
    home.ok(&["sync"], 0);
    let local = "UPDATE source SET read_at = 0 WHERE name = 'local'";
    sql(&home).execute(local, []).unwrap();
    assert_ne!(column(&home, read), ["1970-01-01T00:00:00Z"]);
    sql(&home).execute("UPDATE source SET read_at = 0 WHERE name = 'acme'", []).unwrap();
    let mut serve = home.start("serve");
    // nginx takes nothing but 401 and 403 for a refusal.
    serve.until("an answer", || (ask("ann") == 403).then_some(()));
    assert!(serve.log().contains("`acme`"), "{}", serve.log());
    serve.stop();
}

/// A home with `more` and a default admin with `secret` in the file.
fn administered(more: &str, secret: &str) -> Home {
    let home = Home::new(&config(&format!("{more}\n{}", admin_section("osmo-admin"))));
    std::fs::write(home.path("password"), secret).unwrap();
    home
}

#[test]
fn the_default_admin_is_there_after_the_first_sync_and_the_dry_run_shows_it() {
    let home = administered("", SECRET);
    let dry = json(&home, &["sync", "--dry-run"]);
    let told: Vec<_> = dry["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["user"] == "admin")
        .map(|change| change["change"].as_str().unwrap())
        .collect();
    for what in ["user-created", "link-added", "grant-added"] {
        assert!(told.contains(&what), "{what}: {told:?}");
    }
    assert!(!home.path("store.db").exists());
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), 1);
    assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default"]);
    let grants = json(&home, &["grant", "list"]);
    assert_eq!(
        (&grants[0]["role"], &grants[0]["by"]),
        (&json!("osmo-admin"), &json!("[default_admin]"))
    );
    let shown = json(&home, &["user", "show", "admin"]);
    assert_eq!(shown["local"]["by"], "[default_admin]");
    assert_eq!(shown["service"], false);
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), 1);
    // Every command goes on working without the secret but those that see to it.
    std::fs::remove_file(home.path("password")).unwrap();
    home.ok(&["status"], 0);
    home.ok(&["user", "list"], 0);
    for args in [&["sync"][..], &["sync", "--dry-run"], &["run"]] {
        refused(&home, args, 1, &["default_admin.password"]);
    }
    home.ok(&["check", "--offline"], 1);
}

#[test]
fn a_default_admin_without_a_name_is_admin_with_the_role_osmo_admin_where_there_is_one() {
    let home = administered("", SECRET);
    let file = home.path("idpsyncd.toml");
    let whole = std::fs::read_to_string(&file).unwrap();
    let short = whole.replace("username = \"admin\"\n", "").replace("role = \"osmo-admin\"\n", "");
    assert_ne!(whole, short);
    std::fs::write(&file, &short).unwrap();
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default"]);
    std::fs::write(&file, short.replace("[roles.osmo-admin", "[roles.other")).unwrap();
    refused(&home, &["sync"], 1, &["default_admin.role", "`osmo-admin`"]);
}

#[test]
fn a_role_that_was_taken_from_the_default_admin_comes_back_and_nobody_takes_it_out_by_hand() {
    let home = administered(ACME, SECRET);
    realm(&home, &["bob"]);
    home.ok(&["sync"], 0);
    home.ok(&["grant", "remove", "admin", "osmo-admin"], 0);
    assert_eq!(roles(&home, "admin"), ["osmo-default"]);
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default"]);
    let before = generation(&home);
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), before);
    grant(&home, "bob", "osmo-admin");
    for what in ["remove", "disable"] {
        let words = ["`osmo-admin`", "[default_admin]"];
        refused(&home, &["user", what, "admin", "--reason", "r"], 1, &words);
    }
    // Another role in the section: the old one goes.
    home.configure(&config(&format!("{ACME}{}", admin_section("osmo-user"))));
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "admin"), ["osmo-default", "osmo-user"]);
}

/// Name, digest as hex, and roles of each token.
fn tokens(home: &Home) -> Vec<String> {
    column(
        home,
        "SELECT u.username || ' ' || t.name || ' ' || lower(hex(t.digest)) || ' ' || \
            coalesce((SELECT group_concat(r.name) FROM token_role m JOIN role r ON r.num = m.role \
                       WHERE m.token = t.num), '') \
           FROM token t JOIN user u ON u.id = t.user ORDER BY 1",
    )
}

fn digest(secret: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_password_that_is_another_tokens_secret_is_an_error_and_changes_nothing() {
    let home = administered("", SECRET);
    home.ok(&["sync"], 0);
    home.ok(&["user", "add", "bot", "--service", "--reason", "ci"], 0);
    home.ok(&["grant", "add", "bot", "osmo-user", "--reason", "ci"], 0);
    let secret = home.ok(&["token", "create", "bot", "z", "--expires", "9d"], 0);
    let (before, kept) = (generation(&home), tokens(&home));
    std::fs::write(home.path("password"), secret.lines().next().unwrap()).unwrap();
    refused(&home, &["sync"], 1, &["token `z` of `bot`", "[default_admin]"]);
    assert_eq!((generation(&home), tokens(&home)), (before, kept));
}

#[test]
fn who_was_disabled_by_hand_is_so_again_without_the_section() {
    let home = administered("", SECRET);
    let with = std::fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
    let at = with.find("[default_admin]").unwrap();
    std::fs::write(home.path("idpsyncd.toml"), &with[..at]).unwrap();
    home.ok(&["user", "add", "admin", "--reason", "first"], 0);
    home.ok(&["user", "disable", "admin", "--reason", "off"], 0);
    std::fs::write(home.path("idpsyncd.toml"), &with).unwrap();
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default"]);
    std::fs::write(home.path("idpsyncd.toml"), &with[..at]).unwrap();
    home.ok(&["sync"], 0);
    assert_eq!(json(&home, &["user", "show", "admin"])["status"], "disabled");
    assert!(roles(&home, "admin").is_empty());
}

#[test]
fn who_takes_a_grant_or_a_token_away_may_say_why() {
    let home = administered("", SECRET);
    home.ok(&["sync"], 0);
    home.ok(&["user", "add", "ann", "--reason", "new"], 0);
    for role in ["osmo-user", "osmo-admin"] {
        home.ok(&["grant", "add", "ann", role, "--reason", "r"], 0);
    }
    home.ok(&["token", "create", "ann", "t", "--expires", "9d"], 0);
    home.ok(&["token", "revoke", "ann", "t", "--reason", "it leaked"], 0);
    home.ok(&["grant", "remove", "ann", "osmo-user", "--reason", "moved on"], 0);
    home.ok(&["grant", "remove", "ann", "osmo-admin"], 0);
    let rows = json(&home, &["history", "--user", "ann"]);
    let of = |change: &str, role: Option<&str>| {
        let mut rows = rows.as_array().unwrap().iter();
        rows.find(|row| row["change"] == change && role.is_none_or(|role| row["role"] == role))
            .unwrap()
            .clone()
    };
    assert_eq!(of("token-removed", None)["reason"], "it leaked");
    assert_eq!(of("grant-removed", Some("osmo-user"))["reason"], "moved on");
    assert!(of("grant-removed", Some("osmo-admin")).get("reason").is_none());
    let text = home.ok(&["history", "--user", "ann"], 0);
    assert!(text.contains(": it leaked") && text.contains(": moved on"), "{text}");
}

#[test]
fn what_people_wrote_about_a_grant_draws_nothing_on_a_terminal() {
    let home = administered("", SECRET);
    home.ok(&["sync"], 0);
    home.ok(&["user", "add", "ann", "--reason", "new"], 0);
    home.ok(&["grant", "add", "ann", "osmo-user", "--reason", "\u{1b}]0;x\u{7}\nLost (fake)"], 0);
    for args in [&["user", "show", "ann"][..], &["explain", "ann"]] {
        let text = home.ok(args, 0);
        assert!(text.contains("Lost (fake)") && !text.contains("\nLost"), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }
}

#[test]
fn the_default_admins_token_is_the_password_has_that_role_alone_and_comes_back() {
    let home = administered(ACME, SECRET);
    realm(&home, &["bob"]);
    let dry = json(&home, &["sync", "--dry-run"]);
    let added = |change: &Value| change["change"] == "token-added" && change["user"] == "admin";
    assert!(dry["changes"].as_array().unwrap().iter().any(added), "{dry}");
    home.ok(&["sync"], 0);
    let expected = |secret: &str, role: &str| {
        vec![format!("admin default-admin-token {} {role}", digest(secret))]
    };
    assert_eq!(tokens(&home), expected(SECRET, "osmo-admin"));
    let shown = json(&home, &["token", "show", "admin", "default-admin-token"]);
    assert_eq!(shown["roles"], json!(["osmo-admin"]));
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), 1);
    // Another password: one generation, one token.
    let other = SECRET.replace('q', "z");
    std::fs::write(home.path("password"), &other).unwrap();
    home.ok(&["sync", "--dry-run", "--detailed-exitcode"], 2);
    home.ok(&["sync"], 0);
    assert_eq!((generation(&home), tokens(&home)), (2, expected(&other, "osmo-admin")));
    // Taken away, by itself or with its role: there again after the next sync.
    home.ok(&["token", "revoke", "admin", "default-admin-token", "--reason", "r"], 0);
    assert_eq!(tokens(&home), [""; 0]);
    home.ok(&["sync"], 0);
    assert_eq!(tokens(&home), expected(&other, "osmo-admin"));
    grant(&home, "admin", "osmo-user");
    home.ok(&["grant", "remove", "admin", "osmo-admin"], 0);
    home.ok(&["sync"], 0);
    assert_eq!(tokens(&home), expected(&other, "osmo-admin"), "and never another role");
    // Another name, then none.
    let renamed = admin_section("osmo-user").replace("\"admin\"", "\"root\"");
    home.configure(&config(&format!("{ACME}{renamed}")));
    home.ok(&["sync"], 0);
    let root = format!("root default-admin-token {} osmo-user", digest(&other));
    assert_eq!(tokens(&home), [root]);
    home.configure(&config(ACME));
    home.ok(&["sync"], 0);
    assert_eq!(tokens(&home), [""; 0]);
}

#[test]
fn a_removed_owners_tokens_are_gone_and_a_disabled_owners_are_whole_again() {
    let home = alone();
    home.ok(&["user", "add", "svc", "--service", "--reason", "r"], 0);
    grant(&home, "svc", "osmo-user");
    let secret = home.ok(&["token", "create", "svc", "ci", "--expires", "30d"], 0);
    let whole = vec![format!("svc ci {} osmo-user", digest(secret.trim()))];
    assert_eq!(tokens(&home), whole);
    home.ok(&["user", "disable", "svc", "--reason", "r"], 0);
    home.ok(&["user", "enable", "svc", "--reason", "r"], 0);
    assert_eq!(tokens(&home), whole);
    home.ok(&["user", "remove", "svc", "--reason", "r"], 0);
    assert_eq!(tokens(&home), [""; 0]);
    home.ok(&["user", "add", "svc", "--service", "--reason", "r"], 0);
    home.ok(&["sync"], 0);
    assert_eq!(tokens(&home), [""; 0], "they never return");
}

/// `config/standalone.toml` with other ports, a store of its own, and the secret in a file.
fn standalone(grpc: u16, http: u16) -> Home {
    let text = std::fs::read_to_string(support::gateways::shipped("config/standalone.toml"));
    let text = text
        .unwrap()
        .replace("../standalone.db", "store.db")
        .replace("env = \"ADMIN_TOKEN\"", "file = \"password\"")
        .replace(":9181", &format!(":{grpc}"))
        .replace(":9180", &format!(":{http}"));
    let home = Home::new(&text);
    std::fs::write(home.path("password"), SECRET).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.path("password"), private).unwrap();
    home
}

#[test]
fn the_standalone_configuration_goes_from_nothing_to_a_token_that_envoy_lets_through() {
    let (grpc, http) = (free_port(), free_port());
    let home = standalone(grpc, http);
    assert!(home.ok(&["check"], 0).contains("0 errors, 0 warnings"));
    home.ok(&["user", "add", "svc-ci", "--service", "--reason", "nightly builds"], 0);
    grant(&home, "svc-ci", "osmo-user");
    let token = home.ok(&["token", "create", "svc-ci", "nightly", "--expires", "90d"], 0);
    home.ok(&["user", "add", "svc-dashboard", "--service", "--reason", "the wall"], 0);
    grant(&home, "svc-dashboard", "osmo-viewer");
    let wall = ["token", "create", "svc-dashboard", "wall", "--role", "osmo-viewer"];
    let looks = home.ok(&[&wall[..], &["--expires", "30d"]].concat(), 0);
    let mut run = home.start("run");
    run.until("it is ready", || {
        std::net::TcpStream::connect(("127.0.0.1", http)).ok()?;
        (send(http, "GET", b"/readyz", &[]).status == 200).then_some(())
    });
    let platform = support::gateways::Platform::start();
    let ports = support::gateways::Ports { idpsyncd: grpc, platform: platform.port };
    let envoy = support::gateways::envoy("config/envoy.yaml", ports, &[]);
    let Some((_envoy, port)) = envoy else { return };
    let ask = |method: &str, path: &str, token: &str| {
        let bearer = format!("Bearer {}", token.trim());
        send(port, method, path.as_bytes(), &[("authorization", &bearer)]).status
    };
    let pool = "/api/pool/default/workflow";
    assert_eq!(ask("POST", pool, &token), 200);
    let reached = platform.take();
    let header = |name: &str| reached[0].headers.get(name).cloned();
    assert_eq!(header("x-osmo-user").as_deref(), Some("svc-ci"));
    assert_eq!(header("x-osmo-token-name").as_deref(), Some("nightly"));
    assert_eq!(ask("POST", pool, &looks), 403);
    assert_eq!(ask("POST", "/api/pool/other/workflow", &token), 403);
    assert_eq!(ask("POST", "/api/pool/other/workflow", SECRET), 200, "the default admin");
    assert_eq!(ask("POST", pool, &SECRET.replace('q', "z")), 401);
    home.ok(&["user", "disable", "svc-ci", "--reason", "r"], 0);
    run.until("the token is refused", || (ask("POST", pool, &token) == 403).then_some(()));
    home.ok(&["user", "remove", "svc-ci", "--reason", "r"], 0);
    run.until("the token is nobody's", || (ask("POST", pool, &token) == 401).then_some(()));
}

#[test]
fn reports_tell_service_accounts() {
    let home = alone();
    home.ok(&["user", "add", "svc", "--service", "--reason", "r"], 0);
    add(&home, "ann");
    let report = json(&home, &["report", "access"]);
    let told: Vec<_> = report
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["user"].as_str().unwrap(), row["service"].as_bool().unwrap()))
        .collect();
    assert_eq!(told, [("ann", false), ("svc", true)]);
}

#[test]
fn mode_force_is_about_the_identity_providers_people_and_not_about_the_default_admin() {
    for mode in ["force", "import", "merge", "ignore"] {
        let home = administered(ACME, SECRET);
        let text = std::fs::read_to_string(home.path("idpsyncd.toml")).unwrap();
        let role = "[roles.osmo-admin]";
        home.configure(&text.replace(role, &format!("{role}\nsync_mode = \"{mode}\"")));
        realm(&home, &["bob"]);
        for _ in 0..3 {
            home.ok(&["sync"], 0);
            assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default"], "{mode}");
        }
        assert_eq!(generation(&home), 1, "{mode}");
        realm(&home, &["bob", "cay"]);
        home.ok(&["sync"], 0);
        assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default"], "{mode}");
    }
}

#[test]
fn without_the_section_the_default_admin_is_gone_and_with_another_name_it_is_another() {
    let home = administered(ACME, SECRET);
    realm(&home, &["bob"]);
    home.ok(&["sync"], 0);
    let id = json(&home, &["user", "show", "admin"])["user_id"].clone();
    home.configure(&config(&format!(
        "{ACME}{}",
        admin_section("osmo-admin").replace("\"admin\"", "\"root\"")
    )));
    let before = generation(&home);
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), before + 1, "in one generation");
    assert_eq!(json(&home, &["user", "show", "admin"])["status"], "deprovisioned");
    assert_eq!(roles(&home, "root"), ["osmo-admin", "osmo-default"]);
    home.configure(&config(ACME));
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "root"), [""; 0]);
    assert_eq!(json(&home, &["grant", "list"]), json!([]));
    assert_eq!(json(&home, &["status"])["held"], Value::Null, "the file says so outright");
    let now = generation(&home);
    home.ok(&["sync"], 0);
    assert_eq!(generation(&home), now);
    home.configure(&config(&format!("{ACME}{}", admin_section("osmo-admin"))));
    home.ok(&["sync"], 0);
    assert_ne!(json(&home, &["user", "show", "admin"])["user_id"], id);
    assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default"]);
}

#[test]
fn the_default_admin_is_nobody_whom_an_identity_provider_brings() {
    // There before it: an error, and nothing happens.
    let home = with_idp(&["admin"]);
    std::fs::write(home.path("password"), SECRET).unwrap();
    home.configure(&config(&format!("{ACME}{}", admin_section("osmo-admin"))));
    for args in [&["sync"][..], &["sync", "--dry-run"]] {
        refused(&home, args, 1, &["`admin`", "`acme`"]);
    }
    assert_eq!(roles(&home, "admin"), ["osmo-default", "osmo-user"]);
    let fresh = administered(ACME, SECRET);
    realm(&fresh, &["Admin"]);
    refused(&fresh, &["sync"], 1, &["`admin`", "`acme`"]);
    // There after it: not provisioned, reported.
    let home = administered(ACME, SECRET);
    realm(&home, &["bob"]);
    home.ok(&["sync"], 0);
    realm(&home, &["bob", "ADMIN"]);
    let out = home.ok(&["sync"], 0);
    assert!(out.contains("`admin`") && out.contains("not provisioned"), "{out}");
    assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default"]);
    let sql = "SELECT source FROM gateway_user_link WHERE username = 'admin'";
    assert_eq!(column(&home, sql), ["local"]);
}

#[test]
fn a_local_user_of_that_name_becomes_the_default_admin_and_stays_without_the_section() {
    let home = alone();
    add(&home, "admin");
    grant(&home, "admin", "osmo-user");
    let id = json(&home, &["user", "show", "admin"])["user_id"].clone();
    std::fs::write(home.path("password"), SECRET).unwrap();
    home.configure(&config(&admin_section("osmo-admin")));
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "admin"), ["osmo-admin", "osmo-default", "osmo-user"]);
    home.configure(&config(""));
    home.ok(&["sync"], 0);
    assert_eq!(roles(&home, "admin"), ["osmo-default", "osmo-user"]);
    assert_eq!(json(&home, &["user", "show", "admin"])["user_id"], id);
}

#[test]
fn the_default_admins_secret_has_43_characters_of_base64url_or_it_is_told_how_many_and_not_which() {
    let short = &SECRET[..42];
    for (written, words) in [
        (short.to_owned(), "42 characters"),
        (format!("{SECRET}x"), "44 characters"),
        (format!("{SECRET}\n\n"), "44 characters"),
        (String::new(), "default_admin.password"),
        (format!("{short}+"), "base64url"),
        (format!("{short} "), "base64url"),
        (format!("{short}é"), "base64url"),
    ] {
        let home = administered("", &written);
        refused(&home, &["sync"], 1, &[words]);
        let output = home.run(&["check", "--offline"]);
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains(words), "{told}");
        assert!(!told.contains(&short[..8]), "{told}");
        assert!(!home.path("store.db").exists());
    }
    for written in [SECRET.to_owned(), format!("{SECRET}\n"), format!("{SECRET}\r\n")] {
        administered("", &written).ok(&["sync"], 0);
    }
    // From the environment it is taken as it is.
    let section = admin_section("osmo-admin").replace("file = \"password\"", "env = \"ADMIN\"");
    let home = Home::new(&config(&section));
    for (secret, status) in [(format!("{SECRET}\n"), 1), (SECRET.to_owned(), 0)] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
        command.args(["sync", "--config"]).arg(home.path("idpsyncd.toml")).env("ADMIN", secret);
        assert_eq!(command.output().unwrap().status.code(), Some(status));
    }
}

mod property {
    //! Whatever syncs and commands happen: who is only local is touched by commands on them alone.

    use std::collections::BTreeMap;
    use std::path::Path;

    use crate::support::door::Reader;
    use chrono::{DateTime, Utc};
    use idpsyncd::config::{Config, load};
    use idpsyncd::model::{Deed, GrantKind, LocalGrant, State, Status};
    use idpsyncd::plan::{self, ByHand};
    use idpsyncd::sync::{self, ManualError, UserWish};
    use proptest::prelude::*;

    use super::{ACME, Home, config, realm};

    const NAMES: [&str; 4] = ["ann", "bob", "cay", "svc"];

    #[derive(Clone, Debug)]
    enum Step {
        Add(usize, bool),
        Disable(usize),
        Enable(usize),
        Remove(usize),
        Grant(usize),
        /// The realm lists those whose bit is set; then a sync.
        Sync(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let who = 0..NAMES.len();
        prop_oneof![
            3 => (who.clone(), any::<bool>()).prop_map(|(who, service)| Step::Add(who, service)),
            1 => who.clone().prop_map(Step::Disable),
            1 => who.clone().prop_map(Step::Enable),
            1 => who.clone().prop_map(Step::Remove),
            2 => who.prop_map(Step::Grant),
            4 => (0u8..16).prop_map(Step::Sync),
        ]
    }

    /// What is known of somebody whom only `local` knows.
    #[derive(Clone, PartialEq, Debug)]
    struct Known {
        enabled: bool,
        service: bool,
        granted: bool,
    }

    fn state(config: &Config) -> State {
        Reader::open(&config.store).unwrap().unwrap().state().unwrap()
    }

    fn sync(runtime: &tokio::runtime::Runtime, config: &Config, now: DateTime<Utc>) -> Vec<String> {
        let outcome = super::support::in_process::sync(runtime, config, now);
        assert!(outcome.held.is_none());
        outcome.warnings()
    }

    /// Somebody's standing as the store has it: enabled, and whether granted by hand.
    fn seen(state: &State, name: &str) -> Option<(bool, bool)> {
        let user = plan::local::called(state, name)?;
        let row = state.users.iter().find(|row| row.id == user)?;
        let granted = state
            .grants
            .iter()
            .any(|grant| grant.user == user && matches!(grant.kind, GrantKind::Local(_)));
        Some((row.status == Status::Enabled, granted))
    }

    #[expect(clippy::too_many_lines, reason = "one story, told in its order")]
    fn live(steps: &[Step]) {
        let home =
            Home::new(&config(&format!("{ACME}\n[sync]\non_missing = {{ after = \"0s\" }}\n")));
        realm(&home, &[]);
        let config =
            load(Path::new(&home.path("idpsyncd.toml")), &idpsyncd::source::kinds()).unwrap();
        let store = idpsyncd::store::open(&config.store);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let mut now = DateTime::UNIX_EPOCH + chrono::Duration::days(20_000);
        sync(&runtime, &config, now);
        let mut local: BTreeMap<&str, Known> = BTreeMap::new();
        let mut listed = 0u8;
        let deed = Deed { by: "tester".into(), reason: "why not".to_owned() };
        for step in steps {
            now += chrono::Duration::seconds(1);
            let wish = |who: usize, wish: &UserWish| {
                let done = sync::change_user(&config, &*store, NAMES[who], wish, &deed, now);
                done.map_err(|error| error.to_string())
            };
            let in_idp = |who: usize| listed & (1 << who) != 0;
            match *step {
                Step::Add(who, service) => {
                    let known = local.contains_key(NAMES[who]);
                    let there = seen(&state(&config), NAMES[who]).is_some();
                    let done = wish(who, &UserWish::Add { email: String::new(), service });
                    let taken = service && (there || in_idp(who));
                    assert_eq!(done.is_ok(), !known && !taken, "{step:?} {done:?}");
                    if done.is_ok() {
                        let granted = there
                            && seen(&state(&config), NAMES[who])
                                .is_some_and(|(_, granted)| granted);
                        local.insert(NAMES[who], Known { enabled: true, service, granted });
                    }
                }
                Step::Disable(who) | Step::Enable(who) => {
                    let enabled = matches!(step, Step::Enable(_));
                    let what = if enabled { UserWish::Enable } else { UserWish::Disable };
                    let done = wish(who, &what);
                    assert_eq!(done.is_ok(), local.contains_key(NAMES[who]), "{step:?} {done:?}");
                    if let Some(known) = local.get_mut(NAMES[who]) {
                        known.enabled = enabled;
                    }
                }
                Step::Remove(who) => {
                    let done = wish(who, &UserWish::Remove);
                    let was = local.remove(NAMES[who]);
                    assert_eq!(done.is_ok(), was.is_some(), "{step:?} {done:?}");
                    if was.is_some_and(|was| was.service || !in_idp(who)) {
                        assert_eq!(seen(&state(&config), NAMES[who]), None, "{step:?}");
                    }
                }
                Step::Grant(who) => {
                    let grant = LocalGrant {
                        by: "tester".into(),
                        at: now,
                        reason: "r".to_owned(),
                        until: None,
                    };
                    let done = sync::by_hand(&config, &*store, now, None, |state| {
                        let user = plan::local::called(state, NAMES[who]);
                        let user =
                            user.ok_or(ManualError::UnknownUser { name: NAMES[who].to_owned() })?;
                        let role = state.roles.find_by(|role| role.name.as_str().cmp("osmo-user"));
                        let role = role.unwrap();
                        Ok(ByHand::Add { user, role, grant: grant.clone() })
                    });
                    if let (Ok(_), Some(known)) = (done, local.get_mut(NAMES[who])) {
                        known.granted = true;
                    }
                }
                Step::Sync(people) => {
                    listed = people;
                    let names: Vec<&str> = (0..NAMES.len())
                        .filter(|who| people & (1 << who) != 0)
                        .map(|who| NAMES[who])
                        .collect();
                    realm(&home, &names);
                    let before = state(&config);
                    sync(&runtime, &config, now);
                    let after = state(&config);
                    for (name, known) in &local {
                        let id = |state: &State| plan::local::called(state, name);
                        assert_eq!(id(&after), id(&before), "{name} became somebody else");
                        if known.service {
                            let links = plan::local::known_in(&after, id(&after).unwrap());
                            assert!(links.is_empty(), "{name} {links:?}");
                        }
                    }
                }
            }
            let state = state(&config);
            for (name, known) in &local {
                let expected = Some((known.enabled, known.granted));
                assert_eq!(seen(&state, name), expected, "{name} after {step:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_syncs_and_commands_happen_who_is_only_local_is_touched_by_commands_alone(
            steps in prop::collection::vec(step(), 1..14)
        ) {
            live(&steps);
        }
    }
}
