use super::*;
use crate::model::{SessionRealm, SessionScope};
use crate::store::memory::MemoryStore;

fn out(jti: &str, until: i64) -> LoggedOut {
    let realm = SessionRealm::Source("corp".to_owned());
    let scope = SessionScope::Session(jti.to_owned());
    let end = SessionEnd { realm, scope, last_iat: Utc::now().timestamp() };
    LoggedOut { end, issuer: "https://issuer".to_owned(), jti: jti.to_owned(), until }
}

fn ledger() -> (Arc<SessionLedger>, MemoryStore) {
    let store = MemoryStore::default();
    (SessionLedger::new(EndedSessions::new(), Arc::new(store.clone())), store)
}

fn kept(store: &MemoryStore) -> u64 {
    store.reader().unwrap().map_or(0, |reader| reader.count_ended().unwrap())
}

#[tokio::test]
async fn a_log_out_counts_once() {
    let (ledger, store) = ledger();
    store.prepare().unwrap();
    let until = Utc::now().timestamp() + 100;
    assert_eq!(ledger.hear(out("a", until)).await, LogOutHeard::Kept);
    assert_eq!(ledger.hear(out("a", until)).await, LogOutHeard::Again);
    assert_eq!(ledger.hear(out("b", until)).await, LogOutHeard::Kept);
    let other = LoggedOut { issuer: "https://other".to_owned(), ..out("a", until) };
    assert_eq!(ledger.hear(other).await, LogOutHeard::Kept, "another issuer's");
    assert_eq!((ledger.list.len(), kept(&store)), (2, 2));
}

#[tokio::test]
async fn what_is_remembered_of_log_outs_is_bounded() {
    let (ledger, _) = ledger();
    let now = Utc::now();
    let id = |number: usize| (String::new(), number.to_string());
    for number in 0..3 * KNOWN {
        let until = now.timestamp() + if number % 2 == 0 { 100 } else { -1 };
        assert!(ledger.is_new(id(number), until, now));
        assert!(!ledger.is_new(id(number), until, now));
    }
    assert!(ledger.told.lock().unwrap().len() <= KNOWN);
}

#[tokio::test]
async fn where_the_store_cannot_be_written_it_counts_here_and_is_kept_later() {
    // There is no store before the first run has made it.
    let store = MemoryStore::default();
    let ledger = Arc::new(SessionLedger {
        list: EndedSessions::new(),
        store: Arc::new(store.clone()),
        told: Mutex::default(),
        followed: Mutex::default(),
        patience: Duration::from_millis(1),
    });
    let heard = ledger.hear(out("a", Utc::now().timestamp() + 100)).await;
    assert_eq!(heard, LogOutHeard::NotYet);
    assert_eq!(ledger.list.len(), 1, "it counts here");
    let heard = ledger.hear(out("a", Utc::now().timestamp() + 100)).await;
    assert_eq!(heard, LogOutHeard::NotYet, "whoever was told so may tell again");
    store.prepare().unwrap();
    while kept(&store) == 0 {
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}
