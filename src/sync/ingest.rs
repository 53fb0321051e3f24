//! What a feed told, committed as a generation of its own.
//!
//! ```text
//! deltas ─► the mirror's rows, patched ─► resolve ─► plan, guard ─► commit: rows, cursor and plan
//! ```
//!
//! The mirror's rows, its cursor and what follows from them are one transaction: whatever happens in
//! between, the feed goes on from what was committed, and tells the rest again.

use std::collections::BTreeMap;

use super::slice::{Patches, Sliced, WhyAll, plan_for_some};
use super::{
    Found, Outcome, RunError, SourceAnswer, SourceState, admin, configured, load_views, local,
    merge_mirrors, outcome, renamed_groups, token, updates, views,
};
use crate::config::Config;
use crate::directory::{Delta, Patch, Refusal, Touched};
use crate::model::{Diagnostic, Inconsistent, Time, TooMany};
use crate::store::{Commit, CommitError, MirrorPatch, Reader, Store, StoreError, Transaction};
use crate::sync::AdminError;

/// Why what a feed told was not committed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// It does not fit the mirror.
    #[error("{name}: what the feed told does not fit: {why}")]
    Refused {
        /// The source's name.
        name: String,
        /// Why.
        #[source]
        why: Refusal,
    },
    /// The source has no mirror: it must be read first.
    #[error("{name}: has not been read yet")]
    NoMirror {
        /// The source's name.
        name: String,
    },
    /// As in a run.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<StoreError> for IngestError {
    fn from(error: StoreError) -> Self {
        IngestError::Run(error.into())
    }
}

impl From<CommitError> for IngestError {
    fn from(error: CommitError) -> Self {
        IngestError::Run(error.into())
    }
}

impl From<Inconsistent> for IngestError {
    fn from(error: Inconsistent) -> Self {
        IngestError::Run(error.into())
    }
}

impl From<AdminError> for IngestError {
    fn from(error: AdminError) -> Self {
        IngestError::Run(error.into())
    }
}

impl From<TooMany> for IngestError {
    fn from(error: TooMany) -> Self {
        Inconsistent::from(error).into()
    }
}

/// Commits what feeds told, by source: deltas in their order, each leading from the cursor to which
/// the one before led. Everything or nothing, and one generation at most. Tells what became of the mirrors
/// as well. Blocks on the disk.
///
/// # Errors
/// A delta does not fit, or the store cannot be read or written. Nothing was changed.
pub fn ingest(
    config: &Config,
    store: &dyn Store,
    told: &BTreeMap<String, Vec<Delta>>,
    now: Time,
) -> Result<(Outcome, BTreeMap<String, Patch>), IngestError> {
    let admin = admin::Admin::read(config)?;
    store.update(|tx| {
        let (outcome, _, patches) = once(config, admin.as_ref(), told, (tx, Way::ForSome), now)?;
        Ok((outcome, patches))
    })
}

/// As [`ingest`], planning for whom `way` says, and tells for whom it was.
///
/// # Errors
/// As there.
#[cfg(test)]
pub(super) fn ingest_by(
    config: &Config,
    store: &dyn Store,
    told: &BTreeMap<String, Vec<Delta>>,
    way: Way,
    now: Time,
) -> Result<(Outcome, Way), IngestError> {
    let admin = admin::Admin::read(config)?;
    store.update(|tx| {
        let (outcome, way, _) = once(config, admin.as_ref(), told, (tx, way), now)?;
        Ok((outcome, way))
    })
}

/// One try.
fn once(
    config: &Config,
    admin: Option<&admin::Admin>,
    told: &BTreeMap<String, Vec<Delta>>,
    (tx, way): (&mut dyn Transaction, Way),
    now: Time,
) -> Result<(Outcome, Way, Patches), IngestError> {
    let reader = tx.reader();
    let mut diagnostics = Vec::new();
    // At one go: there is much to ask, and each question for itself would be a transaction.
    let found = reader.snapshot(|reader| {
        Ok(look_up(config, admin, told, (reader, way), &mut diagnostics, now))
    })?;
    let LookedUp { patches, mut known, some } = found?;
    let way = if some.is_ok() { Way::ForSome } else { Way::ForAll };
    let (plan, meta, settled) = match some {
        Ok(Sliced { plan, meta, renamed }) => {
            diagnostics.extend(renamed);
            patched(&mut known, &patches);
            let settled = token(config, &known, admin);
            (plan, meta, settled)
        }
        Err(why) => {
            tracing::debug!(%why, "what a feed told may concern anybody: everybody is planned for");
            let found = everybody(config, admin, &patches, (&mut known, reader), now)?;
            diagnostics.extend(renamed_groups(config, &known));
            let old = reader.state()?;
            let plan = found.plan(config, &views(config, &known), &old, now)?;
            (plan, found.meta, found.token)
        }
    };
    let written: Vec<MirrorPatch<'_>> =
        patches.iter().map(|(source, patch)| MirrorPatch { source, patch }).collect();
    // What a plan for everybody made of `local` (whom the configuration sees to) is written with it.
    let sources = match way {
        Way::ForAll => updates(&known, now),
        Way::ForSome => Vec::new(),
    };
    let committed = tx.commit_patches(
        &Commit {
            plan: &plan,
            base_version: meta.version,
            sources: &sources,
            configured: &configured(config),
            settled: Some(settled),
        },
        &written,
    )?;
    drop((sources, written));
    let generation = committed.generation.unwrap_or(meta.generation);
    let (outcome, _) = outcome(known, Some(plan), None, diagnostics, &meta, generation, now);
    Ok((outcome, way, patches))
}

/// What is looked up before anything is written.
struct LookedUp {
    patches: Patches,
    known: Vec<SourceState>,
    /// A plan for those whom it concerns, or why there is none.
    some: Result<Sliced, WhyAll>,
}

fn look_up(
    config: &Config,
    admin: Option<&admin::Admin>,
    told: &BTreeMap<String, Vec<Delta>>,
    (reader, way): (&dyn Reader, Way),
    diagnostics: &mut Vec<Diagnostic>,
    now: Time,
) -> Result<LookedUp, IngestError> {
    let patches = patches(told, reader)?;
    let answers = config.sources.iter().map(|_| SourceAnswer::NotAsked).collect();
    let mut known = merge_mirrors(config, answers, Some(reader), diagnostics)?;
    local::refresh(config, &mut known, Some(reader))?;
    let before = token(config, &known, admin);
    let some = match way {
        Way::ForSome => plan_for_some(config, reader, &patches, &before, now)?,
        Way::ForAll => Err(WhyAll::Asked),
    };
    Ok(LookedUp { patches, known, some })
}

/// Whom to plan for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Those whom it concerns, where that can be told.
    ForSome,
    /// Everybody.
    ForAll,
}

/// What a plan for everybody is made from, once the mirrors in `known` are loaded and patched.
fn everybody<'a>(
    config: &Config,
    admin: Option<&'a admin::Admin>,
    patches: &Patches,
    (known, reader): (&mut [SourceState], &dyn Reader),
    now: Time,
) -> Result<Found<'a>, IngestError> {
    patched(known, patches);
    // It brings `local` up to now, whose mirror is loaded after that.
    let found = Found::of(config, known, Some(reader), admin, now)?;
    load_views(known, Some(reader))?;
    for one in known.iter_mut() {
        let Some(patch) = patches.get(&one.outcome.name) else { continue };
        let before = one.mirror.as_ref().map(|stored| stored.mirror.clone()).unwrap_or_default();
        one.read = Some(before.patched(patch)?.directory);
    }
    Ok(found)
}

/// Notes what the mirrors' digests are with the patches.
fn patched(known: &mut [SourceState], patches: &Patches) {
    for one in known {
        if let Some(patch) = patches.get(&one.outcome.name) {
            one.digest = Some(patch.after.to_string());
        }
    }
}

/// What the deltas make of the mirrors, by source.
fn patches(
    told: &BTreeMap<String, Vec<Delta>>,
    reader: &dyn Reader,
) -> Result<Patches, IngestError> {
    let mut patches = BTreeMap::new();
    for (source, deltas) in told {
        let name = source.clone();
        let Some((rows, key)) = reader.mirror_rows(source, &Touched::by_all(deltas))? else {
            return Err(IngestError::NoMirror { name });
        };
        match rows.apply_all(deltas, &key) {
            Ok(patch) => patches.insert(name, patch),
            Err(why) => return Err(IngestError::Refused { name, why }),
        };
    }
    Ok(patches)
}
