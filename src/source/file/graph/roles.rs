//! The roles of a realm export, and what each contains.
//!
//! Keycloak's import makes a role that somebody holds, so it counts as one that contains nothing where its
//! list is there. What a role of a list that the file leaves out contains is not told.
//! But the roles that Keycloak itself makes are there whether the file lists them or not: what those
//! contain is unknown ([`super::super::builtin`]).

use std::collections::{HashMap, HashSet};

use super::{Graph, Place, is_dots, reference, refused, subject_of, title};
use crate::directory::{Completeness, RefIdx, SnapshotBuilder};
use crate::model::{Diagnostic, DiagnosticCode};
use crate::source::file::export::{Composites, Export, Role};
use crate::source::file::odd::Oddities;

/// A role as listed, before it is known whether it matters.
struct Listed<'a> {
    client: Option<&'a str>,
    role: &'a Role,
    counts: bool,
    /// What it contains may be known from before alone, so it is kept whatever it leads to now.
    untold: bool,
    contains: Vec<usize>,
    /// How much of what it contains is known.
    implies: Completeness,
}

impl Listed<'_> {
    /// Whether it counts, or may lead to what counts for all that the file says.
    fn may_give(&self) -> bool {
        self.counts || self.untold || matches!(self.implies, Completeness::Partial(_))
    }

    fn unknown(&mut self, why: String) {
        if !matches!(self.implies, Completeness::Partial(_)) {
            self.implies = Completeness::Partial(why);
        }
    }
}

impl Graph<'_> {
    pub(super) fn roles(
        &mut self,
        export: &Export,
        builder: &mut SnapshotBuilder,
        odd: &mut Oddities,
    ) {
        let implied = self.implied(export);
        let mut listed = self.listed(export, builder);
        for (client, role) in &implied {
            let (client, name) = (client.as_deref(), role.name.as_str());
            self.put(client, name, Place::Nowhere);
            listed.push(Listed {
                client,
                role,
                counts: self.counts(client),
                untold: self.is_untold(client),
                contains: Vec::new(),
                implies: self.contents(client, name).unwrap_or_else(|| self.inside(client, name)),
            });
        }
        let mut missing = contents(&mut listed);
        missing.extend(self.defaults(export, &mut listed));
        // The list is not whole: what it does not have is not gone.
        if let (None, Some(missing)) = (&odd.doubts.roles, missing.into_iter().next()) {
            odd.doubts.roles = Some(missing.clone());
            self.doubt = Some(missing);
        }
        let matters = matters(&listed);
        let mut places = Vec::with_capacity(listed.len());
        for (role, matters) in listed.iter().zip(&matters) {
            let place = match matters.then(|| listed_ref(role, builder, odd)).flatten() {
                Some(reference) => Place::At(reference),
                None => Place::Nowhere,
            };
            self.put(role.client, &role.role.name, place);
            places.push(place);
        }
        for (role, place) in listed.into_iter().zip(&places) {
            let Place::At(from) = *place else { continue };
            for inner in &role.contains {
                if let Some(Place::At(to)) = places.get(*inner) {
                    builder.leads_to(from, *to);
                }
            }
            builder.implies_is(from, role.implies);
        }
    }

    /// The roles that something listed contains and the file does not list, since Keycloak makes them or
    /// their list is left out; and the role of new users where the file says in the old way what it
    /// contains.
    fn implied(&self, export: &Export) -> Vec<(Option<String>, Role)> {
        let mut known: HashSet<(Option<&str>, &str)> = HashSet::new();
        let mut wanted: Vec<(Option<&str>, &str)> = Vec::new();
        for (client, role) in each_role(export) {
            known.insert((client, &role.name));
            wanted.extend(role.composites.iter().flat_map(inner));
        }
        let defaults = old_defaults(export);
        if !defaults.is_empty() {
            wanted.push((None, self.builtin.default_role()));
        }
        wanted.extend(defaults);
        let mut implied = Vec::new();
        for (client, name) in wanted {
            let there = self.builtin.is(client, name) || !self.roles.are_told(client);
            if known.insert((client, name)) && there && !is_dots(name) {
                let role =
                    Role { id: None, name: name.to_owned(), composite: false, composites: None };
                implied.push((client.map(str::to_owned), role));
            }
        }
        implied
    }

    /// Puts into the role of new users what the file says in the way of older servers. What it does not
    /// list though it should is told.
    fn defaults(&self, export: &Export, listed: &mut [Listed<'_>]) -> Vec<String> {
        let mut missing = Vec::new();
        let default_role = self.builtin.default_role();
        let place = |client: Option<&str>, name: &str| {
            listed.iter().position(|it| it.client == client && it.role.name == name)
        };
        let Some(outer) = place(None, default_role) else { return missing };
        let inner: Vec<_> = old_defaults(export)
            .into_iter()
            .map(|(client, name)| place(client, name).ok_or_else(|| title(client, name)))
            .collect();
        let Some(outer) = listed.get_mut(outer) else { return missing };
        for inner in inner {
            match inner {
                Ok(inner) => outer.contains.push(inner),
                Err(title) => missing.push(format!(
                    "new users are given {title}, which the file does not list under `roles`"
                )),
            }
        }
        if let Some(first) = missing.first() {
            outer.unknown(first.clone());
        }
        let doubt = export.default_roles.doubt.as_ref();
        let doubt = doubt.or(export.clients.iter().find_map(|it| it.default_roles.doubt.as_ref()));
        if let (None, Some(doubt)) = (&export.default_role, doubt) {
            outer.unknown(doubt.clone());
        }
        missing
    }

    fn listed<'e>(&mut self, export: &'e Export, builder: &mut SnapshotBuilder) -> Vec<Listed<'e>> {
        let mut listed: Vec<Listed<'e>> = Vec::new();
        for (client, role) in each_role(export) {
            if refused(client, &role.name, builder) {
                self.put(client, &role.name, Place::Nowhere);
                continue;
            }
            if self.put(client, &role.name, Place::Nowhere).is_some() {
                let why = format!("`roles` lists {} twice", title(client, &role.name));
                builder.tell(Diagnostic::warning(
                    DiagnosticCode::RoleDuplicate,
                    subject_of(client, &role.name),
                    format!("{why}: the first counts"),
                ));
                let same = |it: &&mut Listed<'_>| it.client == client && it.role.name == role.name;
                if let Some(first) = listed.iter_mut().find(same) {
                    first.unknown(why);
                }
                continue;
            }
            let counts = self.counts(client);
            let mut one = Listed {
                client,
                role,
                counts,
                untold: false,
                contains: Vec::new(),
                implies: Completeness::Complete,
            };
            if let Some(doubt) = role.composites.as_ref().and_then(|it| it.doubt.clone()) {
                one.unknown(doubt);
            }
            listed.push(one);
        }
        listed
    }
}

/// Every role that is listed, with its client.
fn each_role(export: &Export) -> impl Iterator<Item = (Option<&str>, &Role)> {
    let realm = export.roles.realm.iter().flatten().map(|role| (None, role));
    let client = export.roles.client.iter().flatten();
    realm.chain(
        client.flat_map(|(id, roles)| roles.iter().flatten().map(|role| (Some(id.as_str()), role))),
    )
}

/// What is in a composite role.
fn inner(composites: &Composites) -> impl Iterator<Item = (Option<&str>, &str)> {
    let realm = composites.realm.list.iter().map(|name| (None, name.as_str()));
    let client = composites.client.list.iter();
    realm.chain(
        client.flat_map(|(id, names)| names.iter().map(|name| (Some(id.as_str()), name.as_str()))),
    )
}

/// The roles that older servers gave to new users; none where the file says it in the new way, as
/// Keycloak's import has it.
fn old_defaults(export: &Export) -> Vec<(Option<&str>, &str)> {
    if export.default_role.is_some() {
        return Vec::new();
    }
    let realm = export.default_roles.list.iter().map(|name| (None, name.trim()));
    let client = export.clients.iter().flat_map(|client| {
        client.default_roles.list.iter().map(|name| (Some(client.id.as_str()), name.trim()))
    });
    realm.chain(client).collect()
}

/// Makes the reference of a listed role.
fn listed_ref(
    listed: &Listed<'_>,
    builder: &mut SnapshotBuilder,
    odd: &mut Oddities,
) -> Option<RefIdx> {
    let Listed { client, role, counts, .. } = listed;
    let (_, before) = builder.counts();
    let number = reference(builder, *client, &role.name, role.id.as_deref(), *counts);
    if number.is_none() || builder.counts().1 > before {
        return number;
    }
    let title = title(*client, &role.name);
    let subject = subject_of(*client, &role.name);
    let message = format!("{title} has the `id` of another role");
    builder.tell(Diagnostic::warning(DiagnosticCode::RoleDuplicate, subject, message));
    let number = reference(builder, *client, &role.name, None, *counts);
    if builder.counts().1 == before {
        // Its name is another's id as well: nobody writes that by accident.
        odd.doubts.roles.get_or_insert(format!("{title} has the `id` of another role"));
    }
    number
}

/// Finds what each composite role contains. What the file does not list of it though it should is told.
fn contents(listed: &mut [Listed<'_>]) -> Vec<String> {
    let mut missing = Vec::new();
    let numbers: HashMap<(Option<&str>, &str), usize> =
        listed.iter().enumerate().map(|(n, l)| ((l.client, l.role.name.as_str()), n)).collect();
    for outer in listed {
        let own = title(outer.client, &outer.role.name);
        let Some(composites) = &outer.role.composites else {
            // `composite` without `composites` is how the admin API lists roles, not how an export
            // writes them: what is in it is unknown, which is not the same as nothing.
            if outer.role.composite {
                outer.unknown(format!("{own} is composite, but the file does not say of what"));
            }
            continue;
        };
        for (client, name) in inner(composites) {
            match numbers.get(&(client, name)) {
                Some(inner) => outer.contains.push(*inner),
                None if is_dots(name) => {}
                // What this inner role contains is unknown, so what the outer one gives is too.
                None => {
                    let inner = title(client, name);
                    let why = format!("{own} contains {inner}, which the file does not list");
                    missing.push(why.clone());
                    outer.unknown(why);
                }
            }
        }
    }
    missing
}

/// For each role whether it counts, or leads or may lead to one that does.
fn matters(listed: &[Listed<'_>]) -> Vec<bool> {
    let mut inside: Vec<Vec<usize>> = vec![Vec::new(); listed.len()];
    for (outer, role) in listed.iter().enumerate() {
        for inner in &role.contains {
            if let Some(outers) = inside.get_mut(*inner) {
                outers.push(outer);
            }
        }
    }
    let mut matters: Vec<bool> = listed.iter().map(Listed::may_give).collect();
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
