//! `idpsyncd check` at a live directory.
//!
//! The honest test of a read is a read: limits count over all pages and hidden members show only
//! in the groups themselves, so nothing less would find them.

use super::address::Server;
use super::connect::Identity;
use super::{LdapSource, feed, read};
use crate::directory::{Completeness, Interest, RefRow};
use crate::model::{Diagnostic, DiagnosticCode, Subject, Time};

/// What would make a read fail or lie, and what is unwise.
pub(super) async fn check(
    source: &LdapSource,
    interest: &dyn Interest,
    now: Time,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for server in &source.config.urls {
        let shown = match server {
            Server::At(url) => super::connect::shown(url),
            Server::Of(_) => server.to_string(),
        };
        match source.connector.identity(server.is_socket()) {
            Identity::Anonymous => {
                let message = format!(
                    "source `{}`: {shown} is read anonymously, and servers hide things from \
                     anonymous readers without saying so: set `bind_dn`",
                    source.name
                );
                let code = DiagnosticCode::AnonymousBind;
                findings.push(Diagnostic::warning(code, Subject::None, message));
            }
            Identity::Simple(..) if server.in_the_clear(source.config.start_tls) => {
                let message = format!(
                    "source `{}`: the password goes to {shown} in clear: use `ldaps://` or \
                     `start_tls = true`",
                    source.name
                );
                let code = DiagnosticCode::SecretInClear;
                findings.push(Diagnostic::warning(code, Subject::None, message));
            }
            Identity::Simple(..) | Identity::External(_) | Identity::Kerberos => {}
        }
    }
    match read::read(source, interest, read::Sides::Both, now, std::sync::Arc::new(|_| {})).await {
        Err(error) => findings.push(error.into_diagnostic()),
        Ok(snapshot) => {
            let mut partial = |scope: Subject, why: &str| {
                let message = format!("source `{}`: {why}", source.name);
                findings.push(Diagnostic::error(DiagnosticCode::SourcePartial, scope, message));
            };
            let directory = &snapshot.directory;
            let of =
                |thing: &RefRow| Subject::reference(thing.kind, directory.text(thing.identity));
            let things = || directory.refs.iter().map(of);
            let scopes = [("users", &snapshot.users), ("groups", &snapshot.groups)];
            let scopes = scopes.map(|(scope, is)| (Subject::scope(scope), is)).into_iter();
            let members = things().zip(&snapshot.members).chain(things().zip(&snapshot.implies));
            for (scope, completeness) in scopes.chain(members) {
                if let Completeness::Partial(why) = completeness {
                    partial(scope, why.as_str());
                }
            }
            if let Some(why) = &snapshot.unnamed {
                partial(Subject::scope("users"), why);
            }
            findings.extend(snapshot.diagnostics.into_iter().map(|told| {
                let message = format!("source `{}`: {}", source.name, told.message);
                Diagnostic { message, ..told }
            }));
        }
    }
    if let Some(lacks) = feed::lacks(source, interest).await {
        let message = format!("source `{}`: {lacks} (docs/feeds.md)", source.name);
        let code = DiagnosticCode::DeletionsUnseen;
        findings.push(Diagnostic::warning(code, Subject::None, message));
    }
    findings.sort();
    findings.dedup();
    findings
}
