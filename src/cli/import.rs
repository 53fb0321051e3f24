//! `idpsyncd import`: what another platform keeps in its database.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use chrono::Utc;
use secrecy::ExposeSecret;
use serde_json::json;

use super::account::actor;
use super::args::{ImportCommand, Output};
use super::print::{self, Style, count};
use super::{AlreadyDone, Context, Failure, changes, exit, reach, runtime};
use crate::model::{Deed, rfc3339};
use crate::plan::{Changes, Summary, view};
use crate::sync::osmo_db::{self, Import, Url};

/// Before anything else: takes a password that stands on the command line out of sight.
pub(super) fn hide_password(command: &ImportCommand) -> Result<(), Failure> {
    let ImportCommand::OsmoDb { url, .. } = command;
    hide_password_of(url)
}

/// The same of a database's URL among the arguments.
pub(super) fn hide_password_of(url: &str) -> Result<(), Failure> {
    let parsed = parse(url)?;
    let Some(password) = &parsed.password else { return Ok(()) };
    // Everybody may read the list of processes. So this begins anew without the password in it.
    let mut arguments = std::env::args_os();
    let own = arguments.next().unwrap_or_default();
    let shown = |it: OsString| if it == *url { parsed.bare.clone().into() } else { it };
    let error = Command::new("/proc/self/exe")
        .arg0(own)
        .args(arguments.map(shown))
        .env("PGPASSWORD", password.expose_secret())
        .exec();
    Err(Failure::Error(format!(
        "cannot take the password out of the list of processes: {error}; give it by `PGPASSWORD` or \
         `PGPASSFILE`"
    )))
}

pub(super) fn parse(url: &str) -> Result<Url, Failure> {
    // Never quoted: it may hold a password.
    Url::parse(url).map_err(|why| Failure::Usage(format!("the URL {why}")))
}

pub(super) fn run(at: Context<'_>, command: &ImportCommand, output: Output) -> Result<u8, Failure> {
    let ImportCommand::OsmoDb { url, dry_run, detailed_exitcode: _ } = command;
    let url = parse(url)?;
    let variable = |name: &str| std::env::var(name).ok();
    let rows = runtime()?.block_on(osmo_db::read(&url, variable))?;
    let deed = Deed { by: actor(), reason: format!("imported from OSMO's database {}", url.shown) };
    let now = Utc::now();
    let import = osmo_db::import(at.config, at.store, &rows, &deed, *dry_run, now)?;
    let found = !import.plan.changes.is_empty();
    let status = if *dry_run && found { exit::CHANGES } else { exit::DONE };
    AlreadyDone::to(import.before, import.generation).then(match output {
        Output::Json => {
            let Import { plan, before, generation, left_out } = &import;
            let changes: Vec<_> = plan.changes.iter().map(|change| view(change, plan)).collect();
            print::json(&json!({
                "format": 1, "at": rfc3339(now), "dry_run": dry_run, "applied": !dry_run,
                "generation_before": before, "generation": generation, "exit_status": status,
                "summary": plan.summary, "changes": changes,
                "reach": reach::Rows(Some(plan)), "left_out": left_out,
            }))
        }
        Output::Text => print::lines(&text(&import, *dry_run, Style::detect())),
    })?;
    Ok(status)
}

fn text(import: &Import, dry_run: bool, style: Style) -> Vec<String> {
    let Import { plan, before: _, generation, left_out } = import;
    let mut out = Vec::new();
    if !plan.changes.is_empty() {
        out.push(style.bold(if dry_run { "What would change" } else { "What changed" }));
        out.extend(changes::lines(Changes::Planned(plan), false, style));
        out.push(String::new());
        let reach = reach::lines(plan, false, style);
        if !reach.is_empty() {
            out.extend(reach);
            out.push(String::new());
        }
    }
    if !left_out.is_empty() {
        out.push(style.bold("Left out, or worth a look"));
        for line in left_out {
            out.push(format!("  {} {}", style.yellow("!"), print::shown(line)));
        }
        out.push(String::new());
    }
    if plan.changes.is_empty() {
        out.push(format!("Nothing to import: generation {generation} stands."));
        return out;
    }
    let Summary { users_created, grants_added, tokens_added, pairs_gained, .. } = plan.summary;
    out.push(format!(
        "{}: {}, {}, {}; effective user-role pairs: +{pairs_gained}.",
        if dry_run { "Would import" } else { "Imported" },
        count(users_created, "user", "users"),
        count(grants_added, "grant", "grants"),
        count(tokens_added, "token", "tokens"),
    ));
    out.push(match dry_run {
        true => "Nothing was written: this was a dry run.".to_owned(),
        false => format!("Generation {generation} is committed."),
    });
    out
}
