//! Primary groups some of whose members are hidden: hidden is not gone.

use idpsyncd::source::ldap::{LdapConfig, LdapGroups};

use crate::kit::{World, change, is_in};
use crate::support::samba::Samba;
use crate::{By, grant, moved, ordinary, place, settle, start};

const USERS: &str = "CN=Domain Users,CN=Users,SUFFIX";

/// A domain whose `Domain Users` are followed.
fn world(by: By) -> Option<(Samba, World)> {
    let dc = start("")?;
    grant(&dc, by);
    let config = ordinary(&dc);
    let whole = dc.full("SUFFIX");
    let groups = config.groups.clone().map(|groups| LdapGroups { base: whole, ..groups });
    let world = World::new(LdapConfig { groups, ..config });
    Some((dc, world))
}

fn touch(dc: &Samba, group: &str, text: &str) {
    dc.modify(&change(group, &format!("replace: description\ndescription: {text}\n")));
}

#[test]
fn who_is_hidden_altogether_stays_and_who_is_seen_to_leave_leaves() {
    let Some((dc, mut world)) = world(By::Numbers) else { return };
    let users = dc.full(USERS);
    let told = dc.search(&["(sAMAccountName=ml)", "primaryGroupToken"]);
    let token = told.lines().find(|line| line.starts_with("primaryGroupToken: ")).unwrap();
    let token = token.replace("primaryGroupToken", "primaryGroupID");
    dc.modify(&change(&place("bob"), &format!("replace: primaryGroupID\n{token}\n")));
    settle(&dc, &mut world);
    dc.grant(&place("alice"), "reader", "(D;;RPLCLO;;;WHO)");
    dc.modify(&change(USERS, &format!("delete: member\nmember: {}\n", place("bob"))));
    world.until("left", |facts| !is_in(facts, &users, "bob"));
    assert!(world.is_in(&users, "alice") && world.is_in(&users, "carol"));
    // Out of the base, and told so.
    dc.modify(&moved(&place("carol"), "CN=carol", "OU=out,SUFFIX"));
    touch(&dc, USERS, "y");
    world.until("left", |facts| !is_in(facts, &users, "carol"));
    assert!(world.is_in(&users, "alice"));
    assert_eq!(world.reads, []);
}
