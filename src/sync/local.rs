//! `local` in a run, and what people do by hand to those whom it lists.
//!
//! Nobody is asked for what `local` says: its mirror in the store is all there is. A run takes it
//! as it is at the moment of planning, so whoever was added or removed while the other sources were
//! read is not brought back or lost.

use super::manual::existing_reader;
use super::{ManualError, RunError, SourceResult, SourceState, configured};
use crate::config::Config;
use crate::directory::local::{self, NAME, NewAccount, nobody};
use crate::directory::{DigestKey, Directory, DirectoryDigest, Enabled, ScopeReport};
use crate::model::username::canonical;
use crate::model::{Deed, Done, Inconsistent, LastDeed, LocalAccount, State, Time, UserId};
use crate::plan::{self, Plan, Records};
use crate::resolve::{Resolved, View, resolve};
use crate::store::{Commit, MirrorUpdate, Reader, SourceUpdate, Store, StoreError, StoredMirror};

/// Takes what `local` says from the store as it is now: complete, whatever was asked.
pub(super) fn refresh(
    config: &Config,
    known: &mut [SourceState],
    reader: Option<&dyn Reader>,
) -> Result<(), StoreError> {
    for (source, one) in config.sources.iter().zip(known) {
        if !source.kind.is_local() {
            continue;
        }
        one.complete = true;
        one.mirror = None;
        if one.stored.is_some() {
            one.read = None;
            one.digest.clone_from(&one.stored);
            let count = reader.map(Reader::local_accounts).transpose()?.unwrap_or_default();
            one.outcome.result = SourceResult::Complete(scopes(count));
        } else {
            let key = reader.map(Reader::digest_key).transpose()?.unwrap_or_default();
            says(one, nobody(), &key);
        }
    }
    Ok(())
}

/// Lets `local` say `directory` from now on.
pub(super) fn says(one: &mut SourceState, directory: Directory, key: &DigestKey) {
    one.outcome.result = SourceResult::Complete(scopes(directory.users.len() as u64));
    one.says(directory, key);
}

pub(super) fn scopes(count: u64) -> Vec<ScopeReport> {
    vec![ScopeReport { scope: "users", count, partial: None }]
}

/// What somebody asks for by hand of one person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UserWish {
    /// `user add`
    Add {
        /// An email address, or empty.
        email: String,
        /// A service account.
        service: bool,
    },
    /// `user disable`
    Disable,
    /// `user enable`
    Enable,
    /// `user remove`
    Remove,
}

/// Does `wish` to the person called `name`, in one transaction and one generation. `None`: there
/// was nothing to do.
///
/// # Errors
/// The store is not there or cannot be written, or the wish is refused: nothing was changed.
pub fn change_user(
    config: &Config,
    store: &dyn Store,
    name: &str,
    wish: &UserWish,
    deed: &Deed,
    now: Time,
) -> Result<Option<(Plan, u64)>, RunError> {
    existing_reader(store)?;
    store.update(|tx| {
        let reader = tx.reader();
        let (meta, held) = (reader.meta()?, reader.held()?);
        let inputs = Inputs::open(config, reader, name, now)?;
        let Some(Ready { directory, account, mut plan }) = inputs.ready(wish, deed)? else {
            return Ok(None);
        };
        if let Some(short) =
            plan::local::shortfall(&inputs.old, &plan, &protected(config, &inputs.old))?
        {
            return Err(ManualError::from(short).into());
        }
        let old = inputs.mirror;
        plan.held = held;
        plan.next_due = meta.next_due;
        plan.records = Records { deed: Some(deed.clone()), accounts: vec![account] };
        let digest = directory.digests(&reader.digest_key()?);
        let done = tx.commit(&Commit {
            plan: &plan,
            base_version: meta.version,
            sources: &[update(&directory, &digest, old.as_ref(), now)],
            configured: &configured(config),
            settled: None,
        })?;
        Ok(Some((plan, done.generation.unwrap_or(meta.generation))))
    })
}

/// What `local` says now, for a commit.
pub(super) fn update<'a>(
    directory: &'a Directory,
    digest: &'a DirectoryDigest,
    old: Option<&'a StoredMirror>,
    now: Time,
) -> SourceUpdate<'a> {
    SourceUpdate {
        source: NAME,
        kind: NAME,
        tried_at: now,
        complete: true,
        error: None,
        scopes: scopes(directory.users.len() as u64).into_iter().map(Into::into).collect(),
        cursor: None,
        mirror: Some(MirrorUpdate { old, directory, digest }),
    }
}

/// Each protected role of `state` with the fewest holders it may have by somebody's hand.
fn protected(config: &Config, state: &State) -> Vec<(String, u64)> {
    let names = state.roles.iter().map(|role| &role.name);
    names
        .filter(|name| config.is_protected(name))
        .map(|name| {
            let least = config.guard.protected_roles.get(name).copied().unwrap_or(1);
            (name.clone(), least.max(1))
        })
        .collect()
}

/// What is looked at for a wish.
struct Inputs<'a> {
    config: &'a Config,
    reader: &'a dyn Reader,
    name: String,
    old: State,
    mirror: Option<StoredMirror>,
    now: Time,
}

/// What is to be committed.
struct Ready {
    directory: Directory,
    account: LocalAccount,
    plan: Plan,
}

impl<'a> Inputs<'a> {
    fn open(
        config: &'a Config,
        reader: &'a dyn Reader,
        name: &str,
        now: Time,
    ) -> Result<Self, RunError> {
        let name = canonical(name).map_err(ManualError::from)?.into_owned();
        let (old, mirror) = (reader.state()?, reader.mirror(NAME)?);
        Ok(Inputs { config, reader, name, old, mirror, now })
    }

    fn ready(&self, wish: &UserWish, deed: &Deed) -> Result<Option<Ready>, RunError> {
        let directory = self.mirror.as_ref().map_or_else(nobody, |it| it.mirror.directory.clone());
        let row = local::find(&directory, &self.name)
            .map(|row| (directory.text(row.ext).to_owned(), row.enabled));
        let name = || self.name.clone();
        let (what, enabled) = match wish {
            UserWish::Add { email, service } => {
                if row.is_some() {
                    return Err(ManualError::AddedAlready { name: name() }.into());
                }
                return self.added(directory, (email, *service), deed).map(Some);
            }
            UserWish::Disable => (Done::Disabled, Enabled::No),
            UserWish::Enable => (Done::Enabled, Enabled::Yes),
            UserWish::Remove => (Done::Removed, Enabled::No),
        };
        let Some((ext, was)) = row else { return Err(self.not_listed(what).into()) };
        let account = self.reader.local_account(&ext)?;
        let mut account = account.ok_or_else(|| ManualError::NoStory { name: name() })?;
        let admin = self.config.default_admin.as_ref().filter(|it| it.username == self.name);
        if let Some(admin) = admin.filter(|_| account.admin && what != Done::Enabled) {
            let role = admin.role.clone();
            return Err(ManualError::DefaultAdmin { name: name(), role }.into());
        }
        if what != Done::Removed && was == enabled {
            return Ok(None);
        }
        account.last = Some(LastDeed { what, deed: deed.clone(), at: self.now });
        if what == Done::Removed {
            let directory = local::without(directory, &ext);
            let resolved = self.resolved(&directory)?;
            let plan = plan::local::remove(resolved, &self.old, &ext, &deed.by, self.now)?;
            return Ok(Some(Ready { directory, account, plan }));
        }
        let directory = local::changed(directory, &ext, |row| row.enabled = enabled);
        let user = plan::local::person(&self.old, &ext)
            .ok_or_else(|| ManualError::NotSynced { name: name() })?;
        let plan = plan::local::stand(&self.old, user, enabled == Enabled::Yes, self.now)?;
        Ok(Some(Ready { directory, account, plan }))
    }

    /// Somebody new, or the local side of somebody whom another source lists.
    fn added(
        &self,
        directory: Directory,
        (email, service): (&str, bool),
        deed: &Deed,
    ) -> Result<Ready, RunError> {
        let name = || self.name.clone();
        let admin = self.config.default_admin.as_ref();
        if admin.is_some_and(|admin| admin.username == self.name) {
            return Err(ManualError::MadeBySync { name: name() }.into());
        }
        if let Some(holder) = plan::local::called(&self.old, &self.name).filter(|_| service) {
            let sources = self.known_in(holder);
            return Err(ManualError::ServiceNameTaken { name: name(), sources }.into());
        }
        let known = |ext: &str| plan::local::person(&self.old, ext).is_some();
        let ext = local::free_id(&self.name, known);
        let account = NewAccount { ext: &ext, username: &self.name, email, linkable: !service };
        let directory = local::with(directory, &account).map_err(Inconsistent::from)?;
        let resolved = self.resolved(&directory)?;
        let plan = plan::local::add(resolved, &self.old, (&self.name, &ext), self.now)?;
        let (added, added_at) = (deed.clone(), self.now);
        let account = LocalAccount { ext, service, admin: false, added, added_at, last: None };
        Ok(Ready { directory, account, plan })
    }

    /// What the mirrors come to with `directory` as that of `local`.
    fn resolved(&self, directory: &Directory) -> Result<Resolved, RunError> {
        let mut mirrors = Vec::new();
        for source in self.config.sources.iter().filter(|source| !source.kind.is_local()) {
            let mirror = self.reader.mirror(&source.name)?;
            mirrors.extend(mirror.map(|mirror| (source.name.as_str(), mirror)));
        }
        let others = mirrors
            .iter()
            .map(|(source, mirror)| View { source, directory: &mirror.mirror.directory });
        let views: Vec<View<'_>> = others.chain([View { source: NAME, directory }]).collect();
        Ok(resolve(&self.config.settings(), &views, &self.old, self.now)?)
    }

    /// Why nothing can be done to somebody whom `local` does not list.
    fn not_listed(&self, what: Done) -> ManualError {
        let name = self.name.clone();
        match plan::local::called(&self.old, &self.name) {
            Some(user) => ManualError::NotAddedByHand { name, sources: self.known_in(user), what },
            None => ManualError::UnknownUser { name },
        }
    }

    /// The other sources that know `user`.
    fn known_in(&self, user: UserId) -> Vec<String> {
        plan::local::known_in(&self.old, user).into_iter().map(str::to_owned).collect()
    }
}
