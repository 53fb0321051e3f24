//! The group tree: who is below whom, and which roles each group has.
//!
//! One flat call for the tree, then the groups in full, level by level: in full and flat it would
//! be one call, but its cost on a server that has just started grows faster than the number of
//! groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::api::{GroupCount, GroupRow, json};
use super::client::Client;
use super::fault::CallError;
use super::read::fan_out;
use super::roles::Roles;

/// How often the tree is read before a mismatch is taken as lasting.
const TRIES: usize = 3;
/// Groups a page, top level only.
const PAGE: &str = "100";

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub id: String,
    pub name: String,
    /// Names from the top, its own last.
    pub path: Vec<String>,
    /// The group above, as a place in [`Groups::rows`].
    pub parent: Option<usize>,
    /// Its own roles, as places in [`Roles::rows`].
    pub roles: Vec<usize>,
    /// Why `roles` may be short.
    pub doubt: Option<String>,
}

impl Group {
    /// The path as people write it. Names are not escaped, so two groups may share one.
    pub(super) fn identity(&self) -> String {
        format!("/{}", self.path.join("/"))
    }
}

/// All groups.
#[derive(Default, Debug)]
pub(super) struct Groups {
    /// In no order that means anything.
    pub rows: Vec<Group>,
    /// Why the groups may not be all.
    pub doubt: Option<String>,
}

/// Reads the tree, again where it changed meanwhile.
pub(super) async fn read(client: &Client, roles: &Roles) -> Result<Groups, CallError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let groups = once(client, roles).await?;
        if groups.doubt.is_none() || tries == TRIES {
            return Ok(groups);
        }
    }
}

async fn once(client: &Client, roles: &Roles) -> Result<Groups, CallError> {
    let rows = |body: &[u8]| json::<Vec<GroupRow>>(body);
    let flat_query = [
        ("search", "*"),
        ("populateHierarchy", "false"),
        ("max", "-1"),
        ("briefRepresentation", "true"),
        ("subGroupsCount", "false"),
    ];
    let flat = client.get(&["groups"], &flat_query, rows).await?;

    // Offsets may slip where groups come and go, so a short page is not the last: an empty one is.
    // What slipped is missed below.
    let mut full: HashMap<String, GroupRow> = HashMap::new();
    let mut first = 0usize;
    loop {
        let offset = first.to_string();
        let query = [
            ("first", offset.as_str()),
            ("max", PAGE),
            ("briefRepresentation", "false"),
            ("subGroupsCount", "false"),
        ];
        let page = client.get(&["groups"], &query, rows).await?;
        first += page.len();
        let before = full.len();
        full.extend(page.into_iter().map(|row| (row.id.clone(), row)));
        // Nothing new: the end, or a server that does not know offsets.
        if full.len() == before {
            break;
        }
    }
    let parents: BTreeSet<&str> = flat.iter().filter_map(|row| row.parent_id.as_deref()).collect();
    let parents: Vec<&str> = parents.into_iter().collect();
    let children = {
        let parents = &parents;
        fan_out(parents.len(), |place| {
            Box::pin(async move {
                let Some(parent) = parents.get(place) else { return Ok(None) };
                let query =
                    [("max", "-1"), ("briefRepresentation", "false"), ("subGroupsCount", "false")];
                client.get(&["groups", parent, "children"], &query, rows).await.map(Some)
            })
        })
        .await?
    };
    full.extend(children.into_iter().flatten().map(|row| (row.id.clone(), row)));

    let count = client.get(&["groups", "count"], &[], |body| json::<GroupCount>(body)).await?.count;
    Ok(build(flat, &full, count, roles))
}

/// Joins the flat list with the groups in full.
fn build(
    flat: Vec<GroupRow>,
    full: &HashMap<String, GroupRow>,
    count: u64,
    roles: &Roles,
) -> Groups {
    let flat: BTreeMap<String, GroupRow> =
        flat.into_iter().map(|row| (row.id.clone(), row)).collect();
    let mut doubt = None;
    if flat.len() as u64 != count {
        doubt = Some(format!("{} groups were listed, {count} counted", flat.len()));
    }
    let mut paths: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in flat.values() {
        match path_of(row, &flat) {
            Some(path) => {
                paths.insert(&row.id, path);
            }
            // Without its parent a group's path is unknown. A guess could be another group's,
            // with that one's roles: it is left out.
            None => doubt = Some(format!("the group above `{}` is in no list", row.name)),
        }
    }
    let places: HashMap<&str, usize> = paths.keys().enumerate().map(|(n, id)| (*id, n)).collect();
    let mut groups = Vec::with_capacity(paths.len());
    for (id, path) in &paths {
        let Some(row) = flat.get(*id) else { continue };
        let parent = row.parent_id.as_deref().and_then(|parent| places.get(parent).copied());
        let mut group = Group {
            id: row.id.clone(),
            name: row.name.clone(),
            path: path.clone(),
            parent,
            roles: Vec::new(),
            doubt: None,
        };
        match full.get(*id) {
            Some(full) => match roles_of(full, roles) {
                Ok(of_group) => group.roles = of_group,
                Err(why) => group.doubt = Some(why.to_string()),
            },
            None => {
                group.doubt = Some(RolesUnknown::Left.to_string());
                doubt = Some(format!(
                    "group `{}` is in one list and not in the other",
                    group.identity()
                ));
            }
        }
        if let Some(reason) = &mut group.doubt {
            *reason = format!("roles of group `/{}`: {reason}", path.join("/"));
        }
        groups.push(group);
    }
    Groups { rows: groups, doubt }
}

/// A group's names from the top; `None` where a group above is not in the list, or above itself.
fn path_of(row: &GroupRow, all: &BTreeMap<String, GroupRow>) -> Option<Vec<String>> {
    let mut path = vec![row.name.clone()];
    let mut next = row.parent_id.as_ref();
    while let Some(parent) = next {
        let parent = all.get(parent)?;
        path.push(parent.name.clone());
        if path.len() > all.len() {
            return None;
        }
        next = parent.parent_id.as_ref();
    }
    path.reverse();
    Some(path)
}

/// Why it is not known which roles a group has.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum RolesUnknown {
    #[error("it came without its roles")]
    Left,
    #[error("role `{0}` is in no list")]
    Realm(String),
    #[error("role `{client}/{role}` is in no list")]
    Client { client: String, role: String },
}

fn roles_of(row: &GroupRow, roles: &Roles) -> Result<Vec<usize>, RolesUnknown> {
    let (Some(of_realm), Some(of_clients)) = (&row.realm_roles, &row.client_roles) else {
        return Err(RolesUnknown::Left);
    };
    let refused = |name: &str| name == "." || name == "..";
    let mut found = Vec::new();
    for name in of_realm.iter().filter(|name| !refused(name)) {
        let role = roles.of_realm(name);
        found.push(role.ok_or_else(|| RolesUnknown::Realm(name.clone()))?);
    }
    for (client, names) in of_clients {
        for name in names.iter().filter(|name| !refused(name)) {
            let unknown = || RolesUnknown::Client { client: client.clone(), role: name.clone() };
            found.push(roles.of_client(client, name).ok_or_else(unknown)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, name: &str, parent: Option<&str>) -> GroupRow {
        GroupRow {
            id: id.to_owned(),
            name: name.to_owned(),
            parent_id: parent.map(str::to_owned),
            realm_roles: Some(Vec::new()),
            client_roles: Some(BTreeMap::new()),
        }
    }

    fn full(rows: &[GroupRow]) -> HashMap<String, GroupRow> {
        rows.iter().map(|row| (row.id.clone(), row.clone())).collect()
    }

    #[test]
    fn a_path_is_built_from_names_and_parents() {
        let rows = [row("1", "a", None), row("2", "b", Some("1")), row("3", "a/b", None)];
        let groups = build(rows.to_vec(), &full(&rows), 3, &Roles::default());
        assert_eq!(groups.doubt, None);
        let shown: Vec<_> = groups.rows.iter().map(|it| (it.identity(), it.path.len())).collect();
        assert_eq!(shown, [("/a".into(), 1), ("/a/b".into(), 2), ("/a/b".into(), 1)]);
        assert_eq!(groups.rows[1].parent, Some(0));
    }

    #[test]
    fn a_group_whose_parent_is_unknown_is_left_out_and_the_groups_are_partial() {
        let rows = [row("2", "b", Some("1"))];
        let groups = build(rows.to_vec(), &full(&rows), 1, &Roles::default());
        assert!(groups.rows.is_empty());
        assert!(groups.doubt.is_some());
    }

    #[test]
    fn groups_that_do_not_match_their_count_are_partial() {
        let rows = [row("1", "a", None)];
        for count in [0, 2] {
            assert!(build(rows.to_vec(), &full(&rows), count, &Roles::default()).doubt.is_some());
        }
        assert!(build(Vec::new(), &full(&[]), 7, &Roles::default()).doubt.is_some(), "200 []");
        assert!(build(Vec::new(), &full(&[]), 0, &Roles::default()).doubt.is_none());
    }

    #[test]
    fn a_group_without_its_full_form_has_unknown_roles_not_none() {
        let rows = [row("1", "a", None)];
        let groups = build(rows.to_vec(), &full(&[]), 1, &Roles::default());
        assert!(groups.rows[0].doubt.is_some());
        let mut brief = row("1", "a", None);
        brief.realm_roles = None;
        let groups = build(rows.to_vec(), &full(&[brief]), 1, &Roles::default());
        assert!(groups.rows[0].doubt.is_some());
        let mut unknown = row("1", "a", None);
        unknown.realm_roles = Some(vec!["new".to_owned()]);
        let groups = build(rows.to_vec(), &full(&[unknown]), 1, &Roles::default());
        assert!(groups.rows[0].doubt.as_deref().unwrap().contains("`new`"));
    }
}
