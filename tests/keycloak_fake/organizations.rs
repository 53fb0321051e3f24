//! Organizations as the fake has them, and what a read makes of them.

use std::sync::Arc;

use idpsyncd::directory::{Completeness, Enabled, Kind};
use serde_json::{Value, json};

use crate::support::kc_organizations::Organized;
use crate::support::kc_snapshot::{Facts, facts, try_read};
use crate::{Fake, Realm, SERVER_ERROR, is_partial, user};

const FORBIDDEN: &str = r#"{"error":"HTTP 403 Forbidden"}"#;
const GONE: &str = r#"{"errorMessage":"Organization not found."}"#;

/// An organization; its alias is its id.
#[derive(Clone, Default)]
pub struct Org {
    id: &'static str,
    enabled: bool,
    /// User ids, and whether the organization manages them.
    members: Vec<(&'static str, bool)>,
    /// Id, which is the name as well, the id of the group above (the top: the organization's id), user ids.
    groups: Vec<(&'static str, &'static str, Vec<&'static str>)>,
    /// Added to what the count of members says, one a call.
    count_offsets: Vec<i64>,
}

impl Org {
    pub fn of(id: &'static str, members: &[(&'static str, bool)]) -> Org {
        Org { id, enabled: true, members: members.to_vec(), ..Org::default() }
    }

    fn disabled(self) -> Org {
        Org { enabled: false, ..self }
    }
}

/// The id of the hidden group above all of an organization.
fn root(organization: &str) -> String {
    format!("root-of-{organization}")
}

/// What is answered below `organizations`: an array comes in pages. What is not there is a 404 with a body.
pub fn answer(realm: &mut Realm, parts: &[&str], query: &str) -> Result<Value, &'static str> {
    let Realm { organizations, users, .. } = realm;
    let off = r#"{"errorMessage":"Organizations not enabled for this realm."}"#;
    let all = organizations.as_mut().ok_or(off)?;
    let rows = |members: &mut dyn Iterator<Item = (&'static str, bool)>| {
        let managed = query.contains("membershipType=MANAGED");
        let rows = members.filter(|(_, is)| *is || !managed).map(|(id, managed)| {
            let found = users.iter().find(|it| it["id"] == json!(id)).cloned();
            let mut row = found.unwrap_or_else(|| user(id, true, ""));
            row["membershipType"] = json!(if managed { "MANAGED" } else { "UNMANAGED" });
            row
        });
        Value::from(rows.collect::<Vec<_>>())
    };
    let (id, below) = match parts {
        ["count"] => return Ok(json!(all.len())),
        [] => {
            let row = |it: &Org| json!({"id": it.id, "name": it.id, "alias": it.id, "enabled": it.enabled});
            return Ok(Value::from(all.iter().map(row).collect::<Vec<_>>()));
        }
        [id, below @ ..] => (*id, below),
    };
    let it = all.iter_mut().find(|it| it.id == id);
    let it = it.ok_or(r#"{"errorMessage":"Organization not found."}"#)?;
    let above = |above: &str| if above == id { root(id) } else { above.to_owned() };
    let children = |id: &str| it.groups.iter().filter(|(_, up, _)| above(up) == id).count();
    let no_group = r#"{"errorMessage":"Group does not exist"}"#;
    Ok(match below {
        ["members"] => rows(&mut it.members.iter().copied()),
        ["members", "count"] => {
            let offset = if it.count_offsets.is_empty() { 0 } else { it.count_offsets.remove(0) };
            json!(it.members.len() as i64 + offset)
        }
        ["groups"] => {
            let row = |(id, up, _): &(&str, &str, Vec<&str>)| json!({"id": id, "name": id, "parentId": above(up), "subGroupCount": children(id)});
            Value::from(it.groups.iter().map(row).collect::<Vec<_>>())
        }
        ["groups", group] if *group == root(id) && !it.groups.is_empty() => {
            json!({"id": group, "name": id, "subGroupCount": children(group)})
        }
        ["groups", group, "members"] => {
            let found = it.groups.iter().find(|(id, ..)| id == group).ok_or(no_group)?;
            rows(&mut found.2.iter().map(|id| (*id, false)))
        }
        ["groups", _] => return Err(no_group),
        _ => panic!("the fake does not know organizations/{}", parts.join("/")),
    })
}

/// Two organizations; u1 and u2 in `acme`, u2 in its group `sub` below `eng`; nobody in `none`.
fn organized() -> Fake {
    let fake = Fake::new();
    let mut acme = Org::of("acme", &[("1", false), ("2", true)]);
    acme.groups =
        vec![("eng", "acme", vec!["1"]), ("sub", "eng", vec!["2"]), ("idle", "acme", vec![])];
    fake.set(|realm| realm.organizations = Some(vec![acme, Org::of("none", &[])]));
    fake
}

fn all(fake: &Fake) -> Facts {
    let interest = Arc::new(Organized::new(&["acme", "none"]));
    facts(&try_read(&fake.source(), interest).unwrap())
}

#[test]
fn a_read_of_organizations_makes_as_many_calls_as_there_are_lists() {
    let fake = organized();
    let facts = all(&fake);
    assert!(facts.reading_complete, "{:?}", facts.scopes);
    let mut log = fake.realm.lock().unwrap().log.clone();
    log.retain(|call| call.starts_with("GET organizations"));
    log.sort();
    let page = "briefRepresentation=true&first=0&max=200";
    let groups = "groups?search=*&briefRepresentation=false&subGroupsCount=true";
    let mut expected = vec![
        // How to read lists; then all of them, counted before and after.
        "GET organizations/count".to_owned(),
        "GET organizations/count".to_owned(),
        "GET organizations?briefRepresentation=true&max=-1".to_owned(),
        "GET organizations/count".to_owned(),
        format!("GET organizations/acme/{groups}"),
        "GET organizations/acme/groups/root-of-acme?subGroupsCount=true".to_owned(),
        format!("GET organizations/acme/groups/eng/members?{page}"),
        format!("GET organizations/acme/groups/sub/members?{page}"),
        // An empty list that nothing counts is asked for again.
        format!("GET organizations/acme/groups/idle/members?{page}"),
        format!("GET organizations/acme/groups/idle/members?{page}"),
        format!("GET organizations/none/{groups}"),
        "GET organizations/none/groups/00000000-0000-0000-0000-000000000000".to_owned(),
        format!("GET organizations/none/{groups}"),
    ];
    for id in ["acme", "none"] {
        expected.push(format!("GET organizations/{id}/members/count"));
        expected.push(format!("GET organizations/{id}/members?{page}"));
        expected.push(format!("GET organizations/{id}/members/count"));
    }
    expected.sort();
    let log: Vec<_> = log.iter().map(|it| it.replace("%2A", "*")).collect();
    assert_eq!(log, expected);
}

#[test]
fn members_are_believed_where_they_are_as_many_as_were_counted() {
    for (offsets, complete) in [
        (&[][..], true),
        // Somebody came or went meanwhile: read again.
        (&[1], true),
        (&[0, -1], true),
        // However often it is read.
        (&[1; 6], false),
        (&[-1; 6], false),
    ] {
        let fake = organized();
        fake.set(|realm| {
            realm.organizations.as_mut().unwrap()[0].count_offsets = offsets.to_vec();
        });
        let facts = all(&fake);
        assert_eq!(!is_partial(&facts.members_are("acme")), complete, "{offsets:?}");
        assert!(!is_partial(&facts.members_are("none")), "another one's");
        assert!(!is_partial(&facts.members_are("acme:/eng")), "its group's");
        assert_eq!(facts.members_are("acme:/"), Completeness::Complete);
    }
}

#[test]
fn what_fails_of_organizations_is_unknown_and_nothing_else_is() {
    let empty = "[]";
    // The call that is answered so, and what of all this is unknown then.
    for (call, status, body, unknown) in [
        ("organizations/acme/members?", 500, SERVER_ERROR, &["acme"][..]),
        ("organizations/acme/members?", 403, FORBIDDEN, &["acme"]),
        ("organizations/acme/members?", 200, empty, &["acme"]),
        ("organizations/acme/members/count", 500, SERVER_ERROR, &["acme"]),
        ("organizations/none/members/count", 200, "1", &["none"]),
        ("organizations/acme/groups?", 403, FORBIDDEN, &["acme:/"]),
        ("organizations/acme/groups?", 404, GONE, &["acme:/"]),
        (
            "organizations/acme/groups/root",
            200,
            r#"{"id":"x","name":"y","subGroupCount":3}"#,
            &["acme:/"],
        ),
        ("organizations/none/groups/0000", 500, SERVER_ERROR, &["none:/"]),
        ("organizations/acme/groups/sub/members", 403, FORBIDDEN, &["acme:/eng/sub"]),
        ("organizations/acme/groups/sub/members", 200, "[", &["acme:/eng/sub"]),
    ] {
        let fake = organized();
        fake.fault(call, &[(status, body)]);
        let facts = all(&fake);
        let lists =
            ["acme", "none", "acme:/", "none:/", "acme:/eng", "acme:/eng/sub", "acme:/idle"];
        let found: Vec<_> = lists
            .into_iter()
            .filter(|it| facts.has(it) && is_partial(&facts.members_are(it)))
            .collect();
        assert_eq!(found, unknown, "{call} {status} {body}");
        assert!(
            facts.users_are.is_complete() && !is_partial(&facts.members_are("/team")),
            "{call}"
        );
    }
    for (call, status, body) in [
        ("organizations?", 200, empty),
        ("organizations?", 403, FORBIDDEN),
        ("organizations?", 500, SERVER_ERROR),
    ] {
        let fake = organized();
        fake.fault(call, &[(status, body)]);
        let interest = Arc::new(Organized::new(&["acme", "none"]));
        let snapshot = try_read(&fake.source(), interest).unwrap();
        assert!(is_partial(&snapshot.organizations), "{call} {status}");
        assert!(snapshot.users.is_complete() && snapshot.groups.is_complete(), "{call} {status}");
    }
}

#[test]
fn an_empty_group_of_an_organization_is_believed_as_one_of_the_realm_is() {
    // Every list of that table is `200 []`, and the count that tells is 500.
    let fake = organized();
    fake.set(|realm| {
        realm.organizations.as_mut().unwrap()[0].groups[0].2.clear();
        realm.organizations.as_mut().unwrap()[0].groups[1].2.clear();
        for group in ["g1", "g2", "g3"] {
            realm.members.insert(group, vec![]);
        }
    });
    assert!(all(&fake).reading_complete, "they are really empty");
    fake.fault("users/2/groups/count", &[(500, SERVER_ERROR)]);
    let facts = all(&fake);
    for group in ["acme:/eng", "acme:/eng/sub", "acme:/idle", "/team"] {
        assert!(is_partial(&facts.members_are(group)), "{group}");
    }
    assert!(!is_partial(&facts.members_are("acme")), "counted");
}

#[test]
fn of_a_disabled_organization_nobody_is_asked_for() {
    let fake = organized();
    fake.set(|realm| realm.organizations.as_mut().unwrap()[0].enabled = false);
    let facts = all(&fake);
    assert!(facts.reading_complete, "{:?}", facts.scopes);
    for it in ["acme", "acme:/eng", "acme:/eng/sub"] {
        assert_eq!(facts.members_are(it), Completeness::Complete, "{it}");
    }
    assert_eq!(facts.direct(Kind::Organization, "acme"), [""; 0]);
    assert_eq!(fake.calls("GET organizations/acme/members"), 0);
    assert_eq!(fake.calls("GET organizations/acme/groups/"), 1, "its groups alone");
}

#[test]
fn where_people_are_not_imported_nobody_knows_all_members() {
    let fake = organized();
    fake.set(|realm| {
        realm.federations = vec![json!({"id": "L", "name": "corp", "providerId": "ldap",
            "config": {"enabled": ["true"], "importEnabled": ["false"]}})];
    });
    let facts = all(&fake);
    for it in ["acme", "acme:/eng"] {
        let Completeness::Partial(why) = facts.members_are(it) else { panic!("{it}") };
        assert!(why.contains("`corp`"), "{why}");
    }
    for list in ["acme/members?", "acme/groups/eng/members?"] {
        let page = format!("GET organizations/{list}briefRepresentation=true&first=0&max=200");
        assert!(fake.calls(&page) > 0, "never in one answer");
    }
}

#[test]
fn somebody_whom_a_disabled_organization_manages_is_disabled_and_no_outage() {
    let people = |orgs: Vec<Org>, rights: &[&'static str]| {
        let fake = Fake::new();
        fake.federate();
        fake.set(|realm| {
            realm.users[0]["enabled"] = json!(false);
            realm.users.push(user("4", false, ""));
            realm.organizations = Some(orgs);
            realm.rights.retain(|right| *right != "view-organizations");
            realm.rights.extend(rights);
        });
        fake.read()
    };
    let see = ["view-organizations"];
    let managed = [("1", true), ("2", false), ("4", true)];
    let off = people(vec![Org::of("acme", &managed).disabled()], &see);
    // Nobody without a federation is an outage, whoever manages them.
    assert_eq!(off.users["u4"].enabled, Enabled::No);
    assert_eq!(off.users["u1"].enabled, Enabled::No);
    assert_eq!(off.users["u2"].enabled, Enabled::Yes, "a member whom it does not manage");
    assert!(off.reading_complete, "{:?}", off.scopes);

    let other = [("1", false), ("2", false), ("4", true)];
    for (orgs, rights, what) in [
        (vec![Org::of("acme", &managed).disabled()], &[][..], "no right to see organizations"),
        (
            vec![Org::of("acme", &managed).disabled()],
            &["query-organizations"],
            "a right to see none",
        ),
        (vec![Org::of("acme", &managed)], &see, "the organization is enabled"),
        (vec![Org::of("acme", &other).disabled()], &see, "it does not manage them"),
        (vec![], &see, "there is none"),
    ] {
        let facts = people(orgs, rights);
        assert_eq!(facts.users["u1"].enabled, Enabled::Unknown, "{what}");
        assert_eq!(facts.users["u4"].enabled, Enabled::No, "{what}");
        assert!(is_partial(&facts.users_are), "{what}");
        let Completeness::Partial(why) = facts.members_are("/team") else { panic!("{what}") };
        assert_eq!(
            why.contains("`view-organizations`"),
            !rights.contains(&"view-organizations"),
            "{why}"
        );
    }
}
