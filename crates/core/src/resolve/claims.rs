//! Accounts that a source calls otherwise than the person is called: a rename that was refused, or
//! one that the guard may yet hold. Such an account must not pass for the person at the gateway.

use hashbrown::{HashMap, HashSet};

use crate::model::index::Place as _;
use crate::model::{Change, IndexVec, SourceIdx, State, Text, TooMany, UserId};

use super::people::{People, SourceView, ViewIdx};

/// What a source calls one account that the state knows.
struct Account<'a> {
    source: SourceIdx,
    ext: &'a str,
    claim: Option<Text>,
}

/// Brings [`crate::model::Link::claim`] of everybody whom a source lists up to date.
///
/// # Errors
/// There are more sources than can be numbered.
pub fn settle(
    old: &State,
    people: &People,
    sources: &IndexVec<ViewIdx, SourceView<'_>>,
    state: &mut State,
    changes: &mut Vec<Change>,
) -> Result<(), TooMany> {
    let kept = old.links.iter().filter(|link| link.claim.is_some()).map(|link| link.user);
    let mut concerned: HashSet<UserId> = kept.collect();
    let user_of = |person| {
        let place = people.persons.at(person).old?;
        old.users.get(place.place()).map(|user| user.id)
    };
    let claimed = people.links.iter().filter(|link| link.claim.is_some());
    concerned.extend(claimed.filter_map(|link| user_of(link.person)));
    if concerned.is_empty() {
        return Ok(());
    }
    let mut places: IndexVec<ViewIdx, SourceIdx> = IndexVec::with_capacity(sources.len());
    for view in sources {
        places.push(state.source(view.name)?)?;
    }
    let mut accounts: HashMap<UserId, Vec<Account<'_>>> = HashMap::new();
    for link in people.links.iter().filter(|link| !link.new) {
        let Some(user) = user_of(link.person).filter(|user| concerned.contains(user)) else {
            continue;
        };
        let (source, directory) = (*places.at(link.view), sources.at(link.view).directory);
        let ext = directory.text(directory.users.at(link.user).ext);
        accounts.entry(user).or_default().push(Account { source, ext, claim: link.claim });
    }
    let texts = &state.texts;
    let word = |claim: Option<Text>| claim.map(|claim| texts.get(claim));
    for link in &mut state.links {
        let Some(accounts) = accounts.get(&link.user) else { continue };
        let same = |it: &&Account<'_>| it.source == link.source && it.ext == texts.get(link.ext);
        let Some(account) = accounts.iter().find(same) else { continue };
        if word(account.claim) != word(link.claim) {
            link.claim = account.claim;
            changes.push(Change::LinkClaims {
                user: link.user,
                source: link.source,
                ext: link.ext,
                claim: link.claim,
            });
        }
    }
    Ok(())
}
