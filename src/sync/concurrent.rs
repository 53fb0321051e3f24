//! People who were provisioned while a run was reading.
//!
//! A run that began to read before somebody was looked up may not list them, and that is no
//! absence: they stay in its readings, with what they were within, and the next run decides. The
//! store tells who they are: [`Marks`] are taken before any source is asked.

use std::collections::BTreeMap;

use super::{RunError, SourceState};
use crate::directory::with_people;
use crate::store::{Marks, Reader};

/// Brings what is known up to what was committed since: mirrors that others wrote to are forgotten,
/// to be loaded again, and who came meanwhile is put into the readings.
///
/// # Errors
/// The store cannot be read.
pub(super) fn catch_up(
    known: &mut [SourceState],
    reader: Option<&dyn Reader>,
    marks: &Marks,
) -> Result<(), RunError> {
    let Some(reader) = reader else { return Ok(()) };
    let mut stored: BTreeMap<String, Option<String>> =
        reader.sources()?.into_iter().map(|status| (status.name, status.digest)).collect();
    for one in known {
        let name = &one.outcome.name;
        one.stored = stored.remove(name).flatten();
        if one.mirror.as_ref().is_some_and(|mirror| Some(&mirror.digest) != one.stored.as_ref()) {
            one.mirror = None;
        }
        let Some(read) = &mut one.read else {
            one.digest.clone_from(&one.stored);
            continue;
        };
        let added = reader.added_since(name, marks)?;
        if !added.is_empty() {
            tracing::info!(source = %name, people = added.len(), "provisioned while it was read");
            let read = with_people(std::mem::take(read), &added)
                .map_err(|why| RunError::Newcomers { name: name.clone(), why })?;
            one.says(read, &reader.digest_key()?);
        }
    }
    Ok(())
}
