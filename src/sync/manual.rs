//! What people do by hand to a store that is there: approve or discard a held plan, grant and
//! remove. Each is a plan like any other, and one commit.

use super::{ManualError, RunError, configured};
use crate::config::Config;
use crate::directory::local;
use crate::model::{Deed, State, Time};
use crate::plan::{self, ByHand, Held, NotApproved, Plan};
use crate::resolve::{View, resolve};
use crate::store::{Commit, Meta, Reader, Store};

/// Applies exactly the held plan `id`, if each of its changes still stands.
///
/// # Errors
/// Another process is at work, the store cannot be read or written, there is no such plan, or it
/// does not stand any more (the message says which changes do not).
pub fn approve(
    config: &Config,
    store: &dyn Store,
    id: &str,
    what: &str,
    now: Time,
) -> Result<(Plan, u64), RunError> {
    existing_reader(store)?;
    let _lock = store.lock(what, now)?;
    commit(config, store, |reader, _| approved(config, reader, id, now))
}

/// What approving the held plan `id` would do, on paper.
///
/// # Errors
/// The store cannot be read, there is no such plan, or it does not stand any more.
pub fn approvable(
    config: &Config,
    reader: &dyn Reader,
    id: &str,
    now: Time,
) -> Result<Plan, RunError> {
    reader.snapshot(|reader| Ok(approved(config, reader, id, now)))?
}

fn approved(config: &Config, reader: &dyn Reader, id: &str, now: Time) -> Result<Plan, RunError> {
    let held = find_held(reader, id)?;
    let old = reader.state()?;
    let mut mirrors = Vec::new();
    for source in &config.sources {
        if let Some(mirror) = reader.mirror(&source.name)? {
            mirrors.push((source.name.clone(), mirror));
        }
    }
    let nobody = local::nobody();
    let mut views: Vec<View<'_>> = mirrors
        .iter()
        .map(|(source, mirror)| View { source, directory: &mirror.mirror.directory })
        .collect();
    // Where nobody was ever added by hand, that is known.
    if !views.iter().any(|view| view.source == local::NAME) {
        views.push(View { source: local::NAME, directory: &nobody });
    }
    let resolved = resolve(&config.settings(), &views, &old, now)?;
    plan::approve(resolved, &old, &held, now).map_err(|why| match why {
        NotApproved::Gone(gone) => ManualError::StandsNoMore { id: id.to_owned(), gone }.into(),
        NotApproved::Inconsistent(what) => what.into(),
    })
}

/// Commits what `make` plans from the store as it is.
fn commit(
    config: &Config,
    store: &dyn Store,
    make: impl Fn(&dyn Reader, &Meta) -> Result<Plan, RunError>,
) -> Result<(Plan, u64), RunError> {
    existing_reader(store)?;
    store.update(|tx| {
        let meta = tx.reader().meta()?;
        let plan = make(tx.reader(), &meta)?;
        let committed = tx.commit(&Commit {
            plan: &plan,
            base_version: meta.version,
            sources: &[],
            configured: &configured(config),
            settled: None,
        })?;
        Ok((plan, committed.generation.unwrap_or(meta.generation)))
    })
}

/// The held plan `id`.
///
/// # Errors
/// The store cannot be read, nothing is held, or something else is.
pub fn find_held(reader: &dyn Reader, id: &str) -> Result<Held, RunError> {
    reader.snapshot(|reader| {
        let head = reader.held_head()?;
        // Only the plan that is asked for is worth reading in full.
        Ok(match this_one(head.as_ref().map(|held| held.id.as_str()), id) {
            Ok(()) => reader.held()?.ok_or_else(|| not_held(id, None).into()),
            Err(error) => Err(error.into()),
        })
    })?
}

/// Whether the plan that waits is `id`.
fn this_one(waits: Option<&str>, id: &str) -> Result<(), ManualError> {
    if waits == Some(id) { Ok(()) } else { Err(not_held(id, waits)) }
}

fn not_held(id: &str, waits: Option<&str>) -> ManualError {
    ManualError::NotHeld { id: id.to_owned(), waits: waits.map(str::to_owned) }
}

/// Forgets the held plan `id` until the next run asks again.
///
/// # Errors
/// The store cannot be written, or there is no such plan.
pub fn discard(store: &dyn Store, id: &str) -> Result<(), RunError> {
    let held = existing_reader(store)?.held_head()?;
    this_one(held.as_ref().map(|held| held.id.as_str()), id)?;
    if store.discard_held(id)? {
        return Ok(());
    }
    // A run held something else in between.
    Err(ManualError::HeldNoMore { id: id.to_owned() }.into())
}

/// Does what a person asks for by hand: `wish` makes it of the state. `deed`: who asks and why, where
/// what is made does not say so itself.
///
/// # Errors
/// The store cannot be read or written, or the wish is refused.
pub fn by_hand(
    config: &Config,
    store: &dyn Store,
    now: Time,
    deed: Option<&Deed>,
    wish: impl Fn(&State) -> Result<ByHand, ManualError>,
) -> Result<(Plan, u64), RunError> {
    commit(config, store, |reader, meta| {
        let held = reader.held()?;
        let old = reader.state()?;
        let wish = wish(&old)?;
        let mut plan = plan::by_hand(&old, wish, now)?;
        plan.held = held;
        plan.records.deed = deed.cloned();
        plan.next_due = match (plan.next_due, meta.next_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Ok(plan)
    })
}

/// `store` for reading, which must be there.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn existing_reader(store: &dyn Store) -> Result<Box<dyn Reader>, RunError> {
    store.reader()?.ok_or_else(|| RunError::NoStore { store: store.shown() })
}
