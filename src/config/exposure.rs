//! What a valid configuration lays open to others: on the network, and on the disk.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use url::Url;

use super::authzen::CallerProof;
use super::gateway::{GatewayConfig, IdentityWay, Listen};
use super::types::{Config, SecretRef};
use crate::model::{Diagnostic, DiagnosticCode, Subject};
use crate::policy::Effect;

/// What others on the network could read, change or ask.
pub(super) fn warnings(config: &Config, warnings: &mut Vec<Diagnostic>) {
    for source in &config.sources {
        let exposed = source.kind.exposure(&source.name);
        warnings.extend(exposed.map(|it| it.of(&source.name)));
    }
    if let Some(gateway) = &config.gateway {
        listeners(gateway, warnings);
        anonymous(config, gateway, warnings);
    }
}

/// Whether a URL leads to another machine.
pub(crate) fn remote(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => !address.to_canonical().is_loopback(),
        Err(_) => !host.eq_ignore_ascii_case("localhost"),
    }
}

/// Listeners that more than the gateway can reach.
fn listeners(gateway: &GatewayConfig, warnings: &mut Vec<Diagnostic>) {
    let named = match gateway.identity {
        IdentityWay::Header => ", and be whomever it names",
        IdentityWay::Jwt | IdentityWay::Metadata => "",
    };
    for (key, listen) in [("grpc", &gateway.grpc), ("http", &gateway.http)] {
        if let (Some(Listen::Tcp(address)), None) = (listen, &gateway.tls)
            && !address.ip().to_canonical().is_loopback()
        {
            warnings.push(Diagnostic::warning(DiagnosticCode::ListenerInClear, Subject::Setting(format!("gateway.{key}")), format!(
                "gateway.{key} listens at `{address}` in the clear, beyond this machine: whoever \
                 reaches it can ask{named}, and whoever is on the way can read tokens and change \
                 answers; use the loopback, a unix socket, or `[gateway.tls]` with `client_ca_file`"
            )));
        }
    }
    if gateway.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_none()) {
        warnings.push(Diagnostic::warning(
            DiagnosticCode::ListenerOpen,
            Subject::Setting("gateway.tls".to_owned()),
            format!(
                "gateway.tls has no `client_ca_file`: any client that reaches the listener can \
             ask{named}"
            ),
        ));
    }
}

/// An anonymous role that may do everything.
fn anonymous(config: &Config, gateway: &GatewayConfig, warnings: &mut Vec<Diagnostic>) {
    const EVERYTHING: &str = "*:*";
    let Some(name) = &gateway.anonymous_role else { return };
    let declared = config.roles.get(name).into_iter().flat_map(|role| &role.policies).any(|it| {
        it.effect == Effect::Allow && it.actions.iter().any(|own| own.to_string() == EVERYTHING)
    });
    let templates = config.templates.iter().filter(|template| template.regex.is_match(name));
    let templated = !config.roles.contains_key(name)
        && templates
            .flat_map(|template| &template.policies)
            .any(|it| it.effect == Effect::Allow && it.actions.iter().any(|own| own == EVERYTHING));
    if declared || templated {
        warnings.push(Diagnostic::warning(DiagnosticCode::AnonymousUnlimited, Subject::Role(name.clone()), format!(
            "gateway.anonymous_role `{name}` allows `*:*`: whoever asks, without any identity, may \
             do everything on its resources; name the actions"
        )));
    }
}

/// Files with a secret that every user of this machine may read, told as warnings. Reads the files'
/// modes, nothing else; one that is not there is for whoever needs it to report.
#[must_use]
pub fn readable_secrets(config: &Config) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    let mut look = |what: String, path: &Path, source: Option<&str>| {
        let others =
            std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0);
        if others {
            let message = format!(
                "{what}: every user of this machine may read the secret in `{}`: `chmod o-rwx` it",
                path.display()
            );
            let file = Subject::File(path.display().to_string());
            let told = Diagnostic::warning(DiagnosticCode::SecretReadable, file, message);
            warnings.push(match source {
                Some(source) => told.of(source),
                None => told,
            });
        }
    };
    for source in &config.sources {
        if let Some(SecretRef::File(path)) = source.kind.secret() {
            look(format!("source `{}`", source.name), path, Some(&source.name));
        }
        if let Some(path) = source.kind.key_file() {
            look(format!("source `{}`: `key_file`", source.name), path, Some(&source.name));
        }
    }
    if let Some(SecretRef::File(path)) = &config.store_password {
        look("store.password".to_owned(), path, None);
    }
    if let Some(SecretRef::File(path)) = config.default_admin.as_ref().map(|it| &it.password) {
        look("default_admin.password".to_owned(), path, None);
    }
    let tokens = config.gateway.as_ref().and_then(|gateway| gateway.tokens.as_ref());
    if let Some(SecretRef::File(path)) = tokens.and_then(|tokens| tokens.signing_key.as_ref()) {
        look("gateway.tokens.signing_key".to_owned(), path, None);
    }
    let authzen = config.gateway.as_ref().and_then(|gateway| gateway.authzen.as_ref());
    for caller in authzen.into_iter().flat_map(|authzen| &authzen.callers) {
        if let CallerProof::Token(SecretRef::File(path)) = &caller.proof {
            look(format!("gateway.authzen.caller `{}`: `token`", caller.name), path, None);
        }
    }
    if let Some(tls) = config.gateway.as_ref().and_then(|gateway| gateway.tls.as_ref()) {
        look("gateway.tls.key_file".to_owned(), &tls.key_file, None);
    }
    warnings
}
