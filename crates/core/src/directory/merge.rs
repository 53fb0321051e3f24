//! What a snapshot makes of a mirror.
//!
//! The one place that decides what an incomplete scope means. A complete scope replaces what the
//! mirror said, a partial one adds to it, one that was not asked for leaves it alone. Nothing
//! below this line can tell a partial read from a complete one, so nothing below it can take
//! something away because a read was partial.
//!
//! Every list stands for itself: one that was read in full counts, whatever became of the others.

use hashbrown::HashMap;

use super::builder::{NewRef, NewUser, SnapshotBuilder};
use super::snapshot::{Completeness, Snapshot};
use super::{DirUser, Directory, Enabled, Kind, OwnDomain, Proven, RefIdx, RefRow, Rid};

/// A source's content as far as it is known now.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    /// The mirror with the reading laid over it.
    pub(super) directory: Directory,
    /// Every scope that was asked for is complete: the mirror's new time of reading.
    pub(super) complete: bool,
    /// How many users were left out because nobody knows yet whether they are enabled.
    pub(super) undecided: usize,
}

/// Lays `snapshot` over `old`, what the source last said.
#[must_use]
pub(super) fn merge(old: &Directory, snapshot: Snapshot) -> Merged {
    let complete = snapshot.is_complete();
    if snapshot.stands_alone() {
        return Merged { directory: snapshot.directory, complete, undecided: 0 };
    }
    let mut builder = SnapshotBuilder::new(snapshot.directory.ignore_case);
    // The first of all texts: there is room for it.
    builder.is_domain(domain(old, &snapshot));
    let undecided = users(&mut builder, old, &snapshot);
    let heirs = Heirs::new(old, &snapshot);
    references(&mut builder, &heirs);
    relations(&mut builder, &heirs);
    tell_known(&mut builder, &heirs);
    let mut directory = builder.finish().directory;
    directory.proven = Proven {
        users: snapshot.users.is_complete() || old.proven.users,
        groups: snapshot.groups.is_complete() || old.proven.groups,
        roles: snapshot.roles.is_complete() || old.proven.roles,
        organizations: match &snapshot.organizations {
            Completeness::Complete => true,
            Completeness::Partial(_) => old.proven.organizations,
            // What the mirror had of them is as old as the last question, so it is forgotten.
            Completeness::NotAsked => false,
        },
    };
    Merged { directory, complete, undecided }
}

/// The domain that the source is: what was read, else what it was. That it is none says only a read that
/// was complete.
fn domain<'d>(old: &'d Directory, snapshot: &'d Snapshot) -> OwnDomain<&'d str> {
    match (snapshot.directory.own_domain(), old.own_domain()) {
        (OwnDomain::Unread, OwnDomain::None) => OwnDomain::Unread,
        (OwnDomain::Unread, known) => known,
        (OwnDomain::None, known) if !snapshot.is_complete() => known,
        (read, _) => read,
    }
}

/// Whether the numbers of SIDs stand where none was read: those of another domain would be somebody
/// else's.
fn rids_stand(old: &Directory, snapshot: &Snapshot) -> bool {
    let was = old.own_domain();
    was.sid().is_some() && was == domain(old, snapshot)
}

/// Everybody who was read, and those of the mirror unless that was everybody. How many stay out because
/// nobody knows yet whether they are enabled.
fn users(builder: &mut SnapshotBuilder, old: &Directory, snapshot: &Snapshot) -> usize {
    let new = &snapshot.directory;
    let stand = rids_stand(old, snapshot);
    let rid = |user: &DirUser| if stand { user.rid } else { Rid::Unread };
    let known: HashMap<&str, (Enabled, Rid)> =
        old.users.iter().map(|user| (old.text(user.ext), (user.enabled, rid(user)))).collect();
    let mut undecided = 0;
    for user in &new.users {
        let mut row = user_of(new, user);
        if row.enabled == Enabled::Unknown {
            // Neither enabled nor disabled: what was last known stands. Somebody never seen
            // before stays out until the source can be believed.
            match known.get(row.ext) {
                Some((enabled, _)) => row.enabled = *enabled,
                None => {
                    undecided += 1;
                    continue;
                }
            }
        }
        let known = known.get(row.ext).map_or(Rid::Unread, |(_, rid)| *rid);
        if let Some(place) = builder.user(&row) {
            builder.user_is(place, user.rid.or(known));
        }
    }
    if !snapshot.users.is_complete() {
        for user in &old.users {
            let row = user_of(old, user);
            if builder.find_user(row.ext).is_none()
                && let Some(place) = builder.user(&row)
            {
                builder.user_is(place, rid(user));
            }
        }
    }
    undecided
}

/// The mirror and what was read, and where what the one has is found in the other.
struct Heirs<'d> {
    old: &'d Directory,
    snapshot: &'d Snapshot,
    /// What was read, by its key.
    read: HashMap<(Kind, &'d str), RefIdx>,
    /// The key of what was read, by its identity.
    same_norm: HashMap<(Kind, &'d str), (Kind, &'d str)>,
}

impl<'d> Heirs<'d> {
    fn new(old: &'d Directory, snapshot: &'d Snapshot) -> Self {
        let new = &snapshot.directory;
        let key = |reference: &RefRow| (reference.kind, new.text(reference.key));
        let norm = |reference: &RefRow| (reference.kind, new.text(reference.norm));
        Heirs {
            old,
            snapshot,
            read: new.refs.numbered().map(|(index, it)| (key(it), index)).collect(),
            same_norm: new.refs.iter().map(|it| (norm(it), key(it))).collect(),
        }
    }

    /// Whether a reference of the mirror stays where none of it was read.
    fn keeps(&self, reference: &RefRow) -> bool {
        match reference.kind {
            Kind::Group => !self.snapshot.groups.is_complete(),
            // Which of them there are say the lists of the groups that they lead to.
            Kind::ForeignPrincipal => {
                !self.snapshot.groups.is_complete()
                    || !self.snapshot.members.iter().all(Completeness::is_complete)
            }
            Kind::RealmRole | Kind::ClientRole | Kind::Attribute => {
                !self.snapshot.roles.is_complete() || self.is_untold(reference)
            }
            Kind::Organization => self.organizations_are_partial(),
            Kind::OrganizationGroup => {
                let top = self.old.top_of(reference);
                let top = self.read.get(&(top.kind, self.old.text(top.key)));
                match top.map(|top| self.snapshot.members.at(*top)) {
                    Some(groups) => matches!(groups, Completeness::Partial(_)),
                    // The organization is gone, or nobody asked for its groups.
                    None => self.organizations_are_partial(),
                }
            }
        }
    }

    /// Whether a reference of the mirror may be there still, though none of it was read, and nobody is in
    /// it then.
    fn is_untold(&self, reference: &RefRow) -> bool {
        self.snapshot.roles.is_complete()
            && self.snapshot.untold_roles.cover(reference.kind, self.old.text(reference.norm))
    }

    fn organizations_are_partial(&self) -> bool {
        matches!(self.snapshot.organizations, Completeness::Partial(_))
    }

    /// What was read under the identity of a reference of the mirror.
    fn of_its_norm(&self, reference: &RefRow) -> Option<(Kind, &'d str)> {
        self.same_norm.get(&(reference.kind, self.old.text(reference.norm))).copied()
    }

    /// Where a reference of the mirror is now: under its own key, else under its identity.
    fn key(&self, reference: &RefRow) -> (Kind, &'d str) {
        let key = (reference.kind, self.old.text(reference.key));
        if self.read.contains_key(&key) {
            return key;
        }
        self.of_its_norm(reference).filter(|_| self.keeps(reference)).unwrap_or(key)
    }

    /// What was read of a reference of the mirror.
    fn index(&self, reference: &RefRow) -> Option<RefIdx> {
        self.read.get(&self.key(reference)).copied()
    }

    /// Whether the mirror's members of a reference stand: they were read in part, or it was not read.
    /// Where nobody asked for them, what the mirror has is as old as the last question, so it is
    /// forgotten, and `known` says so.
    fn list_stands(&self, reference: &RefRow) -> bool {
        match self.index(reference) {
            Some(index) => matches!(self.snapshot.members.at(index), Completeness::Partial(_)),
            None => !self.is_untold(reference),
        }
    }

    /// Whether it stands where a reference of the mirror led.
    fn edge_stands(&self, from: &RefRow, to: &RefRow) -> bool {
        if self.snapshot.nested_by_list {
            return self.list_stands(to);
        }
        self.index(from).is_none_or(|index| !self.snapshot.implies.at(index).is_complete())
    }
}

/// Every reference that was read, and those of the mirror unless these were all.
fn references(builder: &mut SnapshotBuilder, heirs: &Heirs<'_>) {
    let (old, new) = (heirs.old, &heirs.snapshot.directory);
    for reference in &new.refs {
        if let Some(place) = builder.reference(&ref_of(new, reference)) {
            builder.ref_is(place, reference.rid);
        }
    }
    let stand = rids_stand(old, heirs.snapshot);
    let rid = |reference: &RefRow| if stand { reference.rid } else { Rid::Unread };
    for reference in &old.refs {
        let place = match builder.find_ref(reference.kind, old.text(reference.key)) {
            Some(place) => Some(place),
            // Deleted and made again under the same identity: the new one has taken its place, and
            // two of one name would only be ambiguous.
            None if heirs.keeps(reference) && heirs.of_its_norm(reference).is_none() => {
                builder.reference(&ref_of(old, reference))
            }
            None => continue,
        };
        if let Some(place) = place {
            builder.ref_known(place, rid(reference));
        }
    }
}

/// Members, and where references lead: what was read, and what of the mirror still stands. A reference
/// that was not read at all stands as it is; `relate` passes over it unless the builder kept it.
fn relations(builder: &mut SnapshotBuilder, heirs: &Heirs<'_>) {
    let (old, new) = (heirs.old, &heirs.snapshot.directory);
    let key = |reference: &RefRow| (reference.kind, new.text(reference.key));
    relate(builder, new, key, |_| true, |_, _| true);
    relate(
        builder,
        old,
        |reference| heirs.key(reference),
        |reference| heirs.list_stands(reference),
        |from, to| heirs.edge_stands(from, to),
    );
}

/// Says whose members, and of what it is known where it leads: read in full now, or in the mirror
/// where this read adds to it.
fn tell_known(builder: &mut SnapshotBuilder, heirs: &Heirs<'_>) {
    let unknown = || Completeness::Partial("never read in full".to_owned());
    let Heirs { old, snapshot, .. } = heirs;
    let new = &snapshot.directory;
    let lists = || snapshot.members.iter().zip(&snapshot.implies);
    for (reference, (members, implies)) in new.refs.iter().zip(lists()) {
        let Some(place) = builder.find_ref(reference.kind, new.text(reference.key)) else {
            continue;
        };
        if !members.is_complete() {
            builder.members_are(place, unknown());
        }
        if matches!(implies, Completeness::Partial(_)) {
            builder.implies_is(place, unknown());
        }
    }
    let read: HashMap<(Kind, &str), (&Completeness, &Completeness)> = new
        .refs
        .iter()
        .zip(lists())
        .map(|(reference, lists)| ((reference.kind, new.text(reference.key)), lists))
        .collect();
    for reference in &old.refs {
        let (kind, key) = heirs.key(reference);
        let Some(place) = builder.find_ref(kind, key) else { continue };
        let read = read.get(&(kind, key));
        match read.map(|(members, _)| *members) {
            Some(Completeness::Partial(_)) | None if reference.known => {
                builder.members_are(place, Completeness::Complete);
            }
            None if !heirs.is_untold(reference) => builder.members_are(place, unknown()),
            None | Some(_) => {}
        }
        match read.map(|(_, implies)| *implies) {
            Some(Completeness::Complete) => {}
            Some(_) | None if reference.implies_known => {
                builder.implies_is(place, Completeness::Complete)
            }
            Some(_) | None => builder.implies_is(place, unknown()),
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

fn ref_of<'a>(directory: &'a Directory, reference: &RefRow) -> NewRef<'a> {
    NewRef {
        kind: reference.kind,
        key: directory.text(reference.key),
        name: directory.text(reference.name),
        identity: directory.text(reference.identity),
        norm: directory.text(reference.norm),
    }
}

/// Copies `from`'s members and what refs lead to, where `members` of a reference and `edge`
/// (from one to another) say so and the builder has both ends; `key` tells what a reference is
/// called there.
fn relate<'d>(
    builder: &mut SnapshotBuilder,
    from: &Directory,
    key: impl Fn(&RefRow) -> (Kind, &'d str),
    members: impl Fn(&RefRow) -> bool,
    edge: impl Fn(&RefRow, &RefRow) -> bool,
) {
    let users = from.users.map(|user| builder.find_user(from.text(user.ext)));
    let places = from.refs.map(|reference| {
        let (kind, key) = key(reference);
        builder.find_ref(kind, key)
    });
    let place = |index| *places.at(index);
    for (index, reference) in from.refs.numbered() {
        let Some(target) = place(index) else { continue };
        if members(reference) {
            for member in from.members.at(index) {
                if let Some(user) = *users.at(*member) {
                    builder.member(target, user);
                }
            }
        }
        let stands = |to| place(to).filter(|_| edge(reference, from.refs.at(to)));
        for to in from.implies.at(index) {
            if let Some(to) = stands(*to) {
                builder.leads_to(target, to);
            }
        }
        if let Some(parent) = reference.parent.and_then(stands)
            && !builder.has_parent(target)
        {
            builder.child(parent, target);
        }
    }
}
