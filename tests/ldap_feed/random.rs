//! Random changes, told while they are made and after restarts and outages of the server and of the
//! follower. What leads to a full read may; what is told must never be wrong.

use std::time::Duration;

use idpsyncd::source::feed::WhyFull;
use idpsyncd::source::ldap::LdapConfig;

use crate::changes;
use crate::kit::{World, change};
use crate::support::{ds389, ldap, openldap};
use crate::{NO_LOG, REFINT, SYNCPROV};

/// A server that can go away.
trait Server {
    fn url(&self) -> &str;
    fn root(&self) -> (&'static str, &'static str);
    fn modify(&self, changes: &str);
    fn goes_away_and_comes_back(&mut self);
}

impl Server for openldap::OpenLdap {
    fn url(&self) -> &str {
        &self.url
    }

    fn root(&self) -> (&'static str, &'static str) {
        (openldap::ROOT_DN, openldap::ROOT_PASSWORD)
    }

    fn modify(&self, changes: &str) {
        self.modify(changes);
    }

    fn goes_away_and_comes_back(&mut self) {
        self.kill();
        assert!(self.start_again());
    }
}

impl Server for ds389::Ds389 {
    fn url(&self) -> &str {
        &self.url
    }

    fn root(&self) -> (&'static str, &'static str) {
        (ds389::ROOT_DN, ds389::ROOT_PASSWORD)
    }

    fn modify(&self, changes: &str) {
        self.modify(changes);
    }

    fn goes_away_and_comes_back(&mut self) {
        self.kill();
        assert!(self.start_again());
    }
}

fn no_drift(seed: u64, rounds: u32, server: &mut impl Server, mut config: LdapConfig) {
    config.users.filter = "(&(objectClass=inetOrgPerson)(!(employeeType=external)))".to_owned();
    let mut world = World::new(config);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut made = 0;
    for round in 0..rounds {
        let outage = random.u8(0..6) == 0;
        let restart = random.u8(0..6) == 0;
        if restart {
            world.following = None;
        }
        let count = random.usize(1..100);
        made += count;
        let some: String = (0..count).map(|_| changes::some(&mut random)).collect();
        let (url, (dn, password)) = (server.url().to_owned(), server.root());
        let at_work = std::thread::spawn(move || changes::attempt(&url, dn, password, &some));
        while !at_work.is_finished() && world.following.is_some() {
            world.next(Duration::from_millis(5));
        }
        at_work.join().unwrap();
        if outage {
            server.goes_away_and_comes_back();
        }
        if restart {
            world.restart();
        }
        let mark = |n: u32| {
            let mail = format!("replace: mail\nmail: {n}\n");
            server.modify(&change(&openldap::person_dn("mark"), &mail));
        };
        world.settle_by(mark);
        let drift = world.drift();
        assert!(drift.is_empty(), "seed {seed}, round {round}: {drift:#?} {:?}", world.reads);
    }
    println!("seed {seed}: {made} changes, {} deltas, full reads {:?}", world.deltas, world.reads);
    let expected =
        |why: &WhyFull| matches!(why, WhyFull::NoSessionLog | WhyFull::Newer | WhyFull::Moved(_));
    assert!(world.reads.iter().all(expected), "{:?}", world.reads);
    assert!(world.deltas > 3 * world.reads.len(), "{:?}", world.reads);
}

fn no_drift_on_openldap(seed: u64, conf: &str) {
    let beginning = changes::beginning(openldap::tree());
    let Some(mut server) = openldap::OpenLdap::start(&beginning, conf) else { return };
    let config = ldap::reader(&server);
    no_drift(seed, 20, &mut server, config);
}

#[test]
fn there_is_no_drift_where_the_server_mends_groups() {
    no_drift_on_openldap(1, &format!("{SYNCPROV}{REFINT}"));
}

#[test]
fn there_is_no_drift_where_nobody_mends_groups() {
    no_drift_on_openldap(2, SYNCPROV);
}

#[test]
fn there_is_no_drift_without_a_session_log() {
    no_drift_on_openldap(3, NO_LOG);
}

#[test]
fn there_is_no_drift_on_389_ds() {
    let beginning = changes::beginning(ds389::tree());
    let Some(mut server) = ds389::Ds389::start(&beginning) else { return };
    let config = crate::ds389::reader(&server);
    no_drift(11, 14, &mut server, config);
}
