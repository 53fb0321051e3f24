//! Several `idpsyncd run` on one store: one leads, the others serve and take over.

#![cfg(test)]

mod support;

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use support::company::{gateway_at, realm_export, store_at, store_server};
use support::done::Done;
use support::gateways::send;
use support::idpsyncd::{Home, Idpsyncd};
use support::pgbouncer::PgBouncer;
use support::postgres::Postgres;
use support::server::free_port;

const NEVER: &str = "0 0 0 1 1 *";
const EVERY_SECOND: &str = "* * * * * *";

/// Who there is, and everybody has the role.
fn realm(names: &[&str]) -> String {
    realm_export(names.iter().map(|name| (*name, true)))
}

/// A company whose daemons are on machines of their own.
struct Company {
    postgres: Postgres,
    folder: tempfile::TempDir,
}

/// A machine, and where its gateway listens.
struct Machine {
    home: Home,
    port: u16,
}

impl Company {
    fn new(names: &[&str]) -> Option<Company> {
        let postgres = store_server()?;
        let company = Company { postgres, folder: tempfile::tempdir().unwrap() };
        company.has(names);
        Some(company)
    }

    /// Puts these people in place of those before, whole.
    fn has(&self, names: &[&str]) {
        let (new, old) = (self.folder.path().join("new"), self.folder.path().join("realm.json"));
        std::fs::write(&new, realm(names)).unwrap();
        std::fs::rename(&new, &old).unwrap();
    }

    fn machine(&self, cron: &str) -> Machine {
        Machine::new(&store_at(&[self.postgres.port]), self.folder.path(), cron)
    }

    fn sql(&self, sql: &str) -> String {
        self.postgres.sql("idpsyncd", sql)
    }

    /// The generations, which must be one chain, and how many people there are.
    fn generations(&self) -> (u64, u64) {
        let row = self.sql(
            "SELECT max(num), count(*), count(DISTINCT num), \
             (SELECT generation FROM idpsyncd.meta), (SELECT count(*) FROM idpsyncd.gateway_user) \
             FROM idpsyncd.generation",
        );
        let numbers: Vec<u64> = row.split('|').map(|cell| cell.parse().unwrap()).collect();
        let [last, count, distinct, meta, users] = numbers[..] else { panic!("{row}") };
        assert_eq!((last, last, last), (count, distinct, meta), "{row}");
        (last, users)
    }
}

impl Machine {
    fn new(store: &str, folder: &Path, cron: &str) -> Machine {
        let port = free_port();
        let home = Home::new(&format!(
            r#"
            [store]
            {store}
            [schedule]
            cron = "{cron}"
            jitter = "0s"
            [sync]
            on_missing = {{ after = "0s" }}
            [guard]
            max_lost_percent = 10
            max_lost_floor = 1
            [[source]]
            name = "idp"
            kind = "file"
            realm_export = "{}"
            watch = "off"
            grants = ["ml"]
            [roles.ml]
            [[roles.ml.policies]]
            actions = ["workflow:Read"]
            resources = ["*"]
            {}
            "#,
            folder.join("realm.json").display(),
            gateway_at(port, "provision = \"lookup\"")
        ));
        Machine { home, port }
    }

    fn status(&self, user: &str) -> u16 {
        send(self.port, "GET", b"/authz/a", &[("x-user", user)]).status
    }

    fn until_answered(&self, daemon: &mut Idpsyncd, user: &str, status: u16) {
        let listens = || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok();
        drop(daemon.until("it listens", listens));
        let answers = || (self.status(user) == status).then_some(());
        daemon.until(&format!("{user}: {status}"), answers);
    }

    fn metric(&self, name: &str) -> Option<String> {
        let text = send(self.port, "GET", b"/metrics", &[]).body;
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")))?;
        line.rsplit(' ').next().map(str::to_owned)
    }

    fn leader(&self) -> Value {
        let told = self.home.ok(&["status", "--output", "json"], 0);
        serde_json::from_str::<Value>(&told).unwrap()["leader"].clone()
    }

    /// Starts a daemon that leads.
    fn leading(&self) -> Idpsyncd {
        let mut daemon = self.home.start("run");
        daemon.until_logged("this daemon leads");
        daemon.until_logged("the gateway answers from generation");
        daemon
    }

    /// Starts one that follows.
    fn following(&self) -> Idpsyncd {
        let mut daemon = self.home.start("run");
        daemon.until_logged("another daemon leads, this one follows");
        daemon.until_logged("the gateway answers from generation");
        daemon
    }
}

/// Waits until `daemon` leads, and tells how long that took.
fn takes_over(daemon: &mut Idpsyncd, of: &str, since: Instant) {
    daemon.until_logged("this daemon leads");
    eprintln!("{of}: another leads after {} ms", since.elapsed().as_millis());
}

#[test]
fn a_follower_serves_tells_who_leads_and_leads_when_the_leader_is_killed() {
    let Some(company) = Company::new(&["ann"]) else { return };
    let (one, other) = (company.machine(EVERY_SECOND), company.machine(EVERY_SECOND));
    let leader = one.leading();
    let mut follower = other.following();
    other.until_answered(&mut follower, "ann", 200);
    assert_eq!(send(other.port, "GET", b"/readyz", &[]).status, 200);
    assert_eq!(one.metric("idpsyncd_leader").as_deref(), Some("1"));
    assert_eq!(other.metric("idpsyncd_leader").as_deref(), Some("0"));
    let told = other.leader();
    assert_eq!(told["pid"], leader.pid(), "{told}");
    assert!(told["host"].as_str().is_some_and(|host| !host.is_empty()), "{told}");
    assert!(told["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{told}");
    assert!(other.home.ok(&["status"], 0).contains(&format!("process {}", leader.pid())));

    // The leader reads, both answer; the follower has read nothing.
    company.has(&["ann", "bob"]);
    other.until_answered(&mut follower, "bob", 200);
    let read = |daemon: &Idpsyncd| daemon.log().contains("run done");
    assert!(read(&leader) && !read(&follower), "{}", follower.log());

    // What people do is done wherever they are.
    other.home.ok(&["user", "add", "eva", "--reason", "helps out"], 0);
    other.home.ok(&["grant", "add", "eva", "ml", "--reason", "helps out"], 0);
    other.home.ok(&["token", "create", "eva", "nightly", "--expires", "90d"], 0);
    other.home.ok(&["sync", "--dry-run"], 0);
    other.until_answered(&mut follower, "eva", 200);

    let killed = Instant::now();
    leader.signal("KILL");
    takes_over(&mut follower, "SIGKILL", killed);
    assert_eq!(other.leader()["pid"], follower.pid());
    company.has(&["ann", "bob", "cem"]);
    other.until_answered(&mut follower, "cem", 200);
    assert_eq!(other.metric("idpsyncd_leader").as_deref(), Some("1"));
    follower.stop();
    assert_eq!(other.leader(), Value::Null);
    assert_eq!(company.generations().1, 4);
}

#[test]
fn what_the_leader_holds_is_approved_elsewhere_and_a_run_by_hand_finds_its_turn() {
    let Some(company) = Company::new(&["ann", "bob", "cem", "dan", "eli", "fay"]) else { return };
    let (one, other) = (company.machine(EVERY_SECOND), company.machine(EVERY_SECOND));
    let mut leader = one.leading();
    company.has(&["ann"]);
    let held = || {
        let told = other.home.ok(&["status", "--output", "json"], 0);
        let status: Value = serde_json::from_str(&told).unwrap();
        status["held"]["id"].as_str().map(str::to_owned)
    };
    let id = leader.until("removals are held", held);
    // The leader's runs are short, and what is in between is for anybody.
    let mut by_hand = |args: &[&str], status: i32| {
        leader.until(&args.join(" "), || {
            let done = Done::of(&mut other.home.command(args));
            let locked =
                done.status == 1 && done.err.contains("another idpsyncd works on the store");
            (!locked).then(|| done.exits(status))
        });
    };
    by_hand(&["sync"], 3);
    by_hand(&["plan", "approve", &id], 0);
    one.until_answered(&mut leader, "bob", 403);
    assert_eq!(one.status("ann"), 200);
    assert_eq!(one.leader()["pid"], leader.pid());
}

#[test]
fn a_leader_that_is_told_to_end_hands_over_and_one_that_is_cut_off_follows() {
    let Some(company) = Company::new(&["ann"]) else { return };
    let (one, other) = (company.machine(EVERY_SECOND), company.machine(EVERY_SECOND));
    let first = one.leading();
    let mut second = other.following();
    let told = Instant::now();
    first.stop();
    takes_over(&mut second, "SIGTERM", told);

    let mut first = one.following();
    let cut = Instant::now();
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE query LIKE '%idpsyncd leads: process%' AND pid <> pg_backend_pid()";
    assert_ne!(company.postgres.sql("postgres", sql), "0");
    takes_over(&mut first, "its connection cut", cut);
    second.until_logged("leads the store");
    second.until_logged("another daemon leads, this one follows");
    other.until_answered(&mut second, "ann", 200);
    company.has(&["ann", "bob"]);
    other.until_answered(&mut second, "bob", 200);
    assert_eq!(one.leader()["pid"], first.pid());
    assert_eq!(company.generations(), (2, 2));
}

#[test]
fn a_leader_whose_commit_takes_longer_than_its_lease_leads_still() {
    let Some(company) = Company::new(&["ann"]) else { return };
    let (one, other) = (company.machine(EVERY_SECOND), company.machine(EVERY_SECOND));
    let mut leader = one.leading();
    let mut follower = other.following();
    let before = other.leader();
    let slow = company.postgres.slow("idpsyncd", "idpsyncd.generation");
    company.has(&["ann", "bob"]);
    // The lease is 6 s, and after 10 s it is asked aside whether the server works at it.
    let at_work = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'idpsyncd' AND state = 'active' \
                   AND query_start < clock_timestamp() - interval '13 s'";
    let answers = || {
        assert_eq!(other.leader(), before);
        (company.sql(at_work) != "0").then_some(())
    };
    follower.until("the commit takes long", answers);
    assert_eq!(company.generations(), (1, 1));
    drop(slow);
    other.until_answered(&mut follower, "bob", 200);
    one.until_answered(&mut leader, "bob", 200);
    assert_eq!(company.generations(), (2, 2));
    assert_eq!(other.leader(), before);
    assert!(!follower.log().contains("this daemon leads"), "{}", follower.log());
    assert!(!leader.log().contains("no more"), "{}", leader.log());
    assert!(!leader.log().contains("came to nothing"), "{}", leader.log());
}

#[test]
fn of_two_stores_in_one_database_each_has_a_leader_of_its_own() {
    let Some(company) = Company::new(&["ann"]) else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("realm.json"), realm(&["bob"])).unwrap();
    let store = format!("{}\nschema = \"other\"", store_at(&[company.postgres.port]));
    let (one, other) =
        (company.machine(EVERY_SECOND), Machine::new(&store, elsewhere.path(), EVERY_SECOND));
    let (mut first, mut second) = (one.leading(), other.leading());
    one.until_answered(&mut first, "ann", 200);
    other.until_answered(&mut second, "bob", 200);
    assert_eq!((one.status("bob"), other.status("ann")), (403, 403));
    assert_eq!(
        (&one.leader()["pid"], &other.leader()["pid"]),
        (&first.pid().into(), &second.pid().into())
    );
}

#[test]
fn daemons_whose_every_session_is_ended_again_and_again_go_on() {
    let Some(company) = Company::new(&["ann"]) else { return };
    let (one, other) = (company.machine(EVERY_SECOND), company.machine(EVERY_SECOND));
    let (mut first, mut second) = (one.leading(), other.following());
    let sql =
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'idpsyncd'";
    for name in ["bob", "cem", "dan"] {
        assert_ne!(company.postgres.sql("postgres", sql), "0");
        assert_eq!((one.status("ann"), other.status("ann")), (200, 200), "from memory");
        company.has(&["ann", name]);
        // Whoever tries to read meanwhile is cut off too.
        company.postgres.sql("postgres", sql);
        one.until_answered(&mut first, name, 200);
        other.until_answered(&mut second, name, 200);
    }
    assert_eq!(company.generations().1, 4);
}

#[test]
fn a_leader_that_is_frozen_in_mid_apply_and_wakes_after_another_has_led_writes_nothing() {
    let Some(company) = Company::new(&["ann"]) else { return };
    let (one, other) = (company.machine(EVERY_SECOND), company.machine(EVERY_SECOND));
    let mut first = one.leading();
    let mut second = other.following();
    // Its transaction has begun to write when it comes to a table that somebody else holds.
    let held = company.postgres.lock("idpsyncd", "idpsyncd.history");
    company.has(&["ann", "bob"]);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'idpsyncd' \
                 AND wait_event_type = 'Lock'";
    first.until("it is in mid-apply", || (company.sql(waits) != "0").then_some(()));
    first.signal("STOP");
    let frozen = Instant::now();
    drop(held);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'idpsyncd' \
                AND state = 'idle in transaction'";
    second.until("what it wrote stands open", || (company.sql(open) != "0").then_some(()));
    assert_eq!(company.generations(), (1, 1));

    takes_over(&mut second, "SIGSTOP", frozen);
    other.until_answered(&mut second, "bob", 200);
    eprintln!("and has written after {} ms", frozen.elapsed().as_millis());
    assert_eq!(company.generations(), (2, 2));
    first.signal("CONT");
    first.until_logged("another idpsyncd has led the store");
    first.until_logged("another daemon leads, this one follows");
    one.until_answered(&mut first, "bob", 200);
    company.has(&["ann", "bob", "cem"]);
    one.until_answered(&mut first, "cem", 200);
    assert_eq!(one.leader()["pid"], second.pid());
    assert_eq!(company.generations(), (3, 3));
    let changes = "SELECT count(*), count(DISTINCT (num, \"user\", kind, old, note)) \
                   FROM idpsyncd.history_told";
    let counted = company.sql(changes);
    let (all, distinct) = counted.split_once('|').unwrap();
    assert_eq!(all, distinct, "nothing is told twice");
}

#[test]
fn a_follower_by_whose_configuration_the_store_does_not_stand_says_so() {
    let Some(company) = Company::new(&["ann"]) else { return };
    let (one, other) = (company.machine(EVERY_SECOND), company.machine(EVERY_SECOND));
    let same = |machine: &Machine| {
        let told = machine.home.ok(&["status", "--output", "json"], 0);
        serde_json::from_str::<Value>(&told).unwrap()["same_configuration"].clone()
    };
    let text =
        |machine: &Machine| std::fs::read_to_string(machine.home.path("idpsyncd.toml")).unwrap();
    // What no plan depends on may be otherwise: the gateway's port is.
    let leader = one.leading();
    let mut follower = other.following();
    other.until_answered(&mut follower, "ann", 200);
    let told = "the store stands by another configuration than this daemon's";
    assert_eq!((same(&one), same(&other)), (true.into(), true.into()));
    assert!(!other.home.ok(&["status"], 0).contains("Config"));
    assert!(!follower.log().contains(told), "{}", follower.log());

    // One daemon is given another role, and the other one not.
    let role = "[roles.more]\n[[roles.more.policies]]\nactions = [\"pool:List\"]\n";
    one.home.configure(&format!("{}{role}", text(&one)));
    leader.signal("HUP");
    follower.until_logged(told);
    assert_eq!((same(&one), same(&other)), (true.into(), false.into()));
    let shown = other.home.ok(&["status"], 0);
    assert!(shown.contains("another than the store stands by"), "{shown}");

    // The leader's is put in place there as well: nothing is to be said, then or when it leads.
    other.home.configure(&format!("{}{role}", text(&other)));
    follower.signal("HUP");
    follower.until_logged("the configuration is in force");
    assert_eq!(same(&other), true);
    leader.stop();
    follower.until_logged("this daemon leads");
    assert_eq!(follower.log().matches(told).count(), 1, "{}", follower.log());
    let anew = "its configuration is another than the one by which the store stands";
    assert!(!follower.log().contains(anew), "{}", follower.log());
    follower.stop();

    // Whoever leads by another one says so before its first run.
    one.home.configure(&text(&one).replace(
        "workflow:Read\"]\n            resources",
        "workflow:*\"]\n            resources",
    ));
    let mut leader = one.leading();
    leader.until_logged(anew);
    leader.until("it stands by that", || (same(&one) == true).then_some(()));
    assert_eq!(same(&other), false);
}

#[test]
fn a_stranger_who_comes_to_a_follower_is_looked_up_there() {
    let Some(company) = Company::new(&["ann"]) else { return };
    let (one, other) = (company.machine(NEVER), company.machine(NEVER));
    let mut leader = one.leading();
    let mut follower = other.following();
    other.until_answered(&mut follower, "ann", 200);
    // Nobody reads the source again: only a look-up finds her.
    company.has(&["ann", "dora"]);
    other.until_answered(&mut follower, "dora", 200);
    assert_eq!(one.leader()["pid"], leader.pid(), "who leads stays so");
    assert_eq!(company.generations(), (2, 2));
    one.until_answered(&mut leader, "dora", 200);
    follower.until_logged("a stranger is provisioned");
    // A gateway alone has no credentials of sources, and says so.
    let serve = company.machine(NEVER);
    let mut serving = serve.home.start("serve");
    serving.until_logged("whom the store does not know is refused");
    serve.until_answered(&mut serving, "dora", 200);
    company.has(&["ann", "dora", "eve"]);
    assert_eq!(serve.status("eve"), 403);
    assert_eq!(company.generations(), (2, 2));
}

#[test]
fn a_pool_that_keeps_sessions_apart_will_do_and_one_that_does_not_is_refused() {
    let Some(company) = Company::new(&["ann"]) else { return };
    for mode in ["session", "transaction"] {
        let Some(pool) = PgBouncer::before(company.postgres.port, mode) else { return };
        let through = |cron| {
            let at = format!("postgresql://idpsyncd@127.0.0.1:{}/idpsyncd", pool.port);
            Machine::new(&format!("postgres = \"{at}\""), company.folder.path(), cron)
        };
        let (one, other, gateway) =
            (through(EVERY_SECOND), through(EVERY_SECOND), through(EVERY_SECOND));
        if mode == "session" {
            let mut leader = one.leading();
            let mut follower = other.following();
            let mut serve = gateway.home.start("serve");
            gateway.until_answered(&mut serve, "bob", 403);
            // What is committed is told through it, and whoever leads is known.
            company.has(&["ann", "bob"]);
            for (machine, daemon) in
                [(&one, &mut leader), (&other, &mut follower), (&gateway, &mut serve)]
            {
                machine.until_answered(daemon, "bob", 200);
            }
            leader.stop();
            follower.until_logged("this daemon leads");
            continue;
        }
        let before = company.generations();
        company.has(&["ann", "bob", "cem"]);
        let told = "a pool that lends one session to several clients";
        let run = one.home.run(&["sync"]);
        let error = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.code() == Some(1) && error.contains(told), "{error}");
        for what in ["run", "serve"] {
            let mut daemon = other.home.start(what);
            daemon.until_logged(told);
            assert!(!daemon.log().contains("this daemon leads"));
        }
        assert_eq!(company.generations(), before, "nothing was written");
    }
}

#[test]
fn of_two_daemons_on_one_file_the_second_waits() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("realm.json"), realm(&["ann"])).unwrap();
    let store = format!("path = \"{}\"", folder.path().join("store.db").display());
    let one = Machine::new(&store, folder.path(), EVERY_SECOND);
    let other = Machine::new(&store, folder.path(), EVERY_SECOND);
    let leader = one.leading();
    let mut follower = other.following();
    other.until_answered(&mut follower, "ann", 200);
    assert_eq!(other.leader()["pid"], leader.pid());
    other.home.ok(&["user", "add", "svc", "--service", "--reason", "builds"], 0);
    // One that runs at this moment holds the lock, as ever: it is told who, or waited for.
    let done = Done::of(&mut other.home.command(&["sync"]));
    let locked = done.err.contains("works on the store");
    done.exits(i32::from(locked));
    leader.signal("KILL");
    follower.until_logged("this daemon leads");
    std::fs::write(folder.path().join("realm.json"), realm(&["ann", "bob"])).unwrap();
    other.until_answered(&mut follower, "bob", 200);
    assert_eq!(other.leader()["pid"], follower.pid());
    follower.stop();
    assert_eq!(other.leader(), Value::Null);
}
