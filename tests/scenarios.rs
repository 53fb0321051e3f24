//! The whole program on real servers: what happens to a company in its Keycloak or its OpenLDAP,
//! and what the real binary makes of it in the store that a gateway reads.
//!
//! Each story is told once and lived on both kinds of server.
#![cfg(test)]

mod support;

#[path = "scenarios"]
mod parts {
    pub mod gate;
    pub mod home;
    pub mod world;
}

use parts::gate::Gate;
use parts::home::{Home, Options};
use parts::world::{Kc, Ldap, World};
use support::kc_slapd::{Slapd, federate};
use support::keycloak::RIGHTS;
use support::openldap::SUFFIX;

/// What the four people hold at first.
const AT_FIRST: [(&str, &str); 4] =
    [("ann", "ml"), ("bob", "ml"), ("cay", "ops opsmate"), ("dan", "")];

/// A home that reads `world`. The `floor` is how many lost pairs never hold.
fn home(world: &impl World, after: &str, floor: u32) -> Home {
    home_at(world, world.port(), after, floor)
}

fn home_at(world: &impl World, port: u16, after: &str, floor: u32) -> Home {
    let ops = world.identity("ops");
    Home::new(&world.source_at(port), &world.secret(), Options { after, floor, ops: &ops })
}

/// Lives a story on both kinds of server.
macro_rules! on_both {
    ($story:ident) => {
        mod $story {
            #[test]
            fn on_keycloak() {
                let Some(world) = super::Kc::start(stringify!($story)) else { return };
                super::$story(world);
            }

            #[test]
            fn on_openldap() {
                let Some(world) = super::Ldap::start(stringify!($story)) else { return };
                super::$story(world);
            }
        }
    };
}

on_both!(a_second_sync_of_the_same_company_writes_the_time_of_its_reads_and_nothing_else);

fn a_second_sync_of_the_same_company_writes_the_time_of_its_reads_and_nothing_else(
    world: impl World,
) {
    world.people();
    let home = home(&world, "1h", 20);
    let dry = home.run(&["sync", "--dry-run", "--detailed-exitcode", "--output", "json"]);
    let dry = dry.report(2);
    assert!(!home.has_store(), "a dry run makes none");

    let first = home.sync(0);
    assert_eq!(first.0["generation"], 1);
    assert_eq!(first.changes(), dry.changes(), "what the dry run said");
    assert!(first.changes().contains(&"grant-added ann ml".to_owned()), "{:?}", first.changes());
    home.assert_roles(&AT_FIRST);
    assert!(home.may("ann") && !home.may("dan"));

    let (views, tables, read_at) = (home.views(), home.tables(), home.read_at());
    let second = home.sync(0);
    assert!(second.is_quiet(), "{}", second.0);
    assert_eq!(second.0["generation"], 1);
    assert_eq!(home.views(), views, "generation and time of application too");
    assert_eq!(home.tables(), tables);
    assert!(home.read_at() >= read_at);
}

on_both!(people_join_leave_are_disabled_renamed_deleted_and_made_again);

/// In two homes at once: in one, who is gone is gone; in the other only after an hour.
fn people_join_leave_are_disabled_renamed_deleted_and_made_again(world: impl World) {
    world.people();
    let (at_once, later) = (home(&world, "0s", 20), home(&world, "1h", 20));
    let both = [&at_once, &later];
    for home in both {
        home.sync(0);
        home.assert_roles(&AT_FIRST);
        let grant = ["grant", "add", "bob", "oncall", "--reason", "holds the pager"];
        let granted = home.run(&grant);
        assert_eq!(granted.status, 0, "{}", granted.err);
    }

    world.join("dan", "ml");
    for home in both {
        assert_eq!(home.sync(0).changes(), ["grant-added dan ml"]);
        assert!(home.may("dan"));
        let path = &home.explain("dan")["grants"][0]["reasons"][0]["path"];
        let ml = world.identity("ml");
        assert!(path.to_string().contains(&ml), "{path} names {ml}");
    }

    world.leave("dan", "ml");
    for home in both {
        assert_eq!(home.sync(0).changes(), ["grant-removed dan ml not-at-idp"]);
        assert!(!home.may("dan"));
    }

    world.set_enabled("bob", false);
    for home in both {
        assert_eq!(home.sync(0).changes(), ["user-disabled bob"]);
        home.assert_roles(&[("ann", "ml"), ("cay", "ops opsmate"), ("dan", "")]);
        assert!(!home.may("bob"));
        assert_eq!(home.explain("bob")["status"], "disabled");
        assert_eq!(home.grants("bob"), ["ml:idp", "oncall:local"], "kept for the return");
    }

    world.set_enabled("bob", true);
    for home in both {
        assert_eq!(home.sync(0).changes(), ["user-enabled bob"]);
        assert!(home.may("bob"));
        assert_eq!(home.roles()["bob"], "ml oncall");
    }

    world.rename("bob", "robert");
    for home in both {
        assert_eq!(home.sync(0).changes(), ["user-renamed robert"]);
        let roles = [("ann", "ml"), ("cay", "ops opsmate"), ("dan", ""), ("robert", "ml oncall")];
        home.assert_roles(&roles);
        assert!(home.may("robert"));
    }

    world.fire("ann");
    let report = at_once.sync(0);
    assert_eq!(
        report.changes(),
        ["grant-removed ann ml user-gone", "user-deprovisioned ann user-gone"]
    );
    at_once.assert_roles(&[("cay", "ops opsmate"), ("dan", ""), ("robert", "ml oncall")]);
    assert!(!at_once.may("ann"));
    let report = later.sync(0);
    assert_eq!(report.changes(), ["user-missing ann"]);
    assert!(report.0["next_due"].is_string(), "the hour ends by itself: {}", report.0);
    assert_eq!(later.explain("ann")["status"], "missing");
    assert!(later.may("ann"), "not yet");

    // Someone else gets robert's name, and a place in the team of his own.
    world.fire("robert");
    world.hire("robert");
    for home in both {
        let old = home.explain("robert");
        let report = home.sync(0);
        let warnings = report.warnings();
        assert!(
            warnings.contains("`robert` belongs to another person now"),
            "reported: {warnings}"
        );
        assert_eq!(home.roles()["robert"], "", "neither the team nor the pager passes over");
        assert!(!home.may("robert"));
        let new = home.explain("robert");
        assert_ne!(new["user_id"], old["user_id"]);
        assert_ne!(new["links"], old["links"]);
        assert_eq!(home.grants("robert"), [""; 0]);
    }
    world.join("robert", "ml");
    for home in both {
        home.sync(0);
        assert_eq!(home.roles()["robert"], "ml", "the team that is the newcomer's own");
    }
}

on_both!(groups_are_renamed_moved_and_deleted);

/// In two homes at once: in one, few losses never hold; in the other, any.
fn groups_are_renamed_moved_and_deleted(world: impl World) {
    world.people();
    let (lenient, strict) = (home(&world, "1h", 20), home(&world, "1h", 0));
    for home in [&lenient, &strict] {
        home.sync(0);
        home.assert_roles(&AT_FIRST);
    }
    // What the lenient home loses waits in the strict one, changes nothing there, and happens when
    // somebody says so.
    let lost = |wanted: &[&str]| {
        let report = lenient.sync(0);
        assert_eq!(report.changes(), wanted);
        // A rule that reaches nothing any more.
        assert!(report.warnings().contains("`ml`"), "{}", report.0);
        let views = strict.views();
        let report = strict.sync(3);
        assert_eq!(report.held(), wanted);
        assert_eq!(report.changes(), [""; 0]);
        assert_eq!(strict.views(), views);
        let id = report.0["held"]["id"].as_str().unwrap().to_owned();
        assert_eq!(strict.sync(3).0["held"]["id"], id.as_str(), "the same plan, the same id");
        id
    };
    let approve = |id: String| {
        let shown = strict.run(&["plan", "show", "--output", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(shown["id"], id.as_str());
        let approved = strict.run(&["plan", "approve", &id]);
        assert_eq!(approved.status, 0, "{}", approved.err);
        assert!(strict.sync(0).is_quiet());
        assert_eq!(strict.roles(), lenient.roles());
    };

    world.rename_group("ml", "team");
    let id = lost(&["grant-removed ann ml not-at-idp", "grant-removed bob ml not-at-idp"]);
    // Nothing has changed since, and whoever asks is still told.
    let dry = lenient.run(&["sync", "--dry-run", "--output", "json"]).report(0);
    assert!(dry.is_quiet() && dry.warnings().contains("`ml`"), "{}", dry.0);
    assert!(lenient.run(&["check"]).out.contains("`ml`"), "so does check");
    let dry = strict.run(&["sync", "--dry-run", "--output", "json"]).report(3);
    assert_eq!(dry.0["held"]["id"], id.as_str(), "and what waits, waits");
    lenient.assert_roles(&[("ann", ""), ("bob", ""), ("cay", "ops opsmate"), ("dan", "")]);
    approve(id);

    world.rename_group("team", "ml");
    for home in [&lenient, &strict] {
        assert_eq!(home.sync(0).changes(), ["grant-added ann ml", "grant-added bob ml"]);
        home.assert_roles(&AT_FIRST);
    }

    // Its bare name goes along, its whole identity does not.
    world.move_group("ops");
    let views = strict.views();
    let changes = ["grant-removed cay ops not-at-idp"];
    let mine = |list: Vec<String>| list.into_iter().filter(|it| !it.starts_with("grant-reasons"));
    assert!(mine(lenient.sync(0).changes()).eq(changes));
    lenient.assert_roles(&[("ann", "ml"), ("bob", "ml"), ("cay", "opsmate"), ("dan", "")]);
    let report = strict.sync(3);
    assert!(mine(report.held()).eq(changes));
    assert_eq!(strict.views()["gateway_user_role"], views["gateway_user_role"]);
    approve(report.0["held"]["id"].as_str().unwrap().to_owned());

    world.dissolve("ml");
    lost(&["grant-removed ann ml not-at-idp", "grant-removed bob ml not-at-idp"]);
    lenient.assert_roles(&[("ann", ""), ("bob", ""), ("cay", "opsmate"), ("dan", "")]);
    // Somebody sees the mistake, and makes the group again before anybody approves.
    world.found("ml");
    world.join("ann", "ml");
    world.join("bob", "ml");
    assert!(strict.sync(0).is_quiet());
    strict.assert_roles(&[("ann", "ml"), ("bob", "ml"), ("cay", "opsmate"), ("dan", "")]);
    assert_eq!(strict.run(&["plan", "show", "--output", "json"]).out.trim(), "null");
    lenient.sync(0);
    assert_eq!(lenient.roles(), strict.roles());
}

on_both!(a_server_that_stops_in_mid_read_takes_nothing_away);

fn a_server_that_stops_in_mid_read_takes_nothing_away(mut world: impl World) {
    world.people();
    for n in 0..12 {
        let user = format!("u{n:02}");
        world.hire(&user);
        world.join(&user, if n % 2 == 0 { "ml" } else { "ops" });
    }
    let gate = Gate::to(world.port());
    // No mercy: whatever looks gone is gone at once, and nothing is held.
    let home = home_at(&world, gate.port, "0s", 1000);
    home.sync(0);
    assert_eq!(home.roles().len(), 16);
    gate.hold_after(u64::MAX);
    assert!(home.sync(0).is_quiet());
    let (views, whole) = (home.views(), gate.passed());
    assert!(whole > 2000, "a read that long can be stopped in its middle");

    let places = 6;
    for place in 1..places {
        gate.hold_after(whole * place / places);
        let sync = home.start_sync();
        gate.await_holding();
        let stops = place == places / 2;
        if stops {
            world.stop();
        }
        gate.cut();
        let report = sync.end().report(4);
        assert!(!report.trouble().is_empty(), "{}", report.0);
        assert!(report.is_quiet(), "after {place}/{places}: {}", report.0);
        assert_eq!(home.views(), views, "after {place}/{places}");
        gate.open();
        if stops {
            let report = home.sync(4);
            assert!(report.0["sources"][0]["status"] == "failed", "{}", report.0);
            assert_eq!(home.views(), views, "while it is down");
            world.start();
        }
        assert!(home.sync(0).is_quiet());
        assert_eq!(home.views(), views, "it is back");
    }
}

on_both!(a_server_that_is_down_is_told_with_its_address);

/// Asked for an address where nobody listens: as a stopped server, without stopping Keycloak.
fn a_server_that_is_down_is_told_with_its_address(world: impl World) {
    world.people();
    let home = home(&world, "0s", 1000);
    home.sync(0);
    let views = home.views();
    let ops = world.identity("ops");
    let options = Options { after: "0s", floor: 1000, ops: &ops };
    let nobody = support::server::free_port();
    home.configure(&world.source_at(nobody), options);
    let trouble = home.sync(4).trouble();
    for part in [&format!("127.0.0.1:{nobody}"), "refused"] {
        assert!(trouble.contains(part), "`{part}` in: {trouble}");
    }
    assert_eq!(home.views(), views);
    // It is given a chance to come back, and is not besieged.
    let gate = Gate::to(nobody);
    home.configure(&world.source_at(gate.port), options);
    home.sync(4);
    assert!((1..=5).contains(&gate.clients()), "{} attempts", gate.clients());
    assert_eq!(home.views(), views);
    home.configure(&world.source(), options);
    assert!(home.sync(0).is_quiet());
    assert_eq!(home.views(), views);
}

/// A sync that must fail, change nothing, and say all of `parts`; and a check that says no less.
fn refused(home: &Home, parts: &[&str]) {
    let views = home.views();
    let report = home.sync(4);
    let trouble = report.trouble();
    let check = home.run(&["check"]);
    for part in parts {
        assert!(trouble.contains(part), "`{part}` in: {trouble}");
    }
    assert_eq!(check.status, 1, "check fails too: {}{}", check.out, check.err);
    assert!(report.is_quiet(), "{}", report.0);
    assert_eq!(home.views(), views);
    // The same for people.
    let text = home.run(&["sync"]);
    assert_eq!(text.status, 4);
    assert!(text.out.contains("takes nothing away"), "{}", text.out);
}

on_both!(a_wrong_secret_and_a_wrong_place_are_told_so_that_they_can_be_mended);

fn a_wrong_secret_and_a_wrong_place_are_told_so_that_they_can_be_mended(world: impl World) {
    world.people();
    let mut home = home(&world, "0s", 1000);
    home.sync(0);
    let ops = world.identity("ops");
    let options = Options { after: "0s", floor: 1000, ops: &ops };
    let keycloak = world.source().contains("realm");

    home.secret("hunter-two-of-the-wrong-one");
    refused(&home, &[if keycloak { "`client_secret`" } else { "`bind_password`" }]);
    home.secret(&world.secret());
    assert!(home.sync(0).is_quiet());

    for misplaced in world.misplaced() {
        home.configure(&misplaced, options);
        let place = if keycloak { "nowhere" } else { "`ou=nowhere," };
        refused(&home, &[place, if keycloak { "`realm" } else { "`base`" }]);
    }
    home.configure(&world.source(), options);
    assert!(home.sync(0).is_quiet());
    home.assert_roles(&AT_FIRST);
}

#[test]
fn a_missing_right_at_keycloak_is_named() {
    let Some(world) = Kc::start("a_missing_right") else { return };
    world.people();
    let home = home(&world, "0s", 1000);
    home.sync(0);
    let account = format!("users/{}", world.account());
    for name in RIGHTS {
        let right = world.realm().right(name);
        world.realm().take(&account, &right);
        refused(&home, &[&format!("`{name}`"), "service account"]);
        world.realm().give(&account, &right);
        assert!(home.sync(0).is_quiet());
    }
    home.assert_roles(&AT_FIRST);
}

#[test]
fn a_missing_right_at_openldap_is_named() {
    let Some(mut world) = Ldap::start("a_missing_right_at_openldap_is_named") else { return };
    world.people();
    let home = home(&world, "0s", 1000);
    home.sync(0);
    let conf = world.server.dir.path().join("slapd.conf");
    let whole = std::fs::read_to_string(&conf).unwrap();
    let (before, overlay) = whole.split_once("overlay ").unwrap();
    let reader = format!("dn.exact=\"cn=reader,ou=services,{SUFFIX}\"");
    for (what, part) in [
        (format!("dn.subtree=\"ou=groups,{SUFFIX}\""), "access"),
        (format!("dn.subtree=\"ou=people,{SUFFIX}\""), "access"),
        ("attrs=member".to_owned(), "`member`"),
        ("attrs=entryUUID".to_owned(), "`entryUUID`"),
    ] {
        let rule = format!("access to {what} by {reader} none\naccess to * by * read\n");
        world.stop();
        std::fs::write(&conf, format!("{before}{rule}overlay {overlay}")).unwrap();
        world.start();
        refused(&home, &[part]);
        world.stop();
        std::fs::write(&conf, &whole).unwrap();
        world.start();
        assert!(home.sync(0).is_quiet());
    }
    home.assert_roles(&AT_FIRST);
}

#[test]
fn an_openldap_that_is_down_behind_keycloak_takes_nothing_away() {
    let test = "an_openldap_that_is_down_behind_keycloak_takes_nothing_away";
    let Some(world) = Kc::start(test) else { return };
    let groups: [(&str, &[&str]); 2] = [("ml", &["ann", "bob"]), ("ops", &["cay"])];
    let Some(mut slapd) = Slapd::start(&["ann", "bob", "cay", "dan"], &groups) else {
        return support::skip::skip(test, "slapd is not installed");
    };
    federate(&world.realm(), &slapd, true, "READ_ONLY");
    world.hire("eve");
    world.join("eve", "ml");
    let mut everyone = AT_FIRST.to_vec();
    everyone.push(("eve", "ml"));
    // No mercy: whatever looks gone is gone at once, and nothing is held.
    let home = home(&world, "0s", 1000);
    home.sync(0);
    home.assert_roles(&everyone);
    let views = home.views();

    slapd.stop();
    // At first Keycloak remembers the people, then it has forgotten them too.
    for forget in [false, true] {
        if forget {
            world.realm().call("POST", "/clear-user-cache", None);
        }
        let report = home.sync(4);
        assert!(report.trouble().contains("federation `ldap`"), "{}", report.trouble());
        assert!(report.is_quiet(), "{}", report.0);
        assert_eq!(home.views(), views);
    }
    // What Keycloak itself knows goes on.
    world.hire("fay");
    let report = home.sync(4);
    assert_eq!(report.changes(), ["user-created fay"]);
    everyone.push(("fay", ""));
    home.assert_roles(&everyone);

    slapd.start_again();
    assert!(home.sync(0).is_quiet());
    home.assert_roles(&everyone);
}
