//! Asking the sources, each in full.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Options;
use super::concurrent::ReadStart;
use super::token_lives;
use crate::config::{Config, SourceConfig, WatchMode};
use crate::directory::Snapshot;
use crate::resolve::Rules;
use crate::source::feed::Mark;
use crate::source::{OnProgress, Source, SourceError, SourceErrorKind, open_source};

/// What one source came to know, before it is laid over the mirror.
pub(super) enum SourceAnswer {
    Said(Box<Snapshot>),
    Failed(SourceError),
    NotAsked,
}

/// Asks all sources at the same time, each in a task of its own: one that is busy parsing does not
/// keep the others waiting. Dropping the future ends the tasks.
pub(super) async fn ask(
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
        let why = "reading ended in a fault of this program, nothing is known; please report it";
        let died = SourceError::transient(why).of_kind(SourceErrorKind::Panicked);
        answers.push(SourceAnswer::Failed(died));
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

pub(super) async fn ask_one(
    config: &Config,
    index: usize,
    start: Option<ReadStart>,
    progress: OnProgress,
) -> SourceAnswer {
    let Some(source) = config.sources.get(index) else { return SourceAnswer::NotAsked };
    let settings = config.settings();
    let rules = Rules::new(&settings, source.terms());
    let snapshot = match open_source(source) {
        Ok(opened) => match read(&*opened, source, &rules, start, progress).await {
            Ok(Some(mut snapshot)) => {
                snapshot.diagnostics.extend(token_lives::outlive(config, source, &*opened).await);
                Ok(snapshot)
            }
            Ok(None) => return SourceAnswer::NotAsked,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match snapshot {
        Ok(snapshot) => SourceAnswer::Said(Box::new(snapshot)),
        Err(error) => SourceAnswer::Failed(error),
    }
}

/// Reads a source in full. The cursor from which its feed goes on after that was taken before: what
/// changes in mid-read is told again. `None`: that feed is about to ask for a read, and knows when.
pub(super) async fn read(
    opened: &dyn Source,
    source: &SourceConfig,
    rules: &Rules<'_>,
    start: Option<ReadStart>,
    progress: OnProgress,
) -> Result<Option<Snapshot>, SourceError> {
    let cursor = match (start, opened.as_feed()) {
        // It goes on from where it is.
        (Some(ReadStart { followed: true, cursor, by_name }), feed) => {
            if let (Some(feed), Some(cursor)) = (feed, &cursor)
                && !feed.stays(cursor).await?
                && !by_name
            {
                tracing::debug!(source = %source.name, "its feed is about to have it read");
                return Ok(None);
            }
            cursor
        }
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
    Ok(Some(snapshot))
}
