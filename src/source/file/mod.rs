//! Sources that are files: a Keycloak realm export, or an LDIF. No server is asked.
//!
//! A file that was read whole is proof by itself: no outage looks like it. So whatever casts doubt
//! on "whole" (cut off, malformed, another file, an export without its people) is an error that
//! names the place, and never a smaller company. What is merely odd in a realm export costs that one
//! value, or leaves one scope partial.
//!
//! ```text
//! realm ─► document   is it JSON, which realm of it, what of that is looked at
//!       ─► export     groups, roles, clients
//!       ─► graph      who leads to whom; builtin: roles that are there without being listed
//!       ─► people     users, and what they are in
//!          odd        what is left out, and which scope that leaves in doubt
//! ```

mod builtin;
mod choice;
mod config;
mod document;
mod encoding;
mod export;
mod feed;
mod graph;
pub mod ldif;
mod odd;
mod organizations;
mod people;
mod realm;
mod records;
mod watch;

pub(crate) use config::File;
pub use config::{LdifConfig, RealmExportConfig};

use futures_util::future::BoxFuture;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::{FullRead, Looked, Lookup, OnProgress, Source, SourceError, Who};
use crate::config::KindSettings;
use crate::directory::{Directory, Interest, ScopeReport, Sighting, Snapshot, Within};
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::source::feed::Feed;

/// A file that is read like a server.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    RealmExport(RealmExportConfig),
    Ldif(LdifConfig),
}

impl FileSource {
    /// The source called `name`. Nothing is opened yet.
    ///
    /// # Errors
    /// `own` are not a file's.
    pub fn new(name: &str, own: &dyn KindSettings) -> Result<Self, SourceError> {
        let content = if let Some(config) = own.of::<RealmExportConfig>() {
            Content::RealmExport(config.clone())
        } else if let Some(config) = own.of::<LdifConfig>() {
            Content::Ldif(config.clone())
        } else {
            return Err(SourceError::fatal(format!(
                "source `{name}` is of kind `{}`, not a file",
                own.word()
            )));
        };
        Ok(FileSource { name: name.to_owned(), content })
    }

    fn read_now(
        &self,
        interest: &dyn Interest,
        progress: &OnProgress,
    ) -> Result<Snapshot, SourceError> {
        match &self.content {
            Content::RealmExport(config) => realm::read(&self.name, config, interest, progress),
            Content::Ldif(config) => ldif::read_ldif(config, interest),
        }
    }
}

impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn as_lookup(&self) -> Option<&dyn Lookup> {
        Some(self)
    }

    fn as_feed(&self) -> Option<&dyn Feed> {
        Some(self)
    }

    fn check<'a>(&'a self, interest: &'a dyn Interest) -> BoxFuture<'a, Vec<Diagnostic>> {
        Box::pin(async move {
            let silent: OnProgress = std::sync::Arc::new(|_| {});
            match off_the_runtime(|| self.read_now(interest, &silent)) {
                Err(error) => vec![error.into_diagnostic()],
                Ok(snapshot) => findings(snapshot),
            }
        })
    }
}

impl FullRead for FileSource {
    fn read<'a>(
        &'a self,
        interest: &'a dyn Interest,
        progress: OnProgress,
    ) -> BoxFuture<'a, Result<Snapshot, SourceError>> {
        Box::pin(async move { off_the_runtime(|| self.read_now(interest, &progress)) })
    }
}

impl Lookup for FileSource {
    fn lookup<'a>(
        &'a self,
        interest: &'a dyn Interest,
        who: &'a Who,
    ) -> BoxFuture<'a, Result<Looked, SourceError>> {
        Box::pin(async move {
            let silent: OnProgress = std::sync::Arc::new(|_| {});
            let snapshot = off_the_runtime(|| self.read_now(interest, &silent))?;
            Ok(pick(&snapshot.directory, who))
        })
    }
}

/// The one person of a directory who is meant.
fn pick(directory: &Directory, who: &Who) -> Looked {
    let mut found = directory.users.numbered().filter(|(_, user)| match who {
        Who::Id(id) => directory.text(user.ext) == id,
        Who::Named(who) => who.is(directory.text(user.username), directory.text(user.email)),
    });
    let (place, user) = match (found.next(), found.next()) {
        (None, _) => return Looked::Nobody,
        (Some(only), None) => only,
        (Some(_), Some(_)) => return Looked::Several,
    };
    let text = |text| directory.text(text).to_owned();
    let mut sighting = Sighting {
        ext: text(user.ext),
        username: text(user.username),
        email: text(user.email),
        email_verified: user.email_verified,
        enabled: user.enabled,
        federation: text(user.federation),
        sid: directory.sid_of(user.rid),
        within: Vec::new(),
    };
    for (reference, members) in directory.refs.iter().zip(&directory.members) {
        if members.binary_search(&place).is_ok() {
            sighting.within.push(Within {
                kind: reference.kind,
                key: text(reference.key),
                name: Some(text(reference.name)),
            });
        }
    }
    sighting.sort();
    Looked::Found(Box::new(sighting))
}

/// What a reading has to say besides its facts: why it is partial, and what it tells itself.
fn findings(snapshot: Snapshot) -> Vec<Diagnostic> {
    let partial =
        snapshot.scopes().into_iter().filter_map(|ScopeReport { scope, partial, .. }| {
            let message = format!("the {scope} are not all there: {}", partial?);
            Some(Diagnostic::warning(DiagnosticCode::SourcePartial, Subject::scope(scope), message))
        });
    partial.chain(snapshot.diagnostics).collect()
}

/// Runs what keeps a processor busy for as long as a file is large, without keeping the runtime's
/// other tasks (the daemon's signals and watchdog) from theirs.
fn off_the_runtime<T>(work: impl FnOnce() -> T) -> T {
    // `block_in_place` panics in a runtime of one thread, where there is nobody to hand over to.
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
