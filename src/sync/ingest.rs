//! What a feed told, committed as a generation of its own.
//!
//! ```text
//! deltas ─► the mirror's rows, patched ─► resolve ─► plan, guard ─► commit: rows, cursor and plan
//! ```
//!
//! The mirror's rows, its cursor and what follows from them are one transaction: whatever happens in
//! between, the feed goes on from what was committed, and tells the rest again.

use std::collections::BTreeMap;

use super::{
    Found, Outcome, RunError, SourceAnswer, admin, configured, load_views, merge_mirrors, outcome,
    renamed_groups, views,
};
use crate::config::Config;
use crate::directory::{Delta, Patch, Refusal, Touched};
use crate::model::{Inconsistent, Time, TooMany};
use crate::store::{Commit, CommitError, MirrorPatch, Store, StoreError, Transaction};
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
/// the one before led. Everything or nothing, and one generation at most. Blocks on the disk.
///
/// # Errors
/// A delta does not fit, or the store cannot be read or written. Nothing was changed.
pub fn ingest(
    config: &Config,
    store: &dyn Store,
    told: &BTreeMap<String, Vec<Delta>>,
    now: Time,
) -> Result<Outcome, IngestError> {
    let admin = admin::Admin::read(config)?;
    store.update(|tx| once(config, admin.as_ref(), told, tx, now))
}

/// One try.
fn once(
    config: &Config,
    admin: Option<&admin::Admin>,
    told: &BTreeMap<String, Vec<Delta>>,
    tx: &mut dyn Transaction,
    now: Time,
) -> Result<Outcome, IngestError> {
    let patches = patches(told, &*tx)?;
    let reader = tx.reader();
    let mut diagnostics = Vec::new();
    let answers = config.sources.iter().map(|_| SourceAnswer::NotAsked).collect();
    let mut known = merge_mirrors(config, answers, Some(reader), &mut diagnostics)?;
    load_views(&mut known, Some(reader))?;
    for one in &mut known {
        let Some(patch) = patches.get(&one.outcome.name) else { continue };
        let before = one.mirror.as_ref().map(|stored| stored.mirror.clone()).unwrap_or_default();
        one.read = Some(before.patched(patch)?.directory);
        one.digest = Some(patch.after.to_string());
    }
    let found = Found::of(config, &mut known, Some(reader), admin, now)?;
    diagnostics.extend(renamed_groups(config, &known));
    let old = reader.state()?;
    let plan = found.plan(config, &views(config, &known), &old, now)?;
    drop(old);
    let patches: Vec<MirrorPatch<'_>> =
        patches.iter().map(|(source, patch)| MirrorPatch { source, patch }).collect();
    let committed = tx.commit_patches(
        &Commit {
            plan: &plan,
            base_version: found.meta.version,
            sources: &[],
            configured: &configured(config),
            settled: Some(found.token.clone()),
        },
        &patches,
    )?;
    let meta = found.meta;
    let generation = committed.generation.unwrap_or(meta.generation);
    Ok(outcome(known, Some(plan), None, diagnostics, &meta, generation, now).0)
}

/// What the deltas make of the mirrors, by source.
fn patches(
    told: &BTreeMap<String, Vec<Delta>>,
    tx: &dyn Transaction,
) -> Result<BTreeMap<String, Patch>, IngestError> {
    let mut patches = BTreeMap::new();
    for (source, deltas) in told {
        let name = source.clone();
        let Some((rows, key)) = tx.reader().mirror_rows(source, &Touched::by_all(deltas))? else {
            return Err(IngestError::NoMirror { name });
        };
        match rows.apply_all(deltas, &key) {
            Ok(patch) => patches.insert(name, patch),
            Err(why) => return Err(IngestError::Refused { name, why }),
        };
    }
    Ok(patches)
}
