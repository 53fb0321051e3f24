//! `idpsyncd sync`: one run, and how a plan reads.

use chrono::Utc;
use serde::Serialize;

use super::args::{Output, SyncArgs};
use super::print::{self, Style, Table, count};
use super::{AlreadyDone, Context, Failure, changes, exit, progress, reach, runtime};
use crate::config::Config;
use crate::directory::ScopeReport;
use crate::model::diagnostic::{Diagnostic, DiagnosticView};
use crate::model::rfc3339;
use crate::plan::{self, Held, Plan, Summary, view};
use crate::source::SourceError;
use crate::store::Store;
use crate::sync::{self, Options, Outcome, SourceOutcome, SourceResult};

pub(super) fn run(at: Context<'_>, args: &SyncArgs, output: Output) -> Result<u8, Failure> {
    let Context { config, store } = at;
    for name in &args.source {
        if !config.sources.iter().any(|source| source.name == *name) {
            let known: Vec<String> =
                config.sources.iter().map(|source| format!("`{}`", source.name)).collect();
            return Err(Failure::Usage(format!(
                "there is no source `{name}` in the configuration: it has {}",
                known.join(", ")
            )));
        }
    }
    let sources = match (args.offline, args.source.is_empty()) {
        (true, _) => Some(Vec::new()),
        (false, true) => None,
        (false, false) => Some(args.source.clone()),
    };
    let options = Options {
        dry_run: args.dry_run,
        sources,
        what: "idpsyncd sync".to_owned(),
        ..Options::default()
    };
    let (on_progress, end) = progress::on_terminal();
    let outcome = runtime()?.block_on(sync::run(config, store, &options, &on_progress, Utc::now()));
    end();
    let outcome = outcome?;
    complain(&outcome);
    let status = status(&outcome, args);
    let committed = AlreadyDone::by_run(&outcome);
    let stored = committed.then(stored_held(store, &outcome))?;
    let held = outcome.plan.as_ref().and_then(|plan| plan.held.as_ref()).or(stored.as_ref());
    committed.then(match output {
        Output::Json => print::json(&report(&outcome, held, args.dry_run, status)),
        Output::Text => print::lines(&text(config, &outcome, held, args, Style::detect())),
    })?;
    Ok(status)
}

/// Says on standard error which sources failed or were partial: standard output goes to a file or a
/// program, and whoever looks after the machine sees only this.
pub(super) fn complain(outcome: &Outcome) {
    complaints(&outcome.sources).iter().for_each(|line| print::aside(line));
}

fn complaints(sources: &[SourceOutcome]) -> Vec<String> {
    let mut out = Vec::new();
    for source in sources {
        let name = &source.name;
        match &source.result {
            SourceResult::Failed(SourceError { message, .. }) => {
                out.push(format!("source `{name}` failed: {}", print::shown(message)));
            }
            SourceResult::Partial(scopes) => {
                for scope in scopes {
                    let Some(why) = &scope.partial else { continue };
                    let (scope, why) = (scope.scope, print::shown(why));
                    out.push(format!("source `{name}` was partial: {scope}: {why}"));
                }
            }
            SourceResult::Complete(_) | SourceResult::NotAsked => {}
        }
    }
    out
}

/// What waits, from the store: where nothing had to be planned, the changes are only there.
fn stored_held(store: &dyn Store, outcome: &Outcome) -> Result<Option<Held>, Failure> {
    match (&outcome.plan, &outcome.held) {
        (None, Some(head)) => {
            // Somebody may have settled it since: then it does not wait any more.
            let held = store.reader()?.map(|reader| reader.held()).transpose()?;
            Ok(held.flatten().filter(|held| held.id == head.id))
        }
        _ => Ok(None),
    }
}

/// The exit status: the first that applies of the design's section 3.
fn status(outcome: &Outcome, args: &SyncArgs) -> u8 {
    if outcome.incomplete() {
        exit::SOURCE
    } else if outcome.held.is_some() {
        exit::HELD
    } else if args.dry_run && args.detailed_exitcode && outcome.changes() {
        exit::CHANGES
    } else {
        exit::DONE
    }
}

/// The JSON form: `docs/output.md`.
#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    at: String,
    dry_run: bool,
    applied: bool,
    generation_before: u64,
    generation: u64,
    exit_status: u8,
    sources: Vec<SourceReport<'a>>,
    summary: Summary,
    changes: Changes<'a>,
    reach: reach::Rows<'a>,
    held: Option<&'a Held>,
    warnings: Vec<String>,
    diagnostics: Vec<DiagnosticView<'a>>,
    next_due: Option<String>,
}

#[derive(Serialize)]
struct SourceReport<'a> {
    name: &'a str,
    kind: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    scopes: &'a [ScopeReport],
    mirror_at: Option<String>,
}

fn source_report(source: &SourceOutcome) -> SourceReport<'_> {
    let (status, error, scopes): (_, _, &[ScopeReport]) = match &source.result {
        SourceResult::Complete(scopes) => ("complete", None, scopes),
        SourceResult::Partial(scopes) => ("partial", None, scopes),
        SourceResult::Failed(SourceError { message, .. }) => {
            ("failed", Some(message.as_str()), &[])
        }
        SourceResult::NotAsked => ("not-asked", None, &[]),
    };
    SourceReport {
        name: &source.name,
        kind: source.kind,
        status,
        error,
        scopes,
        mirror_at: source.mirror_at.map(rfc3339),
    }
}

/// A plan's changes, put into words one by one as they are written: a first sync has millions.
struct Changes<'a>(Option<&'a Plan>);

impl Serialize for Changes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let changes =
            self.0.into_iter().flat_map(|plan| plan.changes.iter().map(move |c| (c, plan)));
        serializer.collect_seq(changes.map(|(change, plan)| view(change, plan)))
    }
}

/// The numbers of the plan. Where nothing had to be planned, what was held before still waits.
fn summary(outcome: &Outcome) -> Summary {
    let held = outcome.held.as_ref().map_or(0, |held| held.changes);
    let unplanned = Summary { held, ..Summary::default() };
    outcome.plan.as_ref().map_or(unplanned, |plan| plan.summary)
}

fn report<'a>(
    outcome: &'a Outcome,
    held: Option<&'a Held>,
    dry_run: bool,
    exit_status: u8,
) -> Report<'a> {
    Report {
        format: 1,
        at: rfc3339(outcome.at),
        dry_run,
        applied: !dry_run,
        generation_before: outcome.before,
        generation: outcome.generation,
        exit_status,
        sources: outcome.sources.iter().map(source_report).collect(),
        summary: summary(outcome),
        changes: Changes(outcome.plan.as_ref()),
        reach: reach::Rows(outcome.plan.as_ref()),
        held,
        warnings: outcome.warnings(),
        diagnostics: outcome.diagnostics.iter().map(Diagnostic::view).collect(),
        next_due: outcome.next_due.map(rfc3339),
    }
}

fn text(
    config: &Config,
    outcome: &Outcome,
    held: Option<&Held>,
    args: &SyncArgs,
    style: Style,
) -> Vec<String> {
    let mut out = Vec::new();
    out.push(style.bold("Sources"));
    out.extend(source_lines(outcome, style));
    // What is lost comes before what is gained, and what waits for a person before all.
    if let Some(held) = held {
        out.push(String::new());
        out.extend(changes::held_lines(held, args.all, style));
    }
    if let Some(plan) = outcome.plan.as_ref().filter(|plan| !plan.changes.is_empty()) {
        out.push(String::new());
        let title = if args.dry_run { "What would change" } else { "What changed" };
        out.push(style.bold(title));
        let changes = plan::Changes::Planned(plan);
        out.extend(changes::lines(changes, args.all, style));
        let reach = reach::lines(plan, args.all, style);
        if !reach.is_empty() {
            out.push(String::new());
            out.extend(reach);
        }
    }
    if !outcome.diagnostics.is_empty() {
        out.push(String::new());
        out.push(style.bold("Warnings"));
        for warning in outcome.warnings() {
            out.push(format!("  {} {}", style.yellow("!"), print::shown(&warning)));
        }
    }
    out.push(String::new());
    out.push(summary_line(outcome, args.dry_run));
    out.extend(next_lines(config, outcome, args));
    out
}

fn source_lines(outcome: &Outcome, style: Style) -> Vec<String> {
    let mut out = Vec::new();
    let mut table = Table::default();
    let mut notes: Vec<Vec<String>> = Vec::new();
    for source in &outcome.sources {
        let mirror = match source.mirror_at {
            Some(at) => format!("its mirror of {} speaks", rfc3339(at)),
            None => "it was never read in full".to_owned(),
        };
        let scopes = |scopes: &[ScopeReport]| {
            let part = |scope: &ScopeReport| {
                count(scope.count, scope.scope.trim_end_matches('s'), scope.scope)
            };
            scopes.iter().map(part).collect::<Vec<_>>().join(", ")
        };
        let (status, detail, note) = match &source.result {
            SourceResult::Complete(list) => ("complete", scopes(list), Vec::new()),
            SourceResult::Partial(list) => {
                let partial = |scope: &ScopeReport| {
                    let why = scope.partial.as_ref()?;
                    Some(format!("{}: {why}", scope.scope))
                };
                let mut note: Vec<String> = list.iter().filter_map(partial).collect();
                note.push("what was read adds; nothing is taken away for what was not".to_owned());
                ("partial", scopes(list), note)
            }
            SourceResult::Failed(SourceError { message, .. }) => {
                ("failed", mirror, vec![message.clone()])
            }
            SourceResult::NotAsked => ("not asked", mirror, Vec::new()),
        };
        table.row([&source.name, source.kind, status, &detail]);
        notes.push(note);
    }
    let lines = table.lines("  ", |row, column, cell| {
        let bad = notes.get(row).is_some_and(|notes| !notes.is_empty());
        if column == 2 && bad { style.red(cell) } else { cell.to_owned() }
    });
    for (line, notes) in lines.into_iter().zip(notes) {
        out.push(line);
        out.extend(
            notes.iter().map(|note| format!("    {} {}", style.red("!"), print::shown(note))),
        );
    }
    out
}

fn summary_line(outcome: &Outcome, dry_run: bool) -> String {
    let Some(plan) = &outcome.plan else {
        return format!(
            "Nothing changed since the last run: generation {} stands.",
            outcome.generation
        );
    };
    let Summary {
        users_created,
        users_changed,
        users_disabled,
        users_deprovisioned,
        roles_changed,
        grants_added,
        grants_removed,
        tokens_added,
        tokens_removed,
        token_roles_lost,
        pairs_gained,
        pairs_lost,
        held,
    } = plan.summary;
    if plan.changes.is_empty() && held == 0 {
        return format!("Nothing to change: generation {} stands.", outcome.generation);
    }
    let mut parts = Vec::new();
    for (number, one, many) in [
        (users_created, "user created", "users created"),
        (users_changed, "user changed", "users changed"),
        (users_disabled, "user disabled", "users disabled"),
        (users_deprovisioned, "user deprovisioned", "users deprovisioned"),
        (roles_changed, "role changed", "roles changed"),
        (grants_added, "grant added", "grants added"),
        (grants_removed, "grant removed", "grants removed"),
        (tokens_added, "token made", "tokens made"),
        (tokens_removed, "token removed", "tokens removed"),
        (token_roles_lost, "role lost by a token", "roles lost by tokens"),
        (held, "change held", "changes held"),
    ] {
        if number > 0 {
            parts.push(count(number, one, many));
        }
    }
    if parts.is_empty() && !plan.widened.is_empty() {
        parts.push("what people reach in the clouds".to_owned());
    }
    if parts.is_empty() {
        parts.push("nothing that counts for anybody".to_owned());
    }
    format!(
        "{}: {}; effective user-role pairs: +{pairs_gained} -{pairs_lost}.",
        if dry_run { "Would apply" } else { "Applied" },
        parts.join(", "),
    )
}

fn next_lines(config: &Config, outcome: &Outcome, args: &SyncArgs) -> Vec<String> {
    let mut out = Vec::new();
    let file = config.file.display();
    if args.dry_run {
        out.push("Nothing was written: this was a dry run.".to_owned());
        if outcome.changes() {
            out.push(format!("To apply it: idpsyncd sync --config {file}"));
        }
    } else if outcome.generation != outcome.before {
        out.push(format!("Generation {} is committed.", outcome.generation));
    }
    if let Some(held) = &outcome.held {
        if args.dry_run {
            out.push(
                "A sync would keep what is held waiting for `idpsyncd plan approve`.".to_owned(),
            );
        } else {
            let id = &held.id;
            out.push(format!(
                "To let the held changes happen: idpsyncd plan approve {id} --config {file}"
            ));
        }
    }
    if outcome.incomplete() {
        out.push(
            "Some source was not read in full: what is unknown there takes nothing away."
                .to_owned(),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_that_was_not_read_in_full_is_complained_of() {
        let scope = |scope, partial: Option<&str>| ScopeReport {
            scope,
            count: 1,
            partial: partial.map(str::to_owned),
        };
        let result = |name: &str, result| SourceOutcome {
            name: name.to_owned(),
            kind: "ldap",
            result,
            mirror_at: None,
        };
        let sources = [
            result("whole", SourceResult::Complete(vec![scope("users", None)])),
            result("asleep", SourceResult::NotAsked),
            result("gone", SourceResult::Failed(SourceError::transient("no\rroute"))),
            result(
                "half",
                SourceResult::Partial(vec![
                    scope("users", None),
                    scope("groups", Some("hidden members")),
                ]),
            ),
        ];
        assert_eq!(
            complaints(&sources),
            [
                "source `gone` failed: no\\rroute",
                "source `half` was partial: groups: hidden members"
            ]
        );
    }
}
