//! The groups and roles of the realm, and its organizations where rules name some, as a full read has them, and how they differ from what the mirror
//! was told.
//!
//! Read as a whole, by the code of the full read: what leads to what depends on all of it, and it is
//! small beside the people. Of those only the lists are read that matter now and did not before.

use std::collections::{BTreeMap, BTreeSet};

use crate::directory::{
    Completeness, Interest, Kind, ListChange, RefDelta, RefId, RefIdx, SnapshotBuilder,
};
use crate::source::SourceError;
use crate::source::feed::{MirrorView, NoAnswer};
use crate::source::keycloak::asker::Asker;
use crate::source::keycloak::client::Client;
use crate::source::keycloak::config::KeycloakConfig;
use crate::source::keycloak::fault::CallError;
use crate::source::keycloak::federation::{self, Federation};
use crate::source::keycloak::graph;
use crate::source::keycloak::groups;
use crate::source::keycloak::organizations;
use crate::source::keycloak::pages::{self, Paging};
use crate::source::keycloak::read::FailureBudget;
use crate::source::keycloak::rights;
use crate::source::keycloak::roles::{self, Roles};

/// A group or role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Row {
    /// The facts of the mirror's row.
    name: String,
    identity: String,
    norm: String,
    parent: Option<RefId>,
    implies: BTreeSet<RefId>,
    /// A rule can name it, or something that it leads to.
    pub matters: bool,
    /// Its uuid: another one under the same key is another role, which nobody holds any more.
    uuid: String,
    /// Where its people are listed.
    pub people: Vec<String>,
    /// Nobody counts as being in it, whoever is listed.
    pub nobody: bool,
}

/// What is known of a row besides the mirror's facts.
struct About {
    matters: bool,
    uuid: String,
    people: Vec<String>,
    nobody: bool,
}

/// All of them.
pub(super) struct Structure {
    pub rows: BTreeMap<RefId, Row>,
    /// To ask for holders.
    pub roles: Roles,
    pub federations: Vec<Federation>,
    pub paging: Paging,
    /// The organizations are among them: rules name some, and the account may see them.
    pub organizations: bool,
}

/// What is different.
#[derive(Default)]
pub(super) struct Difference {
    /// Those that are new or changed, with all of their facts and without their people.
    pub refs: Vec<RefDelta>,
    /// Those that are no longer there.
    pub gone: Vec<RefId>,
    /// Those whose people must be read.
    pub unread: Vec<RefId>,
}

/// Why there is no structure that can be believed.
pub(super) enum Trouble {
    /// A call failed.
    Call(CallError),
    /// It is told already, with what to do: a right is missing.
    Told(SourceError),
    /// It came, and is not all there.
    Doubt(String),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Trouble::Call(error)
    }
}

/// Reads it.
pub(super) async fn read(
    client: &Client,
    config: &KeycloakConfig,
    interest: &dyn Interest,
) -> Result<Structure, Trouble> {
    let federations = federation::read(client).await?;
    let clients = roles::clients(client, &config.clients).await?;
    let rights = rights::check(client, &clients).await.map_err(Trouble::Told)?;
    let paging = pages::paging(client, &rights, &federations).await?;
    let budget = FailureBudget::default();
    let roles = roles::read(client, &budget, clients, &config.clients).await?;
    let groups = groups::read(client, &roles).await?;
    let asker = Asker { client, budget: &budget, paging };
    let sees = organizations::seen_with(&rights);
    let organizations = organizations::read(asker, interest, sees).await?;
    if let Some(doubt) = organizations.doubt().filter(|_| sees) {
        return Err(Trouble::Doubt(doubt.to_owned()));
    }
    if let Some(doubt) = groups.doubt.as_ref().or(roles.doubt.as_ref()) {
        return Err(Trouble::Doubt(doubt.clone()));
    }
    let mut builder = SnapshotBuilder::new(false);
    let graph = graph::build(&mut builder, &roles, &groups, interest);
    let of_organizations = organizations.build(&mut builder, interest);
    let mut rows = BTreeMap::new();
    let snapshot = builder.finish();
    let mut lists = [&snapshot.groups, &snapshot.roles].into_iter().chain(&snapshot.implies);
    if let Some(Completeness::Partial(doubt)) =
        lists.find(|it| matches!(it, Completeness::Partial(_)))
    {
        return Err(Trouble::Doubt(doubt.clone()));
    }
    let mut others: BTreeMap<RefId, About> = BTreeMap::new();
    for (group, reference) in groups.rows.iter().zip(&graph.groups) {
        let Some((_, matters)) = reference else { continue };
        let id = RefId { kind: Kind::Group, key: group.id.clone() };
        let people = ["groups", &group.id, "members"].map(str::to_owned).to_vec();
        let uuid = group.id.clone();
        others.insert(id, About { matters: *matters, uuid, people, nobody: false });
    }
    for (role, reference) in roles.rows.iter().zip(&graph.roles) {
        let Some((_, matters)) = reference else { continue };
        let kind = if role.client.is_some() { Kind::ClientRole } else { Kind::RealmRole };
        let id = RefId { kind, key: roles.key(role) };
        let people = roles.path(role, "users").into_iter().map(str::to_owned).collect();
        let uuid = role.id.clone();
        others.insert(id, About { matters: *matters, uuid, people, nobody: false });
    }
    for list in of_organizations.lists {
        let Some(id) = organizations::id_of(&list) else { continue };
        let (matters, uuid, nobody) = (list.matters, id.key.clone(), list.nobody);
        others.insert(id, About { matters, uuid, people: list.path, nobody });
    }
    // That all groups of an organization are here is what is known of its top.
    for key in organizations.tops() {
        let id = RefId { kind: Kind::OrganizationGroup, key: key.to_owned() };
        let uuid = key.to_owned();
        others.insert(id, About { matters: true, uuid, people: Vec::new(), nobody: true });
    }
    let directory = &snapshot.directory;
    let id_of = |reference: &RefIdx| {
        let row = directory.refs.get(*reference)?;
        Some(RefId { kind: row.kind, key: directory.text(row.key).to_owned() })
    };
    for (reference, row) in directory.refs.numbered() {
        let Some(id) = id_of(&reference) else { continue };
        let Some(About { matters, uuid, people, nobody }) = others.remove(&id) else { continue };
        let implies = directory.implies.get(reference).into_iter().flatten();
        let row = Row {
            name: directory.text(row.name).to_owned(),
            identity: directory.text(row.identity).to_owned(),
            norm: directory.text(row.norm).to_owned(),
            parent: row.parent.as_ref().and_then(id_of),
            implies: implies.filter_map(id_of).collect(),
            matters,
            uuid,
            people,
            nobody,
        };
        rows.insert(id, row);
    }
    let organizations = organizations.are.is_complete();
    Ok(Structure { rows, roles, federations, paging, organizations })
}

impl Row {
    /// The whole identity, for people.
    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether it is this organization, or a group of it.
    pub(super) fn is_of(&self, organization: &str) -> bool {
        let path = self.people.iter().map(String::as_str);
        path.take(2).eq(["organizations", organization])
    }

    fn same_facts(&self, other: &Row) -> bool {
        (&self.name, &self.identity, &self.norm, &self.parent, &self.implies)
            == (&other.name, &other.identity, &other.norm, &other.parent, &other.implies)
    }

    fn delta(&self, id: &RefId) -> RefDelta {
        RefDelta {
            name: Some(self.name.clone()),
            identity: Some(self.identity.clone()),
            norm: Some(self.norm.clone()),
            parent: Some(self.parent.clone()),
            implies: ListChange::Whole(self.implies.iter().cloned().collect()),
            ..RefDelta::new(id.clone())
        }
    }
}

impl Structure {
    /// Whether a rule can name it, or something that it leads to.
    pub(super) fn matters(&self, id: &RefId) -> bool {
        self.rows.get(id).is_some_and(|row| row.matters)
    }

    /// What is different from `last`, the structure that was read before. Unless it was `told` already
    /// everything is told again, and the mirror is asked what it has besides.
    pub(super) fn since(
        &self,
        last: &Structure,
        told: bool,
        mirror: &dyn MirrorView,
    ) -> Result<Difference, NoAnswer> {
        let mut difference = Difference::default();
        for (id, row) in &self.rows {
            let last = last.rows.get(id);
            let before = last.filter(|_| told);
            if before.is_none_or(|before| !before.same_facts(row)) {
                difference.refs.push(row.delta(id));
            }
            let known = mirror.knows_members(id)?;
            let remade = last.is_some_and(|last| last.uuid != row.uuid);
            if (row.matters && !known) || (known && remade) {
                difference.unread.push(id.clone());
            }
        }
        let told_here = |kind: Kind| match kind {
            Kind::Attribute => false,
            Kind::Organization | Kind::OrganizationGroup => self.organizations,
            Kind::Group | Kind::RealmRole | Kind::ClientRole | Kind::ForeignPrincipal => true,
        };
        let gone = |id: &RefId| told_here(id.kind) && !self.rows.contains_key(id);
        difference.gone = match told {
            true => last.rows.keys().filter(|id| gone(id)).cloned().collect(),
            false => mirror.everything()?.1.into_iter().filter(gone).collect(),
        };
        Ok(difference)
    }
}
