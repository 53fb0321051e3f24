//! Two sides of one fact: `member` at the group, `memberOf` at the person. `check` reads both and
//! tells where they differ, since one of them is kept by a plug-in that can fall behind.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::assemble::{Assembler, Group, GroupIdx};
use super::shape::MEMBER_OF;
use crate::directory::{DirUserIdx, Kind};
use crate::model::diagnostic::some_of;
use crate::model::{Diagnostic, DiagnosticCode, IndexVec, Subject};

/// At most so many groups are named, with so many people each.
const WARNED: usize = 50;
const NAMED: usize = 3;

/// Where the two sides differ: someone listed who does not show the group, or someone who shows it
/// and is neither listed nor in a group that is. Some servers show the groups of groups too, others
/// do not, so that is no difference. Nothing where nobody shows `memberOf` at all.
pub(super) fn compare(
    assembler: &Assembler,
    groups: &IndexVec<GroupIdx, Group>,
) -> Vec<Diagnostic> {
    // By group, who shows it.
    let mut showing: HashMap<GroupIdx, HashSet<DirUserIdx>> = HashMap::new();
    for (user, dn) in &assembler.within {
        if let Some(group) = assembler.group_at.get(*dn) {
            showing.entry(group).or_default().insert(*user);
        }
    }
    if showing.is_empty() {
        return Vec::new();
    }
    let listed: IndexVec<GroupIdx, HashSet<DirUserIdx>> = groups
        .map(|group| group.members.iter().filter_map(|id| assembler.user_at.get(*id)).collect());
    let mut differences: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<&str>)> = BTreeMap::new();
    let nobody = HashSet::new();
    for (at, group) in groups.numbered() {
        let (Some(direct), shows) = (listed.get(at), showing.get(&at).unwrap_or(&nobody)) else {
            continue;
        };
        let unseen = direct.difference(shows);
        let surplus: Vec<&DirUserIdx> = shows.difference(direct).collect();
        let all = if surplus.is_empty() {
            HashSet::new()
        } else {
            everyone(assembler, groups, &listed, at)
        };
        let name = |user: &DirUserIdx| assembler.builder.username(*user);
        let (silent, claim) = differences.entry(&group.identity).or_default();
        silent.extend(unseen.map(name));
        claim.extend(surplus.into_iter().filter(|user| !all.contains(user)).map(name));
    }
    let told = differences
        .into_iter()
        .filter(|(_, (silent, claim))| !silent.is_empty() || !claim.is_empty());
    told.take(WARNED).map(|(group, (silent, claim))| tell(group, &silent, &claim)).collect()
}

/// Everyone in the group at this place, and in the groups in it.
fn everyone(
    assembler: &Assembler,
    groups: &IndexVec<GroupIdx, Group>,
    listed: &IndexVec<GroupIdx, HashSet<DirUserIdx>>,
    at: GroupIdx,
) -> HashSet<DirUserIdx> {
    let (mut seen, mut next) = (HashSet::from([at]), vec![at]);
    let mut all = HashSet::new();
    while let Some(at) = next.pop() {
        all.extend(listed.get(at).into_iter().flatten().copied());
        let members = groups.get(at).into_iter().flat_map(|group| &group.members);
        let inner = members.filter_map(|id| assembler.group_at.get(*id));
        next.extend(inner.filter(|inner| seen.insert(*inner)));
    }
    all
}

fn tell(group: &str, silent: &BTreeSet<&str>, claim: &BTreeSet<&str>) -> Diagnostic {
    let named = |people: &BTreeSet<&str>| some_of(people, NAMED);
    let mut parts = Vec::new();
    if !silent.is_empty() {
        parts.push(format!("lists {} who show no `{MEMBER_OF}` of it", named(silent)));
    }
    if !claim.is_empty() {
        parts.push(format!("does not list {} who show a `{MEMBER_OF}` of it", named(claim)));
    }
    let message = format!(
        "group `{}` {}: what keeps `{MEMBER_OF}` has fallen behind (389-DS: `fixup-memberof`)",
        group.escape_debug(),
        parts.join("; ")
    );
    let subject = Subject::reference(Kind::Group, group);
    Diagnostic::warning(DiagnosticCode::MemberOfDiffers, subject, message)
}
