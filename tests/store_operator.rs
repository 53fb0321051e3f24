//! What whoever looks after a database does to it: settings, limits, owners. Either it makes no difference, or
//! the error says what it is, and all goes on once it is taken back.

#![cfg(test)]

mod support;

use support::company::{gateway_at, realm_export, store_at, store_server};
use support::done::Done;
use support::gateways::send;
use support::idpsyncd::{Home, Idpsyncd};
use support::postgres::Postgres;
use support::server::free_port;

/// Ends every session of the store's owner.
const END_ALL: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'idpsyncd'";

const CONFIG: &str = r#"
[schedule]
cron = "* * * * * *"
jitter = "0s"
[[source]]
name = "idp"
kind = "file"
realm_export = "realm.json"
watch = "off"
grants = ["ml"]
[[roles.ml.policies]]
actions = ["workflow:Read"]
resources = ["*"]
"#;

/// A machine over a database, and where its gateway listens.
struct Machine {
    home: Home,
    port: u16,
}

impl Machine {
    fn new(postgres: &Postgres, keys: &str) -> Machine {
        let port = free_port();
        let gateway = gateway_at(port, "");
        let store = store_at(&[postgres.port]);
        let home = Home::new(&format!("[store]\n{store}\n{keys}\n{CONFIG}{gateway}"));
        let machine = Machine { home, port };
        machine.has(&["ann"]);
        machine
    }

    fn has(&self, names: &[&str]) {
        let (new, old) = (self.home.path("new"), self.home.path("realm.json"));
        std::fs::write(&new, realm_export(names.iter().map(|name| (*name, true)))).unwrap();
        std::fs::rename(new, old).unwrap();
    }

    fn fails(&self, args: &[&str], words: &[&str]) {
        let done = Done::of(&mut self.home.command(args)).exits(1);
        for words in words {
            assert!(done.err.contains(words), "{args:?}: `{words}` is not in: {}", done.err);
        }
    }

    fn status(&self, user: &str) -> u16 {
        send(self.port, "GET", b"/authz/a", &[("x-user", user)]).status
    }

    fn leads(&self) -> Idpsyncd {
        let mut daemon = self.home.start("run");
        daemon.until_logged("this daemon leads");
        daemon.until("ann is let in", || (self.status("ann") == 200).then_some(()));
        daemon
    }
}

#[test]
fn what_is_set_for_the_role_changes_nothing() {
    let Some(postgres) = store_server() else { return };
    for setting in [
        "statement_timeout = '2s'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "idle_session_timeout = '2s'",
        "transaction_timeout = '2s'",
        "search_path = elsewhere",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "bytea_output = 'escape'",
        "standard_conforming_strings = off",
        "DateStyle = 'German'",
        "TimeZone = 'Asia/Tokyo'",
        "extra_float_digits = 0",
        "client_encoding = 'LATIN1'",
        "plan_cache_mode = 'force_generic_plan'",
        "transform_null_equals = on",
    ] {
        // PostgreSQL has `transaction_timeout` since 17.
        let (name, _) = setting.split_once(' ').unwrap();
        let known =
            format!("SELECT count(*) FROM pg_settings WHERE name = '{}'", name.to_lowercase());
        if name != "transaction_timeout" || postgres.sql("postgres", &known) != "0" {
            postgres.sql("postgres", &format!("ALTER ROLE idpsyncd SET {setting}"));
        }
    }
    let machine = Machine::new(&postgres, "");
    machine.home.ok(&["store", "init"], 0);
    // One commit takes longer than a statement may by the role's settings.
    let slow = postgres.slow("idpsyncd", "idpsyncd.generation");
    let mut first = machine.home.start("sync");
    let works = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'idpsyncd' AND state = 'active' \
                 AND query_start < clock_timestamp() - interval '3 s'";
    first.until("it takes long", || (postgres.sql("postgres", works) != "0").then_some(()));
    drop(slow);
    assert_eq!(first.ended().code(), Some(0), "{}", first.log());
    machine.home.ok(&["token", "create", "ann", "laptop", "--expires", "90d"], 0);
    machine.home.ok(&["authorize", "ann", "workflow:Read", "pool/x"], 0);
    let daemon = machine.leads();
    daemon.stop();
    assert_eq!(postgres.sql("idpsyncd", "SELECT generation FROM idpsyncd.meta"), "2");
}

#[test]
fn what_keeps_a_run_from_its_store_is_told_and_it_goes_on_once_it_is_taken_back() {
    let Some(postgres) = store_server() else { return };
    let machine = Machine::new(&postgres, "");
    machine.home.ok(&["sync"], 0);
    for (database, given, words, taken) in [
        (
            "postgres",
            "ALTER ROLE idpsyncd CONNECTION LIMIT 1",
            &["too many connections", "`CONNECTION LIMIT`"][..],
            "ALTER ROLE idpsyncd CONNECTION LIMIT -1",
        ),
        (
            "postgres",
            "ALTER ROLE idpsyncd SET default_transaction_read_only = on",
            &["takes no writes", "`default_transaction_read_only`", "nothing was changed"],
            "ALTER ROLE idpsyncd RESET default_transaction_read_only",
        ),
        (
            "postgres",
            "ALTER ROLE idpsyncd NOLOGIN",
            &["cannot sign in", "not permitted to log in"],
            "ALTER ROLE idpsyncd LOGIN",
        ),
        (
            "postgres",
            "ALTER DATABASE idpsyncd RENAME TO elsewhere",
            &["database \"idpsyncd\" does not exist"],
            "ALTER DATABASE elsewhere RENAME TO idpsyncd",
        ),
        (
            "postgres",
            "ALTER DATABASE idpsyncd ALLOW_CONNECTIONS false",
            &["is not currently accepting connections"],
            "ALTER DATABASE idpsyncd ALLOW_CONNECTIONS true",
        ),
        (
            "idpsyncd",
            "ALTER SCHEMA idpsyncd OWNER TO postgres",
            &["may not use the schema `idpsyncd`", "belongs to another"],
            "ALTER SCHEMA idpsyncd OWNER TO idpsyncd",
        ),
        (
            "idpsyncd",
            "ALTER TABLE idpsyncd.meta OWNER TO postgres",
            &["permission denied for table meta"],
            "ALTER TABLE idpsyncd.meta OWNER TO idpsyncd",
        ),
    ] {
        postgres.sql(database, given);
        for command in [&["sync"][..], &["grant", "add", "ann", "ml", "--reason", "x"]] {
            machine.fails(command, words);
        }
        postgres.sql(database, taken);
        machine.home.ok(&["sync"], 0);
    }
    assert_eq!(postgres.sql("idpsyncd", "SELECT generation FROM idpsyncd.meta"), "1");
    // What is amiss here is no fault of the server's.
    for (keys, words) in [
        ("password = { file = \"nothing\" }", "cannot read the secret"),
        ("ca_file = \"realm.json\"", "cannot read `store.ca_file`"),
    ] {
        let machine = Machine::new(&postgres, keys);
        let done = Done::of(&mut machine.home.command(&["sync"])).exits(1);
        assert!(done.err.contains(words), "{}", done.err);
        assert!(!done.err.contains("cannot reach"), "{}", done.err);
    }
}

#[test]
fn a_schema_of_somebody_elses_is_used_where_that_is_allowed_and_told_of_where_not() {
    let Some(postgres) = store_server() else { return };
    let machine = Machine::new(&postgres, "");
    postgres.sql("idpsyncd", "CREATE ROLE boss; CREATE SCHEMA idpsyncd AUTHORIZATION boss");
    for command in [&["sync"][..], &["store", "init"], &["status"]] {
        machine.fails(command, &["may not use the schema `idpsyncd`", "belongs to another"]);
    }
    postgres.sql("idpsyncd", "GRANT USAGE ON SCHEMA idpsyncd TO idpsyncd");
    machine.fails(&["sync"], &["permission denied for schema idpsyncd"]);
    postgres.sql("idpsyncd", "GRANT CREATE ON SCHEMA idpsyncd TO idpsyncd");
    machine.home.ok(&["sync"], 0);
    machine.leads().stop();
}

#[test]
fn a_daemon_that_is_kept_out_answers_from_memory_and_goes_on_by_itself() {
    let Some(postgres) = store_server() else { return };
    let machine = Machine::new(&postgres, "");
    let mut daemon = machine.leads();
    for (name, given, words, taken) in [
        (
            "bob",
            "ALTER ROLE idpsyncd CONNECTION LIMIT 0",
            "too many connections",
            "ALTER ROLE idpsyncd CONNECTION LIMIT -1",
        ),
        (
            "cem",
            "ALTER ROLE idpsyncd NOLOGIN",
            "is not permitted to log in",
            "ALTER ROLE idpsyncd LOGIN",
        ),
        (
            "dan",
            "ALTER ROLE idpsyncd SET default_transaction_read_only = on",
            "it takes no writes",
            "ALTER ROLE idpsyncd RESET default_transaction_read_only",
        ),
    ] {
        postgres.sql("postgres", given);
        postgres.sql("postgres", END_ALL);
        machine.has(&["ann", name]);
        daemon.until_logged(words);
        assert_eq!((machine.status("ann"), machine.status(name)), (200, 403), "{given}");
        postgres.sql("postgres", taken);
        daemon.until(name, || (machine.status(name) == 200).then_some(()));
    }
    daemon.stop();
}

#[test]
fn a_password_that_changes_while_daemons_run_is_read_anew_by_whoever_signs_in() {
    let Some(postgres) = store_server() else { return };
    postgres.ask_password("idpsyncd", "pass-1");
    let machine = Machine::new(&postgres, "password = { file = \"password\" }");
    let file = |password: &str| {
        std::fs::write(machine.home.path("next"), password).unwrap();
        std::fs::rename(machine.home.path("next"), machine.home.path("password")).unwrap();
    };
    file("pass-1\n");
    let mut daemon = machine.leads();
    for (name, next, server_first) in [("bob", "pass-2", true), ("cem", "pass-3", false)] {
        let change = |at_server: bool| match at_server {
            true => postgres.ask_password("idpsyncd", next),
            false => file(next),
        };
        change(server_first);
        // Whoever is signed in stays so; whoever comes is told.
        machine.fails(&["sync"], &["cannot sign in", "`store.password`"]);
        machine.has(&["ann", name]);
        daemon.until(name, || (machine.status(name) == 200).then_some(()));
        change(!server_first);
        // Nobody told the daemon, and each of its sessions is to be begun anew.
        postgres.sql("postgres", END_ALL);
        let other = format!("{name}-2");
        machine.has(&["ann", &other]);
        daemon.until(&other, || (machine.status(&other) == 200).then_some(()));
        assert_eq!(machine.status("ann"), 200);
    }
    // It is kept out until somebody puts the right one there.
    file("wrong\n");
    postgres.sql("postgres", END_ALL);
    machine.has(&["ann", "dan"]);
    daemon.until_logged("cannot sign in");
    assert_eq!((machine.status("ann"), machine.status("dan")), (200, 403));
    file("pass-3\n");
    daemon.until("dan", || (machine.status("dan") == 200).then_some(()));
    assert!(!daemon.log().contains("pass-"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn a_server_that_does_not_show_what_sessions_do_is_worked_with_all_the_same() {
    for hidden in [
        "ALTER ROLE idpsyncd SET track_activities = off",
        "CREATE ROLE boss; GRANT boss TO idpsyncd; GRANT CREATE ON DATABASE idpsyncd TO boss; \
         ALTER ROLE idpsyncd SET role = boss",
    ] {
        let Some(postgres) = store_server() else { return };
        postgres.sql("idpsyncd", hidden);
        let (one, other) = (Machine::new(&postgres, ""), Machine::new(&postgres, ""));
        let mut leader = one.leads();
        let mut follower = other.home.start("run");
        follower.until_logged("another daemon leads, this one follows");
        follower.until("it answers", || (other.status("ann") == 200).then_some(()));
        let told = other.home.ok(&["status"], 0);
        assert!(told.contains("not to be seen from here"), "{told}");
        drop(follower);
        // It is not taken for nobody.
        let to = other.home.path("copy.db");
        let refused = leader.until("it is between two runs", || {
            let copy = ["store", "copy", "--to", to.to_str().unwrap()];
            let done = Done::of(&mut other.home.command(&copy)).exits(1);
            (!done.err.contains("works on the store")).then_some(done.err)
        });
        assert!(refused.contains("leads on the store"), "{refused}");
        assert!(!to.exists());
        leader.stop();
        let told = other.home.ok(&["status"], 0);
        assert!(told.contains("Leader      none"), "{told}");

        // A commit that takes long is not taken for a server that hangs.
        let slow = postgres.slow("idpsyncd", "idpsyncd.generation");
        one.has(&["ann", "bob"]);
        let mut running = one.home.start("sync");
        let works = "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid) \
                     WHERE a.usename = 'idpsyncd' AND l.relation = 'idpsyncd.generation'::regclass \
                       AND l.mode = 'RowExclusiveLock'";
        running.until("it writes", || (postgres.sql("idpsyncd", works) != "0").then_some(()));
        // Another connection looks whether the server works at it.
        running.until("somebody looks", || {
            let asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'idpsyncd' \
                         AND backend_start < clock_timestamp() - interval '16 s'";
            (postgres.sql("idpsyncd", asked) != "0").then_some(())
        });
        drop(slow);
        assert_eq!(running.ended().code(), Some(0), "{hidden}: {}", running.log());
        other.home.ok(&["authorize", "bob", "workflow:Read", "pool/x"], 0);
    }
}
