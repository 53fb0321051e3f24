//! Which sessions have ended, in memory: what each token that was verified is held against.
//!
//! A request reads what was put in place last, and waits for nobody. Who adds to it waits for the others
//! who do: the thread that follows the store, and whoever is told of a log-out here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::model::{SessionEnd, SessionRealm, SessionScope, Time};

/// So much longer than a token lives it is known that its session has ended: what clocks may differ by.
const BEYOND: i64 = 120;

/// So many that came last are copied with each that comes; the rest are copied once in so many.
const YOUNG: usize = 512;

/// What a token says of the session that it was issued in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenSession {
    /// Whose session.
    pub realm: Arc<SessionRealm>,
    /// Its `sid`, where it has one.
    pub sid: Option<Box<str>>,
    /// Its `sub`, where it has one.
    pub sub: Option<Box<str>>,
    /// Its `azp`, the client that it was issued to, where it has one.
    pub azp: Option<Box<str>>,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
}

/// The list. Shared by all who answer, through every reload.
#[derive(Debug, Default)]
pub struct EndedSessions {
    now: ArcSwap<Layers>,
    adding: Mutex<()>,
    /// For how long after it was issued a token counts, in seconds.
    lifetime: AtomicI64,
}

/// The list as it is at one moment.
#[derive(Clone, Debug, Default)]
struct Layers {
    old: Arc<Realms>,
    young: Realms,
}

type Realms = HashMap<SessionRealm, Ended>;

/// What has ended in one realm, and the last `iat` that does not count any more.
#[derive(Clone, Debug, Default)]
struct Ended {
    sessions: HashMap<Box<str>, i64>,
    subjects: HashMap<Box<str>, i64>,
    clients: HashMap<Box<str>, i64>,
    everybody: Option<i64>,
}

impl EndedSessions {
    /// An empty list.
    #[must_use]
    pub fn new() -> Arc<EndedSessions> {
        Arc::default()
    }

    /// Sets for how long after it was issued a token counts.
    pub fn tokens_live(&self, lifetime: Duration) {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.lifetime.store(seconds, Ordering::Relaxed);
    }

    /// Sets for how long after it was issued a token counts, unless that is longer already: two configurations
    /// are in force one after the other, and both go by this list.
    pub fn tokens_live_at_least(&self, lifetime: Duration) {
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.lifetime.fetch_max(seconds, Ordering::Relaxed);
    }

    /// The `last_iat` before which nothing need be known at `now`: no token of then counts any more.
    #[must_use]
    pub fn forgets(&self, now: Time) -> i64 {
        let lifetime = self.lifetime.load(Ordering::Relaxed);
        now.timestamp().saturating_sub(lifetime).saturating_sub(BEYOND)
    }

    /// Whether the session that `token` was issued in has ended.
    #[must_use]
    pub fn has_ended(&self, token: &TokenSession) -> bool {
        let now = self.now.load();
        [&*now.old, &now.young]
            .into_iter()
            .filter_map(|realms| realms.get(&*token.realm))
            .any(|ended| ended.covers(token))
    }

    /// Puts `ended` on the list, and takes off what no token can outlive at `now`.
    pub fn add(&self, ended: &[SessionEnd], now: Time) {
        if ended.is_empty() {
            return;
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut layers = Layers::clone(&self.now.load());
        ended.iter().for_each(|end| add(&mut layers.young, end));
        if len(&layers.young) > YOUNG {
            let mut old = Realms::clone(&layers.old);
            for (realm, young) in layers.young.drain() {
                old.entry(realm).or_default().join(young);
            }
            let forget = self.forgets(now);
            old.retain(|_, ended| ended.forget(forget));
            layers.old = Arc::new(old);
        }
        self.now.store(Arc::new(layers));
    }

    /// How much is on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        let now = self.now.load();
        len(&now.old).saturating_add(len(&now.young))
    }

    /// Whether nothing is on the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn len(realms: &Realms) -> usize {
    realms.values().map(Ended::len).sum()
}

fn add(realms: &mut Realms, end: &SessionEnd) {
    let ended = match realms.get_mut(&end.realm) {
        Some(ended) => ended,
        None => realms.entry(end.realm.clone()).or_default(),
    };
    match &end.scope {
        SessionScope::Session(sid) => later(&mut ended.sessions, sid.as_str().into(), end.last_iat),
        SessionScope::Subject(sub) => later(&mut ended.subjects, sub.as_str().into(), end.last_iat),
        SessionScope::Client(id) => later(&mut ended.clients, id.as_str().into(), end.last_iat),
        SessionScope::Everybody => ended.everybody = ended.everybody.max(Some(end.last_iat)),
    }
}

/// The later of two ends of the same counts.
fn later(ends: &mut HashMap<Box<str>, i64>, id: Box<str>, last_iat: i64) {
    let known = ends.entry(id).or_insert(last_iat);
    *known = last_iat.max(*known);
}

impl Ended {
    fn covers(&self, token: &TokenSession) -> bool {
        let end = |ends: &HashMap<Box<str>, i64>, id: &Option<Box<str>>| {
            ends.get(id.as_deref()?).copied()
        };
        let ends = [
            end(&self.sessions, &token.sid),
            end(&self.subjects, &token.sub),
            end(&self.clients, &token.azp),
            self.everybody,
        ];
        ends.into_iter().flatten().any(|last_iat| token.iat <= last_iat)
    }

    fn join(&mut self, other: Ended) {
        other.sessions.into_iter().for_each(|(id, iat)| later(&mut self.sessions, id, iat));
        other.subjects.into_iter().for_each(|(id, iat)| later(&mut self.subjects, id, iat));
        other.clients.into_iter().for_each(|(id, iat)| later(&mut self.clients, id, iat));
        self.everybody = self.everybody.max(other.everybody);
    }

    /// Forgets what has a `last_iat` before this; whether anything is left.
    fn forget(&mut self, before: i64) -> bool {
        self.sessions.retain(|_, last_iat| *last_iat >= before);
        self.subjects.retain(|_, last_iat| *last_iat >= before);
        self.clients.retain(|_, last_iat| *last_iat >= before);
        self.everybody = self.everybody.filter(|last_iat| *last_iat >= before);
        self.len() > 0
    }

    fn len(&self) -> usize {
        let named = [&self.sessions, &self.subjects, &self.clients].map(HashMap::len);
        named.iter().sum::<usize>() + usize::from(self.everybody.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn now() -> Time {
        Time::from_timestamp(NOW, 0).unwrap()
    }

    fn realm() -> SessionRealm {
        SessionRealm::Source("corp".to_owned())
    }

    fn end(scope: SessionScope, last_iat: i64) -> SessionEnd {
        SessionEnd { realm: realm(), scope, last_iat: NOW + last_iat }
    }

    fn session(sid: &str, last_iat: i64) -> SessionEnd {
        end(SessionScope::Session(sid.to_owned()), last_iat)
    }

    fn token(sid: &str, sub: &str, iat: i64) -> TokenSession {
        let text = |text: &str| (!text.is_empty()).then(|| text.into());
        let (sid, sub) = (text(sid), text(sub));
        let azp = Some("app".into());
        TokenSession { realm: Arc::new(realm()), sid, sub, azp, iat: NOW + iat }
    }

    #[test]
    fn a_token_is_over_with_its_session_its_person_or_everybody_if_it_was_issued_by_then() {
        let client = |id: &str| end(SessionScope::Client(id.to_owned()), 10);
        let subject = || end(SessionScope::Subject("ann".to_owned()), 10);
        for (ended, token, over) in [
            (session("s1", 10), token("s1", "ann", 10), true),
            (session("s1", 10), token("s1", "ann", -90), true),
            (session("s1", 10), token("s1", "ann", 11), false),
            (session("s1", 10), token("s2", "ann", 10), false),
            (session("s1", 10), token("", "s1", 10), false),
            (subject(), token("s1", "ann", 10), true),
            (subject(), token("", "ann", 9), true),
            (subject(), token("ann", "bob", 9), false),
            (subject(), token("s1", "ann", 11), false),
            (client("app"), token("s1", "ann", 10), true),
            (client("app"), token("s1", "ann", 11), false),
            (client("other"), token("app", "app", 10), false),
            (end(SessionScope::Everybody, 10), token("", "", 10), true),
            (end(SessionScope::Everybody, 10), token("s1", "ann", 11), false),
        ] {
            let list = EndedSessions::new();
            assert!(!list.has_ended(&token));
            list.add(std::slice::from_ref(&ended), now());
            assert_eq!(list.has_ended(&token), over, "{ended:?} {token:?}");
            let other = SessionRealm::Issuer("corp".to_owned());
            let other = TokenSession { realm: Arc::new(other), ..token };
            assert!(!list.has_ended(&other), "an id means something in its realm alone");
        }
    }

    #[test]
    fn the_later_end_counts_in_whatever_order_they_come() {
        for ends in [[10, 20], [20, 10]] {
            let list = EndedSessions::new();
            for last_iat in ends {
                list.add(&[session("s1", last_iat)], now());
            }
            assert!(list.has_ended(&token("s1", "", 20)), "{ends:?}");
            assert_eq!(list.len(), 1);
        }
    }

    #[test]
    fn the_list_keeps_what_a_token_can_outlive_and_nothing_else() {
        let list = EndedSessions::new();
        list.tokens_live(Duration::from_secs(1000));
        list.add(&[session("over", -1121), session("not yet", -1120)], now());
        // However many come, in however small parts.
        for many in 0..3 * i64::try_from(YOUNG).unwrap() {
            list.add(&[session(&format!("s{many}"), -many % 100)], now());
        }
        assert!(!list.has_ended(&token("over", "", -2000)));
        assert!(list.has_ended(&token("not yet", "", -2000)));
        for many in 0..3 * i64::try_from(YOUNG).unwrap() {
            assert!(list.has_ended(&token(&format!("s{many}"), "", -many % 100)), "{many}");
        }
        assert_eq!(list.len(), 3 * YOUNG + 1);
    }
}
