//! Organizations as the fake has them, and what a read makes of them.

use idpsyncd::directory::{Completeness, Enabled};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::{Fake, Realm, is_partial, user};

/// An organization; its alias is its id.
#[derive(Clone, Default)]
pub struct Org {
    id: &'static str,
    enabled: bool,
    /// User ids, and whether the organization manages them.
    members: Vec<(&'static str, bool)>,
}

impl Org {
    pub fn of(id: &'static str, members: &[(&'static str, bool)]) -> Org {
        Org { id, enabled: true, members: members.to_vec() }
    }

    fn disabled(self) -> Org {
        Org { enabled: false, ..self }
    }
}

/// What is answered below `organizations`: an array comes in pages.
pub fn answer(realm: &Realm, parts: &[&str], query: &str) -> Result<Value, ResponseTemplate> {
    let no = |body: &str| ResponseTemplate::new(404).set_body_string(body);
    let Some(all) = &realm.organizations else {
        return Err(no(r#"{"errorMessage":"Organizations not enabled for this realm."}"#));
    };
    let organization = |id: &str| {
        let found = all.iter().find(|it| it.id == id);
        found.ok_or_else(|| no(r#"{"errorMessage":"Organization not found."}"#))
    };
    let rows = |members: &[(&str, bool)]| {
        let managed = query.contains("membershipType=MANAGED");
        let rows = members.iter().filter(|(_, is)| *is || !managed).map(|(id, managed)| {
            let mut row = realm.users.iter().find(|it| it["id"] == json!(id)).cloned();
            let row = row.get_or_insert_with(|| user(id, true, "")).clone();
            let kind = if *managed { "MANAGED" } else { "UNMANAGED" };
            let mut row = row;
            row["membershipType"] = json!(kind);
            row
        });
        Value::from(rows.collect::<Vec<_>>())
    };
    Ok(match parts {
        ["count"] => json!(all.len()),
        [] => {
            let row = |it: &Org| json!({"id": it.id, "name": it.id, "alias": it.id, "enabled": it.enabled});
            Value::from(all.iter().map(row).collect::<Vec<_>>())
        }
        [id, "members"] => rows(&organization(id)?.members),
        _ => panic!("the fake does not know organizations/{}", parts.join("/")),
    })
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
