//! The JSON of organizations, but for their members.

use serde_json::Value;

use super::super::export::said;
use super::super::odd::{At, ByClient, Misfit, Names, Oddities, kind};
use super::LIST;

/// What an export says of organizations, but for their members.
#[derive(Debug)]
pub(in crate::source::file) struct Organizations {
    /// Whether they count in the realm. An `Err` says why that is not known.
    pub(super) enabled: Result<bool, Misfit>,
    /// By their place in the list; absent: one that cannot be used.
    pub(super) list: Vec<Option<Organization>>,
    /// Why these may not be all.
    pub(super) doubt: Option<String>,
}

/// An organization.
#[derive(Debug)]
pub(super) struct Organization {
    pub(super) id: Option<String>,
    pub(super) alias: String,
    /// As of the realm.
    pub(super) enabled: Result<bool, Misfit>,
    pub(super) groups: Vec<Group>,
    /// Why these may not be all groups.
    pub(super) groups_doubt: Option<String>,
    /// Why not everybody may be listed.
    pub(super) members_doubt: Option<String>,
}

/// A group of an organization with all below it.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) realm_roles: Names,
    pub(super) client_roles: ByClient,
    pub(super) sub_groups: Vec<Group>,
}

impl Organizations {
    /// Reads what the export has under `organizations`, each time that it comes, and under
    /// `organizationsEnabled`. A server that has none writes no list.
    pub(in crate::source::file) fn of(
        lists: &[Value],
        enabled: Option<&Value>,
        odd: &mut Oddities,
    ) -> Self {
        let enabled = odd.flag_at(enabled, At::top("organizationsEnabled"));
        let enabled = enabled.map(|it| it.unwrap_or(true));
        let mut all = Organizations { enabled, list: Vec::new(), doubt: None };
        let at = At::top(LIST);
        let lists: Vec<&Value> = lists.iter().filter(|list| !list.is_null()).collect();
        match lists.as_slice() {
            [] => {}
            [Value::Array(list)] => {
                for (index, value) in list.iter().enumerate() {
                    let one = organization(value, at.item(index), odd, &mut all.doubt);
                    all.list.push(one);
                }
            }
            [other] => {
                all.doubt = Some(odd.note(at, format!("is {}, not a list", kind(other))));
            }
            // Keycloak takes the last; what the others are for nobody can tell.
            _ => all.doubt = Some(odd.note(at, "comes more than once")),
        }
        all
    }
}

/// Says in `doubt` why the list may not be whole, where the value is no organization.
fn organization(
    value: &Value,
    at: At<'_>,
    odd: &mut Oddities,
    doubt: &mut Option<String>,
) -> Option<Organization> {
    let mut left_out = |odd: &mut Oddities, what: String| {
        let told = odd.note(at, what);
        doubt.get_or_insert(told);
        None
    };
    let Value::Object(object) = value else {
        if value.is_null() {
            odd.note(at, "is null: left out");
            return None;
        }
        return left_out(odd, format!("is {}, not an organization: left out", kind(value)));
    };
    let mut text = |key: &str| odd.text(object, key, at).map(|it| it.filter(|it| !it.is_empty()));
    let (id, alias, name) = (text("id"), text("alias"), text("name"));
    // Keycloak gives an organization without an alias its name for one.
    let Ok(Some(alias)) = alias.and_then(|alias| if alias.is_none() { name } else { Ok(alias) })
    else {
        return left_out(odd, "has neither `alias` nor `name`: left out".to_owned());
    };
    if alias.contains(|c: char| c == '/' || c.is_whitespace()) {
        let what =
            "has white space or a slash in its alias, which Keycloak does not take: left out";
        return left_out(odd, what.to_owned());
    }
    let Ok(id) = id else {
        return left_out(odd, "has no readable `id`: left out".to_owned());
    };
    let enabled = odd.flag(object, "enabled", at).map(|it| it.unwrap_or(true));
    let mut groups_doubt = None;
    let groups = said(object.get("groups"))
        .map_or_else(Vec::new, |list| groups(list, at.key("groups"), odd, &mut groups_doubt));
    let members_doubt = match object.get("members") {
        None | Some(Value::Null | Value::Array(_)) => None,
        Some(other) => Some(odd.note(at.key("members"), format!("is {}, not a list", kind(other)))),
    };
    Some(Organization { id, alias, enabled, groups, groups_doubt, members_doubt })
}

fn groups(value: &Value, at: At<'_>, odd: &mut Oddities, doubt: &mut Option<String>) -> Vec<Group> {
    let Value::Array(list) = value else {
        let told = odd.note(at, format!("is {}, not a list", kind(value)));
        doubt.get_or_insert(told);
        return Vec::new();
    };
    let mut found = Vec::new();
    for (index, value) in list.iter().enumerate() {
        found.extend(group(value, at.item(index), odd, doubt));
    }
    found
}

fn group(
    value: &Value,
    at: At<'_>,
    odd: &mut Oddities,
    doubt: &mut Option<String>,
) -> Option<Group> {
    let Value::Object(group) = value else {
        let told = odd.note(at, format!("is {}, not a group: left out", kind(value)));
        if !value.is_null() {
            doubt.get_or_insert(told);
        }
        return None;
    };
    let name = match odd.text(group, "name", at) {
        Ok(Some(name)) if !name.is_empty() => name,
        _ => {
            let told = odd.note(at, "has no `name`: left out, with what is below it");
            doubt.get_or_insert(told);
            return None;
        }
    };
    let id = odd.text(group, "id", at).unwrap_or_else(|misfit| {
        doubt.get_or_insert_with(|| misfit.to_string());
        None
    });
    let below = said(group.get("subGroups"));
    Some(Group {
        id: id.filter(|id| !id.is_empty()),
        name,
        realm_roles: odd.names(group.get("realmRoles"), at.key("realmRoles")),
        client_roles: odd.by_client(group.get("clientRoles"), at.key("clientRoles")),
        sub_groups: below
            .map_or_else(Vec::new, |list| groups(list, at.key("subGroups"), odd, doubt)),
    })
}
