//! The database is away: stopped, killed, failed over, hung, full. The store is whole afterwards, what became of
//! it is known, and gateways answer from memory meanwhile.

#![cfg(test)]

mod support;

#[path = "store_outages/failover.rs"]
mod failover;
#[path = "store_outages/standby.rs"]
mod standby;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Instant;

use support::company::{gateway_at, realm_export, store_at as at, store_server as server};
use support::done::Done;
use support::gateways::send;
use support::idpsyncd::{Home, Idpsyncd};
use support::postgres::Postgres;
use support::server::free_port;
use support::wire_proxy::{Trap, WireProxy};

const CONFIG: &str = r#"
[[source]]
name = "idp"
kind = "file"
realm_export = "realm.json"
grants = ["ml"]
[guard]
max_lost_floor = 100
[[roles.ml.policies]]
actions = ["workflow:Read"]
resources = ["pool/a"]
"#;

/// A folder, and where its gateway listens.
struct Place {
    home: Home,
    port: u16,
}

impl Place {
    fn new(store: &str, staleness: &str) -> Place {
        let port = free_port();
        let gateway = gateway_at(port, &format!("max_staleness = \"{staleness}\""));
        let place =
            Place { home: Home::new(&format!("[store]\n{store}\n{CONFIG}{gateway}")), port };
        place.may(&["ann", "bob"]);
        place
    }

    /// From the next sync on these may, of those that there are.
    fn may(&self, who: &[&str]) {
        let realm = realm_export(["ann", "bob", "cem"].map(|name| (name, who.contains(&name))));
        std::fs::write(self.home.path("realm.json"), realm).unwrap();
    }

    fn sync(&self, who: &[&str]) {
        self.may(who);
        self.home.ok(&["sync"], 0);
    }

    fn serve(&self) -> Idpsyncd {
        let mut serving = self.home.start("serve");
        drop(
            serving.until("it listens", || {
                std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()
            }),
        );
        serving
    }

    /// What the gateway answers somebody.
    fn status(&self, user: &str) -> u16 {
        send(self.port, "GET", b"/authz/a", &[("x-user", user)]).status
    }

    fn ready(&self) -> String {
        send(self.port, "GET", b"/readyz", &[]).body
    }

    fn until(&self, serving: &mut Idpsyncd, user: &str, status: u16) {
        let what = format!("{user} is answered {status}");
        serving.until(&what, || (self.status(user) == status).then_some(()));
    }
}

fn generation(postgres: &Postgres) -> String {
    postgres.sql("idpsyncd", "SELECT generation FROM idpsyncd.meta")
}

#[test]
fn a_gateway_answers_from_memory_until_the_evidence_is_too_old_and_goes_on_by_itself() {
    let Some(mut postgres) = server() else { return };
    let (patient, strict) =
        (Place::new(&at(&[postgres.port]), "24h"), Place::new(&at(&[postgres.port]), "20s"));
    patient.sync(&["ann"]);
    let (mut one, mut other) = (patient.serve(), strict.serve());
    patient.until(&mut one, "ann", 200);
    strict.until(&mut other, "ann", 200);
    postgres.stop();
    strict.until(&mut other, "ann", 503);
    assert_eq!((patient.status("ann"), patient.status("bob")), (200, 403));
    assert!(strict.ready().starts_with("not ready: the evidence is too old"), "{}", strict.ready());
    one.until_logged("cannot reach the store");

    // One that starts without the database waits for it.
    let late = Place::new(&at(&[postgres.port]), "24h");
    let mut third = late.serve();
    assert_eq!(late.status("ann"), 503);
    let done = Done::of(&mut late.home.command(&["sync"])).exits(1);
    assert!(done.err.contains("cannot reach the store"), "{}", done.err);

    postgres.start_again();
    late.until(&mut third, "ann", 200);
    patient.sync(&["bob"]);
    for (place, serving) in [(&patient, &mut one), (&strict, &mut other), (&late, &mut third)] {
        place.until(serving, "bob", 200);
        place.until(serving, "ann", 403);
    }
}

#[test]
fn a_run_whose_database_is_killed_in_the_middle_of_it_has_changed_nothing() {
    let Some(mut postgres) = server() else { return };
    let proxy = WireProxy::before(postgres.port);
    let (direct, place) =
        (Place::new(&at(&[postgres.port]), "24h"), Place::new(&at(&[proxy.port]), "24h"));
    direct.sync(&["ann"]);
    place.may(&["bob"]);
    // Everything is written, and nothing committed.
    proxy.set(b"UPDATE generation SET token", Trap::Lost);
    let mut running = place.home.start("sync");
    proxy.await_sprung();
    proxy.cut();
    postgres.stop();
    assert_eq!(running.ended().code(), Some(1), "{}", running.log());
    assert!(running.log().contains("nothing was changed"), "{}", running.log());
    postgres.start_again();
    proxy.open();
    assert_eq!(generation(&postgres), "1");
    place.sync(&["bob"]);
    assert_eq!(generation(&postgres), "2");
}

#[test]
fn a_run_whose_commit_is_never_answered_says_that_nobody_knows_and_the_next_finds_out() {
    let Some(postgres) = server() else { return };
    let proxy = WireProxy::before(postgres.port);
    let place = Place::new(&at(&[proxy.port]), "24h");
    place.sync(&["ann"]);
    place.may(&["bob"]);
    // Not the one that begins a term: that of the generation.
    proxy.set_after(b"UPDATE generation SET token", b"COMMIT\0", Trap::Hangs);
    let done = Done::of(&mut place.home.command(&["sync"])).exits(1);
    assert!(done.err.contains("cannot be looked up"), "{}", done.err);
    proxy.open();
    // It had come through.
    assert_eq!(generation(&postgres), "2");
    place.sync(&["bob"]);
    assert_eq!(generation(&postgres), "2");
}

#[test]
fn a_commit_whose_answer_is_lost_is_done_and_one_that_is_lost_itself_is_not() {
    let Some(postgres) = server() else { return };
    let proxy = WireProxy::before(postgres.port);
    let place = Place::new(&at(&[proxy.port]), "24h");
    place.sync(&["ann"]);
    for (trap, who, status, words, stands) in [
        (Trap::Unanswered, "bob", 0, "Generation 2 is committed", "2"),
        (Trap::Lost, "cem", 1, "nothing was changed", "2"),
        (Trap::Unanswered, "cem", 0, "Generation 3 is committed", "3"),
    ] {
        place.may(&[who]);
        proxy.set_after(b"UPDATE generation SET token", b"COMMIT\0", trap);
        let done = Done::of(&mut place.home.command(&["sync"])).exits(status);
        assert!(proxy.has_sprung(), "{trap:?}");
        assert!(format!("{}{}", done.out, done.err).contains(words), "{trap:?}: {}", done.err);
        assert_eq!(generation(&postgres), stands, "{trap:?}");
    }
    place.home.ok(&["authorize", "cem", "workflow:Read", "pool/a"], 0);
    place.home.ok(&["authorize", "bob", "workflow:Read", "pool/a"], 5);
}

#[test]
fn a_run_whose_database_hangs_gives_up_by_itself_wherever_it_stands() {
    let Some(postgres) = server() else { return };
    let proxy = WireProxy::before(postgres.port);
    let (direct, place) =
        (Place::new(&at(&[postgres.port]), "24h"), Place::new(&at(&[proxy.port]), "24h"));
    direct.sync(&["ann"]);
    // From the first word to the last before the commit: it ends while nobody answers still.
    for at in [
        &b"user\0idpsyncd"[..],
        b"pg_try_advisory_lock",
        b"UPDATE meta SET commits",
        b"UPDATE generation SET token",
    ] {
        let what = String::from_utf8_lossy(at);
        place.may(&["bob"]);
        proxy.set(at, Trap::Hangs);
        let began = Instant::now();
        let mut running = place.home.start("sync");
        proxy.await_sprung();
        assert_eq!(running.ended().code(), Some(1), "{what}: {}", running.log());
        eprintln!("{what}: given up after {} ms", began.elapsed().as_millis());
        let told = running.log();
        assert!(told.contains("cannot reach the store"), "{what}: {told}");
        assert!(told.contains("has not answered for"), "{what}: {told}");
        assert!(told.contains("nothing was changed"), "{what}: {told}");
        proxy.cut();
        assert_eq!(generation(&postgres), "1", "{what}");
        proxy.open();
    }
    // Nobody is there at all.
    proxy.cut();
    let done = Done::of(&mut place.home.command(&["sync"])).exits(1);
    assert!(done.err.contains("cannot reach the store"), "{}", done.err);
    proxy.open();
    place.sync(&["bob"]);
    assert_eq!(generation(&postgres), "2");
}

#[test]
fn a_gateway_whose_connections_hang_or_are_cut_goes_on_by_itself() {
    let Some(postgres) = server() else { return };
    let proxy = WireProxy::before(postgres.port);
    let (direct, place) =
        (Place::new(&at(&[postgres.port]), "24h"), Place::new(&at(&[proxy.port]), "24h"));
    direct.sync(&["ann"]);
    let mut serving = place.serve();
    place.until(&mut serving, "ann", 200);
    proxy.hang();
    serving.until_logged("it has not answered for");
    assert_eq!(place.status("ann"), 200);
    direct.sync(&["bob"]);
    proxy.open();
    place.until(&mut serving, "bob", 200);
    proxy.cut();
    direct.sync(&["cem"]);
    assert_eq!(place.status("bob"), 200);
    proxy.open();
    place.until(&mut serving, "cem", 200);
    assert_eq!(place.status("bob"), 403);
}

/// A small file system of its own, until it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`: this account may mount nothing.
    fn new() -> Option<SmallDisk> {
        let disk = SmallDisk(tempfile::tempdir().unwrap());
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m,mode=0777", "small"])
            .arg(disk.0.path())
            .output();
        mounted.is_ok_and(|done| done.status.success()).then_some(disk)
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("fill")).unwrap();
        while file.write_all(&[1; 65_536]).is_ok() {}
        while file.write_all(&[1; 64]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("fill")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may have files open there still.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

/// Lets the store's tables have no room, and gives it back: on a small disk where one can be mounted, else by a
/// server that says so.
enum NoRoom<'p> {
    Disk(SmallDisk),
    Said(&'p Postgres),
}

impl<'p> NoRoom<'p> {
    /// Before the store is made.
    fn soon(postgres: &'p Postgres) -> NoRoom<'p> {
        let Some(disk) = SmallDisk::new() else { return NoRoom::Said(postgres) };
        let folder = disk.0.path().join("tables");
        let owner = std::fs::metadata(postgres.data()).unwrap();
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(owner.uid()), Some(owner.gid())).unwrap();
        let location = format!("CREATE TABLESPACE small LOCATION '{}'", folder.display());
        postgres.sql("postgres", &location);
        postgres.sql("postgres", "GRANT CREATE ON TABLESPACE small TO idpsyncd");
        postgres.sql("postgres", "ALTER ROLE idpsyncd SET default_tablespace = small");
        NoRoom::Disk(disk)
    }

    fn now(&self) {
        match self {
            NoRoom::Disk(disk) => disk.fill(),
            NoRoom::Said(postgres) => drop(postgres.sql(
                "idpsyncd",
                "CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
                 CREATE TRIGGER no_room BEFORE INSERT ON idpsyncd.\"user\" EXECUTE FUNCTION public.no_room()",
            )),
        }
    }

    fn no_more(&self) {
        match self {
            NoRoom::Disk(disk) => disk.make_room(),
            NoRoom::Said(postgres) => {
                drop(postgres.sql("idpsyncd", "DROP TRIGGER no_room ON idpsyncd.\"user\""));
            }
        }
    }
}

#[test]
fn a_run_for_which_the_databases_disk_has_no_room_says_so_and_has_changed_nothing() {
    let Some(postgres) = server() else { return };
    let room = NoRoom::soon(&postgres);
    let place = Place::new(&at(&[postgres.port]), "24h");
    place.sync(&["ann"]);
    room.now();
    let names: Vec<String> = (0..3000).map(|n| format!("u{n}")).collect();
    let realm = realm_export(names.iter().map(|name| (name.as_str(), true)));
    std::fs::write(place.home.path("realm.json"), realm).unwrap();
    let done = Done::of(&mut place.home.command(&["sync"])).exits(1);
    let told = done.err.contains("disk is full") && done.err.contains("nothing was changed");
    assert!(told, "{}", done.err);
    assert_eq!(generation(&postgres), "1");
    place.home.ok(&["authorize", "ann", "workflow:Read", "pool/a"], 0);
    room.no_more();
    place.sync(&["bob"]);
    assert_eq!(generation(&postgres), "2");
}
