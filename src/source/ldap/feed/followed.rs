//! The task that follows, and whoever waits for what it tells.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use crate::source::SourceError;
use crate::source::feed::{FeedEvent, FollowState, Following};

/// Where a follower's answers go.
pub(super) type Answers = mpsc::Sender<Result<FeedEvent, SourceError>>;

/// A task that follows, asked for one thing at a time. Its panic is that of whoever waits for it, and a wait
/// that is given up loses nothing.
pub(super) struct Followed {
    asked: bool,
    requests: mpsc::Sender<()>,
    answers: mpsc::Receiver<Result<FeedEvent, SourceError>>,
    state: watch::Receiver<FollowState>,
    /// Absent: it has ended, and how is told.
    task: Option<JoinHandle<()>>,
    name: String,
}

impl Followed {
    /// `run` answers until nobody asks or nothing more can be said.
    pub fn new<F>(
        name: &str,
        state: watch::Receiver<FollowState>,
        run: impl FnOnce(mpsc::Receiver<()>, Answers) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (requests, asked) = mpsc::channel(1);
        let (told, answers) = mpsc::channel(1);
        let task = tokio::spawn(run(asked, told));
        let task = Some(task);
        Followed { asked: false, requests, answers, state, task, name: name.to_owned() }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Following for Followed {
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, SourceError>> {
        async move {
            if !self.asked {
                self.asked = self.requests.send(()).await.is_ok();
            }
            let answer = self.answers.recv().await;
            self.asked = false;
            if let Some(answer) = answer {
                return answer;
            }
            let ended = match self.task.take() {
                Some(task) => task.await,
                None => Ok(()),
            };
            if let Some(Ok(panic)) = ended.err().map(JoinError::try_into_panic) {
                std::panic::resume_unwind(panic);
            }
            Err(SourceError::transient(format!("source `{}`: following it has ended", self.name)))
        }
        .boxed()
    }

    fn state(&self) -> watch::Receiver<FollowState> {
        self.state.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use super::*;
    use crate::model::FollowMode;

    #[tokio::test]
    async fn a_panic_of_the_task_that_follows_is_that_of_whoever_waits_for_it() {
        let (_states, state) =
            watch::channel(FollowState::new(FollowMode::Poll, crate::model::Time::default()));
        let run = |mut asked: mpsc::Receiver<()>, told: Answers| async move {
            let _told = told;
            asked.recv().await;
            panic!("no text {}", 7);
        };
        let mut followed = Followed::new("corp", state, run);
        let panic = AssertUnwindSafe(followed.next()).catch_unwind().await.unwrap_err();
        assert_eq!(crate::model::panicked::words_of(&*panic), "no text 7");
        let after = followed.next().await.unwrap_err();
        assert!(after.message.ends_with("following it has ended"), "{after}");
    }
}
