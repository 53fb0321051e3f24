//! Random changes, told while they are made and after restarts and outages of the server and of the
//! follower. What leads to a full read may; what is told must never be wrong.

use idpsyncd::source::feed::WhyFull;
use idpsyncd::source::ldap::LdapConfig;

use crate::changes;
use crate::dynamic::{CLASSES, GROUPS};
use crate::kit::{Shaken, World, change};
use crate::support::{ds389, ldap, openldap};
use crate::{NO_LOG, REFINT, SYNCPROV};

impl Shaken for openldap::OpenLdap {
    const MOST: usize = 100;

    fn some(random: &mut fastrand::Rng) -> String {
        changes::some(random)
    }

    fn attempt(&self, changes: &str, _: &mut fastrand::Rng) {
        changes::attempt(&self.url, openldap::ROOT_DN, openldap::ROOT_PASSWORD, changes);
    }

    fn goes_away_and_comes_back(&mut self) {
        self.kill();
        assert!(self.start_again());
    }

    fn settle(&self, world: &mut World) {
        world.settle_by(|n| self.modify(&marked(n)));
    }
}

impl Shaken for ds389::Ds389 {
    const MOST: usize = 100;

    fn some(random: &mut fastrand::Rng) -> String {
        changes::some(random)
    }

    fn attempt(&self, changes: &str, _: &mut fastrand::Rng) {
        changes::attempt(&self.url, ds389::ROOT_DN, ds389::ROOT_PASSWORD, changes);
    }

    fn goes_away_and_comes_back(&mut self) {
        self.kill();
        assert!(self.start_again());
    }

    fn settle(&self, world: &mut World) {
        world.settle_by(|n| self.modify(&marked(n)));
    }
}

fn marked(n: u32) -> String {
    change(&openldap::person_dn("mark"), &format!("replace: mail\nmail: {n}\n"))
}

fn no_drift(seed: u64, rounds: u32, server: &mut impl Shaken, mut config: LdapConfig) {
    config.users.filter = "(&(objectClass=inetOrgPerson)(!(employeeType=external)))".to_owned();
    config.groups.as_mut().unwrap().filter = GROUPS.to_owned();
    let mut world = World::new(config);
    world.shake(seed, rounds, server);
    let expected =
        |why: &WhyFull| matches!(why, WhyFull::NoSessionLog | WhyFull::Newer | WhyFull::Moved(_));
    assert!(world.reads.iter().all(expected), "{:?}", world.reads);
    assert!(world.deltas > 3 * world.reads.len(), "{:?}", world.reads);
}

fn no_drift_on_openldap(seed: u64, conf: &str) {
    let beginning = changes::beginning(openldap::tree());
    let conf = format!("{CLASSES}{conf}");
    let Some(mut server) = openldap::OpenLdap::start(&beginning, &conf) else { return };
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
