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

    for container in &new.containers {
        builder.container(&container_of(new, container));
    }
    let kept = |kind: Kind| match kind {
        Kind::Group => !reading.groups.is_complete(),
        Kind::RealmRole | Kind::ClientRole | Kind::Attribute => !reading.roles.is_complete(),
    };
    for container in old.containers.iter().filter(|container| kept(container.kind)) {
        builder.container(&container_of(old, container));
    }

    relate(&mut builder, new, |_| (true, true));
    // For each container of the mirror: whether its members and what it leads to still stand.
    let read: HashMap<(Kind, &str), usize> = new
        .containers
        .iter()
        .enumerate()
        .map(|(index, container)| ((container.kind, new.text(container.key)), index))
        .collect();
    relate(&mut builder, old, |container| {
        let open = |list: &[Completeness], index: usize| {
            list.get(index).is_none_or(|completeness| !completeness.is_complete())
        };
        match read.get(&(container.kind, old.text(container.key))) {
            Some(index) => (open(&reading.members, *index), open(&reading.up, *index)),
            // Not read at all: `relate` passes over it unless the builder kept it above.
            None => (true, true),
        }
    });
    Merged { directory: builder.finish().directory, complete, undecided }
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
/// the builder has both ends.
fn relate(
    builder: &mut ReadingBuilder,
    from: &Directory,
    wanted: impl Fn(&Container) -> (bool, bool),
) {
    let users: Vec<Option<u32>> =
        from.users.iter().map(|user| builder.find_user(from.text(user.ext))).collect();
    let places: Vec<Option<u32>> = from
        .containers
        .iter()
        .map(|container| builder.find_container(container.kind, from.text(container.key)))
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
