//! One run from end to end: read, merge, resolve, plan, guard, apply.
//!
//! [`run`] is what `idpsyncd sync`, the daemon and `check` call. Planning happens on values; the
//! only writer is opened last, and not at all in a dry run. [`provision`] does the same for one person
//! who has just arrived.

mod admin;
mod claims;
mod concurrent;
mod feed_log;
mod ingest;
mod local;
mod manual;
mod manual_error;
pub mod osmo_db;
mod phase;
pub mod provision;
mod shared_lock;
mod slice;
mod stored_view;
#[cfg(test)]
mod tests;
mod who;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::config::{Config, SourceConfig, WatchMode};
use crate::directory::local as local_source;
use crate::directory::{
    Cursor, Difference, DigestKey, Directory, DirectoryDigest, Mirror, RefId, RowId, ScopeReport,
    Snapshot,
};
use crate::model::diagnostic::texts;
use crate::model::encoding::Encoder;
use crate::model::{Diagnostic, DiagnosticCode, Inconsistent, State, Subject, Time, parse_rfc3339};
use crate::plan::{self, Background, Held, HeldHead, NotPlanned, Plan, Taken};
use crate::resolve::{Rules, View, in_doubt, resolve};
use crate::source::feed::Mark;
use crate::source::{OnProgress, Source, SourceError, open_source};
use crate::store::{
    Beside, Commit, CommitError, LockError, Meta, MirrorUpdate, Reader, SourceStatus, SourceUpdate,
    Store, StoreError, StoredMirror, Transaction,
};

use self::concurrent::{Before, ReadStart, catch_up};

pub use admin::{AdminError, check as check_default_admin};
pub use feed_log::FeedLog;
pub use ingest::{IngestError, ingest};
pub use local::{UserWish, change_user};
pub use manual::{approvable, approve, by_hand, discard, existing_reader, find_held};
pub use manual_error::ManualError;
pub use phase::{OnPhase, Phase};
pub use shared_lock::SharedLock;
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

/// How one source fared.
#[derive(Clone, Debug)]
pub struct SourceOutcome {
    /// Its name.
    pub name: String,
    /// `keycloak`, `ldap`, `file` or `local`.
    pub kind: &'static str,
    /// What came of it.
    pub result: SourceResult,
    /// When its mirror was last read in full, before this run.
    pub mirror_at: Option<Time>,
}

/// What came of reading a source.
#[derive(Clone, Debug)]
pub enum SourceResult {
    /// Every scope is complete.
    Complete(Vec<ScopeReport>),
    /// Some scope is not: it may add, never take away.
    Partial(Vec<ScopeReport>),
    /// Nothing could be read: its mirror speaks.
    Failed {
        /// Why.
        message: String,
        /// It may pass.
        transient: bool,
    },
    /// Nobody asked: its mirror speaks.
    NotAsked,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What was planned, and but for a dry run applied. `None`: nothing that a plan depends on
    /// changed since the last one, so there was nothing to plan.
    pub plan: Option<Plan>,
    /// What waits for a person. Its changes are in the plan, or in the store where nothing was
    /// planned.
    pub held: Option<HeldHead>,
    /// How the sources fared, in the order of the configuration.
    pub sources: Vec<SourceOutcome>,
    /// What full reads found of sources that are followed and that their feeds had not told by then.
    pub untold: BTreeMap<String, BTreeMap<RowId, Difference>>,
    /// What sources and the plan have to tell. Sorted, each once.
    pub diagnostics: Vec<Diagnostic>,
    /// The generation before.
    pub before: u64,
    /// The generation after; the same where nothing changed.
    pub generation: u64,
    /// The moment of the run.
    pub at: Time,
    /// The next moment at which something falls due by itself.
    pub next_due: Option<Time>,
}

impl Outcome {
    /// What there is to tell, in words: sorted, each once.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        texts(&self.diagnostics)
    }

    /// Whether some source failed or was partial.
    #[must_use]
    pub fn incomplete(&self) -> bool {
        self.sources.iter().any(|source| {
            matches!(source.result, SourceResult::Partial(_) | SourceResult::Failed { .. })
        })
    }

    /// Whether some source failed in a way that may pass.
    #[must_use]
    pub fn worth_retrying(&self) -> bool {
        self.sources.iter().any(|source| {
            matches!(
                source.result,
                SourceResult::Partial(_) | SourceResult::Failed { transient: true, .. }
            )
        })
    }

    /// Whether the plan changes anything.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| !plan.changes.is_empty())
    }
}

/// Why a run came to nothing: nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another process is at work.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What was asked for by hand is refused.
    #[error(transparent)]
    Manual(#[from] ManualError),
    /// `[default_admin]` cannot be ensured.
    #[error(transparent)]
    DefaultAdmin(#[from] AdminError),
    /// Only a sync makes a store.
    #[error("there is no store `{store}` yet: run `idpsyncd sync` first")]
    NoStore {
        /// Where it was looked for.
        store: String,
    },
    /// Whoever came while a source was read does not fit into what was read.
    #[error("{name}: cannot add who came: {why}")]
    Newcomers {
        /// The source's name.
        name: String,
        /// Why.
        #[source]
        why: crate::directory::Refusal,
    },
    /// What the store holds contradicts itself.
    #[error("{0}: this is a fault of idpsyncd; nothing was applied")]
    Inconsistent(#[from] Inconsistent),
}

impl From<NotPlanned> for RunError {
    fn from(why: NotPlanned) -> Self {
        match why {
            NotPlanned::Inconsistent(what) => what.into(),
            why => ManualError::NotPlanned(why).into(),
        }
    }
}

/// What one source came to know, before it is laid over the mirror.
enum SourceAnswer {
    Said(Box<Snapshot>),
    Failed(SourceError),
    NotAsked,
}

/// Asks all sources at the same time, each in a task of its own: one that is busy parsing does not
/// keep the others waiting. Dropping the future ends the tasks.
async fn ask(
    config: &Config,
    options: &Options,
    starts: &[ReadStart],
    progress: &OnProgress,
) -> Vec<SourceAnswer> {
    let config = Arc::new(config.clone());
    let mut tasks = JoinSet::new();
    let mut answers: Vec<SourceAnswer> = Vec::new();
    for (index, (source, start)) in config.sources.iter().zip(starts).enumerate() {
        let asked = options.sources.as_ref().is_none_or(|names| names.contains(&source.name));
        if !asked || source.kind.is_local() {
            answers.push(SourceAnswer::NotAsked);
            continue;
        }
        // What stands if the task dies without an answer: a reader that panicked knows nothing.
        answers.push(SourceAnswer::Failed(SourceError::transient(
            "reading ended in a fault of this program, nothing is known; please report it",
        )));
        let (config, progress) = (Arc::clone(&config), progress.clone());
        // A dry run's mirror goes nowhere: nobody will follow it.
        let start = (!options.dry_run).then(|| start.clone());
        tasks.spawn(async move { (index, ask_one(&config, index, start, progress).await) });
    }
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((index, answer)) => {
                if let Some(slot) = answers.get_mut(index) {
                    *slot = answer;
                }
            }
            Err(error) => tracing::error!(%error, "a source's reader died"),
        }
    }
    answers
}

async fn ask_one(
    config: &Config,
    index: usize,
    start: Option<ReadStart>,
    progress: OnProgress,
) -> SourceAnswer {
    let Some(source) = config.sources.get(index) else { return SourceAnswer::NotAsked };
    let settings = config.settings();
    let rules = Rules::new(&settings, source.terms());
    let snapshot = match open_source(source) {
        Ok(opened) => read(&*opened, source, &rules, start, progress).await,
        Err(error) => Err(error),
    };
    match snapshot {
        Ok(snapshot) => SourceAnswer::Said(Box::new(snapshot)),
        Err(error) => SourceAnswer::Failed(error),
    }
}

/// Reads a source in full. The cursor from which its feed goes on after that was taken before: what
/// changes in mid-read is told again.
async fn read(
    opened: &dyn Source,
    source: &SourceConfig,
    rules: &Rules<'_>,
    start: Option<ReadStart>,
    progress: OnProgress,
) -> Result<Snapshot, SourceError> {
    let cursor = match (start, opened.as_feed()) {
        // It goes on from where it is.
        (Some(ReadStart { followed: true, cursor }), _) => cursor,
        (Some(_), Some(feed)) if source.watch == WatchMode::Auto => match feed.mark(rules).await {
            Ok(Mark::At(cursor)) => Some(cursor),
            Ok(Mark::Not(why)) => {
                tracing::debug!(source = %source.name, %why, "cannot be followed");
                None
            }
            Err(error) => {
                tracing::debug!(source = %source.name, %error, "cannot be followed after this read");
                None
            }
        },
        _ => None,
    };
    let mut snapshot = opened.read(rules, progress).await?;
    snapshot.cursor = cursor;
    Ok(snapshot)
}

/// One source as far as it is known now.
struct SourceState {
    /// What was read, laid over the mirror; absent where nothing was read.
    read: Option<Directory>,
    /// The stored mirror, once somebody needs it.
    mirror: Option<StoredMirror>,
    /// From where its feed goes on after what was read.
    cursor: Option<Cursor>,
    /// The digest of what was read, row by row.
    digests: Option<DirectoryDigest>,
    /// The digest of what is known; absent: nothing is.
    digest: Option<String>,
    /// The digest of the stored mirror; absent: there is none.
    stored: Option<String>,
    /// Up to which cursor of its feed what was read is known to be as the mirror is: it was followed
    /// while it was read.
    followed_to: Option<Cursor>,
    /// The reading was complete in every scope.
    complete: bool,
    outcome: SourceOutcome,
}

impl SourceState {
    fn directory(&self) -> Option<&Directory> {
        self.read.as_ref().or(self.mirror.as_ref().map(|stored| &stored.mirror.directory))
    }

    /// Lets the source say `directory` from now on. `key` is the store's.
    fn says(&mut self, directory: Directory, key: &DigestKey) {
        let digests = directory.digests(key);
        self.digest = Some(digests.whole.to_string());
        self.digests = Some(digests);
        self.read = Some(directory);
    }

    /// It is `local`, and nobody was added by hand.
    fn is_idle(&self) -> bool {
        self.outcome.kind == local_source::NAME
            && matches!(&self.outcome.result, SourceResult::Complete(scopes)
                if scopes.iter().all(|scope| scope.count == 0))
    }

    /// What a read of a source that is followed found different; `None`: it is not followed, or was
    /// not read in full.
    fn untold(&self) -> Option<BTreeMap<RowId, Difference>> {
        self.followed_to.as_ref().filter(|_| self.complete)?;
        let (stored, read) = (self.mirror.as_ref(), self.read.as_ref());
        let differences = |(stored, read): (&StoredMirror, &Directory)| {
            let mut rows = stored.mirror.directory.differences(read);
            // Whose members nobody asks for any more are forgotten by a read, and kept by a feed.
            let asked_for = |id: &RefId| {
                let place = read.find_ref(id.kind, &id.key);
                place.and_then(|place| read.refs.get(place)).is_none_or(|row| row.known)
            };
            rows.retain(|row, _| !matches!(row, RowId::Member(id, _) if !asked_for(id)));
            rows
        };
        Some(stored.zip(read).filter(|_| self.is_news()).map(differences).unwrap_or_default())
    }

    /// What was read differs from what is stored.
    fn is_news(&self) -> bool {
        self.read.is_some() && self.digest != self.stored
    }
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
    let _lock = if options.dry_run {
        None
    } else {
        // The lock comes first, so that of two runs at once one works and the other says so
        // before it has asked anybody anything.
        let lock = options.lock.take(store, &options.what, now)?;
        store.prepare()?;
        Some(lock)
    };
    // Before any source is asked.
    let before = Before::of(config, options, store.reader()?.as_deref())?;
    let answers = ask(config, options, &before.starts, progress).await;
    on_phase(Phase::Planning);
    // The last point at which a run that nobody wants any more ends without writing: a source that
    // never gives way (a file) would otherwise carry it past its cancellation.
    tokio::task::yield_now().await;
    // Everything below is computing and disk: it would hold up other tasks of the runtime.
    let answers = (answers, admin);
    tokio::task::block_in_place(|| {
        plan_and_commit(config, store, answers, (&before, on_phase), options.dry_run, now)
    })
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
        let told = renamed_groups(config, &known);
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
        let told = doubts(config, known, reader)?;
        tx.touch(&updates(known, now), &configured)?;
        let Found { meta, pending, .. } = found;
        let generation = meta.generation;
        return Ok(Round { plan: None, pending, told, meta, generation });
    }
    load_views(known, reader)?;
    let told = renamed_groups(config, known);
    let old = tx.reader().state()?;
    let views = views(config, known);
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

/// Lays each source's answer over its mirror.
fn merge_mirrors(
    config: &Config,
    answers: Vec<SourceAnswer>,
    reader: Option<&dyn Reader>,
    told: &mut Vec<Diagnostic>,
) -> Result<Vec<SourceState>, StoreError> {
    let stored: BTreeMap<String, SourceStatus> = match reader {
        Some(reader) => reader.sources()?.into_iter().map(|s| (s.name.clone(), s)).collect(),
        None => BTreeMap::new(),
    };
    // A dry run of a store that is still to be made compares with nothing.
    let key = reader.map(Reader::digest_key).transpose()?.unwrap_or_default();
    let mut known = Vec::new();
    for (source, answer) in config.sources.iter().zip(answers) {
        let status = stored.get(&source.name);
        let stored = status.and_then(|status| status.digest.clone());
        let mut one = SourceState {
            read: None,
            mirror: None,
            cursor: None,
            followed_to: None,
            digests: None,
            digest: stored.clone(),
            stored,
            complete: false,
            outcome: SourceOutcome {
                name: source.name.clone(),
                kind: source.kind.word(),
                result: SourceResult::NotAsked,
                mirror_at: status.and_then(|status| status.read_at),
            },
        };
        match answer {
            SourceAnswer::NotAsked => {}
            SourceAnswer::Failed(error) => {
                one.outcome.result =
                    SourceResult::Failed { message: error.message, transient: error.transient };
            }
            SourceAnswer::Said(snapshot) => {
                let said = snapshot.diagnostics.iter().cloned();
                told.extend(said.map(|diagnostic| diagnostic.said_by(&source.name)));
                let scopes = snapshot.scopes();
                if let (Some(reader), false) = (reader, snapshot.stands_alone()) {
                    one.mirror = reader.mirror(&source.name)?;
                }
                let nothing = Mirror::default();
                let mirror = one.mirror.as_ref().map_or(&nothing, |stored| &stored.mirror);
                let merged = mirror.apply_snapshot(*snapshot);
                one.complete = merged.complete;
                if merged.undecided > 0 {
                    let message = format!(
                        "{} users are left out until the source can be believed about whether \
                         they are enabled",
                        merged.undecided
                    );
                    let (code, subject) = (DiagnosticCode::EnabledUnknown, Subject::None);
                    let undecided = Diagnostic::warning(code, subject, message);
                    told.push(undecided.said_by(&source.name));
                }
                one.cursor = merged.mirror.cursor;
                one.says(merged.mirror.directory, &key);
                one.outcome.result = if merged.complete {
                    SourceResult::Complete(scopes)
                } else {
                    SourceResult::Partial(scopes)
                };
            }
        }
        known.push(one);
    }
    Ok(known)
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

/// Loads the mirrors that planning or writing needs and that are not there yet.
fn load_views(known: &mut [SourceState], reader: Option<&dyn Reader>) -> Result<(), StoreError> {
    let Some(reader) = reader else { return Ok(()) };
    for one in known {
        // A view without a reading is the mirror; news is written as what differs from it.
        if one.mirror.is_none() && (one.read.is_none() || one.is_news()) {
            one.mirror = reader.mirror(&one.outcome.name)?;
        }
    }
    Ok(())
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

fn views<'a>(config: &'a Config, known: &'a [SourceState]) -> Vec<View<'a>> {
    config
        .sources
        .iter()
        .zip(known)
        .filter_map(|(source, one)| {
            Some(View { source: &source.name, directory: one.directory()? })
        })
        .collect()
}

fn updates(known: &[SourceState], now: Time) -> Vec<SourceUpdate<'_>> {
    known
        .iter()
        .filter(|one| !matches!(one.outcome.result, SourceResult::NotAsked))
        .map(|one| SourceUpdate {
            source: &one.outcome.name,
            kind: one.outcome.kind,
            tried_at: now,
            complete: one.complete,
            error: match &one.outcome.result {
                SourceResult::Failed { message, .. } => Some(message.clone()),
                _ => None,
            },
            scopes: match &one.outcome.result {
                SourceResult::Complete(scopes) | SourceResult::Partial(scopes) => {
                    scopes.iter().cloned().map(Into::into).collect()
                }
                SourceResult::Failed { .. } | SourceResult::NotAsked => Vec::new(),
            },
            cursor: one.cursor.as_ref(),
            mirror: match (&one.read, &one.digests) {
                (Some(directory), Some(digest)) if one.is_news() => {
                    Some(MirrorUpdate { old: one.mirror.as_ref(), directory, digest })
                }
                _ => None,
            },
        })
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
