//! The sources as far as they are known in a run: what was read laid over the mirrors, or the mirrors.

use std::collections::BTreeMap;

use super::asking::SourceAnswer;
use super::{SourceOutcome, SourceResult};
use crate::config::Config;
use crate::directory::local as local_source;
use crate::directory::{
    Cursor, Difference, DigestKey, Directory, DirectoryDigest, Mirror, RefId, RowId,
};
use crate::model::{Diagnostic, DiagnosticCode, Subject, Time};
use crate::resolve::View;
use crate::source::{SourceError, SourceErrorKind};
use crate::store::{MirrorUpdate, Reader, SourceStatus, SourceUpdate, StoreError, StoredMirror};

/// One source as far as it is known now.
pub(super) struct SourceState {
    /// What was read, laid over the mirror; absent where nothing was read.
    pub(super) read: Option<Directory>,
    /// The stored mirror, once somebody needs it.
    pub(super) mirror: Option<StoredMirror>,
    /// From where its feed goes on after what was read.
    pub(super) cursor: Option<Cursor>,
    /// The digest of what was read, row by row.
    pub(super) digests: Option<DirectoryDigest>,
    /// The digest of what is known; absent: nothing is.
    pub(super) digest: Option<String>,
    /// The digest of the stored mirror; absent: there is none.
    pub(super) stored: Option<String>,
    /// Up to which cursor of its feed what was read is known to be as the mirror is: it was followed
    /// while it was read.
    pub(super) followed_to: Option<Cursor>,
    /// The reading was complete in every scope.
    pub(super) complete: bool,
    pub(super) outcome: SourceOutcome,
}

impl SourceState {
    pub(super) fn directory(&self) -> Option<&Directory> {
        self.read.as_ref().or(self.mirror.as_ref().map(|stored| &stored.mirror.directory))
    }

    /// Lets the source say `directory` from now on. `key` is the store's.
    pub(super) fn says(&mut self, directory: Directory, key: &DigestKey) {
        let digests = directory.digests(key);
        self.digest = Some(digests.whole.to_string());
        self.digests = Some(digests);
        self.read = Some(directory);
    }

    /// Lets the mirror speak, as if nothing had been read.
    pub(super) fn fails(&mut self, error: SourceError) {
        self.read = None;
        self.digests = None;
        self.digest.clone_from(&self.stored);
        self.cursor = None;
        self.complete = false;
        self.outcome.result = SourceResult::Failed(error);
    }

    /// It is `local`, and nobody was added by hand.
    pub(super) fn is_idle(&self) -> bool {
        self.outcome.kind == local_source::NAME
            && matches!(&self.outcome.result, SourceResult::Complete(scopes)
                if scopes.iter().all(|scope| scope.count == 0))
    }

    /// What a read of a source that is followed found different; `None`: it is not followed, or was
    /// not read in full.
    pub(super) fn untold(&self) -> Option<BTreeMap<RowId, Difference>> {
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
    pub(super) fn is_news(&self) -> bool {
        self.read.is_some() && self.digest != self.stored
    }
}

/// Lays each source's answer over its mirror.
pub(super) fn merge_mirrors(
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
                one.outcome.result = SourceResult::Failed(error);
            }
            SourceAnswer::Said(snapshot) => {
                let said = snapshot.diagnostics.iter().cloned();
                told.extend(said.map(|diagnostic| diagnostic.said_by(&source.name)));
                let scopes = snapshot.scopes();
                if let (Some(reader), false) = (reader, snapshot.stands_alone()) {
                    one.mirror = reader.mirror(&source.name)?;
                }
                let how_to_have_ids = source.kind.how_to_have_ids();
                let shows_ids = how_to_have_ids.is_none() || snapshot.directory.shows_ids();
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
                if let (Some(how), false) = (how_to_have_ids, shows_ids) {
                    keep_ids(&mut one, reader, how)?;
                }
            }
        }
        known.push(one);
    }
    Ok(known)
}

/// Fails a source that nobody has an id in, where its people were known by ids: it was written otherwise,
/// and to take them for other people would take from them what they were given by hand. `how` they have ids.
fn keep_ids(
    one: &mut SourceState,
    reader: Option<&dyn Reader>,
    how: &str,
) -> Result<(), StoreError> {
    let (Some(reader), true) = (reader, one.is_news() && one.stored.is_some()) else {
        return Ok(());
    };
    if one.mirror.is_none() {
        one.mirror = reader.mirror(&one.outcome.name)?;
    }
    let (Some(stored), Some(read)) = (&one.mirror, &one.read) else { return Ok(()) };
    if stored.mirror.directory.knew_by_id(read) {
        let message = format!(
            "nobody in it has an id any more, by which its people were known, so who they are cannot be \
             told: {how}; if they are to be known by their usernames from now on, give the source \
             another `name`"
        );
        one.fails(SourceError::fatal(message).of_kind(SourceErrorKind::Broken));
    }
    Ok(())
}

/// Loads the mirrors that planning or writing needs and that are not there yet.
pub(super) fn load_views(
    known: &mut [SourceState],
    reader: Option<&dyn Reader>,
) -> Result<(), StoreError> {
    let Some(reader) = reader else { return Ok(()) };
    for one in known {
        // A view without a reading is the mirror; news is written as what differs from it.
        if one.mirror.is_none() && (one.read.is_none() || one.is_news()) {
            one.mirror = reader.mirror(&one.outcome.name)?;
        }
    }
    Ok(())
}

pub(super) fn views<'a>(config: &'a Config, known: &'a [SourceState]) -> Vec<View<'a>> {
    config
        .sources
        .iter()
        .zip(known)
        .filter_map(|(source, one)| {
            Some(View { source: &source.name, directory: one.directory()? })
        })
        .collect()
}

pub(super) fn updates(known: &[SourceState], now: Time) -> Vec<SourceUpdate<'_>> {
    known
        .iter()
        .filter(|one| !matches!(one.outcome.result, SourceResult::NotAsked))
        .map(|one| SourceUpdate {
            source: &one.outcome.name,
            kind: one.outcome.kind,
            tried_at: now,
            complete: one.complete,
            error: match &one.outcome.result {
                SourceResult::Failed(SourceError { message, .. }) => Some(message.clone()),
                _ => None,
            },
            scopes: match &one.outcome.result {
                SourceResult::Complete(scopes) | SourceResult::Partial(scopes) => {
                    scopes.iter().cloned().map(Into::into).collect()
                }
                SourceResult::Failed(_) | SourceResult::NotAsked => Vec::new(),
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
