//! A standby is promoted that never had the last commits: the store goes back, and on from there.

use super::support::company::{gateway_at, store_at as at, store_server as server};
use super::support::gateways::send;
use super::support::idpsyncd::{Home, Idpsyncd};
use super::support::openldap::{OpenLdap, SUFFIX, group, group_dn, person, person_dn, tree};
use super::support::postgres::Postgres;
use super::support::server::free_port;
use super::{Place, generation};
use serde_json::Value;

#[test]
fn after_a_failover_that_lost_a_generation_gateways_follow_the_history_that_there_is() {
    let Some(mut primary) = server() else { return };
    let writer = Place::new(&at(&[primary.port]), "24h");
    writer.sync(&["ann"]);
    let standby = primary.standby();
    let both = at(&[primary.port, standby.port]);
    let (awake, asleep, writer) =
        (Place::new(&both, "24h"), Place::new(&both, "24h"), Place::new(&both, "24h"));
    let (mut one, mut other) = (awake.serve(), asleep.serve());
    standby.await_replayed(&primary);
    standby.detach();
    writer.sync(&["bob"]);
    awake.until(&mut one, "bob", 200);
    asleep.until(&mut other, "bob", 200);
    assert_eq!((generation(&primary), generation(&standby)), ("2".to_owned(), "1".to_owned()));

    // One sees the store go back, the other finds another generation under the number that it has.
    other.signal("STOP");
    primary.stop();
    standby.promote();
    awake.until(&mut one, "ann", 200);
    assert_eq!(awake.status("bob"), 403);
    writer.sync(&["ann", "cem"]);
    assert_eq!(generation(&standby), "2");
    other.signal("CONT");
    for (place, serving) in [(&awake, &mut one), (&asleep, &mut other)] {
        place.until(serving, "cem", 200);
        assert_eq!((place.status("ann"), place.status("bob")), (200, 403));
    }
    writer.sync(&["bob"]);
    awake.until(&mut one, "bob", 200);
}

/// It remembers who is gone.
const SYNCPROV: &str = "moduleload syncprov\nindex entryCSN eq\noverlay syncprov\n\
                        syncprov-sessionlog 1000\nsyncprov-checkpoint 1 1\n";

/// A daemon that follows a directory into the store of a primary that has a standby.
struct Followed {
    directory: OpenLdap,
    primary: Postgres,
    standby: Postgres,
    home: Home,
    port: u16,
    daemon: Idpsyncd,
}

impl Followed {
    /// One in whose directory these are, and the first of them are in its group.
    fn new(people: &[&str], members: usize) -> Option<Followed> {
        let of: Vec<String> = people[..members].iter().map(|uid| person_dn(uid)).collect();
        let all = people.iter().map(|uid| person(uid, ""));
        let ldif = [tree()].into_iter().chain(all).chain([group("ml", &of)]);
        let directory = OpenLdap::start(&ldif.collect::<String>(), SYNCPROV)?;
        let primary = server()?;
        let standby = primary.standby();
        let port = free_port();
        let home = Home::new(&format!(
            r#"
            [store]
            {}
            [schedule]
            cron = "0 0 0 1 1 *"
            [sync]
            on_missing = {{ after = "0s" }}
            [guard]
            max_lost_floor = 100
            [[source]]
            name = "corp"
            kind = "ldap"
            url = "{}"
            users = {{ base = "ou=people,{SUFFIX}", filter = "(objectClass=inetOrgPerson)", username = "uid" }}
            groups = {{ base = "ou=groups,{SUFFIX}", filter = "(objectClass=groupOfNames)", name = "cn" }}
            [roles.ml]
            [[roles.ml.policies]]
            actions = ["workflow:Read"]
            resources = ["*"]
            {}
            "#,
            at(&[primary.port, standby.port]),
            directory.url,
            gateway_at(port, ""),
        ));
        let mut daemon = home.start("run");
        daemon.until_logged("the gateway answers from generation");
        daemon.until_logged("source `corp` is followed");
        Some(Followed { directory, primary, standby, home, port, daemon })
    }

    fn members(&self, how: &str, of: &str) {
        let (group, person) = (group_dn("ml"), person_dn(of));
        self.directory.modify(&format!(
            "dn: {group}\nchangetype: modify\n{how}: member\nmember: {person}\n\n"
        ));
    }

    /// Waits until these are let in, of those that there were, and no others; whoever `stays` is all the while.
    fn until_let_in(&mut self, wanted: &[&str], all: &[&str], stays: &str) {
        let port = self.port;
        let may = |user: &str| send(port, "GET", b"/authz/a", &[("x-user", user)]).status == 200;
        self.daemon.until(&format!("{wanted:?} are let in"), || {
            assert!(may(stays), "{stays} has lost what nothing took");
            all.iter().all(|user| may(user) == wanted.contains(user)).then_some(())
        });
    }

    /// How far the source was followed, as the store at `server` has it.
    fn cursor(&self, server: &Postgres) -> String {
        server.sql("idpsyncd", "SELECT cursor FROM idpsyncd.source WHERE name = 'corp'")
    }
}

#[test]
fn what_a_feed_told_that_a_failover_lost_is_told_again() {
    let all = ["ann", "bob", "cem", "dan", "eve"];
    let Some(mut it) = Followed::new(&all, 3) else { return };
    it.until_let_in(&["ann", "bob", "cem"], &all, "ann");
    it.standby.await_replayed(&it.primary);
    it.standby.detach();

    // A member goes, one is deleted, one comes: the primary alone has it, and the feed has gone on from there.
    it.members("delete", "bob");
    it.directory.modify(&format!("dn: {}\nchangetype: delete\n\n", person_dn("cem")));
    it.members("add", "dan");
    it.until_let_in(&["ann", "dan"], &all, "ann");
    assert_ne!(it.cursor(&it.primary), it.cursor(&it.standby));
    let before = generation(&it.standby);

    // Nobody writes while neither can be written to; the directory goes on.
    it.primary.stop();
    it.members("add", "eve");
    it.standby.promote();
    it.until_let_in(&["ann", "dan", "eve"], &all, "ann");

    // And from there on.
    it.members("add", "bob");
    it.until_let_in(&["ann", "bob", "dan", "eve"], &all, "ann");
    it.members("delete", "dan");
    it.until_let_in(&["ann", "bob", "eve"], &all, "ann");

    // In the history of the server that leads each thing has happened once, what was lost with the other one too.
    assert!(generation(&it.standby) > before);
    let told: Value =
        serde_json::from_str(&it.home.ok(&["history", "--output", "json"], 0)).unwrap();
    let rows: Vec<&Value> = told.as_array().unwrap().iter().rev().collect();
    let of = |user: &str| -> Vec<&str> {
        let own = rows.iter().filter(|row| row["user"] == user && row["role"] == "ml");
        own.map(|row| row["change"].as_str().unwrap()).collect()
    };
    let (gained, lost) = ("grant-added", "grant-removed");
    assert_eq!(of("ann"), [gained]);
    assert_eq!(of("bob"), [gained, lost, gained]);
    assert_eq!(of("cem"), [gained, lost]);
    assert_eq!(of("dan"), [gained, lost]);
    assert_eq!(of("eve"), [gained]);
}
