//! `import osmo-db` on a real PostgreSQL with OSMO's tables.
#![cfg(test)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::asking::Listens;
use support::done::Done;
use support::postgres::Postgres;
use support::server::free_port;

/// OSMO's tables that an import reads, as its service makes them.
const TABLES: &str = "
CREATE TABLE users (id TEXT PRIMARY KEY, created_at TIMESTAMPTZ NOT NULL DEFAULT now(), created_by TEXT);
CREATE TABLE roles (name TEXT PRIMARY KEY, description TEXT, policies JSONB[], immutable BOOLEAN,
    sync_mode TEXT NOT NULL DEFAULT 'import');
CREATE TABLE user_roles (id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id TEXT REFERENCES users ON DELETE CASCADE, role_name TEXT REFERENCES roles ON DELETE CASCADE,
    assigned_by TEXT NOT NULL, assigned_at TIMESTAMPTZ NOT NULL, UNIQUE (user_id, role_name));
CREATE TABLE access_token (user_name TEXT REFERENCES users ON DELETE CASCADE, token_name TEXT,
    access_token BYTEA UNIQUE, expires_at TIMESTAMP, description TEXT, last_seen_at TIMESTAMPTZ,
    PRIMARY KEY (user_name, token_name));
CREATE TABLE access_token_roles (user_name TEXT, token_name TEXT,
    user_role_id UUID REFERENCES user_roles ON DELETE CASCADE, assigned_by TEXT NOT NULL,
    assigned_at TIMESTAMPTZ NOT NULL, PRIMARY KEY (user_name, token_name, user_role_id),
    FOREIGN KEY (user_name, token_name) REFERENCES access_token ON DELETE CASCADE);
-- As pgroll leaves it: what its clients see is elsewhere, and is not what is meant.
CREATE SCHEMA later;
CREATE TABLE later.users (id INTEGER);
";

const PEOPLE: &str = "
INSERT INTO users (id) VALUES ('admin'), ('Ann'), ('ann'), ('bob'), ('ivy'), ('svc-ci'), ('a b'), ('Zoe');
INSERT INTO roles (name) VALUES ('osmo-admin'), ('osmo-user'), ('osmo-ml'), ('osmo-old'), ('osmo-forced'),
    ('osmo-default');
INSERT INTO user_roles (user_id, role_name, assigned_by, assigned_at) VALUES
    ('admin', 'osmo-admin', 'System', '2026-01-02 03:04:05+00'),
    ('ann', 'osmo-admin', 'admin', '2026-01-02 03:04:05+00'),
    ('bob', 'osmo-user', 'idp-sync', '2026-02-03 00:00:00+00'),
    ('ivy', 'osmo-user', 'admin', '2026-03-04 05:06:07.9+02'),
    ('ivy', 'osmo-ml', 'idp-sync', '2026-03-04 00:00:00+00'),
    ('svc-ci', 'osmo-user', 'admin', '2026-03-05 00:00:00+00'),
    ('svc-ci', 'osmo-old', 'migration', '2026-03-05 00:00:00+00'),
    ('svc-ci', 'osmo-forced', 'admin', '2026-03-05 00:00:00+00'),
    ('svc-ci', 'osmo-default', 'admin', '2026-03-05 00:00:00+00');
";

/// Who holds what here before: `ivy` by the IdP.
const CONFIG: &str = r#"
[store]
path = "store.db"
[[source]]
name = "idp"
kind = "file"
realm_export = "realm.json"
grants = ["osmo-ml", "osmo-forced"]
[roles.osmo-admin]
[[roles.osmo-admin.policies]]
actions = ["*:*"]
resources = ["*"]
[roles.osmo-user]
[[roles.osmo-user.policies]]
actions = ["workflow:*"]
resources = ["pool/*"]
[roles.osmo-ml]
[roles.osmo-forced]
sync_mode = "force"
[roles.osmo-default]
everyone = true
[[catalog]]
actions = ["workflow:Create"]
resources = ["pool/a"]
"#;

/// Whom the IdP lists.
fn realm() -> String {
    json!({
        "realm": "x", "enabled": true, "roles": {"realm": [{"name": "osmo-ml"}]},
        "users": [{"id": "1", "username": "ivy", "enabled": true, "realmRoles": ["osmo-ml"]}],
    })
    .to_string()
}

fn secret(name: &str) -> String {
    format!("{name:_<43}")
}

fn digest(name: &str) -> String {
    Sha256::digest(secret(name)).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A token in OSMO's database.
fn token(user: &str, name: &str, ends: &str, roles: &[&str]) -> String {
    let mut sql = format!(
        "INSERT INTO access_token VALUES ('{user}', '{name}', '\\x{}', {ends}, 'for {name}');",
        digest(name)
    );
    for role in roles {
        sql.push_str(&format!(
            "INSERT INTO access_token_roles SELECT '{user}', '{name}', id, '{user}', \
             '2026-04-05 06:07:08+00' FROM user_roles WHERE user_id = '{user}' AND role_name = \
             '{role}';"
        ));
    }
    sql
}

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("idpsyncd.toml"), CONFIG).unwrap();
        fs::write(folder.path().join("realm.json"), realm()).unwrap();
        Home { folder }
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_idpsyncd"));
        for name in ["IDPSYNCD_CONFIG", "RUST_LOG", "PGPASSWORD", "PGPASSFILE"] {
            command.env_remove(name);
        }
        command.env("HOME", self.folder.path()).envs(variables.iter().copied());
        let config = self.folder.path().join("idpsyncd.toml");
        Done::of(command.arg("--config").arg(config).args(arguments))
    }

    fn list(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--output", "json"]].concat(), &[]).exits(0).json()
    }

    fn store(&self) -> rusqlite::Connection {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        rusqlite::Connection::open_with_flags(self.folder.path().join("store.db"), flags).unwrap()
    }

    fn generation(&self) -> i64 {
        let sql = "SELECT generation FROM gateway_meta";
        self.store().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// A server with OSMO's tables; `reader` may read them and no more. The URL is the reader's.
fn osmo() -> Option<(Postgres, String)> {
    let postgres = Postgres::start()?;
    postgres.database("osmo", "osmo");
    postgres.sql("osmo", TABLES);
    // A TIMESTAMP is UTC wherever the server thinks it stands.
    for sql in [
        "CREATE ROLE reader LOGIN",
        "GRANT SELECT ON users, user_roles, access_token, access_token_roles TO reader",
        "ALTER ROLE reader SET search_path = later",
        "ALTER ROLE reader SET timezone = 'America/New_York'",
    ] {
        postgres.sql("osmo", sql);
    }
    let url = format!("postgresql://reader@127.0.0.1:{}/osmo", postgres.port);
    Some((postgres, url))
}

/// Lets the server write a file of its own.
fn write(postgres: &Postgres, file: &str, text: &str) {
    let lines = format!("SELECT unnest(string_to_array('{}', E'\\n'))", text.trim_end());
    postgres.sql("postgres", &format!("COPY ({lines}) TO '{file}'"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn an_import_brings_what_osmo_alone_knows_and_the_same_again_changes_nothing() {
    let Some((postgres, url)) = osmo() else { return };
    postgres.sql("osmo", PEOPLE);
    let soon = "(now() AT TIME ZONE 'UTC')::timestamp + interval '20 days'";
    for sql in [
        token("svc-ci", "nightly", "'2099-05-06 00:00:00'", &["osmo-user", "osmo-old"]),
        token("svc-ci", "over", "(now() AT TIME ZONE 'UTC') - interval '1 hour'", &["osmo-user"]),
        token("svc-ci", "eternal", "NULL", &["osmo-user"]),
        token("admin", "default-admin-token", soon, &["osmo-admin"]),
        token("ivy", "laptop", soon, &["osmo-user", "osmo-ml"]),
        token("bob", "script", soon, &["osmo-user"]),
        token("ann", "mine", soon, &["osmo-admin"]),
    ] {
        postgres.sql("osmo", &sql);
    }
    let home = Home::new();
    let import = ["import", "osmo-db", &url];
    // Whom the IdP lists is not known yet, nor is there a store.
    home.run(&import, &[]).exits(1);
    assert!(!home.folder.path().join("store.db").exists());
    // An export without anybody says nothing of who is there, so neither does the first sync of it.
    let realm = home.folder.path().join("realm.json");
    let whole = fs::read_to_string(&realm).unwrap();
    let mut nobody: Value = serde_json::from_str(&whole).unwrap();
    nobody["users"] = json!([]);
    fs::write(&realm, nobody.to_string()).unwrap();
    home.run(&["sync"], &[]).exits(4);
    let refused = home.run(&import, &[]);
    assert!(refused.err.contains("never read in full"), "{}", refused.err);
    refused.exits(1);
    fs::write(&realm, whole).unwrap();
    home.run(&["sync"], &[]).exits(0);
    let before = home.generation();
    let file = |home: &Home| fs::read(home.folder.path().join("store.db")).unwrap();
    let bytes = file(&home);

    let plan =
        home.run(&[&import[..], &["--dry-run", "--output", "json"]].concat(), &[]).exits(2).json();
    assert_eq!(file(&home), bytes, "a dry run writes nothing");
    let kinds = |kind: &str| {
        let changes = plan["changes"].as_array().unwrap().iter();
        changes.filter(|it| it["change"] == kind).count()
    };
    assert_eq!((kinds("user-created"), kinds("grant-added"), kinds("token-added")), (4, 3, 3));

    let done = home.run(&[&import[..], &["--output", "json"]].concat(), &[]).exits(0).json();
    assert_eq!(done["changes"], plan["changes"], "the plan was a true one");
    assert_eq!(done["left_out"], plan["left_out"]);
    assert_eq!(home.generation(), before + 1, "one generation");

    // People: whom only OSMO knows is a local user, whom the IdP knows stays the IdP's.
    let users = home.list(&["user", "list"]);
    let users: Vec<(&str, bool)> = users
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["username"].as_str().unwrap(), it["service"].as_bool().unwrap()))
        .collect();
    assert_eq!(
        users,
        [("admin", false), ("bob", false), ("ivy", false), ("svc-ci", true), ("zoe", false)]
    );
    let ivy = home.list(&["user", "show", "ivy"]);
    assert_eq!(ivy["links"], json!([{"source": "idp", "id": "1"}]));
    assert_eq!(ivy["roles"], json!(["osmo-default", "osmo-ml", "osmo-user"]));

    // Grants keep who made them and when.
    let grants = home.list(&["grant", "list"]);
    let grants: Vec<_> = grants
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            assert!(it["reason"].as_str().unwrap().contains("OSMO"), "{it}");
            let text = |key: &str| it[key].as_str().unwrap().to_owned();
            [text("user"), text("role"), text("by"), text("at")]
        })
        .collect();
    assert_eq!(
        grants,
        [
            ["admin", "osmo-admin", "System", "2026-01-02T03:04:05Z"],
            ["ivy", "osmo-user", "admin", "2026-03-04T03:06:07Z"],
            ["svc-ci", "osmo-user", "admin", "2026-03-05T00:00:00Z"],
        ]
    );

    // Tokens: with the roles that their owners hold, under the digests of their old secrets.
    let tokens = home.list(&["token", "list"]);
    let tokens: Vec<_> = tokens
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["user"].as_str().unwrap(), it["name"].as_str().unwrap(), it["roles"].clone()))
        .collect();
    assert_eq!(
        tokens,
        [
            ("admin", "default-admin-token", json!(["osmo-admin"])),
            ("ivy", "laptop", json!(["osmo-ml", "osmo-user"])),
            ("svc-ci", "nightly", json!(["osmo-user"])),
        ]
    );
    let nightly = home.list(&["token", "show", "svc-ci", "nightly"]);
    assert_eq!(nightly["expires_at"], "2099-05-06T00:00:00Z", "a TIMESTAMP is UTC");
    assert_eq!(nightly["description"], "for nightly");
    let kept: Vec<(String, String)> = home
        .store()
        .prepare("SELECT name, lower(hex(digest)) FROM token ORDER BY name")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = ["default-admin-token", "laptop", "nightly"];
    assert_eq!(kept, expected.map(|name| (name.to_owned(), digest(name))));

    // What did not come along is named.
    let left_out: Vec<&str> =
        done["left_out"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    for part in [
        "users `Ann`, `ann` have one name here, `ann`",
        "user `a b` is not a username",
        "role `osmo-old` of `svc-ci`: there is no such role here",
        "role `osmo-forced` of `svc-ci`: its mode is force",
        "token `over` of `svc-ci` expired at",
        "token `eternal` of `svc-ci` never expires",
        "token `nightly` of `svc-ci` comes without `osmo-old`",
        "token `nightly` of `svc-ci` is good until 2099-05-06T00:00:00Z, longer than",
        "token `script` of `bob`: its owner holds none of its roles here (`osmo-user`)",
    ] {
        assert!(left_out.iter().any(|it| it.contains(part)), "{part}: {left_out:#?}");
    }
    assert_eq!(left_out.len(), 9, "{left_out:#?}");

    // Again: nothing, and what a sync makes of it is nothing either.
    home.run(&[&import[..], &["--dry-run", "--detailed-exitcode"]].concat(), &[]).exits(0);
    home.run(&import, &[]).exits(0);
    home.run(&["sync"], &[]).exits(0);
    assert_eq!(home.generation(), before + 1);
    let ivy = home.list(&["user", "show", "ivy"]);
    assert_eq!(ivy["links"].as_array().unwrap().len(), 1);

    // What was changed here since is left as it is.
    postgres.sql("osmo", "UPDATE user_roles SET assigned_by = 'x', assigned_at = now()");
    postgres.sql(
        "osmo",
        "UPDATE access_token SET access_token = '\\x00' || substring(access_token from 2)",
    );
    let again = home.run(&[&import[..], &["--output", "json"]].concat(), &[]).exits(0).json();
    // Only rows that are not the sync's any more are new.
    let changes = again["changes"].as_array().unwrap().iter();
    let changes: Vec<(&str, &str)> =
        changes.map(|it| (it["change"].as_str().unwrap(), it["user"].as_str().unwrap())).collect();
    assert_eq!(
        changes,
        [("grant-added", "bob"), ("grant-added", "ivy"), ("token-added", "bob")],
        "{again:#}"
    );
    let told = again["left_out"].to_string();
    assert!(told.contains("token `nightly` of `svc-ci`: there is one of that name"), "{told}");

    // Whoever is gone stays gone, and so do their tokens.
    home.run(&["user", "remove", "svc-ci", "--reason", "moved"], &[]).exits(0);
    let again = home.run(&[&import[..], &["--output", "json"]].concat(), &[]).exits(0).json();
    assert_eq!(again["changes"], json!([]), "{again:#}");
    let told = again["left_out"].to_string();
    assert!(told.contains("user `svc-ci` was deprovisioned or removed here"), "{told}");
}

#[test]
fn a_password_comes_from_the_environment_a_file_or_the_url_and_shows_nowhere() {
    let Some((postgres, url)) = osmo() else { return };
    let hba = postgres.sql("postgres", "SHOW hba_file");
    postgres.sql("postgres", "ALTER ROLE reader PASSWORD 'se:cr@t'");
    let rules = "host all reader 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";
    write(&postgres, &hba, rules);
    postgres.sql("postgres", "SELECT pg_reload_conf()");
    let home = Home::new();
    home.run(&["sync"], &[]).exits(0);
    let import = |url: &str, variables: &[(&str, &str)]| {
        let done = home.run(&["import", "osmo-db", url, "--dry-run"], variables);
        assert!(!format!("{}{}", done.out, done.err).contains("cr@t"), "{}", done.err);
        done
    };
    let done = import(&url, &[]).exits(1);
    assert!(done.err.contains("cannot connect to `postgresql://reader@127.0.0.1:"), "{}", done.err);
    import(&url, &[("PGPASSWORD", "wrong cr@t")]).exits(1);
    import(&url, &[("PGPASSWORD", "se:cr@t")]).exits(0);
    import(&url.replace("reader@", "reader:se%3Acr%40t@"), &[]).exits(0);
    import(&url.replace("reader@", "reader:wrong-cr@t@"), &[]).exits(1);
    assert_hidden(&postgres, &home, &url.replace("reader@", "reader:se%3Acr%40t@"));
    let file = home.folder.path().join(".pgpass");
    fs::write(&file, format!("*:{}:osmo:reader:se\\:cr@t\n", postgres.port)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let done = import(&url, &[]).exits(1);
    assert!(done.err.contains("others may read"), "{}", done.err);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    import(&url, &[]).exits(0);
    fs::rename(&file, home.folder.path().join("passwords")).unwrap();
    import(&url, &[]).exits(1);
    let elsewhere = home.folder.path().join("passwords");
    import(&url, &[("PGPASSFILE", elsewhere.to_str().unwrap())]).exits(0);
}

#[test]
fn the_default_admin_of_the_configuration_stays_its_own() {
    let Some((postgres, url)) = osmo() else { return };
    postgres.sql("osmo", PEOPLE);
    let soon = "(now() AT TIME ZONE 'UTC')::timestamp + interval '20 days'";
    postgres.sql("osmo", &token("admin", "default-admin-token", soon, &["osmo-admin"]));
    let home = Home::new();
    let own = format!("{:x<43}", "own");
    fs::write(home.folder.path().join("admin"), &own).unwrap();
    let admin = "[default_admin]\nusername = \"admin\"\npassword = { file = \"admin\" }\n\
                 role = \"osmo-admin\"\n";
    fs::write(home.folder.path().join("idpsyncd.toml"), format!("{CONFIG}{admin}")).unwrap();
    home.run(&["sync"], &[]).exits(0);
    let before = home.list(&["user", "show", "admin"]);
    home.run(&["import", "osmo-db", &url], &[]).exits(0);
    assert_eq!(home.list(&["user", "show", "admin"]), before);
    let kept: Vec<u8> =
        home.store().query_row("SELECT digest FROM token", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, Sha256::digest(&own).to_vec());
}

#[test]
fn a_migrated_token_works_at_the_gateway_with_its_old_secret() {
    let Some((postgres, url)) = osmo() else { return };
    postgres.sql("osmo", PEOPLE);
    let soon = "(now() AT TIME ZONE 'UTC')::timestamp + interval '20 days'";
    let over = "(now() AT TIME ZONE 'UTC')::timestamp - interval '1 second'";
    postgres.sql("osmo", &token("svc-ci", "nightly", soon, &["osmo-user"]));
    postgres.sql("osmo", &token("svc-ci", "over", over, &["osmo-user"]));
    let at = Listens { grpc: free_port(), http: free_port() };
    let home = support::idpsyncd::Home::new(&format!(
        "{CONFIG}[gateway]\ngrpc = \"127.0.0.1:{}\"\nhttp = \"127.0.0.1:{}\"\npreset = \
         \"osmo\"\n[gateway.tokens]\nenabled = true\n",
        at.grpc, at.http
    ));
    fs::write(home.path("realm.json"), realm()).unwrap();
    home.ok(&["sync"], 0);
    home.ok(&["import", "osmo-db", &url], 0);
    let mut server = home.start("serve");
    at.ready(&mut server);
    let told = at.bear(&secret("nightly"), "POST", "/api/pool/a/workflow");
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(told.headers["x-osmo-user"], "svc-ci");
    assert_eq!(told.headers["x-osmo-token-name"], "nightly");
    assert_eq!(told.headers["x-osmo-roles"], "osmo-default,osmo-user");
    assert_eq!(at.bear(&secret("over"), "POST", "/api/pool/a/workflow").status, 401);
}

/// While it runs, the list of processes has no password.
fn assert_hidden(postgres: &Postgres, home: &Home, url: &str) {
    let locked = postgres.lock("osmo", "users");
    let mut child = Command::new(env!("CARGO_BIN_EXE_idpsyncd"))
        .arg("--config")
        .arg(home.folder.path().join("idpsyncd.toml"))
        .args(["import", "osmo-db", url, "--dry-run"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'idpsyncd' AND \
                 wait_event_type = 'Lock'";
    while postgres.sql("postgres", waits) != "1" {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let line = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    assert!(line.contains("import osmo-db postgresql://reader@127.0.0.1:"), "{line}");
    assert!(!line.contains("cr%40t") && !line.contains("cr@t"), "{line}");
    drop(locked);
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_read_is_an_error_and_changes_nothing() {
    let Some((postgres, url)) = osmo() else { return };
    let home = Home::new();
    home.run(&["sync"], &[]).exits(0);
    let before = home.generation();
    postgres.sql("osmo", "REVOKE SELECT ON access_token_roles FROM reader");
    let done = home.run(&["import", "osmo-db", &url], &[]).exits(1);
    assert!(
        done.err.contains("cannot read OSMO's table `public.access_token_roles`"),
        "{}",
        done.err
    );
    postgres.sql("osmo", "DROP TABLE access_token_roles");
    home.run(&["import", "osmo-db", &url], &[]).exits(1);
    let gone = format!("postgresql://reader@127.0.0.1:{}/osmo", support::server::free_port());
    home.run(&["import", "osmo-db", &gone], &[]).exits(1);
    home.run(&["import", "osmo-db", "osmo.db"], &[]).exits(64);
    assert_eq!(home.generation(), before);
}

#[test]
fn what_leaves_this_machine_goes_over_tls_to_a_server_that_is_verified() {
    let Some((postgres, url)) = osmo() else { return };
    let data = postgres.sql("postgres", "SHOW data_directory");
    let home = Home::new();
    home.run(&["sync"], &[]).exits(0);
    // A server without TLS gets no password and no request.
    let always = format!("{url}?sslmode=require");
    home.run(&["import", "osmo-db", &always, "--dry-run"], &[]).exits(1);
    let folder = home.folder.path();
    let openssl = |arguments: &str| {
        let done = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
        assert!(done.unwrap().status.success(), "{arguments}");
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -subj /CN=ca");
    openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=db");
    fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.crt -days 9 -extfile ext",
    );
    // Written by the server itself, so that they are its own, with an owner's rights alone.
    for file in ["server.key", "server.crt"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        write(&postgres, &format!("{data}/{file}"), &text);
        postgres.sql("postgres", &format!("COPY (SELECT 1) TO PROGRAM 'chmod 600 {data}/{file}'"));
    }
    postgres.sql("postgres", "ALTER SYSTEM SET ssl = on");
    postgres.sql("postgres", "SELECT pg_reload_conf()");
    let ca = folder.join("ca.pem");
    let with = |mode: &str, ca: Option<&Path>| {
        let ca = ca.map(|ca| format!("&sslrootcert={}", ca.display())).unwrap_or_default();
        let url = format!("{url}?sslmode={mode}{ca}");
        home.run(&["import", "osmo-db", &url, "--dry-run"], &[])
    };
    for mode in ["require", "verify-ca", "verify-full", "prefer"] {
        with(mode, Some(&ca)).exits(0);
        let done = with(mode, None).exits(1);
        assert!(done.err.contains("certificate"), "{mode}: {}", done.err);
    }
    with("disable", None).exits(0);
}
