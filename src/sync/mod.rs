//! One run from end to end: read, merge, resolve, plan, guard, apply.
//!
//! [`run`] is what `idpsyncd sync`, the daemon and `check` call. Planning happens on values; the
//! only writer is opened last, and not at all in a dry run. [`provision`] does the same for one person
//! who has just arrived.

mod admin;
mod asking;
mod claims;
mod concurrent;
mod feed_log;
mod ingest;
mod local;
mod manual;
mod manual_error;
pub mod osmo_db;
mod outcome;
mod phase;
pub mod provision;
mod shared_lock;
mod slice;
mod source_state;
mod standing;
mod stored_view;
#[cfg(test)]
mod tests;
mod token_lives;
mod who;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::directory::Directory;
use crate::model::encoding::Encoder;
use crate::model::{Diagnostic, Inconsistent, State, Time, parse_rfc3339};
use crate::plan::{self, Background, Held, HeldHead, Plan, Taken};
use crate::resolve::{View, foreign_members, has_foreign_members, in_doubt, resolve};
use crate::source::OnProgress;
use crate::store::{Beside, Commit, Meta, Reader, Store, Transaction};

use self::asking::{SourceAnswer, ask};
use self::concurrent::{Before, catch_up};
use self::source_state::{SourceState, load_views, merge_mirrors, updates, views};

pub use admin::{AdminError, check as check_default_admin};
pub use feed_log::{FeedLog, FollowedHere};
pub use ingest::{IngestError, ingest};
pub use local::{UserWish, change_user};
pub use manual::{approvable, approve, by_hand, discard, existing_reader, find_held};
pub use manual_error::ManualError;
pub use outcome::{Outcome, RunError, RunErrorKind, SourceOutcome, SourceResult};
pub use phase::{OnPhase, Phase};
pub use shared_lock::{HeldLock, SharedLock};
pub use standing::stands_by;
pub use stored_view::StoredView;

/// What to do in a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Plan, and write nothing.
    pub dry_run: bool,
    /// Read these sources only, the others speak through their mirrors; absent: all.
    pub sources: Option<Vec<String>>,
    /// What the lock says of its holder, such as `idpsyncd sync`.
    pub what: String,
    /// What feeds tell in this process while sources are read.
    pub feeds: FeedLog,
    /// Who has the store's lock in this process.
    pub lock: SharedLock,
}

/// Runs once, over `store`: that of `config`. `now` is the moment of the run.
///
/// # Errors
/// Another process is at work, or the store cannot be read or written. A source that fails is not
/// an error: it is in the outcome.
pub async fn run(
    config: &Config,
    store: &dyn Store,
    options: &Options,
    progress: &OnProgress,
    now: Time,
) -> Result<Outcome, RunError> {
    run_with_views(config, store, options, progress, now).await.map(|(outcome, _)| outcome)
}

/// As [`run`], and tells `on_phase` how far it has come: whoever drops the future must know.
///
/// # Errors
/// As [`run`].
pub async fn run_in_phases(
    config: &Config,
    store: &dyn Store,
    options: &Options,
    progress: &OnProgress,
    on_phase: &OnPhase,
    now: Time,
) -> Result<Outcome, RunError> {
    run_whole(config, store, options, progress, on_phase, now).await.map(|(outcome, _)| outcome)
}

/// As [`run`], and returns what each source is known to hold, where that was needed.
///
/// # Errors
/// As [`run`].
pub async fn run_with_views(
    config: &Config,
    store: &dyn Store,
    options: &Options,
    progress: &OnProgress,
    now: Time,
) -> Result<(Outcome, Vec<(String, Directory)>), RunError> {
    let untold: OnPhase = Arc::new(|_| {});
    run_whole(config, store, options, progress, &untold, now).await
}

async fn run_whole(
    config: &Config,
    store: &dyn Store,
    options: &Options,
    progress: &OnProgress,
    on_phase: &OnPhase,
    now: Time,
) -> Result<(Outcome, Vec<(String, Directory)>), RunError> {
    // A secret that will not do is an error before anybody was asked anything.
    let admin = admin::Admin::read(config)?;
    let (lock, before) = tokio::task::block_in_place(|| prepare(config, store, options, now))?;
    let answers = ask(config, options, &before.starts, progress).await;
    on_phase(Phase::Planning);
    // The last point at which a run that nobody wants any more ends without writing: a source that
    // never gives way (a file) would otherwise carry it past its cancellation.
    tokio::task::yield_now().await;
    // Everything below is computing and disk: it would hold up other tasks of the runtime.
    let answers = (answers, admin);
    tokio::task::block_in_place(|| {
        let done =
            plan_and_commit(config, store, answers, (&before, on_phase), options.dry_run, now);
        drop(lock);
        done
    })
}

/// Everything before any source is asked.
fn prepare(
    config: &Config,
    store: &dyn Store,
    options: &Options,
    now: Time,
) -> Result<(Option<HeldLock>, Before), RunError> {
    let lock = if options.dry_run {
        None
    } else {
        // The lock comes first, so that of two runs at once one works and the other says so
        // before it has asked anybody anything.
        let lock = options.lock.take(store, &options.what, now)?;
        store.prepare()?;
        Some(lock)
    };
    let before = Before::of(config, options, store.reader()?.as_deref())?;
    Ok((lock, before))
}

/// Everything after the sources have spoken.
fn plan_and_commit(
    config: &Config,
    store: &dyn Store,
    (answers, admin): (Vec<SourceAnswer>, Option<admin::Admin>),
    (before, on_phase): (&Before, &OnPhase),
    dry_run: bool,
    now: Time,
) -> Result<(Outcome, Vec<(String, Directory)>), RunError> {
    let reader = store.reader()?;
    // A folder that has lost its policies looks like one that never had any: every run says so.
    let mut told: Vec<Diagnostic> =
        config.h2o.iter().flat_map(|h2o| h2o.unfound.iter().cloned()).collect();
    let mut known = merge_mirrors(config, answers, reader.as_deref(), &mut told)?;
    let admin = admin.as_ref();
    let round = if dry_run {
        let reader = reader.as_deref();
        catch_up(&mut known, reader, before)?;
        let found = Found::of(config, &mut known, reader, admin, now)?;
        load_views(&mut known, reader)?;
        let old = reader.map(Reader::state).transpose()?.unwrap_or_default();
        let mut told = renamed_groups(config, &known);
        told.extend(foreign_members(&config.settings(), &views(config, &known)));
        let plan = found.plan(config, &views(config, &known), &old, now)?;
        let generation = found.meta.generation;
        Round { plan: Some(plan), pending: None, told, meta: found.meta, generation }
    } else {
        drop(reader);
        // A person may grant or remove something meanwhile, or a stranger be provisioned: what was
        // read still holds, the plan is made anew on what they left.
        store.update(|tx| round(config, (&mut known, before), admin, tx, on_phase, now))?
    };
    let Round { plan, pending, told: more, meta, generation } = round;
    told.extend(more);
    Ok(outcome(known, plan, pending, told, &meta, generation, now))
}

/// What one try of a run came to.
struct Round {
    plan: Option<Plan>,
    pending: Option<HeldHead>,
    told: Vec<Diagnostic>,
    /// The store before.
    meta: Meta,
    /// The generation after.
    generation: u64,
}

/// Plans from what the store holds now, and commits.
fn round(
    config: &Config,
    (known, before): (&mut Vec<SourceState>, &Before),
    admin: Option<&admin::Admin>,
    tx: &mut dyn Transaction,
    on_phase: &OnPhase,
    now: Time,
) -> Result<Round, RunError> {
    let reader = Some(tx.reader());
    catch_up(known, reader, before)?;
    let found = Found::of(config, known, reader, admin, now)?;
    let configured = configured(config);
    let due = found.meta.next_due.is_some_and(|due| due <= now);
    // A dry run tells everything, warnings that a sync has told before as well; this one does not.
    if found.meta.settled.as_deref() == Some(found.token.as_str()) && !due {
        let mut told = doubts(config, known, reader)?;
        // Whom nobody knows can only be told where all are there.
        if known.iter().any(|one| one.directory().is_some_and(has_foreign_members)) {
            load_views(known, reader)?;
            told.extend(foreign_members(&config.settings(), &views(config, known)));
        }
        tx.touch(&updates(known, now), &configured)?;
        let Found { meta, pending, .. } = found;
        let generation = meta.generation;
        return Ok(Round { plan: None, pending, told, meta, generation });
    }
    load_views(known, reader)?;
    let mut told = renamed_groups(config, known);
    let old = tx.reader().state()?;
    let views = views(config, known);
    told.extend(foreign_members(&config.settings(), &views));
    let sources = updates(known, now);
    on_phase(Phase::Committing);
    let base_version = found.meta.version;
    let (plan, committed) = if found.meta.generation == 0 {
        let settled = found.token.as_str();
        let beside = Beside { base_version, sources: &sources, configured: &configured, settled };
        tx.commit_beside(&beside, Box::new(|| found.plan(config, &views, &old, now)))?
    } else {
        let plan = found.plan(config, &views, &old, now)?;
        drop(old);
        let committed = tx.commit(&Commit {
            plan: &plan,
            base_version,
            sources: &sources,
            configured: &configured,
            settled: Some(found.token.clone()),
        })?;
        (plan, committed)
    };
    let meta = found.meta;
    let generation = committed.generation.unwrap_or(meta.generation);
    Ok(Round { plan: Some(plan), pending: None, told, meta, generation })
}

/// What the store holds for a run, beside its state and mirrors.
struct Found<'a> {
    meta: Meta,
    ensure: admin::Ensure<'a>,
    /// What the plan depends on besides the store and the clock.
    token: String,
    pending: Option<HeldHead>,
    /// What went within the guard's window.
    recent: Taken,
}

/// From when on what went counts: a window before now, or before what is held began to wait, so that
/// nothing is let go for having waited.
fn window_start(config: &Config, pending: Option<&HeldHead>, now: Time) -> Time {
    let since = pending.and_then(|held| parse_rfc3339(&held.since).ok());
    let window = chrono::Duration::from_std(config.guard.window).unwrap_or(chrono::Duration::MAX);
    let start = since.map_or(now, |since| since.min(now)).checked_sub_signed(window);
    start.unwrap_or(Time::MIN_UTC)
}

impl<'a> Found<'a> {
    /// Looks. `known` is up to what was committed meanwhile, but for `local`.
    fn of(
        config: &Config,
        known: &mut [SourceState],
        reader: Option<&dyn Reader>,
        admin: Option<&'a admin::Admin>,
        now: Time,
    ) -> Result<Self, RunError> {
        let meta = reader.map(Reader::meta).transpose()?.unwrap_or_default();
        local::refresh(config, known, reader)?;
        let ensure = admin::Ensure::of(config, admin, known, reader, now)?;
        let token = token(config, known, admin);
        let pending = reader.map(Reader::held_head).transpose()?.flatten();
        let recent = match reader {
            Some(reader) => reader.taken_since(window_start(config, pending.as_ref(), now))?,
            None => Taken::default(),
        };
        Ok(Found { meta, ensure, token, pending, recent })
    }

    fn plan(
        &self,
        config: &Config,
        views: &[View<'_>],
        old: &State,
        now: Time,
    ) -> Result<Plan, Inconsistent> {
        let mut resolved = resolve(&config.settings(), views, old, now)?;
        self.ensure.amend(&mut resolved, old, now)?;
        let (pending, recent) = (self.pending.clone(), self.recent);
        let background = Background { pending, recent, ..Background::default() };
        let mut plan = plan::plan(&config.guard, resolved, old, &background, now)?;
        plan.records.accounts.clone_from(&self.ensure.accounts);
        Ok(plan)
    }
}

fn configured(config: &Config) -> Vec<String> {
    config.sources.iter().map(|source| source.name.clone()).collect()
}

/// What the plan depends on besides the store and the clock: the same token, the same plan.
fn token(config: &Config, known: &[SourceState], admin: Option<&admin::Admin>) -> String {
    let mut encoder = Encoder::new("idpsyncd run 1");
    encoder.text(&config.fingerprint);
    encoder.flag(admin.is_some());
    if let Some(admin) = admin {
        encoder.bytes(&admin.digest);
    }
    for one in known {
        encoder.text(&one.outcome.name);
        // Never read is no digest, not one of another text.
        encoder.maybe(one.digest.as_ref().map(|digest| [digest]));
    }
    encoder.hex()
}

/// What is in doubt, for a run that plans nothing: that is told in every run.
fn doubts(
    config: &Config,
    known: &[SourceState],
    reader: Option<&dyn Reader>,
) -> Result<Vec<Diagnostic>, RunError> {
    let Some(reader) = reader else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    for one in known.iter().filter(|one| one.directory().is_none()) {
        kept.extend(reader.structure(&one.outcome.name)?.map(|it| (one.outcome.name.as_str(), it)));
    }
    let read = known.iter().filter_map(|one| Some((one.outcome.name.as_str(), one.directory()?)));
    let all: Vec<(&str, &Directory)> =
        read.chain(kept.iter().map(|(name, directory)| (*name, directory))).collect();
    Ok(in_doubt(&config.settings(), &all, &reader.roles()?)
        .map_err(Inconsistent::from)?
        .into_iter()
        .map(|doubt| doubt.told)
        .collect())
}

/// Groups that rules name in whole and that are called otherwise since the last read.
fn renamed_groups(config: &Config, known: &[SourceState]) -> Vec<Diagnostic> {
    let news = config.sources.iter().zip(known).filter(|(_, one)| one.is_news());
    news.filter_map(|(source, one)| {
        let (old, new) = (&one.mirror.as_ref()?.mirror.directory, one.read.as_ref()?);
        Some(crate::resolve::renamed_groups(&config.settings(), source.terms(), old, new))
    })
    .flatten()
    .collect()
}

fn outcome(
    known: Vec<SourceState>,
    mut plan: Option<Plan>,
    pending: Option<HeldHead>,
    mut diagnostics: Vec<Diagnostic>,
    meta: &Meta,
    generation: u64,
    now: Time,
) -> (Outcome, Vec<(String, Directory)>) {
    let mut held = pending;
    let mut next_due = meta.next_due;
    if let Some(plan) = &mut plan {
        diagnostics.append(&mut plan.diagnostics);
        held = plan.held.as_ref().map(Held::head);
        next_due = plan.next_due;
    }
    diagnostics.sort();
    diagnostics.dedup();
    let mut directories = Vec::new();
    let mut sources = Vec::new();
    let mut untold = BTreeMap::new();
    let alone = known.len() == 1;
    for one in known {
        // Where nobody was added by hand there is nothing to tell of.
        if one.is_idle() && !alone {
            continue;
        }
        untold.extend(one.untold().map(|rows| (one.outcome.name.clone(), rows)));
        let directory = one.read.or(one.mirror.map(|stored| stored.mirror.directory));
        directories.extend(directory.map(|directory| (one.outcome.name.clone(), directory)));
        sources.push(one.outcome);
    }
    let outcome = Outcome {
        plan,
        held,
        sources,
        untold,
        diagnostics,
        before: meta.generation,
        generation,
        at: now,
        next_due,
    };
    (outcome, directories)
}
