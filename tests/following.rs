//! `idpsyncd run` follows a real directory between full reads, from the server's change to the gateway's
//! answer.
#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::io::Write as _;

use rusqlite::{Connection, OpenFlags};
use support::asking::Listens;
use support::gateways::send;
use support::idpsyncd::{Home, Idpsyncd};
use support::openldap::*;
use support::server::free_port;

const SYNCPROV: &str = "moduleload syncprov\nindex entryCSN eq\noverlay syncprov\n\
                        syncprov-sessionlog 1000\nsyncprov-checkpoint 1 1\n";

fn config(server: &OpenLdap, port: u16, more: &str) -> String {
    let password = support::ldap::secret(server, "reader-secret");
    let support_file = match &password {
        idpsyncd::config::SecretRef::File(path) => path.display().to_string(),
        other => panic!("{other:?}"),
    };
    format!(
        r#"
        [store]
        path = "store.db"
        [schedule]
        cron = "0 0 0 1 1 *"
        [sync]
        on_missing = {{ after = "0s" }}
        [[source]]
        name = "corp"
        kind = "ldap"
        url = "{}"
        bind_dn = "cn=reader,ou=services,{SUFFIX}"
        bind_password = {{ file = "{support_file}" }}
        {more}
        users = {{ base = "ou=people,{SUFFIX}", filter = "(objectClass=inetOrgPerson)", username = "uid" }}
        groups = {{ base = "ou=groups,{SUFFIX}", filter = "(objectClass=groupOfNames)", name = "cn" }}
        [roles.ml]
        external_roles = ["ml"]
        [[roles.ml.policies]]
        actions = ["profile:Read"]
        resources = ["*"]
        [gateway]
        identity = "header"
        preset = "osmo"
        http = "127.0.0.1:{port}"
        "#,
        server.url
    )
}

fn company() -> String {
    [
        tree(),
        person("alice", ""),
        person("bob", ""),
        person("carol", ""),
        group("ml", &[person_dn("alice"), person_dn("bob")]),
    ]
    .concat()
}

/// What gateways see, as `user role`.
fn roles(home: &Home) -> BTreeSet<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = Connection::open_with_flags(home.path("store.db"), flags).unwrap();
    let mut rows = conn.prepare("SELECT username, role FROM gateway_user_role").unwrap();
    let rows = rows.query_map([], |row| {
        Ok(format!("{} {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn until_answered(daemon: &mut Idpsyncd, port: u16, user: &str, status: u16) {
    let listens = Listens { grpc: 0, http: port };
    daemon.until(&format!("{user}: {status}"), || {
        let told = listens.http("GET", "/api/profile/settings", &[("x-osmo-user", user)]);
        (told.status == status).then_some(())
    });
}

fn members(server: &OpenLdap, how: &str, of: &[&str]) {
    let of: String = of.iter().map(|uid| format!("member: {}\n", person_dn(uid))).collect();
    server.modify(&format!("dn: {}\nchangetype: modify\n{how}: member\n{of}\n", group_dn("ml")));
}

fn metrics(port: u16) -> String {
    send(port, "GET", b"/metrics", &[]).body
}

/// How many full reads there were.
fn reads(port: u16) -> usize {
    let text = metrics(port);
    let line = text.lines().find(|line| {
        line.starts_with("idpsyncd_source_reads_total") && line.contains("result=\"complete\"")
    });
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |count| count.parse().unwrap())
}

/// A configuration that reads `people.ldif` and runs at the ticks of `cron`.
fn file_config(cron: &str) -> String {
    format!(
        r#"
        [store]
        path = "store.db"
        [schedule]
        cron = "{cron}"
        jitter = "0s"
        [sync]
        on_missing = {{ after = "0s" }}
        [[source]]
        name = "acme"
        kind = "file"
        ldif = "people.ldif"
        users = {{ base = "ou=people,{SUFFIX}", filter = "(objectClass=inetOrgPerson)", username = "uid" }}
        groups = {{ base = "ou=groups,{SUFFIX}", filter = "(objectClass=groupOfNames)", name = "cn" }}
        [roles.ml]
        external_roles = ["ml"]
        [[roles.ml.policies]]
        actions = ["profile:Read"]
        resources = ["*"]
        "#
    )
}

/// An export of everybody, of whom these are in `ml`.
fn export(of: &[&str]) -> String {
    let everybody = ["alice", "bob", "carol"].map(|name| person(name, ""));
    let of: Vec<String> = of.iter().map(|name| person_dn(name)).collect();
    [tree(), everybody.concat(), group("ml", &of)].concat()
}

#[test]
fn a_file_that_changes_again_and_again_is_read_each_time_and_never_falls_back() {
    let home = Home::new(&file_config("0 0 0 1 1 *"));
    std::fs::write(home.path("people.ldif"), export(&["alice"])).unwrap();
    let mut daemon = home.start_at("run", "idpsyncd=info", &[]);
    daemon.until_logged("source `acme` is followed");
    for (round, who) in ["bob", "carol", "alice", "bob"].into_iter().enumerate() {
        std::fs::write(home.path("people.new"), export(&[who])).unwrap();
        std::fs::rename(home.path("people.new"), home.path("people.ldif")).unwrap();
        let wanted = BTreeSet::from([format!("{who} ml")]);
        daemon.until(&format!("{round}: {who}"), || (roles(&home) == wanted).then_some(()));
    }
    let log = daemon.log();
    assert!(!log.contains("by full reads alone"), "it is followed all the time: {log}");
    daemon.stop();
}

#[test]
fn a_file_that_is_half_written_is_left_to_its_feed_by_the_schedules_reads() {
    let home = Home::new(&file_config("* * * * * *"));
    let path = home.path("people.ldif");
    std::fs::write(&path, export(&["alice", "bob"])).unwrap();
    let mut daemon = home.start_at("run", "idpsyncd=debug", &[]);
    daemon.until_logged("source `acme` is followed");
    let whole = export(&["alice", "bob", "carol"]);
    let half = whole.find("dn: uid=bob").unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&whole.as_bytes()[..half]).unwrap();
    let starts = || {
        let log = std::fs::read_to_string(home.path("run.log")).unwrap();
        log.matches("a run starts").count()
    };
    let before = starts();
    // All but the first and the last of these have begun and ended meanwhile.
    daemon.until("runs", || (starts() >= before + 3).then_some(()));
    file.write_all(&whole.as_bytes()[half..]).unwrap();
    drop(file);
    daemon.until("carol", || roles(&home).contains("carol ml").then_some(()));
    let log = daemon.log();
    for lost in ["grant-removed", "user-missing", "user-deprovisioned"] {
        assert!(!log.contains(lost), "half of a file was taken for all of it: {log}");
    }
    assert!(
        !log.contains("by full reads alone"),
        "runs of the schedule change nothing of that: {log}"
    );
    daemon.stop();
}

#[test]
fn what_changes_at_the_server_counts_at_the_gateway_without_a_run() {
    let Some(mut server) = OpenLdap::start(&company(), SYNCPROV) else { return };
    let port = free_port();
    let home = Home::new(&config(&server, port, ""));
    let mut daemon = home.start_at("run", "idpsyncd=info", &[]);
    daemon.until_logged("the gateway answers from generation");
    daemon.until_logged("source `corp` is followed");
    // A long list keeps a thread busy: not one that answers gateways.
    assert!(daemon.threads().contains(&"feeds".to_owned()), "{:?}", daemon.threads());
    until_answered(&mut daemon, port, "alice", 200);
    until_answered(&mut daemon, port, "carol", 403);
    let before = reads(port);
    assert!(
        metrics(port).contains("idpsyncd_source_following{source=\"corp\",mode=\"persist\"} 1")
    );
    daemon.until("status tells how it is followed", || {
        let status: serde_json::Value =
            serde_json::from_str(&home.ok(&["status", "--output", "json"], 0)).unwrap();
        let source = &status["sources"][0];
        let followed = source["following"] == "persist" && source["lag_seconds"].is_u64();
        assert!(source["last_drift"].is_null(), "{source}");
        followed.then_some(())
    });

    // Members come and go, somebody new comes, somebody is deleted.
    members(&server, "add", &["carol"]);
    until_answered(&mut daemon, port, "carol", 200);
    members(&server, "delete", &["alice"]);
    until_answered(&mut daemon, port, "alice", 403);
    server.modify(&format!("{}\n", add(&person("dora", ""))));
    members(&server, "add", &["dora"]);
    until_answered(&mut daemon, port, "dora", 200);
    server.modify(&format!("dn: {}\nchangetype: delete\n\n", person_dn("bob")));
    daemon.until("bob has no role", || (!roles(&home).contains("bob ml")).then_some(()));
    until_answered(&mut daemon, port, "bob", 403);
    daemon.until_logged("grant-removed alice ml (idp): no source says so any more");
    assert_eq!(reads(port), before, "nothing was read in full\n{}", daemon.log());

    // An outage: what happened meanwhile is told once the server is back.
    server.kill();
    daemon.until_logged("its feed is held up");
    until_answered(&mut daemon, port, "carol", 200);
    assert!(server.start_again());
    members(&server, "delete", &["carol"]);
    until_answered(&mut daemon, port, "carol", 403);
    assert_eq!(roles(&home), BTreeSet::from(["dora ml".to_owned()]));
    daemon.stop();

    // What changed while nobody followed is told from the cursor of the mirror.
    members(&server, "add", &["alice"]);
    let mut daemon = home.start_at("run", "idpsyncd=info", &[]);
    daemon.until_logged("the gateway answers from generation");
    until_answered(&mut daemon, port, "alice", 200);
    daemon.until_logged("source `corp` is followed");
    // SIGHUP brings a full read, and following goes on.
    let before = reads(port);
    daemon.signal("HUP");
    daemon.until("another full read", || (reads(port) > before).then_some(()));
    members(&server, "delete", &["alice"]);
    until_answered(&mut daemon, port, "alice", 403);
    // The read found what the feed had told, which is known once the feed has been silent for a while.
    daemon.until("there was no drift", || {
        let text = home.ok(&["status", "--output", "json"], 0);
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        let drift = status["sources"][0]["last_drift"].clone();
        (!drift.is_null()).then(|| assert_eq!(drift["changes"], 0, "{text}"))
    });
    assert!(!daemon.log().contains("did not tell"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn a_source_that_is_not_to_be_followed_waits_for_its_runs() {
    let Some(server) = OpenLdap::start(&company(), SYNCPROV) else { return };
    let port = free_port();
    let home = Home::new(&config(&server, port, "watch = \"off\""));
    let mut daemon = home.start_at("run", "idpsyncd=info", &[]);
    daemon.until_logged("the gateway answers from generation");
    until_answered(&mut daemon, port, "alice", 200);
    daemon.until("how it is followed", || {
        metrics(port)
            .contains("idpsyncd_source_following{source=\"corp\",mode=\"full\"} 1")
            .then_some(())
    });
    members(&server, "delete", &["alice"]);
    daemon.signal("HUP");
    until_answered(&mut daemon, port, "alice", 403);
    assert!(!daemon.log().contains("is followed"), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn a_source_that_cannot_be_followed_says_why_in_the_log_and_in_the_status() {
    let nobody = format!("canary = \"{}\"", person_dn("nobody"));
    let table = [
        ("without the overlay", "", "", "syncprov"),
        ("a partial read", SYNCPROV, &nobody, "the last full read did not bring everything"),
    ];
    for (name, overlay, more, why) in table {
        let Some(server) = OpenLdap::start(&company(), overlay) else { return };
        let home = Home::new(&config(&server, free_port(), more));
        let mut daemon = home.start_at("run", "idpsyncd=info", &[]);
        daemon.until_logged("changes are seen by full reads alone: ");
        let log = daemon.log();
        let told = log.lines().find(|line| line.contains("by full reads alone")).unwrap();
        assert!(told.contains(why), "{name}: {told}");
        daemon.until(&format!("{name}: status"), || {
            home.run(&["status"])
                .stdout
                .windows(why.len())
                .any(|it| it == why.as_bytes())
                .then_some(())
        });
        daemon.stop();
    }
}

/// A record of an LDIF as a change that adds it.
fn add(record: &str) -> String {
    let (dn, rest) = record.split_once('\n').unwrap();
    format!("{dn}\nchangetype: add\n{rest}")
}
