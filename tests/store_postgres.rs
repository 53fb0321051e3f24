//! The store in a PostgreSQL database: the program over a real server, and what a gateway's role may do there.

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::company::{store_at, store_server as server, store_url_as};
use support::done::Done;
use support::gateways::send;
use support::idpsyncd::Home;
use support::postgres::Postgres;
use support::server::{authority, certificate, free_port};
use support::wire_proxy::WireProxy;

const ROLES: &str = r#"
[[source]]
name = "idp"
kind = "file"
realm_export = "realm.json"
grants = ["ml", "ops"]
[roles.ml]
[[roles.ml.policies]]
actions = ["workflow:*"]
resources = ["pool/ml-*"]
[[roles.ml.policies]]
actions = ["auth:Token"]
resources = ["user/${self}"]
[roles.ops]
[[roles.ops.policies]]
effect = "Deny"
actions = ["workflow:Create"]
resources = ["pool/ml-a"]
[roles.all]
everyone = true
[[catalog]]
actions = ["workflow:Create", "workflow:Read"]
resources = ["pool/ml-a", "pool/ml-b"]
[[catalog]]
actions = ["auth:Token"]
resources = ["user/ann", "user/bob"]
"#;

fn realm(names: &[(&str, &[&str])]) -> String {
    let users = names.iter().map(|(name, roles)| {
        json!({"id": format!("id-{name}"), "username": name, "email": format!("{name}@x.org"), "enabled": true,
               "realmRoles": roles})
    });
    json!({
        "realm": "x", "enabled": true,
        "roles": {"realm": [{"name": "ml"}, {"name": "ops"}]},
        "users": users.collect::<Vec<_>>(),
    })
    .to_string()
}

const PEOPLE: &[(&str, &[&str])] = &[("ann", &["ml"]), ("bob", &["ml", "ops"]), ("cem", &[])];

/// A folder whose store is where `store` says, the keys of `[store]`.
fn home(store: &str, more: &str) -> Home {
    let home = Home::new(&format!("[store]\n{store}\n{ROLES}{more}"));
    std::fs::write(home.path("realm.json"), realm(PEOPLE)).unwrap();
    home
}

fn url(postgres: &Postgres, role: &str) -> String {
    store_url_as(role, &[postgres.port])
}

fn in_database(postgres: &Postgres) -> String {
    store_at(&[postgres.port])
}

/// What `sql` finds as `role`, or why it may not.
fn as_role(postgres: &Postgres, role: &str, sql: &str) -> Result<String, String> {
    let programs = Path::new("/usr/bin/psql");
    let done = Command::new(programs)
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", role])
        .args(["-p", &postgres.port.to_string(), "-d", "idpsyncd", "-c", sql])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

const VIEWS: &[(&str, &str)] = &[
    ("gateway_user", "username, email, enabled, role_set"),
    ("gateway_user_link", "source, external_id, username"),
    ("gateway_user_role", "username, role"),
    ("gateway_decision", "username, action, resource, effect, role"),
    ("gateway_role_decision", "role_set, action, resource, effect, role"),
    ("gateway_role_policy", "role, position, effect, action, resource"),
    ("gateway_token", "username, name, role_set"),
    (
        "gateway_workload_identity",
        "username, pool, platform, namespace, cloud, identity, via_action",
    ),
];

/// The rows of a view in both backends, as texts.
fn rows(home: &Home, sql: &str) -> BTreeSet<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(home.path("store.db"), flags).unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let cells = (0..columns).map(|column| {
            Ok(match row.get_ref(column)? {
                rusqlite::types::ValueRef::Null => String::new(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                value => value.as_str().unwrap().to_owned(),
            })
        });
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_views_say_on_postgresql_what_they_say_on_sqlite() {
    let Some(postgres) = server() else { return };
    let (one, other) = (home("path = \"store.db\"", ""), home(&in_database(&postgres), ""));
    let steps: [&[&str]; 4] = [
        &["sync"],
        &["user", "add", "svc-ci", "--service", "--reason", "builds"],
        &["grant", "add", "svc-ci", "ml", "--reason", "builds"],
        &["token", "create", "svc-ci", "nightly", "--expires", "90d"],
    ];
    for step in steps {
        one.ok(step, 0);
        other.ok(step, 0);
    }
    for (view, columns) in VIEWS {
        let there = postgres.sql("idpsyncd", &format!("SELECT {columns} FROM idpsyncd.{view}"));
        let there: BTreeSet<String> = there.lines().map(str::to_owned).collect();
        let here = rows(&one, &format!("SELECT {columns} FROM {view}"));
        assert_eq!(here, there, "{view}");
        assert!(!here.is_empty() || *view == "gateway_workload_identity", "{view}");
    }
    let meta = postgres.sql("idpsyncd", "SELECT * FROM idpsyncd.gateway_meta");
    let meta: Vec<&str> = meta.split('|').collect();
    assert!(meta[2].ends_with('Z') && meta[3].ends_with('Z') && meta.len() == 4, "{meta:?}");
    // What commands tell is the same, but for times.
    for told in [&["explain", "bob"][..], &["user", "list"], &["who", "workflow:Read", "pool/ml-b"]]
    {
        assert_eq!(one.ok(told, 0), other.ok(told, 0));
    }
    other.ok(&["authorize", "ann", "workflow:Create", "pool/ml-a"], 0);
    other.ok(&["authorize", "bob", "workflow:Create", "pool/ml-a"], 5);
    // Nothing is new: nothing is written but the time of the read.
    other.ok(&["sync"], 0);
    let before = postgres.sql("idpsyncd", "SELECT generation, version FROM idpsyncd.meta");
    other.ok(&["sync"], 0);
    assert_eq!(postgres.sql("idpsyncd", "SELECT generation, version FROM idpsyncd.meta"), before);
    other.ok(&["status"], 0);
    other.ok(&["history", "--user", "bob"], 0);
    other.ok(&["report", "access"], 0);
}

const GATEWAY: &str = "[gateway]\nhttp = \"127.0.0.1:PORT\"\nidentity = \"header\"\nuser_header = \"x-user\"\n\
    [[gateway.route]]\nmethods = [\"GET\"]\npath = \"/a\"\naction = \"workflow:Read\"\nresource = \"pool/ml-a\"\n";

/// What a gateway's role may not do.
const FORBIDDEN: &[&str] = &[
    "SELECT * FROM mirror_user",
    "SELECT count(*) FROM mirror_container",
    "SELECT * FROM held",
    "SELECT change FROM held_change",
    "SELECT digest FROM token",
    "SELECT description FROM token",
    "SELECT digest_key FROM meta",
    "SELECT term FROM meta",
    "SELECT cursor FROM source",
    "SELECT made FROM \"user\"",
    "SELECT * FROM local_grant",
    "SELECT old FROM history",
    "SELECT num FROM history",
    "SELECT reason FROM local_user",
    "SELECT * FROM review",
    "UPDATE meta SET generation = 9",
    "DELETE FROM history",
    "INSERT INTO jwks VALUES ('x', '{}', 0)",
    "UPDATE gateway_user SET enabled = 1",
    "INSERT INTO gateway_user_role VALUES ('cem', 'ml')",
    "CREATE TABLE idpsyncd.mine (a int)",
    "LOCK TABLE meta IN ACCESS EXCLUSIVE MODE",
    "SELECT num FROM meta FOR UPDATE",
];

#[test]
fn a_gateways_role_reads_what_serve_needs_and_nothing_else() {
    let Some(postgres) = server() else { return };
    let port = free_port();
    let gateway = GATEWAY.replace("PORT", &port.to_string());
    let writer = home(&in_database(&postgres), &gateway);
    postgres.sql("postgres", "CREATE ROLE \"a gateway\" LOGIN; CREATE ROLE stranger LOGIN");
    Done::of(&mut writer.command(&["store", "grant", "a gateway"])).exits(1);
    writer.ok(&["store", "init"], 0);
    writer.ok(&["store", "init"], 0);
    let done = Done::of(&mut writer.command(&["store", "grant", "nobody"])).exits(1);
    assert!(done.err.contains("knows no role `nobody`"), "{}", done.err);
    let done = Done::of(&mut writer.command(&["store", "grant", "idpsyncd"])).exits(1);
    assert!(done.err.contains("owns the store"), "{}", done.err);
    writer.ok(&["store", "grant", "a gateway"], 0);
    writer.ok(&["store", "grant", "a gateway"], 0);
    writer.ok(&["sync"], 0);
    writer.ok(&["token", "create", "ann", "laptop", "--expires", "90d"], 0);

    let ask = |role: &str, sql: &str| {
        as_role(&postgres, role, &format!("SET search_path = idpsyncd; {sql}"))
    };
    for (view, columns) in VIEWS.iter().chain([&("gateway_meta", "generation")]) {
        ask("a gateway", &format!("SELECT {columns} FROM {view}")).unwrap();
        ask("stranger", &format!("SELECT {columns} FROM {view}")).unwrap_err();
    }
    for sql in FORBIDDEN {
        let why = ask("a gateway", sql).unwrap_err();
        assert!(
            why.contains("permission denied")
                || why.contains("does not exist")
                || why.contains("cannot"),
            "{sql}: {why}"
        );
    }
    let definers = "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
                    WHERE n.nspname = 'idpsyncd'";
    assert_eq!(postgres.sql("idpsyncd", definers), "0");

    // `serve` answers by that role, and follows what another one commits.
    let reader = home(&format!("postgres = \"{}\"", url(&postgres, "a%20gateway")), &gateway);
    let mut serving = reader.start("serve");
    let status = |user: &str| send(port, "GET", b"/authz/a", &[("x-user", user)]).status;
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
    drop(serving.until("it listens", listens));
    serving.until("a gateway answers", || (status("ann") == 200).then_some(()));
    assert_eq!((status("cem"), status("nobody")), (403, 403));
    std::fs::write(
        writer.path("realm.json"),
        realm(&[("ann", &[]), ("bob", &[]), ("cem", &["ml"])]),
    )
    .unwrap();
    writer.ok(&["sync"], 0);
    serving.until("the change arrives", || (status("cem") == 200).then_some(()));
    assert_eq!(status("ann"), 403);
    // By that role nothing can be written, and it says so.
    let done = Done::of(&mut reader.command(&["sync"])).exits(1);
    assert!(done.err.contains("permission denied"), "{}", done.err);

    // Where access tokens are credentials their digests can be read, and not once they are none.
    let more = format!("{gateway}\n[gateway.tokens]\nenabled = true\n");
    let with = home(&in_database(&postgres), &more);
    with.ok(&["store", "grant", "a gateway"], 0);
    assert!(ask("a gateway", "SELECT digest FROM token").unwrap().starts_with("\\x"));
    writer.ok(&["store", "grant", "a gateway"], 0);
    ask("a gateway", "SELECT digest FROM token").unwrap_err();

    let file = home("path = \"store.db\"", "");
    let done = Done::of(&mut file.command(&["store", "grant", "x"])).exits(1);
    assert!(done.err.contains("knows no roles"), "{}", done.err);
}

/// What a person's change may bring a gateway, in bytes.
const CHANGE: usize = 2048;

#[test]
fn one_persons_change_brings_a_gateway_less_than_two_kilobytes_whatever_else_the_store_has() {
    let Some(postgres) = server() else { return };
    let port = free_port();
    let gateway = GATEWAY.replace("PORT", &port.to_string());
    let writer = home(&in_database(&postgres), &gateway);
    writer.ok(&["sync"], 0);
    // Nobody has to be told again who the service accounts are.
    let long = "x".repeat(100);
    for number in 0..20 {
        writer.ok(
            &["user", "add", &format!("svc-{number}-{long}"), "--service", "--reason", "builds"],
            0,
        );
    }
    writer.ok(&["user", "add", "someone", "--reason", "guest"], 0);
    writer.ok(&["grant", "add", "someone", "ml", "--reason", "guest"], 0);
    let proxy = WireProxy::before(postgres.port);
    let through =
        url(&postgres, "idpsyncd").replace(&postgres.port.to_string(), &proxy.port.to_string());
    let reader = home(&format!("postgres = \"{through}\""), &gateway);
    let mut serving = reader.start("serve");
    let status = |user: &str| send(port, "GET", b"/authz/a", &[("x-user", user)]).status;
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).ok();
    drop(serving.until("it listens", listens));
    serving.until("a gateway answers", || (status("someone") == 200).then_some(()));
    // The channel's name comes with each word of a commit.
    proxy.count_from(b"idpsyncd_idpsyncd\0");
    for (how, answer) in [("disable", 403), ("enable", 200), ("disable", 403)] {
        writer.ok(&["user", how, "someone", "--reason", "leaves"], 0);
        serving.until(how, || (status("someone") == answer).then_some(()));
        let brought = proxy.counted();
        eprintln!("{how}: {brought} bytes");
        assert!((100..CHANGE).contains(&brought), "{how}: {brought}");
    }
}

#[test]
fn a_role_that_can_do_more_by_other_ways_is_granted_nothing() {
    let Some(postgres) = server() else { return };
    let writer = home(&in_database(&postgres), "");
    writer.ok(&["store", "init"], 0);
    postgres.sql(
        "idpsyncd",
        "CREATE ROLE gateway LOGIN; CREATE ROLE auditor; CREATE ROLE sleeper NOINHERIT LOGIN; \
         GRANT auditor TO sleeper",
    );
    let in_schema =
        |sql: &str| postgres.sql("idpsyncd", &format!("SET search_path = idpsyncd; {sql}"));
    for (role, give, told, take) in [
        (
            "gateway",
            "GRANT SELECT ON mirror_user TO PUBLIC",
            "`SELECT` on `mirror_user.",
            "REVOKE SELECT ON mirror_user FROM PUBLIC",
        ),
        (
            "gateway",
            "GRANT SELECT (digest) ON token TO PUBLIC",
            "`SELECT` on `token.digest`, as everybody may (PUBLIC)",
            "REVOKE SELECT (digest) ON token FROM PUBLIC",
        ),
        (
            "sleeper",
            "GRANT DELETE ON history TO auditor",
            "`DELETE` on `history`, as a member of `auditor`",
            "REVOKE DELETE ON history FROM auditor",
        ),
        (
            "sleeper",
            "GRANT CREATE ON SCHEMA idpsyncd TO auditor",
            "`CREATE` on `idpsyncd`, as a member of `auditor`",
            "REVOKE CREATE ON SCHEMA idpsyncd FROM auditor",
        ),
        (
            "gateway",
            "GRANT pg_read_all_data TO gateway",
            "as a member of `pg_read_all_data`",
            "REVOKE pg_read_all_data FROM gateway",
        ),
        ("gateway", "GRANT idpsyncd TO gateway", "owns the store", "REVOKE idpsyncd FROM gateway"),
    ] {
        in_schema(give);
        let done = Done::of(&mut writer.command(&["store", "grant", role])).exits(1);
        assert!(done.err.contains(told), "{give}: {}", done.err);
        let views = "SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a WHERE a.grantee = \
                     (SELECT oid FROM pg_roles WHERE rolname = 'ROLE')";
        assert_eq!(in_schema(&views.replace("ROLE", role)), "0", "{give}: nothing was granted");
        in_schema(take);
        writer.ok(&["store", "grant", role], 0);
        in_schema(&format!("REVOKE ALL ON ALL TABLES IN SCHEMA idpsyncd FROM {role}"));
    }
    // What a gateway may read, it may read by another role as well.
    writer.ok(&["store", "grant", "auditor"], 0);
    writer.ok(&["store", "grant", "sleeper"], 0);
}

/// Lets the server write a file of its own, with an owner's rights alone. The program reads what it is sent: a
/// server that writes to one that has ended already calls its query failed.
fn write(postgres: &Postgres, file: &str, text: &str) {
    let text = text.replace('\'', "''");
    postgres.sql(
        "postgres",
        &format!(
            "CREATE TEMP TABLE f (line text); INSERT INTO f SELECT unnest(string_to_array('{text}', E'\\n')); \
             COPY f TO '{file}'; COPY (SELECT 1) TO PROGRAM 'cat >/dev/null && chmod 600 {file}'"
        ),
    );
}

#[test]
fn a_server_is_verified_and_a_password_is_read_where_it_is_kept() {
    let Some(postgres) = server() else { return };
    let data = postgres.sql("postgres", "SHOW data_directory");
    let folder = tempfile::tempdir().unwrap();
    let ca = ["ca", "ca"];
    authority(folder.path(), ca, "ca");
    certificate(folder.path(), ca, "server", "db", "subjectAltName=IP:127.0.0.1");
    certificate(folder.path(), ca, "wrong", "db", "subjectAltName=DNS:elsewhere.example.org");
    let file = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let serve = |name: &str| {
        write(&postgres, &format!("{data}/server.key"), &file(&format!("{name}.key")));
        write(&postgres, &format!("{data}/server.crt"), &file(&format!("{name}.pem")));
        postgres.sql("postgres", "ALTER SYSTEM SET ssl = on");
        postgres.sql("postgres", "SELECT pg_reload_conf(), pg_sleep(0.2)");
    };
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(folder.path().join("password"), "s3cret\n").unwrap();
    let store = |more: &str| {
        let at = url(&postgres, "idpsyncd");
        home(&format!("postgres = \"{at}?sslmode=verify-full\"\n{more}"), "")
    };
    let trusted = format!("ca_file = \"{}\"\n", ca_file.display());
    let fails = |home: &Home, what: &str| {
        let done = Done::of(&mut home.command(&["sync"])).exits(1);
        assert!(done.err.contains(what), "{what}: {}", done.err);
        assert!(!done.err.contains("s3cret"));
    };
    fails(&store(&trusted), "TLS");
    serve("wrong");
    fails(&store(&trusted), "certificate");
    serve("server");
    fails(&store(""), "certificate");
    store(&trusted).ok(&["sync"], 0);

    postgres.sql("postgres", "ALTER ROLE idpsyncd PASSWORD 's3cret'");
    write(
        &postgres,
        &format!("{data}/pg_hba.conf"),
        "host all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256",
    );
    postgres.sql("postgres", "SELECT pg_reload_conf(), pg_sleep(0.2)");
    fails(&store(&trusted), "password");
    let kept = folder.path().join("password");
    let with = store(&format!("{trusted}password = {{ file = \"{}\" }}\n", kept.display()));
    with.ok(&["sync"], 0);

    // Whoever copies a store has password and certificates where libpq has them.
    let file = home("path = \"store.db\"", "");
    file.ok(&["sync"], 0);
    let at = url(&postgres, "idpsyncd") + "?sslmode=verify-full";
    let trusting = format!("{at}&sslrootcert={}", ca_file.display());
    let copies = |to: &str, schema: &str, env: (&str, &str), status: i32| {
        let mut command = file.command(&["store", "copy", "--to", to, "--schema", schema]);
        let command = command.env_remove("PGPASSWORD").env("PGPASSFILE", "/nowhere");
        let done = Done::of(command.env(env.0, env.1)).exits(status);
        assert!(!format!("{}{}", done.out, done.err).contains("s3cret"));
        done.err
    };
    assert!(copies(&at, "a", ("PGPASSWORD", "s3cret"), 1).contains("certificate"));
    assert!(copies(&trusting, "a", ("PGPASSWORD", "wrong"), 1).contains("sign in"));
    copies(&trusting, "a", ("PGPASSWORD", "s3cret"), 0);
    let passfile = folder.path().join("pgpass");
    std::fs::write(&passfile, "127.0.0.1:*:idpsyncd:idpsyncd:s3cret\n").unwrap();
    let passfile = passfile.to_str().unwrap();
    assert!(copies(&trusting, "b", ("PGPASSFILE", passfile), 1).contains("pgpass"));
    std::fs::set_permissions(passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
    copies(&trusting, "b", ("PGPASSFILE", passfile), 0);
    copies(&trusting.replace("idpsyncd@", "idpsyncd:s3cret@"), "c", ("PGPASSFILE", "/none"), 0);

    std::fs::write(&kept, "wrong\n").unwrap();
    fails(&with, "password");
    std::fs::write(&kept, "s3cret\n").unwrap();
    let plain = url(&postgres, "idpsyncd") + "?sslmode=disable";
    let plain = format!("postgres = \"{plain}\"\npassword = {{ file = \"{}\" }}", kept.display());
    fails(&home(&plain, ""), "pg_hba.conf");
}

#[test]
fn what_is_wrong_with_the_keys_is_told_without_a_password() {
    for (store, what) in [
        ("postgres = \"postgresql://a:s3cret@db/x\"", "does not stand in the file itself"),
        ("postgres = \"postgresql://a:s3/cret@db/x\"", "%2F"),
        ("postgres = \"mysql://a:s3cret@db/x\"", "is no URL of a database"),
        ("postgres = \"postgresql://a@db/x?sslmode=prefer\"", "verify-full"),
        ("postgres = \"postgresql://a@db/x?colour=s3cret\"", "is not understood"),
        ("postgres = \"postgresql://a@db/x\"\npath = \"store.db\"", "give `path` or `postgres`"),
        ("path = \"store.db\"\nschema = \"x\"", "goes with `postgres`"),
        ("path = \"store.db\"\npassword = { env = \"X\" }", "goes with `postgres`"),
        ("path = \"store.db\"\nread_url = \"postgresql://a@db/x\"", "goes with `postgres`"),
        (
            "postgres = \"postgresql://a@db/x\"\nread_url = \"postgresql://a:s3cret@db/x\"",
            "does not stand in the file itself",
        ),
        (
            "postgres = \"postgresql://a@db/x\"\nread_url = \"postgresql://a@db/x?sslmode=prefer\"",
            "verify-full",
        ),
        ("postgres = \"postgresql://a@db/x\"\nschema = \"pg_x\"", "keeps to itself"),
        ("postgres = \"postgresql://a@db/x\"\npassword = \"s3cret\"", "does not stand in the file"),
    ] {
        let home = home(store, "");
        let done = Done::of(&mut home.command(&["check", "--offline"])).exits(1);
        let told = format!("{}{}", done.out, done.err);
        assert!(told.contains(what), "{store}: {told}");
        assert!(!told.contains("s3cret") && !told.contains("s3/"), "{store}: {told}");
    }
    home("postgres = \"postgresql://a@db1.example.com,db2.example.com:5433/x\"", "")
        .ok(&["check", "--offline"], 0);
}
