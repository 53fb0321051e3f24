//! Metrics for Prometheus (OpenMetrics text). Label sets are bounded: protocols, results, kinds of
//! change, and the names of configured sources; never a user.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::authorizer::{Authorizer, Credential};
use super::listen::Counts;
use super::provision::Observer;
use crate::model::Time;
use crate::plan::Summary;
use crate::source::feed::FollowState;
use crate::sync::{Outcome, SourceResult};

/// The protocols in which gateways ask.
const PROTOCOLS: [&str; 5] = ["grpc", "http", "auth_request", "forward_auth", "authzen"];
/// What answers come to: the words of [`super::answer::Answer::word`].
const RESULTS: [&str; 5] = ["allow", "deny", "unauthenticated", "session_ended", "unavailable"];

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Asked {
    protocol: &'static str,
    result: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Protocol {
    protocol: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct SourceRead {
    source: String,
    result: &'static str,
}

/// Where the store was read, in one word.
pub(super) fn read_from(by_standby: bool) -> &'static str {
    if by_standby { "standby" } else { "primary" }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ReadFrom {
    from: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct SourceName {
    source: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Following {
    source: String,
    mode: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Listener {
    listener: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ChangeLabel {
    kind: &'static str,
}

/// What is counted for one protocol, at hand without a lock.
struct Line {
    protocol: &'static str,
    results: Vec<(&'static str, Counter)>,
    /// Of those the ones whose credential is an access token.
    by_token: Vec<(&'static str, Counter)>,
    seconds: Histogram,
}

fn counters(
    family: &Family<Asked, Counter>,
    protocol: &'static str,
) -> Vec<(&'static str, Counter)> {
    let counter = |result| family.get_or_create_owned(&Asked { protocol, result });
    RESULTS.into_iter().map(|result| (result, counter(result))).collect()
}

/// Shows what is answered, and gives what it is counted on.
fn register_decisions(registry: &mut Registry, exchanges: &Family<Ended, Counter>) -> Vec<Line> {
    let decisions = Family::<Asked, Counter>::default();
    let by_token = Family::<Asked, Counter>::default();
    // From 1 µs to about 4 s: a decision from memory up to a look-up.
    let seconds = Family::<Protocol, Histogram>::new_with_constructor(|| {
        Histogram::new(exponential_buckets(1e-6, 4.0, 12))
    });
    let lines = PROTOCOLS
        .into_iter()
        .map(|protocol| Line {
            protocol,
            results: counters(&decisions, protocol),
            by_token: counters(&by_token, protocol),
            seconds: seconds.get_or_create_owned(&Protocol { protocol }),
        })
        .collect();
    registry.register("decisions", "Requests answered, by protocol and result", decisions);
    registry.register(
        "token_decisions",
        "Of the decisions those about a request that bears an access token",
        by_token,
    );
    registry.register(
        "token_exchanges",
        "Access tokens exchanged for a JWT or not, by result",
        exchanges.clone(),
    );
    registry.register_with_unit(
        "decision_duration",
        "How long answers took",
        Unit::Seconds,
        seconds,
    );
    lines
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    lines: Vec<Line>,
    exchanges: Family<Ended, Counter>,
    log_outs: Family<Ended, Counter>,
    ended_sessions: Gauge,
    sessions_followed: Family<SourceName, Gauge>,
    syncs: Family<Ended, Counter>,
    last_sync: Gauge,
    reads: Family<SourceRead, Counter>,
    ages: Family<SourceName, Gauge>,
    changes: Family<ChangeLabel, Counter>,
    held: Gauge,
    generation: Gauge,
    users: Gauge,
    ready: Gauge,
    leader: Gauge,
    lookups: Family<Ended, Counter>,
    lookup_seconds: Histogram,
    lookups_running: Gauge,
    connections: Family<Listener, Gauge>,
    too_slow: Family<Listener, Counter>,
    following: Family<Following, Gauge>,
    lags: Family<SourceName, Gauge>,
    store_lag: Family<ReadFrom, Gauge<f64, AtomicU64>>,
    drift: Family<SourceName, Gauge>,
    /// How sources are followed, by name.
    feeds: Mutex<BTreeMap<String, FollowState>>,
    /// Ages are set and written in one go.
    writing: Mutex<()>,
}

impl Metrics {
    /// Nothing has been counted yet. `syncs`: this process syncs as well; without it what syncs
    /// count is not shown at all, since zero would be a lie.
    #[must_use]
    pub fn new(syncs: bool) -> Metrics {
        let mut registry = Registry::with_prefix("idpsyncd");
        let exchanges = Family::default();
        let metrics = Metrics {
            lines: register_decisions(&mut registry, &exchanges),
            exchanges,
            log_outs: Family::default(),
            ended_sessions: Gauge::default(),
            sessions_followed: Family::default(),
            syncs: Family::default(),
            last_sync: Gauge::default(),
            reads: Family::default(),
            ages: Family::default(),
            changes: Family::default(),
            held: Gauge::default(),
            generation: Gauge::default(),
            users: Gauge::default(),
            ready: Gauge::default(),
            leader: Gauge::default(),
            lookups: Family::default(),
            lookup_seconds: Histogram::new(exponential_buckets(1e-3, 2.0, 13)),
            lookups_running: Gauge::default(),
            connections: Family::default(),
            too_slow: Family::default(),
            following: Family::default(),
            lags: Family::default(),
            store_lag: Family::default(),
            drift: Family::default(),
            feeds: Mutex::default(),
            registry: Registry::default(),
            writing: Mutex::new(()),
        };
        metrics.register_state(&mut registry);
        if syncs {
            metrics.register_syncs(&mut registry);
        }
        Metrics { registry, ..metrics }
    }

    /// Shows what is answered from, and to whom.
    fn register_state(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "source_age",
            "How old the last complete read of a source is",
            Unit::Seconds,
            self.ages.clone(),
        );
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register(
            "connections_too_slow",
            "Connections that were cut: no whole head of a request came in time",
            self.too_slow.clone(),
        );
        registry.register(
            "backchannel_logouts",
            "Log-outs that identity providers told of, by result",
            self.log_outs.clone(),
        );
        registry.register(
            "ended_sessions",
            "How long the list of sessions is that ended before their tokens",
            self.ended_sessions.clone(),
        );
        registry.register("generation", "The generation answered from", self.generation.clone());
        registry.register("users", "Users in that generation", self.users.clone());
        registry.register(
            "ready",
            "1: a generation is loaded and fresh; 0: every request is refused",
            self.ready.clone(),
        );
        registry.register(
            "leader",
            "1: this daemon leads those on its store, and reads the sources; 0: it does not",
            self.leader.clone(),
        );
    }

    /// Shows how sources are followed between full reads, and the store.
    fn register_feeds(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "store_lag",
            "For how long it has not been known that everything in the store is answered from, by where that is read",
            Unit::Seconds,
            self.store_lag.clone(),
        );
        registry.register(
            "source_sessions_followed",
            "1: it is known of every session at a source when it ends; 0: not of all, or of none",
            self.sessions_followed.clone(),
        );
        registry.register(
            "source_following",
            "1: how a source is followed between full reads (persist, poll or full)",
            self.following.clone(),
        );
        registry.register_with_unit(
            "source_lag",
            "Since when the mirror of a source that is followed was last known to be current",
            Unit::Seconds,
            self.lags.clone(),
        );
        registry.register(
            "source_drift",
            "What the last full read of a source found that no feed had told",
            self.drift.clone(),
        );
    }

    /// Shows what runs and look-ups did.
    fn register_syncs(&self, registry: &mut Registry) {
        registry.register("syncs", "Runs, by result", self.syncs.clone());
        registry.register_with_unit(
            "last_sync_timestamp",
            "When the last run that came to an end began, since 1970",
            Unit::Seconds,
            self.last_sync.clone(),
        );
        registry.register("source_reads", "Reads, by source and result", self.reads.clone());
        self.register_feeds(registry);
        registry.register("changes", "Changes committed by runs, by kind", self.changes.clone());
        registry.register("held_changes", "Changes that the guard holds", self.held.clone());
        registry.register("lookups", "Just-in-time look-ups, by result", self.lookups.clone());
        registry.register_with_unit(
            "lookup_duration",
            "How long just-in-time look-ups took",
            Unit::Seconds,
            self.lookup_seconds.clone(),
        );
        registry.register(
            "lookups_running",
            "Just-in-time look-ups under way",
            self.lookups_running.clone(),
        );
    }

    /// A request in `protocol` was answered: `result` is [`super::answer::Answer::word`].
    pub fn decided(&self, protocol: &str, by: Credential, result: &str, took: Duration) {
        let Some(line) = self.lines.iter().find(|line| line.protocol == protocol) else { return };
        line.seconds.observe(took.as_secs_f64());
        let one = |counters: &[(&'static str, Counter)]| {
            if let Some((_, counter)) = counters.iter().find(|(word, _)| *word == result) {
                counter.inc();
            }
        };
        one(&line.results);
        if by == Credential::Token {
            one(&line.by_token);
        }
    }

    /// A request in `protocol` was answered that may ask several things: `results` are words of
    /// [`super::answer::Answer::word`], each with how often.
    pub fn answered(&self, protocol: &str, results: &[(&str, u64)], took: Duration) {
        let Some(line) = self.lines.iter().find(|line| line.protocol == protocol) else { return };
        line.seconds.observe(took.as_secs_f64());
        for (result, count) in results.iter().filter(|(_, count)| *count > 0) {
            if let Some((_, counter)) = line.results.iter().find(|(word, _)| word == result) {
                counter.inc_by(*count);
            }
        }
    }

    /// An access token was exchanged, or not: `made`, `refused` or `unavailable`.
    pub fn exchanged(&self, result: &'static str) {
        self.exchanges.get_or_create(&Ended { result }).inc();
    }

    /// Somebody told of a log-out: it is `ended`, `refused` or `failed`.
    pub fn logged_out(&self, result: &'static str) {
        self.log_outs.get_or_create(&Ended { result }).inc();
    }

    /// What the connections of a listener are counted on: `grpc` or `http`.
    #[must_use]
    pub fn connections(&self, listener: &'static str) -> Counts {
        let listener = Listener { listener };
        Counts {
            open: self.connections.get_or_create_owned(&listener),
            too_slow: self.too_slow.get_or_create_owned(&listener),
        }
    }

    /// A run ended. `summary` is of what was committed; absent: nothing was planned.
    pub fn ran(&self, outcome: &Outcome, summary: Option<&Summary>) {
        let result = if outcome.incomplete() { "partial" } else { "complete" };
        self.syncs.get_or_create(&Ended { result }).inc();
        self.last_sync.set(outcome.at.timestamp());
        for source in &outcome.sources {
            let result = match source.result {
                SourceResult::Complete(_) => "complete",
                SourceResult::Partial(_) => "partial",
                SourceResult::Failed(_) => "failed",
                SourceResult::NotAsked => continue,
            };
            self.reads.get_or_create(&SourceRead { source: source.name.clone(), result }).inc();
        }
        self.held(outcome.held.as_ref().map_or(0, |held| held.changes));
        self.changed(outcome, summary);
    }

    fn changed(&self, outcome: &Outcome, summary: Option<&Summary>) {
        let Some(summary) = summary.filter(|_| outcome.generation != outcome.before) else {
            return;
        };
        for (kind, count) in [
            ("user_created", summary.users_created),
            ("user_changed", summary.users_changed),
            ("user_disabled", summary.users_disabled),
            ("user_deprovisioned", summary.users_deprovisioned),
            ("role_changed", summary.roles_changed),
            ("grant_added", summary.grants_added),
            ("grant_removed", summary.grants_removed),
        ] {
            self.changes.get_or_create(&ChangeLabel { kind }).inc_by(count);
        }
    }

    /// A run came to nothing.
    pub fn run_failed(&self) {
        self.syncs.get_or_create(&Ended { result: "failed" }).inc();
    }

    /// What a feed told was committed.
    pub fn ingested(&self, outcome: &Outcome, summary: Option<&Summary>) {
        self.held(outcome.held.as_ref().map_or(0, |held| held.changes));
        self.changed(outcome, summary);
    }

    /// How a source is followed now.
    pub fn follows(&self, source: &str, state: FollowState) {
        self.feeds().insert(source.to_owned(), state);
    }

    /// Whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// No source is followed any more.
    pub fn follows_nobody(&self) {
        self.feeds().clear();
        self.drift.clear();
    }

    /// What a full read found that no feed had told.
    pub fn drifted(&self, source: &str, changes: u64) {
        let source = SourceName { source: source.to_owned() };
        self.drift.get_or_create(&source).set(i64::try_from(changes).unwrap_or(i64::MAX));
    }

    fn feeds(&self) -> MutexGuard<'_, BTreeMap<String, FollowState>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many changes are held.
    pub fn held(&self, changes: u64) {
        self.held.set(i64::try_from(changes).unwrap_or(i64::MAX));
    }

    /// Everything as OpenMetrics text; what depends on the moment is asked of `authorizer`.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn encode(&self, authorizer: &Authorizer) -> Result<String, fmt::Error> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.ready.set(i64::from(authorizer.not_ready().is_none()));
        let running = authorizer.lookups_running();
        self.lookups_running.set(i64::try_from(running).unwrap_or(i64::MAX));
        let ended = authorizer.sessions().map_or(0, |sessions| sessions.len());
        self.ended_sessions.set(i64::try_from(ended).unwrap_or(i64::MAX));
        self.sessions_followed.clear();
        let followed = authorizer.ledger().map(|ledger| ledger.followed());
        for (source, follows) in followed.into_iter().flatten() {
            let source = SourceName { source };
            self.sessions_followed.get_or_create(&source).set(i64::from(follows));
        }
        self.ages.clear();
        if let Some(loaded) = &*authorizer.watcher().loaded() {
            self.generation.set(i64::try_from(loaded.replica.generation()).unwrap_or(i64::MAX));
            self.users.set(i64::try_from(loaded.replica.users()).unwrap_or(i64::MAX));
            let now = Utc::now();
            for (source, read_at) in &loaded.reads {
                if let Some(read_at) = read_at {
                    let source = SourceName { source: source.clone() };
                    self.ages.get_or_create(&source).set(age(now, *read_at));
                }
            }
        }
        self.store_lag.clear();
        if let Some((lag, by_standby)) = authorizer.watcher().lag() {
            let from = read_from(by_standby);
            self.store_lag.get_or_create(&ReadFrom { from }).set(lag.as_secs_f64());
        }
        self.following.clear();
        self.lags.clear();
        let now = Utc::now();
        for (source, state) in &*self.feeds() {
            let source = source.clone();
            if let Some(lag) = state.shown(None).lag(now) {
                let lag = i64::try_from(lag.as_secs()).unwrap_or(i64::MAX);
                self.lags.get_or_create(&SourceName { source: source.clone() }).set(lag);
            }
            self.following.get_or_create(&Following { source, mode: state.how.as_str() }).set(1);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Observer for Metrics {
    fn ended(&self, result: &'static str, took: Duration) {
        self.lookups.get_or_create(&Ended { result }).inc();
        self.lookup_seconds.observe(took.as_secs_f64());
    }
}

fn age(now: Time, then: Time) -> i64 {
    now.signed_duration_since(then).num_seconds().max(0)
}
