//! `idpsyncd check`: every problem at once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use futures_util::future::join_all;
use serde::Serialize;

use super::args::{CheckArgs, Global, Output};
use super::print::{self, Style};
use super::sync::complain;
use super::{Failure, exit, open, progress, runtime};
use crate::config::{self, Config, ConfigError, GatewayConfig};
use crate::directory::{Directory, Kind, RefIdx};
use crate::model::DiagnosticCode;
use crate::model::diagnostic::{Diagnostic, DiagnosticView, Severity, Subject, texts};
use crate::resolve::{Rules, folded};
use crate::routes::coverage;
use crate::source::{kinds, open_source};
use crate::store::{Store, StoreError, StoreErrorKind};
use crate::sync::{self, AdminError, Options, RunError, SourceResult};

/// Everything that was found, errors first.
#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    config: String,
    errors: Vec<String>,
    warnings: Vec<String>,
    diagnostics: Vec<DiagnosticView<'a>>,
}

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<u8, Failure> {
    let config = match config::load(&global.config, &kinds()) {
        Ok(config) => config,
        Err(ConfigError::Faults(faults)) => {
            match global.output {
                Output::Json => print::json(&faults)?,
                Output::Text => print::lines(&[faults.to_string().trim_end().to_owned()])?,
            }
            return Ok(exit::ERROR);
        }
        Err(error @ ConfigError::Unreadable { .. }) => return Err(error.into()),
    };
    let mut found: BTreeSet<Diagnostic> = config.diagnostics.iter().cloned().collect();
    let routes = config.gateway.as_ref().map_or_else(Vec::new, GatewayConfig::route_specs);
    found.extend(coverage::warnings(&routes, &config.settings()));
    found.extend(config::readable_secrets(&config));
    if let Some(fault) = config.gateway.as_ref().and_then(crate::gateway::signing_fault) {
        let subject = Subject::Setting("gateway.tokens.signing_key".to_owned());
        found.insert(Diagnostic::error(
            DiagnosticCode::SigningKeyRefused,
            subject,
            fault.to_string(),
        ));
    }
    let admin = sync::check_default_admin(&config);
    if let Err(fault) = &admin {
        found.insert(refused_admin(fault));
    }
    // Without the default admin's secret nothing can be planned.
    if !args.offline && admin.is_ok() {
        runtime()?.block_on(connect(&config, &*open(&config), &mut found))?;
    }
    let of = |severity| texts(found.iter().filter(|it| it.severity == severity));
    let report = Report {
        format: 1,
        config: global.config.display().to_string(),
        errors: of(Severity::Error),
        warnings: of(Severity::Warning),
        diagnostics: found.iter().map(Diagnostic::view).collect(),
    };
    let status = if report.errors.is_empty() { exit::DONE } else { exit::ERROR };
    if global.output == Output::Json {
        print::json(&report)?;
        return Ok(status);
    }
    let style = Style::detect();
    let mut out = Vec::new();
    for error in &report.errors {
        out.push(format!("{} {}", style.red("error:"), print::shown(error)));
    }
    for warning in &report.warnings {
        out.push(format!("{} {}", style.yellow("warning:"), print::shown(warning)));
    }
    out.push(format!(
        "{}: {}, {}{}",
        report.config,
        print::count(report.errors.len() as u64, "error", "errors"),
        print::count(report.warnings.len() as u64, "warning", "warnings"),
        if args.offline { " (no source was contacted)" } else { "" }
    ));
    print::lines(&out)?;
    Ok(status)
}

/// Asks each source what would make a read fail or lie, reads all of them, and plans without
/// writing: what the plan warns of is a finding.
async fn connect(
    config: &Config,
    store: &dyn Store,
    found: &mut BTreeSet<Diagnostic>,
) -> Result<(), Failure> {
    if let Some(gateway) = &config.gateway {
        // Gateways may run where the issuer can be reached, and this not: no errors.
        let faults = crate::gateway::identity::faults(gateway).await;
        found.extend(faults.into_iter().map(|fault| {
            let subject = Subject::Setting("gateway.jwt".to_owned());
            let message = format!("gateway.jwt: {fault}");
            Diagnostic::warning(DiagnosticCode::IssuerUnreachable, subject, message)
        }));
    }
    // Nobody can make it there, and to whoever only reads it is a store that is not there yet.
    if let Err(error) = tokio::task::block_in_place(|| store.leader())
        && error.kind == StoreErrorKind::NoFolder
    {
        found.insert(unusable(&error, Severity::Warning));
    }
    // Where the store itself cannot be read the run below says so.
    if let Ok(Some(fault)) = tokio::task::block_in_place(|| store.standby_fault()) {
        let subject = Subject::Setting("store.read_url".to_owned());
        let message = format!("store.read_url: {fault}; gateways read the primary meanwhile");
        found.insert(Diagnostic::warning(DiagnosticCode::StandbyUnread, subject, message));
    }
    let asked = config.sources.iter().filter(|source| !source.kind.is_local());
    let findings = join_all(asked.map(|source| async {
        let settings = config.settings();
        let rules = Rules::new(&settings, source.terms());
        match open_source(source) {
            Ok(opened) => (source.name.as_str(), opened.check(&rules).await),
            Err(error) => (source.name.as_str(), vec![error.into_diagnostic()]),
        }
    }))
    .await;
    for (source, list) in findings {
        found.extend(list.into_iter().map(|finding| finding.said_by(source)));
    }
    let options = Options {
        dry_run: true,
        sources: None,
        what: "idpsyncd check".to_owned(),
        ..Options::default()
    };
    let (on_progress, end) = progress::on_terminal();
    let run = sync::run_with_views(config, store, &options, &on_progress, Utc::now()).await;
    end();
    let (outcome, directories) = match run {
        // Such as a default admin whose name is somebody's: a finding like any other.
        Err(RunError::DefaultAdmin(why)) => {
            found.insert(refused_admin(&why));
            return Ok(());
        }
        Err(RunError::Store(error)) => {
            found.insert(unusable(&error, Severity::Error));
            return Ok(());
        }
        run => run?,
    };
    complain(&outcome);
    found.extend(outcome.diagnostics.iter().cloned());
    for source in &outcome.sources {
        match &source.result {
            SourceResult::Failed(error) => {
                let failed = error.clone().into_diagnostic();
                found.insert(failed.said_by(&source.name));
            }
            SourceResult::Partial(scopes) => {
                for scope in scopes {
                    if let Some(why) = &scope.partial {
                        let (code, subject) =
                            (DiagnosticCode::SourcePartial, Subject::scope(scope.scope));
                        let message = format!("{} cannot be read in full: {why}", scope.scope);
                        let partial = Diagnostic::error(code, subject, message);
                        found.insert(partial.said_by(&source.name));
                    }
                }
            }
            SourceResult::Complete(_) | SourceResult::NotAsked => {}
        }
    }
    for (source, directory) in &directories {
        conventions(config, source, directory, found);
    }
    Ok(())
}

/// The default admin cannot be made: its secret is none, or its name is somebody's.
fn refused_admin(why: &AdminError) -> Diagnostic {
    let subject = Subject::Setting("default_admin".to_owned());
    Diagnostic::error(DiagnosticCode::DefaultAdminRefused, subject, why.to_string())
}

/// The store cannot be read, or could not be made.
fn unusable(error: &StoreError, severity: Severity) -> Diagnostic {
    let subject = Subject::Setting("store".to_owned());
    let (code, message) = (DiagnosticCode::StoreUnusable, error.to_string());
    match severity {
        Severity::Error => Diagnostic::error(code, subject, message),
        Severity::Warning => Diagnostic::warning(code, subject, message),
    }
}

/// Roles assigned in one client and not in the other, and names outside the convention.
fn conventions(
    config: &Config,
    source: &str,
    directory: &Directory,
    found: &mut BTreeSet<Diagnostic>,
) {
    let clients = config.sources.iter().find(|s| s.name == source).map(|s| s.kind.clients());
    one_client_only(source, directory, clients.unwrap_or(&[]), found);
    for (reference, members) in directory.refs.iter().zip(&directory.members) {
        let name = directory.text(reference.name);
        if !reference.kind.has_bare_name() || name.is_empty() || members.is_empty() {
            continue;
        }
        for template in &config.templates {
            let near = folded(name).replace([' ', '_'], "-");
            let outside = !template.regex.is_match(name) && template.regex.is_match(&near);
            if outside && reference.kind != Kind::Group && !config.roles.contains_key(name) {
                let identity = directory.text(reference.identity);
                let message = format!(
                    "{} `{identity}` is outside the convention `{}`: `{near}` would be in it",
                    reference.kind.as_str(),
                    template.name
                );
                let subject = Subject::reference(reference.kind, identity);
                let told = Diagnostic::warning(DiagnosticCode::OutsideConvention, subject, message);
                found.insert(told.said_by(source));
            }
        }
    }
}

fn one_client_only(
    source: &str,
    directory: &Directory,
    clients: &[String],
    found: &mut BTreeSet<Diagnostic>,
) {
    if clients.len() < 2 {
        return;
    }
    let mut of_role: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for (index, reference) in directory.refs.numbered() {
        let name = directory.text(reference.name);
        let identity = directory.text(reference.identity);
        if reference.kind != Kind::ClientRole || name.is_empty() {
            continue;
        }
        if let Some(client) = identity.strip_suffix(name).and_then(|c| c.strip_suffix('/')) {
            of_role.entry(name).or_default().insert(client, holders(directory, index));
        }
    }
    for (role, by_client) in of_role {
        for client in clients {
            if !by_client.contains_key(client.as_str()) {
                let others: Vec<String> = by_client.keys().map(|c| format!("`{c}`")).collect();
                let message = format!(
                    "role `{role}` is there in client {} and not in `{client}`",
                    others.join(", ")
                );
                let subject = Subject::reference(Kind::ClientRole, &format!("{client}/{role}"));
                let told = Diagnostic::warning(DiagnosticCode::RoleInOneClient, subject, message);
                found.insert(told.said_by(source));
            }
        }
        let mut lists = by_client.iter();
        let Some((first, here)) = lists.next() else { continue };
        for (other, there) in lists {
            for (has, lacks, only) in
                [(first, other, here.difference(there)), (other, first, there.difference(here))]
            {
                let only: Vec<String> = only.map(|who| format!("`{who}`")).collect();
                if let Some(few) = only.get(..only.len().min(5)).filter(|few| !few.is_empty()) {
                    let more = only.len() - few.len();
                    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                    let message = format!(
                        "role `{role}` is assigned in client `{has}` and not in `{lacks}` to \
                         {}{more}; held in either it counts once",
                        few.join(", ")
                    );
                    let subject = Subject::reference(Kind::ClientRole, &format!("{lacks}/{role}"));
                    let code = DiagnosticCode::AssignedInOneClient;
                    found.insert(Diagnostic::warning(code, subject, message).said_by(source));
                }
            }
        }
    }
}

/// Who is directly given what reference `role` is: users, and groups or roles that lead to it.
fn holders(directory: &Directory, role: RefIdx) -> BTreeSet<&str> {
    let mut out = BTreeSet::new();
    for user in directory.members.get(role).into_iter().flatten() {
        out.extend(directory.users.get(*user).map(|row| directory.text(row.username)));
    }
    for (reference, up) in directory.refs.iter().zip(&directory.implies) {
        if up.binary_search(&role).is_ok() {
            out.insert(directory.text(reference.identity));
        }
    }
    out
}
