//! The organizations of a realm export: who is in them, and in their groups.
//!
//! A member is named by username, and lists its groups in the organization by their ids. Whoever is named and
//! is nobody of the export, or in a group that is not there, leaves in doubt who is in what: nobody is taken
//! for gone then.
//!
//! Keycloak takes a member whom the organization's own identity provider brought (`MANAGED`) for disabled while
//! the organization is, or while organizations are off in the realm. An export says so of each user itself
//! where a server wrote it; here it is so whatever the file says.

mod parsed;

use std::collections::HashMap;

use serde_json::Value;

use super::document::{self, Fault};
use super::odd::{At, Misfit, Names, kind};
use super::people::People;
use crate::directory::{
    Completeness, DirUserIdx, Enabled, Interest, Kind, RefIdx, SnapshotBuilder, organization_group,
};
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::source::keycloak::{names_a_role, roles_unused};
use parsed::{Group, Organization};

pub(super) use parsed::Organizations;

/// The key in the export.
const LIST: &str = "organizations";

/// Puts organizations, their groups and who is in them into what is read, where everybody is by now. `text`
/// is the export's; `counted` are the clients whose roles count.
///
/// # Errors
/// The text is no realm.
pub(super) fn read(
    text: &str,
    organizations: &Organizations,
    counted: &[String],
    interest: &dyn Interest,
    people: &mut People<'_>,
) -> Result<(), Fault> {
    let Organizations { enabled, list, doubt } = organizations;
    let completeness = match (enabled, doubt) {
        (Err(misfit), _) => Completeness::Partial(misfit.to_string()),
        (Ok(true), Some(doubt)) => Completeness::Partial(doubt.clone()),
        (Ok(_), _) => Completeness::Complete,
    };
    people.builder.organizations_are(completeness);
    if list.is_empty() {
        return Ok(());
    }
    let named = ByName::of(&people.builder);
    let mut places = Vec::new();
    for organization in list {
        let place = organization.as_ref().map(|it| match enabled {
            Ok(true) => Place::of(it, &mut people.builder),
            Ok(false) | Err(_) => Place::nowhere(enabled.clone()),
        });
        places.push(place);
    }
    document::each_member(text, &mut |organization, index, member| {
        if let Some(Some(place)) = places.get_mut(organization) {
            let at = At::top(LIST);
            let at = at.item(organization);
            let at = at.key("members");
            place.take(member, at.item(index), &named, people);
        }
    })?;
    for place in places.into_iter().flatten() {
        place.finish(&mut people.builder);
    }
    let told = match enabled {
        Ok(false) => Some(off(list.len())),
        Ok(true) | Err(_) => groups_with_roles(list.iter().flatten(), counted, interest),
    };
    told.into_iter().for_each(|told| people.builder.tell(told));
    Ok(())
}

fn off(count: usize) -> Diagnostic {
    let message = format!(
        "organizations are off in the realm (`organizationsEnabled`): of the {count} that it has none counts"
    );
    Diagnostic::warning(DiagnosticCode::OrganizationsOff, Subject::scope(LIST), message)
}

/// Everybody, by username.
struct ByName(Vec<DirUserIdx>);

/// Whom a username means.
enum Named {
    Nobody,
    One(DirUserIdx),
    Several,
}

impl ByName {
    fn of(builder: &SnapshotBuilder) -> Self {
        let mut users: Vec<DirUserIdx> = builder.users().collect();
        users.sort_by(|a, b| builder.username(*a).cmp(builder.username(*b)));
        ByName(users)
    }

    fn find(&self, builder: &SnapshotBuilder, username: &str) -> Named {
        let from = self.0.partition_point(|user| builder.username(*user) < username);
        let rest = self.0.get(from..).unwrap_or_default().iter();
        let mut found = rest.take_while(|user| builder.username(**user) == username);
        match (found.next(), found.next()) {
            (None, _) => Named::Nobody,
            (Some(one), None) => Named::One(*one),
            (Some(_), Some(_)) => Named::Several,
        }
    }
}

/// One organization, and what of it is in the snapshot.
struct Place {
    /// Whether who is in it counts. An `Err` says why that is not known.
    counts: Result<bool, Misfit>,
    row: Option<RefIdx>,
    /// What stands for the list of its groups.
    top: Option<RefIdx>,
    groups: Vec<RefIdx>,
    /// Its groups by id; `None`: several have it.
    by_id: HashMap<String, Option<RefIdx>>,
    /// Why not everybody may be listed.
    doubt: Option<String>,
    /// Why not all may be listed who are in its groups.
    doubt_in_groups: Option<String>,
    /// Why not all of its groups are listed: somebody is in one that is not.
    unlisted: Option<String>,
}

impl Place {
    /// One that is not in the snapshot.
    fn nowhere(counts: Result<bool, Misfit>) -> Self {
        Place {
            counts,
            row: None,
            top: None,
            groups: Vec::new(),
            by_id: HashMap::new(),
            doubt: None,
            doubt_in_groups: None,
            unlisted: None,
        }
    }

    /// Puts an organization and its groups into the snapshot.
    fn of(organization: &Organization, builder: &mut SnapshotBuilder) -> Self {
        let Organization { id, alias, enabled, groups, groups_doubt, members_doubt } = organization;
        let mut place = Place {
            doubt: members_doubt.clone(),
            doubt_in_groups: members_doubt.clone(),
            ..Place::nowhere(enabled.clone())
        };
        let taken = |builder: &SnapshotBuilder, key: &str| {
            let kinds = [Kind::Organization, Kind::OrganizationGroup];
            kinds.iter().any(|kind| builder.find_ref(*kind, key).is_some())
        };
        let mut key = id.clone().unwrap_or_else(|| alias.clone());
        if taken(builder, &key) {
            let message = match id {
                Some(_) => format!("the organization `{alias}` has the `id` of another"),
                None => format!("two organizations are `{alias}`, and not both have an `id`"),
            };
            let subject = Subject::reference(Kind::Organization, alias);
            let code = DiagnosticCode::OrganizationDuplicate;
            builder.tell(Diagnostic::warning(code, subject, message));
            let others = (1u32..).map(|number| format!("{alias}\u{0}{number}"));
            key = others.into_iter().find(|key| !taken(builder, key)).unwrap_or_default();
        }
        // Without room left for one there is none for the others.
        place.row = builder.organization(&key, alias);
        let Some(top) = builder.organization_top(&key, alias) else { return place };
        place.top = Some(top);
        if let Some(doubt) = groups_doubt {
            builder.members_are(top, Completeness::Partial(doubt.clone()));
        }
        place.put(groups, alias, &mut Vec::new(), top, builder);
        place
    }

    fn put<'e>(
        &mut self,
        groups: &'e [Group],
        alias: &str,
        above: &mut Vec<&'e str>,
        right_above: RefIdx,
        builder: &mut SnapshotBuilder,
    ) {
        for group in groups {
            above.push(&group.name);
            let key = group_key(group, alias, above, builder);
            if let Some(row) = builder.organization_group(&key, alias, above, right_above) {
                self.groups.push(row);
                if let Some(id) = &group.id {
                    let several = self.by_id.contains_key(id);
                    self.by_id.insert(id.clone(), Some(row).filter(|_| !several));
                }
                self.put(&group.sub_groups, alias, above, row, builder);
            }
            above.pop();
        }
    }

    /// Takes one member.
    fn take(&mut self, value: &Value, at: At<'_>, named: &ByName, people: &mut People<'_>) {
        let Value::Object(member) = value else {
            let told = people.odd.note(at, format!("is {}, not a member: left out", kind(value)));
            if !value.is_null() {
                self.leaves_out(&told);
            }
            return;
        };
        let username = match people.odd.text(member, "username", at) {
            Ok(Some(name)) if !name.is_empty() => name,
            _ => {
                let told = people.odd.note(at, "has no `username`: left out");
                return self.leaves_out(&told);
            }
        };
        let managed = people.odd.text(member, "membershipType", at);
        let groups = people.odd.names(member.get("groups"), at.key("groups"));
        if people.leaves_out(&username) {
            return;
        }
        let what = match named.find(&people.builder, &username) {
            Named::One(user) => {
                let managed = managed.is_ok_and(|it| it.as_deref() == Some("MANAGED"));
                return self.add(user, managed, &groups, (&username, at), people);
            }
            Named::Nobody => "is no user of the export: left out",
            Named::Several => "is the name of several users: left out",
        };
        let told = people.odd.note_of(&username, at, what);
        self.leaves_out(&told);
    }

    fn add(
        &mut self,
        user: DirUserIdx,
        managed: bool,
        groups: &Names,
        (username, at): (&str, At<'_>),
        people: &mut People<'_>,
    ) {
        if self.counts == Ok(false) && managed {
            people.builder.enabled_is(user, Enabled::No);
        }
        let Some(row) = self.row.filter(|_| self.counts == Ok(true)) else { return };
        people.builder.member(row, user);
        if let Some(doubt) = &groups.doubt {
            self.doubt_in_groups.get_or_insert_with(|| doubt.clone());
        }
        for id in &groups.list {
            if let Some(Some(group)) = self.by_id.get(id) {
                people.builder.member(*group, user);
                continue;
            }
            let what = "lists a group that is not one of the organization's: not counted in it";
            let told = people.odd.note_of(username, at.key("groups"), what);
            self.doubt_in_groups.get_or_insert_with(|| told.clone());
            // An id that two of its groups have is listed.
            if !self.by_id.contains_key(id) {
                self.unlisted.get_or_insert(told);
            }
        }
    }

    /// Somebody is left out: who is in what is not known in full.
    fn leaves_out(&mut self, why: &str) {
        for doubt in [&mut self.doubt, &mut self.doubt_in_groups] {
            doubt.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Says what is not known.
    fn finish(self, builder: &mut SnapshotBuilder) {
        let (doubt, doubt_in_groups) = match self.counts {
            Ok(true) => (self.doubt, self.doubt_in_groups),
            // Nobody is in it, whoever is listed.
            Ok(false) => (None, None),
            Err(misfit) => (Some(misfit.to_string()), Some(misfit.to_string())),
        };
        if let Some((row, doubt)) = self.row.zip(doubt) {
            builder.members_are(row, Completeness::Partial(doubt));
        }
        if let Some((top, doubt)) = self.top.zip(self.unlisted) {
            builder.members_are(top, Completeness::Partial(doubt));
        }
        for (group, doubt) in self.groups.into_iter().zip(std::iter::repeat(doubt_in_groups)) {
            if let Some(doubt) = doubt {
                builder.members_are(group, Completeness::Partial(doubt));
            }
        }
    }
}

/// What a group is known by: its id, where no other has it.
fn group_key(group: &Group, alias: &str, names: &[&str], builder: &mut SnapshotBuilder) -> String {
    // Joined by what no name can hold, as `a/b` and `b` below `a` are two groups.
    let by_names = format!("{alias}\u{0}{}", names.join("\u{0}"));
    let key = group.id.clone().unwrap_or_else(|| by_names.clone());
    let taken = |key: &str| builder.find_ref(Kind::OrganizationGroup, key).is_some();
    if !taken(&key) {
        return key;
    }
    let mut others = (1u32..).map(|number| format!("{by_names}\u{0}{number}"));
    let other = others.find(|key| !taken(key)).unwrap_or_default();
    let identity = organization_group(alias, names);
    let message = match &group.id {
        Some(_) => format!("the organization group `{identity}` has the `id` of another"),
        None => format!("two organization groups are `{identity}`, and neither has an `id`"),
    };
    let subject = Subject::reference(Kind::OrganizationGroup, &identity);
    builder.tell(Diagnostic::warning(DiagnosticCode::GroupDuplicate, subject, message));
    other
}

/// Tells of groups with roles that a rule can name: such a role reaches nobody through them.
fn groups_with_roles<'a>(
    organizations: impl Iterator<Item = &'a Organization>,
    counted: &[String],
    interest: &dyn Interest,
) -> Option<Diagnostic> {
    let has_role = |group: &Group| {
        let clients = group.client_roles.list.iter().map(|(client, roles)| (client, roles));
        names_a_role(group.realm_roles.list.iter(), clients, interest, counted)
    };
    let mut with_roles: Vec<String> = Vec::new();
    let mut open: Vec<(&str, Vec<&str>, &Group)> = Vec::new();
    for Organization { alias, groups, .. } in organizations {
        open.extend(groups.iter().map(|group| (alias.as_str(), Vec::new(), group)));
    }
    while let Some((alias, mut names, group)) = open.pop() {
        names.push(group.name.as_str());
        if has_role(group) {
            with_roles.push(organization_group(alias, &names));
        }
        open.extend(group.sub_groups.iter().map(|below| (alias, names.clone(), below)));
    }
    roles_unused(with_roles)
}
