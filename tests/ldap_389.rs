//! The LDAP source against a real 389 Directory Server.
#![cfg(test)]

#[path = "support/ds389.rs"]
mod ds389;

use ds389::*;

#[test]
fn a_389_keeps_what_was_added_over_a_restart_and_its_plugins_are_on() {
    let entries = [tree(), person("alice", ""), group("ml", &[person_dn("alice")])].concat();
    let Some(mut server) = Ds389::start(&entries) else { return };
    server.stop();
    assert!(server.start_again());
    let alice = server.search(&["(uid=alice)", "nsUniqueId", "memberOf"]);
    assert!(alice.contains("nsUniqueId: "), "{alice}");
    assert!(alice.contains(&format!("memberOf: {}\n", group_dn("ml"))), "{alice}");
    let root = server.search(&["-b", "", "-s", "base", "supportedControl", "lastChangeNumber"]);
    assert!(root.contains("supportedControl: 1.3.6.1.4.1.4203.1.9.1.1\n"), "{root}");
    assert!(!root.contains("lastChangeNumber: 0\n"), "{root}");
}
