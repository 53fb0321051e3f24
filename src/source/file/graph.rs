//! The groups and roles of a realm export as containers, and how users' entries find them.
//!
//! Keycloak's rule: who is in a group has the roles of that group and of every group above it, and
//! who has a composite role has what it contains, through any number of roles of any client.
//!
//! # Roles of clients that do not count
//!
//! Only roles of the configured `clients` are identities that a rule can name. A role of another
//! client can still contain one that counts, so it must be walked through. It becomes a container
//! that nothing can name: its bare name is empty, and its key and `norm` begin with
//! [`UNCOUNTED`]; only `identity` shows people what it is. One that leads to nothing that counts
//! (all of `account`, `realm-management`, …) is left out.

use std::collections::HashMap;

use super::export::{ByClient, Export, Fault, Group, Role};
use crate::source::{Completeness, Kind, NewContainer, ReadingBuilder};

/// Before the key and `norm` of a role whose client does not count. No client role's identity
/// begins so: a blank never stands before the first `/` there by accident, and a mapping's client
/// is one of the configured.
const UNCOUNTED: &str = "(not counted) ";

/// What a user's or group's entry for a role means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// The container of this number.
    At(u32),
    /// Nothing that could matter: refused, or a role that leads to nothing that counts.
    Nowhere,
}

/// What a user's path of a group means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// One group.
    One(u32),
    /// This many groups: nobody can tell which is meant.
    Several(usize),
    /// No group.
    None,
}

/// Where everything is.
pub(super) struct Graph<'a> {
    counted: &'a [String],
    paths: HashMap<String, Vec<u32>>,
    realm: HashMap<String, Place>,
    client: HashMap<String, HashMap<String, Place>>,
    /// Roles that someone holds but the file does not list.
    unlisted: Vec<String>,
}

/// A role as listed, before it is known whether it matters.
struct Listed<'a> {
    client: Option<&'a str>,
    role: &'a Role,
    counts: bool,
    contains: Vec<usize>,
    /// Why it is not known what it contains.
    unknown: Option<String>,
}

impl<'a> Graph<'a> {
    /// Makes the containers of `export`. `counted` are the clients whose roles count.
    pub(super) fn build(
        export: &Export,
        counted: &'a [String],
        builder: &mut ReadingBuilder,
    ) -> Result<Self, Fault> {
        let mut graph = Graph {
            counted,
            paths: HashMap::new(),
            realm: HashMap::new(),
            client: HashMap::new(),
            unlisted: Vec::new(),
        };
        graph.roles(export, builder)?;
        let groups = export.groups.as_deref().unwrap_or_default();
        let escaped = escapes_slashes(groups, "");
        graph.groups(groups, &mut Vec::new(), None, escaped, builder)?;
        Ok(graph)
    }

    /// The groups that a user's `path` fits.
    pub(super) fn group(&self, path: &str) -> Fit {
        // Keycloak writes a `/` in front, and takes paths without one.
        let found = self.paths.get(path).or_else(|| self.paths.get(&format!("/{path}")));
        match found.map(Vec::as_slice) {
            None | Some([]) => Fit::None,
            Some([one]) => Fit::One(*one),
            Some(several) => Fit::Several(several.len()),
        }
    }

    /// The containers of the roles that a user or group holds directly. Makes one for a role that
    /// is not listed, as Keycloak's import does; [`Graph::unlisted`] tells of it.
    pub(super) fn held(
        &mut self,
        realm: Option<&[String]>,
        client: Option<&ByClient>,
        builder: &mut ReadingBuilder,
    ) -> Vec<u32> {
        let mut held = Vec::new();
        for name in realm.unwrap_or_default() {
            held.push(self.place(None, name, builder));
        }
        for (client, names) in client.into_iter().flatten() {
            for name in names {
                held.push(self.place(Some(client), name, builder));
            }
        }
        let at = |place| if let Place::At(container) = place { Some(container) } else { None };
        held.into_iter().filter_map(at).collect()
    }

    /// Tells of roles that someone holds but the file does not list.
    pub(super) fn unlisted(&self, builder: &mut ReadingBuilder) {
        for name in &self.unlisted {
            builder.warn(format!(
                "{name} is held but not listed under `roles`: it counts as a role that contains \
                 nothing, as Keycloak imports it"
            ));
        }
    }

    fn place(&mut self, client: Option<&str>, name: &str, builder: &mut ReadingBuilder) -> Place {
        let known = match client {
            None => self.realm.get(name),
            Some(client) => self.client.get(client).and_then(|roles| roles.get(name)),
        };
        if let Some(place) = known {
            return *place;
        }
        let place = if refused(client, name, builder) {
            Place::Nowhere
        } else if self.counts(client) {
            self.unlisted.push(title(client, name));
            Place::At(container(builder, client, name, None, true))
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

    fn roles(&mut self, export: &Export, builder: &mut ReadingBuilder) -> Result<(), Fault> {
        let mut listed = self.listed(export, builder)?;
        contents(&mut listed);
        let matters = matters(&listed);
        let mut places = Vec::with_capacity(listed.len());
        for (role, matters) in listed.iter().zip(&matters) {
            let place = if *matters {
                Place::At(self.listed_container(role, builder)?)
            } else {
                Place::Nowhere
            };
            self.put(role.client, &role.role.name, place);
            places.push(place);
        }
        for (role, place) in listed.iter().zip(&places) {
            let Place::At(from) = *place else { continue };
            for inner in &role.contains {
                if let Some(Place::At(to)) = places.get(*inner) {
                    builder.leads_to(from, *to);
                }
            }
            if let Some(why) = &role.unknown {
                builder.up_is(from, Completeness::Partial(why.clone()));
            }
        }
        Ok(())
    }

    fn listed<'e>(
        &mut self,
        export: &'e Export,
        builder: &mut ReadingBuilder,
    ) -> Result<Vec<Listed<'e>>, Fault> {
        let Some(roles) = export.roles() else { return Ok(Vec::new()) };
        let realm = roles.realm.iter().flatten().map(|role| (None, role));
        let client = roles.client.iter().flatten();
        let client = client.flat_map(|(id, roles)| roles.iter().map(|r| (Some(id.as_str()), r)));
        let mut listed = Vec::new();
        for (client, role) in realm.chain(client) {
            if refused(client, &role.name, builder) {
                self.put(client, &role.name, Place::Nowhere);
                continue;
            }
            if self.put(client, &role.name, Place::Nowhere).is_some() {
                let title = title(client, &role.name);
                return Err(Fault::whole(format!("`roles` lists {title} twice")));
            }
            let counts = self.counts(client);
            listed.push(Listed { client, role, counts, contains: Vec::new(), unknown: None });
        }
        Ok(listed)
    }

    fn listed_container(
        &self,
        listed: &Listed<'_>,
        builder: &mut ReadingBuilder,
    ) -> Result<u32, Fault> {
        let Listed { client, role, counts, .. } = listed;
        let (_, before) = builder.counts();
        let number = container(builder, *client, &role.name, role.id.as_deref(), *counts);
        if builder.counts().1 == before {
            return Err(Fault::whole(format!(
                "{} has the `id` of another role: `{}`",
                title(*client, &role.name),
                role.id.as_deref().unwrap_or_default()
            )));
        }
        Ok(number)
    }

    fn groups<'e>(
        &mut self,
        groups: &'e [Group],
        above: &mut Vec<&'e str>,
        parent: Option<u32>,
        escaped: bool,
        builder: &mut ReadingBuilder,
    ) -> Result<(), Fault> {
        for group in groups {
            above.push(&group.name);
            let path = joined(above, false);
            if group.name.is_empty() {
                return Err(Fault::whole(format!("the group `{path}` has an empty name")));
            }
            // Without an id the names from the top are what identifies a group; joined by what no
            // name can hold, as `a/b` and `b` below `a` are two groups.
            let key = group.id.clone().unwrap_or_else(|| above.join("\u{0}"));
            let (_, before) = builder.counts();
            let number = builder.container(&NewContainer {
                kind: Kind::Group,
                key: &key,
                name: &group.name,
                identity: &path,
                norm: &path,
            });
            if builder.counts().1 == before {
                return Err(Fault::whole(match &group.id {
                    Some(id) => format!("the group `{path}` has the `id` of another: `{id}`"),
                    None => format!("two groups are `{path}`, and neither has an `id`"),
                }));
            }
            if let Some(parent) = parent {
                builder.child(parent, number);
            }
            let spelt = if escaped { joined(above, true) } else { path };
            self.paths.entry(spelt).or_default().push(number);
            let roles = group.realm_roles.as_deref();
            for role in self.held(roles, group.client_roles.as_ref(), builder) {
                builder.leads_to(number, role);
            }
            let below = group.sub_groups.as_deref().unwrap_or_default();
            self.groups(below, above, Some(number), escaped, builder)?;
            above.pop();
        }
        Ok(())
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
            || escapes_slashes(group.sub_groups.as_deref().unwrap_or_default(), &path)
    })
}

/// Finds what each composite role contains.
fn contents(listed: &mut [Listed<'_>]) {
    let numbers: HashMap<(Option<&str>, &str), usize> =
        listed.iter().enumerate().map(|(n, l)| ((l.client, l.role.name.as_str()), n)).collect();
    for outer in listed {
        let own = title(outer.client, &outer.role.name);
        let Some(composites) = outer.role.composites() else {
            // `composite` without `composites` is how the admin API lists roles, not how an export
            // writes them: what is in it is unknown, which is not the same as nothing.
            if outer.role.composite == Some(true) {
                let why = format!("{own} is composite, but the file does not say of what");
                outer.unknown = Some(why);
            }
            continue;
        };
        let realm = composites.realm.iter().flatten().map(|name| (None, name));
        let client = composites.client.iter().flatten();
        let client =
            client.flat_map(|(id, names)| names.iter().map(|name| (Some(id.as_str()), name)));
        for (client, name) in realm.chain(client) {
            match numbers.get(&(client, name.as_str())) {
                Some(inner) => outer.contains.push(*inner),
                None if is_dots(name) => {}
                // What this inner role contains is unknown, so what the outer one gives is too.
                None => {
                    let inner = title(client, name);
                    let why = format!("{own} contains {inner}, which the file does not list");
                    outer.unknown.get_or_insert(why);
                }
            }
        }
    }
}

/// For each role whether it counts or leads to one that does.
fn matters(listed: &[Listed<'_>]) -> Vec<bool> {
    let mut inside: Vec<Vec<usize>> = vec![Vec::new(); listed.len()];
    for (outer, role) in listed.iter().enumerate() {
        for inner in &role.contains {
            if let Some(outers) = inside.get_mut(*inner) {
                outers.push(outer);
            }
        }
    }
    let mut matters: Vec<bool> = listed.iter().map(|role| role.counts).collect();
    let mut next: Vec<usize> =
        (0..listed.len()).filter(|n| matters.get(*n) == Some(&true)).collect();
    while let Some(number) = next.pop() {
        for outer in inside.get(number).into_iter().flatten() {
            if let Some(slot) = matters.get_mut(*outer)
                && !*slot
            {
                *slot = true;
                next.push(*outer);
            }
        }
    }
    matters
}

fn container(
    builder: &mut ReadingBuilder,
    client: Option<&str>,
    name: &str,
    id: Option<&str>,
    counts: bool,
) -> u32 {
    let identity = client.map_or_else(|| name.to_owned(), |client| format!("{client}/{name}"));
    let key = id.unwrap_or(&identity);
    let kind = if client.is_some() { Kind::ClientRole } else { Kind::RealmRole };
    if counts {
        let norm = &identity;
        builder.container(&NewContainer { kind, key, name, identity: &identity, norm })
    } else {
        builder.container(&NewContainer {
            kind,
            key: &format!("{UNCOUNTED}{key}"),
            name: "",
            identity: &identity,
            norm: &format!("{UNCOUNTED}{identity}"),
        })
    }
}

/// Roles called `.` or `..` are refused in every kind of source: in a URL of Keycloak's admin API
/// such a name turns "who has this role" into "who is there", and a file must not say more than
/// the server that wrote it could be asked.
fn refused(client: Option<&str>, name: &str, builder: &mut ReadingBuilder) -> bool {
    if is_dots(name) {
        let title = title(client, name);
        builder.warn(format!("{title} is refused: a role cannot be called `.` or `..`"));
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
