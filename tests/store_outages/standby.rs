//! Gateways read from a standby, where it is not behind, does not hang and is not slow.

use std::time::Instant;

use super::Place;
use super::support::company::{store_at as at, store_server as server, store_url as url};
use super::support::idpsyncd::Idpsyncd;
use super::support::wire_proxy::{Trap, WireProxy};

#[test]
fn a_gateway_reads_from_a_standby_that_is_not_behind() {
    let Some(mut primary) = server() else { return };
    let writer = Place::new(&at(&[primary.port]), "24h");
    writer.sync(&["ann"]);
    let mut standby = primary.standby();
    let store = format!("{}\nread_url = \"{}\"", at(&[primary.port]), url(&[standby.port]));
    let place = Place::new(&store, "24h");
    let mut serving = place.serve();
    place.until(&mut serving, "ann", 200);
    let from = |serving: &mut Idpsyncd, from: &str| {
        serving.until(from, || place.ready().contains(from).then_some(()));
    };
    writer.sync(&["bob"]);
    place.until(&mut serving, "bob", 200);
    assert_eq!(place.status("ann"), 403);
    from(&mut serving, "(standby)");

    // Behind: the primary is read, and nobody is let in who was in before.
    standby.sql("postgres", "SELECT pg_wal_replay_pause()");
    writer.sync(&["cem"]);
    place.until(&mut serving, "cem", 200);
    assert_eq!(place.status("bob"), 403);
    from(&mut serving, "(primary)");
    primary.stop();
    serving.until_logged("cannot reach the store");
    assert_eq!((place.status("bob"), place.status("cem")), (403, 200), "{}", place.ready());

    // Not behind any more, and all that there is.
    primary.start_again();
    standby.sql("postgres", "SELECT pg_wal_replay_resume()");
    writer.sync(&["ann"]);
    place.until(&mut serving, "ann", 200);
    from(&mut serving, "(standby)");
    standby.await_replayed(&primary);
    primary.stop();
    let alone = Place::new(&store, "24h");
    let mut starts = alone.serve();
    alone.until(&mut starts, "ann", 200);
    assert!(alone.ready().contains("(standby)"), "{}", alone.ready());
    standby.stop();
    assert_eq!(place.status("ann"), 200);
}

#[test]
fn a_standby_that_hangs_in_the_middle_of_a_read_keeps_nobody_from_what_the_primary_has() {
    let Some(primary) = server() else { return };
    let writer = Place::new(&at(&[primary.port]), "24h");
    writer.sync(&["ann"]);
    let standby = primary.standby();
    let proxy = WireProxy::before(standby.port);
    let store = format!("{}\nread_url = \"{}\"", at(&[primary.port]), url(&[proxy.port]));
    let place = Place::new(&store, "24h");
    let mut serving = place.serve();
    place.until(&mut serving, "ann", 200);
    serving.until("(standby)", || place.ready().contains("(standby)").then_some(()));
    // It answers that it has the generation, and then no more: what brought people is asked of the primary.
    proxy.set(b"history_told", Trap::Hangs);
    writer.sync(&["bob"]);
    proxy.await_sprung();
    let began = Instant::now();
    place.until(&mut serving, "bob", 200);
    eprintln!("the primary is read after {} ms", began.elapsed().as_millis());
    assert_eq!(place.status("ann"), 403);
    serving.until("(primary)", || place.ready().contains("(primary)").then_some(()));
    // The next change does not wait for it either; and it is read again once it answers.
    writer.sync(&["ann"]);
    place.until(&mut serving, "ann", 200);
    proxy.open();
    serving.until("(standby)", || {
        writer.sync(&["bob"]);
        place.ready().contains("(standby)").then_some(())
    });
    place.until(&mut serving, "bob", 200);
}

/// Makes what followers are told take as long as the standby is one, where it is asked there.
const SLOW: &str = "CREATE FUNCTION public.at_a_primary() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
      WHILE pg_is_in_recovery() LOOP PERFORM pg_sleep(0.05); END LOOP; RETURN true; END $$; \
    CREATE OR REPLACE VIEW idpsyncd.history_told AS SELECT num, \"user\", kind, \
      CASE WHEN kind IN (4, 16) THEN old END AS old, CASE WHEN kind = 16 THEN note END AS note \
      FROM idpsyncd.history WHERE public.at_a_primary()";
const QUICK: &str = "CREATE OR REPLACE FUNCTION public.at_a_primary() RETURNS boolean LANGUAGE sql AS 'SELECT true'";

#[test]
fn a_standby_that_is_slow_at_what_a_change_brought_keeps_nobody_from_what_the_primary_has() {
    let Some(primary) = server() else { return };
    let writer = Place::new(&at(&[primary.port]), "24h");
    writer.sync(&["ann"]);
    let standby = primary.standby();
    let store = format!("{}\nread_url = \"{}\"", at(&[primary.port]), url(&[standby.port]));
    let place = Place::new(&store, "24h");
    let mut serving = place.serve();
    place.until(&mut serving, "ann", 200);
    serving.until("(standby)", || place.ready().contains("(standby)").then_some(()));
    // It has all that was committed, and works at what it is asked for as long as anybody waits.
    primary.sql("idpsyncd", SLOW);
    standby.await_replayed(&primary);
    writer.sync(&["bob"]);
    place.until(&mut serving, "bob", 200);
    assert_eq!(place.status("ann"), 403);
    serving.until_logged("the standby was not read");
    serving.until("(primary)", || place.ready().contains("(primary)").then_some(()));
    // Nothing is left under way there.
    let at_work = "SELECT count(*) = 0 FROM pg_stat_activity \
                   WHERE query LIKE '%history_told%' AND state = 'active' AND pid <> pg_backend_pid()";
    standby.await_true(at_work);
    // The next change is read from it once it is quick again.
    primary.sql("idpsyncd", QUICK);
    serving.until("(standby)", || {
        writer.sync(&["ann"]);
        place.ready().contains("(standby)").then_some(())
    });
    place.until(&mut serving, "ann", 200);
    assert_eq!(place.status("bob"), 403);
}

#[test]
fn all_that_there_is_is_read_from_a_standby_however_slow_it_is() {
    let Some(primary) = server() else { return };
    let writer = Place::new(&at(&[primary.port]), "24h");
    writer.sync(&["ann", "bob", "cem"]);
    let standby = primary.standby();
    // Each of three people takes it a second, so the answer more than is waited for without a look.
    primary.sql(
        "idpsyncd",
        "CREATE FUNCTION public.slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
           IF pg_is_in_recovery() THEN PERFORM pg_sleep(1); END IF; RETURN true; END $$; \
         ALTER TABLE idpsyncd.\"user\" ENABLE ROW LEVEL SECURITY; \
         ALTER TABLE idpsyncd.\"user\" FORCE ROW LEVEL SECURITY; \
         CREATE POLICY slow ON idpsyncd.\"user\" USING (public.slow())",
    );
    standby.await_replayed(&primary);
    let store = format!("{}\nread_url = \"{}\"", at(&[primary.port]), url(&[standby.port]));
    // On a busy machine one that starts may turn to the primary before the standby has said what it has.
    loop {
        let place = Place::new(&store, "24h");
        let mut serving = place.serve();
        place.until(&mut serving, "ann", 200);
        assert!(!serving.log().contains("the standby was not read"), "{}", serving.log());
        if place.ready().contains("(standby)") {
            break;
        }
    }
}

#[test]
fn check_says_what_is_amiss_with_the_standby_that_is_to_be_read() {
    let (Some(primary), Some(other)) = (server(), server()) else { return };
    let writer = Place::new(&at(&[primary.port]), "24h");
    writer.sync(&["ann"]);
    Place::new(&at(&[other.port]), "24h").sync(&["ann"]);
    let standby = primary.standby();
    let checked = |read: u16| {
        let store = format!("{}\nread_url = \"{}\"", at(&[primary.port]), url(&[read]));
        let told = Place::new(&store, "24h").home.ok(&["check", "--output", "json"], 0);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let found = told["diagnostics"].as_array().unwrap().iter();
        let found = found.filter(|it| it["code"] == "standby-unread");
        found.map(|it| it["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(checked(standby.port), Vec::<String>::new());
    standby.sql("postgres", "SELECT pg_wal_replay_pause()");
    writer.sync(&["bob"]);
    for (read, why) in [
        (standby.port, "it has not had within 500 ms what the primary had"),
        (other.port, "it is no standby of that server"),
        (1, "cannot reach the store"),
    ] {
        let told = checked(read);
        assert!(matches!(&told[..], [one] if one.contains(why)), "{why}: {told:?}");
    }
}
