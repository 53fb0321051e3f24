//! What is known now: a reading laid over the mirror.
//!
//! The one place that decides what an incomplete scope means. A complete scope replaces what the
//! mirror said, a partial one adds to it, one that was not asked for leaves it alone. Nothing
//! below this line can tell a partial read from a complete one, so nothing below it can take
//! something away because a read was partial.
//!
//! Every list stands for itself: one that was read in full counts, whatever became of the others.

use hashbrown::HashMap;

use super::directory::{Container, DirUser, Directory, Enabled, Kind, Proven};
use super::reading::{Completeness, NewContainer, NewUser, Reading, ReadingBuilder};

/// A source's content as far as it is known now.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The mirror with the reading laid over it.
    pub directory: Directory,
    /// Every scope that was asked for is complete: the mirror's new time of reading.
    pub complete: bool,
    /// How many users were left out because nobody knows yet whether they are enabled.
    pub undecided: usize,
}

/// Lays `reading` over `mirror` (what the source last said; absent before the first read).
#[must_use]
pub fn merge(mirror: Option<&Directory>, reading: Reading) -> Merged {
    let complete = reading.is_complete();
    if reading.stands_alone() {
        return Merged { directory: reading.directory, complete, undecided: 0 };
    }
    let empty = Directory::default();
    let old = mirror.unwrap_or(&empty);
    let new = &reading.directory;
    let mut builder = ReadingBuilder::new(new.ignore_case);

    let known: HashMap<&str, Enabled> =
        old.users.iter().map(|user| (old.text(user.ext), user.enabled)).collect();
    let mut undecided = 0;
    for user in &new.users {
        let mut row = user_of(new, user);
        if row.enabled == Enabled::Unknown {
            // Neither enabled nor disabled: what was last known stands. Somebody never seen
            // before stays out until the source can be believed.
            match known.get(row.ext) {
                Some(enabled) => row.enabled = *enabled,
                None => {
                    undecided += 1;
                    continue;
                }
            }
        }
        builder.user(&row);
    }
    if !reading.users.is_complete() {
        for user in &old.users {
            builder.user(&user_of(old, user));
        }
    }

    let mut same_norm: HashMap<(Kind, &str), (Kind, &str)> = HashMap::new();
    for container in &new.containers {
        builder.container(&container_of(new, container));
        let key = (container.kind, new.text(container.key));
        same_norm.insert((container.kind, new.text(container.norm)), key);
    }
    let kept = |kind: Kind| match kind {
        Kind::Group => !reading.groups.is_complete(),
        Kind::RealmRole | Kind::ClientRole | Kind::Attribute => !reading.roles.is_complete(),
    };
    for container in old.containers.iter().filter(|container| kept(container.kind)) {
        // Deleted and made again under the same identity: the new one has taken its place, and
        // two of one name would only be ambiguous.
        if !same_norm.contains_key(&(container.kind, old.text(container.norm))) {
            builder.container(&container_of(old, container));
        }
    }

    let read: HashMap<(Kind, &str), usize> = new
        .containers
        .iter()
        .enumerate()
        .map(|(index, container)| ((container.kind, new.text(container.key)), index))
        .collect();
    // Where a container of the mirror is now: under its own key, else under its identity.
    let heir = |container: &Container| -> (Kind, &str) {
        let key = (container.kind, old.text(container.key));
        if read.contains_key(&key) {
            return key;
        }
        let norm = (container.kind, old.text(container.norm));
        same_norm.get(&norm).copied().filter(|_| kept(container.kind)).unwrap_or(key)
    };
    let key = |container: &Container| (container.kind, new.text(container.key));
    relate(&mut builder, new, key, |_| true, |_, _| true);
    // What of the mirror still stands. A container that was not read at all stands as it is;
    // `relate` passes over it unless the builder kept it above.
    //
    // Nobody asked for its members: what the mirror had is as old as the last question, so it is
    // forgotten, and `known` says so.
    let list_stands = |container: &Container| {
        read.get(&heir(container)).is_none_or(|index| {
            matches!(reading.members.get(*index), Some(Completeness::Partial(_)))
        })
    };
    let up_stands = |container: &Container| {
        read.get(&heir(container))
            .is_none_or(|index| reading.up.get(*index).is_none_or(|up| !up.is_complete()))
    };
    let edge_stands = |from: &Container, to: &Container| {
        if reading.nested_by_list { list_stands(to) } else { up_stands(from) }
    };
    relate(&mut builder, old, heir, list_stands, edge_stands);
    tell_known(&mut builder, old, &reading, heir);
    let mut directory = builder.finish().directory;
    directory.proven = Proven {
        users: reading.users.is_complete() || old.proven.users,
        groups: reading.groups.is_complete() || old.proven.groups,
        roles: reading.roles.is_complete() || old.proven.roles,
    };
    Merged { directory, complete, undecided }
}

/// Says whose members, and of what it is known where it leads: read in full now, or in the mirror
/// where this read adds to it.
fn tell_known<'d>(
    builder: &mut ReadingBuilder,
    old: &'d Directory,
    reading: &Reading,
    heir: impl Fn(&Container) -> (Kind, &'d str),
) {
    let unknown = || Completeness::Partial("never read in full".to_owned());
    let new = &reading.directory;
    let lists = || reading.members.iter().zip(&reading.up);
    for (container, (members, up)) in new.containers.iter().zip(lists()) {
        let Some(place) = builder.find_container(container.kind, new.text(container.key)) else {
            continue;
        };
        if !members.is_complete() {
            builder.members_are(place, unknown());
        }
        if matches!(up, Completeness::Partial(_)) {
            builder.up_is(place, unknown());
        }
    }
    let read: HashMap<(Kind, &str), (&Completeness, &Completeness)> = new
        .containers
        .iter()
        .zip(lists())
        .map(|(container, lists)| ((container.kind, new.text(container.key)), lists))
        .collect();
    for container in &old.containers {
        let (kind, key) = heir(container);
        let Some(place) = builder.find_container(kind, key) else { continue };
        let read = read.get(&(kind, key));
        match read.map(|(members, _)| *members) {
            Some(Completeness::Partial(_)) | None if container.known => {
                builder.members_are(place, Completeness::Complete);
            }
            None => builder.members_are(place, unknown()),
            Some(_) => {}
        }
        match read.map(|(_, up)| *up) {
            Some(Completeness::Complete) => {}
            Some(_) | None if container.up_known => builder.up_is(place, Completeness::Complete),
            Some(_) | None => builder.up_is(place, unknown()),
        }
    }
}

fn user_of<'a>(directory: &'a Directory, user: &DirUser) -> NewUser<'a> {
    NewUser {
        ext: directory.text(user.ext),
        username: directory.text(user.username),
        email: directory.text(user.email),
        email_verified: user.email_verified,
        enabled: user.enabled,
        federation: directory.text(user.federation),
    }
}

fn container_of<'a>(directory: &'a Directory, container: &Container) -> NewContainer<'a> {
    NewContainer {
        kind: container.kind,
        key: directory.text(container.key),
        name: directory.text(container.name),
        identity: directory.text(container.identity),
        norm: directory.text(container.norm),
    }
}

/// Copies `from`'s members and what containers lead to, where `members` of a container and `edge`
/// (from one to another) say so and the builder has both ends; `key` tells what a container is
/// called there.
fn relate<'d>(
    builder: &mut ReadingBuilder,
    from: &Directory,
    key: impl Fn(&Container) -> (Kind, &'d str),
    members: impl Fn(&Container) -> bool,
    edge: impl Fn(&Container, &Container) -> bool,
) {
    let users: Vec<Option<u32>> =
        from.users.iter().map(|user| builder.find_user(from.text(user.ext))).collect();
    let places: Vec<Option<u32>> = from
        .containers
        .iter()
        .map(|container| {
            let (kind, key) = key(container);
            builder.find_container(kind, key)
        })
        .collect();
    let place = |index: u32| places.get(index as usize).copied().flatten();
    for (index, container) in (0u32..).zip(&from.containers) {
        let Some(target) = place(index) else { continue };
        if members(container) {
            for member in from.members.get(index as usize).into_iter().flatten() {
                if let Some(user) = users.get(*member as usize).copied().flatten() {
                    builder.member(target, user);
                }
            }
        }
        let stands = |to: u32| {
            let other = from.containers.get(to as usize)?;
            place(to).filter(|_| edge(container, other))
        };
        for to in from.up.get(index as usize).into_iter().flatten() {
            if let Some(to) = stands(*to) {
                builder.leads_to(target, to);
            }
        }
        if let Some(parent) = container.parent.and_then(stands)
            && !builder.has_parent(target)
        {
            builder.child(parent, target);
        }
    }
}
