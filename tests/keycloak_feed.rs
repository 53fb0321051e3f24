//! A realm of a real Keycloak followed by its events: what each kind of change comes to, and that the
//! mirror is row by row what a full read would say.

#![cfg(test)]

mod support;

#[path = "keycloak_feed/faults.rs"]
mod faults;
#[path = "keycloak_feed/kit.rs"]
mod kit;
#[path = "keycloak_feed/organizations.rs"]
mod organizations;

use faults::Faulty;
use idpsyncd::directory::{Interest, ListChange};
use idpsyncd::source::feed::{Mark, NotFollowed, Start, WhyFull};
use idpsyncd::source::keycloak::KeycloakConfig;
use kit::Followed;
use serde_json::{Value, json};
use support::kc_snapshot::{Everything, Named, config};
use support::keycloak::{Keycloak, RIGHTS, Realm};
use support::meddle::Meddler;

const SECRET: &str = "s3cr3t-of-the-reader";

/// A realm that keeps its admin events, with a reader who may see them.
fn realm<'k>(keycloak: &'k Keycloak, name: &str) -> (Realm<'k>, KeycloakConfig) {
    let realm = keycloak.realm(name);
    realm.put("", &json!({"adminEventsEnabled": true}));
    realm.reader("idpsyncd", SECRET, &[&RIGHTS[..], &["view-events"]].concat());
    let mut config = config(&keycloak.url, name);
    config.clients = vec!["app".to_owned()];
    realm.client("app");
    (realm, config)
}

fn everything() -> &'static dyn Interest {
    Box::leak(Box::new(Everything::default()))
}

fn named(names: &[&str]) -> &'static dyn Interest {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Box::leak(Box::new(Named { names, attributes: Vec::new() }))
}

/// A change of the realm; it may note the id of somebody whom it made.
type Step<'r> = Box<dyn FnMut(&mut String) + 'r>;

#[test]
#[expect(clippy::too_many_lines, reason = "a table: each kind of change, one after the other")]
fn each_kind_of_change_is_told_as_a_full_read_would_have_it() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, config) = realm(keycloak, "kinds");
    let app = realm.client_uuid("app");
    let (ann, bob) = (realm.user("ann", json!({})), realm.user("bob", json!({})));
    let (top, other) = (realm.group("top", None), realm.group("other", None));
    let below = realm.group("below", Some(&top));
    let (admin, odd) = (realm.realm_role("admin"), realm.realm_role("odd/ %?#;ü"));
    let inner = realm.client_role(&app, "inner");
    let mut followed = Followed::new(&config, SECRET, everything());
    let (user, group) = (format!("users/{ann}"), format!("groups/{top}"));
    let mut cay = String::new();
    let steps: Vec<(&str, Step<'_>)> = vec![
        ("joining", Box::new(|_| realm.join(&ann, &below))),
        ("leaving", Box::new(|_| realm.leave(&ann, &below))),
        ("a realm role given", Box::new(|_| realm.give(&user, &odd))),
        ("a realm role taken", Box::new(|_| realm.take(&user, &odd))),
        ("a client role given", Box::new(|_| realm.give(&user, &inner))),
        ("disabling", Box::new(|_| realm.set_enabled(&ann, false))),
        ("enabling", Box::new(|_| realm.set_enabled(&ann, true))),
        (
            "a new address",
            Box::new(|_| {
                realm.put(
                    &format!("/{user}"),
                    &json!({"email": "ann@example.org", "emailVerified": true}),
                );
            }),
        ),
        (
            "a new person in groups",
            Box::new(|cay| {
                *cay = realm.user("cay", json!({"groups": ["/top/below", "/other"]}));
            }),
        ),
        ("a group's role given", Box::new(|_| realm.give(&group, &admin))),
        ("a group's client role given", Box::new(|_| realm.give(&group, &inner))),
        ("a group's role taken", Box::new(|_| realm.take(&group, &admin))),
        (
            "a group renamed",
            Box::new(|_| {
                realm.put(&format!("/{group}"), &json!({"name": "top/of all"}));
            }),
        ),
        (
            "a group moved",
            Box::new(|_| {
                realm.post(
                    &format!("/groups/{other}/children"),
                    &json!({"id": below, "name": "below"}),
                );
            }),
        ),
        (
            "a new group with somebody",
            Box::new(|_| {
                let new = realm.group("new", Some(&other));
                realm.join(&bob, &new);
            }),
        ),
        ("a composite", Box::new(|_| realm.contain(&admin, &inner))),
        (
            "a composite's end",
            Box::new(|_| {
                let path = format!("/roles-by-id/{}/composites", admin["id"].as_str().unwrap());
                realm.call("DELETE", &path, Some(&json!([inner])));
            }),
        ),
        (
            "a role renamed",
            Box::new(|_| {
                realm.put(
                    &format!("/roles-by-id/{}", inner["id"].as_str().unwrap()),
                    &json!({"name": "renamed"}),
                );
            }),
        ),
        (
            "a client renamed",
            Box::new(|_| {
                realm.client("app2");
                let other = realm.client_uuid("app2");
                realm.client_role(&other, "theirs");
                realm.put(&format!("/clients/{other}"), &json!({"clientId": "app3"}));
            }),
        ),
        (
            "a role made anew",
            Box::new(|_| {
                let again = realm.realm_role("again");
                realm.give(&user, &again);
            }),
        ),
        (
            "a role deleted and made anew",
            Box::new(|_| {
                realm.delete("/roles/again");
                realm.realm_role("again");
            }),
        ),
        ("a person deleted", Box::new(|cay| realm.delete(&format!("/users/{cay}")))),
        ("a person made anew", Box::new(|cay| *cay = realm.user("cay", json!({})))),
        (
            "a group deleted with what is below",
            Box::new(|_| realm.delete(&format!("/groups/{other}"))),
        ),
        ("a role deleted", Box::new(|_| realm.delete("/roles/admin"))),
        (
            "a default group",
            Box::new(|cay| {
                realm.put(&format!("/default-groups/{top}"), &json!({}));
                *cay = realm.user("dan", json!({}));
            }),
        ),
        (
            "what changes nobody",
            Box::new(|_| {
                realm.put(
                    &format!("/{user}/reset-password"),
                    &json!({"type": "password", "value": "x"}),
                );
                realm.post(
                    "/client-scopes",
                    &json!({"name": "scope", "protocol": "openid-connect"}),
                );
            }),
        ),
    ];
    for (what, mut step) in steps {
        step(&mut cay);
        followed.assert_no_drift(what);
        assert_eq!(followed.reads, [], "{what} needs no full read");
    }
}

#[test]
fn what_begins_to_matter_is_read_and_what_never_does_is_not() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, config) = realm(keycloak, "matters");
    let wanted = realm.realm_role("wanted");
    let unwanted = realm.realm_role("unwanted");
    let (team, aside) = (realm.group("team", None), realm.group("aside", None));
    let ann = realm.user("ann", json!({}));
    realm.join(&ann, &team);
    let mut followed = Followed::new(&config, SECRET, named(&["wanted"]));
    realm.join(&ann, &aside);
    realm.give(&format!("users/{ann}"), &unwanted);
    followed.assert_no_drift("joining what no rule can come to");
    realm.give(&format!("groups/{team}"), &wanted);
    followed.assert_no_drift("a group that begins to matter");
    let of_team = |delta: &idpsyncd::directory::Delta| {
        let mut refs = delta.refs.iter();
        refs.any(|it| it.id.key == team && it.members == ListChange::Whole(vec![ann.clone()]))
    };
    assert!(followed.deltas.iter().any(of_team), "its members were read");
    realm.contain(&unwanted, &wanted);
    followed.assert_no_drift("a role that begins to matter");
    followed.restart();
    realm.give(&format!("groups/{aside}"), &unwanted);
    followed.assert_no_drift("a group that begins to matter after a restart");
    assert_eq!(followed.reads, []);
}

/// A generator of numbers that gives the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// What a random administrator knows of a realm.
#[derive(Default)]
struct World {
    users: Vec<String>,
    groups: Vec<String>,
    roles: Vec<Value>,
    made: usize,
}

impl World {
    fn change(&mut self, realm: &Realm<'_>, numbers: &mut Numbers) {
        self.made += 1;
        let n = self.made;
        let user = numbers.below(self.users.len());
        let group = numbers.below(self.groups.len());
        let role = numbers.below(self.roles.len());
        let (person, team) = (self.users[user].clone(), self.groups[group].clone());
        let role_ = self.roles[role].clone();
        match numbers.below(20) {
            0..=4 => realm.join(&person, &team),
            5..=7 => realm.leave(&person, &team),
            8 | 9 => realm.give(&format!("users/{person}"), &role_),
            10 => realm.take(&format!("users/{person}"), &role_),
            11 => realm.set_enabled(&person, numbers.below(2) == 0),
            12 => self.users.push(realm.user(&format!("user{n}"), json!({}))),
            13 if self.users.len() > 8 => {
                realm.delete(&format!("/users/{person}"));
                self.users.remove(user);
            }
            14 => realm.give(&format!("groups/{team}"), &role_),
            15 => realm.take(&format!("groups/{team}"), &role_),
            16 => self.groups.push(realm.group(&format!("group{n}"), Some(&team))),
            17 => realm.put(&format!("/groups/{team}"), &json!({"name": format!("renamed{n}")})),
            18 => {
                let new = realm.realm_role(&format!("role{n}"));
                realm.contain(&new, &self.roles[0].clone());
                self.roles.push(new);
            }
            _ => realm
                .put(&format!("/users/{person}"), &json!({"email": format!("m{n}@example.org")})),
        }
    }
}

#[test]
fn nothing_drifts_over_hundreds_of_random_changes_and_restarts() {
    let Some(mut keycloak) = Keycloak::start() else { return };
    let (_, config) = realm(&keycloak, "random");
    let mut world = World::default();
    let app = {
        let realm = keycloak.existing_realm("random");
        world.users = (0..12).map(|n| realm.user(&format!("person{n}"), json!({}))).collect();
        world.groups = (0..4).map(|n| realm.group(&format!("top{n}"), None)).collect();
        world.roles = (0..3).map(|n| realm.realm_role(&format!("r{n}"))).collect();
        realm.client_uuid("app")
    };
    let role = keycloak.existing_realm("random").client_role(&app, "inner");
    world.roles.push(role);
    // Some groups and roles matter, most do not, and which is which changes.
    let mut followed = Followed::new(&config, SECRET, named(&["r0", "top1", "inner"]));
    let mut numbers = Numbers(7);
    for round in 0..24 {
        let realm = keycloak.existing_realm("random");
        for _ in 0..12 {
            world.change(&realm, &mut numbers);
        }
        match round {
            8 => {
                keycloak.stop();
                keycloak.start_again();
            }
            14 | 19 => followed.restart(),
            _ => {}
        }
        followed.assert_no_drift(&format!("round {round}"));
    }
    // After a restart it is not known who bore the name of a role that was made meanwhile.
    let made =
        |why: &&WhyFull| matches!(why, WhyFull::Other(why) if why.contains("was deleted or made"));
    assert!(followed.reads.iter().all(|why| made(&why)), "{:?}", followed.reads);
    assert!(followed.reads.len() <= 2, "{:?}", followed.reads);
}

#[test]
fn events_that_are_lost_lead_to_a_full_read_and_events_that_are_off_are_told() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, config) = realm(keycloak, "lost");
    let (ann, team) = (realm.user("ann", json!({})), realm.group("team", None));
    let mut followed = Followed::new(&config, SECRET, everything());
    realm.join(&ann, &team);
    realm.delete("/admin-events");
    followed.assert_no_drift("events were cleared");
    assert_eq!(followed.reads.len(), 1, "{:?}", followed.reads);
    assert!(matches!(&followed.reads[0], WhyFull::Other(why) if why.contains("cleared")));

    realm.set_enabled(&ann, false);
    followed.assert_no_drift("it goes on after that");
    assert_eq!(followed.reads.len(), 1);

    // Something that no event is about by itself.
    realm.put("", &json!({"displayName": "Lost"}));
    followed.assert_no_drift("the realm was changed");
    assert_eq!(followed.reads.len(), 2, "{:?}", followed.reads);

    let off = json!({"adminEventsEnabled": false});
    realm.put("", &off);
    followed.settle();
    let not = followed.not.clone();
    let told_off = |not: &NotFollowed| matches!(not, NotFollowed::NotOffered(_));
    assert!(not.as_ref().is_some_and(told_off), "{not:?}");
    assert!(matches!(followed.mark(), Mark::Not(not) if told_off(&not)));
    assert!(matches!(followed.start(), Start::Not(not) if told_off(&not)));
}

#[test]
fn a_cursor_of_another_realm_or_without_its_events_is_read_in_full() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (first, config) = realm(keycloak, "again");
    first.user("ann", json!({}));
    let followed = Followed::new(&config, SECRET, everything());
    // Made anew under the same name.
    let (second, _) = realm(keycloak, "again");
    second.user("ann", json!({}));
    let start = followed.start();
    assert!(matches!(start, Start::Read(WhyFull::Foreign("realm"))), "{start:?}");
    followed.view.0.lock().unwrap().cursor = None;
    assert!(matches!(followed.start(), Start::Read(WhyFull::NoCursor)));
}

#[test]
fn a_reader_who_may_not_see_events_is_told_which_right_is_missing() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let realm = keycloak.realm("blind");
    realm.put("", &json!({"adminEventsEnabled": true}));
    realm.reader("idpsyncd", SECRET, &RIGHTS);
    let followed = {
        let source = support::kc_snapshot::source(&config(&keycloak.url, "blind"), SECRET);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        use idpsyncd::source::Source as _;
        runtime.block_on(source.as_feed().unwrap().mark(everything())).unwrap()
    };
    let Mark::Not(NotFollowed::Refused(why)) = followed else { panic!("{followed:?}") };
    assert!(why.contains("`view-events`"), "{why}");
}

#[test]
fn one_change_costs_a_handful_of_requests() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, mut config) = realm(keycloak, "cost");
    let (ann, team) = (realm.user("ann", json!({})), realm.group("team", None));
    let admin = realm.realm_role("admin");
    let meddler = Meddler::before(keycloak.port());
    config.url = format!("http://127.0.0.1:{}", meddler.port).parse().unwrap();
    let mut followed = Followed::new(&config, SECRET, everything());
    followed.settle();
    let mut cost = |change: &dyn Fn()| {
        meddler.tell(|_, _| {});
        change();
        followed.settle();
        let polls =
            |request: &String| request.contains("admin-events") || request.contains("/token");
        let mut requests: Vec<String> = meddler.end();
        // Once in ten polls the realm's settings.
        requests.retain(|it| !polls(it) && !it.ends_with("/admin/realms/cost"));
        requests
    };
    let idle = cost(&|| {});
    assert_eq!(idle, [] as [&str; 0], "an idle realm is only polled");
    let joined = cost(&|| realm.join(&ann, &team));
    assert_eq!(joined.len(), 3, "the person, their groups, their roles: {joined:#?}");
    let left = cost(&|| realm.leave(&ann, &team));
    assert_eq!(left.len(), 4, "and the reader's rights before something is taken: {left:#?}");
    let burst = cost(&|| {
        for _ in 0..5 {
            realm.join(&ann, &team);
            realm.leave(&ann, &team);
        }
        realm.set_enabled(&ann, false);
    });
    assert!(burst.len() <= 12, "a burst about one person is a read or two: {burst:#?}");
    let many = cost(&|| {
        for n in 0..230 {
            realm.set_enabled(&ann, n % 2 == 0);
        }
    });
    assert!(many.len() <= 12, "more events than a page has are a read or two: {many:#?}");
    let role = cost(&|| realm.give(&format!("groups/{team}"), &admin));
    assert!(role.len() <= 25, "the groups and roles, and no person: {role:#?}");
    assert!(!role.iter().any(|it| it.contains("/users?") || it.contains("/members")), "{role:#?}");
}

const UNKNOWN: &str = r#"{"error":"unknown_error"}"#;

#[test]
fn only_a_404_that_says_so_takes_a_person_away() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, mut config) = realm(keycloak, "gone");
    let ann = realm.user("ann", json!({}));
    let bob = realm.user("bob", json!({}));
    let faulty = Faulty::before(&keycloak.url);
    config.url = faulty.url().parse().unwrap();
    let mut followed = Followed::new(&config, SECRET, everything());
    for (status, body) in [
        (500, UNKNOWN),
        (502, "<html>bad gateway</html>"),
        (404, r#"{"error":"HTTP 404 Not Found"}"#),
        (404, r#"{"error":"Realm not found."}"#),
        (200, r#"{"id":"somebody-else","username":"x","enabled":true}"#),
        (200, "[]"),
    ] {
        faulty.fail(&format!("/users/{ann}"), status, body);
        realm.put(&format!("/users/{ann}"), &json!({"firstName": status.to_string()}));
        realm.set_enabled(&bob, status == 404);
        let why = followed.stuck();
        assert!(why.contains(&ann), "{status} {body}: {why}");
        assert!(followed.has(&["user ann"]), "{status} {body}");
        faulty.mend();
        followed.assert_no_drift(body);
    }
    realm.delete(&format!("/users/{ann}"));
    followed.assert_no_drift("a deletion");
    assert!(!followed.has(&["user ann"]));
    assert_eq!(followed.reads, []);
    // It may not look: nothing is known of anybody any more.
    faulty.fail(&format!("/users/{bob}"), 403, r#"{"error":"HTTP 403 Forbidden"}"#);
    realm.delete(&format!("/users/{bob}"));
    let error = followed.error();
    assert!(!error.transient && error.message.contains("403"), "{error}");
    assert!(followed.has(&["user bob"]));
}

#[test]
fn somebody_who_cannot_be_read_keeps_nobody_else_and_is_not_forgotten_by_a_restart() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, mut config) = realm(keycloak, "stuck");
    let (ann, bob) = (realm.user("ann", json!({})), realm.user("bob", json!({})));
    let team = realm.group("team", None);
    realm.join(&ann, &team);
    realm.join(&bob, &team);
    let faulty = Faulty::before(&keycloak.url);
    config.url = faulty.url().parse().unwrap();
    let mut followed = Followed::new(&config, SECRET, everything());
    faulty.fail(&format!("/users/{ann}"), 500, UNKNOWN);
    realm.leave(&ann, &team);
    realm.leave(&bob, &team);
    followed.stuck();
    assert!(!followed.has(&["has bob", &team]), "bob's change is told");
    assert!(followed.has(&["has ann", &team]), "ann's is unknown");
    faulty.mend();
    followed.restart();
    followed.assert_no_drift("a restart");
    assert!(!followed.has(&["has ann", &team]));
    assert_eq!(followed.reads, []);
}

#[test]
fn a_right_that_is_lost_takes_nothing_away() {
    let Some(keycloak) = Keycloak::shared() else { return };
    let (realm, config) = realm(keycloak, "rights");
    let inner = realm.client_role(&realm.client_uuid("app"), "inner");
    let ann = realm.user("ann", json!({}));
    realm.give(&format!("users/{ann}"), &inner);
    let mut followed = Followed::new(&config, SECRET, everything());
    // Without it people's roles of clients are left out with status 200.
    let account = realm.get("/users?exact=false&username=service-account-idpsyncd");
    let account = account[0]["id"].as_str().unwrap().to_owned();
    realm.take(&format!("users/{account}"), &realm.right("view-clients"));
    realm.put(&format!("/users/{ann}"), &json!({"email": "ann@example.org"}));
    followed.settle();
    let not = followed.not.clone();
    let told = |not: &NotFollowed| matches!(not, NotFollowed::Refused(why) if why.contains("`view-clients`"));
    assert!(not.as_ref().is_some_and(told), "{not:?}");
    assert!(followed.has(&["inner", "has ann"]), "she holds it still");
}
