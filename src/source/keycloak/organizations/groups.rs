//! The groups of an organization.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::super::api::json;
use super::super::asker::Asker;
use super::super::client::Client;
use super::super::fault::{CallError, Fault};
use super::super::pages::TRIES;
use super::super::read::Attempt;
use super::Organization;

/// A group's id that none has.
const NO_GROUP: &str = "00000000-0000-0000-0000-000000000000";

/// A group of an organization.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::source::keycloak) struct OrganizationGroup {
    pub id: String,
    /// Names from the top, its own last.
    pub path: Vec<String>,
    /// The group above, as a place among the groups of the organization; none: it is a top one. Always an
    /// earlier place.
    pub parent: Option<usize>,
    /// Roles of the realm that are mapped to it, and reach nobody.
    pub realm_roles: Vec<String>,
    /// Those of clients, by client id.
    pub client_roles: BTreeMap<String, Vec<String>>,
}

/// A group in full.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct GroupRow {
    id: String,
    name: String,
    parent_id: Option<String>,
    sub_group_count: Option<usize>,
    #[serde(default)]
    realm_roles: Vec<String>,
    #[serde(default)]
    client_roles: BTreeMap<String, Vec<String>>,
}

/// Why groups as they are listed cannot be all.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
enum Gap {
    #[error(
        "the list came empty, and nothing shows that the server's database could be read; see the server's log"
    )]
    Empty,
    #[error("`{0}` came twice")]
    Twice(String),
    #[error("{0} are on top, as listed, and not as counted")]
    Top(usize),
    #[error("{listed} are below `{group}`, as listed, and not as counted")]
    Below { listed: usize, group: String },
    #[error("the group above one of them is in no list")]
    Above,
}

/// All groups of an organization, again where they changed meanwhile.
///
/// # Errors
/// One that ends the read.
pub(in crate::source::keycloak) async fn read(
    asker: Asker<'_>,
    of: &Organization,
) -> Result<Attempt<Vec<OrganizationGroup>>, CallError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let why = match once(asker, of).await? {
            Attempt::Got(Ok(groups)) => return Ok(Attempt::Got(groups)),
            Attempt::Got(Err(gap)) => gap.to_string(),
            Attempt::Unknown(why) => why,
        };
        if tries == TRIES {
            return Ok(Attempt::Unknown(format!("groups of organization `{}`: {why}", of.alias)));
        }
    }
}

/// The groups as they are listed once, or why they cannot be all.
async fn once(
    asker: Asker<'_>,
    of: &Organization,
) -> Result<Attempt<Result<Vec<OrganizationGroup>, Gap>>, CallError> {
    let Asker { client, budget, .. } = asker;
    let query = [("search", "*"), ("briefRepresentation", "false"), ("subGroupsCount", "true")];
    let path = ["organizations", of.id.as_str(), "groups"];
    let list = || budget.get(client, &path, &query, |body| json::<Vec<GroupRow>>(body));
    let rows = match list().await? {
        Attempt::Got(rows) => rows,
        Attempt::Unknown(why) => return Ok(Attempt::Unknown(why)),
    };
    let Some(root) = root_of(&rows) else {
        // Nothing counts the groups of an organization that has none. So the table must show that it can be
        // read, between two lists that are empty.
        let readable = readable(client, &of.id).await?;
        let again = match list().await? {
            Attempt::Got(rows) => rows,
            Attempt::Unknown(why) => return Ok(Attempt::Unknown(why)),
        };
        return Ok(Attempt::Got(match readable && rows.is_empty() && again.is_empty() {
            true => Ok(Vec::new()),
            false => Err(Gap::Empty),
        }));
    };
    let top = [path[0], path[1], path[2], root];
    let counted = [("subGroupsCount", "true")];
    let top = budget.get(client, &top, &counted, |body| json::<GroupRow>(body)).await?;
    Ok(match top {
        Attempt::Got(top) => Attempt::Got(arranged(&rows, &top)),
        Attempt::Unknown(why) => Attempt::Unknown(why),
    })
}

/// Whether the table of groups can be read now: an id that no group has is answered by the database alone.
async fn readable(client: &Client, organization: &str) -> Result<bool, CallError> {
    match client.once(&["organizations", organization, "groups", NO_GROUP]).await {
        Err(error) if error.fault.ends_the_read() && !error.fault.is_forbidden() => Err(error),
        Err(error) => Ok(matches!(
            &error.fault,
            Fault::Status { status: 404, body, .. } if body.contains("Group does not exist")
        )),
        Ok(()) => Ok(false),
    }
}

/// The id of the hidden group above all.
fn root_of(rows: &[GroupRow]) -> Option<&str> {
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let mut above = rows.iter().filter_map(|row| row.parent_id.as_deref());
    above.find(|parent| !ids.contains(parent))
}

/// The groups from the top down, or why they are not all. `top` is the hidden group above them.
fn arranged(rows: &[GroupRow], top: &GroupRow) -> Result<Vec<OrganizationGroup>, Gap> {
    let mut below: HashMap<&str, Vec<&GroupRow>> = HashMap::new();
    let mut ids = BTreeSet::new();
    for row in rows {
        if !ids.insert(row.id.as_str()) {
            return Err(Gap::Twice(row.name.clone()));
        }
        below.entry(row.parent_id.as_deref().unwrap_or_default()).or_default().push(row);
    }
    let mut groups: Vec<OrganizationGroup> = Vec::with_capacity(rows.len());
    let mut open: Vec<(&GroupRow, Option<usize>)> = vec![(top, None)];
    while let Some((row, place)) = open.pop() {
        let children = below.remove(row.id.as_str()).unwrap_or_default();
        if row.sub_group_count != Some(children.len()) {
            return Err(match place {
                None => Gap::Top(children.len()),
                Some(_) => Gap::Below { listed: children.len(), group: row.name.clone() },
            });
        }
        for child in children {
            let above = place.and_then(|place| groups.get(place));
            let mut path = above.map_or(Vec::new(), |above| above.path.clone());
            path.push(child.name.clone());
            open.push((child, Some(groups.len())));
            groups.push(OrganizationGroup {
                id: child.id.clone(),
                path,
                parent: place,
                realm_roles: child.realm_roles.clone(),
                client_roles: child.client_roles.clone(),
            });
        }
    }
    match groups.len() == rows.len() {
        true => Ok(groups),
        false => Err(Gap::Above),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, name: &str, above: &str, below: usize) -> GroupRow {
        GroupRow {
            id: id.to_owned(),
            name: name.to_owned(),
            parent_id: Some(above.to_owned()),
            sub_group_count: Some(below),
            realm_roles: Vec::new(),
            client_roles: BTreeMap::new(),
        }
    }

    fn top(below: usize) -> GroupRow {
        GroupRow { parent_id: None, ..row("top", "the organization's id", "", below) }
    }

    #[test]
    fn groups_come_from_the_top_down_with_their_paths() {
        let rows = [
            row("3", "c", "2", 0),
            row("1", "a", "top", 1),
            row("2", "b", "1", 1),
            row("4", "a/b", "top", 0),
        ];
        assert_eq!(root_of(&rows), Some("top"));
        let groups = arranged(&rows, &top(2)).unwrap();
        let mut paths: Vec<_> = groups.iter().map(|it| it.path.join(" > ")).collect();
        paths.sort();
        assert_eq!(paths, ["a", "a > b", "a > b > c", "a/b"]);
        for (place, group) in groups.iter().enumerate() {
            assert!(group.parent.is_none_or(|parent| parent < place), "{group:?}");
            let above = group.parent.map_or(&[][..], |parent| &groups[parent].path);
            assert_eq!(&group.path[..group.path.len() - 1], above);
        }
    }

    #[test]
    fn groups_that_do_not_add_up_are_unknown() {
        let one = || row("1", "a", "top", 0);
        let cases: [(&str, Vec<GroupRow>, GroupRow); 8] = [
            ("one on top is missing", vec![one()], top(2)),
            ("one on top too many", vec![one()], top(0)),
            ("one below is missing", vec![row("1", "a", "top", 1)], top(1)),
            ("one below too many", vec![one(), row("2", "b", "1", 0)], top(1)),
            ("a parent is in no list", vec![one(), row("2", "b", "9", 0)], top(1)),
            ("one came twice", vec![one(), one()], top(2)),
            (
                "two that are above one another",
                vec![one(), row("2", "b", "3", 1), row("3", "c", "2", 1)],
                top(1),
            ),
            ("no count", vec![GroupRow { sub_group_count: None, ..one() }], top(1)),
        ];
        for (what, rows, top) in cases {
            assert!(arranged(&rows, &top).is_err(), "{what}");
        }
    }
}
