//! Groups and roles as refs, and which of them lead to something that a rule can name.

use super::groups::Groups;
use super::roles::Roles;
use crate::directory::{Completeness, Interest, Kind, NewRef, RefIdx, SnapshotBuilder};

/// The refs of a read, by their place in [`Groups::rows`] and [`Roles::rows`].
pub(super) struct Graph {
    /// The reference of each group, and whether its members matter. None where there was no room left.
    pub groups: Vec<Option<(RefIdx, bool)>>,
    /// The reference of each role, and whether its holders matter. None for a role that is no
    /// target and leads to none.
    pub roles: Vec<Option<(RefIdx, bool)>>,
}

/// Puts groups and roles into the snapshot.
///
/// Roles of clients that are not configured are there only where they lead to something that
/// matters, and without a bare name: nothing may reach them by name, they are only on the way.
pub(super) fn build(
    builder: &mut SnapshotBuilder,
    roles: &Roles,
    groups: &Groups,
    interest: &dyn Interest,
) -> Graph {
    let matter = closure(roles, groups, interest);
    let (group_matters, role_matters) = matter.split_at(groups.rows.len());

    let mut graph = Graph { groups: Vec::new(), roles: Vec::new() };
    for (group, matters) in groups.rows.iter().zip(group_matters) {
        let identity = group.identity();
        let reference = builder.reference(&NewRef {
            kind: Kind::Group,
            key: &group.id,
            name: &group.name,
            identity: &identity,
            norm: &identity,
        });
        graph.groups.push(reference.map(|reference| (reference, *matters)));
    }
    for (role, matters) in roles.rows.iter().zip(role_matters) {
        let counts = roles.counts(role);
        if !counts && !matters {
            graph.roles.push(None);
            continue;
        }
        let (identity, key) = (roles.identity(role), roles.key(role));
        let reference = builder.reference(&NewRef {
            kind: if role.client.is_some() { Kind::ClientRole } else { Kind::RealmRole },
            key: &key,
            name: if counts { &role.name } else { "" },
            identity: &identity,
            norm: &key,
        });
        graph.roles.push(reference.map(|reference| (reference, *matters)));
    }

    let reference = |role: &usize| graph.roles.get(*role).copied().flatten().map(|it| it.0);
    for (group, from) in groups.rows.iter().zip(&graph.groups) {
        let Some((from, _)) = from else { continue };
        let parent = group.parent.and_then(|parent| graph.groups.get(parent));
        if let Some((parent, _)) = parent.copied().flatten() {
            builder.child(parent, *from);
        }
        group.roles.iter().filter_map(reference).for_each(|role| builder.leads_to(*from, role));
        if let Some(doubt) = &group.doubt {
            builder.implies_is(*from, Completeness::Partial(doubt.clone()));
        }
    }
    for (role, from) in roles.rows.iter().zip(&graph.roles) {
        let Some((from, _)) = from else { continue };
        role.contains.iter().filter_map(reference).for_each(|role| builder.leads_to(*from, role));
        if let Some(doubt) = &role.doubt {
            builder.implies_is(*from, Completeness::Partial(doubt.clone()));
        }
    }
    graph
}

/// For each group, then each role: whether a rule can name it or something that it leads to.
fn closure(roles: &Roles, groups: &Groups, interest: &dyn Interest) -> Vec<bool> {
    let first_role = groups.rows.len();
    let mut matter = Vec::with_capacity(first_role + roles.rows.len());
    // For each thing those that lead straight to it.
    let mut down: Vec<Vec<usize>> = vec![Vec::new(); first_role + roles.rows.len()];
    let mut lead = |from: usize, to: usize| {
        if let Some(list) = down.get_mut(to) {
            list.push(from);
        }
    };
    for (place, group) in groups.rows.iter().enumerate() {
        let path: Vec<&str> = group.path.iter().map(String::as_str).collect();
        let identity = group.identity();
        let (id, name) = (&group.id, &group.name);
        matter.push(interest.reaches(Kind::Group, id, name, &identity, &identity, &path));
        group.parent.into_iter().for_each(|parent| lead(place, parent));
        group.roles.iter().for_each(|role| lead(place, first_role + role));
    }
    for (place, role) in roles.rows.iter().enumerate() {
        let (identity, key) = (roles.identity(role), roles.key(role));
        let kind = if role.client.is_some() { Kind::ClientRole } else { Kind::RealmRole };
        let name = if roles.counts(role) { role.name.as_str() } else { "" };
        matter.push(interest.reaches(kind, &key, name, &identity, &key, &[name]));
        role.contains.iter().for_each(|to| lead(first_role + place, first_role + to));
    }
    let mut open: Vec<usize> =
        (0..matter.len()).filter(|n| matter.get(*n) == Some(&true)).collect();
    while let Some(next) = open.pop() {
        for from in down.get(next).map_or(&[][..], Vec::as_slice) {
            if let Some(seen) = matter.get_mut(*from)
                && !*seen
            {
                *seen = true;
                open.push(*from);
            }
        }
    }
    matter
}
