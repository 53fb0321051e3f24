//! Active Directory's ranges: of an attribute with many values an answer has the first 1500 or so,
//! and the rest is asked for by place (MS-ADTS, section 3.1.1.3.1.3.3).
//!
//! Places move when somebody joins or leaves in between, and a member who slips from the next range
//! into the last one would be in neither: a removal by mistake. So each range begins with the last
//! value of the one before, which must be the same, and the group must not have changed
//! (`uSNChanged`) from the first range to the last. Else it is read again from the start.

use ldap3::{Ldap, Scope};

use super::entry::{Entry, Ranged};
use super::explain::Fault;
use super::search::{self, End, Limits, Search};

/// How often a list that changes while it is read is begun again.
const ATTEMPTS: usize = 3;

/// Says when an entry has changed.
const CHANGED: &str = "uSNChanged";

/// Runs `search` as [`search::run`] does; entries of which only a range of some values came are read
/// on until all are there. One that cannot be is given as it came, with what it lacks in
/// [`Entry::ranged`].
pub(super) async fn run(
    ldap: &mut Ldap,
    search: &Search,
    limits: Limits,
    mut on_entry: impl FnMut(Entry),
    on_page: impl FnMut(u64),
) -> End {
    // A search within a paged one would spoil that, so they wait.
    let mut waiting = Vec::new();
    let hold = |entry: Entry| {
        if entry.ranged.is_empty() { on_entry(entry) } else { waiting.push(entry) }
    };
    let mut end = search::run(ldap, search, limits, hold, on_page).await;
    for mut entry in waiting {
        for _ in 0..ATTEMPTS {
            if entry.ranged.is_empty() || end.fault.is_some() {
                break;
            }
            match whole(ldap, search, limits, &entry).await {
                Ok(Some(all)) => entry = all,
                // Gone by now, or changed under our hands.
                Ok(None) => {}
                Err(fault) => end.fault = Some(fault),
            }
        }
        on_entry(entry);
    }
    end
}

/// The entry once more, with all values of what came as ranges; nothing where it changed meanwhile.
async fn whole(
    ldap: &mut Ldap,
    search: &Search,
    limits: Limits,
    entry: &Entry,
) -> Result<Option<Entry>, Fault> {
    let ask = |attributes: Vec<String>| Search {
        base: entry.dn.clone(),
        scope: Scope::Base,
        page_size: 0,
        attributes: [&[CHANGED.to_owned()][..], &attributes].concat(),
        ..search.clone()
    };
    let Some(first) = one(ldap, &ask(search.attributes.clone()), limits).await? else {
        return Ok(None);
    };
    let mut all = first.clone();
    all.ranged.clear();
    for mut part in first.ranged {
        let mut values = std::mem::take(&mut part.values);
        while let Some(last) = part.range.last {
            let description = format!("{};range={last}-*", part.name);
            let Some(mut next) = one(ldap, &ask(vec![description]), limits).await? else {
                return Ok(None);
            };
            if next.values("usnchanged") != all.values("usnchanged") {
                return Ok(None);
            }
            let Some(place) = next.ranged.iter().position(|it| it.name == part.name) else {
                return Ok(None);
            };
            let Ranged { name, range, values: more } = next.ranged.swap_remove(place);
            let goes_on = range.last.is_none_or(|end| end > last);
            let (Some((same, more)), true) = (more.split_first(), goes_on) else {
                return Ok(None);
            };
            if range.first != last || values.last() != Some(same) {
                return Ok(None);
            }
            values.extend_from_slice(more);
            part = Ranged { name, range, values: Vec::new() };
        }
        all.add(&part.name, values);
    }
    Ok(Some(all))
}

/// The entry at the base of `search`, if it is there.
async fn one(ldap: &mut Ldap, search: &Search, limits: Limits) -> Result<Option<Entry>, Fault> {
    let mut found = None;
    let end = search::run(ldap, search, limits, |entry| found = Some(entry), |_| {}).await;
    match end.fault {
        Some(fault) if fault.code == Some(32) => Ok(None),
        Some(fault) => Err(fault),
        None => Ok(found),
    }
}
