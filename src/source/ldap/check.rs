//! `idpsyncd check` at a live directory.
//!
//! The honest test of a read is a read: limits count over all pages and hidden members show only
//! in the groups themselves, so nothing less would find them.

use super::connect::Identity;
use super::{LdapSource, read};
use crate::directory::{Completeness, Interest};
use crate::model::Time;
use crate::source::Finding;

/// What would make a read fail or lie, and what is unwise.
pub(super) async fn check(source: &LdapSource, interest: &dyn Interest, now: Time) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |error: bool, message: String| findings.push(Finding { error, message });
    for url in &source.config.urls {
        let shown = super::connect::shown(url);
        match source.connector.identity(url) {
            Identity::Anonymous => find(
                false,
                format!(
                    "source `{}`: {shown} is read anonymously, and servers hide things from \
                     anonymous readers without saying so: set `bind_dn`",
                    source.name
                ),
            ),
            Identity::Simple(..)
                if url.scheme() == "ldap" && !source.config.start_tls && !is_local(url) =>
            {
                find(
                    false,
                    format!(
                        "source `{}`: the password goes to {shown} in clear: use `ldaps://` or \
                         `start_tls = true`",
                        source.name
                    ),
                );
            }
            Identity::Simple(..) | Identity::External => {}
        }
    }
    match read::read(source, interest, now, std::sync::Arc::new(|_| {})).await {
        Err(error) => find(true, error.message),
        Ok(snapshot) => {
            let scopes = [&snapshot.users, &snapshot.groups];
            for scope in scopes.into_iter().chain(&snapshot.members).chain(&snapshot.implies) {
                if let Completeness::Partial(why) = scope {
                    find(true, format!("source `{}`: {why}", source.name));
                }
            }
            if let Some(why) = &snapshot.unnamed {
                find(true, format!("source `{}`: {why}", source.name));
            }
            for warning in snapshot.warnings {
                find(false, format!("source `{}`: {warning}", source.name));
            }
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

fn is_local(url: &url::Url) -> bool {
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}
