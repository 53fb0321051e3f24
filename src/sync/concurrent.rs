//! What others committed while a run was reading.
//!
//! A run that began to read before somebody was looked up may not list them, and that is no
//! absence: they stay in its readings, with what they were within, and the next run decides. The
//! store tells who they are: [`Marks`] are taken before any source is asked.
//!
//! What a feed told meanwhile is younger than what was read ([`FeedLog`]).

use std::collections::BTreeMap;

use super::feed_log::FeedLog;
use super::{Options, RunError, SourceState};
use crate::config::Config;
use crate::directory::{Cursor, Mirror, Touched, with_people};
use crate::source::{SourceError, SourceErrorKind};
use crate::store::{Marks, Reader};

/// How the store stood before any source was asked.
pub(super) struct Before {
    dry_run: bool,
    marks: Marks,
    /// In the order of the configuration's sources.
    pub starts: Vec<ReadStart>,
    feeds: FeedLog,
}

/// From where a source's read starts.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadStart {
    /// Its feed goes on telling meanwhile.
    pub followed: bool,
    /// The cursor of its mirror.
    pub cursor: Option<Cursor>,
    /// The run asks certain sources, this one among them: as a feed wants it.
    pub by_name: bool,
}

impl Before {
    /// Looks, and lets what feeds tell from now on be kept.
    pub(super) fn of(
        config: &Config,
        options: &Options,
        reader: Option<&dyn Reader>,
    ) -> Result<Self, RunError> {
        let feeds = options.feeds.clone();
        if !options.dry_run {
            feeds.reads_begin();
        }
        let mut starts = Vec::new();
        for source in &config.sources {
            let cursor = match reader {
                // What is told in between is in the list, and before this cursor.
                Some(reader) => cursor(reader, &source.name)?,
                None => None,
            };
            // A mirror without a cursor is followed by nobody, whatever was so a moment ago.
            let followed = cursor.is_some() && feeds.has(&source.name);
            let by_name = options.sources.is_some();
            starts.push(ReadStart { followed, cursor, by_name });
        }
        let marks = reader.map(Reader::marks).transpose()?.unwrap_or_default();
        Ok(Before { dry_run: options.dry_run, marks, starts, feeds })
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        if !self.dry_run {
            self.feeds.reads_end();
        }
    }
}

fn cursor(reader: &dyn Reader, source: &str) -> Result<Option<Cursor>, RunError> {
    let rows = reader.mirror_rows(source, &Touched::default())?;
    Ok(rows.and_then(|(rows, _)| rows.head.cursor))
}

/// Brings what is known up to what was committed since: mirrors that others wrote to are forgotten,
/// to be loaded again, and who came meanwhile, and what feeds told, is put into the readings.
///
/// # Errors
/// The store cannot be read.
pub(super) fn catch_up(
    known: &mut [SourceState],
    reader: Option<&dyn Reader>,
    before: &Before,
) -> Result<(), RunError> {
    let Some(reader) = reader else { return Ok(()) };
    let mut stored: BTreeMap<String, Option<String>> =
        reader.sources()?.into_iter().map(|status| (status.name, status.digest)).collect();
    for (one, start) in known.iter_mut().zip(&before.starts) {
        one.stored = stored.remove(&one.outcome.name).flatten();
        if one.mirror.as_ref().is_some_and(|mirror| Some(&mirror.digest) != one.stored.as_ref()) {
            one.mirror = None;
        }
        follow(one, start, reader, before)?;
        let name = &one.outcome.name;
        let Some(read) = &mut one.read else {
            one.digest.clone_from(&one.stored);
            continue;
        };
        let added = reader.added_since(name, &before.marks)?;
        if !added.is_empty() {
            tracing::info!(source = %name, people = added.len(), "provisioned while it was read");
            let read = with_people(std::mem::take(read), &added)
                .map_err(|why| RunError::Newcomers { name: name.clone(), why })?;
            one.says(read, &reader.digest_key()?);
        }
    }
    Ok(())
}

/// Lays what a feed told since the read began over what was read. Where that is not known (another
/// process wrote to the mirror) the mirror speaks, as if nothing had been read.
fn follow(
    one: &mut SourceState,
    start: &ReadStart,
    reader: &dyn Reader,
    before: &Before,
) -> Result<(), RunError> {
    // A dry run only looks: what it read is what it shows.
    if one.read.is_none() || before.dry_run {
        return Ok(());
    }
    let name = one.outcome.name.clone();
    let at = cursor(reader, &name)?;
    let Some(told) = before.feeds.between(&name, start.cursor.as_ref(), at.as_ref()) else {
        let why = "its mirror was changed by another process while it was read";
        one.fails(SourceError::transient(why).of_kind(SourceErrorKind::Raced));
        return Ok(());
    };
    if !told.is_empty() {
        let touched = Touched::by_all(&told);
        if let Some((rows, key)) = reader.mirror_rows(&name, &touched)?
            && let Some(read) = one.read.take()
        {
            tracing::info!(source = %name, rows = rows.count(), "changed while it was read");
            let read = Mirror { directory: read, cursor: None };
            let both = read
                .with_rows_of(&rows, &told)
                .map_err(|why| RunError::Newcomers { name: name.clone(), why: why.into() })?;
            one.says(both.directory, &key);
        }
    }
    // Whoever follows it goes on from where the mirror is, which is never too late: what the read saw
    // beyond that is told once more.
    if at.is_some() && (start.followed || !told.is_empty() || before.feeds.has(&name)) {
        one.followed_to.clone_from(&at);
        one.cursor = at;
    }
    Ok(())
}
