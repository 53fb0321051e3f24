use super::*;
use crate::store::memory::MemoryStore;

#[tokio::test]
async fn a_write_that_ends_in_a_fault_of_this_program_is_not_the_last_one() {
    let memory = MemoryStore::default();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    store.prepare().unwrap();
    let feeds = KeptFeeds::default();
    feeds.follows("corp", FollowState::new(FollowMode::Poll, Time::default()));
    let kept = || store.reader().unwrap().unwrap().followed().unwrap();
    memory.panics_once();
    for expected in [0, 1] {
        feeds.keep(&store);
        let written = async {
            while feeds.writing.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), written).await.expect("it ends");
        assert_eq!(kept().len(), expected);
    }
}
