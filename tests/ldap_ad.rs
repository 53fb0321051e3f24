//! The LDAP source against a real Active Directory: Samba's domain controller.
#![cfg(test)]

#[path = "support/samba.rs"]
mod samba;

#[test]
fn a_domain_controller_serves_what_was_loaded_and_says_why_it_refuses_a_bind() {
    let entries =
        [samba::user("alice", ""), samba::group("ml", &[samba::dn("alice")], "")].concat();
    let Some(dc) = samba::Samba::start(samba::AD, &entries) else { return };
    let alice = dc.search(&["(sAMAccountName=alice)", "objectGUID", "memberOf"]);
    assert!(alice.contains("objectGUID:: "), "{alice}");
    assert!(alice.contains(&format!("memberOf: {}\n", dc.dn("ml"))), "{alice}");
    dc.bind(&dc.upn(samba::ADMIN), samba::PASSWORD).unwrap();
    let refused = dc.bind(&dc.upn(samba::ADMIN), "wrong").unwrap_err();
    assert!(refused.contains("data 52e"), "{refused}");
}
