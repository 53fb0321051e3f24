//! `import osmo-db`: OSMO's own database, read once, into the store.
//!
//! ```text
//! read: rows ─► platform::osmo::database: accounts ─► who is who here ─► plan::import ─► one commit
//! ```
//!
//! Nobody becomes somebody else. Whom the store knows by that name keeps being who they are; whom
//! only OSMO knows becomes a local user. Whether a source lists somebody must be known first: where
//! one was never read in full, nothing is imported.

mod read;

use std::collections::{BTreeMap, BTreeSet};

pub use crate::config::{Tls, Url, UrlError};
pub use read::{ConnectError, ReadError, libpq_password, read};

use super::local::update as local_update;
use super::manual::existing_reader;
use super::{ManualError, RunError, configured};
use crate::config::Config;
use crate::directory::Directory;
use crate::directory::local::{self, LocalIdError, NAME, NewAccount, check_id, free_id, nobody};
use crate::model::diagnostic::texts;
use crate::model::username::{UsernameFrom, canonical};
use crate::model::{Deed, Inconsistent, LocalAccount, LocalGrant, NewToken, State, Time, UserId};
use crate::plan::{self, Brought, Plan, Records};
use crate::platform::osmo::database::{self, Accounts, Assigned, Database, OsmoAccount, TokenWish};
use crate::resolve::{Resolved, View, resolve};
use crate::store::{Commit, Meta, Reader, Store, StoredMirror};

/// What OSMO's scripts are called; nothing else tells them from people there.
const SERVICE: &str = "svc-";

/// What an import came to.
#[derive(Debug)]
pub struct Import {
    /// What changed, or would.
    pub plan: Plan,
    /// The generation before.
    pub before: u64,
    /// The generation now.
    pub generation: u64,
    /// What was left out and why, and what is worth knowing, a sentence each, sorted.
    pub left_out: Vec<String>,
}

/// Why somebody of OSMO's does not become a local user. `id` is what OSMO calls them.
#[derive(Debug, thiserror::Error)]
enum LeftOut {
    /// Another source lists them, and they have no account.
    #[error(
        "user `{}` is listed by source `{by}` and has no account here: the sync says why",
        .id.escape_debug()
    )]
    Listed { id: String, by: String },
    /// They were here once.
    #[error(
        "user `{}` was deprovisioned or removed here: `idpsyncd user add` makes a new person of that \
         name",
        .id.escape_debug()
    )]
    Gone { id: String },
    /// A run makes the default admin.
    #[error(
        "user `{}` is the default admin of the configuration: `idpsyncd sync` makes it",
        .id.escape_debug()
    )]
    DefaultAdmin { id: String },
    /// Their name is no id.
    #[error("user {0}")]
    Name(#[from] LocalIdError),
}

/// Imports `rows`, in one transaction and one generation; with `dry_run` only plans it.
///
/// # Errors
/// There is no store, it cannot be read or written, or a source was never read in full: nothing was
/// changed.
pub fn import(
    config: &Config,
    store: &dyn Store,
    rows: &Database,
    deed: &Deed,
    dry_run: bool,
    now: Time,
) -> Result<Import, RunError> {
    let accounts = database::accounts(rows, now);
    if dry_run {
        let reader = existing_reader(store)?;
        let before = reader.meta()?.generation;
        let Ready { plan, left_out, .. } =
            Inputs::open(config, &*reader, now)?.ready(&accounts, deed)?;
        return Ok(Import { plan, before, generation: before, left_out });
    }
    existing_reader(store)?;
    store.update(|tx| {
        let meta = tx.reader().meta()?;
        let before = meta.generation;
        let Ready { inputs, directory, new, mut plan, left_out } =
            Inputs::open(config, tx.reader(), now)?.ready(&accounts, deed)?;
        if plan.changes.is_empty() {
            return Ok(Import { plan, before, generation: before, left_out });
        }
        let stories = new.into_iter().map(|(ext, service)| LocalAccount {
            ext,
            service,
            admin: false,
            added: deed.clone(),
            added_at: now,
            last: None,
        });
        plan.records = Records { deed: Some(deed.clone()), accounts: stories.collect() };
        finish(tx.reader(), &meta, &mut plan)?;
        let digest = directory.digests(&tx.reader().digest_key()?);
        let done = tx.commit(&Commit {
            plan: &plan,
            base_version: meta.version,
            sources: &[local_update(&directory, &digest, inputs.mirror.as_ref(), now)],
            configured: &configured(config),
            settled: None,
        })?;
        let generation = done.generation.unwrap_or(before);
        Ok(Import { plan, before, generation, left_out })
    })
}

/// What waits goes on waiting.
fn finish(reader: &dyn Reader, meta: &Meta, plan: &mut Plan) -> Result<(), RunError> {
    plan.held = reader.held()?;
    plan.next_due = meta.next_due;
    Ok(())
}

/// What is looked at.
struct Inputs<'a> {
    config: &'a Config,
    now: Time,
    old: State,
    /// That of `local`.
    mirror: Option<StoredMirror>,
    others: Vec<(&'a str, StoredMirror)>,
}

/// What is to be committed.
struct Ready<'a> {
    inputs: Inputs<'a>,
    directory: Directory,
    /// The external ids of the new local users, and which are service accounts.
    new: Vec<(String, bool)>,
    plan: Plan,
    left_out: Vec<String>,
}

impl<'a> Inputs<'a> {
    fn open(config: &'a Config, reader: &dyn Reader, now: Time) -> Result<Self, RunError> {
        let (old, mirror) = (reader.state()?, reader.mirror(NAME)?);
        let mut others = Vec::new();
        for source in config.sources.iter().filter(|source| !source.kind.is_local()) {
            // Whom a part of a source does not list may be in the rest.
            let mirror = reader.mirror(&source.name)?;
            let Some(mirror) = mirror.filter(|stored| stored.mirror.directory.proven.users) else {
                return Err(ManualError::NeverRead { name: source.name.clone() }.into());
            };
            others.push((source.name.as_str(), mirror));
        }
        Ok(Inputs { config, now, old, mirror, others })
    }

    fn ready(self, accounts: &Accounts, deed: &Deed) -> Result<Ready<'a>, RunError> {
        let mut left_out: BTreeSet<String> = accounts.left_out.iter().cloned().collect();
        let known = self.known();
        let listed = self.listed();
        let mut directory =
            self.mirror.as_ref().map_or_else(nobody, |it| it.mirror.directory.clone());
        let given = self.given();
        let mut new: BTreeMap<&str, (String, bool)> = BTreeMap::new();
        for account in &accounts.accounts {
            let name = account.name.as_str();
            if known.contains_key(name) {
                continue;
            }
            if let Err(why) = self.may_be(account, &listed) {
                left_out.insert(why.to_string());
                continue;
            }
            let ext = free_id(name, |ext| given.contains(ext));
            let service = name.starts_with(SERVICE);
            let row = NewAccount { ext: &ext, username: name, email: "", linkable: !service };
            directory = local::with(directory, &row).map_err(Inconsistent::from)?;
            new.insert(name, (ext, service));
        }
        let resolved = self.resolved(&directory)?;
        let of_ext = people(&resolved.state);
        let mut made = BTreeSet::new();
        let mut brought = Vec::new();
        for account in &accounts.accounts {
            let user = match (known.get(account.name.as_str()), new.get(account.name.as_str())) {
                (Some(user), _) => *user,
                (None, Some((ext, _))) => match of_ext.get(ext.as_str()) {
                    Some(user) => {
                        made.insert(*user);
                        *user
                    }
                    None => {
                        left_out.insert(format!(
                            "user `{}` cannot be added: {}",
                            account.id.escape_debug(),
                            told(&resolved, &account.name)
                        ));
                        continue;
                    }
                },
                (None, None) => continue,
            };
            brought.push(self.brought(user, account, deed));
        }
        let mut new: Vec<(String, bool)> = new.into_values().collect();
        new.retain(|(ext, _)| of_ext.contains_key(ext.as_str()));
        left_out.extend(plan::long_lived(&brought, self.now + self.config.tokens.max_lifetime));
        let place = resolved.state.sources.position(|name| name == NAME);
        drop(of_ext);
        let (plan, more) = plan::import(&self.old, resolved, (place, &made), &brought, self.now)?;
        left_out.extend(more);
        let left_out = left_out.into_iter().collect();
        Ok(Ready { inputs: self, directory, new, plan, left_out })
    }

    /// Whoever is here, by name.
    fn known(&self) -> BTreeMap<String, UserId> {
        let here = |user: &&crate::model::User| !user.status.is_deprovisioned();
        let users = self.old.users.iter().filter(here);
        users.map(|user| (self.old.texts.get(user.username).to_owned(), user.id)).collect()
    }

    /// What people were called who are gone.
    fn gone(&self) -> BTreeSet<&str> {
        let gone = |user: &&crate::model::User| user.status.is_deprovisioned();
        let users = self.old.users.iter().filter(gone);
        users.map(|user| self.old.texts.get(user.username)).collect()
    }

    /// Every id that `local` has given.
    fn given(&self) -> BTreeSet<String> {
        let local = self.old.sources.position(|name| name == NAME);
        let mine = self.old.links.iter().filter(|link| Some(link.source) == local);
        mine.map(|link| self.old.texts.get(link.ext).to_owned()).collect()
    }

    /// Whom another source lists, provisioned or not, by name.
    fn listed(&self) -> BTreeMap<String, &'a str> {
        let mut listed = BTreeMap::new();
        for (source, stored) in &self.others {
            let directory = &stored.mirror.directory;
            for row in &directory.users {
                let name = match self.config.sync.username {
                    UsernameFrom::Username => row.username,
                    UsernameFrom::Email => row.email,
                };
                if let Ok(name) = canonical(directory.text(name)) {
                    listed.entry(name.into_owned()).or_insert(*source);
                }
            }
        }
        listed
    }

    /// Whether somebody whom the store does not know may become a local user.
    fn may_be(
        &self,
        account: &OsmoAccount,
        listed: &BTreeMap<String, &str>,
    ) -> Result<(), LeftOut> {
        let id = || account.id.clone();
        if let Some(source) = listed.get(&account.name) {
            return Err(LeftOut::Listed { id: id(), by: (*source).to_owned() });
        }
        // Whoever is gone never comes back by an old database, nor do their tokens.
        if self.gone().contains(account.name.as_str()) {
            return Err(LeftOut::Gone { id: id() });
        }
        let admin = self.config.default_admin.as_ref();
        if admin.is_some_and(|admin| admin.username == account.name) {
            return Err(LeftOut::DefaultAdmin { id: id() });
        }
        Ok(check_id(&account.name)?)
    }

    /// What the mirrors come to with `directory` as that of `local`.
    fn resolved(&self, directory: &Directory) -> Result<Resolved, Inconsistent> {
        let others =
            self.others.iter().map(|(source, it)| View { source, directory: &it.mirror.directory });
        let views: Vec<View<'_>> = others.chain([View { source: NAME, directory }]).collect();
        resolve(&self.config.settings(), &views, &self.old, self.now)
    }

    fn brought(&self, user: UserId, account: &OsmoAccount, deed: &Deed) -> Brought {
        let grant = |Assigned { role, by, at }: &Assigned| {
            let (by, at) = (by.as_str().into(), *at);
            (role.clone(), LocalGrant { by, at, reason: deed.reason.clone(), until: None })
        };
        let token = |wish: &TokenWish| {
            let TokenWish { name, digest, expires_at, roles, description, by, at } = wish.clone();
            NewToken { name, digest, expires_at, roles, description, by, at }
        };
        // The default admin's token is its password's here.
        let admin = self.config.default_admin.as_ref();
        let admin = admin.is_some_and(|admin| admin.username == account.name);
        let own = |wish: &&TokenWish| !admin || wish.name != DEFAULT_ADMIN_TOKEN;
        Brought {
            user,
            name: account.id.clone(),
            grants: account.grants.iter().map(grant).collect(),
            tokens: account.tokens.iter().filter(own).map(token).collect(),
        }
    }
}

/// The token that the default admin has, here and at OSMO.
const DEFAULT_ADMIN_TOKEN: &str = "default-admin-token";

/// Whom the source `local` knows, by external id.
fn people(state: &State) -> BTreeMap<&str, UserId> {
    let local = state.sources.position(|name| name == NAME);
    let mine = state.links.iter().filter(|link| Some(link.source) == local);
    mine.map(|link| (state.texts.get(link.ext), link.user)).collect()
}

/// What resolving says of a name that came to nobody.
fn told(resolved: &Resolved, name: &str) -> String {
    let told = texts(resolved.diagnostics.iter().filter(|it| it.subject.is_person(name)));
    if told.is_empty() { "nothing says why".to_owned() } else { told.join("; ") }
}
