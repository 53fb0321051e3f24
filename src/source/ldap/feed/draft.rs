//! A delta while it is gathered: each person and each group once, whatever is found out of them.

use std::collections::{BTreeMap, BTreeSet};

use super::Stop;
use crate::directory::{Delta, Enabled, Kind, ListChange, PersonDelta, RefDelta, RefId, Rid, Step};
use crate::source::feed::MirrorView;

/// How a group is called.
#[derive(Clone, Default)]
struct Names {
    bare: String,
    /// Its DN as spelled.
    identity: String,
    /// Its DN in normal form.
    norm: String,
}

/// A group as far as it is told.
#[derive(Default)]
struct Group {
    names: Option<Names>,
    rid: Rid,
    /// All that are directly in it.
    people: Option<BTreeSet<String>>,
    /// Who has come to be in it, or has left it, where that is not told whole.
    joined: BTreeSet<String>,
    left: BTreeSet<String>,
    /// The groups that it is, or no longer is, directly in.
    above: BTreeSet<String>,
    no_longer_above: BTreeSet<String>,
}

/// A member of another domain, by its SID.
pub(super) struct Foreign {
    pub sid: String,
    /// The DN of its foreign security principal, as spelled.
    pub identity: String,
    /// The same in normal form.
    pub norm: String,
}

/// A foreign security principal as far as it is told.
#[derive(Default)]
struct Principal {
    names: Option<Names>,
    /// The groups that list it, or no longer do.
    above: BTreeSet<String>,
    no_longer_above: BTreeSet<String>,
}

/// What has been found out.
pub(super) struct Draft<'v> {
    view: &'v dyn MirrorView,
    people: BTreeMap<String, PersonDelta>,
    groups: BTreeMap<String, Group>,
    /// By their SIDs.
    principals: BTreeMap<String, Principal>,
    gone_people: BTreeSet<String>,
    gone_groups: BTreeSet<String>,
    /// Some of those whom the mirror has.
    there: BTreeSet<String>,
    /// Groups of which something was told that is in them.
    led_to: BTreeSet<String>,
}

/// The foreign security principal of this SID.
fn principal_id(sid: &str) -> RefId {
    RefId { kind: Kind::ForeignPrincipal, key: sid.to_owned() }
}

/// The reference that the group `key` is.
pub(super) fn group_id(key: &str) -> RefId {
    RefId { kind: Kind::Group, key: key.to_owned() }
}

impl<'v> Draft<'v> {
    /// Nothing yet about the mirror behind `view`.
    pub fn new(view: &'v dyn MirrorView) -> Self {
        Draft {
            view,
            people: BTreeMap::new(),
            groups: BTreeMap::new(),
            principals: BTreeMap::new(),
            gone_people: BTreeSet::new(),
            gone_groups: BTreeSet::new(),
            there: BTreeSet::new(),
            led_to: BTreeSet::new(),
        }
    }

    /// Those whom the group `key` lists, which is about to be gone through, are asked about at once: of
    /// most the mirror knows by its own list of the group that they are there.
    pub fn recall(&mut self, key: &str, listed: &BTreeSet<String>) -> Result<(), Stop> {
        self.there.extend(self.known(key)?);
        let others: BTreeSet<String> = listed.difference(&self.there).cloned().collect();
        if !others.is_empty() {
            self.there.extend(self.view.surely_there(&others)?);
        }
        Ok(())
    }

    /// Those whom the mirror has in a group.
    pub fn known(&self, key: &str) -> Result<BTreeSet<String>, Stop> {
        Ok(self.view.surely_in(&group_id(key))?)
    }

    /// Those of `known` who are not in the new list `people`, and whom the mirror will still have.
    pub fn lacking(
        &self,
        known: BTreeSet<String>,
        people: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Stop> {
        let mut lacking = BTreeSet::new();
        for ext in known {
            if !people.contains(&ext) && self.has_person(&ext)? {
                lacking.insert(ext);
            }
        }
        Ok(lacking)
    }

    /// Whether the mirror will have this person.
    pub fn has_person(&self, ext: &str) -> Result<bool, Stop> {
        if self.gone_people.contains(ext) {
            return Ok(false);
        }
        if self.there.contains(ext) || self.view.has_person(ext)? {
            return Ok(true);
        }
        // A newcomer of whom it is not known whether the account is enabled is left out.
        let told = self.people.get(ext);
        Ok(told.is_some_and(|person| {
            person.username.is_some() && person.enabled.is_some_and(|it| it != Enabled::Unknown)
        }))
    }

    /// Whether the mirror will have this group.
    pub fn has_group(&self, key: &str) -> Result<bool, Stop> {
        if self.gone_groups.contains(key) {
            return Ok(false);
        }
        let told = self.groups.get(key).is_some_and(|group| group.names.is_some());
        Ok(told || self.view.has_ref(&group_id(key))?)
    }

    /// A person's facts, told again in full.
    pub fn person(&mut self, person: PersonDelta) {
        self.gone_people.remove(&person.ext);
        self.people.insert(person.ext.clone(), person);
    }

    /// A group's names: the bare one, and its DN as spelled and in normal form.
    pub fn group(&mut self, key: &str, bare: String, identity: String, norm: String) {
        self.gone_groups.remove(key);
        self.groups.entry(key.to_owned()).or_default().names = Some(Names { bare, identity, norm });
    }

    /// Which of the SIDs of its domain a group's is.
    pub fn bears(&mut self, key: &str, rid: Rid) {
        self.groups.entry(key.to_owned()).or_default().rid = rid;
    }

    /// All that are directly in a group: people, and groups where `inner` says so.
    pub fn members(
        &mut self,
        key: &str,
        people: BTreeSet<String>,
        inner: Option<BTreeSet<String>>,
    ) -> Result<(), Stop> {
        let told = self.groups.entry(key.to_owned()).or_default();
        (told.joined, told.left) = (BTreeSet::new(), BTreeSet::new());
        told.people = Some(people);
        if !self.led_to.insert(key.to_owned()) {
            for group in self.groups.values_mut() {
                group.above.remove(key);
                group.no_longer_above.remove(key);
            }
        }
        let Some(inner) = inner else { return Ok(()) };
        for from in self.view.leading_to(&group_id(key))? {
            if from.kind == Kind::Group && !inner.contains(&from.key) {
                let child = self.groups.entry(from.key).or_default();
                child.no_longer_above.insert(key.to_owned());
            }
        }
        for child in inner {
            self.groups.entry(child).or_default().above.insert(key.to_owned());
        }
        Ok(())
    }

    /// Whether somebody is directly in a group. Where its list is told whole, that counts.
    pub fn member(&mut self, key: &str, ext: &str, is_in: bool) {
        let Group { joined, left, .. } = self.groups.entry(key.to_owned()).or_default();
        let (to, from) = if is_in { (joined, left) } else { (left, joined) };
        from.remove(ext);
        to.insert(ext.to_owned());
    }

    /// Whether a group is directly in the group `key`. Where the list of that is told whole, it counts.
    pub fn inner(&mut self, child: &str, key: &str, is_in: bool) {
        self.led_to.insert(key.to_owned());
        let child = self.groups.entry(child.to_owned()).or_default();
        let (to, from) = match is_in {
            true => (&mut child.above, &mut child.no_longer_above),
            false => (&mut child.no_longer_above, &mut child.above),
        };
        from.remove(key);
        to.insert(key.to_owned());
    }

    /// All of other domains that are directly in a group.
    pub fn foreign(&mut self, key: &str, listed: Vec<Foreign>) -> Result<(), Stop> {
        for principal in self.principals.values_mut() {
            principal.above.remove(key);
            principal.no_longer_above.remove(key);
        }
        self.no_longer_lists(key)?;
        for Foreign { sid, identity, norm } in listed {
            let principal = self.principals.entry(sid).or_default();
            principal.names = Some(Names { bare: String::new(), identity, norm });
            principal.no_longer_above.remove(key);
            principal.above.insert(key.to_owned());
        }
        Ok(())
    }

    /// Nobody of another domain whom the mirror has in a group is in it.
    fn no_longer_lists(&mut self, key: &str) -> Result<(), Stop> {
        for from in self.view.leading_to(&group_id(key))? {
            if from.kind == Kind::ForeignPrincipal {
                let principal = self.principals.entry(from.key).or_default();
                principal.no_longer_above.insert(key.to_owned());
            }
        }
        Ok(())
    }

    /// Groups that a group is directly in, besides others.
    pub fn within(&mut self, key: &str, above: BTreeSet<String>) {
        self.groups.entry(key.to_owned()).or_default().above.extend(above);
    }

    /// A person is not there any more.
    pub fn person_gone(&mut self, ext: &str) -> Result<(), Stop> {
        self.people.remove(ext);
        if self.view.has_person(ext)? {
            self.gone_people.insert(ext.to_owned());
        }
        Ok(())
    }

    /// A group is not there any more.
    pub fn group_gone(&mut self, key: &str) -> Result<(), Stop> {
        self.groups.remove(key);
        if self.view.has_ref(&group_id(key))? {
            self.gone_groups.insert(key.to_owned());
            self.no_longer_lists(key)?;
        }
        Ok(())
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        let Draft { people, groups, principals, gone_people, gone_groups, .. } = self;
        let nothing = people.is_empty() && groups.is_empty() && principals.is_empty();
        nothing && gone_people.is_empty() && gone_groups.is_empty()
    }

    /// The delta. Whoever it names is known to the mirror or told by it: what is not is left out, since
    /// its own message is still to come.
    pub fn delta(&self, step: Step) -> Result<Delta, Stop> {
        let mut delta = Delta {
            step: Some(step),
            people: self.people.values().cloned().collect(),
            gone_people: self.gone_people.iter().cloned().collect(),
            gone_refs: self.gone_groups.iter().map(|key| group_id(key)).collect(),
            ..Delta::default()
        };
        for (key, group) in &self.groups {
            if self.has_group(key)? {
                delta.refs.push(self.reference(key, group)?);
            }
        }
        for (sid, principal) in &self.principals {
            let id = principal_id(sid);
            match self.principal(&id, principal)? {
                Some(told) => delta.refs.push(told),
                // It is there for the groups that list it.
                None if self.view.has_ref(&id)? => delta.gone_refs.push(id),
                None => {}
            }
        }
        Ok(delta)
    }

    /// A foreign security principal as it is now; nothing where no group lists it.
    fn principal(&self, id: &RefId, principal: &Principal) -> Result<Option<RefDelta>, Stop> {
        let mut above: BTreeSet<RefId> = self.view.leads_to(id)?.into_iter().collect();
        above.retain(|up| !principal.no_longer_above.contains(&up.key));
        above.extend(principal.above.iter().map(|up| group_id(up)));
        let mut there = Vec::with_capacity(above.len());
        for up in above {
            if self.has_group(&up.key)? {
                there.push(up);
            }
        }
        if there.is_empty() {
            return Ok(None);
        }
        let mut told = RefDelta::new(id.clone());
        if let Some(Names { bare, identity, norm }) = principal.names.clone() {
            (told.name, told.identity, told.norm) = (Some(bare), Some(identity), Some(norm));
        }
        told.members = ListChange::Whole(Vec::new());
        told.implies = ListChange::Whole(there);
        Ok(Some(told))
    }

    /// Those of these people whom the mirror will have.
    fn those_there(&self, exts: &BTreeSet<String>) -> Result<Vec<String>, Stop> {
        let mut there = Vec::with_capacity(exts.len());
        for ext in exts {
            if self.has_person(ext)? {
                there.push(ext.clone());
            }
        }
        Ok(there)
    }

    fn reference(&self, key: &str, group: &Group) -> Result<RefDelta, Stop> {
        let mut told = RefDelta::new(group_id(key));
        let is_new = !self.view.has_ref(&told.id)?;
        if let Some(Names { bare, identity, norm }) = group.names.clone() {
            (told.name, told.identity, told.norm) = (Some(bare), Some(identity), Some(norm));
        }
        told.rid = group.rid;
        if let Some(people) = &group.people {
            told.members = ListChange::Whole(self.those_there(people)?);
        } else if !group.joined.is_empty() || !group.left.is_empty() {
            let (added, removed) =
                (self.those_there(&group.joined)?, self.those_there(&group.left)?);
            told.members = ListChange::Changed { added, removed };
        }
        let mut above = Vec::new();
        for up in &group.above {
            if up != key && self.has_group(up)? {
                above.push(group_id(up));
            }
        }
        let removed: Vec<RefId> = group.no_longer_above.iter().map(|up| group_id(up)).collect();
        if is_new {
            told.implies = ListChange::Whole(above);
        } else if !above.is_empty() || !removed.is_empty() {
            told.implies = ListChange::Changed { added: above, removed };
        }
        Ok(told)
    }
}
