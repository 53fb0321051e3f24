//! One issuer: where its keys are, and when they are read.
//!
//! Keys are read in the background, and once more when a token names a key that is not known. The
//! latter is what strangers can provoke, so it is rationed, and one read at a time serves everyone
//! who waits. A read that fails, or that brings no key, says nothing about the keys that are
//! known: they stay. A read that brings keys says which keys there are: the others go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::fetch::{KeysError, TIMEOUT, fetch};
use super::keys::KeySet;
use super::{IdentityError, IssuerFault, JwksCache, WAIT};
use crate::config::JwtConfig;
use crate::source::http_client;

/// How soon a failed read is tried again at first; each further time after twice that.
const RETRY: Duration = Duration::from_secs(1);
/// The longest time until a failed read is tried again.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How soon keys that could not be kept are tried again at first; each further time after twice
/// that.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest time until that.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How often keys are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two reads that nobody asked for.
    pub refresh: Duration,
    /// A read for the sake of an unknown key is allowed once in this time.
    pub ration: Duration,
    /// So many of them may come at once after a rest.
    pub burst: u32,
    /// How long a request waits for a read.
    pub wait: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            refresh: Duration::from_secs(300),
            ration: Duration::from_secs(5),
            burst: 2,
            wait: WAIT,
        }
    }
}

/// An issuer whose tokens are verified.
pub(super) struct Issuer {
    /// What its tokens must say.
    pub config: JwtConfig,
    /// Its keys that are this program's own, as those of an exchange.
    pub own: Option<Arc<KeySet>>,
    client: reqwest::Client,
    keys: ArcSwapOption<KeySet>,
    pace: Pace,
    state: Mutex<IssuerState>,
    cache: Option<Arc<dyn JwksCache>>,
    /// Keys were read that are not in the cache yet.
    unkept: tokio::sync::Notify,
}

struct IssuerState {
    /// Closes when the read under way ends.
    running: Option<watch::Receiver<()>>,
    /// Reads for the sake of unknown keys that are left.
    left: u32,
    /// Since when `left` has been growing.
    since: Instant,
    /// Why the last read failed; absent where it did not. Told once.
    fault: Option<KeysError>,
}

impl Issuer {
    /// With the keys that `cache` has kept.
    ///
    /// # Errors
    /// Its `ca_file` cannot be used, or TLS cannot be set up.
    pub(super) fn new(
        config: &JwtConfig,
        own: Option<Arc<KeySet>>,
        cache: Option<Arc<dyn JwksCache>>,
        pace: Pace,
    ) -> Result<Arc<Issuer>, IdentityError> {
        let name = &config.issuer;
        // One that has no keys but these is never asked, nor is anything of it kept.
        let cache = cache.filter(|_| own.is_none() || config.jwks_url.is_some());
        let client = http_client(TIMEOUT, config.ca_file.as_deref())
            .map_err(|why| IdentityError::Client { issuer: name.clone(), why })?;
        let kept = cache.as_ref().and_then(|cache| cache.load(name)).and_then(|text| {
            KeySet::read(text.as_bytes(), None)
                .inspect_err(|why| tracing::warn!("the kept keys of issuer `{name}`: {why}"))
                .ok()
        });
        Ok(Arc::new(Issuer {
            config: config.clone(),
            own,
            client,
            keys: ArcSwapOption::new(kept.map(Arc::new)),
            pace,
            state: Mutex::new(IssuerState {
                running: None,
                left: pace.burst,
                since: Instant::now(),
                fault: None,
            }),
            cache,
            unkept: tokio::sync::Notify::new(),
        }))
    }

    /// Its keys, where any are known.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        match self.is_own() {
            true => self.own.clone(),
            false => self.keys.load_full(),
        }
    }

    /// Whether it has no keys but this program's own, so that nobody is asked for them.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some() && self.config.jwks_url.is_none()
    }

    /// Why the last read failed, where it did.
    pub(super) fn fault(&self) -> Option<KeysError> {
        self.state().fault.clone()
    }

    /// Waits, within bounds, until its keys have been read once more: by the read under way, or by
    /// a new one where the ration allows it.
    pub(super) async fn reread(self: &Arc<Self>) {
        if self.is_own() {
            return;
        }
        let Some(mut running) = self.running(true) else { return };
        let _ = tokio::time::timeout(self.pace.wait, running.changed()).await;
    }

    /// Reads its keys now; whether that worked. A read under way counts.
    pub(super) async fn refresh(self: &Arc<Self>) -> bool {
        if let Some(mut running) = self.running(false) {
            // Nothing is ever sent: it ends when the read does.
            let _ = running.changed().await;
        }
        self.state().fault.is_none()
    }

    /// Reads its keys from time to time.
    pub(super) async fn refresh_forever(self: Arc<Self>) {
        let mut retry = RETRY;
        loop {
            let pause = if self.refresh().await {
                retry = RETRY;
                self.pace.refresh
            } else {
                let pause = retry.min(self.pace.refresh);
                retry = (retry * 2).min(LONGEST_RETRY);
                pause
            };
            // A tenth more or less, so that many gateways do not ask at the same moment.
            tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
        }
    }

    /// Waits until what was read so far is in the cache.
    #[cfg(test)]
    pub(super) async fn shelved(self: &Arc<Self>) {
        assert!(self.keep().await, "the cache did not take them");
    }

    fn state(&self) -> MutexGuard<'_, IssuerState> {
        // What is in there is right at every moment, also where a thread ended badly.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The read under way, or a new one; `None` where `rationed` and nothing is left.
    fn running(self: &Arc<Self>, rationed: bool) -> Option<watch::Receiver<()>> {
        let mut state = self.state();
        if let Some(running) = &state.running {
            return Some(running.clone());
        }
        if rationed && !state.take(&self.pace) {
            return None;
        }
        let (sender, receiver) = watch::channel(());
        state.running = Some(receiver.clone());
        drop(state);
        let landing = Landing { issuer: Arc::clone(self), _sender: sender };
        // A task of its own: it goes on when the request that asked for it is gone.
        tokio::spawn(async move {
            let read = landing.issuer.read().await;
            let issuer = Arc::clone(&landing.issuer);
            issuer.tell(read);
            drop(landing);
            issuer.unkept.notify_one();
        });
        Some(receiver)
    }

    /// Reads its keys and puts them in place.
    async fn read(&self) -> Result<(), KeysError> {
        let body = fetch(&self.client, &self.config).await?;
        let old = self.keys();
        let new = Arc::new(KeySet::read(&body, old.as_deref())?);
        self.keys.store(Some(Arc::clone(&new)));
        if let Some(old) = old {
            old.bury(&new);
        }
        Ok(())
    }

    /// Says what is new about how reading goes.
    fn tell(&self, read: Result<(), KeysError>) {
        let issuer = &self.config.issuer;
        let fault = read.err();
        let before = std::mem::replace(&mut self.state().fault, fault.clone());
        match (before, fault) {
            (Some(_), None) => tracing::info!("the keys of issuer `{issuer}` can be read again"),
            (before, Some(fault)) if before.as_ref() != Some(&fault) => {
                let known = if self.keys.load().is_some() {
                    "those known stay in use"
                } else {
                    "no token of its can be verified until they are read"
                };
                tracing::warn!("cannot read the keys of issuer `{issuer}`: {fault}; {known}");
            }
            (None, None) => tracing::debug!("read the keys of issuer `{issuer}`"),
            (_, Some(fault)) => {
                tracing::debug!("still cannot read the keys of issuer `{issuer}`: {fault}");
            }
        }
    }

    /// Puts each set of keys that is read in the cache. Where that cannot be done now, such as while
    /// a run holds the store, it is tried again until it is: a restart without the issuer lives on
    /// what is kept.
    pub(super) async fn keep_forever(self: Arc<Self>) {
        loop {
            self.unkept.notified().await;
            let mut pause = FIRST_PAUSE;
            while !self.keep().await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Puts the keys that are known in the cache, if the last read brought them. `false`: to be
    /// tried again.
    pub(super) async fn keep(&self) -> bool {
        let Some(cache) = self.cache.clone() else { return true };
        if self.state().fault.is_some() {
            return true;
        }
        let Some(text) = self.keys().and_then(|keys| keys.to_json()) else { return true };
        let issuer = self.config.issuer.clone();
        let kept = tokio::task::spawn_blocking(move || cache.keep(&issuer, &text)).await;
        kept.unwrap_or_else(|error| {
            tracing::warn!("keeping the keys of issuer `{}`: {error}", self.config.issuer);
            true
        })
    }

    /// What is wrong with its keys as they are there now, for `idpsyncd check`. Keeps nothing.
    pub(super) async fn faults(&self) -> Vec<IssuerFault> {
        let issuer = || self.config.issuer.clone();
        match self.read().await {
            Err(why) => vec![IssuerFault::Keys { issuer: issuer(), why }],
            Ok(()) => {
                let keys = self.keys();
                let left_out = keys.iter().flat_map(|keys| &keys.left_out).cloned();
                left_out.map(|key| IssuerFault::Key { issuer: issuer(), key }).collect()
            }
        }
    }
}

impl IssuerState {
    /// Takes one read from the ration.
    fn take(&mut self, pace: &Pace) -> bool {
        let ration = pace.ration.max(Duration::from_millis(1));
        let grown = self.since.elapsed().as_millis() / ration.as_millis();
        if grown > 0 {
            self.left =
                pace.burst.min(self.left.saturating_add(grown.try_into().unwrap_or(u32::MAX)));
            self.since = Instant::now();
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// Ends a read, however it ends: whoever waits goes on, and another may begin.
struct Landing {
    issuer: Arc<Issuer>,
    _sender: watch::Sender<()>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.issuer.state().running = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{IssuerState, Pace};

    #[test]
    fn the_ration_grows_back_to_the_burst_and_no_further() {
        let pace = Pace::default();
        let rested = |seconds| IssuerState {
            running: None,
            left: 0,
            since: Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap(),
            fault: None,
        };
        for (seconds, allowed) in [(0, 0), (4, 0), (6, 1), (11, 2), (1000, 2)] {
            let mut state = rested(seconds);
            let taken = (0..10).filter(|_| state.take(&pace)).count();
            assert_eq!(taken, allowed, "after {seconds} s");
        }
    }
}
