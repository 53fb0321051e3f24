//! Which of several daemons on one store leads. The leader alone reads and follows sources, follows which
//! sessions end, and runs the schedule; the others serve their gateways and try, now and then, to lead.
//!
//! ```text
//!            nobody leads: it does now
//!  follows ─────────────────────────────► leads ── a beat a second
//!     ▲                                     │
//!     └─────────────────────────────────────┘
//!       its session or its file is gone; it ends; another store is configured
//! ```
//!
//! This goes on in a thread of its own: whatever keeps the daemon busy, a beat is not late. What was begun
//! while it led cannot be written once another one has run: the store sees to that.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use chrono::Utc;
use tokio::sync::mpsc;

use super::Daemon;
use super::report::{LogKind, LogTopic};
use super::schedule::Scheduler;
use crate::store::{BEAT, Lead, LeadError, Leader, Store, StoreError, StoreErrorKind};
use crate::sync;

/// How often whoever follows tries to lead, and how much later at most, so that not all try at once.
const TRY: Duration = Duration::from_secs(1);
const TRY_JITTER: Duration = Duration::from_millis(500);

/// How long whoever lost the lead leaves it to others: something is wrong with it, or with its way to the store.
const LET_OTHERS: Duration = Duration::from_secs(3);

/// Who leads, as far as this daemon knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum WhoLeads {
    /// It has not come to know yet, or cannot.
    #[default]
    Unknown,
    /// This one.
    Here,
    /// Another one; who, where that can be told.
    Another(Option<Leader>),
}

/// What a try to lead, or a beat of whoever leads, came to.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Tried {
    /// It leads, or does still.
    Leads,
    /// Another one leads.
    Another(Option<Leader>),
    /// It leads no more: why.
    Over(String),
    /// It cannot be told who leads.
    Failed(StoreErrorKind),
}

/// What the daemon must be told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    Leads,
    Follows,
    Over,
    Failed,
}

/// Where a daemon stands.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Stand {
    New,
    Leads,
    Lost,
    Follows(Option<Leader>),
    Fails(StoreErrorKind),
}

impl Stand {
    /// Where it stands after what was `tried`, and what is new.
    fn after(&self, tried: &Tried) -> (Stand, Option<News>) {
        let (next, news) = match tried {
            Tried::Leads => (Stand::Leads, News::Leads),
            Tried::Another(by) => (Stand::Follows(by.clone()), News::Follows),
            Tried::Over(_) => (Stand::Lost, News::Over),
            Tried::Failed(kind) => (Stand::Fails(*kind), News::Failed),
        };
        let same = *self == next;
        (next, (!same).then_some(news))
    }

    /// How long until the next try or beat. `late` draws how much later.
    fn pause(&self, late: &mut dyn FnMut(Duration) -> Duration) -> Duration {
        match self {
            Stand::Leads => BEAT,
            Stand::Lost => LET_OTHERS,
            Stand::New | Stand::Follows(_) | Stand::Fails(_) => TRY + late(TRY_JITTER),
        }
    }
}

/// What the daemon hears.
#[derive(Debug)]
pub enum Word {
    /// It leads from now on.
    Leads(Arc<dyn Lead>),
    /// Another one leads.
    Follows(Option<Leader>),
    /// It leads no more: why.
    Over(String),
    /// It cannot be told who leads; it is tried again.
    Failed(StoreError),
    /// Nobody tries any more: a fault of this program.
    Died,
}

/// Trying to lead, and leading.
#[derive(Debug)]
pub struct Election {
    words: mpsc::UnboundedReceiver<Word>,
    /// Dropping it ends the thread, which resigns.
    _stop: Sender<()>,
}

impl Election {
    /// Tries to lead the daemons on `store`, from now on.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start(store: &Arc<dyn Store>) -> std::io::Result<Self> {
        let (say, words) = mpsc::unbounded_channel();
        let (stop, stopped) = channel();
        let store = Arc::clone(store);
        let thread = std::thread::Builder::new().name("leading".to_owned());
        thread.spawn(move || stand(&*store, &say, &stopped))?;
        Ok(Election { words, _stop: stop })
    }

    /// What there is to hear next. May be dropped and called again.
    pub async fn next(&mut self) -> Word {
        match self.words.recv().await {
            Some(word) => word,
            None => {
                tokio::time::sleep(TRY).await;
                Word::Died
            }
        }
    }
}

/// Tries and leads until it is told to stop.
fn stand(store: &dyn Store, say: &mpsc::UnboundedSender<Word>, stopped: &Receiver<()>) {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut stand = Stand::New;
    let mut lead: Option<Arc<dyn Lead>> = None;
    loop {
        let mut failed = None;
        let tried = match &lead {
            Some(lead) => match lead.beat() {
                Ok(()) => Tried::Leads,
                Err(error) => Tried::Over(error.message),
            },
            None => match store.lead(&Leader::new(&host, std::process::id(), Utc::now())) {
                Ok(taken) => {
                    lead = Some(taken);
                    Tried::Leads
                }
                Err(LeadError::Led { by }) => Tried::Another(by),
                Err(LeadError::Store(error)) => {
                    let kind = error.kind;
                    failed = Some(error);
                    Tried::Failed(kind)
                }
            },
        };
        let (next, news) = stand.after(&tried);
        stand = next;
        if stand != Stand::Leads
            && let Some(lost) = lead.take()
        {
            lost.resign();
        }
        let word = match (news, tried) {
            (None, _) => None,
            (Some(_), Tried::Leads) => lead.clone().map(Word::Leads),
            (Some(_), Tried::Another(by)) => Some(Word::Follows(by)),
            (Some(_), Tried::Over(why)) => Some(Word::Over(why)),
            (Some(_), Tried::Failed(_)) => failed.map(Word::Failed),
        };
        // Whoever does not listen any more has ended, and says so.
        let heard = word.is_none_or(|word| say.send(word).is_ok());
        let pause = stand.pause(&mut super::jitter);
        if !heard || stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            if let Some(lead) = lead {
                lead.resign();
            }
            return;
        }
    }
}

impl Daemon {
    /// Tries to lead from now on, over the store of the configuration that is in force.
    pub(super) fn elect(&mut self) {
        match Election::start(self.store.store()) {
            Ok(election) => self.election = Some(election),
            Err(error) => {
                tracing::error!(%error, "this daemon cannot lead: there is no thread for it");
            }
        }
    }

    /// Whether this daemon leads.
    pub(super) fn leads(&self) -> bool {
        self.lead.is_some()
    }

    /// Something became of who leads.
    pub(super) fn elected(&mut self, word: Word) {
        match word {
            Word::Leads(lead) => {
                tracing::info!("this daemon leads: it reads the sources");
                self.told.clear(&LogTopic::Lead);
                if self.compare() == Some(false) {
                    tracing::info!(
                        "its configuration is another than the one by which the store stands: everybody is planned for anew"
                    );
                }
                self.step_up(lead);
            }
            Word::Follows(by) => {
                self.told.clear(&LogTopic::Lead);
                match &by {
                    Some(by) => {
                        tracing::info!(leader = %by, "another daemon leads, this one follows")
                    }
                    None => tracing::info!("another daemon leads, this one follows"),
                }
                self.status.leads = WhoLeads::Another(by);
                (self.compared, self.looked) = (None, None);
            }
            Word::Over(why) => {
                tracing::warn!("{why}; it writes nothing more and follows");
                self.step_down();
            }
            Word::Failed(error) => {
                if self.told.news(LogTopic::Lead, LogKind::Store(error.kind)) {
                    tracing::warn!("which daemon leads cannot be told, it is tried again: {error}");
                }
                self.status.leads = WhoLeads::Unknown;
            }
            Word::Died => {
                tracing::error!("leading ended in a fault of this program; please report it");
                self.step_down();
                self.elect();
            }
        }
    }

    /// Whether the store stands by this daemon's configuration; `None`: that cannot be told. Told while another
    /// one leads, once: whatever depends on it would change with the lead.
    pub(super) fn compare(&mut self) -> Option<bool> {
        let store = &**self.store.store();
        let same = tokio::task::block_in_place(|| match store.reader()? {
            Some(reader) => sync::stands_by(&self.config, &*reader),
            None => Ok(None),
        });
        let same = same.unwrap_or_else(|error| {
            tracing::debug!(%error, "by which configuration the store stands cannot be told");
            None
        });
        let follows = matches!(self.status.leads, WhoLeads::Another(_));
        match same {
            Some(true) => drop(self.told.clear(&LogTopic::Configuration)),
            Some(false) if follows && self.told.news(LogTopic::Configuration, LogKind::Another) => {
                tracing::warn!(
                    "the store stands by another configuration than this daemon's: give all daemons on it the same, \
                     or everybody is planned for anew when this one leads"
                );
            }
            Some(false) | None => {}
        }
        same
    }

    /// It leads: what sources have told meanwhile is read at once.
    fn step_up(&mut self, lead: Arc<dyn Lead>) {
        self.status.leads = WhoLeads::Here;
        if let Some(gateway) = &self.gateway {
            gateway.metrics().leads(true);
        }
        self.shared = self.shared.of_lead(&lead);
        self.lead = Some(lead);
        self.looked = None;
        self.follow();
    }

    /// It leads no more: it asks no source any more. What it is about to write it writes only where nobody
    /// else has run since.
    pub(super) fn step_down(&mut self) {
        self.status.leads = WhoLeads::Unknown;
        self.status.failing.clear();
        self.scheduler = Scheduler::new(&self.config.schedule, Utc::now());
        self.again = None;
        self.wanted.clear();
        self.followers = None;
        self.sessions = None;
        self.feeds.anew();
        self.lead = None;
        if let Some(attempt) = &self.attempt {
            attempt.cancel();
        }
        if let Some(gateway) = &self.gateway {
            gateway.metrics().leads(false);
            gateway.metrics().follows_nobody();
            // Whoever leads now follows which sessions end.
            if let Some(ledger) = gateway.ledger() {
                ledger.follows_nobody();
            }
        }
    }

    /// Lets another one lead, at once.
    pub(super) fn resign(&mut self) {
        self.election = None;
        if let Some(lead) = self.lead.take() {
            tokio::task::block_in_place(|| lead.resign());
        }
    }
}

/// What becomes of who leads next; never, where nobody tries.
pub(super) async fn elected(election: &mut Option<Election>) -> Word {
    match election {
        Some(election) => election.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_told_of_what_has_changed_and_of_nothing_else() {
        let leader = |pid| Some(Leader::new("a", pid, chrono::DateTime::UNIX_EPOCH));
        let follows = |pid| Stand::Follows(leader(pid));
        let another = |pid| Tried::Another(leader(pid));
        let over = || Tried::Over("cut".to_owned());
        let (busy, full) = (StoreErrorKind::Busy, StoreErrorKind::Full);
        for (stand, tried, next, news) in [
            // It begins.
            (Stand::New, Tried::Leads, Stand::Leads, Some(News::Leads)),
            (Stand::New, another(1), follows(1), Some(News::Follows)),
            (Stand::New, Tried::Failed(busy), Stand::Fails(busy), Some(News::Failed)),
            // It leads: a beat is no news.
            (Stand::Leads, Tried::Leads, Stand::Leads, None),
            (Stand::Leads, over(), Stand::Lost, Some(News::Over)),
            (Stand::Lost, another(1), follows(1), Some(News::Follows)),
            (Stand::Lost, Tried::Leads, Stand::Leads, Some(News::Leads)),
            (Stand::Lost, Tried::Failed(busy), Stand::Fails(busy), Some(News::Failed)),
            // It follows.
            (follows(1), another(1), follows(1), None),
            (follows(1), another(2), follows(2), Some(News::Follows)),
            (follows(1), Tried::Another(None), Stand::Follows(None), Some(News::Follows)),
            (follows(1), Tried::Leads, Stand::Leads, Some(News::Leads)),
            (follows(1), Tried::Failed(busy), Stand::Fails(busy), Some(News::Failed)),
            // The store cannot be asked.
            (Stand::Fails(busy), Tried::Failed(busy), Stand::Fails(busy), None),
            (Stand::Fails(busy), Tried::Failed(full), Stand::Fails(full), Some(News::Failed)),
            (Stand::Fails(busy), another(1), follows(1), Some(News::Follows)),
            (Stand::Fails(busy), Tried::Leads, Stand::Leads, Some(News::Leads)),
        ] {
            assert_eq!(stand.after(&tried), (next, news), "{stand:?}, {tried:?}");
        }
    }

    #[test]
    fn whoever_leads_beats_to_the_second_and_the_others_do_not_try_all_at_once() {
        for (stand, least, most) in [
            (Stand::Leads, BEAT, BEAT),
            (Stand::Lost, LET_OTHERS, LET_OTHERS),
            (Stand::New, TRY, TRY + TRY_JITTER),
            (Stand::Follows(None), TRY, TRY + TRY_JITTER),
            (Stand::Fails(StoreErrorKind::Other), TRY, TRY + TRY_JITTER),
        ] {
            assert_eq!(stand.pause(&mut |_| Duration::ZERO), least);
            assert_eq!(stand.pause(&mut |limit| limit), most);
        }
    }
}
