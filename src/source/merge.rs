//! What is known now: a reading laid over the mirror.
//!
//! The one place that decides what an incomplete scope means. A complete scope replaces what the
//! mirror said, a partial one adds to it, one that was not asked for leaves it alone. Nothing
//! below this line can tell a partial read from a complete one, so nothing below it can take
//! something away because a read was partial.

use hashbrown::HashMap;

use super::directory::{Container, DirUser, Directory, Enabled, Kind};
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
    relate(
        &mut builder,
        new,
        |container| (container.kind, new.text(container.key)),
        |_| (true, true),
    );
    // For each container of the mirror: whether its members and what it leads to still stand.
    relate(&mut builder, old, heir, |container| match read.get(&heir(container)) {
        Some(index) => {
            // Nobody asked: what the mirror had is as old as the last question, so it is
            // forgotten, and `known` says so.
            let members = matches!(reading.members.get(*index), Some(Completeness::Partial(_)));
            let up = reading.up.get(*index).is_none_or(|up| !up.is_complete());
            (members, up)
        }
        // Not read at all: `relate` passes over it unless the builder kept it above.
        None => (true, true),
    });
    tell_known(&mut builder, old, &reading, heir);
    Merged { directory: builder.finish().directory, complete, undecided }
}

/// Says whose members are known: read in full now, or in the mirror where this read adds to it.
fn tell_known<'d>(
    builder: &mut ReadingBuilder,
    old: &'d Directory,
    reading: &Reading,
    heir: impl Fn(&Container) -> (Kind, &'d str),
) {
    let unknown = || Completeness::Partial("never read in full".to_owned());
    for (container, members) in reading.directory.containers.iter().zip(&reading.members) {
        let key = reading.directory.text(container.key);
        if !members.is_complete()
            && let Some(place) = builder.find_container(container.kind, key)
        {
            builder.members_are(place, unknown());
        }
    }
    let read: HashMap<(Kind, &str), &Completeness> = reading
        .directory
        .containers
        .iter()
        .zip(&reading.members)
        .map(|(container, members)| {
            ((container.kind, reading.directory.text(container.key)), members)
        })
        .collect();
    for container in &old.containers {
        let (kind, key) = heir(container);
        let Some(place) = builder.find_container(kind, key) else { continue };
        match read.get(&(kind, key)) {
            Some(Completeness::Partial(_)) | None if container.known => {
                builder.members_are(place, Completeness::Complete);
            }
            None => builder.members_are(place, unknown()),
            Some(_) => {}
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

/// Copies `from`'s members and what containers lead to, where `wanted` says so (members, up) and
/// the builder has both ends; `key` tells what a container is called there.
fn relate<'d>(
    builder: &mut ReadingBuilder,
    from: &Directory,
    key: impl Fn(&Container) -> (Kind, &'d str),
    wanted: impl Fn(&Container) -> (bool, bool),
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
        let (members, up) = wanted(container);
        if members {
            for member in from.members.get(index as usize).into_iter().flatten() {
                if let Some(user) = users.get(*member as usize).copied().flatten() {
                    builder.member(target, user);
                }
            }
        }
        if up {
            for to in from.up.get(index as usize).into_iter().flatten() {
                if let Some(to) = place(*to) {
                    builder.leads_to(target, to);
                }
            }
            if let Some(parent) = container.parent.and_then(place)
                && !builder.has_parent(target)
            {
                builder.child(parent, target);
            }
        }
    }
}
