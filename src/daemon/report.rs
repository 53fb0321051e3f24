//! What the log is told of a run, and what not: a warning that is the same as in the run before is
//! logged once, until it changes or goes.

use std::collections::{BTreeMap, BTreeSet};

use super::attempt::Ran;
use super::drift::Drift;
use super::schedule::Why;
use crate::config::ConfigError;
use crate::model::{Diagnostic, DiagnosticCode, FollowMode, Subject};
use crate::plan::{HeldHead, Summary};
use crate::source::feed::FollowState;
use crate::source::{SourceError, SourceErrorKind};
use crate::store::StoreErrorKind;
use crate::sync::{RunErrorKind, SourceOutcome, SourceResult};

/// What makes a diagnostic the same as one of an earlier run, in whatever words.
type Key = (DiagnosticCode, Option<String>, Subject);

fn key(diagnostic: &Diagnostic) -> Key {
    (diagnostic.code, diagnostic.source.clone(), diagnostic.subject.clone())
}

/// What something is said of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogTopic {
    /// The store, as it is looked at between runs.
    Store,
    /// Which daemon leads.
    Lead,
    /// By whose configuration the store stands.
    Configuration,
    /// Runs that came to nothing.
    Run,
    /// Removals that are held.
    Held,
    /// How a source's read went.
    Source(String),
    /// What a source's feed told and could not be committed.
    Feed(String),
}

/// What is said, but for its words: the same again is no news.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogKind {
    /// The store has this kind of fault.
    Store(StoreErrorKind),
    /// A run, or a commit, came to nothing for this.
    Run(RunErrorKind),
    /// It ended by a fault of this program, which said so.
    Panicked(String),
    /// A source could not be read for this.
    Failed(SourceErrorKind),
    /// These scopes of a source could not be read in full.
    Partial(Vec<&'static str>),
    /// This plan is held.
    Held(String),
    /// It is another one than this daemon's.
    Another,
}

/// What was said and still holds, by topic.
#[derive(Debug, Default)]
pub struct LogDedup {
    by_topic: BTreeMap<LogTopic, LogKind>,
    diagnostics: BTreeSet<Key>,
    /// How sources are followed, and why not better.
    feeds: BTreeMap<String, (FollowMode, Option<String>)>,
}

impl LogDedup {
    /// Whether `kind` is news about `topic`.
    pub fn news(&mut self, topic: LogTopic, kind: LogKind) -> bool {
        self.by_topic.insert(topic, kind.clone()) != Some(kind)
    }

    /// Whether it is news how `source` is followed.
    pub fn follows(&mut self, source: &str, state: &FollowState) -> bool {
        let now = (state.how, state.why.clone().or_else(|| state.lacks.clone()));
        self.feeds.insert(source.to_owned(), now.clone()) != Some(now)
    }

    /// Whatever was told of how sources are followed is told again.
    pub fn feeds_anew(&mut self) {
        self.feeds.clear();
    }

    /// There is nothing to say about `topic` any more. Returns whether there was.
    pub fn clear(&mut self, topic: &LogTopic) -> bool {
        self.by_topic.remove(topic).is_some()
    }

    /// Those of `diagnostics` whose like (the same kind about the same thing) was not there before.
    /// `all`: what is not among them is over; otherwise only some sources spoke, and the silence of
    /// the others means nothing.
    pub fn fresh<'a>(&mut self, diagnostics: &'a [Diagnostic], all: bool) -> Vec<&'a Diagnostic> {
        let fresh = diagnostics.iter().filter(|it| !self.diagnostics.contains(&key(it)));
        let fresh: Vec<&Diagnostic> = fresh.collect();
        let known = std::mem::take(&mut self.diagnostics);
        self.diagnostics = diagnostics.iter().map(key).collect();
        if !all {
            self.diagnostics.extend(known);
        }
        fresh
    }
}

/// Logs what is worth telling, each with its code.
pub fn log_diagnostics<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) {
    for diagnostic in diagnostics {
        tracing::warn!(code = diagnostic.code.as_str(), "{diagnostic}");
    }
}

/// A configuration that is not taken; in a sentence, since its faults are in the log.
#[derive(Debug, thiserror::Error)]
#[error("{}", sentence(.0))]
pub struct Faulty(ConfigError);

/// Logs each fault of a configuration.
pub fn log_faults(error: ConfigError) -> Faulty {
    if let ConfigError::Faults(faults) = &error {
        for fault in &faults.faults {
            tracing::error!(
                file = %faults.file_of(fault).display(),
                line = fault.line,
                column = fault.column,
                key = fault.key,
                "{fault}"
            );
        }
    }
    Faulty(error)
}

fn sentence(error: &ConfigError) -> String {
    let faults = match error {
        ConfigError::Faults(faults) => faults,
        ConfigError::Unreadable { .. } => return error.to_string(),
    };
    let count = faults.faults.len();
    let count = if count == 1 { "1 fault".to_owned() } else { format!("{count} faults") };
    let first = faults.faults.first().map(|fault| match &fault.file {
        None => format!(", the first at {fault}"),
        Some(file) => format!(", the first at {}:{fault}", file.display()),
    });
    format!("`{}` has {count}{}", faults.file.display(), first.unwrap_or_default())
}

/// Why a source's read was not whole, for people and for programs; `None`: it was, or nobody asked.
fn fault(source: &SourceOutcome) -> Option<(String, LogKind)> {
    match &source.result {
        SourceResult::Complete(_) | SourceResult::NotAsked => None,
        SourceResult::Failed(SourceError { kind, message, .. }) => {
            Some((message.clone(), LogKind::Failed(*kind)))
        }
        SourceResult::Partial(scopes) => {
            let partial = scopes.iter().filter_map(|it| Some((it.scope, it.partial.as_ref()?)));
            let why: Vec<String> =
                partial.clone().map(|(scope, why)| format!("{scope}: {why}")).collect();
            let told = format!("not everything could be read: {}", why.join("; "));
            Some((told, LogKind::Partial(partial.map(|(scope, _)| scope).collect())))
        }
    }
}

/// How a run's sources fared, in a few words.
fn sources(sources: &[SourceOutcome]) -> String {
    let words = sources.iter().map(|source| {
        let word = match source.result {
            SourceResult::Complete(_) => "complete",
            SourceResult::Partial(_) => "partial",
            SourceResult::Failed(_) => "failed",
            SourceResult::NotAsked => "not asked",
        };
        format!("{} {word}", source.name)
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Logs what `ran` came to. `all`: every source was asked.
pub fn ran(told: &mut LogDedup, ran: &Ran, why: Why, all: bool) {
    let outcome = &ran.outcome;
    let (summary, sources) = (ran.summary.unwrap_or_default(), sources(&outcome.sources));
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
    } = summary;
    let generation = outcome.generation;
    if generation == outcome.before {
        tracing::info!(why = why.as_str(), generation, sources, "run done: nothing changed");
    } else {
        tracing::info!(
            why = why.as_str(),
            generation,
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
            sources,
            "run done: generation {generation} is committed"
        );
    }
    for source in &outcome.sources {
        one_source(told, source);
    }
    log_diagnostics(told.fresh(&outcome.diagnostics, all));
    self::held(told, outcome.held.as_ref());
}

/// Logs what came of what a feed told; its changes are told already where they are few.
pub fn ingested(told: &mut LogDedup, source: &str, ran: &Ran) {
    let outcome = &ran.outcome;
    let generation = outcome.generation;
    told.clear(&LogTopic::Feed(source.to_owned()));
    if generation == outcome.before {
        tracing::debug!(source, generation, "a feed told something that changes nothing here");
    } else if let Some(summary) = &ran.summary {
        let Summary { users_created, users_disabled, users_deprovisioned, .. } = *summary;
        let Summary { grants_added, grants_removed, pairs_gained, pairs_lost, held, .. } = *summary;
        tracing::info!(
            source,
            generation,
            users_created,
            users_disabled,
            users_deprovisioned,
            grants_added,
            grants_removed,
            pairs_gained,
            pairs_lost,
            held,
            "told by its feed: generation {generation} is committed"
        );
    }
    log_diagnostics(told.fresh(&outcome.diagnostics, false));
    self::held(told, outcome.held.as_ref());
}

/// Logs why what a feed told came to nothing.
pub fn feed_failed(told: &mut LogDedup, source: &str, why: &str, kind: LogKind) {
    let is_own = matches!(kind, LogKind::Panicked(_));
    if !told.news(LogTopic::Feed(source.to_owned()), kind) {
        return;
    }
    if is_own {
        tracing::error!(
            source,
            "source `{source}`: following it broke off, it is tried again, and nothing was changed, or \
             everything: {why}"
        );
    } else {
        tracing::error!(source, "what the feed told could not be committed: {why}");
    }
}

/// Logs what a feed did not tell.
pub fn drift(drift: &Drift) {
    let Drift { source, changes, first } = drift;
    if *changes == 0 {
        tracing::debug!(source, "the last full read found what the feed had told");
        return;
    }
    tracing::warn!(
        source,
        changes,
        "source `{source}`: its feed did not tell what the last full read found: {}{}",
        first.join("; "),
        if usize::try_from(*changes).is_ok_and(|changes| changes > first.len()) {
            "; …"
        } else {
            ""
        }
    );
}

/// Logs how a source is followed: what stands in the way means that changes
/// are seen later.
pub fn follows(source: &str, state: &FollowState) {
    let mode = state.how.as_str();
    match (state.how, &state.why) {
        (FollowMode::Full, why) => {
            let why = why.as_deref().unwrap_or("unknown");
            tracing::info!(
                source,
                mode,
                why,
                "source `{source}`: changes are seen by full reads alone: {why}"
            );
        }
        (_, Some(why)) => tracing::warn!(
            source,
            mode,
            why,
            "source `{source}`: its feed is held up, changes are seen by full reads until it goes \
             on: {why}"
        ),
        (_, None) => {
            tracing::info!(source, mode, "source `{source}` is followed");
            if let Some(lacks) = &state.lacks {
                tracing::warn!(source, mode, lacks, "source `{source}`: {lacks}");
            }
        }
    }
}

fn one_source(told: &mut LogDedup, source: &SourceOutcome) {
    if matches!(source.result, SourceResult::NotAsked) {
        return;
    }
    let topic = LogTopic::Source(source.name.clone());
    match fault(source) {
        None => {
            if told.clear(&topic) {
                tracing::info!(source = source.name, "source `{}` is whole again", source.name);
            }
        }
        Some((fault, kind)) => {
            if told.news(topic, kind) {
                let since = source.mirror_at.map(crate::model::rfc3339);
                tracing::warn!(
                    source = source.name,
                    last_complete_read = since.unwrap_or_else(|| "never".to_owned()),
                    "source `{}`: {fault}",
                    source.name
                );
            }
        }
    }
}

/// Logs that something is held, or not any more.
pub fn held(told: &mut LogDedup, held: Option<&HeldHead>) {
    let Some(held) = held else {
        if told.clear(&LogTopic::Held) {
            tracing::info!("no removals are held any more");
        }
        return;
    };
    if told.news(LogTopic::Held, LogKind::Held(held.id.clone())) {
        let id = &held.id;
        tracing::warn!(
            plan = id,
            changes = held.changes,
            lost_pairs = held.lost_pairs,
            "removals are held: {}; look with `idpsyncd plan show {id}`, then `idpsyncd plan \
             approve {id}` or `idpsyncd plan discard {id}`",
            held.why.join("; ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::ScopeReport;

    #[test]
    fn what_repeats_is_told_once_until_it_changes_or_goes() {
        let mut told = LogDedup::default();
        let source = |name: &str| LogTopic::Source(name.to_owned());
        let (late, refused) = (SourceErrorKind::TimedOut, SourceErrorKind::Answered(49));
        assert!(told.news(source("a"), LogKind::Failed(refused)));
        assert!(!told.news(source("a"), LogKind::Failed(refused)));
        assert!(told.news(source("b"), LogKind::Failed(refused)));
        assert!(told.news(source("a"), LogKind::Failed(late)));
        assert!(told.news(source("a"), LogKind::Partial(vec!["users"])));
        assert!(told.news(source("a"), LogKind::Failed(late)));
        assert!(told.clear(&source("a")));
        assert!(!told.clear(&source("a")));
        assert!(told.news(source("a"), LogKind::Failed(late)));
    }

    #[test]
    fn a_warning_that_went_and_came_back_is_told_again() {
        let mut told = LogDedup::default();
        assert_eq!(fresh(&mut told, &["a", "b"], true), ["a", "b"]);
        assert_eq!(fresh(&mut told, &["a", "b"], true), [""; 0]);
        assert_eq!(fresh(&mut told, &["a", "c"], true), ["c"]);
        assert_eq!(fresh(&mut told, &["a", "b"], true), ["b"]);
    }

    /// What is told of warnings about these roles.
    fn fresh(told: &mut LogDedup, roles: &[&str], all: bool) -> Vec<String> {
        let about = |role: &&str| {
            let subject = Subject::Role((*role).to_owned());
            Diagnostic::warning(DiagnosticCode::RoleUnread, subject, *role)
        };
        let diagnostics: Vec<Diagnostic> = roles.iter().map(about).collect();
        told.fresh(&diagnostics, all).into_iter().map(|it| it.message.clone()).collect()
    }

    #[test]
    fn what_is_said_of_the_same_thing_in_other_words_is_no_news_and_of_another_thing_it_is() {
        let of = |source: &str, message: &str| {
            Diagnostic::warning(DiagnosticCode::KnownAlone, Subject::None, message).said_by(source)
        };
        let mut told = LogDedup::default();
        assert_eq!(told.fresh(&[of("ldap", "3 people")], true).len(), 1);
        assert_eq!(told.fresh(&[of("ldap", "4 people")], true).len(), 0);
        assert_eq!(told.fresh(&[of("ldap", "4 people"), of("corp", "4 people")], true).len(), 1);
        let other = Diagnostic { code: DiagnosticCode::OddValue, ..of("ldap", "4 people") };
        assert_eq!(told.fresh(&[other], true).len(), 1);
    }

    #[test]
    fn a_run_of_some_sources_does_not_make_the_others_warnings_new() {
        let mut told = LogDedup::default();
        fresh(&mut told, &["a", "b"], true);
        assert_eq!(fresh(&mut told, &["c"], false), ["c"]);
        assert_eq!(fresh(&mut told, &["a", "b", "c"], true), [""; 0]);
    }

    #[test]
    fn a_partial_read_is_told_scope_by_scope() {
        let scope = |scope, partial: Option<&str>| ScopeReport {
            scope,
            count: 3,
            partial: partial.map(str::to_owned),
        };
        let source = SourceOutcome {
            name: "ldap".to_owned(),
            kind: "ldap",
            result: SourceResult::Partial(vec![
                scope("users", None),
                scope("groups", Some("size limit")),
                scope("memberships", Some("cut off")),
            ]),
            mirror_at: None,
        };
        let (told, kind) = fault(&source).unwrap();
        assert_eq!(told, "not everything could be read: groups: size limit; memberships: cut off");
        assert_eq!(kind, LogKind::Partial(vec!["groups", "memberships"]));
    }
}
