//! The groups and roles of a realm export as refs, and how users' entries find them.
//!
//! Keycloak's rule: who is in a group has the roles of that group and of every group above it, and
//! who has a composite role has what it contains, through any number of roles of any client.
//!
//! # Roles of clients that do not count
//!
//! Only roles of the configured `clients` are identities that a rule can name. A role of another
//! client can still contain one that counts, so it must be walked through. It becomes a reference
//! that nothing can name: its bare name is empty, and its key and `norm` begin with
//! [`UNCOUNTED`]; only `identity` shows people what it is. One that leads to nothing that counts
//! (all of `account`, `realm-management`, …) is left out.
//!
//! # Lists of roles that are left out
//!
//! Without `roles`, `roles.realm`, `roles.client` or a client's list in it the file still says who holds
//! which role, but not what a role of that list contains: what was known of it stands
//! ([`UntoldRoles`]), and the reading is no less complete. A list that is there and does not have a role
//! says that there is none.

mod roles;

use std::collections::{BTreeSet, HashMap};

use super::builtin::Builtin;
use super::export::{Export, Group, Roles};
use super::odd::{ByClient, Names, Oddities};
use crate::directory::{
    Completeness, Interest, Kind, NewRef, RefIdx, SnapshotBuilder, UntoldRoles, client_role_key,
};
use crate::model::{Diagnostic, DiagnosticCode, Subject};

/// Before the key and `norm` of a role whose client does not count. No client role's identity
/// begins so: a blank never stands before the first `/` there by accident, and a mapping's client
/// is one of the configured.
const UNCOUNTED: &str = "(not counted) ";

/// What a user's or group's entry for a role means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// The reference of this number.
    At(RefIdx),
    /// Nothing that could matter: refused, or a role that leads to nothing that counts.
    Nowhere,
}

/// What a user's path of a group means.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// One group.
    One(RefIdx),
    /// These groups: nobody can tell which is meant.
    Several(Vec<RefIdx>),
    /// No group.
    None,
}

/// Where everything is.
pub(super) struct Graph<'a> {
    counted: &'a [String],
    roles: &'a Roles,
    builtin: Builtin,
    interest: &'a dyn Interest,
    paths: HashMap<String, Vec<RefIdx>>,
    realm: HashMap<String, Place>,
    client: HashMap<String, HashMap<String, Place>>,
    /// Roles that someone holds but the file does not list.
    unlisted: Vec<String>,
    /// The clients (`None`: the realm) of roles that are held or contained, whose list the file leaves out.
    untold: BTreeSet<Option<String>>,
    /// Why the roles that could be read may not be all that are listed.
    doubt: Option<String>,
}

impl<'a> Graph<'a> {
    /// Makes the refs of `export`. `counted` are the clients whose roles count, `interest` is
    /// what rules can name.
    pub(super) fn build(
        export: &'a Export,
        counted: &'a [String],
        interest: &'a dyn Interest,
        builder: &mut SnapshotBuilder,
        odd: &mut Oddities,
    ) -> Self {
        let mut graph = Graph {
            counted,
            roles: &export.roles,
            builtin: Builtin::of(export),
            interest,
            paths: HashMap::new(),
            realm: HashMap::new(),
            client: HashMap::new(),
            unlisted: Vec::new(),
            untold: BTreeSet::new(),
            doubt: odd.doubts.roles.clone(),
        };
        graph.roles(export, builder, odd);
        let groups = export.groups.as_deref().unwrap_or_default();
        let escaped = escapes_slashes(groups, "");
        graph.groups(groups, &mut Vec::new(), None, escaped, builder, odd);
        graph
    }

    /// The groups that a user's `path` fits.
    pub(super) fn group(&self, path: &str) -> Fit {
        // Keycloak writes a `/` in front and none behind, and takes paths without the one and with
        // the other.
        let front =
            || format!("/{}", path.strip_suffix('/').unwrap_or(path).trim_start_matches('/'));
        let found = self.paths.get(path).or_else(|| self.paths.get(&format!("/{path}")));
        match found.or_else(|| self.paths.get(&front())).map(Vec::as_slice) {
            None | Some([]) => Fit::None,
            Some([one]) => Fit::One(*one),
            Some(several) => Fit::Several(several.to_vec()),
        }
    }

    /// The refs of the roles that a user or group holds directly. Makes one for a role that
    /// is not listed, as Keycloak's import does; [`Graph::unlisted`] tells of it.
    pub(super) fn held(
        &mut self,
        realm: &Names,
        client: &ByClient,
        builder: &mut SnapshotBuilder,
    ) -> Vec<RefIdx> {
        let mut held = Vec::new();
        // Keycloak's import takes names of held roles without the spaces around them.
        for name in &realm.list {
            held.push(self.place(None, name.trim(), builder));
        }
        for (client, names) in &client.list {
            for name in names {
                held.push(self.place(Some(client), name.trim(), builder));
            }
        }
        let at = |place| if let Place::At(reference) = place { Some(reference) } else { None };
        held.into_iter().filter_map(at).collect()
    }

    /// Tells of roles that someone holds but the file does not list.
    pub(super) fn unlisted(&self, builder: &mut SnapshotBuilder) {
        if !self.untold.is_empty() {
            builder.untold_roles_are(self.untold_roles());
        }
        for what in self.left_out() {
            builder.tell(Diagnostic::warning(
                DiagnosticCode::ExportIncomplete,
                Subject::scope("roles"),
                format!(
                    "the export has no {what}: what its composite roles contain is not known to it; \
                     what was known of that stays"
                ),
            ));
        }
        for name in &self.unlisted {
            builder.tell(Diagnostic::warning(DiagnosticCode::RoleUnlisted, Subject::Name(name.clone()), format!(
                "{name} is held but not listed under `roles`: it counts as a role that contains \
                 nothing, as Keycloak imports it"
            )));
        }
    }

    fn place(&mut self, client: Option<&str>, name: &str, builder: &mut SnapshotBuilder) -> Place {
        let known = match client {
            None => self.realm.get(name),
            Some(client) => self.client.get(client).and_then(|roles| roles.get(name)),
        };
        if let Some(place) = known {
            return *place;
        }
        let counts = self.counts(client);
        let untold = self.is_untold(client);
        let place = if refused(client, name, builder) {
            Place::Nowhere
        } else if (counts || untold)
            && let Some(number) = reference(builder, client, name, None, counts)
        {
            match self.contents(client, name) {
                Some(contents) => builder.implies_is(number, contents),
                None => self.unlisted.push(title(client, name)),
            }
            Place::At(number)
        } else {
            Place::Nowhere
        };
        self.put(client, name, place);
        place
    }

    fn put(&mut self, client: Option<&str>, name: &str, place: Place) -> Option<Place> {
        let roles = match client {
            None => &mut self.realm,
            Some(client) => self.client.entry(client.to_owned()).or_default(),
        };
        roles.insert(name.to_owned(), place)
    }

    fn counts(&self, client: Option<&str>) -> bool {
        client.is_none_or(|client| self.counted.iter().any(|counted| counted == client))
    }

    /// Whether the file leaves out the list that roles of `client` stand in. Somebody holds or contains one,
    /// which is noted.
    fn is_untold(&mut self, client: Option<&str>) -> bool {
        let untold = !self.roles.are_told(client);
        if untold {
            self.untold.insert(client.map(str::to_owned));
        }
        untold
    }

    /// How much is known of what a role contains that the file does not list; `None`: nothing is in it.
    fn contents(&self, client: Option<&str>, name: &str) -> Option<Completeness> {
        if self.builtin.is(client, name) && self.counts(client) {
            return Some(self.inside(client, name));
        }
        let doubt = self.doubt.clone().map(Completeness::Partial);
        doubt.or((!self.roles.are_told(client)).then_some(Completeness::NotAsked))
    }

    fn untold_roles(&self) -> UntoldRoles {
        let client = |client: &str| client_role_key(client, "").trim_end_matches('/').to_owned();
        let told = self.roles.told_clients().map(client);
        let told = told.flat_map(|client| [format!("{UNCOUNTED}{client}"), client]);
        UntoldRoles { realm: self.roles.realm.is_none(), clients_but: Some(told.collect()) }
    }

    /// What the file leaves out of its roles though they are held or contained; all of them in any case.
    fn left_out(&self) -> Vec<String> {
        if self.doubt.is_some() {
            // There is something that is no list: that is told.
            return Vec::new();
        }
        if !self.roles.there {
            return vec!["`roles`".to_owned()];
        }
        let of = |client: &Option<String>| match client {
            None => "`roles.realm`".to_owned(),
            Some(_) if self.roles.client.is_none() => "`roles.client`".to_owned(),
            Some(client) => format!("`roles.client.{client}`"),
        };
        let mut left_out: Vec<String> = self.untold.iter().map(of).collect();
        left_out.dedup();
        left_out
    }

    /// What is known of what a role contains that Keycloak makes and the file does not list: nothing,
    /// so what was known before stays. Where a rule names what it normally contains, that is missed
    /// now.
    fn inside(&self, client: Option<&str>, name: &str) -> Completeness {
        let missed = self.builtin.normally_in(client, name).find(|(client, name)| {
            let (kind, identity) = match client {
                None => (Kind::RealmRole, (*name).to_owned()),
                Some(client) => (Kind::ClientRole, format!("{client}/{name}")),
            };
            let key = client.map_or_else(|| (*name).to_owned(), |it| client_role_key(it, name));
            self.counts(*client)
                && self.interest.reaches(kind, &key, name, &identity, &key, &[name])
        });
        match missed {
            None => Completeness::NotAsked,
            Some((inner, inner_name)) => Completeness::Partial(format!(
                "{} is not listed under `roles`, and Keycloak normally puts {} into it",
                title(client, name),
                title(inner, inner_name)
            )),
        }
    }

    fn groups<'e>(
        &mut self,
        groups: &'e [Group],
        above: &mut Vec<&'e str>,
        parent: Option<RefIdx>,
        escaped: bool,
        builder: &mut SnapshotBuilder,
        odd: &mut Oddities,
    ) {
        for group in groups {
            above.push(&group.name);
            let path = joined(above, false);
            // Without room left for it there is none for those below it.
            let Some(number) = new_group(group, above, &path, builder) else { return };
            if let Some(parent) = parent {
                builder.child(parent, number);
            }
            let spelt = if escaped { joined(above, true) } else { path };
            self.paths.entry(spelt).or_default().push(number);
            let (realm, client) = (&group.realm_roles, &group.client_roles);
            for role in self.held(realm, client, builder) {
                builder.leads_to(number, role);
            }
            if let Some(doubt) = realm.doubt.as_ref().or(client.doubt.as_ref()) {
                builder.implies_is(number, Completeness::Partial(doubt.clone()));
                odd.doubts.roles.get_or_insert(doubt.clone());
            }
            self.groups(&group.sub_groups, above, Some(number), escaped, builder, odd);
            above.pop();
        }
    }
}

/// Makes a group's reference.
fn new_group(
    group: &Group,
    names: &[&str],
    path: &str,
    builder: &mut SnapshotBuilder,
) -> Option<RefIdx> {
    // Without an id the names from the top are what identifies a group; joined by what no name can
    // hold, as `a/b` and `b` below `a` are two groups.
    let by_names = names.join("\u{0}");
    let mut key = group.id.clone().unwrap_or_else(|| by_names.clone());
    let mut tries = 0;
    loop {
        let (_, before) = builder.counts();
        let number = builder.reference(&NewRef {
            kind: Kind::Group,
            key: &key,
            name: &group.name,
            identity: path,
            norm: path,
        })?;
        if builder.counts().1 > before {
            return Some(number);
        }
        if tries == 0 {
            let message = match &group.id {
                Some(_) => format!("the group `{path}` has the `id` of another group"),
                None => format!("two groups are `{path}`, and neither has an `id`"),
            };
            let subject = Subject::reference(Kind::Group, path);
            builder.tell(Diagnostic::warning(DiagnosticCode::GroupDuplicate, subject, message));
        }
        tries += 1;
        key = format!("{by_names}\u{0}{tries}");
    }
}

/// The path of a group whose names from the top are `names`.
fn joined(names: &[&str], escaped: bool) -> String {
    names.iter().fold(String::new(), |path, name| match escaped {
        true => path + "/" + &name.replace('/', "~/"),
        false => path + "/" + name,
    })
}

/// Whether the server that wrote the export escapes `/` in names as `~/` in paths
/// (`--spi-group--jpa--escape-slashes-in-group-path=true`). A group whose name has a `/` shows it;
/// where no group has one, both spellings are the same.
fn escapes_slashes(groups: &[Group], above: &str) -> bool {
    groups.iter().any(|group| {
        let path = format!("{above}/{}", group.name.replace('/', "~/"));
        (group.name.contains('/') && group.path.as_ref() == Some(&path))
            || escapes_slashes(&group.sub_groups, &path)
    })
}

fn reference(
    builder: &mut SnapshotBuilder,
    client: Option<&str>,
    name: &str,
    id: Option<&str>,
    counts: bool,
) -> Option<RefIdx> {
    let identity = client.map_or_else(|| name.to_owned(), |client| format!("{client}/{name}"));
    let norm = client.map_or_else(|| name.to_owned(), |client| client_role_key(client, name));
    let key = id.unwrap_or(&norm);
    let kind = if client.is_some() { Kind::ClientRole } else { Kind::RealmRole };
    if counts {
        builder.reference(&NewRef { kind, key, name, identity: &identity, norm: &norm })
    } else {
        builder.reference(&NewRef {
            kind,
            key: &format!("{UNCOUNTED}{key}"),
            name: "",
            identity: &identity,
            norm: &format!("{UNCOUNTED}{norm}"),
        })
    }
}

/// A role of the realm, or of a client, as what something is told of.
fn subject_of(client: Option<&str>, role: &str) -> Subject {
    match client {
        None => Subject::reference(Kind::RealmRole, role),
        Some(client) => Subject::reference(Kind::ClientRole, &format!("{client}/{role}")),
    }
}

/// Roles called `.` or `..` are refused in every kind of source: in a URL of Keycloak's admin API
/// such a name turns "who has this role" into "who is there", and a file must not say more than
/// the server that wrote it could be asked.
fn refused(client: Option<&str>, name: &str, builder: &mut SnapshotBuilder) -> bool {
    if is_dots(name) {
        let title = title(client, name);
        builder.tell(Diagnostic::warning(
            DiagnosticCode::RoleNameRefused,
            subject_of(client, name),
            format!("{title} is refused: a role cannot be called `.` or `..`"),
        ));
    }
    is_dots(name)
}

fn is_dots(name: &str) -> bool {
    name == "." || name == ".."
}

fn title(client: Option<&str>, name: &str) -> String {
    match client {
        None => format!("realm role `{name}`"),
        Some(client) => format!("client role `{client}/{name}`"),
    }
}
