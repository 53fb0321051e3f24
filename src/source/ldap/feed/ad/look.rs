//! Looking whether all are still there, for whom deletions are not told.
//!
//! What is missing leads to a full read, never to a removal: who is hidden looks the same, and the full
//! read has all that tells the one from the other as far as that can be told.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Stop;
use super::super::ask::Asker;
use super::super::draft::Draft;
use super::super::wire::Id;
use super::again::Whereabouts;
use crate::directory::Kind;
use crate::source::feed::{MirrorView, WhyFull};

/// How long the next look waits at least, and how often as long as the last one took.
const SHORTEST: Duration = Duration::from_secs(10);
const TIMES: u32 = 20;

/// Of so many missing ones it is asked whether they are elsewhere.
const ASKED: usize = 20;

/// When to look.
#[derive(Debug)]
pub(super) struct Looks {
    due: Instant,
    /// The number of the last change when it was looked last.
    seen: Option<u64>,
}

impl Looks {
    /// From now on: somebody may have been deleted since the cookie.
    pub fn new() -> Self {
        Looks { due: Instant::now(), seen: None }
    }

    /// Whether to look now, when the last change has the number `usn`.
    pub fn is_due(&self, usn: u64) -> bool {
        self.seen != Some(usn) && self.due <= Instant::now()
    }

    /// A look that began at `began`, when the last change had the number `usn`, is done.
    pub fn looked(&mut self, began: Instant, usn: u64) {
        let wait = began.elapsed().saturating_mul(TIMES).max(SHORTEST);
        let now = Instant::now();
        *self = Looks { due: now.checked_add(wait).unwrap_or(now), seen: Some(usn) };
    }
}

/// Whom the filters let in or leave out now and the mirror does not.
pub(super) async fn others(ask: &mut Asker<'_>, view: &dyn MirrorView) -> Result<Vec<Id>, Stop> {
    let there = ask.all_ids().await?;
    let (people, refs) = view.everything()?;
    let groups = refs.iter().filter(|it| it.kind == Kind::Group).map(|it| &it.key);
    let known: HashSet<Id> = people.iter().chain(groups).filter_map(|key| Id::parse(key)).collect();
    Ok(there.symmetric_difference(&known).copied().collect())
}

/// Looks whether everybody whom the mirror has, or will have by `draft`, is there.
///
/// # Errors
/// Somebody is not: a full read is needed.
pub(super) async fn all_are_there(
    ask: &mut Asker<'_>,
    view: &dyn MirrorView,
    draft: &Draft<'_>,
) -> Result<(), Stop> {
    const WHY: &str = "somebody is missing, and deletions are not told to this identity";
    let there = ask.all_ids().await?;
    let is_there = |key: &str| Id::parse(key).is_some_and(|id| there.contains(&id));
    let (people, refs) = view.everything()?;
    let mut missing = Vec::new();
    for ext in people.into_iter().filter(|ext| !is_there(ext)) {
        if draft.has_person(&ext)? {
            missing.push(ext);
        }
    }
    for group in refs.into_iter().filter(|it| it.kind == Kind::Group && !is_there(&it.key)) {
        if draft.has_group(&group.key)? {
            missing.push(group.key);
        }
    }
    let untold = || Err(Stop::Read(WhyFull::Other(WHY.to_owned())));
    if missing.len() > ASKED {
        return untold();
    }
    for id in missing {
        let Some(id) = Id::parse(&id) else { return untold() };
        // Elsewhere: it has just left, and that will be told.
        if ask.whereabouts(id).await? != Whereabouts::Elsewhere {
            return untold();
        }
    }
    Ok(())
}
