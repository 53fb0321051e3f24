//! `idpsyncd status`: sources, generation, held plan, next run.

use std::collections::BTreeMap;

use chrono::Utc;
use serde_json::{Value, json};

use super::args::Output;
use super::print::{self, Style, Table};
use super::{Context, Failure, exit, time};
use crate::config::Config;
use crate::directory::local::NAME as LOCAL;
use crate::model::{FollowMode, Followed, Time, rfc3339};
use crate::plan::HeldHead;
use crate::store::{Meta, SourceStatus, StoreLeader};
use crate::sync;

/// What there is to tell.
struct StatusView<'a> {
    store: String,
    exists: bool,
    meta: Meta,
    held: Option<HeldHead>,
    /// Which daemon leads.
    leader: StoreLeader,
    /// Whether the store stands by this configuration, as [`sync::stands_by`] has it.
    same: Option<bool>,
    /// How many access tokens there are, and how many of them are expired.
    tokens: (u64, u64),
    /// How many sessions are known to have ended before their tokens.
    ended: u64,
    /// When the next run begins.
    next: Option<Time>,
    sources: Vec<Source<'a>>,
    /// How they are followed, by name.
    followed: BTreeMap<String, Followed>,
    now: Time,
}

/// A source: its name, its kind, and what the store says of it.
type Source<'a> = (&'a str, &'a str, Option<&'a SourceStatus>);

pub(super) fn run(at: Context<'_>, output: Output) -> Result<u8, Failure> {
    let config = at.config;
    let reader = at.store.reader()?;
    let now = Utc::now();
    // What else is known is worth telling without it.
    let leader = at.store.leader().unwrap_or_else(|error| {
        print::aside(&format!("which daemon leads cannot be told: {error}"));
        StoreLeader::Unseen
    });
    let (meta, stored, followed, held, (tokens, ended)) = match &reader {
        Some(reader) => reader.snapshot(|r| {
            let (stored, followed) = (r.sources()?, r.followed()?);
            let counts = (r.count_tokens(now)?, r.count_ended()?);
            Ok((r.meta()?, stored, followed, r.held_head()?, counts))
        })?,
        None => (Meta::default(), Vec::new(), BTreeMap::new(), None, ((0, 0), 0)),
    };
    let status = StatusView {
        store: config.store.to_string(),
        exists: reader.is_some(),
        next: next_run(config, meta.next_due, now),
        meta,
        held,
        leader,
        same: reader.as_deref().and_then(|reader| sync::stands_by(config, reader).ok()).flatten(),
        tokens,
        ended,
        sources: sources(config, &stored),
        followed,
        now,
    };
    match output {
        Output::Json => print::json(&status.json())?,
        Output::Text => print::lines(&status.lines(Style::detect()))?,
    }
    Ok(exit::DONE)
}

fn sources<'a>(config: &'a Config, stored: &'a [SourceStatus]) -> Vec<Source<'a>> {
    config
        .sources
        .iter()
        .map(|source| {
            let status = stored.iter().find(|status| status.name == source.name);
            (source.name.as_str(), source.kind.word(), status)
        })
        // Where nobody was added by hand there is nothing to tell of.
        .filter(|(_, kind, status)| {
            *kind != LOCAL || !config.has_idp() || status.is_some_and(SourceStatus::holds_anybody)
        })
        .collect()
}

impl StatusView<'_> {
    fn json(&self) -> Value {
        let StatusView { meta, sources, followed, now, .. } = self;
        let (tokens, expired) = self.tokens;
        json!({
            "store": self.store,
            "exists": self.exists,
            "schema_version": meta.schema_version,
            "generation": meta.generation,
            "applied_at": meta.applied_at.map(rfc3339),
            "next_run": self.next.map(rfc3339),
            "next_due": meta.next_due.map(rfc3339),
            "held": self.held,
            "leader": match &self.leader {
                StoreLeader::Seen(leader) => json!({
                    "host": leader.host,
                    "pid": leader.pid,
                    "since": rfc3339(leader.since),
                }),
                StoreLeader::Nobody | StoreLeader::Unseen => Value::Null,
            },
            "same_configuration": self.same,
            "tokens": tokens,
            "tokens_expired": expired,
            "ended_sessions": self.ended,
            "sources": sources.iter().map(|(name, kind, status)| json!({
                "name": name,
                "kind": kind,
                "status": if *kind == LOCAL { "complete" } else { word(*status) },
                "read_at": status.and_then(|s| s.read_at).map(rfc3339),
                "age_seconds": match *kind {
                    LOCAL => Some(0),
                    _ => status.and_then(|s| s.read_at).map(|at| (*now - at).num_seconds()),
                },
                "tried_at": status.and_then(|s| s.tried_at).map(rfc3339),
                "error": status.and_then(|s| s.error.clone()),
                "scopes": status.map(|s| s.scopes.clone()).unwrap_or_default(),
                "following": followed.get(*name).map_or(FollowMode::Full, |it| it.mode).as_str(),
                "lag_seconds": followed.get(*name).and_then(|it| it.lag(*now)).map(|it| it.as_secs()),
                "last_drift": followed.get(*name).and_then(|it| it.last_drift).map(|drift| json!({
                    "at": rfc3339(drift.at),
                    "changes": drift.changes,
                })),
            })).collect::<Vec<_>>(),
        })
    }

    fn lines(&self, style: Style) -> Vec<String> {
        let mut out =
            self.facts().lines(
                "",
                |_, column, cell| {
                    if column == 0 { style.bold(cell) } else { cell.to_owned() }
                },
            );
        out.push(String::new());
        out.push(style.bold("Sources"));
        out.extend(source_lines(&self.sources, &self.followed, self.now, style));
        if let Some(held) = &self.held {
            out.push(String::new());
            out.push(format!("To see what is held: idpsyncd plan show {}", held.id));
        }
        out
    }

    fn facts(&self) -> Table {
        let mut facts = Table::default();
        let store = &self.store;
        facts.row([
            "Store",
            &if self.exists { store.clone() } else { format!("{store} (not there yet)") },
        ]);
        let applied = self.meta.applied_at.map_or_else(
            || "never".to_owned(),
            |at| format!("{} ({})", rfc3339(at), time::ago(at, self.now)),
        );
        facts.row(["Generation", &format!("{}, applied {applied}", self.meta.generation)]);
        let leader = match &self.leader {
            StoreLeader::Nobody => "none".to_owned(),
            StoreLeader::Unseen => "not to be seen from here".to_owned(),
            StoreLeader::Seen(leader) => leader.to_string(),
        };
        facts.row(["Leader", &leader]);
        if self.same == Some(false) {
            let other =
                "another than the store stands by: the next run by it plans for everybody anew";
            facts.row(["Config", other]);
        }
        facts.row(["Next run", &self.next.map_or_else(|| "none".to_owned(), rfc3339)]);
        let waiting = self.held.as_ref().map_or_else(
            || "nothing".to_owned(),
            |held| {
                format!(
                    "plan {} since {}: {} changes, {} effective pairs would be lost",
                    held.id, held.since, held.changes, held.lost_pairs
                )
            },
        );
        facts.row(["Held", &waiting]);
        let (tokens, expired) = self.tokens;
        if tokens > 0 {
            let over =
                if expired > 0 { format!(", {expired} of them expired") } else { String::new() };
            facts.row(["Tokens", &format!("{tokens}{over}")]);
        }
        if self.ended > 0 {
            facts.row(["Sessions", &format!("{} ended before their tokens", self.ended)]);
        }
        facts
    }
}

fn word(status: Option<&SourceStatus>) -> &'static str {
    match status {
        None => "never-read",
        Some(status) if status.error.is_some() => "failed",
        Some(status) if status.scopes.iter().any(|scope| scope.partial.is_some()) => "partial",
        Some(status) if status.tried_at.is_none() => "never-read",
        Some(_) => "complete",
    }
}

/// How a source is followed, in words.
fn following(followed: &Followed, now: Time) -> String {
    let Followed { mode, why, current_at, last_drift, .. } = followed;
    let why = why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    if *mode == FollowMode::Full {
        return format!("changes are seen by full reads alone{why}");
    }
    let mut text = format!("followed ({})", mode.as_str());
    if let Some(at) = current_at {
        text += &format!(", current {}", time::ago(*at, now));
    }
    if let Some(drift) = last_drift {
        let at = rfc3339(drift.at);
        text +=
            &format!(", the last full read found {} that it had not told ({at})", drift.changes);
    }
    text + &why
}

fn source_lines(
    sources: &[Source<'_>],
    followed: &BTreeMap<String, Followed>,
    now: Time,
    style: Style,
) -> Vec<String> {
    let mut table = Table::default();
    let mut notes = Vec::new();
    for (name, kind, status) in sources {
        let read = status.and_then(|status| status.read_at).map_or_else(
            || "never read in full".to_owned(),
            |at| format!("read in full {} ({})", rfc3339(at), time::ago(at, now)),
        );
        let read = if *kind == LOCAL { "the store itself: always current" } else { &read };
        let word = if *kind == LOCAL { "complete" } else { word(*status) };
        table.row([name, kind, word, read]);
        let mut mine: Vec<String> = Vec::new();
        if let Some(status) = status {
            mine.extend(status.error.clone());
            mine.extend(
                status.scopes.iter().filter_map(|scope| {
                    Some(format!("{}: {}", scope.scope, scope.partial.as_ref()?))
                }),
            );
        }
        let how = followed.get(*name).map(|followed| following(followed, now));
        notes.push((how, mine));
    }
    let lines = table.lines("  ", |_, column, cell| match (column, cell) {
        (2, "failed" | "partial") => style.red(cell),
        _ => cell.to_owned(),
    });
    let mut out = Vec::new();
    for (line, (how, notes)) in lines.into_iter().zip(notes) {
        out.push(line);
        out.extend(how.map(|how| format!("    {}", print::shown(&how))));
        out.extend(
            notes.iter().map(|note| format!("    {} {}", style.red("!"), print::shown(note))),
        );
    }
    out
}

/// When the daemon would run next: the schedule, or earlier where something falls due.
fn next_run(config: &Config, due: Option<Time>, now: Time) -> Option<Time> {
    let tick = config.schedule.cron.after(&now).next();
    match (tick, due.map(|due| due.max(now))) {
        (Some(tick), Some(due)) => Some(tick.min(due)),
        (tick, due) => tick.or(due),
    }
}
