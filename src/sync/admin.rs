//! `[default_admin]`: a local user who is there whatever identity providers do. Every run sees to
//! it: the account, its grant, and nothing of it where the section was taken out. It is part of the
//! run's own plan, so a dry run shows it and one transaction does it.

use secrecy::ExposeSecret as _;

use super::{RunError, SourceState, local};
use crate::config::{Config, DefaultAdmin, SecretError, SecretRef};
use crate::directory::local::{
    NAME, NewAccount, changed, find, free_id, name_in_id, nobody, with, without,
};
use crate::directory::{Directory, Enabled};
use crate::model::token::{self, SECRET_LENGTH};
use crate::model::username::canonical;
use crate::model::{
    Actor, Cause, Change, Deed, Diagnostic, DiagnosticCode, Done, Inconsistent, LocalAccount,
    NewToken, State, Subject, Time, UserId,
};
use crate::plan;
use crate::resolve::Resolved;
use crate::store::Reader;

/// Who does it all.
const BY: Actor = Actor::DefaultAdmin;
/// What its token is called.
const TOKEN: &str = "default-admin-token";
/// How long that is good for: as long as OSMO's.
const LIFETIME: chrono::Days = chrono::Days::new(3650);
const REASON: &str = "the default admin of the configuration";

/// The section, and what its secret comes to.
pub(super) struct Admin {
    username: String,
    role: String,
    /// Of the secret.
    pub(super) digest: token::Digest,
}

/// Why `[default_admin]` cannot be ensured. Nothing of its secret is told but the length.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The secret cannot be read.
    #[error("{PASSWORD}: {0}")]
    Unreadable(#[source] SecretError),
    /// The secret is not as long as 32 bytes in base64url are.
    #[error(
        "{PASSWORD}: the secret from {from} has {count} characters and must have exactly \
         {SECRET_LENGTH}, 32 random bytes in base64url: `openssl rand -base64 32 | tr '+/' '-_' | tr \
         -d '='` makes one"
    )]
    Length {
        /// Where it is.
        from: SecretRef,
        /// Its characters.
        count: usize,
    },
    /// The secret is no base64url.
    #[error(
        "{PASSWORD}: the secret from {from} has characters that are none of base64url's: letters, \
         digits, `-` and `_`"
    )]
    Alphabet {
        /// Where it is.
        from: SecretRef,
    },
    /// A token has the secret already.
    #[error(
        "`{TOKEN}` cannot be made: token `{token}` of `{owner}` has the secret of `[default_admin]`; \
         give that one of its own, or revoke the token"
    )]
    SecretTaken {
        /// The token's name.
        token: String,
        /// Whose it is.
        owner: String,
    },
    /// A local user of the name without a story.
    #[error("the store does not say who added `{name}`: it is damaged")]
    NoStory {
        /// The username.
        name: String,
    },
    /// An identity provider lists somebody of the name.
    #[error(
        "`[default_admin]` is to be called `{name}`, and that is somebody whom `{by}` brought: nobody \
         was touched; give the default admin another `username`"
    )]
    NameTaken {
        /// The username.
        name: String,
        /// The source.
        by: String,
    },
}

/// The secret's key.
const PASSWORD: &str = "default_admin.password";

/// Whether `[default_admin]` can be ensured: whether its secret is there, and is one.
///
/// # Errors
/// It cannot.
pub fn check(config: &Config) -> Result<(), AdminError> {
    Admin::read(config).map(|_| ())
}

impl Admin {
    /// Reads the secret, where there is such a section.
    ///
    /// # Errors
    /// As [`check`].
    pub(super) fn read(config: &Config) -> Result<Option<Admin>, AdminError> {
        let Some(DefaultAdmin { username, password, role }) = &config.default_admin else {
            return Ok(None);
        };
        let secret = password.read().map_err(AdminError::Unreadable)?;
        let secret = secret.expose_secret();
        let count = secret.chars().count();
        if count != SECRET_LENGTH {
            return Err(AdminError::Length { from: password.clone(), count });
        }
        if !secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(AdminError::Alphabet { from: password.clone() });
        }
        let digest = token::digest(secret);
        Ok(Some(Admin { username: username.clone(), role: role.clone(), digest }))
    }
}

/// What a run has to do about it.
#[derive(Default)]
pub(super) struct Ensure<'a> {
    /// Who is to be there, and under which external id.
    admin: Option<(&'a Admin, String)>,
    /// Accounts of an earlier section, that go with it.
    out: Vec<String>,
    /// Those who were there before the section, and stay without what it gave them.
    left: Vec<String>,
    /// Their stories, as they are to be.
    pub(super) accounts: Vec<LocalAccount>,
}

impl<'a> Ensure<'a> {
    /// Finds out, and lets `local` say what it must from now on.
    ///
    /// # Errors
    /// The store cannot be read, or the name is that of somebody whom an identity provider brought.
    pub(super) fn of(
        config: &Config,
        admin: Option<&'a Admin>,
        known: &mut [SourceState],
        reader: Option<&dyn Reader>,
        now: Time,
    ) -> Result<Self, RunError> {
        let mut ensure = Ensure::default();
        if let (Some(admin), Some(reader)) = (admin, reader)
            && let Some((owner, name)) = reader.token_of(&admin.digest)?
            && name != TOKEN
        {
            return Err(AdminError::SecretTaken { token: name, owner }.into());
        }
        let before = reader.map(Reader::default_admins).transpose()?.unwrap_or_default();
        let mut gone = Vec::new();
        for account in before {
            match admin {
                Some(admin) if name_in_id(&account.ext) == admin.username => {
                    ensure.admin = Some((admin, account.ext));
                }
                _ => gone.push(account),
            }
        }
        let missing = admin.filter(|_| ensure.admin.is_none());
        if gone.is_empty() && missing.is_none() {
            return Ok(ensure);
        }
        super::load_views(known, reader)?;
        let place = config.sources.iter().position(|source| source.kind.is_local());
        let stored = place.and_then(|place| known.get(place)).and_then(SourceState::directory);
        let mut directory = stored.cloned().unwrap_or_else(nobody);
        for mut account in gone {
            account.admin = false;
            if account.added.by == BY {
                directory = without(directory, &account.ext);
                ensure.out.push(account.ext.clone());
            } else {
                let linkable = !account.service;
                let off = account.last.as_ref().is_some_and(|last| last.what == Done::Disabled);
                directory = changed(directory, &account.ext, |row| {
                    row.linkable = linkable;
                    // The section enabled who was disabled by hand; that does not outlast it.
                    if off {
                        row.enabled = Enabled::No;
                    }
                });
                ensure.left.push(account.ext.clone());
            }
            ensure.accounts.push(account);
        }
        if let Some(admin) = missing {
            nobody_else(config, admin, known, reader)?;
            let (made, account) = ensure.made(admin, directory, reader, now)?;
            directory = made;
            ensure.admin = Some((admin, account.ext.clone()));
            ensure.accounts.push(account);
        }
        if let Some(one) = place.and_then(|place| known.get_mut(place)) {
            let key = reader.map(Reader::digest_key).transpose()?.unwrap_or_default();
            local::says(one, directory, &key);
        }
        Ok(ensure)
    }

    /// The default admin's account: a new one, or that of a local user of the name.
    fn made(
        &self,
        admin: &Admin,
        directory: Directory,
        reader: Option<&dyn Reader>,
        now: Time,
    ) -> Result<(Directory, LocalAccount), RunError> {
        let there = find(&directory, &admin.username);
        if let Some(ext) = there.map(|row| directory.text(row.ext).to_owned()) {
            let account = reader.map(|reader| reader.local_account(&ext)).transpose()?.flatten();
            let Some(account) = account else {
                return Err(AdminError::NoStory { name: admin.username.clone() }.into());
            };
            let directory = changed(directory, &ext, |row| {
                row.linkable = false;
                row.enabled = Enabled::Yes;
            });
            return Ok((directory, LocalAccount { admin: true, ..account }));
        }
        let state = reader.map(Reader::state).transpose()?;
        let known = |ext: &str| {
            state.as_ref().is_some_and(|state| plan::local::person(state, ext).is_some())
        };
        let ext = free_id(&admin.username, known);
        let account =
            NewAccount { ext: &ext, username: &admin.username, email: "", linkable: false };
        let directory = with(directory, &account).map_err(Inconsistent::from)?;
        let added = Deed { by: BY, reason: REASON.to_owned() };
        let account =
            LocalAccount { ext, service: false, admin: true, added, added_at: now, last: None };
        Ok((directory, account))
    }

    /// Puts into what was resolved that the default admin holds the role, and that an earlier one is
    /// gone.
    ///
    /// # Errors
    /// The store's state contradicts itself, or there are more grants by hand than can be numbered.
    pub(super) fn amend(
        &self,
        resolved: &mut Resolved,
        old: &State,
        now: Time,
    ) -> Result<(), Inconsistent> {
        for ext in &self.out {
            plan::local::take_out(resolved, old, ext, &BY, now)?;
        }
        let person = |resolved: &Resolved, ext: &str| plan::local::person(&resolved.state, ext);
        for ext in &self.left {
            if let Some(user) = person(resolved, ext) {
                plan::local::ensure_grant(resolved, user, None, &BY, (REASON, now))?;
                remove_token(resolved, old, user, Cause::ByHand { by: BY });
            }
        }
        let Some((admin, ext)) = &self.admin else { return Ok(()) };
        match person(resolved, ext) {
            Some(user) => {
                let role = Some(admin.role.as_str());
                plan::local::ensure_grant(resolved, user, role, &BY, (REASON, now))?;
                ensure_token(resolved, old, user, admin, now)?;
            }
            None => {
                let name = &admin.username;
                let message =
                    format!("the default admin `{name}` is not there: nobody can be called so now");
                let subject = Subject::User(name.clone());
                let told =
                    Diagnostic::warning(DiagnosticCode::DefaultAdminAbsent, subject, message);
                resolved.diagnostics.insert(told);
            }
        }
        Ok(())
    }
}

/// Sees to it that the token is there, with this secret and that role alone.
fn ensure_token(
    resolved: &mut Resolved,
    old: &State,
    user: UserId,
    admin: &Admin,
    now: Time,
) -> Result<(), Inconsistent> {
    let there = old.tokens.find(user, TOKEN);
    let same = there.is_some_and(|it| it.digest == admin.digest);
    let roles = there.map(|it| old.tokens.roles(it)).transpose()?;
    let whole = there.is_some_and(|it| it.expires_at > now)
        && roles.is_some_and(|roles| *roles == [admin.role.clone()]);
    if same && whole {
        return Ok(());
    }
    // Whoever goes in this plan takes their tokens along.
    let stays = |user: UserId| {
        let place = resolved.state.users.binary_search_by_key(&user, |user| user.id);
        let row = place.ok().and_then(|place| resolved.state.users.get(place));
        row.is_some_and(|row| !row.status.is_deprovisioned())
    };
    let other = |it: &&token::Token| it.digest == admin.digest && it.user != user && stays(it.user);
    if old.tokens.list().iter().any(|it| other(&it)) {
        // The earlier secret is no password any more, whatever becomes of the new one.
        remove_token(resolved, old, user, Cause::NewSecret);
        let message = format!(
            "`{TOKEN}` cannot be made: another token has the secret of `[default_admin]`, give it \
             one of its own"
        );
        let subject = Subject::User(admin.username.clone());
        let told = Diagnostic::warning(DiagnosticCode::DefaultAdminToken, subject, message);
        resolved.diagnostics.insert(told);
        return Ok(());
    }
    let cause = if same { Cause::ByHand { by: BY } } else { Cause::NewSecret };
    remove_token(resolved, old, user, cause);
    let token = NewToken {
        name: TOKEN.to_owned(),
        digest: admin.digest,
        expires_at: now.checked_add_days(LIFETIME).unwrap_or(Time::MAX_UTC),
        roles: vec![admin.role.clone()],
        description: REASON.to_owned(),
        by: BY.to_string(),
        at: now,
    };
    resolved.changes.push(Change::TokenAdded { user, token: Box::new(token) });
    Ok(())
}

fn remove_token(resolved: &mut Resolved, old: &State, user: UserId, cause: Cause) {
    if let Some(token) = old.tokens.find(user, TOKEN) {
        resolved.changes.push(Change::TokenRemoved { user, name: token.name, cause });
    }
}

/// Nobody whom an identity provider brought is touched: the name must be free, or a local user's.
fn nobody_else(
    config: &Config,
    admin: &Admin,
    known: &[SourceState],
    reader: Option<&dyn Reader>,
) -> Result<(), RunError> {
    let name = &admin.username;
    let taken = |source: &str| {
        RunError::from(AdminError::NameTaken { name: name.clone(), by: source.to_owned() })
    };
    let user = reader.map(|reader| reader.user(name)).transpose()?.flatten();
    if let Some(user) = user.filter(|user| !user.status.is_deprovisioned()) {
        let others = user.links.iter().find(|(source, _)| source != NAME);
        if let Some((source, _)) = others {
            return Err(taken(source));
        }
    }
    for (source, one) in config.sources.iter().zip(known) {
        let Some(directory) = one.directory() else { continue };
        if source.kind.is_local() || !source.lifecycle {
            continue;
        }
        let called = |row: &crate::directory::DirUser| {
            let raw = match config.settings().called_by(&source.name) {
                crate::model::username::UsernameFrom::Username => directory.text(row.username),
                crate::model::username::UsernameFrom::Email => directory.text(row.email),
            };
            canonical(raw).is_ok_and(|called| called == *name)
        };
        if directory.users.iter().any(called) {
            return Err(taken(&source.name));
        }
    }
    Ok(())
}
